//! From events to what queries read.
//!
//! A [`Projection`] is one pure function: an event and the rows it may read and write. Which rows
//! those are is found out by running it: a read of a row that is not loaded stops the event, the
//! engine fetches what all events of the page asked for in one query, and runs it again.

mod column;
mod fold;
pub mod models;
mod projection;
mod projector;
mod read;
mod registry;
mod rows;
mod subscription;
mod typed_row;

pub use column::{ColumnValue, Json};
use fold::Folder;
pub use projection::{ApplyError, DecodeEvent, ProjectedEvent, Projection};
pub use read::{ReadError, TypedPage, find, query};
pub use registry::{
    LifecycleError, ProjectionStatus, Projections, ProjectionsBuilder, Sources, Stale, Verification,
};
pub use rows::{Missing, Rows};
pub use subscription::{HandleError, Handler, Subscription, SubscriptionState, SubscriptionStatus};
pub use typed_row::{MalformedRow, TypedRow};

#[doc(hidden)]
pub use freehold_ports as ports;

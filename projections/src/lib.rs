//! From events to what queries read.
//!
//! A [`Projection`] is one pure function: an event and the rows it may read and write. Which rows
//! those are is found out by running it: a read of a row that is not loaded stops the event, the
//! engine fetches what all events of the page asked for in one query, and runs it again.
//!
//! A [`Subscription`] feeds a [`Handler`] with the pages of a log; a [`Relay`] is one. [`Projections`] keeps every
//! projection current, rebuilds it beside the old model, swaps, rolls back and verifies.

mod blame;
mod column;
mod deciding;
mod decisions;
mod fed;
mod fold;
mod handler;
pub mod models;
mod parking;
mod projection;
mod projections;
mod projector;
mod read;
mod relay;
mod rows;
mod subscription;
mod typed_row;
mod verify;

pub use blame::FoldFailure;
pub use column::{ColumnValue, Json};
pub use deciding::DecisionError;
pub use decisions::RecordedDecision;
pub use fold::{Folded, Folder};
pub use handler::{HandleError, Handler};
pub use parking::FailurePolicy;
pub use projection::{ApplyError, DecodeEvent, ProjectedEvent, Projection};
pub use projections::{Building, Phase, ProjectionError, ProjectionStatus, Projections, Rebuild};
pub use read::{ReadError, TypedPage, find, query};
pub use relay::Relay;
pub use rows::{Missing, Rows};
pub use subscription::{Failure, NotReached, Subscription, SubscriptionState, SubscriptionStatus};
pub use typed_row::{MalformedRow, TypedRow};
pub use verify::{Difference, Verification};

#[doc(hidden)]
pub use freehold_ports as ports;

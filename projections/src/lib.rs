// NOTE (09:12): the subscription runner and the projection lifecycle (subscription.rs, registry.rs)
// are being written on main right now by the integrator, because others wait for them. Finish the
// read models and their bench, commit, then `git merge main` (from ~09:35) and put your time into
// the engine's TESTS and speed: property test over page sizes/failures/restarts, poison event,
// rebuild beside live reads, roll back, verify, rebuild bench >= 150,000 events/s.
//! From events to what queries read.
//!
//! A [`Projection`] is one pure function: an event and the rows it may read and write. Which rows
//! those are is found out by running it: a read of a row that is not loaded stops the event, the
//! engine fetches what all events of the page asked for in one query, and runs it again.

mod column;
mod fold;
mod projection;
mod read;
mod rows;
mod typed_row;

pub use column::{ColumnValue, Json};
pub use fold::{FoldFailure, Folded, Folder};
pub use projection::{ApplyError, DecodeEvent, ProjectedEvent, Projection};
pub use read::{ReadError, TypedPage, find, query};
pub use rows::{Missing, Rows};
pub use typed_row::{MalformedRow, TypedRow};

#[doc(hidden)]
pub use freehold_ports as ports;

//! Load, decide, append: how a command becomes events.
//!
//! [`CommandExecutor`] serves every aggregate alike: it answers repeated commands with their first
//! answer, folds the stream (from a snapshot where one helps), lets the aggregate decide, turns
//! claims into tags and conditions, and appends with the version it saw. [`record_interaction`]
//! appends facts that have no rules. Absent on purpose: what is allowed (that is `domain`), where
//! it is stored (that is an adapter), and who may ask (that is `api`).

mod aggregates;
mod claims;
mod executor;
mod interactions;
mod remembered;

pub use executor::{
    CommandContext, CommandError, CommandExecutor, EventSourced, Executed, ExecutedEvent,
    ExecutorOptions, Loaded, Outcome,
};
pub use interactions::{RecordError, Recorded, record_interaction};

#![doc = include_str!("../README.md")]

mod event;
mod names;
mod repository;

pub use event::{Envelope, SCHEMA_VERSION};
pub use names::{NotAStream, aggregate_of, stream_of};
pub use repository::FreeholdEventRepository;

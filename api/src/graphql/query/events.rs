//! The raw feed: pages of a log or of one stream.

use std::num::NonZeroU32;

use async_graphql::connection::{Connection, Edge};
use freehold_ports::{
    EventFilter, EventStore, GlobalPosition, LogName as PortLogName, RecordedEvent, StreamId,
    StreamVersion,
};

use crate::graphql::Fault;
use crate::graphql::connection::AtPosition;
use crate::graphql::objects::event::{Event, LogName};

/// A connection of events; forward only, the cursor is the event's position.
pub(crate) type Events = Connection<AtPosition, Event>;

/// Which events a client wants.
pub(crate) struct Wanted<'a> {
    pub(crate) log: LogName,
    pub(crate) stream: Option<StreamId>,
    pub(crate) types: Vec<String>,
    /// Whose events: nobody sees those of another tenant.
    pub(crate) tenant: &'a str,
}

/// How many events are read at a time where some are left out.
const PAGE: NonZeroU32 = NonZeroU32::new(500).expect("500 is not zero");

/// Reads the first `first` wanted events after a position.
pub(crate) async fn events(
    store: &dyn EventStore,
    wanted: Wanted<'_>,
    after: GlobalPosition,
    first: u32,
) -> Result<Events, Fault> {
    let size = first as usize;
    // One more than asked for tells whether there is a next page.
    let mut found = match &wanted.stream {
        Some(stream) => of_stream(store, &wanted, stream, after, size + 1).await?,
        None => of_log(store, &wanted, after, size + 1).await?,
    };
    let has_next = found.len() > size;
    found.truncate(size);
    let mut connection = Connection::new(after.0 > 0, has_next);
    let edge =
        |event: RecordedEvent| Edge::new(AtPosition(event.position), Event::new(wanted.log, event));
    connection.edges = found.into_iter().map(edge).collect();
    Ok(connection)
}

async fn of_log(
    store: &dyn EventStore,
    wanted: &Wanted<'_>,
    after: GlobalPosition,
    enough: usize,
) -> Result<Vec<RecordedEvent>, Fault> {
    let log = wanted.log.port();
    let filter = EventFilter {
        categories: Vec::new(),
        event_types: wanted.types.iter().map(|name| name.as_str().into()).collect(),
    };
    let head = store.head(&log).await?;
    let (mut found, mut at) = (Vec::new(), after);
    while found.len() < enough && at < head {
        let missing = u32::try_from(enough - found.len()).unwrap_or(u32::MAX);
        let limit = NonZeroU32::new(missing).unwrap_or(PAGE).min(PAGE);
        let page = store.read_all(&log, &filter, at, limit).await?;
        if page.through <= at {
            break;
        }
        at = page.through;
        found.extend(page.events.into_iter().filter(|event| is_of_tenant(event, wanted)));
    }
    Ok(found)
}

async fn of_stream(
    store: &dyn EventStore,
    wanted: &Wanted<'_>,
    stream: &StreamId,
    after: GlobalPosition,
    enough: usize,
) -> Result<Vec<RecordedEvent>, Fault> {
    let log = wanted.log.port();
    let mut found: Vec<RecordedEvent> = Vec::new();
    let mut at = version_at(store, &log, stream, after).await?;
    while found.len() < enough {
        let page = store.read_stream(&log, stream, at, PAGE).await?;
        let Some(last) = page.last() else { break };
        at = last.version;
        let types = &wanted.types;
        let is_wanted = |event: &RecordedEvent| {
            is_of_tenant(event, wanted)
                && (types.is_empty() || types.iter().any(|name| **name == *event.event_type))
        };
        found.extend(page.into_iter().filter(is_wanted));
    }
    found.truncate(enough);
    Ok(found)
}

/// How many events a stream held when the log was at a position.
///
/// A stream is read by version, clients page by position: both grow together, so the version is
/// found by halving.
async fn version_at(
    store: &dyn EventStore,
    log: &PortLogName,
    stream: &StreamId,
    position: GlobalPosition,
) -> Result<StreamVersion, Fault> {
    if position.0 == 0 {
        return Ok(StreamVersion(0));
    }
    let is_later = async |version: u64| -> Result<bool, Fault> {
        let before = StreamVersion(version - 1);
        let event = store.read_stream(log, stream, before, NonZeroU32::MIN).await?;
        Ok(event.first().is_none_or(|event| event.position > position))
    };
    // Everything up to `low` is not later, everything from `high` on is.
    let (mut low, mut high) = (0, 1);
    while !is_later(high).await? {
        (low, high) = (high, high * 2);
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if is_later(middle).await? { high = middle } else { low = middle }
    }
    Ok(StreamVersion(low))
}

fn is_of_tenant(event: &RecordedEvent, wanted: &Wanted<'_>) -> bool {
    *event.provenance.tenant == *wanted.tenant
}

/// The event at a position, unless it is another tenant's.
pub(crate) async fn event_at(
    store: &dyn EventStore,
    log: LogName,
    position: GlobalPosition,
    tenant: &str,
) -> Result<Option<Event>, Fault> {
    let Some(before) = position.0.checked_sub(1).map(GlobalPosition) else { return Ok(None) };
    let page = store.read_all(&log.port(), &EventFilter::all(), before, NonZeroU32::MIN).await?;
    let found = page
        .events
        .into_iter()
        .next()
        .filter(|event| event.position == position && *event.provenance.tenant == *tenant);
    Ok(found.map(|event| Event::new(log, event)))
}

//! Following a log from a position on, in pages, as the consumer asks for them.
//!
//! Nothing is read ahead: a client that reads slowly holds one page, and one that comes back names
//! the last position it has seen.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use freehold_ports::{EventFilter, EventStore, GlobalPosition, LogName, RecordedEvent};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::graphql::Fault;

const PAGE: NonZeroU32 = NonZeroU32::new(100).expect("100 is not zero");

/// How often to look without having been told of a commit: other processes write too.
const POLL: Duration = Duration::from_millis(500);

/// A place in a log that moves on.
pub(crate) struct Tail {
    store: Arc<dyn EventStore>,
    log: LogName,
    filter: EventFilter,
    tenant: Arc<str>,
    at: GlobalPosition,
    commits: watch::Receiver<GlobalPosition>,
}

impl Tail {
    /// Begins after a position, or at the head.
    ///
    /// - Errors: a position that the log has not reached.
    pub(crate) async fn new(
        store: Arc<dyn EventStore>,
        log: LogName,
        filter: EventFilter,
        tenant: Arc<str>,
        after: Option<GlobalPosition>,
    ) -> Result<Self, Fault> {
        let commits = store.subscribe_head(&log);
        let head = store.head(&log).await?;
        let at = after.unwrap_or(head);
        if at > head {
            // Of another log, or of another deployment: waiting would be waiting for ever.
            let advice = format!("is beyond the end of this log, which is at {head}");
            return Err(Fault::input("after", advice));
        }
        Ok(Self { store, log, filter, tenant, at, commits })
    }

    /// The next events, at least one; waits until there are some.
    pub(crate) async fn next(&mut self) -> Result<Vec<RecordedEvent>, Fault> {
        loop {
            // Before reading, so that a commit during the read ends the wait after it.
            self.commits.mark_unchanged();
            let page = self.store.read_all(&self.log, &self.filter, self.at, PAGE).await?;
            let moved = page.through > self.at;
            self.at = self.at.max(page.through);
            let mut events = page.events;
            events.retain(|event| *event.provenance.tenant == *self.tenant);
            if !events.is_empty() {
                return Ok(events);
            }
            if !moved {
                self.wait().await;
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            Ok(()) = self.commits.changed() => {}
            () = sleep(POLL) => {}
        }
    }
}

//! What is published of a log, in place of pages of the store, for who is at its end.

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freehold_ports::{
    EventFilter, EventPage, EventStore, Feed, FeedError, FeedPages, GlobalPosition, LogName,
};
use futures_util::FutureExt as _;
use tracing::{info, warn};

use crate::HandleError;
use crate::subscription::Ahead;

/// How long to wait before a feed is opened again: doubled each time, until it brings something.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// How long a feed may be silent before the log is asked whether there is more: half as long each
/// time there is, twice as long each time there is not.
const SHORTEST_SILENCE: Duration = Duration::from_millis(250);
const LONGEST_SILENCE: Duration = Duration::from_secs(1);

/// One feed, opened once the log is read, and again whenever it ends.
pub(crate) struct Fed {
    feed: Arc<dyn Feed>,
    store: Arc<dyn EventStore>,
    name: String,
    log: LogName,
    filter: EventFilter,
    state: State,
    /// How long the next opening is put off.
    wait: Duration,
    /// When it brought something or the log was asked, and how long that lasts.
    heard_at: Instant,
    silence: Duration,
}

enum State {
    Closed { until: Instant },
    Opening(Opening),
    Open { pages: Box<dyn FeedPages>, from: GlobalPosition },
}

/// A feed that is being opened, and up to where the log is to be read then.
type Opening = Ahead<Result<(Box<dyn FeedPages>, GlobalPosition), HandleError>>;

/// What a feed has for who is at its end.
pub(crate) enum News {
    /// The next events.
    Page(EventPage),
    /// The log is to be read; it may have what the feed lacks.
    Log,
}

impl Fed {
    pub(crate) fn new(
        feed: Arc<dyn Feed>,
        store: Arc<dyn EventStore>,
        name: String,
        log: LogName,
        filter: EventFilter,
    ) -> Self {
        let (now, wait, silence) = (Instant::now(), FIRST_WAIT, LONGEST_SILENCE);
        let state = State::Closed { until: now };
        Self { feed, store, name, log, filter, state, wait, heard_at: now, silence }
    }

    /// Whether the feed brings what follows a position; else the log is to be read first.
    pub(crate) fn follows(&self, read: GlobalPosition) -> bool {
        matches!(self.state, State::Open { from, .. } if read >= from)
    }

    /// What there is without a wait.
    pub(crate) fn now(&mut self, read: GlobalPosition) -> Option<News> {
        match &self.state {
            State::Open { .. } => self.next(read).now_or_never(),
            State::Closed { .. } | State::Opening(_) => None,
        }
    }

    /// Waits for what comes next, and opens the feed where it is not open. Nothing is lost when
    /// this is dropped before it answers.
    pub(crate) async fn next(&mut self, read: GlobalPosition) -> News {
        loop {
            match &mut self.state {
                State::Closed { until } => {
                    tokio::time::sleep_until((*until).into()).await;
                    self.state = State::Opening(self.open());
                }
                State::Opening(opening) => {
                    match opening.done().await.and_then(|opened| opened) {
                        Ok((pages, from)) => {
                            info!(subscription = %self.name, "following what is published");
                            self.heard_at = Instant::now();
                            self.state = State::Open { pages, from };
                        }
                        Err(error) => self.end(&error),
                    }
                    return News::Log;
                }
                State::Open { from, .. } if read < *from => return pending().await,
                State::Open { pages, from } => {
                    let silent = tokio::time::sleep_until((self.heard_at + self.silence).into());
                    let brought = tokio::select! {
                        biased;
                        brought = pages.next(read) => brought,
                        () = silent => match self.store.head(&self.log).await {
                            Ok(head) if head <= read => {
                                self.heard_at = Instant::now();
                                self.silence = (self.silence * 2).min(LONGEST_SILENCE);
                                continue;
                            }
                            Ok(head) => {
                                self.silence = (self.silence / 2).max(SHORTEST_SILENCE);
                                Err(FeedError::Gap(head))
                            }
                            // Whoever reads it is told why; asked again at once it may spin.
                            Err(_) => {
                                self.heard_at = Instant::now();
                                return News::Log;
                            }
                        },
                    };
                    self.heard_at = Instant::now();
                    match brought {
                        Ok(page) => {
                            *from = page.through;
                            (self.wait, self.silence) = (FIRST_WAIT, LONGEST_SILENCE);
                            return News::Page(page);
                        }
                        Err(FeedError::Gap(through)) => *from = through,
                        Err(error) => self.end(&HandleError::unavailable(error)),
                    }
                    return News::Log;
                }
            }
        }
    }

    /// Ends it until somebody waits for it again.
    pub(crate) fn close(&mut self) {
        self.state = State::Closed { until: Instant::now() };
    }

    fn end(&mut self, error: &HandleError) {
        let wait = self.wait;
        warn!(subscription = %self.name, %error, again_in = ?wait, "reading the log instead");
        self.state = State::Closed { until: Instant::now() + wait };
        self.wait = (wait * 2).min(LAST_WAIT);
    }

    /// Opens it, and only then asks how far the log has everything before it.
    fn open(&self) -> Opening {
        let (feed, store) = (self.feed.clone(), self.store.clone());
        let (log, filter) = (self.log.clone(), self.filter.clone());
        Ahead::begin(async move {
            let pages = feed.open(&log, &filter).await.map_err(HandleError::unavailable)?;
            let head = store.head(&log).await.map_err(HandleError::unavailable)?;
            Ok((pages, head))
        })
    }
}

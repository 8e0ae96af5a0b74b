//! A subscription: a name, a log, a handler, a checkpoint that the handler keeps with its effects.
//!
//! One task a subscription reads pages and hands them over. An event that the handler cannot take
//! stops it where everybody sees it (status, metric, log) and is handed over again with back-off;
//! nothing is ever skipped, and no other subscription waits. Absent on purpose: what the effects
//! are, and where the checkpoint is kept.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use freehold_ports::{Clock, EventFilter, EventPage, EventStore, GlobalPosition, LogName};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

/// Events of a page while following, and while far behind.
const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("1,000 is not zero");
const LARGE_PAGE: NonZeroU32 = NonZeroU32::new(10_000).expect("10,000 is not zero");
/// From how far behind large pages are read.
const FAR: u64 = 20_000;

/// How often the log is looked at when nothing wakes the subscription.
const POLL: Duration = Duration::from_millis(500);

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What a subscription does with events.
#[async_trait]
pub trait Handler: Send + 'static {
    /// The subscription's name, unique.
    fn name(&self) -> Arc<str>;

    /// The log it reads.
    fn log(&self) -> LogName;

    /// The events it wants.
    fn filter(&self) -> EventFilter;

    /// The last position whose effects are stored; asked for at the start and after a failure.
    async fn checkpoint(&mut self) -> Result<GlobalPosition, HandleError>;

    /// Takes a page: all its effects are stored afterwards, or, on an error, those before it.
    async fn handle(&mut self, page: EventPage) -> Result<(), HandleError>;

    /// Every event there is was handled; called each time the end is reached. False asks to look
    /// for further events at once, because what was done here took time.
    async fn caught_up(&mut self) -> Result<bool, HandleError> {
        Ok(true)
    }

    /// The subscription ends; what was put off is to be stored.
    async fn stop(&mut self) -> Result<(), HandleError> {
        Ok(())
    }
}

/// Why a handler stopped.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{reason}")]
pub struct HandleError {
    /// The event at fault; none when the fault is around it (a store that does not answer).
    pub event: Option<(GlobalPosition, Arc<str>)>,
    /// What is wrong, for an operator.
    pub reason: String,
}

impl HandleError {
    /// A fault that no event is to blame for.
    pub fn around(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut reason = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            reason.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        Self { event: None, reason }
    }
}

/// How a subscription is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionStatus {
    /// The last position whose effects are stored or that had none.
    pub position: GlobalPosition,
    /// The end of its log when it last looked.
    pub head: GlobalPosition,
    /// When the last event it handled was recorded.
    pub last_recorded_at: Option<DateTime<Utc>>,
    /// Events a second it moved on by, lately.
    pub rate: f64,
    /// What it is doing.
    pub state: SubscriptionState,
}

/// What a subscription is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum SubscriptionState {
    /// It has not reached the end of the log since it was started.
    CatchingUp,
    /// It follows the log.
    Live,
    /// An operator told it to wait.
    Paused,
    /// It cannot go on; it tries again at `retry_at`.
    Failed {
        /// The event at fault, if one is.
        event: Option<(GlobalPosition, Arc<str>)>,
        /// What is wrong.
        reason: String,
        /// How often it was tried.
        attempts: u32,
        /// When it is tried next.
        retry_at: DateTime<Utc>,
    },
    /// It ended.
    Stopped,
}

impl SubscriptionState {
    /// One word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CatchingUp => "catching_up",
            Self::Live => "live",
            Self::Paused => "paused",
            Self::Failed { .. } => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl SubscriptionStatus {
    /// How old the effects are: 0 at the end of the log, else seconds since the last handled event
    /// was recorded; unknown before the first.
    pub fn lag_seconds(&self, now: DateTime<Utc>) -> Option<f64> {
        if self.position >= self.head {
            return Some(0.0);
        }
        let age = now - self.last_recorded_at?;
        Some((age.num_microseconds().unwrap_or(i64::MAX) as f64 / 1e6).max(0.0))
    }
}

/// A running subscription; dropping it lets it run on, [`stop`](Self::stop) ends it.
pub struct Subscription {
    status: watch::Receiver<SubscriptionStatus>,
    wanted: watch::Sender<Wanted>,
    task: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Run,
    Pause,
    Stop,
}

impl Subscription {
    /// Starts a task that hands events of `store` to `handler`.
    pub fn start(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>, handler: impl Handler) -> Self {
        let (status, shown) = watch::channel(SubscriptionStatus {
            position: GlobalPosition(0),
            head: GlobalPosition(0),
            last_recorded_at: None,
            rate: 0.0,
            state: SubscriptionState::CatchingUp,
        });
        let (wanted, orders) = watch::channel(Wanted::Run);
        let name = handler.name();
        let log = handler.log();
        let filter = handler.filter();
        let runner = Runner { store, clock, handler, name, log, filter, status, orders };
        Self { status: shown, wanted, task: tokio::spawn(runner.run()) }
    }

    /// Its status, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<SubscriptionStatus> {
        self.status.clone()
    }

    /// Finishes the page in hand and waits until [`resume`](Self::resume).
    pub async fn pause(&self) {
        self.wanted.send_if_modified(|wanted| replace(wanted, Wanted::Run, Wanted::Pause));
        let mut status = self.status.clone();
        let halted = |state: &SubscriptionState| {
            matches!(state, SubscriptionState::Paused | SubscriptionState::Stopped)
        };
        // An error means that the task is gone, which is as still as it gets.
        let _ = status.wait_for(|status| halted(&status.state)).await;
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.wanted.send_if_modified(|wanted| replace(wanted, Wanted::Pause, Wanted::Run));
    }

    /// Finishes the page in hand and ends.
    pub async fn stop(self) {
        self.wanted.send_replace(Wanted::Stop);
        // An error means that the task panicked, which was logged where it happened.
        let _ = self.task.await;
    }
}

fn replace(wanted: &mut Wanted, from: Wanted, to: Wanted) -> bool {
    let changes = *wanted == from;
    if changes {
        *wanted = to;
    }
    changes
}

struct Runner<H> {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    handler: H,
    name: Arc<str>,
    log: LogName,
    filter: EventFilter,
    status: watch::Sender<SubscriptionStatus>,
    orders: watch::Receiver<Wanted>,
}

/// Why a run ended.
enum Ended {
    Stopped,
    Failed(HandleError),
}

impl<H: Handler> Runner<H> {
    async fn run(mut self) {
        let mut attempts = 0;
        loop {
            let before = self.status.borrow().position;
            let failure = match self.run_until_failure().await {
                Ended::Stopped => break,
                Ended::Failed(failure) => failure,
            };
            // Whoever got further met another obstacle, and starts waiting anew.
            attempts = if self.status.borrow().position > before { 1 } else { attempts + 1 };
            if !self.wait_after(failure, attempts).await {
                break;
            }
        }
        if let Err(error) = self.handler.stop().await {
            warn!(subscription = %self.name, %error, "subscription stopped without its last checkpoint");
        }
        self.show(|status| status.state = SubscriptionState::Stopped);
    }

    /// Shows the failure and waits for the next attempt; false when told to stop meanwhile.
    async fn wait_after(&mut self, failure: HandleError, attempts: u32) -> bool {
        let wait = back_off(attempts);
        let position = failure.event.as_ref().map(|(position, _)| position.0);
        let event_type = failure.event.as_ref().map(|(_, event_type)| &**event_type);
        error!(
            subscription = %self.name, position, event_type, reason = failure.reason, attempts,
            retry_in_ms = wait.as_millis() as u64, "subscription stopped by a failure"
        );
        metrics::counter!("freehold_subscription_failures_total", "subscription" => self.name.to_string())
            .increment(1);
        let retry_at = self.clock.now() + wait;
        let HandleError { event, reason } = failure;
        self.show(|status| {
            status.state = SubscriptionState::Failed { event, reason, attempts, retry_at };
        });
        let stopped = self.orders.wait_for(|wanted| *wanted == Wanted::Stop);
        tokio::time::timeout(wait, stopped).await.is_err()
    }

    async fn run_until_failure(&mut self) -> Ended {
        match self.follow().await {
            Ok(()) => Ended::Stopped,
            Err(failure) => Ended::Failed(failure),
        }
    }

    /// Hands over pages until told to stop.
    async fn follow(&mut self) -> Result<(), HandleError> {
        let mut position = self.handler.checkpoint().await?;
        let mut heads = self.store.subscribe_head(&self.log);
        let mut next: Option<EventPage> = None;
        let mut pace = Pace::start(position);
        self.show(|status| {
            status.position = position;
            status.state = SubscriptionState::CatchingUp;
        });
        loop {
            if !self.may_go_on().await {
                return Ok(());
            }
            heads.borrow_and_update();
            let page = match next.take() {
                Some(page) => page,
                None => {
                    let far = heads.borrow().0.saturating_sub(position.0) > FAR;
                    let limit = if far { LARGE_PAGE } else { PAGE };
                    let page = self.store.read_all(&self.log, &self.filter, position, limit).await;
                    page.map_err(|error| HandleError::around(&error))?
                }
            };
            if page.through <= position {
                if !self.handler.caught_up().await? {
                    continue;
                }
                self.show(|status| {
                    status.head = status.head.max(position);
                    status.state = SubscriptionState::Live;
                });
                self.wait_for_news(&mut heads).await;
                continue;
            }
            let through = page.through;
            let last = page.events.last().map(|event| event.recorded_at);
            let count = page.events.len();
            // Positions have no gaps, so the next page can be read while this one is handled.
            let (store, log, filter) = (&*self.store, &self.log, &self.filter);
            let ahead = async {
                if count < PAGE.get() as usize {
                    return None;
                }
                store.read_all(log, filter, through, LARGE_PAGE).await.ok()
            };
            let (handled, ahead) = tokio::join!(self.handler.handle(page), ahead);
            handled?;
            position = through;
            next = ahead.filter(|page| page.through > position);
            let rate = pace.at(position);
            let head = (*heads.borrow()).max(position);
            self.show(|status| {
                status.position = position;
                status.head = head;
                status.last_recorded_at = last.or(status.last_recorded_at);
                status.rate = rate;
            });
        }
    }

    /// Waits out a pause; false when told to stop.
    async fn may_go_on(&mut self) -> bool {
        // A missing sender means that nobody holds the subscription: it runs on.
        let wanted = *self.orders.borrow_and_update();
        match wanted {
            Wanted::Run => true,
            Wanted::Stop => false,
            Wanted::Pause => {
                info!(subscription = %self.name, "subscription paused");
                self.show(|status| status.state = SubscriptionState::Paused);
                let order = self.orders.wait_for(|wanted| *wanted != Wanted::Pause).await;
                let goes_on = order.is_ok_and(|wanted| *wanted == Wanted::Run);
                self.show(|status| status.state = SubscriptionState::CatchingUp);
                goes_on
            }
        }
    }

    async fn wait_for_news(&mut self, heads: &mut watch::Receiver<GlobalPosition>) {
        let order = async {
            // Without anybody to give orders there is only the log to wait for.
            if self.orders.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let woken = async {
            if heads.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = order => {}
            () = woken => {}
            () = tokio::time::sleep(POLL) => {}
        }
    }

    fn show(&self, change: impl FnOnce(&mut SubscriptionStatus)) {
        self.status.send_modify(change);
        let status = self.status.borrow();
        let name = self.name.to_string();
        metrics::gauge!("freehold_subscription_position", "subscription" => name.clone())
            .set(status.position.0 as f64);
        let failed = matches!(status.state, SubscriptionState::Failed { .. });
        metrics::gauge!("freehold_subscription_failed", "subscription" => name.clone())
            .set(if failed { 1.0 } else { 0.0 });
        if let Some(lag) = status.lag_seconds(self.clock.now()) {
            metrics::gauge!("freehold_subscription_lag_seconds", "subscription" => name).set(lag);
        }
    }
}

/// Doubles with each attempt, up to a limit, less up to a quarter so that not all try at once.
fn back_off(attempts: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let jitter = uuid::Uuid::new_v4().as_bytes()[0];
    let wait = doubled.min(LAST_RETRY);
    wait - wait.mul_f64(f64::from(jitter) / 255.0 / 4.0)
}

/// Events a second, over the last seconds.
struct Pace {
    since: Instant,
    from: GlobalPosition,
    rate: f64,
}

impl Pace {
    fn start(from: GlobalPosition) -> Self {
        Self { since: Instant::now(), from, rate: 0.0 }
    }

    fn at(&mut self, position: GlobalPosition) -> f64 {
        let seconds = self.since.elapsed().as_secs_f64();
        if seconds >= 1.0 {
            self.rate = (position.0 - self.from.0) as f64 / seconds;
            *self = Self { since: Instant::now(), from: position, rate: self.rate };
        } else if self.rate == 0.0 && seconds > 0.0 {
            return (position.0 - self.from.0) as f64 / seconds;
        }
        self.rate
    }
}

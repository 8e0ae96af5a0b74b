//! Following a log: pages in, checkpoint on, and everybody can see how far.

use std::num::NonZeroU32;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use freehold_ports::{
    Clock, EventFilter, EventPage, EventStore, Feed, GlobalPosition, LogName, ReadError,
    RecordedEvent,
};
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};
use uuid::Uuid;

use crate::fed::{Fed, News};
use crate::handler::failed_event;
use crate::{HandleError, Handler};

/// How many events a page has, by how many positions the head is away at least: few when close, so
/// that each is seen soon; many when far, so that what several of them change is written once.
const PAGES: [(u64, NonZeroU32); 3] = [
    (200_000, NonZeroU32::new(50_000).expect("it is not zero")),
    (5_000, NonZeroU32::new(10_000).expect("it is not zero")),
    (0, FEWEST),
];
const FEWEST: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// How long an idle subscription waits before it looks by itself, from the first time on.
const FIRST_POLL: Duration = Duration::from_millis(20);
const LAST_POLL: Duration = Duration::from_secs(1);

/// How long a failed subscription waits before it tries again: doubled each time, half of it by
/// chance.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// How often to look how far another process is that does the same work.
const STAND_BY_POLL: Duration = Duration::from_millis(50);

/// How long events may wait for the process that does the work before another one takes over:
/// doubled each time that was too early, until everything is handled.
const FIRST_PATIENCE: Duration = Duration::from_secs(2);
const LAST_PATIENCE: Duration = Duration::from_secs(30);

/// How long one that only watches waits at most before it looks again for what it could not see.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// How often a status is renewed while nothing happens.
const TICK: Duration = Duration::from_secs(1);

/// How a subscription is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct SubscriptionStatus {
    /// What it is doing.
    pub state: SubscriptionState,
    /// The position up to which every effect is stored and can be seen.
    pub position: GlobalPosition,
    /// The end of the log, as far as is known.
    pub head: GlobalPosition,
    /// When the oldest event that it has not handled was recorded; nothing if there is none.
    pub behind_since: Option<DateTime<Utc>>,
    /// Positions a second, recently.
    pub positions_per_second: f64,
    /// How many streams are parked in dead letters, as far as this process knows.
    pub parked: usize,
}

/// What a subscription is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum SubscriptionState {
    /// Handling events that were there before.
    CatchingUp,
    /// At the end of the log, waiting for more.
    Live,
    /// Watching another process that does the work, ready to go on where it stops.
    StandingBy,
    /// Told to wait.
    Paused,
    /// Waiting to try again.
    Failed(Failure),
    /// Told to end.
    Stopped,
}

/// Why a subscription does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The event it stands before and the event's type, if one event is the reason.
    pub event: Option<(GlobalPosition, Arc<str>)>,
    /// What is wrong.
    pub error: String,
    /// How often it was tried without getting on.
    pub attempts: u32,
    /// When it is tried again.
    pub next_try_at: DateTime<Utc>,
}

impl SubscriptionStatus {
    /// A subscription that has not begun.
    pub(crate) fn new() -> Self {
        Self {
            state: SubscriptionState::CatchingUp,
            position: GlobalPosition(0),
            head: GlobalPosition(0),
            behind_since: None,
            positions_per_second: 0.0,
            parked: 0,
        }
    }

    /// For how long the oldest unhandled event has been waiting.
    pub fn lag(&self, now: DateTime<Utc>) -> Duration {
        self.behind_since.map_or(Duration::ZERO, |since| (now - since).to_std().unwrap_or_default())
    }

    /// How long it takes to the head at the present rate.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.head.0.saturating_sub(self.position.0) as f64;
        let seconds = left / self.positions_per_second;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A position was not reached in time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{} is at position {}, not yet at {}", .name, .status.position, .wanted)]
pub struct NotReached {
    /// Who is behind.
    pub name: String,
    /// Where it should be.
    pub wanted: GlobalPosition,
    /// How it is doing.
    pub status: SubscriptionStatus,
}

/// Waits until a subscription has stored every effect up to a position, at most so long.
pub(crate) async fn wait_for(
    name: &str,
    mut status: watch::Receiver<SubscriptionStatus>,
    position: GlobalPosition,
    timeout: Duration,
) -> Result<(), NotReached> {
    let reached = status.wait_for(|status| status.position >= position);
    if let Ok(Ok(_)) = tokio::time::timeout(timeout, reached).await {
        return Ok(());
    }
    let status = status.borrow().clone();
    Err(NotReached { name: name.to_owned(), wanted: position, status })
}

/// A handler following its log in a task of its own.
///
/// Dropping it tells the task to end; [`stop`](Self::stop) also waits until it has.
pub struct Subscription {
    name: String,
    orders: watch::Sender<Orders>,
    status: watch::Receiver<SubscriptionStatus>,
    task: JoinHandle<()>,
}

impl Subscription {
    /// Starts at the handler's checkpoint.
    pub fn start(
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        handler: Box<dyn Handler>,
    ) -> Self {
        let orders = watch::Sender::new(Orders::default());
        let status = watch::Sender::new(SubscriptionStatus::new());
        let receiver = status.subscribe();
        let name = handler.name().to_owned();
        let mut follower = Follower::new(store, clock, handler, orders.subscribe(), status);
        let task = tokio::spawn(async move {
            follower.follow_and_retry(Until::Stopped).await;
        });
        Self { name, orders, status: receiver, task }
    }

    /// How it is doing, now and whenever that changes.
    pub fn status(&self) -> watch::Receiver<SubscriptionStatus> {
        self.status.clone()
    }

    /// Waits until every effect up to a position is stored, at most so long.
    pub async fn wait_for(
        &self,
        position: GlobalPosition,
        timeout: Duration,
    ) -> Result<(), NotReached> {
        wait_for(&self.name, self.status.clone(), position, timeout).await
    }

    /// Waits after the page in hand, until it is resumed.
    pub fn pause(&self) {
        self.orders.send_modify(Orders::pause);
    }

    /// Goes on after a pause; after a failure, at once.
    pub fn resume(&self) {
        self.orders.send_modify(Orders::resume);
    }

    /// Ends after the page in hand.
    pub async fn stop(self) {
        self.orders.send_modify(|orders| orders.stop = true);
        // It ended either way; if by a defect, its status and the log say so.
        let _ = self.task.await;
    }
}

/// What a subscription is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Orders {
    pub(crate) stop: bool,
    /// Leaves the work to other processes, also where none does it.
    pub(crate) watch: bool,
    paused: bool,
    /// Counts up to end a wait before the next try.
    tries: u64,
}

impl Orders {
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    pub(crate) fn resume(&mut self) {
        self.paused = false;
        self.tries += 1;
    }
}

/// How far to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// Until told to stop.
    Stopped,
    /// Until the log has no more events.
    CaughtUp,
    /// Through this position and no further.
    Reached(GlobalPosition),
}

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is where it was to go.
    There,
    /// It was told to stop.
    Stopped,
    /// There is nothing left to fill.
    Gone,
}

/// Reads pages and hands them over, one after the other.
pub(crate) struct Follower {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    handler: Box<dyn Handler>,
    name: String,
    log: LogName,
    filter: EventFilter,
    orders: watch::Receiver<Orders>,
    status: watch::Sender<SubscriptionStatus>,
    meters: Meters,
    rate: Rate,
    /// Where the failure before the one at hand was, and how often it came without getting on.
    failed_at: Option<(GlobalPosition, u32)>,
    /// How long events may wait for another process.
    patience: Duration,
    /// What brings pages at the end of the log, if not the store.
    fed: Option<Fed>,
}

impl Follower {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        handler: Box<dyn Handler>,
        orders: watch::Receiver<Orders>,
        status: watch::Sender<SubscriptionStatus>,
    ) -> Self {
        let name = handler.name().to_owned();
        Self {
            store,
            clock,
            meters: Meters::of(&name),
            name,
            log: handler.log(),
            filter: handler.filter(),
            handler,
            orders,
            status,
            rate: Rate::default(),
            failed_at: None,
            patience: FIRST_PATIENCE,
            fed: None,
        }
    }

    /// Has a feed bring pages once the log was read to its end.
    pub(crate) fn fed_by(mut self, feed: Option<Arc<dyn Feed>>) -> Self {
        let (store, name) = (self.store.clone(), self.name.clone());
        let (log, filter) = (self.log.clone(), self.filter.clone());
        self.fed = feed.map(|feed| Fed::new(feed, store, name, log, filter));
        self
    }

    /// Follows, waits while paused, and tries again after failures, for as long as it takes.
    pub(crate) async fn follow_and_retry(&mut self, until: Until) -> Ended {
        let mut stood_by = false;
        loop {
            if self.is_stopped() {
                self.publish(|status| status.state = SubscriptionState::Stopped);
                return Ended::Stopped;
            }
            if self.orders.borrow_and_update().paused {
                info!(subscription = %self.name, "paused");
                self.close_feed();
                self.publish(|status| status.state = SubscriptionState::Paused);
                let _ = self.orders.changed().await;
                continue;
            }
            self.publish(|status| status.state = SubscriptionState::CatchingUp);
            let mut followed = match stood_by || self.only_watches() {
                false => self.follow(until).await,
                true => Err(HandleError::Elsewhere),
            };
            stood_by = false;
            if matches!(followed, Err(HandleError::Elsewhere)) {
                followed = self.stand_by(until).await.map(|()| None);
                // Whoever stood by and could not look goes on looking: to follow is to take over.
                stood_by = matches!(followed, Err(HandleError::Unavailable(_)));
            }
            match followed {
                Ok(Some(ended)) => return ended,
                Ok(None) | Err(HandleError::Moved) => {}
                Err(HandleError::Gone) => {
                    self.publish(|status| status.state = SubscriptionState::Stopped);
                    return Ended::Gone;
                }
                Err(error) => self.fail(&error).await,
            }
        }
    }

    /// Watches another process do the work, until that leaves events waiting for too long, an order
    /// comes, or it is where this one was to go.
    ///
    /// Nothing is held that a process which ends, hangs or is cut off would have to give back; if
    /// two take over at the same time, one of them loses a page of work and stands by.
    async fn stand_by(&mut self, until: Until) -> Result<(), HandleError> {
        info!(subscription = %self.name, "another process does the work, standing by");
        self.close_feed();
        let mut hint = self.store.subscribe_head(&self.log);
        let (mut waiting, mut unstored) = (Unmoved::default(), Unmoved::default());
        loop {
            let hinted = *hint.borrow_and_update();
            let stored = self.handler.checkpoint_elsewhere().await?;
            // What lies behind the checkpoint and is of no interest has no effect to wait for.
            let (log, filter, one) = (&self.log, &self.filter, NonZeroU32::MIN);
            let page = self.store.read_all(log, filter, stored, one).await;
            let page = page.map_err(HandleError::unavailable)?;
            let next = page.events.first();
            let before = |event: &RecordedEvent| GlobalPosition(event.position.0 - 1);
            let position = next.map_or(page.through, before).max(stored);
            let mut head = hinted.max(page.through);
            if position >= head {
                head = self.store.head(log).await.map_err(HandleError::unavailable)?.max(head);
            }
            self.rate.note(position);
            self.publish(|status| {
                status.state = SubscriptionState::StandingBy;
                status.position = position;
                status.head = head;
                status.behind_since = next.map(|event| event.recorded_at);
            });
            let there = match until {
                Until::Stopped => false,
                Until::CaughtUp => position >= head,
                Until::Reached(end) => position >= end,
            };
            if there || self.orders.has_changed().unwrap_or(true) {
                return Ok(());
            }
            let waited = waiting.since(position, head);
            // A checkpoint is stored at least now and then, also over events of no interest.
            let abandoned = unstored.since(stored, head) >= LAST_PATIENCE;
            if (waited >= self.patience || abandoned) && !self.only_watches() {
                info!(subscription = %self.name, position = position.0, "taking over");
                self.patience = (self.patience * 2).min(LAST_PATIENCE);
                return Ok(());
            }
            if position < head {
                tokio::select! {
                    () = tokio::time::sleep(STAND_BY_POLL) => {}
                    _ = self.orders.changed() => self.orders.mark_changed(),
                }
                continue;
            }
            self.patience = FIRST_PATIENCE;
            tokio::select! {
                changed = hint.changed() => {
                    if changed.is_err() {
                        tokio::time::sleep(LAST_POLL).await;
                    }
                }
                () = tokio::time::sleep(LAST_POLL) => {}
                _ = self.orders.changed() => self.orders.mark_changed(),
            }
        }
    }

    /// Follows until an order comes (`None`), a failure, or the end.
    pub(crate) async fn follow(&mut self, until: Until) -> Result<Option<Ended>, HandleError> {
        let mut hint = self.store.subscribe_head(&self.log);
        let mut read = self.handler.checkpoint().await?;
        self.rate.begin(read);
        self.publish(|status| status.position = read);
        let mut next = Next::Log;
        let mut poll = FIRST_POLL;
        loop {
            if self.orders.has_changed().unwrap_or(true) {
                let position = self.handler.end().await?;
                self.publish(|status| status.position = position);
                return Ok(None);
            }
            let hinted = *hint.borrow_and_update();
            let brought = matches!(next, Next::Page(_));
            let page = match std::mem::replace(&mut next, Next::Log) {
                Next::Ahead(mut ahead) => ahead.done().await?.map_err(HandleError::unavailable)?,
                Next::Page(page) => page,
                Next::Nothing => EventPage { events: Vec::new(), through: read },
                Next::Log => {
                    let head = self.head().max(hinted);
                    self.read(read, head).await?
                }
            };
            let page = cut(page, until);
            let nothing_new = page.through <= read;
            let new = page.events.partition_point(|event| event.position <= read);
            let new = &page.events[new..];
            let (events, since) = (new.len() as u64, new.first().map(|event| event.recorded_at));
            read = read.max(page.through);
            let is_fed = self.is_fed(read);
            let mut head = self.head().max(hinted).max(read);
            if head == read && !is_fed {
                head =
                    self.store.head(&self.log).await.map_err(HandleError::unavailable)?.max(head);
            }
            let mut there = match until {
                Until::Reached(end) => read >= end,
                Until::CaughtUp | Until::Stopped => head == read,
            };
            // What is close is read when its turn comes, with what has come until then.
            if !there && !nothing_new && !is_fed && head.0 - read.0 >= u64::from(FEWEST.get()) {
                next = Next::Ahead(self.read_ahead(read, head));
            }
            self.status.send_if_modified(|status| {
                status.head = head;
                status.behind_since = since.or(status.behind_since);
                false
            });
            let mut position = self.position();
            if !nothing_new {
                self.meters.events.increment(events);
                self.meters.fed_events.increment(if brought { events } else { 0 });
                position = self.hand_over(page).await?;
                poll = FIRST_POLL;
            }
            if is_fed {
                let news = self.fed.as_mut().and_then(|fed| fed.now(read));
                there = news.is_none();
                next = news.map_or(Next::Log, Next::from);
            }
            if there {
                position = match until {
                    Until::Stopped => self.handler.settle().await?,
                    Until::CaughtUp | Until::Reached(_) => self.handler.end().await?,
                };
            } else if nothing_new {
                position = self.handler.settle().await?;
            }
            self.rate.note(position);
            self.meters.fed.set(if is_fed { 1.0 } else { 0.0 });
            self.publish(|status| {
                status.position = position;
                if there {
                    status.behind_since = None;
                    status.state = SubscriptionState::Live;
                }
            });
            if there && until != Until::Stopped {
                return Ok(Some(Ended::There));
            }
            // A replica may not have yet what the head promises.
            if there || (nothing_new && !is_fed) {
                next = self.wait(read, &mut hint, &mut poll).await;
            }
        }
    }

    /// Waits until there may be more behind a position, or something else is to be done.
    async fn wait(
        &mut self,
        read: GlobalPosition,
        hint: &mut watch::Receiver<GlobalPosition>,
        poll: &mut Duration,
    ) -> Next {
        let is_fed = self.is_fed(read);
        let settle_after = self.handler.settle_after().unwrap_or(LAST_POLL);
        let fed = &mut self.fed;
        let news = async {
            match fed {
                Some(fed) => fed.next(read).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = news => news.into(),
            changed = hint.changed(), if !is_fed => {
                // A store that is gone gives no hints: looking is left.
                if changed.is_err() {
                    tokio::time::sleep(*poll).await;
                }
                Next::Log
            }
            () = tokio::time::sleep(*poll), if !is_fed => {
                *poll = (*poll * 2).min(LAST_POLL);
                Next::Log
            }
            () = tokio::time::sleep(settle_after) => match is_fed {
                true => Next::Nothing,
                false => Next::Log,
            },
            _ = self.orders.changed() => {
                self.orders.mark_changed();
                Next::Log
            }
        }
    }

    fn is_fed(&self, read: GlobalPosition) -> bool {
        self.fed.as_ref().is_some_and(|fed| fed.follows(read))
    }

    fn close_feed(&mut self) {
        self.meters.fed.set(0.0);
        if let Some(fed) = &mut self.fed {
            fed.close();
        }
    }

    /// Hands a page over; a panic is a failure like others.
    async fn hand_over(&mut self, page: EventPage) -> Result<GlobalPosition, HandleError> {
        AssertUnwindSafe(self.handler.handle(page)).catch_unwind().await.unwrap_or_else(|panic| {
            let said = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let said = said.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(HandleError::Unavailable(format!("panicked: {}", said.unwrap_or_default()).into()))
        })
    }

    /// Shows a failure and waits before the next try. What the handler can do without the event at
    /// which it stands goes on; if that may help, the next try comes at once.
    async fn fail(&mut self, error: &HandleError) {
        let position = self.position();
        let attempts = match self.failed_at {
            Some((at, attempts)) if at == position => attempts.saturating_add(1),
            _ => 1,
        };
        self.failed_at = Some((position, attempts));
        let wait = match self.only_watches() {
            false => retry_after(attempts),
            true => retry_after(attempts).min(LAST_LOOK),
        };
        let next_try_at = self.clock.now() + wait;
        let mut settles = matches!(error, HandleError::Event(_));
        let parked = self.handler.parked();
        let (event, error) = (failed_event(error), error.to_string());
        warn!(subscription = %self.name, position = position.0, attempts, error, "failed");
        self.meters.failures.increment(1);
        self.publish(|status| {
            let failure = Failure { event, error, attempts, next_try_at };
            status.state = SubscriptionState::Failed(failure);
        });
        let deadline = Instant::now() + wait;
        let hint = self.store.subscribe_head(&self.log);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let settle_after = self.handler.settle_after().filter(|_| settles).unwrap_or(TICK);
            tokio::select! {
                () = tokio::time::sleep(left.min(TICK).min(settle_after)) => {
                    if settles {
                        match self.handler.settle().await {
                            Ok(_) if self.handler.parked() < parked => return,
                            Err(HandleError::Moved) => return,
                            // The next try begins anew, and shows what is wrong then.
                            settled => settles = settled.is_ok(),
                        }
                    }
                    let head = *hint.borrow();
                    self.publish(|status| status.head = status.head.max(head));
                }
                _ = self.orders.changed() => {
                    self.orders.mark_changed();
                    return;
                }
            }
        }
    }

    /// Whether others do the work, and none of it is done here.
    fn only_watches(&self) -> bool {
        self.orders.borrow().watch
    }

    /// Whether it was told to stop, or nobody is left who could tell it anything.
    fn is_stopped(&self) -> bool {
        self.orders.borrow().stop || self.orders.has_changed().is_err()
    }

    fn position(&self) -> GlobalPosition {
        self.status.borrow().position
    }

    fn head(&self) -> GlobalPosition {
        self.status.borrow().head
    }

    async fn read(
        &mut self,
        after: GlobalPosition,
        head: GlobalPosition,
    ) -> Result<EventPage, HandleError> {
        let (after, limit) = self.page_at(after, head);
        let page = self.store.read_all(&self.log, &self.filter, after, limit).await;
        page.map_err(HandleError::unavailable)
    }

    fn read_ahead(
        &self,
        after: GlobalPosition,
        head: GlobalPosition,
    ) -> Ahead<Result<EventPage, ReadError>> {
        let (store, log, filter) = (self.store.clone(), self.log.clone(), self.filter.clone());
        let (after, limit) = self.page_at(after, head);
        Ahead::begin(async move { store.read_all(&log, &filter, after, limit).await })
    }

    /// Where to read, and how much.
    fn page_at(&self, after: GlobalPosition, head: GlobalPosition) -> (GlobalPosition, NonZeroU32) {
        let limit = page_size(after, head);
        match after.0.checked_sub(u64::from(self.handler.reads_again())) {
            // Positions have no gaps: one more is there.
            Some(before) => (GlobalPosition(before), limit.saturating_add(1)),
            None => (after, limit),
        }
    }

    fn publish(&self, change: impl FnOnce(&mut SubscriptionStatus)) {
        self.status.send_modify(|status| {
            change(status);
            status.head = status.head.max(status.position);
            status.positions_per_second = self.rate.per_second;
            status.parked = self.handler.parked();
            self.meters.show(status, self.clock.now());
        });
    }
}

/// Where the next page comes from.
enum Next {
    Log,
    Ahead(Ahead<Result<EventPage, ReadError>>),
    Page(EventPage),
    /// There is none: what was handled is settled.
    Nothing,
}

impl From<News> for Next {
    fn from(news: News) -> Self {
        match news {
            News::Page(page) => Self::Page(page),
            News::Log => Self::Log,
        }
    }
}

/// What goes on beside; given up when dropped.
pub(crate) struct Ahead<T>(JoinHandle<T>);

impl<T: Send + 'static> Ahead<T> {
    pub(crate) fn begin(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }

    /// Waits until it is done; asked once.
    pub(crate) async fn done(&mut self) -> Result<T, HandleError> {
        (&mut self.0).await.map_err(HandleError::unavailable)
    }
}

impl<T> Drop for Ahead<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn page_size(after: GlobalPosition, head: GlobalPosition) -> NonZeroU32 {
    let away = head.0.saturating_sub(after.0);
    let size = PAGES.iter().find(|(at_least, _)| away >= *at_least).map(|(_, size)| *size);
    size.expect("the last one is for any distance")
}

/// Leaves out what lies behind the end.
fn cut(mut page: EventPage, until: Until) -> EventPage {
    if let Until::Reached(end) = until {
        page.events.retain(|event| event.position <= end);
        page.through = page.through.min(end);
    }
    page
}

/// Half of the wait is left to chance, so that what failed together does not come back together.
fn retry_after(attempts: u32) -> Duration {
    let doubled = FIRST_RETRY.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    let most = doubled.min(LAST_RETRY);
    let [chance, ..] = *Uuid::new_v4().as_bytes();
    most / 2 + most / 2 * u32::from(chance) / 255
}

/// For how long something has not moved while there is more to come.
#[derive(Default)]
struct Unmoved(Option<(GlobalPosition, Instant)>);

impl Unmoved {
    fn since(&mut self, at: GlobalPosition, head: GlobalPosition) -> Duration {
        self.0 = match self.0 {
            _ if at >= head => None,
            Some((before, since)) if before == at => Some((before, since)),
            _ => Some((at, Instant::now())),
        };
        self.0.map_or(Duration::ZERO, |(_, since)| since.elapsed())
    }
}

/// How fast positions go by.
#[derive(Default)]
struct Rate {
    from: Option<(Instant, GlobalPosition)>,
    per_second: f64,
}

impl Rate {
    fn begin(&mut self, position: GlobalPosition) {
        self.from = Some((Instant::now(), position));
    }

    fn note(&mut self, position: GlobalPosition) {
        let Some((since, from)) = self.from else { return self.begin(position) };
        let seconds = since.elapsed().as_secs_f64();
        if seconds < 0.5 {
            return;
        }
        let now = position.0.saturating_sub(from.0) as f64 / seconds;
        let known = self.per_second;
        self.per_second = if known == 0.0 { now } else { known + (now - known) * 0.3 };
        self.begin(position);
    }
}

/// What monitoring sees.
struct Meters {
    position: metrics::Gauge,
    head: metrics::Gauge,
    lag_seconds: metrics::Gauge,
    failed: metrics::Gauge,
    standing_by: metrics::Gauge,
    fed: metrics::Gauge,
    events: metrics::Counter,
    fed_events: metrics::Counter,
    failures: metrics::Counter,
}

impl Meters {
    fn of(name: &str) -> Self {
        let label = [metrics::Label::new("subscription", name.to_owned())];
        let gauge = |metric| metrics::gauge!(metric, label.iter());
        let counter = |metric| metrics::counter!(metric, label.iter());
        Self {
            position: gauge("freehold_subscription_position"),
            head: gauge("freehold_subscription_head_position"),
            lag_seconds: gauge("freehold_subscription_lag_seconds"),
            failed: gauge("freehold_subscription_failed"),
            standing_by: gauge("freehold_subscription_standing_by"),
            fed: gauge("freehold_subscription_fed"),
            events: counter("freehold_subscription_events_total"),
            fed_events: counter("freehold_subscription_fed_events_total"),
            failures: counter("freehold_subscription_failures_total"),
        }
    }

    fn show(&self, status: &SubscriptionStatus, now: DateTime<Utc>) {
        self.position.set(status.position.0 as f64);
        self.head.set(status.head.0 as f64);
        self.lag_seconds.set(status.lag(now).as_secs_f64());
        let failed = matches!(status.state, SubscriptionState::Failed(_));
        self.failed.set(if failed { 1.0 } else { 0.0 });
        let standing_by = status.state == SubscriptionState::StandingBy;
        self.standing_by.set(if standing_by { 1.0 } else { 0.0 });
    }
}

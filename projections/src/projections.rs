//! Every projection of a deployment: kept current, rebuilt beside the old model, swapped.
//!
//! A generation that is filled is not seen: readers have the active one until the new one has
//! everything the old one shows. Then the live subscription ends after its page, the new
//! generation is brought to the same position and activated, and the subscription goes on there.
//! So no reader ever sees a position twice or an empty model.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_ports::{
    Clock, EventCodec, EventStore, Feed, Generation, GenerationId, GenerationState, GlobalPosition,
    LetterId, LogName, ReadModelError, ReadModels, RetryPace, Tried,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::decisions::Verdict;
use crate::projector::{AnyProjection, Fills};
use crate::subscription::{Ended, Follower, Orders, Until, wait_for};
use crate::verify::{Verification, verify};
use crate::{
    Failure, FailurePolicy, HandleError, NotReached, Projection, SubscriptionState,
    SubscriptionStatus,
};

/// How long to wait before trying again to bring a projection up: so much longer each time, since
/// each tries what is parked again.
const RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// A generation that is not filled for so long was left behind by whoever began it.
const ABANDONED_AFTER: Duration = Duration::from_secs(5);

/// The projections of a deployment, each with its live subscription.
///
/// [`start`](Self::start) makes them follow their logs in this process. Rebuilding, rolling back
/// and verifying also work without it, and beside another process that has started them.
pub struct Projections {
    engine: Engine,
    kept: BTreeMap<&'static str, Arc<Kept>>,
}

/// What every projection needs.
#[derive(Clone)]
pub(crate) struct Engine {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) models: Arc<dyn ReadModels>,
    pub(crate) codec: EventCodec,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Arc<FailurePolicy>,
    /// What brings pages to those that are at the end of their logs, if not the store.
    pub(crate) feed: Option<Arc<dyn Feed>>,
}

/// One projection and what is done with it.
struct Kept {
    engine: Engine,
    projection: Arc<dyn AnyProjection>,
    orders: watch::Sender<Orders>,
    live: watch::Sender<SubscriptionStatus>,
    task: Mutex<Option<JoinHandle<()>>>,
    building: Mutex<Option<Fill>>,
    /// Held by whoever makes, swaps or drops generations.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// A generation that is being filled, as others see it.
#[derive(Clone)]
struct Fill {
    generation: GenerationId,
    began_at: DateTime<Utc>,
    phase: watch::Sender<Phase>,
    status: watch::Sender<SubscriptionStatus>,
}

/// How a projection is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// The version of the code.
    pub version: u32,
    /// The log it reads.
    pub log: LogName,
    /// What fills the generation that answers queries.
    pub live: SubscriptionStatus,
    /// A generation that is being filled beside it.
    pub building: Option<Building>,
}

/// A generation that is being filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Building {
    /// Which one.
    pub generation: GenerationId,
    /// Since when.
    pub began_at: DateTime<Utc>,
    /// What is being done.
    pub phase: Phase,
    /// How far it is: position, head, rate, [time left](SubscriptionStatus::time_left).
    pub status: SubscriptionStatus,
}

/// What is being done to a generation before readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Events are folded into it.
    Filling,
    /// Its indexes are made.
    Preparing,
    /// What happened meanwhile is folded into it.
    CatchingUp,
    /// It is activated.
    Swapping,
}

/// Why something was not done to a projection.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    /// There is no such projection.
    #[error("there is no projection {0}; see `freehold projection list`")]
    Unknown(String),
    /// One thing at a time.
    #[error("projection {0} is being built or swapped; try again when that is done")]
    Busy(&'static str),
    /// No earlier generation is kept.
    #[error("projection {0} has no earlier generation to go back to")]
    NoEarlier(&'static str),
    /// The earlier generation is not this program's.
    #[error("generation {} was filled by version {filled_by}; go back with a release of that version", .generation.number)]
    OtherVersion {
        /// The newest retired generation.
        generation: GenerationId,
        /// The version that filled it.
        filled_by: u32,
    },
    /// An event or a store stood in the way; readers have what they had.
    #[error(transparent)]
    Stopped(#[from] HandleError),
    /// The read models did not do it.
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// What is parked or shown changes all the time.
    #[error(
        "dead letters of {0} are being tried again, or its rows change faster than they can be \
         compared; verify it when that is over"
    )]
    Retrying(&'static str),
    /// The work ended by a defect.
    #[error("it ended unexpectedly; the log says why")]
    Ended,
}

impl Projections {
    /// No projections yet.
    pub fn new(
        store: Arc<dyn EventStore>,
        models: Arc<dyn ReadModels>,
        codec: EventCodec,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let policy = Arc::default();
        let engine = Engine { store, models, codec, clock, policy, feed: None };
        Self { engine, kept: BTreeMap::new() }
    }

    /// What becomes of events that cannot be handled, in the projections added from here on.
    #[must_use]
    pub fn under(mut self, policy: FailurePolicy) -> Self {
        self.engine.policy = Arc::new(policy);
        self
    }

    /// What brings pages to the projections added from here on, once they are at the end of their
    /// logs; the store does where there is no feed, and wherever that lacks something.
    #[must_use]
    pub fn fed_by(mut self, feed: Option<Arc<dyn Feed>>) -> Self {
        self.engine.feed = feed;
        self
    }

    /// Adds a projection; the last one of a name counts.
    #[must_use]
    pub fn with<P: Projection>(mut self, projection: P) -> Self {
        let kept = Kept {
            engine: self.engine.clone(),
            projection: Arc::new(projection),
            orders: watch::Sender::new(Orders::default()),
            live: watch::Sender::new(SubscriptionStatus::new()),
            task: Mutex::default(),
            building: Mutex::default(),
            turn: Arc::default(),
        };
        self.kept.insert(P::NAME, Arc::new(kept));
        self
    }

    /// Makes every projection follow its log: at the active generation if this version filled it,
    /// else once a generation of this version is filled and swapped in. Where a newer version
    /// filled it, the projection only says so, until it is [rebuilt](Self::rebuild) or
    /// [rolled back](Self::roll_back).
    pub fn start(&self) {
        self.follow(false);
    }

    /// Makes every projection look how far other processes have brought it, without doing any of
    /// their work, also where none does it: statuses and waits are answered as after
    /// [`start`](Self::start).
    pub fn watch(&self) {
        self.follow(true);
    }

    fn follow(&self, watch: bool) {
        for kept in self.kept.values() {
            kept.orders.send_modify(|orders| orders.watch = watch);
            kept.start();
        }
    }

    /// Ends every projection after the page in hand.
    pub async fn stop(&self) {
        for kept in self.kept.values() {
            kept.orders.send_modify(|orders| orders.stop = true);
        }
        for kept in self.kept.values() {
            kept.stop().await;
        }
    }

    /// How every projection is doing, by name.
    pub fn statuses(&self) -> Vec<ProjectionStatus> {
        self.kept.values().map(|kept| kept.status()).collect()
    }

    /// How a projection is doing.
    pub fn status(&self, name: &str) -> Result<ProjectionStatus, ProjectionError> {
        Ok(self.kept(name)?.status())
    }

    /// How the live subscription of a projection is doing, now and whenever that changes; it goes
    /// on over swaps.
    pub fn live(&self, name: &str) -> Result<watch::Receiver<SubscriptionStatus>, ProjectionError> {
        Ok(self.kept(name)?.live.subscribe())
    }

    /// Waits until queries of a projection see every event up to a position, at most so long.
    pub async fn wait_for(
        &self,
        name: &str,
        position: GlobalPosition,
        timeout: Duration,
    ) -> Result<Result<(), NotReached>, ProjectionError> {
        Ok(wait_for(name, self.live(name)?, position, timeout).await)
    }

    /// Makes a projection wait after the page in hand.
    pub fn pause(&self, name: &str) -> Result<(), ProjectionError> {
        self.kept(name)?.orders.send_modify(Orders::pause);
        Ok(())
    }

    /// Makes a projection go on; after a failure, at once.
    pub fn resume(&self, name: &str) -> Result<(), ProjectionError> {
        self.kept(name)?.orders.send_modify(Orders::resume);
        Ok(())
    }

    /// Starts to fill a new generation beside the one that answers queries, to swap them when it
    /// has caught up. The one that answered until then is kept for
    /// [`roll_back`](Self::roll_back), any other is dropped.
    pub fn rebuild(&self, name: &str) -> Result<Rebuild, ProjectionError> {
        let kept = self.kept(name)?.clone();
        let turn = kept.clone().take_turn()?;
        let progress = kept.clone();
        let task = tokio::spawn(async move {
            let _turn = turn;
            kept.rebuild().await
        });
        Ok(Rebuild { kept: progress, task })
    }

    /// Goes back to the generation that answered before the present one, once it has caught up.
    pub async fn roll_back(&self, name: &str) -> Result<GenerationId, ProjectionError> {
        let kept = self.kept(name)?.clone();
        let turn = kept.clone().take_turn()?;
        let task = tokio::spawn(async move {
            let _turn = turn;
            kept.roll_back().await
        });
        task.await.map_err(|_| ProjectionError::Ended)?
    }

    /// Folds the log once more and compares every row with what answers queries.
    pub async fn verify(&self, name: &str) -> Result<Verification, ProjectionError> {
        let kept = self.kept(name)?.clone();
        let turn = kept.clone().take_turn()?;
        let task = tokio::spawn(async move {
            let _turn = turn;
            verify(&kept.engine, &kept.projection).await
        });
        task.await.map_err(|_| ProjectionError::Ended)?
    }

    /// What trying a letter again would come to: of its stream, the first 1,000 events that wait.
    /// Nothing is stored. None if no stream of that projection is parked so.
    pub async fn try_letter(&self, letter: &LetterId) -> Result<Option<Tried>, ProjectionError> {
        self.try_with(letter, None).await
    }

    pub(crate) async fn try_with(
        &self,
        letter: &LetterId,
        supposed: Option<Verdict>,
    ) -> Result<Option<Tried>, ProjectionError> {
        let kept = self.kept(&letter.generation.projection)?;
        let parked = kept.engine.models.parked(&letter.generation).await?;
        let Some(letter) = parked.into_iter().find(|parked| parked.id == *letter) else {
            return Ok(None);
        };
        let projection = kept.projection.clone();
        Ok(Some(projection.try_letter(kept.engine.clone(), letter, supposed).await?))
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn of(
        &self,
        name: &str,
    ) -> Result<(&Engine, &Arc<dyn AnyProjection>), ProjectionError> {
        let kept = self.kept(name)?;
        Ok((&kept.engine, &kept.projection))
    }

    fn kept(&self, name: &str) -> Result<&Arc<Kept>, ProjectionError> {
        self.kept.get(name).ok_or_else(|| ProjectionError::Unknown(name.to_owned()))
    }
}

/// A rebuild that goes on whether or not somebody waits for it.
pub struct Rebuild {
    kept: Arc<Kept>,
    task: JoinHandle<Result<GenerationId, ProjectionError>>,
}

impl Rebuild {
    /// How far it is; nothing before it has begun and after it has ended.
    pub fn progress(&self) -> Option<Building> {
        self.kept.status().building
    }

    /// Waits until the new generation answers queries.
    pub async fn finished(self) -> Result<GenerationId, ProjectionError> {
        self.task.await.map_err(|_| ProjectionError::Ended)?
    }
}

impl Kept {
    fn name(&self) -> &'static str {
        self.projection.name()
    }

    fn status(&self) -> ProjectionStatus {
        let building = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        ProjectionStatus {
            name: self.name(),
            version: self.projection.version(),
            log: self.projection.log(),
            live: self.live.borrow().clone(),
            building: building.as_ref().map(|fill| Building {
                generation: fill.generation.clone(),
                began_at: fill.began_at,
                phase: *fill.phase.borrow(),
                status: fill.status.borrow().clone(),
            }),
        }
    }

    fn take_turn(self: Arc<Self>) -> Result<tokio::sync::OwnedMutexGuard<()>, ProjectionError> {
        self.turn.clone().try_lock_owned().map_err(|_| ProjectionError::Busy(self.name()))
    }

    fn start(self: &Arc<Self>) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            self.orders.send_modify(|orders| orders.stop = false);
            let kept = self.clone();
            *task = Some(tokio::spawn(async move { kept.live().await }));
        }
    }

    /// Ends the live subscription; whether there was one.
    async fn stop(&self) -> bool {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(task) = task else { return false };
        self.orders.send_modify(|orders| orders.stop = true);
        if task.await.is_err() {
            warn!(projection = self.name(), "the live subscription ended by a defect");
        }
        true
    }

    /// Keeps the projection current until it is told to stop.
    async fn live(self: Arc<Self>) {
        let watches = self.orders.borrow().watch;
        let mut attempts = 0;
        while !watches && let Err(error) = self.bring_up().await {
            attempts += 1;
            warn!(projection = self.name(), %error, attempts, "not brought up, trying again");
            let error = error.to_string();
            let wait = (RETRY * attempts).min(LAST_RETRY);
            let next_try_at = self.engine.clock.now() + wait;
            self.live.send_modify(|status| {
                let failure = Failure { event: None, error, attempts, next_try_at };
                status.state = SubscriptionState::Failed(failure);
            });
            let mut orders = self.orders.subscribe();
            let stopped = orders.wait_for(|orders| orders.stop);
            if tokio::time::timeout(wait, stopped).await.is_ok() {
                break;
            }
        }
        let handler = self.handler(if watches { Fills::Nothing } else { Fills::Active });
        let (orders, status) = (self.orders.subscribe(), self.live.clone());
        let follower = self.follower(handler, orders, status);
        let mut follower = follower.fed_by(self.engine.feed.clone());
        follower.follow_and_retry(Until::Stopped).await;
    }

    /// Sees to it that a generation of this version is active.
    async fn bring_up(&self) -> Result<(), ProjectionError> {
        if self.is_up(&self.engine.models.generations(self.name()).await?) {
            return Ok(());
        }
        let mut orders = self.orders.subscribe();
        let _turn = tokio::select! {
            turn = self.turn.lock() => turn,
            // Whoever has the turn may be waiting for this to end.
            _ = orders.wait_for(|orders| orders.stop) => return Ok(()),
        };
        let Some(generation) = self.begin().await? else { return Ok(()) };
        let version = self.projection.version();
        let head = self.engine.store.head(&self.projection.log()).await;
        let events = head.map_err(HandleError::unavailable)?.0;
        // With no events there is nothing that takes time.
        if events > 0 {
            let generation = generation.number;
            info!(projection = self.name(), version, generation, events, "building");
        }
        let fill = self.begin_fill(generation.clone());
        let orders = self.orders.subscribe();
        let mut follower = self.follower(
            self.handler(Fills::One(generation.clone())),
            orders,
            fill.status.clone(),
        );
        for phase in [Phase::Filling, Phase::CatchingUp] {
            fill.phase.send_replace(phase);
            match follower.follow_and_retry(Until::CaughtUp).await {
                Ended::There => {}
                Ended::Stopped => return Ok(()),
                Ended::Gone => return Err(HandleError::Gone.into()),
            }
            if phase == Phase::Filling {
                fill.phase.send_replace(Phase::Preparing);
                self.engine.models.prepare(generation.clone()).await?;
            }
        }
        if self.order_parked(&generation).await? {
            match follower.follow_and_retry(Until::CaughtUp).await {
                Ended::There => {}
                Ended::Stopped => return Ok(()),
                Ended::Gone => return Err(HandleError::Gone.into()),
            }
        }
        // Another process may have filled it too, and be through.
        if self.is_up(&self.engine.models.generations(self.name()).await?) {
            return Ok(());
        }
        fill.phase.send_replace(Phase::Swapping);
        let activated = self.activate(&mut follower, &generation).await?;
        if activated && events > 0 {
            info!(projection = self.name(), generation = generation.number, "activated");
        }
        Ok(())
    }

    /// The generation of this version that is to be filled and activated; none if one is active.
    async fn begin(&self) -> Result<Option<GenerationId>, ProjectionError> {
        let version = self.projection.version();
        loop {
            let generations = self.engine.models.generations(self.name()).await?;
            if self.is_up(&generations) {
                return Ok(None);
            }
            // The first, so that of several processes each takes the same.
            let begun = generations.iter().find(|generation| {
                generation.version == version && generation.state != GenerationState::Active
            });
            if let Some(begun) = begun {
                self.engine.models.reopen(begun.id.clone()).await?;
                return Ok(Some(begun.id.clone()));
            }
            let made = self.create().await?;
            // Of processes that start together all may have found nothing: the first one's counts.
            let generations = self.engine.models.generations(self.name()).await?;
            let earlier = generations.iter().any(|generation| {
                generation.version == version && generation.id.number < made.number
            });
            if !earlier {
                return Ok(Some(made));
            }
            self.drop_generation(made).await?;
        }
    }

    /// Whether the active generation is one that this version goes on filling, or that of a newer
    /// release, which one that is started again leaves to its readers.
    fn is_up(&self, generations: &[Generation]) -> bool {
        let active = generations.iter().find(|g| g.state == GenerationState::Active);
        if let Some(active) = active {
            self.live.send_modify(|status| status.position = active.checkpoint);
        }
        active.is_some_and(|active| active.version >= self.projection.version())
    }

    async fn rebuild(self: Arc<Self>) -> Result<GenerationId, ProjectionError> {
        self.drop_abandoned().await?;
        let generation = self.create().await?;
        info!(projection = self.name(), generation = generation.number, "rebuilding");
        let swapped = self.catch_up_and_swap(&generation).await;
        if let Err(error) = &swapped {
            warn!(projection = self.name(), %error, "rebuild given up");
            // Not if another process goes on filling it.
            if !matches!(error, ProjectionError::Stopped(HandleError::Elsewhere)) {
                self.drop_generation(generation.clone()).await?;
            }
        }
        swapped.map(|()| generation)
    }

    async fn roll_back(self: Arc<Self>) -> Result<GenerationId, ProjectionError> {
        let generations = self.engine.models.generations(self.name()).await?;
        let mut newest = generations.iter().rev();
        let retired = newest.clone().find(|g| g.state == GenerationState::Retired);
        let earlier = retired.or_else(|| {
            // A roll back that was not finished left it building.
            newest.find(|g| g.state == GenerationState::Active);
            newest.find(|g| g.state == GenerationState::Building)
        });
        let Generation { id, version, .. } =
            earlier.cloned().ok_or(ProjectionError::NoEarlier(self.name()))?;
        if version != self.projection.version() {
            return Err(ProjectionError::OtherVersion { generation: id, filled_by: version });
        }
        self.engine.models.reopen(id.clone()).await?;
        self.catch_up_and_swap(&id).await?;
        info!(projection = self.name(), generation = id.number, "rolled back");
        Ok(id)
    }

    /// Brings a generation to where readers are, and makes them read it.
    async fn catch_up_and_swap(
        self: &Arc<Self>,
        generation: &GenerationId,
    ) -> Result<(), ProjectionError> {
        let fill = self.begin_fill(generation.clone());
        // The orders of the live subscription are not meant for this one.
        let orders = watch::Sender::new(Orders::default());
        let handler = self.handler(Fills::One(generation.clone()));
        let mut follower = self.follower(handler, orders.subscribe(), fill.status.clone());
        follow_on(&mut follower, Until::CaughtUp).await?;
        fill.phase.send_replace(Phase::Preparing);
        self.engine.models.prepare(generation.clone()).await?;
        fill.phase.send_replace(Phase::CatchingUp);
        self.order_parked(generation).await?;
        follow_on(&mut follower, Until::CaughtUp).await?;
        fill.phase.send_replace(Phase::Swapping);
        let was_live = self.stop().await;
        // Nothing moves the active generation now, in this process.
        let swapped = self.activate(&mut follower, generation).await;
        drop(fill);
        if was_live {
            self.start();
        }
        if swapped? {
            info!(projection = self.name(), generation = generation.number, "activated");
        }
        Ok(())
    }

    /// Makes readers see a generation, once it has what they see until then; whether it was not
    /// told to stop before. It goes on as long as another process is faster; not if the log does
    /// not have what they see.
    async fn activate(
        &self,
        follower: &mut Follower,
        generation: &GenerationId,
    ) -> Result<bool, ProjectionError> {
        let mut stood_at = None;
        loop {
            match self.engine.models.activate(generation.clone()).await {
                Err(ReadModelError::Behind { checkpoint, .. }) if stood_at != Some(checkpoint) => {
                    stood_at = Some(checkpoint);
                    if follow_on(follower, Until::CaughtUp).await?.is_some() {
                        continue;
                    }
                    // An order came before it was there.
                    match follower.follow_and_retry(Until::CaughtUp).await {
                        Ended::There => {}
                        Ended::Stopped => return Ok(false),
                        Ended::Gone => return Err(HandleError::Gone.into()),
                    }
                }
                activated => return activated.map(|()| true).map_err(Into::into),
            }
        }
    }

    /// Orders another try of all that a generation has parked, before readers see it: what parked
    /// it may have been mended since. Whether there is any.
    async fn order_parked(&self, generation: &GenerationId) -> Result<bool, ReadModelError> {
        let parked = self.engine.models.parked(generation).await?;
        if parked.is_empty() {
            return Ok(false);
        }
        let pace = RetryPace { first_at: self.engine.clock.now(), every: Duration::ZERO };
        let letters = parked.into_iter().map(|letter| letter.id).collect();
        self.engine.models.order_retry(letters, pace, "swap".into()).await?;
        Ok(true)
    }

    async fn create(&self) -> Result<GenerationId, ReadModelError> {
        let (version, tables) = (self.projection.version(), self.projection.tables());
        self.engine.models.create_generation(self.name(), version, tables).await
    }

    /// Drops what earlier attempts left behind, but nothing that another process fills.
    async fn drop_abandoned(&self) -> Result<(), ReadModelError> {
        let before = self.engine.models.generations(self.name()).await?;
        if before.iter().all(|generation| generation.state != GenerationState::Building) {
            return Ok(());
        }
        tokio::time::sleep(ABANDONED_AFTER).await;
        for left in self.engine.models.generations(self.name()).await? {
            if left.state == GenerationState::Building && before.contains(&left) {
                self.drop_generation(left.id).await?;
            }
        }
        Ok(())
    }

    /// Drops a generation, unless another process has done so or made readers see it.
    async fn drop_generation(&self, generation: GenerationId) -> Result<(), ReadModelError> {
        match self.engine.models.drop_generation(generation).await {
            Err(ReadModelError::NoGeneration(_) | ReadModelError::Active(_)) => Ok(()),
            dropped => dropped,
        }
    }

    fn handler(&self, fills: Fills) -> Box<dyn crate::Handler> {
        self.projection.clone().handler(self.engine.clone(), fills)
    }

    fn follower(
        &self,
        handler: Box<dyn crate::Handler>,
        orders: watch::Receiver<Orders>,
        status: watch::Sender<SubscriptionStatus>,
    ) -> Follower {
        let Engine { store, clock, .. } = &self.engine;
        Follower::new(store.clone(), clock.clone(), handler, orders, status)
    }

    /// Shows that a generation is being filled, until the answer is dropped.
    fn begin_fill(&self, generation: GenerationId) -> ShownFill<'_> {
        let fill = Fill {
            generation,
            began_at: self.engine.clock.now(),
            phase: watch::Sender::new(Phase::Filling),
            status: watch::Sender::new(SubscriptionStatus::new()),
        };
        *self.building.lock().unwrap_or_else(PoisonError::into_inner) = Some(fill.clone());
        ShownFill { kept: self, fill }
    }
}

/// Follows, and goes on where letters were changed meanwhile.
pub(crate) async fn follow_on(
    follower: &mut Follower,
    until: Until,
) -> Result<Option<Ended>, HandleError> {
    loop {
        match follower.follow(until).await {
            Err(HandleError::Moved) => {}
            followed => return followed,
        }
    }
}

/// A fill that others see while it is going on.
struct ShownFill<'a> {
    kept: &'a Kept,
    fill: Fill,
}

impl std::ops::Deref for ShownFill<'_> {
    type Target = Fill;

    fn deref(&self) -> &Fill {
        &self.fill
    }
}

impl Drop for ShownFill<'_> {
    fn drop(&mut self) {
        *self.kept.building.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl ProjectionStatus {
    /// Whether queries are answered from a model that follows its log.
    pub fn is_current(&self) -> bool {
        match self.live.state {
            SubscriptionState::Live => true,
            SubscriptionState::StandingBy => self.live.behind_since.is_none(),
            _ => false,
        }
    }
}

//! Every projection of a process: started together, rebuilt, rolled back and verified one by one.
//!
//! Each has one live subscription, on its active generation. A rebuild runs a second one on a new
//! generation; when that has caught up it is activated and takes the first one's place.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use freehold_ports::{
    Clock, EventCodec, EventFilter, EventStore, Generation, GenerationId, GenerationState,
    GlobalPosition, LogName, ReadError, ReadModelError, ReadModels, Row, Table,
};
use tokio::sync::{Mutex, watch};
use tracing::{info, warn};

use crate::projector::Projector;
use crate::{
    HandleError, Handler as _, Projection, Subscription, SubscriptionState, SubscriptionStatus,
};

const PAGE: NonZeroU32 = NonZeroU32::new(10_000).expect("10,000 is not zero");

/// How many differences a verification describes; it counts all of them.
const SHOWN_DIFFERENCES: usize = 10;

/// What projections run on.
#[derive(Clone)]
pub struct Sources {
    /// The logs.
    pub store: Arc<dyn EventStore>,
    /// The read models.
    pub models: Arc<dyn ReadModels>,
    /// Between stored bytes and events.
    pub codec: EventCodec,
    /// The time, for lag and retries.
    pub clock: Arc<dyn Clock>,
}

/// The projections of a process.
#[derive(Clone)]
pub struct Projections {
    entries: Arc<[Arc<dyn Entry>]>,
    clock: Arc<dyn Clock>,
}

/// How one projection is doing.
#[derive(Clone, Debug, PartialEq)]
pub struct ProjectionStatus {
    /// Its name.
    pub name: &'static str,
    /// Its version.
    pub version: u32,
    /// The log it reads.
    pub log: LogName,
    /// Its live subscription; none if it was not started.
    pub live: Option<SubscriptionStatus>,
    /// The subscription of a rebuild under way.
    pub rebuild: Option<SubscriptionStatus>,
    /// How old its rows are, in seconds; unknown before the first event.
    pub lag_seconds: Option<f64>,
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verification {
    /// The position that both were folded to.
    pub position: GlobalPosition,
    /// How many rows were compared.
    pub rows: u64,
    /// How many rows differ.
    pub differences: u64,
    /// The first of them, in words.
    pub first: Vec<String>,
}

/// A read model did not reach a position in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("projection {projection} stands at {at}, not yet at {asked}; ask again")]
pub struct Stale {
    /// Which projection.
    pub projection: &'static str,
    /// Where it stands.
    pub at: GlobalPosition,
    /// The position asked for.
    pub asked: GlobalPosition,
}

/// Why something was not done to a projection.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// There is no such projection.
    #[error("there is no projection {0}; `freehold projection list` names them")]
    Unknown(String),
    /// One rebuild at a time.
    #[error("projection {0} is being rebuilt already; wait for it")]
    Busy(&'static str),
    /// Nothing to go back to.
    #[error("projection {0} has no earlier generation of today's version to go back to")]
    NothingToRollBackTo(&'static str),
    /// Queries read no generation yet.
    #[error("projection {0} is not built yet; wait until it has caught up")]
    NotBuilt(&'static str),
    /// An event stopped it; what answered queries still does.
    #[error("projection {projection} was stopped: {failure}; what answered queries still does")]
    Stopped {
        /// Which projection.
        projection: &'static str,
        /// Why.
        failure: HandleError,
    },
    /// The read models did not answer.
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    /// The log did not answer.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl Projections {
    /// Nothing to run yet.
    pub fn builder(sources: Sources) -> ProjectionsBuilder {
        ProjectionsBuilder { sources, entries: Vec::new() }
    }

    /// Starts them all; each builds its first generation if it has none.
    pub async fn start(&self) -> Result<(), LifecycleError> {
        for entry in &*self.entries {
            entry.start().await?;
        }
        Ok(())
    }

    /// Finishes the pages in hand and ends them all.
    pub async fn stop(&self) {
        for entry in &*self.entries {
            entry.stop().await;
        }
    }

    /// How each is doing.
    pub fn status(&self) -> Vec<ProjectionStatus> {
        self.entries.iter().map(|entry| entry.status(self.clock.now())).collect()
    }

    /// The generations of a projection, oldest first.
    pub async fn generations(&self, name: &str) -> Result<Vec<Generation>, LifecycleError> {
        self.entry(name)?.generations().await
    }

    /// Waits until a projection's rows show everything up to `position`, at most `limit`.
    pub async fn wait_for(
        &self,
        name: &str,
        position: GlobalPosition,
        limit: Duration,
    ) -> Result<Result<(), Stale>, LifecycleError> {
        Ok(self.entry(name)?.wait_for(position, limit).await)
    }

    /// Finishes the page in hand and waits until [`resume`](Self::resume).
    pub async fn pause(&self, name: &str) -> Result<(), LifecycleError> {
        self.entry(name)?.pause().await;
        Ok(())
    }

    /// Goes on after a pause.
    pub async fn resume(&self, name: &str) -> Result<(), LifecycleError> {
        self.entry(name)?.resume().await;
        Ok(())
    }

    /// Fills a new generation beside live reads and swaps to it; the old one is kept for
    /// [`roll_back`](Self::roll_back). `progress` is shown the new generation's status.
    pub async fn rebuild(
        &self,
        name: &str,
        progress: &(dyn for<'s> Fn(&'s SubscriptionStatus) + Send + Sync),
    ) -> Result<(), LifecycleError> {
        self.entry(name)?.rebuild(progress).await
    }

    /// Brings the generation before the active one up to date and swaps back to it.
    pub async fn roll_back(&self, name: &str) -> Result<(), LifecycleError> {
        self.entry(name)?.roll_back().await
    }

    /// Folds the log into a fresh generation and compares every row with the active one's.
    pub async fn verify(
        &self,
        name: &str,
        progress: &(dyn Fn(GlobalPosition) + Send + Sync),
    ) -> Result<Verification, LifecycleError> {
        self.entry(name)?.verify(progress).await
    }

    fn entry(&self, name: &str) -> Result<&Arc<dyn Entry>, LifecycleError> {
        self.entries
            .iter()
            .find(|entry| entry.name() == name)
            .ok_or_else(|| LifecycleError::Unknown(name.to_owned()))
    }
}

/// Collects projections.
pub struct ProjectionsBuilder {
    sources: Sources,
    entries: Vec<Arc<dyn Entry>>,
}

impl ProjectionsBuilder {
    /// Adds a projection.
    #[must_use]
    pub fn with<P: Projection + Clone>(mut self, projection: P) -> Self {
        let sources = self.sources.clone();
        self.entries.push(Arc::new(Projected {
            projection,
            sources,
            live: Mutex::new(None),
            shown: watch::Sender::new(None),
            rebuild: watch::Sender::new(None),
            built: AtomicBool::new(false),
            changing: Mutex::new(()),
        }));
        self
    }

    /// All of them, not started.
    pub fn build(self) -> Projections {
        Projections { entries: self.entries.into(), clock: self.sources.clock }
    }
}

/// A projection whose type the registry does not know.
#[async_trait]
trait Entry: Send + Sync {
    fn name(&self) -> &'static str;
    fn status(&self, now: DateTime<Utc>) -> ProjectionStatus;
    async fn generations(&self) -> Result<Vec<Generation>, LifecycleError>;
    async fn start(&self) -> Result<(), LifecycleError>;
    async fn stop(&self);
    async fn pause(&self);
    async fn resume(&self);
    async fn wait_for(&self, position: GlobalPosition, limit: Duration) -> Result<(), Stale>;
    async fn rebuild(
        &self,
        progress: &(dyn for<'s> Fn(&'s SubscriptionStatus) + Send + Sync),
    ) -> Result<(), LifecycleError>;
    async fn roll_back(&self) -> Result<(), LifecycleError>;
    async fn verify(
        &self,
        progress: &(dyn Fn(GlobalPosition) + Send + Sync),
    ) -> Result<Verification, LifecycleError>;
}

type Shown = watch::Sender<Option<watch::Receiver<SubscriptionStatus>>>;

struct Projected<P> {
    projection: P,
    sources: Sources,
    live: Mutex<Option<Subscription>>,
    /// The live subscription's status, for whoever waits across a swap.
    shown: Shown,
    rebuild: Shown,
    /// Whether queries can read it: a first generation is filled before.
    built: AtomicBool,
    /// Held while generations change.
    changing: Mutex<()>,
}

impl<P: Projection + Clone> Projected<P> {
    fn subscribe(&self, generation: GenerationId, name: &str) -> Subscription {
        let projector = self.projector(generation, name);
        Subscription::start(self.sources.store.clone(), self.sources.clock.clone(), projector)
    }

    fn projector(&self, generation: GenerationId, name: &str) -> Projector<P> {
        let Sources { models, codec, .. } = self.sources.clone();
        Projector::new(self.projection.clone(), models, codec, generation, name.into())
    }

    async fn create(&self) -> Result<GenerationId, LifecycleError> {
        let tables = self.projection.tables();
        Ok(self.sources.models.create_generation(P::NAME, P::VERSION, tables).await?)
    }

    async fn run_live(&self, generation: GenerationId) {
        let subscription = self.subscribe(generation, P::NAME);
        self.shown.send_replace(Some(subscription.status()));
        let before = self.live.lock().await.replace(subscription);
        if let Some(before) = before {
            before.stop().await;
        }
    }

    /// Brings a generation up to date beside the live one, then lets it take its place.
    async fn swap_to(
        &self,
        generation: GenerationId,
        progress: &(dyn for<'s> Fn(&'s SubscriptionStatus) + Send + Sync),
    ) -> Result<(), LifecycleError> {
        let filling = self.subscribe(generation.clone(), &format!("{} (rebuild)", P::NAME));
        let mut status = filling.status();
        self.rebuild.send_replace(Some(filling.status()));
        let caught_up = loop {
            let now = status.borrow_and_update().clone();
            progress(&now);
            match now.state {
                SubscriptionState::Live => break Ok(()),
                SubscriptionState::Failed { event: event @ Some(_), reason, .. } => {
                    break Err(HandleError { event, reason });
                }
                SubscriptionState::Stopped => {
                    let reason = "its task ended; the log says why".to_owned();
                    break Err(HandleError { event: None, reason });
                }
                _ => {}
            }
            // An error is seen as Stopped above, with the last status.
            if status.changed().await.is_err() {
                let reason = "its task ended; the log says why".to_owned();
                break Err(HandleError { event: None, reason });
            }
        };
        filling.stop().await;
        self.rebuild.send_replace(None);
        match caught_up {
            Ok(()) => {
                if self.live.lock().await.is_some() {
                    self.run_live(generation).await;
                }
                Ok(())
            }
            Err(failure) => Err(LifecycleError::Stopped { projection: P::NAME, failure }),
        }
    }

    /// Keeps one generation to roll back to.
    async fn drop_old(&self) -> Result<(), LifecycleError> {
        let generations = self.generations().await?;
        let retired = generations.iter().filter(|one| one.state == GenerationState::Retired);
        for old in retired.rev().skip(1) {
            self.sources.models.drop_generation(old.id.clone()).await?;
        }
        Ok(())
    }

    async fn active(&self) -> Result<Generation, LifecycleError> {
        let generations = self.generations().await?;
        let active = generations.into_iter().find(|one| one.state == GenerationState::Active);
        active.ok_or(LifecycleError::NotBuilt(P::NAME))
    }

    /// Folds a generation on until exactly `end`.
    async fn fold_to(
        &self,
        projector: &mut Projector<P>,
        end: GlobalPosition,
        progress: &(dyn Fn(GlobalPosition) + Send + Sync),
    ) -> Result<(), LifecycleError> {
        let stopped = |failure| LifecycleError::Stopped { projection: P::NAME, failure };
        let (log, filter): (LogName, EventFilter) = (projector.log(), projector.filter());
        let mut position = projector.checkpoint().await.map_err(stopped)?;
        while position < end {
            let mut page = self.sources.store.read_all(&log, &filter, position, PAGE).await?;
            page.through = page.through.min(end);
            page.events.retain(|event| event.position <= end);
            position = page.through;
            projector.handle(page).await.map_err(stopped)?;
            progress(position);
        }
        projector.stop().await.map_err(stopped)
    }

    async fn compare(
        &self,
        active: &GenerationId,
        fresh: &GenerationId,
        position: GlobalPosition,
    ) -> Result<Verification, LifecycleError> {
        let mut found = Verification { position, rows: 0, differences: 0, first: Vec::new() };
        for table in self.projection.tables() {
            let mut after = None;
            loop {
                let models = &self.sources.models;
                let is = models.scan(active.clone(), table, after.clone(), PAGE).await?;
                let should = models.scan(fresh.clone(), table, after, PAGE).await?;
                found.compare(table, &is, &should);
                match should.last().or(is.last()) {
                    Some(last) if is.len() == should.len() => after = Some(table.key_of(last)),
                    _ => break,
                }
            }
        }
        Ok(found)
    }
}

impl Verification {
    fn compare(&mut self, table: &Table, is: &[Row], should: &[Row]) {
        self.rows += should.len() as u64;
        if is.len() != should.len() {
            self.differ(format!(
                "{}: {} rows, a fresh fold has {}",
                table.name,
                is.len(),
                should.len()
            ));
        }
        for (is, should) in is.iter().zip(should).filter(|(is, should)| is != should) {
            let place = is.0.iter().zip(&should.0).position(|(is, should)| is != should);
            let column = place.map_or("?", |place| table.columns[place].name);
            let key = table.key_of(should);
            self.differ(format!("{}: row {key:?} differs in {column}", table.name));
        }
    }

    fn differ(&mut self, what: String) {
        self.differences += 1;
        if self.first.len() < SHOWN_DIFFERENCES {
            self.first.push(what);
        }
    }
}

#[async_trait]
impl<P: Projection + Clone> Entry for Projected<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn status(&self, now: DateTime<Utc>) -> ProjectionStatus {
        let of = |shown: &Shown| shown.borrow().as_ref().map(|status| status.borrow().clone());
        let live = of(&self.shown);
        ProjectionStatus {
            name: P::NAME,
            version: P::VERSION,
            log: self.projection.log(),
            lag_seconds: live.as_ref().and_then(|live| live.lag_seconds(now)),
            live,
            rebuild: of(&self.rebuild),
        }
    }

    async fn generations(&self) -> Result<Vec<Generation>, LifecycleError> {
        Ok(self.sources.models.generations(P::NAME).await?)
    }

    async fn start(&self) -> Result<(), LifecycleError> {
        let _changing = self.changing.lock().await;
        let generations = self.generations().await?;
        let of_today = |one: &&Generation| one.version == P::VERSION;
        let mut candidates = generations.iter().filter(of_today);
        // What answers queries goes on; else a build that was interrupted; else a new one.
        let generation = candidates
            .clone()
            .find(|one| one.state == GenerationState::Active)
            .or_else(|| candidates.rfind(|one| one.state == GenerationState::Building));
        let active = generation.is_some_and(|one| one.state == GenerationState::Active);
        self.built.store(active, Ordering::Relaxed);
        let id = match generation {
            Some(generation) => generation.id.clone(),
            None => {
                info!(projection = P::NAME, version = P::VERSION, "building a first generation");
                self.create().await?
            }
        };
        for left in generations.iter().filter(|one| one.state == GenerationState::Building) {
            if left.id != id {
                warn!(
                    projection = P::NAME,
                    generation = left.id.number,
                    "dropped an unfinished generation"
                );
                self.sources.models.drop_generation(left.id.clone()).await?;
            }
        }
        self.run_live(id).await;
        Ok(())
    }

    async fn stop(&self) {
        if let Some(live) = self.live.lock().await.take() {
            live.stop().await;
        }
    }

    async fn pause(&self) {
        if let Some(live) = &*self.live.lock().await {
            live.pause().await;
        }
    }

    async fn resume(&self) {
        if let Some(live) = &*self.live.lock().await {
            live.resume();
        }
    }

    async fn wait_for(&self, position: GlobalPosition, limit: Duration) -> Result<(), Stale> {
        let mut shown = self.shown.subscribe();
        let mut at = GlobalPosition(0);
        let reached = async {
            loop {
                let Some(mut status) = shown.borrow_and_update().clone() else {
                    if shown.changed().await.is_err() {
                        std::future::pending::<()>().await;
                    }
                    continue;
                };
                let far_enough = async {
                    let reached = status.wait_for(|status| {
                        at = status.position;
                        if status.state == SubscriptionState::Live {
                            self.built.store(true, Ordering::Relaxed);
                        }
                        self.built.load(Ordering::Relaxed) && status.position >= position
                    });
                    // A subscription that ended gets no further; the next one may.
                    if reached.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    () = far_enough => return,
                    swapped = shown.changed() => if swapped.is_err() {
                        std::future::pending::<()>().await;
                    },
                }
            }
        };
        match tokio::time::timeout(limit, reached).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Stale { projection: P::NAME, at, asked: position }),
        }
    }

    async fn rebuild(
        &self,
        progress: &(dyn for<'s> Fn(&'s SubscriptionStatus) + Send + Sync),
    ) -> Result<(), LifecycleError> {
        let _changing = self.changing.try_lock().map_err(|_| LifecycleError::Busy(P::NAME))?;
        let generation = self.create().await?;
        let swapped = self.swap_to(generation.clone(), progress).await;
        if swapped.is_err() {
            self.sources.models.drop_generation(generation).await?;
        }
        swapped?;
        self.drop_old().await
    }

    async fn roll_back(&self) -> Result<(), LifecycleError> {
        let _changing = self.changing.try_lock().map_err(|_| LifecycleError::Busy(P::NAME))?;
        let generations = self.generations().await?;
        let earlier = generations
            .into_iter()
            .rfind(|one| one.state == GenerationState::Retired && one.version == P::VERSION)
            .ok_or(LifecycleError::NothingToRollBackTo(P::NAME))?;
        self.swap_to(earlier.id, &|_| {}).await
    }

    async fn verify(
        &self,
        progress: &(dyn Fn(GlobalPosition) + Send + Sync),
    ) -> Result<Verification, LifecycleError> {
        let _changing = self.changing.try_lock().map_err(|_| LifecycleError::Busy(P::NAME))?;
        let near = self.active().await?.checkpoint;
        let fresh = self.create().await?;
        let mut projector = self.projector(fresh.clone(), P::NAME);
        // Most of the way beside the live subscription; the rest, and comparing, while it pauses.
        let verified = async {
            self.fold_to(&mut projector, near, progress).await?;
            self.pause().await;
            let active = self.active().await?;
            self.fold_to(&mut projector, active.checkpoint, progress).await?;
            self.compare(&active.id, &fresh, active.checkpoint).await
        };
        let verified = verified.await;
        self.resume().await;
        self.sources.models.drop_generation(fresh).await?;
        verified
    }
}

//! Projections, and how far they are.

use std::num::NonZeroU32;

use async_graphql::{Context, Enum, ID, Object};
use freehold_ports::{EventFilter, Generation, GenerationState, GlobalPosition};
use freehold_projections::{SubscriptionState, SubscriptionStatus};

use super::event::LogName;
use crate::graphql::projections::ALL;
use crate::graphql::scalars::{GlobalId, NodeKind, Position};
use crate::graphql::{Fault, platform};

/// One generation of a projection.
#[derive(Clone)]
pub struct Projection {
    log: LogName,
    name: &'static str,
    generation: Option<Generation>,
}

impl Projection {
    /// Every generation of every projection; a projection that has none yet stands for itself.
    pub(crate) async fn all(ctx: &Context<'_>) -> Result<Vec<Self>, Fault> {
        let mut all = Vec::new();
        for (name, log) in ALL {
            let generations = platform(ctx).models.generations(name).await?;
            if generations.is_empty() {
                all.push(Self { log, name, generation: None });
            }
            let one = |generation| Self { log, name, generation: Some(generation) };
            all.extend(generations.into_iter().map(one));
        }
        Ok(all)
    }

    /// The generation that a node id names.
    pub(crate) async fn load(ctx: &Context<'_>, key: &str) -> Result<Option<Self>, Fault> {
        Ok(Self::all(ctx).await?.into_iter().find(|projection| projection.key() == key))
    }

    fn key(&self) -> String {
        let number = self.generation.as_ref().map_or(0, |generation| generation.id.number);
        format!("{}:{number}", self.name)
    }

    /// Events that concern other projections move the live position at once and the stored
    /// checkpoint seldom.
    fn at(&self, ctx: &Context<'_>) -> GlobalPosition {
        let Some(generation) = &self.generation else { return GlobalPosition(0) };
        let live = self.live(ctx).map_or(GlobalPosition(0), |live| live.position);
        generation.checkpoint.max(live)
    }

    fn live(&self, ctx: &Context<'_>) -> Option<SubscriptionStatus> {
        if self.is(GenerationState::Active) { platform(ctx).live(self.name) } else { None }
    }

    fn is(&self, state: GenerationState) -> bool {
        self.generation.as_ref().is_some_and(|generation| generation.state == state)
    }
}

/// One generation of a projection: its tables as one version of its code filled them. While a new
/// one is being built, the one before it goes on answering.
#[Object]
impl Projection {
    /// Its global id.
    pub(crate) async fn id(&self) -> ID {
        GlobalId::new(NodeKind::Projection, self.key()).to_id()
    }

    /// The projection's name.
    async fn name(&self) -> &str {
        self.name
    }

    /// The version of the code that fills this generation; null before the first.
    async fn version(&self) -> Option<u32> {
        self.generation.as_ref().map(|generation| generation.version)
    }

    /// Counts the projection's generations from 1; null before the first.
    async fn generation(&self) -> Option<u32> {
        self.generation.as_ref().map(|generation| generation.id.number)
    }

    /// What it is for at the moment.
    async fn state(&self) -> ProjectionState {
        match self.generation.as_ref().map(|generation| generation.state) {
            None => ProjectionState::Missing,
            Some(GenerationState::Building) => ProjectionState::Building,
            Some(GenerationState::Active) => ProjectionState::Active,
            Some(GenerationState::Retired) => ProjectionState::Retired,
        }
    }

    /// The log it reads.
    async fn log(&self) -> LogName {
        self.log
    }

    /// The last position whose effects it shows.
    async fn position(&self, ctx: &Context<'_>) -> Position {
        Position(self.at(ctx))
    }

    /// Why it does not go on; null while it does.
    async fn failure(&self, ctx: &Context<'_>) -> Option<String> {
        match self.live(ctx)?.state {
            SubscriptionState::Failed(failure) => Some(failure.error),
            _ => None,
        }
    }

    /// The last position of its log.
    async fn head_position(&self, ctx: &Context<'_>) -> Result<Position, Fault> {
        Ok(Position(platform(ctx).store.head(&self.log.port()).await?))
    }

    /// How long the oldest event it has not seen has been waiting, in seconds; 0 when it has seen
    /// all. Null when it is retired, as it is not filled any more.
    async fn lag_seconds(&self, ctx: &Context<'_>) -> Result<Option<f64>, Fault> {
        if self.is(GenerationState::Retired) {
            return Ok(None);
        }
        let platform = platform(ctx);
        if let Some(live) = self.live(ctx) {
            return Ok(Some(live.lag(platform.clock.now()).as_secs_f64()));
        }
        let (log, all) = (self.log.port(), EventFilter::all());
        let next = platform.store.read_all(&log, &all, self.at(ctx), NonZeroU32::MIN).await?;
        let waiting = next.events.first().map(|event| platform.clock.now() - event.recorded_at);
        Ok(Some(waiting.map_or(0.0, |waiting| waiting.as_seconds_f64().max(0.0))))
    }
}

/// What a generation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
pub enum ProjectionState {
    /// There is none yet.
    Missing,
    /// It is being filled.
    Building,
    /// It answers queries.
    Active,
    /// It answered before, and can again once it has caught up; until then it is not filled.
    Retired,
}

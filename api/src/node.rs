//! One process: stores, commands, projections, what requests use.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_commands::{CommandExecutor, ExecutorOptions};
use freehold_ports::{Feed, GenerationState, ReadModels, SystemClock};
use freehold_projections::{Failure, FailurePolicy, Projections, SubscriptionState, models};
use tokio::task::AbortHandle;
use tracing::warn;

use crate::config::{Config, Part, Roles};
use crate::http::Check;
use crate::ingest::kafka::Inbox;
use crate::ingest::{Ingest, IngestDefaults};
use crate::platform::Platform;
use crate::relays::{self, Relays};
use crate::sealed::{check_vault, destroy_again, warn_of_missing_keys};
use crate::stores::{Stores, StoresError};

/// Everything a process runs.
pub struct Node {
    /// What requests use.
    pub platform: Arc<Platform>,
    /// What feeds and imports use.
    pub ingest: Arc<Ingest>,
    /// What keeps the read models current.
    pub projections: Arc<Projections>,
    stores: Stores,
    roles: Roles,
    relays: Option<Arc<Relays>>,
    inbox: Option<Arc<Inbox>>,
    looking_for_keys: OnceLock<AbortHandle>,
    lag_budget: Duration,
}

impl Node {
    /// Opens the stores that the configuration names; nothing runs yet.
    pub async fn open(config: &Config) -> Result<Self, StoresError> {
        let relays = match config.roles.has(Part::Relay) {
            true => Relays::of(config)?.map(Arc::new),
            false => None,
        };
        let feed = relays::feed(config)?;
        let stores = Stores::open(config).await?;
        let checked = match check_vault(&stores).await {
            Ok(()) => destroy_again(&stores).await.map(drop),
            refused => refused,
        };
        if let Err(refused) = checked {
            stores.close().await;
            return Err(refused);
        }
        if let Some(left) = stores.keys_left().await {
            warn!("{left}");
        }
        let clock = Arc::new(SystemClock);
        let options =
            ExecutorOptions { policy: config.policy.into(), ..ExecutorOptions::default() };
        let executor = CommandExecutor::new(
            stores.events.clone(),
            stores.snapshots.clone(),
            stores.codec.clone(),
            clock.clone(),
            options,
        );
        let projections = Arc::new(projections(&stores, config.failure_policy(), feed));
        let platform = Platform {
            store: stores.events.clone(),
            codec: stores.codec.clone(),
            vault: stores.vault.clone(),
            executor,
            models: stores.models.clone(),
            clock,
            projections: Some(projections.clone()),
            freshness_limit: config.graphql.min_position_wait(),
        };
        let ingest = Arc::new(Ingest::new(platform.clone(), IngestDefaults::default()));
        let inbox = match Inbox::of(config, &ingest) {
            Ok(inbox) => inbox.map(Arc::new),
            Err(refused) => {
                stores.close().await;
                return Err(refused);
            }
        };
        Ok(Self {
            platform: Arc::new(platform),
            ingest,
            projections,
            stores,
            roles: config.roles.clone(),
            relays,
            inbox,
            looking_for_keys: OnceLock::new(),
            lag_budget: config.projections.lag_budget(),
        })
    }

    /// Makes every projection and relay follow its log, or look how far others that do so have
    /// brought it; who answers requests looks beside it for keys that are missing.
    pub fn start(&self) {
        if self.roles.has(Part::Projections) {
            self.projections.start();
        } else if self.roles.has(Part::Api) {
            self.projections.watch();
        }
        if let Some(relays) = &self.relays {
            relays.start(&self.stores);
        }
        if let Some(inbox) = &self.inbox {
            inbox.start(&self.stores);
        }
        if !self.roles.has(Part::Api) {
            return;
        }
        let stores = self.stores.clone();
        let looking = tokio::spawn(async move {
            if let Err(error) = warn_of_missing_keys(&stores).await {
                warn!(%error, "nobody looked whether keys of people are missing");
            }
        });
        // Whoever starts again has one that looks already.
        if let Err(second) = self.looking_for_keys.set(looking.abort_handle()) {
            second.abort();
        }
    }

    /// Ends projections and relays after the page in hand, stores and answers what waits, and gives
    /// the files free.
    pub async fn stop(&self) {
        if let Some(looking) = self.looking_for_keys.get() {
            looking.abort();
        }
        if let Some(inbox) = &self.inbox {
            inbox.stop().await;
        }
        self.projections.stop().await;
        if let Some(relays) = &self.relays {
            relays.stop().await;
        }
        self.stores.close().await;
    }

    /// What must hold for this process to serve.
    pub fn checks(&self) -> Vec<Check> {
        let stores = self.stores.clone();
        let mut checks = vec![Check::new("store", move || {
            let stores = stores.clone();
            async move { stores.check().await }
        })];
        let works = self.roles.has(Part::Projections);
        if works || self.roles.has(Part::Api) {
            let (projections, models) = (self.projections.clone(), self.stores.models.clone());
            let (clock, budget) = (self.platform.clock.clone(), self.lag_budget);
            checks.push(Check::noting("projections", move || {
                let (projections, models) = (projections.clone(), models.clone());
                let now = clock.now();
                async move { late(&projections, &*models, now, budget, !works).await }
            }));
        }
        if let Some(relays) = self.relays.clone() {
            let clock = self.platform.clock.clone();
            // Appends and answers go on while nothing can be published: whoever does both tells of it.
            let answers = self.roles.has(Part::Api);
            checks.push(Check::noting("relay", move || {
                let checked = match relays.check(clock.now()) {
                    Err(late) if answers => Ok(Some(late)),
                    checked => checked.map(|()| None),
                };
                async move { checked }
            }));
        }
        if let Some(inbox) = self.inbox.clone() {
            checks.push(Check::noting("ingest", move || {
                let checked = inbox.check();
                async move { checked }
            }));
        }
        checks
    }

    /// What it stores in.
    pub(crate) fn stores(&self) -> &Stores {
        &self.stores
    }
}

/// Says which projections do not show what happened up to now, else how much is parked.
async fn late(
    projections: &Projections,
    models: &dyn ReadModels,
    now: DateTime<Utc>,
    budget: Duration,
    watches: bool,
) -> Result<Option<String>, String> {
    let (mut late, mut parked) = (Vec::new(), Vec::new());
    for projection in projections.statuses() {
        let name = projection.name;
        let lag = projection.live.lag(now);
        match projection.live.parked {
            0 => {}
            1 => parked.push(format!("{name}: 1 stream is parked")),
            more => parked.push(format!("{name}: {more} streams are parked")),
        }
        let answers = async || {
            let generations = models.generations(name).await.map_err(|error| {
                warn!(%error, "the read models cannot be read");
                "the read models cannot be read; the log of this process says more"
            })?;
            Ok::<_, String>(generations.iter().any(|g| g.state == GenerationState::Active))
        };
        match &projection.live.state {
            SubscriptionState::Failed(_) if watches && !answers().await? => {
                late.push(format!("{name} is not built; that is for the role projections"));
            }
            SubscriptionState::Failed(failure) => late.push(in_short(name, failure)),
            _ if lag > budget => late.push(format!("{name} is {:.1} s behind", lag.as_secs_f64())),
            // While a generation is filled another one may answer.
            SubscriptionState::CatchingUp if !answers().await? => {
                late.push(match projection.building.map(|building| building.status.state) {
                    Some(SubscriptionState::Failed(failure)) => in_short(name, &failure),
                    _ => format!("{name} is being built"),
                });
            }
            _ => {}
        }
    }
    if !late.is_empty() {
        return Err(late.join("; "));
    }
    Ok((!parked.is_empty()).then(|| parked.join("; ")))
}

/// A failure without what stands in the log of this process, which says of a store what drivers
/// say.
pub(crate) fn in_short(name: &str, failure: &Failure) -> String {
    let tried = failure.attempts;
    match &failure.event {
        Some((position, _)) => format!(
            "{name} failed at position {position}, tried {tried} times; the log of this process \
             says more"
        ),
        None => format!("{name} failed, tried {tried} times; the log of this process says more"),
    }
}

/// Every projection there is, not started.
pub fn projections(
    stores: &Stores,
    policy: FailurePolicy,
    feed: Option<Arc<dyn Feed>>,
) -> Projections {
    let Stores { events, models, codec, .. } = stores.clone();
    let none = Projections::new(events, models, codec, Arc::new(SystemClock));
    models::all(none.under(policy).fed_by(feed))
}

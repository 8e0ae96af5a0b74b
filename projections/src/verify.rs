//! Folding a log once more, and comparing.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use freehold_ports::{
    Commit, Generation, GenerationId, GenerationState, GlobalPosition, Key, LetterChange, Mark,
    ReadModelError, ReadModels, Row, Table,
};
use tokio::sync::watch;

use crate::SubscriptionStatus;
use crate::projections::{Engine, ProjectionError, follow_on};
use crate::projector::{AnyProjection, Fills};
use crate::subscription::{Follower, Orders, Until};

/// How many rows are compared at a time.
const ROWS: NonZeroU32 = NonZeroU32::new(5_000).expect("it is not zero");

/// How many differences are shown.
const MOST_SHOWN: usize = 20;

/// How many rows that differ at first sight are looked at again.
const MOST_SUSPECTS: usize = 10_000;

/// How often rows are read again because the active generation moved on meanwhile.
const TRIES: u32 = 100;

/// How often a comparison begins again because retries changed what is parked, or rows never stood still.
const ANEW: u32 = 5;

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// The position up to which both were folded.
    pub through: GlobalPosition,
    /// How many rows the fresh fold has.
    pub rows: u64,
    /// How many keys have different rows, or a row in one of the two only.
    pub differences: u64,
    /// The first of them.
    pub shown: Vec<Difference>,
}

/// A row that is not what the log says.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its table.
    pub table: &'static Table,
    /// Its key.
    pub key: Key,
    /// What answers queries.
    pub kept: Option<Row>,
    /// What the log says.
    pub folded: Option<Row>,
}

/// Compares the active generation with a fresh one, which is dropped afterwards. What is parked in
/// the active one is left out of the fresh one too; if a retry changes that meanwhile, all begins
/// again.
pub(crate) async fn verify(
    engine: &Engine,
    projection: &Arc<dyn AnyProjection>,
) -> Result<Verification, ProjectionError> {
    let (version, tables) = (projection.version(), projection.tables());
    for _ in 0..ANEW {
        let fresh = engine.models.create_generation(projection.name(), version, tables).await?;
        let compared = compare(engine, projection, &fresh).await;
        engine.models.drop_generation(fresh).await?;
        if let Some(verification) = compared? {
            return Ok(verification);
        }
    }
    Err(ProjectionError::Retrying(projection.name()))
}

/// Nothing if what is parked was changed otherwise than by new events.
async fn compare(
    engine: &Engine,
    projection: &Arc<dyn AnyProjection>,
    fresh: &GenerationId,
) -> Result<Option<Verification>, ProjectionError> {
    let models = &*engine.models;
    let handler = projection.clone().handler(engine.clone(), Fills::One(fresh.clone()));
    let orders = watch::Sender::new(Orders::default());
    let status = watch::Sender::new(SubscriptionStatus::new());
    let (store, clock) = (engine.store.clone(), engine.clock.clone());
    let mut follower = Follower::new(store, clock, handler, orders.subscribe(), status);

    let Generation { id: active, revision, .. } = active(models, projection.name()).await?;
    let mut letters = models.parked(&active).await?;
    let mut through = mark(models, &active).await?;
    if through.revision != revision {
        return Ok(None);
    }
    // What is parked by now, and what will be, is parked in the fresh one when it gets there.
    letters.iter_mut().for_each(|letter| {
        letter.id.generation = fresh.clone();
        letter.retry_at = None;
    });
    if !letters.is_empty() {
        let letters = letters.into_iter().map(LetterChange::Park).collect();
        let start = GlobalPosition(0);
        let commit = Commit::moving(fresh.clone(), start, start, Vec::new());
        models.commit(Commit { letters, ..commit }).await?;
    }
    follow_on(&mut follower, Until::Reached(through.position)).await?;
    let mut found = Found::default();
    for table in projection.tables() {
        found.scan(models, table, fresh, &active, Side::Fresh).await?;
        found.scan(models, table, &active, fresh, Side::Active).await?;
    }
    // The active generation may have moved on meanwhile: what differs counts only if it still does
    // when both are at the same position. The active one is read within one moment, the fresh one
    // then brought to it.
    let mut shown = Vec::new();
    if !found.suspects.is_empty() {
        let Some((at, kept)) = found.rows_at_once(models, &active).await? else { return Ok(None) };
        if at.revision != revision {
            return Ok(None);
        }
        follow_on(&mut follower, Until::Reached(at.position)).await?;
        shown = found.differences(kept, found.rows(models, fresh).await?);
        through = at;
    }
    let differences = shown.len() as u64 + found.unchecked;
    shown.truncate(MOST_SHOWN);
    let through = through.position;
    Ok(Some(Verification { through, rows: found.rows, differences, shown }))
}

/// Which of the two is gone through.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Fresh,
    Active,
}

/// What a first look found.
#[derive(Default)]
struct Found {
    rows: u64,
    suspects: Vec<(&'static Table, Vec<Key>)>,
    kept: usize,
    /// Suspects beyond those that are looked at again.
    unchecked: u64,
}

impl Found {
    /// Goes through the rows of one generation and looks each of them up in the other.
    async fn scan(
        &mut self,
        models: &dyn ReadModels,
        table: &'static Table,
        of: &GenerationId,
        against: &GenerationId,
        side: Side,
    ) -> Result<(), ProjectionError> {
        let mut after = None;
        loop {
            let some = models.scan(of.clone(), table, after, ROWS).await?;
            let Some(last) = some.last() else { return Ok(()) };
            after = Some(table.key_of(last));
            let keys: Vec<Key> = some.iter().map(|row| table.key_of(row)).collect();
            let others = by_key(table, models.fetch(against.clone(), table, keys.clone()).await?);
            let mut suspects = Vec::new();
            for (row, key) in some.iter().zip(keys) {
                let other = others.get(&name_of(&key));
                let differs = match side {
                    Side::Fresh => other != Some(row),
                    // Rows that are in both have been compared from the other side.
                    Side::Active => other.is_none(),
                };
                if differs {
                    suspects.push(key);
                }
            }
            if side == Side::Fresh {
                self.rows += some.len() as u64;
            }
            let room = MOST_SUSPECTS.saturating_sub(self.kept);
            self.unchecked += suspects.len().saturating_sub(room) as u64;
            suspects.truncate(room);
            self.kept += suspects.len();
            if !suspects.is_empty() {
                self.suspects.push((table, suspects));
            }
        }
    }

    /// The suspects' rows at one position of a generation that others fill; nothing if it moved each
    /// time it was tried.
    async fn rows_at_once(
        &self,
        models: &dyn ReadModels,
        of: &GenerationId,
    ) -> Result<Option<(Mark, Vec<HashMap<String, Row>>)>, ProjectionError> {
        let mut at = mark(models, of).await?;
        for _ in 0..TRIES {
            let rows = self.rows(models, of).await?;
            let now = mark(models, of).await?;
            if now == at {
                return Ok(Some((at, rows)));
            }
            at = now;
        }
        Ok(None)
    }

    /// The suspects' rows, table by table.
    async fn rows(
        &self,
        models: &dyn ReadModels,
        of: &GenerationId,
    ) -> Result<Vec<HashMap<String, Row>>, ProjectionError> {
        let mut rows = Vec::with_capacity(self.suspects.len());
        for (table, keys) in &self.suspects {
            rows.push(by_key(table, models.fetch(of.clone(), table, keys.clone()).await?));
        }
        Ok(rows)
    }

    /// The suspects whose rows differ.
    fn differences(
        &self,
        kept: Vec<HashMap<String, Row>>,
        folded: Vec<HashMap<String, Row>>,
    ) -> Vec<Difference> {
        let mut differences = Vec::new();
        for (((table, keys), mut kept), mut folded) in self.suspects.iter().zip(kept).zip(folded) {
            for key in keys {
                let name = name_of(key);
                let (kept, folded) = (kept.remove(&name), folded.remove(&name));
                if kept != folded {
                    differences.push(Difference { table, key: key.clone(), kept, folded });
                }
            }
        }
        differences
    }
}

/// Keys have no hash; what they print as is as good.
fn name_of(key: &Key) -> String {
    format!("{key:?}")
}

fn by_key(table: &Table, rows: Vec<Row>) -> HashMap<String, Row> {
    rows.into_iter().map(|row| (name_of(&table.key_of(&row)), row)).collect()
}

async fn active(models: &dyn ReadModels, projection: &str) -> Result<Generation, ReadModelError> {
    let generations = models.generations(projection).await?;
    let active = generations.into_iter().find(|g| g.state == GenerationState::Active);
    active.ok_or_else(|| ReadModelError::NotBuilt(Arc::from(projection)))
}

async fn mark(models: &dyn ReadModels, id: &GenerationId) -> Result<Mark, ReadModelError> {
    let generations = models.generations(&id.projection).await?;
    let found = generations.into_iter().find(|generation| generation.id == *id);
    Ok(found.ok_or_else(|| ReadModelError::NoGeneration(id.clone()))?.mark())
}

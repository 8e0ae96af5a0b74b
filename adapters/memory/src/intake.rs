//! How far topics are taken in, until the process ends.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use freehold_ports::{
    Intake, IntakeStep, MessageId, ReadError, RefusedFilter, RefusedItem, SourcePartition, Taken,
};

/// Where partitions stand, in memory.
#[derive(Default)]
pub struct MemoryIntake(Mutex<State>);

#[derive(Default)]
struct State {
    taken: HashMap<SourcePartition, Taken>,
    /// In the order in which they are listed.
    refused: Vec<RefusedItem>,
}

impl State {
    fn list(&mut self, items: Vec<RefusedItem>) {
        for item in items {
            let found = self.refused.binary_search_by(|one| one.place().cmp(&item.place()));
            if let Err(place) = found {
                self.refused.insert(place, item);
            }
        }
    }
}

impl MemoryIntake {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Intake for MemoryIntake {
    async fn taken(&self, partition: &SourcePartition) -> Result<Option<Taken>, ReadError> {
        Ok(self.state().taken.get(partition).copied())
    }

    async fn advance(&self, step: IntakeStep) -> Result<bool, ReadError> {
        let mut state = self.state();
        if state.taken.get(&step.partition).copied() != step.from {
            return Ok(false);
        }
        state.taken.insert(step.partition, step.to);
        state.list(step.refused);
        Ok(true)
    }

    async fn refused(
        &self,
        filter: RefusedFilter,
        after: Option<RefusedItem>,
        limit: u32,
    ) -> Result<Vec<RefusedItem>, ReadError> {
        let state = self.state();
        let meant = state.refused.iter().filter(|item| {
            filter.admits(&item.message)
                && after.as_ref().is_none_or(|after| item.place() > after.place())
        });
        Ok(meant.take(limit as usize).cloned().collect())
    }

    async fn settle(&self, message: &MessageId, still: Vec<RefusedItem>) -> Result<u64, ReadError> {
        let mut state = self.state();
        let listed = |state: &State| {
            state.refused.iter().filter(|item| item.message == *message).count() as u64
        };
        let before = listed(&state);
        state.refused.retain(|item| item.message != *message);
        state.list(still);
        Ok(before.saturating_sub(listed(&state)))
    }
}

//! The handler that keeps one generation of a projection current.

use std::sync::Arc;

use async_trait::async_trait;
use freehold_ports::{
    EventCodec, EventFilter, EventPage, GenerationId, GenerationState, GlobalPosition, LogName,
    ReadModels,
};
use tracing::info;

use crate::{Folder, HandleError, Handler, Projection};

/// How far a checkpoint may stand behind while no row changes, so that events which concern other
/// projections cost this one no commit each.
const CHECKPOINT_EVERY: u64 = 10_000;

/// Folds pages into one generation, and activates it once it has caught up.
pub(crate) struct Projector<P: Projection> {
    folder: Folder<P>,
    models: Arc<dyn ReadModels>,
    codec: EventCodec,
    generation: GenerationId,
    name: Arc<str>,
    stage: Stage,
    /// The checkpoint that is stored.
    stored: GlobalPosition,
    /// Where the fold stands; ahead of `stored` by events that changed no row.
    position: GlobalPosition,
}

/// What is left until queries read the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Filling,
    Prepared,
    Active,
}

impl<P: Projection> Projector<P> {
    /// A projector of a generation, under the name that its subscription is shown by.
    pub(crate) fn new(
        projection: P,
        models: Arc<dyn ReadModels>,
        codec: EventCodec,
        generation: GenerationId,
        name: Arc<str>,
    ) -> Self {
        Self {
            folder: Folder::new(projection),
            models,
            codec,
            generation,
            name,
            stage: Stage::Filling,
            stored: GlobalPosition(0),
            position: GlobalPosition(0),
        }
    }

    async fn store(
        &mut self,
        to: GlobalPosition,
        changes: Vec<freehold_ports::TableChanges>,
    ) -> Result<(), HandleError> {
        let committed = self.models.commit(self.generation.clone(), self.stored, to, changes).await;
        match committed {
            Ok(()) => {
                self.folder.settle();
                self.stored = to;
                self.position = to;
                Ok(())
            }
            Err(error) => {
                self.folder.forget();
                Err(HandleError::around(&error))
            }
        }
    }
}

#[async_trait]
impl<P: Projection> Handler for Projector<P> {
    fn name(&self) -> Arc<str> {
        self.name.clone()
    }

    fn log(&self) -> LogName {
        self.folder.projection().log()
    }

    fn filter(&self) -> EventFilter {
        self.folder.projection().filter()
    }

    async fn checkpoint(&mut self) -> Result<GlobalPosition, HandleError> {
        self.folder.forget();
        let generations = self.models.generations(&self.generation.projection).await;
        let generations = generations.map_err(|error| HandleError::around(&error))?;
        let Some(own) = generations.into_iter().find(|one| one.id == self.generation) else {
            let missing = freehold_ports::ReadModelError::NoGeneration(self.generation.clone());
            return Err(HandleError::around(&missing));
        };
        if own.state == GenerationState::Active {
            self.stage = Stage::Active;
        }
        self.stored = own.checkpoint;
        self.position = own.checkpoint;
        Ok(own.checkpoint)
    }

    async fn handle(&mut self, page: EventPage) -> Result<(), HandleError> {
        let folded = self
            .folder
            .fold(&*self.models, &self.generation, &self.codec, &page.events)
            .await
            .map_err(|error| HandleError::around(&error));
        let folded = match folded {
            Ok(folded) => folded,
            Err(error) => {
                self.folder.forget();
                return Err(error);
            }
        };
        let Some(failure) = folded.failure else {
            if folded.changes.is_empty() && page.through.0 - self.stored.0 < CHECKPOINT_EVERY {
                self.folder.settle();
                self.position = page.through;
                return Ok(());
            }
            return self.store(page.through, folded.changes).await;
        };
        // Everything before the event at fault is kept.
        let before = GlobalPosition(failure.position.0 - 1);
        if before > self.stored {
            self.store(before, folded.changes).await?;
        }
        Err(HandleError {
            event: Some((failure.position, failure.event_type)),
            reason: failure.reason,
        })
    }

    async fn caught_up(&mut self) -> Result<bool, HandleError> {
        match self.stage {
            Stage::Active => Ok(true),
            Stage::Filling => {
                let prepared = self.models.prepare(self.generation.clone()).await;
                prepared.map_err(|error| HandleError::around(&error))?;
                // Preparing takes time: activated only once it has caught up again.
                self.stage = Stage::Prepared;
                Ok(false)
            }
            Stage::Prepared => {
                self.stop().await?;
                let activated = self.models.activate(self.generation.clone()).await;
                activated.map_err(|error| HandleError::around(&error))?;
                self.stage = Stage::Active;
                info!(
                    projection = P::NAME,
                    generation = self.generation.number,
                    position = self.position.0,
                    "generation answers queries"
                );
                Ok(true)
            }
        }
    }

    async fn stop(&mut self) -> Result<(), HandleError> {
        if self.position > self.stored {
            self.store(self.position, Vec::new()).await?;
        }
        Ok(())
    }
}

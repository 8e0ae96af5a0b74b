//! A projection as a handler: fold a page, commit it while the next one is folded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freehold_ports::{
    Commit, EventCodec, EventFilter, EventPage, Generation, GenerationId, GenerationState,
    GlobalPosition, LogName, Mark, ReadModelError, ReadModels, Table,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::fold::FoldError;
use crate::{FoldFailure, Folded, Folder, HandleError, Handler, Projection};

/// From how many events on a page is folded on a thread that may be busy for long.
const BUSY_FROM: usize = 100;

/// After how long without events no rows are kept in memory.
const QUIET: Duration = Duration::from_secs(10);

/// How often the checkpoint is stored, or the active generation looked up, when there are no
/// events to handle.
const SELDOM: Duration = Duration::from_secs(1);

/// A projection whose types are not known to the caller.
pub(crate) trait AnyProjection: Send + Sync {
    fn name(&self) -> &'static str;
    fn version(&self) -> u32;
    fn log(&self) -> LogName;
    fn tables(&self) -> &'static [&'static Table];

    /// A handler that fills one generation, or whichever is active.
    fn handler(
        self: Arc<Self>,
        models: Arc<dyn ReadModels>,
        codec: EventCodec,
        fills: Fills,
    ) -> Box<dyn Handler>;
}

impl<P: Projection> AnyProjection for P {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn version(&self) -> u32 {
        P::VERSION
    }

    fn log(&self) -> LogName {
        Projection::log(self)
    }

    fn tables(&self) -> &'static [&'static Table] {
        Projection::tables(self)
    }

    fn handler(
        self: Arc<Self>,
        models: Arc<dyn ReadModels>,
        codec: EventCodec,
        fills: Fills,
    ) -> Box<dyn Handler> {
        let now = Instant::now();
        let name = match &fills {
            Fills::Active => P::NAME.to_owned(),
            Fills::One(_) => format!("{}:building", P::NAME),
        };
        Box::new(Projector {
            name,
            folder: Some(Folder::sharing(self.clone())),
            projection: self,
            models,
            codec,
            fills,
            generation: None,
            stored: GlobalPosition(0).into(),
            seen: GlobalPosition(0),
            under_way: None,
            stored_at: now,
            looked_at: now,
            folded_at: None,
        })
    }
}

/// Which generation a projector fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fills {
    /// The one that answers queries, also after another process has swapped it.
    Active,
    /// This one.
    One(GenerationId),
}

struct Projector<P: Projection> {
    name: String,
    projection: Arc<P>,
    /// Away while a page is folded; not there again if that panicked.
    folder: Option<Folder<P>>,
    models: Arc<dyn ReadModels>,
    codec: EventCodec,
    fills: Fills,
    generation: Option<GenerationId>,
    /// Where the generation stands.
    stored: Mark,
    /// Every event up to here has had its effect, which is stored or under way; what lies between
    /// the last effect and here is of no interest to the projection.
    seen: GlobalPosition,
    /// The commit of the last page, and the checkpoint it moves to.
    under_way: Option<(GlobalPosition, JoinHandle<Result<(), ReadModelError>>)>,
    stored_at: Instant,
    looked_at: Instant,
    /// When the last page was folded, as long as its rows are at hand.
    folded_at: Option<Instant>,
}

#[async_trait]
impl<P: Projection> Handler for Projector<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn log(&self) -> LogName {
        Projection::log(&*self.projection)
    }

    fn filter(&self) -> EventFilter {
        Projection::filter(&*self.projection)
    }

    async fn checkpoint(&mut self) -> Result<GlobalPosition, HandleError> {
        if let Some((_, commit)) = self.under_way.take() {
            // However it ended, the checkpoint says what is stored.
            let _ = commit.await;
        }
        self.folder = Some(Folder::sharing(self.projection.clone()));
        self.folded_at = None;
        let generation = self.find_generation().await?;
        self.stored = generation.mark();
        self.seen = generation.checkpoint;
        self.generation = Some(generation.id);
        Ok(self.stored.position)
    }

    async fn handle(&mut self, page: EventPage) -> Result<GlobalPosition, HandleError> {
        if page.events.is_empty() {
            self.seen = page.through;
            return Ok(self.visible());
        }
        self.notice_swap().await?;
        let through = page.through;
        let Folded { changes, failure, .. } = self.fold(page).await?;
        self.finish_commit().await?;
        let to = failure.as_ref().map_or(through, before);
        if to > self.stored.position {
            let models = self.models.clone();
            let commit = Commit::moving(self.generation()?, self.stored, to, changes);
            self.under_way = Some((to, tokio::spawn(async move { models.commit(commit).await })));
            self.seen = to;
        }
        match failure {
            None => Ok(self.visible()),
            Some(failure) => {
                self.finish_commit().await?;
                Err(HandleError::Event(failure))
            }
        }
    }

    async fn settle(&mut self) -> Result<GlobalPosition, HandleError> {
        self.finish_commit().await?;
        if self.stored_at.elapsed() > SELDOM {
            self.store_seen().await?;
        }
        if self.folded_at.is_some_and(|folded| folded.elapsed() > QUIET) {
            self.folded_at = None;
            self.folder.iter_mut().for_each(Folder::forget_rows);
        }
        self.notice_swap().await?;
        Ok(self.visible())
    }

    async fn end(&mut self) -> Result<GlobalPosition, HandleError> {
        self.finish_commit().await?;
        self.store_seen().await?;
        Ok(self.visible())
    }
}

impl<P: Projection> Projector<P> {
    /// Up to where queries see every effect.
    fn visible(&self) -> GlobalPosition {
        if self.under_way.is_some() { self.stored.position } else { self.seen }
    }

    fn generation(&self) -> Result<GenerationId, HandleError> {
        let asked = self.generation.clone();
        asked.ok_or_else(|| HandleError::Unavailable("asked before its checkpoint was".into()))
    }

    async fn find_generation(&self) -> Result<Generation, HandleError> {
        let generations = self.models.generations(P::NAME).await;
        let mut generations = generations.map_err(HandleError::unavailable)?.into_iter();
        match &self.fills {
            Fills::One(id) => {
                generations.find(|generation| generation.id == *id).ok_or(HandleError::Gone)
            }
            Fills::Active => {
                let active = generations.find(|g| g.state == GenerationState::Active);
                let active = active.ok_or_else(|| {
                    HandleError::unavailable(ReadModelError::NotBuilt(Arc::from(P::NAME)))
                })?;
                if active.version == P::VERSION {
                    return Ok(active);
                }
                Err(HandleError::Unavailable(
                    format!(
                        "generation {} of {} was filled by version {}, this program has version {}",
                        active.id.number,
                        P::NAME,
                        active.version,
                        P::VERSION,
                    )
                    .into(),
                ))
            }
        }
    }

    /// Another process may have activated another generation: that one is then to be filled.
    async fn notice_swap(&mut self) -> Result<(), HandleError> {
        if self.fills != Fills::Active || self.looked_at.elapsed() < SELDOM {
            return Ok(());
        }
        self.looked_at = Instant::now();
        if Some(self.find_generation().await?.id) == self.generation {
            return Ok(());
        }
        Err(HandleError::Moved)
    }

    async fn fold(&mut self, page: EventPage) -> Result<Folded, HandleError> {
        let generation = self.generation()?;
        let away = || HandleError::Unavailable("the page before was not finished".into());
        let mut folder = self.folder.take().ok_or_else(away)?;
        let (models, codec) = (self.models.clone(), self.codec.clone());
        let busy = page.events.len() >= BUSY_FROM;
        let fold = async move {
            let folded = folder.fold(&*models, &generation, &codec, &page.events).await;
            (folder, folded)
        };
        let (folder, folded) = if busy {
            let runtime = Handle::current();
            let folding = tokio::task::spawn_blocking(move || runtime.block_on(fold));
            folding.await.map_err(HandleError::unavailable)?
        } else {
            fold.await
        };
        self.folder = Some(folder);
        self.folded_at = Some(Instant::now());
        match folded {
            Err(FoldError::ReadModels(error)) => Err(self.failure_of(error).await),
            folded => folded.map_err(HandleError::unavailable),
        }
    }

    /// Moves the checkpoint over events of no interest.
    async fn store_seen(&mut self) -> Result<(), HandleError> {
        if self.seen > self.stored.position {
            let commit = Commit::moving(self.generation()?, self.stored, self.seen, Vec::new());
            if let Err(error) = self.models.commit(commit).await {
                return Err(self.failure_of(error).await);
            }
            self.stored.position = self.seen;
            self.stored_at = Instant::now();
        }
        Ok(())
    }

    /// What an error of the read models means. A generation that is gone, or that another one
    /// fills, is no failure where another process has swapped it for the one that is active now.
    async fn failure_of(&self, error: ReadModelError) -> HandleError {
        use ReadModelError::{CheckpointMoved, NoGeneration, Retired};
        if self.fills != Fills::Active && matches!(error, NoGeneration(_) | Retired(_)) {
            return HandleError::Gone;
        }
        if self.fills == Fills::Active
            && matches!(error, NoGeneration(_) | CheckpointMoved { .. })
            && self.find_generation().await.is_ok_and(|found| Some(found.id) != self.generation)
        {
            return HandleError::Moved;
        }
        match error {
            CheckpointMoved { expected, actual, .. } if actual.position > expected.position => {
                HandleError::Elsewhere
            }
            // A server that crashed may have lost the last commits: their events come again.
            CheckpointMoved { .. } => HandleError::Moved,
            // Readers look elsewhere: so does this from now on.
            Retired(_) => HandleError::Moved,
            error => HandleError::unavailable(error),
        }
    }

    async fn finish_commit(&mut self) -> Result<(), HandleError> {
        let Some((to, commit)) = self.under_way.take() else { return Ok(()) };
        let committed = commit.await.map_err(HandleError::unavailable)?;
        if let Err(error) = committed {
            return Err(self.failure_of(error).await);
        }
        self.stored.position = to;
        self.stored_at = Instant::now();
        Ok(())
    }
}

fn before(failure: &FoldFailure) -> GlobalPosition {
    GlobalPosition(failure.position.0.saturating_sub(1))
}

//! Stores that behave badly, around one that does not.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use freehold_commands::{CommandContext, CommandExecutor};
use freehold_contract::interposed::{Interposed, InterposedStore};
use freehold_domain::user::{User, UserCommand};
use freehold_ports::{
    AppendError, AppendRequest, Appended, CommandId, EventStore, Fingerprint, LogName, ReadError,
    RecordedEvent, StreamId, StreamVersion, Tag, TaggedEvent,
};
use uuid::Uuid;

use crate::samples::context;

/// What happens to an append, beside or instead of what should.
pub(crate) enum Mischief {
    /// The events are stored, the reply is lost.
    ReplyLost,
    /// The request is lost on its way, so no reply comes either.
    RequestLost,
    /// The events are stored, the reply is lost, and the store is not to be reached afterwards.
    StoreGone,
    /// Somebody else appends first, by this executor.
    SomebodyFirst(CommandExecutor, Uuid, fn(u32) -> UserCommand),
    /// The same command is executed by this executor, right after its stream was read.
    TwinFirst(Box<(CommandExecutor, Uuid, UserCommand, CommandContext)>),
    /// Command ids cannot be looked up.
    NoLookups,
}

/// Makes mischief a few times, and then is the store it stands before.
pub(crate) struct Mischievous {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) mischief: Mischief,
    pub(crate) left: AtomicU32,
    pub(crate) appends: AtomicU32,
    reads: AtomicU32,
    lookups: AtomicU32,
    tags: AtomicU32,
    gone: AtomicU32,
}

impl Mischievous {
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        times: u32,
        mischief: Mischief,
    ) -> Arc<Interposed<Self>> {
        let left = AtomicU32::new(times);
        let [appends, reads, lookups, tags, gone] = Default::default();
        Arc::new(Interposed(Self { store, mischief, left, appends, reads, lookups, tags, gone }))
    }

    pub(crate) fn appends(&self) -> u32 {
        self.appends.load(Ordering::SeqCst)
    }

    /// How often streams were read.
    pub(crate) fn reads(&self) -> u32 {
        self.reads.load(Ordering::SeqCst)
    }

    /// How often command ids were looked up.
    pub(crate) fn lookups(&self) -> u32 {
        self.lookups.load(Ordering::SeqCst)
    }

    /// How often keys were looked up.
    pub(crate) fn tags(&self) -> u32 {
        self.tags.load(Ordering::SeqCst)
    }

    /// How much mischief is left after this one, if there is any.
    fn next(&self) -> Option<u32> {
        let one_less = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).ok()
    }

    fn reachable(&self) -> Result<(), ReadError> {
        match self.gone.load(Ordering::SeqCst) {
            0 => Ok(()),
            _ => Err(ReadError::Unavailable { source: "connection refused".into() }),
        }
    }
}

#[async_trait]
impl InterposedStore for Mischievous {
    fn behind(&self) -> &dyn EventStore {
        &*self.store
    }

    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        self.appends.fetch_add(1, Ordering::SeqCst);
        if matches!(self.mischief, Mischief::TwinFirst(..) | Mischief::NoLookups) {
            return self.store.append(request).await;
        }
        let Some(left) = self.next() else { return self.store.append(request).await };
        let stream = request.stream.clone();
        match &self.mischief {
            Mischief::ReplyLost => _ = self.store.append(request).await?,
            Mischief::RequestLost => {}
            Mischief::StoreGone => {
                self.store.append(request).await?;
                self.gone.store(1, Ordering::SeqCst);
            }
            Mischief::SomebodyFirst(executor, id, command) => {
                executor.execute::<User>(*id, command(left), &context()).await.unwrap();
                return self.store.append(request).await;
            }
            Mischief::TwinFirst(..) | Mischief::NoLookups => unreachable!("appends as it is"),
        }
        Err(AppendError::OutcomeUnknown { stream, source: "connection reset".into() })
    }

    async fn find_command(
        &self,
        log: &LogName,
        command_id: CommandId,
    ) -> Result<Option<(Appended, Fingerprint)>, ReadError> {
        self.reachable()?;
        self.lookups.fetch_add(1, Ordering::SeqCst);
        if matches!(self.mischief, Mischief::NoLookups) && self.next().is_some() {
            return Err(ReadError::Unavailable { source: "connection reset".into() });
        }
        self.store.find_command(log, command_id).await
    }

    async fn last_tagged(
        &self,
        log: &LogName,
        tenant: &str,
        tag: &Tag,
    ) -> Result<Option<TaggedEvent>, ReadError> {
        self.tags.fetch_add(1, Ordering::SeqCst);
        self.store.last_tagged(log, tenant, tag).await
    }

    async fn read_stream(
        &self,
        log: &LogName,
        stream: &StreamId,
        after: StreamVersion,
        limit: NonZeroU32,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.reachable()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        let found = self.store.read_stream(log, stream, after, limit).await;
        if let Mischief::TwinFirst(twin) = &self.mischief
            && self.next().is_some()
        {
            let (executor, id, command, context) = &**twin;
            executor.execute::<User>(*id, command.clone(), context).await.unwrap();
        }
        found
    }
}

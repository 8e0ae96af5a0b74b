//! Freehold whole: its `CommandExecutor` loads, decides on the `Property` and appends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use freehold_commands::{CommandContext, CommandError, CommandExecutor, ExecutorOptions};
use freehold_domain::property::Property;
use freehold_memory::MemoryKeyVault;
use freehold_ports::{EventCodec, SystemClock};
use uuid::Uuid;

use super::freehold::Log;
use super::{Answer, Asked, At, Peer, Seen};
use crate::history::{self, History};

pub(super) struct Commands {
    log: Log,
    executor: CommandExecutor,
    context: CommandContext,
    rents: AtomicU64,
}

impl Commands {
    pub(super) async fn open(asked: &Asked, history: Arc<History>) -> anyhow::Result<Self> {
        let log = Log::open(asked, history).await?;
        // A property holds no personal values, so no key is ever asked for.
        let codec = EventCodec::new(Arc::new(MemoryKeyVault::new([7; 32])));
        let executor = CommandExecutor::new(
            log.store.clone(),
            log.store.clone(),
            codec,
            Arc::new(SystemClock),
            ExecutorOptions::default(),
        );
        let context = CommandContext::new("default", "bench");
        Ok(Self { log, executor, context, rents: AtomicU64::new(1) })
    }
}

#[async_trait]
impl Peer for Commands {
    async fn append(&self, stream: Uuid, at: At, count: u64) -> anyhow::Result<Answer> {
        let commands = (1..=count).map(|n| {
            let rent = self.rents.fetch_add(1, Ordering::Relaxed);
            history::command(stream, at.version + n, rent)
        });
        let commands = commands.collect();
        match self.executor.execute_all::<Property>(stream, commands, &self.context).await {
            Ok(done) => Ok(Answer::Stored(At { version: done.version.0, position: 0 })),
            Err(CommandError::Contended { .. }) => Ok(Answer::Conflict(at)),
            // Only of the hot stream: somebody else registered it, or drafted its listing.
            Err(_) if at.version < 2 => {
                let loaded = self.executor.load::<Property>(stream).await?;
                Ok(Answer::Conflict(At { version: loaded.version.0, position: 0 }))
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn append_batch(&self, stream: Uuid, count: u64) -> anyhow::Result<()> {
        self.log.append_batch(stream, count).await
    }

    async fn load(&self, stream: Uuid) -> anyhow::Result<u64> {
        Ok(self.executor.load::<Property>(stream).await?.version.0)
    }

    async fn follow(&self, seen: &Seen) -> anyhow::Result<()> {
        self.log.follow(seen).await
    }
}

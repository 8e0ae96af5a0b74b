//! `freehold ingest`: messages from Kafka that were refused.

use std::num::NonZeroU32;
use std::sync::Arc;

use clap::{Args, Subcommand};
use freehold_ports::{Intake, MessageId, RefusedFilter, RefusedItem};
use serde_json::{Value, json};

use super::output::counted;
use super::{CliError, Exit, Global, Row};
use crate::ingest::kafka::{Again, take_again};
use crate::node::Node;

const PAGE: u32 = 1_000;

/// Looks at messages from Kafka that were refused, and tries them again.
#[derive(Debug, Subcommand)]
pub(super) enum Ingest {
    /// List what was refused, by topic, partition and offset
    Refused {
        /// Only of this topic
        #[arg(long)]
        topic: Option<Arc<str>>,
        /// At most so many
        #[arg(long, default_value = "1000")]
        first: NonZeroU32,
    },
    /// Take a refused message in again, as its topic still has it; of a folder, while no server runs
    Retry(Which),
    /// List a message no more that nobody will mend; of a folder, while no server runs
    Discard(Which),
}

/// A message.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its topic
    topic: Arc<str>,
    /// Its partition
    partition: u32,
    /// Its offset
    offset: u64,
}

impl Row for RefusedItem {
    const COLUMNS: &'static [&'static str] =
        &["topic", "partition", "offset", "item", "code", "field", "what", "refused_at"];

    fn cells(&self) -> Vec<Value> {
        let MessageId { partition, at } = &self.message;
        vec![
            json!(partition.topic),
            json!(partition.partition),
            json!(at.offset),
            json!(self.item),
            json!(self.code),
            json!(self.field),
            json!(self.what),
            json!(self.refused_at),
        ]
    }
}

/// What came of a message.
struct Settled<'a> {
    message: &'a MessageId,
    settled: u64,
    refused: usize,
}

impl Row for Settled<'_> {
    const COLUMNS: &'static [&'static str] =
        &["topic", "partition", "offset", "settled", "refused"];

    fn cells(&self) -> Vec<Value> {
        let MessageId { partition, at } = self.message;
        vec![
            json!(partition.topic),
            json!(partition.partition),
            json!(at.offset),
            json!(self.settled),
            json!(self.refused),
        ]
    }
}

impl Ingest {
    pub(super) fn run(self, global: &Global) -> Result<(), CliError> {
        super::block_on(async {
            match self {
                Self::Refused { topic, first } => refused(global, topic, first.get()).await,
                Self::Retry(which) => change(global, which, true).await,
                Self::Discard(which) => change(global, which, false).await,
            }
        })
    }
}

async fn refused(global: &Global, topic: Option<Arc<str>>, first: u32) -> Result<(), CliError> {
    let stores = global.stores_read_only().await?;
    let filter = RefusedFilter { topic, ..RefusedFilter::default() };
    let (mut rows, mut left, mut after) = (global.output().rows(), first, None);
    while left > 0 {
        let page = stores.intake.refused(filter.clone(), after, left.min(PAGE)).await?;
        let Some(last) = page.last() else { break };
        page.iter().try_for_each(|item| rows.write(item))?;
        left -= page.len() as u32;
        after = Some(last.clone());
    }
    rows.finish()?;
    if left == first {
        global.output().note("nothing is refused");
    }
    Ok(())
}

async fn change(global: &Global, which: Which, again: bool) -> Result<(), CliError> {
    let config = global.load([])?.config;
    let node = Node::open(&config).await?;
    let changed = async {
        let intake = &node.stores().intake;
        let messages = messages_at(&**intake, which).await?;
        let mut rows = global.output().rows();
        let mut still = 0;
        if !again {
            let count = counted(messages.len() as u64, "message", "messages");
            global.output().confirm(&format!("discard {count}"))?;
        }
        for message in &messages {
            let (settled, refused) = match again {
                false => (intake.settle(message, Vec::new()).await?, 0),
                true => match take_again(&config, &node.ingest, node.stores(), message).await {
                    Again::TakenIn(settled, refused) => (settled, refused.len()),
                    Again::Gone => {
                        let message = "the topic has this message no more; `freehold ingest \
                                       discard` lists it no more";
                        return Err(CliError::new(Exit::NotFound, message));
                    }
                    Again::NotNow(what) => return Err(CliError::new(Exit::Unavailable, what)),
                },
            };
            still += refused;
            rows.write(&Settled { message, settled, refused })?;
        }
        rows.finish()?;
        match still {
            0 => Ok(()),
            _ => Err(CliError::new(Exit::Refused, "it is refused again, at least in part")),
        }
    };
    let changed = changed.await;
    node.stop().await;
    changed
}

/// The messages with refused items at a place; more than one where the topic was made anew.
async fn messages_at(intake: &dyn Intake, which: Which) -> Result<Vec<MessageId>, CliError> {
    let Which { topic, partition, offset } = which;
    let filter =
        RefusedFilter { topic: Some(topic), partition: Some(partition), offset: Some(offset) };
    // As many items as a message has at most, and those of some more.
    let items = intake.refused(filter, None, 50_000).await?;
    let mut messages: Vec<MessageId> = items.into_iter().map(|item| item.message).collect();
    messages.dedup();
    if messages.is_empty() {
        let message = "nothing of this message is refused; see `freehold ingest refused`";
        return Err(CliError::new(Exit::NotFound, message));
    }
    Ok(messages)
}

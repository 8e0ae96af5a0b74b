//! Events folded a second, writes, indexes and the swap included.
//!
//! Over the demo's data, and over made-up homes of ten events each, a thousand of them at a time:
//! first all projections together, from nothing to the end of the log; then the listings alone,
//! rebuilt beside the model that answers queries.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use chrono::TimeDelta;
use freehold::import::{Silent, import_demo};
use freehold::node::Node;
use freehold_domain::StoredEvent as _;
use freehold_domain::property::PropertyEvent;
use freehold_ports::{
    AppendRequest, CommandId, EventId, ExpectedVersion, Fingerprint, LogName, NewEvent, Provenance,
    StreamId, StreamVersion, Tag,
};
use serde_json::{Map, Value};

use crate::made_up::Home;
use crate::output::{Fsync, Output, Row};
use crate::{Serving, Setting, TENANT, limit};

const EVENTS_OF_HOME: u64 = 10;
/// How many homes change at the same time.
const CALLERS: u64 = 1_000;
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy)]
enum Source {
    Demo,
    MadeUp { events: u64 },
}

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    let events = setting.events.unwrap_or(if setting.quick { 100_000 } else { 1_000_000 });
    for source in [Source::Demo, Source::MadeUp { events }] {
        measure(setting, source, output).await?;
    }
    Ok(())
}

async fn measure(setting: &Setting, source: Source, output: &mut Output) -> anyhow::Result<()> {
    let Serving { node, folder, .. } = &setting.serve().await?;
    let name = match source {
        Source::Demo => {
            import_demo(&node.platform, TENANT.into(), &Silent).await?;
            "demo"
        }
        Source::MadeUp { events } => {
            fill(node, events / EVENTS_OF_HOME).await?;
            "made-up"
        }
    };
    let domain = node.platform.store.head(&LogName::DOMAIN).await?;
    let interactions = node.platform.store.head(&LogName::INTERACTIONS).await?;
    let mut print = |projection, events: u64, fsync_before, took: Duration, path: &Path| {
        let parameters = Map::from_iter([
            ("data".to_owned(), Value::from(name)),
            ("projection".to_owned(), Value::from(projection)),
            ("events".to_owned(), Value::from(events)),
        ]);
        output.print(Row {
            bench: "rebuild",
            store: setting.store_name(),
            parameters,
            value: events as f64 / took.as_secs_f64(),
            unit: "events/s",
            fsync_us: Fsync { before: fsync_before, after: limit::fsync_us(path)? },
            ..Row::default()
        })
    };

    let before = limit::fsync_us(folder.path())?;
    let started = Instant::now();
    node.start();
    for status in node.projections.statuses() {
        let head = if status.log == LogName::DOMAIN { domain } else { interactions };
        node.projections.wait_for(status.name, head, PATIENCE).await??;
    }
    print("all", domain.0 + interactions.0, before, started.elapsed(), folder.path())?;

    let before = limit::fsync_us(folder.path())?;
    let started = Instant::now();
    let rebuild = node.projections.rebuild("listings")?;
    tokio::time::timeout(PATIENCE, rebuild.finished()).await??;
    print("listings", domain.0, before, started.elapsed(), folder.path())?;
    node.stop().await;
    Ok(())
}

/// Appends the histories of made-up homes, as many callers would: they are mixed in the log.
async fn fill(node: &Node, homes: u64) -> anyhow::Result<()> {
    let tasks: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let platform = node.platform.clone();
            tokio::spawn(async move {
                for number in (caller..homes).step_by(CALLERS as usize) {
                    let home = Home::new(number);
                    let (stream, mut at) =
                        (StreamId::new("property", home.property)?, home.published_at);
                    let mut version = StreamVersion(0);
                    for events in home.history() {
                        at += TimeDelta::hours(5);
                        let mut new = Vec::with_capacity(events.len());
                        for event in events {
                            let event_id = EventId::new();
                            let encoded = platform.codec.encode(&event, event_id).await?;
                            new.push(NewEvent {
                                event_id,
                                event_type: event.event_type().into(),
                                schema_version: event.schema_version(),
                                occurred_at: at,
                                subjects: encoded.subjects,
                                tags: tags(&event)?,
                                codec: encoded.codec,
                                payload: encoded.payload,
                            });
                        }
                        let request = request(stream.clone(), version, new);
                        version = platform.store.append(request).await?.version;
                    }
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    let head = node.platform.store.head(&LogName::DOMAIN).await?;
    ensure!(head.0 == homes * EVENTS_OF_HOME, "{homes} homes have {head} events");
    Ok(())
}

/// The marks that the events of a feed have.
fn tags(event: &PropertyEvent) -> anyhow::Result<Vec<Tag>> {
    Ok(match event {
        PropertyEvent::PropertyRegistered(event) => {
            vec![format!("source:{}", event.source.key()).parse()?]
        }
        PropertyEvent::ListingDrafted(event) => {
            vec![format!("listing:{}", event.listing).parse()?]
        }
        _ => Vec::new(),
    })
}

fn request(stream: StreamId, version: StreamVersion, events: Vec<NewEvent>) -> AppendRequest {
    AppendRequest {
        log: LogName::DOMAIN,
        stream,
        expected: ExpectedVersion::Exactly(version),
        command_id: CommandId::new(),
        fingerprint: Fingerprint([7; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: Arc::from(TENANT),
            actor: "bench".into(),
            correlation_id: None,
            causation_id: None,
        },
        events,
    }
}

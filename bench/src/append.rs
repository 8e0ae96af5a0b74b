//! Appends a second, by how many callers ask at the same time.
//!
//! Each caller appends single events of 300 bytes with expected version, command id and one tag,
//! 20 to a stream, and asks again as soon as it is answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use freehold_ports::{
    AppendRequest, CommandId, EventId, EventStore, ExpectedVersion, Fingerprint, LogName, NewEvent,
    PayloadCodec, Provenance, StreamId, StreamVersion, Tag,
};
use hdrhistogram::Histogram;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::output::{Fsync, Latency, Output, Row};
use crate::{Setting, Store, limit};

pub(crate) const EVENTS_OF_STREAM: u64 = 20;
const PAYLOAD_BYTES: usize = 300;

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    for callers in [1, 16, 64, 256, 1_024] {
        let folder = setting.fresh_folder()?;
        let before = limit::fsync_us(folder.path())?;
        let limit = match setting.store {
            Store::Sqlite => {
                let raw = setting.fresh_folder()?;
                Some(limit::rows_written(raw.path(), callers, setting.duration)?)
            }
            Store::Memory => None,
        };
        let store = setting.open_store(folder.path())?;
        let measured = measure(&store, callers, setting.duration).await?;
        drop(store);
        let after = limit::fsync_us(folder.path())?;
        let parameters = Map::from_iter([
            ("callers".to_owned(), Value::from(callers)),
            ("payload_bytes".to_owned(), Value::from(PAYLOAD_BYTES)),
        ]);
        let row = Row {
            bench: "append",
            store: setting.store_name(),
            parameters,
            value: measured.per_second,
            unit: "appends/s",
            latency: Some(measured.latency),
            fsync_us: Fsync { before, after },
            ..Row::default()
        };
        output.print(row.beside(limit))?;
    }
    Ok(())
}

struct Measured {
    per_second: f64,
    latency: Latency,
}

async fn measure(
    store: &Arc<dyn EventStore>,
    callers: usize,
    duration: Duration,
) -> anyhow::Result<Measured> {
    let appended = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, appended) = (store.clone(), appended.clone());
            tokio::spawn(async move {
                let mut caller = Caller::new();
                let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 2)?;
                while started.elapsed() < duration {
                    let asked = Instant::now();
                    store.append(caller.next()).await?;
                    times.record((asked.elapsed().as_micros() as u64).max(1))?;
                    appended.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000, 2)?;
    for task in tasks {
        times.add(task.await??)?;
    }
    let per_second = appended.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64();
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    let latency = Latency { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) };
    Ok(Measured { per_second, latency })
}

/// Someone who appends to one stream after another.
pub(crate) struct Caller {
    stream: StreamId,
    tag: Tag,
    version: u64,
    provenance: Provenance,
    event_type: Arc<str>,
    payload: Bytes,
}

impl Caller {
    pub(crate) fn new() -> Self {
        let (stream, tag) = new_stream();
        Self {
            stream,
            tag,
            version: 0,
            provenance: Provenance {
                tenant: "default".into(),
                actor: "bench".into(),
                correlation_id: Some(Uuid::now_v7()),
                causation_id: None,
            },
            event_type: "ListingPriceChanged".into(),
            payload: Bytes::from(vec![b'x'; PAYLOAD_BYTES]),
        }
    }

    pub(crate) fn next(&mut self) -> AppendRequest {
        if self.version == EVENTS_OF_STREAM {
            (self.stream, self.tag) = new_stream();
            self.version = 0;
        }
        let expected = ExpectedVersion::Exactly(StreamVersion(self.version));
        self.version += 1;
        AppendRequest {
            log: LogName::DOMAIN,
            stream: self.stream.clone(),
            expected,
            command_id: CommandId::new(),
            fingerprint: Fingerprint([7; 16]),
            boundaries: Vec::new(),
            provenance: self.provenance.clone(),
            events: vec![NewEvent {
                event_id: EventId::new(),
                event_type: self.event_type.clone(),
                schema_version: 1,
                occurred_at: Utc::now(),
                subjects: Vec::new(),
                tags: vec![self.tag.clone()],
                codec: PayloadCodec::Json,
                payload: self.payload.clone(),
            }],
        }
    }
}

/// A stream and the tag of its events, as a feed's references are: `source:bench/bench-00000042`.
fn new_stream() -> (StreamId, Tag) {
    static STREAMS: AtomicU64 = AtomicU64::new(1);
    let number = STREAMS.fetch_add(1, Ordering::Relaxed);
    let stream = StreamId::new("property", Uuid::now_v7()).expect("a UUID fits a stream name");
    let tag = format!("source:bench/bench-{number:08}").parse().expect("digits fit a tag");
    (stream, tag)
}

//! Appends a second by callers at the same time, and events read back a second.
//!
//! `TEST_POSTGRES_URL=... cargo bench -p freehold-postgres --bench append [-- <words of a row>]`

#![allow(clippy::unwrap_used, reason = "a bench ends where its expectations do")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use freehold_ports::{
    AppendRequest, CommandId, EventFilter, EventId, EventStore, ExpectedVersion, Fingerprint,
    GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance, StreamId, StreamVersion,
};
use freehold_postgres::{LogOptions, PostgresEventStore};
use futures_util::future::join_all;
use uuid::Uuid;

use common::Schema;

/// How long each row is measured.
const FOR: Duration = Duration::from_secs(4);

/// What the callers of a row send.
#[derive(Clone, Copy)]
enum Load {
    /// One event each to streams of their own.
    NewStreams,
    /// Twenty events to each stream, one after the other.
    TwentyToAStream,
    /// All of them to one stream, whatever its version.
    OneHotStream,
    /// What was stored before, again.
    Repetitions,
}

fn main() {
    if std::env::var_os("TEST_POSTGRES_URL").is_none() {
        println!("set TEST_POSTGRES_URL");
        return;
    }
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |row: &str| wanted.as_ref().is_none_or(|words| row.contains(words.as_str()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        for (name, load, callers, processes) in [
            ("1 event a stream", Load::NewStreams, 1, 1),
            ("1 event a stream", Load::NewStreams, 16, 1),
            ("1 event a stream", Load::NewStreams, 64, 1),
            ("20 events a stream", Load::TwentyToAStream, 64, 1),
            ("one hot stream", Load::OneHotStream, 64, 1),
            ("repetitions", Load::Repetitions, 64, 1),
            ("1 event a stream", Load::NewStreams, 256, 1),
            ("1 event a stream", Load::NewStreams, 1_024, 1),
            ("1 event a stream", Load::NewStreams, 64, 4),
            ("one hot stream", Load::OneHotStream, 64, 2),
        ] {
            let name = format!("{name}, {processes} x {callers} callers");
            if wanted(&name) {
                measure(&name, load, callers, processes).await;
            }
        }
        if wanted("read") {
            read().await;
        }
    });
}

/// As many callers in each of so many stores on one schema.
async fn measure(name: &str, load: Load, callers: usize, processes: usize) {
    let schema = Schema::new();
    let mut stores = Vec::new();
    for _ in 0..processes {
        stores.push(Arc::new(open(&schema).await));
    }
    let until = Instant::now() + FOR;
    let hot = a_new_stream();
    let tasks = (0..callers * processes).map(|caller| {
        let (store, hot) = (stores[caller % processes].clone(), hot.clone());
        tokio::spawn(async move {
            let mut waited = Vec::new();
            let (mut stream, mut version) = (a_new_stream(), 0);
            let first = to(&stream, ExpectedVersion::Any);
            store.append(first.clone()).await.unwrap();
            while Instant::now() < until {
                let request = match load {
                    Load::NewStreams => to(&a_new_stream(), ExpectedVersion::NoStream),
                    Load::TwentyToAStream => {
                        if version % 20 == 0 {
                            (stream, version) = (a_new_stream(), 0);
                        }
                        version += 1;
                        let before = StreamVersion(version - 1);
                        to(&stream, ExpectedVersion::Exactly(before))
                    }
                    Load::OneHotStream => to(&hot, ExpectedVersion::Any),
                    Load::Repetitions => first.clone(),
                };
                let sent = Instant::now();
                store.append(request).await.unwrap();
                waited.push(sent.elapsed());
            }
            waited
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let mut waited: Vec<Duration> = Vec::new();
    for task in join_all(tasks).await {
        waited.extend(task.unwrap());
    }
    waited.sort_unstable();
    let at = |share: usize| waited[(waited.len() - 1) * share / 100].as_secs_f64() * 1_000.0;
    let rate = waited.len() as f64 / FOR.as_secs_f64();
    println!("{name}: {rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
}

/// The whole log in pages of 1,000, each event decoded.
async fn read() {
    let schema = Schema::new();
    let store = Arc::new(open(&schema).await);
    let tasks = (0..1_000).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                store.append(to(&a_new_stream(), ExpectedVersion::NoStream)).await.unwrap();
            }
        })
    });
    join_all(tasks.collect::<Vec<_>>()).await;
    // The second time the names of the streams may be remembered.
    for round in ["first", "second"] {
        let (mut after, mut events, filter) = (GlobalPosition(0), 0, EventFilter::all());
        let started = Instant::now();
        loop {
            let limit = NonZeroU32::new(1_000).unwrap();
            let page = store.read_all(&LogName::DOMAIN, &filter, after, limit);
            let page = page.await.unwrap();
            if page.events.is_empty() {
                break;
            }
            events += page.events.len();
            after = page.through;
        }
        let rate = events as f64 / started.elapsed().as_secs_f64();
        println!("read {events} events, {round} time: {rate:.0}/s");
    }
}

async fn open(schema: &Schema) -> PostgresEventStore {
    PostgresEventStore::open(schema.database(), LogOptions::default()).await.unwrap()
}

fn a_new_stream() -> StreamId {
    StreamId::new("property", Uuid::now_v7()).unwrap()
}

fn to(stream: &StreamId, expected: ExpectedVersion) -> AppendRequest {
    AppendRequest {
        log: LogName::DOMAIN,
        stream: stream.clone(),
        expected,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([1; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "north".into(),
            actor: "bench".into(),
            correlation_id: Some(Uuid::now_v7()),
            causation_id: None,
        },
        events: vec![NewEvent {
            event_id: EventId::new(),
            event_type: "Noted".into(),
            schema_version: 1,
            occurred_at: Utc::now(),
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: vec![b'x'; 300].into(),
        }],
    }
}

//! What a driver does: the workloads, the same for every store that a Rust program reaches.
//!
//! A driver gets a database of its own, makes its tables, fills what a workload reads, and prints
//! one JSON object a row. Drivers in other languages (`drivers/`) do the same by the same names.

mod commands;
mod freehold;
mod message_db;
mod postgres_es;
mod raw;
#[cfg(feature = "umadb")]
mod umadb;

use std::collections::HashSet;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use async_trait::async_trait;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::history::History;

/// Events to a stream of the workload that adds to them.
const EVENTS_OF_STREAM: u64 = 20;
/// Callers that fill what a workload reads.
const FILLERS: usize = 8;
/// Streams that are loaded whole: how many, of how many events.
const LOADED: [(u64, u64); 3] = [(200, 10), (100, 100), (20, 1_000)];
/// Events of each other stream, written by one append.
const EVENTS_OF_FILLED: u64 = 100;
/// Connections of a pool; more were no faster on two cores.
const CONNECTIONS: usize = 64;
/// How long a reader may see nothing before what it has not seen is lost.
const SILENCE: Duration = Duration::from_secs(3);
/// How long its first event may take: some sort all of them first.
const LONGEST_START: Duration = Duration::from_secs(60);

/// What every driver is asked.
#[derive(Args, Clone)]
pub(crate) struct Asked {
    /// The store's address.
    #[arg(long)]
    pub(crate) url: String,
    /// What to do.
    #[arg(long)]
    pub(crate) workload: Workload,
    /// How many ask at the same time.
    #[arg(long)]
    pub(crate) callers: usize,
    /// How long to measure.
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Which streams are loaded when.
    #[arg(long)]
    pub(crate) seed: u64,
    /// How many events to read in order, at the most.
    #[arg(long)]
    pub(crate) count: u64,
    /// How long filling may take: a slow store reads fewer.
    #[arg(long)]
    pub(crate) fill_seconds: f64,
    /// The history to store.
    #[arg(long)]
    pub(crate) events: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// One event to each new stream
    Fresh,
    /// One event after the other to streams of 20
    Twenty,
    /// Ten events to each new stream, in one append
    #[value(name = "batch-10")]
    #[serde(rename = "batch-10")]
    Batch10,
    /// A hundred
    #[value(name = "batch-100")]
    #[serde(rename = "batch-100")]
    Batch100,
    /// A thousand
    #[value(name = "batch-1000")]
    #[serde(rename = "batch-1000")]
    Batch1000,
    /// All to one stream, each at the version it believes in, again after a conflict
    Hot,
    /// Streams loaded whole, then all events in order
    Read,
    /// Writers and one reader that follows them
    Tail,
}

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// `load-10`, `load-100`, `load-1000`, `catch-up`, or the workload.
    pub(crate) row: String,
    pub(crate) callers: usize,
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// How many were counted.
    pub(crate) events: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p95_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) doubled: Option<u64>,
}

/// Where a writer believes a stream to be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct At {
    /// How many events it has.
    version: u64,
    /// The last one's place in the store, where appends are conditional on that.
    position: u64,
}

/// What came of an append.
pub(super) enum Answer {
    Stored(At),
    /// Another writer came first: where the stream is.
    Conflict(At),
}

/// A store with a client as its documents advise.
#[async_trait]
pub(super) trait Peer: Send + Sync {
    /// Appends so many events of the history at the end of a stream, all or none, durably.
    async fn append(&self, stream: Uuid, at: At, count: u64) -> anyhow::Result<Answer>;

    /// Appends many at once; what fills, and what batches do.
    async fn append_batch(&self, stream: Uuid, count: u64) -> anyhow::Result<()> {
        match self.append(stream, At::default(), count).await? {
            Answer::Stored(_) => Ok(()),
            Answer::Conflict(_) => bail!("a new stream was not new"),
        }
    }

    /// Reads a stream whole and says how many events it has.
    async fn load(&self, stream: Uuid) -> anyhow::Result<u64>;

    /// Follows all events from the first; ends only with the task.
    async fn follow(&self, seen: &Seen) -> anyhow::Result<()>;
}

/// What a reader saw, by stream and version; only added to, so that noting one costs it little.
#[derive(Default)]
pub(super) struct Seen(Mutex<Vec<(Uuid, u64)>>);

impl Seen {
    fn event(&self, stream: Uuid, version: u64) {
        self.events().push((stream, version));
    }

    fn count(&self) -> u64 {
        self.events().len() as u64
    }

    /// How many of those events were not seen, and how many of any were seen again.
    fn lost_and_doubled(&self, stored: &[(Uuid, u64)]) -> (u64, u64) {
        let seen = self.events();
        let once: HashSet<_> = seen.iter().collect();
        let lost = stored.iter().filter(|event| !once.contains(event)).count();
        (lost as u64, (seen.len() - once.len()) as u64)
    }

    fn events(&self) -> MutexGuard<'_, Vec<(Uuid, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which driver.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Driver {
    Freehold,
    FreeholdCommands,
    PostgresEs,
    MessageDb,
    MessageDbCategories,
    #[cfg(feature = "umadb")]
    Umadb,
    Raw,
}

/// Does one workload and prints its rows.
pub(crate) async fn run(driver: Driver, asked: Asked) -> anyhow::Result<()> {
    let history = Arc::new(History::read(&asked.events)?);
    if let Driver::Raw = driver {
        return raw::run(&asked, &history).await.map(print);
    }
    let peer: Arc<dyn Peer> = match driver {
        Driver::Freehold => Arc::new(freehold::Log::open(&asked, history).await?),
        Driver::FreeholdCommands => Arc::new(commands::Commands::open(&asked, history).await?),
        Driver::PostgresEs => Arc::new(postgres_es::PostgresEs::open(&asked, history).await?),
        Driver::MessageDb => Arc::new(message_db::MessageDb::open(&asked, history, 1).await?),
        Driver::MessageDbCategories => {
            Arc::new(message_db::MessageDb::open(&asked, history, 64).await?)
        }
        #[cfg(feature = "umadb")]
        Driver::Umadb => Arc::new(umadb::UmaDb::open(&asked, history).await?),
        Driver::Raw => bail!("raw is no store"),
    };
    let rows = match asked.workload {
        Workload::Fresh | Workload::Twenty | Workload::Hot => vec![singles(&peer, &asked).await?],
        Workload::Batch10 => vec![batches(&peer, &asked, 10).await?],
        Workload::Batch100 => vec![batches(&peer, &asked, 100).await?],
        Workload::Batch1000 => vec![batches(&peer, &asked, 1_000).await?],
        Workload::Read => read(&peer, &asked).await?,
        Workload::Tail => vec![tail(&peer, &asked).await?],
    };
    print(rows);
    Ok(())
}

fn print(rows: Vec<Measured>) {
    for row in rows {
        println!("{}", serde_json::json!(row));
    }
}

/// When a measurement begins, after a fifth of it to warm up, and when it ends.
#[derive(Clone, Copy)]
struct Span {
    from: Instant,
    until: Instant,
}

impl Span {
    fn now(seconds: f64) -> Self {
        let from = Instant::now() + Duration::from_secs_f64(seconds / 5.0);
        Self { from, until: from + Duration::from_secs_f64(seconds) }
    }

    fn seconds(self) -> f64 {
        (self.until - self.from).as_secs_f64()
    }
}

/// How long each took that was answered within a span.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn note(&mut self, span: Span, asked: Instant) {
        let answered = Instant::now();
        if (span.from..=span.until).contains(&answered) {
            self.0.push(answered - asked);
        }
    }

    fn row(mut self, row: &str, asked: &Asked, span: Span, each: u64, unit: &str) -> Measured {
        self.0.sort_unstable();
        let at = |share: usize| {
            let index = self.0.len().checked_sub(1)? * share / 100;
            Some(self.0[index].as_secs_f64() * 1_000.0)
        };
        let events = self.0.len() as u64 * each;
        Measured {
            row: row.to_owned(),
            callers: asked.callers,
            value: events as f64 / span.seconds(),
            unit: unit.to_owned(),
            events,
            p50_ms: at(50),
            p95_ms: at(95),
            p99_ms: at(99),
            lost: None,
            doubled: None,
        }
    }
}

/// Lets as many tasks go on as there are callers, each until the span is over.
async fn together<F, T>(
    callers: usize,
    mut caller: impl FnMut(usize) -> F,
) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
    T: Send + 'static,
{
    let mut tasks = JoinSet::new();
    for number in 0..callers {
        tasks.spawn(caller(number));
    }
    let mut results = Vec::new();
    while let Some(result) = tasks.join_next().await {
        results.push(result??);
    }
    Ok(results)
}

fn merged(times: Vec<Times>) -> Times {
    Times(times.into_iter().flat_map(|times| times.0).collect())
}

async fn singles(peer: &Arc<dyn Peer>, asked: &Asked) -> anyhow::Result<Measured> {
    let (hot, workload) = (Uuid::now_v7(), asked.workload);
    let span = Span::now(asked.seconds);
    let times = together(asked.callers, |_| {
        let peer = peer.clone();
        async move {
            let mut times = Times::default();
            let (mut stream, mut at) = (hot, At::default());
            while Instant::now() < span.until {
                let full = match workload {
                    Workload::Hot => false,
                    Workload::Twenty => at.version.is_multiple_of(EVENTS_OF_STREAM),
                    _ => true,
                };
                if full {
                    (stream, at) = (Uuid::now_v7(), At::default());
                }
                let sent = Instant::now();
                loop {
                    match peer.append(stream, at, 1).await? {
                        Answer::Stored(now) => {
                            at = now;
                            break;
                        }
                        Answer::Conflict(now) => at = now,
                    }
                    if Instant::now() > span.until {
                        return Ok(times);
                    }
                }
                times.note(span, sent);
            }
            anyhow::Ok(times)
        }
    });
    let row = match workload {
        Workload::Hot => "hot",
        Workload::Twenty => "twenty",
        _ => "fresh",
    };
    Ok(merged(times.await?).row(row, asked, span, 1, "events/s"))
}

async fn batches(peer: &Arc<dyn Peer>, asked: &Asked, size: u64) -> anyhow::Result<Measured> {
    let span = Span::now(asked.seconds);
    let times = together(asked.callers, |_| {
        let peer = peer.clone();
        async move {
            let mut times = Times::default();
            while Instant::now() < span.until {
                let sent = Instant::now();
                peer.append_batch(Uuid::now_v7(), size).await?;
                times.note(span, sent);
            }
            anyhow::Ok(times)
        }
    });
    Ok(merged(times.await?).row(&format!("batch-{size}"), asked, span, size, "events/s"))
}

async fn read(peer: &Arc<dyn Peer>, asked: &Asked) -> anyhow::Result<Vec<Measured>> {
    let until = Instant::now() + Duration::from_secs_f64(asked.fill_seconds);
    let mut streams = Vec::new();
    for (number, events) in LOADED {
        streams.push((events, fill(peer, number, events, until).await?));
    }
    let mut stored = Vec::new();
    streams.iter().for_each(|(events, of)| stored.extend(events_of(of, *events)));
    let more = asked.count.saturating_sub(stored.len() as u64) / EVENTS_OF_FILLED;
    let filled = fill(peer, more, EVENTS_OF_FILLED, until).await?;
    stored.extend(events_of(&filled, EVENTS_OF_FILLED));
    analyse(&asked.url).await?;

    let mut rows = Vec::new();
    for (events, streams) in streams {
        if streams.is_empty() {
            continue;
        }
        let streams = Arc::new(streams);
        let span = Span::now(asked.seconds);
        let times = together(asked.callers, |caller| {
            let (peer, streams) = (peer.clone(), streams.clone());
            let mut next = asked.seed as usize + caller * 7;
            async move {
                let mut times = Times::default();
                while Instant::now() < span.until {
                    next = (next + 1) % streams.len();
                    let sent = Instant::now();
                    let loaded = peer.load(streams[next]).await?;
                    ensure!(loaded == events, "{loaded} events were loaded instead of {events}");
                    times.note(span, sent);
                }
                anyhow::Ok(times)
            }
        });
        let times = merged(times.await?);
        rows.push(times.row(&format!("load-{events}"), asked, span, 1, "loads/s"));
    }
    rows.push(catch_up(peer, stored).await?);
    Ok(rows)
}

/// Stores streams of so many events until there are enough or the time is over.
async fn fill(
    peer: &Arc<dyn Peer>,
    streams: u64,
    events: u64,
    until: Instant,
) -> anyhow::Result<Vec<Uuid>> {
    let left = Arc::new(AtomicU64::new(streams));
    let filled = together(FILLERS, |_| {
        let (peer, left) = (peer.clone(), left.clone());
        async move {
            let mut filled = Vec::new();
            let one = |left: u64| left.checked_sub(1);
            while Instant::now() < until
                && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one).is_ok()
            {
                let stream = Uuid::now_v7();
                peer.append_batch(stream, events).await?;
                filled.push(stream);
            }
            anyhow::Ok(filled)
        }
    });
    Ok(filled.await?.concat())
}

/// The events of streams that have so many each.
fn events_of(streams: &[Uuid], events: u64) -> impl Iterator<Item = (Uuid, u64)> {
    streams.iter().flat_map(move |stream| (1..=events).map(|version| (*stream, version)))
}

/// How many connections a driver over PostgreSQL has.
fn connections(asked: &Asked) -> u32 {
    asked.callers.clamp(FILLERS, CONNECTIONS) as u32
}

/// Connections, all open before anything is measured.
///
/// - `schemas`: where names are looked up, unless it is empty.
async fn pool(asked: &Asked, schemas: &str) -> anyhow::Result<PgPool> {
    let mut options = PgConnectOptions::from_str(&asked.url)?.disable_statement_logging();
    if !schemas.is_empty() {
        options = options.options([("search_path", schemas.replace(' ', ""))]);
    }
    let connections = connections(asked);
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        .test_before_acquire(false)
        .acquire_timeout(Duration::from_secs(60))
        .connect_with(options)
        .await?;
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(pool.acquire().await?);
    }
    Ok(pool)
}

/// Tells the planner what the tables hold by now.
async fn analyse(url: &str) -> anyhow::Result<()> {
    if url.starts_with("postgres") {
        let mut connection = sqlx::PgConnection::connect(url).await?;
        sqlx::query("VACUUM ANALYZE").execute(&mut connection).await?;
        connection.close().await?;
    }
    Ok(())
}

async fn catch_up(peer: &Arc<dyn Peer>, stored: Vec<(Uuid, u64)>) -> anyhow::Result<Measured> {
    let seen = Arc::new(Seen::default());
    let started = Instant::now();
    let mut reader = follower(peer, &seen);
    let last = seen_all(&mut reader, &seen, &stored).await?;
    let (lost, doubled) = seen.lost_and_doubled(&stored);
    let events = stored.len() as u64;
    Ok(Measured {
        row: "catch-up".to_owned(),
        callers: 1,
        value: (events - lost) as f64 / (last - started).as_secs_f64(),
        unit: "events/s".to_owned(),
        events,
        p50_ms: None,
        p95_ms: None,
        p99_ms: None,
        lost: Some(lost),
        doubled: Some(doubled),
    })
}

fn follower(peer: &Arc<dyn Peer>, seen: &Arc<Seen>) -> JoinSet<anyhow::Result<()>> {
    let (peer, seen) = (peer.clone(), seen.clone());
    let mut reader = JoinSet::new();
    reader.spawn(async move { peer.follow(&seen).await });
    reader
}

/// Waits until a reader has seen those events, and a while longer for any that come twice, or until
/// it sees no more; says when it saw the last one.
async fn seen_all(
    reader: &mut JoinSet<anyhow::Result<()>>,
    seen: &Seen,
    stored: &[(Uuid, u64)],
) -> anyhow::Result<Instant> {
    let (mut count, mut last) = (seen.count(), Instant::now());
    loop {
        tokio::time::sleep(Duration::from_millis(1)).await;
        if let Some(ended) = reader.try_join_next() {
            ended??;
            bail!("the reader ended after {count} of {}", stored.len());
        }
        if seen.count() != count {
            (count, last) = (seen.count(), Instant::now());
            continue;
        }
        // A reader that has passed an event by does not come back for it.
        let silence = if count == 0 { LONGEST_START } else { SILENCE };
        let all = || count >= stored.len() as u64 && seen.lost_and_doubled(stored).0 == 0;
        if last.elapsed() > silence || last.elapsed() > SILENCE / 3 && all() {
            return Ok(last);
        }
    }
}

async fn tail(peer: &Arc<dyn Peer>, asked: &Asked) -> anyhow::Result<Measured> {
    let seen = Arc::new(Seen::default());
    let mut reader = follower(peer, &seen);
    let span = Span::now(asked.seconds);
    let written = together(asked.callers, |_| {
        let peer = peer.clone();
        async move {
            let (mut times, mut written) = (Times::default(), Vec::new());
            let (mut stream, mut at) = (Uuid::now_v7(), At::default());
            while Instant::now() < span.until {
                if at.version == EVENTS_OF_STREAM {
                    (stream, at) = (Uuid::now_v7(), At::default());
                }
                let sent = Instant::now();
                match peer.append(stream, at, 1).await? {
                    Answer::Stored(now) => at = now,
                    Answer::Conflict(_) => bail!("a stream of one writer has a conflict"),
                }
                times.note(span, sent);
                written.push((stream, at.version));
            }
            Ok((times, written))
        }
    });
    let (times, written): (Vec<_>, Vec<_>) = written.await?.into_iter().unzip();
    let written = written.concat();
    seen_all(&mut reader, &seen, &written).await?;
    let (lost, doubled) = seen.lost_and_doubled(&written);
    let mut row = merged(times).row("tail", asked, span, 1, "events/s");
    row.events = written.len() as u64;
    (row.lost, row.doubled) = (Some(lost), Some(doubled));
    Ok(row)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Seen, events_of};

    #[test]
    fn one_lost_and_one_doubled_do_not_cancel_out() {
        let stored: Vec<_> = events_of(&[Uuid::from_u128(1), Uuid::from_u128(2)], 3).collect();
        let seen = Seen::default();
        // Not the third event of the second stream, but its second one twice.
        stored.iter().take(5).for_each(|(stream, version)| seen.event(*stream, *version));
        seen.event(Uuid::from_u128(2), 2);

        assert_eq!(seen.count(), stored.len() as u64);
        assert_eq!(seen.lost_and_doubled(&stored), (1, 1));
    }
}

//! From the moment a price is due to be sent over HTTP until searches see it.
//!
//! The server runs in this process, with its stores on the disk; requests come over loopback, on
//! connections that stay open. The schedule does not wait for answers: a request that could not be
//! sent in time has waited since it was due.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use freehold::config::Config;
use freehold::graphql::{Limits, schema};
use freehold::http::graphql::Operations;
use freehold::http::{Application, Server};
use freehold::ingest::routes;
use freehold::node::Node;
use freehold::telemetry::Metrics;
use freehold_ports::GlobalPosition;
use freehold_projections::SubscriptionStatus;
use hdrhistogram::Histogram;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};

use crate::output::{Fsync, Latency, Output, Row};
use crate::{Serving, Setting, TENANT, limit};

/// How many properties the feed has.
const PROPERTIES: u64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What is sent.
#[derive(Clone, Copy)]
struct Load {
    events_per_second: u64,
    events_per_request: u64,
    connections: u64,
}

const LOADS: [Load; 2] = [
    Load { events_per_second: 5_000, events_per_request: 1, connections: 128 },
    Load { events_per_second: 20_000, events_per_request: 50, connections: 32 },
];

pub(crate) async fn run(setting: &Setting, output: &mut Output) -> anyhow::Result<()> {
    for load in LOADS {
        measure(setting, load, output).await?;
    }
    Ok(())
}

async fn measure(setting: &Setting, load: Load, output: &mut Output) -> anyhow::Result<()> {
    let Serving { config, node, folder, .. } = &setting.serve().await?;
    node.start();
    let server = Server::bind(config, application(config, node), Metrics::of_process()).await?;
    let address = server.address();
    let (stop, asked_to_stop) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async {
        // Dropping the sender is the sign.
        let _ = asked_to_stop.await;
    }));

    let known = Load { events_per_second: u64::MAX, events_per_request: 50, connections: 16 };
    let answers = send(address, known, PROPERTIES / 50, PATIENCE, register).await?;
    ensure!(answers.iter().all(|answer| answer.refused == 0), "a property was refused");
    wait_until_visible(node, &answers).await?;

    let before = limit::fsync_us(folder.path())?;
    let seen = Seen::watch(node)?;
    let requests = load.events_per_second * setting.duration.as_secs() / load.events_per_request;
    let started = Instant::now();
    let answers = send(address, load, requests, setting.duration * 2, change_price).await?;
    let took = started.elapsed();
    wait_until_visible(node, &answers).await?;
    let seen = seen.end();
    let after = limit::fsync_us(folder.path())?;

    let accepted: u64 = answers.iter().map(|answer| answer.accepted).sum();
    let refused: u64 = answers.iter().map(|answer| answer.refused).sum();
    let unsent = requests * load.events_per_request - accepted - refused;
    let moments: [(_, Moment); 2] = [
        ("answered", |answer, _| Some(answer.at)),
        ("visible", |answer, seen| {
            let first = seen.partition_point(|sight| Some(sight.position) < answer.position);
            Some(seen.get(first)?.at)
        }),
    ];
    for (until, moment) in moments {
        let mut times = Histogram::<u64>::new_with_bounds(1, 600_000_000, 3)?;
        for answer in answers.iter().filter(|answer| answer.position.is_some()) {
            let at = moment(answer, &seen).context("an accepted event was never seen")?;
            times.record(((at - answer.due).as_micros() as u64).max(1))?;
        }
        let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
        let parameters = Map::from_iter([
            ("rate".to_owned(), Value::from(load.events_per_second)),
            ("batch".to_owned(), Value::from(load.events_per_request)),
            ("until".to_owned(), Value::from(until)),
            ("refused".to_owned(), Value::from(refused)),
            ("unsent".to_owned(), Value::from(unsent)),
        ]);
        output.print(Row {
            bench: "ingest",
            store: setting.store_name(),
            parameters,
            value: accepted as f64 / took.as_secs_f64(),
            unit: "events/s",
            latency: Some(Latency { p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99) }),
            fsync_us: Fsync { before, after },
            ..Row::default()
        })?;
    }
    drop(stop);
    serving.await??;
    node.stop().await;
    Ok(())
}

fn application(config: &Config, node: &Node) -> Application {
    let schema = schema(node.platform.clone(), Limits::default());
    let mut application = Application::new(Operations::new(schema, TENANT));
    application.routes = routes(node.ingest.clone(), TENANT.into(), config.ingest.max_body_bytes);
    application.checks = node.checks();
    application
}

/// The item that makes a property known.
fn register(number: u64) -> Value {
    json!({
        "property_id": format!("p-{number}"),
        "event_type": "property_updated",
        "data": {
            "title": "A flat near the park", "property_type": "apartment", "price": 899,
            "currency": "EUR", "frequency": "monthly", "bedrooms": 2, "city": "Berlin",
            "latitude": 52.5 + (number % 100) as f64 / 1_000.0, "longitude": 13.4,
        },
    })
}

/// The item that gives a property another price than it has.
fn change_price(number: u64) -> Value {
    let (property, round) = (number % PROPERTIES, number / PROPERTIES);
    json!({
        "property_id": format!("p-{property}"),
        "event_type": "property_updated",
        "data": { "price": 900 + round, "currency": "EUR" },
    })
}

/// What came of a request.
struct Answer {
    due: Instant,
    at: Instant,
    /// Where its last event is, if it has one.
    position: Option<GlobalPosition>,
    accepted: u64,
    refused: u64,
}

/// When something came of a request, if it did.
type Moment = fn(&Answer, &[Sight]) -> Option<Instant>;

/// Sends requests when they are due, and those that are due already as soon as a connection is
/// free; what has not been sent by the end of `patience` is left out.
async fn send(
    address: SocketAddr,
    load: Load,
    requests: u64,
    patience: Duration,
    item: fn(u64) -> Value,
) -> anyhow::Result<Vec<Answer>> {
    let next = Arc::new(AtomicU64::new(0));
    let started = Instant::now();
    let seconds_apart = load.events_per_request as f64 / load.events_per_second as f64;
    let senders: Vec<_> = (0..load.connections)
        .map(|_| {
            let next = next.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut answers = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= requests || started.elapsed() > patience {
                        return anyhow::Ok(answers);
                    }
                    let due = started + Duration::from_secs_f64(number as f64 * seconds_apart);
                    let first = number * load.events_per_request;
                    let body = match load.events_per_request {
                        1 => item(first),
                        many => (first..first + many).map(item).collect(),
                    }
                    .to_string();
                    tokio::time::sleep_until(due.into()).await;
                    let taken = connection.post("/api/events/property", &body).await?;
                    answers.push(taken.answer(due, load.events_per_request));
                }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for sender in senders {
        answers.extend(sender.await??);
    }
    Ok(answers)
}

/// A connection that stays open.
struct Connection {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), address })
    }

    async fn post(&mut self, path: &str, body: &str) -> anyhow::Result<Taken> {
        let (address, length) = (self.address, body.len());
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        let mut line = String::new();
        let mut length = 0;
        loop {
            line.clear();
            ensure!(self.stream.read_line(&mut line).await? > 0, "the server hung up");
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        serde_json::from_slice(&body)
            .with_context(|| format!("not understood: {}", String::from_utf8_lossy(&body)))
    }
}

/// An answer of the server, or a problem without items: then nothing was taken.
#[derive(Deserialize)]
struct Taken {
    #[serde(default)]
    items: Vec<TakenItem>,
    position: Option<u64>,
}

#[derive(Deserialize)]
struct TakenItem {
    status: String,
}

impl Taken {
    fn answer(&self, due: Instant, sent: u64) -> Answer {
        let accepted = self.items.iter().filter(|item| item.status == "accepted").count() as u64;
        let position = self.position.filter(|_| accepted > 0).map(GlobalPosition);
        Answer { due, at: Instant::now(), position, accepted, refused: sent - accepted }
    }
}

async fn wait_until_visible(node: &Node, answers: &[Answer]) -> anyhow::Result<()> {
    if let Some(last) = answers.iter().filter_map(|answer| answer.position).max() {
        node.projections.wait_for("listings", last, PATIENCE).await??;
    }
    Ok(())
}

/// When searches saw everything up to a position.
#[derive(Clone, Copy)]
struct Sight {
    at: Instant,
    position: GlobalPosition,
}

/// Notes how the listings come on.
struct Seen {
    sights: Arc<Mutex<Vec<Sight>>>,
    status: watch::Receiver<SubscriptionStatus>,
    task: tokio::task::JoinHandle<()>,
}

impl Seen {
    fn watch(node: &Node) -> anyhow::Result<Self> {
        let mut live = node.projections.live("listings")?;
        let status = live.clone();
        let sights = Arc::new(Mutex::new(Vec::<Sight>::new()));
        let noted = sights.clone();
        let task = tokio::spawn(async move {
            while live.changed().await.is_ok() {
                let position = live.borrow_and_update().position;
                let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
                if noted.last().is_none_or(|last| last.position < position) {
                    noted.push(Sight { at: Instant::now(), position });
                }
            }
        });
        Ok(Self { sights, status, task })
    }

    fn end(self) -> Vec<Sight> {
        self.task.abort();
        let mut sights = self.sights.lock().unwrap_or_else(PoisonError::into_inner);
        // What came last may not have been noted yet, but it is to be seen now.
        sights.push(Sight { at: Instant::now(), position: self.status.borrow().position });
        std::mem::take(&mut *sights)
    }
}

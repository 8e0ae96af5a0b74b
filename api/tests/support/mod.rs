//! Starts a server in this process and talks to it in plain bytes.
#![allow(dead_code, reason = "every test file uses another part of it")]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use async_graphql::{Context, Object, Schema, Subscription};
use freehold::config::{Config, Sources};
use freehold::http::graphql::Operations;
use freehold::http::{Application, FinishError, Server};
use freehold::telemetry::Metrics;
use futures_util::{Stream, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Query;
pub(crate) struct Mutation;
pub(crate) struct Live;

#[Object]
impl Query {
    async fn hello(&self) -> &'static str {
        "world"
    }

    async fn nested(&self) -> Query {
        Query
    }

    async fn sleep(&self, ms: u64) -> u64 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
        ms
    }

    async fn broken(&self) -> async_graphql::Result<u64> {
        Err("no luck".into())
    }

    async fn panics(&self) -> u64 {
        oops()
    }

    async fn actor(&self, context: &Context<'_>) -> String {
        context.data_unchecked::<freehold::platform::Caller>().actor.to_string()
    }

    async fn correlation(&self, context: &Context<'_>) -> String {
        context.data_unchecked::<freehold::platform::Caller>().correlation_id.to_string()
    }
}

#[Object]
impl Mutation {
    async fn change(&self) -> bool {
        true
    }
}

#[Subscription(name = "Subscription")]
impl Live {
    async fn count(&self, to: u64) -> impl Stream<Item = u64> {
        stream::iter(1..=to)
    }

    async fn forever(&self) -> impl Stream<Item = u64> {
        stream::unfold(0, |n| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((n, n + 1))
        })
    }

    async fn panics(&self) -> impl Stream<Item = u64> {
        stream::once(async { oops() })
    }
}

fn oops() -> u64 {
    panic!("a secret of the house")
}

pub(crate) fn config(toml: &str) -> Config {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("freehold.toml");
    let listen = if toml.contains("listen") { "" } else { "[http]\nlisten = '127.0.0.1:0'\n" };
    std::fs::write(&path, format!("{listen}{toml}")).unwrap();
    Sources { file: Some(path), ..Sources::default() }.load().unwrap().config
}

pub(crate) fn application(config: &Config) -> Application {
    let schema = Schema::build(Query, Mutation, Live)
        .limit_complexity(config.graphql.max_complexity)
        .finish();
    Application::new(Operations::new(schema, "default"))
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), FinishError>>,
}

/// A server of the test schema; `toml` goes on after `http.listen`.
pub(crate) async fn start(toml: &str) -> Running {
    let config = config(toml);
    start_with(&config, application(&config)).await
}

pub(crate) async fn start_with(config: &Config, application: Application) -> Running {
    let server = Server::bind(config, application, Metrics::of_process()).await.unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Running { address, stop, task }
}

impl Running {
    pub(crate) async fn stop(self) -> Result<(), FinishError> {
        self.stop.send(()).unwrap();
        self.task.await.unwrap()
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends a head and a body, and reads until the server closes.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &str,
    ) -> Answer {
        self.ask_bytes(method, path, headers, body.as_bytes()).await
    }

    pub(crate) async fn ask_bytes(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|header| header.starts_with("Host:")) {
            head += &format!("Host: {}\r\n", self.address);
        }
        for header in headers {
            head += &format!("{header}\r\n");
        }
        if method == "POST" {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut stream = self.connect().await;
        stream.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
        stream.write_all(body).await.unwrap();
        read_answer(&mut stream).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Posts a GraphQL document.
    pub(crate) async fn graphql(&self, accept: &str, document: &str) -> Answer {
        let headers = ["Content-Type: application/json", &format!("Accept: {accept}")];
        let body = serde_json::json!({ "query": document }).to_string();
        self.ask("POST", "/graphql", &headers, &body).await
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }
}

pub(crate) async fn read_answer(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes));
    read.await.expect("the server closes in time").unwrap();
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let mut body = bytes[end + 4..].to_vec();
    if headers.get("transfer-encoding").is_some_and(|encoding| encoding == "chunked") {
        body = unchunked(&body);
    }
    Answer { status, headers, body }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).unwrap();
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            break;
        }
        body.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 2 + length + 2..];
    }
    body
}

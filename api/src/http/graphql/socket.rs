//! The `graphql-transport-ws` protocol on one WebSocket.
//!
//! Written here rather than taken from async-graphql, whose version closes with other codes than
//! the protocol's (1002 and 1011 where it says 4400 and 4401), lets a second operation silently
//! replace one of the same id (4409), and never sends `error`.

use std::collections::HashMap;
use std::sync::Arc;

use async_graphql::Response;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::Instrument as _;

use super::media::{Ended, Outcome};
use super::request::Parameters;
use super::run::Failure;
use super::{Caller, Connection, Endpoint, RequestIds};

/// The only subprotocol spoken here.
pub(super) const PROTOCOL: &str = "graphql-transport-ws";

/// Results of one connection that wait to be sent; a slow client slows its own operations only.
const WAITING_RESULTS: usize = 16;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FromClient {
    ConnectionInit { payload: Option<Value> },
    Ping {},
    Pong {},
    Subscribe { id: String, payload: Value },
    Complete { id: String },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToClient<'a, P: Serialize> {
    ConnectionAck,
    Pong,
    Next { id: &'a str, payload: P },
    Error { id: &'a str, payload: P },
    Complete { id: &'a str },
}

/// Why the server ends a connection; the protocol's codes.
enum Close {
    Invalid(String),
    Unauthorized,
    Forbidden(String),
    InitialisationTimeout,
    SubscriberExists(String),
    TooManyInitialisations,
    GoingAway(&'static str),
}

impl Close {
    fn frame(self) -> CloseFrame {
        let (code, reason) = match self {
            Self::Invalid(reason) => (4400, reason),
            Self::Unauthorized => (4401, "Unauthorized".to_owned()),
            Self::Forbidden(reason) => (4403, reason),
            Self::InitialisationTimeout => (4408, "Connection initialisation timeout".to_owned()),
            Self::SubscriberExists(id) => (4409, format!("Subscriber for {id} already exists")),
            Self::TooManyInitialisations => (4429, "Too many initialisation requests".to_owned()),
            Self::GoingAway(reason) => (1001, reason.to_owned()),
        };
        // A close frame holds at most 123 bytes of text.
        let end = (0..=reason.len().min(120)).rev().find(|end| reason.is_char_boundary(*end));
        CloseFrame { code, reason: reason[..end.unwrap_or(0)].into() }
    }
}

/// A result of an operation, or its end.
struct Update {
    id: Arc<str>,
    /// Tells an operation from an earlier one of the same id.
    number: u64,
    result: Option<Response>,
}

struct Operation {
    number: u64,
    task: AbortHandle,
}

struct Session {
    endpoint: Endpoint,
    /// Who sent the upgrade, if a token came with it.
    from_upgrade: Option<Caller>,
    /// Who initialised the connection; none before.
    caller: Option<Caller>,
    ids: RequestIds,
    operations: HashMap<Arc<str>, Operation>,
    started: u64,
    updates: mpsc::Sender<Update>,
}

impl Drop for Session {
    fn drop(&mut self) {
        for operation in self.operations.values() {
            operation.task.abort();
        }
    }
}

pub(super) async fn serve(
    socket: WebSocket,
    endpoint: Endpoint,
    caller: Option<Caller>,
    ids: RequestIds,
    connection: Connection,
) {
    let (mut sink, mut source) = socket.split();
    let (updates, mut updated) = mpsc::channel(WAITING_RESULTS);
    let limits = endpoint.0.limits.clone();
    let mut session = Session {
        endpoint,
        from_upgrade: caller,
        caller: None,
        ids,
        operations: HashMap::new(),
        started: 0,
        updates,
    };
    let init_deadline = Instant::now() + limits.connection_init_timeout();
    let mut keep_alive = interval_at(Instant::now() + limits.keep_alive(), limits.keep_alive());
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = true;

    let close = loop {
        let next = tokio::select! {
            () = connection.stopping() => Err(Close::GoingAway("the server stops")),
            () = sleep_until(init_deadline), if session.caller.is_none() => {
                Err(Close::InitialisationTimeout)
            }
            _ = keep_alive.tick() => {
                if heard {
                    heard = false;
                    Ok(Some(Message::Ping(Default::default())))
                } else {
                    Err(Close::GoingAway("no answer to a ping"))
                }
            }
            message = source.next() => match message {
                Some(Ok(message)) => {
                    heard = true;
                    session.handle(message)
                }
                Some(Err(_)) | None => return,
            },
            // The session keeps a sender, so there is always one.
            Some(update) = updated.recv() => Ok(session.report(update)),
        };
        match next {
            Ok(None) => {}
            Ok(Some(message)) => {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            Err(close) => break close,
        }
    };
    // The client may be gone already; there is nobody else to tell.
    let _ = sink.send(Message::Close(Some(close.frame()))).await;
}

impl Session {
    fn handle(&mut self, message: Message) -> Result<Option<Message>, Close> {
        let text = match &message {
            Message::Text(text) => text.as_str(),
            Message::Binary(_) => return Err(Close::Invalid("Binary messages".to_owned())),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(None),
        };
        let message =
            serde_json::from_str(text).map_err(|error| Close::Invalid(error.to_string()))?;
        match message {
            FromClient::ConnectionInit { payload } => self.initialise(payload).map(Some),
            FromClient::Ping {} => Ok(Some(to_client(ToClient::<'_, ()>::Pong))),
            FromClient::Pong {} => Ok(None),
            FromClient::Subscribe { id, payload } => self.subscribe(&id, payload),
            FromClient::Complete { id } => {
                if let Some(operation) = self.operations.remove(id.as_str()) {
                    operation.task.abort();
                }
                Ok(None)
            }
        }
    }

    fn initialise(&mut self, payload: Option<Value>) -> Result<Message, Close> {
        if self.caller.is_some() {
            return Err(Close::TooManyInitialisations);
        }
        let header = payload.as_ref().and_then(Value::as_object).and_then(|payload| {
            let (_, value) =
                payload.iter().find(|(name, _)| name.eq_ignore_ascii_case("authorization"))?;
            value.as_str()
        });
        let caller = match (header, self.from_upgrade.take()) {
            (_, Some(caller)) => Ok(caller),
            (header, None) => self.endpoint.0.access.identify_text(header.unwrap_or_default()),
        };
        self.caller = Some(caller.map_err(|_| Close::Forbidden("Forbidden".to_owned()))?);
        Ok(to_client(ToClient::<'_, ()>::ConnectionAck))
    }

    fn subscribe(&mut self, id: &str, payload: Value) -> Result<Option<Message>, Close> {
        let caller = self.caller.as_ref().ok_or(Close::Unauthorized)?;
        if self.operations.contains_key(id) {
            return Err(Close::SubscriberExists(id.to_owned()));
        }
        let parameters: Parameters = serde_json::from_value(payload)
            .map_err(|error| Close::Invalid(format!("payload of subscribe: {error}")))?;
        let most = self.endpoint.0.limits.max_operations_per_socket;
        let prepared = if self.operations.len() < most {
            self.endpoint.prepare(parameters, caller, &self.ids.of_operation())
        } else {
            Err(Failure::too_many_operations(most))
        };
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                let outcome = Outcome::of(Response::from_errors(failure.into_errors()));
                return Ok(Some(to_client(ToClient::Error { id, payload: outcome.errors() })));
            }
        };
        let id: Arc<str> = id.into();
        self.started += 1;
        let number = self.started;
        let mut results = self.endpoint.clone().stream(prepared);
        let (updates, to) = (self.updates.clone(), id.clone());
        let running = async move {
            while let Some(result) = results.next().await {
                let update = Update { id: to.clone(), number, result: Some(result) };
                if updates.send(update).await.is_err() {
                    return;
                }
            }
            // An error means that the connection is gone, and everything with it.
            let _ = updates.send(Update { id: to, number, result: None }).await;
        };
        let task = tokio::spawn(running.in_current_span()).abort_handle();
        self.operations.insert(id, Operation { number, task });
        Ok(None)
    }

    /// What to tell the client; nothing about an operation it completed meanwhile.
    fn report(&mut self, update: Update) -> Option<Message> {
        let id = &*update.id;
        if self.operations.get(id)?.number != update.number {
            return None;
        }
        let Some(result) = update.result else {
            self.operations.remove(id);
            let complete: ToClient<'_, ()> = ToClient::Complete { id };
            return Some(to_client(complete));
        };
        let outcome = Outcome::of(result);
        if outcome.ended() == Ended::Executed {
            return Some(to_client(ToClient::Next { id, payload: outcome.body() }));
        }
        let operation = self.operations.remove(id)?;
        operation.task.abort();
        Some(to_client(ToClient::Error { id, payload: outcome.errors() }))
    }
}

fn to_client<P: Serialize>(message: ToClient<'_, P>) -> Message {
    let text = serde_json::to_string(&message).expect("results have string keys");
    Message::Text(text.into())
}

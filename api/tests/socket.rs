//! `graphql-transport-ws`, message by message.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

mod support;

use std::time::Duration;

use freehold::http::TokenHash;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::{Running, start};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

struct Client(WebSocketStream<TcpStream>);

async fn dial(server: &Running, headers: &[(&'static str, &str)]) -> Result<Client, Error> {
    let mut request = format!("ws://{}/graphql", server.address).into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    client_async(request, server.connect().await).await.map(|(socket, _)| Client(socket))
}

async fn connect(server: &Running) -> Client {
    dial(server, &[("sec-websocket-protocol", "graphql-transport-ws")]).await.unwrap()
}

async fn initialised(server: &Running) -> Client {
    let mut client = connect(server).await;
    client.say(json!({ "type": "connection_init" })).await;
    assert_eq!(client.hear().await, json!({ "type": "connection_ack" }));
    client
}

fn subscribe(id: &str, document: &str) -> Value {
    json!({ "type": "subscribe", "id": id, "payload": { "query": document } })
}

impl Client {
    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(Duration::from_secs(5), self.0.next());
        next.await.expect("the server answers in time").unwrap().unwrap()
    }

    async fn hear(&mut self) -> Value {
        loop {
            match self.next().await {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn closed_with(mut self) -> u16 {
        loop {
            match self.next().await {
                Message::Close(frame) => return frame.unwrap().code.into(),
                Message::Ping(_) | Message::Text(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn queries_mutations_and_subscriptions_run_side_by_side() {
    let server = start("").await;
    let mut client = initialised(&server).await;
    client.say(json!({ "type": "ping" })).await;
    assert_eq!(client.hear().await, json!({ "type": "pong" }));

    client.say(subscribe("1", "subscription { count(to: 2) }")).await;
    for n in [1, 2] {
        let next = json!({ "type": "next", "id": "1", "payload": { "data": { "count": n } } });
        assert_eq!(client.hear().await, next);
    }
    assert_eq!(client.hear().await, json!({ "type": "complete", "id": "1" }));

    client.say(subscribe("1", "mutation { change }")).await;
    assert_eq!(client.hear().await["payload"], json!({ "data": { "change": true } }));
    assert_eq!(client.hear().await["type"], "complete");
}

#[tokio::test]
async fn what_cannot_run_ends_in_an_error_and_the_connection_goes_on() {
    let server = start("[graphql]\nmax_operations_per_socket = 1\n").await;
    let mut client = initialised(&server).await;
    for (document, code) in [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nonsense }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { panics }", "INTERNAL"),
    ] {
        client.say(subscribe("x", document)).await;
        let error = client.hear().await;
        assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("x")), "{document}");
        assert_eq!(error["payload"][0]["extensions"]["code"], code, "{document}");
    }
    client.say(subscribe("a", "subscription { forever }")).await;
    assert_eq!(client.hear().await["type"], "next");
    client.say(subscribe("b", "{ hello }")).await;
    loop {
        let heard = client.hear().await;
        if heard["id"] == "b" {
            assert_eq!(heard["payload"][0]["extensions"]["code"], "TOO_MANY_OPERATIONS");
            break;
        }
    }
}

#[tokio::test]
async fn every_operation_has_a_correlation_id_of_its_own() {
    let server = start("").await;
    let mut client = initialised(&server).await;
    let mut ids = Vec::new();
    for id in ["1", "2"] {
        client.say(subscribe(id, "{ correlation }")).await;
        ids.push(client.hear().await["payload"]["data"]["correlation"].clone());
        assert_eq!(client.hear().await["type"], "complete");
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_completed_operation_falls_silent_and_its_id_is_free_again() {
    let server = start("").await;
    let mut client = initialised(&server).await;
    client.say(subscribe("1", "subscription { forever }")).await;
    assert_eq!(client.hear().await["type"], "next");
    client.say(json!({ "type": "complete", "id": "1" })).await;
    client.say(subscribe("1", "{ hello }")).await;
    // Results that were under way when the operation was completed may still come first.
    loop {
        let heard = client.hear().await;
        assert_eq!(heard["type"], "next");
        if heard["payload"]["data"]["hello"] == "world" {
            break;
        }
    }
    assert_eq!(client.hear().await, json!({ "type": "complete", "id": "1" }));
}

#[tokio::test]
async fn breaches_of_the_protocol_end_with_its_codes() {
    let server = start("[graphql]\nconnection_init_timeout_ms = 100\n").await;
    assert_eq!(connect(&server).await.closed_with().await, 4408);

    let mut client = connect(&server).await;
    client.say(subscribe("1", "{ hello }")).await;
    assert_eq!(client.closed_with().await, 4401);

    for nonsense in [json!({ "type": "hello" }), json!(7), json!({ "type": "subscribe" })] {
        let mut client = initialised(&server).await;
        client.say(nonsense).await;
        assert_eq!(client.closed_with().await, 4400);
    }
    let mut client = initialised(&server).await;
    client.0.send(Message::binary(vec![1])).await.unwrap();
    assert_eq!(client.closed_with().await, 4400);

    let mut client = initialised(&server).await;
    client.say(subscribe("1", "subscription { forever }")).await;
    client.say(subscribe("1", "subscription { forever }")).await;
    assert_eq!(client.closed_with().await, 4409);

    let mut client = initialised(&server).await;
    client.say(json!({ "type": "connection_init" })).await;
    assert_eq!(client.closed_with().await, 4429);
}

#[tokio::test]
async fn other_subprotocols_and_foreign_pages_are_refused() {
    let server = start("").await;
    for (headers, status) in [
        (vec![("sec-websocket-protocol", "graphql-ws")], 400),
        (vec![], 400),
        (
            vec![
                ("sec-websocket-protocol", "graphql-transport-ws"),
                ("origin", "https://attacker.example"),
            ],
            403,
        ),
    ] {
        match dial(&server, &headers).await {
            Err(Error::Http(answer)) => assert_eq!(answer.status(), status, "{headers:?}"),
            other => panic!("{headers:?}: {:?}", other.err()),
        }
    }
}

#[tokio::test]
async fn a_token_comes_with_the_upgrade_or_with_connection_init() {
    let hash = TokenHash::of("t").to_hex();
    let server =
        start(&format!("[[auth.tokens]]\nname = 'ann'\nhash = '{hash}'\nrole = 'reader'")).await;

    let mut client = connect(&server).await;
    client.say(json!({ "type": "connection_init" })).await;
    assert_eq!(client.closed_with().await, 4403);

    let mut by_init = connect(&server).await;
    let payload = json!({ "Authorization": "Bearer t" });
    by_init.say(json!({ "type": "connection_init", "payload": payload })).await;
    let protocol = ("sec-websocket-protocol", "graphql-transport-ws");
    let mut by_header = dial(&server, &[protocol, ("authorization", "Bearer t")]).await.unwrap();
    by_header.say(json!({ "type": "connection_init" })).await;
    for client in [&mut by_init, &mut by_header] {
        assert_eq!(client.hear().await["type"], "connection_ack");
        client.say(subscribe("1", "{ actor }")).await;
        assert_eq!(client.hear().await["payload"]["data"]["actor"], "ann");
        assert_eq!(client.hear().await["type"], "complete");
        client.say(subscribe("2", "mutation { change }")).await;
        assert_eq!(client.hear().await["payload"][0]["extensions"]["code"], "FORBIDDEN");
    }
    let wrong = dial(&server, &[protocol, ("authorization", "Bearer x")]).await;
    assert!(matches!(wrong, Err(Error::Http(answer)) if answer.status() == 401));
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_a_dead_one_closed() {
    let server =
        start("[graphql]\nkeep_alive_ms = 100\nconnection_init_timeout_ms = 60000\n").await;
    let mut client = connect(&server).await;
    // The client's library answers pings as long as it is read from.
    for _ in 0..3 {
        assert!(matches!(client.next().await, Message::Ping(_)));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(client.closed_with().await, 1001);
}

#[tokio::test]
async fn a_stop_closes_sockets_and_waits_for_them() {
    let server = start("").await;
    let mut client = initialised(&server).await;
    client.say(subscribe("1", "subscription { forever }")).await;
    assert_eq!(client.hear().await["type"], "next");
    let began = std::time::Instant::now();
    let (stopped, code) = tokio::join!(server.stop(), client.closed_with());
    assert!(stopped.is_ok());
    assert_eq!(code, 1001);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_socket_counts_as_a_connection_until_it_closes() {
    let server = start("max_connections = 1\n").await;
    let _client = initialised(&server).await;
    assert_eq!(server.get("/health").await.status, 503);
}

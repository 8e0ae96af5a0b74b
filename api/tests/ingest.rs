//! Ingestion over HTTP: statuses, headers, roles.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

mod support;

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use freehold::http::TokenHash;
use freehold::ingest::{Ingest, IngestDefaults, routes};
use freehold::platform::Platform;
use freehold_commands::{CommandExecutor, ExecutorOptions};
use freehold_ports::{Clock, EventCodec, SystemClock};
use freehold_test_stores::Place;
use serde_json::json;
use support::{Running, application, config, start_with};

const PATH: &str = "/api/events/property";

async fn start(toml: &str) -> (Running, Place) {
    let config = config(toml);
    let mut application = application(&config);
    let place = Place::in_memory();
    let store = place.log(Arc::new(SystemClock)).await;
    let vault = place.vault().await;
    let codec = EventCodec::new(vault.clone());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = ExecutorOptions::default();
    let executor =
        CommandExecutor::new(store.clone(), store.clone(), codec.clone(), clock.clone(), options);
    let models = place.models().await;
    let freshness_limit = Duration::from_secs(1);
    let projections = None;
    let platform =
        Platform { store, codec, vault, executor, models, clock, projections, freshness_limit };
    let ingest = Arc::new(Ingest::new(platform, IngestDefaults::default()));
    application.routes = routes(ingest, "acme".into(), 1_000_000);
    (start_with(&config, application).await, place)
}

#[tokio::test]
async fn the_shapes_of_the_documentation_work_as_they_stand() {
    let (server, _place) = start("").await;
    let update =
        r#"{"property_id":"test-123","event_type":"property_updated","data":{"price":2000}}"#;
    let answer = server.ask("POST", PATH, &["Content-Type: application/json"], update).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["items"][0]["status"], "accepted");
    assert_eq!(body["items"][0]["change"], "created");
    assert_eq!(body["items"][0]["reference"], "test-123");
    assert_eq!(body["items"][0]["source"], "default");
    assert_eq!(body["items"][0]["events"][0]["type"], "PropertyRegistered");
    assert_eq!(body["items"][0]["events"][0]["log"], "domain");
    assert_eq!(body["position"], 2);

    let view = r#"{"user_id":"user-456","event_type":"property_viewed","data":{"property_id":"test-123"}}"#;
    let answer = server.ask("POST", "/api/events/user", &[], view).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["items"][0]["change"], "recorded");
    assert_eq!(body["items"][0]["warnings"], json!([]));
    assert_eq!(body["interactionsPosition"], 1);
}

#[tokio::test]
async fn an_object_that_is_refused_is_a_problem_with_the_reasons() {
    let (server, _place) = start("").await;
    let answer = server.ask("POST", PATH, &[], r#"{"property_id":"a","data":{"price":-1}}"#).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let body = answer.json();
    assert_eq!(body["code"], "ALL_ITEMS_REFUSED");
    let error = &body["items"][0]["errors"][0];
    assert_eq!(error["code"], "PRICE_INVALID");
    assert_eq!(error["field"], "data.price");
    assert_eq!(error["value"], -1);
}

#[tokio::test]
async fn a_batch_counts_when_one_of_it_does() {
    let (server, _place) = start("").await;
    let batch = r#"[{"property_id":"a"},{"data":{}},{"property_id":"b"}]"#;
    let answer = server.ask("POST", PATH, &[], batch).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["items"][1]["status"], "refused");
    let lines = "{\"property_id\":\"c\"}\nnonsense\n";
    let headers = ["Content-Type: application/x-ndjson; charset=utf-8"];
    let answer = server.ask("POST", PATH, &headers, lines).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["items"][1]["errors"][0]["code"], "MALFORMED_JSON");
}

#[tokio::test]
async fn bodies_that_hold_no_items_are_refused_whole() {
    let (server, _place) = start("").await;
    let empty = server.ask("POST", PATH, &[], "").await;
    assert_eq!((empty.status, empty.json()["code"].as_str()), (400, Some("BODY_EMPTY")));
    let none = server.ask("POST", PATH, &[], "[]").await;
    assert_eq!((none.status, none.json()["items"].clone()), (202, json!([])));
    let many = format!("[{}1]", "1,".repeat(10_000));
    let many = server.ask("POST", PATH, &[], &many).await;
    assert_eq!((many.status, many.json()["code"].as_str()), (413, Some("TOO_MANY_ITEMS")));
    let large = format!("{{\"property_id\":\"{}\"}}", "x".repeat(1_000_000));
    let large = server.ask("POST", PATH, &[], &large).await;
    assert_eq!((large.status, large.json()["code"].as_str()), (413, Some("BODY_TOO_LARGE")));
}

#[tokio::test]
async fn an_idempotency_key_makes_a_request_repeatable() {
    let (server, _place) = start("").await;
    let batch = r#"[{"property_id":"a","data":{"beds":1}},{"property_id":"b"}]"#;
    let first = server.ask("POST", PATH, &["Idempotency-Key: k-1"], batch).await.json();
    let again = server.ask("POST", PATH, &["Idempotency-Key: k-1"], batch).await.json();
    assert_eq!(again["items"][0]["change"], "repeated");
    assert_eq!(again["items"][0]["events"], first["items"][0]["events"]);
    let bad = server.ask("POST", PATH, &["Idempotency-Key: "], batch).await;
    assert_eq!(bad.json()["code"], "IDEMPOTENCY_KEY_INVALID");
}

#[tokio::test]
async fn writers_may_send_and_readers_may_not() {
    let token = |name: &str, role: &str| {
        let hash = TokenHash::of(name).to_hex();
        format!("[[auth.tokens]]\nname = '{name}'\nhash = '{hash}'\nrole = '{role}'\n")
    };
    let (server, _place) =
        start(&format!("{}{}", token("feed-a", "writer"), token("looker", "reader"))).await;
    let item = r#"{"property_id":"a"}"#;
    assert_eq!(server.ask("POST", PATH, &[], item).await.status, 401);
    let reader = server.ask("POST", PATH, &["Authorization: Bearer looker"], item).await;
    assert_eq!(reader.status, 403);
    let writer = server.ask("POST", PATH, &["Authorization: Bearer feed-a"], item).await;
    assert_eq!(writer.status, 202);
    assert_eq!(writer.json()["items"][0]["source"], "feed-a");
}

/// Text packed as gzip does.
fn packed(text: &[u8]) -> Vec<u8> {
    let mut packing = GzEncoder::new(Vec::new(), Compression::best());
    packing.write_all(text).unwrap();
    packing.finish().unwrap()
}

#[tokio::test]
async fn a_body_may_be_packed_with_gzip_and_not_otherwise() {
    let (server, _place) = start("").await;
    let item = packed(br#"{"property_id":"a","data":{"beds":2}}"#);
    for encoding in ["gzip", "X-GZIP", "identity, gzip"] {
        let headers = [&*format!("Content-Encoding: {encoding}")];
        let answer = server.ask_bytes("POST", PATH, &headers, &item).await;
        assert_eq!(answer.status, 202, "{encoding}: {}", answer.text());
        assert_eq!(answer.json()["items"][0]["reference"], "a");
    }
    for encoding in ["br", "gzip, gzip", "deflate", "zstd"] {
        let headers = [&*format!("Content-Encoding: {encoding}")];
        let answer = server.ask_bytes("POST", PATH, &headers, &item).await;
        assert_eq!(answer.status, 415, "{encoding}");
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.headers["accept-encoding"], "gzip, identity");
        let body = answer.json();
        assert_eq!(body["code"], "CONTENT_ENCODING_UNSUPPORTED");
        assert_eq!(body["accepted"], json!(["gzip", "identity"]));
    }
    let headers = ["Content-Encoding: gzip"];
    for broken in [&item[..item.len() - 4], br#"{"property_id":"a"}"#] {
        let answer = server.ask_bytes("POST", PATH, &headers, broken).await;
        assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("GZIP_MALFORMED")));
    }
    let none = server.ask_bytes("POST", PATH, &headers, &packed(b"")).await;
    assert_eq!((none.status, &none.json()["code"]), (400, &json!("BODY_EMPTY")));
}

#[tokio::test]
async fn a_packed_body_may_have_several_members_and_not_endlessly_many() {
    let (server, _place) = start("").await;
    let headers = ["Content-Encoding: gzip"];
    let item = packed(b"{\"property_id\":\"a\"}\n");
    let several = server.ask_bytes("POST", PATH, &headers, &item.repeat(3)).await;
    assert_eq!(several.status, 202, "{}", several.text());
    assert_eq!(several.json()["items"].as_array().unwrap().len(), 3);

    let endless = [item, packed(b"").repeat(1_000)].concat();
    assert!(endless.len() < 25_000);
    let endless = server.ask_bytes("POST", PATH, &headers, &endless).await;
    assert_eq!((endless.status, &endless.json()["code"]), (400, &json!("GZIP_MALFORMED")));
}

#[tokio::test]
async fn a_packed_body_is_bounded_by_what_it_becomes() {
    let (server, _place) = start("").await;
    // 50 MB of spaces, the body's limit being 1 MB.
    let bomb = packed(&vec![b' '; 50_000_000]);
    assert!(bomb.len() < 100_000);
    let answer = server.ask_bytes("POST", PATH, &["Content-Encoding: gzip"], &bomb).await;
    assert_eq!((answer.status, &answer.json()["code"]), (413, &json!("BODY_TOO_LARGE")));
}

#[tokio::test]
async fn a_body_is_json_or_lines_of_it() {
    let (server, _place) = start("").await;
    let item = r#"{"property_id":"a"}"#;
    for content_type in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "text/json",
        "application/vnd.feed+json",
        "application/x-ndjson",
        "application/jsonl",
    ] {
        let headers = [&*format!("Content-Type: {content_type}")];
        let answer = server.ask("POST", PATH, &headers, item).await;
        assert_eq!(answer.status, 202, "{content_type}");
    }
    for content_type in ["text/csv", "application/x-www-form-urlencoded", "text/plain", "json"] {
        let headers = [&*format!("Content-Type: {content_type}")];
        let answer = server.ask("POST", "/api/events/user", &headers, item).await;
        assert_eq!(answer.status, 415, "{content_type}");
        assert_eq!(answer.headers["accept-post"], "application/json, application/x-ndjson");
        let body = answer.json();
        assert_eq!(body["code"], "CONTENT_TYPE_UNSUPPORTED");
        assert_eq!(body["accepted"], json!(["application/json", "application/x-ndjson"]));
    }
}

//! What every request passes, and how the server starts and ends.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use freehold::http::{Access, Check, Finally, Server, TokenHash};
use freehold::telemetry::Metrics;
use serde_json::json;
use support::{application, config, read_answer, start, start_with};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn health_metrics_schema_and_the_page_are_there() {
    let server = start("").await;
    assert_eq!(server.get("/health").await.json(), json!({ "status": "alive" }));
    assert!(server.get("/").await.text().contains("/graphql"));
    assert!(server.get("/schema.graphql").await.text().contains("type Subscription"));
    let metrics = server.get("/metrics").await;
    assert!(metrics.text().contains("freehold_http_requests_total"), "{}", metrics.text());
    assert!(metrics.text().contains("freehold_http_request_duration_seconds_bucket"));
}

#[tokio::test]
async fn an_unknown_address_is_a_problem_with_a_code() {
    let server = start("").await;
    let answer = server.get("/nowhere").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.json()["code"], "NOT_FOUND");
    let answer = server.ask("DELETE", "/health", &[], "").await;
    assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "GET,HEAD"));
    assert_eq!(answer.json()["code"], "METHOD_NOT_ALLOWED");
}

#[tokio::test]
async fn ready_says_which_check_fails() {
    let config = config("");
    let sound = Arc::new(AtomicBool::new(false));
    let mut application = application(&config);
    let (seen, panics) = (sound.clone(), sound.clone());
    application.checks = vec![
        Check::new("store", || async { Ok(()) }),
        Check::new("projections", move || {
            let sound = seen.load(Ordering::Relaxed);
            async move { if sound { Ok(()) } else { Err("listings is 9 s behind".to_owned()) } }
        }),
        Check::new("careless", move || {
            let sound = panics.load(Ordering::Relaxed);
            async move { if sound { Ok(()) } else { panic!("oops") } }
        }),
    ];
    let server = start_with(&config, application).await;

    let answer = server.get("/ready").await;
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json(),
        json!({ "ready": false, "checks": [
            { "name": "store", "ok": true },
            { "name": "projections", "ok": false, "reason": "listings is 9 s behind" },
            { "name": "careless", "ok": false, "reason": "the check itself failed; the log has it" },
        ]})
    );

    sound.store(true, Ordering::Relaxed);
    assert_eq!(server.get("/ready").await.status, 200);
}

#[tokio::test]
async fn ids_come_back_and_are_made_where_none_came() {
    let server = start("").await;
    let correlation = "0190a7c2-0000-7000-8000-000000000001";
    let sent = ["X-Request-Id: abc-1", &format!("X-Correlation-Id: {correlation}")];
    let answer = server.ask("GET", "/health", &sent, "").await;
    assert_eq!(answer.headers["x-request-id"], "abc-1");
    assert_eq!(answer.headers["x-correlation-id"], correlation);

    let long = format!("X-Request-Id: {}", "a".repeat(129));
    let answer = server.ask("GET", "/health", &[&long, "X-Correlation-Id: mine"], "").await;
    assert_eq!(answer.headers["x-request-id"].len(), 36);
    assert_eq!(answer.headers["x-request-id"], answer.headers["x-correlation-id"]);
}

#[tokio::test]
async fn a_panic_in_a_handler_is_a_500_with_a_code_and_the_server_goes_on() {
    let config = config("");
    let mut application = application(&config);
    fn oops() -> &'static str {
        panic!("a secret of the house")
    }
    application.routes = Router::new().route("/panics", get(|| async { oops() }));
    let server = start_with(&config, application).await;
    let answer = server.get("/panics").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (500, Some("INTERNAL")));
    assert!(!answer.text().contains("secret"));
    assert!(answer.headers.contains_key("x-request-id"));
    assert_eq!(server.get("/health").await.status, 200);
}

#[tokio::test]
async fn a_request_that_takes_too_long_gets_504() {
    let config = config("request_timeout_ms = 50\n");
    let mut application = application(&config);
    application.routes = Router::new().route("/slow", get(std::future::pending::<()>));
    let server = start_with(&config, application).await;
    let answer = server.get("/slow").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (504, Some("TIMEOUT")));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let server = start("max_body_bytes = 100\n").await;
    let json = "Content-Type: application/json";
    let answer = server.ask("POST", "/graphql", &[json], &"x".repeat(101)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "BODY_TOO_LARGE");

    let mut stream = server.connect().await;
    let head = "POST /graphql HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunks = format!("40\r\n{0}\r\n40\r\n{0}\r\n0\r\n\r\n", "x".repeat(64));
    stream.write_all(format!("{head}{chunks}").as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut stream).await.status, 413);
}

#[tokio::test]
async fn a_client_that_says_nothing_more_is_disconnected() {
    let server = start("header_timeout_ms = 100\n").await;
    let whole = "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for said in ["", "GET /health HTTP/1.1\r\nHost: loc", whole] {
        let mut stream = server.connect().await;
        stream.write_all(said.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let closed = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest));
        closed.await.unwrap_or_else(|_| panic!("still open after {said:?}")).unwrap();
        assert_eq!(String::from_utf8_lossy(&rest).contains("200 OK"), said == whole);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_disconnected() {
    const BIG: usize = 64 << 20;
    let config = config("stalled_write_timeout_ms = 200\n");
    let mut application = application(&config);
    application.routes = Router::new().route("/big", get(|| async { vec![b'x'; BIG] }));
    let server = start_with(&config, application).await;
    let mut stream = server.connect().await;
    let head = "GET /big HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut read = Vec::new();
    let _ = stream.read_to_end(&mut read).await;
    assert!(read.len() < BIG, "all of it came");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_told_so() {
    let server = start("max_connections = 1\n").await;
    let mut first = server.connect().await;
    first.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut some = [0; 12];
    first.read_exact(&mut some).await.unwrap();
    assert_eq!(&some, b"HTTP/1.1 200");

    let answer = server.get("/health").await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (503, "1"));
    assert_eq!(answer.json()["code"], "TOO_MANY_CONNECTIONS");

    drop(first);
    let mut status = 503;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        status = server.get("/health").await.status;
        if status == 200 {
            break;
        }
    }
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_stop_lets_requests_finish_then_does_what_comes_last() {
    let config = config("");
    let mut application = application(&config);
    let served = Arc::new(AtomicBool::new(false));
    let (at_end, in_handler) = (served.clone(), served.clone());
    application.routes = Router::new().route(
        "/slow",
        get(move || async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            in_handler.store(true, Ordering::SeqCst);
            "done"
        }),
    );
    application.finally = vec![
        Finally::new("drain the log", async move {
            if at_end.load(Ordering::SeqCst) { Ok(()) } else { Err("too early".into()) }
        }),
        Finally::new("close the store", async { Err("the disk is gone".into()) }),
    ];
    let server = start_with(&config, application).await;
    let address = server.address;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let _idle = server.connect().await;
    tokio::time::sleep(Duration::from_millis(100)).await;

    let ended = server.stop().await.unwrap_err();

    assert_eq!(ended.to_string(), "stopped, but could not close the store: the disk is gone");
    assert!(read_answer(&mut busy).await.text().ends_with("done"));
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_request_that_never_ends_cannot_hold_up_a_stop() {
    let config = config("shutdown_timeout_ms = 100\n");
    let mut application = application(&config);
    application.routes = Router::new().route("/slow", get(std::future::pending::<()>));
    let server = start_with(&config, application).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    server.stop().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2));
}

fn tokens() -> String {
    ["reader", "writer", "operator"]
        .map(|role| {
            let hash = TokenHash::of(&format!("{role}-token")).to_hex();
            format!("[[auth.tokens]]\nname = 'the {role}'\nhash = '{hash}'\nrole = '{role}'\n")
        })
        .concat()
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_a_token() {
    let open = config("[http]\nlisten = '0.0.0.0:0'\n");
    let refused =
        Server::bind(&open, application(&open), Metrics::of_process()).await.err().unwrap();
    assert!(refused.to_string().contains("freehold token create"), "{refused}");

    let closed = config(&format!("[http]\nlisten = '0.0.0.0:0'\n{}", tokens()));
    assert!(Server::bind(&closed, application(&closed), Metrics::of_process()).await.is_ok());
}

#[test]
fn two_tokens_of_one_name_are_refused() {
    let twice = config(&format!("{}{}", tokens(), tokens()));
    assert!(Access::new(&twice.auth, twice.http.listen).is_err());
}

#[tokio::test]
async fn a_token_says_who_calls_and_what_they_may_do() {
    let server = start(&tokens()).await;
    let ask = async |token: Option<&str>, document: &str| {
        let authorization = token.map(|token| format!("Authorization: Bearer {token}"));
        let mut headers = vec!["Content-Type: application/json"];
        headers.extend(authorization.as_deref());
        let body = json!({ "query": document }).to_string();
        server.ask("POST", "/graphql", &headers, &body).await
    };

    let nobody = ask(None, "{ hello }").await;
    assert_eq!((nobody.status, nobody.headers["www-authenticate"].contains("Bearer")), (401, true));
    assert_eq!(nobody.json()["errors"][0]["extensions"]["code"], "UNAUTHENTICATED");
    assert_eq!(ask(Some("guessed"), "{ hello }").await.status, 401);

    let reader = ask(Some("reader-token"), "{ actor }").await;
    assert_eq!(reader.json(), json!({ "data": { "actor": "the reader" } }));
    let refused = ask(Some("reader-token"), "mutation { change }").await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["errors"][0]["extensions"]["code"], "FORBIDDEN");
    let written = ask(Some("writer-token"), "mutation { change }").await;
    assert_eq!(written.json(), json!({ "data": { "change": true } }));

    for path in ["/metrics", "/schema.graphql", "/graphql?query={hello}"] {
        assert_eq!(server.get(path).await.status, 401, "{path}");
    }
    for path in ["/health", "/ready", "/"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn an_open_server_answers_neither_foreign_pages_nor_foreign_names() {
    let server = start("").await;
    for header in ["Host: attacker.example", "Origin: https://attacker.example", "Origin: null"] {
        let answer = server.ask("GET", "/graphql?query={hello}", &[header], "").await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (403, Some("FOREIGN_ORIGIN")));
    }
    for header in ["Host: localhost:9", "Host: [::1]:9", "Origin: http://localhost:3000"] {
        assert_eq!(server.ask("GET", "/health", &[header], "").await.status, 200, "{header}");
    }
}

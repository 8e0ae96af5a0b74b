//! GraphQL over HTTP and server-sent events, and GraphiQL.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

mod support;

use serde_json::json;
use support::start;

const JSON: &str = "application/json";
const RESPONSE: &str = "application/graphql-response+json";

#[tokio::test]
async fn statuses_follow_the_media_type() {
    let server = start("[graphql]\noperation_timeout_ms = 100\n").await;
    for (document, json, response, code) in [
        ("{ hello }", 200, 200, None),
        ("{", 200, 400, Some("GRAPHQL_PARSE_FAILED")),
        ("{ nonsense }", 200, 400, Some("GRAPHQL_VALIDATION_FAILED")),
        ("query($n: Int!) { sleep(ms: $n) }", 200, 400, Some("GRAPHQL_VALIDATION_FAILED")),
        ("{ sleep(ms: 5000) }", 200, 504, Some("TIMEOUT")),
        ("{ panics }", 200, 500, Some("INTERNAL")),
        ("{ broken }", 200, 200, Some("INTERNAL")),
        ("subscription { count(to: 1) }", 406, 406, Some("SUBSCRIPTION_NEEDS_STREAM")),
    ] {
        for (accept, status) in [(JSON, json), (RESPONSE, response)] {
            let answer = server.graphql(accept, document).await;
            assert_eq!(answer.status, status, "{document} as {accept}: {}", answer.text());
            assert_eq!(
                answer.json()["errors"][0]["extensions"]["code"].as_str(),
                code,
                "{document}: {}",
                answer.text()
            );
            assert_eq!(answer.headers["content-type"], format!("{accept}; charset=utf-8"));
            assert!(!answer.text().contains("secret"));
        }
    }
}

#[tokio::test]
async fn what_is_not_graphql_over_http_is_refused() {
    let server = start("").await;
    let json = "Content-Type: application/json";
    for (headers, body, status) in [
        (vec![json], "[{\"query\": \"{ hello }\"}]", 400),
        (vec![json], "{\"query\": 1}", 400),
        (vec!["Content-Type: text/plain"], "{\"query\": \"{ hello }\"}", 415),
        (vec!["Content-Type: application/json; charset=latin1"], "{\"query\": \"{ hello }\"}", 415),
        (vec![], "{\"query\": \"{ hello }\"}", 415),
        (vec![json, "Accept: image/png"], "{\"query\": \"{ hello }\"}", 406),
    ] {
        let answer = server.ask("POST", "/graphql", &headers, body).await;
        assert_eq!(answer.status, status, "{headers:?} {body}: {}", answer.text());
    }
    let answer = server.ask("PUT", "/graphql", &[], "").await;
    assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "GET, HEAD, POST"));
    assert_eq!(server.get("/graphql").await.status, 400);
}

#[tokio::test]
async fn get_answers_queries_and_refuses_mutations() {
    let server = start("").await;
    let answer = server
        .get("/graphql?query=query(%24ms%3AInt!)%7Bsleep(ms%3A%24ms)%7D&variables=%7B%22ms%22%3A1%7D")
        .await;
    assert_eq!(answer.json(), json!({ "data": { "sleep": 1 } }));
    let answer = server.get("/graphql?query=mutation%7Bchange%7D").await;
    assert_eq!((answer.status, answer.headers["allow"].as_str()), (405, "POST"));
}

#[tokio::test]
async fn what_the_client_likes_best_is_chosen() {
    let server = start("").await;
    for (accept, chosen) in [
        ("*/*", JSON),
        ("application/graphql-response+json, application/json;q=0.9", RESPONSE),
        ("application/json;q=0.5, application/graphql-response+json;q=0.4", JSON),
        ("text/html, application/json", JSON),
    ] {
        let answer = server.graphql(accept, "{ hello }").await;
        assert_eq!(answer.headers["content-type"], format!("{chosen}; charset=utf-8"), "{accept}");
    }
}

#[tokio::test]
async fn resolvers_see_the_caller_and_the_correlation_id() {
    let server = start("").await;
    let id = "0190a7c2-0000-7000-8000-000000000001";
    let headers = ["Content-Type: application/json", &format!("X-Correlation-Id: {id}")];
    let body = json!({ "query": "{ actor correlation }" }).to_string();
    let answer = server.ask("POST", "/graphql", &headers, &body).await;
    assert_eq!(answer.json(), json!({ "data": { "actor": "local", "correlation": id } }));
}

#[tokio::test]
async fn limits_are_errors_of_the_document() {
    let server = start("[graphql]\nmax_depth = 3\nmax_complexity = 5\n").await;
    for document in [
        "{ nested { nested { nested { hello } } } }",
        "{ a: hello b: hello c: hello d: hello e: hello f: hello }",
    ] {
        let answer = server.graphql(RESPONSE, document).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["errors"][0]["extensions"]["code"], "OPERATION_TOO_LARGE");
    }
}

#[tokio::test]
async fn an_event_stream_carries_results_and_its_end() {
    let server = start("").await;
    let answer = server.graphql("text/event-stream", "subscription { count(to: 2) }").await;
    assert_eq!(
        (answer.status, answer.headers["content-type"].as_str()),
        (200, "text/event-stream")
    );
    let next = |n| format!("event: next\ndata: {{\"data\":{{\"count\":{n}}}}}\n\n");
    assert_eq!(answer.text(), format!("{}{}event: complete\ndata: \n\n", next(1), next(2)));

    let once = server.graphql("text/event-stream", "{ hello }").await;
    assert!(once.text().starts_with("event: next\ndata: {\"data\":{\"hello\":\"world\"}}"));
    let wrong = server.graphql("text/event-stream", "{").await;
    assert!(wrong.text().contains("GRAPHQL_PARSE_FAILED"), "{}", wrong.text());
    assert!(wrong.text().ends_with("event: complete\ndata: \n\n"));
    let panics = server.graphql("text/event-stream", "subscription { panics }").await;
    assert!(panics.text().contains("INTERNAL") && !panics.text().contains("secret"));
}

#[tokio::test]
async fn an_event_stream_ends_when_the_server_stops() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = start("").await;
    let mut stream = server.connect().await;
    let head = "GET /graphql?query=subscription%7Bforever%7D HTTP/1.1\r\nHost: localhost\r\n\
                Accept: text/event-stream\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut some = [0; 400];
    stream.read_exact(&mut some).await.unwrap();
    let began = std::time::Instant::now();
    server.stop().await.unwrap();
    assert!(began.elapsed() < std::time::Duration::from_secs(2));
}

#[tokio::test]
async fn a_browser_gets_graphiql_from_here_and_nowhere_else() {
    let server = start("").await;
    let html = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";
    let page = server.ask("GET", "/graphql", &[html], "").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-security-policy"].contains("connect-src 'self'"));
    assert!(!page.headers["content-security-policy"].contains("unsafe"));
    assert!(!page.text().contains("://"), "the page names another host");
    let again = server.ask("GET", "/graphql", &[html], "").await;
    assert_ne!(page.text(), again.text(), "a nonce was used twice");

    for (path, kind) in [("graphiql.js", "text/javascript"), ("graphiql.css", "text/css")] {
        let path = format!("/graphiql/{path}");
        assert!(page.text().contains(&path));
        let packed = server.ask("GET", &path, &["Accept-Encoding: br, gzip"], "").await;
        assert_eq!(packed.headers["content-encoding"], "gzip");
        assert!(packed.headers["content-type"].starts_with(kind));
        let plain = server.ask("GET", &path, &["Accept-Encoding: gzip;q=0"], "").await;
        assert!(!plain.headers.contains_key("content-encoding"));
        assert!(plain.body.len() > packed.body.len());
        let seen = format!("If-None-Match: {}", packed.headers["etag"]);
        assert_eq!(server.ask("GET", &path, &[&seen], "").await.status, 304);
    }
}

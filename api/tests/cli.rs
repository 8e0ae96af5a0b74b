//! The program from outside: exit codes, formats, what goes to which stream.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

fn freehold(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).env_clear().current_dir(std::env::temp_dir());
    command
}

fn run(arguments: &[&str]) -> Output {
    freehold(arguments).output().unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn config_show_says_where_each_value_came_from() {
    let output = freehold(&["config", "show", "--origin", "--store", "elsewhere"])
        .env("FREEHOLD__STORE__POOL_SIZE", "7")
        .env("FREEHOLD__VAULT__MASTER_KEY", "ab".repeat(32))
        .env("REDIS_URL", "redis://r")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let rows = lines(&output);
    let row = |key: &str| rows.iter().find(|row| row["key"] == key).unwrap();
    assert_eq!(row("store.pool_size")["origin"], "FREEHOLD__STORE__POOL_SIZE");
    assert_eq!(row("store.pool_size")["value"], "7");
    assert_eq!(row("store.url")["origin"], "--store");
    assert_eq!(row("vault.master_key")["value"], "***");
    assert_eq!(row("http.max_body_bytes")["unit"], "bytes");
    assert!(err(&output).contains("REDIS_URL is set; this release has no use for it"));
    let quiet = freehold(&["config", "show", "-q"]).env("REDIS_URL", "r").output().unwrap();
    assert_eq!(err(&quiet), "");
}

#[test]
fn a_wrong_configuration_is_a_usage_error_that_names_the_key() {
    let output = freehold(&["config", "check"]).env("FREEHOLD__HTTP__LISTN", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("did you mean http.listen?"), "{}", err(&output));
    assert!(output.stdout.is_empty());
    assert_eq!(run(&["config", "frobnicate"]).status.code(), Some(2));
    assert_eq!(run(&["config", "check"]).status.code(), Some(0));
}

#[test]
fn a_new_token_opens_a_server_configured_with_its_hash() {
    let output = run(&["token", "create", "ci", "--role", "writer", "--format", "json"]);
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (token, hash) = (made[0]["token"].as_str().unwrap(), made[0]["hash"].as_str().unwrap());
    assert_eq!(token.len(), 3 + 64);
    assert!(err(&output).contains(&format!("hash = \"{hash}\"")));
    assert_eq!(freehold::http::TokenHash::of(token).to_hex(), hash);
    let configuration: toml::Table = toml::from_str(
        err(&output).split_once("\n\n").expect("a note, then the lines for the file").1,
    )
    .unwrap();
    assert_eq!(configuration["auth"]["tokens"][0]["role"].as_str(), Some("writer"));
}

#[test]
fn completions_are_printed_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(String::from_utf8(output.stdout).unwrap().contains("freehold"), "{shell}");
    }
}

#[test]
fn serve_refuses_to_be_open_to_others() {
    let output = run(&["serve", "--store", "memory:", "--listen", "0.0.0.0:0"]);
    assert_eq!(output.status.code(), Some(5));
    assert!(err(&output).contains("freehold token create"), "{}", err(&output));
}

#[test]
fn serve_refuses_roles_that_there_are_not_and_those_that_need_other_processes() {
    for (roles, told) in [
        ("api,projection", "one or more of api, projections, relay"),
        ("", "one or more of api, projections, relay"),
        ("projections,relay", "let store.url (DATABASE_URL, --store) name a PostgreSQL database"),
        ("relay", "kafka.bootstrap_servers (KAFKA_BOOTSTRAP_SERVERS) names no cluster"),
        ("api,projections,ingest", "ingest, and kafka.bootstrap_servers (KAFKA_BOOTSTRAP_SERVERS)"),
    ] {
        let output = run(&["serve", "--store", "memory:", "--roles", roles]);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
        assert!(err(&output).contains("--roles sets roles to"), "{}", err(&output));
        assert!(err(&output).contains(told), "{}", err(&output));
    }
}

#[test]
fn serve_says_when_its_port_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output =
        run(&["serve", "--store", "memory:", "--listen", &taken.local_addr().unwrap().to_string()]);
    assert_eq!(output.status.code(), Some(6));
    assert!(err(&output).contains("--listen"), "{}", err(&output));
}

#[cfg(unix)]
#[test]
fn serve_says_where_it_listens_logs_json_and_ends_well_on_sigterm() {
    let mut child = freehold(&["serve", "--store", "memory:", "--listen", "127.0.0.1:0"])
        .env("FREEHOLD__LOG__FORMAT", "json")
        .env("FREEHOLD__LOG__LEVEL", "info,freehold=debug")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    let head = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK"));

    let asked = Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(asked.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let log: Vec<Value> =
        err(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered = log.iter().find(|line| line["message"] == "answered").unwrap();
    assert_eq!(answered["status"], json!(200));
    assert_eq!(answered["span"]["path"], "/health");
    assert_eq!(log.last().unwrap()["message"], "stopped");
}

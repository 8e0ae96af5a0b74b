//! Logs whose keys are elsewhere: they are told of, and nobody makes other keys in their place.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};

use freehold_postgres::{Database, PostgresKeyVault};
use freehold_test_stores::{MASTER_KEY, Place, Schema};
use serde_json::{Value, json};

fn freehold(store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).args(["--store", store]).env_clear();
    let master_key: String = MASTER_KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    command.env("FREEHOLD__VAULT__MASTER_KEY", master_key);
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

fn run(store: &str, arguments: &[&str]) -> Output {
    freehold(store, arguments).output().unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn out(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rows of a command that works.
fn rows(store: &str, arguments: &[&str]) -> Vec<Value> {
    let output = run(store, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
    out(&output)
}

/// A server that is killed with the test.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    fn register(&self, email: &str) {
        let document = "mutation($input: UserRegisterInput!) {
            userRegister(input: $input) { user { id } userErrors { message } } }";
        let body = json!({"query": document, "variables": {"input": {"email": email}}}).to_string();
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST /graphql HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("\"userErrors\":[]"), "{answer}");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const SERVE: [&str; 3] = ["serve", "--listen", "127.0.0.1:0"];

fn register_three(store: &str) {
    let server = Serving::start(freehold(store, &SERVE));
    ["ada", "bob", "eve"].iter().for_each(|name| server.register(&format!("{name}@example.org")));
}

/// What `doctor` finds, which is one thing.
fn found(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{}", err(output));
    let findings = out(output)[0]["findings"].as_array().unwrap().clone();
    let [finding] = &findings[..] else { panic!("{findings:?}") };
    finding.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_log_imported_without_its_keys_is_told_of_and_not_served() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (from, to) = (Place::on_disk(), Place::on_disk());
    let (source, store) = (&*from.address(), &*to.address());
    register_three(source);
    rows(source, &["events", "export", &file("log")]);
    rows(source, &["keys", "export", &file("keys")]);
    std::fs::write(file("feed.csv"), "reference,beds\np-1,2\n").unwrap();

    rows(store, &["events", "import", &file("log")]);

    let finding = found(&run(store, &["doctor"]));
    assert!(finding.contains("3 people"), "{finding}");
    assert!(finding.contains("freehold keys import"), "{finding}");
    for command in
        [&SERVE[..], &["demo", "--import-only"], &["import", &file("feed.csv"), "--source", "crm"]]
    {
        let output = run(store, command);
        assert_eq!(output.status.code(), Some(5), "{command:?}: {}", err(&output));
        assert!(err(&output).contains("freehold keys import"), "{}", err(&output));
    }
    assert_eq!(rows(store, &["events", "read"]).len(), 3, "reading is allowed, and nothing came");

    rows(store, &["keys", "import", &file("keys")]);
    assert_eq!(rows(store, &["doctor"])[0]["sound"], true);
    drop(Serving::start(freehold(store, &SERVE)));
    let event = &rows(store, &["events", "read", "--open", "--limit", "1"])[0];
    assert!(event["payload"].to_string().contains("ada@example.org"), "{event}");
    // A destroyed key is not one that is missing.
    let erased = event["subjects"][0].as_str().unwrap().parse().unwrap();
    to.vault().await.destroy(erased).await.unwrap();
    assert_eq!(rows(store, &["doctor"])[0]["sound"], true);
}

#[test]
fn keys_that_are_lost_for_good_are_given_up_when_somebody_says_so() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (from, to) = (Place::on_disk(), Place::on_disk());
    let (source, store) = (&*from.address(), &*to.address());
    register_three(source);
    rows(source, &["events", "export", &file("log")]);
    rows(source, &["keys", "export", &file("keys")]);
    rows(store, &["events", "import", &file("log")]);
    let refused = run(store, &SERVE);
    assert!(err(&refused).contains("freehold keys give-up"), "{}", err(&refused));

    let asked = run(store, &["keys", "give-up"]);
    assert_eq!(asked.status.code(), Some(5), "{}", err(&asked));
    assert!(err(&asked).contains("3 people"), "{}", err(&asked));
    assert!(found(&run(store, &["doctor"])).contains("keys give-up"), "nothing was done");
    assert_eq!(rows(store, &["keys", "give-up", "--yes"])[0]["destroyed"], 3);

    assert_eq!(rows(store, &["doctor"])[0]["sound"], true);
    Serving::start(freehold(store, &SERVE)).register("dan@example.org");
    assert_eq!(rows(store, &["keys", "give-up", "--yes"])[0]["destroyed"], 0, "Dan has a key");
    assert_eq!(rows(store, &["keys", "import", &file("keys")])[0]["changed"], 0);
    let events = rows(store, &["events", "read", "--open"]);
    let payload = |at: usize| events[at]["payload"].to_string();
    assert!(!payload(0).contains("ada@example.org"), "{}", payload(0));
    assert!(payload(3).contains("dan@example.org"), "{}", payload(3));
    assert_eq!(rows(store, &["doctor"])[0]["sound"], true);
}

#[test]
fn an_import_with_another_master_key_leaves_a_new_store_to_the_right_one() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (from, to) = (Place::on_disk(), Place::on_disk());
    let (source, store) = (&*from.address(), &*to.address());
    register_three(source);
    rows(source, &["events", "export", &file("log")]);
    rows(source, &["keys", "export", &file("keys")]);
    let imports = [["events", "import", &file("log")], ["keys", "import", &file("keys")]];

    for import in &imports {
        let mut command = freehold(store, import);
        let output = command.env("FREEHOLD__VAULT__MASTER_KEY", "a5".repeat(32)).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", err(&output));
        assert!(err(&output).contains("another master key"), "{}", err(&output));
    }

    imports.iter().for_each(|import| _ = rows(store, import));
    assert_eq!(rows(store, &["doctor"])[0]["sound"], true);
}

#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn a_database_for_keys_that_is_named_later_is_not_begun_anew() {
    let (log, keys) = (Schema::new(), Schema::new());
    let (store, keys) = (&*log.url(), &*keys.url());
    let elsewhere = |arguments: &[&str]| {
        let mut command = freehold(store, arguments);
        command.env("FREEHOLD__STORE__KEYS_URL", keys);
        command
    };
    register_three(store);

    let output = elsewhere(&SERVE).output().unwrap();

    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    assert!(err(&output).contains("store.keys_url"), "{}", err(&output));
    assert!(found(&elsewhere(&["doctor"]).output().unwrap()).contains("3 people"));
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("keys");
    let file = file.to_str().unwrap();
    rows(store, &["keys", "export", file]);
    let imported = elsewhere(&["keys", "import", file]).output().unwrap();
    assert_eq!(imported.status.code(), Some(0), "{}", err(&imported));
    Serving::start(elsewhere(&SERVE)).register("dan@example.org");
    let finding = found(&run(store, &["doctor"]));
    assert!(finding.contains("1 person"), "the last key is in the other database: {finding}");
}

#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn a_database_for_keys_that_takes_no_writes_is_named() {
    let (log, keys) = (Schema::new(), Schema::new());
    let made = Database::at(&keys.url()).unwrap();
    PostgresKeyVault::open_to_restore(made, &MASTER_KEY).await.unwrap();
    let keys = format!("{}&options[default_transaction_read_only]=on", keys.url());

    let mut command = freehold(&log.url(), &SERVE);
    let output = command.env("FREEHOLD__STORE__KEYS_URL", keys).output().unwrap();

    assert_eq!(output.status.code(), Some(6), "{}", err(&output));
    assert!(err(&output).contains("store.keys_url: "), "{}", err(&output));
    assert!(err(&output).contains("takes no writes"), "{}", err(&output));
}

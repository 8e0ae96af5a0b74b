//! Logs whose keys are elsewhere: they are told of, and nobody makes other keys in their place.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

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
        Self::start_with(&mut command, Stdio::null())
    }

    fn start_with(command: &mut Command, stderr: Stdio) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address }
    }

    /// Stores a user and returns its id.
    fn register(&self, email: &str) -> String {
        let document = "mutation($input: UserRegisterInput!) {
            userRegister(input: $input) { user { id } userErrors { message } } }";
        let answer = self.ask(document, json!({"email": email}));
        assert_eq!(answer["data"]["userRegister"]["userErrors"], json!([]), "{answer}");
        answer["data"]["userRegister"]["user"]["id"].as_str().unwrap().to_owned()
    }

    /// Sends a mutation that is accepted.
    fn change(&self, name: &str, input_type: &str, user: &str) {
        let document = format!(
            "mutation($input: {input_type}!) {{ {name}(input: $input) {{ userErrors {{ message }} }} }}"
        );
        let answer = self.ask(&document, json!({"user": user}));
        assert_eq!(answer["data"][name]["userErrors"], json!([]), "{answer}");
    }

    /// The whole answer, head and body.
    fn get(&self, path: &str) -> String {
        let mut stream = std::net::TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn ask(&self, document: &str, input: Value) -> Value {
        let body = json!({"query": document, "variables": {"input": input}}).to_string();
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
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
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
    ["ada", "bob", "eve"]
        .iter()
        .for_each(|name| _ = server.register(&format!("{name}@example.org")));
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

fn log_file(store: &str, files: &tempfile::TempDir) -> String {
    let file = files.path().join("log").to_str().unwrap().to_owned();
    rows(store, &["events", "export", &file]);
    file
}

#[tokio::test]
#[ignore = "set TEST_POSTGRES_URL"]
async fn a_database_for_keys_that_is_named_later_is_not_begun_anew() {
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
    let left = found(&elsewhere(&["doctor"]).output().unwrap());
    assert!(left.contains("TRUNCATE data_key, vault"), "{left}");
    Serving::start(elsewhere(&SERVE)).register("dan@example.org");
    let finding = found(&run(store, &["doctor"]));
    assert!(finding.contains("1 person"), "the last key is in the other database: {finding}");
    let wrong = run(store, &["keys", "import", &log_file(store, &files)]);
    assert!(err(&wrong).contains("freehold events export"), "{}", err(&wrong));

    let mut operator = log.operator().await;
    sqlx::raw_sql("TRUNCATE data_key, vault").execute(&mut operator).await.unwrap();

    assert_eq!(out(&elsewhere(&["doctor"]).output().unwrap())[0]["sound"], true);
    drop(Serving::start(elsewhere(&SERVE)));
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

/// The log says that a key was destroyed, and it is there: what an older copy of the vault does.
#[test]
fn a_key_that_outlived_its_erasure_is_found_and_destroyed_at_the_next_start() {
    let place = Place::on_disk();
    let store = &*place.address();
    for (name, seen) in [("ada", true), ("bob", false)] {
        let server = Serving::start(freehold(store, &SERVE));
        let user = server.register(&format!("{name}@example.org"));
        server.change("erasureRequest", "ErasureRequestInput", &user);
        server.change("accountClose", "AccountCloseInput", &user);
        server.change("userKeyShreddedRecord", "UserKeyShreddedRecordInput", &user);
        let state = "query { user(id: \"ID\") { erasure { state } } }";
        let deadline = Instant::now() + Duration::from_secs(20);
        while seen && Instant::now() < deadline {
            let answer = server.ask(&state.replace("ID", &user), Value::Null);
            if answer["data"]["user"]["erasure"]["state"] == "KEY_SHREDDED" {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(server);
        if !seen && let Some(folder) = place.folder() {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(folder.join(format!("read_models.sqlite{end}")));
            }
        }
        let finding = found(&run(store, &["doctor"]));
        assert!(finding.contains("a key of 1 person"), "{finding}");
        let opened = || {
            let events = rows(store, &["events", "read", "--open"]);
            Value::Array(events).to_string().contains(&format!("{name}@example.org"))
        };
        assert!(opened(), "that is what is wrong");

        let server = Serving::start(freehold(store, &SERVE));

        assert!(!opened());
        let metrics = server.get("/metrics");
        assert!(metrics.contains("freehold_keys_destroyed_again_total 1"), "{metrics}");
        drop(server);
        assert_eq!(rows(store, &["doctor"])[0]["sound"], true);
    }
}

#[test]
fn keys_of_some_people_that_are_missing_are_told_of_at_every_start() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (from, to) = (Place::on_disk(), Place::on_disk());
    let (source, store) = (&*from.address(), &*to.address());
    let server = Serving::start(freehold(source, &SERVE));
    server.register("ada@example.org");
    rows(source, &["keys", "export", &file("keys")]);
    server.register("bob@example.org");
    server.register("eve@example.org");
    drop(server);
    rows(source, &["events", "export", &file("log")]);
    rows(store, &["events", "import", &file("log")]);
    rows(store, &["keys", "import", &file("keys")]);

    // First there is no read model of accounts, then there is.
    for read_model in [false, true] {
        let mut command = freehold(store, &SERVE);
        let log = std::fs::File::create(file("stderr")).unwrap();
        let serving = Serving::start_with(&mut command, Stdio::from(log));
        let told = || std::fs::read_to_string(file("stderr")).unwrap();
        let ready = || serving.get("/ready").contains("200 OK");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !(told().contains("keys are missing") && ready()) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        let told = told();
        let line = told.lines().find(|line| line.contains("keys are missing"));
        let line = line.unwrap_or_else(|| panic!("read model: {read_model}: {told}"));
        assert!(line.contains("people=2") && line.contains("keys import"), "{line}");
        assert_eq!(told.matches("keys are missing").count(), 1, "{told}");
    }
    let streams = rows(store, &["events", "read"]);
    let show = |at: usize| run(store, &["stream", "show", streams[at]["stream"].as_str().unwrap()]);
    let (ada, lost) = (show(0), show(1));
    let field = |output: &Output, name: &str| {
        out(output).iter().find(|row| row["field"].as_str().unwrap().ends_with(name)).cloned()
    };
    assert_eq!(field(&ada, ".email.value").unwrap()["value"], "ada@example.org");
    assert_eq!(err(&ada), "");
    assert_eq!(field(&lost, ".email.value.key_missing").unwrap()["value"], true);
    assert!(err(&lost).contains("not erased"), "{}", err(&lost));
    rows(store, &["keys", "give-up", "--yes"]);
    assert_eq!(field(&show(1), ".email.value.erased").unwrap()["value"], true);
}

#[test]
fn keys_are_not_exported_where_there_are_none_for_what_is_sealed() {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let (from, to) = (Place::on_disk(), Place::on_disk());
    let (source, store) = (&*from.address(), &*to.address());
    register_three(source);
    rows(source, &["events", "export", &file("log")]);
    rows(store, &["events", "import", &file("log")]);

    let refused = run(store, &["keys", "export", &file("keys")]);

    assert_eq!(refused.status.code(), Some(5), "{}", err(&refused));
    assert!(err(&refused).contains("not one key"), "{}", err(&refused));
    assert!(!std::path::Path::new(&file("keys")).exists());
}

#[test]
fn a_folder_without_its_keys_says_where_they_are_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().to_str().unwrap();
    register_three(store);
    let kept = tempfile::tempdir().unwrap();
    let keys = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
        let names = files.map(|name| name.into_string().unwrap());
        names.filter(|name| name.starts_with("keys.sqlite")).collect::<Vec<_>>()
    };
    for name in keys() {
        std::fs::rename(folder.path().join(&name), kept.path().join(&name)).unwrap();
    }

    for command in
        [&SERVE[..], &["demo"], &["db", "migrate"], &["doctor"], &["keys", "export", "k"]]
    {
        let refused = run(store, command);
        assert_eq!(refused.status.code(), Some(5), "{command:?}: {}", err(&refused));
        assert!(err(&refused).contains("keys.sqlite"), "{}", err(&refused));
        assert!(err(&refused).contains("back from the backup"), "{}", err(&refused));
        assert_eq!(keys(), Vec::<String>::new(), "{command:?}");
    }

    for name in std::fs::read_dir(kept.path()).unwrap().map(|file| file.unwrap().file_name()) {
        std::fs::copy(kept.path().join(&name), folder.path().join(&name)).unwrap();
    }
    assert_eq!(rows(store, &["doctor"])[0]["sound"], true);
    drop(Serving::start(freehold(store, &SERVE)));
}

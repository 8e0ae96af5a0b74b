//! The program as a process: what it leaves behind, how it ends, how it fails to begin.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use freehold_test_stores::{Place, on_postgres};
use serde_json::{Value, json};

fn freehold(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).env_clear().current_dir(std::env::temp_dir());
    if on_postgres() {
        // In a folder it makes a key of its own.
        command.env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32));
    }
    command
}

/// Runs a command on a store.
fn run(store: &str, arguments: &[&str]) -> Output {
    freehold(arguments).args(["--store", store]).output().unwrap()
}

/// The rows of a command that works.
fn rows(store: &str, arguments: &[&str]) -> Vec<Value> {
    let output = run(store, arguments);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// A server; killed when a test gives up on it.
struct Server {
    child: Option<Child>,
    address: String,
}

impl Server {
    fn start(store: &str) -> Self {
        let mut child = freehold(&["serve", "--listen", "127.0.0.1:0", "--store", store])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { child: Some(child), address }
    }

    /// What a GraphQL document without faults answers.
    fn ask(&self, document: &str, input: Value) -> Value {
        let body = json!({"query": document, "variables": {"input": input}}).to_string();
        let mut stream = self.begin("/graphql", body.len(), "");
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut answer: Value = serde_json::from_str(body).unwrap();
        assert_eq!(answer["errors"], Value::Null, "{document}: {answer}");
        answer["data"].take()
    }

    /// Sends a mutation that is accepted.
    fn send(&self, mutation: &str, input: Value) -> Value {
        let (first, rest) = mutation.split_at(1);
        let document = format!(
            "mutation($input: {}{rest}Input!) {{ answer: {mutation}(input: $input) {{
                user {{ id userId }} userErrors {{ code message }} }} }}",
            first.to_uppercase(),
        );
        let answer = self.ask(&document, input);
        assert_eq!(answer["answer"]["userErrors"], json!([]), "{mutation}");
        answer["answer"]["user"].clone()
    }

    /// Sends the head of a request whose body is still to come, with `more` lines in it.
    fn begin(&self, path: &str, length: usize, more: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// Sends a request that the server runs and that is not finished before its body is there.
    fn keep_busy(&self, length: usize) -> TcpStream {
        let mut stream = self.begin("/graphql", length, "Expect: 100-continue\r\n");
        let mut go_on = [0; 25];
        stream.read_exact(&mut go_on).unwrap();
        assert_eq!(go_on, *b"HTTP/1.1 100 Continue\r\n\r\n");
        stream
    }

    /// Waits until it takes no new connections.
    fn wait_until_it_stops(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(&self.address).is_ok() {
            assert!(Instant::now() < deadline, "the signal was not heard");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
    }

    fn ended(mut self) -> Output {
        self.child.take().unwrap().wait_with_output().unwrap()
    }

    fn stop(self) {
        self.signal();
        let output = self.ended();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    }

    fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The files in which one of these texts stands, whatever its case, if the store is in files.
fn files_with(place: &Place, texts: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(folder) = place.folder() else { return found };
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap().to_ascii_lowercase();
        for text in texts {
            if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
                found.push(format!("{text} in {}", path.display()));
            }
        }
    }
    found
}

/// What is said about Zerlinde below, in lower case.
const PERSONAL: [&str; 4] = ["quastenflosser", "30901820177", "pfauenteich", "kopfsteinpflaster"];

const SHOWN: &str = "query($input: ID!) { user(id: $input) { displayName email phone erased
    savedSearches { nodes { name text } } } }";

/// Registers Zerlinde with a search, and enough of a history for a snapshot.
fn register(server: &Server) -> (Value, String) {
    let user = server.send(
        "userRegister",
        json!({
            "displayName": "Zerlinde Quastenflosser", "email": "z@quastenflosser.example",
            "phone": "+4930901820177",
        }),
    );
    let (id, uuid) = (user["id"].clone(), user["userId"].as_str().unwrap().to_owned());
    let search = json!({
        "user": id, "name": "Hinterm Pfauenteich", "text": "Kopfsteinpflaster", "schedule": "DAILY",
    });
    server.ask(
        "mutation($input: SearchSaveInput!) { searchSave(input: $input) { outcome } }",
        search,
    );
    for number in 0..100 {
        let name = format!("Zerlinde Quastenflosser {number}");
        let update = json!({"user": id, "displayName": name});
        server.ask(
            "mutation($input: UserProfileUpdateInput!) {
                userProfileUpdate(input: $input) { outcome } }",
            update,
        );
    }
    (id, uuid)
}

/// In a live table, in one that a rebuild retired, in a snapshot, in a write-ahead log.
#[test]
fn what_an_erased_person_said_stands_in_no_file_however_the_process_ends() {
    for killed in [false, true] {
        let place = Place::on_disk();
        let store = &*place.address();
        let server = Server::start(store);
        let (id, _) = register(&server);
        server.stop();
        rows(store, &["projection", "rebuild", "accounts"]);
        let server = Server::start(store);
        let shown = server.ask(SHOWN, id.clone());
        assert_eq!(shown["user"]["displayName"], "Zerlinde Quastenflosser 99");
        assert_eq!(shown["user"]["savedSearches"]["nodes"][0]["text"], "Kopfsteinpflaster");
        assert_eq!(files_with(&place, &PERSONAL), [""; 0], "in clear before the erasure");

        server.send("erasureRequest", json!({"user": id}));
        server.send("userErase", json!({"user": id}));
        if killed {
            server.kill();
            assert_eq!(files_with(&place, &PERSONAL), [""; 0]);
            Server::start(store).stop();
        } else {
            server.stop();
        }

        assert_eq!(files_with(&place, &PERSONAL), [""; 0]);
        let listed = rows(store, &["projection", "list"]);
        let accounts: Vec<_> = listed.iter().filter(|row| row["name"] == "accounts").collect();
        assert_eq!((&accounts[0]["state"], &accounts[0]["lag"]), (&json!("retired"), &Value::Null));
        assert_eq!((&accounts[1]["state"], &accounts[1]["lag"]), (&json!("active"), &json!(0)));
        // Going back to what was retired before the erasure brings nothing back.
        rows(store, &["projection", "rollback", "accounts"]);
        let server = Server::start(store);
        let erased = json!({"user": {
            "displayName": null, "email": null, "phone": null, "erased": true,
            "savedSearches": {"nodes": [{"name": null, "text": null}]},
        }});
        assert_eq!(server.ask(SHOWN, id), erased);
        server.stop();
        assert_eq!(files_with(&place, &PERSONAL), [""; 0]);
    }
}

#[cfg(unix)]
#[test]
fn a_signal_lets_requests_finish() {
    let place = Place::on_disk();
    let store = &*place.address();
    let server = Server::start(store);
    let mut request = server.keep_busy(1_000);
    server.signal();
    server.wait_until_it_stops();
    request.write_all(&[b' '; 1_000]).unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let output = server.ended();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
}

/// One that comes together with the first is not a later one; that rule has a test of its own.
#[cfg(unix)]
#[test]
fn a_later_signal_ends_the_process_at_once() {
    let place = Place::on_disk();
    let store = &*place.address();
    let mut server = Server::start(store);
    let _request = server.keep_busy(1_000);
    let asked = Instant::now();
    server.signal();
    server.wait_until_it_stops();
    while server.child.as_mut().unwrap().try_wait().unwrap().is_none() {
        // It would wait for the request for 30 s.
        assert!(asked.elapsed() < Duration::from_secs(20), "nobody heard the later ones");
        std::thread::sleep(Duration::from_millis(50));
        server.signal();
    }
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    let output = server.ended();
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
}

/// One line that names the file and what is wrong with it.
fn assert_refused(output: &Output, exit: i32, told: &[&str]) {
    assert_eq!(output.status.code(), Some(exit), "{}", err(output));
    assert_eq!(err(output).lines().count(), 1, "{}", err(output));
    for part in told {
        assert!(err(output).contains(part), "{part}: {}", err(output));
    }
}

#[test]
fn a_stream_is_empty_before_its_first_event() {
    let place = Place::on_disk();
    let store = &*place.address();
    let server = Server::start(store);
    let (_, uuid) = register(&server);
    server.stop();
    let stream = format!("user-{uuid}");

    let empty = rows(store, &["stream", "show", &stream, "--at", "0"]);
    assert_eq!(empty, [json!({"field": "version", "value": 0})]);
    let first = rows(store, &["stream", "diff", &stream, "--from", "0", "--at", "1"]);
    let name = first.iter().find(|row| row["field"].as_str().unwrap().contains("display_name"));
    assert_eq!(name.unwrap()["before"], Value::Null);
    let unknown = run(store, &["stream", "show", "user-nobody", "--at", "0"]);
    assert_refused(&unknown, 3, &["there is no stream user-nobody in the log domain"]);
    let elsewhere = ["stream", "show", &stream, "--log", "interactions"];
    assert_refused(&run(store, &elsewhere), 3, &["in the log interactions"]);
    let foreign = ["stream", "show", "account-7", "--log", "interactions"];
    let reading = "freehold events read --log interactions --stream account-7";
    assert_refused(&run(store, &foreign), 2, &["account is no aggregate", reading]);
}

/// What is about files.
mod embedded {
    use super::*;

    fn address(folder: &Path) -> String {
        format!("sqlite:{}", folder.display())
    }

    fn write_ahead_logs(folder: &Path) -> Vec<(String, u64)> {
        let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
        let sizes = files
            .map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len()));
        sizes.filter(|(name, _)| name.ends_with("-wal")).collect()
    }

    #[test]
    fn a_clean_stop_empties_the_write_ahead_logs_and_a_look_at_them_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let store = address(folder.path());
        let server = Server::start(&store);
        register(&server);
        let before = write_ahead_logs(folder.path());
        assert!(before.iter().all(|(_, bytes)| *bytes > 0), "{before:?}");

        rows(&store, &["projection", "list"]);
        let looked_at = write_ahead_logs(folder.path());
        assert!(looked_at.iter().all(|(_, bytes)| *bytes > 0), "{looked_at:?}");
        server.stop();

        let after = write_ahead_logs(folder.path());
        assert!(after.iter().all(|(_, bytes)| *bytes == 0), "{after:?}");
        rows(&store, &["projection", "rebuild", "accounts"]);
        let rebuilt = write_ahead_logs(folder.path());
        assert!(rebuilt.iter().all(|(_, bytes)| *bytes == 0), "{rebuilt:?}");
    }

    #[test]
    fn a_store_that_cannot_be_opened_says_which_file_and_why() {
        let folder = tempfile::tempdir().unwrap();
        let with_key = |folder: &Path, command: &[&str]| {
            let mut command = freehold(command);
            command
                .args(["--store", &address(folder)])
                .env("FREEHOLD__VAULT__MASTER_KEY", "ab".repeat(32));
            command.output().unwrap()
        };
        let (log, keys) = (folder.path().join("log.sqlite"), folder.path().join("keys.sqlite"));
        let (log_name, keys_name) = (log.display().to_string(), keys.display().to_string());

        std::fs::write(&log, [b'x'; 4_096]).unwrap();
        for command in [["db", "status"], ["db", "migrate"]] {
            let output = with_key(folder.path(), &command);
            assert_refused(&output, 6, &[&log_name, "file is not a database"]);
        }
        std::fs::remove_file(&log).unwrap();
        std::fs::create_dir(&log).unwrap();
        let output = with_key(folder.path(), &["db", "migrate"]);
        assert_refused(&output, 6, &[&log_name, "unable to open database file"]);
        std::fs::remove_dir(&log).unwrap();
        std::fs::write(&keys, [b'x'; 4_096]).unwrap();
        let output = with_key(folder.path(), &["db", "migrate"]);
        assert_refused(&output, 6, &[&keys_name, "file is not a database"]);

        let output = with_key(&keys, &["db", "status"]);
        assert_refused(&output, 2, &[&keys_name, "is a file", "sqlite:./data"]);
        let output = with_key(&keys.join("below"), &["db", "migrate"]);
        assert_refused(&output, 6, &[&keys_name, "Not a directory"]);
        let server = Server::start(&address(&folder.path().join("used")));
        let output = run(&address(&folder.path().join("used")), &["db", "migrate"]);
        assert_refused(&output, 6, &["log.sqlite is in use by another process"]);
        server.stop();
    }

    #[test]
    fn a_wrong_master_key_and_a_missing_one_are_refused_alike() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(&address(folder.path()), &["db", "migrate"]).status.code(), Some(0));
        let key = folder.path().join("master.key");

        std::fs::write(&key, "ab".repeat(32)).unwrap();
        let wrong = run(&address(folder.path()), &["db", "status", "-q"]);
        std::fs::remove_file(&key).unwrap();
        let missing = run(&address(folder.path()), &["db", "status", "-q"]);

        for output in [wrong, missing] {
            assert_eq!(output.status.code(), Some(5), "{}", err(&output));
            let told = err(&output).lines().last().unwrap();
            assert!(told.contains("put ") && told.contains("vault.master_key"), "{told}");
        }
    }
}

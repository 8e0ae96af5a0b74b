//! The program on PostgreSQL, from outside: several processes on one database, and what operators
//! are told.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freehold_servers::{Options, Postgres};
use freehold_test_stores::Schema;
use serde_json::{Value, json};

const PROJECTIONS: [&str; 5] = ["accounts", "engagement", "listings", "market", "properties"];
const SOON: Duration = Duration::from_secs(30);

fn freehold(store: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).env_clear().env("DATABASE_URL", store);
    command.env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32));
    command.current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command
}

fn run(store: &str, arguments: &[&str]) -> Output {
    freehold(store, arguments).output().unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

/// The rows of a command that works.
fn rows(store: &str, arguments: &[&str]) -> Vec<Value> {
    let output = run(store, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", err(&output));
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every read model equals a fresh fold, and the log is sound.
fn verify(store: &str) {
    for name in PROJECTIONS {
        let verified = rows(store, &["projection", "verify", name]);
        assert_eq!(verified[0]["differences"], 0, "{verified:?}");
    }
    assert_eq!(rows(store, &["doctor"])[0]["findings"], json!([]));
}

/// A process that is killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server that is killed with the test.
struct Serving {
    process: Running,
    address: String,
}

impl Serving {
    fn start(store: &str) -> Self {
        Self::start_telling(store, Stdio::null())
    }

    fn start_telling(store: &str, log: Stdio) -> Self {
        Self::start_with(store, &["--listen", "127.0.0.1:0"], log)
    }

    fn start_with(store: &str, arguments: &[&str], log: Stdio) -> Self {
        let mut command = freehold(store, &[&["serve"], arguments].concat());
        let child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut process = Running(child);
        let mut first = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim().strip_prefix("listening on http://").unwrap().to_owned();
        Self { process, address }
    }

    /// The status and the body of an answer; an error where the server is gone.
    fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<(u16, Value)> {
        let mut stream = std::net::TcpStream::connect(&self.address)?;
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let cut = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(cut)?;
        let body = serde_json::from_str(body).unwrap_or_else(|_| json!(body));
        Ok((status, body))
    }

    /// What a GraphQL document without faults answers.
    fn query(&self, document: &str) -> Value {
        let body = json!({ "query": document }).to_string();
        let (_, answer) = self.ask("POST", "/graphql", &body).unwrap();
        assert_eq!(answer.get("errors"), None, "{document}: {answer}");
        answer["data"].clone()
    }

    /// Waits until /ready says so, and what it said last.
    fn wait_until_ready(&self, ready: bool) -> Value {
        let began = Instant::now();
        loop {
            let (status, answer) = self.ask("GET", "/ready", "").unwrap();
            if (status == 200) == ready {
                return answer;
            }
            assert!(began.elapsed() < SOON, "{answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The samples of a metric, each with its labels.
    fn metric(&self, name: &str) -> Vec<(String, f64)> {
        let (_, text) = self.ask("GET", "/metrics", "").unwrap();
        let samples = text.as_str().unwrap().lines().filter(|line| line.starts_with(name));
        let sample = |line: &str| {
            let (labels, value) = line.rsplit_once(' ').unwrap();
            (labels.to_owned(), value.parse().unwrap())
        };
        samples.map(sample).collect()
    }

    fn standing_by(&self) -> f64 {
        let samples = self.metric("freehold_subscription_standing_by{");
        samples.iter().map(|(_, value)| value).sum()
    }

    fn kill(&mut self) {
        // `kill -9`, of this process alone.
        self.process.0.kill().unwrap();
        self.process.0.wait().unwrap();
    }
}

#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn a_feed_is_imported_served_and_verified() {
    let schema = Schema::new();
    let store = schema.url();
    let folder = tempfile::tempdir().unwrap();
    let feed = folder.path().join("feed.csv");
    let table: String = (0..300).map(|n| format!("p-{n},{},900\n", n % 5)).collect();
    std::fs::write(&feed, format!("reference,beds,price\n{table}")).unwrap();

    let nothing = run(&store, &["events", "read"]);
    assert_eq!(nothing.status.code(), Some(3), "{}", err(&nothing));
    assert!(err(&nothing).contains("freehold serve"), "{}", err(&nothing));
    let import = ["import", feed.to_str().unwrap(), "--source", "crm", "--quiet"];
    rows(&store, &import);
    let head = rows(&store, &["db", "status"])[0]["logs"][0]["position"].as_u64().unwrap();
    rows(&store, &import);
    let status = &rows(&store, &["db", "status"])[0];
    assert_eq!(status["logs"][0]["position"], head, "a table again changes nothing");
    assert_eq!((&status["schema"], &status["replica"]), (&json!(schema.name()), &json!(false)));
    assert_eq!(status["migrations_applied"], status["migrations_known"]);
    assert_eq!(status["logs"][0]["epoch"], 1);
    assert_eq!(rows(&store, &["events", "read", "--limit", "7"]).len(), 7);
    let stream = rows(&store, &["events", "read", "--limit", "1"])[0]["stream"].clone();
    assert!(rows(&store, &["stream", "show", stream.as_str().unwrap()]).len() > 1);

    let server = Serving::start(&store);
    server.wait_until_ready(true);
    let found = format!(
        "{{ listings(minPosition: \"{head}\", filter: {{ statuses: [DRAFT] }}, first: 5) {{
            totalCount nodes {{ id }} }} }}"
    );
    let found = server.query(&found);
    assert_eq!(found["listings"]["nodes"].as_array().unwrap().len(), 5, "{found}");
    let began = Instant::now();
    let counted = |(labels, _): &(String, f64)| labels.contains("pool=\"shared\"");
    while !server.metric("freehold_postgres_connections{").iter().any(counted) {
        assert!(began.elapsed() < SOON);
    }
    verify(&store);
    let rebuilt = rows(&store, &["projection", "rebuild", "listings"]);
    assert_eq!((&rebuilt[0]["state"], &rebuilt[0]["lag"]), (&json!("active"), &json!(0)));
    server.wait_until_ready(true);
}

/// The server itself is killed while a feed is imported: the import goes on when the server is back,
/// or is run again.
#[test]
#[ignore = "needs PostgreSQL on this machine"]
fn a_server_that_is_killed_under_an_import_costs_nothing() {
    let server = Postgres::start(&Options { fsync: true, ..Options::default() }).unwrap();
    let store = server.url();
    let folder = tempfile::tempdir().unwrap();
    let feed = folder.path().join("feed.csv");
    let table: String = (0..6_000).map(|n| format!("p-{n},{},900\n", n % 5)).collect();
    std::fs::write(&feed, format!("reference,beds,price\n{table}")).unwrap();
    let import = ["import", feed.to_str().unwrap(), "--source", "crm", "--quiet"];
    let head = || rows(store, &["db", "status"])[0]["logs"][0]["position"].as_u64().unwrap();

    rows(store, &["db", "migrate"]);
    let importing = freehold(store, &import).stdout(Stdio::null()).spawn().unwrap();
    let mut importing = Running(importing);
    let began = Instant::now();
    while head() < 2_000 {
        assert!(began.elapsed() < SOON);
    }
    server.kill9().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    server.start_again().unwrap();
    importing.0.wait().unwrap();
    rows(store, &import);

    assert_eq!(head(), 2 * 6_000, "each is registered once and has one listing");
    let serving = Serving::start(store);
    serving.wait_until_ready(true);
    let found = serving.query("{ listings(filter: { statuses: [DRAFT] }) { totalCount } }");
    assert_eq!(found["listings"]["totalCount"], 6_000);
    server.kill9().unwrap();
    let ready = serving.wait_until_ready(false);
    assert!(ready["checks"][0]["reason"].as_str().unwrap().contains("no PostgreSQL answers"));
    server.start_again().unwrap();
    serving.wait_until_ready(true);
    verify(store);
}

/// The server goes away and comes back under those who follow it and those who write.
#[test]
#[ignore = "needs PostgreSQL on this machine"]
fn whoever_follows_the_log_waits_for_the_server_and_goes_on() {
    let server = Postgres::start(&Options { fsync: true, ..Options::default() }).unwrap();
    let store = server.url();
    let log = tempfile::NamedTempFile::new().unwrap();
    let serving = Serving::start_telling(store, log.reopen().unwrap().into());
    let send = |reference: &str| {
        let item = json!({"property_id": reference, "data": {"price": 2000}}).to_string();
        serving.ask("POST", "/api/events/property", &item).unwrap().0
    };
    assert_eq!(send("before"), 202);
    let tail = freehold(store, &["events", "tail", "--after", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tail = Running(tail);
    let told = BufReader::new(tail.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut events = BufReader::new(tail.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut next = || {
        let event: Value = serde_json::from_str(&events.next().unwrap()).unwrap();
        event["position"].as_u64().unwrap()
    };
    assert_eq!([next(), next()], [1, 2]);

    server.kill9().unwrap();
    serving.wait_until_ready(false);
    // Nothing is read before it is appended.
    let view = || {
        let item = r#"{"event_type":"property_viewed"}"#;
        serving.ask("POST", "/api/events/user", item).unwrap().0
    };
    assert_eq!(view(), 503);
    // Longer than a reader who has no connection waits for one.
    std::thread::sleep(Duration::from_secs(6));
    server.start_again().unwrap();
    serving.wait_until_ready(true);
    assert_eq!((view(), send("after")), (202, 202));

    assert_eq!([next(), next()], [3, 4]);
    let id = tail.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(tail.0.wait().unwrap().code(), Some(0));
    let told: Vec<String> = told.collect();
    let [gone, back] = &told[..] else { panic!("{told:?}") };
    assert!(gone.starts_with("waiting, after 2: "), "{gone}");
    assert!(back.contains("going on after 2"), "{back}");

    // Whoever reads the log alone learns both, and each once.
    let began = Instant::now();
    for (what, of_log) in [
        ("events not appended", "interactions"),
        ("events are appended again", "interactions"),
        ("log not read, trying again", "domain"),
        ("the log is read again", "domain"),
        ("the log is read again", "interactions"),
    ] {
        let said = || {
            let text = std::fs::read_to_string(log.path()).unwrap();
            let lines = text.lines().filter(|line| line.contains(what) && line.contains(of_log));
            lines.count()
        };
        while said() == 0 && began.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(50));
        }
        let once = said() == 1 || what == "events not appended" && said() > 1;
        assert!(once, "{what}: {}", std::fs::read_to_string(log.path()).unwrap());
    }
}

#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn processes_that_start_together_make_everything_once() {
    let schema = Schema::new();
    let store = schema.url();
    let migrating: Vec<Child> = (0..6)
        .map(|_| freehold(&store, &["db", "migrate"]).stderr(Stdio::piped()).spawn().unwrap())
        .collect();
    for process in migrating {
        let output = process.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    }
    let servers: Vec<Serving> = std::thread::scope(|scope| {
        let starting: Vec<_> = (0..3).map(|_| scope.spawn(|| Serving::start(&store))).collect();
        starting.into_iter().map(|server| server.join().unwrap()).collect()
    });
    servers.iter().for_each(|server| _ = server.wait_until_ready(true));
    let status = &rows(&store, &["db", "status"])[0];
    assert_eq!(status["migrations_applied"], status["migrations_known"]);
    assert_eq!(status["logs"].as_array().unwrap().len(), 2);
    let generations = rows(&store, &["projection", "list"]);
    let active = generations.iter().filter(|one| one["state"] == "active").count();
    assert_eq!((generations.len(), active), (5, 5), "{generations:?}");
}

/// Two servers take load; one is killed in the middle of it. Whatever was accepted is there once,
/// and the other server's queries show it soon.
#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn of_two_servers_one_is_killed_under_load_and_the_other_goes_on() {
    let schema = Schema::new();
    let store = schema.url();
    let mut servers = [Serving::start(&store), Serving::start(&store)];
    servers.iter().for_each(|server| _ = server.wait_until_ready(true));
    let send = |server: &Serving, reference: &str| {
        let item = json!({"property_id": reference, "data": {"price": 2000, "beds": 2}});
        server.ask("POST", "/api/events/property", &item.to_string())
    };
    // Each server sees at once what the other one stored.
    for n in 0..40 {
        let (to, at) = (&servers[n % 2], &servers[1 - n % 2]);
        let (status, answer) = send(to, &format!("first-{n}")).unwrap();
        assert_eq!(status, 202, "{answer}");
        let seen = format!(
            "{{ property(by: {{ source: {{ source: \"default\", reference: \"first-{n}\" }} }},
                minPosition: {}) {{ id }} }}",
            answer["position"]
        );
        assert_ne!(at.query(&seen)["property"], Value::Null, "{answer}");
    }
    let began = Instant::now();
    let (first, second) = loop {
        let standing_by = (servers[0].standing_by(), servers[1].standing_by());
        if standing_by.0 + standing_by.1 >= 4.0 {
            break standing_by;
        }
        assert!(began.elapsed() < SOON, "of each projection of the domain one stands by");
        std::thread::sleep(Duration::from_millis(50));
    };

    let (stop, accepted) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let worker = usize::from(first > second);
    let (working, left) = match &mut servers {
        [one, other] if worker == 0 => (one, other),
        [one, other] => (other, one),
    };
    let address = working.address.clone();
    std::thread::scope(|scope| {
        for sender in 0..8 {
            let target = if sender % 2 == 0 { &address } else { &left.address };
            let (send, stop, accepted) = (&send, &stop, &accepted);
            scope.spawn(move || {
                // A client of an address; nothing is killed when it ends.
                let client = Client(target.clone());
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let reference = format!("load-{sender}-{n}");
                    let sent = client.with(|server| send(server, &reference));
                    if sent.is_ok_and(|(status, _)| status == 202) {
                        accepted.lock().unwrap().insert(reference);
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(1_500));
        working.kill();
        std::thread::sleep(Duration::from_millis(3_500));
        stop.store(true, Ordering::Relaxed);
    });
    let accepted = accepted.into_inner().unwrap();
    assert!(accepted.len() > 100, "{} accepted", accepted.len());
    left.wait_until_ready(true);
    // Of accounts nothing was waiting.
    let others = left.metric("freehold_subscription_standing_by{").into_iter();
    let mut others = others.filter(|(labels, _)| !labels.contains("\"accounts\""));
    assert!(others.all(|(_, standing_by)| standing_by == 0.0));

    let head = rows(&store, &["db", "status"])[0]["logs"][0]["position"].clone();
    let began = Instant::now();
    let reached = format!(
        "{{ listings(minPosition: \"{head}\", filter: {{ statuses: [DRAFT] }}) {{ totalCount }} }}"
    );
    let count = left.query(&reached)["listings"]["totalCount"].as_u64().unwrap();
    assert!(began.elapsed() < SOON);
    assert!(count as usize >= accepted.len() + 40, "{count} of {}", accepted.len());
    for reference in accepted.iter().step_by(37) {
        let (status, answer) = send(left, reference).unwrap();
        assert_eq!((status, &answer["items"][0]["change"]), (202, &json!("unchanged")), "{answer}");
    }
    verify(&store);
}

/// One process answers, others keep the read models: none, then one, then three, of which the first
/// is killed. Nothing is lost or repeated, and who answers knows how far the others are.
#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn parts_run_in_processes_of_their_own_and_come_and_go_under_load() {
    let schema = Schema::new();
    let store = schema.url();
    let start = |roles| {
        let serving = ["--roles", roles, "--listen", "127.0.0.1:0"];
        Serving::start_with(&store, &serving, Stdio::null())
    };
    let api = start("api");
    let not_ready = api.wait_until_ready(false);
    assert_eq!(not_ready["checks"][0]["ok"], json!(true), "{not_ready}");
    let began = Instant::now();
    while !api.wait_until_ready(false).to_string().contains("listings is not built; that is for") {
        assert!(began.elapsed() < SOON);
    }
    let send = |reference: &str| {
        let item = json!({"property_id": reference, "data": {"price": 2000, "beds": 2}});
        let (status, answer) = api.ask("POST", "/api/events/property", &item.to_string()).unwrap();
        assert_eq!(status, 202, "{answer}");
        answer["position"].clone()
    };
    send("before-anybody");
    assert!(rows(&store, &["projection", "list"]).is_empty(), "who only answers builds nothing");

    let mut first = start("projections");
    assert_eq!(first.ask("POST", "/graphql", "{}").unwrap().0, 404);
    assert_eq!(first.ask("POST", "/api/events/property", "{}").unwrap().0, 404);
    first.wait_until_ready(true);
    api.wait_until_ready(true);
    let watched = api.metric("freehold_subscription_standing_by{").into_iter();
    assert_eq!(watched.map(|(_, value)| value).sum::<f64>(), 5.0);

    let stop = AtomicBool::new(false);
    let (sent, others) = std::thread::scope(|scope| {
        let (send, stop) = (&send, &stop);
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                scope.spawn(move || {
                    let until_stopped = (0..).take_while(|_| !stop.load(Ordering::Relaxed));
                    until_stopped.map(|n| send(&format!("load-{sender}-{n}"))).count()
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        let others = [start("projections"), start("projections")];
        std::thread::sleep(Duration::from_secs(1));
        first.kill();
        std::thread::sleep(Duration::from_secs(4));
        stop.store(true, Ordering::Relaxed);
        (senders.into_iter().map(|sender| sender.join().unwrap()).sum::<usize>(), others)
    });
    assert!(sent > 50, "{sent} sent");
    let last = send("the-last-one");
    api.wait_until_ready(true);
    let reached = format!(
        "{{ listings(minPosition: {last}, filter: {{ statuses: [DRAFT] }}) {{ totalCount }} }}"
    );
    assert_eq!(api.query(&reached)["listings"]["totalCount"], sent + 2);
    others.iter().for_each(|other| _ = other.wait_until_ready(true));
    verify(&store);
}

/// Sends to a server that another value stands for.
struct Client(String);

impl Client {
    fn with<T>(&self, send: impl FnOnce(&Serving) -> T) -> T {
        let process = Running(Command::new("true").spawn().unwrap());
        send(&Serving { process, address: self.0.clone() })
    }
}

#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn a_fenced_process_stores_nothing_until_it_is_restarted() {
    let schema = Schema::new();
    let store = schema.url();
    let item = r#"{"property_id":"a","data":{"price":2000}}"#;
    let server = Serving::start(&store);
    server.wait_until_ready(true);
    assert_eq!(server.ask("POST", "/api/events/property", item).unwrap().0, 202);

    let planned = run(&store, &["db", "fence", "--dry-run"]);
    assert_eq!(planned.status.code(), Some(0), "{}", err(&planned));
    assert!(
        err(&planned).contains("domain (at position 2) from epoch 1 to 2"),
        "{}",
        err(&planned)
    );
    let asked = run(&store, &["db", "fence"]);
    assert_eq!(asked.status.code(), Some(5), "{}", err(&asked));
    assert!(err(&asked).contains("add --yes to move domain (at position 2)"), "{}", err(&asked));
    assert_eq!(err(&asked).lines().count(), 1, "{}", err(&asked));
    server.wait_until_ready(true);

    let fenced = rows(&store, &["db", "fence", "--log", "domain", "--yes"]);
    assert_eq!(fenced, [json!({"log": "domain", "epoch": 2})]);
    let refused = item.replace("\"a\"", "\"b\"");
    let (status, answer) = server.ask("POST", "/api/events/property", &refused).unwrap();
    assert_eq!((status, &answer["items"][0]["status"]), (503, &json!("retry")), "{answer}");
    // Not "later", but "elsewhere": this process will never take it.
    assert_eq!(answer["code"], "FENCED", "{answer}");
    assert_eq!(answer["items"][0]["errors"][0]["code"], "FENCED", "{answer}");
    let view = r#"{"event_type":"property_viewed","data":{"property_id":"a"}}"#;
    let (status, answer) = server.ask("POST", "/api/events/user", view).unwrap();
    assert_eq!(status, 202, "the other log was not fenced: {answer}");
    let mutation = r#"mutation { userRegister(input: { email: "ada@example.org" }) {
        userErrors { code } } }"#;
    let body = json!({ "query": mutation }).to_string();
    let (_, answer) = server.ask("POST", "/graphql", &body).unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "FENCED", "{answer}");
    let ready = server.wait_until_ready(false);
    assert!(ready["checks"][0]["reason"].as_str().unwrap().contains("restart"), "{ready}");
    let began = Instant::now();
    while server.metric("freehold_log_fenced{log=\"domain\"}").iter().all(|(_, one)| *one == 0.0) {
        assert!(began.elapsed() < SOON);
        std::thread::sleep(Duration::from_millis(50));
    }

    drop(server);
    let server = Serving::start(&store);
    assert_eq!(server.ask("POST", "/api/events/property", &refused).unwrap().0, 202);
    server.wait_until_ready(true);
    let files = tempfile::tempdir().unwrap();
    let files = run(files.path().to_str().unwrap(), &["db", "fence"]);
    assert_eq!(files.status.code(), Some(2), "{}", err(&files));
}

#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn whoever_follows_a_log_that_has_another_history_is_told() {
    let schema = Schema::new();
    let store = schema.url();
    let server = Serving::start(&store);
    let item = json!({"property_id": "one", "data": {"price": 2000}}).to_string();
    assert_eq!(server.ask("POST", "/api/events/property", &item).unwrap().0, 202);
    let tail = freehold(&store, &["events", "tail", "--after", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tail = Running(tail);
    let mut events = BufReader::new(tail.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let newest = [events.next().unwrap(), events.next().unwrap()][1].clone();

    let name = schema.name();
    schema.run(format!("UPDATE {name}.event SET event_id = gen_random_uuid() WHERE position = 2"));

    assert_eq!(events.next(), None);
    assert_eq!(tail.0.wait().unwrap().code(), Some(4), "{newest}");
    let mut told = String::new();
    tail.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("at position 2") && told.contains("read again"), "{told}");
}

#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn whoever_asks_is_not_told_where_the_database_is_and_who_logs_in() {
    let schema = Schema::new();
    let name = schema.name();
    let role = format!("{name}_role");
    schema.run(format!("CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA {name} TO {role}"));
    let server = Serving::start(&format!("{}&user={role}", schema.url()));
    server.wait_until_ready(true);
    schema.run(format!(
        "ALTER ROLE {role} NOLOGIN;
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    ));
    let began = Instant::now();
    loop {
        let ready = server.wait_until_ready(false);
        let reason = ready["checks"][0]["reason"].as_str().unwrap_or_default();
        assert!(!reason.contains(&role) && !reason.contains("127.0.0.1"), "{ready}");
        if reason.contains("does not let this process in") {
            break;
        }
        assert!(began.elapsed() < SOON, "{ready}");
    }
    drop(server);
    schema.run(format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP OWNED BY {role}"));
    schema.run(format!("DROP ROLE {role}"));
}

#[test]
#[ignore = "set TEST_POSTGRES_URL"]
fn what_is_wrong_with_a_database_is_said_in_one_line() {
    let schema = Schema::new();
    let told = |store: &str, exit: i32, what: &[&str]| {
        for command in [["db", "migrate"], ["db", "status"]] {
            let output = run(store, &command);
            assert_eq!(output.status.code(), Some(exit), "{}", err(&output));
            assert_eq!(err(&output).lines().count(), 1, "{}", err(&output));
            for part in what {
                assert!(err(&output).contains(part), "{part}: {}", err(&output));
            }
            assert!(!err(&output).contains("hunter2"), "{}", err(&output));
        }
    };
    told("postgres://ann:hunter2@127.0.0.1:1/f", 6, &["127.0.0.1:1", "refused", "store.url"]);
    // This is refused before anybody is asked, with everything else that is not right.
    let output = run("postgres://ann:hunter2@127.0.0.1:x/f", &["db", "status"]);
    assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    assert!(err(&output).contains("store.url") && err(&output).contains("port number"));
    assert!(!err(&output).contains("hunter2"), "{}", err(&output));
    let (url, name) = (schema.url(), schema.name());
    let (server, _) = url.split_once('?').unwrap().0.rsplit_once('/').unwrap();
    told(&format!("{server}/nowhere"), 6, &["\"nowhere\" does not exist", "createdb"]);

    let role = format!("{name}_guest");
    schema.run(format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {name} TO {role}"));
    let (_, rest) = url.rsplit_once('@').unwrap();
    let output = run(&format!("postgres://{role}@{rest}"), &["db", "migrate"]);
    schema.run(format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    assert!(err(&output).contains("permission denied for schema"), "{}", err(&output));
    assert!(err(&output).contains("grant"), "{}", err(&output));

    // A database of its own for the keys is named as such.
    for keys in ["postgres://127.0.0.1:1/keys", &format!("{server}/nowhere")] {
        for command in [&["db", "migrate"][..], &["doctor"]] {
            let mut command = freehold(&schema.url(), command);
            let output = command.env("FREEHOLD__STORE__KEYS_URL", keys).output().unwrap();
            assert_eq!(output.status.code(), Some(6), "{}", err(&output));
            assert!(err(&output).contains("store.keys_url: "), "{}", err(&output));
        }
    }

    let output =
        freehold(&schema.url(), &["serve"]).env_remove("FREEHOLD__VAULT__MASTER_KEY").output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    assert!(err(&output).contains("FREEHOLD__VAULT__MASTER_KEY_FILE"), "{}", err(&output));
    rows(&url, &["db", "migrate"]);
    let output = freehold(&url, &["serve"])
        .env("FREEHOLD__VAULT__MASTER_KEY", "a5".repeat(32))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", err(&output));
    assert!(err(&output).contains("master key"), "{}", err(&output));
}

//! Many processes on one PostgreSQL: whoever is killed, ended or moved, each event is there once.

use std::collections::{HashMap, HashSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freehold_memory::MemoryKeyVault;
use freehold_ports::{
    AppendError, Appended, EventCodec, EventStore, ExpectedVersion, GlobalPosition, SystemClock,
};
use freehold_postgres::{Database, LogOptions, OpenError, PostgresEventStore, PostgresReadModels};
use freehold_projections::models::engagement::Engagement;
use freehold_projections::{Projections, SubscriptionState};
use freehold_servers::{Options, Postgres, Release, Tool};
use futures_util::future::join_all;
use sqlx::{Connection as _, PgConnection};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::READERS;
use crate::events::{
    Dice, Findings, LOG, Ledger, Tail, WRITERS, exactly, read_everything, request, setting,
};
use crate::process::{Process, say};

const PROCESSES: u64 = 4;
const PROJECTION: &str = "engagement";
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a reader may not see what was acknowledged, while the server is up.
const LONGEST_STALL: Duration = Duration::from_secs(1);
/// How long a reader may be without a session after a crash: the driver's pool waits up to a second
/// between tries, and a session that is ended while it begins costs another try.
const RECONNECT: Duration = Duration::from_secs(2);

/// Sessions of ours carry this name, so that a test ends no others.
pub(crate) fn url_of(server: &Postgres, database: &str) -> String {
    let (address, _) = server.url().rsplit_once('/').unwrap();
    format!("{address}/{database}?application_name=torture")
}

pub(crate) async fn open(url: &str) -> Arc<PostgresEventStore> {
    let database = Database::at(url).unwrap();
    let opening = || PostgresEventStore::open(database.clone(), LogOptions::default());
    Arc::new(until_it_answers(opening).await)
}

/// A real projection of the log, in the same database.
async fn projections(url: &str, store: Arc<PostgresEventStore>) -> Projections {
    let database = Database::at(url).unwrap();
    let models = until_it_answers(|| PostgresReadModels::open(database.clone())).await;
    let codec = EventCodec::new(Arc::new(MemoryKeyVault::default()));
    Projections::new(store, Arc::new(models), codec, Arc::new(SystemClock)).with(Engagement)
}

/// Opens what the server has, which may be starting.
async fn until_it_answers<T, F>(open: impl Fn() -> F) -> T
where
    F: Future<Output = Result<T, OpenError>>,
{
    let began = Instant::now();
    loop {
        match open().await {
            Ok(opened) => return opened,
            Err(error) if began.elapsed() > PATIENCE => panic!("{error}"),
            Err(error) => say(&format!("failed to open: {error}")),
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Runs statements one by one as an operator.
pub(crate) async fn run(url: &str, statements: &[&str]) {
    let mut operator = PgConnection::connect(url).await.unwrap();
    for statement in statements {
        sqlx::raw_sql(statement).execute(&mut operator).await.unwrap();
    }
}

/// Starts a process whose writers go on where the ledger says.
pub(crate) fn start_writing(
    url: &str,
    writers: impl Iterator<Item = u64>,
    ledger: &Ledger,
) -> Process {
    start(url, writers, ledger, &[])
}

/// The same, and it keeps the projection current.
fn start_projecting(url: &str, writers: impl Iterator<Item = u64>, ledger: &Ledger) -> Process {
    start(url, writers, ledger, &[("FREEHOLD_TORTURE_PROJECTS", "1")])
}

fn start(
    url: &str,
    writers: impl Iterator<Item = u64>,
    ledger: &Ledger,
    more: &[(&str, &str)],
) -> Process {
    let next: Vec<_> =
        writers.map(|writer| format!("{writer}:{}", ledger.next_of(writer))).collect();
    let next = next.join(",");
    let told = [("FREEHOLD_TORTURE_URL", url), ("FREEHOLD_TORTURE_NEXT", next.as_str())];
    Process::start("postgres::the_process_that_is_killed", &[&told[..], more].concat())
}

#[test]
#[ignore = "started by other tests, in a process of its own"]
fn the_process_that_is_killed() {
    let Ok(url) = std::env::var("FREEHOLD_TORTURE_URL") else { return };
    let next = std::env::var("FREEHOLD_TORTURE_NEXT").unwrap();
    Runtime::new().unwrap().block_on(async {
        let store = open(&url).await;
        let mut kept_current = None;
        if std::env::var_os("FREEHOLD_TORTURE_PROJECTS").is_some() {
            kept_current.insert(projections(&url, store.clone()).await).start();
        }
        let mut writers = JoinSet::new();
        for one in next.split(',') {
            let (writer, next) = one.split_once(':').unwrap();
            let (writer, next) = (writer.parse().unwrap(), next.parse().unwrap());
            writers.spawn(write_for_ever(store.clone(), writer, next));
        }
        writers.join_next().await.unwrap().unwrap();
    });
}

async fn write_for_ever(store: Arc<PostgresEventStore>, writer: u64, next: u64) {
    let mut version = 0;
    for number in next.. {
        let Appended { position, repeated, .. } =
            append(&*store, writer, number, &mut version).await;
        say(&format!("stored {writer} {number} {position} {}", u8::from(repeated)));
    }
}

/// Appends in the way of the writer's kind until there is an answer.
async fn append(store: &dyn EventStore, writer: u64, number: u64, version: &mut u64) -> Appended {
    let name = (writer, number);
    let mut said = String::new();
    loop {
        let answer = match writer % 4 {
            // A stream of its own: what is lost or doubled is a conflict.
            0 => {
                let own = format!("own-{writer}");
                store.append(request(name, &own, exactly(number))).await
            }
            // All processes on one stream.
            1 => store.append(request(name, "shared", ExpectedVersion::Any)).await,
            // The same, but stale as a rule.
            2 => {
                let expected = exactly(*version);
                match store.append(request(name, "hot", expected)).await {
                    Err(AppendError::VersionConflict { actual, .. }) => {
                        assert_ne!(*version, actual.0);
                        *version = actual.0;
                        continue;
                    }
                    answer => answer,
                }
            }
            // Asks twice at once.
            _ => {
                let request = request(name, &format!("twice-{writer}"), exactly(number));
                let (one, other) =
                    tokio::join!(store.append(request.clone()), store.append(request));
                one.and_then(|one| {
                    let other = other?;
                    assert_eq!(one.position, other.position);
                    assert!(one.repeated || other.repeated);
                    Ok(Appended { repeated: one.repeated && other.repeated, ..one })
                })
            }
        };
        let error = match answer {
            Ok(appended) => {
                *version = appended.version.0;
                return appended;
            }
            Err(error) => error,
        };
        let why = match &error {
            AppendError::OutcomeUnknown { source, .. } | AppendError::Unavailable { source } => {
                format!("{error}: {source}")
            }
            AppendError::Overloaded { .. } | AppendError::Fenced { .. } => error.to_string(),
            refused => panic!("{refused}"),
        };
        if said != why {
            say(&format!("failed {}", why.replace('\n', " ")));
            said = why;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

#[test]
#[ignore = "needs PostgreSQL on this machine"]
fn processes_and_server_that_are_killed_lose_and_double_nothing() {
    let cycles = setting("FREEHOLD_TORTURE_CYCLES", 10);
    let server = Postgres::start(&Options { fsync: true, ..Options::default() }).unwrap();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(run(server.url(), &["CREATE DATABASE torture"]));
    let mut torture = Torture::begin(&server, &runtime, "torture", Ledger::default(), Vec::new());
    let (mut dice, mut kills, mut crashes) = (Dice::new(7), 0, 0);
    let mut moved = "";
    for cycle in 0..cycles {
        std::thread::sleep(Duration::from_millis(50 + dice.below(500)));
        let process = dice.below(PROCESSES) as usize;
        if dice.below(8) == 0 {
            torture.processes[process].signal("STOP");
            std::thread::sleep(Duration::from_millis(dice.below(1_000)));
            torture.processes[process].signal("CONT");
        }
        if dice.below(4) == 0 {
            torture.crash();
            crashes += 1;
        } else {
            torture.kill(process);
            kills += 1;
        }
        if cycle == cycles / 2 {
            (torture, moved) = torture.move_to("restored");
        }
    }
    torture.end(&format!("process_kills={kills} server_kills={crashes} moved_by={moved}"));
}

/// Writers, readers and strangers on one database, until they move to another.
struct Torture<'s> {
    server: &'s Postgres,
    runtime: &'s Runtime,
    url: String,
    ledger: Ledger,
    processes: Vec<Process>,
    readers: Vec<JoinHandle<Tail>>,
    end_of_readers: watch::Sender<u64>,
    store: Arc<PostgresEventStore>,
    strangers: JoinSet<()>,
    /// Sessions ended by `pg_terminate_backend`.
    ended: Arc<AtomicU64>,
    /// When nobody could read.
    down: Vec<(Instant, Instant)>,
}

impl<'s> Torture<'s> {
    fn begin(
        server: &'s Postgres,
        runtime: &'s Runtime,
        database: &str,
        ledger: Ledger,
        seen: Vec<Tail>,
    ) -> Self {
        let url = url_of(server, database);
        let _inside = runtime.enter();
        let store = runtime.block_on(open(&url));
        let (end_of_readers, end) = watch::channel(u64::MAX);
        let mut seen = seen.into_iter();
        let readers = (0..READERS)
            .map(|reader| {
                let tail = seen.next().unwrap_or_default();
                tokio::spawn(tail.follow(store.clone(), reader, end.clone()))
            })
            .collect();
        runtime.block_on(async {
            // Two that make the first generation at once would be another test.
            let projections = projections(&url, store.clone()).await;
            projections.start();
            let mut live = projections.live(PROJECTION).unwrap();
            live.wait_for(|status| status.state == SubscriptionState::Live).await.unwrap();
            projections.stop().await;
        });
        let processes =
            (0..PROCESSES).map(|process| start_process(&url, process, &ledger)).collect();
        let ended = Arc::new(AtomicU64::new(0));
        let mut strangers = JoinSet::new();
        let stranger = stranger(&url);
        strangers.spawn(slow_transactions(stranger.clone()));
        strangers.spawn(idle_in_transaction(stranger.clone()));
        strangers.spawn(idle_in_transaction(server.url().to_owned()));
        strangers.spawn(end_sessions(stranger, ended.clone()));
        let down = Vec::new();
        Self {
            server,
            runtime,
            url,
            ledger,
            processes,
            readers,
            end_of_readers,
            store,
            strangers,
            ended,
            down,
        }
    }

    /// Kills a process and starts it again.
    fn kill(&mut self, process: usize) {
        let killed = self.processes.remove(process);
        killed.kill().iter().for_each(|said| self.ledger.note(said));
        let started = start_process(&self.url, process as u64, &self.ledger);
        self.processes.insert(process, started);
    }

    /// Kills the server and starts it again.
    fn crash(&mut self) {
        let since = Instant::now();
        self.server.kill9().unwrap();
        self.server.start_again().unwrap();
        self.down.push((since, Instant::now()));
    }

    /// Restores a backup, taken meanwhile, as another database; everybody goes on there.
    fn move_to(mut self, database: &str) -> (Self, &'static str) {
        let began = Instant::now();
        // Releases of Maven have no `pg_dump`, and an older one refuses them.
        let dump = (Release::wanted() == Release::Newest).then(|| dump(&stranger(&self.url)));
        let raise = format!("SELECT raise_epoch('{LOG}')");
        self.runtime.block_on(run(&self.url, &[&raise]));
        for process in self.processes.drain(..) {
            process.kill().iter().for_each(|said| self.ledger.note(said));
        }
        self.end_of_readers.send_replace(0);
        let mut seen: Vec<Tail> = join(self.runtime, self.readers);
        self.runtime.block_on(self.strangers.shutdown());
        drop(self.store);
        let since = if dump.is_some() { began } else { Instant::now() };
        let url = url_of(self.server, database);
        self.runtime.block_on(async {
            match &dump {
                Some(dump) => {
                    run(self.server.url(), &[&format!("CREATE DATABASE {database}")]).await;
                    restore(dump, &stranger(&url));
                }
                None => copy_database(self.server, "torture", database).await,
            }
            run(&url, &[&raise]).await;
        });
        let log = self.runtime.block_on(async { read_everything(&*open(&url).await).await });

        let before = self.ledger.heard.iter().filter(|(_, at)| **at < since);
        let before: HashSet<u64> = before.map(|(position, _)| *position).collect();
        let mut acknowledged = self.ledger.acknowledged;
        acknowledged.retain(|_, position| before.contains(position));
        assert_eq!(Findings::of(&log, &acknowledged), Findings::default());
        let head = log.len() as u64;
        let mut ledger = Ledger::of(&log);
        ledger.heard = self.ledger.heard;
        ledger.heard.retain(|position, _| *position <= head);
        (ledger.resent, ledger.failures) = (self.ledger.resent, self.ledger.failures);
        for tail in &mut seen {
            tail.seen.retain(|seen| seen.position.0 <= head);
        }
        let mut moved = Self::begin(self.server, self.runtime, database, ledger, seen);
        moved.ended.fetch_add(self.ended.load(Ordering::Relaxed), Ordering::Relaxed);
        moved.down = self.down;
        moved.down.push((began, Instant::now()));
        (moved, if dump.is_some() { "pg_dump" } else { "copy" })
    }

    /// Asks once more for what was on its way, and counts.
    fn end(mut self, what: &str) {
        for process in self.processes.drain(..) {
            process.kill().iter().for_each(|said| self.ledger.note(said));
        }
        let Self { runtime, store, mut ledger, .. } = self;
        let log = runtime.block_on(async {
            for writer in 0..WRITERS {
                let name = (writer, ledger.next_of(writer));
                let answer = append(&*store, name.0, name.1, &mut 0).await;
                ledger.resent += u64::from(answer.repeated);
                ledger.acknowledged.insert(name, answer.position.0);
            }
            self.strangers.shutdown().await;
            read_everything(&*store).await
        });
        self.end_of_readers.send_replace(log.len() as u64);
        let tails = join(runtime, self.readers);
        let mut found = Findings::of(&log, &ledger.acknowledged);
        tails.iter().for_each(|tail| found.compare(&tail.seen, &log));
        let wait = longest_stall(&tails, &ledger.heard, &self.down);
        self.down.iter_mut().for_each(|(_, to)| *to += RECONNECT);
        let stall = longest_stall(&tails, &ledger.heard, &self.down);
        let verification = runtime.block_on(async {
            let projections = projections(&self.url, store.clone()).await;
            projections.start();
            let head = GlobalPosition(log.len() as u64);
            projections.wait_for(PROJECTION, head, PATIENCE).await.unwrap().unwrap();
            projections.stop().await;
            projections.verify(PROJECTION).await.unwrap()
        });
        println!(
            "torture store=postgres {what} sessions_ended={} processes={PROCESSES} \
             writers={WRITERS} readers={READERS} acknowledged={} \
             stored_unacknowledged_and_resent={} stretches_without_answers={} reads_refused={} \
             longest_stall_ms={} with_reconnects_ms={} rows_projected={} \
             rows_unlike_a_fresh_fold={} {found}",
            self.ended.load(Ordering::Relaxed),
            ledger.acknowledged.len(),
            ledger.resent,
            ledger.failures,
            tails.iter().map(|tail| tail.failures).sum::<u64>(),
            stall.as_millis(),
            wait.as_millis(),
            verification.rows,
            verification.differences,
        );
        let answered = ledger.acknowledged.len();
        assert_eq!(log.len(), answered, "all that is stored was asked for and answered");
        assert_eq!(found, Findings::default());
        assert_eq!(verification.through.0, log.len() as u64);
        assert!(verification.rows > 0);
        assert!(verification.shown.is_empty(), "{:?}", verification.shown);
        assert!(stall <= LONGEST_STALL, "a reader did not see an event for {stall:?}");
        assert_eq!(runtime.block_on(store.check_integrity()).unwrap(), [""; 0]);
    }
}

/// Half of the processes also keep the projection current, the same one.
fn start_process(url: &str, process: u64, ledger: &Ledger) -> Process {
    let each = WRITERS / PROCESSES;
    let writers = process * each..(process + 1) * each;
    match process % 2 {
        0 => start_projecting(url, writers, ledger),
        _ => start_writing(url, writers, ledger),
    }
}

/// The same database for somebody who is not ours.
fn stranger(url: &str) -> String {
    url.replace("=torture", "=stranger")
}

fn join(runtime: &Runtime, readers: Vec<JoinHandle<Tail>>) -> Vec<Tail> {
    let tails = runtime.block_on(async { tokio::time::timeout(PATIENCE, join_all(readers)).await });
    tails.expect("a reader starves").into_iter().map(Result::unwrap).collect()
}

/// The longest time from an acknowledgement to a reader's sight of it, without the times when
/// nobody could read.
fn longest_stall(
    tails: &[Tail],
    heard: &HashMap<u64, Instant>,
    down: &[(Instant, Instant)],
) -> Duration {
    let mut longest = Duration::ZERO;
    for seen in tails.iter().flat_map(|tail| &tail.seen) {
        let Some(heard) = heard.get(&seen.position.0) else { continue };
        let stall = seen.at.saturating_duration_since(*heard);
        if stall > longest {
            // Crashes that follow each other closely overlap.
            let (mut excused, mut counted) = (Duration::ZERO, *heard);
            for (from, to) in down {
                let to = (*to).min(seen.at);
                excused += to.saturating_duration_since((*from).max(counted));
                counted = counted.max(to);
            }
            longest = longest.max(stall.saturating_sub(excused));
        }
    }
    longest
}

/// A transaction that writes and takes its time, one after the other.
async fn slow_transactions(url: String) {
    loop {
        let _: Result<(), sqlx::Error> = async {
            let mut session = PgConnection::connect(&url).await?;
            for statement in [
                "CREATE TABLE IF NOT EXISTS noise (n bigint)",
                "BEGIN",
                "INSERT INTO noise VALUES (1)",
                "SELECT pg_sleep(1.5)",
                "COMMIT",
            ] {
                sqlx::query(statement).execute(&mut session).await?;
            }
            Ok(())
        }
        .await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// A transaction with a number and an old snapshot that does nothing for 10 s, one after the other.
async fn idle_in_transaction(url: String) {
    loop {
        let _: Result<(), sqlx::Error> = async {
            let mut session = PgConnection::connect(&url).await?;
            let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
            sqlx::query(begin).execute(&mut session).await?;
            for _ in 0..10 {
                // Notices when the server is gone.
                sqlx::query("SELECT pg_current_xact_id()").execute(&mut session).await?;
                sleep(Duration::from_secs(1)).await;
            }
            Ok(())
        }
        .await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// Ends a session of ours every 100 ms, whatever it is doing.
async fn end_sessions(url: String, ended: Arc<AtomicU64>) {
    let end = "SELECT count(pg_terminate_backend(pid)) FROM (
        SELECT pid FROM pg_stat_activity
        WHERE application_name = 'torture' AND datname = current_database()
        ORDER BY random() LIMIT 1) AS unlucky";
    loop {
        let _: Result<(), sqlx::Error> = async {
            let mut operator = PgConnection::connect(&url).await?;
            loop {
                sleep(Duration::from_millis(100)).await;
                let one: i64 = sqlx::query_scalar(end).fetch_one(&mut operator).await?;
                ended.fetch_add(one as u64, Ordering::Relaxed);
            }
        }
        .await;
        sleep(Duration::from_millis(20)).await;
    }
}

/// A backup of a database, as PostgreSQL makes it while others write.
fn dump(url: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let pg_dump = Tool { names: &["pg_dump"], package: "postgresql-client" };
    let mut dump = Command::new(pg_dump.find().expect("pg_dump comes with PostgreSQL"));
    dump.arg("--file").arg(file.path()).arg(url);
    assert!(dump.status().unwrap().success());
    file
}

fn restore(dump: &tempfile::NamedTempFile, url: &str) {
    let psql = Tool { names: &["psql"], package: "postgresql-client" };
    let mut restore = Command::new(psql.find().expect("psql comes with PostgreSQL"));
    restore.args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--file"]);
    restore.arg(dump.path()).arg(url).stdout(Stdio::null());
    assert!(restore.status().unwrap().success());
}

/// Copies a database while nobody uses it; whoever does is put out.
pub(crate) async fn copy_database(server: &Postgres, from: &str, to: &str) {
    let mut operator = PgConnection::connect(server.url()).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    let copy = format!("CREATE DATABASE {to} TEMPLATE {from}");
    for _ in 0..20 {
        sqlx::query(end).bind(from).execute(&mut operator).await.unwrap();
        if sqlx::raw_sql(&copy).execute(&mut operator).await.is_ok() {
            return;
        }
    }
    panic!("{from} is never without sessions");
}

#[test]
#[ignore = "needs PostgreSQL on this machine"]
fn processes_that_append_at_once_share_the_head() {
    const CALLERS: u64 = 64;
    let seconds = Duration::from_secs(setting("FREEHOLD_TORTURE_SECONDS", 1));
    let server = Postgres::start(&Options { fsync: true, ..Options::default() }).unwrap();
    let runtime = Runtime::new().unwrap();
    for number in [1, 2, 4] {
        let name = format!("processes_{number}");
        runtime.block_on(run(server.url(), &[&format!("CREATE DATABASE {name}")]));
        let url = url_of(&server, &name);
        let mut ledger = Ledger::default();
        let processes: Vec<_> = (0..number)
            .map(|process| {
                let callers = (process..CALLERS).step_by(number as usize);
                // Writers of a stream of their own.
                start_writing(&url, callers.map(|caller| caller * 4), &ledger)
            })
            .collect();
        for process in &processes {
            ledger.note(&process.next(Duration::from_secs(30)).unwrap());
        }
        let from = Instant::now();
        std::thread::sleep(seconds);
        let to = Instant::now();
        for process in processes {
            process.kill().iter().for_each(|said| ledger.note(said));
        }
        let appends = ledger.heard.values().filter(|at| (from..to).contains(*at)).count();
        println!(
            "contention store=postgres processes={number} callers={CALLERS} \
             appends_per_second={:.0}",
            appends as f64 / (to - from).as_secs_f64()
        );
        let log = runtime.block_on(async { read_everything(&*open(&url).await).await });
        assert_eq!(Findings::of(&log, &ledger.acknowledged), Findings::default());
    }
}

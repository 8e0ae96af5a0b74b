//! A process that stood still while the log went on, and one whose log became another: the first
//! goes on, the second writes no more until it is restarted.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use freehold_servers::{Options, Postgres};
use tokio::runtime::Runtime;

use crate::events::{Dice, Findings, LOG, Ledger, read_everything};
use crate::postgres::{copy_database, open, run, start_writing, url_of};
use crate::process::Process;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs PostgreSQL on this machine"]
fn a_process_that_was_paused_goes_on_and_nothing_is_lost_or_doubled() {
    let runtime = Runtime::new().unwrap();
    let scratch = runtime.block_on(Scratch::make());
    let (url, mut ledger, mut dice) = (scratch.url(), Ledger::default(), Dice::new(3));
    let paused = start_writing(&url, 0..4, &ledger);
    let other = start_writing(&url, 4..8, &ledger);
    for process in [&paused, &other] {
        ledger.note(&stored(process));
    }
    for _ in 0..6 {
        paused.signal("STOP");
        std::thread::sleep(Duration::from_millis(200 + dice.below(1_000)));
        paused.signal("CONT");
        paused.said().for_each(|said| ledger.note(&said));
        let since = Instant::now();
        ledger.note(&stored(&paused));
        assert!(since.elapsed() < Duration::from_secs(6));
        std::thread::sleep(Duration::from_millis(100));
    }
    for process in [paused, other] {
        process.kill().iter().for_each(|said| ledger.note(said));
    }
    assert_sound(&runtime, &url, &ledger);
}

#[test]
#[ignore = "needs PostgreSQL on this machine"]
fn a_process_that_was_paused_while_the_epoch_was_raised_writes_no_more() {
    let runtime = Runtime::new().unwrap();
    let scratch = runtime.block_on(Scratch::make());
    let (url, mut ledger) = (scratch.url(), Ledger::default());
    let paused = start_writing(&url, 0..4, &ledger);
    ledger.note(&stored(&paused));
    paused.signal("STOP");
    runtime.block_on(run(&url, &[&format!("SELECT raise_epoch('{LOG}')")]));
    let other = start_writing(&url, 4..8, &ledger);
    ledger.note(&stored(&other));

    paused.signal("CONT");

    // What was stored before may be said now.
    refused(&paused, &mut ledger);
    assert!(paused.kill().iter().all(|said| said.text.starts_with("failed ")));
    ledger.note(&stored(&other));
    let restarted = start_writing(&url, 0..4, &ledger);
    ledger.note(&stored(&restarted));
    for process in [restarted, other] {
        process.kill().iter().for_each(|said| ledger.note(said));
    }
    assert_sound(&runtime, &url, &ledger);
}

#[test]
#[ignore = "needs PostgreSQL on this machine"]
fn a_process_under_which_an_older_backup_was_restored_writes_no_more() {
    let runtime = Runtime::new().unwrap();
    let scratch = runtime.block_on(Scratch::make());
    let (url, name, mut ledger) = (scratch.url(), &scratch.name, Ledger::default());
    let process = start_writing(&url, 0..4, &ledger);
    ledger.note(&stored(&process));
    process.kill().iter().for_each(|said| ledger.note(said));
    let backup = format!("{name}_backup");
    runtime.block_on(copy_database(&scratch.server, name, &backup));
    let log = runtime.block_on(async { read_everything(&*open(&url).await).await });
    let mut ledger = Ledger::of(&log);
    let process = start_writing(&url, 0..4, &ledger);
    // More than the one that a writer had under way when it was killed.
    for _ in 0..20 {
        ledger.note(&stored(&process));
    }

    let drop = format!("DROP DATABASE {name} WITH (FORCE)");
    let restore = format!("CREATE DATABASE {name} TEMPLATE {backup}");
    runtime.block_on(run(
        scratch.server.url(),
        &[&drop, &restore, &format!("DROP DATABASE {backup}")],
    ));

    refused(&process, &mut ledger);
    assert!(process.kill().iter().all(|said| said.text.starts_with("failed ")));
    let after = runtime.block_on(async { read_everything(&*open(&url).await).await });
    assert_eq!(after, log, "it wrote to another history");
    let mut ledger = Ledger::of(&log);
    let restarted = start_writing(&url, 0..4, &ledger);
    ledger.note(&stored(&restarted));
    restarted.kill().iter().for_each(|said| ledger.note(said));
    assert_sound(&runtime, &url, &ledger);
}

/// The next event that a process stored.
fn stored(process: &Process) -> crate::process::Said {
    loop {
        let said = process.next(PATIENCE).expect("it says something");
        if said.text.starts_with("stored ") {
            return said;
        }
    }
}

/// Waits until all writers of a process heard that it must be restarted.
fn refused(process: &Process, ledger: &mut Ledger) {
    let mut refused = 0;
    while refused < 4 {
        let said = process.next(PATIENCE).expect("it says something");
        ledger.note(&said);
        refused += u32::from(said.text.ends_with("restart this process"));
    }
}

fn assert_sound(runtime: &Runtime, url: &str, ledger: &Ledger) {
    runtime.block_on(async {
        let store = open(url).await;
        let log = read_everything(&*store).await;
        assert_eq!(Findings::of(&log, &ledger.acknowledged), Findings::default());
        assert_eq!(store.check_integrity().await.unwrap(), [""; 0]);
    });
}

/// A database of a test's own, dropped with its value.
pub(crate) struct Scratch {
    server: Postgres,
    name: String,
}

impl Scratch {
    pub(crate) async fn make() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("scratch_{}_{number}", std::process::id());
        let server = Postgres::given_or_start(&Options::default()).unwrap();
        run(server.url(), &[&format!("CREATE DATABASE {name}")]).await;
        Self { server, name }
    }

    pub(crate) fn url(&self) -> String {
        url_of(&self.server, &self.name)
    }

    /// Where the server listens.
    pub(crate) fn address(&self) -> &str {
        self.server.url().split(['@', '/']).nth(3).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let (server, name) = (self.server.url().to_owned(), self.name.clone());
        // On a thread of its own: tests are async, and dropping is not.
        let thread = std::thread::spawn(move || {
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            Runtime::new().unwrap().block_on(run(&server, &[&drop]));
        });
        if thread.join().is_err() && !std::thread::panicking() {
            panic!("the database was not dropped");
        }
    }
}

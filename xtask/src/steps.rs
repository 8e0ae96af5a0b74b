//! Formatting, lints and the tests of the workspace.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, ensure};
use freehold_servers::{BOOTSTRAP, Kafka, Options, PINNED, Postgres, Release, URL};
use serde_json::Value;

use crate::cargo;
use crate::tally::Tally;

/// The folders of the crates whose tests run on either store.
const ON_STORES: [&str; 3] = ["commands", "projections", "api"];
/// Those of the crates with tests that need PostgreSQL itself.
const ON_POSTGRES: [&str; 2] = ["adapters/postgres", "tests"];
/// What says so to them (`tests/stores`).
const STORE: &str = "TEST_STORE";
/// The folder of the crate with tests that wait for most of a minute and do nothing meanwhile.
const WITH_WAITING: [&str; 1] = ["tests"];
/// The modules that hold them: they run beside all others.
const WAITING: &str = "waiting::";

/// Formatting and lints; each counts as one.
pub(crate) fn check(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    for (name, arguments) in [
        ("cargo fmt", &["fmt", "--all", "--check"][..]),
        ("cargo clippy", &["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]),
    ] {
        println!("== {name}");
        let status = cargo(root).args(arguments).status().context("cargo cannot be started")?;
        if status.success() {
            tally.pass(1);
        } else {
            tally.fail(name);
        }
    }
    Ok(())
}

/// Every test of the workspace; those marked ignored too, unless `quick`, those of what stands on
/// stores also on PostgreSQL, and those that need PostgreSQL also on the pinned release.
pub(crate) fn workspace_tests(root: &Path, quick: bool, tally: &mut Tally) -> anyhow::Result<()> {
    if quick {
        println!("== cargo test");
        let mut test = cargo(root);
        test.args(["test", "--workspace", "--no-fail-fast"]);
        let ignored = run_tests(&mut test, tally)?.ignored;
        tally.skip(ignored, "tests marked ignored, and all that run on PostgreSQL too (--quick)");
        return Ok(());
    }
    let newest = Postgres::given_or_start(&Options::default());
    let newest = newest.context("no PostgreSQL for tests")?;
    let release = Release::Maven(PINNED.to_owned());
    let pinned = Postgres::start(&Options { release: release.clone(), ..Options::default() });
    let pinned = pinned.with_context(|| format!("no PostgreSQL {PINNED} for tests"))?;
    let kafka = Kafka::given_or_start().context("no Kafka for tests")?;
    let programs = programs(root)?;
    let on_stores = commands(&programs, root, &ON_STORES)?;
    let on_postgres = commands(&programs, root, &ON_POSTGRES)?;
    let mut waiting = Vec::new();
    for (release, server) in [(&Release::wanted(), &newest), (&release, &pinned)] {
        let mut started = Vec::new();
        for mut test in commands(&programs, root, &WITH_WAITING)? {
            release.tell(test.args(["--include-ignored", WAITING]).env(URL, server.url()));
            started.push(start(&mut test)?);
        }
        waiting.push(started);
    }

    println!("== cargo test");
    let mut test = cargo(root);
    test.args(["test", "--workspace", "--no-fail-fast", "--", "--include-ignored"]);
    test.args(["--skip", WAITING]).env(URL, newest.url()).env(BOOTSTRAP, kafka.bootstrap());
    let left = run_tests(&mut test, tally)?.filtered;
    drop(kafka);

    println!("== tests of {}, with the stores on PostgreSQL", ON_STORES.join(", "));
    let mut again = Tally::default();
    for mut test in on_stores {
        // Those marked ignored need no store, or a server of their own.
        test.args(["--skip", "embedded::"]);
        run_tests(test.env(STORE, "postgres").env(URL, newest.url()), &mut again)?;
    }
    tally.add("with the stores on PostgreSQL", again);

    println!("== tests that need PostgreSQL, on {PINNED}");
    for mut test in on_postgres {
        release.tell(test.args(["--ignored", "--skip", WAITING]));
        run_tests(test.env(URL, pinned.url()), tally)?;
    }

    println!("== tests that waited beside the others");
    for started in waiting {
        finish_waiting(started, left, tally)?;
    }
    Ok(())
}

/// Ends the tests that waited: they must be all that the others left out.
fn finish_waiting(started: Vec<Started>, left: u64, tally: &mut Tally) -> anyhow::Result<()> {
    let mut ran = 0;
    for test in started {
        ran += finish(test, tally)?.ran;
    }
    if ran != left {
        tally.fail(format!(
            "of {left} tests in modules {WAITING} {ran} ran: those of {} alone are started",
            WITH_WAITING.join(", ")
        ));
    }
    Ok(())
}

/// A test program as cargo built it.
struct Program {
    file: PathBuf,
    /// The folder of its crate.
    folder: PathBuf,
}

/// Builds the test programs of the workspace, for all of it at once: for some crates alone cargo
/// would choose other features of what they depend on, and build that once more.
fn programs(root: &Path) -> anyhow::Result<Vec<Program>> {
    let mut built = cargo(root);
    built.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    let built = built.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    let mut programs = Vec::new();
    for line in String::from_utf8(built.stdout)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        if let (Some(file), Some(manifest), Some(true)) = (
            message["executable"].as_str(),
            message["manifest_path"].as_str(),
            message["profile"]["test"].as_bool(),
        ) {
            let folder = Path::new(manifest).parent().context("a manifest lies in a folder")?;
            programs.push(Program { file: file.into(), folder: folder.to_owned() });
        }
    }
    Ok(programs)
}

/// The programs of the crates in some folders, each started as cargo does.
///
/// - Errors: a folder without any, as one that was renamed; its tests would be missed by nobody.
fn commands(programs: &[Program], root: &Path, folders: &[&str]) -> anyhow::Result<Vec<Command>> {
    let mut commands = Vec::new();
    for folder in folders.iter().map(|name| root.join(name)) {
        let before = commands.len();
        let inside = programs.iter().filter(|program| program.folder == folder);
        commands.extend(inside.map(|program| {
            let mut command = Command::new(&program.file);
            command.current_dir(&program.folder);
            command
        }));
        ensure!(commands.len() > before, "there are no test programs in {}", folder.display());
    }
    Ok(commands)
}

/// Runs tests and counts their results.
fn run_tests(test: &mut Command, tally: &mut Tally) -> anyhow::Result<Counts> {
    finish(start(test)?, tally)
}

/// How many tests ran, and how many did not.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    ran: u64,
    /// Marked so, and not asked for.
    ignored: u64,
    /// Left out by name.
    filtered: u64,
}

/// Tests that run; they end with this value.
struct Started {
    program: String,
    process: Child,
}

impl Drop for Started {
    fn drop(&mut self) {
        // They have ended by themselves unless something failed here.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(test: &mut Command) -> anyhow::Result<Started> {
    let program = test.get_program().display().to_string();
    let process = test.stdout(Stdio::piped()).spawn();
    let process = process.with_context(|| format!("{program} cannot be started"))?;
    Ok(Started { program, process })
}

/// Prints what tests say until they end, and counts their results.
fn finish(mut test: Started, tally: &mut Tally) -> anyhow::Result<Counts> {
    println!("-- {}", test.program);
    let output = test.process.stdout.take().context("the tests have no output")?;
    let (mut finished, mut failed, mut counts) = (0, false, Counts::default());
    for line in BufReader::new(output).lines() {
        let line = line.context("the tests' output broke off")?;
        println!("{line}");
        if let Some(result) = line.strip_prefix("test result: ") {
            finished += 1;
            let passed = count(result, "passed")?;
            tally.pass(passed);
            counts.ran += passed + count(result, "failed")?;
            counts.ignored += count(result, "ignored")?;
            counts.filtered += count(result, "filtered out")?;
        } else if let Some(name) = failed_test(&line) {
            failed = true;
            tally.fail(name);
        }
    }
    let status = test.process.wait().context("the tests did not end")?;
    // A test binary that dies prints no result line; a workspace that does not build, none at all.
    if !status.success() && (finished == 0 || !failed) {
        tally.fail(format!("{}: it did not build, or a test binary died", test.program));
    }
    Ok(counts)
}

/// The name in `test name ... FAILED`.
fn failed_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// The number before a word of `ok. 3 passed; 0 failed; 1 ignored; ...`.
fn count(counts: &str, word: &str) -> anyhow::Result<u64> {
    counts
        .split([';', '.'])
        .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
        .with_context(|| format!("the tests' result line has no count of {word}: {counts}"))
}

#[cfg(test)]
mod tests {
    use std::process::ExitCode;

    use super::*;

    /// A program that answers as one of tests does.
    fn says(result: &str) -> Command {
        let mut command = Command::new("echo");
        command.arg(format!("test result: {result}; finished in 0.00s"));
        command
    }

    #[test]
    fn counts_come_out_of_the_result_line() {
        let line = "FAILED. 13 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished";
        assert_eq!(count(line, "passed").unwrap(), 13);
        assert_eq!(count(line, "ignored").unwrap(), 1);
        assert!(count("something else", "passed").is_err());
        assert_eq!(failed_test("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
        let counts = run_tests(&mut says(line), &mut Tally::default()).unwrap();
        assert_eq!(counts, Counts { ran: 15, ignored: 1, filtered: 4 });
    }

    #[test]
    fn a_folder_without_tests_is_told_of() {
        let of = |folder: &str| Program { file: "tests".into(), folder: folder.into() };
        let programs = [of("/here/api"), of("/here/api"), of("/here/tests")];
        let found = |folders: &[&str]| commands(&programs, Path::new("/here"), folders);
        assert_eq!(found(&["api", "tests"]).unwrap().len(), 3);
        let error = found(&["api", "renamed"]).unwrap_err().to_string();
        assert!(error.contains("/here/renamed"), "{error}");
    }

    #[test]
    fn tests_that_were_left_to_those_that_wait_and_not_run_there_are_a_failure() {
        for (left, ends) in [(2, ExitCode::SUCCESS), (3, ExitCode::FAILURE), (0, ExitCode::FAILURE)]
        {
            let mut tally = Tally::default();
            let result = "ok. 2 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out";
            let started = vec![start(&mut says(result)).unwrap()];
            finish_waiting(started, left, &mut tally).unwrap();
            assert_eq!(tally.finish(), ends, "{left}");
        }
    }

    #[test]
    fn tests_that_nobody_waits_for_end() {
        let started = start(Command::new("sleep").arg("600")).unwrap();
        let id = started.process.id().to_string();
        let runs = || Command::new("kill").args(["-0", &id]).status().unwrap().success();
        assert!(runs());
        drop(started);
        assert!(!runs());
    }
}

//! Formatting, lints and the tests of the workspace.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use freehold_servers::{Options, PINNED, Postgres, Release, URL};
use serde_json::Value;

use crate::cargo;
use crate::tally::Tally;

/// The folders of the crates whose tests run on either store.
const ON_STORES: [&str; 3] = ["commands", "projections", "api"];
/// What says so to them (`tests/stores`).
const STORE: &str = "TEST_STORE";

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
    println!("== cargo test");
    let mut test = cargo(root);
    test.args(["test", "--workspace", "--no-fail-fast"]);
    if quick {
        let ignored = run_tests(&mut test, tally)?;
        tally.skip(ignored, "tests marked ignored, and all that run on PostgreSQL too (--quick)");
        return Ok(());
    }
    test.args(["--", "--include-ignored"]);
    let newest = Postgres::given_or_start(&Options::default());
    let newest = newest.context("no PostgreSQL for tests")?;
    run_tests(test.env(URL, newest.url()), tally)?;
    let mut again = Tally::default();
    tests_on_postgres(root, &newest, &mut again)?;
    tally.add("with the stores on PostgreSQL", again);
    drop(newest);

    println!("== tests that need PostgreSQL, on {PINNED}");
    let release = Release::Maven(PINNED.to_owned());
    let pinned = Postgres::start(&Options { release: release.clone(), ..Options::default() });
    let pinned = pinned.with_context(|| format!("no PostgreSQL {PINNED} for tests"))?;
    let mut test = cargo(root);
    test.args(["test", "-p", "freehold-postgres", "-p", "freehold-tests", "--no-fail-fast"]);
    release.tell(test.args(["--", "--ignored"]));
    run_tests(test.env(URL, pinned.url()), tally)?;
    Ok(())
}

/// Runs the tests of [`ON_STORES`] with their stores on PostgreSQL. They are the programs that
/// cargo has built for the workspace: for these crates alone it would build others.
fn tests_on_postgres(root: &Path, server: &Postgres, tally: &mut Tally) -> anyhow::Result<()> {
    println!("== tests of {}, with the stores on PostgreSQL", ON_STORES.join(", "));
    let mut built = cargo(root);
    built.args(["test", "--workspace", "--no-run", "--message-format=json"]);
    let built = built.stderr(Stdio::inherit()).output().context("cargo cannot be started")?;
    for line in String::from_utf8(built.stdout)?.lines() {
        let message: Value = serde_json::from_str(line)?;
        let (Some(program), Some(manifest), Some(true)) = (
            message["executable"].as_str(),
            message["manifest_path"].as_str(),
            message["profile"]["test"].as_bool(),
        ) else {
            continue;
        };
        let folder = Path::new(manifest).parent().context("a manifest lies in a folder")?;
        if !ON_STORES.iter().any(|name| folder == root.join(name)) {
            continue;
        }
        println!("-- {program}");
        let mut test = Command::new(program);
        // As cargo starts it. Those marked ignored need no store, or a server of their own.
        test.current_dir(folder).args(["--skip", "embedded::"]);
        run_tests(test.env(STORE, "postgres").env(URL, server.url()), tally)?;
    }
    Ok(())
}

/// Runs tests, counts their results, and answers how many are marked ignored.
fn run_tests(test: &mut Command, tally: &mut Tally) -> anyhow::Result<u64> {
    let mut test = test.stdout(Stdio::piped()).spawn().context("cargo cannot be started")?;
    let output = test.stdout.take().context("the tests have no output")?;
    let (mut finished, mut failed, mut ignored) = (0, false, 0);
    for line in BufReader::new(output).lines() {
        let line = line.context("the tests' output broke off")?;
        println!("{line}");
        if let Some(counts) = line.strip_prefix("test result: ") {
            finished += 1;
            tally.pass(count(counts, "passed")?);
            ignored += count(counts, "ignored")?;
        } else if let Some(name) = failed_test(&line) {
            failed = true;
            tally.fail(name);
        }
    }
    let status = test.wait().context("the tests did not end")?;
    // A test binary that dies prints no result line; a workspace that does not build, none at all.
    if !status.success() && (finished == 0 || !failed) {
        tally.fail("cargo test: it did not build, or a test binary died");
    }
    Ok(ignored)
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
    use super::{count, failed_test};

    #[test]
    fn counts_come_out_of_the_result_line() {
        let line = "FAILED. 13 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished";
        assert_eq!(count(line, "passed").unwrap(), 13);
        assert_eq!(count(line, "ignored").unwrap(), 1);
        assert!(count("something else", "passed").is_err());
        assert_eq!(failed_test("test a::b ... FAILED"), Some("a::b"));
        assert_eq!(failed_test("test a::b ... ok"), None);
    }
}

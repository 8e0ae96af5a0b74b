//! What passed, failed and was skipped.

use std::process::ExitCode;

/// Counts results over every step.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: Vec<String>,
    skipped: u64,
    /// What some of the results are of.
    parts: Vec<String>,
}

impl Tally {
    pub(crate) fn pass(&mut self, number: u64) {
        self.passed += number;
    }

    pub(crate) fn fail(&mut self, name: impl Into<String>) {
        self.failed.push(name.into());
    }

    /// Counts what did not run, and says so.
    pub(crate) fn skip(&mut self, number: u64, what: &str) {
        if number > 0 {
            println!("skipped {number}: {what}");
        }
        self.skipped += number;
    }

    /// Adds what passed and failed in one part, and says so apart from the sum.
    pub(crate) fn add(&mut self, part: &str, results: Self) {
        let (passed, failed) = (results.passed, results.failed.len());
        self.parts.push(format!("{part}: {passed} passed, {failed} failed"));
        self.passed += passed;
        self.failed.extend(results.failed.into_iter().map(|name| format!("{name} ({part})")));
    }

    /// Prints the sum as the last line.
    pub(crate) fn finish(self) -> ExitCode {
        for name in &self.failed {
            println!("failed: {name}");
        }
        for part in &self.parts {
            println!("{part}");
        }
        let failed = self.failed.len();
        println!("{} passed, {failed} failed, {} skipped", self.passed, self.skipped);
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

//! Processes that a test kills: this test binary, running one of its tests alone.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// A line that a process said.
pub(crate) struct Said {
    pub(crate) text: String,
    /// When it was heard.
    pub(crate) at: Instant,
}

/// A process, killed with its value.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<Said>,
}

impl Process {
    /// Starts a test that is marked ignored, with what it finds in its environment.
    pub(crate) fn start(test: &str, environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--ignored", "--nocapture", "--quiet"])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // A line that was cut off by a kill has no end, and was not said.
            for line in stdout.split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8(line).unwrap();
                if let Some(said) = text.strip_prefix("said ")
                    && let Some(said) = said.strip_suffix(" .")
                    && sender.send(Said { text: said.to_owned(), at: Instant::now() }).is_err()
                {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// The next line, if it comes in time.
    pub(crate) fn next(&self, patience: Duration) -> Option<Said> {
        self.lines.recv_timeout(patience).ok()
    }

    /// What it said that nobody listened to yet.
    pub(crate) fn said(&self) -> impl Iterator<Item = Said> + '_ {
        self.lines.try_iter()
    }

    /// Kills it with SIGKILL: nothing is flushed, closed or said. What it managed to say before is
    /// in the pipe.
    pub(crate) fn kill(mut self) -> Vec<Said> {
        assert!(
            self.child.try_wait().unwrap().is_none(),
            "it ended by itself; its words are above"
        );
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }

    /// Stops it as if its machine stood still, or lets it go on: `STOP`, `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says a line in one write, so that lines of several threads do not mix.
pub(crate) fn say(what: &str) {
    let line = format!("said {what} .\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

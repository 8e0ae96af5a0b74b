//! The real server, started for clients and stopped by its own id.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// A server of this workspace with a folder of its own.
pub(crate) struct Server {
    child: Child,
    folder: PathBuf,
    /// Where it answers.
    pub(crate) url: String,
}

impl Server {
    /// Starts `program` on a free port of loopback, filled with the demo's data, which takes a
    /// moment, and publishes it to Kafka at `brokers`; data and log are in `folder`.
    pub(crate) fn start(program: &Path, folder: &Path, brokers: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let log = folder.join("server.log");
        let mut child = Command::new(program)
            .args(["demo", "--listen", "127.0.0.1:0", "--store", "sqlite:data"])
            .env("KAFKA_BOOTSTRAP_SERVERS", brokers)
            .current_dir(folder)
            .stdout(Stdio::piped())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("{} cannot be started", program.display()))?;
        let output = child.stdout.take().context("the server has no output")?;
        let mut first = String::new();
        BufReader::new(output).read_line(&mut first)?;
        let url = first.trim().strip_prefix("listening on ").map(str::to_owned);
        let mut server = Self { child, folder: folder.to_owned(), url: url.unwrap_or_default() };
        if server.url.is_empty() {
            server.stop()?;
            bail!("the server did not start; its log: {}", log.display());
        }
        Ok(server)
    }

    /// Asks it to stop, and checks that it ends well.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.child.id().to_string()).status()?;
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                bail!("the server ended with {status}; its log: {}", self.log().display());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!("the server did not stop within 20 s; its log: {}", self.log().display())
    }

    /// Where its log is.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It may end between the two; either way it is gone.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

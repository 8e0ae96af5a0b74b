//! A private PostgreSQL server for tests, stopped and deleted with its value.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::steps::succeed;
use crate::tools;

/// What tests look at, and what a server given by whoever starts them is named by.
pub(crate) const URL: &str = "TEST_POSTGRES_URL";

/// A server with a folder of its own.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    /// Where it answers.
    pub(crate) url: String,
}

impl Postgres {
    /// Starts the newest PostgreSQL of this machine on a free port of loopback.
    pub(crate) fn start() -> anyhow::Result<Self> {
        tools::require(&[&tools::POSTGRES])?;
        let initdb = tools::POSTGRES.find().context("initdb was there just now")?;
        let programs = initdb.parent().context("a program lies in a folder")?.to_owned();
        // Not below the workspace: the server refuses to be root, and others may not look there.
        let folder = std::env::temp_dir().join(format!("freehold-postgres-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        if tools::is_root() {
            succeed(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("postgres://freehold@127.0.0.1:{port}/postgres");
        let server = Self { programs, folder, url };
        let initdb = ["-A", "trust", "-U", "freehold", "--no-locale", "-E", "UTF8", "--no-sync"];
        succeed(server.command("initdb").args(initdb).stdout(Stdio::null()))?;
        // What these tests end is processes, never the machine: no need to wait for the disk.
        let options = format!(
            "-p {port} -k '' -c listen_addresses=127.0.0.1 -c max_connections=400 -c fsync=off"
        );
        let log = server.folder.join("log");
        let mut start = server.command("pg_ctl");
        start.args(["-w", "-o", &options, "-l"]).arg(&log).arg("start").stdout(Stdio::null());
        succeed(&mut start).with_context(|| format!("its log: {}", log.display()))?;
        Ok(server)
    }

    /// A program on the server's files, as somebody who is not root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if tools::is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.folder.join("data")).current_dir(&self.folder);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["-w", "-m", "fast", "stop"]).stdout(Stdio::null()).stderr(Stdio::null());
        // It may have failed to start, then there is nothing to stop.
        let _ = stop.status();
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} was not deleted: {error}", self.folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::Postgres;

    #[test]
    #[ignore = "needs PostgreSQL on this machine"]
    fn a_server_answers_until_it_is_dropped_and_leaves_nothing() {
        let server = Postgres::start().unwrap();
        let folder = server.folder.clone();
        let address = server.url.split(['@', '/']).nth(3).unwrap().to_owned();
        TcpStream::connect(&address).unwrap();

        drop(server);

        assert!(TcpStream::connect(&address).is_err());
        assert!(!folder.exists());
    }
}

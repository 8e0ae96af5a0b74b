//! A private PostgreSQL server, stopped and deleted with its value.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::tools::{Tool, cache, end_of, is_root, require, succeed};

/// What tests look at, and what a server given by whoever starts them is named by.
pub const URL: &str = "TEST_POSTGRES_URL";
/// Names the release that a private server has.
const RELEASE: &str = "TEST_POSTGRES_RELEASE";
/// The release of Maven that everything is also tested on.
pub const PINNED: &str = "18.1.0";

const INITDB: Tool = Tool { names: &["initdb"], package: "postgresql" };
const OPENSSL: Tool = Tool { names: &["openssl"], package: "openssl" };
const MAVEN: Tool = Tool { names: &["mvn"], package: "maven" };
const XZ: Tool = Tool { names: &["xz"], package: "xz-utils" };
/// Unpacks an artifact without a project.
const UNPACK: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:unpack";

/// How long the processes of a killed server may keep the next one waiting.
const GONE_WITHIN: Duration = Duration::from_secs(60);

/// Which PostgreSQL.
#[derive(Clone, Debug, PartialEq)]
pub enum Release {
    /// The newest of this machine.
    Newest,
    /// One of Maven, `18.1.0`.
    Maven(String),
}

impl Release {
    /// The one that `TEST_POSTGRES_RELEASE` names, or the newest of this machine.
    pub fn wanted() -> Self {
        std::env::var(RELEASE).map_or(Self::Newest, Self::Maven)
    }

    /// Sets `TEST_POSTGRES_RELEASE` for a process that asks for the [`wanted`](Self::wanted) one.
    pub fn tell(&self, command: &mut Command) {
        match self {
            Self::Newest => command.env_remove(RELEASE),
            Self::Maven(release) => command.env(RELEASE, release),
        };
    }
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which PostgreSQL it is.
    pub release: Release,
    /// Whether it waits for the disk: on where durability or speed is judged.
    pub fsync: bool,
    /// Whether it takes connections by TLS and no others, with a certificate of its own
    /// [authority](Postgres::authority).
    pub tls: bool,
    /// Further settings, as name and value: `("max_connections", "50")`.
    pub settings: Vec<(&'static str, String)>,
}

impl Default for Options {
    /// What tests need that end processes, never the machine.
    fn default() -> Self {
        Self { release: Release::wanted(), fsync: false, tls: false, settings: Vec::new() }
    }
}

/// A server that answers on loopback.
pub struct Postgres {
    url: String,
    /// What there is to stop, unless somebody else started it.
    private: Option<Private>,
}

struct Private {
    folder: PathBuf,
    programs: PathBuf,
}

impl Postgres {
    /// The server that `TEST_POSTGRES_URL` names, or one that is [started](Self::start).
    pub fn given_or_start(options: &Options) -> anyhow::Result<Self> {
        match std::env::var(URL) {
            Ok(url) => Ok(Self { url, private: None }),
            Err(_) => Self::start(options),
        }
    }

    /// Starts an empty server on a free port.
    pub fn start(options: &Options) -> anyhow::Result<Self> {
        // Not below the workspace: the server refuses to be root, and others may not look there.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("freehold-postgres-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let archive = match &options.release {
            Release::Newest => None,
            Release::Maven(release) => Some(fetched(release)?),
        };
        std::fs::create_dir(&folder).with_context(|| format!("{} is new", folder.display()))?;
        let programs = match archive {
            Some(archive) => unpack(&archive, &folder.join("release"))?,
            None => {
                require(&[&INITDB])?;
                let initdb = INITDB.find().context("initdb was there just now")?;
                initdb.parent().context("a program lies in a folder")?.to_owned()
            }
        };
        if is_root() {
            succeed(Command::new("chown").arg(other_user()).arg(&folder))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("postgres://freehold@127.0.0.1:{port}/postgres");
        let private = Private { folder, programs };
        let initdb = ["-A", "trust", "-U", "freehold", "--no-locale", "-E", "UTF8", "--no-sync"];
        succeed(private.command("initdb").args(initdb).stdout(Stdio::null()))?;
        private.configure(port, options)?;
        if options.tls {
            private.demand_tls()?;
        }
        // From here on it is stopped when anything fails.
        let server = Self { url, private: Some(private) };
        server.private()?.pg_ctl_start()?;
        Ok(server)
    }

    /// Where it answers: `postgres://freehold@127.0.0.1:<port>/postgres`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The file of whom to trust for a server of [`Options::tls`].
    pub fn authority(&self) -> anyhow::Result<PathBuf> {
        Ok(self.private()?.folder.join("authority.crt"))
    }

    /// Starts a copy that follows this server and answers what only reads; this one is stopped
    /// for the moment of the copy.
    pub fn replica(&self) -> anyhow::Result<Self> {
        let private = self.private()?;
        let (folder, programs) = (private.folder.with_extension("replica"), &private.programs);
        std::fs::create_dir(&folder).with_context(|| format!("{} is new", folder.display()))?;
        let replica = Private { folder, programs: programs.clone() };
        let mut stop = private.command("pg_ctl");
        succeed(stop.args(["-w", "-m", "fast", "stop"]).stdout(Stdio::null()))?;
        let data = private.folder.join("data");
        let copied = succeed(Command::new("cp").arg("-a").arg(data).arg(&replica.folder));
        private.pg_ctl_start()?;
        copied?;
        if is_root() {
            succeed(Command::new("chown").arg(other_user()).arg(&replica.folder))?;
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = format!("port = {port}\nprimary_conninfo = '{}'\n", self.url);
        replica.add_settings(&settings)?;
        std::fs::write(replica.folder.join("data/standby.signal"), "")?;
        let url = format!("postgres://freehold@127.0.0.1:{port}/postgres");
        let replica = Self { url, private: Some(replica) };
        replica.private()?.pg_ctl_start()?;
        Ok(replica)
    }

    /// Kills the postmaster with SIGKILL; its children find out and die by themselves.
    pub fn kill9(&self) -> anyhow::Result<()> {
        let pid = self.private()?.postmaster()?;
        succeed(Command::new("kill").args(["-9", &pid]))
    }

    /// Starts it after it was killed, as soon as nothing of it is left; it recovers and answers.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let private = self.private()?;
        let killed = Instant::now();
        loop {
            match private.pg_ctl_start() {
                // Children of the killed one may still be in the shared memory.
                Err(_) if killed.elapsed() < GONE_WITHIN => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                started => return started,
            }
        }
    }

    /// Lets it run when this process ends; `note` says where it is to [`kept`](Self::kept).
    pub fn keep(self, note: &Path) -> anyhow::Result<()> {
        let private = self.private()?;
        let (folder, programs) = (private.folder.display(), private.programs.display());
        std::fs::write(note, format!("{}\n{folder}\n{programs}\n", self.url))?;
        // Dropping it would stop it.
        std::mem::forget(self);
        Ok(())
    }

    /// The server that was [left running](Self::keep), if there is one and it answers.
    pub fn kept(note: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(note).ok()?;
        let mut lines = text.lines();
        let url = lines.next()?.to_owned();
        let (folder, programs) = (lines.next()?.into(), lines.next()?.into());
        let address = url.split(['@', '/']).nth(3)?;
        TcpStream::connect(address).ok()?;
        Some(Self { url, private: Some(Private { folder, programs }) })
    }

    fn private(&self) -> anyhow::Result<&Private> {
        self.private.as_ref().with_context(|| format!("{URL} names a server that is not ours"))
    }
}

impl Private {
    /// A program on the server's files, as somebody who is not root.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = if is_root() {
            let mut command = Command::new("runuser");
            command.args(["-u", other_user(), "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.arg("-D").arg(self.folder.join("data")).current_dir(&self.folder);
        command
    }

    fn configure(&self, port: u16, options: &Options) -> anyhow::Result<()> {
        let mut text = format!(
            "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
             max_connections = 400\nfsync = {}\n",
            if options.fsync { "on" } else { "off" }
        );
        for (name, value) in &options.settings {
            text += &format!("{name} = '{}'\n", value.replace('\'', "''"));
        }
        self.add_settings(&text)
    }

    /// Of a setting that is there twice the later one counts.
    fn add_settings(&self, text: &str) -> anyhow::Result<()> {
        let file = self.folder.join("data/postgresql.auto.conf");
        let open = std::fs::OpenOptions::new().append(true).open(&file);
        let written = open.and_then(|mut file| file.write_all(text.as_bytes()));
        written.with_context(|| format!("{} is writable", file.display()))
    }

    /// Makes an authority and a certificate of the server for 127.0.0.1, good for two days.
    fn demand_tls(&self) -> anyhow::Result<()> {
        require(&[&OPENSSL])?;
        let request = |name: &str, more: &[&str]| {
            let mut request = Command::new("openssl");
            request.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]);
            request.args(["-subj", &format!("/CN=Freehold tests, {name}")]);
            request.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.crt")]);
            succeed(request.args(more).current_dir(&self.folder).stderr(Stdio::null()))
        };
        request("authority", &[])?;
        request(
            "server",
            &[
                "-CA",
                "authority.crt",
                "-CAkey",
                "authority.key",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ],
        )?;
        let mut key = Command::new("chmod");
        succeed(key.args(["600", "server.key"]).current_dir(&self.folder))?;
        if is_root() {
            let mut owner = Command::new("chown");
            succeed(owner.args([other_user(), "server.key"]).current_dir(&self.folder))?;
        }
        let file = |name: &str| self.folder.join(name).display().to_string();
        self.add_settings(&format!(
            "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
            file("server.crt"),
            file("server.key")
        ))?;
        let rules = self.folder.join("data/pg_hba.conf");
        Ok(std::fs::write(rules, "hostssl all all 127.0.0.1/32 trust\n")?)
    }

    fn pg_ctl_start(&self) -> anyhow::Result<()> {
        let log = self.folder.join("log");
        let mut start = self.command("pg_ctl");
        start.args(["-w", "-t", "60", "-l"]).arg(&log).arg("start");
        let output = start.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("{start:?} cannot be started"))?;
        if !output.status.success() {
            let last = end_of(&log);
            bail!("PostgreSQL did not start; the end of its log {}:\n{last}", log.display());
        }
        Ok(())
    }

    fn postmaster(&self) -> anyhow::Result<String> {
        let file = self.folder.join("data/postmaster.pid");
        let text = std::fs::read_to_string(&file).context("the server does not run")?;
        Ok(text.lines().next().context("postmaster.pid is empty")?.to_owned())
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["-w", "-m", "immediate", "stop"]);
        // It may have failed to start or been killed, then there is nothing to stop.
        let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status();
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} was not deleted: {error}", self.folder.display());
        }
    }
}

/// Whom a server runs as that is started by root.
fn other_user() -> &'static str {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match users.lines().any(|line| line.starts_with("postgres:")) {
        true => "postgres",
        false => "nobody",
    }
}

/// The archive of a release of Maven, fetched unless it was before.
fn fetched(release: &str) -> anyhow::Result<PathBuf> {
    let system = match std::env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let processor = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64v8",
        other => other,
    };
    let name = format!("embedded-postgres-binaries-{system}-{processor}");
    let cache = cache()?;
    let folder = cache.join(format!("postgres-{release}"));
    // Threads take turns; of two processes the later one's copy is thrown away.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _fetching = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    if !folder.is_dir() {
        require(&[&MAVEN, &XZ])?;
        println!("fetching PostgreSQL {release} with Maven into {}", folder.display());
        std::fs::create_dir_all(&cache)?;
        // Whole or not at all.
        let fresh = cache.join(format!("postgres-{release}.{}", std::process::id()));
        let artifact = format!("-Dartifact=io.zonky.test.postgres:{name}:{release}");
        let output = format!("-DoutputDirectory={}", fresh.display());
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--quiet", "-Dstyle.color=never", UNPACK, &artifact, &output]);
        succeed(maven.current_dir(&cache))?;
        if std::fs::rename(&fresh, &folder).is_err() {
            std::fs::remove_dir_all(&fresh)?;
        }
    }
    let files = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path());
    let archive = files.into_iter().find(|file| file.extension().is_some_and(|end| end == "txz"));
    archive.with_context(|| format!("no archive in {}; delete it", folder.display()))
}

/// Unpacks a release where the server's user can read it; says where its programs are.
fn unpack(archive: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir(folder)?;
    succeed(Command::new("tar").arg("-xJf").arg(archive).arg("-C").arg(folder))?;
    Ok(folder.join("bin"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::net::TcpStream;

    use super::{Options, Postgres};

    fn address(server: &Postgres) -> String {
        server.url.split(['@', '/']).nth(3).unwrap().to_owned()
    }

    #[test]
    #[ignore = "needs PostgreSQL on this machine"]
    fn a_server_answers_until_it_is_dropped_and_leaves_nothing() {
        let server = Postgres::start(&Options::default()).unwrap();
        let folder = server.private().unwrap().folder.clone();
        let address = address(&server);
        TcpStream::connect(&address).unwrap();

        drop(server);

        assert!(TcpStream::connect(&address).is_err());
        assert!(!folder.exists());
    }

    #[test]
    #[ignore = "needs PostgreSQL on this machine"]
    fn a_killed_server_is_gone_until_it_is_started_again() {
        let server = Postgres::start(&Options::default()).unwrap();
        for _ in 0..2 {
            server.kill9().unwrap();
            while TcpStream::connect(address(&server)).is_ok() {}

            server.start_again().unwrap();

            TcpStream::connect(address(&server)).unwrap();
        }
    }

    #[test]
    #[ignore = "needs PostgreSQL on this machine"]
    fn a_server_that_is_kept_is_found_until_it_is_dropped() {
        let server = Postgres::start(&Options::default()).unwrap();
        let folder = server.private().unwrap().folder.clone();
        let (url, note) = (server.url.clone(), folder.join("note"));
        server.keep(&note).unwrap();

        let found = Postgres::kept(&note).unwrap();

        assert_eq!(found.url(), url);
        drop(found);
        assert!(!folder.exists());
        assert!(Postgres::kept(&note).is_none());
    }

    #[test]
    fn a_server_of_somebody_else_is_not_killed() {
        let given = Postgres { url: "postgres://somewhere".to_owned(), private: None };
        assert!(given.kill9().is_err());
        assert!(given.start_again().is_err());
    }
}

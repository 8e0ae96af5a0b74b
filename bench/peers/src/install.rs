//! What the drivers need, by package name, pinned, in a folder that is kept between runs.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::plan::{Driver, Peer, Store};

const EMMETT: &str = include_str!("../drivers/emmett.mjs");
const PACKAGES: &str = include_str!("../drivers/package.json");
const PACKAGES_LOCK: &str = include_str!("../drivers/package-lock.json");
const PYTHON: &str = include_str!("../drivers/python_eventsourcing.py");
const REQUIREMENTS: &str = include_str!("../drivers/requirements.txt");

/// Folders of the drivers, or why they could not be made.
pub(crate) struct Installed {
    node: Result<PathBuf, String>,
    python: Result<PathBuf, String>,
}

impl Installed {
    /// Installs what these peers need.
    pub(crate) fn into(folder: &Path, peers: &[&Peer]) -> Self {
        let when = |needed: bool,
                    install: fn(&Path) -> anyhow::Result<PathBuf>,
                    name: &str|
         -> anyhow::Result<PathBuf> {
            ensure!(needed, "no peer needs {name}");
            install(&folder.join(name))
        };
        let needs_node =
            |peer: &&Peer| matches!(peer.driver, Driver::Node(_)) || peer.store == Store::MessageDb;
        let needs_python =
            |peer: &&Peer| matches!(peer.driver, Driver::Python(_)) || peer.store == Store::UmaDb;
        let say = |error: anyhow::Error| format!("{error:#}");
        Self {
            node: when(peers.iter().any(needs_node), node, "node").map_err(say),
            python: when(peers.iter().any(needs_python), python, "python").map_err(say),
        }
    }

    /// The command that starts a peer's driver, or why there is none.
    pub(crate) fn driver(&self, peer: &Peer) -> anyhow::Result<Command> {
        match peer.driver {
            Driver::Own(name) => {
                ensure!(
                    name != "umadb" || cfg!(feature = "umadb"),
                    "built without `--features umadb`, which needs `protoc`"
                );
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["drive", name]);
                Ok(command)
            }
            Driver::Node(script) => {
                let mut command = Command::new("node");
                command.arg(given(&self.node)?.join(script)).env("NODE_ENV", "production");
                Ok(command)
            }
            Driver::Python(script) => {
                let folder = given(&self.python)?;
                let mut command = Command::new(folder.join("bin/python"));
                command.arg(folder.join(script));
                Ok(command)
            }
        }
    }

    /// Whether the store of a peer can be made, apart from PostgreSQL itself.
    pub(crate) fn store(&self, store: Store) -> anyhow::Result<()> {
        match store {
            Store::Postgres => Ok(()),
            Store::MessageDb => given(&self.node).map(|_| ()),
            Store::UmaDb => given(&self.python).map(|_| ()),
        }
    }

    /// Installs Message DB into a database by its own script, which calls `psql`.
    pub(crate) fn message_db(&self, url: &str, database: &str) -> anyhow::Result<()> {
        let script = "node_modules/@eventide/message-db/database/install.sh";
        let options: sqlx::postgres::PgConnectOptions = url.parse()?;
        let output = Command::new("bash")
            .arg(given(&self.node)?.join(script))
            .env("DATABASE_NAME", database)
            .env("CREATE_DATABASE", "off")
            .env("PGHOST", options.get_host())
            .env("PGPORT", options.get_port().to_string())
            .env("PGUSER", options.get_username())
            .output()
            .context("bash cannot be started")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Message DB's install.sh: {}", said.trim());
        Ok(())
    }

    /// Starts a UmaDB server on an empty folder.
    pub(crate) fn umadb(&self, folder: PathBuf) -> anyhow::Result<UmaDb> {
        let program = given(&self.python)?.join("bin/umadb");
        std::fs::create_dir_all(&folder)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let process = Command::new(program)
            .args(["--listen", &address, "--db-path"])
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("umadb cannot be started")?;
        let server = UmaDb { process, folder, url: format!("http://{address}") };
        let started = Instant::now();
        while std::net::TcpStream::connect(&address).is_err() {
            ensure!(started.elapsed() < Duration::from_secs(20), "umadb does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

/// A UmaDB server, ended with its value, and its folder deleted.
pub(crate) struct UmaDb {
    process: Child,
    folder: PathBuf,
    pub(crate) url: String,
}

impl Drop for UmaDb {
    fn drop(&mut self) {
        // Both fail only if it ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} was not deleted: {error}", self.folder.display());
        }
    }
}

fn given(folder: &Result<PathBuf, String>) -> anyhow::Result<&PathBuf> {
    folder.as_ref().map_err(|reason| anyhow::anyhow!("{reason}"))
}

fn node(folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("emmett.mjs"), EMMETT)?;
    std::fs::write(folder.join("package.json"), PACKAGES)?;
    std::fs::write(folder.join("package-lock.json"), PACKAGES_LOCK)?;
    once(folder, PACKAGES_LOCK, || {
        succeed(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(folder))
    })
}

fn python(folder: &Path) -> anyhow::Result<PathBuf> {
    once(folder, REQUIREMENTS, || {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        std::fs::write(folder.join("requirements.txt"), REQUIREMENTS)?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"]);
        succeed(pip.current_dir(folder))
    })?;
    std::fs::write(folder.join("python_eventsourcing.py"), PYTHON)?;
    Ok(folder.to_owned())
}

/// Installs what is pinned unless exactly that was installed before.
fn once(
    folder: &Path,
    pinned: &str,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<PathBuf> {
    let mark = folder.join("installed");
    if std::fs::read_to_string(&mark).is_ok_and(|before| before == pinned) {
        return Ok(folder.to_owned());
    }
    eprintln!("installing what drivers need into {}", folder.display());
    install()?;
    std::fs::write(mark, pinned)?;
    Ok(folder.to_owned())
}

fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("{program} cannot be started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        bail!("{program} failed: {}", said.lines().last().unwrap_or_default());
    }
    Ok(())
}

//! Clients of other makers against the real server: `tests/clients`.
//!
//! Their versions are pinned in `package-lock.json` and `requirements.txt` there; what is
//! downloaded stays in `target/services/cache` until one of the two changes.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use freehold_servers::{Kafka, succeed};

use crate::server::Server;
use crate::tally::Tally;
use crate::{cargo, tools};

/// Scripts of Node, in the order they run.
const NODE_SCRIPTS: [&str; 4] = ["audit.mjs", "socket.mjs", "events.mjs", "graphiql.mjs"];
/// Scripts of Python, in the order they run; after the second one there is data that nobody meant,
/// which the last one reads from Kafka.
const PYTHON_SCRIPTS: [&str; 3] = ["client.py", "fuzz.py", "kafka.py"];
/// How many scripts there are.
pub(crate) const COUNT: u64 = (NODE_SCRIPTS.len() + PYTHON_SCRIPTS.len()) as u64;

/// Runs every client check.
pub(crate) fn run(root: &Path, tally: &mut Tally) -> anyhow::Result<()> {
    println!("== clients against the real server");
    tools::require(&[&tools::NODE, &tools::NPM, &tools::PYTHON, &tools::CHROMIUM])?;
    let target = build(root)?;
    let services = target.join("services");
    let sources = root.join("tests/clients");
    let scripts = node_scripts(&sources, &services.join("cache/node"))?;
    let python = python(&sources, &services.join("cache/python"))?;

    let folder = services.join(format!("clients-{}", std::process::id()));
    let kafka = Kafka::start()?;
    let mut server = Server::start(&target.join("debug/freehold"), &folder, kafka.bootstrap())?;
    println!("the server is at {}, its log is {}", server.url, server.log().display());
    let mut sound = true;
    for name in NODE_SCRIPTS {
        let mut node = Command::new("node");
        node.arg(scripts.join(name)).arg(&server.url).arg(&folder);
        if let Some(chromium) = tools::CHROMIUM.find() {
            node.env("CHROMIUM", chromium);
        }
        sound &= script(&mut node, name, tally)?;
    }
    for name in PYTHON_SCRIPTS {
        let mut client = Command::new(&python);
        client.arg(sources.join(name)).args([&server.url, kafka.bootstrap()]);
        client.current_dir(&folder);
        sound &= script(&mut client, name, tally)?;
    }
    match server.stop() {
        Ok(()) => tally.pass(1),
        Err(error) => {
            sound = false;
            tally.fail(format!("{error:#}"));
        }
    }
    if sound {
        std::fs::remove_dir_all(&folder)?;
    } else {
        println!("log and pictures are kept in {}", folder.display());
    }
    Ok(())
}

/// Builds the server and says where the target folder is.
fn build(root: &Path) -> anyhow::Result<PathBuf> {
    succeed(cargo(root).args(["build", "--package", "freehold"]))?;
    let metadata = cargo(root).args(["metadata", "--no-deps", "--format-version=1"]).output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout)?;
    let target = metadata["target_directory"].as_str().context("cargo names no target folder")?;
    Ok(target.into())
}

/// Copies the scripts beside their packages, which Node looks for there.
fn node_scripts(sources: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    for entry in std::fs::read_dir(sources)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != "package-lock.json" && entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), folder.join(name))?;
        }
    }
    install_once(&sources.join("package-lock.json"), folder, || {
        std::fs::copy(sources.join("package-lock.json"), folder.join("package-lock.json"))?;
        let mut npm = Command::new("npm");
        succeed(npm.args(["ci", "--no-audit", "--no-fund"]).current_dir(folder))
    })?;
    Ok(folder.to_owned())
}

/// A Python with the packages of the clients.
fn python(sources: &Path, folder: &Path) -> anyhow::Result<PathBuf> {
    let requirements = sources.join("requirements.txt");
    let python = folder.join("bin/python");
    install_once(&requirements, folder, || {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        let mut pip = Command::new(&python);
        succeed(pip.args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(&requirements))
    })?;
    Ok(python)
}

/// Installs unless the pinned versions are the ones that were installed last.
fn install_once(
    pins: &Path,
    folder: &Path,
    install: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let wanted = std::fs::read(pins)?;
    let stamp = folder.join("installed");
    if std::fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("fetching what {} pins into {}", pins.display(), folder.display());
    install()?;
    Ok(std::fs::write(stamp, wanted)?)
}

/// Runs a script that prints `ok name` or `not ok name: why` lines; true if all are well.
fn script(command: &mut Command, name: &str, tally: &mut Tally) -> anyhow::Result<bool> {
    let mut running = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} cannot be started"))?;
    let output = running.stdout.take().context("the script has no output")?;
    let (mut passed, mut failed) = (0, 0);
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(what) = line.strip_prefix("not ok ") {
            failed += 1;
            tally.fail(what);
        } else if line.starts_with("ok ") {
            passed += 1;
        }
    }
    let status = running.wait()?;
    tally.pass(passed);
    if failed == 0 && (passed == 0 || !status.success()) {
        failed += 1;
        tally.fail(format!("{name} ended with {status} after {passed} checks"));
    }
    Ok(failed == 0)
}

//! Programs that tests need: found, installed on Debian as root, or named with the command that
//! installs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

/// A program and the Debian package that has it.
pub struct Tool {
    /// Names it may have; the first that exists is used.
    pub names: &'static [&'static str],
    /// The Debian package.
    pub package: &'static str,
}

impl Tool {
    /// Where it is, if it is there.
    pub fn find(&self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(beside_the_path()).collect();
        self.names.iter().find_map(|name| {
            folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file())
        })
    }
}

/// Where Debian puts what serves a PostgreSQL, the newest first.
fn beside_the_path() -> Vec<PathBuf> {
    let releases = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut releases: Vec<_> = releases
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .collect();
    releases.sort_unstable();
    releases.into_iter().rev().map(|(_, folder)| folder.join("bin")).collect()
}

/// Makes sure that tools are there.
pub fn require(tools: &[&Tool]) -> anyhow::Result<()> {
    let missing = || {
        let missing = tools.iter().filter(|tool| tool.find().is_none());
        missing.map(|tool| tool.package).collect::<Vec<_>>()
    };
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    let install = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if !Path::new("/etc/debian_version").exists() || !is_root() {
        bail!("{} missing; install with: sudo {install}", packages.join(" and "));
    }
    println!("installing {}: {install}", packages.join(", "));
    succeed(Command::new("apt-get").args(["update", "--quiet"]))?;
    succeed(
        Command::new("apt-get")
            .args(["install", "--yes", "--quiet", "--no-install-recommends"])
            .args(&packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )?;
    match missing().as_slice() {
        [] => Ok(()),
        still => bail!("{} still missing after {install}", still.join(" and ")),
    }
}

/// Whether this runs as root.
pub fn is_root() -> bool {
    let id = Command::new("id").arg("--user").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Runs a command that must succeed.
pub fn succeed(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// What is fetched stays here, beside what the clients of `cargo xtask test` fetch.
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let root = root.context("tests/servers lies two folders below the workspace")?;
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(root.join(target).join("services/cache"))
}

/// The last lines of a server's log.
pub(crate) fn end_of(log: &Path) -> String {
    let said = std::fs::read_to_string(log).unwrap_or_default();
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("\n")
}

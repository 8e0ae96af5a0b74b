//! Programs that tests and clients need: found, installed on Debian as root, or named with the command
//! that installs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::bail;

use crate::steps::succeed;

/// A program and the Debian package that has it.
pub(crate) struct Tool {
    /// Names it may have; the first that exists is used.
    names: &'static [&'static str],
    package: &'static str,
}

pub(crate) const NODE: Tool = Tool { names: &["node"], package: "nodejs" };
pub(crate) const NPM: Tool = Tool { names: &["npm"], package: "npm" };
pub(crate) const PYTHON: Tool = Tool { names: &["python3"], package: "python3-venv" };
pub(crate) const CHROMIUM: Tool =
    Tool { names: &["chromium", "chromium-browser", "google-chrome"], package: "chromium" };

pub(crate) const POSTGRES: Tool = Tool { names: &["initdb"], package: "postgresql" };

impl Tool {
    /// Where it is, if it is there.
    pub(crate) fn find(&self) -> Option<PathBuf> {
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
pub(crate) fn require(tools: &[&Tool]) -> anyhow::Result<()> {
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
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("--user").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

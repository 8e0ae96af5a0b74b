//! What Cargo cannot enforce: which crate may know which, and how the repository is laid out.

#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Folders, and the folders whose crates theirs may depend on. Tests may depend on more.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("domain/ports", &["domain"]),
    ("commands", &["domain", "domain/ports"]),
    ("projections", &["domain", "domain/ports"]),
    ("sagas", &["domain", "domain/ports"]),
    ("adapters", &["domain", "domain/ports"]),
    ("api", &["domain", "domain/ports", "commands", "projections", "sagas", "adapters"]),
    ("tests/contract", &["domain", "domain/ports"]),
    ("tests/servers", &[]),
    ("tests/stores", &["domain/ports", "adapters"]),
    ("xtask", &["tests/servers"]),
];

/// Folders whose crates nothing depends on, so it does not matter what they use.
const LEAVES: &[&str] = &["tests", "bench"];

struct Package {
    folder: PathBuf,
    dependencies: Vec<Dependency>,
}

struct Dependency {
    name: String,
    /// The folder of a crate of ours.
    folder: Option<PathBuf>,
}

#[test]
fn arrows_point_towards_the_domain() {
    let mut forbidden = Vec::new();
    for package in packages() {
        let place = place(&package.folder);
        let Some((_, allowed)) = MAY_USE.iter().find(|(folder, _)| *folder == place) else {
            assert!(LEAVES.contains(&place.as_str()), "{place} is in no table; add it to one");
            continue;
        };
        for used in package.dependencies.iter().filter_map(|one| one.folder.as_deref()) {
            if !allowed.contains(&self::place(used).as_str()) {
                let (from, to) = (package.folder.display(), used.display());
                forbidden.push(format!("{from} must not depend on {to}"));
            }
        }
    }
    assert!(forbidden.is_empty(), "{}", forbidden.join("\n"));
}

#[test]
fn domain_uses_value_crates_only() {
    let packages = packages();
    let domain = packages.iter().find(|package| package.folder == Path::new("domain")).unwrap();
    let mut names: Vec<&str> = domain.dependencies.iter().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["chrono", "cqrs-es", "serde", "thiserror", "uuid"]);
}

#[test]
fn every_top_folder_says_what_lives_in_it() {
    let silent: Vec<String> = top_folders()
        .into_iter()
        .filter(|folder| !root().join(folder).join("README.md").is_file())
        .collect();
    assert!(silent.is_empty(), "without README.md: {}", silent.join(", "));
}

#[test]
fn the_root_holds_only_the_agreed_folders() {
    let agreed = [
        "adapters",
        "api",
        "bench",
        "commands",
        "deploy",
        "domain",
        "migrations",
        "projections",
        "sagas",
        "tests",
        "xtask",
    ];
    for folder in top_folders() {
        assert!(agreed.contains(&folder.as_str()), "{folder} is not an agreed folder");
    }
}

#[test]
fn no_type_has_a_name_that_says_nothing_and_no_work_is_left_for_later() {
    let mut found = Vec::new();
    for file in tracked_files() {
        let kind = Path::new(&file).extension().and_then(|end| end.to_str()).unwrap_or_default();
        if !["rs", "sql", "toml", "mjs", "py"].contains(&kind) {
            continue;
        }
        let text = std::fs::read_to_string(root().join(&file)).unwrap();
        for (number, line) in text.lines().enumerate() {
            if says_nothing(line) || line.contains(concat!("TO", "DO")) {
                found.push(format!("{file}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether a line declares a type called Manager, Helper, Util or Data.
fn says_nothing(line: &str) -> bool {
    let mut words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let declares = words.any(|word| ["struct", "enum", "trait", "type"].contains(&word));
    let name = words.next().unwrap_or_default();
    declares && ["Manager", "Helper", "Util", "Utils", "Data"].iter().any(|end| name.ends_with(end))
}

#[test]
fn empty_names_are_noticed() {
    assert!(says_nothing(&format!("pub struct Stream{} {{", "Manager")));
    assert!(says_nothing(&format!("type {} = u8;", "Data")));
    assert!(!says_nothing("pub struct Database { data: Data }"));
}

/// The folder of the table that a crate belongs to.
fn place(folder: &Path) -> String {
    if folder.starts_with("adapters") {
        return "adapters".to_owned();
    }
    folder.to_str().unwrap().replace('\\', "/")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The crates of the workspace with what they depend on outside of tests.
fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let within = |path: &str| Path::new(path).strip_prefix(root()).ok().map(Path::to_owned);
    let list = |value: &Value| value.as_array().unwrap().clone();
    list(&metadata["packages"])
        .iter()
        .map(|package| Package {
            folder: within(package["manifest_path"].as_str().unwrap())
                .and_then(|manifest| Some(manifest.parent()?.to_owned()))
                .unwrap(),
            dependencies: list(&package["dependencies"])
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| Dependency {
                    name: dependency["name"].as_str().unwrap().to_owned(),
                    folder: dependency["path"].as_str().and_then(within),
                })
                .collect(),
        })
        .collect()
}

/// What the repository holds; what a build or a run leaves behind is not in it.
fn tracked_files() -> Vec<String> {
    let output = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "this test needs a git checkout");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn top_folders() -> Vec<String> {
    let mut folders: Vec<String> = tracked_files()
        .iter()
        .filter_map(|file| file.split_once('/'))
        .map(|(folder, _)| folder.to_owned())
        .filter(|folder| !folder.starts_with('.'))
        .collect();
    folders.dedup();
    folders
}

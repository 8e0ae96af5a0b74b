//! Runs drivers, round by round and peer by peer, each on a store of its own.
//!
//! What was measured is kept in a file, one line a run, so that a run that was cut goes on where it
//! stopped.

use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};

use crate::drive::{Measured, Workload};
use crate::history::History;
use crate::install::Installed;
use crate::plan::{PEERS, Peer, Plan, Store, name_of};

/// The database that Message DB is installed in once, and copied for each run.
const TEMPLATE: &str = "freehold_peers_message_db";
/// The database of a run.
const DATABASE: &str = "freehold_peers";

/// One driver's run.
#[derive(Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) peer: String,
    pub(crate) workload: Workload,
    pub(crate) callers: usize,
    pub(crate) round: u32,
    pub(crate) rows: Vec<Measured>,
    /// Why there are no rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) skipped: Option<String>,
    pub(crate) fsync_us: Fsync,
    pub(crate) commit: Option<String>,
}

/// What one fsync took around a run, in the middle.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Fsync {
    pub(crate) before: f64,
    pub(crate) after: f64,
}

/// Where runs happen.
pub(crate) struct Place {
    /// The server that all share.
    pub(crate) url: String,
    /// Installs and the history.
    pub(crate) folder: PathBuf,
    /// What was measured, and what is made of it.
    pub(crate) results: PathBuf,
}

impl Place {
    fn record(&self) -> PathBuf {
        self.results.join("runs.ndjson")
    }

    /// Begins again.
    pub(crate) fn forget(&self) -> anyhow::Result<()> {
        match std::fs::remove_file(self.record()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Reads it, unless it was measured otherwise.
    pub(crate) fn measured(&self, settings: &str) -> anyhow::Result<Vec<Run>> {
        let Ok(text) = std::fs::read_to_string(self.record()) else { return Ok(Vec::new()) };
        let Some((first, runs)) = text.split_once('\n') else { return Ok(Vec::new()) };
        if first != settings {
            return Ok(Vec::new());
        }
        runs.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Measures what is still missing; says whether anything is left.
    pub(crate) async fn measure(
        &self,
        plan: &Plan,
        wanted: impl Fn(&Peer) -> bool,
        settings: &str,
        until: Option<Instant>,
    ) -> anyhow::Result<bool> {
        std::fs::create_dir_all(&self.results)?;
        let peers: Vec<&Peer> = PEERS.iter().filter(|peer| wanted(peer)).collect();
        let installed = Installed::into(&self.folder, &peers);
        let events = self.folder.join("events.ndjson");
        History::write(&events)?;
        self.check_durable().await?;
        self.install_message_db(&installed).await?;
        let done = self.measured(settings)?;
        if done.is_empty() {
            std::fs::write(self.record(), format!("{settings}\n"))?;
        }
        let mut record = std::fs::OpenOptions::new().append(true).open(self.record())?;
        for round in 1..=plan.rounds {
            for &(workload, callers) in &plan.cells {
                for turn in 0..peers.len() {
                    // Nobody is always first, or always after the same one.
                    let peer = peers[(turn + round as usize) % peers.len()];
                    let known = done.iter().any(|run| {
                        (run.peer.as_str(), run.workload, run.callers, run.round)
                            == (peer.name, workload, callers, round)
                    });
                    if known {
                        continue;
                    }
                    if until.is_some_and(|until| Instant::now() > until) {
                        return Ok(false);
                    }
                    let run = self.one(plan, &installed, peer, workload, callers, round).await?;
                    say(&run);
                    writeln!(record, "{}", serde_json::to_string(&run)?)?;
                }
            }
        }
        Ok(true)
    }

    /// One driver on a fresh store.
    async fn one(
        &self,
        plan: &Plan,
        installed: &Installed,
        peer: &Peer,
        workload: Workload,
        callers: usize,
        round: u32,
    ) -> anyhow::Result<Run> {
        let mut run = Run {
            peer: peer.name.to_owned(),
            workload,
            callers,
            round,
            rows: Vec::new(),
            skipped: None,
            fsync_us: Fsync::default(),
            commit: commit(),
        };
        if let Some((_, why)) = peer.without.iter().find(|(without, _)| *without == workload) {
            run.skipped = Some((*why).to_owned());
            return Ok(run);
        }
        let driver = installed.store(peer.store).and_then(|()| installed.driver(peer));
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                run.skipped = Some(format!("{error:#}"));
                return Ok(run);
            }
        };
        let (mut server, url) = match peer.store {
            Store::Postgres => (None, self.fresh_database("template0").await?),
            Store::MessageDb => (None, self.fresh_database(TEMPLATE).await?),
            Store::UmaDb => {
                let server = installed.umadb(self.folder.join("umadb"))?;
                let url = server.url.clone();
                (Some(server), url)
            }
        };
        driver
            .args(["--url", &url, "--workload", &name_of(workload)])
            .args(["--callers", &callers.to_string(), "--seconds", &plan.seconds.to_string()])
            .args(["--seed", &round.to_string(), "--count", &plan.count.to_string()])
            .args(["--fill-seconds", &plan.fill_seconds.to_string(), "--events"])
            .arg(self.folder.join("events.ndjson"));
        let patience = Duration::from_secs_f64(plan.seconds * 8.0 + plan.fill_seconds + 180.0);
        run.fsync_us.before = fsync_us(&self.folder)?;
        match ended(driver, patience) {
            Ok(rows) => run.rows = rows,
            Err(error) => run.skipped = Some(format!("{error:#}")),
        }
        run.fsync_us.after = fsync_us(&self.folder)?;
        drop(server.take());
        self.admin(&format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")).await?;
        Ok(run)
    }

    async fn admin(&self, statement: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.url).await?;
        sqlx::query(statement).execute(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// An empty database, and nothing of earlier runs left to be written.
    async fn fresh_database(&self, template: &str) -> anyhow::Result<String> {
        self.admin(&format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")).await?;
        self.admin(&format!("CREATE DATABASE {DATABASE} TEMPLATE {template}")).await?;
        self.admin("CHECKPOINT").await?;
        self.database(DATABASE)
    }

    /// The address of a database of the server.
    fn database(&self, name: &str) -> anyhow::Result<String> {
        let (server, _) = self.url.rsplit_once('/').context("the address names a database")?;
        Ok(format!("{server}/{name}"))
    }

    async fn install_message_db(&self, installed: &Installed) -> anyhow::Result<()> {
        self.admin(&format!("DROP DATABASE IF EXISTS {TEMPLATE} WITH (FORCE)")).await?;
        if installed.store(Store::MessageDb).is_ok() {
            self.admin(&format!("CREATE DATABASE {TEMPLATE}")).await?;
            installed.message_db(&self.url, TEMPLATE)?;
        }
        Ok(())
    }

    /// A server that forgets what it acknowledged would be measured otherwise than the others.
    async fn check_durable(&self) -> anyhow::Result<()> {
        let settings = self.settings().await?;
        for durable in ["fsync=on", "full_page_writes=on", "synchronous_commit=on"] {
            ensure!(settings.contains(durable), "the server must have {durable}: {settings}");
        }
        Ok(())
    }

    /// The server's release and what of its settings matters.
    pub(crate) async fn settings(&self) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let settings: String = sqlx::query_scalar(
            "SELECT 'PostgreSQL ' || current_setting('server_version') || ': '
                 || string_agg(name || '=' || current_setting(name), ', ' ORDER BY name)
             FROM pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes',
                 'wal_level', 'shared_buffers', 'max_wal_size', 'max_connections', 'wal_buffers')",
        )
        .fetch_one(&mut connection)
        .await?;
        connection.close().await?;
        Ok(settings)
    }
}

/// Waits for a driver and reads its rows.
fn ended(mut driver: Command, patience: Duration) -> anyhow::Result<Vec<Measured>> {
    let mut process = driver.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let started = Instant::now();
    // What drivers print fits the pipes.
    while process.try_wait()?.is_none() {
        if started.elapsed() > patience {
            process.kill()?;
            process.wait()?;
            bail!("did not end within {} s", patience.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let output = process.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let first = said.lines().find(|line| line.contains("rror")).or(said.lines().last());
        bail!("failed: {}", first.unwrap_or_default());
    }
    let said = String::from_utf8(output.stdout)?;
    said.lines().map(|line| serde_json::from_str(line).context("no row")).collect()
}

/// The median microseconds of writing 8 KiB and waiting until they are on the disk.
fn fsync_us(folder: &Path) -> anyhow::Result<f64> {
    let file = std::fs::File::create(folder.join("fsync"))?;
    let page = [7; 8_192];
    let mut times = Vec::new();
    for n in 0..200 {
        let started = Instant::now();
        file.write_all_at(&page, n * page.len() as u64)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}

/// The commit that is measured, if this is a checkout with git at hand.
fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["rev-parse", "--short=12", "HEAD"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = git.output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn say(run: &Run) {
    let what = format!("round {}, {}, {}", run.round, name_of(run.workload), run.peer);
    if let Some(why) = &run.skipped {
        eprintln!("{what}: skipped: {why}");
    }
    for row in &run.rows {
        let lost = match (row.lost, row.doubled) {
            (Some(lost), Some(doubled)) => format!(", {lost} lost, {doubled} doubled"),
            _ => String::new(),
        };
        let Measured { row, callers, value, unit, .. } = row;
        eprintln!("{what}: {row}, {callers} callers: {value:.0} {unit}{lost}");
    }
}

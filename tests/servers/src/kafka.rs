//! A private Kafka broker (KRaft, one node), stopped and deleted with its value.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::tools::{Tool, cache, end_of, require, succeed};

/// What tests look at, and what a broker given by whoever starts them is named by.
pub const BOOTSTRAP: &str = "TEST_KAFKA_BOOTSTRAP";

/// The release is in here, and in [`CACHED`].
const POM: &str = include_str!("kafka.xml");
const CACHED: &str = "kafka-4.3.1";

const MAVEN: Tool = Tool { names: &["mvn"], package: "maven" };
const JAVA: Tool = Tool { names: &["java"], package: "default-jre-headless" };
/// Copies all that an artifact needs.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// How long a broker has to listen; after it was killed it takes some 6 s.
const LISTENS_WITHIN: Duration = Duration::from_secs(60);
/// How often a start on other ports is tried when somebody else was faster.
const STARTS: u32 = 5;

/// A broker that answers on loopback.
pub struct Kafka {
    bootstrap: String,
    /// What there is to stop, unless somebody else started it.
    private: Option<Broker>,
}

struct Broker {
    folder: PathBuf,
    libraries: PathBuf,
    /// Whether it is asked how fast it is.
    measured: bool,
    process: Mutex<Option<Child>>,
}

impl Kafka {
    /// The broker that `TEST_KAFKA_BOOTSTRAP` names, or one that is [started](Self::start).
    pub fn given_or_start() -> anyhow::Result<Self> {
        match std::env::var(BOOTSTRAP) {
            Ok(bootstrap) => Ok(Self { bootstrap, private: None }),
            Err(_) => Self::start(),
        }
    }

    /// Starts an empty broker on a free port.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_one(false)
    }

    /// The same with the JVM's own choice of compilers and collector: slower to start, then faster.
    pub fn start_to_measure() -> anyhow::Result<Self> {
        Self::start_one(true)
    }

    fn start_one(measured: bool) -> anyhow::Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        require(&[&JAVA])?;
        let libraries = fetched()?;
        for start in 1.. {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = format!("freehold-kafka-{}-{number}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir(&folder).with_context(|| format!("{} is new", folder.display()))?;
            let process = Mutex::new(None);
            // From here on it is stopped when anything fails.
            let broker = Broker { folder, libraries: libraries.clone(), measured, process };
            let [port, controller] = two_free_ports()?;
            broker.configure(port, controller)?;
            broker.format()?;
            let kafka = Self { bootstrap: format!("127.0.0.1:{port}"), private: Some(broker) };
            match kafka.start_again() {
                Err(error) if start < STARTS && error.to_string().contains("already in use") => {}
                started => return started.map(|()| kafka),
            }
        }
        unreachable!("the last start is answered")
    }

    /// Where it answers: `127.0.0.1:<port>`, the same after it was started again.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Kills it with SIGKILL.
    pub fn kill9(&self) -> anyhow::Result<()> {
        self.private()?.kill()
    }

    /// Starts it after it was killed; it recovers and listens.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let broker = self.private()?;
        broker.spawn()?;
        let started = Instant::now();
        while TcpStream::connect(&self.bootstrap).is_err() {
            let ended = broker.has_ended();
            if ended || started.elapsed() > LISTENS_WITHIN {
                let what = if ended { "ended" } else { "does not listen" };
                let log = broker.folder.join("log");
                bail!("Kafka {what}; the end of its log {}:\n{}", log.display(), end_of(&log));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// One of Kafka's own tools, which is told where the broker is:
    /// `org.apache.kafka.tools.consumer.ConsoleConsumer`.
    pub fn tool(&self, class: &str) -> anyhow::Result<Command> {
        require(&[&JAVA])?;
        let mut tool = java(&fetched()?);
        tool.args([class, "--bootstrap-server", &self.bootstrap]);
        Ok(tool)
    }

    fn private(&self) -> anyhow::Result<&Broker> {
        self.private
            .as_ref()
            .with_context(|| format!("{BOOTSTRAP} names a broker that is not ours"))
    }
}

impl Broker {
    fn configure(&self, port: u16, controller: u16) -> anyhow::Result<()> {
        let folder = self.folder.join("data");
        let folder = folder.display();
        let text = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
             controller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
             inter.broker.listener.name=PLAINTEXT\n\
             log.dirs={folder}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=4\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=4\n\
             share.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n\
             # A killed broker is let in again once its old session is over: 9 s unless said.\n\
             broker.session.timeout.ms=1500\n\
             broker.heartbeat.interval.ms=300\n\
             # How often transactions that nobody ends are looked for: 10 s unless said.\n\
             transaction.abort.timed.out.transaction.cleanup.interval.ms=1000\n"
        );
        Ok(std::fs::write(self.folder.join("server.properties"), text)?)
    }

    fn format(&self) -> anyhow::Result<()> {
        // 16 bytes in base64url: of the last letter only the upper bits count.
        let cluster = format!("freehold{:0>13}A", std::process::id());
        let mut format = java(&self.libraries);
        format.current_dir(&self.folder);
        format.args(["kafka.tools.StorageTool", "format", "-t", &cluster, "-c"]);
        succeed(format.arg("server.properties").stdout(Stdio::null()))
    }

    fn spawn(&self) -> anyhow::Result<()> {
        let log = self.folder.join("log");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
        let mut start = match self.measured {
            true => plain_java(&self.libraries),
            false => java(&self.libraries),
        };
        start.current_dir(&self.folder);
        start.args(["kafka.Kafka", "server.properties"]).stdin(Stdio::null());
        start.stdout(log.try_clone()?).stderr(log);
        let child = start.spawn().with_context(|| format!("{start:?} cannot be started"))?;
        *self.process() = Some(child);
        Ok(())
    }

    fn kill(&self) -> anyhow::Result<()> {
        let mut process = self.process();
        let mut child = process.take().context("the broker does not run")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    fn has_ended(&self) -> bool {
        let mut process = self.process();
        process.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have failed to start or been killed, then there is nothing to stop.
        let _ = self.kill();
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} was not deleted: {error}", self.folder.display());
        }
    }
}

/// Java with Kafka's classes, and with a compiler and a collector that are quick to start, since
/// tests start it often.
fn java(libraries: &Path) -> Command {
    let mut java = plain_java(libraries);
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]);
    java
}

/// Java with Kafka's classes and a small heap.
fn plain_java(libraries: &Path) -> Command {
    let mut java = Command::new("java");
    java.args(["-Xms128m", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"]);
    // Java finds the jars itself.
    java.arg(libraries.join("*"));
    java
}

/// Both are taken until both are known, so they are two.
fn two_free_ports() -> anyhow::Result<[u16; 2]> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok([one.local_addr()?.port(), other.local_addr()?.port()])
}

/// The folder of Kafka's jars, fetched unless they were before.
fn fetched() -> anyhow::Result<PathBuf> {
    let cache = cache()?;
    let folder = cache.join(CACHED);
    // Threads take turns; of two processes the later one's copy is thrown away.
    static FETCHING: Mutex<()> = Mutex::new(());
    let _fetching = FETCHING.lock().unwrap_or_else(PoisonError::into_inner);
    if !folder.is_dir() {
        require(&[&MAVEN])?;
        println!("fetching {CACHED} with Maven into {}", folder.display());
        // Whole or not at all.
        let fresh = cache.join(format!("{CACHED}.{}", std::process::id()));
        std::fs::create_dir_all(&fresh)?;
        std::fs::write(fresh.join("pom.xml"), POM)?;
        copy_jars(&fresh)?;
        if std::fs::rename(&fresh, &folder).is_err() {
            std::fs::remove_dir_all(&fresh)?;
        }
    }
    Ok(folder.join("jars"))
}

fn copy_jars(folder: &Path) -> anyhow::Result<()> {
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "-Dstyle.color=never", COPY]);
    maven.args(["-DincludeScope=runtime", "-DoutputDirectory=jars"]);
    succeed(maven.current_dir(folder))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    #[ignore = "needs Java, and Maven the first time"]
    fn a_broker_is_killed_started_again_where_it_was_and_leaves_nothing() {
        let kafka = Kafka::start().unwrap();
        let folder = kafka.private().unwrap().folder.clone();
        let bootstrap = kafka.bootstrap().to_owned();
        TcpStream::connect(&bootstrap).unwrap();
        for _ in 0..2 {
            kafka.kill9().unwrap();
            assert!(TcpStream::connect(&bootstrap).is_err());

            kafka.start_again().unwrap();

            TcpStream::connect(&bootstrap).unwrap();
        }
        drop(kafka);
        assert!(TcpStream::connect(&bootstrap).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn a_broker_of_somebody_else_is_not_killed() {
        let given = Kafka { bootstrap: "somewhere:9092".to_owned(), private: None };
        assert!(given.kill9().is_err());
        assert!(given.start_again().is_err());
    }
}

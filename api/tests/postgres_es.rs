//! An application on cqrs-es and postgres-es moves to Freehold: its table is imported by the
//! program, and its aggregates go on over the log that they were imported to.
#![allow(clippy::unwrap_used, reason = "a test fails where its expectations do")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Instant;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::PersistedEventStore;
use cqrs_es::{Aggregate, AggregateError, CqrsFramework, DomainEvent, EventStore as _};
use freehold_cqrs_es::FreeholdEventRepository;
use freehold_ports::LogName;
use freehold_sqlite::{LogOptions, SqliteEventStore};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

/// As `postgres-es` documents it, in a schema and under a name that an application chose.
const TABLE: &str = r#"
CREATE TABLE "my events"
(
    aggregate_type text                         NOT NULL,
    aggregate_id   text                         NOT NULL,
    sequence       bigint CHECK (sequence >= 0) NOT NULL,
    event_type     text                         NOT NULL,
    event_version  text                         NOT NULL,
    payload        json                         NOT NULL,
    metadata       json                         NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id, sequence)
)"#;

#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    balance: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Booking {
    Deposited { amount: i64 },
}

impl DomainEvent for Booking {
    fn event_type(&self) -> String {
        "Deposited".into()
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = i64;
    type Event = Booking;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(
        &mut self,
        amount: i64,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        sink.write(Booking::Deposited { amount }, self).await;
        Ok(())
    }

    fn apply(&mut self, Booking::Deposited { amount }: Booking) {
        self.balance += amount;
    }
}

fn freehold(store: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freehold"));
    command.args(arguments).arg("--store").arg(store).stdin(Stdio::null());
    command.env_clear().env("FREEHOLD__VAULT__MASTER_KEY", "5a".repeat(32));
    command.current_dir(std::env::temp_dir());
    command
}

fn run(store: &Path, arguments: &[&str]) -> Output {
    freehold(store, arguments).output().unwrap()
}

fn err(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn an_application_goes_on_where_it_was() {
    let server = std::env::var("TEST_POSTGRES_URL").unwrap();
    let schema = format!("application_{}", std::process::id());
    let mut operator = PgConnection::connect(&server).await.unwrap();
    let mut sql = async |sql: &str| {
        let sql = format!("SET search_path = {schema}; {sql}");
        sqlx::raw_sql(&sql).execute(&mut operator).await.unwrap();
    };
    sql(&format!("CREATE SCHEMA {schema}; {TABLE}")).await;
    sql(r#"INSERT INTO "my events"
           SELECT 'account', 'A ' || a, s, 'Deposited', '1.0',
               format('{"Deposited": {"amount": %s}}', s)::json, '{"by": "ada"}'
           FROM generate_series(1, 2000) AS a, generate_series(1, 5) AS s"#)
    .await;
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("store");
    let import = ["import", "postgres-es", &server, "--schema", &schema, "--table", "my events"];

    let began = Instant::now();
    let first = run(&store, &import);
    println!("10,000 events of 2,000 aggregates in {:?}", began.elapsed());
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    assert!(err(&first).contains("10,000 events imported, 0 there already"), "{}", err(&first));
    sql(r#"INSERT INTO "my events" VALUES
           ('account', 'A 7', 6, 'Deposited', '1.0', '{"Deposited": {"amount": 6}}', '{}')"#)
    .await;
    // A password in the arguments is there for everybody on the machine to see.
    let address = folder.path().join("address");
    std::fs::write(&address, &server).unwrap();
    let nowhere = [&import[..2], &import[3..]].concat();
    let again = freehold(&store, &nowhere)
        .env("FREEHOLD__IMPORT__POSTGRES_ES_URL_FILE", &address)
        .output()
        .unwrap();
    assert!(!err(&again).contains("warning"), "{}", err(&again));
    assert!(err(&again).contains("1 event imported, 10,000 there already"), "{}", err(&again));
    let read = run(&store, &["events", "read", "--log", "imported", "--limit", "1"]);
    assert_eq!(lines(&read)[0]["payload"]["metadata"]["by"], "ada", "{}", err(&read));
    let doctor = run(&store, &["doctor"]);
    assert_eq!(lines(&doctor)[0]["positions"]["imported"], 10_001);
    assert_eq!(lines(&doctor)[0]["sound"], true);

    let log: LogName = "imported".parse().unwrap();
    let options = LogOptions { logs: vec![log.clone()], ..LogOptions::default() };
    let events = Arc::new(SqliteEventStore::open(&store, options).unwrap());
    let repository = FreeholdEventRepository::new(events.clone(), events.clone(), log, "bank");
    let plain = || PersistedEventStore::<_, Account>::new_event_store(repository.clone());
    let accounts = CqrsFramework::new(plain(), vec![], ());
    accounts.execute("A 7", 100).await.unwrap();
    let loaded = plain().load_aggregate("A 7").await.unwrap();
    assert_eq!((loaded.current_sequence, loaded.aggregate.balance), (7, 121));
    let stale = plain().load_aggregate("A 8").await.unwrap();
    accounts.execute("A 8", 1).await.unwrap();
    let conflict = plain().commit(vec![Booking::Deposited { amount: 2 }], stale, [].into()).await;
    assert!(matches!(conflict, Err(AggregateError::AggregateConflict)), "{conflict:?}");
    events.close().await;
    drop((accounts, repository, events));

    sql(r#"UPDATE "my events" SET payload = '{"Deposited": {"amount": 9}}'
           WHERE aggregate_id = 'A 9' AND sequence = 2;
           DELETE FROM "my events" WHERE aggregate_id = 'A 10' AND sequence = 3;
           INSERT INTO "my events" SELECT aggregate_type, aggregate_id, 7, event_type,
               event_version, payload, metadata FROM "my events"
           WHERE aggregate_id = 'A 11' AND sequence = 1"#)
    .await;
    let refused = run(&store, &import);
    assert_eq!(refused.status.code(), Some(4), "{}", err(&refused));
    let mut told: Vec<_> = lines(&refused)
        .iter()
        .map(|row| format!("{} {}", row["aggregate_id"].as_str().unwrap(), row["sequence"]))
        .collect();
    told.sort();
    assert_eq!(told, ["A 10 4", "A 11 7", "A 9 2"]);
    let nowhere = run(&store, &nowhere);
    assert_eq!(nowhere.status.code(), Some(2), "{}", err(&nowhere));
    assert!(err(&nowhere).contains("FREEHOLD__IMPORT__POSTGRES_ES_URL"), "{}", err(&nowhere));
    let other = run(&store, &["import", "postgres-es", &server, "--table", "nothing"]);
    assert_eq!(other.status.code(), Some(3), "{}", err(&other));
    // The log has the rows that were deleted or changed, and those that came here.
    assert!(err(&refused).contains("warning: "), "{}", err(&refused));
    assert!(err(&refused).contains("not in the table as they are here"), "{}", err(&refused));

    // Somebody else's database is to be read, not made or owned.
    let role = format!("{schema}_guest");
    sql(&format!("CREATE ROLE {role} LOGIN")).await;
    let (_, rest) = server.rsplit_once('@').unwrap();
    let guest = format!("postgres://{role}@{rest}");
    let forbidden = run(&store, &[&import[..2], &[&guest], &import[3..]].concat());
    sql(&format!("DROP ROLE {role}")).await;
    assert_eq!(forbidden.status.code(), Some(5), "{}", err(&forbidden));
    assert!(err(&forbidden).contains("SELECT"), "{}", err(&forbidden));
    assert!(!err(&forbidden).contains("owner"), "{}", err(&forbidden));
    let (place, _) = server.rsplit_once('/').unwrap();
    let nowhere = run(&store, &["import", "postgres-es", &format!("{place}/nowhere")]);
    assert_eq!(nowhere.status.code(), Some(6), "{}", err(&nowhere));
    assert!(!err(&nowhere).contains("createdb"), "{}", err(&nowhere));
    let ours = run(&store, &[&import[..], &["--log", "domain"]].concat());
    assert_eq!(ours.status.code(), Some(2), "{}", err(&ours));

    sql(&format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE")).await;
}

//! Servers of their own: a replica that serves pages of the log, and TLS.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::Utc;
use freehold_ports::{
    AppendRequest, CommandId, EventFilter, EventId, EventStore, ExpectedVersion, Fingerprint,
    GlobalPosition, LogName, NewEvent, PayloadCodec, Provenance, StreamId, StreamVersion,
};
use freehold_postgres::{Database, LogOptions, OpenError, PostgresEventStore};
use freehold_servers::{Options, Postgres};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL on this machine"]
async fn pages_come_from_the_replica_and_what_precedes_a_decision_from_the_primary() {
    let primary = Postgres::start(&Options::default()).unwrap();
    // The replica has what the primary has: the schema first.
    let store = open(primary.url(), None).await.unwrap();
    store.append(a_note()).await.unwrap();
    store.close().await;
    let replica = primary.replica().unwrap();
    let store = open(primary.url(), Some(replica.url())).await.unwrap();
    let mut operator = PgConnection::connect(replica.url()).await.unwrap();
    reach(&store, 1).await;

    sqlx::query("SELECT pg_wal_replay_pause()").execute(&mut operator).await.unwrap();
    let note = a_note();
    store.append(note.clone()).await.unwrap();

    // The page ends where the replica is, and says so; nothing is passed over.
    let page = page(&store).await;
    assert_eq!((page.events.len(), page.through), (1, GlobalPosition(1)));
    assert_eq!(store.head(&LogName::DOMAIN).await.unwrap(), GlobalPosition(2));
    let stream = store.read_stream(&LogName::DOMAIN, &note.stream, StreamVersion(0), TEN);
    assert_eq!(stream.await.unwrap().len(), 1);
    let stale = AppendRequest { command_id: CommandId::new(), ..note };
    assert!(store.append(stale).await.is_err(), "the version is the primary's");

    sqlx::query("SELECT pg_wal_replay_resume()").execute(&mut operator).await.unwrap();
    reach(&store, 2).await;
    primary.kill9().unwrap();
    reach(&store, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL on this machine"]
async fn the_address_says_whether_the_server_is_to_be_known() {
    let [server, other] =
        [(); 2].map(|()| Postgres::start(&Options { tls: true, ..Options::default() }).unwrap());
    // Reaches `server`, and trusts whoever made that one's certificate.
    let trusting = |who: &Postgres| {
        let authority = who.authority().unwrap();
        format!("{}?sslmode=verify-full&sslrootcert={}", server.url(), authority.display())
    };

    let store = open(&trusting(&server), None).await.unwrap();
    store.append(a_note()).await.unwrap();
    reach(&store, 1).await;

    let mut operator = PgConnection::connect(&trusting(&server)).await.unwrap();
    let sql = "SELECT count(*) FILTER (WHERE ssl), count(*) FROM pg_stat_ssl
         JOIN pg_stat_activity USING (pid) WHERE application_name = 'freehold'";
    let (safe, all): (i64, i64) = sqlx::query_as(sql).fetch_one(&mut operator).await.unwrap();
    assert!(all > 1 && safe == all, "{safe} of {all} connections are by TLS");
    let unknown = open(&trusting(&other), None).await;
    assert!(matches!(unknown, Err(OpenError::Tls { .. })), "{:?}", unknown.err());
    let plain = open(&format!("{}?sslmode=disable", server.url()), None).await;
    assert!(matches!(plain, Err(OpenError::Login { .. })), "{:?}", plain.err());
}

const TEN: NonZeroU32 = NonZeroU32::new(10).unwrap();

async fn open(url: &str, replica: Option<&str>) -> Result<PostgresEventStore, OpenError> {
    let replica = replica.map(Database::at).transpose()?;
    let options = LogOptions { replica, ..LogOptions::default() };
    PostgresEventStore::open(Database::at(url)?, options).await
}

async fn page(store: &PostgresEventStore) -> freehold_ports::EventPage {
    let all = EventFilter::all();
    store.read_all(&LogName::DOMAIN, &all, GlobalPosition(0), TEN).await.unwrap()
}

/// Waits until pages show so many events.
async fn reach(store: &PostgresEventStore, events: usize) {
    let shown = async {
        while page(store).await.events.len() < events {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), shown).await.unwrap();
}

fn a_note() -> AppendRequest {
    AppendRequest {
        log: LogName::DOMAIN,
        stream: StreamId::new("property", Uuid::now_v7()).unwrap(),
        expected: ExpectedVersion::NoStream,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([1; 16]),
        boundaries: Vec::new(),
        provenance: Provenance {
            tenant: "north".into(),
            actor: "test".into(),
            correlation_id: None,
            causation_id: None,
        },
        events: vec![NewEvent {
            event_id: EventId::new(),
            event_type: "Noted".into(),
            schema_version: 1,
            occurred_at: Utc::now(),
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: b"{}".to_vec().into(),
        }],
    }
}

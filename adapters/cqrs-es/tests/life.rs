//! An aggregate of cqrs-es lives on each of the stores.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{
    EventUpcaster, GenericQuery, PersistedEventRepository as _, PersistedEventStore,
    PersistenceError, QueryReplay, SemanticVersionEventUpcaster, ViewContext, ViewRepository,
};
use cqrs_es::{
    Aggregate, AggregateError, CqrsFramework, DomainEvent, EventEnvelope, EventStore as _, View,
};
use freehold_cqrs_es::FreeholdEventRepository;
use freehold_memory::MemoryEventStore;
use freehold_ports::{EventStore, LogName, SnapshotStore, StreamVersion, SystemClock};
use freehold_postgres::{Database, PostgresEventStore};
use freehold_sqlite::SqliteEventStore;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Connection as _;

/// Its state is a sum, so that an event applied twice shows.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Account {
    balance: i64,
    bookings: u64,
}

#[derive(Clone, Copy)]
enum Order {
    Deposit(i64),
    /// Books several events at once.
    DepositInParts(i64, u32),
    Withdraw(i64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Booking {
    Deposited { amount: i64 },
    Withdrawn { amount: i64 },
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the balance is too low")]
struct Overdrawn;

impl DomainEvent for Booking {
    fn event_type(&self) -> String {
        match self {
            Self::Deposited { .. } => "Deposited".into(),
            Self::Withdrawn { .. } => "Withdrawn".into(),
        }
    }

    fn event_version(&self) -> String {
        "1.0".into()
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = "bank-account ö";
    type Command = Order;
    type Event = Booking;
    type Error = Overdrawn;
    type Services = ();

    async fn handle(
        &mut self,
        order: Order,
        _services: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), Overdrawn> {
        match order {
            Order::Deposit(amount) => sink.write(Booking::Deposited { amount }, self).await,
            Order::DepositInParts(amount, parts) => {
                for _ in 0..parts {
                    sink.write(Booking::Deposited { amount }, self).await;
                }
            }
            Order::Withdraw(amount) if amount > self.balance => return Err(Overdrawn),
            Order::Withdraw(amount) => sink.write(Booking::Withdrawn { amount }, self).await,
        }
        Ok(())
    }

    fn apply(&mut self, booking: Booking) {
        self.bookings += 1;
        match booking {
            Booking::Deposited { amount } => self.balance += amount,
            Booking::Withdrawn { amount } => self.balance -= amount,
        }
    }
}

/// What an application shows of an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Statement {
    lines: Vec<String>,
}

impl View<Account> for Statement {
    fn update(&mut self, event: &EventEnvelope<Account>) {
        let by = event.metadata.get("by").cloned().unwrap_or_default();
        self.lines.push(format!("{} {:?} {by}", event.sequence, event.payload));
    }
}

/// An application's own views.
#[derive(Default)]
struct Statements(Mutex<HashMap<String, (Statement, i64)>>);

impl ViewRepository<Statement, Account> for Statements {
    async fn load(&self, view_id: &str) -> Result<Option<Statement>, PersistenceError> {
        Ok(self.load_with_context(view_id).await?.map(|(view, _)| view))
    }

    async fn load_with_context(
        &self,
        view_id: &str,
    ) -> Result<Option<(Statement, ViewContext)>, PersistenceError> {
        let found = self.0.lock().unwrap().get(view_id).cloned();
        Ok(found.map(|(view, version)| (view, ViewContext::new(view_id.to_owned(), version))))
    }

    async fn update_view(
        &self,
        view: Statement,
        context: ViewContext,
    ) -> Result<(), PersistenceError> {
        let id = context.view_instance_id;
        self.0.lock().unwrap().insert(id, (view, context.version + 1));
        Ok(())
    }
}

#[derive(Clone)]
struct Stores {
    events: Arc<dyn EventStore>,
    snapshots: Arc<dyn SnapshotStore>,
}

fn log() -> LogName {
    "accounts".parse().unwrap()
}

fn both<S: EventStore + SnapshotStore + 'static>(store: S) -> Stores {
    let store = Arc::new(store);
    Stores { events: store.clone(), snapshots: store }
}

fn repository(stores: &Stores) -> FreeholdEventRepository {
    let Stores { events, snapshots } = stores.clone();
    FreeholdEventRepository::new(events, snapshots, log(), "bank")
}

type Store = PersistedEventStore<FreeholdEventRepository, Account>;

/// A whole life: commands, refusals, views, a restart, replays, each kind of snapshot.
async fn lives(stores: Stores, restarted: impl AsyncFnOnce(Stores) -> Stores) {
    let statements = Arc::new(Statements::default());
    let query = GenericQuery::new(statements.clone());
    let accounts: CqrsFramework<Account, Store> = CqrsFramework::new(
        PersistedEventStore::new_event_store(repository(&stores)),
        vec![Box::new(query)],
        (),
    );
    let by = HashMap::from([("by".to_owned(), "ada".to_owned())]);
    accounts.execute_with_metadata("A 1", Order::Deposit(100), by).await.unwrap();
    accounts.execute("A 1", Order::Withdraw(30)).await.unwrap();
    accounts.execute("A-2", Order::Deposit(5)).await.unwrap();
    let refused = accounts.execute("A 1", Order::Withdraw(71)).await;
    assert!(matches!(refused, Err(AggregateError::UserError(Overdrawn))), "{refused:?}");
    let statement = statements.load("A 1").await.unwrap().unwrap();
    let lines = ["1 Deposited { amount: 100 } ada", "2 Withdrawn { amount: 30 } "];
    assert_eq!(statement.lines, lines);
    drop(accounts);

    let stores = restarted(stores).await;
    let store: Store = PersistedEventStore::new_event_store(repository(&stores));
    let loaded = store.load_aggregate("A 1").await.unwrap();
    assert_eq!((loaded.current_sequence, loaded.aggregate.balance), (2, 70));
    let events = store.load_events("A 1").await.unwrap();
    assert_eq!(events[0].metadata["by"], "ada");
    assert_eq!(store.load_events("A 3").await.unwrap().len(), 0);

    snapshots_are_exact(&stores).await;

    let again = Arc::new(Statements::default());
    let replay: QueryReplay<_, _, Account> =
        QueryReplay::new(repository(&stores), GenericQuery::new(again.clone()));
    replay.replay("A 1").await.unwrap();
    assert_eq!(again.load("A 1").await.unwrap().unwrap().lines, lines);
    assert_eq!(again.load("A-2").await.unwrap(), None);
    replay.replay_all().await.unwrap();
    assert_eq!(again.load("A-2").await.unwrap().unwrap().lines.len(), 1);
    assert_eq!(again.load("A 1").await.unwrap().unwrap().lines.len(), 4, "twice, as was asked");
    assert_eq!(again.load("long").await.unwrap().unwrap().lines.len(), 2_500);

    racing_commands_have_one_winner(&stores).await;
}

/// Also those of commands with several events, and after they were deleted.
async fn snapshots_are_exact(stores: &Stores) {
    type MakeStore = fn(FreeholdEventRepository) -> Store;
    let with_snapshots: [(&str, MakeStore); 2] = [
        ("S-3", |repository| PersistedEventStore::new_snapshot_store(repository, 3)),
        ("S-all", PersistedEventStore::new_aggregate_store),
    ];
    for (id, store) in with_snapshots {
        let accounts = CqrsFramework::new(store(repository(stores)), vec![], ());
        let (mut balance, mut bookings) = (0, 0);
        for (parts, amount) in [(1, 1), (2, 10), (5, 100), (1, 1_000), (7, 10_000), (1, 100_000)] {
            accounts.execute(id, Order::DepositInParts(amount, parts)).await.unwrap();
            balance += amount * i64::from(parts);
            bookings += u64::from(parts);
            let context = store(repository(stores)).load_aggregate(id).await.unwrap();
            assert_eq!(context.aggregate, Account { balance, bookings }, "{id} after {parts}");
            assert_eq!(context.current_sequence as u64, bookings);
            let plain: Store = PersistedEventStore::new_event_store(repository(stores));
            assert_eq!(plain.load_aggregate(id).await.unwrap().aggregate, context.aggregate);
        }
        let stream = freehold_cqrs_es::stream_of(Account::TYPE, id).unwrap();
        let kept = stores.snapshots.load(&log(), &stream).await.unwrap().unwrap();
        assert!(kept.version >= StreamVersion(16), "{:?}", kept.version);
        stores.snapshots.clear().await.unwrap();
        accounts.execute(id, Order::Withdraw(balance)).await.unwrap();
        let context = store(repository(stores)).load_aggregate(id).await.unwrap();
        assert_eq!(context.aggregate, Account { balance: 0, bookings: bookings + 1 });
    }
    let store: Store = PersistedEventStore::new_event_store(repository(stores));
    let accounts = CqrsFramework::new(store, vec![], ());
    for _ in 0..5 {
        accounts.execute("long", Order::DepositInParts(1, 500)).await.unwrap();
    }
    let events = repository(stores).get_events::<Account>("long").await.unwrap();
    let sequences = events.iter().map(|event| event.sequence);
    assert!(sequences.eq(1..=2_500), "over several pages");
}

async fn racing_commands_have_one_winner(stores: &Stores) {
    let store: Store = PersistedEventStore::new_event_store(repository(stores));
    let accounts = CqrsFramework::new(store, vec![], ());
    accounts.execute("R-1", Order::Deposit(100)).await.unwrap();
    let store: Store = PersistedEventStore::new_event_store(repository(stores));
    for round in 0..10 {
        let mut loaded = Vec::new();
        for _ in 0..20 {
            loaded.push(store.load_aggregate("R-1").await.unwrap());
        }
        let racing = loaded.into_iter().map(|context| {
            let booking = vec![Booking::Withdrawn { amount: 1 }, Booking::Withdrawn { amount: 2 }];
            store.commit(booking, context, HashMap::new())
        });
        let results = join_all(racing).await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "round {round}");
        for lost in results.into_iter().filter_map(Result::err) {
            assert!(matches!(lost, AggregateError::AggregateConflict), "{lost:?}");
        }
    }
    let account = store.load_aggregate("R-1").await.unwrap();
    assert_eq!(account.aggregate, Account { balance: 70, bookings: 21 });
    let racing = (0..20).map(|_| accounts.execute("R-2", Order::Deposit(1)));
    let stored = join_all(racing).await.into_iter().filter(Result::is_ok).count() as i64;
    let account = store.load_aggregate("R-2").await.unwrap();
    assert_eq!(account.aggregate.balance, stored, "who was told so is stored, nobody else is");
}

fn in_memory() -> Stores {
    both(MemoryEventStore::new([log()], Arc::new(SystemClock)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_aggregate_lives_in_memory() {
    lives(in_memory(), async |stores| stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_aggregate_lives_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let open = |folder: &Path| {
        let options = freehold_sqlite::LogOptions {
            logs: vec![log()],
            ..freehold_sqlite::LogOptions::default()
        };
        both(SqliteEventStore::open(folder, options).unwrap())
    };
    let path = folder.path().to_owned();
    lives(open(folder.path()), async |stores| {
        drop(stores);
        open(&path)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "set TEST_POSTGRES_URL"]
async fn an_aggregate_lives_on_postgres() {
    let server = std::env::var("TEST_POSTGRES_URL").unwrap();
    let schema = format!("cqrs_es_{}", std::process::id());
    let mut operator = sqlx::PgConnection::connect(&server).await.unwrap();
    let create = format!("CREATE SCHEMA {schema}");
    sqlx::raw_sql(&create).execute(&mut operator).await.unwrap();
    let separator = if server.contains('?') { '&' } else { '?' };
    let url = format!("{server}{separator}options=-csearch_path%3D{schema}");
    let open = async || {
        let options = freehold_postgres::LogOptions {
            logs: vec![log()],
            ..freehold_postgres::LogOptions::default()
        };
        both(PostgresEventStore::open(Database::at(&url).unwrap(), options).await.unwrap())
    };
    lives(open().await, async |stores| {
        drop(stores);
        open().await
    })
    .await;
    let drop_schema = format!("SET client_min_messages = error; DROP SCHEMA {schema} CASCADE");
    sqlx::raw_sql(&drop_schema).execute(&mut operator).await.unwrap();
}

#[tokio::test]
async fn old_events_are_lifted_also_under_a_snapshot() {
    let stores = in_memory();
    let old = cqrs_es::persist::SerializedEvent::new(
        "U-1".into(),
        1,
        Account::TYPE.into(),
        "Deposited".into(),
        "0.9".into(),
        json!({ "Deposited": { "cents": 700 } }),
        json!({}),
    );
    repository(&stores).persist::<Account>(&[old], None).await.unwrap();
    let upcasters = || -> Vec<Box<dyn EventUpcaster>> {
        let lift = |payload: serde_json::Value| {
            let cents = payload["Deposited"]["cents"].as_i64().unwrap();
            json!({ "Deposited": { "amount": cents / 100 } })
        };
        vec![Box::new(SemanticVersionEventUpcaster::new("Deposited", "1.0", Box::new(lift)))]
    };
    let store = || {
        let repository = repository(&stores).with_upcasters(upcasters());
        Store::new_snapshot_store(repository, 2).with_upcasters(upcasters())
    };
    let accounts = CqrsFramework::new(store(), vec![], ());
    accounts.execute("U-1", Order::Deposit(1)).await.unwrap();
    accounts.execute("U-1", Order::Deposit(1)).await.unwrap();
    assert_eq!(store().load_aggregate("U-1").await.unwrap().aggregate.balance, 9);

    stores.snapshots.clear().await.unwrap();
    let without = Store::new_snapshot_store(repository(&stores), 2);
    let refused = without.load_aggregate("U-1").await;
    assert!(matches!(refused, Err(AggregateError::DeserializationError(_))), "never a wrong state");
}

#[tokio::test]
async fn what_no_stream_can_be_named_after_is_refused() {
    let accounts = CqrsFramework::new(Store::new_event_store(repository(&in_memory())), vec![], ());
    for id in ["", &"x".repeat(300)] {
        let refused = accounts.execute(id, Order::Deposit(1)).await;
        assert!(matches!(refused, Err(AggregateError::UnexpectedError(_))), "{refused:?}");
    }
}

//! Snapshots make loading faster and nothing else.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use freehold_commands::{CommandError, CommandExecutor, ExecutorOptions};
use freehold_domain::property::*;
use freehold_domain::user::*;
use freehold_domain::{Currency, FeeFrequency, Policy, Price, Refusal, SavedSearchId};
use freehold_ports::{LogName, ReadError, Snapshot, SnapshotStore, StreamId, StreamVersion};
use freehold_test_stores::{Log, cases};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

use crate::samples::*;

fn every(snapshot_every: u64) -> ExecutorOptions {
    let policy = Policy { four_eyes: false, max_saved_searches: 2, ..Policy::default() };
    // What is remembered needs no snapshot.
    ExecutorOptions { snapshot_every, policy, remembered_aggregates: 0, ..options() }
}

fn ada() -> StreamId {
    StreamId::new("user", ADA).unwrap()
}

async fn snapshot_of(platform: &Platform, stream: &StreamId) -> Option<Snapshot> {
    platform.store.load(&LogName::DOMAIN, stream).await.unwrap()
}

#[tokio::test]
async fn one_is_saved_whenever_the_version_passes_a_multiple() {
    let platform = platform_with(every(3)).await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let mut seen = vec![snapshot_of(&platform, &ada()).await.map(|s| s.version.0)];
    for number in 1..=7 {
        platform.user(ADA, favourite(number)).await.unwrap();
        seen.push(snapshot_of(&platform, &ada()).await.map(|s| s.version.0));
    }
    let three = Some(3);
    assert_eq!(seen, [None, None, three, three, three, Some(6), Some(6), Some(6)]);
}

#[tokio::test]
async fn one_of_an_old_shape_or_that_cannot_be_read_is_ignored() {
    let platform = platform_with(every(1)).await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    platform.user(ADA, favourite(1)).await.unwrap();
    let folded = platform.executor.load::<User>(ADA.0).await.unwrap();
    assert_eq!(folded.version, StreamVersion(2));

    let readable = serde_json::to_vec(&User::Erased(BOB)).unwrap();
    for (shape, state) in [(0, readable.clone()), (2, readable), (1, b"{".to_vec())] {
        platform.store.clear().await.unwrap();
        let snapshot = Snapshot { version: StreamVersion(2), shape, state: state.into() };
        platform.store.save(&LogName::DOMAIN, &ada(), snapshot).await.unwrap();

        let loaded = platform.executor.load::<User>(ADA.0).await.unwrap();

        assert_eq!((loaded.aggregate, loaded.version), (folded.aggregate.clone(), folded.version));
    }
}

#[tokio::test]
async fn one_of_todays_shape_is_used() {
    let platform = platform_with(every(1)).await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    platform.user(ADA, favourite(1)).await.unwrap();
    let state = serde_json::to_vec(&User::Erased(BOB)).unwrap().into();
    let snapshot = Snapshot { version: StreamVersion(2), shape: 1, state };
    platform.store.save(&LogName::DOMAIN, &ada(), snapshot).await.unwrap();

    let loaded = platform.executor.load::<User>(ADA.0).await.unwrap();

    assert_eq!(loaded.aggregate, User::Erased(BOB));
}

#[tokio::test]
async fn one_that_is_moved_to_another_stream_is_not_believed() {
    let platform = platform_with(every(1)).await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    platform.user(BOB, register(BOB, "bob@example.com")).await.unwrap();
    for user in [ADA, BOB] {
        platform.user(user, favourite(1)).await.unwrap();
    }
    let of_ada = snapshot_of(&platform, &ada()).await.unwrap();
    let bob = StreamId::new("user", BOB).unwrap();
    platform.store.save(&LogName::DOMAIN, &bob, of_ada).await.unwrap();

    let loaded = platform.executor.load::<User>(BOB.0).await.unwrap();

    let User::Registered(account) = loaded.aggregate else { panic!("bob is registered") };
    assert_eq!(account.user, BOB);
}

#[tokio::test]
async fn one_is_asked_for_only_by_a_stream_as_long_as_they_are_apart() {
    let platform = platform_with(every(3)).await;
    let snapshots = Arc::new(Counted { of: platform.store.clone(), loads: AtomicU32::new(0) });
    let (store, codec) = (platform.store.clone(), platform.executor.codec().clone());
    let executor = CommandExecutor::new(store, snapshots.clone(), codec, Arc::new(Noon), every(3));
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let mut asked = Vec::new();
    for number in 1..=4 {
        let loaded = executor.load::<User>(ADA.0).await.unwrap();
        assert_eq!(loaded.version.0 as u128, number);
        asked.push(snapshots.loads.load(Ordering::SeqCst));
        platform.user(ADA, favourite(number)).await.unwrap();
    }
    assert_eq!(asked, [0, 0, 1, 2]);
}

/// Snapshots, and how often one was asked for.
struct Counted {
    of: Arc<dyn Log>,
    loads: AtomicU32,
}

#[async_trait]
impl SnapshotStore for Counted {
    async fn load(&self, log: &LogName, stream: &StreamId) -> Result<Option<Snapshot>, ReadError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.of.load(log, stream).await
    }

    async fn save(
        &self,
        log: &LogName,
        stream: &StreamId,
        snapshot: Snapshot,
    ) -> Result<(), ReadError> {
        self.of.save(log, stream, snapshot).await
    }

    async fn clear(&self) -> Result<(), ReadError> {
        self.of.clear().await
    }
}

// Values from pools so small that commands meet.

fn a_user_command() -> impl Strategy<Value = UserCommand> {
    let listing = || (0..4_u128).prop_map(listing);
    let search = || (0..3_u128).prop_map(|number| SavedSearchId(Uuid::from_u128(number)));
    let text = || select(vec!["Near work", "Near school", "", "ada@example.com"]);
    let owned = |text: &'static str| text.to_owned();
    let schedule = || select(vec![AlertSchedule::Asap, AlertSchedule::Daily]);
    prop_oneof![
        1 => Just(register(ADA, EMAIL).into()),
        1 => text().prop_map(move |name| UpdateProfile {
            display_name: Change::Set(owned(name)),
            ..UpdateProfile::default()
        }
        .into()),
        1 => select(vec!["ada@example.org", "a@example.net"]).prop_map(move |email| UpdateProfile {
            email: Change::Set(owned(email)),
            ..UpdateProfile::default()
        }
        .into()),
        1 => Just(grant().into()),
        1 => Just(WithdrawConsent { purpose: ConsentPurpose::Alerts }.into()),
        1 => listing().prop_map(|listing| FavouriteListing { listing }.into()),
        1 => listing().prop_map(|listing| DiscardListing { listing }.into()),
        1 => listing().prop_map(|listing| ClearPreference { listing }.into()),
        1 => (search(), text(), option::of(text()), schedule()).prop_map(
            move |(search, name, text, schedule)| {
                let (name, text) = (owned(name), text.map(owned));
                let filter = SearchFilter::default();
                SaveSearch { search, name, text, filter, schedule }.into()
            }
        ),
        1 => (search(), text())
            .prop_map(move |(search, name)| RenameSearch { search, name: owned(name) }.into()),
        1 => search().prop_map(|search| DeleteSearch { search }.into()),
        1 => text().prop_map(move |reason| SuspendUser { reason: owned(reason) }.into()),
        3 => Just(ReinstateUser {}.into()),
        1 => Just(RequestErasure { live_lease: None }.into()),
        3 => Just(CancelErasure {}.into()),
    ]
}

pub(crate) fn a_property_command() -> impl Strategy<Value = PropertyCommand> {
    let key = || (1..3_u128).prop_map(listing);
    let price = || {
        (1..4_u64).prop_map(|n| Price {
            amount_minor: NonZeroU64::new(n * 100).unwrap(),
            currency: Currency::from_code("EUR").unwrap(),
            frequency: FeeFrequency::Monthly,
        })
    };
    let day = noon().date_naive();
    prop_oneof![
        1 => Just(register_property("berlin-1").into()),
        1 => (0..3_u16).prop_map(|bedrooms| CorrectPropertyFacts {
            facts: Box::new(PropertyFacts {
                bedrooms: Some(bedrooms),
                ..PropertyFacts::default()
            }),
            clear: Default::default(),
        }
        .into()),
        1 => (1..4_u128).prop_map(|id| AttachMedia {
            id: Uuid::from_u128(id),
            url: "https://media.example/front.jpg".to_owned(),
            category: MediaCategory::Photo,
            caption: None,
            order: None,
        }
        .into()),
        1 => (1..4_u128).prop_map(|id| RemoveMedia { media: Uuid::from_u128(id) }.into()),
        3 => (key(), option::of(price())).prop_map(move |(listing, price)| DraftListing {
            listing,
            price,
            available_from: Some(day),
            agent: None,
        }
        .into()),
        2 => key().prop_map(|listing| PublishListing { listing, expires_at: None }.into()),
        1 => (key(), price())
            .prop_map(|(listing, price)| ChangeRent { listing, price, reason: None }.into()),
        1 => key().prop_map(|listing| SubmitForReview { listing }.into()),
        1 => key().prop_map(|listing| ApproveListing { listing }.into()),
        1 => key().prop_map(|listing| HoldListing { listing }.into()),
        1 => key().prop_map(|listing| ResumeListing { listing }.into()),
        1 => key().prop_map(|listing| WithdrawListing { listing, reason: "sold".to_owned() }.into()),
        1 => key().prop_map(|listing| CancelListing { listing }.into()),
    ]
}

/// What one run of commands comes to: each answer, and the state after the last.
type Course<A> = (Vec<String>, A, StreamVersion);

/// `snapshot_every`: in turns, as if the option were changed again and again. `clear_at`: before
/// these commands all snapshots are deleted.
fn course<A>(
    snapshot_every: &[u64],
    id: Uuid,
    commands: &[A::Command],
    clear_at: &[usize],
) -> Course<A>
where
    A: freehold_commands::EventSourced,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let platform = platform().await;
        let turns =
            snapshot_every.iter().map(|n| platform.through(platform.store.clone(), every(*n)));
        let turns: Vec<_> = turns.collect();
        let mut answers = Vec::new();
        for (index, command) in commands.iter().enumerate() {
            if clear_at.contains(&index) {
                platform.store.clear().await.unwrap();
            }
            let executor = &turns[index % turns.len()].executor;
            let executed = executor.execute::<A>(id, command.clone(), &context()).await;
            answers.push(match executed {
                Ok(executed) => format!("{:?} at {}", executed.outcome, executed.version),
                Err(CommandError::Refused(refused)) => refused.code().to_owned(),
                Err(error) => panic!("{error:?}"),
            });
        }
        let loaded = turns[0].executor.load::<A>(id).await.unwrap();
        (answers, loaded.aggregate, loaded.version)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(64)))]

    #[test]
    fn no_command_to_a_user_is_answered_differently_because_of_one(
        rest in vec(a_user_command(), 0..40),
        snapshot_every in vec(1..8_u64, 1..4),
        clear_at in vec(0..40_usize, 0..5),
    ) {
        let commands: Vec<_> =
            std::iter::once(register(ADA, EMAIL).into()).chain(rest).collect();

        let with = course::<User>(&snapshot_every, ADA.0, &commands, &clear_at);
        let without = course::<User>(&[u64::MAX], ADA.0, &commands, &[]);

        prop_assert_eq!(with, without);
    }

    #[test]
    fn no_command_to_a_property_is_answered_differently_because_of_one(
        rest in vec(a_property_command(), 0..40),
        snapshot_every in vec(1..8_u64, 1..4),
        clear_at in vec(0..40_usize, 0..5),
    ) {
        let id = Uuid::from_u128(1);
        let commands: Vec<_> =
            std::iter::once(register_property("berlin-1").into()).chain(rest).collect();

        let with = course::<Property>(&snapshot_every, id, &commands, &clear_at);
        let without = course::<Property>(&[u64::MAX], id, &commands, &[]);

        prop_assert_eq!(with, without);
    }
}

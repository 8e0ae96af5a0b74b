//! What the executor remembers of an aggregate: a shortcut that changes no answer.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use freehold_commands::{CommandContext, CommandError, ExecutorOptions, Outcome};
use freehold_contract::interposed::{Interposed, InterposedStore};
use freehold_domain::property::{
    AttachMedia, CancelListing, DraftListing, MediaCategory, Property, PropertyCommand,
    PublishListing, RemoveMedia,
};
use freehold_domain::{Currency, FeeFrequency, Policy, Price, Refusal};
use freehold_ports::{CommandId, EventStore, ExpectedVersion, StreamVersion};
use freehold_test_stores::cases;
use futures_util::future::join_all;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::samples::*;
use crate::snapshots::a_property_command;
use crate::stores::{Mischief, Mischievous};

const HOME: Uuid = Uuid::from_u128(1);

/// Two processes on one log that remember, with a home that the first one registered; and what the
/// first one asks the log. They decide no more often than so, what is remembered not counted.
async fn two_with_a_home(max_decisions: u32) -> (Platform, Platform, Arc<Interposed<Mischievous>>) {
    let platform = platform().await;
    let store = Mischievous::new(platform.store.clone(), 0, Mischief::RequestLost);
    let policy = || Policy { four_eyes: false, ..Policy::default() };
    let options = || ExecutorOptions { max_decisions, policy: policy(), ..options() };
    let here = platform.through(store.clone(), options());
    let elsewhere = platform.through(platform.store.clone(), options());
    here.property(1, register_property("berlin-1")).await.unwrap();
    (here, elsewhere, store)
}

fn photo(number: u128) -> AttachMedia {
    AttachMedia {
        id: Uuid::from_u128(number),
        url: "https://media.example/front.jpg".to_owned(),
        category: MediaCategory::Photo,
        caption: None,
        order: None,
    }
}

fn draft(number: u128) -> DraftListing {
    let price = Price {
        amount_minor: NonZeroU64::MIN,
        currency: Currency::from_code("EUR").unwrap(),
        frequency: FeeFrequency::Monthly,
    };
    let available_from = Some(noon().date_naive());
    DraftListing { listing: listing(number), price: Some(price), available_from, agent: None }
}

fn cancel(number: u128) -> CancelListing {
    CancelListing { listing: listing(number) }
}

async fn on_home(
    process: &Platform,
    context: &CommandContext,
    command: impl Into<PropertyCommand>,
) -> OnProperty {
    process.executor.execute(HOME, command.into(), context).await
}

#[tokio::test]
async fn a_home_that_was_just_changed_or_loaded_is_changed_again_without_a_read() {
    let (here, elsewhere, store) = two_with_a_home(1).await;
    assert_eq!((store.reads(), store.tags(), store.appends()), (1, 0, 1), "to register it");

    for number in 1..=3 {
        here.property(1, photo(number)).await.unwrap();
    }
    let drafted = on_home(&here, &named(CommandId::new()), draft(7)).await.unwrap();
    assert_eq!((store.reads(), store.tags(), store.appends()), (1, 0, 5));
    assert_eq!(store.lookups(), 0, "of command ids");
    let now = elsewhere.executor.load::<Property>(HOME).await.unwrap();
    assert_eq!((now.aggregate, now.version), (drafted.aggregate, StreamVersion(5)));

    // Loaded for a refusal, and remembered all the same.
    elsewhere.property(2, register_property("berlin-2")).await.unwrap();
    let refused = here.property(2, register_property("berlin-2")).await;
    assert!(matches!(refused, Err(CommandError::Refused(_))), "{refused:?}");
    let (reads, appends) = (store.reads(), store.appends());
    here.property(2, photo(1)).await.unwrap();
    assert_eq!((store.reads() - reads, store.appends() - appends), (0, 1));
}

#[tokio::test]
async fn a_state_that_another_process_made_old_stores_and_refuses_nothing() {
    let (here, elsewhere, store) = two_with_a_home(1).await;
    elsewhere.property(1, draft(7)).await.unwrap();
    let publish = PublishListing { listing: listing(7), expires_at: None };
    elsewhere.property(1, photo(9)).await.unwrap();
    elsewhere.property(1, publish).await.unwrap();

    let taken_back = here.property(1, draft(8)).await;
    assert!(matches!(taken_back, Err(CommandError::Refused(_))), "{taken_back:?}");

    // Now the open listing is remembered here, and gone there.
    elsewhere.property(1, cancel(7)).await.unwrap();
    let drafted = here.property(1, draft(8)).await.unwrap();
    assert_eq!((drafted.outcome, drafted.version), (Outcome::Stored, StreamVersion(6)));

    elsewhere.property(1, photo(1)).await.unwrap();
    let (reads, appends) = (store.reads(), store.appends());
    let overtaken = here.property(1, photo(2)).await.unwrap();
    assert_eq!((overtaken.outcome, overtaken.version), (Outcome::Stored, StreamVersion(8)));
    assert_eq!(store.reads() - reads, 1, "only what is new");
    assert_eq!(store.appends() - appends, 2, "the first was refused by the store");
    let now = here.executor.load::<Property>(HOME).await.unwrap();
    assert_eq!((now.aggregate, now.version), (overtaken.aggregate, overtaken.version));
}

#[tokio::test]
async fn nothing_to_change_is_only_said_of_what_the_stream_holds() {
    for context in [context(), named(CommandId::new())] {
        let (here, elsewhere, _) = two_with_a_home(1).await;
        here.property(1, photo(1)).await.unwrap();
        elsewhere.property(1, RemoveMedia { media: Uuid::from_u128(1) }).await.unwrap();

        let attached = on_home(&here, &context, photo(1)).await.unwrap();

        assert_eq!((attached.outcome, attached.version), (Outcome::Stored, StreamVersion(4)));
    }
}

#[tokio::test]
async fn nothing_to_change_is_said_once_and_repeated_when_it_has_a_name() {
    let (here, ..) = two_with_a_home(1).await;
    here.property(1, photo(1)).await.unwrap();
    let named = named(CommandId::new());

    for outcome in [Outcome::Unchanged, Outcome::Repeated] {
        let executed = on_home(&here, &named, photo(1)).await.unwrap();
        assert_eq!((executed.outcome, executed.version), (outcome, StreamVersion(2)));
    }
    let nameless = here.property(1, photo(1)).await.unwrap();
    assert_eq!((nameless.outcome, nameless.version), (Outcome::Unchanged, StreamVersion(2)));
}

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer_also_on_a_remembered_home() {
    // Told again what it did, the home has nothing to change after the one, and refuses the other.
    let commands: [[PropertyCommand; 2]; 2] =
        [[photo(1).into(), photo(2).into()], [draft(7).into(), draft(8).into()]];
    for [command, other] in commands {
        let (here, elsewhere, store) = two_with_a_home(1).await;
        let named = named(CommandId::new());
        on_home(&elsewhere, &named, command.clone()).await.unwrap();

        for remembered in ["an older state", "a newer one"] {
            let reused = on_home(&here, &named, other.clone()).await;
            let is_reused = matches!(reused, Err(CommandError::CommandIdReused { .. }));
            assert!(is_reused, "{remembered}: {reused:?}");
            let again = on_home(&here, &named, command.clone()).await.unwrap();
            let answer = (again.outcome, again.version, again.events.len());
            assert_eq!(answer, (Outcome::Repeated, StreamVersion(2), 1), "{remembered}");
            here.property(1, photo(9)).await.unwrap();
        }
        let reads = store.reads();
        here.property(1, photo(8)).await.unwrap();
        assert_eq!(store.reads(), reads, "the newer one was remembered");
        assert_eq!(here.log().await.len(), 4);
    }
}

#[tokio::test]
async fn a_remembered_home_changes_no_answer_to_a_version_a_stranger_or_a_dry_run() {
    let (here, elsewhere, store) = two_with_a_home(1).await;
    elsewhere.property(1, draft(7)).await.unwrap();
    let at = |version| CommandContext {
        expected: Some(ExpectedVersion::Exactly(StreamVersion(version))),
        ..context()
    };

    let dry = CommandContext { dry_run: true, ..context() };
    let reads = store.reads();
    assert!(matches!(on_home(&here, &dry, draft(8)).await, Err(CommandError::Refused(_))));
    assert_eq!(store.reads() - reads, 1);
    let old = on_home(&here, &at(1), photo(1)).await;
    assert!(matches!(old, Err(CommandError::VersionConflict { actual, .. }) if actual.0 == 2));
    assert_eq!(on_home(&here, &at(2), photo(1)).await.unwrap().version, StreamVersion(3));

    let stranger = CommandContext::new("zenith", "web");
    assert!(matches!(on_home(&here, &stranger, photo(2)).await, Err(CommandError::Refused(_))));
    let guess = CommandContext { expected: at(3).expected, ..stranger };
    let guessed = on_home(&here, &guess, photo(2)).await;
    assert!(matches!(guessed, Err(CommandError::VersionConflict { actual, .. }) if actual.0 == 0));
}

#[tokio::test]
async fn a_lost_reply_is_asked_for_also_on_a_remembered_home() {
    let platform = platform().await;
    let store = Mischievous::new(platform.store.clone(), 0, Mischief::ReplyLost);
    let here = platform.through(store.clone(), options());
    here.property(1, register_property("berlin-1")).await.unwrap();
    store.left.store(1, std::sync::atomic::Ordering::SeqCst);

    let attached = here.property(1, photo(1)).await.unwrap();
    let next = here.property(1, photo(2)).await.unwrap();

    assert_eq!((attached.outcome, attached.version), (Outcome::Repeated, StreamVersion(2)));
    assert_eq!((next.outcome, next.version), (Outcome::Stored, StreamVersion(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn processes_that_race_on_a_remembered_home_lose_nothing() {
    let (here, elsewhere, _) = two_with_a_home(100).await;
    let writers = (1..=40).map(|number| {
        let process = if number % 2 == 0 { here.clone() } else { elsewhere.clone() };
        tokio::spawn(async move { process.property(1, photo(number)).await.unwrap().version.0 })
    });

    let mut versions: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();

    versions.sort_unstable();
    assert_eq!(versions, (2..=41).collect::<Vec<_>>());
    for (process, number) in [(&here, 41), (&elsewhere, 42)] {
        let executed = process.property(1, photo(number)).await.unwrap();
        let now = process.executor.load::<Property>(HOME).await.unwrap();
        assert_eq!((now.aggregate, now.version.0), (executed.aggregate, number as u64 + 1));
    }
}

/// A log that is another one from some moment on, as after a restore.
struct Restored {
    now: Arc<dyn EventStore>,
    then: Arc<dyn EventStore>,
    restored: AtomicBool,
}

#[async_trait]
impl InterposedStore for Restored {
    fn behind(&self) -> &dyn EventStore {
        if self.restored.load(Ordering::SeqCst) { &*self.then } else { &*self.now }
    }
}

#[tokio::test]
async fn a_home_of_which_the_log_was_restored_to_an_earlier_moment_is_read_anew() {
    for others in 0..3 {
        let (now, then) = (platform().await, platform().await);
        then.property(1, register_property("berlin-1")).await.unwrap();
        for number in 0..others {
            then.property(1, photo(10 + number)).await.unwrap();
        }
        let restored = AtomicBool::new(false);
        let (before, after) = (now.store.clone(), then.store.clone());
        let store = Arc::new(Interposed(Restored { now: before, then: after, restored }));
        let here = now.through(store.clone(), options());
        here.property(1, register_property("berlin-1")).await.unwrap();
        here.property(1, photo(1)).await.unwrap();
        store.restored.store(true, Ordering::SeqCst);

        // By what is remembered it is attached, and nothing would be stored.
        let again = here.property(1, photo(1)).await.unwrap();

        let version = StreamVersion(others as u64 + 2);
        assert_eq!((again.outcome, again.version), (Outcome::Stored, version));
        assert_eq!(then.executor.load::<Property>(HOME).await.unwrap().aggregate, again.aggregate);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(64)))]

    #[test]
    fn no_command_is_answered_differently_because_a_home_is_remembered(
        rest in vec((a_property_command(), 0..3_usize), 0..40),
    ) {
        let first = (register_property("berlin-1").into(), 0);
        let commands: Vec<_> = std::iter::once(first).chain(rest).collect();

        let with = answers(&commands, 1 << 20);
        let without = answers(&commands, 0);

        prop_assert_eq!(with, without);
    }
}

/// What three processes say that remember so many, each to its share of the commands.
fn answers(
    commands: &[(PropertyCommand, usize)],
    remembered_bytes: u64,
) -> Vec<(String, Option<Property>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let platform = platform().await;
        let options = || ExecutorOptions { remembered_bytes, snapshot_every: 3, ..options() };
        let processes = [(); 3].map(|()| platform.through(platform.store.clone(), options()));
        let mut answers = Vec::new();
        for (command, process) in commands {
            let executed = processes[*process].property(1, command.clone()).await;
            answers.push(match executed {
                Ok(done) => {
                    (format!("{:?} at {}", done.outcome, done.version), Some(done.aggregate))
                }
                Err(CommandError::Refused(refused)) => (refused.code().to_owned(), None),
                Err(error) => panic!("{error:?}"),
            });
        }
        answers
    })
}

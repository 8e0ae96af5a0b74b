//! What a caller or the executor remembers of a stream: a shortcut that changes no answer.

use std::num::NonZeroU64;
use std::sync::Arc;

use freehold_commands::{CommandContext, CommandError, ExecutorOptions, Loaded, Outcome};
use freehold_contract::interposed::Interposed;
use freehold_domain::property::{
    AttachMedia, CancelListing, DraftListing, MediaCategory, Property, PropertyCommand,
    PublishListing,
};
use freehold_domain::user::{ReinstateUser, SuspendUser, User, UserCommand, UserRefused};
use freehold_domain::{Currency, FeeFrequency, Policy, Price, Refusal};
use freehold_ports::{CommandId, ExpectedVersion, StreamVersion};
use freehold_test_stores::cases;
use futures_util::future::join_all;
use proptest::collection::vec;
use proptest::prelude::*;
use uuid::Uuid;

use crate::samples::*;
use crate::snapshots::a_property_command;
use crate::stores::{Mischief, Mischievous};

/// A platform with Ada, its log behind a store that counts, and Ada as she is remembered.
async fn with_ada() -> (Platform, Arc<Interposed<Mischievous>>, Loaded<User>) {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let ada = platform.executor.load::<User>(ADA.0).await.unwrap();
    let store = Mischievous::new(platform.store.clone(), 0, Mischief::RequestLost);
    // As often decided as a caller without a memory.
    let options = ExecutorOptions { max_decisions: 1, ..options() };
    (platform.through(store.clone(), options), store, ada)
}

async fn on_ada(
    platform: &Platform,
    known: &Loaded<User>,
    command: impl Into<UserCommand>,
    context: &CommandContext,
) -> OnUser {
    let command = command.into();
    let plan = |_: &User| Ok::<_, CommandError<UserRefused>>(vec![command.clone()]);
    let executor = &platform.executor;
    executor.execute_planned(ADA.0, Some(known.clone()), &command, plan, context).await
}

#[tokio::test]
async fn a_state_that_is_the_streams_is_decided_on_without_a_read() {
    let (platform, store, ada) = with_ada().await;

    let nameless = on_ada(&platform, &ada, favourite(1), &context()).await.unwrap();
    let Loaded { tenant, .. } = ada;
    let ada = Loaded { aggregate: nameless.aggregate, version: nameless.version, tenant };
    let named = on_ada(&platform, &ada, favourite(2), &named(CommandId::new())).await.unwrap();

    assert_eq!((nameless.outcome, named.outcome), (Outcome::Stored, Outcome::Stored));
    assert_eq!((store.reads(), store.lookups(), store.appends()), (0, 0, 2));
    let now = platform.executor.load::<User>(ADA.0).await.unwrap();
    assert_eq!((now.version, now.aggregate), (StreamVersion(3), named.aggregate));
}

#[tokio::test]
async fn an_old_state_stores_nothing_that_was_decided_on_it() {
    let (platform, store, old) = with_ada().await;
    platform.user(ADA, favourite(1)).await.unwrap();
    let appends = store.appends();

    let executed = on_ada(&platform, &old, favourite(2), &context()).await.unwrap();

    assert_eq!((executed.outcome, executed.version), (Outcome::Stored, StreamVersion(3)));
    assert_eq!(store.appends() - appends, 2, "the first was refused by the store");
    let now = platform.executor.load::<User>(ADA.0).await.unwrap();
    assert_eq!((now.version, now.aggregate), (StreamVersion(3), executed.aggregate));
}

#[tokio::test]
async fn an_old_state_that_allows_it_does_not_overrule_a_refusal() {
    let (platform, _, old) = with_ada().await;
    platform.user(ADA, SuspendUser { reason: "Chargebacks".to_owned() }).await.unwrap();

    let refused = on_ada(&platform, &old, favourite(1), &context()).await;

    assert!(matches!(refused, Err(CommandError::Refused(UserRefused::UserSuspended))));
}

#[tokio::test]
async fn an_old_state_that_refuses_it_is_not_the_last_word() {
    let (platform, _, _) = with_ada().await;
    platform.user(ADA, SuspendUser { reason: "Chargebacks".to_owned() }).await.unwrap();
    let old = platform.executor.load::<User>(ADA.0).await.unwrap();
    platform.user(ADA, ReinstateUser {}).await.unwrap();

    let executed = on_ada(&platform, &old, favourite(1), &context()).await.unwrap();

    assert_eq!((executed.outcome, executed.version), (Outcome::Stored, StreamVersion(4)));
}

#[tokio::test]
async fn an_old_state_on_which_nothing_changes_is_not_the_last_word() {
    for context in [context(), named(CommandId::new())] {
        let (platform, _, old) = with_ada().await;
        platform.user(ADA, SuspendUser { reason: "Chargebacks".to_owned() }).await.unwrap();

        let executed = on_ada(&platform, &old, ReinstateUser {}, &context).await.unwrap();

        assert_eq!((executed.outcome, executed.version), (Outcome::Stored, StreamVersion(3)));
    }
}

#[tokio::test]
async fn nothing_to_change_is_said_once_and_repeated_when_it_has_a_name() {
    let (platform, _, ada) = with_ada().await;
    let named = named(CommandId::new());

    for outcome in [Outcome::Unchanged, Outcome::Repeated] {
        let executed = on_ada(&platform, &ada, ReinstateUser {}, &named).await.unwrap();
        assert_eq!((executed.outcome, executed.version), (outcome, StreamVersion(1)));
    }
    let nameless = on_ada(&platform, &ada, ReinstateUser {}, &context()).await.unwrap();
    assert_eq!((nameless.outcome, nameless.version), (Outcome::Unchanged, StreamVersion(1)));
}

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer_also_on_a_remembered_state() {
    let (platform, _, old) = with_ada().await;
    let named = named(CommandId::new());
    let first = on_ada(&platform, &old, favourite(1), &named).await.unwrap();
    let new = platform.executor.load::<User>(ADA.0).await.unwrap();

    for known in [old, new] {
        let again = on_ada(&platform, &known, favourite(1), &named).await.unwrap();
        assert_eq!((again.outcome, again.version), (Outcome::Repeated, first.version));
        let other = on_ada(&platform, &known, favourite(2), &named).await;
        assert!(matches!(other, Err(CommandError::CommandIdReused { .. })), "{other:?}");
    }
    assert_eq!(platform.log().await.len(), 2);
}

#[tokio::test]
async fn a_dry_run_reads_what_is_new() {
    let (platform, _, old) = with_ada().await;
    platform.user(ADA, SuspendUser { reason: "Chargebacks".to_owned() }).await.unwrap();
    let dry = CommandContext { dry_run: true, ..context() };

    let refused = on_ada(&platform, &old, favourite(1), &dry).await;

    assert!(matches!(refused, Err(CommandError::Refused(UserRefused::UserSuspended))));
}

// What the executor itself remembers.

const HOME: Uuid = Uuid::from_u128(1);

/// Two processes on one log that remember, with a home that the first one registered; and what the
/// first one asks the log.
async fn two_with_a_home() -> (Platform, Platform, Arc<Interposed<Mischievous>>) {
    let platform = platform().await;
    let store = Mischievous::new(platform.store.clone(), 0, Mischief::RequestLost);
    let policy = || Policy { four_eyes: false, ..Policy::default() };
    let options = || ExecutorOptions { max_decisions: 100, policy: policy(), ..options() };
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

#[tokio::test]
async fn a_home_that_was_just_changed_or_loaded_is_changed_again_without_a_read() {
    let (here, elsewhere, store) = two_with_a_home().await;
    assert_eq!((store.reads(), store.tags(), store.appends()), (1, 0, 1), "to register it");

    for number in 1..=3 {
        here.property(1, photo(number)).await.unwrap();
    }
    here.property(1, draft(7)).await.unwrap();
    assert_eq!((store.reads(), store.tags(), store.appends()), (1, 0, 5));

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
    let (here, elsewhere, store) = two_with_a_home().await;
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
    let reads = store.reads();
    let overtaken = here.property(1, photo(2)).await.unwrap();
    assert_eq!(overtaken.version, StreamVersion(8));
    assert_eq!(store.reads() - reads, 1, "only what is new");
    let now = here.executor.load::<Property>(HOME).await.unwrap();
    assert_eq!((now.aggregate, now.version), (overtaken.aggregate, overtaken.version));
}

#[tokio::test]
async fn nothing_to_change_is_only_said_of_what_the_stream_holds() {
    let (here, elsewhere, _) = two_with_a_home().await;
    here.property(1, photo(1)).await.unwrap();
    let remove = || freehold_domain::property::RemoveMedia { media: Uuid::from_u128(1) };
    elsewhere.property(1, remove()).await.unwrap();

    let attached = here.property(1, photo(1)).await.unwrap();

    assert_eq!((attached.outcome, attached.version), (Outcome::Stored, StreamVersion(4)));
}

#[tokio::test]
async fn a_remembered_home_changes_no_answer_to_a_version_a_stranger_or_a_dry_run() {
    let (here, elsewhere, store) = two_with_a_home().await;
    elsewhere.property(1, draft(7)).await.unwrap();
    let on_home = async |context: &CommandContext, command: PropertyCommand| {
        here.executor.execute::<Property>(HOME, command, context).await
    };
    let at = |version| CommandContext {
        expected: Some(ExpectedVersion::Exactly(StreamVersion(version))),
        ..context()
    };

    let dry = CommandContext { dry_run: true, ..context() };
    let reads = store.reads();
    assert!(matches!(on_home(&dry, draft(8).into()).await, Err(CommandError::Refused(_))));
    assert_eq!(store.reads() - reads, 1);
    let old = on_home(&at(1), photo(1).into()).await;
    assert!(matches!(old, Err(CommandError::VersionConflict { actual, .. }) if actual.0 == 2));
    assert_eq!(on_home(&at(2), photo(1).into()).await.unwrap().version, StreamVersion(3));

    let stranger = CommandContext::new("zenith", "web");
    assert!(matches!(on_home(&stranger, photo(2).into()).await, Err(CommandError::Refused(_))));
    let guess = CommandContext { expected: at(3).expected, ..stranger };
    let guessed = on_home(&guess, photo(2).into()).await;
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
    let (here, elsewhere, _) = two_with_a_home().await;
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases(64)))]

    #[test]
    fn no_command_is_answered_differently_because_a_home_is_remembered(
        rest in vec((a_property_command(), 0..3_usize), 0..40),
    ) {
        let first = (register_property("berlin-1").into(), 0);
        let commands: Vec<_> = std::iter::once(first).chain(rest).collect();

        let with = answers(&commands, 10);
        let without = answers(&commands, 0);

        prop_assert_eq!(with, without);
    }
}

/// What three processes say that remember so many, each to its share of the commands.
fn answers(
    commands: &[(PropertyCommand, usize)],
    remembered_aggregates: usize,
) -> Vec<(String, Option<Property>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let platform = platform().await;
        let options = || ExecutorOptions { remembered_aggregates, snapshot_every: 3, ..options() };
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

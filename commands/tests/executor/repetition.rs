//! A command that is sent again, whatever happened to the first reply.

use freehold_commands::{CommandContext, CommandError, Executed, ExecutorOptions, Outcome};
use freehold_domain::user::{ReinstateUser, SuspendUser, User, UserCommand, UserRefused};
use freehold_ports::{CommandId, ExpectedVersion, StreamVersion};
use futures_util::future::join_all;

use crate::samples::*;
use crate::stores::{Mischief, Mischievous};

#[tokio::test]
async fn a_repeated_command_gets_its_first_answer_and_stores_nothing() {
    let platform = platform().await;
    let id = CommandId::new();
    let first = platform.user_as(&named(id), ADA, register(ADA, EMAIL)).await.unwrap();
    platform.user(ADA, favourite(1)).await.unwrap();

    let again = platform.user_as(&named(id), ADA, register(ADA, EMAIL)).await.unwrap();

    assert_eq!((first.outcome, again.outcome), (Outcome::Stored, Outcome::Repeated));
    assert_eq!((again.version, again.position), (first.version, first.position));
    let places = |executed: &Executed<User>| {
        let events = executed.events.iter().map(|e| (e.event.clone(), e.version, e.position));
        events.collect::<Vec<_>>()
    };
    assert_eq!(places(&again), places(&first));
    let now = platform.executor.load(ADA.0).await.unwrap().aggregate;
    assert_eq!(again.aggregate, now, "the state is the one of now");
    assert_eq!(platform.event_types().await, ["UserRegistered", "ListingPreferenceSet"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_command_sent_many_times_at_once_is_stored_once_and_everybody_gets_its_answer() {
    for round in 0..50 {
        let platform = platform().await;
        let context = CommandContext {
            // Also with a version: the repetition is no conflict with itself.
            expected: (round % 2 == 0).then_some(ExpectedVersion::NoStream),
            ..named(CommandId::new())
        };
        let calls = (0..8).map(|_| {
            let (platform, context) = (platform.clone(), context.clone());
            tokio::spawn(async move { platform.user_as(&context, ADA, register(ADA, EMAIL)).await })
        });

        let answers = join_all(calls).await.into_iter().map(|call| call.unwrap().unwrap());
        let answers: Vec<_> = answers.collect();

        assert_eq!(platform.event_types().await, ["UserRegistered"]);
        assert!(answers.iter().all(|a| (a.version.0, a.events.len()) == (1, 1)));
        let stored = answers.iter().filter(|a| a.outcome == Outcome::Stored).count();
        assert_eq!(stored, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_command_whose_twin_was_a_little_faster_gets_the_twins_answer_and_no_refusal() {
    for expected in [None, Some(ExpectedVersion::NoStream)] {
        let platform = platform().await;
        let context = CommandContext { expected, ..named(CommandId::new()) };
        let command = UserCommand::from(register(ADA, EMAIL));
        let twin = (platform.executor.clone(), ADA.0, command.clone(), context.clone());
        let mischief = Mischief::TwinFirst(Box::new(twin));
        let store = Mischievous::new(platform.store.clone(), 1, mischief);
        let slower = platform.through(store, options());

        let answer = slower.user_as(&context, ADA, command).await.unwrap();

        assert_eq!((answer.outcome, answer.version), (Outcome::Repeated, StreamVersion(1)));
        assert_eq!(platform.event_types().await, ["UserRegistered"]);
    }
}

#[tokio::test]
async fn a_repetition_whose_first_answer_cannot_be_read_is_not_refused() {
    for expected in [None, Some(ExpectedVersion::NoStream)] {
        let platform = platform().await;
        let context = CommandContext { expected, ..named(CommandId::new()) };
        let command = UserCommand::from(register(ADA, EMAIL));
        platform.user_as(&context, ADA, command.clone()).await.unwrap();
        let store = Mischievous::new(platform.store.clone(), 1, Mischief::NoLookups);
        let again = platform.through(store, options());

        let unread = again.user_as(&context, ADA, command.clone()).await;
        let read = again.user_as(&context, ADA, command).await.unwrap();

        assert!(matches!(unread, Err(CommandError::Unavailable(_))), "{unread:?}");
        assert_eq!(read.outcome, Outcome::Repeated);
    }
}

#[tokio::test]
async fn an_id_stands_for_one_command_on_one_stream_under_one_condition() {
    let platform = platform().await;
    let id = CommandId::new();
    platform.user_as(&named(id), ADA, register(ADA, EMAIL)).await.unwrap();

    let other = platform.user_as(&named(id), ADA, register(ADA, "ada@example.org")).await;
    let elsewhere = platform.user_as(&named(id), BOB, register(BOB, EMAIL)).await;
    let expected = Some(ExpectedVersion::NoStream);
    let under = CommandContext { expected, ..named(id) };
    let under = platform.user_as(&under, ADA, register(ADA, EMAIL)).await;

    for answer in [other, elsewhere, under] {
        let Err(CommandError::CommandIdReused { command_id }) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(command_id, id);
    }
    assert_eq!(platform.log().await.len(), 1);
}

#[tokio::test]
async fn a_refused_command_may_be_sent_again_under_its_id() {
    let platform = platform().await;
    let id = CommandId::new();
    let refused = platform.user_as(&named(id), ADA, favourite(1)).await;
    assert!(matches!(refused, Err(CommandError::Refused(UserRefused::NotRegistered))));

    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let accepted = platform.user_as(&named(id), ADA, favourite(1)).await.unwrap();

    assert_eq!(accepted.outcome, Outcome::Stored);
}

#[tokio::test]
async fn a_named_command_that_changed_nothing_is_remembered() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let id = CommandId::new();
    let first = platform.user_as(&named(id), ADA, ReinstateUser {}).await.unwrap();
    assert_eq!((first.outcome, first.version), (Outcome::Unchanged, StreamVersion(1)));

    let reason = "Chargebacks".to_owned();
    platform.user(ADA, SuspendUser { reason }).await.unwrap();
    let again = platform.user_as(&named(id), ADA, ReinstateUser {}).await.unwrap();

    assert_eq!((again.outcome, again.version), (Outcome::Repeated, StreamVersion(1)));
    assert_eq!(again.events.len(), 0, "it changed nothing then, so it changes nothing now");
    assert_eq!(platform.event_types().await, ["UserRegistered", "UserSuspended"]);
}

#[tokio::test]
async fn a_nameless_command_that_changes_nothing_answers_with_the_head_of_the_log() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    platform.user(BOB, register(BOB, "bob@example.com")).await.unwrap();

    let unchanged = platform.user(ADA, ReinstateUser {}).await.unwrap();

    assert_eq!((unchanged.outcome, unchanged.version), (Outcome::Unchanged, StreamVersion(1)));
    assert_eq!(unchanged.position.unwrap().0, 2);
}

#[tokio::test]
async fn a_dry_run_decides_stores_nothing_and_leaves_its_id_free() {
    let platform = platform().await;
    let id = CommandId::new();
    let dry = CommandContext { dry_run: true, ..named(id) };

    let refused = platform.user_as(&dry, ADA, favourite(1)).await;
    let accepted = platform.user_as(&dry, ADA, register(ADA, EMAIL)).await.unwrap();

    assert!(matches!(refused, Err(CommandError::Refused(UserRefused::NotRegistered))));
    assert_eq!((accepted.outcome, accepted.version), (Outcome::DryRun, StreamVersion(1)));
    assert_eq!((accepted.position, accepted.events[0].position), (None, None));
    assert_eq!(platform.log().await.len(), 0);
    let real = platform.user_as(&named(id), ADA, register(ADA, EMAIL)).await.unwrap();
    assert_eq!(real.outcome, Outcome::Stored);
}

#[tokio::test]
async fn a_dry_run_says_that_a_key_is_taken() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();

    let dry = CommandContext { dry_run: true, ..context() };
    let taken = platform.user_as(&dry, BOB, register(BOB, EMAIL)).await;

    assert!(matches!(taken, Err(CommandError::Taken { namespace: "email", .. })));
}

#[test]
fn what_a_named_command_creates_has_the_same_id_every_time() {
    let id = CommandId::new();
    assert_eq!(named(id).new_id("user"), named(id).new_id("user"));
    assert_ne!(named(id).new_id("user"), named(id).new_id("listing"));
    assert_ne!(named(id).new_id("user"), named(CommandId::new()).new_id("user"));
    let of_another = CommandContext { tenant: "zenith".into(), ..named(id) };
    assert_ne!(named(id).new_id("user"), of_another.new_id("user"));
    assert_ne!(context().new_id("user"), context().new_id("user"));
}

#[tokio::test]
async fn a_lost_reply_stores_a_command_exactly_once() {
    for times in 1..4 {
        for stored in [true, false] {
            let platform = platform().await;
            let mischief = if stored { Mischief::ReplyLost } else { Mischief::RequestLost };
            let store = Mischievous::new(platform.store.clone(), times, mischief);
            let flaky = platform.through(store.clone(), options());

            let answer = flaky.user(ADA, register(ADA, EMAIL)).await.unwrap();

            assert_eq!((answer.version, answer.events.len()), (StreamVersion(1), 1));
            assert_eq!(platform.event_types().await, ["UserRegistered"]);
            let attempts = if stored { 1 } else { times + 1 };
            assert_eq!(store.appends(), attempts, "asked for the answer before appending again");
        }
    }
}

#[tokio::test]
async fn a_store_that_never_replies_is_not_asked_for_ever_and_the_id_to_send_again_is_told() {
    let platform = platform().await;
    let store = Mischievous::new(platform.store.clone(), 100, Mischief::RequestLost);
    let flaky = platform.through(store, ExecutorOptions { max_decisions: 3, ..options() });
    let unknown = flaky.user(ADA, register(ADA, EMAIL)).await;
    let Err(CommandError::OutcomeUnknown { command_id }) = unknown else { panic!("{unknown:?}") };

    let again = platform.user_as(&named(command_id), ADA, register(ADA, EMAIL)).await.unwrap();

    assert_eq!(again.outcome, Outcome::Stored);
}

#[tokio::test]
async fn a_store_that_goes_away_after_a_lost_reply_leaves_the_outcome_unknown() {
    let platform = platform().await;
    let store = Mischievous::new(platform.store.clone(), 1, Mischief::StoreGone);
    let flaky = platform.through(store, options());
    let unknown = flaky.user(ADA, register(ADA, EMAIL)).await;
    let Err(CommandError::OutcomeUnknown { command_id }) = unknown else { panic!("{unknown:?}") };

    let again = platform.user_as(&named(command_id), ADA, register(ADA, EMAIL)).await.unwrap();

    assert_eq!((again.outcome, again.version), (Outcome::Repeated, StreamVersion(1)));
    assert_eq!(platform.event_types().await, ["UserRegistered"]);
}

//! Writers that meet on one stream.

use freehold_commands::{CommandContext, CommandError, ExecutorOptions, Outcome};
use freehold_domain::user::{CloseAccount, FavouriteListing, UserCommand, UserRefused};
use freehold_ports::{ExpectedVersion, StreamVersion};
use futures_util::future::join_all;

use crate::samples::*;
use crate::stores::{Mischief, Mischievous};

fn another_favourite(number: u32) -> UserCommand {
    FavouriteListing { listing: listing(1_000 + u128::from(number)) }.into()
}

fn close(_: u32) -> UserCommand {
    CloseAccount { reason: None }.into()
}

fn at(version: u64) -> CommandContext {
    let expected = Some(ExpectedVersion::Exactly(StreamVersion(version)));
    CommandContext { expected, ..context() }
}

/// A platform with Ada, and the same one where somebody is faster `times` times.
async fn overtaken(times: u32, by: fn(u32) -> UserCommand) -> (Platform, Platform) {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let mischief = Mischief::SomebodyFirst(platform.executor.clone(), ADA.0, by);
    let store = Mischievous::new(platform.store.clone(), times, mischief);
    let overtaken = platform.through(store, ExecutorOptions { max_decisions: 4, ..options() });
    (platform, overtaken)
}

#[tokio::test]
async fn a_command_that_was_overtaken_is_decided_again_on_the_news() {
    let (platform, overtaken) = overtaken(3, another_favourite).await;

    let executed = overtaken.user(ADA, favourite(1)).await.unwrap();

    assert_eq!((executed.outcome, executed.version), (Outcome::Stored, StreamVersion(5)));
    assert_eq!(executed.events[0].version, StreamVersion(5));
    let now = platform.executor.load(ADA.0).await.unwrap();
    assert_eq!((now.aggregate, now.version), (executed.aggregate, executed.version));
}

#[tokio::test]
async fn the_news_may_refuse_it() {
    let (platform, overtaken) = overtaken(1, close).await;

    let refused = overtaken.user(ADA, favourite(1)).await;

    assert!(matches!(refused, Err(CommandError::Refused(UserRefused::AccountClosed))));
    assert_eq!(platform.event_types().await, ["UserRegistered", "AccountClosed"]);
}

#[tokio::test]
async fn it_is_not_decided_for_ever() {
    let (platform, overtaken) = overtaken(u32::MAX, another_favourite).await;

    let contended = overtaken.user(ADA, favourite(1)).await;

    assert!(matches!(contended, Err(CommandError::Contended { attempts: 4, .. })));
    assert_eq!(platform.log().await.len(), 1 + 4, "only the faster ones are stored");
}

#[tokio::test]
async fn a_caller_that_names_a_version_is_told_the_true_one_instead() {
    let (platform, overtaken) = overtaken(1, another_favourite).await;

    let conflict = overtaken.user_as(&at(1), ADA, favourite(1)).await;

    let Err(CommandError::VersionConflict { actual, expected, stream }) = conflict else {
        panic!("{conflict:?}")
    };
    assert_eq!((actual, expected), (StreamVersion(2), ExpectedVersion::Exactly(StreamVersion(1))));
    assert_eq!(stream.as_str(), format!("user-{}", ADA.0));
    assert_eq!(platform.log().await.len(), 2);
}

#[tokio::test]
async fn a_named_version_is_compared_before_anything_is_decided() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();

    let behind = platform.user_as(&at(0), ADA, favourite(1)).await;
    let ahead = platform.user_as(&at(2), ADA, favourite(1)).await;
    let right = platform.user_as(&at(1), ADA, favourite(1)).await;

    for conflict in [behind, ahead] {
        let is_told =
            |e| matches!(e, CommandError::VersionConflict { actual, .. } if actual.0 == 1);
        assert!(is_told(conflict.unwrap_err()));
    }
    assert_eq!(right.unwrap().version, StreamVersion(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_that_name_no_version_all_get_through() {
    let platform = platform_with(ExecutorOptions { max_decisions: 100, ..options() }).await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let writers = (1..=20).map(|number| {
        let platform = platform.clone();
        tokio::spawn(async move { platform.user(ADA, favourite(number)).await.unwrap().version.0 })
    });

    let mut versions: Vec<_> = join_all(writers).await.into_iter().map(Result::unwrap).collect();

    versions.sort_unstable();
    assert_eq!(versions, (2..=21).collect::<Vec<_>>());
}

#[tokio::test]
async fn commands_sent_as_one_are_stored_together_or_not_at_all() {
    let platform = platform().await;
    let both = |second| vec![UserCommand::from(register(ADA, EMAIL)), second];

    let refused = platform
        .executor
        .execute_all::<freehold_domain::user::User>(
            ADA.0,
            both(UserCommand::from(freehold_domain::user::CancelErasure {})),
            &context(),
        )
        .await
        .unwrap();
    assert_eq!(refused.events.len(), 1, "a command that changes nothing refuses nothing");

    let refused = platform
        .executor
        .execute_all::<freehold_domain::user::User>(
            BOB.0,
            vec![register(BOB, "bob@example.com").into(), register(BOB, "b@example.com").into()],
            &context(),
        )
        .await;
    assert!(matches!(refused, Err(CommandError::Refused(UserRefused::AlreadyRegistered))));
    assert_eq!(platform.log().await.len(), 1);
}

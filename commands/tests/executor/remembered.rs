//! What a caller remembers of a stream: a shortcut that changes no answer.

use std::sync::Arc;

use freehold_commands::{CommandContext, CommandError, ExecutorOptions, Loaded, Outcome};
use freehold_contract::interposed::Interposed;
use freehold_domain::user::{ReinstateUser, SuspendUser, User, UserCommand, UserRefused};
use freehold_ports::{CommandId, StreamVersion};

use crate::samples::*;
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

//! Keys that only one stream of a tenant may hold.

use freehold_commands::{CommandContext, CommandError, ExecutorOptions};
use freehold_domain::property::DraftListing;
use freehold_domain::user::{Change, CloseAccount, UpdateProfile, UserRefused};
use freehold_domain::{Claim, ClaimKey, Uniqueness, UserId};
use freehold_ports::{CommandId, ExpectedVersion, StreamVersion};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::samples::*;
use crate::stores::{Mischief, Mischievous};

fn contended() -> ExecutorOptions {
    ExecutorOptions { max_decisions: 100, ..options() }
}

fn new_email(email: &str) -> UpdateProfile {
    UpdateProfile { email: Change::Set(email.to_owned()), ..UpdateProfile::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_register_one_reference_at_once_one_wins() {
    for round in 0..20 {
        let platform = platform_with(contended()).await;
        let registrations = (1..=20).map(|id| {
            let platform = platform.clone();
            tokio::spawn(async move { platform.property(id, register_property("berlin-1")).await })
        });

        let answers: Vec<_> =
            join_all(registrations).await.into_iter().map(Result::unwrap).collect();

        let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "round {round}");
        let winner = platform.log().await[0].stream.clone();
        for lost in lost {
            let Err(CommandError::Taken { namespace: "source", by }) = lost else {
                panic!("{lost:?}")
            };
            assert_eq!(by, winner);
        }
        assert_eq!(platform.event_types().await, ["PropertyRegistered"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_register_one_address_at_once_one_wins_whatever_its_case() {
    let platform = platform_with(contended()).await;
    let registrations = (1..=20).map(|number| {
        let platform = platform.clone();
        let email = if number % 2 == 0 { EMAIL } else { " ADA@Example.com" };
        let user = UserId(Uuid::from_u128(number));
        tokio::spawn(async move { platform.user(user, register(user, email)).await.is_ok() })
    });

    let won = join_all(registrations).await.into_iter().filter(|won| *won.as_ref().unwrap());

    assert_eq!(won.count(), 1);
    assert_eq!(platform.event_types().await, ["UserRegistered"]);
}

#[tokio::test]
async fn a_closed_account_gives_its_address_back_and_the_next_one_keeps_it() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    let taken = platform.user(BOB, register(BOB, EMAIL)).await;
    assert!(matches!(taken, Err(CommandError::Taken { namespace: "email", .. })));

    platform.user(ADA, CloseAccount { reason: None }).await.unwrap();
    platform.user(BOB, register(BOB, EMAIL)).await.unwrap();

    let eve = UserId(Uuid::from_u128(0xefe));
    let taken = platform.user(eve, register(eve, EMAIL)).await;
    let Err(CommandError::Taken { by, .. }) = taken else { panic!("{taken:?}") };
    assert_eq!(by.as_str(), format!("user-{}", BOB.0));
}

#[tokio::test]
async fn a_changed_address_is_free_for_others_and_can_be_taken_back_unless_they_took_it() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    platform.user(ADA, new_email("ada@example.org")).await.unwrap();

    platform.user(ADA, new_email(EMAIL)).await.unwrap();
    platform.user(ADA, new_email("ada@example.org")).await.unwrap();
    platform.user(BOB, register(BOB, EMAIL)).await.unwrap();
    let back = platform.user(ADA, new_email(EMAIL)).await;

    assert!(matches!(back, Err(CommandError::Taken { namespace: "email", .. })));
}

#[tokio::test]
async fn an_address_given_back_is_not_taken_back_from_who_registers_it_at_the_same_moment() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();
    platform.user(ADA, new_email("ada@example.org")).await.unwrap();
    let bob_first =
        Mischief::SomebodyFirst(platform.executor.clone(), BOB.0, |_| register(BOB, EMAIL).into());
    let store = Mischievous::new(platform.store.clone(), 1, bob_first);

    let back = platform.through(store, options()).user(ADA, new_email(EMAIL)).await;

    let Err(CommandError::Taken { by, .. }) = back else { panic!("{back:?}") };
    assert_eq!(by.as_str(), format!("user-{}", BOB.0));
}

#[tokio::test]
async fn who_is_refused_leaves_no_key_behind() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();

    let taken = platform.user(BOB, register(BOB, EMAIL)).await;

    assert!(matches!(taken, Err(CommandError::Taken { .. })), "{taken:?}");
    let keys = platform.vault.keys_for_reading(&[ADA.into(), BOB.into()]).await.unwrap();
    assert_eq!(keys.into_keys().collect::<Vec<_>>(), [ADA.into()]);
}

#[tokio::test]
async fn a_key_is_taken_within_its_tenant_only() {
    let platform = platform().await;
    platform.user(ADA, register(ADA, EMAIL)).await.unwrap();

    let elsewhere = CommandContext::new("zenith", "web");
    let registered = platform.user_as(&elsewhere, BOB, register(BOB, EMAIL)).await;

    assert!(registered.is_ok());
}

#[tokio::test]
async fn a_listing_key_belongs_to_one_property() {
    let platform = platform().await;
    let draft =
        || DraftListing { listing: listing(7), price: None, available_from: None, agent: None };
    platform.property(1, register_property("berlin-1")).await.unwrap();
    platform.property(2, register_property("berlin-2")).await.unwrap();
    platform.property(1, draft()).await.unwrap();

    let taken = platform.property(2, draft()).await;

    assert!(matches!(taken, Err(CommandError::Taken { namespace: "listing", .. })));
}

#[tokio::test]
async fn the_holder_of_a_key_is_known_at_once_also_of_a_long_one() {
    let platform = platform().await;
    for (id, reference) in [(1, "berlin-1".to_owned()), (2, "ß".repeat(200))] {
        platform.property(id, register_property(&reference)).await.unwrap();
        let claim = |source: &str| Claim {
            namespace: "source",
            uniqueness: Uniqueness::Taken,
            key: ClaimKey::Clear(format!("{source}/{reference}")),
        };
        let holder = |tenant: &'static str, source: &'static str| {
            let (platform, claim) = (platform.clone(), claim(source));
            async move { platform.executor.holder_of(tenant, &claim).await.unwrap() }
        };

        let held_by = holder("acme", "berlin").await.unwrap();

        assert_eq!(held_by.as_str(), format!("property-{}", Uuid::from_u128(id)));
        assert_eq!(holder("acme", "hamburg").await, None);
        assert_eq!(holder("zenith", "berlin").await, None);
    }
}

#[tokio::test]
async fn a_stranger_finds_nothing_at_the_streams_of_another_tenant() {
    for snapshot_every in [1, u64::MAX] {
        let platform = platform_with(ExecutorOptions { snapshot_every, ..options() }).await;
        let id = CommandId::new();
        platform.user_as(&named(id), ADA, register(ADA, EMAIL)).await.unwrap();
        let stranger = CommandContext { command_id: None, ..stranger(id) };

        let refused = platform.user_as(&stranger, ADA, favourite(1)).await;
        let taken_over = platform.user_as(&stranger, ADA, register(ADA, EMAIL)).await;

        assert!(matches!(refused, Err(CommandError::Refused(UserRefused::NotRegistered))));
        assert!(matches!(taken_over, Err(CommandError::Contended { .. })), "{taken_over:?}");
        let expected = Some(ExpectedVersion::Exactly(StreamVersion(1)));
        let guess = CommandContext { expected, ..stranger };
        let guessed = platform.user_as(&guess, ADA, favourite(1)).await;
        let told = |actual: StreamVersion| actual.0 == 0;
        assert!(
            matches!(guessed, Err(CommandError::VersionConflict { actual, .. }) if told(actual))
        );
        assert_eq!(platform.log().await.len(), 1);
    }
}

#[tokio::test]
async fn a_stranger_gets_no_answer_of_another_tenants_command() {
    let platform = platform().await;
    let id = CommandId::new();
    platform.user_as(&named(id), ADA, register(ADA, EMAIL)).await.unwrap();

    let answer = platform.user_as(&stranger(id), ADA, register(ADA, EMAIL)).await;

    assert!(matches!(answer, Err(CommandError::CommandIdReused { .. })));
}

fn stranger(id: CommandId) -> CommandContext {
    CommandContext { command_id: Some(id), ..CommandContext::new("zenith", "web") }
}

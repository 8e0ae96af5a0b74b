//! What the store never sees in clear, and what is left once a key is gone.

use std::collections::BTreeSet;

use freehold_commands::ExecutorOptions;
use freehold_domain::user::*;
use freehold_domain::{LegalHoldId, SavedSearchId, StoredEvent};
use freehold_ports::{LogName, StreamId};
use uuid::Uuid;

use crate::samples::*;

const SECRETS: [&str; 12] = [
    "Ada Lovelace",
    "Countess of Lovelace",
    EMAIL,
    "countess@example.org",
    "4930123456",
    "4930654321",
    "Near the engine",
    "Near the library",
    "quiet garden",
    "Unpaid subscription",
    "Court order 7",
    "Moved to Ockham",
];

/// Everything about Ada that is personal, said once.
async fn tell_everything(platform: &Platform) {
    let search = SavedSearchId(Uuid::from_u128(2));
    let hold = LegalHoldId(Uuid::from_u128(3));
    let owned = str::to_owned;
    let commands: Vec<UserCommand> = vec![
        RegisterUser {
            display_name: Some(owned(SECRETS[0])),
            phone: Some(format!("+{}", SECRETS[4])),
            ..register(ADA, EMAIL)
        }
        .into(),
        UpdateProfile {
            display_name: Change::Set(owned(SECRETS[1])),
            email: Change::Set(owned(SECRETS[3])),
            phone: Change::Set(format!("+{}", SECRETS[5])),
        }
        .into(),
        SaveSearch {
            search,
            name: owned(SECRETS[6]),
            text: Some(owned(SECRETS[8])),
            filter: SearchFilter::default(),
            schedule: AlertSchedule::Daily,
        }
        .into(),
        RenameSearch { search, name: owned(SECRETS[7]) }.into(),
        PlaceLegalHold { hold, reason: owned(SECRETS[10]) }.into(),
        ReleaseLegalHold { hold }.into(),
        SuspendUser { reason: owned(SECRETS[9]) }.into(),
        RequestErasure { live_lease: None }.into(),
        CloseAccount { reason: Some(owned(SECRETS[11])) }.into(),
    ];
    for command in commands {
        platform.user(ADA, command).await.unwrap();
    }
}

fn ada() -> StreamId {
    StreamId::new("user", ADA).unwrap()
}

fn secrets_in(bytes: &[u8]) -> BTreeSet<&'static str> {
    let found = |secret: &&str| bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
    SECRETS.into_iter().filter(found).collect()
}

#[tokio::test]
async fn no_payload_tag_or_snapshot_holds_a_personal_value_in_clear() {
    let platform = platform_with(ExecutorOptions { snapshot_every: 1, ..options() }).await;
    tell_everything(&platform).await;

    let log = platform.log().await;
    assert_eq!(log.len(), 9);
    for event in &log {
        assert_eq!(secrets_in(&event.payload), BTreeSet::new(), "{}", event.event_type);
        // Names, tags and who asked are stored in clear.
        let envelope = format!("{:?}", (&event.event_type, &event.tags, &event.provenance));
        assert_eq!(secrets_in(envelope.as_bytes()), BTreeSet::new());
    }
    let snapshot = platform.store.load(&LogName::DOMAIN, &ada()).await.unwrap().unwrap();
    assert_eq!(snapshot.version.0, 9);
    assert_eq!(secrets_in(&snapshot.state), BTreeSet::new());

    // The scan can find them: opened with the key they are all there.
    let codec = platform.executor.codec();
    let keys = codec.keys_for(&log).await.unwrap();
    let opened: String =
        log.iter().map(|event| codec.open_payload(event, &keys).unwrap().to_string()).collect();
    assert_eq!(secrets_in(opened.as_bytes()), SECRETS.into());
}

#[tokio::test]
async fn every_event_with_a_personal_value_names_its_subject() {
    let platform = platform().await;
    tell_everything(&platform).await;

    for event in platform.log().await {
        let personal = !["LegalHoldReleased", "ErasureRequested"].contains(&&*event.event_type);
        let subjects: &[_] = if personal { &[ADA.into()] } else { &[] };
        assert_eq!(event.subjects, subjects, "{}", event.event_type);
    }
}

#[tokio::test]
async fn a_user_whose_key_is_destroyed_still_loads_with_and_without_a_snapshot() {
    for snapshot_every in [1, u64::MAX] {
        let platform = platform_with(ExecutorOptions { snapshot_every, ..options() }).await;
        tell_everything(&platform).await;
        platform.vault.destroy(ADA.into()).await.unwrap();

        let loaded = platform.executor.load::<User>(ADA.0).await.unwrap();

        let User::Registered(account) = &loaded.aggregate else { panic!("{loaded:?}") };
        assert_eq!((loaded.version.0, account.standing), (9, Standing::Closed));
        assert_eq!(account.display_name.as_ref().unwrap().known(), None);
        assert_eq!(account.email.as_ref().unwrap().value.known(), None);
        assert!(account.saved_searches.values().all(|saved| saved.name.known().is_none()));

        let shredded = platform.user(ADA, RecordKeyShredded {}).await.unwrap();
        assert_eq!(shredded.aggregate, User::Shredded(ADA));
        let again = platform.executor.load::<User>(ADA.0).await.unwrap();
        assert_eq!(again.aggregate, User::Shredded(ADA));
    }
}

#[tokio::test]
async fn who_is_erased_by_another_process_is_not_remembered_by_this_one() {
    let platform = platform().await;
    let register =
        RegisterUser { display_name: Some(SECRETS[0].to_owned()), ..register(ADA, EMAIL) };
    let registered = platform.user(ADA, register).await.unwrap();
    let User::Registered(account) = &registered.aggregate else { panic!("{registered:?}") };
    assert!(account.email.as_ref().unwrap().value.known().is_some());
    // As another process does, without a word to this one.
    platform.vault.destroy(ADA.into()).await.unwrap();

    let executed = platform.user(ADA, favourite(1)).await.unwrap();

    let User::Registered(account) = &executed.aggregate else { panic!("{executed:?}") };
    assert_eq!(account.display_name.as_ref().unwrap().known(), None);
    assert_eq!(account.email.as_ref().unwrap().value.known(), None);
}

#[tokio::test]
async fn after_the_key_is_destroyed_every_event_decodes_and_tells_nothing() {
    let platform = platform().await;
    tell_everything(&platform).await;
    platform.vault.destroy(ADA.into()).await.unwrap();

    let log = platform.log().await;
    let codec = platform.executor.codec();
    let keys = codec.keys_for(&log).await.unwrap();
    for recorded in &log {
        let event: UserEvent = codec.decode(recorded, &keys).unwrap();
        let told = event.serialize_payload(serde_json::value::Serializer).unwrap().to_string();
        assert_eq!(secrets_in(told.as_bytes()), BTreeSet::new(), "{}", recorded.event_type);
        assert_eq!(told.contains("erased"), !recorded.subjects.is_empty());
    }
}

//! What every [`KeyVault`] does.

use std::collections::HashSet;
use std::sync::Arc;

use freehold_domain::SubjectId;
use freehold_ports::{KeyVault, SubjectKey, VaultError};
use futures_util::future::join_all;
use uuid::Uuid;

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<dyn KeyVault>`](crate::Fresh).
#[macro_export]
macro_rules! key_vault_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            key_vault,
            [$($attribute),*],
            $fresh,
            [
                a_key_is_made_once_and_stays,
                no_two_subjects_share_a_key,
                reading_makes_no_key,
                racing_writers_get_the_same_key,
                a_destroyed_key_is_gone_for_good,
                destroying_again_is_not_an_error,
                a_subject_destroyed_before_it_had_a_key_never_gets_one,
                one_destroyed_subject_stops_the_whole_write,
                many_subjects_are_served_at_once,
                keyed_hashes_tell_purposes_and_texts_apart,
            ]
        );
    };
}

type Vault = Arc<dyn KeyVault>;

/// The first write makes the key; whoever asks later gets that one.
pub async fn a_key_is_made_once_and_stays(vault: Vault) {
    let subject = a_new_subject();
    let made = key_for_writing(&vault, subject).await;

    assert_eq!(key_for_writing(&vault, subject).await, made);
    assert_eq!(vault.keys_for_reading(&[subject]).await.unwrap().get(&subject), Some(&made));
}

/// Keys are as many as subjects.
pub async fn no_two_subjects_share_a_key(vault: Vault) {
    let subjects: Vec<_> = (0..50).map(|_| a_new_subject()).collect();

    let keys = vault.keys_for_writing(&subjects).await.unwrap();

    assert_eq!(keys.values().map(|key| key.0).collect::<HashSet<_>>().len(), 50);
    assert!(keys.values().all(|key| key.0 != [0; 32]));
}

/// Looking for a key that never was finds none, now and later.
pub async fn reading_makes_no_key(vault: Vault) {
    let subject = a_new_subject();
    for _ in 0..2 {
        assert!(vault.keys_for_reading(&[subject]).await.unwrap().is_empty());
    }
    assert!(vault.keys_for_reading(&[]).await.unwrap().is_empty());
    assert!(vault.keys_for_writing(&[]).await.unwrap().is_empty());
}

/// Two writers that both make the key must not seal under different ones.
pub async fn racing_writers_get_the_same_key(vault: Vault) {
    let subject = a_new_subject();
    let racers: Vec<_> = (0..20)
        .map(|_| {
            let vault = vault.clone();
            tokio::spawn(async move { key_for_writing(&vault, subject).await.0 })
        })
        .collect();

    let keys: HashSet<_> = join_all(racers).await.into_iter().map(Result::unwrap).collect();

    assert_eq!(keys.len(), 1);
}

/// After destruction nothing reads and nothing writes.
pub async fn a_destroyed_key_is_gone_for_good(vault: Vault) {
    let (subject, other) = (a_new_subject(), a_new_subject());
    key_for_writing(&vault, subject).await;
    let others = key_for_writing(&vault, other).await;

    vault.destroy(subject).await.unwrap();

    let keys = vault.keys_for_reading(&[subject, other]).await.unwrap();
    assert_eq!((keys.len(), keys.get(&other)), (1, Some(&others)));
    assert_destroyed(&vault, subject).await;
    assert_eq!(key_for_writing(&vault, other).await, others);
}

/// Asking again after a lost reply is fine.
pub async fn destroying_again_is_not_an_error(vault: Vault) {
    let subject = a_new_subject();
    key_for_writing(&vault, subject).await;
    for _ in 0..3 {
        vault.destroy(subject).await.unwrap();
    }
    assert_destroyed(&vault, subject).await;
}

/// A wish to be forgotten that comes first is kept too.
pub async fn a_subject_destroyed_before_it_had_a_key_never_gets_one(vault: Vault) {
    let subject = a_new_subject();
    vault.destroy(subject).await.unwrap();
    assert_destroyed(&vault, subject).await;
    assert!(vault.keys_for_reading(&[subject]).await.unwrap().is_empty());
}

/// A request is all or nothing, and says whose key is gone.
pub async fn one_destroyed_subject_stops_the_whole_write(vault: Vault) {
    let (gone, new) = (a_new_subject(), a_new_subject());
    vault.destroy(gone).await.unwrap();

    let answer = vault.keys_for_writing(&[new, gone]).await;

    assert!(matches!(answer, Err(VaultError::Destroyed { subject }) if subject == gone));
    key_for_writing(&vault, new).await;
}

/// A page of events may hold any number of people.
pub async fn many_subjects_are_served_at_once(vault: Vault) {
    let subjects: Vec<_> = (0..3_000).map(|_| a_new_subject()).collect();
    let made = vault.keys_for_writing(&subjects[..2_000]).await.unwrap();
    vault.destroy(subjects[0]).await.unwrap();

    let found = vault.keys_for_reading(&subjects).await.unwrap();

    assert_eq!((made.len(), found.len()), (2_000, 1_999));
    assert!(found.iter().all(|(subject, key)| made.get(subject) == Some(key)));
}

/// The same question gets the same hash, another one another.
pub async fn keyed_hashes_tell_purposes_and_texts_apart(vault: Vault) {
    let hash = vault.keyed_hash("email", b"ada@example.org");
    assert_eq!(vault.keyed_hash("email", b"ada@example.org"), hash);
    assert_ne!(vault.keyed_hash("phone", b"ada@example.org"), hash);
    assert_ne!(vault.keyed_hash("email", b"eve@example.org"), hash);
    assert_ne!(vault.keyed_hash("emaila", b"da@example.org"), hash);
    assert_eq!(hash.to_hex().len(), 32);
}

fn a_new_subject() -> SubjectId {
    SubjectId(Uuid::now_v7())
}

async fn key_for_writing(vault: &Vault, subject: SubjectId) -> SubjectKey {
    let keys = vault.keys_for_writing(&[subject]).await.unwrap();
    assert_eq!(keys.len(), 1);
    keys[&subject].clone()
}

async fn assert_destroyed(vault: &Vault, subject: SubjectId) {
    let answer = vault.keys_for_writing(&[subject]).await;
    assert!(matches!(answer, Err(VaultError::Destroyed { subject: gone }) if gone == subject));
}

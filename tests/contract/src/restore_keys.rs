//! What every [`RestoreKeys`] does.

use std::num::NonZeroU32;
use std::sync::Arc;

use freehold_domain::SubjectId;
use freehold_ports::{KeyVault, RestoreKeys, RestoreKeysError, VaultError, WrappedKey};
use uuid::Uuid;

/// Tests an adapter against every behaviour of the port; takes a
/// [`Fresh<Vaults>`](crate::restore_keys::Vaults).
#[macro_export]
macro_rules! restore_keys_suite {
    ($fresh:expr $(, #[$attribute:meta])*) => {
        $crate::suite!(
            restore_keys,
            [$($attribute),*],
            $fresh,
            [
                keys_are_the_same_in_the_other_vault,
                keys_come_out_in_pages,
                a_key_that_is_missing_is_not_a_destroyed_one,
                a_key_that_was_destroyed_stays_destroyed,
                a_key_destroyed_since_does_not_come_back,
                a_key_destroyed_where_it_came_from_is_destroyed,
                of_a_subject_given_twice_the_erasure_counts,
                another_master_key_is_refused,
                another_key_of_one_subject_stops_the_whole_batch,
            ]
        );
    };
}

/// A vault whose keys can be restored; every such vault is one.
pub trait Restorable: KeyVault + RestoreKeys {}

impl<V: KeyVault + RestoreKeys> Restorable for V {}

/// Three empty vaults.
pub struct Vaults {
    /// Where keys come from.
    pub from: Arc<dyn Restorable>,
    /// Where they go, with the same master key.
    pub to: Arc<dyn Restorable>,
    /// One with another master key.
    pub other: Arc<dyn Restorable>,
}

type AllVaults = Arc<Vaults>;

fn subjects(count: usize) -> Vec<SubjectId> {
    (0..count).map(|_| SubjectId(Uuid::new_v4())).collect()
}

async fn taken(vault: &Arc<dyn Restorable>) -> Vec<WrappedKey> {
    vault.wrapped_keys(None, NonZeroU32::new(10_000).unwrap()).await.unwrap()
}

/// What was sealed with a key is opened with it after the move.
pub async fn keys_are_the_same_in_the_other_vault(vaults: AllVaults) {
    let subjects = subjects(30);
    let made = vaults.from.keys_for_writing(&subjects).await.unwrap();

    let changed = vaults.to.restore_keys(taken(&vaults.from).await).await.unwrap();
    let again = vaults.to.restore_keys(taken(&vaults.from).await).await.unwrap();

    assert_eq!((changed, again), (30, 0));
    assert_eq!(vaults.to.keys_for_reading(&subjects).await.unwrap(), made);
    assert_eq!(vaults.to.keys_for_writing(&subjects).await.unwrap(), made);
    assert_eq!(taken(&vaults.to).await, taken(&vaults.from).await, "byte for byte");
}

/// Bounded, in order, each once.
pub async fn keys_come_out_in_pages(vaults: AllVaults) {
    let mut subjects = subjects(7);
    vaults.from.keys_for_writing(&subjects[1..]).await.unwrap();
    vaults.from.destroy(subjects[0]).await.unwrap();
    subjects.sort_unstable_by_key(|subject| subject.0);

    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = vaults.from.wrapped_keys(after, NonZeroU32::new(3).unwrap()).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.subject);
        assert!(page.len() <= 3);
        found.extend(page);
    }

    assert_eq!(found.iter().map(|key| key.subject).collect::<Vec<_>>(), subjects);
    assert_eq!(found.iter().filter(|key| key.wrapped.is_none()).count(), 1);
}

/// A key that was lost can be brought back, a destroyed one cannot.
pub async fn a_key_that_is_missing_is_not_a_destroyed_one(vaults: AllVaults) {
    let subjects = subjects(3);
    vaults.from.keys_for_writing(&subjects[..2]).await.unwrap();
    vaults.from.destroy(subjects[0]).await.unwrap();

    assert_eq!(vaults.from.without_keys(&subjects).await.unwrap(), subjects[2..]);
    assert_eq!(vaults.from.without_keys(&[]).await.unwrap(), []);
}

/// Whoever was erased before the move never gets a key after it.
pub async fn a_key_that_was_destroyed_stays_destroyed(vaults: AllVaults) {
    let subject = subjects(1)[0];
    vaults.from.keys_for_writing(&[subject]).await.unwrap();
    vaults.from.destroy(subject).await.unwrap();

    vaults.to.restore_keys(taken(&vaults.from).await).await.unwrap();

    let refused = vaults.to.keys_for_writing(&[subject]).await;
    assert!(matches!(refused, Err(VaultError::Destroyed { .. })), "{refused:?}");
}

/// An old copy of the keys does not undo an erasure.
pub async fn a_key_destroyed_since_does_not_come_back(vaults: AllVaults) {
    let subjects = subjects(2);
    vaults.from.keys_for_writing(&subjects).await.unwrap();
    let old = taken(&vaults.from).await;
    vaults.to.restore_keys(old.clone()).await.unwrap();
    vaults.to.destroy(subjects[0]).await.unwrap();

    let changed = vaults.to.restore_keys(old).await.unwrap();

    assert_eq!(changed, 0);
    let left = vaults.to.keys_for_reading(&subjects).await.unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [&subjects[1]]);
}

/// A newer copy of the keys brings the erasures that it knows.
pub async fn a_key_destroyed_where_it_came_from_is_destroyed(vaults: AllVaults) {
    let subjects = subjects(2);
    vaults.from.keys_for_writing(&subjects).await.unwrap();
    vaults.to.restore_keys(taken(&vaults.from).await).await.unwrap();
    assert_eq!(vaults.to.keys_for_reading(&subjects).await.unwrap().len(), 2);
    vaults.from.destroy(subjects[0]).await.unwrap();

    let changed = vaults.to.restore_keys(taken(&vaults.from).await).await.unwrap();

    assert_eq!(changed, 1);
    let left = vaults.to.keys_for_reading(&subjects).await.unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), [&subjects[1]]);
}

/// A batch put together from two copies names a subject twice.
pub async fn of_a_subject_given_twice_the_erasure_counts(vaults: AllVaults) {
    let subjects = subjects(3);
    vaults.from.keys_for_writing(&subjects).await.unwrap();
    let keys = taken(&vaults.from).await;
    let erased = |at: usize| WrappedKey { wrapped: None, ..keys[at].clone() };
    let twice = [&keys[0], &keys[0], &keys[1], &erased(1), &erased(2), &keys[2]];

    vaults.to.restore_keys(twice.into_iter().cloned().collect()).await.unwrap();

    let left = taken(&vaults.to).await;
    assert_eq!(left, [keys[0].clone(), erased(1), erased(2)]);
}

/// Keys that could not be used are not stored.
pub async fn another_master_key_is_refused(vaults: AllVaults) {
    vaults.from.keys_for_writing(&subjects(2)).await.unwrap();

    let refused = vaults.other.restore_keys(taken(&vaults.from).await).await;

    assert!(
        matches!(refused, Err(RestoreKeysError::Vault(VaultError::WrongMasterKey))),
        "{refused:?}"
    );
    assert_eq!(taken(&vaults.other).await, []);
}

/// Neither key may be lost: what was sealed with it would be.
pub async fn another_key_of_one_subject_stops_the_whole_batch(vaults: AllVaults) {
    let subjects = subjects(20);
    vaults.from.keys_for_writing(&subjects).await.unwrap();
    let here = vaults.to.keys_for_writing(&subjects[7..8]).await.unwrap();

    let refused = vaults.to.restore_keys(taken(&vaults.from).await).await;

    assert!(
        matches!(refused, Err(RestoreKeysError::OtherKey { subject }) if subject == subjects[7]),
        "{refused:?}"
    );
    assert_eq!(vaults.to.keys_for_reading(&subjects).await.unwrap(), here);
}

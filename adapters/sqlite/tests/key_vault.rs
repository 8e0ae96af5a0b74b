//! What the vault does beyond its contract: files, other processes, other master keys.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use freehold_domain::SubjectId;
use freehold_ports::{KeyVault, RestoreKeys as _, VaultError};
use freehold_sqlite::SqliteKeyVault;
use uuid::Uuid;

const MASTER: [u8; 32] = [7; 32];

#[tokio::test]
async fn keys_and_tombstones_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, gone) = (SubjectId(Uuid::now_v7()), SubjectId(Uuid::now_v7()));
    let vault = SqliteKeyVault::open(folder.path(), &MASTER).unwrap();
    let made = vault.keys_for_writing(&[kept, gone]).await.unwrap();
    vault.destroy(gone).await.unwrap();
    let hash = vault.keyed_hash("email", b"ada@example.org");
    drop(vault);

    let vault = SqliteKeyVault::open(folder.path(), &MASTER).unwrap();

    let found = vault.keys_for_reading(&[kept, gone]).await.unwrap();
    assert_eq!((found.len(), &found[&kept]), (1, &made[&kept]));
    let refused = vault.keys_for_writing(&[gone]).await;
    assert!(matches!(refused, Err(VaultError::Destroyed { subject }) if subject == gone));
    assert_eq!(vault.keyed_hash("email", b"ada@example.org"), hash);
}

#[tokio::test]
async fn a_wrong_master_key_is_refused_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let subject = SubjectId(Uuid::now_v7());
    let vault = SqliteKeyVault::open(folder.path(), &MASTER).unwrap();
    let made = vault.keys_for_writing(&[subject]).await.unwrap();
    drop(vault);

    let refused = SqliteKeyVault::open(folder.path(), &[8; 32]);

    assert!(matches!(refused, Err(VaultError::WrongMasterKey)));
    let vault = SqliteKeyVault::open(folder.path(), &MASTER).unwrap();
    assert_eq!(vault.keys_for_reading(&[subject]).await.unwrap(), made);
}

#[tokio::test]
async fn a_vault_opened_to_restore_has_no_master_key_until_it_is_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = || SqliteKeyVault::open_to_restore(folder.path(), &[8; 32]);
    drop(wrong().unwrap());

    let vault = SqliteKeyVault::open_to_restore(folder.path(), &MASTER).unwrap();
    vault.keep_master_key().await.unwrap();
    vault.keep_master_key().await.unwrap();

    drop(vault);
    assert!(matches!(wrong(), Err(VaultError::WrongMasterKey)));
    SqliteKeyVault::open(folder.path(), &MASTER).unwrap();
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _vault = SqliteKeyVault::open(folder.path(), &MASTER).unwrap();

    let second = SqliteKeyVault::open(folder.path(), &MASTER);

    let Err(VaultError::Unavailable { source }) = second else { panic!("opened twice") };
    assert!(source.to_string().contains("in use by another process"), "{source}");
}

#[tokio::test]
async fn no_key_stands_in_a_file_in_the_clear_and_a_destroyed_one_not_even_wrapped() {
    let folder = tempfile::tempdir().unwrap();
    let vault = SqliteKeyVault::open(folder.path(), &MASTER).unwrap();
    let subjects: Vec<_> = (0..200).map(|_| SubjectId(Uuid::now_v7())).collect();
    let keys = vault.keys_for_writing(&subjects).await.unwrap();
    let wrapped: Vec<Vec<u8>> = {
        let file = rusqlite::Connection::open(folder.path().join("keys.sqlite")).unwrap();
        let mut select = file.prepare("SELECT wrapped FROM data_key WHERE subject = ?1").unwrap();
        let subjects = subjects.iter();
        let wrapped = subjects.map(|s| select.query_row([s.0.as_bytes()], |row| row.get(0)));
        wrapped.map(Result::unwrap).collect()
    };
    assert!(wrapped.iter().all(|wrapped| in_a_file_of(folder.path(), wrapped)));

    let (gone, kept) = wrapped.split_at(100);
    for subject in &subjects[..100] {
        vault.destroy(*subject).await.unwrap();
    }

    assert!(!gone.iter().any(|wrapped| in_a_file_of(folder.path(), wrapped)));
    assert!(kept.iter().all(|wrapped| in_a_file_of(folder.path(), wrapped)));
    assert!(!keys.values().any(|key| in_a_file_of(folder.path(), &key.0)));
    assert!(!in_a_file_of(folder.path(), &MASTER));
}

fn in_a_file_of(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|file| {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

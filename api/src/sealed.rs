//! Whether the keys are there for what is sealed in the logs.
//!
//! A key that is missing reads as erased, so nobody notices; and a key that is made in its place
//! keeps the right one out for good.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use freehold_domain::SubjectId;
use freehold_ports::{EventFilter, GlobalPosition, LogName};

use crate::stores::{Stores, StoresError};

const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// Whose sealed values the logs hold though they have neither a key nor a destroyed one; reads
/// everything.
pub(crate) async fn subjects_without_keys(
    stores: &Stores,
) -> Result<BTreeSet<SubjectId>, StoresError> {
    let mut subjects = BTreeSet::new();
    let Some(vault) = &stores.keys else { return Ok(subjects) };
    // The logs first: a key is made before what is sealed with it is stored.
    for log in &stores.logs {
        let mut after = GlobalPosition(0);
        loop {
            let page = stores.events.read_all(log, &EventFilter::all(), after, PAGE).await?;
            subjects.extend(page.events.iter().flat_map(|event| &event.subjects));
            if page.through <= after {
                break;
            }
            after = page.through;
        }
    }
    let mut after = None;
    while !subjects.is_empty() {
        let keys = vault.wrapped_keys(after, PAGE).await?;
        let Some(last) = keys.last() else { break };
        after = Some(last.subject);
        keys.iter().for_each(|key| _ = subjects.remove(&key.subject));
    }
    Ok(subjects)
}

/// Refuses a vault without any key beside a log with sealed values.
///
/// One row of the vault is looked for, and events only where there is none: of users, as nothing
/// else holds sealed values, and the first of them nearly always does.
pub(crate) async fn check_vault(stores: &Stores) -> Result<(), StoresError> {
    let Some(vault) = &stores.keys else { return Ok(()) };
    if !vault.wrapped_keys(None, NonZeroU32::MIN).await?.is_empty() {
        return Ok(());
    }
    let users = EventFilter { categories: vec!["user".into()], ..EventFilter::all() };
    let mut after = GlobalPosition(0);
    loop {
        let page = stores.events.read_all(&LogName::DOMAIN, &users, after, PAGE).await?;
        if page.events.iter().any(|event| !event.subjects.is_empty()) {
            return Err(StoresError::NoKeys);
        }
        if page.through <= after {
            return Ok(());
        }
        after = page.through;
    }
}

//! Whether the keys are those that the logs need: none is missing, and none outlived an erasure.
//!
//! A key that is missing reads as erased, so nobody notices; and a key that is made in its place
//! keeps the right one out for good. A key that an older copy of the vault brought back opens what
//! a person asked to be forgotten.

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use freehold_domain::user::UserEvent;
use freehold_domain::{SubjectId, UserId};
use freehold_ports::{
    CodecError, EventCodec, EventFilter, EventStore, Filter, GenerationState, GlobalPosition,
    LogName, Order, Query, ReadError, RecordedEvent, StreamId, StreamVersion, SubjectKeys,
};
use freehold_projections::models::account::{AccountRow, Accounts, Erasure};
use freehold_projections::{ColumnValue as _, Projection as _, TypedPage, TypedRow as _, query};
use tracing::warn;

use crate::stores::{Stores, StoresError};

const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// Whose keys are not as the logs say.
#[derive(Default)]
pub(crate) struct WrongKeys {
    /// Whose sealed values the logs hold though they have neither a key nor a destroyed one.
    pub(crate) missing: BTreeSet<SubjectId>,
    /// Who have a key though the log says that it was destroyed.
    pub(crate) alive: BTreeSet<SubjectId>,
}

/// Compares the keys with the logs; reads everything.
pub(crate) async fn wrong_keys(stores: &Stores) -> Result<WrongKeys, StoresError> {
    let mut wrong = WrongKeys::default();
    let Some(vault) = &stores.keys else { return Ok(wrong) };
    // The logs first: a key is made before what is sealed with it is stored.
    let mut erased = BTreeSet::new();
    for log in &stores.logs {
        let mut after = GlobalPosition(0);
        loop {
            let page = stores.events.read_all(log, &EventFilter::all(), after, PAGE).await?;
            wrong.missing.extend(page.events.iter().flat_map(|event| &event.subjects));
            if *log == LogName::DOMAIN {
                erased.extend(shredded(&stores.codec, &page.events)?);
            }
            if page.through <= after {
                break;
            }
            after = page.through;
        }
    }
    let mut after = None;
    loop {
        let keys = vault.wrapped_keys(after, PAGE).await?;
        let Some(last) = keys.last() else { break };
        after = Some(last.subject);
        for key in &keys {
            wrong.missing.remove(&key.subject);
            if key.wrapped.is_some() && erased.contains(&key.subject) {
                wrong.alive.insert(key.subject);
            }
        }
    }
    Ok(wrong)
}

/// Of whom these events say that their key was destroyed.
pub(crate) fn shredded(
    codec: &EventCodec,
    events: &[RecordedEvent],
) -> Result<Vec<SubjectId>, CodecError> {
    let mut subjects = Vec::new();
    for event in events.iter().filter(|event| of_shredding(event)) {
        let read: UserEvent = codec.decode(event, &SubjectKeys::default())?;
        if let UserEvent::SubjectKeyShredded(shredded) = read {
            subjects.push(shredded.subject);
        }
    }
    Ok(subjects)
}

const SHREDDED: &str = "SubjectKeyShredded";

fn of_shredding(event: &RecordedEvent) -> bool {
    &*event.event_type == SHREDDED && event.stream.category() == "user"
}

/// The events that say of somebody that their key was destroyed.
pub(crate) fn shreddings() -> EventFilter {
    EventFilter { categories: vec!["user".into()], event_types: vec![SHREDDED.into()] }
}

/// Destroys the keys that are alive though the log says that they were destroyed: an older copy of
/// the vault was put back, or a process ended between the two. Returns how many.
///
/// Who was erased is asked of the read model, and of the log only what that has not seen. The log
/// has the last word: a read model may be one of another history.
pub(crate) async fn destroy_again(stores: &Stores) -> Result<u64, StoresError> {
    if stores.keys.is_none() {
        return Ok(0);
    }
    let mut destroyed = 0;
    let seen = accounts_seen(stores).await?;
    if seen > GlobalPosition(0) {
        for state in [Erasure::KeyShredded, Erasure::Completed] {
            let filters = vec![Filter::Equals("erasure", state.to_value())];
            let mut after = None;
            loop {
                let page = accounts(stores, &filters, Some("erasure_deadline"), after).await?;
                let subjects: Vec<_> = page.rows.iter().map(|row| row.user.into()).collect();
                for subject in stores.vault.keys_for_reading(&subjects).await?.into_keys() {
                    if is_erased(stores, UserId(subject.0)).await? {
                        stores.vault.destroy(subject).await?;
                        destroyed += 1;
                    }
                }
                after = page.rows.into_iter().last();
                if !page.has_more || after.is_none() {
                    break;
                }
            }
        }
    }
    let mut after = seen;
    loop {
        let page = stores.events.read_all(&LogName::DOMAIN, &shreddings(), after, PAGE).await?;
        let subjects = shredded(&stores.codec, &page.events)?;
        for subject in stores.vault.keys_for_reading(&subjects).await?.into_keys() {
            stores.vault.destroy(subject).await?;
            destroyed += 1;
        }
        if page.through <= after {
            break;
        }
        after = page.through;
    }
    if destroyed > 0 {
        metrics::counter!("freehold_keys_destroyed_again_total").increment(destroyed);
        warn!(
            keys = destroyed,
            "destroyed keys again that the log says were destroyed: the vault was an older copy"
        );
    }
    Ok(destroyed)
}

/// Warns if the log holds personal values of people whose key is missing.
///
/// Every account is looked at, a page at a time, so this runs beside what is served.
pub(crate) async fn warn_of_missing_keys(stores: &Stores) -> Result<(), StoresError> {
    let Some(vault) = &stores.keys else { return Ok(()) };
    let (mut people, mut first) = (0_usize, None);
    let mut count = |missing: Vec<SubjectId>| {
        people += missing.len();
        first = first.or(missing.first().copied());
    };
    let seen = accounts_seen(stores).await?;
    if seen > GlobalPosition(0) {
        let mut after = None;
        loop {
            let page = accounts(stores, &[], None, after).await?;
            let sealed = |row: &&AccountRow| {
                [&row.display_name, &row.email, &row.phone].iter().any(|value| value.is_some())
            };
            let subjects: Vec<_> =
                page.rows.iter().filter(sealed).map(|row| row.user.into()).collect();
            count(vault.without_keys(&subjects).await?);
            after = page.rows.into_iter().last();
            if !page.has_more || after.is_none() {
                break;
            }
        }
    }
    let users = EventFilter { categories: vec!["user".into()], ..EventFilter::all() };
    let (mut after, mut told) = (seen, BTreeSet::new());
    loop {
        let page = stores.events.read_all(&LogName::DOMAIN, &users, after, PAGE).await?;
        let subjects: BTreeSet<_> = page.events.iter().flat_map(|event| &event.subjects).collect();
        let new: Vec<_> = subjects.into_iter().copied().filter(|of| told.insert(*of)).collect();
        count(vault.without_keys(&new).await?);
        if page.through <= after {
            break;
        }
        after = page.through;
    }
    if let Some(first) = first {
        warn!(
            people,
            %first,
            "keys are missing: personal values of these people read as erased. The vault is an \
             older copy, or another one than before: stop, and put the right one back or bring the \
             keys with `freehold keys import`; `freehold doctor` counts all of them"
        );
    }
    Ok(())
}

/// How far the read model of accounts has read the log; 0 if none answers, or one of another
/// release or history.
async fn accounts_seen(stores: &Stores) -> Result<GlobalPosition, StoresError> {
    let generations = stores.models.generations(Accounts::NAME).await;
    let generations = generations.map_err(freehold_projections::ReadError::from)?;
    let active = generations.iter().find(|one| one.state == GenerationState::Active);
    let head = stores.events.head(&LogName::DOMAIN).await?;
    let seen = active.filter(|active| active.version == Accounts::VERSION);
    let seen = seen.map(|active| active.checkpoint).filter(|checkpoint| *checkpoint <= head);
    Ok(seen.unwrap_or(GlobalPosition(0)))
}

async fn is_erased(stores: &Stores, user: UserId) -> Result<bool, StoresError> {
    let Ok(stream) = StreamId::new("user", user) else { return Ok(false) };
    let mut version = StreamVersion(0);
    loop {
        let page = stores.events.read_stream(&LogName::DOMAIN, &stream, version, PAGE).await?;
        let Some(last) = page.last() else { return Ok(false) };
        if !shredded(&stores.codec, &page)?.is_empty() {
            return Ok(true);
        }
        version = last.version;
    }
}

/// The page of accounts after a row of the same question.
async fn accounts(
    stores: &Stores,
    filters: &[Filter],
    order: Option<&'static str>,
    after: Option<AccountRow>,
) -> Result<TypedPage<AccountRow>, StoresError> {
    let place = |row: AccountRow| {
        let (key, row) = (AccountRow::key_values(&row.key()).0, row.to_row().0);
        let ordered = order.iter().filter_map(|name| AccountRow::TABLE.column(name));
        ordered.map(|column| row[column].clone()).chain(key).collect()
    };
    let asked = Query {
        table: AccountRow::TABLE,
        filters: filters.to_vec(),
        order: order.iter().map(|column| Order { column, descending: false }).collect(),
        after: after.map(place),
        before: None,
        backwards: false,
        limit: PAGE,
    };
    Ok(query(&*stores.models, Accounts::NAME, asked).await?)
}

/// Refuses a vault without any key beside a log with sealed values.
///
/// One row of the vault is looked for, and events only where there is none.
pub(crate) async fn check_vault(stores: &Stores) -> Result<(), StoresError> {
    let Some(vault) = &stores.keys else { return Ok(()) };
    if vault.wrapped_keys(None, NonZeroU32::MIN).await?.is_empty()
        && holds_sealed(&*stores.events).await?
    {
        return Err(stores.no_keys());
    }
    Ok(())
}

/// Whether a log holds sealed values: of users, as nothing else has any, and the first of them
/// nearly always does.
pub(crate) async fn holds_sealed(events: &dyn EventStore) -> Result<bool, ReadError> {
    let users = EventFilter { categories: vec!["user".into()], ..EventFilter::all() };
    let mut after = GlobalPosition(0);
    loop {
        let page = events.read_all(&LogName::DOMAIN, &users, after, PAGE).await?;
        if page.events.iter().any(|event| !event.subjects.is_empty()) {
            return Ok(true);
        }
        if page.through <= after {
            return Ok(false);
        }
        after = page.through;
    }
}

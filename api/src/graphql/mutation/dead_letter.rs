//! What operators do to dead letters.

use std::num::NonZeroU32;
use std::sync::Arc;

use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use freehold_ports::{AppendError, DeadLetter as Letter, LetterFilter, LetterId, Provenance};
use freehold_projections::{DecisionError, ProjectionError, Projections, models};

use super::user_error::{UserError, UserErrorCode};
use crate::graphql::fault::internal;
use crate::graphql::objects::dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterTrial};
use crate::graphql::{Fault, Limits, caller, platform, require};
use crate::http::Role;
use crate::platform::Platform;

/// How many letters are read at a time.
const PAGE: NonZeroU32 = NonZeroU32::new(1_000).expect("it is not zero");

/// How many letters may be named one by one.
const MOST_NAMED: usize = 1_000;

/// Has letters tried again.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct DeadLetterRetryInput {
    /// These, all or none; at most 1,000.
    letters: Option<Vec<ID>>,
    /// Or all of these, as far as they still wait.
    filter: Option<DeadLetterFilter>,
    /// At most so many streams a second; without it, one after the other.
    per_second: Option<i32>,
    /// Only say what would come of it, of as many letters as a page may have.
    #[graphql(default)]
    dry_run: bool,
}

/// What came of an order to try letters again.
#[derive(Default, SimpleObject)]
pub(crate) struct DeadLetterRetryPayload {
    /// How many letters are tried again, or would be.
    count: u32,
    /// Of a dry run: what would come of it, letter by letter.
    results: Vec<DeadLetterTrial>,
    /// Why nothing was ordered; empty where something was.
    user_errors: Vec<UserError>,
}

/// Has an event folded with another payload.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct DeadLetterEditInput {
    /// The letter whose event it is.
    letter: ID,
    /// The payload, JSON of the event's type and schema version. Personal values stay sealed as the
    /// event has them, or are left out.
    payload: String,
    /// Why, for whoever reads the history: 1 to 1,000 characters, without names of people.
    reason: String,
    /// Only say what would come of it.
    #[graphql(default)]
    dry_run: bool,
}

/// What came of an edit.
#[derive(Default, SimpleObject)]
pub(crate) struct DeadLetterEditPayload {
    /// Of a dry run: what would come of it.
    result: Option<DeadLetterTrial>,
    /// Why nothing was decided; empty where something was.
    user_errors: Vec<UserError>,
}

/// Has events passed over for good.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct DeadLetterDiscardInput {
    /// Those of these letters, if all are there; at most 1,000.
    letters: Option<Vec<ID>>,
    /// Or those of all of these, as far as they still wait.
    filter: Option<DeadLetterFilter>,
    /// Why, for whoever reads the history: 1 to 1,000 characters, without names of people.
    reason: String,
    /// Only count them.
    #[graphql(default)]
    dry_run: bool,
}

/// What came of a discard.
#[derive(Default, SimpleObject)]
pub(crate) struct DeadLetterDiscardPayload {
    /// How many events are passed over, or would be.
    count: u32,
    /// Why nothing was decided; empty where something was.
    user_errors: Vec<UserError>,
}

/// What operators do to dead letters.
#[derive(Default)]
pub(crate) struct DeadLetterMutations;

#[Object]
impl DeadLetterMutations {
    /// Has letters tried again by the process that runs their projection, within a second.
    async fn dead_letter_retry(
        &self,
        ctx: &Context<'_>,
        input: DeadLetterRetryInput,
    ) -> async_graphql::Result<DeadLetterRetryPayload> {
        require(ctx, Role::Operator)?;
        let platform = platform(ctx);
        let mut errors = Vec::new();
        let per_second = pace(input.per_second, &mut errors);
        let letters = selected(platform, input.letters, input.filter, &mut errors).await?;
        if !errors.is_empty() {
            return Ok(DeadLetterRetryPayload { user_errors: errors, ..Default::default() });
        }
        if input.dry_run {
            let count = count(letters.len() as u64);
            let results = trials(ctx, letters).await?;
            return Ok(DeadLetterRetryPayload { count, results, user_errors: Vec::new() });
        }
        let ordered = projections(platform).retry_letters(letters, per_second, who(ctx)?).await;
        match ordered.map_err(decision_error) {
            Ok(ordered) => {
                Ok(DeadLetterRetryPayload { count: count(ordered), ..Default::default() })
            }
            Err(Ok(error)) => {
                Ok(DeadLetterRetryPayload { user_errors: vec![error], ..Default::default() })
            }
            Err(Err(fault)) => Err(fault.into()),
        }
    }

    /// Has the event of a letter folded with another payload by its projection from now on, and the
    /// letter tried. The event stays as it is.
    async fn dead_letter_edit(
        &self,
        ctx: &Context<'_>,
        input: DeadLetterEditInput,
    ) -> async_graphql::Result<DeadLetterEditPayload> {
        require(ctx, Role::Operator)?;
        let platform = platform(ctx);
        let DeadLetterEditInput { letter: id, payload, reason, dry_run } = input;
        let Some(letter) = letter(platform, &id).await? else {
            let user_errors = vec![unknown(&["letter"])];
            return Ok(DeadLetterEditPayload { user_errors, ..Default::default() });
        };
        let projections = projections(platform);
        let edited = if dry_run {
            projections.try_edit(&letter, &payload).await.map(Some)
        } else {
            let who = who(ctx)?;
            projections.edit_letter(letter.clone(), &payload, &reason, who).await.map(|()| None)
        };
        match edited.map_err(decision_error) {
            Ok(tried) => {
                let letter = DeadLetter(Arc::new(letter));
                let result = tried.map(|tried| DeadLetterTrial::of(letter, Some(tried)));
                Ok(DeadLetterEditPayload { result, ..Default::default() })
            }
            Err(Ok(error)) => {
                Ok(DeadLetterEditPayload { user_errors: vec![error], ..Default::default() })
            }
            Err(Err(fault)) => Err(fault.into()),
        }
    }

    /// Has the events of letters passed over by their projections for good, and the letters tried.
    /// The events stay in the log.
    async fn dead_letter_discard(
        &self,
        ctx: &Context<'_>,
        input: DeadLetterDiscardInput,
    ) -> async_graphql::Result<DeadLetterDiscardPayload> {
        require(ctx, Role::Operator)?;
        let platform = platform(ctx);
        let DeadLetterDiscardInput { letters, filter, reason, dry_run } = input;
        let mut errors = Vec::new();
        let letters = selected(platform, letters, filter, &mut errors).await?;
        if !errors.is_empty() {
            return Ok(DeadLetterDiscardPayload { user_errors: errors, ..Default::default() });
        }
        if dry_run {
            let count = count(letters.len() as u64);
            return Ok(DeadLetterDiscardPayload { count, ..Default::default() });
        }
        let discarded = projections(platform).discard_letters(letters, &reason, who(ctx)?).await;
        match discarded.map_err(decision_error) {
            Ok(discarded) => {
                Ok(DeadLetterDiscardPayload { count: count(discarded), ..Default::default() })
            }
            Err(Ok(error)) => {
                Ok(DeadLetterDiscardPayload { user_errors: vec![error], ..Default::default() })
            }
            Err(Err(fault)) => Err(fault.into()),
        }
    }
}

fn count(letters: u64) -> u32 {
    u32::try_from(letters).unwrap_or(u32::MAX)
}

/// Who decides.
fn who(ctx: &Context<'_>) -> Result<Provenance, Fault> {
    let caller = caller(ctx)?;
    Ok(Provenance {
        tenant: caller.tenant.clone(),
        actor: caller.actor.clone(),
        correlation_id: Some(caller.correlation_id),
        causation_id: None,
    })
}

/// What was asked for in vain, or what is wrong here.
fn decision_error(refused: DecisionError) -> Result<UserError, Fault> {
    let message = refused.to_string();
    Ok(match refused {
        DecisionError::Gone => error(UserErrorCode::DeadLetterUnknown, None, message),
        DecisionError::Held => error(UserErrorCode::DeadLetterHeld, None, message),
        DecisionError::Reason => error(UserErrorCode::ReasonInvalid, Some(&["reason"]), message),
        DecisionError::Payload(_) | DecisionError::Append(AppendError::Invalid(_)) => {
            error(UserErrorCode::EditInvalid, Some(&["payload"]), message)
        }
        DecisionError::Append(AppendError::Overloaded { retry_after }) => {
            return Err(Fault::Overloaded(retry_after));
        }
        DecisionError::Append(AppendError::Fenced { .. }) => return Err(Fault::Fenced),
        DecisionError::Append(error) => {
            tracing::warn!(%error, "nothing was decided about a dead letter");
            return Err(Fault::Unavailable);
        }
        DecisionError::Codec(error) => return Err(error.into()),
        DecisionError::Projection(error) => return Err(failed(error)),
    })
}

/// Something that is wrong with an input.
fn error(code: UserErrorCode, field: Option<&[&str]>, message: impl Into<String>) -> UserError {
    let path = |field: &[&str]| ["input"].iter().chain(field).map(|s| (*s).to_owned()).collect();
    UserError { code, field: field.map(path), message: message.into(), ..UserError::default() }
}

/// How many letters a second are tried.
fn pace(per_second: Option<i32>, errors: &mut Vec<UserError>) -> Option<NonZeroU32> {
    let rate = u32::try_from(per_second?).ok().and_then(NonZeroU32::new);
    if rate.is_none() {
        let message = "must be at least 1; leave it out for one after the other";
        errors.push(error(UserErrorCode::OutOfRange, Some(&["perSecond"]), message));
    }
    rate
}

/// The letters that an input means, all of those it names.
async fn selected(
    platform: &Platform,
    letters: Option<Vec<ID>>,
    filter: Option<DeadLetterFilter>,
    errors: &mut Vec<UserError>,
) -> Result<Vec<Letter>, Fault> {
    let found = match (letters, filter) {
        (Some(ids), None) => named(platform, &ids, errors).await?,
        (None, Some(filter)) => filtered(platform, filter.port()?).await?,
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => {
            let message = "send letters or a filter, not both";
            errors.push(error(UserErrorCode::InvalidInput, Some(&["filter"]), message));
            Vec::new()
        }
    };
    if found.is_empty() && errors.is_empty() {
        let message = "nothing is selected; send letters of the query deadLetters, or a filter \
                       that lets some of them through";
        errors.push(error(UserErrorCode::NothingSelected, None, message));
    }
    Ok(found)
}

async fn named(
    platform: &Platform,
    ids: &[ID],
    errors: &mut Vec<UserError>,
) -> Result<Vec<Letter>, Fault> {
    if ids.len() > MOST_NAMED {
        let message = format!("at most {MOST_NAMED} letters; send a filter for more");
        errors.push(error(UserErrorCode::TooMany, Some(&["letters"]), message));
        return Ok(Vec::new());
    }
    let mut found: Vec<Letter> = Vec::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        let path = ["letters".to_owned(), place.to_string()];
        match letter(platform, id).await? {
            Some(letter) if found.iter().all(|other| other.id != letter.id) => found.push(letter),
            Some(_) => {}
            None => errors.push(unknown(&[&path[0], &path[1]])),
        }
    }
    Ok(found)
}

/// The error of a letter that is not there.
fn unknown(field: &[&str]) -> UserError {
    let message = "there is no such letter any more: its stream goes on, or is parked at another \
                   event; look at deadLetters again";
    error(UserErrorCode::DeadLetterUnknown, Some(field), message)
}

/// The letter of an id, as long as it stands.
async fn letter(platform: &Platform, id: &ID) -> Result<Option<Letter>, Fault> {
    let Some(LetterId { generation, stream, position }) = DeadLetter::parse_id(id) else {
        return Ok(None);
    };
    let filter = LetterFilter {
        projection: Some(generation.projection.clone()),
        stream: Some(stream),
        ..LetterFilter::default()
    };
    let found = platform.models.letters(filter, None, NonZeroU32::MIN).await?.pop();
    Ok(found.filter(|letter| letter.id.generation == generation && letter.id.position == position))
}

async fn filtered(platform: &Platform, filter: LetterFilter) -> Result<Vec<Letter>, Fault> {
    let mut letters: Vec<Letter> = Vec::new();
    loop {
        let after = letters.last().map(|letter| letter.id.clone());
        let page = platform.models.letters(filter.clone(), after, PAGE).await?;
        if page.is_empty() {
            return Ok(letters);
        }
        letters.extend(page);
    }
}

/// What trying letters would come to; of as many as a page may have.
async fn trials(ctx: &Context<'_>, letters: Vec<Letter>) -> Result<Vec<DeadLetterTrial>, Fault> {
    let projections = projections(platform(ctx));
    let most = ctx.data_unchecked::<Limits>().page_cap as usize;
    let mut trials = Vec::new();
    for letter in letters.into_iter().take(most) {
        let tried = projections.try_letter(&letter.id).await.map_err(failed)?;
        trials.push(DeadLetterTrial::of(DeadLetter(Arc::new(letter)), tried));
    }
    Ok(trials)
}

/// The engine of this process, or one that folds for a dry run alone.
pub(crate) fn projections(platform: &Platform) -> Arc<Projections> {
    platform.projections.clone().unwrap_or_else(|| {
        let Platform { store, models, codec, clock, .. } = platform.clone();
        Arc::new(models::all(Projections::new(store, models, codec, clock)))
    })
}

/// A failure of the engine; what it says goes to the log.
pub(crate) fn failed(error: ProjectionError) -> Fault {
    match error {
        ProjectionError::ReadModels(error) => error.into(),
        ProjectionError::Stopped(_) => {
            tracing::warn!(%error, "a dead letter was not tried");
            Fault::Unavailable
        }
        error => internal(&error),
    }
}

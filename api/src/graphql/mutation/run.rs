//! From an input to what came of it.

use async_graphql::{Context, ErrorExtensions as _};
use freehold_commands::{CommandError, EventSourced, Executed, Outcome};
use freehold_domain::property::{Property, PropertyRefused};
use freehold_domain::user::{User, UserRefused};
use freehold_domain::{Refusal, StoredEvent};
use freehold_ports::{CodecError, VaultError};
use uuid::Uuid;

use super::catalogue::{Mutation, MutationInput};
use super::form::Form;
use super::payload::{CommittedEvent, Settled};
use super::user_error::{UserError, UserErrorCode};
use crate::graphql::objects::enums::ListingStatus;
use crate::graphql::objects::event::long;
use crate::graphql::scalars::Position;
use crate::graphql::{Fault, caller, platform, require};
use crate::http::Role;

/// What an input asks for.
pub(crate) struct Order<A: EventSourced> {
    /// Whom.
    pub(crate) id: Uuid,
    /// What.
    pub(crate) command: A::Command,
    /// The listing or the search that it is about, where it is about one.
    pub(crate) part: Option<Uuid>,
}

impl<A: EventSourced> Order<A> {
    /// A command about the whole aggregate.
    pub(crate) fn new(id: Uuid, command: impl Into<A::Command>) -> Self {
        Self { id, command: command.into(), part: None }
    }
}

/// An aggregate that mutations command.
pub(crate) trait Served: EventSourced<Error: Explained> {}

impl Served for Property {}
impl Served for User {}

/// A refusal that knows more than code, field and message.
pub(crate) trait Explained: Refusal {
    /// The statuses between which there is no arrow.
    fn transition(&self) -> Option<(ListingStatus, ListingStatus)>;
}

impl Explained for PropertyRefused {
    fn transition(&self) -> Option<(ListingStatus, ListingStatus)> {
        match self {
            Self::InvalidTransition { from, to } => Some(((*from).into(), (*to).into())),
            _ => None,
        }
    }
}

impl Explained for UserRefused {
    fn transition(&self) -> Option<(ListingStatus, ListingStatus)> {
        None
    }
}

/// Reads an input, and executes what it asks for unless something is wrong with it.
pub(crate) async fn run<M: Mutation>(
    ctx: &Context<'_>,
    role: Role,
    input: M,
) -> async_graphql::Result<Settled> {
    require(ctx, role)?;
    let mut form = Form::new(platform(ctx), caller(ctx)?, input.asked());
    let order = input.order(&mut form).await?;
    if !form.faults().is_empty() {
        return faulty::<M>(&form, order).await;
    }
    let Some(Order { id, command, part }) = order else {
        tracing::error!(payload = M::PAYLOAD, "an input gave neither an order nor a fault");
        return Err(Fault::Internal.into());
    };
    match form.platform.executor.execute::<M::Aggregate>(id, command, &form.context).await {
        Ok(executed) => Ok(settled(&executed, id, part)),
        Err(error) => refused::<M, _>(&form, error),
    }
}

/// The answer to an input with faults: those, and what else the aggregate would refuse.
async fn faulty<M: Mutation>(
    form: &Form<'_>,
    order: Option<Order<M::Aggregate>>,
) -> async_graphql::Result<Settled> {
    let mut settled = form.refusal(M::FIELDS);
    if let Some(Order { id, command, .. }) = order {
        let mut context = form.context.clone();
        (context.dry_run, context.expected) = (true, None);
        let decided = form.platform.executor.execute::<M::Aggregate>(id, command, &context).await;
        if let Err(CommandError::Refused(refused)) = decided {
            let complaints = complaints::<M, _>(form, &refused);
            let of_fields = complaints.into_iter().filter(|error| error.field.is_some());
            settled.user_errors.extend(of_fields);
        }
    }
    Ok(settled)
}

/// What came of an executed command.
pub(crate) fn settled<A: EventSourced>(
    executed: &Executed<A>,
    id: Uuid,
    part: Option<Uuid>,
) -> Settled {
    let events = executed.events.iter().map(|event| CommittedEvent {
        event_type: event.event.event_type().to_owned(),
        version: long(event.version.0),
        position: event.position.map(Position),
    });
    Settled {
        events: events.collect(),
        stream_version: Some(long(executed.version.0)),
        position: executed.position.map(Position),
        outcome: Some(executed.outcome.into()),
        user_errors: Vec::new(),
        // A dry run changed nothing that could be shown.
        id: (executed.outcome != Outcome::DryRun).then_some(id),
        part,
    }
}

/// What to answer instead of what a command would have done: refusals are told in the payload,
/// failures at the top level.
pub(crate) fn refused<M: MutationInput, R: Explained>(
    form: &Form<'_>,
    error: CommandError<R>,
) -> async_graphql::Result<Settled> {
    use UserErrorCode as Code;
    let one =
        |code, field: Option<&str>, message: String| form.error(code, field, message, M::FIELDS);
    let error = match error {
        CommandError::Refused(refused) => {
            return Ok(Settled::refused(complaints::<M, R>(form, &refused)));
        }
        CommandError::Taken { namespace: "email", .. } => {
            // Who holds it stays unsaid: that an address has an account is news enough.
            let message = "this e-mail address belongs to another account; use another one";
            one(Code::EmailTaken, Some("email"), message.to_owned())
        }
        CommandError::Taken { namespace: "listing", .. } => {
            let message = "a listing of another property has this key; draft it under a new id";
            one(Code::ListingKeyUsed, Some("command_id"), message.to_owned())
        }
        CommandError::Taken { by, .. } => {
            let message = format!("this reference is already taken by {by}; send it changes");
            one(Code::DuplicateSourceRef, Some("source"), message)
        }
        CommandError::VersionConflict { actual, .. } => {
            let message = format!("the stream is at version {actual}; reload it and decide again");
            let error = one(Code::VersionConflict, Some("expected_version"), message);
            UserError { current_version: Some(long(actual.0)), ..error }
        }
        error @ CommandError::Contended { .. } => one(Code::Contended, None, error.to_string()),
        error @ CommandError::CommandIdReused { .. } => {
            one(Code::CommandIdReused, Some("command_id"), error.to_string())
        }
        CommandError::Invalid(invalid) => one(Code::InvalidInput, None, invalid.to_string()),
        CommandError::Codec(CodecError::Vault(VaultError::Destroyed { .. })) => {
            one(Code::UserErased, None, UserRefused::UserErased.to_string())
        }
        CommandError::Overloaded { retry_after } => {
            return Err(Fault::Overloaded(retry_after).into());
        }
        CommandError::OutcomeUnknown { command_id } => {
            let command_id = form.context.command_id.unwrap_or(command_id);
            let message = "no reply from the log; send the same input again with this commandId";
            return Err(coded(message.to_owned(), "OUTCOME_UNKNOWN")
                .extend_with(|_, extensions| extensions.set("commandId", command_id.to_string())));
        }
        error @ (CommandError::Codec(_)
        | CommandError::Fenced { .. }
        | CommandError::Unavailable(_)) => {
            return Err(failed(error).into());
        }
    };
    Ok(Settled::refused(vec![error]))
}

/// Every complaint of a refusal as an error of the input.
fn complaints<M: MutationInput, R: Explained>(form: &Form<'_>, refused: &R) -> Vec<UserError> {
    let (from, to) = refused.transition().unzip();
    let complaints = refused.complaints().into_iter().map(|complaint| {
        let code = UserErrorCode::of(complaint.code);
        let field = complaint.field.as_deref();
        let error = form.error(code, field, complaint.message, M::FIELDS);
        UserError { from, to, ..error }
    });
    complaints.collect()
}

/// A failure of the platform; what it says goes to the log.
pub(crate) fn failed<R: Refusal>(error: CommandError<R>) -> Fault {
    match error {
        CommandError::Unavailable(error) => error.into(),
        CommandError::Fenced { .. } => Fault::Fenced,
        CommandError::Codec(error) => error.into(),
        other => {
            tracing::error!(error = %other, "a command failed");
            Fault::Internal
        }
    }
}

/// A failure of the vault.
pub(crate) fn unavailable(error: &VaultError) -> Fault {
    tracing::error!(%error, "a mutation found the key vault unavailable");
    Fault::Unavailable
}

fn coded(message: String, code: &'static str) -> async_graphql::Error {
    async_graphql::Error::new(message).extend_with(|_, extensions| extensions.set("code", code))
}

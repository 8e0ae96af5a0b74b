//! Forgetting a user, from the closed account to the certificate.

use async_graphql::{Context, ID, InputObject, Object};
use freehold_commands::{CommandContext, CommandError};
use freehold_domain::user::{CloseAccount, CompleteErasure, RecordKeyShredded, User, UserRefused};
use freehold_ports::{CommandId, ExpectedVersion};
use uuid::Uuid;

use super::catalogue::MutationInput;
use super::form::Form;
use super::input::Asked;
use super::payload::{Settled, UserPayload};
use super::run::{refused, settled, unavailable};
use super::user_error::UserErrorCode;
use crate::graphql::{caller, platform, require};
use crate::http::Role;

/// Forgets a user who asked for it.
#[derive(Clone, Debug, InputObject)]
pub(crate) struct UserEraseInput {
    /// The user.
    user: ID,
    /// The reference of the certificate of erasure; a new one where absent.
    certificate: Option<String>,
    #[graphql(flatten)]
    asked: Asked,
}

impl MutationInput for UserEraseInput {
    const PAYLOAD: &'static str = "UserErasePayload";
    const FIELDS: &'static [&'static str] = &["user", "certificate"];
}

/// The mutation that is more than one command.
#[derive(Default)]
pub(crate) struct ErasureMutations;

#[Object]
impl ErasureMutations {
    /// Forgets a user who asked for it: closes the account, records that the data key is gone,
    /// destroys the key, and certifies it. Refused before anything happens where a legal hold
    /// stands. Sent again after an interruption it goes on where it stopped.
    async fn user_erase(
        &self,
        ctx: &Context<'_>,
        input: UserEraseInput,
    ) -> async_graphql::Result<UserPayload<UserEraseInput>> {
        require(ctx, Role::Operator)?;
        erase(ctx, input).await.map(UserPayload::new)
    }
}

async fn erase(ctx: &Context<'_>, input: UserEraseInput) -> async_graphql::Result<Settled> {
    let mut form = Form::new(platform(ctx), caller(ctx)?, &input.asked);
    let user = form.user(&input.user);
    let certificate = format!("erasure-{}", form.new_id("certificate"));
    let certificate = input.certificate.unwrap_or(certificate);
    // The aggregate looks at it last; it is looked at here before the key is gone.
    if certificate.trim().is_empty() || certificate.contains('@') || certificate.len() > 200 {
        let message = "a certificate's reference has 1 to 200 bytes and no @";
        form.fault(UserErrorCode::CertificateInvalid, "certificate", message);
    }
    let Some(user) = user.filter(|_| form.faults().is_empty()) else {
        return Ok(form.refusal(UserEraseInput::FIELDS));
    };
    let Form { platform, context, .. } = &form;

    let complete = CompleteErasure { certificate };
    // Both or none: an account is not closed for an erasure that a legal hold forbids.
    let mut commands = vec![CloseAccount { reason: None }.into(), RecordKeyShredded {}.into()];
    if context.dry_run {
        // With no key to destroy between them, the whole is tried at once.
        commands.push(complete.clone().into());
    }
    let shredding = step(context, "shred", context.expected);
    let shredded = platform.executor.execute_all::<User>(user.0, commands, &shredding).await;
    let shredded = match shredded {
        Ok(executed) => Some(executed),
        // An earlier erasure came so far.
        Err(CommandError::Refused(UserRefused::UserErased)) => None,
        Err(error) => return refused::<UserEraseInput, _>(&form, error),
    };
    if let (true, Some(shredded)) = (context.dry_run, &shredded) {
        return Ok(settled(shredded, user.0, None));
    }

    // The log says so first: a crash here is repaired by destroying the key again.
    if !context.dry_run {
        platform.vault.destroy(user.into()).await.map_err(|error| unavailable(&error))?;
    }
    let completing = step(context, "complete", None);
    let completed = platform.executor.execute::<User>(user.0, complete.into(), &completing).await;
    let completed = match completed {
        Ok(executed) => settled(&executed, user.0, None),
        Err(error) => return refused::<UserEraseInput, _>(&form, error),
    };
    let first = shredded.map(|shredded| settled(&shredded, user.0, None)).unwrap_or_default();
    let events = first.events.into_iter().chain(completed.events).collect();
    Ok(Settled { events, ..completed })
}

/// The context of one step: each has a command id of its own, derived from that of the whole.
fn step(whole: &CommandContext, name: &str, expected: Option<ExpectedVersion>) -> CommandContext {
    let command_id = whole.command_id.map(|id| CommandId(Uuid::new_v5(&id.0, name.as_bytes())));
    CommandContext { command_id, expected, ..whole.clone() }
}

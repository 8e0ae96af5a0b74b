//! Why a request gets no data: every top-level error has one of these codes in `extensions.code`.
//!
//! Ports fail in their own words; here those become what a client may read, and the words go to
//! the log. [`Fault`] deliberately has no `Display`, so no other error can become a GraphQL error
//! by accident: what is not converted here does not compile.

use std::sync::Arc;
use std::time::Duration;

use async_graphql::Value;
use freehold_ports::{CodecError, ReadModelError, VaultError};
use freehold_projections::MalformedRow;
use tracing::{error, warn};

use crate::platform::Stale;

/// A fault of the client or of the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The client sent something that cannot be meant; asking again does not help.
    BadInput(Vec<InputFault>),
    /// What the client wants to follow is not there.
    NotFound {
        /// The path of the argument that names it.
        field: &'static str,
    },
    /// A read model did not reach the position asked for in time.
    Stale(Stale),
    /// A read model is being built for the first time.
    NotBuilt(Arc<str>),
    /// A store does not answer.
    Unavailable,
    /// Too many wait for the log; after so long it may be asked again.
    Overloaded(Duration),
    /// This process writes no more; another one may.
    Fenced,
    /// A mistake of ours.
    Internal,
}

/// One argument or input field that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFault {
    /// Its path: `filter.price.currency`.
    pub field: String,
    /// What a valid value is.
    pub advice: String,
}

impl Fault {
    /// A fault of one input field.
    pub fn input(field: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::BadInput(vec![InputFault { field: field.into(), advice: advice.into() }])
    }

    /// The code that clients match on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadInput(_) => BAD_USER_INPUT,
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Stale(_) => "STALE",
            Self::NotBuilt(_) => "NOT_BUILT",
            Self::Unavailable => "UNAVAILABLE",
            Self::Overloaded(_) => "OVERLOADED",
            Self::Fenced => "FENCED",
            Self::Internal => "INTERNAL",
        }
    }
}

/// The code of a request that cannot be meant.
pub(crate) const BAD_USER_INPUT: &str = "BAD_USER_INPUT";

impl From<Fault> for async_graphql::Error {
    fn from(fault: Fault) -> Self {
        let message = match &fault {
            Fault::BadInput(faults) => {
                let all = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.advice));
                all.collect::<Vec<_>>().join("; ")
            }
            Fault::NotFound { field } => format!("{field}: there is nothing with this id"),
            Fault::Stale(stale) => stale.to_string(),
            Fault::NotBuilt(projection) => {
                format!("projection {projection} is still being built; ask again later")
            }
            Fault::Unavailable => "a store does not answer; ask again later".to_owned(),
            Fault::Overloaded(retry_after) => {
                format!("too many requests wait; try again after {} ms", retry_after.as_millis())
            }
            Fault::Fenced => {
                "this process takes no more writes until it is restarted; send it to another one"
                    .to_owned()
            }
            Fault::Internal => "something went wrong here; the log has the details".to_owned(),
        };
        let mut error = Self::new(message);
        let extensions = error.extensions.get_or_insert_default();
        extensions.set("code", fault.code());
        match fault {
            Fault::BadInput(faults) => {
                extensions.set("field", faults.first().map_or("", |fault| &fault.field));
                let all = faults.iter().map(
                    |fault| async_graphql::value!({"field": fault.field, "message": fault.advice}),
                );
                extensions.set("faults", Value::List(all.collect()));
            }
            Fault::NotFound { field } => extensions.set("field", field),
            Fault::Stale(stale) => {
                extensions.set("projection", stale.projection);
                extensions.set("at", stale.at.to_string());
                extensions.set("asked", stale.asked.to_string());
            }
            Fault::NotBuilt(projection) => extensions.set("projection", &*projection),
            Fault::Overloaded(retry_after) => {
                let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                extensions.set("retryAfterMs", retry_after_ms);
            }
            Fault::Unavailable | Fault::Fenced | Fault::Internal => {}
        }
        error
    }
}

impl From<Stale> for Fault {
    fn from(stale: Stale) -> Self {
        Self::Stale(stale)
    }
}

impl From<ReadModelError> for Fault {
    fn from(error: ReadModelError) -> Self {
        match error {
            ReadModelError::NotBuilt(projection) => Self::NotBuilt(projection),
            ReadModelError::Unavailable { .. } => unavailable(&error),
            ReadModelError::NoGeneration(_)
            | ReadModelError::Active(_)
            | ReadModelError::Behind { .. }
            | ReadModelError::Retired(_)
            | ReadModelError::CheckpointMoved { .. }
            | ReadModelError::Lacks { .. }
            | ReadModelError::LetterMoved { .. }
            | ReadModelError::Unfit { .. } => internal(&error),
        }
    }
}

impl From<freehold_projections::ReadError> for Fault {
    fn from(error: freehold_projections::ReadError) -> Self {
        match error {
            freehold_projections::ReadError::ReadModels(error) => error.into(),
            freehold_projections::ReadError::Malformed(error) => error.into(),
        }
    }
}

impl From<MalformedRow> for Fault {
    fn from(error: MalformedRow) -> Self {
        internal(&error)
    }
}

impl From<freehold_ports::ReadError> for Fault {
    fn from(error: freehold_ports::ReadError) -> Self {
        match error {
            freehold_ports::ReadError::Overloaded { retry_after } => Self::Overloaded(retry_after),
            freehold_ports::ReadError::Unavailable { .. } => unavailable(&error),
            freehold_ports::ReadError::Damaged { .. }
            | freehold_ports::ReadError::UnknownLog(_) => internal(&error),
        }
    }
}

impl From<CodecError> for Fault {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Vault(VaultError::Unavailable { .. } | VaultError::WrongMasterKey) => {
                unavailable(&error)
            }
            _ => internal(&error),
        }
    }
}

fn unavailable(error: &dyn std::error::Error) -> Fault {
    warn!(error = %error, cause = chain(error), "a query found a store unavailable");
    Fault::Unavailable
}

pub(crate) fn internal(error: &dyn std::error::Error) -> Fault {
    error!(error = %error, cause = chain(error), "a query failed");
    Fault::Internal
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

//! Who may call: bearer tokens with a role, or anybody who reaches an open loopback address.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use super::{Problem, RequestIds};
use crate::{config, platform};

/// What a caller may do; each role may do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Queries and subscriptions, personal values left out.
    Reader,
    /// Personal values, mutations and ingestion too.
    Writer,
    /// Everything.
    Operator,
}

/// Who calls, and what they may do. As an extractor it refuses requests without a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name, stored as the actor of events; `local` on an open loopback address.
    pub actor: Arc<str>,
    /// What they may do.
    pub role: Role,
}

/// The hash of a token.
///
/// BLAKE3 and not a slow password hash: a token is 256 random bits, which nobody can guess through
/// a fast hash either, and it is checked with every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenHash(blake3::Hash);

/// Tells who calls.
#[derive(Clone, Debug)]
pub struct Access(Arc<[(TokenHash, Caller)]>);

/// Why this configuration must not be served.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Whoever reaches the address could do anything.
    #[error(
        "http.listen is {listen}, which others can reach, and there is no token to keep them out; \
         make one with `freehold token create <name> --role operator` and put what it prints into \
         the configuration, or listen on 127.0.0.1"
    )]
    Open {
        /// The address.
        listen: SocketAddr,
    },
    /// Two tokens have one name, so an event's actor would be unclear.
    #[error("auth.tokens has the name {0} twice; every token needs a name of its own")]
    SameName(String),
}

impl Role {
    /// The word for it in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Operator => "operator",
        }
    }
}

impl Caller {
    /// Whoever reaches an open loopback address.
    pub fn local() -> Self {
        Self { actor: "local".into(), role: Role::Operator }
    }

    /// Who sends a request of a tenant, as the platform sees it.
    pub fn acting_for(&self, tenant: Arc<str>, ids: &RequestIds) -> platform::Caller {
        let actor = self.actor.clone();
        platform::Caller { actor, tenant, correlation_id: ids.correlation }
    }

    /// Refuses a caller with a lesser role.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        let detail = format!("this needs the role {}; {} has not", role.name(), self.actor);
        Err(Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", detail))
    }
}

/// A new token and its hash.
pub fn new_token() -> (String, TokenHash) {
    let mut random = [0; 32];
    getrandom::fill(&mut random).expect("the system's random source answers");
    // The prefix lets scanners for leaked secrets find it.
    let token = format!("fh_{}", blake3::Hash::from_bytes(random).to_hex());
    let hash = TokenHash::of(&token);
    (token, hash)
}

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(blake3::hash(token.as_bytes()))
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.to_hex().to_string()
    }
}

impl Access {
    /// Checks that `auth` keeps out whom it must at that address.
    pub fn new(auth: &config::Auth, listen: SocketAddr) -> Result<Self, AccessError> {
        if auth.tokens.is_empty() && !listen.ip().is_loopback() {
            return Err(AccessError::Open { listen });
        }
        let mut known: Vec<(TokenHash, Caller)> = Vec::with_capacity(auth.tokens.len());
        for token in &auth.tokens {
            if known.iter().any(|(_, caller)| *caller.actor == *token.name) {
                return Err(AccessError::SameName(token.name.clone()));
            }
            let hash = blake3::Hash::from_hex(&token.hash)
                .expect("the configuration was checked against the table of keys");
            known.push((
                TokenHash(hash),
                Caller { actor: token.name.as_str().into(), role: token.role },
            ));
        }
        Ok(Self(known.into()))
    }

    /// Whether everybody who reaches the address may call.
    pub fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Who sent these headers; nobody if they name nobody.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Option<Caller>, Problem> {
        match headers.get(header::AUTHORIZATION) {
            _ if self.is_open() => Ok(Some(Caller::local())),
            None => Ok(None),
            Some(value) => match value.to_str() {
                Ok(text) => self.identify_text(text).map(Some),
                Err(_) => Err(unknown_token()),
            },
        }
    }

    /// Who holds the token of an `Authorization` text.
    pub fn identify_text(&self, text: &str) -> Result<Caller, Problem> {
        if self.is_open() {
            return Ok(Caller::local());
        }
        let (scheme, token) = text.split_once(' ').unwrap_or_default();
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::unauthenticated("use the header `Authorization: Bearer <token>`"));
        }
        // blake3 compares hashes in constant time, and every one of them is compared.
        let hash = TokenHash::of(token.trim());
        let mut found = None;
        for (known, caller) in self.0.iter() {
            if *known == hash {
                found = Some(caller);
            }
        }
        found.cloned().ok_or_else(unknown_token)
    }
}

fn unknown_token() -> Problem {
    Problem::unauthenticated("this token is not known here; ask an operator for another")
}

/// What [`Access`] found out about a request, for the extractor.
pub(super) type Identified = Result<Option<Caller>, Problem>;

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match parts.extensions.get::<Identified>() {
            Some(Ok(Some(caller))) => Ok(caller.clone()),
            Some(Err(problem)) => Err(problem.clone()),
            Some(Ok(None)) | None => Err(Problem::unauthenticated(
                "this needs a token; use the header `Authorization: Bearer <token>`",
            )),
        }
    }
}

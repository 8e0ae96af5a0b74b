//! What mutations answer: what came of the command, and the object it changed.
//!
//! A payload is generic over its mutation's input only to be named after it.

use std::borrow::Cow;
use std::marker::PhantomData;

use async_graphql::{Context, Enum, Object, SimpleObject, TypeName};
use freehold_commands::Outcome;
use freehold_domain::{ListingKey, PropertyId, SavedSearchId, UserId};
use uuid::Uuid;

use super::catalogue::MutationInput;
use super::user_error::UserError;
use crate::graphql::freshness::fresh;
use crate::graphql::objects::listing::Listing;
use crate::graphql::objects::property::Property;
use crate::graphql::objects::user::{SavedSearch, User};
use crate::graphql::projections::{ACCOUNTS, LISTINGS, PROPERTIES};
use crate::graphql::scalars::{Long, Position, SavedSearchKey};
use crate::graphql::{Fault, platform};

/// Whether a command stored something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enum)]
#[graphql(remote = "Outcome")]
pub(crate) enum CommandOutcome {
    /// Its events are stored.
    Stored,
    /// There was nothing to change.
    Unchanged,
    /// It was stored before under the same `commandId`: this is the first answer.
    Repeated,
    /// It would be accepted.
    DryRun,
}

/// An event of a command.
#[derive(Clone, Debug, PartialEq, Eq, SimpleObject)]
pub(crate) struct CommittedEvent {
    /// Its name, past tense.
    #[graphql(name = "type")]
    pub(crate) event_type: String,
    /// Its place in the stream, counted from 1.
    pub(crate) version: Long,
    /// Its place in the log `DOMAIN`; null in a dry run.
    pub(crate) position: Option<Position>,
}

/// What every payload says.
#[derive(Debug, Default, SimpleObject)]
pub(crate) struct Settled {
    /// The events of the command, oldest first.
    pub(crate) events: Vec<CommittedEvent>,
    /// The version of the stream after the command; null where it was refused.
    pub(crate) stream_version: Option<Long>,
    /// The place in the log to ask queries for, as `minPosition`, so that they show the change;
    /// null in a dry run and where the command was refused.
    pub(crate) position: Option<Position>,
    /// Whether something was stored; null where the command was refused.
    pub(crate) outcome: Option<CommandOutcome>,
    /// Why the command was refused: everything that is wrong with the input, or what speaks
    /// against it. Empty where it was not refused.
    pub(crate) user_errors: Vec<UserError>,
    /// The aggregate that was changed.
    #[graphql(skip)]
    pub(crate) id: Option<Uuid>,
    /// The listing or the search that the command was about.
    #[graphql(skip)]
    pub(crate) part: Option<Uuid>,
}

impl Settled {
    /// The answer to a command that is refused.
    pub(crate) fn refused(user_errors: Vec<UserError>) -> Self {
        Self { user_errors, ..Self::default() }
    }

    /// The property after the command, as soon as the read model shows it.
    async fn property(&self, ctx: &Context<'_>) -> Result<Option<Property>, Fault> {
        let Some(id) = self.id else { return Ok(None) };
        fresh(platform(ctx), PROPERTIES, self.position).await?;
        Property::load(ctx, PropertyId(id)).await
    }

    /// The listing after the command, as soon as the read model shows it.
    async fn listing(&self, ctx: &Context<'_>) -> Result<Option<Listing>, Fault> {
        let (Some(_), Some(key)) = (self.id, self.part) else { return Ok(None) };
        fresh(platform(ctx), LISTINGS, self.position).await?;
        Listing::load(ctx, ListingKey(key)).await
    }

    /// The account after the command, as soon as the read model shows it.
    async fn user(&self, ctx: &Context<'_>) -> Result<Option<User>, Fault> {
        let Some(id) = self.id else { return Ok(None) };
        fresh(platform(ctx), ACCOUNTS, self.position).await?;
        User::load(ctx, UserId(id)).await
    }

    /// The search after the command, as soon as the read model shows it.
    async fn saved_search(&self, ctx: &Context<'_>) -> Result<Option<SavedSearch>, Fault> {
        let (Some(user), Some(search)) = (self.id, self.part) else { return Ok(None) };
        fresh(platform(ctx), ACCOUNTS, self.position).await?;
        let key = SavedSearchKey { user: UserId(user), search: SavedSearchId(search) };
        SavedSearch::load(ctx, key).await
    }
}

macro_rules! payloads {
    ($(
        $(#[$doc:meta])*
        $payload:ident { $( $(#[$field_doc:meta])* $field:ident: $object:ty ),+ $(,)? }
    )+) => {$(
        $(#[$doc])*
        pub(crate) struct $payload<M>(Settled, PhantomData<fn() -> M>);

        impl<M> $payload<M> {
            pub(crate) fn new(settled: Settled) -> Self {
                Self(settled, PhantomData)
            }
        }

        impl<M: MutationInput> TypeName for $payload<M> {
            fn type_name() -> Cow<'static, str> {
                M::PAYLOAD.into()
            }
        }

        $(#[$doc])*
        #[Object(name_type)]
        impl<M: MutationInput> $payload<M> {
            $(
                $(#[$field_doc])*
                async fn $field(&self, ctx: &Context<'_>) -> Result<Option<$object>, Fault> {
                    self.0.$field(ctx).await
                }
            )+

            #[graphql(flatten)]
            async fn settled(&self, _ctx: &Context<'_>) -> &Settled {
                &self.0
            }
        }
    )+};
}

payloads! {
    /// What came of a command to a property.
    PropertyPayload {
        /// The property after the command; null where nothing was stored.
        property: Property,
    }

    /// What came of a command about a listing.
    ListingPayload {
        /// The listing after the command; null where nothing was stored.
        listing: Listing,
        /// Its property after the command; null where nothing was stored.
        property: Property,
    }

    /// What came of a command to an account.
    UserPayload {
        /// The account after the command; null where nothing was stored.
        user: User,
    }

    /// What came of a command about a saved search.
    SavedSearchPayload {
        /// The search after the command; null where it is deleted or nothing was stored.
        saved_search: SavedSearch,
        /// Its account after the command; null where nothing was stored.
        user: User,
    }
}

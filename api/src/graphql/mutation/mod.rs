//! Mutations: one for every command of a property and of an account, plus [`user_erase`].
//!
//! A mutation is a name, an input and what the input asks for; [`mutations!`] writes the rest. The
//! input is read into a command by a [`Form`], which collects everything that is wrong with it;
//! [`run`] lets the executor decide; the payload is one of four generic ones, named after its
//! mutation. What the business refuses is told in `userErrors`; an error at the top level means
//! that nobody decided.
//!
//! [`user_erase`]: erasure::ErasureMutations

mod catalogue;
mod enums;
mod erasure;
mod form;
mod input;
mod listing;
mod media;
mod payload;
mod privacy;
mod property;
mod run;
mod search;
mod terms;
mod user;
mod user_error;

use async_graphql::MergedObject;

pub use enums::{BackOnMarketCause, ExportFormat, FactField, ProfileField};
pub use payload::{CommandOutcome, CommittedEvent};
pub use user_error::{UserError, UserErrorCode};

/// Every mutation.
#[derive(Default, MergedObject)]
pub struct Mutation(
    property::PropertyMutations,
    media::MediaMutations,
    listing::ListingMutations,
    terms::TermsMutations,
    user::UserMutations,
    search::SearchMutations,
    privacy::PrivacyMutations,
    erasure::ErasureMutations,
);

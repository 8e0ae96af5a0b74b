//! Mutations: one for every command of a property and of an account, `userErase`, and what operators
//! do to dead letters.
//!
//! A mutation is a name, an input and what the input asks for; the macro in `catalogue` writes the
//! rest. A `Form` reads the input into a command and notes everything that is wrong with it; `run`
//! lets the executor decide; the payload is one of four generic ones, named after its mutation.
//! What the business refuses stands in `userErrors`; an error at the top level means that nobody
//! decided. To add one: a few lines in the file of its concept, and its case in the tests.

mod catalogue;
pub(crate) mod dead_letter;
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

#[cfg(test)]
mod tests;

use async_graphql::MergedObject;

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
    dead_letter::DeadLetterMutations,
);

//! Commands to a property as a whole.

use async_graphql::ID;
use freehold_domain::PropertyId;
use freehold_domain::property::{
    ArchiveProperty, CorrectPropertyFacts, MarkDuplicateOf, Origin, Property, RegisterProperty,
    SeparateDuplicate, SetAmenities, VerifyAddress,
};

use super::catalogue::mutations;
use super::enums::FactField;
use super::input::{GeocodingInput, PropertyFactsInput};
use super::payload::PropertyPayload;
use super::run::Order;
use crate::graphql::query::{PropertyBy, SourceInput};

mutations! {
    /// Commands to a property as a whole.
    PropertyMutations of Property => PropertyPayload {
        /// Makes a unit known.
        property_register(PropertyRegisterInput => "PropertyRegisterPayload") {
            /// Who sends it, and what the sender calls it: unique, for ever.
            source: SourceInput,
            /// What is known about it; type and location are needed.
            facts: PropertyFactsInput,
            /// What it offers.
            amenities: Option<Vec<String>>,
        } |input, form| {
            let facts = input.facts.read(form);
            let amenities = form.words("amenities", input.amenities.unwrap_or_default());
            let (source, origin) = (input.source.into(), Origin::Client);
            let command = RegisterProperty { source, origin, facts, amenities };
            Ok(Some(Order::new(form.new_id("property"), command)))
        }

        /// Corrects what is known about a unit; what is not named stays as it is.
        property_facts_correct(PropertyFactsCorrectInput => "PropertyFactsCorrectPayload") {
            /// The property.
            property: PropertyBy,
            /// Facts with their right values; null says nothing.
            facts: Option<PropertyFactsInput>,
            /// Facts that are not known after all.
            clear: Option<Vec<FactField>>,
        } |input, form| {
            let facts = input.facts.unwrap_or_default().read(form);
            let clear = input.clear.unwrap_or_default().into_iter().map(Into::into).collect();
            let property = form.property(&input.property).await?;
            Ok(property.map(|id| Order::new(id, CorrectPropertyFacts { facts, clear })))
        }

        /// Replaces what a unit offers.
        property_amenities_set(PropertyAmenitiesSetInput => "PropertyAmenitiesSetPayload") {
            /// The property.
            property: PropertyBy,
            /// All of it.
            amenities: Vec<String>,
        } |input, form| {
            let amenities = form.words("amenities", input.amenities);
            let property = form.property(&input.property).await?;
            Ok(property.map(|id| Order::new(id, SetAmenities { amenities })))
        }

        /// Brings the answer of a geocoder.
        property_address_verify(PropertyAddressVerifyInput => "PropertyAddressVerifyPayload")
        for Operator {
            /// The property.
            property: PropertyBy,
            /// The answer.
            outcome: GeocodingInput,
        } |input, form| {
            let outcome = input.outcome.into();
            let property = form.property(&input.property).await?;
            Ok(property.map(|id| Order::new(id, VerifyAddress { outcome })))
        }

        /// Says that a property is another one, which survives.
        property_duplicate_mark(PropertyDuplicateMarkInput => "PropertyDuplicateMarkPayload") {
            /// The property.
            property: PropertyBy,
            /// The other one.
            survivor: ID,
            /// Whether people wait for an answer to their applications for the property.
            #[graphql(default)]
            has_open_applications: bool,
        } |input, form| {
            let survivor: Option<PropertyId> = form.id("survivor", &input.survivor);
            let property = form.property(&input.property).await?;
            let (Some(survivor), Some(id)) = (survivor, property) else { return Ok(None) };
            let command = MarkDuplicateOf {
                property: PropertyId(id),
                survivor,
                survivor_is_duplicate: form.is_duplicate("survivor", survivor).await?,
                has_open_applications: input.has_open_applications,
            };
            Ok(Some(Order::new(id, command)))
        }

        /// Says that a property is one of its own after all.
        property_duplicate_separate(
            PropertyDuplicateSeparateInput => "PropertyDuplicateSeparatePayload"
        ) {
            /// The property.
            property: PropertyBy,
        } |input, form| {
            let property = form.property(&input.property).await?;
            Ok(property.map(|id| Order::new(id, SeparateDuplicate)))
        }

        /// Keeps a property for its history only.
        property_archive(PropertyArchiveInput => "PropertyArchivePayload") {
            /// The property.
            property: PropertyBy,
            /// Whether somebody lives there under a lease.
            #[graphql(default)]
            has_current_lease: bool,
        } |input, form| {
            let has_current_lease = input.has_current_lease;
            let property = form.property(&input.property).await?;
            Ok(property.map(|id| Order::new(id, ArchiveProperty { has_current_lease })))
        }
    }
}

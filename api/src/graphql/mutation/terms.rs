//! Commands about what a listing costs, and on which terms it is let.

use async_graphql::ID;
use freehold_domain::property::{
    ChangeAvailability, ChangeRent, Concession, MoveInCost, OfferConcession, OngoingFee, Property,
    SetLeaseTerms, SetMoveInCosts, SetOngoingFees, WithdrawConcession,
};

use super::catalogue::mutations;
use super::input::{
    ConcessionInput, LeaseTermsInput, MoveInCostInput, OngoingFeeInput, PriceInput,
};
use super::payload::ListingPayload;
use crate::graphql::scalars::Date;

mutations! {
    /// Commands about what a listing costs, and on which terms it is let.
    TermsMutations of Property => ListingPayload {
        /// Changes the rent, or the price of a sale.
        listing_price_change(ListingPriceChangeInput => "ListingPriceChangePayload") {
            /// The listing.
            listing: ID,
            /// The new price.
            price: PriceInput,
            /// Why, in words.
            reason: Option<String>,
        } |input, form| {
            let (price, reason) = (form.price("price", &input.price), input.reason);
            let at = form.listing(&input.listing).await?;
            let command = |listing, price| ChangeRent { listing, price, reason };
            Ok(at.zip(price).map(|(at, price)| at.asks(command(at.key, price))))
        }

        /// Replaces what moving in costs.
        listing_move_in_costs_set(ListingMoveInCostsSetInput => "ListingMoveInCostsSetPayload") {
            /// The listing.
            listing: ID,
            /// All costs, each kind once.
            costs: Vec<MoveInCostInput>,
        } |input, form| {
            let mut costs = Vec::with_capacity(input.costs.len());
            for (index, cost) in input.costs.iter().enumerate() {
                let price = form.price(&format!("costs[{index}].price"), &cost.price);
                costs.extend(price.map(|price| MoveInCost { kind: cost.kind.into(), price }));
            }
            let is_whole = costs.len() == input.costs.len();
            let at = form.listing(&input.listing).await?.filter(|_| is_whole);
            Ok(at.map(|at| at.asks(SetMoveInCosts { listing: at.key, costs })))
        }

        /// Replaces what is due besides the rent.
        listing_ongoing_fees_set(ListingOngoingFeesSetInput => "ListingOngoingFeesSetPayload") {
            /// The listing.
            listing: ID,
            /// All fees, each kind once.
            fees: Vec<OngoingFeeInput>,
        } |input, form| {
            let mut fees = Vec::with_capacity(input.fees.len());
            for (index, fee) in input.fees.iter().enumerate() {
                let (kind, mandatory) = (fee.kind.into(), fee.mandatory);
                let price = form.price(&format!("fees[{index}].price"), &fee.price);
                fees.extend(price.map(|price| OngoingFee { kind, price, mandatory }));
            }
            let is_whole = fees.len() == input.fees.len();
            let at = form.listing(&input.listing).await?.filter(|_| is_whole);
            Ok(at.map(|at| at.asks(SetOngoingFees { listing: at.key, fees })))
        }

        /// Offers something on top: a month free, a gift card.
        listing_concession_offer(ListingConcessionOfferInput => "ListingConcessionOfferPayload") {
            /// The listing.
            listing: ID,
            /// What is offered.
            concession: ConcessionInput,
        } |input, form| {
            let ConcessionInput { description, ends_on } = input.concession;
            let at = form.listing(&input.listing).await?;
            let ends_on = ends_on.map(|day| day.0);
            let concession = Concession { id: form.new_id("concession"), description, ends_on };
            Ok(at.map(|at| at.asks(OfferConcession { listing: at.key, concession })))
        }

        /// Ends an offer on top.
        listing_concession_withdraw(
            ListingConcessionWithdrawInput => "ListingConcessionWithdrawPayload"
        ) {
            /// The listing.
            listing: ID,
            /// The `concessionId`.
            concession: ID,
        } |input, form| {
            let concession = form.uuid("concession", &input.concession);
            let at = form.listing(&input.listing).await?;
            let command = |listing, concession| WithdrawConcession { listing, concession };
            Ok(at.zip(concession).map(|(at, concession)| at.asks(command(at.key, concession))))
        }

        /// Replaces the terms of the lease.
        listing_lease_terms_set(ListingLeaseTermsSetInput => "ListingLeaseTermsSetPayload") {
            /// The listing.
            listing: ID,
            /// All terms.
            terms: LeaseTermsInput,
        } |input, form| {
            let terms = input.terms.read(form);
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(SetLeaseTerms { listing: at.key, terms })))
        }

        /// Changes the first day a listing can be had.
        listing_availability_change(
            ListingAvailabilityChangeInput => "ListingAvailabilityChangePayload"
        ) {
            /// The listing.
            listing: ID,
            /// The new day.
            available_from: Date,
        } |input, form| {
            let available_from = input.available_from.0;
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(ChangeAvailability { listing: at.key, available_from })))
        }
    }
}

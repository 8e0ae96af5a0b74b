//! Commands about where a listing stands.

use async_graphql::ID;
use chrono::{DateTime, Utc};
use freehold_domain::property::{
    ApproveListing, CancelListing, CloseAsLeased, DraftListing, ExpireListing, HoldListing,
    MarkPending, MarkUnderApplication, Property, PublishListing, ReassignAgent, RecordClosing,
    ReleaseApplicationHold, RenewListing, RequestChanges, ResumeListing, ReturnToDraft,
    ScheduleListing, SubmitForReview, VoidListing, WithdrawListing,
};
use freehold_domain::{ApplicationId, LeaseId, ListingKey, UserId};

use super::catalogue::mutations;
use super::enums::BackOnMarketCause;
use super::form::ListingAt;
use super::input::PriceInput;
use super::payload::ListingPayload;
use crate::graphql::query::PropertyBy;
use crate::graphql::scalars::Date;

mutations! {
    /// Commands about where a listing stands.
    ListingMutations of Property => ListingPayload {
        /// Begins a listing period.
        listing_draft(ListingDraftInput => "ListingDraftPayload") {
            /// The property.
            property: PropertyBy,
            /// The rent, or the price of a sale, where already known.
            price: Option<PriceInput>,
            /// The first day it can be had, where already known.
            available_from: Option<Date>,
            /// The user who looks after it.
            agent: Option<ID>,
        } |input, form| {
            let price = input.price.and_then(|price| form.price("price", &price));
            let agent = input.agent.and_then(|agent| form.id::<UserId>("agent", &agent));
            let available_from = input.available_from.map(|day| day.0);
            let property = form.property(&input.property).await?;
            let key = ListingKey(form.new_id("listing"));
            let command = DraftListing { listing: key, price, available_from, agent };
            Ok(property.map(|property| ListingAt { property, key }.asks(command)))
        }

        /// Hands a draft to a reviewer.
        listing_submit(ListingSubmitInput => "ListingSubmitPayload") {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(SubmitForReview { listing: at.key })))
        }

        /// Agrees to a listing in review.
        listing_approve(ListingApproveInput => "ListingApprovePayload") {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(ApproveListing { listing: at.key })))
        }

        /// Sends a listing in review back.
        listing_changes_request(ListingChangesRequestInput => "ListingChangesRequestPayload") {
            /// The listing.
            listing: ID,
            /// What to change.
            reasons: Vec<String>,
        } |input, form| {
            let reasons = input.reasons;
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(RequestChanges { listing: at.key, reasons })))
        }

        /// Takes a listing out of review.
        listing_return_to_draft(ListingReturnToDraftInput => "ListingReturnToDraftPayload") {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(ReturnToDraft { listing: at.key })))
        }

        /// Announces a complete listing.
        listing_schedule(ListingScheduleInput => "ListingSchedulePayload") {
            /// The listing.
            listing: ID,
            /// The day it comes on the market.
            on_market_date: Date,
            /// When it leaves the market by itself; as before where absent.
            expires_at: Option<DateTime<Utc>>,
        } |input, form| {
            let (on_market_date, expires_at) = (input.on_market_date.0, input.expires_at);
            let at = form.listing(&input.listing).await?;
            let command =
                |listing| ScheduleListing { listing, on_market_date, expires_at };
            Ok(at.map(|at| at.asks(command(at.key))))
        }

        /// Puts a complete listing on the market for the first time.
        listing_publish(ListingPublishInput => "ListingPublishPayload") {
            /// The listing.
            listing: ID,
            /// When it leaves the market by itself; as before where absent.
            expires_at: Option<DateTime<Utc>>,
        } |input, form| {
            let expires_at = input.expires_at;
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(PublishListing { listing: at.key, expires_at })))
        }

        /// Says that an application was accepted, while the listing is still shown.
        listing_mark_under_application(
            ListingMarkUnderApplicationInput => "ListingMarkUnderApplicationPayload"
        ) for Operator {
            /// The listing.
            listing: ID,
            /// The application's UUID.
            application: ID,
        } |input, form| {
            let application = form.uuid("application", &input.application).map(ApplicationId);
            let at = form.listing(&input.listing).await?;
            let command = |listing, application| MarkUnderApplication { listing, application };
            Ok(at.zip(application).map(|(at, application)| at.asks(command(at.key, application))))
        }

        /// Says that an accepted application fell through.
        listing_application_hold_release(
            ListingApplicationHoldReleaseInput => "ListingApplicationHoldReleasePayload"
        ) for Operator {
            /// The listing.
            listing: ID,
            /// The application's UUID.
            application: ID,
            /// Why.
            cause: BackOnMarketCause,
        } |input, form| {
            let cause = input.cause.into();
            let application = form.uuid("application", &input.application).map(ApplicationId);
            let at = form.listing(&input.listing).await?;
            let command =
                |listing, application| ReleaseApplicationHold { listing, application, cause };
            Ok(at.zip(application).map(|(at, application)| at.asks(command(at.key, application))))
        }

        /// Stops showing a listing whose application was accepted.
        listing_mark_pending(ListingMarkPendingInput => "ListingMarkPendingPayload") {
            /// The listing.
            listing: ID,
            /// The application's UUID; the one that holds the listing where absent.
            application: Option<ID>,
        } |input, form| {
            let application = input.application;
            let application = application.and_then(|id| form.uuid("application", &id));
            let application = application.map(ApplicationId);
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(MarkPending { listing: at.key, application })))
        }

        /// Closes a listing period by a lease.
        listing_close_as_leased(ListingCloseAsLeasedInput => "ListingCloseAsLeasedPayload") {
            /// The listing.
            listing: ID,
            /// The lease's UUID.
            lease: ID,
            /// The rent that was agreed; the listed one where absent.
            rent_at_close: Option<PriceInput>,
            /// The day it was agreed.
            close_date: Date,
        } |input, form| {
            let lease = form.uuid("lease", &input.lease).map(LeaseId);
            let rent = input.rent_at_close;
            let rent_at_close = rent.and_then(|rent| form.price("rent_at_close", &rent));
            let close_date = input.close_date.0;
            let at = form.listing(&input.listing).await?;
            let command =
                |listing, lease| CloseAsLeased { listing, lease, rent_at_close, close_date };
            Ok(at.zip(lease).map(|(at, lease)| at.asks(command(at.key, lease))))
        }

        /// Takes a listing off the market for a while.
        listing_hold(ListingHoldInput => "ListingHoldPayload") {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(HoldListing { listing: at.key })))
        }

        /// Puts a held or withdrawn listing on the market again, or at last.
        listing_resume(ListingResumeInput => "ListingResumePayload") {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(ResumeListing { listing: at.key })))
        }

        /// Takes a listing off the market, not to return.
        listing_withdraw(ListingWithdrawInput => "ListingWithdrawPayload") {
            /// The listing.
            listing: ID,
            /// Why, in words.
            reason: String,
        } |input, form| {
            let reason = input.reason;
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(WithdrawListing { listing: at.key, reason })))
        }

        /// Gives a listing period up.
        listing_cancel(ListingCancelInput => "ListingCancelPayload") {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(CancelListing { listing: at.key })))
        }

        /// Ends a listing period whose time ran out.
        listing_expire(ListingExpireInput => "ListingExpirePayload") for Operator {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(ExpireListing { listing: at.key })))
        }

        /// Throws a draft away.
        listing_void(ListingVoidInput => "ListingVoidPayload") {
            /// The listing.
            listing: ID,
        } |input, form| {
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(VoidListing { listing: at.key })))
        }

        /// Gives a listing period another end.
        listing_renew(ListingRenewInput => "ListingRenewPayload") {
            /// The listing.
            listing: ID,
            /// Its new end.
            expires_at: DateTime<Utc>,
        } |input, form| {
            let expires_at = input.expires_at;
            let at = form.listing(&input.listing).await?;
            Ok(at.map(|at| at.asks(RenewListing { listing: at.key, expires_at })))
        }

        /// Lets somebody else look after a listing.
        listing_agent_reassign(ListingAgentReassignInput => "ListingAgentReassignPayload") {
            /// The listing.
            listing: ID,
            /// The user who looks after it from now on.
            agent: ID,
        } |input, form| {
            let agent: Option<UserId> = form.id("agent", &input.agent);
            let at = form.listing(&input.listing).await?;
            let (Some(at), Some(agent)) = (at, agent) else { return Ok(None) };
            let agent_active = form.is_active(agent).await?;
            Ok(Some(at.asks(ReassignAgent { listing: at.key, agent, agent_active })))
        }

        /// Adds a listing period that ended elsewhere, earlier: history from another system.
        listing_closing_record(ListingClosingRecordInput => "ListingClosingRecordPayload") {
            /// The property.
            property: PropertyBy,
            /// The price that was agreed.
            price: PriceInput,
            /// The day it was agreed.
            closed_on: Date,
        } |input, form| {
            let price = form.price("price", &input.price);
            let closed_on = input.closed_on.0;
            let property = form.property(&input.property).await?;
            let key = ListingKey(form.new_id("listing"));
            let command = |price| RecordClosing { listing: key, price, closed_on };
            let asked = property.zip(price);
            Ok(asked.map(|(property, price)| ListingAt { property, key }.asks(command(price))))
        }
    }
}

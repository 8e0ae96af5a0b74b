//! Commands about who someone is and what they think of listings.

use async_graphql::ID;
use freehold_domain::user::{
    Change, ChangePreferences, ClearPreference, CloseAccount, DiscardListing, FavouriteListing,
    Origin, PossibleListing, RegisterUser, ReinstateUser, SuspendUser, UpdateProfile, User,
    VerifyEmail, VerifyIdentity, VerifyPhone,
};
use freehold_domain::{ListingKey, UserId};

use super::catalogue::mutations;
use super::enums::ProfileField;
use super::form::Form;
use super::input::IdentityOutcomeInput;
use super::payload::UserPayload;
use super::run::Order;
use super::user_error::UserErrorCode;
use crate::graphql::Fault;
use crate::graphql::objects::enums::{IdentityMethod, NotificationChannel, Units};
use crate::graphql::query::SourceInput;

mutations! {
    /// Commands about who someone is and what they think of listings.
    UserMutations of User => UserPayload {
        /// Opens an account.
        user_register(UserRegisterInput => "UserRegisterPayload") {
            /// For a user of a feed: the feed, and what it calls them; unique, for ever.
            source: Option<SourceInput>,
            /// The name they want to be shown under.
            display_name: Option<String>,
            /// Their e-mail address, unique; needed unless they come from a feed.
            email: Option<String>,
            /// Their phone number, with country code.
            phone: Option<String>,
        } |input, form| {
            let origin = input.source.map_or(Origin::Client, |source| Origin::Feed(source.into()));
            let user = UserId(form.new_id("user"));
            let (display_name, email, phone) = (input.display_name, input.email, input.phone);
            let command = RegisterUser { user, origin, display_name, email, phone };
            Ok(Some(Order::new(user.0, command)))
        }

        /// Records that a link sent to an e-mail address was followed.
        user_email_verify(UserEmailVerifyInput => "UserEmailVerifyPayload") {
            /// The user.
            user: ID,
            /// The address the link was sent to.
            email: String,
        } |input, form| {
            let email = input.email;
            Ok(form.user(&input.user).map(|user| Order::new(user.0, VerifyEmail { email })))
        }

        /// Records that a code sent to a phone number came back.
        user_phone_verify(UserPhoneVerifyInput => "UserPhoneVerifyPayload") {
            /// The user.
            user: ID,
            /// The number the code was sent to.
            phone: String,
        } |input, form| {
            let phone = input.phone;
            Ok(form.user(&input.user).map(|user| Order::new(user.0, VerifyPhone { phone })))
        }

        /// Records how a check of the user's identity ended.
        user_identity_verify(UserIdentityVerifyInput => "UserIdentityVerifyPayload") {
            /// The user.
            user: ID,
            /// How it was checked.
            method: IdentityMethod,
            /// How it ended.
            outcome: IdentityOutcomeInput,
        } |input, form| {
            let (method, outcome) = (input.method.into(), input.outcome.into());
            let user = form.user(&input.user);
            Ok(user.map(|user| Order::new(user.0, VerifyIdentity { method, outcome })))
        }

        /// Changes names and addresses; what is not named stays as it is.
        user_profile_update(UserProfileUpdateInput => "UserProfileUpdatePayload") {
            /// The user.
            user: ID,
            /// The name they want to be shown under.
            display_name: Option<String>,
            /// Their e-mail address; a new one is unverified.
            email: Option<String>,
            /// Their phone number, with country code; a new one is unverified.
            phone: Option<String>,
            /// Fields that become empty.
            clear: Option<Vec<ProfileField>>,
        } |input, form| {
            let clear = input.clear.unwrap_or_default();
            let command = UpdateProfile {
                display_name: change(form, ProfileField::DisplayName, input.display_name, &clear),
                email: change(form, ProfileField::Email, input.email, &clear),
                phone: change(form, ProfileField::Phone, input.phone, &clear),
            };
            Ok(form.user(&input.user).map(|user| Order::new(user.0, command)))
        }

        /// Changes how the marketplace speaks to the user; what is not named stays as it is.
        user_preferences_change(UserPreferencesChangeInput => "UserPreferencesChangePayload") {
            /// The user.
            user: ID,
            /// The language, as a BCP 47 tag.
            language: Option<String>,
            /// The currency prices are shown in, ISO 4217.
            currency: Option<String>,
            /// The units areas and distances are shown in.
            units: Option<Units>,
            /// Every channel that may be used; an empty list means none.
            channels: Option<Vec<NotificationChannel>>,
        } |input, form| {
            let command = ChangePreferences {
                language: input.language,
                currency: input.currency.and_then(|code| form.currency("currency", &code)),
                units: input.units.map(Into::into),
                channels: input.channels.map(|all| all.into_iter().map(Into::into).collect()),
            };
            Ok(form.user(&input.user).map(|user| Order::new(user.0, command)))
        }

        /// Marks a listing as wanted.
        listing_favourite(ListingFavouriteInput => "ListingFavouritePayload") {
            /// The user.
            user: ID,
            /// The listing.
            listing: ID,
        } |input, form| {
            let asked = opinion(form, &input.user, &input.listing).await?;
            Ok(asked.map(|(user, listing)| Order::new(user.0, FavouriteListing { listing })))
        }

        /// Marks a listing as perhaps wanted.
        listing_mark_possible(ListingMarkPossibleInput => "ListingMarkPossiblePayload") {
            /// The user.
            user: ID,
            /// The listing.
            listing: ID,
        } |input, form| {
            let asked = opinion(form, &input.user, &input.listing).await?;
            Ok(asked.map(|(user, listing)| Order::new(user.0, PossibleListing { listing })))
        }

        /// Marks a listing as not wanted.
        listing_discard(ListingDiscardInput => "ListingDiscardPayload") {
            /// The user.
            user: ID,
            /// The listing.
            listing: ID,
        } |input, form| {
            let asked = opinion(form, &input.user, &input.listing).await?;
            Ok(asked.map(|(user, listing)| Order::new(user.0, DiscardListing { listing })))
        }

        /// Takes back what the user said about a listing.
        listing_preference_clear(ListingPreferenceClearInput => "ListingPreferenceClearPayload") {
            /// The user.
            user: ID,
            /// The listing.
            listing: ID,
        } |input, form| {
            // Also of a listing that nobody knows any more: it may come from before this was
            // checked.
            let listing = form.id("listing", &input.listing);
            let asked = form.user(&input.user).zip(listing);
            Ok(asked.map(|(user, listing)| Order::new(user.0, ClearPreference { listing })))
        }

        /// Stops an account from acting.
        user_suspend(UserSuspendInput => "UserSuspendPayload") {
            /// The user.
            user: ID,
            /// Why, in the operator's words.
            reason: String,
        } |input, form| {
            let reason = input.reason;
            Ok(form.user(&input.user).map(|user| Order::new(user.0, SuspendUser { reason })))
        }

        /// Lets a suspended account act again.
        user_reinstate(UserReinstateInput => "UserReinstatePayload") {
            /// The user.
            user: ID,
        } |input, form| {
            Ok(form.user(&input.user).map(|user| Order::new(user.0, ReinstateUser {})))
        }

        /// Ends an account, for good, and gives up its e-mail address.
        account_close(AccountCloseInput => "AccountClosePayload") {
            /// The user.
            user: ID,
            /// Why, in words.
            reason: Option<String>,
        } |input, form| {
            let reason = input.reason;
            Ok(form.user(&input.user).map(|user| Order::new(user.0, CloseAccount { reason })))
        }
    }
}

fn change(
    form: &mut Form<'_>,
    field: ProfileField,
    set: Option<String>,
    clear: &[ProfileField],
) -> Change<String> {
    match (set, clear.contains(&field)) {
        (None, false) => Change::Keep,
        (None, true) => Change::Clear,
        (Some(value), false) => Change::Set(value),
        (Some(_), true) => {
            let name = match field {
                ProfileField::DisplayName => "display_name",
                ProfileField::Email => "email",
                ProfileField::Phone => "phone",
            };
            let message = "is both set and cleared; send one of the two";
            form.fault(UserErrorCode::SetAndCleared, name, message);
            Change::Keep
        }
    }
}

/// Whose opinion an input is, of which listing.
async fn opinion(
    form: &mut Form<'_>,
    user: &ID,
    listing: &ID,
) -> Result<Option<(UserId, ListingKey)>, Fault> {
    let listing = form.listing(listing).await?;
    Ok(form.user(user).zip(listing.map(|at| at.key)))
}

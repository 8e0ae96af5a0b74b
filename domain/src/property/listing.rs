//! A listing period: one offer of a unit, from draft to its final state.

use super::named::named_enum;

named_enum! {
    /// Where a listing period stands; `domain.md` maps it to RESO `StandardStatus` and others.
    pub enum ListingStatus {
        /// Being written.
        Draft,
        /// Waiting for somebody's approval, or approved and not yet public.
        InReview,
        /// Sent back by the reviewer.
        ChangesRequested,
        /// Announced, not yet to be had.
        ComingSoon,
        /// On the market.
        Active,
        /// An application was accepted; still shown.
        UnderApplication,
        /// An application was accepted; no longer shown.
        Pending,
        /// Taken off for a while, expected back.
        OnHold,
        /// Taken off, not expected back.
        Withdrawn,
        /// Let or sold: final.
        Leased,
        /// Given up: final.
        Cancelled,
        /// Its time ran out: final.
        Expired,
        /// Drafted by mistake: final.
        Voided,
    }
}

named_enum! {
    /// Why a listing came back on the market.
    pub enum BackOnMarketCause {
        /// Its owner or agent put it back.
        Resumed,
        /// The application that held it was declined.
        ApplicationDeclined,
        /// The application that held it was withdrawn.
        ApplicationWithdrawn,
        /// The application that held it ran out of time.
        ApplicationExpired,
        /// The lease was not signed in time.
        LeaseNotSigned,
    }
}

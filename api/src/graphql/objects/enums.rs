//! Enums as clients see them, each the domain's own under SCREAMING_SNAKE_CASE names.

use async_graphql::Enum;
use freehold_domain as domain;

/// Declares a GraphQL enum for a domain enum, and the ways between the two.
macro_rules! enums {
    ($(
        $(#[$doc:meta])*
        $name:ident = $of:ty { $( $(#[$variant_doc:meta])* $variant:ident ),+ $(,)? }
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Enum)]
        pub enum $name { $( $(#[$variant_doc])* $variant ),+ }

        impl From<$of> for $name {
            fn from(of: $of) -> Self {
                type Of = $of;
                match of { $( Of::$variant => Self::$variant ),+ }
            }
        }

        impl From<$name> for $of {
            fn from(name: $name) -> Self {
                type Of = $of;
                match name { $( $name::$variant => Of::$variant ),+ }
            }
        }
    )+};
}

enums! {
    /// Where a listing period stands.
    ListingStatus = domain::property::ListingStatus {
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

    /// What kind of home it is, after RESO `PropertySubType`.
    PropertyType = domain::property::PropertyType {
        /// A flat in a building of flats.
        Apartment,
        /// A small rural or holiday house.
        Cabin,
        /// A flat owned on its own.
        Condominium,
        /// One of two homes in a building.
        Duplex,
        /// A house with farm land.
        Farm,
        /// An open flat in a former workplace.
        Loft,
        /// A factory-built home.
        ManufacturedHome,
        /// One of four homes in a building.
        Quadruplex,
        /// A room in a shared home.
        Room,
        /// A house for one household, standing alone.
        SingleFamilyResidence,
        /// A share of a cooperative's building.
        StockCooperative,
        /// A flat of one room.
        Studio,
        /// A house in a row.
        Townhouse,
        /// One of three homes in a building.
        Triplex,
        /// A detached house of some luxury.
        Villa,
        /// Anything else, or not said by the sender.
        Other,
    }

    /// What a medium shows, after RESO `MediaCategory`.
    MediaCategory = domain::property::MediaCategory {
        /// A photograph.
        Photo,
        /// A floor plan.
        FloorPlan,
        /// A film.
        Video,
        /// A walk-through on a page of its own.
        VirtualTour,
        /// A paper about the unit.
        Document,
    }

    /// How close coordinates are to the truth.
    CoordinatePrecision = domain::property::CoordinatePrecision {
        /// The building.
        Rooftop,
        /// The lot.
        Parcel,
        /// The street.
        Street,
        /// The postal code.
        PostalCode,
        /// The city.
        City,
    }

    /// How much of a location the public may see.
    LocationVisibility = domain::property::LocationVisibility {
        /// All of it.
        Exact,
        /// The neighbourhood.
        Approximate,
        /// Nothing.
        Hidden,
    }

    /// What is paid once, when moving in, after RESO `MoveInCosts`.
    MoveInCostKind = domain::property::MoveInCostKind {
        /// For the paperwork.
        AdministrationFee,
        /// For handling an application.
        ApplicationFee,
        /// Held by the association.
        AssociationDeposit,
        /// For cleaning after the tenancy.
        CleaningFee,
        /// The first rent, in advance.
        FirstMonthRent,
        /// The last rent, in advance.
        LastMonthRent,
        /// Held against damage by pets.
        PetDeposit,
        /// Held against damage and arrears.
        SecurityDeposit,
    }

    /// What is paid again and again besides the rent, after RESO `OngoingFees`.
    OngoingFeeKind = domain::property::OngoingFeeKind {
        /// Of the owners' association.
        HoaFee,
        /// For a parking place.
        ParkingFee,
        /// For keeping a pet.
        PetFee,
    }

    /// A length of lease to choose, after RESO `LeaseTerm`.
    LeaseTermOption = domain::property::LeaseTermOption {
        /// From week to week.
        Weekly,
        /// From month to month.
        MonthToMonth,
        /// Less than six months.
        ShortTerm,
        /// Six months.
        SixMonths,
        /// A year.
        TwelveMonths,
        /// Two years.
        TwentyFourMonths,
        /// With a right to renew.
        RenewalOption,
        /// To be agreed.
        Negotiable,
    }

    /// Whether furniture comes with it, after RESO `Furnished`.
    Furnished = domain::property::Furnished {
        /// All of it.
        Furnished,
        /// Some of it.
        Partially,
        /// None.
        Unfurnished,
        /// To be agreed.
        Negotiable,
    }

    /// Which pets may move in, after RESO `PetsAllowed`.
    PetsAllowed = domain::property::PetsAllowed {
        /// Any.
        Yes,
        /// None.
        No,
        /// Cats only.
        CatsOnly,
        /// Dogs only.
        DogsOnly,
        /// To be agreed.
        Negotiable,
    }

    /// How often a price is due.
    FeeFrequency = domain::FeeFrequency {
        /// Each day or night.
        Daily,
        /// Each week.
        Weekly,
        /// Each month.
        Monthly,
        /// Each year.
        Yearly,
        /// Once: a sale.
        OneTime,
    }

    /// Units of area, after RESO `AreaUnits`.
    AreaUnit = domain::AreaUnit {
        /// Square feet.
        SquareFeet,
        /// Square metres.
        SquareMeters,
        /// Acres.
        Acres,
        /// Hectares.
        Hectares,
    }

    /// What a person agreed that their data may be used for.
    ConsentPurpose = domain::user::ConsentPurpose {
        /// Being sent offers.
        Marketing,
        /// Being told about new matches of saved searches.
        Alerts,
        /// Being shown what fits earlier behaviour.
        Personalisation,
        /// Being counted in usage statistics.
        Analytics,
        /// Having data passed to partners.
        PartnerSharing,
        /// Having a tenant screening report ordered.
        Screening,
    }

    /// How a consent was collected.
    ConsentMethod = domain::user::ConsentMethod {
        /// A form on a web site.
        WebForm,
        /// A screen of a mobile application.
        MobileApp,
        /// A reply by e-mail.
        Email,
        /// A telephone call.
        Phone,
        /// A signed paper.
        Paper,
        /// A feed that passed it on.
        Import,
    }

    /// What a user thinks of a listing, after RESO `ContactListingPreference`.
    ListingPreference = domain::user::ListingPreference {
        /// Wanted.
        Favorite,
        /// Perhaps.
        Possibility,
        /// Not wanted.
        Discard,
    }

    /// How often matches of a saved search are sent, after RESO `ScheduleType`.
    AlertSchedule = domain::user::AlertSchedule {
        /// As soon as a listing matches.
        Asap,
        /// One digest a day.
        Daily,
        /// One digest a month.
        Monthly,
    }

    /// Why the alerts of a saved search stopped, after RESO `ReasonActiveOrDisabled`.
    AlertPauseReason = domain::user::AlertPauseReason {
        /// The user asked for it.
        UserRequested,
        /// It matched more listings than may be sent.
        OverLimit,
        /// It could not be run.
        SearchFailing,
        /// Its alerts were not opened for long.
        Ignored,
        /// It matched nothing for long.
        NoListingsFound,
    }

    /// Where notifications may be sent.
    NotificationChannel = domain::user::NotificationChannel {
        /// By e-mail.
        Email,
        /// By text message.
        Sms,
        /// To a mobile application.
        Push,
    }

    /// In which units measures are shown.
    Units = domain::user::Units {
        /// Square metres and kilometres.
        Metric,
        /// Square feet and miles.
        Imperial,
    }

    /// What an account may do.
    AccountStanding = domain::user::Standing {
        /// Everything.
        Active,
        /// Nothing until an operator reinstates it, apart from the person's rights to their data.
        Suspended,
        /// Nothing any more, apart from the person's rights to their data.
        Closed,
    }

    /// How an identity was checked.
    IdentityMethod = domain::user::IdentityMethod {
        /// A passport or identity card, checked remotely.
        Document,
        /// A bank's login.
        Bank,
        /// An electronic identity issued by a state.
        ElectronicId,
        /// Someone looked at the person and the document.
        InPerson,
    }

    /// Why an identity could not be verified.
    IdentityFailure = domain::user::IdentityFailure {
        /// The document could not be read.
        DocumentUnreadable,
        /// The document is out of date.
        DocumentExpired,
        /// The name is not the account's.
        NameMismatch,
        /// The face is not the document's.
        FaceMismatch,
        /// The document or the attempt looks forged.
        SuspectedFraud,
    }

    /// Which prices a statistic is about.
    PriceBasis = freehold_projections::models::market::PriceBasis {
        /// What listings ask for, counted in the month they came on the market.
        Asking,
        /// What was agreed, counted in the month it was.
        Closed,
    }
}

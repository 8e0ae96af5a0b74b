//! The names that fields and their values go by: ours, and those that feeds use.
//!
//! A name is compared without case and without what stands between its words, so `list_price`,
//! `listPrice`, `ListPrice` and `list-price` are one. `README.md` shows the tables to senders.

use std::collections::HashMap;
use std::sync::LazyLock;

use freehold_domain::interaction::{
    ActorType, DeviceType, EventSource, InteractionKind, ObjectType,
};
use freehold_domain::property::{ListingStatus, MediaCategory, PropertyType};
use freehold_domain::{AreaUnit, FeeFrequency};
use quick_cache::sync::Cache;

/// Things by their names: the first name of each is ours.
pub(super) struct Names<T: 'static> {
    pub(super) all: &'static [(T, &'static [&'static str])],
    /// The thing, and where the name stands among those of it.
    by_key: HashMap<String, (T, usize)>,
    /// Senders repeat their unknown names with every item.
    nearest: Cache<String, Option<&'static str>>,
}

impl<T: Copy + PartialEq> Names<T> {
    fn new(all: &'static [(T, &'static [&'static str])]) -> Self {
        let names = all.iter().flat_map(|(thing, names)| {
            names.iter().enumerate().map(|(rank, name)| (key_of(name), (*thing, rank)))
        });
        Self { all, by_key: names.collect(), nearest: Cache::new(1_000) }
    }

    /// The thing of that name.
    pub(super) fn find(&self, name: &str) -> Option<T> {
        // Longer than any name there is: not worth making a key of.
        if name.len() > 64 {
            return None;
        }
        self.by_key.get(&key_of(name)).map(|(thing, _)| *thing)
    }

    /// Where a name stands among those of its thing, ours first; no two of them stand alike.
    pub(super) fn rank(&self, name: &str) -> Option<usize> {
        self.by_key.get(&key_of(name)).map(|(_, rank)| *rank)
    }

    /// The name that is most like one nobody knows.
    pub(super) fn nearest(&self, name: &str) -> Option<&'static str> {
        // Longer than any name there is.
        if name.len() > 64 {
            return None;
        }
        let name = name.to_lowercase();
        if let Some(known) = self.nearest.get(&name) {
            return known;
        }
        let likeness = |known: &str| strsim::jaro_winkler(&name, known);
        let names = self.all.iter().flat_map(|(_, names)| names.iter());
        let nearest = names.map(|known| (likeness(known), *known));
        let nearest = nearest.max_by(|a, b| a.0.total_cmp(&b.0));
        let nearest = nearest.filter(|(likeness, _)| *likeness > 0.88).map(|(_, known)| known);
        self.nearest.insert(name, nearest);
        nearest
    }
}

fn key_of(name: &str) -> String {
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-' | '.' | ' ' | '/'));
    letters.flat_map(char::to_lowercase).collect()
}

macro_rules! names {
    ($($(#[$doc:meta])* $table:ident: $thing:ty { $( $value:expr => $($name:literal)|+ ),+ $(,)? })+) => {$(
        $(#[$doc])*
        pub(super) static $table: LazyLock<Names<$thing>> =
            LazyLock::new(|| Names::new(&[ $( ($value, &[ $($name),+ ]) ),+ ]));
    )+};
}

/// The fields around an item's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EnvelopeField {
    Property,
    User,
    EventType,
    EventId,
    Source,
    OccurredAt,
    Data,
    /// Said by many senders; we keep what the data says about itself.
    Ignored,
}

/// The fields of a property's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PropertyField {
    PropertyType,
    Title,
    Description,
    Address,
    Street,
    City,
    Region,
    PostalCode,
    Country,
    Coordinates,
    Latitude,
    Longitude,
    YearBuilt,
    Stories,
    Bedrooms,
    Bathrooms,
    BathroomsFull,
    BathroomsHalf,
    Rooms,
    MaxOccupancy,
    LivingArea,
    LivingAreaSquareFeet,
    LivingAreaSquareMeters,
    LotArea,
    LotAreaSquareFeet,
    LotAreaSquareMeters,
    LotAreaAcres,
    GarageArea,
    AreaUnit,
    LotAreaUnit,
    Amenities,
    Price,
    PriceMinor,
    MonthlyRent,
    WeeklyRent,
    DailyRate,
    YearlyRent,
    SalePrice,
    Currency,
    Frequency,
    PriceReason,
    AvailableFrom,
    ExpiresAt,
    OnMarketDate,
    Status,
    StatusReason,
    CloseDate,
    Photos,
    Media,
}

/// The fields of an interaction's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserField {
    Property,
    Listing,
    PropertySource,
    Session,
    ActorType,
    IsBot,
    UserAgent,
    ObjectType,
    DeviceType,
    Channel,
    PagePosition,
    OccurredAt,
    ReportedAt,
    /// About a person, or what they searched for: dropped.
    Personal,
}

/// What a property event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PropertyEventType {
    /// The data is how things are now.
    Update,
    /// The same, and its price matters.
    PriceChange,
    /// The same, and its status matters.
    StatusChange,
    /// The same, and its media matter, which are the ones that were added.
    MediaAdded,
    /// The same, and the listing goes on the market.
    Publish,
    /// The listing leaves the market.
    Remove,
}

/// What a user event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UserEventType {
    /// A fact without rules.
    Interaction(InteractionKind),
    /// An opinion on a listing, which belongs to the account.
    Preference(Preference),
}

/// An opinion on a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    Favorite,
    Possibility,
    Discard,
    Clear,
}

names! {
    ENVELOPE_FIELDS: EnvelopeField {
        EnvelopeField::Property => "property_id" | "reference" | "source_ref" | "source_reference"
            | "property_reference" | "property_ref" | "external_id" | "agent_ref" | "property_code"
            | "listing_key" | "listing_id" | "id",
        EnvelopeField::User => "user_id" | "user" | "user_reference" | "customer_id" | "actor_id"
            | "visitor_id",
        EnvelopeField::EventType => "event_type" | "type" | "event" | "event_name",
        EnvelopeField::EventId => "event_id" | "event_key" | "message_id" | "idempotency_key",
        EnvelopeField::Source => "source" | "feed" | "source_system" | "source_system_name"
            | "originating_system_name",
        EnvelopeField::OccurredAt => "occurred_at" | "event_timestamp" | "timestamp" | "event_time"
            | "modification_timestamp",
        EnvelopeField::Data => "data" | "payload" | "properties" | "attributes",
        EnvelopeField::Ignored => "version" | "schema_version" | "spec_version",
    }

    PROPERTY_FIELDS: PropertyField {
        PropertyField::PropertyType => "property_type" | "property_sub_type" | "home_type"
            | "accommodation_type" | "category",
        PropertyField::Title => "title" | "headline" | "name",
        PropertyField::Description => "description" | "public_remarks" | "summary" | "remarks",
        PropertyField::Address => "address" | "full_address" | "unparsed_address",
        PropertyField::Street => "street" | "street_address" | "address_line1" | "address1",
        PropertyField::City => "city" | "locality" | "address_locality" | "town",
        PropertyField::Region => "region" | "state" | "state_or_province" | "province" | "county"
            | "address_region",
        PropertyField::PostalCode => "postal_code" | "postcode" | "zip" | "zip_code",
        PropertyField::Country => "country" | "country_code" | "address_country",
        PropertyField::Coordinates => "coordinates" | "location" | "geo" | "position",
        PropertyField::Latitude => "latitude" | "lat",
        PropertyField::Longitude => "longitude" | "lon" | "lng" | "long",
        PropertyField::YearBuilt => "year_built" | "construction_year" | "built",
        PropertyField::Stories => "stories" | "storeys" | "stories_total" | "levels",
        PropertyField::Bedrooms => "bedrooms" | "beds" | "bedrooms_total" | "number_of_bedrooms"
            | "bedroom_count" | "num_bedrooms",
        PropertyField::Bathrooms => "bathrooms" | "baths" | "bathrooms_total"
            | "bathrooms_total_integer" | "bathrooms_total_decimal" | "number_of_bathrooms_total"
            | "bathroom_count" | "num_bathrooms",
        PropertyField::BathroomsFull => "bathrooms_full" | "full_baths"
            | "number_of_full_bathrooms",
        PropertyField::BathroomsHalf => "bathrooms_half" | "half_baths"
            | "number_of_partial_bathrooms",
        PropertyField::Rooms => "rooms" | "rooms_total" | "number_of_rooms",
        PropertyField::MaxOccupancy => "max_occupancy" | "occupancy" | "accommodates" | "guests"
            | "sleeps",
        PropertyField::LivingArea => "living_area" | "area" | "size" | "floor_size" | "floor_area",
        PropertyField::LivingAreaSquareFeet => "living_area_sqft" | "sqft" | "square_feet"
            | "square_footage" | "area_sqft",
        PropertyField::LivingAreaSquareMeters => "living_area_sqm" | "sqm" | "square_meters"
            | "square_metres" | "area_sqm" | "living_area_m2",
        PropertyField::LotArea => "lot_area" | "lot_size" | "lot_size_area" | "plot_size",
        PropertyField::LotAreaSquareFeet => "lot_area_sqft" | "lot_size_sqft"
            | "lot_size_square_feet",
        PropertyField::LotAreaSquareMeters => "lot_area_sqm" | "lot_size_sqm",
        PropertyField::LotAreaAcres => "lot_area_acres" | "lot_size_acres" | "acres",
        PropertyField::GarageArea => "garage_area" | "garage_size",
        PropertyField::AreaUnit => "area_unit" | "living_area_units" | "area_units" | "unit_code",
        PropertyField::LotAreaUnit => "lot_area_unit" | "lot_size_units",
        PropertyField::Amenities => "amenities" | "features" | "amenity_feature",
        PropertyField::Price => "price" | "rent" | "list_price" | "asking_price" | "current_price"
            | "lease_rate" | "amount",
        PropertyField::PriceMinor => "price_minor" | "amount_minor" | "price_cents",
        PropertyField::MonthlyRent => "monthly_rent" | "rent_per_month" | "rent_pcm",
        PropertyField::WeeklyRent => "weekly_rent" | "rent_per_week",
        PropertyField::DailyRate => "daily_rate" | "nightly_price" | "nightly_rate"
            | "price_per_night",
        PropertyField::YearlyRent => "yearly_rent" | "annual_rent" | "rent_per_year",
        PropertyField::SalePrice => "sale_price" | "purchase_price",
        PropertyField::Currency => "currency" | "price_currency" | "currency_code",
        PropertyField::Frequency => "frequency" | "price_frequency" | "rent_frequency"
            | "lease_rate_frequency" | "lease_amount_frequency" | "fee_frequency",
        PropertyField::PriceReason => "price_reason",
        PropertyField::AvailableFrom => "available_from" | "availability_date" | "available_date"
            | "date_available",
        PropertyField::ExpiresAt => "expires_at" | "expiration_date" | "expiry_date",
        PropertyField::OnMarketDate => "on_market_date",
        PropertyField::Status => "status" | "standard_status" | "listing_status" | "mls_status"
            | "availability",
        PropertyField::StatusReason => "reason" | "status_reason" | "removal_reason",
        PropertyField::CloseDate => "close_date" | "closed_on" | "let_date" | "sale_date",
        PropertyField::Photos => "photos" | "images" | "photo" | "image" | "pictures",
        PropertyField::Media => "media",
    }

    USER_FIELDS: UserField {
        UserField::Property => "property_id" | "reference" | "source_ref" | "source_reference"
            | "property_reference" | "property_ref" | "object_id" | "item_id",
        UserField::Listing => "listing" | "listing_key" | "listing_id",
        UserField::PropertySource => "property_source" | "source" | "source_system",
        UserField::Session => "session_id" | "session" | "visit_id" | "visitor_id"
            | "anonymous_id" | "device_id",
        UserField::ActorType => "actor_type",
        UserField::IsBot => "is_bot" | "bot",
        UserField::UserAgent => "user_agent" | "ua",
        UserField::ObjectType => "object_type",
        UserField::DeviceType => "device_type" | "device" | "platform",
        UserField::Channel => "event_source" | "channel" | "origin",
        UserField::PagePosition => "page_position" | "position" | "rank",
        UserField::OccurredAt => "occurred_at" | "event_timestamp" | "timestamp" | "viewed_at",
        UserField::ReportedAt => "reported_at" | "event_reported_timestamp" | "sent_at",
        UserField::Personal => "ip" | "ip_address" | "actor_ip" | "client_ip" | "remote_addr"
            | "email" | "actor_email" | "email_address" | "phone" | "phone_number"
            | "actor_phone" | "telephone" | "mobile_number" | "name" | "first_name" | "last_name"
            | "full_name" | "latitude" | "longitude" | "lat" | "lon" | "lng" | "actor_lat"
            | "actor_long" | "coordinates" | "location" | "address" | "query" | "search_query"
            | "search_text" | "search_terms" | "keywords" | "message" | "comment" | "referrer"
            | "referer" | "url" | "page_url" | "cookie" | "advertising_id" | "date_of_birth",
    }

    PROPERTY_EVENTS: PropertyEventType {
        PropertyEventType::Update => "property_updated" | "property_registered"
            | "property_created" | "property_added" | "property_changed" | "property_upserted"
            | "property_snapshot" | "listing_created" | "listing_updated" | "listing_drafted"
            | "new_listing" | "availability_changed" | "facts_corrected" | "amenities_set",
        PropertyEventType::PriceChange => "price_changed" | "price_change" | "price_updated"
            | "rent_changed" | "property_price_changed" | "listing_price_changed",
        PropertyEventType::StatusChange => "status_changed" | "status_change"
            | "listing_status_changed" | "property_status_changed",
        PropertyEventType::MediaAdded => "media_added" | "photo_added" | "photos_added"
            | "media_attached" | "property_media_added",
        PropertyEventType::Publish => "listing_published" | "property_published"
            | "property_listed" | "listing_activated" | "listing_resumed" | "back_on_market",
        PropertyEventType::Remove => "property_removed" | "property_deleted" | "listing_removed"
            | "listing_deleted" | "listing_withdrawn" | "property_withdrawn" | "property_delisted",
    }

    USER_EVENTS: UserEventType {
        UserEventType::Interaction(InteractionKind::DetailedView) => "property_viewed"
            | "DetailedView" | "listing_viewed" | "view" | "page_view" | "property_view"
            | "property_clicked" | "click" | "listing_clicked" | "detail_view",
        UserEventType::Interaction(InteractionKind::Impression) => "property_impression"
            | "Impression" | "listing_impression" | "search_result_shown",
        UserEventType::Interaction(InteractionKind::ExitDetailedView) => "property_view_ended"
            | "ExitDetailedView" | "property_left",
        UserEventType::Interaction(InteractionKind::Share) => "property_shared" | "Share"
            | "listing_shared",
        UserEventType::Interaction(InteractionKind::Search) => "search" | "search_performed"
            | "property_searched" | "search_executed" | "search_run",
        UserEventType::Interaction(InteractionKind::ScrolledDepth) => "page_scrolled"
            | "ScrolledDepth" | "scroll" | "scroll_depth",
        UserEventType::Interaction(InteractionKind::PhotoGallery) => "photos_viewed"
            | "PhotoGallery" | "gallery_opened" | "photo_viewed",
        UserEventType::Interaction(InteractionKind::VirtualTour) => "virtual_tour_opened"
            | "VirtualTour" | "virtual_tour_viewed",
        UserEventType::Interaction(InteractionKind::PropertyVideos) => "video_played"
            | "PropertyVideos" | "property_video_played",
        UserEventType::Interaction(InteractionKind::DrivingDirections) => "directions_requested"
            | "DrivingDirections" | "directions_viewed",
        UserEventType::Interaction(InteractionKind::Printed) => "property_printed" | "Printed",
        UserEventType::Interaction(InteractionKind::Comments) => "comment_added" | "Comments",
        UserEventType::Interaction(InteractionKind::ClickedOnEmailAddress) => "email_clicked"
            | "ClickedOnEmailAddress",
        UserEventType::Interaction(InteractionKind::ClickedOnPhoneNumber) => "phone_clicked"
            | "ClickedOnPhoneNumber",
        UserEventType::Interaction(InteractionKind::ClickToPrimaryHostedSite) => "site_clicked"
            | "ClickToPrimaryHostedSite" | "external_link_clicked",
        UserEventType::Interaction(InteractionKind::SubmissionOfLeadForm) => "lead_submitted"
            | "SubmissionOfLeadForm" | "inquiry_sent" | "contact_form_submitted"
            | "property_inquired" | "inquiry_submitted",
        UserEventType::Interaction(InteractionKind::ObjectModified) => "object_modified",
        UserEventType::Interaction(InteractionKind::SignIn) => "signed_in" | "SignIn" | "login"
            | "user_logged_in",
        UserEventType::Interaction(InteractionKind::SignOut) => "signed_out" | "SignOut"
            | "logout" | "user_logged_out",
        UserEventType::Preference(Preference::Favorite) => "property_favorited" | "Favorited"
            | "property_favourited" | "favorite" | "favourite" | "property_saved"
            | "listing_favorited" | "property_liked",
        UserEventType::Preference(Preference::Possibility) => "property_maybe" | "Maybe"
            | "possibility",
        UserEventType::Preference(Preference::Discard) => "property_discarded" | "Discard"
            | "property_hidden" | "property_dismissed",
        UserEventType::Preference(Preference::Clear) => "property_unfavorited" | "unfavorited"
            | "property_unfavourited" | "preference_cleared" | "property_unsaved",
    }

    PROPERTY_TYPES: PropertyType {
        PropertyType::Apartment => "Apartment" | "flat" | "apt" | "condo_apartment",
        PropertyType::Cabin => "Cabin" | "bungalow" | "chalet" | "cottage",
        PropertyType::Condominium => "Condominium" | "condo",
        PropertyType::Duplex => "Duplex" | "semi_detached" | "semi_detached_house",
        PropertyType::Farm => "Farm" | "farmhouse",
        PropertyType::Loft => "Loft",
        PropertyType::ManufacturedHome => "ManufacturedHome" | "mobile_home" | "manufactured",
        PropertyType::Quadruplex => "Quadruplex" | "fourplex",
        PropertyType::Room => "Room" | "private_room" | "shared_room",
        PropertyType::SingleFamilyResidence => "SingleFamilyResidence" | "house" | "single_family"
            | "detached" | "detached_house" | "single_family_home",
        PropertyType::StockCooperative => "StockCooperative" | "coop",
        PropertyType::Studio => "Studio" | "studio_apartment" | "bedsit",
        PropertyType::Townhouse => "Townhouse" | "terraced" | "terraced_house" | "row_house",
        PropertyType::Triplex => "Triplex",
        PropertyType::Villa => "Villa",
        PropertyType::Other => "Other" | "unknown",
    }

    STATUSES: ListingStatus {
        ListingStatus::Draft => "Draft" | "incomplete" | "unpublished",
        ListingStatus::InReview => "InReview" | "pending_review",
        ListingStatus::ComingSoon => "ComingSoon" | "scheduled" | "pre_order",
        ListingStatus::Active => "Active" | "available" | "for_rent" | "to_let" | "on_market"
            | "in_stock" | "listed" | "published" | "new",
        ListingStatus::UnderApplication => "UnderApplication" | "under_offer"
            | "active_under_contract" | "limited_availability",
        ListingStatus::Pending => "Pending" | "reserved" | "under_contract",
        ListingStatus::OnHold => "OnHold" | "hold" | "paused" | "temporarily_off_market",
        ListingStatus::Withdrawn => "Withdrawn" | "off_market" | "removed" | "inactive"
            | "delisted" | "discontinued" | "unavailable",
        ListingStatus::Leased => "Leased" | "closed" | "let" | "let_agreed" | "rented" | "sold"
            | "sold_out",
        ListingStatus::Cancelled => "Cancelled" | "canceled",
        ListingStatus::Expired => "Expired",
        ListingStatus::Voided => "Voided" | "delete" | "deleted",
    }

    FREQUENCIES: FeeFrequency {
        FeeFrequency::Daily => "Daily" | "day" | "night" | "nightly" | "per_night" | "per_day",
        FeeFrequency::Weekly => "Weekly" | "week" | "pw" | "per_week",
        FeeFrequency::Monthly => "Monthly" | "month" | "pcm" | "pm" | "per_month"
            | "calendar_month",
        FeeFrequency::Yearly => "Yearly" | "year" | "annually" | "annual" | "pa" | "per_year"
            | "per_annum",
        FeeFrequency::OneTime => "OneTime" | "once" | "sale" | "total",
    }

    AREA_UNITS: AreaUnit {
        AreaUnit::SquareFeet => "SquareFeet" | "sqft" | "ft2" | "ft²" | "FTK"
            | "square_foot",
        AreaUnit::SquareMeters => "SquareMeters" | "sqm" | "m2" | "m²" | "MTK"
            | "square_metres" | "square_meter",
        AreaUnit::Acres => "Acres" | "acre" | "ac" | "ACR",
        AreaUnit::Hectares => "Hectares" | "hectare" | "ha" | "HAR",
    }

    MEDIA_CATEGORIES: MediaCategory {
        MediaCategory::Photo => "Photo" | "image" | "picture" | "photograph",
        MediaCategory::FloorPlan => "FloorPlan" | "plan",
        MediaCategory::Video => "Video" | "film",
        MediaCategory::VirtualTour => "VirtualTour" | "tour" | "unbranded_virtual_tour",
        MediaCategory::Document => "Document" | "brochure" | "pdf",
    }

    ACTOR_TYPES: ActorType {
        ActorType::Agent => "Agent",
        ActorType::Bot => "Bot" | "crawler" | "spider",
        ActorType::Client => "Client" | "user" | "member",
        ActorType::Consumer => "Consumer" | "visitor" | "guest" | "anonymous",
        ActorType::Unknown => "Unknown",
    }

    OBJECT_TYPES: ObjectType {
        ObjectType::Document => "Document",
        ObjectType::Listing => "Listing",
        ObjectType::OpenHouse => "OpenHouse",
        ObjectType::Photo => "Photo" | "image" | "media",
        ObjectType::Property => "Property" | "home" | "unit",
        ObjectType::SavedSearch => "SavedSearch" | "search",
        ObjectType::VirtualTour => "VirtualTour" | "tour",
    }

    DEVICE_TYPES: DeviceType {
        DeviceType::Desktop => "Desktop" | "web" | "laptop" | "computer",
        DeviceType::Mobile => "Mobile" | "phone" | "smartphone" | "ios" | "android",
        DeviceType::Tablet => "Tablet" | "ipad",
        DeviceType::Wearable => "Wearable" | "watch",
        DeviceType::Unknown => "Unknown",
    }

    CHANNELS: EventSource {
        EventSource::Ai => "AI" | "recommendation" | "assistant",
        EventSource::Gps => "GPS",
        EventSource::List => "List" | "results" | "search_results",
        EventSource::Map => "Map",
        EventSource::SearchEngine => "SearchEngine" | "google" | "organic",
        EventSource::VoiceAssistant => "VoiceAssistant" | "voice",
    }
}

/// Whether a user agent is that of a program that nobody sits in front of.
pub(super) fn is_bot(user_agent: &str) -> bool {
    const MARKS: [&str; 12] = [
        "bot",
        "crawl",
        "spider",
        "slurp",
        "bingpreview",
        "headless",
        "curl/",
        "wget/",
        "python-requests",
        "facebookexternalhit",
        "lighthouse",
        "monitor",
    ];
    let user_agent = user_agent.to_ascii_lowercase();
    MARKS.iter().any(|mark| user_agent.contains(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn no_name_twice<T: Copy + PartialEq>(names: &Names<T>) {
        let count: usize = names.all.iter().map(|(_, names)| names.len()).sum();
        assert_eq!(names.by_key.len(), count, "{:?}", names.by_key.keys());
    }

    #[test]
    fn no_name_stands_for_two_things() {
        no_name_twice(&ENVELOPE_FIELDS);
        no_name_twice(&PROPERTY_FIELDS);
        no_name_twice(&USER_FIELDS);
        no_name_twice(&PROPERTY_EVENTS);
        no_name_twice(&USER_EVENTS);
        no_name_twice(&PROPERTY_TYPES);
        no_name_twice(&STATUSES);
        no_name_twice(&FREQUENCIES);
        no_name_twice(&AREA_UNITS);
        no_name_twice(&MEDIA_CATEGORIES);
        no_name_twice(&ACTOR_TYPES);
        no_name_twice(&OBJECT_TYPES);
        no_name_twice(&DEVICE_TYPES);
        no_name_twice(&CHANNELS);
    }

    #[test]
    fn every_interaction_kind_has_its_reso_name() {
        for kind in InteractionKind::ALL {
            assert!(USER_EVENTS.find(kind.name()).is_some(), "{kind:?}");
        }
    }

    #[test]
    fn every_property_type_status_and_category_has_its_own_name() {
        assert!(
            PropertyType::ALL.iter().all(|kind| PROPERTY_TYPES.find(kind.name()) == Some(*kind))
        );
        assert!(MediaCategory::ALL.iter().all(|c| MEDIA_CATEGORIES.find(c.name()) == Some(*c)));
        let sent_by_feeds = |status: &&ListingStatus| **status != ListingStatus::ChangesRequested;
        let mut statuses = ListingStatus::ALL.iter().filter(sent_by_feeds);
        assert!(statuses.all(|status| STATUSES.find(status.name()) == Some(*status)));
    }

    #[test]
    fn the_way_a_name_is_written_does_not_matter() {
        for name in ["list_price", "ListPrice", "listPrice", "LIST-PRICE", "list price"] {
            assert_eq!(PROPERTY_FIELDS.find(name), Some(PropertyField::Price), "{name}");
        }
    }

    #[test]
    fn a_name_nobody_knows_has_a_nearest_one_or_none() {
        assert_eq!(PROPERTY_FIELDS.nearest("bedroms"), Some("bedrooms"));
        assert_eq!(PROPERTY_FIELDS.nearest("curency"), Some("currency"));
        assert_eq!(PROPERTY_FIELDS.nearest("zzz"), None);
        assert_eq!(PROPERTY_FIELDS.nearest(&"ü".repeat(10_000)), None);
    }

    /// The page for senders names every field and event type, and every word it gives is one.
    #[test]
    fn the_page_for_senders_is_in_step() {
        let page = include_str!("README.md");
        fn names_each<T: Copy + PartialEq>(page: &str, names: &Names<T>) {
            for (_, names) in names.all {
                let named = names.iter().any(|name| page.contains(&format!("`{name}`")));
                assert!(named, "the page names none of {names:?}");
            }
        }
        names_each(page, &PROPERTY_FIELDS);
        names_each(page, &PROPERTY_EVENTS);
        names_each(page, &USER_EVENTS);
        let rows = page.lines().skip_while(|line| *line != "## Property data");
        for row in rows.take_while(|line| !line.starts_with("`null`")) {
            let cells = row.split('|').skip(1).take(2);
            for name in cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)) {
                assert!(PROPERTY_FIELDS.find(name).is_some(), "{name} is no field");
            }
        }
    }

    #[test]
    fn programs_are_told_by_their_user_agent() {
        assert!(is_bot("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"));
        assert!(!is_bot("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"));
    }
}

//! Every command: what it makes happen, and every reason why it is refused.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, Utc};
use cqrs_es::test::TestFramework;
use freehold_domain::property::ListingStatus::*;
use freehold_domain::property::*;
use freehold_domain::{
    Actor, Address, ApplicationId, Coordinates, ListingKey, Price, StoredEvent, UserId,
};
use uuid::Uuid;

use crate::samples::*;

/// Each line is a test: its name a sentence, then given and when, then the event.
macro_rules! happens {
    ($( $name:ident: $given:expr, $when:expr => $event:expr; )+) => {
        $( #[test] fn $name() { $given.when($when).then($event); } )+

        #[test]
        fn every_event_type_is_made_by_a_command() {
            let made: BTreeSet<_> =
                [ $( PropertyEvent::from($event).event_type() ),+ ].into_iter().collect();
            let all = PropertyEvent::TYPES.iter().map(|(name, _)| *name).collect();
            assert_eq!(made, all);
        }
    };
}

/// Each line is a test: its name a sentence, then given and when; nothing happens.
macro_rules! changes_nothing {
    ($( $name:ident: $given:expr, $when:expr; )+) => {
        $( #[test] fn $name() { $given.when($when).then_nothing(); } )+
    };
}

/// Each line is a test: its name a sentence, then given and when, then every complaint.
macro_rules! is_refused {
    ($( $name:ident: $given:expr, $when:expr => $( $code:literal at $field:literal ),+; )+) => {
        $( #[test] fn $name() { $given.when($when).then_refused(&[ $( ($code, $field) ),+ ]); } )+

        #[test]
        fn every_refusal_code_is_given_by_a_command() {
            let given: BTreeSet<_> = [ $( $( $code ),+ ),+ ].into_iter().collect();
            assert_eq!(given, PropertyRefused::ALL_CODES.iter().copied().collect());
            assert!(PropertyRefused::ALL_CODES.is_sorted());
        }
    };
}

fn register() -> RegisterProperty {
    RegisterProperty {
        source: source(),
        origin: Origin::Client,
        facts: facts(),
        amenities: words(&["balcony"]),
    }
}

fn correct(facts: Box<PropertyFacts>) -> CorrectPropertyFacts {
    CorrectPropertyFacts { facts, clear: BTreeSet::new() }
}

fn clear(field: FactField) -> CorrectPropertyFacts {
    CorrectPropertyFacts { facts: Box::default(), clear: BTreeSet::from([field]) }
}

fn corrected(change: FactChange) -> PropertyFactsCorrected {
    PropertyFactsCorrected { changes: vec![change] }
}

fn found() -> VerifyAddress {
    VerifyAddress {
        outcome: Geocoding::Found {
            coordinates: point(),
            precision: CoordinatePrecision::Rooftop,
            visibility: LocationVisibility::Exact,
        },
    }
}

fn geocoded() -> AddressGeocoded {
    AddressGeocoded {
        coordinates: point(),
        precision: CoordinatePrecision::Rooftop,
        visibility: LocationVisibility::Exact,
    }
}

fn not_found(reason: &str) -> VerifyAddress {
    VerifyAddress { outcome: Geocoding::NotFound { reason: reason.into() } }
}

fn attach(media: Media) -> AttachMedia {
    let Media { id, url, category, caption, order } = media;
    AttachMedia { id, url, category, caption, order: Some(order) }
}

fn draft(listing: ListingKey) -> DraftListing {
    DraftListing {
        listing,
        price: Some(rent()),
        available_from: Some(next_month()),
        agent: Some(AGENT),
    }
}

fn schedule(on_market_date: NaiveDate, expires_at: Option<DateTime<Utc>>) -> ScheduleListing {
    ScheduleListing { listing: LISTING, on_market_date, expires_at }
}

fn publish(expires_at: Option<DateTime<Utc>>) -> PublishListing {
    PublishListing { listing: LISTING, expires_at }
}

fn change_rent(price: Price) -> ChangeRent {
    ChangeRent { listing: LISTING, price, reason: None }
}

fn set_costs(costs: Vec<MoveInCost>) -> SetMoveInCosts {
    SetMoveInCosts { listing: LISTING, costs }
}

fn set_fees(fees: Vec<OngoingFee>) -> SetOngoingFees {
    SetOngoingFees { listing: LISTING, fees }
}

fn offer(concession: Concession) -> OfferConcession {
    OfferConcession { listing: LISTING, concession }
}

fn set_terms(terms: LeaseTerms) -> SetLeaseTerms {
    SetLeaseTerms { listing: LISTING, terms }
}

fn release(application: ApplicationId) -> ReleaseApplicationHold {
    let cause = BackOnMarketCause::ApplicationDeclined;
    ReleaseApplicationHold { listing: LISTING, application, cause }
}

fn back_on_market() -> ListingBackOnMarket {
    ListingBackOnMarket {
        listing: LISTING,
        cause: BackOnMarketCause::ApplicationDeclined,
        application: Some(APPLICATION),
    }
}

fn close(close_date: NaiveDate) -> CloseAsLeased {
    CloseAsLeased { listing: LISTING, lease: LEASE, rent_at_close: None, close_date }
}

fn leased() -> ListingLeased {
    ListingLeased { listing: LISTING, lease: LEASE, rent_at_close: rent(), close_date: today() }
}

fn renew(days: i64) -> RenewListing {
    RenewListing { listing: LISTING, expires_at: in_days(days) }
}

fn reassign(agent: UserId) -> ReassignAgent {
    ReassignAgent { listing: LISTING, agent, agent_active: true }
}

fn record_closing(closed_on: NaiveDate) -> RecordClosing {
    RecordClosing { listing: NEXT_LISTING, price: once(), closed_on }
}

fn in_1996() -> NaiveDate {
    NaiveDate::from_ymd_opt(1996, 4, 23).unwrap()
}

fn merge() -> MarkDuplicateOf {
    MarkDuplicateOf {
        property: PROPERTY,
        survivor: SURVIVOR,
        survivor_is_duplicate: false,
        has_open_applications: false,
    }
}

fn a_duplicate() -> History {
    after(a_property(), MarkedDuplicateOf { survivor: SURVIVOR })
}

fn an_archived_property() -> History {
    after(a_property(), PropertyArchived {})
}

fn active() -> Given {
    given(a_listing(Active))
}

fn held_before_it_was_published() -> History {
    after(a_listing(ComingSoon), ListingHeld { listing: LISTING })
}

fn with_the_address_cleared(history: History) -> History {
    let change = FactChange::Address(Changed { old: Some(address()), new: None });
    after(history, corrected(change))
}

happens! {
    a_client_registers_a_property: given(nothing()), register() => registered();
    a_feed_registers_a_property_of_unknown_type_and_place:
        given(nothing()),
        RegisterProperty { origin: Origin::Feed, facts: Box::default(), ..register() }
        => PropertyRegistered {
            facts: only(|facts| facts.property_type = Some(PropertyType::Other)),
            ..registered()
        };
    coordinates_alone_place_a_property:
        given(nothing()),
        RegisterProperty {
            facts: facts_with(|f| (f.address, f.coordinates) = (None, Some(point()))),
            ..register()
        }
        => PropertyRegistered {
            facts: facts_with(|f| (f.address, f.coordinates) = (None, Some(point()))),
            ..registered()
        };
    a_studio_has_no_bedroom:
        given(a_property()), correct(only(|facts| facts.bedrooms = Some(0)))
        => corrected(FactChange::Bedrooms(Changed { old: Some(2), new: Some(0) }));
    a_fact_is_forgotten:
        given(a_property()), clear(FactField::Bedrooms)
        => corrected(FactChange::Bedrooms(Changed { old: Some(2), new: None }));
    only_the_facts_that_differ_are_corrected:
        given(a_property()), correct(facts_with(|facts| facts.stories = Some(1.5)))
        => corrected(FactChange::Stories(Changed { old: None, new: Some(1.5) }));
    amenities_are_replaced:
        given(a_property()), SetAmenities { amenities: words(&["lift"]) }
        => AmenitiesSet { old: words(&["balcony"]), new: words(&["lift"]) };
    an_address_is_found: given(a_property()), found() => geocoded();
    an_address_is_found_more_precisely:
        given(after(
            a_property(),
            AddressGeocoded { precision: CoordinatePrecision::City, ..geocoded() },
        )),
        found() => geocoded();
    an_address_is_not_found:
        given(a_property()), not_found("no such street")
        => AddressVerificationFailed { reason: "no such street".into() };
    a_photo_is_attached: given(a_property()), attach(photo()) => MediaAttached { media: photo() };
    a_medium_without_an_order_is_attached_after_the_last:
        given(a_property_with_a_photo()), AttachMedia { order: None, ..attach(plan()) }
        => MediaAttached { media: plan() };
    media_are_attached_to_the_next_listing_after_the_last_one_ended:
        given(after(a_listing(Leased), drafted(NEXT_LISTING))), attach(plan())
        => MediaAttached { media: plan() };
    media_are_attached_beside_a_closing_of_long_ago:
        given(after(
            a_property(),
            ClosingRecorded { listing: LISTING, price: once(), closed_on: in_1996() },
        )),
        attach(photo()) => MediaAttached { media: photo() };
    media_are_reordered:
        given(a_property_with_media()), ReorderMedia { order: vec![PLAN, PHOTO] }
        => MediaReordered { order: vec![PLAN, PHOTO] };
    a_photo_is_preferred:
        given(a_property_with_media()), SetPreferredPhoto { media: PHOTO }
        => PreferredPhotoSet { media: PHOTO };
    a_photo_removed_and_attached_again_is_not_preferred_by_itself:
        given(after(
            after(
                after(a_property_with_a_photo(), PreferredPhotoSet { media: PHOTO }),
                MediaRemoved { media: PHOTO },
            ),
            MediaAttached { media: photo() },
        )),
        SetPreferredPhoto { media: PHOTO } => PreferredPhotoSet { media: PHOTO };
    a_medium_is_removed:
        given(a_property_with_media()), RemoveMedia { media: PLAN } => MediaRemoved { media: PLAN };
    a_listing_is_drafted: given(a_property()), draft(LISTING) => drafted(LISTING);
    a_new_listing_is_drafted_after_the_last_one_ended:
        given(a_listing(Expired)), draft(NEXT_LISTING) => drafted(NEXT_LISTING);
    a_draft_is_submitted:
        given(a_listing(Draft)), SubmitForReview { listing: LISTING }
        => ListingSubmitted { listing: LISTING, submitted_by: Actor("mara".into()) };
    a_listing_sent_back_is_submitted_again:
        given(a_listing(ChangesRequested)), SubmitForReview { listing: LISTING }
        => ListingSubmitted { listing: LISTING, submitted_by: Actor("mara".into()) };
    a_second_person_approves:
        given(a_listing(InReview)).by("noor"), ApproveListing { listing: LISTING }
        => ListingApproved { listing: LISTING, approved_by: Actor("noor".into()) };
    the_submitter_approves_where_the_tenant_lets_them:
        given(a_listing(InReview)).without_four_eyes(), ApproveListing { listing: LISTING }
        => ListingApproved { listing: LISTING, approved_by: Actor("mara".into()) };
    a_reviewer_requests_changes:
        given(a_listing(InReview)),
        RequestChanges { listing: LISTING, reasons: vec!["a better photo".into()] }
        => ListingChangesRequested { listing: LISTING, reasons: vec!["a better photo".into()] };
    a_listing_in_review_is_returned_to_draft:
        given(a_listing(InReview)), ReturnToDraft { listing: LISTING }
        => ListingReturnedToDraft { listing: LISTING };
    a_complete_draft_is_scheduled:
        given(a_listing(Draft)), schedule(today() + Days::new(7), Some(in_days(90)))
        => scheduled();
    a_complete_draft_is_published:
        given(a_listing(Draft)), publish(Some(in_days(90))) => published();
    an_approved_listing_is_published:
        given(an_approved_listing()), publish(Some(in_days(90))) => published();
    a_scheduled_listing_is_published_with_the_end_it_was_announced_with:
        given(a_listing(ComingSoon)), publish(None) => published();
    a_listing_without_an_end_is_published:
        given(a_listing(Draft)), publish(None)
        => ListingPublished { expires_at: None, ..published() };
    the_rent_is_changed:
        active(), ChangeRent { reason: Some("index".into()), ..change_rent(higher_rent()) }
        => RentChanged {
            listing: LISTING,
            old: Some(rent()),
            new: higher_rent(),
            reason: Some("index".into()),
        };
    a_draft_gets_its_first_rent:
        given(a_bare_draft()), change_rent(rent())
        => RentChanged { listing: LISTING, old: None, new: rent(), reason: None };
    move_in_costs_are_set_and_sorted_by_kind:
        active(), set_costs(costs().into_iter().rev().collect())
        => MoveInCostsSet { listing: LISTING, costs: costs() };
    ongoing_fees_are_set: active(), set_fees(fees())
        => OngoingFeesSet { listing: LISTING, fees: fees() };
    a_concession_is_offered: active(), offer(concession())
        => ConcessionOffered { listing: LISTING, concession: concession() };
    a_concession_is_withdrawn:
        given(after(
            a_listing(Active),
            ConcessionOffered { listing: LISTING, concession: concession() },
        )),
        WithdrawConcession { listing: LISTING, concession: CONCESSION }
        => ConcessionWithdrawn { listing: LISTING, concession: CONCESSION };
    lease_terms_are_set: active(), set_terms(terms())
        => LeaseTermsSet { listing: LISTING, terms: terms() };
    availability_is_changed:
        active(), ChangeAvailability { listing: LISTING, available_from: today() }
        => AvailabilityChanged { listing: LISTING, old: Some(next_month()), new: today() };
    an_application_holds_a_listing:
        active(), MarkUnderApplication { listing: LISTING, application: APPLICATION }
        => ListingUnderApplication { listing: LISTING, application: APPLICATION };
    a_declined_application_puts_its_listing_back_on_the_market:
        given(a_listing(UnderApplication)), release(APPLICATION) => back_on_market();
    a_lease_that_fell_through_puts_its_listing_back_on_the_market:
        given(a_listing(Pending)), release(APPLICATION) => back_on_market();
    a_listing_is_pending_for_the_application_that_holds_it:
        given(a_listing(UnderApplication)), MarkPending { listing: LISTING, application: None }
        => ListingPending { listing: LISTING, application: Some(APPLICATION) };
    a_listing_is_pending_for_an_application_that_is_unknown:
        active(), MarkPending { listing: LISTING, application: None }
        => ListingPending { listing: LISTING, application: None };
    a_lease_closes_a_listing_at_the_listed_rent:
        given(a_listing(Pending)), close(today()) => leased();
    a_lease_closes_a_listing_at_another_rent:
        given(a_listing(Pending)),
        CloseAsLeased { rent_at_close: Some(higher_rent()), ..close(today()) }
        => ListingLeased { rent_at_close: higher_rent(), ..leased() };
    a_close_date_of_tomorrow_is_today_further_east:
        given(a_listing(Pending)), close(today() + Days::new(1))
        => ListingLeased { close_date: today() + Days::new(1), ..leased() };
    a_listing_is_held: active(), HoldListing { listing: LISTING }
        => ListingHeld { listing: LISTING };
    a_held_listing_is_resumed:
        given(a_listing(OnHold)), ResumeListing { listing: LISTING }
        => ListingBackOnMarket {
            cause: BackOnMarketCause::Resumed,
            application: None,
            ..back_on_market()
        };
    a_withdrawn_listing_is_resumed_in_its_period:
        given(a_listing(Withdrawn)), ResumeListing { listing: LISTING }
        => ListingBackOnMarket {
            cause: BackOnMarketCause::Resumed,
            application: None,
            ..back_on_market()
        };
    a_listing_held_before_it_was_published_is_published_when_resumed:
        given(held_before_it_was_published()), ResumeListing { listing: LISTING } => published();
    a_listing_is_withdrawn_with_a_reason:
        active(), WithdrawListing { listing: LISTING, reason: "the owner moves in".into() }
        => ListingWithdrawn { listing: LISTING, reason: "the owner moves in".into() };
    a_listing_is_cancelled: active(), CancelListing { listing: LISTING }
        => ListingCancelled { listing: LISTING };
    a_listing_expires_at_its_end:
        active().at(in_days(90)), ExpireListing { listing: LISTING }
        => ListingExpired { listing: LISTING };
    a_draft_is_voided: given(a_listing(Draft)), VoidListing { listing: LISTING }
        => ListingVoided { listing: LISTING };
    a_listing_is_renewed: active(), renew(180)
        => ListingRenewed { listing: LISTING, old: Some(in_days(90)), new: in_days(180) };
    a_renewed_listing_expires_at_its_new_end:
        given(after(
            a_listing(Active),
            ListingRenewed { listing: LISTING, old: Some(in_days(90)), new: in_days(180) },
        ))
        .at(in_days(180)),
        ExpireListing { listing: LISTING } => ListingExpired { listing: LISTING };
    another_agent_takes_a_listing: active(), reassign(OTHER_AGENT)
        => ListingAgentReassigned { listing: LISTING, old: Some(AGENT), new: OTHER_AGENT };
    a_closing_of_long_ago_is_recorded:
        given(a_property()), record_closing(in_1996())
        => ClosingRecorded { listing: NEXT_LISTING, price: once(), closed_on: in_1996() };
    a_property_is_marked_as_a_duplicate: given(a_property()), merge()
        => MarkedDuplicateOf { survivor: SURVIVOR };
    a_property_on_the_market_without_applications_is_marked_as_a_duplicate: active(), merge()
        => MarkedDuplicateOf { survivor: SURVIVOR };
    a_duplicate_is_separated: given(a_duplicate()), SeparateDuplicate
        => DuplicateSeparated { survivor: SURVIVOR };
    a_separated_property_is_marked_as_a_duplicate_of_another:
        given(after(a_duplicate(), DuplicateSeparated { survivor: SURVIVOR })),
        MarkDuplicateOf { survivor: OTHER_SURVIVOR, ..merge() }
        => MarkedDuplicateOf { survivor: OTHER_SURVIVOR };
    a_property_is_archived_once_its_listing_ended:
        given(a_listing(Leased)), ArchiveProperty { has_current_lease: false }
        => PropertyArchived {};
}

changes_nothing! {
    facts_sent_again: given(a_property()), correct(facts());
    a_fact_cleared_that_was_unknown: given(a_property()), clear(FactField::YearBuilt);
    amenities_sent_again: given(a_property()), SetAmenities { amenities: words(&["balcony"]) };
    an_address_found_where_it_was: given(after(a_property(), geocoded())), found();
    a_photo_sent_again: given(a_property_with_a_photo()), attach(photo());
    a_photo_sent_again_without_an_order:
        given(a_property_with_media()), AttachMedia { order: None, ..attach(photo()) };
    media_in_the_order_they_have:
        given(a_property_with_media()), ReorderMedia { order: vec![PHOTO, PLAN] };
    a_photo_preferred_twice:
        given(after(a_property_with_a_photo(), PreferredPhotoSet { media: PHOTO })),
        SetPreferredPhoto { media: PHOTO };
    an_approval_given_twice:
        given(an_approved_listing()).by("noor"), ApproveListing { listing: LISTING };
    a_rent_sent_again: active(), change_rent(rent());
    move_in_costs_sent_again:
        given(after(a_listing(Active), MoveInCostsSet { listing: LISTING, costs: costs() })),
        set_costs(costs());
    ongoing_fees_sent_again:
        given(after(a_listing(Active), OngoingFeesSet { listing: LISTING, fees: fees() })),
        set_fees(fees());
    a_concession_offered_twice:
        given(after(
            a_listing(Active),
            ConcessionOffered { listing: LISTING, concession: concession() },
        )),
        offer(concession());
    lease_terms_sent_again:
        given(after(a_listing(Active), LeaseTermsSet { listing: LISTING, terms: terms() })),
        set_terms(terms());
    the_day_of_availability_sent_again:
        active(), ChangeAvailability { listing: LISTING, available_from: next_month() };
    an_application_accepted_twice:
        given(a_listing(UnderApplication)),
        MarkUnderApplication { listing: LISTING, application: APPLICATION };
    an_application_accepted_again_when_its_listing_is_pending_already:
        given(a_listing(Pending)),
        MarkUnderApplication { listing: LISTING, application: APPLICATION };
    an_application_released_twice: active(), release(APPLICATION);
    a_renewal_to_the_end_it_has: active(), renew(90);
    an_agent_who_has_the_listing_already: active(), reassign(AGENT);
    a_duplicate_marked_twice: given(a_duplicate()), merge();
}

is_refused! {
    an_unknown_property_has_no_facts_to_correct:
        given(nothing()), correct(facts()) => "NOT_REGISTERED" at "";
    an_unknown_property_is_not_listed:
        given(nothing()), draft(LISTING) => "NOT_REGISTERED" at "";
    a_property_is_registered_once:
        given(a_property()), register() => "ALREADY_REGISTERED" at "";
    an_archived_property_is_not_listed:
        given(an_archived_property()), draft(LISTING) => "PROPERTY_ARCHIVED" at "";
    an_archived_property_is_not_archived_again:
        given(an_archived_property()), ArchiveProperty { has_current_lease: false }
        => "PROPERTY_ARCHIVED" at "";
    a_client_says_where_a_property_is_and_what_kind_of_home:
        given(nothing()), RegisterProperty { facts: Box::default(), ..register() }
        => "PROPERTY_TYPE_MISSING" at "facts.property_type",
           "LOCATION_MISSING" at "facts.address";
    a_property_keeps_a_type:
        given(a_property()), clear(FactField::PropertyType) => "PROPERTY_TYPE_MISSING" at "clear";
    a_fact_is_not_set_and_cleared_at_once:
        given(a_property()),
        CorrectPropertyFacts {
            facts: only(|facts| facts.bedrooms = Some(3)),
            clear: BTreeSet::from([FactField::Bedrooms]),
        }
        => "SET_AND_CLEARED" at "facts.bedrooms";
    a_source_has_no_slash_in_its_name_and_every_reference_is_something:
        given(nothing()),
        RegisterProperty {
            source: SourceRef { source: "a/b".into(), reference: " ".into() },
            ..register()
        }
        => "MALFORMED" at "source.source", "BLANK" at "source.reference";
    facts_out_of_range_are_reported_all_at_once:
        given(a_property()),
        correct(only(|facts| {
            facts.coordinates = Some(Coordinates { latitude: 91.0, longitude: f64::NAN });
            facts.year_built = Some(999);
            facts.stories = Some(1.3);
            facts.bedrooms = Some(101);
            facts.bathrooms_full = Some(101);
            facts.bathrooms_half = Some(101);
            facts.rooms = Some(501);
            facts.max_occupancy = Some(0);
            facts.living_area = Some(square_meters(0.0));
            facts.lot_area = Some(square_meters(f64::INFINITY));
            facts.garage_area = Some(square_meters(1e15));
        }))
        => "OUT_OF_RANGE" at "facts.coordinates",
           "OUT_OF_RANGE" at "facts.stories",
           "OUT_OF_RANGE" at "facts.year_built",
           "OUT_OF_RANGE" at "facts.bedrooms",
           "OUT_OF_RANGE" at "facts.bathrooms_full",
           "OUT_OF_RANGE" at "facts.bathrooms_half",
           "OUT_OF_RANGE" at "facts.rooms",
           "OUT_OF_RANGE" at "facts.max_occupancy",
           "OUT_OF_RANGE" at "facts.living_area",
           "OUT_OF_RANGE" at "facts.lot_area",
           "OUT_OF_RANGE" at "facts.garage_area";
    texts_are_bounded_and_free_of_control_characters:
        given(a_property()),
        correct(only(|facts| {
            facts.title = Some("two\nlines".into());
            facts.description = Some("x".repeat(20_001));
        }))
        => "MALFORMED" at "facts.title", "TOO_LONG" at "facts.description";
    an_address_says_something_and_names_its_country_by_code:
        given(a_property()),
        correct(only(|facts| {
            facts.address = Some(Address {
                street: Some("\0".into()),
                city: Some(String::new()),
                country: Some("Germany".into()),
                ..Address::default()
            });
        }))
        => "MALFORMED" at "facts.address.street",
           "BLANK" at "facts.address.city",
           "MALFORMED" at "facts.address.country";
    an_empty_address_is_no_address:
        given(a_property()), correct(only(|facts| facts.address = Some(Address::default())))
        => "BLANK" at "facts.address";
    amenities_are_bounded:
        given(a_property()),
        SetAmenities { amenities: (0..201).map(|n| format!("amenity {n}")).collect() }
        => "TOO_MANY" at "amenities";
    no_address_no_geocoding:
        given(a_bare_draft()), found() => "ADDRESS_MISSING" at "facts.address";
    a_geocoder_stays_on_earth:
        given(a_property()),
        VerifyAddress {
            outcome: Geocoding::Found {
                coordinates: Coordinates { latitude: -90.1, longitude: 0.0 },
                precision: CoordinatePrecision::City,
                visibility: LocationVisibility::Hidden,
            },
        }
        => "OUT_OF_RANGE" at "outcome.coordinates";
    a_geocoder_says_why: given(a_property()), not_found("") => "BLANK" at "outcome.reason";
    media_come_over_http:
        given(a_property()), AttachMedia { url: "file:///etc/passwd".into(), ..attach(photo()) }
        => "MALFORMED" at "url";
    media_come_from_a_host:
        given(a_property()), AttachMedia { url: "https:///front.jpg".into(), ..attach(photo()) }
        => "MALFORMED" at "url";
    a_caption_is_a_line:
        given(a_property()), AttachMedia { caption: Some("x".repeat(501)), ..attach(photo()) }
        => "TOO_LONG" at "caption";
    media_are_bounded:
        given((1..=100).fold(a_property(), |history, n| {
            let media = Media { id: Uuid::from_u128(n), order: n as u16, ..photo() };
            after(history, MediaAttached { media })
        })),
        AttachMedia { order: None, ..attach(plan()) } => "TOO_MANY" at "media";
    an_id_names_one_medium:
        given(a_property_with_a_photo()), AttachMedia { id: PHOTO, ..attach(plan()) }
        => "ID_TAKEN" at "id";
    two_media_have_no_place_in_common:
        given(a_property_with_a_photo()), AttachMedia { order: Some(1), ..attach(plan()) }
        => "MEDIA_ORDER_TAKEN" at "order";
    nothing_follows_the_last_possible_place:
        given(after(a_property(), MediaAttached { media: Media { order: u16::MAX, ..photo() } })),
        AttachMedia { order: None, ..attach(plan()) } => "MEDIA_ORDER_TAKEN" at "order";
    a_new_order_names_every_medium:
        given(a_property_with_media()), ReorderMedia { order: vec![PLAN] }
        => "MEDIA_ORDER_INCOMPLETE" at "order";
    a_new_order_names_no_medium_twice:
        given(a_property_with_media()), ReorderMedia { order: vec![PLAN, PHOTO, PLAN] }
        => "MEDIA_ORDER_INCOMPLETE" at "order";
    a_new_order_names_no_stranger:
        given(a_property_with_a_photo()), ReorderMedia { order: vec![PHOTO, PLAN] }
        => "MEDIA_NOT_FOUND" at "order[1]";
    an_unknown_photo_is_not_preferred:
        given(a_property()), SetPreferredPhoto { media: PHOTO } => "MEDIA_NOT_FOUND" at "media";
    a_floor_plan_is_not_preferred:
        given(a_property_with_media()), SetPreferredPhoto { media: PLAN }
        => "NOT_A_PHOTO" at "media";
    an_unknown_medium_is_not_removed:
        given(a_property()), RemoveMedia { media: PHOTO } => "MEDIA_NOT_FOUND" at "media";
    no_medium_is_attached_after_the_listing_ended:
        given(a_listing(Leased)), attach(plan()) => "LISTING_CLOSED" at "";
    no_medium_is_removed_after_the_listing_ended:
        given(a_listing(Cancelled)), RemoveMedia { media: PHOTO } => "LISTING_CLOSED" at "";
    no_medium_is_moved_after_the_listing_ended:
        given(a_listing(Expired)), ReorderMedia { order: vec![PHOTO] } => "LISTING_CLOSED" at "";
    no_photo_is_preferred_after_the_listing_ended:
        given(a_listing(Voided)), SetPreferredPhoto { media: PHOTO } => "LISTING_CLOSED" at "";
    only_one_listing_is_open:
        given(a_listing(Withdrawn)), draft(NEXT_LISTING) => "LISTING_ALREADY_OPEN" at "";
    an_open_listing_is_not_drafted_again:
        given(a_listing(Draft)), draft(LISTING) => "LISTING_ALREADY_OPEN" at "";
    a_closed_listing_never_reopens_by_a_new_draft:
        given(a_listing(Cancelled)), draft(LISTING) => "LISTING_KEY_USED" at "listing";
    a_recorded_closing_keeps_its_key:
        given(after(
            a_property(),
            ClosingRecorded { listing: LISTING, price: once(), closed_on: in_1996() },
        )),
        draft(LISTING) => "LISTING_KEY_USED" at "listing";
    a_draft_asks_for_no_more_money_than_there_is_and_for_no_impossible_day:
        given(a_property()),
        DraftListing {
            price: Some(more_than_money()),
            available_from: Some(NaiveDate::MAX),
            ..draft(LISTING)
        }
        => "OUT_OF_RANGE" at "price", "OUT_OF_RANGE" at "available_from";
    an_unknown_listing_is_not_published:
        given(a_property()), publish(None) => "LISTING_NOT_FOUND" at "listing";
    an_unknown_listing_has_no_rent:
        given(a_property()), change_rent(rent()) => "LISTING_NOT_FOUND" at "listing";
    a_listing_that_is_active_is_not_published_again:
        active(), publish(None) => "INVALID_TRANSITION" at "";
    a_held_listing_is_resumed_not_published:
        given(a_listing(OnHold)), publish(None) => "INVALID_TRANSITION" at "";
    a_draft_is_published_not_resumed:
        given(a_listing(Draft)), ResumeListing { listing: LISTING } => "INVALID_TRANSITION" at "";
    a_pending_listing_does_not_expire:
        given(a_listing(Pending)).at(in_days(91)), ExpireListing { listing: LISTING }
        => "INVALID_TRANSITION" at "";
    a_published_listing_is_not_voided:
        active(), VoidListing { listing: LISTING } => "INVALID_TRANSITION" at "";
    a_draft_is_not_approved:
        given(a_listing(Draft)), ApproveListing { listing: LISTING } => "NOT_IN_REVIEW" at "";
    the_submitter_does_not_approve:
        given(a_listing(InReview)), ApproveListing { listing: LISTING } => "FOUR_EYES" at "";
    a_reviewer_says_what_to_change:
        given(a_listing(InReview)), RequestChanges { listing: LISTING, reasons: vec![] }
        => "BLANK" at "reasons";
    a_reviewer_says_it_in_words:
        given(a_listing(InReview)),
        RequestChanges { listing: LISTING, reasons: vec!["light".into(), String::new()] }
        => "BLANK" at "reasons[1]";
    a_listing_in_review_is_not_published_without_approval:
        given(a_listing(InReview)), publish(None) => "NOT_APPROVED" at "";
    a_listing_in_review_is_not_scheduled_without_approval:
        given(a_listing(InReview)), schedule(today(), None) => "NOT_APPROVED" at "";
    an_approval_lasts_only_until_the_listing_is_sent_back:
        given(after(
            after(
                an_approved_listing(),
                ListingChangesRequested { listing: LISTING, reasons: vec!["light".into()] },
            ),
            ListingSubmitted { listing: LISTING, submitted_by: Actor("mara".into()) },
        )),
        publish(None) => "NOT_APPROVED" at "";
    a_listing_is_not_published_before_it_is_complete:
        given(a_bare_draft()), publish(None)
        => "RENT_MISSING" at "price",
           "AVAILABILITY_MISSING" at "available_from",
           "PHOTO_MISSING" at "media",
           "ADDRESS_MISSING" at "facts.address";
    a_floor_plan_is_no_photo:
        given(after(
            after(a_property(), MediaAttached { media: plan() }),
            drafted(LISTING),
        )),
        publish(None) => "PHOTO_MISSING" at "media";
    a_listing_is_not_scheduled_before_it_is_complete:
        given(after(a_property(), drafted(LISTING))), schedule(today(), None)
        => "PHOTO_MISSING" at "media";
    a_listing_that_lost_its_address_is_not_resumed:
        given(with_the_address_cleared(a_listing(OnHold))), ResumeListing { listing: LISTING }
        => "ADDRESS_MISSING" at "facts.address";
    a_listing_whose_time_ran_out_is_not_resumed:
        given(a_listing(OnHold)).at(in_days(90)), ResumeListing { listing: LISTING }
        => "EXPIRY_TOO_EARLY" at "expires_at";
    a_listing_ends_later_than_it_is_published:
        given(a_listing(Draft)), publish(Some(noon())) => "EXPIRY_TOO_EARLY" at "expires_at";
    a_listing_ends_later_than_it_comes_on_the_market:
        given(a_listing(Draft)), schedule(today() + Days::new(7), Some(in_days(7)))
        => "EXPIRY_TOO_EARLY" at "expires_at";
    a_listing_is_not_announced_for_the_past:
        given(a_listing(Draft)), schedule(today() - Days::new(2), None)
        => "DATE_IN_PAST" at "on_market_date";
    a_listing_ends_within_the_years_that_stores_can_hold:
        given(a_listing(Draft)), publish(Some(DateTime::<Utc>::MAX_UTC))
        => "OUT_OF_RANGE" at "expires_at";
    the_rent_is_fixed_once_pending:
        given(a_listing(Pending)), change_rent(higher_rent()) => "RENT_FIXED" at "price";
    the_rent_of_a_closed_listing_stays:
        given(a_listing(Leased)), change_rent(higher_rent()) => "LISTING_CLOSED" at "";
    the_rent_of_an_earlier_listing_stays:
        given(after(a_listing(Expired), drafted(NEXT_LISTING))), change_rent(higher_rent())
        => "LISTING_CLOSED" at "";
    a_rent_is_no_more_money_than_there_is:
        active(), change_rent(more_than_money()) => "OUT_OF_RANGE" at "price";
    a_rent_is_in_the_currency_of_its_fees:
        given(after(a_listing(Active), OngoingFeesSet { listing: LISTING, fees: fees() })),
        change_rent(in_dollars(rent())) => "CURRENCY_MISMATCH" at "price";
    a_cost_of_moving_in_is_paid_once_and_named_once:
        active(),
        set_costs(vec![
            MoveInCost { kind: MoveInCostKind::CleaningFee, price: rent() },
            MoveInCost { kind: MoveInCostKind::CleaningFee, price: once() },
        ])
        => "NOT_ONE_TIME" at "costs[0].price", "REPEATED" at "costs[1].kind";
    a_cost_of_moving_in_is_in_the_currency_of_the_rent:
        active(),
        set_costs(vec![MoveInCost {
            kind: MoveInCostKind::CleaningFee,
            price: in_dollars(once()),
        }])
        => "CURRENCY_MISMATCH" at "costs[0].price";
    an_ongoing_fee_comes_again_and_is_named_once:
        active(),
        set_fees(vec![
            OngoingFee { kind: OngoingFeeKind::PetFee, price: once(), mandatory: true },
            OngoingFee { kind: OngoingFeeKind::PetFee, price: rent(), mandatory: true },
        ])
        => "NOT_RECURRING" at "fees[0].price", "REPEATED" at "fees[1].kind";
    an_ongoing_fee_is_in_the_currency_of_the_costs_of_moving_in:
        given(after(a_bare_draft(), MoveInCostsSet { listing: LISTING, costs: costs() })),
        set_fees(vec![OngoingFee {
            kind: OngoingFeeKind::PetFee,
            price: in_dollars(rent()),
            mandatory: true,
        }])
        => "CURRENCY_MISMATCH" at "fees[0].price";
    a_concession_says_what_it_is_and_ends_on_a_possible_day:
        active(),
        offer(Concession {
            id: CONCESSION,
            description: " ".into(),
            ends_on: Some(NaiveDate::MIN),
        })
        => "BLANK" at "concession.description", "OUT_OF_RANGE" at "concession.ends_on";
    an_id_names_one_concession:
        given(after(
            a_listing(Active),
            ConcessionOffered { listing: LISTING, concession: concession() },
        )),
        offer(Concession { ends_on: None, ..concession() }) => "ID_TAKEN" at "concession.id";
    concessions_are_bounded:
        given((1..=20).fold(a_listing(Active), |history, n| {
            let concession = Concession { id: Uuid::from_u128(n), ..concession() };
            after(history, ConcessionOffered { listing: LISTING, concession })
        })),
        offer(concession()) => "TOO_MANY" at "concession";
    an_unknown_concession_is_not_withdrawn:
        active(), WithdrawConcession { listing: LISTING, concession: CONCESSION }
        => "CONCESSION_NOT_FOUND" at "concession";
    the_shortest_lease_is_no_longer_than_the_longest:
        active(),
        set_terms(LeaseTerms { min_months: Some(13), max_months: Some(12), ..terms() })
        => "MIN_ABOVE_MAX" at "terms.min_months";
    a_lease_lasts_between_a_month_and_a_century:
        active(),
        set_terms(LeaseTerms { min_months: Some(0), max_months: Some(1_201), ..terms() })
        => "OUT_OF_RANGE" at "terms.min_months", "OUT_OF_RANGE" at "terms.max_months";
    what_the_rent_includes_is_not_paid_besides:
        active(), set_terms(LeaseTerms { tenant_pays: words(&["Water"]), ..terms() })
        => "PAID_TWICE" at "terms.tenant_pays[0]";
    a_home_is_available_on_a_possible_day:
        active(), ChangeAvailability { listing: LISTING, available_from: NaiveDate::MIN }
        => "OUT_OF_RANGE" at "available_from";
    a_listing_is_held_by_one_application:
        given(a_listing(UnderApplication)),
        MarkUnderApplication { listing: LISTING, application: OTHER_APPLICATION }
        => "APPLICATION_MISMATCH" at "application";
    an_application_releases_only_what_it_holds:
        given(a_listing(Pending)), release(OTHER_APPLICATION)
        => "APPLICATION_MISMATCH" at "application";
    an_application_releases_nothing_from_a_held_listing:
        given(a_listing(OnHold)), release(APPLICATION) => "APPLICATION_MISMATCH" at "application";
    an_application_releases_nothing_from_a_closed_listing:
        given(a_listing(Leased)), release(APPLICATION) => "LISTING_CLOSED" at "";
    a_listing_is_pending_only_for_the_application_that_holds_it:
        given(a_listing(UnderApplication)),
        MarkPending { listing: LISTING, application: Some(OTHER_APPLICATION) }
        => "APPLICATION_MISMATCH" at "application";
    a_lease_closes_no_listing_on_a_day_to_come:
        given(a_listing(Pending)), close(today() + Days::new(2))
        => "DATE_IN_FUTURE" at "close_date";
    a_lease_closes_no_listing_at_more_money_than_there_is:
        given(a_listing(Pending)),
        CloseAsLeased { rent_at_close: Some(more_than_money()), ..close(today()) }
        => "OUT_OF_RANGE" at "rent_at_close";
    a_withdrawal_has_a_reason:
        active(), WithdrawListing { listing: LISTING, reason: String::new() }
        => "BLANK" at "reason";
    a_listing_does_not_expire_before_its_end:
        active().at(in_days(89)), ExpireListing { listing: LISTING } => "NOT_YET_EXPIRED" at "";
    a_listing_without_an_end_does_not_expire:
        given(after(
            a_listing(Draft),
            ListingPublished { expires_at: None, ..published() },
        ))
        .at(in_days(10_000)),
        ExpireListing { listing: LISTING } => "NOT_YET_EXPIRED" at "";
    a_listing_is_not_renewed_into_the_past:
        active(), renew(0) => "EXPIRY_TOO_EARLY" at "expires_at";
    a_closed_listing_is_not_renewed:
        given(a_listing(Expired)), renew(180) => "LISTING_CLOSED" at "";
    an_inactive_agent_takes_no_listing:
        active(), ReassignAgent { agent_active: false, ..reassign(OTHER_AGENT) }
        => "AGENT_INACTIVE" at "agent";
    no_closing_is_recorded_beside_an_open_listing:
        active(), record_closing(in_1996()) => "LISTING_ALREADY_OPEN" at "";
    no_closing_of_a_day_to_come_is_recorded:
        given(a_property()), record_closing(today() + Days::new(2))
        => "DATE_IN_FUTURE" at "closed_on";
    periods_are_bounded:
        given((1..=1_000).fold(a_property(), |history, n| {
            let listing = ListingKey(Uuid::from_u128(0x1000 + n));
            after(history, ClosingRecorded { listing, price: once(), closed_on: in_1996() })
        })),
        record_closing(in_1996()) => "TOO_MANY" at "listing";
    a_property_is_no_duplicate_of_itself:
        given(a_property()), MarkDuplicateOf { survivor: PROPERTY, ..merge() }
        => "SELF_DUPLICATE" at "survivor";
    a_duplicate_survives_nothing:
        given(a_property()), MarkDuplicateOf { survivor_is_duplicate: true, ..merge() }
        => "SURVIVOR_IS_DUPLICATE" at "survivor";
    a_duplicate_has_one_survivor:
        given(a_duplicate()), MarkDuplicateOf { survivor: OTHER_SURVIVOR, ..merge() }
        => "ALREADY_DUPLICATE" at "";
    a_property_under_application_is_not_merged:
        given(a_listing(UnderApplication)), merge() => "MERGE_BLOCKED" at "";
    a_property_on_the_market_with_open_applications_is_not_merged:
        active(), MarkDuplicateOf { has_open_applications: true, ..merge() }
        => "MERGE_BLOCKED" at "";
    a_property_that_is_no_duplicate_is_not_separated:
        given(a_property()), SeparateDuplicate => "NOT_A_DUPLICATE" at "";
    a_property_with_an_open_listing_is_not_archived:
        given(a_listing(Withdrawn)), ArchiveProperty { has_current_lease: false }
        => "LISTING_STILL_OPEN" at "";
    a_property_with_a_current_lease_is_not_archived:
        given(a_listing(Leased)), ArchiveProperty { has_current_lease: true }
        => "LEASE_STILL_CURRENT" at "";
}

#[test]
fn the_aggregate_stores_what_was_decided() {
    TestFramework::<Property>::with(circumstances())
        .given(a_listing(Draft))
        .when(publish(Some(in_days(90))).into())
        .then_expect_events(vec![published().into()]);
}

#[test]
fn the_aggregate_stores_nothing_that_was_refused() {
    TestFramework::<Property>::with(circumstances())
        .given_no_previous_events()
        .when(draft(LISTING).into())
        .then_expect_error(PropertyRefused::NotRegistered);
}

#[test]
fn what_is_known_is_shown() {
    let history = after(a_property_with_media(), MediaReordered { order: vec![PLAN, PHOTO] });
    let property = fold(after(history, MarkedDuplicateOf { survivor: SURVIVOR }));

    assert_eq!(property.facts(), Some(&*facts()));
    let order: Vec<_> = property.media().iter().map(|media| (media.id, media.order)).collect();
    assert_eq!(order, [(PLAN, 1), (PHOTO, 2)]);
    assert_eq!(property.survivor(), Some(SURVIVOR));
    assert_eq!(property.listing(), None);
    assert_eq!(fold(a_listing(Pending)).listing(), Some((LISTING, Pending)));
    assert_eq!(Property::default().facts(), None);
}

#[test]
fn a_message_says_what_to_do_about_every_field() {
    let refused = fold(a_bare_draft()).decide(publish(None).into(), &circumstances());

    assert_eq!(
        refused.unwrap_err().to_string(),
        "price: a rent with currency and frequency is needed; \
         available_from: the first day it can be had is needed; \
         media: at least one photo is needed; facts.address: an address is needed"
    );
}

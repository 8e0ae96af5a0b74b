//! Every mutation once, accepted.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde_json::{Value, json};

use super::world::*;

/// A world that notes which mutations were sent.
struct Tour {
    world: World,
    sent: BTreeSet<String>,
}

impl Tour {
    /// Sends a mutation that must store exactly this event, and answers what the event says.
    async fn visit(&mut self, mutation: &str, input: Value, event: &str) -> Value {
        self.visit_as(OPERATOR, mutation, input, event).await
    }

    async fn visit_as(
        &mut self,
        sender: Sender,
        mutation: &str,
        input: Value,
        event: &str,
    ) -> Value {
        self.sent.insert(mutation.to_owned());
        let payload = self.world.send_as(sender, mutation, input).await;
        assert_eq!(payload.errors(), Vec::<String>::new(), "{mutation}");
        assert_eq!((payload.event_types(), payload.outcome()), (vec![event.to_owned()], "STORED"));
        let stored = self.world.log().await.pop().unwrap();
        assert_eq!(payload.0["position"], stored.position.to_string(), "{mutation}");
        assert_eq!(payload.0["streamVersion"], stored.version.to_string(), "{mutation}");
        assert_eq!(&*stored.provenance.actor, sender.actor, "{mutation}");
        serde_json::from_slice(&stored.payload).unwrap()
    }
}

#[tokio::test]
async fn every_mutation_is_accepted_and_stores_its_event() {
    let mut tour = Tour { world: World::new().await, sent: BTreeSet::new() };
    a_property(&mut tour).await;
    listings(&mut tour).await;
    duplicates(&mut tour).await;
    an_account(&mut tour).await;
    searches(&mut tour).await;
    rights(&mut tour).await;
    // What is done to dead letters concerns no aggregate, and is tested with their queries.
    let to_letters = ["deadLetterRetry", "deadLetterEdit", "deadLetterDiscard"];
    tour.sent.extend(to_letters.map(str::to_owned));

    let sdl = tour.world.schema.sdl();
    let (_, root) = sdl.split_once("type Mutation {").unwrap();
    let (root, _) = root.split_once("\n}").unwrap();
    let names = root.lines().filter_map(|line| {
        let (name, _) = line.trim().split_once('(')?;
        (!name.starts_with(['"', '#'])).then(|| name.to_owned())
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), tour.sent, "a mutation without a case here");
}

async fn a_property(tour: &mut Tour) {
    tour.visit("propertyRegister", registration("berlin-1"), "PropertyRegistered").await;
    let by_source = json!({ "source": { "source": "berlin", "reference": "berlin-1" } });
    let said = tour
        .visit(
            "propertyFactsCorrect",
            json!({
                "property": by_source, "clear": ["LIVING_AREA"],
                "facts": { "bedrooms": 3, "coordinates": { "latitude": 52.5, "longitude": 13.4 } },
            }),
            "PropertyFactsCorrected",
        )
        .await;
    assert_eq!(said["changes"].as_array().unwrap().len(), 3);
    let amenities = json!({ "property": by_source, "amenities": ["lift", "balcony"] });
    let said = tour.visit("propertyAmenitiesSet", amenities, "AmenitiesSet").await;
    assert_eq!(said["new"], json!(["balcony", "lift"]));
    let found = json!({ "found": {
        "coordinates": { "latitude": 52.54, "longitude": 13.41 },
        "precision": "ROOFTOP", "visibility": "APPROXIMATE",
    } });
    let verification = json!({ "property": by_source, "outcome": found });
    tour.visit("propertyAddressVerify", verification, "AddressGeocoded").await;

    let mut media = Vec::new();
    for (name, category) in [("front", "PHOTO"), ("plan", "FLOOR_PLAN"), ("back", "PHOTO")] {
        let url = format!("https://media.example/{name}.jpg");
        let medium = json!({ "property": by_source, "url": url, "category": category });
        let said = tour.visit("mediaAttach", medium, "MediaAttached").await;
        media.push(said["media"]["id"].clone());
    }
    media.reverse();
    let order = json!({ "property": by_source, "order": media });
    tour.visit("mediaReorder", order, "MediaReordered").await;
    let photo = json!({ "property": by_source, "media": media[0] });
    tour.visit("preferredPhotoSet", photo, "PreferredPhotoSet").await;
    let plan = json!({ "property": by_source, "media": media[1] });
    tour.visit("mediaRemove", plan, "MediaRemoved").await;
}

async fn listings(tour: &mut Tour) {
    let agent = tour.world.user("agent@example.com").await;
    let property = tour.world.property("berlin-2").await;
    let by_id = json!({ "id": property });
    let photo = json!({
        "property": by_id, "url": "https://media.example/front.jpg", "category": "PHOTO",
        "caption": "The front", "order": 3,
    });
    tour.visit("mediaAttach", photo, "MediaAttached").await;

    let said = tour.visit("listingDraft", json!({ "property": by_id }), "ListingDrafted").await;
    let listing = said["listing"].clone();
    let with = |more: Value| {
        let mut input = json!({ "listing": listing });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let price = with(json!({ "price": rent(120_000), "reason": "a better market" }));
    tour.visit("listingPriceChange", price, "RentChanged").await;
    let day = with(json!({ "availableFrom": "2027-01-01" }));
    tour.visit("listingAvailabilityChange", day, "AvailabilityChanged").await;
    let costs = json!([{ "kind": "SECURITY_DEPOSIT", "price": once(240_000) }]);
    let costs = with(json!({ "costs": costs }));
    tour.visit("listingMoveInCostsSet", costs, "MoveInCostsSet").await;
    let fees = json!([{ "kind": "PARKING_FEE", "price": rent(9_000), "mandatory": false }]);
    tour.visit("listingOngoingFeesSet", with(json!({ "fees": fees })), "OngoingFeesSet").await;
    let concession = json!({ "description": "First month free", "endsOn": "2027-02-01" });
    let concession = with(json!({ "concession": concession }));
    let said = tour.visit("listingConcessionOffer", concession, "ConcessionOffered").await;
    let concession = with(json!({ "concession": said["concession"]["id"] }));
    tour.visit("listingConcessionWithdraw", concession, "ConcessionWithdrawn").await;
    let terms = json!({
        "minMonths": 12, "maxMonths": 24, "options": ["TWELVE_MONTHS"], "furnished": "PARTIALLY",
        "pets": "CATS_ONLY", "maxPets": 2, "rentIncludes": ["heating"], "tenantPays": ["power"],
    });
    tour.visit("listingLeaseTermsSet", with(json!({ "terms": terms })), "LeaseTermsSet").await;
    let reassignment = with(json!({ "agent": agent }));
    tour.visit("listingAgentReassign", reassignment, "ListingAgentReassigned").await;

    tour.visit("listingSubmit", with(json!({})), "ListingSubmitted").await;
    tour.visit("listingReturnToDraft", with(json!({})), "ListingReturnedToDraft").await;
    tour.visit("listingSubmit", with(json!({})), "ListingSubmitted").await;
    let changes = with(json!({ "reasons": ["a better photo"] }));
    tour.visit("listingChangesRequest", changes, "ListingChangesRequested").await;
    tour.visit("listingSubmit", with(json!({})), "ListingSubmitted").await;
    tour.visit_as(REVIEWER, "listingApprove", with(json!({})), "ListingApproved").await;
    let schedule = json!({ "onMarketDate": "2026-12-01", "expiresAt": "2027-03-01T00:00:00Z" });
    tour.visit("listingSchedule", with(schedule), "ListingScheduled").await;
    tour.visit("listingPublish", with(json!({})), "ListingPublished").await;
    let renewal = with(json!({ "expiresAt": "2027-04-01T00:00:00+02:00" }));
    tour.visit("listingRenew", renewal, "ListingRenewed").await;
    tour.visit("listingHold", with(json!({})), "ListingHeld").await;
    tour.visit("listingResume", with(json!({})), "ListingBackOnMarket").await;

    let application = "00000000-0000-0000-0000-0000000000c1";
    let held = with(json!({ "application": application }));
    tour.visit("listingMarkUnderApplication", held.clone(), "ListingUnderApplication").await;
    let released = json!({ "application": application, "cause": "APPLICATION_DECLINED" });
    tour.visit("listingApplicationHoldRelease", with(released), "ListingBackOnMarket").await;
    tour.visit("listingMarkPending", held, "ListingPending").await;
    let lease = json!({
        "lease": "00000000-0000-0000-0000-0000000000d1", "closeDate": "2026-11-20",
        "rentAtClose": rent(118_000),
    });
    tour.visit("listingCloseAsLeased", with(lease), "ListingLeased").await;

    let closing = json!({ "property": by_id, "price": once(35_000_000), "closedOn": "2019-05-02" });
    tour.visit("listingClosingRecord", closing, "ClosingRecorded").await;
    let draft = tour.world.draft_of(&property).await;
    tour.visit("listingVoid", json!({ "listing": draft }), "ListingVoided").await;
    let draft = tour.world.draft_of(&property).await;
    tour.visit("listingPublish", json!({ "listing": draft }), "ListingPublished").await;
    let withdrawal = json!({ "listing": draft, "reason": "the owner moves in" });
    tour.visit("listingWithdraw", withdrawal, "ListingWithdrawn").await;
    tour.visit("listingCancel", json!({ "listing": draft }), "ListingCancelled").await;
    let draft = tour.world.draft_of(&property).await;
    let publication = json!({ "listing": draft, "expiresAt": "2026-11-24T12:00:00Z" });
    tour.visit("listingPublish", publication, "ListingPublished").await;
    tour.world.wait(TimeDelta::days(1));
    tour.visit("listingExpire", json!({ "listing": draft }), "ListingExpired").await;
}

async fn duplicates(tour: &mut Tour) {
    let survivor = tour.world.property("berlin-3").await;
    let property = json!({ "id": tour.world.property("feed-3").await });
    let merge = json!({ "property": property, "survivor": survivor });
    tour.visit("propertyDuplicateMark", merge, "MarkedDuplicateOf").await;
    let property = json!({ "property": property });
    tour.visit("propertyDuplicateSeparate", property.clone(), "DuplicateSeparated").await;
    tour.visit("propertyArchive", property, "PropertyArchived").await;
}

async fn an_account(tour: &mut Tour) {
    let registration = json!({
        "source": { "source": "crm", "reference": "user-456" }, "displayName": "Ada L.",
        "email": "ada@example.com", "phone": "+49 30 123456",
    });
    tour.visit("userRegister", registration, "UserRegistered").await;
    let user = tour.world.last_id().await;
    let with = |more: Value| {
        let mut input = json!({ "user": user });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let email = with(json!({ "email": "Ada@Example.com" }));
    tour.visit("userEmailVerify", email, "EmailVerified").await;
    let phone = with(json!({ "phone": "+4930123456" }));
    tour.visit("userPhoneVerify", phone, "PhoneVerified").await;
    let check = json!({ "method": "BANK", "outcome": { "verified": { "expiresAt": null } } });
    tour.visit("userIdentityVerify", with(check), "IdentityVerified").await;
    let check = json!({ "method": "DOCUMENT", "outcome": { "failed": {
        "reason": "DOCUMENT_EXPIRED",
    } } });
    tour.visit("userIdentityVerify", with(check), "IdentityVerificationFailed").await;
    let profile = with(json!({ "email": "countess@example.org", "clear": ["PHONE"] }));
    tour.visit("userProfileUpdate", profile, "ProfileUpdated").await;
    let preferences = json!({
        "language": "en-GB", "currency": "GBP", "units": "IMPERIAL", "channels": ["EMAIL"],
    });
    tour.visit("userPreferencesChange", with(preferences), "PreferencesChanged").await;
    let (_, listing) = tour.world.draft("liked").await;
    let listing = with(json!({ "listing": listing }));
    tour.visit("listingFavourite", listing.clone(), "ListingPreferenceSet").await;
    tour.visit("listingMarkPossible", listing.clone(), "ListingPreferenceSet").await;
    tour.visit("listingDiscard", listing.clone(), "ListingPreferenceSet").await;
    tour.visit("listingPreferenceClear", listing, "ListingPreferenceCleared").await;
    let reason = with(json!({ "reason": "Chargebacks" }));
    tour.visit("userSuspend", reason, "UserSuspended").await;
    tour.visit("userReinstate", with(json!({})), "UserReinstated").await;
}

async fn searches(tour: &mut Tour) {
    let user = tour.world.user("seeker@example.com").await;
    let search = json!({
        "user": user, "name": "Near work", "text": "quiet balcony", "schedule": "DAILY",
        "filter": {
            "area": { "radius": { "latitude": 52.5, "longitude": 13.4, "meters": 2500 } },
            "price": { "minMinor": "80000", "maxMinor": 150000, "currency": "EUR",
                "frequency": "MONTHLY" },
            "bedrooms": { "min": 1, "max": 3 }, "bathroomsMin": 1.5,
            "floorArea": { "min": 500, "max": 1200, "unit": "SQUARE_FEET" },
            "statuses": ["ACTIVE", "COMING_SOON"], "propertyTypes": ["APARTMENT"],
            "availableBy": "2027-06-01",
        },
    });
    let said = tour.visit("searchSave", search, "SearchSaved").await;
    let filter = &said["filter"];
    assert_eq!(filter["area"]["circle"]["radius_m"], 2_500);
    assert_eq!(filter["price"]["max_minor"], 150_000);
    assert_eq!(filter["statuses"], json!(["Active", "ComingSoon"]));
    let smallest = filter["floor_area_min_m2"].as_f64().unwrap();
    assert!((smallest - 46.451_52).abs() < 1e-9, "{smallest}");

    let key = format!("SavedSearch:{user}:{}", said["search"].as_str().unwrap());
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let search = base64::Engine::encode(&engine, key);
    let with = |more: Value| {
        let mut input = json!({ "search": search });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let name = with(json!({ "name": "Near school" }));
    tour.visit("searchRename", name, "SearchRenamed").await;
    let pause = with(json!({ "reason": "USER_REQUESTED" }));
    tour.visit("searchAlertPause", pause, "AlertPaused").await;
    let schedule = with(json!({ "schedule": "ASAP" }));
    tour.visit("searchScheduleChange", schedule, "AlertScheduleChanged").await;
    tour.visit("searchDelete", with(json!({})), "SearchDeleted").await;
}

async fn rights(tour: &mut Tour) {
    let user = json!({ "user": tour.world.user("private@example.com").await });
    let with = |more: Value| {
        let mut input = user.clone();
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let consent = json!({
        "purpose": "MARKETING", "noticeVersion": "2026-10", "method": "WEB_FORM",
        "jurisdiction": "DE", "expiresAt": "2027-12-01T00:00:00Z",
    });
    tour.visit("consentGrant", with(consent), "ConsentGranted").await;
    let purpose = with(json!({ "purpose": "MARKETING" }));
    tour.visit("consentWithdraw", purpose, "ConsentWithdrawn").await;
    let export = with(json!({ "format": "JSON" }));
    tour.visit("dataExportRequest", export, "DataExportRequested").await;
    let hold = with(json!({ "reason": "Court order 7" }));
    let said = tour.visit("legalHoldPlace", hold, "LegalHoldPlaced").await;
    let hold = with(json!({ "hold": said["hold"] }));
    tour.visit("legalHoldRelease", hold, "LegalHoldReleased").await;
    tour.visit("erasureRequest", user.clone(), "ErasureRequested").await;
    tour.visit("erasureCancel", user.clone(), "ErasureCancelled").await;
    tour.visit("erasureRequest", user.clone(), "ErasureRequested").await;
    let reason = with(json!({ "reason": "Moved in" }));
    tour.visit("accountClose", reason, "AccountClosed").await;
    tour.visit("userKeyShreddedRecord", user.clone(), "SubjectKeyShredded").await;
    let certificate = with(json!({ "certificate": "cert-1" }));
    tour.visit("erasureComplete", certificate, "UserErased").await;

    let user = json!({ "user": tour.world.user("forgotten@example.com").await });
    tour.visit("erasureRequest", user.clone(), "ErasureRequested").await;
    let events = tour.world.accepted("userErase", user).await;
    assert_eq!(events, ["AccountClosed", "SubjectKeyShredded", "UserErased"]);
    tour.sent.insert("userErase".to_owned());
}

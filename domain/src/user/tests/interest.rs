use super::*;

fn preference_set(number: u128, preference: ListingPreference) -> ListingPreferenceSet {
    ListingPreferenceSet { listing: listing(number), preference }
}

#[test]
fn a_listing_is_a_favourite_once() {
    let favourite = FavouriteListing { listing: listing(1) };
    let set = preference_set(1, ListingPreference::Favorite);
    given_a_client().when(favourite.clone()).then(set.clone());
    given_a_client().and(set).when(favourite).then_nothing();
}

#[test]
fn a_later_opinion_replaces_the_earlier_one_even_at_the_limit() {
    let policy = Policy { max_listing_preferences: 1, ..Policy::default() };
    let favourite = preference_set(1, ListingPreference::Favorite);
    given_a_client()
        .under(policy.clone())
        .and(favourite.clone())
        .when(PossibleListing { listing: listing(1) })
        .then(preference_set(1, ListingPreference::Possibility));
    given_a_client()
        .under(policy)
        .and(favourite)
        .when(DiscardListing { listing: listing(1) })
        .then(preference_set(1, ListingPreference::Discard));
}

#[test]
fn an_opinion_is_taken_back_once() {
    let clear = ClearPreference { listing: listing(1) };
    let set = preference_set(1, ListingPreference::Discard);
    let cleared = ListingPreferenceCleared { listing: listing(1) };
    given_a_client().and(set.clone()).when(clear.clone()).then(cleared.clone());
    given_a_client().and(set).and(cleared).when(clear).then_nothing();
}

#[test]
fn a_search_is_saved_once() {
    let save = SaveSearch { text: Some(" quiet balcony ".to_owned()), ..save_search(1) };
    let saved = SearchSaved { text: Some(personal("quiet balcony")), ..search_saved(1) };
    given_a_client().when(save.clone()).then(saved.clone());
    given_a_client().and(saved).when(save).then_nothing();
}

#[test]
fn a_search_is_renamed_once() {
    let rename = RenameSearch { search: search_id(1), name: "Near school".to_owned() };
    let renamed = SearchRenamed { search: search_id(1), name: personal("Near school") };
    given_a_client().and(search_saved(1)).when(rename.clone()).then(renamed.clone());
    given_a_client().and(search_saved(1)).and(renamed).when(rename).then_nothing();
}

#[test]
fn an_alert_gets_another_schedule_once() {
    let (search, schedule) = (search_id(1), AlertSchedule::Asap);
    let change = ChangeSchedule { search, schedule };
    let changed = AlertScheduleChanged { search, schedule };
    given_a_client().and(search_saved(1)).when(change.clone()).then(changed.clone());
    given_a_client().and(search_saved(1)).and(changed).when(change).then_nothing();
}

#[test]
fn setting_the_same_schedule_resumes_a_paused_alert() {
    let (search, schedule) = (search_id(1), AlertSchedule::Daily);
    let paused = AlertPaused { search, reason: AlertPauseReason::NoListingsFound };
    let resumed = AlertScheduleChanged { search, schedule };
    let given = || given_a_client().and(search_saved(1)).and(paused.clone());
    given().when(ChangeSchedule { search, schedule }).then(resumed.clone());
    given().and(resumed).when(ChangeSchedule { search, schedule }).then_nothing();
}

#[test]
fn an_alert_pauses_for_any_reason_and_the_first_one_stands() {
    let search = search_id(1);
    for reason in [
        AlertPauseReason::UserRequested,
        AlertPauseReason::OverLimit,
        AlertPauseReason::SearchFailing,
        AlertPauseReason::Ignored,
        AlertPauseReason::NoListingsFound,
    ] {
        let pause = PauseAlert { search, reason };
        let paused = AlertPaused { search, reason };
        given_a_client().and(search_saved(1)).when(pause.clone()).then(paused);
        given_a_client()
            .and(search_saved(1))
            .and(AlertPaused { search, reason: AlertPauseReason::Ignored })
            .when(pause)
            .then_nothing();
    }
}

#[test]
fn the_alerts_of_a_suspended_user_can_be_paused() {
    let (search, reason) = (search_id(1), AlertPauseReason::SearchFailing);
    given_a_client()
        .and(search_saved(1))
        .and(UserSuspended { reason: personal("Chargebacks") })
        .when(PauseAlert { search, reason })
        .then(AlertPaused { search, reason });
}

#[test]
fn a_search_is_deleted_once_and_makes_room_for_another() {
    let policy = Policy { max_saved_searches: 1, ..Policy::default() };
    let delete = DeleteSearch { search: search_id(1) };
    let deleted = SearchDeleted { search: search_id(1) };
    given_a_client().and(search_saved(1)).when(delete.clone()).then(deleted.clone());
    given_a_client().and(search_saved(1)).and(deleted.clone()).when(delete).then_nothing();
    given_a_client()
        .under(policy)
        .and(search_saved(1))
        .and(deleted)
        .when(save_search(2))
        .then(search_saved(2));
}

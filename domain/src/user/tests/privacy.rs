use super::*;
use crate::{StoredEvent as _, SubjectId};

fn hold_placed() -> LegalHoldPlaced {
    LegalHoldPlaced { hold: hold(1), reason: personal("Court order 7") }
}

#[test]
fn a_consent_is_recorded_once_until_its_terms_change() {
    let stricter = GrantConsent { notice_version: "2026-11".to_owned(), ..grant_consent() };
    let renewed = ConsentGranted { notice_version: "2026-11".to_owned(), ..consent_granted() };
    let lower_case = GrantConsent { jurisdiction: " de ".to_owned(), ..grant_consent() };
    given_a_client().when(lower_case.clone()).then(consent_granted());
    given_a_client().and(consent_granted()).when(lower_case).then_nothing();
    given_a_client().and(consent_granted()).when(stricter).then(renewed);
}

#[test]
fn a_consent_is_withdrawn_once_whatever_the_standing_of_the_account() {
    let purpose = ConsentPurpose::Marketing;
    let withdraw = WithdrawConsent { purpose };
    let withdrawn = ConsentWithdrawn { purpose, withdrawn_at: noon() };
    let given = || given_a_client().and(consent_granted());
    let suspended = UserSuspended { reason: personal("Chargebacks") };
    given().when(withdraw.clone()).then(withdrawn.clone());
    given().and(suspended).when(withdraw.clone()).then(withdrawn.clone());
    given().and(account_closed()).when(withdraw.clone()).then(withdrawn.clone());
    given().and(withdrawn).when(withdraw).then_nothing();
}

#[test]
fn a_withdrawn_consent_can_be_given_again() {
    let withdrawn = ConsentWithdrawn { purpose: ConsentPurpose::Marketing, withdrawn_at: noon() };
    given_a_client()
        .and(consent_granted())
        .and(withdrawn)
        .when(grant_consent())
        .then(consent_granted());
}

#[test]
fn a_consent_counts_until_the_moment_it_expires() {
    let granted = Consent::Granted(consent_granted());
    let endless = ConsentGranted { expires_at: None, ..consent_granted() };
    assert!(granted.counts_at(in_days(364)));
    assert!(!granted.counts_at(in_days(365)));
    assert!(Consent::Granted(endless).counts_at(in_days(36_500)));
    assert!(!Consent::Withdrawn(noon()).counts_at(noon()));
}

#[test]
fn a_copy_of_the_data_can_be_asked_for_even_of_a_closed_account() {
    let format = ExportFormat::Json;
    let requested = DataExportRequested { format };
    given_a_client().when(RequestDataExport { format }).then(requested.clone());
    given_a_closed_account().when(RequestDataExport { format }).then(requested);
}

#[test]
fn an_erasure_is_requested_once_with_the_deadline_of_the_policy() {
    let request = RequestErasure { live_lease: None };
    given_a_client().when(request.clone()).then(erasure_requested());
    given_a_suspended_client().when(request.clone()).then(erasure_requested());
    given_a_closed_account().when(request.clone()).then(erasure_requested());
    given_a_pending_erasure().when(request.clone()).then_nothing();

    let policy = Policy { erasure_deadline_days: 7, ..Policy::default() };
    given_a_client()
        .under(policy)
        .when(request)
        .then(ErasureRequested { requested_at: noon(), deadline: in_days(7) });
}

#[test]
fn an_erasure_is_cancelled_once_and_the_account_may_act_again() {
    given_a_pending_erasure().when(CancelErasure {}).then(ErasureCancelled {});
    given_a_client().when(CancelErasure {}).then_nothing();
    given_a_pending_erasure().and(ErasureCancelled {}).when(save_search(1)).then(search_saved(1));
}

#[test]
fn cancelling_an_erasure_does_not_reopen_a_closed_account() {
    given_a_pending_erasure()
        .and(account_closed())
        .and(ErasureCancelled {})
        .when(save_search(1))
        .then_refused("ACCOUNT_CLOSED");
}

#[test]
fn a_legal_hold_is_placed_once_and_released_once() {
    let place = PlaceLegalHold { hold: hold(1), reason: "Court order 7".to_owned() };
    given_a_client().when(place.clone()).then(hold_placed());
    given_a_client().and(hold_placed()).when(place).then_nothing();
    given_a_client()
        .and(hold_placed())
        .when(ReleaseLegalHold { hold: hold(1) })
        .then(LegalHoldReleased { hold: hold(1) });
}

#[test]
fn an_erasure_goes_on_once_the_last_hold_is_released() {
    given_a_client()
        .and(hold_placed())
        .and(LegalHoldReleased { hold: hold(1) })
        .when(RequestErasure { live_lease: None })
        .then(erasure_requested());
}

#[test]
fn the_key_is_shredded_once_after_the_account_is_closed() {
    let shredded = SubjectKeyShredded { subject: ada().into() };
    let subject: SubjectId = ada().into();
    assert_eq!(UserEvent::from(shredded.clone()).shredded_subject(), Some(subject));
    given_a_pending_erasure().and(account_closed()).when(RecordKeyShredded {}).then(shredded);
    given_a_shredded_user().when(RecordKeyShredded {}).then_nothing();
    given_an_erased_user().when(RecordKeyShredded {}).then_nothing();
}

#[test]
fn the_erasure_is_completed_once_after_the_key_is_shredded() {
    let complete = CompleteErasure { certificate: "cert-1".to_owned() };
    let erased = UserErased { certificate: "cert-1".to_owned() };
    given_a_shredded_user().when(complete.clone()).then(erased);
    given_an_erased_user().when(complete).then_nothing();
}

#[test]
fn a_shredded_key_leaves_nothing_of_the_account_in_the_state() {
    assert_eq!(fold(given_a_shredded_user().history), User::Shredded(ada()));
    assert_eq!(fold(given_an_erased_user().history), User::Erased(ada()));
}

use std::collections::BTreeSet;

use cqrs_es::test::TestFramework;

use super::*;
use crate::{Claim, ClaimKey, Currency, StoredEvent as _, Uniqueness};

fn set(text: &str) -> Change<String> {
    Change::Set(text.to_owned())
}

fn profile_updated() -> ProfileUpdated {
    ProfileUpdated {
        display_name: Change::Keep,
        email: Change::Keep,
        released_email: None,
        phone: Change::Keep,
    }
}

fn phone_set() -> ProfileUpdated {
    ProfileUpdated { phone: Change::Set(personal("+4930123456")), ..profile_updated() }
}

fn email_claim(email: &str, uniqueness: Uniqueness) -> Claim {
    Claim { namespace: "email", uniqueness, key: ClaimKey::Personal(personal(email)) }
}

#[test]
fn handling_a_command_writes_what_was_decided() {
    TestFramework::<User>::with(at_noon())
        .given_no_previous_events()
        .when(register_client().into())
        .then_expect_events(vec![registered_client().into()]);
}

#[test]
fn handling_a_refused_command_answers_why() {
    TestFramework::<User>::with(at_noon())
        .given(vec![registered_client().into()])
        .when(register_client().into())
        .then_expect_error(UserRefused::AlreadyRegistered);
}

#[test]
fn a_client_registers_with_an_email_address_and_its_case_is_dropped() {
    let email = Some("  Ada@Example.COM ".to_owned());
    given_nobody().when(RegisterUser { email, ..register_client() }).then(registered_client());
}

#[test]
fn a_feed_registers_a_user_it_knows_by_reference_only() {
    given_nobody().when(register_from_feed("crm", "user-456")).then(registered_from_feed());
}

#[test]
fn registering_takes_the_email_address_and_the_senders_reference() {
    let reference = ClaimKey::Clear("user/crm/user-456".to_owned());
    assert_eq!(
        UserEvent::from(registered_client()).claims(),
        [email_claim("ada@example.com", Uniqueness::Taken)]
    );
    assert_eq!(
        UserEvent::from(registered_from_feed()).claims(),
        [Claim { namespace: "source", uniqueness: Uniqueness::Taken, key: reference }]
    );
}

#[test]
fn following_the_link_verifies_the_current_email_address_once() {
    let verify = VerifyEmail { email: "ADA@example.com".to_owned() };
    given_a_client().when(verify.clone()).then(EmailVerified {});
    given_a_client().and(EmailVerified {}).when(verify).then_nothing();
}

#[test]
fn a_changed_email_address_must_be_verified_again() {
    let changed = ProfileUpdated {
        email: Change::Set(personal("new@example.com")),
        released_email: Some(personal("ada@example.com")),
        ..profile_updated()
    };
    given_a_client()
        .and(EmailVerified {})
        .and(changed)
        .when(VerifyEmail { email: "new@example.com".to_owned() })
        .then(EmailVerified {});
}

#[test]
fn returning_the_code_verifies_the_current_phone_number_once() {
    let verify = VerifyPhone { phone: "+49 30 123456".to_owned() };
    given_a_client().and(phone_set()).when(verify.clone()).then(PhoneVerified {});
    given_a_client().and(phone_set()).and(PhoneVerified {}).when(verify).then_nothing();
}

#[test]
fn a_passed_identity_check_is_recorded_once_and_a_failed_one_each_time() {
    let method = IdentityMethod::Document;
    let expires_at = Some(in_days(365));
    let verified = IdentityVerified { method, expires_at };
    let passed = VerifyIdentity { method, outcome: IdentityOutcome::Verified { expires_at } };
    given_a_client().when(passed.clone()).then(verified.clone());
    given_a_client().and(verified.clone()).when(passed).then_nothing();

    let reason = IdentityFailure::NameMismatch;
    let outcome = IdentityOutcome::Failed { reason };
    given_a_client()
        .and(verified)
        .when(VerifyIdentity { method, outcome })
        .then(IdentityVerificationFailed { method, reason });
}

#[test]
fn an_updated_profile_holds_the_changed_fields_only() {
    let update = UpdateProfile {
        display_name: set("Ada L."),
        phone: set("+49 (30) 123-456"),
        ..UpdateProfile::default()
    };
    given_a_client().when(update.clone()).then(phone_set());
    given_a_client().and(phone_set()).when(update).then_nothing();
}

#[test]
fn a_new_email_address_takes_the_new_one_and_releases_the_old_one() {
    let updated = ProfileUpdated {
        email: Change::Set(personal("new@example.com")),
        released_email: Some(personal("ada@example.com")),
        ..profile_updated()
    };
    assert_eq!(
        UserEvent::from(updated.clone()).claims(),
        [
            email_claim("new@example.com", Uniqueness::Taken),
            email_claim("ada@example.com", Uniqueness::Released),
        ]
    );
    let update = UpdateProfile { email: set("new@example.com"), ..UpdateProfile::default() };
    given_a_client().when(update).then(updated);
}

#[test]
fn a_name_and_a_phone_number_can_be_cleared() {
    let cleared = UpdateProfile {
        display_name: Change::Clear,
        phone: Change::Clear,
        ..UpdateProfile::default()
    };
    let updated =
        ProfileUpdated { display_name: Change::Clear, phone: Change::Clear, ..profile_updated() };
    given_a_client().and(phone_set()).when(cleared.clone()).then(updated.clone());
    given_a_client().and(phone_set()).and(updated).when(cleared).then_nothing();
}

#[test]
fn a_user_of_a_feed_can_lose_the_email_address_again() {
    let given_mail =
        ProfileUpdated { email: Change::Set(personal("ada@example.com")), ..profile_updated() };
    let lost = ProfileUpdated {
        email: Change::Clear,
        released_email: Some(personal("ada@example.com")),
        ..profile_updated()
    };
    given_nobody()
        .and(registered_from_feed())
        .and(given_mail)
        .when(UpdateProfile { email: Change::Clear, ..UpdateProfile::default() })
        .then(lost);
}

#[test]
fn changed_preferences_hold_the_changed_fields_only() {
    let channels = Some(BTreeSet::from([NotificationChannel::Email]));
    let change = ChangePreferences {
        language: Some("en-GB".to_owned()),
        currency: Currency::from_code("GBP"),
        units: Some(Units::Imperial),
        channels: channels.clone(),
    };
    let language =
        PreferencesChanged { language: Some("en-GB".to_owned()), ..PreferencesChanged::default() };
    let rest = PreferencesChanged {
        language: None,
        currency: Currency::from_code("GBP"),
        units: Some(Units::Imperial),
        channels,
    };
    given_a_client().and(language.clone()).when(change.clone()).then(rest.clone());
    given_a_client().and(language).and(rest).when(change).then_nothing();
}

#[test]
fn an_operator_suspends_an_account_once() {
    let suspend = SuspendUser { reason: "Chargebacks".to_owned() };
    let suspended = UserSuspended { reason: personal("Chargebacks") };
    given_a_client().when(suspend.clone()).then(suspended);
    given_a_suspended_client().when(suspend).then_nothing();
}

#[test]
fn a_suspended_account_is_reinstated_once_and_may_act_again() {
    given_a_suspended_client().when(ReinstateUser {}).then(UserReinstated {});
    given_a_client().when(ReinstateUser {}).then_nothing();
    given_a_suspended_client().and(UserReinstated {}).when(save_search(1)).then(search_saved(1));
}

#[test]
fn closing_an_account_releases_its_email_address_once() {
    let close = CloseAccount { reason: Some("Moved in".to_owned()) };
    let closed = AccountClosed { reason: Some(personal("Moved in")), ..account_closed() };
    assert_eq!(
        UserEvent::from(closed.clone()).claims(),
        [email_claim("ada@example.com", Uniqueness::Released)]
    );
    given_a_client().when(close.clone()).then(closed.clone());
    given_a_suspended_client().when(close.clone()).then(closed.clone());
    given_a_client().and(closed).when(close).then_nothing();
}

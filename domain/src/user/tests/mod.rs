//! Given a history, when a command is decided, then these events or this refusal.

mod interest;
mod privacy;
mod profile;
mod properties;
mod refusals;
mod search;
mod text;

use chrono::{DateTime, Duration, TimeZone, Utc};
use uuid::Uuid;

use super::*;
use crate::{Actor, Circumstances, LegalHoldId, ListingKey, Personal, Policy, Refusal};
use crate::{SavedSearchId, UserId};

/// A history and the circumstances to decide in.
pub(crate) struct Given {
    history: Vec<UserEvent>,
    policy: Policy,
}

/// What was decided.
pub(crate) struct Decided(Result<Vec<UserEvent>, UserRefused>);

pub(crate) fn given_nobody() -> Given {
    Given { history: Vec::new(), policy: Policy::default() }
}

pub(crate) fn given_a_client() -> Given {
    given_nobody().and(registered_client())
}

pub(crate) fn given_a_suspended_client() -> Given {
    given_a_client().and(UserSuspended { reason: personal("Chargebacks") })
}

pub(crate) fn given_a_closed_account() -> Given {
    given_a_client().and(account_closed())
}

pub(crate) fn given_a_pending_erasure() -> Given {
    given_a_client().and(erasure_requested())
}

pub(crate) fn given_a_shredded_user() -> Given {
    given_a_pending_erasure()
        .and(account_closed())
        .and(SubjectKeyShredded { subject: ada().into() })
}

pub(crate) fn given_an_erased_user() -> Given {
    given_a_shredded_user().and(UserErased { certificate: "cert-1".to_owned() })
}

impl Given {
    pub(crate) fn and(mut self, event: impl Into<UserEvent>) -> Self {
        self.history.push(event.into());
        self
    }

    pub(crate) fn under(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    pub(crate) fn when(self, command: impl Into<UserCommand>) -> Decided {
        let circumstances = Circumstances { policy: self.policy, ..at_noon() };
        Decided(fold(self.history).decide(command.into(), &circumstances))
    }
}

impl Decided {
    pub(crate) fn then(self, event: impl Into<UserEvent>) {
        assert_eq!(self.0, Ok(vec![event.into()]));
    }

    pub(crate) fn then_nothing(self) {
        assert_eq!(self.0, Ok(Vec::new()));
    }

    pub(crate) fn refusal(self) -> UserRefused {
        self.0.expect_err("the command is refused")
    }

    pub(crate) fn then_refused(self, code: &str) {
        assert_eq!(self.refusal().code(), code);
    }
}

pub(crate) fn fold(history: impl IntoIterator<Item = UserEvent>) -> User {
    use cqrs_es::Aggregate as _;
    let mut user = User::default();
    for event in history {
        user.apply(event);
    }
    user
}

pub(crate) fn noon() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 23, 12, 0, 0).unwrap()
}

pub(crate) fn in_days(days: i64) -> DateTime<Utc> {
    noon() + Duration::days(days)
}

pub(crate) fn at_noon() -> Circumstances {
    Circumstances { now: noon(), actor: Actor("web".to_owned()), policy: Policy::default() }
}

pub(crate) fn ada() -> UserId {
    UserId(Uuid::from_u128(0xada))
}

pub(crate) fn listing(number: u128) -> ListingKey {
    ListingKey(Uuid::from_u128(number))
}

pub(crate) fn search_id(number: u128) -> SavedSearchId {
    SavedSearchId(Uuid::from_u128(number))
}

pub(crate) fn hold(number: u128) -> LegalHoldId {
    LegalHoldId(Uuid::from_u128(number))
}

pub(crate) fn personal(value: &str) -> Personal<String> {
    Personal::new(ada().into(), value.to_owned())
}

pub(crate) fn register_client() -> RegisterUser {
    RegisterUser {
        user: ada(),
        origin: Origin::Client,
        display_name: Some("Ada L.".to_owned()),
        email: Some("ada@example.com".to_owned()),
        phone: None,
    }
}

pub(crate) fn register_from_feed(source: &str, reference: &str) -> RegisterUser {
    let source = UserSource { source: source.to_owned(), reference: reference.to_owned() };
    RegisterUser {
        user: ada(),
        origin: Origin::Feed(source),
        display_name: None,
        email: None,
        phone: None,
    }
}

pub(crate) fn registered_client() -> UserRegistered {
    UserRegistered {
        user: ada(),
        display_name: Some(personal("Ada L.")),
        email: Some(personal("ada@example.com")),
        phone: None,
        source: None,
        registered_at: noon(),
    }
}

pub(crate) fn registered_from_feed() -> UserRegistered {
    let source = UserSource { source: "crm".to_owned(), reference: "user-456".to_owned() };
    let registered = registered_client();
    UserRegistered { display_name: None, email: None, source: Some(source), ..registered }
}

pub(crate) fn account_closed() -> AccountClosed {
    AccountClosed { reason: None, released_email: Some(personal("ada@example.com")) }
}

pub(crate) fn erasure_requested() -> ErasureRequested {
    ErasureRequested { requested_at: noon(), deadline: in_days(30) }
}

pub(crate) fn save_search(number: u128) -> SaveSearch {
    SaveSearch {
        search: search_id(number),
        name: "Near work".to_owned(),
        text: None,
        filter: SearchFilter::default(),
        schedule: AlertSchedule::Daily,
    }
}

pub(crate) fn search_saved(number: u128) -> SearchSaved {
    SearchSaved {
        search: search_id(number),
        name: personal("Near work"),
        text: None,
        filter: SearchFilter::default(),
        schedule: AlertSchedule::Daily,
    }
}

pub(crate) fn grant_consent() -> GrantConsent {
    GrantConsent {
        purpose: ConsentPurpose::Marketing,
        notice_version: "2026-10".to_owned(),
        method: ConsentMethod::WebForm,
        jurisdiction: "DE".to_owned(),
        expires_at: Some(in_days(365)),
    }
}

pub(crate) fn consent_granted() -> ConsentGranted {
    ConsentGranted {
        purpose: ConsentPurpose::Marketing,
        notice_version: "2026-10".to_owned(),
        method: ConsentMethod::WebForm,
        jurisdiction: "DE".to_owned(),
        granted_at: noon(),
        expires_at: Some(in_days(365)),
    }
}

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use cqrs_es::Aggregate as _;
use cqrs_es::event_sink::EventSink;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::{Currency, LeaseId, Refusal as _, StoredEvent as _};

/// Text that is usually worth storing, and otherwise anything at all.
fn some_text() -> impl Strategy<Value = String> {
    const USUAL: &[&str] =
        &["Near work", "ada@example.com", "bob@example.com", "+4930123456", "DE", "en-GB"];
    prop_oneof![3 => proptest::sample::select(USUAL).prop_map(str::to_owned), 1 => any::<String>()]
}

fn some_change() -> impl Strategy<Value = Change<String>> {
    prop_oneof![Just(Change::Keep), some_text().prop_map(Change::Set), Just(Change::Clear)]
}

fn some_search() -> impl Strategy<Value = SavedSearchId> {
    (0..4_u128).prop_map(search_id)
}

fn some_listing() -> impl Strategy<Value = ListingKey> {
    (0..4_u128).prop_map(listing)
}

fn some_schedule() -> impl Strategy<Value = AlertSchedule> {
    prop_oneof![Just(AlertSchedule::Asap), Just(AlertSchedule::Daily), Just(AlertSchedule::Monthly)]
}

fn some_purpose() -> impl Strategy<Value = ConsentPurpose> {
    prop_oneof![Just(ConsentPurpose::Marketing), Just(ConsentPurpose::Alerts)]
}

fn some_registration() -> impl Strategy<Value = UserCommand> {
    let source = (some_text(), some_text())
        .prop_map(|(source, reference)| Origin::Feed(UserSource { source, reference }));
    let origin = prop_oneof![Just(Origin::Client), source];
    (origin, option::of(some_text()), option::of(some_text()), option::of(some_text())).prop_map(
        |(origin, display_name, email, phone)| {
            RegisterUser { user: ada(), origin, display_name, email, phone }.into()
        },
    )
}

fn some_profile_command() -> impl Strategy<Value = UserCommand> {
    let outcome = prop_oneof![
        option::of(-1..3_i64)
            .prop_map(|days| IdentityOutcome::Verified { expires_at: days.map(in_days) }),
        Just(IdentityOutcome::Failed { reason: IdentityFailure::FaceMismatch }),
    ];
    prop_oneof![
        some_registration(),
        some_text().prop_map(|email| VerifyEmail { email }.into()),
        some_text().prop_map(|phone| VerifyPhone { phone }.into()),
        outcome.prop_map(|outcome| {
            VerifyIdentity { method: IdentityMethod::Document, outcome }.into()
        }),
        (some_change(), some_change(), some_change()).prop_map(|(display_name, email, phone)| {
            UpdateProfile { display_name, email, phone }.into()
        }),
        (option::of(some_text()), any::<bool>()).prop_map(|(language, metric)| {
            let units = Some(if metric { Units::Metric } else { Units::Imperial });
            let channels = Some(BTreeSet::from([NotificationChannel::Push]));
            let currency = Currency::from_code("EUR");
            ChangePreferences { language, currency, units, channels }.into()
        }),
        some_text().prop_map(|reason| SuspendUser { reason }.into()),
        Just(ReinstateUser {}.into()),
        option::of(some_text()).prop_map(|reason| CloseAccount { reason }.into()),
    ]
}

fn some_interest_command() -> impl Strategy<Value = UserCommand> {
    let filter = (option::of(0..4_u32), option::of(0..4_u32), option::of(1..9_u32)).prop_map(
        |(bedrooms_min, bedrooms_max, halves)| SearchFilter {
            bedrooms_min,
            bedrooms_max,
            bathrooms_min: halves.map(|halves| f64::from(halves) / 2.0),
            ..SearchFilter::default()
        },
    );
    prop_oneof![
        some_listing().prop_map(|listing| FavouriteListing { listing }.into()),
        some_listing().prop_map(|listing| PossibleListing { listing }.into()),
        some_listing().prop_map(|listing| DiscardListing { listing }.into()),
        some_listing().prop_map(|listing| ClearPreference { listing }.into()),
        (some_search(), some_text(), option::of(some_text()), filter, some_schedule()).prop_map(
            |(search, name, text, filter, schedule)| {
                SaveSearch { search, name, text, filter, schedule }.into()
            }
        ),
        (some_search(), some_text())
            .prop_map(|(search, name)| RenameSearch { search, name }.into()),
        (some_search(), some_schedule()).prop_map(|(search, schedule)| ChangeSchedule {
            search,
            schedule
        }
        .into()),
        some_search().prop_map(|search| {
            PauseAlert { search, reason: AlertPauseReason::OverLimit }.into()
        }),
        some_search().prop_map(|search| DeleteSearch { search }.into()),
    ]
}

fn some_privacy_command() -> impl Strategy<Value = UserCommand> {
    prop_oneof![
        (some_purpose(), some_text(), some_text(), option::of(-1..3_i64)).prop_map(
            |(purpose, notice_version, jurisdiction, days)| {
                let method = ConsentMethod::WebForm;
                let expires_at = days.map(in_days);
                GrantConsent { purpose, notice_version, method, jurisdiction, expires_at }.into()
            }
        ),
        some_purpose().prop_map(|purpose| WithdrawConsent { purpose }.into()),
        Just(RequestDataExport { format: ExportFormat::Csv }.into()),
        any::<bool>().prop_map(|leased| {
            let live_lease = leased.then(|| LeaseId(Uuid::from_u128(9)));
            RequestErasure { live_lease }.into()
        }),
        Just(CancelErasure {}.into()),
        (0..2_u128, some_text()).prop_map(|(number, reason)| PlaceLegalHold {
            hold: hold(number),
            reason
        }
        .into()),
        (0..2_u128).prop_map(|number| ReleaseLegalHold { hold: hold(number) }.into()),
        Just(RecordKeyShredded {}.into()),
        some_text().prop_map(|certificate| CompleteErasure { certificate }.into()),
    ]
}

fn some_command() -> impl Strategy<Value = UserCommand> {
    prop_oneof![
        3 => some_profile_command(),
        4 => some_interest_command(),
        2 => some_privacy_command(),
    ]
}

/// Commands to an account that usually exists.
fn some_commands() -> impl Strategy<Value = Vec<UserCommand>> {
    (option::weighted(0.9, Just(UserCommand::from(register_client()))), vec(some_command(), 0..40))
        .prop_map(|(first, rest)| first.into_iter().chain(rest).collect())
}

fn tight_policy() -> Circumstances {
    let policy = Policy { max_saved_searches: 2, max_listing_preferences: 2, ..Policy::default() };
    Circumstances { policy, ..at_noon() }
}

/// The events of an account that was sent `commands`, refused ones left out.
fn history_of(commands: Vec<UserCommand>) -> Vec<UserEvent> {
    let (mut user, mut history) = (User::default(), Vec::new());
    for command in commands {
        for event in user.decide(command, &tight_policy()).unwrap_or_default() {
            user.apply(event.clone());
            history.push(event);
        }
    }
    history
}

/// The outcome of a future that has nothing to wait for.
fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("an account waits for nothing"),
    }
}

fn payload(event: &UserEvent) -> Value {
    event.serialize_payload(serde_json::value::Serializer).unwrap()
}

fn event_of(like: &UserEvent, payload: Value) -> UserEvent {
    UserEvent::deserialize_payload(like.event_type(), like.schema_version(), payload).unwrap()
}

/// Erases the personal values of a payload that `chosen` picks.
fn erase(payload: &mut Value, chosen: &mut impl FnMut() -> bool) {
    match payload {
        Value::Object(object) if object.contains_key("$subject") && chosen() => {
            object.remove("value");
            object.insert("erased".to_owned(), Value::Bool(true));
        }
        Value::Object(object) => object.values_mut().for_each(|value| erase(value, chosen)),
        Value::Array(values) => values.iter_mut().for_each(|value| erase(value, chosen)),
        _ => {}
    }
}

/// What is left to compare of an account once some of its personal values are erased.
fn outline(user: &User) -> impl PartialEq + std::fmt::Debug + use<> {
    let account = match user {
        User::Registered(account) => Some(account),
        User::Unregistered | User::Shredded(_) | User::Erased(_) => None,
    };
    account.map(|account| {
        let filters: Vec<_> = account
            .saved_searches
            .iter()
            .map(|(id, saved)| (*id, saved.filter.clone(), saved.schedule, saved.paused))
            .collect();
        (
            (account.user, account.standing, account.erasure_deadline),
            account.listing_preferences.clone(),
            account.consents.clone(),
            account.legal_holds.keys().copied().collect::<Vec<_>>(),
            filters,
        )
    })
}

/// The commands that change how an account stands, without their texts.
#[derive(Clone, Copy, Debug)]
enum Move {
    Register,
    Suspend,
    Reinstate,
    Close,
    Prefer(u128, ListingPreference),
    Clear(u128),
    Save(u128),
    Delete(u128),
    RequestErasure,
    CancelErasure,
    Hold(u128),
    Release(u128),
    Shred,
    Complete,
}

fn some_move() -> impl Strategy<Value = Move> {
    let preference = prop_oneof![
        Just(ListingPreference::Favorite),
        Just(ListingPreference::Possibility),
        Just(ListingPreference::Discard),
    ];
    prop_oneof![
        1 => Just(Move::Register),
        1 => Just(Move::Suspend),
        2 => Just(Move::Reinstate),
        1 => Just(Move::Close),
        6 => (0..4_u128, preference).prop_map(|(listing, wish)| Move::Prefer(listing, wish)),
        2 => (0..4_u128).prop_map(Move::Clear),
        4 => (0..4_u128).prop_map(Move::Save),
        2 => (0..4_u128).prop_map(Move::Delete),
        2 => Just(Move::RequestErasure),
        1 => Just(Move::CancelErasure),
        1 => (0..2_u128).prop_map(Move::Hold),
        2 => (0..2_u128).prop_map(Move::Release),
        2 => Just(Move::Shred),
        2 => Just(Move::Complete),
    ]
}

impl Move {
    fn command(self) -> UserCommand {
        match self {
            Self::Register => register_client().into(),
            Self::Suspend => SuspendUser { reason: "Chargebacks".to_owned() }.into(),
            Self::Reinstate => ReinstateUser {}.into(),
            Self::Close => CloseAccount { reason: None }.into(),
            Self::Prefer(number, preference) => {
                let listing = listing(number);
                match preference {
                    ListingPreference::Favorite => FavouriteListing { listing }.into(),
                    ListingPreference::Possibility => PossibleListing { listing }.into(),
                    ListingPreference::Discard => DiscardListing { listing }.into(),
                }
            }
            Self::Clear(number) => ClearPreference { listing: listing(number) }.into(),
            Self::Save(number) => save_search(number).into(),
            Self::Delete(number) => DeleteSearch { search: search_id(number) }.into(),
            Self::RequestErasure => RequestErasure { live_lease: None }.into(),
            Self::CancelErasure => CancelErasure {}.into(),
            Self::Hold(number) => {
                PlaceLegalHold { hold: hold(number), reason: "Court order".to_owned() }.into()
            }
            Self::Release(number) => ReleaseLegalHold { hold: hold(number) }.into(),
            Self::Shred => RecordKeyShredded {}.into(),
            Self::Complete => CompleteErasure { certificate: "cert-1".to_owned() }.into(),
        }
    }
}

/// An account as a handful of flags and sets: says how many events a move brings, or which code.
#[derive(Debug, Default)]
struct Model {
    registered: bool,
    suspended: bool,
    closed: bool,
    asked_to_be_erased: bool,
    shredded: bool,
    erased: bool,
    preferences: BTreeMap<u128, ListingPreference>,
    searches: BTreeSet<u128>,
    holds: BTreeSet<u128>,
}

impl Model {
    fn step(&mut self, step: Move) -> Result<usize, &'static str> {
        use Move::*;
        let adds = matches!(step, Prefer(..) | Clear(_) | Save(_) | Delete(_));
        let operates = matches!(step, Suspend | Reinstate);
        match step {
            Register if self.shredded => return Err("USER_ERASED"),
            Register if self.registered => return Err("ALREADY_REGISTERED"),
            Register => {}
            _ if !self.registered => return Err("NOT_REGISTERED"),
            Shred | Complete => {}
            _ if self.shredded => return Err("USER_ERASED"),
            _ if self.closed && (adds || operates) => return Err("ACCOUNT_CLOSED"),
            _ if self.suspended && adds => return Err("USER_SUSPENDED"),
            _ if self.asked_to_be_erased && adds => return Err("ERASURE_PENDING"),
            _ => {}
        }
        let changed = match step {
            Register => set(&mut self.registered, true),
            Suspend => set(&mut self.suspended, true),
            Reinstate => set(&mut self.suspended, false),
            Close => set(&mut self.closed, true),
            Prefer(listing, _)
                if self.preferences.len() == 2 && !self.preferences.contains_key(&listing) =>
            {
                return Err("LISTING_PREFERENCE_LIMIT");
            }
            Prefer(listing, wish) => self.preferences.insert(listing, wish) != Some(wish),
            Clear(listing) => self.preferences.remove(&listing).is_some(),
            Save(search) if self.searches.len() == 2 && !self.searches.contains(&search) => {
                return Err("SAVED_SEARCH_LIMIT");
            }
            Save(search) => self.searches.insert(search),
            Delete(search) => self.searches.remove(&search),
            RequestErasure if self.asked_to_be_erased => false,
            RequestErasure if !self.holds.is_empty() => return Err("ERASURE_BLOCKED"),
            RequestErasure => set(&mut self.asked_to_be_erased, true),
            CancelErasure => set(&mut self.asked_to_be_erased, false),
            Hold(number) => self.holds.insert(number),
            Release(number) if !self.holds.contains(&number) => return Err("LEGAL_HOLD_UNKNOWN"),
            Release(number) => self.holds.remove(&number),
            Shred if self.shredded => false,
            Shred if !self.asked_to_be_erased => return Err("ERASURE_NOT_REQUESTED"),
            Shred if !self.holds.is_empty() => return Err("ERASURE_BLOCKED"),
            Shred if !self.closed => return Err("ACCOUNT_NOT_CLOSED"),
            Shred => set(&mut self.shredded, true),
            Complete if !self.shredded => return Err("KEY_NOT_SHREDDED"),
            Complete => set(&mut self.erased, true),
        };
        Ok(usize::from(changed))
    }

    fn agrees_with(&self, user: &User) -> bool {
        match user {
            User::Unregistered => !self.registered,
            User::Registered(account) => {
                let preferences: BTreeMap<_, _> =
                    self.preferences.iter().map(|(key, wish)| (listing(*key), *wish)).collect();
                let standing = match (self.closed, self.suspended) {
                    (true, _) => Standing::Closed,
                    (false, true) => Standing::Suspended,
                    (false, false) => Standing::Active,
                };
                self.registered
                    && !self.shredded
                    && account.standing == standing
                    && account.erasure_deadline.is_some() == self.asked_to_be_erased
                    && account.listing_preferences == preferences
                    && account.saved_searches.len() == self.searches.len()
                    && account.legal_holds.len() == self.holds.len()
            }
            User::Shredded(_) => self.shredded && !self.erased,
            User::Erased(_) => self.erased,
        }
    }
}

fn set(flag: &mut bool, value: bool) -> bool {
    std::mem::replace(flag, value) != value
}

proptest! {
    #[test]
    fn an_account_answers_as_its_model_does(moves in vec(some_move(), 0..60)) {
        let (mut user, mut model) = (User::default(), Model::default());
        for step in [Move::Register].into_iter().chain(moves) {
            let decided = user.decide(step.command(), &tight_policy());
            let answer = decided.as_ref().map(Vec::len).map_err(|refusal| refusal.code());
            prop_assert_eq!(answer, model.step(step), "{:?} of {:?}", step, model);
            decided.into_iter().flatten().for_each(|event| user.apply(event));
            prop_assert!(model.agrees_with(&user), "{:?}: {:?} is not {:?}", step, user, model);
        }
    }

    #[test]
    fn folding_the_events_gives_the_state_after_handling(commands in some_commands()) {
        let (mut user, mut history) = (User::default(), Vec::new());
        for command in commands {
            let decided = user.decide(command.clone(), &tight_policy());
            let sink = EventSink::default();
            let handled = ready(user.handle(command.clone(), &tight_policy(), &sink));
            let written = ready(sink.collect());
            prop_assert_eq!(handled.map(|()| written.clone()), decided);
            history.extend(written);

            let again = user.decide(command, &tight_policy()).unwrap_or_default();
            let mut after = user.clone();
            again.into_iter().for_each(|event| after.apply(event));
            prop_assert_eq!(&after, &user, "asking twice changed more than asking once");
        }
        prop_assert_eq!(fold(history), user);
    }

    #[test]
    fn payloads_and_snapshots_survive_storage(commands in some_commands()) {
        let history = history_of(commands);
        for event in &history {
            prop_assert_eq!(&event_of(event, payload(event)), event);
        }
        let user = fold(history);
        let snapshot = serde_json::to_string(&user).unwrap();
        prop_assert_eq!(serde_json::from_str::<User>(&snapshot).unwrap(), user);
    }

    #[test]
    fn a_history_with_erased_values_folds_and_decides(
        commands in some_commands(),
        more in vec(some_command(), 0..20),
        mask in vec(any::<bool>(), 1..16),
    ) {
        let history = history_of(commands);
        let mut mask = mask.into_iter().cycle();
        let mut chosen = || mask.next().unwrap_or_default();
        let erased: Vec<_> = history.iter().map(|event| {
            let mut payload = payload(event);
            erase(&mut payload, &mut chosen);
            event_of(event, payload)
        }).collect();

        let mut user = fold(erased);
        prop_assert_eq!(outline(&user), outline(&fold(history)));
        for command in more {
            let events = user.decide(command, &tight_policy()).unwrap_or_default();
            events.into_iter().for_each(|event| user.apply(event));
        }
        let snapshot = serde_json::to_string(&user).unwrap();
        prop_assert_eq!(serde_json::from_str::<User>(&snapshot).unwrap(), user);
    }

    #[test]
    fn no_payload_says_an_email_address_outside_a_personal_value(commands in some_commands()) {
        for event in history_of(commands) {
            let mut payload = payload(&event);
            erase(&mut payload, &mut || true);
            prop_assert!(!payload.to_string().contains("@example.com"), "{payload}");
        }
    }

    #[test]
    fn normalising_twice_is_normalising_once(text in some_text()) {
        for normalize in [normalize_email, normalize_phone] {
            if let Ok(once) = normalize(&text) {
                prop_assert_eq!(normalize(&once), Ok(once.clone()));
            }
        }
    }
}

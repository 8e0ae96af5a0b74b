//! What people decide about events that cannot be handled.

use std::sync::atomic::AtomicI64;

use freehold_contract::interposed::InterposedStore;
use freehold_domain::{PayloadError, Personal, StoredEvent, SubjectId};
use freehold_ports::{
    AppendError, AppendRequest, Appended, Clock, CommandId, EventId, ExpectedVersion, Fingerprint,
    Hold, LetterDecision, NewEvent, Provenance, SealedText, StreamVersion,
};
use freehold_projections::{DecisionError, RecordedDecision, TypedRow as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::*;

const BAD: &[u8] = br#"{"is":"Worn","item":"five hundred"}"#;
const GOOD: &str = r#"{"is":"Worn","item":500}"#;

fn somebody(actor: &str) -> Provenance {
    Provenance {
        tenant: "demo".into(),
        actor: actor.into(),
        correlation_id: None,
        causation_id: None,
    }
}

/// Appends events, each to the stream of its item, those at some places with a payload that cannot
/// be read.
async fn append_with_bad(store: &dyn Log, events: &[ShopEvent], bad: &[usize]) -> GlobalPosition {
    let mut position = GlobalPosition(0);
    for (place, event) in events.iter().enumerate() {
        let payload = match bad.contains(&place) {
            true => BAD.to_vec(),
            false => serde_json::to_vec(event).unwrap(),
        };
        position = append_raw(store, &stream_of(event), [(event.event_type(), payload)]).await;
    }
    position
}

async fn started(
    log: &Arc<dyn Log>,
    models: &Arc<dyn ReadModels>,
    poisons: &Poisons,
    position: GlobalPosition,
) -> Projections {
    let projections = picky::<1>(log.clone(), models.clone(), poisons);
    projections.start();
    projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    projections
}

async fn only_letter(models: &dyn ReadModels) -> DeadLetter {
    let letters = parked(models).await;
    let [letter] = &*letters else { panic!("{letters:?}") };
    letter.clone()
}

async fn decided(projections: &Projections) -> Vec<RecordedDecision> {
    let limit = std::num::NonZeroU32::new(100).unwrap();
    projections.decisions("shelves", StreamVersion(0), limit).await.unwrap()
}

/// However it is folded, the rows are the same: compared, rebuilt, rolled back, by a new version,
/// and into read models that were empty.
async fn is_the_same_however_folded(shop: &Shop, log: &Arc<dyn Log>, expected: &[ShopEvent]) {
    let models = shop.models().await;
    let head = log.head(&LogName::DOMAIN).await.unwrap();
    let projections = started(log, &models, &Poisons::default(), head).await;
    all_shown(&*models, expected).await;
    let found = projections.verify("shelves").await.unwrap();
    assert_eq!(found.differences, 0, "{found:?}");
    projections.rebuild("shelves").unwrap().finished().await.unwrap();
    all_shown(&*models, expected).await;
    projections.roll_back("shelves").await.unwrap();
    all_shown(&*models, expected).await;
    projections.stop().await;

    let newer = picky::<2>(log.clone(), models.clone(), &Poisons::default());
    newer.start();
    newer.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    all_shown(&*models, expected).await;
    newer.stop().await;

    let elsewhere = Shop::in_memory();
    let empty = elsewhere.models().await;
    let fresh = started(log, &empty, &Poisons::default(), head).await;
    all_shown(&*empty, expected).await;
    fresh.stop().await;
}

/// One of a thousand streams has an event that cannot be read: an edit puts the stream right, in its
/// order, and so does every later fold. The event in the log stays what it was.
#[tokio::test(flavor = "multi_thread")]
async fn an_edited_event_is_folded_as_it_was_edited() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(1_000);
    let position = append_with_bad(&*log, &events, &[1_500]).await;
    let projections = started(&log, &models, &Poisons::default(), position).await;
    let letter = only_letter(&*models).await;
    assert_eq!((letter.id.position, letter.waiting), (GlobalPosition(1_501), 1));

    for (payload, reason, wrong) in [
        ("Worn", "why", "this is no JSON"),
        (r#"{"is":"Worn","item":"x"}"#, "why", "this is no Worn of schema version 1"),
        (r#"{"is":"Worn","item":666.5}"#, "why", "this is no Worn"),
        (GOOD, " \t", "give a reason"),
        (GOOD, "two\nlines", "give a reason"),
    ] {
        let who = somebody("cli:ann");
        let refused = projections.edit_letter(letter.clone(), payload, reason, who).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with(wrong), "{refused}");
    }
    let tried = projections.try_edit(&letter, GOOD).await.unwrap();
    assert_eq!(tried, Tried::Resolved);
    assert_eq!(parked(&*models).await, std::slice::from_ref(&letter), "only tried");
    assert_eq!(decided(&projections).await.len(), 0);

    let who = somebody("cli:ann");
    projections.edit_letter(letter.clone(), GOOD, " a typing error ", who).await.unwrap();

    all_shown(&*models, &events).await;
    let made = decided(&projections).await;
    let [RecordedDecision { version: StreamVersion(1), decision, provenance, .. }] = &*made else {
        panic!("{made:?}")
    };
    assert_eq!(&*provenance.actor, "cli:ann");
    let LetterDecision::LetterEdited(edited) = decision else { panic!("{decision:?}") };
    assert_eq!((&*edited.reason, edited.event.version), ("a typing error", StreamVersion(2)));
    let again = projections.edit_letter(letter.clone(), GOOD, "why", somebody("bob")).await;
    assert!(matches!(again, Err(DecisionError::Gone)), "{again:?}");
    projections.stop().await;
    let one = std::num::NonZeroU32::MIN;
    let stream = &letter.id.stream;
    let stored = log.read_stream(&LogName::DOMAIN, stream, StreamVersion(1), one).await.unwrap();
    assert_eq!(&*stored[0].payload, BAD);
    is_the_same_however_folded(&shop, &log, &events).await;
}

/// What is discarded is passed over, one event after the other, and what lies behind goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_discarded_event_is_passed_over() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let mut events = rounds(1_000);
    events.push(ShopEvent::Placed { item: 500, shelf: 1 });
    let position = append_with_bad(&*log, &events, &[1_500, 2_500]).await;
    let projections = started(&log, &models, &Poisons::default(), position).await;

    for (event, position) in [1_501, 2_501].into_iter().zip(1..) {
        until(&*models, |letters| letters[0].id.position == GlobalPosition(event)).await;
        let letters = parked(&*models).await;
        let discarded = projections.discard_letters(letters, "a test", somebody("ops")).await;
        assert_eq!(discarded.unwrap(), 1);
        assert_eq!(decided(&projections).await.len(), position);
    }
    let mut left = events.clone();
    left.remove(2_500);
    left.remove(1_500);
    all_shown(&*models, &left).await;
    projections.stop().await;
    is_the_same_however_folded(&shop, &log, &left).await;
}

/// An edit that the projection still refuses is not stored, and many letters are one decision each.
#[tokio::test(flavor = "multi_thread")]
async fn what_would_fail_again_is_no_edit_and_a_retry_is_noted() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(30);
    let position = append_each(&*log, &events).await;
    let bad = (31..=50).map(|position| (position, Poison::Refused)).collect();
    let poisons: Poisons = Arc::new(Mutex::new(bad));
    let projections = started(&log, &models, &poisons, position).await;
    let letters = parked(&*models).await;
    assert_eq!(letters.len(), 20);

    let same = r#"{"is":"Worn","item":0}"#;
    let refused = projections.edit_letter(letters[0].clone(), same, "why", somebody("a")).await;
    let message = "with this payload the event still cannot be applied: poison";
    assert_eq!(refused.unwrap_err().to_string(), message);
    assert_eq!(decided(&projections).await.len(), 0);

    let who = somebody("ops");
    let retried = projections.retry_letters(letters.clone(), None, who.clone()).await.unwrap();
    assert_eq!(retried, 20);
    until(&*models, |letters| letters.iter().all(|letter| letter.attempts == 3)).await;
    let letters = parked(&*models).await;
    assert_eq!(projections.discard_letters(letters, "all bad", who).await.unwrap(), 20);
    let left = [&events[..30], &events[50..]].concat();
    all_shown(&*models, &left).await;
    let made = decided(&projections).await;
    assert_eq!(made.len(), 21);
    assert_eq!(made[0].decision.events().len(), 20);
    let found = projections.verify("shelves").await.unwrap();
    assert_eq!(found.differences, 0, "{found:?}");
    projections.stop().await;
}

/// Of several people who decide about one event at the same time one is heard.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_who_decide_at_the_same_time_one_is_told_so() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(5);
    let position = append_with_bad(&*log, &events, &[7]).await;
    let projections = started(&log, &models, &Poisons::default(), position).await;
    let letter = only_letter(&*models).await;

    let deciding = (0..8).map(|number| {
        let (projections, letter) = (&projections, letter.clone());
        async move {
            let who = somebody(&format!("person {number}"));
            match number % 2 {
                0 => projections.discard_letters(vec![letter], "why", who).await.map(drop),
                _ => {
                    let payload = r#"{"is":"Worn","item":2}"#;
                    projections.edit_letter(letter, payload, "why", who).await
                }
            }
        }
    });
    let answers = futures_util::future::join_all(deciding).await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 7, "{refused:?}");
    let is_conflict =
        |error: &DecisionError| matches!(error, DecisionError::Held | DecisionError::Gone);
    assert!(refused.iter().all(is_conflict), "{refused:?}");
    let made = decided(&projections).await;
    let [RecordedDecision { decision, .. }] = &*made else { panic!("{made:?}") };
    let mut expected = events.clone();
    if matches!(decision, LetterDecision::LetterDiscarded(_)) {
        expected.remove(7);
    }
    all_shown(&*models, &expected).await;
    projections.stop().await;
}

/// A clock that can be put forward.
#[derive(Default)]
struct Forward(AtomicI64);

impl Clock for Forward {
    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        SystemClock.now() + Duration::from_secs(self.0.load(Ordering::Relaxed) as u64)
    }
}

/// A log whose writer dies at an append: before it is stored, or after.
struct Dying {
    log: Arc<dyn Log>,
    stores: bool,
}

#[async_trait]
impl InterposedStore for Dying {
    fn behind(&self) -> &dyn freehold_ports::EventStore {
        &*self.log
    }

    async fn append(&self, request: AppendRequest) -> Result<Appended, AppendError> {
        let stream = request.stream.clone();
        if self.stores {
            self.log.append(request).await?;
        }
        Err(AppendError::OutcomeUnknown { stream, source: "died".into() })
    }
}

/// Where who decides is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    /// The letter is held, nothing is decided.
    Held,
    /// The decision is in the log, and nobody was told.
    Decided,
    /// The letter is to be tried.
    Released,
}

/// Whoever dies between two steps leaves a hold that ends by itself. Then the letter is tried: with
/// the decision, if that was stored, though the original would do by now; and no order of others
/// has it tried before.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_survives_whoever_made_it_in_every_state() {
    for killed in [Killed::Held, Killed::Decided, Killed::Released] {
        let shop = Shop::new();
        let log = shop.log().await;
        let models = shop.models().await;
        let events = rounds(5);
        let position = append_each(&*log, &events).await;
        let poisons: Poisons = Arc::new(Mutex::new([(8, Poison::Refused)].into()));
        started(&log, &models, &poisons, position).await.stop().await;
        let letter = only_letter(&*models).await;
        let clock = Arc::new(Forward::default());
        let of = |log: Arc<dyn freehold_ports::EventStore>, models: Arc<dyn ReadModels>| {
            let projection = Picky::<1> { poisons: poisons.clone(), ..Picky::default() };
            Projections::new(log, models, codec(), clock.clone()).with(projection)
        };

        // Whoever decides runs no projection here, as at a terminal.
        let store: Arc<dyn freehold_ports::EventStore> = match killed {
            Killed::Released => log.clone(),
            _ => {
                let stores = killed == Killed::Decided;
                Arc::new(Interposed(Dying { log: log.clone(), stores }))
            }
        };
        let deciding = of(store, models.clone());
        let answer = deciding.discard_letters(vec![letter.clone()], "why", somebody("ann")).await;
        assert_eq!(answer.is_ok(), killed == Killed::Released, "{answer:?}");
        drop(deciding);

        poisons.lock().unwrap().clear();
        let projections = of(log.clone(), shop.models().await);
        projections.start();
        projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
        if killed != Killed::Released {
            order_all(&*models).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(only_letter(&*models).await.id, letter.id, "{killed:?}: it is held");
            let bob = somebody("bob");
            let second = projections.discard_letters(vec![letter], "why", bob).await;
            assert!(matches!(second, Err(DecisionError::Held)), "{killed:?}: {second:?}");
            clock.0.store(61, Ordering::Relaxed);
        }
        let mut expected = events.clone();
        if killed != Killed::Held {
            expected.remove(7);
        }
        all_shown(&*models, &expected).await;
        let found = projections.verify("shelves").await.unwrap();
        assert_eq!(found.differences, 0, "{killed:?}: {found:?}");
        projections.stop().await;
    }
}

/// A try that began before the letter was held is not stored: what was decided meanwhile counts.
#[tokio::test(flavor = "multi_thread")]
async fn a_try_under_way_does_not_outrun_a_decision() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(5);
    let position = append_each(&*log, &events).await;
    let poisons: Poisons = Arc::new(Mutex::new([(8, Poison::Refused)].into()));
    started(&log, &models, &poisons, position).await.stop().await;
    poisons.lock().unwrap().clear();
    let held = Arc::new(Interposed(Held {
        models: models.clone(),
        holds: AtomicBool::new(false),
        waiting: Notify::new(),
        let_through: Notify::new(),
        commits: AtomicU64::new(0),
    }));
    let trying = picky::<1>(log.clone(), held.clone(), &poisons);
    trying.start();
    trying.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    held.0.holds.store(true, Ordering::Relaxed);
    order_all(&*models).await;
    held.0.waiting.notified().await;

    let deciding = picky::<1>(log.clone(), models.clone(), &poisons);
    let letters = parked(&*models).await;
    let decided = deciding.discard_letters(letters, "why", somebody("ann")).await.unwrap();
    assert_eq!(decided, 1);
    held.0.let_through.notify_one();

    let mut expected = events.clone();
    expected.remove(7);
    all_shown(&*models, &expected).await;
    trying.stop().await;
}

/// A generation that applied an event before that was decided otherwise is not what the log says:
/// one that is being filled is begun anew, and of the one that readers see that is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_that_did_otherwise_is_filled_anew() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let mut events = rounds(5);
    let position = append_with_bad(&*log, &events, &[7]).await;
    let projections = started(&log, &models, &Poisons::default(), position).await;
    let ahead = models.create_generation("shelves", 2, &TABLES).await.unwrap();
    let to = Commit::moving(ahead.clone(), GlobalPosition(0), position, Vec::new());
    models.commit(to).await.unwrap();
    let letters = parked(&*models).await;
    projections.discard_letters(letters, "why", somebody("ann")).await.unwrap();
    events.remove(7);
    all_shown(&*models, &events).await;
    projections.stop().await;

    let newer = picky::<2>(log.clone(), models.clone(), &Poisons::default());
    newer.start();
    newer.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let generations = models.generations("shelves").await.unwrap();
        let active = generations.iter().find(|g| g.state == GenerationState::Active).unwrap();
        if active.version == 2 {
            assert_ne!(active.id, ahead);
            break;
        }
        assert!(Instant::now() < deadline, "{generations:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all_shown(&*models, &events).await;
    newer.stop().await;

    let decision = br#"{"stream":"item-3","version":2,"reason":"by another hand"}"#.to_vec();
    append_raw(&*log, "subscription-shelves", [("LetterDiscarded", decision)]).await;
    let told = picky::<2>(log.clone(), models.clone(), &Poisons::default());
    told.start();
    append_each(&*log, &[ShopEvent::Worn { item: 4 }]).await;
    events.push(ShopEvent::Worn { item: 4 });
    let said = failure(&told).await.error;
    assert!(said.contains("was applied before it was decided otherwise"), "{said}");
    told.rebuild("shelves").unwrap().finished().await.unwrap();
    // The second event of item 3.
    events.remove(5 + 2);
    all_shown(&*models, &events).await;
    told.stop().await;
}

/// A hold that nobody decides under changes nothing but when the letter is tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_hold_alone_decides_nothing() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(5);
    let position = append_with_bad(&*log, &events, &[7]).await;
    let projections = started(&log, &models, &Poisons::default(), position).await;
    let letter = only_letter(&*models).await;
    let at = chrono::Utc::now();
    let until_then = at + Duration::from_millis(300);
    let hold = Hold { by: "ann".into(), at, until: until_then };
    assert_eq!(models.hold(vec![letter.id.clone()], hold).await.unwrap().len(), 1);
    until(&*models, |letters| letters[0].attempts == letter.attempts + 1).await;
    assert!(chrono::Utc::now() >= until_then);
    assert_eq!(decided(&projections).await.len(), 0);
    projections.stop().await;
}

/// A process that runs all along hears of a decision whose writer died, before it tries the letter.
#[tokio::test(flavor = "multi_thread")]
async fn a_decision_that_nobody_told_of_is_heard_before_the_next_try() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(5);
    let position = append_each(&*log, &events).await;
    let poisons: Poisons = Arc::new(Mutex::new([(8, Poison::Refused)].into()));
    let projections = started(&log, &models, &poisons, position).await;
    let letter = only_letter(&*models).await;
    let at = chrono::Utc::now();
    let hold = Hold { by: "ann".into(), at, until: at + Duration::from_millis(2_500) };
    assert_eq!(models.hold(vec![letter.id], hold).await.unwrap().len(), 1);
    // It has seen that the letter is held, and read what is decided: nothing.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    poisons.lock().unwrap().clear();
    let decision = br#"{"stream":"item-2","version":2,"reason":"why"}"#.to_vec();
    append_raw(&*log, "subscription-shelves", [("LetterDiscarded", decision)]).await;

    let mut expected = events.clone();
    expected.remove(7);
    all_shown(&*models, &expected).await;
    projections.stop().await;
}

/// Somebody was met.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Met {
    whom: i64,
    name: Personal<String>,
    times: i64,
}

impl StoredEvent for Met {
    const HOLDS_PERSONAL: bool = true;
    const TYPES: &'static [(&'static str, u16)] = &[("Met", 1)];

    fn event_type(&self) -> &'static str {
        "Met"
    }

    fn schema_version(&self) -> u16 {
        1
    }

    fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize(serializer)
    }

    fn deserialize_payload<'de, D: Deserializer<'de>>(
        _: &str,
        _: u16,
        deserializer: D,
    ) -> Result<Self, PayloadError<D::Error>> {
        Self::deserialize(deserializer).map_err(PayloadError::Malformed)
    }
}

read_model! {
    /// A person.
    struct PersonRow in "person" {
        key {
            /// Who.
            whom: i64,
        }
        /// The name, sealed.
        name: SealedText,
        /// How often they were met.
        times: i64,
    }
}

static PEOPLE: [&Table; 1] = [PersonRow::TABLE];

struct People;

impl Projection for People {
    type Event = Met;
    const NAME: &'static str = "people";
    const VERSION: u32 = 1;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        EventFilter { categories: vec!["person".into()], event_types: Vec::new() }
    }

    fn tables(&self) -> &'static [&'static Table] {
        &PEOPLE
    }

    fn apply(&self, event: ProjectedEvent<'_, Met>, rows: &mut Rows) -> Result<(), ApplyError> {
        let Met { whom, name, times } = event.event;
        let name = name.known().and_then(|text| SealedText::parse(text));
        let name = name.ok_or_else(|| ApplyError::Impossible("a clear name".to_owned()))?;
        rows.put(PersonRow { whom: *whom, name, times: *times });
        Ok(())
    }
}

/// What is personal in an edited event stays sealed: in the decision, in the row, and openable with
/// the person's key alone. Another value, or one in clear, is refused without a word of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_edit_keeps_personal_values_sealed() {
    let shop = Shop::in_memory();
    let (log, models) = (shop.log().await, shop.models().await);
    let (codec, ann) = (codec(), SubjectId(uuid::Uuid::from_u128(7)));
    let met = Met { whom: 1, name: Personal::new(ann, "Ann Noble".to_owned()), times: 1 };
    let event_id = EventId::new();
    let encoded = codec.encode(&met, event_id).await.unwrap();
    let text = std::str::from_utf8(&encoded.payload).unwrap();
    assert!(text.contains(r#""times":1"#) && !text.contains("Ann"), "{text}");
    let broken = text.replace(r#""times":1"#, r#""times":"once""#);
    let event = NewEvent {
        event_id,
        event_type: "Met".into(),
        schema_version: 1,
        occurred_at: chrono::Utc::now(),
        subjects: encoded.subjects,
        tags: Vec::new(),
        codec: encoded.codec,
        payload: broken.clone().into_bytes().into(),
    };
    let request = AppendRequest {
        log: LogName::DOMAIN,
        stream: "person-1".parse().unwrap(),
        expected: ExpectedVersion::Any,
        command_id: CommandId::new(),
        fingerprint: Fingerprint([0; 16]),
        boundaries: Vec::new(),
        provenance: somebody("test"),
        events: vec![event],
    };
    log.append(request).await.unwrap();
    let clock = Arc::new(SystemClock);
    let projections =
        Projections::new(log.clone(), models.clone(), codec.clone(), clock).with(People);
    projections.start();
    projections.wait_for("people", GlobalPosition(1), SOON).await.unwrap().unwrap();
    let generation = models.generations("people").await.unwrap().remove(0).id;
    let letter = models.parked(&generation).await.unwrap().remove(0);

    let clear = format!(r#"{{"$subject":"{}","value":"Eve Ill"}}"#, ann.0);
    let of = |name: &str| format!(r#"{{"whom":1,"name":{name},"times":2}}"#);
    for name in [r#""Eve Ill""#, &clear] {
        let who = somebody("ops");
        let refused = projections.edit_letter(letter.clone(), &of(name), "why", who).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.starts_with("name: personal values stay"), "{refused}");
        assert!(!refused.contains("Eve"), "{refused}");
    }
    let good = broken.replace(r#""times":"once""#, r#""times":2"#);
    projections.edit_letter(letter, &good, "a typing error", somebody("ops")).await.unwrap();

    let deadline = Instant::now() + SOON;
    while !models.parked(&generation).await.unwrap().is_empty() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let limit = std::num::NonZeroU32::new(10).unwrap();
    let row = models.scan(generation, PEOPLE[0], None, limit).await.unwrap().remove(0);
    let row = PersonRow::from_row(row).unwrap();
    assert_eq!(row.times, 2);
    assert_eq!(codec.open_text(&row.name).await.unwrap().as_deref(), Some("Ann Noble"));
    let stream = "subscription-people".parse().unwrap();
    let stored = log.read_stream(&LogName::DOMAIN, &stream, StreamVersion(0), limit).await.unwrap();
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].subjects, [ann]);
    assert!(!String::from_utf8_lossy(&stored[0].payload).contains("Noble"));
    projections.stop().await;
}

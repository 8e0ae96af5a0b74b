//! What becomes of events that cannot be handled.

mod decisions;

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use freehold_contract::interposed::{Interposed, InterposedModels};
use freehold_domain::StoredEvent as _;
use freehold_ports::{
    Commit, DeadLetter, EventFilter, Fault, LetterChange, LetterId, RecordedEvent, RetryPace,
    Table, Tried,
};
use freehold_projections::{
    ApplyError, FailurePolicy, ProjectedEvent, Projection, Rows, read_model,
};
use tokio::sync::Notify;

use super::*;

/// What is wrong with an event.
#[derive(Clone, Copy, Debug)]
enum Poison {
    Refused,
    Panics,
    /// A row that no store takes.
    Unfit,
}

read_model! {
    /// A number.
    struct NoteRow in "note" {
        key {
            /// Which one.
            note: i64,
        }
        /// What it is.
        number: f64,
    }
}

static TABLES: [&Table; 3] = [ItemRow::TABLE, ShelfRow::TABLE, NoteRow::TABLE];

/// The events that cannot be handled, by their positions.
type Poisons = Arc<Mutex<HashMap<u64, Poison>>>;

/// As [`Shelves`], and cannot handle the events it is told.
#[derive(Default)]
struct Picky<const VERSION: u32> {
    shelves: Shelves<1>,
    poisons: Poisons,
}

impl<const V: u32> Projection for Picky<V> {
    type Event = ShopEvent;
    const NAME: &'static str = "shelves";
    const VERSION: u32 = V;

    fn log(&self) -> LogName {
        LogName::DOMAIN
    }

    fn filter(&self) -> EventFilter {
        self.shelves.filter()
    }

    fn tables(&self) -> &'static [&'static Table] {
        &TABLES
    }

    fn apply(
        &self,
        event: ProjectedEvent<'_, ShopEvent>,
        rows: &mut Rows,
    ) -> Result<(), ApplyError> {
        let poison = self.poisons.lock().unwrap().get(&event.recorded.position.0).copied();
        match poison {
            Some(Poison::Refused) => return Err(ApplyError::Impossible("poison".to_owned())),
            Some(Poison::Panics) => panic!("poison"),
            Some(Poison::Unfit) => rows.put(NoteRow { note: 1, number: f64::NAN }),
            None => {}
        }
        self.shelves.apply(event, rows)
    }
}

/// Appends events, each to the stream of its item.
async fn append_each(store: &dyn Log, events: &[ShopEvent]) -> GlobalPosition {
    let mut position = GlobalPosition(0);
    for event in events {
        let stream = stream_of(event);
        let payload = serde_json::to_vec(event).unwrap();
        position = append_raw(store, &stream, [(event.event_type(), payload)]).await;
    }
    position
}

fn stream_of(event: &ShopEvent) -> String {
    let (ShopEvent::Placed { item, .. } | ShopEvent::Worn { item } | ShopEvent::Removed { item }) =
        event;
    format!("item-{item}")
}

/// The engine with a projection that cannot handle some events.
fn picky<const V: u32>(
    log: Arc<dyn Log>,
    models: Arc<dyn ReadModels>,
    poisons: &Poisons,
) -> Projections {
    under::<V>(log, models, poisons, FailurePolicy::default())
}

fn under<const V: u32>(
    log: Arc<dyn freehold_ports::EventStore>,
    models: Arc<dyn ReadModels>,
    poisons: &Poisons,
    policy: FailurePolicy,
) -> Projections {
    let projection = Picky::<V> { poisons: poisons.clone(), ..Picky::default() };
    Projections::new(log, models, codec(), Arc::new(SystemClock)).under(policy).with(projection)
}

/// The letters of the generation that queries read.
async fn parked(models: &dyn ReadModels) -> Vec<DeadLetter> {
    let generations = models.generations("shelves").await.unwrap();
    let active = generations.iter().find(|g| g.state == GenerationState::Active).unwrap();
    models.parked(&active.id).await.unwrap()
}

/// Orders a retry of everything. Of what was ordered before some may be resolved in between: then all
/// that is left is ordered.
async fn order_all(models: &dyn ReadModels) {
    let deadline = Instant::now() + SOON;
    loop {
        let letters: Vec<LetterId> = parked(models).await.into_iter().map(|l| l.id).collect();
        let count = letters.len() as u64;
        let pace = RetryPace { first_at: chrono::Utc::now(), every: Duration::ZERO };
        let ordered = models.order_retry(letters, pace, "test".into()).await.unwrap();
        assert!(ordered <= count);
        if ordered == count {
            return;
        }
        assert!(Instant::now() < deadline, "{ordered} of {count}");
    }
}

/// Waits until the letters are as wanted.
async fn until(models: &dyn ReadModels, wanted: impl Fn(&[DeadLetter]) -> bool) {
    let deadline = Instant::now() + SOON;
    loop {
        let letters = parked(models).await;
        if wanted(&letters) {
            return;
        }
        assert!(Instant::now() < deadline, "{letters:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until nothing is parked and everything is shown.
async fn all_shown(models: &dyn ReadModels, events: &[ShopEvent]) {
    until(models, <[DeadLetter]>::is_empty).await;
    let (items, shelves, _) = shown(models).await;
    assert_eq!((items, shelves), plain(events));
}

/// What is done of the events, as the letters say.
fn done(events: &[ShopEvent], letters: &[DeadLetter]) -> Vec<ShopEvent> {
    let mut versions: HashMap<String, u64> = HashMap::new();
    let is_done = |event: &&ShopEvent| {
        let stream = stream_of(event);
        let version = versions.entry(stream.clone()).or_default();
        *version += 1;
        let letter = letters.iter().find(|letter| letter.id.stream.as_str() == stream);
        letter.is_none_or(|letter| *version <= letter.done_through.0)
    };
    events.iter().filter(is_done).cloned().collect()
}

/// Three events each of many items, all first ones first.
fn rounds(items: i64) -> Vec<ShopEvent> {
    let placed = (0..items).map(|item| ShopEvent::Placed { item, shelf: item % 7 });
    let worn = (0..items).map(|item| ShopEvent::Worn { item });
    placed.chain(worn.clone()).chain(worn).collect()
}

/// One poisoned event of one stream among a thousand: all others go on, as fast as ever. Once it
/// can be handled, a retry puts the stream right, in its order.
#[tokio::test(flavor = "multi_thread")]
async fn a_poisoned_event_delays_only_its_stream_and_a_retry_puts_it_right() {
    for poison in [Poison::Refused, Poison::Panics, Poison::Unfit] {
        let shop = Shop::new();
        let log = shop.log().await;
        let models = shop.models().await;
        let mut events = rounds(1_000);
        append_each(&*log, &events).await;
        // The second event of item 500.
        let poisons: Poisons = Arc::new(Mutex::new(HashMap::from([(1_501, poison)])));
        let projections = picky::<1>(log.clone(), models.clone(), &poisons);

        projections.start();
        projections.wait_for("shelves", GlobalPosition(3_000), SOON).await.unwrap().unwrap();

        let letters = parked(&*models).await;
        let [letter] = &*letters else { panic!("{letters:?}") };
        assert_eq!((letter.id.position, letter.version.0), (GlobalPosition(1_501), 2));
        assert_eq!((letter.id.stream.as_str(), &*letter.event_type), ("item-500", "Worn"));
        // It was tried again before readers saw the first generation.
        assert_eq!((letter.done_through.0, letter.waiting, letter.attempts), (1, 1, 2));
        let fault = if matches!(poison, Poison::Panics) { Fault::Panic } else { Fault::Permanent };
        assert_eq!(letter.fault, fault);
        let (items, shelves, _) = shown(&*models).await;
        assert_eq!((items, shelves), plain(&done(&events, &letters)));
        assert_eq!(projections.status("shelves").unwrap().live.parked, 1);
        let found = projections.verify("shelves").await.unwrap();
        assert_eq!(found.differences, 0, "{found:?}");
        let more = [ShopEvent::Worn { item: 500 }, ShopEvent::Worn { item: 501 }];
        let mut waits = Vec::new();
        for event in more.iter().cycle().take(40) {
            events.push(event.clone());
            let position = append_each(&*log, std::slice::from_ref(event)).await;
            let began = Instant::now();
            projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
            waits.push(began.elapsed());
        }
        waits.sort();
        assert!(waits[30] < Duration::from_millis(500), "{waits:?}");
        assert_eq!(parked(&*models).await[0].waiting, 21);

        // Still poisoned: it fails again, is counted and stays in its place.
        order_all(&*models).await;
        until(&*models, |letters| letters[0].attempts >= 3).await;
        let again = parked(&*models).await.remove(0);
        assert_eq!(again.waiting, 21);
        // What panics may pass, and is tried again by itself.
        assert_eq!(again.retry_at.is_some(), fault == Fault::Panic, "{again:?}");
        assert_eq!(again.retry_by.as_deref(), Some("test"));
        let failed = projections.try_letter(&again.id).await.unwrap();
        assert!(matches!(failed, Some(Tried::Failed { .. })), "{failed:?}");

        poisons.lock().unwrap().clear();
        let tried = projections.try_letter(&again.id).await.unwrap();
        assert_eq!(tried, Some(Tried::Resolved));
        assert_eq!(parked(&*models).await.len(), 1, "a dry run changes nothing");
        order_all(&*models).await;
        all_shown(&*models, &events).await;
        assert_eq!(projections.try_letter(&again.id).await.unwrap(), None);
        let found = projections.verify("shelves").await.unwrap();
        assert_eq!(found.differences, 0, "{found:?}");
        projections.stop().await;
        let generations = models.generations("shelves").await.unwrap();
        assert_eq!(generations.len(), 1, "nothing is left of a comparison: {generations:?}");
    }
}

/// Who watches says what is parked, and hears when it is put right.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_do_the_work_says_what_is_parked() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(5);
    let position = append_each(&*log, &events).await;
    let poisons: Poisons = Arc::new(Mutex::new([(8, Poison::Refused)].into()));
    let working = picky::<1>(log.clone(), models.clone(), &poisons);
    working.start();
    working.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    let watching = picky::<1>(log.clone(), models.clone(), &poisons);
    watching.watch();
    let counts = async |parked: usize| {
        let mut live = watching.live("shelves").unwrap();
        let counted = live.wait_for(|status| {
            status.parked == parked && status.state == SubscriptionState::StandingBy
        });
        tokio::time::timeout(SOON, counted).await.expect("counted in time").unwrap();
    };

    counts(1).await;
    poisons.lock().unwrap().clear();
    order_all(&*models).await;
    counts(0).await;
    watching.stop().await;
    working.stop().await;
}

/// A panic may pass: its event is tried again by itself, without anybody's order. What is refused
/// waits for a person.
#[tokio::test(flavor = "multi_thread")]
async fn what_passes_by_itself_needs_nobody() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(5);
    let position = append_each(&*log, &events[..10]).await;
    let poisons: Poisons = Arc::default();
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    projections.start();
    projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    let bad = [(12, Poison::Panics), (13, Poison::Refused)];
    poisons.lock().unwrap().extend(bad);
    let position = append_each(&*log, &events[10..]).await;
    projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    assert_eq!(parked(&*models).await.len(), 2);
    poisons.lock().unwrap().clear();

    until(&*models, |letters| letters.len() == 1).await;
    let letter = parked(&*models).await.remove(0);
    assert_eq!((letter.id.position, letter.attempts), (GlobalPosition(13), 1));
    assert_eq!((letter.retry_at, letter.retry_by), (None, None));
    order_all(&*models).await;
    all_shown(&*models, &events).await;
    projections.stop().await;
}

/// A payload that the program cannot read parks its stream; the error quotes nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_payload_is_parked_without_a_word_of_it() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let projections = picky::<1>(log.clone(), models.clone(), &Poisons::default());
    projections.start();
    append_each(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
    let secret = r#"{"is":"Worn","item":"Ann ` Li\"ng"}"#;
    let other = r#"{"is":"Ann ` Li\"ng"}"#;
    for (stream, payload) in [("item-1", secret), ("item-2", other), ("item-3", "{\"Ann")] {
        append_raw(&*log, stream, [("Worn", payload.as_bytes().to_vec())]).await;
    }
    let head = append_each(&*log, &[ShopEvent::Placed { item: 5, shelf: 1 }]).await;
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();

    let letters = parked(&*models).await;

    let errors: Vec<&str> = letters.iter().map(|letter| &*letter.error).collect();
    assert_eq!(letters.len(), 3, "{errors:?}");
    assert!(
        errors.iter().all(|error| !error.contains("Ann") && !error.contains("Li")),
        "{errors:?}"
    );
    assert!(errors[0].contains("invalid type: string"), "{errors:?}");
    assert!(errors[2].contains("line 1"), "{errors:?}");
    projections.stop().await;
}

/// A letter whose event the log does not have any more, as after a restore, is for a person: its
/// retry says so, and all others go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_of_an_event_that_is_gone_holds_nobody_up() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let poisons = Poisons::default();
    poisons.lock().unwrap().insert(1, Poison::Refused);
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    projections.start();
    let head = append_each(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    projections.stop().await;
    let letter = parked(&*models).await.remove(0);
    let generation = models.generations("shelves").await.unwrap().remove(0);
    let gone = DeadLetter { event_id: freehold_ports::EventId::new(), ..letter.clone() };
    let change = LetterChange::Tried {
        stream: letter.id.stream,
        position: letter.id.position,
        at: chrono::Utc::now(),
        outcome: Tried::FailedLater(gone),
    };
    let (from, to) = (generation.mark(), generation.checkpoint);
    let moving = Commit::moving(generation.id, from, to, Vec::new());
    models.commit(Commit { letters: vec![change], ..moving }).await.unwrap();
    order_all(&*models).await;

    projections.start();

    until(&*models, |letters| letters[0].error.contains("does not hold event 1 any more")).await;
    let head = append_each(&*log, &[ShopEvent::Placed { item: 2, shelf: 1 }]).await;
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    projections.stop().await;
}

/// While one release replaces another the older one meets events that only the newer one knows. It
/// waits before them, so that the newer one takes over there, and parks nothing that nobody retries.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_release_is_not_parked() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let projections = picky::<1>(log.clone(), models.clone(), &Poisons::default());
    projections.start();
    let good = append_each(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
    projections.wait_for("shelves", good, SOON).await.unwrap().unwrap();
    append_raw(&*log, "item-4", [("Sold", b"{}".to_vec())]).await;

    let failure = failure(&projections).await;

    assert!(failure.error.contains("unknown event type"), "{failure:?}");
    assert!(parked(&*models).await.is_empty());
    projections.stop().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pages of any size, hiccups, restarts at any moment, events that cannot be handled for a
    /// while, retries ordered at any time: the rows are those of the events that are done, each
    /// once and in the order of its stream; and in the end of all of them.
    #[test]
    fn whatever_is_parked_and_retried_rows_are_those_of_what_is_done(
        seed in any::<u64>(),
        parts in prop::collection::vec(1_usize..150, 1..6),
    ) {
        in_a_runtime(async {
            let dice = Dice::new(seed);
            let shop = Shop::new();
            let store = Choppy::new(shop.log().await, seed ^ 1, 30);
            let poisons = Poisons::default();
            let mut events = Vec::new();
            for (run, count) in parts.into_iter().enumerate() {
                let first = events.len() as u64;
                let more = dice.events(count);
                let head = append_each_to(&*store, &more).await;
                events.extend(more);
                {
                    let mut poisons = poisons.lock().unwrap();
                    poisons.retain(|_, _| dice.below(2) == 0);
                    let kinds = [Poison::Refused, Poison::Panics, Poison::Unfit];
                    for _ in 0..dice.below(6) {
                        let position = first + 1 + dice.below(count as u64);
                        poisons.insert(position, kinds[dice.below(3) as usize]);
                    }
                }
                let models = Flaky::new(shop.models().await, seed ^ run as u64, 15);
                let policy = FailurePolicy::default();
                let projections = under::<1>(store.clone(), models.clone(), &poisons, policy);
                projections.start();
                if dice.below(3) == 0 {
                    tokio::time::sleep(Duration::from_micros(dice.below(20_000))).await;
                } else {
                    reach(&projections, head).await;
                    order_all(&*models).await;
                    tokio::time::sleep(Duration::from_millis(dice.below(1_200))).await;
                }
                projections.stop().await;
            }
            let models = shop.models().await;
            let policy = FailurePolicy::default();
            let projections = under::<1>(store.clone(), models.clone(), &poisons, policy);
            projections.start();
            let head = store.head(&LogName::DOMAIN).await.unwrap();
            reach(&projections, head).await;
            projections.stop().await;
            let letters = parked(&*models).await;
            let (items, shelves, checkpoint) = shown(&*models).await;
            prop_assert_eq!((items, shelves), plain(&done(&events, &letters)));
            prop_assert_eq!(checkpoint, head);
            for letter in &letters {
                let count = |events: &[ShopEvent]| {
                    events.iter().filter(|e| stream_of(e) == letter.id.stream.as_str()).count()
                };
                let behind = count(&events) as u64 - letter.done_through.0 - 1;
                prop_assert_eq!(letter.waiting, behind, "{:?}", letter);
            }

            poisons.lock().unwrap().clear();
            order_all(&*models).await;
            let policy = FailurePolicy::default();
            let projections = under::<1>(store.clone(), models.clone(), &poisons, policy);
            projections.start();
            reach(&projections, head).await;
            all_shown(&*models, &events).await;
            projections.stop().await;
            Ok(())
        })?;
    }
}

async fn append_each_to(
    store: &dyn freehold_ports::EventStore,
    events: &[ShopEvent],
) -> GlobalPosition {
    let mut position = GlobalPosition(0);
    for event in events {
        let payload = serde_json::to_vec(event).unwrap();
        position = append_raw(store, &stream_of(event), [(event.event_type(), payload)]).await;
    }
    position
}

const POISONED: &str = "FREEHOLD_TEST_POISONED";

/// The events of the next test, and those that cannot be handled while it says so.
fn much() -> (Vec<ShopEvent>, Poisons) {
    let dice = Dice::new(17);
    let kinds = [Poison::Refused, Poison::Panics, Poison::Unfit];
    let poisons = (0..60).map(|_| (1 + dice.below(4_000), kinds[dice.below(3) as usize]));
    let poisons = Arc::new(Mutex::new(poisons.collect()));
    let item = || dice.below(150) as i64;
    let event = |_| match dice.below(10) {
        0..4 => ShopEvent::Placed { item: item(), shelf: dice.below(6) as i64 },
        4..9 => ShopEvent::Worn { item: item() },
        _ => ShopEvent::Removed { item: item() },
    };
    ((0..4_000).map(event).collect(), poisons)
}

/// Not a test of its own: what the next test starts and kills.
#[test]
#[ignore = "started by a_killed_process_parks_and_retries_without_loss"]
fn child_that_is_killed_while_it_parks() {
    let Ok(address) = std::env::var(PLACE) else { return };
    let place = Place::at(&address);
    let poisons = if std::env::var_os(POISONED).is_some() { much().1 } else { Poisons::default() };
    in_a_runtime(async {
        let log = Choppy::new(place.log(Arc::new(SystemClock)).await, 3, u64::MAX);
        let policy = FailurePolicy::default();
        let projections = under::<1>(log, place.models().await, &poisons, policy);
        projections.start();
        println!("started");
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

/// A process is killed (its id, no warning) while it parks, counts what waits, is told to try
/// again, and is half way through that: nothing is lost, comes twice or in another order.
#[test]
fn a_killed_process_parks_and_retries_without_loss() {
    let place = Place::on_disk();
    let (events, _) = much();
    let dice = Dice::new(23);
    in_a_runtime(async {
        let log = place.log(Arc::new(SystemClock)).await;
        append_each(&*log, &events).await;
    });
    let mut parked_once = 0;
    for round in 0..16 {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args(["--exact", "dead_letters::child_that_is_killed_while_it_parks", "--ignored"])
            .arg("--nocapture")
            .env(PLACE, place.address())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // Every third one can handle everything.
        if round % 3 != 2 {
            child.env(POISONED, "1");
        }
        let mut child = child.spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("started")), "it ended by itself");
        std::thread::sleep(Duration::from_millis(dice.below(400)));
        in_a_runtime(async {
            let models = place.models().await;
            let generations = models.generations("shelves").await.unwrap();
            for generation in generations {
                let letters = models.parked(&generation.id).await.unwrap();
                parked_once = parked_once.max(letters.len());
                let ids = letters.into_iter().map(|letter| letter.id).collect();
                let pace = RetryPace { first_at: chrono::Utc::now(), every: Duration::ZERO };
                models.order_retry(ids, pace, "test".into()).await.unwrap();
            }
        });
        std::thread::sleep(Duration::from_millis(dice.below(1_500)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(parked_once > 5, "{parked_once} streams were parked at most");
    in_a_runtime(async {
        let log = place.log(Arc::new(SystemClock)).await;
        let models = place.models().await;
        let projections = picky::<1>(log, models.clone(), &Poisons::default());
        projections.start();
        reach(&projections, GlobalPosition(4_000)).await;
        order_all(&*models).await;
        all_shown(&*models, &events).await;
        let found = projections.verify("shelves").await.unwrap();
        assert_eq!(found.differences, 0, "{found:?}");
        projections.stop().await;
    });
}

/// The same letters, whatever the pages were.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_any_size_park_the_same() {
    let mut found = Vec::new();
    for seed in [1, 2, 3, 4] {
        let shop = Shop::new();
        let log = shop.log().await;
        append_each(&*log, &rounds(40)).await;
        let poison =
            |position: u64| (position, [Poison::Refused, Poison::Unfit][(position % 2) as usize]);
        let poisons: Poisons = Arc::new(Mutex::new([11, 12, 51, 52, 92, 93].map(poison).into()));
        let models = shop.models().await;
        let store = Choppy::new(log, seed, u64::MAX);
        let projections = under::<1>(store, models.clone(), &poisons, FailurePolicy::default());
        projections.start();
        reach(&projections, GlobalPosition(120)).await;
        projections.stop().await;
        let letters = parked(&*models).await;
        let letters = letters.iter().map(|l| (l.id.stream.to_string(), l.version.0, l.waiting));
        found.push((letters.collect::<Vec<_>>(), shown(&*models).await));
    }
    assert_eq!(found[0].0.len(), 3, "{:?}", found[0].0);
    assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
}

/// A stream of more than one page is put right page by page; a later event of it that cannot be
/// handled parks it there.
#[tokio::test(flavor = "multi_thread")]
async fn a_long_queue_is_put_right_in_parts_and_parked_where_it_fails_again() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let place = [ShopEvent::Placed { item: 1, shelf: 1 }];
    let events = [place.to_vec(), vec![ShopEvent::Worn { item: 1 }; 3_300]].concat();
    let payloads = events.iter().map(|e| (e.event_type(), serde_json::to_vec(e).unwrap()));
    let payloads: Vec<_> = payloads.collect();
    for chunk in payloads.chunks(300) {
        append_raw(&*log, "item-1", chunk.to_vec()).await;
    }
    let poison = |position: u64| (position, Poison::Refused);
    let poisons: Poisons = Arc::new(Mutex::new([2, 2_500].map(poison).into()));
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    projections.start();
    projections.wait_for("shelves", GlobalPosition(3_301), SOON).await.unwrap().unwrap();
    assert_eq!(parked(&*models).await[0].waiting, 3_299);

    poisons.lock().unwrap().remove(&2);
    order_all(&*models).await;
    until(&*models, |letters| letters[0].id.position == GlobalPosition(2_500)).await;

    let letters = parked(&*models).await;
    assert_eq!((letters[0].waiting, letters[0].done_through.0), (801, 2_499));
    assert_eq!((letters[0].retry_at, letters[0].attempts), (None, 1));
    let (items, shelves, _) = shown(&*models).await;
    assert_eq!((items, shelves), plain(&done(&events, &letters)));
    poisons.lock().unwrap().clear();
    order_all(&*models).await;
    all_shown(&*models, &events).await;
    projections.stop().await;
}

/// More parked streams than allowed are a defect of the projection: it stops, and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_parks_too_much_stops() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(20);
    append_each(&*log, &events).await;
    let poison = |position: u64| (position, Poison::Refused);
    let poisons: Poisons = Arc::new(Mutex::new([3, 7, 9].map(poison).into()));
    let policy = FailurePolicy { max_streams: 2, ..FailurePolicy::default() };
    let projections = under::<1>(log.clone(), models.clone(), &poisons, policy);

    projections.start();
    let deadline = Instant::now() + SOON;
    let failure = loop {
        let building = projections.status("shelves").unwrap().building;
        if let Some(SubscriptionState::Failed(failure)) = building.map(|b| b.status.state) {
            break failure;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    };

    assert_eq!(failure.event, Some((GlobalPosition(9), "Placed".into())));
    assert!(failure.error.contains("2 streams are parked"), "{}", failure.error);
    poisons.lock().unwrap().clear();
    reach(&projections, GlobalPosition(60)).await;
    // What was parked before is tried again before readers see it.
    all_shown(&*models, &events).await;
    projections.stop().await;
}

/// Retries do not wait for the next try of a projection that has stopped; once they make room it
/// goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_has_stopped_tries_all_that_is_due() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(40);
    let head = append_each(&*log, &events[..1]).await;
    let poisons: Poisons =
        Arc::new(Mutex::new((2..=32).map(|position| (position, Poison::Refused)).collect()));
    let policy = FailurePolicy { max_streams: 30, ..FailurePolicy::default() };
    let projections = under::<1>(log.clone(), models.clone(), &poisons, policy);
    projections.start();
    reach(&projections, head).await;
    let head = append_each(&*log, &events[1..]).await;
    let stopped = failure(&projections).await;
    assert_eq!(stopped.event, Some((GlobalPosition(32), "Placed".into())));

    order_all(&*models).await;
    until(&*models, |letters| letters.iter().all(|letter| letter.attempts == 2)).await;

    assert_eq!(parked(&*models).await.len(), 30);
    poisons.lock().unwrap().retain(|position, _| *position > 2);
    order_all(&*models).await;
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    poisons.lock().unwrap().clear();
    order_all(&*models).await;
    all_shown(&*models, &events).await;
    projections.stop().await;
}

/// Read models whose commits of one process wait until they are let through.
struct Held {
    models: Arc<dyn ReadModels>,
    holds: AtomicBool,
    waiting: Notify,
    let_through: Notify,
    commits: AtomicU64,
}

#[async_trait]
impl InterposedModels for Held {
    fn behind(&self) -> &dyn ReadModels {
        &*self.models
    }

    async fn commit(&self, commit: Commit) -> Result<(), ReadModelError> {
        if self.holds.swap(false, Ordering::Relaxed) {
            self.waiting.notify_one();
            self.let_through.notified().await;
        }
        let done = self.models.commit(commit).await;
        self.commits.fetch_add(u64::from(done.is_ok()), Ordering::Relaxed);
        done
    }
}

/// One process folds a page while another one puts a parked stream right: the page is not stored,
/// though the checkpoint is where it was. Nothing of the stream is lost or comes twice, whether the
/// page has events of it or rows that it shares, and whether the retry was ordered before the page
/// was folded or after.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_elsewhere_is_never_overwritten_by_a_page_folded_before_it() {
    let of_the_stream = [ShopEvent::Worn { item: 1 }, ShopEvent::Worn { item: 3 }];
    let of_its_shelf = [ShopEvent::Placed { item: 3, shelf: 1 }, ShopEvent::Worn { item: 3 }];
    for more in [of_the_stream, of_its_shelf] {
        for ordered_before in [true, false] {
            retry_beside_a_page(more.clone(), ordered_before).await;
        }
    }
}

async fn retry_beside_a_page(more: [ShopEvent; 2], ordered_before: bool) {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let mut events = rounds(5);
    append_each(&*log, &events).await;
    let poisons: Poisons = Arc::new(Mutex::new([(7, Poison::Refused)].into()));
    let first = picky::<1>(log.clone(), models.clone(), &poisons);
    first.start();
    first.wait_for("shelves", GlobalPosition(15), SOON).await.unwrap().unwrap();
    first.stop().await;
    poisons.lock().unwrap().clear();
    let held = Arc::new(Interposed(Held {
        models: models.clone(),
        holds: AtomicBool::new(true),
        waiting: Notify::new(),
        let_through: Notify::new(),
        commits: AtomicU64::new(0),
    }));
    let order = async || {
        let ids = vec![parked(&*models).await.remove(0).id];
        // Late enough that the slow one folds its page before it.
        let first_at = chrono::Utc::now() + Duration::from_secs(2);
        let pace = RetryPace { first_at, every: Duration::ZERO };
        assert_eq!(models.order_retry(ids, pace, "test".into()).await.unwrap(), 1);
    };
    if ordered_before {
        order().await;
    }
    append_each(&*log, &more).await;
    events.extend(more);
    let slow = picky::<1>(log.clone(), held.clone(), &poisons);
    slow.start();
    tokio::time::timeout(SOON, held.waiting.notified()).await.unwrap();
    if !ordered_before {
        order().await;
    }

    // The log of the other process is behind: it sees nothing of that page.
    let behind = Behind::new(log.clone(), 15);
    let quick = under::<1>(behind.clone(), models.clone(), &poisons, FailurePolicy::default());
    quick.start();
    until(&*models, <[DeadLetter]>::is_empty).await;
    assert_eq!(shown(&*models).await.2, GlobalPosition(15), "the checkpoint is where it was");
    quick.stop().await;
    held.let_through.notify_one();

    slow.wait_for("shelves", GlobalPosition(17), SOON).await.unwrap().unwrap();
    all_shown(&*models, &events).await;
    slow.stop().await;
    assert!(held.commits.load(Ordering::Relaxed) > 0);
}

/// A rebuild parks what readers have parked, and the swap keeps it; a rebuild after the mend has
/// nothing parked.
#[tokio::test(flavor = "multi_thread")]
async fn known_poison_does_not_forbid_a_rebuild() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(10);
    append_each(&*log, &events).await;
    let poisons: Poisons = Arc::new(Mutex::new([(14, Poison::Refused)].into()));
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    projections.start();
    reach(&projections, GlobalPosition(30)).await;

    projections.rebuild("shelves").unwrap().finished().await.unwrap();

    let letters = parked(&*models).await;
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].id.generation.number, letters[0].id.position.0), (2, 14));
    assert_eq!(letters[0].waiting, 1);
    let (items, shelves, _) = shown(&*models).await;
    assert_eq!((items, shelves), plain(&done(&events, &letters)));
    // Events behind the known one were never handled by the generation that readers see: a
    // rebuild that gets further may be stopped by them, and is not.
    poisons.lock().unwrap().clear();
    poisons.lock().unwrap().insert(24, Poison::Refused);
    projections.rebuild("shelves").unwrap().finished().await.unwrap();
    assert_eq!(parked(&*models).await[0].id.position.0, 24);
    poisons.lock().unwrap().clear();
    projections.rebuild("shelves").unwrap().finished().await.unwrap();
    all_shown(&*models, &events).await;
    projections.stop().await;
}

/// What a new version cannot handle and no reader has seen does not hold it up; what they have seen
/// does.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_version_parks_what_readers_have_not_seen() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let events = rounds(10);
    append_each(&*log, &events[..20]).await;
    let poisons = Poisons::default();
    let old = picky::<1>(log.clone(), models.clone(), &poisons);
    old.start();
    reach(&old, GlobalPosition(20)).await;
    old.stop().await;
    append_each(&*log, &events[20..]).await;
    poisons.lock().unwrap().insert(22, Poison::Panics);

    let new = picky::<2>(log.clone(), models.clone(), &poisons);
    new.start();
    new.wait_for("shelves", GlobalPosition(30), SOON).await.unwrap().unwrap();
    assert_eq!(parked(&*models).await[0].id.position.0, 22);
    new.stop().await;

    poisons.lock().unwrap().insert(3, Poison::Refused);
    let newer = picky::<3>(log.clone(), models.clone(), &poisons);
    newer.start();
    let deadline = Instant::now() + SOON;
    loop {
        let building = newer.status("shelves").unwrap().building;
        if let Some(SubscriptionState::Failed(failure)) = building.map(|b| b.status.state) {
            assert_eq!(failure.event, Some((GlobalPosition(3), "Placed".into())));
            break;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    poisons.lock().unwrap().clear();
    newer.resume("shelves").unwrap();
    let deadline = Instant::now() + SOON;
    while newer.status("shelves").unwrap().building.is_some() || !parked(&*models).await.is_empty()
    {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    all_shown(&*models, &events).await;
    newer.stop().await;
}

/// Going back to a generation that has a stream parked puts it right first, and is refused where
/// that fails: readers have seen those events.
#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_never_loses_what_was_repaired() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    let mut events = rounds(10);
    append_each(&*log, &events).await;
    let poisons: Poisons = Arc::new(Mutex::new([(14, Poison::Refused)].into()));
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    projections.start();
    reach(&projections, GlobalPosition(30)).await;
    poisons.lock().unwrap().clear();
    projections.rebuild("shelves").unwrap().finished().await.unwrap();
    all_shown(&*models, &events).await;
    let more = [ShopEvent::Worn { item: 3 }, ShopEvent::Worn { item: 4 }];
    let head = append_each(&*log, &more).await;
    events.extend(more);
    reach(&projections, head).await;

    poisons.lock().unwrap().insert(14, Poison::Refused);
    let refused = projections.roll_back("shelves").await;

    let Err(ProjectionError::ReadModels(ReadModelError::Lacks { position, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(position.0, 14);
    all_shown(&*models, &events).await;
    poisons.lock().unwrap().clear();
    let back = projections.roll_back("shelves").await.unwrap();
    assert_eq!(back.number, 1);
    all_shown(&*models, &events).await;
    projections.stop().await;
}

/// A swap that the store refuses takes nothing away: the generation to go back to is still there.
/// Another process applies, just before the swap, what this one has parked.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_swap_leaves_the_generation_to_go_back_to() {
    let shop = Shop::new();
    let log = shop.log().await;
    let events = rounds(10);
    append_each(&*log, &events[..20]).await;
    let other = picky::<1>(log.clone(), shop.models().await, &Poisons::default());
    other.start();
    reach(&other, GlobalPosition(20)).await;
    other.rebuild("shelves").unwrap().finished().await.unwrap();
    other.stop().await;
    append_each(&*log, &events[20..]).await;
    let models = Swapping::new(shop.models().await);
    let poisons: Poisons = Arc::new(Mutex::new([(25, Poison::Refused)].into()));
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    let rebuild = projections.rebuild("shelves").unwrap();
    tokio::time::timeout(SOON, models.0.meet()).await.unwrap();
    other.start();
    reach(&other, GlobalPosition(30)).await;
    models.0.meet().await;

    let refused = rebuild.finished().await;

    let Err(ProjectionError::ReadModels(ReadModelError::Lacks { position, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(position.0, 25);
    let back = other.roll_back("shelves").await.unwrap();
    assert_eq!(back.number, 1);
    all_shown(&*models, &events).await;
    other.stop().await;
}

/// A comparison while streams are parked and put right finds no difference that is none.
#[tokio::test(flavor = "multi_thread")]
async fn verifying_beside_retries_finds_no_difference() {
    let shop = Shop::new();
    let log = shop.log().await;
    let models = shop.models().await;
    append_each(&*log, &rounds(300)).await;
    let poison = |position: u64| (position, Poison::Refused);
    let poisons: Poisons = Arc::new(Mutex::new([310, 320, 330, 640].map(poison).into()));
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    projections.start();
    reach(&projections, GlobalPosition(900)).await;
    assert_eq!(parked(&*models).await.len(), 4);
    for position in [310, 320, 330, 640] {
        poisons.lock().unwrap().remove(&position);
        order_all(&*models).await;
        let found = projections.verify("shelves").await.unwrap();
        assert_eq!(found.differences, 0, "{found:?}");
    }
    until(&*models, <[DeadLetter]>::is_empty).await;
    projections.stop().await;
}

/// The event that a letter names is the one that is tried.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_names_its_event() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    append_each(&*log, &rounds(3)).await;
    let poisons: Poisons = Arc::new(Mutex::new([(5, Poison::Refused)].into()));
    let projections = picky::<1>(log.clone(), models.clone(), &poisons);
    projections.start();
    reach(&projections, GlobalPosition(9)).await;
    let letter = parked(&*models).await.remove(0);
    let (one, none) = (std::num::NonZeroU32::MIN, freehold_ports::StreamVersion(1));
    let events: Vec<RecordedEvent> =
        log.read_stream(&letter.log, &letter.id.stream, none, one).await.unwrap();
    assert_eq!(events[0].event_id, letter.event_id);
    assert_eq!(events[0].recorded_at, letter.recorded_at);
    assert_eq!(events[0].version, letter.version);
    projections.stop().await;
}

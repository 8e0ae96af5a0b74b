//! What the engine promises, on real stores, and on stores that fail on purpose.

#![allow(clippy::unwrap_used, reason = "tests")]

mod dead_letters;
mod feed;
mod relay;
mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use freehold_ports::{
    Commit, EventStore as _, GenerationId, GenerationState, GlobalPosition, LogName,
    ReadModelError, ReadModels, RowChange, SystemClock, TableChanges,
};
use freehold_projections::{
    FailurePolicy, Phase, ProjectionError, Projections, SubscriptionState, SubscriptionStatus,
    TypedRow as _,
};
use freehold_test_stores::{Log, Place};
use proptest::prelude::*;

use support::*;

const SOON: Duration = Duration::from_secs(10);

/// Where a log is, and where its read models are.
struct Shop {
    logs: Place,
    read_models: Place,
}

impl Shop {
    /// One whose read models are opened again, or several times.
    fn new() -> Self {
        Self { logs: Place::in_memory(), read_models: Place::on_disk() }
    }

    fn in_memory() -> Self {
        Self { logs: Place::in_memory(), read_models: Place::in_memory() }
    }

    async fn log(&self) -> Arc<dyn Log> {
        self.logs.log(Arc::new(SystemClock)).await
    }

    async fn models(&self) -> Arc<dyn ReadModels> {
        self.read_models.models().await
    }

    /// Follows the log to its end and stops.
    async fn settled<const V: u32>(&self, log: &Arc<dyn Log>) {
        let projections = engine(log.clone(), self.models().await, Shelves::<V>::default());
        projections.start();
        let mut live = projections.live("shelves").unwrap();
        let up = live.wait_for(|status| status.state == SubscriptionState::Live);
        tokio::time::timeout(SOON, up).await.unwrap().unwrap();
        let head = log.head(&LogName::DOMAIN).await.unwrap();
        reach(&projections, head).await;
        projections.stop().await;
    }
}

fn in_a_runtime<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(test)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Pages of any size, failed reads, fetches and commits (also ones that were stored before
    /// they failed), and restarts: the rows are those of one plain loop over all events.
    #[test]
    fn any_pages_failures_and_restarts_give_the_rows_of_a_plain_loop(
        seed in any::<u64>(),
        parts in prop::collection::vec(0_usize..400, 1..6),
    ) {
        in_a_runtime(async {
            let dice = Dice::new(seed);
            let shop = Shop::new();
            let store = Choppy::new(shop.log().await, seed ^ 1, 20);
            let mut events = Vec::new();
            for (run, count) in parts.into_iter().enumerate() {
                let more = dice.events(count);
                let head = append(&*store, &more).await;
                events.extend(more);
                let models = Flaky::new(shop.models().await, seed ^ run as u64, 12);
                let projections = engine(store.clone(), models, Shelves::<1>::default());
                projections.start();
                if dice.below(3) == 0 {
                    // Not waited for: the next engine goes on wherever this one stopped.
                    tokio::time::sleep(Duration::from_micros(dice.below(20_000))).await;
                } else {
                    reach(&projections, head).await;
                }
                projections.stop().await;
            }
            let models = shop.models().await;
            let projections = engine(store.clone(), models.clone(), Shelves::<1>::default());
            projections.start();
            let head = store.head(&LogName::DOMAIN).await.unwrap();
            reach(&projections, head).await;
            tokio::time::timeout(SOON, projections.stop()).await.unwrap();
            let (items, shelves, checkpoint) = shown(&*models).await;
            prop_assert_eq!((items, shelves), plain(&events));
            prop_assert_eq!(checkpoint, head);
            Ok(())
        })?;
    }
}

/// Every runtime is torn down in the middle of its work; nothing is lost or counted twice.
#[test]
fn an_engine_torn_down_anywhere_loses_and_doubles_nothing() {
    let shop = Shop::new();
    let dice = Dice::new(7);
    let events = dice.events(20_000);
    in_a_runtime(async { append(&*shop.log().await, &events).await });
    for round in 0..15 {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = Choppy::new(shop.log().await, round, u64::MAX);
            engine(store, shop.models().await, Shelves::<1>::default()).start();
        });
        std::thread::sleep(Duration::from_millis(dice.below(40)));
        runtime.shutdown_background();
    }
    in_a_runtime(async {
        shop.settled::<1>(&shop.log().await).await;
        let (items, shelves, _) = shown(&*shop.models().await).await;
        assert_eq!((items, shelves), plain(&events));
    });
}

const PLACE: &str = "FREEHOLD_TEST_PLACE";

/// Not a test of its own: what the next test starts and kills.
#[test]
#[ignore = "started by a_killed_process_loses_and_doubles_nothing"]
fn child_that_is_killed() {
    let Ok(address) = std::env::var(PLACE) else { return };
    let place = Place::at(&address);
    in_a_runtime(async {
        let store = Choppy::new(place.log(Arc::new(SystemClock)).await, 3, u64::MAX);
        let projections = engine(store, place.models().await, Shelves::<1>::default());
        projections.start();
        println!("started");
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
}

/// A process is killed (its id, no warning) again and again while it fills and follows.
#[test]
fn a_killed_process_loses_and_doubles_nothing() {
    let place = Place::on_disk();
    let dice = Dice::new(11);
    let events = dice.events(30_000);
    in_a_runtime(async { append(&*place.log(Arc::new(SystemClock)).await, &events).await });
    for _ in 0..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_is_killed", "--ignored", "--nocapture"])
            .env(PLACE, place.address())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(said.any(|line| line.unwrap().contains("started")), "it ended by itself");
        std::thread::sleep(Duration::from_millis(dice.below(150)));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    in_a_runtime(async {
        let store = place.log(Arc::new(SystemClock)).await;
        let models = place.models().await;
        let before = models.generations("shelves").await.unwrap();
        assert!(!before.is_empty(), "the children did something before they were killed");
        let projections = engine(store, models.clone(), Shelves::<1>::default());
        projections.start();
        reach(&projections, GlobalPosition(30_000)).await;
        projections.stop().await;
        let (items, shelves, _) = shown(&*models).await;
        assert_eq!((items, shelves), plain(&events));
    });
}

/// A projection that is told to stop does so where everybody sees it, and nothing else stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_poison_event_stops_one_projection_visibly_until_it_can_be_handled() {
    let shop = Shop::new();
    let log = shop.log().await;
    let dice = Dice::new(1);
    let before = dice.events(50);
    append(&*log, &before).await;
    let poison = ShopEvent::Worn { item: BAD_ITEM };
    append(&*log, std::slice::from_ref(&poison)).await;
    let after = dice.events(50);
    let head = append(&*log, &after).await;
    let shelves = Shelves::<1>::default();
    let refuses = shelves.refuses.clone();
    let models = shop.models().await;
    settle_first(&models, &log, &before).await;
    refuses.store(true, Ordering::Relaxed);
    let projections = stopping(log.clone(), models.clone()).with(shelves).with(Counting);

    projections.start();
    let failure = failure(&projections).await;

    assert_eq!(failure.event, Some((GlobalPosition(51), "Worn".into())));
    assert!(failure.error.contains("bad item"), "{}", failure.error);
    let (items, rows, checkpoint) = shown(&*models).await;
    assert_eq!((items, rows), plain(&before));
    assert_eq!(checkpoint, GlobalPosition(50));
    let status = projections.status("shelves").unwrap().live;
    assert_eq!(status.position, GlobalPosition(50));
    assert!(status.behind_since.is_some());
    projections.wait_for("counting", head, SOON).await.unwrap().unwrap();
    let mut live = projections.live("shelves").unwrap();
    let again = live.wait_for(|status| {
        matches!(&status.state, SubscriptionState::Failed(failure) if failure.attempts >= 3)
    });
    tokio::time::timeout(SOON, again).await.expect("tried again by itself").unwrap();

    refuses.store(false, Ordering::Relaxed);
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    let all = [before, vec![poison], after].concat();
    let (items, rows, _) = shown(&*models).await;
    assert_eq!((items, rows), plain(&all));
    projections.stop().await;
}

/// No projections yet; those that follow stop at what they cannot handle.
fn stopping(log: Arc<dyn Log>, models: Arc<dyn ReadModels>) -> Projections {
    let stopping = ["shelves", "panicking"].map(str::to_owned).into();
    let policy = FailurePolicy { stopping, ..FailurePolicy::default() };
    Projections::new(log, models, codec(), Arc::new(SystemClock)).under(policy)
}

/// Brings the model to the events before the poison, so that there is something to show.
async fn settle_first(models: &Arc<dyn ReadModels>, log: &Arc<dyn Log>, events: &[ShopEvent]) {
    let place = Place::in_memory();
    let store = place.log(Arc::new(SystemClock)).await;
    let head = append(&*store, events).await;
    assert!(head <= log.head(&LogName::DOMAIN).await.unwrap());
    let projections = engine(store, models.clone(), Shelves::<1>::default());
    projections.start();
    reach(&projections, head).await;
    projections.stop().await;
}

/// An event that the code does not know, or cannot read, is not skipped.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_and_unreadable_events_are_failures() {
    for (event_type, payload) in [("Sold", "{}"), ("Worn", "{"), ("Worn", "{\"is\":\"Worn\"}")] {
        let shop = Shop::in_memory();
        let log = shop.log().await;
        let models = shop.models().await;
        let projections = stopping(log.clone(), models.clone()).with(Shelves::<1>::default());
        projections.start();
        let good = append(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
        projections.wait_for("shelves", good, SOON).await.unwrap().unwrap();
        append_raw(&*log, "other-1", [("Unseen", b"{".to_vec())]).await;
        append_raw(&*log, "item-1", [(event_type, payload.as_bytes().to_vec())]).await;

        let failure = failure(&projections).await;

        assert_eq!(failure.event, Some((GlobalPosition(3), event_type.into())));
        let status = projections.status("shelves").unwrap().live;
        assert!(status.position >= GlobalPosition(1) && status.position < GlobalPosition(3));
        projections.stop().await;
    }
}

/// Readers see the old model, whole and never older than before, until they see the new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rebuild_beside_live_reads_and_writes_is_never_seen_half_done() {
    let shop = Shop::new();
    let log = shop.log().await;
    let dice = Dice::new(5);
    let mut events = dice.events(30_000);
    let head = append(&*log, &events).await;
    let models = shop.models().await;
    let projections = engine(log.clone(), models.clone(), Shelves::<1>::default());
    projections.start();
    reach(&projections, head).await;

    let done = Arc::new(AtomicBool::new(false));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (models, done) = (models.clone(), done.clone());
            tokio::spawn(async move {
                let (mut last, mut reads) = (head, 0);
                while !done.load(Ordering::Relaxed) {
                    let (shelves, checkpoint) = all::<ShelfRow>(&*models).await;
                    let counted: i64 = shelves.iter().map(|shelf| shelf.events).sum();
                    assert_eq!(counted as u64, checkpoint.0, "each event is counted once");
                    assert!(checkpoint >= last, "never older than before");
                    (last, reads) = (checkpoint, reads + 1);
                }
                reads
            })
        })
        .collect();
    let rebuild = projections.rebuild("shelves").unwrap();
    assert!(matches!(projections.rebuild("shelves"), Err(ProjectionError::Busy("shelves"))));
    let mut phases = Vec::new();
    let finished = rebuild.finished();
    tokio::pin!(finished);
    let generation = loop {
        tokio::select! {
            generation = &mut finished => break generation.unwrap(),
            () = tokio::time::sleep(Duration::from_millis(1)) => {
                let more = vec![dice.event()];
                append(&*log, &more).await;
                events.extend(more);
                if let Some(building) = projections.status("shelves").unwrap().building {
                    phases.push(building.phase);
                }
            }
        }
    };
    let head = log.head(&LogName::DOMAIN).await.unwrap();
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 10, "there were reads meanwhile");
    }

    assert_eq!(generation.number, 2);
    assert!(phases.contains(&Phase::Filling), "{phases:?}");
    let states: Vec<_> =
        models.generations("shelves").await.unwrap().iter().map(|g| g.state).collect();
    assert_eq!(states, [GenerationState::Retired, GenerationState::Active]);
    let (items, shelves, _) = shown(&*models).await;
    assert_eq!((items, shelves), plain(&events));
    projections.stop().await;
}

/// A rebuild that meets a poison event leaves readers with what they had.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_fails_changes_nothing() {
    let shop = Shop::new();
    let log = shop.log().await;
    let events = [Dice::new(2).events(100), vec![ShopEvent::Placed { item: BAD_ITEM, shelf: 1 }]];
    let head = append(&*log, &events.concat()).await;
    let models = shop.models().await;
    let shelves = Shelves::<1>::default();
    let refuses = shelves.refuses.clone();
    let projections = engine(log.clone(), models.clone(), shelves);
    projections.start();
    reach(&projections, head).await;

    refuses.store(true, Ordering::Relaxed);
    let failed = projections.rebuild("shelves").unwrap().finished().await;

    assert!(matches!(failed, Err(ProjectionError::Stopped(_))), "{failed:?}");
    assert_eq!(models.generations("shelves").await.unwrap().len(), 1);
    assert_eq!(projections.status("shelves").unwrap().building, None);
    let more = append(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
    projections.wait_for("shelves", more, SOON).await.unwrap().unwrap();
    projections.stop().await;
}

/// Rolling back is quick, catches up first, and can itself be undone.
#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_swaps_to_the_generation_before() {
    let shop = Shop::new();
    let log = shop.log().await;
    let dice = Dice::new(9);
    let mut events = dice.events(500);
    append(&*log, &events).await;
    let models = shop.models().await;
    let projections = engine(log.clone(), models.clone(), Shelves::<1>::default());
    let none = projections.roll_back("shelves").await;
    assert!(matches!(none, Err(ProjectionError::NoEarlier("shelves"))), "{none:?}");
    projections.start();
    reach(&projections, GlobalPosition(500)).await;
    for _ in 0..3 {
        projections.rebuild("shelves").unwrap().finished().await.unwrap();
    }
    let kept: Vec<u32> =
        models.generations("shelves").await.unwrap().iter().map(|g| g.id.number).collect();
    assert_eq!(kept, [3, 4], "only the generation before is kept");
    let more = dice.events(100);
    let head = append(&*log, &more).await;
    events.extend(more);
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();

    let back = projections.roll_back("shelves").await.unwrap();

    assert_eq!(back.number, 3);
    let (items, shelves, checkpoint) = shown(&*models).await;
    assert_eq!((items, shelves), plain(&events));
    assert_eq!(checkpoint, head);
    let more = dice.events(10);
    let head = append(&*log, &more).await;
    events.extend(more);
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    assert_eq!(projections.roll_back("shelves").await.unwrap().number, 4);
    let (items, shelves, _) = shown(&*models).await;
    assert_eq!((items, shelves), plain(&events));
    projections.stop().await;
}

/// A log that was restored to an earlier state does not have what readers see.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_does_not_take_readers_back() {
    let shop = Shop::in_memory();
    let restored = Shop::in_memory();
    let (log, earlier) = (shop.log().await, restored.log().await);
    append(&*log, &Dice::new(31).events(30)).await;
    append(&*earlier, &Dice::new(31).events(20)).await;
    shop.settled::<1>(&log).await;
    let models = shop.models().await;
    let projections = engine(earlier, models.clone(), Shelves::<1>::default());

    let rebuild = projections.rebuild("shelves").unwrap();
    let rebuilt = tokio::time::timeout(SOON, rebuild.finished()).await.unwrap();

    let Err(ProjectionError::ReadModels(ReadModelError::Behind { checkpoint, active, .. })) =
        rebuilt
    else {
        panic!("{rebuilt:?}")
    };
    assert_eq!((checkpoint, active), (GlobalPosition(20), GlobalPosition(30)));
    assert_eq!(shown(&*models).await.2, GlobalPosition(30));
}

/// A roll back that ended half way is done by the next one.
#[tokio::test(flavor = "multi_thread")]
async fn a_roll_back_that_was_not_finished_is_done_by_the_next_one() {
    let shop = Shop::new();
    let log = shop.log().await;
    append(&*log, &Dice::new(20).events(100)).await;
    shop.settled::<1>(&log).await;
    let models = shop.models().await;
    let projections = engine(log.clone(), models.clone(), Shelves::<1>::default());
    projections.rebuild("shelves").unwrap().finished().await.unwrap();
    let first = models.generations("shelves").await.unwrap().remove(0);
    assert_eq!(first.state, GenerationState::Retired);
    models.reopen(first.id.clone()).await.unwrap();

    assert_eq!(projections.roll_back("shelves").await.unwrap(), first.id);
}

/// A generation that was rejected by a roll back is not what a later roll back goes to, whatever
/// the process it happens in.
#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_goes_to_what_answered_before_also_after_a_roll_back() {
    for restarts in [false, true] {
        let shop = Shop::new();
        let log = shop.log().await;
        append(&*log, &Dice::new(12).events(100)).await;
        shop.settled::<1>(&log).await;
        let models = shop.models().await;
        let mut projections = engine(log.clone(), models.clone(), Shelves::<1>::default());
        let mut seen = Vec::new();
        for step in ["rebuild", "back", "rebuild", "back", "back", "rebuild", "rebuild", "back"] {
            if restarts {
                projections = engine(log.clone(), models.clone(), Shelves::<1>::default());
            }
            let now = match step {
                "rebuild" => projections.rebuild("shelves").unwrap().finished().await,
                _ => projections.roll_back("shelves").await,
            };
            let generations = models.generations("shelves").await.unwrap();
            let retired = generations.iter().filter(|g| g.state == GenerationState::Retired);
            let retired: Vec<u32> = retired.map(|g| g.id.number).collect();
            assert_eq!(generations.len(), 2, "{step}: {generations:?}");
            seen.push((now.unwrap().number, retired[0]));
        }
        assert_eq!(seen, [(2, 1), (1, 2), (3, 1), (1, 3), (3, 1), (4, 3), (5, 4), (4, 5)]);
    }
}

/// Generations that another process swaps and drops are no failure of the live subscription.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_dropped_by_another_process_is_no_failure() {
    let shop = Shop::new();
    let log = shop.log().await;
    let dice = Dice::new(13);
    let head = append(&*log, &dice.events(100)).await;
    let live = engine(log.clone(), shop.models().await, Shelves::<1>::default());
    live.start();
    reach(&live, head).await;
    let mut watched = live.live("shelves").unwrap();
    let failed = tokio::spawn(async move {
        let failed = |status: &SubscriptionStatus| {
            matches!(status.state, SubscriptionState::Failed(_)).then(|| status.clone())
        };
        let status = watched.wait_for(|status| {
            failed(status).is_some() || status.state == SubscriptionState::Stopped
        });
        failed(&status.await.unwrap())
    });

    let other = engine(log.clone(), shop.models().await, Shelves::<1>::default());
    for _ in 0..2 {
        other.rebuild("shelves").unwrap().finished().await.unwrap();
    }
    let head = append(&*log, &dice.events(10)).await;
    live.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    live.stop().await;

    assert_eq!(failed.await.unwrap(), None);
    let (_, checkpoint) = all::<ShelfRow>(&*shop.models().await).await;
    assert_eq!(checkpoint, head, "it went on with the generation that answers");
}

/// Events of no interest count where following ends: nothing is behind that has seen everything.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_is_stored_at_a_stop_and_at_a_swap() {
    let shop = Shop::new();
    let log = shop.log().await;
    let noise = async || append_raw(&*log, "note-1", [("Noted", b"{}".to_vec())]).await;
    let models = shop.models().await;
    let checkpoints = async || {
        let generations = models.generations("shelves").await.unwrap();
        generations.iter().map(|generation| generation.checkpoint).collect::<Vec<_>>()
    };
    let projections = engine(log.clone(), models.clone(), Shelves::<1>::default());
    projections.start();
    for _ in 0..3 {
        let head = noise().await;
        projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    }
    projections.stop().await;
    assert_eq!(checkpoints().await, [GlobalPosition(3)]);

    projections.rebuild("shelves").unwrap().finished().await.unwrap();
    assert_eq!(checkpoints().await, [GlobalPosition(3); 2]);

    noise().await;
    projections.roll_back("shelves").await.unwrap();
    assert_eq!(checkpoints().await, [GlobalPosition(4), GlobalPosition(3)]);
}

/// A new version fills its own tables while the old ones answer; the old version leaves readers
/// where they are until it is told to go back.
#[tokio::test(flavor = "multi_thread")]
async fn another_version_builds_beside_the_old_model_and_back() {
    let shop = Shop::new();
    let log = shop.log().await;
    let placed = ShopEvent::Placed { item: 1, shelf: 1 };
    append(&*log, &[placed, ShopEvent::Worn { item: 1 }]).await;
    shop.settled::<1>(&log).await;
    let models = shop.models().await;
    let wear = async || all::<ItemRow>(&*models).await.0[0].wear;
    let versions = async || {
        let generations = models.generations("shelves").await.unwrap();
        generations.iter().map(|g| (g.version, g.state)).collect::<Vec<_>>()
    };
    assert_eq!(wear().await, 1);

    shop.settled::<2>(&log).await;
    assert_eq!(wear().await, 2);
    append(&*log, &[ShopEvent::Worn { item: 1 }]).await;
    shop.settled::<2>(&log).await;
    assert_eq!(wear().await, 4);
    let two = engine(log.clone(), models.clone(), Shelves::<2>::default());
    let refused = two.roll_back("shelves").await;
    assert!(matches!(refused, Err(ProjectionError::OtherVersion { filled_by: 1, .. })));

    let one = engine(log.clone(), models.clone(), Shelves::<1>::default());
    one.start();
    let failure = failure(&one).await;
    assert!(failure.error.contains("version 2"), "{}", failure.error);
    assert_eq!(wear().await, 4);
    assert_eq!(versions().await, [(1, GenerationState::Retired), (2, GenerationState::Active)]);

    one.roll_back("shelves").await.unwrap();
    assert_eq!(wear().await, 2);
    assert_eq!(versions().await, [(1, GenerationState::Active), (2, GenerationState::Retired)]);
    let head = append(&*log, &[ShopEvent::Worn { item: 1 }]).await;
    one.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    assert_eq!(wear().await, 3);
    one.stop().await;

    shop.settled::<2>(&log).await;
    assert_eq!(wear().await, 6);
}

/// What was waited for is in what queries read, also right after another process swapped it.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_was_waited_for_is_in_what_another_process_swapped_in() {
    let shop = Shop::new();
    let log = shop.log().await;
    let dice = Dice::new(15);
    let head = append(&*log, &dice.events(100)).await;
    let live = engine(log.clone(), shop.models().await, Shelves::<1>::default());
    live.start();
    reach(&live, head).await;
    let other = engine(log.clone(), shop.models().await, Shelves::<1>::default());
    let models = shop.models().await;
    for swap in ["rebuild", "back", "rebuild"] {
        match swap {
            "rebuild" => other.rebuild("shelves").unwrap().finished().await.unwrap(),
            _ => other.roll_back("shelves").await.unwrap(),
        };
        for _ in 0..20 {
            let head = append(&*log, &dice.events(1)).await;
            live.wait_for("shelves", head, SOON).await.unwrap().unwrap();
            let (_, checkpoint) = all::<ShelfRow>(&*models).await;
            assert!(checkpoint >= head, "{swap}: {checkpoint} is shown, {head} was waited for");
        }
    }
    live.stop().await;
}

/// The generation that readers had until now is kept, also where two processes that have filled
/// the same new one are both about to activate it.
#[tokio::test(flavor = "multi_thread")]
async fn the_generation_to_go_back_to_is_kept_when_another_process_activates_first() {
    let shop = Shop::new();
    let log = shop.log().await;
    let head = append(&*log, &Dice::new(16).events(100)).await;
    shop.settled::<1>(&log).await;
    let models = shop.models().await;
    let models = Overtaken::new(models, head);

    let second = engine(log.clone(), models.clone(), Shelves::<2>::default());
    second.start();
    let mut live = second.live("shelves").unwrap();
    let up = live.wait_for(|status| status.state == SubscriptionState::Live);
    tokio::time::timeout(SOON, up).await.unwrap().unwrap();
    second.stop().await;

    assert!(models.0.happened());
    let generations = models.generations("shelves").await.unwrap();
    let versions: Vec<_> = generations.iter().map(|g| (g.version, g.state)).collect();
    assert_eq!(versions, [(1, GenerationState::Retired), (2, GenerationState::Active)]);
}

/// An order that comes while a swap waits for what another process has added is no failure: whoever
/// is told to stop ends, and whoever is paused goes on later.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_in_the_middle_of_a_swap_is_obeyed_and_no_failure() {
    for stops in [true, false] {
        let shop = Shop::new();
        let log = shop.log().await;
        append(&*log, &Dice::new(32).events(100)).await;
        shop.settled::<1>(&log).await;
        let models = Swapping::new(shop.models().await);
        let second = Arc::new(engine(log.clone(), models.clone(), Shelves::<2>::default()));
        second.start();
        tokio::time::timeout(SOON, models.0.meet()).await.unwrap();
        append(&*log, &Dice::new(33).events(10)).await;
        shop.settled::<1>(&log).await;

        if stops {
            let stopping = tokio::spawn({
                let second = second.clone();
                async move { second.stop().await }
            });
            // The order is given before the first wait.
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(100)).await;
            models.0.meet().await;
            tokio::time::timeout(SOON, stopping).await.unwrap().unwrap();
            assert_eq!(models.0.activations(), 1, "it was tried again though nothing had changed");
            continue;
        }
        second.pause("shelves").unwrap();
        models.0.meet().await;
        let began = Instant::now();
        let mut live = second.live("shelves").unwrap();
        loop {
            let status = second.statuses().remove(0);
            let failed = matches!(status.live.state, SubscriptionState::Failed(_));
            assert!(!failed && began.elapsed() < SOON, "{status:?}");
            if status.building.is_some_and(|fill| fill.status.state == SubscriptionState::Paused) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        second.resume("shelves").unwrap();
        let up = live.wait_for(|status| status.state == SubscriptionState::Live);
        tokio::time::timeout(SOON, up).await.unwrap().unwrap();
        second.stop().await;
        let generations = models.generations("shelves").await.unwrap();
        let versions: Vec<_> = generations.iter().map(|g| (g.version, g.state)).collect();
        assert_eq!(versions, [(1, GenerationState::Retired), (2, GenerationState::Active)]);
    }
}

/// A generation that is dropped while it is filled is no reason to wait for it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_generation_dropped_while_it_is_filled_is_begun_again() {
    let shop = Shop::new();
    let log = shop.log().await;
    let head = append(&*log, &Dice::new(17).events(10)).await;
    let replica = Behind::new(log.clone(), 5);
    let models = shop.models().await;
    let filling = engine(replica.clone(), models.clone(), Shelves::<1>::default());
    filling.start();
    let begun = filled_through(&*models, GlobalPosition(5)).await;

    shop.models().await.drop_generation(begun.clone()).await.unwrap();
    replica.0.at.store(10, Ordering::Relaxed);

    filling.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    let generations = models.generations("shelves").await.unwrap();
    assert_eq!(generations.len(), 1, "{generations:?}");
    assert!(generations[0].id.number > begun.number);
    filling.stop().await;
}

/// Processes that begin together fill one generation and leave nothing behind.
#[test]
fn of_three_engines_that_begin_together_each_is_up() {
    in_a_runtime(async {
        for seed in 0..8 {
            let shop = Shop::new();
            let log = shop.log().await;
            let head = append(&*log, &Dice::new(seed).events(500)).await;
            let mut engines = Vec::new();
            for _ in 0..3 {
                let models = shop.models().await;
                engines.push(engine(log.clone(), models, Shelves::<1>::default()));
            }
            engines.iter().for_each(Projections::start);
            for engine in &engines {
                engine.wait_for("shelves", head, SOON).await.unwrap().unwrap();
            }
            for engine in &engines {
                engine.stop().await;
            }
            let generations = shop.models().await.generations("shelves").await.unwrap();
            assert_eq!(generations.len(), 1, "{generations:?}");
        }
    });
}

/// Of generations that several processes have just made, all fill the first.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_generations_begun_the_first_is_filled() {
    let shop = Shop::new();
    let log = shop.log().await;
    append(&*log, &Dice::new(18).events(10)).await;
    let models = shop.models().await;
    for _ in 0..2 {
        let tables = freehold_projections::Projection::tables(&Shelves::<1>::default());
        models.create_generation("shelves", 1, tables).await.unwrap();
    }

    shop.settled::<1>(&log).await;

    let generations = models.generations("shelves").await.unwrap();
    assert_eq!(generations[0].state, GenerationState::Active, "{generations:?}");
}

/// A rebuild drops what was left behind, not what another process is filling.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_leaves_alone_what_another_process_fills() {
    let shop = Shop::new();
    let log = shop.log().await;
    let head = append(&*log, &Dice::new(19).events(1_000)).await;
    let replica = Behind::new(log.clone(), 5);
    let models = shop.models().await;
    let filling = engine(replica.clone(), models.clone(), Shelves::<1>::default());
    let tables = freehold_projections::Projection::tables(&Shelves::<1>::default());
    filling.start();
    let begun = filled_through(&*models, GlobalPosition(5)).await;
    let left = models.create_generation("shelves", 1, tables).await.unwrap();
    let arriving = tokio::spawn({
        let replica = replica.clone();
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                replica.0.at.fetch_add(1, Ordering::Relaxed);
            }
        }
    });

    let other = engine(log.clone(), shop.models().await, Shelves::<1>::default());
    let rebuilt = other.rebuild("shelves").unwrap().finished().await.unwrap();

    let generations = models.generations("shelves").await.unwrap();
    let kept: Vec<_> = generations.iter().map(|generation| &generation.id).collect();
    assert_eq!(kept, [&begun, &rebuilt], "{left:?} is dropped");
    arriving.abort();
    replica.0.at.store(1_000, Ordering::Relaxed);
    filling.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    filling.stop().await;
}

/// Waits until the one generation there is has been filled up to a position.
async fn filled_through(models: &dyn ReadModels, position: GlobalPosition) -> GenerationId {
    let deadline = Instant::now() + SOON;
    loop {
        let generations = models.generations("shelves").await.unwrap();
        if let [generation] = &*generations
            && generation.checkpoint == position
        {
            return generation.id.clone();
        }
        assert!(Instant::now() < deadline, "{generations:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A rebuild by another process is noticed by the live one, which goes on where readers look.
#[tokio::test(flavor = "multi_thread")]
async fn a_live_engine_follows_a_swap_by_another_process() {
    let shop = Shop::new();
    let log = shop.log().await;
    let dice = Dice::new(4);
    let mut events = dice.events(1_000);
    append(&*log, &events).await;
    let models = shop.models().await;
    let live = engine(log.clone(), models.clone(), Shelves::<1>::default());
    live.start();
    reach(&live, GlobalPosition(1_000)).await;

    let other = engine(log.clone(), shop.models().await, Shelves::<1>::default());
    let generation = other.rebuild("shelves").unwrap().finished().await.unwrap();

    let deadline = Instant::now() + SOON;
    loop {
        let more = dice.events(1);
        append(&*log, &more).await;
        events.extend(more);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (_, checkpoint) = all::<ShelfRow>(&*models).await;
        let head = log.head(&LogName::DOMAIN).await.unwrap();
        if checkpoint == head {
            break;
        }
        assert!(Instant::now() < deadline, "generation {generation:?} was left behind");
    }
    live.stop().await;
    let (items, shelves, _) = shown(&*models).await;
    assert_eq!((items, shelves), plain(&events));
}

/// Two processes on the same read models: one does the work; the other one knows how far that is,
/// is no failure, and goes on when the first is gone.
#[test]
fn of_two_engines_one_stands_by_and_takes_over() {
    let shop = Shop::new();
    let dice = Dice::new(8);
    let mut events = dice.events(3_000);
    let mut processes: Vec<_> = (0..2)
        .map(|_| {
            let process = tokio::runtime::Runtime::new().unwrap();
            let stores = async { (shop.log().await, shop.models().await) };
            let (log, models) = process.block_on(stores);
            (process, Arc::new(engine(log, models, Shelves::<1>::default())))
        })
        .collect();
    in_a_runtime(async {
        let log = shop.log().await;
        append(&*log, &events).await;
        for (process, shared) in &processes {
            let _inside = process.enter();
            shared.start();
        }
        let is_standing_by = |shared: &Projections| {
            let state = shared.status("shelves").unwrap().live.state;
            assert!(!matches!(state, SubscriptionState::Failed(_)), "{state:?}");
            state == SubscriptionState::StandingBy
        };
        for round in 0..100 {
            let more = dice.events(1 + round % 5);
            let position = append(&*log, &more).await;
            events.extend(more);
            for (_, shared) in &processes {
                shared.wait_for("shelves", position, SOON).await.unwrap().unwrap();
                is_standing_by(shared);
            }
        }
        let standing_by = processes.iter().position(|(_, shared)| is_standing_by(shared)).unwrap();
        assert!(!is_standing_by(&processes[1 - standing_by].1), "nobody does the work");
        let generations = shop.models().await.generations("shelves").await.unwrap();
        assert_eq!(generations.len(), 1, "{generations:?}");

        processes.remove(1 - standing_by).0.shutdown_background();
        let more = dice.events(10);
        let position = append(&*log, &more).await;
        events.extend(more);
        let (_, left) = &processes[0];
        left.wait_for("shelves", position, SOON).await.unwrap().unwrap();
        assert!(!is_standing_by(left));
        left.stop().await;
        let (items, shelves, _) = shown(&*shop.models().await).await;
        assert_eq!((items, shelves), plain(&events));
    });
    processes.drain(..).for_each(|(process, _)| process.shutdown_background());
}

/// A process that leaves the work to others knows how far they are, from before there is anything
/// to read, and does none of it, also where nobody does and where another release fills what
/// readers see.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_only_watches_does_no_work() {
    const LONGER_THAN_PATIENCE: Duration = Duration::from_secs(3);
    let shop = Shop::new();
    let (log, models) = (shop.log().await, shop.models().await);
    let dice = Dice::new(9);
    let mut events = dice.events(100);
    let first = append(&*log, &events).await;
    let watching = engine(log.clone(), models.clone(), Shelves::<1>::default());
    watching.watch();
    assert!(failure(&watching).await.error.contains("not built"));
    assert!(models.generations("shelves").await.unwrap().is_empty());

    let working = engine(log.clone(), models.clone(), Shelves::<2>::default());
    working.start();
    watching.wait_for("shelves", first, SOON).await.unwrap().unwrap();
    working.stop().await;
    let more = dice.events(10);
    let second = append(&*log, &more).await;
    events.extend(more);
    let late = watching.wait_for("shelves", second, LONGER_THAN_PATIENCE).await.unwrap();
    let seen = late.unwrap_err().status;
    assert_eq!((seen.state, seen.position), (SubscriptionState::StandingBy, first));
    assert!(seen.behind_since.is_some());

    working.start();
    watching.wait_for("shelves", second, SOON).await.unwrap().unwrap();
    assert!(watching.status("shelves").unwrap().is_current());
    watching.stop().await;
    working.stop().await;
    assert_eq!(shown(&*models).await.1, plain(&events).1);
}

/// Verifying finds rows that were changed, lost or made up behind the log's back, and only those.
#[tokio::test(flavor = "multi_thread")]
async fn verifying_shows_rows_that_are_not_what_the_log_says() {
    let shop = Shop::new();
    let log = shop.log().await;
    let dice = Dice::new(8);
    let head = append(&*log, &dice.events(2_000)).await;
    let models = shop.models().await;
    let projections = engine(log.clone(), models.clone(), Shelves::<1>::default());
    projections.start();
    reach(&projections, head).await;
    let writing = Arc::new(AtomicBool::new(true));
    let writer = tokio::spawn({
        let (log, writing) = (log.clone(), writing.clone());
        async move {
            while writing.load(Ordering::Relaxed) {
                append(&*log, &dice.events(3)).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let right = projections.verify("shelves").await.unwrap();
    writing.store(false, Ordering::Relaxed);
    writer.await.unwrap();
    assert_eq!((right.differences, right.shown.len()), (0, 0), "{right:?}");
    assert!(right.rows > 10);
    let head = log.head(&LogName::DOMAIN).await.unwrap();
    projections.wait_for("shelves", head, SOON).await.unwrap().unwrap();
    projections.stop().await;

    let active = models.generations("shelves").await.unwrap().pop().unwrap();
    assert_eq!(active.state, GenerationState::Active);
    let (items, ..) = shown(&*models).await;
    let (wrong, lost) = (&items[0], &items[1]);
    let forged = vec![TableChanges {
        table: ItemRow::TABLE,
        changes: vec![
            RowChange::Put(ItemRow { wear: wrong.wear + 1, ..wrong.clone() }.to_row()),
            RowChange::Delete(ItemRow::key_values(&lost.key())),
            RowChange::Put(ItemRow { item: 999, shelf: 1, wear: 0 }.to_row()),
        ],
    }];
    let at = active.checkpoint;
    models.commit(Commit::moving(active.id, at, at, forged)).await.unwrap();
    let found = projections.verify("shelves").await.unwrap();

    assert_eq!((found.differences, found.through), (3, at));
    let find = |item: i64| {
        let key = ItemRow::key_values(&(item,));
        found.shown.iter().find(|difference| difference.key == key).unwrap()
    };
    assert_eq!(find(wrong.item).folded, Some(wrong.to_row()));
    assert_eq!((&find(lost.item).kept, &find(lost.item).folded), (&None, &Some(lost.to_row())));
    assert!(find(999).folded.is_none());
    assert_eq!(models.generations("shelves").await.unwrap().len(), 1, "nothing is left behind");
}

/// A commit wakes its readers; nobody waits for the next look at the log.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_is_seen_soon_after_it_is_stored() {
    let shop = Shop::new();
    let log = shop.log().await;
    let projections = engine(log.clone(), shop.models().await, Shelves::<1>::default());
    projections.start();
    projections.wait_for("shelves", GlobalPosition(0), SOON).await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let began = Instant::now();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let position = append(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
        projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    }
    let each = began.elapsed() / 20;
    assert!(each < Duration::from_millis(300), "{each:?}; an idle engine looks once a second");
    let live = projections.status("shelves").unwrap();
    assert!(live.is_current() && live.live.behind_since.is_none(), "{live:?}");
    projections.stop().await;
    assert_eq!(projections.status("shelves").unwrap().live.state, SubscriptionState::Stopped);
}

/// The head is known before a replica has the events.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_behind_is_not_asked_without_a_pause() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let replica = Behind::new(log.clone(), 0);
    let projections = engine(replica.clone(), models, Shelves::<1>::default());
    projections.start();
    projections.wait_for("shelves", GlobalPosition(0), SOON).await.unwrap().unwrap();
    append(&*log, &Dice::new(5).events(10)).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let reads = replica.0.reads.load(Ordering::Relaxed);
    assert!(reads < 50, "asked {reads} times");
    replica.0.at.store(10, Ordering::Relaxed);
    projections.wait_for("shelves", GlobalPosition(10), SOON).await.unwrap().unwrap();
    projections.stop().await;
}

/// Events of others move the position too, so that "wait for my write" does not wait for ever.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_no_interest_are_passed() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let projections = engine(log.clone(), models, Shelves::<1>::default());
    projections.start();
    append(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
    let position = append_raw(&*log, "user-1", [("Unknown", Vec::new())]).await;
    projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    projections.stop().await;
}

/// A paused projection waits, says so, and goes on; whoever waits for it is told how it is doing.
#[tokio::test(flavor = "multi_thread")]
async fn a_paused_projection_goes_on_when_resumed() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let projections = engine(log.clone(), models, Shelves::<1>::default());
    projections.start();
    let mut live = projections.live("shelves").unwrap();
    live.wait_for(|status| status.state == SubscriptionState::Live).await.unwrap();
    projections.pause("shelves").unwrap();
    let paused = live.wait_for(|status| status.state == SubscriptionState::Paused);
    tokio::time::timeout(SOON, paused).await.unwrap().unwrap();

    let position = append(&*log, &[ShopEvent::Placed { item: 1, shelf: 1 }]).await;
    let waited = projections.wait_for("shelves", position, Duration::from_millis(200)).await;
    let behind = waited.unwrap().unwrap_err();
    assert_eq!((behind.wanted, &behind.status.state), (position, &SubscriptionState::Paused));

    projections.resume("shelves").unwrap();
    projections.wait_for("shelves", position, SOON).await.unwrap().unwrap();
    projections.stop().await;
    let unknown = projections.pause("nothing");
    assert!(matches!(unknown, Err(ProjectionError::Unknown(name)) if name == "nothing"));
}

/// A page asks for all its rows at once, also where one row names the next.
#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_page_are_fetched_in_a_few_queries() {
    let shop = Shop::new();
    let log = shop.log().await;
    let placed: Vec<_> =
        (0..900).map(|item| ShopEvent::Placed { item, shelf: item % 300 }).collect();
    append(&*log, &placed).await;
    shop.settled::<1>(&log).await;
    let worn: Vec<_> = (0..900).map(|item| ShopEvent::Worn { item }).collect();
    let head = append(&*log, &worn).await;
    let models = Flaky::new(shop.models().await, 0, u64::MAX);
    let projections = engine(log, models.clone(), Shelves::<1>::default());

    projections.start();
    reach(&projections, head).await;
    projections.stop().await;

    let fetches = models.fetches.load(Ordering::Relaxed);
    assert!(fetches <= 4, "{fetches} queries for 900 items and the shelves they are on");
    let events = [placed, worn].concat();
    let (items, shelves, _) = shown(&*models).await;
    assert_eq!((items, shelves), plain(&events));
}

/// A row that is made in a page may name what later events of the page need.
#[tokio::test(flavor = "multi_thread")]
async fn rows_named_by_rows_of_the_same_page_are_fetched_in_a_few_queries() {
    let shop = Shop::new();
    let log = shop.log().await;
    let first_worn = |item| [ShopEvent::Placed { item, shelf: item }, ShopEvent::Worn { item }];
    let head = append(&*log, &(0..450).flat_map(first_worn).collect::<Vec<_>>()).await;
    let models = Flaky::new(shop.models().await, 0, u64::MAX);
    let clock = Arc::new(freehold_ports::SystemClock);
    let projections = Projections::new(log, models.clone(), codec(), clock).with(WornOnly);

    projections.start();
    reach(&projections, head).await;
    projections.stop().await;

    let fetches = models.fetches.load(Ordering::Relaxed);
    assert!(fetches <= 4, "{fetches} queries for the shelves of 450 new items");
    let (_, shelves, _) = shown(&*models).await;
    assert!(shelves.iter().all(|shelf| shelf.events == 1) && shelves.len() == 450);
}

/// A bug that panics is a failure like others: seen, tried again, and no end of the subscription.
#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_panics_is_a_failure() {
    let shop = Shop::in_memory();
    let log = shop.log().await;
    let models = shop.models().await;
    let projections = stopping(log.clone(), models).with(Shelves::<1>::default()).with(Panicking);
    append(&*log, &Dice::new(3).events(5)).await;
    projections.start();
    let deadline = Instant::now() + SOON;
    loop {
        let status = projections.status("panicking").unwrap();
        if let Some(SubscriptionState::Failed(failure)) =
            status.building.map(|building| building.status.state)
            && failure.attempts > 1
        {
            assert!(failure.error.contains("a bug"), "{}", failure.error);
            break;
        }
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    projections.wait_for("shelves", GlobalPosition(5), SOON).await.unwrap().unwrap();
    projections.stop().await;
}

mod others {
    use freehold_ports::{EventFilter, LogName, Table};
    use freehold_projections::{
        ApplyError, ProjectedEvent, Projection, Rows, TypedRow, read_model,
    };

    use super::support::ShopEvent;
    use super::{Counting, Panicking};

    read_model! {
        /// One number.
        pub(crate) struct CountRow in "count" {
            key {
                /// Always 0.
                id: i64,
            }
            /// How many events.
            events: i64,
        }
    }

    read_model! {
        /// Nothing.
        pub(crate) struct NothingRow in "nothing" {
            key {
                /// Never there.
                id: i64,
            }
        }
    }

    impl Projection for Counting {
        type Event = ShopEvent;
        const NAME: &'static str = "counting";
        const VERSION: u32 = 1;

        fn log(&self) -> LogName {
            LogName::DOMAIN
        }

        fn filter(&self) -> EventFilter {
            EventFilter::all()
        }

        fn tables(&self) -> &'static [&'static Table] {
            &[CountRow::TABLE]
        }

        fn apply(
            &self,
            _: ProjectedEvent<'_, ShopEvent>,
            rows: &mut Rows,
        ) -> Result<(), ApplyError> {
            let events = rows.get::<CountRow>(&(0,))?.map_or(0, |row| row.events);
            rows.put(CountRow { id: 0, events: events + 1 });
            Ok(())
        }
    }

    impl Projection for Panicking {
        type Event = ShopEvent;
        const NAME: &'static str = "panicking";
        const VERSION: u32 = 1;

        fn log(&self) -> LogName {
            LogName::DOMAIN
        }

        fn filter(&self) -> EventFilter {
            EventFilter::all()
        }

        fn tables(&self) -> &'static [&'static Table] {
            &[NothingRow::TABLE]
        }

        fn apply(&self, _: ProjectedEvent<'_, ShopEvent>, _: &mut Rows) -> Result<(), ApplyError> {
            panic!("a bug")
        }
    }
}

/// Counts every event.
struct Counting;

/// Has a bug.
struct Panicking;

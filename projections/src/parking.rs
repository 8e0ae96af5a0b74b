//! The streams that a generation has parked, and which more it may park.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use freehold_ports::{
    DeadLetter, Fault, GlobalPosition, LetterChange, RecordedEvent, StreamId, StreamVersion, Tried,
};
use uuid::Uuid;

use crate::FoldFailure;

/// What becomes of an event that a projection cannot handle.
#[derive(Clone, Debug)]
pub struct FailurePolicy {
    /// How many streams a generation parks at most. More are a defect of the projection, not of
    /// events: it stops.
    pub max_streams: usize,
    /// Names of projections that stop at the event instead of parking its stream.
    pub stopping: BTreeSet<String>,
}

impl Default for FailurePolicy {
    fn default() -> Self {
        Self { max_streams: 1_000, stopping: BTreeSet::new() }
    }
}

/// After what time a letter is tried again by itself, by how often it was tried. Later a person is
/// to order it.
const AGAIN_AFTER: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(10), Duration::from_secs(60)];

/// When an event that failed so often is tried again by itself. Half of the wait is left to chance,
/// so that what failed together does not come back together.
pub(crate) fn again_at(fault: Fault, attempts: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match fault {
        // A fold is pure: what it refused it refuses again, in this release.
        Fault::Permanent => None,
        Fault::Panic => {
            let wait = *AGAIN_AFTER.get((attempts as usize).checked_sub(1)?)?;
            let [chance, ..] = *Uuid::new_v4().as_bytes();
            Some(now + wait / 2 + wait / 2 * u32::from(chance) / 255)
        }
    }
}

/// The parked streams of a generation, as its store has them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parking {
    letters: HashMap<StreamId, DeadLetter>,
}

impl Parking {
    pub(crate) fn of(letters: Vec<DeadLetter>) -> Self {
        let by_stream = |letter: DeadLetter| (letter.id.stream.clone(), letter);
        Self { letters: letters.into_iter().map(by_stream).collect() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    /// Whether an event waits behind a parked one.
    pub(crate) fn holds(&self, recorded: &RecordedEvent) -> bool {
        self.waits(&recorded.stream, recorded.version)
    }

    /// Whether that event of a stream waits, parked or behind a parked one.
    pub(crate) fn waits(&self, stream: &StreamId, version: StreamVersion) -> bool {
        self.letters.get(stream).is_some_and(|letter| version > letter.done_through)
    }

    /// The letter whose next try has been due for longest.
    pub(crate) fn due(&self, now: DateTime<Utc>) -> Option<&DeadLetter> {
        let due =
            self.letters.values().filter(|letter| letter.retry_at.is_some_and(|at| at <= now));
        due.min_by_key(|letter| letter.retry_at)
    }

    /// When the next letter is due.
    pub(crate) fn next_at(&self) -> Option<DateTime<Utc>> {
        self.letters.values().filter_map(|letter| letter.retry_at).min()
    }

    /// Takes in what was committed.
    pub(crate) fn apply(&mut self, change: &LetterChange) {
        match change {
            LetterChange::Park(letter) => {
                self.letters.insert(letter.id.stream.clone(), letter.clone());
            }
            LetterChange::Wait { stream, events } => {
                if let Some(letter) = self.letters.get_mut(stream) {
                    letter.waiting += events;
                }
            }
            LetterChange::Tried { stream, at, outcome, .. } => match outcome {
                Tried::Resolved => {
                    self.letters.remove(stream);
                }
                Tried::FailedLater(letter) => {
                    self.letters.insert(stream.clone(), letter.clone());
                }
                Tried::Onwards { done_through, waiting } => {
                    if let Some(letter) = self.letters.get_mut(stream) {
                        (letter.tried_at, letter.done_through) = (*at, *done_through);
                        letter.waiting = *waiting;
                    }
                }
                Tried::Failed { error, fault, retry_at } => {
                    if let Some(letter) = self.letters.get_mut(stream) {
                        (letter.tried_at, letter.retry_at) = (*at, *retry_at);
                        (letter.error, letter.fault) = (error.clone(), *fault);
                        letter.attempts += 1;
                    }
                }
            },
        }
    }
}

/// Which further streams may be parked in a page.
#[derive(Debug)]
pub(crate) struct Permit {
    /// How many of them.
    room: usize,
    /// What readers see, if that is another generation.
    shown: Option<Shown>,
}

/// What the generation shows that readers see.
#[derive(Debug)]
struct Shown {
    position: GlobalPosition,
    /// How far its parked streams are.
    done_through: HashMap<StreamId, StreamVersion>,
}

impl Permit {
    /// None: the page ends before the first event that cannot be handled.
    pub(crate) fn none() -> Self {
        Self { room: 0, shown: None }
    }

    /// So many, whatever they are.
    pub(crate) fn any(room: usize) -> Self {
        Self { room, shown: None }
    }

    /// So many, but nothing that readers of another generation see applied: they would lose it.
    pub(crate) fn unseen(room: usize, position: GlobalPosition, parked: Vec<DeadLetter>) -> Self {
        let done = |letter: DeadLetter| (letter.id.stream, letter.done_through);
        let done_through = parked.into_iter().map(done).collect();
        Self { room, shown: Some(Shown { position, done_through }) }
    }

    /// Whether the stream of a failing event may be parked after so many others.
    pub(crate) fn parks(&self, failure: &FoldFailure, others: usize) -> bool {
        let unseen = |shown: &Shown| {
            let done = shown.done_through.get(&failure.stream);
            failure.position > shown.position || done.is_some_and(|done| failure.version > *done)
        };
        !failure.awaits_release && others < self.room && self.shown.as_ref().is_none_or(unseen)
    }

    /// Whether so many others leave no room.
    pub(crate) fn is_full(&self, others: usize) -> bool {
        others >= self.room
    }
}

/// What monitoring sees of the parked streams of a subscription.
pub(crate) struct Meters {
    subscription: &'static str,
    oldest_seconds: metrics::Gauge,
    waiting: metrics::Gauge,
    /// By event type and fault; what is gone is shown as none.
    groups: HashMap<(Arc<str>, Fault), metrics::Gauge>,
}

impl Meters {
    pub(crate) fn of(subscription: &'static str) -> Self {
        Self {
            subscription,
            oldest_seconds: metrics::gauge!(
                "freehold_dead_letter_oldest_seconds", "subscription" => subscription
            ),
            waiting: metrics::gauge!(
                "freehold_dead_letter_waiting_events", "subscription" => subscription
            ),
            groups: HashMap::new(),
        }
    }

    pub(crate) fn show(&mut self, parking: &Parking, now: DateTime<Utc>) {
        let letters = || parking.letters.values();
        let oldest = letters().map(|letter| letter.parked_at).min();
        let age = oldest.map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0));
        self.oldest_seconds.set(age);
        self.waiting.set(letters().map(|letter| letter.waiting).sum::<u64>() as f64);
        let mut counts: HashMap<(Arc<str>, Fault), u32> = HashMap::new();
        for letter in letters() {
            *counts.entry((letter.event_type.clone(), letter.fault)).or_default() += 1;
        }
        for (group, gauge) in &self.groups {
            gauge.set(counts.remove(group).map_or(0.0, f64::from));
        }
        for (group, count) in counts {
            let gauge = metrics::gauge!(
                "freehold_dead_letters",
                "subscription" => self.subscription,
                "event_type" => group.0.to_string(),
                "fault" => group.1.as_str(),
            );
            gauge.set(f64::from(count));
            self.groups.insert(group, gauge);
        }
    }
}

#[cfg(test)]
mod tests {
    use freehold_ports::{EventId, GenerationId, LetterId, LogName};
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn what_was_shown_is_shown_as_none_when_it_is_gone() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let now = DateTime::UNIX_EPOCH + Duration::from_secs(9);
            let generation = GenerationId { projection: "listings".into(), number: 1 };
            let letter = DeadLetter {
                id: LetterId {
                    generation,
                    stream: "property-1".parse().unwrap(),
                    position: GlobalPosition(4),
                },
                log: LogName::DOMAIN,
                version: StreamVersion(1),
                event_id: EventId::new(),
                event_type: "ListingDrafted".into(),
                recorded_at: now,
                error: "bad".into(),
                fault: Fault::Panic,
                attempts: 1,
                parked_at: DateTime::UNIX_EPOCH,
                tried_at: now,
                done_through: StreamVersion(0),
                waiting: 3,
                retry_at: None,
                retry_by: None,
            };
            let mut meters = Meters::of("listings");
            let names = [
                "freehold_dead_letters{subscription=\"listings\",event_type=\"ListingDrafted\",\
                 fault=\"panic\"}",
                "freehold_dead_letter_oldest_seconds{subscription=\"listings\"}",
                "freehold_dead_letter_waiting_events{subscription=\"listings\"}",
            ];
            for (parking, values) in [(vec![letter], [1, 9, 3]), (vec![], [0; 3])] {
                meters.show(&Parking::of(parking), now);
                let shown = shown.render();
                for (name, value) in names.iter().zip(values) {
                    assert!(shown.contains(&format!("{name} {value}\n")), "{name}: {shown}");
                }
            }
        });
    }

    #[test]
    fn what_may_pass_is_tried_three_times_later_and_later() {
        let now = DateTime::UNIX_EPOCH;
        for attempts in 0..10 {
            assert_eq!(again_at(Fault::Permanent, attempts, now), None);
        }
        for (attempts, most) in [(1, 1_000), (2, 10_000), (3, 60_000)] {
            let wait = (again_at(Fault::Panic, attempts, now).unwrap() - now).num_milliseconds();
            assert!((most / 2..=most).contains(&wait), "{attempts}: {wait}");
        }
        assert_eq!(again_at(Fault::Panic, 0, now), None);
        assert_eq!(again_at(Fault::Panic, 4, now), None);
    }
}

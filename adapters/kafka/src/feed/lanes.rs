//! What has arrived of each partition, and what of that goes on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use freehold_ports::{GlobalPosition, Merge, Merged, Sent};

use super::decode::{Arrival, Content};
use crate::control::Control;

/// The most events of a page.
const PAGE: usize = 1_000;

/// The partitions that are read, before and inside the [`Merge`] that puts them in order.
///
/// A record waits for a control record that promises what its partition has: until then it may be
/// anybody's. What is promised ascends, each record naming the one before it; what does not fit is
/// told as a gap, so no record of others makes an event disappear.
pub(super) struct Lanes {
    /// The topics that are read; all of them if none are named.
    topics: Option<BTreeSet<String>>,
    /// How many bytes wait at most, beside one record a partition.
    room: usize,
    lanes: BTreeMap<Arc<str>, Vec<Lane>>,
    merge: Merge,
    /// The position of the newest control record.
    published: GlobalPosition,
}

/// A partition.
#[derive(Default)]
struct Lane {
    /// The last position that was ever sent there, by the newest control record.
    promised: GlobalPosition,
    /// The last position that arrived, and was promised.
    last: GlobalPosition,
    /// What arrived and is not promised yet.
    early: VecDeque<Arrival>,
    /// What the merge has of it, and how many bytes that is.
    merged: VecDeque<(GlobalPosition, usize)>,
    /// How many bytes both are.
    bytes: usize,
    /// Whether nothing of it is fetched until there is room.
    paused: bool,
}

/// A topic and the number of a partition.
pub(super) type Place = (Arc<str>, u32);

impl Lanes {
    pub(super) fn new(topics: Option<BTreeSet<String>>, room: usize) -> Self {
        let (lanes, published) = (BTreeMap::new(), GlobalPosition(0));
        Self { topics, room, lanes, merge: Merge::after(published), published }
    }

    /// Takes in a control record; the partitions that it is the first to name.
    pub(super) fn published(&mut self, control: Control) -> Vec<Place> {
        let mut found = Vec::new();
        if control.position <= self.published {
            return found;
        }
        self.published = control.position;
        let mut sent = Sent { position: control.position, partitions: BTreeMap::new() };
        for (topic, positions) in control.topics {
            if self.topics.as_ref().is_some_and(|wanted| !wanted.contains(&topic)) {
                continue;
            }
            let known = self.lanes.get_key_value(&*topic).map(|(topic, _)| topic.clone());
            let topic = known.unwrap_or_else(|| topic.into());
            let lanes = self.lanes.entry(topic.clone()).or_default();
            for (number, promised) in (0..).zip(positions) {
                let place = (topic.clone(), number);
                if number as usize == lanes.len() {
                    lanes.push(Lane::default());
                    found.push(place.clone());
                }
                lanes[number as usize].promised = promised;
                sent.partitions.insert(place, promised);
            }
        }
        self.merge.sent(sent);
        self.settle();
        found
    }

    /// Takes in a record; to be settled.
    pub(super) fn arrived(&mut self, topic: &str, partition: usize, arrival: Arrival) {
        let lane = self.lanes.get_mut(topic).and_then(|lanes| lanes.get_mut(partition));
        // Only partitions that were found are read.
        let Some(lane) = lane else { return };
        lane.bytes += arrival.bytes;
        lane.early.push_back(arrival);
    }

    /// Hands on what is promised.
    pub(super) fn settle(&mut self) {
        for (topic, lanes) in &mut self.lanes {
            for (number, lane) in (0..).zip(lanes) {
                lane.settle(topic, number, &mut self.merge);
            }
        }
    }

    /// What follows a position.
    pub(super) fn next(&mut self, after: GlobalPosition) -> Merged {
        self.merge.skip_to(after);
        let next = self.merge.next(PAGE);
        let through = match &next {
            Merged::Page(page) => page.through,
            Merged::Gap(_) | Merged::Nothing => after,
        };
        for lane in self.lanes.values_mut().flatten() {
            let gone = lane.merged.partition_point(|(at, _)| *at <= through);
            lane.bytes -= lane.merged.drain(..gone).map(|(_, bytes)| bytes).sum::<usize>();
        }
        next
    }

    /// What is published and did not arrive yet.
    pub(super) fn missing(&self) -> Option<GlobalPosition> {
        self.merge.missing()
    }

    /// What waits where something was promised that does not come was nobody's promise.
    pub(super) fn give_up(&mut self) {
        for lane in self.lanes.values_mut().flatten().filter(|lane| lane.last < lane.promised) {
            lane.bytes -= lane.early.drain(..).map(|arrival| arrival.bytes).sum::<usize>();
        }
    }

    /// The partitions that have no room now, and those that have again.
    pub(super) fn balance(&mut self) -> (Vec<Place>, Vec<Place>) {
        let (mut full, mut roomy) = (Vec::new(), Vec::new());
        let lanes = self.lanes.values().map(Vec::len).sum::<usize>();
        let room = (self.room / lanes.max(1)).max(1);
        for (topic, lanes) in &mut self.lanes {
            for (number, lane) in (0..).zip(lanes) {
                // A partition that others wait for has nothing that may not go out, so it gets room.
                let changed = match lane.paused {
                    true if lane.bytes <= room / 2 => &mut roomy,
                    false if lane.bytes >= room => &mut full,
                    _ => continue,
                };
                lane.paused = !lane.paused;
                changed.push((topic.clone(), number));
            }
        }
        (full, roomy)
    }

    /// Whether a partition waits for room.
    pub(super) fn is_full(&self) -> bool {
        self.lanes.values().flatten().any(|lane| lane.paused)
    }
}

impl Lane {
    fn settle(&mut self, topic: &Arc<str>, number: u32, merge: &mut Merge) {
        let promised = self.early.iter().rposition(|arrival| arrival.position <= self.promised);
        for arrival in self.early.drain(..promised.map_or(0, |last| last + 1)) {
            self.bytes -= arrival.bytes;
            let Arrival { position, previous, content, bytes } = arrival;
            // Sent again; or from somebody else, since positions ascend and one behind it fits.
            if position <= self.last || position > self.promised {
                continue;
            }
            let (previous, event) = match content {
                Content::Event(event) if previous >= self.last => (previous, Some(*event)),
                Content::Unwanted if previous >= self.last => (previous, None),
                // Not all up to and with it arrived.
                Content::Event(_) | Content::Unwanted | Content::Unreadable => (position, None),
            };
            self.last = position;
            let waits = event.is_some();
            if merge.arrived((topic.clone(), number), previous, position, event) && waits {
                self.merged.push_back((position, bytes));
                self.bytes += bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use chrono::DateTime;
    use freehold_ports::{
        CommandId, EventId, PayloadCodec, Provenance, RecordedEvent, StreamVersion,
    };
    use proptest::collection::vec;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    const LANES: usize = 3;
    const TOPIC: &str = "property-events";
    const MOST_BYTES: usize = 100;
    const ROOM: usize = 300;

    fn event(position: u64) -> RecordedEvent {
        RecordedEvent {
            position: GlobalPosition(position),
            stream: "property-1".parse().unwrap(),
            version: StreamVersion(1),
            event_id: EventId(Uuid::from_u128(position.into())),
            event_type: "SomethingHappened".into(),
            schema_version: 1,
            command_id: CommandId(Uuid::nil()),
            provenance: Provenance {
                tenant: "default".into(),
                actor: "test".into(),
                correlation_id: None,
                causation_id: None,
            },
            occurred_at: DateTime::UNIX_EPOCH,
            recorded_at: DateTime::UNIX_EPOCH,
            subjects: Vec::new(),
            tags: Vec::new(),
            codec: PayloadCodec::Json,
            payload: "{}".into(),
        }
    }

    fn is_wanted(position: u64) -> bool {
        position % 7 != 3
    }

    fn arrival(previous: u64, position: u64, bytes: usize) -> Arrival {
        let content = match is_wanted(position) {
            true => Content::Event(Box::new(event(position))),
            false => Content::Unwanted,
        };
        let (position, previous) = (GlobalPosition(position), GlobalPosition(previous));
        Arrival { position, previous, content, bytes }
    }

    fn control(position: u64, lanes: [u64; LANES]) -> Control {
        let topics = [
            (TOPIC.to_owned(), lanes.map(GlobalPosition).to_vec()),
            ("others-events".to_owned(), vec![GlobalPosition(position)]),
        ];
        Control {
            position: GlobalPosition(position),
            event_id: EventId(Uuid::nil()),
            topics: topics.into(),
        }
    }

    fn lanes(room: usize) -> Lanes {
        Lanes::new(Some([TOPIC.to_owned()].into()), room)
    }

    /// A cluster that fetches of partitions that have room, and a reader that turns to the log.
    struct Sim {
        lanes: Lanes,
        records: [VecDeque<Arrival>; LANES],
        control: VecDeque<Control>,
        paused: [bool; LANES],
        wanted: Vec<u64>,
        through: u64,
        handed: Vec<u64>,
        gaps: usize,
    }

    impl Sim {
        fn fetch(&mut self, lane: usize) {
            if self.paused[lane] {
                return;
            }
            if let Some(arrival) = self.records[lane].pop_front() {
                self.lanes.arrived(TOPIC, lane, arrival);
                self.lanes.settle();
            }
            self.balance();
        }

        fn control(&mut self) {
            if let Some(control) = self.control.pop_front() {
                self.lanes.published(control);
            }
            self.balance();
        }

        fn balance(&mut self) {
            let (full, roomy) = self.lanes.balance();
            for (_, number) in full {
                assert!(!std::mem::replace(&mut self.paused[number as usize], true));
            }
            for (_, number) in roomy {
                assert!(std::mem::replace(&mut self.paused[number as usize], false));
            }
            assert_eq!(self.lanes.is_full(), self.paused.contains(&true));
            let waiting = |lane: &Lane| {
                let early = lane.early.iter().map(|arrival| arrival.bytes);
                early.chain(lane.merged.iter().map(|(_, bytes)| *bytes)).sum::<usize>()
            };
            let bytes = self.lanes.lanes.values().flatten().map(|lane| {
                assert_eq!(lane.bytes, waiting(lane));
                lane.bytes
            });
            assert!(bytes.sum::<usize>() <= ROOM + LANES * MOST_BYTES);
        }

        fn read(&mut self) {
            match self.lanes.next(GlobalPosition(self.through)) {
                Merged::Nothing => {}
                Merged::Gap(through) => self.read_log(through),
                Merged::Page(page) => {
                    assert!(page.through.0 > self.through);
                    self.handed.extend(page.events.iter().map(|event| event.position.0));
                    self.through = page.through.0;
                }
            }
            self.balance();
        }

        fn read_log(&mut self, through: GlobalPosition) {
            self.gaps += 1;
            let read = |at: &&u64| **at > self.through && **at <= through.0;
            let read: Vec<_> = self.wanted.iter().filter(read).copied().collect();
            self.handed.extend(read);
            self.through = self.through.max(through.0);
        }

        /// Until nothing more comes; how often what was promised did not.
        fn finish(&mut self) -> usize {
            let mut stuck = 0;
            loop {
                let before = (self.through, self.left(), self.paused);
                self.control();
                (0..LANES).for_each(|lane| self.fetch(lane));
                self.read();
                if before != (self.through, self.left(), self.paused) {
                    continue;
                }
                let Some(missing) = self.lanes.missing() else { break };
                stuck += 1;
                self.lanes.give_up();
                self.read_log(missing);
            }
            stuck
        }

        fn left(&self) -> usize {
            self.control.len() + self.records.iter().map(VecDeque::len).sum::<usize>()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Partitions far ahead of others or behind, large transactions, little room, records of
        /// others: the log once and in order, with so many bytes and without standing still.
        #[test]
        fn whatever_waits_the_log_goes_on(
            places in vec((0..=LANES, 1..MOST_BYTES), 1..80),
            sizes in vec(1..30_usize, 1..5),
            began in 0..80_u64,
            earlier in 0..10_u64,
            steps in vec(0..LANES + 2, 0..200),
            junk in vec((0..LANES, 0..80_usize, 0..5_u8), 0..6),
        ) {
            let began = began.min(places.len() as u64);
            let mut records: [VecDeque<Arrival>; LANES] = Default::default();
            let (mut last, mut sent) = ([0; LANES], VecDeque::new());
            let mut sizes = sizes.iter().cycle();
            let mut left = *sizes.next().unwrap();
            for (position, (lane, bytes)) in (1..).zip(&places) {
                if let Some(records) = records.get_mut(*lane) {
                    let previous = std::mem::replace(&mut last[*lane], position);
                    if position > began.saturating_sub(earlier) {
                        records.push_back(arrival(previous, position, *bytes));
                    }
                }
                left -= 1;
                if left == 0 || position == places.len() as u64 {
                    left = *sizes.next().unwrap();
                    if position > began.saturating_sub(earlier) {
                        sent.push_back(control(position, last));
                    }
                }
            }
            let mut told = false;
            for (lane, at, kind) in &junk {
                let records = &mut records[*lane];
                let at = at % (records.len() + 1);
                // What comes is compared with what came: so there is something before it.
                let Some(before) = at.checked_sub(1).map(|at| &records[at]) else { continue };
                let (previous, position) = (before.previous.0, before.position.0);
                let forged = match kind {
                    0 => arrival(previous, position, 9),
                    1 => arrival(position, 1_000_000, MOST_BYTES),
                    2 => arrival(999_999, 1_000_000, MOST_BYTES),
                    3 => Arrival { content: Content::Unreadable, ..arrival(0, 1_000_000, 9) },
                    // In the place of an event of another partition, or of its own next one.
                    _ if position > 1 => {
                        told = true;
                        Arrival { content: Content::Unreadable, ..arrival(0, position + 1, 9) }
                    }
                    _ => continue,
                };
                // Nothing but its position tells that it is none of the log's.
                told |= kind == &1 || kind == &2 || kind == &3;
                records.insert(at, forged);
            }
            let wanted: Vec<_> = (began + 1..=places.len() as u64)
                .filter(|at| places[*at as usize - 1].0 < LANES && is_wanted(*at))
                .collect();
            let mut sim = Sim {
                lanes: lanes(ROOM),
                records,
                control: sent,
                paused: [false; LANES],
                wanted: wanted.clone(),
                through: began,
                handed: Vec::new(),
                gaps: 0,
            };
            // The first control record is what tells of partitions.
            sim.control();
            for step in steps {
                match step {
                    LANES => sim.control(),
                    step if step > LANES => sim.read(),
                    lane => sim.fetch(lane),
                }
            }
            let stuck = sim.finish();
            prop_assert_eq!(&sim.handed, &wanted);
            prop_assert!(told || (sim.gaps, stuck) == (0, 0), "{} {}", sim.gaps, stuck);
            prop_assert!(sim.lanes.lanes.values().flatten().all(|lane| lane.merged.is_empty()));
        }
    }

    /// A record far behind the end would else stand for all that are before it.
    #[test]
    fn a_record_that_nothing_promises_hides_no_event() {
        let mut lanes = lanes(10_000);
        lanes.published(control(1, [1, 0, 0]));
        lanes.arrived(TOPIC, 0, arrival(0, 1, 1));
        lanes.arrived(TOPIC, 0, arrival(1, 1_000_000, 1));
        lanes.arrived(TOPIC, 0, arrival(1, 2, 1));
        lanes.settle();
        let first = lanes.next(GlobalPosition(0));
        assert!(matches!(&first, Merged::Page(page) if page.events == [event(1)]), "{first:?}");
        lanes.published(control(2, [2, 0, 0]));
        let second = lanes.next(GlobalPosition(1));
        assert!(matches!(&second, Merged::Page(page) if page.events == [event(2)]), "{second:?}");
        assert_eq!(lanes.missing(), None);
    }

    /// Holes are told though what stands behind them is there.
    #[test]
    fn what_is_lacking_or_cannot_be_read_is_a_gap() {
        for hole in [false, true] {
            let mut lanes = lanes(10_000);
            lanes.published(control(9, [9, 0, 0]));
            lanes.arrived(TOPIC, 0, arrival(0, 4, 1));
            if !hole {
                let content = Content::Unreadable;
                lanes.arrived(TOPIC, 0, Arrival { content, ..arrival(4, 6, 1) });
            }
            lanes.arrived(TOPIC, 0, arrival(6, 9, 1));
            lanes.settle();
            assert_eq!(lanes.next(GlobalPosition(0)), Merged::Gap(GlobalPosition(6)));
            let rest = lanes.next(GlobalPosition(6));
            assert!(matches!(&rest, Merged::Page(page) if page.events == [event(9)]), "{rest:?}");
        }
    }

    /// It may be in the place of an event that is in another partition.
    #[test]
    fn what_does_not_name_the_one_before_it_is_a_gap() {
        let mut lanes = lanes(10_000);
        lanes.published(control(9, [9, 0, 0]));
        // The first one comes again.
        for (previous, position) in [(0, 1), (1, 5), (0, 1), (4, 8)] {
            lanes.arrived(TOPIC, 0, arrival(previous, position, 1));
        }
        lanes.settle();
        assert_eq!(lanes.next(GlobalPosition(0)), Merged::Gap(GlobalPosition(8)));
        lanes.arrived(TOPIC, 0, arrival(5, 9, 1));
        lanes.settle();
        assert_eq!(lanes.next(GlobalPosition(8)), Merged::Gap(GlobalPosition(9)));
        assert_eq!(lanes.next(GlobalPosition(9)), Merged::Nothing);
    }

    /// Else every event behind it would be told as a gap, 5 s late.
    #[test]
    fn a_partition_full_of_what_nothing_promises_is_read_again() {
        let mut lanes = lanes(ROOM);
        lanes.published(control(1, [1, 0, 0]));
        for position in 1_000_000..1_000_020 {
            lanes.arrived(TOPIC, 0, arrival(1, position, MOST_BYTES));
        }
        assert_eq!(lanes.balance().0, [(TOPIC.into(), 0)]);
        lanes.published(control(2, [2, 0, 0]));
        assert_eq!(lanes.missing(), Some(GlobalPosition(2)));
        lanes.give_up();
        assert_eq!(lanes.balance().1, [(TOPIC.into(), 0)]);
        lanes.arrived(TOPIC, 0, arrival(1, 2, 1));
        lanes.settle();
        let next = lanes.next(GlobalPosition(1));
        assert!(matches!(&next, Merged::Page(page) if page.events == [event(2)]), "{next:?}");
    }

    /// Partitions of a topic that is not read are none.
    #[test]
    fn partitions_are_found_once() {
        let mut lanes = lanes(10_000);
        let names: Vec<Place> = (0..3).map(|number| (TOPIC.into(), number)).collect();
        assert_eq!(lanes.published(control(1, [1, 0, 0])), names);
        assert_eq!(lanes.published(control(2, [1, 2, 0])), []);
        let all = Lanes::new(None, 10_000).published(control(1, [1, 0, 0]));
        assert_eq!(all.len(), 4);
    }
}

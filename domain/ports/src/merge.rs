//! [`Merge`]: partitions of a published log put back into the order of the log.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::{EventPage, GlobalPosition, RecordedEvent};

/// A partition of a topic.
pub type Partition = (Arc<str>, u32);

/// How far a log is published: what its newest control record says of the topics that are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// All events up to here are published.
    pub position: GlobalPosition,
    /// The last event that was ever sent to each partition; 0 if none.
    pub partitions: BTreeMap<Partition, GlobalPosition>,
}

/// Puts what arrives from partitions into the order of the log, from behind a position on.
///
/// A partition brings its events in order, now and then some of them again; partitions and control
/// records come in any order among each other. An event goes out once no partition can bring one
/// before it, and never before a control record says that all up to it is published: the parts of
/// a transaction are not seen at the same moment.
pub struct Merge {
    /// All up to here went out.
    through: GlobalPosition,
    sent: Sent,
    lanes: BTreeMap<Partition, Lane>,
    /// Something before here did not arrive and will not.
    hole: GlobalPosition,
}

struct Lane {
    /// All that the partition has up to here has arrived, but for holes.
    at: GlobalPosition,
    waiting: VecDeque<RecordedEvent>,
}

/// What a merge has to give.
#[derive(Debug, PartialEq, Eq)]
pub enum Merged {
    /// What comes next.
    Page(EventPage),
    /// Not all up to here arrived: it is in the log. To be read there, then
    /// [`skip_to`](Merge::skip_to).
    Gap(GlobalPosition),
    /// More must arrive first.
    Nothing,
}

impl Merge {
    /// One that begins behind a position: what the partitions have up to there may arrive or not.
    pub fn after(position: GlobalPosition) -> Self {
        let (sent, lanes) = (Sent::default(), BTreeMap::new());
        Self { through: position, sent, lanes, hole: GlobalPosition(0) }
    }

    /// Takes in what stands at a position of the log, in a partition; `previous` is the position
    /// before it there, and there is no event if nobody wants it. Whether it is new.
    pub fn arrived(
        &mut self,
        partition: Partition,
        previous: GlobalPosition,
        position: GlobalPosition,
        event: Option<RecordedEvent>,
    ) -> bool {
        let through = self.through;
        let fresh = || Lane { at: through, waiting: VecDeque::new() };
        let lane = self.lanes.entry(partition).or_insert_with(fresh);
        if position <= lane.at {
            return false;
        }
        if previous > lane.at {
            self.hole = self.hole.max(previous);
        }
        lane.at = position;
        lane.waiting.extend(event);
        true
    }

    /// Takes in a control record; an older one than before says nothing.
    pub fn sent(&mut self, sent: Sent) {
        if sent.position > self.sent.position {
            self.sent = sent;
        }
    }

    /// What goes out next, at most so many events.
    pub fn next(&mut self, most: usize) -> Merged {
        if self.hole > self.through {
            return Merged::Gap(self.hole);
        }
        let end = self.known();
        let mut events = Vec::new();
        while events.len() < most
            && let Some(lane) = self.first_until(end)
        {
            events.extend(lane.waiting.pop_front());
        }
        let through = match events.last() {
            Some(last) if events.len() == most => last.position,
            _ => end,
        };
        if through <= self.through {
            return Merged::Nothing;
        }
        self.through = through;
        Merged::Page(EventPage { events, through })
    }

    /// What is published and did not arrive yet; a gap if that lasts.
    pub fn missing(&self) -> Option<GlobalPosition> {
        (self.sent.position > self.through).then_some(self.sent.position)
    }

    /// Leaves out what is at hand from elsewhere.
    pub fn skip_to(&mut self, position: GlobalPosition) {
        self.through = self.through.max(position);
        for lane in self.lanes.values_mut() {
            lane.at = lane.at.max(self.through);
            while lane.waiting.front().is_some_and(|event| event.position <= self.through) {
                lane.waiting.pop_front();
            }
        }
    }

    /// Up to here everything has arrived.
    fn known(&self) -> GlobalPosition {
        let behind = self.sent.partitions.iter().filter_map(|(partition, last)| {
            let at = self.lanes.get(partition).map_or(self.through, |lane| lane.at);
            (at < *last).then_some(at)
        });
        // No partition names a position behind the record's own.
        behind.min().unwrap_or(self.sent.position)
    }

    /// The partition with the first event that waits, if that is not behind the end.
    fn first_until(&mut self, end: GlobalPosition) -> Option<&mut Lane> {
        let position = |lane: &Lane| lane.waiting.front().map(|event| event.position);
        let waiting =
            self.lanes.values_mut().filter(|lane| position(lane).is_some_and(|at| at <= end));
        waiting.min_by_key(|lane| position(lane))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use chrono::DateTime;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::{CommandId, EventId, PayloadCodec, Provenance, StreamVersion};

    const LANES: usize = 4;

    fn event(position: usize) -> RecordedEvent {
        RecordedEvent {
            position: GlobalPosition(position as u64),
            stream: "property-1".parse().unwrap(),
            version: StreamVersion(1),
            event_id: EventId(uuid::Uuid::from_u128(position as u128)),
            event_type: "SomethingHappened".into(),
            schema_version: 1,
            command_id: CommandId(uuid::Uuid::nil()),
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

    fn is_wanted(position: GlobalPosition) -> bool {
        position.0 % 7 != 3
    }

    fn lane(number: usize) -> Partition {
        ("property-events".into(), number as u32)
    }

    /// A log as it was published: which partition each position went to (the last one stands for
    /// what is not read), and how many events each transaction had.
    struct Topics {
        lanes: Vec<Vec<(GlobalPosition, GlobalPosition)>>,
        control: Vec<Sent>,
        wanted: Vec<GlobalPosition>,
    }

    impl Topics {
        fn of(places: &[usize], sizes: &[usize]) -> Self {
            let mut topics =
                Self { lanes: vec![Vec::new(); LANES], control: Vec::new(), wanted: Vec::new() };
            let mut sizes = sizes.iter().cycle();
            let mut left = *sizes.next().unwrap();
            for (before, place) in places.iter().enumerate() {
                let position = GlobalPosition(before as u64 + 1);
                if let Some(lane) = topics.lanes.get_mut(*place) {
                    let previous = lane.last().map_or(GlobalPosition(0), |(_, last)| *last);
                    lane.push((previous, position));
                    topics.wanted.extend(Some(position).filter(|at| is_wanted(*at)));
                }
                left -= 1;
                if left == 0 || before + 1 == places.len() {
                    left = *sizes.next().unwrap();
                    let last = |records: &Vec<(_, GlobalPosition)>| {
                        records.last().map_or(GlobalPosition(0), |(_, last)| *last)
                    };
                    let partitions = topics
                        .lanes
                        .iter()
                        .enumerate()
                        .map(|(at, r)| (lane(at), last(r)))
                        .collect();
                    topics.control.push(Sent { position, partitions });
                }
            }
            topics
        }
    }

    /// What a reader that turns to the log for gaps hands on; every page is checked.
    struct Reader<'a> {
        merge: Merge,
        wanted: &'a [GlobalPosition],
        handed: Vec<GlobalPosition>,
        through: GlobalPosition,
        published: GlobalPosition,
        gaps: usize,
    }

    impl Reader<'_> {
        fn read(&mut self, most: usize) {
            loop {
                match self.merge.next(most) {
                    Merged::Nothing => return,
                    Merged::Gap(through) => self.read_log(through),
                    Merged::Page(page) => {
                        assert!(page.through > self.through && page.through <= self.published);
                        assert!(page.events.len() <= most);
                        self.handed.extend(page.events.iter().map(|event| event.position));
                        self.through = page.through;
                    }
                }
            }
        }

        fn read_log(&mut self, through: GlobalPosition) {
            self.gaps += 1;
            let from = self.through;
            let read = self.wanted.iter().filter(|at| **at > from && **at <= through);
            self.handed.extend(read);
            self.through = through;
            self.merge.skip_to(through);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

        /// Whatever comes when, again or not at all: the log, from behind where it began.
        #[test]
        fn any_arrival_is_the_log(
            places in vec(0..=LANES, 1..60),
            sizes in vec(1..8_usize, 1..5),
            began in 0..60_usize,
            steps in vec((0..=LANES, 0..12_u8, 1..5_usize), 0..400),
            lossy in any::<bool>(),
            most in 1..6_usize,
        ) {
            let topics = Topics::of(&places, &sizes);
            let began = GlobalPosition(began.min(places.len()) as u64);
            let wanted: Vec<_> = topics.wanted.iter().copied().filter(|at| *at > began).collect();
            let mut reader = Reader {
                merge: Merge::after(began),
                wanted: &wanted,
                handed: Vec::new(),
                through: began,
                published: began,
                gaps: 0,
            };
            let mut offsets = [0; LANES];
            let mut next_control = 0;
            let mut lost = false;
            let mut bring = |reader: &mut Reader<'_>, number: usize, what: u8, far: usize| {
                if number == LANES {
                    if let Some(sent) = topics.control.get(next_control) {
                        reader.published = reader.published.max(sent.position);
                        reader.merge.sent(sent.clone());
                        next_control += 1;
                    }
                    return;
                }
                let records = &topics.lanes[number];
                match what {
                    // Reading begins earlier once more.
                    0 => offsets[number] = usize::saturating_sub(offsets[number], far),
                    1 if lossy => {
                        offsets[number] += far;
                        lost = true;
                        return;
                    }
                    _ => {}
                }
                let Some((previous, position)) = records.get(offsets[number]) else { return };
                offsets[number] += 1;
                let event = is_wanted(*position).then(|| event(position.0 as usize));
                reader.merge.arrived(lane(number), *previous, *position, event);
            };
            for (number, what, far) in &steps {
                bring(&mut reader, *number, *what, *far);
                reader.read(most);
            }
            for number in (0..=LANES).rev() {
                for _ in 0..=places.len() {
                    bring(&mut reader, number, 2, 0);
                }
            }
            reader.read(most);
            // The end of a partition is not told: what stays away for long is in the log.
            if let Some(through) = reader.merge.missing() {
                prop_assert!(lost);
                reader.read_log(through);
            }
            prop_assert_eq!(&reader.handed, &wanted);
            prop_assert_eq!(reader.through.0, places.len() as u64);
            prop_assert!(lost || reader.gaps == 0);
            prop_assert!(reader.merge.lanes.values().all(|lane| lane.waiting.is_empty()));
        }
    }

    /// The parts of a transaction are seen one by one.
    #[test]
    fn no_event_goes_out_before_the_control_record_of_its_transaction() {
        let mut merge = Merge::after(GlobalPosition(10));
        let partitions = [(lane(0), GlobalPosition(9)), (lane(1), GlobalPosition(10))];
        merge.sent(Sent { position: GlobalPosition(10), partitions: partitions.into() });
        merge.arrived(lane(1), GlobalPosition(10), GlobalPosition(12), Some(event(12)));
        assert_eq!(merge.next(10), Merged::Nothing);
        merge.arrived(lane(0), GlobalPosition(9), GlobalPosition(11), Some(event(11)));
        assert_eq!(merge.next(10), Merged::Nothing);
        let partitions = [(lane(0), GlobalPosition(11)), (lane(1), GlobalPosition(12))];
        merge.sent(Sent { position: GlobalPosition(12), partitions: partitions.into() });
        // A control record that comes once more takes nothing back.
        merge.sent(Sent { position: GlobalPosition(10), ..Sent::default() });
        let page = EventPage { events: vec![event(11), event(12)], through: GlobalPosition(12) };
        assert_eq!(merge.next(10), Merged::Page(page));
    }
}

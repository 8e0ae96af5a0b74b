//! States of aggregates that commands loaded or changed lately, so that the next one on them reads
//! nothing before its append.
//!
//! What is remembered was true once and may be old: other processes append too. So it is good for
//! a yes, which the store checks, and never for a no. Absent on purpose: aggregates whose events
//! may hold personal values. Another process may destroy a person's key, and this one would go on
//! to know what nobody may know any more.

use std::any::Any;
use std::sync::Arc;

use freehold_domain::StoredEvent;
use freehold_ports::{StreamId, StreamVersion};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::executor::{EventSourced, Loaded};

/// What an entry takes beside the state.
const ENTRY_BYTES: u64 = 500;

/// A memory of states by stream, bounded in bytes.
pub(crate) struct Remembered {
    states: Cache<StreamId, State, Weight>,
}

#[derive(Clone)]
struct State {
    version: StreamVersion,
    payload_bytes: u64,
    /// `Loaded<A>` for the `A` of its stream.
    loaded: Arc<dyn Any + Send + Sync>,
}

#[derive(Clone)]
struct Weight;

impl Weighter<StreamId, State> for Weight {
    fn weight(&self, _: &StreamId, state: &State) -> u64 {
        ENTRY_BYTES + state.payload_bytes
    }
}

impl Remembered {
    /// A memory of about so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let usual = ENTRY_BYTES + 2_000;
        let states = usize::try_from(bytes / usual).unwrap_or(usize::MAX);
        Self { states: Cache::with_weighter(states, bytes, Weight) }
    }

    /// The state of a stream that is remembered.
    pub(crate) fn get<A: EventSourced>(&self, stream: &StreamId) -> Option<Loaded<A>> {
        self.states.get(stream)?.loaded.downcast_ref::<Loaded<A>>().cloned()
    }

    /// Remembers a state, unless a newer one is remembered already. Of two at the same moment the
    /// older one may win: the next command learns from the store that it is old.
    pub(crate) fn keep<A: EventSourced>(&self, stream: &StreamId, loaded: &Loaded<A>) {
        let Loaded { version, payload_bytes, .. } = *loaded;
        let known = self.states.get(stream).map_or(StreamVersion(0), |known| known.version);
        if <A::Event as StoredEvent>::HOLDS_PERSONAL || version <= known {
            return;
        }
        let state = State { version, payload_bytes, loaded: Arc::new(loaded.clone()) };
        self.states.insert(stream.clone(), state);
    }

    /// Forgets a stream.
    pub(crate) fn forget(&self, stream: &StreamId) {
        self.states.remove(stream);
    }
}

#[cfg(test)]
mod tests {
    use freehold_domain::property::Property;
    use freehold_domain::user::User;
    use uuid::Uuid;

    use super::*;

    fn stream(number: u128) -> StreamId {
        StreamId::new("home", Uuid::from_u128(number)).expect("a category and an id")
    }

    fn at<A: Default>(version: u64) -> Loaded<A> {
        Loaded { version: StreamVersion(version), ..Loaded::default() }
    }

    #[test]
    fn an_older_state_never_replaces_a_newer_one() {
        let remembered = Remembered::new(1 << 20);
        let mut versions = Vec::new();
        for version in [0, 3, 2, 5, 4, 5] {
            remembered.keep(&stream(1), &at::<Property>(version));
            versions.push(remembered.get::<Property>(&stream(1)).map(|it| it.version.0));
        }
        assert_eq!(versions, [None, Some(3), Some(3), Some(5), Some(5), Some(5)]);
    }

    #[test]
    fn no_more_bytes_are_remembered_than_may_be_and_no_person() {
        let large = |payload_bytes| Loaded { payload_bytes, ..at::<Property>(1) };
        for (bytes, each, most, least) in [
            (1 << 20, 2_000, 419, 300),
            (1 << 20, 40_000, 26, 10),
            (1_000, 2_000, 0, 0),
            (0, 0, 0, 0),
        ] {
            let remembered = Remembered::new(bytes);
            (0..1_000).for_each(|number| remembered.keep(&stream(number), &large(each)));
            let known = |number: &u128| remembered.get::<Property>(&stream(*number)).is_some();
            let known = (0..1_000).filter(known).count();
            assert!((least..=most).contains(&known), "{known} of {each} bytes each in {bytes}");
            remembered.keep(&stream(2_000), &at::<User>(1));
            assert!(remembered.get::<User>(&stream(2_000)).is_none());
        }
    }

    #[test]
    fn a_forgotten_state_makes_room_for_an_older_one() {
        let remembered = Remembered::new(1 << 20);
        remembered.keep(&stream(1), &at::<Property>(7));
        remembered.forget(&stream(1));
        remembered.keep(&stream(1), &at::<Property>(5));
        let known = remembered.get::<Property>(&stream(1));
        assert_eq!(known.map(|it| it.version), Some(StreamVersion(5)));
    }
}

//! States of aggregates that were loaded or changed lately, so that the next command on them reads
//! nothing before its append.
//!
//! What is remembered was true once and may be old: other processes append too. So it is good for
//! a yes, which the store checks, and never for a no. Absent on purpose: aggregates whose events
//! may hold personal values. Another process may destroy a person's key, and this one would go on
//! to know what nobody may know any more.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use freehold_domain::StoredEvent;
use freehold_ports::{RecentlyUsed, StreamId, StreamVersion};

use crate::executor::{EventSourced, Loaded};

/// A bounded memory of states, by stream.
pub(crate) struct Remembered {
    states: Option<Mutex<States>>,
}

/// States are `Loaded<A>` for the `A` of their stream.
type States = RecentlyUsed<StreamId, (StreamVersion, Arc<dyn Any + Send + Sync>)>;

impl Remembered {
    /// A memory of so many states at the most; of none if that is less than 2.
    pub(crate) fn new(most: usize) -> Self {
        let half = most / 2;
        Self { states: (half > 0).then(|| Mutex::new(RecentlyUsed::new(half))) }
    }

    /// The newest state of a stream that is remembered.
    pub(crate) fn get<A: EventSourced>(&self, stream: &StreamId) -> Option<Loaded<A>> {
        let (_, state) = self.states::<A>()?.get(stream)?;
        state.downcast_ref::<Loaded<A>>().cloned()
    }

    /// Remembers a state, unless one as new is remembered already.
    pub(crate) fn keep<A: EventSourced>(&self, stream: &StreamId, loaded: &Loaded<A>) {
        let version = loaded.version;
        let is_news = |states: &mut States| {
            let known = states.get(stream).map_or(StreamVersion(0), |(known, _)| known);
            version > known
        };
        if !self.states::<A>().is_some_and(|mut states| is_news(&mut states)) {
            return;
        }
        let state = Arc::new(loaded.clone());
        // A newer one may have come meanwhile.
        if let Some(mut states) = self.states::<A>()
            && is_news(&mut states)
        {
            states.insert(stream.clone(), (version, state));
        }
    }

    /// Where states of `A` are remembered, if they may be.
    fn states<A: EventSourced>(&self) -> Option<MutexGuard<'_, States>> {
        if <A::Event as StoredEvent>::HOLDS_PERSONAL {
            return None;
        }
        // Every change under the lock is complete before anything in it can panic.
        Some(self.states.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
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
        let remembered = Remembered::new(10);
        let mut versions = Vec::new();
        for version in [0, 3, 2, 5, 4, 5] {
            remembered.keep(&stream(1), &at::<Property>(version));
            versions.push(remembered.get::<Property>(&stream(1)).map(|it| it.version.0));
        }
        assert_eq!(versions, [None, Some(3), Some(3), Some(5), Some(5), Some(5)]);
    }

    #[test]
    fn no_more_are_remembered_than_may_be_and_no_person() {
        for (most, least) in [(10, 5), (1, 0), (0, 0)] {
            let remembered = Remembered::new(most);
            (0..100).for_each(|number| remembered.keep(&stream(number), &at::<Property>(1)));
            let known = |number: &u128| remembered.get::<Property>(&stream(*number)).is_some();
            assert!((100 - least..100).all(|number| known(&number)));
            assert!((0..100).filter(known).count() <= most);
            remembered.keep(&stream(200), &at::<User>(1));
            assert!(remembered.get::<User>(&stream(200)).is_none());
        }
    }
}

//! A bounded memory of what was used last.

use std::collections::HashMap;
use std::hash::Hash;
use std::mem;
use std::sync::{Mutex, PoisonError};

/// Keeps at least the `capacity` entries used last, and never more than twice as many.
///
/// Two generations: when the young one is full it becomes the old one and what was old is dropped,
/// except what was asked for in between. Cheaper for each use than a list in order of use.
pub(super) struct RecentlyUsed<K, V> {
    capacity: usize,
    generations: Mutex<Generations<K, V>>,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq, V> RecentlyUsed<K, V> {
    pub(super) fn new(capacity: usize) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { capacity, generations: Mutex::new(generations) }
    }

    pub(super) fn get(&self, key: &K) -> Option<V>
    where
        V: Clone,
    {
        self.with(|generations| {
            if let Some(value) = generations.young.get(key) {
                return Some(value.clone());
            }
            let (key, value) = generations.old.remove_entry(key)?;
            generations.insert(self.capacity, key, value.clone());
            Some(value)
        })
    }

    /// Takes an entry out.
    pub(super) fn take(&self, key: &K) -> Option<V> {
        self.with(|generations| {
            let old = generations.old.remove(key);
            generations.young.remove(key).or(old)
        })
    }

    pub(super) fn insert(&self, key: K, value: V) {
        self.with(|generations| generations.insert(self.capacity, key, value));
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Generations<K, V>) -> T) -> T {
        // Only what is safe to lose is in here, so a panic elsewhere does not matter.
        use_it(&mut self.generations.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: Hash + Eq, V> Generations<K, V> {
    fn insert(&mut self, capacity: usize, key: K, value: V) {
        if self.young.len() >= capacity {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_last_is_kept_and_the_rest_is_bounded() {
        let recent = RecentlyUsed::new(10);
        for number in 0..100 {
            recent.insert(number, number);
            recent.get(&0);
        }
        assert_eq!(recent.get(&0), Some(0));
        assert_eq!(recent.get(&95), Some(95));
        assert_eq!(recent.get(&50), None);
        assert_eq!(recent.take(&95), Some(95));
        assert_eq!(recent.get(&95), None);
    }
}

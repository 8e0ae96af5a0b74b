//! A bounded memory of what was used last.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::mem;

use foldhash::fast::RandomState;

/// Keeps at least the `capacity` entries used last, and never more than twice as many.
///
/// Two generations: when the young one is full it becomes the old one and what was old is dropped,
/// except what was asked for in between. Cheaper for each use than a list in order of use.
pub struct RecentlyUsed<K, V> {
    capacity: usize,
    young: HashMap<K, V, RandomState>,
    old: HashMap<K, V, RandomState>,
}

impl<K: Hash + Eq, V: Clone> RecentlyUsed<K, V> {
    /// Nothing yet.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, young: HashMap::default(), old: HashMap::default() }
    }

    /// What was last inserted for a key, if it is still kept.
    pub fn get<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if let Some(value) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, value) = self.old.remove_entry(key)?;
        self.insert(key, value.clone());
        Some(value)
    }

    /// Keeps a value; another one for the same key is dropped.
    pub fn insert(&mut self, key: K, value: V) {
        if self.young.len() >= self.capacity {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }

    /// Forgets a key.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_used_last_are_kept_and_old_ones_dropped() {
        let mut cache = RecentlyUsed::new(10);
        for key in 0..100 {
            cache.insert(key, key * 2);
            assert_eq!(cache.get(&0), Some(0), "used all the time");
        }
        assert!((91..100).all(|key| cache.get(&key) == Some(key * 2)));
        assert_eq!(cache.get(&50), None);
        assert!(cache.young.len() + cache.old.len() <= 20);
    }

    #[test]
    fn the_newest_value_wins_and_a_removed_one_is_gone_from_both_generations() {
        let mut cache = RecentlyUsed::new(2);
        (0..3).for_each(|key| cache.insert(key, "first"));
        cache.insert(0, "second");
        assert_eq!(cache.get(&0), Some("second"));
        cache.remove(&0);
        assert_eq!(cache.get(&0), None);
    }
}

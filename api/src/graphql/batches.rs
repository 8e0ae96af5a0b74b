//! Gathering what many resolvers ask for into one question.
//!
//! A resolver that asks steps back once before the question is put, so that every resolver that
//! can run at the same time adds its keys first. That makes batches depend on the shape of a
//! request only; the loader of the GraphQL library waits for a timer instead, and splits batches
//! whenever the machine is slower than the timer.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;
use tokio::task::{unconstrained, yield_now};

use super::Fault;

/// How many keys one question holds at most.
const MAX_KEYS: usize = 1_000;

/// Answers a question about many keys.
pub(crate) trait Load: Send + Sync {
    /// What is asked for.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// What is found.
    type Value: Clone + Send + Sync;

    /// Finds the values of the keys that have one.
    fn load(
        &self,
        keys: &[Self::Key],
    ) -> impl Future<Output = Result<HashMap<Self::Key, Self::Value>, Fault>> + Send;
}

/// Gathers keys for a loader. Nothing is cached: a subscription lives longer than what it once
/// read. Requests that run at the same time may share a question.
pub(crate) struct Batches<L: Load> {
    loader: L,
    open: Mutex<Arc<Batch<L>>>,
}

struct Batch<L: Load> {
    keys: Mutex<HashSet<L::Key>>,
    answer: OnceCell<Answer<L>>,
}

type Answer<L> = Result<HashMap<<L as Load>::Key, <L as Load>::Value>, Fault>;

impl<L: Load> Default for Batch<L> {
    fn default() -> Self {
        Self { keys: Mutex::default(), answer: OnceCell::new() }
    }
}

impl<L: Load> Batches<L> {
    pub(crate) fn new(loader: L) -> Self {
        Self { loader, open: Mutex::default() }
    }

    /// The value of a key.
    pub(crate) async fn load_one(&self, key: L::Key) -> Result<Option<L::Value>, Fault> {
        Ok(self.load_many([key.clone()]).await?.remove(&key))
    }

    /// The values of those keys that have one.
    pub(crate) async fn load_many(&self, keys: impl IntoIterator<Item = L::Key>) -> Answer<L> {
        let keys: Vec<L::Key> = keys.into_iter().collect();
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let batch = self.join(&keys);
        yield_now().await;
        // Whoever comes first asks for all; if its request is given up, the next one asks again.
        // Unconstrained, so that all who waited go on together and ask together again.
        let answer = unconstrained(batch.answer.get_or_init(|| self.ask(&batch))).await;
        let found = answer.as_ref().map_err(Clone::clone)?;
        let value = |key: L::Key| Some((key.clone(), found.get(&key)?.clone()));
        Ok(keys.into_iter().filter_map(value).collect())
    }

    fn join(&self, keys: &[L::Key]) -> Arc<Batch<L>> {
        // Nothing panics while a lock is held; if it did, keys are still only keys.
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gathered = open.keys.lock().unwrap_or_else(PoisonError::into_inner);
        gathered.extend(keys.iter().cloned());
        drop(gathered);
        open.clone()
    }

    async fn ask(&self, batch: &Arc<Batch<L>>) -> Answer<L> {
        let keys: Vec<L::Key> = {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            if Arc::ptr_eq(&open, batch) {
                *open = Arc::default();
            }
            let gathered = batch.keys.lock().unwrap_or_else(PoisonError::into_inner);
            gathered.iter().cloned().collect()
        };
        let mut found = HashMap::with_capacity(keys.len());
        for keys in keys.chunks(MAX_KEYS) {
            found.extend(self.loader.load(keys).await?);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Doubles numbers, slowly; knows no odd ones, and fails from 1,000 on.
    #[derive(Default)]
    struct Doubles {
        asked: Mutex<Vec<usize>>,
    }

    impl Load for Doubles {
        type Key = u32;
        type Value = u32;

        async fn load(&self, keys: &[u32]) -> Result<HashMap<u32, u32>, Fault> {
            self.asked.lock().unwrap().push(keys.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
            if keys.contains(&1_000) {
                return Err(Fault::Unavailable);
            }
            Ok(keys.iter().filter(|key| *key % 2 == 0).map(|key| (*key, key * 2)).collect())
        }
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_asks_together() {
        let batches = Batches::new(Doubles::default());
        let ask = |key: u32| batches.load_one(key % 100);
        let found = futures_util::future::join_all((0..200).map(ask)).await;
        assert_eq!(found[4], Ok(Some(8)));
        assert_eq!(found[5], Ok(None));
        assert_eq!(found[104], Ok(Some(8)));
        assert_eq!(*batches.loader.asked.lock().unwrap(), [100]);
        assert_eq!(batches.load_one(6).await, Ok(Some(12)), "nothing is kept");
        assert_eq!(*batches.loader.asked.lock().unwrap(), [100, 1]);
    }

    #[tokio::test]
    async fn a_request_that_is_given_up_takes_no_other_with_it() {
        let batches = Batches::new(Doubles::default());
        let short = tokio::time::timeout(Duration::from_millis(5), batches.load_one(2));
        let (given_up, answered) = tokio::join!(short, batches.load_one(4));
        assert!(given_up.is_err());
        assert_eq!(answered, Ok(Some(8)));
    }

    #[tokio::test]
    async fn a_fault_reaches_everyone_who_asked() {
        let batches = Batches::new(Doubles::default());
        let (one, other) = tokio::join!(batches.load_one(1_000), batches.load_one(2));
        assert_eq!((one, other), (Err(Fault::Unavailable), Err(Fault::Unavailable)));
        assert_eq!(batches.load_one(2).await, Ok(Some(4)));
    }
}

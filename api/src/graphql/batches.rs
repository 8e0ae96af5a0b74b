//! Gathering what many resolvers ask for into one question.
//!
//! A request is resolved in rounds. In a round every resolver runs until it is done or cannot go on
//! without an answer; only then are the questions put, and the next round begins when the last of
//! the answers is there. That makes batches depend on the shape of a request only. The loader of
//! the GraphQL library waits for a timer instead, and splits batches whenever the machine is slower
//! than the timer.

use std::collections::{HashMap, HashSet};
use std::future::poll_fn;
use std::hash::Hash;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;
use tokio::sync::{Notify, OnceCell};

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

/// The rounds of one request.
#[derive(Default)]
pub(crate) struct Rounds {
    /// Whether somebody drives the resolvers; who asks outside of rounds is answered at once.
    driven: AtomicBool,
    /// Resolvers that wait until the questions are put.
    gathered: AtomicUsize,
    /// Resolvers that wait for an answer.
    asking: AtomicUsize,
    next: Notify,
}

impl Rounds {
    /// Resolves a request, round by round.
    pub(crate) async fn drive<F: Future>(&self, resolving: F) -> F::Output {
        let mut resolving = pin!(resolving);
        let alarm = Arc::new(Alarm::default());
        let waker = Waker::from(alarm.clone());
        poll_fn(|outer| {
            alarm.outer.register(outer.waker());
            alarm.rang.store(false, Ordering::SeqCst);
            self.driven.store(true, Ordering::SeqCst);
            let polled = resolving.as_mut().poll(&mut Context::from_waker(&waker));
            self.driven.store(false, Ordering::SeqCst);
            let rests = polled.is_ready() || !alarm.rang.load(Ordering::SeqCst);
            if rests && self.is_over() {
                // Rings the alarms of all who drive: the resolvers that wait are run soon. Who is
                // done rings too, as others may have waited for nothing but its answer.
                self.next.notify_waiters();
            }
            polled
        })
        .await
    }

    /// Whether nobody can go on and no answer is to come.
    fn is_over(&self) -> bool {
        self.asking.load(Ordering::SeqCst) == 0 && self.gathered.load(Ordering::SeqCst) > 0
    }

    /// Waits until every resolver did what it can.
    async fn gather(&self) {
        if self.driven.load(Ordering::SeqCst) {
            let next = self.next.notified();
            let _waits = Waits::new(&self.gathered);
            next.await;
        }
    }

    /// Asks a question of the round under way: the next one waits for its answer.
    pub(crate) async fn ask<T>(&self, question: impl Future<Output = T>) -> T {
        let _waits = Waits::new(&self.asking);
        question.await
    }
}

/// Counts a resolver for as long as it waits, also when it is given up.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Tells whether somebody can go on, and passes it on to whoever runs the request.
#[derive(Default)]
struct Alarm {
    rang: AtomicBool,
    outer: AtomicWaker,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.rang.store(true, Ordering::SeqCst);
        self.outer.wake();
    }
}

/// Gathers keys for a loader, for one request. Nothing is cached: a subscription lives longer than
/// what it once read.
pub(crate) struct Batches<L: Load> {
    loader: L,
    rounds: Arc<Rounds>,
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
    pub(crate) fn new(loader: L, rounds: Arc<Rounds>) -> Self {
        Self { loader, rounds, open: Mutex::default() }
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
        self.rounds.gather().await;
        // Whoever comes first asks for all; if it is given up, the next one asks again.
        let answer = self.rounds.ask(batch.answer.get_or_init(|| self.ask(&batch))).await;
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
    use std::task::Poll;
    use std::time::Duration;

    use futures_util::future::{Either, FutureExt as _, join, join_all, select};
    use futures_util::stream::{FuturesUnordered, StreamExt as _};

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

    fn doubles() -> (Arc<Rounds>, Batches<Doubles>) {
        let rounds = Arc::<Rounds>::default();
        (rounds.clone(), Batches::new(Doubles::default(), rounds))
    }

    #[tokio::test]
    async fn who_asks_at_the_same_time_asks_together() {
        let (rounds, batches) = doubles();
        let ask = |key: u32| batches.load_one(key % 100);
        let found = rounds.drive(join_all((0..200).map(ask))).await;
        assert_eq!(found[4], Ok(Some(8)));
        assert_eq!(found[5], Ok(None));
        assert_eq!(found[104], Ok(Some(8)));
        assert_eq!(*batches.loader.asked.lock().unwrap(), [100]);
        assert_eq!(rounds.drive(batches.load_one(6)).await, Ok(Some(12)), "nothing is kept");
        assert_eq!(*batches.loader.asked.lock().unwrap(), [100, 1]);
    }

    #[tokio::test]
    async fn who_is_answered_early_waits_for_who_is_answered_late() {
        let (rounds, batches) = doubles();
        let ask = async |key: u32| {
            let question = tokio::time::sleep(Duration::from_millis(u64::from(key)));
            rounds.ask(question).await;
            let doubled = batches.load_one(key).await.unwrap().unwrap();
            batches.load_one(doubled).await
        };
        let found = rounds.drive(join_all((0..100).step_by(2).map(ask))).await;
        assert_eq!(found[49], Ok(Some(392)));
        assert_eq!(*batches.loader.asked.lock().unwrap(), [50, 50]);
    }

    #[tokio::test]
    async fn who_asks_outside_of_rounds_is_answered() {
        let (_, batches) = doubles();
        assert_eq!(batches.load_one(6).await, Ok(Some(12)));
    }

    #[tokio::test]
    async fn who_is_given_up_takes_no_other_along() {
        let (rounds, batches) = doubles();
        let has_asked = poll_fn(|_| match batches.loader.asked.lock().unwrap().len() {
            0 => Poll::Pending,
            _ => Poll::Ready(()),
        });
        let short = async {
            let ended = select(Box::pin(batches.load_one(2)), has_asked).await;
            matches!(ended, Either::Right(_))
        };
        let (given_up, answered) = rounds.drive(join(short, batches.load_one(4))).await;
        assert!(given_up);
        assert_eq!(answered, Ok(Some(8)));
        assert_eq!(*batches.loader.asked.lock().unwrap(), [2, 2]);
    }

    /// As events of two root fields of a subscription do: each runs when it is woken, not before.
    #[tokio::test]
    async fn who_ends_lets_those_go_on_who_are_driven_apart() {
        let (rounds, batches) = doubles();
        let ends = async {
            rounds.ask(tokio::time::sleep(Duration::from_millis(20))).await;
            poll_fn(|context| {
                context.waker().wake_by_ref();
                Poll::Ready(Ok(None))
            })
            .await
        };
        let mut apart = FuturesUnordered::new();
        apart.push(rounds.drive(ends.boxed()));
        apart.push(rounds.drive(batches.load_one(2).boxed()));
        let ended = tokio::time::timeout(Duration::from_secs(10), async {
            [apart.next().await, apart.next().await]
        });
        assert_eq!(ended.await.expect("nobody waits"), [Some(Ok(None)), Some(Ok(Some(4)))]);
    }

    #[tokio::test]
    async fn a_fault_reaches_everyone_who_asked() {
        let (rounds, batches) = doubles();
        let both = rounds.drive(join_all([1_000, 2].map(|key| batches.load_one(key)))).await;
        assert_eq!(both, [Err(Fault::Unavailable), Err(Fault::Unavailable)]);
        assert_eq!(rounds.drive(batches.load_one(2)).await, Ok(Some(4)));
    }
}

//! What waits for the writer of a log: bounded, taken in one go.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use freehold_ports::{AppendError, AppendRequest, Appended};
use tokio::sync::{Notify, oneshot};

/// The most events of one batch, and the most bytes: more would make its callers wait longer than
/// sharing a commit saves.
const BATCH_EVENTS: usize = 1_000;
const BATCH_BYTES: usize = 4 << 20;

/// A request, and whom to tell.
pub(super) struct Waiting {
    pub(super) request: AppendRequest,
    pub(super) answer: oneshot::Sender<Result<Appended, AppendError>>,
}

/// Why the queue did not take a request.
pub(super) enum Rejected {
    Full,
    Closed,
}

pub(super) struct Queue {
    max_requests: usize,
    max_bytes: usize,
    state: Mutex<State>,
    not_empty: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    pub(super) fn new(max_requests: usize, max_bytes: usize) -> Self {
        Self { max_requests, max_bytes, state: Mutex::default(), not_empty: Notify::new() }
    }

    /// Adds a request, unless that would exceed a bound; an empty queue takes any.
    pub(super) fn push(&self, waiting: Waiting) -> Result<(), Rejected> {
        let bytes = waiting.request.queue_bytes();
        let mut state = self.state();
        if state.closed {
            return Err(Rejected::Closed);
        }
        let full = state.waiting.len() >= self.max_requests || state.bytes + bytes > self.max_bytes;
        if full && !state.waiting.is_empty() {
            return Err(Rejected::Full);
        }
        state.bytes += bytes;
        state.waiting.push_back(waiting);
        drop(state);
        self.not_empty.notify_one();
        Ok(())
    }

    /// What waits, oldest first, as much as one batch takes; waits if there is nothing. None when
    /// nothing is left and nothing will come.
    pub(super) async fn take(&self) -> Option<Vec<Waiting>> {
        loop {
            {
                let mut state = self.state();
                if !state.waiting.is_empty() {
                    return Some(state.take_batch());
                }
                if state.closed {
                    return None;
                }
            }
            self.not_empty.notified().await;
        }
    }

    /// Takes no more requests; what waits is still done.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.not_empty.notify_one();
    }

    /// Drops what waits; its callers learn that there is no answer.
    pub(super) fn discard(&self) {
        let mut state = self.state();
        state.bytes = 0;
        let dropped = mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_batch(&mut self) -> Vec<Waiting> {
        let (mut batch, mut events, mut bytes) = (Vec::new(), 0, 0);
        while let Some(next) = self.waiting.front() {
            events += next.request.events.len().max(1);
            bytes += next.request.queue_bytes();
            if !batch.is_empty() && (events > BATCH_EVENTS || bytes > BATCH_BYTES) {
                break;
            }
            self.bytes -= next.request.queue_bytes();
            batch.extend(self.waiting.pop_front());
        }
        batch
    }
}

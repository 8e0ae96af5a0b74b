//! What waits for the writer: bounded, taken in one go.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_ports::{
    AppendError, AppendRequest, Appended, ReadError, Snapshot, StoreFailure, StreamId,
};
use tokio::sync::oneshot;

/// One thing for the writer to do, and whom to tell.
pub(super) enum Work {
    Append {
        /// Index of the log among the store's.
        log: usize,
        request: AppendRequest,
        answer: oneshot::Sender<Result<Appended, AppendError>>,
    },
    SaveSnapshot {
        log: usize,
        stream: StreamId,
        snapshot: Snapshot,
        answer: oneshot::Sender<Result<(), ReadError>>,
    },
    ClearSnapshots {
        answer: oneshot::Sender<Result<(), ReadError>>,
    },
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { request, .. } => request.queue_bytes(),
            Self::SaveSnapshot { snapshot, .. } => 256 + snapshot.state.len(),
            Self::ClearSnapshots { .. } => 256,
        }
    }

    fn events(&self) -> usize {
        match self {
            Self::Append { request, .. } => request.events.len(),
            Self::SaveSnapshot { .. } | Self::ClearSnapshots { .. } => 1,
        }
    }

    /// Tells the caller that surely nothing was stored.
    pub(super) fn answer_unavailable(self, why: &str) {
        let source = || StoreFailure::from(why);
        // Nobody to tell: the caller went away.
        match self {
            Self::Append { answer, .. } => {
                let _ = answer.send(Err(AppendError::Unavailable { source: source() }));
            }
            Self::SaveSnapshot { answer, .. } | Self::ClearSnapshots { answer } => {
                let _ = answer.send(Err(ReadError::Unavailable { source: source() }));
            }
        }
    }
}

/// Why the queue did not take a piece of work.
pub(super) enum Rejected {
    Full,
    Closed,
}

/// What the writer finds when it looks.
pub(super) enum Taken {
    Batch(Vec<Work>),
    /// Nothing came for a while.
    Idle,
    /// Nothing is left and nothing will come.
    Closed,
}

pub(super) struct Queue {
    max_items: usize,
    max_bytes: usize,
    state: Mutex<State>,
    not_empty: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    bytes: usize,
    closed: bool,
    writer_sleeps: bool,
}

impl Queue {
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self { max_items, max_bytes, state: Mutex::default(), not_empty: Condvar::new() }
    }

    /// Adds work, unless that would exceed a bound; an empty queue takes anything.
    pub(super) fn push(&self, work: Work) -> Result<(), Rejected> {
        let bytes = work.bytes();
        let mut state = self.state();
        if state.closed {
            return Err(Rejected::Closed);
        }
        let full = state.waiting.len() >= self.max_items || state.bytes + bytes > self.max_bytes;
        if full && !state.waiting.is_empty() {
            return Err(Rejected::Full);
        }
        state.bytes += bytes;
        state.waiting.push_back(work);
        if mem::take(&mut state.writer_sleeps) {
            drop(state);
            self.not_empty.notify_one();
        }
        Ok(())
    }

    /// Takes what waits, oldest first, up to so many events and bytes; waits if there is nothing.
    pub(super) fn take(&self, max_events: usize, max_bytes: usize, patience: Duration) -> Taken {
        let mut state = self.state();
        while state.waiting.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state.writer_sleeps = true;
            let (awake, timeout) = self
                .not_empty
                .wait_timeout(state, patience)
                .unwrap_or_else(PoisonError::into_inner);
            state = awake;
            state.writer_sleeps = false;
            if timeout.timed_out() && state.waiting.is_empty() && !state.closed {
                return Taken::Idle;
            }
        }
        let (mut events, mut bytes, mut count) = (0, 0, 0);
        for work in &state.waiting {
            events += work.events();
            if count > 0 && (events > max_events || bytes + work.bytes() > max_bytes) {
                break;
            }
            bytes += work.bytes();
            count += 1;
        }
        state.bytes -= bytes;
        if count == state.waiting.len() {
            let room = VecDeque::with_capacity(count);
            return Taken::Batch(mem::replace(&mut state.waiting, room).into());
        }
        Taken::Batch(state.waiting.drain(..count).collect())
    }

    /// Takes no more work; what waits is still done.
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

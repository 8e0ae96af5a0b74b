//! What waits for the writer: bounded, taken in one go.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use freehold_ports::{
    AppendError, AppendRequest, Appended, IntakeStep, MessageId, ReadError, RefusedItem,
    RestoreBatch, RestoreError, Snapshot, StoreFailure, StreamId,
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
    Restore {
        log: usize,
        batch: RestoreBatch,
        answer: oneshot::Sender<Result<(), RestoreError>>,
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
    Advance {
        step: IntakeStep,
        answer: oneshot::Sender<Result<bool, ReadError>>,
    },
    Settle {
        message: MessageId,
        still: Vec<RefusedItem>,
        answer: oneshot::Sender<Result<u64, ReadError>>,
    },
}

impl Work {
    fn bytes(&self) -> usize {
        match self {
            Self::Append { request, .. } => request.queue_bytes(),
            Self::Restore { batch, .. } => batch.queue_bytes(),
            Self::SaveSnapshot { snapshot, .. } => 256 + snapshot.state.len(),
            Self::ClearSnapshots { .. } => 256,
            Self::Advance { step: IntakeStep { refused, .. }, .. }
            | Self::Settle { still: refused, .. } => 256 + 512 * refused.len(),
        }
    }

    fn events(&self) -> usize {
        match self {
            Self::Append { request, .. } => request.events.len(),
            Self::Restore { batch, .. } => batch.events.len(),
            Self::SaveSnapshot { .. } | Self::ClearSnapshots { .. } => 1,
            Self::Advance { step: IntakeStep { refused, .. }, .. }
            | Self::Settle { still: refused, .. } => 1 + refused.len(),
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
            Self::Restore { answer, .. } => {
                let _ = answer.send(Err(RestoreError::Unavailable { source: source() }));
            }
            Self::SaveSnapshot { answer, .. } | Self::ClearSnapshots { answer } => {
                let _ = answer.send(Err(ReadError::Unavailable { source: source() }));
            }
            Self::Advance { answer, .. } => {
                let _ = answer.send(Err(ReadError::Unavailable { source: source() }));
            }
            Self::Settle { answer, .. } => {
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
    Work,
    /// Nothing came for a while.
    Idle,
    /// Nothing is left and nothing will come.
    Closed,
}

/// How much more fits into a transaction.
pub(super) struct Room {
    pub(super) events: usize,
    pub(super) bytes: usize,
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

    /// Moves what waits to `batch`, oldest first, as far as there is room and at least one; waits
    /// if there is nothing.
    pub(super) fn take(&self, batch: &mut Vec<Work>, room: &mut Room, patience: Duration) -> Taken {
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
        state.pop(batch, room);
        state.pop_what_fits(batch, room);
        Taken::Work
    }

    /// Moves what came meanwhile to `batch`, as far as there is room; false if that is nothing.
    pub(super) fn take_more(&self, batch: &mut Vec<Work>, room: &mut Room) -> bool {
        let before = batch.len();
        self.state().pop_what_fits(batch, room);
        batch.len() > before
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

impl State {
    fn pop_what_fits(&mut self, batch: &mut Vec<Work>, room: &mut Room) {
        while let Some(work) = self.waiting.front()
            && work.events() <= room.events
            && work.bytes() <= room.bytes
        {
            self.pop(batch, room);
        }
    }

    fn pop(&mut self, batch: &mut Vec<Work>, room: &mut Room) {
        let Some(work) = self.waiting.pop_front() else { return };
        self.bytes -= work.bytes();
        room.events = room.events.saturating_sub(work.events());
        room.bytes = room.bytes.saturating_sub(work.bytes());
        batch.push(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work() -> Work {
        Work::ClearSnapshots { answer: oneshot::channel().0 }
    }

    fn taken(queue: &Queue) -> usize {
        let mut batch = Vec::new();
        let mut room = Room { events: usize::MAX, bytes: usize::MAX };
        let _ = queue.take(&mut batch, &mut room, Duration::ZERO);
        batch.len()
    }

    #[test]
    fn no_more_than_so_many_items_and_bytes_wait() {
        let bytes_of_one = work().bytes();
        for (items, bytes, fit) in
            [(3, usize::MAX, 3), (usize::MAX, 4 * bytes_of_one + 1, 4), (0, 0, 1)]
        {
            let queue = Queue::new(items, bytes);
            for _ in 0..2 {
                (0..fit).for_each(|_| assert!(queue.push(work()).is_ok()));
                assert!(matches!(queue.push(work()), Err(Rejected::Full)));
                assert_eq!(taken(&queue), fit);
            }
        }
    }
}

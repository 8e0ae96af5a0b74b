-- Counts what changes letters, or orders retries, without moving the checkpoint: a commit says from
-- which of the two it starts, so that none passes that was folded before such a change.
ALTER TABLE generation ADD COLUMN revision INTEGER NOT NULL DEFAULT 0;

-- Streams with an event that a generation could not handle. What waits behind it is in the log:
-- the stream's events after `done_through`. Times are microseconds since 1970.
CREATE TABLE dead_letter (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    stream TEXT NOT NULL,
    position INTEGER NOT NULL, -- of the event that could not be handled
    log TEXT NOT NULL,
    version INTEGER NOT NULL,
    event_id BLOB NOT NULL,
    event_type TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    error TEXT NOT NULL, -- what and where, never a value
    fault TEXT NOT NULL CHECK (fault IN ('permanent', 'panic')),
    attempts INTEGER NOT NULL,
    parked_at INTEGER NOT NULL,
    tried_at INTEGER NOT NULL,
    done_through INTEGER NOT NULL, -- a version of the stream
    waiting INTEGER NOT NULL, -- events behind the letter's own
    retry_at INTEGER, -- null: nobody ordered one
    retry_by TEXT, -- who ordered the last one
    PRIMARY KEY (projection, number, stream)
) STRICT, WITHOUT ROWID;

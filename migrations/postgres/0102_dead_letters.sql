-- Counts what changes letters, or orders retries, without moving the checkpoint: a commit says from
-- which of the two it starts, so that none passes that was folded before such a change.
ALTER TABLE generation ADD COLUMN revision bigint NOT NULL DEFAULT 0;

-- Streams with an event that a generation could not handle. What waits behind it is in the log:
-- the stream's events after `done_through`. Times are microseconds since 1970.
CREATE TABLE dead_letter (
    projection text NOT NULL,
    number bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    position bigint NOT NULL, -- of the event that could not be handled
    log text NOT NULL,
    version bigint NOT NULL,
    event_id uuid NOT NULL,
    event_type text NOT NULL,
    recorded_at bigint NOT NULL,
    error text NOT NULL, -- what and where, never a value
    fault text NOT NULL CHECK (fault IN ('permanent', 'panic')),
    attempts bigint NOT NULL,
    parked_at bigint NOT NULL,
    tried_at bigint NOT NULL,
    done_through bigint NOT NULL, -- a version of the stream
    waiting bigint NOT NULL, -- events behind the letter's own
    retry_at bigint, -- null: nobody ordered one
    retry_by text, -- who ordered the last one
    PRIMARY KEY (projection, number, stream)
);

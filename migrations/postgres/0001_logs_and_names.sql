-- Logs stand side by side. Whoever appends to a log locks its row to the end of the transaction;
-- so positions are given in commit order.
CREATE TABLE log (
    id smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    -- The number of this history of the log. Raised after a failover that may have lost commits or
    -- a restore: whoever wrote to another history is refused.
    epoch bigint NOT NULL DEFAULT 1
);

-- One row a batch; the newest is the head. A row that is updated would grow slower to find with
-- every batch for as long as any old snapshot, such as a backup's, keeps its dead versions.
CREATE TABLE log_head (
    log_id smallint NOT NULL,
    position bigint NOT NULL, -- of the last event; 0: empty
    recorded_at bigint NOT NULL, -- of the last event, microseconds since 1970
    PRIMARY KEY (log_id, position)
);

-- Event types, categories, tenants and actors: few texts, repeated in every event.
CREATE TABLE name (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    text text NOT NULL UNIQUE
);

CREATE TABLE snapshot (
    log_id smallint NOT NULL,
    stream text NOT NULL,
    version bigint NOT NULL,
    shape bigint NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (log_id, stream)
);

-- Refuses every process that has opened the log until now; returns the new epoch.
CREATE FUNCTION raise_epoch(log_name text) RETURNS bigint LANGUAGE sql AS $$
    UPDATE log SET epoch = epoch + 1 WHERE name = log_name RETURNING epoch
$$;

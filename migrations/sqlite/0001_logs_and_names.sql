-- Logs stand side by side in one file; what each of them holds is in tables of its own
-- (0002), so that every log's events are appended at the end of their table.
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    position INTEGER NOT NULL DEFAULT 0, -- of the last event; 0: empty
    recorded_at INTEGER NOT NULL DEFAULT 0 -- of the last event, microseconds since 1970
) STRICT;

-- Event types, categories, tenants and actors: few texts, repeated in every event.
CREATE TABLE name (
    id INTEGER PRIMARY KEY,
    text TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE snapshot (
    log TEXT NOT NULL,
    stream TEXT NOT NULL,
    version INTEGER NOT NULL,
    shape INTEGER NOT NULL,
    state BLOB NOT NULL,
    PRIMARY KEY (log, stream)
) STRICT;

-- Run once for each log, with its name in place of {log}.
CREATE TABLE stream_{log} (
    id INTEGER PRIMARY KEY,
    category_id INTEGER NOT NULL,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- What filters look at comes first, so that a scan need not follow a row to its overflow pages.
CREATE TABLE event_{log} (
    position INTEGER PRIMARY KEY, -- from 1, without gaps
    stream_id INTEGER NOT NULL,
    version INTEGER NOT NULL, -- from 1, without gaps
    category_id INTEGER NOT NULL,
    type_id INTEGER NOT NULL,
    schema_version INTEGER NOT NULL,
    codec INTEGER NOT NULL,
    tenant_id INTEGER NOT NULL,
    actor_id INTEGER NOT NULL,
    occurred_at INTEGER NOT NULL, -- microseconds since 1970
    recorded_at INTEGER NOT NULL, -- microseconds since 1970
    event_id BLOB NOT NULL,
    command_id BLOB NOT NULL,
    correlation_id BLOB,
    causation_id BLOB,
    subjects BLOB, -- 16 bytes each
    tags TEXT, -- one a line; as they were sent, also those given twice
    payload BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX version_{log} ON event_{log} (stream_id, version);

-- Answers that command ids got; swept after the retention of command ids.
CREATE TABLE command_{log} (
    command_id BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    version INTEGER NOT NULL,
    position INTEGER NOT NULL,
    events INTEGER NOT NULL,
    answered_at INTEGER NOT NULL -- microseconds since 1970
) STRICT, WITHOUT ROWID;

CREATE TABLE tag_{log} (
    tag TEXT NOT NULL,
    tenant_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (tag, tenant_id, position)
) STRICT, WITHOUT ROWID;

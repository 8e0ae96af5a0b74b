-- Wrapped by a master key that is never stored here.
CREATE TABLE vault (
    one smallint PRIMARY KEY CHECK (one = 1),
    check_value bytea NOT NULL -- opens with the right master key only
);

CREATE TABLE data_key (
    subject uuid PRIMARY KEY,
    wrapped bytea -- null: destroyed, for good
);

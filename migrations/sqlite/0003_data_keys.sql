-- In a file of its own, so that a backup of the log holds no key.
CREATE TABLE vault (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    check_value BLOB NOT NULL -- opens with the right master key only
) STRICT;

CREATE TABLE data_key (
    subject BLOB PRIMARY KEY,
    wrapped BLOB -- null: destroyed, for good
) STRICT, WITHOUT ROWID;

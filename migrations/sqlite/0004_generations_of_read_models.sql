-- The rows of projections live in tables `<table>_g<generation>`, made when a generation is.
-- This catalogue says which generation answers queries and how far each one is; a checkpoint
-- moves in the transaction of the rows it speaks for.
CREATE TABLE projection (
    name TEXT PRIMARY KEY,
    last_generation INTEGER NOT NULL -- a number is never used twice, also after a drop
) STRICT, WITHOUT ROWID;

CREATE TABLE generation (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    version INTEGER NOT NULL, -- of the projection that fills it
    state TEXT NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    checkpoint INTEGER NOT NULL CHECK (checkpoint >= 0), -- 0: nothing applied yet
    PRIMARY KEY (projection, number)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX one_active_generation ON generation (projection) WHERE state = 'active';

CREATE TABLE generation_table (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    declaration TEXT NOT NULL, -- JSON: columns, indexes, text, place
    PRIMARY KEY (projection, number, name)
) STRICT, WITHOUT ROWID;

-- What is still to be made before a generation may answer queries.
CREATE TABLE generation_step (
    projection TEXT NOT NULL,
    number INTEGER NOT NULL,
    step INTEGER NOT NULL,
    statement TEXT NOT NULL,
    walks TEXT, -- the table that the statement goes through in pieces
    done_through INTEGER NOT NULL DEFAULT 0, -- the last row it has seen
    PRIMARY KEY (projection, number, step)
) STRICT, WITHOUT ROWID;

-- The rows of projections live in tables `<table>_g<generation>`, made when a generation is.
-- This catalogue says which generation answers queries and how far each one is; a checkpoint
-- moves in the transaction of the rows it speaks for.
CREATE TABLE projection (
    name text PRIMARY KEY,
    last_generation bigint NOT NULL -- a number is never used twice, also after a drop
);

CREATE TABLE generation (
    projection text NOT NULL,
    number bigint NOT NULL,
    version bigint NOT NULL, -- of the projection that fills it
    state text NOT NULL CHECK (state IN ('building', 'active', 'retired')),
    checkpoint bigint NOT NULL CHECK (checkpoint >= 0), -- 0: nothing applied yet
    PRIMARY KEY (projection, number)
) WITH (fillfactor = 10); -- a checkpoint moves within its page

CREATE UNIQUE INDEX one_active_generation ON generation (projection) WHERE state = 'active';

CREATE TABLE generation_table (
    projection text NOT NULL,
    number bigint NOT NULL,
    name text NOT NULL,
    declaration text NOT NULL, -- JSON: columns, indexes, text, place
    PRIMARY KEY (projection, number, name)
);

-- What is still to be made before a generation may answer queries.
CREATE TABLE generation_step (
    projection text NOT NULL,
    number bigint NOT NULL,
    step bigint NOT NULL,
    statement text NOT NULL,
    PRIMARY KEY (projection, number, step)
);

-- Tables of generations that are gone, for as long as something still reads them: a backup reads
-- all tables from its beginning to its end.
CREATE TABLE dropped_table (
    name text PRIMARY KEY
);

-- The distance of two points along a great circle, by the haversine formula; degrees in.
CREATE FUNCTION meters_between(
    from_latitude float8, from_longitude float8, to_latitude float8, to_longitude float8
) RETURNS float8 LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 2 * 6371008.8 * asin(least(1.0, sqrt(
    sin(radians(to_latitude - from_latitude) / 2) ^ 2
    + cos(radians(from_latitude)) * cos(radians(to_latitude))
        * sin(radians(to_longitude - from_longitude) / 2) ^ 2
)));

-- What people decide about events that a projection could not handle stands in the log, in a stream
-- of the projection. Up to which version of that stream a generation is filled in obedience: one
-- that applied an event before a decision about it is not what the log says.
ALTER TABLE generation ADD COLUMN decided bigint NOT NULL DEFAULT 0;

-- Until when nobody tries the letter, because somebody decides about its event: microseconds since
-- 1970.
ALTER TABLE dead_letter ADD COLUMN held_until bigint;

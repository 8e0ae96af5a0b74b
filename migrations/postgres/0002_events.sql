-- A stream's id is the position of its first event, so no sequence numbers it, and a reader knows
-- between which positions to look for its events.
CREATE TABLE stream (
    log_id smallint NOT NULL,
    category_id integer NOT NULL,
    id bigint NOT NULL,
    version bigint NOT NULL, -- of its last event
    last_position bigint NOT NULL,
    name text COLLATE "C" NOT NULL, -- compared byte by byte, whatever the database's language
    PRIMARY KEY (log_id, id)
-- Streams that began together go on together: one batch may update every row of a page, and only
-- with room for all of them does no index get a new entry.
) WITH (fillfactor = 50);

CREATE UNIQUE INDEX stream_name ON stream (name, log_id);

CREATE TABLE event (
    position bigint NOT NULL, -- from 1, without gaps
    stream_id bigint NOT NULL,
    version bigint NOT NULL, -- from 1, without gaps
    occurred_at bigint NOT NULL, -- microseconds since 1970
    recorded_at bigint NOT NULL, -- microseconds since 1970
    category_id integer NOT NULL,
    type_id integer NOT NULL,
    tenant_id integer NOT NULL,
    actor_id integer NOT NULL,
    schema_version integer NOT NULL,
    log_id smallint NOT NULL,
    codec smallint NOT NULL,
    event_id uuid NOT NULL,
    command_id uuid NOT NULL,
    correlation_id uuid,
    causation_id uuid,
    subjects bytea, -- 16 bytes each
    tags text, -- one a line; as they were sent, also those given twice
    payload bytea NOT NULL,
    PRIMARY KEY (log_id, position)
) PARTITION BY RANGE (log_id, position);

CREATE TABLE tag (
    position bigint NOT NULL,
    tenant_id integer NOT NULL,
    log_id smallint NOT NULL,
    tag text COLLATE "C" NOT NULL,
    PRIMARY KEY (tag, tenant_id, log_id, position)
);

-- Answers that command ids got, by the time they got them; a partition is dropped when all of it
-- is older than the retention of command ids.
CREATE TABLE command (
    answered_at bigint NOT NULL, -- microseconds since 1970
    version bigint NOT NULL,
    position bigint NOT NULL,
    events integer NOT NULL,
    log_id smallint NOT NULL,
    command_id uuid NOT NULL,
    fingerprint uuid NOT NULL
) PARTITION BY RANGE (answered_at);

-- Whoever moves a log looks for the answers that no event leads to: few among many.
CREATE INDEX command_without_events ON command (log_id, command_id) WHERE events = 0;

-- What partitions there are: of `event` by log and position, of `command` by time.
CREATE TABLE partition (
    name text PRIMARY KEY,
    log_id smallint, -- null: of `command`
    lower bigint NOT NULL,
    upper bigint NOT NULL -- the first value that is not in it
);

-- Makes partitions ahead and drops command ids that are old enough; again is nothing.
--
-- Attaching a partition does not wait for those who read or write the table, nor they for it.
-- Dropping one does, and so gives up soon: those who come later wait behind it.
CREATE FUNCTION keep_partitions(
    p_log smallint,
    p_now bigint,
    p_events bigint, -- how many a partition holds; at least so many are prepared ahead, or 2,000
    p_retention bigint -- of command ids, microseconds; also the span of their partitions
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_head bigint;
    v_upper bigint;
    v_clock bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    v_part record;
BEGIN
    -- One at a time in this schema.
    PERFORM pg_advisory_xact_lock(hashtext('freehold partitions'), hashtext(current_schema()));

    SELECT position INTO v_head FROM log_head
    WHERE log_id = p_log ORDER BY position DESC LIMIT 1;
    LOOP
        SELECT coalesce(max(upper), 1) INTO v_upper FROM partition WHERE log_id = p_log;
        EXIT WHEN v_upper > v_head + greatest(p_events, 2000);
        PERFORM make_partition('event', p_log, v_upper, v_upper + p_events);
    END LOOP;

    SELECT max(upper) INTO v_upper FROM partition WHERE log_id IS NULL;
    IF v_upper IS NULL OR v_upper <= p_now + p_retention / 2 THEN
        PERFORM make_partition('command', NULL, coalesce(v_upper, 0),
            greatest(v_upper, p_now) + p_retention);
    END IF;

    PERFORM set_config('lock_timeout', '300ms', true);
    -- Only what is old by both clocks: one of them may be wrong.
    BEGIN
        FOR v_part IN
            SELECT name FROM partition
            WHERE log_id IS NULL AND upper <= least(p_now, v_clock) - p_retention
        LOOP
            EXECUTE format('DROP TABLE %I', v_part.name);
            DELETE FROM partition WHERE name = v_part.name;
        END LOOP;
    EXCEPTION WHEN lock_not_available THEN
        NULL; -- Somebody reads it, a dump maybe; what was made above must stay. Next time, then.
    END;
END
$$;

CREATE FUNCTION make_partition(p_parent text, p_log smallint, p_lower bigint, p_upper bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    v_name text := concat_ws('_', p_parent, p_log, p_lower);
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', v_name, p_parent);
    IF p_parent = 'event' THEN
        EXECUTE format('CREATE UNIQUE INDEX ON %I (stream_id, version)', v_name);
        EXECUTE format('ALTER TABLE event ATTACH PARTITION %I FOR VALUES FROM (%s, %s) TO (%s, %s)',
            v_name, p_log, p_lower, p_log, p_upper);
    ELSE
        EXECUTE format('ALTER TABLE %I ADD PRIMARY KEY (command_id, log_id)', v_name);
        -- Nothing is older than the first.
        EXECUTE format('ALTER TABLE command ATTACH PARTITION %I FOR VALUES FROM (%s) TO (%s)',
            v_name, CASE p_lower WHEN 0 THEN 'MINVALUE' ELSE p_lower::text END, p_upper);
    END IF;
    INSERT INTO partition (name, log_id, lower, upper) VALUES (v_name, p_log, p_lower, p_upper);
END
$$;

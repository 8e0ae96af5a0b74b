-- What the writer asks before it decides: where streams stand, what answers command ids got, and
-- where tags were last seen. `kind` is 1, 2 or 3, `ordinal` the place in the question.
--
-- Here and below, a LIMIT inside a subselect forces one index probe for each element: a join could
-- be turned round, and on a table that the planner believes empty it is.
CREATE FUNCTION look_up(
    p_log smallint,
    p_streams text[],
    p_commands uuid[],
    p_tag_tenants integer[],
    p_tags text[]
) RETURNS TABLE (
    kind smallint,
    ordinal bigint,
    version bigint,
    place bigint, -- of a stream its id, else a position
    events integer,
    fingerprint uuid
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
BEGIN
    RETURN QUERY
    SELECT 1::smallint, asked.n, found.version, found.id, 0, NULL::uuid
    FROM unnest(p_streams) WITH ORDINALITY AS asked (name, n)
    CROSS JOIN LATERAL (
        SELECT s.version, s.id FROM stream AS s
        WHERE s.name = asked.name AND s.log_id = p_log LIMIT 1
    ) AS found;

    RETURN QUERY
    SELECT 2::smallint, asked.n, found.version, found.position, found.events, found.fingerprint
    FROM unnest(p_commands) WITH ORDINALITY AS asked (id, n)
    CROSS JOIN LATERAL (
        SELECT c.version, c.position, c.events, c.fingerprint FROM command AS c
        WHERE c.command_id = asked.id AND c.log_id = p_log LIMIT 1
    ) AS found;

    RETURN QUERY
    SELECT 3::smallint, asked.n, 0::bigint, last.position, 0, NULL::uuid
    FROM unnest(p_tag_tenants, p_tags) WITH ORDINALITY AS asked (tenant, tag, n)
    CROSS JOIN LATERAL (
        SELECT t.position FROM tag AS t
        WHERE t.tag = asked.tag AND t.tenant_id = asked.tenant AND t.log_id = p_log
        ORDER BY t.position DESC LIMIT 1
    ) AS last;
END
$$;

-- Stores a batch that its writer has decided, if what the writer assumed is true; returns the head
-- that the batch follows. Offsets count the batch's events from 1.
--
-- The writes are the checks. SQLSTATE FH001, or a violation of `stream_name`: an assumption is
-- false, look up and decide again.
-- FH002: the log is in another epoch. Whatever is raised, nothing is stored.
CREATE FUNCTION append_events(
    p_log smallint,
    p_epoch bigint,
    p_now bigint,
    -- "No event of this tenant has that tag after that position."
    p_condition_tenants integer[], p_condition_tags text[], p_condition_after bigint[],
    p_command_ids uuid[], p_fingerprints uuid[], p_command_versions bigint[],
    p_command_offsets integer[], p_command_events integer[],
    -- Streams that have no event yet: those that get some, those that must stay without.
    p_new_names text[], p_new_categories integer[], p_new_versions bigint[],
    p_new_first integer[], p_new_last integer[],
    p_absent_names text[],
    -- Streams at the version they are believed to have: those that move on, those that stay.
    p_old_ids bigint[], p_old_from bigint[], p_old_to bigint[], p_old_last integer[],
    p_same_ids bigint[], p_same_versions bigint[],
    -- Events; the id of a new stream is minus the offset of its first event.
    p_streams bigint[], p_versions bigint[], p_occurred_at bigint[], p_categories integer[],
    p_types integer[], p_tenants integer[], p_actors integer[], p_schema_versions integer[],
    p_codecs smallint[], p_event_ids uuid[], p_event_command_ids uuid[],
    p_correlation_ids uuid[], p_causation_ids uuid[], p_subjects bytea[], p_event_tags text[],
    p_payloads bytea[],
    p_tag_offsets integer[], p_tag_tenants integer[], p_tags text[]
) RETURNS bigint LANGUAGE plpgsql
-- Chosen on empty statistics, hash joins and scans would stay in the cached plans for good.
SET plan_cache_mode = force_generic_plan
SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    v_head bigint;
    v_now bigint;
    v_rows bigint;
BEGIN
    -- Each further statement sees what was committed before this lock was granted.
    PERFORM FROM log WHERE id = p_log AND epoch = p_epoch FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE SQLSTATE 'FH002' USING MESSAGE = 'the log is in another epoch';
    END IF;
    SELECT position, greatest(recorded_at, p_now) INTO STRICT v_head, v_now FROM log_head
    WHERE log_id = p_log ORDER BY position DESC LIMIT 1;

    IF cardinality(p_condition_tags) > 0 THEN
        PERFORM FROM unnest(p_condition_tenants, p_condition_tags, p_condition_after)
            AS condition (tenant, tag, after)
        WHERE (
            SELECT true FROM tag AS t
            WHERE t.tag = condition.tag AND t.tenant_id = condition.tenant
                AND t.log_id = p_log AND t.position > condition.after LIMIT 1);
        IF FOUND THEN
            RAISE SQLSTATE 'FH001' USING MESSAGE = 'a tag has appeared';
        END IF;
    END IF;

    -- The id may be in an older partition, where the insert would not meet it.
    PERFORM FROM unnest(p_command_ids) AS asked (id)
    WHERE (
        SELECT true FROM command AS c
        WHERE c.command_id = asked.id AND c.log_id = p_log LIMIT 1);
    IF FOUND THEN
        RAISE SQLSTATE 'FH001' USING MESSAGE = 'a command id was answered before';
    END IF;
    INSERT INTO command
        (answered_at, version, position, events, log_id, command_id, fingerprint)
    SELECT v_now, c.version, v_head + c.at, c.events, p_log, c.id, c.fingerprint
    FROM unnest(p_command_ids, p_fingerprints, p_command_versions, p_command_offsets,
        p_command_events) AS c (id, fingerprint, version, at, events);

    IF cardinality(p_new_names) > 0 THEN
        -- One that has appeared violates `stream_name`; ON CONFLICT looks before it inserts, which
        -- doubles the time.
        INSERT INTO stream (log_id, category_id, id, version, last_position, name)
        SELECT p_log, s.category, v_head + s.first, s.version, v_head + s.last, s.name
        FROM unnest(p_new_names, p_new_categories, p_new_versions, p_new_first, p_new_last)
            AS s (name, category, version, first, last);
    END IF;
    IF cardinality(p_absent_names) > 0 THEN
        PERFORM FROM unnest(p_absent_names) AS absent (name)
        WHERE (
            SELECT true FROM stream AS s
            WHERE s.name = absent.name AND s.log_id = p_log LIMIT 1);
        IF FOUND THEN
            RAISE SQLSTATE 'FH001' USING MESSAGE = 'a stream has appeared';
        END IF;
    END IF;
    IF cardinality(p_old_ids) > 0 THEN
        UPDATE stream AS s SET version = found.to_version, last_position = v_head + found.last
        FROM (
            SELECT old.to_version, old.last, (
                SELECT s.ctid FROM stream AS s
                WHERE s.log_id = p_log AND s.id = old.id AND s.version = old.from_version LIMIT 1
            ) AS place
            FROM unnest(p_old_ids, p_old_from, p_old_to, p_old_last)
                AS old (id, from_version, to_version, last)
            OFFSET 0
        ) AS found
        WHERE s.ctid = found.place; -- stays where it is: who moves it needs the lock
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        IF v_rows <> cardinality(p_old_ids) THEN
            RAISE SQLSTATE 'FH001' USING MESSAGE = 'a stream has moved on';
        END IF;
    END IF;
    IF cardinality(p_same_ids) > 0 THEN
        PERFORM FROM unnest(p_same_ids, p_same_versions) AS same (id, version)
        WHERE (
            SELECT s.version FROM stream AS s
            WHERE s.log_id = p_log AND s.id = same.id LIMIT 1) IS DISTINCT FROM same.version;
        IF FOUND THEN
            RAISE SQLSTATE 'FH001' USING MESSAGE = 'a stream has moved on';
        END IF;
    END IF;

    IF cardinality(p_streams) > 0 THEN
        INSERT INTO event (
            position, stream_id, version, occurred_at, recorded_at, category_id, type_id,
            tenant_id, actor_id, schema_version, log_id, codec, event_id, command_id,
            correlation_id, causation_id, subjects, tags, payload)
        SELECT v_head + n, CASE WHEN p_streams[n] < 0 THEN v_head - p_streams[n]
            ELSE p_streams[n] END, p_versions[n], p_occurred_at[n], v_now, p_categories[n],
            p_types[n], p_tenants[n], p_actors[n], p_schema_versions[n], p_log, p_codecs[n],
            p_event_ids[n], p_event_command_ids[n], p_correlation_ids[n], p_causation_ids[n],
            p_subjects[n], p_event_tags[n], p_payloads[n]
        -- Joining sixteen `unnest` row by row takes longer.
        FROM generate_series(1, cardinality(p_streams)) AS n;
        INSERT INTO log_head (log_id, position, recorded_at)
        VALUES (p_log, v_head + cardinality(p_streams), v_now);
    END IF;
    IF cardinality(p_tags) > 0 THEN
        INSERT INTO tag (position, tenant_id, log_id, tag)
        SELECT v_head + t.at, t.tenant, p_log, t.tag
        FROM unnest(p_tag_offsets, p_tag_tenants, p_tags) AS t (at, tenant, tag);
    END IF;
    RETURN v_head;
END
$$;

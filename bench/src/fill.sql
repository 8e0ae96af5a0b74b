-- Ids that grow with time, as those of our callers do.
CREATE FUNCTION pg_temp.v7(p_number bigint, p_kind text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1750000000000 + p_number / 50), 12, '0') || '7'
        || substr(md5(p_kind || p_number), 1, 3) || '8' || substr(md5(p_kind || p_number), 4, 15)
    )::uuid
$$;

INSERT INTO name (text) SELECT text FROM unnest(
    ARRAY['bench', 'property', 'default', 'ListingPriceChanged']) AS text
ON CONFLICT DO NOTHING;

-- Events of 1,000 callers in turn, each so many to a stream, at those positions.
CREATE PROCEDURE pg_temp.fill(p_first bigint, p_last bigint, p_of_stream bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_now bigint := extract(epoch FROM clock_timestamp()) * 1000000;
    v_tenant integer := (SELECT id FROM name WHERE text = 'default');
    v_actor integer := (SELECT id FROM name WHERE text = 'bench');
    v_type integer := (SELECT id FROM name WHERE text = 'ListingPriceChanged');
    v_category integer := (SELECT id FROM name WHERE text = 'property');
BEGIN
    CREATE TEMPORARY TABLE filled ON COMMIT DROP AS
    SELECT n, n - v.version * 1000 + 1000 AS stream, v.version,
        pg_temp.v7(n, 'command') AS command_id,
        'source:bench/bench-' || lpad((n - v.version * 1000 + 1000)::text, 8, '0') AS tag
    FROM generate_series(p_first, p_last) AS n,
        LATERAL (SELECT (n - 1) / 1000 % p_of_stream + 1 AS version) AS v;

    INSERT INTO event (
        position, stream_id, version, occurred_at, recorded_at, category_id, type_id,
        tenant_id, actor_id, schema_version, log_id, codec, event_id, command_id,
        correlation_id, causation_id, subjects, tags, payload)
    SELECT n, stream, version, v_now, v_now, v_category, v_type, v_tenant, v_actor, 1, 1, 1,
        pg_temp.v7(n, 'event'), command_id, pg_temp.v7(n % 1000, 'correlation'), NULL, NULL, tag,
        convert_to(repeat('x', 300), 'UTF8')
    FROM filled ORDER BY n;
    INSERT INTO command (answered_at, version, position, events, log_id, command_id, fingerprint)
    SELECT v_now, version, n, 1, 1, command_id, pg_temp.v7(n, 'fingerprint') FROM filled ORDER BY n;
    INSERT INTO tag (position, tenant_id, log_id, tag) SELECT n, v_tenant, 1, tag FROM filled
    ORDER BY n;
    INSERT INTO stream AS s (log_id, category_id, id, version, last_position, name)
    SELECT 1, v_category, stream, max(version), max(n),
        'property-' || pg_temp.v7(stream, 'stream')
    FROM filled GROUP BY stream ORDER BY stream
    ON CONFLICT (log_id, id) DO UPDATE
    SET version = excluded.version, last_position = excluded.last_position;
    INSERT INTO log_head (log_id, position, recorded_at) VALUES (1, p_last, v_now);
END
$$;

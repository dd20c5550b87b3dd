-- Reading streams. The bodies are plain SELECTs that the planner inlines: rows come out one at a time, nothing is collected.
CREATE FUNCTION atp_internal.read_is_forward(direction text) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE COST 1 AS 'MODULE_PATHNAME', 'atp_read_is_forward';
COMMENT ON FUNCTION atp_internal.read_is_forward(text) IS
'Return true for forward, false for backward.
Raises: 22023 (anything else).';
REVOKE ALL ON FUNCTION atp_internal.read_is_forward(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.read_is_forward(text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.read_stream_key(stream text, tenant text) RETURNS bigint
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_read_stream_key';
COMMENT ON FUNCTION atp_internal.read_stream_key(text, text) IS
'Return the surrogate key of a stream, or NULL where there is none.
Opens the tenant; NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp_internal.read_stream_key(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.read_stream_key(text, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.read_stream_version(stream text, tenant text) RETURNS bigint
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_read_stream_version';
COMMENT ON FUNCTION atp_internal.read_stream_version(text, text) IS
'Return the version of a stream as this transaction sees it.
NULL where there is none.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp_internal.read_stream_version(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.read_stream_version(text, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.read_stream_min_event_id(stream text, tenant text) RETURNS uuid
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_read_stream_min_event_id';
COMMENT ON FUNCTION atp_internal.read_stream_min_event_id(text, text) IS
'Return the smallest event id of a stream as this transaction sees it.
NULL where there is none.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp_internal.read_stream_min_event_id(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.read_stream_min_event_id(text, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.read_stream_max_event_id(stream text, tenant text) RETURNS uuid
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_read_stream_max_event_id';
COMMENT ON FUNCTION atp_internal.read_stream_max_event_id(text, text) IS
'Return the largest event id of a stream as this transaction sees it.
NULL where there is none.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp_internal.read_stream_max_event_id(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.read_stream_max_event_id(text, text) TO atp_reader, atp_auditor, atp_admin;

-- One branch runs, the other is cut off by its one-time filter. Versions have no gaps, so a bound on both sides says the same
-- as LIMIT, and whatever plan is chosen reads no more than that through (stream, stream_version). The bounds on event_id
-- serve partition pruning only: each is written as an OR, because the planner takes a plain pair for a narrow range
-- worth walking through the index on event_id, reading every stream's events of that time. Backward, the bounds on
-- stream_version are computed in a SELECT of their own: arithmetic on what a SELECT returned, beside a column behind row level
-- security, does not count as leakproof, and so not as a condition of the index.
CREATE FUNCTION atp.read_stream(stream text, from_version bigint DEFAULT NULL, max_count int DEFAULT 1000,
		direction text DEFAULT 'forward', tenant text DEFAULT NULL, accept_versions jsonb DEFAULT NULL)
	RETURNS TABLE (event_id uuid, stream text, stream_version bigint, event_type text, schema_version int,
		occurred_at timestamptz, recorded_at timestamptz, payload json, metadata json, hash bytea)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
	(SELECT e.event_id, read_stream.stream, e.stream_version, e.event_type,
			CASE WHEN read_stream.accept_versions IS NULL THEN e.schema_version
				ELSE atp_internal.accepted_version(e.event_type, e.schema_version, read_stream.accept_versions, e.event_id) END,
			e.occurred_at, e.recorded_at,
			CASE WHEN read_stream.accept_versions IS NULL THEN e.payload
				ELSE atp_internal.cast_stored(e.event_type, e.schema_version, read_stream.accept_versions, e.event_id, e.payload) END,
			e.metadata, e.hash
		FROM atp_internal.event_reader e
		WHERE atp_internal.read_is_forward(read_stream.direction)
			AND e.tenant_key = (SELECT atp_internal.open_tenant(read_stream.tenant))
			AND e.stream_key = atp_internal.read_stream_key(read_stream.stream, read_stream.tenant)
			AND e.stream_version >= COALESCE(read_stream.from_version, 1)
			AND e.stream_version < COALESCE(COALESCE(read_stream.from_version, 1) + read_stream.max_count, 9223372036854775807)
			AND (e.event_id > atp_internal.read_stream_min_event_id(read_stream.stream, read_stream.tenant)
				OR e.event_id = atp_internal.read_stream_min_event_id(read_stream.stream, read_stream.tenant))
			AND (e.event_id < atp_internal.read_stream_max_event_id(read_stream.stream, read_stream.tenant)
				OR e.event_id = atp_internal.read_stream_max_event_id(read_stream.stream, read_stream.tenant))
		ORDER BY e.stream_version LIMIT read_stream.max_count)
	UNION ALL
	(SELECT e.event_id, read_stream.stream, e.stream_version, e.event_type,
			CASE WHEN read_stream.accept_versions IS NULL THEN e.schema_version
				ELSE atp_internal.accepted_version(e.event_type, e.schema_version, read_stream.accept_versions, e.event_id) END,
			e.occurred_at, e.recorded_at,
			CASE WHEN read_stream.accept_versions IS NULL THEN e.payload
				ELSE atp_internal.cast_stored(e.event_type, e.schema_version, read_stream.accept_versions, e.event_id, e.payload) END,
			e.metadata, e.hash
		FROM atp_internal.event_reader e
		WHERE NOT atp_internal.read_is_forward(read_stream.direction)
			AND e.tenant_key = (SELECT atp_internal.open_tenant(read_stream.tenant))
			AND e.stream_key = atp_internal.read_stream_key(read_stream.stream, read_stream.tenant)
			AND e.stream_version <= (SELECT LEAST(read_stream.from_version, atp_internal.read_stream_version(read_stream.stream, read_stream.tenant)))
			AND e.stream_version > (SELECT GREATEST(LEAST(read_stream.from_version,
				atp_internal.read_stream_version(read_stream.stream, read_stream.tenant)) - read_stream.max_count, 0))
			AND (e.event_id > atp_internal.read_stream_min_event_id(read_stream.stream, read_stream.tenant)
				OR e.event_id = atp_internal.read_stream_min_event_id(read_stream.stream, read_stream.tenant))
			AND (e.event_id < atp_internal.read_stream_max_event_id(read_stream.stream, read_stream.tenant)
				OR e.event_id = atp_internal.read_stream_max_event_id(read_stream.stream, read_stream.tenant))
		ORDER BY e.stream_version DESC LIMIT read_stream.max_count);
END;
COMMENT ON FUNCTION atp.read_stream(text, bigint, int, text, text, jsonb) IS
'Read the events of a stream in the order of their versions.
from_version is the first version to return, in either direction; NULL means the first event forward, the last event backward. max_count NULL means all. direction is forward or backward. tenant NULL means that of the setting atp.tenant. A stream that does not exist has no rows. Documents come as they are stored: canonical JSON text, NULL once erased.
accept_versions negotiates: {"OrderPlaced": 2, "OrderShipped": [1, 2], "OrderPaid": "active"}, or "active" for all types. An event of another version comes in the highest accepted one that upcasters or downcasters lead to and that is served; schema_version says which, and hash remains that of the stored form. Types that are not named, and all where it is NULL, come as stored.
Raises: 22023 (unknown direction, malformed accept_versions), TP202 (no such tenant), TP227 (an upcaster failed), TP228 (no accepted version can be had).';
REVOKE ALL ON FUNCTION atp.read_stream(text, bigint, int, text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.read_stream(text, bigint, int, text, text, jsonb) TO atp_reader, atp_auditor, atp_admin;

CREATE TYPE atp.stored_event AS (
	event_id uuid,
	tenant text,
	stream text,
	stream_version bigint,
	event_type text,
	schema_version int,
	occurred_at timestamptz,
	recorded_at timestamptz,
	payload json,
	metadata json,
	hash bytea
);
COMMENT ON TYPE atp.stored_event IS 'An event as it is stored: documents are canonical JSON text.';
COMMENT ON COLUMN atp.stored_event.event_id IS 'ULID held as uuid; see atp.ulid_from_uuid.';
COMMENT ON COLUMN atp.stored_event.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.stored_event.stream IS 'Name of the stream: {AggregateType}-{AggregateId}.';
COMMENT ON COLUMN atp.stored_event.stream_version IS 'Place in the stream, from 1.';
COMMENT ON COLUMN atp.stored_event.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.stored_event.schema_version IS 'Version of the schema that the payload was validated against; 0: none.';
COMMENT ON COLUMN atp.stored_event.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp.stored_event.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp.stored_event.payload IS 'What happened; NULL once erased.';
COMMENT ON COLUMN atp.stored_event.metadata IS 'Actor, correlation, causation, trace; NULL once erased.';
COMMENT ON COLUMN atp.stored_event.hash IS 'Chain link, SHA-256 over the record of the event.';

-- One row by key: plpgsql, which keeps the plan. Planned at each call, twelve leaves cost milliseconds.
CREATE FUNCTION atp.get_event(event_id uuid, tenant text DEFAULT NULL) RETURNS atp.stored_event
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(get_event.tenant);
	found_event atp.stored_event;
BEGIN
	SELECT e.event_id, t.name, s.name, e.stream_version, e.event_type, e.schema_version, e.occurred_at, e.recorded_at,
			e.payload, e.metadata, e.hash
		INTO found_event
		FROM atp_internal.event_reader e
			LEFT JOIN atp_internal.tenant t ON t.tenant = e.tenant_key
			LEFT JOIN atp_internal.stream s ON s.stream = e.stream_key AND s.tenant = e.tenant_key
		WHERE e.event_id = get_event.event_id AND e.tenant_key = opened;
	RETURN found_event;
END $$;
COMMENT ON FUNCTION atp.get_event(uuid, text) IS
'Return one event by its id; NULL where there is none.
tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_event(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_event(uuid, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.get_stream(stream text, tenant text DEFAULT NULL) RETURNS atp.streams
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(get_stream.tenant);
	head atp.streams;
BEGIN
	SELECT s.tenant, s.stream, s.category, s.version, s.created_at, s.last_recorded_at, s.hash, s.state
		INTO head
		FROM atp_internal.stream_reader s
		WHERE s.stream = get_stream.stream AND s.tenant_key = opened;
	RETURN head;
END $$;
COMMENT ON FUNCTION atp.get_stream(text, text) IS
'Return the head of a stream; NULL where there is none.
version is that of the last event, hash its chain link; state is open, sealed or archived. tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_stream(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_stream(text, text) TO atp_reader, atp_auditor, atp_admin;

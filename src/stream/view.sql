-- Views over events and streams: names instead of surrogate keys. They come before the writing part, which hangs its
-- INSTEAD OF trigger on atp.events. Two kinds:
--   * atp_internal.event_reader and stream_reader, for the bodies of functions: every tenant that row level security lets
--     through, with its key, and documents as stored (json). Roles that read hold SELECT, but cannot name them (no USAGE).
--   * atp.events and atp.streams, for people: the current tenant, documents as jsonb.
-- Names are looked up by LEFT JOIN over unique keys, which the planner drops where the query does not ask for the name.
CREATE VIEW atp_internal.event_reader AS
	SELECT e.event_id, e.tenant AS tenant_key, e.stream AS stream_key, e.stream_version, y.name AS event_type,
		e.schema_version, e.occurred_at, e.recorded_at, e.payload, e.metadata, e.hash
	FROM atp_internal.event e
		LEFT JOIN atp_internal.event_type y ON y.event_type = e.event_type;
COMMENT ON VIEW atp_internal.event_reader IS 'Events with the names of their types, documents as stored; for the bodies of functions.';
COMMENT ON COLUMN atp_internal.event_reader.event_id IS 'ULID held as uuid.';
COMMENT ON COLUMN atp_internal.event_reader.tenant_key IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.event_reader.stream_key IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.event_reader.stream_version IS 'Place in the stream, from 1.';
COMMENT ON COLUMN atp_internal.event_reader.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp_internal.event_reader.schema_version IS 'Version of the schema that the payload was validated against; 0: none.';
COMMENT ON COLUMN atp_internal.event_reader.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp_internal.event_reader.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp_internal.event_reader.payload IS 'Canonical JSON text of the payload; NULL once erased.';
COMMENT ON COLUMN atp_internal.event_reader.metadata IS 'Canonical JSON text of the metadata; NULL once erased.';
COMMENT ON COLUMN atp_internal.event_reader.hash IS 'Chain link, SHA-256.';
GRANT SELECT ON atp_internal.event_reader TO atp_reader, atp_auditor, atp_admin;

CREATE VIEW atp_internal.stream_reader AS
	SELECT s.stream AS stream_key, s.tenant AS tenant_key, t.name AS tenant, s.name AS stream,
		pg_catalog.split_part(s.name, '-', 1) AS category,
		atp_internal.pending_version(s.stream, s.version) AS version, s.created_at,
		atp_internal.pending_recorded_at(s.stream, s.last_recorded_at) AS last_recorded_at,
		atp_internal.pending_hash(s.stream, s.hash) AS hash,
		CASE s.state WHEN 'o' THEN 'open' WHEN 's' THEN 'sealed' WHEN 'a' THEN 'archived' END AS state,
		atp_internal.pending_min_event_id(s.stream, s.min_event_id) AS min_event_id,
		atp_internal.pending_max_event_id(s.stream, s.max_event_id) AS max_event_id
	FROM atp_internal.stream s
		LEFT JOIN atp_internal.tenant t ON t.tenant = s.tenant;
COMMENT ON VIEW atp_internal.stream_reader IS 'Streams as the transaction sees them, its own appends included; for the bodies of functions.';
COMMENT ON COLUMN atp_internal.stream_reader.stream_key IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.stream_reader.tenant_key IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.stream_reader.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp_internal.stream_reader.stream IS 'Name of the stream.';
COMMENT ON COLUMN atp_internal.stream_reader.category IS 'The part of the name before the first hyphen.';
COMMENT ON COLUMN atp_internal.stream_reader.version IS 'Version of the last event.';
COMMENT ON COLUMN atp_internal.stream_reader.created_at IS 'When the first event was written.';
COMMENT ON COLUMN atp_internal.stream_reader.last_recorded_at IS 'When the last event was written.';
COMMENT ON COLUMN atp_internal.stream_reader.hash IS 'Chain link of the last event.';
COMMENT ON COLUMN atp_internal.stream_reader.state IS 'open, sealed or archived.';
COMMENT ON COLUMN atp_internal.stream_reader.min_event_id IS 'Smallest event id in the stream.';
COMMENT ON COLUMN atp_internal.stream_reader.max_event_id IS 'Largest event id in the stream.';
GRANT SELECT ON atp_internal.stream_reader TO atp_reader, atp_auditor, atp_admin;


-- previous_hash: the version before is computed beside the look-up, because arithmetic in a condition behind row level security would
-- keep it from the index, and each row would read its whole stream.
CREATE VIEW atp.events AS
	SELECT e.event_id, t.name AS tenant, s.name AS stream, e.stream_version, e.event_type, e.schema_version, e.occurred_at,
		e.recorded_at, e.payload::jsonb AS payload, e.metadata::jsonb AS metadata, e.hash,
		CASE WHEN e.stream_version = 1 THEN '\x0000000000000000000000000000000000000000000000000000000000000000'::bytea ELSE
			(SELECT p.hash FROM (SELECT e.stream_version - 1 AS version OFFSET 0) v
				JOIN atp_internal.event p ON p.stream_version = v.version
				WHERE p.stream = e.stream_key AND p.tenant = e.tenant_key) END AS previous_hash,
		NULL::text AS idempotency_key
	FROM atp_internal.event_reader e
		LEFT JOIN atp_internal.tenant t ON t.tenant = e.tenant_key
		LEFT JOIN atp_internal.stream s ON s.stream = e.stream_key AND s.tenant = e.tenant_key
	WHERE e.tenant_key = atp_internal.current_tenant();
COMMENT ON VIEW atp.events IS
'List the events of the current tenant; takes INSERT and COPY FROM as appends.
The tenant is that of the setting atp.tenant. Rows have no order of their own; conditions on event_id skip partitions, one on stream uses its index.';
COMMENT ON COLUMN atp.events.event_id IS 'ULID held as uuid; see atp.ulid_from_uuid.';
COMMENT ON COLUMN atp.events.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.events.stream IS 'Name of the stream: {AggregateType}-{AggregateId}.';
COMMENT ON COLUMN atp.events.stream_version IS 'Place in the stream: 1, 2, 3, ... without gaps. On INSERT: the expected version plus one, or NULL for any.';
COMMENT ON COLUMN atp.events.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.events.schema_version IS 'Version of the schema that the payload was validated against; 0: none. On INSERT: the version to validate against, or NULL for the active one.';
COMMENT ON COLUMN atp.events.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp.events.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp.events.payload IS 'What happened, a JSON object; NULL once erased. Cast from the stored text: costs only where it is named.';
COMMENT ON COLUMN atp.events.metadata IS 'Actor, correlation, causation, trace; NULL once erased.';
COMMENT ON COLUMN atp.events.hash IS 'Chain link, SHA-256 over the record of the event.';
COMMENT ON COLUMN atp.events.previous_hash IS 'Chain link of the version before; 32 zero bytes for version 1, NULL where that event is missing.';
COMMENT ON COLUMN atp.events.idempotency_key IS 'Accepted by INSERT and COPY; always NULL on reading.';
GRANT SELECT ON atp.events TO atp_reader, atp_auditor, atp_admin;
GRANT INSERT ON atp.events TO atp_writer, atp_admin;

-- Record flag bit 1; the mode record of an event type sets it.
CREATE VIEW atp.schema_violations AS
	SELECT e.event_id, t.name AS tenant, s.name AS stream, e.stream_version, y.name AS event_type, e.schema_version, e.recorded_at
	FROM atp_internal.event e
		LEFT JOIN atp_internal.event_type y ON y.event_type = e.event_type
		LEFT JOIN atp_internal.tenant t ON t.tenant = e.tenant
		LEFT JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant
	WHERE e.tenant = atp_internal.current_tenant() AND e.flags::int & 2 <> 0;
COMMENT ON VIEW atp.schema_violations IS
'List the events of the current tenant that were stored though their payload violates their schema.
That happens under the validation mode record; the mark is part of the hashed record. atp.validate_payload(event_type, payload, schema_version) says what is wrong. Conditions on event_id skip partitions.';
COMMENT ON COLUMN atp.schema_violations.event_id IS 'ULID held as uuid.';
COMMENT ON COLUMN atp.schema_violations.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.schema_violations.stream IS 'Name of the stream.';
COMMENT ON COLUMN atp.schema_violations.stream_version IS 'Place in the stream, from 1.';
COMMENT ON COLUMN atp.schema_violations.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.schema_violations.schema_version IS 'Version of the schema that the payload violates.';
COMMENT ON COLUMN atp.schema_violations.recorded_at IS 'When the event was written.';
GRANT SELECT ON atp.schema_violations TO atp_reader, atp_auditor, atp_admin;

CREATE VIEW atp.streams AS
	SELECT s.tenant, s.stream, s.category, s.version, s.created_at, s.last_recorded_at, s.hash, s.state
	FROM atp_internal.stream_reader s
	WHERE s.tenant_key = atp_internal.current_tenant();
COMMENT ON VIEW atp.streams IS 'List the streams of the current tenant, as this transaction sees them.';
COMMENT ON COLUMN atp.streams.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.streams.stream IS 'Name of the stream: {AggregateType}-{AggregateId}.';
COMMENT ON COLUMN atp.streams.category IS 'AggregateType: the part of the name before the first hyphen.';
COMMENT ON COLUMN atp.streams.version IS 'Version of the last event, which is the number of events.';
COMMENT ON COLUMN atp.streams.created_at IS 'When the first event was written.';
COMMENT ON COLUMN atp.streams.last_recorded_at IS 'When the last event was written.';
COMMENT ON COLUMN atp.streams.hash IS 'Chain link of the last event.';
COMMENT ON COLUMN atp.streams.state IS 'open, sealed or archived.';
GRANT SELECT ON atp.streams TO atp_reader, atp_auditor, atp_admin;

-- Reading the log.
CREATE TYPE atp_internal.logged_event AS (
	log_position bigint,
	published_at timestamptz,
	event_id uuid,
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
COMMENT ON TYPE atp_internal.logged_event IS 'An event in the log, as atp.read_log returns it.';
COMMENT ON COLUMN atp_internal.logged_event.log_position IS '1, 2, 3, ... over all tenants.';
COMMENT ON COLUMN atp_internal.logged_event.published_at IS 'When the event was placed.';
COMMENT ON COLUMN atp_internal.logged_event.event_id IS 'ULID held as uuid.';
COMMENT ON COLUMN atp_internal.logged_event.stream IS 'Name of the stream.';
COMMENT ON COLUMN atp_internal.logged_event.stream_version IS 'Place in the stream, from 1.';
COMMENT ON COLUMN atp_internal.logged_event.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp_internal.logged_event.schema_version IS 'Version of the schema that the payload was validated against; 0: none.';
COMMENT ON COLUMN atp_internal.logged_event.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp_internal.logged_event.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp_internal.logged_event.payload IS 'Canonical JSON text; NULL once erased.';
COMMENT ON COLUMN atp_internal.logged_event.metadata IS 'Canonical JSON text; NULL once erased.';
COMMENT ON COLUMN atp_internal.logged_event.hash IS 'Chain link, SHA-256.';

CREATE FUNCTION atp_internal.log_rows(after_position bigint, tenant int) RETURNS SETOF atp_internal.logged_event
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 1000 AS 'MODULE_PATHNAME', 'atp_readlog_rows';
COMMENT ON FUNCTION atp_internal.log_rows(bigint, int) IS
'Return the events of a tenant after a position, in log order, one at a time.
To be called in a target list: in FROM the executor would collect them all first.';
REVOKE ALL ON FUNCTION atp_internal.log_rows(bigint, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.log_rows(bigint, int) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.read_log(after_position bigint DEFAULT 0, max_count int DEFAULT 1000, tenant text DEFAULT NULL)
	RETURNS TABLE (log_position bigint, published_at timestamptz, event_id uuid, stream text, stream_version bigint, event_type text,
		schema_version int, occurred_at timestamptz, recorded_at timestamptz, payload json, metadata json, hash bytea)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
	SELECT (l.r).log_position, (l.r).published_at, (l.r).event_id, (l.r).stream, (l.r).stream_version, (l.r).event_type,
		(l.r).schema_version, (l.r).occurred_at, (l.r).recorded_at, (l.r).payload, (l.r).metadata, (l.r).hash
	FROM (SELECT atp_internal.log_rows(COALESCE(read_log.after_position, 0), (SELECT atp_internal.open_tenant(read_log.tenant))) AS r
			WHERE (SELECT atp_internal.sequencer_attend()) >= 0
			LIMIT read_log.max_count) l;
END;
COMMENT ON FUNCTION atp.read_log(bigint, int, text) IS
'Read the events of a tenant in log order.
Returns events after after_position (NULL or 0: from the beginning), at most max_count (NULL: all). To go on, pass the last log_position that was returned. Positions count the events of all tenants, so those of one tenant rise but have gaps. An event is returned once it is placed; see wait_for_event. tenant NULL means that of the setting atp.tenant. Documents come as they are stored: canonical JSON text, NULL once erased.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.read_log(bigint, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.read_log(bigint, int, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.wait_for_event(event_id uuid, timeout interval DEFAULT '5 seconds', tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_readlog_wait_for_event';
COMMENT ON FUNCTION atp.wait_for_event(uuid, interval, text) IS
'Wait until an event has its place in the log, and return its position.
What is built from the log by triggers shows the event from then on, on a standby too. Returns NULL when the time is over (a NULL timeout does not wait), or where event_id is NULL. Call it after the transaction that appended the event has committed. tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant), 25001 (not READ COMMITTED), 55000 (the event is this transaction''s own).';
REVOKE ALL ON FUNCTION atp.wait_for_event(uuid, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.wait_for_event(uuid, interval, text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- For views and the bodies of functions; see src/stream/view.sql.
CREATE VIEW atp_internal.log_reader AS
	SELECT l.log_position, l.published_at, l.event_id, l.tenant AS tenant_key
	FROM atp_internal.log l;
COMMENT ON VIEW atp_internal.log_reader IS 'The log with its keys; for the bodies of functions.';
COMMENT ON COLUMN atp_internal.log_reader.log_position IS '1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.log_reader.published_at IS 'When the event was placed.';
COMMENT ON COLUMN atp_internal.log_reader.event_id IS 'The event at this position.';
COMMENT ON COLUMN atp_internal.log_reader.tenant_key IS 'Surrogate key of the tenant.';
GRANT SELECT ON atp_internal.log_reader TO atp_reader, atp_auditor, atp_admin;

CREATE VIEW atp.outbox AS
	SELECT e.event_id, l.log_position IS NOT NULL AS published, l.published_at,
		CASE WHEN l.log_position IS NULL THEN 0 ELSE 1 END AS attempts
	FROM atp_internal.event_reader e
		LEFT JOIN atp_internal.log_reader l ON l.event_id = e.event_id AND l.tenant_key = e.tenant_key
	WHERE e.tenant_key = atp_internal.current_tenant();
COMMENT ON VIEW atp.outbox IS
'Show which events of the current tenant are published, that is, have their place in the log.
No table is behind it: writing an event is all that publishing takes. Deliveries to each consumer are counted by its subscription.';
COMMENT ON COLUMN atp.outbox.event_id IS 'ULID held as uuid.';
COMMENT ON COLUMN atp.outbox.published IS 'True once the event has its place in the log.';
COMMENT ON COLUMN atp.outbox.published_at IS 'When it got it; NULL: not yet.';
COMMENT ON COLUMN atp.outbox.attempts IS 'Publications: 1 once published. A publication cannot half fail, so there never is a second one.';
GRANT SELECT ON atp.outbox TO atp_reader, atp_auditor, atp_admin;

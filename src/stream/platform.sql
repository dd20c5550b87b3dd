-- The platform's own events: types that the catalogue marks builtin, appended by atp's functions only.
CREATE FUNCTION atp_internal.emit_event(tenant int, stream text, event_type text, payload jsonb) RETURNS uuid
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_platform_emit_event';
COMMENT ON FUNCTION atp_internal.emit_event(int, text, text, jsonb) IS
'Append an event of the platform to a stream of a tenant and return its id.
In the caller''s transaction, chained like any other event, also for a suspended tenant; what is recorded of a deleted one, its exports and faults, goes into the log of the tenant default. event_type is one of the catalogue''s builtin types. For the bodies of functions.
Raises: 22023 (the type is not builtin), TP202 (no such tenant), TP203 (it is deleted), TP106 (the stream is sealed).';
REVOKE ALL ON FUNCTION atp_internal.emit_event(int, text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.event_time(at timestamptz) RETURNS text
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
COMMENT ON FUNCTION atp_internal.event_time(timestamptz) IS
'Write a time as the payloads of platform events carry it.
RFC 3339 in UTC with microseconds: 2026-01-31T12:00:00.000000Z.';
REVOKE ALL ON FUNCTION atp_internal.event_time(timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.current_actor() RETURNS text
	LANGUAGE sql STABLE PARALLEL RESTRICTED
	RETURN COALESCE(NULLIF(pg_catalog.current_setting('atp.actor', true), ''), SESSION_USER::text);
COMMENT ON FUNCTION atp_internal.current_actor() IS 'Return who acts: the setting atp.actor, or the user of the session.';
REVOKE ALL ON FUNCTION atp_internal.current_actor() FROM PUBLIC;

-- atp--1.0.sql: assembled from src/**/*.sql by `make sql`; edit the parts, not this file.
\echo Use "CREATE EXTENSION atp" to load this file. \quit

-- ==== src/pg/house.sql ====
-- The house: the internal schema and the roles. Everything else is made inside these.
CREATE SCHEMA atp_internal;
COMMENT ON SCHEMA atp IS 'Audit-trail platform: the functions and views that applications call.';
COMMENT ON SCHEMA atp_internal IS 'Tables and helpers of atp; no role has USAGE, the functions in schema atp are the way in.';

DO $$
DECLARE
	role_name text;
BEGIN
	FOREACH role_name IN ARRAY ARRAY['atp_owner', 'atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
		END IF;
	END LOOP;
	IF EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid WHERE r.rolname = 'atp_owner') THEN
		RAISE WARNING 'role atp_owner has members, who can alter the event store'
			USING HINT = 'Revoke the memberships: nobody needs to be atp_owner.';
	END IF;
END $$;

GRANT USAGE ON SCHEMA atp TO PUBLIC;

-- ==== src/pg/errors.sql ====
-- The SQLSTATEs of class TP, from src/errors.txt (the rows follow this part in the install script).
CREATE TABLE atp_internal.error_code (
	sqlstate text CONSTRAINT error_code_pk PRIMARY KEY,
	condition_name text NOT NULL CONSTRAINT error_code_condition_name_unique UNIQUE,
	meaning text NOT NULL
);
COMMENT ON TABLE atp_internal.error_code IS 'SQLSTATEs of class TP; the install script fills it, nothing changes it.';
COMMENT ON COLUMN atp_internal.error_code.sqlstate IS 'Five characters, class TP.';
COMMENT ON COLUMN atp_internal.error_code.condition_name IS 'Name of the condition, as in src/errors.txt.';
COMMENT ON COLUMN atp_internal.error_code.meaning IS 'What happened and what the caller can do.';

CREATE VIEW atp.error_code AS
	SELECT sqlstate, condition_name, meaning FROM atp_internal.error_code;
COMMENT ON VIEW atp.error_code IS 'List every SQLSTATE that atp raises of its own.';
COMMENT ON COLUMN atp.error_code.sqlstate IS 'Five characters, class TP: TP1 stream, TP2 record and schema, TP3 delivery, TP4 compliance, TP5 evidence and keys.';
COMMENT ON COLUMN atp.error_code.condition_name IS 'Name of the condition.';
COMMENT ON COLUMN atp.error_code.meaning IS 'What happened and what the caller can do.';
GRANT SELECT ON atp.error_code TO PUBLIC;

INSERT INTO atp_internal.error_code (sqlstate, condition_name, meaning) VALUES
	('TP101', 'version_conflict', 'The stream is not at the expected version; DETAIL gives the actual one. Read it again and retry.'),
	('TP102', 'stream_exists', 'The stream exists although expected_version 0 demands that it must not.'),
	('TP103', 'stream_not_found', 'The stream does not exist although expected_version demands it, or a function needs it.'),
	('TP104', 'idempotency_conflict', 'The idempotency key or event id was used before for different content.'),
	('TP105', 'event_id_outside_window', 'The caller''s event id carries a time outside the window around the server''s clock.'),
	('TP106', 'stream_sealed', 'The stream is sealed and takes no more events.'),
	('TP107', 'event_immutable', 'Stored events are append-only: UPDATE, DELETE, TRUNCATE and the like are refused.'),
	('TP108', 'object_guarded', 'The object belongs to the event store and may not be altered or dropped.'),
	('TP109', 'events_exist', 'DROP EXTENSION is refused while there are events; see atp.allow_drop.'),
	('TP110', 'resequence_needed', 'The log belongs to another cluster or an older snapshot; run atp.resequence().'),
	('TP111', 'event_not_found', 'No event has this id.'),
	('TP201', 'invalid_name', 'A stream, event type or tenant name is malformed.'),
	('TP202', 'tenant_not_found', 'No tenant has this name.'),
	('TP203', 'tenant_suspended', 'The tenant is suspended or deleted and takes no events.'),
	('TP204', 'payload_too_large', 'The payload is larger than atp.payload_max_size.'),
	('TP205', 'invalid_payload', 'The payload is not a JSON object, or nests too deeply.'),
	('TP206', 'invalid_metadata', 'The metadata is not a JSON object, or has a key or value that is not allowed.'),
	('TP207', 'event_type_not_registered', 'The event type is unknown and atp.event_type_policy is registered.'),
	('TP208', 'invalid_json', 'The text is not JSON, or has no canonical form in the profile asked for.'),
	('TP209', 'invalid_ulid', 'The text is not a ULID, or no further one fits the millisecond.'),
	('TP210', 'invalid_cloudevent', 'The document is not a CloudEvents 1.0 event in JSON format.'),
	('TP211', 'tenant_exists', 'A tenant of this name exists.'),
	('TP212', 'library_mismatch', 'The loaded library and the installed SQL are of different versions.'),
	('TP213', 'invalid_schema', 'The document is not a JSON Schema, or uses what is not supported.'),
	('TP214', 'pattern_limit', 'A regular expression went over its match limit.'),
	('TP215', 'schema_document_not_found', 'A reference names a schema document that is not in the registry.'),
	('TP501', 'invalid_proof', 'A proof, tree size, index or hash is malformed.'),
	('TP502', 'invalid_note', 'The text is not a signed note, a checkpoint or a verifier key.'),
	('TP503', 'invalid_key', 'A key is malformed or unusable.');

-- ==== src/pg/canonical.sql ====
-- Canonical JSON: the bytes that are hashed and stored.
CREATE FUNCTION atp.canonical_json(document jsonb) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_canonical_json';
COMMENT ON FUNCTION atp.canonical_json(jsonb) IS
'Write a document as canonical JSON with its numbers exact.
RFC 8785 (keys by UTF-16 code units, its escapes, no white space), but a number is laid out from its exact decimal digits with
trailing zeros stripped, never through a double: 1.10 and 1.1 are equal, and nothing that jsonb holds is lost. These are the bytes that
events are stored and hashed as. The database must be in UTF8.
Raises: 0A000.';

CREATE FUNCTION atp.canonical_json(document jsonb, profile text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_canonical_json';
COMMENT ON FUNCTION atp.canonical_json(jsonb, text) IS
'Write a document as canonical JSON in a named profile.
Profile "exact" is that of canonical_json(document). Profile "rfc8785" is RFC 8785 to the letter: every number becomes the IEEE double
nearest to it, written with the fewest digits that give the same double; what rounds to zero is 0, what rounds to infinity is refused.
Raises: TP208, 22023, 0A000.';

CREATE FUNCTION atp.canonical_json_text(document text, profile text DEFAULT 'exact') RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_canonical_json_text';
COMMENT ON FUNCTION atp.canonical_json_text(text, text) IS
'Write JSON text as canonical JSON, refusing what is doubtful.
Goes through the strict parser that the verifier uses instead of through jsonb, and so refuses a repeated key, a lone surrogate,
\u0000 and nesting over 10,000; the detail names the byte, from 0. Profiles as in canonical_json(document, profile).
Raises: TP208, 22023, 0A000.';

-- ==== src/pg/eventid.sql ====
-- Event ids: ULIDs, held as uuid inside and shown as text in documents that leave the database.
CREATE FUNCTION atp.create_event_id() RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'atp_eventid_create_event_id';
COMMENT ON FUNCTION atp.create_event_id() IS
'Create an id for an event: a ULID as uuid.
48 bits of milliseconds since 1970, 80 random bits. Every id orders after all that the same session has made: within a millisecond, or
after the clock stepped back, it is the last one plus one.';

CREATE FUNCTION atp.ulid() RETURNS text
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid';
COMMENT ON FUNCTION atp.ulid() IS
'Create a ULID in its text form.
26 characters of Crockford''s base 32 in upper case, from the same generator as create_event_id().';

CREATE FUNCTION atp.ulid_next(previous text, at timestamptz) RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_next';
COMMENT ON FUNCTION atp.ulid_next(text, timestamptz) IS
'Give what a monotonic generator makes after a ULID when the clock says a time.
At a later millisecond than that of the previous one: 80 fresh random bits. At the same or an earlier one: the previous one plus one, and
NULL if its 80 bits are used up.
Raises: TP209, 22008 (a time beyond 10889).';

CREATE FUNCTION atp.ulid_is_valid(ulid text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_is_valid';
COMMENT ON FUNCTION atp.ulid_is_valid(text) IS
'Tell whether a text is a ULID.
26 characters of Crockford''s base 32 in either case, without I, L, O and U, the first at most 7; nothing around them.';

CREATE FUNCTION atp.ulid_to_uuid(ulid text) RETURNS uuid
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_to_uuid';
COMMENT ON FUNCTION atp.ulid_to_uuid(text) IS
'Convert a ULID from text to the same 128 bits as uuid.
Both order alike, but for text under a collation other than C.
Raises: TP209.';

CREATE FUNCTION atp.ulid_from_uuid(id uuid) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_from_uuid';
COMMENT ON FUNCTION atp.ulid_from_uuid(uuid) IS
'Convert the 128 bits of a uuid to the text form of a ULID.
Upper case. Every uuid has one, whatever it was made as.';

CREATE FUNCTION atp.ulid_time(ulid text) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_time';
COMMENT ON FUNCTION atp.ulid_time(text) IS
'Give the time in a ULID, to the millisecond.
Raises: TP209.';

-- ==== src/pg/trace.sql ====
-- W3C Trace Context: the two headers by which events join a distributed trace.
CREATE FUNCTION atp.traceparent_parse(traceparent text) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_trace_traceparent_parse';
COMMENT ON FUNCTION atp.traceparent_parse(text) IS
'Parse a W3C traceparent header.
Returns {version, trace_id, parent_id, flags}, all lower-case hexadecimal, or NULL where the value is not valid. White space around it is
dropped. A version after 00 may go on after another dash, which is not looked at; version ff is not valid.';

CREATE FUNCTION atp.tracestate_parse(tracestate text) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_trace_tracestate_parse';
COMMENT ON FUNCTION atp.tracestate_parse(text) IS
'Parse a W3C tracestate header.
Returns [[key, value], ...] in the order of the header, or NULL where it is not valid: a member malformed, or more than 32. Empty members
and white space around members are dropped; a key that comes twice is returned twice. Level 2 of the recommendation, which takes all
that level 1 does. Several headers of one request are joined with commas first.';

-- ==== src/roof/init.sql ====
-- The roof: ownership of everything goes to atp_owner, which nobody can be.

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

CREATE TYPE atp.finding AS (check_name text, level text, finding text, remedy text);
COMMENT ON TYPE atp.finding IS 'What a check of atp.doctor() found; see src/tooling/doctor.sql for how a room adds a check.';
COMMENT ON COLUMN atp.finding.check_name IS 'Name of the check.';
COMMENT ON COLUMN atp.finding.level IS 'error, warning, note or ok.';
COMMENT ON COLUMN atp.finding.finding IS 'What is the case.';
COMMENT ON COLUMN atp.finding.remedy IS 'What to do about it; NULL where nothing is to be done.';

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
	('TP101', 'version_conflict', 'The stream is not at the expected version (or exists, or does not); DETAIL gives the actual one.'),
	('TP103', 'stream_not_found', 'No stream has this name, and the function needs one.'),
	('TP104', 'idempotency_conflict', 'The idempotency key or event id was used before for different content.'),
	('TP105', 'event_id_outside_window', 'The caller''s event id carries a time outside the window around the server''s clock.'),
	('TP106', 'stream_sealed', 'The stream is sealed and takes no more events.'),
	('TP107', 'event_immutable', 'Stored events are append-only: UPDATE, DELETE, TRUNCATE and the like are refused.'),
	('TP110', 'resequence_needed', 'The log was restored, or belongs to another cluster; run atp.resequence().'),
	('TP108', 'object_guarded', 'The object belongs to the event store and may not be altered or dropped.'),
	('TP109', 'events_exist', 'DROP EXTENSION is refused while there are events; see atp.allow_drop.'),
	('TP120', 'projection_not_found', 'No projection has this name.'),
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
	('TP210', 'invalid_cloudevent', 'The document is not a CloudEvents 1.0 event in JSON format, or one that cannot be stored.'),
	('TP211', 'tenant_exists', 'A tenant of this name exists.'),
	('TP212', 'library_mismatch', 'The loaded library and the installed SQL are of different versions.'),
	('TP213', 'invalid_schema', 'The document is not a JSON Schema, or uses what is not supported.'),
	('TP214', 'pattern_limit', 'A regular expression went over its match limit.'),
	('TP215', 'schema_document_not_found', 'A reference names a schema document that is not in the registry.'),
	('TP300', 'subscription_not_found', 'No subscription of the tenant has this name.'),
	('TP301', 'invalid_filter', 'A subscription''s filter, pattern or correlation does not parse.'),
	('TP302', 'stale_lease', 'The lease has expired, was given back, or is another subscription''s.'),
	('TP303', 'ack_beyond_lease', 'The acknowledged position lies beyond what the lease holds.'),
	('TP304', 'event_not_leased', 'The event is not in the lease, or was settled already.'),
	('TP305', 'subscription_exists', 'A subscription of this name exists.'),
	('TP306', 'invalid_subscription', 'An option of the subscription has a value that is not allowed.'),
	('TP308', 'event_not_in_log', 'No event of the tenant has this id and a place in the log.'),
	('TP220', 'schema_not_found', 'The event type has no schema of this version.'),
	('TP221', 'payload_refused', 'The payload is not valid against the schema of its event type; DETAIL lists the errors.'),
	('TP222', 'schema_incompatible', 'The schema is not compatible with the versions before it; DETAIL lists the differences.'),
	('TP223', 'schema_status_conflict', 'The status of the schema version, or of another one, does not allow this.'),
	('TP224', 'event_type_fixed', 'An event type cannot be renamed or removed, nor a platform''s own one altered.'),
	('TP225', 'schema_too_large', 'The schema is larger than atp.schema_max_size.'),
	('TP226', 'invalid_upcaster', 'An upcaster or downcaster is malformed, or names a function that cannot be one.'),
	('TP227', 'upcast_failed', 'An upcaster or downcaster failed; the message names event type, versions and event.'),
	('TP228', 'version_not_accepted', 'The event cannot be brought to a schema version that the reader accepts.'),
	('TP250', 'platform_event_type', 'The event type belongs to the platform, which appends its events itself.'),
	('TP251', 'platform_stream', 'The stream''s name begins with "atp.", which is kept for events of the platform.'),
	('TP340', 'handler_not_found', 'No in-database handler has this name.'),
	('TP341', 'invalid_handler', 'The function cannot handle events: it takes one argument of type jsonb and returns one value.'),
	('TP342', 'invalid_route', 'The route has no target, or two, or one that feeds it, or a jsonpath that does not parse.'),
	('TP343', 'route_failed', 'A route could not translate the event; the message says why.'),
	('TP344', 'route_loops', 'The event has come through atp.route_max_hops routes already: it goes no further.'),
	('TP350', 'handling_not_begun', 'The handling of this event was not begun, or has ended.'),
	('TP351', 'fingerprint_conflict', 'The event id was handled before with other content.'),
	('TP352', 'handling_taken_over', 'Another attempt at handling the event has begun since; this one may not end it.'),
	('TP360', 'breaker_not_found', 'No circuit breaker has this name.'),
	('TP361', 'breaker_open', 'The circuit breaker gives no permits now; DETAIL says when it may.'),
	('TP362', 'rate_limited', 'The rate limit has no tokens left; DETAIL says when it will.'),
	('TP363', 'bulkhead_full', 'The bulkhead has no free slot.'),
	('TP364', 'limit_not_found', 'No rate limit or bulkhead has this name.'),
	('TP252', 'invalid_item', 'Code of a fault in an item handed to ingestion: a member is missing, malformed or unknown.'),
	('TP253', 'quarantine_item_not_found', 'No item in quarantine has this event id.'),
	('TP260', 'policy_exists', 'A policy of this name is in force.'),
	('TP261', 'policy_not_found', 'No policy of this name or id is in force.'),
	('TP262', 'invalid_policy', 'The policy''s type is unknown, or its rules are not what the schema of the type accepts.'),
	('TP263', 'policy_version_conflict', 'The policy is not at the expected version; DETAIL gives the actual one.'),
	('TP270', 'invalid_documentation', 'What is said of an event type is malformed, or its example does not fit its schema.'),
	('TP501', 'invalid_proof', 'A proof, tree size, index or hash is malformed.'),
	('TP502', 'invalid_note', 'The text is not a signed note, a checkpoint or a verifier key.'),
	('TP503', 'invalid_key', 'A key is malformed or unusable.'),
	('TP504', 'integrity_fault', 'What is stored does not hash to what was written; DETAIL says where.'),
	('TP505', 'checkpoint_mismatch', 'The checkpoint is not one of this log, or the log has checkpoints under another identity.'),
	('TP506', 'proof_not_available', 'No checkpoint covers what is to be proved, or the stored tree has not the nodes of the proof.'),
	('TP507', 'bundle_rejected', 'The evidence bundle does not verify; DETAIL says why and where.');

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

-- ==== src/pg/merkle.sql ====
-- Merkle trees (RFC 6962, RFC 9162), signed notes and checkpoints (C2SP), Ed25519 (RFC 8032): pure functions.
CREATE FUNCTION atp.merkle_leaf_hash(leaf bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_leaf_hash';
COMMENT ON FUNCTION atp.merkle_leaf_hash(bytea) IS
'Hash the data of a leaf of a Merkle tree.
SHA-256 of one zero byte and the data (RFC 6962 section 2.1). 32 bytes.';

CREATE FUNCTION atp.merkle_root(leaves bytea[]) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_root';
COMMENT ON FUNCTION atp.merkle_root(bytea[]) IS
'Compute the root of the Merkle tree over some leaves.
Leaves are the data of leaves, in order, which are leaf-hashed here; not leaf hashes. The root of an empty array is SHA-256
of nothing (RFC 6962 section 2.1). 32 bytes.
Raises: 22004 where a leaf is NULL.';

CREATE FUNCTION atp.merkle_inclusion_proof(leaves bytea[], index bigint) RETURNS bytea[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_inclusion_proof';
COMMENT ON FUNCTION atp.merkle_inclusion_proof(bytea[], bigint) IS
'Prove that the leaf of an index is in the tree over some leaves.
Leaves are data, as for merkle_root. The first index is 0. Hashes in the order of RFC 6962 section 2.1.1, leaf side first;
empty for a tree of one leaf.
Raises: TP501 where the index is not in the tree, 22004 where a leaf is NULL.';

CREATE FUNCTION atp.merkle_consistency_proof(leaves bytea[], size1 bigint) RETURNS bytea[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_consistency_proof';
COMMENT ON FUNCTION atp.merkle_consistency_proof(bytea[], bigint) IS
'Prove that the first size1 leaves are the beginning of the tree over all.
Leaves are data, as for merkle_root. Hashes in the order of RFC 6962 section 2.1.2; empty where size1 is the number of leaves.
Raises: TP501 where size1 is below 1 or above the number of leaves, 22004 where a leaf is NULL.';

CREATE FUNCTION atp.merkle_verify_inclusion(leaf_hash bytea, index bigint, size bigint, proof bytea[], root bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_verify_inclusion';
COMMENT ON FUNCTION atp.merkle_verify_inclusion(bytea, bigint, bigint, bytea[], bytea) IS
'Verify that a leaf is in the tree of a size and root.
RFC 9162 section 2.1.3.2. False for whatever does not prove it: a hash of another size than 32 bytes, a NULL hash in the proof,
one hash too many or too few, index not in 0 to size - 1. A NULL proof is an empty one; any other NULL gives NULL.';

CREATE FUNCTION atp.merkle_verify_consistency(size1 bigint, size2 bigint, proof bytea[], root1 bytea, root2 bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_verify_consistency';
COMMENT ON FUNCTION atp.merkle_verify_consistency(bigint, bigint, bytea[], bytea, bytea) IS
'Verify that the tree of size1 is the beginning of the tree of size2.
RFC 9162 section 2.1.4.2. False for whatever does not prove it: a hash or root of another size than 32 bytes, one hash too many
or too few, size1 below 1 (nothing follows from consistency with the empty tree) or above size2. Equal sizes need equal
roots and an empty proof. A NULL proof is an empty one; any other NULL gives NULL.';

CREATE FUNCTION atp.ed25519_verify(public_key bytea, message bytea, signature bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_ed25519_verify';
COMMENT ON FUNCTION atp.ed25519_verify(bytea, bytea, bytea) IS
'Verify an Ed25519 signature.
RFC 8032 section 5.1.7. False for a key that is not 32 bytes or a signature that is not 64 too.';

CREATE FUNCTION atp.vkey_is_valid(vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_vkey_is_valid';
COMMENT ON FUNCTION atp.vkey_is_valid(text) IS
'Tell whether a text is a verifier key for signed notes.
C2SP signed-note: name+key id+base64, of type Ed25519 (0x01), with the key id that name and key give.';

CREATE FUNCTION atp.note_verify(note text, vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_note_verify';
COMMENT ON FUNCTION atp.note_verify(text, text) IS
'Verify that a signed note is signed by a verifier key.
C2SP signed-note. False where note or key is malformed, no line is by the key, or any line by the key has a wrong signature. Lines
by other keys are skipped but have to be well formed. At most 1 MiB and 100 signatures.';

CREATE FUNCTION atp.note_has_key(note text, vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_note_has_key';
COMMENT ON FUNCTION atp.note_has_key(text, text) IS
'Tell whether a line of a signed note names a verifier key, right or wrong.
The key is of type Ed25519 (0x01) or cosignature/v1 (0x04). False where note or key is malformed.';

CREATE FUNCTION atp.cosignature_verify(note text, vkey text) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_cosignature_verify';
COMMENT ON FUNCTION atp.cosignature_verify(text, text) IS
'Verify a witness''s cosignature on a checkpoint; return the time it states.
C2SP tlog-cosignature v1, key type 0x04. NULL where note or key is malformed, no line is by the key, or a line by it has a wrong signature.';

CREATE FUNCTION atp.witness_vkey_is_valid(vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_witness_vkey_is_valid';
COMMENT ON FUNCTION atp.witness_vkey_is_valid(text) IS
'Tell whether a text is the verifier key of a witness.
C2SP signed-note: name+key id+base64, of type cosignature/v1 (0x04), with the key id that name and key give.';

CREATE FUNCTION atp.note_sign(text text, skey text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_note_sign';
COMMENT ON FUNCTION atp.note_sign(text, text) IS
'Sign a text as a note.
C2SP signed-note: the text, a blank line, one signature line. The key is PRIVATE+KEY+name+key id+base64, of type Ed25519. For
development and tests: a key in a statement is seen by the server, its logs and its owner; atp-signer keeps it outside.
Raises: TP502 where the text is not that of a note, TP503 where the key is malformed.';

CREATE FUNCTION atp.checkpoint_parse(text text) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_checkpoint_parse';
COMMENT ON FUNCTION atp.checkpoint_parse(text) IS
'Parse the text of a checkpoint into its parts.
C2SP tlog-checkpoint: {origin, size, root, extension}, root in base64 as it stands, extension lines with their new lines ("" where
there are none). The text is that of the note, without blank line and signatures. NULL where it is not a checkpoint. Nothing
is verified: see note_verify. The size can exceed bigint; the root of a SHA-256 tree has 32 bytes, which is not checked.';

-- ==== src/pg/worker.sql ====
-- The background worker, as far as SQL can see it.
CREATE FUNCTION atp_internal.worker_status(OUT alive boolean, OUT pid int, OUT preloaded boolean, OUT enabled boolean, OUT behind boolean)
	RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_worker_status';
COMMENT ON FUNCTION atp_internal.worker_status() IS
'Describe this database''s worker.
alive: whether there is one; pid: its process, NULL where unknown; preloaded: whether the library is; enabled: the setting; behind: whether it slows appends down, see atp.worker_max_lag. alive is false on a standby, which has no worker.';
REVOKE ALL ON FUNCTION atp_internal.worker_status() FROM PUBLIC;

-- ==== src/pg/aside.sql ====
-- The process for long jobs, as far as SQL can see it.
CREATE FUNCTION atp_internal.aside_status(OUT active boolean, OUT pid int) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_aside_status';
COMMENT ON FUNCTION atp_internal.aside_status() IS
'Describe this database''s process for trees and checkpoints.
active: whether anybody does that work now; pid: the process, NULL where it is the worker itself, for want of a slot, or nobody: the worker starts one when there is something to do.';
REVOKE ALL ON FUNCTION atp_internal.aside_status() FROM PUBLIC;

-- ==== src/record/tenant.sql ====
-- Tenants: the unit of isolation, each with a log identity of its own (log_uid goes into every hashed record).
CREATE TABLE atp_internal.tenant (
	tenant int GENERATED BY DEFAULT AS IDENTITY CONSTRAINT tenant_pk PRIMARY KEY,
	name text NOT NULL CONSTRAINT tenant_name_unique UNIQUE,
	log_uid uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	alg smallint NOT NULL DEFAULT 1,
	status text NOT NULL DEFAULT 'active' CONSTRAINT tenant_status_known CHECK (status IN ('active', 'suspended', 'deleted')),
	configuration jsonb NOT NULL DEFAULT '{}',
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE atp_internal.tenant IS 'Tenants. A reference table: every node of a distributed installation holds all of it.';
COMMENT ON COLUMN atp_internal.tenant.tenant IS 'Surrogate key, used inside only.';
COMMENT ON COLUMN atp_internal.tenant.name IS 'The name that callers use: 1 to 128 letters, digits, dots, colons, underscores and hyphens, a letter or digit first.';
COMMENT ON COLUMN atp_internal.tenant.log_uid IS 'Random identity of the tenant''s log, hashed into every record.';
COMMENT ON COLUMN atp_internal.tenant.alg IS 'Hash algorithm of the log: 1 is SHA-256.';
COMMENT ON COLUMN atp_internal.tenant.status IS 'active, suspended (readable, takes no events) or deleted (name stays taken, takes no events).';
COMMENT ON COLUMN atp_internal.tenant.configuration IS 'Free-form settings of the tenant, a JSON object.';
COMMENT ON COLUMN atp_internal.tenant.created_at IS 'When the tenant was onboarded.';
COMMENT ON COLUMN atp_internal.tenant.changed_at IS 'When status or configuration last changed.';

INSERT INTO atp_internal.tenant (name, created_at, changed_at) VALUES ('default', pg_catalog.transaction_timestamp(), pg_catalog.transaction_timestamp());

CREATE FUNCTION atp_internal.tenant_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_tenant_changed';
COMMENT ON FUNCTION atp_internal.tenant_changed() IS 'Tell every backend that its cache of tenants is stale.';
REVOKE ALL ON FUNCTION atp_internal.tenant_changed() FROM PUBLIC;
CREATE TRIGGER tenant_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.tenant
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.tenant_changed();
ALTER TABLE atp_internal.tenant ENABLE ALWAYS TRIGGER tenant_changed;

SELECT pg_catalog.pg_extension_config_dump('atp_internal.tenant', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tenant_tenant_seq', '');

CREATE FUNCTION atp_internal.current_tenant() RETURNS int
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_tenant_current';
COMMENT ON FUNCTION atp_internal.current_tenant() IS
'Return the key of the tenant that the setting atp.tenant names.
An empty setting means the tenant default.
Raises: TP202 (no such tenant), 42501 (not in atp.tenant_allowed).';
REVOKE ALL ON FUNCTION atp_internal.current_tenant() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.current_tenant() TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.open_tenant(tenant text) RETURNS int
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_tenant_open';
COMMENT ON FUNCTION atp_internal.open_tenant(text) IS
'Open a tenant and return its key.
Its rows are visible to the rest of the transaction. NULL means the tenant of the setting atp.tenant. For the bodies of functions that take a tenant argument.
Raises: TP202 (no such tenant), 42501 (not in atp.tenant_allowed).';
REVOKE ALL ON FUNCTION atp_internal.open_tenant(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.open_tenant(text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.tenant_is_visible(tenant int) RETURNS boolean
	LANGUAGE c STABLE LEAKPROOF PARALLEL RESTRICTED COST 1 AS 'MODULE_PATHNAME', 'atp_tenant_is_visible';
COMMENT ON FUNCTION atp_internal.tenant_is_visible(int) IS
'Say whether rows of this tenant may be seen.
The rule of every row level security policy of atp. True for the tenant of the setting atp.tenant, for one opened by open_tenant in this transaction, and inside atp''s own functions.';
REVOKE ALL ON FUNCTION atp_internal.tenant_is_visible(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.tenant_is_visible(int) TO PUBLIC;

CREATE VIEW atp.tenants WITH (security_barrier) AS
	SELECT t.name AS tenant, t.status, t.configuration, t.log_uid, t.created_at, t.changed_at
	FROM atp_internal.tenant t;
COMMENT ON VIEW atp.tenants IS 'List the tenants.';
COMMENT ON COLUMN atp.tenants.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.tenants.status IS 'active, suspended or deleted.';
COMMENT ON COLUMN atp.tenants.configuration IS 'Free-form settings, a JSON object.';
COMMENT ON COLUMN atp.tenants.log_uid IS 'Identity of the tenant''s log, hashed into every record.';
COMMENT ON COLUMN atp.tenants.created_at IS 'When the tenant was onboarded.';
COMMENT ON COLUMN atp.tenants.changed_at IS 'When status or configuration last changed.';
GRANT SELECT ON atp.tenants TO atp_auditor, atp_admin;

-- ==== src/record/eventtype.sql ====
-- Event types: a shared registry of names. Issue a surrogate key, so that an event stores four bytes.
CREATE TABLE atp_internal.event_type (
	event_type int GENERATED BY DEFAULT AS IDENTITY (START WITH 1000) CONSTRAINT event_type_pk PRIMARY KEY,
	name text NOT NULL CONSTRAINT event_type_name_unique UNIQUE,
	builtin boolean NOT NULL DEFAULT false,
	description text,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	owner text,
	validation text NOT NULL DEFAULT 'enforce' CONSTRAINT event_type_validation_known CHECK (validation IN ('enforce', 'record', 'off')),
	compatibility text NOT NULL DEFAULT 'BACKWARD' CONSTRAINT event_type_compatibility_known
		CHECK (compatibility ~ '^(NONE|(BACKWARD|FORWARD|FULL)(_TRANSITIVE)?(_STRICT|_LENIENT)?)$'),
	active_version int NOT NULL DEFAULT 0,
	latest_version int NOT NULL DEFAULT 0
);
COMMENT ON TABLE atp_internal.event_type IS 'Registry of event types. A reference table shared by all tenants.';
COMMENT ON COLUMN atp_internal.event_type.event_type IS 'Surrogate key, used inside only; below 1000 for the platform''s own types.';
COMMENT ON COLUMN atp_internal.event_type.name IS 'PascalCase, past tense, with an optional version suffix: OrderPlaced, OrderPlacedV2.';
COMMENT ON COLUMN atp_internal.event_type.builtin IS 'True for the platform''s own types, which the install script makes; their events carry record flag bit 0.';
COMMENT ON COLUMN atp_internal.event_type.description IS 'What the event says happened; NULL where the type registered itself on first use.';
COMMENT ON COLUMN atp_internal.event_type.created_at IS 'When the type was registered.';
COMMENT ON COLUMN atp_internal.event_type.owner IS 'Who answers for the type: a team, a service, an address.';
COMMENT ON COLUMN atp_internal.event_type.validation IS 'What an append does with a payload that the schema refuses: enforce (refuses the event), record (stores it with record flag bit 1), off (does not look).';
COMMENT ON COLUMN atp_internal.event_type.compatibility IS 'How a new schema version must relate to those before it; see atp.schema_compatibility.';
COMMENT ON COLUMN atp_internal.event_type.active_version IS 'Version of the schema that appends are validated against; 0: none.';
COMMENT ON COLUMN atp_internal.event_type.latest_version IS 'Highest version of a schema of the type; 0: it never had one.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_type', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_type_event_type_seq', '');

CREATE FUNCTION atp_internal.event_type_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_eventtype_changed';
COMMENT ON FUNCTION atp_internal.event_type_changed() IS 'Tell every backend that its cache of event types is stale.';
REVOKE ALL ON FUNCTION atp_internal.event_type_changed() FROM PUBLIC;
CREATE TRIGGER event_type_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.event_type
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.event_type_changed();
ALTER TABLE atp_internal.event_type ENABLE ALWAYS TRIGGER event_type_changed;

-- The name goes into every hashed record: what it stands for cannot change afterwards.
CREATE FUNCTION atp_internal.event_type_fixed() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION 'event type "%" cannot be renamed or removed', old.name
		USING ERRCODE = 'TP224', DETAIL = 'Stored events carry the name in their hashes.',
			HINT = 'Register a new type, for example with a version suffix, and retire the schemas of the old one.';
END $$;
COMMENT ON FUNCTION atp_internal.event_type_fixed() IS
'Refuse to rename or remove an event type.
Raises: TP224.';
REVOKE ALL ON FUNCTION atp_internal.event_type_fixed() FROM PUBLIC;
CREATE TRIGGER event_type_not_renamed BEFORE UPDATE ON atp_internal.event_type FOR EACH ROW
	WHEN (old.name IS DISTINCT FROM new.name OR old.event_type IS DISTINCT FROM new.event_type OR old.builtin IS DISTINCT FROM new.builtin)
	EXECUTE FUNCTION atp_internal.event_type_fixed();
CREATE TRIGGER event_type_not_removed BEFORE DELETE ON atp_internal.event_type
	FOR EACH ROW EXECUTE FUNCTION atp_internal.event_type_fixed();
ALTER TABLE atp_internal.event_type ENABLE ALWAYS TRIGGER event_type_not_renamed;
ALTER TABLE atp_internal.event_type ENABLE ALWAYS TRIGGER event_type_not_removed;

CREATE FUNCTION atp_internal.require_event_type_name(event_type text) RETURNS void
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_eventtype_require_name';
COMMENT ON FUNCTION atp_internal.require_event_type_name(text) IS
'Refuse a malformed name of an event type.
It is PascalCase in the past tense with an optional version suffix.
Raises: TP201.';
REVOKE ALL ON FUNCTION atp_internal.require_event_type_name(text) FROM PUBLIC;

CREATE FUNCTION atp.register_event_type(event_type text, description text DEFAULT NULL, owner text DEFAULT NULL,
		compatibility text DEFAULT NULL, validation text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF register_event_type.event_type IS NULL THEN
		RAISE EXCEPTION 'event type must not be null' USING ERRCODE = 'null_value_not_allowed';
	ELSIF register_event_type.compatibility !~ '^(NONE|(BACKWARD|FORWARD|FULL)(_TRANSITIVE)?(_STRICT|_LENIENT)?)$' THEN
		RAISE EXCEPTION 'unknown compatibility mode "%"', register_event_type.compatibility
			USING ERRCODE = 'invalid_parameter_value', HINT = 'NONE, BACKWARD, FORWARD or FULL, with _TRANSITIVE, then _STRICT, where wanted.';
	ELSIF register_event_type.validation NOT IN ('enforce', 'record', 'off') THEN
		RAISE EXCEPTION 'unknown validation mode "%"', register_event_type.validation
			USING ERRCODE = 'invalid_parameter_value', HINT = 'enforce, record or off.';
	END IF;
	PERFORM atp_internal.require_event_type_name(register_event_type.event_type);
	INSERT INTO atp_internal.event_type AS known (name, description, owner, compatibility, validation)
		VALUES (register_event_type.event_type, register_event_type.description, register_event_type.owner,
			COALESCE(register_event_type.compatibility, 'BACKWARD'), COALESCE(register_event_type.validation, 'enforce'))
		ON CONFLICT (name) DO UPDATE SET description = COALESCE(register_event_type.description, known.description),
			owner = COALESCE(register_event_type.owner, known.owner),
			compatibility = COALESCE(register_event_type.compatibility, known.compatibility),
			validation = COALESCE(register_event_type.validation, known.validation)
			WHERE NOT known.builtin;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'event type "%" is one of the platform''s own', register_event_type.event_type
			USING ERRCODE = 'TP224', HINT = 'Choose another name.';
	END IF;
END $$;
COMMENT ON FUNCTION atp.register_event_type(text, text, text, text, text) IS
'Register an event type, or change what stands of one that is registered.
The name is PascalCase in the past tense with an optional version suffix. owner is who answers for it. compatibility: NONE, BACKWARD (a new type''s), FORWARD or FULL, with _TRANSITIVE, then _STRICT, where wanted; see schema_compatibility. validation: enforce (a new type''s), record or off. NULL leaves what stands.
Raises: TP201 (malformed name), TP224 (one of the platform''s own types), 22023 (unknown mode).';
REVOKE ALL ON FUNCTION atp.register_event_type(text, text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.register_event_type(text, text, text, text, text) TO atp_admin;

-- ==== src/record/validator.sql ====
-- The validator of JSON Schema: the registry of documents that schemas may refer to, and the functions.
CREATE TABLE atp_internal.schema_document (
	uri text COLLATE "C" CONSTRAINT schema_document_pk PRIMARY KEY,
	document jsonb NOT NULL CONSTRAINT schema_document_is_schema CHECK (pg_catalog.jsonb_typeof(document) IN ('object', 'boolean')),
	recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE atp_internal.schema_document IS
'Schema documents that a $ref or a $schema may name. Reference data shared by all tenants: no tenant column, no row security. The validator reads it whoever validates; add_schema_document writes it.';
COMMENT ON COLUMN atp_internal.schema_document.uri IS 'Absolute URI without fragment, by which references name the document.';
COMMENT ON COLUMN atp_internal.schema_document.document IS 'The schema.';
COMMENT ON COLUMN atp_internal.schema_document.recorded_at IS 'When this text of the document was recorded.';
REVOKE ALL ON TABLE atp_internal.schema_document FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('atp_internal.schema_document', '');

CREATE FUNCTION atp_internal.schema_document_changed() RETURNS trigger
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'atp_validator_registry_changed';
REVOKE ALL ON FUNCTION atp_internal.schema_document_changed() FROM PUBLIC;
COMMENT ON FUNCTION atp_internal.schema_document_changed() IS
'Tell every backend that compiled schemas may be stale.
Sent with the commit as a relcache invalidation of the table; compiled schemas that used the registry are then made anew.';

CREATE TRIGGER schema_document_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.schema_document
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.schema_document_changed();
ALTER TABLE atp_internal.schema_document ENABLE ALWAYS TRIGGER schema_document_changed;

CREATE FUNCTION atp_internal.check_schema_document(uri text, document jsonb) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_validator_check_document';
REVOKE ALL ON FUNCTION atp_internal.check_schema_document(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION atp_internal.check_schema_document(text, jsonb) IS
'Check a document for the registry and return its URI as the registry keeps it.
A document that names a built-in meta-schema by $schema must be valid against it; others are checked when a schema refers to them.
Raises: TP213 where it is no schema, 22023 where the URI is not absolute or is that of a built-in meta-schema.';

CREATE FUNCTION atp.add_schema_document(uri text, document jsonb) RETURNS void
	LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	BEGIN ATOMIC
		INSERT INTO atp_internal.schema_document AS known (uri, document)
			VALUES (atp_internal.check_schema_document(add_schema_document.uri, add_schema_document.document), add_schema_document.document)
			ON CONFLICT (uri) DO UPDATE SET document = EXCLUDED.document, recorded_at = EXCLUDED.recorded_at;
	END;
REVOKE ALL ON FUNCTION atp.add_schema_document(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.add_schema_document(text, jsonb) TO atp_admin;
COMMENT ON FUNCTION atp.add_schema_document(text, jsonb) IS
'Register a schema document under a URI, so that $ref and $schema find it there.
uri: absolute, an empty fragment is dropped; document: an object or a boolean. A document of the same URI is replaced, and every backend compiles the schemas that refer to it anew.
Documents are shared by all tenants. Nothing is ever fetched from a network.
Raises: TP213 where it is no schema, 22023 where the URI is not absolute or is that of a built-in meta-schema.';

CREATE FUNCTION atp.schema_is_valid(schema jsonb, instance jsonb) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_validator_schema_is_valid';
COMMENT ON FUNCTION atp.schema_is_valid(jsonb, jsonb) IS
'Tell whether an instance is valid against a JSON Schema.
schema: draft 2020-12, or the draft that its $schema names (2019-09, draft-07, or a meta-schema in the registry); instance: any jsonb. NULL where either is NULL.
The schema is compiled once per backend. References find their documents in the registry (add_schema_document). format asserts only under the setting atp.schema_format_assertion.
Raises: TP213 where the schema is invalid, TP214 where a pattern takes too many steps, TP215 where a document is not in the registry, 54000 where validation takes too many steps.';

CREATE FUNCTION atp.schema_errors(schema jsonb, instance jsonb,
	OUT instance_location text, OUT keyword_location text, OUT keyword text, OUT message text) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10
	AS 'MODULE_PATHNAME', 'atp_validator_schema_errors';
COMMENT ON FUNCTION atp.schema_errors(jsonb, jsonb) IS
'List why an instance is not valid against a JSON Schema; no row where it is.
The basic output of the standard: instance_location is a JSON pointer into the instance, keyword_location one into the schema along the evaluation (through $ref), keyword the one that failed, message a sentence without the value.
Where no alternative of anyOf or oneOf holds, the errors of each are listed, then that of the keyword.
Raises: TP213 where the schema is invalid, TP214 where a pattern takes too many steps, TP215 where a document is not in the registry, 54000 where validation takes too many steps.';

CREATE FUNCTION atp.get_schema_cache(OUT schemas integer, OUT bytes bigint, OUT compilations bigint) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'atp_validator_cache_status';
COMMENT ON FUNCTION atp.get_schema_cache() IS
'Get the state of this session''s cache of compiled schemas.
schemas and bytes: what is in it now, at most atp.schema_cache_size; compilations: how many schemas this session has compiled, meta-schemas included.';
REVOKE ALL ON FUNCTION atp.get_schema_cache() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_schema_cache() TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- ==== src/record/compatibility.sql ====
-- Compatibility of schemas: a proof, not a list of changes. What cannot be proved is not compatible.
CREATE FUNCTION atp.schema_compatibility(old jsonb, new jsonb, mode text DEFAULT 'BACKWARD') RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_compatibility_schema_compatibility';
COMMENT ON FUNCTION atp.schema_compatibility(jsonb, jsonb, text) IS
'Tell whether a schema is compatible with the one before it.
mode BACKWARD: every instance that old accepts, new accepts; FORWARD: the other way round; FULL: both; NONE: anything. The suffix _STRICT takes that to the letter. Without it, or with _LENIENT, instances are taken to have no members but those that the schema they were written by declares: so an open object may grow properties and may close. _TRANSITIVE, before that suffix, means the same here: a pair has no history.
True is proved, whatever atp.schema_format_assertion says; what cannot be proved counts as incompatible.
Raises: TP213, TP215 (a schema does not compile), 22023 (unknown mode).';

CREATE FUNCTION atp.schema_differences(old jsonb, new jsonb, mode text DEFAULT 'BACKWARD',
	OUT location text, OUT kind text, OUT why text) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10 AS 'MODULE_PATHNAME', 'atp_compatibility_schema_differences';
COMMENT ON FUNCTION atp.schema_differences(jsonb, jsonb, text) IS
'List what makes two schemas incompatible; no row where they are compatible.
location is a JSON pointer into the schema that should accept (the new one for BACKWARD, the old one for FORWARD), through $ref; kind is one of type, value, range, multiple, size, pattern, format, required, property_added, closed, property_names, contains, unique, false, or undecided (not proved, though perhaps true); why is a sentence. Modes are those of schema_compatibility.
Raises: TP213, TP215 (a schema does not compile), 22023 (unknown mode).';

-- ==== src/record/schema.sql ====
-- The schema registry: the schemas of event types, version by version. What is active decides what appends are validated against.
-- A version's document never changes. Registrations of one type are serial: each holds the row of the type to its commit. Appends
-- take no lock here: an append is judged by the version that was active when it looked.
CREATE TABLE atp_internal.event_schema (
	schema int GENERATED BY DEFAULT AS IDENTITY (START WITH 1000) CONSTRAINT event_schema_pk PRIMARY KEY,
	event_type int NOT NULL CONSTRAINT event_schema_event_type_known REFERENCES atp_internal.event_type,
	version int NOT NULL CONSTRAINT event_schema_version_positive CHECK (version > 0),
	status text NOT NULL CONSTRAINT event_schema_status_known CHECK (status IN ('draft', 'active', 'deprecated', 'retired')),
	sunset_at timestamptz,
	document jsonb NOT NULL,
	compatibility text NOT NULL,
	description text,
	changelog text,
	registered_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	registered_by text NOT NULL DEFAULT SESSION_USER,
	CONSTRAINT event_schema_version_unique UNIQUE (event_type, version)
);
CREATE UNIQUE INDEX event_schema_active_unique ON atp_internal.event_schema (event_type) WHERE status = 'active';
COMMENT ON TABLE atp_internal.event_schema IS 'Schemas of event types by version. A reference table shared by all tenants.';
COMMENT ON COLUMN atp_internal.event_schema.schema IS 'Surrogate key, never given twice: compiled schemas are kept by it. Below 1000 for the platform''s own.';
COMMENT ON COLUMN atp_internal.event_schema.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.event_schema.version IS 'Version, from 1; events carry it in their hashes.';
COMMENT ON COLUMN atp_internal.event_schema.status IS 'draft (not to be used yet), active (what appends are validated against; one a type), deprecated (only where named), retired (no more).';
COMMENT ON COLUMN atp_internal.event_schema.sunset_at IS 'When a deprecated version ceases to be accepted from writers and served to readers; NULL: no date.';
COMMENT ON COLUMN atp_internal.event_schema.document IS 'The JSON Schema.';
COMMENT ON COLUMN atp_internal.event_schema.compatibility IS 'The mode that the version was checked under.';
COMMENT ON COLUMN atp_internal.event_schema.description IS 'What the version is for.';
COMMENT ON COLUMN atp_internal.event_schema.changelog IS 'What changed since the version before.';
COMMENT ON COLUMN atp_internal.event_schema.registered_at IS 'When the version was registered.';
COMMENT ON COLUMN atp_internal.event_schema.registered_by IS 'Role of the session that registered it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_schema', 'WHERE event_type >= 1000');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_schema_schema_seq', '');

CREATE FUNCTION atp_internal.event_schema_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_schema_changed';
COMMENT ON FUNCTION atp_internal.event_schema_changed() IS 'Tell every backend that its cache of schema versions is stale.';
REVOKE ALL ON FUNCTION atp_internal.event_schema_changed() FROM PUBLIC;
CREATE TRIGGER event_schema_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.event_schema
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.event_schema_changed();
ALTER TABLE atp_internal.event_schema ENABLE ALWAYS TRIGGER event_schema_changed;

CREATE FUNCTION atp_internal.event_schema_fixed() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION 'a registered schema cannot be altered or removed'
		USING ERRCODE = 'TP223', DETAIL = 'Stored events name it by its version.', HINT = 'Register a new version; retire this one with atp.set_schema_status.';
END $$;
COMMENT ON FUNCTION atp_internal.event_schema_fixed() IS
'Refuse to alter or remove a registered schema.
Raises: TP223.';
REVOKE ALL ON FUNCTION atp_internal.event_schema_fixed() FROM PUBLIC;
CREATE TRIGGER event_schema_not_altered BEFORE UPDATE ON atp_internal.event_schema FOR EACH ROW
	WHEN (old.schema <> new.schema OR old.event_type <> new.event_type OR old.version <> new.version OR old.document::text <> new.document::text)
	EXECUTE FUNCTION atp_internal.event_schema_fixed();
CREATE TRIGGER event_schema_not_removed BEFORE DELETE ON atp_internal.event_schema
	FOR EACH ROW EXECUTE FUNCTION atp_internal.event_schema_fixed();
ALTER TABLE atp_internal.event_schema ENABLE ALWAYS TRIGGER event_schema_not_altered;
ALTER TABLE atp_internal.event_schema ENABLE ALWAYS TRIGGER event_schema_not_removed;

CREATE TABLE atp_internal.event_schema_history (
	event_type int NOT NULL,
	version int NOT NULL,
	change int NOT NULL,
	status text NOT NULL,
	sunset_at timestamptz,
	reason text,
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	changed_by text NOT NULL DEFAULT SESSION_USER,
	CONSTRAINT event_schema_history_pk PRIMARY KEY (event_type, version, change),
	CONSTRAINT event_schema_history_schema_known FOREIGN KEY (event_type, version) REFERENCES atp_internal.event_schema (event_type, version)
);
COMMENT ON TABLE atp_internal.event_schema_history IS 'Every status that a schema version has had. A reference table shared by all tenants.';
COMMENT ON COLUMN atp_internal.event_schema_history.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.event_schema_history.version IS 'Version of the schema.';
COMMENT ON COLUMN atp_internal.event_schema_history.change IS '1, 2, 3, ... in order.';
COMMENT ON COLUMN atp_internal.event_schema_history.status IS 'The status from then on.';
COMMENT ON COLUMN atp_internal.event_schema_history.sunset_at IS 'The date of sunset from then on.';
COMMENT ON COLUMN atp_internal.event_schema_history.reason IS 'Why, in the word of who changed it.';
COMMENT ON COLUMN atp_internal.event_schema_history.changed_at IS 'When.';
COMMENT ON COLUMN atp_internal.event_schema_history.changed_by IS 'Role of the session that changed it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_schema_history', 'WHERE event_type >= 1000');

CREATE FUNCTION atp_internal.check_schema(schema jsonb) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_schema_check';
COMMENT ON FUNCTION atp_internal.check_schema(jsonb) IS
'Refuse a schema that is too large or does not compile.
Raises: TP213 (location and reason), TP215 (a reference to a document that is not registered), TP225 (too large).';
REVOKE ALL ON FUNCTION atp_internal.check_schema(jsonb) FROM PUBLIC;

CREATE VIEW atp.schemas AS
	SELECT y.name AS event_type, s.version AS schema_version, s.status, s.document AS schema, s.compatibility, s.description, s.changelog,
		y.owner, s.sunset_at, s.registered_at, s.registered_by
	FROM atp_internal.event_schema s
		JOIN atp_internal.event_type y ON y.event_type = s.event_type;
COMMENT ON VIEW atp.schemas IS 'List the schemas of event types, every version.';
COMMENT ON COLUMN atp.schemas.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.schemas.schema_version IS 'Version, from 1.';
COMMENT ON COLUMN atp.schemas.status IS 'draft, active (what appends are validated against), deprecated (only where named) or retired.';
COMMENT ON COLUMN atp.schemas.schema IS 'The JSON Schema.';
COMMENT ON COLUMN atp.schemas.compatibility IS 'The mode that the version was checked under.';
COMMENT ON COLUMN atp.schemas.description IS 'What the version is for.';
COMMENT ON COLUMN atp.schemas.changelog IS 'What changed since the version before.';
COMMENT ON COLUMN atp.schemas.owner IS 'Who answers for the event type.';
COMMENT ON COLUMN atp.schemas.sunset_at IS 'When a deprecated version ceases to be accepted and served; NULL: no date.';
COMMENT ON COLUMN atp.schemas.registered_at IS 'When the version was registered.';
COMMENT ON COLUMN atp.schemas.registered_by IS 'Role of the session that registered it.';
GRANT SELECT ON atp.schemas TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE VIEW atp.event_types AS
	SELECT y.name AS event_type, y.description, y.owner, y.validation, y.compatibility, NULLIF(y.active_version, 0) AS active_version,
		NULLIF(y.latest_version, 0) AS latest_version, y.builtin, y.created_at
	FROM atp_internal.event_type y;
COMMENT ON VIEW atp.event_types IS 'List the event types: those registered and those that registered themselves on first use.';
COMMENT ON COLUMN atp.event_types.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.event_types.description IS 'What an event of the type says happened.';
COMMENT ON COLUMN atp.event_types.owner IS 'Who answers for the type.';
COMMENT ON COLUMN atp.event_types.validation IS 'What an append does with a payload that the schema refuses: enforce, record or off.';
COMMENT ON COLUMN atp.event_types.compatibility IS 'How a new schema version must relate to those before it.';
COMMENT ON COLUMN atp.event_types.active_version IS 'Version of the schema that appends are validated against; NULL: none.';
COMMENT ON COLUMN atp.event_types.latest_version IS 'Highest version of a schema of the type; NULL: it never had one.';
COMMENT ON COLUMN atp.event_types.builtin IS 'True for the platform''s own types.';
COMMENT ON COLUMN atp.event_types.created_at IS 'When the type was registered.';
GRANT SELECT ON atp.event_types TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE VIEW atp.schema_history AS
	SELECT y.name AS event_type, h.version AS schema_version, h.change, h.status, h.sunset_at, h.reason, h.changed_at, h.changed_by
	FROM atp_internal.event_schema_history h
		JOIN atp_internal.event_type y ON y.event_type = h.event_type;
COMMENT ON VIEW atp.schema_history IS 'List every status that each schema version has had.';
COMMENT ON COLUMN atp.schema_history.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.schema_history.schema_version IS 'Version of the schema.';
COMMENT ON COLUMN atp.schema_history.change IS '1, 2, 3, ... in order.';
COMMENT ON COLUMN atp.schema_history.status IS 'The status from then on.';
COMMENT ON COLUMN atp.schema_history.sunset_at IS 'The date of sunset from then on.';
COMMENT ON COLUMN atp.schema_history.reason IS 'Why, in the word of who changed it.';
COMMENT ON COLUMN atp.schema_history.changed_at IS 'When.';
COMMENT ON COLUMN atp.schema_history.changed_by IS 'Role of the session that changed it.';
GRANT SELECT ON atp.schema_history TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- Under the row lock of the type.
CREATE FUNCTION atp_internal.change_schema_status(event_type_key int, schema_version int, status text, sunset_at timestamptz, reason text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	UPDATE atp_internal.event_schema s SET status = change_schema_status.status, sunset_at = change_schema_status.sunset_at
		WHERE s.event_type = change_schema_status.event_type_key AND s.version = change_schema_status.schema_version;
	INSERT INTO atp_internal.event_schema_history (event_type, version, change, status, sunset_at, reason)
		SELECT change_schema_status.event_type_key, change_schema_status.schema_version, COALESCE(max(h.change), 0) + 1,
			change_schema_status.status, change_schema_status.sunset_at, change_schema_status.reason
		FROM atp_internal.event_schema_history h
		WHERE h.event_type = change_schema_status.event_type_key AND h.version = change_schema_status.schema_version;
END $$;
COMMENT ON FUNCTION atp_internal.change_schema_status(int, int, text, timestamptz, text) IS
'Set the status of a schema version and keep it in the history.
The caller holds the row of the event type and has checked the change.';
REVOKE ALL ON FUNCTION atp_internal.change_schema_status(int, int, text, timestamptz, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.activate_schema(event_type_key int, schema_version int, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	before int;
BEGIN
	SELECT s.version INTO before FROM atp_internal.event_schema s
		WHERE s.event_type = activate_schema.event_type_key AND s.status = 'active';
	IF FOUND THEN
		PERFORM atp_internal.change_schema_status(activate_schema.event_type_key, before, 'deprecated',
			(SELECT s.sunset_at FROM atp_internal.event_schema s WHERE s.event_type = activate_schema.event_type_key AND s.version = before),
			pg_catalog.format('version %s became active', activate_schema.schema_version));
	END IF;
	PERFORM atp_internal.change_schema_status(activate_schema.event_type_key, activate_schema.schema_version, 'active', NULL, activate_schema.reason);
	UPDATE atp_internal.event_type y SET active_version = activate_schema.schema_version
		WHERE y.event_type = activate_schema.event_type_key;
END $$;
COMMENT ON FUNCTION atp_internal.activate_schema(int, int, text) IS
'Make a schema version the active one; the one before it becomes deprecated.
The caller holds the row of the event type and has checked the change.';
REVOKE ALL ON FUNCTION atp_internal.activate_schema(int, int, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_compatible_schema(event_type_key int, schema jsonb, mode text, until_version int) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	before record;
	differences text;
BEGIN
	FOR before IN
		SELECT s.version, s.document FROM atp_internal.event_schema s
			WHERE s.event_type = require_compatible_schema.event_type_key AND s.status <> 'draft'
				AND s.version <> require_compatible_schema.until_version
			ORDER BY s.status = 'active' DESC, s.status = 'retired', s.version DESC
			LIMIT CASE WHEN require_compatible_schema.mode LIKE '%\_TRANSITIVE%' THEN NULL ELSE 1 END
	LOOP
		SELECT pg_catalog.string_agg(pg_catalog.format('At "%s": %s (%s).', pg_catalog.left(d.location, 500), d.why, d.kind), E'\n')
				|| CASE WHEN pg_catalog.count(*) > 10 THEN E'\nFurther differences are not listed.' ELSE '' END
			INTO differences
			FROM (SELECT * FROM atp.schema_differences(before.document, require_compatible_schema.schema, require_compatible_schema.mode) LIMIT 11) d;
		IF differences IS NOT NULL THEN
			RAISE EXCEPTION 'schema is not compatible with version % of event type "%"', before.version,
					(SELECT y.name FROM atp_internal.event_type y WHERE y.event_type = require_compatible_schema.event_type_key)
				USING ERRCODE = 'TP222', DETAIL = pg_catalog.format(E'The mode is %s.\n%s', require_compatible_schema.mode, differences),
					HINT = 'Register a breaking change as a type of its own, with a version suffix, or name another mode.';
		END IF;
	END LOOP;
END $$;
COMMENT ON FUNCTION atp_internal.require_compatible_schema(int, jsonb, text, int) IS
'Refuse a schema that is not compatible with the versions before it.
Those are the active one, or the newest that is no draft where none is active; under _TRANSITIVE all but drafts, retired ones too, for their events are kept. until_version is the version of the schema itself, 0 while it has none.
Raises: TP222.';
REVOKE ALL ON FUNCTION atp_internal.require_compatible_schema(int, jsonb, text, int) FROM PUBLIC;

CREATE FUNCTION atp.register_schema(event_type text, schema jsonb, compatibility text DEFAULT NULL, status text DEFAULT 'active',
		description text DEFAULT NULL, changelog text DEFAULT NULL) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	type atp_internal.event_type;
	mode text;
	known int;
BEGIN
	IF register_schema.schema IS NULL THEN
		RAISE EXCEPTION 'schema must not be null' USING ERRCODE = 'null_value_not_allowed';
	ELSIF register_schema.status IS NULL OR register_schema.status NOT IN ('draft', 'active') THEN
		RAISE EXCEPTION 'a schema is registered as draft or as active' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'atp.set_schema_status changes it later.';
	END IF;
	PERFORM atp_internal.check_schema(register_schema.schema);
	PERFORM atp.register_event_type(register_schema.event_type);
	SELECT * INTO STRICT type FROM atp_internal.event_type y WHERE y.name = register_schema.event_type FOR NO KEY UPDATE;
	SELECT max(s.version) INTO known FROM atp_internal.event_schema s
		WHERE s.event_type = type.event_type AND s.status <> 'retired' AND s.document = register_schema.schema;
	IF known IS NOT NULL THEN
		RETURN known;
	END IF;
	IF register_schema.compatibility IS NOT NULL AND type.latest_version = 0 THEN
		PERFORM atp.register_event_type(register_schema.event_type, compatibility => register_schema.compatibility);
	END IF;
	mode := COALESCE(register_schema.compatibility, type.compatibility);
	PERFORM atp_internal.require_compatible_schema(type.event_type, register_schema.schema, mode, 0);
	UPDATE atp_internal.event_type y SET latest_version = y.latest_version + 1
		WHERE y.event_type = type.event_type RETURNING y.latest_version INTO type.latest_version;
	INSERT INTO atp_internal.event_schema (event_type, version, status, document, compatibility, description, changelog)
		VALUES (type.event_type, type.latest_version, 'draft', register_schema.schema, mode, register_schema.description,
			register_schema.changelog);
	IF register_schema.status = 'active' THEN
		PERFORM atp_internal.activate_schema(type.event_type, type.latest_version, 'registered');
	ELSE
		PERFORM atp_internal.change_schema_status(type.event_type, type.latest_version, 'draft', NULL, 'registered');
	END IF;
	RETURN type.latest_version;
END $$;
COMMENT ON FUNCTION atp.register_schema(text, jsonb, text, text, text, text) IS
'Register a schema of an event type as its next version and return that.
The type is registered too if it is not. status: active (appends are validated against it from the commit on; the version that was active becomes deprecated) or draft. compatibility: the mode to check it under; NULL: the type''s; given with the first schema of a type, it becomes the type''s. A schema equal to one that the type has and that is not retired returns its version and changes nothing.
Registrations of one type wait for each other until the transaction ends.
Raises: TP201 (malformed name), TP213, TP215 (the schema does not compile), TP222 (not compatible), TP224 (one of the platform''s own types), TP225 (too large), 22004, 22023.';
REVOKE ALL ON FUNCTION atp.register_schema(text, jsonb, text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.register_schema(text, jsonb, text, text, text, text) TO atp_admin;

CREATE FUNCTION atp.set_schema_status(event_type text, schema_version int, status text, reason text DEFAULT NULL,
		sunset_at timestamptz DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	type atp_internal.event_type;
	version atp_internal.event_schema;
	title text := pg_catalog.format('schema version %s of event type "%s"', schema_version, event_type);
BEGIN
	IF set_schema_status.status IS NULL OR set_schema_status.status NOT IN ('draft', 'active', 'deprecated', 'retired') THEN
		RAISE EXCEPTION 'unknown schema status "%"', set_schema_status.status USING ERRCODE = 'invalid_parameter_value',
			HINT = 'draft, active, deprecated or retired.';
	END IF;
	SELECT * INTO type FROM atp_internal.event_type y WHERE y.name = set_schema_status.event_type FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'event type "%" is not registered', set_schema_status.event_type USING ERRCODE = 'TP207';
	ELSIF type.builtin THEN
		RAISE EXCEPTION 'event type "%" is one of the platform''s own', set_schema_status.event_type USING ERRCODE = 'TP224';
	END IF;
	SELECT * INTO version FROM atp_internal.event_schema s
		WHERE s.event_type = type.event_type AND s.version = set_schema_status.schema_version;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'event type "%" has no schema version %', set_schema_status.event_type, set_schema_status.schema_version
			USING ERRCODE = 'TP220', DETAIL = pg_catalog.format('Its latest version is %s.', type.latest_version);
	ELSIF version.status = 'retired' THEN
		RAISE EXCEPTION '% is retired', title USING ERRCODE = 'TP223', HINT = 'Register the schema again: it becomes a new version.';
	ELSIF set_schema_status.status = 'draft' AND version.status <> 'draft' THEN
		RAISE EXCEPTION '% has been in use and cannot become a draft', title USING ERRCODE = 'TP223',
			DETAIL = pg_catalog.format('It is %s.', version.status);
	ELSIF version.status = 'active' AND set_schema_status.status <> 'active' THEN
		RAISE EXCEPTION '% is the active one', title USING ERRCODE = 'TP223',
			DETAIL = 'Appends are validated against it.',
			HINT = 'Activate another version first, or switch validation off with atp.register_event_type.';
	ELSIF set_schema_status.status = 'deprecated' AND version.status = 'draft' THEN
		RAISE EXCEPTION '% is a draft', title USING ERRCODE = 'TP223', HINT = 'A draft is activated or retired.';
	ELSIF set_schema_status.status = 'retired' AND COALESCE(set_schema_status.sunset_at, version.sunset_at) > pg_catalog.clock_timestamp() THEN
		RAISE EXCEPTION '% is served until its sunset', title USING ERRCODE = 'TP223',
			DETAIL = pg_catalog.format('Its sunset is at %s.', COALESCE(set_schema_status.sunset_at, version.sunset_at)),
			HINT = 'Set an earlier sunset first: status deprecated with another sunset_at.';
	END IF;
	IF set_schema_status.status = 'active' AND version.status <> 'active' THEN
		-- What was active meanwhile may be another version than the draft was checked against.
		IF version.status = 'draft' THEN
			PERFORM atp_internal.require_compatible_schema(type.event_type, version.document, version.compatibility, version.version);
		END IF;
		PERFORM atp_internal.activate_schema(type.event_type, version.version, set_schema_status.reason);
	ELSE
		PERFORM atp_internal.change_schema_status(type.event_type, version.version, set_schema_status.status,
			COALESCE(set_schema_status.sunset_at, version.sunset_at), set_schema_status.reason);
	END IF;
END $$;
COMMENT ON FUNCTION atp.set_schema_status(text, int, text, text, timestamptz) IS
'Set the status of a schema version: draft, active, deprecated or retired.
Activating a version deprecates the one that was active. A deprecated version is accepted where a writer names it, and served to readers who ask for it, until sunset_at (NULL: leave the date that stands). A retired version is accepted no more, for good. The active version cannot step down without a successor.
Raises: TP207, TP220 (no such version), TP222 (a draft is not compatible with what is active now), TP223 (the change is not allowed), TP224 (one of the platform''s own types), 22023.';
REVOKE ALL ON FUNCTION atp.set_schema_status(text, int, text, text, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.set_schema_status(text, int, text, text, timestamptz) TO atp_admin;

CREATE FUNCTION atp.get_schema(event_type text, schema_version int DEFAULT NULL) RETURNS atp.schemas
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s FROM atp.schemas s
		WHERE s.event_type = get_schema.event_type
			AND CASE WHEN get_schema.schema_version IS NULL THEN s.status = 'active' ELSE s.schema_version = get_schema.schema_version END;
END;
COMMENT ON FUNCTION atp.get_schema(text, int) IS
'Return a schema of an event type; NULL where there is none.
schema_version NULL: the active one.';
REVOKE ALL ON FUNCTION atp.get_schema(text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_schema(text, int) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_schemas(event_type text DEFAULT NULL, status text DEFAULT NULL) RETURNS SETOF atp.schemas
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT * FROM atp.schemas s
		WHERE s.event_type = COALESCE(list_schemas.event_type, s.event_type) AND s.status = COALESCE(list_schemas.status, s.status)
		ORDER BY s.event_type COLLATE "C", s.schema_version;
END;
COMMENT ON FUNCTION atp.list_schemas(text, text) IS
'List schemas by name of the event type and version.
NULL: of every type, in every status.';
REVOKE ALL ON FUNCTION atp.list_schemas(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_schemas(text, text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- Words as people write them: MailAddress is also mail and address.
CREATE FUNCTION atp_internal.schema_words(document text) RETURNS tsvector
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT to_tsvector('simple'::regconfig, document || ' ' || regexp_replace(regexp_replace(document, '[_.:/-]', ' ', 'g'),
		'([a-z0-9])([A-Z])', '\1 \2', 'g'));
END;
COMMENT ON FUNCTION atp_internal.schema_words(text) IS 'Return the words of a text, those inside compound names too.';
REVOKE ALL ON FUNCTION atp_internal.schema_words(text) FROM PUBLIC;

CREATE FUNCTION atp.search_schemas(query text) RETURNS SETOF atp.schemas
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s.* FROM atp.schemas s
			JOIN atp.event_types y ON y.event_type = s.event_type,
		LATERAL (SELECT setweight(atp_internal.schema_words(s.event_type), 'A')
			|| setweight(atp_internal.schema_words(concat_ws(' ', y.description, s.description, s.changelog, s.owner)), 'B')
			|| atp_internal.schema_words(left(s.schema::text, 200000)) AS words) d
		WHERE d.words @@ websearch_to_tsquery('simple'::regconfig, search_schemas.query)
		ORDER BY ts_rank(d.words, websearch_to_tsquery('simple'::regconfig, search_schemas.query)) DESC, s.event_type COLLATE "C",
			s.schema_version DESC;
END;
COMMENT ON FUNCTION atp.search_schemas(text) IS
'Search schemas by words; the best match comes first.
The words of the type''s name, the descriptions, the changelog, the owner, and of the schema itself: names of properties, titles, descriptions (of its first 200,000 characters). query is as web searches write it: words, "a phrase", or, -not.';
REVOKE ALL ON FUNCTION atp.search_schemas(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.search_schemas(text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp.validate_payload(event_type text, payload jsonb, schema_version int DEFAULT NULL,
	OUT instance_location text, OUT keyword_location text, OUT keyword text, OUT message text) RETURNS SETOF record
	LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 10 AS 'MODULE_PATHNAME', 'atp_schema_payload_errors';
COMMENT ON FUNCTION atp.validate_payload(text, jsonb, int) IS
'List why a payload is not valid against its schema; no row where it is.
The schema is one of its event type. schema_version NULL: the active version; no row where there is none. Any version can be named, a draft too. Rows are those of schema_errors. The type''s validation mode is of no matter here.
Raises: TP207 (unknown type), TP213, TP214, TP215 (the schema cannot be run), TP220 (no such version), 54000.';
REVOKE ALL ON FUNCTION atp.validate_payload(text, jsonb, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.validate_payload(text, jsonb, int) TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- ==== src/record/upcaster.sql ====
-- Upcasters and downcasters: steps between the versions of a type's schema. The stored event never changes; forms are made on reading.
CREATE TABLE atp_internal.upcaster (
	event_type int NOT NULL CONSTRAINT upcaster_event_type_known REFERENCES atp_internal.event_type,
	from_version int NOT NULL CONSTRAINT upcaster_from_version_valid CHECK (from_version >= 0),
	to_version int NOT NULL CONSTRAINT upcaster_to_version_valid CHECK (to_version > 0 AND pg_catalog.abs(to_version - from_version) = 1),
	operations jsonb,
	function text,
	description text,
	registered_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	registered_by text NOT NULL DEFAULT SESSION_USER,
	CONSTRAINT upcaster_pk PRIMARY KEY (event_type, from_version, to_version),
	CONSTRAINT upcaster_operations_or_function CHECK ((operations IS NULL) <> (function IS NULL))
);
COMMENT ON TABLE atp_internal.upcaster IS 'Steps from one version of a type''s schema to the next or the one before. A reference table shared by all tenants.';
COMMENT ON COLUMN atp_internal.upcaster.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.upcaster.from_version IS 'Version that the step takes; 0: events without a schema.';
COMMENT ON COLUMN atp_internal.upcaster.to_version IS 'Version that the step gives: the next, or the one before.';
COMMENT ON COLUMN atp_internal.upcaster.operations IS 'Declared operations, applied in order; NULL where a function does it.';
COMMENT ON COLUMN atp_internal.upcaster.function IS 'Signature of the SQL function that does it: text, so that a dump and pg_upgrade carry it; NULL where operations do.';
COMMENT ON COLUMN atp_internal.upcaster.description IS 'What the step does.';
COMMENT ON COLUMN atp_internal.upcaster.registered_at IS 'When it was registered.';
COMMENT ON COLUMN atp_internal.upcaster.registered_by IS 'Role of the session that registered it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.upcaster', 'WHERE event_type >= 1000');

CREATE FUNCTION atp_internal.upcaster_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_upcaster_changed';
COMMENT ON FUNCTION atp_internal.upcaster_changed() IS 'Tell every backend that its cache of upcasters is stale.';
REVOKE ALL ON FUNCTION atp_internal.upcaster_changed() FROM PUBLIC;
CREATE TRIGGER upcaster_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.upcaster
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.upcaster_changed();
ALTER TABLE atp_internal.upcaster ENABLE ALWAYS TRIGGER upcaster_changed;

CREATE VIEW atp.upcasters AS
	SELECT y.name AS event_type, u.from_version, u.to_version, CASE WHEN u.to_version > u.from_version THEN 'up' ELSE 'down' END AS direction,
		u.operations, u.function, u.description, u.registered_at, u.registered_by
	FROM atp_internal.upcaster u
		JOIN atp_internal.event_type y ON y.event_type = u.event_type;
COMMENT ON VIEW atp.upcasters IS 'List the steps between schema versions: upcasters and downcasters.';
COMMENT ON COLUMN atp.upcasters.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.upcasters.from_version IS 'Version that the step takes; 0: events without a schema.';
COMMENT ON COLUMN atp.upcasters.to_version IS 'Version that the step gives.';
COMMENT ON COLUMN atp.upcasters.direction IS 'up or down.';
COMMENT ON COLUMN atp.upcasters.operations IS 'Declared operations; NULL where a function does it.';
COMMENT ON COLUMN atp.upcasters.function IS 'SQL function; NULL where operations do it.';
COMMENT ON COLUMN atp.upcasters.description IS 'What the step does.';
COMMENT ON COLUMN atp.upcasters.registered_at IS 'When it was registered.';
COMMENT ON COLUMN atp.upcasters.registered_by IS 'Role of the session that registered it.';
GRANT SELECT ON atp.upcasters TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.check_upcaster_operations(operations jsonb) RETURNS void
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_upcaster_check_operations';
COMMENT ON FUNCTION atp_internal.check_upcaster_operations(jsonb) IS
'Refuse what is not a list of operations.
Raises: TP226.';
REVOKE ALL ON FUNCTION atp_internal.check_upcaster_operations(jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.check_upcaster_function(function regprocedure) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_upcaster_check_function';
COMMENT ON FUNCTION atp_internal.check_upcaster_function(regprocedure) IS
'Return the qualified signature of a function that can be an upcaster.
Raises: TP226 (not a function of one jsonb that returns jsonb).';
REVOKE ALL ON FUNCTION atp_internal.check_upcaster_function(regprocedure) FROM PUBLIC;

CREATE FUNCTION atp_internal.register_step(event_type text, from_version int, to_version int, operations jsonb, function regprocedure,
		description text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	type atp_internal.event_type;
	signature text;
BEGIN
	SELECT * INTO type FROM atp_internal.event_type y WHERE y.name = register_step.event_type;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'event type "%" is not registered', register_step.event_type USING ERRCODE = 'TP207';
	ELSIF type.builtin THEN
		RAISE EXCEPTION 'event type "%" is one of the platform''s own', register_step.event_type USING ERRCODE = 'TP224';
	ELSIF register_step.from_version IS NULL OR register_step.from_version < 0 OR register_step.to_version < 1
			OR GREATEST(register_step.from_version, register_step.to_version) > type.latest_version THEN
		RAISE EXCEPTION 'event type "%" has no schema versions % and %', register_step.event_type, register_step.from_version,
				register_step.to_version
			USING ERRCODE = 'TP220', DETAIL = pg_catalog.format('Its latest version is %s.', type.latest_version);
	ELSIF (register_step.operations IS NULL) = (register_step.function IS NULL) THEN
		RAISE EXCEPTION 'a step has either operations or a function' USING ERRCODE = 'TP226';
	END IF;
	PERFORM atp_internal.check_upcaster_operations(register_step.operations);
	signature := atp_internal.check_upcaster_function(register_step.function);
	INSERT INTO atp_internal.upcaster AS known (event_type, from_version, to_version, operations, function, description)
		VALUES (type.event_type, register_step.from_version, register_step.to_version, register_step.operations, signature,
			register_step.description)
		ON CONFLICT (event_type, from_version, to_version) DO UPDATE SET operations = excluded.operations, function = excluded.function,
			description = excluded.description, registered_at = excluded.registered_at, registered_by = excluded.registered_by;
END $$;
COMMENT ON FUNCTION atp_internal.register_step(text, int, int, jsonb, regprocedure, text) IS
'Register or replace a step between two versions.
Raises: TP207, TP220, TP224, TP226.';
REVOKE ALL ON FUNCTION atp_internal.register_step(text, int, int, jsonb, regprocedure, text) FROM PUBLIC;

CREATE FUNCTION atp.register_upcaster(event_type text, from_version int, operations jsonb DEFAULT NULL, function regprocedure DEFAULT NULL,
		description text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.register_step(register_upcaster.event_type, register_upcaster.from_version, register_upcaster.from_version + 1,
		register_upcaster.operations, register_upcaster.function, register_upcaster.description);
END;
COMMENT ON FUNCTION atp.register_upcaster(text, int, jsonb, regprocedure, text) IS
'Register how a payload of a schema version becomes one of the next version.
from_version 0: events without a schema. operations: an array of {"op": "rename", "path", "to" (a name)}, {"op": "move", "path", "to" (a path)}, {"op": "default", "path", "value"}, {"op": "drop", "path"}, {"op": "map", "path", "values": [[from, to], ...], "otherwise"}; paths are JSON pointers. function: one of a jsonb that returns jsonb, which runs with the rights of who reads. One of the two; an earlier one is replaced.
Raises: TP207 (unknown type), TP220 (no such version), TP224 (one of the platform''s own types), TP226 (malformed).';
REVOKE ALL ON FUNCTION atp.register_upcaster(text, int, jsonb, regprocedure, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.register_upcaster(text, int, jsonb, regprocedure, text) TO atp_admin;

CREATE FUNCTION atp.register_downcaster(event_type text, from_version int, operations jsonb DEFAULT NULL, function regprocedure DEFAULT NULL,
		description text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.register_step(register_downcaster.event_type, register_downcaster.from_version, register_downcaster.from_version - 1,
		register_downcaster.operations, register_downcaster.function, register_downcaster.description);
END;
COMMENT ON FUNCTION atp.register_downcaster(text, int, jsonb, regprocedure, text) IS
'Register how a payload of a schema version becomes one of the version before.
So an event of the new version is also published in the old form, to readers whose accept_versions ask for it, until the sunset of the old version (atp.set_schema_status). Arguments are those of register_upcaster.
Raises: TP207 (unknown type), TP220 (no such version), TP224 (one of the platform''s own types), TP226 (malformed).';
REVOKE ALL ON FUNCTION atp.register_downcaster(text, int, jsonb, regprocedure, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.register_downcaster(text, int, jsonb, regprocedure, text) TO atp_admin;

CREATE FUNCTION atp.drop_upcaster(event_type text, from_version int, to_version int) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	DELETE FROM atp_internal.upcaster u USING atp_internal.event_type y
		WHERE y.name = drop_upcaster.event_type AND u.event_type = y.event_type AND NOT y.builtin
			AND u.from_version = drop_upcaster.from_version AND u.to_version = drop_upcaster.to_version;
	RETURN FOUND;
END $$;
COMMENT ON FUNCTION atp.drop_upcaster(text, int, int) IS
'Drop an upcaster or downcaster; false where there is none.
Readers who need the step are refused from then on.';
REVOKE ALL ON FUNCTION atp.drop_upcaster(text, int, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.drop_upcaster(text, int, int) TO atp_admin;

CREATE FUNCTION atp.cast_payload(event_type text, payload jsonb, from_version int, to_version int) RETURNS jsonb
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_upcaster_cast_payload';
COMMENT ON FUNCTION atp.cast_payload(text, jsonb, int, int) IS
'Bring a payload from one schema version to another.
By as many steps as lie between. For trying steps out: the status of the versions is of no matter, and the result is not validated. Functions run with the rights of the caller.
Raises: TP205, TP207 (unknown type), TP220 (no such version), TP227 (a step failed), TP228 (a step is missing).';
REVOKE ALL ON FUNCTION atp.cast_payload(text, jsonb, int, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.cast_payload(text, jsonb, int, int) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.accepted_version(event_type text, schema_version int, accept_versions jsonb, event_id uuid) RETURNS int
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_upcaster_accepted_version';
COMMENT ON FUNCTION atp_internal.accepted_version(text, int, jsonb, uuid) IS
'Return the schema version in which a reader gets a stored event.
The stored one if it is accepted, else the highest accepted one that is served (active, or deprecated and before its sunset) and that steps lead to.
Raises: TP228 (there is none), 22023 (accept_versions is malformed).';
REVOKE ALL ON FUNCTION atp_internal.accepted_version(text, int, jsonb, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.accepted_version(text, int, jsonb, uuid) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.cast_stored(event_type text, schema_version int, accept_versions jsonb, event_id uuid, payload json) RETURNS json
	LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_upcaster_cast_stored';
COMMENT ON FUNCTION atp_internal.cast_stored(text, int, jsonb, uuid, json) IS
'Return the payload of a stored event in the version that accepted_version says.
Canonical text, as the stored form is; NULL once erased.
Raises: TP227 (a step failed), TP228, 22023.';
REVOKE ALL ON FUNCTION atp_internal.cast_stored(text, int, jsonb, uuid, json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.cast_stored(text, int, jsonb, uuid, json) TO atp_reader, atp_auditor, atp_admin;

-- ==== src/record/catalog.sql ====
-- The catalogue: what an event type means to people and to programs, beside its schema. The platform's own types come from one
-- source, src/record/catalog/*.json: src/tools/catalog puts it behind this part of the install script. Keys of builtin types are fixed
-- numbers below 1000, so that a dump that names them means the same where it is restored; builtin rows themselves are not dumped.
CREATE TABLE atp_internal.event_type_document (
	event_type int CONSTRAINT event_type_document_pk PRIMARY KEY
		CONSTRAINT event_type_document_event_type_known REFERENCES atp_internal.event_type,
	kind text NOT NULL DEFAULT 'domain' CONSTRAINT event_type_document_kind_known CHECK (kind IN ('domain', 'integration', 'system')),
	category text NOT NULL DEFAULT 'application',
	producers text[] NOT NULL DEFAULT '{}',
	consumers text[] NOT NULL DEFAULT '{}',
	emitted text,
	note text,
	rules text[] NOT NULL DEFAULT '{}',
	idempotency_key text,
	retry jsonb,
	dead_letter jsonb,
	monitoring jsonb,
	example jsonb
);
COMMENT ON TABLE atp_internal.event_type_document IS 'What is said about event types. A reference table shared by all tenants.';
COMMENT ON COLUMN atp_internal.event_type_document.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.event_type_document.kind IS 'domain (one aggregate, one context), integration (published language) or system.';
COMMENT ON COLUMN atp_internal.event_type_document.category IS 'Group of types that belong together.';
COMMENT ON COLUMN atp_internal.event_type_document.producers IS 'Functions or systems that append such events.';
COMMENT ON COLUMN atp_internal.event_type_document.consumers IS 'Who acts upon them.';
COMMENT ON COLUMN atp_internal.event_type_document.emitted IS 'Builtin types: when it happens, rendered from the log, or later.';
COMMENT ON COLUMN atp_internal.event_type_document.note IS 'What else there is to know.';
COMMENT ON COLUMN atp_internal.event_type_document.rules IS 'Business rules: what holds whenever such an event is stored.';
COMMENT ON COLUMN atp_internal.event_type_document.idempotency_key IS 'What makes two of them the same to a consumer.';
COMMENT ON COLUMN atp_internal.event_type_document.retry IS 'How consumers shall retry: max_attempts, backoff, first_delay, max_delay, reason.';
COMMENT ON COLUMN atp_internal.event_type_document.dead_letter IS 'When one becomes a dead letter, and what to do with it: reasons, when, handling.';
COMMENT ON COLUMN atp_internal.event_type_document.monitoring IS 'Metrics (name, type, description) and alerts (name, when, severity, action).';
COMMENT ON COLUMN atp_internal.event_type_document.example IS 'A payload that the schema accepts.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_type_document', 'WHERE event_type >= 1000');

CREATE FUNCTION atp_internal.seed_catalog(entries jsonb) RETURNS void
	LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.event_type (event_type, name, builtin, description, owner, active_version, latest_version)
		SELECT (e ->> 'key')::int, e ->> 'event_type', true, e ->> 'description', 'atp', 1, 1 FROM jsonb_array_elements(entries) AS e;
	INSERT INTO atp_internal.event_schema (schema, event_type, version, status, document, compatibility, changelog)
		SELECT (e ->> 'key')::int, (e ->> 'key')::int, 1, 'active', e -> 'schema', 'BACKWARD', 'first version'
		FROM jsonb_array_elements(entries) AS e;
	INSERT INTO atp_internal.event_schema_history (event_type, version, change, status, reason)
		SELECT (e ->> 'key')::int, 1, 1, 'active', 'installed' FROM jsonb_array_elements(entries) AS e;
	INSERT INTO atp_internal.event_type_document (event_type, kind, category, producers, consumers, emitted, note, rules, idempotency_key,
			retry, dead_letter, monitoring, example)
		SELECT (e ->> 'key')::int, e ->> 'kind', e ->> 'category', ARRAY(SELECT jsonb_array_elements_text(e -> 'producers')),
			ARRAY(SELECT jsonb_array_elements_text(e -> 'consumers')), e ->> 'emitted', e ->> 'note',
			ARRAY(SELECT jsonb_array_elements_text(e -> 'rules')), e ->> 'idempotency_key', e -> 'retry', e -> 'dead_letter',
			e -> 'monitoring', e -> 'example'
		FROM jsonb_array_elements(entries) AS e;
END;
COMMENT ON FUNCTION atp_internal.seed_catalog(jsonb) IS
'Register one group of the platform''s own event types.
For the install script.';
REVOKE ALL ON FUNCTION atp_internal.seed_catalog(jsonb) FROM PUBLIC;

CREATE VIEW atp.event_type_catalog AS
	SELECT y.name AS event_type, coalesce(d.kind, 'domain') AS kind, coalesce(d.category, 'application') AS category, y.description,
		coalesce(d.producers, '{}') AS producers, coalesce(d.consumers, '{}') AS consumers, s.version AS schema_version,
		s.document AS schema, d.example, coalesce(d.rules, '{}') AS rules, d.idempotency_key, d.retry, d.dead_letter, d.monitoring,
		coalesce(d.emitted, 'by applications') AS emitted, d.note, y.owner, y.builtin
	FROM atp_internal.event_type y
		LEFT JOIN atp_internal.event_type_document d ON d.event_type = y.event_type
		LEFT JOIN atp_internal.event_schema s ON s.event_type = y.event_type AND s.version = y.active_version;
COMMENT ON VIEW atp.event_type_catalog IS
'List every event type with all that is known of it: the platform''s own and those that applications registered.
Types that registered themselves on first use are there too, with little said about them.';
COMMENT ON COLUMN atp.event_type_catalog.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.event_type_catalog.kind IS 'domain (one aggregate, one context), integration (published language) or system.';
COMMENT ON COLUMN atp.event_type_catalog.category IS 'Group of types that belong together.';
COMMENT ON COLUMN atp.event_type_catalog.description IS 'What an event of the type says happened.';
COMMENT ON COLUMN atp.event_type_catalog.producers IS 'Functions or systems that append such events.';
COMMENT ON COLUMN atp.event_type_catalog.consumers IS 'Who acts upon them.';
COMMENT ON COLUMN atp.event_type_catalog.schema_version IS 'Version of the schema that appends are validated against; NULL: none.';
COMMENT ON COLUMN atp.event_type_catalog.schema IS 'That schema.';
COMMENT ON COLUMN atp.event_type_catalog.example IS 'A payload that the schema accepts.';
COMMENT ON COLUMN atp.event_type_catalog.rules IS 'Business rules: what holds whenever such an event is stored.';
COMMENT ON COLUMN atp.event_type_catalog.idempotency_key IS 'What makes two of them the same to a consumer.';
COMMENT ON COLUMN atp.event_type_catalog.retry IS 'How consumers shall retry.';
COMMENT ON COLUMN atp.event_type_catalog.dead_letter IS 'When one becomes a dead letter, and what to do with it.';
COMMENT ON COLUMN atp.event_type_catalog.monitoring IS 'Metrics and alerts.';
COMMENT ON COLUMN atp.event_type_catalog.emitted IS 'when it happens, rendered from the log, later (registered for a part of the platform to come), or by applications.';
COMMENT ON COLUMN atp.event_type_catalog.note IS 'What else there is to know.';
COMMENT ON COLUMN atp.event_type_catalog.owner IS 'Who answers for the type.';
COMMENT ON COLUMN atp.event_type_catalog.builtin IS 'True for the platform''s own types.';
GRANT SELECT ON atp.event_type_catalog TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.document_schema() RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN $schema${
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$defs": {"Texts": {"type": "array", "items": {"type": "string", "minLength": 1}}, "Text": {"type": ["string", "null"]}},
		"type": "object",
		"properties": {
			"kind": {"enum": ["domain", "integration", "system"]},
			"category": {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"},
			"producers": {"$ref": "#/$defs/Texts"},
			"consumers": {"$ref": "#/$defs/Texts"},
			"rules": {"$ref": "#/$defs/Texts"},
			"note": {"$ref": "#/$defs/Text"},
			"idempotency_key": {"$ref": "#/$defs/Text"},
			"retry": {"type": ["object", "null"]},
			"dead_letter": {"type": ["object", "null"]},
			"monitoring": {
				"type": ["object", "null"],
				"properties": {
					"metrics": {"type": "array", "items": {"type": "object", "required": ["name", "type", "description"]}},
					"alerts": {"type": "array", "items": {"type": "object", "required": ["name", "when", "severity", "action"]}}
				}
			},
			"example": {"type": ["object", "null"]}
		},
		"additionalProperties": false
	}$schema$::jsonb;
COMMENT ON FUNCTION atp_internal.document_schema() IS 'Return the JSON Schema of what atp.document_event_type takes.';
REVOKE ALL ON FUNCTION atp_internal.document_schema() FROM PUBLIC;

CREATE FUNCTION atp.document_event_type(event_type text, documentation jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	type atp_internal.event_type;
	said jsonb := document_event_type.documentation;
	faults text;
BEGIN
	IF said IS NULL THEN
		RAISE EXCEPTION 'documentation must not be null' USING ERRCODE = '22004';
	END IF;
	SELECT y.* INTO type FROM atp_internal.event_type y WHERE y.name = document_event_type.event_type FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'event type "%" is not registered', document_event_type.event_type USING ERRCODE = 'TP207',
			HINT = 'Register it with atp.register_event_type.';
	ELSIF type.builtin THEN
		RAISE EXCEPTION 'event type "%" is one of the platform''s own', type.name USING ERRCODE = 'TP224';
	END IF;
	SELECT string_agg(format('%s: %s', coalesce(nullif(e.instance_location, ''), '/'), e.message), E'\n') INTO faults
		FROM (SELECT * FROM atp.schema_errors(atp_internal.document_schema(), said) LIMIT 10) e;
	IF faults IS NULL AND jsonb_typeof(said -> 'example') = 'object' THEN
		SELECT string_agg(format('/example%s: %s', e.instance_location, e.message), E'\n') INTO faults
			FROM (SELECT * FROM atp.validate_payload(type.name, said -> 'example') LIMIT 10) e;
	END IF;
	IF faults IS NOT NULL THEN
		RAISE EXCEPTION 'the documentation of event type "%" is malformed', type.name USING ERRCODE = 'TP270', DETAIL = faults,
			HINT = 'Members are kind, category, producers, consumers, rules, note, idempotency_key, retry, dead_letter, monitoring and example.';
	END IF;
	INSERT INTO atp_internal.event_type_document (event_type) VALUES (type.event_type) ON CONFLICT (event_type) DO NOTHING;
	UPDATE atp_internal.event_type_document d SET
			kind = coalesce(said ->> 'kind', d.kind),
			category = coalesce(said ->> 'category', d.category),
			producers = CASE WHEN said ? 'producers' THEN ARRAY(SELECT jsonb_array_elements_text(said -> 'producers')) ELSE d.producers END,
			consumers = CASE WHEN said ? 'consumers' THEN ARRAY(SELECT jsonb_array_elements_text(said -> 'consumers')) ELSE d.consumers END,
			rules = CASE WHEN said ? 'rules' THEN ARRAY(SELECT jsonb_array_elements_text(said -> 'rules')) ELSE d.rules END,
			note = CASE WHEN said ? 'note' THEN said ->> 'note' ELSE d.note END,
			idempotency_key = CASE WHEN said ? 'idempotency_key' THEN said ->> 'idempotency_key' ELSE d.idempotency_key END,
			retry = CASE WHEN said ? 'retry' THEN nullif(said -> 'retry', 'null') ELSE d.retry END,
			dead_letter = CASE WHEN said ? 'dead_letter' THEN nullif(said -> 'dead_letter', 'null') ELSE d.dead_letter END,
			monitoring = CASE WHEN said ? 'monitoring' THEN nullif(said -> 'monitoring', 'null') ELSE d.monitoring END,
			example = CASE WHEN said ? 'example' THEN nullif(said -> 'example', 'null') ELSE d.example END
		WHERE d.event_type = type.event_type;
END $$;
COMMENT ON FUNCTION atp.document_event_type(text, jsonb) IS
'Say what an event type means: the members given replace what was said before.
documentation is an object with any of kind (domain, integration, system), category, producers, consumers, rules (arrays of text), note, idempotency_key, retry, dead_letter, monitoring {metrics, alerts} and example, a payload that the active schema accepts. All of it shows in atp.event_type_catalog and in the generated documents.
Raises: TP207 (unknown type), TP224 (one of the platform''s own types), TP270 (malformed; DETAIL says where), 22004.';
REVOKE ALL ON FUNCTION atp.document_event_type(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.document_event_type(text, jsonb) TO atp_admin;

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "AuditEventReceived",
		"key": 1,
		"kind": "domain",
		"category": "ingestion",
		"description": "An application's report of who did what to which resource was accepted, validated and stored.",
		"emitted": "when it happens",
		"producers": ["atp.ingest_event", "atp.ingest_batch", "COPY atp.ingest", "atp.reingest_event"],
		"consumers": ["classification", "retention", "read models of activity by actor and resource", "SIEM forwarding"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:AuditEventReceived:1",
			"title": "AuditEventReceived",
			"description": "An application's report of who did what to which resource was accepted, validated and stored.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "Id of this event itself, a ULID."},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Timestamp": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When the act happened, in the caller's word; the time of ingestion where the caller gave none. RFC 3339, UTC."
				},
				"Actor": {
					"type": "string",
					"minLength": 1,
					"maxLength": 1024,
					"description": "Who acted: a user, service or system principal, as the application names it."
				},
				"Action": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "What was done, as the application names it."},
				"Resource": {
					"type": "string",
					"minLength": 1,
					"maxLength": 2048,
					"description": "What it was done to. Its stream holds the event: the resource itself where it is a stream name, otherwise a name made from it."
				},
				"Payload": {
					"type": "object",
					"description": "The application's own details of the act; valid against the schema of the payload type where one was named."
				}
			},
			"required": ["EventId", "TenantId", "Timestamp", "Actor", "Action", "Resource", "Payload"],
			"additionalProperties": false
		},
		"rules": [
			"EventId is the id of the event that carries it, so that a copy outside the database can be traced back.",
			"All events of one resource stand in one stream, in the order in which they were ingested.",
			"An item that is not valid is never stored as AuditEventReceived: it becomes AuditEventValidationFailed.",
			"Corrections are further events; a stored one is never changed."
		],
		"idempotency_key": "EventId. A producer that may send twice gives event_id or idempotency_key: the same one with the same content returns the original receipt.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A consumer that is down for minutes should catch up by itself; the order within the resource is kept meanwhile."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer refuses the event for good, or has failed max_attempts times.",
			"handling": "Mend the consumer, then replay the dead letters: handlers are idempotent by EventId."
		},
		"monitoring": {
			"metrics": [
				{"name": "atp_ingested_events_total", "type": "counter", "description": "Items accepted, by tenant."},
				{"name": "atp_ingest_seconds", "type": "histogram", "description": "Time from the call to its return."}
			],
			"alerts": [
				{
					"name": "IngestionStopped",
					"when": "no AuditEventReceived of a tenant that usually has some for 15 minutes",
					"severity": "warning",
					"action": "Ask the producers; see atp.ingest_batches for the last batch."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"TenantId": "acme",
			"Timestamp": "2026-03-01T09:30:00.000000Z",
			"Actor": "alice@example.com",
			"Action": "document.updated",
			"Resource": "document-42",
			"Payload": {"fields": ["title"], "ip": "192.0.2.7"}
		}
	},
	{
		"event_type": "AuditEventValidationFailed",
		"key": 2,
		"kind": "domain",
		"category": "ingestion",
		"description": "An item handed to ingestion was not valid; it was put into quarantine with its errors instead of being lost.",
		"emitted": "when it happens",
		"producers": ["atp.ingest_event", "atp.ingest_batch", "COPY atp.ingest", "atp.reingest_event"],
		"consumers": ["operators who correct and re-ingest", "producers of the data", "data quality reports"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:AuditEventValidationFailed:1",
			"title": "AuditEventValidationFailed",
			"description": "An item handed to ingestion was not valid; it was put into quarantine with its errors instead of being lost.",
			"type": "object",
			"properties": {
				"EventId": {
					"type": "string",
					"pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$",
					"description": "Id of this event itself, a ULID; it names the item in quarantine."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"ValidationErrors": {
					"type": "array",
					"items": {
						"type": "object",
						"properties": {
							"Code": {
								"type": "string",
								"minLength": 5,
								"maxLength": 6,
								"description": "SQLSTATE of the refusal, or SCHEMA for a fault that the schema of the payload found."
							},
							"Location": {"type": "string", "description": "JSON pointer into the item; empty for the item as a whole."},
							"Keyword": {"type": "string", "description": "Keyword of the schema that was not met; empty where none is concerned."},
							"Message": {"type": "string", "minLength": 1, "description": "The fault in a sentence, without values."}
						},
						"required": ["Code", "Location", "Keyword", "Message"],
						"additionalProperties": false,
						"description": "One fault."
					},
					"minItems": 1,
					"description": "Every fault found, at most 100."
				},
				"OriginalPayload": {
					"description": "The item exactly as it was handed in. Text where it was not JSON; a digest and the beginning where it was over the size limit."
				}
			},
			"required": ["EventId", "TenantId", "ValidationErrors", "OriginalPayload"],
			"additionalProperties": false
		},
		"rules": [
			"The item's own failure never fails the call or the batch that it came with.",
			"Each batch has a quarantine stream of its own, and so has each single item: a producer of rubbish slows nobody down.",
			"An item stays open until it is re-ingested; a further failure is a further event of the same stream.",
			"What was valid in the same batch is kept."
		],
		"idempotency_key": "EventId.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT10S",
			"max_delay": "PT30M",
			"reason": "A notification that reaches the producer late is better than none."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Nothing is lost: the item still stands in atp.list_quarantine()."
		},
		"monitoring": {
			"metrics": [
				{"name": "atp_quarantined_items", "type": "gauge", "description": "Items in quarantine that are still open, by tenant."},
				{"name": "atp_validation_failures_total", "type": "counter", "description": "Items refused, by tenant and code."}
			],
			"alerts": [
				{
					"name": "QuarantineGrowing",
					"when": "open items older than one day",
					"severity": "warning",
					"action": "List them with atp.list_quarantine(), correct and re-ingest them, or mend the producer."
				},
				{
					"name": "ProducerBroken",
					"when": "more than 5 % of a batch is refused",
					"severity": "critical",
					"action": "Stop the producer; compare its last release with the schema."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"TenantId": "acme",
			"ValidationErrors": [{"Code": "TP252", "Location": "/actor", "Keyword": "", "Message": "is missing"}],
			"OriginalPayload": {"action": "document.updated", "resource": "document-42"}
		}
	},
	{
		"event_type": "BatchIngestionStarted",
		"key": 3,
		"kind": "domain",
		"category": "ingestion",
		"description": "A batch of items was handed in and is being ingested.",
		"emitted": "when it happens",
		"producers": ["atp.ingest_batch", "COPY atp.ingest"],
		"consumers": ["operators", "lineage of data"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:BatchIngestionStarted:1",
			"title": "BatchIngestionStarted",
			"description": "A batch of items was handed in and is being ingested.",
			"type": "object",
			"properties": {
				"BatchId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "Identity of the batch: given by the caller, or derived from source and content."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"EventCount": {"type": "integer", "minimum": 0, "description": "Items in the batch, good and bad."},
				"Source": {
					"type": "string",
					"minLength": 1,
					"maxLength": 255,
					"description": "Where the items came from, in the caller's word: a file, a queue, a system."
				}
			},
			"required": ["BatchId", "TenantId", "EventCount", "Source"],
			"additionalProperties": false
		},
		"rules": [
			"First event of the batch's own stream.",
			"Started and Completed commit together with the items: a batch is either wholly there or not at all.",
			"The same batch handed in again starts nothing: it returns the original results."
		],
		"idempotency_key": "BatchId: without one given, the first 16 bytes of SHA-256 over source and canonical content, so that the same batch has the same id.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Informative: a consumer that misses it still has BatchIngestionCompleted."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Discard: the batch's stream and atp.ingest_batches say the same."
		},
		"monitoring": {
			"metrics": [{"name": "atp_batches_total", "type": "counter", "description": "Batches ingested, by tenant and source."}],
			"alerts": []
		},
		"example": {
			"BatchId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"EventCount": 10000,
			"Source": "s3://acme-audit/2026/03/01.jsonl"
		}
	},
	{
		"event_type": "BatchIngestionCompleted",
		"key": 4,
		"kind": "domain",
		"category": "ingestion",
		"description": "Every item of a batch was either stored or put into quarantine.",
		"emitted": "when it happens",
		"producers": ["atp.ingest_batch", "COPY atp.ingest"],
		"consumers": ["operators", "producers of the data", "data quality reports"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:BatchIngestionCompleted:1",
			"title": "BatchIngestionCompleted",
			"description": "Every item of a batch was either stored or put into quarantine.",
			"type": "object",
			"properties": {
				"BatchId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "Identity of the batch."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"SuccessCount": {"type": "integer", "minimum": 0, "description": "Items that are stored, those that were there already included."},
				"FailureCount": {"type": "integer", "minimum": 0, "description": "Items that went into quarantine."},
				"Duration": {
					"type": "string",
					"pattern": "^PT[0-9]+(\\.[0-9]+)?S$",
					"description": "Time from the start of the batch to this event. ISO 8601 duration in seconds and their fraction."
				}
			},
			"required": ["BatchId", "TenantId", "SuccessCount", "FailureCount", "Duration"],
			"additionalProperties": false
		},
		"rules": [
			"SuccessCount and FailureCount sum up to EventCount of BatchIngestionStarted.",
			"A batch with failures is complete nevertheless: its good items are kept.",
			"Last event of the batch's own stream."
		],
		"idempotency_key": "BatchId.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT15M",
			"reason": "Completion often releases the next step of a pipeline; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending; handling is idempotent by BatchId."
		},
		"monitoring": {
			"metrics": [
				{
					"name": "atp_batch_failure_ratio",
					"type": "gauge",
					"description": "FailureCount over EventCount of the last batch, by tenant and source."
				},
				{"name": "atp_batch_seconds", "type": "histogram", "description": "Duration of batches."}
			],
			"alerts": [
				{
					"name": "BatchMostlyRefused",
					"when": "failure ratio over 5 %",
					"severity": "critical",
					"action": "Look at atp.get_batch(batch_id) and stop the producer."
				},
				{
					"name": "BatchSlow",
					"when": "fewer than 5,000 items a second",
					"severity": "warning",
					"action": "Look for locks on the streams of the batch."
				}
			]
		},
		"example": {
			"BatchId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"SuccessCount": 9998,
			"FailureCount": 2,
			"Duration": "PT0.412007S"
		}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "EventStreamCreated",
		"key": 10,
		"kind": "domain",
		"category": "storage",
		"description": "A stream came into being with its first event.",
		"emitted": "rendered from the log",
		"note": "Follows one to one from an append. It is not stored a second time, because that would write every event twice; atp.platform_events renders it from the log.",
		"producers": ["the append of version 1"],
		"consumers": ["read models of streams", "retention"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventStreamCreated:1",
			"title": "EventStreamCreated",
			"description": "A stream came into being with its first event.",
			"type": "object",
			"properties": {
				"StreamId": {"type": "string", "minLength": 3, "maxLength": 255, "description": "Name of the stream, {AggregateType}-{AggregateId}."},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"SubjectId": {
					"type": "string",
					"minLength": 1,
					"maxLength": 253,
					"description": "What the stream is about: the part of its name after the first hyphen."
				},
				"StreamType": {
					"type": "string",
					"minLength": 1,
					"maxLength": 253,
					"description": "AggregateType: the part of the name before the first hyphen."
				}
			},
			"required": ["StreamId", "TenantId", "SubjectId", "StreamType"],
			"additionalProperties": false
		},
		"rules": ["There is exactly one for each stream, at version 1.", "A stream is never made without an event."],
		"idempotency_key": "TenantId and StreamId.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Read models of streams need it before they can show the stream."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Rebuild the read model from the log."
		},
		"monitoring": {
			"metrics": [{"name": "atp_streams_total", "type": "gauge", "description": "Streams, by tenant and category."}],
			"alerts": [
				{
					"name": "StreamFlood",
					"when": "ten times as many new streams in an hour as in the same hour of the week before",
					"severity": "warning",
					"action": "Look for an aggregate id that is random by mistake."
				}
			]
		},
		"example": {"StreamId": "order-42", "TenantId": "acme", "SubjectId": "42", "StreamType": "order"}
	},
	{
		"event_type": "EventAddedToStream",
		"key": 11,
		"kind": "domain",
		"category": "storage",
		"description": "An event was appended to a stream and linked into its hash chain.",
		"emitted": "rendered from the log",
		"note": "Follows one to one from an append. It is not stored a second time, because that would write every event twice; atp.platform_events renders it from the log.",
		"producers": ["every append"],
		"consumers": ["replication outside the database", "evidence"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventAddedToStream:1",
			"title": "EventAddedToStream",
			"description": "An event was appended to a stream and linked into its hash chain.",
			"type": "object",
			"properties": {
				"StreamId": {"type": "string", "minLength": 3, "maxLength": 255, "description": "Name of the stream."},
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event that was appended, a ULID."},
				"SequenceNumber": {"type": "integer", "minimum": 1, "description": "Its place in the stream, from 1."},
				"PreviousHash": {
					"type": "string",
					"pattern": "^[0-9a-f]{64}$",
					"description": "Chain link of the event before it; zeros for the first. 64 hexadecimal digits."
				}
			},
			"required": ["StreamId", "EventId", "SequenceNumber", "PreviousHash"],
			"additionalProperties": false
		},
		"rules": [
			"SequenceNumber grows by one from event to event of a stream, without gaps.",
			"PreviousHash equals the hash of the event at SequenceNumber - 1."
		],
		"idempotency_key": "EventId.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Order per stream is kept: a failed one holds up its own stream only."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Mend and replay; a gap in SequenceNumber shows what is missing."
		},
		"monitoring": {
			"metrics": [
				{"name": "atp_appended_events_total", "type": "counter", "description": "Events appended, by tenant and category."},
				{"name": "atp_log_lag_events", "type": "gauge", "description": "Events committed that have no place in the log yet."}
			],
			"alerts": [
				{
					"name": "LogLag",
					"when": "events without a place for longer than 10 s",
					"severity": "critical",
					"action": "See whether the worker runs: SELECT * FROM pg_stat_activity WHERE backend_type LIKE 'atp%'."
				}
			]
		},
		"example": {
			"StreamId": "order-42",
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"SequenceNumber": 7,
			"PreviousHash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
		}
	},
	{
		"event_type": "EventStreamSealed",
		"key": 12,
		"kind": "domain",
		"category": "storage",
		"description": "A stream was sealed: it takes no more events, and its content is summed up in one root.",
		"emitted": "when it happens",
		"producers": ["atp.seal_stream"],
		"consumers": ["archiving", "evidence", "external auditors"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventStreamSealed:1",
			"title": "EventStreamSealed",
			"description": "A stream was sealed: it takes no more events, and its content is summed up in one root.",
			"type": "object",
			"properties": {
				"StreamId": {"type": "string", "minLength": 3, "maxLength": 255, "description": "Name of the stream."},
				"FinalEventCount": {"type": "integer", "minimum": 0, "description": "Events in the stream before this one."},
				"MerkleRoot": {
					"type": "string",
					"pattern": "^[0-9a-f]{64}$",
					"description": "Root of the RFC 6962 tree over the hashes of those events. 64 hexadecimal digits."
				},
				"SealedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When the stream was sealed. RFC 3339, UTC."
				}
			},
			"required": ["StreamId", "FinalEventCount", "MerkleRoot", "SealedAt"],
			"additionalProperties": false
		},
		"rules": [
			"Who sealed it and why stand in the metadata: actor, session_user, reason.",
			"Last event of the stream itself: every later append is refused with TP106.",
			"Sealing cannot be undone.",
			"The root covers every event before this one; the chain covers this one."
		],
		"idempotency_key": "StreamId: a stream is sealed once.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Archiving waits for it; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending: the stream cannot change any more."
		},
		"monitoring": {
			"metrics": [{"name": "atp_sealed_streams_total", "type": "counter", "description": "Streams sealed, by tenant."}],
			"alerts": [
				{
					"name": "UnexpectedSeal",
					"when": "a seal by an actor outside the list of archivists",
					"severity": "warning",
					"action": "Compare with the change calendar."
				}
			]
		},
		"example": {
			"StreamId": "case-2025-114",
			"FinalEventCount": 318,
			"MerkleRoot": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
			"SealedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "EventStreamArchived",
		"key": 13,
		"kind": "domain",
		"category": "storage",
		"description": "A sealed stream was written to an archive and verified there.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp.archive_stream"],
		"consumers": ["retention", "external auditors"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventStreamArchived:1",
			"title": "EventStreamArchived",
			"description": "A sealed stream was written to an archive and verified there.",
			"type": "object",
			"properties": {
				"StreamId": {"type": "string", "minLength": 3, "maxLength": 255, "description": "Name of the stream."},
				"ArchiveLocation": {
					"type": "string",
					"minLength": 1,
					"maxLength": 2048,
					"description": "Where the archive is: a URI that the archiving program understands."
				},
				"ArchivedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When the archive was verified. RFC 3339, UTC."
				}
			},
			"required": ["StreamId", "ArchiveLocation", "ArchivedAt"],
			"additionalProperties": false
		},
		"rules": ["Only a sealed stream is archived.", "The event is written after the archive has been read back and verified, never before."],
		"idempotency_key": "StreamId and ArchiveLocation.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Retention waits for it."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending; nothing is deleted meanwhile."
		},
		"monitoring": {
			"metrics": [{"name": "atp_archived_streams_total", "type": "counter", "description": "Streams archived, by tenant and location."}],
			"alerts": [
				{
					"name": "ArchiveBacklog",
					"when": "sealed streams older than a day that are not archived",
					"severity": "warning",
					"action": "See whether the archiving program runs."
				}
			]
		},
		"example": {
			"StreamId": "case-2025-114",
			"ArchiveLocation": "s3://acme-archive/case-2025-114.ndjson.zst",
			"ArchivedAt": "2026-03-01T09:30:00.000000Z"
		}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "EventClassified",
		"key": 20,
		"kind": "domain",
		"category": "classification",
		"description": "The sensitivity of an event was determined.",
		"emitted": "rendered from the log",
		"note": "Follows one to one from an append. It is not stored a second time, because that would write every event twice; atp.platform_events renders it from the log.",
		"producers": ["the append, by the class of the event's type or by a classification policy"],
		"consumers": ["access control", "retention", "export filters"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventClassified:1",
			"title": "EventClassified",
			"description": "The sensitivity of an event was determined.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event that was classified, a ULID."},
				"Classification": {
					"type": "string",
					"enum": ["public", "internal", "confidential", "restricted"],
					"description": "The class, from the least to the most sensitive."
				},
				"Confidence": {"type": "number", "minimum": 0, "maximum": 1, "description": "How sure it is: 1 for a rule, less for a detector."},
				"ClassificationRules": {
					"type": "array",
					"items": {"type": "string", "minLength": 1, "maxLength": 255, "description": "One rule."},
					"minItems": 1,
					"description": "What decided: policies by id, or default where none applied."
				}
			},
			"required": ["EventId", "Classification", "Confidence", "ClassificationRules"],
			"additionalProperties": false
		},
		"rules": ["The most sensitive class of all rules that apply wins.", "A rule has confidence 1."],
		"idempotency_key": "EventId and Classification.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Access control fails closed until it has seen the class."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending; treat the event as restricted meanwhile."
		},
		"monitoring": {
			"metrics": [{"name": "atp_classified_events_total", "type": "counter", "description": "Events, by tenant and class."}],
			"alerts": [
				{
					"name": "RestrictedSurge",
					"when": "ten times as many restricted events in an hour as usual",
					"severity": "warning",
					"action": "Look for a producer that logs what it should not."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"Classification": "confidential",
			"Confidence": 1,
			"ClassificationRules": ["policy:3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d"]
		}
	},
	{
		"event_type": "PIIDetected",
		"key": 21,
		"kind": "domain",
		"category": "classification",
		"description": "Personal data were found in an event's payload outside the fields that are marked for it.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["the classification job"],
		"consumers": ["data protection officers", "redaction"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:PIIDetected:1",
			"title": "PIIDetected",
			"description": "Personal data were found in an event's payload outside the fields that are marked for it.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event that holds them, a ULID."},
				"PIITypes": {
					"type": "array",
					"items": {"type": "string", "minLength": 1, "maxLength": 64, "description": "A kind, as atp.pii_detect names it."},
					"minItems": 1,
					"uniqueItems": true,
					"description": "Kinds that were found."
				},
				"Locations": {
					"type": "array",
					"items": {
						"type": "object",
						"properties": {
							"Pointer": {"type": "string", "description": "JSON pointer into the payload."},
							"Kind": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Kind of what is there."}
						},
						"required": ["Pointer", "Kind"],
						"additionalProperties": false,
						"description": "One place."
					},
					"minItems": 1,
					"description": "Where, without the values."
				},
				"RedactionRequired": {"type": "boolean", "description": "True where a policy demands that it be redacted."}
			},
			"required": ["EventId", "PIITypes", "Locations", "RedactionRequired"],
			"additionalProperties": false
		},
		"rules": ["The values themselves are never repeated.", "Marked fields are not reported: they are encrypted already."],
		"idempotency_key": "EventId: a later finding for the same event supersedes the former.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT10M",
			"reason": "A finding that waits is a leak that stays."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Page the data protection officer: the finding stands in the stream."
		},
		"monitoring": {
			"metrics": [{"name": "atp_pii_findings_total", "type": "counter", "description": "Findings, by tenant and kind."}],
			"alerts": [
				{
					"name": "UnmarkedPII",
					"when": "any finding with RedactionRequired",
					"severity": "critical",
					"action": "Redact the event and mark the field in its schema."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"PIITypes": ["EMAIL_ADDRESS"],
			"Locations": [{"Pointer": "/comment", "Kind": "EMAIL_ADDRESS"}],
			"RedactionRequired": true
		}
	},
	{
		"event_type": "EventRedacted",
		"key": 22,
		"kind": "domain",
		"category": "classification",
		"description": "Fields of an event were removed; what was there stays provable by its commitment.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp.redact_event"],
		"consumers": ["read models", "exports", "external auditors"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventRedacted:1",
			"title": "EventRedacted",
			"description": "Fields of an event were removed; what was there stays provable by its commitment.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event, a ULID."},
				"RedactedFields": {
					"type": "array",
					"items": {"type": "string", "minLength": 1, "description": "One pointer."},
					"minItems": 1,
					"uniqueItems": true,
					"description": "The fields, as JSON pointers into the payload."
				},
				"RedactionMethod": {
					"type": "string",
					"enum": ["removed", "key-destroyed"],
					"description": "How: the value was removed, or the key that encrypted it was destroyed."
				}
			},
			"required": ["EventId", "RedactedFields", "RedactionMethod"],
			"additionalProperties": false
		},
		"rules": ["The chain stays whole: commitments stand in the place of what was removed.", "A legal hold forbids it."],
		"idempotency_key": "EventId and RedactedFields.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Copies outside the database must follow; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Page its owner: a copy still shows what was redacted."
		},
		"monitoring": {
			"metrics": [{"name": "atp_redactions_total", "type": "counter", "description": "Redactions, by tenant and method."}],
			"alerts": [
				{
					"name": "RedactionNotFollowed",
					"when": "a subscription that handles redactions is behind by a day",
					"severity": "critical",
					"action": "Mend the consumer; copies still show the values."
				}
			]
		},
		"example": {"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA", "RedactedFields": ["/comment"], "RedactionMethod": "removed"}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "RetentionPolicyApplied",
		"key": 30,
		"kind": "domain",
		"category": "retention",
		"description": "It was determined how long an event is kept.",
		"emitted": "rendered from the log",
		"note": "Follows one to one from an append. It is not stored a second time, because that would write every event twice; atp.platform_events renders it from the log.",
		"producers": ["the append, by the retention policy that applies to the event"],
		"consumers": ["archiving", "deletion", "data inventories"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:RetentionPolicyApplied:1",
			"title": "RetentionPolicyApplied",
			"description": "It was determined how long an event is kept.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event, a ULID."},
				"PolicyId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "The retention policy."
				},
				"RetentionPeriod": {"type": "string", "format": "duration", "pattern": "^P", "description": "How long the event is kept. ISO 8601 duration."},
				"ExpiresAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When the period ends, counted from the time of recording. RFC 3339, UTC."
				}
			},
			"required": ["EventId", "PolicyId", "RetentionPeriod", "ExpiresAt"],
			"additionalProperties": false
		},
		"rules": ["The longest period of all policies that apply wins.", "A legal hold outlasts it.", "An event without a policy is kept."],
		"idempotency_key": "EventId and PolicyId.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1M",
			"max_delay": "PT1H",
			"reason": "Expiry is days away; there is time."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending."
		},
		"monitoring": {
			"metrics": [
				{
					"name": "atp_events_without_retention",
					"type": "gauge",
					"description": "Events that no retention policy applies to, by tenant."
				}
			],
			"alerts": [
				{
					"name": "NoRetention",
					"when": "a tenant without any retention policy",
					"severity": "info",
					"action": "Create one: atp.create_policy(...)."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"PolicyId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"RetentionPeriod": "P7Y",
			"ExpiresAt": "2033-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "LegalHoldApplied",
		"key": 31,
		"kind": "domain",
		"category": "retention",
		"description": "An event was put under a legal hold: nothing may remove any part of it.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp.place_hold"],
		"consumers": ["deletion", "redaction", "legal department"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:LegalHoldApplied:1",
			"title": "LegalHoldApplied",
			"description": "An event was put under a legal hold: nothing may remove any part of it.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event, a ULID."},
				"HoldId": {"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "description": "The hold."},
				"HoldReason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Why: matter, court, order."},
				"AppliedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who placed it."}
			},
			"required": ["EventId", "HoldId", "HoldReason", "AppliedBy"],
			"additionalProperties": false
		},
		"rules": [
			"A hold forbids redaction, tombstoning and deletion whatever policy says otherwise.",
			"Several holds can cover one event; each is released by itself."
		],
		"idempotency_key": "EventId and HoldId.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A hold that a deletion job does not know of is a breach."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Stop deletion by hand until it has been replayed."
		},
		"monitoring": {
			"metrics": [{"name": "atp_events_on_hold", "type": "gauge", "description": "Events under a hold, by tenant."}],
			"alerts": [
				{
					"name": "HoldNotSeen",
					"when": "a subscription of a deletion job is behind",
					"severity": "critical",
					"action": "Stop the deletion job."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"HoldId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"HoldReason": "Smith v. Acme, 1:26-cv-00417",
			"AppliedBy": "legal@example.com"
		}
	},
	{
		"event_type": "LegalHoldReleased",
		"key": 32,
		"kind": "domain",
		"category": "retention",
		"description": "A legal hold on an event ended.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp.release_hold"],
		"consumers": ["deletion", "legal department"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:LegalHoldReleased:1",
			"title": "LegalHoldReleased",
			"description": "A legal hold on an event ended.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event, a ULID."},
				"HoldId": {"type": "string", "format": "uuid", "pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "description": "The hold."},
				"ReleasedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who released it."},
				"ReleasedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["EventId", "HoldId", "ReleasedBy", "ReleasedAt"],
			"additionalProperties": false
		},
		"rules": ["Other holds on the event stay.", "What fell due meanwhile is done by the next run of retention, not at once."],
		"idempotency_key": "EventId and HoldId.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Deletion may wait."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending: the event is kept too long meanwhile, never too short."
		},
		"monitoring": {
			"metrics": [{"name": "atp_holds_released_total", "type": "counter", "description": "Holds released, by tenant."}],
			"alerts": [
				{
					"name": "HoldReleasedUnexpectedly",
					"when": "a release outside the legal department",
					"severity": "critical",
					"action": "Ask who released it; place it again."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"HoldId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"ReleasedBy": "legal@example.com",
			"ReleasedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "EventTombstoned",
		"key": 33,
		"kind": "domain",
		"category": "retention",
		"description": "An event was withdrawn from reading; it is kept, and the withdrawal can be undone.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp.tombstone_event"],
		"consumers": ["read models", "exports"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventTombstoned:1",
			"title": "EventTombstoned",
			"description": "An event was withdrawn from reading; it is kept, and the withdrawal can be undone.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event, a ULID."},
				"TombstoneReason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Why."},
				"TombstonedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["EventId", "TombstoneReason", "TombstonedAt"],
			"additionalProperties": false
		},
		"rules": ["Order, type, times and chain stay readable.", "It can be undone until the event is permanently deleted."],
		"idempotency_key": "EventId and TombstonedAt.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Copies outside the database must follow."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Page its owner: a copy still shows the event."
		},
		"monitoring": {
			"metrics": [{"name": "atp_tombstones_total", "type": "counter", "description": "Events tombstoned, by tenant."}],
			"alerts": [
				{
					"name": "TombstoneSurge",
					"when": "more tombstones in an hour than in the week before",
					"severity": "warning",
					"action": "Compare with the retention policies that changed."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"TombstoneReason": "retention policy expired",
			"TombstonedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "EventPermanentlyDeleted",
		"key": 34,
		"kind": "domain",
		"category": "retention",
		"description": "The content of an event was removed for good; that it was there stays provable.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp.delete_event", "the retention job"],
		"consumers": ["read models", "exports", "data protection officers"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:EventPermanentlyDeleted:1",
			"title": "EventPermanentlyDeleted",
			"description": "The content of an event was removed for good; that it was there stays provable.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event, a ULID."},
				"DeletionReason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Under which rule."},
				"DeletedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who, or which job."}
			},
			"required": ["EventId", "DeletionReason", "DeletedBy"],
			"additionalProperties": false
		},
		"rules": [
			"Write-once lock, legal hold and statutory minimum go first.",
			"The header or at least the hash stays, so that the chain can be verified.",
			"Dead tuples, WAL, replicas and backups may hold copies for as long as they are kept."
		],
		"idempotency_key": "EventId.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT6H",
			"reason": "Copies outside the database must follow."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Page the data protection officer: a copy survives."
		},
		"monitoring": {
			"metrics": [{"name": "atp_deletions_total", "type": "counter", "description": "Events deleted, by tenant and rule."}],
			"alerts": [
				{
					"name": "DeletionSurge",
					"when": "more deletions in an hour than in the month before",
					"severity": "critical",
					"action": "Stop the retention job; compare the policies."
				}
			]
		},
		"example": {"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA", "DeletionReason": "erasure request 2026-0113", "DeletedBy": "dpo@example.com"}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "PolicyCreated",
		"key": 40,
		"kind": "domain",
		"category": "policy",
		"description": "A policy came into force.",
		"emitted": "when it happens",
		"producers": ["atp.create_policy"],
		"consumers": ["classification", "retention", "access control", "compliance officers"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:PolicyCreated:1",
			"title": "PolicyCreated",
			"description": "A policy came into force.",
			"type": "object",
			"properties": {
				"PolicyId": {
					"type": "string",
					"minLength": 1,
					"maxLength": 255,
					"description": "The policy: a uuid; signing-key/<name> for a key that signs the log."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"PolicyType": {
					"type": "string",
					"enum": ["retention", "classification", "access", "SigningKey"],
					"description": "What it governs; SigningKey is a key that signs the log."
				},
				"Rules": {"type": "object", "description": "The rules, valid against the schema of the policy's type."},
				"Name": {
					"type": "string",
					"minLength": 1,
					"maxLength": 128,
					"description": "Name of the policy, unique among those of the tenant that are in force."
				}
			},
			"required": ["PolicyId", "TenantId", "PolicyType", "Rules"],
			"additionalProperties": false
		},
		"rules": [
			"First event of the policy's own stream; the policy is at version 1.",
			"The name of a deleted policy can be used again, by a policy with another id."
		],
		"idempotency_key": "PolicyId.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A policy that a consumer does not know of is not kept."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending; atp.list_policies() says what is in force meanwhile."
		},
		"monitoring": {
			"metrics": [{"name": "atp_policies", "type": "gauge", "description": "Policies in force, by tenant and type."}],
			"alerts": [
				{
					"name": "PolicyChanged",
					"when": "any policy event outside the change calendar",
					"severity": "warning",
					"action": "Compare ChangedBy with who may."
				}
			]
		},
		"example": {
			"PolicyId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"PolicyType": "retention",
			"Rules": {"RetentionPeriod": "P7Y", "AppliesTo": {"EventTypes": ["Order*"]}},
			"Name": "orders"
		}
	},
	{
		"event_type": "PolicyUpdated",
		"key": 41,
		"kind": "domain",
		"category": "policy",
		"description": "The rules of a policy changed; the version before is kept.",
		"emitted": "when it happens",
		"producers": ["atp.update_policy"],
		"consumers": ["classification", "retention", "access control", "compliance officers"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:PolicyUpdated:1",
			"title": "PolicyUpdated",
			"description": "The rules of a policy changed; the version before is kept.",
			"type": "object",
			"properties": {
				"PolicyId": {
					"type": "string",
					"minLength": 1,
					"maxLength": 255,
					"description": "The policy: a uuid; signing-key/<name> for a key that signs the log."
				},
				"Changes": {
					"type": "object",
					"properties": {
						"Before": {"type": "object", "description": "Rules of the version before."},
						"After": {"type": "object", "description": "Rules from now on."}
					},
					"description": "What changed: the rules before and after; of a signing key, the members that changed."
				},
				"UpdatedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who changed it: the session's actor, or its user."},
				"Version": {"type": "integer", "minimum": 2, "description": "Version of the policy from now on."}
			},
			"required": ["PolicyId", "Changes", "UpdatedBy", "Version"],
			"additionalProperties": false
		},
		"rules": [
			"Version grows by one.",
			"Each version is kept: what applied at any time can be told.",
			"An update that changes nothing is no event."
		],
		"idempotency_key": "PolicyId and Version.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A policy that a consumer does not know of is not kept."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending; a gap in Version shows what is missing."
		},
		"monitoring": {
			"metrics": [{"name": "atp_policy_changes_total", "type": "counter", "description": "Policy changes, by tenant and type."}],
			"alerts": [
				{
					"name": "RetentionShortened",
					"when": "an update that shortens a RetentionPeriod",
					"severity": "critical",
					"action": "Have it confirmed by the compliance officer: events may fall due at once."
				}
			]
		},
		"example": {
			"PolicyId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"Changes": {"Before": {"RetentionPeriod": "P7Y"}, "After": {"RetentionPeriod": "P10Y"}},
			"UpdatedBy": "compliance@example.com",
			"Version": 2
		}
	},
	{
		"event_type": "PolicyDeleted",
		"key": 42,
		"kind": "domain",
		"category": "policy",
		"description": "A policy went out of force; its versions are kept.",
		"emitted": "when it happens",
		"producers": ["atp.delete_policy"],
		"consumers": ["classification", "retention", "access control", "compliance officers"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:PolicyDeleted:1",
			"title": "PolicyDeleted",
			"description": "A policy went out of force; its versions are kept.",
			"type": "object",
			"properties": {
				"PolicyId": {
					"type": "string",
					"minLength": 1,
					"maxLength": 255,
					"description": "The policy: a uuid; signing-key/<name> for a key that signs the log."
				},
				"DeletedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who: the session's actor, or its user."},
				"DeletedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["PolicyId", "DeletedBy", "DeletedAt"],
			"additionalProperties": false
		},
		"rules": ["Last event of the policy's stream.", "What was decided under the policy stands."],
		"idempotency_key": "PolicyId.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A consumer that goes on with a deleted policy errs on the strict side."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending."
		},
		"monitoring": {
			"metrics": [{"name": "atp_policies_deleted_total", "type": "counter", "description": "Policies deleted, by tenant and type."}],
			"alerts": [
				{
					"name": "LastRetentionPolicyDeleted",
					"when": "a tenant is left without any retention policy",
					"severity": "warning",
					"action": "Ask whether that is meant."
				}
			]
		},
		"example": {
			"PolicyId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"DeletedBy": "compliance@example.com",
			"DeletedAt": "2026-03-01T09:30:00.000000Z"
		}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "TenantOnboarded",
		"key": 50,
		"kind": "integration",
		"category": "tenant",
		"description": "A tenant came into being, with a log of its own.",
		"emitted": "when it happens",
		"producers": ["atp.onboard_tenant"],
		"consumers": ["identity management", "billing", "provisioning", "platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:TenantOnboarded:1",
			"title": "TenantOnboarded",
			"description": "A tenant came into being, with a log of its own.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant; it stays taken for ever."},
				"LogUid": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "Random identity of the tenant's log, hashed into every record of it."
				},
				"Configuration": {"type": "object", "description": "Settings of the tenant."},
				"OnboardedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who: the session's actor, or its user."},
				"OnboardedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "LogUid", "Configuration", "OnboardedBy", "OnboardedAt"],
			"additionalProperties": false
		},
		"rules": [
			"First event of the tenant, in its own log: it commits the name that the log belongs to.",
			"The tenant default is made by the installation and has none."
		],
		"idempotency_key": "TenantId.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Other systems make, bill and lock accounts after it; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Provision by hand, then replay: handling is idempotent by TenantId."
		},
		"monitoring": {
			"metrics": [{"name": "atp_tenants", "type": "gauge", "description": "Tenants, by status."}],
			"alerts": [
				{
					"name": "TenantOnboardedUnexpectedly",
					"when": "an onboarding by an actor outside provisioning",
					"severity": "warning",
					"action": "Ask who it was."
				}
			]
		},
		"example": {
			"TenantId": "acme",
			"LogUid": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"Configuration": {"plan": "gold"},
			"OnboardedBy": "provisioning",
			"OnboardedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "TenantConfigurationUpdated",
		"key": 51,
		"kind": "integration",
		"category": "tenant",
		"description": "The settings of a tenant were replaced.",
		"emitted": "when it happens",
		"producers": ["atp.update_tenant_configuration"],
		"consumers": ["identity management", "billing", "provisioning", "platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:TenantConfigurationUpdated:1",
			"title": "TenantConfigurationUpdated",
			"description": "The settings of a tenant were replaced.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "The tenant."},
				"Configuration": {"type": "object", "description": "Settings from now on."},
				"PreviousConfiguration": {"type": "object", "description": "Settings before."},
				"UpdatedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who: the session's actor, or its user."},
				"UpdatedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Configuration", "PreviousConfiguration", "UpdatedBy", "UpdatedAt"],
			"additionalProperties": false
		},
		"rules": ["Configuration is the whole, not a difference.", "The last one wins."],
		"idempotency_key": "TenantId and UpdatedAt.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Other systems make, bill and lock accounts after it; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Read the settings from atp.tenants and go on."
		},
		"monitoring": {
			"metrics": [{"name": "atp_tenant_changes_total", "type": "counter", "description": "Changes of tenants, by tenant."}],
			"alerts": []
		},
		"example": {
			"TenantId": "acme",
			"Configuration": {"plan": "iron"},
			"PreviousConfiguration": {"plan": "gold"},
			"UpdatedBy": "billing",
			"UpdatedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "TenantSuspended",
		"key": 52,
		"kind": "integration",
		"category": "tenant",
		"description": "A tenant was suspended: its events stay readable, and it takes no more from callers.",
		"emitted": "when it happens",
		"producers": ["atp.suspend_tenant"],
		"consumers": ["identity management", "billing", "provisioning", "platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:TenantSuspended:1",
			"title": "TenantSuspended",
			"description": "A tenant was suspended: its events stay readable, and it takes no more from callers.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "The tenant."},
				"Reason": {
					"type": ["string", "null"],
					"maxLength": 1024,
					"description": "Why, in the words of who did it; null where none was given."
				},
				"SuspendedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who: the session's actor, or its user."},
				"SuspendedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Reason", "SuspendedBy", "SuspendedAt"],
			"additionalProperties": false
		},
		"rules": [
			"Appends of callers are refused with TP203 from the commit on; those that had begun may still commit.",
			"The platform's own events still land."
		],
		"idempotency_key": "TenantId and SuspendedAt.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Other systems make, bill and lock accounts after it; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Lock the account by hand, then replay."
		},
		"monitoring": {
			"metrics": [{"name": "atp_tenants", "type": "gauge", "description": "Tenants, by status."}],
			"alerts": [
				{
					"name": "TenantSuspendedUnexpectedly",
					"when": "a suspension outside billing and security",
					"severity": "critical",
					"action": "Ask who it was; atp.reactivate_tenant(...) undoes it."
				}
			]
		},
		"example": {"TenantId": "acme", "Reason": "invoice overdue", "SuspendedBy": "billing", "SuspendedAt": "2026-03-01T09:30:00.000000Z"}
	},
	{
		"event_type": "TenantReactivated",
		"key": 53,
		"kind": "integration",
		"category": "tenant",
		"description": "A suspended tenant takes events again.",
		"emitted": "when it happens",
		"producers": ["atp.reactivate_tenant"],
		"consumers": ["identity management", "billing", "provisioning", "platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:TenantReactivated:1",
			"title": "TenantReactivated",
			"description": "A suspended tenant takes events again.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "The tenant."},
				"Reason": {
					"type": ["string", "null"],
					"maxLength": 1024,
					"description": "Why, in the words of who did it; null where none was given."
				},
				"ReactivatedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who: the session's actor, or its user."},
				"ReactivatedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Reason", "ReactivatedBy", "ReactivatedAt"],
			"additionalProperties": false
		},
		"rules": ["Only a suspended tenant is reactivated."],
		"idempotency_key": "TenantId and ReactivatedAt.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Other systems make, bill and lock accounts after it; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Unlock the account by hand, then replay."
		},
		"monitoring": {"metrics": [{"name": "atp_tenants", "type": "gauge", "description": "Tenants, by status."}], "alerts": []},
		"example": {"TenantId": "acme", "Reason": "invoice paid", "ReactivatedBy": "billing", "ReactivatedAt": "2026-03-01T09:30:00.000000Z"}
	},
	{
		"event_type": "TenantDeleted",
		"key": 54,
		"kind": "integration",
		"category": "tenant",
		"description": "A tenant was marked deleted: it takes no more events for ever. What it has is evidence and stays.",
		"emitted": "when it happens",
		"producers": ["atp.delete_tenant"],
		"consumers": ["identity management", "billing", "provisioning", "platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:TenantDeleted:1",
			"title": "TenantDeleted",
			"description": "A tenant was marked deleted: it takes no more events for ever. What it has is evidence and stays.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "The tenant."},
				"Reason": {
					"type": ["string", "null"],
					"maxLength": 1024,
					"description": "Why, in the words of who did it; null where none was given."
				},
				"DeletedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who: the session's actor, or its user."},
				"DeletedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Reason", "DeletedBy", "DeletedAt"],
			"additionalProperties": false
		},
		"rules": [
			"Cannot be undone.",
			"The name stays taken.",
			"Events go by retention and erasure, each with an event of its own, never with the tenant."
		],
		"idempotency_key": "TenantId and DeletedAt.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT5S",
			"max_delay": "PT1H",
			"reason": "Other systems make, bill and lock accounts after it; it is worth some patience."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Close the account by hand, then replay."
		},
		"monitoring": {
			"metrics": [{"name": "atp_tenants", "type": "gauge", "description": "Tenants, by status."}],
			"alerts": [{"name": "TenantDeleted", "when": "any", "severity": "warning", "action": "Have it confirmed."}]
		},
		"example": {"TenantId": "acme", "Reason": "contract ended", "DeletedBy": "billing", "DeletedAt": "2026-03-01T09:30:00.000000Z"}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "ExportRequested",
		"key": 60,
		"kind": "integration",
		"category": "export",
		"description": "Somebody asked for an export of events.",
		"emitted": "when it happens",
		"producers": ["atp.request_export", "atp.export_bundle"],
		"consumers": ["the exporting program", "approvers"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:ExportRequested:1",
			"title": "ExportRequested",
			"description": "Somebody asked for an export of events.",
			"type": "object",
			"properties": {
				"ExportId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "The export."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"RequestedBy": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who asked."},
				"Purpose": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "What for."},
				"Format": {"type": "string", "enum": ["ndjson", "csv", "cloudevents", "bundle"], "description": "Form of the export."},
				"Filter": {"type": "object", "description": "Which events: members as in atp.export_bundle."}
			},
			"required": ["ExportId", "TenantId", "RequestedBy", "Purpose", "Format", "Filter"],
			"additionalProperties": false
		},
		"rules": ["First event of the export's own stream."],
		"idempotency_key": "ExportId.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT2S",
			"max_delay": "PT10M",
			"reason": "Who asked for the export is waiting for it."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Ask again: ExportId is new then."
		},
		"monitoring": {
			"metrics": [{"name": "atp_exports_total", "type": "counter", "description": "Exports, by tenant and outcome."}],
			"alerts": [{"name": "ExportRequestedOutOfHours", "when": "a request by night", "severity": "warning", "action": "Ask who it was."}]
		},
		"example": {
			"ExportId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"RequestedBy": "auditor@example.com",
			"Purpose": "annual audit",
			"Format": "bundle",
			"Filter": {"Streams": ["order-*"]}
		}
	},
	{
		"event_type": "ExportStarted",
		"key": 61,
		"kind": "integration",
		"category": "export",
		"description": "The export began; the range that it covers is fixed.",
		"emitted": "when it happens",
		"producers": ["atp.export_bundle"],
		"consumers": ["who asked"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:ExportStarted:1",
			"title": "ExportStarted",
			"description": "The export began; the range that it covers is fixed.",
			"type": "object",
			"properties": {
				"ExportId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "The export."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"FromPosition": {"type": "integer", "minimum": 1, "description": "First log position covered."},
				"ThroughPosition": {"type": "integer", "minimum": 0, "description": "Last log position covered."},
				"StartedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["ExportId", "TenantId", "FromPosition", "ThroughPosition", "StartedAt"],
			"additionalProperties": false
		},
		"rules": ["What is appended later is not part of it.", "Committed before the first line leaves the database, whatever becomes of the transaction that exports."],
		"idempotency_key": "ExportId.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT2S",
			"max_delay": "PT10M",
			"reason": "Who asked for the export is waiting for it."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Discard: Completed or Failed follows."
		},
		"monitoring": {
			"metrics": [{"name": "atp_exports_running", "type": "gauge", "description": "Exports begun and not ended."}],
			"alerts": [
				{
					"name": "ExportHangs",
					"when": "begun and not ended for six hours",
					"severity": "warning",
					"action": "See whether the exporting program runs."
				}
			]
		},
		"example": {
			"ExportId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"FromPosition": 1,
			"ThroughPosition": 120431,
			"StartedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "ExportCompleted",
		"key": 62,
		"kind": "integration",
		"category": "export",
		"description": "The export was made to its end.",
		"emitted": "when it happens",
		"producers": ["atp.export_bundle"],
		"consumers": ["who asked", "delivery"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:ExportCompleted:1",
			"title": "ExportCompleted",
			"description": "The export was made to its end.",
			"type": "object",
			"properties": {
				"ExportId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "The export."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"EventCount": {"type": "integer", "minimum": 0, "description": "Events in it."},
				"ByteCount": {"type": "integer", "minimum": 0, "description": "Its size in bytes."},
				"Digest": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of it. 64 hexadecimal digits."},
				"CompletedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["ExportId", "TenantId", "EventCount", "ByteCount", "Digest", "CompletedAt"],
			"additionalProperties": false
		},
		"rules": ["Written with the last line, in the transaction of the export; Digest is over all lines, each with its new line."],
		"idempotency_key": "ExportId.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT2S",
			"max_delay": "PT10M",
			"reason": "Who asked for the export is waiting for it."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending: the export is there."
		},
		"monitoring": {
			"metrics": [{"name": "atp_export_seconds", "type": "histogram", "description": "Time from request to completion."}],
			"alerts": []
		},
		"example": {
			"ExportId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"EventCount": 120431,
			"ByteCount": 73400320,
			"Digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
			"CompletedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "ExportFailed",
		"key": 63,
		"kind": "integration",
		"category": "export",
		"description": "The export could not be written.",
		"emitted": "when it happens",
		"producers": ["atp.export_bundle", "atp.fail_export", "the worker"],
		"consumers": ["who asked", "platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:ExportFailed:1",
			"title": "ExportFailed",
			"description": "The export could not be written.",
			"type": "object",
			"properties": {
				"ExportId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "The export."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"FailureReason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Why."},
				"Attempt": {"type": "integer", "minimum": 1, "description": "Which attempt failed."},
				"FailedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["ExportId", "TenantId", "FailureReason", "Attempt", "FailedAt"],
			"additionalProperties": false
		},
		"rules": ["Recorded at once where the export raises, within seconds where it was not read to its end, was cancelled, or its transaction, session or server ended.", "Lines may have left the database before: the end line is missing, and atp-verify says so."],
		"idempotency_key": "ExportId.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT2S",
			"max_delay": "PT10M",
			"reason": "Who asked for the export is waiting for it."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Tell who asked by hand."
		},
		"monitoring": {
			"metrics": [{"name": "atp_export_failures_total", "type": "counter", "description": "Failed exports, by tenant."}],
			"alerts": [{"name": "ExportFailed", "when": "any", "severity": "warning", "action": "Mend the cause, then ask again."}]
		},
		"example": {
			"ExportId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"FailureReason": "archive volume is full",
			"Attempt": 1,
			"FailedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "ExportDelivered",
		"key": 64,
		"kind": "integration",
		"category": "export",
		"description": "The export reached who it was for.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["the exporting program"],
		"consumers": ["who asked", "compliance officers"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:ExportDelivered:1",
			"title": "ExportDelivered",
			"description": "The export reached who it was for.",
			"type": "object",
			"properties": {
				"ExportId": {
					"type": "string",
					"format": "uuid",
					"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
					"description": "The export."
				},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Recipient": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Who received it."},
				"DeliveryMethod": {"type": "string", "minLength": 1, "maxLength": 255, "description": "How: a bucket, a mail, a download."},
				"DeliveredAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["ExportId", "TenantId", "Recipient", "DeliveryMethod", "DeliveredAt"],
			"additionalProperties": false
		},
		"rules": ["The recipient is a person or system that the request named."],
		"idempotency_key": "ExportId.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT2S",
			"max_delay": "PT10M",
			"reason": "Who asked for the export is waiting for it."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Replay after mending."
		},
		"monitoring": {
			"metrics": [{"name": "atp_exports_delivered_total", "type": "counter", "description": "Exports delivered, by tenant."}],
			"alerts": [
				{
					"name": "ExportToUnknownRecipient",
					"when": "a recipient outside the list",
					"severity": "critical",
					"action": "Stop the delivery; tell the data protection officer."
				}
			]
		},
		"example": {
			"ExportId": "3f0c8a52-7d1e-4b6a-9c55-0e2f4a6b8c1d",
			"TenantId": "acme",
			"Recipient": "auditor@example.com",
			"DeliveryMethod": "sftp",
			"DeliveredAt": "2026-03-01T09:30:00.000000Z"
		}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "HashChainValidated",
		"key": 70,
		"kind": "integration",
		"category": "integrity",
		"description": "The hash chains of a tenant, or of a part of it, were recomputed and found whole.",
		"emitted": "when it happens",
		"producers": ["the nightly verification", "atp.run_verification"],
		"consumers": ["external auditors", "compliance officers", "security operations"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:HashChainValidated:1",
			"title": "HashChainValidated",
			"description": "The hash chains of a tenant, or of a part of it, were recomputed and found whole.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Scope": {
					"type": "string",
					"minLength": 1,
					"maxLength": 255,
					"description": "What was checked: all streams, one stream, or the log."
				},
				"StreamsChecked": {"type": "integer", "minimum": 0, "description": "Streams that were walked."},
				"EventsChecked": {"type": "integer", "minimum": 1, "description": "Events whose hash was recomputed."},
				"Duration": {
					"type": "string",
					"pattern": "^PT[0-9]+(\\.[0-9]+)?S$",
					"description": "How long it took. ISO 8601 duration in seconds and their fraction."
				},
				"ValidatedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When the check ended. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Scope", "StreamsChecked", "EventsChecked", "Duration", "ValidatedAt"],
			"additionalProperties": false
		},
		"rules": ["Zero events checked is no pass and no event.", "verify functions write nothing: who runs them for the record writes the event."],
		"idempotency_key": "TenantId, Scope and the time of the check.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Evidence of a check is worth some patience; a failure is worth more."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Run the verification again by hand, and replay."
		},
		"monitoring": {
			"metrics": [
				{"name": "atp_verified_events", "type": "gauge", "description": "Events checked by the last verification, by tenant."},
				{"name": "atp_verification_age_seconds", "type": "gauge", "description": "Time since the last verification that passed."}
			],
			"alerts": [
				{
					"name": "NotVerified",
					"when": "no HashChainValidated of a tenant for two days",
					"severity": "warning",
					"action": "See whether the nightly job runs."
				}
			]
		},
		"example": {
			"TenantId": "acme",
			"Scope": "all streams",
			"StreamsChecked": 812,
			"EventsChecked": 120431,
			"Duration": "PT0.301S",
			"ValidatedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "HashChainValidationFailed",
		"key": 71,
		"kind": "integration",
		"category": "integrity",
		"description": "A hash chain does not agree with what is stored: something was changed, removed or reordered.",
		"emitted": "when it happens",
		"producers": ["the nightly verification", "atp.run_verification"],
		"consumers": ["external auditors", "compliance officers", "security operations"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:HashChainValidationFailed:1",
			"title": "HashChainValidationFailed",
			"description": "A hash chain does not agree with what is stored: something was changed, removed or reordered.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Scope": {"type": "string", "minLength": 1, "maxLength": 255, "description": "What was checked."},
				"StreamsChecked": {"type": "integer", "minimum": 0, "description": "Streams that were walked."},
				"EventsChecked": {"type": "integer", "minimum": 0, "description": "Events whose hash was recomputed before the fault was met."},
				"FirstFault": {
					"type": "object",
					"properties": {
						"StreamId": {
							"type": ["string", "null"],
							"minLength": 1,
							"maxLength": 255,
							"description": "The stream; null where its name is gone."
						},
						"SequenceNumber": {
							"type": ["integer", "null"],
							"minimum": 0,
							"description": "Place in the stream; null where the stream as a whole is at fault."
						},
						"Fault": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "What is wrong."}
					},
					"required": ["StreamId", "SequenceNumber", "Fault"],
					"additionalProperties": false,
					"description": "The first fault."
				},
				"DetectedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Scope", "StreamsChecked", "EventsChecked", "FirstFault", "DetectedAt"],
			"additionalProperties": false
		},
		"rules": [
			"The first fault is named; there may be more.",
			"The store goes on taking events: stopping would give the attacker the outage too."
		],
		"idempotency_key": "TenantId, Scope and the time of the check.",
		"retry": {
			"max_attempts": 20,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Evidence of a check is worth some patience; a failure is worth more."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Run the verification again by hand, and replay."
		},
		"monitoring": {
			"metrics": [{"name": "atp_chain_faults_total", "type": "counter", "description": "Verifications that failed, by tenant."}],
			"alerts": [
				{
					"name": "ChainBroken",
					"when": "any",
					"severity": "critical",
					"action": "Keep the disk; compare with a checkpoint signed outside; see docs/operations."
				}
			]
		},
		"example": {
			"TenantId": "acme",
			"Scope": "all streams",
			"StreamsChecked": 812,
			"EventsChecked": 99120,
			"FirstFault": {"StreamId": "order-42", "SequenceNumber": 7, "Fault": "hash does not match"},
			"DetectedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "SignatureVerified",
		"key": 72,
		"kind": "integration",
		"category": "integrity",
		"description": "The signature of a checkpoint was verified.",
		"emitted": "when it happens",
		"producers": ["the nightly verification", "atp.run_verification"],
		"consumers": ["external auditors", "compliance officers", "security operations"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:SignatureVerified:1",
			"title": "SignatureVerified",
			"description": "The signature of a checkpoint was verified.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Scope": {"type": "string", "minLength": 1, "maxLength": 255, "description": "What was signed: checkpoint, bundle or export."},
				"KeyId": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Name and hash of the key."},
				"TreeSize": {"type": "integer", "minimum": 0, "description": "Size of the tree that was signed."},
				"VerifiedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Scope", "KeyId", "TreeSize", "VerifiedAt"],
			"additionalProperties": false
		},
		"rules": ["Verified with a key from outside the database."],
		"idempotency_key": "TenantId, Scope and the time of the check.",
		"retry": {
			"max_attempts": 5,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Evidence of a check is worth some patience; a failure is worth more."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Run the verification again by hand, and replay."
		},
		"monitoring": {
			"metrics": [{"name": "atp_signatures_verified_total", "type": "counter", "description": "Signatures verified, by key."}],
			"alerts": [
				{
					"name": "NoSignature",
					"when": "no verified checkpoint for a day",
					"severity": "warning",
					"action": "See whether the signer runs."
				}
			]
		},
		"example": {
			"TenantId": "acme",
			"Scope": "checkpoint",
			"KeyId": "acme.example/log+5b8f3a21",
			"TreeSize": 120431,
			"VerifiedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "SignatureVerificationFailed",
		"key": 73,
		"kind": "integration",
		"category": "integrity",
		"description": "A signature did not verify, or was made by a key that is not trusted.",
		"emitted": "when it happens",
		"producers": ["the nightly verification", "atp.run_verification"],
		"consumers": ["external auditors", "compliance officers", "security operations"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:SignatureVerificationFailed:1",
			"title": "SignatureVerificationFailed",
			"description": "A signature did not verify, or was made by a key that is not trusted.",
			"type": "object",
			"properties": {
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Scope": {"type": "string", "minLength": 1, "maxLength": 255, "description": "What was signed."},
				"KeyId": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Name and hash of the key that the signature names."},
				"TreeSize": {"type": "integer", "minimum": 0, "description": "Size of the tree that the checkpoint claims."},
				"Fault": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "What is wrong."},
				"DetectedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["TenantId", "Scope", "KeyId", "TreeSize", "Fault", "DetectedAt"],
			"additionalProperties": false
		},
		"rules": ["The checkpoint is not used for anything."],
		"idempotency_key": "TenantId, Scope and the time of the check.",
		"retry": {
			"max_attempts": 20,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Evidence of a check is worth some patience; a failure is worth more."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Run the verification again by hand, and replay."
		},
		"monitoring": {
			"metrics": [{"name": "atp_signature_faults_total", "type": "counter", "description": "Signatures that failed, by key."}],
			"alerts": [
				{
					"name": "SignatureInvalid",
					"when": "any",
					"severity": "critical",
					"action": "Compare with the head that the witness keeps."
				}
			]
		},
		"example": {
			"TenantId": "acme",
			"Scope": "checkpoint",
			"KeyId": "acme.example/log+5b8f3a21",
			"TreeSize": 120431,
			"Fault": "signature does not verify",
			"DetectedAt": "2026-03-01T09:30:00.000000Z"
		}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "SIEMEventPublished",
		"key": 80,
		"kind": "integration",
		"category": "external",
		"description": "An event reached a security information system.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp-relay"],
		"consumers": ["platform operators", "owners of the target"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:SIEMEventPublished:1",
			"title": "SIEMEventPublished",
			"description": "An event reached a security information system.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event that was sent, a ULID."},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Target": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Where to: name of the endpoint."},
				"Attempt": {"type": "integer", "minimum": 1, "description": "Which attempt it was."},
				"Status": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Its answer."},
				"PublishedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["EventId", "TenantId", "Target", "Attempt", "Status", "PublishedAt"],
			"additionalProperties": false
		},
		"rules": ["One for each event and target that asked for the record; the relay sums up otherwise."],
		"idempotency_key": "EventId, Target and Attempt.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A record of a delivery; consumers that lag do no harm."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Discard."
		},
		"monitoring": {
			"metrics": [{"name": "atp_siem_published_total", "type": "counter", "description": "Events published, by target."}],
			"alerts": [
				{
					"name": "SIEMSilent",
					"when": "nothing published to a target for 15 minutes while events arrive",
					"severity": "critical",
					"action": "See the relay's log."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"TenantId": "acme",
			"Target": "splunk-hec",
			"Attempt": 1,
			"Status": "200",
			"PublishedAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "WebhookDelivered",
		"key": 81,
		"kind": "integration",
		"category": "external",
		"description": "A webhook's endpoint took an event.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp-relay"],
		"consumers": ["platform operators", "owners of the target"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:WebhookDelivered:1",
			"title": "WebhookDelivered",
			"description": "A webhook's endpoint took an event.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event that was sent, a ULID."},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Target": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Where to: name of the endpoint."},
				"Attempt": {"type": "integer", "minimum": 1, "description": "Which attempt it was."},
				"Status": {"type": "integer", "minimum": 200, "maximum": 299, "description": "HTTP status of the answer."},
				"DeliveredAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				}
			},
			"required": ["EventId", "TenantId", "Target", "Attempt", "Status", "DeliveredAt"],
			"additionalProperties": false
		},
		"rules": ["Any answer of class 2xx counts."],
		"idempotency_key": "EventId, Target and Attempt.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A record of a delivery; consumers that lag do no harm."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Discard."
		},
		"monitoring": {"metrics": [{"name": "atp_webhook_deliveries_total", "type": "counter", "description": "Deliveries, by target."}], "alerts": []},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"TenantId": "acme",
			"Target": "https://hooks.example.com/audit",
			"Attempt": 1,
			"Status": 204,
			"DeliveredAt": "2026-03-01T09:30:00.000000Z"
		}
	},
	{
		"event_type": "WebhookDeliveryFailed",
		"key": 82,
		"kind": "integration",
		"category": "external",
		"description": "A webhook's endpoint did not take an event.",
		"emitted": "later",
		"note": "Registered now, so that names, keys and schemas are settled; emitted from the version that brings the function named as its producer.",
		"producers": ["atp-relay"],
		"consumers": ["platform operators", "owners of the target"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:WebhookDeliveryFailed:1",
			"title": "WebhookDeliveryFailed",
			"description": "A webhook's endpoint did not take an event.",
			"type": "object",
			"properties": {
				"EventId": {"type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$", "description": "The event that was sent, a ULID."},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the tenant that the event belongs to."},
				"Target": {"type": "string", "minLength": 1, "maxLength": 255, "description": "Where to: name of the endpoint."},
				"Attempt": {"type": "integer", "minimum": 1, "description": "Which attempt it was."},
				"Status": {
					"type": ["integer", "null"],
					"minimum": 100,
					"maximum": 599,
					"description": "HTTP status of the answer; null where there was none."
				},
				"FailureReason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "Why."},
				"FailedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				},
				"Final": {"type": "boolean", "description": "True where no further attempt follows."}
			},
			"required": ["EventId", "TenantId", "Target", "Attempt", "Status", "FailureReason", "FailedAt", "Final"],
			"additionalProperties": false
		},
		"rules": [
			"Further attempts follow until Final; then the event is a dead letter of its subscription.",
			"Answers 410 and 4xx other than 408 and 429 are final at once."
		],
		"idempotency_key": "EventId, Target and Attempt.",
		"retry": {
			"max_attempts": 3,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "A record of a delivery; consumers that lag do no harm."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Discard: the delivery's own dead letter tells the same."
		},
		"monitoring": {
			"metrics": [{"name": "atp_webhook_failures_total", "type": "counter", "description": "Failed deliveries, by target and status."}],
			"alerts": [
				{
					"name": "WebhookDown",
					"when": "every delivery to a target has failed for 15 minutes",
					"severity": "warning",
					"action": "Tell its owner; the breaker has opened."
				}
			]
		},
		"example": {
			"EventId": "01JD4ZK8Q5X7M2N9P3R6T8V0WA",
			"TenantId": "acme",
			"Target": "https://hooks.example.com/audit",
			"Attempt": 3,
			"Status": 503,
			"FailureReason": "service unavailable",
			"FailedAt": "2026-03-01T09:30:00.000000Z",
			"Final": false
		}
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "ServiceStarted",
		"key": 90,
		"kind": "system",
		"category": "system",
		"description": "A part of the platform started.",
		"emitted": "when it happens",
		"producers": ["the background worker", "atp_internal.record_service_start"],
		"consumers": ["platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:ServiceStarted:1",
			"title": "ServiceStarted",
			"description": "A part of the platform started.",
			"type": "object",
			"properties": {
				"Component": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Which part: server, worker, signer, relay."},
				"Version": {"type": "string", "minLength": 1, "maxLength": 64, "description": "Its version."},
				"Database": {"type": "string", "minLength": 1, "maxLength": 63, "description": "Name of the database that it serves."},
				"StartedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When. RFC 3339, UTC."
				},
				"Guard": {"enum": ["on", "off"], "description": "The setting atp.guard; off: objects of the store could be changed."},
				"Preloaded": {"type": "boolean", "description": "Whether the library was in shared_preload_libraries."}
			},
			"required": ["Component", "Version", "Database", "StartedAt"],
			"additionalProperties": false
		},
		"rules": ["In the tenant default.", "A restart is a further event: many of them in a row say that it crashes."],
		"idempotency_key": "Component and StartedAt.",
		"retry": {
			"max_attempts": 1,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT5M",
			"reason": "Informative."
		},
		"dead_letter": {"reasons": ["PermanentFailure"], "when": "A consumer has failed.", "handling": "Discard."},
		"monitoring": {
			"metrics": [{"name": "atp_service_starts_total", "type": "counter", "description": "Starts, by component."}],
			"alerts": [
				{
					"name": "ServiceFlapping",
					"when": "more than three starts of a component in ten minutes",
					"severity": "critical",
					"action": "Read the server's log."
				}
			]
		},
		"example": {"Component": "worker", "Version": "1.0", "Database": "audit", "StartedAt": "2026-03-01T09:30:00.000000Z"}
	},
	{
		"event_type": "HealthCheckFailed",
		"key": 91,
		"kind": "system",
		"category": "system",
		"description": "A health check that passed before fails.",
		"emitted": "when it happens",
		"producers": ["atp.report_health_check", "jobs of the background worker"],
		"consumers": ["platform operators"],
		"schema": {
			"$schema": "https://json-schema.org/draft/2020-12/schema",
			"$id": "urn:atp:event:HealthCheckFailed:1",
			"title": "HealthCheckFailed",
			"description": "A health check that passed before fails.",
			"type": "object",
			"properties": {
				"Check": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Name of the check."},
				"Detail": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "What was found."},
				"Component": {"type": "string", "minLength": 1, "maxLength": 128, "description": "Which part was checked."},
				"TenantId": {"type": "string", "minLength": 1, "maxLength": 128, "description": "The tenant concerned, where one is."},
				"LogPosition": {"type": "integer", "minimum": 0, "description": "The log position concerned, where one is."},
				"DetectedAt": {
					"type": "string",
					"format": "date-time",
					"pattern": "^[0-9]{4,}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$",
					"description": "When; the event's own time where it is left out. RFC 3339, UTC."
				}
			},
			"required": ["Check", "Detail"],
			"additionalProperties": false
		},
		"rules": [
			"Written when a check turns from passing to failing, not each time it fails: a store in trouble is not given more work.",
			"In the tenant concerned, or in the tenant default."
		],
		"idempotency_key": "Check and the time of the event.",
		"retry": {
			"max_attempts": 10,
			"backoff": "exponential with full jitter",
			"first_delay": "PT1S",
			"max_delay": "PT1M",
			"reason": "An operator should hear of it."
		},
		"dead_letter": {
			"reasons": ["MaxAttemptsExceeded", "PermanentFailure"],
			"when": "A consumer has failed max_attempts times.",
			"handling": "Look at atp.health_checks by hand."
		},
		"monitoring": {
			"metrics": [{"name": "atp_health_checks_failing", "type": "gauge", "description": "Checks that fail now, by component."}],
			"alerts": [
				{
					"name": "HealthCheckFailing",
					"when": "any check fails for five minutes",
					"severity": "critical",
					"action": "Read Detail; see docs/operations."
				}
			]
		},
		"example": {
			"Component": "log",
			"Check": "sequencer lag",
			"Detail": "12,408 events have waited for a place for 31 s",
			"DetectedAt": "2026-03-01T09:30:00.000000Z"
		}
	}
]
$catalog$);

-- ==== src/stream/guard.sql ====
-- The guard: UPDATE, DELETE, TRUNCATE and INSERT past the append are refused on the tables of the event store, and commands that
-- alter or drop what it is made of. See src/stream/guard.h.
CREATE FUNCTION atp_internal.refuse_change() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_refuse';
COMMENT ON FUNCTION atp_internal.refuse_change() IS
'Refuse UPDATE, DELETE, TRUNCATE and direct INSERT on a guarded table.
INSERT passes for the functions of atp, and while a restore is loading the table.
Raises: TP107.';
REVOKE ALL ON FUNCTION atp_internal.refuse_change() FROM PUBLIC;

CREATE FUNCTION atp_internal.refuse_foreign_change() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_refuse_foreign';
COMMENT ON FUNCTION atp_internal.refuse_foreign_change() IS
'Refuse changes of a table that only atp''s own functions may change.
INSERT passes while a restore is loading the table.
Raises: TP107.';
REVOKE ALL ON FUNCTION atp_internal.refuse_foreign_change() FROM PUBLIC;

CREATE FUNCTION atp_internal.guard_command_start() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_command_start';
COMMENT ON FUNCTION atp_internal.guard_command_start() IS
'Refuse a command that would alter or drop an object of the event store.
Raises: TP108 (an object of the store), TP109 (the extension, while there are events).';
REVOKE ALL ON FUNCTION atp_internal.guard_command_start() FROM PUBLIC;

CREATE FUNCTION atp_internal.guard_command_end() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_command_end';
COMMENT ON FUNCTION atp_internal.guard_command_end() IS
'Refuse a command that has put something into a schema of the event store.
A function of atp_owner is refused in any schema: it could act as ours do.
Raises: TP108.';
REVOKE ALL ON FUNCTION atp_internal.guard_command_end() FROM PUBLIC;

CREATE FUNCTION atp_internal.guard_drop() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_drop';
COMMENT ON FUNCTION atp_internal.guard_drop() IS
'Refuse a command that has dropped an object of the event store on its way.
Raises: TP108.';
REVOKE ALL ON FUNCTION atp_internal.guard_drop() FROM PUBLIC;

CREATE EVENT TRIGGER atp_guard_command_start ON ddl_command_start EXECUTE FUNCTION atp_internal.guard_command_start();
ALTER EVENT TRIGGER atp_guard_command_start ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER atp_guard_command_start IS 'Refuses commands on objects of the event store.';
CREATE EVENT TRIGGER atp_guard_command_end ON ddl_command_end EXECUTE FUNCTION atp_internal.guard_command_end();
ALTER EVENT TRIGGER atp_guard_command_end ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER atp_guard_command_end IS 'Refuses what a command has put into a schema of the event store.';
CREATE EVENT TRIGGER atp_guard_drop ON sql_drop EXECUTE FUNCTION atp_internal.guard_drop();
ALTER EVENT TRIGGER atp_guard_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER atp_guard_drop IS 'Refuses the drop of objects of the event store.';

-- ==== src/stream/partition.sql ====
-- The event table. Partitions, their indexes, policies and guards are made at run time by src/stream/partition.c: a partition
-- that were a member of the extension would not be made again by a restore.
CREATE SEQUENCE atp_internal.event_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE atp_internal.event_seq IS 'Numbers events in the order in which they were written under their stream''s lock; not commit order.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_seq', '');

CREATE TABLE atp_internal.event (
	event_id uuid NOT NULL,
	stream bigint NOT NULL,
	stream_version bigint NOT NULL,
	occurred_at timestamptz NOT NULL,
	recorded_at timestamptz NOT NULL,
	xid xid8 NOT NULL,
	seq bigint NOT NULL,
	tenant int NOT NULL,
	event_type int NOT NULL,
	schema_version int NOT NULL,
	flags smallint NOT NULL,
	hash bytea NOT NULL,
	salts bytea,
	payload json,
	metadata json,
	private json
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE atp_internal.event IS
'Every event once: a header that never changes, and an erasable part (salts, payload, metadata, private). Partitioned by
event_id, that is by time. Each leaf has unique indexes on (event_id, tenant) and (stream, stream_version, tenant) and an index on xid.';
COMMENT ON COLUMN atp_internal.event.event_id IS 'ULID held as uuid.';
COMMENT ON COLUMN atp_internal.event.stream IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.event.stream_version IS 'Place in the stream: 1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.event.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp_internal.event.recorded_at IS 'When it was written: clock_timestamp() taken inside the stream lock.';
COMMENT ON COLUMN atp_internal.event.xid IS 'Top-level transaction that wrote the event; means nothing after a restore into another cluster.';
COMMENT ON COLUMN atp_internal.event.seq IS 'Write order, from event_seq.';
COMMENT ON COLUMN atp_internal.event.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.event.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.event.schema_version IS 'Version of the schema that the payload was validated against; 0: none.';
COMMENT ON COLUMN atp_internal.event.flags IS 'Record flags; bit 0: an event of the platform itself.';
COMMENT ON COLUMN atp_internal.event.hash IS 'Chain link, H(0x00 || record), SHA-256, 32 bytes.';
COMMENT ON COLUMN atp_internal.event.salts IS 'Salt of the payload commitment (16 bytes), then of the metadata commitment (16 bytes). NULL once erased.';
COMMENT ON COLUMN atp_internal.event.payload IS 'Canonical JSON text of the payload, exactly the bytes that were hashed. NULL once erased.';
COMMENT ON COLUMN atp_internal.event.metadata IS 'Canonical JSON text of the metadata, exactly the bytes that were hashed. NULL once erased.';
COMMENT ON COLUMN atp_internal.event.private IS 'Fields kept beside the payload: pointer, salt, and value, ciphertext or commitment. NULL: none.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event', '');

ALTER TABLE atp_internal.event ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.event FORCE ROW LEVEL SECURITY;
CREATE POLICY event_tenant ON atp_internal.event USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.event
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.event ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp.create_partitions() RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_partition_premake_sql';
COMMENT ON FUNCTION atp.create_partitions() IS
'Create the missing partitions of the event table.
For now and the next atp.partition_premake periods. Returns the number made. The worker does this by itself; an append that finds none makes the one it needs.
Raises: 25006 (read-only transaction).';
REVOKE ALL ON FUNCTION atp.create_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_partitions() TO atp_admin;

-- ==== src/stream/stream.sql ====
-- Streams: one row each, which is the lock, the head of the chain and the version counter. The row is updated in place (HOT: no
-- indexed column changes, pages keep room), once per transaction however many events the transaction appends.
CREATE TABLE atp_internal.stream (
	stream bigint GENERATED BY DEFAULT AS IDENTITY,
	tenant int NOT NULL CONSTRAINT stream_tenant_exists REFERENCES atp_internal.tenant,
	stream_uid uuid NOT NULL,
	version bigint NOT NULL,
	created_at timestamptz NOT NULL,
	last_recorded_at timestamptz NOT NULL,
	min_event_id uuid NOT NULL,
	max_event_id uuid NOT NULL,
	hash bytea NOT NULL,
	state "char" NOT NULL CONSTRAINT stream_state_known CHECK (state IN ('o', 's', 'a')),
	name text NOT NULL,
	CONSTRAINT stream_pk PRIMARY KEY (stream, tenant),
	CONSTRAINT stream_name_unique UNIQUE (name, tenant)
) USING heap WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE atp_internal.stream IS 'Heads of streams. Locking the row is the stream lock.';
COMMENT ON COLUMN atp_internal.stream.stream IS 'Surrogate key, used inside only.';
COMMENT ON COLUMN atp_internal.stream.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.stream.stream_uid IS 'Random identity of the stream, hashed into every record of it.';
COMMENT ON COLUMN atp_internal.stream.version IS 'Version of the last event.';
COMMENT ON COLUMN atp_internal.stream.created_at IS 'When the first event was written.';
COMMENT ON COLUMN atp_internal.stream.last_recorded_at IS 'When the last event was written.';
COMMENT ON COLUMN atp_internal.stream.min_event_id IS 'Smallest event id in the stream: reads skip older partitions.';
COMMENT ON COLUMN atp_internal.stream.max_event_id IS 'Largest event id in the stream: reads skip younger partitions.';
COMMENT ON COLUMN atp_internal.stream.hash IS 'Chain link of the last event.';
COMMENT ON COLUMN atp_internal.stream.state IS 'o open, s sealed, a archived.';
COMMENT ON COLUMN atp_internal.stream.name IS '{AggregateType}-{AggregateId}; the part before the first hyphen is the category.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.stream', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.stream_stream_seq', '');

ALTER TABLE atp_internal.stream ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.stream FORCE ROW LEVEL SECURITY;
CREATE POLICY stream_tenant ON atp_internal.stream USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.pending_version(stream bigint, version bigint) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1 AS 'MODULE_PATHNAME', 'atp_stream_pending_version';
COMMENT ON FUNCTION atp_internal.pending_version(bigint, bigint) IS
'Return the version of a stream as this transaction sees it.
The row of a stream is written once per transaction; what the transaction appended since its first append to the stream stands in memory until it commits. Returns the second argument where nothing does.';
REVOKE ALL ON FUNCTION atp_internal.pending_version(bigint, bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.pending_version(bigint, bigint) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.pending_hash(stream bigint, hash bytea) RETURNS bytea
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1 AS 'MODULE_PATHNAME', 'atp_stream_pending_hash';
COMMENT ON FUNCTION atp_internal.pending_hash(bigint, bytea) IS
'Return the last chain link of a stream as this transaction sees it.
See pending_version.';
REVOKE ALL ON FUNCTION atp_internal.pending_hash(bigint, bytea) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.pending_hash(bigint, bytea) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.pending_recorded_at(stream bigint, last_recorded_at timestamptz) RETURNS timestamptz
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1 AS 'MODULE_PATHNAME', 'atp_stream_pending_recorded_at';
COMMENT ON FUNCTION atp_internal.pending_recorded_at(bigint, timestamptz) IS
'Return the time of a stream''s last event as this transaction sees it.
See pending_version.';
REVOKE ALL ON FUNCTION atp_internal.pending_recorded_at(bigint, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.pending_recorded_at(bigint, timestamptz) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.pending_max_event_id(stream bigint, max_event_id uuid) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1 AS 'MODULE_PATHNAME', 'atp_stream_pending_max_event_id';
COMMENT ON FUNCTION atp_internal.pending_max_event_id(bigint, uuid) IS
'Return the largest event id of a stream as this transaction sees it.
See pending_version.';
REVOKE ALL ON FUNCTION atp_internal.pending_max_event_id(bigint, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.pending_max_event_id(bigint, uuid) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.pending_min_event_id(stream bigint, min_event_id uuid) RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL RESTRICTED COST 1 AS 'MODULE_PATHNAME', 'atp_stream_pending_min_event_id';
COMMENT ON FUNCTION atp_internal.pending_min_event_id(bigint, uuid) IS
'Return the smallest event id of a stream as this transaction sees it.
See pending_version.';
REVOKE ALL ON FUNCTION atp_internal.pending_min_event_id(bigint, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.pending_min_event_id(bigint, uuid) TO atp_reader, atp_writer, atp_auditor, atp_admin;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.stream
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.stream ENABLE ALWAYS TRIGGER guard;

-- A dump carries every tenant, the default one too, whose log identity is random. The fresh installation that the dump is
-- restored into has made a default tenant of its own: while that has no streams, the dumped row takes its place. The foreign key
-- of atp_internal.stream makes pg_dump put the tenants before the streams.
CREATE FUNCTION atp_internal.tenant_restore() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET row_security = on AS $$
BEGIN
	UPDATE atp_internal.tenant t SET tenant = new.tenant, log_uid = new.log_uid, alg = new.alg, status = new.status,
			configuration = new.configuration, created_at = new.created_at, changed_at = new.changed_at
		WHERE t.name = new.name AND t.name = 'default' AND t.changed_at = t.created_at
			AND NOT EXISTS (SELECT FROM atp_internal.stream s WHERE s.tenant = t.tenant);
	IF FOUND THEN
		RETURN NULL;
	END IF;
	RETURN new;
END $$;
COMMENT ON FUNCTION atp_internal.tenant_restore() IS 'Put the restored default tenant in the place of an unused one.';
REVOKE ALL ON FUNCTION atp_internal.tenant_restore() FROM PUBLIC;
CREATE TRIGGER tenant_restore BEFORE INSERT ON atp_internal.tenant
	FOR EACH ROW EXECUTE FUNCTION atp_internal.tenant_restore();
ALTER TABLE atp_internal.tenant ENABLE ALWAYS TRIGGER tenant_restore;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.tenant
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.tenant ENABLE ALWAYS TRIGGER guard;

-- ==== src/stream/repeat.sql ====
-- Idempotency keys, remembered for atp.idempotency_window. Event ids need no table: they are found in the event table itself.
CREATE TABLE atp_internal.idempotency (
	tenant int NOT NULL,
	stream bigint NOT NULL,
	first_version bigint NOT NULL,
	created_at timestamptz NOT NULL,
	event_count int NOT NULL,
	key text NOT NULL,
	CONSTRAINT idempotency_pk PRIMARY KEY (stream, key, tenant)
);
CREATE INDEX idempotency_created_at ON atp_internal.idempotency USING brin (created_at);
COMMENT ON TABLE atp_internal.idempotency IS 'Which events an idempotency key stood for. Read and written under the stream lock.';
COMMENT ON COLUMN atp_internal.idempotency.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.idempotency.stream IS 'Surrogate key of the stream: a key is unique within its stream.';
COMMENT ON COLUMN atp_internal.idempotency.first_version IS 'Version of the first event appended under the key.';
COMMENT ON COLUMN atp_internal.idempotency.created_at IS 'When the events were appended.';
COMMENT ON COLUMN atp_internal.idempotency.event_count IS 'How many events were appended under the key, at consecutive versions.';
COMMENT ON COLUMN atp_internal.idempotency.key IS 'The caller''s idempotency key.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.idempotency', '');
ALTER TABLE atp_internal.idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.idempotency FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotency_tenant ON atp_internal.idempotency USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp.purge_idempotency_keys() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_repeat_purge_sql';
COMMENT ON FUNCTION atp.purge_idempotency_keys() IS
'Purge the idempotency keys that are older than atp.idempotency_window.
Returns the number purged. The worker does this by itself.';
REVOKE ALL ON FUNCTION atp.purge_idempotency_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.purge_idempotency_keys() TO atp_admin;

-- ==== src/stream/view.sql ====
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

-- ==== src/stream/door.sql ====
-- The door: what applications call to write.
CREATE TYPE atp.receipt AS (
	event_id uuid,
	stream_version bigint,
	hash bytea,
	recorded_at timestamptz,
	deduplicated boolean
);
COMMENT ON TYPE atp.receipt IS 'What an append gives back for an event.';
COMMENT ON COLUMN atp.receipt.event_id IS 'The event''s id, a ULID held as uuid.';
COMMENT ON COLUMN atp.receipt.stream_version IS 'The event''s place in its stream, from 1.';
COMMENT ON COLUMN atp.receipt.hash IS 'The event''s chain link: SHA-256, 32 bytes. Keep it: it proves later what was stored.';
COMMENT ON COLUMN atp.receipt.recorded_at IS 'When the event was written.';
COMMENT ON COLUMN atp.receipt.deduplicated IS 'True when the event was there already; the rest is the original receipt.';

CREATE FUNCTION atp.append_event(
	stream text,
	event_type text,
	payload jsonb DEFAULT '{}',
	expected_version bigint DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	event_id uuid DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	occurred_at timestamptz DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS atp.receipt
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_door_append_event';
COMMENT ON FUNCTION atp.append_event(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text) IS
'Append one event to a stream and return its receipt.
stream is {AggregateType}-{AggregateId}; event_type is PascalCase in the past tense; payload is a JSON object. expected_version: NULL any, 0 the stream must not exist, -1 it must exist, n it must be at version n. metadata is a JSON object, completed by the settings atp.actor, atp.correlation_id, atp.causation_id, atp.traceparent and atp.tracestate. A member schema_version of the metadata names the version of the schema that the payload is validated against, instead of the active one. event_id NULL: one is made. idempotency_key: the same key (or event_id) with the same content returns the original receipt with deduplicated = true. occurred_at NULL: the time of recording. tenant NULL: the setting atp.tenant.
The stream is locked until the transaction ends.
Raises: TP101, TP104, TP105, TP106, TP201, TP202, TP203, TP204, TP205, TP206, TP207, TP220, TP221 (payload refused by its schema), TP223, 22004, 25006, 40001, 42501.';
REVOKE ALL ON FUNCTION atp.append_event(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.append_event(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text) TO atp_writer;

CREATE FUNCTION atp.append_events(
	stream text,
	events jsonb,
	expected_version bigint DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS SETOF atp.receipt
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'atp_door_append_events';
COMMENT ON FUNCTION atp.append_events(text, jsonb, bigint, text, text) IS
'Append an array of events, all or none, and return their receipts.
Receipts come in the order of the array. Each element is an object with event_type, and optionally payload, metadata, event_id (uuid or ULID text), occurred_at, schema_version, and stream where the argument stream is NULL. Events of several streams lock them in order of their names; expected_version then has to be NULL. idempotency_key covers the batch: the same key with the same events returns the original receipts.
Raises: as append_event; 22023 (an element is malformed; DETAIL says which).';
REVOKE ALL ON FUNCTION atp.append_events(text, jsonb, bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.append_events(text, jsonb, bigint, text, text) TO atp_writer;

CREATE FUNCTION atp_internal.events_insert() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_door_view_insert';
COMMENT ON FUNCTION atp_internal.events_insert() IS 'Append the row that INSERT or COPY gives to the view atp.events.';
REVOKE ALL ON FUNCTION atp_internal.events_insert() FROM PUBLIC;
CREATE TRIGGER events_insert INSTEAD OF INSERT ON atp.events
	FOR EACH ROW EXECUTE FUNCTION atp_internal.events_insert();

CREATE FUNCTION atp_internal.events_statement() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_door_view_statement';
COMMENT ON FUNCTION atp_internal.events_statement() IS 'Gather the rows that one COPY gives to the view atp.events.';
REVOKE ALL ON FUNCTION atp_internal.events_statement() FROM PUBLIC;
CREATE TRIGGER events_insert_begin BEFORE INSERT ON atp.events
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.events_statement();
CREATE TRIGGER events_insert_end AFTER INSERT ON atp.events
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.events_statement();

CREATE FUNCTION atp_internal.events_refuse() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_door_view_refuse';
COMMENT ON FUNCTION atp_internal.events_refuse() IS 'Refuse UPDATE and DELETE on the view atp.events.';
REVOKE ALL ON FUNCTION atp_internal.events_refuse() FROM PUBLIC;
CREATE TRIGGER events_refuse INSTEAD OF UPDATE OR DELETE ON atp.events
	FOR EACH ROW EXECUTE FUNCTION atp_internal.events_refuse();
CREATE TRIGGER events_refuse_statement BEFORE UPDATE OR DELETE ON atp.events
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.events_refuse();
GRANT INSERT ON atp.events TO atp_writer;

-- ==== src/stream/read.sql ====
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

-- ==== src/stream/cloudevent.sql ====
-- Events as CloudEvents 1.0.2 documents in JSON format, outward and inward.
--
-- What atp has a place for goes there: id (a ULID), type, time, data, and the extensions traceparent, tracestate, correlationid,
-- causationid, actor, action, resource and tenant. Other extensions become metadata members of their name. What the store cannot derive
-- when the event goes out again (another id, source, type, subject, content type, schema, data that are no object) stands in the
-- metadata member cloudevent, so that a document comes back as it came.
CREATE FUNCTION atp_internal.cloudevent_refuse(attribute text, problem text, remedy text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'TP210', MESSAGE = 'not a CloudEvents 1.0 event that can be stored',
		DETAIL = CASE WHEN attribute IS NULL THEN problem || '.' ELSE format('Attribute "%s" %s.', left(attribute, 64), problem) END,
		HINT = coalesce(remedy, 'See the CloudEvents specification 1.0.2 and its JSON format.');
END $$;
COMMENT ON FUNCTION atp_internal.cloudevent_refuse(text, text, text) IS
'Refuse a document, naming the attribute and what is wrong with it.
Raises: TP210.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_refuse(text, text, text) FROM PUBLIC;

-- The rules of single attributes, as regular expressions: RFC 3986 (characters of a URI), RFC 3339, RFC 2045.
CREATE FUNCTION atp_internal.cloudevent_check(name text, value jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	text_value text := value #>> '{}';
	kind text := jsonb_typeof(value);
	uri constant text := '^([A-Za-z0-9._~:/?\[\]@!$&''()*+,;=-]|%[0-9A-Fa-f]{2})*(#([A-Za-z0-9._~:/?@!$&''()*+,;=-]|%[0-9A-Fa-f]{2})*)?$';
BEGIN
	IF name IN ('data', 'data_base64') THEN
		RETURN CASE WHEN name = 'data_base64' AND kind <> 'string' THEN 'is not a string' END;
	ELSIF name !~ '^[a-z0-9]+$' THEN
		RETURN 'has a name that is not made of lower-case letters and digits';
	ELSIF name IN ('specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'traceparent', 'tracestate',
			'correlationid', 'causationid', 'actor', 'action', 'resource', 'tenant') AND kind <> 'string' THEN
		RETURN 'is not a string';
	ELSIF kind NOT IN ('string', 'boolean', 'number') THEN
		RETURN format('is an %s; a string, boolean or integer is allowed', kind);
	ELSIF kind = 'number' AND (text_value::numeric <> trunc(text_value::numeric) OR abs(text_value::numeric + 0.5) > 2147483647.5) THEN
		RETURN 'is not an integer of 32 bits';
	ELSIF kind = 'string' AND text_value ~ '[\u0001-\u001f\u007f-\u009f]' THEN
		RETURN 'has a control character';
	END IF;
	RETURN CASE
		WHEN name IN ('specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema') AND text_value = '' THEN 'is empty'
		WHEN name = 'specversion' AND text_value <> '1.0' THEN 'is not 1.0'
		WHEN name = 'source' AND text_value !~ uri THEN 'is not a URI reference'
		WHEN name = 'dataschema' AND (text_value !~ uri OR text_value !~ '^[A-Za-z][A-Za-z0-9+.-]*:') THEN 'is not an absolute URI'
		WHEN name = 'time' AND text_value !~ '^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$' THEN 'is not an RFC 3339 timestamp'
		WHEN name = 'datacontenttype' AND text_value !~
			'^[A-Za-z0-9!#$%&''*+.^_`{|}~-]+/[A-Za-z0-9!#$%&''*+.^_`{|}~-]+( *; *[A-Za-z0-9!#$%&''*+.^_`{|}~-]+=([A-Za-z0-9!#$%&''*+.^_`{|}~-]+|"[^"\\]*"))*$'
			THEN 'is not a media type'
		WHEN name = 'traceparent' AND atp.traceparent_parse(text_value) IS NULL THEN 'is not a W3C traceparent'
		WHEN name = 'tracestate' AND atp.tracestate_parse(text_value) IS NULL THEN 'is not a W3C tracestate'
		WHEN name = 'cloudevent' THEN 'has a name that the store uses itself'
	END;
END $$;
COMMENT ON FUNCTION atp_internal.cloudevent_check(text, jsonb) IS
'Say what is wrong with an attribute of a CloudEvents document; NULL: nothing.
The value is not JSON null, which stands for an attribute that is absent.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_check(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.cloudevent_type(type text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE WHEN cloudevent_type.type ~ '^[A-Z][A-Za-z0-9]*$' THEN cloudevent_type.type
		ELSE (SELECT CASE WHEN p.parts[pg_catalog.cardinality(p.parts)] ~ '^[A-Z][A-Za-z0-9]*$' THEN p.parts[pg_catalog.cardinality(p.parts)]
				ELSE pg_catalog.regexp_replace(pg_catalog.initcap(pg_catalog.array_to_string(p.parts[pg_catalog.cardinality(p.parts) - 1:], ' ')),
					'[^A-Za-z0-9]', '', 'g') END || p.suffix
			FROM (SELECT pg_catalog.string_to_array(pg_catalog.regexp_replace(cloudevent_type.type, '\.v[0-9]+$', ''), '.') AS parts,
				pg_catalog.upper(COALESCE(pg_catalog.substring(cloudevent_type.type, '\.(v[0-9]+)$'), '')) AS suffix) p) END;
END;
COMMENT ON FUNCTION atp_internal.cloudevent_type(text) IS
'Return the event type for a CloudEvents type.
com.example.order_line.added.v2 is OrderLineAddedV2.
A name in PascalCase stays, also behind dots; otherwise the last two parts are written together.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_type(text) FROM PUBLIC;

CREATE FUNCTION atp.append_cloudevent(event jsonb, stream text DEFAULT NULL, event_type text DEFAULT NULL,
		expected_version bigint DEFAULT NULL, tenant text DEFAULT NULL) RETURNS atp.receipt
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	attributes jsonb;
	name text;
	value jsonb;
	problem text;
	metadata jsonb := '{}';
	original jsonb := '{}';
	payload jsonb;
	happened timestamptz;
	source text;
	id text;
	of_tenant text;
	is_ulid boolean;
BEGIN
	IF jsonb_typeof(event) IS DISTINCT FROM 'object' THEN
		PERFORM atp_internal.cloudevent_refuse(NULL, 'The document is not a JSON object');
	END IF;
	attributes := event;
	FOR name, value IN SELECT e.key, e.value FROM jsonb_each(event) AS e LOOP
		IF value = 'null' AND name <> 'data' THEN
			attributes := attributes - name;
			CONTINUE;
		END IF;
		problem := atp_internal.cloudevent_check(name, value);
		IF problem IS NOT NULL THEN
			PERFORM atp_internal.cloudevent_refuse(name, problem);
		END IF;
		IF name NOT IN ('specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'data', 'data_base64', 'tenant') THEN
			metadata := metadata || jsonb_build_object(CASE name WHEN 'correlationid' THEN 'correlation_id' WHEN 'causationid' THEN 'causation_id'
				ELSE CASE WHEN name ~ '^[0-9]' THEN '_' ELSE '' END || name END, value);
		END IF;
	END LOOP;
	FOREACH name IN ARRAY ARRAY['specversion', 'id', 'source', 'type'] LOOP
		IF NOT attributes ? name THEN
			PERFORM atp_internal.cloudevent_refuse(name, 'is required and missing');
		END IF;
	END LOOP;
	id := attributes ->> 'id';
	source := attributes ->> 'source';
	is_ulid := atp.ulid_is_valid(id);
	of_tenant := coalesce(tenant, attributes ->> 'tenant');
	IF of_tenant <> attributes ->> 'tenant' THEN
		PERFORM atp_internal.cloudevent_refuse('tenant', format('is not the tenant "%s" that the event is appended for', tenant));
	END IF;
	IF attributes ? 'time' THEN
		BEGIN
			happened := (attributes ->> 'time')::timestamptz;
		EXCEPTION WHEN data_exception THEN
			PERFORM atp_internal.cloudevent_refuse('time', 'is no time that exists');
		END;
	END IF;
	IF stream IS NULL THEN
		stream := attributes ->> 'subject';
		IF stream IS NULL OR stream !~ '^[A-Za-z][A-Za-z0-9_.:]*-[^[:space:]]+$' OR octet_length(stream) > 255 THEN
			PERFORM atp_internal.cloudevent_refuse('subject', CASE WHEN stream IS NULL THEN 'is missing, and no stream is given' ELSE 'is not the name of a stream' END,
				'Pass the stream, {AggregateType}-{AggregateId}, as an argument.');
		END IF;
	END IF;
	event_type := coalesce(event_type, atp_internal.cloudevent_type(attributes ->> 'type'));

	IF attributes ? 'data_base64' THEN
		IF attributes ? 'data' THEN
			PERFORM atp_internal.cloudevent_refuse('data_base64', 'stands beside data');
		ELSIF attributes ->> 'data_base64' !~ '^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$' THEN
			PERFORM atp_internal.cloudevent_refuse('data_base64', 'is not base 64');
		END IF;
		payload := jsonb_build_object('data_base64', attributes -> 'data_base64');
		original := original || '{"data": "data_base64"}';
	ELSIF jsonb_typeof(attributes -> 'data') = 'object' THEN
		payload := attributes -> 'data';
	ELSIF attributes ? 'data' THEN
		payload := jsonb_build_object('data', attributes -> 'data');
		original := original || '{"data": "data"}';
	ELSE
		payload := '{}';
		original := original || '{"data": "none"}';
	END IF;

	IF NOT is_ulid OR id <> upper(id) THEN
		original := original || jsonb_build_object('id', id);
	END IF;
	IF event_type <> attributes ->> 'type' THEN
		original := original || jsonb_build_object('type', attributes -> 'type');
	END IF;
	IF stream IS DISTINCT FROM attributes ->> 'subject' THEN
		original := original || jsonb_build_object('subject', attributes -> 'subject');
	END IF;
	original := original || jsonb_build_object('source', source);
	IF attributes ? 'dataschema' THEN
		original := original || jsonb_build_object('dataschema', attributes -> 'dataschema');
	END IF;
	IF NOT attributes ? 'time' THEN
		original := original || '{"time": null}';
	END IF;
	IF attributes ->> 'datacontenttype' IS DISTINCT FROM 'application/json' THEN
		original := original || jsonb_build_object('datacontenttype', attributes -> 'datacontenttype');
	END IF;
	RETURN atp.append_event(stream, event_type, payload, expected_version => expected_version,
		metadata => metadata || jsonb_build_object('cloudevent', original),
		event_id => CASE WHEN is_ulid THEN atp.ulid_to_uuid(id) END,
		idempotency_key => CASE WHEN NOT is_ulid THEN 'cloudevent:' || encode(sha256(convert_to(jsonb_build_array(source, id)::text, 'UTF8')), 'hex') END,
		occurred_at => happened, tenant => of_tenant);
END $$;
COMMENT ON FUNCTION atp.append_cloudevent(jsonb, text, text, bigint, text) IS
'Append a CloudEvents 1.0 document in JSON format and return its receipt.
stream NULL: subject has to name the stream. event_type NULL: type, where it is no PascalCase name its last two parts written together (com.example.order.placed: OrderPlaced). An id that is a ULID becomes the event id. Any other becomes the idempotency key cloudevent: and the hexadecimal SHA-256 of the JSON array [source, id], so that the same document again returns the original receipt. time is occurred_at. data is the payload where it is an object, otherwise the payload is {"data": ...} or {"data_base64": ...}. Extensions become metadata; tenant selects the tenant. JSON null is an attribute that is absent.
Raises: TP210 (not a CloudEvents document; DETAIL says what and where), and as append_event.';
REVOKE ALL ON FUNCTION atp.append_cloudevent(jsonb, text, text, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.append_cloudevent(jsonb, text, text, bigint, text) TO atp_writer;

CREATE FUNCTION atp_internal.cloudevent_document(event_id uuid, tenant text, stream text, stream_version bigint, event_type text, schema_version int,
		occurred_at timestamptz, recorded_at timestamptz, payload json, metadata json) RETURNS jsonb
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_cloudevent_document_sql';
COMMENT ON FUNCTION atp_internal.cloudevent_document(uuid, text, text, bigint, text, int, timestamptz, timestamptz, json, json) IS
'Return the CloudEvents document of an event.
Only payload and metadata may be NULL: erased.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_document(uuid, text, text, bigint, text, int, timestamptz, timestamptz, json, json) FROM PUBLIC;

CREATE FUNCTION atp.get_cloudevent(event_id uuid, tenant text DEFAULT NULL) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	e atp.stored_event := atp.get_event(get_cloudevent.event_id, get_cloudevent.tenant);
BEGIN
	IF e.event_id IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN atp_internal.cloudevent_document(e.event_id, e.tenant, e.stream, e.stream_version, e.event_type, e.schema_version,
		e.occurred_at, e.recorded_at, e.payload, e.metadata);
END $$;
COMMENT ON FUNCTION atp.get_cloudevent(uuid, text) IS
'Return an event as a CloudEvents 1.0 document; NULL where there is none.
The document is in JSON format.
id is the ULID, source /tenants/TENANT/CATEGORY, subject the stream, type the event type, time occurred_at, data the payload, dataschema urn:atp:schema:TYPE:VERSION where the payload was validated. Extensions: tenant, streamversion, recordedtime, schemaversion, and the members of the metadata (correlation_id: correlationid) that an attribute can hold. An event that append_cloudevent stored has the identity that it came with. time is left out where RFC 3339 cannot say it, data once it is erased. tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_cloudevent(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_cloudevent(uuid, text) TO atp_reader, atp_auditor, atp_admin;

-- ==== src/stream/verify.sql ====
-- Verification of streams.
CREATE FUNCTION atp.verify_stream(stream text, tenant text DEFAULT NULL,
		OUT ok boolean, OUT checked bigint, OUT first_fault_version bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10000 AS 'MODULE_PATHNAME', 'atp_verify_stream';
COMMENT ON FUNCTION atp.verify_stream(text, text) IS
'Verify a stream.
Every hash is recomputed from what is stored; links, versions without gaps and the head are compared. checked counts the events up to the first fault. A stream that does not exist is not ok; one whose head says version 0 is ok with 0 checked. What this transaction has appended is included. tenant NULL means that of the setting atp.tenant.
Raises: 22004 (stream is NULL), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.verify_stream(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_stream(text, text) TO atp_reader, atp_auditor, atp_admin;

-- ==== src/stream/platform.sql ====
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

-- ==== src/stream/tenancy.sql ====
-- The life of tenants: each step is an event of the tenant's own log, in the stream atp.Tenant-<name>, in the same transaction.
CREATE FUNCTION atp.onboard_tenant(tenant text, configuration jsonb DEFAULT '{}') RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	made atp_internal.tenant;
BEGIN
	IF onboard_tenant.tenant IS NULL OR onboard_tenant.tenant !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP201', MESSAGE = format('invalid tenant name "%s"', onboard_tenant.tenant),
			HINT = 'A tenant name has 1 to 128 letters, digits, dots, colons, underscores and hyphens, and begins with a letter or digit.';
	END IF;
	IF jsonb_typeof(onboard_tenant.configuration) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'configuration is not a JSON object';
	END IF;
	INSERT INTO atp_internal.tenant AS t (name, configuration) VALUES (onboard_tenant.tenant, onboard_tenant.configuration)
		ON CONFLICT (name) DO NOTHING RETURNING t.* INTO made;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP211', MESSAGE = format('tenant "%s" exists', onboard_tenant.tenant);
	END IF;
	PERFORM atp_internal.emit_event(made.tenant, 'atp.Tenant-' || made.name, 'TenantOnboarded', jsonb_build_object(
		'TenantId', made.name, 'LogUid', made.log_uid, 'Configuration', made.configuration,
		'OnboardedBy', atp_internal.current_actor(), 'OnboardedAt', atp_internal.event_time(made.created_at)));
	RETURN made.log_uid;
END $$;
COMMENT ON FUNCTION atp.onboard_tenant(text, jsonb) IS
'Make a tenant and return the identity of its log.
The name stays taken for ever. configuration is a free-form JSON object. The first event of the tenant''s log is TenantOnboarded.
Raises: TP201 (malformed name), TP211 (the tenant exists), 22023 (configuration is no object).';

CREATE FUNCTION atp_internal.change_tenant(tenant text, configuration jsonb, status text, allowed text[]) RETURNS atp_internal.tenant
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present atp_internal.tenant;
BEGIN
	SELECT t.* INTO present FROM atp_internal.tenant t WHERE t.name = change_tenant.tenant FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP202', MESSAGE = format('tenant "%s" does not exist', change_tenant.tenant);
	END IF;
	IF present.status <> ALL (change_tenant.allowed) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP203', MESSAGE = format('tenant "%s" is %s', change_tenant.tenant, present.status),
			DETAIL = format('This is possible for a tenant that is %s.', array_to_string(change_tenant.allowed, ' or '));
	END IF;
	UPDATE atp_internal.tenant t SET
			configuration = coalesce(change_tenant.configuration, t.configuration),
			status = coalesce(change_tenant.status, t.status),
			changed_at = clock_timestamp()
		WHERE t.tenant = present.tenant;
	RETURN present;
END $$;
COMMENT ON FUNCTION atp_internal.change_tenant(text, jsonb, text, text[]) IS
'Change the configuration and status of a tenant in one of the allowed states.
NULL leaves what it is. Returns the row as it was.
Raises: TP202 (no such tenant), TP203 (its state does not allow it).';
REVOKE ALL ON FUNCTION atp_internal.change_tenant(text, jsonb, text, text[]) FROM PUBLIC;

CREATE FUNCTION atp.update_tenant_configuration(tenant text, configuration jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	before atp_internal.tenant;
BEGIN
	IF jsonb_typeof(configuration) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'configuration is not a JSON object';
	END IF;
	before := atp_internal.change_tenant(tenant, configuration, NULL, ARRAY['active', 'suspended']);
	PERFORM atp_internal.emit_event(before.tenant, 'atp.Tenant-' || before.name, 'TenantConfigurationUpdated', jsonb_build_object(
		'TenantId', before.name, 'Configuration', configuration, 'PreviousConfiguration', before.configuration,
		'UpdatedBy', atp_internal.current_actor(), 'UpdatedAt', atp_internal.event_time(clock_timestamp())));
END $$;
COMMENT ON FUNCTION atp.update_tenant_configuration(text, jsonb) IS
'Replace the configuration of a tenant.
The tenant''s log gets TenantConfigurationUpdated.
Raises: TP202 (no such tenant), TP203 (it is deleted), 22023 (configuration is no object).';

CREATE FUNCTION atp_internal.move_tenant(tenant text, status text, allowed text[], verb text, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	before atp_internal.tenant := atp_internal.change_tenant(tenant, NULL, status, allowed);
BEGIN
	IF before.name = 'default' AND status = 'deleted' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP203', MESSAGE = 'tenant "default" cannot be deleted',
			DETAIL = 'What the platform records of itself stands in its log.', HINT = 'It can be suspended.';
	END IF;
	PERFORM atp_internal.emit_event(before.tenant, 'atp.Tenant-' || before.name, 'Tenant' || verb, jsonb_build_object(
		'TenantId', before.name, 'Reason', reason, verb || 'By', atp_internal.current_actor(),
		verb || 'At', atp_internal.event_time(clock_timestamp())));
END $$;
COMMENT ON FUNCTION atp_internal.move_tenant(text, text, text[], text, text) IS
'Bring a tenant from one of the allowed states to another and record it.
The event is Tenant<verb>.
Raises: TP202 (no such tenant), TP203 (its state does not allow it).';
REVOKE ALL ON FUNCTION atp_internal.move_tenant(text, text, text[], text, text) FROM PUBLIC;

CREATE FUNCTION atp.suspend_tenant(tenant text, reason text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.move_tenant(tenant, 'suspended', ARRAY['active'], 'Suspended', reason);
END;
COMMENT ON FUNCTION atp.suspend_tenant(text, text) IS
'Suspend a tenant: its events stay readable, and it takes no more.
Appends that began before may still commit. The tenant''s log gets TenantSuspended with the reason.
Raises: TP202 (no such tenant), TP203 (it is not active).';

CREATE FUNCTION atp.reactivate_tenant(tenant text, reason text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.move_tenant(tenant, 'active', ARRAY['suspended'], 'Reactivated', reason);
END;
COMMENT ON FUNCTION atp.reactivate_tenant(text, text) IS
'Let a suspended tenant take events again.
The tenant''s log gets TenantReactivated with the reason.
Raises: TP202 (no such tenant), TP203 (it is not suspended).';

CREATE FUNCTION atp.delete_tenant(tenant text, reason text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.move_tenant(tenant, 'deleted', ARRAY['active', 'suspended'], 'Deleted', reason);
END;
COMMENT ON FUNCTION atp.delete_tenant(text, text) IS
'Mark a tenant deleted.
It takes no more events, for ever, and its name stays taken. Its events stay: they are evidence. The last event of the tenant''s log is TenantDeleted with the reason; what is recorded of it afterwards, exports and faults, stands in the log of the tenant default.
Raises: TP202 (no such tenant), TP203 (it is deleted already, or the tenant default).';

REVOKE ALL ON FUNCTION atp.onboard_tenant(text, jsonb), atp.update_tenant_configuration(text, jsonb), atp.suspend_tenant(text, text),
	atp.reactivate_tenant(text, text), atp.delete_tenant(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.onboard_tenant(text, jsonb), atp.update_tenant_configuration(text, jsonb), atp.suspend_tenant(text, text),
	atp.reactivate_tenant(text, text), atp.delete_tenant(text, text) TO atp_admin;

-- ==== src/stream/seal.sql ====
-- Sealing of streams.
CREATE FUNCTION atp.seal_stream(stream text, reason text DEFAULT NULL, tenant text DEFAULT NULL,
		OUT event_id uuid, OUT final_event_count bigint, OUT merkle_root bytea, OUT sealed_at timestamptz)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10000 AS 'MODULE_PATHNAME', 'atp_seal_stream';
COMMENT ON FUNCTION atp.seal_stream(text, text, text) IS
'Seal a stream: the last event says how many came before, and their Merkle root.
The stream is verified first, and takes no events afterwards. Appends EventStreamSealed with StreamId, FinalEventCount (the events before it), MerkleRoot (RFC 6962 over their chain links in order, hexadecimal) and SealedAt; reason goes into its metadata. There is no unsealing. tenant NULL means that of the setting atp.tenant.
Raises: TP103 (no such stream, or an empty one), TP106 (sealed or archived already), TP201, TP202, TP203, TP504 (the stream does not verify), 22004, 25006, 42501.';
REVOKE ALL ON FUNCTION atp.seal_stream(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.seal_stream(text, text, text) TO atp_writer, atp_admin;

-- ==== src/stream/ingest.sql ====
-- Ingestion: reports of who did what to which resource. What is sound becomes AuditEventReceived in the resource's stream; what is not
-- becomes AuditEventValidationFailed in quarantine, and nothing is raised for it.
CREATE TABLE atp_internal.ingest_batch (
	tenant int NOT NULL,
	batch_id uuid NOT NULL,
	event_count int NOT NULL,
	source text NOT NULL,
	digest bytea NOT NULL,
	started_at timestamptz NOT NULL,
	completed_at timestamptz,
	failed int[],
	event_ids uuid[],
	CONSTRAINT ingest_batch_pk PRIMARY KEY (batch_id, tenant)
);
COMMENT ON TABLE atp_internal.ingest_batch IS 'Batches that were ingested, and which event each item became. Inserting the row is the lock against the same batch.';
COMMENT ON COLUMN atp_internal.ingest_batch.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.ingest_batch.batch_id IS 'Identity of the batch: the caller''s, or derived from source and content.';
COMMENT ON COLUMN atp_internal.ingest_batch.event_count IS 'Items in it.';
COMMENT ON COLUMN atp_internal.ingest_batch.source IS 'Where the items came from, in the caller''s word.';
COMMENT ON COLUMN atp_internal.ingest_batch.digest IS 'SHA-256 of the canonical records: a repetition has to agree.';
COMMENT ON COLUMN atp_internal.ingest_batch.started_at IS 'When its ingestion began.';
COMMENT ON COLUMN atp_internal.ingest_batch.completed_at IS 'When it ended; NULL only inside the transaction.';
COMMENT ON COLUMN atp_internal.ingest_batch.failed IS 'Numbers, from 1, of the items that went into quarantine.';
COMMENT ON COLUMN atp_internal.ingest_batch.event_ids IS 'The event that each item became, in the order of the items.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.ingest_batch', '');
ALTER TABLE atp_internal.ingest_batch ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.ingest_batch FORCE ROW LEVEL SECURITY;
CREATE POLICY ingest_batch_tenant ON atp_internal.ingest_batch USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.quarantine (
	tenant int NOT NULL,
	event_id uuid NOT NULL,
	batch_id uuid,
	item int NOT NULL,
	attempts int NOT NULL DEFAULT 1,
	quarantined_at timestamptz NOT NULL,
	resolved_at timestamptz,
	resolved_by uuid,
	stream text NOT NULL,
	CONSTRAINT quarantine_pk PRIMARY KEY (event_id, tenant)
);
COMMENT ON TABLE atp_internal.quarantine IS 'Items that ingestion refused. The items themselves are events; this is the list of them, and what became of each.';
COMMENT ON COLUMN atp_internal.quarantine.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.quarantine.event_id IS 'The AuditEventValidationFailed that holds the item.';
COMMENT ON COLUMN atp_internal.quarantine.batch_id IS 'The batch that it came with; NULL: it came alone.';
COMMENT ON COLUMN atp_internal.quarantine.item IS 'Its number in the batch, from 1.';
COMMENT ON COLUMN atp_internal.quarantine.attempts IS 'How often it was refused.';
COMMENT ON COLUMN atp_internal.quarantine.quarantined_at IS 'When it was refused first.';
COMMENT ON COLUMN atp_internal.quarantine.resolved_at IS 'When it was re-ingested; NULL while it is open.';
COMMENT ON COLUMN atp_internal.quarantine.resolved_by IS 'The AuditEventReceived that it became.';
COMMENT ON COLUMN atp_internal.quarantine.stream IS 'The quarantine stream.';
CREATE INDEX quarantine_open ON atp_internal.quarantine (tenant, event_id) WHERE resolved_at IS NULL;
SELECT pg_catalog.pg_extension_config_dump('atp_internal.quarantine', '');
ALTER TABLE atp_internal.quarantine ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.quarantine FORCE ROW LEVEL SECURITY;
CREATE POLICY quarantine_tenant ON atp_internal.quarantine USING (atp_internal.tenant_is_visible(tenant));

CREATE TYPE atp.ingest_result AS (
	item int,
	accepted boolean,
	event_id uuid,
	stream text,
	stream_version bigint,
	hash bytea,
	recorded_at timestamptz,
	deduplicated boolean,
	errors jsonb,
	batch_id uuid
);
COMMENT ON TYPE atp.ingest_result IS 'What became of an item that was handed to ingestion.';
COMMENT ON COLUMN atp.ingest_result.item IS 'Number of the item in its batch, from 1.';
COMMENT ON COLUMN atp.ingest_result.accepted IS 'True: it was stored. False: it was put into quarantine.';
COMMENT ON COLUMN atp.ingest_result.event_id IS 'The event that it became: AuditEventReceived, or AuditEventValidationFailed.';
COMMENT ON COLUMN atp.ingest_result.stream IS 'The stream of that event: the resource''s, or the quarantine''s.';
COMMENT ON COLUMN atp.ingest_result.stream_version IS 'Its place in the stream.';
COMMENT ON COLUMN atp.ingest_result.hash IS 'Its chain link, SHA-256.';
COMMENT ON COLUMN atp.ingest_result.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp.ingest_result.deduplicated IS 'True when it was there already; the rest is the original result.';
COMMENT ON COLUMN atp.ingest_result.errors IS 'Array of {Code, Location, Keyword, Message}; NULL for an item that was accepted.';
COMMENT ON COLUMN atp.ingest_result.batch_id IS 'The batch; NULL for an item that came alone.';

CREATE FUNCTION atp.ingest_event(
	actor text,
	action text,
	resource text,
	payload jsonb DEFAULT '{}',
	occurred_at timestamptz DEFAULT NULL,
	event_id uuid DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	payload_type text DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS atp.ingest_result
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_ingest_event';
COMMENT ON FUNCTION atp.ingest_event(text, text, text, jsonb, timestamptz, uuid, text, text, jsonb, text) IS
'Record who did what to which resource, or put the report into quarantine.
Stored as AuditEventReceived in the stream of the resource: the resource itself where it is a stream name {Type}-{Id}, otherwise Resource- and the resource, bytes that a name cannot have as %XX (or its SHA-256 where that is too long). payload_type: a registered event type whose active schema the payload has to meet. event_id or idempotency_key: the same one with the same content returns the original result. A report that is not valid raises nothing: it becomes AuditEventValidationFailed in a quarantine stream, and its errors are returned.
Raises: TP202, TP203 (tenant), 25006, 40001, 42501.';
REVOKE ALL ON FUNCTION atp.ingest_event(text, text, text, jsonb, timestamptz, uuid, text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.ingest_event(text, text, text, jsonb, timestamptz, uuid, text, text, jsonb, text) TO atp_writer;

CREATE FUNCTION atp_internal.ingest_items(tenant int, records jsonb, batch_id uuid, quarantine text, causation text) RETURNS SETOF atp.ingest_result
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'atp_ingest_items';
COMMENT ON FUNCTION atp_internal.ingest_items(int, jsonb, uuid, text, text) IS
'Ingest an array of items and return what became of each.
batch_id: its row says afterwards which event each item became. quarantine: the stream for what is refused; NULL: a new one, and the list of the quarantine gets it. causation goes into the metadata.
Raises: TP203 (tenant), 22023 (records is no array), 54000 (too many).';
REVOKE ALL ON FUNCTION atp_internal.ingest_items(int, jsonb, uuid, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.ingest_digest(records jsonb) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_ingest_digest';
COMMENT ON FUNCTION atp_internal.ingest_digest(jsonb) IS 'Return the SHA-256 of the canonical form of a document.';
REVOKE ALL ON FUNCTION atp_internal.ingest_digest(jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.ingest_batch_id(source text, digest bytea) RETURNS uuid
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT pg_catalog.encode(pg_catalog.set_byte(pg_catalog.set_byte(d.h, 6, (pg_catalog.get_byte(d.h, 6) & 15) | 128), 8,
			(pg_catalog.get_byte(d.h, 8) & 63) | 128), 'hex')::uuid
		FROM (SELECT pg_catalog.substr(pg_catalog.sha256('\x6174702f62617463682f763100'::bytea
			|| pg_catalog.convert_to(ingest_batch_id.source, 'UTF8') || ingest_batch_id.digest), 1, 16)) AS d (h);
END;
COMMENT ON FUNCTION atp_internal.ingest_batch_id(text, bytea) IS 'Derive the identity of a batch: a version 8 UUID of source and digest.';
REVOKE ALL ON FUNCTION atp_internal.ingest_batch_id(text, bytea) FROM PUBLIC;

CREATE FUNCTION atp_internal.batch_results(tenant_key int, batch_id uuid) RETURNS SETOF atp.ingest_result
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100
BEGIN ATOMIC
	SELECT n.item::int, NOT n.item::int = ANY (b.failed), n.event_id, s.name, e.stream_version, e.hash, e.recorded_at, true,
			CASE WHEN n.item::int = ANY (b.failed) THEN e.payload::jsonb -> 'ValidationErrors' END, b.batch_id
		FROM atp_internal.ingest_batch b
			CROSS JOIN LATERAL pg_catalog.unnest(b.event_ids) WITH ORDINALITY AS n (event_id, item)
			LEFT JOIN atp_internal.event e ON e.event_id = n.event_id AND e.tenant = b.tenant
			LEFT JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant
		WHERE b.batch_id = batch_results.batch_id AND b.tenant = batch_results.tenant_key
		ORDER BY n.item;
END;
COMMENT ON FUNCTION atp_internal.batch_results(int, uuid) IS 'List what became of each item of a batch.';
REVOKE ALL ON FUNCTION atp_internal.batch_results(int, uuid) FROM PUBLIC;

CREATE FUNCTION atp.ingest_batch(records jsonb, source text, batch_id uuid DEFAULT NULL, tenant text DEFAULT NULL) RETURNS SETOF atp.ingest_result
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(ingest_batch.tenant);
	fingerprint bytea := atp_internal.ingest_digest(ingest_batch.records);
	id uuid := coalesce(ingest_batch.batch_id, atp_internal.ingest_batch_id(ingest_batch.source, fingerprint));
	tenant_name text := (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = opened);
	known atp_internal.ingest_batch;
	started timestamptz := clock_timestamp();
BEGIN
	IF ingest_batch.records IS NULL OR ingest_batch.source IS NULL THEN
		RAISE EXCEPTION 'records and source must not be null' USING ERRCODE = '22004';
	ELSIF jsonb_typeof(ingest_batch.records) <> 'array' THEN
		RAISE EXCEPTION 'records is not a JSON array' USING ERRCODE = '22023',
			HINT = 'For example [{"actor": "alice", "action": "document.updated", "resource": "document-42", "payload": {}}].';
	ELSIF length(ingest_batch.source) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'source must have 1 to 255 characters' USING ERRCODE = '22023';
	END IF;
	LOOP
		INSERT INTO atp_internal.ingest_batch (tenant, batch_id, event_count, source, digest, started_at)
			VALUES (opened, id, jsonb_array_length(ingest_batch.records), ingest_batch.source, fingerprint, started)
			ON CONFLICT (batch_id, tenant) DO NOTHING;
		EXIT WHEN FOUND;
		-- Locked against purge_ingestion; where that was faster the batch is new.
		SELECT b.* INTO known FROM atp_internal.ingest_batch b WHERE b.batch_id = id AND b.tenant = opened FOR KEY SHARE;
		CONTINUE WHEN NOT FOUND;
		IF known.digest <> fingerprint THEN
			RAISE EXCEPTION 'batch id was used before for other content' USING ERRCODE = 'TP104',
				DETAIL = format('Batch %s was ingested at %s from "%s".', id, known.started_at, known.source),
				HINT = 'Give another batch its own id, or none: it is derived then.';
		END IF;
		RETURN QUERY SELECT * FROM atp_internal.batch_results(opened, id);
		RETURN;
	END LOOP;
	PERFORM atp_internal.emit_event(opened, 'atp.Batch-' || id, 'BatchIngestionStarted', jsonb_build_object(
		'BatchId', id, 'TenantId', tenant_name, 'EventCount', jsonb_array_length(ingest_batch.records), 'Source', ingest_batch.source));
	RETURN QUERY SELECT * FROM atp_internal.ingest_items(opened, ingest_batch.records, id, NULL, NULL);
	UPDATE atp_internal.ingest_batch b SET completed_at = clock_timestamp() WHERE b.batch_id = id AND b.tenant = opened RETURNING b.* INTO known;
	PERFORM atp_internal.emit_event(opened, 'atp.Batch-' || id, 'BatchIngestionCompleted', jsonb_build_object(
		'BatchId', id, 'TenantId', tenant_name, 'SuccessCount', known.event_count - cardinality(known.failed),
		'FailureCount', cardinality(known.failed),
		'Duration', format('PT%sS', trim_scale(extract(epoch FROM known.completed_at - started)))));
END $$;
COMMENT ON FUNCTION atp.ingest_batch(jsonb, text, uuid, text) IS
'Ingest an array of items: keep the good, quarantine the bad, list each.
An item is an object with actor, action, resource, payload, and optionally occurred_at (RFC 3339), event_id (ULID or uuid), idempotency_key, payload_type and metadata, as the arguments of ingest_event; the names that AuditEventReceived has for them (Actor, Timestamp ...) are taken too. source says where they come from. The batch has a stream of its own, atp.Batch-<id>, with BatchIngestionStarted and BatchIngestionCompleted; what is refused goes to atp.Quarantine-<id>.
Repeating a batch returns the original results with deduplicated = true. It is the same batch when batch_id is the same, or, without one, when source and records are. An item that may come in several batches carries an event_id or idempotency_key of its own.
Raises: TP104 (batch_id used for other content), TP202, TP203 (tenant), 22004, 22023, 54000 (over a million items).';
REVOKE ALL ON FUNCTION atp.ingest_batch(jsonb, text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.ingest_batch(jsonb, text, uuid, text) TO atp_writer;

CREATE VIEW atp.ingest_batches AS
	SELECT b.batch_id, b.source, b.event_count, b.event_count - pg_catalog.cardinality(b.failed) AS success_count,
		pg_catalog.cardinality(b.failed) AS failure_count, b.started_at, b.completed_at
	FROM atp_internal.ingest_batch b
	WHERE b.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.ingest_batches IS 'List the batches that were ingested for the current tenant.';
COMMENT ON COLUMN atp.ingest_batches.batch_id IS 'Identity of the batch; atp.get_batch lists its items.';
COMMENT ON COLUMN atp.ingest_batches.source IS 'Where the items came from.';
COMMENT ON COLUMN atp.ingest_batches.event_count IS 'Items in it.';
COMMENT ON COLUMN atp.ingest_batches.success_count IS 'Items that are stored.';
COMMENT ON COLUMN atp.ingest_batches.failure_count IS 'Items that went into quarantine.';
COMMENT ON COLUMN atp.ingest_batches.started_at IS 'When its ingestion began.';
COMMENT ON COLUMN atp.ingest_batches.completed_at IS 'When it ended.';
GRANT SELECT ON atp.ingest_batches TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.get_batch(batch_id uuid, tenant text DEFAULT NULL) RETURNS SETOF atp.ingest_result
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT * FROM atp_internal.batch_results(atp_internal.open_tenant(get_batch.tenant), get_batch.batch_id);
END;
COMMENT ON FUNCTION atp.get_batch(uuid, text) IS
'List what became of each item of a batch, in the order of the items.
No row where there is no such batch. tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_batch(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_batch(uuid, text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_quarantine(max_count int DEFAULT 100, after_event_id uuid DEFAULT NULL, batch uuid DEFAULT NULL,
		include_resolved boolean DEFAULT false, tenant text DEFAULT NULL)
	RETURNS TABLE (event_id uuid, batch_id uuid, item int, attempts int, errors jsonb, original jsonb, quarantined_at timestamptz,
		resolved_at timestamptz, resolved_by uuid, stream text)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(list_quarantine.tenant);
BEGIN
	RETURN QUERY SELECT q.event_id, q.batch_id, q.item, q.attempts, e.payload::jsonb -> 'ValidationErrors', e.payload::jsonb -> 'OriginalPayload',
			q.quarantined_at, q.resolved_at, q.resolved_by, q.stream
		FROM (SELECT * FROM atp_internal.quarantine w
				WHERE w.tenant = opened AND (list_quarantine.include_resolved OR w.resolved_at IS NULL)
					AND (list_quarantine.after_event_id IS NULL OR w.event_id > list_quarantine.after_event_id)
					AND (list_quarantine.batch IS NULL OR w.batch_id = list_quarantine.batch)
				ORDER BY w.event_id LIMIT list_quarantine.max_count) q
			LEFT JOIN atp_internal.event e ON e.event_id = q.event_id AND e.tenant = q.tenant
		ORDER BY q.event_id;
END $$;
COMMENT ON FUNCTION atp.list_quarantine(int, uuid, uuid, boolean, text) IS
'List the items in quarantine, oldest first.
errors and original are those of the first refusal; attempts counts the refusals. after_event_id: only later ones, for the next page. batch: only those of a batch. include_resolved: those that were re-ingested too, with the event that they became.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.list_quarantine(int, uuid, uuid, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_quarantine(int, uuid, uuid, boolean, text) TO atp_auditor, atp_admin;

CREATE FUNCTION atp.reingest_event(event_id uuid, record jsonb DEFAULT NULL, tenant text DEFAULT NULL) RETURNS atp.ingest_result
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(reingest_event.tenant);
	known atp_internal.quarantine;
	answer atp.ingest_result;
BEGIN
	SELECT q.* INTO known FROM atp_internal.quarantine q WHERE q.event_id = reingest_event.event_id AND q.tenant = opened FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no item in quarantine has this event id' USING ERRCODE = 'TP253',
			DETAIL = format('It is %s.', reingest_event.event_id), HINT = 'atp.list_quarantine() lists them.';
	END IF;
	IF known.resolved_at IS NOT NULL THEN
		SELECT known.item, true, e.event_id, s.name, e.stream_version, e.hash, e.recorded_at, true, NULL, known.batch_id INTO answer
			FROM atp_internal.event e
				JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant
			WHERE e.event_id = known.resolved_by AND e.tenant = opened;
		RETURN answer;
	END IF;
	SELECT r.* INTO answer
		FROM atp_internal.ingest_items(opened, jsonb_build_array(coalesce(reingest_event.record,
			(SELECT e.payload::jsonb -> 'OriginalPayload' FROM atp_internal.event e WHERE e.event_id = known.event_id AND e.tenant = opened))),
			NULL, known.stream, atp.ulid_from_uuid(known.event_id)) r;
	IF answer.accepted THEN
		UPDATE atp_internal.quarantine q SET resolved_at = clock_timestamp(), resolved_by = answer.event_id
			WHERE q.event_id = known.event_id AND q.tenant = opened;
	ELSE
		UPDATE atp_internal.quarantine q SET attempts = q.attempts + 1 WHERE q.event_id = known.event_id AND q.tenant = opened;
	END IF;
	answer.item := known.item;
	answer.batch_id := known.batch_id;
	RETURN answer;
END $$;
COMMENT ON FUNCTION atp.reingest_event(uuid, jsonb, text) IS
'Ingest an item of the quarantine again, corrected or as it was.
event_id names the AuditEventValidationFailed; record is the corrected item, NULL: the original (a cause outside it has gone). Accepted, it names the failure as its causation_id, and the item is resolved: doing it again returns the same result with deduplicated = true. Refused, its quarantine stream gets a further AuditEventValidationFailed, and the item stays open.
Raises: TP253 (no such item), TP202, TP203 (tenant).';
REVOKE ALL ON FUNCTION atp.reingest_event(uuid, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.reingest_event(uuid, jsonb, text) TO atp_admin;

CREATE FUNCTION atp.purge_ingestion(older_than interval DEFAULT '90 days', tenant text DEFAULT NULL, OUT batches bigint, OUT items bigint)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(purge_ingestion.tenant);
	until timestamptz := clock_timestamp() - purge_ingestion.older_than;
BEGIN
	DELETE FROM atp_internal.ingest_batch b WHERE b.tenant = opened AND b.completed_at < until;
	GET DIAGNOSTICS batches = ROW_COUNT;
	DELETE FROM atp_internal.quarantine q WHERE q.tenant = opened AND q.resolved_at < until;
	GET DIAGNOSTICS items = ROW_COUNT;
END $$;
COMMENT ON FUNCTION atp.purge_ingestion(interval, text) IS
'Forget batches and resolved items of the quarantine that are older.
Returns how many. The events stay; what goes is by what a repeated batch is recognised, and the list of what became of each item. Open items of the quarantine stay.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.purge_ingestion(interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.purge_ingestion(interval, text) TO atp_admin;

-- COPY and INSERT: rows of text, so that not even one that is no JSON ends the statement.
CREATE VIEW atp.ingest AS
	SELECT NULL::text AS actor, NULL::text AS action, NULL::text AS resource, NULL::text AS payload, NULL::text AS occurred_at,
		NULL::text AS event_id, NULL::text AS idempotency_key, NULL::text AS payload_type, NULL::text AS metadata, NULL::text AS source,
		NULL::text AS tenant
	WHERE false;
COMMENT ON VIEW atp.ingest IS
'Take rows by COPY FROM or INSERT and ingest them in batches; has no rows of its own.
Rows of one statement are ingested at its end, or when atp.ingest_batch_size of one source and tenant have come together, as ingest_batch does it: what is not valid goes into quarantine, and the same file again is recognised batch by batch, provided that every row says when (occurred_at) or which (event_id, idempotency_key): rows that do not may be equal and yet two acts. Results: atp.ingest_batches, atp.get_batch, atp.list_quarantine.';
COMMENT ON COLUMN atp.ingest.actor IS 'Who acted.';
COMMENT ON COLUMN atp.ingest.action IS 'What was done.';
COMMENT ON COLUMN atp.ingest.resource IS 'What it was done to.';
COMMENT ON COLUMN atp.ingest.payload IS 'Details, text of a JSON object; NULL: none.';
COMMENT ON COLUMN atp.ingest.occurred_at IS 'When, RFC 3339 with offset; NULL: the time of ingestion.';
COMMENT ON COLUMN atp.ingest.event_id IS 'Id of the event, ULID or uuid; NULL: one is made.';
COMMENT ON COLUMN atp.ingest.idempotency_key IS 'Key by which a repetition is recognised within the resource.';
COMMENT ON COLUMN atp.ingest.payload_type IS 'Registered event type whose schema the payload has to meet.';
COMMENT ON COLUMN atp.ingest.metadata IS 'Text of a JSON object; NULL: none.';
COMMENT ON COLUMN atp.ingest.source IS 'Where the row comes from; NULL: copy.';
COMMENT ON COLUMN atp.ingest.tenant IS 'Name of the tenant; NULL: that of the setting atp.tenant.';
GRANT SELECT, INSERT ON atp.ingest TO atp_writer, atp_admin;

CREATE FUNCTION atp_internal.ingest_rows() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_ingest_rows';
COMMENT ON FUNCTION atp_internal.ingest_rows() IS 'Gather the rows that a statement gives to the view atp.ingest, and ingest them.';
REVOKE ALL ON FUNCTION atp_internal.ingest_rows() FROM PUBLIC;
CREATE TRIGGER ingest_rows_begin BEFORE INSERT ON atp.ingest FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.ingest_rows();
CREATE TRIGGER ingest_rows INSTEAD OF INSERT ON atp.ingest FOR EACH ROW EXECUTE FUNCTION atp_internal.ingest_rows();
CREATE TRIGGER ingest_rows_end AFTER INSERT ON atp.ingest FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.ingest_rows();

-- ==== src/stream/policy.sql ====
-- Policies: what a tenant rules about its events (retention, classification, access), as records of which every version is kept.
-- Each policy is told in a stream of its own, atp.Policy-<id>. A version is in force from its recording until the next one's, or until
-- the policy is deleted. Changes of one policy are serial: each locks its row.
CREATE TABLE atp_internal.policy (
	tenant int NOT NULL,
	policy_id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	policy_type text NOT NULL CONSTRAINT policy_type_known CHECK (policy_type IN ('retention', 'classification', 'access')),
	version int NOT NULL DEFAULT 1,
	name text NOT NULL,
	deleted_at timestamptz,
	deleted_by text,
	CONSTRAINT policy_pk PRIMARY KEY (policy_id, tenant)
);
CREATE UNIQUE INDEX policy_name_unique ON atp_internal.policy (name, tenant) WHERE deleted_at IS NULL;
COMMENT ON TABLE atp_internal.policy IS 'Policies of tenants, the deleted ones too. Locking the row orders its changes.';
COMMENT ON COLUMN atp_internal.policy.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.policy.policy_id IS 'Random identity, named by the events of the policy.';
COMMENT ON COLUMN atp_internal.policy.policy_type IS 'retention, classification or access.';
COMMENT ON COLUMN atp_internal.policy.version IS 'The latest version.';
COMMENT ON COLUMN atp_internal.policy.name IS 'Name, unique among the tenant''s policies that are not deleted.';
COMMENT ON COLUMN atp_internal.policy.deleted_at IS 'When the policy went out of force; NULL while it is in force.';
COMMENT ON COLUMN atp_internal.policy.deleted_by IS 'Who deleted it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.policy', '');
ALTER TABLE atp_internal.policy ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.policy FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_tenant ON atp_internal.policy USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.policy_version (
	tenant int NOT NULL,
	policy_id uuid NOT NULL,
	version int NOT NULL,
	rules jsonb NOT NULL,
	description text,
	changed_at timestamptz NOT NULL,
	changed_by text NOT NULL,
	CONSTRAINT policy_version_pk PRIMARY KEY (policy_id, version, tenant),
	CONSTRAINT policy_version_policy FOREIGN KEY (policy_id, tenant) REFERENCES atp_internal.policy
);
COMMENT ON TABLE atp_internal.policy_version IS 'Every version of every policy, as it was; insert-only.';
COMMENT ON COLUMN atp_internal.policy_version.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.policy_version.policy_id IS 'The policy.';
COMMENT ON COLUMN atp_internal.policy_version.version IS '1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.policy_version.rules IS 'The rules, valid against the schema of the policy''s type.';
COMMENT ON COLUMN atp_internal.policy_version.description IS 'What the policy is for, in the words of who wrote it.';
COMMENT ON COLUMN atp_internal.policy_version.changed_at IS 'From when the version is in force.';
COMMENT ON COLUMN atp_internal.policy_version.changed_by IS 'Who wrote it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.policy_version', '');
ALTER TABLE atp_internal.policy_version ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.policy_version FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_version_tenant ON atp_internal.policy_version USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.policy_version
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.policy_version ENABLE ALWAYS TRIGGER guard;

CREATE VIEW atp.policies AS
	SELECT p.name AS policy, p.policy_id, p.policy_type, p.version, v.rules, v.description, v.changed_at, v.changed_by,
		p.deleted_at, p.deleted_by
	FROM atp_internal.policy p
		JOIN atp_internal.policy_version v ON v.policy_id = p.policy_id AND v.version = p.version AND v.tenant = p.tenant
	WHERE p.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.policies IS 'List the policies of the current tenant in their latest version, the deleted ones too.';
COMMENT ON COLUMN atp.policies.policy IS 'Name of the policy.';
COMMENT ON COLUMN atp.policies.policy_id IS 'Its identity, named by its events.';
COMMENT ON COLUMN atp.policies.policy_type IS 'retention, classification or access.';
COMMENT ON COLUMN atp.policies.version IS 'Version, from 1.';
COMMENT ON COLUMN atp.policies.rules IS 'The rules.';
COMMENT ON COLUMN atp.policies.description IS 'What it is for.';
COMMENT ON COLUMN atp.policies.changed_at IS 'From when this version is in force.';
COMMENT ON COLUMN atp.policies.changed_by IS 'Who wrote this version.';
COMMENT ON COLUMN atp.policies.deleted_at IS 'When the policy went out of force; NULL while it is in force.';
COMMENT ON COLUMN atp.policies.deleted_by IS 'Who deleted it.';
GRANT SELECT ON atp.policies TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.policy_schema(policy_type text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN $policy${
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$defs": {
			"Patterns": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1, "maxLength": 255}},
			"Classification": {"enum": ["public", "internal", "confidential", "restricted"]},
			"AppliesTo": {
				"type": "object",
				"properties": {
					"EventTypes": {"$ref": "#/$defs/Patterns"},
					"Streams": {"$ref": "#/$defs/Patterns"},
					"Classifications": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Classification"}}
				},
				"additionalProperties": false
			},
			"retention": {
				"type": "object",
				"properties": {
					"RetentionPeriod": {"type": "string", "pattern": "^P([0-9]+Y)?([0-9]+M)?([0-9]+W)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?$"},
					"Action": {"enum": ["tombstone", "redact", "delete"]},
					"AppliesTo": {"$ref": "#/$defs/AppliesTo"}
				},
				"required": ["RetentionPeriod"],
				"additionalProperties": false
			},
			"classification": {
				"type": "object",
				"properties": {
					"Classification": {"$ref": "#/$defs/Classification"},
					"AppliesTo": {"$ref": "#/$defs/AppliesTo"}
				},
				"required": ["Classification"],
				"additionalProperties": false
			},
			"access": {
				"type": "object",
				"properties": {
					"Effect": {"enum": ["allow", "deny"]},
					"Roles": {"$ref": "#/$defs/Patterns"},
					"Permissions": {"type": "array", "minItems": 1, "items": {"enum": ["read", "append", "export", "administer"]}},
					"AppliesTo": {"$ref": "#/$defs/AppliesTo"}
				},
				"required": ["Effect", "Roles", "Permissions"],
				"additionalProperties": false
			}
		}
	}$policy$::jsonb || pg_catalog.jsonb_build_object('$ref', '#/$defs/' || policy_type);
COMMENT ON FUNCTION atp_internal.policy_schema(text) IS
'Return the JSON Schema that the rules of a policy of this type meet.
AppliesTo says which events: names with * for any characters; a member that is left out applies to all.';
REVOKE ALL ON FUNCTION atp_internal.policy_schema(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.check_policy(policy text, policy_type text, rules jsonb) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	faults text;
BEGIN
	IF policy IS NULL OR policy !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP201', MESSAGE = format('invalid policy name "%s"', policy),
			HINT = 'A policy name has 1 to 128 letters, digits, dots, colons, underscores and hyphens, and begins with a letter or digit.';
	END IF;
	IF policy_type IS NULL OR policy_type NOT IN ('retention', 'classification', 'access') THEN
		RAISE EXCEPTION USING ERRCODE = 'TP262', MESSAGE = format('unknown policy type "%s"', policy_type),
			HINT = 'Types are retention, classification and access.';
	END IF;
	IF rules IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'rules must not be null';
	END IF;
	SELECT string_agg(format('%s: %s', coalesce(nullif(e.instance_location, ''), '/'), e.message), E'\n') INTO faults
		FROM (SELECT * FROM atp.schema_errors(atp_internal.policy_schema(policy_type), rules) LIMIT 10) e;
	IF faults IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'TP262', MESSAGE = format('the rules do not fit the policy type %s', policy_type), DETAIL = faults,
			HINT = CASE policy_type WHEN 'retention' THEN 'For example {"RetentionPeriod": "P7Y", "AppliesTo": {"EventTypes": ["Order*"]}}.'
				WHEN 'classification' THEN 'For example {"Classification": "confidential", "AppliesTo": {"Streams": ["patient-*"]}}.'
				ELSE 'For example {"Effect": "deny", "Roles": ["support"], "Permissions": ["read"], "AppliesTo": {"Classifications": ["restricted"]}}.' END;
	END IF;
	IF rules ->> 'RetentionPeriod' IN ('P', 'PT') OR rules ->> 'RetentionPeriod' LIKE '%T' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP262', MESSAGE = 'the retention period is empty', DETAIL = format('It is "%s".', rules ->> 'RetentionPeriod');
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.check_policy(text, text, jsonb) IS
'Refuse a malformed name, an unknown type, or rules that the type does not have.
Raises: TP201, TP262, 22004.';
REVOKE ALL ON FUNCTION atp_internal.check_policy(text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.find_policy(policy text, tenant_key int, lock boolean) RETURNS atp_internal.policy
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present atp_internal.policy;
BEGIN
	IF lock THEN
		SELECT p.* INTO present FROM atp_internal.policy p
			WHERE p.tenant = tenant_key AND p.deleted_at IS NULL AND (p.name = find_policy.policy OR p.policy_id::text = find_policy.policy)
			FOR UPDATE;
	ELSE
		SELECT p.* INTO present FROM atp_internal.policy p
			WHERE p.tenant = tenant_key AND (p.name = find_policy.policy AND p.deleted_at IS NULL OR p.policy_id::text = find_policy.policy);
	END IF;
	IF present IS NULL AND lock THEN
		RAISE EXCEPTION USING ERRCODE = 'TP261', MESSAGE = format('policy "%s" does not exist', find_policy.policy),
			HINT = 'atp.list_policies() lists those in force.';
	END IF;
	RETURN present;
END $$;
COMMENT ON FUNCTION atp_internal.find_policy(text, int, boolean) IS
'Return the policy of a name or id; locked, it must be in force.
Without the lock, NULL where there is none; a deleted policy is found by its id only.
Raises: TP261 (locked: no such policy in force).';
REVOKE ALL ON FUNCTION atp_internal.find_policy(text, int, boolean) FROM PUBLIC;

CREATE FUNCTION atp.create_policy(policy text, policy_type text, rules jsonb, description text DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(create_policy.tenant);
	id uuid;
BEGIN
	PERFORM atp_internal.check_policy(create_policy.policy, create_policy.policy_type, create_policy.rules);
	INSERT INTO atp_internal.policy AS p (tenant, policy_type, name) VALUES (opened, create_policy.policy_type, create_policy.policy)
		ON CONFLICT (name, tenant) WHERE deleted_at IS NULL DO NOTHING RETURNING p.policy_id INTO id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP260', MESSAGE = format('policy "%s" exists', create_policy.policy),
			HINT = 'Change it with atp.update_policy.';
	END IF;
	INSERT INTO atp_internal.policy_version (tenant, policy_id, version, rules, description, changed_at, changed_by)
		VALUES (opened, id, 1, create_policy.rules, create_policy.description, clock_timestamp(), atp_internal.current_actor());
	PERFORM atp_internal.emit_event(opened, 'atp.Policy-' || id, 'PolicyCreated', jsonb_build_object(
		'PolicyId', id, 'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = opened), 'PolicyType', create_policy.policy_type,
		'Rules', create_policy.rules, 'Name', create_policy.policy));
	RETURN id;
END $$;
COMMENT ON FUNCTION atp.create_policy(text, text, jsonb, text, text) IS
'Create a policy and return its id.
policy is its name; policy_type is retention, classification or access; rules are a JSON object that the type''s schema accepts, with AppliesTo {EventTypes, Streams, Classifications} saying to which events they apply: retention {RetentionPeriod, Action}, classification {Classification}, access {Effect, Roles, Permissions}. The policy''s own stream gets PolicyCreated.
Raises: TP201 (malformed name), TP260 (the policy exists), TP262 (unknown type, or rules that it does not have), TP202 (no such tenant), 22004.';
REVOKE ALL ON FUNCTION atp.create_policy(text, text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_policy(text, text, jsonb, text, text) TO atp_admin;

CREATE FUNCTION atp.update_policy(policy text, rules jsonb, expected_version int DEFAULT NULL, description text DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(update_policy.tenant);
	present atp_internal.policy := atp_internal.find_policy(update_policy.policy, opened, true);
	before atp_internal.policy_version;
BEGIN
	PERFORM atp_internal.check_policy(present.name, present.policy_type, update_policy.rules);
	IF present.version <> update_policy.expected_version THEN
		RAISE EXCEPTION USING ERRCODE = 'TP263', MESSAGE = format('version conflict on policy "%s"', present.name),
			DETAIL = format('It is at version %s, expected was version %s.', present.version, update_policy.expected_version),
			HINT = 'Read the policy again and decide anew.';
	END IF;
	SELECT v.* INTO before FROM atp_internal.policy_version v
		WHERE v.policy_id = present.policy_id AND v.version = present.version AND v.tenant = opened;
	IF before.rules = update_policy.rules AND coalesce(update_policy.description, before.description) IS NOT DISTINCT FROM before.description THEN
		RETURN present.version;
	END IF;
	UPDATE atp_internal.policy p SET version = p.version + 1 WHERE p.policy_id = present.policy_id AND p.tenant = opened;
	INSERT INTO atp_internal.policy_version (tenant, policy_id, version, rules, description, changed_at, changed_by)
		VALUES (opened, present.policy_id, present.version + 1, update_policy.rules, coalesce(update_policy.description, before.description),
			clock_timestamp(), atp_internal.current_actor());
	PERFORM atp_internal.emit_event(opened, 'atp.Policy-' || present.policy_id, 'PolicyUpdated', jsonb_build_object(
		'PolicyId', present.policy_id, 'Changes', jsonb_build_object('Before', before.rules, 'After', update_policy.rules),
		'UpdatedBy', atp_internal.current_actor(), 'Version', present.version + 1));
	RETURN present.version + 1;
END $$;
COMMENT ON FUNCTION atp.update_policy(text, jsonb, int, text, text) IS
'Replace the rules of a policy and return its version.
policy is a name or an id. expected_version NULL: any. description NULL leaves the one that stands. The version before is kept; rules that change nothing make no version. The policy''s own stream gets PolicyUpdated.
Raises: TP261 (no such policy in force), TP262 (rules that its type does not have), TP263 (expected version), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.update_policy(text, jsonb, int, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.update_policy(text, jsonb, int, text, text) TO atp_admin;

CREATE FUNCTION atp.delete_policy(policy text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(delete_policy.tenant);
	present atp_internal.policy := atp_internal.find_policy(delete_policy.policy, opened, true);
	moment timestamptz := clock_timestamp();
BEGIN
	UPDATE atp_internal.policy p SET deleted_at = moment, deleted_by = atp_internal.current_actor()
		WHERE p.policy_id = present.policy_id AND p.tenant = opened;
	PERFORM atp_internal.emit_event(opened, 'atp.Policy-' || present.policy_id, 'PolicyDeleted', jsonb_build_object(
		'PolicyId', present.policy_id, 'DeletedBy', atp_internal.current_actor(), 'DeletedAt', atp_internal.event_time(moment)));
END $$;
COMMENT ON FUNCTION atp.delete_policy(text, text) IS
'Put a policy out of force.
policy is a name or an id. Its versions are kept, and its name is free again. The policy''s own stream gets PolicyDeleted.
Raises: TP261 (no such policy in force), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.delete_policy(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.delete_policy(text, text) TO atp_admin;

CREATE FUNCTION atp.get_policy(policy text, version int DEFAULT NULL, tenant text DEFAULT NULL) RETURNS atp.policies
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(get_policy.tenant);
	answer atp.policies;
BEGIN
	SELECT p.name, p.policy_id, p.policy_type, v.version, v.rules, v.description, v.changed_at, v.changed_by, p.deleted_at, p.deleted_by
		INTO answer
		FROM atp_internal.policy p
			JOIN atp_internal.policy_version v ON v.policy_id = p.policy_id AND v.tenant = p.tenant
				AND v.version = coalesce(get_policy.version, p.version)
		WHERE p.tenant = opened AND (p.name = get_policy.policy AND p.deleted_at IS NULL OR p.policy_id::text = get_policy.policy);
	RETURN answer;
END $$;
COMMENT ON FUNCTION atp.get_policy(text, int, text) IS
'Return a policy in one of its versions; NULL where there is none.
policy is the name of one in force, or the id of any. version NULL means the latest. changed_at and changed_by are the version''s.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_policy(text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_policy(text, int, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_policies(policy_type text DEFAULT NULL, at timestamptz DEFAULT NULL, tenant text DEFAULT NULL) RETURNS SETOF atp.policies
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(list_policies.tenant);
	moment timestamptz := coalesce(list_policies.at, 'infinity');
BEGIN
	RETURN QUERY SELECT p.name, p.policy_id, p.policy_type, v.version, v.rules, v.description, v.changed_at, v.changed_by, p.deleted_at, p.deleted_by
		FROM atp_internal.policy p
			JOIN LATERAL (SELECT w.* FROM atp_internal.policy_version w WHERE w.policy_id = p.policy_id AND w.tenant = p.tenant
				AND w.changed_at <= moment ORDER BY w.version DESC LIMIT 1) v ON true
		WHERE p.tenant = opened AND (p.deleted_at IS NULL OR p.deleted_at > moment)
			AND (list_policies.policy_type IS NULL OR p.policy_type = list_policies.policy_type)
		ORDER BY p.policy_type, p.name;
END $$;
COMMENT ON FUNCTION atp.list_policies(text, timestamptz, text) IS
'List the policies in force, now or at a moment of the past.
policy_type NULL means all types. at NULL means now; otherwise each policy comes in the version that was in force then, also where it has been deleted since.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.list_policies(text, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_policies(text, timestamptz, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.name_matches(name text, patterns jsonb) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN patterns IS NULL OR EXISTS (SELECT FROM pg_catalog.jsonb_array_elements_text(patterns) AS p
		WHERE name LIKE pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(p, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'));
COMMENT ON FUNCTION atp_internal.name_matches(text, jsonb) IS
'Tell whether a name matches one of the patterns in a JSON array.
A star stands for any characters. NULL patterns match every name.';
REVOKE ALL ON FUNCTION atp_internal.name_matches(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.policy_applies(rules jsonb, event_type text, stream text, classification text) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN atp_internal.name_matches(event_type, rules #> '{AppliesTo,EventTypes}')
		AND atp_internal.name_matches(stream, rules #> '{AppliesTo,Streams}')
		AND (rules #> '{AppliesTo,Classifications}' IS NULL OR COALESCE(rules #> '{AppliesTo,Classifications}' ? classification, false));
COMMENT ON FUNCTION atp_internal.policy_applies(jsonb, text, text, text) IS
'Tell whether the rules of a policy apply to an event.
classification NULL: of no class, which rules that ask for a class do not apply to.';
REVOKE ALL ON FUNCTION atp_internal.policy_applies(jsonb, text, text, text) FROM PUBLIC;

-- ==== src/stream/health.sql ====
-- Health checks: the state of each, so that a check that fails is an event when it begins to fail and not each time it is looked at.
CREATE TABLE atp_internal.health_check (
	tenant int NOT NULL,
	passed boolean NOT NULL,
	changed_at timestamptz NOT NULL,
	checked_at timestamptz NOT NULL,
	component text NOT NULL,
	check_name text NOT NULL,
	detail text,
	CONSTRAINT health_check_pk PRIMARY KEY (component, check_name, tenant)
) WITH (fillfactor = 50);
COMMENT ON TABLE atp_internal.health_check IS 'The latest outcome of each health check.';
COMMENT ON COLUMN atp_internal.health_check.tenant IS 'Surrogate key of the tenant concerned; the tenant default for what concerns all.';
COMMENT ON COLUMN atp_internal.health_check.passed IS 'Whether it passed when it was last reported.';
COMMENT ON COLUMN atp_internal.health_check.changed_at IS 'Since when it passes, or fails.';
COMMENT ON COLUMN atp_internal.health_check.checked_at IS 'When it was last reported.';
COMMENT ON COLUMN atp_internal.health_check.component IS 'Which part was checked.';
COMMENT ON COLUMN atp_internal.health_check.check_name IS 'Name of the check.';
COMMENT ON COLUMN atp_internal.health_check.detail IS 'What was found.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.health_check', '');
ALTER TABLE atp_internal.health_check ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.health_check FORCE ROW LEVEL SECURITY;
CREATE POLICY health_check_tenant ON atp_internal.health_check USING (atp_internal.tenant_is_visible(tenant));

CREATE VIEW atp.health_checks AS
	SELECT h.component, h.check_name, h.passed, h.detail, h.changed_at, h.checked_at
	FROM atp_internal.health_check h
	WHERE h.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.health_checks IS 'List the latest outcome of each health check of the current tenant.';
COMMENT ON COLUMN atp.health_checks.component IS 'Which part was checked.';
COMMENT ON COLUMN atp.health_checks.check_name IS 'Name of the check.';
COMMENT ON COLUMN atp.health_checks.passed IS 'Whether it passed when it was last reported.';
COMMENT ON COLUMN atp.health_checks.detail IS 'What was found.';
COMMENT ON COLUMN atp.health_checks.changed_at IS 'Since when it passes, or fails.';
COMMENT ON COLUMN atp.health_checks.checked_at IS 'When it was last reported.';
GRANT SELECT ON atp.health_checks TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.report_health_check(component text, check_name text, passed boolean, detail text DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(report_health_check.tenant);
	moment timestamptz := clock_timestamp();
	before boolean;
BEGIN
	IF report_health_check.passed IS NULL OR report_health_check.component !~ '^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,127}$'
			OR report_health_check.check_name !~ '^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,127}$' THEN
		RAISE EXCEPTION 'a health check has a component, a name and an outcome' USING ERRCODE = '22023',
			DETAIL = 'Component and name have 1 to 128 letters, digits, spaces and . _ : / - and begin with a letter or digit.';
	END IF;
	INSERT INTO atp_internal.health_check (tenant, passed, changed_at, checked_at, component, check_name)
		VALUES (opened, true, moment, moment, report_health_check.component, report_health_check.check_name)
		ON CONFLICT (component, check_name, tenant) DO NOTHING;
	SELECT h.passed INTO before FROM atp_internal.health_check h
		WHERE h.tenant = opened AND h.component = report_health_check.component AND h.check_name = report_health_check.check_name FOR UPDATE;
	UPDATE atp_internal.health_check h SET passed = report_health_check.passed, detail = report_health_check.detail, checked_at = moment,
			changed_at = CASE WHEN h.passed = report_health_check.passed THEN h.changed_at ELSE moment END
		WHERE h.tenant = opened AND h.component = report_health_check.component AND h.check_name = report_health_check.check_name;
	IF before AND NOT report_health_check.passed THEN
		PERFORM atp_internal.emit_event(opened, 'atp.Health-' || replace(report_health_check.component || '/' || report_health_check.check_name, ' ', '_'),
			'HealthCheckFailed', jsonb_build_object('Component', report_health_check.component, 'Check', report_health_check.check_name,
				'Detail', coalesce(nullif(left(report_health_check.detail, 4096), ''), 'no detail'), 'TenantId',
				(SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = opened), 'DetectedAt', atp_internal.event_time(moment)));
	END IF;
	RETURN before AND NOT report_health_check.passed;
END $$;
COMMENT ON FUNCTION atp.report_health_check(text, text, boolean, text, text) IS
'Report the outcome of a health check; return whether that is a new failure.
For monitors inside and outside the database. When a check that passed before (or was never reported) fails, HealthCheckFailed goes to the stream atp.Health-<component>/<check>; while it goes on failing, nothing more. The latest outcomes are in atp.health_checks.
Raises: 22023 (malformed name, no outcome), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.report_health_check(text, text, boolean, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.report_health_check(text, text, boolean, text, text) TO atp_admin;

-- ==== src/log/log.sql ====
-- The log: one gapless order over all committed events. Insert-only; the sequencer is its only writer.
CREATE TABLE atp_internal.log (
	log_position bigint NOT NULL,
	event_id uuid NOT NULL,
	stream bigint NOT NULL,
	published_at timestamptz NOT NULL,
	tenant int NOT NULL,
	event_type int NOT NULL,
	tick text,
	CONSTRAINT log_pk PRIMARY KEY (log_position, tenant),
	CONSTRAINT log_event_unique UNIQUE (event_id, tenant)
);
COMMENT ON TABLE atp_internal.log IS
'One row per committed event, in log order. Statement triggers on INSERT build read models; those must do nothing unless
atp_internal.sequencer_is_placing(), because a restore fills the table, too.';
COMMENT ON COLUMN atp_internal.log.log_position IS '1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.log.event_id IS 'The event at this position.';
COMMENT ON COLUMN atp_internal.log.stream IS 'Surrogate key of the event''s stream, so that a subscription skips without fetching the event.';
COMMENT ON COLUMN atp_internal.log.published_at IS 'When the sequencer placed the event.';
COMMENT ON COLUMN atp_internal.log.tenant IS 'Surrogate key of the event''s tenant.';
COMMENT ON COLUMN atp_internal.log.event_type IS 'Surrogate key of the event''s type.';
COMMENT ON COLUMN atp_internal.log.tick IS 'On the last event of a tick: the state in which it left the sequencer (src/log/sequencer.c); NULL on the others.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.log', '');
ALTER TABLE atp_internal.log ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.log FORCE ROW LEVEL SECURITY;
CREATE POLICY log_tenant ON atp_internal.log USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.log
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER guard;

-- ==== src/log/sequencer.sql ====
-- The sequencer. Its state is the log's last row; the row here counts while the log is empty, and after atp.resequence().
CREATE TABLE atp_internal.sequencer (
	singleton boolean NOT NULL DEFAULT true CONSTRAINT sequencer_pk PRIMARY KEY CONSTRAINT sequencer_one_row CHECK (singleton),
	system_identifier bigint NOT NULL,
	restored boolean NOT NULL,
	base_position bigint NOT NULL,
	base_tick text NOT NULL,
	floor_seq bigint NOT NULL
);
COMMENT ON TABLE atp_internal.sequencer IS 'Where the sequencer starts from: cluster, position and snapshot. Written at install and by atp.resequence() only.';
COMMENT ON COLUMN atp_internal.sequencer.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN atp_internal.sequencer.system_identifier IS 'Cluster to which the snapshots belong.';
COMMENT ON COLUMN atp_internal.sequencer.restored IS 'True when the row came from a dump: transaction ids say nothing here until atp.resequence() has run.';
COMMENT ON COLUMN atp_internal.sequencer.base_position IS 'Last position given when the row was written.';
COMMENT ON COLUMN atp_internal.sequencer.base_tick IS 'State of the sequencer then, as in atp_internal.log.tick.';
COMMENT ON COLUMN atp_internal.sequencer.floor_seq IS 'Events up to this sequence number are never looked at again: atp.resequence() has placed them.';
INSERT INTO atp_internal.sequencer (system_identifier, restored, base_position, base_tick, floor_seq)
	SELECT c.system_identifier, false, 0, '3', 0 FROM pg_catalog.pg_control_system() c;

-- A dump carries the row; the fresh installation that it is restored into has made one of its own.
CREATE FUNCTION atp_internal.sequencer_restore() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	new.restored := true;
	UPDATE atp_internal.sequencer s SET system_identifier = new.system_identifier, restored = true,
		base_position = new.base_position, base_tick = new.base_tick, floor_seq = new.floor_seq;
	IF FOUND THEN
		RETURN NULL;
	END IF;
	RETURN new;
END $$;
COMMENT ON FUNCTION atp_internal.sequencer_restore() IS 'Put a restored state in the place of the new one, marked as restored.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_restore() FROM PUBLIC;
CREATE TRIGGER sequencer_restore BEFORE INSERT ON atp_internal.sequencer
	FOR EACH ROW EXECUTE FUNCTION atp_internal.sequencer_restore();
ALTER TABLE atp_internal.sequencer ENABLE ALWAYS TRIGGER sequencer_restore;
SELECT pg_catalog.pg_extension_config_dump('atp_internal.sequencer', '');

CREATE FUNCTION atp.tick() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_sequencer_tick';
COMMENT ON FUNCTION atp.tick() IS
'Place all committed events in the log, by hand, and return how many were placed.
The background worker does this of itself. The positions become visible to others when the transaction commits; no other tick runs until then. Events of the calling transaction are not placed: they have not committed.
Raises: TP110 (the log belongs to another cluster or was restored), 25001 (not READ COMMITTED), 25006 (read only).';
REVOKE ALL ON FUNCTION atp.tick() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.tick() TO atp_admin;

CREATE FUNCTION atp.resequence() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_sequencer_resequence';
COMMENT ON FUNCTION atp.resequence() IS
'Place every event without a position, and start from a fresh snapshot.
Returns how many were placed. To be called after the database was restored or upgraded: transaction ids of another cluster say nothing here. Positions that exist stay; the rest follow in the order of their sequence numbers. Waits for running appends and holds up new ones until the transaction ends.
Raises: 25001 (not READ COMMITTED), 25006 (read only).';
REVOKE ALL ON FUNCTION atp.resequence() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.resequence() TO atp_admin;

CREATE FUNCTION atp_internal.sequencer_is_placing() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_sequencer_is_placing_sql';
COMMENT ON FUNCTION atp_internal.sequencer_is_placing() IS
'Say whether the sequencer itself is inserting into the log.
Triggers on atp_internal.log ask this first: a restore fills the log, too, and their tables by itself.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_is_placing() FROM PUBLIC;

-- STABLE, so that a function that calls it can be inlined. It may write: to the query that calls it nothing of that is visible.
CREATE FUNCTION atp_internal.sequencer_attend() RETURNS bigint
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_sequencer_attend_sql';
COMMENT ON FUNCTION atp_internal.sequencer_attend() IS
'See to it that waiting events get placed.
Starts the worker where none is alive, or places events itself where none can be had. Returns the number of events placed: 0 where a worker is alive, in a transaction block or a read-only transaction, and on a standby.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_attend() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.sequencer_attend() TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.sequencer_state(OUT head bigint, OUT published_at timestamptz, OUT in_work boolean,
		OUT fault text) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_sequencer_state';
COMMENT ON FUNCTION atp_internal.sequencer_state() IS 'Return the state of the sequencer; see atp.sequencer_status.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.sequencer_state(), atp_internal.worker_status() TO atp_reader, atp_auditor, atp_admin;

CREATE VIEW atp.sequencer_status AS
	SELECT s.head, s.published_at, s.in_work, s.fault, w.alive AS worker_alive, w.pid AS worker_pid,
		w.preloaded AS worker_preloaded, w.enabled AS worker_enabled, w.behind
	FROM atp_internal.sequencer_state() s, atp_internal.worker_status() w;
COMMENT ON VIEW atp.sequencer_status IS 'Show how far the log has come and whether anyone drives it.';
COMMENT ON COLUMN atp.sequencer_status.head IS 'Last position given; 0: none.';
COMMENT ON COLUMN atp.sequencer_status.published_at IS 'When it was given; NULL: never.';
COMMENT ON COLUMN atp.sequencer_status.in_work IS 'True while a large transaction is being placed in slices.';
COMMENT ON COLUMN atp.sequencer_status.fault IS 'Why ticks are refused (TP110) until atp.resequence() has run; NULL: they are not.';
COMMENT ON COLUMN atp.sequencer_status.worker_alive IS 'Whether the background worker of this database is alive. An idle one leaves; the next append starts it.';
COMMENT ON COLUMN atp.sequencer_status.worker_pid IS 'Its process.';
COMMENT ON COLUMN atp.sequencer_status.worker_preloaded IS 'Whether the library is in shared_preload_libraries.';
COMMENT ON COLUMN atp.sequencer_status.worker_enabled IS 'Setting atp.worker_enabled.';
COMMENT ON COLUMN atp.sequencer_status.behind IS 'True while appends are slowed down because the log is behind by more than atp.worker_max_lag.';
GRANT SELECT ON atp.sequencer_status TO atp_reader, atp_auditor, atp_admin;

-- ==== src/log/readlog.sql ====
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

-- ==== src/log/rendering.sql ====
-- The platform's events as readers see them: those that are stored, and those that follow one to one from an append. The latter are
-- rendered here from the log; stored, they would double every write and bring a row that all appends of a tenant share.
CREATE FUNCTION atp_internal.class_rank(classification text) RETURNS int
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.array_position(ARRAY['public', 'internal', 'confidential', 'restricted'], classification);
COMMENT ON FUNCTION atp_internal.class_rank(text) IS 'Return 1 for public to 4 for restricted; NULL for another word.';
REVOKE ALL ON FUNCTION atp_internal.class_rank(text) FROM PUBLIC;

CREATE VIEW atp_internal.policy_in_force AS
	SELECT v.tenant, v.policy_id, p.policy_type, v.rules, v.changed_at AS from_at,
		LEAST(lead(v.changed_at) OVER (PARTITION BY v.tenant, v.policy_id ORDER BY v.version), p.deleted_at) AS until_at
	FROM atp_internal.policy_version v
		JOIN atp_internal.policy p ON p.policy_id = v.policy_id AND p.tenant = v.tenant;
COMMENT ON VIEW atp_internal.policy_in_force IS 'Versions of policies with the time during which each was in force.';
COMMENT ON COLUMN atp_internal.policy_in_force.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.policy_in_force.policy_id IS 'The policy.';
COMMENT ON COLUMN atp_internal.policy_in_force.policy_type IS 'retention, classification or access.';
COMMENT ON COLUMN atp_internal.policy_in_force.rules IS 'Rules of the version.';
COMMENT ON COLUMN atp_internal.policy_in_force.from_at IS 'When it came into force.';
COMMENT ON COLUMN atp_internal.policy_in_force.until_at IS 'When it went out of force; NULL: it is in force.';

CREATE FUNCTION atp_internal.classify_event(tenant_key int, event_type text, stream text, schema jsonb, schema_version int, recorded_at timestamptz)
	RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	WITH rule (class, name) AS (
		SELECT classify_event.schema ->> 'x-classification',
				pg_catalog.format('schema:%s/%s', classify_event.event_type, classify_event.schema_version)
			WHERE atp_internal.class_rank(classify_event.schema ->> 'x-classification') IS NOT NULL
		UNION ALL
		SELECT p.rules ->> 'Classification', 'policy:' || p.policy_id
			FROM atp_internal.policy_in_force p
			WHERE p.tenant = classify_event.tenant_key AND p.policy_type = 'classification'
				AND p.from_at <= classify_event.recorded_at AND (p.until_at IS NULL OR p.until_at > classify_event.recorded_at)
				AND atp_internal.policy_applies(p.rules, classify_event.event_type, classify_event.stream, NULL)
	), decided (rank) AS (SELECT COALESCE(max(atp_internal.class_rank(r.class)), 2) FROM rule r)
	SELECT pg_catalog.jsonb_build_object('Classification', (ARRAY['public', 'internal', 'confidential', 'restricted'])[d.rank], 'Confidence', 1,
			'ClassificationRules', COALESCE((SELECT jsonb_agg(r.name ORDER BY r.name) FROM rule r WHERE atp_internal.class_rank(r.class) = d.rank),
				'["default"]'::jsonb))
		FROM decided d;
END;
COMMENT ON FUNCTION atp_internal.classify_event(int, text, text, jsonb, int, timestamptz) IS
'Say the class of an event and what decided it.
The most sensitive of the class in its schema (keyword x-classification) and those of the policies in force when it was recorded; internal where none says anything.';
REVOKE ALL ON FUNCTION atp_internal.classify_event(int, text, text, jsonb, int, timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.rendered_event_types() RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN ARRAY['EventStreamCreated', 'EventAddedToStream', 'EventClassified', 'RetentionPolicyApplied'];
COMMENT ON FUNCTION atp_internal.rendered_event_types() IS 'List the event types that are rendered from the log and never stored.';
REVOKE ALL ON FUNCTION atp_internal.rendered_event_types() FROM PUBLIC;

CREATE FUNCTION atp.read_platform_events(after_position bigint DEFAULT 0, max_count int DEFAULT 1000, event_types text[] DEFAULT NULL,
		tenant text DEFAULT NULL)
	RETURNS TABLE (log_position bigint, event_type text, event_id uuid, stream text, occurred_at timestamptz, payload jsonb, stored boolean)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 3000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH context (tenant_key, tenant) AS (
		SELECT t.tenant, t.name FROM atp_internal.tenant t WHERE t.tenant = atp_internal.open_tenant(read_platform_events.tenant)
	), event AS (
		SELECT l.*, c.tenant_key, c.tenant, y.builtin, atp.ulid_from_uuid(l.event_id) AS ulid, k.document AS schema
		FROM atp.read_log(read_platform_events.after_position, read_platform_events.max_count, read_platform_events.tenant) l
			CROSS JOIN context c
			JOIN atp_internal.event_type y ON y.name = l.event_type
			LEFT JOIN atp_internal.event_schema k ON k.event_type = y.event_type AND k.version = l.schema_version
	)
	SELECT e.log_position, r.event_type, e.event_id, e.stream, e.recorded_at, r.payload, r.stored
	FROM event e
		CROSS JOIN LATERAL (SELECT atp_internal.classify_event(e.tenant_key, e.event_type, e.stream, e.schema, e.schema_version, e.recorded_at) AS class) c
		CROSS JOIN LATERAL (
			SELECT 1 AS part, e.event_type, e.payload::jsonb AS payload, true AS stored WHERE e.builtin
			UNION ALL
			SELECT 2, 'EventStreamCreated', jsonb_build_object('StreamId', e.stream, 'TenantId', e.tenant,
					'SubjectId', substr(e.stream, strpos(e.stream, '-') + 1), 'StreamType', split_part(e.stream, '-', 1)), false
				WHERE e.stream_version = 1
			UNION ALL
			SELECT 3, 'EventAddedToStream', jsonb_build_object('StreamId', e.stream, 'EventId', e.ulid, 'SequenceNumber', e.stream_version,
					'PreviousHash', CASE WHEN e.stream_version = 1 THEN repeat('0', 64) ELSE
						(SELECT encode(p.hash, 'hex') FROM atp_internal.stream s
							JOIN atp_internal.event p ON p.stream = s.stream AND p.tenant = s.tenant AND p.stream_version = e.stream_version - 1
							WHERE s.name = e.stream AND s.tenant = e.tenant_key) END), false
			UNION ALL
			SELECT 4, 'EventClassified', jsonb_build_object('EventId', e.ulid) || c.class, false
			UNION ALL
			(SELECT 5, 'RetentionPolicyApplied', jsonb_build_object('EventId', e.ulid, 'PolicyId', p.policy_id,
					'RetentionPeriod', p.rules ->> 'RetentionPeriod',
					'ExpiresAt', atp_internal.event_time(e.recorded_at + (p.rules ->> 'RetentionPeriod')::interval)), false
				FROM atp_internal.policy_in_force p
				WHERE p.tenant = e.tenant_key AND p.policy_type = 'retention' AND p.from_at <= e.recorded_at
					AND (p.until_at IS NULL OR p.until_at > e.recorded_at)
					AND atp_internal.policy_applies(p.rules, e.event_type, e.stream, c.class ->> 'Classification')
				ORDER BY e.recorded_at + (p.rules ->> 'RetentionPeriod')::interval DESC, p.policy_id LIMIT 1)
		) r
	WHERE read_platform_events.event_types IS NULL OR r.event_type = ANY (read_platform_events.event_types)
	ORDER BY e.log_position, r.part;
END;
COMMENT ON FUNCTION atp.read_platform_events(bigint, int, text[], text) IS
'Read the events of the platform in log order, the stored and the rendered ones.
What follows one to one from an append is not stored a second time but rendered from the log: EventStreamCreated, EventAddedToStream, EventClassified (by the schema''s keyword x-classification and the policies in force when the event was recorded), RetentionPolicyApplied (by the policy that keeps it longest). event_id is that of the event that it is about, or, where stored, its own; with event_type it makes an idempotency key. max_count bounds the events looked at, not the rows; pass the last log_position to go on. event_types NULL: all.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.read_platform_events(bigint, int, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.read_platform_events(bigint, int, text[], text) TO atp_reader, atp_auditor, atp_admin;

-- ==== src/log/projection.sql ====
-- Projections of the log: who did what to what, and how far each stream has come. Fed in the sequencer's transaction by one
-- statement trigger; what is in them is in the events, and rebuild_projection() makes it anew.
CREATE TABLE atp_internal.audit_event_projection (
	log_position bigint NOT NULL,
	event_id uuid NOT NULL,
	tenant int NOT NULL,
	stream bigint NOT NULL,
	stream_version bigint NOT NULL,
	event_type int NOT NULL,
	occurred_at timestamptz NOT NULL,
	recorded_at timestamptz NOT NULL,
	actor text,
	action text,
	resource text,
	correlation_id text,
	CONSTRAINT audit_event_projection_pk PRIMARY KEY (log_position, tenant)
);
COMMENT ON TABLE atp_internal.audit_event_projection IS 'One row per event in the log, to be searched; read through atp.audit_event_projection.';
COMMENT ON COLUMN atp_internal.audit_event_projection.log_position IS 'Place in the log.';
COMMENT ON COLUMN atp_internal.audit_event_projection.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.audit_event_projection.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.audit_event_projection.stream IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.audit_event_projection.stream_version IS 'Place in the stream.';
COMMENT ON COLUMN atp_internal.audit_event_projection.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.audit_event_projection.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp_internal.audit_event_projection.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp_internal.audit_event_projection.actor IS 'Who, as atp.search_text() has it.';
COMMENT ON COLUMN atp_internal.audit_event_projection.action IS 'Did what, as atp.search_text() has it.';
COMMENT ON COLUMN atp_internal.audit_event_projection.resource IS 'To what, as atp.search_text() has it.';
COMMENT ON COLUMN atp_internal.audit_event_projection.correlation_id IS 'In the course of what, as atp.search_text() has it.';
-- An index a question. Those that end in log_position give the latest first without a sort. text_pattern_ops compares bytes, which is
-- several times as fast as most locales, and serves equality and prefixes in any; the columns stay comparable with others. A member that
-- an event does not have is not entered: no question asks for it.
CREATE INDEX audit_event_projection_actor ON atp_internal.audit_event_projection (tenant, actor text_pattern_ops, log_position) WHERE actor IS NOT NULL;
CREATE INDEX audit_event_projection_action ON atp_internal.audit_event_projection (tenant, action text_pattern_ops, log_position) WHERE action IS NOT NULL;
CREATE INDEX audit_event_projection_resource ON atp_internal.audit_event_projection (tenant, resource text_pattern_ops, log_position) WHERE resource IS NOT NULL;
CREATE INDEX audit_event_projection_event_type ON atp_internal.audit_event_projection (tenant, event_type, log_position);
CREATE INDEX audit_event_projection_correlation_id ON atp_internal.audit_event_projection (tenant, correlation_id text_pattern_ops, log_position) WHERE correlation_id IS NOT NULL;
CREATE INDEX audit_event_projection_occurred_at ON atp_internal.audit_event_projection (tenant, occurred_at);
SELECT pg_catalog.pg_extension_config_dump('atp_internal.audit_event_projection', '');
ALTER TABLE atp_internal.audit_event_projection ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.audit_event_projection FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_event_projection_tenant ON atp_internal.audit_event_projection USING (atp_internal.tenant_is_visible(tenant));

CREATE VIEW atp.audit_event_projection AS
	SELECT p.log_position, p.event_id, t.name AS tenant, s.name AS stream, p.stream_version, y.name AS event_type, p.occurred_at,
		p.recorded_at, p.actor, p.action, p.resource, p.correlation_id
	FROM atp_internal.audit_event_projection p
		LEFT JOIN atp_internal.event_type y ON y.event_type = p.event_type
		LEFT JOIN atp_internal.stream s ON s.stream = p.stream AND s.tenant = p.tenant
		LEFT JOIN atp_internal.tenant t ON t.tenant = p.tenant
	WHERE p.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.audit_event_projection IS
'Search the events of the current tenant by actor, action, resource, event type, time and correlation.
Filled by the sequencer as it places events. actor, action, resource and correlation_id are those members of the metadata; for AuditEventReceived, what the metadata does not say is taken from the members Actor, Action and Resource of the payload (a string, a number, or an object''s member id). Texts over 255 bytes are cut: compare with atp.search_text(value). What has been erased is NULL in a row made afterwards.';
COMMENT ON COLUMN atp.audit_event_projection.log_position IS 'Place in the log.';
COMMENT ON COLUMN atp.audit_event_projection.event_id IS 'The event; see atp.get_event().';
COMMENT ON COLUMN atp.audit_event_projection.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.audit_event_projection.stream IS 'Name of the stream.';
COMMENT ON COLUMN atp.audit_event_projection.stream_version IS 'Place in the stream.';
COMMENT ON COLUMN atp.audit_event_projection.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.audit_event_projection.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp.audit_event_projection.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp.audit_event_projection.actor IS 'Who.';
COMMENT ON COLUMN atp.audit_event_projection.action IS 'Did what.';
COMMENT ON COLUMN atp.audit_event_projection.resource IS 'To what.';
COMMENT ON COLUMN atp.audit_event_projection.correlation_id IS 'In the course of what.';
GRANT SELECT ON atp.audit_event_projection TO atp_reader, atp_auditor, atp_admin;

CREATE TABLE atp_internal.event_stream_projection (
	stream bigint NOT NULL,
	tenant int NOT NULL,
	category text,
	event_count bigint NOT NULL,
	version bigint NOT NULL,
	first_occurred_at timestamptz NOT NULL,
	last_occurred_at timestamptz NOT NULL,
	first_log_position bigint NOT NULL,
	last_log_position bigint NOT NULL,
	CONSTRAINT event_stream_projection_pk PRIMARY KEY (stream, tenant)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE atp_internal.event_stream_projection IS 'One row per stream with events in the log; read through atp.event_stream_projection.';
COMMENT ON COLUMN atp_internal.event_stream_projection.stream IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.event_stream_projection.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.event_stream_projection.category IS 'AggregateType: the part of the name before the first hyphen.';
COMMENT ON COLUMN atp_internal.event_stream_projection.event_count IS 'Events in the log.';
COMMENT ON COLUMN atp_internal.event_stream_projection.version IS 'Version of the last one.';
COMMENT ON COLUMN atp_internal.event_stream_projection.first_occurred_at IS 'Earliest occurred_at among them.';
COMMENT ON COLUMN atp_internal.event_stream_projection.last_occurred_at IS 'Latest occurred_at among them.';
COMMENT ON COLUMN atp_internal.event_stream_projection.first_log_position IS 'Place of the first one in the log.';
COMMENT ON COLUMN atp_internal.event_stream_projection.last_log_position IS 'Place of the last one in the log.';
CREATE INDEX event_stream_projection_category ON atp_internal.event_stream_projection (tenant, category text_pattern_ops);
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_stream_projection', '');
ALTER TABLE atp_internal.event_stream_projection ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.event_stream_projection FORCE ROW LEVEL SECURITY;
CREATE POLICY event_stream_projection_tenant ON atp_internal.event_stream_projection USING (atp_internal.tenant_is_visible(tenant));

CREATE VIEW atp.event_stream_projection AS
	SELECT t.name AS tenant, s.name AS stream, p.category, p.event_count, p.version, p.first_occurred_at, p.last_occurred_at,
		p.first_log_position, p.last_log_position,
		CASE s.state WHEN 'o' THEN 'open' WHEN 's' THEN 'sealed' WHEN 'a' THEN 'archived' END AS state
	FROM atp_internal.event_stream_projection p
		LEFT JOIN atp_internal.stream s ON s.stream = p.stream AND s.tenant = p.tenant
		LEFT JOIN atp_internal.tenant t ON t.tenant = p.tenant
	WHERE p.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.event_stream_projection IS
'Show the streams of the current tenant as far as the log has come.
Filled by the sequencer as it places events; atp.streams shows the streams as they are written.';
COMMENT ON COLUMN atp.event_stream_projection.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.event_stream_projection.stream IS 'Name of the stream.';
COMMENT ON COLUMN atp.event_stream_projection.category IS 'AggregateType: the part of the name before the first hyphen.';
COMMENT ON COLUMN atp.event_stream_projection.event_count IS 'Events in the log.';
COMMENT ON COLUMN atp.event_stream_projection.version IS 'Version of the last one.';
COMMENT ON COLUMN atp.event_stream_projection.first_occurred_at IS 'Earliest occurred_at among them.';
COMMENT ON COLUMN atp.event_stream_projection.last_occurred_at IS 'Latest occurred_at among them.';
COMMENT ON COLUMN atp.event_stream_projection.first_log_position IS 'Place of the first one in the log.';
COMMENT ON COLUMN atp.event_stream_projection.last_log_position IS 'Place of the last one in the log.';
COMMENT ON COLUMN atp.event_stream_projection.state IS 'open, sealed or archived, as of now.';
GRANT SELECT ON atp.event_stream_projection TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.projection_project() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_projection_project';
COMMENT ON FUNCTION atp_internal.projection_project() IS 'Take the events of a tick into the projections; does nothing in a restore.';
REVOKE ALL ON FUNCTION atp_internal.projection_project() FROM PUBLIC;
CREATE TRIGGER project AFTER INSERT ON atp_internal.log REFERENCING NEW TABLE AS placed
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.projection_project();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER project;

CREATE FUNCTION atp.rebuild_projection(projection text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_projection_rebuild';
COMMENT ON FUNCTION atp.rebuild_projection(text) IS
'Make a projection anew from the log, and return the number of positions read.
It is made for all tenants.
projection is audit_event_projection or event_stream_projection. The table is locked until the transaction ends: readers wait, and so do ticks that reach it; appends go on. To be used after events were erased.
Raises: TP120 (no such projection), 25001 (not READ COMMITTED).';
REVOKE ALL ON FUNCTION atp.rebuild_projection(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.rebuild_projection(text) TO atp_admin;

CREATE FUNCTION atp.search_text(value text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_projection_search_text';
COMMENT ON FUNCTION atp.search_text(text) IS
'Return a text as it stands in the columns of atp.audit_event_projection.
Up to 255 bytes: itself. A longer one is cut to 236 bytes, at a character, and an ellipsis and 16 hexadecimal digits of its SHA-256 follow, so that different texts stay different.';
GRANT EXECUTE ON FUNCTION atp.search_text(text) TO PUBLIC;

-- ==== src/log/verifylog.sql ====
-- Verification of the log.
CREATE FUNCTION atp.verify_log(OUT ok boolean, OUT checked bigint, OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifylog_log';
COMMENT ON FUNCTION atp.verify_log() IS
'Verify the log: gapless positions, every event once, streams in order.
Covers the log of all tenants under one snapshot. checked counts positions up to the first fault. An empty log is not ok. first_fault_position is NULL where the fault is an event that should have a position and has none; one whose transaction was not over at the last tick is no fault. Hashes are not recomputed: see verify_all.';
REVOKE ALL ON FUNCTION atp.verify_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_log() TO atp_auditor, atp_admin;

-- ==== src/log/verifyall.sql ====
-- Verification of everything.
CREATE FUNCTION atp.verify_all(deep boolean DEFAULT false, workers int DEFAULT NULL, OUT ok boolean, OUT checked bigint, OUT first_fault_tenant text,
		OUT first_fault_stream text, OUT first_fault_version bigint, OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifyall_all';
COMMENT ON FUNCTION atp.verify_all(boolean, int) IS
'Verify every event of all tenants: hashes, links, versions, heads, and the log.
Every hash is recomputed from the stored columns, under one snapshot, from the tables as they lie on disk. checked counts events; none at all is not ok. The first fault is the first by tenant, stream and version, or, where all streams are well, by log position; parts of the place that cannot be told are NULL. deep checks in addition that stored documents are canonical JSON and that the indexes by which events are read find all of them. workers is how many parallel workers share the work, as far as max_parallel_workers has them free; NULL: by the size of the store, up to max_parallel_maintenance_workers; 0: none. None are taken while this transaction holds appended heads that are not yet written. The verdict does not depend on their number. The Merkle trees are not looked at: that is verify_trees, and run_verification(''whole'') does both and records it. Memory of all together is bounded by maintenance_work_mem.
Raises: 22023 (workers).';
REVOKE ALL ON FUNCTION atp.verify_all(boolean, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_all(boolean, int) TO atp_auditor, atp_admin;

-- ==== src/log/alert.sql ====
-- Alarms about the evidence.
CREATE FUNCTION atp_internal.raise_alert(tenant int, check_name text, detail text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_alert_raise_sql';
COMMENT ON FUNCTION atp_internal.raise_alert(int, text, text) IS
'Raise an alarm: NOTIFY atp_alert and an event HealthCheckFailed of the tenant.
tenant 0 means the tenant default. For the bodies of functions.';
REVOKE ALL ON FUNCTION atp_internal.raise_alert(int, text, text) FROM PUBLIC;

-- ==== src/log/tile.sql ====
-- Stored Merkle trees. Full tiles are insert-only; size, compact range and the right edge change, by atp's own functions only.
CREATE TABLE atp_internal.tree (
	tenant int NOT NULL CONSTRAINT tree_pk PRIMARY KEY,
	size bigint NOT NULL,
	last_position bigint NOT NULL,
	changed_at timestamptz NOT NULL,
	root bytea NOT NULL,
	peaks bytea NOT NULL,
	halted_position bigint,
	halted_at timestamptz,
	halted_reason text,
	CONSTRAINT tree_halted_whole CHECK ((halted_position IS NULL) = (halted_at IS NULL) AND (halted_at IS NULL) = (halted_reason IS NULL))
) WITH (fillfactor = 60);
COMMENT ON TABLE atp_internal.tree IS 'Merkle trees: one a tenant; key 0 is the root log.';
COMMENT ON COLUMN atp_internal.tree.tenant IS 'Surrogate key of the tenant; 0: the root log.';
COMMENT ON COLUMN atp_internal.tree.size IS 'Leaves.';
COMMENT ON COLUMN atp_internal.tree.last_position IS 'Log position of the last leaf; 0 in the root log.';
COMMENT ON COLUMN atp_internal.tree.changed_at IS 'When the last leaf was appended.';
COMMENT ON COLUMN atp_internal.tree.root IS 'Root of the tree, RFC 6962.';
COMMENT ON COLUMN atp_internal.tree.peaks IS 'Compact range: roots of the perfect subtrees, left to right, 32 bytes each.';
COMMENT ON COLUMN atp_internal.tree.halted_position IS 'Log position of the event that does not hash to what was written; NULL: the tree grows.';
COMMENT ON COLUMN atp_internal.tree.halted_at IS 'When the tree was stopped.';
COMMENT ON COLUMN atp_internal.tree.halted_reason IS 'What is wrong with that event.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tree', '');

CREATE TABLE atp_internal.tree_edge (
	tenant int NOT NULL,
	level smallint NOT NULL,
	hashes bytea NOT NULL,
	positions bytea,
	CONSTRAINT tree_edge_pk PRIMARY KEY (tenant, level)
) WITH (fillfactor = 60);
ALTER TABLE atp_internal.tree_edge ALTER COLUMN hashes SET STORAGE EXTERNAL, ALTER COLUMN positions SET STORAGE EXTERNAL;
COMMENT ON TABLE atp_internal.tree_edge IS 'The unfinished tile at the right of each level of a tree.';
COMMENT ON COLUMN atp_internal.tree_edge.tenant IS 'Surrogate key of the tenant; 0: the root log.';
COMMENT ON COLUMN atp_internal.tree_edge.level IS 'Level of the tile: its nodes stand 8 times as high in the tree.';
COMMENT ON COLUMN atp_internal.tree_edge.hashes IS 'The nodes that are complete, 32 bytes each.';
COMMENT ON COLUMN atp_internal.tree_edge.positions IS 'Level 0: log positions of the leaves: 8 bytes, big-endian, of the first; then the steps, 7 bits a byte, lowest first.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tree_edge', '');

CREATE TABLE atp_internal.tree_tile (
	tenant int NOT NULL,
	level smallint NOT NULL,
	tile bigint NOT NULL,
	first_position bigint,
	hashes bytea NOT NULL,
	positions bytea,
	CONSTRAINT tree_tile_pk PRIMARY KEY (tenant, level, tile)
);
-- Hashes do not compress: the attempt would cost more than all the rest of a tile.
ALTER TABLE atp_internal.tree_tile ALTER COLUMN hashes SET STORAGE EXTERNAL, ALTER COLUMN positions SET STORAGE EXTERNAL;
CREATE INDEX tree_tile_first_position ON atp_internal.tree_tile (tenant, first_position) WHERE level = 0;
COMMENT ON TABLE atp_internal.tree_tile IS 'Full tiles: 256 nodes of a tree, C2SP tlog-tiles. Insert-only.';
COMMENT ON COLUMN atp_internal.tree_tile.tenant IS 'Surrogate key of the tenant; 0: the root log.';
COMMENT ON COLUMN atp_internal.tree_tile.level IS 'Level of the tile: its nodes stand 8 times as high in the tree.';
COMMENT ON COLUMN atp_internal.tree_tile.tile IS 'Number of the tile on its level, from 0.';
COMMENT ON COLUMN atp_internal.tree_tile.first_position IS 'Level 0: log position of the first leaf.';
COMMENT ON COLUMN atp_internal.tree_tile.hashes IS '256 hashes of 32 bytes.';
COMMENT ON COLUMN atp_internal.tree_tile.positions IS 'Level 0: log positions of the leaves: 8 bytes, big-endian, of the first; then the steps, 7 bits a byte, lowest first.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tree_tile', '');

DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['tree', 'tree_edge', 'tree_tile'] LOOP
		EXECUTE format('ALTER TABLE atp_internal.%I ENABLE ROW LEVEL SECURITY', name);
		EXECUTE format('ALTER TABLE atp_internal.%I FORCE ROW LEVEL SECURITY', name);
		EXECUTE format('CREATE POLICY %I ON atp_internal.%I USING (atp_internal.tenant_is_visible(tenant))', name || '_tenant', name);
	END LOOP;
	FOREACH name IN ARRAY ARRAY['tree', 'tree_edge'] LOOP
		EXECUTE format('CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.%I'
			' FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change()', name);
		EXECUTE format('ALTER TABLE atp_internal.%I ENABLE ALWAYS TRIGGER guard', name);
	END LOOP;
END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.tree_tile
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.tree_tile ENABLE ALWAYS TRIGGER guard;

-- ==== src/log/leaf.sql ====
-- The tenants' trees: their growth, and how they stand.
CREATE TABLE atp_internal.leaf_state (
	singleton boolean NOT NULL DEFAULT true CONSTRAINT leaf_state_pk PRIMARY KEY CONSTRAINT leaf_state_one_row CHECK (singleton),
	log_position bigint NOT NULL,
	changed_at timestamptz NOT NULL,
	alarmed_at timestamptz
) WITH (fillfactor = 10);
COMMENT ON TABLE atp_internal.leaf_state IS 'How far the log has become leaves. Locking the row is the lock of who appends leaves.';
COMMENT ON COLUMN atp_internal.leaf_state.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN atp_internal.leaf_state.log_position IS 'Every log row up to here is a leaf, or belongs to a tree that was stopped before it.';
COMMENT ON COLUMN atp_internal.leaf_state.changed_at IS 'When the row was last written.';
COMMENT ON COLUMN atp_internal.leaf_state.alarmed_at IS 'When an alarm for a late leaf was last raised; NULL: since then, none is late.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.leaf_state', '');
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.leaf_state
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.leaf_state ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp.grow_trees() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_leaf_grow_sql';
COMMENT ON FUNCTION atp.grow_trees() IS
'Append the leaves of all events in the log; return how many rows were taken.
The worker does this of itself. Each leaf is recomputed from the stored event; an event that does not hash to what was written stops its tenant''s tree.
Raises: 25001 (not READ COMMITTED), 25006 (read-only transaction).';
REVOKE ALL ON FUNCTION atp.grow_trees() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.grow_trees() TO atp_admin;

CREATE FUNCTION atp.resume_tree(tenant text) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'atp_leaf_resume';
COMMENT ON FUNCTION atp.resume_tree(text) IS
'Let a stopped tree grow again; return how many rows of the log were taken.
It goes on with the event at which it was stopped. The event is recomputed again: what is still wrong stops the tree again. Put the stored event right first, from a backup.
Raises: TP202 (no such tenant), 25001, 25006.';
REVOKE ALL ON FUNCTION atp.resume_tree(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.resume_tree(text) TO atp_admin;

CREATE FUNCTION atp.list_trees(OUT tenant text, OUT size bigint, OUT root bytea, OUT waiting bigint, OUT waiting_since timestamptz,
		OUT changed_at timestamptz, OUT halted_position bigint, OUT halted_at timestamptz, OUT halted_reason text) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT t.name, coalesce(r.size, 0), r.root, coalesce(w.waiting, 0), w.waiting_since, r.changed_at, r.halted_position, r.halted_at,
		r.halted_reason
	FROM atp_internal.tenant t
		LEFT JOIN atp_internal.tree r ON r.tenant = t.tenant
		LEFT JOIN (
			SELECT l.tenant, pg_catalog.count(*) AS waiting, pg_catalog.min(l.published_at) AS waiting_since
			FROM (SELECT coalesce(pg_catalog.max(x.log_position), 0) AS through FROM atp_internal.leaf_state x) s
				JOIN atp_internal.log l ON l.log_position > s.through
			GROUP BY l.tenant) w ON w.tenant = t.tenant
	ORDER BY t.name;
END;
COMMENT ON FUNCTION atp.list_trees() IS
'List the tenants'' Merkle trees: size, root, and what waits to become a leaf.
waiting counts the events beyond the last one integrated; a stopped tree (halted_*) counts only those that came since the last run.';
REVOKE ALL ON FUNCTION atp.list_trees() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_trees() TO atp_auditor, atp_admin;

-- ==== src/log/signkey.sql ====
-- Keys that sign checkpoints: those of the log, and those of witnesses. Private halves are never here.
CREATE TABLE atp_internal.signing_key (
	vkey text NOT NULL CONSTRAINT signing_key_pk PRIMARY KEY,
	name text NOT NULL,
	purpose text NOT NULL CONSTRAINT signing_key_purpose_known CHECK (purpose IN ('log', 'witness')),
	state text NOT NULL CONSTRAINT signing_key_state_known CHECK (state IN ('active', 'retired', 'compromised')),
	until_size bigint,
	version int NOT NULL,
	added_at timestamptz NOT NULL,
	changed_at timestamptz NOT NULL,
	endorsement text,
	CONSTRAINT signing_key_retired_size CHECK (state <> 'retired' OR until_size IS NOT NULL)
);
COMMENT ON TABLE atp_internal.signing_key IS 'Verifier keys of those who sign checkpoints.';
COMMENT ON COLUMN atp_internal.signing_key.vkey IS 'C2SP verifier key: name+key id+base64.';
COMMENT ON COLUMN atp_internal.signing_key.name IS 'Name of the key, the first part of vkey.';
COMMENT ON COLUMN atp_internal.signing_key.purpose IS 'log: signs for this installation. witness: cosigns what it has seen.';
COMMENT ON COLUMN atp_internal.signing_key.state IS 'active; retired: what it signed up to until_size counts; compromised: nothing that only it signed counts.';
COMMENT ON COLUMN atp_internal.signing_key.until_size IS 'Size of the last checkpoint that a retired key may have signed.';
COMMENT ON COLUMN atp_internal.signing_key.version IS 'Counts the changes of the row, from 1.';
COMMENT ON COLUMN atp_internal.signing_key.added_at IS 'When the key was added.';
COMMENT ON COLUMN atp_internal.signing_key.changed_at IS 'When its state last changed.';
COMMENT ON COLUMN atp_internal.signing_key.endorsement IS 'Note by an older key that names this one, by which a verifier goes from the key it pinned to this one.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.signing_key', '');
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.signing_key
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.signing_key ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp_internal.emit_key_event(vkey text, event_type text, detail jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key_name text := regexp_replace(emit_key_event.vkey, '^([^+]*)[+]([0-9a-f]{8})[+].*$', '\1+\2');
BEGIN
	PERFORM atp_internal.emit_event((SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = 'default'),
		'atp.SigningKey-' || key_name, emit_key_event.event_type, jsonb_build_object('PolicyId', 'signing-key/' || key_name) || emit_key_event.detail);
END $$;
COMMENT ON FUNCTION atp_internal.emit_key_event(text, text, jsonb) IS 'Record what happens to a signing key as an event of the tenant default.';
REVOKE ALL ON FUNCTION atp_internal.emit_key_event(text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.add_signing_key(vkey text, purpose text DEFAULT 'log', endorsement text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	signed_text text := regexp_replace(add_signing_key.endorsement, '\n\n.*$', E'\n');
BEGIN
	IF (atp.vkey_is_valid(add_signing_key.vkey)
		OR (add_signing_key.purpose = 'witness' AND atp.witness_vkey_is_valid(add_signing_key.vkey))) IS NOT TRUE THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = 'the verifier key is malformed',
			HINT = 'A verifier key is <name>+<key id>+<base64>, of type Ed25519 or, for a witness, cosignature/v1.';
	END IF;
	IF add_signing_key.purpose IS NULL OR add_signing_key.purpose NOT IN ('log', 'witness') THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'purpose is neither log nor witness';
	END IF;
	IF add_signing_key.endorsement IS NOT NULL AND (signed_text IS DISTINCT FROM E'atp/key/v1\n' || add_signing_key.vkey || E'\n'
		OR NOT EXISTS (SELECT FROM atp_internal.signing_key k
			WHERE k.purpose = 'log' AND k.state = 'active' AND atp.note_verify(add_signing_key.endorsement, k.vkey))) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = 'the endorsement is no note about this key by an active key of the log',
			HINT = 'Its text is the two lines atp/key/v1 and the verifier key; see atp-signer endorse.';
	END IF;
	INSERT INTO atp_internal.signing_key AS k (vkey, name, purpose, state, version, added_at, changed_at, endorsement)
		VALUES (add_signing_key.vkey, split_part(add_signing_key.vkey, '+', 1), add_signing_key.purpose, 'active', 1, clock_timestamp(),
			clock_timestamp(), add_signing_key.endorsement)
		ON CONFLICT (vkey) DO NOTHING;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = 'the verifier key is known already',
			HINT = 'A key that was retired or compromised does not come back; make a new one.';
	END IF;
	PERFORM atp_internal.emit_key_event(add_signing_key.vkey, 'PolicyCreated', jsonb_build_object('TenantId', 'default', 'PolicyType', 'SigningKey',
		'Rules', jsonb_build_object('VerifierKey', add_signing_key.vkey, 'Purpose', add_signing_key.purpose,
			'Endorsed', add_signing_key.endorsement IS NOT NULL)));
END $$;
COMMENT ON FUNCTION atp.add_signing_key(text, text, text) IS
'Add a key whose signatures on checkpoints count: the log''s or a witness''s.
Several keys of the log may be active at once: that is the overlap of a rotation. endorsement is a signed note by an older key of the log, not retired yet, with the two lines "atp/key/v1" and the new vkey; a verifier that pinned the older key follows it. Records PolicyCreated.
Raises: TP502 (endorsement), TP503 (malformed or known key), 22023.';
REVOKE ALL ON FUNCTION atp.add_signing_key(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.add_signing_key(text, text, text) TO atp_admin;

CREATE FUNCTION atp_internal.change_signing_key(vkey text, state text, until_size bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present atp_internal.signing_key;
BEGIN
	SELECT k.* INTO present FROM atp_internal.signing_key k WHERE k.vkey = change_signing_key.vkey FOR UPDATE;
	IF NOT FOUND OR present.state = 'compromised' OR (present.state = 'retired' AND change_signing_key.state = 'retired') THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = CASE WHEN present.vkey IS NULL THEN 'no such signing key'
			ELSE format('the signing key is %s', present.state) END;
	END IF;
	UPDATE atp_internal.signing_key k SET state = change_signing_key.state, until_size = change_signing_key.until_size,
			changed_at = clock_timestamp(), version = k.version + 1
		WHERE k.vkey = change_signing_key.vkey;
	PERFORM atp_internal.emit_key_event(change_signing_key.vkey, 'PolicyUpdated', jsonb_build_object(
		'Changes', jsonb_strip_nulls(jsonb_build_object('State', change_signing_key.state, 'UntilSize', change_signing_key.until_size)),
		'UpdatedBy', session_user, 'Version', present.version + 1));
END $$;
COMMENT ON FUNCTION atp_internal.change_signing_key(text, text, bigint) IS
'Change the state of a signing key and record PolicyUpdated.
Raises: TP503 (no such key, or its state does not allow it).';
REVOKE ALL ON FUNCTION atp_internal.change_signing_key(text, text, bigint) FROM PUBLIC;

-- ==== src/log/checkpoint.sql ====
-- The root log, whose leaves are heads of tenants' trees, and checkpoints over it.
CREATE TABLE atp_internal.checkpoint_state (
	singleton boolean NOT NULL DEFAULT true CONSTRAINT checkpoint_state_pk PRIMARY KEY CONSTRAINT checkpoint_state_one_row CHECK (singleton),
	made_at timestamptz,
	origin text NOT NULL
) WITH (fillfactor = 10);
COMMENT ON TABLE atp_internal.checkpoint_state IS 'Identity of the root log. Locking the row is the lock of who makes checkpoints.';
COMMENT ON COLUMN atp_internal.checkpoint_state.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN atp_internal.checkpoint_state.made_at IS 'When the last checkpoint was made.';
COMMENT ON COLUMN atp_internal.checkpoint_state.origin IS 'First line of every checkpoint: the name of the root log.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.checkpoint_state', '');
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.checkpoint_state
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.checkpoint_state ENABLE ALWAYS TRIGGER guard;

CREATE TABLE atp_internal.tenant_head (
	leaf bigint NOT NULL,
	tenant int NOT NULL,
	size bigint NOT NULL,
	root bytea NOT NULL,
	CONSTRAINT tenant_head_pk PRIMARY KEY (leaf, tenant)
);
CREATE INDEX tenant_head_tenant ON atp_internal.tenant_head (tenant, leaf);
COMMENT ON TABLE atp_internal.tenant_head IS 'Leaves of the root log: a tenant''s tree at the time of a checkpoint.';
COMMENT ON COLUMN atp_internal.tenant_head.leaf IS 'Index of the leaf in the root log, from 0.';
COMMENT ON COLUMN atp_internal.tenant_head.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.tenant_head.size IS 'Leaves of the tenant''s tree.';
COMMENT ON COLUMN atp_internal.tenant_head.root IS 'Root of the tenant''s tree.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tenant_head', '');
ALTER TABLE atp_internal.tenant_head ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.tenant_head FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_head_tenant ON atp_internal.tenant_head USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.tenant_head
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.tenant_head ENABLE ALWAYS TRIGGER guard;

CREATE TABLE atp_internal.checkpoint (
	size bigint NOT NULL CONSTRAINT checkpoint_pk PRIMARY KEY,
	made_at timestamptz NOT NULL,
	root bytea NOT NULL
);
COMMENT ON TABLE atp_internal.checkpoint IS 'Checkpoints: the root log at some sizes.';
COMMENT ON COLUMN atp_internal.checkpoint.size IS 'Leaves of the root log.';
COMMENT ON COLUMN atp_internal.checkpoint.made_at IS 'When it was made.';
COMMENT ON COLUMN atp_internal.checkpoint.root IS 'Root of the root log.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.checkpoint', '');
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.checkpoint
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.checkpoint ENABLE ALWAYS TRIGGER guard;

CREATE TABLE atp_internal.checkpoint_signature (
	size bigint NOT NULL,
	received_at timestamptz NOT NULL,
	vkey text NOT NULL,
	line text NOT NULL,
	CONSTRAINT checkpoint_signature_pk PRIMARY KEY (size, vkey)
);
COMMENT ON TABLE atp_internal.checkpoint_signature IS 'Signatures of checkpoints, each verified before it came here.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.size IS 'Size of the checkpoint.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.received_at IS 'When the signature came.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.vkey IS 'The key that signed.';
COMMENT ON COLUMN atp_internal.checkpoint_signature.line IS 'The signature line of the note, with its new line.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.checkpoint_signature', '');
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.checkpoint_signature
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.checkpoint_signature ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp_internal.append_heads() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_checkpoint_append_heads';
COMMENT ON FUNCTION atp_internal.append_heads() IS
'Append the heads of the trees that have grown to the root log; return how many.
The caller holds the row lock of checkpoint_state.
Raises: TP504 (the stored root log does not hash to its root).';
REVOKE ALL ON FUNCTION atp_internal.append_heads() FROM PUBLIC;

CREATE FUNCTION atp_internal.sign_by_key_file(body text, OUT vkey text, OUT line text) RETURNS SETOF record
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_checkpoint_sign_by_key_file';
COMMENT ON FUNCTION atp_internal.sign_by_key_file(text) IS
'Sign a text with each key in the file of the setting atp.signing_key_file.
No row where the setting is empty. The file is read afresh each time: one PRIVATE+KEY+... a line. It must not lie in the data directory, and nobody but the server''s user may have any right on it.
Raises: TP503.';
REVOKE ALL ON FUNCTION atp_internal.sign_by_key_file(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.checkpoint_body(size bigint) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT s.origin || E'\n' || c.size || E'\n' || pg_catalog.encode(c.root, 'base64') || E'\n'
	FROM atp_internal.checkpoint c, atp_internal.checkpoint_state s WHERE c.size = checkpoint_body.size;
END;
COMMENT ON FUNCTION atp_internal.checkpoint_body(bigint) IS 'Return the text of a checkpoint: C2SP tlog-checkpoint, three lines.';
REVOKE ALL ON FUNCTION atp_internal.checkpoint_body(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.lock_checkpoints() RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	name text;
BEGIN
	SELECT s.origin INTO name FROM atp_internal.checkpoint_state s FOR UPDATE;
	IF NOT FOUND THEN
		INSERT INTO atp_internal.checkpoint_state (origin) VALUES ('atp/' || gen_random_uuid()) ON CONFLICT DO NOTHING;
		SELECT s.origin INTO name FROM atp_internal.checkpoint_state s FOR UPDATE;
	END IF;
	RETURN name;
END $$;
COMMENT ON FUNCTION atp_internal.lock_checkpoints() IS 'Lock the root log to the end of the transaction and return its origin.
The first call makes the origin.';
REVOKE ALL ON FUNCTION atp_internal.lock_checkpoints() FROM PUBLIC;

CREATE FUNCTION atp.set_origin(origin text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF coalesce(set_origin.origin, '') !~ '^[!-~]+$' OR length(set_origin.origin) > 200 THEN
		RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = 'invalid origin',
			HINT = 'An origin has 1 to 200 visible ASCII characters, for example audit.example.com/atp.';
	END IF;
	PERFORM atp_internal.lock_checkpoints();
	IF EXISTS (SELECT FROM atp_internal.checkpoint_signature) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP505', MESSAGE = 'checkpoints are signed under the present origin',
			HINT = 'The origin is the identity of the root log; it stands for ever once a checkpoint is signed.';
	END IF;
	UPDATE atp_internal.checkpoint_state s SET origin = set_origin.origin;
END $$;
COMMENT ON FUNCTION atp.set_origin(text) IS
'Set the origin, the first line of every checkpoint, before one is signed.
Without it the origin is atp/ and a random uuid.
Raises: TP502 (malformed), TP505 (checkpoints are signed).';
REVOKE ALL ON FUNCTION atp.set_origin(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.set_origin(text) TO atp_admin;

CREATE FUNCTION atp_internal.store_signature(size bigint, vkey text, line text) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	INSERT INTO atp_internal.checkpoint_signature (size, received_at, vkey, line)
		VALUES (store_signature.size, pg_catalog.clock_timestamp(), store_signature.vkey, store_signature.line)
		ON CONFLICT ON CONSTRAINT checkpoint_signature_pk DO NOTHING
		RETURNING true;
END;
COMMENT ON FUNCTION atp_internal.store_signature(bigint, text, text) IS 'Store a signature that has been verified; NULL where there is one by this key.';
REVOKE ALL ON FUNCTION atp_internal.store_signature(bigint, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.sign_checkpoint(size bigint) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	signed record;
	stored int := 0;
BEGIN
	FOR signed IN SELECT * FROM atp_internal.sign_by_key_file(atp_internal.checkpoint_body(sign_checkpoint.size)) LOOP
		IF NOT EXISTS (SELECT FROM atp_internal.signing_key k WHERE k.vkey = signed.vkey) THEN
			PERFORM atp.add_signing_key(signed.vkey);
		END IF;
		IF EXISTS (SELECT FROM atp_internal.signing_key k WHERE k.vkey = signed.vkey AND k.state = 'active') THEN
			stored := stored + coalesce(atp_internal.store_signature(sign_checkpoint.size, signed.vkey, signed.line), false)::int;
		END IF;
	END LOOP;
	RETURN stored;
END $$;
COMMENT ON FUNCTION atp_internal.sign_checkpoint(bigint) IS 'Sign a checkpoint with the keys of atp.signing_key_file; return how many did.';
REVOKE ALL ON FUNCTION atp_internal.sign_checkpoint(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.make_checkpoint() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	grown bigint;
	made bigint;
BEGIN
	PERFORM atp_internal.lock_checkpoints();
	grown := atp_internal.append_heads();
	IF grown > 0 THEN
		INSERT INTO atp_internal.checkpoint (size, made_at, root)
			SELECT r.size, clock_timestamp(), r.root FROM atp_internal.tree r WHERE r.tenant = 0
			RETURNING checkpoint.size INTO made;
		UPDATE atp_internal.checkpoint_state s SET made_at = clock_timestamp();
	ELSE
		SELECT max(c.size) INTO made FROM atp_internal.checkpoint c;
	END IF;
	IF made IS NOT NULL THEN
		PERFORM atp_internal.sign_checkpoint(made);
	END IF;
	RETURN made;
END $$;
COMMENT ON FUNCTION atp_internal.make_checkpoint() IS
'Make a checkpoint if a tree has grown, and sign it where there is a key file.
Returns the size of the newest checkpoint; NULL where there is nothing to check.';
REVOKE ALL ON FUNCTION atp_internal.make_checkpoint() FROM PUBLIC;

CREATE FUNCTION atp.create_checkpoint() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM atp.grow_trees();
	RETURN atp_internal.make_checkpoint();
END $$;
COMMENT ON FUNCTION atp.create_checkpoint() IS
'Bring the trees up to the log, make a checkpoint, and return its size.
The worker does this every atp.checkpoint_interval. It is signed at once where atp.signing_key_file is set, otherwise by atp-signer. Returns the size of the newest checkpoint where nothing is new, NULL where there is none.
Raises: 25001, 25006, TP503 (the key file is unusable), TP504.';
REVOKE ALL ON FUNCTION atp.create_checkpoint() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_checkpoint() TO atp_admin;

CREATE FUNCTION atp_internal.newest_signed() RETURNS bigint
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT g.size FROM atp_internal.checkpoint_signature g JOIN atp_internal.signing_key k ON k.vkey = g.vkey
	WHERE k.purpose = 'log' AND (k.state = 'active' OR (k.state = 'retired' AND g.size <= k.until_size))
	ORDER BY g.size DESC FETCH FIRST ROW ONLY;
END;
COMMENT ON FUNCTION atp_internal.newest_signed() IS 'Return the size of the newest checkpoint that the log has signed; NULL: none.';
REVOKE ALL ON FUNCTION atp_internal.newest_signed() FROM PUBLIC;

CREATE FUNCTION atp.get_checkpoint(size bigint DEFAULT NULL) RETURNS text
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.checkpoint_body(g.size) || E'\n' || pg_catalog.string_agg(g.line, '' ORDER BY k.purpose, g.vkey COLLATE "C")
	FROM atp_internal.checkpoint_signature g JOIN atp_internal.signing_key k ON k.vkey = g.vkey
	WHERE g.size = coalesce(get_checkpoint.size, atp_internal.newest_signed())
		AND (k.state = 'active' OR (k.state = 'retired' AND g.size <= k.until_size))
	GROUP BY g.size
	HAVING pg_catalog.bool_or(k.purpose = 'log');
END;
COMMENT ON FUNCTION atp.get_checkpoint(bigint) IS
'Return a signed checkpoint as a note: the newest one, or that of a size.
C2SP tlog-checkpoint in a signed-note, with the signatures of the log and of witnesses. Signatures by compromised keys, and those that retired keys made after their time, are left out. NULL where there is none signed by a key of the log.';
REVOKE ALL ON FUNCTION atp.get_checkpoint(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_checkpoint(bigint) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_checkpoints(OUT size bigint, OUT root bytea, OUT made_at timestamptz, OUT signatures bigint, OUT witnesses bigint) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT c.size, c.root, c.made_at, pg_catalog.count(*) FILTER (WHERE k.purpose = 'log'), pg_catalog.count(*) FILTER (WHERE k.purpose = 'witness')
	FROM atp_internal.checkpoint c
		LEFT JOIN atp_internal.checkpoint_signature g ON g.size = c.size
		LEFT JOIN atp_internal.signing_key k ON k.vkey = g.vkey AND k.state <> 'compromised'
	GROUP BY c.size, c.root, c.made_at
	ORDER BY c.size DESC;
END;
COMMENT ON FUNCTION atp.list_checkpoints() IS 'List the checkpoints, newest first, and how many have signed.
signatures counts keys of the log, witnesses those of witnesses; compromised keys count as neither.';
REVOKE ALL ON FUNCTION atp.list_checkpoints() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_checkpoints() TO atp_auditor, atp_admin;

CREATE FUNCTION atp.list_signing_keys(OUT vkey text, OUT purpose text, OUT state text, OUT until_size bigint, OUT added_at timestamptz,
		OUT changed_at timestamptz, OUT endorsement text) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT k.vkey, k.purpose, k.state, k.until_size, k.added_at, k.changed_at, k.endorsement FROM atp_internal.signing_key k ORDER BY k.added_at, k.vkey;
END;
COMMENT ON FUNCTION atp.list_signing_keys() IS 'List the keys that sign checkpoints, in the order in which they were added.';
REVOKE ALL ON FUNCTION atp.list_signing_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_signing_keys() TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.retire_signing_key(vkey text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.change_signing_key(retire_signing_key.vkey, 'retired',
		(SELECT coalesce(pg_catalog.max(c.size), 0) FROM atp_internal.checkpoint c));
END;
COMMENT ON FUNCTION atp.retire_signing_key(text) IS
'Retire a signing key: what it has signed so far counts, what comes does not.
Records PolicyUpdated.
Raises: TP503 (no such key, or it is retired or compromised).';
REVOKE ALL ON FUNCTION atp.retire_signing_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.retire_signing_key(text) TO atp_admin;

CREATE FUNCTION atp.disown_signing_key(vkey text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.change_signing_key(disown_signing_key.vkey, 'compromised', NULL);
END;
COMMENT ON FUNCTION atp.disown_signing_key(text) IS
'Declare a signing key compromised: what only it has signed counts no more.
That holds for the past too: whoever holds the key can date a signature back, so that earlier checkpoints stand only by other signatures: of another key of the log, of a witness, or by a head that was kept outside. Records PolicyUpdated.
Raises: TP503 (no such key, or it is compromised already).';
REVOKE ALL ON FUNCTION atp.disown_signing_key(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.disown_signing_key(text) TO atp_admin;

CREATE FUNCTION atp.get_pending_checkpoint(vkey text, OUT size bigint, OUT body text)
	LANGUAGE sql STABLE PARALLEL RESTRICTED STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT c.size, atp_internal.checkpoint_body(c.size) FROM (SELECT pg_catalog.max(k.size) AS size FROM atp_internal.checkpoint k) c
	WHERE c.size IS NOT NULL AND NOT EXISTS (SELECT FROM atp_internal.checkpoint_signature g WHERE g.size = c.size AND g.vkey = get_pending_checkpoint.vkey);
END;
COMMENT ON FUNCTION atp.get_pending_checkpoint(text) IS
'Return the newest checkpoint, unsigned, unless the key has signed it.
What an outside signer asks for. NULLs where nothing is to be signed.';
REVOKE ALL ON FUNCTION atp.get_pending_checkpoint(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_pending_checkpoint(text) TO atp_auditor, atp_admin;

CREATE FUNCTION atp.submit_checkpoint(note text) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	-- A note has at most 1,000,000 bytes, and what is longer is not searched.
	body text := CASE WHEN octet_length(submit_checkpoint.note) <= 1000000 THEN regexp_replace(submit_checkpoint.note, '\n\n(?!.*\n\n).*$', E'\n') END;
	parsed jsonb := atp.checkpoint_parse(body);
	at_size bigint;
	key record;
	stored int := 0;
	known int := 0;
	mine text;
BEGIN
	IF parsed IS NULL OR submit_checkpoint.note !~ '\n\n' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = 'the text is not a signed checkpoint';
	END IF;
	SELECT c.size INTO at_size FROM atp_internal.checkpoint c WHERE c.size::numeric = (parsed ->> 'size')::numeric;
	IF NOT FOUND OR body <> atp_internal.checkpoint_body(at_size) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP505', MESSAGE = 'the note is not about a checkpoint of this log',
			DETAIL = format('Origin %s, size %s, root %s.', parsed ->> 'origin', parsed ->> 'size', parsed ->> 'root');
	END IF;
	FOR key IN
		SELECT k.vkey, k.purpose, k.state, k.until_size, line.line || E'\n' AS line
		FROM regexp_split_to_table(substr(submit_checkpoint.note, length(body) + 2), '\n') line
			JOIN atp_internal.signing_key k ON split_part(line.line, ' ', 2) = k.name
	LOOP
		mine := body || E'\n' || key.line;
		IF NOT atp.note_has_key(mine, key.vkey) THEN
			CONTINUE;
		END IF;
		known := known + 1;
		IF NOT atp.note_verify(mine, key.vkey) AND atp.cosignature_verify(mine, key.vkey) IS NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'TP502', MESSAGE = format('the signature by %s is wrong', split_part(key.vkey, '+', 1));
		END IF;
		IF key.state = 'compromised' OR (key.state = 'retired' AND at_size > key.until_size) THEN
			RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = format('the key %s is %s', split_part(key.vkey, '+', 1), key.state);
		END IF;
		stored := stored + coalesce(atp_internal.store_signature(at_size, key.vkey, key.line), false)::int;
	END LOOP;
	IF known = 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'TP503', MESSAGE = 'no signature of the note is by a key that is known here',
			HINT = 'Add the key with atp.add_signing_key().';
	END IF;
	RETURN stored;
END $$;
COMMENT ON FUNCTION atp.submit_checkpoint(text) IS
'Take signatures on a checkpoint, and return how many are new.
They come from atp-signer or a witness. note is a signed note whose text is one of this log''s checkpoints, byte for byte. Every line by a key that was added with add_signing_key is verified; lines by others are ignored.
Raises: TP502 (no signed checkpoint, or a wrong signature), TP503 (no known key, or one that is retired or compromised), TP505 (another checkpoint).';
REVOKE ALL ON FUNCTION atp.submit_checkpoint(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.submit_checkpoint(text) TO atp_auditor, atp_admin;

-- ==== src/log/proof.sql ====
-- Proofs from the stored trees.
CREATE FUNCTION atp.prove_event(event_id uuid, tenant text DEFAULT NULL) RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'atp_proof_prove_event';
COMMENT ON FUNCTION atp.prove_event(uuid, text) IS
'Prove that an event is in its tenant''s log under a checkpoint.
A document: the leaf (its index and hash, which is the event''s chain link), its inclusion in the tenant''s tree (tree_size, tree_root, tree_proof), that tree''s head as a leaf of the root log (head_leaf, head_proof), and the checkpoint, a signed note, null where nobody has signed one. Hashes in hexadecimal. The newest signed checkpoint is taken. See docs/howto for how to check it by hand. Takes the same time whatever the size of the log.
Raises: TP111 (no such event), TP202, TP506 (no checkpoint covers it yet), 42501.';
REVOKE ALL ON FUNCTION atp.prove_event(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.prove_event(uuid, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.prove_consistency(old_size bigint, new_size bigint, tenant text DEFAULT NULL) RETURNS bytea[]
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'atp_proof_prove_consistency';
COMMENT ON FUNCTION atp.prove_consistency(bigint, bigint, text) IS
'Prove that the log of new_size leaves begins with that of old_size leaves.
Without a tenant, of the root log, whose sizes checkpoints state; with one, of that tenant''s tree. Hashes in the order of RFC 6962; see merkle_verify_consistency. Takes the same time whatever the size of the log.
Raises: TP202, TP501 (sizes), TP506 (the stored tree is damaged), 42501.';
REVOKE ALL ON FUNCTION atp.prove_consistency(bigint, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.prove_consistency(bigint, bigint, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_heads(after_leaf bigint DEFAULT -1, max_count int DEFAULT 1000,
		OUT leaf bigint, OUT log_uid uuid, OUT size bigint, OUT root bytea, OUT previous_size bigint, OUT consistency bytea[]) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT h.leaf, t.log_uid, h.size, h.root, p.size,
		CASE WHEN p.size IS NOT NULL THEN atp.prove_consistency(p.size, h.size, t.name) END
	FROM (SELECT x.* FROM atp_internal.tenant_head x WHERE x.leaf > list_heads.after_leaf ORDER BY x.leaf
			FETCH FIRST list_heads.max_count ROWS ONLY) h
		JOIN atp_internal.tenant t ON t.tenant = h.tenant
		LEFT JOIN LATERAL (SELECT o.size FROM atp_internal.tenant_head o WHERE o.tenant = h.tenant AND o.leaf < h.leaf
			ORDER BY o.leaf DESC FETCH FIRST ROW ONLY) p ON true
	ORDER BY h.leaf;
END;
COMMENT ON FUNCTION atp.list_heads(bigint, int) IS
'List the leaves of the root log: heads of tenants'' trees, with proof of growth.
consistency proves that the tenant''s tree grew from its head before (previous_size), and is NULL for its first. What atp-signer asks for.';
REVOKE ALL ON FUNCTION atp.list_heads(bigint, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_heads(bigint, int) TO atp_auditor, atp_admin;

-- ==== src/log/verifytree.sql ====
-- Verification of the stored trees against the events, both ways.
CREATE FUNCTION atp.verify_trees(since bigint DEFAULT 0, OUT ok boolean, OUT checked bigint, OUT first_fault_tenant text,
		OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifytree_all';
COMMENT ON FUNCTION atp.verify_trees(bigint) IS
'Verify the Merkle trees: leaves against events, nodes, heads, checkpoints.
Each event is read by the log position of its leaf, its hash recomputed from the stored columns and compared with the leaf; every node of every tile is hashed again; the roots must be those that the root log and the checkpoints state. since leaves out the leaves of log positions up to there (by whole tiles), whose nodes are then believed: the incremental form. checked counts leaves; none at all is not ok. The first fault is the first by tenant.';
REVOKE ALL ON FUNCTION atp.verify_trees(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_trees(bigint) TO atp_auditor, atp_admin;

-- ==== src/delivery/inbox.sql ====
-- The inbox: idempotent handlers. A handler asks before it acts, and stores its result; a repeated delivery gets that result.
--
-- Who begins holds a transaction-level advisory lock on (tenant, handler, event), so that a second one is told `busy` at once instead
-- of waiting for the row of the first. A handler that works over several transactions commits its beginning: then the row says
-- `busy` until lock_duration is over, whoever died meanwhile.
CREATE TABLE atp_internal.inbox (
	tenant int NOT NULL,
	event_id uuid NOT NULL,
	handler text NOT NULL,
	state "char" NOT NULL CONSTRAINT inbox_state_known CHECK (state IN ('b', 'd', 't', 'p', 'c')),
	attempt int NOT NULL,
	begun_at timestamptz NOT NULL,
	locked_until timestamptz NOT NULL,
	expires_at timestamptz NOT NULL,
	fingerprint bytea,
	result jsonb,
	error text,
	CONSTRAINT inbox_pk PRIMARY KEY (event_id, handler, tenant)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX inbox_expires_at ON atp_internal.inbox USING brin (expires_at);
CREATE INDEX inbox_to_compensate ON atp_internal.inbox (handler, tenant) WHERE state = 'c';
COMMENT ON TABLE atp_internal.inbox IS 'What each handler has made of each event, for the handler''s window.';
COMMENT ON COLUMN atp_internal.inbox.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.inbox.event_id IS 'The event, or any id that the handler''s message carries.';
COMMENT ON COLUMN atp_internal.inbox.handler IS 'Name of the handler.';
COMMENT ON COLUMN atp_internal.inbox.state IS 'b begun, d done, t failed but may be tried again, p failed for good, c done and to be compensated.';
COMMENT ON COLUMN atp_internal.inbox.attempt IS 'How often the handling was begun.';
COMMENT ON COLUMN atp_internal.inbox.begun_at IS 'When the last attempt began.';
COMMENT ON COLUMN atp_internal.inbox.locked_until IS 'Until when a begun attempt that was committed keeps others away.';
COMMENT ON COLUMN atp_internal.inbox.expires_at IS 'When the row may be forgotten.';
COMMENT ON COLUMN atp_internal.inbox.fingerprint IS 'What the caller says identifies the content; NULL: nothing.';
COMMENT ON COLUMN atp_internal.inbox.result IS 'Result of a finished handling.';
COMMENT ON COLUMN atp_internal.inbox.error IS 'SQLSTATE and message of a failed one.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.inbox', '');
ALTER TABLE atp_internal.inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY inbox_tenant ON atp_internal.inbox USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.sqlstate_is_transient(state text) RETURNS boolean
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.left(state, 2) IN ('08', '40', '53', '57', '58') OR state IN ('55P03', '55006', '25006', '55000', 'TP101', 'TP361', 'TP362', 'TP363');
COMMENT ON FUNCTION atp_internal.sqlstate_is_transient(text) IS
'Say whether a failure with this SQLSTATE may pass of itself.
True for classes 08 (connection), 40 (serialization, deadlock), 53 (resources), 57 (operator intervention), 58 (system), for 55P03 and 55006 (locked, in use), 55000, 25006 (read only, during a failover), TP101 (version conflict) and the refusals of breakers and limits. Everything else stays wrong however often it is tried.';
REVOKE ALL ON FUNCTION atp_internal.sqlstate_is_transient(text) FROM PUBLIC;

CREATE FUNCTION atp.begin_handling(handler text, event_id uuid, fingerprint bytea DEFAULT NULL, retention interval DEFAULT '7 days',
		lock_duration interval DEFAULT '5 minutes', tenant text DEFAULT NULL, OUT verdict text, OUT attempt int, OUT result jsonb, OUT error text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(begin_handling.tenant);
	moment timestamptz := clock_timestamp();
	known atp_internal.inbox;
BEGIN
	IF handler IS NULL OR handler = '' OR octet_length(handler) > 255 THEN
		RAISE EXCEPTION 'handler name has no characters or more than 255 bytes' USING ERRCODE = '22023';
	END IF;
	IF event_id IS NULL THEN
		RAISE EXCEPTION 'event_id must not be null' USING ERRCODE = '22004';
	END IF;
	IF NOT coalesce(retention > '0' AND lock_duration >= '0', false) THEN
		RAISE EXCEPTION 'retention must be positive and lock_duration not negative' USING ERRCODE = '22023';
	END IF;
	IF NOT pg_try_advisory_xact_lock(hashtextextended(handler || event_id::text, owner_key)) THEN
		verdict := 'busy';
		RETURN;
	END IF;
	SELECT * INTO known FROM atp_internal.inbox i
		WHERE i.event_id = begin_handling.event_id AND i.handler = begin_handling.handler AND i.tenant = owner_key;
	IF FOUND AND known.expires_at > moment THEN
		IF known.fingerprint IS NOT NULL AND fingerprint IS NOT NULL AND known.fingerprint <> fingerprint THEN
			RAISE EXCEPTION 'event % was handled before with other content', event_id USING ERRCODE = 'TP351',
				DETAIL = format('Handler "%s" knows it by another fingerprint.', handler),
				HINT = 'An event id stands for one content: give the changed event an id of its own.';
		END IF;
		CASE known.state
			WHEN 'd' THEN verdict := 'done';
			WHEN 'p' THEN verdict := 'failed';
			WHEN 'c' THEN verdict := 'busy';
			WHEN 'b' THEN verdict := CASE WHEN known.locked_until > moment THEN 'busy' END;
			ELSE NULL;
		END CASE;
		IF verdict IS NOT NULL THEN
			attempt := known.attempt;
			result := known.result;
			error := known.error;
			RETURN;
		END IF;
	END IF;
	INSERT INTO atp_internal.inbox AS i (tenant, event_id, handler, state, attempt, begun_at, locked_until, expires_at, fingerprint)
		VALUES (owner_key, event_id, handler, 'b', 1, moment, moment + lock_duration, moment + retention, fingerprint)
		ON CONFLICT ON CONSTRAINT inbox_pk DO UPDATE SET state = 'b', begun_at = excluded.begun_at, locked_until = excluded.locked_until,
			attempt = CASE WHEN i.expires_at > excluded.begun_at THEN i.attempt + 1 ELSE 1 END,
			expires_at = excluded.expires_at, fingerprint = coalesce(excluded.fingerprint, i.fingerprint), result = NULL
		RETURNING i.attempt INTO attempt;
	verdict := 'new';
END $$;
COMMENT ON FUNCTION atp.begin_handling(text, uuid, bytea, interval, interval, text) IS
'Begin to handle an event once, and say whether that is to be done.
verdict: new (handle it, then call finish_handling), done (result is that of the first handling), busy (somebody is at it), failed (fail_handling called it permanent; error says why). Begun, effect and finished in one transaction is exactly once for effects in this database: a rollback takes all of it back. Over several transactions, a committed beginning keeps others away for lock_duration; give attempt to finish_handling then. fingerprint NULL: contents are not compared. retention is how long the outcome is remembered. tenant NULL means that of the setting atp.tenant.
Raises: 22004, 22023, TP202, TP351 (same id, other fingerprint).';
REVOKE ALL ON FUNCTION atp.begin_handling(text, uuid, bytea, interval, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.begin_handling(text, uuid, bytea, interval, interval, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp_internal.refuse_handling(handler text, event_id uuid, tenant int, attempt int, otherwise text, hint text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	known int;
BEGIN
	SELECT i.attempt INTO known FROM atp_internal.inbox i
		WHERE i.event_id = refuse_handling.event_id AND i.handler = refuse_handling.handler AND i.tenant = refuse_handling.tenant;
	IF known > attempt THEN
		RAISE EXCEPTION 'handling of event % by "%" was begun anew', event_id, handler USING ERRCODE = 'TP352',
			DETAIL = format('Attempt %s has taken the place of attempt %s, whose lock_duration was over.', known, attempt),
			HINT = 'Nothing was changed. Undo what this attempt has done outside of the database, or give handlings a longer lock_duration.';
	END IF;
	RAISE EXCEPTION 'handling of event % by "%" %', event_id, handler, otherwise USING ERRCODE = 'TP350', HINT = refuse_handling.hint;
END $$;
COMMENT ON FUNCTION atp_internal.refuse_handling(text, uuid, int, int, text, text) IS
'Say why a handling cannot be ended by an attempt.
attempt NULL: the caller did not say which.
Raises: TP350, TP352.';
REVOKE ALL ON FUNCTION atp_internal.refuse_handling(text, uuid, int, int, text, text) FROM PUBLIC;

CREATE FUNCTION atp.finish_handling(handler text, event_id uuid, result jsonb DEFAULT NULL, tenant text DEFAULT NULL, attempt int DEFAULT NULL)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(finish_handling.tenant);
BEGIN
	UPDATE atp_internal.inbox i SET state = 'd', result = finish_handling.result, error = NULL
		WHERE i.event_id = finish_handling.event_id AND i.handler = finish_handling.handler AND i.tenant = owner_key AND i.state = 'b'
			AND i.attempt = coalesce(finish_handling.attempt, i.attempt);
	IF NOT FOUND THEN
		PERFORM atp_internal.refuse_handling(handler, event_id, owner_key, attempt, 'was not begun',
			'Call begin_handling first, and finish only where it answered new.');
	END IF;
END $$;
COMMENT ON FUNCTION atp.finish_handling(text, uuid, jsonb, text, int) IS
'Finish the handling of an event and store its result.
begin_handling returns the result to whoever asks again, for the retention it was begun with. attempt is what begin_handling answered, and fences off an attempt that outlived its lock_duration: where another has begun since, this one is refused. NULL: any; enough where beginning and end are one transaction.
Raises: TP202, TP350 (not begun, or finished already), TP352 (begun anew by another).';
REVOKE ALL ON FUNCTION atp.finish_handling(text, uuid, jsonb, text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.finish_handling(text, uuid, jsonb, text, int) TO atp_reader, atp_admin;

CREATE FUNCTION atp.fail_handling(handler text, event_id uuid, sqlstate text, message text DEFAULT NULL, tenant text DEFAULT NULL,
		attempt int DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(fail_handling.tenant);
	moment timestamptz := clock_timestamp();
	transient boolean := coalesce(atp_internal.sqlstate_is_transient(fail_handling.sqlstate), false);
BEGIN
	IF fail_handling.sqlstate IS NULL OR fail_handling.sqlstate !~ '^[0-9A-Z]{5}$' THEN
		RAISE EXCEPTION 'a SQLSTATE has five digits and upper-case letters' USING ERRCODE = '22023';
	END IF;
	-- The beginning may have been rolled back with the work: then the failure is recorded by a row of its own.
	INSERT INTO atp_internal.inbox AS i (tenant, event_id, handler, state, attempt, begun_at, locked_until, expires_at, error)
		VALUES (owner_key, event_id, handler, CASE WHEN transient THEN 't' ELSE 'p' END, coalesce(attempt, 1), moment, moment, moment + interval '7 days',
			fail_handling.sqlstate || coalesce(': ' || left(message, 2000), ''))
		ON CONFLICT ON CONSTRAINT inbox_pk DO UPDATE SET state = excluded.state, locked_until = excluded.locked_until, error = excluded.error,
			attempt = coalesce(fail_handling.attempt, i.attempt + CASE WHEN i.state = 'b' THEN 0 ELSE 1 END)
			WHERE i.state IN ('b', 't') AND i.attempt <= coalesce(fail_handling.attempt, i.attempt);
	IF NOT FOUND THEN
		PERFORM atp_internal.refuse_handling(handler, event_id, owner_key, attempt, 'has ended already', 'A finished handling cannot fail.');
	END IF;
	RETURN CASE WHEN transient THEN 'transient' ELSE 'permanent' END;
END $$;
COMMENT ON FUNCTION atp.fail_handling(text, uuid, text, text, text, int) IS
'Record that the handling of an event failed, and say whether to try again.
Returns transient (begin_handling answers new again) or permanent (it answers failed), by the class of the SQLSTATE: connection, serialization, resources, intervention and locks pass of themselves; everything else does not. May be called after the transaction that began was rolled back. attempt is what begin_handling answered, as in atp.finish_handling.
Raises: 22023, TP202, TP350 (finished already), TP352 (begun anew by another).';
REVOKE ALL ON FUNCTION atp.fail_handling(text, uuid, text, text, text, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.fail_handling(text, uuid, text, text, text, int) TO atp_reader, atp_admin;

CREATE FUNCTION atp.forget_handling(handler text, event_id uuid, tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(forget_handling.tenant);
BEGIN
	DELETE FROM atp_internal.inbox i
		WHERE i.event_id = forget_handling.event_id AND i.handler = forget_handling.handler AND i.tenant = owner_key;
	RETURN FOUND;
END $$;
COMMENT ON FUNCTION atp.forget_handling(text, uuid, text) IS
'Forget what a handler made of an event, so that it is handled anew.
Returns false where nothing was known. For mending by hand after a permanent failure.
Raises: TP202.';
REVOKE ALL ON FUNCTION atp.forget_handling(text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.forget_handling(text, uuid, text) TO atp_admin;

CREATE FUNCTION atp.purge_handlings(max_count int DEFAULT 10000) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	purged bigint;
BEGIN
	DELETE FROM atp_internal.inbox i USING (SELECT j.ctid AS place FROM atp_internal.inbox j WHERE j.expires_at < clock_timestamp()
			LIMIT max_count FOR UPDATE SKIP LOCKED) old
		WHERE i.ctid = old.place;
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END $$;
COMMENT ON FUNCTION atp.purge_handlings(int) IS
'Purge outcomes of handlings whose retention is over.
Returns how many, at most max_count; of all tenants. The worker does this by itself.';
REVOKE ALL ON FUNCTION atp.purge_handlings(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.purge_handlings(int) TO atp_admin;

-- ==== src/delivery/breaker.sql ====
-- Circuit breakers. A row holds what was asked for, three sequences beside it what has happened: the sequences are made at run time and
-- are no members of the extension, so that a dump carries them, and their values.
CREATE TABLE atp_internal.breaker (
	breaker_key bigint GENERATED BY DEFAULT AS IDENTITY,
	tenant int NOT NULL,
	breaker text NOT NULL CONSTRAINT breaker_name_sized CHECK (pg_catalog.octet_length(breaker) BETWEEN 1 AND 255),
	failure_ratio double precision NOT NULL CONSTRAINT breaker_failure_ratio_range CHECK (failure_ratio > 0 AND failure_ratio <= 1),
	minimum_throughput int NOT NULL CONSTRAINT breaker_minimum_throughput_range CHECK (minimum_throughput BETWEEN 2 AND 50000),
	sampling_duration interval NOT NULL CONSTRAINT breaker_sampling_duration_range CHECK (sampling_duration BETWEEN '500 ms' AND '24 hours'),
	break_duration interval NOT NULL CONSTRAINT breaker_break_duration_range CHECK (break_duration BETWEEN '1 ms' AND '24 hours'),
	probe_count int NOT NULL CONSTRAINT breaker_probe_count_range CHECK (probe_count BETWEEN 1 AND 255),
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT breaker_pk PRIMARY KEY (breaker, tenant)
);
COMMENT ON TABLE atp_internal.breaker IS 'Circuit breakers, in the words of Polly v8. Their state is in sequences breaker_KEY_current, _earlier and _state.';
COMMENT ON COLUMN atp_internal.breaker.breaker_key IS 'Surrogate key, part of the names of the sequences.';
COMMENT ON COLUMN atp_internal.breaker.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.breaker.breaker IS 'Name, of the endpoint that is protected.';
COMMENT ON COLUMN atp_internal.breaker.failure_ratio IS 'Share of failures from which it opens, over 0, at most 1.';
COMMENT ON COLUMN atp_internal.breaker.minimum_throughput IS 'Outcomes within the sampling duration before the ratio counts.';
COMMENT ON COLUMN atp_internal.breaker.sampling_duration IS 'Length of the sliding window.';
COMMENT ON COLUMN atp_internal.breaker.break_duration IS 'How long it stays open before it gives probes.';
COMMENT ON COLUMN atp_internal.breaker.probe_count IS 'Probes given at once when half-open, all of which have to succeed.';
COMMENT ON COLUMN atp_internal.breaker.created_at IS 'When it was made.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.breaker', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.breaker_breaker_key_seq', '');
ALTER TABLE atp_internal.breaker ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.breaker FORCE ROW LEVEL SECURITY;
CREATE POLICY breaker_tenant ON atp_internal.breaker USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.make_breaker_cells(breaker_key bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_breaker_make_cells';
COMMENT ON FUNCTION atp_internal.make_breaker_cells(bigint) IS 'Make the sequences that hold a breaker''s state.';
REVOKE ALL ON FUNCTION atp_internal.make_breaker_cells(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.drop_breaker_cells(breaker_key bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_breaker_drop_cells';
COMMENT ON FUNCTION atp_internal.drop_breaker_cells(bigint) IS 'Drop the sequences that hold a breaker''s state.';
REVOKE ALL ON FUNCTION atp_internal.drop_breaker_cells(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.acquire_breaker(tenant int, breaker text) RETURNS boolean
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_breaker_acquire_permit';
COMMENT ON FUNCTION atp_internal.acquire_breaker(int, text) IS 'Take a permit of a breaker; true for a probe.';
REVOKE ALL ON FUNCTION atp_internal.acquire_breaker(int, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.release_breaker(tenant int, breaker text, success boolean) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_breaker_release_permit';
COMMENT ON FUNCTION atp_internal.release_breaker(int, text, boolean) IS 'Report the outcome of permitted work.';
REVOKE ALL ON FUNCTION atp_internal.release_breaker(int, text, boolean) FROM PUBLIC;

CREATE FUNCTION atp_internal.force_breaker(tenant int, breaker text, isolated boolean) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_breaker_force';
COMMENT ON FUNCTION atp_internal.force_breaker(int, text, boolean) IS 'Isolate or close a breaker by hand.';
REVOKE ALL ON FUNCTION atp_internal.force_breaker(int, text, boolean) FROM PUBLIC;

CREATE FUNCTION atp_internal.read_breaker(tenant int, breaker text, OUT state text, OUT since timestamptz, OUT throughput double precision,
		OUT failures double precision)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_breaker_read';
COMMENT ON FUNCTION atp_internal.read_breaker(int, text) IS 'Read the state and the counts of a breaker.';
REVOKE ALL ON FUNCTION atp_internal.read_breaker(int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.read_breaker(int, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.create_breaker(breaker text, failure_ratio double precision DEFAULT 0.1, minimum_throughput int DEFAULT 100,
		sampling_duration interval DEFAULT '30 seconds', break_duration interval DEFAULT '5 seconds', probe_count int DEFAULT 1,
		tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_breaker.tenant);
	made bigint;
BEGIN
	INSERT INTO atp_internal.breaker AS b (tenant, breaker, failure_ratio, minimum_throughput, sampling_duration, break_duration, probe_count)
		VALUES (owner_key, breaker, failure_ratio, minimum_throughput, sampling_duration, break_duration, probe_count)
		ON CONFLICT ON CONSTRAINT breaker_pk DO NOTHING
		RETURNING b.breaker_key INTO made;
	IF made IS NULL THEN
		RAISE EXCEPTION 'circuit breaker "%" exists', breaker USING ERRCODE = '42710';
	END IF;
	PERFORM atp_internal.make_breaker_cells(made);
END $$;
COMMENT ON FUNCTION atp.create_breaker(text, double precision, int, interval, interval, int, text) IS
'Create a circuit breaker; it starts closed.
It opens when, of at least minimum_throughput (2 to 50,000) outcomes in the sliding window of sampling_duration (0.5 s to 24 h), a share of failure_ratio (over 0, at most 1) failed. After break_duration it is half-open and gives probe_count (1 to 255) permits at once: when all of them succeed it closes, at the first failure it opens again. Terms and defaults of Polly v8. tenant NULL means that of the setting atp.tenant.
Raises: 42710 (it exists), 23514 (a value out of its range), 23502 (a NULL), TP202.';
REVOKE ALL ON FUNCTION atp.create_breaker(text, double precision, int, interval, interval, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_breaker(text, double precision, int, interval, interval, int, text) TO atp_admin;

CREATE FUNCTION atp.drop_breaker(breaker text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(drop_breaker.tenant);
	dropped bigint;
BEGIN
	DELETE FROM atp_internal.breaker b WHERE b.breaker = drop_breaker.breaker AND b.tenant = owner_key RETURNING b.breaker_key INTO dropped;
	IF dropped IS NULL THEN
		RAISE EXCEPTION 'circuit breaker "%" does not exist', breaker USING ERRCODE = 'TP360';
	END IF;
	PERFORM atp_internal.drop_breaker_cells(dropped);
END $$;
COMMENT ON FUNCTION atp.drop_breaker(text, text) IS
'Drop a circuit breaker.
Raises: TP202, TP360 (no such breaker), 23503 (a subscription has it).';
REVOKE ALL ON FUNCTION atp.drop_breaker(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.drop_breaker(text, text) TO atp_admin;

CREATE FUNCTION atp.acquire_permit(breaker text, tenant text DEFAULT NULL) RETURNS text
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT CASE WHEN atp_internal.acquire_breaker(atp_internal.open_tenant(acquire_permit.tenant), acquire_permit.breaker)
		THEN 'half-open' ELSE 'closed' END;
END;
COMMENT ON FUNCTION atp.acquire_permit(text, text) IS
'Acquire a permit of a circuit breaker, or be refused.
Returns closed, or half-open when the permit is a probe. Report how the work ended with release_permit. A probe that is never reported counts as lost after the break duration.
Raises: TP360 (no such breaker), TP361 (open or isolated; DETAIL gives the milliseconds to wait), TP202.';
REVOKE ALL ON FUNCTION atp.acquire_permit(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.acquire_permit(text, text) TO atp_reader, atp_writer, atp_admin;

CREATE FUNCTION atp.release_permit(breaker text, success boolean, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.release_breaker(atp_internal.open_tenant(release_permit.tenant), release_permit.breaker, release_permit.success);
END;
COMMENT ON FUNCTION atp.release_permit(text, boolean, text) IS
'Release a permit of a circuit breaker and say whether the work succeeded.
What is reported stays, though the transaction rolls back: call it in the exception handler of the work that failed.
Raises: TP360 (no such breaker), TP202.';
REVOKE ALL ON FUNCTION atp.release_permit(text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.release_permit(text, boolean, text) TO atp_reader, atp_writer, atp_admin;

CREATE FUNCTION atp.isolate_breaker(breaker text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.force_breaker(atp_internal.open_tenant(isolate_breaker.tenant), isolate_breaker.breaker, true);
END;
COMMENT ON FUNCTION atp.isolate_breaker(text, text) IS
'Isolate a circuit breaker by hand: it gives no permits until it is closed.
Raises: TP360 (no such breaker), TP202.';
REVOKE ALL ON FUNCTION atp.isolate_breaker(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.isolate_breaker(text, text) TO atp_admin;

CREATE FUNCTION atp.close_breaker(breaker text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.force_breaker(atp_internal.open_tenant(close_breaker.tenant), close_breaker.breaker, false);
END;
COMMENT ON FUNCTION atp.close_breaker(text, text) IS
'Close a circuit breaker by hand and forget what it counted.
Raises: TP360 (no such breaker), TP202.';
REVOKE ALL ON FUNCTION atp.close_breaker(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.close_breaker(text, text) TO atp_admin;

CREATE VIEW atp.breaker_status WITH (security_barrier) AS
	SELECT t.name AS tenant, b.breaker, s.state, s.since, s.throughput, s.failures, b.failure_ratio, b.minimum_throughput,
		b.sampling_duration, b.break_duration, b.probe_count
	FROM atp_internal.breaker b
		JOIN atp_internal.tenant t ON t.tenant = b.tenant,
		LATERAL atp_internal.read_breaker(b.tenant, b.breaker) s;
COMMENT ON VIEW atp.breaker_status IS 'List the circuit breakers and their state now.';
COMMENT ON COLUMN atp.breaker_status.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.breaker_status.breaker IS 'Name of the breaker.';
COMMENT ON COLUMN atp.breaker_status.state IS 'closed, open, half-open or isolated. An open one whose break is over shows as open until somebody asks for a permit.';
COMMENT ON COLUMN atp.breaker_status.since IS 'When it came into this state; NULL: it has never left closed.';
COMMENT ON COLUMN atp.breaker_status.throughput IS 'Outcomes in the sliding window, the part of the earlier window that it covers taken as evenly spread.';
COMMENT ON COLUMN atp.breaker_status.failures IS 'Failures among them.';
COMMENT ON COLUMN atp.breaker_status.failure_ratio IS 'Share of failures from which it opens.';
COMMENT ON COLUMN atp.breaker_status.minimum_throughput IS 'Outcomes before the ratio counts.';
COMMENT ON COLUMN atp.breaker_status.sampling_duration IS 'Length of the sliding window.';
COMMENT ON COLUMN atp.breaker_status.break_duration IS 'How long it stays open before it gives probes.';
COMMENT ON COLUMN atp.breaker_status.probe_count IS 'Probes given at once when half-open.';
GRANT SELECT ON atp.breaker_status TO atp_reader, atp_auditor, atp_admin;

-- ==== src/delivery/limit.sql ====
-- Rate limits and bulkheads. A rate limit's bucket is a sequence beside its row, made at run time: see src/pg/cell.h.
CREATE TABLE atp_internal.rate_limit (
	rate_limit_key bigint GENERATED BY DEFAULT AS IDENTITY,
	tenant int NOT NULL,
	rate_limit text NOT NULL CONSTRAINT rate_limit_name_sized CHECK (pg_catalog.octet_length(rate_limit) BETWEEN 1 AND 255),
	rate double precision NOT NULL CONSTRAINT rate_limit_rate_range CHECK (rate BETWEEN 0.001 AND 1000000),
	burst int NOT NULL CONSTRAINT rate_limit_burst_range CHECK (burst BETWEEN 1 AND 1000000),
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT rate_limit_pk PRIMARY KEY (rate_limit, tenant)
);
COMMENT ON TABLE atp_internal.rate_limit IS 'Rate limits. The bucket of each is in a sequence rate_limit_KEY.';
COMMENT ON COLUMN atp_internal.rate_limit.rate_limit_key IS 'Surrogate key, part of the name of the sequence.';
COMMENT ON COLUMN atp_internal.rate_limit.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.rate_limit.rate_limit IS 'Name.';
COMMENT ON COLUMN atp_internal.rate_limit.rate IS 'Tokens a second.';
COMMENT ON COLUMN atp_internal.rate_limit.burst IS 'Tokens that an idle limit gives at once.';
COMMENT ON COLUMN atp_internal.rate_limit.created_at IS 'When it was made.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.rate_limit', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.rate_limit_rate_limit_key_seq', '');
ALTER TABLE atp_internal.rate_limit ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.rate_limit FORCE ROW LEVEL SECURITY;
CREATE POLICY rate_limit_tenant ON atp_internal.rate_limit USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.bulkhead (
	bulkhead_key bigint GENERATED BY DEFAULT AS IDENTITY,
	tenant int NOT NULL,
	bulkhead text NOT NULL CONSTRAINT bulkhead_name_sized CHECK (pg_catalog.octet_length(bulkhead) BETWEEN 1 AND 255),
	max_in_flight int NOT NULL CONSTRAINT bulkhead_max_in_flight_range CHECK (max_in_flight BETWEEN 1 AND 10000),
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT bulkhead_pk PRIMARY KEY (bulkhead, tenant)
);
COMMENT ON TABLE atp_internal.bulkhead IS 'Bulkheads: how many transactions may be inside at once. Who is inside is in the lock table.';
COMMENT ON COLUMN atp_internal.bulkhead.bulkhead_key IS 'Surrogate key, part of the lock.';
COMMENT ON COLUMN atp_internal.bulkhead.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.bulkhead.bulkhead IS 'Name.';
COMMENT ON COLUMN atp_internal.bulkhead.max_in_flight IS 'Transactions inside at once.';
COMMENT ON COLUMN atp_internal.bulkhead.created_at IS 'When it was made.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.bulkhead', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.bulkhead_bulkhead_key_seq', '');
ALTER TABLE atp_internal.bulkhead ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.bulkhead FORCE ROW LEVEL SECURITY;
CREATE POLICY bulkhead_tenant ON atp_internal.bulkhead USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.tenant_limit (
	tenant int CONSTRAINT tenant_limit_pk PRIMARY KEY,
	max_in_flight int CONSTRAINT tenant_limit_max_in_flight_range CHECK (max_in_flight >= 1),
	rate_limit text,
	CONSTRAINT tenant_limit_rate_limit_exists FOREIGN KEY (rate_limit, tenant) REFERENCES atp_internal.rate_limit (rate_limit, tenant)
);
COMMENT ON TABLE atp_internal.tenant_limit IS 'Limits of what the subscriptions of a tenant deliver together.';
COMMENT ON COLUMN atp_internal.tenant_limit.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.tenant_limit.max_in_flight IS 'How many events may be leased at a time; NULL: any number.';
COMMENT ON COLUMN atp_internal.tenant_limit.rate_limit IS 'The rate limit that every claim takes its tokens of; NULL: none.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tenant_limit', '');
ALTER TABLE atp_internal.tenant_limit ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.tenant_limit FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant_limit_tenant ON atp_internal.tenant_limit USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.make_rate_limit_cell(rate_limit_key bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_limit_make_cell';
COMMENT ON FUNCTION atp_internal.make_rate_limit_cell(bigint) IS 'Make the sequence that holds the bucket of a rate limit.';
REVOKE ALL ON FUNCTION atp_internal.make_rate_limit_cell(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.drop_rate_limit_cell(rate_limit_key bigint) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_limit_drop_cell';
COMMENT ON FUNCTION atp_internal.drop_rate_limit_cell(bigint) IS 'Drop the sequence that holds the bucket of a rate limit.';
REVOKE ALL ON FUNCTION atp_internal.drop_rate_limit_cell(bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.take_tokens(tenant int, rate_limit text, token_count int) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_limit_take_tokens';
COMMENT ON FUNCTION atp_internal.take_tokens(int, text, int) IS 'Take tokens of a rate limit.';
REVOKE ALL ON FUNCTION atp_internal.take_tokens(int, text, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.take_slot(tenant int, bulkhead text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_limit_take_slot';
COMMENT ON FUNCTION atp_internal.take_slot(int, text) IS 'Take a slot of a bulkhead until the transaction ends.';
REVOKE ALL ON FUNCTION atp_internal.take_slot(int, text) FROM PUBLIC;

CREATE FUNCTION atp.create_rate_limit(rate_limit text, rate double precision, burst int DEFAULT NULL, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_rate_limit.tenant);
	made bigint;
BEGIN
	INSERT INTO atp_internal.rate_limit AS r (tenant, rate_limit, rate, burst)
		VALUES (owner_key, rate_limit, rate, coalesce(burst, greatest(1, least(ceil(rate), 1000000))::int))
		ON CONFLICT ON CONSTRAINT rate_limit_pk DO NOTHING
		RETURNING r.rate_limit_key INTO made;
	IF made IS NULL THEN
		RAISE EXCEPTION 'rate limit "%" exists', rate_limit USING ERRCODE = '42710';
	END IF;
	PERFORM atp_internal.make_rate_limit_cell(made);
END $$;
COMMENT ON FUNCTION atp.create_rate_limit(text, double precision, int, text) IS
'Create a rate limit of so many tokens a second.
rate is between 0.001 and 1,000,000; burst, what an idle limit gives at once, between 1 and 1,000,000; NULL: what one second gives, at least 1. tenant NULL means that of the setting atp.tenant.
Raises: 42710 (it exists), 23514 (a value out of its range), 23502 (a NULL), TP202.';
REVOKE ALL ON FUNCTION atp.create_rate_limit(text, double precision, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_rate_limit(text, double precision, int, text) TO atp_admin;

CREATE FUNCTION atp.drop_rate_limit(rate_limit text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(drop_rate_limit.tenant);
	dropped bigint;
BEGIN
	DELETE FROM atp_internal.rate_limit r WHERE r.rate_limit = drop_rate_limit.rate_limit AND r.tenant = owner_key
		RETURNING r.rate_limit_key INTO dropped;
	IF dropped IS NULL THEN
		RAISE EXCEPTION 'rate limit "%" does not exist', rate_limit USING ERRCODE = 'TP364';
	END IF;
	PERFORM atp_internal.drop_rate_limit_cell(dropped);
END $$;
COMMENT ON FUNCTION atp.drop_rate_limit(text, text) IS
'Drop a rate limit.
Raises: TP202, TP364 (no such limit), 23503 (a subscription or its tenant has it).';
REVOKE ALL ON FUNCTION atp.drop_rate_limit(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.drop_rate_limit(text, text) TO atp_admin;

CREATE FUNCTION atp.acquire_tokens(rate_limit text, token_count int DEFAULT 1, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.take_tokens(atp_internal.open_tenant(acquire_tokens.tenant), acquire_tokens.rate_limit, acquire_tokens.token_count);
END;
COMMENT ON FUNCTION atp.acquire_tokens(text, int, text) IS
'Acquire tokens of a rate limit, or be refused.
What was taken stays taken when the transaction rolls back; a refusal takes nothing.
Raises: TP362 (none now; DETAIL gives the milliseconds to wait), TP364 (no such limit), 22023 (more than its burst, or less than 1), 22004, TP202.';
REVOKE ALL ON FUNCTION atp.acquire_tokens(text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.acquire_tokens(text, int, text) TO atp_reader, atp_writer, atp_admin;

CREATE FUNCTION atp.create_bulkhead(bulkhead text, max_in_flight int, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_bulkhead.tenant);
BEGIN
	INSERT INTO atp_internal.bulkhead (tenant, bulkhead, max_in_flight) VALUES (owner_key, bulkhead, max_in_flight)
		ON CONFLICT ON CONSTRAINT bulkhead_pk DO NOTHING;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'bulkhead "%" exists', bulkhead USING ERRCODE = '42710';
	END IF;
END $$;
COMMENT ON FUNCTION atp.create_bulkhead(text, int, text) IS
'Create a bulkhead: at most so many transactions inside at once, 1 to 10,000.
tenant NULL means that of the setting atp.tenant.
Raises: 42710 (it exists), 23514 (out of range), 23502 (a NULL), TP202.';
REVOKE ALL ON FUNCTION atp.create_bulkhead(text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_bulkhead(text, int, text) TO atp_admin;

CREATE FUNCTION atp.drop_bulkhead(bulkhead text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(drop_bulkhead.tenant);
BEGIN
	DELETE FROM atp_internal.bulkhead b WHERE b.bulkhead = drop_bulkhead.bulkhead AND b.tenant = owner_key;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'bulkhead "%" does not exist', bulkhead USING ERRCODE = 'TP364';
	END IF;
END $$;
COMMENT ON FUNCTION atp.drop_bulkhead(text, text) IS
'Drop a bulkhead; who is inside stays inside.
Raises: TP202, TP364 (no such bulkhead).';
REVOKE ALL ON FUNCTION atp.drop_bulkhead(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.drop_bulkhead(text, text) TO atp_admin;

CREATE FUNCTION atp.acquire_slot(bulkhead text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.take_slot(atp_internal.open_tenant(acquire_slot.tenant), acquire_slot.bulkhead);
END;
COMMENT ON FUNCTION atp.acquire_slot(text, text) IS
'Acquire a slot of a bulkhead until the transaction ends, or be refused.
Never waits. The slot goes with the transaction (or the savepoint), however that ends; each call takes another one.
Raises: TP363 (full), TP364 (no such bulkhead), 22004, TP202.';
REVOKE ALL ON FUNCTION atp.acquire_slot(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.acquire_slot(text, text) TO atp_reader, atp_writer, atp_admin;

CREATE FUNCTION atp.set_delivery_limits(max_in_flight int, rate_limit text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(set_delivery_limits.tenant);
BEGIN
	IF rate_limit IS NOT NULL AND NOT EXISTS (SELECT FROM atp_internal.rate_limit r WHERE r.rate_limit = set_delivery_limits.rate_limit AND r.tenant = owner_key) THEN
		RAISE EXCEPTION 'rate limit "%" does not exist', rate_limit USING ERRCODE = 'TP364';
	END IF;
	INSERT INTO atp_internal.tenant_limit AS l (tenant, max_in_flight, rate_limit) VALUES (owner_key, max_in_flight, rate_limit)
		ON CONFLICT ON CONSTRAINT tenant_limit_pk DO UPDATE SET max_in_flight = excluded.max_in_flight, rate_limit = excluded.rate_limit;
END $$;
COMMENT ON FUNCTION atp.set_delivery_limits(int, text, text) IS
'Set what the subscriptions of a tenant may deliver together.
max_in_flight: events leased at a time, over all of them; rate_limit: a rate limit of the tenant, of which every event claimed takes a token. NULL takes a limit away. Claims that would pass a limit give fewer events, or none; atp.subscription_status says so. With max_in_flight the claims of a tenant take turns, until their transactions end. tenant NULL means that of the setting atp.tenant.
Raises: TP202, TP364 (no such rate limit), 23514 (out of range).';
REVOKE ALL ON FUNCTION atp.set_delivery_limits(int, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.set_delivery_limits(int, text, text) TO atp_admin;

CREATE FUNCTION atp.get_delivery_limits(tenant text DEFAULT NULL, OUT max_in_flight int, OUT rate_limit text)
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	owner_key int := atp_internal.open_tenant(get_delivery_limits.tenant);
BEGIN
	SELECT l.max_in_flight, l.rate_limit INTO max_in_flight, rate_limit FROM atp_internal.tenant_limit l WHERE l.tenant = owner_key;
END $$;
COMMENT ON FUNCTION atp.get_delivery_limits(text) IS
'Return what the subscriptions of a tenant may deliver together.
NULL where nothing is limited.
Raises: TP202.';
REVOKE ALL ON FUNCTION atp.get_delivery_limits(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_delivery_limits(text) TO atp_reader, atp_auditor, atp_admin;

-- ==== src/delivery/subscription.sql ====
-- Subscriptions: what each wants and how it is served. Where each stands is in subscription_cursor.
CREATE TABLE atp_internal.subscription (
	subscription int GENERATED BY DEFAULT AS IDENTITY,
	tenant int NOT NULL,
	name text NOT NULL,
	state text NOT NULL DEFAULT 'active' CONSTRAINT subscription_state_known CHECK (state IN ('active', 'paused')),
	event_types text[],
	categories text[],
	streams text[],
	filter text,
	correlation jsonb,
	order_key text NOT NULL,
	ordering text NOT NULL CONSTRAINT subscription_ordering_known CHECK (ordering IN ('key', 'none')),
	partitions int NOT NULL CONSTRAINT subscription_partitions_fit CHECK (partitions BETWEEN 1 AND 64),
	next_partitions int CONSTRAINT subscription_next_partitions_fit CHECK (next_partitions BETWEEN 1 AND 64),
	next_order_key text,
	drain_to bigint,
	lock_duration interval NOT NULL,
	max_attempts int NOT NULL,
	backoff jsonb NOT NULL,
	time_to_live interval,
	max_in_flight int,
	notify boolean NOT NULL,
	breaker text,
	rate_limit text,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	changed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT subscription_pk PRIMARY KEY (subscription, tenant),
	CONSTRAINT subscription_name_unique UNIQUE (name, tenant),
	CONSTRAINT subscription_breaker_exists FOREIGN KEY (breaker, tenant) REFERENCES atp_internal.breaker (breaker, tenant),
	CONSTRAINT subscription_rate_limit_exists FOREIGN KEY (rate_limit, tenant) REFERENCES atp_internal.rate_limit (rate_limit, tenant)
);
COMMENT ON TABLE atp_internal.subscription IS 'Subscriptions. Every change tells every backend that its cache is stale.';
COMMENT ON COLUMN atp_internal.subscription.subscription IS 'Surrogate key, used inside only.';
COMMENT ON COLUMN atp_internal.subscription.tenant IS 'Surrogate key of the tenant whose events are wanted.';
COMMENT ON COLUMN atp_internal.subscription.name IS 'Name, unique within the tenant.';
COMMENT ON COLUMN atp_internal.subscription.state IS 'active or paused.';
COMMENT ON COLUMN atp_internal.subscription.event_types IS 'Names of event types, * for any characters; NULL: any.';
COMMENT ON COLUMN atp_internal.subscription.categories IS 'Categories of streams, * for any characters; NULL: any.';
COMMENT ON COLUMN atp_internal.subscription.streams IS 'Names of streams, * for any characters; NULL: any.';
COMMENT ON COLUMN atp_internal.subscription.filter IS 'A jsonpath over the CloudEvents form, or a CloudEvents filter; NULL: none.';
COMMENT ON COLUMN atp_internal.subscription.correlation IS 'Values that members of envelope and metadata have to have; NULL: none.';
COMMENT ON COLUMN atp_internal.subscription.order_key IS 'stream, none, or metadata. and the name of a member.';
COMMENT ON COLUMN atp_internal.subscription.ordering IS 'key: events of a key wait behind a failed one; none: they pass it.';
COMMENT ON COLUMN atp_internal.subscription.partitions IS 'Into how many partitions the order key is cut.';
COMMENT ON COLUMN atp_internal.subscription.next_partitions IS 'How many there will be once all cursors stand at drain_to; NULL: no change is under way.';
COMMENT ON COLUMN atp_internal.subscription.next_order_key IS 'The order key from then on; NULL: the same.';
COMMENT ON COLUMN atp_internal.subscription.drain_to IS 'Log position at which the number of partitions, or the order key, changes.';
COMMENT ON COLUMN atp_internal.subscription.lock_duration IS 'For how long a lease is valid.';
COMMENT ON COLUMN atp_internal.subscription.max_attempts IS 'After how many attempts an event becomes a dead letter.';
COMMENT ON COLUMN atp_internal.subscription.backoff IS 'Delay between attempts: {initial, maximum, factor, jitter}.';
COMMENT ON COLUMN atp_internal.subscription.time_to_live IS 'An event recorded longer ago becomes a dead letter; NULL: never.';
COMMENT ON COLUMN atp_internal.subscription.max_in_flight IS 'How many events may be leased at a time; NULL: any number.';
COMMENT ON COLUMN atp_internal.subscription.notify IS 'Whether new events are announced by NOTIFY.';
COMMENT ON COLUMN atp_internal.subscription.breaker IS 'The circuit breaker that claims ask and that acks and nacks report to; NULL: none.';
COMMENT ON COLUMN atp_internal.subscription.rate_limit IS 'The rate limit that claims take their tokens of; NULL: none.';
COMMENT ON COLUMN atp_internal.subscription.created_at IS 'When it was made.';
COMMENT ON COLUMN atp_internal.subscription.changed_at IS 'When it was last changed.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.subscription', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.subscription_subscription_seq', '');
ALTER TABLE atp_internal.subscription ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.subscription FORCE ROW LEVEL SECURITY;
CREATE POLICY subscription_tenant ON atp_internal.subscription USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.subscription_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_subscription_changed';
COMMENT ON FUNCTION atp_internal.subscription_changed() IS 'Tell every backend that its cache of subscriptions is stale.';
REVOKE ALL ON FUNCTION atp_internal.subscription_changed() FROM PUBLIC;
CREATE TRIGGER subscription_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.subscription
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.subscription_changed();
ALTER TABLE atp_internal.subscription ENABLE ALWAYS TRIGGER subscription_changed;
-- What is cached of a subscription holds the limits of its tenant.
CREATE TRIGGER subscription_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.tenant_limit
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.subscription_changed();
ALTER TABLE atp_internal.tenant_limit ENABLE ALWAYS TRIGGER subscription_changed;

CREATE FUNCTION atp_internal.check_subscription(event_types text[], categories text[], streams text[], filter text, correlation jsonb,
		order_key text, backoff jsonb) RETURNS void
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_subscription_check';
COMMENT ON FUNCTION atp_internal.check_subscription(text[], text[], text[], text, jsonb, text, jsonb) IS
'Refuse rules, an order key or a backoff that a subscription cannot have.
Raises: TP301 (a rule does not parse), TP306 (order key or backoff).';
REVOKE ALL ON FUNCTION atp_internal.check_subscription(text[], text[], text[], text, jsonb, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.compute_backoff(policy jsonb, attempt int) RETURNS interval
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_subscription_compute_backoff';
COMMENT ON FUNCTION atp.compute_backoff(jsonb, int) IS
'Compute the delay after a failed attempt, as subscriptions do.
policy: {initial, maximum, factor, jitter}; NULL, or a member left out: the default. The first attempt is 1. With jitter the answer is random.
Raises: TP306 (policy), 22023 (attempt less than 1), 22004 (attempt NULL).';
REVOKE ALL ON FUNCTION atp.compute_backoff(jsonb, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.compute_backoff(jsonb, int) TO atp_reader, atp_writer, atp_admin;

-- ==== src/delivery/cursor.sql ====
-- Cursors of subscriptions. No index holds a changing column but generation, which changes every 32nd write; pages keep room, so
-- that a write is HOT. See src/delivery/cursor.h for the lock and the versions.
CREATE TABLE atp_internal.subscription_cursor (
	tenant int NOT NULL,
	subscription int NOT NULL,
	partition int NOT NULL,
	writes int NOT NULL,
	generation bigint NOT NULL,
	acked bigint NOT NULL,
	scanned bigint NOT NULL,
	leased_at timestamptz NOT NULL,
	lease_until timestamptz NOT NULL,
	lease_last bigint NOT NULL,
	retry_changes bigint NOT NULL,
	retry_due_at timestamptz NOT NULL,
	lease_count int NOT NULL,
	retries int NOT NULL,
	lease uuid,
	consumer text,
	settled bigint[],
	runs bigint[],
	held bigint[],
	CONSTRAINT subscription_cursor_pk PRIMARY KEY (subscription, partition, generation, tenant)
) WITH (fillfactor = 15, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
	autovacuum_analyze_threshold = 2000000000, toast.autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE atp_internal.subscription_cursor IS 'Where each partition of each subscription stands, and its lease.';
COMMENT ON COLUMN atp_internal.subscription_cursor.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.subscription_cursor.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.subscription_cursor.partition IS 'Number of the partition, from 0.';
COMMENT ON COLUMN atp_internal.subscription_cursor.writes IS 'Writes of the row since its generation began.';
COMMENT ON COLUMN atp_internal.subscription_cursor.generation IS 'Grows every 32nd write, so that a look-up finds the row at the end of the index.';
COMMENT ON COLUMN atp_internal.subscription_cursor.acked IS 'Log position up to which every event of the partition is done with or a retry row.';
COMMENT ON COLUMN atp_internal.subscription_cursor.scanned IS 'Log position up to which the lease''s claim looked.';
COMMENT ON COLUMN atp_internal.subscription_cursor.leased_at IS 'When the lease was given; -infinity: there is none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease_until IS 'When the lease expires; -infinity: there is none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease_last IS 'Log position of the last event in the lease.';
COMMENT ON COLUMN atp_internal.subscription_cursor.retry_changes IS 'Grows with every change of the partition''s retry rows.';
COMMENT ON COLUMN atp_internal.subscription_cursor.retry_due_at IS 'When the next retry row can be claimed; infinity: none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease_count IS 'Events in the lease that are not settled.';
COMMENT ON COLUMN atp_internal.subscription_cursor.retries IS 'Number of the partition''s retry rows.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease IS 'Token of the lease; NULL: there is none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.consumer IS 'Who has the lease, in its own word.';
COMMENT ON COLUMN atp_internal.subscription_cursor.settled IS 'Positions after acked that are done with already; NULL: none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.runs IS 'Pairs (position, attempts): how often events after acked were leased before; NULL: never.';
COMMENT ON COLUMN atp_internal.subscription_cursor.held IS 'Positions after acked that earlier rules took, noted when the rules were changed under a lease; NULL: the rules say.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.subscription_cursor', '');
ALTER TABLE atp_internal.subscription_cursor ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.subscription_cursor FORCE ROW LEVEL SECURITY;
CREATE POLICY subscription_cursor_tenant ON atp_internal.subscription_cursor USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.lock_cursors(subscription int, partitions int) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'atp_cursor_lock_all';
COMMENT ON FUNCTION atp_internal.lock_cursors(int, int) IS
'Lock the partitions of a subscription, from 0 up, to the end of the transaction.
Waits for transactions that claim or ack. Read the cursors in a later statement.';
REVOKE ALL ON FUNCTION atp_internal.lock_cursors(int, int) FROM PUBLIC;

-- ==== src/delivery/retry.sql ====
-- Failures of delivery: events that are due again, and events given up.
CREATE TABLE atp_internal.retry (
	tenant int NOT NULL,
	subscription int NOT NULL,
	partition int NOT NULL,
	attempts int NOT NULL,
	log_position bigint NOT NULL,
	event_id uuid NOT NULL,
	key bigint NOT NULL,
	due_at timestamptz NOT NULL,
	deferred boolean NOT NULL,
	alone boolean NOT NULL,
	lease uuid,
	lease_until timestamptz,
	failed_at timestamptz,
	redelivery_of bigint,
	consumer text,
	last_error text,
	CONSTRAINT retry_pk PRIMARY KEY (subscription, partition, log_position, tenant)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE atp_internal.retry IS 'Events that failed, wait behind one that failed, were deferred, or are dead letters delivered anew.';
COMMENT ON COLUMN atp_internal.retry.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.retry.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.retry.partition IS 'The partition of the event''s order key.';
COMMENT ON COLUMN atp_internal.retry.attempts IS 'How often it was leased.';
COMMENT ON COLUMN atp_internal.retry.log_position IS 'Position of the event in the log.';
COMMENT ON COLUMN atp_internal.retry.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.retry.key IS 'Hash of its order key.';
COMMENT ON COLUMN atp_internal.retry.due_at IS 'From when on it can be claimed; infinity: only when asked for.';
COMMENT ON COLUMN atp_internal.retry.deferred IS 'Set aside by its consumer: holds up nobody.';
COMMENT ON COLUMN atp_internal.retry.alone IS 'Its last lease expired: it is leased alone.';
COMMENT ON COLUMN atp_internal.retry.lease IS 'Token of its lease; NULL: none.';
COMMENT ON COLUMN atp_internal.retry.lease_until IS 'When its lease expires.';
COMMENT ON COLUMN atp_internal.retry.failed_at IS 'When it first failed; NULL: not yet.';
COMMENT ON COLUMN atp_internal.retry.redelivery_of IS 'The dead letter it is a replay of.';
COMMENT ON COLUMN atp_internal.retry.consumer IS 'Who leased it last.';
COMMENT ON COLUMN atp_internal.retry.last_error IS 'Why it failed last.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.retry', '');
ALTER TABLE atp_internal.retry ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.retry FORCE ROW LEVEL SECURITY;
CREATE POLICY retry_tenant ON atp_internal.retry USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.dead_letter (
	dead_letter bigint GENERATED BY DEFAULT AS IDENTITY,
	tenant int NOT NULL,
	subscription int NOT NULL,
	log_position bigint NOT NULL,
	event_id uuid NOT NULL,
	attempts int NOT NULL,
	reason text NOT NULL,
	last_error text,
	consumer text,
	failed_at timestamptz NOT NULL,
	dead_at timestamptz NOT NULL,
	redelivery_of bigint,
	CONSTRAINT dead_letter_pk PRIMARY KEY (subscription, dead_letter, tenant)
);
COMMENT ON TABLE atp_internal.dead_letter IS 'Events that a subscription gave up. Insert-only, but for purging.';
COMMENT ON COLUMN atp_internal.dead_letter.dead_letter IS 'Number of the dead letter.';
COMMENT ON COLUMN atp_internal.dead_letter.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.dead_letter.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.dead_letter.log_position IS 'Position of the event in the log.';
COMMENT ON COLUMN atp_internal.dead_letter.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.dead_letter.attempts IS 'How often it was leased.';
COMMENT ON COLUMN atp_internal.dead_letter.reason IS 'MaxAttemptsExceeded, TimeToLiveExpired, PermanentFailure or FilterError.';
COMMENT ON COLUMN atp_internal.dead_letter.last_error IS 'What the consumer or the filter said last.';
COMMENT ON COLUMN atp_internal.dead_letter.consumer IS 'Who leased it last.';
COMMENT ON COLUMN atp_internal.dead_letter.failed_at IS 'When it first failed.';
COMMENT ON COLUMN atp_internal.dead_letter.dead_at IS 'When it was given up.';
COMMENT ON COLUMN atp_internal.dead_letter.redelivery_of IS 'The dead letter it was a replay of.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.dead_letter_dead_letter_seq', '');
ALTER TABLE atp_internal.dead_letter ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.dead_letter FORCE ROW LEVEL SECURITY;
CREATE POLICY dead_letter_tenant ON atp_internal.dead_letter USING (atp_internal.tenant_is_visible(tenant));

-- ==== src/delivery/admission.sql ====
-- What holds the claims of a subscription back.
CREATE FUNCTION atp_internal.claim_obstacle(subscription text, tenant text, OUT obstacle text, OUT retry_after interval)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_admission_obstacle';
COMMENT ON FUNCTION atp_internal.claim_obstacle(text, text) IS
'Say which breaker or limit keeps a claim from giving events now.
NULLs where none does. retry_after is NULL where it is not known: a breaker isolated by hand, events in flight.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.claim_obstacle(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.claim_obstacle(text, text) TO atp_reader, atp_auditor, atp_admin;

-- ==== src/delivery/lease.sql ====
-- What can be done to a lease.
CREATE FUNCTION atp.ack_events(subscription text, lease uuid, through_position bigint DEFAULT NULL, tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_ack_events';
COMMENT ON FUNCTION atp.ack_events(text, uuid, bigint, text) IS
'Ack the events of a lease up to a log position and return how many they were.
through_position NULL acks all of them and ends the lease; otherwise later events stay leased.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), TP303 (the position lies beyond it), 22004.';
REVOKE ALL ON FUNCTION atp.ack_events(text, uuid, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.ack_events(text, uuid, bigint, text) TO atp_reader, atp_admin;

CREATE TYPE atp.given_back AS (
	outcome text,
	attempts int,
	due_at timestamptz,
	withdrawn uuid[]
);
COMMENT ON TYPE atp.given_back IS 'What became of an event that its consumer gave back.';
COMMENT ON COLUMN atp.given_back.outcome IS 'retry, dead letter or deferred.';
COMMENT ON COLUMN atp.given_back.attempts IS 'How often the event was attempted.';
COMMENT ON COLUMN atp.given_back.due_at IS 'From when on it can be claimed again; NULL for a dead letter and for one deferred without a time.';
COMMENT ON COLUMN atp.given_back.withdrawn IS 'Later events of its key in the same lease, which wait behind it now: do not handle them.';

CREATE FUNCTION atp.nack_event(subscription text, lease uuid, event_id uuid, reason text DEFAULT NULL, permanent boolean DEFAULT false,
		tenant text DEFAULT NULL) RETURNS atp.given_back
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_nack_event';
COMMENT ON FUNCTION atp.nack_event(text, uuid, uuid, text, boolean, text) IS
'Say that an event of a lease failed.
It is due after the subscription''s backoff; a permanent failure, or the last of max_attempts, makes it a dead letter. The rest of the lease stays, except, with ordering by key, for later events of its key: they wait behind it, without an attempt counted. reason is kept (4096 bytes).
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), TP304 (the event is not in it), 22004.';
REVOKE ALL ON FUNCTION atp.nack_event(text, uuid, uuid, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.nack_event(text, uuid, uuid, text, boolean, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp.defer_event(subscription text, lease uuid, event_id uuid, until timestamptz DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS atp.given_back
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_defer_event';
COMMENT ON FUNCTION atp.defer_event(text, uuid, uuid, timestamptz, text) IS
'Set an event of a lease aside, without an attempt counted.
It can be claimed from until on, and at any time by claim_deferred_events; until NULL: only so. A deferred event holds up no other of its key.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), TP304 (the event is not in it), 22004.';
REVOKE ALL ON FUNCTION atp.defer_event(text, uuid, uuid, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.defer_event(text, uuid, uuid, timestamptz, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp.renew_lease(subscription text, lease uuid, lock_duration interval DEFAULT NULL, tenant text DEFAULT NULL) RETURNS timestamptz
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_renew';
COMMENT ON FUNCTION atp.renew_lease(text, uuid, interval, text) IS
'Make a lease valid for a further time from now, and return until when.
lock_duration NULL means the subscription''s.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), 22023 (lock_duration), 22004.';
REVOKE ALL ON FUNCTION atp.renew_lease(text, uuid, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.renew_lease(text, uuid, interval, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp_internal.hold_leases(subscription text, tenant text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_hold';
COMMENT ON FUNCTION atp_internal.hold_leases(text, text) IS
'Write down what a subscription''s leases hold: its rules are about to change.
Waits for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.hold_leases(text, text) FROM PUBLIC;

CREATE FUNCTION atp.release_lease(subscription text, lease uuid, tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_release';
COMMENT ON FUNCTION atp.release_lease(text, uuid, text) IS
'Give back what is left of a lease, without an attempt; return how many it is.
They can be claimed again at once. For a consumer that leaves, or that finds its endpoint gone. Tokens of rate limits are given back, too.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), 22004.';
REVOKE ALL ON FUNCTION atp.release_lease(text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.release_lease(text, uuid, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp_internal.lease_is_held(subscription int, tenant int, lease uuid) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT EXISTS (SELECT FROM atp_internal.subscription_cursor c WHERE c.subscription = lease_is_held.subscription
			AND c.tenant = lease_is_held.tenant AND c.lease = lease_is_held.lease AND c.lease_until > clock_timestamp())
		OR EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = lease_is_held.subscription
			AND r.tenant = lease_is_held.tenant AND r.lease = lease_is_held.lease AND r.lease_until > clock_timestamp());
END;
COMMENT ON FUNCTION atp_internal.lease_is_held(int, int, uuid) IS 'Say whether a lease holds anything, and is not over.';
REVOKE ALL ON FUNCTION atp_internal.lease_is_held(int, int, uuid) FROM PUBLIC;

CREATE FUNCTION atp_internal.place_event(subscription text, tenant text, event_id uuid, OUT key bigint, OUT partition int)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_place_event';
COMMENT ON FUNCTION atp_internal.place_event(text, text, uuid) IS
'Return the hash of an event''s order key and the partition that it is in.
NULLs where the event is not stored any more.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.place_event(text, text, uuid) FROM PUBLIC;

-- ==== src/delivery/claim.sql ====
-- Claims and leases: what consumers call. The work is done in lease.c and claim.c.
-- Cursors are made here, because a claim may find that the number of partitions can change.
CREATE FUNCTION atp_internal.make_cursors(subscription int, tenant int, partitions int, start_position bigint, generation bigint) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.subscription_cursor (tenant, subscription, partition, writes, generation, acked, scanned, leased_at, lease_until,
			lease_last, retry_changes, retry_due_at, lease_count, retries)
		SELECT make_cursors.tenant, make_cursors.subscription, p, 0, make_cursors.generation, start_position, start_position, '-infinity', '-infinity',
			start_position, 0, coalesce(min(r.due_at), 'infinity'), 0, count(r.log_position)
		FROM generate_series(0, make_cursors.partitions - 1) p
			LEFT JOIN atp_internal.retry r ON r.subscription = make_cursors.subscription AND r.tenant = make_cursors.tenant AND r.partition = p
		GROUP BY p;
END;
COMMENT ON FUNCTION atp_internal.make_cursors(int, int, int, bigint, bigint) IS
'Insert the cursors of a subscription, all behind one log position.
They know of the retry rows that are there.';
REVOKE ALL ON FUNCTION atp_internal.make_cursors(int, int, int, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.finish_partitioning(subscription int) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	s atp_internal.subscription;
	next_generation bigint;
BEGIN
	SELECT x.* INTO s FROM atp_internal.subscription x WHERE x.subscription = finish_partitioning.subscription
		FOR UPDATE SKIP LOCKED;	-- a claim that gets here has locks that whoever has the row may be waiting for
	IF s.next_partitions IS NULL THEN
		RETURN false;
	END IF;
	PERFORM atp_internal.lock_cursors(s.subscription, greatest(s.partitions, s.next_partitions));
	IF EXISTS (SELECT FROM atp_internal.subscription_cursor c WHERE c.subscription = s.subscription AND c.tenant = s.tenant
			AND (c.acked < s.drain_to OR c.lease IS NOT NULL))
		OR EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant AND r.lease IS NOT NULL) THEN
		RETURN false;
	END IF;
	SELECT max(c.generation) + 1 INTO next_generation FROM atp_internal.subscription_cursor c WHERE c.subscription = s.subscription AND c.tenant = s.tenant;
	DELETE FROM atp_internal.subscription_cursor c WHERE c.subscription = s.subscription AND c.tenant = s.tenant;
	UPDATE atp_internal.subscription x SET partitions = s.next_partitions, next_partitions = NULL, drain_to = NULL,
			order_key = coalesce(s.next_order_key, s.order_key), next_order_key = NULL, changed_at = clock_timestamp()
		WHERE x.subscription = s.subscription AND x.tenant = s.tenant;
	IF s.next_order_key IS NOT NULL THEN
		UPDATE atp_internal.retry r SET key = coalesce(p.key, r.key), partition = coalesce(p.partition, 0)
			FROM atp_internal.retry o JOIN atp_internal.tenant t ON t.tenant = o.tenant, LATERAL atp_internal.place_event(s.name, t.name, o.event_id) p
			WHERE r.subscription = s.subscription AND r.tenant = s.tenant AND o.subscription = s.subscription AND o.tenant = s.tenant
				AND o.partition = r.partition AND o.log_position = r.log_position;
	ELSE
		-- The key's hash is unsigned there; positions are cut into stripes where there is no key.
		UPDATE atp_internal.retry r SET partition = CASE WHEN s.order_key = 'none' THEN r.log_position / 64 % s.next_partitions
				ELSE ((r.key::numeric + CASE WHEN r.key < 0 THEN 18446744073709551616 ELSE 0 END) % s.next_partitions) END
			WHERE r.subscription = s.subscription AND r.tenant = s.tenant;
	END IF;
	PERFORM atp_internal.make_cursors(s.subscription, s.tenant, s.next_partitions, s.drain_to, next_generation);
	RETURN true;
END $$;
COMMENT ON FUNCTION atp_internal.finish_partitioning(int) IS
'Change a subscription''s number of partitions and order key if that is due.
It is when a change was asked for and all of them have reached the position for it. Returns whether it did. Waits for transactions that claim or ack.';
REVOKE ALL ON FUNCTION atp_internal.finish_partitioning(int) FROM PUBLIC;

CREATE FUNCTION atp.claim_events(
	subscription text,
	max_count int DEFAULT 100,
	consumer text DEFAULT NULL,
	ack_lease uuid DEFAULT NULL,
	ack_through bigint DEFAULT NULL,
	tenant text DEFAULT NULL,
	accept_versions jsonb DEFAULT NULL,
	OUT lease uuid,
	OUT attempt int,
	OUT redelivered boolean,
	OUT log_position bigint,
	OUT event_id uuid,
	OUT stream text,
	OUT stream_version bigint,
	OUT event_type text,
	OUT payload json,
	OUT metadata json,
	OUT occurred_at timestamptz,
	OUT schema_version int,
	OUT redelivery_of bigint
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'atp_claim_events';
COMMENT ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text, jsonb) IS
'Lease the next events of a subscription and return them in log order.
Leases one free partition, and further ones only while there is room in max_count; all events of one call share one lease. Events that are due again come before new ones. Nothing free or nothing new: no rows; so it is while the subscription is paused, the tenant suspended, a breaker open or a limit reached (atp.subscription_status says which). attempt counts this delivery; a claim that is rolled back takes its attempts back. ack_lease acks that lease first (up to ack_through; NULL: all of it), in the same write. consumer is a name for status views (255 bytes). Claim, effect and ack in one transaction is exactly-once for effects in this database. A payload that was erased is NULL.
accept_versions negotiates as in atp.read_stream: an event of another version comes in the highest accepted one, as schema_version says. An event that an upcaster fails on counts as tried in vain: it is tried again, with the backoff, and is a dead letter in the end.
Raises: TP202, TP300 (no such subscription), TP302 (ack_lease is stale), TP303 (ack_through lies beyond it), 22023 (max_count, malformed accept_versions), TP228 (no accepted version can be had; nothing is leased).';
REVOKE ALL ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text, jsonb) TO atp_reader, atp_admin;

CREATE FUNCTION atp.claim_deferred_events(
	subscription text,
	log_positions bigint[],
	consumer text DEFAULT NULL,
	tenant text DEFAULT NULL,
	accept_versions jsonb DEFAULT NULL,
	OUT lease uuid,
	OUT attempt int,
	OUT redelivered boolean,
	OUT log_position bigint,
	OUT event_id uuid,
	OUT stream text,
	OUT stream_version bigint,
	OUT event_type text,
	OUT payload json,
	OUT metadata json,
	OUT occurred_at timestamptz,
	OUT schema_version int,
	OUT redelivery_of bigint
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'atp_claim_deferred_events';
COMMENT ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text, jsonb) IS
'Lease deferred events by their log positions, whether they are due or not.
Returns those of one partition, in log order; call again for the rest. Positions that are not deferred are ignored.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text, jsonb) TO atp_reader, atp_admin;

-- ==== src/delivery/wait.sql ====
-- Waiting for events.
CREATE FUNCTION atp.wait_for_events(subscription text, timeout interval DEFAULT '30 seconds', tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_wait_for_events';
COMMENT ON FUNCTION atp.wait_for_events(text, interval, text) IS
'Wait until a claim would find events, at most for a time.
Returns false when the time is over. Another consumer may be faster. The transaction''s snapshot stays open meanwhile: call it in a transaction of its own.
Raises: TP202, TP300 (no such subscription), 22023 (timeout).';
REVOKE ALL ON FUNCTION atp.wait_for_events(text, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.wait_for_events(text, interval, text) TO atp_reader, atp_admin;

-- ==== src/delivery/manage.sql ====
-- Making, changing, moving and removing subscriptions. Options may change at any time; whoever moves a cursor locks it first.
CREATE FUNCTION atp_internal.subscription_key(subscription text, tenant text) RETURNS int
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(subscription_key.tenant);
	found_key int;
BEGIN
	SELECT s.subscription INTO found_key FROM atp_internal.subscription s WHERE s.name = subscription_key.subscription AND s.tenant = opened;
	IF found_key IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'TP300', MESSAGE = format('subscription "%s" does not exist', subscription_key.subscription),
			HINT = 'Make it with atp.create_subscription; atp.list_subscriptions() shows those of the tenant.';
	END IF;
	RETURN found_key;
END $$;
COMMENT ON FUNCTION atp_internal.subscription_key(text, text) IS
'Return the surrogate key of a subscription.
Raises: TP202 (no such tenant), TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.subscription_key(text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.refuse_subscription(detail text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'TP306', MESSAGE = 'invalid option of a subscription', DETAIL = detail;
END $$;
COMMENT ON FUNCTION atp_internal.refuse_subscription(text) IS
'Raise that an option of a subscription is not allowed.
Raises: TP306.';
REVOKE ALL ON FUNCTION atp_internal.refuse_subscription(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_options(partitions int, lock_duration interval, max_attempts int, ordering text,
		time_to_live interval, max_in_flight int) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF partitions IS NULL OR partitions NOT BETWEEN 1 AND 64 THEN
		PERFORM atp_internal.refuse_subscription('partitions is not between 1 and 64.');
	ELSIF lock_duration IS NULL OR lock_duration <= interval '0' OR lock_duration > interval '1 day' THEN
		PERFORM atp_internal.refuse_subscription('lock_duration is not between 0 and a day.');
	ELSIF max_attempts IS NULL OR max_attempts NOT BETWEEN 1 AND 1000 THEN
		PERFORM atp_internal.refuse_subscription('max_attempts is not between 1 and 1000.');
	ELSIF ordering IS NULL OR ordering NOT IN ('key', 'none') THEN
		PERFORM atp_internal.refuse_subscription('ordering is neither key nor none.');
	ELSIF time_to_live <= interval '0' OR time_to_live > interval '1000 years' THEN
		PERFORM atp_internal.refuse_subscription('time_to_live is not between 0 and 1000 years.');
	ELSIF max_in_flight < 1 THEN
		PERFORM atp_internal.refuse_subscription('max_in_flight is less than 1.');
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_options(int, interval, int, text, interval, int) IS
'Refuse options that a subscription cannot have.
Raises: TP306.';
REVOKE ALL ON FUNCTION atp_internal.require_options(int, interval, int, text, interval, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_guards(tenant int, breaker text, rate_limit text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
	IF require_guards.breaker IS NOT NULL AND NOT EXISTS (SELECT FROM atp_internal.breaker b
			WHERE b.breaker = require_guards.breaker AND b.tenant = require_guards.tenant) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP360', MESSAGE = format('circuit breaker "%s" does not exist', require_guards.breaker),
			HINT = 'Make it with atp.create_breaker.';
	ELSIF require_guards.rate_limit IS NOT NULL AND NOT EXISTS (SELECT FROM atp_internal.rate_limit r
			WHERE r.rate_limit = require_guards.rate_limit AND r.tenant = require_guards.tenant) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP364', MESSAGE = format('rate limit "%s" does not exist', require_guards.rate_limit),
			HINT = 'Make it with atp.create_rate_limit.';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_guards(int, text, text) IS
'Refuse a breaker or a rate limit that the tenant does not have.
Raises: TP360, TP364.';
REVOKE ALL ON FUNCTION atp_internal.require_guards(int, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_stored_types(event_types text[]) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	rendered text;
BEGIN
	SELECT t INTO rendered FROM unnest(atp_internal.rendered_event_types()) t WHERE t = ANY (require_stored_types.event_types);
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP301', MESSAGE = 'invalid filter', DETAIL = format('%s is rendered from the log, not stored in it.', rendered),
			HINT = 'Subscribe to the events that it follows from; atp.read_platform_events renders it.';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_stored_types(text[]) IS
'Refuse an event type that is never in the log.
Raises: TP301.';
REVOKE ALL ON FUNCTION atp_internal.require_stored_types(text[]) FROM PUBLIC;

-- Placed events are numbered without gaps and in time, so a time is found by halving.
CREATE FUNCTION atp_internal.position_before(at timestamptz) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	low bigint := 0;
	high bigint;
	middle bigint;
	placed timestamptz;
	placed_position bigint;
BEGIN
	SELECT coalesce(max(l.log_position), 0) INTO high FROM atp_internal.log l;
	WHILE low < high LOOP
		middle := (low + high) / 2 + 1;
		SELECT l.log_position, l.published_at INTO placed_position, placed FROM atp_internal.log l
			WHERE l.log_position >= middle ORDER BY l.log_position LIMIT 1;
		IF placed < at THEN
			low := greatest(middle, placed_position);
		ELSE
			high := middle - 1;
		END IF;
	END LOOP;
	RETURN low;
END $$;
COMMENT ON FUNCTION atp_internal.position_before(timestamptz) IS
'Return the last log position placed before a time; 0 where there is none.';
REVOKE ALL ON FUNCTION atp_internal.position_before(timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.read_start(start_at text) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	head bigint;
BEGIN
	IF start_at IS NULL OR start_at = 'beginning' THEN
		RETURN 0;
	END IF;
	SELECT coalesce(max(l.log_position), 0) INTO head FROM atp_internal.log l;
	IF start_at = 'end' THEN
		RETURN head;
	ELSIF start_at ~ '^[0-9]{1,18}$' THEN
		RETURN least(start_at::bigint, head);
	END IF;
	RETURN atp_internal.position_before(start_at::timestamptz);
EXCEPTION WHEN data_exception THEN
	PERFORM atp_internal.refuse_subscription(format('"%s" is neither beginning nor end, nor a log position or a time.', start_at));
END $$;
COMMENT ON FUNCTION atp_internal.read_start(text) IS
'Return the log position that a subscription starts behind.
start_at is beginning, end, a position, or a time. Raises: TP306 (none of these).';
REVOKE ALL ON FUNCTION atp_internal.read_start(text) FROM PUBLIC;

CREATE FUNCTION atp.create_subscription(
	subscription text,
	event_types text[] DEFAULT NULL,
	categories text[] DEFAULT NULL,
	streams text[] DEFAULT NULL,
	filter text DEFAULT NULL,
	correlation jsonb DEFAULT NULL,
	order_key text DEFAULT 'stream',
	ordering text DEFAULT 'key',
	partitions int DEFAULT 8,
	start_at text DEFAULT 'beginning',
	lock_duration interval DEFAULT '30 seconds',
	max_attempts int DEFAULT 3,
	backoff jsonb DEFAULT '{"initial": 1, "maximum": 300, "factor": 2, "jitter": "full"}',
	time_to_live interval DEFAULT NULL,
	max_in_flight int DEFAULT NULL,
	notify boolean DEFAULT false,
	tenant text DEFAULT NULL,
	breaker text DEFAULT NULL,
	rate_limit text DEFAULT NULL
) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(create_subscription.tenant);
	start_position bigint := atp_internal.read_start(create_subscription.start_at);
	made int;
BEGIN
	IF create_subscription.subscription IS NULL OR create_subscription.subscription !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,57}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP201', MESSAGE = format('invalid subscription name "%s"', create_subscription.subscription),
			HINT = 'A subscription name has 1 to 58 letters, digits, dots, colons, underscores and hyphens, and begins with a letter or digit.';
	END IF;
	PERFORM atp_internal.require_options(create_subscription.partitions, create_subscription.lock_duration, create_subscription.max_attempts,
		create_subscription.ordering, create_subscription.time_to_live, create_subscription.max_in_flight);
	PERFORM atp_internal.check_subscription(create_subscription.event_types, create_subscription.categories, create_subscription.streams,
		create_subscription.filter, create_subscription.correlation, create_subscription.order_key, create_subscription.backoff);
	PERFORM atp_internal.require_stored_types(create_subscription.event_types);
	PERFORM atp_internal.require_guards(opened, create_subscription.breaker, create_subscription.rate_limit);
	INSERT INTO atp_internal.subscription AS s (tenant, name, event_types, categories, streams, filter, correlation, order_key, ordering,
			partitions, lock_duration, max_attempts, backoff, time_to_live, max_in_flight, notify, breaker, rate_limit)
		VALUES (opened, create_subscription.subscription, create_subscription.event_types, create_subscription.categories,
			create_subscription.streams, create_subscription.filter, create_subscription.correlation, create_subscription.order_key,
			create_subscription.ordering, create_subscription.partitions, create_subscription.lock_duration, create_subscription.max_attempts,
			coalesce(create_subscription.backoff, '{}'), create_subscription.time_to_live, create_subscription.max_in_flight,
			coalesce(create_subscription.notify, false), create_subscription.breaker, create_subscription.rate_limit)
		ON CONFLICT (name, tenant) DO NOTHING RETURNING s.subscription INTO made;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP305', MESSAGE = format('subscription "%s" exists', create_subscription.subscription);
	END IF;
	PERFORM atp_internal.make_cursors(made, opened, create_subscription.partitions, start_position, 0);
	RETURN start_position;
END $$;
COMMENT ON FUNCTION atp.create_subscription(text, text[], text[], text[], text, jsonb, text, text, int, text, interval, int, jsonb, interval, int, boolean, text, text, text) IS
'Create a subscription, a durable cursor over the log.
Returns the log position it starts behind. event_types, categories, streams: names, where * stands for any characters; NULL any. filter: a jsonpath over the CloudEvents form ($.data.amount > 100), or a CloudEvents filter ({"prefix": {"type": "Order"}}; dialects exact, prefix, suffix, all, any, not). correlation: values of members of envelope and metadata. All that is given has to hold. order_key: stream, none, or metadata.NAME. ordering: key, events of a key wait behind a failed one; none, they pass it. partitions: into how many parts the key is cut, one lease each, at most 64. start_at: beginning, end, a log position, or a time. lock_duration: of a lease. max_attempts, backoff {initial, maximum, factor, jitter}: retries. time_to_live: since recorded_at. max_in_flight: events leased at a time. notify: announce new events on the channel atp_<subscription>. breaker: claims give nothing while it is open and one event as a probe when it is half-open; acks report successes to it, nacks that are not permanent and leases that expire failures, which stay though their transactions roll back. rate_limit: each event claimed takes a token of it. Several subscriptions may share a breaker or a rate limit; limits of all deliveries of a tenant: atp.set_delivery_limits.
Raises: TP201 (name), TP202, TP301 (a rule does not parse), TP305 (it exists), TP306 (an option), TP360 (no such breaker), TP364 (no such rate limit).';

CREATE FUNCTION atp.alter_subscription(
	subscription text,
	event_types text[] DEFAULT NULL,
	categories text[] DEFAULT NULL,
	streams text[] DEFAULT NULL,
	filter text DEFAULT NULL,
	correlation jsonb DEFAULT NULL,
	ordering text DEFAULT NULL,
	partitions int DEFAULT NULL,
	lock_duration interval DEFAULT NULL,
	max_attempts int DEFAULT NULL,
	backoff jsonb DEFAULT NULL,
	time_to_live interval DEFAULT NULL,
	max_in_flight int DEFAULT NULL,
	notify boolean DEFAULT NULL,
	clear text[] DEFAULT '{}',
	tenant text DEFAULT NULL,
	order_key text DEFAULT NULL,
	breaker text DEFAULT NULL,
	rate_limit text DEFAULT NULL
) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen int := atp_internal.subscription_key(alter_subscription.subscription, alter_subscription.tenant);
	old atp_internal.subscription;
	new atp_internal.subscription;
	unknown text;
BEGIN
	SELECT c INTO unknown FROM unnest(alter_subscription.clear) c
		WHERE c IS NULL OR c NOT IN ('event_types', 'categories', 'streams', 'filter', 'correlation', 'time_to_live', 'max_in_flight', 'breaker', 'rate_limit');
	IF FOUND THEN
		PERFORM atp_internal.refuse_subscription(format('"%s" is no option that can be cleared.', unknown));
	END IF;
	SELECT s.* INTO old FROM atp_internal.subscription s WHERE s.subscription = chosen FOR UPDATE;
	new := old;
	new := jsonb_populate_record(new, (SELECT coalesce(jsonb_object_agg(c, NULL), '{}') FROM unnest(alter_subscription.clear) c));
	new.event_types := coalesce(alter_subscription.event_types, new.event_types);
	new.categories := coalesce(alter_subscription.categories, new.categories);
	new.streams := coalesce(alter_subscription.streams, new.streams);
	new.filter := coalesce(alter_subscription.filter, new.filter);
	new.correlation := coalesce(alter_subscription.correlation, new.correlation);
	new.ordering := coalesce(alter_subscription.ordering, new.ordering);
	new.lock_duration := coalesce(alter_subscription.lock_duration, new.lock_duration);
	new.max_attempts := coalesce(alter_subscription.max_attempts, new.max_attempts);
	new.backoff := coalesce(alter_subscription.backoff, new.backoff);
	new.time_to_live := coalesce(alter_subscription.time_to_live, new.time_to_live);
	new.max_in_flight := coalesce(alter_subscription.max_in_flight, new.max_in_flight);
	new.notify := coalesce(alter_subscription.notify, new.notify);
	new.breaker := coalesce(alter_subscription.breaker, new.breaker);
	new.rate_limit := coalesce(alter_subscription.rate_limit, new.rate_limit);
	PERFORM atp_internal.require_stored_types(alter_subscription.event_types);
	PERFORM atp_internal.require_guards(new.tenant, new.breaker, new.rate_limit);
	PERFORM atp_internal.require_options(coalesce(alter_subscription.partitions, new.partitions), new.lock_duration, new.max_attempts, new.ordering,
		new.time_to_live, new.max_in_flight);
	PERFORM atp_internal.check_subscription(new.event_types, new.categories, new.streams, new.filter, new.correlation,
		coalesce(alter_subscription.order_key, new.order_key), new.backoff);
	IF alter_subscription.partitions IS NOT NULL OR alter_subscription.order_key IS NOT NULL THEN
		-- No partition may have looked beyond drain_to: from there on the new ones read. Until all stand there the old ones go on.
		PERFORM atp_internal.lock_cursors(chosen, new.partitions);
		new.next_partitions := coalesce(alter_subscription.partitions, new.next_partitions, new.partitions);
		new.next_order_key := nullif(coalesce(alter_subscription.order_key, new.next_order_key), new.order_key);
		new.drain_to := NULL;
		IF new.next_partitions = new.partitions AND new.next_order_key IS NULL THEN
			new.next_partitions := NULL;
		ELSE
			SELECT max(greatest(c.acked, c.scanned, c.lease_last)) INTO new.drain_to FROM atp_internal.subscription_cursor c
				WHERE c.subscription = chosen AND c.tenant = new.tenant;
		END IF;
	END IF;
	IF (new.event_types, new.categories, new.streams, new.filter, new.correlation) IS DISTINCT FROM
			(old.event_types, old.categories, old.streams, old.filter, old.correlation) THEN
		PERFORM atp_internal.hold_leases(old.name, (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = old.tenant));
	END IF;
	UPDATE atp_internal.subscription s SET event_types = new.event_types, categories = new.categories, streams = new.streams,
			filter = new.filter, correlation = new.correlation, ordering = new.ordering, lock_duration = new.lock_duration,
			max_attempts = new.max_attempts, backoff = new.backoff, time_to_live = new.time_to_live, max_in_flight = new.max_in_flight,
			notify = new.notify, breaker = new.breaker, rate_limit = new.rate_limit,
			next_partitions = new.next_partitions, next_order_key = new.next_order_key, drain_to = new.drain_to, changed_at = clock_timestamp()
		WHERE s.subscription = chosen;
	IF new.next_partitions IS NOT NULL THEN
		PERFORM atp_internal.finish_partitioning(chosen);
	END IF;
END $$;
COMMENT ON FUNCTION atp.alter_subscription(text, text[], text[], text[], text, jsonb, text, int, interval, int, jsonb, interval, int, boolean, text[], text, text, text, text) IS
'Change options of a subscription; those that are not given (NULL) stay.
clear names rules to take away: event_types, categories, streams, filter, correlation, time_to_live, max_in_flight, breaker, rate_limit. Leases stay valid, with the events that they hold. A change of rules holds for events claimed from now on, also those whose lease expires; what a lease has passed over stays passed over, and what waits to be tried again is tried. A change of partitions or of order_key takes place once every partition has reached the position up to which any of them had looked: keys, old and new, stay in order, and consumers go on meanwhile; events that wait to be tried again get their new key then. It and a change of rules wait for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription), TP301 (a rule does not parse), TP306 (an option), TP360 (no such breaker), TP364 (no such rate limit).';

CREATE FUNCTION atp_internal.set_subscription_state(subscription text, tenant text, state text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE atp_internal.subscription s SET state = set_subscription_state.state, changed_at = clock_timestamp()
		WHERE s.subscription = atp_internal.subscription_key(set_subscription_state.subscription, set_subscription_state.tenant);
END;
COMMENT ON FUNCTION atp_internal.set_subscription_state(text, text, text) IS
'Make a subscription active or paused.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.set_subscription_state(text, text, text) FROM PUBLIC;

CREATE FUNCTION atp.pause_subscription(subscription text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.set_subscription_state(pause_subscription.subscription, pause_subscription.tenant, 'paused');
END;
COMMENT ON FUNCTION atp.pause_subscription(text, text) IS
'Pause a subscription: claims that begin later find nothing.
Leases stay valid and can be acked. Pausing a paused one does nothing.
Raises: TP202, TP300 (no such subscription).';

CREATE FUNCTION atp.resume_subscription(subscription text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.set_subscription_state(resume_subscription.subscription, resume_subscription.tenant, 'active');
END;
COMMENT ON FUNCTION atp.resume_subscription(text, text) IS
'End the pause of a subscription: it goes on where it stood.
Raises: TP202, TP300 (no such subscription).';

CREATE FUNCTION atp.seek_subscription(subscription text, log_position bigint DEFAULT NULL, at timestamptz DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen int := atp_internal.subscription_key(seek_subscription.subscription, seek_subscription.tenant);
	s atp_internal.subscription;
	target bigint;
BEGIN
	IF num_nonnulls(seek_subscription.log_position, seek_subscription.at) <> 1 OR seek_subscription.log_position < 0 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'give either a log position, not negative, or a time';
	END IF;
	SELECT x.* INTO s FROM atp_internal.subscription x WHERE x.subscription = chosen FOR UPDATE;
	PERFORM atp_internal.lock_cursors(chosen, s.partitions);
	SELECT coalesce(max(l.log_position), 0) INTO target FROM atp_internal.log l;
	target := least(target, coalesce(seek_subscription.log_position, atp_internal.position_before(seek_subscription.at)));
	DELETE FROM atp_internal.retry r WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.log_position > target;
	UPDATE atp_internal.retry r SET lease = NULL, lease_until = NULL WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.lease IS NOT NULL;
	UPDATE atp_internal.subscription_cursor c SET writes = 0, generation = c.generation + 1, acked = target, scanned = target, lease_last = target,
			lease = NULL, lease_count = 0, leased_at = '-infinity', lease_until = '-infinity', consumer = NULL, settled = NULL, runs = NULL,
			held = NULL,
			retry_changes = c.retry_changes + 1,
			retries = (SELECT count(*) FROM atp_internal.retry r WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.partition = c.partition),
			retry_due_at = coalesce((SELECT min(r.due_at) FROM atp_internal.retry r
				WHERE r.subscription = chosen AND r.tenant = s.tenant AND r.partition = c.partition), 'infinity')
		WHERE c.subscription = chosen AND c.tenant = s.tenant;
	UPDATE atp_internal.subscription x SET changed_at = clock_timestamp(), drain_to = CASE WHEN x.next_partitions IS NULL THEN NULL ELSE target END
		WHERE x.subscription = chosen;
	PERFORM atp_internal.finish_partitioning(chosen);
	RETURN target;
END $$;
COMMENT ON FUNCTION atp.seek_subscription(text, bigint, timestamptz, text) IS
'Move a subscription to a log position or a time, and return the position.
Events after the position, or placed at or after the time, are delivered next. Leases end: what they held comes again if it lies ahead, and their tokens are stale. Failed events up to the position stay due; those behind it are forgotten, they come again. Waits for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription), 22023 (neither or both given).';

CREATE FUNCTION atp.drop_subscription(subscription text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	chosen int := atp_internal.subscription_key(drop_subscription.subscription, drop_subscription.tenant);
	s atp_internal.subscription;
BEGIN
	SELECT x.* INTO s FROM atp_internal.subscription x WHERE x.subscription = chosen FOR UPDATE;
	PERFORM atp_internal.lock_cursors(chosen, s.partitions);
	DELETE FROM atp_internal.retry r WHERE r.subscription = chosen AND r.tenant = s.tenant;
	DELETE FROM atp_internal.dead_letter d WHERE d.subscription = chosen AND d.tenant = s.tenant;
	DELETE FROM atp_internal.subscription_cursor c WHERE c.subscription = chosen AND c.tenant = s.tenant;
	DELETE FROM atp_internal.subscription x WHERE x.subscription = chosen AND x.tenant = s.tenant;
END $$;
COMMENT ON FUNCTION atp.drop_subscription(text, text) IS
'Remove a subscription with its cursors, retries and dead letters.
Its leases are void. The events stay. Waits for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription).';

REVOKE ALL ON FUNCTION
	atp.create_subscription(text, text[], text[], text[], text, jsonb, text, text, int, text, interval, int, jsonb, interval, int, boolean, text, text, text),
	atp.alter_subscription(text, text[], text[], text[], text, jsonb, text, int, interval, int, jsonb, interval, int, boolean, text[], text, text, text, text), atp.pause_subscription(text, text), atp.resume_subscription(text, text),
	atp.seek_subscription(text, bigint, timestamptz, text), atp.drop_subscription(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	atp.create_subscription(text, text[], text[], text[], text, jsonb, text, text, int, text, interval, int, jsonb, interval, int, boolean, text, text, text),
	atp.alter_subscription(text, text[], text[], text[], text, jsonb, text, int, interval, int, jsonb, interval, int, boolean, text[], text, text, text, text), atp.pause_subscription(text, text), atp.resume_subscription(text, text),
	atp.seek_subscription(text, bigint, timestamptz, text), atp.drop_subscription(text, text) TO atp_admin;

CREATE VIEW atp.subscriptions AS
	SELECT t.name AS tenant, s.name AS subscription, s.state, s.event_types, s.categories, s.streams, s.filter, s.correlation, s.order_key,
		s.ordering, s.partitions, s.next_partitions, s.lock_duration, s.max_attempts, s.backoff, s.time_to_live, s.max_in_flight, s.notify,
		s.created_at, s.changed_at, s.breaker, s.rate_limit, s.next_order_key
	FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
	WHERE s.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.subscriptions IS 'List the subscriptions of the current tenant, with their options.';
COMMENT ON COLUMN atp.subscriptions.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.subscriptions.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.subscriptions.state IS 'active or paused.';
COMMENT ON COLUMN atp.subscriptions.event_types IS 'Names of event types, * for any characters; NULL: any.';
COMMENT ON COLUMN atp.subscriptions.categories IS 'Categories of streams, * for any characters; NULL: any.';
COMMENT ON COLUMN atp.subscriptions.streams IS 'Names of streams, * for any characters; NULL: any.';
COMMENT ON COLUMN atp.subscriptions.filter IS 'A jsonpath over the CloudEvents form, or a CloudEvents filter; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.correlation IS 'Values that members of envelope and metadata have to have; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.order_key IS 'stream, none, or metadata. and the name of a member.';
COMMENT ON COLUMN atp.subscriptions.ordering IS 'key: events of a key wait behind a failed one; none: they pass it.';
COMMENT ON COLUMN atp.subscriptions.partitions IS 'Into how many partitions the order key is cut.';
COMMENT ON COLUMN atp.subscriptions.next_partitions IS 'How many there will be when a change under way is done; NULL: none is.';
COMMENT ON COLUMN atp.subscriptions.lock_duration IS 'For how long a lease is valid.';
COMMENT ON COLUMN atp.subscriptions.max_attempts IS 'After how many attempts an event becomes a dead letter.';
COMMENT ON COLUMN atp.subscriptions.backoff IS 'Delay between attempts: {initial, maximum, factor, jitter}.';
COMMENT ON COLUMN atp.subscriptions.time_to_live IS 'An event recorded longer ago becomes a dead letter; NULL: never.';
COMMENT ON COLUMN atp.subscriptions.max_in_flight IS 'How many events may be leased at a time; NULL: any number.';
COMMENT ON COLUMN atp.subscriptions.notify IS 'Whether new events are announced by NOTIFY on atp_<subscription>.';
COMMENT ON COLUMN atp.subscriptions.created_at IS 'When it was made.';
COMMENT ON COLUMN atp.subscriptions.changed_at IS 'When it was last changed.';
COMMENT ON COLUMN atp.subscriptions.breaker IS 'The circuit breaker that its claims honour; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.rate_limit IS 'The rate limit that its claims honour; NULL: none.';
COMMENT ON COLUMN atp.subscriptions.next_order_key IS 'The order key when a change under way is done; NULL: it stays.';
GRANT SELECT ON atp.subscriptions TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_subscriptions(tenant text DEFAULT NULL) RETURNS SETOF atp.subscriptions
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp ROWS 10 AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(list_subscriptions.tenant);
BEGIN
	RETURN QUERY SELECT t.name, s.name, s.state, s.event_types, s.categories, s.streams, s.filter, s.correlation, s.order_key, s.ordering,
			s.partitions, s.next_partitions, s.lock_duration, s.max_attempts, s.backoff, s.time_to_live, s.max_in_flight, s.notify,
			s.created_at, s.changed_at, s.breaker, s.rate_limit, s.next_order_key
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant WHERE s.tenant = opened ORDER BY s.name;
END $$;
COMMENT ON FUNCTION atp.list_subscriptions(text) IS
'List the subscriptions of a tenant, by name.
tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';

CREATE FUNCTION atp.get_subscription(subscription text, tenant text DEFAULT NULL) RETURNS atp.subscriptions
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT l.* FROM atp.list_subscriptions(get_subscription.tenant) l WHERE l.subscription = get_subscription.subscription;
END;
COMMENT ON FUNCTION atp.get_subscription(text, text) IS
'Return the options of a subscription; NULL where there is none of this name.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.list_subscriptions(text), atp.get_subscription(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_subscriptions(text), atp.get_subscription(text, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.explain_routing(
	event_id uuid,
	tenant text DEFAULT NULL,
	OUT subscription text,
	OUT matches boolean,
	OUT rule text,
	OUT reason text
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'atp_manage_explain';
COMMENT ON FUNCTION atp.explain_routing(uuid, text) IS
'Say which subscriptions of the tenant match an event, by which rule, or why not.
rule: those that hold, where it matches; the first that does not, where it does not. reason adds partition and state, or what the filter raised.
Raises: TP308 (no such event in the log), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.explain_routing(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.explain_routing(uuid, text) TO atp_reader, atp_auditor, atp_admin;

-- ==== src/delivery/deadletter.sql ====
-- Dead letters: looked at, delivered anew, purged. A dead letter never changes; that it was replayed is a row of its own, which makes
-- replaying idempotent.
CREATE TABLE atp_internal.replay (
	tenant int NOT NULL,
	dead_letter bigint NOT NULL,
	replayed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT replay_pk PRIMARY KEY (dead_letter, tenant)
);
COMMENT ON TABLE atp_internal.replay IS 'Which dead letters were delivered anew. Insert-only, but for purging.';
COMMENT ON COLUMN atp_internal.replay.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.replay.dead_letter IS 'Number of the dead letter.';
COMMENT ON COLUMN atp_internal.replay.replayed_at IS 'When it was replayed.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.replay', '');
ALTER TABLE atp_internal.replay ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.replay FORCE ROW LEVEL SECURITY;
CREATE POLICY replay_tenant ON atp_internal.replay USING (atp_internal.tenant_is_visible(tenant));

CREATE TRIGGER guard BEFORE UPDATE OR TRUNCATE ON atp_internal.dead_letter
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.dead_letter ENABLE ALWAYS TRIGGER guard;

CREATE VIEW atp_internal.dead_letter_reader AS
	SELECT d.tenant AS tenant_key, d.subscription AS subscription_key, t.name AS tenant, s.name AS subscription, d.dead_letter, d.log_position,
		d.event_id, st.name AS stream, y.name AS event_type, d.reason, d.last_error, d.attempts, d.consumer, d.failed_at, d.dead_at,
		d.redelivery_of, r.replayed_at
	FROM atp_internal.dead_letter d
		JOIN atp_internal.subscription s ON s.subscription = d.subscription AND s.tenant = d.tenant
		JOIN atp_internal.tenant t ON t.tenant = d.tenant
		LEFT JOIN atp_internal.log l ON l.log_position = d.log_position AND l.tenant = d.tenant
		LEFT JOIN atp_internal.stream st ON st.stream = l.stream AND st.tenant = l.tenant
		LEFT JOIN atp_internal.event_type y ON y.event_type = l.event_type
		LEFT JOIN atp_internal.replay r ON r.dead_letter = d.dead_letter AND r.tenant = d.tenant;
COMMENT ON VIEW atp_internal.dead_letter_reader IS 'Dead letters with names, of every tenant that may be seen; for the bodies of functions.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.tenant_key IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.subscription_key IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.dead_letter IS 'Number of the dead letter.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.log_position IS 'Position of the event in the log.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.stream IS 'Its stream.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.event_type IS 'Its type.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.reason IS 'Why it was given up.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.last_error IS 'What the consumer or the filter said last.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.attempts IS 'How often it was leased.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.consumer IS 'Who leased it last.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.failed_at IS 'When it first failed.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.dead_at IS 'When it was given up.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.redelivery_of IS 'The dead letter it was a replay of.';
COMMENT ON COLUMN atp_internal.dead_letter_reader.replayed_at IS 'When it was replayed; NULL: not yet.';

CREATE VIEW atp.dead_letter AS
	SELECT d.tenant, d.subscription, d.dead_letter, d.log_position, d.event_id, d.stream, d.event_type, d.reason, d.last_error, d.attempts,
		d.consumer, d.failed_at, d.dead_at, d.redelivery_of, d.replayed_at
	FROM atp_internal.dead_letter_reader d WHERE d.tenant_key = atp_internal.current_tenant();
COMMENT ON VIEW atp.dead_letter IS 'List the dead letters of the current tenant: events that a subscription gave up.';
COMMENT ON COLUMN atp.dead_letter.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.dead_letter.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.dead_letter.dead_letter IS 'Number of the dead letter.';
COMMENT ON COLUMN atp.dead_letter.log_position IS 'Position of the event in the log.';
COMMENT ON COLUMN atp.dead_letter.event_id IS 'The event.';
COMMENT ON COLUMN atp.dead_letter.stream IS 'Its stream.';
COMMENT ON COLUMN atp.dead_letter.event_type IS 'Its type.';
COMMENT ON COLUMN atp.dead_letter.reason IS 'MaxAttemptsExceeded, TimeToLiveExpired, PermanentFailure or FilterError.';
COMMENT ON COLUMN atp.dead_letter.last_error IS 'What the consumer or the filter said last.';
COMMENT ON COLUMN atp.dead_letter.attempts IS 'How often it was leased.';
COMMENT ON COLUMN atp.dead_letter.consumer IS 'Who leased it last.';
COMMENT ON COLUMN atp.dead_letter.failed_at IS 'When it first failed.';
COMMENT ON COLUMN atp.dead_letter.dead_at IS 'When it was given up.';
COMMENT ON COLUMN atp.dead_letter.redelivery_of IS 'The dead letter it was a replay of.';
COMMENT ON COLUMN atp.dead_letter.replayed_at IS 'When it was replayed; NULL: not yet.';
GRANT SELECT ON atp.dead_letter TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.match_dead_letters(filter jsonb, tenant text) RETURNS SETOF atp_internal.dead_letter_reader
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(match_dead_letters.tenant);
	f jsonb := coalesce(match_dead_letters.filter, '{}');
	unknown text;
	wanted_event uuid;
	wanted_replayed boolean;
	after_time timestamptz;
	before_time timestamptz;
BEGIN
	IF jsonb_typeof(f) <> 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'filter is not a JSON object';
	END IF;
	SELECT k INTO unknown FROM jsonb_object_keys(f) k WHERE k NOT IN ('subscription', 'dead_letter', 'event_id', 'event_type', 'stream', 'reason',
		'dead_after', 'dead_before', 'replayed');
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('unknown member "%s" of the filter', unknown),
			HINT = 'There are subscription, dead_letter, event_id, event_type, stream, reason, dead_after, dead_before and replayed.';
	END IF;
	SELECT e.key INTO unknown FROM jsonb_each(f) e WHERE jsonb_typeof(e.value) <> ALL (CASE e.key WHEN 'replayed' THEN '{boolean,string}'
		WHEN 'dead_letter' THEN '{number,array}' ELSE '{string}' END::text[])
		OR jsonb_typeof(e.value) = 'array' AND jsonb_path_exists(e.value, 'strict $[*] ? (@.type() <> "number")');
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = format('invalid "%s" of the filter', unknown), DETAIL = format('It is %s.', f -> unknown);
	END IF;
	BEGIN
		wanted_event := f ->> 'event_id';
		wanted_replayed := f ->> 'replayed';
		after_time := f ->> 'dead_after';
		before_time := f ->> 'dead_before';
	EXCEPTION WHEN data_exception THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'invalid value in the filter', DETAIL = SQLERRM || '.';
	END;
	RETURN QUERY SELECT d.* FROM atp_internal.dead_letter_reader d
		WHERE d.tenant_key = opened
			AND (NOT f ? 'subscription' OR d.subscription = f ->> 'subscription')
			AND (NOT f ? 'dead_letter' OR to_jsonb(d.dead_letter) <@ (f -> 'dead_letter'))
			AND (NOT f ? 'event_id' OR d.event_id = wanted_event)
			AND (NOT f ? 'event_type' OR d.event_type = f ->> 'event_type')
			AND (NOT f ? 'stream' OR d.stream = f ->> 'stream')
			AND (NOT f ? 'reason' OR d.reason = f ->> 'reason')
			AND (NOT f ? 'dead_after' OR d.dead_at >= after_time)
			AND (NOT f ? 'dead_before' OR d.dead_at < before_time)
			AND (NOT f ? 'replayed' OR (d.replayed_at IS NOT NULL) = wanted_replayed)
		ORDER BY d.dead_letter;
END $$;
COMMENT ON FUNCTION atp_internal.match_dead_letters(jsonb, text) IS
'Return the dead letters of a tenant that a filter selects, by number.
Raises: TP202 (no such tenant), 22023 (the filter).';
REVOKE ALL ON FUNCTION atp_internal.match_dead_letters(jsonb, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_count(max_count int) RETURNS int
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF max_count < 0 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'max_count has to be positive';
	END IF;
	RETURN max_count;
END $$;
COMMENT ON FUNCTION atp_internal.require_count(int) IS
'Return a number of rows, NULL for all, or refuse a negative one.
Raises: 22023.';
REVOKE ALL ON FUNCTION atp_internal.require_count(int) FROM PUBLIC;

CREATE FUNCTION atp.list_dead_letters(filter jsonb DEFAULT '{}', max_count int DEFAULT 100, tenant text DEFAULT NULL) RETURNS SETOF atp.dead_letter
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT d.tenant, d.subscription, d.dead_letter, d.log_position, d.event_id, d.stream, d.event_type, d.reason, d.last_error, d.attempts,
		d.consumer, d.failed_at, d.dead_at, d.redelivery_of, d.replayed_at
	FROM atp_internal.match_dead_letters(list_dead_letters.filter, list_dead_letters.tenant) d ORDER BY d.dead_letter
	LIMIT atp_internal.require_count(list_dead_letters.max_count);
END;
COMMENT ON FUNCTION atp.list_dead_letters(jsonb, int, text) IS
'List dead letters that a filter selects, by number.
At most max_count (NULL: all). filter is a JSON object; all of its members have to hold: subscription, dead_letter (a number or an array), event_id, event_type, stream, reason, dead_after, dead_before, replayed (true or false).
Raises: TP202 (no such tenant), 22023 (the filter, max_count).';

CREATE FUNCTION atp.count_dead_letters(filter jsonb DEFAULT '{}', tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT count(*) FROM atp_internal.match_dead_letters(count_dead_letters.filter, count_dead_letters.tenant) d;
END;
COMMENT ON FUNCTION atp.count_dead_letters(jsonb, text) IS
'Count the dead letters that a filter selects; see list_dead_letters.
Raises: TP202 (no such tenant), 22023 (the filter).';

CREATE FUNCTION atp_internal.redeliver(subscription text, tenant text, dead_letters bigint[], event_ids uuid[], due_at timestamptz[]) RETURNS bigint[]
	LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'atp_deadletter_redeliver';
COMMENT ON FUNCTION atp_internal.redeliver(text, text, bigint[], uuid[], timestamptz[]) IS
'Put dead letters of a subscription among its retry rows, and return which.
They have no attempts there. Those whose event is not stored any more, or is waiting already, are left out.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.redeliver(text, text, bigint[], uuid[], timestamptz[]) FROM PUBLIC;

CREATE FUNCTION atp.replay_dead_letters(
	filter jsonb DEFAULT '{}',
	max_count int DEFAULT 1000,
	dry_run boolean DEFAULT false,
	rate double precision DEFAULT NULL,
	tenant text DEFAULT NULL,
	OUT subscription text,
	OUT dead_letter bigint,
	OUT event_id uuid,
	OUT due_at timestamptz
) RETURNS SETOF record
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(replay_dead_letters.tenant);
	tenant_name text;
	started timestamptz := clock_timestamp();
	one record;
	done bigint[];
BEGIN
	IF replay_dead_letters.rate NOT BETWEEN 0.000001 AND 1000000 OR replay_dead_letters.max_count < 1 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'rate and max_count have to be positive', DETAIL = 'A rate is between 0.000001 and 1000000 a second.';
	END IF;
	SELECT t.name INTO tenant_name FROM atp_internal.tenant t WHERE t.tenant = opened;
	FOR one IN
		SELECT p.subscription, array_agg(p.dead_letter ORDER BY p.dead_letter) AS letters, array_agg(p.event_id ORDER BY p.dead_letter) AS ids,
			array_agg(started + coalesce((p.place - 1) / replay_dead_letters.rate, 0) * interval '1 second' ORDER BY p.dead_letter) AS dues
		FROM (SELECT d.*, row_number() OVER (PARTITION BY d.subscription ORDER BY d.dead_letter) AS place
			FROM (SELECT m.* FROM atp_internal.match_dead_letters(replay_dead_letters.filter, tenant_name) m WHERE m.replayed_at IS NULL
				ORDER BY m.dead_letter LIMIT replay_dead_letters.max_count) d) p
		GROUP BY p.subscription ORDER BY p.subscription
	LOOP
		done := one.letters;
		IF NOT coalesce(replay_dead_letters.dry_run, false) THEN
			-- The key of atp_internal.replay lets one of two callers have each dead letter.
			WITH mine AS (INSERT INTO atp_internal.replay AS r (tenant, dead_letter) SELECT opened, l FROM unnest(one.letters) l
				ON CONFLICT (dead_letter, tenant) DO NOTHING RETURNING r.dead_letter)
			SELECT array_agg(u.l ORDER BY u.l), array_agg(u.e ORDER BY u.l), array_agg(u.d ORDER BY u.l) INTO one.letters, one.ids, one.dues
				FROM unnest(one.letters, one.ids, one.dues) AS u (l, e, d) JOIN mine ON mine.dead_letter = u.l;
			CONTINUE WHEN one.letters IS NULL;
			-- The partition of an event is known as long as the number of partitions and the order key stay.
			PERFORM FROM atp_internal.subscription s WHERE s.name = one.subscription AND s.tenant = opened FOR KEY SHARE;
			done := atp_internal.redeliver(one.subscription, tenant_name, one.letters, one.ids, one.dues);
		END IF;
		RETURN QUERY SELECT one.subscription::text, u.l, u.e, u.d FROM unnest(one.letters, one.ids, one.dues) AS u (l, e, d)
			WHERE u.l = ANY (done) ORDER BY u.l;
	END LOOP;
END $$;
COMMENT ON FUNCTION atp.replay_dead_letters(jsonb, int, boolean, double precision, text) IS
'Deliver dead letters anew, without attempts, and return which.
filter: see list_dead_letters. Each is replayed once, however often this is called; if it fails again it becomes another dead letter, whose redelivery_of names this one. Consumers see redelivery_of, too. rate is how many become due a second (NULL: all at once). dry_run returns what would be replayed and changes nothing. With ordering by key, later events of its key wait until the replayed one is done with.
Raises: TP202 (no such tenant), 22023 (filter, rate, max_count).';

CREATE FUNCTION atp.purge_dead_letters(older_than interval DEFAULT '30 days', filter jsonb DEFAULT '{}', max_count int DEFAULT NULL,
		tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	purged bigint;
BEGIN
	IF older_than IS NULL OR older_than < interval '0' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'older_than has to be a duration, not negative';
	END IF;
	WITH gone AS (
		DELETE FROM atp_internal.dead_letter d USING (
				SELECT m.tenant_key, m.subscription_key, m.dead_letter
				FROM atp_internal.match_dead_letters(purge_dead_letters.filter, purge_dead_letters.tenant) m
				WHERE m.dead_at <= clock_timestamp() - least(purge_dead_letters.older_than, interval '1000 years')
				ORDER BY m.dead_letter LIMIT atp_internal.require_count(purge_dead_letters.max_count)) m
			WHERE d.tenant = m.tenant_key AND d.subscription = m.subscription_key AND d.dead_letter = m.dead_letter
			RETURNING d.tenant, d.dead_letter),
		forgotten AS (
			DELETE FROM atp_internal.replay r USING gone g WHERE r.tenant = g.tenant AND r.dead_letter = g.dead_letter)
	SELECT count(*) INTO purged FROM gone;
	RETURN purged;
END $$;
COMMENT ON FUNCTION atp.purge_dead_letters(interval, jsonb, int, text) IS
'Remove dead letters that are older than a duration, and return how many.
filter: see list_dead_letters. max_count NULL removes all of them. The events stay in the store.
Raises: TP202 (no such tenant), 22023 (older_than, filter, max_count).';

REVOKE ALL ON FUNCTION atp.list_dead_letters(jsonb, int, text), atp.count_dead_letters(jsonb, text),
	atp.replay_dead_letters(jsonb, int, boolean, double precision, text), atp.purge_dead_letters(interval, jsonb, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_dead_letters(jsonb, int, text), atp.count_dead_letters(jsonb, text) TO atp_reader, atp_auditor, atp_admin;
GRANT EXECUTE ON FUNCTION atp.replay_dead_letters(jsonb, int, boolean, double precision, text), atp.purge_dead_letters(interval, jsonb, int, text) TO atp_admin;

-- ==== src/delivery/status.sql ====
-- How subscriptions stand, and the announcement of new events.
CREATE FUNCTION atp_internal.announce_events() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_status_announce';
COMMENT ON FUNCTION atp_internal.announce_events() IS 'Notify the subscriptions that ask for it of events that were placed.';
REVOKE ALL ON FUNCTION atp_internal.announce_events() FROM PUBLIC;
CREATE TRIGGER announce_events AFTER INSERT ON atp_internal.log
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.announce_events();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER announce_events;

CREATE FUNCTION atp_internal.subscription_lag(subscription text, tenant text, OUT acked bigint, OUT lag_events bigint, OUT oldest_at timestamptz,
		OUT lagging boolean)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_status_lag';
COMMENT ON FUNCTION atp_internal.subscription_lag(text, text) IS
'Return how far a subscription is behind the log.
Counts up to 10,000 log rows a partition and takes the rest as wanted. lagging: over atp.subscription_lag_events or atp.subscription_lag_time.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.subscription_lag(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.subscription_lag(text, text) TO atp_reader, atp_auditor, atp_admin;

CREATE VIEW atp.subscription_status AS
	SELECT t.name AS tenant, s.name AS subscription,
		CASE WHEN t.status <> 'active' THEN 'suspended' ELSE s.state END AS state,
		CASE WHEN s.state = 'paused' OR t.status <> 'active' THEN 'stopped' WHEN f.dead_letters > 0 OR f.retries_overdue > 0 THEN 'failing'
			WHEN l.lagging THEN 'lagging' ELSE 'ok' END AS condition,
		s.partitions, l.acked, l.lag_events, coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - l.oldest_at), 0)::double precision AS lag_seconds,
		c.in_flight, c.consumers, f.retries, f.retries_due, f.dead_letters, l.oldest_at AS oldest_unacked_at,
		CASE WHEN t.status <> 'active' THEN 'tenant suspended' WHEN s.state = 'paused' THEN 'paused' ELSE o.obstacle END AS held_by,
		CASE WHEN t.status = 'active' AND s.state = 'active' THEN o.retry_after END AS retry_after
	FROM atp_internal.subscription s
		JOIN atp_internal.tenant t ON t.tenant = s.tenant,
		LATERAL atp_internal.subscription_lag(s.name, t.name) l,
		LATERAL atp_internal.claim_obstacle(s.name, t.name) o,
		LATERAL (SELECT coalesce(sum(u.lease_count), 0)
				+ (SELECT count(*) FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant
					AND r.lease_until > pg_catalog.clock_timestamp()) AS in_flight,
				count(DISTINCT u.consumer) AS consumers
			FROM atp_internal.subscription_cursor u WHERE u.subscription = s.subscription AND u.tenant = s.tenant
				AND u.lease_until > pg_catalog.clock_timestamp()) c,
		LATERAL (SELECT count(*) AS retries, count(*) FILTER (WHERE r.due_at <= pg_catalog.clock_timestamp() AND r.lease IS NULL) AS retries_due,
				count(*) FILTER (WHERE r.failed_at IS NOT NULL AND r.due_at <= pg_catalog.clock_timestamp() - interval '5 minutes') AS retries_overdue,
				(SELECT count(*) FROM atp_internal.dead_letter d LEFT JOIN atp_internal.replay p ON p.dead_letter = d.dead_letter AND p.tenant = d.tenant
					WHERE d.subscription = s.subscription AND d.tenant = s.tenant AND p.dead_letter IS NULL) AS dead_letters
			FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant) f
	WHERE s.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.subscription_status IS 'Show how the subscriptions of the current tenant stand, and whether they need attention.';
COMMENT ON COLUMN atp.subscription_status.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.subscription_status.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.subscription_status.state IS 'active, paused, or suspended with its tenant.';
COMMENT ON COLUMN atp.subscription_status.condition IS 'stopped; failing: dead letters not replayed, or retries 5 minutes overdue; lagging: over atp.subscription_lag_events or atp.subscription_lag_time; ok.';
COMMENT ON COLUMN atp.subscription_status.partitions IS 'Number of partitions.';
COMMENT ON COLUMN atp.subscription_status.acked IS 'Log position of the partition that is furthest behind.';
COMMENT ON COLUMN atp.subscription_status.lag_events IS 'Events wanted and not acked, in flight or not; an estimate beyond 10,000 log rows a partition.';
COMMENT ON COLUMN atp.subscription_status.lag_seconds IS 'Age of the oldest of them.';
COMMENT ON COLUMN atp.subscription_status.in_flight IS 'Events leased now.';
COMMENT ON COLUMN atp.subscription_status.consumers IS 'Different consumers that hold leases now.';
COMMENT ON COLUMN atp.subscription_status.retries IS 'Events that failed, wait behind such an event, or were deferred.';
COMMENT ON COLUMN atp.subscription_status.retries_due IS 'Those of them that are due and not leased.';
COMMENT ON COLUMN atp.subscription_status.dead_letters IS 'Dead letters that were not replayed.';
COMMENT ON COLUMN atp.subscription_status.oldest_unacked_at IS 'When the oldest event not acked was placed in the log; NULL: there is none.';
COMMENT ON COLUMN atp.subscription_status.held_by IS 'What keeps claims from giving any event now: paused, tenant suspended, breaker, rate limit, tenant''s rate limit, max_in_flight, tenant''s max_in_flight; NULL: nothing does.';
COMMENT ON COLUMN atp.subscription_status.retry_after IS 'When that is over of itself; NULL: not known.';
GRANT SELECT ON atp.subscription_status TO atp_reader, atp_auditor, atp_admin;

-- ==== src/delivery/session.sql ====
-- Session state: what the consumers of a subscription remember about an order key between events.
CREATE TABLE atp_internal.session_state (
	tenant int NOT NULL,
	subscription int NOT NULL,
	session text NOT NULL,
	version bigint NOT NULL,
	changed_at timestamptz NOT NULL,
	state jsonb NOT NULL,
	CONSTRAINT session_state_pk PRIMARY KEY (subscription, session, tenant)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE atp_internal.session_state IS 'State that consumers keep for each key.';
COMMENT ON COLUMN atp_internal.session_state.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.session_state.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.session_state.session IS 'The order key, or whatever the consumers call a session.';
COMMENT ON COLUMN atp_internal.session_state.version IS 'Counts the changes.';
COMMENT ON COLUMN atp_internal.session_state.changed_at IS 'When it was last changed.';
COMMENT ON COLUMN atp_internal.session_state.state IS 'The state.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.session_state', '');
ALTER TABLE atp_internal.session_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.session_state FORCE ROW LEVEL SECURITY;
CREATE POLICY session_state_tenant ON atp_internal.session_state USING (atp_internal.tenant_is_visible(tenant));

-- Rows of a subscription go with it: no foreign key, because unique keys hold the tenant, and a trigger is told once.
CREATE FUNCTION atp_internal.session_state_forget() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM atp_internal.session_state s WHERE s.subscription = old.subscription AND s.tenant = old.tenant;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION atp_internal.session_state_forget() IS 'Remove the session states of a subscription that is removed.';
REVOKE ALL ON FUNCTION atp_internal.session_state_forget() FROM PUBLIC;
CREATE TRIGGER session_state_forget AFTER DELETE ON atp_internal.subscription
	FOR EACH ROW EXECUTE FUNCTION atp_internal.session_state_forget();
ALTER TABLE atp_internal.subscription ENABLE ALWAYS TRIGGER session_state_forget;

CREATE FUNCTION atp.get_session_state(subscription text, session text, tenant text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s.state FROM atp_internal.session_state s
		WHERE s.subscription = atp_internal.subscription_key(get_session_state.subscription, get_session_state.tenant)
			AND s.session = get_session_state.session;
END;
COMMENT ON FUNCTION atp.get_session_state(text, text, text) IS
'Return what consumers remember about a session; NULL: nothing.
session is the order key of the events, usually the stream.
Raises: TP202, TP300 (no such subscription).';

CREATE FUNCTION atp.set_session_state(subscription text, session text, state jsonb, tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := atp_internal.subscription_key(set_session_state.subscription, set_session_state.tenant);
	opened int := atp_internal.open_tenant(set_session_state.tenant);
	reached bigint;
BEGIN
	IF set_session_state.session IS NULL OR set_session_state.session = '' OR octet_length(set_session_state.session) > 1024 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'session has to be 1 to 1024 bytes';
	END IF;
	IF set_session_state.state IS NULL THEN
		DELETE FROM atp_internal.session_state s WHERE s.subscription = key AND s.session = set_session_state.session AND s.tenant = opened;
		RETURN 0;
	END IF;
	INSERT INTO atp_internal.session_state AS s (tenant, subscription, session, version, changed_at, state)
		VALUES (opened, key, set_session_state.session, 1, clock_timestamp(), set_session_state.state)
		ON CONFLICT (subscription, session, tenant) DO UPDATE SET version = s.version + 1, changed_at = clock_timestamp(), state = excluded.state
		RETURNING s.version INTO reached;
	RETURN reached;
END $$;
COMMENT ON FUNCTION atp.set_session_state(text, text, jsonb, text) IS
'Remember something about a session, and return how often it changed.
It is part of the caller''s transaction. NULL forgets it. One partition has one lease, so whoever holds the lease of a key has its state to itself.
Raises: TP202, TP300 (no such subscription), 22023 (session).';
REVOKE ALL ON FUNCTION atp.get_session_state(text, text, text), atp.set_session_state(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_session_state(text, text, text), atp.set_session_state(text, text, jsonb, text) TO atp_reader, atp_admin;

-- ==== src/delivery/schedule.sql ====
-- Scheduled events: appended when their time has come, by the worker. The row is removed by the transaction that appends the event,
-- so each is appended once; one that cannot be appended (a sealed stream, a suspended tenant) is tried again and holds up none.
CREATE TABLE atp_internal.scheduled_event (
	scheduled_event bigint GENERATED BY DEFAULT AS IDENTITY,
	tenant int NOT NULL,
	due_at timestamptz NOT NULL,
	try_at timestamptz NOT NULL,
	attempts int NOT NULL DEFAULT 0,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	stream text NOT NULL,
	event_type text NOT NULL,
	payload jsonb NOT NULL,
	metadata jsonb,
	last_error text,
	CONSTRAINT scheduled_event_pk PRIMARY KEY (scheduled_event, tenant)
);
CREATE INDEX scheduled_event_try_at ON atp_internal.scheduled_event (try_at);
COMMENT ON TABLE atp_internal.scheduled_event IS 'Events to be appended later.';
COMMENT ON COLUMN atp_internal.scheduled_event.scheduled_event IS 'Number of the scheduled event.';
COMMENT ON COLUMN atp_internal.scheduled_event.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.scheduled_event.due_at IS 'When it is to be appended.';
COMMENT ON COLUMN atp_internal.scheduled_event.try_at IS 'When it is tried next: due_at, or later where that failed.';
COMMENT ON COLUMN atp_internal.scheduled_event.attempts IS 'How often appending it failed.';
COMMENT ON COLUMN atp_internal.scheduled_event.created_at IS 'When it was scheduled.';
COMMENT ON COLUMN atp_internal.scheduled_event.stream IS 'Stream to append to.';
COMMENT ON COLUMN atp_internal.scheduled_event.event_type IS 'Its event type.';
COMMENT ON COLUMN atp_internal.scheduled_event.payload IS 'Its payload.';
COMMENT ON COLUMN atp_internal.scheduled_event.metadata IS 'Its metadata.';
COMMENT ON COLUMN atp_internal.scheduled_event.last_error IS 'Why appending it failed last.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.scheduled_event', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.scheduled_event_scheduled_event_seq', '');
ALTER TABLE atp_internal.scheduled_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.scheduled_event FORCE ROW LEVEL SECURITY;
CREATE POLICY scheduled_event_tenant ON atp_internal.scheduled_event USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.check_scheduled(stream text, event_type text, payload jsonb, metadata jsonb) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_schedule_check';
COMMENT ON FUNCTION atp_internal.check_scheduled(text, text, jsonb, jsonb) IS
'Refuse an event that could never be appended.
Sees to it that a worker is there. Raises: TP201, TP204, TP205, TP206, 22004.';
REVOKE ALL ON FUNCTION atp_internal.check_scheduled(text, text, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.schedule_event(at timestamptz, stream text, event_type text, payload jsonb DEFAULT '{}', metadata jsonb DEFAULT NULL,
		tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(schedule_event.tenant);
	made bigint;
BEGIN
	IF schedule_event.at IS NULL OR NOT isfinite(schedule_event.at) THEN
		RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'at must be a time';
	END IF;
	PERFORM atp_internal.check_scheduled(schedule_event.stream, schedule_event.event_type, schedule_event.payload, schedule_event.metadata);
	INSERT INTO atp_internal.scheduled_event AS s (tenant, due_at, try_at, stream, event_type, payload, metadata)
		VALUES (opened, schedule_event.at, schedule_event.at, schedule_event.stream, schedule_event.event_type, schedule_event.payload, schedule_event.metadata)
		RETURNING s.scheduled_event INTO made;
	RETURN made;
END $$;
COMMENT ON FUNCTION atp.schedule_event(timestamptz, text, text, jsonb, jsonb, text) IS
'Have an event appended at a later time, and return the number to cancel it by.
The worker appends it within about a second of that time; a time that has passed means at once. It is scheduled when the transaction commits. Names, payload and metadata are checked now, a schema when it is appended.
Raises: TP201, TP202, TP204, TP205, TP206, 22004.';

CREATE FUNCTION atp.cancel_scheduled_event(scheduled_event bigint, tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH gone AS (DELETE FROM atp_internal.scheduled_event s WHERE s.scheduled_event = cancel_scheduled_event.scheduled_event
		AND s.tenant = atp_internal.open_tenant(cancel_scheduled_event.tenant) RETURNING 1)
	SELECT count(*) > 0 FROM gone;
END;
COMMENT ON FUNCTION atp.cancel_scheduled_event(bigint, text) IS
'Cancel a scheduled event; returns false where it is not scheduled any more.
Waits for the transaction that is appending it, if one is.
Raises: TP202 (no such tenant).';

CREATE FUNCTION atp.append_due_events(max_count int DEFAULT 1000) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	one record;
	appended bigint := 0;
	problem text;
BEGIN
	FOR one IN
		SELECT s.*, t.name AS tenant_name FROM atp_internal.scheduled_event s JOIN atp_internal.tenant t ON t.tenant = s.tenant
			WHERE s.try_at <= clock_timestamp() ORDER BY s.try_at, s.scheduled_event LIMIT append_due_events.max_count FOR UPDATE OF s SKIP LOCKED
	LOOP
		BEGIN
			PERFORM atp.append_event(one.stream, one.event_type, one.payload, metadata => one.metadata, tenant => one.tenant_name);
			DELETE FROM atp_internal.scheduled_event s WHERE s.scheduled_event = one.scheduled_event AND s.tenant = one.tenant;
			appended := appended + 1;
		EXCEPTION WHEN OTHERS THEN
			IF SQLSTATE IN ('57014', '57P01') THEN
				RAISE;
			END IF;
			problem := SQLSTATE || ': ' || SQLERRM;
			UPDATE atp_internal.scheduled_event s SET attempts = s.attempts + 1, last_error = left(problem, 1000),
					try_at = clock_timestamp() + least(interval '1 second' * power(2, least(s.attempts, 12)), interval '1 hour')
				WHERE s.scheduled_event = one.scheduled_event AND s.tenant = one.tenant;
		END;
	END LOOP;
	RETURN appended;
END $$;
COMMENT ON FUNCTION atp.append_due_events(int) IS
'Append the scheduled events whose time has come, and return how many.
The worker does this by itself. Several callers at once share the work.';

CREATE VIEW atp.scheduled_event AS
	SELECT t.name AS tenant, s.scheduled_event, s.due_at, s.stream, s.event_type, s.payload, s.metadata, s.created_at, s.attempts, s.try_at, s.last_error
	FROM atp_internal.scheduled_event s JOIN atp_internal.tenant t ON t.tenant = s.tenant
	WHERE s.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.scheduled_event IS 'List the events of the current tenant that are to be appended later.';
COMMENT ON COLUMN atp.scheduled_event.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.scheduled_event.scheduled_event IS 'Number of the scheduled event.';
COMMENT ON COLUMN atp.scheduled_event.due_at IS 'When it is to be appended.';
COMMENT ON COLUMN atp.scheduled_event.stream IS 'Stream to append to.';
COMMENT ON COLUMN atp.scheduled_event.event_type IS 'Its event type.';
COMMENT ON COLUMN atp.scheduled_event.payload IS 'Its payload.';
COMMENT ON COLUMN atp.scheduled_event.metadata IS 'Its metadata.';
COMMENT ON COLUMN atp.scheduled_event.created_at IS 'When it was scheduled.';
COMMENT ON COLUMN atp.scheduled_event.attempts IS 'How often appending it failed.';
COMMENT ON COLUMN atp.scheduled_event.try_at IS 'When it is tried next.';
COMMENT ON COLUMN atp.scheduled_event.last_error IS 'Why appending it failed last.';
GRANT SELECT ON atp.scheduled_event TO atp_reader, atp_auditor, atp_admin;

REVOKE ALL ON FUNCTION atp.schedule_event(timestamptz, text, text, jsonb, jsonb, text), atp.cancel_scheduled_event(bigint, text),
	atp.append_due_events(int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.schedule_event(timestamptz, text, text, jsonb, jsonb, text), atp.cancel_scheduled_event(bigint, text) TO atp_writer;
GRANT EXECUTE ON FUNCTION atp.append_due_events(int) TO atp_admin;

-- ==== src/delivery/call.sql ====
-- Calls of the functions of handlers and routes.
CREATE FUNCTION atp_internal.call_handler(function text, event jsonb, timeout_ms int, run_as text, OUT failure text, OUT result jsonb)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_call_handler';
COMMENT ON FUNCTION atp_internal.call_handler(text, jsonb, int, text) IS
'Call a handler''s function in a subtransaction; return its failure or result.
failure is SQLSTATE: message, and what the function did is rolled back; NULL where it succeeded. result is NULL unless the function returns jsonb. A function that catches the cancellation at its timeout and goes on for two seconds ends with its process.';
REVOKE ALL ON FUNCTION atp_internal.call_handler(text, jsonb, int, text) FROM PUBLIC;

-- ==== src/delivery/handler.sql ====
-- In-database handlers: functions that the worker's helpers run for the events of a subscription. Several handlers of one
-- subscription are steps: an event goes through them in order, and what is done is done once (delivery/inbox). When a step gives up,
-- the compensations of the steps before it run, the last one first.
CREATE TABLE atp_internal.handler (
	tenant int NOT NULL,
	subscription int NOT NULL,
	step int NOT NULL CONSTRAINT handler_step_range CHECK (step BETWEEN 1 AND 1000),
	handler text NOT NULL CONSTRAINT handler_name_sized CHECK (pg_catalog.octet_length(handler) BETWEEN 1 AND 200),
	function text NOT NULL,
	compensation text,
	run_as text NOT NULL,
	timeout interval NOT NULL CONSTRAINT handler_timeout_range CHECK (timeout BETWEEN '1 ms' AND '1 hour'),
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT handler_pk PRIMARY KEY (subscription, step, tenant),
	CONSTRAINT handler_name_unique UNIQUE (handler, tenant),
	CONSTRAINT handler_subscription FOREIGN KEY (subscription, tenant) REFERENCES atp_internal.subscription (subscription, tenant) ON DELETE CASCADE
);
COMMENT ON TABLE atp_internal.handler IS 'Functions that are run for the events of subscriptions.';
COMMENT ON COLUMN atp_internal.handler.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.handler.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.handler.step IS 'Place among the handlers of the subscription.';
COMMENT ON COLUMN atp_internal.handler.handler IS 'Name.';
COMMENT ON COLUMN atp_internal.handler.function IS 'The function with its argument, as type regprocedure writes it: looked up at each batch, so that one that is dropped is a failure of its events.';
COMMENT ON COLUMN atp_internal.handler.compensation IS 'Function that undoes the step; NULL: nothing does.';
COMMENT ON COLUMN atp_internal.handler.run_as IS 'Role that the functions run as.';
COMMENT ON COLUMN atp_internal.handler.timeout IS 'How long one call may take.';
COMMENT ON COLUMN atp_internal.handler.created_at IS 'When it was made.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.handler', '');
ALTER TABLE atp_internal.handler ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.handler FORCE ROW LEVEL SECURITY;
CREATE POLICY handler_tenant ON atp_internal.handler USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.handler_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_handler_changed';
COMMENT ON FUNCTION atp_internal.handler_changed() IS 'Tell every backend that the handlers changed.';
REVOKE ALL ON FUNCTION atp_internal.handler_changed() FROM PUBLIC;
CREATE TRIGGER handler_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.handler
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.handler_changed();
ALTER TABLE atp_internal.handler ENABLE ALWAYS TRIGGER handler_changed;

CREATE FUNCTION atp_internal.undo_step(tenant int, handler text, event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	step record;
	failure text;
	handled uuid := (event ->> 'event_id')::uuid;
BEGIN
	SELECT h.compensation, h.timeout, h.run_as, t.name AS tenant_name INTO step
		FROM atp_internal.handler h JOIN atp_internal.tenant t ON t.tenant = h.tenant
		WHERE h.handler = undo_step.handler AND h.tenant = undo_step.tenant;
	IF step.compensation IS NOT NULL THEN
		SELECT c.failure INTO failure FROM atp_internal.call_handler(step.compensation, event || jsonb_build_object('handler', handler),
			(extract(epoch FROM step.timeout) * 1000)::int, step.run_as) c;
	END IF;
	IF failure IS NOT NULL THEN
		RAISE WARNING 'compensation of handler "%" for event % failed', handler, handled USING DETAIL = failure;
		UPDATE atp_internal.inbox i SET state = 'p', error = 'compensation failed: ' || failure
			WHERE i.event_id = handled AND i.handler = 'handler/' || undo_step.handler AND i.tenant = undo_step.tenant;
	ELSE
		PERFORM atp.forget_handling('handler/' || handler, handled, step.tenant_name);
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.undo_step(int, text, jsonb) IS
'Run the compensation of a step that was done for an event.
The step is forgotten, so that a replay of the dead letter runs it again. A compensation that fails is a warning, and stays in the inbox as failed: a replay becomes a dead letter at once until forget_handling is called.';
REVOKE ALL ON FUNCTION atp_internal.undo_step(int, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.compensate(subscription int, tenant int, failed_step int, event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	done text;
BEGIN
	FOR done IN
		SELECT h.handler FROM atp_internal.handler h
			JOIN atp_internal.inbox i ON i.event_id = (event ->> 'event_id')::uuid AND i.handler = 'handler/' || h.handler AND i.tenant = h.tenant
				AND i.state = 'd'
		WHERE h.subscription = compensate.subscription AND h.tenant = compensate.tenant AND h.step < failed_step
		ORDER BY h.step DESC
	LOOP
		PERFORM atp_internal.undo_step(tenant, done, event);
	END LOOP;
END $$;
COMMENT ON FUNCTION atp_internal.compensate(int, int, int, jsonb) IS
'Run the compensations of the steps before one that gave up, the last first.';
REVOKE ALL ON FUNCTION atp_internal.compensate(int, int, int, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.mark_given_up(subscription int, tenant int, event_id uuid) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	UPDATE atp_internal.inbox i SET state = 'c'
		FROM atp_internal.handler h
		WHERE h.subscription = mark_given_up.subscription AND h.tenant = mark_given_up.tenant
			AND i.event_id = mark_given_up.event_id AND i.handler = 'handler/' || h.handler AND i.tenant = h.tenant AND i.state = 'd';
END;
COMMENT ON FUNCTION atp_internal.mark_given_up(int, int, uuid) IS
'Mark the steps of an event that no handler gave up for compensation.
Its lease expired too often, or its time to live is over, or its handler was ended with its process.';
REVOKE ALL ON FUNCTION atp_internal.mark_given_up(int, int, uuid) FROM PUBLIC;

CREATE FUNCTION atp_internal.next_compensation(subscription int, tenant int, OUT handler text, OUT event jsonb)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	step record;
BEGIN
	SELECT h.handler, i.event_id, t.name AS tenant_name INTO step
		FROM atp_internal.handler h
			JOIN atp_internal.inbox i ON i.handler = 'handler/' || h.handler AND i.tenant = h.tenant AND i.state = 'c'
			JOIN atp_internal.tenant t ON t.tenant = h.tenant
		WHERE h.subscription = next_compensation.subscription AND h.tenant = next_compensation.tenant
		ORDER BY i.event_id, h.step DESC LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	UPDATE atp_internal.inbox i SET state = 'p', error = 'compensation was cut off'
		WHERE i.event_id = step.event_id AND i.handler = 'handler/' || step.handler AND i.tenant = next_compensation.tenant;
	handler := step.handler;
	event := to_jsonb(atp.get_event(step.event_id, step.tenant_name)) - '{hash}'::text[] || (
		SELECT jsonb_build_object('log_position', d.log_position, 'attempt', d.attempts) FROM atp_internal.dead_letter d
			WHERE d.subscription = next_compensation.subscription AND d.tenant = next_compensation.tenant AND d.event_id = step.event_id
			ORDER BY d.dead_letter DESC LIMIT 1);
END $$;
COMMENT ON FUNCTION atp_internal.next_compensation(int, int) IS
'Take the next step that is to be compensated.
The last one of an event comes first; NULLs where there is none. It stands as failed from here on, so that a compensation that ends its process is not run without end.';
REVOKE ALL ON FUNCTION atp_internal.next_compensation(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.handle_event(subscription int, tenant int, event jsonb, OUT failed_step int, OUT failure text,
		OUT is_final boolean)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	step record;
	begun record;
	known text;
	event_id uuid := (event ->> 'event_id')::uuid;
BEGIN
	FOR step IN
		SELECT h.step, h.handler, h.function, h.timeout, h.run_as, t.name AS tenant_name, count(*) OVER () > 1 AS several
		FROM atp_internal.handler h JOIN atp_internal.tenant t ON t.tenant = h.tenant
		WHERE h.subscription = handle_event.subscription AND h.tenant = handle_event.tenant ORDER BY h.step
	LOOP
		IF step.several THEN
			known := 'handler/' || step.handler;
			SELECT * INTO begun FROM atp.begin_handling(known, event_id, lock_duration => '0', tenant => step.tenant_name);
			CONTINUE WHEN begun.verdict = 'done';
			IF begun.verdict <> 'new' THEN	-- failed: its compensation did; busy: somebody has the inbox row under this name
				failed_step := step.step;
				failure := coalesce(begun.error, 'the inbox says ' || begun.verdict);
				is_final := begun.verdict = 'failed';
				RETURN;
			END IF;
		END IF;
		SELECT c.failure INTO failure FROM atp_internal.call_handler(step.function,
			event || jsonb_build_object('handler', step.handler, 'tenant', step.tenant_name),
			(extract(epoch FROM step.timeout) * 1000)::int, step.run_as) c;
		IF failure IS NOT NULL THEN
			failed_step := step.step;
			is_final := failure LIKE 'TP344: %' AND step.function = 'atp_internal.run_route(jsonb)';
			IF step.several THEN
				PERFORM atp.fail_handling(known, event_id, '40001', failure, step.tenant_name);	-- to be tried again, as the subscription says
			END IF;
			RETURN;
		END IF;
		IF step.several THEN
			PERFORM atp.finish_handling(known, event_id, NULL, step.tenant_name);
		END IF;
	END LOOP;
END $$;
COMMENT ON FUNCTION atp_internal.handle_event(int, int, jsonb) IS
'Take an event through the steps of a subscription.
Returns the step that failed and how, or NULLs; is_final: no other attempt can succeed. Steps that were done by an earlier attempt are passed over.';
REVOKE ALL ON FUNCTION atp_internal.handle_event(int, int, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.handle_events(subscription int, tenant int, lease uuid, events jsonb, until timestamptz) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	event jsonb;
	outcome record;
	back atp.given_back;
	withdrawn uuid[] := '{}';
	names record;
	acked bigint;
	is_cut boolean := false;
	rest jsonb;
BEGIN
	SELECT s.name AS subscription, t.name AS tenant, s.breaker INTO names
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
		WHERE s.subscription = handle_events.subscription AND s.tenant = handle_events.tenant;
	FOR i IN 0 .. jsonb_array_length(events) - 1 LOOP
		event := events -> i;
		CONTINUE WHEN (event ->> 'event_id')::uuid = ANY (withdrawn);
		IF is_cut OR i > 0 AND clock_timestamp() > until THEN
			SELECT jsonb_agg(r.one ORDER BY r.place) INTO rest FROM jsonb_array_elements(events) WITH ORDINALITY AS r (one, place)
				WHERE r.place > i AND NOT (r.one ->> 'event_id')::uuid = ANY (withdrawn);
			EXIT;
		END IF;
		SELECT * INTO outcome FROM atp_internal.handle_event(subscription, tenant, event);
		IF outcome.failed_step IS NULL THEN
			acked := (event ->> 'log_position')::bigint;
			CONTINUE;
		END IF;
		IF names.breaker IS NOT NULL AND acked IS NOT NULL THEN	-- so that it knows of the successes before the failure
			PERFORM atp.ack_events(names.subscription, lease, acked, names.tenant);
			acked := NULL;
		END IF;
		back := atp.nack_event(names.subscription, lease, (event ->> 'event_id')::uuid, outcome.failure, outcome.is_final, names.tenant);
		withdrawn := withdrawn || back.withdrawn;
		is_cut := outcome.failure LIKE '53200: %';	-- out of memory: the others get a process of their own
		IF back.outcome = 'dead letter' THEN
			PERFORM atp_internal.compensate(subscription, tenant, outcome.failed_step, event);
		END IF;
		IF names.breaker IS NOT NULL AND (SELECT b.state <> 'closed' FROM atp_internal.read_breaker(tenant, names.breaker) b) THEN
			PERFORM atp.release_lease(names.subscription, lease, names.tenant) WHERE atp_internal.lease_is_held(subscription, tenant, lease);
			RETURN NULL;
		END IF;
	END LOOP;
	IF acked IS NOT NULL THEN
		PERFORM atp.ack_events(names.subscription, lease, acked, names.tenant);
	END IF;
	RETURN rest;
END $$;
COMMENT ON FUNCTION atp_internal.handle_events(int, int, uuid, jsonb, timestamptz) IS
'Handle leased events, ack or nack each.
Returns those that are left when until has passed: the lease has to be renewed first; or when one ran out of memory: the process has to be replaced. NULL: none are; after a failure that opened the breaker what is left was released. Effects and acks are one transaction.';
REVOKE ALL ON FUNCTION atp_internal.handle_events(int, int, uuid, jsonb, timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.lease_of_handlers(subscription int, tenant int) RETURNS interval
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT greatest(s.lock_duration, least(2 * (SELECT coalesce(sum(h.timeout + interval '3 seconds'), '0') FROM atp_internal.handler h
			WHERE h.subscription = s.subscription AND h.tenant = s.tenant), interval '1 day'))
	FROM atp_internal.subscription s WHERE s.subscription = lease_of_handlers.subscription AND s.tenant = lease_of_handlers.tenant;
END;
COMMENT ON FUNCTION atp_internal.lease_of_handlers(int, int) IS
'Return how long a lease of a subscription''s handlers lasts.
So long that the steps of one event, with the grace after their timeouts, fit into half of it; no less than the subscription says.';
REVOKE ALL ON FUNCTION atp_internal.lease_of_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.claim_for_handlers(subscription int, tenant int, OUT lease uuid, OUT events jsonb, OUT until timestamptz)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	names record;
	last bigint;
BEGIN
	SELECT s.name AS subscription, t.name AS tenant, s.lock_duration, atp_internal.lease_of_handlers(subscription, tenant) AS duration INTO names
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
		WHERE s.subscription = claim_for_handlers.subscription AND s.tenant = claim_for_handlers.tenant
			AND EXISTS (SELECT FROM atp_internal.handler h WHERE h.subscription = s.subscription AND h.tenant = s.tenant);
	IF NOT FOUND THEN
		RETURN;
	END IF;
	SELECT coalesce(max(d.dead_letter), 0) INTO last FROM atp_internal.dead_letter d
		WHERE d.subscription = claim_for_handlers.subscription AND d.tenant = claim_for_handlers.tenant;
	-- max() would need an ordering of uuid: all rows carry one lease
	SELECT (array_agg(c.lease))[1], jsonb_agg(to_jsonb(c) - '{lease,lease_until,redelivered,redelivery_of}'::text[] ORDER BY c.log_position)
		INTO lease, events
		FROM atp.claim_events(names.subscription, 100, 'handlers', tenant => names.tenant) c;
	PERFORM atp_internal.mark_given_up(subscription, tenant, d.event_id) FROM atp_internal.dead_letter d
		WHERE d.subscription = claim_for_handlers.subscription AND d.tenant = claim_for_handlers.tenant AND d.dead_letter > last;
	IF names.duration > names.lock_duration AND lease IS NOT NULL THEN
		PERFORM atp.renew_lease(names.subscription, lease, names.duration, names.tenant);
	END IF;
	until := clock_timestamp() + names.duration / 2;
END $$;
COMMENT ON FUNCTION atp_internal.claim_for_handlers(int, int) IS
'Claim events for the handlers of a subscription; NULLs where there are none.
until is when half of the lease is over.';
REVOKE ALL ON FUNCTION atp_internal.claim_for_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.renew_for_handlers(subscription int, tenant int, lease uuid) RETURNS timestamptz
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT pg_catalog.clock_timestamp() + (atp.renew_lease(s.name, renew_for_handlers.lease,
		atp_internal.lease_of_handlers(s.subscription, s.tenant), t.name) - pg_catalog.clock_timestamp()) / 2
	FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
	WHERE s.subscription = renew_for_handlers.subscription AND s.tenant = renew_for_handlers.tenant;
END;
COMMENT ON FUNCTION atp_internal.renew_for_handlers(int, int, uuid) IS 'Renew a lease of the handlers; returns when half of it is over.';
REVOKE ALL ON FUNCTION atp_internal.renew_for_handlers(int, int, uuid) FROM PUBLIC;

CREATE FUNCTION atp_internal.leave_events(subscription int, tenant int, lease uuid, failed_event text, reason text) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	names record;
	back atp.given_back;
	released int := 0;
BEGIN
	SELECT s.name AS subscription, t.name AS tenant INTO names
		FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
		WHERE s.subscription = leave_events.subscription AND s.tenant = leave_events.tenant;
	IF failed_event <> '' AND atp_internal.lease_is_held(subscription, tenant, lease) THEN
		back := atp.nack_event(names.subscription, lease, failed_event::uuid, reason, tenant => names.tenant);
		IF back.outcome = 'dead letter' THEN
			PERFORM atp_internal.mark_given_up(subscription, tenant, failed_event::uuid);
		END IF;
	END IF;
	IF atp_internal.lease_is_held(subscription, tenant, lease) THEN
		released := atp.release_lease(names.subscription, lease, names.tenant);
	END IF;
	RETURN released;
END $$;
COMMENT ON FUNCTION atp_internal.leave_events(int, int, uuid, text, text) IS
'Give back the events that a runner leaves unhandled.
failed_event (empty: none) is the one whose handler ended the runner: its attempt counts. Returns how many others there are.';
REVOKE ALL ON FUNCTION atp_internal.leave_events(int, int, uuid, text, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.is_left_by_handlers(subscription int, tenant int) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT EXISTS (SELECT FROM atp_internal.subscription_cursor c WHERE c.subscription = is_left_by_handlers.subscription
			AND c.tenant = is_left_by_handlers.tenant AND c.lease IS NOT NULL AND c.consumer = 'handlers')
		OR EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = is_left_by_handlers.subscription
			AND r.tenant = is_left_by_handlers.tenant AND r.lease IS NOT NULL AND r.consumer = 'handlers')
		OR EXISTS (SELECT FROM atp_internal.handler h JOIN atp_internal.inbox i ON i.handler = 'handler/' || h.handler AND i.tenant = h.tenant
			AND i.state = 'c' WHERE h.subscription = is_left_by_handlers.subscription AND h.tenant = is_left_by_handlers.tenant);
END;
COMMENT ON FUNCTION atp_internal.is_left_by_handlers(int, int) IS
'Say whether a runner has leases of a subscription, or compensations to run.
It may have been killed: then the next runner takes them over.';
REVOKE ALL ON FUNCTION atp_internal.is_left_by_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.take_over_from_handlers(subscription int, tenant int) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	found int;
BEGIN
	IF NOT atp_internal.is_left_by_handlers(subscription, tenant) THEN
		RETURN 0;
	END IF;
	PERFORM atp_internal.lock_cursors(subscription, (SELECT max(c.partition) + 1 FROM atp_internal.subscription_cursor c
		WHERE c.subscription = take_over_from_handlers.subscription AND c.tenant = take_over_from_handlers.tenant));
	UPDATE atp_internal.subscription_cursor c SET retry_changes = c.retry_changes + 1,
			lease_until = CASE WHEN c.lease IS NOT NULL AND c.consumer = 'handlers' THEN clock_timestamp() ELSE c.lease_until END,
			retry_due_at = CASE WHEN c.retries > 0 THEN least(c.retry_due_at, clock_timestamp()) ELSE c.retry_due_at END
		WHERE c.subscription = take_over_from_handlers.subscription AND c.tenant = take_over_from_handlers.tenant;
	UPDATE atp_internal.retry r SET lease_until = clock_timestamp()
		WHERE r.subscription = take_over_from_handlers.subscription AND r.tenant = take_over_from_handlers.tenant
			AND r.lease IS NOT NULL AND r.consumer = 'handlers';
	GET DIAGNOSTICS found = ROW_COUNT;
	RETURN found;
END $$;
COMMENT ON FUNCTION atp_internal.take_over_from_handlers(int, int) IS
'End the leases of a runner that was killed.
The caller is the only runner of the subscription. The attempts count, as those of any lease that expires.';
REVOKE ALL ON FUNCTION atp_internal.take_over_from_handlers(int, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.handled_subscriptions(OUT subscription int, OUT tenant int, OUT is_ready boolean, OUT is_pending boolean)
	RETURNS SETOF record LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s.subscription, s.tenant, atp.wait_for_events(s.name, '0', t.name) OR atp_internal.is_left_by_handlers(s.subscription, s.tenant),
		EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant AND r.due_at < 'infinity')
	FROM atp_internal.subscription s JOIN atp_internal.tenant t ON t.tenant = s.tenant
	WHERE t.status = 'active' AND EXISTS (SELECT FROM atp_internal.handler h WHERE h.subscription = s.subscription AND h.tenant = s.tenant)
	ORDER BY s.subscription;
END;
COMMENT ON FUNCTION atp_internal.handled_subscriptions() IS
'List the subscriptions that have handlers, and whether they have work.
In the order of their keys. is_ready: a claim would find events, or a runner has some, dead or alive. is_pending: events are due later.';
REVOKE ALL ON FUNCTION atp_internal.handled_subscriptions() FROM PUBLIC;

CREATE FUNCTION atp_internal.require_handler_function(function regprocedure, run_as name) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	IF NOT EXISTS (SELECT FROM pg_proc p WHERE p.oid = function AND p.pronargs = 1 AND p.proargtypes[0] = 'jsonb'::regtype
			AND p.prokind = 'f' AND NOT p.proretset) THEN
		RAISE EXCEPTION '% cannot handle events', function USING ERRCODE = 'TP341',
			HINT = 'A handler is a function of one argument of type jsonb that returns one value, void for example.';
	END IF;
	IF NOT has_function_privilege(run_as, function::oid, 'EXECUTE') THEN
		RAISE EXCEPTION 'role "%" may not execute %', run_as, function USING ERRCODE = '42501';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_handler_function(regprocedure, name) IS
'Refuse a function that cannot be a handler, or that the role may not execute.
Raises: TP341, 42501.';
REVOKE ALL ON FUNCTION atp_internal.require_handler_function(regprocedure, name) FROM PUBLIC;

CREATE FUNCTION atp_internal.add_handler(tenant int, subscription int, step int, handler text, function text, compensation text, run_as name,
		timeout interval) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
BEGIN
	INSERT INTO atp_internal.handler (tenant, subscription, step, handler, function, compensation, run_as, timeout)
		VALUES (tenant, subscription, step, handler, function, compensation, run_as, timeout)
		ON CONFLICT DO NOTHING;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'handler "%" exists, or step % of its subscription is taken', handler, step USING ERRCODE = '42710';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.add_handler(int, int, int, text, text, text, name, interval) IS
'Enter a handler.
Raises: 42710 (name or step taken), 23514, 23502.';
REVOKE ALL ON FUNCTION atp_internal.add_handler(int, int, int, text, text, text, name, interval) FROM PUBLIC;

CREATE FUNCTION atp.create_handler(handler text, subscription text, function regprocedure, step int DEFAULT 1,
		compensation regprocedure DEFAULT NULL, timeout interval DEFAULT '30 seconds', run_as name DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS void LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_handler.tenant);
	subscription_key int := atp_internal.subscription_key(create_handler.subscription, create_handler.tenant);
	runner name := coalesce(run_as, session_user);
BEGIN
	IF function IS NULL THEN
		RAISE EXCEPTION 'function must not be null' USING ERRCODE = '22004';
	END IF;
	IF NOT pg_has_role(session_user, runner, 'MEMBER') OR pg_has_role(runner, 'atp_owner', 'USAGE') AND NOT
			(SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = session_user) THEN
		RAISE EXCEPTION 'permission denied to run a handler as role "%"', runner USING ERRCODE = '42501',
			DETAIL = 'The session''s user has to be a member of it.';
	END IF;
	PERFORM atp_internal.require_handler_function(function, runner);
	IF compensation IS NOT NULL THEN
		PERFORM atp_internal.require_handler_function(compensation, runner);
	END IF;
	PERFORM atp_internal.add_handler(owner_key, subscription_key, step, handler, function::text, compensation::text, runner, timeout);
END $$;
COMMENT ON FUNCTION atp.create_handler(text, text, regprocedure, int, regprocedure, interval, name, text) IS
'Create a handler: a function that is run for each event of a subscription.
function takes the event as jsonb (event_id, stream, stream_version, event_type, schema_version, occurred_at, payload, metadata, log_position, attempt, handler, tenant); what it returns is ignored. Its search_path is pg_catalog, pg_temp unless it has one of its own (CREATE FUNCTION … SET search_path). It runs in a worker process of the subscription, as run_as (NULL: the session''s user), up to timeout per call; effects and acks of a batch are one transaction, so that effects in this database happen exactly once. An error, the timeout, or more memory than atp.handler_max_memory, is a failed delivery: tried again and given up as the subscription says. Handlers of one subscription are steps, run in order; what an earlier step has done is not repeated when a later one is tried again. When a step gives up, compensation of the steps before it is called with the event, the last first. Events that it appends are like any others: when its own subscription takes them, it goes on without end. Do not claim from such a subscription elsewhere.
Raises: TP202, TP300 (no such subscription), TP341 (not such a function), 42501, 42710 (name or step taken), 42704 (no such role), 22004, 23514, 23502 (step, timeout, name).';
REVOKE ALL ON FUNCTION atp.create_handler(text, text, regprocedure, int, regprocedure, interval, name, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_handler(text, text, regprocedure, int, regprocedure, interval, name, text) TO atp_admin;

CREATE FUNCTION atp.drop_handler(handler text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(drop_handler.tenant);
BEGIN
	DELETE FROM atp_internal.handler h WHERE h.handler = drop_handler.handler AND h.tenant = owner_key;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'handler "%" does not exist', handler USING ERRCODE = 'TP340';
	END IF;
END $$;
COMMENT ON FUNCTION atp.drop_handler(text, text) IS
'Drop a handler.
A batch in work ends first, or is handled by the steps that remain.
Raises: TP202, TP340 (no such handler).';
REVOKE ALL ON FUNCTION atp.drop_handler(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.drop_handler(text, text) TO atp_admin;

CREATE VIEW atp.handlers WITH (security_barrier) AS
	SELECT t.name AS tenant, h.handler, s.name AS subscription, h.step, h.function, h.compensation, h.run_as, h.timeout, h.created_at
	FROM atp_internal.handler h
		JOIN atp_internal.tenant t ON t.tenant = h.tenant
		JOIN atp_internal.subscription s ON s.subscription = h.subscription AND s.tenant = h.tenant;
COMMENT ON VIEW atp.handlers IS 'List the in-database handlers.';
COMMENT ON COLUMN atp.handlers.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.handlers.handler IS 'Name.';
COMMENT ON COLUMN atp.handlers.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.handlers.step IS 'Place among the handlers of the subscription.';
COMMENT ON COLUMN atp.handlers.function IS 'The function.';
COMMENT ON COLUMN atp.handlers.compensation IS 'What undoes the step; NULL: nothing does.';
COMMENT ON COLUMN atp.handlers.run_as IS 'Role that the functions run as.';
COMMENT ON COLUMN atp.handlers.timeout IS 'How long one call may take.';
COMMENT ON COLUMN atp.handlers.created_at IS 'When it was made.';
GRANT SELECT ON atp.handlers TO atp_reader, atp_auditor, atp_admin;

-- ==== src/delivery/route.sql ====
-- Routes: the anti-corruption layer. A route is a handler of a subscription (see handler.sql): it translates each event into another one, of
-- the published language, and appends it in the transaction that acks the first: exactly once. Which events it takes is the
-- subscription's filter; where they go is a template over their content.
CREATE TABLE atp_internal.route (
	tenant int NOT NULL,
	route text NOT NULL,
	version int NOT NULL,
	event_type text,
	stream text,
	mapping jsonb,
	function text,
	run_as text,
	target_subscription text,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT route_pk PRIMARY KEY (route, version, tenant),
	CONSTRAINT route_handler FOREIGN KEY (route, tenant) REFERENCES atp_internal.handler (handler, tenant) ON DELETE CASCADE,
	CONSTRAINT route_has_target CHECK (target_subscription IS NOT NULL AND event_type IS NULL AND stream IS NULL AND mapping IS NULL AND function IS NULL
		OR target_subscription IS NULL AND event_type IS NOT NULL AND stream IS NOT NULL AND (mapping IS NULL) <> (function IS NULL))
);
COMMENT ON TABLE atp_internal.route IS 'Routes, all versions; the highest is the one in force.';
COMMENT ON COLUMN atp_internal.route.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.route.route IS 'Name of the route, and of its handler.';
COMMENT ON COLUMN atp_internal.route.version IS '1, 2, 3, ...';
COMMENT ON COLUMN atp_internal.route.event_type IS 'Type of the event that is appended.';
COMMENT ON COLUMN atp_internal.route.stream IS 'Stream it is appended to, with jsonpaths in braces.';
COMMENT ON COLUMN atp_internal.route.mapping IS 'Payload by member: a text that begins with $ is a jsonpath over the CloudEvents form, anything else is itself.';
COMMENT ON COLUMN atp_internal.route.function IS 'Function that makes the payload, in the place of a mapping.';
COMMENT ON COLUMN atp_internal.route.run_as IS 'Role that the function runs as.';
COMMENT ON COLUMN atp_internal.route.target_subscription IS 'Subscription that the event itself is handed to, in the place of a translation.';
COMMENT ON COLUMN atp_internal.route.created_at IS 'When this version was made.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.route', '');
ALTER TABLE atp_internal.route ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.route FORCE ROW LEVEL SECURITY;
CREATE POLICY route_tenant ON atp_internal.route USING (atp_internal.tenant_is_visible(tenant));

-- How many routes an event has come through. It is noted here and not in the event's metadata, which whoever appends it writes as he likes.
CREATE TABLE atp_internal.routed (
	tenant int NOT NULL,
	subscription int NOT NULL,
	event_id uuid NOT NULL,
	hops int NOT NULL,
	routed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT routed_pk PRIMARY KEY (event_id, subscription, tenant)
);
CREATE INDEX routed_routed_at ON atp_internal.routed USING brin (routed_at);
COMMENT ON TABLE atp_internal.routed IS 'Events that routes made or handed on in the last day, and how many routes they have come through.';
COMMENT ON COLUMN atp_internal.routed.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.routed.subscription IS 'Surrogate key of the subscription that the event was handed to; 0: the event was made by a route.';
COMMENT ON COLUMN atp_internal.routed.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.routed.hops IS 'Routes on its way, this one included.';
COMMENT ON COLUMN atp_internal.routed.routed_at IS 'When it was routed.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.routed', '');
ALTER TABLE atp_internal.routed ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.routed FORCE ROW LEVEL SECURITY;
CREATE POLICY routed_tenant ON atp_internal.routed USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.note_routed(tenant int, subscription int, event_id uuid, hops int) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.routed AS r (tenant, subscription, event_id, hops)
		VALUES (note_routed.tenant, note_routed.subscription, note_routed.event_id, note_routed.hops)
		ON CONFLICT ON CONSTRAINT routed_pk DO UPDATE SET hops = excluded.hops, routed_at = excluded.routed_at WHERE r.hops < excluded.hops;
END;
COMMENT ON FUNCTION atp_internal.note_routed(int, int, uuid, int) IS
'Note through how many routes an event has come.
By several ways: the longest counts.';
REVOKE ALL ON FUNCTION atp_internal.note_routed(int, int, uuid, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.purge_routed(max_count int) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	purged bigint;
BEGIN
	DELETE FROM atp_internal.routed r WHERE r.ctid = ANY (ARRAY(
		SELECT o.ctid FROM atp_internal.routed o WHERE o.routed_at < clock_timestamp() - interval '1 day' LIMIT max_count FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END $$;
COMMENT ON FUNCTION atp_internal.purge_routed(int) IS
'Forget what was routed more than a day ago, up to so many rows.
A loop whose rounds take a day is no burden.';
REVOKE ALL ON FUNCTION atp_internal.purge_routed(int) FROM PUBLIC;

CREATE FUNCTION atp_internal.fill_template(template text, document jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	filled text := '';
	rest text := template;
	path text;
	value jsonb;
BEGIN
	WHILE rest ~ '\{\$[^{}]*\}' LOOP
		path := substring(rest FROM '\{(\$[^{}]*)\}');
		value := jsonb_path_query_first(document, path::jsonpath);
		IF value IS NULL OR jsonb_typeof(value) NOT IN ('string', 'number', 'boolean') THEN
			RAISE EXCEPTION 'the event has no scalar at %', path USING ERRCODE = 'TP343', DETAIL = format('The template is "%s".', template);
		END IF;
		filled := filled || substring(rest FROM '^(.*?)\{\$[^{}]*\}') || (value #>> '{}');
		rest := substr(rest, strpos(rest, '{' || path || '}') + length(path) + 2);
	END LOOP;
	RETURN filled || rest;
END $$;
COMMENT ON FUNCTION atp_internal.fill_template(text, jsonb) IS
'Fill the jsonpaths in braces of a template with what a document has there.
Raises: TP343 (nothing there, or an object or array).';
REVOKE ALL ON FUNCTION atp_internal.fill_template(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.map_document(mapping jsonb, document jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(jsonb_object_agg(m.key, m.value) FILTER (WHERE m.value IS NOT NULL), '{}')
	FROM (SELECT e.key, CASE
			WHEN jsonb_typeof(e.value) = 'string' AND e.value #>> '{}' LIKE '$%'
				THEN jsonb_path_query_first(map_document.document, (e.value #>> '{}')::jsonpath)
			WHEN jsonb_typeof(e.value) = 'object' AND e.value ? '$literal' THEN e.value -> '$literal'
			ELSE e.value END AS value
		FROM jsonb_each(map_document.mapping) e) m;
END;
COMMENT ON FUNCTION atp_internal.map_document(jsonb, jsonb) IS
'Make a document by a mapping over another one.
A member whose jsonpath finds nothing is left out; {"$literal": x} is x.';
REVOKE ALL ON FUNCTION atp_internal.map_document(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.translate_event(route atp_internal.route, event jsonb, document jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	outcome record;
BEGIN
	IF route.mapping IS NOT NULL THEN
		RETURN atp_internal.map_document(route.mapping, document);
	END IF;
	SELECT * INTO outcome FROM atp_internal.call_handler(route.function, event, 30000, route.run_as);
	IF outcome.failure IS NOT NULL THEN
		RAISE EXCEPTION 'route "%" could not translate the event: %', route.route, outcome.failure USING ERRCODE = 'TP343';
	END IF;
	RETURN outcome.result;
END $$;
COMMENT ON FUNCTION atp_internal.translate_event(atp_internal.route, jsonb, jsonb) IS
'Make the payload that a route gives an event.
NULL: none, the event goes no further.
Raises: TP343 (the function of the route failed).';
REVOKE ALL ON FUNCTION atp_internal.translate_event(atp_internal.route, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.route_event(event_id uuid, subscription text, tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(route_event.tenant);
	key int := atp_internal.subscription_key(route_event.subscription, route_event.tenant);
	tenant_name text := (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = owner_key);
	place bigint;
BEGIN
	SELECT l.log_position INTO place FROM atp_internal.log l WHERE l.event_id = route_event.event_id AND l.tenant = owner_key;
	IF place IS NULL THEN
		RAISE EXCEPTION 'event % is not in the log', event_id USING ERRCODE = 'TP308', HINT = 'See atp.wait_for_event.';
	END IF;
	-- Where the subscription's own rules match and its cursors have not all passed the event, it comes by itself: once is enough.
	IF (SELECT e.matches FROM atp.explain_routing(event_id, tenant_name) e WHERE e.subscription = route_event.subscription)
			AND place > (SELECT min(c.acked) FROM (SELECT DISTINCT ON (x.partition) x.acked FROM atp_internal.subscription_cursor x
				WHERE x.subscription = key AND x.tenant = owner_key ORDER BY x.partition, x.generation DESC) c) THEN
		RETURN false;
	END IF;
	RETURN cardinality(atp_internal.redeliver(subscription, tenant_name, ARRAY[0::bigint], ARRAY[event_id], ARRAY[clock_timestamp()])) > 0;
END $$;
COMMENT ON FUNCTION atp.route_event(uuid, text, text) IS
'Hand an event to a subscription, whatever its filter says.
It is due at once, with no attempts, beside what the cursor finds. Returns false where it is waiting there already, or comes by itself because the subscription''s own rules match and have not passed it.
Raises: TP202, TP300 (no such subscription), TP308 (not in the log).';
REVOKE ALL ON FUNCTION atp.route_event(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.route_event(uuid, text, text) TO atp_admin;

CREATE FUNCTION atp_internal.run_route(event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	tenant_name text := event ->> 'tenant';
	owner_key int := atp_internal.open_tenant(tenant_name);
	source uuid := (event ->> 'event_id')::uuid;
	route atp_internal.route;
	document jsonb;
	payload jsonb;
	metadata jsonb := coalesce(event -> 'metadata', '{}');
	own_subscription int;
	hops int;
	made record;
BEGIN
	SELECT r.* INTO STRICT route FROM atp_internal.route r
		WHERE r.route = event ->> 'handler' AND r.tenant = owner_key ORDER BY r.version DESC LIMIT 1;
	SELECT h.subscription INTO STRICT own_subscription FROM atp_internal.handler h WHERE h.handler = route.route AND h.tenant = owner_key;
	SELECT coalesce(max(r.hops), 0) INTO hops FROM atp_internal.routed r
		WHERE r.event_id = source AND r.subscription IN (0, own_subscription) AND r.tenant = owner_key;
	IF hops >= current_setting('atp.route_max_hops')::int THEN
		RAISE EXCEPTION 'route "%" goes no further with an event that has come through % routes', route.route, hops USING ERRCODE = 'TP344',
			DETAIL = 'Routes whose events come back to them would go on for ever.',
			HINT = 'Have the subscription leave its route''s events out; a longer way may be allowed with atp.route_max_hops.';
	END IF;
	IF route.target_subscription IS NOT NULL THEN
		IF atp.route_event(source, route.target_subscription, tenant_name) THEN
			PERFORM atp_internal.note_routed(owner_key, atp_internal.subscription_key(route.target_subscription, tenant_name), source, hops + 1);
		END IF;
		RETURN;
	END IF;
	document := atp.get_cloudevent(source, tenant_name);
	payload := atp_internal.translate_event(route, event, document);
	IF payload IS NULL THEN
		RETURN;
	END IF;
	SELECT a.event_id INTO made FROM atp.append_event(atp_internal.fill_template(route.stream, document), route.event_type, payload,
		metadata => jsonb_strip_nulls(jsonb_build_object('actor', metadata -> 'actor', 'traceparent', metadata -> 'traceparent',
			'tracestate', metadata -> 'tracestate', 'causation_id', atp.ulid_from_uuid(source),
			'correlation_id', coalesce(metadata -> 'correlation_id', to_jsonb(atp.ulid_from_uuid(source))),
			'route', route.route, 'route_version', route.version)),
		idempotency_key => format('route/%s/%s', route.route, source), tenant => tenant_name) a;
	PERFORM atp_internal.note_routed(owner_key, 0, made.event_id, hops + 1);
END $$;
COMMENT ON FUNCTION atp_internal.run_route(jsonb) IS
'Route one event.
Called as the handler of the route''s subscription, whose other failures are tried again.
Raises: TP344 (it has come through atp.route_max_hops routes already), TP343 (it cannot be translated).';
REVOKE ALL ON FUNCTION atp_internal.run_route(jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_route(stream text, mapping jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	path text;
BEGIN
	IF jsonb_typeof(mapping) <> 'object' THEN
		RAISE EXCEPTION 'mapping is not a JSON object' USING ERRCODE = 'TP342';
	ELSIF regexp_replace(stream, '\{\$[^{}]*\}', '', 'g') ~ '[{}]' THEN
		RAISE EXCEPTION 'the stream of a route has a brace too much' USING ERRCODE = 'TP342', DETAIL = format('It is "%s".', stream),
			HINT = 'Braces enclose a jsonpath, which begins with $: invoice-{$.data.order}.';
	END IF;
	FOR path IN
		SELECT m[1] FROM regexp_matches(stream, '\{(\$[^{}]*)\}', 'g') m
		UNION ALL SELECT e.value #>> '{}' FROM jsonb_each(coalesce(mapping, '{}')) e WHERE jsonb_typeof(e.value) = 'string' AND e.value #>> '{}' LIKE '$%'
	LOOP
		BEGIN
			PERFORM jsonb_path_query_first('{}', path::jsonpath, silent => true);
		EXCEPTION WHEN syntax_error OR data_exception OR undefined_object THEN	-- the last: a variable
			RAISE EXCEPTION 'invalid jsonpath in a route' USING ERRCODE = 'TP342', DETAIL = format('"%s": %s', path, SQLERRM);
		END;
	END LOOP;
END $$;
COMMENT ON FUNCTION atp_internal.require_route(text, jsonb) IS
'Refuse a template or mapping whose jsonpaths do not parse, or name variables.
Raises: TP342.';
REVOKE ALL ON FUNCTION atp_internal.require_route(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.name_matches(name text, patterns text[]) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN name_matches.patterns IS NULL OR EXISTS (SELECT FROM pg_catalog.unnest(name_matches.patterns) p
		WHERE name_matches.name LIKE pg_catalog.replace(pg_catalog.regexp_replace(p, '([\\%_])', '\\\1', 'g'), '*', '%'));
COMMENT ON FUNCTION atp_internal.name_matches(text, text[]) IS
'Say whether a name meets a list of names, where * stands for any characters.
NULL takes any.';
REVOKE ALL ON FUNCTION atp_internal.name_matches(text, text[]) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_way_out(tenant int, subscription int, event_type text, stream text, mapping jsonb, target_subscription text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	s atp_internal.subscription;
	way text;
BEGIN
	SELECT x.* INTO STRICT s FROM atp_internal.subscription x WHERE x.subscription = require_way_out.subscription AND x.tenant = require_way_out.tenant;
	IF require_way_out.target_subscription IS NOT NULL THEN
		WITH RECURSIVE handed AS (
			SELECT DISTINCT ON (r.route) f.name AS source, r.target_subscription AS target
			FROM atp_internal.route r JOIN atp_internal.handler h ON h.handler = r.route AND h.tenant = r.tenant
				JOIN atp_internal.subscription f ON f.subscription = h.subscription AND f.tenant = h.tenant
			WHERE r.tenant = require_way_out.tenant ORDER BY r.route, r.version DESC),
		reached AS (
			SELECT require_way_out.target_subscription AS name, format('"%s", "%s"', s.name, require_way_out.target_subscription) AS way
			UNION
			SELECT h.target, format('%s, "%s"', r.way, h.target) FROM reached r JOIN handed h ON h.source = r.name
			WHERE h.target IS NOT NULL AND r.name <> s.name AND strpos(r.way, format('"%s"', h.target)) IN (0, 1))
		SELECT r.way INTO way FROM reached r WHERE r.name = s.name LIMIT 1;
	ELSIF require_way_out.mapping IS NOT NULL AND require_way_out.stream !~ '\{\$' AND s.filter IS NULL AND s.correlation IS NULL
			AND atp_internal.name_matches(require_way_out.event_type, s.event_types)
			AND atp_internal.name_matches(split_part(require_way_out.stream, '-', 1), s.categories)
			AND atp_internal.name_matches(require_way_out.stream, s.streams) THEN
		way := format('"%s", "%s"', s.name, s.name);
	END IF;
	IF way IS NOT NULL THEN
		RAISE EXCEPTION 'the route would be fed with its own events' USING ERRCODE = 'TP342',
			DETAIL = format('They would go through the subscriptions %s, without end.', way),
			HINT = 'Have the subscription leave them out.';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_way_out(int, int, text, text, jsonb, text) IS
'Refuse a route of which it is certain that what it makes comes back to it.
Other routes that do are stopped by atp.route_max_hops.
Raises: TP342.';
REVOKE ALL ON FUNCTION atp_internal.require_way_out(int, int, text, text, jsonb, text) FROM PUBLIC;

CREATE FUNCTION atp.create_route(route text, subscription text, event_type text DEFAULT NULL, stream text DEFAULT NULL, mapping jsonb DEFAULT NULL,
		function regprocedure DEFAULT NULL, target_subscription text DEFAULT NULL, step int DEFAULT 1, tenant text DEFAULT NULL) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_route.tenant);
	subscription_key int := atp_internal.subscription_key(create_route.subscription, create_route.tenant);
	standing int;
BEGIN
	IF target_subscription IS NULL AND (event_type IS NULL OR stream IS NULL OR (mapping IS NULL) = (function IS NULL))
			OR target_subscription IS NOT NULL AND num_nonnulls(event_type, stream, mapping, function) > 0 THEN
		RAISE EXCEPTION 'a route needs a target' USING ERRCODE = 'TP342',
			HINT = 'Give event_type, stream, and either mapping or function; or target_subscription alone.';
	END IF;
	PERFORM atp_internal.require_route(stream, mapping);
	IF event_type IS NOT NULL THEN
		PERFORM atp_internal.check_scheduled(regexp_replace(stream, '\{\$[^{}]*\}', 'x-x', 'g'), event_type, '{}', NULL);
	END IF;
	IF function IS NOT NULL THEN
		PERFORM atp_internal.require_handler_function(function, session_user);
	END IF;
	IF target_subscription IS NOT NULL THEN
		PERFORM atp_internal.subscription_key(target_subscription, create_route.tenant);
	END IF;
	PERFORM atp_internal.require_way_out(owner_key, subscription_key, event_type, stream, mapping, target_subscription);
	SELECT max(r.version) INTO standing FROM atp_internal.route r WHERE r.route = create_route.route AND r.tenant = owner_key;
	IF standing IS NULL THEN
		PERFORM atp_internal.add_handler(owner_key, subscription_key, step, route, 'atp_internal.run_route(jsonb)', NULL, 'atp_owner', '1 minute');
	ELSIF NOT EXISTS (SELECT FROM atp_internal.handler h WHERE h.handler = route AND h.tenant = owner_key AND h.subscription = subscription_key) THEN
		RAISE EXCEPTION 'route "%" belongs to another subscription', route USING ERRCODE = '42710';
	END IF;
	INSERT INTO atp_internal.route (tenant, route, version, event_type, stream, mapping, function, run_as, target_subscription)
		VALUES (owner_key, route, coalesce(standing, 0) + 1, event_type, stream, mapping, function::text,
			CASE WHEN function IS NOT NULL THEN session_user END, target_subscription);
	RETURN coalesce(standing, 0) + 1;
END $$;
COMMENT ON FUNCTION atp.create_route(text, text, text, text, jsonb, regprocedure, text, int, text) IS
'Create a route, or the next version of one; returns the version.
Each event of the subscription becomes an event of event_type in stream, whose name may hold jsonpaths over the CloudEvents form in braces: invoice-{$.data.order}. Its payload comes from mapping, a JSON object in which a text that begins with $ is such a jsonpath (a member that is not there is left out) and anything else is itself ({"$literal": x} is x); or from function, which takes the event as handlers do and returns jsonb, NULL for no event, and runs as the session''s user. causation_id is the source''s id, correlation_id the source''s or else its id; actor and trace are kept; route and route_version are noted. Exactly once, in the transaction that acks. Or, with target_subscription alone, the event itself is handed to that subscription, whatever its filter says. An event that has come through atp.route_max_hops routes goes no further: it becomes a dead letter of the subscription at once (TP344), so that routes that feed one another end. drop_handler(route) ends a route.
Raises: TP201 (event type, stream), TP202, TP300 (no such subscription), TP341 (not such a function), TP342 (no or two targets, a jsonpath, or its events would certainly come back to it), 42710 (name or step taken), 42501, 23514, 23502 (name, step).';
REVOKE ALL ON FUNCTION atp.create_route(text, text, text, text, jsonb, regprocedure, text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_route(text, text, text, text, jsonb, regprocedure, text, int, text) TO atp_admin;

CREATE VIEW atp.routes WITH (security_barrier) AS
	SELECT t.name AS tenant, r.route, r.version, s.name AS subscription, r.event_type, r.stream, r.mapping, r.function, r.target_subscription, r.created_at
	FROM atp_internal.route r
		JOIN atp_internal.tenant t ON t.tenant = r.tenant
		JOIN atp_internal.handler h ON h.handler = r.route AND h.tenant = r.tenant
		JOIN atp_internal.subscription s ON s.subscription = h.subscription AND s.tenant = h.tenant;
COMMENT ON VIEW atp.routes IS 'List the routes, all versions.';
COMMENT ON COLUMN atp.routes.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.routes.route IS 'Name.';
COMMENT ON COLUMN atp.routes.version IS 'The highest is in force.';
COMMENT ON COLUMN atp.routes.subscription IS 'Subscription whose events it takes.';
COMMENT ON COLUMN atp.routes.event_type IS 'Type of the event that is appended.';
COMMENT ON COLUMN atp.routes.stream IS 'Stream it is appended to, with jsonpaths in braces.';
COMMENT ON COLUMN atp.routes.mapping IS 'Payload by member.';
COMMENT ON COLUMN atp.routes.function IS 'Function that makes the payload.';
COMMENT ON COLUMN atp.routes.target_subscription IS 'Subscription that the event itself is handed to.';
COMMENT ON COLUMN atp.routes.created_at IS 'When this version was made.';
GRANT SELECT ON atp.routes TO atp_reader, atp_auditor, atp_admin;

-- ==== src/delivery/outbox.sql ====
-- Relays: events handed to Debezium's outbox event router through logical decoding. A relay is a handler of a subscription (see handler.sql),
-- so that filters, order and retries are those of the subscription, and each event is written exactly once, in the transaction
-- that acks it. Nothing is kept: in mode table the row is deleted by the transaction that inserts it, in mode message there is none.
CREATE TABLE atp.outbox_event (
	id uuid NOT NULL,
	aggregatetype varchar(255) NOT NULL,
	aggregateid varchar(255) NOT NULL,
	type varchar(255) NOT NULL,
	payload jsonb,
	tenant int NOT NULL,
	CONSTRAINT outbox_event_pk PRIMARY KEY (id, tenant)
);
COMMENT ON TABLE atp.outbox_event IS 'Outbox table of Debezium, with its default columns; always empty outside of the transaction that relays.';
COMMENT ON COLUMN atp.outbox_event.id IS 'The event''s id.';
COMMENT ON COLUMN atp.outbox_event.aggregatetype IS 'Category of the stream; becomes part of the topic.';
COMMENT ON COLUMN atp.outbox_event.aggregateid IS 'What follows the category in the stream''s name; becomes the key of the message.';
COMMENT ON COLUMN atp.outbox_event.type IS 'Event type.';
COMMENT ON COLUMN atp.outbox_event.payload IS 'Payload of the event; NULL once erased.';
COMMENT ON COLUMN atp.outbox_event.tenant IS 'Surrogate key of the tenant.';
SELECT pg_catalog.pg_extension_config_dump('atp.outbox_event', 'WHERE false');
ALTER TABLE atp.outbox_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp.outbox_event FORCE ROW LEVEL SECURITY;
CREATE POLICY outbox_event_tenant ON atp.outbox_event USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.relay (
	tenant int NOT NULL,
	relay text NOT NULL,
	mode text NOT NULL CONSTRAINT relay_mode_known CHECK (mode IN ('table', 'message')),
	prefix text NOT NULL CONSTRAINT relay_prefix_sized CHECK (pg_catalog.octet_length(prefix) BETWEEN 1 AND 63),
	CONSTRAINT relay_pk PRIMARY KEY (relay, tenant),
	CONSTRAINT relay_handler FOREIGN KEY (relay, tenant) REFERENCES atp_internal.handler (handler, tenant) ON DELETE CASCADE
);
COMMENT ON TABLE atp_internal.relay IS 'What the handlers that are relays write.';
COMMENT ON COLUMN atp_internal.relay.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.relay.relay IS 'Name of the relay, and of its handler.';
COMMENT ON COLUMN atp_internal.relay.mode IS 'table: a row of atp.outbox_event; message: a logical decoding message.';
COMMENT ON COLUMN atp_internal.relay.prefix IS 'Prefix of the messages.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.relay', '');
ALTER TABLE atp_internal.relay ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.relay FORCE ROW LEVEL SECURITY;
CREATE POLICY relay_tenant ON atp_internal.relay USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.run_relay(event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(event ->> 'tenant');
	stream text := event ->> 'stream';
	category text := split_part(stream, '-', 1);
	relay atp_internal.relay;
	outgoing atp.outbox_event;
BEGIN
	SELECT r.* INTO STRICT relay FROM atp_internal.relay r WHERE r.relay = event ->> 'handler' AND r.tenant = owner_key;
	outgoing := ROW((event ->> 'event_id')::uuid, category, substr(stream, length(category) + 2), event ->> 'event_type',
		nullif(event -> 'payload', 'null'), owner_key);
	IF relay.mode = 'message' THEN
		PERFORM pg_logical_emit_message(true, relay.prefix, (to_jsonb(outgoing) - 'tenant')::text);
	ELSE
		INSERT INTO atp.outbox_event SELECT outgoing.*;
		DELETE FROM atp.outbox_event o WHERE o.id = outgoing.id AND o.tenant = owner_key;
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.run_relay(jsonb) IS
'Write one event as its relay says.
Called as the handler of the relay''s subscription.';
REVOKE ALL ON FUNCTION atp_internal.run_relay(jsonb) FROM PUBLIC;

CREATE FUNCTION atp.create_relay(relay text, subscription text, mode text DEFAULT 'message', prefix text DEFAULT 'outbox', step int DEFAULT 1,
		tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_relay.tenant);
	subscription_key int := atp_internal.subscription_key(create_relay.subscription, create_relay.tenant);
BEGIN
	PERFORM atp_internal.add_handler(owner_key, subscription_key, step, relay, 'atp_internal.run_relay(jsonb)', NULL, 'atp_owner', '30 seconds');
	INSERT INTO atp_internal.relay (tenant, relay, mode, prefix) VALUES (owner_key, relay, mode, prefix);
END $$;
COMMENT ON FUNCTION atp.create_relay(text, text, text, text, int, text) IS
'Create a relay: a handler that hands events to Debezium''s outbox event router.
mode message writes each event as a transactional logical decoding message with the prefix, whose content is a JSON object with the members id, aggregatetype, aggregateid, type and payload; mode table inserts a row of atp.outbox_event with columns of these names, and deletes it in the same transaction (publish inserts only). Each event is written once, in the transaction that acks it. drop_handler(relay) ends it.
Raises: TP202, TP300 (no such subscription), 42710 (name or step taken), 23514 (mode, prefix, step), 23502.';
REVOKE ALL ON FUNCTION atp.create_relay(text, text, text, text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_relay(text, text, text, text, int, text) TO atp_admin;

-- ==== src/compliance/exportrecord.sql ====
-- Exports on record: requested, started, completed or failed.
CREATE FUNCTION atp.request_export(purpose text, tenant text DEFAULT NULL) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := atp_internal.open_tenant(request_export.tenant);
	export uuid := atp.create_event_id();
BEGIN
	PERFORM atp_internal.emit_event(key, 'atp.Export-' || export, 'ExportRequested', jsonb_build_object('ExportId', export,
		'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = key), 'RequestedBy', session_user,
		'Purpose', request_export.purpose, 'Format', 'bundle', 'Filter', '{}'::jsonb));
	RETURN export;
END $$;
COMMENT ON FUNCTION atp.request_export(text, text) IS
'Record that an export is asked for, and return its id for export_bundle.
purpose says in words what it is for. Records ExportRequested.
Raises: TP202, 42501.';
REVOKE ALL ON FUNCTION atp.request_export(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.request_export(text, text) TO atp_auditor, atp_admin;

CREATE TABLE atp_internal.open_export (
	tenant int NOT NULL,
	export uuid NOT NULL,
	started_at timestamptz NOT NULL,
	held_by text NOT NULL,
	CONSTRAINT open_export_pk PRIMARY KEY (tenant, export)
);
COMMENT ON TABLE atp_internal.open_export IS 'Exports that have begun and are not recorded as ended.';
COMMENT ON COLUMN atp_internal.open_export.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.open_export.export IS 'Id of the export.';
COMMENT ON COLUMN atp_internal.open_export.started_at IS 'When it began.';
COMMENT ON COLUMN atp_internal.open_export.held_by IS 'Virtual id of the transaction that exports, as pg_locks shows it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.open_export', '');
ALTER TABLE atp_internal.open_export ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.open_export FORCE ROW LEVEL SECURITY;
CREATE POLICY open_export_tenant ON atp_internal.open_export USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.open_export
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.open_export ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp_internal.emit_export_event(tenant int, export uuid, event_type text, payload jsonb) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT atp_internal.emit_event(emit_export_event.tenant, 'atp.Export-' || emit_export_event.export, emit_export_event.event_type,
		pg_catalog.jsonb_build_object('ExportId', emit_export_event.export,
			'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = emit_export_event.tenant)) || emit_export_event.payload);
END;
COMMENT ON FUNCTION atp_internal.emit_export_event(int, uuid, text, jsonb) IS 'Append an event to the stream of an export.';
REVOKE ALL ON FUNCTION atp_internal.emit_export_event(int, uuid, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.export_log(tenant int) RETURNS int
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT CASE WHEN t.status = 'deleted' THEN (SELECT d.tenant FROM atp_internal.tenant d WHERE d.name = 'default') ELSE t.tenant END
		FROM atp_internal.tenant t WHERE t.tenant = export_log.tenant;
END;
COMMENT ON FUNCTION atp_internal.export_log(int) IS 'Return whose log has the exports of a tenant: its own, until it is deleted.';
REVOKE ALL ON FUNCTION atp_internal.export_log(int) FROM PUBLIC;

CREATE FUNCTION atp_internal.end_failed_export(tenant int, export uuid, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	failures bigint;
	has_failed boolean;
BEGIN
	DELETE FROM atp_internal.open_export o WHERE o.tenant = end_failed_export.tenant AND o.export = end_failed_export.export;
	SELECT count(*) FILTER (WHERE y.name = 'ExportFailed'), coalesce(bool_or(y.name = 'ExportFailed' AND e.stream_version = s.version), false)
		INTO failures, has_failed
		FROM atp_internal.stream s JOIN atp_internal.event e ON e.stream = s.stream AND e.tenant = s.tenant
			JOIN atp_internal.event_type y ON y.event_type = e.event_type
		WHERE s.tenant = atp_internal.export_log(end_failed_export.tenant) AND s.name = 'atp.Export-' || end_failed_export.export;
	IF NOT has_failed THEN
		PERFORM atp_internal.emit_export_event(end_failed_export.tenant, end_failed_export.export, 'ExportFailed', jsonb_build_object(
			'FailureReason', left(coalesce(nullif(end_failed_export.reason, ''), 'unknown'), 1024), 'Attempt', failures + 1,
			'FailedAt', atp_internal.event_time(clock_timestamp())));
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.end_failed_export(int, uuid, text) IS
'Record that an export failed, unless that is the last thing recorded of it.
Attempt counts the failures of the export.';
REVOKE ALL ON FUNCTION atp_internal.end_failed_export(int, uuid, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.record_export(doing jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := (record_export.doing ->> 'tenant')::int;
	id uuid := (record_export.doing ->> 'export')::uuid;
BEGIN
	IF record_export.doing ? 'requested' THEN
		PERFORM atp_internal.emit_export_event(key, id, 'ExportRequested', record_export.doing -> 'requested');
	END IF;
	IF record_export.doing ? 'started' THEN
		INSERT INTO atp_internal.open_export (tenant, export, started_at, held_by)
			VALUES (key, id, clock_timestamp(), record_export.doing ->> 'held_by')
			ON CONFLICT ON CONSTRAINT open_export_pk DO UPDATE SET started_at = excluded.started_at, held_by = excluded.held_by;
		PERFORM atp_internal.emit_export_event(key, id, 'ExportStarted', record_export.doing -> 'started');
	END IF;
	IF record_export.doing ? 'completed' THEN
		DELETE FROM atp_internal.open_export o WHERE o.tenant = key AND o.export = id;
		PERFORM atp_internal.emit_export_event(key, id, 'ExportCompleted', record_export.doing -> 'completed');
	END IF;
	IF record_export.doing ? 'failed' THEN
		PERFORM atp_internal.end_failed_export(key, id, record_export.doing ->> 'failed');
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.record_export(jsonb) IS
'Record steps of an export: requested, started, completed, failed.
doing has the members tenant (key), export, held_by, and for each step its payload, or for failed the reason. export_bundle calls it, mostly in a transaction of its own.';
REVOKE ALL ON FUNCTION atp_internal.record_export(jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.sweep_exports() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	lost uuid[];
	gone record;
	swept bigint := 0;
BEGIN
	SELECT array_agg(o.export) INTO lost FROM atp_internal.open_export o
		WHERE o.started_at < pg_postmaster_start_time()
			OR NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.virtualxid = o.held_by);
	-- What those transactions have committed is visible to the next statement: an export that was completed is not open there.
	FOR gone IN SELECT o.tenant, o.export FROM atp_internal.open_export o WHERE o.export = ANY (lost) FOR UPDATE SKIP LOCKED LOOP
		PERFORM atp_internal.end_failed_export(gone.tenant, gone.export, 'It was not read to its end, or its transaction was not committed.');
		swept := swept + 1;
	END LOOP;
	RETURN swept;
END $$;
COMMENT ON FUNCTION atp_internal.sweep_exports() IS
'Record as failed the exports whose transaction is gone.
Returns how many; those that it completed are not open. The worker does it every few seconds, and so does run_verification.';
REVOKE ALL ON FUNCTION atp_internal.sweep_exports() FROM PUBLIC;

CREATE FUNCTION atp_internal.check_exports(age interval DEFAULT '5 minutes') RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH lost AS (SELECT FROM atp_internal.open_export o WHERE o.started_at < clock_timestamp() - check_exports.age
		AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.virtualxid = o.held_by))
	SELECT 'exports', CASE WHEN count(*) > 0 THEN 'warning' ELSE 'ok' END,
		CASE WHEN count(*) > 0 THEN format('%s exports broke off and are not recorded as failed yet.', count(*)) ELSE 'Exports are recorded to their end.' END,
		CASE WHEN count(*) > 0 THEN 'See to it that the worker runs; SELECT * FROM atp.run_verification() records them too.' END
	FROM lost;
END;
COMMENT ON FUNCTION atp_internal.check_exports(interval) IS 'Check that exports which broke off are recorded as failed.';
REVOKE ALL ON FUNCTION atp_internal.check_exports(interval) FROM PUBLIC;

CREATE FUNCTION atp.fail_export(export uuid, reason text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := atp_internal.open_tenant(fail_export.tenant);
BEGIN
	IF NOT EXISTS (SELECT FROM atp_internal.stream s WHERE s.tenant = atp_internal.export_log(key) AND s.name = 'atp.Export-' || fail_export.export) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP103', MESSAGE = format('no export %s was requested', fail_export.export);
	END IF;
	PERFORM atp_internal.end_failed_export(key, fail_export.export, fail_export.reason);
END $$;
COMMENT ON FUNCTION atp.fail_export(uuid, text, text) IS
'Record that an export failed, for a reason the database cannot know.
For whoever could not keep or deliver what export_bundle gave. An export that breaks off in the database is recorded as failed without this. Records ExportFailed, unless that is the last event of the export.
Raises: TP103 (no such export was requested), TP202, 42501.';
REVOKE ALL ON FUNCTION atp.fail_export(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.fail_export(uuid, text, text) TO atp_auditor, atp_admin;

-- ==== src/compliance/export.sql ====
-- Evidence bundles: what an auditor takes away, and verifies with atp-verify without this database.
CREATE FUNCTION atp.export_bundle(
	stream text DEFAULT NULL,
	event_type text DEFAULT NULL,
	recorded_from timestamptz DEFAULT NULL,
	recorded_until timestamptz DEFAULT NULL,
	completeness text DEFAULT 'records',
	first_leaf bigint DEFAULT 0,
	max_leaves bigint DEFAULT NULL,
	known_size bigint DEFAULT NULL,
	known_tree_size bigint DEFAULT NULL,
	export uuid DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS SETOF text
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100000 COST 1000 AS 'MODULE_PATHNAME', 'atp_export_bundle';
COMMENT ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) IS
'Export a tenant''s events under the newest signed checkpoint, as lines of JSON.
Without arguments the whole log. stream, event_type, recorded_from (inclusive) and recorded_until (exclusive) filter. completeness says what is told of events that the filter leaves out: records (their records without content, so that it can be seen that they do not match), hashes (their leaf hashes only), proofs (nothing: each event comes with a proof of its own; for one stream out of a large log). first_leaf and max_leaves export a part of the log. known_size and known_tree_size are sizes from a known head of atp-verify: the bundle then proves growth from there. export is an id of request_export. In a target list rows come as they are made, in constant memory: COPY (SELECT atp.export_bundle()) TO ... WITH (FORMAT csv, QUOTE E''\x01'', DELIMITER E''\x02'') writes them unchanged.
Records ExportRequested and ExportStarted before the first line leaves, in a transaction of its own: they stand where this one is rolled back or reads only. Records ExportCompleted with the last line, in this transaction, or ExportFailed: at once where the export raises, within seconds where it was not read to its end or its transaction ended without a commit. A standby records nothing.
Raises: TP103, TP202, TP506 (no signed checkpoint, or the stored tree is damaged), 22023, 42501.';
REVOKE ALL ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) TO atp_auditor, atp_admin;

-- ==== src/tooling/document/field.sql ====
-- Fields of event types as typed languages see them, with numbers that never change.
CREATE TYPE atp_internal.schema_field AS (
	path text,
	name text,
	number int,
	kind text,
	item_kind text,
	required boolean,
	nullable boolean,
	active boolean,
	description text
);
COMMENT ON TYPE atp_internal.schema_field IS 'A property of a schema, at any depth, for generators.';
COMMENT ON COLUMN atp_internal.schema_field.path IS 'Where the object is that has it: names joined by /, empty for the payload itself; items of an array have the array''s path.';
COMMENT ON COLUMN atp_internal.schema_field.name IS 'Name of the property.';
COMMENT ON COLUMN atp_internal.schema_field.number IS 'Its number in the object, from 1, the same in all versions.';
COMMENT ON COLUMN atp_internal.schema_field.kind IS 'string, integer, number, boolean, array, record (an object with known properties), map (another object) or any.';
COMMENT ON COLUMN atp_internal.schema_field.item_kind IS 'Kind of the items of an array.';
COMMENT ON COLUMN atp_internal.schema_field.required IS 'Whether the active version demands it.';
COMMENT ON COLUMN atp_internal.schema_field.nullable IS 'Whether the active version lets it be null.';
COMMENT ON COLUMN atp_internal.schema_field.active IS 'False: an earlier version had it; its number is not used again.';
COMMENT ON COLUMN atp_internal.schema_field.description IS 'What the schema says of it.';

CREATE FUNCTION atp_internal.resolve_schema(document jsonb, node jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	steps int := 0;
BEGIN
	WHILE jsonb_typeof(node) = 'object' AND node ->> '$ref' LIKE '#%' AND steps < 20 LOOP
		node := coalesce(document #> ARRAY(SELECT replace(replace(s, '~1', '/'), '~0', '~')
			FROM unnest(string_to_array(nullif(substr(node ->> '$ref', 3), ''), '/')) AS s), '{}') || (node - '$ref');
		steps := steps + 1;
	END LOOP;
	RETURN CASE WHEN jsonb_typeof(node) = 'object' THEN node ELSE '{}' END;
END $$;
COMMENT ON FUNCTION atp_internal.resolve_schema(jsonb, jsonb) IS
'Follow references within a schema document.
What stands beside a $ref is kept. A reference that leads out of the document is left as it is; a schema that is no object says nothing.';
REVOKE ALL ON FUNCTION atp_internal.resolve_schema(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.schema_kind(node jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE
			WHEN t.types = '{object}' OR t.types = '{}' AND node ? 'properties' THEN
				CASE WHEN pg_catalog.jsonb_typeof(node -> 'properties') = 'object' AND node -> 'properties' <> '{}' THEN 'record' ELSE 'map' END
			WHEN pg_catalog.cardinality(t.types) = 1 THEN t.types[1]
			WHEN t.types = '{}' AND pg_catalog.jsonb_typeof(node -> 'enum') = 'array'
				AND NOT EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(node -> 'enum') AS v WHERE pg_catalog.jsonb_typeof(v) <> 'string') THEN 'string'
			ELSE 'any' END
		FROM (SELECT ARRAY(SELECT w FROM pg_catalog.jsonb_array_elements_text(CASE pg_catalog.jsonb_typeof(node -> 'type')
			WHEN 'array' THEN node -> 'type' WHEN 'string' THEN pg_catalog.jsonb_build_array(node -> 'type') ELSE '[]' END) AS w WHERE w <> 'null') AS types) t;
END;
COMMENT ON FUNCTION atp_internal.schema_kind(jsonb) IS 'Return the kind of what a schema describes; see the type schema_field.';
REVOKE ALL ON FUNCTION atp_internal.schema_kind(jsonb) FROM PUBLIC;

-- The number of a property is its rank by the first version that had it, then by its place in "required" there, then by name. Versions
-- are never altered or removed, so a number stands for ever without being stored a second time.
CREATE FUNCTION atp_internal.list_fields(event_type text) RETURNS SETOF atp_internal.schema_field
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH RECURSIVE version AS (
		SELECT s.version, s.document, s.version = y.active_version AS active
			FROM atp_internal.event_type y JOIN atp_internal.event_schema s ON s.event_type = y.event_type
			WHERE y.name = list_fields.event_type
	), object (version, document, active, path, schema, refs) AS (
		SELECT v.version, v.document, v.active, '', atp_internal.resolve_schema(v.document, v.document), ARRAY[]::text[] FROM version v
		UNION ALL
		SELECT o.version, o.document, o.active, o.path || '/' || p.key, i.node, o.refs || (p.value ->> '$ref') || (f.node -> 'items' ->> '$ref')
			FROM object o
				CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(o.schema -> 'properties') = 'object' THEN o.schema -> 'properties' ELSE '{}' END) p
				CROSS JOIN LATERAL (SELECT atp_internal.resolve_schema(o.document, p.value) AS node) f
				CROSS JOIN LATERAL (SELECT CASE atp_internal.schema_kind(f.node) WHEN 'record' THEN f.node
					WHEN 'array' THEN atp_internal.resolve_schema(o.document, f.node -> 'items') END AS node) i
			WHERE atp_internal.schema_kind(i.node) = 'record' AND cardinality(o.refs) < 16
				AND NOT coalesce(p.value ->> '$ref' = ANY (o.refs), false) AND NOT coalesce(f.node -> 'items' ->> '$ref' = ANY (o.refs), false)
	), property AS (
		SELECT o.version, o.active, o.path, p.key AS name, f.node, o.document, r.place,
				coalesce((SELECT q.ordinality FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(o.schema -> 'required') = 'array'
					THEN o.schema -> 'required' ELSE '[]' END) WITH ORDINALITY AS q (name, ordinality) WHERE q.name = p.key LIMIT 1), 100000) AS rank
			FROM object o
				CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(o.schema -> 'properties') = 'object' THEN o.schema -> 'properties' ELSE '{}' END) p
				CROSS JOIN LATERAL (SELECT atp_internal.resolve_schema(o.document, p.value) AS node) f
				CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM object i WHERE i.version = o.version AND i.path = o.path || '/' || p.key) AS place) r
	), first AS (
		SELECT DISTINCT ON (p.path, p.name) p.path, p.name, p.version, p.rank FROM property p ORDER BY p.path, p.name, p.version
	), numbered AS (
		SELECT f.path, f.name, row_number() OVER (PARTITION BY f.path ORDER BY f.version, f.rank, f.name COLLATE "C") AS number FROM first f
	)
	SELECT n.path, n.name, (n.number + CASE WHEN n.number >= 19000 THEN 1000 ELSE 0 END)::int,
			CASE WHEN k.kind = 'record' AND NOT p.place THEN 'map' ELSE k.kind END,
			CASE WHEN k.kind = 'array' THEN CASE WHEN k.item = 'record' AND NOT p.place THEN 'map' ELSE k.item END END,
			p.rank < 100000, coalesce(jsonb_typeof(p.node -> 'type') = 'array' AND p.node -> 'type' ? 'null', false), p.active IS NOT NULL, p.node ->> 'description'
		FROM numbered n
			LEFT JOIN property p ON p.path = n.path AND p.name = n.name AND p.active
			CROSS JOIN LATERAL (SELECT atp_internal.schema_kind(p.node) AS kind,
				atp_internal.schema_kind(atp_internal.resolve_schema(p.document, p.node -> 'items')) AS item) k
		ORDER BY n.path COLLATE "C", n.number;
END;
COMMENT ON FUNCTION atp_internal.list_fields(text) IS
'List the fields of an event type with their numbers.
Those that only earlier versions had are there too.';
REVOKE ALL ON FUNCTION atp_internal.list_fields(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.identifier(name text, fallback text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN CASE WHEN name ~ '^[A-Za-z_][A-Za-z0-9_]*$' THEN name ELSE fallback || pg_catalog.regexp_replace(name, '[^A-Za-z0-9_]', '_', 'g') END;
COMMENT ON FUNCTION atp_internal.identifier(text, text) IS
'Make a name that programming languages take.
One that they do not take gets the fallback in front and _ for each other character.';
REVOKE ALL ON FUNCTION atp_internal.identifier(text, text) FROM PUBLIC;

-- ==== src/tooling/document/avro.sql ====
-- Avro: one record a type. What Avro cannot say (objects without known properties, values of any type) is JSON text.
CREATE FUNCTION atp_internal.avro_type(fields atp_internal.schema_field[], path text, name text, kind text, item_kind text) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF avro_type.kind = 'record' THEN
		RETURN jsonb_build_object('type', 'record', 'name', avro_type.name, 'fields', coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
				'name', i.field_name, 'doc', f.description, 'aliases', CASE WHEN i.field_name <> f.name AND f.name ~ '^[A-Za-z_]\w*$' THEN jsonb_build_array(f.name) END))
				|| CASE WHEN f.required AND NOT f.nullable THEN jsonb_build_object('type', t.type)
					ELSE jsonb_build_object('type', jsonb_build_array('null') || jsonb_build_array(t.type), 'default', NULL) END ORDER BY f.number)
			FROM unnest(fields) f
				CROSS JOIN LATERAL (SELECT CASE WHEN count(*) = 1 THEN atp_internal.identifier(f.name, 'f_') ELSE format('f_%s', f.number) END AS field_name
					FROM unnest(fields) o WHERE o.path = f.path AND o.active AND atp_internal.identifier(o.name, 'f_') = atp_internal.identifier(f.name, 'f_')) i
				CROSS JOIN LATERAL (SELECT atp_internal.avro_type(fields, f.path || '/' || f.name, avro_type.name || '_' || i.field_name, f.kind, f.item_kind) AS type) t
			WHERE f.path = avro_type.path AND f.active), '[]'));
	ELSIF avro_type.kind = 'array' THEN
		RETURN jsonb_build_object('type', 'array', 'items', atp_internal.avro_type(fields, avro_type.path, avro_type.name, CASE avro_type.item_kind WHEN 'array' THEN 'any' ELSE avro_type.item_kind END, NULL));
	END IF;
	RETURN to_jsonb(CASE avro_type.kind WHEN 'integer' THEN 'long' WHEN 'number' THEN 'double' WHEN 'boolean' THEN 'boolean' ELSE 'string' END);
END $$;
COMMENT ON FUNCTION atp_internal.avro_type(atp_internal.schema_field[], text, text, text, text) IS 'Return the Avro type of a field; records recursively.';
REVOKE ALL ON FUNCTION atp_internal.avro_type(atp_internal.schema_field[], text, text, text, text) FROM PUBLIC;

CREATE FUNCTION atp.generate_avro(event_type text) RETURNS jsonb
	LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.avro_type(f.fields, '', c.event_type, 'record', NULL)
			|| jsonb_build_object('namespace', 'atp.events', 'doc', coalesce(c.description, c.event_type))
		FROM atp.event_type_catalog c
			CROSS JOIN LATERAL (SELECT ARRAY(SELECT f FROM atp_internal.list_fields(c.event_type) f) AS fields) f
		WHERE c.event_type = generate_avro.event_type AND c.schema IS NOT NULL;
END;
COMMENT ON FUNCTION atp.generate_avro(text) IS
'Generate the Avro schema of the payload of an event type.
NULL where it has no active schema. A record in the namespace atp.events. Fields that may be missing or null are unions with null. Objects without known properties and values of any type are strings that hold JSON. Names that Avro does not take get _ for the odd characters.';
REVOKE ALL ON FUNCTION atp.generate_avro(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_avro(text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- ==== src/tooling/document/protobuf.sql ====
-- Protocol Buffers: one message a type. Numbers come from the history of the type's schemas, so that they hold for all versions.
CREATE FUNCTION atp_internal.protobuf_name(name text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.lower(pg_catalog.regexp_replace(pg_catalog.regexp_replace(atp_internal.identifier(name, 'f_'), '([A-Z]+)([A-Z][a-z])', '\1_\2', 'g'),
		'([a-z0-9])([A-Z])', '\1_\2', 'g'));
COMMENT ON FUNCTION atp_internal.protobuf_name(text) IS
'Return the name of a field as Protocol Buffers write it.
Lower case with underscores.';
REVOKE ALL ON FUNCTION atp_internal.protobuf_name(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.protobuf_message(fields atp_internal.schema_field[], path text, name text, indent text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body text := '';
	f atp_internal.schema_field;
	kind text;
	field_name text;
	type text;
	nested text;
BEGIN
	SELECT coalesce(format(E'%s  reserved %s;\n', indent, string_agg(g.number::text, ', ' ORDER BY g.number)), '') INTO body
		FROM unnest(fields) g WHERE g.path = protobuf_message.path AND NOT g.active HAVING count(*) > 0;
	body := coalesce(body, '');
	FOREACH f IN ARRAY fields LOOP
		CONTINUE WHEN f.path <> protobuf_message.path OR NOT f.active;
		kind := CASE f.kind WHEN 'array' THEN f.item_kind ELSE f.kind END;
		field_name := atp_internal.protobuf_name(f.name);
		IF (SELECT count(*) FROM unnest(fields) o WHERE o.path = f.path AND o.active AND atp_internal.protobuf_name(o.name) = field_name) > 1 THEN
			field_name := format('%s_n%s', field_name, f.number);
		END IF;
		nested := NULL;
		IF kind = 'record' THEN
			type := replace(initcap(replace(field_name, '_', ' ')), ' ', '');
			nested := atp_internal.protobuf_message(fields, f.path || '/' || f.name, type, indent || '  ');
		ELSE
			type := CASE kind WHEN 'string' THEN 'string' WHEN 'integer' THEN 'int64' WHEN 'number' THEN 'double' WHEN 'boolean' THEN 'bool'
				WHEN 'map' THEN 'google.protobuf.Struct' WHEN 'array' THEN 'google.protobuf.ListValue' ELSE 'google.protobuf.Value' END;
		END IF;
		body := body || coalesce(nested, '')
			|| coalesce(indent || '  // ' || regexp_replace(f.description, '\s+', ' ', 'g') || E'\n', '')
			|| format(E'%s  %s%s %s = %s [json_name = %s];\n', indent,
				CASE WHEN f.kind = 'array' THEN 'repeated ' WHEN (NOT f.required OR f.nullable) AND kind IN ('string', 'integer', 'number', 'boolean') THEN 'optional ' ELSE '' END,
				type, field_name, f.number, to_json(f.name));
	END LOOP;
	RETURN format(E'%smessage %s {\n%s%s}\n', indent, name, body, indent);
END $$;
COMMENT ON FUNCTION atp_internal.protobuf_message(atp_internal.schema_field[], text, text, text) IS 'Return the message of an object, with those of the objects inside.';
REVOKE ALL ON FUNCTION atp_internal.protobuf_message(atp_internal.schema_field[], text, text, text) FROM PUBLIC;

CREATE FUNCTION atp.generate_protobuf(event_type text DEFAULT NULL) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT E'syntax = "proto3";\n\npackage atp.events;\n\n'
			|| CASE WHEN string_agg(m.message, '') LIKE '%google.protobuf.%' THEN E'import "google/protobuf/struct.proto";\n\n' ELSE '' END
			|| string_agg(m.message, E'\n' ORDER BY m.event_type COLLATE "C")
		FROM (SELECT c.event_type, '// ' || regexp_replace(coalesce(c.description, c.event_type), '\s+', ' ', 'g') || E'\n'
					|| atp_internal.protobuf_message(ARRAY(SELECT f FROM atp_internal.list_fields(c.event_type) f), '', c.event_type, '') AS message
				FROM atp.event_type_catalog c
				WHERE c.schema IS NOT NULL AND c.event_type = coalesce(generate_protobuf.event_type, c.event_type)) m;
END;
COMMENT ON FUNCTION atp.generate_protobuf(text) IS
'Generate Protocol Buffers (proto3) of the payload of an event type, or of all.
NULL where there is no active schema. Field numbers are given in the order in which the versions of the schema brought the fields (within one, as its "required" lists them) and never change; the number of a field that is gone is reserved. json_name is the name in the payload. Objects without known properties are google.protobuf.Struct, values of any type Value.';
REVOKE ALL ON FUNCTION atp.generate_protobuf(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_protobuf(text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- ==== src/tooling/document/bundle.sql ====
-- Documents over all event types: a JSON Schema bundle and AsyncAPI 3.0.
CREATE FUNCTION atp.generate_json_schema() RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object('$schema', 'https://json-schema.org/draft/2020-12/schema', '$id', 'urn:atp:events',
			'title', 'Payloads of all event types', 'description', 'Each definition is the active schema of the event type that it is named after.',
			'$defs', coalesce(jsonb_object_agg(c.event_type, CASE WHEN jsonb_typeof(c.schema) = 'object' AND NOT c.schema ? '$id'
				THEN c.schema || jsonb_build_object('$id', format('urn:atp:event:%s:%s', c.event_type, c.schema_version)) ELSE c.schema END), '{}'))
		FROM atp.event_type_catalog c WHERE c.schema IS NOT NULL;
END;
COMMENT ON FUNCTION atp.generate_json_schema() IS
'Generate one JSON Schema document with the active schema of every event type.
Each is a definition with an $id of its own, so that references inside it mean what they meant.';
REVOKE ALL ON FUNCTION atp.generate_json_schema() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_json_schema() TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.asyncapi_schema(event_type text, schema jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN pg_catalog.jsonb_typeof(schema) = 'object' THEN
		(pg_catalog.replace(pg_catalog.replace((schema - '$schema' - '$id')::text, '"$ref": "#/', '"$ref": "#/components/schemas/' || event_type || '/'),
			'"$ref": "#"', '"$ref": "#/components/schemas/' || event_type || '"'))::jsonb
		ELSE '{"type": "object"}' END;
COMMENT ON FUNCTION atp_internal.asyncapi_schema(text, jsonb) IS
'Return a schema as a component of an AsyncAPI document.
References within it are made to point to where it stands there.';
REVOKE ALL ON FUNCTION atp_internal.asyncapi_schema(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.generate_asyncapi(title text DEFAULT 'Events of this database', version text DEFAULT '1.0.0') RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object('asyncapi', '3.0.0', 'defaultContentType', 'application/json',
			'info', jsonb_build_object('title', generate_asyncapi.title, 'version', generate_asyncapi.version,
				'description', 'Event types registered in atp. A channel stands for the events of a category, read by subscription or from the log.'),
			'channels', (SELECT jsonb_object_agg(g.category, jsonb_build_object('address', 'atp.' || g.category,
					'title', g.category, 'messages', g.messages)) FROM (
				SELECT c.category, jsonb_object_agg(c.event_type, jsonb_build_object('$ref', '#/components/messages/' || c.event_type)) AS messages
					FROM atp.event_type_catalog c GROUP BY c.category) g),
			'operations', (SELECT jsonb_object_agg('receive_' || g.category, jsonb_build_object('action', 'receive', 'summary', 'Events of the category ' || g.category,
					'channel', jsonb_build_object('$ref', '#/channels/' || g.category), 'messages', g.messages)) FROM (
				SELECT c.category, jsonb_agg(jsonb_build_object('$ref', format('#/channels/%s/messages/%s', c.category, c.event_type))
						ORDER BY c.event_type COLLATE "C") AS messages
					FROM atp.event_type_catalog c GROUP BY c.category) g),
			'components', jsonb_build_object(
				'messages', (SELECT jsonb_object_agg(c.event_type, jsonb_strip_nulls(jsonb_build_object('name', c.event_type, 'title', c.event_type,
						'summary', c.description, 'contentType', 'application/json',
						'payload', jsonb_build_object('$ref', '#/components/schemas/' || c.event_type), 'x-kind', c.kind, 'x-category', c.category,
						'x-producers', to_jsonb(c.producers), 'x-consumers', to_jsonb(c.consumers), 'x-rules', to_jsonb(c.rules), 'x-idempotency-key', c.idempotency_key,
						'x-retry', c.retry, 'x-dead-letter', c.dead_letter, 'x-monitoring', c.monitoring, 'x-emitted', c.emitted, 'x-schema-version', c.schema_version))
						|| CASE WHEN c.example IS NULL THEN '{}' ELSE jsonb_build_object('examples', jsonb_build_array(jsonb_build_object('name', 'example', 'payload', c.example))) END)
					FROM atp.event_type_catalog c),
				'schemas', (SELECT jsonb_object_agg(c.event_type, atp_internal.asyncapi_schema(c.event_type, c.schema)) FROM atp.event_type_catalog c)));
END;
COMMENT ON FUNCTION atp.generate_asyncapi(text, text) IS
'Generate an AsyncAPI 3.0 document of every event type.
One channel and one receiving operation a category; a message and a schema a type. What AsyncAPI has no word for (kind, rules, retry, dead letters, monitoring) stands in members that begin with x-.';
REVOKE ALL ON FUNCTION atp.generate_asyncapi(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_asyncapi(text, text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- ==== src/tooling/document/page.sql ====
-- Pages for people: reference pages in Markdown, and a folder for EventCatalog.
CREATE FUNCTION atp_internal.markdown_text(words text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.regexp_replace(words, '\s+', ' ', 'g'),
		'|', '\|'), '<', '&lt;'), '{', '&#123;'), '}', '&#125;');
COMMENT ON FUNCTION atp_internal.markdown_text(text) IS 'Write text so that Markdown, tables and MDX take it as text.';
REVOKE ALL ON FUNCTION atp_internal.markdown_text(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.mermaid_text(words text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN '"' || pg_catalog.replace(pg_catalog.replace(pg_catalog.regexp_replace(words, '\s+', ' ', 'g'), '"', '#quot;'), '<', '#lt;') || '"';
COMMENT ON FUNCTION atp_internal.mermaid_text(text) IS 'Write text as a label of a Mermaid diagram.';
REVOKE ALL ON FUNCTION atp_internal.mermaid_text(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.event_flow(entry atp.event_type_catalog) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN E'```mermaid\nflowchart LR\n'
		|| COALESCE((SELECT pg_catalog.string_agg(pg_catalog.format(E'  p%s[%s] --> e\n', p.n, atp_internal.mermaid_text(p.name)), '' ORDER BY p.n)
			FROM pg_catalog.unnest(entry.producers) WITH ORDINALITY AS p (name, n)), '')
		|| pg_catalog.format(E'  e([%s])\n', atp_internal.mermaid_text(entry.event_type))
		|| COALESCE((SELECT pg_catalog.string_agg(pg_catalog.format(E'  e --> c%s[%s]\n', c.n, atp_internal.mermaid_text(c.name)), '' ORDER BY c.n)
			FROM pg_catalog.unnest(entry.consumers) WITH ORDINALITY AS c (name, n)), '')
		|| CASE WHEN entry.retry ? 'max_attempts' THEN
			pg_catalog.format(E'  e -. %s .-> d[("dead letters")]\n', atp_internal.mermaid_text('after attempt ' || (entry.retry ->> 'max_attempts'))) ELSE '' END
		|| E'```\n';
COMMENT ON FUNCTION atp_internal.event_flow(atp.event_type_catalog) IS 'Draw the way of an event from its producers to its consumers, in Mermaid.';
REVOKE ALL ON FUNCTION atp_internal.event_flow(atp.event_type_catalog) FROM PUBLIC;

CREATE FUNCTION atp_internal.event_body(entry atp.event_type_catalog) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	RETURN atp_internal.markdown_text(COALESCE(entry.description, 'Not described.')) || E'\n\n'
		|| format(E'%s event of category `%s`; %s.%s\n\n', initcap(entry.kind), entry.category,
			CASE entry.emitted WHEN 'when it happens' THEN 'emitted when it happens, in the same transaction' WHEN 'later' THEN 'registered, not yet emitted'
				WHEN 'by applications' THEN 'appended by applications' ELSE entry.emitted END,
			COALESCE(' ' || atp_internal.markdown_text(entry.note), ''))
		|| atp_internal.event_flow(entry)
		|| COALESCE((SELECT E'\n| field | number | type | required | meaning |\n|---|---|---|---|---|\n'
				|| string_agg(format(E'| `%s%s` | %s | %s%s | %s | %s |\n', CASE f.path WHEN '' THEN '' ELSE substr(replace(f.path, '/', '.'), 2) || '.' END, f.name, f.number,
					CASE f.kind WHEN 'array' THEN 'array of ' || CASE WHEN f.item_kind IN ('record', 'map') THEN 'object' ELSE f.item_kind END WHEN 'record' THEN 'object' WHEN 'map' THEN 'object' ELSE f.kind END,
					CASE WHEN f.nullable THEN ' or null' ELSE '' END, CASE WHEN f.required THEN 'yes' ELSE 'no' END,
					atp_internal.markdown_text(COALESCE(f.description, ''))), '' ORDER BY f.path COLLATE "C", f.number)
			FROM atp_internal.list_fields(entry.event_type) f WHERE f.active HAVING count(*) > 0), '')
		|| COALESCE(E'\nRules:\n' || (SELECT string_agg('- ' || atp_internal.markdown_text(r.rule) || E'\n', '' ORDER BY r.n)
			FROM unnest(entry.rules) WITH ORDINALITY AS r (rule, n)), '')
		|| COALESCE(E'\nIdempotency key: ' || atp_internal.markdown_text(entry.idempotency_key) || E'\n', '')
		|| CASE WHEN entry.retry IS NULL THEN '' ELSE E'\nRetry: ' || atp_internal.markdown_text(concat_ws(', ', 'at most ' || (entry.retry ->> 'max_attempts') || ' attempts', entry.retry ->> 'backoff',
			(entry.retry ->> 'first_delay') || ' to ' || (entry.retry ->> 'max_delay')) || COALESCE('. ' || (entry.retry ->> 'reason'), '')) || E'\n' END
		|| CASE WHEN entry.dead_letter IS NULL THEN '' ELSE E'\nDead letter: ' || atp_internal.markdown_text(
			concat_ws(' ', entry.dead_letter ->> 'when', entry.dead_letter ->> 'handling')) || E'\n' END
		|| COALESCE(E'\n| metric | type | meaning |\n|---|---|---|\n' || (SELECT string_agg(format(E'| `%s` | %s | %s |\n', m ->> 'name', m ->> 'type',
			atp_internal.markdown_text(m ->> 'description')), '' ORDER BY n) FROM jsonb_array_elements(entry.monitoring -> 'metrics') WITH ORDINALITY AS x (m, n)), '')
		|| COALESCE(E'\n| alert | when | severity | action |\n|---|---|---|---|\n' || (SELECT string_agg(format(E'| %s | %s | %s | %s |\n', m ->> 'name',
			atp_internal.markdown_text(m ->> 'when'), m ->> 'severity', atp_internal.markdown_text(m ->> 'action')), '' ORDER BY n)
			FROM jsonb_array_elements(entry.monitoring -> 'alerts') WITH ORDINALITY AS x (m, n)), '')
		|| COALESCE(E'\nExample:\n\n```json\n' || jsonb_pretty(entry.example) || E'\n```\n', '');
COMMENT ON FUNCTION atp_internal.event_body(atp.event_type_catalog) IS 'Return the page of an event type, without its heading, in Markdown.';
REVOKE ALL ON FUNCTION atp_internal.event_body(atp.event_type_catalog) FROM PUBLIC;

CREATE FUNCTION atp.generate_reference() RETURNS TABLE (path text, content text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'index.md', E'# Events\n\nEvery event type that is registered, by category.\n\n| event | kind | category | what happened |\n|---|---|---|---|\n'
			|| string_agg(format(E'| [`%s`](%s.md#%s) | %s | %s | %s |\n', c.event_type, c.category, lower(c.event_type), c.kind, c.category,
				atp_internal.markdown_text(coalesce(c.description, ''))), '' ORDER BY c.category COLLATE "C", c.event_type COLLATE "C")
		FROM atp.event_type_catalog c
	UNION ALL
	SELECT c.category || '.md', format(E'# Events: %s\n\n', c.category)
			|| string_agg(format(E'## %s\n\n', c.event_type) || atp_internal.event_body(c), E'\n' ORDER BY c.event_type COLLATE "C")
		FROM atp.event_type_catalog c GROUP BY c.category;
END;
COMMENT ON FUNCTION atp.generate_reference() IS
'Generate reference pages of every event type in Markdown.
Each has a Mermaid flow. index.md lists them; each category has a page of its own. path is relative to the folder to write them to.';
REVOKE ALL ON FUNCTION atp.generate_reference() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_reference() TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.front_matter(members jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN E'---\n' || (SELECT pg_catalog.string_agg(m.key || ': ' || m.value::text || E'\n', '' ORDER BY m.key COLLATE "C")
		FROM pg_catalog.jsonb_each(pg_catalog.jsonb_strip_nulls(members)) m) || E'---\n\n';
COMMENT ON FUNCTION atp_internal.front_matter(jsonb) IS
'Write the members of an object as YAML front matter.
Their values stay JSON, which is YAML too.';
REVOKE ALL ON FUNCTION atp_internal.front_matter(jsonb) FROM PUBLIC;

CREATE FUNCTION atp.generate_eventcatalog() RETURNS TABLE (path text, content text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('events/%s/index.mdx', c.event_type),
			atp_internal.front_matter(jsonb_build_object('id', c.event_type, 'name', c.event_type, 'version', format('%s.0.0', coalesce(c.schema_version, 0)),
				'summary', coalesce(c.description, c.event_type), 'owners', jsonb_build_array(coalesce(regexp_replace(lower(c.owner), '[^a-z0-9]+', '-', 'g'), 'nobody')),
				'badges', jsonb_build_array(jsonb_build_object('content', c.kind, 'backgroundColor', 'blue', 'textColor', 'blue'),
					jsonb_build_object('content', c.category, 'backgroundColor', 'green', 'textColor', 'green')),
				'schemaPath', 'schema.json')) || atp_internal.event_body(c)
		FROM atp.event_type_catalog c
	UNION ALL
	SELECT format('events/%s/schema.json', c.event_type), jsonb_pretty(coalesce(c.schema, '{"type": "object"}')) || E'\n' FROM atp.event_type_catalog c
	UNION ALL
	SELECT format('services/%s/index.mdx', g.category), atp_internal.front_matter(jsonb_build_object('id', g.category, 'name', g.category, 'version', '1.0.0',
			'summary', format('What tells of %s.', g.category), 'owners', '["atp"]'::jsonb, 'sends', g.sends)) || format(E'Appends the events of category `%s`.\n', g.category)
		FROM (SELECT c.category, jsonb_agg(jsonb_build_object('id', c.event_type, 'version', format('%s.0.0', coalesce(c.schema_version, 0)))
			ORDER BY c.event_type COLLATE "C") AS sends FROM atp.event_type_catalog c GROUP BY c.category) g
	UNION ALL
	SELECT format('domains/%s/index.mdx', d.kind), atp_internal.front_matter(jsonb_build_object('id', d.kind, 'name', initcap(d.kind), 'version', '1.0.0',
			'summary', format('%s events.', initcap(d.kind)), 'owners', '["atp"]'::jsonb, 'services', d.services)) || format(E'Services that append %s events.\n', d.kind)
		FROM (SELECT g.kind, jsonb_agg(jsonb_build_object('id', g.category, 'version', '1.0.0') ORDER BY g.category COLLATE "C") AS services
			FROM (SELECT DISTINCT c.kind, c.category FROM atp.event_type_catalog c) g GROUP BY g.kind) d
	UNION ALL
	SELECT format('teams/%s.mdx', o.id), atp_internal.front_matter(jsonb_build_object('id', o.id, 'name', o.id, 'summary', 'Answers for event types.')) || E'Answers for event types.\n'
		FROM (SELECT DISTINCT coalesce(regexp_replace(lower(c.owner), '[^a-z0-9]+', '-', 'g'), 'nobody') AS id FROM atp.event_type_catalog c
			UNION SELECT 'atp') o;
END;
COMMENT ON FUNCTION atp.generate_eventcatalog() IS
'Generate a folder for EventCatalog: events, services, domains and teams.
A service stands for a category, a domain for a kind, a team for an owner. path is relative to the folder to write them to.';
REVOKE ALL ON FUNCTION atp.generate_eventcatalog() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_eventcatalog() TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- ==== src/compliance/import.sql ====
-- Bundles of other databases, imported for reading: verified first, and kept as they are.
CREATE TABLE atp_internal.imported_bundle (
	import bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT imported_bundle_pk PRIMARY KEY,
	imported_at timestamptz NOT NULL,
	tree_size bigint NOT NULL,
	first_leaf bigint NOT NULL,
	until_leaf bigint NOT NULL,
	checkpoint_size bigint NOT NULL,
	event_count bigint NOT NULL,
	log_uid uuid NOT NULL,
	origin text NOT NULL,
	source_tenant text NOT NULL,
	trusted_key text NOT NULL
);
COMMENT ON TABLE atp_internal.imported_bundle IS 'Evidence bundles that were imported for reading.';
COMMENT ON COLUMN atp_internal.imported_bundle.import IS 'Number of the import.';
COMMENT ON COLUMN atp_internal.imported_bundle.imported_at IS 'When it was imported.';
COMMENT ON COLUMN atp_internal.imported_bundle.tree_size IS 'Leaves of the tenant''s tree under the bundle''s checkpoint.';
COMMENT ON COLUMN atp_internal.imported_bundle.first_leaf IS 'First leaf of the range.';
COMMENT ON COLUMN atp_internal.imported_bundle.until_leaf IS 'Leaf after the last of the range.';
COMMENT ON COLUMN atp_internal.imported_bundle.checkpoint_size IS 'Size of the root log under the checkpoint.';
COMMENT ON COLUMN atp_internal.imported_bundle.event_count IS 'Events in the bundle.';
COMMENT ON COLUMN atp_internal.imported_bundle.log_uid IS 'Identity of the tenant''s log where it was exported.';
COMMENT ON COLUMN atp_internal.imported_bundle.origin IS 'Origin of the root log.';
COMMENT ON COLUMN atp_internal.imported_bundle.source_tenant IS 'Name of the tenant where it was exported; not proved.';
COMMENT ON COLUMN atp_internal.imported_bundle.trusted_key IS 'Verifier key under which it was verified.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.imported_bundle', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.imported_bundle_import_seq', '');
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.imported_bundle
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.imported_bundle ENABLE ALWAYS TRIGGER guard;

CREATE TABLE atp_internal.imported_event (
	import bigint NOT NULL,
	leaf bigint NOT NULL,
	stream_version bigint NOT NULL,
	occurred_at timestamptz NOT NULL,
	recorded_at timestamptz NOT NULL,
	event_id uuid NOT NULL,
	stream_uid uuid NOT NULL,
	schema_version int NOT NULL,
	hash bytea NOT NULL,
	event_type text NOT NULL,
	stream text NOT NULL,
	payload json NOT NULL,
	metadata json NOT NULL,
	CONSTRAINT imported_event_pk PRIMARY KEY (import, leaf)
);
CREATE INDEX imported_event_stream ON atp_internal.imported_event (stream_uid, stream_version);
COMMENT ON TABLE atp_internal.imported_event IS 'Events of imported bundles, with the identity they had.';
COMMENT ON COLUMN atp_internal.imported_event.import IS 'Number of the import.';
COMMENT ON COLUMN atp_internal.imported_event.leaf IS 'Index in the tenant''s log where it was exported.';
COMMENT ON COLUMN atp_internal.imported_event.stream_version IS 'Place in its stream.';
COMMENT ON COLUMN atp_internal.imported_event.occurred_at IS 'When it happened.';
COMMENT ON COLUMN atp_internal.imported_event.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp_internal.imported_event.event_id IS 'The event''s id.';
COMMENT ON COLUMN atp_internal.imported_event.stream_uid IS 'Identity of its stream.';
COMMENT ON COLUMN atp_internal.imported_event.schema_version IS 'Version of the schema it was validated against; 0: none.';
COMMENT ON COLUMN atp_internal.imported_event.hash IS 'Chain link and Merkle leaf.';
COMMENT ON COLUMN atp_internal.imported_event.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp_internal.imported_event.stream IS 'Name of the stream; proved where the bundle holds its first event.';
COMMENT ON COLUMN atp_internal.imported_event.payload IS 'Canonical JSON text, as it was hashed.';
COMMENT ON COLUMN atp_internal.imported_event.metadata IS 'Canonical JSON text, as it was hashed.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.imported_event', '');
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.imported_event
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.imported_event ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp.import_bundle(bundle text, trusted_key text, origin text, OUT import bigint, OUT event_count bigint, OUT log_uid uuid)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_import_bundle';
COMMENT ON FUNCTION atp.import_bundle(text, text, text) IS
'Verify a bundle of another database and keep its events for reading.
bundle is its whole text, with new lines: for example pg_read_file() of a file, up to 1 GB. A larger one comes line by line: see begin_import. trusted_key and origin are what atp-verify calls --trust and --origin; the same code verifies. Events keep ids, versions, times and hashes; they are read in atp.imported_events and take no part in streams, log or trees here.
Raises: TP503 (malformed key), TP507 (the bundle does not verify; DETAIL says why and where), 25006.';
REVOKE ALL ON FUNCTION atp.import_bundle(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.import_bundle(text, text, text) TO atp_admin;

CREATE FUNCTION atp.begin_import(trusted_key text, origin text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_import_begin';
COMMENT ON FUNCTION atp.begin_import(text, text) IS
'Begin the import of a bundle of any size, and return the number it will have.
In one transaction: begin_import, then the lines, in order, into the view atp.import_lines, then finish_import. From psql: \copy atp.import_lines FROM bundle.ndjson WITH (FORMAT csv, QUOTE E''\x01'', DELIMITER E''\x02''). Memory does not grow with the bundle. trusted_key and origin as for import_bundle. Without finish_import nothing of it can be read; a second call drops what was begun.
Raises: TP503 (malformed key), 25006.';
REVOKE ALL ON FUNCTION atp.begin_import(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.begin_import(text, text) TO atp_admin;

CREATE FUNCTION atp.finish_import(OUT import bigint, OUT event_count bigint, OUT log_uid uuid)
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_import_finish';
COMMENT ON FUNCTION atp.finish_import() IS
'End the import that begin_import began: the bundle is verified as a whole.
Raises: TP507 (it does not verify; DETAIL says why and where), 54000 (too many streams), 55000 (no import is at work, or a part of it was rolled back).';
REVOKE ALL ON FUNCTION atp.finish_import() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.finish_import() TO atp_admin;

CREATE FUNCTION atp_internal.take_import_line() RETURNS trigger
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_import_take_line';
COMMENT ON FUNCTION atp_internal.take_import_line() IS 'Hand a line to the import at work.
Raises: TP507, 55000.';
REVOKE ALL ON FUNCTION atp_internal.take_import_line() FROM PUBLIC;

CREATE VIEW atp.import_lines WITH (security_barrier) AS SELECT NULL::text AS line WHERE false;
COMMENT ON VIEW atp.import_lines IS 'Take the lines of a bundle, by INSERT or COPY; see begin_import.';
COMMENT ON COLUMN atp.import_lines.line IS 'A line of the bundle, without its new line.';
CREATE TRIGGER take_line INSTEAD OF INSERT ON atp.import_lines FOR EACH ROW EXECUTE FUNCTION atp_internal.take_import_line();
GRANT INSERT ON atp.import_lines TO atp_admin;

CREATE FUNCTION atp_internal.jsonb_or_null(document json) RETURNS jsonb
	LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF document::text !~ '[0-9]e[+-]?[0-9]{4}|[0-9]{255}' THEN
		RETURN document::jsonb;
	END IF;
	BEGIN
		RETURN document::jsonb;
	EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
		RETURN NULL;
	END;
END $$;
COMMENT ON FUNCTION atp_internal.jsonb_or_null(json) IS
'Return a document as jsonb, or NULL where jsonb cannot hold it.
That is so for numbers beyond numeric: another store may have recorded them, and one such event must not hide the others.';
REVOKE ALL ON FUNCTION atp_internal.jsonb_or_null(json) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.jsonb_or_null(json) TO atp_auditor, atp_admin;

CREATE VIEW atp.imported_events WITH (security_barrier) AS
	SELECT b.import, b.origin, b.source_tenant, b.log_uid, e.leaf, e.event_id, e.stream, e.stream_uid, e.stream_version, e.event_type,
		e.schema_version, e.occurred_at, e.recorded_at, atp_internal.jsonb_or_null(e.payload) AS payload,
		atp_internal.jsonb_or_null(e.metadata) AS metadata, e.hash, b.imported_at, e.payload::text AS payload_text, e.metadata::text AS metadata_text
	FROM atp_internal.imported_event e JOIN atp_internal.imported_bundle b ON b.import = e.import;
COMMENT ON VIEW atp.imported_events IS 'List the events of imported bundles.';
COMMENT ON COLUMN atp.imported_events.import IS 'Number of the import.';
COMMENT ON COLUMN atp.imported_events.origin IS 'Origin of the root log where it was exported.';
COMMENT ON COLUMN atp.imported_events.source_tenant IS 'Name of the tenant there; not proved.';
COMMENT ON COLUMN atp.imported_events.log_uid IS 'Identity of the tenant''s log there.';
COMMENT ON COLUMN atp.imported_events.leaf IS 'Index in the tenant''s log there.';
COMMENT ON COLUMN atp.imported_events.event_id IS 'The event''s id.';
COMMENT ON COLUMN atp.imported_events.stream IS 'Name of the stream; proved where the bundle holds its first event.';
COMMENT ON COLUMN atp.imported_events.stream_uid IS 'Identity of the stream.';
COMMENT ON COLUMN atp.imported_events.stream_version IS 'Place in the stream.';
COMMENT ON COLUMN atp.imported_events.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.imported_events.schema_version IS 'Version of the schema it was validated against; 0: none.';
COMMENT ON COLUMN atp.imported_events.occurred_at IS 'When it happened.';
COMMENT ON COLUMN atp.imported_events.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp.imported_events.payload IS 'What happened; NULL where jsonb cannot hold it.';
COMMENT ON COLUMN atp.imported_events.metadata IS 'Actor, correlation, causation, trace; NULL where jsonb cannot hold it.';
COMMENT ON COLUMN atp.imported_events.hash IS 'Chain link and Merkle leaf.';
COMMENT ON COLUMN atp.imported_events.imported_at IS 'When the bundle was imported.';
COMMENT ON COLUMN atp.imported_events.payload_text IS 'The payload''s canonical text, as it was hashed.';
COMMENT ON COLUMN atp.imported_events.metadata_text IS 'The metadata''s canonical text, as it was hashed.';
GRANT SELECT ON atp.imported_events TO atp_auditor, atp_admin;

-- ==== src/tooling/housekeeping.sql ====
-- Housekeeping, for pg_cron or by hand; the worker does the same by itself.
CREATE FUNCTION atp.run_housekeeping() RETURNS TABLE (chore text, done bigint)
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 4 AS 'MODULE_PATHNAME', 'atp_housekeeping_run';
COMMENT ON FUNCTION atp.run_housekeeping() IS
'Run the housekeeping and return what was done.
Makes the partitions of the next atp.partition_premake periods and purges what is kept for a while only. The worker does this every minute; where it is switched off, let pg_cron do it: SELECT cron.schedule(''atp housekeeping'', ''* * * * *'', ''SELECT atp.run_housekeeping()'').
Raises: 25006 (read only).';
REVOKE ALL ON FUNCTION atp.run_housekeeping() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.run_housekeeping() TO atp_admin;

-- ==== src/tooling/selfmanifest.sql ====
-- The manifest: what the installation is made of, as sorted lines of text. Two fresh installations of one version on one major
-- version of the server have the same; the library carries the hash of it (docs/reference/manifest.md), out of reach of SQL.
CREATE FUNCTION atp_internal.manifest_acl(acl aclitem[], kind "char", owner oid) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' ' || a.privilege_type ||
			CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END, ', '
			ORDER BY (CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) COLLATE "C", a.privilege_type COLLATE "C"), 'nobody')
		FROM aclexplode(coalesce(manifest_acl.acl, acldefault(manifest_acl.kind, manifest_acl.owner))) a
		WHERE a.grantee <> manifest_acl.owner;
END;
COMMENT ON FUNCTION atp_internal.manifest_acl(aclitem[], "char", oid) IS 'Write privileges in a fixed order, those of the owner left out.';
REVOKE ALL ON FUNCTION atp_internal.manifest_acl(aclitem[], "char", oid) FROM PUBLIC;

CREATE FUNCTION atp_internal.leaf_faults() RETURNS TABLE (leaf regclass, fault text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH leaf AS (SELECT c.* FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'atp_internal.event'::regclass)
	SELECT l.oid::regclass, f.fault FROM leaf l CROSS JOIN LATERAL (
		SELECT 'its owner is ' || l.relowner::regrole AS fault WHERE l.relowner <> to_regrole('atp_owner')
		UNION ALL SELECT 'it is no permanent table of schema atp_internal' WHERE l.relpersistence <> 'p' OR l.relkind <> 'r'
			OR l.relnamespace <> 'atp_internal'::regnamespace
		UNION ALL SELECT 'row level security is not enabled and forced' WHERE NOT (l.relrowsecurity AND l.relforcerowsecurity)
		UNION ALL SELECT 'its trigger guard is missing or not ENABLE ALWAYS' WHERE NOT EXISTS (SELECT FROM pg_trigger t
			WHERE t.tgrelid = l.oid AND t.tgname = 'guard' AND t.tgenabled = 'A' AND t.tgfoid = 'atp_internal.refuse_change()'::regprocedure
			AND t.tgtype = (SELECT p.tgtype FROM pg_trigger p WHERE p.tgrelid = 'atp_internal.event'::regclass AND p.tgname = 'guard')
			AND t.tgqual IS NULL)
		UNION ALL SELECT 'it has a trigger ' || t.tgname FROM pg_trigger t WHERE t.tgrelid = l.oid AND t.tgname <> 'guard' AND NOT t.tgisinternal
		UNION ALL SELECT 'it has a rule ' || r.rulename FROM pg_rewrite r WHERE r.ev_class = l.oid
		UNION ALL SELECT 'its policy event_tenant is missing' WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = l.oid
			AND p.polname = 'event_tenant' AND p.polcmd = '*' AND p.polpermissive AND p.polwithcheck IS NULL
			AND pg_get_expr(p.polqual, p.polrelid) = 'atp_internal.tenant_is_visible(tenant)')
		UNION ALL SELECT 'it has a policy ' || p.polname FROM pg_policy p WHERE p.polrelid = l.oid AND p.polname <> 'event_tenant'
		UNION ALL SELECT 'its column ' || a.attname || ' differs from the parent''s' FROM pg_attribute a
			WHERE a.attrelid = 'atp_internal.event'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND NOT EXISTS (SELECT FROM pg_attribute o
				WHERE o.attrelid = l.oid AND o.attname = a.attname AND o.atttypid = a.atttypid AND o.attnotnull = a.attnotnull)
		UNION ALL SELECT 'it lacks its unique index on (' || array_to_string(u.names, ', ') || ')'
			FROM (VALUES (ARRAY['event_id', 'tenant']), (ARRAY['stream', 'stream_version', 'tenant'])) AS u(names)
			WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisunique AND i.indisvalid AND i.indisready
				AND i.indpred IS NULL AND i.indexprs IS NULL AND u.names = ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
					JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = k.number ORDER BY k.place))
		UNION ALL SELECT 'privileges: ' || atp_internal.manifest_acl(l.relacl, 'r', l.relowner)
			WHERE atp_internal.manifest_acl(l.relacl, 'r', l.relowner) <> 'nobody'
	) AS f;
END;
COMMENT ON FUNCTION atp_internal.leaf_faults() IS
'List in what a leaf of the event table is not as the append makes it.
Leaves are no members of the extension: the manifest says of them what deviates, and nothing of those that are in order.';
REVOKE ALL ON FUNCTION atp_internal.leaf_faults() FROM PUBLIC;

-- Objects that stand in the schemas and are not ours, and functions that would run as atp_owner.
CREATE FUNCTION atp_internal.manifest_strangers() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH ours AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
		schema AS (SELECT oid FROM pg_namespace WHERE nspname IN ('atp', 'atp_internal'))
	SELECT format('stranger: function %s, owner %s', p.oid::regprocedure, p.proowner::regrole) FROM pg_proc p
		WHERE (p.pronamespace IN (SELECT oid FROM schema) OR p.proowner = to_regrole('atp_owner'))
			AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_proc'::regclass AND o.objid = p.oid)
	UNION ALL
	SELECT format('stranger: relation %s, kind %s', c.oid::regclass, c.relkind) FROM pg_class c
		WHERE c.relnamespace IN (SELECT oid FROM schema) AND c.relkind NOT IN ('i', 'I', 't', 'c')
			AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid)
			AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = 'atp_internal.event'::regclass)
	UNION ALL
	SELECT format('stranger: type %s', format_type(t.oid, NULL)) FROM pg_type t
		WHERE t.typnamespace IN (SELECT oid FROM schema) AND t.typelem = 0 AND t.typtype <> 'm'
			AND (t.typrelid = 0 OR (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) = 'c')
			AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_type'::regclass AND o.objid = t.oid)
	UNION ALL
	SELECT format('stranger: operator %s', p.oid::regoperator) FROM pg_operator p WHERE p.oprnamespace IN (SELECT oid FROM schema)
		AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_operator'::regclass AND o.objid = p.oid)
	UNION ALL
	SELECT format('leaf %s: %s', f.leaf, f.fault) FROM atp_internal.leaf_faults() f;
END;
COMMENT ON FUNCTION atp_internal.manifest_strangers() IS 'List strangers in the schemas of the event store, and leaves that deviate.';
REVOKE ALL ON FUNCTION atp_internal.manifest_strangers() FROM PUBLIC;

CREATE FUNCTION atp_internal.manifest_members() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH ours AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
		relation AS (SELECT c.* FROM pg_class c JOIN ours o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid)
	SELECT format('member: %s %s', i.type, i.identity) FROM ours o, pg_identify_object(o.classid, o.objid, 0) i WHERE i.schema IS DISTINCT FROM 'pg_toast'
	UNION ALL
	SELECT format('function %s: owner %s, language %s, library %s, definer %s, volatility %s, strict %s, parallel %s, settings %s, execute %s, sha256 %s',
			p.oid::regprocedure, p.proowner::regrole, l.lanname, p.probin, p.prosecdef, p.provolatile, p.proisstrict, p.proparallel, p.proconfig,
			atp_internal.manifest_acl(p.proacl, 'f', p.proowner),
			encode(sha256(convert_to(CASE WHEN p.prokind = 'a' THEN p.prosrc ELSE pg_get_functiondef(p.oid) END, 'UTF8')), 'hex'))
		FROM pg_proc p JOIN ours o ON o.classid = 'pg_proc'::regclass AND o.objid = p.oid JOIN pg_language l ON l.oid = p.prolang
	UNION ALL
	SELECT format('relation %s: kind %s, owner %s, row security %s, forced %s, persistence %s, partitioned %s, privileges %s', c.oid::regclass, c.relkind,
			c.relowner::regrole, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence, pg_get_partkeydef(c.oid),
			atp_internal.manifest_acl(c.relacl, (CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner)) FROM relation c
	UNION ALL
	SELECT format('column %s.%s: %s, not null %s, default %s, identity %s, generated %s, privileges %s', c.oid::regclass, a.attname,
			format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attacl)
		FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relkind <> 'S'
	UNION ALL
	SELECT format('view %s: options %s, sha256 %s', c.oid::regclass, c.reloptions, encode(sha256(convert_to(pg_get_viewdef(c.oid), 'UTF8')), 'hex'))
		FROM relation c WHERE c.relkind IN ('v', 'm')
	UNION ALL
	SELECT format('constraint %s on %s: %s', n.conname, n.conrelid::regclass, pg_get_constraintdef(n.oid)) FROM pg_constraint n
		JOIN relation c ON c.oid = n.conrelid WHERE n.contype NOT IN ('n', 't')
	UNION ALL
	SELECT format('unique index %s', pg_get_indexdef(i.indexrelid)) FROM pg_index i JOIN relation c ON c.oid = i.indrelid WHERE i.indisunique
	UNION ALL
	SELECT format('trigger, enabled %s: %s', t.tgenabled, pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid
		WHERE NOT t.tgisinternal
	UNION ALL
	SELECT format('policy %s on %s: command %s, permissive %s, roles %s, using %s, check %s', p.polname, p.polrelid::regclass, p.polcmd, p.polpermissive,
			ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END COLLATE "C" FROM unnest(p.polroles) AS r ORDER BY 1),
			pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
		FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
	UNION ALL
	SELECT format('rule: %s', pg_get_ruledef(r.oid)) FROM pg_rewrite r JOIN relation c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
	UNION ALL
	SELECT format('type %s: owner %s, kind %s, base %s, not null %s, default %s, usage %s', format_type(t.oid, NULL), t.typowner::regrole, t.typtype,
			format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull, t.typdefault, atp_internal.manifest_acl(t.typacl, 'T', t.typowner))
		FROM pg_type t JOIN ours o ON o.classid = 'pg_type'::regclass AND o.objid = t.oid
		WHERE t.typtype <> 'm' AND t.typelem = 0
	UNION ALL
	SELECT format('domain constraint %s on %s: %s', n.conname, format_type(n.contypid, NULL), pg_get_constraintdef(n.oid)) FROM pg_constraint n
		JOIN ours o ON o.classid = 'pg_type'::regclass AND o.objid = n.contypid
	UNION ALL
	SELECT format('sequence %s: %s, start %s, increment %s, cache %s, cycle %s', c.oid::regclass, s.seqtypid::regtype, s.seqstart, s.seqincrement,
			s.seqcache, s.seqcycle) FROM pg_sequence s JOIN relation c ON c.oid = s.seqrelid
	UNION ALL
	SELECT format('dumped %s %s', t.relation::regclass, t.condition) FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS t(relation, condition)
		WHERE e.extname = 'atp';
END;
COMMENT ON FUNCTION atp_internal.manifest_members() IS 'List the facts of the extension''s own objects.';
REVOKE ALL ON FUNCTION atp_internal.manifest_members() FROM PUBLIC;

CREATE FUNCTION atp_internal.manifest_surroundings() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('extension atp: version %s, owner is superuser %s', e.extversion, r.rolsuper) FROM pg_extension e JOIN pg_roles r ON r.oid = e.extowner
		WHERE e.extname = 'atp'
	UNION ALL
	SELECT format('event trigger %s: on %s, function %s, enabled %s, tags %s, owner is superuser %s', t.evtname, t.evtevent, t.evtfoid::regprocedure, t.evtenabled,
			t.evttags, r.rolsuper)
		FROM pg_event_trigger t JOIN pg_roles r ON r.oid = t.evtowner
		WHERE t.evtname LIKE 'atp\_%' OR EXISTS (SELECT FROM pg_proc p WHERE p.oid = t.evtfoid AND p.pronamespace = 'atp_internal'::regnamespace)
	UNION ALL
	SELECT format('schema %s: %s', n.nspname, atp_internal.manifest_acl(n.nspacl, 'n', n.nspowner)) FROM pg_namespace n
		WHERE n.nspname IN ('atp', 'atp_internal')
	UNION ALL
	SELECT format('role %s: superuser %s, login %s, createrole %s, bypassrls %s, members %s', r.rolname, r.rolsuper, r.rolcanlogin, r.rolcreaterole, r.rolbypassrls,
			CASE r.rolname WHEN 'atp_owner' THEN (SELECT count(*) FROM pg_auth_members m WHERE m.roleid = r.oid)::text ELSE 'anybody' END)
		FROM pg_roles r WHERE r.rolname IN ('atp_owner', 'atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin')
	UNION ALL
	SELECT format('setting %s: default %s%s', s.name, s.boot_val, CASE WHEN s.name IN ('atp.guard', 'atp.allow_drop') THEN ', now ' || s.setting ELSE '' END)
		FROM pg_settings s WHERE s.name LIKE 'atp.%'
	UNION ALL
	SELECT format('default privileges of atp_owner: %s', a.defaclacl) FROM pg_default_acl a WHERE a.defaclrole = to_regrole('atp_owner')
		OR a.defaclnamespace IN (SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('atp', 'atp_internal'));
END;
COMMENT ON FUNCTION atp_internal.manifest_surroundings() IS 'List the facts around the extension: event triggers, schemas, roles, settings.';
REVOKE ALL ON FUNCTION atp_internal.manifest_surroundings() FROM PUBLIC;

CREATE FUNCTION atp_internal.manifest_baseline() RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_selfmanifest_baseline';
COMMENT ON FUNCTION atp_internal.manifest_baseline() IS
'Return the hash of a fresh installation''s manifest, which the library carries.
NULL where the library was built without one for this major version of the server.';
REVOKE ALL ON FUNCTION atp_internal.manifest_baseline() FROM PUBLIC;

CREATE FUNCTION atp.self_manifest() RETURNS text
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	manifest text;
BEGIN
	PERFORM atp_internal.manifest_baseline();	-- the library's settings are known once it is loaded
	SELECT string_agg(f.fact, E'\n' ORDER BY f.fact COLLATE "C") || E'\n' INTO manifest
		FROM (SELECT * FROM atp_internal.manifest_members() UNION ALL SELECT * FROM atp_internal.manifest_surroundings()
			UNION ALL SELECT * FROM atp_internal.manifest_strangers()) AS f(fact);
	RETURN manifest;
END $$;
COMMENT ON FUNCTION atp.self_manifest() IS
'Write down what the installation is made of, one fact a line, sorted by bytes.
Functions with the hash of their definition, privileges, owners, tables, constraints, triggers, event triggers, policies, views, roles, settings, and what does not belong there. Equal for two fresh installations of a version on one major version of the server. Grants that an administrator has made on functions show as differences. It speaks for the catalogs as this server presents them: whoever can change the server can change what it says.';
REVOKE ALL ON FUNCTION atp.self_manifest() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.self_manifest() TO atp_auditor, atp_admin;

CREATE FUNCTION atp.self_manifest_hash() RETURNS text
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT encode(sha256(convert_to(atp.self_manifest(), 'UTF8')), 'hex');
END;
COMMENT ON FUNCTION atp.self_manifest_hash() IS
'Return the SHA-256 of atp.self_manifest() in UTF-8, as hexadecimal text.
docs/reference/manifest.md has the value of a fresh installation; atp.doctor() compares with the one in the library.';
REVOKE ALL ON FUNCTION atp.self_manifest_hash() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.self_manifest_hash() TO atp_auditor, atp_admin;

-- ==== src/tooling/nightly.sql ====
-- Scheduled verification: runs, their record, what is due, and what the doctor says of it.
CREATE TABLE atp_internal.verification (
	run bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT verification_pk PRIMARY KEY,
	started_at timestamptz NOT NULL,
	finished_at timestamptz NOT NULL,
	checked bigint NOT NULL,
	signatures bigint NOT NULL,
	through_position bigint NOT NULL,
	ok boolean NOT NULL,
	scope text NOT NULL CONSTRAINT verification_scope_known CHECK (scope IN ('incremental', 'whole')),
	fault text
);
CREATE INDEX verification_scope ON atp_internal.verification (scope, run);
COMMENT ON TABLE atp_internal.verification IS 'Runs of the scheduled verification.';
COMMENT ON COLUMN atp_internal.verification.run IS 'Number of the run.';
COMMENT ON COLUMN atp_internal.verification.started_at IS 'When it began.';
COMMENT ON COLUMN atp_internal.verification.finished_at IS 'When it ended.';
COMMENT ON COLUMN atp_internal.verification.checked IS 'Events whose hash was recomputed.';
COMMENT ON COLUMN atp_internal.verification.signatures IS 'Signatures on checkpoints that were verified.';
COMMENT ON COLUMN atp_internal.verification.through_position IS 'Log position up to which everything was verified, by this run and those before it.';
COMMENT ON COLUMN atp_internal.verification.ok IS 'Whether everything was well.';
COMMENT ON COLUMN atp_internal.verification.scope IS 'incremental or whole.';
COMMENT ON COLUMN atp_internal.verification.fault IS 'The first fault; NULL: none.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.verification', '');
SELECT pg_catalog.pg_extension_config_dump('atp_internal.verification_run_seq', '');
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.verification
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.verification ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp_internal.verify_signatures(since timestamptz, OUT checked bigint, OUT fault text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	signed record;
	root_tenant int := (SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = 'default');
	key_id text;
	last_size bigint;
BEGIN
	checked := 0;
	FOR signed IN
		SELECT g.size, g.line, g.vkey, k.purpose, k.vkey IS NOT NULL AS known,
			atp_internal.checkpoint_body(g.size) || E'\n' || g.line AS note
		FROM atp_internal.checkpoint_signature g LEFT JOIN atp_internal.signing_key k ON k.vkey = g.vkey
		WHERE verify_signatures.since IS NULL OR g.received_at >= verify_signatures.since
		ORDER BY g.vkey, g.size
	LOOP
		IF key_id IS DISTINCT FROM regexp_replace(signed.vkey, '^([^+]*[+][^+]*)[+].*$', '\1') AND last_size IS NOT NULL THEN
			PERFORM atp_internal.emit_event(root_tenant, 'atp.Signature-' || key_id, 'SignatureVerified', jsonb_build_object(
				'TenantId', 'default', 'Scope', 'checkpoints', 'KeyId', key_id, 'TreeSize', last_size,
				'VerifiedAt', atp_internal.event_time(clock_timestamp())));
		END IF;
		key_id := regexp_replace(signed.vkey, '^([^+]*[+][^+]*)[+].*$', '\1');
		checked := checked + 1;
		IF signed.note IS NULL OR NOT signed.known OR NOT (atp.note_verify(signed.note, signed.vkey)
			OR (signed.purpose = 'witness' AND atp.cosignature_verify(signed.note, signed.vkey) IS NOT NULL)) THEN
			fault := format('The signature by %s on the checkpoint of size %s is wrong.', key_id, signed.size);
			PERFORM atp_internal.emit_event(root_tenant, 'atp.Signature-' || key_id, 'SignatureVerificationFailed', jsonb_build_object(
				'TenantId', 'default', 'Scope', 'checkpoints', 'KeyId', key_id, 'TreeSize', signed.size, 'Fault', fault,
				'DetectedAt', atp_internal.event_time(clock_timestamp())));
			RETURN;
		END IF;
		last_size := signed.size;
	END LOOP;
	IF last_size IS NOT NULL THEN
		PERFORM atp_internal.emit_event(root_tenant, 'atp.Signature-' || key_id, 'SignatureVerified', jsonb_build_object(
			'TenantId', 'default', 'Scope', 'checkpoints', 'KeyId', key_id, 'TreeSize', last_size,
			'VerifiedAt', atp_internal.event_time(clock_timestamp())));
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.verify_signatures(timestamptz) IS
'Verify the signatures on checkpoints that came since a time; NULL: all.
Records SignatureVerified for each key, or SignatureVerificationFailed for the first that is wrong.';
REVOKE ALL ON FUNCTION atp_internal.verify_signatures(timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.verify_chains(scope text, since bigint, OUT checked bigint, OUT fault text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	began timestamptz := clock_timestamp();
	of_all record;
	of_trees record;
	streams bigint := 0;
	tenant_name text := 'default';
	stream_name text;
	version bigint;
BEGIN
	IF verify_chains.scope = 'whole' THEN
		SELECT v.* INTO of_all FROM atp.verify_all(workers => 0) v;
		SELECT count(*) INTO streams FROM atp_internal.stream;
	ELSE
		SELECT count(DISTINCT l.stream) INTO streams FROM atp_internal.log l WHERE l.log_position > verify_chains.since;
	END IF;
	SELECT v.* INTO of_trees FROM atp.verify_trees(verify_chains.since) v;
	IF verify_chains.scope = 'whole' THEN
		checked := of_all.checked;
		IF NOT of_all.ok THEN
			fault := of_all.fault;
			tenant_name := coalesce(of_all.first_fault_tenant, 'default');
			stream_name := of_all.first_fault_stream;
			version := of_all.first_fault_version;
		END IF;
	ELSE
		checked := of_trees.checked;
	END IF;
	IF fault IS NULL AND NOT of_trees.ok THEN
		fault := of_trees.fault || coalesce(format(' (log position %s)', of_trees.first_fault_position), '');
		tenant_name := coalesce(of_trees.first_fault_tenant, 'default');
	END IF;
	IF fault IS NOT NULL THEN
		PERFORM atp_internal.emit_event((SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = tenant_name), 'atp.Verification-' || verify_chains.scope,
			'HashChainValidationFailed', jsonb_build_object('TenantId', tenant_name, 'Scope', verify_chains.scope, 'StreamsChecked', streams,
				'EventsChecked', checked, 'FirstFault', jsonb_build_object('StreamId', stream_name, 'SequenceNumber', version, 'Fault', fault),
				'DetectedAt', atp_internal.event_time(clock_timestamp())));
	ELSIF checked > 0 THEN
		PERFORM atp_internal.emit_event((SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = 'default'), 'atp.Verification-' || verify_chains.scope,
			'HashChainValidated', jsonb_build_object('TenantId', 'default', 'Scope', verify_chains.scope, 'StreamsChecked', streams,
				'EventsChecked', checked, 'Duration', format('PT%sS', round(extract(epoch FROM clock_timestamp() - began), 6)),
				'ValidatedAt', atp_internal.event_time(clock_timestamp())));
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.verify_chains(text, bigint) IS
'Verify chains and trees: all, or the events after a log position.
Records HashChainValidated or HashChainValidationFailed.';
REVOKE ALL ON FUNCTION atp_internal.verify_chains(text, bigint) FROM PUBLIC;

CREATE FUNCTION atp.run_verification(scope text DEFAULT 'incremental', OUT ok boolean, OUT checked bigint, OUT signatures bigint, OUT fault text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	began timestamptz := clock_timestamp();
	since bigint := 0;
	since_time timestamptz;
	through bigint;
	signature_fault text;
BEGIN
	IF run_verification.scope IS NULL OR run_verification.scope NOT IN ('incremental', 'whole') THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'scope is neither incremental nor whole';
	END IF;
	LOCK TABLE atp_internal.verification IN SHARE ROW EXCLUSIVE MODE NOWAIT;
	IF run_verification.scope = 'incremental' THEN
		SELECT v.through_position, v.started_at INTO since, since_time
			FROM atp_internal.verification v WHERE v.ok ORDER BY v.run DESC FETCH FIRST ROW ONLY;
		since := coalesce(since, 0);
	END IF;
	PERFORM atp_internal.sweep_exports();
	SELECT coalesce(max(s.log_position), 0) INTO through FROM atp_internal.leaf_state s;
	BEGIN
		SELECT c.checked, c.fault INTO checked, fault FROM atp_internal.verify_chains(run_verification.scope, since) c;
		SELECT s.checked, s.fault INTO signatures, signature_fault FROM atp_internal.verify_signatures(since_time) s;
		fault := coalesce(fault, signature_fault);
	EXCEPTION WHEN OTHERS THEN
		-- What cannot be read is a fault that is told, unless it says nothing of what is stored: read only, cancelled, out of memory and the like.
		IF left(sqlstate, 2) IN ('25', '40', '53', '54', '55', '57') THEN
			RAISE;
		END IF;
		fault := format('Verification cannot read what is stored: %s (%s).', sqlerrm, sqlstate);
		checked := 0;
		signatures := 0;
	END;
	ok := fault IS NULL;
	INSERT INTO atp_internal.verification (started_at, finished_at, checked, signatures, through_position, ok, scope, fault)
		VALUES (began, clock_timestamp(), checked, signatures, CASE WHEN ok THEN through ELSE since END, ok, run_verification.scope, fault);
	IF NOT ok THEN
		PERFORM atp_internal.raise_alert(0, 'verification', fault);
	END IF;
END $$;
COMMENT ON FUNCTION atp.run_verification(text) IS
'Verify what was written since the last run (incremental), or everything (whole).
Chains and hashes recomputed from the stored columns, trees, heads, checkpoints, signatures. Records HashChainValidated or HashChainValidationFailed, SignatureVerified or SignatureVerificationFailed; a fault, and an error that keeps something from being read, is kept in list_verifications, raises NOTIFY atp_alert and HealthCheckFailed. The worker runs it at server start and every atp.verification_interval, whole every seventh time that passes; or let pg_cron: see schedule_verification. Exports that broke off are recorded on the way.
Raises: 22023, 25006, 55P03 (another run is at work).';
REVOKE ALL ON FUNCTION atp.run_verification(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.run_verification(text) TO atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.cron_is_present() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron');
END;
COMMENT ON FUNCTION atp_internal.cron_is_present() IS
'Say whether pg_cron is installed in this database.
Its jobs are not looked at: each role sees its own only, and a job that is there need not run.';
REVOKE ALL ON FUNCTION atp_internal.cron_is_present() FROM PUBLIC;

CREATE FUNCTION atp_internal.due_verification(period int) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	last_run timestamptz := (SELECT v.started_at FROM atp_internal.verification v ORDER BY v.run DESC FETCH FIRST ROW ONLY);
	last_whole timestamptz := (SELECT v.started_at FROM atp_internal.verification v WHERE v.scope = 'whole' ORDER BY v.run DESC FETCH FIRST ROW ONLY);
	first_event timestamptz := (SELECT l.published_at FROM atp_internal.log l ORDER BY l.log_position FETCH FIRST ROW ONLY);
	period interval := make_interval(secs => due_verification.period);
	grace interval := CASE WHEN atp_internal.cron_is_present() THEN period / 4 ELSE interval '0' END;
BEGIN
	IF first_event IS NULL OR NOT EXISTS (SELECT FROM atp_internal.leaf_state s WHERE s.log_position > 0) THEN
		RETURN NULL;
	END IF;
	IF coalesce(last_run, first_event) < pg_postmaster_start_time() THEN
		RETURN CASE WHEN last_run IS NULL THEN 'whole' ELSE 'incremental' END;
	END IF;
	IF coalesce(last_whole, first_event) < clock_timestamp() - period * 7 - grace THEN
		RETURN 'whole';
	END IF;
	RETURN CASE WHEN coalesce(last_run, first_event) < clock_timestamp() - period - grace THEN 'incremental' END;
END $$;
COMMENT ON FUNCTION atp_internal.due_verification(int) IS
'Return the scope of the verification that is due; NULL: none.
After a start of the server, when the period in seconds has passed, and whole when seven have. Where pg_cron is installed, a quarter of the period later: whoever calls this comes in where pg_cron has not run it.';
REVOKE ALL ON FUNCTION atp_internal.due_verification(int) FROM PUBLIC;

CREATE FUNCTION atp.schedule_verification() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN
		RETURN false;	-- and nobody else's schema of that name is asked
	END IF;
	EXECUTE $q$SELECT cron.schedule('atp verification', '17 2 * * 1-6', 'SELECT atp.run_verification()'),
		cron.schedule('atp whole verification', '17 2 * * 0', $c$SELECT atp.run_verification('whole')$c$)$q$;
	RETURN true;
END $$;
COMMENT ON FUNCTION atp.schedule_verification() IS
'Let pg_cron run the verification: incremental at night, whole on Sundays.
Runs with the privileges of the caller, who has to be allowed to use cron.schedule. False where pg_cron is not in this database: then the worker does it. From another database that has it: cron.schedule_in_database.';
REVOKE ALL ON FUNCTION atp.schedule_verification() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.schedule_verification() TO atp_admin;

CREATE FUNCTION atp.list_verifications(OUT started_at timestamptz, OUT finished_at timestamptz, OUT scope text, OUT ok boolean, OUT checked bigint,
		OUT signatures bigint, OUT through_position bigint, OUT fault text) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT v.started_at, v.finished_at, v.scope, v.ok, v.checked, v.signatures, v.through_position, v.fault
	FROM atp_internal.verification v ORDER BY v.run DESC;
END;
COMMENT ON FUNCTION atp.list_verifications() IS 'List the runs of the scheduled verification, newest first.';
REVOKE ALL ON FUNCTION atp.list_verifications() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_verifications() TO atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.check_verification() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH latest AS (SELECT v.* FROM atp_internal.verification v ORDER BY v.run DESC FETCH FIRST ROW ONLY),
		-- A fault that a whole run has found stands until a whole run finds none: incremental runs do not look there.
		standing AS (SELECT v.* FROM atp_internal.verification v WHERE v.scope = 'whole' ORDER BY v.run DESC FETCH FIRST ROW ONLY),
		newest AS (SELECT n.* FROM (SELECT l.* FROM latest l UNION ALL SELECT s.* FROM standing s WHERE NOT s.ok) n ORDER BY n.ok, n.run DESC FETCH FIRST ROW ONLY),
		oldest_event AS (SELECT l.published_at FROM atp_internal.log l ORDER BY l.log_position FETCH FIRST ROW ONLY)
	SELECT 'verification', CASE WHEN n.ok THEN 'ok' ELSE 'error' END,
		CASE WHEN n.ok THEN format('The last verification found no fault: %s, %s events.', n.scope, n.checked)
			ELSE format('The last verification found a fault: %s', n.fault) END,
		CASE WHEN NOT n.ok THEN 'Keep the server as it is, export what verifies, compare with a backup; see docs/howto/audit.md.' END
	FROM newest n
	UNION ALL
	SELECT 'verification_runs', CASE WHEN l.what IS NULL THEN 'ok' ELSE 'error' END,
		CASE WHEN l.what IS NULL THEN 'Verification runs as scheduled.' ELSE format('A scheduled verification is missing: %s within the last %s.', l.what, l.span) END,
		CASE WHEN l.what IS NOT NULL THEN 'Look for the worker and atp.verification_interval, for jobs of pg_cron and cron.job_run_details, or run SELECT * FROM atp.run_verification(''whole''); see atp.schedule_verification().' END
	FROM (SELECT CASE WHEN e.published_at < clock_timestamp() - p.any_span AND NOT EXISTS (SELECT FROM atp_internal.verification v
					WHERE v.finished_at > clock_timestamp() - p.any_span) THEN 'none'
				WHEN e.published_at < clock_timestamp() - p.whole_span AND NOT EXISTS (SELECT FROM atp_internal.verification v
					WHERE v.scope = 'whole' AND v.finished_at > clock_timestamp() - p.whole_span) THEN 'none of everything' END,
			CASE WHEN NOT EXISTS (SELECT FROM atp_internal.verification v WHERE v.finished_at > clock_timestamp() - p.any_span) THEN p.any_span ELSE p.whole_span END
		FROM (SELECT greatest(i.period * 2, interval '2 days'), greatest(i.period * 9, interval '9 days')
				FROM (SELECT coalesce((SELECT make_interval(secs => s.setting::int) FROM pg_settings s WHERE s.name = 'atp.verification_interval'), interval '0')) AS i(period)) AS p(any_span, whole_span)
			LEFT JOIN oldest_event e ON true) AS l(what, span);
END;
COMMENT ON FUNCTION atp_internal.check_verification() IS 'Check that verification runs, and what the last run found.
Missing: two intervals or days without any, nine without a whole one.';

CREATE FUNCTION atp_internal.check_trees(delay interval DEFAULT '5 minutes') RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'tree', 'error', format('The tree of tenant %s was stopped at log position %s: %s.', t.name, r.halted_position, r.halted_reason),
		'The event there is not what was written. Put it right from a backup, then atp.resume_tree().'
	FROM atp_internal.tree r JOIN atp_internal.tenant t ON t.tenant = r.tenant WHERE r.halted_position IS NOT NULL
	UNION ALL
	SELECT 'trees', CASE WHEN w.waits THEN 'error' ELSE 'ok' END,
		CASE WHEN w.waits THEN 'Events wait to become leaves of their trees.' ELSE 'Events become leaves in time.' END,
		CASE WHEN w.waits THEN 'Look for the worker and the server''s log; SELECT atp.grow_trees() does it by hand.' END
	FROM (SELECT EXISTS (SELECT FROM (SELECT coalesce(max(x.log_position), 0) + 1 AS next FROM atp_internal.leaf_state x) s
		JOIN atp_internal.log l ON l.log_position = s.next AND l.published_at < clock_timestamp() - check_trees.delay)) w(waits)
	UNION ALL
	SELECT 'checkpoint', CASE WHEN s.signed THEN 'ok' ELSE 'warning' END,
		CASE WHEN s.signed THEN 'Checkpoints are signed.' ELSE 'No checkpoint of the last day is signed: nothing proves these events to an outsider.' END,
		CASE WHEN NOT s.signed THEN 'Set up atp-signer outside; see docs/howto/audit.md.' END
	FROM (SELECT NOT EXISTS (SELECT FROM atp_internal.checkpoint c WHERE c.made_at < clock_timestamp() - interval '1 day')
		OR atp_internal.newest_signed() IS NOT NULL AND atp_internal.newest_signed() >=
			(SELECT max(c.size) FROM atp_internal.checkpoint c WHERE c.made_at < clock_timestamp() - interval '1 day')) s(signed)
	UNION ALL
	SELECT 'signing_key_file', 'warning', 'The signing key is a file that the server reads: who owns the server can sign anything.',
		'Let atp-signer sign, outside; reset atp.signing_key_file.'
	WHERE coalesce(current_setting('atp.signing_key_file', true), '') <> '';
END;
COMMENT ON FUNCTION atp_internal.check_trees(interval) IS 'Check that trees grow and checkpoints are signed.';
REVOKE ALL ON FUNCTION atp_internal.check_verification(), atp_internal.check_trees(interval) FROM PUBLIC;

-- ==== src/tooling/doctor.sql ====
-- The doctor: what is wrong with the installation, and what to do about it. A check is a function of schema atp_internal that belongs to
-- the extension, can be called without arguments and returns SETOF atp.finding; every room may have some. atp.doctor() finds them.
CREATE FUNCTION atp_internal.library_version() RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_doctor_library_version';
COMMENT ON FUNCTION atp_internal.library_version() IS 'Return the version of the loaded library.';
REVOKE ALL ON FUNCTION atp_internal.library_version() FROM PUBLIC;

CREATE FUNCTION atp_internal.library_is_preloaded() RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_doctor_library_is_preloaded';
COMMENT ON FUNCTION atp_internal.library_is_preloaded() IS 'Say whether the library is in shared_preload_libraries.';
REVOKE ALL ON FUNCTION atp_internal.library_is_preloaded() FROM PUBLIC;

CREATE FUNCTION atp_internal.check_library() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'library', CASE WHEN v.sql = v.library THEN 'ok' ELSE 'error' END,
		format('The library is %s, the SQL objects are %s.', v.library, v.sql),
		CASE WHEN v.sql <> v.library THEN 'ALTER EXTENSION atp UPDATE; reconnect sessions that have loaded an older library.' END
	FROM (SELECT e.extversion, atp_internal.library_version() FROM pg_extension e WHERE e.extname = 'atp') AS v(sql, library);
END;
COMMENT ON FUNCTION atp_internal.check_library() IS 'Check that library and SQL objects are of one version.';

CREATE FUNCTION atp_internal.check_guard() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'preload', CASE WHEN atp_internal.library_is_preloaded() THEN 'ok' ELSE 'warning' END,
		CASE WHEN atp_internal.library_is_preloaded() THEN 'The library is preloaded: the hooks guard every session.'
			ELSE 'The library is not preloaded: a superuser''s session that loads nothing of it can change the catalogs and the event triggers.' END,
		CASE WHEN NOT atp_internal.library_is_preloaded() THEN 'Add atp to shared_preload_libraries and restart the server.' END
	UNION ALL
	SELECT 'guard', CASE current_setting('atp.guard', true) WHEN 'on' THEN 'ok' ELSE 'error' END,
		CASE current_setting('atp.guard', true) WHEN 'on' THEN 'The guard stands.'
			ELSE 'The guard stands down: objects of the event store can be altered and dropped.' END,
		CASE WHEN current_setting('atp.guard', true) IS DISTINCT FROM 'on' THEN 'Remove atp.guard = off from the configuration and restart the server.' END
	UNION ALL
	SELECT 'allow_drop', 'warning', 'The setting atp.allow_drop is on: DROP EXTENSION atp removes every event.',
		'RESET atp.allow_drop; ALTER ROLE or ALTER DATABASE ... RESET atp.allow_drop.'
		WHERE current_setting('atp.allow_drop', true) = 'on'
	UNION ALL
	SELECT 'replication_role', CASE current_setting('session_replication_role') WHEN 'origin' THEN 'ok' ELSE 'warning' END,
		format('session_replication_role is %s%s', current_setting('session_replication_role'),
			CASE current_setting('session_replication_role') WHEN 'origin' THEN '.' ELSE ': the guard''s triggers fire all the same, others may not.' END),
		CASE WHEN current_setting('session_replication_role') <> 'origin' THEN 'RESET session_replication_role; see ALTER ROLE and ALTER DATABASE ... RESET.' END;
END;
COMMENT ON FUNCTION atp_internal.check_guard() IS 'Check which level of the guard holds.';

CREATE FUNCTION atp_internal.check_triggers() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH fault AS (
		SELECT format('Table %s: its trigger guard is missing or not ENABLE ALWAYS.', t.name) AS fault
		FROM (VALUES ('atp_internal.event', 'atp_internal.refuse_change()'), ('atp_internal.stream', 'atp_internal.refuse_change()'),
			('atp_internal.log', 'atp_internal.refuse_change()'), ('atp_internal.tenant', 'atp_internal.refuse_foreign_change()')) AS t(name, function)
		WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = to_regclass(t.name) AND g.tgname = 'guard' AND g.tgenabled = 'A'
			AND g.tgfoid = to_regprocedure(t.function))
		UNION ALL
		SELECT format('Partition %s: %s.', f.leaf, f.fault) FROM atp_internal.leaf_faults() f
		UNION ALL
		SELECT format('Trigger %s on %s is not ENABLE ALWAYS.', t.tgname, t.tgrelid::regclass) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
			WHERE c.relnamespace = to_regnamespace('atp_internal') AND c.relkind IN ('r', 'p') AND NOT t.tgisinternal AND t.tgname <> 'guard' AND t.tgenabled <> 'A'
		UNION ALL
		SELECT format('Rule %s on %s does not belong there.', r.rulename, r.ev_class::regclass) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
			WHERE c.relnamespace = to_regnamespace('atp_internal') AND r.rulename <> '_RETURN' AND NOT c.relispartition)
	SELECT 'triggers', 'error', f.fault, 'Find out who changed it. With atp.guard = off: ALTER TABLE ... ENABLE ALWAYS TRIGGER, or restore from a dump; then SELECT * FROM atp.verify_all().'
		FROM fault f
	UNION ALL
	SELECT 'triggers', 'ok', 'The triggers of tables and partitions stand.', NULL WHERE NOT EXISTS (SELECT FROM fault);
END;
COMMENT ON FUNCTION atp_internal.check_triggers() IS 'Check that every table and partition has its triggers, and none beside.';

CREATE FUNCTION atp_internal.check_event_triggers() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'event_triggers', CASE WHEN count(t.oid) = 3 THEN 'ok' ELSE 'error' END,
		CASE WHEN count(t.oid) = 3 THEN 'The event triggers stand.'
			ELSE format('Missing or not ENABLE ALWAYS: %s.', string_agg(n.name, ', ' ORDER BY n.name) FILTER (WHERE t.oid IS NULL)) END,
		CASE WHEN count(t.oid) <> 3 THEN 'ALTER EVENT TRIGGER ... ENABLE ALWAYS; find out who changed it, and verify the store.' END
	FROM (VALUES ('atp_guard_command_start', 'ddl_command_start', 'atp_internal.guard_command_start()'),
			('atp_guard_command_end', 'ddl_command_end', 'atp_internal.guard_command_end()'),
			('atp_guard_drop', 'sql_drop', 'atp_internal.guard_drop()')) AS n(name, event, function)
		LEFT JOIN pg_event_trigger t ON t.evtname = n.name AND t.evtevent = n.event AND t.evtenabled = 'A'
			AND t.evtfoid = to_regprocedure(n.function) AND t.evttags IS NULL;
END;
COMMENT ON FUNCTION atp_internal.check_event_triggers() IS 'Check that the guard''s event triggers are enabled.';

CREATE FUNCTION atp_internal.check_manifest() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'manifest', CASE WHEN m.baseline IS NULL THEN 'note' WHEN m.present = m.baseline THEN 'ok' ELSE 'warning' END,
		CASE WHEN m.baseline IS NULL THEN 'The library carries no manifest for this major version of the server.'
			WHEN m.present = m.baseline THEN 'Functions, triggers, policies, owners and privileges are as installed.'
			ELSE 'Functions, triggers, policies, owners, privileges or roles differ from a fresh installation.' END,
		CASE WHEN m.present IS DISTINCT FROM m.baseline THEN
			'Compare SELECT atp.self_manifest() with that of a fresh installation (diff): grants of your own show too, nothing else should.' END
	FROM (SELECT atp_internal.manifest_baseline(), atp.self_manifest_hash()) AS m(baseline, present)
	UNION ALL
	SELECT 'manifest', 'error', s.fact, 'Find out who made it, and drop it with atp.guard = off.' FROM atp_internal.manifest_strangers() AS s(fact)
		WHERE s.fact LIKE 'stranger%';
END;
COMMENT ON FUNCTION atp_internal.check_manifest() IS 'Check that the objects of the extension are as a fresh installation has them.';

CREATE FUNCTION atp_internal.check_roles() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH fault AS (
		SELECT format('Role atp_owner has the member %s, who can act as the owner of the store.', m.member::regrole) AS fault,
				format('REVOKE atp_owner FROM %s, with atp.guard = off where the guard refuses it.', m.member::regrole) AS remedy
			FROM pg_auth_members m WHERE m.roleid = to_regrole('atp_owner')
		UNION ALL
		SELECT format('Role atp_owner is %s.', concat_ws(', ', CASE WHEN r.rolcanlogin THEN 'LOGIN' END, CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
				CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END)),
				'ALTER ROLE atp_owner NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE.'
			FROM pg_roles r WHERE r.rolname = 'atp_owner' AND (r.rolcanlogin OR r.rolsuper OR r.rolbypassrls OR r.rolcreaterole)
		UNION ALL
		SELECT format('Role %s is a superuser or bypasses row level security.', r.rolname), format('ALTER ROLE %s NOSUPERUSER NOBYPASSRLS.', r.rolname)
			FROM pg_roles r WHERE r.rolname IN ('atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin') AND (r.rolsuper OR r.rolbypassrls)
		UNION ALL
		SELECT format('Role %s does not exist.', n.name), format('CREATE ROLE %s NOLOGIN; then grant it what docs/reference/functions.md says.', n.name)
			FROM (VALUES ('atp_owner'), ('atp_reader'), ('atp_writer'), ('atp_auditor'), ('atp_admin')) AS n(name) WHERE to_regrole(n.name) IS NULL)
	SELECT 'roles', 'error', f.fault, f.remedy FROM fault f
	UNION ALL
	SELECT 'roles', 'ok', 'Nobody is or can become atp_owner.', NULL WHERE NOT EXISTS (SELECT FROM fault);
END;
COMMENT ON FUNCTION atp_internal.check_roles() IS 'Check that nobody can act as atp_owner and that the roles exist.';

CREATE FUNCTION atp_internal.check_row_security() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH fault AS (SELECT c.oid::regclass AS name FROM pg_class c
		WHERE c.relnamespace = to_regnamespace('atp_internal') AND c.relkind IN ('r', 'p') AND c.relname <> 'tenant'
			AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped)
			AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)))
	SELECT 'row_security', 'error', format('Table %s: row level security is not enabled and forced, or has no policy.', f.name),
		format('With atp.guard = off: ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY.', f.name) FROM fault f
	UNION ALL
	SELECT 'row_security', 'ok', 'Row level security is forced on every table and partition that holds a tenant''s rows.', NULL WHERE NOT EXISTS (SELECT FROM fault);
END;
COMMENT ON FUNCTION atp_internal.check_row_security() IS 'Check that row level security is forced on every table and partition.';

CREATE FUNCTION atp_internal.check_partitions(at timestamptz DEFAULT NULL) RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH bound AS (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']*)''\) TO \(''([^'']*)''\)') AS pair
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass('atp_internal.event')),
		moment AS (SELECT m.name, (lpad(to_hex((extract(epoch FROM coalesce(check_partitions.at, clock_timestamp()) + m.ahead) * 1000)::bigint), 12, '0') ||
				repeat('0', 20))::uuid AS id
			FROM (VALUES ('now', interval '0'), ('tomorrow', interval '1 day')) AS m(name, ahead)),
		missing AS (SELECT m.name FROM moment m WHERE EXISTS (SELECT FROM bound)
			AND NOT EXISTS (SELECT FROM bound b WHERE (b.pair)[1]::uuid <= m.id AND m.id < (b.pair)[2]::uuid))
	SELECT 'partitions', 'warning', format('No partition for %s: the append that needs one makes it, and the others wait meanwhile.', m.name),
		'SELECT atp.create_partitions(); and see to it that the worker runs.' FROM missing m
	UNION ALL
	SELECT 'partitions', 'ok', format('%s partitions; those that appends need next are there.', (SELECT count(*) FROM bound)), NULL
		WHERE NOT EXISTS (SELECT FROM missing);
END;
COMMENT ON FUNCTION atp_internal.check_partitions(timestamptz) IS 'Check that partitions are made for a time, now by default, and the day after.';

CREATE FUNCTION atp_internal.check_sequencer(delay interval DEFAULT '1 minute') RETURNS SETOF atp.finding
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'sequencer', 'error', s.fault, 'SELECT atp.resequence();' FROM atp_internal.sequencer_state() s WHERE s.fault IS NOT NULL
	UNION ALL
	SELECT 'sequencer', CASE WHEN w.waiting IS NULL THEN 'ok' ELSE 'warning' END,
		CASE WHEN w.waiting IS NULL THEN 'The log is up to date.'
			ELSE format('Events recorded at %s are not in the log yet.', w.waiting) END,
		CASE WHEN w.waiting IS NOT NULL THEN 'See the check worker; SELECT atp.tick() places them by hand. A transaction that is still open or prepared keeps its own events back.' END
	FROM (SELECT (SELECT e.recorded_at FROM atp_internal.event e
			WHERE e.event_id >= (lpad(to_hex((extract(epoch FROM clock_timestamp() - interval '1 day') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
				AND e.recorded_at < clock_timestamp() - check_sequencer.delay
				AND NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id AND l.tenant = e.tenant)
			LIMIT 1)) AS w(waiting);
END;
COMMENT ON FUNCTION atp_internal.check_sequencer(interval) IS 'Check that the log keeps up with the events of the last day.';

CREATE FUNCTION atp_internal.check_worker() RETURNS SETOF atp.finding
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'worker', CASE WHEN w.alive THEN 'ok' WHEN NOT w.enabled THEN 'warning' WHEN n.waiting AND NOT pg_is_in_recovery() THEN 'warning' ELSE 'ok' END,
		CASE WHEN w.alive THEN format('The background worker is process %s.', w.pid)
			WHEN NOT w.enabled THEN 'The background worker is switched off: readers and atp.tick() place events.'
			WHEN pg_is_in_recovery() THEN 'A standby has no worker.'
			WHEN n.waiting THEN 'No background worker is alive although events wait: probably every slot of max_worker_processes is taken.'
			ELSE 'No background worker is alive; the next append starts one.' END,
		CASE WHEN NOT w.enabled AND NOT w.alive THEN 'Remove atp.worker_enabled = off from the configuration.'
			WHEN NOT w.alive AND n.waiting AND NOT pg_is_in_recovery() THEN format('Raise max_worker_processes (now %s) and restart the server.', current_setting('max_worker_processes')) END
	FROM atp_internal.worker_status() w,
		(SELECT EXISTS (SELECT FROM atp_internal.check_sequencer('5 seconds') c WHERE c.level <> 'ok')) AS n(waiting)
	UNION ALL
	SELECT 'trees_process', CASE WHEN a.active AND a.pid IS NULL THEN 'note' ELSE 'ok' END,
		CASE WHEN a.pid IS NOT NULL THEN format('Process %s grows the trees and makes checkpoints.', a.pid)
			WHEN a.active THEN 'The background worker itself grows the trees and makes checkpoints, between its other jobs: there is no process of their own.'
			ELSE 'No process grows the trees now; the background worker starts one when there is something to do.' END,
		CASE WHEN a.active AND a.pid IS NULL THEN format('Raise max_worker_processes (now %s) and restart the server.', current_setting('max_worker_processes')) END
	FROM atp_internal.aside_status() a
	UNION ALL
	SELECT 'scheduler', CASE WHEN EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN 'ok' ELSE 'note' END,
		CASE WHEN EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN 'pg_cron is installed in this database.'
			ELSE 'pg_cron is not installed in this database: the background worker runs the scheduled jobs.' END,
		CASE WHEN NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN 'Nothing is needed; CREATE EXTENSION pg_cron lets schedules be seen and changed there.' END;
END;
COMMENT ON FUNCTION atp_internal.check_worker() IS 'Check that the background worker lives or can be started.';

CREATE FUNCTION atp_internal.check_prepared(age interval DEFAULT '1 hour') RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'prepared_transactions', 'warning', format('Transaction "%s" has stood prepared since %s; its streams are locked, its events are not in the log.', p.gid, p.prepared),
		format('COMMIT PREPARED %L or ROLLBACK PREPARED %L.', p.gid, p.gid)
		FROM pg_prepared_xacts p WHERE p.database = current_database() AND p.prepared < clock_timestamp() - check_prepared.age
	UNION ALL
	SELECT 'prepared_transactions', 'ok', 'No transaction has stood prepared for long.', NULL
		WHERE NOT EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.database = current_database() AND p.prepared < clock_timestamp() - check_prepared.age);
END;
COMMENT ON FUNCTION atp_internal.check_prepared(interval) IS 'Check that no prepared transaction is older than an age.';

CREATE FUNCTION atp_internal.check_server() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s.name, CASE WHEN s.bad THEN s.level ELSE 'ok' END, format('%s is %s%s', s.name, s.value, CASE WHEN s.bad THEN ': ' || s.reason ELSE '.' END),
		CASE WHEN s.bad THEN s.remedy END
	FROM (SELECT n.name, current_setting(n.name), current_setting(n.name) = ANY (n.bad_values), n.level, n.reason, n.remedy FROM (VALUES
		('fsync', ARRAY['off'], 'error', 'a crash of the machine can destroy acknowledged events and the database.', 'Set fsync = on and reload.'),
		('full_page_writes', ARRAY['off'], 'error', 'a crash of the machine can tear pages.', 'Set full_page_writes = on and reload.'),
		('synchronous_commit', ARRAY['off'], 'warning', 'a crash can lose the last acknowledged events.', 'Set synchronous_commit = on for whoever appends.'),
		('data_checksums', ARRAY['off'], 'warning', 'rot on disk is found by verification only.', 'Stop the server and run pg_checksums --enable.'),
		('wal_level', ARRAY['minimal'], 'warning', 'no replica and no point-in-time recovery.', 'Set wal_level = replica and restart.'),
		('autovacuum', ARRAY['off'], 'warning', 'stream heads leave dead rows behind.', 'Set autovacuum = on and reload.'),
		('track_counts', ARRAY['off'], 'warning', 'autovacuum does not run.', 'Set track_counts = on and reload.')
		) AS n(name, bad_values, level, reason, remedy)
	UNION ALL
	SELECT 'server_encoding', current_setting('server_encoding'), current_setting('server_encoding') <> 'UTF8', 'error',
		'JSON texts can hold characters that this encoding cannot.', 'Dump, and restore into a database with ENCODING UTF8.'
	) AS s(name, value, bad, level, reason, remedy);
END;
COMMENT ON FUNCTION atp_internal.check_server() IS 'Check the settings of the server on which durability and housekeeping rest.';

CREATE FUNCTION atp_internal.check_tables() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'autovacuum', 'warning', format('Autovacuum is disabled for table %s.', c.oid::regclass), format('ALTER TABLE %s RESET (autovacuum_enabled).', c.oid::regclass)
		FROM pg_class c WHERE c.relnamespace = to_regnamespace('atp_internal')
			AND EXISTS (SELECT FROM unnest(c.reloptions) AS o(option) WHERE o.option IN ('autovacuum_enabled=false', 'autovacuum_enabled=off'));
END;
COMMENT ON FUNCTION atp_internal.check_tables() IS 'Check that autovacuum is not disabled for a table of the store.';

CREATE FUNCTION atp_internal.check_tenants() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'tenants', CASE WHEN count(*) FILTER (WHERE t.status = 'suspended') > 0 THEN 'note' ELSE 'ok' END,
		format('%s tenants; suspended: %s.', count(*), coalesce(string_agg(t.name, ', ' ORDER BY t.name) FILTER (WHERE t.status = 'suspended'), 'none')),
		CASE WHEN count(*) FILTER (WHERE t.status = 'suspended') > 0 THEN 'SELECT atp.reactivate_tenant(...) where the reason is gone.' END
	FROM atp_internal.tenant t;
END;
COMMENT ON FUNCTION atp_internal.check_tenants() IS 'Check whether tenants are suspended.';

CREATE FUNCTION atp_internal.check_overrides() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'overrides', 'note', format('%s%s has %s.', coalesce('Role ' || nullif(s.setrole, 0)::regrole, 'Every role'),
			coalesce(' in database ' || d.datname, ''), o.option), 'Nothing where it is meant; otherwise ALTER ROLE or ALTER DATABASE ... RESET.'
		FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS o(option)
		WHERE (s.setdatabase = 0 OR d.datname = current_database()) AND (o.option LIKE 'atp.%' OR o.option LIKE 'session\_replication\_role=%');
END;
COMMENT ON FUNCTION atp_internal.check_overrides() IS 'List settings of atp that a role or the database has of its own.';

REVOKE ALL ON FUNCTION atp_internal.check_library(), atp_internal.check_guard(), atp_internal.check_triggers(), atp_internal.check_event_triggers(),
	atp_internal.check_manifest(), atp_internal.check_roles(), atp_internal.check_row_security(), atp_internal.check_partitions(timestamptz),
	atp_internal.check_sequencer(interval), atp_internal.check_worker(), atp_internal.check_prepared(interval), atp_internal.check_server(),
	atp_internal.check_tables(), atp_internal.check_tenants(), atp_internal.check_overrides() FROM PUBLIC;

CREATE FUNCTION atp.doctor() RETURNS SETOF atp.finding
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	room record;
	found atp.finding;
	findings atp.finding[] := '{}';
BEGIN
	FOR room IN
		SELECT p.oid::regproc AS name FROM pg_proc p
			JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
			JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
		WHERE p.proretset AND p.prorettype = 'atp.finding'::regtype AND p.pronamespace = 'atp_internal'::regnamespace
			AND p.pronargs = p.pronargdefaults
	LOOP
		BEGIN
			FOR found IN EXECUTE format('SELECT * FROM %s()', room.name) LOOP
				findings := findings || found;
			END LOOP;
		EXCEPTION WHEN others THEN
			findings := findings || ROW(room.name::text, 'error', format('The check failed: %s (%s).', sqlerrm, sqlstate),
				'See the message; the check could not look.')::atp.finding;
		END;
	END LOOP;
	RETURN QUERY SELECT f.* FROM unnest(findings) f
		ORDER BY array_position(ARRAY['error', 'warning', 'note', 'ok'], f.level), f.check_name COLLATE "C", f.finding COLLATE "C";
END $$;
COMMENT ON FUNCTION atp.doctor() IS
'Examine the installation: one row a finding, the worst first, with its remedy.
level is error (events are at risk or unguarded), warning, note or ok. Looks at the catalogs and settings and verifies no event: that is verify_all. Changes nothing, works on a standby. A check that fails is a finding itself. What it says rests on the catalogs as this server presents them; see docs/design/guard.md.';
REVOKE ALL ON FUNCTION atp.doctor() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.doctor() TO atp_auditor, atp_admin;

-- ==== src/tooling/servicestart.sql ====
-- Start-ups on record: which version serves the database, and whether the guard stood. The background worker asks once a minute.
CREATE FUNCTION atp_internal.record_service_start() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	version text := atp_internal.library_version();	-- first: the library brings its settings
	home int := (SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = 'default');
	started text := atp_internal.event_time(pg_postmaster_start_time());
	guard text := current_setting('atp.guard');
	latest jsonb;
BEGIN
	SELECT e.payload::jsonb INTO latest FROM atp_internal.event e
		JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant AND s.version = e.stream_version
		WHERE s.tenant = home AND s.name = 'atp.Service-server';
	IF latest ->> 'StartedAt' = started AND latest ->> 'Guard' = guard THEN
		RETURN false;
	END IF;
	-- The start before a store was first used is not worth a record, unless it was one that put the guard down.
	IF latest IS NULL AND NOT EXISTS (SELECT FROM atp_internal.stream s
			WHERE s.created_at < pg_postmaster_start_time() OR guard <> 'on' AND atp_internal.library_is_preloaded()) THEN
		RETURN false;
	END IF;
	PERFORM atp_internal.emit_event(home, 'atp.Service-server', 'ServiceStarted', jsonb_build_object('Component', 'server',
		'Version', version, 'Database', current_database(), 'StartedAt', started,
		'Guard', guard, 'Preloaded', atp_internal.library_is_preloaded()));
	RETURN true;
END $$;
COMMENT ON FUNCTION atp_internal.record_service_start() IS
'Record the start of the server in the stream atp.Service-server, once.
The event ServiceStarted says the version of the library, whether it is preloaded, and whether atp.guard is on; it is recorded again when that changes by a reload. The start before a store was first used is not recorded, unless it put the guard down.';
REVOKE ALL ON FUNCTION atp_internal.record_service_start() FROM PUBLIC;

-- ==== src/roof/init.sql ====
-- The roof: ownership of every member goes to atp_owner, which nobody can be, and nothing inside is left to PUBLIC. Schema atp
-- is no member (CREATE EXTENSION makes it beforehand) and stays with who installed: a dump would otherwise name atp_owner
-- before the restored extension has made that role.
DO $$
DECLARE
	member record;
BEGIN
	-- Ownership of a table carries its indexes, identity sequences and row type along; of a schema, nothing.
	FOR member IN
		SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END AS kind,
			c.oid::pg_catalog.regclass::text AS name
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_class c ON c.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend o WHERE o.classid = d.classid AND o.objid = c.oid AND c.relkind = 'S'
				AND o.refclassid = d.classid AND o.deptype IN ('a', 'i'))
	UNION ALL
		SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, p.oid::pg_catalog.regprocedure::text
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_proc p ON p.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
	UNION ALL
		SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, pg_catalog.format_type(t.oid, NULL)
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_type t ON t.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.typelem = 0
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
	UNION ALL
		SELECT 'SCHEMA', n.nspname
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_namespace n ON n.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
	LOOP
		EXECUTE pg_catalog.format('ALTER %s %s OWNER TO atp_owner', member.kind, member.name);
	END LOOP;
END $$;
REVOKE ALL ON SCHEMA atp_internal FROM PUBLIC;

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
	('TP101', 'version_conflict', 'The stream is not at the expected version (or exists, or does not); DETAIL gives the actual one.'),
	('TP104', 'idempotency_conflict', 'The idempotency key or event id was used before for different content.'),
	('TP105', 'event_id_outside_window', 'The caller''s event id carries a time outside the window around the server''s clock.'),
	('TP106', 'stream_sealed', 'The stream is sealed and takes no more events.'),
	('TP107', 'event_immutable', 'Stored events are append-only: UPDATE, DELETE, TRUNCATE and the like are refused.'),
	('TP201', 'invalid_name', 'A stream, event type or tenant name is malformed.'),
	('TP202', 'tenant_not_found', 'No tenant has this name.'),
	('TP203', 'tenant_suspended', 'The tenant is suspended or deleted and takes no events.'),
	('TP204', 'payload_too_large', 'The payload is larger than atp.payload_max_size.'),
	('TP205', 'invalid_payload', 'The payload is not a JSON object, or nests too deeply.'),
	('TP206', 'invalid_metadata', 'The metadata is not a JSON object, or has a key or value that is not allowed.'),
	('TP207', 'event_type_not_registered', 'The event type is unknown and atp.event_type_policy is registered.'),
	('TP208', 'invalid_json', 'The text is not JSON, or has no canonical form in the profile asked for.'),
	('TP209', 'invalid_ulid', 'The text is not a ULID, or no further one fits the millisecond.'),
	('TP211', 'tenant_exists', 'A tenant of this name exists.'),
	('TP212', 'library_mismatch', 'The loaded library and the installed SQL are of different versions.'),
	('TP213', 'invalid_schema', 'The document is not a JSON Schema, or uses what is not supported.'),
	('TP214', 'pattern_limit', 'A regular expression went over its match limit.'),
	('TP215', 'schema_document_not_found', 'A reference names a schema document that is not in the registry.'),
	('TP220', 'schema_not_found', 'The event type has no schema of this version.'),
	('TP221', 'payload_refused', 'The payload is not valid against the schema of its event type; DETAIL lists the errors.'),
	('TP222', 'schema_incompatible', 'The schema is not compatible with the versions before it; DETAIL lists the differences.'),
	('TP223', 'schema_status_conflict', 'The status of the schema version, or of another one, does not allow this.'),
	('TP224', 'event_type_fixed', 'An event type cannot be renamed or removed, nor a platform''s own one altered.'),
	('TP225', 'schema_too_large', 'The schema is larger than atp.schema_max_size.'),
	('TP250', 'platform_event_type', 'The event type belongs to the platform, which appends its events itself.'),
	('TP251', 'platform_stream', 'The stream''s name begins with "atp.", which is kept for events of the platform.'),
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

CREATE FUNCTION atp.onboard_tenant(tenant text, configuration jsonb DEFAULT '{}') RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	uid uuid;
BEGIN
	IF onboard_tenant.tenant IS NULL OR onboard_tenant.tenant !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP201', MESSAGE = format('invalid tenant name "%s"', onboard_tenant.tenant),
			HINT = 'A tenant name has 1 to 128 letters, digits, dots, colons, underscores and hyphens, and begins with a letter or digit.';
	END IF;
	IF jsonb_typeof(onboard_tenant.configuration) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'configuration is not a JSON object';
	END IF;
	INSERT INTO atp_internal.tenant AS t (name, configuration) VALUES (onboard_tenant.tenant, onboard_tenant.configuration)
		ON CONFLICT (name) DO NOTHING RETURNING t.log_uid INTO uid;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP211', MESSAGE = format('tenant "%s" exists', onboard_tenant.tenant);
	END IF;
	RETURN uid;
END $$;
COMMENT ON FUNCTION atp.onboard_tenant(text, jsonb) IS
'Make a tenant and return the identity of its log.
The name stays taken for ever. configuration is a free-form JSON object.
Raises: TP201 (malformed name), TP211 (the tenant exists), 22023 (configuration is no object).';

CREATE FUNCTION atp_internal.change_tenant(tenant text, configuration jsonb, status text, allowed text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present text;
BEGIN
	SELECT t.status INTO present FROM atp_internal.tenant t WHERE t.name = change_tenant.tenant FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP202', MESSAGE = format('tenant "%s" does not exist', change_tenant.tenant);
	END IF;
	IF present <> ALL (change_tenant.allowed) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP203', MESSAGE = format('tenant "%s" is %s', change_tenant.tenant, present),
			DETAIL = format('This is possible for a tenant that is %s.', array_to_string(change_tenant.allowed, ' or '));
	END IF;
	UPDATE atp_internal.tenant t SET
			configuration = coalesce(change_tenant.configuration, t.configuration),
			status = coalesce(change_tenant.status, t.status),
			changed_at = clock_timestamp()
		WHERE t.name = change_tenant.tenant;
END $$;
COMMENT ON FUNCTION atp_internal.change_tenant(text, jsonb, text, text[]) IS
'Change the configuration and status of a tenant in one of the allowed states.
NULL leaves what it is.
Raises: TP202 (no such tenant), TP203 (its state does not allow it).';
REVOKE ALL ON FUNCTION atp_internal.change_tenant(text, jsonb, text, text[]) FROM PUBLIC;

CREATE FUNCTION atp.update_tenant_configuration(tenant text, configuration jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF jsonb_typeof(configuration) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'configuration is not a JSON object';
	END IF;
	PERFORM atp_internal.change_tenant(tenant, configuration, NULL, ARRAY['active', 'suspended']);
END $$;
COMMENT ON FUNCTION atp.update_tenant_configuration(text, jsonb) IS
'Replace the configuration of a tenant.
Raises: TP202 (no such tenant), TP203 (it is deleted), 22023 (configuration is no object).';

CREATE FUNCTION atp.suspend_tenant(tenant text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.change_tenant(tenant, NULL, 'suspended', ARRAY['active']);
END;
COMMENT ON FUNCTION atp.suspend_tenant(text) IS
'Suspend a tenant: its events stay readable, and it takes no more.
Appends that began before may still commit.
Raises: TP202 (no such tenant), TP203 (it is not active).';

CREATE FUNCTION atp.reactivate_tenant(tenant text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.change_tenant(tenant, NULL, 'active', ARRAY['suspended']);
END;
COMMENT ON FUNCTION atp.reactivate_tenant(text) IS
'Let a suspended tenant take events again.
Raises: TP202 (no such tenant), TP203 (it is not suspended).';

CREATE FUNCTION atp.delete_tenant(tenant text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.change_tenant(tenant, NULL, 'deleted', ARRAY['active', 'suspended']);
END;
COMMENT ON FUNCTION atp.delete_tenant(text) IS
'Mark a tenant deleted.
It takes no more events, for ever, and its name stays taken. Its events stay: they are evidence.
Raises: TP202 (no such tenant), TP203 (it is deleted already).';

REVOKE ALL ON FUNCTION atp.onboard_tenant(text, jsonb), atp.update_tenant_configuration(text, jsonb), atp.suspend_tenant(text),
	atp.reactivate_tenant(text), atp.delete_tenant(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.onboard_tenant(text, jsonb), atp.update_tenant_configuration(text, jsonb), atp.suspend_tenant(text),
	atp.reactivate_tenant(text), atp.delete_tenant(text) TO atp_admin;

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

-- ==== src/record/catalog.sql ====
-- The catalogue of the platform's own events. The one source is src/record/catalog/*.json; src/tools/catalog turns it into the rows
-- that follow this part in the install script. Keys of builtin types are fixed numbers below 1000, so that a dump that names
-- them means the same in the installation that it is restored into; builtin rows themselves are not dumped.
CREATE FUNCTION atp_internal.seed_catalog(entries jsonb) RETURNS void
	LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.event_type (event_type, name, builtin, description)
		SELECT (e ->> 'key')::int, e ->> 'event_type', true, e ->> 'description' FROM jsonb_array_elements(entries) AS e;
END;
COMMENT ON FUNCTION atp_internal.seed_catalog(jsonb) IS 'Register one group of the platform''s own event types; for the install script.';
REVOKE ALL ON FUNCTION atp_internal.seed_catalog(jsonb) FROM PUBLIC;

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "AuditEventReceived",
		"key": 1,
		"kind": "domain",
		"category": "ingestion",
		"description": "AuditEventReceived"
	},
	{
		"event_type": "AuditEventValidationFailed",
		"key": 2,
		"kind": "domain",
		"category": "ingestion",
		"description": "AuditEventValidationFailed"
	},
	{
		"event_type": "BatchIngestionStarted",
		"key": 3,
		"kind": "domain",
		"category": "ingestion",
		"description": "BatchIngestionStarted"
	},
	{
		"event_type": "BatchIngestionCompleted",
		"key": 4,
		"kind": "domain",
		"category": "ingestion",
		"description": "BatchIngestionCompleted"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "EventStreamCreated",
		"key": 5,
		"kind": "domain",
		"category": "storage",
		"description": "EventStreamCreated"
	},
	{
		"event_type": "EventAddedToStream",
		"key": 6,
		"kind": "domain",
		"category": "storage",
		"description": "EventAddedToStream"
	},
	{
		"event_type": "EventStreamSealed",
		"key": 7,
		"kind": "domain",
		"category": "storage",
		"description": "EventStreamSealed"
	},
	{
		"event_type": "EventStreamArchived",
		"key": 8,
		"kind": "domain",
		"category": "storage",
		"description": "EventStreamArchived"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "EventClassified",
		"key": 9,
		"kind": "domain",
		"category": "classification",
		"description": "EventClassified"
	},
	{
		"event_type": "PIIDetected",
		"key": 10,
		"kind": "domain",
		"category": "classification",
		"description": "PIIDetected"
	},
	{
		"event_type": "EventRedacted",
		"key": 11,
		"kind": "domain",
		"category": "classification",
		"description": "EventRedacted"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "RetentionPolicyApplied",
		"key": 12,
		"kind": "domain",
		"category": "retention",
		"description": "RetentionPolicyApplied"
	},
	{
		"event_type": "LegalHoldApplied",
		"key": 13,
		"kind": "domain",
		"category": "retention",
		"description": "LegalHoldApplied"
	},
	{
		"event_type": "LegalHoldReleased",
		"key": 14,
		"kind": "domain",
		"category": "retention",
		"description": "LegalHoldReleased"
	},
	{
		"event_type": "EventTombstoned",
		"key": 15,
		"kind": "domain",
		"category": "retention",
		"description": "EventTombstoned"
	},
	{
		"event_type": "EventPermanentlyDeleted",
		"key": 16,
		"kind": "domain",
		"category": "retention",
		"description": "EventPermanentlyDeleted"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "PolicyCreated",
		"key": 17,
		"kind": "domain",
		"category": "policy",
		"description": "PolicyCreated"
	},
	{
		"event_type": "PolicyUpdated",
		"key": 18,
		"kind": "domain",
		"category": "policy",
		"description": "PolicyUpdated"
	},
	{
		"event_type": "PolicyDeleted",
		"key": 19,
		"kind": "domain",
		"category": "policy",
		"description": "PolicyDeleted"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "TenantOnboarded",
		"key": 20,
		"kind": "integration",
		"category": "tenant",
		"description": "TenantOnboarded"
	},
	{
		"event_type": "TenantConfigurationUpdated",
		"key": 21,
		"kind": "integration",
		"category": "tenant",
		"description": "TenantConfigurationUpdated"
	},
	{
		"event_type": "TenantSuspended",
		"key": 22,
		"kind": "integration",
		"category": "tenant",
		"description": "TenantSuspended"
	},
	{
		"event_type": "TenantReactivated",
		"key": 23,
		"kind": "integration",
		"category": "tenant",
		"description": "TenantReactivated"
	},
	{
		"event_type": "TenantDeleted",
		"key": 24,
		"kind": "integration",
		"category": "tenant",
		"description": "TenantDeleted"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "ExportRequested",
		"key": 25,
		"kind": "integration",
		"category": "export",
		"description": "ExportRequested"
	},
	{
		"event_type": "ExportStarted",
		"key": 26,
		"kind": "integration",
		"category": "export",
		"description": "ExportStarted"
	},
	{
		"event_type": "ExportCompleted",
		"key": 27,
		"kind": "integration",
		"category": "export",
		"description": "ExportCompleted"
	},
	{
		"event_type": "ExportFailed",
		"key": 28,
		"kind": "integration",
		"category": "export",
		"description": "ExportFailed"
	},
	{
		"event_type": "ExportDelivered",
		"key": 29,
		"kind": "integration",
		"category": "export",
		"description": "ExportDelivered"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "HashChainValidated",
		"key": 30,
		"kind": "integration",
		"category": "integrity",
		"description": "HashChainValidated"
	},
	{
		"event_type": "HashChainValidationFailed",
		"key": 31,
		"kind": "integration",
		"category": "integrity",
		"description": "HashChainValidationFailed"
	},
	{
		"event_type": "SignatureVerified",
		"key": 32,
		"kind": "integration",
		"category": "integrity",
		"description": "SignatureVerified"
	},
	{
		"event_type": "SignatureVerificationFailed",
		"key": 33,
		"kind": "integration",
		"category": "integrity",
		"description": "SignatureVerificationFailed"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "SIEMEventPublished",
		"key": 34,
		"kind": "integration",
		"category": "external",
		"description": "SIEMEventPublished"
	},
	{
		"event_type": "WebhookDelivered",
		"key": 35,
		"kind": "integration",
		"category": "external",
		"description": "WebhookDelivered"
	},
	{
		"event_type": "WebhookDeliveryFailed",
		"key": 36,
		"kind": "integration",
		"category": "external",
		"description": "WebhookDeliveryFailed"
	}
]
$catalog$);

SELECT atp_internal.seed_catalog($catalog$
[
	{
		"event_type": "ServiceStarted",
		"key": 37,
		"kind": "system",
		"category": "system",
		"description": "ServiceStarted"
	},
	{
		"event_type": "HealthCheckFailed",
		"key": 38,
		"kind": "system",
		"category": "system",
		"description": "HealthCheckFailed"
	}
]
$catalog$);

-- ==== src/stream/guard.sql ====
-- The guard: UPDATE, DELETE and TRUNCATE are refused on the tables of the event store, whoever asks.
CREATE FUNCTION atp_internal.refuse_change() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_refuse';
COMMENT ON FUNCTION atp_internal.refuse_change() IS
'Refuse UPDATE, DELETE and TRUNCATE of a guarded table.
Raises: TP107.';
REVOKE ALL ON FUNCTION atp_internal.refuse_change() FROM PUBLIC;

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
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.event
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
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
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
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.stream
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.stream ENABLE ALWAYS TRIGGER guard;

-- A dump carries every tenant, the default one too, whose log identity is random. The fresh installation that the dump is
-- restored into has made a default tenant of its own: while that has no streams, the dumped row takes its place. The foreign key
-- of atp_internal.stream makes pg_dump put the tenants before the streams.
CREATE FUNCTION atp_internal.tenant_restore() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

CREATE VIEW atp.events AS
	SELECT e.event_id, t.name AS tenant, s.name AS stream, e.stream_version, e.event_type, e.schema_version, e.occurred_at,
		e.recorded_at, e.payload::jsonb AS payload, e.metadata::jsonb AS metadata, e.hash,
		CASE WHEN e.stream_version = 1 THEN '\x0000000000000000000000000000000000000000000000000000000000000000'::bytea ELSE
			(SELECT p.hash FROM atp_internal.event p WHERE p.stream = e.stream_key AND p.stream_version = e.stream_version - 1
				AND p.tenant = e.tenant_key) END AS previous_hash,
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
-- worth walking through the index on event_id, reading every stream's events of that time.
CREATE FUNCTION atp.read_stream(stream text, from_version bigint DEFAULT NULL, max_count int DEFAULT 1000,
		direction text DEFAULT 'forward', tenant text DEFAULT NULL)
	RETURNS TABLE (event_id uuid, stream text, stream_version bigint, event_type text, schema_version int,
		occurred_at timestamptz, recorded_at timestamptz, payload json, metadata json, hash bytea)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 1000
BEGIN ATOMIC
	(SELECT e.event_id, read_stream.stream, e.stream_version, e.event_type, e.schema_version, e.occurred_at, e.recorded_at,
			e.payload, e.metadata, e.hash
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
	(SELECT e.event_id, read_stream.stream, e.stream_version, e.event_type, e.schema_version, e.occurred_at, e.recorded_at,
			e.payload, e.metadata, e.hash
		FROM atp_internal.event_reader e
		WHERE NOT atp_internal.read_is_forward(read_stream.direction)
			AND e.tenant_key = (SELECT atp_internal.open_tenant(read_stream.tenant))
			AND e.stream_key = atp_internal.read_stream_key(read_stream.stream, read_stream.tenant)
			AND e.stream_version <= LEAST(read_stream.from_version, (SELECT atp_internal.read_stream_version(read_stream.stream, read_stream.tenant)))
			AND e.stream_version > COALESCE(LEAST(read_stream.from_version,
				(SELECT atp_internal.read_stream_version(read_stream.stream, read_stream.tenant))) - read_stream.max_count, 0)
			AND (e.event_id > atp_internal.read_stream_min_event_id(read_stream.stream, read_stream.tenant)
				OR e.event_id = atp_internal.read_stream_min_event_id(read_stream.stream, read_stream.tenant))
			AND (e.event_id < atp_internal.read_stream_max_event_id(read_stream.stream, read_stream.tenant)
				OR e.event_id = atp_internal.read_stream_max_event_id(read_stream.stream, read_stream.tenant))
		ORDER BY e.stream_version DESC LIMIT read_stream.max_count);
END;
COMMENT ON FUNCTION atp.read_stream(text, bigint, int, text, text) IS
'Read the events of a stream in the order of their versions.
from_version is the first version to return, in either direction; NULL means the first event forward, the last event backward. max_count NULL means all. direction is forward or backward. tenant NULL means that of the setting atp.tenant. A stream that does not exist has no rows. Documents come as they are stored: canonical JSON text, NULL once erased.
Raises: 22023 (unknown direction), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.read_stream(text, bigint, int, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.read_stream(text, bigint, int, text, text) TO atp_reader, atp_auditor, atp_admin;

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
In the caller''s transaction, chained like any other event, also for a suspended or deleted tenant. event_type is one of the catalogue''s builtin types. For the bodies of functions.
Raises: 22023 (the type is not builtin), TP202 (no such tenant), TP106 (the stream is sealed).';
REVOKE ALL ON FUNCTION atp_internal.emit_event(int, text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.event_time(at timestamptz) RETURNS text
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
COMMENT ON FUNCTION atp_internal.event_time(timestamptz) IS
'Write a time as the payloads of platform events carry it.
RFC 3339 in UTC with microseconds: 2026-01-31T12:00:00.000000Z.';
REVOKE ALL ON FUNCTION atp_internal.event_time(timestamptz) FROM PUBLIC;

-- ==== src/log/log.sql ====
-- The log: one gapless order over all committed events. Insert-only; the sequencer is its only writer.
CREATE TABLE atp_internal.log (
	log_position bigint NOT NULL,
	event_id uuid NOT NULL,
	stream bigint NOT NULL,
	published_at timestamptz NOT NULL,
	tenant int NOT NULL,
	event_type int NOT NULL,
	CONSTRAINT log_pk PRIMARY KEY (log_position, tenant),
	CONSTRAINT log_event_unique UNIQUE (event_id, tenant)
);
COMMENT ON TABLE atp_internal.log IS 'One row per committed event, in log order.';
COMMENT ON COLUMN atp_internal.log.log_position IS '1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.log.event_id IS 'The event at this position.';
COMMENT ON COLUMN atp_internal.log.stream IS 'Surrogate key of the event''s stream, so that a subscription skips without fetching the event.';
COMMENT ON COLUMN atp_internal.log.published_at IS 'When the sequencer placed the event.';
COMMENT ON COLUMN atp_internal.log.tenant IS 'Surrogate key of the event''s tenant.';
COMMENT ON COLUMN atp_internal.log.event_type IS 'Surrogate key of the event''s type.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.log', '');
ALTER TABLE atp_internal.log ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.log FORCE ROW LEVEL SECURITY;
CREATE POLICY log_tenant ON atp_internal.log USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.log
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER guard;

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

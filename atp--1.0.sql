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

-- ==== src/roof/init.sql ====
-- The roof: ownership of everything goes to atp_owner, which nobody can be.

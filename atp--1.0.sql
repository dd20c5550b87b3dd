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

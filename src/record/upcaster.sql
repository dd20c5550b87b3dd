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

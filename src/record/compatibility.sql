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

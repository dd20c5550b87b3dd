-- Compatibility: pairs made to exhaust the proof end as undecided, in bounded time and memory; deep ones too.
BEGIN;
SELECT plan(6);
SET LOCAL statement_timeout = '60s';
CREATE FUNCTION pg_temp.choices(n int, m int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('allOf', (SELECT jsonb_agg(jsonb_build_object('anyOf', (SELECT jsonb_agg(jsonb_build_object('required', jsonb_build_array('p' || j),
		'properties', jsonb_build_object('p' || j, jsonb_build_object('enum', jsonb_build_array(i))))) FROM generate_series(1, m) i))) FROM generate_series(1, n) j))$$;
SELECT ok(NOT atp.schema_compatibility(pg_temp.choices(12, 6), pg_temp.choices(12, 5), 'BACKWARD_STRICT'), 'six to the twelfth cases');
SELECT is((SELECT array_agg(DISTINCT kind) FROM atp.schema_differences(pg_temp.choices(12, 5), pg_temp.choices(12, 6), 'FORWARD_STRICT')), ARRAY['undecided']);
SELECT ok(atp.schema_compatibility(pg_temp.choices(12, 6), pg_temp.choices(12, 6), 'FULL_STRICT'), 'the same is the same');
CREATE FUNCTION pg_temp.deep(n int, leaf text) RETURNS jsonb LANGUAGE sql AS $$SELECT (repeat('{"properties": {"a": ', n) || leaf || repeat('}}', n))::jsonb$$;
SELECT is((SELECT array_agg(kind) FROM atp.schema_differences(pg_temp.deep(100, '{"type": "string"}'), pg_temp.deep(100, '{"type": "integer"}'))), ARRAY['type']);
SELECT ok(atp.schema_compatibility(pg_temp.deep(100, '{"type": "integer"}'), pg_temp.deep(100, '{"type": "number"}')));
SELECT throws_ok($$SELECT atp.schema_compatibility('{"$ref": "urn:nowhere"}', '{}')$$, 'TP215');
SELECT * FROM finish();
ROLLBACK;

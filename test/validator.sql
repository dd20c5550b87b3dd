-- The validator: refusals, hostile patterns and schemas, the registry under a running statement, privileges, and the cache.
BEGIN;
SELECT plan(63);

-- A schema that is none, wherever that is.
SELECT throws_ok(format('SELECT atp.schema_is_valid(%L, ''1'')', s), 'TP213', NULL, 'refused: ' || left(s, 60))
FROM (VALUES ('1'), ('"a"'), ('null'), ('[]'), ('{"type": "text"}'), ('{"type": []}'), ('{"type": 1}'), ('{"minimum": "1"}'), ('{"multipleOf": 0}'),
	('{"multipleOf": -1}'), ('{"minLength": 1.5}'), ('{"maxItems": -1}'), ('{"uniqueItems": 1}'), ('{"required": "a"}'), ('{"required": [1]}'),
	('{"enum": 1}'), ('{"properties": []}'), ('{"properties": {"a": 1}}'), ('{"allOf": []}'), ('{"anyOf": {}}'), ('{"items": [true]}'), ('{"not": 1}'),
	('{"if": 1}'), ('{"if": true, "then": 1}'), ('{"contains": true, "minContains": "a"}'), ('{"dependentRequired": {"a": 1}}'), ('{"pattern": "("}'),
	('{"pattern": "(*LIMIT_MATCH=1)a"}'), ('{"pattern": "(?R)"}'), ('{"pattern": "a\\Qb"}'), ('{"patternProperties": {"[": true}}'),
	('{"$ref": 1}'), ('{"$ref": "#/a"}'), ('{"$ref": "#a"}'), ('{"$anchor": "1 2"}'), ('{"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}'),
	('{"allOf": [{"$ref": "#"}]}'), ('{"$defs": {"a": {"$id": "urn:x"}, "b": {"$id": "urn:x", "type": "null"}}}'),
	('{"x": {"minLength": "1"}, "$ref": "#/x"}')) v(s);

SELECT throws_ok($$SELECT atp.schema_is_valid('{"$ref": "urn:nowhere"}', '1')$$, 'TP215');
SELECT throws_ok($$SELECT atp.schema_is_valid('{"$schema": "urn:nowhere"}', '1')$$, 'TP215');

-- Loops that depend on the instance are an error when they happen, and only then.
SELECT throws_ok($$SELECT atp.schema_is_valid('{"anyOf": [{"type": "null"}, {"$ref": "#"}]}', '1')$$, 'TP213');
SELECT ok(atp.schema_is_valid('{"anyOf": [{"type": "null"}, {"$ref": "#"}]}', 'null'));

-- Hostile patterns end in an error, by the interpreter and by the compiler of patterns.
SELECT throws_ok($$SELECT atp.schema_is_valid('{"pattern": "^(a+)+$"}', to_jsonb(repeat('a', 60) || 'b'))$$, 'TP214');
SELECT throws_ok($$SELECT bool_and(atp.schema_is_valid('{"pattern": "^(a|a)*$"}', to_jsonb(repeat('a', n) || CASE WHEN n > 50 THEN 'b' ELSE '' END)))
	FROM generate_series(1, 60) n$$, 'TP214');
SELECT throws_ok($$SELECT atp.schema_is_valid('{"pattern": "(x+x+)+[yz]"}', to_jsonb(repeat('x', 100000)))$$, 'TP214');
SELECT throws_ok($$SELECT atp.schema_is_valid(jsonb_build_object('pattern', repeat('a', 70000)), '"a"')$$, 'TP213');
SELECT throws_ok($$SELECT atp.schema_is_valid(jsonb_build_object('pattern', repeat('(', 300) || repeat(')', 300)), '"a"')$$, 'TP213');
SELECT ok(atp.schema_is_valid('{"pattern": "b$"}', to_jsonb(repeat('a', 1000000) || 'b')), 'a long text is no attack');

-- A schema that branches at every step runs out of its budget; one that is deep ends at the stack.
SELECT throws_ok($$SELECT atp.schema_is_valid(jsonb_build_object('$defs', (SELECT jsonb_object_agg('d' || n, CASE n WHEN 0 THEN '{"type": "null"}'::jsonb
	ELSE format('{"anyOf": [{"$ref": "#/$defs/d%1$s"}, {"$ref": "#/$defs/d%1$s"}]}', n - 1)::jsonb END) FROM generate_series(0, 40) n), '$ref', '#/$defs/d40'), '1')$$, '54000');
SELECT lives_ok($$SELECT atp.schema_is_valid('{"items": {"$ref": "#"}}', (repeat('[', 1000) || repeat(']', 1000))::jsonb)$$);
SELECT ok(NOT atp.schema_is_valid((repeat('{"items":', 1000) || 'false' || repeat('}', 1000))::jsonb, (repeat('[', 1000) || '1' || repeat(']', 1000))::jsonb));

-- A changed document changes the next answer of the same call site, also while its statement runs, and a rollback takes it back.
SELECT atp.add_schema_document('urn:test:doc', '{"type": "number"}');
CREATE FUNCTION pg_temp.ask(replace_by jsonb) RETURNS boolean[] LANGUAGE plpgsql AS $$
DECLARE
	answers boolean[] := '{}';
BEGIN
	FOR i IN 1 .. 3 LOOP
		IF i = 2 AND replace_by IS NOT NULL THEN
			PERFORM atp.add_schema_document('urn:test:doc', replace_by);
		END IF;
		answers := answers || atp.schema_is_valid('{"$ref": "urn:test:doc"}', '1');
	END LOOP;
	RETURN answers;
END $$;
SELECT is(pg_temp.ask(NULL), '{t,t,t}');
SAVEPOINT before;
SELECT is(pg_temp.ask('{"type": "string"}'), '{t,f,f}');
ROLLBACK TO before;
SELECT is(pg_temp.ask(NULL), '{t,t,t}', 'what was rolled back is forgotten');

-- Once per backend: the same schema is not compiled again, not as a constant, not as a value.
CREATE TEMP TABLE compiled AS SELECT compilations FROM atp.get_schema_cache();
SELECT is((SELECT count(*) FROM generate_series(1, 100) n WHERE atp.schema_is_valid(jsonb_build_object('$ref', 'urn:test:doc'), to_jsonb(n))), 100::bigint);
SELECT is((SELECT g.compilations - c.compilations FROM atp.get_schema_cache() g, compiled c), 0::bigint, 'found in the cache');
SELECT is((SELECT count(*) FROM generate_series(1, 500) n WHERE atp.schema_is_valid(jsonb_build_object('maximum', n), '1')), 500::bigint);
SET LOCAL atp.schema_cache_size = '64kB';
SELECT is((SELECT count(*) FROM generate_series(501, 520) n WHERE atp.schema_is_valid(jsonb_build_object('maximum', n), '1')), 20::bigint);
SELECT ok((SELECT bytes <= 64 * 1024 FROM atp.get_schema_cache()), 'the cache keeps to its size');

-- Privileges: anybody validates, also through the registry; only atp_admin registers; the table is closed.
CREATE ROLE nobody_in_particular;
SET LOCAL ROLE nobody_in_particular;
SELECT ok(atp.schema_is_valid('{"$ref": "urn:test:doc"}', '1'));
SELECT throws_ok($$SELECT atp.add_schema_document('urn:test:doc', 'true')$$, '42501');
SELECT throws_ok('TABLE atp_internal.schema_document', '42501');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;

-- Upcasters: whose rights a step's function has, caches, repetition in a savepoint, and that nothing is half-registered.
BEGIN;
SELECT plan(16);
SELECT atp.register_schema('CrateOpened', '{}', 'NONE');
SELECT atp.register_schema('CrateOpened', '{"title": "2"}', 'NONE');
SELECT atp.register_schema('CrateOpened', '{"title": "3"}', 'NONE');
CREATE FUNCTION public.who(jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT $1 || jsonb_build_object('who', current_user)$$;
SELECT atp.register_upcaster('CrateOpened', 1, function => 'public.who(jsonb)');
CREATE ROLE crate_reader;
GRANT atp_reader TO crate_reader;
SET ROLE crate_reader;
SELECT is(atp.cast_payload('CrateOpened', '{}', 1, 2), '{"who": "crate_reader"}', 'as the reader');
SELECT is(current_user::text, 'crate_reader', 'and afterwards he is himself');
SELECT throws_ok($$SELECT * FROM atp_internal.upcaster$$, '42501');
SELECT throws_ok($$SELECT atp.drop_upcaster('CrateOpened', 1, 2)$$, '42501');
RESET ROLE;

-- A failed step is an error like any other: a savepoint takes it back, and the identity with it.
CREATE FUNCTION public.fail(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN PERFORM 1 / (($1 ->> 'n')::int); RETURN $1; END$$;
SELECT atp.register_upcaster('CrateOpened', 2, function => 'public.fail(jsonb)');
SET ROLE crate_reader;
SELECT throws_ok($$SELECT atp.cast_payload('CrateOpened', '{"n": 0}', 2, 3)$$, 'TP227');
SELECT is(current_user::text, 'crate_reader', 'still himself after an error');
SELECT is(atp.cast_payload('CrateOpened', '{"n": 1}', 1, 3), '{"n": 1, "who": "crate_reader"}', 'two steps');
RESET ROLE;
SELECT throws_ok($$SELECT atp.cast_payload('CrateOpened', '{"n": 1}', 1, 4)$$, 'TP220');
SELECT throws_ok($$SELECT atp.cast_payload('CrateOpened', '{"n": 1}', 3, 1)$$, 'TP228');
SELECT throws_ok($$SELECT atp.cast_payload('CrateOpened', '[]', 1, 2)$$, 'TP205');

-- A replaced step is used at once; a function that replaces its own step while it runs does no harm.
SELECT atp.register_upcaster('CrateOpened', 2, '[{"op": "default", "path": "/a", "value": 1}]');
SELECT is(atp.cast_payload('CrateOpened', '{}', 2, 3), '{"a": 1}');
CREATE FUNCTION public.replace_itself(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN
	PERFORM atp.register_upcaster('CrateOpened', 2, '[{"op": "default", "path": "/b", "value": 2}]');
	RETURN $1 || atp.cast_payload('CrateOpened', '{}', 2, 3);
END$$;
SELECT atp.register_upcaster('CrateOpened', 2, function => 'public.replace_itself(jsonb)');
SELECT is(atp.cast_payload('CrateOpened', '{"c": 3}', 2, 3), '{"b": 2, "c": 3}');
SELECT is(atp.cast_payload('CrateOpened', '{"c": 3}', 2, 3), '{"b": 2, "c": 3}');

-- Nothing half-registered.
SELECT throws_ok($$SELECT atp.register_upcaster('CrateOpened', 2, '[{"op": "drop", "path": "/a"}, {}]')$$, 'TP226');
SELECT is((SELECT operations FROM atp.upcasters WHERE event_type = 'CrateOpened' AND from_version = 2), '[{"op": "default", "path": "/b", "value": 2}]');
SELECT is((SELECT count(*)::int FROM atp.upcasters WHERE event_type = 'CrateOpened'), 2);
SELECT * FROM finish();
ROLLBACK;

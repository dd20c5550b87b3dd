-- The registry: refusals, privileges, the compile counter, restore of its rows, and that nothing is half-registered.
BEGIN;
SELECT plan(32);
SELECT is(atp.register_schema('LidClosed', '{"required": ["a"]}', 'BACKWARD_STRICT'), 1);
SELECT is((SELECT compatibility FROM atp.event_types WHERE event_type = 'LidClosed'), 'BACKWARD_STRICT', 'the first schema sets the mode of the type');
SELECT throws_ok($$SELECT atp.append_event('lid-1', 'LidClosed', '{}')$$, 'TP221');
SELECT is((SELECT count(*)::int FROM atp.streams WHERE stream = 'lid-1'), 0, 'the refused event made no stream');
SELECT lives_ok($$SELECT atp.append_event('lid-1', 'LidClosed', '{"a": 1}')$$);
SELECT throws_ok($$SELECT atp.append_events('lid-1', '[{"event_type": "LidClosed", "payload": {"a": 1}}, {"event_type": "LidClosed", "payload": {}}]')$$, 'TP221');
SELECT is((SELECT version::int FROM atp.streams WHERE stream = 'lid-1'), 1, 'all or none');
SELECT throws_ok($$INSERT INTO atp.events (stream, event_type, payload) VALUES ('lid-1', 'LidClosed', '{}')$$, 'TP221');

-- compiled once, however often and however it is used
SELECT atp.append_event('lid-1', 'LidClosed', '{"a": 1}');
CREATE TEMP TABLE counter AS SELECT compilations FROM atp.get_schema_cache();
SELECT atp.append_event('lid-1', 'LidClosed', '{"a": 1}') FROM generate_series(1, 100);
SELECT count(*) FROM generate_series(1, 100) n, atp.validate_payload('LidClosed', jsonb_build_object('a', n));
SELECT is((SELECT compilations FROM atp.get_schema_cache()), (SELECT compilations FROM counter), 'no further compilation');
SELECT atp.register_event_type('LidClosed', 'Touches the table.');
SELECT atp.append_event('lid-1', 'LidClosed', '{"a": 1}');
SELECT is((SELECT compilations FROM atp.get_schema_cache()), (SELECT compilations FROM counter), 'nor when the registry changes elsewhere');
SET LOCAL atp.schema_cache_size = '64kB';
SELECT lives_ok($$SELECT atp.append_event('lid-1', 'LidClosed', '{"a": 1}')$$, 'a small cache');
RESET atp.schema_cache_size;

-- a document that a schema refers to
SELECT atp.add_schema_document('https://lid.example/part', '{"type": "integer"}');
SELECT atp.register_schema('RimClosed', '{"properties": {"part": {"$ref": "https://lid.example/part"}}}');
SELECT lives_ok($$SELECT atp.append_event('rim-1', 'RimClosed', '{"part": 1}')$$);
SELECT throws_ok($$SELECT atp.append_event('rim-1', 'RimClosed', '{"part": "x"}')$$, 'TP221');
SELECT atp.add_schema_document('https://lid.example/part', '{"type": "string"}');
SELECT lives_ok($$SELECT atp.append_event('rim-1', 'RimClosed', '{"part": "x"}')$$, 'the document was replaced');

-- a hostile payload is an error, not a hang, and leaves nothing
SELECT atp.register_schema('RimBroken', '{"properties": {"a": {"pattern": "^(x+x+)+y$"}}}');
SELECT throws_ok($$SELECT atp.append_event('rim-2', 'RimBroken', jsonb_build_object('a', repeat('x', 50000)))$$, 'TP214');
SELECT is((SELECT count(*)::int FROM atp.streams WHERE stream = 'rim-2'), 0);
SELECT throws_ok($$SELECT atp.register_schema('RimBroken', jsonb_build_object('pattern', repeat('(', 300) || repeat(')', 300)))$$, 'TP213');
SELECT throws_ok($$SELECT atp.register_schema('RimBroken', jsonb_build_object('x', repeat('a', 5000000)), 'NONE')$$, 'TP225');
SELECT is((SELECT count(*)::int FROM atp.list_schemas('RimBroken')), 1, 'nothing half-registered');
SELECT throws_ok($$SELECT atp.register_schema('AuditEventReceived', '{}')$$, 'TP224');
SELECT throws_ok($$SELECT atp.set_schema_status('LidClosed', NULL, 'active')$$, 'TP220');
SELECT throws_ok($$SELECT atp.set_schema_status('LidClosed', 1, NULL)$$, '22023');
SELECT throws_ok($$SELECT atp.register_schema('LidClosed', '{"required": ["a", "b"]}')$$, 'TP222');
SELECT throws_ok($$INSERT INTO atp_internal.event_schema (event_type, version, status, document, compatibility)
	SELECT event_type, 9, 'active', '{}', 'NONE' FROM atp_internal.event_type WHERE name = 'LidClosed'$$, '23505', NULL, 'one active version a type');

-- formats assert in the append where the setting says so, which a writer cannot change
SELECT atp.register_schema('DaySet', '{"properties": {"on": {"format": "date"}}}');
SELECT lives_ok($$SELECT atp.append_event('day-1', 'DaySet', '{"on": "never"}')$$);
SET LOCAL atp.schema_format_assertion = on;
SELECT throws_ok($$SELECT atp.append_event('day-1', 'DaySet', '{"on": "never"}')$$, 'TP221');
CREATE ROLE lid_writer;
GRANT atp_writer TO lid_writer;
SET ROLE lid_writer;
SELECT throws_ok('SET LOCAL atp.schema_format_assertion = off', '42501');
SELECT throws_ok($$SELECT atp.register_schema('LidOpened', '{}')$$, '42501');
SELECT throws_ok($$SELECT atp.set_schema_status('LidClosed', 1, 'retired')$$, '42501');
SELECT throws_ok($$SELECT * FROM atp_internal.event_schema$$, '42501');
SELECT lives_ok($$SELECT atp.append_event('lid-2', 'LidClosed', '{"a": 1}')$$, 'a writer''s append reads the schema past privileges');
SELECT is((SELECT count(*)::int FROM atp.list_schemas('LidClosed')), 1);
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;

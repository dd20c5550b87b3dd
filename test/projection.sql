-- Projections: one row an event, whatever the event holds; tenants apart; an index for every question; nothing in a restore.
LOAD 'atp';
ALTER SYSTEM SET atp.guard = off;
SELECT pg_reload_conf() \gset
SELECT pg_sleep(0.2) \gset
SELECT atp.onboard_tenant('other') \gset
CREATE FUNCTION pg_temp.place() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM atp.tick(); END $$;
DO $$
BEGIN
	PERFORM atp.append_event('Odd-1', 'OddHappened', '{}', metadata => jsonb_build_object('actor', repeat('ü', 500), 'action', '', 'resource', repeat('x', 1000)));
	PERFORM atp.append_event('Odd-2', 'OddHappened', '{}', metadata => '{"actor": "a\"b\\c\u00e9\ud83d\ude00", "other": {"actor": "no"}}');
	PERFORM atp.append_event('Odd-3', 'OddHappened', '{"Actor": "no"}');
	PERFORM atp.append_event('Odd-4', 'OddHappened', '{}', occurred_at => '4713-01-01 00:00:00+00 BC');
	PERFORM atp.append_event('Odd-4', 'OddHappened', '{}', occurred_at => '294276-12-31 23:59:59+00');
	PERFORM atp_internal.emit_event((SELECT t.tenant FROM atp_internal.tenant t WHERE name = 'default'), 'Received-1', 'AuditEventReceived',
		'{"EventId": "01KATESTQ0000000000000000A", "TenantId": "default", "Timestamp": "2026-01-01T00:00:00Z", "Actor": "carol", "Action": "read", "Resource": "file/1", "Payload": {}}');
	PERFORM atp.append_event('Theirs-1', 'OddHappened', '{}', metadata => '{"actor": "mallory"}', tenant => 'other');
END $$;
-- as if erased between the commit and the tick
UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname <> 'project' AND NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'atp_internal'::regnamespace);
UPDATE pg_class SET relname = relname WHERE relnamespace = 'atp_internal'::regnamespace;
SELECT set_config('atp.actor', 'dave', false) \gset
SELECT (atp.append_event('Odd-5', 'OddHappened', '{}')).stream_version \gset
UPDATE atp_internal.event e SET metadata = NULL, payload = NULL, salts = NULL FROM atp_internal.stream s WHERE s.stream = e.stream AND s.name = 'Odd-5';
SELECT set_config('atp.actor', '', false) \gset
SELECT pg_temp.place() \gset
SELECT pg_temp.place() \gset
BEGIN;
SELECT plan(33);

SELECT is((SELECT count(*) FROM atp_internal.audit_event_projection), (SELECT count(*) FROM atp_internal.log), 'every position has its row');
SELECT results_eq($$SELECT stream, left(actor, 3), octet_length(actor), action, octet_length(resource) FROM atp.audit_event_projection WHERE stream = 'Odd-1'$$,
	$$VALUES ('Odd-1', 'üüü', 255, '', 255)$$, 'texts too long for an index are cut, an empty one stays');
SELECT is((SELECT actor FROM atp.audit_event_projection WHERE actor = atp.search_text(repeat('ü', 500))), atp.search_text(repeat('ü', 500)),
	'and are found by search_text()');
SELECT is((SELECT actor FROM atp.audit_event_projection WHERE stream = 'Odd-2'), E'a"b\\cé😀', 'a text is unescaped, and a deeper member is none');
SELECT is((SELECT actor FROM atp.audit_event_projection WHERE stream = 'Odd-3'), NULL, 'the payload of other events says nothing');
SELECT results_eq($$SELECT actor, action, resource FROM atp.audit_event_projection WHERE event_type = 'AuditEventReceived'$$,
	$$VALUES ('carol', 'read', 'file/1')$$, 'that of AuditEventReceived does');
SELECT ok((SELECT event_count = 2 AND first_occurred_at < '4000-01-01 BC' AND last_occurred_at > '200000-01-01' FROM atp.event_stream_projection
	WHERE stream = 'Odd-4'), 'times at the ends of the range');
SELECT is((SELECT count(*) FROM atp.audit_event_projection WHERE stream = 'Odd-5'), 1::bigint, 'an event erased before it was placed has a row');

-- Tenants.
SELECT is((SELECT count(*) FROM atp.audit_event_projection WHERE actor = 'mallory'), 0::bigint, 'another tenant''s event is not seen');
SET LOCAL atp.tenant = 'other';
SELECT results_eq('SELECT tenant, stream, actor FROM atp.audit_event_projection WHERE event_type = ''OddHappened''', $$VALUES ('other', 'Theirs-1', 'mallory')$$, 'but by that tenant');
SELECT results_eq('SELECT tenant, stream, event_count FROM atp.event_stream_projection WHERE category = ''Theirs''', $$VALUES ('other', 'Theirs-1', 1::bigint)$$, 'so is the stream');
CREATE ROLE reads;
GRANT atp_reader TO reads;
GRANT USAGE ON SCHEMA atp TO reads;
GRANT ALL ON ALL TABLES IN SCHEMA pg_temp TO reads;
SET LOCAL ROLE reads;
SELECT results_eq('SELECT tenant, stream FROM atp.audit_event_projection WHERE event_type = ''OddHappened''', $$VALUES ('other', 'Theirs-1')$$, 'a role that reads: its tenant''s events');
SELECT results_eq('SELECT tenant, stream FROM atp.event_stream_projection WHERE category = ''Theirs''', $$VALUES ('other', 'Theirs-1')$$, 'and streams');
SELECT throws_ok('SELECT * FROM atp_internal.audit_event_projection', '42501', NULL, 'not the table');
SELECT throws_ok('INSERT INTO atp.event_stream_projection (stream) VALUES (1)', NULL, NULL, 'nor does it write');
SELECT throws_ok($$SELECT atp.rebuild_projection('audit_event_projection')$$, '42501', NULL, 'nor rebuild');
RESET ROLE;
SET LOCAL atp.tenant = '';

-- Each question has its index.
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	all_lines text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		all_lines := all_lines || line || E'\n';
	END LOOP;
	RETURN all_lines;
END $$;
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SELECT matches(pg_temp.plan_of('SELECT * FROM atp.audit_event_projection WHERE ' || condition), 'audit_event_projection_' || index, condition)
	FROM (VALUES ($$actor = 'x' ORDER BY log_position DESC LIMIT 10$$, 'actor'), ($$action = 'x' ORDER BY log_position DESC LIMIT 10$$, 'action'),
		($$resource = 'x' ORDER BY log_position DESC LIMIT 10$$, 'resource'), ($$correlation_id = 'x'$$, 'correlation_id'),
		($$event_type = 'OddHappened'$$, 'event_type'), ($$occurred_at >= now() - interval '1 hour'$$, 'occurred_at')) AS q(condition, index);
SELECT doesnt_match(pg_temp.plan_of($$SELECT * FROM atp.audit_event_projection WHERE actor = 'x' ORDER BY log_position DESC LIMIT 10$$), 'Sort', 'the latest of an actor need no sort');
RESET enable_seqscan;
RESET enable_bitmapscan;

-- A row of the log that the sequencer has not placed is no business of the trigger; rebuilding takes what is there.
CREATE TEMP TABLE audit_before AS SELECT * FROM atp_internal.audit_event_projection;
CREATE TEMP TABLE stream_before AS SELECT * FROM atp_internal.event_stream_projection;
INSERT INTO atp_internal.log SELECT 1000, gen_random_uuid(), stream, published_at, tenant, event_type, tick FROM atp_internal.log WHERE log_position = 1;
SELECT set_eq('TABLE atp_internal.audit_event_projection', 'TABLE audit_before', 'a restored row is not counted');
SELECT set_eq('TABLE atp_internal.event_stream_projection', 'TABLE stream_before', 'nor in its stream');
SELECT lives_ok($$SELECT atp.rebuild_projection('audit_event_projection'), atp.rebuild_projection('event_stream_projection')$$, 'a position without its event is passed over');
SELECT set_eq('TABLE atp_internal.audit_event_projection', 'TABLE audit_before', 'rebuilt, the audit projection is the same');
SELECT set_eq('TABLE atp_internal.event_stream_projection', 'TABLE stream_before', 'so is that of the streams');
SET LOCAL enable_seqscan = off;
SELECT set_eq('SELECT * FROM atp_internal.audit_event_projection WHERE tenant = 1 AND event_type > 0', 'SELECT * FROM audit_before WHERE tenant = 1', 'an index finds each row, rebuilt');
SELECT set_eq($$SELECT * FROM atp_internal.audit_event_projection WHERE tenant = 1 AND actor > ''$$, $$SELECT * FROM audit_before WHERE tenant = 1 AND actor > ''$$, 'and that of actors those that have one');
RESET enable_seqscan;
SELECT throws_ok($$SELECT atp.rebuild_projection('another')$$, 'TP120', NULL, 'an unknown projection is refused');
SELECT is(atp.search_text(NULL), NULL, 'search_text of NULL');
SELECT is((SELECT count(DISTINCT atp.search_text(repeat('x', n))) FROM generate_series(250, 270) AS n), 21::bigint, 'search_text keeps texts apart');
SELECT * FROM finish();
ROLLBACK;
ALTER SYSTEM RESET atp.guard;
SELECT pg_reload_conf() \gset

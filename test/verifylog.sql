-- Verification of the log: what is wrong between positions and events is found and named, and what is merely not placed yet is not.
-- What the guard would refuse is done with the guard stood down, as whoever edits files would not ask it either.
LOAD 'atp';
ALTER SYSTEM SET atp.guard = off;
SELECT pg_reload_conf() \gset
SELECT pg_sleep(0.2) \gset
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.append(stream text, VARIADIC numbers int[]) RETURNS void LANGUAGE sql AS
	$$SELECT count(atp.append_event(stream, 'OrderPlaced', jsonb_build_object('n', n))) FROM unnest(numbers) AS n$$;
CREATE TEMP TABLE before AS SELECT * FROM atp.verify_log();
INSERT INTO before(ok, checked, fault) SELECT ok, checked, fault FROM atp.verify_all();
-- The worker may be faster than tick(): each transaction is placed before the next one, in either case.
DO $$ BEGIN PERFORM pg_temp.append('Order-1', 1, 2), pg_temp.append('Order-2', 1), pg_temp.append('Order-1', 3); END $$;
SELECT set_config('test.placed', atp.tick()::text, false) \gset
DO $$ BEGIN PERFORM pg_temp.append('Order-2', 2), pg_temp.append('Cart-1', 1); END $$;
SELECT set_config('test.placed', atp.tick()::text, false) \gset

BEGIN;
DO $$ BEGIN PERFORM atp.append_event('Cart-2', 'CartOpened'), pg_temp.append('Order-1', 4, 5); END $$;
SELECT plan(26);
CREATE FUNCTION pg_temp.verdict(attack text, question text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	changed bigint;
BEGIN
	BEGIN
		UPDATE pg_trigger SET tgenabled = 'D' WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'atp_internal'::regnamespace);
		UPDATE pg_class SET relname = relname WHERE relnamespace = 'atp_internal'::regnamespace;
		EXECUTE attack;
		GET DIAGNOSTICS changed = ROW_COUNT;
		IF changed = 0 THEN
			RETURN 'nothing was changed';
		END IF;
		EXECUTE question INTO answer;
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		RETURN answer;
	END;
END $$;
CREATE FUNCTION pg_temp.log_verdict(attack text) RETURNS text LANGUAGE sql AS
	$$SELECT pg_temp.verdict(attack, 'SELECT concat_ws('' '', ok, checked, first_fault_position, fault) FROM atp.verify_log()')$$;
-- The verdict of this process alone; and in brackets that of parallel workers, where it is another.
CREATE FUNCTION pg_temp.whole_verdict(attack text) RETURNS text LANGUAGE sql AS
	$$SELECT pg_temp.verdict(attack, $question$
		SELECT concat_ws(' ', ok, first_fault_tenant, first_fault_stream, first_fault_version, 'at ' || first_fault_position, fault) || (SELECT CASE WHEN p IS DISTINCT FROM v THEN format(' [%s]', p) ELSE '' END
			FROM atp.verify_all(workers => 2) p) FROM atp.verify_all(workers => 0) v$question$)$$;

SELECT results_eq('SELECT ok, checked, fault FROM before', $$VALUES (false, 0::bigint, 'the log is empty'), (false, 0::bigint, 'there are no events')$$,
	'nothing checked is not ok');
SELECT results_eq('SELECT * FROM atp.verify_log()', 'VALUES (true, 6::bigint, NULL::bigint, NULL::text)', 'the log is ok, with events that wait for the next tick');
SELECT results_eq('SELECT ok, checked, fault FROM atp.verify_all()', 'VALUES (true, 9::bigint, NULL::text)', 'so is everything');

SELECT is(pg_temp.log_verdict('UPDATE atp_internal.log SET ' || assignment || ' WHERE log_position = 3'), says, assignment)
	FROM (VALUES
		('log_position = 30', 'f 3 3 position is missing'),
		('log_position = 0', 'f 1 0 position is below 1'),
		('event_id = gen_random_uuid()', 'f 3 3 event does not exist'),
		('tenant = 77', 'f 3 3 event does not exist'),
		('stream = (SELECT s.stream FROM atp_internal.stream s WHERE name = ''Cart-1'')', 'f 3 3 event is of another stream'),
		('event_type = (SELECT y.event_type FROM atp_internal.event_type y WHERE name = ''CartOpened'')', 'f 3 3 event is of another type'))
		AS a(assignment, says);
SELECT is(pg_temp.whole_verdict('UPDATE atp_internal.log SET ' || assignment || ' WHERE log_position = 3'), says, 'verify_all: ' || assignment)
	FROM (VALUES
		('log_position = 30', 'f at 3 position is missing'),
		('event_id = gen_random_uuid()', 'f default Order-2 1 at 3 event does not exist'),
		('stream = (SELECT s.stream FROM atp_internal.stream s WHERE name = ''Cart-1'')', 'f default Cart-1 1 at 3 event is of another stream'))
		AS a(assignment, says);
SELECT is(pg_temp.log_verdict('DELETE FROM atp_internal.log WHERE log_position = ' || n), says, 'without position ' || n)
	FROM (VALUES (1, 'f 1 1 position is missing'), (4, 'f 4 4 position is missing'), (5, 'f 5 5 position is missing'),
		(6, 'f 5 6 position is missing')) AS a(n, says);
SELECT is(pg_temp.log_verdict('WITH gone AS (DELETE FROM atp_internal.log WHERE log_position = 4 RETURNING 1) '
	'UPDATE atp_internal.log SET log_position = log_position - 1 FROM gone WHERE log_position > 4'), 'f 5 event has no position',
	'a row taken out and the rest moved up');
SELECT is(pg_temp.log_verdict('UPDATE atp_internal.log SET log_position = 1001 WHERE log_position = 1; UPDATE atp_internal.log SET log_position = 1 '
	'WHERE log_position = 2; UPDATE atp_internal.log SET log_position = 2 WHERE log_position = 1001'),
	'f 1 1 event comes before its predecessor in the stream', 'two positions exchanged');
SELECT is(pg_temp.log_verdict('UPDATE atp_internal.log l SET event_id = e.event_id FROM atp_internal.event e JOIN atp_internal.stream s USING (stream) '
	'WHERE l.log_position = 4 AND s.name = ''Order-1'' AND e.stream_version = 4'), 'f 4 4 event comes before its predecessor in the stream',
	'an event left out');
SELECT is(pg_temp.log_verdict('INSERT INTO atp_internal.log SELECT log_position, event_id, stream, published_at, 77, event_type FROM atp_internal.log WHERE log_position = 2'),
	'f 3 2 position is there twice', 'a position twice, by way of another tenant');
SELECT is(pg_temp.log_verdict($$ALTER TABLE atp_internal.log DROP CONSTRAINT log_event_unique;
	CREATE INDEX log_event_unique ON atp_internal.log (event_id, tenant); INSERT INTO atp_internal.log
	SELECT 7, event_id, stream, published_at, tenant, event_type, tick FROM atp_internal.log WHERE log_position = 6$$), 'f 7 7 event has a position already', 'an event twice');
SELECT is(pg_temp.log_verdict('DELETE FROM atp_internal.event e USING atp_internal.log l WHERE l.event_id = e.event_id AND log_position = 5'),
	'f 5 5 event does not exist', 'an event gone');
SELECT is(pg_temp.whole_verdict('DELETE FROM atp_internal.event e USING atp_internal.log l WHERE l.event_id = e.event_id AND log_position = 5'),
	'f default Order-2 2 event is missing', 'verify_all: an event gone');
SELECT is(pg_temp.whole_verdict($$UPDATE atp_internal.event e SET payload = '{}' FROM atp_internal.log l WHERE l.event_id = e.event_id AND log_position = 4$$),
	'f default Order-1 3 at 4 hash does not match', 'verify_all: a payload changed, named with its position');
SELECT is(pg_temp.log_verdict('UPDATE atp_internal.sequencer SET floor_seq = 1000000'), 'f 6 event has no position', 'an event that resequence() has covered and that has none');
SET LOCAL ROLE atp_reader;
SELECT throws_ok('SELECT atp.verify_all()', '42501', NULL, 'readers of one tenant may not ask about all');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
ALTER SYSTEM RESET atp.guard;
SELECT pg_reload_conf() \gset

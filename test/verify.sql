-- Verification of streams: a change of any stored column, behind the guard's back, is found and named.
-- What the guard would refuse is done with the guard stood down, as whoever edits files would not ask it either.
LOAD 'atp';
ALTER SYSTEM SET atp.guard = off;
SELECT pg_reload_conf() \gset
SELECT pg_sleep(0.2) \gset
SET atp.actor = 'tester';
DO $$
BEGIN
	PERFORM atp.append_event('Order-1', 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 5) AS i;
	PERFORM atp.append_event('Order-2', 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 3) AS i;
	PERFORM atp.append_event('Cart-1', 'CartOpened');
END $$;
BEGIN;
SELECT plan(59);

-- What no trigger refuses: the guard is taken off in the catalog, and put back by the rollback.
CREATE FUNCTION pg_temp.unguard() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	UPDATE pg_trigger SET tgenabled = 'D' WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'atp_internal'::regnamespace);
	UPDATE pg_class SET relname = relname WHERE relnamespace = 'atp_internal'::regnamespace;
END $$;

-- Changes something, asks, and takes the change back.
CREATE FUNCTION pg_temp.verdict(attack text, question text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer text;
	changed bigint;
BEGIN
	BEGIN
		PERFORM pg_temp.unguard();
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
CREATE FUNCTION pg_temp.stream_verdict(attack text, stream text DEFAULT 'Order-1') RETURNS text LANGUAGE sql AS
	$$SELECT pg_temp.verdict(attack, format('SELECT concat_ws('' '', ok, checked, first_fault_version, fault) FROM atp.verify_stream(%L)', stream))$$;
-- The verdict of this process alone; and in brackets that of parallel workers, where it is another.
CREATE FUNCTION pg_temp.whole_verdict(attack text) RETURNS text LANGUAGE sql AS
	$$SELECT pg_temp.verdict(attack, $question$
		SELECT concat_ws(' ', ok, first_fault_tenant, first_fault_stream, first_fault_version, fault) || (SELECT CASE WHEN p IS DISTINCT FROM v THEN format(' [%s]', p) ELSE '' END
			FROM atp.verify_all(workers => 2) p) FROM atp.verify_all(workers => 0) v$question$)$$;
CREATE FUNCTION pg_temp.row(stream text, version bigint) RETURNS text LANGUAGE sql STABLE AS
	$$SELECT format('stream = %s AND stream_version = %s', s.stream, $2) FROM atp_internal.stream s WHERE s.name = $1$$;

SELECT results_eq($$SELECT * FROM atp.verify_stream('Order-1')$$, $$VALUES (true, 5::bigint, NULL::bigint, NULL::text)$$, 'a stream as it was written is ok');
SELECT results_eq($$SELECT * FROM atp.verify_stream('Order-9')$$, $$VALUES (false, 0::bigint, NULL::bigint, 'no such stream')$$, 'no stream is not ok');
SELECT throws_ok($$SELECT * FROM atp.verify_stream(NULL)$$, '22004', NULL, 'NULL is refused');
SELECT throws_ok($$SELECT * FROM atp.verify_stream('Order-1', 'nobody')$$, 'TP202', NULL, 'an unknown tenant is refused');
SELECT is((SELECT (ok, checked) FROM atp.verify_all()), (true, 9::bigint), 'so is everything');
SELECT is((SELECT (ok, checked) FROM atp.verify_all(true)), (true, 9::bigint), 'documents are canonical');

-- Every column of the row, one at a time.
CREATE TEMP TABLE attack (name text, assignment text, stream_says text, whole_says text);
INSERT INTO attack VALUES
	('event_id', $$event_id = set_byte(uuid_send(event_id), 15, 255 - get_byte(uuid_send(event_id), 15))::text$$, 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('stream', 'stream = (SELECT s.stream FROM atp_internal.stream s WHERE name = ''Cart-1'')', 'f 3 3 event is missing', 'f default Order-1 3 event is missing'),
	('stream, to none', 'stream = 999999', 'f 3 3 event is missing', 'f default Order-1 3 event is missing'),
	('stream_version', 'stream_version = 30', 'f 3 3 event is missing', 'f default Order-1 3 event is missing'),
	('occurred_at', $$occurred_at = occurred_at + interval '1 microsecond'$$, 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('recorded_at', $$recorded_at = recorded_at - interval '1 microsecond'$$, 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('seq', 'seq = 1', 'f 3 3 sequence number does not rise', 'f default Order-1 3 sequence number does not rise'),
	('tenant', 'tenant = 77', 'f 3 3 event is missing', 'f default Order-1 3 event is missing'),
	('event_type', 'event_type = (SELECT y.event_type FROM atp_internal.event_type y WHERE name = ''CartOpened'')', 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('event_type, to none', 'event_type = 999999', 'f 3 3 event type is not registered', 'f default Order-1 3 event type is not registered'),
	('schema_version', 'schema_version = 1', 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('flags', 'flags = 1', 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('flags, unknown', 'flags = 256', 'f 3 3 unknown record flags', 'f default Order-1 3 unknown record flags'),
	('hash', 'hash = set_byte(hash, 31, 255 - get_byte(hash, 31))', 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('hash, cut', 'hash = substr(hash, 1, 31)', 'f 3 3 hash has a wrong length', 'f default Order-1 3 hash has a wrong length'),
	('salts', 'salts = set_byte(salts, 0, 255 - get_byte(salts, 0))', 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('salts, of the metadata', 'salts = set_byte(salts, 31, 255 - get_byte(salts, 31))', 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('payload', $$payload = '{"n":4}'$$, 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('payload, by a space', $$payload = '{"n": 3}'$$, 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('metadata', $$metadata = '{"actor":"another"}'$$, 'f 3 3 hash does not match', 'f default Order-1 3 hash does not match'),
	('private', $$private = '{}'$$, 'f 3 3 unknown private fields', 'f default Order-1 3 unknown private fields');
UPDATE attack SET assignment = 'event_id = encode(set_byte(uuid_send(event_id), 15, 255 - get_byte(uuid_send(event_id), 15)), ''hex'')::uuid' WHERE name = 'event_id';
SELECT is(pg_temp.stream_verdict(format('UPDATE atp_internal.event SET %s WHERE %s', assignment, pg_temp.row('Order-1', 3))), stream_says,
	'verify_stream: ' || name) FROM attack;
SELECT is(pg_temp.whole_verdict(format('UPDATE atp_internal.event SET %s WHERE %s', assignment, pg_temp.row('Order-1', 3))), whole_says,
	'verify_all: ' || name) FROM attack;
SELECT set_eq('SELECT split_part(name, '','', 1) FROM attack', $$SELECT attname FROM pg_attribute WHERE attrelid = 'atp_internal.event'::regclass
	AND attnum > 0 AND attname <> 'xid'$$, 'no column is left out but xid, which is a working column of the sequencer');

-- Rows and heads.
SELECT is(pg_temp.stream_verdict('DELETE FROM atp_internal.event WHERE ' || pg_temp.row('Order-1', 5)), 'f 4 5 event is missing', 'the last event is gone');
SELECT is(pg_temp.stream_verdict('DELETE FROM atp_internal.event WHERE ' || pg_temp.row('Order-1', 1)), 'f 1 1 event is missing', 'the first event is gone');
SELECT is(pg_temp.stream_verdict($$UPDATE atp_internal.stream SET version = 4 WHERE name = 'Cart-1'$$, 'Cart-1'), 'f 1 2 event is missing', 'a head ahead of its events');
SELECT is(pg_temp.whole_verdict('DELETE FROM atp_internal.stream WHERE name = ''Order-2'''), 'f default 1 event belongs to no stream', 'a stream without its row');
SELECT is(pg_temp.stream_verdict(format('UPDATE atp_internal.stream SET %s WHERE name = ''Order-1''', assignment)), says, 'head: ' || assignment)
	FROM (VALUES ($$state = 's'$$, 'f 5 5 head of the stream says sealed, and no seal is there'), ('max_event_id = min_event_id', 'f 5 5 head of the stream has other event ids'),
		('min_event_id = max_event_id', 'f 5 5 head of the stream has other event ids'),
		('hash = sha256(hash)', 'f 5 5 head of the stream has another hash'),
		('version = 4', 'f 5 5 event is beyond the head of its stream'),
		('stream_uid = gen_random_uuid()', 'f 1 1 hash does not match')) AS a(assignment, says);
SELECT * FROM finish();
ROLLBACK;
ALTER SYSTEM RESET atp.guard;
SELECT pg_reload_conf() \gset

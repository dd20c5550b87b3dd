-- Reading: over several partitions, by anybody who may; what is read is what is asked for, and no more.
SET client_min_messages = warning;
LOAD 'atp';
SET atp.partition_interval = 'day';
SET atp.event_id_window_past = '400d';
SELECT atp.onboard_tenant('other') \gset
-- Ids of the last months, each in a leaf of its own; versions do not follow the ids.
DO $$
BEGIN
	FOR day IN 0..6 LOOP
		PERFORM atp.append_event('Wide-1', 'ThingRead', jsonb_build_object('n', 7 - day),
			event_id => atp.ulid_to_uuid(atp.ulid_next(repeat('0', 26), now() - interval '40 days' * (day * 5 % 7))));
	END LOOP;
	FOR n IN 1..3000 LOOP
		PERFORM atp.append_event('Long-1', 'ThingRead', jsonb_build_object('n', n));
	END LOOP;
	PERFORM atp.append_event('Other-' || n, 'ThingRead', '{}') FROM generate_series(1, 300) AS n;
	PERFORM atp.append_event('Wide-1', 'ThingRead', '{"n": "theirs"}', tenant => 'other');
END $$;
VACUUM ANALYZE atp_internal.event;
VACUUM ANALYZE atp_internal.stream;
BEGIN;
SELECT plan(36);
SELECT cmp_ok((SELECT count(*) FROM pg_inherits WHERE inhparent = 'atp_internal.event'::regclass), '>=', 6::bigint, 'there are several leaves');

-- Right.
SELECT is((SELECT array_agg(stream_version) FROM atp.read_stream('Wide-1')), '{1,2,3,4,5,6,7}'::bigint[], 'forward, over leaves that are not in the order of versions');
SELECT is((SELECT array_agg(stream_version) FROM atp.read_stream('Wide-1', direction => 'backward')), '{7,6,5,4,3,2,1}'::bigint[], 'backward');
SELECT is((SELECT array_agg(stream_version) FROM atp.read_stream('Wide-1', 3, 2)), '{3,4}'::bigint[], 'a part, forward');
SELECT is((SELECT array_agg(stream_version) FROM atp.read_stream('Wide-1', 5, 2, 'backward')), '{5,4}'::bigint[], 'a part, backward');
SELECT is((SELECT array_agg(stream_version) FROM atp.read_stream('Wide-1', 6, 100)), '{6,7}'::bigint[], 'beyond the end');
SELECT is((SELECT array_agg(stream_version) FROM atp.read_stream('Wide-1', 100, 3, 'backward')), '{7,6,5}'::bigint[], 'backward from beyond the end');
SELECT is((SELECT count(*) FROM atp.read_stream('Long-1', max_count => NULL)), 3000::bigint, 'max_count NULL is all of them');
SELECT is((SELECT count(*) FROM atp.read_stream('Long-1', NULL, NULL, 'backward')), 3000::bigint, 'backward, too');
SELECT is((SELECT count(*) FROM atp.read_stream('Long-1')), 1000::bigint, 'a thousand without saying');
SELECT is((SELECT count(*) FROM atp.read_stream('Long-1', max_count => 0)), 0::bigint, 'none');
SELECT is((SELECT count(*) FROM atp.read_stream('None-1')), 0::bigint, 'no such stream');
SELECT is((SELECT count(*) FROM atp.read_stream(NULL)), 0::bigint, 'NULL is no stream');
SELECT throws_ok($$SELECT * FROM atp.read_stream('Wide-1', direction => 'sideways')$$, '22023', NULL, 'an unknown direction is refused');
SELECT throws_ok($$SELECT * FROM atp.read_stream('Wide-1', tenant => 'nobody')$$, 'TP202', NULL, 'an unknown tenant is refused');
SELECT is((SELECT count(*) FROM atp.events e WHERE stream = 'Wide-1' AND previous_hash IS NOT DISTINCT FROM
	(SELECT hash FROM atp.events p WHERE p.stream = 'Wide-1' AND p.stream_version = e.stream_version - 1)), 6::bigint, 'previous_hash is the hash of the version before');
SELECT is((SELECT previous_hash FROM atp.events WHERE stream = 'Wide-1' AND stream_version = 1), decode(repeat('00', 32), 'hex'), 'and zeros before the first');
SELECT is((atp.get_event((SELECT event_id FROM atp.events WHERE stream = 'Wide-1' AND stream_version = 4))).stream_version, 4::bigint, 'get_event');
SELECT is((SELECT version FROM atp.get_stream('Wide-1')), 7::bigint, 'get_stream');

-- No more than that.
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	line text;
	all_lines text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, TIMING OFF, COSTS OFF, SUMMARY OFF) ' || query LOOP
		all_lines := all_lines || line || E'\n';
	END LOOP;
	RETURN all_lines;
END $$;
CREATE FUNCTION pg_temp.most_rows(query text) RETURNS int LANGUAGE sql AS
	$$SELECT max(m[1]::int) FROM regexp_matches(pg_temp.plan_of(query), 'rows=(\d+)', 'g') AS m$$;
CREATE FUNCTION pg_temp.leaves(query text) RETURNS bigint LANGUAGE sql AS
	$$SELECT count(*) FROM regexp_matches(pg_temp.plan_of(query), ' on event_p\d+ e', 'g') AS m$$;
SELECT is(pg_temp.leaves($$SELECT * FROM atp.read_stream('Long-1')$$), 1::bigint, 'a stream of one leaf is read from that leaf');
SELECT is(pg_temp.leaves($$SELECT * FROM atp.read_stream('Long-1', direction => 'backward')$$), 1::bigint, 'backward, too');
SELECT cmp_ok(pg_temp.most_rows($$SELECT * FROM atp.read_stream('Long-1', 2000, 10)$$), '<=', 10, 'ten events forward read ten rows');
SELECT cmp_ok(pg_temp.most_rows($$SELECT * FROM atp.read_stream('Long-1', NULL, 10, 'backward')$$), '<=', 10, 'and backward');
SELECT doesnt_match(pg_temp.plan_of($$SELECT * FROM atp.read_stream('Long-1', NULL, 10, 'backward')$$), 'Removed by Filter', 'nothing is read and thrown away');
SELECT doesnt_match(pg_temp.plan_of($$SELECT * FROM atp.read_stream('Long-1', 2000, 10)$$), 'Removed by Filter|Function Scan|CTE|Materialize', 'nor collected');
SELECT doesnt_match(pg_temp.plan_of($$SELECT * FROM atp.events WHERE stream = 'Long-1' AND stream_version BETWEEN 2000 AND 2010$$), 'Rows Removed by Filter: \d\d',
	'the view with previous_hash reads a row for each, by index');
SELECT is(pg_temp.leaves(format('SELECT event_id, payload FROM atp.events WHERE event_id = %L', (SELECT event_id FROM atp.events WHERE stream = 'Long-1' AND stream_version = 7))),
	1::bigint, 'an event id is looked for in one leaf');
SET LOCAL plan_cache_mode = force_generic_plan;
PREPARE slice(text, bigint, int, text) AS SELECT * FROM atp.read_stream($1, $2, $3, $4);
SELECT cmp_ok(pg_temp.most_rows($$EXECUTE slice('Long-1', 2000, 10, 'forward')$$), '<=', 10, 'prepared: forward');
SELECT cmp_ok(pg_temp.most_rows($$EXECUTE slice('Long-1', 2000, 10, 'backward')$$), '<=', 10, 'prepared: backward');

-- Anybody who may.
CREATE ROLE reads;
GRANT atp_reader TO reads;
GRANT USAGE ON SCHEMA atp TO reads;
SET LOCAL ROLE reads;
SELECT is((SELECT count(*) FROM atp.read_stream('Wide-1')), 7::bigint, 'a reader reads');
SELECT is((SELECT count(*) FROM atp.events WHERE stream = 'Wide-1'), 7::bigint, 'the events of its tenant only');
SELECT is((SELECT count(*) FROM atp.streams WHERE stream = 'Wide-1'), 1::bigint, 'and its streams');
SELECT is((SELECT count(*) FROM atp.read_stream('Other-1', tenant => 'other')), 0::bigint, 'a stream of ours is not in another tenant');
SET LOCAL atp.tenant = 'other';
SELECT is((SELECT count(*) FROM atp.events WHERE stream = 'Wide-1'), 1::bigint, 'as that tenant: its events only');
SELECT is((SELECT payload ->> 'n' FROM atp.read_stream('Wide-1')), 'theirs', 'and its stream of the same name');
SELECT throws_ok('SELECT * FROM atp_internal.event', '42501', NULL, 'the table itself is out of reach');
SELECT * FROM finish();
ROLLBACK;

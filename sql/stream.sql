-- Stream heads: one row per stream, written once or twice per transaction, right at every savepoint.
BEGIN;
SELECT stream_version FROM atp.append_event('stream-1', 'HeadTested', '{"n": 1}');
SELECT stream_version FROM atp.append_event('stream-1', 'HeadTested', '{"n": 2}');
SELECT version FROM atp.streams WHERE stream = 'stream-1';
SAVEPOINT a;
SELECT stream_version FROM atp.append_event('stream-1', 'HeadTested', '{"n": 3}');
SELECT stream_version FROM atp.append_event('stream-2', 'HeadTested', '{"n": 1}');
SAVEPOINT b;
SELECT stream_version FROM atp.append_event('stream-1', 'HeadTested', '{"n": 4}');
SELECT stream, version FROM atp.streams WHERE stream IN ('stream-1', 'stream-2') ORDER BY 1;
ROLLBACK TO b;
SELECT stream, version FROM atp.streams WHERE stream IN ('stream-1', 'stream-2') ORDER BY 1;
SELECT stream_version FROM atp.append_event('stream-1', 'HeadTested', '{"n": 5}');
RELEASE b;
ROLLBACK TO a;
SELECT stream, version FROM atp.streams WHERE stream IN ('stream-1', 'stream-2') ORDER BY 1;
SELECT stream_version FROM atp.append_event('stream-1', 'HeadTested', '{"n": 6}');
SAVEPOINT c;
SELECT stream_version FROM atp.append_event('stream-1', 'HeadTested', '{"n": 7}');
RELEASE c;
COMMIT;
SELECT stream, version, state FROM atp.streams WHERE stream IN ('stream-1', 'stream-2') ORDER BY 1;
SELECT stream_version, payload FROM atp.events WHERE stream = 'stream-1' ORDER BY 1;
SELECT ok, checked, fault FROM atp.verify_stream('stream-1');

-- more streams than are held in memory, in nested savepoints, half of them rolled back
SET atp.stream_heads = 100;
BEGIN;
DO $$
BEGIN
	FOR i IN 1..900 LOOP
		PERFORM atp.append_event('evicted-' || i % 450, 'HeadTested', '{}');
	END LOOP;
	BEGIN
		FOR i IN 1..900 LOOP
			PERFORM atp.append_event('evicted-' || i % 450, 'HeadTested', '{}');
		END LOOP;
		RAISE EXCEPTION 'take it back';
	EXCEPTION WHEN raise_exception THEN
		NULL;
	END;
	FOR i IN 1..100 LOOP
		BEGIN
			PERFORM atp.append_event('evicted-' || i, 'HeadTested', '{}');
			BEGIN
				PERFORM atp.append_event('evicted-' || i, 'HeadTested', '{}');
				IF i % 2 = 0 THEN
					RAISE EXCEPTION 'take it back';
				END IF;
			EXCEPTION WHEN raise_exception THEN
				NULL;
			END;
		END;
	END LOOP;
END $$;
COMMIT;
SELECT version, count(*) FROM atp.streams WHERE stream LIKE 'evicted-%' GROUP BY 1 ORDER BY 1;
SELECT count(*) AS faulty FROM atp.streams s, atp.verify_stream(s.stream) v WHERE s.stream LIKE 'evicted-%' AND NOT v.ok;
RESET atp.stream_heads;
-- the head row is not rewritten for each event: a handful of row versions whatever the number of appends (counters of earlier
-- transactions may not have been handed over yet, so it is their difference that counts)
BEGIN;
SELECT coalesce(sum(n_tup_upd + n_tup_ins), 0) AS before FROM pg_stat_xact_all_tables WHERE relid = 'atp_internal.stream'::regclass \gset
SELECT count((atp.append_event('stream-3', 'HeadTested', '{}')).stream_version) FROM generate_series(1, 1000);
SELECT n_tup_upd + n_tup_ins - :before AS row_versions FROM pg_stat_xact_all_tables WHERE relid = 'atp_internal.stream'::regclass;
SAVEPOINT a;
SELECT count((atp.append_event('stream-3', 'HeadTested', '{}')).stream_version) FROM generate_series(1, 1000);
ROLLBACK TO a;
SELECT n_tup_upd + n_tup_ins - :before AS row_versions FROM pg_stat_xact_all_tables WHERE relid = 'atp_internal.stream'::regclass;
COMMIT;
SELECT version FROM atp.streams WHERE stream = 'stream-3';
SELECT ok, checked FROM atp.verify_stream('stream-3');
-- a row that was seen before is found without the index, by a hint of where it was; wrong hints do no harm
SELECT stream_version FROM atp.append_event('hinted-1', 'HeadTested', '{}');
BEGIN;
SELECT pg_stat_get_xact_numscans('atp_internal.stream_name_unique'::regclass) AS before \gset
SELECT stream_version FROM atp.append_event('hinted-1', 'HeadTested', '{}');
SELECT pg_stat_get_xact_numscans('atp_internal.stream_name_unique'::regclass) - :before AS index_scans;
COMMIT;
-- the table is written anew, and rows change places
VACUUM FULL atp_internal.stream;
SELECT stream_version FROM atp.append_event('hinted-1', 'HeadTested', '{}');
-- rows that were taken back: other streams get their places, or the table ends before them
BEGIN;
SELECT count((atp.append_event('hinted-' || i, 'HeadTested', '{}')).stream_version) FROM generate_series(2, 1000) i;
ROLLBACK;
VACUUM atp_internal.stream;
SELECT count((atp.append_event('hinted-' || i, 'HeadTested', '{}')).stream_version) FROM generate_series(300, 2, -1) i;
SELECT max((atp.append_event('hinted-' || i, 'HeadTested', '{}')).stream_version) FROM generate_series(2, 1000) i;
SELECT version, count(*) FROM atp.streams WHERE stream LIKE 'hinted-%' GROUP BY 1 ORDER BY 1;
SELECT count(*) AS faulty FROM atp.streams s, atp.verify_stream(s.stream) v WHERE s.stream LIKE 'hinted-%' AND NOT v.ok;

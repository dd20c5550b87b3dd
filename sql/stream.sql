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
BEGIN;
DO $$
BEGIN
	FOR i IN 1..9000 LOOP
		PERFORM atp.append_event('evicted-' || i % 4500, 'HeadTested', '{}');
	END LOOP;
	BEGIN
		FOR i IN 1..9000 LOOP
			PERFORM atp.append_event('evicted-' || i % 4500, 'HeadTested', '{}');
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
-- the head row is not rewritten for each event: it is made, and written once more before commit
CREATE FUNCTION pg_temp.row_versions() RETURNS bigint LANGUAGE sql VOLATILE AS
	$$SELECT n_tup_ins + n_tup_upd FROM pg_stat_xact_all_tables WHERE relid = 'atp_internal.stream'::regclass$$;
BEGIN;
SELECT pg_temp.row_versions() AS before \gset
SELECT count((atp.append_event('stream-3', 'HeadTested', '{}')).stream_version) FROM generate_series(1, 1000);
SELECT pg_temp.row_versions() - :before AS row_versions;
COMMIT;
SELECT version FROM atp.streams WHERE stream = 'stream-3';

-- Reading the log: one tenant's events in log order; waiting for an event; the outbox.
SELECT atp.onboard_tenant('readlog') IS NOT NULL AS onboarded;
SET atp.tenant = 'readlog';
SELECT stream_version FROM atp.append_event('readlog-a', 'LineRead', '{"n": 1}', metadata => '{"actor": "reader"}');
SELECT stream_version FROM atp.append_event('readlog-b', 'LineRead', '{"n": 2}', tenant => 'default');
SELECT stream_version FROM atp.append_event('readlog-b', 'LineRead', '{"n": 3}');
BEGIN;
SELECT stream_version FROM atp.append_event('readlog-c', 'LineRead', '{"n": 4}');
SELECT stream_version FROM atp.append_event('readlog-a', 'LineRead', '{"n": 5}');
COMMIT;
SELECT event_id AS last FROM atp.append_event('readlog-a', 'LineRead', jsonb_build_object('n', 6, 'long', repeat('x', 10000))) \gset
SELECT atp.wait_for_event(:'last') > 0 AS placed;
-- the tenant's own, in order
SELECT row_number() OVER (ORDER BY log_position) AS n, stream, stream_version, event_type, left(payload::text, 20) AS payload, metadata,
	length(hash) AS hash FROM atp.read_log() WHERE stream LIKE 'readlog-%';
-- the same as read_stream says
SELECT count(*) FROM atp.read_log() l JOIN atp.read_stream('readlog-a') s USING (event_id, stream, stream_version, event_type, schema_version,
	occurred_at, recorded_at, hash) WHERE l.payload::text = s.payload::text AND l.metadata::text = s.metadata::text;
-- from a position, so many
SELECT min(log_position) AS first, max(log_position) AS head FROM atp.read_log() WHERE stream LIKE 'readlog-%' \gset
SELECT stream, stream_version FROM atp.read_log(:first, 2);
SELECT stream, stream_version FROM atp.read_log(:first, 2) OFFSET 1;
SELECT count(*) FROM atp.read_log(:head);
SELECT count(*) FROM atp.read_log(0, 0);
SELECT count(*) = 5 AS all FROM atp.read_log(:first - 1, NULL);
SELECT count(*) > 0 AS from_the_beginning FROM atp.read_log(NULL, NULL, 'default');
SELECT count(*) FROM atp.read_log(0, -1);
SELECT count(*) FROM atp.read_log(tenant => 'nobody');
-- through every batch, in order, whole
SELECT count(*) FROM (SELECT atp.append_event('readlog-many', 'LineRead', '{}') FROM generate_series(1, 300)) appended;
SELECT atp.tick() >= 0 AS ticked;
SELECT count(*), bool_and(stream_version = n) AS in_order FROM
	(SELECT stream, stream_version, row_number() OVER () AS n FROM atp.read_log(:head, NULL)) r;
SELECT count(*) FROM atp.read_log(:head, 77);
-- it is inlined, and asks for no more rows than it returns
DO $$
DECLARE
	line text;
	plan text := '';
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) SELECT * FROM atp.read_log(5, 10)' LOOP
		plan := plan || line;
	END LOOP;
	RAISE NOTICE 'streams: %, collects: %', plan LIKE '%Limit%ProjectSet%', plan ~ 'Function Scan|Sort|Materialize';
END $$;
-- in one statement, the rows of the statement's snapshot
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM atp.read_log(:head, NULL);
ROLLBACK;
-- as a reader; writers can wait, not read
CREATE ROLE readlog_reader IN ROLE atp_reader;
CREATE ROLE readlog_writer IN ROLE atp_writer;
SET ROLE readlog_reader;
SELECT count(*) FROM atp.read_log(:head, NULL);
SELECT atp.wait_for_event(:'last') = :head AS placed;
SELECT count(*) FROM atp.outbox WHERE published;
SELECT head >= :head AS head, fault FROM atp.sequencer_status;
SELECT atp.tick();
SELECT count(*) FROM atp_internal.log;
SET ROLE readlog_writer;
SELECT atp.wait_for_event(:'last') = :head AS placed;
SELECT count(*) FROM atp.read_log();
RESET ROLE;
DROP ROLE readlog_reader, readlog_writer;
-- waiting: nothing there, another tenant's, one's own before commit, a fixed snapshot
SELECT atp.wait_for_event('01a2108c-03c0-f764-ed03-63f6a8a35433', '10 milliseconds');
SELECT atp.wait_for_event('01a2108c-03c0-f764-ed03-63f6a8a35433', NULL);
SELECT atp.wait_for_event(NULL);
SELECT atp.wait_for_event(:'last', '0', 'default');
SELECT atp.wait_for_event(:'last', '0', 'readlog') = :head AS placed;
BEGIN;
SELECT event_id AS own FROM atp.append_event('readlog-a', 'LineRead', '{"n": 7}') \gset
SELECT atp.wait_for_event(:'own', '1 minute');
ROLLBACK;
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT atp.wait_for_event(:'last');
ROLLBACK;
-- the outbox
SELECT count(*), count(*) FILTER (WHERE published), sum(attempts), count(published_at) FROM atp.outbox o JOIN atp.events e USING (event_id)
	WHERE e.stream LIKE 'readlog-%';
BEGIN;
SELECT event_id AS own FROM atp.append_event('readlog-a', 'LineRead', '{"n": 7}') \gset
SELECT published, published_at, attempts FROM atp.outbox WHERE event_id = :'own';
ROLLBACK;
RESET atp.tenant;

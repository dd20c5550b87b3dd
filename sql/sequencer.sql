-- The sequencer: every committed event gets one position, none left out, in the order of its stream. A worker may be at it at the
-- same time, so counts of what a tick places are not shown.
CREATE VIEW placed AS
	SELECT l.log_position, e.stream AS stream_key, s.name AS stream, e.stream_version, e.seq, l.tick
	FROM atp_internal.log l JOIN atp_internal.event e USING (event_id, tenant) JOIN atp_internal.stream s ON s.stream = e.stream;
SELECT atp.tick() >= 0 AS ticked;
SELECT head AS before FROM atp.sequencer_status \gset
-- one transaction, several streams, a savepoint taken back
BEGIN;
SELECT stream_version FROM atp.append_event('sequencer-1', 'ThingPlaced', '{"n": 1}');
SAVEPOINT a;
SELECT stream_version FROM atp.append_event('sequencer-1', 'ThingPlaced', '{"n": 2}');
ROLLBACK TO a;
SAVEPOINT b;
SELECT stream_version FROM atp.append_event('sequencer-2', 'ThingPlaced', '{"n": 1}');
RELEASE b;
SELECT stream_version FROM atp.append_event('sequencer-1', 'ThingPlaced', '{"n": 3}');
-- a transaction's own events are not placed by its tick: they have not committed
SELECT atp.tick() AS own;
SELECT count(*) AS own_placed FROM placed WHERE stream LIKE 'sequencer-%';
-- but it can append after its tick
SELECT stream_version FROM atp.append_event('sequencer-1', 'ThingPlaced', '{"n": 4}');
COMMIT;
SELECT atp.tick() >= 0 AS ticked;
SELECT log_position - :before AS after, stream, stream_version FROM placed WHERE log_position > :before ORDER BY 1;
-- what is rolled back gets no position and leaves no gap
BEGIN;
SELECT stream_version FROM atp.append_event('sequencer-1', 'ThingPlaced', '{"n": 5}');
ROLLBACK;
SELECT stream_version FROM atp.append_event('sequencer-1', 'ThingPlaced', '{"n": 6}');
SELECT atp.tick() >= 0 AS ticked;
SELECT log_position - :before AS after, stream, stream_version FROM placed WHERE log_position > :before + 4 ORDER BY 1;
-- a prepared transaction is placed when it has committed, and holds nothing up until then
BEGIN;
SELECT stream_version FROM atp.append_event('sequencer-3', 'ThingPlaced', '{"n": 1}');
PREPARE TRANSACTION 'sequencer';
SELECT stream_version FROM atp.append_event('sequencer-4', 'ThingPlaced', '{"n": 1}');
SELECT atp.tick() >= 0 AS ticked;
SELECT log_position - :before AS after, stream FROM placed WHERE log_position > :before + 5 ORDER BY 1;
COMMIT PREPARED 'sequencer';
SELECT atp.tick() >= 0 AS ticked;
SELECT log_position - :before AS after, stream FROM placed WHERE log_position > :before + 5 ORDER BY 1;
-- slices: a transaction of more events than a slice takes is placed in the same order, by several statements
SELECT head AS before FROM atp.sequencer_status \gset
ALTER SYSTEM SET atp.sequencer_slice_size = 7;
SELECT pg_reload_conf();
SELECT pg_sleep(0.5);
SHOW atp.sequencer_slice_size;
SELECT max((atp.append_event('sequencer-' || 10 + n % 3, 'ThingPlaced', jsonb_build_object('n', n))).stream_version) FROM generate_series(1, 21) n;
SELECT atp.tick() >= 0 AS ticked;
SELECT in_work FROM atp.sequencer_status;
SELECT log_position - :before AS after, stream, stream_version, tick LIKE '%/%/' || seq AS in_work FROM placed
	WHERE log_position > :before AND tick IS NOT NULL ORDER BY 1;
ALTER SYSTEM RESET atp.sequencer_slice_size;
SELECT pg_reload_conf();
-- refused where it cannot be right
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT atp.tick();
ROLLBACK;
BEGIN READ ONLY;
SELECT atp.tick();
ROLLBACK;
BEGIN;
SELECT atp.tick() >= 0 AS ticked;
PREPARE TRANSACTION 'sequencer';
BEGIN READ ONLY;
SELECT atp.resequence();
ROLLBACK;
-- a state of another cluster, or one that was restored, is refused; resequence() starts afresh, and keeps what is placed
SELECT head AS before FROM atp.sequencer_status \gset
BEGIN;
UPDATE atp_internal.sequencer SET system_identifier = 1;
SELECT fault FROM atp.sequencer_status;
SELECT atp.tick();
ROLLBACK;
BEGIN;
COPY atp_internal.sequencer (singleton, system_identifier, restored, base_position, base_tick, floor_seq) FROM STDIN;
t	1	f	0	3	0
\.
SELECT restored, system_identifier FROM atp_internal.sequencer;
SELECT fault FROM atp.sequencer_status;
SELECT count(*) FROM (SELECT atp.append_event('sequencer-20', 'ThingPlaced', '{}')) appended;
SELECT atp.resequence() AS placed_own_too;
SELECT restored, base_position - :before AS after, floor_seq = (SELECT max(seq) FROM atp_internal.event) AS floor FROM atp_internal.sequencer;
SELECT fault FROM atp.sequencer_status;
COMMIT;
SELECT stream_version FROM atp.append_event('sequencer-20', 'ThingPlaced', '{}');
SELECT atp.tick() >= 0 AS ticked;
SELECT log_position - :before AS after, stream, stream_version FROM placed WHERE log_position > :before ORDER BY 1;
-- the whole log: dense, one position per event, one event per position, streams in order
SELECT count(*) = max(log_position) AND min(log_position) = 1 AND count(DISTINCT event_id) = count(*) AS dense FROM atp_internal.log;
SELECT count(*) AS without_position FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id);
SELECT count(*) AS out_of_order FROM (SELECT stream_version - lag(stream_version, 1, 0::bigint) OVER (PARTITION BY stream_key ORDER BY log_position) AS step
	FROM placed) s WHERE step <> 1;
DROP VIEW placed;

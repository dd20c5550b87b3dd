-- Repeated appends: the original receipt, or a refusal.
SELECT stream_version, deduplicated FROM atp.append_event('repeat-1', 'ThingAdded', '{"a": 1}', 0, idempotency_key => 'k1');
SELECT stream_version, deduplicated FROM atp.append_event('repeat-1', 'ThingAdded', '{"a": 1}', 0, idempotency_key => 'k1');
SELECT stream_version, deduplicated FROM atp.append_event('repeat-1', 'ThingAdded', '{"a": 1.0}', idempotency_key => 'k1');
SELECT atp.append_event('repeat-1', 'ThingAdded', '{"a": 2}', idempotency_key => 'k1');
SELECT atp.append_event('repeat-1', 'ThingRemoved', '{"a": 1}', idempotency_key => 'k1');
-- a key belongs to its stream
SELECT stream_version, deduplicated FROM atp.append_event('repeat-2', 'ThingAdded', '{"a": 2}', idempotency_key => 'k1');
-- the original receipt, to the byte
CREATE TEMP TABLE receipt AS SELECT * FROM atp.append_event('repeat-1', 'ThingAdded', '{"b": 1}', metadata => '{"actor": "x"}',
	event_id => atp.create_event_id(), occurred_at => '2026-01-01 00:00:00+00');
SELECT (SELECT (r.event_id, r.stream_version, r.hash, r.recorded_at, true) = (n.event_id, n.stream_version, n.hash, n.recorded_at, n.deduplicated)
	FROM atp.append_event('repeat-1', 'ThingAdded', '{"b": 1}', metadata => '{"actor": "x"}', event_id => r.event_id) n) AS same FROM receipt r;
SELECT (SELECT n.deduplicated FROM atp.append_event('repeat-1', 'ThingAdded', '{"b": 1}', event_id => r.event_id, metadata =>
	'{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}') n) AS a_new_attempt_has_a_new_span FROM receipt r;
\set VERBOSITY sqlstate
SELECT atp.append_event('repeat-1', 'ThingAdded', '{"b": 2}', event_id => event_id) FROM receipt;
SELECT atp.append_event('repeat-1', 'ThingAdded', '{"b": 1}', event_id => event_id, metadata => '{"actor": "y"}') FROM receipt;
SELECT atp.append_event('repeat-1', 'ThingAdded', '{"b": 1}', event_id => event_id, occurred_at => '2026-01-02') FROM receipt;
SELECT atp.append_event('repeat-2', 'ThingAdded', '{"b": 1}', event_id => event_id) FROM receipt;
\set VERBOSITY default
-- a batch under one key
SELECT stream_version, deduplicated FROM atp.append_events('repeat-3', '[{"event_type": "ThingAdded"}, {"event_type": "ThingAdded", "payload": {"n": 2}}]',
	idempotency_key => 'b1');
SELECT stream_version, deduplicated FROM atp.append_events('repeat-3', '[{"event_type": "ThingAdded"}, {"event_type": "ThingAdded", "payload": {"n": 2}}]',
	idempotency_key => 'b1');
SELECT stream_version FROM atp.append_events('repeat-3', '[{"event_type": "ThingAdded"}]', idempotency_key => 'b1');
SELECT stream_version FROM atp.append_events('repeat-3', '[{"event_type": "ThingAdded"}, {"event_type": "ThingAdded", "payload": {"n": 3}}]',
	idempotency_key => 'b1');
-- twice in one statement, and in one transaction that a savepoint takes back
SELECT n, r.stream_version, r.deduplicated FROM generate_series(1, 2) n,
	LATERAL atp.append_event('repeat-4', 'ThingAdded', jsonb_build_object('n', n > 0), idempotency_key => 's1') r ORDER BY n;
BEGIN;
SAVEPOINT a;
SELECT stream_version, deduplicated FROM atp.append_event('repeat-4', 'ThingAdded', '{}', idempotency_key => 's2');
ROLLBACK TO a;
SELECT stream_version, deduplicated FROM atp.append_event('repeat-4', 'ThingAdded', '{}', idempotency_key => 's2');
COMMIT;
SELECT stream, version FROM atp.streams WHERE stream LIKE 'repeat-%' ORDER BY 1;
SELECT atp.purge_idempotency_keys();

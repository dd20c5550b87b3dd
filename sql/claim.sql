-- Claims: the next events of a subscription, leased; acks, failures, order. The log stands still meanwhile.
\set VERBOSITY terse
SELECT count((atp.append_event('claim' || i % 3 || '-' || i % 6, CASE i % 4 WHEN 0 THEN 'ClaimPaid' ELSE 'ClaimMade' END,
	jsonb_build_object('n', i), metadata => jsonb_build_object('region', CASE i % 2 WHEN 0 THEN 'eu' ELSE 'us' END))).stream_version)
	FROM generate_series(1, 24) i;
SELECT atp.tick() >= 0 AS ticked;
SELECT max(log_position) - 24 AS base FROM atp_internal.log \gset
CREATE FUNCTION pg_temp.retry_now() RETURNS void LANGUAGE sql AS $$
	UPDATE atp_internal.retry SET due_at = now() - interval '1 s' WHERE due_at < 'infinity' AND lease IS NULL;
	UPDATE atp_internal.subscription_cursor SET retry_due_at = now() WHERE retries > 0;
$$;
SELECT atp.create_subscription('one', categories => '{claim*}', partitions => 1, start_at => :'base',
	backoff => '{"initial": 1000, "maximum": 1000, "jitter": "none"}') = :base AS starts_at_base;

-- in log order, from the position, under one lease
SELECT log_position - :base AS n, attempt, redelivered, stream, stream_version, event_type, payload, metadata FROM atp.claim_events('one', 3, 'me');
-- the only partition is leased: nothing is free
SELECT count(*) FROM atp.claim_events('one', 3, 'you');
SELECT lease AS l FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'one' \gset
-- ack of a part, ack beyond, ack of the rest, ack of nothing
SELECT atp.ack_events('one', :'l', :base + 2);
SELECT atp.ack_events('one', :'l', :base + 4);
SELECT atp.ack_events('one', :'l', :base + 3);
SELECT atp.ack_events('one', :'l');
SELECT atp.ack_events('one', gen_random_uuid());
SELECT atp.ack_events('nobody', :'l');
-- ack and claim in one call
SELECT lease AS l, count(*), min(log_position) - :base AS from, max(log_position) - :base AS to FROM atp.claim_events('one', 4) GROUP BY 1 \gset
SELECT lease AS l, count(*), min(log_position) - :base AS from, max(log_position) - :base AS to FROM atp.claim_events('one', 4, ack_lease => :'l') GROUP BY 1 \gset
SELECT :count AS count, :from AS from, :to AS to;

-- a claim that is rolled back takes its attempt back
SELECT atp.ack_events('one', :'l');
BEGIN;
SELECT log_position - :base AS n, attempt FROM atp.claim_events('one', 1);
ROLLBACK;
BEGIN;
SELECT lease AS l, log_position - :base AS n, attempt FROM atp.claim_events('one', 1) \gset
SELECT :n AS n, :attempt AS attempt, atp.ack_events('one', :'l');
COMMIT;

-- order by key: a failed event holds up its stream and no other
SELECT lease AS l, event_id AS e FROM atp.claim_events('one', 100) WHERE log_position = :base + 13 \gset
SELECT outcome, attempts, due_at > now() AS later, array(SELECT stream || ' ' || payload FROM atp.events WHERE event_id = ANY (withdrawn) ORDER BY event_id)
	FROM atp.nack_event('one', :'l', :'e', 'no answer');
SELECT outcome FROM atp.nack_event('one', :'l', :'e', 'no answer');
SELECT outcome FROM atp.nack_event('one', :'l', gen_random_uuid(), 'no answer');
SELECT atp.ack_events('one', :'l');
SELECT count((atp.append_event('claim' || i % 3 || '-' || i, 'ClaimMade', jsonb_build_object('n', 24 + i))).stream_version) FROM generate_series(1, 2) i;
SELECT atp.tick() >= 0 AS ticked;
SELECT lease AS l, log_position - :base AS n, stream FROM atp.claim_events('one', 100) \gset
SELECT :n AS n, :'stream' AS stream, atp.ack_events('one', :'l');
SELECT pg_temp.retry_now();
-- what waited follows in the same lease
SELECT log_position - :base AS n, attempt, redelivered, stream FROM atp.claim_events('one', 2);
SELECT lease AS l FROM atp_internal.retry r JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'one' LIMIT 1 \gset
SELECT event_id AS e FROM atp_internal.retry WHERE log_position = :base + 13 \gset
SELECT outcome, attempts, cardinality(withdrawn) AS withdrawn FROM atp.nack_event('one', :'l', :'e', 'still no answer');
SELECT atp.ack_events('one', :'l');
SELECT pg_temp.retry_now();
SELECT log_position - :base AS n, attempt, redelivered FROM atp.claim_events('one', 1);
SELECT lease AS l FROM atp_internal.retry r JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'one' AND lease IS NOT NULL \gset
-- the third attempt was the last
SELECT outcome, attempts, due_at FROM atp.nack_event('one', :'l', :'e', 'never any answer');
SELECT log_position - :base AS n, attempts, reason, last_error FROM atp_internal.dead_letter;
-- now the others of the stream come
SELECT pg_temp.retry_now();
SELECT log_position - :base AS n, attempt, redelivered, lease AS l FROM atp.claim_events('one', 10) ORDER BY 1 LIMIT 1 \gset
SELECT :n AS n, :attempt AS attempt, atp.ack_events('one', :'l');
SELECT count(*) FROM atp.claim_events('one', 10);
SELECT acked - :base AS acked, retries, retry_due_at, lease, settled, runs FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'one';

-- a lease that expires: the batch comes again, then each event alone, then it is given up
SELECT atp.create_subscription('two', streams => '{claim1-1}', partitions => 1, start_at => :'base', lock_duration => '1 ms') IS NOT NULL AS made;
SELECT log_position - :base AS n, attempt, redelivered FROM atp.claim_events('two', 2);
SELECT pg_sleep(0.01);
SELECT log_position - :base AS n, attempt, redelivered FROM atp.claim_events('two', 3);
SELECT pg_sleep(0.01);
SELECT log_position - :base AS n, attempt, redelivered FROM atp.claim_events('two', 3);
SELECT acked - :base AS acked, lease_count, (SELECT array_agg(CASE WHEN i % 2 = 1 THEN r - :base ELSE r END ORDER BY i) FROM unnest(runs) WITH ORDINALITY u (r, i)) AS runs
	FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'two';
SELECT pg_sleep(0.01);
SELECT log_position - :base AS n, attempt, redelivered FROM atp.claim_events('two', 3);
SELECT log_position - :base AS n, attempts, reason, last_error FROM atp_internal.dead_letter d JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'two';
-- an expired lease is stale
SELECT lease AS l FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'two' \gset
SELECT pg_sleep(0.01);
SELECT atp.ack_events('two', :'l');
SELECT atp.renew_lease('two', :'l');

-- a lease that is given back: no attempt is counted, what was settled stays so
SELECT atp.create_subscription('three', streams => '{claim1-1}', partitions => 1, start_at => :'base', ordering => 'none',
	backoff => '{"initial": 1000, "maximum": 1000, "jitter": "none"}') IS NOT NULL AS made;
SELECT lease AS l, array_agg(event_id ORDER BY log_position) AS e, count(*) FROM atp.claim_events('three', 4) GROUP BY 1 \gset
SELECT outcome FROM atp.nack_event('three', :'l', (:'e'::uuid[])[2], 'no');
SELECT atp.ack_events('three', :'l', (SELECT log_position FROM atp_internal.log WHERE event_id = (:'e'::uuid[])[1]));
SELECT :count AS leased, atp.release_lease('three', :'l') AS released;
SELECT atp.release_lease('three', :'l');
SELECT event_id = (:'e'::uuid[])[2 + n] AS next, attempt, redelivered FROM (SELECT *, row_number() OVER (ORDER BY log_position) AS n FROM atp.claim_events('three', 2)) c;
SELECT pg_temp.retry_now();
SELECT lease AS l, attempt FROM atp.claim_events('three', 1) \gset
SELECT :attempt AS attempt, atp.release_lease('three', :'l') AS released;
SELECT event_id = (:'e'::uuid[])[2] AS same, attempt FROM atp.claim_events('three', 1);
SELECT atp.release_lease('three', NULL);
-- acked up to the last event that was not nacked: the lease is over
SELECT lease AS l FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'three' \gset
SELECT outcome FROM atp.nack_event('three', :'l', (:'e'::uuid[])[4], 'no');
SELECT atp.ack_events('three', :'l', (SELECT log_position FROM atp_internal.log WHERE event_id = (:'e'::uuid[])[3]));
SELECT lease, lease_count FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'three';
SELECT atp.drop_subscription('three');
SELECT atp.drop_subscription('one');
SELECT atp.drop_subscription('two');
SELECT count(*) FROM atp_internal.retry;

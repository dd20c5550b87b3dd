-- One lease over several partitions: what is settled in one of them leaves the others leased.
SELECT atp.create_subscription('parts', categories => '{parted}', start_at => 'end', max_attempts => 1, partitions => 8) >= 0 AS created;
SELECT max((atp.append_event('parted-' || n, 'PartTested', jsonb_build_object('n', n))).stream_version) FROM generate_series(1, 8) n;
SELECT atp.wait_for_events('parts', '10 s');
CREATE TEMP TABLE c AS SELECT *, row_number() OVER (ORDER BY log_position) AS n FROM atp.claim_events('parts');
SELECT count(*) AS events, count(DISTINCT lease) AS leases FROM c;
-- the last one fails, the first five are done, then the rest; a failed one is not there any more
SELECT (atp.nack_event('parts', lease, event_id, 'no')).outcome FROM c WHERE n = 8;
SELECT atp.ack_events('parts', lease, log_position) AS acked FROM c WHERE n = 5;
SELECT atp.renew_lease('parts', lease) > clock_timestamp() AS renewed FROM c WHERE n = 5;
\set VERBOSITY sqlstate
SELECT atp.nack_event('parts', lease, event_id, 'again') FROM c WHERE n = 8;
SELECT atp.nack_event('parts', lease, event_id, 'late') FROM c WHERE n = 1;
SELECT atp.ack_events('parts', lease, log_position + 1000) FROM c WHERE n = 8;
\set VERBOSITY default
SELECT atp.ack_events('parts', lease, log_position) AS acked FROM c WHERE n = 8;
SELECT count(*) AS left_over FROM atp.claim_events('parts');
\set VERBOSITY sqlstate
SELECT atp.ack_events('parts', lease) FROM c WHERE n = 1;
\set VERBOSITY default
SELECT atp.drop_subscription('parts');

-- A new order key: the old one drains, what waits to be tried again gets its new key, and holds up those of that key.
CREATE FUNCTION pg_temp.keyed(first int, last int) RETURNS bigint LANGUAGE sql AS $$
	SELECT max((atp.append_event('keyed-' || n, 'PartTested', jsonb_build_object('n', n), metadata => jsonb_build_object('region', 'r' || n % 2))).stream_version)
	FROM generate_series(first, last) n $$;
SELECT atp.create_subscription('keys', categories => '{keyed}', start_at => 'end', partitions => 4,
	backoff => '{"initial": 1000, "maximum": 1000, "jitter": "none"}') >= 0 AS created;
SELECT pg_temp.keyed(1, 4);
SELECT atp.tick() >= 0 AS ticked;
CREATE TEMP TABLE k AS SELECT * FROM atp.claim_events('keys');
SELECT (atp.nack_event('keys', lease, event_id, 'no')).outcome FROM k WHERE stream = 'keyed-1';
\set VERBOSITY terse
SELECT atp.alter_subscription('keys', order_key => 'metadata.');
\set VERBOSITY default
SELECT atp.alter_subscription('keys', order_key => 'metadata.region', partitions => 2);
SELECT order_key, next_order_key, partitions, next_partitions FROM atp.subscriptions WHERE subscription = 'keys';
-- what is leased is acked under the old key; the next claim changes it
SELECT atp.ack_events('keys', lease) FROM k LIMIT 1;
SELECT pg_temp.keyed(5, 6);
SELECT atp.tick() >= 0 AS ticked;
-- keyed-5 is of the region of keyed-1, which is to be tried again
SELECT stream FROM atp.claim_events('keys');
SELECT order_key, next_order_key, partitions, next_partitions FROM atp.subscriptions WHERE subscription = 'keys';
SELECT payload, attempts, dense_rank() OVER (ORDER BY key) AS key FROM atp_internal.retry JOIN atp_internal.event USING (event_id) ORDER BY log_position;
-- and back, which undoes the change before it has taken place
SELECT atp.alter_subscription('keys', order_key => 'none');
SELECT next_order_key, next_partitions FROM atp.subscriptions WHERE subscription = 'keys';
SELECT atp.alter_subscription('keys', order_key => 'metadata.region');
SELECT next_order_key, next_partitions FROM atp.subscriptions WHERE subscription = 'keys';

-- seeking back forgets what waits to be tried again ahead of the position: it comes once, with the rest
SELECT atp.seek_subscription('keys', (SELECT min(log_position) - 1 FROM k)) > 0 AS sought;
SELECT count(*) AS retries FROM atp_internal.retry;
SELECT retries, retry_due_at FROM atp_internal.subscription_cursor;
CREATE TEMP TABLE again AS SELECT * FROM atp.claim_events('keys');
SELECT array_agg(stream ORDER BY log_position), max(attempt) AS attempt FROM again;
-- seeking forwards keeps it
SELECT (atp.nack_event('keys', lease, event_id, 'no')).outcome FROM again WHERE stream = 'keyed-1';
SELECT atp.seek_subscription('keys', (SELECT max(log_position) FROM again)) > 0 AS sought;
SELECT partition, retries, (SELECT count(*) FROM atp_internal.retry r WHERE r.partition = c.partition) AS waiting FROM atp_internal.subscription_cursor c ORDER BY 1;
-- dropping leaves nothing
SELECT atp.drop_subscription('keys');
SELECT (SELECT count(*) FROM atp_internal.retry) AS retries, (SELECT count(*) FROM atp_internal.subscription_cursor) AS cursors;

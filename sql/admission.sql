-- What holds claims back: breakers, rate limits, events in flight; of a subscription and of its tenant.
\set VERBOSITY terse
SELECT count((atp.append_event('admit-' || i, 'ThingAdded', jsonb_build_object('n', i))).stream_version) FROM generate_series(1, 40) i;
SELECT atp.tick() >= 0 AS ticked;
SELECT max(log_position) - 40 AS base FROM atp_internal.log \gset
CREATE VIEW pg_temp.held AS SELECT subscription, held_by, retry_after > '0' AS later, in_flight FROM atp.subscription_status;

-- what does not exist is refused at once
SELECT atp.create_subscription('guarded', breaker => 'nothing');
SELECT atp.create_subscription('guarded', rate_limit => 'nothing');
SELECT atp.set_delivery_limits(NULL, 'nothing');
SELECT atp.set_delivery_limits(0, NULL);

-- a breaker: nacks open it, and an open one gives nothing and loses nothing
SELECT atp.create_breaker('endpoint', failure_ratio => 0.5, minimum_throughput => 4, sampling_duration => '1 h', break_duration => '1 h');
SELECT atp.create_subscription('guarded', categories => '{admit}', partitions => 1, start_at => :'base', breaker => 'endpoint', order_key => 'none',
	backoff => '{"initial": 1000, "maximum": 1000, "jitter": "none"}', lock_duration => '1 h') = :base AS made;
SELECT atp.drop_breaker('endpoint');
SELECT lease AS l, count(*) FROM atp.claim_events('guarded', 3) GROUP BY 1 \gset
SELECT :count AS claimed, atp.ack_events('guarded', :'l') AS acked;
SELECT throughput::int, failures::int FROM atp_internal.read_breaker(1, 'endpoint');
SELECT lease AS l, array_agg(event_id ORDER BY log_position) AS e FROM atp.claim_events('guarded', 4) GROUP BY 1 \gset
-- permanent failures and deferrals do not count
SELECT outcome FROM atp.nack_event('guarded', :'l', (:'e'::uuid[])[1], 'malformed', permanent => true);
SELECT outcome FROM atp.defer_event('guarded', :'l', (:'e'::uuid[])[2]);
SELECT state, throughput::int, failures::int FROM atp_internal.read_breaker(1, 'endpoint');
-- a report outlives the roll-back of its transaction
BEGIN;
SELECT outcome FROM atp.nack_event('guarded', :'l', (:'e'::uuid[])[3], 'no answer');
SELECT outcome FROM atp.nack_event('guarded', :'l', (:'e'::uuid[])[4], 'no answer');
ROLLBACK;
SELECT state, throughput::int, failures::int FROM atp_internal.read_breaker(1, 'endpoint');
SELECT outcome FROM atp.nack_event('guarded', :'l', (:'e'::uuid[])[3], 'no answer');
SELECT outcome FROM atp.nack_event('guarded', :'l', (:'e'::uuid[])[4], 'no answer');
SELECT state FROM atp_internal.read_breaker(1, 'endpoint');
SELECT count(*) FROM atp.claim_events('guarded', 10);
SELECT atp.wait_for_events('guarded', '0');
SELECT * FROM pg_temp.held WHERE subscription = 'guarded';
SELECT count(*) FROM atp.claim_deferred_events('guarded', ARRAY[:base + 5]);
SELECT atp.isolate_breaker('endpoint');
SELECT * FROM pg_temp.held WHERE subscription = 'guarded';
-- half-open: one event as a probe, and no other until it is reported
SELECT atp.close_breaker('endpoint');
SELECT setval(format('atp_internal.breaker_%s_state', breaker_key), (1::bigint << 18) + (1 << 16)) > 0 AS open_long_ago FROM atp_internal.breaker WHERE breaker = 'endpoint';
SELECT lease AS l, log_position - :base AS n FROM atp.claim_events('guarded', 10) \gset
SELECT :n AS probe, state FROM atp_internal.read_breaker(1, 'endpoint');
SELECT count(*) FROM atp.claim_deferred_events('guarded', ARRAY[:base + 5]);
SELECT atp.ack_events('guarded', :'l');
SELECT state FROM atp_internal.read_breaker(1, 'endpoint');
-- a probe that is nacked opens it again
SELECT setval(format('atp_internal.breaker_%s_state', breaker_key), (1::bigint << 18) + (1 << 16)) > 0 AS open_long_ago FROM atp_internal.breaker WHERE breaker = 'endpoint';
SELECT lease AS l, event_id AS e, log_position - :base AS n FROM atp.claim_events('guarded', 10) \gset
SELECT :n AS probe, outcome FROM atp.nack_event('guarded', :'l', :'e', 'no answer');
SELECT state FROM atp_internal.read_breaker(1, 'endpoint');
SELECT atp.close_breaker('endpoint');
-- looking in vain takes no probe
SELECT atp.create_subscription('idle', categories => '{nothing}', breaker => 'endpoint') >= 0 AS made;
SELECT setval(format('atp_internal.breaker_%s_state', breaker_key), (1::bigint << 18) + (1 << 16)) > 0 AS open_long_ago FROM atp_internal.breaker WHERE breaker = 'endpoint';
SELECT count(*) FROM atp.claim_events('idle');
SELECT state FROM atp_internal.read_breaker(1, 'endpoint');
SELECT atp.close_breaker('endpoint');
SELECT lease AS l, min(log_position) - :base AS from FROM atp.claim_events('guarded', 10) GROUP BY 1 \gset
SELECT :from AS from, atp.ack_events('guarded', :'l');
-- a lease that expires is a failure
SELECT atp.alter_subscription('guarded', lock_duration => '1 ms');
SELECT count(*) FROM atp.claim_events('guarded', 1);
SELECT pg_sleep(0.01);
SELECT atp.alter_subscription('guarded', lock_duration => '1 h');
SELECT failures::int AS before FROM atp_internal.read_breaker(1, 'endpoint') \gset
SELECT count(*) FROM atp.claim_events('guarded', 1);
SELECT failures::int - :before AS counted FROM atp_internal.read_breaker(1, 'endpoint');
SELECT atp.drop_subscription('guarded'), atp.drop_subscription('idle');
SELECT atp.drop_breaker('endpoint');

-- a rate limit: a token an event; what a claim does not need it leaves
SELECT atp.create_rate_limit('mail', rate => 0.001, burst => 5), atp.create_rate_limit('all', rate => 0.001, burst => 8);
SELECT atp.create_subscription('mails', categories => '{admit}', partitions => 1, start_at => :'base') = :base AS made;
SELECT atp.alter_subscription('mails', rate_limit => 'mail');
SELECT breaker, rate_limit FROM atp.subscriptions WHERE subscription = 'mails';
SELECT lease AS l, count(*) FROM atp.claim_events('mails', 2) GROUP BY 1 \gset
SELECT :count AS claimed;
-- what was claimed and rolled back has used its tokens, and comes again
BEGIN;
SELECT count(*) FROM atp.claim_events('mails', 2, ack_lease => :'l');
ROLLBACK;
SELECT lease AS l, min(log_position) - :base AS from, count(*) FROM atp.claim_events('mails', 100, ack_lease => :'l') GROUP BY 1 \gset
SELECT :from AS from, :count AS claimed;
SELECT count(*) FROM atp.claim_events('mails', 100, ack_lease => :'l');
SELECT * FROM pg_temp.held WHERE subscription = 'mails';
SELECT atp.wait_for_events('mails', '0');
SELECT atp.drop_rate_limit('mail');
SELECT atp.alter_subscription('mails', clear => '{rate_limit}');
SELECT atp.drop_rate_limit('mail');
-- of the tenant: all its subscriptions share it
SELECT atp.set_delivery_limits(NULL, 'all');
SELECT * FROM atp.get_delivery_limits();
SELECT atp.create_subscription('others', categories => '{admit}', partitions => 1, start_at => :'base') = :base AS made;
SELECT count(*) FROM atp.claim_events('mails', 5);
SELECT count(*) FROM atp.claim_events('others', 5);
SELECT count(*) FROM atp.claim_events('others', 5);
SELECT * FROM pg_temp.held WHERE subscription IN ('mails', 'others') ORDER BY 1;
SELECT atp.drop_rate_limit('all');
-- a claim that finds less than it asked for gives the rest back
SELECT atp.set_delivery_limits(NULL, NULL);
SELECT atp.drop_rate_limit('all'), atp.create_rate_limit('few', rate => 0.001, burst => 5);
SELECT atp.drop_subscription('others'), atp.create_subscription('others', streams => '{admit-1,admit-2}', start_at => :'base', partitions => 1, rate_limit => 'few') = :base AS made;
SELECT count(*) FROM atp.claim_events('others', 100);
SELECT atp.acquire_tokens('few', 3);
SELECT atp.acquire_tokens('few');

-- events in flight, of the tenant
SELECT atp.drop_subscription('others'), atp.drop_subscription('mails'), atp.drop_rate_limit('few');
SELECT atp.set_delivery_limits(6, NULL);
SELECT atp.create_subscription('a', categories => '{admit}', partitions => 4, start_at => :'base') = :base AS made,
	atp.create_subscription('b', categories => '{admit}', partitions => 4, start_at => :'base', max_in_flight => 4) = :base AS made;
SELECT sum(in_flight) AS before FROM pg_temp.held \gset
SELECT lease AS l, count(*) FROM atp.claim_events('b', 100) GROUP BY 1 \gset
SELECT :count AS claimed;
SELECT count(*) FROM atp.claim_events('a', 100);
SELECT count(*) FROM atp.claim_events('a', 100);
SELECT * FROM pg_temp.held WHERE subscription IN ('a', 'b') ORDER BY 1;
SELECT atp.wait_for_events('a', '0');
SELECT count(*) FROM atp.claim_events('b', 1, ack_lease => :'l');
SELECT count(*) FROM atp.claim_events('a', 100);
SELECT sum(in_flight) - :before AS in_flight FROM pg_temp.held;
SELECT atp.set_delivery_limits(NULL, NULL);
SELECT count(*) FROM atp.claim_events('a', 1);
SELECT atp.pause_subscription('a');
SELECT * FROM pg_temp.held WHERE subscription = 'a';
SELECT atp.drop_subscription('a'), atp.drop_subscription('b');

-- runners of handlers rest while a breaker is open, and go on when it closes
SELECT atp.create_breaker('service', failure_ratio => 0.5, minimum_throughput => 2, break_duration => '1 h');
SELECT atp.isolate_breaker('service');
CREATE TABLE served (n int);
CREATE FUNCTION serve(event jsonb) RETURNS void LANGUAGE sql AS $$INSERT INTO public.served VALUES ((event #>> '{payload,n}')::int)$$;
SELECT atp.create_subscription('served', categories => '{serve}', start_at => 'end', breaker => 'service') >= 0 AS made;
SELECT atp.create_handler('serve', 'served', 'serve(jsonb)');
SELECT count((atp.append_event('serve-' || i, 'ThingAdded', jsonb_build_object('n', i))).stream_version) FROM generate_series(1, 5) i;
SELECT atp.tick() >= 0 AS ticked;
SELECT is_ready FROM atp_internal.handled_subscriptions() JOIN atp_internal.subscription USING (subscription) WHERE name = 'served';
SELECT count(*) FROM atp_internal.claim_for_handlers((SELECT subscription FROM atp_internal.subscription WHERE name = 'served'), 1) WHERE lease IS NOT NULL;
SELECT atp.close_breaker('service');
DO $$
BEGIN
	FOR i IN 1 .. 2000 LOOP
		EXIT WHEN (SELECT count(*) = 5 FROM served) AND NOT EXISTS (SELECT FROM atp_internal.subscription_cursor WHERE lease IS NOT NULL);
		COMMIT;
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$;
SELECT array_agg(n ORDER BY n) FROM served;
-- what the runner acked was reported
SELECT state, throughput::int, failures::int FROM atp_internal.read_breaker(1, 'service');
SELECT atp.drop_handler('serve');
SELECT atp.drop_subscription('served');
SELECT atp.drop_breaker('service');
DROP TABLE served;
DROP FUNCTION serve(jsonb);

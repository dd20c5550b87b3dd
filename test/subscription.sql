-- Subscriptions: who may do what, tenants apart, leases of another, isolation levels, and what a refusal leaves.
SELECT atp.onboard_tenant('other') IS NOT NULL;
SELECT count(atp.append_event('thing-' || i, 'ThingAdded', tenant => t)) FROM generate_series(1, 3) i, (VALUES ('default'), ('other')) v (t);
SELECT atp.tick() >= 0;
BEGIN;
SELECT plan(54);
SELECT atp.create_subscription('s', partitions => 1), atp.create_subscription('s', partitions => 1, tenant => 'other'), atp.create_subscription('t', partitions => 1);

-- tenants are apart
SELECT is((SELECT count(*) FROM atp.subscriptions), 2::bigint, 'a tenant sees its own subscriptions');
CREATE TEMP TABLE mine AS SELECT * FROM atp.claim_events('s', 10);
CREATE TEMP TABLE theirs AS SELECT * FROM atp.claim_events('s', 10, tenant => 'other');
SELECT is((SELECT count(*) FROM mine), (SELECT count(*) FROM atp_internal.log e JOIN atp_internal.tenant t USING (tenant) WHERE t.name = 'default'), 'its events');
SELECT is((SELECT count(*) FROM mine JOIN theirs USING (event_id)), 0::bigint, 'and no other');
SELECT throws_ok(format('SELECT atp.ack_events(%L, %L)', 's', (SELECT lease FROM theirs LIMIT 1)), 'TP302', NULL, 'a lease of another tenant is foreign');
SELECT throws_ok(format('SELECT atp.ack_events(%L, %L)', 't', (SELECT lease FROM mine LIMIT 1)), 'TP302', NULL, 'one of another subscription, too');
SELECT throws_ok(format('SELECT atp.nack_event(%L, %L, %L)', 's', (SELECT lease FROM mine LIMIT 1), (SELECT event_id FROM theirs LIMIT 1)), 'TP304', NULL, 'an event of another tenant is not in it');
SELECT throws_ok(format('SELECT atp.ack_events(%L, %L, %s)', 's', (SELECT lease FROM mine LIMIT 1), 1000000), 'TP303');
SELECT is((SELECT lease_count FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription x USING (subscription, tenant) JOIN atp_internal.tenant t USING (tenant)
	WHERE x.name = 's' AND t.name = 'default'), (SELECT count(*)::int FROM mine), 'refusals changed nothing');
SELECT is(atp.ack_events('s', (SELECT lease FROM mine LIMIT 1)), (SELECT count(*) FROM mine), 'the lease still stands');

-- arguments
SELECT throws_ok($$SELECT atp.claim_events('s', 0)$$, '22023');
SELECT throws_ok($$SELECT atp.claim_events(NULL)$$, '22004');
SELECT throws_ok($$SELECT atp.ack_events('s', NULL)$$, '22004');
SELECT throws_ok($$SELECT atp.claim_events('nobody')$$, 'TP300');
SELECT throws_ok($$SELECT atp.renew_lease('s', gen_random_uuid())$$, 'TP302');
SELECT throws_ok($$SELECT atp.wait_for_events('s', '-1 s')$$, '22023');

SELECT throws_ok($$SELECT atp.renew_lease('s', gen_random_uuid(), '178000000 years')$$, '22023');
SELECT throws_ok($$SELECT atp.acquire_tokens(NULL)$$, '22004');
SELECT throws_ok($$SELECT atp.acquire_tokens('l', NULL)$$, '22004', NULL, 'no tokens at all are not granted by the way');
SELECT throws_ok($$SELECT atp.acquire_slot(NULL)$$, '22004');
SELECT throws_ok(format('SELECT atp.list_dead_letters(%L)', f), '22023', NULL, 'dead letters: ' || f) FROM unnest(ARRAY['[]', '{"nobody": 1}', '{"event_id": "x"}', '{"event_id": 5}',
	'{"dead_after": "never"}', '{"dead_before": null}', '{"replayed": "maybe"}', '{"dead_letter": "1"}', '{"dead_letter": [1, "2"]}', '{"subscription": 5}', '{"stream": ["a"]}']) f;
SELECT throws_ok(q, '22023', NULL, q) FROM unnest(ARRAY[$$SELECT atp.list_dead_letters('{}', -1)$$, $$SELECT atp.count_dead_letters('{"event_id": "x"}')$$,
	$$SELECT atp.purge_dead_letters('0', max_count => -1)$$, $$SELECT atp.purge_dead_letters(NULL)$$, $$SELECT atp.replay_dead_letters(rate => 'NaN')$$,
	$$SELECT atp.replay_dead_letters(rate => 1e-300)$$, $$SELECT atp.replay_dead_letters(max_count => 0)$$]) q;
SELECT lives_ok($$SELECT atp.list_dead_letters('{"dead_letter": [1, 2], "replayed": true, "dead_after": "yesterday"}', NULL)$$, 'a filter that is one');
SELECT lives_ok($$SELECT atp.purge_dead_letters('178000000 years')$$, 'older than anything');
SELECT is((SELECT count(*) FROM atp.claim_events('t', 1, repeat('ä', 200))), 1::bigint, 'a consumer may have a long name');
SELECT is((SELECT consumer FROM atp_internal.subscription_cursor WHERE consumer LIKE 'ä%'), repeat('ä', 127), 'of which 255 bytes are kept');

-- privileges
CREATE ROLE consumer;
SET LOCAL ROLE consumer;
SELECT throws_ok($$SELECT atp.claim_events('s')$$, '42501');
RESET ROLE;
GRANT atp_reader TO consumer;
SET LOCAL ROLE consumer;
SELECT lives_ok($$SELECT atp.claim_events('t', 1)$$, 'atp_reader consumes');
SELECT throws_ok($$SELECT atp.create_subscription('mine')$$, '42501');
SELECT throws_ok($$SELECT atp.replay_dead_letters()$$, '42501');
SELECT throws_ok('TABLE atp_internal.subscription_cursor', '42501');
SELECT throws_ok('TABLE atp_internal.retry', '42501');
RESET ROLE;

-- breakers and limits belong to a tenant, and who consumes cannot lift them
SELECT atp.create_breaker('b', tenant => 'other'), atp.create_rate_limit('r', 1, tenant => 'other');
SELECT throws_ok($$SELECT atp.alter_subscription('t', breaker => 'b')$$, 'TP360', NULL, 'a breaker of another tenant is none');
SELECT throws_ok($$SELECT atp.alter_subscription('t', rate_limit => 'r')$$, 'TP364', NULL, 'a rate limit of another tenant is none');
SELECT throws_ok($$SELECT atp.set_delivery_limits(NULL, 'r')$$, 'TP364');
SELECT atp.set_delivery_limits(1, NULL, tenant => 'other');
SELECT ok((SELECT max_in_flight IS NULL FROM atp.get_delivery_limits()), 'limits of another tenant are not ours');
SET LOCAL ROLE consumer;
SELECT throws_ok($$SELECT atp.set_delivery_limits(NULL, NULL)$$, '42501');
SELECT lives_ok($$SELECT held_by FROM atp.subscription_status$$, 'who consumes sees what holds him up');
RESET ROLE;

-- a savepoint takes a claim back
SELECT atp.seek_subscription('t', 0);
SAVEPOINT before;
SELECT count(*) FROM atp.claim_events('t', 10);
ROLLBACK TO before;
SELECT ok((SELECT bool_and(attempt = 1) AND count(*) > 0 FROM atp.claim_events('t', 10)), 'a claim rolled back takes its attempts back');

SELECT * FROM finish();
ROLLBACK;

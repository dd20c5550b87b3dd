-- An event id is its tenant's own: another tenant may use it too, and learns nothing by that. What is looked up by an id is the tenant's.
SELECT atp.onboard_tenant('rival') IS NOT NULL;
BEGIN;
SELECT plan(17);
CREATE TEMP TABLE shared AS SELECT atp.create_event_id() AS id, n FROM generate_series(1, 40) n;
SELECT count(atp.append_event('secret-' || n % 3, 'ThingAdded', jsonb_build_object('owner', 'default', 'n', n), event_id => id)) FROM shared;
COMMIT;
BEGIN;
SELECT is((SELECT count(*) FROM shared, LATERAL atp.append_event('secret-' || n % 3, 'ThingAdded', jsonb_build_object('owner', 'rival', 'n', n), event_id => id, tenant => 'rival') r
	WHERE NOT r.deduplicated), 40::bigint, 'ids of another tenant are free');
SELECT is((SELECT count(*) FROM shared, LATERAL atp.append_event('secret-' || n % 3, 'ThingAdded', jsonb_build_object('owner', 'rival', 'n', n), event_id => id, tenant => 'rival') r
	WHERE r.deduplicated), 40::bigint, 'a repeat is one within the tenant');
SELECT throws_ok(format($$SELECT atp.append_event('secret-9', 'ThingAdded', '{"owner": "rival"}', event_id => %L, tenant => 'rival')$$, id), 'TP104', NULL,
	'one''s own id is refused') FROM shared WHERE n = 1;
COMMIT;
SELECT atp.tick() >= 0;
BEGIN;
SELECT is((SELECT count(*) FROM shared WHERE (atp.get_event(id)).payload ->> 'owner' = 'default'), 40::bigint, 'get_event');
SELECT is((SELECT count(*) FROM shared WHERE (atp.get_event(id, 'rival')).payload ->> 'owner' = 'rival'), 40::bigint, 'get_event of the other');
SELECT is((SELECT count(*) FROM shared WHERE atp.get_cloudevent(id, 'rival') -> 'data' ->> 'owner' = 'rival'), 40::bigint, 'get_cloudevent');
SELECT is((SELECT count(*) FROM shared WHERE atp.wait_for_event(id) <> atp.wait_for_event(id, tenant => 'rival')), 40::bigint, 'each has a log position of its own');

-- what a subscription delivers, in order and one by one, with and without a look at the event
SELECT atp.create_subscription('all', partitions => 1, categories => '{secret}'), atp.create_subscription('all', partitions => 1, categories => '{secret}', tenant => 'rival'),
	atp.create_subscription('some', partitions => 1, filter => '$.data.n > 20 && $.tenant == "rival"', tenant => 'rival');
CREATE TEMP TABLE theirs AS SELECT * FROM atp.claim_events('all', 100, tenant => 'rival');
SELECT is((SELECT count(*) FROM theirs WHERE payload ->> 'owner' = 'rival'), 40::bigint, 'a claim');
SELECT is((SELECT count(*) FROM atp.claim_events('all', 100) WHERE payload ->> 'owner' = 'default'), 40::bigint, 'a claim of the other');
SELECT is((SELECT count(*) FROM atp.claim_events('some', 100, tenant => 'rival') WHERE payload ->> 'owner' = 'rival'), 20::bigint, 'a claim with a filter');
SELECT is((atp.nack_event('all', t.lease, t.event_id, 'no', permanent => true, tenant => 'rival')).outcome, 'dead letter', 'nack') FROM theirs t JOIN shared ON id = t.event_id WHERE n = 7;
SELECT is((SELECT count(*) FROM atp.replay_dead_letters(tenant => 'rival')), 1::bigint, 'replay');
SELECT is(atp.ack_events('all', (SELECT lease FROM theirs LIMIT 1), tenant => 'rival'), 39::bigint, 'ack');
SELECT is((SELECT payload ->> 'owner' FROM atp.claim_events('all', 100, tenant => 'rival')), 'rival', 'the replayed event is the tenant''s');
SELECT is((SELECT string_agg(DISTINCT matches::text, ' ') FROM shared, LATERAL atp.explain_routing(id, 'rival') WHERE subscription = 'some'), 'false true', 'explain_routing');

-- the evidence
SELECT is((SELECT count(*) FROM generate_series(0, 2) n, (VALUES ('default'), ('rival')) t (name), atp.verify_stream('secret-' || n, t.name) v WHERE v.ok), 6::bigint, 'streams verify');
SELECT is((SELECT bool_and(ok) FROM atp.verify_log()), true, 'the log verifies');
SELECT * FROM finish();
ROLLBACK;

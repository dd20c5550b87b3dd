-- Subscriptions: options and their refusals, rules, explanations, changes, seeking, status, scheduled events.
\set VERBOSITY terse
SELECT count((atp.append_event(CASE WHEN i <= 4 THEN 'basket-' ELSE 'booking-' END || i, CASE i % 2 WHEN 0 THEN 'BasketFilled' ELSE 'BasketEmptied' END,
	jsonb_build_object('total', i * 10, 'name', 'n' || i), metadata => jsonb_build_object('actor', 'a' || i % 3, 'vip', i % 4 = 0))).stream_version) FROM generate_series(1, 8) i;
SELECT atp.tick() >= 0 AS ticked;
SELECT log_position - 1 AS base FROM atp_internal.log l JOIN atp_internal.stream s USING (stream) WHERE s.name = 'basket-1' \gset

-- refusals, each leaves nothing
SELECT atp.create_subscription('no good');
SELECT atp.create_subscription('s', event_types => '{}');
SELECT atp.create_subscription('s', streams => ARRAY['a', NULL]);
SELECT atp.create_subscription('s', filter => '$.data.total >');
SELECT atp.create_subscription('s', filter => '{"exactly": {"type": "A"}}');
SELECT atp.create_subscription('s', filter => '{"exact": {"type": 1}}');
SELECT atp.create_subscription('s', filter => '{"any": []}');
SELECT atp.create_subscription('s', filter => '{"not": [1]}');
SELECT atp.create_subscription('s', filter => '{"exact": {"type": "A"}, "prefix": {"type": "A"}}');
SELECT atp.create_subscription('s', filter => '{"exact": ');
SELECT atp.create_subscription('s', filter => '');
SELECT atp.create_subscription('s', filter => repeat('{"not": ', 1000) || '{"exact": {"type": "A"}}' || repeat('}', 1000));
SELECT atp.create_subscription('s', filter => '$.data.total > $x');
SELECT atp.create_subscription('s', correlation => '{"a": {}}');
SELECT atp.create_subscription('s', correlation => '[]');
SELECT atp.create_subscription('s', order_key => 'metadata.');
SELECT atp.create_subscription('s', ordering => 'both');
SELECT atp.create_subscription('s', partitions => 65);
SELECT atp.create_subscription('s', lock_duration => '0');
SELECT atp.create_subscription('s', max_attempts => 0);
SELECT atp.create_subscription('s', backoff => '{"initial": "soon"}');
SELECT atp.create_subscription('s', backoff => '{"initial": 1e400}');
SELECT atp.create_subscription('s', backoff => '{"factor": 1e400}');
SELECT atp.create_subscription('s', backoff => '{"maximum": "170000000 years"}');
SELECT atp.create_subscription('s', backoff => '{"initial": 10, "maximum": 5}');
SELECT atp.create_subscription('s', backoff => '{"steps": 5}');
SELECT atp.create_subscription('s', time_to_live => '-1 s');
SELECT atp.create_subscription('s', time_to_live => '1000000 years');
SELECT atp.create_subscription('s', max_in_flight => 0);
SELECT atp.create_subscription('s', start_at => 'somewhere');
SELECT atp.create_subscription('s', tenant => 'nobody');
SELECT count(*) FROM atp.subscriptions WHERE subscription = 's';

-- rules
CREATE FUNCTION matched(name text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(e.payload ->> 'total', ' ' ORDER BY e.event_id) FROM atp.events e, atp.explain_routing(e.event_id) r
	WHERE split_part(e.stream, '-', 1) IN ('basket', 'booking') AND r.subscription = name AND r.matches $$;
SELECT atp.create_subscription(name, event_types, categories, streams, filter, correlation, start_at => :'base') = :base AS made, matched(name), filter FROM (VALUES
	('rule-type', ARRAY['BasketF*'], NULL::text[], NULL::text[], NULL::text, NULL::jsonb),
	('rule-category', NULL, '{basket}', NULL, NULL, NULL),
	('rule-stream', NULL, NULL, '{b*-3,booking-8}', NULL, NULL),
	('rule-literal', NULL, NULL, '{b_sket-*,b%,basket\\-1,basket-?,*-*-*}', NULL, NULL),
	('rule-stars', NULL, NULL, '{**sk*t-**1}', NULL, NULL),
	('rule-all', '{BasketFilled}', '{book*}', '{*-8,*-7}', NULL, NULL),
	('rule-map', NULL, '{b*}', NULL, NULL, '{"actor": "a1"}'),
	('rule-map2', NULL, NULL, NULL, NULL, '{"vip": true, "event_type": "BasketFilled", "category": "basket", "stream_version": 1}'),
	('rule-map3', NULL, NULL, NULL, NULL, '{"nothing": 1}'),
	('rule-path', NULL, NULL, NULL, '$.data.total >= 40 && $.actor == "a1"', NULL),
	('rule-path2', NULL, NULL, NULL, '$.data ? (@.name starts with "n2")', NULL),
	('rule-path3', NULL, NULL, NULL, '$.subject like_regex "^basket-[12]$"', NULL),
	('rule-path4', NULL, NULL, NULL, '$.data ? (@.name == "$x" || @."$x" == 1 || @.name == "n\"$8")', NULL),
	('rule-ce1', NULL, NULL, NULL, '{"exact": {"type": "BasketFilled", "subject": "basket-2"}}', NULL),
	('rule-ce2', NULL, NULL, NULL, '{"prefix": {"subject": "booking-"}}', NULL),
	('rule-ce3', NULL, NULL, NULL, '{"suffix": {"actor": "2"}}', NULL),
	('rule-ce4', NULL, NULL, NULL, '{"all": [{"suffix": {"type": "Filled"}}, {"not": {"prefix": {"subject": "basket"}}}]}', NULL),
	('rule-ce5', NULL, NULL, NULL, '[{"any": [{"exact": {"actor": "a0"}}, {"exact": {"subject": "basket-1"}}]}]', NULL)
	) v (name, event_types, categories, streams, filter, correlation);
SELECT atp.create_subscription('rule-type');
-- explained, and delivered as explained
SELECT r.* FROM atp.events e, atp.explain_routing(e.event_id) r WHERE e.stream = 'basket-4' AND subscription IN ('rule-all', 'rule-ce4', 'rule-map', 'rule-path', 'rule-stream', 'rule-type')
	AND reason NOT LIKE 'active%' ORDER BY 1;
SELECT subscription, matches, rule, reason ~ '^active, at log position [0-9]+$' FROM atp.events e, atp.explain_routing(e.event_id) r WHERE e.stream = 'basket-4' AND matches AND subscription LIKE 'rule-%' ORDER BY 1;
SELECT atp.explain_routing('00000000-0000-0000-0000-000000000000');
SELECT s.subscription, string_agg(c.payload ->> 'total', ' ' ORDER BY c.log_position) = matched(s.subscription) AS as_explained
	FROM atp.subscriptions s LEFT JOIN LATERAL atp.claim_events(s.subscription, 100) c ON true WHERE s.subscription LIKE 'rule-%' GROUP BY 1 ORDER BY 1;
SELECT count(atp.drop_subscription(subscription)) FROM atp.list_subscriptions() WHERE subscription LIKE 'rule-%';

-- changes while leased
SELECT atp.create_subscription('changes', categories => '{basket,booking}', start_at => :'base', partitions => 1) IS NOT NULL AS made;
CREATE TABLE leased AS SELECT * FROM atp.claim_events('changes', 2);
SELECT atp.alter_subscription('changes', partitions => 3, max_attempts => 7, time_to_live => '1 day');
SELECT atp.alter_subscription('changes', clear => '{time_to_live}', lock_duration => '1 hour');
SELECT state, categories, partitions, next_partitions, max_attempts, time_to_live, lock_duration FROM atp.get_subscription('changes');
SELECT atp.alter_subscription('changes', clear => '{partitions}');
SELECT atp.alter_subscription('changes', filter => '$.');
SELECT atp.ack_events('changes', max(lease::text)::uuid) FROM leased;
INSERT INTO leased SELECT * FROM atp.claim_events('changes', 100);
SELECT partitions, next_partitions, (SELECT count(*) FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription x USING (subscription) WHERE x.name = 'changes') AS cursors
	FROM atp.get_subscription('changes');
SELECT count(*), count(DISTINCT event_id) FROM leased;
-- pause, seek
SELECT atp.pause_subscription('changes');
SELECT count(*) FROM atp.claim_events('changes', 100);
SELECT atp.seek_subscription('changes', :base) = :base AS sought, atp.resume_subscription('changes');
TRUNCATE leased;
INSERT INTO leased SELECT * FROM atp.claim_events('changes', 3);
SELECT atp.seek_subscription('changes', :base + 5) = :base + 5 AS sought;
SELECT atp.ack_events('changes', lease) FROM leased LIMIT 1;
SELECT log_position - :base AS n FROM atp.claim_events('changes', 100);
SELECT atp.seek_subscription('changes', at => (SELECT published_at FROM atp_internal.log WHERE log_position = :base + 1)) = :base AS sought;
SELECT atp.seek_subscription('changes');
SELECT atp.seek_subscription('changes', -1);
-- a tenant suspended: claims pause, nothing is lost
SELECT count(*) FROM atp.claim_events('changes', 2);
SELECT state, condition, lag_events, in_flight, consumers, retries, dead_letters, oldest_unacked_at IS NOT NULL AS has_oldest FROM atp.subscription_status WHERE subscription = 'changes';
SELECT atp.suspend_tenant('default');
SELECT count(*) FROM atp.claim_events('changes', 2);
SELECT state, condition FROM atp.subscription_status WHERE subscription = 'changes';
SELECT atp.reactivate_tenant('default');
SELECT count(*) BETWEEN 1 AND 6 AS goes_on FROM atp.claim_events('changes', 100);
SELECT state, lag_events, in_flight BETWEEN 3 AND 8 AS in_flight FROM atp.subscription_status WHERE subscription = 'changes';
-- a limit on what is in flight
SELECT atp.seek_subscription('changes', :base) = :base AS sought, atp.alter_subscription('changes', max_in_flight => 3);
SELECT count(*) FROM atp.claim_events('changes', 2);
SELECT count(*) FROM atp.claim_events('changes', 2);
SELECT count(*) FROM atp.claim_events('changes', 2);
-- time to live
SELECT atp.seek_subscription('changes', :base) = :base AS sought, atp.alter_subscription('changes', clear => '{max_in_flight}', time_to_live => '1 us');
SELECT count(*) FROM atp.claim_events('changes', 100);
SELECT reason, count(*) FROM atp.dead_letter WHERE subscription = 'changes' GROUP BY 1;
SELECT condition, lag_events, dead_letters FROM atp.subscription_status WHERE subscription = 'changes';
SELECT atp.wait_for_events('changes', '0'), atp.wait_for_events('changes', '10 ms');
SELECT atp.drop_subscription('changes');
SELECT atp.claim_events('changes', 1);

-- waited for (test/tap/delivery.pl hears the announcement)
SELECT atp.create_subscription('news', categories => '{news}', start_at => 'end', notify => true) IS NOT NULL AS made;
SELECT stream_version, event_id AS e FROM atp.append_event('news-1', 'NewsMade') \gset
SELECT atp.tick() >= 0 AS ticked;
SELECT atp.wait_for_event(:'e') IS NOT NULL AS placed;
SELECT atp.wait_for_events('news', '5 s');
SELECT atp.drop_subscription('news');

-- scheduled
SELECT atp.schedule_event(now() + interval '1 day', 'scheduled-1', 'ThingScheduled', '{"n": 1}') AS s \gset
SELECT stream, event_type, payload, attempts FROM atp.scheduled_event;
SELECT atp.cancel_scheduled_event(:s), atp.cancel_scheduled_event(:s);
SELECT atp.schedule_event(now(), 'no stream', 'ThingScheduled');
SELECT atp.schedule_event(now(), 'scheduled-1', 'ScheduleThing');
SELECT atp.schedule_event(NULL, 'scheduled-1', 'ThingScheduled');
SELECT atp.schedule_event(now(), 'scheduled-1', 'ThingScheduled', '{"n": 2}') IS NOT NULL AS scheduled;
SELECT atp.append_due_events() <= 1 AS appended;
DO $$ BEGIN FOR i IN 1..100 LOOP EXIT WHEN NOT EXISTS (SELECT FROM atp.scheduled_event); PERFORM pg_sleep(0.05); END LOOP; END $$;
SELECT count(*) FROM atp.scheduled_event;
SELECT payload FROM atp.events WHERE stream = 'scheduled-1';

-- the delay after an attempt
SELECT n, atp.compute_backoff('{"initial": 0.5, "maximum": 3, "factor": 2, "jitter": "none"}', n) FROM generate_series(1, 5) n;
SELECT atp.compute_backoff(NULL, 3) BETWEEN '0' AND '4 seconds' AS at_most;
SELECT atp.compute_backoff('{"factor": 0}', 1);
SELECT atp.compute_backoff('{}', 0);
SELECT atp.compute_backoff('{}', NULL);
DROP FUNCTION matched(text);
DROP TABLE leased;

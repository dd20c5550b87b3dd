-- Rules that change while events are leased: a lease keeps what it holds, and nothing is lost or given twice.
\set VERBOSITY terse
SELECT count((atp.append_event('rules-' || i % 2, CASE WHEN i % 3 = 0 THEN 'RuleBent' ELSE 'RuleKept' END, jsonb_build_object('n', i))).hash) FROM generate_series(1, 12) i;
SELECT atp.tick() >= 0 AS ticked;
SELECT max(log_position) - 12 AS base FROM atp_internal.log \gset
CREATE VIEW pg_temp.cursors AS SELECT s.name, acked, lease_count, lease_last, held, settled, retries, lease IS NOT NULL AS leased
	FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription);
CREATE FUNCTION pg_temp.make(name text, types text[], start_at bigint) RETURNS void LANGUAGE sql AS $$
	SELECT atp.create_subscription(name, event_types => types, partitions => 1, start_at => start_at::text,
		backoff => '{"initial": 1000, "maximum": 1000, "jitter": "none"}') $$;

-- narrowed: what is leased can be nacked and acked all the same, and is counted right
SELECT pg_temp.make('narrow', '{Rule*}', :base);
SELECT lease AS l, array_agg(event_id ORDER BY log_position) AS e, count(*) FROM atp.claim_events('narrow', 6) GROUP BY 1 \gset
SELECT atp.alter_subscription('narrow', event_types => '{RuleBent}');
SELECT lease_count, array(SELECT h - :base FROM unnest(held) h) AS held FROM pg_temp.cursors WHERE name = 'narrow';
SELECT atp.ack_events('narrow', :'l', :base + 1) AS acked;
SELECT outcome, cardinality(withdrawn) AS withdrawn FROM atp.nack_event('narrow', :'l', (:'e'::uuid[])[2], 'no answer');
SELECT lease_count, array(SELECT s - :base FROM unnest(settled) s) AS settled FROM pg_temp.cursors WHERE name = 'narrow';
SELECT atp.ack_events('narrow', :'l') AS acked;
SELECT log_position - :base AS n FROM atp.claim_events('narrow', 10);
SELECT atp.drop_subscription('narrow');

-- widened: a nack takes no other event along, and the lease does not end before what it holds
SELECT pg_temp.make('wide', '{RuleBent}', :base);
SELECT lease AS l, array_agg(event_id ORDER BY log_position) AS e, array_agg(log_position - :base) AS n FROM atp.claim_events('wide', 3) GROUP BY 1 \gset
SELECT atp.alter_subscription('wide', clear => '{event_types}');
SELECT :'n' AS leased, outcome, cardinality(withdrawn) AS withdrawn FROM atp.nack_event('wide', :'l', (:'e'::uuid[])[1], 'no answer');
SELECT lease_count, leased, retries FROM pg_temp.cursors WHERE name = 'wide';
SELECT outcome FROM atp.nack_event('wide', :'l', (SELECT event_id FROM atp_internal.log WHERE log_position = :base + 4), 'not in it');
SELECT atp.ack_events('wide', :'l', :base + 8) AS acked;
-- the rest of the lease is one withdrawn event: it ends by itself
SELECT lease_count, leased, acked - :base AS acked, held FROM pg_temp.cursors WHERE name = 'wide';
SELECT log_position - :base AS n FROM atp.claim_events('wide', 10);
SELECT atp.drop_subscription('wide');

-- changed twice, and the lease expires: what it passed over stays so, what today's rules do not take is not given again, attempts are those of the events
SELECT pg_temp.make('twice', '{RuleBent}', :base);
SELECT atp.alter_subscription('twice', lock_duration => '1 ms', max_attempts => 2);
SELECT array_agg(log_position - :base) AS n FROM atp.claim_events('twice', 3);
SELECT atp.alter_subscription('twice', event_types => '{Rule*}');
SELECT atp.alter_subscription('twice', filter => '$.data.n > 3');
SELECT pg_sleep(0.01);
SELECT log_position - :base AS n, attempt FROM atp.claim_events('twice', 1);
SELECT pg_sleep(0.01);
SELECT atp.alter_subscription('twice', lock_duration => '1 hour');
SELECT lease AS l, log_position - :base AS n, attempt FROM atp.claim_events('twice', 1) \gset
SELECT :n AS n, :attempt AS attempt, atp.ack_events('twice', :'l') AS acked;
SELECT log_position - :base AS n, attempt FROM atp.claim_events('twice', 10);
SELECT log_position - :base AS n, reason FROM atp_internal.dead_letter d JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'twice' ORDER BY 1;
SELECT atp.drop_subscription('twice');

-- sought while leased: nothing of it is left
SELECT pg_temp.make('sought', '{RuleBent}', :base);
SELECT count(*) FROM atp.claim_events('sought', 3);
SELECT atp.alter_subscription('sought', event_types => '{RuleKept}'), atp.seek_subscription('sought', :base) - :base AS sought;
SELECT array_agg(log_position - :base) AS n FROM atp.claim_events('sought', 3);
SELECT held FROM pg_temp.cursors WHERE name = 'sought';
SELECT atp.drop_subscription('sought');

-- the last event nacked, those before it acked: the partition is free at once, not when the lease expires
SELECT pg_temp.make('last', NULL, :base);
SELECT lease AS l, array_agg(event_id ORDER BY log_position) AS e FROM atp.claim_events('last', 3) GROUP BY 1 \gset
SELECT outcome FROM atp.nack_event('last', :'l', (:'e'::uuid[])[3], 'no answer');
SELECT atp.ack_events('last', :'l', :base + 2) AS acked;
SELECT leased, lease_count FROM pg_temp.cursors WHERE name = 'last';
SELECT log_position - :base AS n FROM atp.claim_events('last', 3);
SELECT atp.drop_subscription('last');

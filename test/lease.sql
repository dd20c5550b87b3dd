-- What ends a lease of the log: acks and nacks in any order, also when the rules of the subscription change under it.
SELECT atp.create_subscription('s', partitions => 1, event_types => '{ThingAdded}', backoff => '{"initial": 60, "maximum": 60, "jitter": 0}') >= 0;
SELECT count(s) FROM (VALUES ('thing-1', 'ThingAdded'), ('thing-1', 'ThingChanged'), ('thing-2', 'ThingAdded'), ('thing-3', 'ThingAdded')) v (stream, event_type),
	atp.append_event(v.stream, v.event_type) s;
SELECT atp.tick() >= 0;
BEGIN;
SELECT plan(13);
CREATE TEMP TABLE leased AS SELECT * FROM atp.claim_events('s', 10);
SELECT is((SELECT string_agg(stream, ' ' ORDER BY log_position) FROM leased), 'thing-1 thing-2 thing-3', 'three events are leased');
CREATE FUNCTION pg_temp.nack(stream text) RETURNS text LANGUAGE sql AS
	$$ SELECT (atp.nack_event('s', l.lease, l.event_id, 'no')).outcome FROM leased l WHERE l.stream = nack.stream $$;
CREATE FUNCTION pg_temp.ack(stream text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT atp.ack_events('s', l.lease, l.log_position) FROM leased l WHERE l.stream = ack.stream $$;
CREATE VIEW pg_temp.lease AS SELECT CASE WHEN lease IS NULL THEN 'over' ELSE lease_count || ' left' END FROM atp_internal.subscription_cursor;

-- the last event fails, the others are acked up to it
SAVEPOINT before;
SELECT is(pg_temp.nack('thing-3'), 'retry', 'the last event fails');
SELECT is(pg_temp.ack('thing-1'), 1::bigint, 'the first is acked');
SELECT is((TABLE pg_temp.lease), '1 left', 'one is left');
SELECT is(pg_temp.ack('thing-2'), 1::bigint, 'it is acked by its position');
SELECT is((TABLE pg_temp.lease), 'over', 'an ack that leaves nothing ends the lease, as a nack does');
ROLLBACK TO before;

-- rules that want more than was leased: what is withdrawn behind the failed event was never counted
SELECT atp.alter_subscription('s', clear => '{event_types}');
SELECT is(pg_temp.nack('thing-1'), 'retry', 'an event fails under wider rules');
SELECT is(pg_temp.nack('thing-2'), 'retry', 'a second, too');
SELECT isnt((TABLE pg_temp.lease), 'over', 'the third is still leased');
SELECT is(pg_temp.ack('thing-3'), 1::bigint, 'and can be acked');
SELECT is((TABLE pg_temp.lease), 'over', 'which ends the lease');
ROLLBACK TO before;

-- an ack of a part that counts what was not leased
SELECT atp.alter_subscription('s', clear => '{event_types}');
SELECT pg_temp.ack('thing-2');
SELECT isnt((TABLE pg_temp.lease), 'over', 'wider rules do not end a lease early');
SELECT is(pg_temp.nack('thing-3'), 'retry', 'its last event can be given back');

SELECT * FROM finish();
ROLLBACK;

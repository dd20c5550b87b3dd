-- Claims in versions that their consumer accepts.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SELECT atp.register_event_type('ParcelSent', compatibility => 'NONE');
SELECT stream_version FROM atp.append_event('formed-1', 'ParcelSent', '{"id": 1, "zip": "1010"}');
SELECT atp.register_schema('ParcelSent', '{"required": ["id", "zip"]}');
SELECT stream_version FROM atp.append_event('formed-1', 'ParcelSent', '{"id": 2, "zip": "1020"}');
SELECT stream_version FROM atp.append_event('formed-2', 'ParcelSent', '{"id": 3, "zip": 7}');
SELECT atp.register_schema('ParcelSent', '{"required": ["id", "postcode"]}');
SELECT stream_version FROM atp.append_event('formed-3', 'ParcelSent', '{"id": 4, "postcode": "1040"}');
SELECT stream_version FROM atp.append_event('formed-2', 'ParcelSent', '{"id": 5, "postcode": "1050"}');
SELECT stream_version FROM atp.append_event('formed-4', 'ParcelLost', '{"id": 6}');
SELECT atp.register_upcaster('ParcelSent', 0, '[]');
CREATE FUNCTION public.to_postcode(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF jsonb_typeof($1 -> 'zip') <> 'string' THEN
		RAISE EXCEPTION 'no zip';
	END IF;
	RETURN $1 - 'zip' || jsonb_build_object('postcode', $1 -> 'zip');
END $$;
SELECT atp.register_upcaster('ParcelSent', 1, function => 'public.to_postcode(jsonb)');
SELECT atp.tick() >= 0 AS ticked;
SELECT min(log_position) - 1 AS base FROM atp_internal.log JOIN atp_internal.event_type USING (event_type) WHERE name = 'ParcelSent' \gset
SELECT atp.create_subscription('parcels', categories => '{formed}', partitions => 1, start_at => :'base', max_attempts => 2,
	backoff => '{"initial": 1000, "maximum": 1000, "jitter": "none"}') = :base AS made;

-- as they are stored, and as negotiated; claiming and rolling back changes nothing
BEGIN;
SELECT log_position - :base AS n, schema_version, payload FROM atp.claim_events('parcels');
ROLLBACK;
-- the event that the upcaster fails on is to be tried again, and its key waits behind it; the others come
SELECT log_position - :base AS n, stream, schema_version, payload, attempt FROM atp.claim_events('parcels', accept_versions => '{"ParcelSent": 2}');
SELECT log_position - :base AS n, attempts, lease IS NULL AS free, failed_at IS NOT NULL AS failed, regexp_replace(last_error, 'Event [^.]*', 'Event X') AS last_error
	FROM atp_internal.retry ORDER BY 1;
SELECT lease AS l FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'parcels' \gset
SELECT atp.ack_events('parcels', :'l');
-- due again it fails again, and that was the last attempt; then its key goes on
UPDATE atp_internal.retry SET due_at = now() - interval '1 s';
UPDATE atp_internal.subscription_cursor SET retry_due_at = now();
SELECT log_position - :base AS n, stream, schema_version, attempt FROM atp.claim_events('parcels', accept_versions => '{"ParcelSent": 2}');
SELECT log_position - :base AS n, attempts, reason, regexp_replace(last_error, 'Event [^.]*', 'Event X') AS last_error FROM atp_internal.dead_letter;
-- no version that can be had: the claim is refused, and leases nothing
SELECT atp.seek_subscription('parcels', :base) = :base AS sought;
SELECT count(*) FROM atp.claim_events('parcels', accept_versions => '{"ParcelSent": 9}');
SELECT count(*) FROM atp.claim_events('parcels', accept_versions => '7');
SELECT in_flight FROM atp.subscription_status WHERE subscription = 'parcels';
-- mended, all of them come
CREATE OR REPLACE FUNCTION public.to_postcode(jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT $1 - 'zip' || jsonb_build_object('postcode', $1 ->> 'zip')$$;
SELECT log_position - :base AS n, schema_version, payload, attempt FROM atp.claim_events('parcels', accept_versions => '"active"');
-- deferred ones, too
SELECT outcome FROM (SELECT lease, event_id FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription),
	(SELECT event_id FROM atp_internal.log WHERE log_position = :base + 2) e WHERE s.name = 'parcels') x, atp.defer_event('parcels', lease, event_id);
SELECT log_position - :base AS n, schema_version, payload FROM atp.claim_deferred_events('parcels', ARRAY[:base + 2], accept_versions => '{"ParcelSent": 2}');
SELECT atp.drop_subscription('parcels');
DROP FUNCTION public.to_postcode(jsonb);

-- what is never stored cannot be subscribed to
SELECT atp.create_subscription('streams', event_types => '{EventAddedToStream}');
SELECT atp.create_subscription('streams', event_types => '{Stream*}') >= 0 AS made;
SELECT atp.alter_subscription('streams', event_types => '{EventClassified}');
SELECT atp.drop_subscription('streams');

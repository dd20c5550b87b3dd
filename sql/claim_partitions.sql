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

-- Dead letters: made by failures, listed, replayed once, purged. Session state goes with its subscription.
\set VERBOSITY terse
SELECT atp.create_subscription('letters', categories => '{letter}', start_at => 'end', partitions => 2, max_attempts => 1, filter => 'strict $.data.n ? (@ > 0)') IS NOT NULL AS made;
SELECT count((atp.append_event('letter-' || i % 3, 'LetterSent', CASE i WHEN 4 THEN '{"x": 1}' ELSE jsonb_build_object('n', i) END)).stream_version) FROM generate_series(0, 7) i;
SELECT atp.tick() >= 0 AS ticked;
-- one does not match, one makes the filter raise
SELECT stream, payload FROM atp.claim_events('letters', 100, 'me');
SELECT lease AS l FROM atp_internal.subscription_cursor c JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'letters' AND c.lease IS NOT NULL ORDER BY c.generation DESC LIMIT 1 \gset
SELECT stream, event_type, reason, last_error, attempts FROM atp.dead_letter;
SELECT e.payload, (atp.nack_event('letters', :'l', e.event_id, 'wrong ' || (payload ->> 'n'), permanent => (payload ->> 'n')::int < 3)).outcome
	FROM atp.events e WHERE stream LIKE 'letter-%' AND (payload ->> 'n')::int IN (1, 2, 3, 5) ORDER BY e.event_id;
SELECT atp.ack_events('letters', :'l');
SELECT stream, reason, last_error, attempts, consumer FROM atp.list_dead_letters('{"subscription": "letters"}');
SELECT atp.count_dead_letters('{"reason": "FilterError"}'), atp.count_dead_letters('{"stream": "letter-1", "replayed": false}');
SELECT atp.list_dead_letters('{"nobody": 1}');
-- replay: a look first, then a part, then the rest, then nothing is left
SELECT stream, last_error FROM atp.replay_dead_letters('{"reason": "PermanentFailure"}', dry_run => true) r JOIN atp.dead_letter USING (dead_letter) ORDER BY dead_letter;
SELECT count(*) FROM atp.replay_dead_letters('{"reason": "PermanentFailure"}', max_count => 1);
SELECT stream, last_error FROM atp.replay_dead_letters('{"reason": "PermanentFailure"}') r JOIN atp.dead_letter USING (dead_letter) ORDER BY dead_letter;
SELECT count(*) FROM atp.replay_dead_letters('{"reason": "PermanentFailure"}');
CREATE TABLE redelivered AS SELECT * FROM atp.claim_events('letters', 100);
INSERT INTO redelivered SELECT * FROM atp.claim_events('letters', 100);
SELECT r.stream, r.payload, r.attempt, r.redelivered, d.reason FROM redelivered r JOIN atp.dead_letter d ON d.dead_letter = r.redelivery_of ORDER BY r.log_position;
-- one succeeds, one fails again
SELECT (atp.nack_event('letters', lease, event_id, 'wrong again')).outcome FROM redelivered WHERE payload ->> 'n' = '2';
SELECT atp.ack_events('letters', lease) FROM redelivered WHERE payload ->> 'n' = '1';
SELECT n.stream, n.last_error, o.last_error AS redelivery_of FROM atp.dead_letter n JOIN atp.dead_letter o ON o.dead_letter = n.redelivery_of;
-- the rate spaces what becomes due
SELECT round(extract(epoch FROM max(due_at) - min(due_at))) AS seconds FROM atp.replay_dead_letters('{"reason": "MaxAttemptsExceeded"}', rate => 0.5);
SELECT atp.purge_dead_letters();
SELECT atp.purge_dead_letters('0', '{"replayed": true}'), atp.purge_dead_letters('0', max_count => 1);
SELECT atp.count_dead_letters();
UPDATE atp_internal.dead_letter SET reason = '';
SELECT atp.set_session_state('letters', 'letter-1', '{"seen": 1}'), atp.set_session_state('letters', 'letter-1', '{"seen": 2}');
SELECT atp.get_session_state('letters', 'letter-1'), atp.get_session_state('letters', 'letter-2');
SELECT atp.set_session_state('letters', 'letter-1', NULL);
SELECT atp.get_session_state('letters', 'letter-1');
SELECT atp.set_session_state('letters', 'letter-1', '1');
SELECT atp.drop_subscription('letters');
SELECT count(*) FROM atp_internal.session_state;
SELECT atp.get_session_state('letters', 'letter-1');
DROP TABLE redelivered;
-- A filter that raises though it is run silently (a date beside a time with a zone) does not hold up its subscription, and explains itself.
SELECT atp.create_subscription('zones', categories => '{zone}', start_at => 'end', partitions => 1, filter => '$.data.at.datetime() < "2020-01-01T00:00:00+00:00".datetime()') IS NOT NULL AS made;
SELECT count((atp.append_event('zone-' || a, 'ZoneLeft', jsonb_build_object('at', a))).stream_version) FROM unnest('{2019-01-01,2019-01-01T00:00:00+00:00,2021-01-01T00:00:00+00:00}'::text[]) a;
SELECT atp.tick() >= 0 AS ticked;
SELECT stream FROM atp.claim_events('zones');
SELECT stream, reason, last_error FROM atp.list_dead_letters('{"subscription": "zones"}');
SELECT matches, rule, reason FROM atp.events e, atp.explain_routing(e.event_id) r WHERE e.stream = 'zone-2019-01-01' AND r.subscription = 'zones';
SELECT atp.drop_subscription('zones');

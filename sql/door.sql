-- The door: batches, INSERT and COPY into the view, and what it refuses.
SELECT stream_version, deduplicated FROM atp.append_events('door-1', '[
	{"event_type": "ThingAdded", "payload": {"n": 1}, "metadata": {"actor": "me"}},
	{"event_type": "ThingAdded", "occurred_at": "2026-01-01T00:00:00Z"},
	{"event_type": "ThingRemoved", "payload": {"n": 1}}]', 0);
SELECT count(*) FROM atp.append_events('door-1', '[]');
-- several streams, in the order given
SELECT stream_version FROM atp.append_events(NULL, '[{"stream": "door-3", "event_type": "ThingAdded"}, {"stream": "door-2", "event_type": "ThingAdded"},
	{"stream": "door-3", "event_type": "ThingAdded"}]');
-- ids as uuid and as ULID text
SELECT count(*) FROM (SELECT atp.ulid() AS u) u, atp.append_events('door-4', jsonb_build_array(
	jsonb_build_object('event_type', 'ThingAdded', 'event_id', u.u), jsonb_build_object('event_type', 'ThingAdded', 'event_id', atp.create_event_id())));
\set VERBOSITY terse
SELECT * FROM atp.append_events('door-1', '{}');
SELECT * FROM atp.append_events('door-1', NULL);
\set VERBOSITY default
SELECT * FROM atp.append_events('door-1', '[1]');
SELECT * FROM atp.append_events('door-1', '[{"payload": {}}]');
SELECT * FROM atp.append_events('door-1', '[{"event_type": "ThingAdded", "playload": {}}]');
SELECT * FROM atp.append_events('door-1', '[{"event_type": "ThingAdded", "stream": "door-2"}]');
SELECT * FROM atp.append_events(NULL, '[{"event_type": "ThingAdded"}]');
SELECT * FROM atp.append_events(NULL, '[{"stream": "door-3", "event_type": "ThingAdded"}, {"stream": "door-2", "event_type": "ThingAdded"}]', 1);
SELECT * FROM atp.append_events('door-1', '[{"event_type": "ThingAdded"}, {"event_type": "AddThing"}]');
SELECT version FROM atp.streams WHERE stream = 'door-1';
-- the view
INSERT INTO atp.events (stream, event_type, payload, metadata) VALUES ('door-5', 'ThingAdded', '{"v": 1}', '{"actor": "me"}')
	RETURNING tenant, stream, stream_version, event_id IS NOT NULL AS has_id, octet_length(hash) AS hash_size, recorded_at = occurred_at AS same_time;
INSERT INTO atp.events (stream, event_type) SELECT 'door-5', 'ThingAdded' FROM generate_series(1, 10);
INSERT INTO atp.events (stream, event_type, stream_version) VALUES ('door-5', 'ThingAdded', 12);
INSERT INTO atp.events (stream, event_type, stream_version) VALUES ('door-5', 'ThingAdded', 12);
INSERT INTO atp.events (stream, event_type, idempotency_key) VALUES ('door-5', 'ThingAdded', 'x'), ('door-5', 'ThingAdded', 'x') RETURNING stream_version;
INSERT INTO atp.events (stream, event_type, hash) VALUES ('door-5', 'ThingAdded', '\x00');
INSERT INTO atp.events (stream, event_type, stream_version) VALUES ('door-5', 'ThingAdded', 0);
INSERT INTO atp.events (event_type) VALUES ('ThingAdded');
COPY atp.events (stream, event_type, payload) FROM stdin;
door-6	ThingAdded	{"c": 1}
door-6	ThingAdded	{"c": 2}
door-7	ThingAdded	{"c": 3}
\.
COPY atp.events (stream, event_type, payload) FROM stdin;
door-6	ThingAdded	{"c": 4}
door-6	AddThing	{"c": 5}
\.
-- rows of COPY are written some at a time: more than those, in the order of the file, with versions, ids and keys among them
\copy atp.events (stream, event_type, payload) FROM PROGRAM 'seq 1 250 | awk ''{ print "copy-" $1 % 3 "|ThingAdded|{\"n\": " $1 "}" }''' WITH (FORMAT csv, DELIMITER '|', QUOTE '^')
SELECT stream, count(*), min(stream_version), max(stream_version) FROM atp.events WHERE stream LIKE 'copy-%' GROUP BY 1 ORDER BY 1;
SELECT count(*) AS out_of_order FROM (SELECT (e.payload->>'n')::int - lag((e.payload->>'n')::int) OVER (ORDER BY e.seq) AS step
	FROM atp_internal.event e JOIN atp_internal.stream s ON s.stream = e.stream WHERE s.name LIKE 'copy-%') d WHERE step <> 1;
COPY atp.events (stream, event_type, stream_version, idempotency_key) FROM stdin;
door-8	ThingAdded	1	\N
door-8	ThingAdded	2	\N
door-8	ThingAdded	3	k
door-8	ThingAdded	\N	k2
door-8	ThingAdded	\N	k2
door-8	ThingAdded	5	\N
\.
COPY atp.events (stream, event_type, stream_version) FROM stdin;
door-8	ThingAdded	6
door-8	ThingAdded	6
door-8	ThingAdded	7
\.
SELECT stream_version FROM atp.events WHERE stream = 'door-8' ORDER BY 1;
-- more streams than heads are held, each again and again
SET atp.stream_heads = 16;
\copy atp.events (stream, event_type) FROM PROGRAM 'seq 1 120 | awk ''{ print "wide-" $1 % 40 "|ThingAdded" }''' WITH (DELIMITER '|')
RESET atp.stream_heads;
SELECT count(*), min(version), max(version) FROM atp.streams WHERE stream LIKE 'wide-%';
-- taken back: by an error, by a savepoint
BEGIN;
SAVEPOINT a;
\copy atp.events (stream, event_type) FROM PROGRAM 'seq 1 150 | awk ''{ print "copy-0|" ($1 == 150 ? "AddThing" : "ThingAdded") }''' WITH (DELIMITER '|')
ROLLBACK TO a;
\copy atp.events (stream, event_type) FROM PROGRAM 'seq 1 30 | awk ''{ print "copy-0|ThingAdded" }''' WITH (DELIMITER '|')
ROLLBACK TO a;
INSERT INTO atp.events (stream, event_type) VALUES ('copy-0', 'ThingAdded') RETURNING stream_version;
COMMIT;
-- a function that the condition of COPY calls appends to the same stream: its rows are its own, whatever becomes of them
CREATE FUNCTION door_nested() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
	at bigint;
BEGIN
	BEGIN
		INSERT INTO atp.events (stream, event_type, payload) VALUES ('copy-1', 'ThingAdded', '{"gone": 1}');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
	END;
	INSERT INTO atp.events (stream, event_type, payload) VALUES ('copy-1', 'ThingAdded', '{"nested": 1}') RETURNING stream_version INTO at;
	RETURN at IS NOT NULL;
END $$;
COPY atp.events (stream, event_type) FROM stdin WHERE door_nested();
copy-1	ThingAdded
copy-1	ThingAdded
\.
SELECT stream_version, payload FROM atp.events WHERE stream = 'copy-1' ORDER BY 1 DESC LIMIT 5;
SELECT ok, checked FROM atp.verify_stream('copy-1');
DROP FUNCTION door_nested();
SELECT bool_and(v.ok) AS all_ok FROM atp.streams s, atp.verify_stream(s.stream) v WHERE s.stream ~ '^(copy|wide)-';
UPDATE atp.events SET payload = '{}' WHERE stream = 'door-6';
DELETE FROM atp.events WHERE stream = 'door-6';
DELETE FROM atp.events WHERE false;
SELECT stream, stream_version, payload FROM atp.events WHERE stream IN ('door-6', 'door-7') ORDER BY 1, 2;
SELECT bool_and(v.ok) AS all_ok FROM atp.streams s, atp.verify_stream(s.stream) v WHERE s.stream LIKE 'door-%';
-- without the role, no door
CREATE ROLE regress_stranger;
SET ROLE regress_stranger;
SELECT atp.append_event('door-1', 'ThingAdded', '{}');
INSERT INTO atp.events (stream, event_type) VALUES ('door-1', 'ThingAdded');
SELECT count(*) FROM atp.events;
RESET ROLE;
DROP ROLE regress_stranger;

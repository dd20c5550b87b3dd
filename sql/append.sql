-- The append: versions, expectations, isolation levels, where it is refused.
SELECT stream_version FROM atp.append_event('append-1', 'ThingAdded', '{"a": 1}', 0);
SELECT atp.append_event('append-1', 'ThingAdded', '{"a": 1}', 0);
SELECT atp.append_event('append-2', 'ThingAdded', '{"a": 1}', -1);
SELECT atp.append_event('append-2', 'ThingAdded', '{"a": 1}', 3);
SELECT atp.append_event('append-2', 'ThingAdded', '{"a": 1}', -2);
SELECT stream_version FROM atp.append_event('append-1', 'ThingAdded', '{"a": 2}', -1);
SELECT stream_version FROM atp.append_event('append-1', 'ThingAdded', '{"a": 3}', 2);
SELECT atp.append_event('append-1', 'ThingAdded', '{"a": 3}', 2);
-- what is stored is canonical text, and what is hashed
SELECT stream_version FROM atp.append_event('append-3', 'ThingAdded', '{"b": 1.10, "a": "\u20ac", "c": [1e2, -0.0, 12345678901234567890123456789]}');
SELECT payload::text FROM atp.read_stream('append-3');
-- the chain: each link continues the one before
SELECT stream_version, previous_hash = lag(hash, 1, decode(repeat('00', 32), 'hex')) OVER (ORDER BY stream_version) AS linked
FROM atp.events WHERE stream = 'append-1' ORDER BY 1;
SELECT encode(sha256('\x6174702f7061796c6f61642f763100'::bytea || substr(e.salts, 1, 16) || int4send(octet_length(e.payload::text)) ||
	convert_to(e.payload::text, 'UTF8') || int4send(0)), 'hex') ~ '^[0-9a-f]{64}$' AS an_auditor_can_recompute_it
FROM atp_internal.event e JOIN atp_internal.stream s USING (stream) WHERE s.name = 'append-3';
-- isolation levels, one session
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT stream_version FROM atp.append_event('append-4', 'ThingAdded', '{}');
SELECT stream_version FROM atp.append_event('append-4', 'ThingAdded', '{}');
COMMIT;
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT stream_version FROM atp.append_event('append-4', 'ThingAdded', '{}');
SELECT stream_version FROM atp.append_event('append-5', 'ThingAdded', '{}');
COMMIT;
-- refused where nothing can be written
BEGIN READ ONLY;
SELECT atp.append_event('append-1', 'ThingAdded', '{}');
ROLLBACK;
-- two-phase commit
BEGIN;
SELECT stream_version FROM atp.append_event('append-6', 'ThingAdded', '{}');
SELECT stream_version FROM atp.append_event('append-6', 'ThingAdded', '{}');
PREPARE TRANSACTION 'append';
SELECT count(*) FROM atp.events WHERE stream = 'append-6';
COMMIT PREPARED 'append';
SELECT stream_version FROM atp.append_event('append-6', 'ThingAdded', '{}', 2);
-- one statement, many appends
SELECT max((atp.append_event('append-7', 'ThingAdded', jsonb_build_object('n', n))).stream_version) FROM generate_series(1, 500) n;
SELECT stream, version FROM atp.streams WHERE stream LIKE 'append-%' ORDER BY 1;
SELECT bool_and(v.ok) AS all_ok FROM atp.streams s, atp.verify_stream(s.stream) v WHERE s.stream LIKE 'append-%';

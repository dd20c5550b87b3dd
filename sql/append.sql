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
-- an auditor recomputes a hash from what is stored with nothing but sha256(): src/core/record.h has the layout
CREATE FUNCTION pg_temp.unix(at timestamptz) RETURNS bytea RETURN int8send((extract(epoch FROM at) * 1000000)::bigint);
CREATE FUNCTION pg_temp.lp(part bytea) RETURNS bytea RETURN int4send(octet_length(part)) || part;
CREATE FUNCTION pg_temp.commitment(tag text, salt bytea, document json) RETURNS bytea
	RETURN sha256(convert_to(tag, 'UTF8') || '\x00'::bytea || salt || pg_temp.lp(convert_to(document::text, 'UTF8')) || int4send(0));
SELECT s.name, e.stream_version, e.hash = sha256('\x00'::bytea || 'atp/event/v1'::bytea || '\x000100'::bytea || uuid_send(t.log_uid) || uuid_send(s.stream_uid) ||
	int8send(e.stream_version) || uuid_send(e.event_id) || pg_temp.lp(y.name::bytea) || int4send(e.schema_version) ||
	pg_temp.unix(e.occurred_at) || pg_temp.unix(e.recorded_at) ||
	pg_temp.commitment('atp/payload/v1', substr(e.salts, 1, 16), e.payload) || pg_temp.commitment('atp/meta/v1', substr(e.salts, 17, 16), e.metadata) ||
	lag(e.hash, 1, decode(repeat('00', 32), 'hex')) OVER (PARTITION BY s.stream ORDER BY e.stream_version)) AS recomputed
FROM atp_internal.event e JOIN atp_internal.stream s USING (stream, tenant) JOIN atp_internal.tenant t USING (tenant) JOIN atp_internal.event_type y USING (event_type)
WHERE s.name IN ('append-1', 'append-3') ORDER BY 1, 2;
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

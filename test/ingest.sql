-- Ingestion: an item that raises is found and set aside, the rest is kept in order; events meet their schemas; repetitions; privileges.
BEGIN;
SELECT plan(51);
SET LOCAL atp.schema_format_assertion = on;
SELECT atp.onboard_tenant('t');
SET LOCAL atp.tenant = 't';

CREATE FUNCTION pg_temp.item(n int, resource text, extra jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS
	$$SELECT jsonb_build_object('actor', 'a', 'action', 'b', 'resource', resource, 'payload', jsonb_build_object('n', n)) || extra$$;
-- Items of one stream, of which those at the numbers given are larger than the limit.
CREATE FUNCTION pg_temp.batch(total int, resource text, large int[]) RETURNS jsonb LANGUAGE sql AS
	$$SELECT jsonb_agg(pg_temp.item(n, resource, CASE WHEN n = ANY (large) THEN jsonb_build_object('payload', jsonb_build_object('n', n, 'x', repeat('x', 4000)))
		ELSE '{}' END) ORDER BY n) FROM generate_series(1, total) n$$;

-- What raises only under way (here: too large) is found among thousands, wherever it stands.
SET LOCAL atp.payload_max_size = 2048;
CREATE TEMP TABLE answer AS SELECT * FROM atp.ingest_batch(pg_temp.batch(2500, 'big-1', '{1,2,999,1000,1001,1777,2500}'), 'large');
SELECT is((SELECT count(*) FROM answer), 2500::bigint, 'each item is listed');
SELECT is((SELECT array_agg(item ORDER BY item) FROM answer WHERE NOT accepted), '{1,2,999,1000,1001,1777,2500}', 'the bad ones are the bad ones');
SELECT is((SELECT array_agg(DISTINCT errors -> 0 ->> 'Code') FROM answer WHERE NOT accepted), '{TP204}');
SELECT results_eq($$SELECT (payload #>> '{Payload,n}')::int FROM atp.events WHERE stream = 'big-1' ORDER BY stream_version$$,
	$$SELECT n FROM generate_series(1, 2500) n WHERE n <> ALL ('{1,2,999,1000,1001,1777,2500}') ORDER BY n$$, 'the good ones are kept, once, in order');
SELECT results_eq($$SELECT item, event_id, stream_version FROM answer ORDER BY item$$,
	$$SELECT g.item, g.event_id, g.stream_version FROM atp.ingest_batches b, atp.get_batch(b.batch_id) g WHERE b.source = 'large' ORDER BY 1$$);
SELECT ok((SELECT ok FROM atp.verify_stream('big-1')), 'the chain holds after all that was taken back');

-- All of them bad, and one stream bad among many.
SELECT is((SELECT count(*) FROM atp.ingest_batch(pg_temp.batch(100, 'big-2', ARRAY(SELECT generate_series(1, 100))), 'all large') WHERE NOT accepted), 100::bigint);
SELECT is((SELECT count(*) FROM atp.streams WHERE stream = 'big-2'), 0::bigint);
CREATE TEMP TABLE many AS SELECT * FROM atp.ingest_batch((SELECT jsonb_agg(pg_temp.item(n, 'many-' || n % 50, CASE WHEN n % 50 = 7
	THEN jsonb_build_object('payload', jsonb_build_object('x', repeat('x', 4000))) ELSE '{}' END)) FROM generate_series(0, 999) n), 'one bad stream');
SELECT is((SELECT count(*) FROM many WHERE NOT accepted), 20::bigint);
SELECT is((SELECT count(DISTINCT stream) FROM many WHERE accepted), 49::bigint);
RESET atp.payload_max_size;

-- A key used for other content, in the midst.
CREATE TEMP TABLE keyed AS SELECT * FROM atp.ingest_batch(jsonb_build_array(pg_temp.item(1, 'key-1', '{"idempotency_key": "k"}'),
	pg_temp.item(2, 'key-1', '{"idempotency_key": "k"}'), pg_temp.item(3, 'key-1'), pg_temp.item(1, 'key-1', '{"idempotency_key": "k"}')), 'keys');
SELECT results_eq($$SELECT item, accepted, stream_version, deduplicated FROM keyed ORDER BY item$$,
	$$VALUES (1, true, 1::bigint, false), (2, false, 1, false), (3, true, 2, false), (4, true, 1, true)$$);
SELECT is((SELECT errors -> 0 ->> 'Code' FROM keyed WHERE item = 2), 'TP104');

-- A pattern that takes too many steps is that item's fault.
SELECT atp.register_schema('IngestPatternMatched', '{"properties": {"s": {"pattern": "^(a+)+$"}}}');
CREATE TEMP TABLE hostile AS SELECT * FROM atp.ingest_batch(jsonb_build_array(
	pg_temp.item(1, 'h-1', jsonb_build_object('payload_type', 'IngestPatternMatched', 'payload', jsonb_build_object('s', repeat('a', 60) || 'b'))),
	pg_temp.item(2, 'h-1', '{"payload_type": "IngestPatternMatched", "payload": {"s": "aaa"}}')), 'hostile');
SELECT results_eq($$SELECT accepted, errors -> 0 ->> 'Code' FROM hostile ORDER BY item$$, $$VALUES (false, 'TP214'), (true, NULL)$$);

-- What is for a sealed stream is set aside as a whole, the rest is kept.
SELECT atp.append_event('sealed-1', 'SealTested', '{}');
SELECT atp.seal_stream('sealed-1', 'test');
CREATE TEMP TABLE sealed AS SELECT * FROM atp.ingest_batch((SELECT jsonb_agg(pg_temp.item(n, CASE WHEN n % 3 = 0 THEN 'sealed-1' ELSE 'open-' || n % 3 END) ORDER BY n)
	FROM generate_series(1, 3000) n), 'sealed');
SELECT is((SELECT array_agg(DISTINCT item % 3) FROM sealed WHERE NOT accepted), '{0}');
SELECT is((SELECT count(*) FROM sealed WHERE NOT accepted AND errors -> 0 ->> 'Code' = 'TP106' AND errors -> 0 ->> 'Location' = '/resource'), 1000::bigint);
SELECT is((SELECT sum(version)::bigint FROM atp.streams WHERE stream LIKE 'open-%'), 2000::bigint);
SELECT is((SELECT errors -> 0 ->> 'Code' FROM atp.ingest_event('a', 'b', 'sealed-1')), 'TP106');

-- The contract of each event: do the thing, take the event, hold it against its own schema.
CREATE FUNCTION pg_temp.faults(type text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT v.instance_location || ' ' || v.message FROM atp.events e, atp.get_schema(type) s, atp.schema_errors(s.schema, e.payload) v
	WHERE e.event_type = type AND e.schema_version = s.schema_version
$$;
SELECT is_empty($$SELECT pg_temp.faults('AuditEventReceived')$$);
SELECT is_empty($$SELECT pg_temp.faults('AuditEventValidationFailed')$$);
SELECT is_empty($$SELECT pg_temp.faults('BatchIngestionStarted')$$);
SELECT is_empty($$SELECT pg_temp.faults('BatchIngestionCompleted')$$);
SELECT results_eq($$SELECT event_type, count(*) FROM atp.events WHERE event_type ~ '^(Audit|Batch)' GROUP BY 1 ORDER BY 1$$,
	$$VALUES ('AuditEventReceived', 5476::bigint), ('AuditEventValidationFailed', 1130), ('BatchIngestionCompleted', 6), ('BatchIngestionStarted', 6)$$);
SELECT is_empty($$SELECT event_id FROM atp.events WHERE event_type LIKE 'AuditEvent%' AND (payload ->> 'EventId' <> atp.ulid_from_uuid(event_id)
	OR payload ->> 'TenantId' <> 't')$$, 'each names its own id and tenant');
SELECT is_empty($$SELECT stream FROM atp.streams, atp.verify_stream(stream) v WHERE NOT v.ok$$);
SELECT is((SELECT event_count FROM atp.ingest_batches WHERE source = 'keys'), 4);
SELECT is((SELECT count(*) FROM atp_internal.event WHERE flags <> 1), 1::bigint, 'all of it but the one of this test is the platform''s');

-- Once is enough.
SELECT is((SELECT bool_and(deduplicated) FROM atp.ingest_batch(pg_temp.batch(100, 'big-2', ARRAY(SELECT generate_series(1, 100))), 'all large')), true);
SELECT is((SELECT count(*) FROM atp.events), (SELECT 5476 + 1130 + 12 + 3)::bigint, 'a repeated batch writes nothing');
SELECT throws_ok($$SELECT atp.ingest_batch('[2]', 'x', batch_id) FROM atp.ingest_batches WHERE source = 'keys'$$, 'TP104');
SELECT is((SELECT count(DISTINCT i) FROM (VALUES ('a', '[1]'), ('b', '[1]'), ('a', '[2]')) v (s, r), atp_internal.ingest_batch_id(s, atp_internal.ingest_digest(r::jsonb)) i), 3::bigint);
SELECT is(atp_internal.ingest_batch_id('a', atp_internal.ingest_digest('[{"a": 1, "b": 2}]')), atp_internal.ingest_batch_id('a', atp_internal.ingest_digest('[{"b":2,"a":1.0}]')), 'by content, not by text');
SELECT matches(atp_internal.ingest_batch_id('a', atp_internal.ingest_digest('[]'))::text, '^.{14}8.{4}[89ab]', 'a version 8 UUID');

-- What is old enough is forgotten, but for what is open; the events stay.
SELECT results_eq($$SELECT * FROM atp.purge_ingestion('1 hour')$$, 'VALUES (0::bigint, 0::bigint)');
SELECT results_eq($$SELECT * FROM atp.purge_ingestion('-1 minute')$$, 'VALUES (6::bigint, 0::bigint)');
SELECT is((SELECT count(*) FROM atp.list_quarantine(NULL)), 1130::bigint);

-- Members under the names that the event has for them; not under both, and not under names cut short.
SELECT accepted FROM atp.ingest_batch('[{"Actor": "a", "Action": "b", "Resource": "pascal-1", "Payload": {"n": 1}, "Timestamp": "2026-01-01T00:00:00Z",
	"Metadata": null}]', 'pascal');
SELECT is((SELECT payload - 'EventId' FROM atp.events WHERE stream = 'pascal-1'), '{"Actor": "a", "Action": "b", "Resource": "pascal-1", "Payload": {"n": 1},
	"TenantId": "t", "Timestamp": "2026-01-01T00:00:00.000000Z"}');
SELECT is((SELECT array_agg(e ->> 'Location' ORDER BY e ->> 'Location') FROM atp.ingest_batch('[{"Actor": "a", "actor": "a", "action": "b", "resource": "c-1", "actor of a very long name, longer than any": 1, "ääääääääääääääääääääääää": 1}]',
	'twice') i, jsonb_array_elements(i.errors) e), '{/actor,"/actor of a very long name, long",/äääääääääääääää}');

-- What is no item's fault is raised.
SELECT throws_ok($$SELECT atp.ingest_event('a', 'b', 'c-1', tenant => 'nobody')$$, 'TP202');
SELECT throws_ok($$SELECT atp.ingest_batch('[]', 'x', tenant => 'nobody')$$, 'TP202');
SELECT throws_ok($$SELECT atp.ingest_batch('{"a": 1}', 'x')$$, '22023');
SELECT throws_ok($$SELECT atp.ingest_batch('[]', NULL)$$, '22004');
SELECT throws_ok($$SELECT atp.reingest_event(atp.create_event_id())$$, 'TP253');

-- Texts with what JSON and names make difficult come back as they went in.
SELECT stream AS odd FROM atp.ingest_event(E'a"\\\u00e9', E'b\n', E'c/\t"d', '{"k": [null, 1.50, "\\"]}') \gset
SELECT is((SELECT payload - 'EventId' - 'Timestamp' FROM atp.events WHERE stream = :'odd'),
	jsonb_build_object('Actor', E'a"\\\u00e9', 'Action', E'b\n', 'Resource', E'c/\t"d', 'TenantId', 't', 'Payload', '{"k": [null, 1.5, "\\"]}'::jsonb));
SELECT is((SELECT array_agg(r.accepted) FROM (VALUES ('2026-01-01T00:00:00Z'), ('2026-01-01 00:00:00.123456789+14:00'), ('2024-02-29t23:59:59z'), ('2023-02-29T00:00:00Z'),
	('2026-01-01T00:00:00'), ('2026-01-01'), ('2026-01-01T24:00:00Z'), ('2026-01-01T00:00:00.Z'), ('2026-01-01T00:00:00+1:00'), ('0000-01-01T00:00:00Z'), ('')) t (at),
	atp.ingest_batch(jsonb_build_array(pg_temp.item(1, 't-1', jsonb_build_object('occurred_at', at))), 'times') r), '{t,t,t,f,f,f,f,f,f,f,f}', 'RFC 3339 and nothing else');

-- Privileges: writers ingest, auditors list, administrators correct; the tables are closed.
CREATE ROLE ingest_writer IN ROLE atp_writer;
SET LOCAL ROLE ingest_writer;
SELECT ok((SELECT accepted FROM atp.ingest_event('a', 'b', 'c-1')));
SELECT ok((SELECT bool_and(accepted) FROM atp.ingest_batch(pg_temp.batch(3, 'c-1', '{}'), 'writer')));
SELECT lives_ok($$INSERT INTO atp.ingest (actor, action, resource) VALUES ('a', 'b', 'c-1')$$);
SELECT throws_ok('SELECT * FROM atp.list_quarantine()', '42501');
SELECT throws_ok('SELECT atp.reingest_event(atp.create_event_id())', '42501');
RESET ROLE;
CREATE ROLE ingest_reader IN ROLE atp_reader;
SET LOCAL ROLE ingest_reader;
SELECT throws_ok($$SELECT atp.ingest_event('a', 'b', 'c-1')$$, '42501');
SELECT throws_ok($$INSERT INTO atp.ingest (actor, action, resource) VALUES ('a', 'b', 'c-1')$$, '42501');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;

-- Ingestion: what is sound into the resource's stream, what is not into quarantine; batches, repetitions, correction, COPY.
\set SHOW_CONTEXT never
SELECT atp.onboard_tenant('ingest-test') IS NOT NULL AS onboarded;
SET atp.tenant = 'ingest-test';

SELECT accepted, stream, stream_version, deduplicated, errors FROM atp.ingest_event('alice', 'document.updated', 'document-42', '{"field": "title"}');
SELECT accepted, stream, stream_version FROM atp.ingest_event('alice', 'document.read', 'document-42', occurred_at => '2026-01-02 03:04:05.6+01');
SELECT stream_version, event_type, payload - 'EventId' - 'Timestamp' AS payload, payload ->> 'EventId' = atp.ulid_from_uuid(event_id) AS own_id,
	(payload ->> 'Timestamp')::timestamptz = occurred_at AS own_time FROM atp.events WHERE stream = 'document-42' ORDER BY 1;
SELECT payload ->> 'Timestamp' AS at FROM atp.events WHERE stream = 'document-42' AND stream_version = 2;

-- where resources go that are no stream names, and those that are the platform's
SELECT resource, stream FROM (VALUES (1, 'arn:aws:s3:::bucket/a key'), (2, 'cluster'), (3, '50% off-1'), (4, 'atp.Tenant-ingest-test'), (5, 'ördnung-1'),
	(6, repeat('x', 300))) r (n, resource), atp.ingest_event('alice', 'touched', resource) ORDER BY n;

-- refused, and not raised
SELECT accepted, stream ~ '^atp\.Quarantine-[0-9A-Z]{26}$' AS quarantined, jsonb_pretty(errors) AS errors FROM atp.ingest_event(NULL, '', 'document-42', '[1]');
SELECT accepted, errors FROM atp.ingest_event('alice', repeat('a', 1025), 'document-42', event_id => '01900000-0000-7000-8000-000000000000');
SELECT accepted, errors FROM atp.ingest_event('alice', 'a', 'document-42', metadata => '{"actor": 1}');
SELECT accepted, errors FROM atp.ingest_event('alice', 'a', 'document-42', jsonb_build_object('a', repeat('x', 1100000)));
SELECT accepted, errors FROM atp.ingest_event('alice', 'a', 'document-42', (repeat('{"a":', 100) || '1' || repeat('}', 100))::jsonb);
SELECT item, attempts, left(original::text, 60) AS original, jsonb_typeof(original) FROM atp.list_quarantine();

-- by the schema of a registered type
SELECT atp.register_schema('IngestFileUploaded', '{"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}, "required": ["size"]}');
SELECT accepted FROM atp.ingest_event('alice', 'uploaded', 'file-1', '{"size": 10}', payload_type => 'IngestFileUploaded');
SELECT accepted, errors FROM atp.ingest_event('alice', 'uploaded', 'file-1', '{"size": 0}', payload_type => 'IngestFileUploaded');
SELECT accepted, errors FROM atp.ingest_event('alice', 'uploaded', 'file-1', '{"size": 10}', payload_type => 'IngestNothingKnown');

-- repeated
SELECT atp.create_event_id() AS id \gset
SELECT accepted, stream_version, deduplicated FROM atp.ingest_event('bob', 'paid', 'invoice-1', '{"sum": 1}', idempotency_key => 'k');
SELECT accepted, stream_version, deduplicated FROM atp.ingest_event('bob', 'paid', 'invoice-1', '{"sum": 1}', idempotency_key => 'k');
SELECT accepted, stream_version, deduplicated, errors FROM atp.ingest_event('bob', 'paid', 'invoice-1', '{"sum": 2}', idempotency_key => 'k');
SELECT accepted, event_id = :'id' AS own_id, deduplicated FROM atp.ingest_event('bob', 'paid', 'invoice-1', '{"sum": 3}', event_id => :'id');
SELECT accepted, event_id = :'id' AS own_id, deduplicated FROM atp.ingest_event('bob', 'paid', 'invoice-1', '{"sum": 3}', event_id => :'id');

-- a batch: good kept, bad quarantined, each listed
\set batch '[{"actor": "carol", "action": "opened", "resource": "door-1", "payload": {"n": 1}}, {"actor": "carol", "action": "opened"}, 7, {"actor": "carol", "action": "opened", "resource": "door-2", "occurred_at": "2026-02-30T00:00:00Z"}, {"actor": "carol", "action": "closed", "resource": "door-1", "occurred_at": "2026-02-28T23:59:60.5-01:00"}, {"actor": 1, "agent": "carol", "action": "opened", "resource": "door-1", "payload": null}]'
SELECT item, accepted, stream ~ '^atp.Quarantine-' AS quarantined, stream_version, deduplicated, errors FROM atp.ingest_batch(:'batch', 'doors.json');
SELECT item, accepted, stream_version, deduplicated FROM atp.ingest_batch(:'batch', 'doors.json');
SELECT source, event_count, success_count, failure_count FROM atp.ingest_batches;
SELECT event_type, payload - 'BatchId' - 'Duration' AS payload, payload ->> 'Duration' ~ '^PT[0-9.]+S$' AS duration
	FROM atp.events WHERE stream LIKE 'atp.Batch-%' ORDER BY stream_version;
SELECT payload ->> 'Timestamp' AS at, metadata ? 'ingest_batch' AS of_batch FROM atp.events WHERE stream = 'door-1' AND stream_version = 2;
-- another source is another batch; the same id with other content is refused
SELECT count(*), bool_or(deduplicated) FROM atp.ingest_batch(:'batch', 'doors-again.json');
SELECT count(*) FROM atp.ingest_batch('[]', 'empty', '00000000-0000-8000-8000-000000000001');
\set VERBOSITY terse
SELECT count(*) FROM atp.ingest_batch('[1]', 'empty', '00000000-0000-8000-8000-000000000001');
\set VERBOSITY default
SELECT * FROM atp.ingest_batch('{}', 'x');
SELECT * FROM atp.ingest_batch(NULL, 'x');
SELECT * FROM atp.ingest_batch('[]', '');
SELECT atp.suspend_tenant('ingest-test');
SELECT * FROM atp.ingest_batch('[]', 'suspended');
SELECT accepted FROM atp.ingest_event('alice', 'a', 'document-42');
SELECT atp.reactivate_tenant('ingest-test');

-- corrected and ingested again
SELECT batch_id FROM atp.ingest_batches WHERE source = 'doors.json' \gset
SELECT item, errors, original FROM atp.list_quarantine(batch => :'batch_id');
SELECT event_id AS second FROM atp.list_quarantine(batch => :'batch_id') WHERE item = 2 \gset
SELECT item, accepted, stream_version, errors FROM atp.reingest_event(:'second');
SELECT item, accepted, stream, stream_version, deduplicated FROM atp.reingest_event(:'second', '{"actor": "carol", "action": "opened", "resource": "door-2"}');
SELECT item, accepted, stream, stream_version, deduplicated FROM atp.reingest_event(:'second', '{"actor": "carol", "action": "opened", "resource": "door-2"}');
SELECT metadata ->> 'causation_id' = atp.ulid_from_uuid(:'second') AS names_its_cause FROM atp.events WHERE stream = 'door-2';
SELECT item, attempts, resolved_at IS NOT NULL AS resolved FROM atp.list_quarantine(batch => :'batch_id', include_resolved => true);
SELECT item FROM atp.list_quarantine(max_count => 1, batch => :'batch_id');
SELECT atp.reingest_event('00000000-0000-8000-8000-000000000001');

-- COPY: text, so that not even what is no JSON ends it
COPY atp.ingest (actor, action, resource, payload, occurred_at) FROM STDIN;
dave	read	page-1	{"n": 1}	2026-03-01T00:00:00Z
dave	read	page-1	{"n": 	2026-03-01T00:00:01Z
dave	read	page-1	{"n": "\\u0000"}	2026-03-01T00:00:02Z
dave	read	page-1	{"n": 1e200000}	2026-03-01T00:00:03Z
\N	read	page-1	\N	2026-03-01T00:00:04Z
dave	read	page-1	\N	yesterday
dave	read	page-2	{}	2026-03-01T00:00:05Z
\.
SELECT source, event_count, success_count, failure_count FROM atp.ingest_batches WHERE source = 'copy';
SELECT i.item, i.accepted, i.errors FROM atp.ingest_batches b, atp.get_batch(b.batch_id) i WHERE b.source = 'copy' ORDER BY i.item;
SELECT original ->> 'payload' AS payload FROM atp.ingest_batches b, atp.list_quarantine(batch => b.batch_id) WHERE b.source = 'copy';
-- the same again is recognised, batch by batch; rows without time or key are taken for new ones
SET atp.ingest_batch_size = 2;
INSERT INTO atp.ingest (actor, action, resource, occurred_at, source) SELECT 'erin', 'read', 'page-3', format('2026-03-01T00:00:0%sZ', n), 'pages' FROM generate_series(1, 5) n;
INSERT INTO atp.ingest (actor, action, resource, occurred_at, source) SELECT 'erin', 'read', 'page-3', format('2026-03-01T00:00:0%sZ', n), 'pages' FROM generate_series(1, 5) n;
INSERT INTO atp.ingest (actor, action, resource, source) VALUES ('erin', 'read', 'page-4', 'single');
INSERT INTO atp.ingest (actor, action, resource, source) VALUES ('erin', 'read', 'page-4', 'single');
SELECT source, count(*) AS batches, sum(success_count) FROM atp.ingest_batches WHERE source IN ('pages', 'single') GROUP BY 1 ORDER BY 1;
SELECT stream, version FROM atp.streams WHERE stream LIKE 'page-%' ORDER BY 1;
RESET atp.ingest_batch_size;
-- nothing of a statement that fails stays
BEGIN;
SAVEPOINT before;
INSERT INTO atp.ingest (actor, action, resource, tenant) VALUES ('erin', 'read', 'page-5', 'nobody');
ROLLBACK TO before;
INSERT INTO atp.ingest (actor, action, resource) VALUES ('erin', 'read', 'page-6');
COMMIT;
SELECT stream, version FROM atp.streams WHERE stream IN ('page-5', 'page-6');
SELECT * FROM atp.ingest;
SELECT count(*) AS faults FROM atp.streams s, atp.verify_stream(s.stream) v WHERE NOT v.ok;
RESET atp.tenant;

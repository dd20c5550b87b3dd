-- The filters of subscriptions see what get_cloudevent returns: for every kind of event, each attribute with its value, and no other.
SET client_min_messages = warning;
SELECT atp.register_schema('PredicateChecked', '{"type": "object", "required": ["n"]}') IS NOT NULL;
CREATE TEMP TABLE kind (n serial, event_id uuid);
-- stored in the store's own terms
INSERT INTO kind (event_id) SELECT (atp.append_event('predicate-1', 'PredicateSeen', payload, metadata => metadata, occurred_at => occurred_at)).event_id FROM (VALUES
	('{"n": 1}'::jsonb, NULL::jsonb, NULL::timestamptz),
	('{"n": 1}', '{"actor": "alice", "correlation_id": "c-1", "causation_id": "d-1", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}', NULL),
	('{"n": 1}', '{"attempt": 2, "vip": true, "Trace-Tag": "x", "nested": {"left": "out"}, "ratio": 0.5, "list": [1], "none": null, "big": 4294967296, "least": -2147483648, "whole": 3.0}', NULL),
	('{"n": 1}', '{"id": "mine", "source": "not / a URI", "data": "x", "time": "never", "tenant": "nobody", "stream_version": 9, "___": "x", "correlationid": "short", "correlation_id": "long"}', NULL),
	('{"n": 1, "text": "\u0007", "é": "ü"}', '{"bell": "\u0007", "c1": "\u0085", "e": "é"}', '2026-01-01 00:00:00.123456+05:30'),
	('{"n": 1}', NULL, '0044-03-15 12:00:00Z BC'), ('{"n": 1}', NULL, '20000-01-01 00:00:00Z'), ('{"n": 1}', NULL, '0001-01-01 00:00:00Z'),
	('{"n": 1}', '{"cloudevent": "text"}', NULL), ('{"n": 1}', '{"cloudevent": {"id": 5, "type": null, "data": 7, "other": "x"}}', NULL),
	('{}', NULL, NULL)) AS v (payload, metadata, occurred_at);
INSERT INTO kind (event_id) SELECT (atp.append_event('a.b:c_d-é#?%', 'PredicateChecked', '{"n": 1}')).event_id;
-- taken from documents
INSERT INTO kind (event_id) SELECT (atp.append_cloudevent('{"specversion": "1.0"}'::jsonb || document, 'predicate-' || id)).event_id FROM (VALUES
	(2, '{"id": "1", "source": "/elsewhere", "type": "com.example.predicate.seen"}'::jsonb),
	(3, '{"id": "2", "source": "https://x.y/z?q#f", "type": "PredicateSeen", "subject": "file.jpg", "time": "2026-02-03T04:05:06.070809Z", "datacontenttype": "text/xml", "data": "<much wow=\"xml\"/>"}'),
	(4, '{"id": "3", "source": "/a", "type": "PredicateSeen", "data_base64": "AAECAw==", "dataschema": "https://example.com/s", "extone": true, "exttwo": -5}'),
	(5, '{"id": "4", "source": "/a", "type": "PredicateSeen", "data": null}'), (6, '{"id": "5", "source": "/a", "type": "PredicateSeen", "data": [1]}'),
	(7, '{"id": "6", "source": "/a", "type": "PredicateSeen", "data": {"n": 1}, "correlationid": "c", "causationid": "d", "actor": "e"}')) AS v (id, document);
-- the platform's own
SELECT atp.seal_stream('predicate-2', 'done') IS NOT NULL;
SELECT atp.tick() >= 0;
INSERT INTO kind (event_id) SELECT event_id FROM atp.events WHERE stream = 'predicate-2' AND stream_version = 2;
BEGIN;
CREATE TEMP TABLE form AS SELECT k.n, k.event_id, atp.get_cloudevent(k.event_id) AS document FROM kind k;
SELECT plan((3 * count(*) + 3)::int) FROM form;
-- A subscription for each event: a jsonpath that holds for its document alone, and all scalars of it as a CloudEvents filter.
CREATE FUNCTION pg_temp.path_of(document jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(format('$.%s == %s', to_json(e.key), e.value), ' && ') FILTER (WHERE jsonb_typeof(e.value) NOT IN ('object', 'array'))
		|| coalesce(' && ' || string_agg(format('exists($.%s)', to_json(e.key)), ' && ') FILTER (WHERE jsonb_typeof(e.value) IN ('object', 'array')), '')
		|| coalesce((SELECT ' && ' || string_agg(format('$.data.%s == %s', to_json(d.key), d.value), ' && ') FROM jsonb_each(CASE WHEN jsonb_typeof(document -> 'data') = 'object' THEN document -> 'data' END) d
			WHERE jsonb_typeof(d.value) NOT IN ('object', 'array')), '')
		|| ' && !exists($.keyvalue() ? (' || string_agg(format('@.key != %s', to_json(e.key)), ' && ') || '))'
	FROM jsonb_each(document) e $$;
CREATE FUNCTION pg_temp.filter_of(document jsonb, names text[] DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT jsonb_build_object('all', jsonb_agg(jsonb_build_object('exact', jsonb_build_object(e.key, e.value #>> '{}'))))::text
	FROM jsonb_each(document) e WHERE jsonb_typeof(e.value) IN ('string', 'number', 'boolean') AND (names IS NULL OR e.key = ANY (names)) AND e.value <> '""' $$;
SELECT count(atp.create_subscription('path' || n, filter => pg_temp.path_of(document))) FROM form;
SELECT count(atp.create_subscription('filter' || n, filter => pg_temp.filter_of(document))) FROM form;
SELECT count(atp.create_subscription('names' || n, filter => pg_temp.filter_of(document, '{type,source,subject,tenant,specversion}'))) FROM form;
SELECT is((SELECT string_agg(reason, '; ') FROM atp.explain_routing(event_id) WHERE subscription = what || n AND matches IS NOT TRUE), NULL, format('%s: %s', what, document))
	FROM form, (VALUES ('path'), ('filter'), ('names')) w (what) ORDER BY n, what;
SELECT is((SELECT count(*) FROM form f, LATERAL atp.explain_routing(f.event_id) r WHERE r.subscription ~ '^(path|filter)' AND r.matches AND r.subscription !~ ('\D' || f.n || '$')), 0::bigint,
	'and it matches no other event');
-- what a claim delivers is what is explained
SELECT is((SELECT string_agg(subscription, ' ') FROM (VALUES ('path'), ('filter')) w (what), form f, LATERAL (SELECT what || n AS subscription) s
	WHERE NOT EXISTS (SELECT FROM atp.claim_events(subscription, 10) c WHERE c.event_id = f.event_id)), NULL, 'each is claimed');
SELECT is((SELECT array[count(*) FILTER (WHERE NOT document ? 'time'), count(*)] FROM form), '{7,19}', 'the kinds are what they were meant to be');
SELECT * FROM finish();
ROLLBACK;

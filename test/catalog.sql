-- The catalogue is complete and true to itself: every schema compiles, every field is described, every example is valid.
BEGIN;
SELECT plan(18);
SET LOCAL atp.schema_format_assertion = on;

CREATE TEMP VIEW own AS SELECT * FROM atp.event_type_catalog WHERE builtin;
SELECT is((SELECT count(*) FROM own), 38::bigint, 'thirty-eight of them');
SELECT is_empty($$SELECT event_type FROM own WHERE schema_version IS DISTINCT FROM 1 OR schema IS NULL$$, 'each has a schema');
SELECT is_empty($$SELECT event_type, e.* FROM own, atp.schema_errors('{"$ref": "https://json-schema.org/draft/2020-12/schema"}', schema) e$$, 'each schema is one');
SELECT is_empty($$SELECT event_type FROM own WHERE schema ->> '$schema' <> 'https://json-schema.org/draft/2020-12/schema'
	OR schema ->> 'title' <> event_type OR schema ->> 'description' <> description OR schema -> 'additionalProperties' IS NULL$$);
SELECT is_empty($$SELECT event_type, e.* FROM own, atp.schema_errors(schema, example) e$$, 'each example is valid');
SELECT is_empty($$SELECT event_type, e.* FROM own, atp.validate_payload(event_type, example) e$$, 'by the registry too');
SELECT is_empty($$SELECT event_type FROM own, atp.schema_is_valid(schema, '{}') v WHERE v$$, 'no schema accepts just anything');

CREATE TEMP VIEW field AS
	WITH RECURSIVE part (event_type, path, node) AS (
		SELECT event_type, '', schema FROM own
		UNION ALL
		SELECT p.event_type, p.path || '/' || c.key, c.value FROM part p,
			LATERAL (SELECT * FROM jsonb_each(CASE WHEN jsonb_typeof(p.node -> 'properties') = 'object' THEN p.node -> 'properties' ELSE '{}' END)
				UNION ALL SELECT 'items', p.node -> 'items' WHERE jsonb_typeof(p.node -> 'items') = 'object') c)
	SELECT event_type, path, node FROM part WHERE path <> '';
SELECT cmp_ok((SELECT count(*) FROM field), '>', 150::bigint);
SELECT is_empty($$SELECT event_type, path FROM field WHERE coalesce(length(node ->> 'description'), 0) < 4$$, 'each field is described');
SELECT is_empty($$SELECT event_type, path FROM field WHERE path !~ '^(/[A-Z][A-Za-z]*(/items)?)+$'$$, 'fields are in PascalCase');
SELECT is_empty($$SELECT event_type, r FROM own, jsonb_array_elements_text(schema -> 'required') r WHERE NOT schema -> 'properties' ? r$$);
SELECT is_empty($$SELECT f.event_type, f.path FROM field f JOIN own o USING (event_type) WHERE f.path !~ '/.*/' AND NOT o.example ? substr(f.path, 2)
	AND o.schema -> 'required' ? substr(f.path, 2)$$, 'the examples show every required field');

SELECT is_empty($$SELECT event_type FROM own WHERE length(description) < 20 OR cardinality(producers) = 0 OR cardinality(consumers) = 0
	OR cardinality(rules) = 0 OR coalesce(idempotency_key, '') = ''$$, 'each says who, whom, and what holds');
SELECT is_empty($$SELECT event_type FROM own WHERE NOT retry ?& '{max_attempts,backoff,first_delay,max_delay,reason}'
	OR NOT dead_letter ?& '{reasons,when,handling}' OR NOT monitoring ?& '{metrics,alerts}' OR jsonb_array_length(monitoring -> 'metrics') = 0$$);
SELECT is_empty($$SELECT event_type FROM own WHERE emitted NOT IN ('when it happens', 'rendered from the log', 'later') OR (emitted <> 'when it happens') <> (note IS NOT NULL)$$);
SELECT bag_eq($$SELECT kind, count(*) FROM own GROUP BY kind$$, $$VALUES ('domain', 19::bigint), ('integration', 17), ('system', 2)$$);

CREATE ROLE catalog_reader IN ROLE atp_reader;
SET LOCAL ROLE catalog_reader;
SELECT is((SELECT count(*) FROM atp.event_type_catalog WHERE builtin), 38::bigint, 'readers read it');
SELECT throws_ok($$SELECT atp.document_event_type('OrderPlaced', '{}')$$, '42501');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;

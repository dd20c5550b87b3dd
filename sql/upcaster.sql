-- Upcasters and downcasters: what a reader gets who accepts other versions than those stored.
\set SHOW_CONTEXT never
\pset null '(null)'
SELECT atp.register_event_type('OrderShipped', compatibility => 'NONE');
SELECT stream_version FROM atp.append_event('order-7', 'OrderShipped', '{"id": 7, "zip": "1000"}');
SELECT atp.register_schema('OrderShipped', '{"required": ["id", "zip"], "properties": {"state": {"enum": ["new", "old"]}}}');
SELECT stream_version FROM atp.append_event('order-7', 'OrderShipped', '{"id": 7, "zip": "1010", "state": "new", "note": "x"}');
SELECT atp.register_schema('OrderShipped', '{"required": ["id", "postcode", "address"], "properties": {"address": {"required": ["city"]}}}');
SELECT stream_version FROM atp.append_event('order-7', 'OrderShipped', '{"id": 7, "postcode": "1020", "state": "NEW", "address": {"city": "Wien", "note": "y"}}');
SELECT atp.register_schema('OrderShipped', '{"required": ["id", "postcode"], "properties": {"total": {"type": "number"}}}');
SELECT stream_version FROM atp.append_event('order-7', 'OrderShipped', '{"id": 7, "postcode": "1030", "total": 12.50}');

-- Steps: declared operations, and functions. Events without a schema are version 0.
SELECT atp.register_upcaster('OrderShipped', 0, '[]', description => 'Nothing to do.');
SELECT atp.register_upcaster('OrderShipped', 1, $$[
	{"op": "rename", "path": "/zip", "to": "postcode"},
	{"op": "default", "path": "/address/city", "value": "unknown"},
	{"op": "move", "path": "/note", "to": "/address/note"},
	{"op": "map", "path": "/state", "values": [["new", "NEW"], ["old", null]], "otherwise": "?"}
]$$);
SELECT atp.register_downcaster('OrderShipped', 2, $$[
	{"op": "rename", "path": "/postcode", "to": "zip"},
	{"op": "move", "path": "/address/note", "to": "/note"},
	{"op": "drop", "path": "/address"},
	{"op": "map", "path": "/state", "values": [["NEW", "new"]]}
]$$);
CREATE FUNCTION public.add_total(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT $1 - 'address' || '{"total": 0}'$$;
CREATE FUNCTION public.drop_total(jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$SELECT $1 - 'total' || '{"address": {"city": "?"}}'$$;
SELECT atp.register_upcaster('OrderShipped', 2, function => 'public.add_total(jsonb)');
SELECT atp.register_downcaster('OrderShipped', 3, function => 'public.drop_total(jsonb)');
SELECT event_type, from_version, to_version, direction, function, description FROM atp.upcasters ORDER BY 1, 2, 3;

-- As stored, and as negotiated; the hash stays that of the stored form.
SELECT stream_version, schema_version, payload FROM atp.read_stream('order-7');
SELECT stream_version, schema_version, payload FROM atp.read_stream('order-7', accept_versions => '{"OrderShipped": 3}');
SELECT stream_version, schema_version, payload FROM atp.read_stream('order-7', direction => 'backward', accept_versions => '{"OrderShipped": 1}');
SELECT stream_version, schema_version, payload FROM atp.read_stream('order-7', accept_versions => '{"OrderShipped": [1, 2]}');
SELECT stream_version, schema_version FROM atp.read_stream('order-7', accept_versions => '{"OrderShipped": "active"}');
SELECT stream_version, schema_version FROM atp.read_stream('order-7', accept_versions => '"active"');
SELECT stream_version, schema_version FROM atp.read_stream('order-7', accept_versions => '{"OrderLost": 1}');
SELECT count(*) FROM atp.read_stream('order-7') a JOIN atp.read_stream('order-7', accept_versions => '"active"') b USING (event_id, hash);

-- What cannot be had.
\set VERBOSITY terse
SELECT schema_version FROM atp.read_stream('order-7', accept_versions => '{"OrderShipped": 4}');
SELECT schema_version FROM atp.read_stream('order-7', accept_versions => '{"OrderShipped": "2"}');
SELECT schema_version FROM atp.read_stream('order-7', accept_versions => '{"OrderShipped": 1.5}');
SELECT schema_version FROM atp.read_stream('order-7', accept_versions => '[1]');
SELECT schema_version FROM atp.read_stream('order-7', accept_versions => '2');
SELECT atp.drop_upcaster('OrderShipped', 1, 2), atp.drop_upcaster('OrderShipped', 1, 2);
SELECT schema_version FROM atp.read_stream('order-7', 2, accept_versions => '{"OrderShipped": [2, 3]}');
SELECT schema_version FROM atp.read_stream('order-7', 3, accept_versions => '{"OrderShipped": [2, 3]}');

-- Publishing in two forms ends at the sunset of the old one.
SELECT atp.set_schema_status('OrderShipped', 1, 'deprecated', sunset_at => 'infinity');
SELECT schema_version FROM atp.read_stream('order-7', 3, accept_versions => '{"OrderShipped": 1}');
SELECT atp.set_schema_status('OrderShipped', 1, 'deprecated', sunset_at => '2020-01-01 UTC');
SELECT schema_version FROM atp.read_stream('order-7', 3, accept_versions => '{"OrderShipped": 1}');
SELECT schema_version FROM atp.read_stream('order-7', 3, accept_versions => '{"OrderShipped": [1, 2]}');
SELECT atp.set_schema_status('OrderShipped', 1, 'deprecated', sunset_at => 'infinity');

-- A step that fails names type, versions and event, and keeps the cause.
CREATE FUNCTION public.fail_upcast(jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no such %', $1 ->> 'zip' USING ERRCODE = 'P0002', DETAIL = 'Not on the map.'; END$$;
SELECT atp.register_upcaster('OrderShipped', 1, function => 'public.fail_upcast(jsonb)');
DO $$
DECLARE
	detail text;
	event uuid := (SELECT event_id FROM atp.read_stream('order-7', 2, 1));
BEGIN
	PERFORM payload FROM atp.read_stream('order-7', accept_versions => '{"OrderShipped": [2, 3]}');
EXCEPTION WHEN SQLSTATE 'TP227' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '%: %', SQLERRM, replace(detail, event::text, 'EVENT');
END $$;
\set VERBOSITY default
SELECT atp.cast_payload('OrderShipped', '{"zip": "1"}', 0, 3);
CREATE FUNCTION public.return_null(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
SELECT atp.register_upcaster('OrderShipped', 1, function => 'public.return_null(jsonb)');
SELECT atp.cast_payload('OrderShipped', '{"zip": "1"}', 1, 2);
CREATE FUNCTION public.return_scalar(jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT ''1''::jsonb';
SELECT atp.register_upcaster('OrderShipped', 1, function => 'public.return_scalar(jsonb)');
SELECT atp.cast_payload('OrderShipped', '{"zip": "1"}', 1, 2);
DROP FUNCTION public.return_scalar(jsonb);
SELECT atp.cast_payload('OrderShipped', '{"zip": "1"}', 1, 2);
SELECT atp.register_upcaster('OrderShipped', 1, '[{"op": "rename", "path": "/zip", "to": "postcode"}]');
SELECT atp.cast_payload('OrderShipped', '{"zip": "1", "postcode": "2"}', 1, 2);
SELECT atp.register_upcaster('OrderShipped', 1, '[{"op": "move", "path": "/zip", "to": "/a/b"}]');
SELECT atp.cast_payload('OrderShipped', '{"zip": "1", "a": "2"}', 1, 2);
SELECT atp.cast_payload('OrderShipped', '{"zip": "1"}', 1, 2), atp.cast_payload('OrderShipped', '{}', 1, 2);
SELECT atp.register_upcaster('OrderShipped', 1, '[{"op": "drop", "path": "/a~1b/~0/0"}, {"op": "default", "path": "/", "value": {"": null}}]');
SELECT atp.cast_payload('OrderShipped', '{"a/b": {"~": [1, 2]}}', 1, 2);

-- The function runs with the rights of who reads.
CREATE TABLE public.secret (word text);
INSERT INTO public.secret VALUES ('sesame');
CREATE FUNCTION public.tell_secret(jsonb) RETURNS jsonb LANGUAGE sql AS $$SELECT $1 || jsonb_build_object('by', current_user, 'word', (SELECT word FROM public.secret))$$;
SELECT atp.register_upcaster('OrderShipped', 1, function => 'public.tell_secret(jsonb)');
CREATE ROLE regress_upcaster_reader;
GRANT atp_reader TO regress_upcaster_reader;
SET ROLE regress_upcaster_reader;
SELECT atp.cast_payload('OrderShipped', '{}', 1, 2);
SELECT payload FROM atp.read_stream('order-7', 3, accept_versions => '{"OrderShipped": 3}');
RESET ROLE;
GRANT SELECT ON public.secret TO regress_upcaster_reader;
SET ROLE regress_upcaster_reader;
SELECT atp.cast_payload('OrderShipped', '{}', 1, 2);
SELECT atp.register_upcaster('OrderShipped', 1, '[]');
RESET ROLE;
REVOKE EXECUTE ON FUNCTION public.tell_secret(jsonb) FROM PUBLIC;
SET ROLE regress_upcaster_reader;
SELECT atp.cast_payload('OrderShipped', '{}', 1, 2);
RESET ROLE;

-- Malformed steps.
SELECT atp.register_upcaster('OrderMissing', 1, '[]');
SELECT atp.register_upcaster('OrderShipped', 3, '[]');
SELECT atp.register_downcaster('OrderShipped', 1, '[]');
SELECT atp.register_upcaster('OrderShipped', 1);
SELECT atp.register_upcaster('OrderShipped', 1, '[]', 'public.add_total(jsonb)');
SELECT atp.register_upcaster('OrderShipped', 1, function => 'pg_catalog.length(text)');
SELECT atp.register_upcaster('OrderShipped', 1, function => 'pg_catalog.jsonb_object_keys(jsonb)');
SELECT atp.register_upcaster('AuditEventReceived', 1, '[]');
\set VERBOSITY terse
DO $$
DECLARE
	operations text;
	why text;
BEGIN
	FOREACH operations IN ARRAY ARRAY['{}', '[1]', '[{}]', '[{"op": "copy", "path": "/a"}]', '[{"op": "drop"}]', '[{"op": "drop", "path": ""}]', '[{"op": "drop", "path": "a"}]',
		'[{"op": "drop", "path": "/a~2"}]', '[{"op": "drop", "path": "/a", "to": "b"}]', '[{"op": "rename", "path": "/a"}]', '[{"op": "move", "path": "/a", "to": "b"}]',
		'[{"op": "default", "path": "/a"}]', '[{"op": "map", "path": "/a", "values": {}}]', '[{"op": "map", "path": "/a", "values": [[1]]}]', '[{"op": "drop", "path": "/a"}, {"op": 1}]'] LOOP
		BEGIN
			PERFORM atp.register_upcaster('OrderShipped', 1, operations::jsonb);
			RAISE NOTICE '% was taken', operations;
		EXCEPTION WHEN SQLSTATE 'TP226' THEN
			GET STACKED DIAGNOSTICS why = PG_EXCEPTION_DETAIL;
			RAISE NOTICE '% %', rpad(operations, 60), why;
		END;
	END LOOP;
END $$;
DROP OWNED BY regress_upcaster_reader;
DROP ROLE regress_upcaster_reader;

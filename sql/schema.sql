-- The schema registry: versions of the schemas of event types, and what appends make of them.
\set SHOW_CONTEXT never
\pset null '(null)'

SELECT atp.register_event_type('ParcelShipped', 'A parcel left the house.', owner => 'logistics');
SELECT atp.register_schema('ParcelShipped', $${
	"type": "object",
	"required": ["parcel", "weight"],
	"properties": {
		"parcel": {"type": "string", "pattern": "^P[0-9]+$"},
		"weight": {"type": "number", "exclusiveMinimum": 0},
		"service": {"enum": ["letter", "parcel"]}
	}
}$$, changelog => 'First.');
SELECT event_type, owner, validation, compatibility, active_version, latest_version FROM atp.event_types WHERE event_type = 'ParcelShipped';
SELECT schema_version, status, compatibility, changelog FROM atp.list_schemas('ParcelShipped');

-- The append validates, and the event says by which version.
SELECT stream_version FROM atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P1", "weight": 0.5}');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "1", "weight": 0, "service": "bulk"}');
SELECT atp.append_events('parcel-1', '[{"event_type": "ParcelShipped", "payload": {"parcel": "P2", "weight": 1}}, {"event_type": "ParcelShipped"}]');
INSERT INTO atp.events (stream, event_type, payload) VALUES ('parcel-1', 'ParcelShipped', '{"weight": 1}');
INSERT INTO atp.events (stream, event_type, payload) VALUES ('parcel-1', 'ParcelShipped', '{"parcel": "P3", "weight": 1}') RETURNING stream_version, schema_version;
SELECT stream_version, schema_version, payload FROM atp.read_stream('parcel-1');
SELECT atp.append_event('parcel-1', 'ParcelShipped', jsonb_build_object('parcel', 'P4', 'weight', 1, 'service', 1) || (SELECT jsonb_object_agg('x' || n, n) FROM generate_series(1, 3) n));
SELECT * FROM atp.validate_payload('ParcelShipped', '{"parcel": "P", "service": "x"}') ORDER BY keyword_location COLLATE "C";
SELECT * FROM atp.validate_payload('ParcelShipped', '{"parcel": "P1", "weight": 1}');
SELECT * FROM atp.validate_payload('ParcelShipped', '{}', 2);
SELECT * FROM atp.validate_payload('ParcelLost', '{}');

-- The list of errors is bounded.
SELECT atp.register_schema('ListKept', '{"additionalProperties": {"type": "null"}}');
DO $$
DECLARE
	detail text;
BEGIN
	PERFORM atp.append_event('list-1', 'ListKept', (SELECT jsonb_object_agg(repeat('k', 700) || n, n) FROM generate_series(1, 1000) n));
EXCEPTION WHEN SQLSTATE 'TP221' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RAISE NOTICE '% lines, less than 6000 bytes: %, ends: %', array_length(string_to_array(detail, E'\n'), 1), length(detail) < 6000, right(detail, 30);
END $$;
SELECT count(*) FROM atp.validate_payload('ListKept', (SELECT jsonb_object_agg(n, n) FROM generate_series(1, 1000) n));

-- A second version: the first becomes deprecated, and is accepted where it is named.
SELECT atp.register_schema('ParcelShipped', $${
	"type": "object",
	"required": ["parcel"],
	"properties": {
		"parcel": {"type": "string", "pattern": "^P[0-9]+$"},
		"weight": {"type": "number", "exclusiveMinimum": 0},
		"service": {"enum": ["letter", "parcel", "pallet"]}
	}
}$$, description => 'Pallets; not everything is weighed.');
SELECT stream_version FROM atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P5"}');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P6"}', metadata => '{"schema_version": 1}');
SELECT stream_version FROM atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P6", "weight": 1}', metadata => '{"schema_version": 1}');
SELECT stream_version FROM atp.append_events('parcel-1', '[{"event_type": "ParcelShipped", "payload": {"parcel": "P7", "weight": 1}, "schema_version": 1}]');
INSERT INTO atp.events (stream, event_type, payload, schema_version) VALUES ('parcel-1', 'ParcelShipped', '{"parcel": "P8", "weight": 1}', 1) RETURNING schema_version;
SELECT stream_version, schema_version FROM atp.read_stream('parcel-1', 3);
SELECT * FROM atp.verify_stream('parcel-1');

-- Names of versions that are no versions, or not in use.
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P9"}', metadata => '{"schema_version": 3}');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P9"}', metadata => '{"schema_version": "2"}');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P9"}', metadata => '{"schema_version": 1.5}');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P9"}', metadata => '{"schema_version": 1e20}');
SELECT atp.append_events('parcel-1', '[{"event_type": "ParcelShipped", "payload": {"parcel": "P9"}, "schema_version": 0}]');
SELECT atp.append_events('parcel-1', '[{"event_type": "ParcelShipped", "payload": {"parcel": "P9"}, "schema_version": 1, "metadata": {"schema_version": 2}}]');
INSERT INTO atp.events (stream, event_type, payload, schema_version) VALUES ('parcel-1', 'ParcelShipped', '{"parcel": "P9"}', -1);
SELECT atp.append_event('parcel-1', 'ParcelLost', '{"parcel": "P9"}', metadata => '{"schema_version": 1}');
SELECT atp.register_schema('ParcelShipped', '{"type": "object", "required": []}', 'NONE', status => 'draft');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P9"}', metadata => '{"schema_version": 3}');

-- The same schema again is the same version.
SELECT atp.register_schema('ParcelShipped', '{"required": [], "type": "object"}');

-- Status: what is allowed, and its history.
SELECT atp.set_schema_status('ParcelShipped', 2, 'retired');
SELECT atp.set_schema_status('ParcelShipped', 2, 'draft');
SELECT atp.set_schema_status('ParcelShipped', 3, 'deprecated');
SELECT atp.set_schema_status('ParcelShipped', 4, 'active');
SELECT atp.set_schema_status('ParcelShipped', 1, 'gone');
SELECT atp.set_schema_status('ParcelLost', 1, 'active');
SELECT atp.set_schema_status('ParcelShipped', 1, 'deprecated', sunset_at => 'infinity');
SELECT atp.set_schema_status('ParcelShipped', 1, 'retired');
SELECT atp.set_schema_status('ParcelShipped', 1, 'deprecated', sunset_at => '2020-01-01 UTC');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P9", "weight": 1}', metadata => '{"schema_version": 1}');
SELECT atp.set_schema_status('ParcelShipped', 1, 'retired', 'Nobody writes it.');
SELECT atp.append_event('parcel-1', 'ParcelShipped', '{"parcel": "P9", "weight": 1}', metadata => '{"schema_version": 1}');
SELECT atp.set_schema_status('ParcelShipped', 1, 'active');
SELECT atp.set_schema_status('ParcelShipped', 3, 'active', 'Everything goes.');
SELECT atp.set_schema_status('ParcelShipped', 2, 'active', 'No, it does not.');
SELECT schema_version, change, status, reason FROM atp.schema_history WHERE event_type = 'ParcelShipped' ORDER BY 1, 2;
SELECT schema_version, status FROM atp.list_schemas('ParcelShipped');
SELECT (atp.get_schema('ParcelShipped')).schema_version, (atp.get_schema('ParcelShipped', 1)).status, atp.get_schema('ParcelShipped', 9) IS NULL AS none;

-- A repeated append gets its receipt, whatever the schema says today; a new event does not.
SELECT stream_version FROM atp.append_event('parcel-2', 'ParcelShipped', '{"parcel": "P1", "weight": 0.5}', idempotency_key => 'k1');
SELECT atp.register_schema('ParcelShipped', '{"required": ["depot"]}', 'NONE');
SELECT stream_version, deduplicated FROM atp.append_event('parcel-2', 'ParcelShipped', '{"parcel": "P1", "weight": 0.5}', idempotency_key => 'k1');
SELECT atp.append_event('parcel-2', 'ParcelShipped', '{"parcel": "P1", "weight": 0.5}', idempotency_key => 'k2');

-- Validation modes: record stores the event and marks the record; off does not look.
SELECT atp.register_event_type('ParcelShipped', validation => 'record');
SELECT stream_version FROM atp.append_event('parcel-2', 'ParcelShipped', '{"parcel": "P1", "weight": 0.5}', idempotency_key => 'k2');
SELECT stream_version FROM atp.append_event('parcel-2', 'ParcelShipped', '{"depot": 1}');
SELECT atp.register_event_type('ParcelShipped', validation => 'off');
SELECT stream_version FROM atp.append_event('parcel-2', 'ParcelShipped', '{"parcel": false}');
SELECT stream_version, schema_version FROM atp.read_stream('parcel-2');
SELECT stream, stream_version, event_type, schema_version FROM atp.schema_violations;
SELECT v.stream_version, e.message FROM atp.schema_violations v JOIN atp.events USING (event_id),
	LATERAL atp.validate_payload(v.event_type, payload, v.schema_version) e;
SELECT * FROM atp.verify_stream('parcel-2');

-- Search.
SELECT event_type, schema_version FROM atp.search_schemas('pallets');
SELECT event_type, schema_version FROM atp.search_schemas('shipped weight -pallets');
SELECT event_type FROM atp.search_schemas('logistics depot');
SELECT event_type FROM atp.search_schemas('nothing of the sort');

-- What cannot be registered; nothing is left of it.
SELECT atp.register_schema('ThingFailed', '{"type": "objekt"}');
SELECT atp.register_schema('ThingFailed', '{"properties": {"a": {"$ref": "#/$defs/none"}}}');
SELECT atp.register_schema('ThingFailed', '{"$ref": "https://nowhere.example/x.json"}');
SELECT atp.register_schema('ThingFailed', '{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}');
SELECT atp.register_schema('ThingFailed', '{"pattern": "("}');
SELECT atp.register_schema('ThingFailed', jsonb_build_object('pattern', repeat('a', 100000)));
SELECT atp.register_schema('ThingFailed', jsonb_build_object('description', repeat('a', 5000000)));
SELECT atp.register_schema('ThingFailed', NULL);
SELECT atp.register_schema('ThingFailed', '{}', 'SIDEWAYS');
SELECT atp.register_schema('ThingFailed', '{}', status => 'retired');
SELECT atp.register_schema('FailThing', '{}');
SELECT atp.register_schema(NULL, '{}');
SELECT atp.register_event_type('ThingFailed', validation => 'maybe');
\set VERBOSITY terse
SELECT atp.register_schema('ThingFailed', (repeat('{"not":', 6000) || 'true' || repeat('}', 6000))::jsonb);
\set VERBOSITY default
SELECT count(*) FROM atp.event_types WHERE event_type = 'ThingFailed';
SELECT count(*) FROM atp.schemas WHERE event_type = 'ThingFailed';

-- What is registered stays what it is.
UPDATE atp_internal.event_type SET name = 'ParcelSent' WHERE name = 'ParcelShipped';
DELETE FROM atp_internal.event_type WHERE name = 'ParcelShipped';
UPDATE atp_internal.event_schema SET document = '{}';
DELETE FROM atp_internal.event_schema;

-- A version registered by a transaction that rolled back is not remembered, nor its compiled schema.
BEGIN;
SELECT atp.register_schema('BoxOpened', '{"required": ["a"]}');
SELECT stream_version FROM atp.append_event('box-1', 'BoxOpened', '{"a": 1}');
ROLLBACK;
SELECT atp.register_schema('BoxOpened', '{"required": ["b"]}');
SELECT stream_version FROM atp.append_event('box-1', 'BoxOpened', '{"b": 1}');
SELECT atp.append_event('box-1', 'BoxOpened', '{"a": 1}');
SELECT schema_version FROM atp.read_stream('box-1');

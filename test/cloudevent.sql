-- CloudEvents: every rule of an attribute refuses what breaks it, with TP210 and the attribute's name, and nothing is stored.
BEGIN;
SELECT plan(63);
CREATE FUNCTION pg_temp.refusal(change jsonb, without text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	PERFORM atp.append_cloudevent(('{"specversion": "1.0", "type": "OrderPlaced", "source": "/orders", "id": "1", "data": {"n": 1}}'::jsonb - without) || change, 'order-1');
	RETURN 'accepted';
EXCEPTION WHEN SQLSTATE 'TP210' THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN detail;
END $$;
SELECT is(pg_temp.refusal('{}', name), format('Attribute "%s" is required and missing.', name), name || ' missing')
	FROM unnest('{specversion,id,source,type}'::text[]) AS name;
SELECT is(pg_temp.refusal(jsonb_build_object(name, NULL)), format('Attribute "%s" is required and missing.', name), name || ' null')
	FROM unnest('{specversion,id,source,type}'::text[]) AS name;
SELECT is(pg_temp.refusal(jsonb_build_object(name, '')), format('Attribute "%s" is empty.', name), name || ' empty')
	FROM unnest('{specversion,id,source,type,subject,time,datacontenttype,dataschema}'::text[]) AS name;
SELECT is(pg_temp.refusal(jsonb_build_object(name, 1)), format('Attribute "%s" is not a string.', name), name || ' a number')
	FROM unnest('{specversion,id,source,type,subject,time,datacontenttype,dataschema,traceparent,correlationid,tenant,data_base64}'::text[]) AS name;
SELECT is(pg_temp.refusal(document), 'Attribute ' || says, document::text) FROM (VALUES
	('{"specversion": "1.1"}'::jsonb, '"specversion" is not 1.0.'),
	('{"source": "a b"}', '"source" is not a URI reference.'),
	('{"source": "%zz"}', '"source" is not a URI reference.'),
	('{"dataschema": "/relative"}', '"dataschema" is not an absolute URI.'),
	('{"time": "2026-01-01"}', '"time" is not an RFC 3339 timestamp.'),
	('{"time": "2026-01-01 00:00:00Z"}', '"time" is not an RFC 3339 timestamp.'),
	('{"time": "2026-02-30T00:00:00Z"}', '"time" is no time that exists.'),
	('{"datacontenttype": "json"}', '"datacontenttype" is not a media type.'),
	('{"traceparent": "00-0"}', '"traceparent" is not a W3C traceparent.'),
	('{"tracestate": "="}', '"tracestate" is not a W3C tracestate.'),
	('{"Upper": "x"}', '"Upper" has a name that is not made of lower-case letters and digits.'),
	('{"with-hyphen": "x"}', '"with-hyphen" has a name that is not made of lower-case letters and digits.'),
	('{"ext": {"a": 1}}', '"ext" is an object; a string, boolean or integer is allowed.'),
	('{"ext": [1]}', '"ext" is an array; a string, boolean or integer is allowed.'),
	('{"ext": 1.5}', '"ext" is not an integer of 32 bits.'),
	('{"ext": 2147483648}', '"ext" is not an integer of 32 bits.'),
	('{"ext": -2147483649}', '"ext" is not an integer of 32 bits.'),
	('{"ext": "a\u0007b"}', '"ext" has a control character.'),
	('{"cloudevent": "x"}', '"cloudevent" has a name that the store uses itself.'),
	('{"data_base64": "Zm9v"}', '"data_base64" stands beside data.')) AS t(document, says);
SELECT is(pg_temp.refusal('{"data_base64": "Zm9"}', 'data'), 'Attribute "data_base64" is not base 64.', 'base 64 without padding');
SELECT throws_ok($$SELECT atp.append_cloudevent('{"specversion": "1.0", "type": "OrderPlaced", "source": "/x", "id": "1", "tenant": "a"}', 'order-1', tenant => 'b')$$,
	'TP210', NULL, 'two tenants');
SELECT throws_ok($$SELECT atp.append_cloudevent('{"specversion": "1.0", "type": "OrderPlaced", "source": "/x", "id": "1", "tenant": "nobody"}', 'order-1')$$,
	'TP202', NULL, 'an unknown tenant');
SELECT throws_ok('SELECT atp.append_cloudevent(NULL)', 'TP210', NULL, 'NULL');
SELECT is((SELECT count(*) FROM atp_internal.stream WHERE name = 'order-1'), 0::bigint, 'nothing was stored');

-- Types become event types.
SELECT is(atp_internal.cloudevent_type(type), becomes, type) FROM (VALUES ('OrderPlaced', 'OrderPlaced'), ('com.example.OrderPlaced', 'OrderPlaced'),
	('com.example.order_line.added.v2', 'OrderLineAddedV2'), ('com.example.OrderPlaced.v3', 'OrderPlacedV3')) AS t(type, becomes);

-- Outward and in again, the document is the same: data of every kind, integers at their bounds, null for what is absent.
CREATE FUNCTION pg_temp.round_trip(document jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	receipt atp.receipt := atp.append_cloudevent(document, 'trip-1');
BEGIN
	RETURN atp.get_cloudevent(receipt.event_id) - '{tenant,streamversion,recordedtime}'::text[];
END $$;
SELECT is(pg_temp.round_trip(document), document, document::text) FROM (
	SELECT '{"specversion": "1.0", "type": "com.example.trip.made", "source": "urn:x", "time": "2026-01-01T00:00:00.000000Z"}'::jsonb
			|| jsonb_build_object('id', 'r' || row_number() OVER ()) || part AS document
		FROM (VALUES ('{}'::jsonb), ('{"data": null}'), ('{"data": [1, "x"]}'), ('{"data": "text", "datacontenttype": "text/plain; charset=utf-8"}'),
			('{"data": {"data": 1}, "datacontenttype": "application/json", "dataschema": "https://example.com/schema#1", "subject": "s"}'),
			('{"data_base64": "AAEC", "ext": 2147483647, "low": -2147483648, "yes": true, "1st": "x", "tracestate": "a=1"}')) AS p(part)) d;
SELECT * FROM finish();
ROLLBACK;

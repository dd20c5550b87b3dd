-- CloudEvents 1.0.2 in JSON format, outward and inward.
SET atp.actor = 'alice';
SET atp.correlation_id = 'corr-1';
SELECT event_id FROM atp.append_event('cloudevent-1', 'OrderPlaced', '{"total": 12.50}', metadata => '{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	"attempt": 2, "vip": true, "Trace-Tag": "x", "nested": {"left": "out"}, "ratio": 0.5}', occurred_at => '2026-02-03 04:05:06.789Z') \gset
RESET atp.actor;
RESET atp.correlation_id;
SELECT jsonb_pretty(atp.get_cloudevent(:'event_id') - 'id' - 'recordedtime') AS document;
SELECT atp.get_cloudevent(:'event_id') ->> 'id' = atp.ulid_from_uuid(:'event_id') AS id_is_the_ulid;
SELECT atp.get_cloudevent(gen_random_uuid());
-- inward: the document that the specification shows
SELECT event_id, stream_version, deduplicated FROM atp.append_cloudevent('{
	"specversion": "1.0", "type": "com.github.pull_request.opened", "source": "https://github.com/cloudevents/spec/pull", "subject": "123",
	"id": "A234-1234-1234", "time": "2018-04-05T17:31:00Z", "comexampleextension1": "value", "comexampleothervalue": 5,
	"datacontenttype": "text/xml", "data": "<much wow=\"xml\"/>"}', stream => 'pull-123') \gset first_
SELECT stream, stream_version, event_type, payload, metadata, occurred_at = '2018-04-05T17:31:00Z' AS on_time FROM atp.events WHERE event_id = :'first_event_id';
SELECT jsonb_pretty(atp.get_cloudevent(:'first_event_id') - 'recordedtime') AS document;
-- the same again is the same event; the same id from elsewhere is another
SELECT event_id = :'first_event_id' AS same, deduplicated FROM atp.append_cloudevent('{"id": "A234-1234-1234",
	"specversion": "1.0", "type": "com.github.pull_request.opened", "source": "https://github.com/cloudevents/spec/pull", "subject": "123",
	"time": "2018-04-05T17:31:00Z", "comexampleextension1": "value", "comexampleothervalue": 5,
	"datacontenttype": "text/xml", "data": "<much wow=\"xml\"/>"}', stream => 'pull-123');
SELECT stream_version, deduplicated FROM atp.append_cloudevent('{"specversion": "1.0", "type": "com.github.pull_request.opened", "source": "/elsewhere",
	"id": "A234-1234-1234"}', stream => 'pull-123');
SELECT stream_version FROM atp.append_cloudevent('{"specversion": "1.0", "type": "com.github.pull_request.closed", "source": "https://github.com/cloudevents/spec/pull",
	"id": "A234-1234-1234"}', stream => 'pull-123');
-- a ULID is the event id; subject names the stream; binary data
SELECT atp.ulid() AS ulid \gset
SELECT atp.ulid_from_uuid(event_id) = :'ulid' AS id_kept, stream_version FROM atp.append_cloudevent(jsonb_build_object('specversion', '1.0', 'type', 'ScanTaken',
	'source', '/scanner', 'id', :'ulid', 'subject', 'scan-1', 'datacontenttype', 'image/png', 'data_base64', 'iVBORw0KGgo=', 'correlationid', 'c-9', 'tenant', 'default'));
SELECT atp.get_cloudevent(atp.ulid_to_uuid(:'ulid')) - 'recordedtime' - 'id' AS document;
SELECT payload, metadata FROM atp.events WHERE event_id = atp.ulid_to_uuid(:'ulid');
-- refused, with what and where
\set SHOW_CONTEXT never
SELECT atp.append_cloudevent('{"specversion": "1.0", "type": "OrderPlaced", "source": "/x"}', 'cloudevent-1');
SELECT atp.append_cloudevent('{"specversion": "0.3", "type": "OrderPlaced", "source": "/x", "id": "1"}', 'cloudevent-1');
SELECT atp.append_cloudevent('{"specversion": "1.0", "type": "OrderPlaced", "source": "/x", "id": "1", "foo_bar": "1"}', 'cloudevent-1');
SELECT atp.append_cloudevent('{"specversion": "1.0", "type": "OrderPlaced", "source": "/x", "id": "1"}');
SELECT atp.append_cloudevent('[]');
SELECT version FROM atp.streams WHERE stream = 'cloudevent-1';

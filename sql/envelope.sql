-- The envelope: names, sizes, depth, metadata, trace context, session defaults.
\set VERBOSITY terse
DO $$
DECLARE
	name text;
	verdict text;
BEGIN
	FOREACH name IN ARRAY ARRAY['envelope-1', 'a-b', 'Envelope.Type_2:x-id with space', 'envelope-é/ü:@#', 'envelope-' || repeat('x', 246),
		'envelope-' || repeat('x', 247), 'envelope', '-1', 'envelope-', '1envelope-1', 'envelo pe-1', E'envelope-\t', '', 'é-1'] LOOP
		BEGIN
			PERFORM atp.append_event(name, 'NameTested', '{}');
			verdict := 'ok';
		EXCEPTION WHEN OTHERS THEN
			verdict := sqlstate;
		END;
		RAISE NOTICE '% %', rpad(left(name, 32), 32), verdict;
	END LOOP;
END $$;
\set VERBOSITY default
SELECT atp.append_event('envelope', 'NameTested', '{}');
SELECT atp.append_event('envelope-2', 'PayloadTested', '[1]');
SELECT atp.append_event('envelope-2', 'PayloadTested', '"text"');
SELECT atp.append_event('envelope-2', 'PayloadTested', NULL);
SELECT atp.append_event(NULL, 'PayloadTested', '{}');
SELECT atp.append_event('envelope-2', NULL, '{}');
SELECT stream_version FROM atp.append_event('envelope-2', 'PayloadTested', (repeat('{"a":', 63) || '{}' || repeat('}', 63))::jsonb);
SELECT atp.append_event('envelope-2', 'PayloadTested', (repeat('{"a":', 64) || '{}' || repeat('}', 64))::jsonb);
SET atp.payload_max_size = 1024;
SELECT stream_version FROM atp.append_event('envelope-2', 'PayloadTested', jsonb_build_object('t', repeat('x', 1016)));
SELECT atp.append_event('envelope-2', 'PayloadTested', jsonb_build_object('t', repeat('x', 1017)));
SELECT atp.append_event('envelope-2', 'PayloadTested', jsonb_build_object('t', repeat('x', 100000)));
RESET atp.payload_max_size;

SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => '[]');
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => '{"bad key": 1}');
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => '{"": 1}');
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => '{"actor": 1}');
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => '{"traceparent": "00-x"}');
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => '{"tracestate": "="}');
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => jsonb_build_object('note', repeat('x', 20000)));
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', idempotency_key => '');
SELECT atp.append_event('envelope-3', 'MetadataTested', '{}', occurred_at => 'infinity');
SELECT count(*) FROM atp.events WHERE stream = 'envelope-3';

-- session defaults fill what the caller leaves out
SET atp.actor = 'user:1';
SET atp.correlation_id = 'c-1';
SET atp.traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
SELECT stream_version FROM atp.append_event('envelope-3', 'MetadataTested', '{}');
SELECT stream_version FROM atp.append_event('envelope-3', 'MetadataTested', '{}', metadata => '{"actor": "user:2", "ip": "10.0.0.1"}');
SET atp.causation_id = 'x';
RESET atp.traceparent;
SELECT stream_version FROM atp.append_event('envelope-3', 'MetadataTested', '{}');
SELECT stream_version, metadata FROM atp.events WHERE stream = 'envelope-3' ORDER BY stream_version;
SET atp.traceparent = 'nonsense';
RESET atp.actor;
RESET atp.correlation_id;
RESET atp.causation_id;

-- the window of a caller's id
\set VERBOSITY sqlstate
SELECT atp.append_event('envelope-4', 'IdTested', '{}', event_id => '00000000-0000-0000-0000-000000000001');
SELECT stream_version FROM atp.append_event('envelope-4', 'IdTested', '{}', event_id => atp.create_event_id());

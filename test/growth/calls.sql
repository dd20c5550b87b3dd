-- What a backend is asked to do again and again, one row a call. `needs` names the function of schema atp; while it does not exist
-- the call is counted as skipped. The first two rows need none: nothing must not grow, and what keeps memory must.
INSERT INTO growth_call (label, needs, statement) VALUES
	('nothing', NULL, 'SELECT 1'),
	('a leak on purpose', NULL, $$DO 'BEGIN EXECUTE format(''PREPARE p%s AS SELECT 1'', nextval(''growth_name'')); END'$$),
	('canonical_json, jsonb', 'canonical_json',
		$$SELECT atp.canonical_json('{"b": [1, 2.50, "x\u00e9\ud83d\ude00", null, true], "a": {"c": 1e10, "d": {}}}'::jsonb)$$),
	('canonical_json, rfc8785', 'canonical_json', $$SELECT atp.canonical_json('{"b": [1, 2.50, 1e-7], "a": 333333333.33333329}'::jsonb, 'rfc8785')$$),
	('canonical_json, refused', 'canonical_json', $$SELECT atp.canonical_json('{"a": 1e400}'::jsonb, 'rfc8785')$$),
	('ulid', 'ulid', 'SELECT atp.ulid_time(atp.ulid()), atp.create_event_id()'),
	('merkle_root', 'merkle_root', $$SELECT atp.merkle_root(ARRAY['\x00', '\x01', '\x02', '\x03', '\x04']::bytea[])$$),
	('traceparent_parse', 'traceparent_parse', $$SELECT atp.traceparent_parse('00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')$$),
	('tracestate_parse', 'tracestate_parse', $$SELECT atp.tracestate_parse('congo=t61rcWkgMzE,rojo=00f067aa0ba902b7')$$),
	('ed25519_verify', 'ed25519_verify', $$SELECT atp.ed25519_verify(
		'\xd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a', '',
		'\xe5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b')$$),
	('note_verify, refused', 'note_verify', $$SELECT atp.note_verify('x', 'y')$$),
	('schema_is_valid', 'schema_is_valid',
		$$SELECT atp.schema_is_valid('{"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-z]+$"}}, "required": ["a"]}', '{"a": "abc"}')$$),
	('schema_errors', 'schema_errors',
		$$SELECT atp.schema_errors('{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a", "b"]}', '{"a": 1}')$$),
	('schema_is_valid, many schemas', 'schema_is_valid',
		$$SELECT atp.schema_is_valid(pg_catalog.jsonb_build_object('type', 'integer', 'maximum', nextval('growth_name') % 250), '7')$$),
	('schema_is_valid, more schemas than the cache holds', 'schema_is_valid',
		$$SELECT pg_catalog.set_config('atp.schema_cache_size', '256kB', false),
			atp.schema_is_valid(pg_catalog.jsonb_build_object('type', 'integer', 'maximum', nextval('growth_name')), '7')$$),
	('validate_payload', 'validate_payload', $$SELECT atp.validate_payload('GrowthMeasured', '{"a": 1}')$$),
	('append_event, one stream', 'append_event',
		$$SELECT atp.append_event('Growth-1', 'ThingHappened', '{"a": 1, "b": "some text of a few words"}')$$),
	('append_event, many streams', 'append_event',
		$$SELECT atp.append_event('Growth-' || pg_catalog.gen_random_uuid(), 'ThingHappened', '{"a": 1}', metadata => '{"actor": "x"}')$$),
	('append_event, refused', 'append_event',
		$$SELECT atp.append_event('Growth-1', 'ThingHappened', '[1]')$$),
	('append_event, repeated', 'append_event', $$SELECT atp.append_event('Growth-4', 'ThingHappened', '{"a": 1}', idempotency_key => 'k')$$),
	('append_event, repeated with other content', 'append_event', $$SELECT atp.append_event('Growth-4', 'ThingHappened', '{"a": 2}', idempotency_key => 'k')$$),
	('ingest_event', 'ingest_event', $$SELECT atp.ingest_event('a', 'b', 'Growth-6', '{"a": 1}')$$),
	('ingest_event, refused', 'ingest_event', $$SELECT atp.ingest_event('a', '', 'Growth-6', '[1]')$$),
	('ingest_event, refused under way', 'ingest_event', $$SELECT atp.ingest_event('a', 'b', 'Growth-6', '{}', metadata => '{"actor": 1}')$$),
	('ingest_batch', 'ingest_batch', $$SELECT pg_catalog.count(*) FROM atp.ingest_batch(pg_catalog.jsonb_build_array(
		'{"actor": "a", "action": "b", "resource": "Growth-7"}'::jsonb, '1'::jsonb, '{"actor": "a", "action": "b", "resource": "Growth-8"}'::jsonb), 'growth',
		pg_catalog.gen_random_uuid())$$),
	('ingest, by INSERT', 'ingest_batch', $$INSERT INTO atp.ingest (actor, action, resource, payload) VALUES ('a', 'b', 'Growth-9', '{"a": 1}')$$),
	('append_event, version conflict', 'append_event', $$SELECT atp.append_event('Growth-1', 'ThingHappened', '{}', expected_version => 0)$$),
	('append_event, validated', 'register_schema', $$SELECT atp.append_event('Growth-5', 'GrowthMeasured', '{"a": 1}')$$),
	('append_event, not valid', 'register_schema', $$SELECT atp.append_event('Growth-5', 'GrowthMeasured', '{"a": "x"}')$$),
	('append_event, unknown tenant', 'append_event', $$SELECT atp.append_event('Growth-1', 'ThingHappened', '{}', tenant => 'nobody')$$),
	('append_event, taken back', 'append_event',
		$$DO 'BEGIN PERFORM atp.append_event(''Growth-6'', ''ThingHappened'', ''{}''); RAISE EXCEPTION ''no''; END'$$),
	('INSERT INTO atp.events', 'append_event', $$INSERT INTO atp.events (stream, event_type) VALUES ('Growth-7', 'ThingHappened'), ('Growth-8', 'ThingHappened')$$),
	('COPY atp.events', 'append_event', $$COPY atp.events (stream, event_type) FROM PROGRAM 'echo Growth-7,ThingHappened' WITH (FORMAT csv)$$),
	('COPY atp.ingest', 'ingest_batch', $$COPY atp.ingest (actor, action, resource, payload) FROM PROGRAM 'echo a,b,Growth-9,{}' WITH (FORMAT csv)$$),
	('DELETE, refused', 'append_event', 'DELETE FROM atp_internal.event WHERE false'),
	('tick', 'tick', 'SELECT atp.tick()'),
	('begin_handling', 'begin_handling', $$SELECT atp.begin_handling('growth', atp.create_event_id())$$),
	('acquire_permit', 'acquire_permit', $$SELECT atp.acquire_permit('growth')$$),
	('acquire_tokens', 'acquire_tokens', $$SELECT atp.acquire_tokens('growth')$$),
	('create_policy', 'create_policy', $$SELECT atp.create_policy('growth-' || nextval('growth_name'), 'access', '{"Effect": "deny", "Roles": ["x"], "Permissions": ["read"]}')$$),
	('append_events', 'append_events',
		$$SELECT atp.append_events('Growth-2', '[{"event_type": "ThingHappened", "payload": {"a": 1}}, {"event_type": "ThingHappened", "payload": {"a": 2}}]')$$),
	('read_stream', 'read_stream', $$SELECT count(*) FROM atp.read_stream('Growth-1', max_count => 20)$$),
	('read_stream, backward', 'read_stream', $$SELECT count(*) FROM atp.read_stream('Growth-1', max_count => 20, direction => 'backward')$$),
	('atp.events', 'read_stream', $$SELECT count(*) FROM atp.events WHERE stream = 'Growth-4'$$),
	('read_log', 'read_log', $$SELECT count(*) FROM atp.read_log(0, 20)$$),
	('ingest_event', 'ingest_event', $$SELECT atp.ingest_event('anna', 'paid', 'invoice-1', '{"sum": 1}')$$),
	('append_cloudevent', 'append_cloudevent', $$SELECT atp.append_cloudevent(pg_catalog.jsonb_build_object('specversion', '1.0', 'id', nextval('growth_name')::text,
		'source', '/growth', 'type', 'com.example.thing.happened', 'data', '{}'::jsonb), 'Growth-9', 'ThingHappened')$$),
	('get_cloudevent, of an event', 'get_cloudevent', $$SELECT atp.get_cloudevent((SELECT event_id FROM atp.read_stream('Growth-4') LIMIT 1))$$),
	('claim_events and ack', 'claim_events', $$SELECT atp.ack_events('growth', c.lease) FROM (SELECT lease FROM atp.claim_events('growth', 1) LIMIT 1) c$$),
	('prove_event, of no event', 'prove_event', $$SELECT atp.prove_event('00000000-0000-0000-0000-000000000000')$$),
	('search the projection', 'search_text', $$SELECT count(*) FROM atp.audit_event_projection WHERE actor = 'x' AND log_position < 20$$),
	('list_heads', 'list_heads', $$SELECT atp.list_heads(0, 1)$$),
	('get_cloudevent', 'get_cloudevent', $$SELECT atp.get_cloudevent('00000000-0000-0000-0000-000000000000')$$),
	('get_event', 'get_event', $$SELECT atp.get_event('00000000-0000-0000-0000-000000000000')$$),
	('get_stream', 'get_stream', $$SELECT atp.get_stream('Growth-1')$$),
	('verify_stream', 'verify_stream', $$SELECT atp.verify_stream('Growth-4'), atp.verify_stream('Growth-3')$$);

-- Those that refuse, and with what.
UPDATE growth_call c SET refusal = r.refusal FROM (VALUES ('canonical_json, refused', 'TP208'), ('note_verify, refused', 'TP502'),
	('append_event, refused', 'TP205'), ('append_event, repeated with other content', 'TP104'), ('append_event, version conflict', 'TP101'),
	('append_event, not valid', 'TP221'), ('append_event, unknown tenant', 'TP202'), ('append_event, taken back', 'P0001'),
	('prove_event, of no event', 'TP111'), ('DELETE, refused', 'TP107')) r (label, refusal) WHERE c.label = r.label;

-- What some of them need.
DO $$
BEGIN
	IF to_regproc('atp.register_schema') IS NOT NULL THEN
		PERFORM atp.register_schema('GrowthMeasured', '{"type": "object", "properties": {"a": {"type": "integer"}}}');
	END IF;
	IF to_regproc('atp.create_subscription') IS NOT NULL THEN
		-- of one stream: the names of streams that a backend remembers are bounded (delivery/feed), but many
		PERFORM atp.create_subscription('growth', event_types => '{GrowthMeasured}', partitions => 1);
	END IF;
	IF to_regproc('atp.create_breaker') IS NOT NULL THEN
		PERFORM atp.create_breaker('growth');
		PERFORM atp.create_rate_limit('growth', 1000000);
	END IF;
END $$;

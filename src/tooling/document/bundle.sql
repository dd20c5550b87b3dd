-- Documents over all event types: a JSON Schema bundle and AsyncAPI 3.0.
CREATE FUNCTION atp.generate_json_schema() RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object('$schema', 'https://json-schema.org/draft/2020-12/schema', '$id', 'urn:atp:events',
			'title', 'Payloads of all event types', 'description', 'Each definition is the active schema of the event type that it is named after.',
			'$defs', coalesce(jsonb_object_agg(c.event_type, CASE WHEN jsonb_typeof(c.schema) = 'object' AND NOT c.schema ? '$id'
				THEN c.schema || jsonb_build_object('$id', format('urn:atp:event:%s:%s', c.event_type, c.schema_version)) ELSE c.schema END), '{}'))
		FROM atp.event_type_catalog c WHERE c.schema IS NOT NULL;
END;
COMMENT ON FUNCTION atp.generate_json_schema() IS
'Generate one JSON Schema document with the active schema of every event type.
Each is a definition with an $id of its own, so that references inside it mean what they meant.';
REVOKE ALL ON FUNCTION atp.generate_json_schema() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_json_schema() TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.asyncapi_schema(event_type text, schema jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN pg_catalog.jsonb_typeof(schema) = 'object' THEN
		(pg_catalog.replace(pg_catalog.replace((schema - '$schema' - '$id')::text, '"$ref": "#/', '"$ref": "#/components/schemas/' || event_type || '/'),
			'"$ref": "#"', '"$ref": "#/components/schemas/' || event_type || '"'))::jsonb
		ELSE '{"type": "object"}' END;
COMMENT ON FUNCTION atp_internal.asyncapi_schema(text, jsonb) IS
'Return a schema as a component of an AsyncAPI document.
References within it are made to point to where it stands there.';
REVOKE ALL ON FUNCTION atp_internal.asyncapi_schema(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.generate_asyncapi(title text DEFAULT 'Events of this database', version text DEFAULT '1.0.0') RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT jsonb_build_object('asyncapi', '3.0.0', 'defaultContentType', 'application/json',
			'info', jsonb_build_object('title', generate_asyncapi.title, 'version', generate_asyncapi.version,
				'description', 'Event types registered in atp. A channel stands for the events of a category, read by subscription or from the log.'),
			'channels', (SELECT jsonb_object_agg(g.category, jsonb_build_object('address', 'atp.' || g.category,
					'title', g.category, 'messages', g.messages)) FROM (
				SELECT c.category, jsonb_object_agg(c.event_type, jsonb_build_object('$ref', '#/components/messages/' || c.event_type)) AS messages
					FROM atp.event_type_catalog c GROUP BY c.category) g),
			'operations', (SELECT jsonb_object_agg('receive_' || g.category, jsonb_build_object('action', 'receive', 'summary', 'Events of the category ' || g.category,
					'channel', jsonb_build_object('$ref', '#/channels/' || g.category), 'messages', g.messages)) FROM (
				SELECT c.category, jsonb_agg(jsonb_build_object('$ref', format('#/channels/%s/messages/%s', c.category, c.event_type))
						ORDER BY c.event_type COLLATE "C") AS messages
					FROM atp.event_type_catalog c GROUP BY c.category) g),
			'components', jsonb_build_object(
				'messages', (SELECT jsonb_object_agg(c.event_type, jsonb_strip_nulls(jsonb_build_object('name', c.event_type, 'title', c.event_type,
						'summary', c.description, 'contentType', 'application/json',
						'payload', jsonb_build_object('$ref', '#/components/schemas/' || c.event_type), 'x-kind', c.kind, 'x-category', c.category,
						'x-producers', to_jsonb(c.producers), 'x-consumers', to_jsonb(c.consumers), 'x-rules', to_jsonb(c.rules), 'x-idempotency-key', c.idempotency_key,
						'x-retry', c.retry, 'x-dead-letter', c.dead_letter, 'x-monitoring', c.monitoring, 'x-emitted', c.emitted, 'x-schema-version', c.schema_version))
						|| CASE WHEN c.example IS NULL THEN '{}' ELSE jsonb_build_object('examples', jsonb_build_array(jsonb_build_object('name', 'example', 'payload', c.example))) END)
					FROM atp.event_type_catalog c),
				'schemas', (SELECT jsonb_object_agg(c.event_type, atp_internal.asyncapi_schema(c.event_type, c.schema)) FROM atp.event_type_catalog c)));
END;
COMMENT ON FUNCTION atp.generate_asyncapi(text, text) IS
'Generate an AsyncAPI 3.0 document of every event type.
One channel and one receiving operation a category; a message and a schema a type. What AsyncAPI has no word for (kind, rules, retry, dead letters, monitoring) stands in members that begin with x-.';
REVOKE ALL ON FUNCTION atp.generate_asyncapi(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_asyncapi(text, text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

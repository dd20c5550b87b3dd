-- Events as CloudEvents 1.0.2 documents in JSON format, outward and inward.
--
-- What atp has a place for goes there: id (a ULID), type, time, data, and the extensions traceparent, tracestate, correlationid,
-- causationid, actor, action, resource and tenant. Other extensions become metadata members of their name. What the store cannot derive
-- when the event goes out again (another id, source, type, subject, content type, schema, data that are no object) stands in the
-- metadata member cloudevent, so that a document comes back as it came.
CREATE FUNCTION atp_internal.cloudevent_refuse(attribute text, problem text, remedy text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'TP210', MESSAGE = 'not a CloudEvents 1.0 event that can be stored',
		DETAIL = CASE WHEN attribute IS NULL THEN problem || '.' ELSE format('Attribute "%s" %s.', left(attribute, 64), problem) END,
		HINT = coalesce(remedy, 'See the CloudEvents specification 1.0.2 and its JSON format.');
END $$;
COMMENT ON FUNCTION atp_internal.cloudevent_refuse(text, text, text) IS
'Refuse a document, naming the attribute and what is wrong with it.
Raises: TP210.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_refuse(text, text, text) FROM PUBLIC;

-- The rules of single attributes, as regular expressions: RFC 3986 (characters of a URI), RFC 3339, RFC 2045.
CREATE FUNCTION atp_internal.cloudevent_check(name text, value jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	text_value text := value #>> '{}';
	kind text := jsonb_typeof(value);
	uri constant text := '^([A-Za-z0-9._~:/?\[\]@!$&''()*+,;=-]|%[0-9A-Fa-f]{2})*(#([A-Za-z0-9._~:/?@!$&''()*+,;=-]|%[0-9A-Fa-f]{2})*)?$';
BEGIN
	IF name IN ('data', 'data_base64') THEN
		RETURN CASE WHEN name = 'data_base64' AND kind <> 'string' THEN 'is not a string' END;
	ELSIF name !~ '^[a-z0-9]+$' THEN
		RETURN 'has a name that is not made of lower-case letters and digits';
	ELSIF name IN ('specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'traceparent', 'tracestate',
			'correlationid', 'causationid', 'actor', 'action', 'resource', 'tenant') AND kind <> 'string' THEN
		RETURN 'is not a string';
	ELSIF kind NOT IN ('string', 'boolean', 'number') THEN
		RETURN format('is an %s; a string, boolean or integer is allowed', kind);
	ELSIF kind = 'number' AND (text_value::numeric <> trunc(text_value::numeric) OR abs(text_value::numeric + 0.5) > 2147483647.5) THEN
		RETURN 'is not an integer of 32 bits';
	ELSIF kind = 'string' AND text_value ~ '[\u0001-\u001f\u007f-\u009f]' THEN
		RETURN 'has a control character';
	END IF;
	RETURN CASE
		WHEN name IN ('specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema') AND text_value = '' THEN 'is empty'
		WHEN name = 'specversion' AND text_value <> '1.0' THEN 'is not 1.0'
		WHEN name = 'source' AND text_value !~ uri THEN 'is not a URI reference'
		WHEN name = 'dataschema' AND (text_value !~ uri OR text_value !~ '^[A-Za-z][A-Za-z0-9+.-]*:') THEN 'is not an absolute URI'
		WHEN name = 'time' AND text_value !~ '^\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$' THEN 'is not an RFC 3339 timestamp'
		WHEN name = 'datacontenttype' AND text_value !~
			'^[A-Za-z0-9!#$%&''*+.^_`{|}~-]+/[A-Za-z0-9!#$%&''*+.^_`{|}~-]+( *; *[A-Za-z0-9!#$%&''*+.^_`{|}~-]+=([A-Za-z0-9!#$%&''*+.^_`{|}~-]+|"[^"\\]*"))*$'
			THEN 'is not a media type'
		WHEN name = 'traceparent' AND atp.traceparent_parse(text_value) IS NULL THEN 'is not a W3C traceparent'
		WHEN name = 'tracestate' AND atp.tracestate_parse(text_value) IS NULL THEN 'is not a W3C tracestate'
		WHEN name = 'cloudevent' THEN 'has a name that the store uses itself'
	END;
END $$;
COMMENT ON FUNCTION atp_internal.cloudevent_check(text, jsonb) IS
'Say what is wrong with an attribute of a CloudEvents document; NULL: nothing.
The value is not JSON null, which stands for an attribute that is absent.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_check(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.cloudevent_type(type text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE WHEN cloudevent_type.type ~ '^[A-Z][A-Za-z0-9]*$' THEN cloudevent_type.type
		ELSE (SELECT CASE WHEN p.parts[pg_catalog.cardinality(p.parts)] ~ '^[A-Z][A-Za-z0-9]*$' THEN p.parts[pg_catalog.cardinality(p.parts)]
				ELSE pg_catalog.regexp_replace(pg_catalog.initcap(pg_catalog.array_to_string(p.parts[pg_catalog.cardinality(p.parts) - 1:], ' ')),
					'[^A-Za-z0-9]', '', 'g') END || p.suffix
			FROM (SELECT pg_catalog.string_to_array(pg_catalog.regexp_replace(cloudevent_type.type, '\.v[0-9]+$', ''), '.') AS parts,
				pg_catalog.upper(COALESCE(pg_catalog.substring(cloudevent_type.type, '\.(v[0-9]+)$'), '')) AS suffix) p) END;
END;
COMMENT ON FUNCTION atp_internal.cloudevent_type(text) IS
'Return the event type for a CloudEvents type.
com.example.order_line.added.v2 is OrderLineAddedV2.
A name in PascalCase stays, also behind dots; otherwise the last two parts are written together.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_type(text) FROM PUBLIC;

CREATE FUNCTION atp.append_cloudevent(event jsonb, stream text DEFAULT NULL, event_type text DEFAULT NULL,
		expected_version bigint DEFAULT NULL, tenant text DEFAULT NULL) RETURNS atp.receipt
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	attributes jsonb;
	name text;
	value jsonb;
	problem text;
	metadata jsonb := '{}';
	original jsonb := '{}';
	payload jsonb;
	happened timestamptz;
	source text;
	id text;
	of_tenant text;
	is_ulid boolean;
BEGIN
	IF jsonb_typeof(event) IS DISTINCT FROM 'object' THEN
		PERFORM atp_internal.cloudevent_refuse(NULL, 'The document is not a JSON object');
	END IF;
	attributes := event;
	FOR name, value IN SELECT e.key, e.value FROM jsonb_each(event) AS e LOOP
		IF value = 'null' AND name <> 'data' THEN
			attributes := attributes - name;
			CONTINUE;
		END IF;
		problem := atp_internal.cloudevent_check(name, value);
		IF problem IS NOT NULL THEN
			PERFORM atp_internal.cloudevent_refuse(name, problem);
		END IF;
		IF name NOT IN ('specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema', 'data', 'data_base64', 'tenant') THEN
			metadata := metadata || jsonb_build_object(CASE name WHEN 'correlationid' THEN 'correlation_id' WHEN 'causationid' THEN 'causation_id'
				ELSE CASE WHEN name ~ '^[0-9]' THEN '_' ELSE '' END || name END, value);
		END IF;
	END LOOP;
	FOREACH name IN ARRAY ARRAY['specversion', 'id', 'source', 'type'] LOOP
		IF NOT attributes ? name THEN
			PERFORM atp_internal.cloudevent_refuse(name, 'is required and missing');
		END IF;
	END LOOP;
	id := attributes ->> 'id';
	source := attributes ->> 'source';
	is_ulid := atp.ulid_is_valid(id);
	of_tenant := coalesce(tenant, attributes ->> 'tenant');
	IF of_tenant <> attributes ->> 'tenant' THEN
		PERFORM atp_internal.cloudevent_refuse('tenant', format('is not the tenant "%s" that the event is appended for', tenant));
	END IF;
	IF attributes ? 'time' THEN
		BEGIN
			happened := (attributes ->> 'time')::timestamptz;
		EXCEPTION WHEN data_exception THEN
			PERFORM atp_internal.cloudevent_refuse('time', 'is no time that exists');
		END;
	END IF;
	IF stream IS NULL THEN
		stream := attributes ->> 'subject';
		IF stream IS NULL OR stream !~ '^[A-Za-z][A-Za-z0-9_.:]*-[^[:space:]]+$' OR octet_length(stream) > 255 THEN
			PERFORM atp_internal.cloudevent_refuse('subject', CASE WHEN stream IS NULL THEN 'is missing, and no stream is given' ELSE 'is not the name of a stream' END,
				'Pass the stream, {AggregateType}-{AggregateId}, as an argument.');
		END IF;
	END IF;
	event_type := coalesce(event_type, atp_internal.cloudevent_type(attributes ->> 'type'));

	IF attributes ? 'data_base64' THEN
		IF attributes ? 'data' THEN
			PERFORM atp_internal.cloudevent_refuse('data_base64', 'stands beside data');
		ELSIF attributes ->> 'data_base64' !~ '^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$' THEN
			PERFORM atp_internal.cloudevent_refuse('data_base64', 'is not base 64');
		END IF;
		payload := jsonb_build_object('data_base64', attributes -> 'data_base64');
		original := original || '{"data": "data_base64"}';
	ELSIF jsonb_typeof(attributes -> 'data') = 'object' THEN
		payload := attributes -> 'data';
	ELSIF attributes ? 'data' THEN
		payload := jsonb_build_object('data', attributes -> 'data');
		original := original || '{"data": "data"}';
	ELSE
		payload := '{}';
		original := original || '{"data": "none"}';
	END IF;

	IF NOT is_ulid OR id <> upper(id) THEN
		original := original || jsonb_build_object('id', id);
	END IF;
	IF event_type <> attributes ->> 'type' THEN
		original := original || jsonb_build_object('type', attributes -> 'type');
	END IF;
	IF stream IS DISTINCT FROM attributes ->> 'subject' THEN
		original := original || jsonb_build_object('subject', attributes -> 'subject');
	END IF;
	original := original || jsonb_build_object('source', source);
	IF attributes ? 'dataschema' THEN
		original := original || jsonb_build_object('dataschema', attributes -> 'dataschema');
	END IF;
	IF NOT attributes ? 'time' THEN
		original := original || '{"time": null}';
	END IF;
	IF attributes ->> 'datacontenttype' IS DISTINCT FROM 'application/json' THEN
		original := original || jsonb_build_object('datacontenttype', attributes -> 'datacontenttype');
	END IF;
	RETURN atp.append_event(stream, event_type, payload, expected_version => expected_version,
		metadata => metadata || jsonb_build_object('cloudevent', original),
		event_id => CASE WHEN is_ulid THEN atp.ulid_to_uuid(id) END,
		idempotency_key => CASE WHEN NOT is_ulid THEN 'cloudevent:' || encode(sha256(convert_to(jsonb_build_array(source, id)::text, 'UTF8')), 'hex') END,
		occurred_at => happened, tenant => of_tenant);
END $$;
COMMENT ON FUNCTION atp.append_cloudevent(jsonb, text, text, bigint, text) IS
'Append a CloudEvents 1.0 document in JSON format and return its receipt.
stream NULL: subject has to name the stream. event_type NULL: type, where it is no PascalCase name its last two parts written together (com.example.order.placed: OrderPlaced). An id that is a ULID becomes the event id. Any other becomes the idempotency key cloudevent: and the hexadecimal SHA-256 of the JSON array [source, id], so that the same document again returns the original receipt. time is occurred_at. data is the payload where it is an object, otherwise the payload is {"data": ...} or {"data_base64": ...}. Extensions become metadata; tenant selects the tenant. JSON null is an attribute that is absent.
Raises: TP210 (not a CloudEvents document; DETAIL says what and where), and as append_event.';
REVOKE ALL ON FUNCTION atp.append_cloudevent(jsonb, text, text, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.append_cloudevent(jsonb, text, text, bigint, text) TO atp_writer;

CREATE FUNCTION atp_internal.cloudevent_document(event_id uuid, tenant text, stream text, stream_version bigint, event_type text, schema_version int,
		occurred_at timestamptz, recorded_at timestamptz, payload json, metadata json) RETURNS jsonb
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_cloudevent_document_sql';
COMMENT ON FUNCTION atp_internal.cloudevent_document(uuid, text, text, bigint, text, int, timestamptz, timestamptz, json, json) IS
'Return the CloudEvents document of an event.
Only payload and metadata may be NULL: erased.';
REVOKE ALL ON FUNCTION atp_internal.cloudevent_document(uuid, text, text, bigint, text, int, timestamptz, timestamptz, json, json) FROM PUBLIC;

CREATE FUNCTION atp.get_cloudevent(event_id uuid, tenant text DEFAULT NULL) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	e atp.stored_event := atp.get_event(get_cloudevent.event_id, get_cloudevent.tenant);
BEGIN
	IF e.event_id IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN atp_internal.cloudevent_document(e.event_id, e.tenant, e.stream, e.stream_version, e.event_type, e.schema_version,
		e.occurred_at, e.recorded_at, e.payload, e.metadata);
END $$;
COMMENT ON FUNCTION atp.get_cloudevent(uuid, text) IS
'Return an event as a CloudEvents 1.0 document; NULL where there is none.
The document is in JSON format.
id is the ULID, source /tenants/TENANT/CATEGORY, subject the stream, type the event type, time occurred_at, data the payload, dataschema urn:atp:schema:TYPE:VERSION where the payload was validated. Extensions: tenant, streamversion, recordedtime, schemaversion, and the members of the metadata (correlation_id: correlationid) that an attribute can hold. An event that append_cloudevent stored has the identity that it came with. time is left out where RFC 3339 cannot say it, data once it is erased. tenant NULL means that of the setting atp.tenant.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_cloudevent(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_cloudevent(uuid, text) TO atp_reader, atp_auditor, atp_admin;

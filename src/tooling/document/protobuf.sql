-- Protocol Buffers: one message a type. Numbers come from the history of the type's schemas, so that they hold for all versions.
CREATE FUNCTION atp_internal.protobuf_name(name text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.lower(pg_catalog.regexp_replace(pg_catalog.regexp_replace(atp_internal.identifier(name, 'f_'), '([A-Z]+)([A-Z][a-z])', '\1_\2', 'g'),
		'([a-z0-9])([A-Z])', '\1_\2', 'g'));
COMMENT ON FUNCTION atp_internal.protobuf_name(text) IS
'Return the name of a field as Protocol Buffers write it.
Lower case with underscores.';
REVOKE ALL ON FUNCTION atp_internal.protobuf_name(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.protobuf_message(fields atp_internal.schema_field[], path text, name text, indent text) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	body text := '';
	f atp_internal.schema_field;
	kind text;
	field_name text;
	type text;
	nested text;
BEGIN
	SELECT coalesce(format(E'%s  reserved %s;\n', indent, string_agg(g.number::text, ', ' ORDER BY g.number)), '') INTO body
		FROM unnest(fields) g WHERE g.path = protobuf_message.path AND NOT g.active HAVING count(*) > 0;
	body := coalesce(body, '');
	FOREACH f IN ARRAY fields LOOP
		CONTINUE WHEN f.path <> protobuf_message.path OR NOT f.active;
		kind := CASE f.kind WHEN 'array' THEN f.item_kind ELSE f.kind END;
		field_name := atp_internal.protobuf_name(f.name);
		IF (SELECT count(*) FROM unnest(fields) o WHERE o.path = f.path AND o.active AND atp_internal.protobuf_name(o.name) = field_name) > 1 THEN
			field_name := format('%s_n%s', field_name, f.number);
		END IF;
		nested := NULL;
		IF kind = 'record' THEN
			type := replace(initcap(replace(field_name, '_', ' ')), ' ', '');
			nested := atp_internal.protobuf_message(fields, f.path || '/' || f.name, type, indent || '  ');
		ELSE
			type := CASE kind WHEN 'string' THEN 'string' WHEN 'integer' THEN 'int64' WHEN 'number' THEN 'double' WHEN 'boolean' THEN 'bool'
				WHEN 'map' THEN 'google.protobuf.Struct' WHEN 'array' THEN 'google.protobuf.ListValue' ELSE 'google.protobuf.Value' END;
		END IF;
		body := body || coalesce(nested, '')
			|| coalesce(indent || '  // ' || regexp_replace(f.description, '\s+', ' ', 'g') || E'\n', '')
			|| format(E'%s  %s%s %s = %s [json_name = %s];\n', indent,
				CASE WHEN f.kind = 'array' THEN 'repeated ' WHEN (NOT f.required OR f.nullable) AND kind IN ('string', 'integer', 'number', 'boolean') THEN 'optional ' ELSE '' END,
				type, field_name, f.number, to_json(f.name));
	END LOOP;
	RETURN format(E'%smessage %s {\n%s%s}\n', indent, name, body, indent);
END $$;
COMMENT ON FUNCTION atp_internal.protobuf_message(atp_internal.schema_field[], text, text, text) IS 'Return the message of an object, with those of the objects inside.';
REVOKE ALL ON FUNCTION atp_internal.protobuf_message(atp_internal.schema_field[], text, text, text) FROM PUBLIC;

CREATE FUNCTION atp.generate_protobuf(event_type text DEFAULT NULL) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT E'syntax = "proto3";\n\npackage atp.events;\n\n'
			|| CASE WHEN string_agg(m.message, '') LIKE '%google.protobuf.%' THEN E'import "google/protobuf/struct.proto";\n\n' ELSE '' END
			|| string_agg(m.message, E'\n' ORDER BY m.event_type COLLATE "C")
		FROM (SELECT c.event_type, '// ' || regexp_replace(coalesce(c.description, c.event_type), '\s+', ' ', 'g') || E'\n'
					|| atp_internal.protobuf_message(ARRAY(SELECT f FROM atp_internal.list_fields(c.event_type) f), '', c.event_type, '') AS message
				FROM atp.event_type_catalog c
				WHERE c.schema IS NOT NULL AND c.event_type = coalesce(generate_protobuf.event_type, c.event_type)) m;
END;
COMMENT ON FUNCTION atp.generate_protobuf(text) IS
'Generate Protocol Buffers (proto3) of the payload of an event type, or of all.
NULL where there is no active schema. Field numbers are given in the order in which the versions of the schema brought the fields (within one, as its "required" lists them) and never change; the number of a field that is gone is reserved. json_name is the name in the payload. Objects without known properties are google.protobuf.Struct, values of any type Value.';
REVOKE ALL ON FUNCTION atp.generate_protobuf(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_protobuf(text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- Avro: one record a type. What Avro cannot say (objects without known properties, values of any type) is JSON text.
CREATE FUNCTION atp_internal.avro_type(fields atp_internal.schema_field[], path text, name text, kind text, item_kind text) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF avro_type.kind = 'record' THEN
		RETURN jsonb_build_object('type', 'record', 'name', avro_type.name, 'fields', coalesce((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
				'name', i.field_name, 'doc', f.description, 'aliases', CASE WHEN i.field_name <> f.name AND f.name ~ '^[A-Za-z_]\w*$' THEN jsonb_build_array(f.name) END))
				|| CASE WHEN f.required AND NOT f.nullable THEN jsonb_build_object('type', t.type)
					ELSE jsonb_build_object('type', jsonb_build_array('null') || jsonb_build_array(t.type), 'default', NULL) END ORDER BY f.number)
			FROM unnest(fields) f
				CROSS JOIN LATERAL (SELECT CASE WHEN count(*) = 1 THEN atp_internal.identifier(f.name, 'f_') ELSE format('f_%s', f.number) END AS field_name
					FROM unnest(fields) o WHERE o.path = f.path AND o.active AND atp_internal.identifier(o.name, 'f_') = atp_internal.identifier(f.name, 'f_')) i
				CROSS JOIN LATERAL (SELECT atp_internal.avro_type(fields, f.path || '/' || f.name, avro_type.name || '_' || i.field_name, f.kind, f.item_kind) AS type) t
			WHERE f.path = avro_type.path AND f.active), '[]'));
	ELSIF avro_type.kind = 'array' THEN
		RETURN jsonb_build_object('type', 'array', 'items', atp_internal.avro_type(fields, avro_type.path, avro_type.name, CASE avro_type.item_kind WHEN 'array' THEN 'any' ELSE avro_type.item_kind END, NULL));
	END IF;
	RETURN to_jsonb(CASE avro_type.kind WHEN 'integer' THEN 'long' WHEN 'number' THEN 'double' WHEN 'boolean' THEN 'boolean' ELSE 'string' END);
END $$;
COMMENT ON FUNCTION atp_internal.avro_type(atp_internal.schema_field[], text, text, text, text) IS 'Return the Avro type of a field; records recursively.';
REVOKE ALL ON FUNCTION atp_internal.avro_type(atp_internal.schema_field[], text, text, text, text) FROM PUBLIC;

CREATE FUNCTION atp.generate_avro(event_type text) RETURNS jsonb
	LANGUAGE sql STABLE STRICT PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.avro_type(f.fields, '', c.event_type, 'record', NULL)
			|| jsonb_build_object('namespace', 'atp.events', 'doc', coalesce(c.description, c.event_type))
		FROM atp.event_type_catalog c
			CROSS JOIN LATERAL (SELECT ARRAY(SELECT f FROM atp_internal.list_fields(c.event_type) f) AS fields) f
		WHERE c.event_type = generate_avro.event_type AND c.schema IS NOT NULL;
END;
COMMENT ON FUNCTION atp.generate_avro(text) IS
'Generate the Avro schema of the payload of an event type.
NULL where it has no active schema. A record in the namespace atp.events. Fields that may be missing or null are unions with null. Objects without known properties and values of any type are strings that hold JSON. Names that Avro does not take get _ for the odd characters.';
REVOKE ALL ON FUNCTION atp.generate_avro(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_avro(text) TO atp_reader, atp_writer, atp_auditor, atp_admin;

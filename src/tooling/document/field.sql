-- Fields of event types as typed languages see them, with numbers that never change.
CREATE TYPE atp_internal.schema_field AS (
	path text,
	name text,
	number int,
	kind text,
	item_kind text,
	required boolean,
	nullable boolean,
	active boolean,
	description text
);
COMMENT ON TYPE atp_internal.schema_field IS 'A property of a schema, at any depth, for generators.';
COMMENT ON COLUMN atp_internal.schema_field.path IS 'Where the object is that has it: names joined by /, empty for the payload itself; items of an array have the array''s path.';
COMMENT ON COLUMN atp_internal.schema_field.name IS 'Name of the property.';
COMMENT ON COLUMN atp_internal.schema_field.number IS 'Its number in the object, from 1, the same in all versions.';
COMMENT ON COLUMN atp_internal.schema_field.kind IS 'string, integer, number, boolean, array, record (an object with known properties), map (another object) or any.';
COMMENT ON COLUMN atp_internal.schema_field.item_kind IS 'Kind of the items of an array.';
COMMENT ON COLUMN atp_internal.schema_field.required IS 'Whether the active version demands it.';
COMMENT ON COLUMN atp_internal.schema_field.nullable IS 'Whether the active version lets it be null.';
COMMENT ON COLUMN atp_internal.schema_field.active IS 'False: an earlier version had it; its number is not used again.';
COMMENT ON COLUMN atp_internal.schema_field.description IS 'What the schema says of it.';

CREATE FUNCTION atp_internal.resolve_schema(document jsonb, node jsonb) RETURNS jsonb
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	steps int := 0;
BEGIN
	WHILE jsonb_typeof(node) = 'object' AND node ->> '$ref' LIKE '#%' AND steps < 20 LOOP
		node := coalesce(document #> ARRAY(SELECT replace(replace(s, '~1', '/'), '~0', '~')
			FROM unnest(string_to_array(nullif(substr(node ->> '$ref', 3), ''), '/')) AS s), '{}') || (node - '$ref');
		steps := steps + 1;
	END LOOP;
	RETURN CASE WHEN jsonb_typeof(node) = 'object' THEN node ELSE '{}' END;
END $$;
COMMENT ON FUNCTION atp_internal.resolve_schema(jsonb, jsonb) IS
'Follow references within a schema document.
What stands beside a $ref is kept. A reference that leads out of the document is left as it is; a schema that is no object says nothing.';
REVOKE ALL ON FUNCTION atp_internal.resolve_schema(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.schema_kind(node jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
	SELECT CASE
			WHEN t.types = '{object}' OR t.types = '{}' AND node ? 'properties' THEN
				CASE WHEN pg_catalog.jsonb_typeof(node -> 'properties') = 'object' AND node -> 'properties' <> '{}' THEN 'record' ELSE 'map' END
			WHEN pg_catalog.cardinality(t.types) = 1 THEN t.types[1]
			WHEN t.types = '{}' AND pg_catalog.jsonb_typeof(node -> 'enum') = 'array'
				AND NOT EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(node -> 'enum') AS v WHERE pg_catalog.jsonb_typeof(v) <> 'string') THEN 'string'
			ELSE 'any' END
		FROM (SELECT ARRAY(SELECT w FROM pg_catalog.jsonb_array_elements_text(CASE pg_catalog.jsonb_typeof(node -> 'type')
			WHEN 'array' THEN node -> 'type' WHEN 'string' THEN pg_catalog.jsonb_build_array(node -> 'type') ELSE '[]' END) AS w WHERE w <> 'null') AS types) t;
END;
COMMENT ON FUNCTION atp_internal.schema_kind(jsonb) IS 'Return the kind of what a schema describes; see the type schema_field.';
REVOKE ALL ON FUNCTION atp_internal.schema_kind(jsonb) FROM PUBLIC;

-- The number of a property is its rank by the first version that had it, then by its place in "required" there, then by name. Versions
-- are never altered or removed, so a number stands for ever without being stored a second time.
CREATE FUNCTION atp_internal.list_fields(event_type text) RETURNS SETOF atp_internal.schema_field
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH RECURSIVE version AS (
		SELECT s.version, s.document, s.version = y.active_version AS active
			FROM atp_internal.event_type y JOIN atp_internal.event_schema s ON s.event_type = y.event_type
			WHERE y.name = list_fields.event_type
	), object (version, document, active, path, schema, refs) AS (
		SELECT v.version, v.document, v.active, '', atp_internal.resolve_schema(v.document, v.document), ARRAY[]::text[] FROM version v
		UNION ALL
		SELECT o.version, o.document, o.active, o.path || '/' || p.key, i.node, o.refs || (p.value ->> '$ref') || (f.node -> 'items' ->> '$ref')
			FROM object o
				CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(o.schema -> 'properties') = 'object' THEN o.schema -> 'properties' ELSE '{}' END) p
				CROSS JOIN LATERAL (SELECT atp_internal.resolve_schema(o.document, p.value) AS node) f
				CROSS JOIN LATERAL (SELECT CASE atp_internal.schema_kind(f.node) WHEN 'record' THEN f.node
					WHEN 'array' THEN atp_internal.resolve_schema(o.document, f.node -> 'items') END AS node) i
			WHERE atp_internal.schema_kind(i.node) = 'record' AND cardinality(o.refs) < 16
				AND NOT coalesce(p.value ->> '$ref' = ANY (o.refs), false) AND NOT coalesce(f.node -> 'items' ->> '$ref' = ANY (o.refs), false)
	), property AS (
		SELECT o.version, o.active, o.path, p.key AS name, f.node, o.document, r.place,
				coalesce((SELECT q.ordinality FROM jsonb_array_elements_text(CASE WHEN jsonb_typeof(o.schema -> 'required') = 'array'
					THEN o.schema -> 'required' ELSE '[]' END) WITH ORDINALITY AS q (name, ordinality) WHERE q.name = p.key LIMIT 1), 100000) AS rank
			FROM object o
				CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(o.schema -> 'properties') = 'object' THEN o.schema -> 'properties' ELSE '{}' END) p
				CROSS JOIN LATERAL (SELECT atp_internal.resolve_schema(o.document, p.value) AS node) f
				CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM object i WHERE i.version = o.version AND i.path = o.path || '/' || p.key) AS place) r
	), first AS (
		SELECT DISTINCT ON (p.path, p.name) p.path, p.name, p.version, p.rank FROM property p ORDER BY p.path, p.name, p.version
	), numbered AS (
		SELECT f.path, f.name, row_number() OVER (PARTITION BY f.path ORDER BY f.version, f.rank, f.name COLLATE "C") AS number FROM first f
	)
	SELECT n.path, n.name, (n.number + CASE WHEN n.number >= 19000 THEN 1000 ELSE 0 END)::int,
			CASE WHEN k.kind = 'record' AND NOT p.place THEN 'map' ELSE k.kind END,
			CASE WHEN k.kind = 'array' THEN CASE WHEN k.item = 'record' AND NOT p.place THEN 'map' ELSE k.item END END,
			p.rank < 100000, coalesce(jsonb_typeof(p.node -> 'type') = 'array' AND p.node -> 'type' ? 'null', false), p.active IS NOT NULL, p.node ->> 'description'
		FROM numbered n
			LEFT JOIN property p ON p.path = n.path AND p.name = n.name AND p.active
			CROSS JOIN LATERAL (SELECT atp_internal.schema_kind(p.node) AS kind,
				atp_internal.schema_kind(atp_internal.resolve_schema(p.document, p.node -> 'items')) AS item) k
		ORDER BY n.path COLLATE "C", n.number;
END;
COMMENT ON FUNCTION atp_internal.list_fields(text) IS
'List the fields of an event type with their numbers.
Those that only earlier versions had are there too.';
REVOKE ALL ON FUNCTION atp_internal.list_fields(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.identifier(name text, fallback text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN CASE WHEN name ~ '^[A-Za-z_][A-Za-z0-9_]*$' THEN name ELSE fallback || pg_catalog.regexp_replace(name, '[^A-Za-z0-9_]', '_', 'g') END;
COMMENT ON FUNCTION atp_internal.identifier(text, text) IS
'Make a name that programming languages take.
One that they do not take gets the fallback in front and _ for each other character.';
REVOKE ALL ON FUNCTION atp_internal.identifier(text, text) FROM PUBLIC;

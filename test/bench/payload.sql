-- The one source of test data, in every contestant's database: an audit event of about 440 bytes (as jsonb text) with
-- about 170 bytes of metadata. 5,000 actors, 12 actions and 20,000 resources, so that an index over them is a real one.
CREATE SCHEMA bench;
GRANT USAGE ON SCHEMA bench TO PUBLIC;

CREATE FUNCTION bench.payload(i bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT jsonb_build_object(
		'actor', 'user-' || (i * 7919) % 5000,
		'action', (ARRAY['approve', 'reject', 'view', 'export', 'update', 'share', 'sign', 'print', 'archive', 'restore',
			'assign', 'comment'])[1 + i % 12],
		'resource', 'invoice/' || 100000 + (i * 104729) % 20000,
		'amount', (i * 31) % 1000000 / 100.0,
		'currency', 'EUR',
		'approved', i % 3 = 0,
		'reason', 'checked against purchase order ' || 40000 + i % 977 || ' by the four eyes rule',
		'changes', jsonb_build_array(
			jsonb_build_object('field', 'status', 'from', 'submitted', 'to', 'approved'),
			jsonb_build_object('field', 'limit', 'from', i % 500, 'to', i % 500 + 250)),
		'client', jsonb_build_object('address', '10.' || i % 200 || '.' || i % 250 || '.17', 'agent', 'billing-web/4.12',
			'session', md5(i::text)))
$$;

CREATE FUNCTION bench.metadata(i bigint) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT jsonb_build_object(
		'actor', 'user-' || (i * 7919) % 5000,
		'correlation_id', md5('correlation' || i)::uuid,
		'traceparent', '00-' || md5('trace' || i) || '-' || left(md5('span' || i), 16) || '-01')
$$;

-- Half of a loaded store is one category to read from, streams of 2,000 events; half is spread over 64 categories.
CREATE FUNCTION bench.stream(i bigint, events bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE WHEN i <= events / 2 THEN 'Reading-' || 1 + i % (events / 4000)
		ELSE 'Account' || i % 64 || '-' || i % 10000 END
$$;

-- Columns and indexes of a table, or of some leaf of a partitioned one.
CREATE FUNCTION bench.shape(relation regclass) RETURNS text LANGUAGE sql STABLE AS $$
	WITH leaf AS (SELECT coalesce((SELECT t.relid FROM pg_partition_tree(relation) t WHERE t.isleaf LIMIT 1), relation) AS relid)
	SELECT (SELECT string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
			FROM pg_attribute a JOIN leaf ON a.attrelid = leaf.relid WHERE a.attnum > 0 AND NOT a.attisdropped)
		|| '; ' || (SELECT string_agg(def, ', ' ORDER BY def) FROM leaf, LATERAL (
				SELECT (CASE WHEN x.indisunique THEN 'unique ' ELSE '' END)
					|| substring(pg_get_indexdef(x.indexrelid) FROM 'USING \w+ (.*)$') AS def
				FROM pg_index x WHERE x.indrelid = leaf.relid) indexes)
$$;

-- What each relation takes, partitions and their indexes under the name of the root.
CREATE VIEW bench.size AS
	SELECT root::regclass::text AS relation, 'heap' AS part, sum(pg_table_size(oid)) AS bytes
	FROM (SELECT coalesce(pg_partition_root(c.oid), c.oid) AS root, c.oid
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema|bench)') heap
	GROUP BY root
	UNION ALL
	SELECT root::regclass::text, 'index ' || columns, sum(pg_table_size(oid))
	FROM (SELECT coalesce(pg_partition_root(x.indrelid), x.indrelid) AS root, x.indexrelid AS oid,
			substring(pg_get_indexdef(x.indexrelid) FROM ' USING \w+ (.*)$') AS columns
		FROM pg_index x JOIN pg_class c ON c.oid = x.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'i' AND n.nspname !~ '^(pg_|information_schema|bench)') leaf
	GROUP BY root, columns;

-- Rules that every object of the extension keeps. Each query returns no row; a row names the object at fault.
\pset format unaligned
\pset footer off
SET search_path = pg_catalog;

CREATE TEMP VIEW member AS
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = 'atp' AND d.deptype = 'e';
CREATE TEMP VIEW member_function AS
	SELECT p.*, p.oid::regprocedure::text AS signature FROM pg_proc p
	JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid;
CREATE TEMP VIEW member_relation AS
	SELECT c.*, c.oid::regclass::text AS name FROM pg_class c
	JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid;
CREATE TEMP TABLE named (rule text, object text, PRIMARY KEY (rule, object));

-- The exceptions that are meant, one a line in sql/catalog_lint.list. "shared table": all tenants share it and it holds nothing of a
-- tenant's. "not dumped": the install script or the next use makes its rows. "pure function": of its arguments alone, or of a
-- clock and random bytes, or a rule that a policy runs as the caller; anybody may call it. "public relation": a documentation page.
\set exceptions `cat "$PG_ABS_SRCDIR/sql/catalog_lint.list"`
INSERT INTO named SELECT split_part(line, E'\t', 2), split_part(line, E'\t', 1)
	FROM regexp_split_to_table(:'exceptions', E'\n') AS line WHERE line <> '';

\echo # an object without COMMENT: function, relation, type, schema
SELECT signature FROM member_function p WHERE obj_description(p.oid, 'pg_proc') IS NULL ORDER BY 1;
SELECT name FROM member_relation c WHERE relkind IN ('r', 'p', 'v', 'm') AND obj_description(c.oid, 'pg_class') IS NULL ORDER BY 1;
SELECT name FROM member_relation c WHERE relkind = 'S' AND obj_description(c.oid, 'pg_class') IS NULL
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'i') ORDER BY 1;
SELECT format_type(t.oid, NULL) AS type FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
	WHERE t.typelem = 0 AND obj_description(t.oid, 'pg_type') IS NULL
	AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c') ORDER BY 1;
SELECT nspname FROM pg_namespace n JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
	WHERE obj_description(n.oid, 'pg_namespace') IS NULL ORDER BY 1;
\echo # a column without COMMENT
SELECT c.name, a.attname FROM member_relation c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'c') AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL
	ORDER BY 1, a.attnum;
\echo # a first line over 80 characters
SELECT signature FROM member_function p WHERE length(split_part(obj_description(p.oid, 'pg_proc'), E'\n', 1)) > 80 ORDER BY 1;
\echo # an unnamed argument
SELECT signature FROM member_function p WHERE pronargs > 0 AND (proargnames IS NULL OR '' = ANY (proargnames[:pronargs]))
	AND NOT EXISTS (SELECT FROM pg_type t WHERE p.oid IN (t.typinput, t.typoutput, t.typreceive, t.typsend)) ORDER BY 1;
\echo # a name that SQL or the platform uses otherwise
SELECT signature, argument FROM member_function p, unnest(p.proargnames) AS argument
	WHERE argument IN ('limit', 'user', 'end', 'order', 'position', 'time', 'timestamp', 'interval', 'values', 'row') ORDER BY 1, 2;
SELECT c.name, a.attname FROM member_relation c JOIN pg_attribute a ON a.attrelid = c.oid
	WHERE c.relkind IN ('r', 'p', 'v', 'm') AND a.attnum > 0
	AND a.attname IN ('limit', 'user', 'end', 'order', 'position', 'time', 'timestamp', 'interval', 'values', 'row') ORDER BY 1, 2;
\echo # SECURITY DEFINER without the pinned search path
SELECT signature, proconfig FROM member_function p WHERE prosecdef
	AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false) ORDER BY 1;
\echo # EXECUTE for PUBLIC beyond the list, or missing on it
SELECT signature FROM member_function p
	WHERE EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE a.grantee = 0)
	AND NOT EXISTS (SELECT FROM named n WHERE n.rule = 'pure function' AND n.object = pronamespace::regnamespace || '.' || proname) ORDER BY 1;
SELECT signature FROM member_function p
	WHERE NOT EXISTS (SELECT FROM aclexplode(coalesce(proacl, acldefault('f', proowner))) a WHERE a.grantee = 0)
	AND EXISTS (SELECT FROM named n WHERE n.rule = 'pure function' AND n.object = pronamespace::regnamespace || '.' || proname) ORDER BY 1;
\echo # a privilege of PUBLIC on a relation beyond the list, or of anybody on schema atp_internal
SELECT name, a.privilege_type FROM member_relation c, aclexplode(c.relacl) a WHERE a.grantee = 0
	AND NOT EXISTS (SELECT FROM named n WHERE n.rule = 'public relation' AND n.object = c.name) ORDER BY 1, 2;
SELECT a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'atp_internal' AND a.grantee <> n.nspowner ORDER BY 1;
\echo # an IMMUTABLE function that is not parallel safe
SELECT signature FROM member_function p WHERE provolatile = 'i' AND proparallel <> 's' ORDER BY 1;
\echo # a table without FORCEd row level security, a policy, or a tenant column, beyond the list
SELECT name, relrowsecurity AS enabled, relforcerowsecurity AS forced FROM member_relation c WHERE relkind IN ('r', 'p')
	AND NOT (relrowsecurity AND relforcerowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = c.oid))
	AND NOT EXISTS (SELECT FROM named n WHERE n.rule = 'shared table' AND n.object = c.name) ORDER BY 1;
SELECT name FROM member_relation c WHERE relkind IN ('r', 'p')
	AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = 'tenant' AND NOT attisdropped)
	AND NOT EXISTS (SELECT FROM named n WHERE n.rule = 'shared table' AND n.object = c.name) ORDER BY 1;
\echo # a unique key without the tenant, beyond the list
SELECT c.name, i.indexrelid::regclass AS index FROM member_relation c JOIN pg_index i ON i.indrelid = c.oid
	WHERE i.indisunique AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND a.attnum = ANY (i.indkey))
	AND NOT EXISTS (SELECT FROM named n WHERE n.rule = 'shared table' AND n.object = c.name) ORDER BY 1, 2;
\echo # a trigger that session_replication_role = replica switches off
SELECT c.name, t.tgname FROM member_relation c JOIN pg_trigger t ON t.tgrelid = c.oid WHERE NOT t.tgisinternal AND t.tgenabled <> 'A'
	AND c.relkind <> 'v' ORDER BY 1, 2;
SELECT evtname FROM pg_event_trigger t JOIN member m ON m.classid = 'pg_event_trigger'::regclass AND m.objid = t.oid WHERE evtenabled <> 'A' ORDER BY 1;
\echo # an object that atp_owner does not own
SELECT signature, proowner::regrole FROM member_function p WHERE proowner <> 'atp_owner'::regrole ORDER BY 1;
SELECT name, relowner::regrole FROM member_relation c WHERE relowner <> 'atp_owner'::regrole ORDER BY 1;
SELECT nspname, nspowner::regrole FROM pg_namespace n JOIN member m ON m.classid = 'pg_namespace'::regclass AND m.objid = n.oid
	WHERE nspowner <> 'atp_owner'::regrole ORDER BY 1;
SELECT format_type(t.oid, NULL) AS type, typowner::regrole FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
	WHERE typowner <> 'atp_owner'::regrole ORDER BY 1;
\echo # a table or sequence that a dump would forget, beyond the list
SELECT name FROM member_relation c, pg_extension e WHERE e.extname = 'atp' AND relkind IN ('r', 'p', 'S')
	AND NOT coalesce(c.oid = ANY (e.extconfig), false)
	AND NOT EXISTS (SELECT FROM named n WHERE n.rule = 'not dumped' AND n.object = c.name) ORDER BY 1;
\echo # a table that the extension owns as a partition, or a parent-level index on a partitioned one: a restore fails
SELECT name FROM member_relation c WHERE relispartition ORDER BY 1;
SELECT c.name, i.indexrelid::regclass FROM member_relation c JOIN pg_index i ON i.indrelid = c.oid WHERE c.relkind = 'p' ORDER BY 1, 2;
\echo # a foreign key to the event table or the log
SELECT conname, conrelid::regclass FROM pg_constraint WHERE contype = 'f' AND confrelid IN (to_regclass('atp_internal.event'), to_regclass('atp_internal.log')) ORDER BY 1;
\echo # a Raises: line that names no SQLSTATE of atp.error_code
SELECT signature, code[1] FROM member_function p, regexp_matches(obj_description(p.oid, 'pg_proc'), 'TP[0-9A-Z]{3}', 'g') AS code
	WHERE NOT EXISTS (SELECT FROM atp.error_code WHERE sqlstate = code[1]) ORDER BY 1, 2;

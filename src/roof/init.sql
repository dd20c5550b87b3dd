-- The roof: ownership of every member goes to atp_owner, which nobody can be, and nothing inside is left to PUBLIC. Schema atp
-- is no member (CREATE EXTENSION makes it beforehand) and stays with who installed: a dump would otherwise name atp_owner
-- before the restored extension has made that role.
DO $$
DECLARE
	member record;
BEGIN
	-- Ownership of a table carries its indexes, identity sequences and row type along; of a schema, nothing.
	FOR member IN
		SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE' END AS kind,
			c.oid::pg_catalog.regclass::text AS name
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_class c ON c.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend o WHERE o.classid = d.classid AND o.objid = c.oid AND c.relkind = 'S'
				AND o.refclassid = d.classid AND o.deptype IN ('a', 'i'))
	UNION ALL
		SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, p.oid::pg_catalog.regprocedure::text
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_proc p ON p.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
	UNION ALL
		SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, pg_catalog.format_type(t.oid, NULL)
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_type t ON t.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND t.typelem = 0
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
	UNION ALL
		SELECT 'SCHEMA', n.nspname
		FROM pg_catalog.pg_depend d
			JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			JOIN pg_catalog.pg_namespace n ON n.oid = d.objid
		WHERE d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
			AND d.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
	LOOP
		EXECUTE pg_catalog.format('ALTER %s %s OWNER TO atp_owner', member.kind, member.name);
	END LOOP;
END $$;
REVOKE ALL ON SCHEMA atp_internal FROM PUBLIC;

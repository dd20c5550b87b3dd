-- Prints one line per fact about the extension's objects: whoever has the same lines has the same catalogs. Nothing in it
-- depends on object ids, on the order of creation, or on the names of the databases.
SET search_path = pg_catalog;
CREATE TEMP VIEW member AS
	SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
	WHERE d.refclassid = 'pg_extension'::regclass AND e.extname = 'atp' AND d.deptype = 'e';
CREATE TEMP VIEW relation AS
	SELECT c.* FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid;
CREATE FUNCTION pg_temp.acl(acl aclitem[], kind "char", owner oid) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END || ':' || privilege_type || CASE WHEN is_grantable THEN '*' ELSE '' END,
		',' ORDER BY grantee::regrole::text, privilege_type)
	FROM aclexplode(coalesce(acl, acldefault(kind, owner))) $$;

SELECT fact FROM (
	SELECT format('member %s %s', i.type, i.identity) AS fact FROM member m, pg_identify_object(m.classid, m.objid, 0) i
		WHERE i.identity !~ 'pg_toast'
UNION ALL
	SELECT format('comment %s %s: %s', i.type, i.identity, md5(d.description)) FROM pg_description d
		JOIN member m ON m.classid = d.classoid AND m.objid = d.objoid, pg_identify_object(d.classoid, d.objoid, d.objsubid) i
UNION ALL
	SELECT format('function %s owner %s acl %s cost %s rows %s support %s: %s', p.oid::regprocedure, proowner::regrole,
			pg_temp.acl(proacl, 'f', proowner), procost, prorows, prosupport, md5(pg_get_functiondef(p.oid)))
		FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid WHERE prokind <> 'a'
UNION ALL
	SELECT format('relation %s kind %s owner %s acl %s rls %s %s options %s persistence %s replica %s am %s partitioned %s', c.oid::regclass, relkind,
			relowner::regrole, pg_temp.acl(relacl, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner), relrowsecurity, relforcerowsecurity,
			reloptions, relpersistence, relreplident, (SELECT amname FROM pg_am WHERE oid = relam), pg_get_partkeydef(c.oid))
		FROM relation c
UNION ALL
	SELECT format('column %s %s %s type %s notnull %s default %s identity %s generated %s collation %s storage %s compression %s statistics %s acl %s',
			c.oid::regclass, row_number() OVER (PARTITION BY c.oid ORDER BY attnum), attname,
			format_type(atttypid, atttypmod), attnotnull, pg_get_expr(d.adbin, d.adrelid), attidentity, attgenerated, attcollation::regcollation, attstorage,
			attcompression, nullif(attstattarget, -1), attacl)
		FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND attnum > 0 AND NOT attisdropped
			LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE relkind <> 'S'
UNION ALL
	SELECT format('sequence %s %s', c.oid::regclass, (SELECT (seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle)
			FROM pg_sequence s WHERE s.seqrelid = c.oid))
		FROM relation c WHERE relkind = 'S'
UNION ALL
	SELECT format('view %s: %s', c.oid::regclass, md5(pg_get_viewdef(c.oid))) FROM relation c WHERE relkind IN ('v', 'm')
UNION ALL
	SELECT format('index %s', pg_get_indexdef(indexrelid)) FROM pg_index i JOIN relation c ON c.oid = i.indrelid
UNION ALL
	SELECT format('constraint %s on %s: %s', conname, conrelid::regclass, pg_get_constraintdef(o.oid)) FROM pg_constraint o JOIN relation c ON c.oid = o.conrelid
		WHERE contype <> 'n'
UNION ALL
	SELECT format('trigger %s enabled %s', pg_get_triggerdef(t.oid), tgenabled) FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid WHERE NOT tgisinternal
UNION ALL
	SELECT format('event trigger %s on %s function %s enabled %s tags %s owner %s', evtname, evtevent, evtfoid::regprocedure, evtenabled, evttags, evtowner::regrole)
		FROM pg_event_trigger t JOIN member m ON m.classid = 'pg_event_trigger'::regclass AND m.objid = t.oid
UNION ALL
	SELECT format('policy %s on %s command %s permissive %s roles %s using %s check %s', polname, polrelid::regclass, polcmd, polpermissive,
			ARRAY(SELECT r::regrole::text FROM unnest(polroles) r ORDER BY 1), pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid))
		FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
UNION ALL
	SELECT format('rule %s', pg_get_ruledef(r.oid)) FROM pg_rewrite r JOIN relation c ON c.oid = r.ev_class WHERE rulename <> '_RETURN'
UNION ALL
	SELECT format('type %s owner %s acl %s kind %s base %s default %s notnull %s', format_type(t.oid, NULL), typowner::regrole, pg_temp.acl(typacl, 'T', typowner),
			typtype, format_type(nullif(typbasetype, 0), typtypmod), typdefault, typnotnull)
		FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
UNION ALL
	SELECT format('domain %s constraint %s: %s', format_type(t.oid, NULL), conname, pg_get_constraintdef(o.oid))
		FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid JOIN pg_constraint o ON o.contypid = t.oid
UNION ALL
	SELECT format('schema %s acl %s', nspname, pg_temp.acl(nspacl, 'n', nspowner)) FROM pg_namespace WHERE nspname IN ('atp', 'atp_internal')
UNION ALL
	SELECT format('dumped %s %s', t.oid::regclass, t.condition)
		FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS t(oid, condition) WHERE e.extname = 'atp'
UNION ALL
	SELECT format('version %s', extversion) FROM pg_extension WHERE extname = 'atp'
) AS facts ORDER BY fact COLLATE "C";

-- The manifest: what the installation is made of, as sorted lines of text. Two fresh installations of one version on one major
-- version of the server have the same; the library carries the hash of it (docs/reference/manifest.md), out of reach of SQL.
CREATE FUNCTION atp_internal.manifest_acl(acl aclitem[], kind "char", owner oid) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(string_agg(CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END || ' ' || a.privilege_type ||
			CASE WHEN a.is_grantable THEN ' with grant option' ELSE '' END, ', '
			ORDER BY (CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) COLLATE "C", a.privilege_type COLLATE "C"), 'nobody')
		FROM aclexplode(coalesce(manifest_acl.acl, acldefault(manifest_acl.kind, manifest_acl.owner))) a
		WHERE a.grantee <> manifest_acl.owner;
END;
COMMENT ON FUNCTION atp_internal.manifest_acl(aclitem[], "char", oid) IS 'Write privileges in a fixed order, those of the owner left out.';
REVOKE ALL ON FUNCTION atp_internal.manifest_acl(aclitem[], "char", oid) FROM PUBLIC;

CREATE FUNCTION atp_internal.leaf_faults() RETURNS TABLE (leaf regclass, fault text)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH leaf AS (SELECT c.* FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'atp_internal.event'::regclass)
	SELECT l.oid::regclass, f.fault FROM leaf l CROSS JOIN LATERAL (
		SELECT 'its owner is ' || l.relowner::regrole AS fault WHERE l.relowner <> to_regrole('atp_owner')
		UNION ALL SELECT 'it is no permanent table of schema atp_internal' WHERE l.relpersistence <> 'p' OR l.relkind <> 'r'
			OR l.relnamespace <> 'atp_internal'::regnamespace
		UNION ALL SELECT 'row level security is not enabled and forced' WHERE NOT (l.relrowsecurity AND l.relforcerowsecurity)
		UNION ALL SELECT 'its trigger guard is missing or not ENABLE ALWAYS' WHERE NOT EXISTS (SELECT FROM pg_trigger t
			WHERE t.tgrelid = l.oid AND t.tgname = 'guard' AND t.tgenabled = 'A' AND t.tgfoid = 'atp_internal.refuse_change()'::regprocedure
			AND t.tgtype = (SELECT p.tgtype FROM pg_trigger p WHERE p.tgrelid = 'atp_internal.event'::regclass AND p.tgname = 'guard')
			AND t.tgqual IS NULL)
		UNION ALL SELECT 'it has a trigger ' || t.tgname FROM pg_trigger t WHERE t.tgrelid = l.oid AND t.tgname <> 'guard' AND NOT t.tgisinternal
		UNION ALL SELECT 'it has a rule ' || r.rulename FROM pg_rewrite r WHERE r.ev_class = l.oid
		UNION ALL SELECT 'its policy event_tenant is missing' WHERE NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = l.oid
			AND p.polname = 'event_tenant' AND p.polcmd = '*' AND p.polpermissive AND p.polwithcheck IS NULL
			AND pg_get_expr(p.polqual, p.polrelid) = 'atp_internal.tenant_is_visible(tenant)')
		UNION ALL SELECT 'it has a policy ' || p.polname FROM pg_policy p WHERE p.polrelid = l.oid AND p.polname <> 'event_tenant'
		UNION ALL SELECT 'its column ' || a.attname || ' differs from the parent''s' FROM pg_attribute a
			WHERE a.attrelid = 'atp_internal.event'::regclass AND a.attnum > 0 AND NOT a.attisdropped AND NOT EXISTS (SELECT FROM pg_attribute o
				WHERE o.attrelid = l.oid AND o.attname = a.attname AND o.atttypid = a.atttypid AND o.attnotnull = a.attnotnull)
		UNION ALL SELECT 'it lacks its unique index on (' || array_to_string(u.names, ', ') || ')'
			FROM (VALUES (ARRAY['event_id', 'tenant']), (ARRAY['stream', 'stream_version', 'tenant'])) AS u(names)
			WHERE NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = l.oid AND i.indisunique AND i.indisvalid AND i.indisready
				AND i.indpred IS NULL AND i.indexprs IS NULL AND u.names = ARRAY(SELECT a.attname::text FROM unnest(i.indkey) WITH ORDINALITY AS k(number, place)
					JOIN pg_attribute a ON a.attrelid = l.oid AND a.attnum = k.number ORDER BY k.place))
		UNION ALL SELECT 'privileges: ' || atp_internal.manifest_acl(l.relacl, 'r', l.relowner)
			WHERE atp_internal.manifest_acl(l.relacl, 'r', l.relowner) <> 'nobody'
	) AS f;
END;
COMMENT ON FUNCTION atp_internal.leaf_faults() IS
'List in what a leaf of the event table is not as the append makes it.
Leaves are no members of the extension: the manifest says of them what deviates, and nothing of those that are in order.';
REVOKE ALL ON FUNCTION atp_internal.leaf_faults() FROM PUBLIC;

-- Objects that stand in the schemas and are not ours, and functions that would run as atp_owner.
CREATE FUNCTION atp_internal.manifest_strangers() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH ours AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
		schema AS (SELECT oid FROM pg_namespace WHERE nspname IN ('atp', 'atp_internal'))
	SELECT format('stranger: function %s, owner %s', p.oid::regprocedure, p.proowner::regrole) FROM pg_proc p
		WHERE (p.pronamespace IN (SELECT oid FROM schema) OR p.proowner = to_regrole('atp_owner'))
			AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_proc'::regclass AND o.objid = p.oid)
	UNION ALL
	SELECT format('stranger: relation %s, kind %s', c.oid::regclass, c.relkind) FROM pg_class c
		WHERE c.relnamespace IN (SELECT oid FROM schema) AND c.relkind NOT IN ('i', 'I', 't', 'c')
			AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid)
			AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = 'atp_internal.event'::regclass)
	UNION ALL
	SELECT format('stranger: type %s', format_type(t.oid, NULL)) FROM pg_type t
		WHERE t.typnamespace IN (SELECT oid FROM schema) AND t.typelem = 0 AND t.typtype <> 'm'
			AND (t.typrelid = 0 OR (SELECT c.relkind FROM pg_class c WHERE c.oid = t.typrelid) = 'c')
			AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_type'::regclass AND o.objid = t.oid)
	UNION ALL
	SELECT format('stranger: operator %s', p.oid::regoperator) FROM pg_operator p WHERE p.oprnamespace IN (SELECT oid FROM schema)
		AND NOT EXISTS (SELECT FROM ours o WHERE o.classid = 'pg_operator'::regclass AND o.objid = p.oid)
	UNION ALL
	SELECT format('leaf %s: %s', f.leaf, f.fault) FROM atp_internal.leaf_faults() f;
END;
COMMENT ON FUNCTION atp_internal.manifest_strangers() IS 'List strangers in the schemas of the event store, and leaves that deviate.';
REVOKE ALL ON FUNCTION atp_internal.manifest_strangers() FROM PUBLIC;

CREATE FUNCTION atp_internal.manifest_members() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH ours AS (SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
			WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'),
		relation AS (SELECT c.* FROM pg_class c JOIN ours o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid)
	SELECT format('member: %s %s', i.type, i.identity) FROM ours o, pg_identify_object(o.classid, o.objid, 0) i WHERE i.schema IS DISTINCT FROM 'pg_toast'
	UNION ALL
	SELECT format('function %s: owner %s, language %s, library %s, definer %s, volatility %s, strict %s, parallel %s, settings %s, execute %s, sha256 %s',
			p.oid::regprocedure, p.proowner::regrole, l.lanname, p.probin, p.prosecdef, p.provolatile, p.proisstrict, p.proparallel, p.proconfig,
			atp_internal.manifest_acl(p.proacl, 'f', p.proowner),
			encode(sha256(convert_to(CASE WHEN p.prokind = 'a' THEN p.prosrc ELSE pg_get_functiondef(p.oid) END, 'UTF8')), 'hex'))
		FROM pg_proc p JOIN ours o ON o.classid = 'pg_proc'::regclass AND o.objid = p.oid JOIN pg_language l ON l.oid = p.prolang
	UNION ALL
	SELECT format('relation %s: kind %s, owner %s, row security %s, forced %s, persistence %s, partitioned %s, privileges %s', c.oid::regclass, c.relkind,
			c.relowner::regrole, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence, pg_get_partkeydef(c.oid),
			atp_internal.manifest_acl(c.relacl, (CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::"char", c.relowner)) FROM relation c
	UNION ALL
	SELECT format('column %s.%s: %s, not null %s, default %s, identity %s, generated %s, privileges %s', c.oid::regclass, a.attname,
			format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity, a.attgenerated, a.attacl)
		FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
			LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		WHERE c.relkind <> 'S'
	UNION ALL
	SELECT format('view %s: options %s, sha256 %s', c.oid::regclass, c.reloptions, encode(sha256(convert_to(pg_get_viewdef(c.oid), 'UTF8')), 'hex'))
		FROM relation c WHERE c.relkind IN ('v', 'm')
	UNION ALL
	SELECT format('constraint %s on %s: %s', n.conname, n.conrelid::regclass, pg_get_constraintdef(n.oid)) FROM pg_constraint n
		JOIN relation c ON c.oid = n.conrelid WHERE n.contype NOT IN ('n', 't')
	UNION ALL
	SELECT format('unique index %s', pg_get_indexdef(i.indexrelid)) FROM pg_index i JOIN relation c ON c.oid = i.indrelid WHERE i.indisunique
	UNION ALL
	SELECT format('trigger, enabled %s: %s', t.tgenabled, pg_get_triggerdef(t.oid)) FROM pg_trigger t JOIN relation c ON c.oid = t.tgrelid
		WHERE NOT t.tgisinternal
	UNION ALL
	SELECT format('policy %s on %s: command %s, permissive %s, roles %s, using %s, check %s', p.polname, p.polrelid::regclass, p.polcmd, p.polpermissive,
			ARRAY(SELECT CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END COLLATE "C" FROM unnest(p.polroles) AS r ORDER BY 1),
			pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
		FROM pg_policy p JOIN relation c ON c.oid = p.polrelid
	UNION ALL
	SELECT format('rule: %s', pg_get_ruledef(r.oid)) FROM pg_rewrite r JOIN relation c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
	UNION ALL
	SELECT format('type %s: owner %s, kind %s, base %s, not null %s, default %s, usage %s', format_type(t.oid, NULL), t.typowner::regrole, t.typtype,
			format_type(nullif(t.typbasetype, 0), t.typtypmod), t.typnotnull, t.typdefault, atp_internal.manifest_acl(t.typacl, 'T', t.typowner))
		FROM pg_type t JOIN ours o ON o.classid = 'pg_type'::regclass AND o.objid = t.oid
		WHERE t.typtype <> 'm' AND t.typelem = 0
	UNION ALL
	SELECT format('domain constraint %s on %s: %s', n.conname, format_type(n.contypid, NULL), pg_get_constraintdef(n.oid)) FROM pg_constraint n
		JOIN ours o ON o.classid = 'pg_type'::regclass AND o.objid = n.contypid
	UNION ALL
	SELECT format('sequence %s: %s, start %s, increment %s, cache %s, cycle %s', c.oid::regclass, s.seqtypid::regtype, s.seqstart, s.seqincrement,
			s.seqcache, s.seqcycle) FROM pg_sequence s JOIN relation c ON c.oid = s.seqrelid
	UNION ALL
	SELECT format('dumped %s %s', t.relation::regclass, t.condition) FROM pg_extension e, unnest(e.extconfig, e.extcondition) AS t(relation, condition)
		WHERE e.extname = 'atp';
END;
COMMENT ON FUNCTION atp_internal.manifest_members() IS 'List the facts of the extension''s own objects.';
REVOKE ALL ON FUNCTION atp_internal.manifest_members() FROM PUBLIC;

CREATE FUNCTION atp_internal.manifest_surroundings() RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('extension atp: version %s, owner is superuser %s', e.extversion, r.rolsuper) FROM pg_extension e JOIN pg_roles r ON r.oid = e.extowner
		WHERE e.extname = 'atp'
	UNION ALL
	SELECT format('event trigger %s: on %s, function %s, enabled %s, tags %s, owner is superuser %s', t.evtname, t.evtevent, t.evtfoid::regprocedure, t.evtenabled,
			t.evttags, r.rolsuper)
		FROM pg_event_trigger t JOIN pg_roles r ON r.oid = t.evtowner
		WHERE t.evtname LIKE 'atp\_%' OR EXISTS (SELECT FROM pg_proc p WHERE p.oid = t.evtfoid AND p.pronamespace = 'atp_internal'::regnamespace)
	UNION ALL
	SELECT format('schema %s: %s', n.nspname, atp_internal.manifest_acl(n.nspacl, 'n', n.nspowner)) FROM pg_namespace n
		WHERE n.nspname IN ('atp', 'atp_internal')
	UNION ALL
	SELECT format('role %s: superuser %s, login %s, createrole %s, bypassrls %s, members %s', r.rolname, r.rolsuper, r.rolcanlogin, r.rolcreaterole, r.rolbypassrls,
			CASE r.rolname WHEN 'atp_owner' THEN (SELECT count(*) FROM pg_auth_members m WHERE m.roleid = r.oid)::text ELSE 'anybody' END)
		FROM pg_roles r WHERE r.rolname IN ('atp_owner', 'atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin')
	UNION ALL
	SELECT format('setting %s: default %s%s', s.name, s.boot_val, CASE WHEN s.name IN ('atp.guard', 'atp.allow_drop') THEN ', now ' || s.setting ELSE '' END)
		FROM pg_settings s WHERE s.name LIKE 'atp.%'
	UNION ALL
	SELECT format('default privileges of atp_owner: %s', a.defaclacl) FROM pg_default_acl a WHERE a.defaclrole = to_regrole('atp_owner')
		OR a.defaclnamespace IN (SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('atp', 'atp_internal'));
END;
COMMENT ON FUNCTION atp_internal.manifest_surroundings() IS 'List the facts around the extension: event triggers, schemas, roles, settings.';
REVOKE ALL ON FUNCTION atp_internal.manifest_surroundings() FROM PUBLIC;

CREATE FUNCTION atp_internal.manifest_baseline() RETURNS text
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_selfmanifest_baseline';
COMMENT ON FUNCTION atp_internal.manifest_baseline() IS
'Return the hash of a fresh installation''s manifest, which the library carries.
NULL where the library was built without one for this major version of the server.';
REVOKE ALL ON FUNCTION atp_internal.manifest_baseline() FROM PUBLIC;

CREATE FUNCTION atp.self_manifest() RETURNS text
	LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	manifest text;
BEGIN
	PERFORM atp_internal.manifest_baseline();	-- the library's settings are known once it is loaded
	SELECT string_agg(f.fact, E'\n' ORDER BY f.fact COLLATE "C") || E'\n' INTO manifest
		FROM (SELECT * FROM atp_internal.manifest_members() UNION ALL SELECT * FROM atp_internal.manifest_surroundings()
			UNION ALL SELECT * FROM atp_internal.manifest_strangers()) AS f(fact);
	RETURN manifest;
END $$;
COMMENT ON FUNCTION atp.self_manifest() IS
'Write down what the installation is made of, one fact a line, sorted by bytes.
Functions with the hash of their definition, privileges, owners, tables, constraints, triggers, event triggers, policies, views, roles, settings, and what does not belong there. Equal for two fresh installations of a version on one major version of the server. Grants that an administrator has made on functions show as differences. It speaks for the catalogs as this server presents them: whoever can change the server can change what it says.';
REVOKE ALL ON FUNCTION atp.self_manifest() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.self_manifest() TO atp_auditor, atp_admin;

CREATE FUNCTION atp.self_manifest_hash() RETURNS text
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT encode(sha256(convert_to(atp.self_manifest(), 'UTF8')), 'hex');
END;
COMMENT ON FUNCTION atp.self_manifest_hash() IS
'Return the SHA-256 of atp.self_manifest() in UTF-8, as hexadecimal text.
docs/reference/manifest.md has the value of a fresh installation; atp.doctor() compares with the one in the library.';
REVOKE ALL ON FUNCTION atp.self_manifest_hash() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.self_manifest_hash() TO atp_auditor, atp_admin;

-- The doctor: what is wrong with the installation, and what to do about it. A check is a function of schema atp_internal that belongs to
-- the extension, can be called without arguments and returns SETOF atp.finding; every room may have some. atp.doctor() finds them.
CREATE FUNCTION atp_internal.library_version() RETURNS text
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_doctor_library_version';
COMMENT ON FUNCTION atp_internal.library_version() IS 'Return the version of the loaded library.';
REVOKE ALL ON FUNCTION atp_internal.library_version() FROM PUBLIC;

CREATE FUNCTION atp_internal.library_is_preloaded() RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_doctor_library_is_preloaded';
COMMENT ON FUNCTION atp_internal.library_is_preloaded() IS 'Say whether the library is in shared_preload_libraries.';
REVOKE ALL ON FUNCTION atp_internal.library_is_preloaded() FROM PUBLIC;

CREATE FUNCTION atp_internal.check_library() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'library', CASE WHEN v.sql = v.library THEN 'ok' ELSE 'error' END,
		format('The library is %s, the SQL objects are %s.', v.library, v.sql),
		CASE WHEN v.sql <> v.library THEN 'ALTER EXTENSION atp UPDATE; reconnect sessions that have loaded an older library.' END
	FROM (SELECT e.extversion, atp_internal.library_version() FROM pg_extension e WHERE e.extname = 'atp') AS v(sql, library);
END;
COMMENT ON FUNCTION atp_internal.check_library() IS 'Check that library and SQL objects are of one version.';

CREATE FUNCTION atp_internal.check_guard() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'preload', CASE WHEN atp_internal.library_is_preloaded() THEN 'ok' ELSE 'warning' END,
		CASE WHEN atp_internal.library_is_preloaded() THEN 'The library is preloaded: the hooks guard every session.'
			ELSE 'The library is not preloaded: a superuser''s session that loads nothing of it can change the catalogs and the event triggers.' END,
		CASE WHEN NOT atp_internal.library_is_preloaded() THEN 'Add atp to shared_preload_libraries and restart the server.' END
	UNION ALL
	SELECT 'guard', CASE current_setting('atp.guard', true) WHEN 'on' THEN 'ok' ELSE 'error' END,
		CASE current_setting('atp.guard', true) WHEN 'on' THEN 'The guard stands.'
			ELSE 'The guard stands down: objects of the event store can be altered and dropped.' END,
		CASE WHEN current_setting('atp.guard', true) IS DISTINCT FROM 'on' THEN 'Remove atp.guard = off from the configuration and restart the server.' END
	UNION ALL
	SELECT 'allow_drop', 'warning', 'The setting atp.allow_drop is on: DROP EXTENSION atp removes every event.',
		'RESET atp.allow_drop; ALTER ROLE or ALTER DATABASE ... RESET atp.allow_drop.'
		WHERE current_setting('atp.allow_drop', true) = 'on'
	UNION ALL
	SELECT 'replication_role', CASE current_setting('session_replication_role') WHEN 'origin' THEN 'ok' ELSE 'warning' END,
		format('session_replication_role is %s%s', current_setting('session_replication_role'),
			CASE current_setting('session_replication_role') WHEN 'origin' THEN '.' ELSE ': the guard''s triggers fire all the same, others may not.' END),
		CASE WHEN current_setting('session_replication_role') <> 'origin' THEN 'RESET session_replication_role; see ALTER ROLE and ALTER DATABASE ... RESET.' END;
END;
COMMENT ON FUNCTION atp_internal.check_guard() IS 'Check which level of the guard holds.';

CREATE FUNCTION atp_internal.check_triggers() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH fault AS (
		SELECT format('Table %s: its trigger guard is missing or not ENABLE ALWAYS.', t.name) AS fault
		FROM (VALUES ('atp_internal.event', 'atp_internal.refuse_change()'), ('atp_internal.stream', 'atp_internal.refuse_change()'),
			('atp_internal.log', 'atp_internal.refuse_change()'), ('atp_internal.tenant', 'atp_internal.refuse_foreign_change()')) AS t(name, function)
		WHERE NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = to_regclass(t.name) AND g.tgname = 'guard' AND g.tgenabled = 'A'
			AND g.tgfoid = to_regprocedure(t.function))
		UNION ALL
		SELECT format('Partition %s: %s.', f.leaf, f.fault) FROM atp_internal.leaf_faults() f
		UNION ALL
		SELECT format('Trigger %s on %s is not ENABLE ALWAYS.', t.tgname, t.tgrelid::regclass) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
			WHERE c.relnamespace = to_regnamespace('atp_internal') AND c.relkind IN ('r', 'p') AND NOT t.tgisinternal AND t.tgname <> 'guard' AND t.tgenabled <> 'A'
		UNION ALL
		SELECT format('Rule %s on %s does not belong there.', r.rulename, r.ev_class::regclass) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
			WHERE c.relnamespace = to_regnamespace('atp_internal') AND r.rulename <> '_RETURN' AND NOT c.relispartition)
	SELECT 'triggers', 'error', f.fault, 'Find out who changed it. With atp.guard = off: ALTER TABLE ... ENABLE ALWAYS TRIGGER, or restore from a dump; then SELECT * FROM atp.verify_all().'
		FROM fault f
	UNION ALL
	SELECT 'triggers', 'ok', 'The triggers of tables and partitions stand.', NULL WHERE NOT EXISTS (SELECT FROM fault);
END;
COMMENT ON FUNCTION atp_internal.check_triggers() IS 'Check that every table and partition has its triggers, and none beside.';

CREATE FUNCTION atp_internal.check_event_triggers() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'event_triggers', CASE WHEN count(t.oid) = 3 THEN 'ok' ELSE 'error' END,
		CASE WHEN count(t.oid) = 3 THEN 'The event triggers stand.'
			ELSE format('Missing or not ENABLE ALWAYS: %s.', string_agg(n.name, ', ' ORDER BY n.name) FILTER (WHERE t.oid IS NULL)) END,
		CASE WHEN count(t.oid) <> 3 THEN 'ALTER EVENT TRIGGER ... ENABLE ALWAYS; find out who changed it, and verify the store.' END
	FROM (VALUES ('atp_guard_command_start', 'ddl_command_start', 'atp_internal.guard_command_start()'),
			('atp_guard_command_end', 'ddl_command_end', 'atp_internal.guard_command_end()'),
			('atp_guard_drop', 'sql_drop', 'atp_internal.guard_drop()')) AS n(name, event, function)
		LEFT JOIN pg_event_trigger t ON t.evtname = n.name AND t.evtevent = n.event AND t.evtenabled = 'A'
			AND t.evtfoid = to_regprocedure(n.function) AND t.evttags IS NULL;
END;
COMMENT ON FUNCTION atp_internal.check_event_triggers() IS 'Check that the guard''s event triggers are enabled.';

CREATE FUNCTION atp_internal.check_manifest() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'manifest', CASE WHEN m.baseline IS NULL THEN 'note' WHEN m.present = m.baseline THEN 'ok' ELSE 'warning' END,
		CASE WHEN m.baseline IS NULL THEN 'The library carries no manifest for this major version of the server.'
			WHEN m.present = m.baseline THEN 'Functions, triggers, policies, owners and privileges are as installed.'
			ELSE 'Functions, triggers, policies, owners, privileges or roles differ from a fresh installation.' END,
		CASE WHEN m.present IS DISTINCT FROM m.baseline THEN
			'Compare SELECT atp.self_manifest() with that of a fresh installation (diff): grants of your own show too, nothing else should.' END
	FROM (SELECT atp_internal.manifest_baseline(), atp.self_manifest_hash()) AS m(baseline, present)
	UNION ALL
	SELECT 'manifest', 'error', s.fact, 'Find out who made it, and drop it with atp.guard = off.' FROM atp_internal.manifest_strangers() AS s(fact)
		WHERE s.fact LIKE 'stranger%';
END;
COMMENT ON FUNCTION atp_internal.check_manifest() IS 'Check that the objects of the extension are as a fresh installation has them.';

CREATE FUNCTION atp_internal.check_roles() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH fault AS (
		SELECT format('Role atp_owner has the member %s, who can act as the owner of the store.', m.member::regrole) AS fault,
				format('REVOKE atp_owner FROM %s, with atp.guard = off where the guard refuses it.', m.member::regrole) AS remedy
			FROM pg_auth_members m WHERE m.roleid = to_regrole('atp_owner')
		UNION ALL
		SELECT format('Role atp_owner is %s.', concat_ws(', ', CASE WHEN r.rolcanlogin THEN 'LOGIN' END, CASE WHEN r.rolsuper THEN 'SUPERUSER' END,
				CASE WHEN r.rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN r.rolcreaterole THEN 'CREATEROLE' END)),
				'ALTER ROLE atp_owner NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE.'
			FROM pg_roles r WHERE r.rolname = 'atp_owner' AND (r.rolcanlogin OR r.rolsuper OR r.rolbypassrls OR r.rolcreaterole)
		UNION ALL
		SELECT format('Role %s is a superuser or bypasses row level security.', r.rolname), format('ALTER ROLE %s NOSUPERUSER NOBYPASSRLS.', r.rolname)
			FROM pg_roles r WHERE r.rolname IN ('atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin') AND (r.rolsuper OR r.rolbypassrls)
		UNION ALL
		SELECT format('Role %s does not exist.', n.name), format('CREATE ROLE %s NOLOGIN; then grant it what docs/reference/functions.md says.', n.name)
			FROM (VALUES ('atp_owner'), ('atp_reader'), ('atp_writer'), ('atp_auditor'), ('atp_admin')) AS n(name) WHERE to_regrole(n.name) IS NULL)
	SELECT 'roles', 'error', f.fault, f.remedy FROM fault f
	UNION ALL
	SELECT 'roles', 'ok', 'Nobody is or can become atp_owner.', NULL WHERE NOT EXISTS (SELECT FROM fault);
END;
COMMENT ON FUNCTION atp_internal.check_roles() IS 'Check that nobody can act as atp_owner and that the roles exist.';

CREATE FUNCTION atp_internal.check_row_security() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH fault AS (SELECT c.oid::regclass AS name FROM pg_class c
		WHERE c.relnamespace = to_regnamespace('atp_internal') AND c.relkind IN ('r', 'p') AND c.relname <> 'tenant'
			AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped)
			AND NOT (c.relrowsecurity AND c.relforcerowsecurity AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)))
	SELECT 'row_security', 'error', format('Table %s: row level security is not enabled and forced, or has no policy.', f.name),
		format('With atp.guard = off: ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY.', f.name) FROM fault f
	UNION ALL
	SELECT 'row_security', 'ok', 'Row level security is forced on every table and partition that holds a tenant''s rows.', NULL WHERE NOT EXISTS (SELECT FROM fault);
END;
COMMENT ON FUNCTION atp_internal.check_row_security() IS 'Check that row level security is forced on every table and partition.';

CREATE FUNCTION atp_internal.check_partitions(at timestamptz DEFAULT NULL) RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH bound AS (SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''([^'']*)''\) TO \(''([^'']*)''\)') AS pair
			FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = to_regclass('atp_internal.event')),
		moment AS (SELECT m.name, (lpad(to_hex((extract(epoch FROM coalesce(check_partitions.at, clock_timestamp()) + m.ahead) * 1000)::bigint), 12, '0') ||
				repeat('0', 20))::uuid AS id
			FROM (VALUES ('now', interval '0'), ('tomorrow', interval '1 day')) AS m(name, ahead)),
		missing AS (SELECT m.name FROM moment m WHERE EXISTS (SELECT FROM bound)
			AND NOT EXISTS (SELECT FROM bound b WHERE (b.pair)[1]::uuid <= m.id AND m.id < (b.pair)[2]::uuid))
	SELECT 'partitions', 'warning', format('No partition for %s: the append that needs one makes it, and the others wait meanwhile.', m.name),
		'SELECT atp.create_partitions(); and see to it that the worker runs.' FROM missing m
	UNION ALL
	SELECT 'partitions', 'ok', format('%s partitions; those that appends need next are there.', (SELECT count(*) FROM bound)), NULL
		WHERE NOT EXISTS (SELECT FROM missing);
END;
COMMENT ON FUNCTION atp_internal.check_partitions(timestamptz) IS 'Check that partitions are made for a time, now by default, and the day after.';

CREATE FUNCTION atp_internal.check_sequencer(delay interval DEFAULT '1 minute') RETURNS SETOF atp.finding
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'sequencer', 'error', s.fault, 'SELECT atp.resequence();' FROM atp_internal.sequencer_state() s WHERE s.fault IS NOT NULL
	UNION ALL
	SELECT 'sequencer', CASE WHEN w.waiting IS NULL THEN 'ok' ELSE 'warning' END,
		CASE WHEN w.waiting IS NULL THEN 'The log is up to date.'
			ELSE format('Events recorded at %s are not in the log yet.', w.waiting) END,
		CASE WHEN w.waiting IS NOT NULL THEN 'See the check worker; SELECT atp.tick() places them by hand. A transaction that is still open or prepared keeps its own events back.' END
	FROM (SELECT (SELECT e.recorded_at FROM atp_internal.event e
			WHERE e.event_id >= (lpad(to_hex((extract(epoch FROM clock_timestamp() - interval '1 day') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
				AND e.recorded_at < clock_timestamp() - check_sequencer.delay
				AND NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id AND l.tenant = e.tenant)
			LIMIT 1)) AS w(waiting);
END;
COMMENT ON FUNCTION atp_internal.check_sequencer(interval) IS 'Check that the log keeps up with the events of the last day.';

CREATE FUNCTION atp_internal.check_worker() RETURNS SETOF atp.finding
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'worker', CASE WHEN w.alive THEN 'ok' WHEN NOT w.enabled THEN 'warning' WHEN n.waiting AND NOT pg_is_in_recovery() THEN 'warning' ELSE 'ok' END,
		CASE WHEN w.alive THEN format('The background worker is process %s.', w.pid)
			WHEN NOT w.enabled THEN 'The background worker is switched off: readers and atp.tick() place events.'
			WHEN pg_is_in_recovery() THEN 'A standby has no worker.'
			WHEN n.waiting THEN 'No background worker is alive although events wait: probably every slot of max_worker_processes is taken.'
			ELSE 'No background worker is alive; the next append starts one.' END,
		CASE WHEN NOT w.enabled AND NOT w.alive THEN 'Remove atp.worker_enabled = off from the configuration.'
			WHEN NOT w.alive AND n.waiting AND NOT pg_is_in_recovery() THEN format('Raise max_worker_processes (now %s) and restart the server.', current_setting('max_worker_processes')) END
	FROM atp_internal.worker_status() w,
		(SELECT EXISTS (SELECT FROM atp_internal.check_sequencer('5 seconds') c WHERE c.level <> 'ok')) AS n(waiting)
	UNION ALL
	SELECT 'trees_process', CASE WHEN a.active AND a.pid IS NULL THEN 'note' ELSE 'ok' END,
		CASE WHEN a.pid IS NOT NULL THEN format('Process %s grows the trees and makes checkpoints.', a.pid)
			WHEN a.active THEN 'The background worker itself grows the trees and makes checkpoints, between its other jobs: there is no process of their own.'
			ELSE 'No process grows the trees now; the background worker starts one when there is something to do.' END,
		CASE WHEN a.active AND a.pid IS NULL THEN format('Raise max_worker_processes (now %s) and restart the server.', current_setting('max_worker_processes')) END
	FROM atp_internal.aside_status() a
	UNION ALL
	SELECT 'scheduler', CASE WHEN EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN 'ok' ELSE 'note' END,
		CASE WHEN EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN 'pg_cron is installed in this database.'
			ELSE 'pg_cron is not installed in this database: the background worker runs the scheduled jobs.' END,
		CASE WHEN NOT EXISTS (SELECT FROM pg_extension e WHERE e.extname = 'pg_cron') THEN 'Nothing is needed; CREATE EXTENSION pg_cron lets schedules be seen and changed there.' END;
END;
COMMENT ON FUNCTION atp_internal.check_worker() IS 'Check that the background worker lives or can be started.';

CREATE FUNCTION atp_internal.check_prepared(age interval DEFAULT '1 hour') RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'prepared_transactions', 'warning', format('Transaction "%s" has stood prepared since %s; its streams are locked, its events are not in the log.', p.gid, p.prepared),
		format('COMMIT PREPARED %L or ROLLBACK PREPARED %L.', p.gid, p.gid)
		FROM pg_prepared_xacts p WHERE p.database = current_database() AND p.prepared < clock_timestamp() - check_prepared.age
	UNION ALL
	SELECT 'prepared_transactions', 'ok', 'No transaction has stood prepared for long.', NULL
		WHERE NOT EXISTS (SELECT FROM pg_prepared_xacts p WHERE p.database = current_database() AND p.prepared < clock_timestamp() - check_prepared.age);
END;
COMMENT ON FUNCTION atp_internal.check_prepared(interval) IS 'Check that no prepared transaction is older than an age.';

CREATE FUNCTION atp_internal.check_server() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s.name, CASE WHEN s.bad THEN s.level ELSE 'ok' END, format('%s is %s%s', s.name, s.value, CASE WHEN s.bad THEN ': ' || s.reason ELSE '.' END),
		CASE WHEN s.bad THEN s.remedy END
	FROM (SELECT n.name, current_setting(n.name), current_setting(n.name) = ANY (n.bad_values), n.level, n.reason, n.remedy FROM (VALUES
		('fsync', ARRAY['off'], 'error', 'a crash of the machine can destroy acknowledged events and the database.', 'Set fsync = on and reload.'),
		('full_page_writes', ARRAY['off'], 'error', 'a crash of the machine can tear pages.', 'Set full_page_writes = on and reload.'),
		('synchronous_commit', ARRAY['off'], 'warning', 'a crash can lose the last acknowledged events.', 'Set synchronous_commit = on for whoever appends.'),
		('data_checksums', ARRAY['off'], 'warning', 'rot on disk is found by verification only.', 'Stop the server and run pg_checksums --enable.'),
		('wal_level', ARRAY['minimal'], 'warning', 'no replica and no point-in-time recovery.', 'Set wal_level = replica and restart.'),
		('autovacuum', ARRAY['off'], 'warning', 'stream heads leave dead rows behind.', 'Set autovacuum = on and reload.'),
		('track_counts', ARRAY['off'], 'warning', 'autovacuum does not run.', 'Set track_counts = on and reload.')
		) AS n(name, bad_values, level, reason, remedy)
	UNION ALL
	SELECT 'server_encoding', current_setting('server_encoding'), current_setting('server_encoding') <> 'UTF8', 'error',
		'JSON texts can hold characters that this encoding cannot.', 'Dump, and restore into a database with ENCODING UTF8.'
	) AS s(name, value, bad, level, reason, remedy);
END;
COMMENT ON FUNCTION atp_internal.check_server() IS 'Check the settings of the server on which durability and housekeeping rest.';

CREATE FUNCTION atp_internal.check_tables() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'autovacuum', 'warning', format('Autovacuum is disabled for table %s.', c.oid::regclass), format('ALTER TABLE %s RESET (autovacuum_enabled).', c.oid::regclass)
		FROM pg_class c WHERE c.relnamespace = to_regnamespace('atp_internal')
			AND EXISTS (SELECT FROM unnest(c.reloptions) AS o(option) WHERE o.option IN ('autovacuum_enabled=false', 'autovacuum_enabled=off'));
END;
COMMENT ON FUNCTION atp_internal.check_tables() IS 'Check that autovacuum is not disabled for a table of the store.';

CREATE FUNCTION atp_internal.check_tenants() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'tenants', CASE WHEN count(*) FILTER (WHERE t.status = 'suspended') > 0 THEN 'note' ELSE 'ok' END,
		format('%s tenants; suspended: %s.', count(*), coalesce(string_agg(t.name, ', ' ORDER BY t.name) FILTER (WHERE t.status = 'suspended'), 'none')),
		CASE WHEN count(*) FILTER (WHERE t.status = 'suspended') > 0 THEN 'SELECT atp.reactivate_tenant(...) where the reason is gone.' END
	FROM atp_internal.tenant t;
END;
COMMENT ON FUNCTION atp_internal.check_tenants() IS 'Check whether tenants are suspended.';

CREATE FUNCTION atp_internal.check_overrides() RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'overrides', 'note', format('%s%s has %s.', coalesce('Role ' || nullif(s.setrole, 0)::regrole, 'Every role'),
			coalesce(' in database ' || d.datname, ''), o.option), 'Nothing where it is meant; otherwise ALTER ROLE or ALTER DATABASE ... RESET.'
		FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS o(option)
		WHERE (s.setdatabase = 0 OR d.datname = current_database()) AND (o.option LIKE 'atp.%' OR o.option LIKE 'session\_replication\_role=%');
END;
COMMENT ON FUNCTION atp_internal.check_overrides() IS 'List settings of atp that a role or the database has of its own.';

REVOKE ALL ON FUNCTION atp_internal.check_library(), atp_internal.check_guard(), atp_internal.check_triggers(), atp_internal.check_event_triggers(),
	atp_internal.check_manifest(), atp_internal.check_roles(), atp_internal.check_row_security(), atp_internal.check_partitions(timestamptz),
	atp_internal.check_sequencer(interval), atp_internal.check_worker(), atp_internal.check_prepared(interval), atp_internal.check_server(),
	atp_internal.check_tables(), atp_internal.check_tenants(), atp_internal.check_overrides() FROM PUBLIC;

CREATE FUNCTION atp.doctor() RETURNS SETOF atp.finding
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	room record;
	found atp.finding;
	findings atp.finding[] := '{}';
BEGIN
	FOR room IN
		SELECT p.oid::regproc AS name FROM pg_proc p
			JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
			JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
		WHERE p.proretset AND p.prorettype = 'atp.finding'::regtype AND p.pronamespace = 'atp_internal'::regnamespace
			AND p.pronargs = p.pronargdefaults
	LOOP
		BEGIN
			FOR found IN EXECUTE format('SELECT * FROM %s()', room.name) LOOP
				findings := findings || found;
			END LOOP;
		EXCEPTION WHEN others THEN
			findings := findings || ROW(room.name::text, 'error', format('The check failed: %s (%s).', sqlerrm, sqlstate),
				'See the message; the check could not look.')::atp.finding;
		END;
	END LOOP;
	RETURN QUERY SELECT f.* FROM unnest(findings) f
		ORDER BY array_position(ARRAY['error', 'warning', 'note', 'ok'], f.level), f.check_name COLLATE "C", f.finding COLLATE "C";
END $$;
COMMENT ON FUNCTION atp.doctor() IS
'Examine the installation: one row a finding, the worst first, with its remedy.
level is error (events are at risk or unguarded), warning, note or ok. Looks at the catalogs and settings and verifies no event: that is verify_all. Changes nothing, works on a standby. A check that fails is a finding itself. What it says rests on the catalogs as this server presents them; see docs/design/guard.md.';
REVOKE ALL ON FUNCTION atp.doctor() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.doctor() TO atp_auditor, atp_admin;

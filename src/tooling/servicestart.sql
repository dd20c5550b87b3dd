-- Start-ups on record: which version serves the database, and whether the guard stood. The background worker asks once a minute.
CREATE FUNCTION atp_internal.record_service_start() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	version text := atp_internal.library_version();	-- first: the library brings its settings
	home int := (SELECT t.tenant FROM atp_internal.tenant t WHERE t.name = 'default');
	started text := atp_internal.event_time(pg_postmaster_start_time());
	guard text := current_setting('atp.guard');
	latest jsonb;
BEGIN
	SELECT e.payload::jsonb INTO latest FROM atp_internal.event e
		JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant AND s.version = e.stream_version
		WHERE s.tenant = home AND s.name = 'atp.Service-server';
	IF latest ->> 'StartedAt' = started AND latest ->> 'Guard' = guard THEN
		RETURN false;
	END IF;
	-- The start before a store was first used is not worth a record, unless it was one that put the guard down.
	IF latest IS NULL AND NOT EXISTS (SELECT FROM atp_internal.stream s
			WHERE s.created_at < pg_postmaster_start_time() OR guard <> 'on' AND atp_internal.library_is_preloaded()) THEN
		RETURN false;
	END IF;
	PERFORM atp_internal.emit_event(home, 'atp.Service-server', 'ServiceStarted', jsonb_build_object('Component', 'server',
		'Version', version, 'Database', current_database(), 'StartedAt', started,
		'Guard', guard, 'Preloaded', atp_internal.library_is_preloaded()));
	RETURN true;
END $$;
COMMENT ON FUNCTION atp_internal.record_service_start() IS
'Record the start of the server in the stream atp.Service-server, once.
The event ServiceStarted says the version of the library, whether it is preloaded, and whether atp.guard is on; it is recorded again when that changes by a reload. The start before a store was first used is not recorded, unless it put the guard down.';
REVOKE ALL ON FUNCTION atp_internal.record_service_start() FROM PUBLIC;

-- Exports on record: requested, started, completed or failed.
CREATE FUNCTION atp.request_export(purpose text, tenant text DEFAULT NULL) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := atp_internal.open_tenant(request_export.tenant);
	export uuid := atp.create_event_id();
BEGIN
	PERFORM atp_internal.emit_event(key, 'atp.Export-' || export, 'ExportRequested', jsonb_build_object('ExportId', export,
		'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = key), 'RequestedBy', session_user,
		'Purpose', request_export.purpose, 'Format', 'bundle', 'Filter', '{}'::jsonb));
	RETURN export;
END $$;
COMMENT ON FUNCTION atp.request_export(text, text) IS
'Record that an export is asked for, and return its id for export_bundle.
purpose says in words what it is for. Records ExportRequested.
Raises: TP202, 42501.';
REVOKE ALL ON FUNCTION atp.request_export(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.request_export(text, text) TO atp_auditor, atp_admin;

CREATE TABLE atp_internal.open_export (
	tenant int NOT NULL,
	export uuid NOT NULL,
	started_at timestamptz NOT NULL,
	held_by text NOT NULL,
	CONSTRAINT open_export_pk PRIMARY KEY (tenant, export)
);
COMMENT ON TABLE atp_internal.open_export IS 'Exports that have begun and are not recorded as ended.';
COMMENT ON COLUMN atp_internal.open_export.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.open_export.export IS 'Id of the export.';
COMMENT ON COLUMN atp_internal.open_export.started_at IS 'When it began.';
COMMENT ON COLUMN atp_internal.open_export.held_by IS 'Virtual id of the transaction that exports, as pg_locks shows it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.open_export', '');
ALTER TABLE atp_internal.open_export ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.open_export FORCE ROW LEVEL SECURITY;
CREATE POLICY open_export_tenant ON atp_internal.open_export USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.open_export
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.open_export ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp_internal.emit_export_event(tenant int, export uuid, event_type text, payload jsonb) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT atp_internal.emit_event(emit_export_event.tenant, 'atp.Export-' || emit_export_event.export, emit_export_event.event_type,
		pg_catalog.jsonb_build_object('ExportId', emit_export_event.export,
			'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = emit_export_event.tenant)) || emit_export_event.payload);
END;
COMMENT ON FUNCTION atp_internal.emit_export_event(int, uuid, text, jsonb) IS 'Append an event to the stream of an export.';
REVOKE ALL ON FUNCTION atp_internal.emit_export_event(int, uuid, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.export_log(tenant int) RETURNS int
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	SELECT CASE WHEN t.status = 'deleted' THEN (SELECT d.tenant FROM atp_internal.tenant d WHERE d.name = 'default') ELSE t.tenant END
		FROM atp_internal.tenant t WHERE t.tenant = export_log.tenant;
END;
COMMENT ON FUNCTION atp_internal.export_log(int) IS 'Return whose log has the exports of a tenant: its own, until it is deleted.';
REVOKE ALL ON FUNCTION atp_internal.export_log(int) FROM PUBLIC;

CREATE FUNCTION atp_internal.end_failed_export(tenant int, export uuid, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	failures bigint;
	has_failed boolean;
BEGIN
	DELETE FROM atp_internal.open_export o WHERE o.tenant = end_failed_export.tenant AND o.export = end_failed_export.export;
	SELECT count(*) FILTER (WHERE y.name = 'ExportFailed'), coalesce(bool_or(y.name = 'ExportFailed' AND e.stream_version = s.version), false)
		INTO failures, has_failed
		FROM atp_internal.stream s JOIN atp_internal.event e ON e.stream = s.stream AND e.tenant = s.tenant
			JOIN atp_internal.event_type y ON y.event_type = e.event_type
		WHERE s.tenant = atp_internal.export_log(end_failed_export.tenant) AND s.name = 'atp.Export-' || end_failed_export.export;
	IF NOT has_failed THEN
		PERFORM atp_internal.emit_export_event(end_failed_export.tenant, end_failed_export.export, 'ExportFailed', jsonb_build_object(
			'FailureReason', left(coalesce(nullif(end_failed_export.reason, ''), 'unknown'), 1024), 'Attempt', failures + 1,
			'FailedAt', atp_internal.event_time(clock_timestamp())));
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.end_failed_export(int, uuid, text) IS
'Record that an export failed, unless that is the last thing recorded of it.
Attempt counts the failures of the export.';
REVOKE ALL ON FUNCTION atp_internal.end_failed_export(int, uuid, text) FROM PUBLIC;

CREATE FUNCTION atp_internal.record_export(doing jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := (record_export.doing ->> 'tenant')::int;
	id uuid := (record_export.doing ->> 'export')::uuid;
BEGIN
	IF record_export.doing ? 'requested' THEN
		PERFORM atp_internal.emit_export_event(key, id, 'ExportRequested', record_export.doing -> 'requested');
	END IF;
	IF record_export.doing ? 'started' THEN
		INSERT INTO atp_internal.open_export (tenant, export, started_at, held_by)
			VALUES (key, id, clock_timestamp(), record_export.doing ->> 'held_by')
			ON CONFLICT ON CONSTRAINT open_export_pk DO UPDATE SET started_at = excluded.started_at, held_by = excluded.held_by;
		PERFORM atp_internal.emit_export_event(key, id, 'ExportStarted', record_export.doing -> 'started');
	END IF;
	IF record_export.doing ? 'completed' THEN
		DELETE FROM atp_internal.open_export o WHERE o.tenant = key AND o.export = id;
		PERFORM atp_internal.emit_export_event(key, id, 'ExportCompleted', record_export.doing -> 'completed');
	END IF;
	IF record_export.doing ? 'failed' THEN
		PERFORM atp_internal.end_failed_export(key, id, record_export.doing ->> 'failed');
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.record_export(jsonb) IS
'Record steps of an export: requested, started, completed, failed.
doing has the members tenant (key), export, held_by, and for each step its payload, or for failed the reason. export_bundle calls it, mostly in a transaction of its own.';
REVOKE ALL ON FUNCTION atp_internal.record_export(jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.sweep_exports() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	lost uuid[];
	gone record;
	swept bigint := 0;
BEGIN
	SELECT array_agg(o.export) INTO lost FROM atp_internal.open_export o
		WHERE o.started_at < pg_postmaster_start_time()
			OR NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.virtualxid = o.held_by);
	-- What those transactions have committed is visible to the next statement: an export that was completed is not open there.
	FOR gone IN SELECT o.tenant, o.export FROM atp_internal.open_export o WHERE o.export = ANY (lost) FOR UPDATE SKIP LOCKED LOOP
		PERFORM atp_internal.end_failed_export(gone.tenant, gone.export, 'It was not read to its end, or its transaction was not committed.');
		swept := swept + 1;
	END LOOP;
	RETURN swept;
END $$;
COMMENT ON FUNCTION atp_internal.sweep_exports() IS
'Record as failed the exports whose transaction is gone.
Returns how many; those that it completed are not open. The worker does it every few seconds, and so does run_verification.';
REVOKE ALL ON FUNCTION atp_internal.sweep_exports() FROM PUBLIC;

CREATE FUNCTION atp_internal.check_exports(age interval DEFAULT '5 minutes') RETURNS SETOF atp.finding
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH lost AS (SELECT FROM atp_internal.open_export o WHERE o.started_at < clock_timestamp() - check_exports.age
		AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'virtualxid' AND l.virtualxid = o.held_by))
	SELECT 'exports', CASE WHEN count(*) > 0 THEN 'warning' ELSE 'ok' END,
		CASE WHEN count(*) > 0 THEN format('%s exports broke off and are not recorded as failed yet.', count(*)) ELSE 'Exports are recorded to their end.' END,
		CASE WHEN count(*) > 0 THEN 'See to it that the worker runs; SELECT * FROM atp.run_verification() records them too.' END
	FROM lost;
END;
COMMENT ON FUNCTION atp_internal.check_exports(interval) IS 'Check that exports which broke off are recorded as failed.';
REVOKE ALL ON FUNCTION atp_internal.check_exports(interval) FROM PUBLIC;

CREATE FUNCTION atp.fail_export(export uuid, reason text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := atp_internal.open_tenant(fail_export.tenant);
BEGIN
	IF NOT EXISTS (SELECT FROM atp_internal.stream s WHERE s.tenant = atp_internal.export_log(key) AND s.name = 'atp.Export-' || fail_export.export) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP103', MESSAGE = format('no export %s was requested', fail_export.export);
	END IF;
	PERFORM atp_internal.end_failed_export(key, fail_export.export, fail_export.reason);
END $$;
COMMENT ON FUNCTION atp.fail_export(uuid, text, text) IS
'Record that an export failed, for a reason the database cannot know.
For whoever could not keep or deliver what export_bundle gave. An export that breaks off in the database is recorded as failed without this. Records ExportFailed, unless that is the last event of the export.
Raises: TP103 (no such export was requested), TP202, 42501.';
REVOKE ALL ON FUNCTION atp.fail_export(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.fail_export(uuid, text, text) TO atp_auditor, atp_admin;

-- Evidence bundles: what an auditor takes away, and verifies with atp-verify without this database.
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
Committed before the export, it stands also where the export fails; see fail_export. purpose says in words what it is for. Records ExportRequested.
Raises: TP202, 42501.';
REVOKE ALL ON FUNCTION atp.request_export(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.request_export(text, text) TO atp_auditor, atp_admin;

CREATE FUNCTION atp.fail_export(export uuid, reason text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := atp_internal.open_tenant(fail_export.tenant);
BEGIN
	IF NOT EXISTS (SELECT FROM atp_internal.stream s WHERE s.tenant = key AND s.name = 'atp.Export-' || fail_export.export) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP103', MESSAGE = format('no export %s was requested', fail_export.export);
	END IF;
	PERFORM atp_internal.emit_event(key, 'atp.Export-' || fail_export.export, 'ExportFailed', jsonb_build_object('ExportId', fail_export.export,
		'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = key), 'FailureReason', fail_export.reason,
		'Attempt', (SELECT count(*) + 1 FROM atp_internal.event e JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant
				JOIN atp_internal.event_type y ON y.event_type = e.event_type
			WHERE s.tenant = key AND s.name = 'atp.Export-' || fail_export.export AND y.name = 'ExportFailed'),
		'FailedAt', atp_internal.event_time(clock_timestamp())));
END $$;
COMMENT ON FUNCTION atp.fail_export(uuid, text, text) IS
'Record that a requested export came to nothing.
To be called by whoever ran export_bundle, after its transaction was rolled back. Records ExportFailed.
Raises: TP103 (no such export was requested), TP202, 42501.';
REVOKE ALL ON FUNCTION atp.fail_export(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.fail_export(uuid, text, text) TO atp_auditor, atp_admin;

CREATE FUNCTION atp.export_bundle(
	stream text DEFAULT NULL,
	event_type text DEFAULT NULL,
	recorded_from timestamptz DEFAULT NULL,
	recorded_until timestamptz DEFAULT NULL,
	completeness text DEFAULT 'records',
	first_leaf bigint DEFAULT 0,
	max_leaves bigint DEFAULT NULL,
	known_size bigint DEFAULT NULL,
	known_tree_size bigint DEFAULT NULL,
	export uuid DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS SETOF text
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100000 COST 1000 AS 'MODULE_PATHNAME', 'atp_export_bundle';
COMMENT ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) IS
'Export a tenant''s events under the newest signed checkpoint, as lines of JSON.
Without arguments the whole log. stream, event_type, recorded_from (inclusive) and recorded_until (exclusive) filter. completeness says what is told of events that the filter leaves out: records (their records without content, so that it can be seen that they do not match), hashes (their leaf hashes only), proofs (nothing: each event comes with a proof of its own; for one stream out of a large log). first_leaf and max_leaves export a part of the log. known_size and known_tree_size are sizes from a known head of atp-verify: the bundle then proves growth from there. export is an id of request_export. In a target list rows come as they are made, in constant memory: COPY (SELECT atp.export_bundle()) TO ... WITH (FORMAT csv, QUOTE E''\x01'', DELIMITER E''\x02'') writes them unchanged.
Records ExportRequested, ExportStarted and ExportCompleted unless the transaction is read only.
Raises: TP103, TP202, TP506 (no signed checkpoint, or the stored tree is damaged), 22023, 42501.';
REVOKE ALL ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.export_bundle(text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, bigint, uuid, text) TO atp_auditor, atp_admin;

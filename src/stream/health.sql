-- Health checks: the state of each, so that a check that fails is an event when it begins to fail and not each time it is looked at.
CREATE TABLE atp_internal.health_check (
	tenant int NOT NULL,
	passed boolean NOT NULL,
	changed_at timestamptz NOT NULL,
	checked_at timestamptz NOT NULL,
	component text NOT NULL,
	check_name text NOT NULL,
	detail text,
	CONSTRAINT health_check_pk PRIMARY KEY (component, check_name, tenant)
) WITH (fillfactor = 50);
COMMENT ON TABLE atp_internal.health_check IS 'The latest outcome of each health check.';
COMMENT ON COLUMN atp_internal.health_check.tenant IS 'Surrogate key of the tenant concerned; the tenant default for what concerns all.';
COMMENT ON COLUMN atp_internal.health_check.passed IS 'Whether it passed when it was last reported.';
COMMENT ON COLUMN atp_internal.health_check.changed_at IS 'Since when it passes, or fails.';
COMMENT ON COLUMN atp_internal.health_check.checked_at IS 'When it was last reported.';
COMMENT ON COLUMN atp_internal.health_check.component IS 'Which part was checked.';
COMMENT ON COLUMN atp_internal.health_check.check_name IS 'Name of the check.';
COMMENT ON COLUMN atp_internal.health_check.detail IS 'What was found.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.health_check', '');
ALTER TABLE atp_internal.health_check ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.health_check FORCE ROW LEVEL SECURITY;
CREATE POLICY health_check_tenant ON atp_internal.health_check USING (atp_internal.tenant_is_visible(tenant));

CREATE VIEW atp.health_checks AS
	SELECT h.component, h.check_name, h.passed, h.detail, h.changed_at, h.checked_at
	FROM atp_internal.health_check h
	WHERE h.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.health_checks IS 'List the latest outcome of each health check of the current tenant.';
COMMENT ON COLUMN atp.health_checks.component IS 'Which part was checked.';
COMMENT ON COLUMN atp.health_checks.check_name IS 'Name of the check.';
COMMENT ON COLUMN atp.health_checks.passed IS 'Whether it passed when it was last reported.';
COMMENT ON COLUMN atp.health_checks.detail IS 'What was found.';
COMMENT ON COLUMN atp.health_checks.changed_at IS 'Since when it passes, or fails.';
COMMENT ON COLUMN atp.health_checks.checked_at IS 'When it was last reported.';
GRANT SELECT ON atp.health_checks TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.report_health_check(component text, check_name text, passed boolean, detail text DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(report_health_check.tenant);
	moment timestamptz := clock_timestamp();
	before boolean;
BEGIN
	IF report_health_check.passed IS NULL OR report_health_check.component !~ '^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,127}$'
			OR report_health_check.check_name !~ '^[A-Za-z0-9][A-Za-z0-9 ._:/-]{0,127}$' THEN
		RAISE EXCEPTION 'a health check has a component, a name and an outcome' USING ERRCODE = '22023',
			DETAIL = 'Component and name have 1 to 128 letters, digits, spaces and . _ : / - and begin with a letter or digit.';
	END IF;
	INSERT INTO atp_internal.health_check (tenant, passed, changed_at, checked_at, component, check_name)
		VALUES (opened, true, moment, moment, report_health_check.component, report_health_check.check_name)
		ON CONFLICT (component, check_name, tenant) DO NOTHING;
	SELECT h.passed INTO before FROM atp_internal.health_check h
		WHERE h.tenant = opened AND h.component = report_health_check.component AND h.check_name = report_health_check.check_name FOR UPDATE;
	UPDATE atp_internal.health_check h SET passed = report_health_check.passed, detail = report_health_check.detail, checked_at = moment,
			changed_at = CASE WHEN h.passed = report_health_check.passed THEN h.changed_at ELSE moment END
		WHERE h.tenant = opened AND h.component = report_health_check.component AND h.check_name = report_health_check.check_name;
	IF before AND NOT report_health_check.passed THEN
		PERFORM atp_internal.emit_event(opened, 'atp.Health-' || replace(report_health_check.component || '/' || report_health_check.check_name, ' ', '_'),
			'HealthCheckFailed', jsonb_build_object('Component', report_health_check.component, 'Check', report_health_check.check_name,
				'Detail', coalesce(nullif(left(report_health_check.detail, 4096), ''), 'no detail'), 'TenantId',
				(SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = opened), 'DetectedAt', atp_internal.event_time(moment)));
	END IF;
	RETURN before AND NOT report_health_check.passed;
END $$;
COMMENT ON FUNCTION atp.report_health_check(text, text, boolean, text, text) IS
'Report the outcome of a health check; return whether that is a new failure.
For monitors inside and outside the database. When a check that passed before (or was never reported) fails, HealthCheckFailed goes to the stream atp.Health-<component>/<check>; while it goes on failing, nothing more. The latest outcomes are in atp.health_checks.
Raises: 22023 (malformed name, no outcome), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.report_health_check(text, text, boolean, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.report_health_check(text, text, boolean, text, text) TO atp_admin;

-- The life of tenants: each step is an event of the tenant's own log, in the stream atp.Tenant-<name>, in the same transaction.
CREATE FUNCTION atp.onboard_tenant(tenant text, configuration jsonb DEFAULT '{}') RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	made atp_internal.tenant;
BEGIN
	IF onboard_tenant.tenant IS NULL OR onboard_tenant.tenant !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP201', MESSAGE = format('invalid tenant name "%s"', onboard_tenant.tenant),
			HINT = 'A tenant name has 1 to 128 letters, digits, dots, colons, underscores and hyphens, and begins with a letter or digit.';
	END IF;
	IF jsonb_typeof(onboard_tenant.configuration) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'configuration is not a JSON object';
	END IF;
	INSERT INTO atp_internal.tenant AS t (name, configuration) VALUES (onboard_tenant.tenant, onboard_tenant.configuration)
		ON CONFLICT (name) DO NOTHING RETURNING t.* INTO made;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP211', MESSAGE = format('tenant "%s" exists', onboard_tenant.tenant);
	END IF;
	PERFORM atp_internal.emit_event(made.tenant, 'atp.Tenant-' || made.name, 'TenantOnboarded', jsonb_build_object(
		'TenantId', made.name, 'LogUid', made.log_uid, 'Configuration', made.configuration,
		'OnboardedBy', atp_internal.current_actor(), 'OnboardedAt', atp_internal.event_time(made.created_at)));
	RETURN made.log_uid;
END $$;
COMMENT ON FUNCTION atp.onboard_tenant(text, jsonb) IS
'Make a tenant and return the identity of its log.
The name stays taken for ever. configuration is a free-form JSON object. The first event of the tenant''s log is TenantOnboarded.
Raises: TP201 (malformed name), TP211 (the tenant exists), 22023 (configuration is no object).';

CREATE FUNCTION atp_internal.change_tenant(tenant text, configuration jsonb, status text, allowed text[]) RETURNS atp_internal.tenant
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present atp_internal.tenant;
BEGIN
	SELECT t.* INTO present FROM atp_internal.tenant t WHERE t.name = change_tenant.tenant FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP202', MESSAGE = format('tenant "%s" does not exist', change_tenant.tenant);
	END IF;
	IF present.status <> ALL (change_tenant.allowed) THEN
		RAISE EXCEPTION USING ERRCODE = 'TP203', MESSAGE = format('tenant "%s" is %s', change_tenant.tenant, present.status),
			DETAIL = format('This is possible for a tenant that is %s.', array_to_string(change_tenant.allowed, ' or '));
	END IF;
	UPDATE atp_internal.tenant t SET
			configuration = coalesce(change_tenant.configuration, t.configuration),
			status = coalesce(change_tenant.status, t.status),
			changed_at = clock_timestamp()
		WHERE t.tenant = present.tenant;
	RETURN present;
END $$;
COMMENT ON FUNCTION atp_internal.change_tenant(text, jsonb, text, text[]) IS
'Change the configuration and status of a tenant in one of the allowed states.
NULL leaves what it is. Returns the row as it was.
Raises: TP202 (no such tenant), TP203 (its state does not allow it).';
REVOKE ALL ON FUNCTION atp_internal.change_tenant(text, jsonb, text, text[]) FROM PUBLIC;

CREATE FUNCTION atp.update_tenant_configuration(tenant text, configuration jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	before atp_internal.tenant;
BEGIN
	IF jsonb_typeof(configuration) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'configuration is not a JSON object';
	END IF;
	before := atp_internal.change_tenant(tenant, configuration, NULL, ARRAY['active', 'suspended']);
	PERFORM atp_internal.emit_event(before.tenant, 'atp.Tenant-' || before.name, 'TenantConfigurationUpdated', jsonb_build_object(
		'TenantId', before.name, 'Configuration', configuration, 'PreviousConfiguration', before.configuration,
		'UpdatedBy', atp_internal.current_actor(), 'UpdatedAt', atp_internal.event_time(clock_timestamp())));
END $$;
COMMENT ON FUNCTION atp.update_tenant_configuration(text, jsonb) IS
'Replace the configuration of a tenant.
The tenant''s log gets TenantConfigurationUpdated.
Raises: TP202 (no such tenant), TP203 (it is deleted), 22023 (configuration is no object).';

CREATE FUNCTION atp_internal.move_tenant(tenant text, status text, allowed text[], verb text, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	before atp_internal.tenant := atp_internal.change_tenant(tenant, NULL, status, allowed);
BEGIN
	IF before.name = 'default' AND status = 'deleted' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP203', MESSAGE = 'tenant "default" cannot be deleted',
			DETAIL = 'What the platform records of itself stands in its log.', HINT = 'It can be suspended.';
	END IF;
	PERFORM atp_internal.emit_event(before.tenant, 'atp.Tenant-' || before.name, 'Tenant' || verb, jsonb_build_object(
		'TenantId', before.name, 'Reason', reason, verb || 'By', atp_internal.current_actor(),
		verb || 'At', atp_internal.event_time(clock_timestamp())));
END $$;
COMMENT ON FUNCTION atp_internal.move_tenant(text, text, text[], text, text) IS
'Bring a tenant from one of the allowed states to another and record it.
The event is Tenant<verb>.
Raises: TP202 (no such tenant), TP203 (its state does not allow it).';
REVOKE ALL ON FUNCTION atp_internal.move_tenant(text, text, text[], text, text) FROM PUBLIC;

CREATE FUNCTION atp.suspend_tenant(tenant text, reason text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.move_tenant(tenant, 'suspended', ARRAY['active'], 'Suspended', reason);
END;
COMMENT ON FUNCTION atp.suspend_tenant(text, text) IS
'Suspend a tenant: its events stay readable, and it takes no more.
Appends that began before may still commit. The tenant''s log gets TenantSuspended with the reason.
Raises: TP202 (no such tenant), TP203 (it is not active).';

CREATE FUNCTION atp.reactivate_tenant(tenant text, reason text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.move_tenant(tenant, 'active', ARRAY['suspended'], 'Reactivated', reason);
END;
COMMENT ON FUNCTION atp.reactivate_tenant(text, text) IS
'Let a suspended tenant take events again.
The tenant''s log gets TenantReactivated with the reason.
Raises: TP202 (no such tenant), TP203 (it is not suspended).';

CREATE FUNCTION atp.delete_tenant(tenant text, reason text DEFAULT NULL) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT atp_internal.move_tenant(tenant, 'deleted', ARRAY['active', 'suspended'], 'Deleted', reason);
END;
COMMENT ON FUNCTION atp.delete_tenant(text, text) IS
'Mark a tenant deleted.
It takes no more events, for ever, and its name stays taken. Its events stay: they are evidence. The last event of the tenant''s log is TenantDeleted with the reason; what is recorded of it afterwards, exports and faults, stands in the log of the tenant default.
Raises: TP202 (no such tenant), TP203 (it is deleted already, or the tenant default).';

REVOKE ALL ON FUNCTION atp.onboard_tenant(text, jsonb), atp.update_tenant_configuration(text, jsonb), atp.suspend_tenant(text, text),
	atp.reactivate_tenant(text, text), atp.delete_tenant(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.onboard_tenant(text, jsonb), atp.update_tenant_configuration(text, jsonb), atp.suspend_tenant(text, text),
	atp.reactivate_tenant(text, text), atp.delete_tenant(text, text) TO atp_admin;

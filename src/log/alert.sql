-- Alarms about the evidence.
CREATE FUNCTION atp_internal.raise_alert(tenant int, check_name text, detail text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_alert_raise_sql';
COMMENT ON FUNCTION atp_internal.raise_alert(int, text, text) IS
'Raise an alarm: NOTIFY atp_alert and an event HealthCheckFailed of the tenant.
tenant 0 means the tenant default. For the bodies of functions.';
REVOKE ALL ON FUNCTION atp_internal.raise_alert(int, text, text) FROM PUBLIC;

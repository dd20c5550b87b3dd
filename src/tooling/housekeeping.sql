-- Housekeeping, for pg_cron or by hand; the worker does the same by itself.
CREATE FUNCTION atp.run_housekeeping() RETURNS TABLE (chore text, done bigint)
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 4 AS 'MODULE_PATHNAME', 'atp_housekeeping_run';
COMMENT ON FUNCTION atp.run_housekeeping() IS
'Run the housekeeping and return what was done.
Makes the partitions of the next atp.partition_premake periods and purges what is kept for a while only. The worker does this every minute; where it is switched off, let pg_cron do it: SELECT cron.schedule(''atp housekeeping'', ''* * * * *'', ''SELECT atp.run_housekeeping()'').
Raises: 25006 (read only).';
REVOKE ALL ON FUNCTION atp.run_housekeeping() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.run_housekeeping() TO atp_admin;

-- Verification of the log.
CREATE FUNCTION atp.verify_log(OUT ok boolean, OUT checked bigint, OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifylog_log';
COMMENT ON FUNCTION atp.verify_log() IS
'Verify the log: gapless positions, every event once, streams in order.
Covers the log of all tenants under one snapshot. checked counts positions up to the first fault. An empty log is not ok. first_fault_position is NULL where the fault is an event that should have a position and has none; one whose transaction was not over at the last tick is no fault. Hashes are not recomputed: see verify_all.';
REVOKE ALL ON FUNCTION atp.verify_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_log() TO atp_auditor, atp_admin;

-- Verification of the log and of everything.
CREATE FUNCTION atp.verify_log(OUT ok boolean, OUT checked bigint, OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifylog_log';
COMMENT ON FUNCTION atp.verify_log() IS
'Verify the log: gapless positions, every event once, streams in order.
Covers the log of all tenants under one snapshot. checked counts positions up to the first fault. An empty log is not ok. first_fault_position is NULL where the fault is an event that should have a position and has none; one whose transaction was not over at the last tick is no fault. Hashes are not recomputed: see verify_all.';
REVOKE ALL ON FUNCTION atp.verify_log() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_log() TO atp_auditor, atp_admin;

CREATE FUNCTION atp.verify_all(deep boolean DEFAULT false, OUT ok boolean, OUT checked bigint, OUT first_fault_tenant text,
		OUT first_fault_stream text, OUT first_fault_version bigint, OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifylog_all';
COMMENT ON FUNCTION atp.verify_all(boolean) IS
'Verify every event of all tenants: hashes, links, versions, heads, and the log.
Every hash is recomputed from the stored columns, under one snapshot. checked counts events; none at all is not ok. The first fault is the first by tenant, stream and version, or, where all streams are well, by log position; parts of the place that cannot be told are NULL. deep checks in addition that stored documents are canonical JSON. Memory is bounded by maintenance_work_mem.';
REVOKE ALL ON FUNCTION atp.verify_all(boolean) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_all(boolean) TO atp_auditor, atp_admin;

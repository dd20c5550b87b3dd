-- Verification of everything.
CREATE FUNCTION atp.verify_all(deep boolean DEFAULT false, workers int DEFAULT NULL, OUT ok boolean, OUT checked bigint, OUT first_fault_tenant text,
		OUT first_fault_stream text, OUT first_fault_version bigint, OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifyall_all';
COMMENT ON FUNCTION atp.verify_all(boolean, int) IS
'Verify every event of all tenants: hashes, links, versions, heads, and the log.
Every hash is recomputed from the stored columns, under one snapshot, from the tables as they lie on disk. checked counts events; none at all is not ok. The first fault is the first by tenant, stream and version, or, where all streams are well, by log position; parts of the place that cannot be told are NULL. deep checks in addition that stored documents are canonical JSON and that the indexes by which events are read find all of them. workers is how many parallel workers share the work, as far as max_parallel_workers has them free; NULL: by the size of the store, up to max_parallel_maintenance_workers; 0: none. None are taken while this transaction holds appended heads that are not yet written. The verdict does not depend on their number. The Merkle trees are not looked at: that is verify_trees, and run_verification(''whole'') does both and records it. Memory of all together is bounded by maintenance_work_mem.
Raises: 22023 (workers).';
REVOKE ALL ON FUNCTION atp.verify_all(boolean, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_all(boolean, int) TO atp_auditor, atp_admin;

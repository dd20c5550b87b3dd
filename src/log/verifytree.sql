-- Verification of the stored trees against the events, both ways.
CREATE FUNCTION atp.verify_trees(since bigint DEFAULT 0, OUT ok boolean, OUT checked bigint, OUT first_fault_tenant text,
		OUT first_fault_position bigint, OUT fault text)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'atp_verifytree_all';
COMMENT ON FUNCTION atp.verify_trees(bigint) IS
'Verify the Merkle trees: leaves against events, nodes, heads, checkpoints.
Each event is read by the log position of its leaf, its hash recomputed from the stored columns and compared with the leaf; every node of every tile is hashed again; the roots must be those that the root log and the checkpoints state. since leaves out the leaves of log positions up to there (by whole tiles), whose nodes are then believed: the incremental form. checked counts leaves; none at all is not ok. The first fault is the first by tenant.';
REVOKE ALL ON FUNCTION atp.verify_trees(bigint) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_trees(bigint) TO atp_auditor, atp_admin;

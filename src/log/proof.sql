-- Proofs from the stored trees.
CREATE FUNCTION atp.prove_event(event_id uuid, tenant text DEFAULT NULL) RETURNS jsonb
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'atp_proof_prove_event';
COMMENT ON FUNCTION atp.prove_event(uuid, text) IS
'Prove that an event is in its tenant''s log under a checkpoint.
A document: the leaf (its index and hash, which is the event''s chain link), its inclusion in the tenant''s tree (tree_size, tree_root, tree_proof), that tree''s head as a leaf of the root log (head_leaf, head_proof), and the checkpoint, a signed note, null where nobody has signed one. Hashes in hexadecimal. The newest signed checkpoint is taken. See docs/howto for how to check it by hand. Takes the same time whatever the size of the log.
Raises: TP111 (no such event), TP202, TP506 (no checkpoint covers it yet), 42501.';
REVOKE ALL ON FUNCTION atp.prove_event(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.prove_event(uuid, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.prove_consistency(old_size bigint, new_size bigint, tenant text DEFAULT NULL) RETURNS bytea[]
	LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000 AS 'MODULE_PATHNAME', 'atp_proof_prove_consistency';
COMMENT ON FUNCTION atp.prove_consistency(bigint, bigint, text) IS
'Prove that the log of new_size leaves begins with that of old_size leaves.
Without a tenant, of the root log, whose sizes checkpoints state; with one, of that tenant''s tree. Hashes in the order of RFC 6962; see merkle_verify_consistency. Takes the same time whatever the size of the log.
Raises: TP202, TP501 (sizes), TP506 (the stored tree is damaged), 42501.';
REVOKE ALL ON FUNCTION atp.prove_consistency(bigint, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.prove_consistency(bigint, bigint, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_heads(after_leaf bigint DEFAULT -1, max_count int DEFAULT 1000,
		OUT leaf bigint, OUT log_uid uuid, OUT size bigint, OUT root bytea, OUT previous_size bigint, OUT consistency bytea[]) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT h.leaf, t.log_uid, h.size, h.root, p.size,
		CASE WHEN p.size IS NOT NULL THEN atp.prove_consistency(p.size, h.size, t.name) END
	FROM (SELECT x.* FROM atp_internal.tenant_head x WHERE x.leaf > list_heads.after_leaf ORDER BY x.leaf
			FETCH FIRST list_heads.max_count ROWS ONLY) h
		JOIN atp_internal.tenant t ON t.tenant = h.tenant
		LEFT JOIN LATERAL (SELECT o.size FROM atp_internal.tenant_head o WHERE o.tenant = h.tenant AND o.leaf < h.leaf
			ORDER BY o.leaf DESC FETCH FIRST ROW ONLY) p ON true
	ORDER BY h.leaf;
END;
COMMENT ON FUNCTION atp.list_heads(bigint, int) IS
'List the leaves of the root log: heads of tenants'' trees, with proof of growth.
consistency proves that the tenant''s tree grew from its head before (previous_size), and is NULL for its first. What atp-signer asks for.';
REVOKE ALL ON FUNCTION atp.list_heads(bigint, int) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_heads(bigint, int) TO atp_auditor, atp_admin;

-- The tenants' trees: their growth, and how they stand.
CREATE TABLE atp_internal.leaf_state (
	singleton boolean NOT NULL DEFAULT true CONSTRAINT leaf_state_pk PRIMARY KEY CONSTRAINT leaf_state_one_row CHECK (singleton),
	log_position bigint NOT NULL,
	changed_at timestamptz NOT NULL,
	alarmed_at timestamptz
) WITH (fillfactor = 10);
COMMENT ON TABLE atp_internal.leaf_state IS 'How far the log has become leaves. Locking the row is the lock of who appends leaves.';
COMMENT ON COLUMN atp_internal.leaf_state.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN atp_internal.leaf_state.log_position IS 'Every log row up to here is a leaf, or belongs to a tree that was stopped before it.';
COMMENT ON COLUMN atp_internal.leaf_state.changed_at IS 'When the row was last written.';
COMMENT ON COLUMN atp_internal.leaf_state.alarmed_at IS 'When an alarm for a late leaf was last raised; NULL: since then, none is late.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.leaf_state', '');
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.leaf_state
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change();
ALTER TABLE atp_internal.leaf_state ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp.grow_trees() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_leaf_grow_sql';
COMMENT ON FUNCTION atp.grow_trees() IS
'Append the leaves of all events in the log; return how many rows were taken.
The worker does this of itself. Each leaf is recomputed from the stored event; an event that does not hash to what was written stops its tenant''s tree.
Raises: 25001 (not READ COMMITTED), 25006 (read-only transaction).';
REVOKE ALL ON FUNCTION atp.grow_trees() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.grow_trees() TO atp_admin;

CREATE FUNCTION atp.resume_tree(tenant text) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'atp_leaf_resume';
COMMENT ON FUNCTION atp.resume_tree(text) IS
'Let a stopped tree grow again; return how many rows of the log were taken.
It goes on with the event at which it was stopped. The event is recomputed again: what is still wrong stops the tree again. Put the stored event right first, from a backup.
Raises: TP202 (no such tenant), 25001, 25006.';
REVOKE ALL ON FUNCTION atp.resume_tree(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.resume_tree(text) TO atp_admin;

CREATE FUNCTION atp.list_trees(OUT tenant text, OUT size bigint, OUT root bytea, OUT waiting bigint, OUT waiting_since timestamptz,
		OUT changed_at timestamptz, OUT halted_position bigint, OUT halted_at timestamptz, OUT halted_reason text) RETURNS SETOF record
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT t.name, coalesce(r.size, 0), r.root, coalesce(w.waiting, 0), w.waiting_since, r.changed_at, r.halted_position, r.halted_at,
		r.halted_reason
	FROM atp_internal.tenant t
		LEFT JOIN atp_internal.tree r ON r.tenant = t.tenant
		LEFT JOIN (
			SELECT l.tenant, pg_catalog.count(*) AS waiting, pg_catalog.min(l.published_at) AS waiting_since
			FROM (SELECT coalesce(pg_catalog.max(x.log_position), 0) AS through FROM atp_internal.leaf_state x) s
				JOIN atp_internal.log l ON l.log_position > s.through
			GROUP BY l.tenant) w ON w.tenant = t.tenant
	ORDER BY t.name;
END;
COMMENT ON FUNCTION atp.list_trees() IS
'List the tenants'' Merkle trees: size, root, and what waits to become a leaf.
waiting counts the events beyond the last one integrated; a stopped tree (halted_*) counts only those that came since the last run.';
REVOKE ALL ON FUNCTION atp.list_trees() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_trees() TO atp_auditor, atp_admin;

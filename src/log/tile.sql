-- Stored Merkle trees. Full tiles are insert-only; size, compact range and the right edge change, by atp's own functions only.
CREATE TABLE atp_internal.tree (
	tenant int NOT NULL CONSTRAINT tree_pk PRIMARY KEY,
	size bigint NOT NULL,
	last_position bigint NOT NULL,
	changed_at timestamptz NOT NULL,
	root bytea NOT NULL,
	peaks bytea NOT NULL,
	halted_position bigint,
	halted_at timestamptz,
	halted_reason text,
	CONSTRAINT tree_halted_whole CHECK ((halted_position IS NULL) = (halted_at IS NULL) AND (halted_at IS NULL) = (halted_reason IS NULL))
) WITH (fillfactor = 60);
COMMENT ON TABLE atp_internal.tree IS 'Merkle trees: one a tenant; key 0 is the root log.';
COMMENT ON COLUMN atp_internal.tree.tenant IS 'Surrogate key of the tenant; 0: the root log.';
COMMENT ON COLUMN atp_internal.tree.size IS 'Leaves.';
COMMENT ON COLUMN atp_internal.tree.last_position IS 'Log position of the last leaf; 0 in the root log.';
COMMENT ON COLUMN atp_internal.tree.changed_at IS 'When the last leaf was appended.';
COMMENT ON COLUMN atp_internal.tree.root IS 'Root of the tree, RFC 6962.';
COMMENT ON COLUMN atp_internal.tree.peaks IS 'Compact range: roots of the perfect subtrees, left to right, 32 bytes each.';
COMMENT ON COLUMN atp_internal.tree.halted_position IS 'Log position of the event that does not hash to what was written; NULL: the tree grows.';
COMMENT ON COLUMN atp_internal.tree.halted_at IS 'When the tree was stopped.';
COMMENT ON COLUMN atp_internal.tree.halted_reason IS 'What is wrong with that event.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tree', '');

CREATE TABLE atp_internal.tree_edge (
	tenant int NOT NULL,
	level smallint NOT NULL,
	hashes bytea NOT NULL,
	positions bytea,
	CONSTRAINT tree_edge_pk PRIMARY KEY (tenant, level)
) WITH (fillfactor = 60);
ALTER TABLE atp_internal.tree_edge ALTER COLUMN hashes SET STORAGE EXTERNAL, ALTER COLUMN positions SET STORAGE EXTERNAL;
COMMENT ON TABLE atp_internal.tree_edge IS 'The unfinished tile at the right of each level of a tree.';
COMMENT ON COLUMN atp_internal.tree_edge.tenant IS 'Surrogate key of the tenant; 0: the root log.';
COMMENT ON COLUMN atp_internal.tree_edge.level IS 'Level of the tile: its nodes stand 8 times as high in the tree.';
COMMENT ON COLUMN atp_internal.tree_edge.hashes IS 'The nodes that are complete, 32 bytes each.';
COMMENT ON COLUMN atp_internal.tree_edge.positions IS 'Level 0: log positions of the leaves: 8 bytes, big-endian, of the first; then the steps, 7 bits a byte, lowest first.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tree_edge', '');

CREATE TABLE atp_internal.tree_tile (
	tenant int NOT NULL,
	level smallint NOT NULL,
	tile bigint NOT NULL,
	first_position bigint,
	hashes bytea NOT NULL,
	positions bytea,
	CONSTRAINT tree_tile_pk PRIMARY KEY (tenant, level, tile)
);
-- Hashes do not compress: the attempt would cost more than all the rest of a tile.
ALTER TABLE atp_internal.tree_tile ALTER COLUMN hashes SET STORAGE EXTERNAL, ALTER COLUMN positions SET STORAGE EXTERNAL;
CREATE INDEX tree_tile_first_position ON atp_internal.tree_tile (tenant, first_position) WHERE level = 0;
COMMENT ON TABLE atp_internal.tree_tile IS 'Full tiles: 256 nodes of a tree, C2SP tlog-tiles. Insert-only.';
COMMENT ON COLUMN atp_internal.tree_tile.tenant IS 'Surrogate key of the tenant; 0: the root log.';
COMMENT ON COLUMN atp_internal.tree_tile.level IS 'Level of the tile: its nodes stand 8 times as high in the tree.';
COMMENT ON COLUMN atp_internal.tree_tile.tile IS 'Number of the tile on its level, from 0.';
COMMENT ON COLUMN atp_internal.tree_tile.first_position IS 'Level 0: log position of the first leaf.';
COMMENT ON COLUMN atp_internal.tree_tile.hashes IS '256 hashes of 32 bytes.';
COMMENT ON COLUMN atp_internal.tree_tile.positions IS 'Level 0: log positions of the leaves: 8 bytes, big-endian, of the first; then the steps, 7 bits a byte, lowest first.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.tree_tile', '');

DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['tree', 'tree_edge', 'tree_tile'] LOOP
		EXECUTE format('ALTER TABLE atp_internal.%I ENABLE ROW LEVEL SECURITY', name);
		EXECUTE format('ALTER TABLE atp_internal.%I FORCE ROW LEVEL SECURITY', name);
		EXECUTE format('CREATE POLICY %I ON atp_internal.%I USING (atp_internal.tenant_is_visible(tenant))', name || '_tenant', name);
	END LOOP;
	FOREACH name IN ARRAY ARRAY['tree', 'tree_edge'] LOOP
		EXECUTE format('CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.%I'
			' FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_foreign_change()', name);
		EXECUTE format('ALTER TABLE atp_internal.%I ENABLE ALWAYS TRIGGER guard', name);
	END LOOP;
END $$;
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.tree_tile
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.tree_tile ENABLE ALWAYS TRIGGER guard;

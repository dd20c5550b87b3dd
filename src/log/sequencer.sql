-- The sequencer's state. The first tick makes the row; a tick that places nothing leaves it alone.
CREATE TABLE atp_internal.sequencer (
	singleton boolean NOT NULL DEFAULT true CONSTRAINT sequencer_pk PRIMARY KEY CONSTRAINT sequencer_one_row CHECK (singleton),
	system_identifier bigint NOT NULL,
	database oid NOT NULL,
	head bigint NOT NULL,
	floor_seq bigint NOT NULL,
	after_seq bigint,
	ticked_at timestamptz NOT NULL,
	last_snapshot pg_snapshot NOT NULL,
	window_snapshot pg_snapshot,
	CONSTRAINT sequencer_window_whole CHECK ((window_snapshot IS NULL) = (after_seq IS NULL))
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE atp_internal.sequencer IS 'State of the sequencer: up to where the log is, and which transactions it has seen the end of.';
COMMENT ON COLUMN atp_internal.sequencer.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN atp_internal.sequencer.system_identifier IS 'Cluster that the snapshots belong to.';
COMMENT ON COLUMN atp_internal.sequencer.database IS 'Database that they belong to.';
COMMENT ON COLUMN atp_internal.sequencer.head IS 'Last position given.';
COMMENT ON COLUMN atp_internal.sequencer.floor_seq IS 'Events up to this sequence number are never looked at again: atp.resequence() has placed them.';
COMMENT ON COLUMN atp_internal.sequencer.after_seq IS 'Sequence number up to which the window in work is placed. NULL: no window is in work.';
COMMENT ON COLUMN atp_internal.sequencer.ticked_at IS 'When the row was last written.';
COMMENT ON COLUMN atp_internal.sequencer.last_snapshot IS 'Every event of a transaction that is visible in this snapshot has its position.';
COMMENT ON COLUMN atp_internal.sequencer.window_snapshot IS 'Events visible in this snapshot and not in the last one are being placed in slices. NULL: none are.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.sequencer', '');

CREATE FUNCTION atp.tick() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_sequencer_tick';
COMMENT ON FUNCTION atp.tick() IS
'Place all committed events in the log, by hand, and return how many were placed.
The background worker does this of itself. The positions become visible to others when the transaction commits; no other tick runs until then. Events of the calling transaction are not placed: they have not committed.
Raises: TP110 (the log belongs to another cluster or an older snapshot), 25001 (not READ COMMITTED), 25006 (read only).';
REVOKE ALL ON FUNCTION atp.tick() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.tick() TO atp_admin;

CREATE FUNCTION atp.resequence() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_sequencer_resequence';
COMMENT ON FUNCTION atp.resequence() IS
'Place every event that has no position, start from a fresh snapshot, and return how many were placed.
To be called after the database was restored, copied or upgraded: transaction ids of another cluster say nothing here. Positions that exist stay; the rest follow in the order of their sequence numbers. Waits for running appends and holds up new ones until the transaction ends.
Raises: 25001 (not READ COMMITTED), 25006 (read only).';
REVOKE ALL ON FUNCTION atp.resequence() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.resequence() TO atp_admin;

CREATE FUNCTION atp_internal.sequencer_help() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_sequencer_help_sql';
COMMENT ON FUNCTION atp_internal.sequencer_help() IS
'Start the worker where none is alive or, where none can be had, place waiting events in this transaction.
Returns the number of events placed; 0 in a read-only transaction, on a standby, and where a worker is alive.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_help() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.sequencer_help() TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- The sequencer. Its state is the log's last row; the row here counts while the log is empty, and after atp.resequence().
CREATE TABLE atp_internal.sequencer (
	singleton boolean NOT NULL DEFAULT true CONSTRAINT sequencer_pk PRIMARY KEY CONSTRAINT sequencer_one_row CHECK (singleton),
	system_identifier bigint NOT NULL,
	restored boolean NOT NULL,
	base_position bigint NOT NULL,
	base_tick text NOT NULL,
	floor_seq bigint NOT NULL
);
COMMENT ON TABLE atp_internal.sequencer IS 'Where the sequencer starts from: cluster, position and snapshot. Written at install and by atp.resequence() only.';
COMMENT ON COLUMN atp_internal.sequencer.singleton IS 'Always true: there is one row.';
COMMENT ON COLUMN atp_internal.sequencer.system_identifier IS 'Cluster to which the snapshots belong.';
COMMENT ON COLUMN atp_internal.sequencer.restored IS 'True when the row came from a dump: transaction ids say nothing here until atp.resequence() has run.';
COMMENT ON COLUMN atp_internal.sequencer.base_position IS 'Last position given when the row was written.';
COMMENT ON COLUMN atp_internal.sequencer.base_tick IS 'State of the sequencer then, as in atp_internal.log.tick.';
COMMENT ON COLUMN atp_internal.sequencer.floor_seq IS 'Events up to this sequence number are never looked at again: atp.resequence() has placed them.';
INSERT INTO atp_internal.sequencer (system_identifier, restored, base_position, base_tick, floor_seq)
	SELECT c.system_identifier, false, 0, '3', 0 FROM pg_catalog.pg_control_system() c;

-- A dump carries the row; the fresh installation that it is restored into has made one of its own.
CREATE FUNCTION atp_internal.sequencer_restore() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	new.restored := true;
	UPDATE atp_internal.sequencer s SET system_identifier = new.system_identifier, restored = true,
		base_position = new.base_position, base_tick = new.base_tick, floor_seq = new.floor_seq;
	IF FOUND THEN
		RETURN NULL;
	END IF;
	RETURN new;
END $$;
COMMENT ON FUNCTION atp_internal.sequencer_restore() IS 'Put a restored state in the place of the new one, marked as restored.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_restore() FROM PUBLIC;
CREATE TRIGGER sequencer_restore BEFORE INSERT ON atp_internal.sequencer
	FOR EACH ROW EXECUTE FUNCTION atp_internal.sequencer_restore();
ALTER TABLE atp_internal.sequencer ENABLE ALWAYS TRIGGER sequencer_restore;
SELECT pg_catalog.pg_extension_config_dump('atp_internal.sequencer', '');

CREATE FUNCTION atp.tick() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_sequencer_tick';
COMMENT ON FUNCTION atp.tick() IS
'Place all committed events in the log, by hand, and return how many were placed.
The background worker does this of itself. The positions become visible to others when the transaction commits; no other tick runs until then. Events of the calling transaction are not placed: they have not committed.
Raises: TP110 (the log belongs to another cluster or was restored), 25001 (not READ COMMITTED), 25006 (read only).';
REVOKE ALL ON FUNCTION atp.tick() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.tick() TO atp_admin;

CREATE FUNCTION atp.resequence() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_sequencer_resequence';
COMMENT ON FUNCTION atp.resequence() IS
'Place every event without a position, and start from a fresh snapshot.
Returns how many were placed. To be called after the database was restored or upgraded: transaction ids of another cluster say nothing here. Positions that exist stay; the rest follow in the order of their sequence numbers. Waits for running appends and holds up new ones until the transaction ends.
Raises: 25001 (not READ COMMITTED), 25006 (read only).';
REVOKE ALL ON FUNCTION atp.resequence() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.resequence() TO atp_admin;

CREATE FUNCTION atp_internal.sequencer_is_placing() RETURNS boolean
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_sequencer_is_placing_sql';
COMMENT ON FUNCTION atp_internal.sequencer_is_placing() IS
'Say whether the sequencer itself is inserting into the log.
Triggers on atp_internal.log ask this first: a restore fills the log, too, and their tables by itself.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_is_placing() FROM PUBLIC;

-- STABLE, so that a function that calls it can be inlined. It may write: to the query that calls it nothing of that is visible.
CREATE FUNCTION atp_internal.sequencer_attend() RETURNS bigint
	LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_sequencer_attend_sql';
COMMENT ON FUNCTION atp_internal.sequencer_attend() IS
'See to it that waiting events get placed.
Starts the worker where none is alive, or places events itself where none can be had. Returns the number of events placed: 0 where a worker is alive, in a transaction block or a read-only transaction, and on a standby.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_attend() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.sequencer_attend() TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.sequencer_state(OUT head bigint, OUT published_at timestamptz, OUT in_work boolean,
		OUT fault text) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_sequencer_state';
COMMENT ON FUNCTION atp_internal.sequencer_state() IS 'Return the state of the sequencer; see atp.sequencer_status.';
REVOKE ALL ON FUNCTION atp_internal.sequencer_state() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.sequencer_state(), atp_internal.worker_status() TO atp_reader, atp_auditor, atp_admin;

CREATE VIEW atp.sequencer_status AS
	SELECT s.head, s.published_at, s.in_work, s.fault, w.alive AS worker_alive, w.pid AS worker_pid,
		w.preloaded AS worker_preloaded, w.enabled AS worker_enabled, w.behind
	FROM atp_internal.sequencer_state() s, atp_internal.worker_status() w;
COMMENT ON VIEW atp.sequencer_status IS 'Show how far the log has come and whether anyone drives it.';
COMMENT ON COLUMN atp.sequencer_status.head IS 'Last position given; 0: none.';
COMMENT ON COLUMN atp.sequencer_status.published_at IS 'When it was given; NULL: never.';
COMMENT ON COLUMN atp.sequencer_status.in_work IS 'True while a large transaction is being placed in slices.';
COMMENT ON COLUMN atp.sequencer_status.fault IS 'Why ticks are refused (TP110) until atp.resequence() has run; NULL: they are not.';
COMMENT ON COLUMN atp.sequencer_status.worker_alive IS 'Whether the background worker of this database is alive. An idle one leaves; the next append starts it.';
COMMENT ON COLUMN atp.sequencer_status.worker_pid IS 'Its process.';
COMMENT ON COLUMN atp.sequencer_status.worker_preloaded IS 'Whether the library is in shared_preload_libraries.';
COMMENT ON COLUMN atp.sequencer_status.worker_enabled IS 'Setting atp.worker_enabled.';
COMMENT ON COLUMN atp.sequencer_status.behind IS 'True while appends are slowed down because the log is behind by more than atp.worker_max_lag.';
GRANT SELECT ON atp.sequencer_status TO atp_reader, atp_auditor, atp_admin;

-- The log table: written by the sequencer only, and never changed.
SELECT count(*) FROM (SELECT atp.append_event('log-1', 'LogTested', '{}') FROM generate_series(1, 3)) appended;
SELECT atp.tick() >= 0 AS ticked;
UPDATE atp_internal.log SET log_position = log_position + 1;
DELETE FROM atp_internal.log;
TRUNCATE atp_internal.log;
SET session_replication_role = replica;
DELETE FROM atp_internal.log;
RESET session_replication_role;
INSERT INTO atp_internal.log SELECT log_position + 1000000, event_id, stream, published_at, tenant, event_type FROM atp_internal.log LIMIT 1;
-- one event per position, one position per event, whoever gets that far
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = 'atp_internal.log'::regclass AND contype <> 'n' ORDER BY 1;
-- triggers on it can tell a tick from a restore
SELECT atp_internal.sequencer_is_placing();

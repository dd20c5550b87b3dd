-- The worker's whereabouts: at most one row, written by each worker when it starts.
CREATE TABLE atp_internal.worker (
	pid int NOT NULL,
	started_at timestamptz NOT NULL
);
COMMENT ON TABLE atp_internal.worker IS 'Process of the background worker, so that writers find its latch. Says nothing about whether it is alive: a lock does.';
COMMENT ON COLUMN atp_internal.worker.pid IS 'Process id of the worker that started last.';
COMMENT ON COLUMN atp_internal.worker.started_at IS 'When it started.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.worker', 'WHERE false');

CREATE FUNCTION atp_internal.worker_status(OUT alive boolean, OUT preloaded boolean, OUT enabled boolean) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_worker_status';
COMMENT ON FUNCTION atp_internal.worker_status() IS
'Say whether this database''s worker is alive, the library preloaded, the worker enabled.
alive is NULL on a standby, which has no worker.';
REVOKE ALL ON FUNCTION atp_internal.worker_status() FROM PUBLIC;

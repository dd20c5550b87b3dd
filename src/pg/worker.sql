-- The background worker, as far as SQL can see it.
CREATE FUNCTION atp_internal.worker_status(OUT alive boolean, OUT pid int, OUT preloaded boolean, OUT enabled boolean) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_worker_status';
COMMENT ON FUNCTION atp_internal.worker_status() IS
'Say whether this database''s worker is alive, its process, and whether it is preloaded and enabled.
alive is false on a standby, which has no worker.';
REVOKE ALL ON FUNCTION atp_internal.worker_status() FROM PUBLIC;

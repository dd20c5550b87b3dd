-- The background worker, as far as SQL can see it.
CREATE FUNCTION atp_internal.worker_status(OUT alive boolean, OUT pid int, OUT preloaded boolean, OUT enabled boolean, OUT behind boolean)
	RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_worker_status';
COMMENT ON FUNCTION atp_internal.worker_status() IS
'Describe this database''s worker.
alive: whether there is one; pid: its process, NULL where unknown; preloaded: whether the library is; enabled: the setting; behind: whether it slows appends down, see atp.worker_max_lag. alive is false on a standby, which has no worker.';
REVOKE ALL ON FUNCTION atp_internal.worker_status() FROM PUBLIC;

-- The process for long jobs, as far as SQL can see it.
CREATE FUNCTION atp_internal.aside_status(OUT active boolean, OUT pid int) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'atp_aside_status';
COMMENT ON FUNCTION atp_internal.aside_status() IS
'Describe this database''s process for trees and checkpoints.
active: whether anybody does that work now; pid: the process, NULL where it is the worker itself, for want of a slot, or nobody: the worker starts one when there is something to do.';
REVOKE ALL ON FUNCTION atp_internal.aside_status() FROM PUBLIC;

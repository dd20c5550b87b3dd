-- The guard: UPDATE, DELETE and TRUNCATE are refused on the tables of the event store, whoever asks.
CREATE FUNCTION atp_internal.refuse_change() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_refuse';
COMMENT ON FUNCTION atp_internal.refuse_change() IS
'Refuse UPDATE, DELETE and TRUNCATE of a guarded table.
Raises: TP107.';
REVOKE ALL ON FUNCTION atp_internal.refuse_change() FROM PUBLIC;

-- The guard: UPDATE, DELETE, TRUNCATE and INSERT past the append are refused on the tables of the event store, and commands that
-- alter or drop what it is made of. See src/stream/guard.h.
CREATE FUNCTION atp_internal.refuse_change() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_refuse';
COMMENT ON FUNCTION atp_internal.refuse_change() IS
'Refuse UPDATE, DELETE, TRUNCATE and direct INSERT on a guarded table.
INSERT passes for the functions of atp, and while a restore is loading the table.
Raises: TP107.';
REVOKE ALL ON FUNCTION atp_internal.refuse_change() FROM PUBLIC;

CREATE FUNCTION atp_internal.refuse_foreign_change() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_refuse_foreign';
COMMENT ON FUNCTION atp_internal.refuse_foreign_change() IS
'Refuse changes of a table that only atp''s own functions may change.
INSERT passes while a restore is loading the table.
Raises: TP107.';
REVOKE ALL ON FUNCTION atp_internal.refuse_foreign_change() FROM PUBLIC;

CREATE FUNCTION atp_internal.guard_command_start() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_command_start';
COMMENT ON FUNCTION atp_internal.guard_command_start() IS
'Refuse a command that would alter or drop an object of the event store.
Raises: TP108 (an object of the store), TP109 (the extension, while there are events).';
REVOKE ALL ON FUNCTION atp_internal.guard_command_start() FROM PUBLIC;

CREATE FUNCTION atp_internal.guard_command_end() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_command_end';
COMMENT ON FUNCTION atp_internal.guard_command_end() IS
'Refuse a command that has put something into a schema of the event store.
A function of atp_owner is refused in any schema: it could act as ours do.
Raises: TP108.';
REVOKE ALL ON FUNCTION atp_internal.guard_command_end() FROM PUBLIC;

CREATE FUNCTION atp_internal.guard_drop() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_guard_drop';
COMMENT ON FUNCTION atp_internal.guard_drop() IS
'Refuse a command that has dropped an object of the event store on its way.
Raises: TP108.';
REVOKE ALL ON FUNCTION atp_internal.guard_drop() FROM PUBLIC;

CREATE EVENT TRIGGER atp_guard_command_start ON ddl_command_start EXECUTE FUNCTION atp_internal.guard_command_start();
ALTER EVENT TRIGGER atp_guard_command_start ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER atp_guard_command_start IS 'Refuses commands on objects of the event store.';
CREATE EVENT TRIGGER atp_guard_command_end ON ddl_command_end EXECUTE FUNCTION atp_internal.guard_command_end();
ALTER EVENT TRIGGER atp_guard_command_end ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER atp_guard_command_end IS 'Refuses what a command has put into a schema of the event store.';
CREATE EVENT TRIGGER atp_guard_drop ON sql_drop EXECUTE FUNCTION atp_internal.guard_drop();
ALTER EVENT TRIGGER atp_guard_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER atp_guard_drop IS 'Refuses the drop of objects of the event store.';

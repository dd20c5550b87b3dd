/* The guard's triggers and event triggers; see guard.h. */
#include "stream/guard.h"

#include "catalog/pg_proc.h"
#include "commands/event_trigger.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "pg/cell.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "stream/guard/hook.h"
#include "stream/guard/state.h"
#include "stream/guard/statement.h"

PG_FUNCTION_INFO_V1(atp_guard_refuse);
PG_FUNCTION_INFO_V1(atp_guard_refuse_foreign);
PG_FUNCTION_INFO_V1(atp_guard_command_start);
PG_FUNCTION_INFO_V1(atp_guard_command_end);
PG_FUNCTION_INFO_V1(atp_guard_drop);

void
atp_guard_table(Oid relation)
{
	const char *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));

	SPI_connect();
	atp_query_text(psprintf("CREATE TRIGGER " ATP_GUARD_TRIGGER " BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s"
							" FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();"
							"ALTER TABLE %s ENABLE ALWAYS TRIGGER " ATP_GUARD_TRIGGER, name, name));
	SPI_finish();
}

void
atp_guard_init(void)
{
	atp_guard_state_init();
	atp_guard_hook_init();
}

/* refuse_change() */
Datum
atp_guard_refuse(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event) &&
		(atp_owner_is_active() || atp_guard_takes_rows(RelationGetRelid(trigger->tg_relation))))
		return PointerGetDatum(NULL);
	ereport(ERROR, errcode(ATP_ERR_EVENT_IMMUTABLE),
			errmsg("%s table \"%s\" is refused",
				   TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "UPDATE of"
				   : TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "DELETE from"
				   : TRIGGER_FIRED_BY_INSERT(trigger->tg_event) ? "INSERT into" : "TRUNCATE of",
				   RelationGetRelationName(trigger->tg_relation)),
			errdetail("What the event store holds is append-only, and comes by its functions."),
			errhint("Append an event, one that corrects the earlier one, with atp.append_event."));
	return PointerGetDatum(NULL);
}

/* refuse_foreign_change() */
Datum
atp_guard_refuse_foreign(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	if (atp_owner_is_active() ||
		(TRIGGER_FIRED_BY_INSERT(trigger->tg_event) && atp_guard_takes_rows(RelationGetRelid(trigger->tg_relation))))
		return PointerGetDatum(NULL);
	ereport(ERROR, errcode(ATP_ERR_EVENT_IMMUTABLE),
			errmsg("change of table \"%s\" is refused", RelationGetRelationName(trigger->tg_relation)),
			errdetail("Only functions of atp change it."));
	return PointerGetDatum(NULL);
}

static EventTriggerData *
event_data(FunctionCallInfo fcinfo)
{
	if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_EVENT_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as an event trigger"));
	return (EventTriggerData *) fcinfo->context;
}

static bool
drops_extension(Node *statement)
{
	ListCell   *cell;

	if (!IsA(statement, DropStmt) || ((DropStmt *) statement)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) statement)->objects)
		if (strcmp(strVal(lfirst(cell)), "atp") == 0)
			return true;
	return false;
}

/* The extension is about to be dropped: so are the cells. Whoever may not drop it will be told by the command. */
static void
drop_cells(void)
{
	AtpIdentity before;

	if (!atp_compat_owns_extension(get_extension_oid("atp", false)))
		return;
	atp_owner_begin(&before);
	atp_cell_drop_all();
	atp_owner_end(&before);
}

/* guard_command_start() */
Datum
atp_guard_command_start(PG_FUNCTION_ARGS)
{
	EventTriggerData *data = event_data(fcinfo);

	if (atp_guard_stands())
		atp_guard_judge_statement(data->parsetree);
	if (drops_extension(data->parsetree))
		drop_cells();
	PG_RETURN_NULL();
}

static bool
begins_with(const char *text, const char *start)
{
	return text != NULL && strncmp(text, start, strlen(start)) == 0;
}

/* Whether the identity of a trigger, policy or rule ("name on schema.table") names a table of ours. */
static bool
is_on_ours(const char *identity)
{
	return identity != NULL && (strstr(identity, " on atp.") != NULL || strstr(identity, " on atp_internal.") != NULL);
}

/*
 * What a command made or altered, after the fact: nothing new in schema atp; in schema atp_internal only tables, with what belongs to
 * them, which is what a restore makes; nowhere a function that runs as atp_owner. Commands on what was there before have been
 * judged at their start.
 */
static bool
may_stand(Oid catalog, Oid object, const char *tag, const char *schema)
{
	static const char *const in_internal[] = {"CREATE TABLE", "CREATE TABLE AS", "SELECT INTO", "CREATE INDEX", "CREATE SEQUENCE",
		"ALTER SEQUENCE", "ALTER TABLE", "ALTER INDEX", "CREATE STATISTICS", "REINDEX"
	};

	if (catalog == ProcedureRelationId)
	{
		HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(object));
		bool		owners = HeapTupleIsValid(tuple) && ((Form_pg_proc) GETSTRUCT(tuple))->proowner == get_role_oid("atp_owner", true);

		if (HeapTupleIsValid(tuple))
			ReleaseSysCache(tuple);
		if (owners)
			return false;
	}
	if (!atp_guard_is_schema_name(schema) || strcmp(tag, "COMMENT") == 0 || strcmp(tag, "SECURITY LABEL") == 0)
		return true;
	if (strcmp(schema, "atp") == 0)
		return strcmp(tag, "ALTER TABLE") == 0;
	for (int i = 0; i < lengthof(in_internal); i++)
		if (strcmp(tag, in_internal[i]) == 0)
			return true;
	return false;
}

/* guard_command_end() */
Datum
atp_guard_command_end(PG_FUNCTION_ARGS)
{
	static AtpQuery query = {
		"SELECT classid, objid, command_tag, schema_name, object_identity FROM pg_catalog.pg_event_trigger_ddl_commands()"
	};
	bool		null;

	(void) event_data(fcinfo);
	if (!atp_guard_stands())
		PG_RETURN_NULL();
	SPI_connect();
	atp_query(&query, NULL, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	shape = SPI_tuptable->tupdesc;
		Oid			catalog = DatumGetObjectId(SPI_getbinval(row, shape, 1, &null));
		Oid			object;
		const char *tag = SPI_getvalue(row, shape, 3);

		CHECK_FOR_INTERRUPTS();
		if (null)				/* a GRANT names no object */
			continue;
		object = DatumGetObjectId(SPI_getbinval(row, shape, 2, &null));
		if (!may_stand(catalog, object, tag, SPI_getvalue(row, shape, 4)))
			atp_guard_refuse_object(tag, SPI_getvalue(row, shape, 5));
	}
	SPI_finish();
	PG_RETURN_NULL();
}

/*
 * guard_drop(): what a command dropped on its way. Dropping the extension itself takes this event trigger along before it can fire;
 * that case is the object access hook's, which the event trigger of the command's start has loaded.
 */
Datum
atp_guard_drop(PG_FUNCTION_ARGS)
{
	static AtpQuery query = {
		"SELECT is_temporary, object_type, schema_name, object_identity FROM pg_catalog.pg_event_trigger_dropped_objects()"
	};
	EventTriggerData *data = event_data(fcinfo);
	bool		null;

	if (!atp_guard_stands())
		PG_RETURN_NULL();
	SPI_connect();
	atp_query(&query, NULL, NULL, true, 0);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[i];
		TupleDesc	shape = SPI_tuptable->tupdesc;
		const char *identity = SPI_getvalue(row, shape, 4);

		CHECK_FOR_INTERRUPTS();
		if (DatumGetBool(SPI_getbinval(row, shape, 1, &null)))
			continue;
		if (atp_guard_is_schema_name(SPI_getvalue(row, shape, 3)) || is_on_ours(identity) ||
			(strcmp(SPI_getvalue(row, shape, 2), "event trigger") == 0 && begins_with(identity, "atp_guard_")))
			atp_guard_refuse_object(GetCommandTagName(data->tag), identity);
	}
	SPI_finish();
	PG_RETURN_NULL();
}

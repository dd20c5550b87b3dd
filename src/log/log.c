/* The frame of this floor's SQL; see log.h. */
#include "log/log.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

Oid
atp_log_table(const char *name)
{
	Oid			schema = get_namespace_oid("atp_internal", true);

	return OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
}

static Oid
log_owner(void)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(atp_log_table("log")));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE), errmsg("table atp_internal.log does not exist"));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

void
atp_log_enter(AtpLogFrame *frame)
{
	Oid			owner = log_owner();

	GetUserIdAndSecContext(&frame->user, &frame->security);
	frame->guc_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	SetUserIdAndSecContext(owner, frame->security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
}

void
atp_log_leave(const AtpLogFrame *frame)
{
	SPI_finish();
	SetUserIdAndSecContext(frame->user, frame->security);
	AtEOXact_GUC(true, frame->guc_level);
}

SPIPlanPtr
atp_log_plan(SPIPlanPtr *plan, const char *sql, int count, Oid *types)
{
	if (*plan == NULL)
	{
		SPIPlanPtr	made = SPI_prepare_cursor(sql, count, types, CURSOR_OPT_GENERIC_PLAN);

		if (made == NULL || SPI_keepplan(made) != 0)
			elog(ERROR, "could not prepare: %s", sql);
		*plan = made;
	}
	return *plan;
}

void
atp_log_execute(SPIPlanPtr plan, Datum *values, const char *nulls, int expected)
{
	int			result = SPI_execute_plan(plan, values, nulls, false, 0);

	if (result != expected)
		elog(ERROR, "unexpected result of a statement: %s", SPI_result_code_string(result));
}

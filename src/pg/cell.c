/* Cells; see cell.h. */
#include "pg/cell.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "pg/query.h"

#define LOCK_CLASS 0x6175		/* no advisory lock function of SQL uses this class */

/*
 * Works as the owner of a cell: atp_owner, which made it, or whoever has restored a dump without owners. No code of a user is called
 * meanwhile. To be ended by atp_owner_end.
 */
static void
begin_as_owner(Oid cell, AtpIdentity *before)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(cell));

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "sequence %u does not exist", cell);
	GetUserIdAndSecContext(&before->user, &before->context);
	SetUserIdAndSecContext(((Form_pg_class) GETSTRUCT(tuple))->relowner, before->context | SECURITY_LOCAL_USERID_CHANGE);
	before->settings = 0;
	ReleaseSysCache(tuple);
}

void
atp_cell_create(const char *name)
{
	SPI_connect();
	atp_query_text(psprintf("CREATE SEQUENCE atp_internal.%s AS bigint MINVALUE 0 START 0", quote_identifier(name)));
	SPI_finish();
}

void
atp_cell_drop(const char *name)
{
	ObjectAddress address;

	ObjectAddressSet(address, RelationRelationId, atp_cell_oid(name));
	performDeletion(&address, DROP_RESTRICT, PERFORM_DELETION_INTERNAL);
	CommandCounterIncrement();
}

void
atp_cell_drop_all(void)
{
	static AtpQuery query = {
		"SELECT pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ') FROM pg_catalog.pg_class c"
		" WHERE c.relnamespace = 'atp_internal'::pg_catalog.regnamespace AND c.relkind = 'S'"
		" AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
		"  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype IN ('e', 'i', 'a'))"
	};
	char	   *names;

	SPI_connect();
	(void) atp_query(&query, NULL, NULL, true, 1);
	names = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (names != NULL)
		atp_query_text(psprintf("DROP SEQUENCE %s", names));
	SPI_finish();
}

Oid
atp_cell_oid(const char *name)
{
	Oid			cell = get_relname_relid(name, get_namespace_oid("atp_internal", false));

	if (!OidIsValid(cell))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("sequence \"atp_internal.%s\" does not exist", name),
				errhint("The extension is damaged; drop the object that used it and make it again."));
	return cell;
}

static int64
read_value(Oid cell)
{
	LOCAL_FCINFO(call, 1);
	FmgrInfo	function;
	Datum		value;

	fmgr_info(F_PG_SEQUENCE_LAST_VALUE, &function);
	InitFunctionCallInfoData(*call, &function, 1, InvalidOid, NULL, NULL);
	call->args[0].value = ObjectIdGetDatum(cell);
	call->args[0].isnull = false;
	value = FunctionCallInvoke(call);
	return call->isnull ? 0 : DatumGetInt64(value);	/* NULL: never written */
}

int64
atp_cell_read(Oid cell)
{
	AtpIdentity before;
	int64		value;

	begin_as_owner(cell, &before);
	value = read_value(cell);
	atp_owner_end(&before);
	return value;
}

static void
change_locked(const Oid *cells, int count, AtpCellChange change, void *context)
{
	int64		old[ATP_CELLS_MAX];
	int64		values[ATP_CELLS_MAX];

	for (int i = 0; i < count; i++)
		old[i] = values[i] = read_value(cells[i]);
	change(values, context);
	for (int i = 0; i < count; i++)
		if (values[i] != old[i])
			(void) OidFunctionCall2(F_SETVAL_REGCLASS_INT8, ObjectIdGetDatum(cells[i]), Int64GetDatum(values[i]));
}

void
atp_cell_change(const Oid *cells, int count, AtpCellChange change, void *context)
{
	LOCKTAG		tag;
	AtpIdentity before;

	Assert(count <= ATP_CELLS_MAX);
	PreventCommandIfReadOnly("changing a counter");
	begin_as_owner(cells[0], &before);	/* those that are changed together were made together */
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, 0, cells[0], LOCK_CLASS);
	(void) LockAcquire(&tag, ExclusiveLock, true, false);
	PG_TRY();
	{
		change_locked(cells, count, change, context);
	}
	PG_FINALLY();
	{
		LockRelease(&tag, ExclusiveLock, true);
	}
	PG_END_TRY();
	atp_owner_end(&before);
}

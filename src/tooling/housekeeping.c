/* Housekeeping; see housekeeping.h. All of it is idempotent, so that it does not matter who runs it, or whether two do at once. */
#include "tooling/housekeeping.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "pg/query.h"
#include "stream/partition.h"
#include "stream/repeat.h"

PG_FUNCTION_INFO_V1(atp_housekeeping_run);

#define PURGE_MAX 10000			/* rows of one kind in one transaction */

static int64
make_partitions(void)
{
	return atp_partition_premake();
}

/* Runs a function that purges at most so many rows, and says how many. */
static int64
purge(AtpQuery *query)
{
	Datum		most = Int32GetDatum(PURGE_MAX);
	int64		purged;
	bool		null;

	SPI_connect();
	(void) atp_query(query, &most, NULL, false, 1);
	purged = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	SPI_finish();
	return purged;
}

static int64
purge_handlings(void)
{
	static AtpQuery query = {"SELECT atp.purge_handlings($1)", 1, {INT4OID}};

	return purge(&query);
}

static int64
purge_routed(void)
{
	static AtpQuery query = {"SELECT atp_internal.purge_routed($1)", 1, {INT4OID}};

	return purge(&query);
}

static const struct
{
	const char *name;
	int64		(*run) (void);
}			chores[] = {
	{"partitions made", make_partitions},
	{"idempotency keys purged", atp_repeat_purge},
	{"handlings purged", purge_handlings},
	{"routed events forgotten", purge_routed},
};

AtpWork
atp_housekeeping_work(void)
{
	for (int i = 0; i < (int) lengthof(chores); i++)
	{
		if (!atp_worker_begin())
			return ATP_WORK_GONE;
		PushActiveSnapshot(GetTransactionSnapshot());
		(void) chores[i].run();
		PopActiveSnapshot();
		CommitTransactionCommand();
	}
	return ATP_WORK_NONE;
}

/* run_housekeeping() */
Datum
atp_housekeeping_run(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int i = 0; i < (int) lengthof(chores); i++)
	{
		Datum		values[] = {CStringGetTextDatum(chores[i].name), Int64GetDatum(chores[i].run())};
		bool		nulls[] = {false, false};

		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* Scheduled verification; see nightly.h. What a run does is SQL, in nightly.sql. */
#include "tooling/nightly.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/query.h"

#define RETRY_MS 600000			/* a run that was started and has not been recorded is not started again before */

static int	setting_interval = 86400;

PGDLLEXPORT void atp_nightly_main(Datum database);

/* The process of one run. */
void
atp_nightly_main(Datum database)
{
	static AtpQuery run = {"SELECT atp.run_verification($1)", 1, {TEXTOID}};
	Datum		scope;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	pgstat_report_activity(STATE_RUNNING, "atp: verification");
	if (!atp_worker_begin())
		return;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	scope = CStringGetTextDatum(MyBgworkerEntry->bgw_extra);
	atp_query(&run, &scope, NULL, false, 1);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
}

static void
start(const char *scope)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART
	};

	strlcpy(worker.bgw_library_name, "atp", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "atp_nightly_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "atp verification of database %u", MyDatabaseId);
	strlcpy(worker.bgw_type, "atp verification", BGW_MAXLEN);
	strlcpy(worker.bgw_extra, scope, BGW_EXTRALEN);
	worker.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId);
	if (!RegisterDynamicBackgroundWorker(&worker, NULL))
		ereport(LOG, errmsg("no process for the scheduled verification of events"),
				errhint("Raise max_worker_processes, or have pg_cron call atp.run_verification()."));
}

AtpWork
atp_nightly_work(void)
{
	static AtpQuery due = {"SELECT atp_internal.due_verification($1)", 1, {INT4OID}};
	static TimestampTz started_at = 0;
	TimestampTz now = GetCurrentTimestamp();
	Datum		interval = Int32GetDatum(setting_interval);
	char	   *scope = NULL;
	AtpWork		work = ATP_WORK_NONE;

	if (setting_interval == 0 || (started_at != 0 && !TimestampDifferenceExceeds(started_at, now, RETRY_MS)))
		return ATP_WORK_NONE;
	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	atp_query(&due, &interval, NULL, true, 1);
	if (SPI_processed == 1)
		scope = SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1);
	if (scope != NULL)
	{
		start(scope);
		started_at = now;
		work = ATP_WORK_DONE;
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	return work;
}

void
atp_nightly_init(void)
{
	DefineCustomIntVariable("atp.verification_interval", "Time between incremental verifications by the worker.",
							"All events are verified every seventh time this passes. 0: the worker verifies nothing; let pg_cron call "
							"atp.run_verification().",
							&setting_interval, 86400, 0, 31 * 86400, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
}

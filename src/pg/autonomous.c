/* Transactions of their own; see autonomous.h. */
#include "pg/autonomous.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/query.h"
#include "pg/worker.h"

#define LOCK_WAIT_MS "500"

/* Settings of the caller that the process takes over. */
static const char *const taken_over[] = {"atp.actor", "atp.correlation_id", "atp.causation_id", "atp.traceparent"};

typedef struct Call				/* in the shared segment */
{
	Oid			database;
	Oid			user;
	bool		done;
	char		texts[FLEXIBLE_ARRAY_MEMBER];	/* function, argument, values of taken_over; each terminated */
} Call;

PGDLLEXPORT void atp_autonomous_main(Datum segment);

static const char *
setting(int i)
{
	const char *value = GetConfigOption(taken_over[i], true, false);

	return value != NULL ? value : "";
}

static char *
put(char *at, const char *text)
{
	return stpcpy(at, text) + 1;
}

static dsm_segment *
make_call(const char *function, const char *argument)
{
	Size		size = offsetof(Call, texts) + strlen(function) + strlen(argument) + 2;
	dsm_segment *segment;
	Call	   *call;
	char	   *at;

	for (int i = 0; i < lengthof(taken_over); i++)
		size += strlen(setting(i)) + 1;
	segment = dsm_create(size, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;
	call = dsm_segment_address(segment);
	call->database = MyDatabaseId;
	call->user = GetSessionUserId();
	call->done = false;
	at = put(put(call->texts, function), argument);
	for (int i = 0; i < lengthof(taken_over); i++)
		at = put(at, setting(i));
	return segment;
}

bool
atp_autonomous_call(const char *function, const char *argument)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART
	};
	BackgroundWorkerHandle *handle;
	dsm_segment *segment;
	bool		done = false;

	if (!IsUnderPostmaster || RecoveryInProgress() || (segment = make_call(function, argument)) == NULL)
		return false;
	strlcpy(worker.bgw_library_name, "atp", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "atp_autonomous_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "atp record for process %d", MyProcPid);
	strlcpy(worker.bgw_type, "atp record", BGW_MAXLEN);
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(segment));
	worker.bgw_notify_pid = MyProcPid;
	if (RegisterDynamicBackgroundWorker(&worker, &handle))
	{
		if (WaitForBackgroundWorkerShutdown(handle) == BGWH_POSTMASTER_DIED)
			ereport(FATAL, errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("the server is gone"));
		done = ((Call *) dsm_segment_address(segment))->done;
	}
	dsm_detach(segment);
	return done;
}

/* ---- the process ---- */

static void
set_up_session(const char *values)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"}, {"statement_timeout", "0"}, {"lock_timeout", LOCK_WAIT_MS},
		{"idle_in_transaction_session_timeout", "0"}, {"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"}, {"jit", "off"},
	};

	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
	for (int i = 0; i < lengthof(taken_over); i++, values += strlen(values) + 1)
		SetConfigOption(taken_over[i], values, PGC_USERSET, PGC_S_SESSION);
}

static void
run_function(const char *function, const char *argument)
{
	Oid			type = TEXTOID;
	Datum		value = CStringGetTextDatum(argument);
	char	   *sql = psprintf("SELECT %s($1::pg_catalog.jsonb)", function);
	AtpIdentity before;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	atp_owner_begin(&before);
	if (SPI_execute_with_args(sql, 1, &type, &value, NULL, false, 0) < 0)
		elog(ERROR, "could not run \"%s\"", sql);
	atp_owner_end(&before);
	PopActiveSnapshot();
	SPI_finish();
}

void
atp_autonomous_main(Datum handle)
{
	dsm_segment *segment;
	Call	   *call;
	const char *argument;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(handle));
	if (segment == NULL)
		return;					/* who asked is gone */
	dsm_pin_mapping(segment);
	call = dsm_segment_address(segment);
	argument = call->texts + strlen(call->texts) + 1;
	BackgroundWorkerInitializeConnectionByOid(call->database, call->user, 0);
	pgstat_report_activity(STATE_RUNNING, "atp: record of an export");
	if (!atp_worker_begin())
		return;
	set_up_session(argument + strlen(argument) + 1);
	run_function(call->texts, argument);
	CommitTransactionCommand();
	call->done = true;
}

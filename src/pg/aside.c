/* The process for jobs that take long; see aside.h. */
#include "pg/aside.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/memutils.h"

#include "pg/worker.h"

#define IDLE_MS 10000
#define PROBE_MS 1000			/* between looks at whether the database is wanted */
#define START_MS 2000			/* that a process may take from its start to the lock */
#define RETRY_MS 10000			/* until another is tried where none could be had */
#define STARTS_MAX 3			/* in a row that came to nothing */

PGDLLEXPORT void atp_aside_main(Datum database);

PG_FUNCTION_INFO_V1(atp_aside_status);

static const char *process_type;
static AtpJobs jobs;
static AtpWorkerJob looks[ATP_JOBS_MAX];
static bool apart = false;		/* this is the process */
static bool late = false;

/* What a worker knows. */
static bool in_its_place = false;	/* we hold the lock and run the jobs */
static int64 started_at = 0;
static int64 refused_at = 0;
static int	starts = 0;			/* since a process was last seen */

void
atp_aside_add_job(const char *name, int period_ms, AtpWorkerJob look, AtpWorkerJob run)
{
	looks[jobs.count] = look;
	atp_job_add(&jobs, name, period_ms, run);
}

bool
atp_aside_is_apart(void)
{
	return apart;
}

void
atp_aside_set_late(bool is_late)
{
	late = is_late;
}

/* ---- the process ---- */

static void
serve(MemoryContext context)
{
	int64		busy_at = atp_job_clock();
	int64		probed_at = busy_at;

	for (;;)
	{
		int64		began = atp_job_clock();
		int64		now;
		AtpWork		work;

		atp_job_attend_to_signals();
		work = atp_job_run(&jobs, context);
		now = atp_job_clock();
		if (work == ATP_WORK_GONE || !atp_worker_is_enabled())
			return;
		if (work != ATP_WORK_NONE)
			busy_at = now;
		if (now - probed_at >= PROBE_MS)
		{
			if (now - busy_at >= Min(IDLE_MS, atp_worker_idle_ms()) || atp_worker_database_is_wanted())
				return;
			probed_at = now;
		}
		if (work == ATP_WORK_MORE)
			(void) atp_job_wait(late ? 1 : (long) Max((now - began) / 2, 1));
		else
		{
			pgstat_report_stat(false);
			(void) atp_job_wait(atp_job_time_to_next(&jobs, PROBE_MS));
		}
		ResetLatch(MyLatch);
	}
}

void
atp_aside_main(Datum database)
{
	MemoryContext context;

	atp_job_connect(DatumGetObjectId(database));
	if (!atp_worker_is_enabled() || !atp_lock_take(ATP_LOCK_ASIDE))
		return;
	context = AllocSetContextCreate(TopMemoryContext, "atp jobs aside", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	apart = true;
	serve(context);
}

/* ---- the worker's side ---- */

static bool
start(void)
{
	BackgroundWorker worker = {
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_main_arg = ObjectIdGetDatum(MyDatabaseId)
	};

	strlcpy(worker.bgw_library_name, "atp", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "atp_aside_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "%s of database %u", process_type, MyDatabaseId);
	strlcpy(worker.bgw_type, process_type, BGW_MAXLEN);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

static void
stand_back(void)
{
	if (in_its_place)
		atp_lock_release(ATP_LOCK_ASIDE);
	in_its_place = false;
}

static AtpWork
run_in_its_place(void)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context;
	AtpWork		work;

	if (!in_its_place && !atp_lock_take(ATP_LOCK_ASIDE))
		return ATP_WORK_LATER;
	in_its_place = true;
	context = AllocSetContextCreate(outer, "atp jobs aside", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	work = atp_job_run(&jobs, context);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(context);
	return work;
}

AtpWork
atp_aside_work(void)
{
	AtpWork		work = ATP_WORK_NONE;
	int64		now = atp_job_clock();

	if (!in_its_place && atp_lock_is_held(ATP_LOCK_ASIDE))
	{
		starts = 0;
		return ATP_WORK_LATER;
	}
	for (int i = 0; i < jobs.count; i++)
	{
		work = Max(work, looks[i] ());
		if (work == ATP_WORK_GONE)
			return work;
	}
	if (work < ATP_WORK_DONE)
	{
		stand_back();
		return work;
	}
	if (now - started_at < START_MS || atp_worker_database_is_wanted())
		return ATP_WORK_LATER;	/* one is on its way, or would stand in somebody's way */
	if (now - refused_at >= RETRY_MS)
	{
		stand_back();
		if (starts < STARTS_MAX && start())
		{
			started_at = now;
			starts++;
			return ATP_WORK_LATER;
		}
		refused_at = now;
		starts = 0;
	}
	return run_in_its_place();
}

void
atp_aside_init(const char *type)
{
	process_type = type;
}

/* aside_status() */
Datum
atp_aside_status(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[2];
	bool		nulls[2] = {false, false};
	PGPROC	   *proc;
	int			pid = 0;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = BoolGetDatum(atp_lock_is_held(ATP_LOCK_ASIDE));
	proc = atp_worker_find_process(process_type, &pid);
	values[1] = Int32GetDatum(pid);
	nulls[1] = proc == NULL;
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/*
 * The background worker; see worker.h.
 *
 * Leaving. An idle worker leaves after atp.worker_idle_timeout, so that it does not hold a slot for ever, but must not leave
 * behind a commit that counts on it. It gives up its lock first, so that every look at the lock from then on starts another
 * worker; lingers for longer than a look is remembered (LOOK_INTERVAL); then looks for transactions in progress. One that counts
 * on this worker has looked at the lock by then, after it got its id: so either it has committed, and the last round of jobs sees what it
 * did, or it is in progress, prepared or not, and the worker takes the lock back and stays.
 *
 * An exclusive lock on the database (DROP DATABASE, CREATE DATABASE ... TEMPLATE, ALTER DATABASE ... SET TABLESPACE) makes it leave
 * in the same manner, within three seconds: those commands wait five for other sessions to go.
 *
 * A worker that somebody terminates starts its successor as its last act, because a commit may have woken it just before. One
 * that is killed takes the server's processes along (as any backend does), and after that the launcher, the next append or the next
 * read of the log starts another.
 */
#include "pg/worker.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/extension.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/wait_event.h"

#include "pg/relation.h"

#define ATP_LOCK_CLASS 0x6174	/* no advisory lock function of SQL uses this class */
#define WORKER_TYPE "atp worker"
#define LOOK_INTERVAL 1000		/* ms for which a look at the lock is remembered */
#define LINGER 1500				/* ms between giving up the lock and the last look, > LOOK_INTERVAL */
#define POLL_INTERVAL 1000		/* ms between rounds of an idle worker */
#define MAX_THROTTLE 50			/* ms that an append is slowed down by at most */

static int	worker_idle_timeout = 60;
static bool worker_enabled = true;
static double worker_delay = 1.0;
static int	worker_max_lag = 10000;

static AtpJobs jobs;

/* What this backend knows of its database's worker. */
static struct
{
	PGPROC	   *proc;			/* NULL: unknown */
	int			pid;
	int64		looked_at;		/* when the lock was last seen held */
	int64		started_at;		/* when this backend last got a worker started */
	int64		refused_at;		/* when no slot was free */
	int64		searched_at;	/* when the processes were last searched for the latch */
	int			throttle;		/* ms to sleep before an append */
}			known;

static bool serving = false;	/* this process is a worker in its main loop */

PGDLLEXPORT void atp_worker_main(Datum database);
PGDLLEXPORT void atp_launcher_main(Datum unused);

void
atp_lock_tag(LOCKTAG *tag, AtpLock which)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, (uint32) which, ATP_LOCK_CLASS);
}

void
atp_worker_add_job(const char *name, int period_ms, AtpWorkerJob run)
{
	atp_job_add(&jobs, name, period_ms, run);
}

bool
atp_lock_is_held(AtpLock which)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, which);
	return LockWaiterCount(&tag) > 0;	/* holders count, too */
}

bool
atp_lock_take(AtpLock which)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, which);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

void
atp_lock_release(AtpLock which)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, which);
	LockRelease(&tag, ExclusiveLock, true);
}

/* ==== For those who need a worker ==== */

/* A process that has ended has disowned its latch. */
static bool
known_is_current(void)
{
	return known.proc != NULL && known.proc->procLatch.owner_pid == known.pid && known.proc->databaseId == MyDatabaseId;
}

/* Reads shared memory without a lock: a mistake costs a wake-up. */
PGPROC *
atp_worker_find_process(const char *wanted, int *pid)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount; i++)
	{
		PGPROC	   *proc = &ProcGlobal->allProcs[i];
		const char *type;

		*pid = proc->procLatch.owner_pid;
		if (*pid == 0 || *pid == MyProcPid || proc->databaseId != MyDatabaseId)
			continue;
		type = GetBackgroundWorkerTypeByPid(*pid);
		if (type != NULL && strcmp(type, wanted) == 0)
			return proc;
	}
	return NULL;
}

static void
search_worker(int64 now)
{
	known.searched_at = now;
	known.proc = atp_worker_find_process(WORKER_TYPE, &known.pid);
}

/* Asks the postmaster for a worker of a database; false when no slot is free. */
static bool
start_worker(Oid database, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "atp", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "atp_worker_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "atp worker of database %u", database);
	strlcpy(worker.bgw_type, WORKER_TYPE, BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = handle != NULL ? MyProcPid : 0;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* The slow way of atp_worker_require: looks at the lock, then for the latch, or starts a worker. */
static bool
look_for_worker(int64 now)
{
	if (atp_lock_is_held(ATP_LOCK_WORKER))
	{
		if (!known_is_current())
			search_worker(now);
		known.looked_at = now;
		known.throttle = atp_lock_is_held(ATP_LOCK_BEHIND) ? Min(Max(known.throttle * 2, 1), MAX_THROTTLE) : known.throttle / 2;
		return true;
	}
	known.proc = NULL;
	known.throttle = 0;
	if (!worker_enabled || RecoveryInProgress() || now - known.refused_at < LOOK_INTERVAL)
		return false;
	if (now - known.started_at < LOOK_INTERVAL)
		return true;
	if (!start_worker(MyDatabaseId, NULL))
	{
		known.refused_at = now;
		return false;
	}
	known.started_at = now;
	return true;
}

bool
atp_worker_is_enabled(void)
{
	return worker_enabled;
}

int64
atp_worker_idle_ms(void)
{
	return worker_idle_timeout * INT64CONST(1000);
}

bool
atp_worker_require(void)
{
	int64		now = atp_job_clock();

	if (known_is_current() && now - known.looked_at < LOOK_INTERVAL)
		return true;
	return look_for_worker(now);
}

/*
 * A worker that has just been started is searched for at each wake: what commits before it is found among the processes is
 * seen by its first round. Where none is found, and none is on its way, the search is not repeated for a second.
 */
void
atp_worker_wake(void)
{
	if (!known_is_current())
	{
		int64		now = atp_job_clock();

		if (now - known.started_at < LOOK_INTERVAL || now - known.searched_at >= LOOK_INTERVAL)
			search_worker(now);
	}
	if (known_is_current())
		SetLatch(&known.proc->procLatch);
}

void
atp_worker_throttle(void)
{
	if (known.throttle > 0)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(known.throttle * 1000L);
	}
}

/* ==== The worker: transactions, others' wishes ==== */

void
atp_worker_report_lag(int64 ms)
{
	static bool behind = false;

	if (!serving)
		return;
	if (!behind && worker_max_lag > 0 && ms > worker_max_lag)
		behind = atp_lock_take(ATP_LOCK_BEHIND);
	else if (behind && (worker_max_lag == 0 || ms <= worker_max_lag / 2))
	{
		atp_lock_release(ATP_LOCK_BEHIND);
		behind = false;
	}
}

bool
atp_worker_database_is_wanted(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, RowExclusiveLock, true);
	return false;
}

/* DROP EXTENSION locks the extension first and its tables after: whoever locks the tables meanwhile would deadlock with it. */
bool
atp_worker_begin(void)
{
	static Oid	extension = InvalidOid;
	static uint64 generation;	/* of our relations, when the extension was last seen: they go with it */

	StartTransactionCommand();
	if (OidIsValid(extension))
	{
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
		if (generation == atp_relation_generation())
			return true;
	}
	extension = get_extension_oid("atp", true);
	if (OidIsValid(extension))
	{
		LockDatabaseObject(ExtensionRelationId, extension, 0, AccessShareLock);
		generation = atp_relation_watch();
		if (get_extension_oid("atp", true) == extension)
			return true;
	}
	extension = InvalidOid;
	CommitTransactionCommand();
	return false;
}

/*
 * Says whether a transaction of this database that writes is in progress, prepared or not. A snapshot cannot tell: it does not list ids
 * beyond the youngest that has ended. A process gives its id to the prepared transaction before it forgets it, so the
 * prepared ones are looked at last. An entry may be stale: hence the second question.
 */
static bool
writers_in_progress(void)
{
	for (uint32 i = 0; i < ProcGlobal->allProcCount + max_prepared_xacts; i++)
	{
		PGPROC	   *proc = i < ProcGlobal->allProcCount ? &ProcGlobal->allProcs[i] : &PreparedXactProcs[i - ProcGlobal->allProcCount];
		TransactionId xid = proc->xid;

		if (proc->databaseId == MyDatabaseId && TransactionIdIsValid(xid) && TransactionIdIsInProgress(xid))
			return true;
	}
	return false;
}

/* ==== The worker: jobs ==== */

static AtpWork
run_jobs(MemoryContext context)
{
	AtpWork		result = atp_job_run(&jobs, context);

	if (jobs.failed)
		atp_worker_report_lag(0);	/* slower appends do not mend an error */
	return result;
}

/*
 * Leaves unless someone counts on this worker; see the top of the file. Returns true to leave. Jobs that failed, or have something
 * due later, keep an idle worker, but not one whose database is `wanted`.
 */
static bool
may_leave(MemoryContext context, bool wanted)
{
	atp_lock_release(ATP_LOCK_WORKER);
	for (int64 until = atp_job_clock() + LINGER; atp_job_clock() < until;)
	{
		if (atp_job_wait(100))
			return !atp_lock_take(ATP_LOCK_WORKER);
		atp_job_attend_to_signals();
	}
	if (!writers_in_progress())
	{
		AtpWork		work = run_jobs(context);

		if (work == ATP_WORK_NONE || work == ATP_WORK_DONE || (wanted && work != ATP_WORK_MORE))
			return true;
	}
	return !atp_lock_take(ATP_LOCK_WORKER);
}

/*
 * Between rounds. After a round that did something the next one does not come before atp.worker_delay is over, and commits
 * in the meantime find the latch set and send no signal.
 */
static void
pause_between_rounds(bool busy)
{
	static instr_time last_end;

	if (busy)
		INSTR_TIME_SET_CURRENT(last_end);
	(void) atp_job_wait(atp_job_time_to_next(&jobs, POLL_INTERVAL));
	if (!INSTR_TIME_IS_ZERO(last_end))
	{
		instr_time	since;
		double		rest;

		INSTR_TIME_SET_CURRENT(since);
		INSTR_TIME_SUBTRACT(since, last_end);
		rest = worker_delay * 1000.0 - (double) INSTR_TIME_GET_MICROSEC(since);
		if (rest > 0)
			pg_usleep((long) rest);
	}
	ResetLatch(MyLatch);
}

/* ==== The worker: life ==== */

/* Registered before the session is set up, so it runs after the session's transaction and locks are gone. */
static void
start_successor(int code, Datum database)
{
	if (code != 0 && serving && !atp_worker_database_is_wanted())
		(void) start_worker(DatumGetObjectId(database), NULL);
}

static void
serve(MemoryContext context)
{
	int64		busy_at = atp_job_clock();
	int64		probed_at = busy_at;

	for (;;)
	{
		AtpWork		work;
		bool		wanted;

		atp_job_attend_to_signals();
		work = run_jobs(context);
		if (work == ATP_WORK_GONE || !worker_enabled)
			return;
		if (work != ATP_WORK_NONE)
			busy_at = atp_job_clock();
		if (atp_job_clock() - probed_at >= POLL_INTERVAL)
		{
			wanted = atp_worker_database_is_wanted();
			if ((wanted || atp_job_clock() - busy_at >= atp_worker_idle_ms()) && may_leave(context, wanted))
				return;
			probed_at = atp_job_clock();
		}
		if (work != ATP_WORK_MORE)
		{
			pgstat_report_stat(false);
			pause_between_rounds(work == ATP_WORK_DONE);
		}
	}
}

void
atp_worker_main(Datum database)
{
	MemoryContext context;

	before_shmem_exit(start_successor, database);
	atp_job_connect(DatumGetObjectId(database));
	if (!worker_enabled || !atp_lock_take(ATP_LOCK_WORKER))
		return;
	context = AllocSetContextCreate(TopMemoryContext, "atp worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	if (!atp_worker_begin())
		return;
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	serving = true;
	serve(context);
	serving = false;
}

/* ==== The launcher ==== */

/* Lists the databases that can be connected to, templates aside, in the caller's memory context. */
static List *
list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *result = NIL;
	Relation	rel;
	TableScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(rel, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);

		if (database->datallowconn && !database->datistemplate)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			result = lappend_oid(result, database->oid);
			MemoryContextSwitchTo(old);
		}
	}
	table_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return result;
}

/*
 * Starts a worker in each database once; where the extension is not installed it ends at once. Then stays, connected to no
 * database and asleep: a launcher that ended for good would not be started again after a crash of the server.
 */
void
atp_launcher_main(Datum unused)
{
	ListCell   *cell;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	MemoryContextSwitchTo(TopMemoryContext);
	foreach(cell, list_databases())
	{
		BackgroundWorkerHandle *handle;
		pid_t		pid;

		while (worker_enabled && !start_worker(lfirst_oid(cell), &handle))
		{
			(void) atp_job_wait(1000);
			ResetLatch(MyLatch);
			atp_job_attend_to_signals();
		}
		if (worker_enabled)
			(void) WaitForBackgroundWorkerStartup(handle, &pid);
	}
	for (;;)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH, -1, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		atp_job_attend_to_signals();
	}
}

void
atp_worker_init(void)
{
	BackgroundWorker launcher;

	DefineCustomIntVariable("atp.worker_idle_timeout", "Sets the time after which an idle worker ends.",
							"The next append, or read of the log, starts it again.",
							&worker_idle_timeout, 60, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomBoolVariable("atp.worker_enabled", "Lets appends and the launcher start a background worker.",
							 "Without one, events are placed in the log by readers, or by atp.tick().",
							 &worker_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("atp.worker_delay", "Sets the least time between two rounds of a busy worker.",
							 "An idle worker starts at once when a transaction commits; under load its rounds share their fixed cost.",
							 &worker_delay, 1.0, 0, 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("atp.worker_max_lag", "Sets how far the log may fall behind before appends are slowed down.",
							"Measured when a batch of events has been placed, from when it was begun. 0 never slows them down.",
							&worker_max_lag, 10000, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	if (!process_shared_preload_libraries_in_progress)
		return;
	memset(&launcher, 0, sizeof(launcher));
	launcher.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	launcher.bgw_start_time = BgWorkerStart_RecoveryFinished;
	launcher.bgw_restart_time = 10;
	strlcpy(launcher.bgw_library_name, "atp", BGW_MAXLEN);
	strlcpy(launcher.bgw_function_name, "atp_launcher_main", BGW_MAXLEN);
	strlcpy(launcher.bgw_name, "atp launcher", BGW_MAXLEN);
	strlcpy(launcher.bgw_type, "atp launcher", BGW_MAXLEN);
	RegisterBackgroundWorker(&launcher);
}

PG_FUNCTION_INFO_V1(atp_worker_status);

/* Whether the library was preloaded shows in the list of preloaded libraries. */
Datum
atp_worker_status(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[5];
	bool		nulls[5] = {false, false, false, false, false};
	const char *preloaded = GetConfigOption("shared_preload_libraries", false, false);

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!known_is_current())
		search_worker(atp_job_clock());
	values[0] = BoolGetDatum(atp_lock_is_held(ATP_LOCK_WORKER));
	values[1] = Int32GetDatum(known.pid);
	nulls[1] = !known_is_current();
	values[2] = BoolGetDatum(preloaded != NULL && strstr(preloaded, "atp") != NULL);
	values[3] = BoolGetDatum(worker_enabled);
	values[4] = BoolGetDatum(atp_lock_is_held(ATP_LOCK_BEHIND));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

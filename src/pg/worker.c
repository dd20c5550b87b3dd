/*
 * The background worker; see worker.h.
 *
 * Leaving. An idle worker leaves after atp.worker_idle_timeout, so that it does not hold a slot for ever, but it must not leave
 * behind a commit that counts on it. It gives up its lock first, so that every look at the lock from then on starts another
 * worker; lingers for longer than a look is remembered (LOOK_INTERVAL); then takes a snapshot: a transaction that
 * counted on this worker has looked by then, and has either committed, and the last round of jobs sees what it did, or is in
 * progress, and the worker takes the lock back and stays. Prepared transactions are in progress. So nothing is left unplaced,
 * and DROP DATABASE is held up by nothing that would not hold it up anyway.
 *
 * An exclusive lock on the database (DROP DATABASE, CREATE DATABASE ... TEMPLATE, ALTER DATABASE ... SET TABLESPACE) makes it leave
 * within a second: those commands wait five seconds for other sessions to go.
 */
#include "pg/worker.h"

#include <time.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/namespace.h"
#include "catalog/pg_database.h"
#include "executor/spi.h"
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
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define ATP_LOCK_CLASS 0x6174	/* no advisory lock function of SQL uses this class */
#define LOOK_INTERVAL 1000		/* ms for which a look at the lock is remembered */
#define LINGER 2500				/* ms between giving up the lock and the last look, > LOOK_INTERVAL */
#define POLL_INTERVAL 1000		/* ms between rounds of an idle worker */
#define YOUNG 2000				/* ms for which a new worker polls quickly: who started it may not know its latch */
#define YOUNG_POLL 10
#define MAX_JOBS 16
#define MAX_BACKOFF 30000
#define SAME_ERROR_INTERVAL 60000	/* ms for which a repeated error is not logged again */

static int	worker_idle_timeout = 60;
static bool worker_enabled = true;
static double worker_delay = 1.0;

static struct
{
	const char *name;
	int			period;
	AtpWorkerJob run;
	int64		due;
}			jobs[MAX_JOBS];
static int	job_count = 0;

/* What this backend knows of the worker. */
static struct
{
	PGPROC	   *proc;			/* NULL: unknown */
	int			pid;
	int64		looked_at;		/* when the lock was last seen held */
	int64		started_at;		/* when this backend last asked for a worker */
}			known;

PGDLLEXPORT void atp_worker_main(Datum database);
PGDLLEXPORT void atp_launcher_main(Datum unused);

/* Milliseconds of a clock that is never set back; starts above any interval used here. */
static int64
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000 + INT64CONST(1000000);
}

void
atp_lock_tag(LOCKTAG *tag, AtpLock which)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, (uint32) which, ATP_LOCK_CLASS);
}

void
atp_worker_add_job(const char *name, int period, AtpWorkerJob run)
{
	if (job_count == MAX_JOBS)
		elog(ERROR, "too many worker jobs");
	jobs[job_count].name = name;
	jobs[job_count].period = period;
	jobs[job_count].run = run;
	job_count++;
}

/* ==== For those who need a worker ==== */

bool
atp_worker_is_alive(void)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, ATP_LOCK_WORKER);
	return LockWaiterCount(&tag) > 0;	/* holders count, too */
}

static Oid
worker_table(void)
{
	Oid			schema = get_namespace_oid("atp_internal", true);

	return OidIsValid(schema) ? get_relname_relid("worker", schema) : InvalidOid;
}

/* Reads the pid that the worker left; 0 where there is none. */
static int
read_pid(void)
{
	Oid			relid = worker_table();
	int			pid = 0;
	Relation	rel;
	Snapshot	snapshot;
	TableScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(relid))
		return 0;
	rel = table_open(relid, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool		isnull;

		pid = DatumGetInt32(heap_getattr(tuple, 1, RelationGetDescr(rel), &isnull));
	}
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(rel, AccessShareLock);
	return pid;
}

static bool
known_is_current(void)
{
	return known.proc != NULL && known.proc->pid == known.pid && known.proc->databaseId == MyDatabaseId;
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
	strlcpy(worker.bgw_type, "atp worker", BGW_MAXLEN);
	worker.bgw_main_arg = ObjectIdGetDatum(database);
	worker.bgw_notify_pid = handle != NULL ? MyProcPid : 0;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* The slow way of atp_worker_require: looks at the lock, then for the latch, or starts a worker. */
static bool
look_for_worker(int64 now)
{
	if (atp_worker_is_alive())
	{
		if (!known_is_current())
		{
			int			pid = read_pid();

			known.proc = pid != 0 ? BackendPidGetProc(pid) : NULL;
			known.pid = pid;
			if (!known_is_current())
				known.proc = NULL;
		}
		known.looked_at = now;
		return true;
	}
	known.proc = NULL;
	if (!worker_enabled || RecoveryInProgress())
		return false;
	if (now - known.started_at < LOOK_INTERVAL)
		return true;
	if (!start_worker(MyDatabaseId, NULL))
		return false;
	known.started_at = now;
	return true;
}

bool
atp_worker_require(void)
{
	int64		now = now_ms();

	if (known_is_current() && now - known.looked_at < LOOK_INTERVAL)
		return true;
	return look_for_worker(now);
}

void
atp_worker_wake(void)
{
	if (known_is_current())
		SetLatch(&known.proc->procLatch);
}

/* ==== The worker ==== */

/* Takes the lock that makes this process the worker; false when another has it. */
static bool
take_worker_lock(void)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, ATP_LOCK_WORKER);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
release_worker_lock(void)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, ATP_LOCK_WORKER);
	LockRelease(&tag, ExclusiveLock, true);
}

/* Says whether someone holds or awaits a lock on the database that sessions stand in the way of. */
static bool
database_is_wanted(void)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	if (LockAcquire(&tag, RowExclusiveLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(&tag, RowExclusiveLock, true);
	return false;
}

/* Writes this process into atp_internal.worker. Returns the table, InvalidOid when the extension is not here. */
static Oid
enter_pid(void)
{
	Oid			relid;

	StartTransactionCommand();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	relid = worker_table();
	if (OidIsValid(relid))
	{
		Oid			types[] = {INT4OID};
		Datum		values[] = {Int32GetDatum(MyProcPid)};

		if (SPI_execute("DELETE FROM atp_internal.worker", false, 0) != SPI_OK_DELETE ||
			SPI_execute_with_args("INSERT INTO atp_internal.worker VALUES ($1, pg_catalog.clock_timestamp())",
								  1, types, values, NULL, false, 0) != SPI_OK_INSERT)
			elog(ERROR, "could not write atp_internal.worker");
	}
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	return relid;
}

static bool
extension_is_the_same(Oid table)
{
	bool		same;

	StartTransactionCommand();
	same = worker_table() == table;
	CommitTransactionCommand();
	return same;
}

/* Says whether a transaction of this database that writes is in progress; one that just ended may count, too. */
static bool
writers_in_progress(void)
{
	bool		found = false;
	Snapshot	snapshot;

	StartTransactionCommand();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	for (uint32 i = 0; i < snapshot->xcnt && !found; i++)
	{
		int			pid = BackendXidGetPid(snapshot->xip[i]);
		PGPROC	   *proc = pid != 0 ? BackendPidGetProc(pid) : NULL;

		found = proc == NULL || proc->databaseId == MyDatabaseId;	/* prepared transactions have no process */
	}
	UnregisterSnapshot(snapshot);
	CommitTransactionCommand();
	return found;
}

/*
 * Reports the error that a job raised and ends its transaction. Returns for how long to wait before the next round; an error
 * that repeats itself waits longer and is logged once a minute.
 */
static int
recover_from_error(MemoryContext context)
{
	static int	last_code = 0;
	static int64 logged_at = 0;
	static int64 failed_at = 0;
	static int	backoff = 0;
	ErrorData  *error;
	int64		now = now_ms();

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode != last_code || now - logged_at >= SAME_ERROR_INTERVAL)
	{
		EmitErrorReport();
		last_code = error->sqlerrcode;
		logged_at = now;
	}
	AbortCurrentTransaction();
	MemoryContextSwitchTo(context);
	FlushErrorState();
	RESUME_INTERRUPTS();
	backoff = now - failed_at > 4 * MAX_BACKOFF || backoff == 0 ? 1000 : Min(backoff * 2, MAX_BACKOFF);
	failed_at = now;
	return backoff;
}

/* Runs every job that is due. Returns the greatest result; after an error, sets *wait. */
static AtpWork
run_jobs(MemoryContext context, int *wait)
{
	AtpWork		result = ATP_WORK_NONE;

	*wait = 0;
	for (int i = 0; i < job_count && result != ATP_WORK_GONE; i++)
	{
		int64		now = now_ms();
		volatile AtpWork work = ATP_WORK_NONE;

		if (now < jobs[i].due)
			continue;
		jobs[i].due = now + jobs[i].period;
		PG_TRY();
		{
			work = jobs[i].run();
		}
		PG_CATCH();
		{
			*wait = Max(*wait, recover_from_error(context));
		}
		PG_END_TRY();
		MemoryContextSwitchTo(context);
		MemoryContextReset(context);
		result = Max(result, work);
	}
	return result;
}

static void
attend_to_signals(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

/* Sleeps whether or not the latch is set, so that commits in the meantime cost no signal each. */
static void
sleep_regardless(int ms)
{
	for (int64 until = now_ms() + ms; now_ms() < until;)
	{
		attend_to_signals();
		pg_usleep(Min(ms, 100) * 1000L);
	}
}

static bool
wait_for_latch(long ms)
{
	int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);

	return (events & WL_LATCH_SET) != 0;
}

/* Leaves unless someone counts on this worker; see the top of the file. Returns true to leave. */
static bool
may_leave(MemoryContext context)
{
	int			wait;

	release_worker_lock();
	for (int64 until = now_ms() + LINGER; now_ms() < until;)
	{
		if (wait_for_latch(100))
			return !take_worker_lock();
		attend_to_signals();
	}
	if (!writers_in_progress())
	{
		(void) run_jobs(context, &wait);
		if (wait == 0)
			return true;
	}
	return !take_worker_lock();
}

static void
set_up_session(void)
{
	SetConfigOption("search_path", "pg_catalog, pg_temp", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("idle_in_transaction_session_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_read_only", "off", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("jit", "off", PGC_SUSET, PGC_S_OVERRIDE);
}

/* Between rounds. `busy`: the last round did something, so that the next one shall not come before the delay is over. */
static void
pause_between_rounds(int64 started_at, bool busy)
{
	static instr_time last_end;

	if (busy)
		INSTR_TIME_SET_CURRENT(last_end);
	(void) wait_for_latch(now_ms() - started_at < YOUNG ? YOUNG_POLL : POLL_INTERVAL);
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

void
atp_worker_main(Datum database)
{
	MemoryContext context;
	int64		started_at = now_ms();
	int64		busy_at = started_at;
	int64		probed_at = started_at;
	Oid			table;

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0);
	set_up_session();
	if (!worker_enabled || !take_worker_lock())
		return;
	table = enter_pid();
	if (!OidIsValid(table))
		return;
	context = AllocSetContextCreate(TopMemoryContext, "atp worker", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	for (;;)
	{
		int			wait;
		AtpWork		work;

		attend_to_signals();
		work = run_jobs(context, &wait);
		if (work != ATP_WORK_NONE)
			busy_at = now_ms();
		if (work == ATP_WORK_GONE || !worker_enabled)
			break;
		if (now_ms() - probed_at >= POLL_INTERVAL)
		{
			probed_at = now_ms();
			if (database_is_wanted() || !extension_is_the_same(table))
				break;
			if (work == ATP_WORK_NONE && wait == 0 && probed_at - busy_at >= worker_idle_timeout * INT64CONST(1000) && may_leave(context))
				break;
		}
		if (wait > 0)
		{
			sleep_regardless(Min(wait, 1000));
			(void) wait_for_latch(wait - Min(wait, 1000));
			ResetLatch(MyLatch);
		}
		else if (work != ATP_WORK_MORE)
		{
			pgstat_report_stat(false);
			pause_between_rounds(started_at, work == ATP_WORK_DONE);
		}
	}
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
 * Starts a worker in each database once, one after the other; where the extension is not installed it ends at once. Then stays,
 * connected to no database and asleep: a worker that ended for good would not be started again after a crash.
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
			sleep_regardless(1000);
		if (worker_enabled)
			(void) WaitForBackgroundWorkerStartup(handle, &pid);
	}
	for (;;)
	{
		(void) wait_for_latch(-1L);
		ResetLatch(MyLatch);
		attend_to_signals();
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

/* Whether the library was preloaded shows in its launcher's presence in the list of preloaded libraries. */
Datum
atp_worker_status(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[3];
	bool		nulls[3] = {false, false, false};
	const char *preloaded = GetConfigOption("shared_preload_libraries", false, false);

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	nulls[0] = RecoveryInProgress();
	values[0] = BoolGetDatum(!nulls[0] && atp_worker_is_alive());
	values[1] = BoolGetDatum(preloaded != NULL && strstr(preloaded, "atp") != NULL);
	values[2] = BoolGetDatum(worker_enabled);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

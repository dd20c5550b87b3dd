/*
 * In-database handlers; see handler.h.
 *
 * A runner is a background worker of one subscription; that there is one at most is a session lock (class LOCK_CLASS). It claims in a
 * transaction of its own, so that an attempt counts though the handler kills its process, and handles in a second one, in which effects
 * and acks are one: when the lease was lost meanwhile the ack raises, and the effects are rolled back with it. A batch that takes
 * longer than half of the lease is cut, committed, and goes on after the lease was renewed.
 *
 * A runner that ends with a batch in hand (a shutdown, a call that went on after its time or ran out of memory) gives it back on its way
 * out: the event of that call with its attempt counted, the others without, so that they come again at once. One that is killed
 * cannot: the next one ends its leases.
 *
 * A runner with nothing to do leaves after IDLE_MS; the worker starts another when something is. Where there are more subscriptions with
 * work than runners may be, the worker says so by holding a lock: then a runner leaves at once when it is idle, and SLICE_MS after its
 * start when it is not, so that a slow handler, or a long backlog, delays the others but does not stop them.
 */
#include "delivery/handler.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "delivery/call.h"
#include "pg/compat.h"
#include "pg/query.h"

PG_FUNCTION_INFO_V1(atp_handler_changed);

PGDLLEXPORT void atp_handler_main(Datum unused);

#define LOCK_CLASS 0x6177		/* no advisory lock function of SQL uses this class */
#define IDLE_MS 10000
#define POLL_MS 500
#define SLICE_MS 5000			/* a runner that others wait for goes on for so long */
#define RUNNERS_MAX 64

static int	setting_max_runners = 2;

typedef struct Runner			/* what it runs for; travels in bgw_extra */
{
	Oid			database;
	int32		subscription;
	int32		tenant;
} Runner;

static struct
{
	Runner		runner;
	BackgroundWorkerHandle *handle;
}			started[RUNNERS_MAX];	/* by this worker; handle NULL: free */

/* ---- a runner ---- */

static bool
take_runner_lock(const Runner *runner)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) runner->tenant, (uint32) runner->subscription, LOCK_CLASS);
	return LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
}

static void
release_runner_lock(const Runner *runner)
{
	LOCKTAG		tag;

	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) runner->tenant, (uint32) runner->subscription, LOCK_CLASS);
	(void) LockRelease(&tag, ExclusiveLock, true);
}

typedef struct Batch			/* leased events; in the runner's memory */
{
	pg_uuid_t	lease;
	Jsonb	   *events;			/* an array; NULL: none */
	TimestampTz until;			/* half of the lease */
} Batch;

/* Runs a statement of one row in a transaction of its own, and hands its row over where somebody takes it. False: the extension is gone. */
static bool
in_transaction(AtpQuery *query, Datum *arguments, void (*take) (HeapTuple row, TupleDesc shape, void *to), void *to)
{
	if (!atp_worker_begin())
		return false;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	pgstat_report_activity(STATE_RUNNING, query->sql);
	(void) atp_query(query, arguments, NULL, false, 1);
	if (SPI_processed == 1 && take != NULL)
		take(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, to);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_activity(STATE_IDLE, NULL);
	return true;
}

static MemoryContext batch_memory;	/* of a runner: reset for each batch */

static void
take_batch(HeapTuple row, TupleDesc shape, void *to)
{
	Batch	   *batch = to;
	MemoryContext before = MemoryContextSwitchTo(batch_memory);
	bool		null;
	Datum		lease = SPI_getbinval(row, shape, 1, &null);

	if (!null)
	{
		batch->lease = *DatumGetUUIDP(lease);
		batch->events = DatumGetJsonbPCopy(SPI_getbinval(row, shape, 2, &null));
		batch->until = DatumGetTimestampTz(SPI_getbinval(row, shape, 3, &null));
	}
	MemoryContextSwitchTo(before);
}

static void
take_rest(HeapTuple row, TupleDesc shape, void *to)
{
	Batch	   *batch = to;
	MemoryContext before = MemoryContextSwitchTo(batch_memory);
	bool		null;
	Datum		rest = SPI_getbinval(row, shape, 1, &null);

	batch->events = null ? NULL : DatumGetJsonbPCopy(rest);
	MemoryContextSwitchTo(before);
}

static void
take_time(HeapTuple row, TupleDesc shape, void *to)
{
	bool		null;

	*(TimestampTz *) to = DatumGetTimestampTz(SPI_getbinval(row, shape, 1, &null));
}

/* ---- runners take turns ---- */

static TimestampTz slice_until;	/* of this runner */

static void
make_waiting_tag(LOCKTAG *tag)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, 0, 0, LOCK_CLASS);
}

/* Whether a subscription has work and no runner. */
static bool
others_wait(void)
{
	LOCKTAG		tag;

	make_waiting_tag(&tag);
	if (LockAcquire(&tag, ShareLock, true, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	(void) LockRelease(&tag, ShareLock, true);
	return false;
}

/* The worker's side. */
static void
say_whether_others_wait(bool wait)
{
	static bool said = false;
	LOCKTAG		tag;

	make_waiting_tag(&tag);
	if (wait && !said)
		said = LockAcquire(&tag, ExclusiveLock, true, true) != LOCKACQUIRE_NOT_AVAIL;
	else if (!wait && said)
	{
		(void) LockRelease(&tag, ExclusiveLock, true);
		said = false;
	}
}

static bool
slice_is_over(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (now < slice_until)
		return false;
	if (others_wait())
		return true;
	slice_until = TimestampTzPlusMilliseconds(now, SLICE_MS);
	return false;
}

/* Handles a batch; what is not handled when the runner should leave stays in it. False: leave. */
static bool
handle_batch(const Runner *runner, Batch *batch)
{
	static AtpQuery handle = {
		"SELECT atp_internal.handle_events($1, $2, $3, $4, $5)", 5, {INT4OID, INT4OID, UUIDOID, JSONBOID, TIMESTAMPTZOID}
	};
	static AtpQuery renew = {"SELECT atp_internal.renew_for_handlers($1, $2, $3)", 3, {INT4OID, INT4OID, UUIDOID}};

	for (;;)
	{
		Datum		arguments[] = {
			Int32GetDatum(runner->subscription), Int32GetDatum(runner->tenant), UUIDPGetDatum(&batch->lease),
			JsonbPGetDatum(batch->events), TimestampTzGetDatum(Min(batch->until, slice_until))
		};

		if (!in_transaction(&handle, arguments, take_rest, batch))
			return false;
		if (atp_call_has_exhausted())
			return false;
		if (batch->events == NULL)
			return true;
		if (slice_is_over())
			return false;
		if (!in_transaction(&renew, arguments, take_time, &batch->until))
			return false;
	}
}

/* ---- the end of a runner with a batch in hand ---- */

static struct
{
	Runner		runner;
	pg_uuid_t	lease;
	bool		held;
}			in_hand;

/* before_shmem_exit. An error here ends the process, too: then the next runner ends the lease. */
static void
leave_batch(int code, Datum unused)
{
	static AtpQuery leave = {
		"SELECT atp_internal.leave_events($1, $2, $3, $4, $5)", 5, {INT4OID, INT4OID, UUIDOID, TEXTOID, TEXTOID}
	};
	const char *event_id = "";
	const char *reason = "";
	Datum		arguments[5];

	atp_call_end_limit();
	if (!in_hand.held)
		return;
	in_hand.held = false;
	AbortOutOfAnyTransaction();
	MemoryContextSwitchTo(batch_memory);
	(void) atp_call_has_overrun(&event_id, &reason);
	arguments[0] = Int32GetDatum(in_hand.runner.subscription);
	arguments[1] = Int32GetDatum(in_hand.runner.tenant);
	arguments[2] = UUIDPGetDatum(&in_hand.lease);
	arguments[3] = CStringGetTextDatum(event_id);
	arguments[4] = CStringGetTextDatum(reason);
	(void) in_transaction(&leave, arguments, NULL, NULL);
}

typedef struct Compensation
{
	char	   *handler;		/* NULL: none */
	Jsonb	   *event;
} Compensation;

static void
take_compensation(HeapTuple row, TupleDesc shape, void *to)
{
	Compensation *compensation = to;
	MemoryContext before = MemoryContextSwitchTo(batch_memory);
	bool		null;
	Datum		event = SPI_getbinval(row, shape, 2, &null);

	compensation->handler = SPI_getvalue(row, shape, 1);
	compensation->event = null ? NULL : DatumGetJsonbPCopy(event);
	MemoryContextSwitchTo(before);
}

/*
 * Runs the compensations of events that were given up without a handler at hand; each is noted, then run, in transactions of their own, so
 * that one that ends the process is not run again. False: the extension is gone.
 */
static bool
compensate(const Runner *runner)
{
	static AtpQuery next = {"SELECT handler, event FROM atp_internal.next_compensation($1, $2)", 2, {INT4OID, INT4OID}};
	static AtpQuery undo = {"SELECT atp_internal.undo_step($1, $2, $3)", 3, {INT4OID, TEXTOID, JSONBOID}};
	Datum		keys[] = {Int32GetDatum(runner->subscription), Int32GetDatum(runner->tenant)};

	for (;;)
	{
		Compensation compensation = {NULL};
		Datum		arguments[3];

		if (!in_transaction(&next, keys, take_compensation, &compensation))
			return false;
		if (compensation.handler == NULL)
			return true;
		if (compensation.event == NULL)
			continue;			/* it is not stored any more */
		MemoryContextSwitchTo(batch_memory);
		arguments[0] = Int32GetDatum(runner->tenant);
		arguments[1] = PointerGetDatum(cstring_to_text(compensation.handler));
		arguments[2] = JsonbPGetDatum(compensation.event);
		if (!in_transaction(&undo, arguments, NULL, NULL))
			return false;
		MemoryContextReset(batch_memory);
	}
}

/* Claims and handles once. Sets *busy where there was something. False: leave. */
static bool
run_once(const Runner *runner, bool *busy)
{
	static AtpQuery claim = {"SELECT lease, events, until FROM atp_internal.claim_for_handlers($1, $2)", 2, {INT4OID, INT4OID}};
	Datum		arguments[] = {Int32GetDatum(runner->subscription), Int32GetDatum(runner->tenant)};
	Batch		batch = {.events = NULL};
	bool		stay;

	MemoryContextReset(batch_memory);
	if (!compensate(runner))
		return false;
	if (!in_transaction(&claim, arguments, take_batch, &batch))
		return false;
	*busy = batch.events != NULL;
	if (!*busy)
		return compensate(runner);	/* of what the claim has given up */
	in_hand.runner = *runner;
	in_hand.lease = batch.lease;
	in_hand.held = true;
	stay = handle_batch(runner, &batch);
	in_hand.held = batch.events != NULL;
	return stay;
}

/* The same, with errors logged; after one the runner waits, and what was leased comes again when the lease is over. */
static bool
run_guarded(const Runner *runner, bool *busy)
{
	volatile bool stay = true;

	PG_TRY();
	{
		stay = run_once(runner, busy);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		EmitErrorReport();
		FlushErrorState();
		AbortOutOfAnyTransaction();
		RESUME_INTERRUPTS();
		in_hand.held = false;	/* an error of ours, perhaps for ever: the attempts shall count */
		*busy = false;
	}
	PG_END_TRY();
	return stay;
}

/* Ends the leases that a killed runner has left: there is one runner at a time. False: the extension is gone. */
static bool
take_over(const Runner *runner)
{
	static AtpQuery query = {"SELECT atp_internal.take_over_from_handlers($1, $2)", 2, {INT4OID, INT4OID}};
	Datum		arguments[] = {Int32GetDatum(runner->subscription), Int32GetDatum(runner->tenant)};

	return in_transaction(&query, arguments, NULL, NULL);
}

void
atp_handler_main(Datum unused)
{
	Runner		runner;
	TimestampTz idle_since;

	memcpy(&runner, MyBgworkerEntry->bgw_extra, sizeof(runner));
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(runner.database, InvalidOid, 0);
	if (!take_runner_lock(&runner))
		return;
	if (!take_over(&runner))
		return;
	SetConfigOption("max_parallel_workers_per_gather", "0", PGC_USERSET, PGC_S_OVERRIDE);	/* they would have memory of their own */
	batch_memory = AllocSetContextCreate(TopMemoryContext, "atp handled events", ALLOCSET_DEFAULT_SIZES);
	before_shmem_exit(leave_batch, (Datum) 0);
	idle_since = GetCurrentTimestamp();
	slice_until = TimestampTzPlusMilliseconds(idle_since, SLICE_MS);
	for (;;)
	{
		bool		busy = false;

		CHECK_FOR_INTERRUPTS();
		if (ConfigReloadPending)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		if (!run_guarded(&runner, &busy) || atp_worker_database_is_wanted())
			return;
		if (busy)
		{
			if (slice_is_over())
				return;
			idle_since = GetCurrentTimestamp();
			continue;
		}
		if (TimestampDifferenceExceeds(idle_since, GetCurrentTimestamp(), IDLE_MS) || others_wait())
			return;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* ---- the worker's job ---- */

static bool any_handlers = true;	/* false: none, as of the last look */

static void
start_runner(const Runner *runner, int place)
{
	BackgroundWorker worker;

	memset(&worker, 0, sizeof(worker));
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "atp", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "atp_handler_main", BGW_MAXLEN);
	snprintf(worker.bgw_name, BGW_MAXLEN, "atp handlers of subscription %d", runner->subscription);
	strlcpy(worker.bgw_type, "atp handlers", BGW_MAXLEN);
	memcpy(worker.bgw_extra, runner, sizeof(*runner));
	worker.bgw_notify_pid = MyProcPid;
	started[place].runner = *runner;
	if (!RegisterDynamicBackgroundWorker(&worker, &started[place].handle))
		started[place].handle = NULL;	/* no slot: another time */
}

/* Looks over the runners that were started: frees the places of those that ended, returns how many are left. */
static int
count_runners(void)
{
	int			count = 0;
	pid_t		pid;

	for (int i = 0; i < RUNNERS_MAX; i++)
	{
		if (started[i].handle == NULL)
			continue;
		if (GetBackgroundWorkerPid(started[i].handle, &pid) == BGWH_STOPPED)
		{
			pfree(started[i].handle);
			started[i].handle = NULL;
		}
		else
			count++;
	}
	return count;
}

/* Wakes the runner of a subscription that this worker has started; false: it has not. */
static bool
wake_runner(const Runner *runner)
{
	for (int i = 0; i < RUNNERS_MAX; i++)
		if (started[i].handle != NULL && memcmp(&started[i].runner, runner, sizeof(*runner)) == 0)
		{
			pid_t		pid;
			PGPROC	   *proc = GetBackgroundWorkerPid(started[i].handle, &pid) == BGWH_STARTED ? BackendPidGetProc(pid) : NULL;

			if (proc != NULL)
				SetLatch(&proc->procLatch);
			return true;
		}
	return false;
}

/* Sees to it that a subscription with work has a runner. False: it has to wait for one. */
static bool
serve(const Runner *runner, int *count)
{
	MemoryContext before;

	if (wake_runner(runner))
		return true;
	if (*count >= Min(setting_max_runners, RUNNERS_MAX))
		return false;
	if (!take_runner_lock(runner))
		return true;			/* an earlier worker has started one */
	release_runner_lock(runner);
	before = MemoryContextSwitchTo(TopMemoryContext);	/* of the handle */
	for (int i = 0; i < RUNNERS_MAX; i++)
		if (started[i].handle == NULL)
		{
			start_runner(runner, i);
			break;
		}
	MemoryContextSwitchTo(before);
	(*count)++;
	return true;
}

/* Of a row of the result. */
static int32
subscription_of(uint64 row)
{
	bool		null;

	return DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, 1, &null));
}

AtpWork
atp_handler_work(void)
{
	static AtpQuery query = {"SELECT subscription, tenant, is_ready, is_pending FROM atp_internal.handled_subscriptions()", 0, {0}};
	static int32 last = 0;		/* whose runner was started last: those after it come first, so that everybody has a turn */
	uint64		first = 0;
	int			count;
	bool		later = false;
	bool		wait = false;

	if (!any_handlers)
		return ATP_WORK_NONE;
	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	count = count_runners();
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	any_handlers = true;
	(void) atp_query(&query, NULL, NULL, false, 0);
	any_handlers = SPI_processed > 0;
	while (first < SPI_processed && subscription_of(first) <= last)
		first++;
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple	row = SPI_tuptable->vals[(first + i) % SPI_processed];
		TupleDesc	shape = SPI_tuptable->tupdesc;
		bool		null;
		Runner		runner = {.database = MyDatabaseId};

		runner.subscription = DatumGetInt32(SPI_getbinval(row, shape, 1, &null));
		runner.tenant = DatumGetInt32(SPI_getbinval(row, shape, 2, &null));
		if (DatumGetBool(SPI_getbinval(row, shape, 3, &null)))
		{
			int			before = count;

			wait = !serve(&runner, &count) || wait;
			if (count > before)
				last = runner.subscription;
			later = true;
		}
		later = later || DatumGetBool(SPI_getbinval(row, shape, 4, &null));
	}
	say_whether_others_wait(wait);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	return later ? ATP_WORK_LATER : ATP_WORK_NONE;
}

static void
relation_changed(Datum argument, Oid relation)
{
	any_handlers = true;		/* look again */
}

/* Trigger: the handlers changed. */
Datum
atp_handler_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

void
atp_handler_init(void)
{
	DefineCustomIntVariable("atp.handler_max_runners", "Processes that run in-database handlers at once, per database.", NULL,
							&setting_max_runners, 2, 0, RUNNERS_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
}

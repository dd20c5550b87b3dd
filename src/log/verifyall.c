/*
 * Verification of everything: all streams and the log, by this process and as many parallel workers as asked for and to be had.
 *
 * Workers are PostgreSQL's own (access/parallel): they see what this transaction sees, their errors and the user's cancel travel,
 * and they end with it. Each process takes classes of streams (stream/sweep) until none is left. There are as many classes as
 * processes, which is known only when the workers have been launched: they wait for the number. Where none could be launched there
 * is one class, and nothing of the work is done twice.
 *
 * A class tells that log and events disagree, and not where. That is found by the walk of the log, in this process.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "optimizer/paths.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/shm_toc.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"

#include "log/sequencer.h"
#include "log/verifylog.h"
#include "pg/scan.h"
#include "pg/tablescan.h"
#include "record/envelope.h"
#include "record/tenant.h"
#include "stream/stream.h"
#include "stream/sweep.h"

PG_FUNCTION_INFO_V1(atp_verifyall_all);

#define NAME_BUFFER (ATP_STREAM_NAME_MAX + 1)
#define WORKERS_MAX 63
#define SHARED_KEY 1

/* ---- the log, as the sweep asks for it ---- */

enum							/* columns of atp_internal.log, from 0 */
{
	LOG_POSITION, LOG_EVENT_ID, LOG_STREAM, LOG_PUBLISHED_AT, LOG_TENANT, LOG_EVENT_TYPE
};

typedef struct LogReading
{
	AtpSweepPlaced placed;
	void	   *sweep;
	int64		next;			/* position that should come */
	bool		dense;
} LogReading;

static bool
log_row(void *context, TupleTableSlot *row)
{
	LogReading *reading = context;
	const Datum *values = row->tts_values;

	reading->dense = DatumGetInt64(values[LOG_POSITION]) == reading->next++;
	if (reading->dense)
		reading->placed(reading->sweep, DatumGetInt32(values[LOG_TENANT]), DatumGetInt64(values[LOG_STREAM]),
						DatumGetUUIDP(values[LOG_EVENT_ID])->data, DatumGetInt32(values[LOG_EVENT_TYPE]));
	return reading->dense;
}

/*
 * Rows lie in the order of their positions unless the space of some that a crash left behind was used again; then they are read by
 * index.
 */
static bool
read_log(void *context, bool by_index, AtpSweepPlaced placed, void *sweep)
{
	static AtpScan scan = {
		"SELECT l.log_position, l.event_id, l.stream, l.published_at, l.tenant, l.event_type FROM atp_internal.log l "
		"ORDER BY l.log_position"
	};
	LogReading	reading = {.placed = placed, .sweep = sweep, .next = 1, .dense = true};

	if (by_index)
		atp_scan(&scan, NULL, log_row, &reading);
	else
		atp_tablescan(ATP_REL_LOG, LOG_EVENT_TYPE + 1, log_row, &reading);
	return reading.dense;
}

static bool
is_due(void *context, uint64 xid, int64 seq)
{
	return atp_sequencer_must_have_placed(context, xid, seq);
}

/* ---- the processes ---- */

typedef struct Part				/* the verdict on a class, for another process to read */
{
	AtpVerdict	verdict;
	char		what[96];		/* of verdict.first: an address means nothing in another process */
} Part;

typedef struct Shared
{
	bool		deep;
	int64		memory;			/* of all together */
	pg_atomic_uint32 classes;	/* 0: the workers have not all been launched */
	pg_atomic_uint32 next_class;
	ConditionVariable launched;
	Part		parts[FLEXIBLE_ARRAY_MEMBER];
} Shared;

/* Takes classes until none is left. */
static void
take_classes(Shared *shared)
{
	AtpSweepLog log = {.read = read_log, .is_due = is_due};
	AtpSweepWork work = {.deep = shared->deep, .classes = pg_atomic_read_u32(&shared->classes), .log = &log};

	log.context = unconstify(AtpSequencerState *, atp_sequencer_read_state(GetActiveSnapshot()));
	work.memory = shared->memory / work.classes;
	while ((work.class = pg_atomic_fetch_add_u32(&shared->next_class, 1)) < work.classes)
	{
		Part	   *part = &shared->parts[work.class];

		atp_sweep(&work, &part->verdict);
		if (part->verdict.first.what != NULL)
			strlcpy(part->what, part->verdict.first.what, sizeof(part->what));
	}
}

extern PGDLLEXPORT void atp_verifyall_worker(dsm_segment *segment, shm_toc *toc);

/* A parallel worker begins here. */
void
atp_verifyall_worker(dsm_segment *segment, shm_toc *toc)
{
	Shared	   *shared = shm_toc_lookup(toc, SHARED_KEY, false);

	ConditionVariablePrepareToSleep(&shared->launched);
	while (pg_atomic_read_u32(&shared->classes) == 0)
		ConditionVariableSleep(&shared->launched, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
	take_classes(shared);
}

static void
merge_parts(Shared *shared, AtpVerdict *verdict)
{
	memset(verdict, 0, sizeof(*verdict));
	for (uint32 i = 0; i < pg_atomic_read_u32(&shared->classes); i++)
	{
		AtpVerdict *part = &shared->parts[i].verdict;

		if (part->first.what != NULL)
			part->first.what = pstrdup(shared->parts[i].what);
		atp_sweep_merge(verdict, part);
	}
}

static void
sweep(bool deep, int workers, AtpVerdict *verdict)
{
	ParallelContext *parallel;
	Shared	   *shared;
	Size		size = offsetof(Shared, parts) + sizeof(Part) * (workers + 1);

	EnterParallelMode();
	parallel = CreateParallelContext("atp", "atp_verifyall_worker", workers);
	shm_toc_estimate_chunk(&parallel->estimator, size);
	shm_toc_estimate_keys(&parallel->estimator, 1);
	InitializeParallelDSM(parallel);
	shared = shm_toc_allocate(parallel->toc, size);
	memset(shared, 0, size);
	shared->deep = deep;
	shared->memory = (int64) maintenance_work_mem * 1024;
	pg_atomic_init_u32(&shared->classes, 0);
	pg_atomic_init_u32(&shared->next_class, 0);
	ConditionVariableInit(&shared->launched);
	shm_toc_insert(parallel->toc, SHARED_KEY, shared);
	LaunchParallelWorkers(parallel);
	pg_atomic_write_u32(&shared->classes, (uint32) parallel->nworkers_launched + 1);
	ConditionVariableBroadcast(&shared->launched);
	take_classes(shared);
	WaitForParallelWorkersToFinish(parallel);
	ereport(DEBUG1, errmsg_internal("verification: %d of %d parallel workers", parallel->nworkers_launched, workers));
	merge_parts(shared, verdict);
	DestroyParallelContext(parallel);
	ExitParallelMode();
}

/* As many workers as PostgreSQL would take for building an index on a table of this size. */
static int
choose_workers(void)
{
	BlockNumber blocks = atp_tablescan_blocks(ATP_REL_EVENT);
	int64		threshold = Max(min_parallel_table_scan_size, 1);
	int			workers = 0;

	for (; workers < max_parallel_maintenance_workers && blocks >= threshold; workers++)
		threshold *= 3;
	return workers;
}

/*
 * None where heads of streams that this transaction has appended to are not yet written: only this process knows them.
 */
static int
limit_workers(int workers)
{
	return IsInParallelMode() || atp_stream_has_pending() ? 0 : Min(workers, WORKERS_MAX);
}

/* ---- SQL ---- */

static bool
take_name(void *context, TupleTableSlot *row)
{
	strlcpy(context, TextDatumGetCString(row->tts_values[0]), NAME_BUFFER);
	return false;
}

static bool
take_position(void *context, TupleTableSlot *row)
{
	*(int64 *) context = DatumGetInt64(row->tts_values[0]);
	return false;
}

/* The position of a faulty event, as far as the log still names it. */
static void
find_position(const AtpFault *fault, Datum *value, bool *null)
{
	static AtpScan scan = {
		"SELECT l.log_position FROM atp_internal.event e JOIN atp_internal.log l ON l.event_id = e.event_id AND l.tenant = e.tenant "
		"WHERE e.stream = $1 AND e.tenant = $2 AND e.stream_version = $3", 3, {INT8OID, INT4OID, INT8OID}
	};
	Datum		arguments[] = {Int64GetDatum(fault->stream), Int32GetDatum(fault->tenant), Int64GetDatum(fault->version)};
	int64		found = 0;

	atp_scan(&scan, arguments, take_position, &found);
	*value = Int64GetDatum(found);
	*null = found == 0;
}

/* Names for the keys of a fault; those that do not exist stay NULL. */
static void
name_fault(const AtpFault *fault, Datum *values, bool *nulls)
{
	static AtpScan scan = {
		"SELECT s.name FROM atp_internal.stream s WHERE s.stream = $1 AND s.tenant = $2", 2, {INT8OID, INT4OID}
	};
	Datum		arguments[] = {Int64GetDatum(fault->stream), Int32GetDatum(fault->tenant)};
	char		name[NAME_BUFFER] = "";
	AtpTenant	tenant;

	if (atp_tenant_get(fault->tenant, &tenant))
	{
		values[0] = CStringGetTextDatum(tenant.name);
		nulls[0] = false;
	}
	atp_scan(&scan, arguments, take_name, name);
	if (name[0] != '\0')
	{
		values[1] = CStringGetTextDatum(name);
		nulls[1] = false;
	}
	values[2] = Int64GetDatum(fault->version);
	nulls[2] = fault->version == 0;
}

static bool
take_tenant(void *context, TupleTableSlot *row)
{
	AtpFault   *fault = context;

	fault->tenant = DatumGetInt32(row->tts_values[0]);
	fault->what = "tenant has another name than its first event says";
	return false;
}

/*
 * The first event of a tenant's log is TenantOnboarded, in the stream that bears the tenant's name, whose name its first event
 * carries in turn. The tenant that is there from the start was not onboarded, and no other can have its name beside it.
 */
static void
check_tenants(AtpFault *fault)
{
	static AtpScan scan = {
		"SELECT t.tenant FROM atp_internal.tenant t WHERE t.name <> 'default' AND NOT EXISTS (SELECT FROM atp_internal.stream s "
		"WHERE s.tenant = t.tenant AND s.name = 'atp.Tenant-' || t.name AND s.version > 0) ORDER BY t.tenant FETCH FIRST ROW ONLY"
	};

	atp_scan(&scan, NULL, take_tenant, fault);
}

/* verify_all(deep, workers) */
Datum
atp_verifyall_all(PG_FUNCTION_ARGS)
{
	TupleDesc	shape;
	bool		deep = PG_ARGISNULL(0) ? false : PG_GETARG_BOOL(0);
	Datum		values[7] = {0};
	bool		nulls[7] = {false, false, true, true, true, true, true};
	AtpVerdict	verdict;
	AtpLogFault fault = {0};
	const char *what;

	if (!PG_ARGISNULL(1) && PG_GETARG_INT32(1) < 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("workers must not be negative"));
	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_verify_begin();
	sweep(deep, limit_workers(PG_ARGISNULL(1) ? choose_workers() : PG_GETARG_INT32(1)), &verdict);
	if (deep || verdict.log_differs || verdict.log_unread || atp_sequencer_log_is_cut(atp_sequencer_read_state(GetActiveSnapshot())))
		(void) atp_verifylog_walk(&fault);
	if (verdict.log_differs && fault.event.what == NULL)
		fault.event.what = "the log and the events differ";
	if (fault.event.what == NULL)
		check_tenants(&fault.event);
	if (verdict.first.what != NULL)
		fault.event = verdict.first;	/* a changed event comes before what follows from it in the log */
	what = fault.event.what != NULL ? fault.event.what : verdict.checked == 0 ? "there are no events" : NULL;
	values[0] = BoolGetDatum(what == NULL);
	values[1] = Int64GetDatum(verdict.checked);
	if (fault.event.what != NULL && fault.event.tenant != 0)
		name_fault(&fault.event, &values[2], &nulls[2]);
	if (verdict.first.what == NULL)
	{
		values[5] = Int64GetDatum(fault.log_position);
		nulls[5] = !fault.has_position;
	}
	else
		find_position(&verdict.first, &values[5], &nulls[5]);
	atp_verify_end();
	if (what != NULL)
	{
		values[6] = CStringGetTextDatum(what);
		nulls[6] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

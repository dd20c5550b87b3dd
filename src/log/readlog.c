/*
 * Reading the log, and waiting for an event's place in it.
 *
 * Rows come out one at a time and nothing is collected: log_rows() is called in the target list (readlog.sql), where the executor
 * asks it for a row when it needs one. It walks the primary key of the log in small batches, closing everything in between (the
 * executor may never ask again), and fetches the events of a batch in the order of their ids. So what a read costs depends on what it
 * returns, not on how large the log is, how many leaves there are, or what the planner believes of either.
 *
 * Waiting: each look takes a snapshot of its own, so that what others commit meanwhile is seen; the statement's own snapshot, held during
 * the wait, does not matter. In REPEATABLE READ the caller would be told of a position that it cannot read: refused.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/wait_event.h"
#include "utils/xid8.h"

#include "log/fetch.h"
#include "log/sequencer.h"
#include "pg/compat.h"
#include "pg/relation.h"
#include "record/eventtype.h"
#include "record/tenant.h"
#include "stream/partition.h"

/* The wait between two looks: short at first, because a tick takes a few milliseconds, longer with the time spent waiting. */
#define SHORTEST_WAIT 1
#define LONGEST_WAIT 25

#define BATCH 64				/* rows read at once; the first batches are smaller */
#define BATCH_BYTES (256 * 1024)	/* no further event is taken into a batch that has reached this size */
#define NAMES 64				/* names of streams that a call remembers; a power of 2 */

/* Columns that are used of atp_internal.log and atp_internal.stream, in the order of their definition. */
enum
{
	LOG_POSITION = 1, LOG_EVENT_ID, LOG_STREAM, LOG_PUBLISHED_AT
};
#define STREAM_NAME 11

/* Columns of type atp_internal.logged_event. */
enum
{
	OUT_POSITION, OUT_PUBLISHED_AT, OUT_EVENT_ID, OUT_STREAM, OUT_STREAM_VERSION, OUT_EVENT_TYPE, OUT_SCHEMA_VERSION,
	OUT_OCCURRED_AT, OUT_RECORDED_AT, OUT_PAYLOAD, OUT_METADATA, OUT_HASH, OUT_COLUMNS
};

typedef struct Finder			/* a table and its index on (key, tenant) */
{
	Relation	table;			/* NULL: not open */
	Relation	index;
	TupleTableSlot *slot;
	IndexScanDesc scan;
} Finder;

typedef struct StreamName
{
	int64		stream;			/* 0: empty place */
	text	   *name;
} StreamName;

typedef struct Reader			/* a call of log_rows() */
{
	TupleDesc	shape;
	int32		tenant;
	int64		after;			/* last position read */
	int			size;			/* of the next batch */
	bool		end;			/* no batch comes after this one */
	int			count;
	int			next;
	Datum		batch[BATCH];	/* rows, in memory */
	MemoryContext memory;
	StreamName	names[NAMES];	/* direct-mapped */
	MemoryContext name_memory;
} Reader;

typedef struct Batch			/* that is being read */
{
	Reader	   *reader;
	Finder		streams;
	int			count;
	bool		end;			/* the log ends with it */
	Size		bytes;
	AtpFetchKey keys[BATCH];
	struct
	{
		int64		position;
		TimestampTz published_at;
		pg_uuid_t	event_id;
		int64		stream;
		bool		left;		/* its event is left to the next batch */
	}			rows[BATCH];
} Batch;

PG_FUNCTION_INFO_V1(atp_readlog_rows);
PG_FUNCTION_INFO_V1(atp_readlog_wait_for_event);

static void
finder_open(Finder *finder, Relation table, Oid index, Snapshot snapshot)
{
	finder->table = table;
	finder->index = index_open(index, AccessShareLock);
	finder->slot = table_slot_create(table, NULL);
	finder->scan = atp_compat_index_beginscan(table, finder->index, snapshot, 2);
}

static void
finder_close(Finder *finder, LOCKMODE lock)
{
	if (finder->table == NULL)
		return;
	index_endscan(finder->scan);
	ExecDropSingleTupleTableSlot(finder->slot);
	index_close(finder->index, AccessShareLock);
	table_close(finder->table, lock);
	finder->table = NULL;
}

/* Looks up by the index's two columns; true: the slot has the row, all its columns deformed. */
static bool
finder_find(Finder *finder, RegProcedure equal, Datum key, int32 tenant)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, equal, key);
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(tenant));
	index_rescan(finder->scan, keys, 2, NULL, 0);
	if (!index_getnext_slot(finder->scan, ForwardScanDirection, finder->slot))
		return false;
	slot_getallattrs(finder->slot);
	return true;
}

/* ==== Reading ==== */

/* The name of a stream, which never changes; NULL: there is none. */
static const text *
stream_name(Reader *reader, Finder *finder, int64 stream)
{
	StreamName *place = &reader->names[(uint64) stream % NAMES];
	MemoryContext before;
	bool		isnull;
	bool		found;
	Datum		name;

	if (place->stream == stream)
		return place->name;
	before = MemoryContextSwitchTo(reader->memory);	/* what the scan keeps must live as long as it, not as long as a row */
	found = finder_find(finder, F_INT8EQ, Int64GetDatum(stream), reader->tenant);
	MemoryContextSwitchTo(before);
	if (!found)
		return NULL;
	name = slot_getattr(finder->slot, STREAM_NAME, &isnull);
	if (place->stream != 0)
		pfree(place->name);
	place->stream = 0;
	place->name = MemoryContextAlloc(reader->name_memory, VARSIZE_ANY(DatumGetPointer(name)));
	memcpy(place->name, DatumGetPointer(name), VARSIZE_ANY(DatumGetPointer(name)));
	place->stream = stream;
	return place->name;
}

/* Forms the result for a row of the log. What is not there, as after a fault or once archived, is NULL, as is `event` itself. */
static void
form_row(Batch *batch, int i, TupleTableSlot *event)
{
	static const struct
	{
		int			out;
		int			column;
	}			columns[] = {
		{OUT_STREAM_VERSION, ATP_EVENT_STREAM_VERSION}, {OUT_SCHEMA_VERSION, ATP_EVENT_SCHEMA_VERSION},
		{OUT_OCCURRED_AT, ATP_EVENT_OCCURRED_AT}, {OUT_RECORDED_AT, ATP_EVENT_RECORDED_AT}, {OUT_PAYLOAD, ATP_EVENT_PAYLOAD},
		{OUT_METADATA, ATP_EVENT_METADATA}, {OUT_HASH, ATP_EVENT_HASH},
	};
	Reader	   *reader = batch->reader;
	const text *name = stream_name(reader, &batch->streams, batch->rows[i].stream);
	Datum		values[OUT_COLUMNS] = {0};
	bool		nulls[OUT_COLUMNS];
	AtpEventType type;
	MemoryContext before;
	Datum		row;

	memset(nulls, true, sizeof(nulls));
	nulls[OUT_POSITION] = nulls[OUT_PUBLISHED_AT] = nulls[OUT_EVENT_ID] = false;
	values[OUT_POSITION] = Int64GetDatum(batch->rows[i].position);
	values[OUT_PUBLISHED_AT] = TimestampTzGetDatum(batch->rows[i].published_at);
	values[OUT_EVENT_ID] = UUIDPGetDatum(&batch->rows[i].event_id);
	nulls[OUT_STREAM] = name == NULL;
	values[OUT_STREAM] = PointerGetDatum(name);
	if (event != NULL)
	{
		for (int c = 0; c < lengthof(columns); c++)
			values[columns[c].out] = slot_getattr(event, columns[c].column, &nulls[columns[c].out]);
		nulls[OUT_EVENT_TYPE] = !atp_eventtype_get(DatumGetInt32(event->tts_values[ATP_EVENT_EVENT_TYPE - 1]), &type);
		if (!nulls[OUT_EVENT_TYPE])
			values[OUT_EVENT_TYPE] = CStringGetTextDatum(type.name);
	}
	before = MemoryContextSwitchTo(reader->memory);
	row = HeapTupleGetDatum(heap_form_tuple(reader->shape, values, nulls));
	MemoryContextSwitchTo(before);
	reader->batch[i] = row;
	batch->bytes += HeapTupleHeaderGetDatumLength(DatumGetHeapTupleHeader(row));
}

/* The first row is always taken, so that reading goes on. */
static void
take_event(void *context, int32 i, TupleTableSlot *event)
{
	Batch	   *batch = context;

	if (batch->bytes >= BATCH_BYTES && i > 0)
		batch->rows[i].left = true;
	else
		form_row(batch, i, event);
}

/* Reads the rows of the log after reader->after. */
static void
read_positions(Batch *batch)
{
	Reader	   *reader = batch->reader;
	Finder		log;
	ScanKeyData keys[2];

	finder_open(&log, table_open(atp_relation_oid(ATP_REL_LOG), AccessShareLock), atp_relation_oid(ATP_REL_LOG_PK), GetActiveSnapshot());
	ScanKeyInit(&keys[0], 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(reader->after));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(reader->tenant));
	index_rescan(log.scan, keys, 2, NULL, 0);
	while (batch->count < reader->size && !batch->end)
	{
		const Datum *values = log.slot->tts_values;
		int			i = batch->count;

		CHECK_FOR_INTERRUPTS();
		batch->end = !index_getnext_slot(log.scan, ForwardScanDirection, log.slot);
		if (batch->end)
			break;
		slot_getsomeattrs(log.slot, LOG_PUBLISHED_AT);
		batch->rows[i].position = DatumGetInt64(values[LOG_POSITION - 1]);
		batch->rows[i].published_at = DatumGetTimestampTz(values[LOG_PUBLISHED_AT - 1]);
		batch->rows[i].event_id = *DatumGetUUIDP(values[LOG_EVENT_ID - 1]);
		batch->rows[i].stream = DatumGetInt64(values[LOG_STREAM - 1]);
		batch->rows[i].left = false;
		batch->keys[i] = (AtpFetchKey) {batch->rows[i].event_id, reader->tenant, i};
		reader->batch[i] = (Datum) 0;
		batch->count++;
	}
	finder_close(&log, AccessShareLock);
}

static void
read_batch(Reader *reader)
{
	MemoryContext before;
	Batch	   *batch;

	MemoryContextReset(reader->memory);
	before = MemoryContextSwitchTo(reader->memory);
	batch = palloc_object(Batch);
	batch->reader = reader;
	batch->count = 0;
	batch->end = false;
	batch->bytes = 0;
	read_positions(batch);
	finder_open(&batch->streams, table_open(atp_relation_oid(ATP_REL_STREAM), AccessShareLock), atp_relation_oid(ATP_REL_STREAM_PK),
				GetActiveSnapshot());
	atp_fetch_events(batch->keys, batch->count, GetActiveSnapshot(), take_event, batch);
	reader->next = reader->count = 0;
	reader->end = batch->end;
	while (reader->count < batch->count && !batch->rows[reader->count].left)
	{
		if (reader->batch[reader->count] == (Datum) 0)
			form_row(batch, reader->count, NULL);
		reader->after = batch->rows[reader->count++].position;
	}
	if (reader->count < batch->count)
	{
		reader->end = false;
		reader->size = Max(reader->count, 1);
	}
	else
		reader->size = Min(reader->size * 4, BATCH);
	finder_close(&batch->streams, AccessShareLock);
	MemoryContextSwitchTo(before);
}

/* log_rows(after_position, tenant) */
Datum
atp_readlog_rows(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Reader	   *reader;

	if (SRF_IS_FIRSTCALL())
	{
		MemoryContext old;

		call = SRF_FIRSTCALL_INIT();
		old = MemoryContextSwitchTo(call->multi_call_memory_ctx);
		reader = palloc0_object(Reader);
		if (get_call_result_type(fcinfo, NULL, &reader->shape) != TYPEFUNC_COMPOSITE)
			elog(ERROR, "return type must be a row type");
		reader->shape = BlessTupleDesc(reader->shape);
		reader->after = PG_GETARG_INT64(0);
		reader->tenant = PG_GETARG_INT32(1);
		reader->size = 4;
		reader->name_memory = CurrentMemoryContext;
		reader->memory = AllocSetContextCreate(CurrentMemoryContext, "atp batch of the log", ALLOCSET_DEFAULT_SIZES);
		call->user_fctx = reader;
		MemoryContextSwitchTo(old);
	}
	call = SRF_PERCALL_SETUP();
	reader = call->user_fctx;
	if (reader->next == reader->count && !reader->end)
		read_batch(reader);
	if (reader->next < reader->count)
		SRF_RETURN_NEXT(call, reader->batch[reader->next++]);
	SRF_RETURN_DONE(call);
}

/* ==== Waiting ==== */

/* The event's position; 0: it has none yet. */
static int64
find_position(const pg_uuid_t *event_id, int32 tenant)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	Finder		log;
	int64		position = 0;

	finder_open(&log, table_open(atp_relation_oid(ATP_REL_LOG), AccessShareLock), atp_relation_oid(ATP_REL_LOG_EVENT_UNIQUE), snapshot);
	if (finder_find(&log, F_UUID_EQ, UUIDPGetDatum(event_id), tenant))
		position = DatumGetInt64(log.slot->tts_values[LOG_POSITION - 1]);
	finder_close(&log, AccessShareLock);
	UnregisterSnapshot(snapshot);
	return position;
}

static void
take_xid(void *context, int32 index, TupleTableSlot *event)
{
	*(FullTransactionId *) context = DatumGetFullTransactionId(event->tts_values[ATP_EVENT_XID - 1]);
}

/* Waiting for an event of this transaction would never end. */
static void
refuse_own_event(const pg_uuid_t *event_id, int32 tenant)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	FullTransactionId writer = InvalidFullTransactionId;
	AtpFetchKey key = {*event_id, tenant, 0};
	Snapshot	snapshot;

	if (!FullTransactionIdIsValid(own))
		return;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	atp_fetch_events(&key, 1, snapshot, take_xid, &writer);
	UnregisterSnapshot(snapshot);
	if (FullTransactionIdEquals(writer, own))
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				errmsg("the event was appended by this transaction"),
				errdetail("It gets its place in the log after the transaction has committed."),
				errhint("Call atp.wait_for_event() in a transaction of its own."));
}

/* wait_for_event(event_id, timeout, tenant) */
Datum
atp_readlog_wait_for_event(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant;
	pg_uuid_t  *event_id;
	TimestampTz start = GetCurrentTimestamp();
	TimestampTz until = start;
	int64		position;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	event_id = PG_GETARG_UUID_P(0);
	atp_tenant_resolve(PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), &tenant);
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				errmsg("atp.wait_for_event() needs isolation level READ COMMITTED"),
				errdetail("The snapshot of this transaction does not show what is placed after it began."));
	if (!PG_ARGISNULL(1))
		until = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval, TimestampTzGetDatum(start), PG_GETARG_DATUM(1)));
	position = find_position(event_id, tenant.tenant);
	if (position == 0)
		refuse_own_event(event_id, tenant.tenant);
	while (position == 0)
	{
		TimestampTz now = GetCurrentTimestamp();
		long		wait = Min(Max((now - start) / 20000, SHORTEST_WAIT), LONGEST_WAIT);

		CHECK_FOR_INTERRUPTS();
		if (atp_sequencer_attend() == 0)
		{
			if (now >= until)
				PG_RETURN_NULL();
			wait = Min(wait, TimestampDifferenceMilliseconds(now, until));
			(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Max(wait, 1), PG_WAIT_EXTENSION);
			ResetLatch(MyLatch);
		}
		position = find_position(event_id, tenant.tenant);
	}
	PG_RETURN_INT64(position);
}

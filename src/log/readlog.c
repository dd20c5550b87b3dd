/*
 * Reading the log, and waiting for an event's place in it.
 *
 * Rows come out one at a time and nothing is collected: log_rows() is called in the target list (readlog.sql), where the executor
 * asks it for a row when it needs one. It walks the primary key of the log in small batches, closing everything in between (the
 * executor may never ask again), and fetches each event from the one leaf that its id falls into: where the leaf filled in the order
 * of the log, from behind the last one, without a descent. So what a read costs depends on what it returns, not on how large the
 * log is, how many leaves there are, or what the planner believes of either.
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
#define BATCH_BYTES (256 * 1024)	/* a batch ends early when its rows have reached this size */
#define NAMES 64				/* names of streams that a call remembers; a power of 2 */
#define SKIP_MAX 8				/* rows passed over in search of the next event */
#define LUCK_MAX 4

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

/*
 * Events, each looked up in the leaf that its id falls into. A leaf fills in the order of writing, which is nearly that of the log: so the
 * next event is looked for behind the last one first, as long as that succeeds more often than not.
 */
typedef struct EventFinder
{
	Finder		leaf;
	TableScanDesc behind;		/* rows behind the event that was found last; NULL: not begun in this leaf */
	TupleTableSlot *slot;
	bool		is_ahead;		/* the slot has a row that is still to come */
	int			luck;
} EventFinder;

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

static void
event_finder_close(EventFinder *finder)
{
	if (finder->behind != NULL)
	{
		table_endscan(finder->behind);
		ExecDropSingleTupleTableSlot(finder->slot);
		finder->behind = NULL;
	}
	finder_close(&finder->leaf, NoLock);
}

static TupleTableSlot *
find_behind(EventFinder *finder, const pg_uuid_t *event_id, int32 tenant)
{
	if (finder->behind == NULL || finder->luck < 0)
		return NULL;
	for (int i = 0; i < SKIP_MAX; i++)
	{
		bool		isnull;
		int			order;

		if (!finder->is_ahead && !table_scan_getnextslot_tidrange(finder->behind, ForwardScanDirection, finder->slot))
			break;
		order = memcmp(DatumGetUUIDP(slot_getattr(finder->slot, ATP_EVENT_ID, &isnull)), event_id, UUID_LEN);
		finder->is_ahead = order > 0;
		if (order > 0)
			break;
		if (order == 0 && DatumGetInt32(slot_getattr(finder->slot, ATP_EVENT_TENANT, &isnull)) == tenant)
		{
			finder->luck = Min(finder->luck + 1, LUCK_MAX);
			return finder->slot;
		}
	}
	finder->luck--;
	return NULL;
}

static TupleTableSlot *
find_by_index(EventFinder *finder, const pg_uuid_t *event_id, int32 tenant, Snapshot snapshot)
{
	Relation	leaf = atp_partition_open_existing(event_id);
	TupleTableSlot *slot;
	ItemPointerData from;
	ItemPointerData until;

	if (leaf == NULL)
		return NULL;
	if (finder->leaf.table == leaf)
		table_close(leaf, NoLock);	/* one more reference to the same */
	else
	{
		Oid			index = atp_relation_find_index(leaf, ATP_EVENT_ID, true);

		event_finder_close(finder);
		if (!OidIsValid(index))
			elog(ERROR, "partition \"%s\" lacks its index on event_id", RelationGetRelationName(leaf));
		finder_open(&finder->leaf, leaf, index, snapshot);
	}
	if (!finder_find(&finder->leaf, F_UUID_EQ, UUIDPGetDatum(event_id), tenant))
		return NULL;
	slot = finder->leaf.slot;
	if (finder->luck < 0)
		return slot;
	ItemPointerSet(&from, ItemPointerGetBlockNumber(&slot->tts_tid), ItemPointerGetOffsetNumber(&slot->tts_tid) + 1);
	ItemPointerSet(&until, MaxBlockNumber, MaxOffsetNumber);
	finder->is_ahead = false;
	if (finder->behind != NULL)
		table_rescan_tidrange(finder->behind, &from, &until);
	else
	{
		finder->slot = table_slot_create(leaf, NULL);
		finder->behind = table_beginscan_tidrange(leaf, snapshot, &from, &until);
	}
	return slot;
}

/* Looks an event up; NULL: it is not there. */
static TupleTableSlot *
find_event(EventFinder *finder, const pg_uuid_t *event_id, int32 tenant, Snapshot snapshot)
{
	TupleTableSlot *slot = find_behind(finder, event_id, tenant);

	return slot != NULL ? slot : find_by_index(finder, event_id, tenant, snapshot);
}

/* ==== Reading ==== */

/* The name of a stream, which never changes; NULL: there is none. */
static const text *
stream_name(Reader *reader, Finder *finder, int64 stream)
{
	StreamName *place = &reader->names[(uint64) stream % NAMES];
	bool		isnull;
	Datum		name;

	if (place->stream == stream)
		return place->name;
	if (!finder_find(finder, F_INT8EQ, Int64GetDatum(stream), reader->tenant))
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

/* Forms the result for a row of the log. What is not there, as after a fault or once archived, is NULL. */
static Datum
form_row(Reader *reader, TupleTableSlot *placed, Finder *stream, EventFinder *finder)
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
	Datum		values[OUT_COLUMNS] = {0};
	bool		nulls[OUT_COLUMNS];
	TupleTableSlot *event;
	const text *name;
	AtpEventType type;

	memset(nulls, true, sizeof(nulls));
	values[OUT_POSITION] = slot_getattr(placed, LOG_POSITION, &nulls[OUT_POSITION]);
	values[OUT_PUBLISHED_AT] = slot_getattr(placed, LOG_PUBLISHED_AT, &nulls[OUT_PUBLISHED_AT]);
	values[OUT_EVENT_ID] = slot_getattr(placed, LOG_EVENT_ID, &nulls[OUT_EVENT_ID]);
	name = stream_name(reader, stream, DatumGetInt64(placed->tts_values[LOG_STREAM - 1]));
	nulls[OUT_STREAM] = name == NULL;
	values[OUT_STREAM] = PointerGetDatum(name);
	event = find_event(finder, DatumGetUUIDP(values[OUT_EVENT_ID]), reader->tenant, GetActiveSnapshot());
	if (event != NULL)
	{
		for (int i = 0; i < lengthof(columns); i++)
			values[columns[i].out] = slot_getattr(event, columns[i].column, &nulls[columns[i].out]);
		nulls[OUT_EVENT_TYPE] = !atp_eventtype_get(DatumGetInt32(event->tts_values[ATP_EVENT_EVENT_TYPE - 1]), &type);
		if (!nulls[OUT_EVENT_TYPE])
			values[OUT_EVENT_TYPE] = CStringGetTextDatum(type.name);
	}
	return HeapTupleGetDatum(heap_form_tuple(reader->shape, values, nulls));
}

static void
read_batch(Reader *reader)
{
	Finder		log;
	Finder		stream;
	EventFinder event = {{NULL}};
	ScanKeyData keys[2];
	Size		bytes = 0;
	bool		isnull;
	MemoryContext old;

	MemoryContextReset(reader->memory);
	old = MemoryContextSwitchTo(reader->memory);
	finder_open(&log, table_open(atp_relation_oid(ATP_REL_LOG), AccessShareLock), atp_relation_oid(ATP_REL_LOG_PK), GetActiveSnapshot());
	finder_open(&stream, table_open(atp_relation_oid(ATP_REL_STREAM), AccessShareLock), atp_relation_oid(ATP_REL_STREAM_PK),
				GetActiveSnapshot());
	ScanKeyInit(&keys[0], 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(reader->after));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(reader->tenant));
	index_rescan(log.scan, keys, 2, NULL, 0);
	reader->count = reader->next = 0;
	while (reader->count < reader->size && bytes < BATCH_BYTES)
	{
		Datum		row;

		CHECK_FOR_INTERRUPTS();
		reader->end = !index_getnext_slot(log.scan, ForwardScanDirection, log.slot);
		if (reader->end)
			break;
		row = form_row(reader, log.slot, &stream, &event);
		reader->after = DatumGetInt64(slot_getattr(log.slot, LOG_POSITION, &isnull));
		reader->batch[reader->count++] = row;
		bytes += HeapTupleHeaderGetDatumLength(DatumGetHeapTupleHeader(row));
	}
	reader->size = Min(reader->size * 4, BATCH);
	event_finder_close(&event);
	finder_close(&stream, AccessShareLock);
	finder_close(&log, AccessShareLock);
	MemoryContextSwitchTo(old);
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

/* Waiting for an event of this transaction would never end. */
static void
refuse_own_event(const pg_uuid_t *event_id, int32 tenant)
{
	FullTransactionId own = GetTopFullTransactionIdIfAny();
	EventFinder finder = {{NULL}};
	TupleTableSlot *event;
	Snapshot	snapshot;
	bool		is_own;

	if (!FullTransactionIdIsValid(own))
		return;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	event = find_event(&finder, event_id, tenant, snapshot);
	is_own = event != NULL && FullTransactionIdEquals(DatumGetFullTransactionId(event->tts_values[ATP_EVENT_XID - 1]), own);
	event_finder_close(&finder);
	UnregisterSnapshot(snapshot);
	if (is_own)
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

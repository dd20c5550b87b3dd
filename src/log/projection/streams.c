/*
 * Rows of the stream projection; see streams.h.
 *
 * What is new of a stream is summed up in memory, and one row a stream is written over: in place, as no indexed column changes and
 * pages keep room.
 *
 * Writers are whoever holds ATP_LOCK_TICK, and rebuild_projection(), which locks the table against it: a row is never changed under us.
 */
#include "log/projection/streams.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "pg/bulk.h"
#include "pg/compat.h"
#include "pg/relation.h"
#include "stream/partition.h"

#define STREAMS_MAX 20000		/* streams held before their rows are written */

enum							/* columns of atp_internal.event_stream_projection */
{
	STREAM, TENANT, CATEGORY, EVENT_COUNT, VERSION, FIRST_OCCURRED_AT, LAST_OCCURRED_AT, FIRST_POSITION, LAST_POSITION, COLUMNS
};

#define PRUNE_BELOW 400			/* bytes of free space: a few rows */

#define STREAM_TABLE_NAME 11	/* column of atp_internal.stream */

typedef struct StreamKey
{
	int64		stream;
	int32		tenant;
	int32		zero;
} StreamKey;

typedef struct StreamSum		/* what is new of a stream */
{
	StreamKey	key;
	int64		event_count;
	int64		version;
	TimestampTz first_occurred_at;
	TimestampTz last_occurred_at;
	int64		first_position;
	int64		last_position;
} StreamSum;

struct AtpStreams
{
	Relation	relation;
	MemoryContext memory;
	Snapshot	snapshot;
	HTAB	   *sums;			/* StreamKey → StreamSum */
};

typedef struct Writing			/* what it takes to write sums */
{
	Relation	projection;
	BlockNumber blocks;			/* a rebuilt table may be shorter than it was */
	Relation	index;
	IndexScanDesc by_key;
	TupleTableSlot *old;
	TupleTableSlot *updated;
	AtpBulk    *fresh;			/* rows of streams that had none */
	Relation	stream;			/* atp_internal.stream; NULL: not needed so far */
	Relation	stream_index;
	IndexScanDesc head_by_key;
	TupleTableSlot *head;
} Writing;

/*
 * Where this backend last wrote the rows of streams, direct-mapped. A hint: rolled back, written over by another tick or moved, the
 * row is looked for by index. It spares the sequencer the versions that nobody may remove while a snapshot is held open: through the
 * index every tick would wade through those that all ticks before it have left of a stream.
 */
#define PLACES 32768

typedef struct Place
{
	StreamKey	key;
	ItemPointerData row;
} Place;

static Place *places;

static Place *
place_of(const StreamKey *key)
{
	if (places == NULL)
		places = MemoryContextAllocZero(TopMemoryContext, sizeof(Place) * PLACES);
	return &places[((uint64) key->stream * 31 + (uint32) key->tenant) % PLACES];
}

static void
remember_place(const StreamKey *key, const ItemPointerData *row)
{
	Place	   *place = place_of(key);

	place->key = *key;
	place->row = *row;
}

/*
 * What an index scan does on its way to a row: without it, no version that is written over would ever make room for another. Done when
 * room runs short; an index scan does it as soon as the page is fuller than its fillfactor, which is always.
 */
static void
prune(Relation relation, BlockNumber block)
{
	Buffer		buffer;

	if (relation->rd_tableam != GetHeapamTableAmRoutine())
		return;
	buffer = ReadBuffer(relation, block);
	if (PageGetHeapFreeSpace(BufferGetPage(buffer)) < PRUNE_BELOW)	/* not locked: pruning looks again */
		heap_page_prune_opt(relation, buffer);
	ReleaseBuffer(buffer);
}

/* Fetches the row of a stream from where it was written last; false: it is not there. */
static bool
fetch_by_place(const Writing *writing, const StreamKey *key)
{
	Place	   *place = place_of(key);
	TupleTableSlot *slot = writing->old;

	if (memcmp(&place->key, key, sizeof(StreamKey)) != 0 || ItemPointerGetBlockNumberNoCheck(&place->row) >= writing->blocks)
		return false;
	ExecClearTuple(slot);		/* the page is pruned only while nobody has it pinned */
	prune(writing->projection, ItemPointerGetBlockNumberNoCheck(&place->row));
	if (!table_tuple_fetch_row_version(writing->projection, &place->row, SnapshotSelf, slot))
		return false;
	slot_getallattrs(slot);
	return DatumGetInt64(slot->tts_values[STREAM]) == key->stream && DatumGetInt32(slot->tts_values[TENANT]) == key->tenant;
}

/* Fetches the row of a stream from a table with a unique index on (stream, tenant). */
static bool
fetch_by_key(IndexScanDesc scan, const StreamKey *key, TupleTableSlot *slot)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key->stream));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key->tenant));
	index_rescan(scan, keys, 2, NULL, 0);
	if (!index_getnext_slot(scan, ForwardScanDirection, slot))
		return false;
	slot_getallattrs(slot);
	return true;
}

/* Writes over the row in writing->old. */
static void
update_stream(const Writing *writing, const StreamSum *sum)
{
	TupleTableSlot *slot = writing->updated;
	Datum	   *values = slot->tts_values;
	TM_FailureData failure;
	LockTupleMode mode;
	AtpUpdateIndexes indexes;
	TM_Result	result;

	memcpy(values, writing->old->tts_values, sizeof(Datum) * COLUMNS);
	memcpy(slot->tts_isnull, writing->old->tts_isnull, sizeof(bool) * COLUMNS);
	values[EVENT_COUNT] = Int64GetDatum(DatumGetInt64(values[EVENT_COUNT]) + sum->event_count);
	values[VERSION] = Int64GetDatum(sum->version);
	values[FIRST_OCCURRED_AT] = TimestampTzGetDatum(Min(DatumGetTimestampTz(values[FIRST_OCCURRED_AT]), sum->first_occurred_at));
	values[LAST_OCCURRED_AT] = TimestampTzGetDatum(Max(DatumGetTimestampTz(values[LAST_OCCURRED_AT]), sum->last_occurred_at));
	values[LAST_POSITION] = Int64GetDatum(sum->last_position);
	ExecStoreVirtualTuple(slot);
	result = table_tuple_update(writing->projection, &writing->old->tts_tid, slot, GetCurrentCommandId(true), InvalidSnapshot,
								InvalidSnapshot, true, &failure, &mode, &indexes);
	if (result != TM_Ok)
		elog(ERROR, "row %lld of the stream projection was changed by another", (long long) sum->key.stream);
	if (atp_compat_update_needs_indexes(indexes))
		atp_relation_index_insert(writing->projection, slot);
	remember_place(&sum->key, &slot->tts_tid);
	ExecClearTuple(slot);
}

static void
open_stream(Writing *writing, Snapshot snapshot)
{
	writing->stream = table_open(atp_relation_oid(ATP_REL_STREAM), AccessShareLock);
	writing->stream_index = index_open(atp_relation_oid(ATP_REL_STREAM_PK), AccessShareLock);
	writing->head_by_key = atp_compat_index_beginscan(writing->stream, writing->stream_index, snapshot, 2);
	writing->head = table_slot_create(writing->stream, NULL);
}

/* The row of a stream that has none. */
static void
add_fresh(Writing *writing, Snapshot snapshot, const StreamSum *sum)
{
	Datum	   *values;
	bool	   *nulls;

	if (writing->stream == NULL)
		open_stream(writing, snapshot);
	if (atp_bulk_is_full(writing->fresh))
		atp_bulk_write(writing->fresh);
	atp_bulk_add(writing->fresh, &values, &nulls);
	memset(nulls, 0, sizeof(bool) * COLUMNS);
	values[STREAM] = Int64GetDatum(sum->key.stream);
	values[TENANT] = Int32GetDatum(sum->key.tenant);
	nulls[CATEGORY] = !fetch_by_key(writing->head_by_key, &sum->key, writing->head);
	if (!nulls[CATEGORY])
	{
		text	   *name = DatumGetTextPP(writing->head->tts_values[STREAM_TABLE_NAME - 1]);
		const char *hyphen = memchr(VARDATA_ANY(name), '-', VARSIZE_ANY_EXHDR(name));
		int			size = hyphen == NULL ? (int) VARSIZE_ANY_EXHDR(name) : (int) (hyphen - VARDATA_ANY(name));

		values[CATEGORY] = PointerGetDatum(cstring_to_text_with_len(VARDATA_ANY(name), size));
	}
	values[EVENT_COUNT] = Int64GetDatum(sum->event_count);
	values[VERSION] = Int64GetDatum(sum->version);
	values[FIRST_OCCURRED_AT] = TimestampTzGetDatum(sum->first_occurred_at);
	values[LAST_OCCURRED_AT] = TimestampTzGetDatum(sum->last_occurred_at);
	values[FIRST_POSITION] = Int64GetDatum(sum->first_position);
	values[LAST_POSITION] = Int64GetDatum(sum->last_position);
}

static void
end_writing(Writing *writing)
{
	atp_bulk_end(writing->fresh);
	index_endscan(writing->by_key);
	ExecDropSingleTupleTableSlot(writing->old);
	ExecDropSingleTupleTableSlot(writing->updated);
	index_close(writing->index, NoLock);
	if (writing->stream == NULL)
		return;
	index_endscan(writing->head_by_key);
	ExecDropSingleTupleTableSlot(writing->head);
	index_close(writing->stream_index, NoLock);
	table_close(writing->stream, NoLock);
}

/* Writes the sums in the order of their keys, which is that of the rows, nearly. */
static void
write_sums(AtpStreams *streams, StreamSum **sums, long count)
{
	Writing		writing = {.projection = streams->relation};

	writing.blocks = RelationGetNumberOfBlocks(writing.projection);
	writing.index = index_open(atp_relation_oid(ATP_REL_EVENT_STREAM_PROJECTION_PK), AccessShareLock);
	writing.by_key = atp_compat_index_beginscan(writing.projection, writing.index, SnapshotSelf, 2);
	writing.old = table_slot_create(writing.projection, NULL);
	writing.updated = MakeSingleTupleTableSlot(RelationGetDescr(writing.projection), &TTSOpsVirtual);
	writing.fresh = atp_bulk_begin(writing.projection);
	for (long i = 0; i < count; i++)
	{
		if (fetch_by_place(&writing, &sums[i]->key) || fetch_by_key(writing.by_key, &sums[i]->key, writing.old))
			update_stream(&writing, sums[i]);
		else
			add_fresh(&writing, streams->snapshot, sums[i]);
		CHECK_FOR_INTERRUPTS();
	}
	end_writing(&writing);
}

static void
begin_sums(AtpStreams *streams)
{
	HASHCTL		control = {.keysize = sizeof(StreamKey), .entrysize = sizeof(StreamSum), .hcxt = streams->memory};

	streams->sums = hash_create("atp stream projection", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static int
compare_sums(const void *a, const void *b)
{
	const StreamSum *x = *(StreamSum *const *) a;
	const StreamSum *y = *(StreamSum *const *) b;

	return (x->key.stream > y->key.stream) - (x->key.stream < y->key.stream);
}

static void
write_streams(AtpStreams *streams)
{
	MemoryContext work = AllocSetContextCreate(streams->memory, "atp stream projection rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(work);
	long		count = hash_get_num_entries(streams->sums);
	StreamSum **sums = palloc_array(StreamSum *, count + 1);
	HASH_SEQ_STATUS walk;
	StreamSum  *sum;
	long		n = 0;

	CommandCounterIncrement();	/* the rows may have been written by the current command */
	hash_seq_init(&walk, streams->sums);
	while ((sum = hash_seq_search(&walk)) != NULL)
		sums[n++] = sum;
	qsort(sums, n, sizeof(StreamSum *), compare_sums);
	write_sums(streams, sums, n);
	hash_destroy(streams->sums);
	streams->sums = NULL;
	MemoryContextSwitchTo(before);
	MemoryContextDelete(work);
}

/* ==== For callers ==== */

AtpStreams *
atp_streams_begin(Snapshot snapshot)
{
	AtpStreams *streams = palloc0_object(AtpStreams);

	streams->relation = table_open(atp_relation_oid(ATP_REL_EVENT_STREAM_PROJECTION), RowExclusiveLock);
	streams->memory = CurrentMemoryContext;
	streams->snapshot = snapshot;
	begin_sums(streams);
	return streams;
}

void
atp_streams_add(AtpStreams *streams, int64 log_position, TupleTableSlot *event)
{
	const Datum *values = event->tts_values;
	StreamKey	key = {DatumGetInt64(values[ATP_EVENT_STREAM - 1]), DatumGetInt32(values[ATP_EVENT_TENANT - 1]), 0};
	TimestampTz occurred_at = DatumGetTimestampTz(values[ATP_EVENT_OCCURRED_AT - 1]);
	bool		found;
	StreamSum  *sum = hash_search(streams->sums, &key, HASH_ENTER, &found);

	if (!found)
	{
		sum->event_count = 0;
		sum->first_occurred_at = sum->last_occurred_at = occurred_at;
		sum->first_position = log_position;
	}
	sum->event_count++;
	sum->version = DatumGetInt64(values[ATP_EVENT_STREAM_VERSION - 1]);
	sum->first_occurred_at = Min(sum->first_occurred_at, occurred_at);
	sum->last_occurred_at = Max(sum->last_occurred_at, occurred_at);
	sum->last_position = log_position;
	if (hash_get_num_entries(streams->sums) >= STREAMS_MAX)
	{
		write_streams(streams);
		begin_sums(streams);
	}
}

void
atp_streams_end(AtpStreams *streams)
{
	write_streams(streams);
	table_close(streams->relation, NoLock);
}

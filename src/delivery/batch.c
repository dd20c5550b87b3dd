/* The events of a batch; see batch.h. */
#include "delivery/batch.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_am_d.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "utils/rel.h"

#include "log/fetch.h"
#include "stream/partition.h"

#define CACHE_LINE 64
#define LINES_MAX 16			/* of a row that are asked for; the processor goes on by itself */

struct AtpBatch
{
	AtpFeed    *feed;
	Snapshot	snapshot;
	const char *rows;
	Size		stride;
	int			count;
	AtpFetchPlace *places;
	Relation	leaf;			/* the partition used last */
	TupleTableSlot *slot;
	Buffer		ahead;			/* the page of the next event, pinned */
};

static const AtpLogRow *
row_of(const AtpBatch *batch, int i)
{
	return (const AtpLogRow *) (batch->rows + i * batch->stride);
}

AtpBatch *
atp_batch_begin(AtpFeed *feed, const AtpLogRow *rows, Size stride, int count, Snapshot snapshot)
{
	AtpBatch   *batch = palloc0(sizeof(AtpBatch));
	AtpFetchKey *keys = palloc_array(AtpFetchKey, count);

	batch->feed = feed;
	batch->snapshot = snapshot;
	batch->rows = (const char *) rows;
	batch->stride = stride;
	batch->count = count;
	batch->places = palloc_array(AtpFetchPlace, count);
	for (int i = 0; i < count; i++)
	{
		keys[i].event_id = row_of(batch, i)->event_id;
		keys[i].tenant = row_of(batch, i)->tenant;
		keys[i].index = i;
	}
	atp_fetch_places(keys, count, snapshot, batch->places);
	pfree(keys);
	return batch;
}

static void
drop_ahead(AtpBatch *batch)
{
	if (BufferIsValid(batch->ahead))
		ReleaseBuffer(batch->ahead);
	batch->ahead = InvalidBuffer;
}

static void
close_leaf(AtpBatch *batch)
{
	drop_ahead(batch);
	if (batch->leaf == NULL)
		return;
	ExecDropSingleTupleTableSlot(batch->slot);
	table_close(batch->leaf, NoLock);
	batch->leaf = NULL;
}

void
atp_batch_end(AtpBatch *batch)
{
	close_leaf(batch);
	pfree(batch->places);
	pfree(batch);
}

static void
open_leaf(AtpBatch *batch, Oid leaf)
{
	if (batch->leaf != NULL && RelationGetRelid(batch->leaf) == leaf)
		return;
	close_leaf(batch);
	batch->leaf = table_open(leaf, NoLock);
	batch->slot = table_slot_create(batch->leaf, NULL);
	Assert(batch->leaf->rd_rel->relam == HEAP_TABLE_AM_OID && TTS_IS_BUFFERTUPLE(batch->slot));
}

/*
 * Pins the page of a place and asks for the row. The line pointer is read without a lock: it is a hint, and wherever it points is in
 * the page.
 */
static void
look_ahead(AtpBatch *batch, const AtpFetchPlace *place)
{
	BlockNumber block = ItemPointerGetBlockNumber(&place->tid);
	OffsetNumber offset = ItemPointerGetOffsetNumber(&place->tid);
	Buffer		current = ((BufferHeapTupleTableSlot *) batch->slot)->buffer;
	Page		page;

	if (place->leaf != RelationGetRelid(batch->leaf) || place->doubtful)
		return;
	if (BufferGetBlockNumber(current) == block)
	{
		IncrBufferRefCount(current);
		batch->ahead = current;
	}
	else
		batch->ahead = ReadBuffer(batch->leaf, block);
	page = BufferGetPage(batch->ahead);
	if (offset <= PageGetMaxOffsetNumber(page))
	{
		ItemId		line = PageGetItemId(page, offset);
		const char *from = (const char *) page + ItemIdGetOffset(line) % BLCKSZ;
		int			size = Min(ItemIdGetLength(line), CACHE_LINE * LINES_MAX);

		for (int at = 0; at < size; at += CACHE_LINE)
			__builtin_prefetch(from + at);
	}
}

/* The version at a place that the snapshot sees, into the slot. */
static bool
read_place(AtpBatch *batch, const AtpFetchPlace *place, const AtpLogRow *row)
{
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) batch->slot)->base.tupdata;
	ItemPointerData tid = place->tid;
	BlockNumber block = ItemPointerGetBlockNumber(&tid);
	Buffer		buffer = batch->ahead;
	bool		found;
	bool		null;

	batch->ahead = InvalidBuffer;
	if (BufferIsValid(buffer) && BufferGetBlockNumber(buffer) != block)
		buffer = ReleaseAndReadBuffer(buffer, batch->leaf, block);
	else if (!BufferIsValid(buffer))
		buffer = ReadBuffer(batch->leaf, block);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&tid, batch->leaf, buffer, batch->snapshot, tuple, NULL, true);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (!found)
	{
		ReleaseBuffer(buffer);
		return false;
	}
	ExecStorePinnedBufferHeapTuple(tuple, batch->slot, buffer);
	return memcmp(DatumGetUUIDP(slot_getattr(batch->slot, ATP_EVENT_ID, &null))->data, row->event_id.data, UUID_LEN) == 0;
}

bool
atp_batch_fetch(AtpBatch *batch, int i, AtpFeedEvent *event)
{
	const AtpFetchPlace *place = &batch->places[i];

	if (!OidIsValid(place->leaf))
		return false;
	if (place->doubtful)
		return atp_feed_fetch(batch->feed, row_of(batch, i), event);
	open_leaf(batch, place->leaf);
	if (!read_place(batch, place, row_of(batch, i)))
		return false;
	if (i + 1 < batch->count && OidIsValid(place[1].leaf))
		look_ahead(batch, &place[1]);
	atp_feed_read_event(batch->slot, event);
	return true;
}

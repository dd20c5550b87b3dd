/* The log as consumers read it; see feed.h. */
#include "delivery/feed.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/sysattr.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/relation.h"
#include "record/envelope.h"
#include "stream/partition.h"

#define NAMES_MAX 65536			/* stream names that a backend remembers: some 5 MB */

enum							/* columns of atp_internal.log */
{
	COLUMN_LOG_POSITION = 1, COLUMN_EVENT_ID, COLUMN_STREAM, COLUMN_PUBLISHED_AT, COLUMN_TENANT, COLUMN_EVENT_TYPE
};

#define SKIP_MAX 24				/* rows of a leaf passed over in search of the next event */
#define LUCK_MAX 64
#define LUCK_MIN (-8)			/* from here on only the index is asked */
#define STREAM_COLUMN_NAME 11	/* of atp_internal.stream */

typedef struct Lookup			/* a table, an index of it and a scan that is started over for each key */
{
	Relation	relation;
	Relation	index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} Lookup;

struct AtpFeed
{
	Snapshot	snapshot;
	Lookup		log;			/* by position */
	TableScanDesc pages;		/* the log in physical order, from a row that the index found; NULL until it is used */
	TupleTableSlot *page_slot;
	bool		sought;			/* the next row has to be found by the index */
	int64		last;			/* position of the last row returned, or sought */
	Lookup		by_event;		/* the log by event id; opened at first use */
	Lookup		stream;			/* streams by key; opened at first use */
	Lookup		leaf;			/* the partition used last */
	AtpPartitionRange leaf_range;	/* the events that it holds */
	TableScanDesc leaf_pages;	/* the same in physical order, from the event fetched last; NULL until it is used */
	TupleTableSlot *leaf_slot;
	bool		leaf_ahead;		/* leaf_slot has a row that was looked at and is still ahead */
	int			leaf_luck;		/* grows with every event found there, falls with every one that was not */
};

typedef struct StreamName		/* an entry of the cache of names */
{
	int64		stream;
	text	   *name;			/* with a terminator behind it */
	char		status;
} StreamName;

#define SH_PREFIX names
#define SH_ELEMENT_TYPE StreamName
#define SH_KEY_TYPE int64
#define SH_KEY stream
#define SH_HASH_KEY(table, key) ((uint32) atp_feed_spread((uint64) (key)))
#define SH_EQUAL(table, a, b) ((a) == (b))
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

static names_hash *names;
static MemoryContext names_memory;
static uint64 names_generation;

static void
open_lookup(Lookup *lookup, Relation relation, Oid index, Snapshot snapshot, int keys)
{
	lookup->relation = relation;
	lookup->index = index_open(index, AccessShareLock);
	lookup->slot = table_slot_create(relation, NULL);
	lookup->scan = atp_compat_index_beginscan(relation, lookup->index, snapshot, keys);
}

static void
close_lookup(Lookup *lookup)
{
	if (lookup->relation == NULL)
		return;
	index_endscan(lookup->scan);
	ExecDropSingleTupleTableSlot(lookup->slot);
	index_close(lookup->index, NoLock);
	table_close(lookup->relation, NoLock);
	lookup->relation = NULL;
}

static void
close_leaf_pages(AtpFeed *feed)
{
	if (feed->leaf_pages == NULL)
		return;
	table_endscan(feed->leaf_pages);
	ExecDropSingleTupleTableSlot(feed->leaf_slot);
	feed->leaf_pages = NULL;
}

AtpFeed *
atp_feed_begin(Snapshot snapshot)
{
	AtpFeed    *feed = palloc0(sizeof(AtpFeed));

	feed->snapshot = snapshot;
	open_lookup(&feed->log, table_open(atp_relation_oid(ATP_REL_LOG), AccessShareLock), atp_relation_oid(ATP_REL_LOG_PK), snapshot, 1);
	return feed;
}

void
atp_feed_end(AtpFeed *feed)
{
	close_leaf_pages(feed);
	close_lookup(&feed->leaf);
	close_lookup(&feed->by_event);
	close_lookup(&feed->stream);
	if (feed->pages != NULL)
	{
		table_endscan(feed->pages);
		ExecDropSingleTupleTableSlot(feed->page_slot);
	}
	close_lookup(&feed->log);
	pfree(feed);
}

void
atp_feed_seek(AtpFeed *feed, int64 after)
{
	feed->last = after;
	feed->sought = true;
}

static void
read_log_row(TupleTableSlot *slot, AtpLogRow *row)
{
	slot_getsomeattrs(slot, COLUMN_EVENT_TYPE);
	row->log_position = DatumGetInt64(slot->tts_values[COLUMN_LOG_POSITION - 1]);
	row->event_id = *DatumGetUUIDP(slot->tts_values[COLUMN_EVENT_ID - 1]);
	row->stream = DatumGetInt64(slot->tts_values[COLUMN_STREAM - 1]);
	row->published_at = DatumGetTimestampTz(slot->tts_values[COLUMN_PUBLISHED_AT - 1]);
	row->tenant = DatumGetInt32(slot->tts_values[COLUMN_TENANT - 1]);
	row->event_type = DatumGetInt32(slot->tts_values[COLUMN_EVENT_TYPE - 1]);
}

/* Asks the index for the first row after feed->last. */
static bool
find_next(AtpFeed *feed, AtpLogRow *row)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTGreaterStrategyNumber, F_INT8GT, Int64GetDatum(feed->last));
	index_rescan(feed->log.scan, &key, 1, NULL, 0);
	if (!index_getnext_slot(feed->log.scan, ForwardScanDirection, feed->log.slot))
		return false;
	read_log_row(feed->log.slot, row);
	return true;
}

/* Puts the physical scan on the row after the one that the index found last. */
static void
start_pages(AtpFeed *feed)
{
	ItemPointerData from = feed->log.slot->tts_tid;
	ItemPointerData until;

	ItemPointerSet(&until, MaxBlockNumber, MaxOffsetNumber);
	ItemPointerSet(&from, ItemPointerGetBlockNumber(&from), ItemPointerGetOffsetNumber(&from) + 1);
	if (feed->pages == NULL)
	{
		feed->page_slot = table_slot_create(feed->log.relation, NULL);
		feed->pages = table_beginscan_tidrange(feed->log.relation, feed->snapshot, &from, &until);
	}
	else
		table_rescan_tidrange(feed->pages, &from, &until);
}

/*
 * The log is insert-only and its positions have no gaps, so the row that follows nearly always follows physically, too. Its position
 * says whether it does; whenever it does not, the index is asked, and what the index says counts.
 */
bool
atp_feed_next(AtpFeed *feed, AtpLogRow *row)
{
	CHECK_FOR_INTERRUPTS();
	if (!feed->sought)
	{
		while (table_scan_getnextslot_tidrange(feed->pages, ForwardScanDirection, feed->page_slot))
		{
			read_log_row(feed->page_slot, row);
			if (row->log_position <= feed->last)
				continue;
			if (row->log_position > feed->last + 1)
				break;
			feed->last++;
			return true;
		}
	}
	if (!find_next(feed, row))
	{
		feed->sought = true;
		return false;
	}
	feed->last = row->log_position;
	feed->sought = false;
	start_pages(feed);
	return true;
}

/* Finds a row by an index over event_id and tenant, into lookup->slot. */
static bool
look_up(Lookup *lookup, const pg_uuid_t *event_id, int32 tenant)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(event_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(tenant));
	index_rescan(lookup->scan, keys, 2, NULL, 0);
	return index_getnext_slot(lookup->scan, ForwardScanDirection, lookup->slot);
}

bool
atp_feed_find(AtpFeed *feed, const pg_uuid_t *event_id, int32 tenant, AtpLogRow *row)
{
	Lookup	   *lookup = &feed->by_event;

	if (lookup->relation == NULL)
		open_lookup(lookup, table_open(atp_relation_oid(ATP_REL_LOG), AccessShareLock), atp_relation_oid(ATP_REL_LOG_EVENT_UNIQUE),
					feed->snapshot, 2);
	if (!look_up(lookup, event_id, tenant))
		return false;
	read_log_row(lookup->slot, row);
	return true;
}

int64
atp_feed_head(AtpFeed *feed)
{
	IndexScanDesc scan = atp_compat_index_beginscan(feed->log.relation, feed->log.index, feed->snapshot, 0);
	TupleTableSlot *slot = table_slot_create(feed->log.relation, NULL);
	int64		head = 0;

	index_rescan(scan, NULL, 0, NULL, 0);
	if (index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		slot_getsomeattrs(slot, COLUMN_LOG_POSITION);
		head = DatumGetInt64(slot->tts_values[COLUMN_LOG_POSITION - 1]);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return head;
}

void
atp_feed_visit_placed(AtpFeedVisit visit, void *context)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_LOG), AccessShareLock);
	Relation	index = index_open(atp_relation_oid(ATP_REL_LOG_PK), AccessShareLock);
	IndexScanDesc scan = atp_compat_index_beginscan(relation, index, SnapshotSelf, 0);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	bool		more = true;
	AtpLogRow	row;

	index_rescan(scan, NULL, 0, NULL, 0);
	while (more && index_getnext_slot(scan, BackwardScanDirection, slot))
	{
		bool		null;

		CHECK_FOR_INTERRUPTS();
		if (!TransactionIdIsCurrentTransactionId(DatumGetTransactionId(slot_getsysattr(slot, MinTransactionIdAttributeNumber, &null))))
			break;
		read_log_row(slot, &row);
		more = visit(&row, context);
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, NoLock);
	table_close(relation, NoLock);
}

/* Makes feed->leaf the partition that holds an event id; false: there is none. */
static bool
open_leaf(AtpFeed *feed, const pg_uuid_t *event_id)
{
	AtpPartitionRange range;
	Relation	leaf;

	if (feed->leaf.relation != NULL && atp_partition_contains(&feed->leaf_range, event_id))
		return true;
	leaf = atp_partition_open_to_read(event_id, &range);
	if (leaf == NULL)
		return false;
	close_leaf_pages(feed);
	close_lookup(&feed->leaf);
	feed->leaf_luck = 0;
	feed->leaf_range = range;
	open_lookup(&feed->leaf, leaf, atp_relation_find_index(leaf, ATP_EVENT_ID, true), feed->snapshot, 2);
	return true;
}

/*
 * A leaf fills in the order of writing, which is nearly that of the log: the next event usually stands a few rows further on. NULL: it
 * does not, or this leaf was filled by many writers at once and it is not worth looking.
 */
static TupleTableSlot *
find_physically(AtpFeed *feed, const pg_uuid_t *event_id, int32 tenant)
{
	if (feed->leaf_pages == NULL || feed->leaf_luck <= LUCK_MIN)
		return NULL;
	for (int i = 0; i < SKIP_MAX; i++)
	{
		bool		null;
		int			order;

		if (!feed->leaf_ahead && !table_scan_getnextslot_tidrange(feed->leaf_pages, ForwardScanDirection, feed->leaf_slot))
			break;
		feed->leaf_ahead = false;
		order = memcmp(DatumGetUUIDP(slot_getattr(feed->leaf_slot, ATP_EVENT_ID, &null))->data, event_id->data, UUID_LEN);
		if (order == 0 && DatumGetInt32(slot_getattr(feed->leaf_slot, ATP_EVENT_TENANT, &null)) == tenant)
		{
			feed->leaf_luck = Min(feed->leaf_luck + 1, LUCK_MAX);
			return feed->leaf_slot;
		}
		feed->leaf_ahead = order > 0;
		if (order > 0)
			break;
	}
	feed->leaf_luck--;
	return NULL;
}

static TupleTableSlot *
find_by_index(AtpFeed *feed, const pg_uuid_t *event_id, int32 tenant)
{
	TupleTableSlot *slot = feed->leaf.slot;
	ItemPointerData from;
	ItemPointerData until;

	if (!look_up(&feed->leaf, event_id, tenant))
		return NULL;
	if (feed->leaf_luck <= LUCK_MIN)
		return slot;
	ItemPointerSet(&from, ItemPointerGetBlockNumber(&slot->tts_tid), ItemPointerGetOffsetNumber(&slot->tts_tid) + 1);
	ItemPointerSet(&until, MaxBlockNumber, MaxOffsetNumber);
	feed->leaf_ahead = false;
	if (feed->leaf_pages != NULL)
		table_rescan_tidrange(feed->leaf_pages, &from, &until);
	else
	{
		feed->leaf_slot = table_slot_create(feed->leaf.relation, NULL);
		feed->leaf_pages = table_beginscan_tidrange(feed->leaf.relation, feed->snapshot, &from, &until);
	}
	return slot;
}

void
atp_feed_read_event(TupleTableSlot *slot, AtpFeedEvent *event)
{
	slot_getsomeattrs(slot, ATP_EVENT_METADATA);
	event->stream_version = DatumGetInt64(slot->tts_values[ATP_EVENT_STREAM_VERSION - 1]);
	event->occurred_at = DatumGetTimestampTz(slot->tts_values[ATP_EVENT_OCCURRED_AT - 1]);
	event->recorded_at = DatumGetTimestampTz(slot->tts_values[ATP_EVENT_RECORDED_AT - 1]);
	event->schema_version = DatumGetInt32(slot->tts_values[ATP_EVENT_SCHEMA_VERSION - 1]);
	event->payload = slot->tts_values[ATP_EVENT_PAYLOAD - 1];
	event->payload_null = slot->tts_isnull[ATP_EVENT_PAYLOAD - 1];
	event->metadata = slot->tts_values[ATP_EVENT_METADATA - 1];
	event->metadata_null = slot->tts_isnull[ATP_EVENT_METADATA - 1];
}

bool
atp_feed_fetch(AtpFeed *feed, const AtpLogRow *row, AtpFeedEvent *event)
{
	TupleTableSlot *slot;

	if (!open_leaf(feed, &row->event_id))
		return false;
	slot = find_physically(feed, &row->event_id, row->tenant);
	if (slot == NULL)
		slot = find_by_index(feed, &row->event_id, row->tenant);
	if (slot == NULL)
		return false;
	atp_feed_read_event(slot, event);
	return true;
}

/* ---- Names of streams ---- */

/* The name of a stream, if it is remembered. Empties the cache where it may be wrong, or is full. */
static const text *
known_name(int64 stream)
{
	StreamName *entry;

	if (names == NULL || names_generation != atp_relation_generation() || names->members >= NAMES_MAX)
	{
		if (names_memory == NULL)
			names_memory = AllocSetContextCreate(TopMemoryContext, "atp stream names", ALLOCSET_DEFAULT_SIZES);
		names = NULL;
		MemoryContextReset(names_memory);	/* another installation may number its streams anew */
		names = names_create(names_memory, 1024, NULL);
		names_generation = atp_relation_generation();
	}
	entry = names_lookup(names, stream);
	return entry == NULL ? NULL : entry->name;
}

static const text *
remember_name(int64 stream, Datum value)
{
	text	   *name = DatumGetTextPP(value);
	Size		size = VARSIZE_ANY_EXHDR(name);
	text	   *copy = MemoryContextAlloc(names_memory, VARHDRSZ + size + 1);
	bool		found;

	SET_VARSIZE(copy, VARHDRSZ + size);
	memcpy(VARDATA(copy), VARDATA_ANY(name), size);
	VARDATA(copy)[size] = '\0';
	names_insert(names, stream, &found)->name = copy;
	if ((Pointer) name != DatumGetPointer(value))
		pfree(name);
	return copy;
}

/* NULL: there is no such stream. */
static const text *
read_name(int64 stream)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_STREAM), AccessShareLock);
	const text *name = NULL;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		null;

	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream));
	scan = systable_beginscan(relation, atp_relation_oid(ATP_REL_STREAM_PK), true, SnapshotSelf, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		name = remember_name(stream, heap_getattr(tuple, STREAM_COLUMN_NAME, RelationGetDescr(relation), &null));
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return name;
}

/* The same through a look-up that stays open. */
static const text *
look_up_name(AtpFeed *feed, int64 stream)
{
	ScanKeyData key;
	bool		null;

	if (feed->stream.relation == NULL)
		open_lookup(&feed->stream, table_open(atp_relation_oid(ATP_REL_STREAM), AccessShareLock), atp_relation_oid(ATP_REL_STREAM_PK),
					feed->snapshot, 1);
	ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(stream));
	index_rescan(feed->stream.scan, &key, 1, NULL, 0);
	if (!index_getnext_slot(feed->stream.scan, ForwardScanDirection, feed->stream.slot))
		return NULL;
	return remember_name(stream, slot_getattr(feed->stream.slot, STREAM_COLUMN_NAME, &null));
}

const char *
atp_feed_stream_name(int64 stream)
{
	const text *name = known_name(stream);

	if (name == NULL)
		name = read_name(stream);
	return name == NULL ? "" : VARDATA(name);
}

const text *
atp_feed_stream_text(AtpFeed *feed, int64 stream)
{
	const text *name = known_name(stream);

	if (name == NULL)
		name = look_up_name(feed, stream);
	return name == NULL ? cstring_to_text("") : name;
}

/*
 * Finds events by the transaction that wrote them; see window.h.
 *
 * The leaves' indexes on xid are scanned directly, not through a query: a cached plan of a query over growing partitions is made
 * when they are small, and a hundred leaves cost a fifth of what the executor takes to start. The scan covers the range of
 * ids between the two marks; an id that was in progress at the first mark and lies just under the range is reached by widening the
 * range, one far below by a probe of its own, so that a writer left open for a day does not make each tick read the day.
 * What the scan turns up is then judged by the marks themselves.
 */
#include "log/window.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_am.h"
#include "executor/tuptable.h"
#include "lib/stringinfo.h"
#include "log/log.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "pg/compat.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#define NEAR 64					/* an id this close under the range is reached by widening it */

typedef struct Collection
{
	const AtpMark *from;
	const AtpMark *upto;
	int64		after_seq;
	uint64		low;			/* the range of ids that is scanned */
	uint64		high;
	uint64	   *far;			/* ids probed one by one */
	int			far_count;
	AtpEventRow *rows;
	int			count;
	int			size;			/* allocated */
	int			room;			/* wanted */
	bool		dropped;		/* rows beyond `room` were thrown away */
} Collection;

typedef struct Columns			/* of a leaf */
{
	AttrNumber	event_id;
	AttrNumber	stream;
	AttrNumber	xid;
	AttrNumber	seq;
	AttrNumber	tenant;
	AttrNumber	event_type;
} Columns;

#define ST_SORT sort_rows
#define ST_ELEMENT_TYPE AtpEventRow
#define ST_COMPARE(a, b) ((a)->seq < (b)->seq ? -1 : (a)->seq > (b)->seq)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

#define ST_SORT sort_ids
#define ST_ELEMENT_TYPE uint64
#define ST_COMPARE(a, b) (*(a) < *(b) ? -1 : *(a) > *(b))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* ==== Marks ==== */

/* The 64-bit form of an id that is not ahead of `next`. */
static uint64
widen(TransactionId xid, FullTransactionId next)
{
	uint32		epoch = EpochFromFullTransactionId(next);

	if (xid > XidFromFullTransactionId(next))
		epoch--;
	return ((uint64) epoch << 32) | xid;
}

AtpMark *
atp_mark_take(Snapshot snapshot)
{
	AtpMark    *mark = palloc(sizeof(AtpMark));
	FullTransactionId next = ReadNextFullTransactionId();
	uint64		own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());

	mark->xmin = widen(snapshot->xmin, next);
	mark->xmax = widen(snapshot->xmax, next);
	mark->xip = palloc((snapshot->xcnt + 1) * sizeof(uint64));
	mark->count = 0;
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		mark->xip[mark->count++] = widen(snapshot->xip[i], next);
	if (own != 0 && own < mark->xmax)
	{
		mark->xip[mark->count++] = own;
		mark->xmin = Min(mark->xmin, own);
	}
	sort_ids(mark->xip, mark->count);
	return mark;
}

AtpMark *
atp_mark_zero(void)
{
	AtpMark    *mark = palloc0(sizeof(AtpMark));

	mark->xmin = mark->xmax = FirstNormalTransactionId;
	return mark;
}

char *
atp_mark_to_text(const AtpMark *mark)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfo(&text, UINT64_FORMAT ":" UINT64_FORMAT ":", mark->xmin, mark->xmax);
	for (int i = 0; i < mark->count; i++)
		appendStringInfo(&text, i == 0 ? UINT64_FORMAT : "," UINT64_FORMAT, mark->xip[i]);
	return text.data;
}

AtpMark *
atp_mark_from_text(const char *text)
{
	AtpMark    *mark = palloc0(sizeof(AtpMark));
	int			room = 1;
	char	   *at;

	for (const char *c = text; *c != '\0'; c++)
		room += *c == ',';
	mark->xip = palloc(room * sizeof(uint64));
	mark->xmin = strtou64(text, &at, 10);
	mark->xmax = strtou64(at + 1, &at, 10);
	while (*at != '\0' && at[1] != '\0')
		mark->xip[mark->count++] = strtou64(at + 1, &at, 10);
	return mark;
}

bool
atp_mark_includes(const AtpMark *mark, uint64 xid)
{
	int			low = 0;
	int			high = mark->count;

	if (xid < mark->xmin)
		return true;
	if (xid >= mark->xmax)
		return false;
	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (mark->xip[middle] == xid)
			return false;
		if (mark->xip[middle] < xid)
			low = middle + 1;
		else
			high = middle;
	}
	return true;
}

/* ==== Rows ==== */

/* Sets the range that is scanned, and the ids that are probed one by one. */
static void
plan_scan(Collection *c)
{
	c->low = c->from->xmax;
	c->high = c->upto->xmax;
	c->far = palloc((c->from->count + 1) * sizeof(uint64));
	c->far_count = 0;
	for (int i = c->from->count - 1; i >= 0; i--)
	{
		uint64		xid = c->from->xip[i];

		if (!atp_mark_includes(c->upto, xid))
			continue;
		if (c->low - xid <= NEAR)
			c->low = xid;
		else
			c->far[c->far_count++] = xid;
	}
}

/* Keeps the `room` lowest of the rows collected so far. */
static void
shrink(Collection *c)
{
	sort_rows(c->rows, c->count);
	if (c->count > c->room)
	{
		c->count = c->room;
		c->dropped = true;
	}
}

static void
add_row(Collection *c, TupleTableSlot *slot, const Columns *at)
{
	bool		isnull;
	uint64		xid = U64FromFullTransactionId(DatumGetFullTransactionId(slot_getattr(slot, at->xid, &isnull)));
	int64		seq = DatumGetInt64(slot_getattr(slot, at->seq, &isnull));
	AtpEventRow *row;

	if (seq <= c->after_seq || atp_mark_includes(c->from, xid) || !atp_mark_includes(c->upto, xid))
		return;
	if (c->count == c->size)
	{
		if (c->size < 2 * c->room)
		{
			c->size = Min(c->size * 2, 2 * c->room);
			c->rows = repalloc_huge(c->rows, c->size * sizeof(AtpEventRow));
		}
		else
			shrink(c);
	}
	row = &c->rows[c->count++];
	row->seq = seq;
	row->event_id = *DatumGetUUIDP(slot_getattr(slot, at->event_id, &isnull));
	row->stream = DatumGetInt64(slot_getattr(slot, at->stream, &isnull));
	row->tenant = DatumGetInt32(slot_getattr(slot, at->tenant, &isnull));
	row->event_type = DatumGetInt32(slot_getattr(slot, at->event_type, &isnull));
}

static AttrNumber
column(Relation leaf, const char *name)
{
	AttrNumber	number = get_attnum(RelationGetRelid(leaf), name);

	if (number == InvalidAttrNumber)
		elog(ERROR, "partition %s has no column %s", RelationGetRelationName(leaf), name);
	return number;
}

/* Opens the leaf's plain B-tree index that begins with a column. */
static Relation
open_index(Relation leaf, AttrNumber attribute)
{
	List	   *indexes = RelationGetIndexList(leaf);
	ListCell   *cell;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (index->rd_index->indkey.values[0] == attribute && index->rd_rel->relam == BTREE_AM_OID &&
			index->rd_index->indisvalid && heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL))
			return index;
		index_close(index, AccessShareLock);
	}
	ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
			errmsg("partition %s lacks its index on xid", RelationGetRelationName(leaf)),
			errhint("CREATE INDEX ON atp_internal.%s (xid).", RelationGetRelationName(leaf)));
}

static void
scan_keys(Collection *c, IndexScanDesc scan, ScanKey keys, int count, TupleTableSlot *slot, const Columns *at)
{
	index_rescan(scan, keys, count, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		add_row(c, slot, at);
	}
}

static void
scan_leaf(Collection *c, Relation leaf, Snapshot snapshot)
{
	Columns		at = {column(leaf, "event_id"), column(leaf, "stream"), column(leaf, "xid"),
	column(leaf, "seq"), column(leaf, "tenant"), column(leaf, "event_type")};
	Relation	index = open_index(leaf, at.xid);
	TupleTableSlot *slot = table_slot_create(leaf, NULL);
	IndexScanDesc scan = index_beginscan_compat(leaf, index, snapshot, 2, 0);
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE, FullTransactionIdGetDatum(FullTransactionIdFromU64(c->low)));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_XID8LT, FullTransactionIdGetDatum(FullTransactionIdFromU64(c->high)));
	scan_keys(c, scan, keys, 2, slot, &at);
	index_endscan(scan);
	if (c->far_count > 0)
	{
		scan = index_beginscan_compat(leaf, index, snapshot, 1, 0);
		for (int i = 0; i < c->far_count; i++)
		{
			ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_XID8EQ, FullTransactionIdGetDatum(FullTransactionIdFromU64(c->far[i])));
			scan_keys(c, scan, keys, 1, slot, &at);
		}
		index_endscan(scan);
	}
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
}

AtpEventRow *
atp_window_collect(const AtpMark *from, const AtpMark *upto, int64 after_seq, int room,
				   Snapshot snapshot, int *count, bool *complete)
{
	Collection	c = {.from = from, .upto = upto, .after_seq = after_seq, .room = room, .size = Min(256, 2 * room)};
	Relation	event = table_open(atp_log_table("event"), AccessShareLock);
	PartitionDesc leaves = RelationGetPartitionDesc(event, true);

	plan_scan(&c);
	c.rows = palloc(c.size * sizeof(AtpEventRow));
	for (int i = 0; i < leaves->nparts; i++)
	{
		Relation	leaf = table_open(leaves->oids[i], AccessShareLock);

		scan_leaf(&c, leaf, snapshot);
		table_close(leaf, AccessShareLock);
	}
	table_close(event, AccessShareLock);
	shrink(&c);
	*count = c.count;
	*complete = !c.dropped;
	return c.rows;
}

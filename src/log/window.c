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
#include "catalog/pg_inherits.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

#include "pg/compat.h"
#include "pg/relation.h"
#include "stream/partition.h"

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

static void
set_bounds(AtpMark *mark)
{
	sort_ids(mark->xip, mark->count);
	mark->xmin = mark->count > 0 ? mark->xip[0] : mark->xmax;
}

AtpMark *
atp_mark_take(Snapshot snapshot)
{
	AtpMark    *mark = palloc_object(AtpMark);
	FullTransactionId next = ReadNextFullTransactionId();
	uint64		own = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());

	mark->xmax = widen(snapshot->xmax, next);
	mark->xip = palloc_array(uint64, snapshot->xcnt + 1);
	mark->count = 0;
	for (uint32 i = 0; i < snapshot->xcnt; i++)
		mark->xip[mark->count++] = widen(snapshot->xip[i], next);
	if (own != 0 && own < mark->xmax)
		mark->xip[mark->count++] = own;
	set_bounds(mark);
	return mark;
}

AtpMark *
atp_mark_zero(void)
{
	AtpMark    *mark = palloc0_object(AtpMark);

	mark->xmin = mark->xmax = FirstNormalTransactionId;
	return mark;
}

AtpMark *
atp_mark_copy(const AtpMark *mark)
{
	AtpMark    *copy = palloc_object(AtpMark);

	*copy = *mark;
	copy->xip = palloc_array(uint64, mark->count + 1);
	if (mark->count > 0)
		memcpy(copy->xip, mark->xip, mark->count * sizeof(uint64));
	return copy;
}

void
atp_mark_append(StringInfo text, const AtpMark *mark)
{
	appendStringInfo(text, UINT64_FORMAT, mark->xmax);
	for (int i = 0; i < mark->count; i++)
		appendStringInfo(text, "," UINT64_FORMAT, mark->xmax - mark->xip[i]);
}

AtpMark *
atp_mark_parse(const char **text)
{
	AtpMark    *mark = palloc0_object(AtpMark);
	char	   *at;
	int			room = 1;

	for (const char *c = *text; *c != '\0'; c++)
		room += *c == ',';
	mark->xip = palloc_array(uint64, room);
	mark->xmax = strtou64(*text, &at, 10);
	if (at == *text)
		return NULL;
	while (*at == ',')
	{
		uint64		below = strtou64(at + 1, &at, 10);

		if (below == 0 || below > mark->xmax)
			return NULL;
		mark->xip[mark->count++] = mark->xmax - below;
	}
	set_bounds(mark);
	*text = at;
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
add_row(Collection *c, TupleTableSlot *slot)
{
	bool		isnull;
	uint64		xid = U64FromFullTransactionId(DatumGetFullTransactionId(slot_getattr(slot, ATP_EVENT_XID, &isnull)));
	int64		seq = DatumGetInt64(slot_getattr(slot, ATP_EVENT_SEQ, &isnull));
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
	row->event_id = *DatumGetUUIDP(slot_getattr(slot, ATP_EVENT_ID, &isnull));
	row->stream = DatumGetInt64(slot_getattr(slot, ATP_EVENT_STREAM, &isnull));
	row->tenant = DatumGetInt32(slot_getattr(slot, ATP_EVENT_TENANT, &isnull));
	row->event_type = DatumGetInt32(slot_getattr(slot, ATP_EVENT_EVENT_TYPE, &isnull));
	row->leaf = slot->tts_tableOid;
	row->place = slot->tts_tid;
}

static void
scan_keys(Collection *c, IndexScanDesc scan, ScanKey keys, int count, TupleTableSlot *slot)
{
	index_rescan(scan, keys, count, NULL, 0);
	while (index_getnext_slot(scan, ForwardScanDirection, slot))
	{
		CHECK_FOR_INTERRUPTS();
		add_row(c, slot);
	}
}

static Relation
open_xid_index(Relation leaf)
{
	Oid			index = atp_relation_find_index(leaf, ATP_EVENT_XID, false);

	if (!OidIsValid(index))
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT),
				errmsg("partition \"%s\" lacks its index on xid", RelationGetRelationName(leaf)),
				errhint("CREATE INDEX ON atp_internal.%s (xid).", RelationGetRelationName(leaf)));
	return index_open(index, AccessShareLock);
}

static void
scan_leaf(Collection *c, Relation leaf, Snapshot snapshot)
{
	Relation	index = open_xid_index(leaf);
	TupleTableSlot *slot = table_slot_create(leaf, NULL);
	IndexScanDesc scan = atp_compat_index_beginscan(leaf, index, snapshot, 2);
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTGreaterEqualStrategyNumber, F_XID8GE, FullTransactionIdGetDatum(FullTransactionIdFromU64(c->low)));
	ScanKeyInit(&keys[1], 1, BTLessStrategyNumber, F_XID8LT, FullTransactionIdGetDatum(FullTransactionIdFromU64(c->high)));
	scan_keys(c, scan, keys, 2, slot);
	index_endscan(scan);
	if (c->far_count > 0)
	{
		scan = atp_compat_index_beginscan(leaf, index, snapshot, 1);
		for (int i = 0; i < c->far_count; i++)
		{
			ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_XID8EQ, FullTransactionIdGetDatum(FullTransactionIdFromU64(c->far[i])));
			scan_keys(c, scan, keys, 1, slot);
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
	ListCell   *cell;

	plan_scan(&c);
	c.rows = palloc(c.size * sizeof(AtpEventRow));
	LockRelationOid(atp_relation_oid(ATP_REL_EVENT), AccessShareLock);
	/* from the catalog: a commit is seen, and wakes the worker, before its invalidation of the cached leaves is sent */
	foreach(cell, find_inheritance_children(atp_relation_oid(ATP_REL_EVENT), AccessShareLock))
	{
		Relation	leaf = table_open(lfirst_oid(cell), NoLock);

		scan_leaf(&c, leaf, snapshot);
		table_close(leaf, AccessShareLock);
	}
	UnlockRelationOid(atp_relation_oid(ATP_REL_EVENT), AccessShareLock);
	shrink(&c);
	*count = c.count;
	*complete = !c.dropped;
	return c.rows;
}

/* The events of a batch of log rows; see fetch.h. */
#include "log/fetch.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "pg/compat.h"
#include "pg/relation.h"
#include "stream/partition.h"

#define SKIPS_MAX 256			/* entries passed over in a row before the index is descended anew: those of a page were read together */

typedef struct Merge			/* of sorted keys with the index of one leaf */
{
	AtpFetchKey *keys;
	int			count;
	int			next;			/* the first key not yet answered */
	IndexScanDesc scan;
	TupleTableSlot *slot;
	AtpFetchRow take;
	void	   *context;
	MemoryContext memory;
	AtpFetchPlace *places;		/* NULL, or wanted instead of the rows */
	Oid			leaf;
} Merge;

static int
compare(const pg_uuid_t *a, int32 a_tenant, const AtpFetchKey *b)
{
	int			order = memcmp(a->data, b->event_id.data, UUID_LEN);

	return order != 0 ? order : (a_tenant > b->tenant) - (a_tenant < b->tenant);
}

#define ST_SORT sort_keys
#define ST_ELEMENT_TYPE AtpFetchKey
#define ST_COMPARE(a, b) compare(&(a)->event_id, (a)->tenant, b)
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

/* Puts the scan at the first entry that is not before the next key. */
static void
descend(Merge *merge)
{
	ScanKeyData key;

	ScanKeyInit(&key, 1, BTGreaterEqualStrategyNumber, F_UUID_GE, UUIDPGetDatum(&merge->keys[merge->next].event_id));
	merge->scan->xs_want_itup = true;	/* then a foreign entry costs no visit to the table */
	index_rescan(merge->scan, &key, 1, NULL, 0);
}

static void
take_entry(Merge *merge)
{
	MemoryContext before;

	if (!index_fetch_heap(merge->scan, merge->slot))
		return;					/* dead; the live one follows, or there is none */
	before = MemoryContextSwitchTo(merge->memory);
	slot_getallattrs(merge->slot);
	merge->take(merge->context, merge->keys[merge->next].index, merge->slot);
	MemoryContextSwitchTo(before);
	MemoryContextReset(merge->memory);
	merge->next++;
}

/* The key stays the next one: more entries of it may follow. */
static void
note_entry(Merge *merge)
{
	AtpFetchPlace *place = &merge->places[merge->keys[merge->next].index];

	place->doubtful = OidIsValid(place->leaf);
	place->leaf = merge->leaf;
	place->tid = merge->scan->xs_heaptid;
}

/* Answers keys from the leaf until its entries or the keys are at their end. */
static void
merge_leaf(Merge *merge)
{
	int			skips = 0;

	descend(merge);
	while (merge->next < merge->count && index_getnext_tid(merge->scan, ForwardScanDirection) != NULL)
	{
		IndexTuple	entry = merge->scan->xs_itup;
		TupleDesc	shape = merge->scan->xs_itupdesc;
		bool		null;
		pg_uuid_t  *event_id = DatumGetUUIDP(index_getattr(entry, 1, shape, &null));
		int32		tenant = DatumGetInt32(index_getattr(entry, 2, shape, &null));
		int			order = -1;

		CHECK_FOR_INTERRUPTS();
		while (merge->next < merge->count && (order = compare(event_id, tenant, &merge->keys[merge->next])) > 0)
			merge->next++;		/* it has no event, or no more of them */
		if (merge->next == merge->count)
			break;
		if (order == 0)
		{
			skips = 0;
			if (merge->places != NULL)
				note_entry(merge);
			else
				take_entry(merge);
		}
		else if (++skips > SKIPS_MAX)
		{
			skips = 0;
			descend(merge);
		}
	}
}

static void
visit_leaf(Merge *merge, Relation leaf, Snapshot snapshot)
{
	Oid			oid = atp_relation_find_index(leaf, ATP_EVENT_ID, true);
	Relation	index;

	if (!OidIsValid(oid))
		elog(ERROR, "partition \"%s\" lacks its index on event_id", RelationGetRelationName(leaf));
	index = index_open(oid, AccessShareLock);
	merge->leaf = RelationGetRelid(leaf);
	merge->slot = merge->places != NULL ? NULL : table_slot_create(leaf, NULL);
	merge->scan = atp_compat_index_beginscan(leaf, index, snapshot, 1);
	merge_leaf(merge);
	index_endscan(merge->scan);
	if (merge->slot != NULL)
		ExecDropSingleTupleTableSlot(merge->slot);
	index_close(index, NoLock);
}

static void
visit_leaves(Merge *merge, Snapshot snapshot)
{
	Oid			visited = InvalidOid;

	sort_keys(merge->keys, merge->count);
	while (merge->next < merge->count)
	{
		Relation	leaf = atp_partition_open_existing(&merge->keys[merge->next].event_id);

		CHECK_FOR_INTERRUPTS();
		if (leaf == NULL || RelationGetRelid(leaf) == visited)
			merge->next++;		/* its leaf has been read to the end, or is not there */
		else
		{
			visited = RelationGetRelid(leaf);
			visit_leaf(merge, leaf, snapshot);
		}
		if (leaf != NULL)
			table_close(leaf, NoLock);
	}
}

void
atp_fetch_events(AtpFetchKey *keys, int count, Snapshot snapshot, AtpFetchRow take, void *context)
{
	Merge		merge = {.keys = keys, .count = count, .take = take, .context = context};

	merge.memory = AllocSetContextCreate(CurrentMemoryContext, "atp row fetched", ALLOCSET_DEFAULT_SIZES);
	visit_leaves(&merge, snapshot);
	MemoryContextDelete(merge.memory);
}

void
atp_fetch_places(AtpFetchKey *keys, int count, Snapshot snapshot, AtpFetchPlace *places)
{
	Merge		merge = {.keys = keys, .count = count, .places = places};

	memset(places, 0, count * sizeof(AtpFetchPlace));
	visit_leaves(&merge, snapshot);
}

/* Many rows into one table; see bulk.h. */
#include "pg/bulk.h"

#include "access/genam.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "pg/compat.h"
#include "pg/relation.h"

#define SLICE 100				/* rows that go to the table at once */
#define WORTH_SORTING 32		/* rows */

struct AtpBulk
{
	Relation	relation;
	MemoryContext memory;
	bool		leaves_indexes;
	int			columns;
	int			count;
	int			room;			/* rows for which there is memory */
	Datum	   *values;			/* `columns` a row */
	bool	   *nulls;
	ItemPointerData *places;
	int			slot_count;
	TupleTableSlot *slots[SLICE];
};

typedef struct Ranked			/* a row, and the beginning of its key as two numbers */
{
	uint64		first;
	uint64		second;
	int			row;
} Ranked;

/* Rows that are alike so far stay in the order in which they came. */
#define ST_SORT sort_ranked
#define ST_ELEMENT_TYPE Ranked
#define ST_COMPARE(a, b) \
	((a)->first != (b)->first ? ((a)->first < (b)->first ? -1 : 1) : \
	 (a)->second != (b)->second ? ((a)->second < (b)->second ? -1 : 1) : \
	 ((a)->row < (b)->row ? -1 : (a)->row > (b)->row))
#define ST_SCOPE static
#define ST_DEFINE
#include "lib/sort_template.h"

AtpBulk *
atp_bulk_begin(Relation relation)
{
	AtpBulk    *bulk = palloc0_object(AtpBulk);

	bulk->relation = relation;
	bulk->memory = CurrentMemoryContext;
	bulk->columns = RelationGetDescr(relation)->natts;
	return bulk;
}

void
atp_bulk_leave_indexes(AtpBulk *bulk)
{
	bulk->leaves_indexes = true;
}

static void
make_room(AtpBulk *bulk)
{
	MemoryContext before = MemoryContextSwitchTo(bulk->memory);

	if (bulk->room == 0)
	{
		bulk->room = WORTH_SORTING;
		bulk->values = palloc_array(Datum, bulk->room * bulk->columns);
		bulk->nulls = palloc_array(bool, bulk->room * bulk->columns);
		bulk->places = palloc_array(ItemPointerData, bulk->room);
	}
	else
	{
		bulk->room = Min(bulk->room * 4, ATP_BULK_ROWS);
		bulk->values = repalloc_array(bulk->values, Datum, bulk->room * bulk->columns);
		bulk->nulls = repalloc_array(bulk->nulls, bool, bulk->room * bulk->columns);
		bulk->places = repalloc_array(bulk->places, ItemPointerData, bulk->room);
	}
	MemoryContextSwitchTo(before);
}

void
atp_bulk_add(AtpBulk *bulk, Datum **values, bool **nulls)
{
	Assert(!atp_bulk_is_full(bulk));
	if (bulk->count == bulk->room)
		make_room(bulk);
	*values = bulk->values + bulk->count * bulk->columns;
	*nulls = bulk->nulls + bulk->count * bulk->columns;
	bulk->count++;
}

bool
atp_bulk_is_full(const AtpBulk *bulk)
{
	return bulk->count == ATP_BULK_ROWS;
}

/* ==== The table ==== */

static void
write_slice(AtpBulk *bulk, int from, int count)
{
	for (int i = 0; i < count; i++)
	{
		TupleTableSlot *slot = bulk->slots[i];

		memcpy(slot->tts_values, bulk->values + (from + i) * bulk->columns, sizeof(Datum) * bulk->columns);
		memcpy(slot->tts_isnull, bulk->nulls + (from + i) * bulk->columns, sizeof(bool) * bulk->columns);
		ExecStoreVirtualTuple(slot);
	}
	if (count == 1)
		table_tuple_insert(bulk->relation, bulk->slots[0], GetCurrentCommandId(true), 0, NULL);
	else
		table_multi_insert(bulk->relation, bulk->slots, count, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < count; i++)
	{
		bulk->places[from + i] = bulk->slots[i]->tts_tid;
		ExecClearTuple(bulk->slots[i]);
	}
}

static void
write_table(AtpBulk *bulk)
{
	MemoryContext before = MemoryContextSwitchTo(bulk->memory);

	while (bulk->slot_count < Min(bulk->count, SLICE))
		bulk->slots[bulk->slot_count++] = MakeSingleTupleTableSlot(RelationGetDescr(bulk->relation), &TTSOpsVirtual);
	MemoryContextSwitchTo(before);
	for (int from = 0; from < bulk->count; from += SLICE)
	{
		CHECK_FOR_INTERRUPTS();
		write_slice(bulk, from, Min(SLICE, bulk->count - from));
	}
}

/* ==== An index ==== */

/* The first bytes, as numbers that compare as the bytes do. */
static void
rank_bytes(const void *bytes, size_t size, Ranked *ranked)
{
	uint8		head[2 * sizeof(uint64)] = {0};

	memcpy(head, bytes, Min(size, sizeof(head)));
	for (int i = 0; i < sizeof(uint64); i++)
	{
		ranked->first = ranked->first << 8 | head[i];
		ranked->second = ranked->second << 8 | head[i + sizeof(uint64)];
	}
}

/*
 * An estimate of where a value stands in an index: its order decides what is near what, and nothing else. Types that are not
 * known count as alike.
 */
static void
rank_value(Oid type, Datum value, Ranked *ranked)
{
	ranked->first = ranked->second = 0;
	switch (type)
	{
		case INT4OID:
			ranked->first = (uint64) DatumGetInt32(value) ^ (UINT64CONST(1) << 63);
			break;
		case INT8OID:
		case TIMESTAMPTZOID:
			ranked->first = (uint64) DatumGetInt64(value) ^ (UINT64CONST(1) << 63);
			break;
		case UUIDOID:
			rank_bytes(DatumGetUUIDP(value), UUID_LEN, ranked);
			break;
		case TEXTOID:
			{
				const struct varlena *text = (const struct varlena *) DatumGetPointer(value);

				if (!VARATT_IS_EXTENDED(text) || VARATT_IS_SHORT(text))
					rank_bytes(VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), ranked);
			}
			break;
	}
}

/*
 * The rows that an index takes, in the order of its keys: of the first column in which the first and the last row differ, that is; the
 * tenant leads most keys, and is mostly one.
 */
static int
rank_rows(const AtpBulk *bulk, const IndexInfo *info, AttrNumber required, Ranked *ranked)
{
	int			column = info->ii_IndexAttrNumbers[info->ii_NumIndexKeyAttrs > 1 ? 1 : 0] - 1;
	int			lead = info->ii_IndexAttrNumbers[0] - 1;
	int			count = 0;
	Oid			type;

	if (bulk->count > 0 && bulk->values[lead] != bulk->values[(bulk->count - 1) * bulk->columns + lead])
		column = lead;
	type = TupleDescAttr(RelationGetDescr(bulk->relation), column)->atttypid;
	for (int row = 0; row < bulk->count; row++)
	{
		Ranked	   *one = &ranked[count];

		if (required != InvalidAttrNumber && bulk->nulls[row * bulk->columns + required - 1])
			continue;
		one->row = row;
		if (bulk->nulls[row * bulk->columns + column])
			one->first = one->second = PG_UINT64_MAX;
		else
			rank_value(type, bulk->values[row * bulk->columns + column], one);
		count++;
	}
	if (count >= WORTH_SORTING)
		sort_ranked(ranked, count);
	return count;
}

static void
write_index(AtpBulk *bulk, const AtpIndexes *indexes, int which, Ranked *ranked)
{
	IndexInfo  *info = indexes->infos[which];
	Relation	index = index_open(indexes->oids[which], RowExclusiveLock);
	IndexUniqueCheck check = index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;
	int			count = info->ii_ReadyForInserts ? rank_rows(bulk, info, indexes->required[which], ranked) : 0;

	atp_compat_index_insert_begin(index, info);
	for (int i = 0; i < count; i++)
	{
		const Datum *row = bulk->values + ranked[i].row * bulk->columns;
		const bool *missing = bulk->nulls + ranked[i].row * bulk->columns;
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		for (int column = 0; column < info->ii_NumIndexAttrs; column++)
		{
			values[column] = row[info->ii_IndexAttrNumbers[column] - 1];
			nulls[column] = missing[info->ii_IndexAttrNumbers[column] - 1];
		}
		index_insert(index, values, nulls, &bulk->places[ranked[i].row], bulk->relation, check, false, info);
		if (i % SLICE == 0)
			CHECK_FOR_INTERRUPTS();
	}
	atp_compat_index_insert_end(index, info);
	index_close(index, NoLock);
}

/* The executor's way, for a table to which somebody has added an index with an expression or a predicate. */
static void
write_indexes_general(AtpBulk *bulk)
{
	TupleTableSlot *slot = bulk->slots[0];

	for (int row = 0; row < bulk->count; row++)
	{
		CHECK_FOR_INTERRUPTS();
		memcpy(slot->tts_values, bulk->values + row * bulk->columns, sizeof(Datum) * bulk->columns);
		memcpy(slot->tts_isnull, bulk->nulls + row * bulk->columns, sizeof(bool) * bulk->columns);
		ExecStoreVirtualTuple(slot);
		slot->tts_tid = bulk->places[row];
		atp_relation_index_insert(bulk->relation, slot);
		ExecClearTuple(slot);
	}
}

static void
write_indexes(AtpBulk *bulk)
{
	const AtpIndexes *indexes = atp_relation_indexes(bulk->relation);
	Ranked	   *ranked;

	if (!indexes->simple)
	{
		write_indexes_general(bulk);
		return;
	}
	ranked = palloc_array(Ranked, bulk->count);
	for (int i = 0; i < indexes->count; i++)
		write_index(bulk, indexes, i, ranked);
	pfree(ranked);
}

/* ==== Both ==== */

void
atp_bulk_write(AtpBulk *bulk)
{
	if (bulk->count == 0)
		return;
	write_table(bulk);
	if (!bulk->leaves_indexes)
		write_indexes(bulk);
	bulk->count = 0;
}

void
atp_bulk_end(AtpBulk *bulk)
{
	atp_bulk_write(bulk);
	for (int i = 0; i < bulk->slot_count; i++)
		ExecDropSingleTupleTableSlot(bulk->slots[i]);
	if (bulk->room > 0)
	{
		pfree(bulk->values);
		pfree(bulk->nulls);
		pfree(bulk->places);
	}
	pfree(bulk);
}

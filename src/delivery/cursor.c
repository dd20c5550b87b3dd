/* Cursors; see cursor.h. */
#include "delivery/cursor.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/hashfn.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lock.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/relation.h"

PG_FUNCTION_INFO_V1(atp_cursor_lock_all);

#define CURSOR_CHAIN 32			/* writes of a row under one generation */
#define PLACES 128				/* of rows that a backend remembers */
#define LOCK_CLASS 0xA743		/* last field of the lock's tag; the user's advisory locks have 1 and 2 there */

enum							/* columns of atp_internal.subscription_cursor */
{
	COLUMN_TENANT, COLUMN_SUBSCRIPTION, COLUMN_PARTITION, COLUMN_WRITES, COLUMN_GENERATION, COLUMN_ACKED, COLUMN_SCANNED,
	COLUMN_LEASED_AT, COLUMN_LEASE_UNTIL, COLUMN_LEASE_LAST, COLUMN_RETRY_CHANGES, COLUMN_RETRY_DUE_AT, COLUMN_LEASE_COUNT,
	COLUMN_RETRIES, COLUMN_LEASE, COLUMN_CONSUMER, COLUMN_SETTLED, COLUMN_RUNS, COLUMN_HELD, COLUMNS
};

static void
make_tag(LOCKTAG *tag, int32 subscription, int32 partition)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) subscription, (uint32) partition, LOCK_CLASS);
}

bool
atp_cursor_lock(int32 subscription, int32 partition, bool wait)
{
	LOCKTAG		tag;

	make_tag(&tag, subscription, partition);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	AcceptInvalidationMessages();
	return true;
}

void
atp_cursor_unlock(int32 subscription, int32 partition)
{
	LOCKTAG		tag;

	make_tag(&tag, subscription, partition);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* ---- Rows ---- */

static void
read_array(Datum value, bool null, int *count, int64 **elements)
{
	ArrayType  *array;

	*count = 0;
	*elements = NULL;
	if (null)
		return;
	array = DatumGetArrayTypePCopy(value);
	*count = ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array));
	*elements = (int64 *) ARR_DATA_PTR(array);
}

static void
read_runs(AtpCursor *cursor, Datum value, bool null)
{
	int64	   *pairs;
	int			count;

	read_array(value, null, &count, &pairs);
	cursor->run_count = count / 2;
	cursor->run_through = palloc_array(int64, count + 2);
	cursor->run_attempts = palloc_array(int64, count + 2);
	for (int i = 0; i < cursor->run_count; i++)
	{
		cursor->run_through[i] = pairs[2 * i];
		cursor->run_attempts[i] = pairs[2 * i + 1];
	}
}

static void
read_row(AtpCursor *cursor, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	slot_getallattrs(slot);
	cursor->row = slot->tts_tid;
	cursor->tenant = DatumGetInt32(values[COLUMN_TENANT]);
	cursor->subscription = DatumGetInt32(values[COLUMN_SUBSCRIPTION]);
	cursor->partition = DatumGetInt32(values[COLUMN_PARTITION]);
	cursor->writes = DatumGetInt32(values[COLUMN_WRITES]);
	cursor->generation = DatumGetInt64(values[COLUMN_GENERATION]);
	cursor->acked = DatumGetInt64(values[COLUMN_ACKED]);
	cursor->scanned = DatumGetInt64(values[COLUMN_SCANNED]);
	cursor->leased_at = DatumGetTimestampTz(values[COLUMN_LEASED_AT]);
	cursor->lease_until = DatumGetTimestampTz(values[COLUMN_LEASE_UNTIL]);
	cursor->lease_last = DatumGetInt64(values[COLUMN_LEASE_LAST]);
	cursor->retry_changes = DatumGetInt64(values[COLUMN_RETRY_CHANGES]);
	cursor->retry_due_at = DatumGetTimestampTz(values[COLUMN_RETRY_DUE_AT]);
	cursor->lease_count = DatumGetInt32(values[COLUMN_LEASE_COUNT]);
	cursor->retries = DatumGetInt32(values[COLUMN_RETRIES]);
	cursor->leased = !nulls[COLUMN_LEASE];
	if (cursor->leased)
		cursor->lease = *DatumGetUUIDP(values[COLUMN_LEASE]);
	cursor->consumer = nulls[COLUMN_CONSUMER] ? NULL : TextDatumGetCString(values[COLUMN_CONSUMER]);
	read_array(values[COLUMN_SETTLED], nulls[COLUMN_SETTLED], &cursor->settled_count, &cursor->settled);
	read_runs(cursor, values[COLUMN_RUNS], nulls[COLUMN_RUNS]);
	read_array(values[COLUMN_HELD], nulls[COLUMN_HELD], &cursor->held_count, &cursor->held);
}

/* Where this backend saw or left a row last. It may have moved, or be another's by now: what is found there is checked. */
typedef struct Place
{
	int32		subscription;
	int32		partition;
	ItemPointerData row;
} Place;

static Place *
place_of(int32 subscription, int32 partition)
{
	static Place places[PLACES];

	return &places[hash_combine((uint32) subscription, murmurhash32((uint32) partition)) % PLACES];
}

static void
remember_place(const AtpCursor *cursor)
{
	Place	   *place = place_of(cursor->subscription, cursor->partition);

	place->subscription = cursor->subscription;
	place->partition = cursor->partition;
	place->row = cursor->row;
}

/* The row at the place remembered, if it is there and in force: no other of its key can be. */
static bool
find_by_place(Relation relation, int32 subscription, int32 partition, TupleTableSlot *slot)
{
	Place	   *place = place_of(subscription, partition);
	bool		null;

	return place->subscription == subscription && place->partition == partition && ItemPointerIsValid(&place->row) &&
		ItemPointerGetBlockNumber(&place->row) < RelationGetNumberOfBlocks(relation) &&
		table_tuple_fetch_row_version(relation, &place->row, SnapshotSelf, slot) &&
		DatumGetInt32(slot_getattr(slot, COLUMN_SUBSCRIPTION + 1, &null)) == subscription &&
		DatumGetInt32(slot_getattr(slot, COLUMN_PARTITION + 1, &null)) == partition;
}

static bool
find_by_index(Relation relation, int32 subscription, int32 partition, TupleTableSlot *slot)
{
	Relation	index = index_open(atp_relation_oid(ATP_REL_SUBSCRIPTION_CURSOR_PK), RowExclusiveLock);
	ScanKeyData keys[2];
	IndexScanDesc scan;
	bool		found;

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(subscription));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(partition));
	scan = atp_compat_index_beginscan(relation, index, SnapshotSelf, 2);
	index_rescan(scan, keys, 2, NULL, 0);
	found = index_getnext_slot(scan, BackwardScanDirection, slot);
	index_endscan(scan);
	index_close(index, NoLock);
	return found;
}

AtpCursor *
atp_cursor_read(int32 tenant, int32 subscription, int32 partition)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_SUBSCRIPTION_CURSOR), RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	AtpCursor  *cursor = NULL;

	if (find_by_place(relation, subscription, partition, slot) || find_by_index(relation, subscription, partition, slot))
	{
		cursor = palloc0(sizeof(AtpCursor));
		read_row(cursor, slot);
		remember_place(cursor);
		if (cursor->tenant != tenant)
			elog(ERROR, "cursor of subscription %d belongs to tenant %d, not to %d", subscription, cursor->tenant, tenant);
	}
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	return cursor;
}

static Datum
make_array(const int64 *elements, int count)
{
	Datum	   *datums = palloc_array(Datum, count);

	for (int i = 0; i < count; i++)
		datums[i] = Int64GetDatum(elements[i]);
	return PointerGetDatum(construct_array(datums, count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

static Datum
make_runs(const AtpCursor *cursor)
{
	int64	   *pairs = palloc_array(int64, 2 * cursor->run_count);

	for (int i = 0; i < cursor->run_count; i++)
	{
		pairs[2 * i] = cursor->run_through[i];
		pairs[2 * i + 1] = cursor->run_attempts[i];
	}
	return make_array(pairs, 2 * cursor->run_count);
}

static void
fill_slot(AtpCursor *cursor, TupleTableSlot *slot)
{
	Datum	   *values = slot->tts_values;
	bool	   *nulls = slot->tts_isnull;

	ExecClearTuple(slot);
	memset(nulls, 0, COLUMNS * sizeof(bool));
	values[COLUMN_TENANT] = Int32GetDatum(cursor->tenant);
	values[COLUMN_SUBSCRIPTION] = Int32GetDatum(cursor->subscription);
	values[COLUMN_PARTITION] = Int32GetDatum(cursor->partition);
	values[COLUMN_WRITES] = Int32GetDatum(cursor->writes);
	values[COLUMN_GENERATION] = Int64GetDatum(cursor->generation);
	values[COLUMN_ACKED] = Int64GetDatum(cursor->acked);
	values[COLUMN_SCANNED] = Int64GetDatum(cursor->scanned);
	values[COLUMN_LEASED_AT] = TimestampTzGetDatum(cursor->leased_at);
	values[COLUMN_LEASE_UNTIL] = TimestampTzGetDatum(cursor->lease_until);
	values[COLUMN_LEASE_LAST] = Int64GetDatum(cursor->lease_last);
	values[COLUMN_RETRY_CHANGES] = Int64GetDatum(cursor->retry_changes);
	values[COLUMN_RETRY_DUE_AT] = TimestampTzGetDatum(cursor->retry_due_at);
	values[COLUMN_LEASE_COUNT] = Int32GetDatum(cursor->lease_count);
	values[COLUMN_RETRIES] = Int32GetDatum(cursor->retries);
	nulls[COLUMN_LEASE] = !cursor->leased;
	values[COLUMN_LEASE] = UUIDPGetDatum(&cursor->lease);
	nulls[COLUMN_CONSUMER] = cursor->consumer == NULL;
	values[COLUMN_CONSUMER] = cursor->consumer == NULL ? (Datum) 0 : CStringGetTextDatum(cursor->consumer);
	nulls[COLUMN_SETTLED] = cursor->settled_count == 0;
	values[COLUMN_SETTLED] = cursor->settled_count == 0 ? (Datum) 0 : make_array(cursor->settled, cursor->settled_count);
	nulls[COLUMN_RUNS] = cursor->run_count == 0;
	values[COLUMN_RUNS] = cursor->run_count == 0 ? (Datum) 0 : make_runs(cursor);
	nulls[COLUMN_HELD] = cursor->held_count == 0;
	values[COLUMN_HELD] = cursor->held_count == 0 ? (Datum) 0 : make_array(cursor->held, cursor->held_count);
	ExecStoreVirtualTuple(slot);
}

void
atp_cursor_write(AtpCursor *cursor)
{
	Relation	relation;
	TupleTableSlot *slot;
	TM_FailureData failure;
	LockTupleMode mode;
	AtpUpdateIndexes indexes;
	TM_Result	result;

	if (!cursor->dirty)
		return;
	relation = table_open(atp_relation_oid(ATP_REL_SUBSCRIPTION_CURSOR), RowExclusiveLock);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
	if (++cursor->writes >= CURSOR_CHAIN)
	{
		cursor->writes = 0;
		cursor->generation++;
	}
	fill_slot(cursor, slot);
	result = table_tuple_update(relation, &cursor->row, slot, GetCurrentCommandId(true), InvalidSnapshot, InvalidSnapshot, true,
								&failure, &mode, &indexes);
	if (result != TM_Ok)
		elog(ERROR, "cursor %d of subscription %d was changed under its lock (%d)", cursor->partition, cursor->subscription, (int) result);
	cursor->row = slot->tts_tid;
	remember_place(cursor);
	if (atp_compat_update_needs_indexes(indexes))
		atp_relation_index_insert(relation, slot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	cursor->dirty = false;
	CommandCounterIncrement();
}

/* ---- What a row says ---- */

/* The first element that is not less than a position. */
static int
find_position(const int64 *positions, int count, int64 log_position)
{
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = (low + high) / 2;

		if (positions[middle] < log_position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool
has_position(const int64 *positions, int count, int64 log_position)
{
	int			at;

	if (count == 0)
		return false;
	at = find_position(positions, count, log_position);
	return at < count && positions[at] == log_position;
}

bool
atp_cursor_is_settled(const AtpCursor *cursor, int64 log_position)
{
	return has_position(cursor->settled, cursor->settled_count, log_position);
}

bool
atp_cursor_is_decided(const AtpCursor *cursor, int64 log_position)
{
	return cursor->held_count > 0 && log_position <= cursor->held[cursor->held_count - 1];
}

bool
atp_cursor_is_held(const AtpCursor *cursor, int64 log_position)
{
	return has_position(cursor->held, cursor->held_count, log_position);
}

void
atp_cursor_settle(AtpCursor *cursor, int64 log_position)
{
	int			at = find_position(cursor->settled, cursor->settled_count, log_position);
	int64	   *settled = palloc_array(int64, cursor->settled_count + 1);

	memcpy(settled, cursor->settled, at * sizeof(int64));
	settled[at] = log_position;
	memcpy(settled + at + 1, cursor->settled + at, (cursor->settled_count - at) * sizeof(int64));
	cursor->settled = settled;
	cursor->settled_count++;
	cursor->dirty = true;
}

void
atp_cursor_advance(AtpCursor *cursor, int64 log_position)
{
	int			gone = 0;

	if (log_position <= cursor->acked)
		return;
	cursor->acked = log_position;
	cursor->dirty = true;
	while (gone < cursor->settled_count && cursor->settled[gone] <= log_position)
		gone++;
	cursor->settled += gone;
	cursor->settled_count -= gone;
	for (gone = 0; gone < cursor->held_count && cursor->held[gone] <= log_position;)
		gone++;
	cursor->held += gone;
	cursor->held_count -= gone;
	gone = 0;
	while (gone < cursor->run_count && cursor->run_through[gone] <= log_position)
		gone++;
	cursor->run_through += gone;
	cursor->run_attempts += gone;
	cursor->run_count -= gone;
}

int
atp_cursor_attempts(const AtpCursor *cursor, int64 log_position)
{
	for (int i = 0; i < cursor->run_count; i++)
		if (log_position <= cursor->run_through[i])
			return (int) cursor->run_attempts[i];
	return 0;
}

void
atp_cursor_expire(AtpCursor *cursor)
{
	int64	   *through = palloc_array(int64, 2 * cursor->run_count + 1);
	int64	   *attempts = palloc_array(int64, 2 * cursor->run_count + 1);
	int64		reached = cursor->acked;
	int			count = 0;

	for (int i = 0; i < cursor->run_count; i++)
	{
		if (reached < cursor->lease_last)	/* the part of the run that was leased */
		{
			through[count] = Min(cursor->run_through[i], cursor->lease_last);
			attempts[count] = cursor->run_attempts[i] + 1;
			reached = through[count++];
		}
		if (reached < cursor->run_through[i])	/* the part beyond */
		{
			through[count] = reached = cursor->run_through[i];
			attempts[count++] = cursor->run_attempts[i];
		}
	}
	if (reached < cursor->lease_last)
	{
		through[count] = cursor->lease_last;
		attempts[count++] = 1;
	}
	cursor->run_through = through;
	cursor->run_attempts = attempts;
	cursor->run_count = count;
	atp_cursor_release(cursor);
}

void
atp_cursor_release(AtpCursor *cursor)
{
	cursor->leased = false;
	cursor->leased_at = cursor->lease_until = DT_NOBEGIN;
	cursor->lease_last = cursor->scanned = cursor->acked;
	cursor->lease_count = 0;
	cursor->consumer = NULL;
	cursor->dirty = true;
}

/* lock_cursors(subscription, partitions) */
Datum
atp_cursor_lock_all(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < PG_GETARG_INT32(1); i++)
		(void) atp_cursor_lock(PG_GETARG_INT32(0), i, true);
	PG_RETURN_VOID();
}

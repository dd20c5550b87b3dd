/*
 * The row of a stream; see headrow.h.
 *
 * It is found by a hint where it was seen last (pg/hint), and by the index on its name otherwise.
 */
#include "stream/headrow.h"

#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/hint.h"
#include "pg/relation.h"

#define TURN_LOCK_CLASS 0x6175	/* no advisory lock function of SQL uses this class, nor does pg/worker */
#define TURNS_MAX 256

enum
{
	COLUMN_STREAM = 1, COLUMN_TENANT, COLUMN_STREAM_UID, COLUMN_VERSION, COLUMN_CREATED_AT, COLUMN_LAST_RECORDED_AT,
	COLUMN_MIN_EVENT_ID, COLUMN_MAX_EVENT_ID, COLUMN_HASH, COLUMN_STATE, COLUMN_NAME, COLUMN_COUNT = COLUMN_NAME
};

static int	turns;				/* locks of queues that the transaction keeps */

static HeapTuple
form_row(Relation relation, const AtpHead *head)
{
	Datum		values[COLUMN_COUNT];
	bool		nulls[COLUMN_COUNT] = {0};
	struct
	{
		int32		header;
		uint8		hash[ATP_HASH_SIZE];
	}			hash;

	SET_VARSIZE(&hash, sizeof(hash));
	memcpy(hash.hash, head->hash, ATP_HASH_SIZE);
	values[COLUMN_STREAM - 1] = Int64GetDatum(head->stream);
	values[COLUMN_TENANT - 1] = Int32GetDatum(head->key.tenant);
	values[COLUMN_STREAM_UID - 1] = PointerGetDatum(head->stream_uid);
	values[COLUMN_VERSION - 1] = Int64GetDatum(head->version);
	values[COLUMN_CREATED_AT - 1] = TimestampTzGetDatum(head->created_at);
	values[COLUMN_LAST_RECORDED_AT - 1] = TimestampTzGetDatum(head->last_recorded_at);
	values[COLUMN_MIN_EVENT_ID - 1] = UUIDPGetDatum(&head->min_event_id);
	values[COLUMN_MAX_EVENT_ID - 1] = UUIDPGetDatum(&head->max_event_id);
	values[COLUMN_HASH - 1] = PointerGetDatum(&hash);
	values[COLUMN_STATE - 1] = CharGetDatum(head->state);
	values[COLUMN_NAME - 1] = CStringGetTextDatum(head->key.name);
	return heap_form_tuple(RelationGetDescr(relation), values, nulls);
}

static int64
stream_of(TupleTableSlot *slot)
{
	bool		null;

	return DatumGetInt64(slot_getattr(slot, COLUMN_STREAM, &null));
}

static void
read_row(AtpHead *head, TupleTableSlot *slot)
{
	slot_getallattrs(slot);
	head->stream = DatumGetInt64(slot->tts_values[COLUMN_STREAM - 1]);
	memcpy(head->stream_uid, DatumGetUUIDP(slot->tts_values[COLUMN_STREAM_UID - 1])->data, 16);
	head->version = DatumGetInt64(slot->tts_values[COLUMN_VERSION - 1]);
	head->created_at = DatumGetTimestampTz(slot->tts_values[COLUMN_CREATED_AT - 1]);
	head->last_recorded_at = DatumGetTimestampTz(slot->tts_values[COLUMN_LAST_RECORDED_AT - 1]);
	head->min_event_id = *DatumGetUUIDP(slot->tts_values[COLUMN_MIN_EVENT_ID - 1]);
	head->max_event_id = *DatumGetUUIDP(slot->tts_values[COLUMN_MAX_EVENT_ID - 1]);
	memcpy(head->hash, VARDATA_ANY(DatumGetPointer(slot->tts_values[COLUMN_HASH - 1])), ATP_HASH_SIZE);
	head->state = DatumGetChar(slot->tts_values[COLUMN_STATE - 1]);
	head->row = slot->tts_tid;
}

/* The snapshot that a row's version must be visible in, or none in READ COMMITTED. */
static Snapshot
crosscheck_snapshot(void)
{
	return IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : InvalidSnapshot;
}

/*
 * The queue before a row that somebody holds. Those who wait for a row's holder wait for one version of the row, and each commit makes
 * another: all of them would wake at each commit, only to wait again. So they stand in line here, in order of arrival, for a lock on
 * the stream's number, and only the first of them waits for the row itself. The lock is kept with the row, so that the end of the
 * transaction wakes the next, and nobody else. An append that finds the row free does without. Nobody waits here for a row of his own.
 */
static void
turn_tag(LOCKTAG *tag, int64 stream)
{
	SET_LOCKTAG_ADVISORY(*tag, MyDatabaseId, (uint32) (stream >> 32), (uint32) stream, TURN_LOCK_CLASS);
}

void
atp_headrow_await_turn(int64 stream)
{
	LOCKTAG		tag;

	turn_tag(&tag, stream);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* A transaction that has waited for very many rows lets go, for locks live in shared memory. */
void
atp_headrow_keep_turn(int64 stream)
{
	LOCKTAG		tag;

	if (turns < TURNS_MAX)
	{
		turns++;
		return;
	}
	turn_tag(&tag, stream);
	(void) LockRelease(&tag, ExclusiveLock, false);
}

void
atp_headrow_forget_turns(void)
{
	turns = 0;
}

static void
refuse_concurrent(void)
{
	ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("could not serialize access due to concurrent append to the stream"),
			errhint("The transaction might succeed if retried."));
}

/* Notes where the index entry of a stream points. */
static void
hint_at(const AtpHead *head, const ItemPointerData *entry, Buffer buffer)
{
	atp_hint_set(atp_hint_key((uint32) head->key.tenant, head->key.name), entry, buffer);
}

bool
atp_headrow_update(AtpHead *head, bool crosscheck, bool wait)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_STREAM), RowExclusiveLock);
	HeapTuple	tuple = form_row(relation, head);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsHeapTuple);
	TM_FailureData failure;
	LockTupleMode mode;
	AtpUpdateIndexes indexes;
	TM_Result	result;

	ExecStoreHeapTuple(tuple, slot, false);
	result = table_tuple_update(relation, &head->row, slot, GetCurrentCommandId(true), InvalidSnapshot,
								crosscheck ? crosscheck_snapshot() : InvalidSnapshot, wait, &failure, &mode, &indexes);
	if (result == TM_Ok)
	{
		head->row = slot->tts_tid;
		if (atp_compat_update_needs_indexes(indexes))
		{
			atp_relation_index_insert(relation, slot);
			hint_at(head, &head->row, InvalidBuffer);
		}
		head->written = true;
	}
	else if (result == TM_SelfModified || result == TM_Invisible)
		elog(ERROR, "row of stream \"%s\" was changed by this command already", head->key.name);
	ExecDropSingleTupleTableSlot(slot);
	heap_freetuple(tuple);
	table_close(relation, NoLock);
	return result == TM_Ok;
}

bool
atp_headrow_insert(AtpHead *head)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_STREAM), RowExclusiveLock);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsHeapTuple);
	HeapTuple	tuple;
	bool		inserted;

	head->stream = nextval_internal(atp_relation_oid(ATP_REL_STREAM_SEQ), false);
	tuple = form_row(relation, head);
	ExecStoreHeapTuple(tuple, slot, false);
	inserted = atp_relation_insert_unless_exists(relation, slot);
	if (inserted)
	{
		head->row = slot->tts_tid;
		hint_at(head, &head->row, InvalidBuffer);
	}
	else
		head->stream = 0;
	ExecDropSingleTupleTableSlot(slot);
	heap_freetuple(tuple);
	table_close(relation, NoLock);
	return inserted;
}

typedef enum RowLock
{
	ROW_LOCKED,
	ROW_GONE,					/* it was deleted, or its inserter rolled back meanwhile */
	ROW_HELD					/* by another transaction, and we were not to wait */
} RowLock;

/* Locks the row in the slot, following it to its latest version, which the slot then holds. */
static RowLock
lock_row(Relation relation, TupleTableSlot *slot, LockWaitPolicy wait)
{
	Snapshot	snapshot = IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot();
	ItemPointerData row = slot->tts_tid;
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(relation, &row, snapshot, slot, GetCurrentCommandId(true), LockTupleNoKeyExclusive, wait,
							  IsolationUsesXactSnapshot() ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	switch (result)
	{
		case TM_Ok:
			return ROW_LOCKED;
		case TM_WouldBlock:
			return ROW_HELD;
		case TM_Updated:
			if (IsolationUsesXactSnapshot())
				refuse_concurrent();
			return ROW_GONE;
		case TM_Deleted:
			return ROW_GONE;
		default:
			elog(ERROR, "unexpected result %d of locking the row of a stream", (int) result);
	}
	return ROW_GONE;
}

/* Fetches the row of a stream as it is committed now, from where it was seen last. */
static bool
fetch_hinted_row(Relation relation, const AtpHead *head, TupleTableSlot *slot)
{
	ItemPointerData entry;
	Buffer		buffer;
	const struct varlena *name;

	if (!atp_hint_get(atp_hint_key((uint32) head->key.tenant, head->key.name), &entry, &buffer) ||
		!atp_relation_fetch_at(relation, &entry, buffer, SnapshotSelf, slot))
		return false;
	slot_getallattrs(slot);
	name = (const struct varlena *) DatumGetPointer(slot->tts_values[COLUMN_NAME - 1]);
	if (!VARATT_IS_EXTERNAL(name) && !VARATT_IS_COMPRESSED(name) && VARSIZE_ANY_EXHDR(name) == strlen(head->key.name) &&
		memcmp(VARDATA_ANY(name), head->key.name, VARSIZE_ANY_EXHDR(name)) == 0 &&
		DatumGetInt32(slot->tts_values[COLUMN_TENANT - 1]) == head->key.tenant)
		return true;
	ExecClearTuple(slot);
	return false;
}

/* Fetches the row of a stream that the snapshot sees. */
static bool
fetch_row(Relation relation, const AtpHead *head, Snapshot snapshot, TupleTableSlot *slot)
{
	ScanKeyData keys[2];
	ItemPointerData entry;

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, DEFAULT_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(head->key.name));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(head->key.tenant));
	if (!atp_relation_fetch(relation, ATP_REL_STREAM_NAME_UNIQUE, keys, lengthof(keys), snapshot, slot, &entry))
		return false;
	hint_at(head, &entry, ((BufferHeapTupleTableSlot *) slot)->buffer);
	return true;
}

/*
 * Fetches the row as it is committed now, whatever the transaction's snapshot. SnapshotSelf costs no visit to the process array,
 * but may miss a row of which another transaction commits a new version meanwhile: what is not found is looked for again under a
 * snapshot that sees one version for certain.
 */
static bool
fetch_latest_row(Relation relation, const AtpHead *head, TupleTableSlot *slot)
{
	Snapshot	snapshot;
	bool		found = fetch_hinted_row(relation, head, slot) || fetch_row(relation, head, SnapshotSelf, slot);

	if (!found)
	{
		snapshot = RegisterSnapshot(GetLatestSnapshot());
		found = fetch_row(relation, head, snapshot, slot);
		UnregisterSnapshot(snapshot);
	}
	return found;
}

void
atp_headrow_find(AtpHead *head, bool lock)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_STREAM), RowExclusiveLock);
	TupleTableSlot *slot = table_slot_create(relation, NULL);
	Snapshot	crosscheck = crosscheck_snapshot();
	RowLock		locked = ROW_LOCKED;
	int64		turn = 0;

	while (fetch_latest_row(relation, head, slot))
	{
		/* the crosscheck says whether the row is too new for REPEATABLE READ */
		if (crosscheck != InvalidSnapshot && !table_tuple_satisfies_snapshot(relation, slot, crosscheck))
			refuse_concurrent();
		if (lock)
			locked = lock_row(relation, slot, turn == 0 ? LockWaitSkip : LockWaitBlock);
		if (locked == ROW_LOCKED)
		{
			read_row(head, slot);
			head->locked = lock;
			head->written = true;
		}
		if (locked != ROW_HELD)
			break;
		turn = stream_of(slot);
		atp_headrow_await_turn(turn);		/* and read anew: the row has moved on */
	}
	if (turn != 0)
		atp_headrow_keep_turn(turn);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
}

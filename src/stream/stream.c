/*
 * Stream heads; see stream.h.
 *
 * Rollback to a savepoint: heads that a level put here go with it (its row lock and row version are gone too); heads of outer levels
 * that it changed get back the image taken by atp_stream_change. Both hang on the level, so that a savepoint costs what it
 * touched, and not what the transaction holds. Release of a savepoint hands both to the level above.
 *
 * Crash: nothing here outlives the transaction; the row and the events are written by it or not at all.
 */
#include "stream/stream.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "commands/sequence.h"
#include "common/hashfn.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/eventid.h"
#include "pg/relation.h"

PG_FUNCTION_INFO_V1(atp_stream_pending_version);
PG_FUNCTION_INFO_V1(atp_stream_pending_hash);
PG_FUNCTION_INFO_V1(atp_stream_pending_recorded_at);
PG_FUNCTION_INFO_V1(atp_stream_pending_min_event_id);
PG_FUNCTION_INFO_V1(atp_stream_pending_max_event_id);

#define TURN_LOCK_CLASS 0x6175	/* no advisory lock function of SQL uses this class, nor does pg/worker */
#define TURNS_MAX 256
#define HEADS_MIN 16
#define HEADS_MAX (1 << 20)

static int	setting_heads = 16384;	/* at about half a kilobyte each */

enum
{
	COLUMN_STREAM = 1, COLUMN_TENANT, COLUMN_STREAM_UID, COLUMN_VERSION, COLUMN_CREATED_AT, COLUMN_LAST_RECORDED_AT,
	COLUMN_MIN_EVENT_ID, COLUMN_MAX_EVENT_ID, COLUMN_HASH, COLUMN_STATE, COLUMN_NAME, COLUMN_COUNT = COLUMN_NAME
};

typedef struct Image			/* what a head was when `level` first changed it */
{
	AtpHead		head;
	int			level;
	struct Image *next;			/* older */
} Image;

typedef struct HeadEntry
{
	const AtpHeadKey *key;		/* in the head */
	AtpHead    *head;
} HeadEntry;

typedef struct PendingEntry
{
	int64		stream;
	AtpHead    *head;
} PendingEntry;

/* All of it lives in `memory`, a child of TopTransactionContext, and is forgotten with it. */
static MemoryContext memory;
static HTAB *heads;				/* HeadEntry */
static HTAB *pending;			/* PendingEntry, of heads that are locked and not written; NULL: there was none yet */
static dlist_head in_use;		/* all heads, least recently used first */
static dlist_head *levels;		/* heads by made_level */
static int	level_count;
static int	turns;				/* locks of queues that the transaction keeps */
static Image *images;			/* newest first, levels never rise towards the older ones */

/* The table's keys are pointers to those in the heads: a table of whole heads would make room for 32 of them in each transaction. */
static uint32
hash_key(const void *key, Size size)
{
	const AtpHeadKey *head = *(const AtpHeadKey *const *) key;

	return hash_bytes((const unsigned char *) head->name, (int) strlen(head->name)) ^ (uint32) head->tenant;
}

static int
compare_key(const void *a, const void *b, Size size)
{
	const AtpHeadKey *x = *(const AtpHeadKey *const *) a;
	const AtpHeadKey *y = *(const AtpHeadKey *const *) b;

	return x->tenant != y->tenant ? 1 : strcmp(x->name, y->name);
}

static void
begin(void)
{
	HASHCTL		control = {0};

	memory = AllocSetContextCreate(TopTransactionContext, "atp stream heads", ALLOCSET_DEFAULT_SIZES);
	control.keysize = sizeof(const AtpHeadKey *);
	control.entrysize = sizeof(HeadEntry);
	control.hash = hash_key;
	control.match = compare_key;
	control.hcxt = memory;
	heads = hash_create("atp stream heads", 64, &control, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	pending = NULL;				/* made for the first that is */
	dlist_init(&in_use);
	levels = NULL;
	level_count = 0;
	images = NULL;
}

static AtpHead *
find_head(const AtpHeadKey *key)
{
	HeadEntry  *entry = hash_search(heads, &key, HASH_FIND, NULL);

	return entry == NULL ? NULL : entry->head;
}

static dlist_head *
level_list(int level)
{
	if (level > level_count)
	{
		int			count = Max(8, level * 2);
		dlist_head *wider = MemoryContextAlloc(memory, count * sizeof(dlist_head));

		/* a list's ends point at its head: move the lists one by one */
		for (int i = 0; i < count; i++)
		{
			dlist_init(&wider[i]);
			while (i < level_count && !dlist_is_empty(&levels[i]))
				dlist_push_tail(&wider[i], dlist_pop_head_node(&levels[i]));
		}
		levels = wider;
		level_count = count;
	}
	return &levels[level - 1];
}

static void
set_pending(AtpHead *head, bool is_pending)
{
	if (is_pending)
	{
		if (pending == NULL)
		{
			HASHCTL		control = {.keysize = sizeof(int64), .entrysize = sizeof(PendingEntry), .hcxt = memory};

			pending = hash_create("atp pending stream heads", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
		}
		((PendingEntry *) hash_search(pending, &head->stream, HASH_ENTER, NULL))->head = head;
	}
	else if (pending != NULL && head->stream != 0)
		hash_search(pending, &head->stream, HASH_REMOVE, NULL);
}

static void
forget(AtpHead *head)
{
	const AtpHeadKey *key = &head->key;

	set_pending(head, false);
	dlist_delete(&head->in_level);
	dlist_delete(&head->in_use);
	hash_search(heads, &key, HASH_REMOVE, NULL);
	pfree(head);
}

/* Puts a head into the tables: a fresh one, or one brought back by an image. */
static AtpHead *
enter(const AtpHeadKey *key, int level)
{
	AtpHead    *head = MemoryContextAllocZero(memory, sizeof(AtpHead));
	const AtpHeadKey *own = &head->key;
	HeadEntry  *entry;
	bool		found;

	head->key.tenant = key->tenant;
	strlcpy(head->key.name, key->name, sizeof(head->key.name));
	entry = hash_search(heads, &own, HASH_ENTER, &found);
	Assert(!found);
	entry->head = head;
	head->made_level = head->saved_level = level;
	dlist_push_tail(level_list(level), &head->in_level);
	dlist_push_tail(&in_use, &head->in_use);
	return head;
}

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

static void
refuse_concurrent(void)
{
	ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			errmsg("could not serialize access due to concurrent append to the stream"),
			errhint("The transaction might succeed if retried."));
}

/*
 * Writes a row over the one that stands. With `wait` it waits for whoever holds the row. False: someone else changed it or
 * holds it. The index entries follow unless the update was HOT.
 */
static bool
update_row(Relation relation, AtpHead *head, Snapshot crosscheck, bool wait)
{
	HeapTuple	tuple = form_row(relation, head);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsHeapTuple);
	TM_FailureData failure;
	LockTupleMode mode;
	AtpUpdateIndexes indexes;
	TM_Result	result;

	ExecStoreHeapTuple(tuple, slot, false);
	result = table_tuple_update(relation, &head->row, slot, GetCurrentCommandId(true), InvalidSnapshot, crosscheck, wait,
								&failure, &mode, &indexes);
	if (result == TM_Ok)
	{
		head->row = slot->tts_tid;
		if (atp_compat_update_needs_indexes(indexes))
			atp_relation_index_insert(relation, slot);
		head->written = true;
	}
	else if (result == TM_SelfModified || result == TM_Invisible)
		elog(ERROR, "row of stream \"%s\" was changed by this command already", head->key.name);
	ExecDropSingleTupleTableSlot(slot);
	heap_freetuple(tuple);
	return result == TM_Ok;
}

/* Writes a head whose row is behind. */
static void
flush(AtpHead *head)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_STREAM), RowExclusiveLock);

	CommandCounterIncrement();	/* the row may have been written by the current command */
	if (!update_row(relation, head, InvalidSnapshot, true))
		elog(ERROR, "row of stream \"%s\" was changed by another transaction under our lock", head->key.name);
	CommandCounterIncrement();
	set_pending(head, false);
	table_close(relation, NoLock);
}

static void
make_room(void)
{
	AtpHead    *oldest;

	if (hash_get_num_entries(heads) < setting_heads)
		return;
	oldest = dlist_container(AtpHead, in_use, dlist_head_node(&in_use));
	if (!oldest->written)
	{
		atp_stream_change(oldest);	/* a rollback undoes the write, so it needs the image */
		flush(oldest);
	}
	forget(oldest);
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

static void
await_turn(int64 stream)
{
	LOCKTAG		tag;

	turn_tag(&tag, stream);
	(void) LockAcquire(&tag, ExclusiveLock, false, false);
}

/* The row is ours. A transaction that has waited for very many rows lets go, for locks live in shared memory. */
static void
keep_turn(int64 stream)
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

/* Fetches the row of a stream that the snapshot sees. */
static bool
fetch_row(Relation relation, const AtpHead *head, Snapshot snapshot, TupleTableSlot *slot)
{
	ScanKeyData keys[2];

	ScanKeyEntryInitialize(&keys[0], 0, 1, BTEqualStrategyNumber, InvalidOid, DEFAULT_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(head->key.name));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(head->key.tenant));
	return atp_relation_fetch(relation, ATP_REL_STREAM_NAME_UNIQUE, keys, lengthof(keys), snapshot, slot);
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
	bool		found = fetch_row(relation, head, SnapshotSelf, slot);

	if (!found)
	{
		snapshot = RegisterSnapshot(GetLatestSnapshot());
		found = fetch_row(relation, head, snapshot, slot);
		UnregisterSnapshot(snapshot);
	}
	return found;
}

/* Reads the row of a stream into the head, locking it if asked; leaves stream = 0 when there is none. */
static void
find_row(AtpHead *head, bool lock)
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
		await_turn(turn);		/* and read anew: the row has moved on */
	}
	if (turn != 0)
		keep_turn(turn);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
}

AtpHead *
atp_stream_open(int32 tenant, const char *name, bool lock)
{
	AtpHeadKey	key;
	AtpHead    *head;

	if (memory == NULL)
		begin();
	key.tenant = tenant;
	strlcpy(key.name, name, sizeof(key.name));
	head = find_head(&key);
	if (head != NULL && head->locked)
	{
		dlist_delete(&head->in_use);
		dlist_push_tail(&in_use, &head->in_use);
		return head;
	}
	if (head != NULL)
		forget(head);			/* read without a lock: it is anew, and by this level */
	make_room();
	head = enter(&key, GetCurrentTransactionNestLevel());
	find_row(head, lock);
	return head;
}

void
atp_stream_change(AtpHead *head)
{
	int			level = GetCurrentTransactionNestLevel();
	Image	   *image;

	if (head->saved_level >= level)
		return;
	image = MemoryContextAlloc(memory, sizeof(Image));
	image->head = *head;
	image->level = level;
	image->next = images;
	images = image;
	head->saved_level = level;
}

/* Inserts the row of a new stream; false: another transaction has made the stream. */
static bool
insert_row(AtpHead *head)
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
		head->row = slot->tts_tid;
	else
		head->stream = 0;
	ExecDropSingleTupleTableSlot(slot);
	heap_freetuple(tuple);
	table_close(relation, NoLock);
	return inserted;
}

bool
atp_stream_publish(AtpHead *head, int64 *turn)
{
	int64		stream = head->stream;
	bool		done;

	if (head->locked)
	{
		/* held since an earlier append, or locked first: the row follows before commit */
		head->written = false;
		set_pending(head, true);
		return true;
	}
	if (head->stream == 0)
		done = insert_row(head);
	else
	{
		Relation	relation = table_open(atp_relation_oid(ATP_REL_STREAM), RowExclusiveLock);

		done = update_row(relation, head, crosscheck_snapshot(), *turn != 0);
		table_close(relation, NoLock);
	}
	if (done)
		head->locked = head->written = true;
	else
		forget(head);
	if (done && *turn != 0)
		keep_turn(*turn);
	else if (!done && *turn == 0 && stream != 0)
	{
		await_turn(stream);
		*turn = stream;
	}
	return done;
}

const AtpHead *
atp_stream_pending(int64 stream)
{
	PendingEntry *entry;

	if (memory == NULL || pending == NULL)
		return NULL;
	entry = hash_search(pending, &stream, HASH_FIND, NULL);
	return entry == NULL ? NULL : entry->head;
}

bool
atp_stream_has_pending(void)
{
	return memory != NULL && pending != NULL && hash_get_num_entries(pending) > 0;
}

/* Writes every head whose row is behind; the transaction is about to commit or to be prepared. */
static void
flush_all(void)
{
	HASH_SEQ_STATUS walk;
	PendingEntry *entry;

	if (!atp_stream_has_pending())
		return;
	PushActiveSnapshot(GetTransactionSnapshot());
	hash_seq_init(&walk, pending);
	while ((entry = hash_seq_search(&walk)) != NULL)
		flush(entry->head);		/* removes the entry just returned, which a sequential search allows */
	PopActiveSnapshot();
}

static void
end_of_transaction(XactEvent event, void *argument)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			flush_all();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			turns = 0;
			memory = NULL;		/* freed with its parent */
			heads = pending = NULL;
			break;
		default:
			break;
	}
}

static void
roll_back_level(int level)
{
	/* deeper levels have ended before this one */
	while (level <= level_count && !dlist_is_empty(&levels[level - 1]))
		forget(dlist_head_element(AtpHead, in_level, &levels[level - 1]));
	while (images != NULL && images->level >= level)
	{
		Image	   *image = images;
		AtpHead    *head = find_head(&image->head.key);
		dlist_node	in_level,
					use;

		Assert(image->level == level && image->head.made_level < level);
		if (head == NULL)
			head = enter(&image->head.key, image->head.made_level);
		in_level = head->in_level;
		use = head->in_use;
		*head = image->head;
		head->in_level = in_level;
		head->in_use = use;
		set_pending(head, head->locked && !head->written);
		images = image->next;
		pfree(image);
	}
}

static void
release_level(int level)
{
	Image	   *kept = NULL;

	if (level <= level_count)
	{
		dlist_head *list = &levels[level - 1];

		while (!dlist_is_empty(list))
		{
			AtpHead    *head = dlist_head_element(AtpHead, in_level, list);

			dlist_delete(&head->in_level);
			head->made_level = head->saved_level = level - 1;
			dlist_push_tail(level_list(level - 1), &head->in_level);
		}
	}
	while (images != NULL && images->level >= level)
	{
		Image	   *image = images;
		AtpHead    *head = find_head(&image->head.key);

		images = image->next;
		if (head != NULL)
			head->saved_level = level - 1;
		if (level - 1 <= 1 || image->head.saved_level >= level - 1)
			pfree(image);		/* the level above has an image of its own, or needs none */
		else
		{
			image->level = level - 1;
			image->next = kept;
			kept = image;
		}
	}
	while (kept != NULL)
	{
		Image	   *image = kept;

		kept = image->next;
		image->next = images;
		images = image;
	}
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (memory == NULL)
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		roll_back_level(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		release_level(GetCurrentTransactionNestLevel());
}

void
atp_stream_init(void)
{
	DefineCustomIntVariable("atp.stream_heads", "Number of stream heads that a transaction holds in memory.",
							"A transaction that appends to more streams, and to each repeatedly, writes their rows more often.",
							&setting_heads, 16384, HEADS_MIN, HEADS_MAX, PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}

/* pending_version(stream, version) and its like: what the views show inside an appending transaction. */
Datum
atp_stream_pending_version(PG_FUNCTION_ARGS)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));

	if (head == NULL && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_INT64(head != NULL ? head->version : PG_GETARG_INT64(1));
}

Datum
atp_stream_pending_hash(PG_FUNCTION_ARGS)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));

	if (head != NULL)
	{
		bytea	   *hash = palloc(VARHDRSZ + ATP_HASH_SIZE);

		SET_VARSIZE(hash, VARHDRSZ + ATP_HASH_SIZE);
		memcpy(VARDATA(hash), head->hash, ATP_HASH_SIZE);
		PG_RETURN_BYTEA_P(hash);
	}
	if (PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_DATUM(PG_GETARG_DATUM(1));
}

Datum
atp_stream_pending_recorded_at(PG_FUNCTION_ARGS)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));

	if (head == NULL && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(head != NULL ? head->last_recorded_at : PG_GETARG_TIMESTAMPTZ(1));
}

static Datum
pending_event_id(FunctionCallInfo fcinfo, bool largest)
{
	const AtpHead *head = PG_ARGISNULL(0) ? NULL : atp_stream_pending(PG_GETARG_INT64(0));
	pg_uuid_t  *id;

	if (head == NULL && PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (head == NULL)
		PG_RETURN_DATUM(PG_GETARG_DATUM(1));
	id = palloc(sizeof(pg_uuid_t));
	*id = largest ? head->max_event_id : head->min_event_id;
	PG_RETURN_UUID_P(id);
}

Datum
atp_stream_pending_min_event_id(PG_FUNCTION_ARGS)
{
	return pending_event_id(fcinfo, false);
}

Datum
atp_stream_pending_max_event_id(PG_FUNCTION_ARGS)
{
	return pending_event_id(fcinfo, true);
}

/* Our tables by number, and rows written without the executor; see relation.h. */
#include "pg/relation.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_extension.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "pg/compat.h"
#include "pg/errors.h"

#define MAX_CALLBACKS 16
#define MAX_STORES 64

static const char *const names[ATP_REL_COUNT] = {
	[ATP_REL_TENANT] = "tenant",
	[ATP_REL_TENANT_NAME_UNIQUE] = "tenant_name_unique",
	[ATP_REL_TENANT_PK] = "tenant_pk",
	[ATP_REL_EVENT_TYPE] = "event_type",
	[ATP_REL_EVENT_TYPE_NAME_UNIQUE] = "event_type_name_unique",
	[ATP_REL_EVENT_TYPE_PK] = "event_type_pk",
	[ATP_REL_EVENT_SCHEMA] = "event_schema",
	[ATP_REL_EVENT_SCHEMA_VERSION_UNIQUE] = "event_schema_version_unique",
	[ATP_REL_UPCASTER] = "upcaster",
	[ATP_REL_UPCASTER_PK] = "upcaster_pk",
	[ATP_REL_EVENT] = "event",
	[ATP_REL_EVENT_SEQ] = "event_seq",
	[ATP_REL_STREAM] = "stream",
	[ATP_REL_STREAM_NAME_UNIQUE] = "stream_name_unique",
	[ATP_REL_STREAM_PK] = "stream_pk",
	[ATP_REL_STREAM_SEQ] = "stream_stream_seq",
	[ATP_REL_IDEMPOTENCY] = "idempotency",
	[ATP_REL_IDEMPOTENCY_PK] = "idempotency_pk",
	[ATP_REL_LOG] = "log",
	[ATP_REL_LOG_PK] = "log_pk",
	[ATP_REL_LOG_EVENT_UNIQUE] = "log_event_unique",
	[ATP_REL_SUBSCRIPTION] = "subscription",
	[ATP_REL_SUBSCRIPTION_NAME_UNIQUE] = "subscription_name_unique",
	[ATP_REL_SUBSCRIPTION_CURSOR] = "subscription_cursor",
	[ATP_REL_SUBSCRIPTION_CURSOR_PK] = "subscription_cursor_pk",
	[ATP_REL_SEQUENCER] = "sequencer",
	[ATP_REL_AUDIT_EVENT_PROJECTION] = "audit_event_projection",
	[ATP_REL_EVENT_STREAM_PROJECTION] = "event_stream_projection",
	[ATP_REL_EVENT_STREAM_PROJECTION_PK] = "event_stream_projection_pk",
};

typedef struct Store			/* what inserting into one table needs */
{
	Oid			relation;
	bool		valid;
	AtpIndexes	indexes;
	MemoryContext memory;
} Store;

static Oid	oids[ATP_REL_COUNT];
static bool oids_valid = false;
static uint64 generation = 1;
static AtpRelationCallback callbacks[MAX_CALLBACKS];
static int	callback_count = 0;
static Store stores[MAX_STORES];	/* direct-mapped by OID */

/*
 * The whole protocol of our caches: a change of a relation of ours (or of all) bumps the generation, tells the rooms that
 * asked, and marks the store of that table stale. Stale memory is freed at the next use, never here: an invalidation can
 * arrive while the store is in use.
 */
static void
relation_changed(Datum argument, Oid relation)
{
	bool		ours = relation == InvalidOid || !oids_valid;	/* not known which are ours: it may be */

	for (int i = 0; !ours && i < ATP_REL_COUNT; i++)
		ours = oids[i] == relation;
	if (ours)
	{
		oids_valid = false;
		generation++;
		for (int i = 0; i < callback_count; i++)
			callbacks[i] (relation);
	}
	if (relation == InvalidOid)
		for (int i = 0; i < MAX_STORES; i++)
			stores[i].valid = false;
	else if (stores[relation % MAX_STORES].relation == relation)
		stores[relation % MAX_STORES].valid = false;
}

static void
register_callback(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relation_changed, (Datum) 0);
		registered = true;
	}
}

void
atp_relation_on_change(AtpRelationCallback callback)
{
	Assert(callback_count < MAX_CALLBACKS);
	register_callback();
	callbacks[callback_count++] = callback;
}

uint64
atp_relation_generation(void)
{
	return generation;
}

uint64
atp_relation_watch(void)
{
	register_callback();
	return generation;
}

static void
check_version(void)
{
	Relation	catalog = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ, CStringGetDatum("atp"));
	scan = systable_beginscan(catalog, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		null;
		Datum		datum = heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(catalog), &null);

		version = null ? NULL : TextDatumGetCString(datum);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	if (version == NULL)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("extension \"atp\" is not installed in this database"),
				errhint("Run CREATE EXTENSION atp."));
	if (strcmp(version, ATP_VERSION) != 0)
		ereport(ERROR, errcode(ATP_ERR_LIBRARY_MISMATCH),
				errmsg("library and SQL objects of extension \"atp\" are of different versions"),
				errdetail("The loaded library is %s, the installed SQL objects are %s.", ATP_VERSION, version),
				errhint("Run ALTER EXTENSION atp UPDATE, or reconnect if the library was replaced."));
}

static void
load_oids(void)
{
	Oid			schema;

	register_callback();
	if (!creating_extension)
		check_version();
	schema = get_namespace_oid("atp_internal", false);
	for (int i = 0; i < ATP_REL_COUNT; i++)
	{
		oids[i] = get_relname_relid(names[i], schema);
		if (!OidIsValid(oids[i]) && !creating_extension)
			ereport(ERROR, errcode(ERRCODE_UNDEFINED_TABLE), errmsg("relation \"atp_internal.%s\" does not exist", names[i]),
					errhint("The extension is damaged; restore it from a dump."));
	}
	oids_valid = !creating_extension;
}

Oid
atp_relation_oid(AtpRelation which)
{
	if (!oids_valid)
		load_oids();
	return oids[which];
}

/*
 * The version of a row that the snapshot sees, of those that an entry of an index leads to. Takes over the pin of the buffer, which
 * goes to the slot.
 */
static bool
fetch_version(Relation relation, Buffer buffer, const ItemPointerData *entry, Snapshot snapshot, TupleTableSlot *slot, bool *all_dead)
{
	HeapTuple	tuple = &((BufferHeapTupleTableSlot *) slot)->base.tupdata;
	ItemPointerData place = *entry;
	bool		found;

	if (PageGetHeapFreeSpace(BufferGetPage(buffer)) < BLCKSZ / 10)	/* read without a lock, as heap_page_prune_opt does */
		heap_page_prune_opt(relation, buffer);
	LockBuffer(buffer, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&place, relation, buffer, snapshot, tuple, all_dead, true);
	LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
	if (found)
	{
		tuple->t_self = place;
		ExecStorePinnedBufferHeapTuple(tuple, slot, buffer);
	}
	else
		ReleaseBuffer(buffer);
	return found;
}

bool
atp_relation_fetch(Relation relation, AtpRelation index, ScanKey keys, int key_count, Snapshot snapshot, TupleTableSlot *slot,
				   ItemPointer entry)
{
	Relation	opened = index_open(atp_relation_oid(index), RowExclusiveLock);
	IndexScanDesc scan = atp_compat_index_beginscan(relation, opened, snapshot, key_count);
	ItemPointer place;
	bool		found = false;

	Assert(relation->rd_rel->relam == HEAP_TABLE_AM_OID && TTS_IS_BUFFERTUPLE(slot));
	index_rescan(scan, keys, key_count, NULL, 0);
	while (!found && (place = index_getnext_tid(scan, ForwardScanDirection)) != NULL)
	{
		bool		all_dead = false;

		found = fetch_version(relation, ReadBuffer(relation, ItemPointerGetBlockNumber(place)), place, snapshot, slot, &all_dead);
		scan->kill_prior_tuple = all_dead;
		if (found && entry != NULL)
			*entry = *place;
	}
	index_endscan(scan);
	index_close(opened, NoLock);
	return found;
}

bool
atp_relation_fetch_at(Relation relation, const ItemPointerData *entry, Buffer buffer, Snapshot snapshot, TupleTableSlot *slot)
{
	BlockNumber block = ItemPointerGetBlockNumber(entry);
	bool		all_dead;

	Assert(relation->rd_rel->relam == HEAP_TABLE_AM_OID && TTS_IS_BUFFERTUPLE(slot));
	if (!BufferIsValid(buffer) || !atp_compat_read_recent_buffer(relation, block, buffer))
	{
		if (block >= RelationGetNumberOfBlocks(relation))
			return false;
		buffer = ReadBuffer(relation, block);
	}
	return fetch_version(relation, buffer, entry, snapshot, slot, &all_dead);
}

/* The column of an index whose predicate is that this column is not null; InvalidAttrNumber otherwise. */
static AttrNumber
required_column(const IndexInfo *info)
{
	const NullTest *test = info->ii_Predicate == NIL ? NULL : linitial(info->ii_Predicate);

	if (test == NULL || list_length(info->ii_Predicate) != 1 || !IsA(test, NullTest) || test->nulltesttype != IS_NOT_NULL ||
		!IsA(test->arg, Var))
		return InvalidAttrNumber;
	return castNode(Var, test->arg)->varattno;
}

static void
add_index(AtpIndexes *indexes, Oid oid, MemoryContext memory)
{
	Relation	index = index_open(oid, RowExclusiveLock);
	IndexInfo  *info = BuildIndexInfo(index);
	AttrNumber	required = required_column(info);

	info->ii_Context = memory;
	if (info->ii_Expressions != NIL || info->ii_ExclusionOps != NULL || (info->ii_Predicate != NIL && required <= 0))
		indexes->simple = false;
	indexes->oids[indexes->count] = oid;
	indexes->required[indexes->count] = required;
	indexes->infos[indexes->count++] = info;
	index_close(index, NoLock);
}

static Store *
open_store(Relation relation)
{
	Store	   *store = &stores[RelationGetRelid(relation) % MAX_STORES];
	MemoryContext before;
	List	   *list;
	ListCell   *cell;

	if (store->valid && store->relation == RelationGetRelid(relation))
		return store;
	register_callback();
	store->valid = false;
	if (store->memory != NULL)
		MemoryContextReset(store->memory);
	else
		store->memory = AllocSetContextCreate(CacheMemoryContext, "atp index information", ALLOCSET_SMALL_SIZES);

	before = MemoryContextSwitchTo(store->memory);
	list = RelationGetIndexList(relation);
	store->relation = RelationGetRelid(relation);
	store->indexes.simple = true;
	store->indexes.count = 0;
	store->indexes.oids = palloc_array(Oid, list_length(list) + 1);
	store->indexes.infos = palloc_array(IndexInfo *, list_length(list) + 1);
	store->indexes.required = palloc_array(AttrNumber, list_length(list) + 1);
	store->valid = true;		/* an invalidation from here on counts */
	foreach(cell, list)
		add_index(&store->indexes, lfirst_oid(cell), store->memory);
	MemoryContextSwitchTo(before);
	return store;
}

const AtpIndexes *
atp_relation_indexes(Relation relation)
{
	return &open_store(relation)->indexes;
}

/* The executor's way, for tables to which somebody has added an index with an expression or a predicate. */
static void
index_insert_general(Relation relation, TupleTableSlot *slot)
{
	EState	   *state = CreateExecutorState();
	ResultRelInfo *info = makeNode(ResultRelInfo);

	InitResultRelInfo(info, relation, 1, NULL, 0);
	ExecOpenIndices(info, false);
	(void) atp_compat_insert_index_tuples(info, slot, state, false, NULL);
	ExecCloseIndices(info);
	FreeExecutorState(state);
}

/* Enters rows into every index: all of them into the first, then all into the second, ... */
static void
insert_into_indexes(Relation relation, TupleTableSlot **slots, int count)
{
	const AtpIndexes *indexes = atp_relation_indexes(relation);

	if (!indexes->simple)
	{
		for (int i = 0; i < count; i++)
			index_insert_general(relation, slots[i]);
		return;
	}
	for (int i = 0; i < indexes->count; i++)
	{
		Relation	index = index_open(indexes->oids[i], RowExclusiveLock);
		IndexInfo  *info = indexes->infos[i];
		AttrNumber	required = indexes->required[i];
		IndexUniqueCheck check = index->rd_index->indisunique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO;

		atp_compat_index_insert_begin(index, info);
		for (int row = 0; info->ii_ReadyForInserts && row < count; row++)
		{
			Datum		values[INDEX_MAX_KEYS];
			bool		nulls[INDEX_MAX_KEYS];

			if (required > 0 && slot_attisnull(slots[row], required))
				continue;
			FormIndexDatum(info, slots[row], NULL, values, nulls);
			index_insert(index, values, nulls, &slots[row]->tts_tid, relation, check, false, info);
		}
		atp_compat_index_insert_end(index, info);
		index_close(index, NoLock);
	}
}

void
atp_relation_index_insert(Relation relation, TupleTableSlot *slot)
{
	insert_into_indexes(relation, &slot, 1);
}

void
atp_relation_insert_rows(Relation relation, TupleTableSlot **slots, int count)
{
	if (count == 1)
		table_tuple_insert(relation, slots[0], GetCurrentCommandId(true), 0, NULL);
	else
		table_multi_insert(relation, slots, count, GetCurrentCommandId(true), 0, NULL);
	insert_into_indexes(relation, slots, count);
}

bool
atp_relation_insert_unless_exists(Relation relation, TupleTableSlot *slot)
{
	EState	   *state = CreateExecutorState();
	ResultRelInfo *info = makeNode(ResultRelInfo);
	ItemPointerData conflict;
	bool		inserted = false;

	InitResultRelInfo(info, relation, 1, NULL, 0);
	ExecOpenIndices(info, true);
	while (atp_compat_check_index_constraints(info, slot, state, &conflict))
	{
		uint32		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
		bool		raced = false;

		CHECK_FOR_INTERRUPTS();
		table_tuple_insert_speculative(relation, slot, GetCurrentCommandId(true), 0, NULL, token);
		(void) atp_compat_insert_index_tuples(info, slot, state, true, &raced);
		table_tuple_complete_speculative(relation, slot, token, !raced);
		SpeculativeInsertionLockRelease(GetCurrentTransactionId());
		if (!raced)
		{
			inserted = true;
			break;
		}
	}
	ExecCloseIndices(info);
	FreeExecutorState(state);
	return inserted;
}

Oid
atp_relation_find_index(Relation relation, AttrNumber attribute, bool unique)
{
	const AtpIndexes *indexes = atp_relation_indexes(relation);

	for (int i = 0; i < indexes->count; i++)
		if (indexes->infos[i]->ii_IndexAttrNumbers[0] == attribute && indexes->infos[i]->ii_Unique == unique &&
			indexes->infos[i]->ii_Predicate == NIL)
			return indexes->oids[i];
	return InvalidOid;
}

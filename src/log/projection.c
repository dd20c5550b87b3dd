/*
 * Projections of the log: tables fed by one statement trigger of atp_internal.log, in the transaction of the tick.
 *
 * The trigger reads the rows of the tick from its transition table, fetches each event once for both projections through the leaf's
 * index on event_id, and writes to each table as a whole: rows of the audit projection in slices, index by index; of the stream
 * projection one row a stream, updated in place.
 *
 * Writers: whoever holds ATP_LOCK_TICK, by way of the trigger; and rebuild_projection(), which locks the table against it. So a row is
 * never changed under us. A restore fills log and projections alike: the trigger does nothing unless the sequencer is placing.
 *
 * Nothing that an event holds may fail a tick: texts that go into an index are cut (search_text), documents that are erased, or no
 * longer JSON, count as empty, and an event that is gone is passed over; all of that is for verify_log to tell.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "core/hash.h"
#include "core/json.h"
#include "log/sequencer.h"
#include "pg/canonical.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"
#include "pg/scan.h"
#include "record/eventtype.h"
#include "stream/partition.h"

PG_FUNCTION_INFO_V1(atp_projection_project);
PG_FUNCTION_INFO_V1(atp_projection_rebuild);
PG_FUNCTION_INFO_V1(atp_projection_search_text);

#define SLICE 100
#define STREAMS_MAX 20000		/* streams held before their rows are written */
#define TEXT_MAX 255			/* bytes of a text in an index; longer ones are cut to TEXT_CUT and marked */
#define TEXT_CUT 236
#define TEXT_DIGEST 8			/* bytes of the hash that marks them, in hexadecimal */
#define DEEPEST 10000

enum							/* columns of atp_internal.audit_event_projection */
{
	AUDIT_POSITION, AUDIT_EVENT_ID, AUDIT_TENANT, AUDIT_STREAM, AUDIT_STREAM_VERSION, AUDIT_EVENT_TYPE, AUDIT_OCCURRED_AT,
	AUDIT_RECORDED_AT, AUDIT_ACTOR, AUDIT_ACTION, AUDIT_RESOURCE, AUDIT_CORRELATION_ID, AUDIT_COLUMNS
};

enum							/* columns of atp_internal.event_stream_projection */
{
	STREAM_KEY, STREAM_TENANT, STREAM_CATEGORY, STREAM_EVENT_COUNT, STREAM_VERSION, STREAM_FIRST_OCCURRED_AT,
	STREAM_LAST_OCCURRED_AT, STREAM_FIRST_POSITION, STREAM_LAST_POSITION, STREAM_COLUMNS
};

#define STREAM_TABLE_NAME 11	/* column of atp_internal.stream */

typedef struct StreamKey
{
	int64		stream;
	int32		tenant;
	int32		zero;
} StreamKey;

typedef struct StreamSum		/* what is new of a stream */
{
	StreamKey	key;
	int64		event_count;
	int64		version;
	TimestampTz first_occurred_at;
	TimestampTz last_occurred_at;
	int64		first_position;
	int64		last_position;
} StreamSum;

typedef struct Projector
{
	MemoryContext memory;
	Snapshot	snapshot;		/* sees the events */

	/* the leaf that the last event was in */
	Relation	leaf;
	Relation	leaf_index;
	IndexScanDesc scan;
	TupleTableSlot *event;

	Relation	audit;			/* NULL: not fed */
	TupleTableSlot *slots[SLICE];
	int			count;
	MemoryContext texts;		/* of the rows of the slice */
	AtpJson		json;

	Relation	streams;		/* NULL: not fed */
	HTAB	   *sums;			/* StreamKey → StreamSum */
} Projector;

/* ---- texts ---- */

/* A text as it stands in an index: itself, or the beginning of it with a digest of all. */
static Datum
search_text(const char *text, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	uint8		hash[ATP_HASH_SIZE];
	char		cut[TEXT_MAX];
	int			length;

	if (size <= TEXT_MAX)
		return PointerGetDatum(cstring_to_text_with_len(text, (int) size));
	if (!atp_sha256(text, size, hash))
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed in OpenSSL"));
	length = pg_mbcliplen(text, (int) size, TEXT_CUT);
	memcpy(cut, text, length);
	memcpy(cut + length, "\xe2\x80\xa6", 3);	/* … */
	length += 3;
	for (int i = 0; i < TEXT_DIGEST; i++)
	{
		cut[length++] = digits[hash[i] >> 4];
		cut[length++] = digits[hash[i] & 0x0f];
	}
	return PointerGetDatum(cstring_to_text_with_len(cut, length));
}

/* The text of a member: a string's or a number's own, an object's by its member id; NULL (0) otherwise. */
static Datum
member_text(const AtpJson *json, const AtpJsonNode *object, const char *key)
{
	const AtpJsonNode *node = atp_json_member(json, object, key, strlen(key));

	if (node != NULL && node->type == ATP_JSON_OBJECT)
		node = atp_json_member(json, node, "id", 2);
	if (node == NULL || (node->type != ATP_JSON_STRING && node->type != ATP_JSON_NUMBER))
		return (Datum) 0;
	return search_text(atp_json_bytes(json, node), node->size);
}

/* Parses a stored document; NULL: it is none. */
static const AtpJsonNode *
parse(AtpJson *json, Datum document)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(document);
	AtpJsonLimits limits = {.max_depth = DEEPEST};
	AtpJsonError error;

	if (VARSIZE_ANY_EXHDR(text) <= 2 || !atp_json_parse(json, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), limits, &error))
		return NULL;
	return atp_json_node(json, 0);
}

/* Events that the platform received from outside say in the payload who did what. */
static bool
is_received(int32 event_type)
{
	static int32 answered = 0;
	static uint64 generation = 0;
	static bool answer;
	AtpEventType type;

	if (event_type != answered || generation != atp_relation_generation())
	{
		answer = atp_eventtype_get(event_type, &type) && strcmp(type.name, "AuditEventReceived") == 0;
		answered = event_type;
		generation = atp_relation_generation();
	}
	return answer;
}

/* ---- the audit projection ---- */

static void
write_audit(Projector *projector)
{
	if (projector->count > 0)
		atp_relation_insert_rows(projector->audit, projector->slots, projector->count);
	for (int i = 0; i < projector->count; i++)
		ExecClearTuple(projector->slots[i]);
	projector->count = 0;
	MemoryContextReset(projector->texts);
	CHECK_FOR_INTERRUPTS();
}

static void
set_text(TupleTableSlot *slot, int column, Datum text)
{
	if (text != (Datum) 0 && slot->tts_isnull[column])
	{
		slot->tts_values[column] = text;
		slot->tts_isnull[column] = false;
	}
}

static void
add_audit(Projector *projector, int64 log_position)
{
	MemoryContext before = MemoryContextSwitchTo(projector->texts);
	TupleTableSlot *slot = projector->slots[projector->count++];
	const Datum *event = projector->event->tts_values;
	const bool *missing = projector->event->tts_isnull;
	const AtpJsonNode *object;
	pg_uuid_t  *event_id = palloc(sizeof(pg_uuid_t));

	*event_id = *DatumGetUUIDP(event[ATP_EVENT_ID - 1]);
	memset(slot->tts_isnull, 0, sizeof(bool) * AUDIT_COLUMNS);
	slot->tts_values[AUDIT_POSITION] = Int64GetDatum(log_position);
	slot->tts_values[AUDIT_EVENT_ID] = UUIDPGetDatum(event_id);
	slot->tts_values[AUDIT_TENANT] = event[ATP_EVENT_TENANT - 1];
	slot->tts_values[AUDIT_STREAM] = event[ATP_EVENT_STREAM - 1];
	slot->tts_values[AUDIT_STREAM_VERSION] = event[ATP_EVENT_STREAM_VERSION - 1];
	slot->tts_values[AUDIT_EVENT_TYPE] = event[ATP_EVENT_EVENT_TYPE - 1];
	slot->tts_values[AUDIT_OCCURRED_AT] = event[ATP_EVENT_OCCURRED_AT - 1];
	slot->tts_values[AUDIT_RECORDED_AT] = event[ATP_EVENT_RECORDED_AT - 1];
	for (int i = AUDIT_ACTOR; i <= AUDIT_CORRELATION_ID; i++)
		slot->tts_isnull[i] = true;
	if (!missing[ATP_EVENT_METADATA - 1] && (object = parse(&projector->json, event[ATP_EVENT_METADATA - 1])) != NULL)
	{
		set_text(slot, AUDIT_ACTOR, member_text(&projector->json, object, "actor"));
		set_text(slot, AUDIT_ACTION, member_text(&projector->json, object, "action"));
		set_text(slot, AUDIT_RESOURCE, member_text(&projector->json, object, "resource"));
		set_text(slot, AUDIT_CORRELATION_ID, member_text(&projector->json, object, "correlation_id"));
	}
	if (!missing[ATP_EVENT_PAYLOAD - 1] && is_received(DatumGetInt32(event[ATP_EVENT_EVENT_TYPE - 1])) &&
		(object = parse(&projector->json, event[ATP_EVENT_PAYLOAD - 1])) != NULL)
	{
		set_text(slot, AUDIT_ACTOR, member_text(&projector->json, object, "Actor"));
		set_text(slot, AUDIT_ACTION, member_text(&projector->json, object, "Action"));
		set_text(slot, AUDIT_RESOURCE, member_text(&projector->json, object, "Resource"));
	}
	ExecStoreVirtualTuple(slot);
	MemoryContextSwitchTo(before);
	if (projector->count == SLICE)
		write_audit(projector);
}

/* ---- the stream projection ---- */

static void
add_stream(Projector *projector, int64 log_position)
{
	const Datum *event = projector->event->tts_values;
	StreamKey	key = {DatumGetInt64(event[ATP_EVENT_STREAM - 1]), DatumGetInt32(event[ATP_EVENT_TENANT - 1]), 0};
	TimestampTz occurred_at = DatumGetTimestampTz(event[ATP_EVENT_OCCURRED_AT - 1]);
	bool		found;
	StreamSum  *sum = hash_search(projector->sums, &key, HASH_ENTER, &found);

	if (!found)
	{
		sum->event_count = 0;
		sum->first_occurred_at = sum->last_occurred_at = occurred_at;
		sum->first_position = log_position;
	}
	sum->event_count++;
	sum->version = DatumGetInt64(event[ATP_EVENT_STREAM_VERSION - 1]);
	sum->first_occurred_at = Min(sum->first_occurred_at, occurred_at);
	sum->last_occurred_at = Max(sum->last_occurred_at, occurred_at);
	sum->last_position = log_position;
}

static int
compare_sums(const void *a, const void *b)
{
	const StreamSum *x = *(StreamSum *const *) a;
	const StreamSum *y = *(StreamSum *const *) b;

	return (x->key.stream > y->key.stream) - (x->key.stream < y->key.stream);
}

static IndexScanDesc
begin_by_key(Relation relation, Relation index, Snapshot snapshot)
{
	return atp_compat_index_beginscan(relation, index, snapshot, 2);
}

/*
 * Where this backend last wrote the rows of streams, direct-mapped. A hint: rolled back, written over by another tick or moved, the
 * row is looked for by index. It spares the sequencer the versions that nobody may remove while a snapshot is held open: through the
 * index every tick would wade through those that all ticks before it have left of a stream.
 */
#define PLACES 4096

typedef struct Place
{
	StreamKey	key;
	ItemPointerData row;
} Place;

static Place *places;

static Place *
place_of(const StreamKey *key)
{
	if (places == NULL)
		places = MemoryContextAllocZero(TopMemoryContext, sizeof(Place) * PLACES);
	return &places[((uint64) key->stream * 31 + (uint32) key->tenant) % PLACES];
}

static void
remember_place(const StreamKey *key, const ItemPointerData *row)
{
	Place	   *place = place_of(key);

	place->key = *key;
	place->row = *row;
}

/* Fetches the row of a stream from where it was written last; false: it is not there. */
static bool
fetch_by_place(Relation relation, BlockNumber blocks, const StreamKey *key, TupleTableSlot *slot)
{
	Place	   *place = place_of(key);

	if (memcmp(&place->key, key, sizeof(StreamKey)) != 0 || ItemPointerGetBlockNumberNoCheck(&place->row) >= blocks ||
		!table_tuple_fetch_row_version(relation, &place->row, SnapshotSelf, slot))
		return false;
	slot_getallattrs(slot);
	return DatumGetInt64(slot->tts_values[STREAM_KEY]) == key->stream && DatumGetInt32(slot->tts_values[STREAM_TENANT]) == key->tenant;
}

/* Fetches the row of a stream from a table with a unique index on (stream, tenant). */
static bool
fetch_by_key(IndexScanDesc scan, const StreamKey *key, TupleTableSlot *slot)
{
	ScanKeyData keys[2];

	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(key->stream));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key->tenant));
	index_rescan(scan, keys, 2, NULL, 0);
	if (!index_getnext_slot(scan, ForwardScanDirection, slot))
		return false;
	slot_getallattrs(slot);
	return true;
}

static void
update_stream(Relation relation, TupleTableSlot *old, const StreamSum *sum)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
	Datum	   *values = slot->tts_values;
	TM_FailureData failure;
	LockTupleMode mode;
	AtpUpdateIndexes indexes;
	TM_Result	result;

	memcpy(values, old->tts_values, sizeof(Datum) * STREAM_COLUMNS);
	memcpy(slot->tts_isnull, old->tts_isnull, sizeof(bool) * STREAM_COLUMNS);
	values[STREAM_EVENT_COUNT] = Int64GetDatum(DatumGetInt64(values[STREAM_EVENT_COUNT]) + sum->event_count);
	values[STREAM_VERSION] = Int64GetDatum(sum->version);
	values[STREAM_FIRST_OCCURRED_AT] =
		TimestampTzGetDatum(Min(DatumGetTimestampTz(values[STREAM_FIRST_OCCURRED_AT]), sum->first_occurred_at));
	values[STREAM_LAST_OCCURRED_AT] =
		TimestampTzGetDatum(Max(DatumGetTimestampTz(values[STREAM_LAST_OCCURRED_AT]), sum->last_occurred_at));
	values[STREAM_LAST_POSITION] = Int64GetDatum(sum->last_position);
	ExecStoreVirtualTuple(slot);
	result = table_tuple_update(relation, &old->tts_tid, slot, GetCurrentCommandId(true), InvalidSnapshot, InvalidSnapshot, true,
								&failure, &mode, &indexes);
	if (result != TM_Ok)
		elog(ERROR, "row %lld of the stream projection was changed by another", (long long) sum->key.stream);
	if (atp_compat_update_needs_indexes(indexes))
		atp_relation_index_insert(relation, slot);
	remember_place(&sum->key, &slot->tts_tid);
	ExecDropSingleTupleTableSlot(slot);
}

/* The row of a stream that is new here. `head` is its row in atp_internal.stream, or empty. */
static TupleTableSlot *
make_stream(Relation relation, TupleTableSlot *head, const StreamSum *sum)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);
	Datum	   *values = slot->tts_values;

	memset(slot->tts_isnull, 0, sizeof(bool) * STREAM_COLUMNS);
	values[STREAM_KEY] = Int64GetDatum(sum->key.stream);
	values[STREAM_TENANT] = Int32GetDatum(sum->key.tenant);
	slot->tts_isnull[STREAM_CATEGORY] = true;
	if (!TTS_EMPTY(head))
	{
		text	   *name = DatumGetTextPP(head->tts_values[STREAM_TABLE_NAME - 1]);
		const char *hyphen = memchr(VARDATA_ANY(name), '-', VARSIZE_ANY_EXHDR(name));

		int			size = hyphen == NULL ? (int) VARSIZE_ANY_EXHDR(name) : (int) (hyphen - VARDATA_ANY(name));

		values[STREAM_CATEGORY] = PointerGetDatum(cstring_to_text_with_len(VARDATA_ANY(name), size));
		slot->tts_isnull[STREAM_CATEGORY] = false;
	}
	values[STREAM_EVENT_COUNT] = Int64GetDatum(sum->event_count);
	values[STREAM_VERSION] = Int64GetDatum(sum->version);
	values[STREAM_FIRST_OCCURRED_AT] = TimestampTzGetDatum(sum->first_occurred_at);
	values[STREAM_LAST_OCCURRED_AT] = TimestampTzGetDatum(sum->last_occurred_at);
	values[STREAM_FIRST_POSITION] = Int64GetDatum(sum->first_position);
	values[STREAM_LAST_POSITION] = Int64GetDatum(sum->last_position);
	ExecStoreVirtualTuple(slot);
	return slot;
}

static void
insert_streams(Relation relation, TupleTableSlot **slots, int *count)
{
	if (*count > 0)
		atp_relation_insert_rows(relation, slots, *count);
	while (*count > 0)
		ExecDropSingleTupleTableSlot(slots[--*count]);
}

/* Writes the sums in the order of their keys, which is that of the rows, nearly. */
static void
write_sums(Projector *projector, StreamSum **sums, long count)
{
	Relation	projection = projector->streams;
	Relation	index = index_open(atp_relation_oid(ATP_REL_EVENT_STREAM_PROJECTION_PK), AccessShareLock);
	Relation	stream = table_open(atp_relation_oid(ATP_REL_STREAM), AccessShareLock);
	Relation	stream_index = index_open(atp_relation_oid(ATP_REL_STREAM_PK), AccessShareLock);
	TupleTableSlot *old = table_slot_create(projection, NULL);
	TupleTableSlot *head = table_slot_create(stream, NULL);
	BlockNumber blocks = RelationGetNumberOfBlocks(projection);	/* a rebuilt table may be shorter than it was */
	IndexScanDesc by_key = begin_by_key(projection, index, SnapshotSelf);
	IndexScanDesc head_by_key = begin_by_key(stream, stream_index, projector->snapshot);
	TupleTableSlot *fresh[SLICE];
	int			fresh_count = 0;

	for (long i = 0; i < count; i++)
	{
		if (fetch_by_place(projection, blocks, &sums[i]->key, old) || fetch_by_key(by_key, &sums[i]->key, old))
			update_stream(projection, old, sums[i]);
		else
		{
			if (!fetch_by_key(head_by_key, &sums[i]->key, head))
				ExecClearTuple(head);
			fresh[fresh_count++] = make_stream(projection, head, sums[i]);
			if (fresh_count == SLICE)
				insert_streams(projection, fresh, &fresh_count);
		}
		CHECK_FOR_INTERRUPTS();
	}
	insert_streams(projection, fresh, &fresh_count);
	index_endscan(by_key);
	index_endscan(head_by_key);
	ExecDropSingleTupleTableSlot(old);
	ExecDropSingleTupleTableSlot(head);
	index_close(index, NoLock);
	index_close(stream_index, NoLock);
	table_close(stream, NoLock);
}

static void
begin_sums(Projector *projector)
{
	HASHCTL		control = {.keysize = sizeof(StreamKey), .entrysize = sizeof(StreamSum), .hcxt = projector->memory};

	projector->sums = hash_create("atp stream projection", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

static void
write_streams(Projector *projector)
{
	MemoryContext work = AllocSetContextCreate(projector->memory, "atp stream projection rows", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(work);
	long		count = hash_get_num_entries(projector->sums);
	StreamSum **sums = palloc_array(StreamSum *, count + 1);
	HASH_SEQ_STATUS walk;
	StreamSum  *sum;
	long		n = 0;

	CommandCounterIncrement();	/* the rows may have been written by the current command */
	hash_seq_init(&walk, projector->sums);
	while ((sum = hash_seq_search(&walk)) != NULL)
		sums[n++] = sum;
	qsort(sums, n, sizeof(StreamSum *), compare_sums);
	write_sums(projector, sums, n);
	hash_destroy(projector->sums);
	begin_sums(projector);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(work);
}

/* ---- both ---- */

static void
begin(Projector *projector, bool audit, bool streams)
{
	MemoryContext before;
	AtpBuf		buffer;

	memset(projector, 0, sizeof(*projector));
	projector->memory = AllocSetContextCreate(CurrentMemoryContext, "atp projections", ALLOCSET_DEFAULT_SIZES);
	projector->snapshot = RegisterSnapshot(GetLatestSnapshot());
	before = MemoryContextSwitchTo(projector->memory);
	if (audit)
	{
		projector->audit = table_open(atp_relation_oid(ATP_REL_AUDIT_EVENT_PROJECTION), RowExclusiveLock);
		for (int i = 0; i < SLICE; i++)
			projector->slots[i] = MakeSingleTupleTableSlot(RelationGetDescr(projector->audit), &TTSOpsVirtual);
		projector->texts = AllocSetContextCreate(projector->memory, "atp projected texts", ALLOCSET_DEFAULT_SIZES);
		atp_buf_init_palloc(&buffer, projector->memory);
		atp_json_init(&projector->json, buffer.grow, buffer.context);
	}
	if (streams)
	{
		projector->streams = table_open(atp_relation_oid(ATP_REL_EVENT_STREAM_PROJECTION), RowExclusiveLock);
		begin_sums(projector);
	}
	MemoryContextSwitchTo(before);
}

static void
close_leaf(Projector *projector)
{
	if (projector->leaf == NULL)
		return;
	index_endscan(projector->scan);
	ExecDropSingleTupleTableSlot(projector->event);
	index_close(projector->leaf_index, NoLock);
	table_close(projector->leaf, NoLock);
	projector->leaf = NULL;
}

static void
open_leaf(Projector *projector, Relation leaf)
{
	MemoryContext before = MemoryContextSwitchTo(projector->memory);

	close_leaf(projector);
	projector->leaf = leaf;
	projector->leaf_index = index_open(atp_relation_find_index(leaf, ATP_EVENT_ID, true), AccessShareLock);
	projector->scan = atp_compat_index_beginscan(leaf, projector->leaf_index, projector->snapshot, 2);
	projector->event = table_slot_create(leaf, NULL);
	MemoryContextSwitchTo(before);
}

/* Fetches an event into projector->event; false: it is gone. */
static bool
fetch_event(Projector *projector, const pg_uuid_t *event_id, int32 tenant)
{
	Relation	leaf = atp_partition_open_existing(event_id);
	ScanKeyData keys[2];

	if (leaf == NULL)
		return false;
	if (projector->leaf != NULL && RelationGetRelid(projector->leaf) == RelationGetRelid(leaf))
		table_close(leaf, NoLock);
	else
		open_leaf(projector, leaf);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(event_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(tenant));
	index_rescan(projector->scan, keys, 2, NULL, 0);
	if (!index_getnext_slot(projector->scan, ForwardScanDirection, projector->event))
		return false;
	slot_getallattrs(projector->event);
	return true;
}

static void
project(Projector *projector, int64 log_position, const pg_uuid_t *event_id, int32 tenant)
{
	if (!fetch_event(projector, event_id, tenant))
		return;
	if (projector->audit != NULL)
		add_audit(projector, log_position);
	if (projector->streams != NULL)
	{
		add_stream(projector, log_position);
		if (hash_get_num_entries(projector->sums) >= STREAMS_MAX)
			write_streams(projector);
	}
}

static void
finish(Projector *projector)
{
	close_leaf(projector);
	if (projector->audit != NULL)
	{
		write_audit(projector);
		for (int i = 0; i < SLICE; i++)
			ExecDropSingleTupleTableSlot(projector->slots[i]);
		table_close(projector->audit, NoLock);
	}
	if (projector->streams != NULL)
	{
		write_streams(projector);
		table_close(projector->streams, NoLock);
	}
	UnregisterSnapshot(projector->snapshot);
	MemoryContextDelete(projector->memory);
}

/* Columns of the log that are used here, in the order of log.sql. */
#define LOG_POSITION 0
#define LOG_EVENT_ID 1
#define LOG_TENANT 4

/* Trigger AFTER INSERT, for each statement, on atp_internal.log. */
Datum
atp_projection_project(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Projector	projector;
	TupleTableSlot *slot;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		trigger->tg_newtable == NULL)
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("must be called AFTER INSERT for each statement, with a transition table"));
	if (!atp_sequencer_is_placing())
		PG_RETURN_POINTER(NULL);
	begin(&projector, true, true);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	tuplestore_rescan(trigger->tg_newtable);
	while (tuplestore_gettupleslot(trigger->tg_newtable, true, false, slot))
	{
		slot_getallattrs(slot);
		project(&projector, DatumGetInt64(slot->tts_values[LOG_POSITION]), DatumGetUUIDP(slot->tts_values[LOG_EVENT_ID]),
				DatumGetInt32(slot->tts_values[LOG_TENANT]));
	}
	ExecDropSingleTupleTableSlot(slot);
	finish(&projector);
	PG_RETURN_POINTER(NULL);
}

typedef struct Rebuild
{
	Projector	projector;
	int64		count;
} Rebuild;

static bool
rebuild_row(void *context, TupleTableSlot *row)
{
	Rebuild    *rebuild = context;

	project(&rebuild->projector, DatumGetInt64(row->tts_values[0]), DatumGetUUIDP(row->tts_values[1]), DatumGetInt32(row->tts_values[2]));
	rebuild->count++;
	return true;
}

/* rebuild_projection(projection) */
Datum
atp_projection_rebuild(PG_FUNCTION_ARGS)
{
	static AtpScan scan = {"SELECT l.log_position, l.event_id, l.tenant FROM atp_internal.log l ORDER BY l.log_position"};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		audit = strcmp(name, "audit_event_projection") == 0;
	bool		streams = strcmp(name, "event_stream_projection") == 0;
	Rebuild		rebuild = {.count = 0};

	if (!audit && !streams)
		ereport(ERROR, errcode(ATP_ERR_PROJECTION_NOT_FOUND), errmsg("projection \"%s\" does not exist", name),
				errhint("There are audit_event_projection and event_stream_projection."));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION), errmsg("rebuild_projection() must run in READ COMMITTED"),
				errdetail("It has to see what was placed before it got its lock."));
	/* waits for a tick that has written to the table; one that has not yet waits for us, and adds its rows to ours */
	SPI_connect();
	atp_query_text(audit ? "TRUNCATE atp_internal.audit_event_projection" : "TRUNCATE atp_internal.event_stream_projection");
	SPI_finish();
	PushActiveSnapshot(GetLatestSnapshot());
	begin(&rebuild.projector, audit, streams);
	atp_scan(&scan, NULL, rebuild_row, &rebuild);
	finish(&rebuild.projector);
	PopActiveSnapshot();
	PG_RETURN_INT64(rebuild.count);
}

/* search_text(value) */
Datum
atp_projection_search_text(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(0);

	PG_RETURN_DATUM(search_text(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
}

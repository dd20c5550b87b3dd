/*
 * The way of an event into the store; see append.h. The SQL entry points are in stream/door, repeated appends in stream/repeat.
 *
 * Order of work: first everything that is dear and needs no lock (names, canonical text, schema, commitments); then the stream: version,
 * previous hash, one SHA-256 per event, the head, the rows. A single event whose stream nobody else is writing is published by one
 * update of the head row that is its lock too; if another transaction was faster, the append stands in line for the row, and only
 * the hash is computed again.
 *
 * No lock that all appends share is taken: the log is numbered later, by the sequencer.
 */
#include "stream/append.h"

#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/xid8.h"

#include "core/record.h"
#include "pg/errors.h"
#include "pg/eventid.h"
#include "pg/relation.h"
#include "pg/worker.h"
#include "record/envelope.h"
#include "record/eventtype.h"
#include "record/schema.h"
#include "stream/partition.h"
#include "stream/repeat.h"
#include "stream/stream.h"

AtpAppendHooks atp_append_hooks;

static bool transaction_appended = false;

typedef struct Prepared			/* an event in stored form, before its place is known */
{
	AtpEventType type;
	AtpSchemaVerdict verdict;
	uint8		flags;			/* of the record */
	pg_uuid_t	event_id;
	bool		given_id;
	struct varlena *payload;
	struct varlena *metadata;
	struct varlena *unnamed;	/* the metadata without the name of the stream; NULL: they have none */
	uint8		salts[2 * ATP_SALT_SIZE];
	uint8		payload_commitment[ATP_HASH_SIZE];
	uint8		metadata_commitment[ATP_HASH_SIZE];
	bool		has_occurred_at;
	TimestampTz occurred_at;
} Prepared;

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static void
hash_failed(void)
{
	ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed in OpenSSL"));
}

/* Validates the payload against the version that the caller names, or the active one. */
static void
judge_payload(const AtpEvent *event, Prepared *prepared)
{
	int32		named = event->metadata != NULL ? atp_envelope_schema_version(event->metadata) : 0;

	if (event->schema_version != 0 && named != 0 && event->schema_version != named)
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("two schema versions are named: %d and, in the metadata, %d",
																 event->schema_version, named));
	prepared->verdict = atp_schema_judge(&prepared->type, event->payload, event->schema_version != 0 ? event->schema_version : named);
	prepared->flags = (prepared->type.builtin ? ATP_RECORD_PLATFORM : 0) |
		(prepared->verdict.errors != NULL ? ATP_RECORD_VIOLATION : 0);
}

/* A repetition of an event that was admitted before is no matter of today's schema: so this comes after the look-up, where there is one. */
static void
refuse_violations(const Prepared *prepared, int count)
{
	for (int i = 0; i < count; i++)
		if (prepared[i].verdict.errors != NULL && prepared[i].type.validation == ATP_VALIDATION_ENFORCE)
			atp_schema_refuse(&prepared[i].type, &prepared[i].verdict);
}

static void
commit_metadata(Prepared *prepared)
{
	if (!atp_part_commitment(ATP_PART_METADATA, prepared->salts + ATP_SALT_SIZE, VARDATA(prepared->metadata),
							 VARSIZE(prepared->metadata) - VARHDRSZ, NULL, 0, prepared->metadata_commitment))
		hash_failed();
}

static void
prepare_event(const AtpEvent *event, Prepared *prepared)
{
	atp_eventtype_resolve(event->event_type, &prepared->type);
	if (prepared->type.builtin && !event->platform)
		ereport(ERROR, errcode(ATP_ERR_PLATFORM_EVENT_TYPE), errmsg("event type \"%s\" belongs to the platform", prepared->type.name),
				errdetail("Its events are appended by atp when the thing happens."),
				errhint("Append an event type of your own; atp.ingest_event records an AuditEventReceived."));
	prepared->payload = atp_envelope_payload(event->payload, !event->unlimited);
	prepared->metadata = atp_envelope_metadata(event->metadata);
	judge_payload(event, prepared);
	prepared->has_occurred_at = event->has_occurred_at;
	prepared->occurred_at = event->occurred_at;
	if (event->has_occurred_at && TIMESTAMP_NOT_FINITE(event->occurred_at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("occurred_at must be finite"));
	prepared->given_id = event->event_id != NULL;
	if (prepared->given_id)
		prepared->event_id = *event->event_id;
	else
		atp_eventid_create(&prepared->event_id);
	atp_random_bytes(prepared->salts, sizeof(prepared->salts));
	if (!atp_part_commitment(ATP_PART_PAYLOAD, prepared->salts, VARDATA(prepared->payload),
							 VARSIZE(prepared->payload) - VARHDRSZ, NULL, 0, prepared->payload_commitment))
		hash_failed();
	prepared->unnamed = NULL;
	commit_metadata(prepared);
}

/* The first event of a stream carries the stream's name in its metadata; any other does not. */
static void
name_stream(Prepared *prepared, const AtpHead *head)
{
	if (head->version == 0 && prepared->unnamed == NULL)
	{
		prepared->unnamed = prepared->metadata;
		prepared->metadata = atp_envelope_name_stream(prepared->unnamed, head->key.name);
		commit_metadata(prepared);
	}
	else if (head->version > 0 && prepared->unnamed != NULL)
	{
		pfree(prepared->metadata);
		prepared->metadata = prepared->unnamed;
		prepared->unnamed = NULL;
		commit_metadata(prepared);
	}
}

static void
check_expected(const AtpHead *head, int64 expected)
{
	if (expected == ATP_EXPECT_ANY || (expected == ATP_EXPECT_EXISTS && head->version > 0) || expected == head->version)
		return;
	if (expected == ATP_EXPECT_NONE)
		ereport(ERROR, errcode(ATP_ERR_VERSION_CONFLICT), errmsg("stream \"%s\" exists already", head->key.name),
				errdetail("It is at version %lld; expected_version 0 demands that it does not exist.", (long long) head->version),
				errhint("Read the stream again and decide anew."));
	if (head->version == 0)
		ereport(ERROR, errcode(ATP_ERR_VERSION_CONFLICT), errmsg("stream \"%s\" does not exist", head->key.name),
				expected == ATP_EXPECT_EXISTS ? errdetail("It is at version 0; expected_version -1 demands that it exists.")
				: errdetail("It is at version 0, expected was version %lld.", (long long) expected));
	ereport(ERROR, errcode(ATP_ERR_VERSION_CONFLICT), errmsg("version conflict on stream \"%s\"", head->key.name),
			errdetail("It is at version %lld, expected was version %lld.", (long long) head->version, (long long) expected),
			errhint("Read the stream again and decide anew."));
}

static void
check_open(const AtpHead *head)
{
	if (head->version > 0 && head->state != 'o')
		ereport(ERROR, errcode(ATP_ERR_STREAM_SEALED), errmsg("stream \"%s\" takes no more events", head->key.name),
				errdetail("It is %s.", head->state == 's' ? "sealed" : "archived"));
}

/* Computes the chain link of an event at the end of the head, and moves the head's fields on. */
static void
link_event(const AtpTenant *tenant, AtpHead *head, Prepared *prepared, AtpReceipt *receipt)
{
	AtpRecord	record;

	receipt->event_id = prepared->event_id;
	receipt->stream_version = head->version + 1;
	receipt->recorded_at = GetCurrentTimestamp();
	receipt->schema_version = prepared->verdict.version;
	receipt->deduplicated = false;
	if (!prepared->has_occurred_at)
		prepared->occurred_at = receipt->recorded_at;

	record.alg = (uint8) tenant->alg;
	record.flags = prepared->flags;
	memcpy(record.log_uid, tenant->log_uid, 16);
	memcpy(record.stream_uid, head->stream_uid, 16);
	record.stream_version = (uint64) receipt->stream_version;
	memcpy(record.event_id, prepared->event_id.data, 16);
	record.event_type = prepared->type.name;
	record.event_type_size = strlen(prepared->type.name);
	record.schema_version = (uint32) prepared->verdict.version;
	record.occurred_at = prepared->occurred_at + UNIX_SHIFT;
	record.recorded_at = receipt->recorded_at + UNIX_SHIFT;
	memcpy(record.payload_commitment, prepared->payload_commitment, ATP_HASH_SIZE);
	memcpy(record.metadata_commitment, prepared->metadata_commitment, ATP_HASH_SIZE);
	memcpy(record.previous_hash, head->hash, ATP_HASH_SIZE);
	if (!atp_record_hash(&record, receipt->hash))
		hash_failed();

	if (head->version == 0)
	{
		head->created_at = receipt->recorded_at;
		head->min_event_id = head->max_event_id = prepared->event_id;
		head->state = 'o';
	}
	else if (memcmp(&prepared->event_id, &head->min_event_id, UUID_LEN) < 0)
		head->min_event_id = prepared->event_id;
	else if (memcmp(&prepared->event_id, &head->max_event_id, UUID_LEN) > 0)
		head->max_event_id = prepared->event_id;
	head->version = receipt->stream_version;
	memcpy(head->hash, receipt->hash, ATP_HASH_SIZE);
	head->last_recorded_at = receipt->recorded_at;
}

#define SLICE 100				/* rows that go to the table together */

typedef struct Varlena32		/* a bytea of 32 bytes */
{
	int32		header;
	uint8		bytes[32];
} Varlena32;

typedef struct Row				/* what the values of a row point to, besides the prepared event */
{
	Varlena32	hash;
	Varlena32	salts;
} Row;

/* Fills a row with an event; the slot borrows what it points to. */
static void
fill_slot(TupleTableSlot *slot, Row *row, int64 stream, int32 tenant, const Prepared *prepared, const AtpReceipt *receipt)
{
	Datum	   *values = slot->tts_values;

	SET_VARSIZE(&row->hash, sizeof(row->hash));
	memcpy(row->hash.bytes, receipt->hash, sizeof(row->hash.bytes));
	SET_VARSIZE(&row->salts, sizeof(row->salts));
	memcpy(row->salts.bytes, prepared->salts, sizeof(row->salts.bytes));

	ExecClearTuple(slot);
	memset(slot->tts_isnull, 0, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	values[ATP_EVENT_ID - 1] = UUIDPGetDatum(&prepared->event_id);
	values[ATP_EVENT_STREAM - 1] = Int64GetDatum(stream);
	values[ATP_EVENT_STREAM_VERSION - 1] = Int64GetDatum(receipt->stream_version);
	values[ATP_EVENT_OCCURRED_AT - 1] = TimestampTzGetDatum(prepared->occurred_at);
	values[ATP_EVENT_RECORDED_AT - 1] = TimestampTzGetDatum(receipt->recorded_at);
	values[ATP_EVENT_XID - 1] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[ATP_EVENT_SEQ - 1] = Int64GetDatum(nextval_internal(atp_relation_oid(ATP_REL_EVENT_SEQ), false));
	values[ATP_EVENT_TENANT - 1] = Int32GetDatum(tenant);
	values[ATP_EVENT_EVENT_TYPE - 1] = Int32GetDatum(prepared->type.event_type);
	values[ATP_EVENT_SCHEMA_VERSION - 1] = Int32GetDatum(prepared->verdict.version);
	values[ATP_EVENT_FLAGS - 1] = Int16GetDatum(prepared->flags);
	values[ATP_EVENT_HASH - 1] = PointerGetDatum(&row->hash);
	values[ATP_EVENT_SALTS - 1] = PointerGetDatum(&row->salts);
	values[ATP_EVENT_PAYLOAD - 1] = PointerGetDatum(prepared->payload);
	values[ATP_EVENT_METADATA - 1] = PointerGetDatum(prepared->metadata);
	for (int i = ATP_EVENT_METADATA; i < slot->tts_tupleDescriptor->natts; i++)
		slot->tts_isnull[i] = true;
	ExecStoreVirtualTuple(slot);
}

/*
 * A caller's id that another stream's append, not yet committed when this one looked, has stored meanwhile: the index on it is what
 * finds that. The version's index cannot be violated under the stream lock.
 */
static void
insert_given_ids(Relation leaf, TupleTableSlot **slots, int count)
{
	MemoryContext before = CurrentMemoryContext;

	PG_TRY();
	{
		atp_relation_insert_rows(leaf, slots, count);
	}
	PG_CATCH();
	{
		if (geterrcode() != ERRCODE_UNIQUE_VIOLATION)
			PG_RE_THROW();
		MemoryContextSwitchTo(before);
		FlushErrorState();
		ereport(ERROR, errcode(ATP_ERR_IDEMPOTENCY_CONFLICT), errmsg("event id was used before for other content"),
				errdetail("Another stream has an event of this id."));
	}
	PG_END_TRY();
}

/* Stores consecutive events that belong into one leaf; returns how many of those given it has stored. */
static int
store_slice(const AtpTenant *tenant, int64 stream, const Prepared *prepared, const AtpReceipt *receipts, int count)
{
	AtpPartitionRange range;
	Relation	leaf = atp_partition_open(&prepared->event_id, &range);
	TupleTableSlot *slots[SLICE];
	Row			rows[SLICE];
	bool		given = false;
	int			n = 0;

	do
	{
		slots[n] = MakeSingleTupleTableSlot(RelationGetDescr(leaf), &TTSOpsVirtual);
		fill_slot(slots[n], &rows[n], stream, tenant->tenant, &prepared[n], &receipts[n]);
		given = given || prepared[n].given_id;
		n++;
	} while (n < count && n < SLICE && atp_partition_contains(&range, &prepared[n].event_id));
	if (given)
		insert_given_ids(leaf, slots, n);
	else
		atp_relation_insert_rows(leaf, slots, n);
	for (int i = 0; i < n; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
	table_close(leaf, NoLock);
	return n;
}

/* Refuses where nothing can be written, before anything is done. */
static void
require_writable(void)
{
	PreventCommandIfReadOnly("append_event()");
	PreventCommandIfParallelMode("append_event()");
	PreventCommandDuringRecovery("append_event()");
}

static void
require_caller_stream(const char *stream)
{
	if (strncmp(stream, ATP_PLATFORM_PREFIX, strlen(ATP_PLATFORM_PREFIX)) == 0)
		ereport(ERROR, errcode(ATP_ERR_PLATFORM_STREAM), errmsg("stream \"%s\" belongs to the platform", stream),
				errdetail("Names that begin with \"%s\" are kept for events of the platform.", ATP_PLATFORM_PREFIX),
				errhint("Choose another name for the stream."));
}

/* Links the events to the head; the caller publishes it. */
static void
link_all(const AtpTenant *tenant, AtpHead *head, Prepared *prepared, int count, AtpReceipt *receipts)
{
	atp_stream_change(head);
	if (head->stream == 0)
	{
		pg_uuid_t	uid;

		atp_random_bytes(uid.data, UUID_LEN);
		uid.data[6] = (uid.data[6] & 0x0f) | 0x40;	/* a version 4 UUID, RFC 9562 */
		uid.data[8] = (uid.data[8] & 0x3f) | 0x80;
		memcpy(head->stream_uid, uid.data, UUID_LEN);
	}
	name_stream(&prepared[0], head);
	for (int i = 0; i < count; i++)
		link_event(tenant, head, &prepared[i], &receipts[i]);
}

/* What a repetition has to agree with. */
static void
describe(AtpContent *content, const AtpEvent *event, const Prepared *prepared)
{
	content->event_id = event->made_id ? NULL : event->event_id;
	content->event_type = prepared->type.event_type;
	content->payload = prepared->payload;
	content->metadata = event->metadata;
	content->has_occurred_at = event->has_occurred_at && !event->made_time;
	content->stamped = event->made_id || event->made_time;
	content->occurred_at = event->occurred_at;
}

void
atp_append(const AtpTenant *tenant, const char *stream, const AtpEvent *events, int count, int64 expected_version,
		   const char *batch_key, AtpReceipt *receipts)
{
	Prepared	single;
	Prepared   *prepared = count == 1 ? &single : palloc_array(Prepared, count);
	bool		repeatable = batch_key != NULL;
	bool		lock;
	int64		turn = 0;
	AtpContent *contents;
	AtpHead    *head;

	require_writable();
	if (!transaction_appended)
		atp_worker_throttle();
	if (count == 0 || !events[0].platform)
	{
		atp_tenant_require_active(tenant);
		require_caller_stream(stream);
	}
	atp_envelope_require_stream_name(stream);
	if (expected_version != ATP_EXPECT_ANY && expected_version < ATP_EXPECT_EXISTS)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid expected version %lld", (long long) expected_version),
				errhint("NULL: any; 0: the stream must not exist; -1: it must exist; n: it must be at version n."));
	for (int i = 0; i < count; i++)
	{
		prepare_event(&events[i], &prepared[i]);
		repeatable = repeatable || (events[i].event_id != NULL && !events[i].made_id);
		CHECK_FOR_INTERRUPTS();
	}

	if (!repeatable)
		refuse_violations(prepared, count);

	if (count > 0 && !prepared[0].given_id)
		atp_partition_prepare(&prepared[0].event_id);	/* an id that a caller gives is judged under the lock */
	contents = repeatable ? palloc_array(AtpContent, count) : NULL;
	lock = repeatable || count > 1;
	for (;;)
	{
		head = atp_stream_open(tenant->tenant, stream, lock);
		if (repeatable)
		{
			for (int i = 0; i < count; i++)
				describe(&contents[i], &events[i], &prepared[i]);
			if (atp_repeat_find(tenant, head, batch_key, contents, count, receipts))
				return;			/* the original receipts */
			refuse_violations(prepared, count);
		}
		check_open(head);
		check_expected(head, expected_version);
		for (int i = 0; repeatable && i < count; i++)
			if (prepared[i].given_id && !events[i].made_id)
				atp_envelope_require_id_in_window(&prepared[i].event_id, GetCurrentTimestamp());
		link_all(tenant, head, prepared, count, receipts);
		if (atp_stream_publish(head, &turn))
			break;
		CHECK_FOR_INTERRUPTS();
	}
	for (int stored = 0; stored < count;)
	{
		stored += store_slice(tenant, head->stream, prepared + stored, receipts + stored, count - stored);
		CHECK_FOR_INTERRUPTS();
	}
	if (batch_key != NULL)
		atp_repeat_remember(tenant, head, batch_key, receipts[0].stream_version, count);
	for (int i = 0; i < count; i++)
	{
		pfree(prepared[i].payload);
		pfree(prepared[i].metadata);
		if (prepared[i].unnamed != NULL)
			pfree(prepared[i].unnamed);
	}
	if (prepared != &single)
		pfree(prepared);
	transaction_appended = true;
	CommandCounterIncrement();	/* a later append of the same statement meets these rows as older ones */
}

static void
end_of_transaction(XactEvent event, void *argument)
{
	if (!transaction_appended)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			if (atp_append_hooks.pre_commit != NULL)
				atp_append_hooks.pre_commit();
			break;
		case XACT_EVENT_COMMIT:
			transaction_appended = false;
			if (atp_append_hooks.committed != NULL)
				atp_append_hooks.committed();
			break;
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PREPARE:
			transaction_appended = false;
			break;
		default:
			break;
	}
}

void
atp_append_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
}

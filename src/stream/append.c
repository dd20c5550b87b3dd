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

#include "access/parallel.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "core/record.h"
#include "pg/errors.h"
#include "pg/eventid.h"
#include "pg/worker.h"
#include "record/envelope.h"
#include "stream/append/store.h"
#include "stream/partition.h"
#include "stream/repeat.h"
#include "stream/stream.h"

AtpAppendHooks atp_append_hooks;

static bool transaction_appended = false;

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static void
hash_failed(void)
{
	ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed in OpenSSL"));
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
link_event(const AtpTenant *tenant, AtpHead *head, AtpPrepared *prepared, AtpReceipt *receipt)
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
link_all(const AtpTenant *tenant, AtpHead *head, AtpPrepared *prepared, int count, AtpReceipt *receipts)
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
	atp_prepare_name_stream(&prepared[0], head);
	for (int i = 0; i < count; i++)
		link_event(tenant, head, &prepared[i], &receipts[i]);
}

/* What a repetition has to agree with. */
static void
describe(AtpContent *content, const AtpEvent *event, const AtpPrepared *prepared)
{
	content->event_id = event->made_id ? NULL : event->event_id;
	content->event_type = prepared->type.event_type;
	content->payload = prepared->payload;
	content->metadata = event->metadata;
	content->has_occurred_at = event->has_occurred_at && !event->made_time;
	content->stamped = event->made_id || event->made_time;
	content->occurred_at = event->occurred_at;
}

/* Refuses a call that cannot be right whatever its events are. */
static void
check_call(const AtpTenant *tenant, const char *stream, bool platform, int64 expected_version)
{
	require_writable();
	if (!transaction_appended)
		atp_worker_throttle();
	if (!platform)
	{
		atp_tenant_require_active(tenant);
		require_caller_stream(stream);
	}
	atp_envelope_require_stream_name(stream);
	if (expected_version != ATP_EXPECT_ANY && expected_version < ATP_EXPECT_EXISTS)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("invalid expected version %lld", (long long) expected_version),
				errhint("NULL: any; 0: the stream must not exist; -1: it must exist; n: it must be at version n."));
}

/* Whether the events, whose stream is locked, are there already; otherwise they are judged as new ones. */
static bool
find_repeated(const AtpTenant *tenant, const AtpHead *head, const AtpEvent *events, const AtpPrepared *prepared, int count,
			  const char *batch_key, AtpReceipt *receipts)
{
	AtpContent *contents = palloc_array(AtpContent, count);
	bool		found;

	for (int i = 0; i < count; i++)
		describe(&contents[i], &events[i], &prepared[i]);
	found = atp_repeat_find(tenant, head, batch_key, contents, count, receipts);
	pfree(contents);
	if (!found)
		atp_prepare_refuse_violations(prepared, count);
	return found;
}

static void
place_events(const AtpTenant *tenant, const AtpHead *head, const AtpPrepared *prepared, const AtpReceipt *receipts, int count,
			 AtpPlaced *placed)
{
	for (int i = 0; i < count; i++)
		placed[i] = (AtpPlaced) {
			&prepared[i], &receipts[i], head->stream, atp_store_seq(), tenant->tenant
		};
}

/* Writes the rows of events that have been published. */
static void
store_events(const AtpTenant *tenant, const AtpHead *head, const AtpPrepared *prepared, const AtpReceipt *receipts, int count)
{
	AtpPlaced	placed[ATP_STORE_ROWS];

	for (int from = 0; from < count; from += ATP_STORE_ROWS)
	{
		int			n = Min(count - from, ATP_STORE_ROWS);

		place_events(tenant, head, prepared + from, receipts + from, n, placed);
		atp_store_events(placed, n);
	}
}

void
atp_append(const AtpTenant *tenant, const char *stream, const AtpEvent *events, int count, int64 expected_version,
		   const char *batch_key, AtpReceipt *receipts)
{
	AtpPrepared single;
	AtpPrepared *prepared = count == 1 ? &single : palloc_array(AtpPrepared, count);
	bool		repeatable = batch_key != NULL;
	int64		turn = 0;
	AtpHead    *head;

	check_call(tenant, stream, count > 0 && events[0].platform, expected_version);
	for (int i = 0; i < count; i++)
	{
		atp_prepare_event(&events[i], &prepared[i]);
		repeatable = repeatable || (events[i].event_id != NULL && !events[i].made_id);
		CHECK_FOR_INTERRUPTS();
	}
	if (!repeatable)
		atp_prepare_refuse_violations(prepared, count);
	if (count > 0 && !prepared[0].given_id)
		atp_partition_prepare(&prepared[0].event_id);	/* an id that a caller gives is judged under the lock */
	for (;;)
	{
		head = atp_stream_open(tenant->tenant, stream, repeatable || count > 1);
		if (repeatable && find_repeated(tenant, head, events, prepared, count, batch_key, receipts))
			return;				/* the original receipts */
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
	store_events(tenant, head, prepared, receipts, count);
	if (batch_key != NULL)
		atp_repeat_remember(tenant, head, batch_key, receipts[0].stream_version, count);
	for (int i = 0; i < count; i++)
		atp_prepare_free(&prepared[i]);
	if (prepared != &single)
		pfree(prepared);
	transaction_appended = true;
	CommandCounterIncrement();	/* a later append of the same statement meets these rows as older ones */
}

/* ==== Events that are gathered ==== */

struct AtpGather
{
	MemoryContext memory;		/* of the texts of the events gathered */
	int			count;
	AtpPrepared prepared[ATP_STORE_ROWS];
	AtpReceipt	receipts[ATP_STORE_ROWS];
	AtpPlaced	placed[ATP_STORE_ROWS];
};

static int	gathered = 0;		/* events that this transaction has published and not yet written */

AtpGather *
atp_gather_begin(void)
{
	AtpGather  *gather = palloc(sizeof(AtpGather));

	gather->memory = AllocSetContextCreate(CurrentMemoryContext, "atp events gathered", ALLOCSET_DEFAULT_SIZES);
	gather->count = 0;
	return gather;
}

void
atp_gather_event(AtpGather *gather, const AtpTenant *tenant, const char *stream, const AtpEvent *event, int64 expected_version)
{
	MemoryContext before = CurrentMemoryContext;
	AtpPrepared *prepared;
	AtpReceipt *receipt;
	int64		turn = 0;
	bool		new_row;
	AtpHead    *head;

	if (gather->count == ATP_STORE_ROWS)
		atp_gather_store(gather);
	prepared = &gather->prepared[gather->count];
	receipt = &gather->receipts[gather->count];
	check_call(tenant, stream, event->platform, expected_version);
	MemoryContextSwitchTo(gather->memory);
	atp_prepare_event(event, prepared);
	MemoryContextSwitchTo(before);
	atp_prepare_refuse_violations(prepared, 1);
	atp_partition_prepare(&prepared->event_id);
	do
	{
		CHECK_FOR_INTERRUPTS();
		head = atp_stream_open(tenant->tenant, stream, false);
		check_open(head);
		check_expected(head, expected_version);
		new_row = !head->locked;
		MemoryContextSwitchTo(gather->memory);
		link_all(tenant, head, prepared, 1, receipt);
		MemoryContextSwitchTo(before);
	} while (!atp_stream_publish(head, &turn));
	place_events(tenant, head, prepared, receipt, 1, &gather->placed[gather->count]);
	gather->count++;
	gathered++;
	transaction_appended = true;
	if (new_row)
		CommandCounterIncrement();	/* the stream's row is written again by this statement where memory has no room for its head */
}

void
atp_gather_store(AtpGather *gather)
{
	if (gather->count == 0)
		return;
	atp_store_events(gather->placed, gather->count);
	gathered -= gather->count;
	gather->count = 0;
	MemoryContextReset(gather->memory);
	CommandCounterIncrement();
}

void
atp_gather_forget(AtpGather *gather)
{
	gathered -= gather->count;
	gather->count = 0;
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
			if (gathered > 0)
				elog(ERROR, "%d events were published and not written", gathered);
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
			gathered = 0;
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

/* Items of ingestion into the store; see store.h. */
#include "stream/ingest/store.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "core/ulid.h"
#include "pg/errors.h"
#include "pg/eventid.h"
#include "pg/query.h"
#include "record/eventtype.h"
#include "record/schema.h"
#include "stream/append.h"
#include "stream/platform.h"

#define RUN_MAX 1000			/* events appended by one call: bounds the memory */

typedef struct Work
{
	const AtpIngestCall *call;
	AtpIngestItem *items;
	int		   *order;			/* indexes of the sound items, by stream */
	int			count;
	Jsonb	   *metadata;		/* of an item that has none of its own */
	MemoryContext memory;		/* of one run */

	/* the run at work: what an error is to be blamed on */
	int			run_from;
	int			run_until;
} Work;

static int
compare_streams(const void *a, const void *b, void *argument)
{
	const AtpIngestItem *items = argument;
	int			i = *(const int *) a;
	int			j = *(const int *) b;
	int			order = strcmp(items[i].stream, items[j].stream);

	return order != 0 ? order : (i > j) - (i < j);
}

static AtpIngestItem *
item_at(const Work *work, int at)
{
	return &work->items[work->order[at]];
}

/* Validates the payload against the schema of the type that the item names. */
static void
judge(AtpIngestItem *item)
{
	AtpEventType type;
	AtpSchemaVerdict verdict;

	if (!atp_eventtype_find(item->payload_type, &type) || type.active_version == 0)
		ereport(ERROR, errcode(ATP_ERR_EVENT_TYPE_NOT_REGISTERED), errmsg("payload type \"%s\" has no active schema", item->payload_type));
	verdict = atp_schema_judge(&type, item->payload, type.active_version);
	for (int i = 0; verdict.errors != NULL && i < verdict.errors->n; i++)
	{
		AtpSchemaError *error = &verdict.errors->errors[i];

		atp_ingest_item_fault(item, 0, psprintf("/payload%s", error->instance_location), error->keyword, error->message);
	}
}

static Jsonb *
metadata_of(const Work *work, const AtpIngestItem *item)
{
	if (item->metadata == NULL)
		return work->metadata;
	if (work->metadata == NULL)
		return item->metadata;
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(item->metadata), JsonbPGetDatum(work->metadata)));
}

static void
make_event(const Work *work, const AtpIngestItem *item, pg_uuid_t *id, AtpEvent *event)
{
	memset(event, 0, sizeof(*event));
	if (item->has_event_id)
		*id = item->event_id;
	else
		atp_eventid_create(id);
	event->event_type = "AuditEventReceived";
	event->event_id = id;
	event->made_id = !item->has_event_id;
	event->has_occurred_at = true;
	event->occurred_at = item->has_occurred_at ? item->occurred_at : GetCurrentTimestamp();
	event->made_time = !item->has_occurred_at;
	event->payload = atp_ingest_item_received(item, work->call->tenant, id, event->occurred_at);
	event->metadata = metadata_of(work, item);
	event->platform = true;
}

static bool
is_repeatable(const AtpIngestItem *item)
{
	return item->has_event_id || item->key != NULL;
}

/* Where the run that begins at `from` ends: items of one stream; one that may be a repetition goes alone. */
static int
end_of_run(const Work *work, int from, int until, int run_max)
{
	const char *stream = item_at(work, from)->stream;
	int			end = from + 1;

	if (is_repeatable(item_at(work, from)))
		return end;
	while (end < until && end - from < run_max && !is_repeatable(item_at(work, end)) && strcmp(item_at(work, end)->stream, stream) == 0)
		end++;
	return end;
}

/* Appends the run [from, until). */
static void
append_run(Work *work, int from, int until)
{
	AtpEvent   *events = palloc_array(AtpEvent, until - from);
	pg_uuid_t  *ids = palloc_array(pg_uuid_t, until - from);
	AtpReceipt *receipts = palloc_array(AtpReceipt, until - from);

	for (int i = from; i < until; i++)
	{
		make_event(work, item_at(work, i), &ids[i - from], &events[i - from]);
		CHECK_FOR_INTERRUPTS();
	}
	atp_append(work->call->tenant, item_at(work, from)->stream, events, until - from, ATP_EXPECT_ANY, item_at(work, from)->key, receipts);
	for (int i = from; i < until; i++)
		item_at(work, i)->receipt = receipts[i - from];
}

/* Appends [from, until) run by run. May raise; run_from and run_until then say where. */
static void
append_all(Work *work, int from, int until, int run_max)
{
	MemoryContext memory;

	while (from < until)
	{
		AtpIngestItem *first = item_at(work, from);

		work->run_from = from;
		work->run_until = from + 1;
		if (first->faults != NIL)
		{
			from++;
			continue;
		}
		if (first->payload_type != NULL)
		{
			judge(first);
			first->payload_type = NULL;
			if (first->faults != NIL)
				continue;
		}
		work->run_until = end_of_run(work, from, until, run_max);
		for (int i = from + 1; i < work->run_until; i++)
			if (item_at(work, i)->payload_type != NULL || item_at(work, i)->faults != NIL)
				work->run_until = i;
		memory = MemoryContextSwitchTo(work->memory);
		append_run(work, from, work->run_until);
		MemoryContextSwitchTo(memory);
		MemoryContextReset(work->memory);
		from = work->run_until;
	}
}

/* An error that another item would not meet. The tenant's and the installation's state is everybody's. */
static bool
is_fault_of_item(int code)
{
	if (code == ATP_ERR_TENANT_NOT_FOUND || code == ATP_ERR_TENANT_SUSPENDED || code == ATP_ERR_LIBRARY_MISMATCH)
		return false;
	return strncmp(unpack_sql_state(code), "TP", 2) == 0 || ERRCODE_TO_CATEGORY(code) == ERRCODE_DATA_EXCEPTION ||
		ERRCODE_TO_CATEGORY(code) == ERRCODE_PROGRAM_LIMIT_EXCEEDED;
}

/*
 * Appends [from, until) in a subtransaction. NULL: done. Otherwise it is taken back, and the error, an item's fault that comes from the
 * run at work, is returned.
 */
static ErrorData *
try_range(Work *work, int from, int until, int run_max)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		append_all(work, from, until, run_max);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(memory);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(memory);
		CurrentResourceOwner = owner;
		if (!is_fault_of_item(error->sqlerrcode))
			ReThrowError(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	MemoryContextReset(work->memory);
	return error;
}

static void
store_range(Work *work, int from, int until, int run_max)
{
	check_stack_depth();
	while (from < until)
	{
		ErrorData  *error = try_range(work, from, until, run_max);
		int			at = work->run_from;
		int			end = work->run_until;

		if (error == NULL)
			return;
		if (from < at)
			store_range(work, from, at, run_max);
		if (error->sqlerrcode == ATP_ERR_STREAM_SEALED)
		{
			/* so are the others' of the same stream */
			while (end < until && strcmp(item_at(work, end)->stream, item_at(work, at)->stream) == 0)
				end++;
			for (int i = at; i < end; i++)
				atp_ingest_item_fault(item_at(work, i), error->sqlerrcode, "/resource", "", error->message);
		}
		else if (end - at == 1)
			atp_ingest_item_fault(item_at(work, at), error->sqlerrcode, "", "", error->message);
		else
			store_range(work, at, end, (end - at) / 2); /* one of several: search it */
		FreeErrorData(error);
		from = end;
	}
}

static Jsonb *
call_metadata(const AtpIngestCall *call)
{
	char	   *batch = call->batch_id == NULL ? NULL : DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(call->batch_id)));

	return atp_platform_metadata(batch, call->causation);
}

/* Enters the refused items in the list of the quarantine. */
static void
list_refused(const AtpIngestCall *call, const char *stream, AtpIngestItem *const *refused, const int *numbers, int count)
{
	static AtpQuery insert = {
		"INSERT INTO atp_internal.quarantine (tenant, event_id, batch_id, item, stream, quarantined_at)"
		" SELECT $1, u.event_id, $4, u.item, $5, pg_catalog.clock_timestamp()"
		" FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3)) AS u (event_id, item)",
		5, {INT4OID, UUIDARRAYOID, INT4ARRAYOID, UUIDOID, TEXTOID}
	};
	Datum	   *ids = palloc_array(Datum, count);
	Datum	   *items = palloc_array(Datum, count);
	Datum		arguments[5];
	char		nulls[5] = {' ', ' ', ' ', ' ', ' '};

	for (int i = 0; i < count; i++)
	{
		ids[i] = UUIDPGetDatum(&refused[i]->receipt.event_id);
		items[i] = Int32GetDatum(numbers[i]);
	}
	arguments[0] = Int32GetDatum(call->tenant->tenant);
	arguments[1] = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	arguments[2] = PointerGetDatum(construct_array(items, count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	arguments[3] = UUIDPGetDatum(call->batch_id);
	arguments[4] = CStringGetTextDatum(stream);
	if (call->batch_id == NULL)
		nulls[3] = 'n';
	SPI_connect();
	atp_query(&insert, arguments, nulls, false, 0);
	SPI_finish();
}

/* Appends a part of the refused items; `stream` NULL: to one named after the first. Returns the stream, in the memory context `lasting`. */
static const char *
quarantine_part(const AtpIngestCall *call, const char *stream, AtpIngestItem **refused, int count, Jsonb *metadata, MemoryContext lasting)
{
	AtpEvent   *events = palloc0_array(AtpEvent, count);
	pg_uuid_t  *ids = palloc_array(pg_uuid_t, count);
	AtpReceipt *receipts = palloc_array(AtpReceipt, count);

	for (int i = 0; i < count; i++)
	{
		atp_eventid_create(&ids[i]);
		events[i].event_type = "AuditEventValidationFailed";
		events[i].event_id = &ids[i];
		events[i].made_id = true;
		events[i].payload = atp_ingest_item_failed(refused[i], call->tenant, &ids[i]);
		events[i].metadata = metadata;
		events[i].platform = true;
		events[i].unlimited = true;
		CHECK_FOR_INTERRUPTS();
	}
	if (stream == NULL)
	{
		char		ulid[ATP_ULID_TEXT_SIZE + 1] = "";

		atp_ulid_format(ids[0].data, ulid);
		stream = MemoryContextStrdup(lasting, psprintf(ATP_PLATFORM_PREFIX "Quarantine-%s", call->batch_id == NULL ? ulid :
													   DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(call->batch_id)))));
	}
	atp_append(call->tenant, stream, events, count, ATP_EXPECT_ANY, NULL, receipts);
	for (int i = 0; i < count; i++)
	{
		refused[i]->stream = stream;
		refused[i]->receipt = receipts[i];
	}
	return stream;
}

/* The items with faults, as AuditEventValidationFailed, into one stream. */
static void
quarantine(const AtpIngestCall *call, AtpIngestItem *items, int count, Jsonb *metadata, MemoryContext part)
{
	AtpIngestItem **refused = palloc_array(AtpIngestItem *, count);
	int		   *numbers = palloc_array(int, count);
	const char *stream = call->quarantine;
	int			n = 0;

	for (int i = 0; i < count; i++)
		if (items[i].faults != NIL)
		{
			numbers[n] = i + 1;
			refused[n++] = &items[i];
		}
	for (int from = 0; from < n; from += RUN_MAX)
	{
		MemoryContext lasting = MemoryContextSwitchTo(part);

		stream = quarantine_part(call, stream, refused + from, Min(n - from, RUN_MAX), metadata, lasting);
		MemoryContextSwitchTo(lasting);
		MemoryContextReset(part);
	}
	if (n > 0 && call->quarantine == NULL)
		list_refused(call, stream, refused, numbers, n);
}

void
atp_ingest_store(const AtpIngestCall *call, AtpIngestItem *items, int count)
{
	Work		work = {.call = call, .items = items, .order = palloc_array(int, count + 1)};

	work.metadata = call_metadata(call);
	work.memory = AllocSetContextCreate(CurrentMemoryContext, "atp run of ingestion", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < count; i++)
		if (items[i].faults == NIL)
			work.order[work.count++] = i;
	qsort_arg(work.order, work.count, sizeof(int), compare_streams, items);
	store_range(&work, 0, work.count, RUN_MAX);
	quarantine(call, items, count, work.metadata, work.memory);
	MemoryContextDelete(work.memory);
	pfree(work.order);
}

/* SQL entry points of the append; the work is done in stream/append. */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "core/ulid.h"
#include "pg/errors.h"
#include "record/envelope.h"
#include "record/tenant.h"
#include "stream/append.h"

PG_FUNCTION_INFO_V1(atp_door_append_event);
PG_FUNCTION_INFO_V1(atp_door_append_events);

#define RECEIPT_COLUMNS 5
#define EVENTS_MAX 1000000

/* The shape of atp.receipt, made once per backend: the install script fixes it. */
static TupleDesc
receipt_shape(void)
{
	static TupleDesc shape = NULL;

	if (shape == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(TopMemoryContext);

		shape = CreateTemplateTupleDesc(RECEIPT_COLUMNS);
		TupleDescInitEntry(shape, 1, "event_id", UUIDOID, -1, 0);
		TupleDescInitEntry(shape, 2, "stream_version", INT8OID, -1, 0);
		TupleDescInitEntry(shape, 3, "hash", BYTEAOID, -1, 0);
		TupleDescInitEntry(shape, 4, "recorded_at", TIMESTAMPTZOID, -1, 0);
		TupleDescInitEntry(shape, 5, "deduplicated", BOOLOID, -1, 0);
		shape = BlessTupleDesc(shape);
		MemoryContextSwitchTo(before);
	}
	return shape;
}

static Datum
hash_datum(const uint8 hash[ATP_HASH_SIZE])
{
	bytea	   *value = palloc(VARHDRSZ + ATP_HASH_SIZE);

	SET_VARSIZE(value, VARHDRSZ + ATP_HASH_SIZE);
	memcpy(VARDATA(value), hash, ATP_HASH_SIZE);
	return PointerGetDatum(value);
}

static void
receipt_values(const AtpReceipt *receipt, Datum *values)
{
	values[0] = UUIDPGetDatum(&receipt->event_id);
	values[1] = Int64GetDatum(receipt->stream_version);
	values[2] = hash_datum(receipt->hash);
	values[3] = TimestampTzGetDatum(receipt->recorded_at);
	values[4] = BoolGetDatum(receipt->deduplicated);
}

static void
require_given(bool null, const char *what)
{
	if (null)
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", what));
}

static char *
text_or_null(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* append_event(stream, event_type, payload, expected_version, metadata, event_id, idempotency_key, occurred_at, tenant) */
Datum
atp_door_append_event(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant;
	AtpEvent	event = {0};
	AtpReceipt	receipt;
	Datum		values[RECEIPT_COLUMNS];
	bool		nulls[RECEIPT_COLUMNS] = {0};

	require_given(PG_ARGISNULL(0), "stream");
	require_given(PG_ARGISNULL(1), "event type");
	require_given(PG_ARGISNULL(2), "payload");
	atp_tenant_resolve(text_or_null(fcinfo, 8), &tenant);
	event.event_type = text_to_cstring(PG_GETARG_TEXT_PP(1));
	event.payload = PG_GETARG_JSONB_P(2);
	event.metadata = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	event.event_id = PG_ARGISNULL(5) ? NULL : PG_GETARG_UUID_P(5);
	event.has_occurred_at = !PG_ARGISNULL(7);
	event.occurred_at = event.has_occurred_at ? PG_GETARG_TIMESTAMPTZ(7) : 0;
	atp_append(&tenant, text_to_cstring(PG_GETARG_TEXT_PP(0)), &event, 1,
			   PG_ARGISNULL(3) ? ATP_EXPECT_ANY : PG_GETARG_INT64(3), text_or_null(fcinfo, 6), &receipt);
	receipt_values(&receipt, values);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(receipt_shape(), values, nulls)));
}

typedef struct Batch			/* an array of events, taken apart */
{
	int			count;
	AtpEvent   *events;
	const char **streams;
	int		   *order;			/* indexes, by stream */
} Batch;

static void
refuse_element(int index, const char *what)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("malformed element in the array of events"),
			errdetail("Element %d: %s.", index, what),
			errhint("An element is an object with event_type, and optionally payload, metadata, event_id, occurred_at, "
					"schema_version and stream."));
}

static char *
element_text(const JsonbValue *value, int index, const char *member)
{
	if (value->type != jbvString)
		refuse_element(index, psprintf("\"%s\" is not a string", member));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static pg_uuid_t *
element_id(const char *text, int index)
{
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	if (atp_ulid_parse(text, strlen(text), id->data))
		return id;
	return DatumGetUUIDP(DirectFunctionCall1(uuid_in, CStringGetDatum(text)));
}

static void
read_member(Batch *batch, int index, const JsonbValue *key, JsonbValue *value, bool stream_given)
{
	AtpEvent   *event = &batch->events[index];
	char	   *name = pnstrdup(key->val.string.val, key->val.string.len);
	bool		absent = value->type == jbvNull;

	if (strcmp(name, "event_type") == 0)
		event->event_type = element_text(value, index, name);
	else if (strcmp(name, "payload") == 0)
		event->payload = JsonbValueToJsonb(value);
	else if (strcmp(name, "metadata") == 0)
		event->metadata = absent ? NULL : JsonbValueToJsonb(value);
	else if (strcmp(name, "event_id") == 0)
		event->event_id = absent ? NULL : element_id(element_text(value, index, name), index);
	else if (strcmp(name, "occurred_at") == 0)
	{
		event->has_occurred_at = !absent;
		if (!absent)
			event->occurred_at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in,
																		 CStringGetDatum(element_text(value, index, name)),
																		 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	}
	else if (strcmp(name, "schema_version") == 0)
	{
		event->schema_version = absent ? 0 : value->type == jbvNumeric ? atp_envelope_version_of(value->val.numeric) : 0;
		if (!absent && event->schema_version == 0)
			refuse_element(index, "\"schema_version\" is not a version");
	}
	else if (strcmp(name, "stream") == 0 && !stream_given)
		batch->streams[index] = element_text(value, index, name);
	else
		refuse_element(index, psprintf("unknown member \"%s\"", name));
	pfree(name);
}

static void
read_batch(Jsonb *document, const char *stream, Batch *batch)
{
	JsonbIterator *walk = JsonbIteratorInit(&document->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	key = {0};
	Jsonb	   *empty = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	int			index = -1;

	if (!JB_ROOT_IS_ARRAY(document) || JB_ROOT_IS_SCALAR(document))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("events is not a JSON array"),
				errhint("For example [{\"event_type\": \"OrderPlaced\", \"payload\": {}}]."));
	batch->count = JB_ROOT_COUNT(document);
	if (batch->count > EVENTS_MAX)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("more than %d events in one call", EVENTS_MAX),
				errhint("Append them in several calls of one transaction."));
	batch->events = palloc0_array(AtpEvent, batch->count + 1);
	batch->streams = palloc0_array(const char *, batch->count + 1);
	batch->order = palloc_array(int, batch->count + 1);

	(void) JsonbIteratorNext(&walk, &value, false);	/* the array begins */
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_END_ARRAY)
	{
		JsonbIterator *members;

		index++;
		if (token != WJB_ELEM || value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
			refuse_element(index, "it is not an object");
		batch->streams[index] = stream;
		batch->order[index] = index;
		members = JsonbIteratorInit(value.val.binary.data);
		while ((token = JsonbIteratorNext(&members, &value, true)) != WJB_DONE)
		{
			if (token == WJB_KEY)
				key = value;
			else if (token == WJB_VALUE)
				read_member(batch, index, &key, &value, stream != NULL);
		}
		if (batch->events[index].event_type == NULL)
			refuse_element(index, "it has no event_type");
		if (batch->streams[index] == NULL)
			refuse_element(index, "it has no stream, and the argument stream is null");
		if (batch->events[index].payload == NULL)
			batch->events[index].payload = empty;
		CHECK_FOR_INTERRUPTS();
	}
}

static int
compare_streams(const void *a, const void *b, void *argument)
{
	const Batch *batch = argument;
	int			i = *(const int *) a;
	int			j = *(const int *) b;
	int			order = strcmp(batch->streams[i], batch->streams[j]);

	return order != 0 ? order : (i > j) - (i < j);
}

/* Appends stream by stream, in order of their names, which is the lock order of all batches. */
static AtpReceipt *
append_batch(const AtpTenant *tenant, Batch *batch, int64 expected_version, const char *key)
{
	AtpReceipt *receipts = palloc_array(AtpReceipt, batch->count + 1);
	AtpReceipt *part = palloc_array(AtpReceipt, batch->count + 1);
	AtpEvent   *events = palloc_array(AtpEvent, batch->count + 1);

	qsort_arg(batch->order, batch->count, sizeof(int), compare_streams, batch);
	for (int from = 0, until; from < batch->count; from = until)
	{
		const char *stream = batch->streams[batch->order[from]];

		for (until = from; until < batch->count && strcmp(batch->streams[batch->order[until]], stream) == 0; until++)
			events[until - from] = batch->events[batch->order[until]];
		if (until - from < batch->count && expected_version != ATP_EXPECT_ANY)
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("expected_version cannot apply to several streams"),
					errhint("Append to each stream in a call of its own."));
		atp_append(tenant, stream, events, until - from, expected_version, key, part);
		for (int i = from; i < until; i++)
			receipts[batch->order[i]] = part[i - from];
	}
	pfree(events);
	pfree(part);
	return receipts;
}

/* append_events(stream, events, expected_version, idempotency_key, tenant) */
Datum
atp_door_append_events(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AtpTenant	tenant;
	Batch		batch;
	AtpReceipt *receipts;
	bool		nulls[RECEIPT_COLUMNS] = {0};

	require_given(PG_ARGISNULL(1), "events");
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	atp_tenant_resolve(text_or_null(fcinfo, 4), &tenant);
	read_batch(PG_GETARG_JSONB_P(1), text_or_null(fcinfo, 0), &batch);
	receipts = append_batch(&tenant, &batch, PG_ARGISNULL(2) ? ATP_EXPECT_ANY : PG_GETARG_INT64(2), text_or_null(fcinfo, 3));
	for (int i = 0; i < batch.count; i++)
	{
		Datum		values[RECEIPT_COLUMNS];

		receipt_values(&receipts[i], values);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		pfree(DatumGetPointer(values[2]));
	}
	return (Datum) 0;
}

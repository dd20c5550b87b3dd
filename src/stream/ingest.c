/* SQL entry points of ingestion; the work is done in stream/ingest/item and store, COPY is in stream/ingest/view. */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "core/bytes.h"
#include "core/hash.h"
#include "pg/canonical.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "record/tenant.h"
#include "stream/ingest/store.h"

PG_FUNCTION_INFO_V1(atp_ingest_event);
PG_FUNCTION_INFO_V1(atp_ingest_items);
PG_FUNCTION_INFO_V1(atp_ingest_digest);

#define RESULT_COLUMNS 10
#define ITEMS_MAX 1000000

static Datum
hash_datum(const uint8 hash[ATP_HASH_SIZE])
{
	bytea	   *value = palloc(VARHDRSZ + ATP_HASH_SIZE);

	SET_VARSIZE(value, VARHDRSZ + ATP_HASH_SIZE);
	memcpy(VARDATA(value), hash, ATP_HASH_SIZE);
	return PointerGetDatum(value);
}

/* A row of type atp.ingest_result. */
static void
result_values(const AtpIngestItem *item, int number, const pg_uuid_t *batch_id, Datum *values, bool *nulls)
{
	Jsonb	   *errors = atp_ingest_item_errors(item);

	memset(nulls, 0, sizeof(bool) * RESULT_COLUMNS);
	values[0] = Int32GetDatum(number);
	values[1] = BoolGetDatum(errors == NULL);
	values[2] = UUIDPGetDatum(&item->receipt.event_id);
	values[3] = CStringGetTextDatum(item->stream);
	values[4] = Int64GetDatum(item->receipt.stream_version);
	values[5] = hash_datum(item->receipt.hash);
	values[6] = TimestampTzGetDatum(item->receipt.recorded_at);
	values[7] = BoolGetDatum(item->receipt.deduplicated);
	values[8] = JsonbPGetDatum(errors);
	nulls[8] = errors == NULL;
	values[9] = UUIDPGetDatum(batch_id);
	nulls[9] = batch_id == NULL;
}

static const char *
text_or_null(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

static Jsonb *
object_or_null(FunctionCallInfo fcinfo, int argument, AtpIngestItem *item, const char *location)
{
	Jsonb	   *document;

	if (PG_ARGISNULL(argument))
		return NULL;
	document = PG_GETARG_JSONB_P(argument);
	if (!JB_ROOT_IS_OBJECT(document))
		atp_ingest_item_fault(item, ATP_ERR_INVALID_ITEM, location, "", "is not an object");
	return document;
}

/* ingest_event(actor, action, resource, payload, occurred_at, event_id, idempotency_key, payload_type, metadata, tenant) */
Datum
atp_ingest_event(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant;
	AtpIngestItem item = {0};
	AtpIngestCall call = {.tenant = &tenant};
	TupleDesc	shape;
	Datum		values[RESULT_COLUMNS];
	bool		nulls[RESULT_COLUMNS];

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	PreventCommandIfReadOnly("ingest_event()");
	PreventCommandDuringRecovery("ingest_event()");
	atp_tenant_resolve(text_or_null(fcinfo, 9), &tenant);
	atp_tenant_require_active(&tenant);
	item.actor = text_or_null(fcinfo, 0);
	item.action = text_or_null(fcinfo, 1);
	item.resource = text_or_null(fcinfo, 2);
	item.payload = object_or_null(fcinfo, 3, &item, "/payload");
	item.has_occurred_at = !PG_ARGISNULL(4);
	item.occurred_at = item.has_occurred_at ? PG_GETARG_TIMESTAMPTZ(4) : 0;
	item.has_event_id = !PG_ARGISNULL(5);
	if (item.has_event_id)
		item.event_id = *PG_GETARG_UUID_P(5);
	item.key = text_or_null(fcinfo, 6);
	item.payload_type = text_or_null(fcinfo, 7);
	item.metadata = object_or_null(fcinfo, 8, &item, "/metadata");
	atp_ingest_item_check(&item);
	atp_ingest_store(&call, &item, 1);
	result_values(&item, 1, NULL, values, nulls);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(shape, values, nulls)));
}

/* Takes the array apart; an element that is no item at all becomes one with a fault. */
static AtpIngestItem *
read_items(Jsonb *records, int *count)
{
	JsonbIterator *walk = JsonbIteratorInit(&records->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	AtpIngestItem *items;
	int			at = 0;

	if (!JB_ROOT_IS_ARRAY(records) || JB_ROOT_IS_SCALAR(records))
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("records is not a JSON array"),
				errhint("For example "
						"[{\"actor\": \"alice\", \"action\": \"document.updated\", \"resource\": \"document-42\", \"payload\": {}}]."));
	*count = JB_ROOT_COUNT(records);
	if (*count > ITEMS_MAX)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("more than %d items in one batch", ITEMS_MAX),
				errhint("Ingest them in several batches."));
	items = palloc_extended(sizeof(AtpIngestItem) * ((Size) *count + 1), MCXT_ALLOC_HUGE);
	(void) JsonbIteratorNext(&walk, &value, false); /* the array begins */
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_END_ARRAY)
	{
		atp_ingest_item_read(&value, &items[at++]);
		CHECK_FOR_INTERRUPTS();
	}
	return items;
}

/* Writes to the row of the batch which event each item became: what a repetition of the batch returns. */
static void
remember_batch(const AtpIngestCall *call, const AtpIngestItem *items, int count)
{
	static AtpQuery update = {
		"UPDATE atp_internal.ingest_batch SET event_ids = $3, failed = $4 WHERE batch_id = $2 AND tenant = $1",
		4, {INT4OID, UUIDOID, UUIDARRAYOID, INT4ARRAYOID}
	};
	Datum	   *ids = palloc_extended(sizeof(Datum) * ((Size) count + 1), MCXT_ALLOC_HUGE);
	Datum	   *failed = palloc_extended(sizeof(Datum) * ((Size) count + 1), MCXT_ALLOC_HUGE);
	int			failures = 0;
	Datum		arguments[4];

	for (int i = 0; i < count; i++)
	{
		ids[i] = UUIDPGetDatum(&items[i].receipt.event_id);
		if (items[i].faults != NIL)
			failed[failures++] = Int32GetDatum(i + 1);
	}
	arguments[0] = Int32GetDatum(call->tenant->tenant);
	arguments[1] = UUIDPGetDatum(call->batch_id);
	arguments[2] = PointerGetDatum(construct_array(ids, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	arguments[3] = PointerGetDatum(construct_array(failed, failures, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	SPI_connect();
	atp_query(&update, arguments, NULL, false, 0);
	SPI_finish();
}

/* ingest_items(tenant, records, batch_id, quarantine, causation) */
Datum
atp_ingest_items(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AtpTenant	tenant;
	AtpIngestCall call = {.tenant = &tenant};
	AtpIngestItem *items;
	MemoryContext row;
	int			count;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("records must not be null"));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	if (!atp_tenant_get(PG_GETARG_INT32(0), &tenant))
		elog(ERROR, "tenant with key %d does not exist", PG_GETARG_INT32(0));
	atp_tenant_require_active(&tenant);
	call.batch_id = PG_ARGISNULL(2) ? NULL : PG_GETARG_UUID_P(2);
	call.quarantine = text_or_null(fcinfo, 3);
	call.causation = text_or_null(fcinfo, 4);
	items = read_items(PG_GETARG_JSONB_P(1), &count);
	atp_ingest_store(&call, items, count);
	if (call.batch_id != NULL)
		remember_batch(&call, items, count);
	row = AllocSetContextCreate(CurrentMemoryContext, "atp result of ingestion", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < count; i++)
	{
		MemoryContext before = MemoryContextSwitchTo(row);
		Datum		values[RESULT_COLUMNS];
		bool		nulls[RESULT_COLUMNS];

		result_values(&items[i], i + 1, call.batch_id, values, nulls);
		MemoryContextSwitchTo(before);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
		MemoryContextReset(row);
		CHECK_FOR_INTERRUPTS();
	}
	return (Datum) 0;
}

/* ingest_digest(records): SHA-256 of their canonical form */
Datum
atp_ingest_digest(PG_FUNCTION_ARGS)
{
	AtpBuf		text;
	uint8		digest[ATP_HASH_SIZE];

	atp_buf_init_palloc(&text, CurrentMemoryContext);
	atp_canonical_jsonb(PG_GETARG_JSONB_P(0), ATP_CANON_EXACT, &text);
	if (!atp_sha256(text.data, text.size, digest))
		elog(ERROR, "SHA-256 failed in OpenSSL");
	pfree(text.data);
	PG_RETURN_DATUM(hash_datum(digest));
}

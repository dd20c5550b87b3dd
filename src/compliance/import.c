/*
 * Import of evidence bundles for reading: the verifier of core/bundle runs over the text, and each event it has proved becomes a
 * row. Any fault raises, so that what is kept is what was verified, or nothing.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "common/int.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/bundle.h"
#include "pg/canonical.h"
#include "pg/errors.h"
#include "pg/query.h"

PG_FUNCTION_INFO_V1(atp_import_bundle);

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct Import
{
	int64		number;
	MemoryContext memory;		/* of one event */
} Import;

static Datum
text_datum(AtpText utf8)
{
	return PointerGetDatum(cstring_to_text_with_len(utf8.data, utf8.size));
}

/* A bundle may be signed by whoever has the key and yet hold times that no timestamptz can, which nobody could read again. */
static TimestampTz
time_of(int64 unix_time, const AtpBundleEvent *event)
{
	TimestampTz result;

	if (pg_sub_s64_overflow(unix_time, UNIX_SHIFT, &result) || !IS_VALID_TIMESTAMP(result) ||
		event->record.stream_version > PG_INT64_MAX || event->leaf > PG_INT64_MAX || event->record.schema_version > PG_INT32_MAX)
		ereport(ERROR, errcode(ATP_ERR_BUNDLE_REJECTED), errmsg("the bundle does not verify"),
				errdetail("Leaf %llu: a time or a number is beyond what can be kept.", (unsigned long long) event->leaf));
	return result;
}

/* One row; in two statements' worth of arguments, since a plan takes eight. */
static void
keep_event(void *context, const AtpBundleEvent *event, const uint8_t leaf[ATP_HASH_SIZE])
{
	static AtpQuery insert = {
		"INSERT INTO atp_internal.imported_event (import, leaf, stream_version, occurred_at, recorded_at, event_id, stream_uid,"
		" schema_version, hash, event_type, stream, payload, metadata)"
		" SELECT $1, $2, ($3)[1], ($4)[1], ($4)[2], ($5)[1], ($5)[2], ($3)[2]::int, $6, ($7)[1], ($7)[2], ($7)[3]::json, ($7)[4]::json",
		7, {INT8OID, INT8OID, INT8ARRAYOID, TIMESTAMPTZARRAYOID, UUIDARRAYOID, BYTEAOID, TEXTARRAYOID}
	};
	Import	   *import = context;
	const AtpRecord *record = &event->record;
	MemoryContext before = MemoryContextSwitchTo(import->memory);
	Datum		numbers[] = {Int64GetDatum((int64) record->stream_version), Int64GetDatum(record->schema_version)};
	Datum		times[] = {TimestampTzGetDatum(time_of(record->occurred_at, event)),
	TimestampTzGetDatum(time_of(record->recorded_at, event))};
	Datum		ids[] = {PointerGetDatum(record->event_id), PointerGetDatum(record->stream_uid)};
	Datum		texts[] = {text_datum((AtpText) {record->event_type, record->event_type_size}), text_datum(event->stream),
	text_datum(event->payload), text_datum(event->metadata)};
	bytea	   *hash = palloc(VARHDRSZ + ATP_HASH_SIZE);
	Datum		arguments[7];

	CHECK_FOR_INTERRUPTS();
	SET_VARSIZE(hash, VARHDRSZ + ATP_HASH_SIZE);
	memcpy(VARDATA(hash), leaf, ATP_HASH_SIZE);
	arguments[0] = Int64GetDatum(import->number);
	arguments[1] = Int64GetDatum((int64) event->leaf);
	arguments[2] = PointerGetDatum(construct_array(numbers, 2, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	arguments[3] = PointerGetDatum(construct_array(times, 2, TIMESTAMPTZOID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	arguments[4] = PointerGetDatum(construct_array(ids, 2, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	arguments[5] = PointerGetDatum(hash);
	arguments[6] = PointerGetDatum(construct_array(texts, 4, TEXTOID, -1, false, TYPALIGN_INT));
	atp_query(&insert, arguments, NULL, false, 0);
	MemoryContextSwitchTo(before);
	MemoryContextReset(import->memory);
}

static void
verify(AtpBundleVerifier *verifier, const char *text, size_t size)
{
	const char *end = text + size;
	bool		going = true;

	while (going && text < end)
	{
		const char *line_end = memchr(text, '\n', end - text);

		CHECK_FOR_INTERRUPTS();
		if (line_end == NULL)
			break;
		going = atp_bundle_take(verifier, text, line_end - text);
		text = line_end + 1;
	}
	if (going)
		(void) atp_bundle_finish(verifier, text < end);
	if (verifier->what != NULL)
		ereport(ERROR, errcode(ATP_ERR_BUNDLE_REJECTED), errmsg("the bundle does not verify"),
				verifier->has_fault_leaf
				? errdetail("Line %llu, leaf %llu: %s.", (unsigned long long) verifier->fault_line,
							(unsigned long long) verifier->fault_leaf, verifier->what)
				: errdetail("Line %llu: %s.", (unsigned long long) verifier->fault_line, verifier->what));
	if (verifier->links_overflow)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the bundle holds too many streams to be imported at once"),
				errhint("Export it in parts; atp-verify has no such limit."));
}

static int64
next_number(void)
{
	static AtpQuery query = {"SELECT pg_catalog.nextval('atp_internal.imported_bundle_import_seq')"};
	bool		null;

	atp_query(&query, NULL, NULL, false, 1);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

static void
keep_bundle(const AtpBundleVerifier *verifier, int64 number, Datum trusted_key)
{
	static AtpQuery insert = {
		"INSERT INTO atp_internal.imported_bundle (import, imported_at, tree_size, first_leaf, until_leaf, checkpoint_size, event_count,"
		" log_uid, origin, source_tenant, trusted_key)"
		" VALUES ($1, pg_catalog.clock_timestamp(), ($2)[1], ($2)[2], ($2)[3], ($2)[4], ($2)[5], $3, $4, $5, $6)",
		6, {INT8OID, INT8ARRAYOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID}
	};
	const AtpBundleManifest *manifest = &verifier->manifest;
	Datum		numbers[] = {Int64GetDatum((int64) manifest->tree_size), Int64GetDatum((int64) manifest->from),
	Int64GetDatum((int64) manifest->until), Int64GetDatum((int64) manifest->checkpoint_size), Int64GetDatum((int64) verifier->events)};
	Datum		arguments[] = {Int64GetDatum(number),
	PointerGetDatum(construct_array(numbers, 5, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)), PointerGetDatum(manifest->log_uid),
	text_datum(manifest->origin), text_datum(manifest->tenant), trusted_key};

	atp_query(&insert, arguments, NULL, false, 0);
}

/* import_bundle(bundle, trusted_key, origin) */
Datum
atp_import_bundle(PG_FUNCTION_ARGS)
{
	text	   *bundle = PG_GETARG_TEXT_PP(0);
	char	   *key = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char	   *origin = text_to_cstring(PG_GETARG_TEXT_PP(2));
	AtpBundleVerifier *verifier = MemoryContextAllocHuge(CurrentMemoryContext, sizeof(AtpBundleVerifier));
	Import		import;
	AtpBuf		model;
	TupleDesc	shape;
	Datum		values[3];
	bool		nulls[3] = {false};
	pg_uuid_t  *log_uid = palloc(sizeof(pg_uuid_t));

	PreventCommandIfReadOnly("import_bundle()");
	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_buf_init_palloc(&model, CurrentMemoryContext);
	atp_bundle_begin(verifier, model.grow, model.context);
	if (!atp_bundle_trust(verifier, key, strlen(key), false))
		ereport(ERROR, errcode(ATP_ERR_INVALID_KEY), errmsg("the verifier key is malformed"));
	verifier->origin = (AtpText) {origin, strlen(origin)};
	verifier->on_event = keep_event;
	verifier->context = &import;
	import.memory = AllocSetContextCreate(CurrentMemoryContext, "atp imported event", ALLOCSET_DEFAULT_SIZES);
	SPI_connect();
	import.number = next_number();
	verify(verifier, VARDATA_ANY(bundle), VARSIZE_ANY_EXHDR(bundle));
	keep_bundle(verifier, import.number, PG_GETARG_DATUM(1));
	SPI_finish();
	memcpy(log_uid->data, verifier->manifest.log_uid, UUID_LEN);
	values[0] = Int64GetDatum(import.number);
	values[1] = Int64GetDatum((int64) verifier->events);
	values[2] = UUIDPGetDatum(log_uid);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

/*
 * Import of evidence bundles for reading: the verifier of core/bundle runs over the lines, and each event it has proved becomes a
 * row. Any fault raises, so that what is kept is what was verified, or nothing.
 *
 * Lines come from a text (import_bundle), or one by one through the view atp.import_lines between begin_import and finish_import, in one
 * transaction: then the size of a bundle does not matter. Rolling back to a savepoint in between takes rows back that the verifier
 * has passed, and so ends the import.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
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
PG_FUNCTION_INFO_V1(atp_import_begin);
PG_FUNCTION_INFO_V1(atp_import_take_line);
PG_FUNCTION_INFO_V1(atp_import_finish);

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

typedef struct Import
{
	AtpBundleVerifier verifier;
	int64		number;
	char	   *key;
	MemoryContext memory;		/* of one event */
	bool		is_broken;		/* a part of it was rolled back */
} Import;

static Import *at_work;			/* between begin_import and finish_import; goes with its transaction */

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

/* Raises what the verifier has found. */
static void
require_sound(const AtpBundleVerifier *verifier)
{
	if (verifier->what != NULL)
		ereport(ERROR, errcode(ATP_ERR_BUNDLE_REJECTED), errmsg("the bundle does not verify"),
				verifier->has_fault_leaf
				? errdetail("Line %llu, leaf %llu: %s.", (unsigned long long) verifier->fault_line,
							(unsigned long long) verifier->fault_leaf, verifier->what)
				: errdetail("Line %llu: %s.", (unsigned long long) verifier->fault_line, verifier->what));
}

static void
take_text(AtpBundleVerifier *verifier, const char *text, size_t size)
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
	require_sound(verifier);
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
keep_bundle(const Import *import)
{
	static AtpQuery insert = {
		"INSERT INTO atp_internal.imported_bundle (import, imported_at, tree_size, first_leaf, until_leaf, checkpoint_size, event_count,"
		" log_uid, origin, source_tenant, trusted_key)"
		" VALUES ($1, pg_catalog.clock_timestamp(), ($2)[1], ($2)[2], ($2)[3], ($2)[4], ($2)[5], $3, $4, $5, $6)",
		6, {INT8OID, INT8ARRAYOID, UUIDOID, TEXTOID, TEXTOID, TEXTOID}
	};
	const AtpBundleVerifier *verifier = &import->verifier;
	const AtpBundleManifest *manifest = &verifier->manifest;
	Datum		numbers[] = {Int64GetDatum((int64) manifest->tree_size), Int64GetDatum((int64) manifest->from),
	Int64GetDatum((int64) manifest->until), Int64GetDatum((int64) manifest->checkpoint_size), Int64GetDatum((int64) verifier->events)};
	Datum		arguments[] = {Int64GetDatum(import->number),
	PointerGetDatum(construct_array(numbers, 5, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE)), PointerGetDatum(manifest->log_uid),
	text_datum(manifest->origin), text_datum(manifest->tenant), CStringGetTextDatum(import->key)};

	if (verifier->links_overflow)
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the bundle holds too many streams to be imported at once"),
				errhint("Export it in parts; atp-verify has no such limit."));
	atp_query(&insert, arguments, NULL, false, 0);
}

/* Makes an import ready, in memory that outlives the call where the context does. */
static Import *
begin(MemoryContext memory, const char *key, const char *origin, const char *name)
{
	Import	   *import = MemoryContextAllocExtended(memory, sizeof(Import), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	AtpBuf		model;

	PreventCommandIfReadOnly(name);
	atp_buf_init_palloc(&model, memory);
	atp_bundle_begin(&import->verifier, model.grow, model.context);
	import->key = MemoryContextStrdup(memory, key);
	if (!atp_bundle_trust(&import->verifier, import->key, strlen(key), false))
		ereport(ERROR, errcode(ATP_ERR_INVALID_KEY), errmsg("the verifier key is malformed"));
	import->verifier.origin = (AtpText) {MemoryContextStrdup(memory, origin), strlen(origin)};
	import->verifier.on_event = keep_event;
	import->verifier.context = import;
	import->memory = AllocSetContextCreate(memory, "atp imported event", ALLOCSET_DEFAULT_SIZES);
	SPI_connect();
	import->number = next_number();
	SPI_finish();
	return import;
}

/* The row (import, event_count, log_uid). */
static Datum
result_row(FunctionCallInfo fcinfo, const Import *import)
{
	TupleDesc	shape;
	Datum		values[3];
	bool		nulls[3] = {false};
	pg_uuid_t  *log_uid = palloc(sizeof(pg_uuid_t));

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	memcpy(log_uid->data, import->verifier.manifest.log_uid, UUID_LEN);
	values[0] = Int64GetDatum(import->number);
	values[1] = Int64GetDatum((int64) import->verifier.events);
	values[2] = UUIDPGetDatum(log_uid);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls));
}

/* import_bundle(bundle, trusted_key, origin) */
Datum
atp_import_bundle(PG_FUNCTION_ARGS)
{
	text	   *bundle = PG_GETARG_TEXT_PP(0);
	Import	   *import = begin(CurrentMemoryContext, text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(2)),
							   "import_bundle()");

	SPI_connect();
	take_text(&import->verifier, VARDATA_ANY(bundle), VARSIZE_ANY_EXHDR(bundle));
	keep_bundle(import);
	SPI_finish();
	PG_RETURN_DATUM(result_row(fcinfo, import));
}

/* ---- line by line ---- */

static void
forget_import(XactEvent event, void *argument)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE && event != XACT_EVENT_PARALLEL_PRE_COMMIT)
		at_work = NULL;			/* its memory goes with the transaction */
}

static void
break_import(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB && at_work != NULL)
		at_work->is_broken = true;
}

/* begin_import(trusted_key, origin) */
Datum
atp_import_begin(PG_FUNCTION_ARGS)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(forget_import, NULL);
		RegisterSubXactCallback(break_import, NULL);
		registered = true;
	}
	at_work = begin(TopTransactionContext, text_to_cstring(PG_GETARG_TEXT_PP(0)), text_to_cstring(PG_GETARG_TEXT_PP(1)), "begin_import()");
	PG_RETURN_INT64(at_work->number);
}

static Import *
require_import(void)
{
	if (at_work == NULL)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("no import is at work in this transaction"),
				errhint("BEGIN; SELECT atp.begin_import(...); COPY atp.import_lines FROM ...; SELECT * FROM atp.finish_import(); COMMIT."));
	if (at_work->is_broken)
		ereport(ERROR, errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("a part of the import was rolled back to a savepoint"),
				errhint("Begin it anew with atp.begin_import()."));
	return at_work;
}

/* take_import_line(): INSTEAD OF INSERT on atp.import_lines */
Datum
atp_import_take_line(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	Import	   *import;
	text	   *line;
	Datum		value;
	bool		null;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	import = require_import();
	value = heap_getattr(trigger->tg_trigtuple, 1, RelationGetDescr(trigger->tg_relation), &null);
	line = null ? cstring_to_text("") : DatumGetTextPP(value);
	SPI_connect();
	(void) atp_bundle_take(&import->verifier, VARDATA_ANY(line), VARSIZE_ANY_EXHDR(line));
	require_sound(&import->verifier);
	SPI_finish();
	/* COPY frees the tuple it has handed over where another one comes back, and keeps it to its end otherwise. */
	value = (Datum) 0;
	null = true;
	return PointerGetDatum(heap_form_tuple(RelationGetDescr(trigger->tg_relation), &value, &null));
}

/* finish_import() */
Datum
atp_import_finish(PG_FUNCTION_ARGS)
{
	Import	   *import = require_import();

	(void) atp_bundle_finish(&import->verifier, false);
	require_sound(&import->verifier);
	SPI_connect();
	keep_bundle(import);
	SPI_finish();
	at_work = NULL;
	PG_RETURN_DATUM(result_row(fcinfo, import));
}

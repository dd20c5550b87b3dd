/*
 * Repeated appends; see repeat.h.
 *
 * The question "was it there before?" is asked under the stream lock, of what is committed now and of what this transaction wrote, by an
 * index look-up. Only when the answer is yes is the stored event compared, by a query.
 */
#include "stream/repeat.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"
#include "stream/partition.h"

PG_FUNCTION_INFO_V1(atp_repeat_purge_sql);

enum
{
	COLUMN_TENANT = 1, COLUMN_STREAM, COLUMN_FIRST_VERSION, COLUMN_CREATED_AT, COLUMN_EVENT_COUNT, COLUMN_KEY
};

static int	setting_window = 7 * 24 * 60 * 60;

/* The stored event and whether it is the same, by id or by stream and version. */
#define COMPARE \
	"SELECT e.event_id, e.stream_version, e.hash, e.recorded_at, e.schema_version," \
	" e.stream = $2 AND e.event_type = $3 AND (e.payload IS NULL OR e.payload::text = $4" \
	"  OR ($7 AND e.payload::jsonb - '{EventId,Timestamp}'::text[] = $4::jsonb - '{EventId,Timestamp}'::text[]))" \
	" AND ($5 IS NULL OR e.occurred_at = $5)" \
	" AND (e.metadata IS NULL OR NOT EXISTS (SELECT FROM pg_catalog.jsonb_each($6) m" \
	"  WHERE m.key NOT IN ('traceparent', 'tracestate', 'ingest_batch', 'session_user')" \
	"  AND (e.metadata::jsonb -> m.key) IS DISTINCT FROM m.value))" \
	" FROM atp_internal.event e "

static AtpQuery compare_by_id = {
	COMPARE "WHERE e.event_id = $1 AND e.tenant = $8", 8, {UUIDOID, INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID, JSONBOID, BOOLOID, INT4OID}
};
static AtpQuery compare_by_version = {
	COMPARE "WHERE e.stream = $2 AND e.stream_version = $1 AND e.tenant = $8", 8,
	{INT8OID, INT8OID, INT4OID, TEXTOID, TIMESTAMPTZOID, JSONBOID, BOOLOID, INT4OID}
};

static void
refuse(const char *what, const char *detail)
{
	ereport(ERROR, errcode(ATP_ERR_IDEMPOTENCY_CONFLICT), errmsg("%s was used before for other content", what),
			errdetail("%s", detail),
			errhint("A repeated append has to carry the same stream, event type, payload, metadata and occurred_at."));
}

/* Compares one event with the stored one that `query` finds; fills its receipt. SPI is connected. */
static void
compare(AtpQuery *query, Datum which, int32 tenant, const AtpHead *head, const AtpContent *content, const char *what,
		AtpReceipt *receipt)
{
	Datum		arguments[8];
	char		nulls[8] = {' ', ' ', ' ', ' ', ' ', ' ', ' ', ' '};
	HeapTuple	row;
	TupleDesc	shape;
	bool		null;
	bytea	   *hash;

	arguments[0] = which;
	arguments[1] = Int64GetDatum(head->stream);
	arguments[2] = Int32GetDatum(content->event_type);
	arguments[3] = PointerGetDatum(content->payload);	/* json text and text have one layout */
	arguments[4] = TimestampTzGetDatum(content->occurred_at);
	arguments[5] = content->metadata != NULL ? JsonbPGetDatum(content->metadata) : (Datum) 0;
	arguments[6] = BoolGetDatum(content->stamped);
	arguments[7] = Int32GetDatum(tenant);
	if (!content->has_occurred_at)
		nulls[4] = 'n';
	if (content->metadata == NULL)
		nulls[5] = 'n';
	atp_query(query, arguments, nulls, false, 1);
	if (SPI_processed != 1)
		ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not serialize access due to concurrent append of the same event"),
				errhint("The transaction might succeed if retried."));
	row = SPI_tuptable->vals[0];
	shape = SPI_tuptable->tupdesc;
	if (!DatumGetBool(SPI_getbinval(row, shape, 6, &null)) || null)
		refuse(what, "The stored event differs from the one given.");
	receipt->event_id = *DatumGetUUIDP(SPI_getbinval(row, shape, 1, &null));
	receipt->stream_version = DatumGetInt64(SPI_getbinval(row, shape, 2, &null));
	hash = DatumGetByteaPP(SPI_getbinval(row, shape, 3, &null));
	memcpy(receipt->hash, VARDATA_ANY(hash), ATP_HASH_SIZE);
	receipt->recorded_at = DatumGetTimestampTz(SPI_getbinval(row, shape, 4, &null));
	receipt->schema_version = DatumGetInt32(SPI_getbinval(row, shape, 5, &null));
	receipt->deduplicated = true;
	SPI_freetuptable(SPI_tuptable);
}

static bool
find_key(const AtpHead *head, int32 tenant, const char *key, int64 *first_version, int *event_count)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_IDEMPOTENCY), RowExclusiveLock);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;
	bool		null;

	ScanKeyInit(&keys[0], COLUMN_STREAM, BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(head->stream));
	ScanKeyEntryInitialize(&keys[1], 0, COLUMN_KEY, BTEqualStrategyNumber, InvalidOid, DEFAULT_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(key));
	ScanKeyInit(&keys[2], COLUMN_TENANT, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(tenant));
	scan = systable_beginscan(relation, atp_relation_oid(ATP_REL_IDEMPOTENCY_PK), true, SnapshotSelf, 3, keys);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		*first_version = DatumGetInt64(heap_getattr(tuple, COLUMN_FIRST_VERSION, RelationGetDescr(relation), &null));
		*event_count = DatumGetInt32(heap_getattr(tuple, COLUMN_EVENT_COUNT, RelationGetDescr(relation), &null));
	}
	systable_endscan(scan);
	table_close(relation, NoLock);
	return found;
}

static bool
id_exists(const pg_uuid_t *event_id, int32 tenant)
{
	Relation	leaf = atp_partition_open_existing(event_id);
	ScanKeyData keys[2];
	SysScanDesc scan;
	Oid			index;
	bool		found;

	if (leaf == NULL)
		return false;
	index = atp_relation_find_index(leaf, ATP_EVENT_ID, true);
	ScanKeyInit(&keys[0], ATP_EVENT_ID, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(event_id));
	ScanKeyInit(&keys[1], ATP_EVENT_TENANT, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(tenant));
	scan = systable_beginscan(leaf, index, OidIsValid(index), SnapshotSelf, 2, keys);
	found = HeapTupleIsValid(systable_getnext(scan));
	systable_endscan(scan);
	table_close(leaf, NoLock);
	return found;
}

static bool
find_by_key(const AtpTenant *tenant, const AtpHead *head, const char *key, const AtpContent *contents, int count,
			AtpReceipt *receipts)
{
	int64		first_version;
	int			event_count;

	atp_envelope_require_key(key);
	if (head->stream == 0 || !find_key(head, tenant->tenant, key, &first_version, &event_count))
		return false;
	if (event_count != count)
		refuse("idempotency key", psprintf("It stands for %d events, and %d are given.", event_count, count));
	SPI_connect();
	for (int i = 0; i < count; i++)
		compare(&compare_by_version, Int64GetDatum(first_version + i), tenant->tenant, head, &contents[i], "idempotency key", &receipts[i]);
	SPI_finish();
	return true;
}

static bool
find_by_id(const AtpTenant *tenant, const AtpHead *head, const AtpContent *contents, int count, AtpReceipt *receipts)
{
	int			found = 0;

	for (int i = 0; i < count; i++)
		if (contents[i].event_id != NULL && id_exists(contents[i].event_id, tenant->tenant))
			found++;
	if (found == 0)
		return false;
	if (found < count)
		refuse("event id", psprintf("%d of the %d events of the batch are stored already.", found, count));
	SPI_connect();
	for (int i = 0; i < count; i++)
		compare(&compare_by_id, UUIDPGetDatum(contents[i].event_id), tenant->tenant, head, &contents[i], "event id", &receipts[i]);
	SPI_finish();
	return true;
}

bool
atp_repeat_find(const AtpTenant *tenant, const AtpHead *head, const char *key, const AtpContent *contents, int count,
				AtpReceipt *receipts)
{
	if (key != NULL && find_by_key(tenant, head, key, contents, count, receipts))
		return true;
	return find_by_id(tenant, head, contents, count, receipts);
}

void
atp_repeat_remember(const AtpTenant *tenant, const AtpHead *head, const char *key, int64 first_version, int count)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_IDEMPOTENCY), RowExclusiveLock);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsVirtual);

	memset(slot->tts_isnull, 0, sizeof(bool) * slot->tts_tupleDescriptor->natts);
	slot->tts_values[COLUMN_TENANT - 1] = Int32GetDatum(tenant->tenant);
	slot->tts_values[COLUMN_STREAM - 1] = Int64GetDatum(head->stream);
	slot->tts_values[COLUMN_FIRST_VERSION - 1] = Int64GetDatum(first_version);
	slot->tts_values[COLUMN_CREATED_AT - 1] = TimestampTzGetDatum(head->last_recorded_at);
	slot->tts_values[COLUMN_EVENT_COUNT - 1] = Int32GetDatum(count);
	slot->tts_values[COLUMN_KEY - 1] = CStringGetTextDatum(key);
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(relation, slot, GetCurrentCommandId(true), 0, NULL);
	atp_relation_index_insert(relation, slot);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
}

int64
atp_repeat_purge(void)
{
	static AtpQuery purge = {
		"DELETE FROM atp_internal.idempotency WHERE created_at < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $1)",
		1, {FLOAT8OID}
	};
	Datum		argument = Float8GetDatum((double) setting_window);
	int64		purged;

	SPI_connect();
	atp_query(&purge, &argument, NULL, false, 0);
	purged = (int64) SPI_processed;
	SPI_finish();
	return purged;
}

void
atp_repeat_init(void)
{
	DefineCustomIntVariable("atp.idempotency_window", "How long an idempotency key is remembered at least.", NULL,
							&setting_window, 7 * 24 * 60 * 60, 60, INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}

/* purge_idempotency_keys() */
Datum
atp_repeat_purge_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(atp_repeat_purge());
}

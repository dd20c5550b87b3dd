/* What is recorded of an export; see exportrecord.h. The events are appended by atp_internal.record_export. */
#include "compliance/exportrecord.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "pg/autonomous.h"
#include "pg/jsonobject.h"
#include "pg/query.h"

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

static void
begin(AtpExportRecord *record, AtpJsonObject *object)
{
	atp_jsonobject_begin(object);
	atp_jsonobject_int(object, "tenant", record->tenant);
	atp_jsonobject_text(object, "export", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&record->id))));
}

static void
write_here(Jsonb *doing)
{
	static AtpQuery query = {"SELECT atp_internal.record_export($1)", 1, {JSONBOID}};
	Datum		argument = JsonbPGetDatum(doing);

	atp_query(&query, &argument, NULL, false, 1);
}

/* Records in a transaction of its own; false: that could not be had. */
static bool
write_apart(Jsonb *doing)
{
	return atp_autonomous_call("atp_internal.record_export", JsonbToCString(NULL, &doing->root, VARSIZE(doing)));
}

/* The payload of ExportRequested, unless it is recorded already. */
static void
put_request(const AtpExportRecord *record, AtpJsonObject *object)
{
	const AtpBundleManifest *manifest = record->manifest;

	if (record->is_requested)
		return;
	atp_jsonobject_open(object, "requested");
	atp_jsonobject_text(object, "RequestedBy", record->requested_by);
	atp_jsonobject_text(object, "Purpose", "evidence");
	atp_jsonobject_text(object, "Format", "bundle");
	atp_jsonobject_open(object, "Filter");
	if (record->stream != NULL)
		atp_jsonobject_text(object, "Stream", record->stream);
	if (manifest->by_type)
		atp_jsonobject_text(object, "EventType", manifest->event_type.data);
	if (manifest->by_from)
		atp_jsonobject_time(object, "RecordedFrom", manifest->recorded_from - UNIX_SHIFT);
	if (manifest->by_until)
		atp_jsonobject_time(object, "RecordedUntil", manifest->recorded_until - UNIX_SHIFT);
	atp_jsonobject_int(object, "FirstLeaf", (int64) manifest->from);
	if (record->leaves >= 0)
		atp_jsonobject_int(object, "Leaves", record->leaves);
	atp_jsonobject_close(object);
	atp_jsonobject_close(object);
}

void
atp_exportrecord_start(AtpExportRecord *record, int64 first_position, int64 last_position)
{
	static AtpQuery held_by = {
		"SELECT l.virtualxid FROM pg_catalog.pg_locks l WHERE l.locktype = 'virtualxid' AND l.pid = pg_catalog.pg_backend_pid()"
	};
	AtpJsonObject object;
	Jsonb	   *doing;

	atp_query(&held_by, NULL, NULL, true, 1);
	begin(record, &object);
	put_request(record, &object);
	atp_jsonobject_text(&object, "held_by", SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	atp_jsonobject_open(&object, "started");
	atp_jsonobject_int(&object, "FromPosition", first_position);
	atp_jsonobject_int(&object, "ThroughPosition", last_position);
	atp_jsonobject_time(&object, "StartedAt", GetCurrentTimestamp());
	atp_jsonobject_close(&object);
	doing = atp_jsonobject_end(&object);
	record->is_committed = write_apart(doing);
	if (!record->is_committed && !XactReadOnly)
		write_here(doing);
}

/* In this transaction, so that it counts as failed where that does not commit, if this one can see what it is to end. */
void
atp_exportrecord_end(AtpExportRecord *record, int64 events, int64 bytes, const uint8 *digest, size_t digest_size)
{
	AtpJsonObject object;
	Jsonb	   *doing;

	begin(record, &object);
	atp_jsonobject_open(&object, "completed");
	atp_jsonobject_int(&object, "EventCount", events);
	atp_jsonobject_int(&object, "ByteCount", bytes);
	atp_jsonobject_hex(&object, "Digest", digest, digest_size);
	atp_jsonobject_time(&object, "CompletedAt", GetCurrentTimestamp());
	atp_jsonobject_close(&object);
	doing = atp_jsonobject_end(&object);
	if (!XactReadOnly && !(record->is_committed && IsolationUsesXactSnapshot()))
		write_here(doing);
	else
		(void) write_apart(doing);
}

void
atp_exportrecord_failure(AtpExportRecord *record)
{
	MemoryContext before = MemoryContextSwitchTo(record->memory);
	ErrorData  *error = CopyErrorData();
	AtpJsonObject object;

	begin(record, &object);
	if (!record->is_committed)
		put_request(record, &object);
	atp_jsonobject_text(&object, "failed", error->message);
	(void) write_apart(atp_jsonobject_end(&object));
	FreeErrorData(error);
	MemoryContextSwitchTo(before);
}

AtpWork
atp_exportrecord_work(void)
{
	static AtpQuery look = {"SELECT FROM atp_internal.open_export"};
	static AtpQuery sweep = {"SELECT atp_internal.sweep_exports()"};
	AtpWork		work = ATP_WORK_NONE;

	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	atp_query(&look, NULL, NULL, true, 1);
	if (SPI_processed > 0)
	{
		work = ATP_WORK_LATER;
		atp_query(&sweep, NULL, NULL, false, 1);
	}
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return work;
}

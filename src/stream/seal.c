/*
 * Sealing of streams. A seal is the last event of its stream: EventStreamSealed, with the number of events before it and the
 * RFC 6962 root over their chain links; the head then says 's', and the door refuses what comes later (TP106).
 *
 * Order: the stream's row is locked as for an append; every event is verified under a snapshot taken after that; then the seal
 * is appended and the state changed on the same head, which is written once, at commit. A stream whose chain is broken is not
 * sealed: the root would certify what nobody wrote.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "core/tree.h"
#include "pg/errors.h"
#include "pg/jsonobject.h"
#include "pg/scan.h"
#include "record/tenant.h"
#include "stream/append.h"
#include "stream/chain.h"
#include "stream/stream.h"

PG_FUNCTION_INFO_V1(atp_seal_stream);

#define SEAL_TYPE "EventStreamSealed"
#define REASON_MAX 1024			/* bytes, as any text member of metadata */

typedef struct Sealing
{
	const uint8 *stream_uid;
	AtpChainWalk walk;
	AtpRange	range;
	const char *fault;
	int64		fault_version;
} Sealing;

static bool
seal_row(void *context, TupleTableSlot *row)
{
	Sealing    *sealing = context;
	AtpChainLink link;
	const char *fault = atp_chain_read(row, false, &link);

	if (link.version != sealing->walk.version + 1)
		fault = link.version <= sealing->walk.version ? ATP_CHAIN_TWICE : ATP_CHAIN_MISSING;
	else
		fault = atp_chain_walk(&sealing->walk, sealing->stream_uid, &link, fault);
	if (fault == NULL && !atp_range_append(&sealing->range, link.hash, NULL, NULL))
		elog(ERROR, "SHA-256 failed in OpenSSL");
	if (fault != NULL)
	{
		sealing->fault = fault;
		sealing->fault_version = link.version;
	}
	return fault == NULL;
}

/* Recomputes the chain of a locked stream and gives the root over its links. */
static void
compute_root(const AtpHead *head, uint8 root[ATP_HASH_SIZE])
{
	static AtpScan scan = {
		"SELECT " ATP_CHAIN_COLUMNS " FROM atp_internal.event e WHERE e.stream = $1 AND e.tenant = $2 ORDER BY e.stream_version",
		2, {INT8OID, INT4OID}
	};
	Datum		arguments[] = {Int64GetDatum(head->stream), Int32GetDatum(head->key.tenant)};
	Sealing		sealing = {.stream_uid = head->stream_uid};

	atp_range_init(&sealing.range);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	atp_scan(&scan, arguments, seal_row, &sealing);
	PopActiveSnapshot();
	if (sealing.fault == NULL && sealing.walk.version != head->version)
	{
		sealing.fault = sealing.walk.version < head->version ? ATP_CHAIN_MISSING : "event is beyond the head of its stream";
		sealing.fault_version = Min(sealing.walk.version, head->version) + 1;
	}
	if (sealing.fault == NULL && memcmp(sealing.walk.hash, head->hash, ATP_HASH_SIZE) != 0)
	{
		sealing.fault = "head of the stream has another hash";
		sealing.fault_version = head->version;
	}
	if (sealing.fault != NULL)
		ereport(ERROR, errcode(ATP_ERR_INTEGRITY_FAULT), errmsg("stream \"%s\" does not verify", head->key.name),
				errdetail("Version %lld: %s.", (long long) sealing.fault_version, sealing.fault),
				errhint("A stream is sealed as it was written, or not at all; see atp.verify_stream()."));
	if (!atp_range_root(&sealing.range, root))
		elog(ERROR, "SHA-256 failed in OpenSSL");
}

static Jsonb *
make_payload(const AtpHead *head, const uint8 root[ATP_HASH_SIZE], TimestampTz now)
{
	AtpJsonObject object;

	atp_jsonobject_begin(&object);
	atp_jsonobject_text(&object, "StreamId", head->key.name);
	atp_jsonobject_int(&object, "FinalEventCount", head->version);
	atp_jsonobject_hex(&object, "MerkleRoot", root, ATP_HASH_SIZE);
	atp_jsonobject_time(&object, "SealedAt", now);
	return atp_jsonobject_end(&object);
}

static Jsonb *
make_metadata(const char *reason)
{
	AtpJsonObject object;

	if (reason != NULL && strlen(reason) > REASON_MAX)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("reason is longer than %d bytes", REASON_MAX));
	atp_jsonobject_begin(&object);
	if (reason != NULL)
		atp_jsonobject_text(&object, "reason", reason);
	atp_jsonobject_text(&object, "session_user", GetUserNameFromId(GetSessionUserId(), false));
	return atp_jsonobject_end(&object);
}

static Datum
make_result(FunctionCallInfo fcinfo, const AtpReceipt *receipt, int64 count, const uint8 *root, TimestampTz now)
{
	TupleDesc	shape;
	Datum		values[4];
	bool		nulls[4] = {false};
	bytea	   *bytes = palloc(VARHDRSZ + ATP_HASH_SIZE);

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	SET_VARSIZE(bytes, VARHDRSZ + ATP_HASH_SIZE);
	memcpy(VARDATA(bytes), root, ATP_HASH_SIZE);
	values[0] = UUIDPGetDatum(&receipt->event_id);
	values[1] = Int64GetDatum(count);
	values[2] = PointerGetDatum(bytes);
	values[3] = TimestampTzGetDatum(now);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls));
}

/* seal_stream(stream, reason, tenant) */
Datum
atp_seal_stream(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant;
	AtpEvent	event = {.event_type = SEAL_TYPE, .platform = true};
	AtpReceipt	receipt;
	AtpHead    *head;
	char	   *name;
	int64		count;
	int64		turn = 0;
	uint8		root[ATP_HASH_SIZE];
	TimestampTz now;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream must not be null"));
	PreventCommandIfReadOnly("seal_stream()");
	PreventCommandDuringRecovery("seal_stream()");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	atp_envelope_require_stream_name(name);
	event.metadata = make_metadata(PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)));
	atp_tenant_resolve(PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), &tenant);
	atp_tenant_require_active(&tenant);

	head = atp_stream_open(tenant.tenant, name, true);
	if (head->version == 0)
		ereport(ERROR, errcode(ATP_ERR_STREAM_NOT_FOUND), errmsg("stream \"%s\" does not exist", name),
				errhint("An empty stream has nothing to seal."));
	if (head->state != 'o')
		ereport(ERROR, errcode(ATP_ERR_STREAM_SEALED), errmsg("stream \"%s\" takes no more events", name),
				errdetail("It is %s already.", head->state == 's' ? "sealed" : "archived"));
	compute_root(head, root);
	count = head->version;
	now = GetCurrentTimestamp();
	event.payload = make_payload(head, root, now);
	atp_append(&tenant, name, &event, 1, count, NULL, &receipt);

	head = atp_stream_open(tenant.tenant, name, true);	/* the one held; an append may have made room in between */
	atp_stream_change(head);
	head->state = 's';
	if (!atp_stream_publish(head, &turn))
		elog(ERROR, "row of stream \"%s\" was changed by another transaction under our lock", name);
	PG_RETURN_DATUM(make_result(fcinfo, &receipt, count, root, now));
}

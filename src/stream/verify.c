/*
 * Verification of one stream; see verify.h. It is walked in the order of its index, up to its first fault.
 */
#include "stream/verify.h"

#include "access/xact.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "pg/scan.h"
#include "record/tenant.h"
#include "stream/chain.h"
#include "stream/stream.h"

PG_FUNCTION_INFO_V1(atp_verify_stream);

typedef struct One				/* the walk of one stream by index */
{
	const AtpChainHead *head;
	AtpChainWalk		walk;
	bool		deep;
	int64		checked;
	AtpFault	fault;
} One;

/* ---- one stream, by index ---- */

static void
set_fault(One *one, int64 version, const char *what)
{
	if (one->fault.what == NULL)
		one->fault = (AtpFault) {.tenant = one->head->tenant, .stream = one->head->stream, .version = version, .what = what};
}

static bool
walk_row(void *context, TupleTableSlot *row)
{
	One		   *one = context;
	AtpChainLink link;
	const char *fault = atp_chain_read(row, one->deep, &link);

	one->checked++;
	/* the index says whose event it is; so must the row */
	if (DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM]) != one->head->stream || link.tenant != one->head->tenant)
		set_fault(one, one->walk.version + 1, "event belongs to another stream");
	else if (link.version <= one->walk.version)
		set_fault(one, link.version, ATP_CHAIN_TWICE);
	else if (link.version > one->walk.version + 1)
		set_fault(one, one->walk.version + 1, ATP_CHAIN_MISSING);
	else
	{
		fault = atp_chain_walk(&one->walk, one->head->stream_uid, &link, fault);
		if (fault != NULL)
			set_fault(one, link.version, fault);
	}
	return one->fault.what == NULL;
}

#define EVENTS_OF_STREAM \
	"SELECT " ATP_CHAIN_COLUMNS " FROM atp_internal.event e WHERE e.stream = $1 AND e.tenant = $2 ORDER BY e.stream_version"

static int64
walk(AtpScan *scan, const AtpChainHead *head, bool deep, AtpFault *fault)
{
	Datum		arguments[] = {Int64GetDatum(head->stream), Int32GetDatum(head->tenant)};
	One			one = {.head = head, .deep = deep};
	const char *what;
	int64		version;

	atp_scan(scan, arguments, walk_row, &one);
	what = one.fault.what == NULL ? atp_chain_compare_head(&one.walk, head, &version) : NULL;
	if (what != NULL)
		set_fault(&one, version, what);
	*fault = one.fault;
	return one.checked;
}

int64
atp_verify_walk(const AtpChainHead *head, bool deep, AtpFault *fault)
{
	static AtpScan scan = {EVENTS_OF_STREAM, 2, {INT8OID, INT4OID}};

	return walk(&scan, head, deep, fault);
}

void
atp_verify_index(const AtpChainHead *head, AtpFault *fault)
{
	static AtpScan scan = {EVENTS_OF_STREAM, 2, {INT8OID, INT4OID}};	/* a plan of its own, made under the caller's switches */

	(void) walk(&scan, head, false, fault);
}

void
atp_verify_begin(void)
{
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
atp_verify_end(void)
{
	PopActiveSnapshot();
}

static bool
take_head(void *context, TupleTableSlot *row)
{
	atp_chain_read_head(row, context);
	return false;
}

/* Verifies the stream of a name; returns what is wrong. */
static const char *
verify_named(Datum name, int32 tenant, int64 *checked, AtpFault *fault)
{
	static AtpScan scan = {
		"SELECT " ATP_CHAIN_HEAD_COLUMNS " FROM atp_internal.stream s WHERE s.name = $1 AND s.tenant = $2", 2, {TEXTOID, INT4OID}
	};
	Datum		arguments[] = {name, Int32GetDatum(tenant)};
	AtpChainHead head = {0};

	atp_scan(&scan, arguments, take_head, &head);
	if (head.stream == 0)
		return "no such stream";
	*checked = atp_verify_walk(&head, false, fault);
	return fault->what;
}

/* verify_stream(stream, tenant) */
Datum
atp_verify_stream(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant;
	AtpFault	first = {0};
	int64		checked = 0;
	TupleDesc	shape;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, false, true, true};
	const char *fault;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream must not be null"));
	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_tenant_resolve(PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), &tenant);
	atp_verify_begin();
	fault = verify_named(PG_GETARG_DATUM(0), tenant.tenant, &checked, &first);
	atp_verify_end();
	values[0] = BoolGetDatum(fault == NULL);
	values[1] = Int64GetDatum(checked);
	if (first.what != NULL)
	{
		values[2] = Int64GetDatum(first.version);
		nulls[2] = false;
	}
	if (fault != NULL)
	{
		values[3] = CStringGetTextDatum(fault);
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

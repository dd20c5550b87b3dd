/*
 * Reading of streams is SQL (read.sql), so that the planner inlines it and rows stream. What that SQL must know of a stream
 * before it can choose its leaves comes from the functions here: STABLE, so that the executor evaluates them as it starts and
 * opens only the leaves that can hold events of the stream. Each remembers its answer for as long as its arguments cannot
 * change, that is for one execution: a filter calls it for every row.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

/* Columns of atp_internal.stream, in the order of stream.sql. */
#define STREAM_KEY 1
#define STREAM_TENANT 2
#define STREAM_VERSION 4
#define STREAM_MIN_EVENT_ID 7
#define STREAM_MAX_EVENT_ID 8
#define STREAM_NAME 11

typedef struct StreamHead		/* in fn_extra */
{
	bool		exists;
	int64		stream;
	int64		version;
	pg_uuid_t	min_event_id;
	pg_uuid_t	max_event_id;
} StreamHead;

PG_FUNCTION_INFO_V1(atp_read_is_forward);
PG_FUNCTION_INFO_V1(atp_read_stream_key);
PG_FUNCTION_INFO_V1(atp_read_stream_version);
PG_FUNCTION_INFO_V1(atp_read_stream_min_event_id);
PG_FUNCTION_INFO_V1(atp_read_stream_max_event_id);

extern Datum atp_tenant_open(PG_FUNCTION_ARGS);
extern Datum atp_stream_pending_version(PG_FUNCTION_ARGS);
extern Datum atp_stream_pending_min_event_id(PG_FUNCTION_ARGS);
extern Datum atp_stream_pending_max_event_id(PG_FUNCTION_ARGS);

static void
read_head(Relation stream, HeapTuple tuple, StreamHead *head)
{
	TupleDesc	desc = RelationGetDescr(stream);
	bool		isnull;
	Datum		key = heap_getattr(tuple, STREAM_KEY, desc, &isnull);
	Datum		version = heap_getattr(tuple, STREAM_VERSION, desc, &isnull);
	Datum		min_event_id = heap_getattr(tuple, STREAM_MIN_EVENT_ID, desc, &isnull);
	Datum		max_event_id = heap_getattr(tuple, STREAM_MAX_EVENT_ID, desc, &isnull);

	head->exists = true;
	head->stream = DatumGetInt64(key);
	head->version = DatumGetInt64(DirectFunctionCall2(atp_stream_pending_version, key, version));
	head->min_event_id = *DatumGetUUIDP(DirectFunctionCall2(atp_stream_pending_min_event_id, key, min_event_id));
	head->max_event_id = *DatumGetUUIDP(DirectFunctionCall2(atp_stream_pending_max_event_id, key, max_event_id));
}

/* Looks the stream up under the active snapshot, that of the query. The tenant has been checked by its opening. */
static void
find_stream(Datum name, Datum tenant, StreamHead *head)
{
	Oid			namespace = get_namespace_oid("atp_internal", false);
	Relation	stream = table_open(get_relname_relid("stream", namespace), AccessShareLock);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyEntryInitialize(&keys[0], 0, STREAM_NAME, BTEqualStrategyNumber, InvalidOid,
						   TupleDescAttr(RelationGetDescr(stream), STREAM_NAME - 1)->attcollation, F_TEXTEQ, name);
	ScanKeyInit(&keys[1], STREAM_TENANT, BTEqualStrategyNumber, F_INT4EQ, tenant);
	scan = systable_beginscan(stream, get_relname_relid("stream_name_unique", namespace), true, GetActiveSnapshot(), 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		read_head(stream, tuple, head);
	systable_endscan(scan);
	table_close(stream, AccessShareLock);
}

/* The head of the stream that the arguments (stream, tenant) name; one with exists = false where there is none. */
static StreamHead *
stream_head(FunctionCallInfo fcinfo)
{
	FmgrInfo   *flinfo = fcinfo->flinfo;
	StreamHead *head = flinfo->fn_extra;

	if (head != NULL && get_fn_expr_arg_stable(flinfo, 0) && get_fn_expr_arg_stable(flinfo, 1))
		return head;
	if (head == NULL)
		flinfo->fn_extra = head = MemoryContextAlloc(flinfo->fn_mcxt, sizeof(StreamHead));
	memset(head, 0, sizeof(StreamHead));
	if (!PG_ARGISNULL(0))
	{
		LOCAL_FCINFO(open, 1);

		InitFunctionCallInfoData(*open, NULL, 1, InvalidOid, NULL, NULL);
		open->args[0] = fcinfo->args[1];
		find_stream(PG_GETARG_DATUM(0), atp_tenant_open(open), head);
	}
	return head;
}

Datum
atp_read_stream_key(PG_FUNCTION_ARGS)
{
	StreamHead *head = stream_head(fcinfo);

	if (!head->exists)
		PG_RETURN_NULL();
	PG_RETURN_INT64(head->stream);
}

Datum
atp_read_stream_version(PG_FUNCTION_ARGS)
{
	StreamHead *head = stream_head(fcinfo);

	if (!head->exists)
		PG_RETURN_NULL();
	PG_RETURN_INT64(head->version);
}

Datum
atp_read_stream_min_event_id(PG_FUNCTION_ARGS)
{
	StreamHead *head = stream_head(fcinfo);

	if (!head->exists)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(&head->min_event_id);
}

Datum
atp_read_stream_max_event_id(PG_FUNCTION_ARGS)
{
	StreamHead *head = stream_head(fcinfo);

	if (!head->exists)
		PG_RETURN_NULL();
	PG_RETURN_UUID_P(&head->max_event_id);
}

Datum
atp_read_is_forward(PG_FUNCTION_ARGS)
{
	char	   *direction = PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (direction != NULL && strcmp(direction, "forward") == 0)
		PG_RETURN_BOOL(true);
	if (direction != NULL && strcmp(direction, "backward") == 0)
		PG_RETURN_BOOL(false);
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			direction == NULL ? errmsg("direction must not be null") : errmsg("unknown direction \"%s\"", direction),
			errhint("A stream is read forward or backward."));
}

/*
 * Verification of streams; see verify.h.
 *
 * One stream is walked in the order of its index. All streams are verified in one pass over the event table in the order in
 * which it lies on disk: a hash table holds where each stream stands. A row that comes before its predecessor (two backends
 * appended to the stream, each on a page of its own) waits, its commitments already computed.
 *
 * Memory is bounded twice. The table holds so many streams and no more: beyond that, further passes, each over a range of
 * keys. The rows that wait have a budget: a stream that would exceed it is put off, and walked by index after the pass.
 *
 * A fault does not end the work on its stream: in disk order an earlier version may be read later. The walk goes on from
 * the stored hash, so that one changed event is one fault.
 */
#include "stream/verify.h"

#include "access/xact.h"
#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "pg/scan.h"
#include "record/tenant.h"
#include "stream/chain.h"
#include "stream/stream.h"

PG_FUNCTION_INFO_V1(atp_verify_stream);

typedef struct Waiting			/* a row that came before its predecessor */
{
	struct Waiting *next;		/* of a higher version, or an equal one */
	const char *fault;			/* found when it was read */
	AtpChainLink link;
} Waiting;

typedef struct StreamKey
{
	int64		stream;
	int32		tenant;
	int32		zero;
} StreamKey;

typedef struct Stream			/* in the hash table of a pass */
{
	StreamKey	key;
	char		status;			/* of the hash table */
	bool		put_off;
	int64		checked;		/* its rows so far */
	uint8		stream_uid[UUID_LEN];
	AtpChainWalk		walk;
	bool		faulty;
	Waiting    *first;
	Waiting    *last;
} Stream;

static inline uint32
hash_key(StreamKey key)
{
	return murmurhash32((uint32) key.stream ^ (uint32) (key.stream >> 32) * 31 ^ (uint32) key.tenant * 0x9e3779b1);
}

#define SH_PREFIX streams
#define SH_ELEMENT_TYPE Stream
#define SH_KEY_TYPE StreamKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_key(key)
#define SH_EQUAL(table, a, b) ((a).stream == (b).stream && (a).tenant == (b).tenant)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Pass
{
	AtpVerdict *verdict;
	bool		deep;
	streams_hash *table;
	MemoryContext memory;		/* of everything that ends with the pass */
	MemoryContext waiting_memory;
	int64		waiting_count;
	int64		waiting_max;
	int64		last_key;
} Pass;

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

/* Walks one stream until its end or its first fault. */
static void
walk_stream(const AtpChainHead *head, bool deep, One *one)
{
	static AtpScan scan = {
		"SELECT " ATP_CHAIN_COLUMNS " FROM atp_internal.event e WHERE e.stream = $1 AND e.tenant = $2 ORDER BY e.stream_version",
		2, {INT8OID, INT4OID}
	};
	Datum		arguments[] = {Int64GetDatum(head->stream), Int32GetDatum(head->tenant)};
	const char *fault;
	int64		version;

	memset(one, 0, sizeof(*one));
	one->head = head;
	one->deep = deep;
	atp_scan(&scan, arguments, walk_row, one);
	fault = one->fault.what == NULL ? atp_chain_compare_head(&one->walk, head, &version) : NULL;
	if (fault != NULL)
		set_fault(one, version, fault);
}

/* ---- all streams, in disk order ---- */

static void
report(AtpVerdict *verdict, const StreamKey *key, int64 version, const char *what)
{
	AtpFault   *first = &verdict->first;
	bool		earlier;

	if (first->what == NULL || key->tenant != first->tenant)
		earlier = first->what == NULL || key->tenant < first->tenant;
	else if (key->stream != first->stream)
		earlier = key->stream < first->stream;
	else
		earlier = version < first->version;
	if (earlier)
		*first = (AtpFault) {.tenant = key->tenant, .stream = key->stream, .version = version, .what = what};
}

static void
report_stream(Pass *pass, Stream *stream, int64 version, const char *what)
{
	if (!stream->faulty)
		pass->verdict->faulty++;
	stream->faulty = true;
	report(pass->verdict, &stream->key, version, what);
}

static void
advance(Pass *pass, Stream *stream, const AtpChainLink *link, const char *fault)
{
	fault = atp_chain_walk(&stream->walk, stream->stream_uid, link, fault);
	if (fault != NULL)
		report_stream(pass, stream, link->version, fault);
}

static Waiting *
take_first(Pass *pass, Stream *stream)
{
	Waiting    *taken = stream->first;

	stream->first = taken->next;
	if (stream->first == NULL)
		stream->last = NULL;
	pass->waiting_count--;
	return taken;
}

static void
put_off(Pass *pass, Stream *stream)
{
	while (stream->first != NULL)
		pfree(take_first(pass, stream));
	stream->put_off = true;
	pass->verdict->checked -= stream->checked;	/* they will be read again */
}

/* Rows mostly arrive in order, so that the end is looked at first. */
static void
let_wait(Pass *pass, Stream *stream, const AtpChainLink *link, const char *fault)
{
	Waiting    *waiting;
	Waiting   **place = &stream->first;

	if (pass->waiting_count >= pass->waiting_max)
	{
		put_off(pass, stream);
		return;
	}
	waiting = MemoryContextAlloc(pass->waiting_memory, sizeof(Waiting));
	waiting->fault = fault;
	waiting->link = *link;
	if (stream->last != NULL && stream->last->link.version <= link->version)
		place = &stream->last->next;
	else
		while (*place != NULL && (*place)->link.version <= link->version)
			place = &(*place)->next;
	waiting->next = *place;
	*place = waiting;
	if (waiting->next == NULL)
		stream->last = waiting;
	pass->waiting_count++;
}

static void
release_waiting(Pass *pass, Stream *stream)
{
	while (stream->first != NULL && stream->first->link.version <= stream->walk.version + 1)
	{
		Waiting    *waiting = take_first(pass, stream);

		if (waiting->link.version <= stream->walk.version)
			report_stream(pass, stream, waiting->link.version, ATP_CHAIN_TWICE);
		else
			advance(pass, stream, &waiting->link, waiting->fault);
		pfree(waiting);
	}
}

static bool
pass_row(void *context, TupleTableSlot *row)
{
	Pass	   *pass = context;
	StreamKey	key = {DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM]), DatumGetInt32(row->tts_values[ATP_CHAIN_TENANT]), 0};
	Stream	   *stream = streams_lookup(pass->table, key);
	AtpChainLink link;
	const char *fault;

	if (stream != NULL && stream->put_off)
		return true;
	pass->verdict->checked++;
	if (stream == NULL)
	{
		pass->verdict->faulty++;
		report(pass->verdict, &key, DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM_VERSION]), "event belongs to no stream");
		return true;
	}
	stream->checked++;
	fault = atp_chain_read(row, pass->deep, &link);
	if (link.version > stream->walk.version + 1)
		let_wait(pass, stream, &link, fault);
	else if (link.version <= stream->walk.version)
		report_stream(pass, stream, link.version, ATP_CHAIN_TWICE);
	else
	{
		advance(pass, stream, &link, fault);
		release_waiting(pass, stream);
	}
	return true;
}

static bool
load_row(void *context, TupleTableSlot *row)
{
	Pass	   *pass = context;
	StreamKey	key = {DatumGetInt64(row->tts_values[0]), DatumGetInt32(row->tts_values[1]), 0};
	bool		found;
	Stream	   *stream = streams_insert(pass->table, key, &found);
	char		status = stream->status;

	memset(stream, 0, sizeof(*stream));
	stream->key = key;
	stream->status = status;
	memcpy(stream->stream_uid, DatumGetUUIDP(row->tts_values[2])->data, UUID_LEN);
	pass->last_key = key.stream;
	return true;
}

static bool
end_row(void *context, TupleTableSlot *row)
{
	Pass	   *pass = context;
	AtpChainHead		head;
	Stream	   *stream;
	const char *fault;
	int64		version;

	atp_chain_read_head(row, &head);
	stream = streams_lookup(pass->table, (StreamKey) {head.stream, head.tenant, 0});
	if (stream == NULL)
		return true;
	if (stream->put_off)
	{
		One			one;

		walk_stream(&head, pass->deep, &one);
		pass->verdict->checked += one.checked;
		if (one.fault.what != NULL)
			report_stream(pass, stream, one.fault.version, one.fault.what);
		return true;
	}
	if (stream->first != NULL)
	{
		report_stream(pass, stream, stream->walk.version + 1, ATP_CHAIN_MISSING);
		return true;
	}
	fault = atp_chain_compare_head(&stream->walk, &head, &version);
	if (fault != NULL)
		report_stream(pass, stream, version, fault);
	return true;
}

/*
 * How many streams fit into a pass: the hash table doubles, and is a power of two of which 0.9 is used.
 */
static int64
streams_per_pass(void)
{
	int64		size = 1024;

	while (size * 2 * (int64) sizeof(Stream) <= (int64) maintenance_work_mem * 1024 / 4 * 3)
		size *= 2;
	return size / 10 * 8;
}

static int64
load_streams(Pass *pass, int64 low)
{
	static AtpScan load = {
		"SELECT s.stream, s.tenant, s.stream_uid FROM atp_internal.stream s WHERE s.stream >= $1 "
		"ORDER BY s.stream FETCH FIRST $2 ROWS WITH TIES", 2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	int64		most = streams_per_pass();
	Datum		arguments[] = {Int64GetDatum(low), Int64GetDatum(most)};

	pass->table = streams_create(pass->memory, 1024, NULL);
	atp_scan(&load, arguments, load_row, pass);
	return pass->table->members < most ? PG_INT64_MAX : pass->last_key;
}

/* Verifies the streams with keys from `low`; returns the last key that was among them. */
static int64
run_pass(bool deep, int64 low, AtpVerdict *verdict)
{
	static AtpScan all = {"SELECT " ATP_CHAIN_COLUMNS " FROM atp_internal.event e"};
	static AtpScan some = {
		"SELECT " ATP_CHAIN_COLUMNS " FROM atp_internal.event e WHERE e.stream BETWEEN $1 AND $2",
		2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	static AtpScan heads = {
		"SELECT " ATP_CHAIN_HEAD_COLUMNS " FROM atp_internal.stream s WHERE s.stream BETWEEN $1 AND $2",
		2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	Pass		pass = {.verdict = verdict, .deep = deep};
	Datum		range[2];
	int64		high;

	pass.memory = AllocSetContextCreate(CurrentMemoryContext, "atp verification", ALLOCSET_DEFAULT_SIZES);
	pass.waiting_memory = SlabContextCreate(pass.memory, "atp events that wait", SLAB_LARGE_BLOCK_SIZE, sizeof(Waiting));
	pass.waiting_max = (int64) maintenance_work_mem * 1024 / 4 / sizeof(Waiting);
	high = load_streams(&pass, low);
	range[0] = Int64GetDatum(low);
	range[1] = Int64GetDatum(high);
	if (low == PG_INT64_MIN && high == PG_INT64_MAX)
		atp_scan(&all, NULL, pass_row, &pass);
	else
		atp_scan(&some, range, pass_row, &pass);
	atp_scan(&heads, range, end_row, &pass);
	MemoryContextDelete(pass.memory);
	return high;
}

void
atp_verify_streams(bool deep, AtpVerdict *verdict)
{
	int			level = NewGUCNestLevel();
	int64		low = PG_INT64_MIN;
	int64		high;

	memset(verdict, 0, sizeof(*verdict));
	/* a scan that joined another in the middle of the table would meet most events before their predecessors */
	(void) set_config_option("synchronize_seqscans", "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	while ((high = run_pass(deep, low, verdict)) < PG_INT64_MAX)
		low = high + 1;
	AtEOXact_GUC(true, level);
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

/* Verifies the stream of a name; false where there is none. */
static bool
verify_named(Datum name, int32 tenant, AtpChainHead *head, One *one)
{
	static AtpScan scan = {
		"SELECT " ATP_CHAIN_HEAD_COLUMNS " FROM atp_internal.stream s WHERE s.name = $1 AND s.tenant = $2", 2, {TEXTOID, INT4OID}
	};
	Datum		arguments[] = {name, Int32GetDatum(tenant)};

	head->stream = 0;
	atp_scan(&scan, arguments, take_head, head);
	if (head->stream == 0)
		return false;
	walk_stream(head, false, one);
	return true;
}

/* verify_stream(stream, tenant) */
Datum
atp_verify_stream(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant;
	AtpChainHead head;
	One			one;
	TupleDesc	shape;
	Datum		values[4] = {0};
	bool		nulls[4] = {false, false, true, true};
	const char *fault;

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream must not be null"));
	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_tenant_resolve(PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), &tenant);
	memset(&one, 0, sizeof(one));
	atp_verify_begin();
	fault = verify_named(PG_GETARG_DATUM(0), tenant.tenant, &head, &one) ? one.fault.what : "no such stream";
	atp_verify_end();
	values[0] = BoolGetDatum(fault == NULL);
	values[1] = Int64GetDatum(one.checked);
	if (one.fault.what != NULL)
	{
		values[2] = Int64GetDatum(one.fault.version);
		nulls[2] = false;
	}
	if (fault != NULL)
	{
		values[3] = CStringGetTextDatum(fault);
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

/*
 * Verification of the log: see verifylog.h.
 *
 * The log is walked in the order of its positions; each row is joined to its event by id. For every stream a table keeps the
 * version placed last: the next event of the stream has to be the next version. That alone says that no event has two positions,
 * that none is left out in between, and that the order of the stream is kept. What is left are the events at the end of each
 * stream that have no position: no fault while their transaction was not over at the last tick, and a fault otherwise.
 * A stream's events commit in the order of their versions, so the first of them speaks for the rest.
 *
 * The table holds so many streams and no more: beyond that, further passes, each over a range of keys.
 *
 * A scan by index trusts the index, so every row is compared with what it was found by.
 */
#include "log/verifylog.h"

#include "common/hashfn.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "log/sequencer.h"
#include "pg/scan.h"
#include "stream/verify.h"

PG_FUNCTION_INFO_V1(atp_verifylog_log);

typedef struct PlacedKey
{
	int64		stream;
	int32		tenant;
	int32		zero;
} PlacedKey;

typedef struct Placed			/* how far a stream has been placed */
{
	PlacedKey	key;
	int64		version;
	char		status;			/* of the hash table */
} Placed;

static inline uint32
hash_key(PlacedKey key)
{
	return murmurhash32((uint32) key.stream ^ (uint32) (key.stream >> 32) * 31 ^ (uint32) key.tenant * 0x9e3779b1);
}

#define SH_PREFIX placed
#define SH_ELEMENT_TYPE Placed
#define SH_KEY_TYPE PlacedKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_key(key)
#define SH_EQUAL(table, a, b) ((a).stream == (b).stream && (a).tenant == (b).tenant)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct LogWalk
{
	int64		low,
				high;			/* keys of the streams of this pass */
	bool		first_pass;
	int64		next;			/* position that should come */
	int64		checked;
	placed_hash *table;
	const AtpSequencerState *state;
	AtpLogFault   *fault;			/* the first by position; an event without one comes after all */
} LogWalk;

static void
set_fault(LogWalk *walk, bool has_position, int64 log_position, AtpFault event)
{
	AtpLogFault   *fault = walk->fault;

	if (fault->event.what == NULL || (has_position && (!fault->has_position || log_position < fault->log_position)))
		*fault = (AtpLogFault) {.event = event, .has_position = has_position, .log_position = log_position};
}

enum							/* columns of the walk */
{
	LOG_POSITION, LOG_TENANT, LOG_STREAM, LOG_EVENT_TYPE, LOG_EVENT_ID, EVENT_ID, EVENT_TENANT, EVENT_STREAM, EVENT_VERSION, EVENT_TYPE
};

/* What is wrong between a log row and its event; NULL: nothing. */
static const char *
check_event(LogWalk *walk, TupleTableSlot *row, int64 *version)
{
	Datum	   *values = row->tts_values;
	PlacedKey	key = {DatumGetInt64(values[LOG_STREAM]), DatumGetInt32(values[LOG_TENANT]), 0};
	Placed	   *placed;
	bool		found;

	placed = placed_insert(walk->table, key, &found);
	if (!found)
		placed->version = 0;
	*version = placed->version + 1;
	if (row->tts_isnull[EVENT_ID])
		return "event does not exist";
	if (memcmp(DatumGetUUIDP(values[EVENT_ID]), DatumGetUUIDP(values[LOG_EVENT_ID]), UUID_LEN) != 0)
		return "event has another id";
	if (DatumGetInt32(values[EVENT_TENANT]) != key.tenant)
		return "event is of another tenant";
	if (DatumGetInt64(values[EVENT_STREAM]) != key.stream)
		return "event is of another stream";
	if (DatumGetInt32(values[EVENT_TYPE]) != DatumGetInt32(values[LOG_EVENT_TYPE]))
		return "event is of another type";
	*version = DatumGetInt64(values[EVENT_VERSION]);
	if (*version <= placed->version)
		return "event has a position already";
	if (*version > placed->version + 1)
		return "event comes before its predecessor in the stream";
	placed->version = *version;
	return NULL;
}

static bool
walk_row(void *context, TupleTableSlot *row)
{
	LogWalk    *walk = context;
	int64		log_position = DatumGetInt64(row->tts_values[LOG_POSITION]);
	int64		stream = DatumGetInt64(row->tts_values[LOG_STREAM]);
	AtpFault	fault = {.tenant = DatumGetInt32(row->tts_values[LOG_TENANT]), .stream = stream};

	if (walk->fault->event.what != NULL && walk->fault->has_position && log_position > walk->fault->log_position)
		return false;			/* an earlier pass found one before this */
	walk->checked += walk->first_pass;
	if (log_position > walk->next)
	{
		set_fault(walk, true, walk->next, (AtpFault) {.what = "position is missing"});
		return false;
	}
	if (log_position < walk->next)
		fault.what = log_position < 1 ? "position is below 1" : "position is there twice";
	else if (stream >= walk->low && stream <= walk->high)
		fault.what = check_event(walk, row, &fault.version);
	walk->next = log_position + 1;
	if (fault.what == NULL)
		return true;
	set_fault(walk, true, log_position, fault);
	return false;
}

typedef struct Due
{
	const AtpSequencerState *state;
	bool		answer;
} Due;

static bool
due_row(void *context, TupleTableSlot *row)
{
	Due		   *due = context;

	due->answer = atp_sequencer_must_have_placed(due->state, U64FromFullTransactionId(DatumGetFullTransactionId(row->tts_values[0])),
												 DatumGetInt64(row->tts_values[1]));
	return false;
}

/* Says whether an event without a position should have one. */
static bool
is_due(const LogWalk *walk, const PlacedKey *key, int64 version)
{
	static AtpScan scan = {
		"SELECT e.xid, e.seq FROM atp_internal.event e WHERE e.stream = $1 AND e.tenant = $2 AND e.stream_version = $3",
		3, {INT8OID, INT4OID, INT8OID}
	};
	Datum		arguments[] = {Int64GetDatum(key->stream), Int32GetDatum(key->tenant), Int64GetDatum(version)};
	Due			due = {.state = walk->state};

	atp_scan(&scan, arguments, due_row, &due);
	return due.answer;
}

/* Streams of the pass: is the first event without a position, which speaks for those after it, due? */
static bool
head_row(void *context, TupleTableSlot *row)
{
	LogWalk    *walk = context;
	PlacedKey	key = {DatumGetInt64(row->tts_values[0]), DatumGetInt32(row->tts_values[1]), 0};
	Placed	   *placed = placed_lookup(walk->table, key);
	int64		version = placed == NULL ? 0 : placed->version;
	AtpFault	fault = {.tenant = key.tenant, .stream = key.stream, .version = version + 1, .what = "event has no position"};

	if (version >= DatumGetInt64(row->tts_values[2]) || !is_due(walk, &key, version + 1))
		return true;
	set_fault(walk, false, 0, fault);
	return false;
}

static bool
take_high(void *context, TupleTableSlot *row)
{
	if (!row->tts_isnull[0])
		*(int64 *) context = DatumGetInt64(row->tts_values[0]);
	return true;
}

/* The last key of the streams from `low` that fit into a pass: the table doubles, and 0.9 of it is used. */
static int64
choose_high(int64 low)
{
	static AtpScan scan = {
		"SELECT max(k.stream) FROM (SELECT s.stream FROM atp_internal.stream s WHERE s.stream >= $1 ORDER BY s.stream "
		"FETCH FIRST $2 ROWS WITH TIES) k HAVING count(*) >= $2", 2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	int64		size = 1024;
	int64		high = PG_INT64_MAX;
	Datum		arguments[2];

	while (size * 2 * (int64) sizeof(Placed) <= (int64) maintenance_work_mem * 1024 / 4 * 3)
		size *= 2;
	arguments[0] = Int64GetDatum(low);
	arguments[1] = Int64GetDatum(size / 10 * 8);
	atp_scan(&scan, arguments, take_high, &high);
	return high;
}

static int64
run_pass(int64 low, const AtpSequencerState *state, AtpLogFault *fault, int64 *checked)
{
	static AtpScan log = {
		"SELECT l.log_position, l.tenant, l.stream, l.event_type, l.event_id, e.event_id, e.tenant, e.stream, e.stream_version, "
		"e.event_type FROM atp_internal.log l LEFT JOIN atp_internal.event e "
		"ON e.event_id = l.event_id AND e.tenant = l.tenant AND l.stream BETWEEN $1 AND $2 ORDER BY l.log_position",
		2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	static AtpScan heads = {
		"SELECT s.stream, s.tenant, s.version FROM atp_internal.stream s WHERE s.stream BETWEEN $1 AND $2 ORDER BY s.stream",
		2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	LogWalk		walk = {.low = low, .high = choose_high(low), .first_pass = low == PG_INT64_MIN, .next = 1,
	.state = state, .fault = fault};
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "atp verification of the log", ALLOCSET_DEFAULT_SIZES);
	Datum		range[] = {Int64GetDatum(walk.low), Int64GetDatum(walk.high)};

	walk.table = placed_create(memory, 1024, NULL);
	atp_scan(&log, range, walk_row, &walk);
	if (fault->event.what == NULL)
		atp_scan(&heads, range, head_row, &walk);
	*checked += walk.checked;
	MemoryContextDelete(memory);
	return walk.high;
}

int64
atp_verifylog_walk(AtpLogFault *fault)
{
	static const char *const off[] = {"enable_hashjoin", "enable_mergejoin", "enable_sort", "enable_seqscan", "enable_bitmapscan"};
	int			level = NewGUCNestLevel();
	int64		low = PG_INT64_MIN;
	int64		high;
	int64		checked = 0;
	const AtpSequencerState *state = atp_sequencer_read_state(GetActiveSnapshot());

	memset(fault, 0, sizeof(*fault));
	/* rows as they come by position, each with its event: nothing is sorted, collected or spilt, whatever the statistics say */
	for (int i = 0; i < (int) lengthof(off); i++)
		(void) set_config_option(off[i], "off", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	while ((high = run_pass(low, state, fault, &checked)) < PG_INT64_MAX)
		low = high + 1;
	AtEOXact_GUC(true, level);
	if (fault->event.what == NULL && atp_sequencer_log_is_cut(state))
		*fault = (AtpLogFault) {.event = {.what = "position is missing"}, .has_position = true, .log_position = checked + 1};
	return checked;
}

/* ---- SQL ---- */

static TupleDesc
row_shape(FunctionCallInfo fcinfo)
{
	TupleDesc	shape;

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	return BlessTupleDesc(shape);
}

/* verify_log() */
Datum
atp_verifylog_log(PG_FUNCTION_ARGS)
{
	TupleDesc	shape = row_shape(fcinfo);
	Datum		values[4] = {0};
	bool		nulls[4] = {false, false, true, true};
	AtpLogFault	fault;
	int64		checked;
	const char *what;

	atp_verify_begin();
	checked = atp_verifylog_walk(&fault);
	atp_verify_end();
	what = fault.event.what != NULL ? fault.event.what : checked == 0 ? "the log is empty" : NULL;
	values[0] = BoolGetDatum(what == NULL);
	values[1] = Int64GetDatum(checked);
	values[2] = Int64GetDatum(fault.log_position);
	nulls[2] = !fault.has_position;
	if (what != NULL)
	{
		values[3] = CStringGetTextDatum(what);
		nulls[3] = false;
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(shape, values, nulls)));
}

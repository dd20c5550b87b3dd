/*
 * The growth of the tenants' trees; see leaf.h.
 *
 * Rows of the log are taken in batches: their events are read in the order of their ids (log/fetch), the commitments of each are
 * hashed as it passes, and then the batch is gone through in log order, for what depends on it: the link before, and the tree.
 *
 * The identity of the stream and the link before are kept for the streams seen last: an event whose predecessor has just become a
 * leaf costs no look-up, and its link is the one that was verified.
 */
#include "log/leaf.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "log/alert.h"
#include "log/fetch.h"
#include "log/predecessor.h"
#include "log/tile.h"
#include "pg/aside.h"
#include "pg/nested.h"
#include "pg/query.h"
#include "pg/scan.h"
#include "pg/worker.h"
#include "record/tenant.h"
#include "stream/chain.h"

PG_FUNCTION_INFO_V1(atp_leaf_grow_sql);
PG_FUNCTION_INFO_V1(atp_leaf_resume);

#define SLICE 10000				/* log rows in one transaction */
#define SMALL_SLICE 1000		/* in the worker: some 5 ms, for which the sequencer waits */
#define AHEAD 4					/* rows between asking for a predecessor's place and using it */
#define TREES_OPEN_MAX 512

#define BATCH 1000				/* rows whose links are in memory at once: they should stay in a cache of the processor */

enum							/* places of the log's columns */
{
	ROW_POSITION, ROW_TENANT, ROW_STREAM, ROW_EVENT_TYPE, ROW_EVENT_ID
};

#define LOG_COLUMNS "SELECT l.log_position, l.tenant, l.stream, l.event_type, l.event_id FROM atp_internal.log l "

typedef struct Pending			/* a row of the log, and what its event is found to be */
{
	int64		position;
	int64		stream;
	int32		event_type;
	int32		tenant;
	const char *fault;			/* of the event as it is stored */
	AtpChainLink link;
} Pending;

typedef struct OpenTree
{
	int32		tenant;
	AtpTree    *tree;			/* NULL: stopped */
	int64		halted_position;	/* 0: it was stopped before */
	const char *halted_reason;
} OpenTree;

typedef struct Growing
{
	MemoryContext memory;
	HTAB	   *trees;
	AtpPredecessors *known;
	OpenTree   *last;			/* the tree of the row before */
	Pending    *batch;
	AtpFetchKey *keys;			/* of the batch */
	int			pending;		/* rows in it */
	int64		taken;
	int64		last_position;
} Growing;

static AtpPredecessors *known_streams;	/* kept between runs of a backend */
static bool known_are_right = false;	/* no transaction has failed since they were filled */
static int	setting_merge_delay = 60000;

/* ---- one row ---- */

/* Hashes the record of an event that was read without fault, with the link before, and compares. */
static const char *
recompute(AtpPredecessors *table, int64 stream, const AtpChainLink *link)
{
	AtpPredecessor *known;
	AtpChainWalk walk = {0};
	const char *fault;

	if (link->version < 1)
		return "event has no version";
	fault = atp_predecessor_find(table, stream, link->tenant, link->version, &known);
	if (fault != NULL)
		return fault;
	walk.version = link->version - 1;
	memcpy(walk.hash, known->hash, ATP_HASH_SIZE);
	fault = atp_chain_walk(&walk, known->stream_uid, link, NULL);
	if (fault != NULL)
	{
		known->stream = 0;		/* to be read afresh */
		return fault;
	}
	atp_predecessor_pass(known, link->version, link->hash);
	return NULL;
}

const char *
atp_leaf_recompute(AtpPredecessors *table, TupleTableSlot *row, AtpChainLink *link)
{
	const char *fault;

	if (row->tts_isnull[ATP_CHAIN_EVENT_ID])
		return "event is missing";
	fault = atp_chain_read(row, false, link);
	return fault != NULL ? fault : recompute(table, DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM]), link);
}

static bool
is_halted(int32 tenant)
{
	static AtpQuery query = {
		"SELECT FROM atp_internal.tree WHERE tenant = $1 AND halted_position IS NOT NULL", 1, {INT4OID}
	};
	Datum		argument = Int32GetDatum(tenant);

	atp_query(&query, &argument, NULL, true, 1);
	return SPI_processed > 0;
}

/* Saves every tree and records those that were stopped. */
static void
save_trees(Growing *growing)
{
	static AtpQuery halt = {
		"INSERT INTO atp_internal.tree (tenant, size, last_position, changed_at, root, peaks, halted_position, halted_at, halted_reason)"
		" VALUES ($1, 0, 0, pg_catalog.clock_timestamp(), pg_catalog.sha256(''), '', $2, pg_catalog.clock_timestamp(), $3)"
		" ON CONFLICT (tenant) DO UPDATE SET halted_position = excluded.halted_position, halted_at = excluded.halted_at,"
		" halted_reason = excluded.halted_reason", 3, {INT4OID, INT8OID, TEXTOID}
	};
	HASH_SEQ_STATUS walk;
	OpenTree   *open;

	hash_seq_init(&walk, growing->trees);
	while ((open = hash_seq_search(&walk)) != NULL)
	{
		if (open->tree != NULL)
			atp_tile_save(open->tree);
		if (open->halted_position != 0)
		{
			Datum		arguments[] = {Int32GetDatum(open->tenant), Int64GetDatum(open->halted_position),
			CStringGetTextDatum(open->halted_reason)};

			atp_query(&halt, arguments, NULL, false, 0);
			atp_alert_raise(open->tenant, "merkle-tree", open->halted_reason, "LogPosition", open->halted_position);
		}
		hash_search(growing->trees, &open->tenant, HASH_REMOVE, NULL);
	}
	growing->last = NULL;
}

static OpenTree *
open_tree(Growing *growing, int32 tenant, int64 log_position)
{
	OpenTree   *open;
	bool		found;

	if (growing->last != NULL && growing->last->tenant == tenant)
		return growing->last;
	open = hash_search(growing->trees, &tenant, HASH_FIND, NULL);
	if (open == NULL)
	{
		const char *fault;

		SPI_connect();			/* of its own: we are inside a row of a scan */
		if (hash_get_num_entries(growing->trees) >= TREES_OPEN_MAX)
			save_trees(growing);
		open = hash_search(growing->trees, &tenant, HASH_ENTER, &found);
		memset((char *) open + sizeof(open->tenant), 0, sizeof(*open) - sizeof(open->tenant));
		if (!is_halted(tenant))
		{
			open->tree = atp_tile_open(tenant, growing->memory, &fault);
			if (open->tree == NULL)
			{
				open->halted_position = log_position;
				open->halted_reason = fault;
			}
		}
		SPI_finish();
	}
	return growing->last = open;
}

static void
append_leaf(Growing *growing, Pending *row)
{
	OpenTree   *open = open_tree(growing, row->tenant, row->position);
	const char *fault = row->fault;

	if (open->tree == NULL)
		return;
	if (fault == NULL)
		fault = recompute(growing->known, row->stream, &row->link);
	if (fault == NULL)
		atp_tile_append(open->tree, row->link.hash, row->position);
	else
	{
		SPI_connect();
		atp_tile_save(open->tree);
		SPI_finish();
		open->tree = NULL;
		open->halted_position = row->position;
		open->halted_reason = fault;
	}
}

static void
take_event(void *context, int32 index, TupleTableSlot *row)
{
	Growing    *growing = context;
	Pending    *pending = &growing->batch[index];

	if (DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM]) == pending->stream &&
		DatumGetInt32(row->tts_values[ATP_CHAIN_EVENT_TYPE]) == pending->event_type)
	{
		atp_predecessor_expect(growing->known, pending->stream, pending->tenant, true);
		pending->fault = atp_chain_read(row, false, &pending->link);
	}
}

static void
finish_batch(Growing *growing)
{
	atp_fetch_events(growing->keys, growing->pending, GetActiveSnapshot(), take_event, growing);
	for (int i = 0; i < growing->pending; i++)
	{
		const Pending *soon = &growing->batch[Min(i + AHEAD, growing->pending - 1)];

		CHECK_FOR_INTERRUPTS();
		atp_predecessor_expect(growing->known, soon->stream, soon->tenant, false);
		append_leaf(growing, &growing->batch[i]);
	}
	growing->pending = 0;
}

static bool
take_row(void *context, TupleTableSlot *row)
{
	Growing    *growing = context;
	AtpFetchKey *key = &growing->keys[growing->pending];
	Pending    *pending = &growing->batch[growing->pending];

	key->event_id = *DatumGetUUIDP(row->tts_values[ROW_EVENT_ID]);
	key->tenant = pending->tenant = DatumGetInt32(row->tts_values[ROW_TENANT]);
	key->index = growing->pending++;
	pending->position = growing->last_position = DatumGetInt64(row->tts_values[ROW_POSITION]);
	pending->stream = DatumGetInt64(row->tts_values[ROW_STREAM]);
	pending->event_type = DatumGetInt32(row->tts_values[ROW_EVENT_TYPE]);
	pending->fault = "event is missing";	/* until it is found */
	growing->taken++;
	if (growing->pending == BATCH)
		finish_batch(growing);
	return true;
}

/* ---- a run ---- */

static void
begin(Growing *growing)
{
	HASHCTL		control = {.keysize = sizeof(int32), .entrysize = sizeof(OpenTree)};

	if (IsolationUsesXactSnapshot())
		ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION), errmsg("leaves are appended in READ COMMITTED only"));
	PreventCommandIfReadOnly("grow_trees()");
	PreventCommandDuringRecovery("grow_trees()");
	memset(growing, 0, sizeof(*growing));
	growing->memory = AllocSetContextCreate(CurrentMemoryContext, "atp growing trees", ALLOCSET_DEFAULT_SIZES);
	growing->batch = MemoryContextAlloc(growing->memory, BATCH * sizeof(Pending));
	growing->keys = MemoryContextAlloc(growing->memory, BATCH * sizeof(AtpFetchKey));
	control.hcxt = growing->memory;
	growing->trees = hash_create("atp growing trees", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	if (known_streams == NULL)
		known_streams = atp_predecessors_make(TopMemoryContext);
	else if (!known_are_right)
		atp_predecessors_clear(known_streams);
	known_are_right = false;	/* until the run has come to its end */
	growing->known = known_streams;
}

/* By index whatever the statistics say: the rows of a run are few among those of the log. */
static void
scan_log(AtpScan *scan, Datum *arguments, Growing *growing)
{
	int			level = atp_nested_begin();

	PushActiveSnapshot(GetTransactionSnapshot());
	atp_scan(scan, arguments, take_row, growing);
	finish_batch(growing);
	PopActiveSnapshot();
	atp_nested_end(level);
	save_trees(growing);
	known_are_right = true;
}

/* Takes the lock of who appends leaves and returns the position up to which the log is integrated. */
static int64
lock_state(void)
{
	static AtpQuery make = {
		"INSERT INTO atp_internal.leaf_state (log_position, changed_at) VALUES (0, pg_catalog.clock_timestamp()) ON CONFLICT DO NOTHING"
	};
	static AtpQuery lock = {"SELECT log_position FROM atp_internal.leaf_state FOR UPDATE"};
	bool		null;

	atp_query(&lock, NULL, NULL, false, 1);
	if (SPI_processed == 0)
	{
		atp_query(&make, NULL, NULL, false, 0);
		CommandCounterIncrement();
		atp_query(&lock, NULL, NULL, false, 1);
	}
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
}

/* The same without waiting, and held to the end of the transaction; false: somebody else holds it. */
static bool
try_lock_state(void)
{
	static AtpQuery lock = {"SELECT FROM atp_internal.leaf_state FOR UPDATE SKIP LOCKED"};
	static AtpQuery look = {"SELECT FROM atp_internal.leaf_state"};
	bool		taken;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	atp_query(&lock, NULL, NULL, false, 1);
	taken = SPI_processed > 0;
	if (!taken)
	{
		atp_query(&look, NULL, NULL, false, 1);
		taken = SPI_processed == 0; /* there is nothing to lock yet */
	}
	PopActiveSnapshot();
	SPI_finish();
	return taken;
}

static void
save_state(int64 position)
{
	static AtpQuery query = {
		"UPDATE atp_internal.leaf_state SET log_position = $1, changed_at = pg_catalog.clock_timestamp(), alarmed_at = NULL", 1, {INT8OID}
	};
	Datum		argument = Int64GetDatum(position);

	atp_query(&query, &argument, NULL, false, 0);
}

int64
atp_leaf_grow(int64 most)
{
	static AtpScan scan = {
		LOG_COLUMNS "WHERE l.log_position > $1 AND l.log_position <= $2 ORDER BY l.log_position", 2, {INT8OID, INT8OID}
	};
	Growing		growing;
	Datum		arguments[2];
	int64		position;

	SPI_connect();
	begin(&growing);
	position = lock_state();
	arguments[0] = Int64GetDatum(position);
	arguments[1] = Int64GetDatum(position + most);
	scan_log(&scan, arguments, &growing);
	if (growing.taken > 0)
		save_state(growing.last_position);
	MemoryContextDelete(growing.memory);
	SPI_finish();
	return growing.taken;
}

/* What waits to become a leaf. */
typedef struct Waiting
{
	int64		position;		/* of the oldest; 0: nothing */
	double		age;			/* of it, in ms since it has its place in the log */
	bool		alarmed;		/* an alarm has been raised since something was late */
} Waiting;

/* In two statements: the policy of the log lets no condition through to the index that holds a subselect. */
static Waiting
look(void)
{
	static AtpQuery state = {"SELECT log_position, alarmed_at IS NOT NULL FROM atp_internal.leaf_state"};
	static AtpQuery oldest = {
		"SELECT l.log_position, 1000 * extract(epoch FROM pg_catalog.clock_timestamp() - l.published_at)::float8 FROM atp_internal.log l"
		" WHERE l.log_position > $1 ORDER BY l.log_position LIMIT 1", 1, {INT8OID}
	};
	Waiting		waiting = {0};
	Datum		position = Int64GetDatum(0);
	int			level = atp_nested_begin();
	bool		null;

	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	atp_query(&state, NULL, NULL, true, 1);
	if (SPI_processed > 0)
	{
		position = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
		waiting.alarmed = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	}
	atp_query(&oldest, &position, NULL, true, 1);
	if (SPI_processed > 0)
	{
		waiting.position = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
		waiting.age = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	}
	PopActiveSnapshot();
	SPI_finish();
	atp_nested_end(level);
	return waiting;
}

AtpWork
atp_leaf_look(void)
{
	Waiting		waiting;

	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	waiting = look();
	CommitTransactionCommand();
	return waiting.position != 0 ? ATP_WORK_DONE : ATP_WORK_NONE;
}

/* Where somebody holds the lock, which may be why it is late, no note can be made: then once a minute. */
static void
raise_late(int64 position)
{
	static AtpQuery note = {"UPDATE atp_internal.leaf_state SET alarmed_at = pg_catalog.clock_timestamp()"};
	static TimestampTz raised_at = 0;

	if (try_lock_state())
	{
		SPI_connect();
		PushActiveSnapshot(GetTransactionSnapshot());
		(void) lock_state();
		atp_query(&note, NULL, NULL, false, 0);
		PopActiveSnapshot();
		SPI_finish();
	}
	else if (GetCurrentTimestamp() - raised_at < USECS_PER_MINUTE)
		return;
	raised_at = GetCurrentTimestamp();
	atp_alert_raise(0, "merge-delay", "an event has waited longer than atp.merge_delay_max to become a leaf", "LogPosition", position);
}

AtpWork
atp_leaf_work(void)
{
	int64		most = atp_aside_is_apart() ? SLICE : SMALL_SLICE;
	Waiting		waiting;
	int64		taken;

	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	waiting = look();
	if (waiting.position != 0 && waiting.age > setting_merge_delay && !waiting.alarmed)
		raise_late(waiting.position);
	atp_aside_set_late(waiting.position != 0 && waiting.age > setting_merge_delay / 4.0);
	CommitTransactionCommand();
	if (waiting.position == 0)
		return ATP_WORK_NONE;
	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	if (!try_lock_state())
	{
		/* a session grows the trees in a transaction that is open: the other jobs do not wait for its end */
		CommitTransactionCommand();
		return ATP_WORK_LATER;
	}
	PushActiveSnapshot(GetTransactionSnapshot());
	taken = atp_leaf_grow(most);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return taken == most ? ATP_WORK_MORE : ATP_WORK_DONE;
}

static void
forget_on_abort(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_ABORT)
		known_are_right = false;
}

static void
forget_on_subabort(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		known_are_right = false;
}

void
atp_leaf_init(void)
{
	RegisterXactCallback(forget_on_abort, NULL);
	RegisterSubXactCallback(forget_on_subabort, NULL);
	DefineCustomIntVariable("atp.merge_delay_max", "Longest time from the log to the tree before an alarm is raised.",
							"An event that has its place in the log and is no leaf after this time raises NOTIFY atp_alert and "
							"HealthCheckFailed.",
							&setting_merge_delay, 60000, 100, INT_MAX, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

/* grow_trees() */
Datum
atp_leaf_grow_sql(PG_FUNCTION_ARGS)
{
	int64		total = 0;
	int64		taken;

	do
	{
		CHECK_FOR_INTERRUPTS();
		taken = atp_leaf_grow(SLICE);
		CommandCounterIncrement();
		total += taken;
	} while (taken == SLICE);
	PG_RETURN_INT64(total);
}

/* resume_tree(tenant) */
Datum
atp_leaf_resume(PG_FUNCTION_ARGS)
{
	static AtpQuery open = {
		"UPDATE atp_internal.tree SET halted_position = NULL, halted_at = NULL, halted_reason = NULL"
		" WHERE tenant = $1 AND halted_position IS NOT NULL", 1, {INT4OID}
	};
	static AtpScan scan = {
		LOG_COLUMNS "WHERE l.tenant = $1 AND l.log_position > coalesce((SELECT r.last_position FROM atp_internal.tree r"
		" WHERE r.tenant = $1), 0) AND l.log_position <= $2 ORDER BY l.log_position", 2, {INT4OID, INT8OID}
	};
	Growing		growing;
	AtpTenant	tenant;
	Datum		arguments[2];
	int64		position;

	atp_tenant_resolve(text_to_cstring(PG_GETARG_TEXT_PP(0)), &tenant);
	SPI_connect();
	begin(&growing);
	position = lock_state();
	arguments[0] = Int32GetDatum(tenant.tenant);
	arguments[1] = Int64GetDatum(position);
	atp_query(&open, arguments, NULL, false, 0);
	CommandCounterIncrement();
	scan_log(&scan, arguments, &growing);
	MemoryContextDelete(growing.memory);
	SPI_finish();
	PG_RETURN_INT64(growing.taken);
}

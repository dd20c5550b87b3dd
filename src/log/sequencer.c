/*
 * The sequencer; see sequencer.h, and window.h for what lies between two snapshots.
 *
 * One tick: lock; read the state; take a snapshot; collect what became visible between the last one and this; insert it into the
 * log in the order of the sequence numbers, at head + 1, head + 2, ... Sequence numbers are drawn under the stream's lock, and a
 * transaction that has seen another's events draws later ones: so within a window their order keeps streams in order and effects
 * behind causes, and windows follow one another in commit order.
 *
 * The state is the log's last row: its position is the head, its column tick says which snapshot the log has come to. So state and
 * log cannot disagree, a tick that places nothing writes nothing, and no row is ever updated: a snapshot held open for a day leaves
 * no dead rows to wade through. Only where the log is empty, or atp.resequence() has run after its last row, does the one row of
 * atp_internal.sequencer take that part.
 *
 * Slices. A window of more events than atp.sequencer_slice_size is placed over several ticks, each a transaction: column tick then
 * has both snapshots and the sequence number reached ("from/upto/seq"), so that anyone can go on after a crash. The next window
 * waits for the end of this one: an event that commits meanwhile may be an effect of what is still to be placed. The rest of the
 * window stays in memory (at most REMAINDER_ROOM rows; what exceeds it is collected again).
 *
 * What a backend keeps in memory belongs to one state, and is used only while the log's last row is exactly that: a roll-back, or
 * another's tick, makes it stale.
 *
 * Durability. Positions are data, and a consumer may have acted on one: so the tick's commit is flushed whatever
 * synchronous_commit says.
 *
 * Refusal. Snapshots mean something in one cluster only. Where the state is from elsewhere, or was restored, or is from the future,
 * ticks are refused until atp.resequence() has run.
 */
#include "log/sequencer.h"

#include "access/genam.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "commands/async.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "log/placement.h"
#include "log/window.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"

#define REMAINDER_ROOM 500000

/* Columns of atp_internal.sequencer and atp_internal.log, in the order of their definition. */
enum
{
	STATE_SINGLETON = 1, STATE_SYSTEM, STATE_RESTORED, STATE_POSITION, STATE_TICK, STATE_FLOOR_SEQ
};
enum
{
	LOG_POSITION = 1, LOG_EVENT_ID, LOG_STREAM, LOG_PUBLISHED_AT, LOG_TENANT, LOG_EVENT_TYPE, LOG_TICK
};

struct AtpSequencerState
{
	const char *fault;			/* why ticks have to be refused; NULL: they need not */
	int64		head;			/* last position given */
	TimestampTz published_at;	/* when it was; 0: the log is empty */
	char	   *tick;
	int64		floor_seq;		/* events up to this sequence number are never looked at again */
	AtpMark    *last;			/* every event visible in it has its position */
	AtpMark    *window;			/* events visible in this one are being placed; NULL: no window is in work */
	int64		after_seq;		/* where one is: the sequence number up to which it is placed */
};
typedef struct AtpSequencerState State;

/* What this backend knows beyond the state of the log to which it belongs. */
static struct
{
	MemoryContext memory;
	int64		head;
	char	   *tick;			/* NULL: nothing is kept */
	AtpMark    *mark;			/* every event visible in it has its position, too; NULL: a window is in work */
	MemoryContext row_memory;	/* of the rest of the window in work; NULL: nothing collected */
	AtpEventRow *rows;
	int			count;
	int			next;
	bool		complete;		/* the window ends with the last row */
	TimestampTz begun_at;		/* when the window was taken; 0: by another backend */
}			kept;

static int	slice_size = 10000;
static LocalTransactionId locked_in = InvalidLocalTransactionId;	/* transaction that took the tick lock */

bool
atp_sequencer_is_placing(void)
{
	return atp_placement_is_running();
}

/* ==== State ==== */

/* Reads the last row of the log into the state; false where the log is empty. */
static bool
read_last_row(State *state, Snapshot snapshot)
{
	Relation	log = table_open(atp_relation_oid(ATP_REL_LOG), AccessShareLock);
	Relation	index = index_open(atp_relation_oid(ATP_REL_LOG_PK), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(log, NULL);
	IndexScanDesc scan = atp_compat_index_beginscan(log, index, snapshot, 0);
	bool		found;
	bool		isnull;

	index_rescan(scan, NULL, 0, NULL, 0);
	found = index_getnext_slot(scan, BackwardScanDirection, slot);
	if (found)
	{
		Datum		tick = slot_getattr(slot, LOG_TICK, &isnull);

		state->tick = isnull ? NULL : TextDatumGetCString(tick);
		state->head = DatumGetInt64(slot_getattr(slot, LOG_POSITION, &isnull));
		state->published_at = DatumGetTimestampTz(slot_getattr(slot, LOG_PUBLISHED_AT, &isnull));
	}
	index_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	index_close(index, AccessShareLock);
	table_close(log, AccessShareLock);
	return found;
}

/* Understands state->tick; false: it is malformed. */
static bool
parse_tick(State *state)
{
	const char *at = state->tick;
	char	   *end;

	if (at == NULL || (state->last = atp_mark_parse(&at)) == NULL)
		return false;
	if (*at == '\0')
		return true;
	if (*at++ != '/' || (state->window = atp_mark_parse(&at)) == NULL || *at++ != '/')
		return false;
	state->after_seq = strtoi64(at, &end, 10);
	return end != at && *end == '\0';
}

static const char *
state_fault(const State *state)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	if (state->last == NULL)
		return "The last row of the log does not say which snapshot it belongs to.";
	if (state->last->xmax > next || (state->window != NULL && state->window->xmax > next))
		return "The last snapshot is ahead of this cluster's transactions.";
	return NULL;
}

/* Reads the state as it is in a snapshot, in the current memory context. */
static void
read_state(State *state, Snapshot snapshot)
{
	Relation	table = table_open(atp_relation_oid(ATP_REL_SEQUENCER), AccessShareLock);
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TableScanDesc scan = table_beginscan(table, snapshot, 0, NULL);
	bool		isnull;

	memset(state, 0, sizeof(State));
	if (!table_scan_getnextslot(scan, ForwardScanDirection, slot))
		state->fault = "The sequencer has no state.";
	else
	{
		int64		position = DatumGetInt64(slot_getattr(slot, STATE_POSITION, &isnull));

		if (!read_last_row(state, snapshot) || state->head <= position)
		{
			state->head = position;
			state->tick = TextDatumGetCString(slot_getattr(slot, STATE_TICK, &isnull));
		}
		state->floor_seq = DatumGetInt64(slot_getattr(slot, STATE_FLOOR_SEQ, &isnull));
		if (DatumGetBool(slot_getattr(slot, STATE_RESTORED, &isnull)))
			state->fault = "The database was restored from a dump.";
		else if (DatumGetInt64(slot_getattr(slot, STATE_SYSTEM, &isnull)) != (int64) GetSystemIdentifier())
			state->fault = "The last snapshot is another cluster's.";
		else
		{
			if (!parse_tick(state))
				state->last = NULL;
			state->fault = state_fault(state);
		}
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	table_close(table, AccessShareLock);
}

const AtpSequencerState *
atp_sequencer_read_state(Snapshot snapshot)
{
	State	   *state = palloc(sizeof(State));

	read_state(state, snapshot);
	return state;
}

bool
atp_sequencer_log_is_cut(const AtpSequencerState *state)
{
	return state->tick == NULL;
}

bool
atp_sequencer_must_have_placed(const AtpSequencerState *state, uint64 xid, int64 seq)
{
	if (seq <= state->floor_seq)
		return true;
	if (state->fault != NULL)
		return false;
	return atp_mark_includes(state->last, xid) ||
		(state->window != NULL && atp_mark_includes(state->window, xid) && seq <= state->after_seq);
}

/* ==== What is kept ==== */

static void
forget_rows(void)
{
	if (kept.row_memory != NULL)
		MemoryContextDelete(kept.row_memory);
	kept.row_memory = NULL;
}

static void
forget_all(void)
{
	forget_rows();
	kept.tick = NULL;
	kept.mark = NULL;
	kept.begun_at = 0;
}

/* Says whether what is kept belongs to the state; forgets it otherwise. */
static bool
kept_belongs_to(const State *state)
{
	if (kept.tick != NULL && kept.head == state->head && strcmp(kept.tick, state->tick) == 0)
		return true;
	forget_all();
	return false;
}

/* Makes what is kept belong to a state, and keeps its mark (NULL: a window is in work, whose rows stay). */
static void
keep(int64 head, const char *tick, const AtpMark *mark)
{
	MemoryContext old;

	if (kept.memory == NULL)
		kept.memory = AllocSetContextCreate(TopMemoryContext, "atp sequencer", ALLOCSET_SMALL_SIZES);
	kept.tick = NULL;			/* should memory run out */
	MemoryContextReset(kept.memory);
	old = MemoryContextSwitchTo(kept.memory);
	kept.mark = mark == NULL ? NULL : atp_mark_copy(mark);
	kept.head = head;
	kept.tick = pstrdup(tick);
	MemoryContextSwitchTo(old);
	if (mark != NULL)
		forget_rows();
}

/* Collects the window's rows into memory that outlives the transaction. */
static void
collect(const AtpMark *from, const AtpMark *upto, int64 after_seq, Snapshot snapshot)
{
	MemoryContext old;

	forget_rows();
	kept.row_memory = AllocSetContextCreate(TopMemoryContext, "atp window", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(kept.row_memory);
	kept.rows = atp_window_collect(from, upto, after_seq, REMAINDER_ROOM, snapshot, &kept.count, &kept.complete);
	kept.next = 0;
	MemoryContextSwitchTo(old);
}

/* ==== Placing ==== */

/* Places the next slice of the window whose rows are kept. Returns how many. */
static int
place_slice(const State *state, const AtpMark *from, const AtpMark *upto)
{
	int			count = Min(slice_size, kept.count - kept.next);
	AtpEventRow *rows = kept.rows + kept.next;
	bool		ends = kept.complete && kept.next + count == kept.count;
	StringInfoData tick;

	if (count == 0)
	{
		keep(state->head, state->tick, upto);
		return 0;
	}
	initStringInfo(&tick);
	if (!ends)
	{
		atp_mark_append(&tick, from);
		appendStringInfoChar(&tick, '/');
	}
	atp_mark_append(&tick, upto);
	if (!ends)
		appendStringInfo(&tick, "/" INT64_FORMAT, rows[count - 1].seq);
	atp_placement_insert(&(AtpPlacement) {rows, count, state->head + 1, tick.data});
	kept.next += count;
	keep(state->head + count, tick.data, ends ? upto : NULL);
	return count;
}

/*
 * One tick in the current transaction, with the tick lock held. Returns the number of events placed, and in *head the last
 * position; sets *more where a window remains in work. Raises TP110.
 */
static int64
tick(int64 *head, bool *more)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	State		state;
	const AtpMark *from;
	const AtpMark *upto;
	bool		resumed;
	int			placed;

	read_state(&state, snapshot);
	if (state.fault != NULL)
		ereport(ERROR, errcode(ATP_ERR_RESEQUENCE_NEEDED), errmsg("the log cannot be continued from its last snapshot"),
				errdetail("%s", state.fault),
				errhint("SELECT atp.resequence() places the events that have no position and starts afresh."));
	if (!kept_belongs_to(&state) && state.window == NULL)
		keep(state.head, state.tick, state.last);
	resumed = state.window != NULL && kept.mark == NULL;
	if (!resumed)
	{
		from = atp_mark_copy(kept.mark);
		upto = atp_mark_take(snapshot);
		kept.begun_at = GetCurrentTimestamp();
		collect(from, upto, state.floor_seq, snapshot);
	}
	else
	{
		from = state.last;
		upto = state.window;
		if (kept.row_memory == NULL || (kept.next == kept.count && !kept.complete))
			collect(from, upto, state.after_seq, snapshot);
	}
	UnregisterSnapshot(snapshot);
	placed = place_slice(&state, from, upto);
	*head = state.head + placed;
	if (kept.mark != NULL && kept.begun_at != 0)
		atp_worker_report_lag((GetCurrentTimestamp() - kept.begun_at) / 1000);
	*more = kept.mark == NULL || (resumed && placed == 0);
	return placed;
}

static bool
take_tick_lock(bool wait)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, ATP_LOCK_TICK);
	if (LockAcquire(&tag, ExclusiveLock, false, !wait) == LOCKACQUIRE_NOT_AVAIL)
		return false;
	locked_in = atp_compat_my_lxid();
	return true;
}

/* A prepared transaction would keep the lock, and the log would stand still until somebody remembers it. */
static void
refuse_prepare(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_PREPARE && locked_in == atp_compat_my_lxid())
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("cannot PREPARE a transaction that has placed events in the log"),
				errdetail("It holds the lock of the sequencer."));
}

/* Runs one tick, or as many as the window takes, in the current transaction, and notifies. The caller holds the tick lock. */
static int64
run_ticks(bool whole, bool *more)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "atp tick", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	int64		placed = 0;
	int64		head;

	do
	{
		CHECK_FOR_INTERRUPTS();
		placed += tick(&head, more);
		MemoryContextReset(context);
	} while (whole && *more);
	if (placed > 0)
	{
		ForceSyncCommit();
		Async_Notify(ATP_LOG_CHANNEL, psprintf(INT64_FORMAT, head));
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return placed;
}

AtpWork
atp_sequencer_work(void)
{
	int64		placed;
	bool		more;

	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	(void) take_tick_lock(true);
	PushActiveSnapshot(GetTransactionSnapshot());
	placed = run_ticks(false, &more);
	PopActiveSnapshot();
	CommitTransactionCommand();
	return more ? ATP_WORK_MORE : placed > 0 ? ATP_WORK_DONE : ATP_WORK_NONE;
}

/* ==== For callers ==== */

int64
atp_sequencer_attend(void)
{
	bool		more;
	State		state;
	Snapshot	snapshot;

	if (RecoveryInProgress() || atp_worker_require())
		return 0;
	if (XactReadOnly || IsolationUsesXactSnapshot() || IsInParallelMode() || IsTransactionBlock() || IsSubTransaction() ||
		!take_tick_lock(false))
		return 0;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	read_state(&state, snapshot);
	UnregisterSnapshot(snapshot);
	return state.fault != NULL ? 0 : run_ticks(false, &more);
}

/* Refuses to place events where that cannot be right. */
static void
check_can_place(const char *what)
{
	PreventCommandDuringRecovery(what);
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				errmsg("%s needs isolation level READ COMMITTED", what),
				errdetail("The snapshot of this transaction does not show what has committed since it began."));
}

/* Text comes from here and from nowhere else; every name is qualified, because the caller's search path is in force. */
static void
run_statement(const char *sql, int count, Oid *types, Datum *values)
{
	AtpIdentity before;
	int			result;

	atp_owner_begin(&before);
	result = SPI_execute_with_args(sql, count, types, values, NULL, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	atp_owner_end(&before);
}

static int64
statement_value(void)
{
	bool		isnull;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Places all events without a position, in the order of their sequence numbers. Returns how many. */
static int64
place_unplaced(int64 head)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(head)};

	atp_placement_begin();
	PG_TRY();
	{
		run_statement("INSERT INTO atp_internal.log (log_position, event_id, stream, published_at, tenant, event_type) "
					  "SELECT $1 OPERATOR(pg_catalog.+) pg_catalog.row_number() OVER (ORDER BY e.seq), e.event_id, e.stream, "
					  "pg_catalog.clock_timestamp(), e.tenant, e.event_type FROM atp_internal.event e "
					  "WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id OPERATOR(pg_catalog.=) e.event_id "
					  "AND l.tenant OPERATOR(pg_catalog.=) e.tenant) ORDER BY e.seq", 1, types, values);
	}
	PG_FINALLY();
	{
		atp_placement_end();
	}
	PG_END_TRY();
	return (int64) SPI_processed;
}

/*
 * The greatest sequence number in use, to which the sequence is moved on should it lag behind (restored without its value).
 * The caller excludes appends, and an append draws its number with the event table locked: so no lower number is still to come.
 */
static int64
settle_sequence(void)
{
	run_statement("SELECT CASE WHEN m.seq OPERATOR(pg_catalog.>) s.last_value "
				  "THEN pg_catalog.setval('atp_internal.event_seq'::pg_catalog.regclass, m.seq) ELSE m.seq END "
				  "FROM (SELECT COALESCE(pg_catalog.max(seq), 0) AS seq FROM atp_internal.event) m, atp_internal.event_seq s",
				  0, NULL, NULL);
	return statement_value();
}

static int64
resequence(void)
{
	Oid			types[] = {INT8OID, INT8OID, TEXTOID, INT8OID};
	Datum		values[4];
	Snapshot	snapshot;
	StringInfoData tick;
	int64		head;
	int64		placed;

	/* The table first: an appender that ticks takes its locks in this order. */
	LockRelationOid(atp_relation_oid(ATP_REL_EVENT), ShareRowExclusiveLock);
	(void) take_tick_lock(true);
	SPI_connect();
	run_statement("SELECT COALESCE(pg_catalog.max(log_position), 0) FROM atp_internal.log", 0, NULL, NULL);
	head = statement_value();
	placed = place_unplaced(head);
	values[3] = Int64GetDatum(settle_sequence());
	initStringInfo(&tick);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	atp_mark_append(&tick, atp_mark_take(snapshot));
	UnregisterSnapshot(snapshot);
	values[0] = Int64GetDatum((int64) GetSystemIdentifier());
	values[1] = Int64GetDatum(head + placed);
	values[2] = CStringGetTextDatum(tick.data);
	run_statement("UPDATE atp_internal.sequencer SET system_identifier = $1, restored = false, base_position = $2, base_tick = $3, "
				  "floor_seq = $4", 4, types, values);
	if (SPI_processed == 0)
		run_statement("INSERT INTO atp_internal.sequencer (system_identifier, restored, base_position, base_tick, floor_seq) "
					  "VALUES ($1, false, $2, $3, $4)", 4, types, values);
	SPI_finish();
	forget_all();
	ForceSyncCommit();
	if (placed > 0)
		Async_Notify(ATP_LOG_CHANNEL, psprintf(INT64_FORMAT, head + placed));
	return placed;
}

void
atp_sequencer_init(void)
{
	DefineCustomIntVariable("atp.sequencer_slice_size", "Sets how many events one tick places at most.",
							"A transaction of more events is placed over several ticks.",
							&slice_size, 10000, 1, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	RegisterXactCallback(refuse_prepare, NULL);
}

PG_FUNCTION_INFO_V1(atp_sequencer_tick);
PG_FUNCTION_INFO_V1(atp_sequencer_resequence);
PG_FUNCTION_INFO_V1(atp_sequencer_attend_sql);
PG_FUNCTION_INFO_V1(atp_sequencer_is_placing_sql);
PG_FUNCTION_INFO_V1(atp_sequencer_state);

Datum
atp_sequencer_tick(PG_FUNCTION_ARGS)
{
	bool		more;

	check_can_place("atp.tick()");
	(void) take_tick_lock(true);
	PG_RETURN_INT64(run_ticks(true, &more));
}

Datum
atp_sequencer_resequence(PG_FUNCTION_ARGS)
{
	check_can_place("atp.resequence()");
	PG_RETURN_INT64(resequence());
}

Datum
atp_sequencer_attend_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(atp_sequencer_attend());
}

Datum
atp_sequencer_is_placing_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(atp_placement_is_running());
}

/* sequencer_state() */
Datum
atp_sequencer_state(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	State		state;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	read_state(&state, snapshot);
	UnregisterSnapshot(snapshot);
	values[0] = Int64GetDatum(state.head);
	values[1] = TimestampTzGetDatum(state.published_at);
	nulls[1] = state.published_at == 0;
	values[2] = BoolGetDatum(state.window != NULL);
	nulls[3] = state.fault == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(state.fault);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

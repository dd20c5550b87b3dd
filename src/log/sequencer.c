/*
 * The sequencer; see sequencer.h, and window.h for what lies between two snapshots.
 *
 * One tick: lock; read the state; take a snapshot; collect what became visible between the last one and this; insert it into the
 * log in the order of the sequence numbers, at head + 1, head + 2, ...; write the state. Sequence numbers are drawn under the stream's
 * lock, and a transaction that has seen another's events draws later ones: so within a window their order keeps streams in order
 * and effects behind causes, and windows follow one another in commit order.
 *
 * Slices. A window of more events than atp.sequencer_slice_size is placed over several ticks, each a transaction: the state keeps
 * both snapshots and the sequence number reached, so that anyone can go on after a crash. The next window waits for the end of
 * this one. The rest of the window stays in memory (at most REMAINDER_ROOM rows; what exceeds it is collected again), and is used
 * only while the state is exactly as this backend left it: a roll-back, or another's tick, makes it stale.
 *
 * Durability. Positions are data, and a consumer may have acted on one: so the tick's commit is flushed whatever
 * synchronous_commit says.
 *
 * Refusal. Snapshots mean something in one database of one cluster only. When the state is from elsewhere, or from the future, or is
 * missing though the log is not empty, ticks are refused until atp.resequence() has run.
 */
#include "log/sequencer.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "access/parallel.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "fmgr.h"
#include "log/log.h"
#include "log/window.h"
#include "miscadmin.h"
#include "pg/errors.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/queryenvironment.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#define REMAINDER_ROOM 500000
#define STALE_DISTANCE 10000	/* transactions after which the state is written though nothing was placed */

typedef struct State
{
	bool		exists;			/* the row is there */
	bool		foreign;		/* it is another cluster's or database's */
	int64		head;
	int64		floor_seq;
	int64		after_seq;		/* meaningful where window is set */
	AtpMark    *last;
	AtpMark    *window;			/* NULL: none in work */
} State;

/* What is left of the window in work. */
static struct
{
	MemoryContext context;		/* NULL: nothing kept */
	AtpEventRow *rows;
	int			count;
	int			next;
	bool		complete;		/* the window ends with the last row */
	int64		head;			/* the state it belongs to */
	int64		after_seq;
	uint64		xmax;
}			remainder;

static int	slice_size = 10000;
static int	placing = 0;		/* nesting of place_rows: > 0 while the log is written */

bool
atp_sequencer_is_placing(void)
{
	return placing > 0;
}

/* ==== State ==== */

static void
read_state(State *state)
{
	static SPIPlanPtr plan = NULL;
	bool		isnull;
	TupleDesc	desc;
	HeapTuple	row;
	int64		system;

	memset(state, 0, sizeof(State));
	atp_log_execute(atp_log_plan(&plan, "SELECT system_identifier, database, head, floor_seq, after_seq, "
								 "last_snapshot::text, window_snapshot::text FROM atp_internal.sequencer", 0, NULL),
					NULL, NULL, SPI_OK_SELECT);
	if (SPI_processed == 0)
	{
		state->last = atp_mark_zero();
		return;
	}
	desc = SPI_tuptable->tupdesc;
	row = SPI_tuptable->vals[0];
	state->exists = true;
	system = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	state->foreign = system != (int64) GetSystemIdentifier() ||
		DatumGetObjectId(SPI_getbinval(row, desc, 2, &isnull)) != MyDatabaseId;
	state->head = DatumGetInt64(SPI_getbinval(row, desc, 3, &isnull));
	state->floor_seq = DatumGetInt64(SPI_getbinval(row, desc, 4, &isnull));
	state->after_seq = DatumGetInt64(SPI_getbinval(row, desc, 5, &isnull));
	state->last = atp_mark_from_text(SPI_getvalue(row, desc, 6));
	(void) SPI_getbinval(row, desc, 7, &isnull);
	if (!isnull)
		state->window = atp_mark_from_text(SPI_getvalue(row, desc, 7));
}

static void
write_state(const State *state)
{
	static SPIPlanPtr insert = NULL;
	static SPIPlanPtr update = NULL;
	Oid			types[] = {INT8OID, OIDOID, INT8OID, INT8OID, INT8OID, TEXTOID, TEXTOID};
	bool		window = state->window != NULL;
	Datum		values[] = {
		Int64GetDatum((int64) GetSystemIdentifier()), ObjectIdGetDatum(MyDatabaseId), Int64GetDatum(state->head),
		Int64GetDatum(state->floor_seq), Int64GetDatum(state->after_seq), CStringGetTextDatum(atp_mark_to_text(state->last)),
		window ? CStringGetTextDatum(atp_mark_to_text(state->window)) : (Datum) 0,
	};
	char		nulls[] = {' ', ' ', ' ', ' ', window ? ' ' : 'n', ' ', window ? ' ' : 'n', '\0'};

	if (state->exists)
		atp_log_execute(atp_log_plan(&update, "UPDATE atp_internal.sequencer SET system_identifier = $1, database = $2, head = $3, "
									 "floor_seq = $4, after_seq = $5, ticked_at = clock_timestamp(), last_snapshot = $6::pg_snapshot, "
									 "window_snapshot = $7::pg_snapshot", 7, types),
						values, nulls, SPI_OK_UPDATE);
	else
		atp_log_execute(atp_log_plan(&insert, "INSERT INTO atp_internal.sequencer (system_identifier, database, head, floor_seq, "
									 "after_seq, ticked_at, last_snapshot, window_snapshot) "
									 "VALUES ($1, $2, $3, $4, $5, clock_timestamp(), $6::pg_snapshot, $7::pg_snapshot)", 7, types),
						values, nulls, SPI_OK_INSERT);
}

/* The greatest position in the log, 0 where it is empty. */
static int64
log_head(void)
{
	static SPIPlanPtr plan = NULL;
	bool		isnull;

	atp_log_execute(atp_log_plan(&plan, "SELECT coalesce(max(log_position), 0) FROM atp_internal.log", 0, NULL), NULL, NULL, SPI_OK_SELECT);
	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
}

/* Says why ticks have to be refused; NULL: they need not. */
static const char *
state_fault(const State *state)
{
	uint64		next = U64FromFullTransactionId(ReadNextFullTransactionId());

	if (!state->exists)
		return log_head() == 0 ? NULL : "The log holds events, but the sequencer has no state.";
	if (state->foreign)
		return "The sequencer's state is that of another cluster or database.";
	if (state->last->xmax > next || (state->window != NULL && state->window->xmax > next))
		return "The sequencer's state is ahead of this cluster's transactions.";
	return NULL;
}

/* ==== Placing ==== */

static TupleDesc
log_row_desc(void)
{
	TupleDesc	desc = CreateTemplateTupleDesc(6);

	TupleDescInitEntry(desc, 1, "log_position", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 2, "event_id", UUIDOID, -1, 0);
	TupleDescInitEntry(desc, 3, "stream", INT8OID, -1, 0);
	TupleDescInitEntry(desc, 4, "published_at", TIMESTAMPTZOID, -1, 0);
	TupleDescInitEntry(desc, 5, "tenant", INT4OID, -1, 0);
	TupleDescInitEntry(desc, 6, "event_type", INT4OID, -1, 0);
	return desc;
}

/*
 * Inserts rows into the log, after `head`, by one statement, so that statement-level triggers see them all at once. The statement
 * reads them from a tuple store under the name placed_event.
 */
static void
place_rows(const AtpEventRow *rows, int count, int64 head)
{
	static SPIPlanPtr plan = NULL;
	TupleDesc	desc = log_row_desc();
	Tuplestorestate *store = tuplestore_begin_heap(false, false, Max(work_mem, 16384));
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());
	bool		nulls[6] = {false};
	EphemeralNamedRelationData relation = {{"placed_event", InvalidOid, desc, ENR_NAMED_TUPLESTORE, count}, store};

	for (int i = 0; i < count; i++)
	{
		Datum		values[] = {
			Int64GetDatum(head + 1 + i), UUIDPGetDatum(&rows[i].event_id), Int64GetDatum(rows[i].stream), now,
			Int32GetDatum(rows[i].tenant), Int32GetDatum(rows[i].event_type),
		};

		tuplestore_putvalues(store, desc, values, nulls);
	}
	if (SPI_register_relation(&relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows of a tick");
	atp_log_plan(&plan, "INSERT INTO atp_internal.log (log_position, event_id, stream, published_at, tenant, event_type) "
				 "SELECT log_position, event_id, stream, published_at, tenant, event_type FROM placed_event", 0, NULL);
	placing++;
	PG_TRY();
	{
		atp_log_execute(plan, NULL, NULL, SPI_OK_INSERT);
	}
	PG_FINALLY();
	{
		placing--;
	}
	PG_END_TRY();
	SPI_unregister_relation("placed_event");
	tuplestore_end(store);
}

static void
forget_remainder(void)
{
	if (remainder.context != NULL)
		MemoryContextDelete(remainder.context);
	remainder.context = NULL;
	remainder.xmax = 0;
}

/* Collects the window's rows into memory that outlives the transaction. */
static void
fill_remainder(const State *state, const AtpMark *upto, int64 after_seq)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());
	MemoryContext old;

	forget_remainder();
	remainder.context = AllocSetContextCreate(TopMemoryContext, "atp window", ALLOCSET_DEFAULT_SIZES);
	old = MemoryContextSwitchTo(remainder.context);
	remainder.rows = atp_window_collect(state->last, upto, after_seq, REMAINDER_ROOM, snapshot, &remainder.count, &remainder.complete);
	MemoryContextSwitchTo(old);
	remainder.next = 0;
	remainder.xmax = upto->xmax;
	UnregisterSnapshot(snapshot);
}

/*
 * Places the next slice of the window from state->last to `upto` and moves the state on. The rows come from memory where the
 * state is the one that they were kept for. Returns how many were placed.
 */
static int64
place_slice(State *state, AtpMark *upto)
{
	int64		after_seq = state->window != NULL ? state->after_seq : state->floor_seq;
	int			count;

	if (remainder.context == NULL || state->window == NULL || remainder.head != state->head ||
		remainder.after_seq != after_seq || remainder.xmax != upto->xmax ||
		(remainder.next == remainder.count && !remainder.complete))
		fill_remainder(state, upto, after_seq);
	count = Min(slice_size, remainder.count - remainder.next);
	if (count > 0)
	{
		place_rows(remainder.rows + remainder.next, count, state->head);
		after_seq = remainder.rows[remainder.next + count - 1].seq;
	}
	remainder.next += count;
	state->head += count;
	if (remainder.next == remainder.count && remainder.complete)
	{
		state->last = upto;
		state->window = NULL;
		forget_remainder();
	}
	else
	{
		state->window = upto;
		state->after_seq = after_seq;
		remainder.head = state->head;
		remainder.after_seq = after_seq;
	}
	return count;
}

/*
 * One tick in the current transaction, inside the frame, with the tick lock held. Returns the number of events placed; sets *more
 * where a window remains in work.
 */
static int64
tick(bool *more)
{
	State		state;
	AtpMark    *last;
	AtpMark    *upto;
	int64		placed;
	const char *fault;

	read_state(&state);
	fault = state_fault(&state);
	if (fault != NULL)
		ereport(ERROR, errcode(ATP_ERR_RESEQUENCE_NEEDED), errmsg("the log cannot be continued from its last snapshot"),
				errdetail("%s", fault),
				errhint("SELECT atp.resequence() places the events that have no position and starts afresh."));
	last = state.last;
	upto = state.window;
	if (upto == NULL)
	{
		Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

		upto = atp_mark_take(snapshot);
		UnregisterSnapshot(snapshot);
	}
	placed = place_slice(&state, upto);
	*more = state.window != NULL;
	if (placed > 0 || *more || (state.exists && upto->xmax - last->xmax >= STALE_DISTANCE))
	{
		write_state(&state);
		ForceSyncCommit();
	}
	return placed;
}

static bool
take_tick_lock(bool wait)
{
	LOCKTAG		tag;

	atp_lock_tag(&tag, ATP_LOCK_TICK);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

static void
notify_head(void)
{
	State		state;

	read_state(&state);
	Async_Notify(ATP_LOG_CHANNEL, psprintf(INT64_FORMAT, state.head));
}

/* Runs one tick, or as many as the window takes, in the caller's transaction, and notifies. The lock is the caller's to have taken. */
static int64
tick_in_frame(bool whole, bool *more)
{
	AtpLogFrame frame;
	int64		placed = 0;

	*more = false;
	atp_log_enter(&frame);
	do
	{
		CHECK_FOR_INTERRUPTS();
		placed += tick(more);
	} while (whole && *more);
	if (placed > 0)
		notify_head();
	atp_log_leave(&frame);
	return placed;
}

AtpWork
atp_sequencer_work(void)
{
	int64		placed = 0;
	bool		more = false;
	bool		gone;

	StartTransactionCommand();
	gone = !OidIsValid(atp_log_table("sequencer"));
	if (!gone)
	{
		(void) take_tick_lock(true);
		PushActiveSnapshot(GetTransactionSnapshot());
		placed = tick_in_frame(false, &more);
		PopActiveSnapshot();
	}
	CommitTransactionCommand();
	return gone ? ATP_WORK_GONE : more ? ATP_WORK_MORE : placed > 0 ? ATP_WORK_DONE : ATP_WORK_NONE;
}

/* ==== For callers ==== */

int64
atp_sequencer_help(void)
{
	bool		more;

	if (RecoveryInProgress() || XactReadOnly || IsolationUsesXactSnapshot() || IsInParallelMode())
		return 0;
	if (atp_worker_require() || !take_tick_lock(false))
		return 0;
	return tick_in_frame(false, &more);
}

/* Refuses to place events where that cannot be right. */
static void
check_can_place(const char *what)
{
	PreventCommandIfRecovery(what);
	PreventCommandIfReadOnly(what);
	PreventCommandIfParallelMode(what);
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
				errmsg("%s needs isolation level READ COMMITTED", what),
				errdetail("The snapshot of this transaction does not show what has committed since it began."));
}

/* Places all events without a position, in the order of their sequence numbers. Returns how many. */
static int64
place_unplaced(int64 head)
{
	Oid			types[] = {INT8OID};
	Datum		values[] = {Int64GetDatum(head)};
	int			result;

	placing++;
	PG_TRY();
	{
		result = SPI_execute_with_args("INSERT INTO atp_internal.log (log_position, event_id, stream, published_at, tenant, event_type) "
									   "SELECT $1 + row_number() OVER (ORDER BY e.seq), e.event_id, e.stream, clock_timestamp(), e.tenant, e.event_type "
									   "FROM atp_internal.event e "
									   "WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id AND l.tenant = e.tenant) "
									   "ORDER BY e.seq", 1, types, values, NULL, false, 0);
	}
	PG_FINALLY();
	{
		placing--;
	}
	PG_END_TRY();
	if (result != SPI_OK_INSERT)
		elog(ERROR, "unexpected result of a statement: %s", SPI_result_code_string(result));
	return (int64) SPI_processed;
}

/*
 * The greatest sequence number in use, to which the sequence is moved on should it lag behind (restored without its value).
 * The caller excludes appends, and an append draws its number with the event table locked: so no lower number is still to come.
 */
static int64
settle_sequence(void)
{
	bool		isnull;
	Datum		value;

	if (SPI_execute("SELECT CASE WHEN m.seq > s.last_value THEN setval('atp_internal.event_seq'::regclass, m.seq) ELSE m.seq END "
					"FROM (SELECT coalesce(max(seq), 0) AS seq FROM atp_internal.event) m, atp_internal.event_seq s", false, 0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the event sequence");
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	return DatumGetInt64(value);
}

static int64
resequence(void)
{
	AtpLogFrame frame;
	State		state;
	Snapshot	snapshot;
	int64		placed;

	/* The table first: an appender that ticks takes its locks in this order. */
	LockRelationOid(atp_log_table("event"), ShareRowExclusiveLock);
	(void) take_tick_lock(true);
	atp_log_enter(&frame);
	read_state(&state);
	state.head = log_head();
	placed = place_unplaced(state.head);
	state.head += placed;
	state.floor_seq = settle_sequence();
	state.window = NULL;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	state.last = atp_mark_take(snapshot);
	UnregisterSnapshot(snapshot);
	write_state(&state);
	forget_remainder();
	ForceSyncCommit();
	if (placed > 0)
		notify_head();
	atp_log_leave(&frame);
	return placed;
}

void
atp_sequencer_init(void)
{
	DefineCustomIntVariable("atp.sequencer_slice_size", "Sets how many events one tick places at most.",
							"A transaction of more events is placed over several ticks.",
							&slice_size, 10000, 1, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

PG_FUNCTION_INFO_V1(atp_sequencer_tick);
PG_FUNCTION_INFO_V1(atp_sequencer_resequence);
PG_FUNCTION_INFO_V1(atp_sequencer_help_sql);

Datum
atp_sequencer_tick(PG_FUNCTION_ARGS)
{
	bool		more;

	check_can_place("atp.tick()");
	(void) take_tick_lock(true);
	PG_RETURN_INT64(tick_in_frame(true, &more));
}

Datum
atp_sequencer_resequence(PG_FUNCTION_ARGS)
{
	check_can_place("atp.resequence()");
	PG_RETURN_INT64(resequence());
}

Datum
atp_sequencer_help_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(atp_sequencer_help());
}

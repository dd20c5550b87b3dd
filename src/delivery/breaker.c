/*
 * Circuit breakers; see breaker.h.
 *
 * Three cells each. Two windows of sampling_duration, the current and the one before, hold counts of successes and failures:
 *
 *	number of the window (31 bits) | successes (16) | failures (16)		counts saturate
 *
 * and the sliding window is the current one and the part of the earlier one that it still covers. The third is the state:
 *
 *	since, ms of 1970 (44 bits) | state (2) | probes given (8) | probes that succeeded (8)
 *
 * A probe that is never reported (its process died) gives its place free after a break duration.
 */
#include "delivery/breaker.h"

#include "catalog/pg_type.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/cell.h"
#include "pg/errors.h"
#include "pg/query.h"

PG_FUNCTION_INFO_V1(atp_breaker_make_cells);
PG_FUNCTION_INFO_V1(atp_breaker_drop_cells);
PG_FUNCTION_INFO_V1(atp_breaker_acquire_permit);
PG_FUNCTION_INFO_V1(atp_breaker_release_permit);
PG_FUNCTION_INFO_V1(atp_breaker_force);
PG_FUNCTION_INFO_V1(atp_breaker_read);

#define COUNT_MAX 0xffff
#define PROBES_MAX 0xff

typedef enum State
{
	CLOSED, OPEN, HALF_OPEN, ISOLATED
} State;

static const char *const state_names[] = {"closed", "open", "half-open", "isolated"};

enum
{
	CELL_CURRENT, CELL_EARLIER, CELL_STATE, CELL_COUNT
};
static const char *const cell_names[] = {"current", "earlier", "state"};

typedef struct Breaker			/* a row of atp_internal.breaker */
{
	const char *name;
	Oid			cells[CELL_COUNT];
	double		failure_ratio;
	int			minimum_throughput;
	int64		sampling_ms;
	int64		break_ms;
	int			probe_count;
} Breaker;

typedef struct Window
{
	int64		number;
	int			successes;
	int			failures;
} Window;

typedef struct Circuit			/* the cells, unpacked */
{
	Window		current;
	Window		earlier;
	int64		since;
	State		state;
	int			probes;
	int			probe_successes;
} Circuit;

static int64
now_ms(void)
{
	return (GetCurrentTimestamp() + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
}

/* ---- packing ---- */

static Window
unpack_window(int64 cell)
{
	return (Window) {.number = cell >> 32, .successes = (cell >> 16) & COUNT_MAX, .failures = cell & COUNT_MAX};
}

static int64
pack_window(const Window *window)
{
	return window->number << 32 | (int64) Min(window->successes, COUNT_MAX) << 16 | Min(window->failures, COUNT_MAX);
}

static void
unpack(const int64 *cells, Circuit *circuit)
{
	circuit->current = unpack_window(cells[CELL_CURRENT]);
	circuit->earlier = unpack_window(cells[CELL_EARLIER]);
	circuit->since = cells[CELL_STATE] >> 18;
	circuit->state = (State) ((cells[CELL_STATE] >> 16) & 3);
	circuit->probes = (cells[CELL_STATE] >> 8) & PROBES_MAX;
	circuit->probe_successes = cells[CELL_STATE] & PROBES_MAX;
}

static void
pack(const Circuit *circuit, int64 *cells)
{
	cells[CELL_CURRENT] = pack_window(&circuit->current);
	cells[CELL_EARLIER] = pack_window(&circuit->earlier);
	cells[CELL_STATE] = circuit->since << 18 | (int64) circuit->state << 16 | (int64) circuit->probes << 8 | circuit->probe_successes;
}

/* ---- the machine ---- */

static void
enter_state(Circuit *circuit, State state, int64 now)
{
	circuit->state = state;
	circuit->since = now;
	circuit->probes = circuit->probe_successes = 0;
	if (state == CLOSED)
		circuit->current = circuit->earlier = (Window) {0};
}

/* Brings the two windows up to now. */
static void
slide(const Breaker *breaker, Circuit *circuit, int64 now)
{
	int64		number = (now / breaker->sampling_ms) & 0x7fffffff;

	if (circuit->current.number == number)
		return;
	circuit->earlier = circuit->current.number + 1 == number ? circuit->current : (Window) {.number = number - 1};
	circuit->current = (Window) {.number = number};
}

static void
count(const Breaker *breaker, const Circuit *circuit, int64 now, double *throughput, double *failures)
{
	double		rest = 1.0 - (double) (now % breaker->sampling_ms) / (double) breaker->sampling_ms;

	*failures = circuit->current.failures + rest * circuit->earlier.failures;
	*throughput = *failures + circuit->current.successes + rest * circuit->earlier.successes;
}

typedef struct Call				/* one step of the machine */
{
	const Breaker *breaker;
	int64		now;
	int			successes;		/* in: outcomes reported */
	int			failures;
	bool		lost;			/* in: nothing was heard */
	State		forced;			/* in: state asked for */
	bool		permitted;		/* out */
	bool		probe;			/* out */
	int64		wait;			/* out: ms until a permit may be had */
} Call;

static void
acquire(int64 *cells, void *context)
{
	Call	   *call = context;
	const Breaker *breaker = call->breaker;
	Circuit		circuit;
	int64		left;

	unpack(cells, &circuit);
	left = circuit.since + breaker->break_ms - call->now;
	call->permitted = circuit.state == CLOSED;
	if (circuit.state == OPEN && left <= 0)
		enter_state(&circuit, HALF_OPEN, call->now);
	if (circuit.state == HALF_OPEN)
	{
		if (circuit.probes >= breaker->probe_count && left <= 0)
			enter_state(&circuit, HALF_OPEN, call->now);	/* the probes given were lost */
		call->permitted = call->probe = circuit.probes < breaker->probe_count;
		if (call->permitted)
			circuit.probes++;
	}
	call->wait = circuit.state == ISOLATED ? -1 : Max(left, 0);
	pack(&circuit, cells);
}

static void
release(int64 *cells, void *context)
{
	Call	   *call = context;
	const Breaker *breaker = call->breaker;
	Circuit		circuit;
	double		throughput;
	double		failures;

	unpack(cells, &circuit);
	if (circuit.state == CLOSED)
	{
		slide(breaker, &circuit, call->now);
		circuit.current.successes = Min(circuit.current.successes + call->successes, COUNT_MAX);
		circuit.current.failures = Min(circuit.current.failures + call->failures, COUNT_MAX);
		count(breaker, &circuit, call->now, &throughput, &failures);
		if (call->failures > 0 && throughput >= breaker->minimum_throughput && failures >= breaker->failure_ratio * throughput)
			enter_state(&circuit, OPEN, call->now);
	}
	else if (circuit.state == HALF_OPEN && !call->lost)
	{
		if (call->failures > 0)
			enter_state(&circuit, OPEN, call->now);
		else if (++circuit.probe_successes >= breaker->probe_count)
			enter_state(&circuit, CLOSED, call->now);
	}
	/* open, isolated: what was permitted before comes too late to count */
	pack(&circuit, cells);
}

static void
force(int64 *cells, void *context)
{
	Call	   *call = context;
	Circuit		circuit;

	unpack(cells, &circuit);
	enter_state(&circuit, call->forced, call->now);
	pack(&circuit, cells);
}

/* ---- rows ---- */

static char *
cell_name(int64 key, int cell)
{
	return psprintf("breaker_" INT64_FORMAT "_%s", key, cell_names[cell]);
}

static void
find(int32 tenant, const char *name, Breaker *breaker)
{
	static AtpQuery query = {
		"SELECT breaker_key, failure_ratio, minimum_throughput, (extract(epoch FROM sampling_duration) * 1000)::bigint,"
		" (extract(epoch FROM break_duration) * 1000)::bigint, probe_count"
		" FROM atp_internal.breaker b WHERE b.breaker = $1 AND b.tenant = $2", 2, {TEXTOID, INT4OID}
	};
	Datum		arguments[] = {CStringGetTextDatum(name), Int32GetDatum(tenant)};
	int64		key;
	bool		null;

	SPI_connect();
	(void) atp_query_latest(&query, arguments, NULL);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ATP_ERR_BREAKER_NOT_FOUND), errmsg("circuit breaker \"%s\" does not exist", name),
				errhint("Make it with atp.create_breaker."));
	breaker->name = name;
	key = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	breaker->failure_ratio = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	breaker->minimum_throughput = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &null));
	breaker->sampling_ms = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 4, &null));
	breaker->break_ms = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 5, &null));
	breaker->probe_count = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 6, &null));
	SPI_finish();
	for (int i = 0; i < CELL_COUNT; i++)
		breaker->cells[i] = atp_cell_oid(cell_name(key, i));
}

static void
step(int32 tenant, const char *name, AtpCellChange change, Call *call)
{
	Breaker		breaker;

	find(tenant, name, &breaker);
	call->breaker = &breaker;
	call->now = now_ms();
	atp_cell_change(breaker.cells, CELL_COUNT, change, call);
}

static AtpPermit
try(int32 tenant, const char *name, Call *call)
{
	step(tenant, name, acquire, call);
	return !call->permitted ? ATP_PERMIT_REFUSED : call->probe ? ATP_PERMIT_PROBE : ATP_PERMIT_GIVEN;
}

AtpPermit
atp_breaker_try(int32 tenant, const char *name)
{
	Call		call = {0};

	return try(tenant, name, &call);
}

bool
atp_breaker_acquire(int32 tenant, const char *name)
{
	Call		call = {0};
	AtpPermit	permit = try(tenant, name, &call);

	if (permit == ATP_PERMIT_REFUSED)
		ereport(ERROR, errcode(ATP_ERR_BREAKER_OPEN), errmsg("circuit breaker \"%s\" is %s", name, call.wait < 0 ? "isolated" : "open"),
				call.wait < 0 ? errdetail("It was isolated by hand.")
				: errdetail("It gives permits again in %lld ms.", (long long) call.wait),
				call.wait < 0 ? errhint("SELECT atp.close_breaker(...) ends the isolation.") : errhint("Try again after that time."));
	return permit == ATP_PERMIT_PROBE;
}

void
atp_breaker_report(int32 tenant, const char *name, int successes, int failures)
{
	Call		call = {.successes = successes, .failures = failures};

	step(tenant, name, release, &call);
}

void
atp_breaker_report_lost(int32 tenant, const char *name)
{
	Call		call = {.failures = 1, .lost = true};

	step(tenant, name, release, &call);
}

int64
atp_breaker_wait(int32 tenant, const char *name)
{
	Breaker		breaker;
	Circuit		circuit;
	int64		cells[CELL_COUNT];
	int64		left;

	find(tenant, name, &breaker);
	for (int i = 0; i < CELL_COUNT; i++)
		cells[i] = atp_cell_read(breaker.cells[i]);
	unpack(cells, &circuit);
	if (circuit.state == ISOLATED)
		return -1;
	if (circuit.state == CLOSED || (circuit.state == HALF_OPEN && circuit.probes < breaker.probe_count))
		return 0;
	left = circuit.since + breaker.break_ms - now_ms();
	return Max(left, 0);
}

/* ---- SQL ---- */

/* make_breaker_cells(breaker_key) */
Datum
atp_breaker_make_cells(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < CELL_COUNT; i++)
		atp_cell_create(cell_name(PG_GETARG_INT64(0), i));
	PG_RETURN_VOID();
}

/* drop_breaker_cells(breaker_key) */
Datum
atp_breaker_drop_cells(PG_FUNCTION_ARGS)
{
	for (int i = 0; i < CELL_COUNT; i++)
		atp_cell_drop(cell_name(PG_GETARG_INT64(0), i));
	PG_RETURN_VOID();
}

/* acquire_breaker(tenant, breaker) */
Datum
atp_breaker_acquire_permit(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(atp_breaker_acquire(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1))));
}

/* release_breaker(tenant, breaker, success) */
Datum
atp_breaker_release_permit(PG_FUNCTION_ARGS)
{
	bool		success = PG_GETARG_BOOL(2);

	atp_breaker_report(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), success, !success);
	PG_RETURN_VOID();
}

/* force_breaker(tenant, breaker, isolated) */
Datum
atp_breaker_force(PG_FUNCTION_ARGS)
{
	Call		call = {.forced = PG_GETARG_BOOL(2) ? ISOLATED : CLOSED};

	step(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), force, &call);
	PG_RETURN_VOID();
}

/* read_breaker(tenant, breaker): state, since, throughput, failures */
Datum
atp_breaker_read(PG_FUNCTION_ARGS)
{
	Breaker		breaker;
	Circuit		circuit;
	int64		cells[CELL_COUNT];
	int64		now = now_ms();
	double		throughput;
	double		failures;
	TupleDesc	shape;
	Datum		values[4];
	bool		nulls[4] = {0};

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	find(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), &breaker);
	for (int i = 0; i < CELL_COUNT; i++)
		cells[i] = atp_cell_read(breaker.cells[i]);
	unpack(cells, &circuit);
	slide(&breaker, &circuit, now);
	count(&breaker, &circuit, now, &throughput, &failures);
	values[0] = CStringGetTextDatum(state_names[circuit.state]);
	nulls[1] = circuit.since == 0;
	values[1] = TimestampTzGetDatum((circuit.since - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY * 1000) * 1000);
	values[2] = Float8GetDatum(throughput);
	values[3] = Float8GetDatum(failures);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

/*
 * Rate limits and bulkheads; see limit.h.
 *
 * Rate limit: the generic cell rate algorithm (ITU-T I.371), which is a token bucket in one number, the theoretical arrival time: with
 * an emission interval T = 1 / rate, n tokens move it on by n T, and are refused where it would lie more than burst T ahead of the clock.
 * The number lives in a cell (pg/cell): what was taken stays taken when the transaction rolls back, and no lock is held to its end.
 *
 * Bulkhead: max_in_flight advisory locks of a class of our own, of which a transaction takes one that is free. It goes with the
 * transaction, however that ends, and a crash leaves nothing to clean up.
 */
#include "delivery/limit.h"

#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "datatype/timestamp.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/cell.h"
#include "pg/errors.h"
#include "pg/query.h"

PG_FUNCTION_INFO_V1(atp_limit_make_cell);
PG_FUNCTION_INFO_V1(atp_limit_drop_cell);
PG_FUNCTION_INFO_V1(atp_limit_take_tokens);
PG_FUNCTION_INFO_V1(atp_limit_take_slot);

#define SLOT_CLASS 0x6176		/* no advisory lock function of SQL uses this class */

typedef struct Allowance			/* a row of atp_internal.rate_limit or atp_internal.bulkhead */
{
	int64		key;
	double		rate;			/* tokens a second */
	int			size;			/* burst, or slots */
} Allowance;

typedef struct Take
{
	const Allowance *limit;
	int64		now;			/* microseconds since 1970 */
	int			count;
	int64		wait;			/* out: microseconds until it would be granted; 0: it is */
} Take;

static char *
cell_name(int64 key)
{
	return psprintf("rate_limit_" INT64_FORMAT, key);
}

static void
take(int64 *cells, void *context)
{
	Take	   *request = context;
	double		interval = 1e6 / request->limit->rate;
	int64		arrival = Max(cells[0], request->now) + (int64) (interval * request->count);
	int64		ahead = arrival - request->now - (int64) (interval * request->limit->size);

	request->wait = Max(ahead, 0);
	if (request->wait == 0)
		cells[0] = arrival;
}

/* As many as fit. A microsecond is the rounding of a cell. */
static void
take_some(int64 *cells, void *context)
{
	Take	   *request = context;
	double		interval = 1e6 / request->limit->rate;
	int64		from = Max(cells[0], request->now);
	double		room = (double) (request->now + (int64) (interval * request->limit->size) - from + 1);

	request->count = (int) Min((double) request->count, Max(room, 0) / interval);
	if (request->count > 0)
		cells[0] = from + (int64) (interval * request->count);
}

static void
give_back(int64 *cells, void *context)
{
	Take	   *request = context;

	cells[0] -= (int64) (1e6 / request->limit->rate * request->count);
}

static int64
now_us(void)
{
	return GetCurrentTimestamp() + (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

static void
find(AtpQuery *query, int32 tenant, const char *name, const char *kind, Allowance *limit)
{
	Datum		arguments[] = {CStringGetTextDatum(name), Int32GetDatum(tenant)};
	bool		null;

	SPI_connect();
	(void) atp_query_latest(query, arguments, NULL);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ATP_ERR_LIMIT_NOT_FOUND), errmsg("%s \"%s\" does not exist", kind, name));
	limit->key = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	limit->size = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null));
	limit->rate = DatumGetFloat8(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 3, &null));
	SPI_finish();
}

static void
find_rate(int32 tenant, const char *name, Allowance *limit)
{
	static AtpQuery query = {
		"SELECT rate_limit_key, burst, rate FROM atp_internal.rate_limit r WHERE r.rate_limit = $1 AND r.tenant = $2", 2, {TEXTOID, INT4OID}
	};

	find(&query, tenant, name, "rate limit", limit);
}

static void
change(const Allowance *limit, AtpCellChange how, Take *request)
{
	Oid			cell = atp_cell_oid(cell_name(limit->key));

	request->limit = limit;
	request->now = now_us();
	atp_cell_change(&cell, 1, how, request);
}

void
atp_limit_acquire_tokens(int32 tenant, const char *name, int count)
{
	Allowance	limit;
	Take		request = {.count = count};

	find_rate(tenant, name, &limit);
	if (count < 1 || count > limit.size)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%d tokens can never be had of rate limit \"%s\"", count, name),
				errdetail("Its burst is %d.", limit.size));
	change(&limit, take, &request);
	if (request.wait > 0)
		ereport(ERROR, errcode(ATP_ERR_RATE_LIMITED), errmsg("rate limit \"%s\" is reached", name),
				errdetail("%d of them may be had in %lld ms.", count, (long long) (request.wait + 999) / 1000),
				errhint("Try again after that time."));
}

int
atp_limit_take_tokens_up_to(int32 tenant, const char *name, int wanted)
{
	Allowance	limit;
	Take		request = {.count = wanted};

	find_rate(tenant, name, &limit);
	change(&limit, take_some, &request);
	return request.count;
}

void
atp_limit_return_tokens(int32 tenant, const char *name, int count)
{
	Allowance	limit;
	Take		request = {.count = count};

	find_rate(tenant, name, &limit);
	change(&limit, give_back, &request);
}

int64
atp_limit_wait(int32 tenant, const char *name)
{
	Allowance	limit;
	Take		request = {.limit = &limit, .count = 1};
	int64		cell;

	find_rate(tenant, name, &limit);
	cell = atp_cell_read(atp_cell_oid(cell_name(limit.key)));
	request.now = now_us();
	take(&cell, &request);
	return (request.wait + 999) / 1000;
}

void
atp_limit_read_tenant(int32 tenant, AtpTenantLimits *limits)
{
	static AtpQuery query = {"SELECT max_in_flight, rate_limit FROM atp_internal.tenant_limit WHERE tenant = $1", 1, {INT4OID}};
	MemoryContext context = CurrentMemoryContext;
	Datum		argument = Int32GetDatum(tenant);
	bool		null;

	limits->max_in_flight = 0;
	limits->rate_limit = NULL;
	SPI_connect();
	(void) atp_query_latest(&query, &argument, NULL);
	if (SPI_processed == 1)
	{
		HeapTuple	row = SPI_tuptable->vals[0];
		Datum		value = SPI_getbinval(row, SPI_tuptable->tupdesc, 1, &null);

		limits->max_in_flight = null ? 0 : DatumGetInt32(value);
		value = SPI_getbinval(row, SPI_tuptable->tupdesc, 2, &null);
		if (!null)
			limits->rate_limit = MemoryContextStrdup(context, TextDatumGetCString(value));
	}
	SPI_finish();
}

void
atp_limit_acquire_slot(int32 tenant, const char *name)
{
	static AtpQuery query = {
		"SELECT bulkhead_key, max_in_flight, 0::float8 FROM atp_internal.bulkhead b WHERE b.bulkhead = $1 AND b.tenant = $2",
		2, {TEXTOID, INT4OID}
	};
	Allowance		limit;
	int			first;

	find(&query, tenant, name, "bulkhead", &limit);
	first = (int) pg_prng_uint64_range(&pg_global_prng_state, 0, limit.size - 1);
	for (int i = 0; i < limit.size; i++)
	{
		LOCKTAG		tag;
		LockAcquireResult result;

		SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) limit.key, (uint32) ((first + i) % limit.size), SLOT_CLASS);
		result = LockAcquire(&tag, ExclusiveLock, false, true);
		if (result == LOCKACQUIRE_OK)
			return;
		if (result == LOCKACQUIRE_ALREADY_HELD)
			LockRelease(&tag, ExclusiveLock, false);	/* this transaction's: it wants another one */
		CHECK_FOR_INTERRUPTS();
	}
	ereport(ERROR, errcode(ATP_ERR_BULKHEAD_FULL), errmsg("bulkhead \"%s\" is full", name),
			errdetail("%d transactions are inside.", limit.size), errhint("Try again when one of them has ended."));
}

/* make_rate_limit_cell(rate_limit_key) */
Datum
atp_limit_make_cell(PG_FUNCTION_ARGS)
{
	atp_cell_create(cell_name(PG_GETARG_INT64(0)));
	PG_RETURN_VOID();
}

/* drop_rate_limit_cell(rate_limit_key) */
Datum
atp_limit_drop_cell(PG_FUNCTION_ARGS)
{
	atp_cell_drop(cell_name(PG_GETARG_INT64(0)));
	PG_RETURN_VOID();
}

static void
require_given(FunctionCallInfo fcinfo, int argument, const char *what)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", what));
}

/* take_tokens(tenant, rate_limit, count) */
Datum
atp_limit_take_tokens(PG_FUNCTION_ARGS)
{
	require_given(fcinfo, 1, "rate limit");
	require_given(fcinfo, 2, "token count");
	atp_limit_acquire_tokens(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), PG_GETARG_INT32(2));
	PG_RETURN_VOID();
}

/* take_slot(tenant, bulkhead) */
Datum
atp_limit_take_slot(PG_FUNCTION_ARGS)
{
	require_given(fcinfo, 1, "bulkhead");
	atp_limit_acquire_slot(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)));
	PG_RETURN_VOID();
}

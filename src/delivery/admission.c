/*
 * Admission; see admission.h.
 *
 * Permits and tokens live in cells (pg/cell): what was taken or reported stays so when the claim rolls back, its events come again. So a
 * consumer whose transactions fail opens its breaker, and cannot claim faster than its rate by rolling back.
 *
 * Locks: the turn of a subscription is that of a partition behind its last one, the turn of a tenant one behind that, under the tenant's
 * key; a claim has the partitions whose lease it acked, then these in this order, then the partitions it looks at.
 */
#include "delivery/admission.h"

#include <limits.h>

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "delivery/breaker.h"
#include "delivery/cursor.h"
#include "pg/query.h"
#include "record/tenant.h"

PG_FUNCTION_INFO_V1(atp_admission_obstacle);

#define TURN_OF_SUBSCRIPTION ATP_PARTITIONS_MAX
#define TURN_OF_TENANT (ATP_PARTITIONS_MAX + 1)

/* ---- Events in flight ---- */

static int64
count(AtpQuery *query, Datum *arguments)
{
	int64		events;
	bool		null;

	SPI_connect();
	atp_query_latest(query, arguments, NULL);
	events = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	SPI_finish();
	return events;
}

static int64
count_of_subscription(const AtpSubscription *subscription)
{
	static AtpQuery query = {
		"SELECT coalesce((SELECT sum(lease_count) FROM atp_internal.subscription_cursor WHERE subscription = $1 AND tenant = $2"
		" AND lease_until > pg_catalog.clock_timestamp()), 0) + (SELECT count(*) FROM atp_internal.retry"
		" WHERE subscription = $1 AND tenant = $2 AND lease_until > pg_catalog.clock_timestamp())", 2, {INT4OID, INT4OID}
	};
	Datum		arguments[2];

	arguments[0] = Int32GetDatum(subscription->subscription);
	arguments[1] = Int32GetDatum(subscription->tenant);
	return count(&query, arguments);
}

static int64
count_of_tenant(const AtpSubscription *subscription)
{
	static AtpQuery query = {
		"SELECT coalesce((SELECT sum(lease_count) FROM atp_internal.subscription_cursor WHERE tenant = $1"
		" AND lease_until > pg_catalog.clock_timestamp()), 0) + (SELECT count(*) FROM atp_internal.retry"
		" WHERE tenant = $1 AND lease_until > pg_catalog.clock_timestamp())", 1, {INT4OID}
	};
	Datum		argument = Int32GetDatum(subscription->tenant);

	return count(&query, &argument);
}

/* ---- Looking ---- */

static AtpObstacle
look_at_gates(const AtpSubscription *subscription, int64 *wait_ms)
{
	*wait_ms = 0;
	if (subscription->breaker != NULL && (*wait_ms = atp_breaker_wait(subscription->tenant, subscription->breaker)) != 0)
		return ATP_OBSTACLE_BREAKER;
	if (subscription->rate_limit != NULL && (*wait_ms = atp_limit_wait(subscription->tenant, subscription->rate_limit)) != 0)
		return ATP_OBSTACLE_RATE_LIMIT;
	if (subscription->tenant_limits.rate_limit != NULL &&
		(*wait_ms = atp_limit_wait(subscription->tenant, subscription->tenant_limits.rate_limit)) != 0)
		return ATP_OBSTACLE_TENANT_RATE_LIMIT;
	return ATP_OBSTACLE_NONE;
}

AtpObstacle
atp_admission_look(const AtpSubscription *subscription, int64 *wait_ms)
{
	AtpObstacle gate = look_at_gates(subscription, wait_ms);

	if (gate != ATP_OBSTACLE_NONE)
		return gate;
	*wait_ms = -1;
	if (subscription->max_in_flight > 0 && count_of_subscription(subscription) >= subscription->max_in_flight)
		return ATP_OBSTACLE_IN_FLIGHT;
	if (subscription->tenant_limits.max_in_flight > 0 && count_of_tenant(subscription) >= subscription->tenant_limits.max_in_flight)
		return ATP_OBSTACLE_TENANT_IN_FLIGHT;
	return ATP_OBSTACLE_NONE;
}

bool
atp_admission_is_counted(const AtpSubscription *subscription)
{
	return subscription->max_in_flight > 0 || subscription->tenant_limits.max_in_flight > 0;
}

int
atp_admission_room(const AtpSubscription *subscription, int wanted)
{
	int64		wait_ms;
	int64		room = wanted;

	if (look_at_gates(subscription, &wait_ms) != ATP_OBSTACLE_NONE)
		return 0;
	if (subscription->max_in_flight > 0)
	{
		(void) atp_cursor_lock(subscription->subscription, TURN_OF_SUBSCRIPTION, true);
		room = Min(room, subscription->max_in_flight - count_of_subscription(subscription));
	}
	if (subscription->tenant_limits.max_in_flight > 0)
	{
		(void) atp_cursor_lock(subscription->tenant, TURN_OF_TENANT, true);
		room = Min(room, subscription->tenant_limits.max_in_flight - count_of_tenant(subscription));
	}
	return (int) Max(room, 0);
}

/* ---- Taking and reporting ---- */

int
atp_admission_take(const AtpSubscription *subscription, int wanted)
{
	int			most = wanted;
	int			taken;

	if (subscription->rate_limit != NULL)
		most = atp_limit_take_tokens_up_to(subscription->tenant, subscription->rate_limit, most);
	taken = most;
	if (most > 0 && subscription->tenant_limits.rate_limit != NULL)
		taken = atp_limit_take_tokens_up_to(subscription->tenant, subscription->tenant_limits.rate_limit, most);
	if (subscription->rate_limit != NULL && taken < most)
		atp_limit_return_tokens(subscription->tenant, subscription->rate_limit, most - taken);
	if (taken > 0 && subscription->breaker != NULL)		/* last: a permit taken in vain would be a probe lost */
	{
		AtpPermit	permit = atp_breaker_try(subscription->tenant, subscription->breaker);
		int			permitted = permit == ATP_PERMIT_REFUSED ? 0 : permit == ATP_PERMIT_PROBE ? 1 : taken;

		atp_admission_return(subscription, taken - permitted);
		taken = permitted;
	}
	return taken;
}

void
atp_admission_return(const AtpSubscription *subscription, int count)
{
	if (count > 0 && subscription->rate_limit != NULL)
		atp_limit_return_tokens(subscription->tenant, subscription->rate_limit, count);
	if (count > 0 && subscription->tenant_limits.rate_limit != NULL)
		atp_limit_return_tokens(subscription->tenant, subscription->tenant_limits.rate_limit, count);
}

void
atp_admission_report(const AtpSubscription *subscription, int64 acked, int failed)
{
	if (subscription->breaker != NULL && (acked > 0 || failed > 0))
		atp_breaker_report(subscription->tenant, subscription->breaker, (int) Min(acked, INT_MAX / 2), failed);
}

void
atp_admission_report_expired(const AtpSubscription *subscription)
{
	if (subscription->breaker != NULL)
		atp_breaker_report_lost(subscription->tenant, subscription->breaker);
}

/* claim_obstacle(subscription, tenant): obstacle, retry_after */
Datum
atp_admission_obstacle(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {NULL, "breaker", "rate limit", "tenant's rate limit", "max_in_flight", "tenant's max_in_flight"};
	AtpTenant	tenant;
	TupleDesc	shape;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};
	AtpObstacle obstacle;
	int64		wait_ms;

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_tenant_resolve(text_to_cstring(PG_GETARG_TEXT_PP(1)), &tenant);
	obstacle = atp_admission_look(atp_subscription_open(tenant.tenant, text_to_cstring(PG_GETARG_TEXT_PP(0))), &wait_ms);
	if (obstacle != ATP_OBSTACLE_NONE)
	{
		values[0] = CStringGetTextDatum(names[obstacle]);
		nulls[0] = false;
		nulls[1] = wait_ms < 0;
		if (wait_ms >= 0)
		{
			Interval   *wait = palloc0(sizeof(Interval));

			wait->time = wait_ms * 1000;
			values[1] = IntervalPGetDatum(wait);
		}
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

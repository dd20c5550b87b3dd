/*
 * How subscriptions stand, and the announcement of new events.
 *
 * An announcement is made by the transaction that places events, once for each subscription that asked for it and wants one of them by
 * its cheap rules: writers never notify, and a hundred events cost one notification. A consumer may be woken in vain by an event
 * that a predicate rejects, never the other way round.
 */
#include "delivery/status.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "commands/async.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "delivery/lease.h"
#include "log/sequencer.h"

PG_FUNCTION_INFO_V1(atp_status_announce);
PG_FUNCTION_INFO_V1(atp_status_lag);

#define COUNT_MAX 10000			/* log rows of a partition that are looked at; what lies beyond is taken as wanted */

static int	setting_lag_events = 100000;
static int	setting_lag_time = 60;

void
atp_status_init(void)
{
	DefineCustomIntVariable("atp.subscription_lag_events", "Events behind the log from which on a subscription counts as lagging.", NULL,
							&setting_lag_events, 100000, 1, INT_MAX, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("atp.subscription_lag_time",
							"Age of the oldest event not acked from which on a subscription counts as lagging.",
							NULL, &setting_lag_time, 60, 1, INT_MAX / 1000, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
}

/* ---- Announcements ---- */

typedef struct Announced
{
	List	   *waiting;		/* of AtpSubscription *, not announced yet */
} Announced;

static void
collect(AtpSubscription *subscription, void *context)
{
	Announced  *announced = context;

	if (subscription->active)
		announced->waiting = lappend(announced->waiting, subscription);
}

static bool
announce(const AtpLogRow *row, void *context)
{
	Announced  *announced = context;
	ListCell   *cell;

	foreach(cell, announced->waiting)
	{
		AtpSubscription *subscription = lfirst(cell);
		char		channel[ATP_SUBSCRIPTION_NAME_MAX + 5];

		if (row->tenant != subscription->tenant || !atp_filter_wants_row(subscription->filter, row, NULL))
			continue;
		snprintf(channel, sizeof(channel), "atp_%s", subscription->name);
		Async_Notify(channel, "");
		announced->waiting = foreach_delete_current(announced->waiting, cell);
	}
	return announced->waiting != NIL;
}

/* Trigger: events were placed in the log. */
Datum
atp_status_announce(PG_FUNCTION_ARGS)
{
	Announced	announced = {NIL};

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	if (!atp_sequencer_is_placing())
		return PointerGetDatum(NULL);
	atp_subscription_each_announced(collect, &announced);
	if (announced.waiting != NIL)
		atp_feed_visit_placed(announce, &announced);
	return PointerGetDatum(NULL);
}

/* ---- Lag ---- */

typedef struct Lag
{
	int64		events;
	int64		acked;			/* least of the partitions */
	TimestampTz oldest;			/* when the first event not acked was placed; DT_NOEND: there is none */
} Lag;

static void
add_partition(AtpDelivery *delivery, int partition, int64 head, Lag *lag)
{
	AtpCursor  *cursor = atp_cursor_read(delivery->tenant.tenant, delivery->subscription->subscription, partition);
	AtpLogRow	row;
	AtpWanted	wanted;
	int			seen = 0;

	if (cursor == NULL)
		return;
	atp_feed_seek(atp_delivery_feed(delivery), cursor->acked);
	while (atp_feed_next(delivery->feed, &row))
	{
		if (seen++ >= COUNT_MAX)
		{
			lag->events += (head - row.log_position + 1) / delivery->subscription->partitions;
			lag->oldest = Min(lag->oldest, row.published_at);
			break;
		}
		if (atp_cursor_is_settled(cursor, row.log_position) ||
			atp_delivery_wants(delivery, &row, partition, NULL, &wanted) == ATP_FILTER_NO)
			continue;
		lag->events++;
		lag->oldest = Min(lag->oldest, row.published_at);
	}
	lag->acked = Min(lag->acked, cursor->acked);
}

/* subscription_lag(subscription, tenant) */
Datum
atp_status_lag(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	Lag			lag = {.acked = PG_INT64_MAX, .oldest = DT_NOEND};
	TupleDesc	shape;
	Datum		values[4];
	bool		nulls[4] = {0};
	int64		head;

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_delivery_begin(&delivery, text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	head = atp_feed_head(atp_delivery_feed(&delivery));
	for (int i = 0; i < delivery.subscription->partitions; i++)
		add_partition(&delivery, i, head, &lag);
	atp_delivery_end(&delivery);
	values[0] = Int64GetDatum(lag.acked == PG_INT64_MAX ? 0 : lag.acked);
	values[1] = Int64GetDatum(lag.events);
	values[2] = TimestampTzGetDatum(lag.oldest);
	nulls[2] = TIMESTAMP_IS_NOEND(lag.oldest);
	values[3] = BoolGetDatum(lag.events >= setting_lag_events ||
							 (!nulls[2] && delivery.now - lag.oldest >= setting_lag_time * USECS_PER_SEC));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

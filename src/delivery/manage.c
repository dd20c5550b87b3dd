/* What subscriptions make of one event, for people. */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "delivery/lease.h"
#include "pg/errors.h"

PG_FUNCTION_INFO_V1(atp_manage_explain);

typedef struct Explain
{
	AtpTenant	tenant;
	AtpFeed    *feed;
	AtpLogRow	row;
	AtpFeedEvent event;
	ReturnSetInfo *result;
} Explain;

static void
answer(Explain *explain, const AtpSubscription *subscription, bool matches, const char *rule, const char *reason)
{
	Datum		values[4];
	bool		nulls[4] = {0};

	values[0] = CStringGetTextDatum(subscription->name);
	values[1] = BoolGetDatum(matches);
	values[2] = CStringGetTextDatum(rule);
	values[3] = CStringGetTextDatum(reason);
	tuplestore_putvalues(explain->result->setResult, explain->result->setDesc, values, nulls);
}

static void
explain_one(AtpSubscription *subscription, void *context)
{
	Explain    *explain = context;
	AtpFilter  *filter = subscription->filter;
	const char *rule = NULL;
	char	   *error = NULL;

	if (subscription->tenant != explain->tenant.tenant)
		return;
	if (!atp_filter_wants_row(filter, &explain->row, &rule))
	{
		answer(explain, subscription, false, rule, psprintf("the event does not meet %s", rule));
		return;
	}
	switch (atp_filter_wants_event(filter, &explain->row, &explain->event, &rule, &error))
	{
		case ATP_FILTER_YES:
			answer(explain, subscription, true, atp_filter_describe(filter),
				   psprintf("%s, at log position %lld", subscription->active ? "active" : "paused",
							(long long) explain->row.log_position));
			break;
		case ATP_FILTER_NO:
			answer(explain, subscription, false, rule, psprintf("the event does not meet %s", rule));
			break;
		case ATP_FILTER_RAISED:
			answer(explain, subscription, false, "filter", psprintf("the filter raises, the event becomes a dead letter: %s", error));
			break;
	}
}

/* explain_routing(event_id, tenant) */
Datum
atp_manage_explain(PG_FUNCTION_ARGS)
{
	Explain		explain = {0};

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("event id must not be null"));
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	explain.result = (ReturnSetInfo *) fcinfo->resultinfo;
	atp_tenant_resolve(PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), &explain.tenant);
	PushActiveSnapshot(GetLatestSnapshot());
	explain.feed = atp_feed_begin(GetActiveSnapshot());
	if (!atp_feed_find(explain.feed, PG_GETARG_UUID_P(0), explain.tenant.tenant, &explain.row) ||
		!atp_feed_fetch(explain.feed, &explain.row, &explain.event))
		ereport(ERROR, errcode(ATP_ERR_EVENT_NOT_IN_LOG),
				errmsg("event %s is not in the log", DatumGetCString(DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(0)))),
				errhint("An event is placed in the log shortly after its transaction has committed."));
	atp_subscription_each(explain_one, &explain);
	atp_feed_end(explain.feed);
	PopActiveSnapshot();
	return (Datum) 0;
}

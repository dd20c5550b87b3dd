/*
 * Waiting for events: looks at the cursors, without locking them, and at what the log has behind them, every few milliseconds. What a
 * partition was seen not to have is not looked at again.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "delivery/admission.h"
#include "delivery/lease.h"
#include "log/sequencer.h"

PG_FUNCTION_INFO_V1(atp_wait_for_events);

#define POLL_MS 5
#define LOOK_MAX 512			/* log rows looked at in vain: let a claim move the cursor */

typedef struct Seen				/* what a wait knows of a partition: no event lies between these */
{
	int64		acked;
	int64		scanned;
} Seen;

/* Whether a partition has something to claim; looks without locking. */
static bool
has_events(AtpDelivery *delivery, int partition, Seen *seen)
{
	AtpCursor  *cursor = atp_cursor_read(delivery->tenant.tenant, delivery->subscription->subscription, partition);
	AtpLogRow	row;
	AtpWanted	wanted;
	int64		rows = 0;

	if (cursor == NULL)
		return false;
	if (cursor->retry_due_at <= delivery->now)
		return true;
	if (cursor->leased && cursor->lease_until > delivery->now)
	{
		seen->scanned = 0;		/* what is leased may come back */
		return false;
	}
	if (cursor->acked < seen->acked)
		seen->scanned = 0;		/* somebody has sought back */
	seen->acked = cursor->acked;
	atp_feed_seek(atp_delivery_feed(delivery), Max(cursor->acked, seen->scanned));
	for (; atp_feed_next(delivery->feed, &row); seen->scanned = row.log_position)
		if (++rows > LOOK_MAX || (!atp_cursor_is_settled(cursor, row.log_position) &&
			atp_delivery_wants(delivery, &row, partition, NULL, &wanted) != ATP_FILTER_NO))
			return true;
	return false;
}

static bool
any_has_events(FunctionCallInfo fcinfo, Seen *seen)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "atp wait for events", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(memory);
	AtpDelivery delivery;
	bool		found = false;
	int64		wait_ms;

	atp_delivery_begin(&delivery, PG_ARGISNULL(2) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(2)), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (delivery.subscription->active && delivery.tenant.active &&
		atp_admission_look(delivery.subscription, &wait_ms) == ATP_OBSTACLE_NONE)
		for (int i = 0; !found && i < delivery.subscription->partitions; i++)
			found = has_events(&delivery, i, &seen[i]);
	atp_delivery_end(&delivery);
	MemoryContextSwitchTo(before);
	MemoryContextDelete(memory);
	return found;
}

/* wait_for_events(subscription, timeout, tenant) */
Datum
atp_wait_for_events(PG_FUNCTION_ARGS)
{
	Seen		seen[ATP_PARTITIONS_MAX] = {0};
	Interval   *timeout;
	int64		patience;
	TimestampTz until;
	int			turn = 0;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("subscription and timeout must not be null"));
	timeout = PG_GETARG_INTERVAL_P(1);
	patience = timeout->time + ((int64) timeout->day + (int64) timeout->month * DAYS_PER_MONTH) * USECS_PER_DAY;
	if (patience < 0 || patience > USECS_PER_DAY)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("timeout is not between 0 and a day"));
	until = GetCurrentTimestamp() + patience;
	for (;;)
	{
		long		rest;

		CHECK_FOR_INTERRUPTS();
		AcceptInvalidationMessages();
		if (any_has_events(fcinfo, seen))
			PG_RETURN_BOOL(true);
		if (turn++ % (1000 / POLL_MS) == 0 && atp_sequencer_attend() > 0)
			continue;
		rest = (long) ((until - GetCurrentTimestamp()) / 1000);
		if (rest <= 0)
			PG_RETURN_BOOL(false);
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, Min(rest, POLL_MS), PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

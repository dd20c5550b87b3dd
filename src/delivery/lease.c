/* Leases; see lease.h. */
#include "delivery/lease.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "delivery/admission.h"
#include "pg/errors.h"
#include "pg/eventid.h"

PG_FUNCTION_INFO_V1(atp_lease_ack_events);
PG_FUNCTION_INFO_V1(atp_lease_nack_event);
PG_FUNCTION_INFO_V1(atp_lease_defer_event);
PG_FUNCTION_INFO_V1(atp_lease_renew);
PG_FUNCTION_INFO_V1(atp_lease_release);
PG_FUNCTION_INFO_V1(atp_lease_place_event);
PG_FUNCTION_INFO_V1(atp_lease_hold);

#define KIND 8					/* the byte of a token behind the bitmap of its partitions */
#define KIND_LOG 0x80
#define KIND_RETRIES 0xC0

/* ---- Tokens ---- */

void
atp_lease_make(pg_uuid_t *lease, bool of_retries)
{
	memset(lease->data, 0, KIND);
	atp_random_bytes(lease->data + KIND, UUID_LEN - KIND);
	lease->data[KIND] = of_retries ? KIND_RETRIES : KIND_LOG;
}

void
atp_lease_add(pg_uuid_t *lease, int partition)
{
	lease->data[partition / 8] |= (unsigned char) (1 << (partition % 8));
}

bool
atp_lease_covers(const pg_uuid_t *lease, int partition)
{
	return (lease->data[partition / 8] & (1 << (partition % 8))) != 0;
}

bool
atp_lease_is_of_retries(const pg_uuid_t *lease)
{
	return lease->data[KIND] == KIND_RETRIES;
}

static bool
same(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

static void
refuse_stale(const AtpDelivery *delivery)
{
	ereport(ERROR, errcode(ATP_ERR_STALE_LEASE), errmsg("stale lease"),
			errdetail("Subscription \"%s\" has no such lease, or it has expired.", delivery->name),
			errhint("Its events are delivered again; renew a lease in time with atp.renew_lease."));
}

static void
refuse_beyond(int64 through, int64 last)
{
	ereport(ERROR, errcode(ATP_ERR_ACK_BEYOND_LEASE), errmsg("position lies beyond the lease"),
			errdetail("Position %lld is beyond %lld, that of the last event of the lease.", (long long) through, (long long) last));
}

static void
refuse_event(const pg_uuid_t *event_id)
{
	ereport(ERROR, errcode(ATP_ERR_EVENT_NOT_LEASED), errmsg("event is not in the lease"),
			errdetail("Event %s was not delivered under this lease, or was acked, nacked or deferred already.",
					  DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(event_id)))));
}

/* ---- Leases of the log ---- */

static bool
holds(const AtpDelivery *delivery, const AtpCursor *cursor, const pg_uuid_t *lease)
{
	return cursor->leased && same(&cursor->lease, lease) && cursor->lease_until > delivery->now;
}

/*
 * Locks the partitions of a lease and checks that one has it still. The partitions of a lease are given, renewed and lost together, so
 * those that do not have it any more are the ones of which nothing is left to do. The position up to which it may be acked.
 */
static int64
hold(AtpDelivery *delivery, const pg_uuid_t *lease)
{
	int64		last = 0;
	bool		any = false;

	for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
	{
		AtpCursor  *cursor = atp_lease_covers(lease, i) ? atp_delivery_cursor(delivery, i, true) : NULL;
		bool		held = cursor != NULL && holds(delivery, cursor, lease);

		any = any || held;
		if (cursor != NULL)
			last = Max(last, held ? cursor->lease_last : cursor->acked);
	}
	if (!any)
		refuse_stale(delivery);
	return last;
}

/* Ends the lease of a partition of which nothing is left to do. */
static void
complete(AtpCursor *cursor)
{
	int64		scanned = Max(cursor->scanned, cursor->lease_last);

	atp_cursor_advance(cursor, scanned);
	atp_cursor_release(cursor);
}

/*
 * Whether a row of the partition, between `acked` and lease_last, is an event of the lease; fills in its key. The rules in force say so,
 * unless they were changed since.
 */
static bool
is_in_lease(AtpDelivery *delivery, const AtpCursor *cursor, const AtpLogRow *row, AtpWanted *wanted)
{
	int			partition;

	if (atp_cursor_is_settled(cursor, row->log_position))
		return false;
	if (!atp_cursor_is_decided(cursor, row->log_position))
		return atp_delivery_wants(delivery, row, cursor->partition, NULL, wanted) == ATP_FILTER_YES;
	wanted->fetched = false;
	return atp_cursor_is_held(cursor, row->log_position) && atp_delivery_partition(delivery, row, wanted, &partition);
}

/* How many events of the lease lie after one position and up to another. */
static int
count_leased(AtpDelivery *delivery, AtpCursor *cursor, int64 after, int64 through)
{
	AtpFeed    *feed = atp_delivery_feed(delivery);
	AtpLogRow	row;
	AtpWanted	wanted;
	int			count = 0;

	atp_feed_seek(feed, after);
	while (atp_feed_next(feed, &row) && row.log_position <= through)
		if (is_in_lease(delivery, cursor, &row, &wanted))
			count++;
	return count;
}

/* Ends a lease of which everything was acked, or given back. */
static void
complete_if_empty(AtpCursor *cursor)
{
	if (cursor->lease_count <= 0)
		complete(cursor);
}

static int64
ack_log(AtpDelivery *delivery, const pg_uuid_t *lease, int64 through)
{
	int64		last = hold(delivery, lease);
	int64		acked = 0;

	if (through != PG_INT64_MAX && through > last)
		refuse_beyond(through, last);
	for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
	{
		AtpCursor  *cursor = atp_lease_covers(lease, i) ? delivery->cursors[i] : NULL;

		if (cursor == NULL || !holds(delivery, cursor, lease))
			continue;
		if (through >= cursor->lease_last)
		{
			acked += cursor->lease_count;
			complete(cursor);
		}
		else if (through > cursor->acked)
		{
			int			count = count_leased(delivery, cursor, cursor->acked, through);

			acked += count;
			cursor->lease_count -= count;
			atp_cursor_advance(cursor, through);
			complete_if_empty(cursor);
		}
	}
	return acked;
}

/* ---- Leases of retry rows: one partition each ---- */

static AtpRetries *
hold_retries(AtpDelivery *delivery, const pg_uuid_t *lease)
{
	AtpRetries *retries = NULL;
	bool		any = false;

	for (int i = 0; i < ATP_PARTITIONS_MAX && retries == NULL; i++)
	{
		AtpCursor  *cursor = atp_lease_covers(lease, i) ? atp_delivery_cursor(delivery, i, true) : NULL;

		if (cursor != NULL)
			retries = atp_retry_load(delivery->subscription, cursor);
	}
	for (int i = 0; retries != NULL && i < retries->count; i++)
		any = any || (retries->rows[i].leased && same(&retries->rows[i].lease, lease) && retries->rows[i].lease_until > delivery->now);
	if (!any)
		refuse_stale(delivery);
	return retries;
}

static bool
row_is_held(const AtpRetry *row, const pg_uuid_t *lease)
{
	return row->fate != ATP_RETRY_GONE && row->leased && same(&row->lease, lease);
}

static int64
ack_retries(AtpDelivery *delivery, const pg_uuid_t *lease, int64 through)
{
	AtpRetries *retries = hold_retries(delivery, lease);
	int64		last = 0;
	int64		acked = 0;

	for (int i = 0; i < retries->count; i++)
		if (row_is_held(&retries->rows[i], lease))
			last = Max(last, retries->rows[i].log_position);
	if (through != PG_INT64_MAX && through > last)
		refuse_beyond(through, last);
	for (int i = 0; i < retries->count; i++)
	{
		if (!row_is_held(&retries->rows[i], lease) || retries->rows[i].log_position > through)
			continue;
		retries->rows[i].fate = ATP_RETRY_GONE;
		acked++;
	}
	atp_retry_save(retries);
	return acked;
}

int64
atp_lease_ack(AtpDelivery *delivery, const pg_uuid_t *lease, int64 through)
{
	int64		acked = atp_lease_is_of_retries(lease) ? ack_retries(delivery, lease, through) : ack_log(delivery, lease, through);

	atp_admission_report(delivery->subscription, acked, 0);
	return acked;
}

/* ---- One event of a lease: given back ---- */

typedef struct GiveBack
{
	const pg_uuid_t *lease;
	const pg_uuid_t *event_id;
	const char *reason;			/* may be NULL */
	bool		permanent;
	bool		defer;
	TimestampTz until;			/* of a deferral */

	/* what became of it */
	const char *outcome;
	int			attempts;
	TimestampTz due_at;
	List	   *withdrawn;		/* of pg_uuid_t *: later events of its key that the lease does not hold any more */
} GiveBack;

/* Decides about a row that was just given back; its attempts count the present one. */
static void
decide(AtpDelivery *delivery, AtpRetries *retries, AtpRetry *row, GiveBack *back)
{
	row->leased = false;
	if (row->fate == ATP_RETRY_SAVED)
		row->fate = ATP_RETRY_CHANGED;
	if (back->defer)
	{
		row->attempts--;		/* it was not tried */
		row->deferred = true;
		row->due_at = back->until;
		back->outcome = "deferred";
	}
	else
	{
		row->alone = false;
		row->last_error = back->reason == NULL ? NULL : pstrdup(back->reason);
		if (TIMESTAMP_IS_NOEND(row->failed_at))
			row->failed_at = delivery->now;
		if (back->permanent || row->attempts >= delivery->subscription->max_attempts)
		{
			back->outcome = "dead letter";
			back->due_at = DT_NOEND;
			back->attempts = row->attempts;
			atp_retry_bury_row(retries, row, back->permanent ? ATP_REASON_PERMANENT : ATP_REASON_ATTEMPTS);
			return;
		}
		row->due_at = delivery->now + atp_subscription_delay(&delivery->subscription->backoff, row->attempts);
		back->outcome = "retry";
	}
	back->attempts = row->attempts;
	back->due_at = row->due_at;
}

static void
withdraw(GiveBack *back, const pg_uuid_t *event_id)
{
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	*copy = *event_id;
	back->withdrawn = lappend(back->withdrawn, copy);
}

/* Later events of the key in the lease follow into the retry rows, untried, and wait there. */
static void
withdraw_behind(AtpDelivery *delivery, AtpRetries *retries, AtpCursor *cursor, int64 after, int64 key, GiveBack *back)
{
	AtpFeed    *feed = atp_delivery_feed(delivery);
	AtpLogRow	row;
	AtpWanted	wanted;

	atp_feed_seek(feed, after);
	while (atp_feed_next(feed, &row) && row.log_position <= cursor->lease_last)
	{
		AtpRetry   *retry;

		if (!is_in_lease(delivery, cursor, &row, &wanted) || wanted.key != key)
			continue;
		retry = atp_retry_add(retries, row.log_position, &row.event_id, key);
		retry->attempts = atp_cursor_attempts(cursor, row.log_position);
		retry->due_at = delivery->now;
		withdraw(back, &row.event_id);
		atp_cursor_settle(cursor, row.log_position);
		cursor->lease_count--;
	}
}

static void
give_back_log(AtpDelivery *delivery, GiveBack *back)
{
	AtpCursor  *cursor;
	AtpRetries *retries;
	AtpRetry   *retry;
	AtpLogRow	row;
	AtpWanted	wanted = {0};
	int			partition = 0;

	(void) hold(delivery, back->lease);
	if (!atp_feed_find(atp_delivery_feed(delivery), back->event_id, delivery->subscription->tenant, &row) ||
		!atp_delivery_partition(delivery, &row, &wanted, &partition) || !atp_lease_covers(back->lease, partition))
		refuse_event(back->event_id);
	cursor = delivery->cursors[partition];
	if (cursor == NULL || !holds(delivery, cursor, back->lease) || row.log_position <= cursor->acked ||
		row.log_position > cursor->lease_last || !is_in_lease(delivery, cursor, &row, &wanted))
		refuse_event(back->event_id);
	retries = atp_retry_load(delivery->subscription, cursor);
	retry = atp_retry_add(retries, row.log_position, &row.event_id, wanted.key);
	retry->attempts = atp_cursor_attempts(cursor, row.log_position) + 1;
	retry->consumer = cursor->consumer;
	decide(delivery, retries, retry, back);
	atp_cursor_settle(cursor, row.log_position);
	cursor->lease_count--;
	if (strcmp(back->outcome, "retry") == 0 && delivery->subscription->ordered)
		withdraw_behind(delivery, retries, cursor, row.log_position, wanted.key, back);
	atp_retry_save(retries);
	complete_if_empty(cursor);
}

static void
give_back_retry(AtpDelivery *delivery, GiveBack *back)
{
	AtpRetries *retries = hold_retries(delivery, back->lease);
	int			at = 0;

	while (at < retries->count && !(row_is_held(&retries->rows[at], back->lease) && same(&retries->rows[at].event_id, back->event_id)))
		at++;
	if (at == retries->count)
		refuse_event(back->event_id);
	decide(delivery, retries, &retries->rows[at], back);
	for (int i = at + 1; i < retries->count && delivery->subscription->ordered && strcmp(back->outcome, "retry") == 0; i++)
	{
		AtpRetry   *row = &retries->rows[i];

		if (!row_is_held(row, back->lease) || row->key != retries->rows[at].key)
			continue;
		row->leased = false;
		row->attempts--;
		row->fate = ATP_RETRY_CHANGED;
		withdraw(back, &row->event_id);
	}
	atp_retry_save(retries);
}

/* ---- SQL ---- */

static char *
text_or_null(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

static void
require_given(FunctionCallInfo fcinfo, int argument, const char *what)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", what));
}

/* Begins a call whose first two arguments are subscription and lease, and whose last one is the tenant. */
static void
begin(FunctionCallInfo fcinfo, AtpDelivery *delivery)
{
	require_given(fcinfo, 0, "subscription");
	require_given(fcinfo, 1, "lease");
	atp_delivery_begin(delivery, text_or_null(fcinfo, PG_NARGS() - 1), text_to_cstring(PG_GETARG_TEXT_PP(0)));
}

/* ack_events(subscription, lease, through_position, tenant) */
Datum
atp_lease_ack_events(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	int64		acked;

	begin(fcinfo, &delivery);
	acked = atp_lease_ack(&delivery, PG_GETARG_UUID_P(1), PG_ARGISNULL(2) ? PG_INT64_MAX : PG_GETARG_INT64(2));
	atp_delivery_end(&delivery);
	PG_RETURN_INT64(acked);
}

static Datum
give_back(FunctionCallInfo fcinfo, AtpDelivery *delivery, GiveBack *back)
{
	Datum		values[4];
	bool		nulls[4] = {0};
	Datum	   *withdrawn;
	TupleDesc	shape;
	ListCell   *cell;
	int			count = 0;

	if (atp_lease_is_of_retries(back->lease))
		give_back_retry(delivery, back);
	else
		give_back_log(delivery, back);
	if (!back->defer && !back->permanent)	/* what can never be handled says nothing about the endpoint */
		atp_admission_report(delivery->subscription, 0, 1);
	atp_delivery_end(delivery);
	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	withdrawn = palloc_array(Datum, list_length(back->withdrawn) + 1);
	foreach(cell, back->withdrawn)
		withdrawn[count++] = UUIDPGetDatum(lfirst(cell));
	values[0] = CStringGetTextDatum(back->outcome);
	values[1] = Int32GetDatum(back->attempts);
	values[2] = TimestampTzGetDatum(back->due_at);
	nulls[2] = TIMESTAMP_IS_NOEND(back->due_at);
	values[3] = PointerGetDatum(construct_array(withdrawn, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls));
}

/* nack_event(subscription, lease, event_id, reason, permanent, tenant) */
Datum
atp_lease_nack_event(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	GiveBack	back = {0};

	begin(fcinfo, &delivery);
	require_given(fcinfo, 2, "event id");
	back.lease = PG_GETARG_UUID_P(1);
	back.event_id = PG_GETARG_UUID_P(2);
	back.reason = text_or_null(fcinfo, 3);
	back.permanent = !PG_ARGISNULL(4) && PG_GETARG_BOOL(4);
	PG_RETURN_DATUM(give_back(fcinfo, &delivery, &back));
}

/* defer_event(subscription, lease, event_id, until, tenant) */
Datum
atp_lease_defer_event(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	GiveBack	back = {0};

	begin(fcinfo, &delivery);
	require_given(fcinfo, 2, "event id");
	back.lease = PG_GETARG_UUID_P(1);
	back.event_id = PG_GETARG_UUID_P(2);
	back.defer = true;
	back.until = PG_ARGISNULL(3) ? DT_NOEND : PG_GETARG_TIMESTAMPTZ(3);
	PG_RETURN_DATUM(give_back(fcinfo, &delivery, &back));
}

/* renew_lease(subscription, lease, lock_duration, tenant) */
Datum
atp_lease_renew(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	pg_uuid_t  *lease;
	TimestampTz until;
	int64		duration;

	begin(fcinfo, &delivery);
	lease = PG_GETARG_UUID_P(1);
	duration = delivery.subscription->lock_duration;
	if (!PG_ARGISNULL(2))
	{
		Interval   *given = PG_GETARG_INTERVAL_P(2);
		double		days = given->day + (double) given->month * DAYS_PER_MONTH + (double) given->time / USECS_PER_DAY;

		if (!(days > 0 && days <= 1))
			ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("lock duration is not between 0 and a day"));
		duration = given->time + ((int64) given->day + (int64) given->month * DAYS_PER_MONTH) * USECS_PER_DAY;
	}
	if (atp_lease_is_of_retries(lease))
	{
		AtpRetries *retries = hold_retries(&delivery, lease);

		until = delivery.now + duration;
		for (int i = 0; i < retries->count; i++)
		{
			if (!row_is_held(&retries->rows[i], lease))
				continue;
			retries->rows[i].lease_until = until;
			retries->rows[i].fate = ATP_RETRY_CHANGED;
		}
		atp_retry_save(retries);
	}
	else
	{
		(void) hold(&delivery, lease);
		until = delivery.now + duration;
		for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
			if (atp_lease_covers(lease, i) && delivery.cursors[i] != NULL && holds(&delivery, delivery.cursors[i], lease))
			{
				delivery.cursors[i]->lease_until = until;
				delivery.cursors[i]->dirty = true;
			}
	}
	atp_delivery_end(&delivery);
	PG_RETURN_TIMESTAMPTZ(until);
}

/* Writes down what a lease holds by the rules in force, which are about to change. */
static void
hold_lease(AtpDelivery *delivery, AtpCursor *cursor)
{
	AtpFeed    *feed = atp_delivery_feed(delivery);
	int			room = cursor->lease_count + 1;
	int64	   *held = palloc_array(int64, room);
	int			count = 0;
	AtpLogRow	row;
	AtpWanted	wanted;

	atp_feed_seek(feed, cursor->acked);
	while (atp_feed_next(feed, &row) && row.log_position <= cursor->lease_last)
	{
		/* The last one bounds what is decided, though it may be settled. */
		if (row.log_position < cursor->lease_last && !is_in_lease(delivery, cursor, &row, &wanted))
			continue;
		if (count == room)
			held = repalloc_array(held, int64, room *= 2);
		held[count++] = row.log_position;
	}
	cursor->held = held;
	cursor->held_count = count;
	cursor->dirty = true;
}

/* hold_leases(subscription, tenant) */
Datum
atp_lease_hold(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;

	atp_delivery_begin(&delivery, text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	for (int i = 0; i < delivery.subscription->partitions; i++)
	{
		AtpCursor  *cursor = atp_delivery_cursor(&delivery, i, true);

		if (cursor != NULL && cursor->leased)
			hold_lease(&delivery, cursor);
	}
	atp_delivery_end(&delivery);
	PG_RETURN_VOID();
}

static int64
release_log(AtpDelivery *delivery, const pg_uuid_t *lease)
{
	int64		released = 0;

	(void) hold(delivery, lease);
	for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
	{
		AtpCursor  *cursor = atp_lease_covers(lease, i) ? delivery->cursors[i] : NULL;

		if (cursor == NULL || !holds(delivery, cursor, lease))
			continue;
		released += cursor->lease_count;
		atp_cursor_release(cursor);
	}
	return released;
}

static int64
release_retries(AtpDelivery *delivery, const pg_uuid_t *lease)
{
	AtpRetries *retries = hold_retries(delivery, lease);
	int64		released = 0;

	for (int i = 0; i < retries->count; i++)
	{
		AtpRetry   *row = &retries->rows[i];

		if (!row_is_held(row, lease))
			continue;
		row->leased = false;
		row->attempts--;
		row->fate = ATP_RETRY_CHANGED;
		released++;
	}
	atp_retry_save(retries);
	return released;
}

/* release_lease(subscription, lease, tenant) */
Datum
atp_lease_release(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	pg_uuid_t  *lease;
	int64		released;

	begin(fcinfo, &delivery);
	lease = PG_GETARG_UUID_P(1);
	released = atp_lease_is_of_retries(lease) ? release_retries(&delivery, lease) : release_log(&delivery, lease);
	atp_admission_return(delivery.subscription, (int) released);
	atp_delivery_end(&delivery);
	PG_RETURN_INT64(released);
}

/* place_event(subscription, tenant, event_id): key, partition */
Datum
atp_lease_place_event(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	AtpLogRow	row;
	TupleDesc	shape;
	Datum		values[2] = {0};
	bool		nulls[2] = {true, true};
	int64		key;
	int			partition;

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_delivery_begin(&delivery, text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (atp_feed_find(atp_delivery_feed(&delivery), PG_GETARG_UUID_P(2), delivery.tenant.tenant, &row) &&
		atp_delivery_place(&delivery, &row, &key, &partition))
	{
		values[0] = Int64GetDatum(key);
		values[1] = Int32GetDatum(partition);
		nulls[0] = nulls[1] = false;
	}
	atp_delivery_end(&delivery);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

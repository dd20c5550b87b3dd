/*
 * Claims.
 *
 * A claim tries the partitions one after the other, beginning where this backend claimed last: try the lock, read the cursor, and
 * either lease retry rows that are due, or, where no lease is valid, look through the log from the cursor on. What it finds
 * there is leased by writing the cursor once. A partition that gives nothing is let go again, unwritten unless the look
 * covered much ground, so that an idle claim writes nothing.
 *
 * An event whose lease expired is delivered once more in a batch; after that it may be what kills its consumers, and travels
 * alone; and if that lease expires too it becomes a retry row, so that its partition goes on without it.
 */
#include "delivery/claim.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "delivery/admission.h"
#include "delivery/batch.h"
#include "delivery/form.h"
#include "delivery/lease.h"
#include "log/sequencer.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"
#include "record/envelope.h"
#include "record/eventtype.h"

PG_FUNCTION_INFO_V1(atp_claim_events);
PG_FUNCTION_INFO_V1(atp_claim_deferred_events);

#define MAX_COUNT 100000
#define SCAN_MAX 1000000		/* log rows that one claim looks at in a partition */
#define SCAN_UNWRITTEN 512		/* rows looked at in vain that are not worth a write */
#define BURIED_MAX 1000			/* dead letters that one claim makes in a partition */
#define RETRIES_MAX 2000		/* retry rows of a partition: with more of them it waits instead of parking events */
#define ALONE_AFTER 2			/* attempts after which an event whose lease expired travels alone */
#define CONSUMER_MAX 255		/* bytes of a consumer's name that are kept */
#define STICKY_MS 100			/* for how long a backend prefers the partition it claimed last */

enum							/* columns of the result */
{
	OUT_LEASE, OUT_ATTEMPT, OUT_REDELIVERED, OUT_LOG_POSITION, OUT_EVENT_ID, OUT_STREAM, OUT_STREAM_VERSION, OUT_EVENT_TYPE,
	OUT_PAYLOAD, OUT_METADATA, OUT_OCCURRED_AT, OUT_SCHEMA_VERSION, OUT_REDELIVERY_OF, OUT_COLUMNS
};

StaticAssertDecl(OUT_COLUMNS == ATP_CLAIM_COLUMNS, "columns of claim_events");

typedef struct Claimed			/* an event that was leased; it is fetched when the result is given */
{
	AtpLogRow	row;
	int32		attempt;
	int64		redelivery_of;
	AtpForm		form;
} Claimed;

typedef struct NameHeader		/* room for a text on the stack */
{
	char		vl_len_[VARHDRSZ];
	char		data[ATP_EVENT_TYPE_NAME_MAX];
} NameHeader;

typedef struct AtpClaim
{
	AtpDelivery delivery;
	char	   *consumer;
	pg_uuid_t	lease;
	TimestampTz lease_until;
	int			max_count;
	int			count;
	int			room;
	int			partitions;		/* leased */
	Claimed    *claimed;
	int			admitted;		/* for how many events permit and tokens were taken; -1: not yet */
	Jsonb	   *accept;			/* versions that the consumer accepts; NULL: events as they are stored */
	ArrayType  *positions;		/* NULL, or claim these deferred events */

	/* of what is given back */
	AtpFeed    *feed;			/* NULL: nothing was claimed */
	AtpBatch   *batch;
	Snapshot	snapshot;
	int			next;			/* the first event that was not given yet */
} Claim;

/* ---- Rows of the result ---- */

static void
take(Claim *claim, const AtpLogRow *row, int attempt, int64 redelivery_of, const AtpForm *form)
{
	Claimed    *claimed;

	if (claim->count == claim->room)
	{
		claim->room = claim->room == 0 ? 64 : 2 * claim->room;
		claim->claimed = claim->claimed == NULL ? palloc_array(Claimed, claim->room) :
			repalloc_array(claim->claimed, Claimed, claim->room);
	}
	claimed = &claim->claimed[claim->count++];
	claimed->row = *row;
	claimed->attempt = attempt;
	claimed->redelivery_of = redelivery_of;
	claimed->form = *form;
}

static int
compare_claimed(const void *a, const void *b)
{
	int64		left = ((const Claimed *) a)->row.log_position;
	int64		right = ((const Claimed *) b)->row.log_position;

	return left < right ? -1 : left > right;
}

/* The name of an event type as text, from a table of its own: the same few are asked for again and again. */
static Datum
type_name(int32 key)
{
	static struct
	{
		int32		key;
		uint64		generation;
		NameHeader	text;
	}			recent[64];
	int			place = (uint32) key % lengthof(recent);
	AtpEventType type;

	if (recent[place].key != key || recent[place].generation != atp_relation_generation())
	{
		if (!atp_eventtype_get(key, &type))
			elog(ERROR, "event type %d is not registered", key);
		recent[place].key = key;
		recent[place].generation = atp_relation_generation();
		SET_VARSIZE(&recent[place].text, VARHDRSZ + strlen(type.name));
		memcpy(recent[place].text.data, type.name, strlen(type.name));
	}
	return PointerGetDatum(&recent[place].text);
}

/* One row; of the columns that were not asked for, those that cost something are left out. */
static void
fill(Claim *claim, const Claimed *claimed, const AtpFeedEvent *event, uint32 columns, Datum *values, bool *nulls)
{
	memset(nulls, 0, OUT_COLUMNS * sizeof(bool));
	values[OUT_LEASE] = UUIDPGetDatum(&claim->lease);
	values[OUT_ATTEMPT] = Int32GetDatum(claimed->attempt);
	values[OUT_REDELIVERED] = BoolGetDatum(claimed->attempt > 1 || claimed->redelivery_of != 0);
	values[OUT_LOG_POSITION] = Int64GetDatum(claimed->row.log_position);
	values[OUT_EVENT_ID] = UUIDPGetDatum(&claimed->row.event_id);
	if ((columns & (1 << OUT_STREAM)) != 0)
		values[OUT_STREAM] = PointerGetDatum(atp_feed_stream_text(claim->feed, claimed->row.stream));
	values[OUT_STREAM_VERSION] = Int64GetDatum(event->stream_version);
	if ((columns & (1 << OUT_EVENT_TYPE)) != 0)
		values[OUT_EVENT_TYPE] = type_name(claimed->row.event_type);
	values[OUT_PAYLOAD] = event->payload;
	nulls[OUT_PAYLOAD] = event->payload_null;
	if (claimed->form.cast && !event->payload_null)
		values[OUT_PAYLOAD] = claimed->form.payload;
	values[OUT_METADATA] = event->metadata;
	nulls[OUT_METADATA] = event->metadata_null;
	values[OUT_OCCURRED_AT] = TimestampTzGetDatum(event->occurred_at);
	values[OUT_SCHEMA_VERSION] = Int32GetDatum(claimed->form.cast ? claimed->form.schema_version : event->schema_version);
	values[OUT_REDELIVERY_OF] = Int64GetDatum(claimed->redelivery_of);
	nulls[OUT_REDELIVERY_OF] = claimed->redelivery_of == 0;
}

/* Events are handed over in log order. One that is not stored any more stays in the lease, and nobody can have it. */
bool
atp_claim_next(AtpClaim *claim, uint32 columns, Datum *values, bool *nulls)
{
	AtpFeedEvent event;

	while (claim->next < claim->count)
	{
		int			i = claim->next++;

		CHECK_FOR_INTERRUPTS();
		if (!atp_batch_fetch(claim->batch, i, &event))
			continue;
		fill(claim, &claim->claimed[i], &event, columns, values, nulls);
		return true;
	}
	return false;
}

void
atp_claim_rewind(AtpClaim *claim)
{
	claim->next = 0;
}

void
atp_claim_end(AtpClaim *claim)
{
	if (claim->feed == NULL)
		return;
	atp_batch_end(claim->batch);
	atp_feed_end(claim->feed);
	UnregisterSnapshot(claim->snapshot);
	claim->feed = NULL;
}

/* Ends the call but for what it takes to hand the events over. */
static void
finish(Claim *claim)
{
	AtpDelivery *delivery = &claim->delivery;

	if (claim->count > 0)
	{
		if (claim->partitions > 1)
			qsort(claim->claimed, claim->count, sizeof(Claimed), compare_claimed);
		claim->feed = atp_delivery_feed(delivery);
		delivery->feed = NULL;
		claim->snapshot = RegisterSnapshot(GetActiveSnapshot());
		PopActiveSnapshot();
		claim->batch = atp_batch_begin(claim->feed, &claim->claimed[0].row, sizeof(Claimed), claim->count, claim->snapshot);
	}
	atp_delivery_end(delivery);
}

/* Asks breaker and rate limits once the first event is at hand. False: they give none, or no more. */
static bool
admit(Claim *claim)
{
	if (claim->admitted < 0)
	{
		claim->admitted = atp_admission_take(claim->delivery.subscription, claim->max_count);
		claim->max_count = claim->admitted;
	}
	return claim->count < claim->max_count;
}

/* ---- New events of a partition ---- */

typedef struct Look
{
	Claim	   *claim;
	AtpCursor  *cursor;
	AtpRetries *retries;		/* loaded when needed */
	bool		retries_changed;
	int64		scanned;		/* everything up to here is looked at */
	int64		first;			/* the first event taken, 0: none */
	int64		last;
	int			taken;
	int			buried;
	bool		ended;
} Look;

static AtpRetries *
load_retries(Look *scan)
{
	if (scan->retries == NULL)
		scan->retries = atp_retry_load(scan->claim->delivery.subscription, scan->cursor);
	return scan->retries;
}

/* An event is done with without being delivered. */
static void
settle(Look *scan, int64 log_position)
{
	if (scan->taken > 0)
		atp_cursor_settle(scan->cursor, log_position);
	scan->cursor->dirty = true;
}

static void
bury(Look *scan, const AtpLogRow *row, const char *reason, const char *error, int attempts)
{
	AtpDeadLetter letter = {.log_position = row->log_position, .event_id = row->event_id, .reason = reason, .last_error = error,
	.attempts = attempts, .failed_at = DT_NOEND};

	atp_retry_bury(scan->claim->delivery.subscription, &letter);
	settle(scan, row->log_position);
	if (++scan->buried >= BURIED_MAX)
		scan->ended = true;
}

static AtpRetry *
park(Look *scan, const AtpLogRow *row, int64 key, int attempts, TimestampTz due_at)
{
	AtpRetry   *retry = atp_retry_add(load_retries(scan), row->log_position, &row->event_id, key);

	retry->attempts = attempts;
	retry->due_at = due_at;
	scan->retries_changed = true;
	settle(scan, row->log_position);
	return retry;
}

/* Brings an event into an accepted version. False: it cannot be; then it was tried in vain, like one that its consumer nacks. */
static bool
shape(Look *scan, const AtpLogRow *row, AtpWanted *wanted, int attempts, AtpForm *form)
{
	Claim	   *claim = scan->claim;
	AtpSubscription *subscription = claim->delivery.subscription;
	TimestampTz now = claim->delivery.now;
	char	   *error = NULL;
	AtpRetry   *retry;

	form->cast = false;
	if (claim->accept == NULL || !atp_delivery_fetch(&claim->delivery, row, wanted) ||
		atp_form_make(claim->accept, row, &wanted->event, form, &error))
		return true;
	if (++attempts >= subscription->max_attempts)
	{
		bury(scan, row, ATP_REASON_ATTEMPTS, error, attempts);
		return false;
	}
	retry = park(scan, row, wanted->key, attempts, now + atp_subscription_delay(&subscription->backoff, attempts));
	retry->failed_at = now;
	retry->last_error = error;
	return false;
}

/* Decides about an event of the partition. False: the scan ends before it. */
static bool
consider(Look *scan, const AtpLogRow *row, AtpWanted *wanted)
{
	Claim	   *claim = scan->claim;
	AtpSubscription *subscription = claim->delivery.subscription;
	TimestampTz now = claim->delivery.now;
	int			attempts = atp_cursor_attempts(scan->cursor, row->log_position);
	AtpForm		form = {0};
	bool		alone = attempts > 0 && (attempts >= ALONE_AFTER || attempts + 1 >= subscription->max_attempts);

	if (subscription->time_to_live > 0 && atp_delivery_fetch(&claim->delivery, row, wanted) &&
		wanted->event.recorded_at <= now - subscription->time_to_live)
		bury(scan, row, ATP_REASON_TIME, NULL, attempts);
	else if (attempts >= subscription->max_attempts)
		bury(scan, row, ATP_REASON_ATTEMPTS, "lease expired", attempts);
	else if (scan->cursor->retries > 0 && atp_retry_blocks(load_retries(scan), wanted->key))
	{
		if (scan->retries->count >= RETRIES_MAX)
			return false;
		(void) park(scan, row, wanted->key, attempts, now);
	}
	else if (scan->retries_changed && atp_retry_blocks(scan->retries, wanted->key))
		(void) park(scan, row, wanted->key, attempts, now);
	else if (attempts > ALONE_AFTER)
	{
		AtpRetry   *retry = park(scan, row, wanted->key, attempts, now + atp_subscription_delay(&subscription->backoff, attempts));

		retry->alone = true;
		retry->failed_at = now;
		retry->last_error = pstrdup("lease expired");
	}
	else if (alone && claim->count > 0)
		return false;
	else if (shape(scan, row, wanted, attempts, &form))
	{
		if (!admit(claim))
			return false;
		take(claim, row, attempts + 1, 0, &form);
		if (scan->taken++ == 0)
			scan->first = row->log_position;
		scan->last = row->log_position;
		if (alone)
			claim->max_count = claim->count;	/* nothing else in this lease */
		scan->ended = claim->count >= claim->max_count;
	}
	return true;
}

static void
look(Look *scan)
{
	Claim	   *claim = scan->claim;
	AtpFeed    *feed = atp_delivery_feed(&claim->delivery);
	int64		until = claim->delivery.subscription->drain_to;
	int64		rows = 0;
	AtpLogRow	row;
	AtpWanted	wanted;

	atp_feed_seek(feed, scan->cursor->acked);
	while (!scan->ended && rows++ < SCAN_MAX && atp_feed_next(feed, &row) && row.log_position <= until)
	{
		int64		skip = atp_delivery_skip(&claim->delivery, &row, scan->cursor->partition);

		if (skip > 0)
			atp_feed_seek(feed, skip);
		else if (!atp_cursor_is_settled(scan->cursor, row.log_position) &&
				 (!atp_cursor_is_decided(scan->cursor, row.log_position) || atp_cursor_is_held(scan->cursor, row.log_position)))
		{
			switch (atp_delivery_wants(&claim->delivery, &row, scan->cursor->partition, NULL, &wanted))
			{
				case ATP_FILTER_NO:
					if (atp_cursor_is_held(scan->cursor, row.log_position))
						settle(scan, row.log_position);	/* the rules of today pass over it */
					break;
				case ATP_FILTER_RAISED:
					bury(scan, &row, ATP_REASON_FILTER, wanted.error, atp_cursor_attempts(scan->cursor, row.log_position));
					break;
				case ATP_FILTER_YES:
					if (!consider(scan, &row, &wanted))
						return;
					break;
			}
		}
		scan->scanned = row.log_position;
	}
}

/* Leases new events of a partition; the cursor has no valid lease. */
static void
claim_log(Claim *claim, AtpCursor *cursor)
{
	Look		scan = {.claim = claim, .cursor = cursor, .scanned = cursor->acked};

	if (cursor->leased)
	{
		atp_admission_report_expired(claim->delivery.subscription);
		atp_cursor_expire(cursor);
	}
	look(&scan);
	if (scan.retries_changed)
		atp_retry_save(scan.retries);
	if (scan.taken == 0)
	{
		if (cursor->dirty || scan.scanned - cursor->acked >= SCAN_UNWRITTEN || scan.scanned == claim->delivery.subscription->drain_to)
			atp_cursor_advance(cursor, scan.scanned);
		return;
	}
	atp_cursor_advance(cursor, scan.first - 1);
	atp_lease_add(&claim->lease, cursor->partition);
	claim->partitions++;
	cursor->leased = true;
	cursor->leased_at = claim->delivery.now;
	cursor->lease_until = claim->lease_until;
	cursor->lease_last = scan.last;
	cursor->scanned = scan.scanned;
	cursor->lease_count = scan.taken;
	cursor->consumer = claim->consumer;
	cursor->dirty = true;
}

/* ---- Retry rows of a partition ---- */

static bool
is_asked_for(const Claim *claim, const AtpRetry *row)
{
	const int64 *positions = (const int64 *) ARR_DATA_PTR(claim->positions);
	int			count = ArrayGetNItems(ARR_NDIM(claim->positions), ARR_DIMS(claim->positions));

	for (int i = 0; i < count; i++)
		if (positions[i] == row->log_position)
			return row->deferred && !row->leased && row->fate != ATP_RETRY_GONE;
	return false;
}

/* Leases one retry row, or buries it. */
static bool
claim_retry(Claim *claim, AtpRetries *retries, AtpRetry *row)
{
	AtpSubscription *subscription = claim->delivery.subscription;
	AtpFeed    *feed = atp_delivery_feed(&claim->delivery);
	AtpLogRow	log_row;
	AtpWanted	wanted = {0};
	AtpForm		form = {0};
	char	   *error = NULL;

	if (!atp_feed_find(feed, &row->event_id, subscription->tenant, &log_row) || !atp_delivery_fetch(&claim->delivery, &log_row, &wanted))
	{
		row->fate = ATP_RETRY_GONE;	/* removed from the store: nobody can have it */
		return false;
	}
	if (subscription->time_to_live > 0 && row->redelivery_of == 0 &&
		wanted.event.recorded_at <= claim->delivery.now - subscription->time_to_live)
	{
		atp_retry_bury_row(retries, row, ATP_REASON_TIME);
		return false;
	}
	if (row->attempts >= subscription->max_attempts)
	{
		atp_retry_bury_row(retries, row, ATP_REASON_ATTEMPTS);
		return false;
	}
	if (claim->accept != NULL && !atp_form_make(claim->accept, &log_row, &wanted.event, &form, &error))
	{
		row->fate = ATP_RETRY_CHANGED;
		row->attempts++;
		row->last_error = error;
		row->failed_at = TIMESTAMP_IS_NOEND(row->failed_at) ? claim->delivery.now : row->failed_at;
		row->due_at = claim->delivery.now + atp_subscription_delay(&subscription->backoff, row->attempts);
		if (row->attempts >= subscription->max_attempts)
			atp_retry_bury_row(retries, row, ATP_REASON_ATTEMPTS);
		return false;
	}
	if (!admit(claim))
		return false;
	row->fate = ATP_RETRY_CHANGED;
	row->attempts++;
	row->leased = true;
	row->lease = claim->lease;
	row->lease_until = claim->lease_until;
	row->consumer = claim->consumer;
	take(claim, &log_row, row->attempts, row->redelivery_of, &form);
	return true;
}

/*
 * Leases the retry rows of a partition that are due, or were asked for, under a lease of their own. They may be of events that were placed
 * after the claim looked at a partition before: the feed of then would take them for removed.
 */
static void
claim_retries(Claim *claim, AtpCursor *cursor)
{
	AtpRetries *retries = atp_retry_load(claim->delivery.subscription, cursor);
	bool	   *taken = palloc0_array(bool, retries->count + 1);

	atp_delivery_end_feed(&claim->delivery);
	atp_lease_make(&claim->lease, true);
	atp_lease_add(&claim->lease, cursor->partition);
	atp_retry_expire(retries, claim->delivery.now);
	for (int i = 0; i < retries->count && claim->count < claim->max_count; i++)
	{
		AtpRetry   *row = &retries->rows[i];

		if (claim->positions != NULL ? !is_asked_for(claim, row) : !atp_retry_is_ready(retries, i, taken, claim->delivery.now))
			continue;
		if (row->alone && claim->count > 0)
			continue;
		taken[i] = claim_retry(claim, retries, row);
		if (taken[i] && row->alone)
			break;
	}
	atp_retry_save(retries);
	if (claim->count > 0)
		claim->partitions++;
	else
		atp_lease_make(&claim->lease, false);
}

/* ---- The claim ---- */

/* Says whether any row of the partition gave an event; lets the partition go where nothing was changed. */
static void
try_partition(Claim *claim, int partition)
{
	AtpDelivery *delivery = &claim->delivery;
	bool		had = delivery->cursors[partition] != NULL;
	AtpCursor  *cursor = atp_delivery_cursor(delivery, partition, false);

	if (cursor == NULL)
		return;
	if (claim->positions != NULL)
	{
		if (cursor->retries > 0)
			claim_retries(claim, cursor);
	}
	else
	{
		if (claim->count == 0 && cursor->retries > 0 && cursor->retry_due_at <= delivery->now)
			claim_retries(claim, cursor);
		if (claim->count == 0 || !atp_lease_is_of_retries(&claim->lease))
			if (!cursor->leased || cursor->lease_until <= delivery->now)
				claim_log(claim, cursor);
	}
	if (!cursor->dirty && !had)
	{
		delivery->cursors[partition] = NULL;
		atp_cursor_unlock(cursor->subscription, partition);
	}
}

/* The partition to begin with: where this backend claimed last, for a while, then the next one, so that none starves. */
static int
first_partition(const Claim *claim)
{
	const AtpSubscription *subscription = claim->delivery.subscription;

	if (subscription->sticky_partition < 0)
		return (int) (pg_prng_uint64(&pg_global_prng_state) % subscription->partitions);
	if (claim->delivery.now - subscription->sticky_since < STICKY_MS * 1000)
		return subscription->sticky_partition % subscription->partitions;
	return (subscription->sticky_partition + 1) % subscription->partitions;
}

static void
remember_partition(const Claim *claim, int partition)
{
	AtpSubscription *subscription = claim->delivery.subscription;

	if (subscription->sticky_partition == partition && claim->delivery.now - subscription->sticky_since < STICKY_MS * 1000)
		return;
	subscription->sticky_partition = partition;
	subscription->sticky_since = claim->delivery.now;
}

/* Whether anything may be claimed now, and how much. */
static bool
is_allowed(Claim *claim)
{
	AtpDelivery *delivery = &claim->delivery;

	if (!delivery->subscription->active || !delivery->tenant.active)
		return false;
	for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
		if (delivery->cursors[i] != NULL && atp_admission_is_counted(delivery->subscription))
			atp_cursor_write(delivery->cursors[i]);	/* what was acked just now counts no more */
	claim->max_count = atp_admission_room(delivery->subscription, claim->max_count);
	claim->admitted = -1;
	return claim->max_count > 0;
}

static void
run(Claim *claim)
{
	AtpDelivery *delivery = &claim->delivery;
	int			first;

	if (!is_allowed(claim))
		return;
	claim->lease_until = delivery->now + delivery->subscription->lock_duration;
	atp_lease_make(&claim->lease, false);
	first = first_partition(claim);
	for (int i = 0; i < delivery->subscription->partitions; i++)
	{
		int			partition = (first + i) % delivery->subscription->partitions;
		int			before = claim->count;

		CHECK_FOR_INTERRUPTS();
		try_partition(claim, partition);
		if (claim->count > before && before == 0)
			remember_partition(claim, partition);
		if (claim->count >= claim->max_count || (claim->count > 0 && atp_lease_is_of_retries(&claim->lease)))
			break;
	}
	if (atp_lease_is_of_retries(&claim->lease))
		return;
	for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
		if (atp_lease_covers(&claim->lease, i))
			delivery->cursors[i]->lease = claim->lease;	/* the token names all partitions now */
}

/*
 * Changes the number of partitions, or the order key, if that is due: all cursors stand at drain_to. Takes all locks or leaves it;
 * returns whether the claim should begin anew. Not in REPEATABLE READ, where the rows it has to change may be too new.
 */
static bool
finish_partitioning(Claim *claim)
{
	static AtpQuery query = {"SELECT atp_internal.finish_partitioning($1)", 1, {INT4OID}};
	AtpDelivery *delivery = &claim->delivery;
	AtpSubscription *subscription = delivery->subscription;
	Datum		argument = Int32GetDatum(subscription->subscription);
	bool		done;
	bool		null;

	if (subscription->next_partitions == 0 || claim->count > 0 || IsolationUsesXactSnapshot())
		return false;
	for (int i = 0; i < subscription->partitions; i++)
	{
		AtpCursor  *cursor = atp_delivery_cursor(delivery, i, false);

		if (cursor == NULL || cursor->leased || cursor->acked < subscription->drain_to)
			return false;
	}
	for (int i = 0; i < ATP_PARTITIONS_MAX; i++)
	{
		if (delivery->cursors[i] != NULL)
			atp_cursor_write(delivery->cursors[i]);
		delivery->cursors[i] = NULL;
	}
	SPI_connect();
	atp_query_latest(&query, &argument, NULL);
	done = DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	SPI_finish();
	delivery->subscription = atp_subscription_open(delivery->tenant.tenant, delivery->name);
	return done;
}

static Claim *
begin(FunctionCallInfo fcinfo, int consumer, int tenant)
{
	Claim	   *claim = palloc0(sizeof(Claim));

	if (PG_ARGISNULL(0))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("subscription must not be null"));
	claim->accept = PG_ARGISNULL(tenant + 1) ? NULL : PG_GETARG_JSONB_P(tenant + 1);
	if (!PG_ARGISNULL(consumer))
	{
		claim->consumer = text_to_cstring(PG_GETARG_TEXT_PP(consumer));
		claim->consumer[pg_mbcliplen(claim->consumer, (int) strlen(claim->consumer), CONSUMER_MAX)] = '\0';
	}
	atp_delivery_begin(&claim->delivery, PG_ARGISNULL(tenant) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(tenant)),
					   text_to_cstring(PG_GETARG_TEXT_PP(0)));
	return claim;
}

AtpClaim *
atp_claim_make(FunctionCallInfo fcinfo)
{
	Claim	   *claim = begin(fcinfo, 2, 5);

	claim->max_count = PG_ARGISNULL(1) ? 100 : PG_GETARG_INT32(1);
	if (claim->max_count < 1 || claim->max_count > MAX_COUNT)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("max_count is not between 1 and %d", MAX_COUNT));
	if (!PG_ARGISNULL(3))
		(void) atp_lease_ack(&claim->delivery, PG_GETARG_UUID_P(3), PG_ARGISNULL(4) ? PG_INT64_MAX : PG_GETARG_INT64(4));
	run(claim);
	if (finish_partitioning(claim))
		run(claim);
	atp_admission_return(claim->delivery.subscription, claim->admitted - claim->count);
	finish(claim);
	if (claim->count == 0)
		(void) atp_sequencer_attend();	/* so that the next claim finds what is not placed yet */
	return claim;
}

static void
give(Claim *claim, ReturnSetInfo *result)
{
	Datum		values[OUT_COLUMNS];
	bool		nulls[OUT_COLUMNS];

	while (atp_claim_next(claim, ATP_CLAIM_ALL_COLUMNS, values, nulls))
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	atp_claim_end(claim);
}

/* claim_events(subscription, max_count, consumer, ack_lease, ack_through, tenant, accept_versions) */
Datum
atp_claim_events(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	give(atp_claim_make(fcinfo), (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* claim_deferred_events(subscription, log_positions, consumer, tenant, accept_versions) */
Datum
atp_claim_deferred_events(PG_FUNCTION_ARGS)
{
	Claim	   *claim;

	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	claim = begin(fcinfo, 2, 3);
	claim->max_count = MAX_COUNT;
	if (!PG_ARGISNULL(1))
	{
		claim->positions = PG_GETARG_ARRAYTYPE_P(1);
		if (ARR_HASNULL(claim->positions))
			ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a log position must not be null"));
		run(claim);
		atp_admission_return(claim->delivery.subscription, claim->admitted - claim->count);
	}
	finish(claim);
	give(claim, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

/* Failures; see retry.h. */
#include "delivery/retry.h"

#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/query.h"

#define TEXT_MAX 4096			/* bytes of an error that are kept */

enum							/* columns of the statement that loads, and arguments of those that save */
{
	ROW_LOG_POSITION, ROW_EVENT_ID, ROW_KEY, ROW_ATTEMPTS, ROW_DUE_AT, ROW_DEFERRED, ROW_ALONE, ROW_LEASE, ROW_LEASE_UNTIL,
	ROW_CONSUMER, ROW_LAST_ERROR, ROW_FAILED_AT, ROW_REDELIVERY_OF, ROW_COLUMNS,
	ROW_SUBSCRIPTION = ROW_COLUMNS, ROW_PARTITION, ROW_TENANT, ROW_ARGUMENTS
};

#define ROW_TYPES {INT8OID, UUIDOID, INT8OID, INT4OID, TIMESTAMPTZOID, BOOLOID, BOOLOID, UUIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, \
	TIMESTAMPTZOID, INT8OID, INT4OID, INT4OID, INT4OID}

static char *
text_or_null(HeapTuple tuple, int column)
{
	return SPI_getvalue(tuple, SPI_tuptable->tupdesc, column + 1);
}

static Datum
value_of(HeapTuple tuple, int column, bool *null)
{
	return SPI_getbinval(tuple, SPI_tuptable->tupdesc, column + 1, null);
}

static void
read_row(AtpRetry *row, HeapTuple tuple)
{
	bool		null;
	Datum		value;

	row->fate = ATP_RETRY_SAVED;
	row->log_position = DatumGetInt64(value_of(tuple, ROW_LOG_POSITION, &null));
	row->event_id = *DatumGetUUIDP(value_of(tuple, ROW_EVENT_ID, &null));
	row->key = DatumGetInt64(value_of(tuple, ROW_KEY, &null));
	row->attempts = DatumGetInt32(value_of(tuple, ROW_ATTEMPTS, &null));
	row->due_at = DatumGetTimestampTz(value_of(tuple, ROW_DUE_AT, &null));
	row->deferred = DatumGetBool(value_of(tuple, ROW_DEFERRED, &null));
	row->alone = DatumGetBool(value_of(tuple, ROW_ALONE, &null));
	value = value_of(tuple, ROW_LEASE, &null);
	row->leased = !null;
	if (row->leased)
		row->lease = *DatumGetUUIDP(value);
	value = value_of(tuple, ROW_LEASE_UNTIL, &null);
	row->lease_until = null ? DT_NOBEGIN : DatumGetTimestampTz(value);
	row->consumer = text_or_null(tuple, ROW_CONSUMER);
	row->last_error = text_or_null(tuple, ROW_LAST_ERROR);
	value = value_of(tuple, ROW_FAILED_AT, &null);
	row->failed_at = null ? DT_NOEND : DatumGetTimestampTz(value);
	value = value_of(tuple, ROW_REDELIVERY_OF, &null);
	row->redelivery_of = null ? 0 : DatumGetInt64(value);
}

AtpRetries *
atp_retry_load(AtpSubscription *subscription, AtpCursor *cursor)
{
	static AtpQuery query = {
		"SELECT log_position, event_id, key, attempts, due_at, deferred, alone, lease, lease_until, consumer, last_error, failed_at,"
		" redelivery_of FROM atp_internal.retry WHERE subscription = $1 AND partition = $2 AND tenant = $3 ORDER BY log_position",
		3, {INT4OID, INT4OID, INT4OID}
	};
	MemoryContext memory = CurrentMemoryContext;
	AtpRetries *retries = palloc0(sizeof(AtpRetries));
	Datum		arguments[3];

	retries->subscription = subscription;
	retries->cursor = cursor;
	arguments[0] = Int32GetDatum(cursor->subscription);
	arguments[1] = Int32GetDatum(cursor->partition);
	arguments[2] = Int32GetDatum(cursor->tenant);
	SPI_connect();
	atp_query_latest(&query, arguments, NULL);
	MemoryContextSwitchTo(memory);
	retries->count = (int) SPI_processed;
	retries->room = retries->count + 16;
	retries->rows = palloc0_array(AtpRetry, retries->room);
	for (int i = 0; i < retries->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		read_row(&retries->rows[i], SPI_tuptable->vals[i]);
	}
	SPI_finish();
	return retries;
}

static Datum
text_argument(const char *text, char *null)
{
	int			size;

	*null = text == NULL ? 'n' : ' ';
	if (text == NULL)
		return (Datum) 0;
	size = pg_mbcliplen(text, strlen(text), TEXT_MAX);
	return PointerGetDatum(cstring_to_text_with_len(text, size));
}

static void
save_row(const AtpRetries *retries, AtpRetry *row)
{
	static AtpQuery insert = {
		"INSERT INTO atp_internal.retry (log_position, event_id, key, attempts, due_at, deferred, alone, lease, lease_until, consumer,"
		" last_error, failed_at, redelivery_of, subscription, partition, tenant)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)", ROW_ARGUMENTS, ROW_TYPES
	};
	static AtpQuery update = {
		"UPDATE atp_internal.retry SET event_id = $2, key = $3, attempts = $4, due_at = $5, deferred = $6, alone = $7, lease = $8,"
		" lease_until = $9, consumer = $10, last_error = $11, failed_at = $12, redelivery_of = $13"
		" WHERE subscription = $14 AND partition = $15 AND log_position = $1 AND tenant = $16", ROW_ARGUMENTS, ROW_TYPES
	};
	static AtpQuery delete = {
		"DELETE FROM atp_internal.retry WHERE log_position = $1 AND subscription = $2 AND partition = $3 AND tenant = $4",
		4, {INT8OID, INT4OID, INT4OID, INT4OID}
	};
	Datum		arguments[ROW_ARGUMENTS];
	char		nulls[ROW_ARGUMENTS];

	memset(nulls, ' ', sizeof(nulls));
	arguments[0] = Int64GetDatum(row->log_position);
	if (row->fate == ATP_RETRY_GONE)
	{
		arguments[1] = Int32GetDatum(retries->cursor->subscription);
		arguments[2] = Int32GetDatum(retries->cursor->partition);
		arguments[3] = Int32GetDatum(retries->cursor->tenant);
		atp_query_latest(&delete, arguments, NULL);
		return;
	}
	arguments[ROW_EVENT_ID] = UUIDPGetDatum(&row->event_id);
	arguments[ROW_KEY] = Int64GetDatum(row->key);
	arguments[ROW_ATTEMPTS] = Int32GetDatum(row->attempts);
	arguments[ROW_DUE_AT] = TimestampTzGetDatum(row->due_at);
	arguments[ROW_DEFERRED] = BoolGetDatum(row->deferred);
	arguments[ROW_ALONE] = BoolGetDatum(row->alone);
	arguments[ROW_LEASE] = UUIDPGetDatum(&row->lease);
	nulls[ROW_LEASE] = row->leased ? ' ' : 'n';
	arguments[ROW_LEASE_UNTIL] = TimestampTzGetDatum(row->lease_until);
	nulls[ROW_LEASE_UNTIL] = row->leased ? ' ' : 'n';
	arguments[ROW_CONSUMER] = text_argument(row->consumer, &nulls[ROW_CONSUMER]);
	arguments[ROW_LAST_ERROR] = text_argument(row->last_error, &nulls[ROW_LAST_ERROR]);
	arguments[ROW_FAILED_AT] = TimestampTzGetDatum(row->failed_at);
	nulls[ROW_FAILED_AT] = TIMESTAMP_IS_NOEND(row->failed_at) ? 'n' : ' ';
	arguments[ROW_REDELIVERY_OF] = Int64GetDatum(row->redelivery_of);
	nulls[ROW_REDELIVERY_OF] = row->redelivery_of == 0 ? 'n' : ' ';
	arguments[ROW_SUBSCRIPTION] = Int32GetDatum(retries->cursor->subscription);
	arguments[ROW_PARTITION] = Int32GetDatum(retries->cursor->partition);
	arguments[ROW_TENANT] = Int32GetDatum(retries->cursor->tenant);
	atp_query_latest(row->fate == ATP_RETRY_NEW ? &insert : &update, arguments, nulls);
}

/* When the next row can be claimed. */
static TimestampTz
next_due(const AtpRetries *retries)
{
	TimestampTz due = DT_NOEND;

	for (int i = 0; i < retries->count; i++)
	{
		const AtpRetry *row = &retries->rows[i];
		bool		first = true;

		if (row->fate == ATP_RETRY_GONE)
			continue;
		for (int k = 0; first && retries->subscription->ordered && !row->deferred && k < i; k++)
			first = retries->rows[k].key != row->key || retries->rows[k].fate == ATP_RETRY_GONE || retries->rows[k].deferred;
		if (first)
			due = Min(due, row->leased ? row->lease_until : row->due_at);
	}
	return due;
}

void
atp_retry_save(AtpRetries *retries)
{
	AtpCursor  *cursor = retries->cursor;
	int			rest = 0;

	SPI_connect();
	for (int i = 0; i < retries->count; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (retries->rows[i].fate != ATP_RETRY_SAVED)
			save_row(retries, &retries->rows[i]);
	}
	SPI_finish();
	cursor->retry_due_at = next_due(retries);
	for (int i = 0; i < retries->count; i++)
	{
		if (retries->rows[i].fate == ATP_RETRY_GONE)
			continue;
		retries->rows[rest] = retries->rows[i];
		retries->rows[rest++].fate = ATP_RETRY_SAVED;
	}
	retries->count = cursor->retries = rest;
	cursor->retry_changes++;
	cursor->dirty = true;
}

AtpRetry *
atp_retry_add(AtpRetries *retries, int64 log_position, const pg_uuid_t *event_id, int64 key)
{
	int			at = retries->count;

	if (retries->count == retries->room)
		retries->rows = repalloc_array(retries->rows, AtpRetry, retries->room *= 2);
	while (at > 0 && retries->rows[at - 1].log_position > log_position)
	{
		retries->rows[at] = retries->rows[at - 1];
		at--;
	}
	retries->count++;
	memset(&retries->rows[at], 0, sizeof(AtpRetry));
	retries->rows[at].fate = ATP_RETRY_NEW;
	retries->rows[at].log_position = log_position;
	retries->rows[at].event_id = *event_id;
	retries->rows[at].key = key;
	retries->rows[at].failed_at = DT_NOEND;
	return &retries->rows[at];
}

bool
atp_retry_blocks(const AtpRetries *retries, int64 key)
{
	if (!retries->subscription->ordered)
		return false;
	for (int i = 0; i < retries->count; i++)
		if (retries->rows[i].key == key && retries->rows[i].fate != ATP_RETRY_GONE && !retries->rows[i].deferred)
			return true;
	return false;
}

bool
atp_retry_is_ready(const AtpRetries *retries, int index, const bool *taken, TimestampTz now)
{
	const AtpRetry *row = &retries->rows[index];

	if (row->fate == ATP_RETRY_GONE || row->leased || row->due_at > now)
		return false;
	for (int i = 0; retries->subscription->ordered && !row->deferred && i < index; i++)
	{
		const AtpRetry *before = &retries->rows[i];

		if (before->key == row->key && before->fate != ATP_RETRY_GONE && !before->deferred && !taken[i])
			return false;
	}
	return true;
}

void
atp_retry_expire(AtpRetries *retries, TimestampTz now)
{
	for (int i = 0; i < retries->count; i++)
	{
		AtpRetry   *row = &retries->rows[i];

		if (row->fate == ATP_RETRY_GONE || !row->leased || row->lease_until > now)
			continue;
		row->leased = false;
		row->alone = true;
		row->fate = ATP_RETRY_CHANGED;
		row->last_error = pstrdup("lease expired");
		if (TIMESTAMP_IS_NOEND(row->failed_at))
			row->failed_at = now;
		if (row->attempts >= retries->subscription->max_attempts)
			atp_retry_bury_row(retries, row, ATP_REASON_ATTEMPTS);
		else
			row->due_at = now + atp_subscription_delay(&retries->subscription->backoff, row->attempts);
	}
}

void
atp_retry_bury(const AtpSubscription *subscription, const AtpDeadLetter *letter)
{
	static AtpQuery query = {
		"INSERT INTO atp_internal.dead_letter (tenant, subscription, log_position, event_id, attempts, reason, last_error, consumer,"
		" failed_at, dead_at, redelivery_of)"
		" VALUES ($1, $2, $3, $4, $5, $6, $7, $8, coalesce($9, pg_catalog.clock_timestamp()), pg_catalog.clock_timestamp(), $10)",
		10, {INT4OID, INT4OID, INT8OID, UUIDOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, INT8OID}
	};
	Datum		arguments[10];
	char		nulls[10];

	memset(nulls, ' ', sizeof(nulls));
	arguments[0] = Int32GetDatum(subscription->tenant);
	arguments[1] = Int32GetDatum(subscription->subscription);
	arguments[2] = Int64GetDatum(letter->log_position);
	arguments[3] = UUIDPGetDatum(&letter->event_id);
	arguments[4] = Int32GetDatum(letter->attempts);
	arguments[5] = CStringGetTextDatum(letter->reason);
	arguments[6] = text_argument(letter->last_error, &nulls[6]);
	arguments[7] = text_argument(letter->consumer, &nulls[7]);
	arguments[8] = TimestampTzGetDatum(letter->failed_at);
	nulls[8] = TIMESTAMP_IS_NOEND(letter->failed_at) ? 'n' : ' ';
	arguments[9] = Int64GetDatum(letter->redelivery_of);
	nulls[9] = letter->redelivery_of == 0 ? 'n' : ' ';
	SPI_connect();
	atp_query_latest(&query, arguments, nulls);
	SPI_finish();
}

void
atp_retry_bury_row(AtpRetries *retries, AtpRetry *row, const char *reason)
{
	AtpDeadLetter letter = {.log_position = row->log_position, .event_id = row->event_id, .reason = reason,
		.last_error = row->last_error, .consumer = row->consumer, .attempts = row->attempts, .failed_at = row->failed_at,
	.redelivery_of = row->redelivery_of};

	atp_retry_bury(retries->subscription, &letter);
	row->fate = ATP_RETRY_GONE;
}

/* Dead letters delivered anew: they become retry rows of their partitions, whose locks are taken in ascending order. */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "delivery/lease.h"

PG_FUNCTION_INFO_V1(atp_deadletter_redeliver);

typedef struct Letter
{
	int64		dead_letter;
	TimestampTz due_at;
	AtpLogRow	row;
	int64		key;
	int			partition;		/* -1: it is left out */
} Letter;

static Datum *
elements_of(Datum array, Oid type, int size, bool by_value, char align, int *count)
{
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(DatumGetArrayTypeP(array), type, size, by_value, align, &elements, &nulls, count);
	return elements;
}

/* Adds the letters of one partition to its retry rows. */
static void
redeliver(AtpDelivery *delivery, int partition, Letter *letters, int count)
{
	AtpCursor  *cursor = atp_delivery_cursor(delivery, partition, true);
	AtpRetries *retries;

	if (cursor == NULL)
		elog(ERROR, "subscription \"%s\" has no partition %d", delivery->name, partition);
	retries = atp_retry_load(delivery->subscription, cursor);
	for (int i = 0; i < count; i++)
	{
		AtpRetry   *retry;
		bool		waiting = false;

		CHECK_FOR_INTERRUPTS();
		if (letters[i].partition != partition)
			continue;
		for (int k = 0; k < retries->count && !waiting; k++)
			waiting = retries->rows[k].log_position == letters[i].row.log_position;
		if (waiting)
		{
			letters[i].partition = -1;
			continue;
		}
		retry = atp_retry_add(retries, letters[i].row.log_position, &letters[i].row.event_id, letters[i].key);
		retry->due_at = letters[i].due_at;
		retry->redelivery_of = letters[i].dead_letter;
	}
	atp_retry_save(retries);
}

/* redeliver(subscription, tenant, dead_letters, event_ids, due_at) */
Datum
atp_deadletter_redeliver(PG_FUNCTION_ARGS)
{
	AtpDelivery delivery;
	Letter	   *letters;
	Datum	   *numbers;
	Datum	   *ids;
	Datum	   *dues;
	Datum	   *done;
	int			count;
	int			same;
	int			done_count = 0;

	AcceptInvalidationMessages();	/* the caller may have waited for a change of the subscription */
	atp_delivery_begin(&delivery, text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	numbers = elements_of(PG_GETARG_DATUM(2), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &count);
	ids = elements_of(PG_GETARG_DATUM(3), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &same);
	dues = elements_of(PG_GETARG_DATUM(4), TIMESTAMPTZOID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &same);
	letters = palloc0_array(Letter, count + 1);
	for (int i = 0; i < count; i++)
	{
		letters[i].dead_letter = DatumGetInt64(numbers[i]);
		letters[i].due_at = DatumGetTimestampTz(dues[i]);
		letters[i].partition = -1;
		if (atp_feed_find(atp_delivery_feed(&delivery), DatumGetUUIDP(ids[i]), delivery.subscription->tenant, &letters[i].row))
			(void) atp_delivery_place(&delivery, &letters[i].row, &letters[i].key, &letters[i].partition);
	}
	for (int p = 0; p < delivery.subscription->partitions; p++)
		for (int i = 0; i < count; i++)
			if (letters[i].partition == p)
			{
				redeliver(&delivery, p, letters, count);
				break;
			}
	atp_delivery_end(&delivery);
	done = palloc_array(Datum, count + 1);
	for (int i = 0; i < count; i++)
		if (letters[i].partition >= 0)
			done[done_count++] = numbers[i];
	PG_RETURN_POINTER(construct_array(done, done_count, INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

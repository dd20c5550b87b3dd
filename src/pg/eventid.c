/* Event ids and random bytes; see eventid.h. */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/ulid.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/eventid.h"

#define POOL_SIZE 1024
#define UNIX_EPOCH_MS ((POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * (SECS_PER_DAY * INT64CONST(1000)))

static uint8 pool[POOL_SIZE];
static int	pool_left = 0;		/* the last so many bytes are fresh */
static int	pool_pid = 0;		/* of the process that drew them */

static pg_uuid_t latest;		/* id of this backend */
static int	latest_pid = 0;

static void
draw(uint8 *out, int n)
{
	if (!pg_strong_random(out, n))
		ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values"));
}

void
atp_random_bytes(uint8 *out, int n)
{
	uint8	   *from;

	if (n > POOL_SIZE)
	{
		draw(out, n);
		return;
	}
	if (n > pool_left || pool_pid != MyProcPid)
	{
		pool_left = 0;
		draw(pool, POOL_SIZE);
		pool_left = POOL_SIZE;
		pool_pid = MyProcPid;
	}
	from = pool + POOL_SIZE - pool_left;
	memcpy(out, from, n);
	explicit_bzero(from, n);
	pool_left -= n;
}

/* Milliseconds since 1970-01-01Z, rounded down; infinities come out far beyond every ULID. */
static int64
unix_ms(TimestampTz at)
{
	int64		ms = at / 1000 - (at % 1000 < 0);

	return ms + UNIX_EPOCH_MS;
}

void
atp_eventid_create(pg_uuid_t *id)
{
	int64		clock = unix_ms(GetCurrentTimestamp());
	uint64		now = Max(clock, 0);
	uint8		random[ATP_ULID_RANDOM_SIZE];

	if (latest_pid == MyProcPid && now <= atp_ulid_time(latest.data))
	{
		if (atp_ulid_increment(latest.data))
		{
			*id = latest;
			return;
		}
		now = atp_ulid_time(latest.data) + 1;	/* once in 2^80: go on in the next millisecond */
	}
	atp_random_bytes(random, sizeof(random));
	atp_ulid_make(now, random, latest.data);
	latest_pid = MyProcPid;
	*id = latest;
}

int64
atp_eventid_time(const pg_uuid_t *id)
{
	return (int64) atp_ulid_time(id->data);
}

static bool
parse(text *ulid, uint8 id[ATP_ULID_SIZE])
{
	return atp_ulid_parse(VARDATA_ANY(ulid), VARSIZE_ANY_EXHDR(ulid), id);
}

static void
parse_or_raise(text *ulid, uint8 id[ATP_ULID_SIZE])
{
	if (!parse(ulid, id))
		ereport(ERROR, errcode(ATP_ERR_INVALID_ULID),
				errmsg("invalid ULID"),
				errdetail("A ULID has 26 characters of Crockford's base 32 without I, L, O and U, the first at most 7."));
}

static text *
format(const uint8 id[ATP_ULID_SIZE])
{
	char		ulid[ATP_ULID_TEXT_SIZE];

	atp_ulid_format(id, ulid);
	return cstring_to_text_with_len(ulid, sizeof(ulid));
}

PG_FUNCTION_INFO_V1(atp_eventid_create_event_id);
PG_FUNCTION_INFO_V1(atp_eventid_ulid);
PG_FUNCTION_INFO_V1(atp_eventid_ulid_next);
PG_FUNCTION_INFO_V1(atp_eventid_ulid_is_valid);
PG_FUNCTION_INFO_V1(atp_eventid_ulid_to_uuid);
PG_FUNCTION_INFO_V1(atp_eventid_ulid_from_uuid);
PG_FUNCTION_INFO_V1(atp_eventid_ulid_time);

Datum
atp_eventid_create_event_id(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(*id));

	atp_eventid_create(id);
	PG_RETURN_UUID_P(id);
}

Datum
atp_eventid_ulid(PG_FUNCTION_ARGS)
{
	pg_uuid_t	id;

	atp_eventid_create(&id);
	PG_RETURN_TEXT_P(format(id.data));
}

Datum
atp_eventid_ulid_next(PG_FUNCTION_ARGS)
{
	int64		now = unix_ms(PG_GETARG_TIMESTAMPTZ(1));
	uint8		id[ATP_ULID_SIZE];
	uint8		random[ATP_ULID_RANDOM_SIZE];

	parse_or_raise(PG_GETARG_TEXT_PP(0), id);
	if (now > (int64) ATP_ULID_MAX_TIME)
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				errmsg("time is out of range for a ULID"),
				errdetail("The last one is of 10889-08-02 05:31:50.655 UTC."));
	if (now > (int64) atp_ulid_time(id))
	{
		atp_random_bytes(random, sizeof(random));
		atp_ulid_make(now, random, id);
	}
	else if (!atp_ulid_increment(id))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(format(id));
}

Datum
atp_eventid_ulid_is_valid(PG_FUNCTION_ARGS)
{
	uint8		id[ATP_ULID_SIZE];

	PG_RETURN_BOOL(parse(PG_GETARG_TEXT_PP(0), id));
}

Datum
atp_eventid_ulid_to_uuid(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *id = palloc(sizeof(*id));

	parse_or_raise(PG_GETARG_TEXT_PP(0), id->data);
	PG_RETURN_UUID_P(id);
}

Datum
atp_eventid_ulid_from_uuid(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(format(PG_GETARG_UUID_P(0)->data));
}

Datum
atp_eventid_ulid_time(PG_FUNCTION_ARGS)
{
	uint8		id[ATP_ULID_SIZE];

	parse_or_raise(PG_GETARG_TEXT_PP(0), id);
	PG_RETURN_TIMESTAMPTZ(((int64) atp_ulid_time(id) - UNIX_EPOCH_MS) * 1000);
}

/* Subscriptions as claims see them; see subscription.h. */
#include "delivery/subscription.h"

#include <math.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation_d.h"
#include "commands/trigger.h"
#include "common/pg_prng.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/errors.h"
#include "pg/relation.h"

PG_FUNCTION_INFO_V1(atp_subscription_changed);
PG_FUNCTION_INFO_V1(atp_subscription_check);
PG_FUNCTION_INFO_V1(atp_subscription_compute_backoff);

#define DELAY_MAX (366.0 * 86400.0)	/* seconds */

enum							/* columns of atp_internal.subscription */
{
	COLUMN_SUBSCRIPTION, COLUMN_TENANT, COLUMN_NAME, COLUMN_STATE, COLUMN_EVENT_TYPES, COLUMN_CATEGORIES, COLUMN_STREAMS,
	COLUMN_FILTER, COLUMN_CORRELATION, COLUMN_ORDER_KEY, COLUMN_ORDERING, COLUMN_PARTITIONS, COLUMN_NEXT_PARTITIONS,
	COLUMN_NEXT_ORDER_KEY, COLUMN_DRAIN_TO, COLUMN_LOCK_DURATION, COLUMN_MAX_ATTEMPTS, COLUMN_BACKOFF, COLUMN_TIME_TO_LIVE,
	COLUMN_MAX_IN_FLIGHT,
	COLUMN_NOTIFY, COLUMN_BREAKER, COLUMN_RATE_LIMIT, COLUMN_CREATED_AT, COLUMN_CHANGED_AT, COLUMNS
};

typedef struct Key
{
	int32		tenant;
	char		name[ATP_SUBSCRIPTION_NAME_MAX + 1];
} Key;

typedef struct Entry
{
	Key			key;
	AtpSubscription *subscription;
} Entry;

static HTAB *cache;
static uint64 generation = 1;
static Oid	table_oid = InvalidOid;

static void
subscription_relation_changed(Oid relation)
{
	if (relation == InvalidOid || relation == table_oid)
		generation++;
}

bool
atp_subscription_is_current(const AtpSubscription *subscription)
{
	return subscription->generation == generation;
}

static void
prepare_cache(void)
{
	HASHCTL		control = {.keysize = sizeof(Key), .entrysize = sizeof(Entry)};

	table_oid = atp_relation_oid(ATP_REL_SUBSCRIPTION);	/* before anything is remembered: a change from here on counts */
	if (cache != NULL)
		return;
	control.hcxt = TopMemoryContext;
	cache = hash_create("atp subscriptions", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	atp_relation_on_change(subscription_relation_changed);
}

/* ---- Options ---- */

static void
refuse(const char *what)
{
	ereport(ERROR, errcode(ATP_ERR_INVALID_SUBSCRIPTION), errmsg("invalid option of a subscription"), errdetail("%s", what));
}

static int64
interval_us(const Interval *interval)
{
	return interval->time + ((int64) interval->day + (int64) interval->month * DAYS_PER_MONTH) * USECS_PER_DAY;
}

static double
read_number(const JsonbValue *value)
{
	return DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
}

/* The seconds of text that reads as an interval; -1: it does not. */
static double
read_interval(char *text)
{
	MemoryContext memory = CurrentMemoryContext;
	volatile double seconds = -1;

	PG_TRY();
	{
		Interval   *interval = DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
																	 Int32GetDatum(-1)));

		seconds = (double) interval->time / USECS_PER_SEC +
			((double) interval->day + (double) interval->month * DAYS_PER_MONTH) * SECS_PER_DAY;
	}
	PG_CATCH();
	{
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION)
			PG_RE_THROW();
		MemoryContextSwitchTo(memory);
		FlushErrorState();
	}
	PG_END_TRY();
	return seconds;
}

/* A number of seconds, or text that reads as an interval. */
static double
read_seconds(const JsonbValue *value, const char *name)
{
	double		seconds = -1;

	if (value->type == jbvNumeric)
		seconds = read_number(value);
	else if (value->type == jbvString)
		seconds = read_interval(pnstrdup(value->val.string.val, value->val.string.len));
	if (!(seconds >= 0 && seconds <= DELAY_MAX))
		refuse(psprintf("\"%s\" of the backoff is not a duration between 0 and a year.", name));
	return seconds;
}

static double
read_share(const JsonbValue *value)
{
	double		share = -1;

	if (value->type == jbvBool)
		share = value->val.boolean ? 1 : 0;
	else if (value->type == jbvNumeric)
		share = read_number(value);
	else if (value->type == jbvString && value->val.string.len == 4 && memcmp(value->val.string.val, "full", 4) == 0)
		share = 1;
	else if (value->type == jbvString && value->val.string.len == 4 && memcmp(value->val.string.val, "none", 4) == 0)
		share = 0;
	if (!(share >= 0 && share <= 1))
		refuse("\"jitter\" of the backoff is not true, false, \"full\", \"none\" or a share between 0 and 1.");
	return share;
}

void
atp_subscription_read_backoff(Jsonb *policy, AtpBackoff *backoff)
{
	JsonbIterator *walk;
	JsonbIteratorToken token;
	JsonbValue	value;

	*backoff = (AtpBackoff) {.initial = 1, .maximum = 300, .factor = 2, .jitter = 1};
	if (policy == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(policy))
		refuse("The backoff is not a JSON object.");
	walk = JsonbIteratorInit(&policy->root);
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&walk, &value, true);
		if (strcmp(name, "initial") == 0)
			backoff->initial = read_seconds(&value, name);
		else if (strcmp(name, "maximum") == 0)
			backoff->maximum = read_seconds(&value, name);
		else if (strcmp(name, "jitter") == 0)
			backoff->jitter = read_share(&value);
		else if (strcmp(name, "factor") == 0 && value.type == jbvNumeric)
			backoff->factor = read_number(&value);
		else
			refuse(psprintf("The backoff has no member \"%s\" of this kind; there are initial, maximum, factor and jitter.", name));
	}
	if (!(backoff->factor >= 1 && backoff->factor <= 1000))
		refuse("\"factor\" of the backoff is not between 1 and 1000.");
	if (backoff->maximum < backoff->initial)
		refuse("\"maximum\" of the backoff is less than \"initial\".");
}

int64
atp_subscription_delay(const AtpBackoff *backoff, int attempts)
{
	double		delay = backoff->initial * pow(backoff->factor, attempts - 1);

	if (!(delay <= backoff->maximum))
		delay = backoff->maximum;
	delay = delay * (1 - backoff->jitter) + delay * backoff->jitter * pg_prng_double(&pg_global_prng_state);
	return (int64) (delay * USECS_PER_SEC);
}

/* compute_backoff(policy, attempt) */
Datum
atp_subscription_compute_backoff(PG_FUNCTION_ARGS)
{
	AtpBackoff	backoff;
	Interval   *delay = palloc0(sizeof(Interval));

	if (PG_ARGISNULL(1))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("attempt must not be null"));
	if (PG_GETARG_INT32(1) < 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("attempt is less than 1"));
	atp_subscription_read_backoff(PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0), &backoff);
	delay->time = atp_subscription_delay(&backoff, PG_GETARG_INT32(1));
	PG_RETURN_INTERVAL_P(delay);
}

/* Reads an order key; *member is set for one in metadata. */
static AtpOrderKey
read_order_key(char *text, char **member)
{
	if (strcmp(text, "stream") == 0)
		return ATP_ORDER_STREAM;
	if (strcmp(text, "none") == 0)
		return ATP_ORDER_NONE;
	if (strncmp(text, "metadata.", 9) != 0 || text[9] == '\0')
		refuse(psprintf("\"%s\" is no order key; there are stream, none, and metadata.NAME.", text));
	*member = text + 9;
	return ATP_ORDER_METADATA;
}

/* ---- Rows ---- */

static ArrayType *
array_or_null(Datum value, bool null)
{
	return null ? NULL : DatumGetArrayTypePCopy(value);
}

/* Fills a subscription, in its memory, from its row. */
static void
read_row(AtpSubscription *one, HeapTuple tuple, TupleDesc shape)
{
	Datum		values[COLUMNS];
	bool		nulls[COLUMNS];
	AtpFilterRules rules;

	heap_deform_tuple(tuple, shape, values, nulls);
	one->subscription = DatumGetInt32(values[COLUMN_SUBSCRIPTION]);
	one->tenant = DatumGetInt32(values[COLUMN_TENANT]);
	strlcpy(one->name, TextDatumGetCString(values[COLUMN_NAME]), sizeof(one->name));
	one->active = strcmp(TextDatumGetCString(values[COLUMN_STATE]), "active") == 0;
	one->notify = DatumGetBool(values[COLUMN_NOTIFY]);
	one->order_key = read_order_key(TextDatumGetCString(values[COLUMN_ORDER_KEY]), &one->order_member);
	one->ordered = strcmp(TextDatumGetCString(values[COLUMN_ORDERING]), "key") == 0 && one->order_key != ATP_ORDER_NONE;
	one->partitions = DatumGetInt32(values[COLUMN_PARTITIONS]);
	one->next_partitions = nulls[COLUMN_NEXT_PARTITIONS] ? 0 : DatumGetInt32(values[COLUMN_NEXT_PARTITIONS]);
	one->drain_to = nulls[COLUMN_DRAIN_TO] ? PG_INT64_MAX : DatumGetInt64(values[COLUMN_DRAIN_TO]);
	one->lock_duration = interval_us(DatumGetIntervalP(values[COLUMN_LOCK_DURATION]));
	one->max_attempts = DatumGetInt32(values[COLUMN_MAX_ATTEMPTS]);
	one->time_to_live = nulls[COLUMN_TIME_TO_LIVE] ? 0 : interval_us(DatumGetIntervalP(values[COLUMN_TIME_TO_LIVE]));
	one->max_in_flight = nulls[COLUMN_MAX_IN_FLIGHT] ? 0 : DatumGetInt32(values[COLUMN_MAX_IN_FLIGHT]);
	atp_subscription_read_backoff(DatumGetJsonbP(values[COLUMN_BACKOFF]), &one->backoff);
	one->breaker = nulls[COLUMN_BREAKER] ? NULL : TextDatumGetCString(values[COLUMN_BREAKER]);
	one->rate_limit = nulls[COLUMN_RATE_LIMIT] ? NULL : TextDatumGetCString(values[COLUMN_RATE_LIMIT]);
	atp_limit_read_tenant(one->tenant, &one->tenant_limits);
	rules.event_types = array_or_null(values[COLUMN_EVENT_TYPES], nulls[COLUMN_EVENT_TYPES]);
	rules.categories = array_or_null(values[COLUMN_CATEGORIES], nulls[COLUMN_CATEGORIES]);
	rules.streams = array_or_null(values[COLUMN_STREAMS], nulls[COLUMN_STREAMS]);
	rules.correlation = nulls[COLUMN_CORRELATION] ? NULL : DatumGetJsonbP(values[COLUMN_CORRELATION]);
	rules.predicate = nulls[COLUMN_FILTER] ? NULL : TextDatumGetCString(values[COLUMN_FILTER]);
	one->filter = atp_filter_compile(&rules);
}

static void
drop_entry(Entry *entry)
{
	MemoryContext memory = entry->subscription->memory;

	(void) hash_search(cache, &entry->key, HASH_REMOVE, NULL);
	MemoryContextDelete(memory);
}

/* Puts a row into the cache in the place of what is there. */
static AtpSubscription *
remember(HeapTuple tuple, TupleDesc shape, uint64 as_of)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "atp subscription", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(memory);
	AtpSubscription *one = palloc0(sizeof(AtpSubscription));
	Key			key = {0};
	Entry	   *entry;

	one->memory = memory;
	one->generation = as_of;
	one->sticky_partition = -1;
	read_row(one, tuple, shape);
	MemoryContextSwitchTo(before);
	key.tenant = one->tenant;
	strlcpy(key.name, one->name, sizeof(key.name));
	entry = hash_search(cache, &key, HASH_FIND, NULL);
	if (entry != NULL)
		drop_entry(entry);
	entry = hash_search(cache, &key, HASH_ENTER, NULL);
	entry->subscription = one;
	MemoryContextSetParent(memory, CacheMemoryContext);	/* complete: it outlives the transaction */
	return one;
}

static AtpSubscription *
load(int32 tenant, const char *name)
{
	uint64		as_of;
	Relation	relation = table_open(atp_relation_oid(ATP_REL_SUBSCRIPTION), AccessShareLock);
	AtpSubscription *one = NULL;
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;

	as_of = generation;			/* taking the lock may have told us of changes, which the scan sees */
	ScanKeyEntryInitialize(&keys[0], 0, COLUMN_NAME + 1, BTEqualStrategyNumber, InvalidOid, DEFAULT_COLLATION_OID, F_TEXTEQ,
						   CStringGetTextDatum(name));
	ScanKeyInit(&keys[1], COLUMN_TENANT + 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(tenant));
	scan = systable_beginscan(relation, atp_relation_oid(ATP_REL_SUBSCRIPTION_NAME_UNIQUE), true, SnapshotSelf, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
		one = remember(tuple, RelationGetDescr(relation), as_of);
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return one;
}

/* NULL: there is none. */
static AtpSubscription *
find(int32 tenant, const char *name)
{
	Key			key = {0};
	Entry	   *entry;

	prepare_cache();
	if (strlen(name) > ATP_SUBSCRIPTION_NAME_MAX)
		return NULL;
	key.tenant = tenant;
	strlcpy(key.name, name, sizeof(key.name));
	entry = hash_search(cache, &key, HASH_FIND, NULL);
	if (entry != NULL && atp_subscription_is_current(entry->subscription))
		return entry->subscription;
	if (entry != NULL)
		drop_entry(entry);
	return load(tenant, name);
}

AtpSubscription *
atp_subscription_open(int32 tenant, const char *name)
{
	AtpSubscription *one = find(tenant, name);

	if (one == NULL)
		ereport(ERROR, errcode(ATP_ERR_SUBSCRIPTION_NOT_FOUND), errmsg("subscription \"%s\" does not exist", name),
				errhint("Make it with atp.create_subscription; atp.list_subscriptions() shows those of the tenant."));
	return one;
}

/* The keys of all subscriptions, or of those to be announced, in the current memory context. */
static List *
list_keys(bool announced)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_SUBSCRIPTION), AccessShareLock);
	SysScanDesc scan = systable_beginscan(relation, InvalidOid, false, SnapshotSelf, 0, NULL);
	TupleDesc	shape = RelationGetDescr(relation);
	List	   *keys = NIL;
	HeapTuple	tuple;
	bool		null;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Key		   *key;

		if (announced && !DatumGetBool(heap_getattr(tuple, COLUMN_NOTIFY + 1, shape, &null)))
			continue;
		key = palloc0(sizeof(Key));
		key->tenant = DatumGetInt32(heap_getattr(tuple, COLUMN_TENANT + 1, shape, &null));
		strlcpy(key->name, TextDatumGetCString(heap_getattr(tuple, COLUMN_NAME + 1, shape, &null)), sizeof(key->name));
		keys = lappend(keys, key);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return keys;
}

static void
visit_keys(List *keys, AtpSubscriptionVisit visit, void *context)
{
	ListCell   *cell;

	foreach(cell, keys)
	{
		Key		   *key = lfirst(cell);
		AtpSubscription *one = find(key->tenant, key->name);

		CHECK_FOR_INTERRUPTS();
		if (one != NULL)
			visit(one, context);
	}
}

void
atp_subscription_each(AtpSubscriptionVisit visit, void *context)
{
	visit_keys(list_keys(false), visit, context);
}

void
atp_subscription_each_announced(AtpSubscriptionVisit visit, void *context)
{
	static MemoryContext memory;	/* of the list */
	static List *keys;
	static uint64 as_of;		/* generation; 0: nothing is remembered */

	prepare_cache();
	if (as_of != generation)
	{
		MemoryContext before;

		if (memory == NULL)
			memory = AllocSetContextCreate(TopMemoryContext, "atp announced subscriptions", ALLOCSET_SMALL_SIZES);
		MemoryContextReset(memory);
		as_of = 0;
		before = MemoryContextSwitchTo(memory);
		keys = list_keys(true);
		MemoryContextSwitchTo(before);
		as_of = generation;
	}
	visit_keys(keys, visit, context);
}

/* Trigger: the table changed, or the limits of a tenant. */
Datum
atp_subscription_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	CacheInvalidateRelcacheByRelid(atp_relation_oid(ATP_REL_SUBSCRIPTION));
	return PointerGetDatum(NULL);
}

/* check_subscription(event_types, categories, streams, filter, correlation, order_key, backoff) */
Datum
atp_subscription_check(PG_FUNCTION_ARGS)
{
	AtpFilterRules rules;
	AtpBackoff	backoff;
	char	   *member;

	rules.event_types = PG_ARGISNULL(0) ? NULL : PG_GETARG_ARRAYTYPE_P(0);
	rules.categories = PG_ARGISNULL(1) ? NULL : PG_GETARG_ARRAYTYPE_P(1);
	rules.streams = PG_ARGISNULL(2) ? NULL : PG_GETARG_ARRAYTYPE_P(2);
	rules.predicate = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	rules.correlation = PG_ARGISNULL(4) ? NULL : PG_GETARG_JSONB_P(4);
	(void) atp_filter_compile(&rules);
	if (PG_ARGISNULL(5))
		refuse("The order key is null.");
	(void) read_order_key(text_to_cstring(PG_GETARG_TEXT_PP(5)), &member);
	atp_subscription_read_backoff(PG_ARGISNULL(6) ? NULL : PG_GETARG_JSONB_P(6), &backoff);
	PG_RETURN_VOID();
}

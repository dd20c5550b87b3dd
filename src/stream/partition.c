/*
 * Partitions of atp_internal.event; see partition.h.
 *
 * A leaf covers a day, a week or a month of event id time (atp.partition_interval), cut back where a leaf of another interval is
 * in the way. It is made as a table of its own and then attached, which locks the parent in SHARE UPDATE EXCLUSIVE mode only: appends
 * go on meanwhile. Two makers exclude each other by that lock, and the second finds the first one's leaf.
 *
 * Leaves are not members of the extension (a restore would not make them again), carry their indexes themselves (an index of the
 * parent makes pg_restore -e abort), and the same policy and guard as the parent.
 */
#include "stream/partition.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "partitioning/partbounds.h"
#include "partitioning/partdesc.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/partcache.h"
#include "utils/timestamp.h"

#include "pg/errors.h"
#include "pg/eventid.h"
#include "pg/query.h"
#include "pg/relation.h"
#include "stream/guard.h"

PG_FUNCTION_INFO_V1(atp_partition_premake_sql);

typedef enum Interval
{
	INTERVAL_DAY, INTERVAL_WEEK, INTERVAL_MONTH
} PartitionInterval;

static const struct config_enum_entry intervals[] = {
	{"day", INTERVAL_DAY, false},
	{"week", INTERVAL_WEEK, false},
	{"month", INTERVAL_MONTH, false},
	{NULL, 0, false}
};

static int	setting_interval = INTERVAL_MONTH;
static int	setting_premake = 2;

/* The leaf used last: nearly every append goes where the one before went. */
static struct
{
	uint64		generation;		/* of atp_relation_generation, 0: nothing remembered */
	Oid			leaf;
	AtpPartitionRange range;
}			last;

/* The leaf that atp_partition_prepare saw last. */
static struct
{
	uint64		generation;
	Oid			leaf;
}			prepared;

/* Start of the period that holds a time, and of the next one, in ms since 1970. */
static void
period_of(int64 ms, int64 *from, int64 *until)
{
	const int64 day_ms = USECS_PER_DAY / 1000;
	int			day = (int) (ms / day_ms);
	int			year,
				month,
				mday;

	switch ((PartitionInterval) setting_interval)
	{
		case INTERVAL_DAY:
			*from = day * day_ms;
			*until = *from + day_ms;
			return;
		case INTERVAL_WEEK:		/* weeks begin on Monday; 1970-01-01 was a Thursday */
			*from = (int64) (day - (day + 3) % 7) * day_ms;
			*until = *from + 7 * day_ms;
			return;
		case INTERVAL_MONTH:
			break;
	}
	j2date(day + UNIX_EPOCH_JDATE, &year, &month, &mday);
	*from = (int64) (date2j(year, month, 1) - UNIX_EPOCH_JDATE) * day_ms;
	if (++month > 12)
	{
		month = 1;
		year++;
	}
	*until = (int64) (date2j(year, month, 1) - UNIX_EPOCH_JDATE) * day_ms;
}

/* The smallest event id of a millisecond. */
static void
floor_id(int64 ms, pg_uuid_t *id)
{
	memset(id->data, 0, UUID_LEN);
	for (int i = 0; i < 6; i++)
		id->data[i] = (unsigned char) (ms >> (8 * (5 - i)));
}

/*
 * Finds the leaf that holds an id. Without one, `from` and `until` get the bounds of the gap that it falls into (all zeros and all
 * ones where the gap is open).
 */
static Oid
find_leaf(Relation parent, const pg_uuid_t *id, pg_uuid_t *from, pg_uuid_t *until)
{
	PartitionDesc leaves = RelationGetPartitionDesc(parent, true);

	memset(from->data, 0, UUID_LEN);
	memset(until->data, 0xff, UUID_LEN);
	if (leaves->nparts == 0)
		return InvalidOid;
	for (int low = 0, high = leaves->boundinfo->ndatums; low < high;)
	{
		int			middle = (low + high) / 2;
		pg_uuid_t  *bound = DatumGetUUIDP(leaves->boundinfo->datums[middle][0]);

		if (memcmp(bound->data, id->data, UUID_LEN) <= 0)
		{
			*from = *bound;
			low = middle + 1;
		}
		else
		{
			*until = *bound;
			high = middle;
		}
		if (low == high)
		{
			int			part = leaves->boundinfo->indexes[low];

			return part < 0 ? InvalidOid : leaves->oids[part];
		}
	}
	return InvalidOid;
}

static char *
uuid_text(const pg_uuid_t *id)
{
	return DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));
}

/* Makes the leaf for a time within the gap given. SPI is connected; the parent is locked and not open. */
static void
make_leaf(int64 ms, const pg_uuid_t *gap_from, const pg_uuid_t *gap_until)
{
	StringInfoData sql;
	pg_uuid_t	from,
				until;
	int64		from_ms,
				until_ms;
	char		name[NAMEDATALEN];
	int			year,
				month,
				day;
	Oid			leaf;

	period_of(ms, &from_ms, &until_ms);
	floor_id(from_ms, &from);
	floor_id(until_ms, &until);
	if (memcmp(from.data, gap_from->data, UUID_LEN) < 0)
		from = *gap_from;
	if (memcmp(until.data, gap_until->data, UUID_LEN) > 0)
		until = *gap_until;

	j2date((int) (atp_eventid_time(&from) / (USECS_PER_DAY / 1000)) + UNIX_EPOCH_JDATE, &year, &month, &day);
	snprintf(name, sizeof(name), "event_p%04d%02d%02d", year, month, day);

	initStringInfo(&sql);
	appendStringInfo(&sql,
					 "CREATE TABLE atp_internal.%1$s (LIKE atp_internal.event INCLUDING COMMENTS) USING heap;"
					 "CREATE UNIQUE INDEX %1$s_id ON atp_internal.%1$s (event_id, tenant);"
					 "CREATE UNIQUE INDEX %1$s_version ON atp_internal.%1$s (stream, stream_version, tenant);"
					 "CREATE INDEX %1$s_xid ON atp_internal.%1$s (xid);"
					 "ALTER TABLE atp_internal.%1$s ENABLE ROW LEVEL SECURITY;"
					 "ALTER TABLE atp_internal.%1$s FORCE ROW LEVEL SECURITY;"
					 "CREATE POLICY event_tenant ON atp_internal.%1$s USING (atp_internal.tenant_is_visible(tenant));"
					 "COMMENT ON TABLE atp_internal.%1$s IS 'Events whose id lies in [%2$s, %3$s).';",
					 name, uuid_text(&from), uuid_text(&until));
	atp_query_text(sql.data);
	leaf = get_relname_relid(name, get_namespace_oid("atp_internal", false));
	atp_guard_table(leaf);
	resetStringInfo(&sql);
	appendStringInfo(&sql, "ALTER TABLE atp_internal.event ATTACH PARTITION atp_internal.%s FOR VALUES FROM ('%s') TO ('%s')",
					 name, uuid_text(&from), uuid_text(&until));
	atp_query_text(sql.data);
	pfree(sql.data);
}

/* Makes the leaf for an id unless another transaction was faster; true when it made one. */
static bool
ensure_leaf(const pg_uuid_t *id)
{
	Oid			parent_oid = atp_relation_oid(ATP_REL_EVENT);
	Relation	parent;
	pg_uuid_t	from,
				until;
	Oid			leaf;

	PreventCommandIfReadOnly("creating a partition of atp_internal.event");
	LockRelationOid(parent_oid, ShareUpdateExclusiveLock);
	AcceptInvalidationMessages();
	parent = table_open(parent_oid, NoLock);
	leaf = find_leaf(parent, id, &from, &until);
	table_close(parent, NoLock);
	if (OidIsValid(leaf))
		return false;
	SPI_connect();
	make_leaf(atp_eventid_time(id), &from, &until);
	SPI_finish();
	CommandCounterIncrement();
	return true;
}

static Relation
open_leaf(const pg_uuid_t *event_id, LOCKMODE mode)
{
	Relation	parent;
	Oid			leaf;

	LockRelationOid(atp_relation_oid(ATP_REL_EVENT), mode);
	if (last.generation == atp_relation_generation() && atp_partition_contains(&last.range, event_id))
	{
		Relation	relation = try_table_open(last.leaf, mode);

		if (relation != NULL && last.generation == atp_relation_generation())
			return relation;
		if (relation != NULL)	/* something changed while we waited for the lock */
			table_close(relation, mode);
	}
	last.generation = 0;
	parent = table_open(atp_relation_oid(ATP_REL_EVENT), NoLock);
	leaf = find_leaf(parent, event_id, &last.range.from, &last.range.until);
	table_close(parent, NoLock);
	if (!OidIsValid(leaf))
		return NULL;
	last.leaf = leaf;
	last.generation = atp_relation_generation();
	return table_open(leaf, mode);
}

Relation
atp_partition_open(const pg_uuid_t *event_id, AtpPartitionRange *range)
{
	Relation	leaf = open_leaf(event_id, RowExclusiveLock);

	if (leaf == NULL)
	{
		(void) ensure_leaf(event_id);
		leaf = open_leaf(event_id, RowExclusiveLock);
		if (leaf == NULL)
			elog(ERROR, "no partition for event id %s", uuid_text(event_id));
	}
	*range = last.range;
	return leaf;
}

void
atp_partition_prepare(const pg_uuid_t *event_id)
{
	AtpPartitionRange range;
	Relation	leaf;

	if (prepared.leaf == last.leaf && prepared.generation == atp_relation_generation() && last.generation == prepared.generation &&
		atp_partition_contains(&last.range, event_id))
		return;
	leaf = atp_partition_open(event_id, &range);
	(void) atp_relation_indexes(leaf);
	table_close(leaf, NoLock);
	prepared.leaf = last.leaf;
	prepared.generation = last.generation;
}

Relation
atp_partition_open_existing(const pg_uuid_t *event_id)
{
	return open_leaf(event_id, AccessShareLock);
}

Relation
atp_partition_open_to_read(const pg_uuid_t *event_id, AtpPartitionRange *range)
{
	Relation	leaf = open_leaf(event_id, AccessShareLock);

	if (leaf != NULL)
		*range = last.range;
	return leaf;
}

int
atp_partition_premake(void)
{
	int64		ms = (GetCurrentTimestamp() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
	int			made = 0;

	for (int i = 0; i <= setting_premake; i++)
	{
		pg_uuid_t	id;
		int64		from,
					until;
		Relation	leaf;

		floor_id(ms, &id);
		leaf = open_leaf(&id, AccessShareLock);
		if (leaf != NULL)
			table_close(leaf, NoLock);
		else if (ensure_leaf(&id))
			made++;
		period_of(ms, &from, &until);
		ms = until;
	}
	return made;
}

void
atp_partition_init(void)
{
	DefineCustomEnumVariable("atp.partition_interval", "Span of event id time that one partition of the event table covers.",
							 "Applies to partitions made from now on.",
							 &setting_interval, INTERVAL_MONTH, intervals, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("atp.partition_premake", "Number of partitions kept ready for times to come.", NULL,
							&setting_premake, 2, 0, 100, PGC_SUSET, 0, NULL, NULL, NULL);
}

/* create_partitions() */
Datum
atp_partition_premake_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(atp_partition_premake());
}

/* Partitions of atp_internal.event: found by event id, premade, and made on demand. */
#ifndef ATP_PARTITION_H
#define ATP_PARTITION_H

#include "postgres.h"

#include "utils/rel.h"
#include "utils/uuid.h"

/* Columns of atp_internal.event and of every leaf, in their order. */
enum
{
	ATP_EVENT_ID = 1, ATP_EVENT_STREAM, ATP_EVENT_STREAM_VERSION, ATP_EVENT_OCCURRED_AT, ATP_EVENT_RECORDED_AT,
	ATP_EVENT_XID, ATP_EVENT_SEQ, ATP_EVENT_TENANT, ATP_EVENT_EVENT_TYPE, ATP_EVENT_SCHEMA_VERSION, ATP_EVENT_FLAGS,
	ATP_EVENT_HASH, ATP_EVENT_SALTS, ATP_EVENT_PAYLOAD, ATP_EVENT_METADATA, ATP_EVENT_PRIVATE
};

typedef struct AtpPartitionRange	/* of event ids that one leaf holds: from inclusive, until exclusive */
{
	pg_uuid_t	from;
	pg_uuid_t	until;
} AtpPartitionRange;

static inline bool
atp_partition_contains(const AtpPartitionRange *range, const pg_uuid_t *event_id)
{
	return memcmp(event_id->data, range->from.data, UUID_LEN) >= 0 && memcmp(event_id->data, range->until.data, UUID_LEN) < 0;
}

/*
 * Opens the leaf that holds an event id, in ROW EXCLUSIVE mode, after the parent in the same mode (which atp.resequence excludes).
 * Makes the leaf when there is none. `range` gets what it holds. Close with table_close(relation, NoLock).
 */
extern Relation atp_partition_open(const pg_uuid_t *event_id, AtpPartitionRange *range);

/*
 * Makes the leaf for an event id if there is none, and reads what the caches of this backend lack for inserting into it: to be done
 * before anything is locked that others wait for.
 */
extern void atp_partition_prepare(const pg_uuid_t *event_id);

/* The same for looking only: ACCESS SHARE, NULL when there is no such leaf. */
extern Relation atp_partition_open_existing(const pg_uuid_t *event_id);

/* The same, for who keeps it open: `range` gets what it holds. */
extern Relation atp_partition_open_to_read(const pg_uuid_t *event_id, AtpPartitionRange *range);

/* Makes the leaves for now and the next `atp.partition_premake` periods that are missing; returns how many it made. */
extern int	atp_partition_premake(void);

extern void atp_partition_init(void);

#endif

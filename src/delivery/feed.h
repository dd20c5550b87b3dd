/*
 * The log as consumers read it: rows in log order from a position, the events that they point at, and the names of streams.
 * A feed holds its relations open (ACCESS SHARE) and reads under the snapshot it was begun with.
 */
#ifndef ATP_FEED_H
#define ATP_FEED_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/snapshot.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

typedef struct AtpLogRow
{
	int64		log_position;
	pg_uuid_t	event_id;
	int64		stream;
	TimestampTz published_at;
	int32		tenant;
	int32		event_type;
} AtpLogRow;

typedef struct AtpFeedEvent
{
	int64		stream_version;
	TimestampTz occurred_at;
	TimestampTz recorded_at;
	int32		schema_version;
	Datum		payload;		/* json, perhaps toasted; lives until the next fetch */
	Datum		metadata;
	bool		payload_null;	/* erased */
	bool		metadata_null;
} AtpFeedEvent;

typedef struct AtpFeed AtpFeed;

/* Opens a feed in the current memory context. The snapshot has to stay registered until atp_feed_end. */
extern AtpFeed *atp_feed_begin(Snapshot snapshot);
extern void atp_feed_end(AtpFeed *feed);

/* The next row that atp_feed_next returns is the first one after this position. */
extern void atp_feed_seek(AtpFeed *feed, int64 after);
extern bool atp_feed_next(AtpFeed *feed, AtpLogRow *row);

/* The log row of a tenant's event (ids are the tenants' own); false: it has none yet. Does not move the feed. */
extern bool atp_feed_find(AtpFeed *feed, const pg_uuid_t *event_id, int32 tenant, AtpLogRow *row);

/* The event of a log row; false: it is not stored any more. */
extern bool atp_feed_fetch(AtpFeed *feed, const AtpLogRow *row, AtpFeedEvent *event);

/* The same from the row of its leaf. */
extern void atp_feed_read_event(TupleTableSlot *slot, AtpFeedEvent *event);

/* The last position of the log, 0 where it is empty. */
extern int64 atp_feed_head(AtpFeed *feed);

/* Visits the log rows that this transaction has placed, the last one first, until the function returns false. */
typedef bool (*AtpFeedVisit) (const AtpLogRow *row, void *context);
extern void atp_feed_visit_placed(AtpFeedVisit visit, void *context);

/* The name of a stream, terminated, from a per-backend cache: lives until the next call. Empty where there is no such stream. */
extern const char *atp_feed_stream_name(int64 stream);

/* The same as a text, through the feed: for many of them. */
extern const text *atp_feed_stream_text(AtpFeed *feed, int64 stream);

/* Spreads a number over 64 bits (splitmix64). Partitions are cut by it, so it never changes. */
static inline uint64
atp_feed_spread(uint64 number)
{
	number += UINT64CONST(0x9E3779B97F4A7C15);
	number = (number ^ (number >> 30)) * UINT64CONST(0xBF58476D1CE4E5B9);
	number = (number ^ (number >> 27)) * UINT64CONST(0x94D049BB133111EB);
	return number ^ (number >> 31);
}

#endif

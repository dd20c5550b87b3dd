/*
 * Cursors: where a partition of a subscription stands, and its lease. One row each, in atp_internal.subscription_cursor.
 *
 * Lock: whoever reads a row in order to change it holds the partition's lock, a heavyweight lock of the transaction in a class of
 * its own, that no SQL function can take. Claims only try it; everything else waits for it, in the order of partitions. It goes
 * with the transaction however that ends. So a row is read with SnapshotSelf: its last writer has committed, whatever the
 * isolation level, and nothing is ever lost between reading and writing.
 *
 * Versions: a row is written once per call. While a snapshot is held open its dead versions cannot be pruned, and a walk
 * along them would slow every claim. So every CURSOR_CHAIN writes the row takes a new generation, which is part of its key: the
 * look-up runs backwards from the highest generation, and meets at most that many versions, however many lie behind. A backend that wrote a
 * row last finds it where it left it, without the index.
 */
#ifndef ATP_CURSOR_H
#define ATP_CURSOR_H

#include "postgres.h"

#include "storage/itemptr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

typedef struct AtpCursor
{
	int32		tenant;
	int32		subscription;
	int32		partition;
	int64		generation;
	int32		writes;			/* since the generation began */
	int64		acked;			/* every event of the partition up to here is acked, dead-lettered, filtered or a retry row */
	int64		scanned;		/* what lies between lease_last and here is filtered, or settled */

	bool		leased;
	pg_uuid_t	lease;
	TimestampTz leased_at;
	TimestampTz lease_until;
	int64		lease_last;		/* position of the last event in the lease */
	int32		lease_count;	/* events in it that are not settled */
	char	   *consumer;

	int32		retries;		/* rows of the partition in atp_internal.retry */
	int64		retry_changes;	/* grows with every change of those rows */
	TimestampTz retry_due_at;	/* when the next of them can be claimed; DT_NOEND: none */

	/* positions behind `acked` that are done with already, ascending: nacked, deferred, dead-lettered */
	int			settled_count;
	int64	   *settled;

	/*
	 * positions behind `acked`, ascending, that the rules of the time took, noted when the rules were changed under a lease: up to the last
	 * of them these are the events, whatever the rules say now; 0: the rules say
	 */
	int			held_count;
	int64	   *held;

	/* how often the events behind `acked` were leased before: up to through[0] runs[0] times, then up to through[1] … */
	int			run_count;
	int64	   *run_through;
	int64	   *run_attempts;

	/* bookkeeping */
	bool		dirty;
	bool		locked_before;	/* the transaction held the lock before this call */
	ItemPointerData row;
} AtpCursor;

/* Takes the lock of a partition. With `wait` false, returns false if another transaction has it. */
extern bool atp_cursor_lock(int32 subscription, int32 partition, bool wait);

/* Gives it back before the transaction ends. Only for a partition of which nothing was changed. */
extern void atp_cursor_unlock(int32 subscription, int32 partition);

/* Reads a cursor in the current memory context; the caller has the lock. NULL: there is no such partition. */
extern AtpCursor *atp_cursor_read(int32 tenant, int32 subscription, int32 partition);

/* Writes it if it is dirty. Changes become visible to the next command. */
extern void atp_cursor_write(AtpCursor *cursor);

/* Notes that the event at a position behind `acked` is done with. */
extern void atp_cursor_settle(AtpCursor *cursor, int64 log_position);
extern bool atp_cursor_is_settled(const AtpCursor *cursor, int64 log_position);

/* Whether the rules of the time have decided about a position, and whether they took it. */
extern bool atp_cursor_is_decided(const AtpCursor *cursor, int64 log_position);
extern bool atp_cursor_is_held(const AtpCursor *cursor, int64 log_position);

/* Moves `acked`, and forgets what lies at or before it. */
extern void atp_cursor_advance(AtpCursor *cursor, int64 log_position);

/* How often the event at a position was leased before the present lease. */
extern int	atp_cursor_attempts(const AtpCursor *cursor, int64 log_position);

/* Ends a lease that was not acked: what it held was attempted once more. */
extern void atp_cursor_expire(AtpCursor *cursor);

/* Ends a lease. */
extern void atp_cursor_release(AtpCursor *cursor);

#endif

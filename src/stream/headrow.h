/*
 * The row of a stream in atp_internal.stream: read, locked, written over, made; and the queue before it when somebody holds it. What a
 * transaction knows of a stream beyond its row is stream/stream's.
 */
#ifndef ATP_HEADROW_H
#define ATP_HEADROW_H

#include "postgres.h"

#include "lib/ilist.h"
#include "storage/itemptr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/hash.h"
#include "record/envelope.h"

typedef struct AtpHeadKey
{
	int32		tenant;
	char		name[ATP_STREAM_NAME_MAX + 1];	/* zero-terminated */
} AtpHeadKey;

typedef struct AtpHead
{
	AtpHeadKey	key;
	int64		stream;			/* 0: the stream does not exist yet */
	uint8		stream_uid[16];
	int64		version;		/* of the last event, 0: none yet */
	uint8		hash[ATP_HASH_SIZE];	/* chain link of the last event, zeros: none yet */
	TimestampTz created_at;
	TimestampTz last_recorded_at;
	pg_uuid_t	min_event_id;
	pg_uuid_t	max_event_id;
	char		state;			/* 'o' open, 's' sealed, 'a' archived */

	/* where the row stands */
	ItemPointerData row;
	bool		locked;			/* the row is locked by this transaction */
	bool		written;		/* the row says what this head says */

	/* bookkeeping of stream.c */
	int			made_level;		/* nesting level that put the head here */
	int			saved_level;	/* level for which an image exists, or made_level */
	dlist_node	in_level;
	dlist_node	in_use;
} AtpHead;

/*
 * Reads the row of a stream into the head, locking it if asked and waiting for whoever holds it; leaves stream = 0 when there is none.
 * Raises 40001 in REPEATABLE READ and above when the row has changed since the transaction's snapshot.
 */
extern void atp_headrow_find(AtpHead *head, bool lock);

/* Inserts the row of a new stream; false: another transaction has made the stream. */
extern bool atp_headrow_insert(AtpHead *head);

/*
 * Writes a row over the one that stands. With `wait` it waits for whoever holds the row; with `crosscheck` the row must not be younger
 * than the snapshot of REPEATABLE READ. False: someone else changed it or holds it. The index entries follow unless the update was HOT.
 */
extern bool atp_headrow_update(AtpHead *head, bool crosscheck, bool wait);

/*
 * Stands in line for the row of a stream (surrogate key) that is held by another. Once the row is ours, the place is kept with it
 * to the end of the transaction, which forgets it.
 */
extern void atp_headrow_await_turn(int64 stream);
extern void atp_headrow_keep_turn(int64 stream);
extern void atp_headrow_forget_turns(void);

#endif

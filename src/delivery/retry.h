/*
 * Failures: the only events that become rows. A retry row is an event that failed and is due again, one that waits behind such
 * an event of its key, one that was deferred, or a dead letter that is delivered anew. A dead letter is an event given up.
 *
 * All retry rows of a partition are read, changed in memory and saved under the partition's lock; the cursor counts them and
 * knows when the next is due, so that a partition without failures never looks here. Each row carries a lease of its own: an event
 * that kills its consumers never holds up the partition it came from.
 *
 * With ordering by key only the first row of a key can be claimed, and those directly behind it in the same lease; while a
 * key has a row that is not deferred, its later events are parked behind it.
 */
#ifndef ATP_RETRY_H
#define ATP_RETRY_H

#include "postgres.h"

#include "delivery/cursor.h"
#include "delivery/subscription.h"

#define ATP_REASON_ATTEMPTS "MaxAttemptsExceeded"
#define ATP_REASON_TIME "TimeToLiveExpired"
#define ATP_REASON_PERMANENT "PermanentFailure"
#define ATP_REASON_FILTER "FilterError"

typedef enum AtpRetryFate
{
	ATP_RETRY_SAVED, ATP_RETRY_NEW, ATP_RETRY_CHANGED, ATP_RETRY_GONE
} AtpRetryFate;

typedef struct AtpRetry
{
	AtpRetryFate fate;
	int64		log_position;
	pg_uuid_t	event_id;
	int64		key;			/* spread order key */
	int32		attempts;
	TimestampTz due_at;
	bool		deferred;		/* set aside on purpose: holds up nobody */
	bool		alone;			/* its last lease expired: it may be what killed the consumer, and travels alone */
	bool		leased;
	pg_uuid_t	lease;
	TimestampTz lease_until;
	char	   *consumer;
	char	   *last_error;
	TimestampTz failed_at;		/* first failure; DT_NOEND: none yet */
	int64		redelivery_of;	/* dead letter, 0: none */
} AtpRetry;

typedef struct AtpRetries
{
	AtpSubscription *subscription;
	AtpCursor  *cursor;
	int			count;
	int			room;
	AtpRetry   *rows;			/* by position */
} AtpRetries;

/* Reads the rows of the cursor's partition in the current memory context. */
extern AtpRetries *atp_retry_load(AtpSubscription *subscription, AtpCursor *cursor);

/* Writes what has changed, and what the cursor knows about it. */
extern void atp_retry_save(AtpRetries *retries);

/* Adds a row that is due at a time; the caller fills in the rest. Keeps the order of positions: pointers to rows move. */
extern AtpRetry *atp_retry_add(AtpRetries *retries, int64 log_position, const pg_uuid_t *event_id, int64 key);

/* Whether later events of a key have to wait. */
extern bool atp_retry_blocks(const AtpRetries *retries, int64 key);

/* Ends leases that have expired: their attempt counts; those that had their last become dead letters. */
extern void atp_retry_expire(AtpRetries *retries, TimestampTz now);

/* Whether a row can be claimed now: due, not leased, and first of its key but for rows that `taken` marks. */
extern bool atp_retry_is_ready(const AtpRetries *retries, int index, const bool *taken, TimestampTz now);

/* An event is given up: inserts a dead letter. */
typedef struct AtpDeadLetter
{
	int64		log_position;
	pg_uuid_t	event_id;
	const char *reason;
	const char *last_error;		/* may be NULL */
	const char *consumer;		/* may be NULL */
	int32		attempts;
	TimestampTz failed_at;		/* first failure; DT_NOEND: now */
	int64		redelivery_of;	/* 0: none */
} AtpDeadLetter;

extern void atp_retry_bury(const AtpSubscription *subscription, const AtpDeadLetter *letter);

/* The same for a row, which is gone then. */
extern void atp_retry_bury_row(AtpRetries *retries, AtpRetry *row, const char *reason);

#endif

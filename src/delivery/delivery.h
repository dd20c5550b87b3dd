/*
 * One call's view of a subscription: the cursors that it has locked, the log under a snapshot taken after that, and what of
 * the log is the subscription's.
 */
#ifndef ATP_DELIVERY_H
#define ATP_DELIVERY_H

#include "postgres.h"

#include "delivery/cursor.h"
#include "delivery/feed.h"
#include "delivery/subscription.h"
#include "record/tenant.h"

typedef struct AtpDelivery		/* one call */
{
	AtpTenant	tenant;
	char	   *name;
	AtpSubscription *subscription;
	TimestampTz now;
	AtpFeed    *feed;			/* NULL until it is used */
	AtpCursor  *cursors[ATP_PARTITIONS_MAX];	/* locked and read, or NULL */
} AtpDelivery;

/* Raises TP202, TP300. */
extern void atp_delivery_begin(AtpDelivery *delivery, const char *tenant, const char *subscription);

/* Writes the cursors that have changed and closes the feed. */
extern void atp_delivery_end(AtpDelivery *delivery);

/* The log under the latest snapshot, taken at first use: after the locks. */
extern AtpFeed *atp_delivery_feed(AtpDelivery *delivery);

/* Closes it, so that its next use sees what was committed until then. */
extern void atp_delivery_end_feed(AtpDelivery *delivery);

/* Locks and reads a partition's cursor; NULL: another transaction has it (without `wait`), or there is no such partition. */
extern AtpCursor *atp_delivery_cursor(AtpDelivery *delivery, int partition, bool wait);

typedef struct AtpWanted		/* what one look at a log row found out */
{
	int64		key;			/* spread order key */
	bool		fetched;		/* `event` is filled */
	AtpFeedEvent event;
	char	   *error;			/* the filter raised this */
} AtpWanted;

/* Whether a log row is the subscription's and of the partition (-1: of any; then *found gets it). */
extern AtpFilterVerdict atp_delivery_wants(AtpDelivery *delivery, const AtpLogRow *row, int partition, int *found, AtpWanted *wanted);

/*
 * Without an order key positions are cut into stripes: the last position before the partition's next stripe, for a row that is not in
 * one of its own; 0 where the order key does not say.
 */
extern int64 atp_delivery_skip(const AtpDelivery *delivery, const AtpLogRow *row, int partition);

/* Fills in wanted->key, the spread order key of a row, and its partition. False: the event is needed for that and not stored any more. */
extern bool atp_delivery_partition(AtpDelivery *delivery, const AtpLogRow *row, AtpWanted *wanted, int *partition);

/* The spread order key of a row and its partition, whatever the filter says; false: the event is not stored any more. */
extern bool atp_delivery_place(AtpDelivery *delivery, const AtpLogRow *row, int64 *key, int *partition);

/* Fills in wanted->event if it is not; false: the event is not stored any more. */
extern bool atp_delivery_fetch(AtpDelivery *delivery, const AtpLogRow *row, AtpWanted *wanted);

#endif

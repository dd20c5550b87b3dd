/*
 * Subscriptions as claims see them: the row of atp_internal.subscription with its filter compiled, cached per backend.
 *
 * A change of the table sends a relation cache invalidation (statement trigger); the cache drops what it has at the next
 * look-up. Who holds a partition's lock has seen every change that was committed before: call AcceptInvalidationMessages
 * after taking it and ask atp_subscription_is_current.
 */
#ifndef ATP_SUBSCRIPTION_H
#define ATP_SUBSCRIPTION_H

#include "postgres.h"

#include "utils/timestamp.h"

#include "delivery/filter.h"
#include "delivery/limit.h"

#define ATP_SUBSCRIPTION_NAME_MAX 58	/* atp_<name> is a channel, which has at most 63 bytes */
#define ATP_PARTITIONS_MAX 64

typedef enum AtpOrderKey
{
	ATP_ORDER_STREAM, ATP_ORDER_NONE, ATP_ORDER_METADATA
} AtpOrderKey;

typedef struct AtpBackoff
{
	double		initial;		/* seconds */
	double		maximum;
	double		factor;
	double		jitter;			/* share of the delay that is drawn at random, 0 to 1 */
} AtpBackoff;

typedef struct AtpSubscription
{
	int32		subscription;
	int32		tenant;
	char		name[ATP_SUBSCRIPTION_NAME_MAX + 1];
	bool		active;			/* not paused */
	bool		notify;
	AtpFilter  *filter;
	AtpOrderKey order_key;
	char	   *order_member;	/* METADATA: the member of metadata */
	bool		ordered;		/* events of a key wait behind a failed one */
	int			partitions;
	int			next_partitions;	/* 0, or how many there will be once every cursor has reached drain_to */
	int64		drain_to;
	int64		lock_duration;	/* microseconds */
	int			max_attempts;
	int64		time_to_live;	/* microseconds, 0: none */
	int			max_in_flight;	/* 0: any */
	AtpBackoff	backoff;
	char	   *breaker;		/* NULL: none */
	char	   *rate_limit;		/* NULL: none */
	AtpTenantLimits tenant_limits;

	/* bookkeeping */
	uint64		generation;
	MemoryContext memory;
	int			sticky_partition;	/* where this backend claimed last */
	TimestampTz sticky_since;
} AtpSubscription;

/* Finds a subscription by name. Raises TP300. The result lives until the next look-up after a change. */
extern AtpSubscription *atp_subscription_open(int32 tenant, const char *name);

extern bool atp_subscription_is_current(const AtpSubscription *subscription);

/* Calls a function for each subscription of the database, compiled. */
typedef void (*AtpSubscriptionVisit) (AtpSubscription *subscription, void *context);
extern void atp_subscription_each(AtpSubscriptionVisit visit, void *context);

/* The same for those that want to be announced; the answer is remembered. */
extern void atp_subscription_each_announced(AtpSubscriptionVisit visit, void *context);

/* Reads a backoff policy {initial, maximum, factor, jitter}; NULL gives the default. Raises TP306. */
extern void atp_subscription_read_backoff(Jsonb *policy, AtpBackoff *backoff);

/* The delay before the next attempt after so many, in microseconds. */
extern int64 atp_subscription_delay(const AtpBackoff *backoff, int attempts);

#endif

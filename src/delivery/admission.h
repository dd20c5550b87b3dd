/*
 * What holds a subscription's claims back although there are events: its circuit breaker, its rate limit and its tenant's, and the
 * numbers of events that it and its tenant may have in flight. Claims ask; acks, nacks and leases that expire report.
 *
 * Nothing is taken before an event is at hand, so that looking in vain costs nothing and writes nothing.
 */
#ifndef ATP_ADMISSION_H
#define ATP_ADMISSION_H

#include "postgres.h"

#include "delivery/subscription.h"

typedef enum AtpObstacle
{
	ATP_OBSTACLE_NONE, ATP_OBSTACLE_BREAKER, ATP_OBSTACLE_RATE_LIMIT, ATP_OBSTACLE_TENANT_RATE_LIMIT, ATP_OBSTACLE_IN_FLIGHT,
	ATP_OBSTACLE_TENANT_IN_FLIGHT
} AtpObstacle;

/*
 * What would keep a claim from giving any event now. *wait_ms: when it is over of itself; -1: that is not known. Takes and changes
 * nothing.
 */
extern AtpObstacle atp_admission_look(const AtpSubscription *subscription, int64 *wait_ms);

/*
 * How many events there is room for, at most `wanted`, as far as breaker and rate limits can be asked without taking anything. Where
 * events in flight are limited, claims take turns by locks until their transactions end; so the answer stands.
 */
extern int	atp_admission_room(const AtpSubscription *subscription, int wanted);

/* Whether events in flight are counted. */
extern bool atp_admission_is_counted(const AtpSubscription *subscription);

/* Takes a permit and tokens for at most `wanted` events; returns for how many. A probe of a half-open breaker is one. */
extern int	atp_admission_take(const AtpSubscription *subscription, int wanted);

/* Gives tokens back. */
extern void atp_admission_return(const AtpSubscription *subscription, int count);

/* Reports to the breaker: events acked, events nacked, a lease that expired. */
extern void atp_admission_report(const AtpSubscription *subscription, int64 acked, int failed);
extern void atp_admission_report_expired(const AtpSubscription *subscription);

#endif

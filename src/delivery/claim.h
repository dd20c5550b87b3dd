/*
 * Claims: the next events of a subscription, leased to a consumer.
 */
#ifndef ATP_CLAIM_H
#define ATP_CLAIM_H

#include "postgres.h"

#include "delivery/subscription.h"

/*
 * What floors above hang on a claim; init.c fills it. `allow` says how many events may be claimed, at most `wanted`; 0 makes the
 * claim return nothing. It may raise, with a hint to retry.
 */
typedef struct AtpClaimHooks
{
	int			(*allow) (const AtpSubscription *subscription, int wanted);
} AtpClaimHooks;

extern AtpClaimHooks atp_claim_hooks;

#endif

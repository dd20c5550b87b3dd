/* Rate limits (a token bucket, kept in a cell) and bulkheads (so many transactions at once). */
#ifndef ATP_LIMIT_H
#define ATP_LIMIT_H

#include "postgres.h"

/* Takes tokens of a rate limit. Raises TP364 where there is none of that name, 22023 for more tokens than ever fit, TP362. */
extern void atp_limit_acquire_tokens(int32 tenant, const char *name, int count);

/* Takes as many tokens as there are, at most `wanted`, and says how many that were. Raises TP364. */
extern int	atp_limit_take_tokens_up_to(int32 tenant, const char *name, int wanted);

/* Gives back what was taken and not used. Raises TP364. */
extern void atp_limit_return_tokens(int32 tenant, const char *name, int count);

/* Milliseconds until there is a token; 0: there is one. Changes nothing. Raises TP364. */
extern int64 atp_limit_wait(int32 tenant, const char *name);

typedef struct AtpTenantLimits	/* of all deliveries of a tenant */
{
	int			max_in_flight;	/* 0: any */
	char	   *rate_limit;		/* NULL: none */
} AtpTenantLimits;

/* Reads them in the current memory context. */
extern void atp_limit_read_tenant(int32 tenant, AtpTenantLimits *limits);

/* Takes a slot of a bulkhead until the transaction ends. Raises TP364, TP363. */
extern void atp_limit_acquire_slot(int32 tenant, const char *name);

#endif

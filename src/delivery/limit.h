/* Rate limits (a token bucket, kept in a cell) and bulkheads (so many transactions at once). */
#ifndef ATP_LIMIT_H
#define ATP_LIMIT_H

#include "postgres.h"

/* Takes tokens of a rate limit. Raises TP364 where there is none of that name, 22023 for more tokens than ever fit, TP362. */
extern void atp_limit_acquire_tokens(int32 tenant, const char *name, int count);

/* Takes a slot of a bulkhead until the transaction ends. Raises TP364, TP363. */
extern void atp_limit_acquire_slot(int32 tenant, const char *name);

#endif

/*
 * Circuit breakers, in the words of Polly v8: closed, open, half-open, isolated; failure ratio over a sampling duration, from a minimum
 * throughput on; break duration. Their state lives in cells (pg/cell), so that it survives the roll-back of the transactions
 * whose failures it counts.
 */
#ifndef ATP_BREAKER_H
#define ATP_BREAKER_H

#include "postgres.h"

/*
 * Takes a permit of the breaker. Returns true for a probe of a half-open one, false for an ordinary permit. Raises TP361 when it
 * gives none, TP360 where there is no such breaker.
 */
extern bool atp_breaker_acquire(int32 tenant, const char *name);

/* Reports how the permitted work ended. Raises TP360. */
extern void atp_breaker_release(int32 tenant, const char *name, bool success);

/* Milliseconds until the breaker gives permits again; 0: it gives them now, -1: it is isolated. Changes nothing. */
extern int64 atp_breaker_wait(int32 tenant, const char *name);

#endif

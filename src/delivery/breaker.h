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

typedef enum AtpPermit
{
	ATP_PERMIT_REFUSED, ATP_PERMIT_GIVEN, ATP_PERMIT_PROBE
} AtpPermit;

/* The same without raising TP361. */
extern AtpPermit atp_breaker_try(int32 tenant, const char *name);

/* Reports how permitted work ended: so many successes, or so many failures. Raises TP360. */
extern void atp_breaker_report(int32 tenant, const char *name, int successes, int failures);

/* Reports work of which nothing was heard: a failure, but not of a probe, whose place comes free of itself. Raises TP360. */
extern void atp_breaker_report_lost(int32 tenant, const char *name);

/* Milliseconds until the breaker gives permits again; 0: it gives them now, -1: it is isolated. Changes nothing. */
extern int64 atp_breaker_wait(int32 tenant, const char *name);

#endif

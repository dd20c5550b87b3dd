/*
 * Event ids: ULIDs held in the type uuid, monotonic within a backend. And the random bytes that they and the salts are made of.
 */
#ifndef ATP_EVENTID_H
#define ATP_EVENTID_H

#include "postgres.h"

#include "utils/uuid.h"

/*
 * Makes an id that orders after every other this backend has made: of the clock's millisecond with 80 fresh random bits, or, within
 * the same millisecond or after the clock stepped back, the last one plus one.
 */
extern void atp_eventid_create(pg_uuid_t *id);

/* The time in an id, in milliseconds since 1970-01-01Z. */
extern int64 atp_eventid_time(const pg_uuid_t *id);

/*
 * Cryptographically strong random bytes, drawn from the system 1 KB at a time, of which 16 cost a few nanoseconds instead of a system
 * call. What was handed out is wiped, and a forked process never sees its parent's.
 */
extern void atp_random_bytes(uint8 *out, int n);

#endif

/*
 * The guard: what the event store holds is append-only, and what it is made of stays as it was installed, whoever asks.
 *
 * Three nets. Statement triggers refuse UPDATE, DELETE, TRUNCATE and INSERT past the append on events, streams and the log. Event
 * triggers refuse commands that alter or drop an object of the store, and let go of it only while it holds no event. Hooks, where
 * the library is loaded, do the same once more and for what fires neither. All triggers are ENABLE ALWAYS, so that
 * session_replication_role does not skip them. What stays possible to a superuser is said in docs/design/guard.md.
 */
#ifndef ATP_GUARD_H
#define ATP_GUARD_H

#include "postgres.h"

/* Puts the guard's trigger on a table, acting as atp_owner. */
extern void atp_guard_table(Oid relation);

extern void atp_guard_init(void);

#endif

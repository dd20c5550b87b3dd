/*
 * A function of SQL run in a transaction of its own, by a process of its own: for what has to stand whatever becomes of the caller's
 * transaction, and for what a read-only transaction or one with an old snapshot cannot write.
 */
#ifndef ATP_AUTONOMOUS_H
#define ATP_AUTONOMOUS_H

#include "postgres.h"

/*
 * Calls `function` (with its schema) with one argument, the text of a jsonb, as atp_owner; session_user and the settings that fill the
 * metadata of events (atp.actor and so on) are the caller's. Waits for it. True: it is committed. False: it is not, and nothing was
 * raised: no process was free, it failed (the server's log says how), or it waited half a second for a lock, which may be the
 * caller's. Costs a few milliseconds. Raises only where the caller is cancelled meanwhile: then it may have been committed or not.
 */
extern bool atp_autonomous_call(const char *function, const char *argument);

#endif

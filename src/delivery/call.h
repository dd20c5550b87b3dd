/*
 * A call of a handler's function: in a subtransaction, under the handler's role, within its time and memory.
 *
 * When its time is over it is cancelled, as pg_cancel_backend would. A function that catches that (EXCEPTION WHEN query_canceled) and goes
 * on ends with its process a grace period later: that cannot be caught. Who called it says in a before_shmem_exit callback what became of
 * the event.
 */
#ifndef ATP_CALL_H
#define ATP_CALL_H

#include "postgres.h"

/* Whether this process ends because a call ran on after its time. Then *event_id is that of its event, as text, and *reason says so. */
extern bool atp_call_has_overrun(const char **event_id, const char **reason);

/* Whether a call in this process ran out of memory: it may have left some behind that lasts, and others would be short of it. */
extern bool atp_call_has_exhausted(void);

/* Ends the limit of memory of a call that an exit of the process has cut off. */
extern void atp_call_end_limit(void);

extern void atp_call_init(void);

#endif

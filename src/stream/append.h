/*
 * The one door: every event is admitted here, whether it comes from append_event, append_events, INSERT or COPY into the
 * view atp.events, or the platform itself.
 */
#ifndef ATP_APPEND_H
#define ATP_APPEND_H

#include "postgres.h"

/*
 * What the floors above hang on the life of an appending transaction; init.c fills it. Called only in transactions that
 * have appended at least one event that was not rolled back to a savepoint... or may have: never missed, perhaps called in vain.
 */
typedef struct AtpAppendHooks
{
	void		(*pre_commit) (void);	/* before commit or prepare; may raise: the transaction then aborts */
	void		(*committed) (void);	/* after the commit is visible; must not raise */
} AtpAppendHooks;

extern AtpAppendHooks atp_append_hooks;

#endif

/*
 * The background worker of a database: runs the jobs that the rooms above hang on it, and is woken by latch.
 *
 * One worker per database at most. The truth of that is a session lock in the lock table (tag: the database and
 * ATP_LOCK_CLASS, which no SQL function can take); it goes with the process however that ends. Its pid stands in the one
 * row of atp_internal.worker, so that others find the latch: read once per backend, re-verified at each wake against the
 * PGPROC it named, and against the lock at most once a second.
 *
 * A worker is started by whoever needs one and finds none, and by the launcher at boot where the library is preloaded.
 */
#ifndef ATP_WORKER_H
#define ATP_WORKER_H

#include "postgres.h"

#include "storage/lock.h"

typedef enum AtpWork
{
	ATP_WORK_NONE,				/* nothing was to be done */
	ATP_WORK_DONE,				/* something was done, nothing is left as far as one knows */
	ATP_WORK_MORE,				/* something was done and more waits: call again at once */
	ATP_WORK_GONE				/* the extension is not there: leave */
} AtpWork;

/*
 * A job runs outside of a transaction and starts its own. An error ends its transaction, is logged, and makes the worker wait
 * before it goes on. `period` is in milliseconds; 0 means at each wake and at least once a second.
 */
typedef AtpWork (*AtpWorkerJob) (void);
extern void atp_worker_add_job(const char *name, int period, AtpWorkerJob run);

/*
 * Sees to it that a worker is alive or being started. False: none is and none can be had now. Needs a transaction. Costs a
 * clock reading while all is well; takes no lock that others wait for.
 */
extern bool atp_worker_require(void);

/* Wakes the worker, if this backend knows one. Never raises; needs no transaction. */
extern void atp_worker_wake(void);

/* Says whether a worker holds this database's lock now. */
extern bool atp_worker_is_alive(void);

/* Locks of atp in this database: the tag's last field keeps them apart from the user's advisory locks. */
typedef enum AtpLock
{
	ATP_LOCK_WORKER,			/* held by the worker for its life */
	ATP_LOCK_TICK				/* held to the end of the transaction by whoever places events */
} AtpLock;
extern void atp_lock_tag(LOCKTAG *tag, AtpLock which);

extern void atp_worker_init(void);

#endif

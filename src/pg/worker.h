/*
 * The background worker of a database: runs the jobs that the rooms above hang on it, and is woken by latch.
 *
 * At most one worker serves a database. The truth of that is a session lock in the lock table (tag: the database and a class
 * that no SQL function can take), which goes with the process however that ends. Its latch is found among the server's
 * processes; a backend remembers it, and a glance at the latch's owner tells whether it is still that process.
 *
 * A worker is started by whoever needs one and finds none, and by the launcher at boot where the library is preloaded.
 */
#ifndef ATP_WORKER_H
#define ATP_WORKER_H

#include "postgres.h"

#include "storage/lock.h"
#include "storage/proc.h"

#include "pg/job.h"

/* Jobs take turns, so one call shall take no longer than an event may wait for its place in the log. A period of 0: at each wake-up. */
extern void atp_worker_add_job(const char *name, int period_ms, AtpWorkerJob run);

/*
 * Starts a transaction in which the extension cannot be dropped. False: the extension is not there, no transaction is open,
 * return ATP_WORK_GONE.
 */
extern bool atp_worker_begin(void);

/* Says whether someone holds or awaits a lock on the database that sessions stand in the way of: then a background worker leaves. */
extern bool atp_worker_database_is_wanted(void);

/*
 * Sees to it that a worker is alive or being started. False: none is, and none can be had now. Looks at shared memory only, and
 * costs a clock reading while all is well. A transaction that relies on the worker calls it after it has got its transaction
 * id and before it commits; see "Leaving" in worker.c.
 */
extern bool atp_worker_require(void);

/* Wakes the worker. Never raises; needs no transaction. */
extern void atp_worker_wake(void);

/*
 * Appends must not outrun the worker for ever. It reports how old what it has just finished was; while that is beyond
 * atp.worker_max_lag, atp_worker_throttle, which a transaction calls before its first append and before it holds any lock of ours,
 * sleeps: longer each second, up to 50 ms, until the worker has caught up. Costs a load while it has.
 */
extern void atp_worker_report_lag(int64 ms);
extern void atp_worker_throttle(void);

/* Locks of atp in this database. */
typedef enum AtpLock
{
	ATP_LOCK_WORKER,			/* held by the worker for its life */
	ATP_LOCK_TICK,				/* held to the end of the transaction by whoever places events in the log */
	ATP_LOCK_BEHIND,			/* held by the worker while appends have to be slowed down */
	ATP_LOCK_ASIDE				/* held by whoever runs the jobs of pg/aside: their process for its life, or the worker in its place */
} AtpLock;

extern void atp_lock_tag(LOCKTAG *tag, AtpLock which);
extern bool atp_lock_is_held(AtpLock which);	/* by anybody, now */
extern bool atp_lock_take(AtpLock which);	/* for the session; false: another has it */
extern void atp_lock_release(AtpLock which);

/* The process of a type of background worker in this database, and its id; NULL: there is none, or it is this one. */
extern PGPROC *atp_worker_find_process(const char *type, int *pid);

/* Settings: atp.worker_enabled, atp.worker_idle_timeout. */
extern bool atp_worker_is_enabled(void);
extern int64 atp_worker_idle_ms(void);

extern void atp_worker_init(void);

#endif

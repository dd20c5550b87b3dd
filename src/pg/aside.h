/*
 * A second background process of a database, for jobs that take a processor for long, so that the worker stays free for the sequencer.
 *
 * The worker starts it when there is something to do. It leaves when nothing is (after ten seconds, or atp.worker_idle_timeout where that
 * is less), when the extension is gone, and within a second when somebody wants the database to himself. The worker outlives it, and
 * starts it again when it was ended. Where no process can be had, the worker runs the jobs itself, among its others.
 *
 * Lock: whoever runs the jobs holds ATP_LOCK_ASIDE. That keeps two from doing the same work; what the jobs do is guarded by locks of
 * their own.
 *
 * Pace: between two parts of a long job the process rests for half as long as the part took, so that it takes two thirds of a core at
 * most, and less where others want the processor; unless a job says that it is late.
 */
#ifndef ATP_ASIDE_H
#define ATP_ASIDE_H

#include "postgres.h"

#include "pg/job.h"

/*
 * `look` says in a transaction of its own whether there is something to do: ATP_WORK_DONE (now), LATER, NONE, or GONE. The worker asks it
 * while there is no process. `run` is a job; see pg/job.
 */
extern void atp_aside_add_job(const char *name, int period_ms, AtpWorkerJob look, AtpWorkerJob run);

/* True in the process, false in a worker that does its work: parts may be large, or have to be small. */
extern bool atp_aside_is_apart(void);

/* Says whether there is a hurry; until the next call. */
extern void atp_aside_set_late(bool late);

/* The worker's job. */
#define ATP_ASIDE_PERIOD 500
extern AtpWork atp_aside_work(void);

/* `type` is what pg_stat_activity shows as the process's backend_type. */
extern void atp_aside_init(const char *type);

#endif

/*
 * Jobs of a background process: called in turn, each when it is due; and what the processes that run them have in common.
 *
 * An error ends the transaction of the job that raised it, is logged (the same one not more than once a minute) and puts that job off,
 * one second at first, thirty at most; the others go on.
 */
#ifndef ATP_JOB_H
#define ATP_JOB_H

#include "postgres.h"

#define ATP_JOBS_MAX 16

typedef enum AtpWork			/* what a job did, in order of urgency */
{
	ATP_WORK_NONE,				/* nothing was to be done */
	ATP_WORK_LATER,				/* nothing now, but something is due later: the process stays although it is idle */
	ATP_WORK_DONE,				/* something was done, nothing is left as far as one knows */
	ATP_WORK_MORE,				/* something was done and more waits: call again at once */
	ATP_WORK_GONE				/* the extension is not there: the process leaves */
} AtpWork;

/*
 * A job is called outside of a transaction; it begins one with atp_worker_begin and commits it itself. Jobs take turns: do a part, and
 * return ATP_WORK_MORE.
 */
typedef AtpWork (*AtpWorkerJob) (void);

typedef struct AtpJob
{
	const char *name;
	int			period;
	AtpWorkerJob run;
	AtpWork		last;			/* what the last call returned */
	int64		due;			/* not called before */
	int			backoff;		/* ms added by errors; 0: the last call succeeded */
	int			logged_code;	/* SQLSTATE of the error that was logged last */
	int64		logged_at;
} AtpJob;

typedef struct AtpJobs			/* those of one process */
{
	AtpJob		jobs[ATP_JOBS_MAX];
	int			count;
	bool		failed;			/* one of them raised an error in the last round */
} AtpJobs;

/* A job is called every `period_ms`; 0: in every round. */
extern void atp_job_add(AtpJobs *jobs, const char *name, int period_ms, AtpWorkerJob run);

/*
 * One round: calls every job that is due, in `context`, which is reset after each. Returns the most urgent result; of jobs that were
 * not due, the wish to stay.
 */
extern AtpWork atp_job_run(AtpJobs *jobs, MemoryContext context);

/* How long an idle process sleeps, `most` ms at most: until the next job is due, those aside that run in each round anyway. */
extern long atp_job_time_to_next(const AtpJobs *jobs, int64 most);

/* Milliseconds of a clock that is never set back; starts above any interval used with it. */
extern int64 atp_job_clock(void);

/* Connects a background process to its database, with signal handlers and settings as jobs need them. */
extern void atp_job_connect(Oid database);

extern void atp_job_attend_to_signals(void);

/* Waits for the latch, and does not reset it; true: it was set. Ends with the postmaster. */
extern bool atp_job_wait(long ms);

#endif

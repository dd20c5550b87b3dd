/* Jobs of a background process; see job.h. */
#include "pg/job.h"

#include <time.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#define MAX_BACKOFF 30000
#define SAME_ERROR_INTERVAL 60000	/* ms for which a repeated error is not logged again */

int64
atp_job_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000 + now.tv_nsec / 1000000 + INT64CONST(1000000);
}

void
atp_job_add(AtpJobs *jobs, const char *name, int period_ms, AtpWorkerJob run)
{
	if (jobs->count == ATP_JOBS_MAX)
		elog(ERROR, "too many jobs");
	jobs->jobs[jobs->count++] = (AtpJob) {.name = name, .period = period_ms, .run = run};
}

/* Reports the error that a job raised, not the same one more than once a minute, ends its transaction, and puts the job off. */
static void
recover_from_error(AtpJob *job, MemoryContext context)
{
	ErrorData  *error;
	int64		now = atp_job_clock();

	HOLD_INTERRUPTS();
	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode != job->logged_code || now - job->logged_at >= SAME_ERROR_INTERVAL)
	{
		EmitErrorReport();
		job->logged_code = error->sqlerrcode;
		job->logged_at = now;
	}
	AbortCurrentTransaction();
	MemoryContextSwitchTo(context);
	FlushErrorState();
	RESUME_INTERRUPTS();
	job->backoff = Min(Max(job->backoff * 2, 1000), MAX_BACKOFF);
	job->due = now + job->backoff;
}

static AtpWork
run_job(AtpJobs *jobs, AtpJob *job, MemoryContext context)
{
	volatile AtpWork work = ATP_WORK_LATER; /* after an error the job has to be tried again */

	job->due = atp_job_clock() + job->period;
	PG_TRY();
	{
		work = job->run();
		job->backoff = 0;
		if (work == ATP_WORK_MORE)
			job->due = 0;
	}
	PG_CATCH();
	{
		recover_from_error(job, context);
		jobs->failed = true;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	MemoryContextReset(context);
	job->last = work;
	return work;
}

AtpWork
atp_job_run(AtpJobs *jobs, MemoryContext context)
{
	AtpWork		result = ATP_WORK_NONE;
	int64		now = atp_job_clock();

	jobs->failed = false;
	for (int i = 0; i < jobs->count && result != ATP_WORK_GONE; i++)
	{
		AtpJob	   *job = &jobs->jobs[i];
		AtpWork		work = job->last == ATP_WORK_LATER ? ATP_WORK_LATER : ATP_WORK_NONE;

		if (now >= job->due)
			work = run_job(jobs, job, context);
		result = Max(result, work);
	}
	return result;
}

long
atp_job_time_to_next(const AtpJobs *jobs, int64 most)
{
	int64		now = atp_job_clock();
	int64		wait = most;

	for (int i = 0; i < jobs->count; i++)
		if (jobs->jobs[i].period > 0)
			wait = Min(wait, Max(jobs->jobs[i].due - now, 1));
	return (long) wait;
}

void
atp_job_connect(Oid database)
{
	static const char *const settings[][2] = {
		{"search_path", "pg_catalog, pg_temp"}, {"statement_timeout", "0"}, {"lock_timeout", "0"},
		{"idle_in_transaction_session_timeout", "0"}, {"default_transaction_isolation", "read committed"},
		{"default_transaction_read_only", "off"}, {"session_replication_role", "origin"}, {"jit", "off"},
	};

	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(database, InvalidOid, 0);
	for (int i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i][0], settings[i][1], PGC_SUSET, PGC_S_OVERRIDE);
}

void
atp_job_attend_to_signals(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

bool
atp_job_wait(long ms)
{
	int			events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, ms, PG_WAIT_EXTENSION);

	return (events & WL_LATCH_SET) != 0;
}

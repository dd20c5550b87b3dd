/*
 * Scheduled verification: incremental once a day and at server start, of everything once a week. pg_cron calls
 * atp.run_verification() where it is set up; otherwise the worker has it run, in a process of its own, because the sequencer
 * must not wait for it. A run that is missing is itself a fault, for the doctor.
 */
#ifndef ATP_NIGHTLY_H
#define ATP_NIGHTLY_H

#include "postgres.h"

#include "pg/worker.h"

/* The worker's job: starts a verification when one is due. */
extern AtpWork atp_nightly_work(void);

extern void atp_nightly_init(void);

#endif

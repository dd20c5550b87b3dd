/*
 * Housekeeping: what has to be done once in a while and by nobody in particular. Partitions for times to come are made, and what is
 * kept for a while only is purged. The worker does it every minute; pg_cron may, by calling run_housekeeping().
 */
#ifndef ATP_HOUSEKEEPING_H
#define ATP_HOUSEKEEPING_H

#include "postgres.h"

#include "pg/worker.h"

#define ATP_HOUSEKEEPING_PERIOD 60000	/* ms */

/* The worker's job. */
extern AtpWork atp_housekeeping_work(void);

#endif

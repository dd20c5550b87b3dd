/* Scheduled events: the worker's job that appends those that are due. */
#ifndef ATP_SCHEDULE_H
#define ATP_SCHEDULE_H

#include "postgres.h"

#include "pg/worker.h"

#define ATP_SCHEDULE_PERIOD 500	/* ms */

extern AtpWork atp_schedule_work(void);

#endif

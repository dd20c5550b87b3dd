/* Start-ups on record: a job of the background worker. */
#ifndef ATP_SERVICESTART_H
#define ATP_SERVICESTART_H

#include "pg/worker.h"

#define ATP_SERVICESTART_PERIOD 60000	/* ms */

extern AtpWork atp_servicestart_work(void);

#endif

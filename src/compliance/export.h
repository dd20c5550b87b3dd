/* Export of evidence bundles. */
#ifndef ATP_EXPORT_H
#define ATP_EXPORT_H

#include "pg/worker.h"

#define ATP_EXPORT_PERIOD 2000	/* ms */

/* Worker job: records exports as failed that broke off. */
extern AtpWork atp_export_work(void);

#endif

/* The walk of the log, position by position: it tells where log and events first disagree. */
#ifndef ATP_VERIFYLOG_H
#define ATP_VERIFYLOG_H

#include "postgres.h"

#include "stream/verify.h"

typedef struct AtpLogFault
{
	AtpFault	event;			/* stream 0: not known; what = NULL: no fault */
	bool		has_position;
	int64		log_position;
} AtpLogFault;

/* Walks the whole log under the active snapshot; returns the number of rows read up to the first fault. */
extern int64 atp_verifylog_walk(AtpLogFault *fault);

#endif

/*
 * Verification of one stream: every hash recomputed from the stored columns, links, dense versions 1 ... n, and the head row
 * equal to what the events say. All streams at once: stream/sweep.
 */
#ifndef ATP_VERIFY_H
#define ATP_VERIFY_H

#include "postgres.h"

#include "stream/chain.h"

typedef struct AtpFault			/* the first one: by tenant, stream, version */
{
	int32		tenant;
	int64		stream;
	int64		version;
	const char *what;			/* NULL: no fault */
} AtpFault;

/* Walks a stream in its order until its end or its first fault; returns the number of its events that were read. */
extern int64 atp_verify_walk(const AtpChainHead *head, bool deep, AtpFault *fault);

/* The same to see whether the index finds what is there. The caller has set the planner's switches so that it is used. */
extern void atp_verify_index(const AtpChainHead *head, AtpFault *fault);

/* Begins and ends a check under one snapshot that sees what this transaction has done so far. */
extern void atp_verify_begin(void);
extern void atp_verify_end(void);

#endif

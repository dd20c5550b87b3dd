/*
 * Verification of streams: every hash recomputed from the stored columns, links, dense versions 1 ... n, and the head row
 * equal to what the events say.
 */
#ifndef ATP_VERIFY_H
#define ATP_VERIFY_H

#include "postgres.h"

typedef struct AtpFault			/* the first one: by tenant, stream, version */
{
	int32		tenant;
	int64		stream;
	int64		version;
	const char *what;			/* a constant; NULL: no fault */
} AtpFault;

typedef struct AtpVerdict
{
	int64		checked;		/* events whose hash was recomputed */
	int64		faulty;			/* streams with a fault */
	AtpFault	first;
} AtpVerdict;

/*
 * Verifies all streams of all tenants under the active snapshot. The caller is connected to SPI. Memory is bounded by
 * maintenance_work_mem. With `deep`, stored documents have to be canonical too.
 */
extern void atp_verify_streams(bool deep, AtpVerdict *verdict);

/* Begins and ends a check under one snapshot that sees what this transaction has done so far; connects to SPI. */
extern void atp_verify_begin(void);
extern void atp_verify_end(void);

#endif

/*
 * Verification of all streams in one pass over the events as they lie on disk, and in the same pass of what the log says of them:
 * that each event has one place, and a stream's events have theirs in order.
 *
 * The work divides into classes of streams that have nothing to do with one another: each can be done by another process, under
 * the same snapshot. A class reads the tables whole and hashes its own streams' events only.
 */
#ifndef ATP_SWEEP_H
#define ATP_SWEEP_H

#include "postgres.h"

#include "stream/verify.h"

/* Takes a row of the log. */
typedef void (*AtpSweepPlaced) (void *sweep, int32 tenant, int64 stream, const uint8 *event_id, int32 event_type);

typedef struct AtpSweepLog		/* the log, which lies above */
{
	/* Hands over all rows as they lie on disk, or by index. False: they are not the positions 1, 2, 3, ... in this order. */
	bool		(*read) (void *context, bool by_index, AtpSweepPlaced placed, void *sweep);

	/* Says whether an event that is visible must have a position by now. */
	bool		(*is_due) (void *context, uint64 xid, int64 seq);
	void	   *context;
} AtpSweepLog;

typedef struct AtpSweepWork		/* one class */
{
	bool		deep;			/* stored documents have to be canonical too, and the index of streams has to find all */
	uint32		classes;
	uint32		class;			/* from 0 */
	int64		memory;			/* bytes that it may take */
	const AtpSweepLog *log;
} AtpSweepWork;

typedef struct AtpVerdict
{
	int64		checked;		/* events whose hash was recomputed */
	int64		faulty;			/* streams with a fault */
	AtpFault	first;
	bool		log_differs;	/* from the events; a walk of the log tells where */
	bool		log_unread;		/* not compared for every stream: it has to be walked */
} AtpVerdict;

/* Verifies a class of the streams of all tenants under the active snapshot. */
extern void atp_sweep(const AtpSweepWork *work, AtpVerdict *verdict);

/* Adds the verdict on one class to that on others. */
extern void atp_sweep_merge(AtpVerdict *sum, const AtpVerdict *one);

#endif

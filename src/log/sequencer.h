/*
 * The sequencer: gives committed events their places in the log, one slice per tick.
 *
 * A tick is part of one transaction. It takes ATP_LOCK_TICK, which whoever places events holds to the end of its transaction, so
 * that the state it reads is the last one committed. A user's transaction may tick: what it appended itself, before or after,
 * is placed by a later tick, once it has committed.
 */
#ifndef ATP_SEQUENCER_H
#define ATP_SEQUENCER_H

#include "postgres.h"

#include "utils/snapshot.h"

#include "pg/worker.h"

#define ATP_LOG_CHANNEL "atp"	/* one NOTIFY per tick; payload: the position of the last event */

/* The worker's job: one tick in a transaction of its own. */
extern AtpWork atp_sequencer_work(void);

/*
 * For those who read the log: wakes or starts the worker; where there is none and none can be had, runs one tick in the caller's
 * transaction instead, unless that cannot place events (read only, a standby, a fixed snapshot), or might hold the tick lock for
 * long (a transaction block), or another is at it. Returns the number of events placed.
 */
extern int64 atp_sequencer_attend(void);

/* True while the sequencer itself inserts into the log: triggers on the log do nothing otherwise, as in a restore. */
extern bool atp_sequencer_is_placing(void);

/*
 * For who verifies the log: the state of the sequencer as a snapshot shows it, and whether an event that is visible in that snapshot
 * must have a position by then. Where transaction ids say nothing (after a restore), only what atp.resequence() has covered must.
 */
typedef struct AtpSequencerState AtpSequencerState;
extern const AtpSequencerState *atp_sequencer_read_state(Snapshot snapshot);
extern bool atp_sequencer_log_is_cut(const AtpSequencerState *state);	/* its last row is not the last of a tick */
extern bool atp_sequencer_must_have_placed(const AtpSequencerState *state, uint64 xid, int64 seq);

extern void atp_sequencer_init(void);

#endif

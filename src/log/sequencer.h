/*
 * The sequencer: gives committed events their places in the log, one slice per tick.
 *
 * A tick is part of one transaction. It takes ATP_LOCK_TICK, which whoever places events holds to the end of its transaction, so
 * that the state row it reads is the last one committed. A user's transaction may tick: what it appended itself, before or after,
 * is placed by a later tick, once it has committed.
 */
#ifndef ATP_SEQUENCER_H
#define ATP_SEQUENCER_H

#include "postgres.h"

#include "pg/worker.h"

/* The worker's job: one tick in a transaction of its own. */
extern AtpWork atp_sequencer_work(void);

/*
 * For readers: where this database has no worker and can have none, runs one tick in the caller's transaction, unless that
 * cannot place events (read only, on a standby, a fixed snapshot) or another is at it. Returns the number of events placed.
 */
extern int64 atp_sequencer_help(void);

/* True while the sequencer itself inserts into the log: the triggers on the log do nothing otherwise, as in a restore. */
extern bool atp_sequencer_is_placing(void);

extern void atp_sequencer_init(void);

#endif

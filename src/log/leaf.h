/*
 * The second job after a commit: every event that has a place in the log becomes a leaf of its tenant's Merkle tree.
 *
 * A leaf is recomputed from the stored event first, never copied: one flipped bit in a log that was signed cannot be taken
 * back. An event that does not hash to what was written stops its tenant's tree there, raises an alarm and is found by the
 * doctor; the other tenants go on. atp.resume_tree() goes on once the event has been put right from a backup.
 *
 * Lock: the row of atp_internal.leaf_state, FOR UPDATE to the end of the transaction. Crash: all of a run or nothing of it.
 */
#ifndef ATP_LEAF_H
#define ATP_LEAF_H

#include "postgres.h"

#include "log/predecessor.h"
#include "pg/job.h"
#include "stream/chain.h"

/*
 * Recomputes the hash of the event in a row, of which the first columns are ATP_CHAIN_COLUMNS, null where there is no event. Returns
 * what is wrong with it, or NULL. May be called for a row of a scan.
 */
extern const char *atp_leaf_recompute(AtpPredecessors *table, TupleTableSlot *row, AtpChainLink *link);

/*
 * Integrates up to `most` log rows, in the caller's transaction (READ COMMITTED, connected to SPI by itself). Returns how many rows
 * it took; fewer than `most`: nothing is left.
 */
extern int64 atp_leaf_grow(int64 most);

/*
 * The job (of the process for long jobs, pg/aside) and the look that comes before it: a slice in a transaction of its own; before it, in
 * another, an alarm if the oldest event that waits has waited longer than atp.merge_delay_max, so that it is raised also where growing
 * fails. Past a quarter of that time there is a hurry.
 */
extern AtpWork atp_leaf_look(void);
extern AtpWork atp_leaf_work(void);

extern void atp_leaf_init(void);

#endif

/*
 * Checkpoints: each tenant's tree that has grown becomes a leaf of the root log, and the root log's size and root become
 * three lines that somebody signs. One signature covers all tenants; that a stream or a whole tenant is gone shows.
 *
 * Lock: the row of atp_internal.checkpoint_state to the end of the transaction; after that of leaf_state, where both are
 * taken. The private key is atp-signer's, outside; or, for development, it lies in the file atp.signing_key_file, which is
 * read for each checkpoint, wiped after it, and proves nothing against who owns the server.
 */
#ifndef ATP_CHECKPOINT_H
#define ATP_CHECKPOINT_H

#include "postgres.h"

#include "pg/job.h"

/* The job (of the process for long jobs, pg/aside) and its look: a checkpoint every atp.checkpoint_interval, if something is new. */
extern AtpWork atp_checkpoint_look(void);
extern AtpWork atp_checkpoint_work(void);

extern void atp_checkpoint_init(void);

#endif

/*
 * Stream heads: the row of a stream is its lock, its version counter and the end of its hash chain.
 *
 * Within a transaction a head that has been appended to is held here in memory. Its row is written at the first append (that
 * write is the lock) and once more before commit if more was appended since: a row rewritten per event would make a
 * transaction of n appends leave n row versions. What a savepoint takes back is restored from images taken when a deeper
 * level first changed a head. At most atp.stream_heads of them are held; the least recently used one is written and forgotten.
 *
 * Lock order: a stream's row is locked by the first append to it and held to the end of the transaction, as any row is. A batch
 * over several streams takes them in order of their names.
 */
#ifndef ATP_STREAM_H
#define ATP_STREAM_H

#include "postgres.h"

#include "stream/headrow.h"

/*
 * Returns the head of a stream. When the transaction holds it already, that one, locked. Otherwise it is read from the table, or
 * says that the stream does not exist (stream = 0). With `lock`, an existing row is locked first, waiting for whoever holds it.
 * Raises 40001 in REPEATABLE READ and above when the row has changed since the transaction's snapshot.
 *
 * The head belongs to stream.c. Change its fields (version, hash, times, ids), then call atp_stream_publish.
 */
extern AtpHead *atp_stream_open(int32 tenant, const char *name, bool lock);

/* To be called before the fields of a head are changed: keeps what a rollback to a savepoint has to bring back. */
extern void atp_stream_change(AtpHead *head);

/*
 * Makes the changed head count. A head that was not locked is written to its row, or its row is inserted. False: another transaction
 * was faster; nothing has happened, the head is gone, open it again. A locked head stays in memory until commit, or until
 * atp_stream_open has to make room.
 *
 * *turn, 0 before the first try, is the stream in whose queue the caller stands after a failure: the next try waits for whoever holds
 * the row.
 */
extern bool atp_stream_publish(AtpHead *head, int64 *turn);

/* The head of a stream (surrogate key) that this transaction has changed and not yet written; NULL: the row is right. */
extern const AtpHead *atp_stream_pending(int64 stream);
extern bool atp_stream_has_pending(void);	/* there is one */

extern void atp_stream_init(void);

#endif

/*
 * The events of a batch that was claimed. One pass over the indexes of their ids says where all of them stand; then they are read one
 * by one, in the order of the batch. While one is used, the page of the next is pinned and its row is on its way into the
 * processor's cache.
 */
#ifndef ATP_BATCH_H
#define ATP_BATCH_H

#include "postgres.h"

#include "delivery/feed.h"

typedef struct AtpBatch AtpBatch;

/* Begins a batch in the current memory context. Rows, `stride` bytes apart, and the snapshot have to stay until atp_batch_end. */
extern AtpBatch *atp_batch_begin(AtpFeed *feed, const AtpLogRow *rows, Size stride, int count, Snapshot snapshot);
extern void atp_batch_end(AtpBatch *batch);

/* The event of row i; false: it is not stored any more. What `event` points at lives until the next call. */
extern bool atp_batch_fetch(AtpBatch *batch, int i, AtpFeedEvent *event);

#endif

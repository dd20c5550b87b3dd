/* Rows of the stream projection: how far each stream has come in the log, a stream a row. */
#ifndef ATP_PROJECTION_STREAMS_H
#define ATP_PROJECTION_STREAMS_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/snapshot.h"

typedef struct AtpStreams AtpStreams;

/* Begins in the current memory context, which holds everything until the end. The snapshot sees the streams. */
extern AtpStreams *atp_streams_begin(Snapshot snapshot);

/* The event at a position of the log; the slot is that of a partition of atp_internal.event, its columns deformed. */
extern void atp_streams_add(AtpStreams *streams, int64 log_position, TupleTableSlot *event);

/* Writes what has been added. */
extern void atp_streams_end(AtpStreams *streams);

#endif

/* Events of the platform itself: what atp records about its own doings, through the same door as everybody's events. */
#ifndef ATP_PLATFORM_H
#define ATP_PLATFORM_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "stream/append.h"

/*
 * Appends one event of a builtin type to a stream of the tenant, in the caller's transaction, and returns its receipt. The stream is
 * one of the platform's own (its category begins with ATP_PLATFORM_PREFIX) or, where the event is part of that stream's story
 * (EventStreamSealed), a caller's. A suspended tenant takes it too: its suspension is an event of its own. For a deleted one, what
 * was done with its log or found out about it goes into the log of the tenant default, and anything else is refused (TP203). The metadata
 * name the session's user beside what the settings atp.actor and so on say. Raises 22023 where the type is not builtin, TP202 where there
 * is no such tenant, and what atp_append raises.
 *
 * The stream is locked until the transaction ends: what can happen at the rate of appends needs a stream of its own each time.
 */
extern AtpReceipt atp_platform_emit(int32 tenant, const char *stream, const char *event_type, Jsonb *payload);

/* The metadata of such events: session_user, and ingest_batch and causation_id where they are given. */
extern Jsonb *atp_platform_metadata(const char *ingest_batch, const char *causation_id);

#endif

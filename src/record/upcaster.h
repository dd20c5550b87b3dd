/* Versions of an event's payload, for readers in C; the rules are in upcaster.c. */
#ifndef ATP_UPCASTER_H
#define ATP_UPCASTER_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/uuid.h"

/*
 * The version to give a reader who accepts these: the stored one if he does, else the highest that he accepts and can have. Raises
 * 22023 for an argument that is malformed, TP228 where there is none.
 */
extern int32 atp_upcaster_choose(int32 event_type, int32 stored, Jsonb *accept, const pg_uuid_t *event_id);

/*
 * The canonical text of a stored payload (json) in another version, in the current memory context. Raises TP227 where a step fails.
 * May run a function of a user's.
 */
extern Datum atp_upcaster_cast(int32 event_type, int32 stored, int32 wanted, const pg_uuid_t *event_id, Datum payload);

#endif

/*
 * The envelope: what an event carries besides its payload, checked and brought to its stored form before any lock is taken.
 */
#ifndef ATP_ENVELOPE_H
#define ATP_ENVELOPE_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#define ATP_STREAM_NAME_MAX 255

/* Whether the name is {AggregateType}-{AggregateId}. `name` is terminated. */
extern bool atp_envelope_stream_name_is_valid(const char *name);

/* Raises TP201 unless it is. */
extern void atp_envelope_require_stream_name(const char *name);

/*
 * The stored form of a payload: canonical JSON text as a varlena of type json, in the current memory context. Raises TP205
 * unless it is an object nested at most atp.payload_max_depth deep, TP204 when over atp.payload_max_size bytes. Without
 * `limited` these two do not apply: atp made the payload, and bounds it.
 */
extern struct varlena *atp_envelope_payload(Jsonb *payload, bool limited);

/*
 * The stored form of metadata: the caller's members, and the session's defaults (atp.actor, atp.correlation_id,
 * atp.causation_id, atp.traceparent) for those it does not give. NULL means none given. Raises TP206.
 */
extern struct varlena *atp_envelope_metadata(Jsonb *metadata);

/* The schema version that a member schema_version of the metadata names, 0 where there is none. Raises TP206 for another value. */
extern int32 atp_envelope_schema_version(Jsonb *metadata);

/* A version given as a JSON number: 1 to 2147483647, or 0 for any other number. */
extern int32 atp_envelope_version_of(Numeric number);

/* Whether the id's time lies within the window around the clock. */
extern bool atp_envelope_id_is_in_window(const pg_uuid_t *event_id, TimestampTz now);

/*
 * The stored form of a stream's first event's metadata: `metadata` (in stored form) with a first member that names the stream. So the
 * name is hashed, and nobody can give the stream another one. "$" begins no member that a caller may give, and sorts before all of them.
 */
extern struct varlena *atp_envelope_name_stream(const struct varlena *metadata, const char *stream);

/* How such metadata begin; the name follows as a canonical JSON string. */
#define ATP_ENVELOPE_STREAM_MEMBER "{\"$stream\":"

/* Raises TP105 unless it does. */
extern void atp_envelope_require_id_in_window(const pg_uuid_t *event_id, TimestampTz now);

/* Raises TP206 for an idempotency key that is empty or longer than 255 bytes. */
extern void atp_envelope_require_key(const char *key);

extern void atp_envelope_init(void);

#endif

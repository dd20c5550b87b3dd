/* An event as callers give it. */
#ifndef ATP_EVENT_H
#define ATP_EVENT_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

/* Pointers are borrowed. */
typedef struct AtpEvent
{
	const char *event_type;
	Jsonb	   *payload;
	Jsonb	   *metadata;		/* NULL: none */
	const pg_uuid_t *event_id;	/* NULL: make one */
	bool		has_occurred_at;
	TimestampTz occurred_at;	/* without: the time it is recorded */
	int32		schema_version; /* that the payload shall be valid against; 0: the active one, or what the metadata names */
	bool		platform;		/* of a builtin type, appended by atp itself; the same for all events of a call */

	/*
	 * event_id and occurred_at were made for this call, which repeats the members EventId and Timestamp of the payload: a repetition, by
	 * its idempotency key, need not agree with them.
	 */
	bool		made_id;
	bool		made_time;
	bool		unlimited;		/* the limits of payloads do not apply: atp made this one, and bounds it */
} AtpEvent;

#endif

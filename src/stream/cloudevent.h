/*
 * The CloudEvents 1.0.2 form of an event: the one document that get_cloudevent returns and that the filters of subscriptions see.
 * How documents come in is in cloudevent.sql.
 */
#ifndef ATP_CLOUDEVENT_H
#define ATP_CLOUDEVENT_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

typedef struct AtpCloudEvent
{
	const char *tenant;
	const char *stream;
	const char *event_type;
	const pg_uuid_t *event_id;
	int64		stream_version;
	int32		schema_version;
	TimestampTz occurred_at;
	TimestampTz recorded_at;
	Datum		payload;		/* json */
	Datum		metadata;
	bool		payload_null;	/* erased */
	bool		metadata_null;
} AtpCloudEvent;

/* The document, in the current memory context. */
extern Jsonb *atp_cloudevent_document(const AtpCloudEvent *event);

/* The attribute source of an event that was not taken from a document. */
extern char *atp_cloudevent_source(const char *tenant, const char *stream);

/*
 * Whether the metadata may name attributes that stand in the place of those derived from the event (id, source, type, subject, and so
 * on): false: they surely do not.
 */
extern bool atp_cloudevent_may_differ(Datum metadata, bool metadata_null);

#endif

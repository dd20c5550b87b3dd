/* Repeated appends: the same event id or idempotency key with the same content returns the original receipt. */
#ifndef ATP_REPEAT_H
#define ATP_REPEAT_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/hash.h"
#include "record/tenant.h"
#include "stream/stream.h"

/* What an append returns for each event. */
typedef struct AtpReceipt
{
	pg_uuid_t	event_id;
	int64		stream_version;
	uint8		hash[ATP_HASH_SIZE];
	TimestampTz recorded_at;
	int32		schema_version;	/* that the payload was validated against; 0: none */
	bool		deduplicated;	/* the event was there already; the rest is the original receipt */
} AtpReceipt;

/*
 * What makes two appends the same: stream, type, payload, occurred_at where the caller gives it, and every member of the metadata
 * that the caller gives, but for traceparent and tracestate, which differ from one attempt to the next, and for what ingestion adds.
 */
typedef struct AtpContent
{
	const pg_uuid_t *event_id;	/* NULL: none given */
	int32		event_type;
	struct varlena *payload;	/* canonical text */
	Jsonb	   *metadata;		/* as the caller gave it; NULL: none */
	bool		has_occurred_at;
	TimestampTz occurred_at;
	bool		stamped;		/* the payload's EventId and Timestamp are this call's own: they need not agree */
} AtpContent;

/*
 * Under the stream lock: were these events appended before, under this key (NULL: none) or with these ids? Then fills the receipts
 * with the original ones and returns true. Raises TP104 when the key or an id stands for something else, or for a part of the batch.
 */
extern bool atp_repeat_find(const AtpTenant *tenant, const AtpHead *head, const char *key, const AtpContent *contents, int count,
							AtpReceipt *receipts);

/* Under the stream lock: remembers a key. */
extern void atp_repeat_remember(const AtpTenant *tenant, const AtpHead *head, const char *key, int64 first_version, int count);

/* Forgets keys older than the window; returns how many. */
extern int64 atp_repeat_purge(void);

extern void atp_repeat_init(void);

#endif

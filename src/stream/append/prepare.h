/*
 * Events and what they become before anything is locked: type, schema, canonical text, commitments. Everything
 * that is dear about an append is done here.
 */
#ifndef ATP_PREPARE_H
#define ATP_PREPARE_H

#include "postgres.h"

#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/record.h"
#include "record/eventtype.h"
#include "record/schema.h"
#include "stream/append/event.h"
#include "stream/stream.h"

/* An event in stored form, before its place is known. */
typedef struct AtpPrepared
{
	AtpEventType type;
	AtpSchemaVerdict verdict;
	uint8		flags;			/* of the record */
	bool		given_id;
	bool		has_occurred_at;
	TimestampTz occurred_at;
	pg_uuid_t	event_id;
	struct varlena *payload;
	struct varlena *metadata;
	struct varlena *unnamed;	/* the metadata without the name of the stream; NULL: they have none */
	uint8		salts[2 * ATP_SALT_SIZE];
	uint8		payload_commitment[ATP_HASH_SIZE];
	uint8		metadata_commitment[ATP_HASH_SIZE];
} AtpPrepared;

/* Texts are made in the current memory context. Raises what atp_append does for types, payloads, metadata and schemas, violations aside. */
extern void atp_prepare_event(const AtpEvent *event, AtpPrepared *prepared);

/* Raises TP221 for an event whose payload violates a schema that is enforced. */
extern void atp_prepare_refuse_violations(const AtpPrepared *prepared, int count);

/* The first event of a stream carries the stream's name in its metadata; any other does not. To be called again when the head moved. */
extern void atp_prepare_name_stream(AtpPrepared *prepared, const AtpHead *head);

/* Frees the texts. */
extern void atp_prepare_free(AtpPrepared *prepared);

#endif

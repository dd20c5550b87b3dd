/*
 * The chain as it is stored: what an event's columns hash to, recomputed from the row; and the steps of a walk along a stream.
 * For whoever checks stored events before relying on them.
 */
#ifndef ATP_CHAIN_H
#define ATP_CHAIN_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/uuid.h"

#include "core/record.h"

/* All columns of atp_internal.event in the order of partition.sql: then a scan projects nothing. */
#define ATP_CHAIN_COLUMNS \
	"e.event_id, e.stream, e.stream_version, e.occurred_at, e.recorded_at, e.xid, e.seq, e.tenant, e.event_type, " \
	"e.schema_version, e.flags, e.hash, e.salts, e.payload, e.metadata, e.private"

enum							/* their places in a row, from 0 */
{
	ATP_CHAIN_EVENT_ID, ATP_CHAIN_STREAM, ATP_CHAIN_STREAM_VERSION, ATP_CHAIN_OCCURRED_AT, ATP_CHAIN_RECORDED_AT,
	ATP_CHAIN_XID, ATP_CHAIN_SEQ, ATP_CHAIN_TENANT, ATP_CHAIN_EVENT_TYPE, ATP_CHAIN_SCHEMA_VERSION, ATP_CHAIN_FLAGS,
	ATP_CHAIN_HASH, ATP_CHAIN_SALTS, ATP_CHAIN_PAYLOAD, ATP_CHAIN_METADATA, ATP_CHAIN_PRIVATE
};

#define ATP_CHAIN_NAME_SIZE 16	/* of SHA-256 over a stream's name as a canonical JSON string */

/* An event's own part of its chain link: everything but the identity of its stream and the link before. */
typedef struct AtpChainLink
{
	int64		version;
	int64		seq;			/* not hashed: the writers' order, which a stream's events keep */
	uint64		xid;			/* not hashed: of the sequencer */
	int32		tenant;
	int32		event_type;
	uint8		flags;
	uint8		event_id[UUID_LEN];
	uint32		schema_version;
	int64		occurred_at;	/* microseconds since 1970 */
	int64		recorded_at;
	uint8		payload_commitment[ATP_HASH_SIZE];
	uint8		metadata_commitment[ATP_HASH_SIZE];
	uint8		hash[ATP_HASH_SIZE];	/* as stored */
	uint8		name[ATP_CHAIN_NAME_SIZE];	/* of version 1: digest of the stream's name that its metadata carry */
} AtpChainLink;

/*
 * Fills `link` from a row, all its columns deformed, with the commitments computed from the stored text. NULL, or what is
 * wrong with the row, a constant. With `deep`, the stored text has to be canonical too.
 */
extern const char *atp_chain_read(TupleTableSlot *row, bool deep, AtpChainLink *link);

/* The head of a stream: its row, or this transaction's image of it. */
#define ATP_CHAIN_HEAD_COLUMNS "s.stream, s.tenant, s.stream_uid, s.version, s.hash, s.min_event_id, s.max_event_id, s.name, s.state"

typedef struct AtpChainHead
{
	int64		stream;
	int32		tenant;
	uint8		stream_uid[UUID_LEN];
	int64		version;
	uint8		hash[ATP_HASH_SIZE];
	uint8		min_event_id[UUID_LEN];
	uint8		max_event_id[UUID_LEN];
	uint8		name[ATP_CHAIN_NAME_SIZE];
	char		state;			/* o, s, a */
} AtpChainHead;

/* Fills `head` from a row of ATP_CHAIN_HEAD_COLUMNS. */
extern void atp_chain_read_head(TupleTableSlot *row, AtpChainHead *head);

typedef struct AtpChainWalk		/* how far a stream has been walked; begins as zeros */
{
	int64		version;		/* of the last event in sequence */
	int64		seq;			/* its number in the order of writing */
	uint8		hash[ATP_HASH_SIZE];	/* its stored hash */
	uint8		min_event_id[UUID_LEN];
	uint8		max_event_id[UUID_LEN];
	uint8		name[ATP_CHAIN_NAME_SIZE];	/* of the first event */
	bool		sealed;			/* the last event is a seal */
} AtpChainWalk;

/*
 * Takes the event after the last one in sequence, with the fault that reading it showed (or NULL). Returns its fault, or NULL. The
 * walk goes on from the stored hash in any case, so that one changed event is one fault.
 */
extern const char *atp_chain_walk(AtpChainWalk *walk, const uint8 stream_uid[UUID_LEN], const AtpChainLink *link, const char *fault);

#define ATP_CHAIN_MISSING "event is missing"
#define ATP_CHAIN_TWICE "version is there twice"

/* Compares the end of a walk with the head of the stream. Returns the fault and its version, or NULL. */
extern const char *atp_chain_compare_head(const AtpChainWalk *walk, const AtpChainHead *head, int64 *version);

#endif

/*
 * The event before: identity of a stream and chain link of one of its versions, for whoever goes through events in log order. What
 * was seen last of some streams is kept, so that an event whose predecessor has just passed costs no look-up.
 */
#ifndef ATP_PREDECESSOR_H
#define ATP_PREDECESSOR_H

#include "postgres.h"

#include "utils/uuid.h"

#include "core/hash.h"

typedef struct AtpPredecessor
{
	int64		stream;			/* 0: the place is free */
	int32		tenant;
	int64		version;		/* of the event whose link is `hash`; 0: none */
	uint8		stream_uid[UUID_LEN];
	uint8		hash[ATP_HASH_SIZE];	/* zeros: none */
} AtpPredecessor;

typedef struct AtpPredecessors AtpPredecessors; /* a table of 131,072 places, 10 MB */

extern AtpPredecessors *atp_predecessors_make(MemoryContext memory);
extern void atp_predecessors_clear(AtpPredecessors *table);

/*
 * The event before version `version` of a stream, in *found, which is in the table. Returns what is wrong with it, or NULL. The
 * caller moves *found on when it has the event: atp_predecessor_pass. May be called for a row of a scan.
 */
extern const char *atp_predecessor_find(AtpPredecessors *table, int64 stream, int32 tenant, int64 version, AtpPredecessor **found);

/* Brings what find will need closer to the processor: the table is larger than its caches. First `far_away`, a little later not. */
extern void atp_predecessor_expect(const AtpPredecessors *table, int64 stream, int32 tenant, bool far_away);

static inline void
atp_predecessor_pass(AtpPredecessor *found, int64 version, const uint8 hash[ATP_HASH_SIZE])
{
	found->version = version;
	memcpy(found->hash, hash, ATP_HASH_SIZE);
}

#endif

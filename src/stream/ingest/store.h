/*
 * Items of ingestion into the store: the sound ones into their streams, the others into quarantine.
 *
 * Everything sound is appended inside one subtransaction. Only where that raises (a sealed stream, a key used for other content, a
 * payload over a limit) is it taken back, the item that raised found and set aside, and the rest appended again: what comes
 * before it in a subtransaction of its own, what comes behind it with the next attempt. A call without such items costs one
 * subtransaction however many items it has; k of them cost 2 k + 1, and nobody's work is done more than a few times.
 *
 * Lock order: streams in order of their names, as every batch; the quarantine stream, which nobody else writes to, comes last.
 */
#ifndef ATP_INGEST_STORE_H
#define ATP_INGEST_STORE_H

#include "stream/ingest/item.h"

/* What the items of a call have in common. */
typedef struct AtpIngestCall
{
	const AtpTenant *tenant;	/* takes events: the caller has checked */
	const pg_uuid_t *batch_id;	/* NULL: a single item */
	const char *quarantine;		/* stream for what is refused; NULL: one named after the batch or after the item */
	const char *causation;		/* goes into the metadata as causation_id; NULL: none */
} AtpIngestCall;

/*
 * Stores the items and fills their receipts. Raises only what is no item's fault: no disk, no privilege, a deadlock, a cancelled
 * statement.
 */
extern void atp_ingest_store(const AtpIngestCall *call, AtpIngestItem *items, int count);

#endif

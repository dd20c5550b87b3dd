/*
 * The events of a batch of log rows, read in the order of their ids and not one by one: ids are time, so those of neighbouring rows lie
 * side by side in the index of a partition, and one scan finds them all. Where they do not (an event of a transaction that was open for a
 * day), the scan skips: it descends the index anew.
 */
#ifndef ATP_FETCH_H
#define ATP_FETCH_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

typedef struct AtpFetchKey
{
	pg_uuid_t	event_id;
	int32		tenant;
	int32		index;			/* the caller's name for it */
} AtpFetchKey;

/* Takes an event, all columns deformed, in a memory context that is reset after each. */
typedef void (*AtpFetchRow) (void *context, int32 index, TupleTableSlot *row);

typedef struct AtpFetchPlace	/* where the event of a key stands */
{
	Oid			leaf;			/* invalid: there is no event */
	ItemPointerData tid;
	bool		doubtful;		/* the index has several entries for it: ask it */
} AtpFetchPlace;

/* Sorts the keys, and calls `take` for each that has an event, in their order. */
extern void atp_fetch_events(AtpFetchKey *keys, int count, Snapshot snapshot, AtpFetchRow take, void *context);

/*
 * Sorts the keys, and says where their events stand: places[key.index]. Only the indexes are read, so what stands there may
 * be dead, and what the snapshot does not see has a place, too. The leaves stay locked (ACCESS SHARE).
 */
extern void atp_fetch_places(AtpFetchKey *keys, int count, Snapshot snapshot, AtpFetchPlace *places);

#endif

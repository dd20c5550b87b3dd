/*
 * Events whose place is known, on their way into the table: written together, a leaf at a time. Nothing but a disk, or an id that
 * another transaction has stored meanwhile, can refuse them here.
 */
#ifndef ATP_STORE_H
#define ATP_STORE_H

#include "postgres.h"

#include "stream/append/prepare.h"
#include "stream/repeat.h"

#define ATP_STORE_ROWS 100		/* rows that are best written together */

typedef struct AtpPlaced
{
	const AtpPrepared *prepared;
	const AtpReceipt *receipt;
	int64		stream;
	int64		seq;			/* of atp_store_seq */
	int32		tenant;
} AtpPlaced;

/* The next number in the order of writing: to be drawn under the lock of the event's stream. */
extern int64 atp_store_seq(void);

/* Writes events, of any streams. Raises TP104 where a given id is one that another stream's append has stored meanwhile. */
extern void atp_store_events(const AtpPlaced *placed, int count);

#endif

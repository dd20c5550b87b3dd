/*
 * Many rows into one table: the table gets them in the order in which they come, each index in the order of its keys.
 *
 * An index visited in order of its keys finds the pages of one entry in the processor's caches when the next one needs them, and
 * dirties each page once, not once an entry. Few rows are entered as they come.
 *
 * The caller holds ROW EXCLUSIVE on the table. Triggers, rules and policies are not consulted; see relation.h.
 */
#ifndef ATP_BULK_H
#define ATP_BULK_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "utils/rel.h"

#define ATP_BULK_ROWS 10000		/* rows that are held before they have to be written */

typedef struct AtpBulk AtpBulk;

/* Begins in the current memory context, which holds everything until atp_bulk_end. */
extern AtpBulk *atp_bulk_begin(Relation relation);

/* Leaves the indexes alone: the caller has the table to itself and makes them anew at the end. */
extern void atp_bulk_leave_indexes(AtpBulk *bulk);

/*
 * The next row: its values and null flags, to be filled in by the caller. What values point to stays until atp_bulk_write. True from
 * atp_bulk_is_full: write before the next one.
 */
extern void atp_bulk_add(AtpBulk *bulk, Datum **values, bool **nulls);
extern bool atp_bulk_is_full(const AtpBulk *bulk);

/* Writes the rows added, and forgets them. */
extern void atp_bulk_write(AtpBulk *bulk);
extern void atp_bulk_end(AtpBulk *bulk);

#endif

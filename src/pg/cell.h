/*
 * Cells: 63 bits each that keep what was written when the transaction that wrote them rolls back. A cell is a sequence, whose value is
 * written by setval: logged, replicated, dumped, and no part of the transaction. For counters of failures, above all, which by their
 * nature come from transactions that fail.
 *
 * A read, a decision and a write exclude each other by a heavyweight lock that is released at once, not at the end of the
 * transaction. After a crash a cell may be as old as the last flush of the log.
 */
#ifndef ATP_CELL_H
#define ATP_CELL_H

#include "postgres.h"

#define ATP_CELLS_MAX 4

/* Decides on new values in place. Must be quick. An error releases the lock and writes nothing. */
typedef void (*AtpCellChange) (int64 *values, void *context);

/* Makes a cell that holds 0, named atp_internal.NAME, as atp_owner; SPI is not connected. It goes by DROP SEQUENCE. */
extern void atp_cell_create(const char *name);
extern void atp_cell_drop(const char *name);

/*
 * Drops all cells of the database. They are made after the extension and are no members of it, so that a dump carries them; DROP
 * EXTENSION would find them in its way.
 */
extern void atp_cell_drop_all(void);

/* The cell of a name. Raises undefined_object. */
extern Oid	atp_cell_oid(const char *name);

/* Reads cells, changes them, writes those that differ, under the lock of the first. Runs as their owner. */
extern void atp_cell_change(const Oid *cells, int count, AtpCellChange change, void *context);

/* Reads one cell without a lock. Runs as its owner. */
extern int64 atp_cell_read(Oid cell);

#endif

/*
 * Whole tables of ours read as they lie on disk, below the executor: no plan, no index, no policy, no rule and no view stands
 * between the rows and who checks them. Of a partitioned table every leaf, in the order of their bounds.
 */
#ifndef ATP_TABLESCAN_H
#define ATP_TABLESCAN_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "storage/block.h"

#include "pg/relation.h"

/* Takes one row, of which the columns asked for are deformed. The row lives until the function returns. False ends the scan. */
typedef bool (*AtpTableRow) (void *context, TupleTableSlot *row);

/*
 * Reads every row that the active snapshot sees. `columns` says how many are deformed; slot_getallattrs deforms the rest. `row`
 * is called in a memory context of its own that is reset after each call.
 */
extern void atp_tablescan(AtpRelation which, int columns, AtpTableRow row, void *context);

/* The blocks that such a scan reads. */
extern BlockNumber atp_tablescan_blocks(AtpRelation which);

#endif

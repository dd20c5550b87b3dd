/*
 * Statements over many rows: each row is handed to a function as the executor produces it. Nothing is copied or collected,
 * so that a scan of the whole store costs constant memory and hardly more than reading it.
 */
#ifndef ATP_SCAN_H
#define ATP_SCAN_H

#include "postgres.h"

#include "executor/spi.h"
#include "executor/tuptable.h"

/* Takes one row, all columns deformed. The row lives until the function returns. False ends the scan. */
typedef bool (*AtpScanRow) (void *context, TupleTableSlot *row);

typedef struct AtpScan			/* a static object for each statement */
{
	const char *sql;
	int			argument_count;
	Oid			argument_types[4];
	bool		plan_each_time;	/* the best plan depends on the arguments */
	SPIPlanPtr	plan;			/* NULL until first use */
} AtpScan;

/*
 * Runs a SELECT as atp_owner (see pg/query) under the active snapshot; no argument is null. `row` is called, as atp_owner too,
 * in a memory context of its own that is reset after each call, and may itself scan.
 */
extern void atp_scan(AtpScan *scan, Datum *arguments, AtpScanRow row, void *context);

#endif

/*
 * Rows enter the log: one slice at a time, past the executor, and the log's statement triggers are called on them.
 *
 * A trigger of ours that reads every row may take them from memory: atp_placement_reader names its function, and is given no
 * transition table.
 */
#ifndef ATP_PLACEMENT_H
#define ATP_PLACEMENT_H

#include "postgres.h"

#include "fmgr.h"

#include "log/window.h"

typedef struct AtpPlacement		/* a slice */
{
	const AtpEventRow *rows;
	int			count;
	int64		first_position;	/* the others follow */
	const char *tick;			/* what the last row says of the sequencer */
} AtpPlacement;

/* Inserts a slice, as atp_owner. */
extern void atp_placement_insert(const AtpPlacement *placement);

/* True while rows are placed, also by a statement that is run between these two. */
extern bool atp_placement_is_running(void);
extern void atp_placement_begin(void);
extern void atp_placement_end(void);

/* In a call of atp_placement_reader: the slice; NULL: there is a transition table instead. */
extern const AtpPlacement *atp_placement_current(void);
extern PGFunction atp_placement_reader;

#endif

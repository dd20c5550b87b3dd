/* Rows of the audit projection: who did what to what, an event a row. */
#ifndef ATP_PROJECTION_AUDIT_H
#define ATP_PROJECTION_AUDIT_H

#include "postgres.h"

#include "executor/tuptable.h"

typedef struct AtpAudit AtpAudit;

/*
 * Begins in the current memory context, which holds everything until the end. `afresh`: the caller has the table to itself, and makes its
 * indexes at the end.
 */
extern AtpAudit *atp_audit_begin(bool afresh);

/* The event at a position of the log; the slot is that of a partition of atp_internal.event, its columns deformed. */
extern void atp_audit_add(AtpAudit *audit, int64 log_position, TupleTableSlot *event);

/* Writes what has been added. */
extern void atp_audit_end(AtpAudit *audit);

#endif

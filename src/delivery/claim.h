/* Claims; the result of one, row by row. */
#ifndef ATP_CLAIM_H
#define ATP_CLAIM_H

#include "postgres.h"

#include "fmgr.h"

#define ATP_CLAIM_COLUMNS 13	/* of the result of atp.claim_events */
#define ATP_CLAIM_ALL_COLUMNS ((1 << ATP_CLAIM_COLUMNS) - 1)

typedef struct AtpClaim AtpClaim;

/*
 * Does what claim_events does, with its arguments, in the current memory context. All is written when it returns; only the events are
 * still to be read, under a snapshot that it has registered with the current resource owner.
 */
extern AtpClaim *atp_claim_make(FunctionCallInfo fcinfo);

/*
 * The next row, if there is one. `columns` has a bit for each column that is looked at (1 << 0: the first); the others may hold anything.
 * What is returned by reference lives until the next call.
 */
extern bool atp_claim_next(AtpClaim *claim, uint32 columns, Datum *values, bool *nulls);

/* Begins with the first row again. */
extern void atp_claim_rewind(AtpClaim *claim);

extern void atp_claim_end(AtpClaim *claim);

#endif

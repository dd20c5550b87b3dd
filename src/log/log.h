/*
 * The frame in which the rooms of this floor run their SQL: as the owner of the log, beyond row level security, with a
 * search path of our own, whoever the caller is. An error inside leaves it with the transaction, as everything else.
 */
#ifndef ATP_LOG_H
#define ATP_LOG_H

#include "postgres.h"

#include "executor/spi.h"

#define ATP_LOG_CHANNEL "atp"

typedef struct AtpLogFrame
{
	Oid			user;
	int			security;
	int			guc_level;
} AtpLogFrame;

/* The oid of a table of atp_internal; InvalidOid where the extension, or the table, is not there. */
extern Oid	atp_log_table(const char *name);

extern void atp_log_enter(AtpLogFrame *frame);
extern void atp_log_leave(const AtpLogFrame *frame);

/*
 * Prepares a statement into *plan once per backend, with a generic plan, and returns it; the plan cache keeps it valid. Call it
 * inside the frame.
 */
extern SPIPlanPtr atp_log_plan(SPIPlanPtr *plan, const char *sql, int count, Oid *types);

/* Runs a kept plan and checks that it ended as expected (SPI_OK_...). */
extern void atp_log_execute(SPIPlanPtr plan, Datum *values, const char *nulls, int expected);

#endif

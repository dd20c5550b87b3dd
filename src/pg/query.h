/*
 * SPI in one place: saved plans, and running as atp_owner.
 *
 * A plan is prepared at first use in a backend and kept; the plan cache re-validates it when a table changes. Every
 * statement runs as atp_owner inside a security-restricted context: the caller needs no privilege on the tables, and the
 * row level security policies of atp know that context (record/tenant) and let it see every tenant. It runs under a search path of
 * our own: an operator that the caller has put in front of pg_catalog would be called as atp_owner.
 */
#ifndef ATP_QUERY_H
#define ATP_QUERY_H

#include "postgres.h"

#include "executor/spi.h"

typedef struct AtpQuery			/* a static object for each statement */
{
	const char *sql;
	int			argument_count;
	Oid			argument_types[16];
	SPIPlanPtr	plan;			/* NULL until first use */
} AtpQuery;

typedef struct AtpIdentity		/* who we were */
{
	Oid			user;
	int			context;
	int			settings;		/* level of the search path's setting; 0: it was ours already */
} AtpIdentity;

/* Becomes atp_owner, under our search path, until atp_owner_end; the abort of the (sub)transaction undoes it on an error in between. */
extern void atp_owner_begin(AtpIdentity *before);
extern void atp_owner_end(const AtpIdentity *before);

/* True when the current user is atp_owner by way of a function of ours, and not by SET ROLE. */
extern bool atp_owner_is_active(void);
extern Oid	atp_owner_oid(void);

/*
 * Runs a statement as atp_owner. The caller is connected to SPI and reads SPI_processed and SPI_tuptable. `nulls` may be
 * NULL. Errors of the statement are raised; an unexpected SPI result is an internal error.
 */
extern int	atp_query(AtpQuery *query, Datum *arguments, const char *nulls, bool read_only, long max_rows);

/* The same under the latest snapshot, whatever the isolation level: for rows that a lock of our own protects. */
extern int	atp_query_latest(AtpQuery *query, Datum *arguments, const char *nulls);

/* Runs text (DDL, mostly) as atp_owner. */
extern void atp_query_text(const char *sql);

#endif

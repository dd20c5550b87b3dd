/*
 * The guard: UPDATE, DELETE and TRUNCATE are refused on the tables of the event store, whoever asks, by statement triggers
 * that are ENABLE ALWAYS, so that session_replication_role does not skip them.
 */
#ifndef ATP_GUARD_H
#define ATP_GUARD_H

#include "postgres.h"

/* Puts the guard's trigger on a table, acting as atp_owner. */
extern void atp_guard_table(Oid relation);

#endif

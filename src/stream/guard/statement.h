/* Which utility statements the guard refuses, judged by their parse trees before they run. */
#ifndef ATP_GUARD_STATEMENT_H
#define ATP_GUARD_STATEMENT_H

#include "postgres.h"

#include "nodes/nodes.h"

#include "pg/compat.h"

/*
 * Raises TP108 for a statement that would alter or drop an object of the store, TP109 for one that would drop the extension while
 * there are events; returns otherwise. Called by the event trigger and by the ProcessUtility hook: statements on roles, event
 * triggers and locks, for which no event trigger fires, are judged by the hook only.
 */
extern void atp_guard_judge_statement(Node *statement);

/* Raises TP108. */
pg_noreturn extern void atp_guard_refuse_object(const char *command, const char *object);

/* Raises TP109. */
pg_noreturn extern void atp_guard_refuse_drop(void);

#endif

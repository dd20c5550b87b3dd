/* Which utility statements the guard refuses, judged by their parse trees before they run. */
#ifndef ATP_GUARD_STATEMENT_H
#define ATP_GUARD_STATEMENT_H

#include "postgres.h"

#include "nodes/nodes.h"

/*
 * Raises TP108 for a statement that would alter or drop an object of the store, TP109 for one that would drop the extension while
 * there are events; returns otherwise. Called by the event trigger and by the ProcessUtility hook: statements on roles, event
 * triggers and locks, for which no event trigger fires, are judged by the hook only.
 */
extern void atp_guard_judge_statement(Node *statement);

/* Raises TP108. */
extern void atp_guard_refuse_object(const char *command, const char *object) pg_attribute_noreturn();

/* Raises TP109. */
extern void atp_guard_refuse_drop(void) pg_attribute_noreturn();

#endif

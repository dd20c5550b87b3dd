/* The hooks: the guard's second net, and the only one for what no trigger sees. */
#ifndef ATP_GUARD_HOOK_H
#define ATP_GUARD_HOOK_H

#include "postgres.h"

/*
 * Installs them. They work in every session that has loaded the library: all of them when it is preloaded, otherwise those that
 * have called a function of ours, touched a table with a trigger of ours, or run a DDL command (our event triggers load it).
 */
extern void atp_guard_hook_init(void);

#endif

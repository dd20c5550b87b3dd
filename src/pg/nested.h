/*
 * Nested loops by index, whatever the statistics say: for scans that look up a few events of a large store again and again, where
 * a hash of the whole store, a sort or a compilation is never worth it.
 */
#ifndef ATP_NESTED_H
#define ATP_NESTED_H

#include "postgres.h"

/* Settings of the planner, until atp_nested_end, which an error makes unnecessary. */
extern int	atp_nested_begin(void);
extern void atp_nested_end(int level);

#endif

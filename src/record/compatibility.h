/* Compatibility of schemas: whether what one accepts the other accepts, by mode. */
#ifndef ATP_COMPATIBILITY_H
#define ATP_COMPATIBILITY_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* The differences (AtpDifference) that break the mode between two schemas; NIL: they are compatible. Raises 22023, TP213, TP215. */
extern List *atp_compatibility_differences(const Jsonb *old, const Jsonb *new, const char *mode);

#endif

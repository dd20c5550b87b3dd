/* Every difference between PostgreSQL 15, 16, 17 and 18 that the code meets, one name per difference. */
#ifndef ATP_COMPAT_H
#define ATP_COMPAT_H

#include "postgres.h"

/* 16 moved the macros of variable-length data out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

#endif

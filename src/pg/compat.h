/* Every difference between PostgreSQL 15, 16, 17 and 18 that the code meets, one name per difference. */
#ifndef ATP_COMPAT_H
#define ATP_COMPAT_H

#include "postgres.h"

#endif

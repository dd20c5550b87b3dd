/* Every difference between PostgreSQL 15, 16, 17 and 18 that the code meets, one name per difference. */
#ifndef ATP_COMPAT_H
#define ATP_COMPAT_H

#include "postgres.h"

/* 18: a scan may report its index searches. */
#if PG_VERSION_NUM >= 180000
#define index_beginscan_compat(heap, index, snapshot, keys, orderbys) index_beginscan(heap, index, snapshot, NULL, keys, orderbys)
#else
#define index_beginscan_compat(heap, index, snapshot, keys, orderbys) index_beginscan(heap, index, snapshot, keys, orderbys)
#endif

#endif

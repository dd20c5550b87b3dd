/* Routes: see route.sql. */
#ifndef ATP_ROUTE_H
#define ATP_ROUTE_H

#include "postgres.h"

extern void atp_route_init(void);	/* registers the setting */

#endif

/* Routes are SQL (route.sql); here is their setting. */
#include "delivery/route.h"

#include "utils/guc.h"

static int	setting_max_hops = 8;

void
atp_route_init(void)
{
	DefineCustomIntVariable("atp.route_max_hops", "Routes that an event may come through, one after the other.",
							"An event at this limit becomes a dead letter of the next route's subscription, so that loops end.",
							&setting_max_hops, 8, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* How subscriptions stand, and the announcement of new events. */
#ifndef ATP_STATUS_H
#define ATP_STATUS_H

extern void atp_status_init(void);

#endif

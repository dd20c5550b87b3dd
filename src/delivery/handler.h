/*
 * In-database handlers: functions run for the events of a subscription, by a worker process of that subscription, so that one that
 * raises, is slow or loops harms only itself.
 */
#ifndef ATP_HANDLER_H
#define ATP_HANDLER_H

#include "postgres.h"

#include "pg/worker.h"

/* The worker's job: starts a runner for each subscription that has handlers and events, and wakes those that run. */
extern AtpWork atp_handler_work(void);

extern void atp_handler_init(void);

#endif

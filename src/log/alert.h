/*
 * Alarms about the evidence: NOTIFY on the channel atp_alert, and a HealthCheckFailed event in the tenant's stream
 * AtpHealth-<check>. Both count when the transaction commits.
 */
#ifndef ATP_ALERT_H
#define ATP_ALERT_H

#include "postgres.h"

/*
 * Raises an alarm about a tenant (a surrogate key; 0: the tenant default). `check` is the name
 * of what failed, lower case with hyphens; `detail` says what is wrong; `key` (NULL: none) and `value` say where.
 */
extern void atp_alert_raise(int32 tenant, const char *check, const char *detail, const char *key, int64 value);

#endif

/*
 * Leases, and what can be done to one that was given: ack, nack, defer, renew, release.
 *
 * A lease is a token that names the partitions it covers, so that no index over leases is needed, and is compared in full with
 * what the partitions' cursors (or the retry rows) say. A token that has expired, or is not theirs, is refused before anything
 * changes.
 */
#ifndef ATP_LEASE_H
#define ATP_LEASE_H

#include "postgres.h"

#include "delivery/delivery.h"
#include "delivery/retry.h"

/* Tokens. */
extern void atp_lease_make(pg_uuid_t *lease, bool of_retries);
extern void atp_lease_add(pg_uuid_t *lease, int partition);
extern bool atp_lease_covers(const pg_uuid_t *lease, int partition);
extern bool atp_lease_is_of_retries(const pg_uuid_t *lease);

/* Acks the lease up to a position (PG_INT64_MAX: all of it); returns how many events that were. Raises TP302, TP303. */
extern int64 atp_lease_ack(AtpDelivery *delivery, const pg_uuid_t *lease, int64 through);

#endif

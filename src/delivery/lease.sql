-- What can be done to a lease.
CREATE FUNCTION atp.ack_events(subscription text, lease uuid, through_position bigint DEFAULT NULL, tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_ack_events';
COMMENT ON FUNCTION atp.ack_events(text, uuid, bigint, text) IS
'Ack the events of a lease up to a log position and return how many they were.
through_position NULL acks all of them and ends the lease; otherwise later events stay leased.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), TP303 (the position lies beyond it), 22004.';
REVOKE ALL ON FUNCTION atp.ack_events(text, uuid, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.ack_events(text, uuid, bigint, text) TO atp_reader, atp_admin;

CREATE TYPE atp.given_back AS (
	outcome text,
	attempts int,
	due_at timestamptz,
	withdrawn uuid[]
);
COMMENT ON TYPE atp.given_back IS 'What became of an event that its consumer gave back.';
COMMENT ON COLUMN atp.given_back.outcome IS 'retry, dead letter or deferred.';
COMMENT ON COLUMN atp.given_back.attempts IS 'How often the event was attempted.';
COMMENT ON COLUMN atp.given_back.due_at IS 'From when on it can be claimed again; NULL for a dead letter and for one deferred without a time.';
COMMENT ON COLUMN atp.given_back.withdrawn IS 'Later events of its key in the same lease, which wait behind it now: do not handle them.';

CREATE FUNCTION atp.nack_event(subscription text, lease uuid, event_id uuid, reason text DEFAULT NULL, permanent boolean DEFAULT false,
		tenant text DEFAULT NULL) RETURNS atp.given_back
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_nack_event';
COMMENT ON FUNCTION atp.nack_event(text, uuid, uuid, text, boolean, text) IS
'Say that an event of a lease failed.
It is due after the subscription''s backoff; a permanent failure, or the last of max_attempts, makes it a dead letter. The rest of the lease stays, except, with ordering by key, for later events of its key: they wait behind it, without an attempt counted. reason is kept (4096 bytes).
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), TP304 (the event is not in it), 22004.';
REVOKE ALL ON FUNCTION atp.nack_event(text, uuid, uuid, text, boolean, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.nack_event(text, uuid, uuid, text, boolean, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp.defer_event(subscription text, lease uuid, event_id uuid, until timestamptz DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS atp.given_back
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_defer_event';
COMMENT ON FUNCTION atp.defer_event(text, uuid, uuid, timestamptz, text) IS
'Set an event of a lease aside, without an attempt counted.
It can be claimed from until on, and at any time by claim_deferred_events; until NULL: only so. A deferred event holds up no other of its key.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), TP304 (the event is not in it), 22004.';
REVOKE ALL ON FUNCTION atp.defer_event(text, uuid, uuid, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.defer_event(text, uuid, uuid, timestamptz, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp.renew_lease(subscription text, lease uuid, lock_duration interval DEFAULT NULL, tenant text DEFAULT NULL) RETURNS timestamptz
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_renew';
COMMENT ON FUNCTION atp.renew_lease(text, uuid, interval, text) IS
'Make a lease valid for a further time from now, and return until when.
lock_duration NULL means the subscription''s.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), 22023 (lock_duration), 22004.';
REVOKE ALL ON FUNCTION atp.renew_lease(text, uuid, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.renew_lease(text, uuid, interval, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp_internal.hold_leases(subscription text, tenant text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_hold';
COMMENT ON FUNCTION atp_internal.hold_leases(text, text) IS
'Write down what a subscription''s leases hold: its rules are about to change.
Waits for transactions that claim or ack.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.hold_leases(text, text) FROM PUBLIC;

CREATE FUNCTION atp.release_lease(subscription text, lease uuid, tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_release';
COMMENT ON FUNCTION atp.release_lease(text, uuid, text) IS
'Give back what is left of a lease, without an attempt; return how many it is.
They can be claimed again at once. For a consumer that leaves, or that finds its endpoint gone. Tokens of rate limits are given back, too.
Raises: TP202, TP300 (no such subscription), TP302 (the lease is stale or foreign), 22004.';
REVOKE ALL ON FUNCTION atp.release_lease(text, uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.release_lease(text, uuid, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp_internal.lease_is_held(subscription int, tenant int, lease uuid) RETURNS boolean
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT EXISTS (SELECT FROM atp_internal.subscription_cursor c WHERE c.subscription = lease_is_held.subscription
			AND c.tenant = lease_is_held.tenant AND c.lease = lease_is_held.lease AND c.lease_until > clock_timestamp())
		OR EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = lease_is_held.subscription
			AND r.tenant = lease_is_held.tenant AND r.lease = lease_is_held.lease AND r.lease_until > clock_timestamp());
END;
COMMENT ON FUNCTION atp_internal.lease_is_held(int, int, uuid) IS 'Say whether a lease holds anything, and is not over.';
REVOKE ALL ON FUNCTION atp_internal.lease_is_held(int, int, uuid) FROM PUBLIC;

CREATE FUNCTION atp_internal.place_event(subscription text, tenant text, event_id uuid, OUT key bigint, OUT partition int)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_lease_place_event';
COMMENT ON FUNCTION atp_internal.place_event(text, text, uuid) IS
'Return the hash of an event''s order key and the partition that it is in.
NULLs where the event is not stored any more.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.place_event(text, text, uuid) FROM PUBLIC;

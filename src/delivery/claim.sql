-- Claims and leases: what consumers call. The work is done in lease.c and claim.c.
CREATE FUNCTION atp.claim_events(
	subscription text,
	max_count int DEFAULT 100,
	consumer text DEFAULT NULL,
	ack_lease uuid DEFAULT NULL,
	ack_through bigint DEFAULT NULL,
	tenant text DEFAULT NULL,
	OUT lease uuid,
	OUT attempt int,
	OUT redelivered boolean,
	OUT log_position bigint,
	OUT event_id uuid,
	OUT stream text,
	OUT stream_version bigint,
	OUT event_type text,
	OUT payload json,
	OUT metadata json,
	OUT occurred_at timestamptz,
	OUT recorded_at timestamptz,
	OUT schema_version int,
	OUT lease_until timestamptz,
	OUT redelivery_of bigint
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'atp_claim_events';
COMMENT ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text) IS
'Lease the next events of a subscription and return them in log order.
Leases one free partition, and further ones only while there is room in max_count; all events of one call share one lease. Events that are due again come before new ones. Nothing free or nothing new: no rows; so it is while the subscription is paused or the tenant suspended. attempt counts this delivery; a claim that is rolled back takes its attempts back. ack_lease acks that lease first (up to ack_through; NULL: all of it), in the same write. consumer is a name for status views. Claim, effect and ack in one transaction is exactly-once for effects in this database. A payload that was erased is NULL.
Raises: TP202, TP300 (no such subscription), TP302 (ack_lease is stale), TP303 (ack_through lies beyond it), 22023 (max_count).';
REVOKE ALL ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp.claim_deferred_events(
	subscription text,
	log_positions bigint[],
	consumer text DEFAULT NULL,
	tenant text DEFAULT NULL,
	OUT lease uuid,
	OUT attempt int,
	OUT redelivered boolean,
	OUT log_position bigint,
	OUT event_id uuid,
	OUT stream text,
	OUT stream_version bigint,
	OUT event_type text,
	OUT payload json,
	OUT metadata json,
	OUT occurred_at timestamptz,
	OUT recorded_at timestamptz,
	OUT schema_version int,
	OUT lease_until timestamptz,
	OUT redelivery_of bigint
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'atp_claim_deferred_events';
COMMENT ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text) IS
'Lease deferred events by their log positions, whether they are due or not.
Returns those of one partition, in log order; call again for the rest. Positions that are not deferred are ignored.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text) TO atp_reader, atp_admin;

CREATE FUNCTION atp.wait_for_events(subscription text, timeout interval DEFAULT '30 seconds', tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_claim_wait';
COMMENT ON FUNCTION atp.wait_for_events(text, interval, text) IS
'Wait until a claim would find events, at most for a time.
Returns false when the time is over. Another consumer may be faster. The transaction''s snapshot stays open meanwhile: call it in a transaction of its own.
Raises: TP202, TP300 (no such subscription), 22023 (timeout).';
REVOKE ALL ON FUNCTION atp.wait_for_events(text, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.wait_for_events(text, interval, text) TO atp_reader, atp_admin;

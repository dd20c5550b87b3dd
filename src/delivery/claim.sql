-- Claims and leases: what consumers call. The work is done in lease.c and claim.c.
-- Cursors are made here, because a claim may find that the number of partitions can change.
CREATE FUNCTION atp_internal.make_cursors(subscription int, tenant int, partitions int, start_position bigint, generation bigint) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.subscription_cursor (tenant, subscription, partition, writes, generation, acked, scanned, leased_at, lease_until,
			lease_last, retry_changes, retry_due_at, lease_count, retries)
		SELECT make_cursors.tenant, make_cursors.subscription, p, 0, make_cursors.generation, start_position, start_position, '-infinity', '-infinity',
			start_position, 0, coalesce(min(r.due_at), 'infinity'), 0, count(r.log_position)
		FROM generate_series(0, make_cursors.partitions - 1) p
			LEFT JOIN atp_internal.retry r ON r.subscription = make_cursors.subscription AND r.tenant = make_cursors.tenant AND r.partition = p
		GROUP BY p;
END;
COMMENT ON FUNCTION atp_internal.make_cursors(int, int, int, bigint, bigint) IS
'Insert the cursors of a subscription, all behind one log position.
They know of the retry rows that are there.';
REVOKE ALL ON FUNCTION atp_internal.make_cursors(int, int, int, bigint, bigint) FROM PUBLIC;

CREATE FUNCTION atp_internal.finish_partitioning(subscription int) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	s atp_internal.subscription;
	next_generation bigint;
BEGIN
	SELECT x.* INTO s FROM atp_internal.subscription x WHERE x.subscription = finish_partitioning.subscription
		FOR UPDATE SKIP LOCKED;	-- a claim that gets here has locks that whoever has the row may be waiting for
	IF s.next_partitions IS NULL THEN
		RETURN false;
	END IF;
	PERFORM atp_internal.lock_cursors(s.subscription, greatest(s.partitions, s.next_partitions));
	IF EXISTS (SELECT FROM atp_internal.subscription_cursor c WHERE c.subscription = s.subscription AND c.tenant = s.tenant
			AND (c.acked < s.drain_to OR c.lease IS NOT NULL))
		OR EXISTS (SELECT FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant AND r.lease IS NOT NULL) THEN
		RETURN false;
	END IF;
	SELECT max(c.generation) + 1 INTO next_generation FROM atp_internal.subscription_cursor c WHERE c.subscription = s.subscription AND c.tenant = s.tenant;
	DELETE FROM atp_internal.subscription_cursor c WHERE c.subscription = s.subscription AND c.tenant = s.tenant;
	UPDATE atp_internal.subscription x SET partitions = s.next_partitions, next_partitions = NULL, drain_to = NULL,
			order_key = coalesce(s.next_order_key, s.order_key), next_order_key = NULL, changed_at = clock_timestamp()
		WHERE x.subscription = s.subscription AND x.tenant = s.tenant;
	IF s.next_order_key IS NOT NULL THEN
		UPDATE atp_internal.retry r SET key = coalesce(p.key, r.key), partition = coalesce(p.partition, 0)
			FROM atp_internal.retry o JOIN atp_internal.tenant t ON t.tenant = o.tenant, LATERAL atp_internal.place_event(s.name, t.name, o.event_id) p
			WHERE r.subscription = s.subscription AND r.tenant = s.tenant AND o.subscription = s.subscription AND o.tenant = s.tenant
				AND o.partition = r.partition AND o.log_position = r.log_position;
	ELSE
		-- The key's hash is unsigned there; positions are cut into stripes where there is no key.
		UPDATE atp_internal.retry r SET partition = CASE WHEN s.order_key = 'none' THEN r.log_position / 64 % s.next_partitions
				ELSE ((r.key::numeric + CASE WHEN r.key < 0 THEN 18446744073709551616 ELSE 0 END) % s.next_partitions) END
			WHERE r.subscription = s.subscription AND r.tenant = s.tenant;
	END IF;
	PERFORM atp_internal.make_cursors(s.subscription, s.tenant, s.next_partitions, s.drain_to, next_generation);
	RETURN true;
END $$;
COMMENT ON FUNCTION atp_internal.finish_partitioning(int) IS
'Change a subscription''s number of partitions and order key if that is due.
It is when a change was asked for and all of them have reached the position for it. Returns whether it did. Waits for transactions that claim or ack.';
REVOKE ALL ON FUNCTION atp_internal.finish_partitioning(int) FROM PUBLIC;

CREATE FUNCTION atp.claim_events(
	subscription text,
	max_count int DEFAULT 100,
	consumer text DEFAULT NULL,
	ack_lease uuid DEFAULT NULL,
	ack_through bigint DEFAULT NULL,
	tenant text DEFAULT NULL,
	accept_versions jsonb DEFAULT NULL,
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
	OUT schema_version int,
	OUT redelivery_of bigint
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'atp_claim_events';
COMMENT ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text, jsonb) IS
'Lease the next events of a subscription and return them in log order.
Leases one free partition, and further ones only while there is room in max_count; all events of one call share one lease. Events that are due again come before new ones. Nothing free or nothing new: no rows; so it is while the subscription is paused, the tenant suspended, a breaker open or a limit reached (atp.subscription_status says which). attempt counts this delivery; a claim that is rolled back takes its attempts back. ack_lease acks that lease first (up to ack_through; NULL: all of it), in the same write. consumer is a name for status views (255 bytes). Claim, effect and ack in one transaction is exactly-once for effects in this database. A payload that was erased is NULL.
accept_versions negotiates as in atp.read_stream: an event of another version comes in the highest accepted one, as schema_version says. An event that an upcaster fails on counts as tried in vain: it is tried again, with the backoff, and is a dead letter in the end.
Raises: TP202, TP300 (no such subscription), TP302 (ack_lease is stale), TP303 (ack_through lies beyond it), 22023 (max_count, malformed accept_versions), TP228 (no accepted version can be had; nothing is leased).';
REVOKE ALL ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.claim_events(text, int, text, uuid, bigint, text, jsonb) TO atp_reader, atp_admin;

CREATE FUNCTION atp.claim_deferred_events(
	subscription text,
	log_positions bigint[],
	consumer text DEFAULT NULL,
	tenant text DEFAULT NULL,
	accept_versions jsonb DEFAULT NULL,
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
	OUT schema_version int,
	OUT redelivery_of bigint
) RETURNS SETOF record
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'atp_claim_deferred_events';
COMMENT ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text, jsonb) IS
'Lease deferred events by their log positions, whether they are due or not.
Returns those of one partition, in log order; call again for the rest. Positions that are not deferred are ignored.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.claim_deferred_events(text, bigint[], text, text, jsonb) TO atp_reader, atp_admin;

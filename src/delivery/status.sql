-- How subscriptions stand, and the announcement of new events.
CREATE FUNCTION atp_internal.announce_events() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_status_announce';
COMMENT ON FUNCTION atp_internal.announce_events() IS 'Notify the subscriptions that ask for it of events that were placed.';
REVOKE ALL ON FUNCTION atp_internal.announce_events() FROM PUBLIC;
CREATE TRIGGER announce_events AFTER INSERT ON atp_internal.log
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.announce_events();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER announce_events;

CREATE FUNCTION atp_internal.subscription_lag(subscription text, tenant text, OUT acked bigint, OUT lag_events bigint, OUT oldest_at timestamptz,
		OUT lagging boolean)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_status_lag';
COMMENT ON FUNCTION atp_internal.subscription_lag(text, text) IS
'Return how far a subscription is behind the log.
Counts up to 10,000 log rows a partition and takes the rest as wanted. lagging: over atp.subscription_lag_events or atp.subscription_lag_time.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.subscription_lag(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.subscription_lag(text, text) TO atp_reader, atp_auditor, atp_admin;

CREATE VIEW atp.subscription_status AS
	SELECT t.name AS tenant, s.name AS subscription,
		CASE WHEN t.status <> 'active' THEN 'suspended' ELSE s.state END AS state,
		CASE WHEN s.state = 'paused' OR t.status <> 'active' THEN 'stopped' WHEN f.dead_letters > 0 OR f.retries_overdue > 0 THEN 'failing'
			WHEN l.lagging THEN 'lagging' ELSE 'ok' END AS condition,
		s.partitions, l.acked, l.lag_events, coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - l.oldest_at), 0)::double precision AS lag_seconds,
		c.in_flight, c.consumers, f.retries, f.retries_due, f.dead_letters, l.oldest_at AS oldest_unacked_at,
		CASE WHEN t.status <> 'active' THEN 'tenant suspended' WHEN s.state = 'paused' THEN 'paused' ELSE o.obstacle END AS held_by,
		CASE WHEN t.status = 'active' AND s.state = 'active' THEN o.retry_after END AS retry_after
	FROM atp_internal.subscription s
		JOIN atp_internal.tenant t ON t.tenant = s.tenant,
		LATERAL atp_internal.subscription_lag(s.name, t.name) l,
		LATERAL atp_internal.claim_obstacle(s.name, t.name) o,
		LATERAL (SELECT coalesce(sum(u.lease_count), 0)
				+ (SELECT count(*) FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant
					AND r.lease_until > pg_catalog.clock_timestamp()) AS in_flight,
				count(DISTINCT u.consumer) AS consumers
			FROM atp_internal.subscription_cursor u WHERE u.subscription = s.subscription AND u.tenant = s.tenant
				AND u.lease_until > pg_catalog.clock_timestamp()) c,
		LATERAL (SELECT count(*) AS retries, count(*) FILTER (WHERE r.due_at <= pg_catalog.clock_timestamp() AND r.lease IS NULL) AS retries_due,
				count(*) FILTER (WHERE r.failed_at IS NOT NULL AND r.due_at <= pg_catalog.clock_timestamp() - interval '5 minutes') AS retries_overdue,
				(SELECT count(*) FROM atp_internal.dead_letter d LEFT JOIN atp_internal.replay p ON p.dead_letter = d.dead_letter AND p.tenant = d.tenant
					WHERE d.subscription = s.subscription AND d.tenant = s.tenant AND p.dead_letter IS NULL) AS dead_letters
			FROM atp_internal.retry r WHERE r.subscription = s.subscription AND r.tenant = s.tenant) f
	WHERE s.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.subscription_status IS 'Show how the subscriptions of the current tenant stand, and whether they need attention.';
COMMENT ON COLUMN atp.subscription_status.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.subscription_status.subscription IS 'Name of the subscription.';
COMMENT ON COLUMN atp.subscription_status.state IS 'active, paused, or suspended with its tenant.';
COMMENT ON COLUMN atp.subscription_status.condition IS 'stopped; failing: dead letters not replayed, or retries 5 minutes overdue; lagging: over atp.subscription_lag_events or atp.subscription_lag_time; ok.';
COMMENT ON COLUMN atp.subscription_status.partitions IS 'Number of partitions.';
COMMENT ON COLUMN atp.subscription_status.acked IS 'Log position of the partition that is furthest behind.';
COMMENT ON COLUMN atp.subscription_status.lag_events IS 'Events wanted and not acked, in flight or not; an estimate beyond 10,000 log rows a partition.';
COMMENT ON COLUMN atp.subscription_status.lag_seconds IS 'Age of the oldest of them.';
COMMENT ON COLUMN atp.subscription_status.in_flight IS 'Events leased now.';
COMMENT ON COLUMN atp.subscription_status.consumers IS 'Different consumers that hold leases now.';
COMMENT ON COLUMN atp.subscription_status.retries IS 'Events that failed, wait behind such an event, or were deferred.';
COMMENT ON COLUMN atp.subscription_status.retries_due IS 'Those of them that are due and not leased.';
COMMENT ON COLUMN atp.subscription_status.dead_letters IS 'Dead letters that were not replayed.';
COMMENT ON COLUMN atp.subscription_status.oldest_unacked_at IS 'When the oldest event not acked was placed in the log; NULL: there is none.';
COMMENT ON COLUMN atp.subscription_status.held_by IS 'What keeps claims from giving any event now: paused, tenant suspended, breaker, rate limit, tenant''s rate limit, max_in_flight, tenant''s max_in_flight; NULL: nothing does.';
COMMENT ON COLUMN atp.subscription_status.retry_after IS 'When that is over of itself; NULL: not known.';
GRANT SELECT ON atp.subscription_status TO atp_reader, atp_auditor, atp_admin;

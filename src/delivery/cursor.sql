-- Cursors of subscriptions. No index holds a changing column but generation, which changes every 32nd write; pages keep room, so
-- that a write is HOT. See src/delivery/cursor.h for the lock and the versions.
CREATE TABLE atp_internal.subscription_cursor (
	tenant int NOT NULL,
	subscription int NOT NULL,
	partition int NOT NULL,
	writes int NOT NULL,
	generation bigint NOT NULL,
	acked bigint NOT NULL,
	scanned bigint NOT NULL,
	leased_at timestamptz NOT NULL,
	lease_until timestamptz NOT NULL,
	lease_last bigint NOT NULL,
	retry_changes bigint NOT NULL,
	retry_due_at timestamptz NOT NULL,
	lease_count int NOT NULL,
	retries int NOT NULL,
	lease uuid,
	consumer text,
	settled bigint[],
	runs bigint[],
	held bigint[],
	CONSTRAINT subscription_cursor_pk PRIMARY KEY (subscription, partition, generation, tenant)
) WITH (fillfactor = 15, autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0,
	autovacuum_analyze_threshold = 2000000000, toast.autovacuum_vacuum_threshold = 500);
COMMENT ON TABLE atp_internal.subscription_cursor IS 'Where each partition of each subscription stands, and its lease.';
COMMENT ON COLUMN atp_internal.subscription_cursor.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.subscription_cursor.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.subscription_cursor.partition IS 'Number of the partition, from 0.';
COMMENT ON COLUMN atp_internal.subscription_cursor.writes IS 'Writes of the row since its generation began.';
COMMENT ON COLUMN atp_internal.subscription_cursor.generation IS 'Grows every 32nd write, so that a look-up finds the row at the end of the index.';
COMMENT ON COLUMN atp_internal.subscription_cursor.acked IS 'Log position up to which every event of the partition is done with or a retry row.';
COMMENT ON COLUMN atp_internal.subscription_cursor.scanned IS 'Log position up to which the lease''s claim looked.';
COMMENT ON COLUMN atp_internal.subscription_cursor.leased_at IS 'When the lease was given; -infinity: there is none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease_until IS 'When the lease expires; -infinity: there is none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease_last IS 'Log position of the last event in the lease.';
COMMENT ON COLUMN atp_internal.subscription_cursor.retry_changes IS 'Grows with every change of the partition''s retry rows.';
COMMENT ON COLUMN atp_internal.subscription_cursor.retry_due_at IS 'When the next retry row can be claimed; infinity: none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease_count IS 'Events in the lease that are not settled.';
COMMENT ON COLUMN atp_internal.subscription_cursor.retries IS 'Number of the partition''s retry rows.';
COMMENT ON COLUMN atp_internal.subscription_cursor.lease IS 'Token of the lease; NULL: there is none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.consumer IS 'Who has the lease, in its own word.';
COMMENT ON COLUMN atp_internal.subscription_cursor.settled IS 'Positions after acked that are done with already; NULL: none.';
COMMENT ON COLUMN atp_internal.subscription_cursor.runs IS 'Pairs (position, attempts): how often events after acked were leased before; NULL: never.';
COMMENT ON COLUMN atp_internal.subscription_cursor.held IS 'Positions after acked that earlier rules took, noted when the rules were changed under a lease; NULL: the rules say.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.subscription_cursor', '');
ALTER TABLE atp_internal.subscription_cursor ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.subscription_cursor FORCE ROW LEVEL SECURITY;
CREATE POLICY subscription_cursor_tenant ON atp_internal.subscription_cursor USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.lock_cursors(subscription int, partitions int) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE STRICT AS 'MODULE_PATHNAME', 'atp_cursor_lock_all';
COMMENT ON FUNCTION atp_internal.lock_cursors(int, int) IS
'Lock the partitions of a subscription, from 0 up, to the end of the transaction.
Waits for transactions that claim or ack. Read the cursors in a later statement.';
REVOKE ALL ON FUNCTION atp_internal.lock_cursors(int, int) FROM PUBLIC;

-- Housekeeping: done once, and not again.
SELECT chore FROM atp.run_housekeeping();
SELECT * FROM atp.run_housekeeping();
-- in one transaction, so that the worker does not come first
BEGIN;
SELECT verdict FROM atp.begin_handling('housekeeping', '0193c2a0-0000-7000-8000-000000000001', retention => '1 ms');
SELECT pg_sleep(0.005);
INSERT INTO atp_internal.routed (tenant, subscription, event_id, hops, routed_at) VALUES
	(1, 0, '0193c2a0-0000-7000-8000-000000000001', 1, clock_timestamp() - interval '25 hours'),
	(1, 0, '0193c2a0-0000-7000-8000-000000000002', 1, clock_timestamp() - interval '23 hours');
SELECT * FROM atp.run_housekeeping();
DELETE FROM atp_internal.routed;
COMMIT;

-- Circuit breakers: closed, open, half-open, isolated; and the count survives what is rolled back.
SELECT atp.create_breaker('smtp', failure_ratio => 0.5, minimum_throughput => 4, sampling_duration => '1 hour', break_duration => '1 second', probe_count => 2);
\set VERBOSITY sqlstate
SELECT atp.create_breaker('smtp');
SELECT atp.create_breaker('x', failure_ratio => 0);
SELECT atp.create_breaker('x', minimum_throughput => 1);
SELECT atp.create_breaker('x', sampling_duration => '1 ms');
SELECT atp.create_breaker('');
SELECT atp.acquire_permit('nothing');
SELECT atp.release_permit('nothing', true);
SELECT atp.drop_breaker('nothing');
\set VERBOSITY default
SELECT state, since, failure_ratio, probe_count FROM atp.breaker_status;
SELECT atp.acquire_permit('smtp');
SELECT atp.release_permit('smtp', true);
SELECT atp.release_permit('smtp', false);
-- three outcomes, and two failures among them: not enough yet; and the failing transactions roll back
BEGIN;
SELECT atp.release_permit('smtp', false);
ROLLBACK;
SELECT state, round(throughput) AS throughput, round(failures) AS failures FROM atp.breaker_status;
DO $$
BEGIN
	BEGIN
		PERFORM atp.acquire_permit('smtp');
		RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN
		PERFORM atp.release_permit('smtp', false);
		RAISE;
	END;
END $$;
SELECT state, since IS NOT NULL AS has_since FROM atp.breaker_status;
\set VERBOSITY sqlstate
SELECT atp.acquire_permit('smtp');
\set VERBOSITY default
-- late results of an open breaker do not count
SELECT atp.release_permit('smtp', true);
SELECT pg_sleep(1.05);
-- two probes, and no third
SELECT atp.acquire_permit('smtp');
SELECT atp.acquire_permit('smtp');
\set VERBOSITY sqlstate
SELECT atp.acquire_permit('smtp');
\set VERBOSITY default
SELECT state FROM atp.breaker_status;
-- one fails: open again
SELECT atp.release_permit('smtp', true);
SELECT atp.release_permit('smtp', false);
SELECT state FROM atp.breaker_status;
SELECT pg_sleep(1.05);
-- lost probes give their places free after a break duration
SELECT atp.acquire_permit('smtp');
SELECT atp.acquire_permit('smtp');
SELECT pg_sleep(1.05);
SELECT atp.acquire_permit('smtp');
SELECT atp.release_permit('smtp', true);
SELECT atp.acquire_permit('smtp');
SELECT atp.release_permit('smtp', true);
SELECT state, throughput, failures FROM atp.breaker_status;
-- by hand
SELECT atp.isolate_breaker('smtp');
SELECT atp.acquire_permit('smtp');
SELECT atp.close_breaker('smtp');
SELECT atp.acquire_permit('smtp');
-- a tenant's own
SELECT atp.onboard_tenant('breaker-tenant') IS NOT NULL AS onboarded;
SELECT atp.create_breaker('smtp', tenant => 'breaker-tenant');
SELECT atp.isolate_breaker('smtp', tenant => 'breaker-tenant');
SELECT atp.acquire_permit('smtp');
-- dropped with its cells
SELECT count(*) AS cells FROM pg_class WHERE relname LIKE 'breaker\_%\_state';
SELECT atp.drop_breaker('smtp', tenant => 'breaker-tenant');
SELECT atp.drop_breaker('smtp');
SELECT count(*) AS cells FROM pg_class WHERE relname LIKE 'breaker\_%\_state';

-- Rate limits and bulkheads.
SELECT atp.create_rate_limit('mail', rate => 0.001, burst => 3);
\set VERBOSITY sqlstate
SELECT atp.create_rate_limit('mail', rate => 1);
SELECT atp.create_rate_limit('x', rate => 0);
SELECT atp.create_rate_limit('x', rate => NULL);
SELECT atp.acquire_tokens('nothing');
SELECT atp.acquire_tokens('mail', 4);
SELECT atp.acquire_tokens('mail', 0);
\set VERBOSITY default
SELECT atp.acquire_tokens('mail', 2);
-- what a rolled back transaction took is gone all the same
BEGIN;
SELECT atp.acquire_tokens('mail');
ROLLBACK;
\set VERBOSITY sqlstate
SELECT atp.acquire_tokens('mail');
\set VERBOSITY default
-- it fills up again
SELECT atp.create_rate_limit('quick', rate => 100, burst => 1);
SELECT atp.acquire_tokens('quick');
SELECT pg_sleep(0.011);
SELECT atp.acquire_tokens('quick');
SELECT atp.drop_rate_limit('quick');
SELECT atp.drop_rate_limit('mail');
SELECT count(*) AS cells FROM pg_class WHERE relname ~ '^rate_limit_[0-9]+$';
-- bulkheads
SELECT atp.create_bulkhead('reports', 2);
\set VERBOSITY sqlstate
SELECT atp.create_bulkhead('reports', 2);
SELECT atp.create_bulkhead('x', 0);
SELECT atp.acquire_slot('nothing');
BEGIN;
SELECT atp.acquire_slot('reports');
SAVEPOINT a;
SELECT atp.acquire_slot('reports');
SAVEPOINT b;
SELECT atp.acquire_slot('reports');
ROLLBACK TO b;
ROLLBACK TO a;
SELECT atp.acquire_slot('reports');
COMMIT;
SELECT atp.acquire_slot('reports');
SELECT atp.drop_bulkhead('reports');
SELECT atp.drop_bulkhead('reports');
\set VERBOSITY default

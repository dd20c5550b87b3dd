-- claim_events in FROM is a scan of its own where its arguments come from the statement; elsewhere the function runs. Same rows either way.
\set VERBOSITY terse
SELECT count((atp.append_event('claimscan-' || i, 'ScanMade', jsonb_build_object('n', i), metadata => jsonb_build_object('half', i % 2))).stream_version)
	FROM generate_series(1, 20) i;
SELECT atp.tick() >= 0 AS ticked;
SELECT max(log_position) - 20 AS base FROM atp_internal.log \gset
SELECT count(atp.create_subscription(name, categories => '{claimscan}', partitions => 1, start_at => :'base'))
	FROM unnest('{a,b,c,d,e,f,g,h,i}'::text[]) name;
CREATE FUNCTION pg_temp.plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN RETURN QUERY EXECUTE 'EXPLAIN (COSTS off, VERBOSE) ' || query; END $$;

-- scans: only what is named is read
SELECT pg_temp.plan_of($$SELECT event_id, payload FROM atp.claim_events('a', 3) WHERE attempt = 1$$);
SELECT pg_temp.plan_of($$SELECT count(*) FROM atp.claim_events('a', 3)$$);
-- functions: the row as a whole, an argument of another row, a sub-select, numbered rows, several functions
SELECT plan FROM unnest(ARRAY[
	$$SELECT c FROM atp.claim_events('a', 3) c$$,
	$$SELECT c.payload FROM atp_internal.tenant t, atp.claim_events(t.name, 3) c$$,
	$$SELECT payload FROM atp.claim_events((SELECT 'a'), 3)$$,
	$$SELECT payload FROM atp.claim_events('a', 3) WITH ORDINALITY$$,
	$$SELECT payload FROM ROWS FROM (atp.claim_events('a', 3), generate_series(1, 2))$$]) query, pg_temp.plan_of(query) plan WHERE plan ~ 'Function Scan|Custom Scan';

-- the same rows
CREATE TEMP TABLE scanned AS SELECT * FROM atp.claim_events('a', 7);
CREATE TEMP TABLE called AS SELECT (c).* FROM (SELECT c FROM atp.claim_events('b', 7) c OFFSET 0) c;
SELECT count(*) AS rows, count(DISTINCT s.lease) AS leases, count(*) FILTER (WHERE (to_jsonb(s) - 'lease') = (to_jsonb(c) - 'lease')) AS same
	FROM scanned s JOIN called c USING (log_position);
-- names of columns in any order, twice, in expressions; a condition takes rows away from the result, not from the lease
SELECT payload ->> 'n' AS n, stream, payload ->> 'n' AS again, log_position - :base AS place, stream_version + schema_version AS sum, redelivery_of, event_type
	FROM atp.claim_events('c', 5) WHERE metadata ->> 'half' = '1' AND occurred_at < 'infinity';
SELECT lease_count FROM atp_internal.subscription_cursor JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'c';
SELECT count(*) FROM atp.claim_events('d', 5);
-- on the inner side of a loop it is rescanned, and claims once
SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_material = off;
SELECT i, count(*), min(log_position) - :base AS from FROM generate_series(1, 3) i LEFT JOIN atp.claim_events('e', 4) ON attempt <= i GROUP BY 1 ORDER BY 1;
RESET enable_hashjoin; RESET enable_mergejoin; RESET enable_material;
SELECT lease_count FROM atp_internal.subscription_cursor JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'e';
-- not read to the end: leased all the same; a cursor goes on after others' changes
BEGIN;
DECLARE few CURSOR FOR SELECT log_position - :base AS n, payload FROM atp.claim_events('f', 4);
FETCH 1 FROM few;
SELECT count(*) FROM atp.claim_events('f', 4);
SAVEPOINT s;
FETCH 2 FROM few;
ROLLBACK TO s;
COMMIT;
SELECT lease_count FROM atp_internal.subscription_cursor JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'f';
BEGIN;
DECLARE both_ways SCROLL CURSOR FOR SELECT log_position - :base AS n FROM atp.claim_events('g', 4);
FETCH 3 FROM both_ways;
FETCH BACKWARD 1 FROM both_ways;
COMMIT;
-- prepared: the lease of the batch before is acked, and what it returned is not claimed again
PREPARE take(text, int, uuid) AS SELECT lease, log_position - $2 + $2 - :base AS n FROM atp.claim_events($1, $2, 'me', $3);
SET plan_cache_mode = force_generic_plan;
CREATE TEMP TABLE one AS EXECUTE take('h', 2, NULL);
SELECT lease AS l FROM one LIMIT 1 \gset
CREATE TEMP TABLE two AS EXECUTE take('h', 2, :'l');
SELECT array_agg(n ORDER BY n) FROM (SELECT n FROM one UNION ALL SELECT n FROM two) n;
EXECUTE take('h', 2, :'l');
RESET plan_cache_mode;
-- refusals are the function's
SELECT lease FROM atp.claim_events('nobody', 1);
SELECT lease FROM atp.claim_events('a', 0);
SELECT lease FROM atp.claim_events(NULL, 1);
CREATE ROLE scan_stranger;
GRANT USAGE ON SCHEMA atp TO scan_stranger;
SET ROLE scan_stranger;
SELECT lease FROM atp.claim_events('i', 1);
RESET ROLE;
DROP OWNED BY scan_stranger;
DROP ROLE scan_stranger;
SELECT count(*) FROM (SELECT atp.drop_subscription(name) FROM unnest('{a,b,c,d,e,f,g,h,i}'::text[]) name) d;

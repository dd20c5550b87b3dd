-- Operators that a caller has put in front of pg_catalog are not called with the rights of atp_owner: whatever function is called, and
-- whether its statement was prepared before or after. The clean twin: the operators work, and are called, in the caller's own statements.
LOAD 'atp';
BEGIN;
SELECT plan(16);
SELECT lives_ok($$SELECT atp.append_event('Order-1', 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 3) AS i$$, 'events');
CREATE ROLE trickster;
GRANT atp_reader, atp_writer, atp_auditor, atp_admin TO trickster;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO trickster', current_database()); END $$;
SELECT is((SELECT ok FROM atp.verify_stream('Order-1')), true, 'prepared before');

SET ROLE trickster;
CREATE SCHEMA evil;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
CREATE SEQUENCE evil.called;
GRANT USAGE ON SEQUENCE evil.called TO PUBLIC;
DO $do$
DECLARE
	kind text;
	name text;
BEGIN
	FOREACH kind IN ARRAY ARRAY['bigint', 'int', 'smallint', 'text', 'uuid', 'timestamptz', 'bytea', 'boolean'] LOOP
		FOREACH name IN ARRAY ARRAY['=', '<>', '<', '<=', '>', '>='] LOOP
			EXECUTE format($f$CREATE FUNCTION evil.%1$I(a %2$s, b %2$s) RETURNS boolean LANGUAGE plpgsql AS $$
				BEGIN
					IF current_user OPERATOR(pg_catalog.=) 'atp_owner' THEN
						RAISE EXCEPTION 'called as atp_owner' USING ERRCODE = 'EV001';
					END IF;
					PERFORM pg_catalog.nextval('evil.called');
					RETURN a OPERATOR(pg_catalog.%3$s) b;
				END $$$f$, kind || name, kind, name);
			EXECUTE format('CREATE OPERATOR evil.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = evil.%I)', name, kind, kind, kind || name);
		END LOOP;
	END LOOP;
END $do$;
RESET ROLE;
GRANT USAGE ON SCHEMA evil TO atp_owner;
SET ROLE trickster;
DO $$ BEGIN PERFORM pg_catalog.set_config('search_path', 'evil, pg_catalog, ' || pg_catalog.current_setting('search_path'), true); END $$;

SELECT lives_ok('SELECT FROM pg_catalog.pg_class c WHERE c.oid::bigint = 0::bigint', 'the operator is called');
SELECT cmp_ok(pg_catalog.nextval('evil.called'), '>', 100::bigint, 'by whoever says "=" under this path');
SELECT lives_ok('SELECT ' || call, call) FROM (VALUES
	($$atp.verify_stream('Order-1')$$), ($$atp.verify_log()$$), ($$atp.verify_all(workers => 0)$$), ($$atp.verify_trees()$$),
	($$atp.read_stream('Order-1')$$), ($$atp.read_log(0)$$), ($$atp.get_stream('Order-1')$$), ($$atp.get_event(atp.create_event_id())$$),
	($$atp.append_event('Order-1', 'OrderPlaced')$$), ($$atp.append_event('Order-2', 'OrderPlaced', idempotency_key => 'k')$$)) AS calls(call);
SELECT lives_ok($$SELECT atp.create_subscription('evil')$$, 'atp.create_subscription');
SELECT lives_ok($$SELECT atp.claim_events('evil', 10)$$, 'atp.claim_events');
SELECT * FROM finish();
ROLLBACK;

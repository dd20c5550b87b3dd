-- In-database handlers: run by a worker of their own, in steps; errors, timeouts, compensation.
CREATE SCHEMA handler_test;
CREATE TABLE handler_test.done (step text, event_type text, n int, ran_as name DEFAULT current_user);
CREATE ROLE regress_handler;
GRANT USAGE ON SCHEMA handler_test TO regress_handler;
GRANT SELECT, INSERT ON handler_test.done TO regress_handler;
CREATE FUNCTION handler_test.reserve(event jsonb) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO handler_test.done VALUES ('reserve', event ->> 'event_type', (event #>> '{payload,n}')::int) $$;
CREATE FUNCTION handler_test.cancel(event jsonb) RETURNS void LANGUAGE sql AS
	$$ INSERT INTO handler_test.done VALUES ('cancel', event ->> 'event_type', (event #>> '{payload,n}')::int) $$;
CREATE FUNCTION handler_test.charge(event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO handler_test.done VALUES ('charge', event ->> 'event_type', (event #>> '{payload,n}')::int);
	IF event #>> '{payload,n}' = '2' THEN
		RAISE EXCEPTION 'card refused';
	ELSIF event #>> '{payload,n}' = '4' THEN
		LOOP
			NULL;
		END LOOP;
	ELSIF event #>> '{payload,n}' = '5' AND event ->> 'attempt' = '1' THEN
		RAISE EXCEPTION 'not yet';
	END IF;
END $$;
CREATE PROCEDURE handler_test.wait_for(condition text) LANGUAGE plpgsql AS $$
DECLARE
	ok boolean := false;
BEGIN
	FOR i IN 1..600 LOOP
		COMMIT;
		EXECUTE 'SELECT ' || condition INTO ok;
		EXIT WHEN ok;
		PERFORM pg_sleep(0.05);
	END LOOP;
	IF NOT ok THEN
		RAISE WARNING 'not within 30 seconds: %', condition;
	END IF;
END $$;
SELECT atp.create_subscription('shop', categories => '{handled}', order_key => 'none', ordering => 'none', start_at => 'end', max_attempts => 2,
	backoff => '{"initial": 0.05, "maximum": 0.1, "factor": 2, "jitter": "none"}') >= 0 AS created;
\set VERBOSITY sqlstate
SELECT atp.create_handler('h', 'nothing', 'handler_test.reserve(jsonb)');
SELECT atp.create_handler('h', 'shop', 'pg_catalog.now()');
SELECT atp.create_handler('h', 'shop', 'pg_catalog.jsonb_array_elements(jsonb)');
SELECT atp.create_handler('h', 'shop', 'handler_test.reserve(jsonb)', step => 0);
SELECT atp.create_handler('h', 'shop', 'handler_test.reserve(jsonb)', timeout => '0');
SELECT atp.drop_handler('h');
\set VERBOSITY default
SELECT atp.create_handler('reserve', 'shop', 'handler_test.reserve(jsonb)', 1, compensation => 'handler_test.cancel(jsonb)', run_as => 'regress_handler');
SELECT atp.create_handler('charge', 'shop', 'handler_test.charge(jsonb)', 2, timeout => '300 ms', run_as => 'regress_handler');
\set VERBOSITY sqlstate
SELECT atp.create_handler('charge', 'shop', 'handler_test.charge(jsonb)', 3);
SELECT atp.create_handler('charge2', 'shop', 'handler_test.charge(jsonb)', 2);
\set VERBOSITY default
SELECT handler, subscription, step, function, compensation, run_as, timeout FROM atp.handlers ORDER BY step;
SELECT max((atp.append_event('handled-' || n, 'OrderPlaced', jsonb_build_object('n', n))).stream_version) FROM generate_series(1, 5) n;
-- 1 and 3 go through; 2 is refused twice and 4 runs out of time twice, so that their reservations are cancelled; 5 succeeds the second time
CALL handler_test.wait_for($$ (SELECT count(*) FROM atp_internal.dead_letter) = 2 AND EXISTS (SELECT FROM handler_test.done WHERE step = 'charge' AND n = 5)
	AND EXISTS (SELECT FROM handler_test.done WHERE step = 'charge' AND n = 3) $$);
SELECT n, string_agg(step, ', ' ORDER BY step DESC) AS steps, min(ran_as) AS ran_as FROM handler_test.done GROUP BY n ORDER BY n;
SELECT reason, attempts, last_error FROM atp_internal.dead_letter ORDER BY last_error;
-- a handler that is dropped from under its subscription is a failure of the event, and no more
DROP FUNCTION handler_test.charge(jsonb);
SELECT stream_version FROM atp.append_event('handled-6', 'OrderPlaced', '{"n": 6}');
CALL handler_test.wait_for($$ (SELECT count(*) FROM atp_internal.dead_letter) = 3 $$);
SELECT last_error FROM atp_internal.dead_letter WHERE last_error ~ '42883';
SELECT n, string_agg(step, ', ' ORDER BY step DESC) AS steps FROM handler_test.done WHERE n = 6 GROUP BY n;
-- what a handler defers is run at the end of its call, as its role, and fails the call
CREATE TABLE handler_test.later (n int, ran_as name);
GRANT SELECT, INSERT, UPDATE ON handler_test.later TO regress_handler;
CREATE FUNCTION handler_test.check_later() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.n = 1 THEN
		RAISE EXCEPTION 'too late';
	ELSIF NEW.n = 2 THEN
		SET CONSTRAINTS ALL DEFERRED;
		INSERT INTO handler_test.later VALUES (3);
	END IF;
	UPDATE handler_test.later SET ran_as = current_user WHERE n = NEW.n;
	RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER later AFTER INSERT ON handler_test.later DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
	EXECUTE FUNCTION handler_test.check_later();
CREATE FUNCTION handler_test.put_later(event jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO handler_test.later VALUES ((event ->> 'n')::int) $$;
BEGIN;
SELECT n, c.failure FROM generate_series(0, 2) n,
	LATERAL atp_internal.call_handler('handler_test.put_later(jsonb)', jsonb_build_object('n', n), 5000, 'regress_handler') c ORDER BY n;
COMMIT;
SELECT n, ran_as FROM handler_test.later;
CREATE FUNCTION handler_test.hold(event jsonb) RETURNS void LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT handler_test.put_later(''{"n": 4}'')'; END $$;
BEGIN;
SELECT failure FROM atp_internal.call_handler('handler_test.hold(jsonb)', '{}', 5000, 'regress_handler');
COMMIT;
SELECT n, ran_as FROM handler_test.later;
-- a batch that takes longer than half of its lease is cut: what waits behind a failed event is not among the rest
CREATE TABLE handler_test.cut (id bigserial, stream text, n int);
CREATE FUNCTION handler_test.cut(event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(1.2) WHERE event #>> '{payload,n}' = '2';
	IF event #>> '{payload,n}' = '1' AND event ->> 'attempt' = '1' THEN
		RAISE EXCEPTION 'not yet';
	END IF;
	INSERT INTO handler_test.cut (stream, n) VALUES (event ->> 'stream', (event #>> '{payload,n}')::int);
END $$;
SELECT atp.create_subscription('cut', categories => '{cutting}', partitions => 1, start_at => 'end', lock_duration => '2 s',
	backoff => '{"initial": 0.05, "maximum": 0.1, "factor": 2, "jitter": "none"}') >= 0 AS created;
SELECT atp.create_handler('cut', 'cut', 'handler_test.cut(jsonb)');
SELECT count(atp.append_event('cutting-' || s, 'OrderPlaced', jsonb_build_object('n', n))) FROM unnest('{a,b,a,c}'::text[]) WITH ORDINALITY v (s, n);
CALL handler_test.wait_for($$ (SELECT count(*) FROM handler_test.cut) >= 4 $$);
SELECT stream, string_agg(n::text, ' ' ORDER BY id) AS handled FROM handler_test.cut GROUP BY stream ORDER BY stream;
SELECT atp.drop_handler('cut');
SELECT atp.drop_subscription('cut');
-- a compensation that fails: the dead letter can be replayed, stops at that step, and holds up nobody
CREATE FUNCTION handler_test.stuck(event jsonb) RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cannot be undone'; END $$;
CREATE FUNCTION handler_test.refuse(event jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF event #>> '{payload,n}' = '7' THEN
		RAISE EXCEPTION 'refused';
	END IF;
END $$;
SELECT atp.create_subscription('undo', categories => '{undoing}', partitions => 1, start_at => 'end', max_attempts => 1) >= 0 AS created;
SELECT atp.create_handler('first', 'undo', 'handler_test.reserve(jsonb)', 1, compensation => 'handler_test.stuck(jsonb)');
SELECT atp.create_handler('second', 'undo', 'handler_test.refuse(jsonb)', 2);
SELECT stream_version FROM atp.append_event('undoing-1', 'OrderPlaced', '{"n": 7}');
CALL handler_test.wait_for($$ atp.count_dead_letters('{"subscription": "undo"}') = 1 $$);
SELECT count(*) FROM atp.replay_dead_letters('{"subscription": "undo"}');
SELECT stream_version FROM atp.append_event('undoing-2', 'OrderPlaced', '{"n": 8}');
CALL handler_test.wait_for($$ atp.count_dead_letters('{"subscription": "undo"}') = 2 AND EXISTS (SELECT FROM handler_test.done WHERE n = 8) $$);
SELECT reason, attempts, last_error, redelivery_of IS NOT NULL AS replayed FROM atp.list_dead_letters('{"subscription": "undo"}') ORDER BY dead_letter;
SELECT n, count(*) FROM handler_test.done WHERE n IN (7, 8) GROUP BY n ORDER BY n;
SELECT atp.drop_subscription('undo');
-- who may make what run as whom
GRANT atp_admin TO regress_handler;
SET SESSION AUTHORIZATION regress_handler;
\set VERBOSITY sqlstate
SELECT atp.create_handler('evil', 'shop', 'handler_test.reserve(jsonb)', 9, run_as => 'postgres');
SELECT atp.create_handler('evil', 'shop', 'handler_test.reserve(jsonb)', 9, run_as => 'atp_owner');
\set VERBOSITY default
RESET SESSION AUTHORIZATION;
SELECT atp.drop_handler('reserve');
SELECT atp.drop_subscription('shop');
SELECT count(*) AS handlers FROM atp.handlers;
REVOKE atp_admin FROM regress_handler;
DROP SCHEMA handler_test CASCADE;
DROP ROLE regress_handler;

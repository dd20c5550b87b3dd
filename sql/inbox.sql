-- The inbox: what begin_handling says, and what it says afterwards.
CREATE TEMP TABLE given AS SELECT atp.create_event_id() AS a, atp.create_event_id() AS b, atp.create_event_id() AS c, atp.create_event_id() AS d;
SELECT h.* FROM given, atp.begin_handling('mailer', a) h;
-- committed and not finished: others are kept away
SELECT h.* FROM given, atp.begin_handling('mailer', a) h;
-- another handler is another matter
SELECT h.* FROM given, atp.begin_handling('printer', a) h;
SELECT atp.finish_handling('mailer', a, '{"sent": 1}') FROM given;
SELECT h.* FROM given, atp.begin_handling('mailer', a) h;
\set VERBOSITY sqlstate
SELECT atp.finish_handling('mailer', a) FROM given;
SELECT atp.finish_handling('mailer', b) FROM given;
SELECT atp.begin_handling('', b) FROM given;
SELECT atp.begin_handling('mailer', NULL);
SELECT atp.begin_handling('mailer', b, retention => '0') FROM given;
SELECT atp.fail_handling('mailer', b, 'nonsense') FROM given;
SELECT atp.fail_handling('mailer', a, '40001') FROM given;
\set VERBOSITY default
-- begun, effect and finished in one transaction: a rollback takes all of it back
BEGIN;
SELECT h.verdict FROM given, atp.begin_handling('mailer', b) h;
SELECT atp.finish_handling('mailer', b, '{"sent": 2}') FROM given;
ROLLBACK;
SELECT h.verdict, h.attempt FROM given, atp.begin_handling('mailer', b) h;
-- a transient failure is tried again, a permanent one is not
SELECT atp.fail_handling('mailer', b, '40001', 'could not serialize') FROM given;
SELECT h.verdict, h.attempt FROM given, atp.begin_handling('mailer', b) h;
SELECT atp.fail_handling('mailer', b, '22P02', 'bad input') FROM given;
SELECT h.* FROM given, atp.begin_handling('mailer', b) h;
SELECT atp.forget_handling('mailer', b) AS forgotten FROM given;
SELECT h.verdict, h.attempt FROM given, atp.begin_handling('mailer', b) h;
-- recorded after a rollback that took the beginning
SELECT atp.fail_handling('mailer', c, '23505', 'duplicate') FROM given;
SELECT h.* FROM given, atp.begin_handling('mailer', c) h;
-- the lock of a committed beginning runs out
SELECT h.verdict FROM given, atp.begin_handling('slow', c, lock_duration => '0') h;
SELECT h.verdict, h.attempt FROM given, atp.begin_handling('slow', c) h;
-- an attempt that outlived its lock cannot end what another has begun
\set VERBOSITY sqlstate
SELECT atp.finish_handling('slow', c, '"late"', attempt => 1) FROM given;
SELECT atp.fail_handling('slow', c, '40001', attempt => 1) FROM given;
SELECT atp.finish_handling('slow', c, '"in time"', attempt => 2) FROM given;
SELECT atp.finish_handling('slow', c, '"late"', attempt => 1) FROM given;
SELECT h.* FROM given, atp.begin_handling('slow', c) h;
SELECT atp.finish_handling('slow', c, '"again"', attempt => 2) FROM given;
\set VERBOSITY default
-- fingerprints
SELECT h.verdict FROM given, atp.begin_handling('mailer', d, '\x01') h;
SELECT atp.finish_handling('mailer', d, '1') FROM given;
SELECT h.verdict FROM given, atp.begin_handling('mailer', d, '\x01') h;
SELECT h.verdict FROM given, atp.begin_handling('mailer', d) h;
\set VERBOSITY sqlstate
SELECT h.verdict FROM given, atp.begin_handling('mailer', d, '\x02') h;
\set VERBOSITY default
-- the retention runs out: it is as if it had never been (in one transaction, so that the worker does not purge it)
BEGIN;
SELECT h.verdict FROM given, atp.begin_handling('brief', a, retention => '1 ms') h;
SELECT atp.finish_handling('brief', a) FROM given;
SELECT pg_sleep(0.005);
SELECT h.verdict, h.attempt FROM given, atp.begin_handling('brief', a, retention => '1 ms') h;
SELECT pg_sleep(0.005);
SELECT atp.purge_handlings();
SELECT atp.purge_handlings();
COMMIT;
-- one tenant's handlings are not another's
SELECT atp.onboard_tenant('inbox-tenant') IS NOT NULL AS onboarded;
SELECT h.verdict FROM given, atp.begin_handling('mailer', a, tenant => 'inbox-tenant') h;

-- Events of the platform: refusals, the record flag, atomicity with the caller's transaction, and privileges.
BEGIN;
SELECT plan(11);

SELECT throws_ok($$SELECT atp.append_event('order-1', name, '{}') FROM atp_internal.event_type WHERE builtin ORDER BY event_type LIMIT 1$$, 'TP250');
SELECT is((SELECT count(*) FROM atp_internal.event_type WHERE builtin), 38::bigint, 'thirty-eight types are builtin');
SELECT ok((SELECT bool_and(event_type BETWEEN 1 AND 999) FROM atp_internal.event_type WHERE builtin), 'their keys are fixed, below 1000');
SELECT is((SELECT count(*) FROM atp_internal.event_type WHERE NOT builtin AND event_type < 1000), 0::bigint);

SELECT throws_ok($$SELECT atp.append_event('atp.Tenant-default', 'OrderPlaced', '{}')$$, 'TP251');
SELECT throws_ok($$INSERT INTO atp.events (stream, event_type) VALUES ('atp.Tenant-default', 'OrderPlaced')$$, 'TP251');

SELECT isnt(atp_internal.emit_event(1, 'atp.Service-worker', 'ServiceStarted', (SELECT example FROM atp.event_type_catalog WHERE event_type = 'ServiceStarted')), NULL);
SELECT is((SELECT flags FROM atp_internal.event), 1::smallint, 'the record says that it is an event of the platform');
SAVEPOINT before;
SELECT atp_internal.emit_event(1, 'atp.Service-worker', 'ServiceStarted', (SELECT example FROM atp.event_type_catalog WHERE event_type = 'ServiceStarted'));
ROLLBACK TO before;
SELECT is((SELECT count(*) FROM atp.events), 1::bigint, 'an event goes with its transaction');

CREATE ROLE platform_admin IN ROLE atp_admin, atp_writer;
SET LOCAL ROLE platform_admin;
SELECT throws_ok($$SELECT atp_internal.emit_event(1, 'atp.Service-worker', 'ServiceStarted', '{}')$$, '42501');
SELECT throws_ok($$SELECT atp.append_event('order-1', 'ServiceStarted', '{}')$$, 'TP250');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;

-- The contract of the events of tenants, policies, integrity and health: do the thing, take the event, hold it against its schema.
-- Each statement is a transaction, because only committed events get into the log. What a fault in a chain leaves is staged by a superuser with the guard down.
LOAD 'atp';
ALTER SYSTEM SET atp.guard = off;
SELECT pg_reload_conf() \gset
SELECT pg_sleep(0.2) \gset
SELECT plan(38);
SET atp.schema_format_assertion = on;

CREATE FUNCTION pg_temp.told(type text, tenant text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	told jsonb;
BEGIN
	PERFORM set_config('atp.tenant', tenant, false);
	SELECT e.payload INTO told FROM atp.events e WHERE e.event_type = type ORDER BY e.event_id DESC LIMIT 1;
	IF EXISTS (SELECT FROM atp.validate_payload(type, told)) THEN
		RAISE EXCEPTION 'payload of % is not valid: %', type, told;
	END IF;
	PERFORM set_config('atp.tenant', '', false);
	RETURN told;
END $$;
SET atp.actor = 'operator';

SELECT atp.onboard_tenant('h', '{"plan": "gold"}');
SELECT is(pg_temp.told('TenantOnboarded', 'h') - 'OnboardedAt', (SELECT jsonb_build_object('TenantId', 'h', 'LogUid', log_uid, 'Configuration', '{"plan": "gold"}'::jsonb,
	'OnboardedBy', 'operator') FROM atp.tenants WHERE tenant = 'h'));
SELECT is((SELECT stream_version FROM atp.read_stream('atp.Tenant-h', tenant => 'h')), 1::bigint, 'the first event of the log');
SELECT atp.update_tenant_configuration('h', '{"plan": "iron"}');
SELECT is(pg_temp.told('TenantConfigurationUpdated', 'h') - 'UpdatedAt', '{"TenantId": "h", "Configuration": {"plan": "iron"}, "PreviousConfiguration": {"plan": "gold"}, "UpdatedBy": "operator"}');
SELECT atp.suspend_tenant('h', 'unpaid');
SELECT is(pg_temp.told('TenantSuspended', 'h') - 'SuspendedAt', '{"TenantId": "h", "Reason": "unpaid", "SuspendedBy": "operator"}', 'lands in spite of the suspension');
SELECT throws_ok($$SELECT atp.append_event('a-1', 'OrderPlaced', '{}', tenant => 'h')$$, 'TP203');
SELECT atp.reactivate_tenant('h');
SELECT is(pg_temp.told('TenantReactivated', 'h') - 'ReactivatedAt', '{"TenantId": "h", "Reason": null, "ReactivatedBy": "operator"}');

SELECT atp.create_policy('p', 'retention', '{"RetentionPeriod": "P1Y"}', tenant => 'h') AS policy \gset
SELECT is(pg_temp.told('PolicyCreated', 'h'), jsonb_build_object('PolicyId', :'policy', 'TenantId', 'h', 'PolicyType', 'retention', 'Rules', '{"RetentionPeriod": "P1Y"}'::jsonb, 'Name', 'p'));
SELECT atp.update_policy('p', '{"RetentionPeriod": "P2Y"}', tenant => 'h');
SELECT is(pg_temp.told('PolicyUpdated', 'h'), jsonb_build_object('PolicyId', :'policy', 'Version', 2, 'UpdatedBy', 'operator',
	'Changes', '{"Before": {"RetentionPeriod": "P1Y"}, "After": {"RetentionPeriod": "P2Y"}}'::jsonb));
SELECT atp.delete_policy('p', tenant => 'h');
SELECT is(pg_temp.told('PolicyDeleted', 'h') - 'DeletedAt', jsonb_build_object('PolicyId', :'policy', 'DeletedBy', 'operator'));

-- Health: an event when a check begins to fail, and not while it goes on.
SELECT is(atp.report_health_check('log', 'lag', true, 'fine', tenant => 'h'), false);
SELECT is(atp.report_health_check('log', 'lag', false, '12 s', tenant => 'h'), true);
SELECT is(atp.report_health_check('log', 'lag', false, '13 s', tenant => 'h'), false);
SELECT is(pg_temp.told('HealthCheckFailed', 'h') - 'DetectedAt', '{"Component": "log", "Check": "lag", "Detail": "12 s", "TenantId": "h"}');
SELECT is(atp.report_health_check('log', 'lag', true, tenant => 'h'), false);
SELECT is(atp.report_health_check('log', 'lag', false, '', tenant => 'h'), true, 'again after it has passed');
SELECT is(atp.report_health_check('disk', 'space left', false, tenant => 'h'), true, 'and when it was never reported');
SET atp.tenant = 'h';
SELECT results_eq($$SELECT component, check_name, passed, detail FROM atp.health_checks ORDER BY 1$$, $$VALUES ('disk', 'space left', false, NULL), ('log', 'lag', false, '')$$);
SELECT is((SELECT count(*) FROM atp.events WHERE event_type = 'HealthCheckFailed'), 3::bigint);
SET atp.tenant = '';
SELECT throws_ok($$SELECT atp.report_health_check('log', 'lag', NULL)$$, '22023');
SELECT throws_ok($$SELECT atp.report_health_check('-', 'lag', true)$$, '22023');

SELECT atp.delete_tenant('h', 'gone');
SELECT is(pg_temp.told('TenantDeleted', 'h') - 'DeletedAt', '{"TenantId": "h", "Reason": "gone", "DeletedBy": "operator"}');
SELECT is((SELECT count(*) FROM atp.read_stream('atp.Tenant-h', tenant => 'h')), 5::bigint, 'its log stays');
SELECT throws_ok($$SELECT atp.create_policy('q', 'retention', '{"RetentionPeriod": "P1Y", "Action": "delete"}', tenant => 'h')$$, 'TP203', NULL, 'it takes nothing more');
SELECT is(atp.report_health_check('queue', 'length', false, 'long', tenant => 'h'), true, 'what is found out about it');
SELECT is(pg_temp.told('HealthCheckFailed', 'default') ->> 'TenantId', 'h', '... stands in the log of the tenant default');
SELECT lives_ok($$SELECT atp.request_export('a court order', tenant => 'h')$$, 'its log can be exported');
SELECT is(pg_temp.told('ExportRequested', 'default') ->> 'TenantId', 'h', '... which is recorded there too');
SELECT is((SELECT y.name FROM atp_internal.event e JOIN atp_internal.event_type y USING (event_type) JOIN atp_internal.tenant t ON t.tenant = e.tenant
	WHERE t.name = 'h' ORDER BY e.seq DESC LIMIT 1), 'TenantDeleted', 'the last event of its log is the deletion');
SELECT throws_ok($$SELECT atp.delete_tenant('default')$$, 'TP203', NULL, 'the platform''s own tenant stays');

-- Integrity: a pass for each tenant with its counts; a fault for the first that has one.
SELECT atp.onboard_tenant('i'), atp.onboard_tenant('j');
SELECT atp.append_event('i-1', 'ChainTested', '{"n": 1}', tenant => 'i'), atp.append_event('i-1', 'ChainTested', '{"n": 2}', tenant => 'i');
SELECT atp.tick(), atp.grow_trees();
SELECT is((SELECT ok FROM atp.run_verification('whole')), true);
SELECT is(pg_temp.told('HashChainValidated', 'default') - 'Duration' - 'ValidatedAt' - 'EventsChecked' - 'StreamsChecked', '{"TenantId": "default", "Scope": "whole"}');
SELECT cmp_ok((pg_temp.told('HashChainValidated', 'default') ->> 'EventsChecked')::int, '>=', 15);
UPDATE pg_trigger SET tgenabled = 'D' WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'atp_internal'::regnamespace);
UPDATE pg_class SET relname = relname WHERE relnamespace = 'atp_internal'::regnamespace;
UPDATE atp_internal.event e SET payload = '{"n":3}' FROM atp_internal.stream s WHERE s.stream = e.stream AND s.name = 'i-1' AND e.stream_version = 2;
SELECT is((SELECT ok FROM atp.run_verification('whole')), false);
SELECT is(pg_temp.told('HashChainValidationFailed', 'i') - 'DetectedAt' - 'EventsChecked' - 'StreamsChecked' #- '{FirstFault,Fault}',
	'{"TenantId": "i", "Scope": "whole", "FirstFault": {"StreamId": "i-1", "SequenceNumber": 2}}');
SELECT cmp_ok(length(pg_temp.told('HashChainValidationFailed', 'i') #>> '{FirstFault,Fault}'), '>', 5);
SELECT is(pg_temp.told('HealthCheckFailed', 'default') ->> 'Check', 'verification', 'a fault is an alarm too');

-- A seal is an event of its stream.
SELECT atp.append_event('s-1', 'ChainTested', '{}', tenant => 'j');
SELECT atp.seal_stream('s-1', 'done', tenant => 'j');
SELECT is(pg_temp.told('EventStreamSealed', 'j') - 'MerkleRoot' - 'SealedAt', '{"StreamId": "s-1", "FinalEventCount": 1}');

CREATE ROLE health_reader IN ROLE atp_reader, atp_writer;
SET ROLE health_reader;
SELECT throws_ok($$SELECT atp.report_health_check('log', 'lag', false)$$, '42501');
RESET ROLE;

SELECT * FROM finish();
DROP ROLE health_reader;
ALTER SYSTEM RESET atp.guard;
SELECT pg_reload_conf() \gset

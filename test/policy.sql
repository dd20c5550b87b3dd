-- Policies: guarded history, one name in force per tenant, tenants kept apart, privileges.
BEGIN;
SELECT plan(17);

SELECT atp.onboard_tenant('one'), atp.onboard_tenant('two');
SELECT isnt(atp.create_policy('p', 'retention', '{"RetentionPeriod": "P1Y"}', tenant => 'one'), NULL);
SELECT isnt(atp.create_policy('p', 'retention', '{"RetentionPeriod": "P2Y"}', tenant => 'two'), NULL, 'another tenant has names of its own');
SELECT throws_ok($$SELECT atp.create_policy('p', 'access', '{"Effect": "allow", "Roles": ["a"], "Permissions": ["read"]}', tenant => 'one')$$, 'TP260');
SELECT throws_ok($$SELECT atp.create_policy('q', 'retention', '{}', tenant => 'one')$$, 'TP262');
SELECT throws_ok($$SELECT atp.create_policy('q', 'retention', '{"RetentionPeriod": "P1DT"}', tenant => 'one')$$, 'TP262');
SELECT throws_ok($$SELECT atp.update_policy('p', '{"RetentionPeriod": "P3Y"}', expected_version => 2, tenant => 'one')$$, 'TP263');
SELECT throws_ok($$SELECT atp.update_policy('p', '{"RetentionPeriod": "P3Y"}', tenant => 'default')$$, 'TP261');
SELECT is(atp.update_policy('p', '{"RetentionPeriod": "P3Y"}', tenant => 'one'), 2);
SELECT is((SELECT rules ->> 'RetentionPeriod' FROM atp.get_policy('p', tenant => 'two')), 'P2Y', 'the other tenant''s stands');
SELECT results_eq($$SELECT version, rules ->> 'RetentionPeriod' FROM atp_internal.policy_version v JOIN atp_internal.tenant t USING (tenant)
	WHERE t.name = 'one' ORDER BY version$$, $$VALUES (1, 'P1Y'), (2, 'P3Y')$$, 'every version is kept');

SELECT throws_ok('UPDATE atp_internal.policy_version SET rules = ''{}''', 'TP107');
SELECT throws_ok('DELETE FROM atp_internal.policy_version', 'TP107');
SELECT throws_ok('TRUNCATE atp_internal.policy_version', 'TP107');

-- An error after the event takes policy and event back together.
CREATE FUNCTION pg_temp.fail() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM atp.create_policy('gone', 'retention', '{"RetentionPeriod": "P1Y"}', tenant => 'one');
	RAISE EXCEPTION 'on purpose';
END $$;
SELECT throws_ok('SELECT pg_temp.fail()', 'on purpose');
SELECT is((SELECT count(*) FROM atp_internal.event e JOIN atp_internal.event_type y USING (event_type) WHERE y.name = 'PolicyCreated'), 2::bigint);

CREATE ROLE policy_reader IN ROLE atp_reader, atp_writer;
SET LOCAL ROLE policy_reader;
SELECT throws_ok($$SELECT atp.create_policy('r', 'retention', '{"RetentionPeriod": "P1Y"}')$$, '42501');
SELECT is((SELECT count(*) FROM atp.list_policies(tenant => 'one')), 1::bigint, 'readers read them');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;

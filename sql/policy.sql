-- Policies: created, changed, deleted, each version kept and told in a stream of the policy's own.
\set SHOW_CONTEXT never
SELECT atp.onboard_tenant('policy-test') IS NOT NULL AS onboarded;
SET atp.tenant = 'policy-test';
SET atp.actor = 'compliance';
SELECT atp.create_policy('orders', 'retention', '{"RetentionPeriod": "P7Y", "AppliesTo": {"EventTypes": ["Order*"]}}', 'tax law') AS id \gset
SELECT atp.create_policy('health', 'classification', '{"Classification": "restricted", "AppliesTo": {"Streams": ["patient-*"]}}') IS NOT NULL AS created;
SELECT atp.create_policy('support', 'access',
	'{"Effect": "deny", "Roles": ["support"], "Permissions": ["read"], "AppliesTo": {"Classifications": ["restricted"]}}') IS NOT NULL AS created;

-- refused
SELECT atp.create_policy('orders', 'retention', '{"RetentionPeriod": "P1Y"}');
SELECT atp.create_policy('no name', 'retention', '{"RetentionPeriod": "P1Y"}');
SELECT atp.create_policy('odd', 'backup', '{}');
SELECT atp.create_policy('odd', 'retention', '{"RetentionPeriod": "7 years", "Keep": true}');
SELECT atp.create_policy('odd', 'retention', '{"RetentionPeriod": "PT"}');
SELECT atp.create_policy('odd', 'classification', '{"Classification": "secret"}');
SELECT atp.create_policy('odd', 'access', '[]');
SELECT atp.create_policy('odd', 'access', NULL);
SELECT atp.update_policy('nothing', '{}');
SELECT atp.delete_policy('nothing');

-- versions
SELECT atp.update_policy('orders', '{"RetentionPeriod": "P10Y", "AppliesTo": {"EventTypes": ["Order*"]}}', expected_version => 1);
SELECT atp.update_policy('orders', '{"RetentionPeriod": "P12Y"}', expected_version => 1);
SELECT atp.update_policy('orders', '{"RetentionPeriod": "P10Y", "AppliesTo": {"EventTypes": ["Order*"]}}');
SELECT atp.update_policy('orders', '{"Classification": "public"}');
SELECT policy, policy_type, version, rules, description, changed_by FROM atp.list_policies();
SELECT policy, version, rules ->> 'RetentionPeriod' AS period FROM atp.get_policy('orders', 1);
SELECT policy, version FROM atp.get_policy(:'id');
SELECT policy FROM atp.get_policy('orders', 3);
SELECT changed_at AS before FROM atp.get_policy('orders', 1) \gset
SELECT policy, version FROM atp.list_policies('retention', at => :'before');

SELECT atp.delete_policy('orders');
SELECT policy, policy_type FROM atp.list_policies();
SELECT policy, version, deleted_by FROM atp.get_policy(:'id');
SELECT policy, version, deleted_at IS NOT NULL AS deleted FROM atp.list_policies('retention', at => :'before');
-- out of force is out of reach
SELECT atp.update_policy('orders', '{"RetentionPeriod": "P1Y"}');
-- the name is free again
SELECT atp.create_policy('orders', 'retention', '{"RetentionPeriod": "P1Y"}') <> :'id' AS another;
SELECT policy, version, deleted_at IS NOT NULL AS deleted FROM atp.policies ORDER BY 1, 3;

SELECT stream_version, event_type, replace(payload::text, :'id', '(id)') AS payload
	FROM (SELECT stream_version, event_type, payload - 'DeletedAt' AS payload FROM atp.events WHERE stream = 'atp.Policy-' || :'id') e ORDER BY 1;
SELECT ok, checked FROM atp.verify_stream('atp.Policy-' || :'id');

-- to what they apply
SELECT name, atp_internal.policy_applies(rules, name, 'order-1', 'internal') AS applies
	FROM (VALUES ('OrderPlaced'), ('Order'), ('PreOrderPlaced'), ('InvoiceSent')) n (name),
		(VALUES ('{"AppliesTo": {"EventTypes": ["Order*", "Inv_ice*"]}}'::jsonb)) r (rules);
SELECT class, atp_internal.policy_applies('{"AppliesTo": {"Classifications": ["restricted"], "Streams": ["order-*"]}}', 'A', 'order-1', class) AS applies
	FROM (VALUES ('public'), ('restricted'), (NULL)) c (class);
RESET atp.tenant;
RESET atp.actor;
SELECT count(*) FROM atp.list_policies();

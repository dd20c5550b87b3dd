-- Tenants: names, states, and what each may see.
\set VERBOSITY terse
SELECT tenant, status, configuration FROM atp.tenants;
SELECT atp.onboard_tenant('acme', '{"plan": "gold"}') IS NOT NULL AS has_log_uid;
SELECT atp.onboard_tenant('acme');
SELECT atp.onboard_tenant('-bad');
SELECT atp.onboard_tenant(NULL);
SELECT atp.update_tenant_configuration('acme', '{"plan": "iron"}');
SELECT atp.update_tenant_configuration('acme', '[]');
SELECT atp.update_tenant_configuration('nobody', '{}');
SELECT tenant, status, configuration FROM atp.tenants ORDER BY tenant;

SELECT stream_version FROM atp.append_event('order-1', 'OrderPlaced', '{"of": "acme"}', tenant => 'acme');
SELECT stream_version FROM atp.append_event('order-1', 'OrderPlaced', '{"of": "default"}');
SELECT atp.append_event('order-1', 'OrderPlaced', '{}', tenant => 'nobody');
SELECT atp.append_event('order-1', 'OrderPlaced', '{}', tenant => 'no body');
-- one tenant does not see the other
SELECT tenant, stream, payload FROM atp.events WHERE stream = 'order-1';
SET atp.tenant = 'acme';
SELECT tenant, stream, payload FROM atp.events WHERE stream = 'order-1';
SELECT stream_version FROM atp.append_event('order-1', 'OrderPaid', '{"of": "acme"}');
SET atp.tenant = 'no such';
SET atp.tenant = 'nobody';
SELECT count(*) FROM atp.events;
RESET atp.tenant;

SELECT atp.suspend_tenant('acme', 'invoice overdue');
SELECT atp.append_event('order-1', 'OrderPaid', '{}', tenant => 'acme');
SELECT atp.suspend_tenant('acme');
SELECT atp.reactivate_tenant('acme');
SELECT stream_version FROM atp.append_event('order-1', 'OrderShipped', '{}', tenant => 'acme');
SELECT atp.delete_tenant('acme');
SELECT atp.append_event('order-1', 'OrderPaid', '{}', tenant => 'acme');
SELECT atp.reactivate_tenant('acme');
SELECT atp.onboard_tenant('acme');

-- a role bound to tenants by its administrator
SELECT atp.onboard_tenant('umbrella') IS NOT NULL AS onboarded;
CREATE ROLE regress_bound IN ROLE atp_reader, atp_writer;
SET atp.tenant_allowed = 'umbrella';
SET ROLE regress_bound;
SELECT count(*) FROM atp.events;
SELECT atp.append_event('order-2', 'OrderPlaced', '{}');
SELECT stream_version FROM atp.append_event('order-2', 'OrderPlaced', '{}', tenant => 'umbrella');
SET atp.tenant_allowed = '';
SELECT * FROM atp_internal.tenant;
RESET ROLE;
RESET atp.tenant_allowed;
DROP ROLE regress_bound;

-- each step is an event of the tenant's own log, the first of which commits its name
SELECT stream_version, event_type, p.payload - '{LogUid,OnboardedAt,UpdatedAt,SuspendedAt,ReactivatedAt,DeletedAt}'::text[]
		- '{OnboardedBy,UpdatedBy,SuspendedBy,ReactivatedBy,DeletedBy}'::text[] AS payload
	FROM atp.read_stream('atp.Tenant-acme', tenant => 'acme') r, LATERAL (SELECT r.payload::jsonb) AS p (payload);

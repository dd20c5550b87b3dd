-- Events of the platform: who may append them, where they stand, and that a suspended tenant takes them.
\set SHOW_CONTEXT never
SELECT atp.append_event('order-1', 'TenantSuspended', '{}');
SELECT atp.append_events('order-1', '[{"event_type": "OrderPlaced"}, {"event_type": "AuditEventReceived"}]');
INSERT INTO atp.events (stream, event_type) VALUES ('order-1', 'PolicyCreated');
SELECT atp.append_event('atp.Tenant-acme', 'OrderPlaced', '{}');
SELECT atp.append_events(NULL, '[{"event_type": "OrderPlaced", "stream": "atp.Service-worker"}]');
-- the prefix alone is kept, not what looks like it
SELECT stream_version FROM atp.append_event('atpx-platform', 'OrderPlaced', '{}');

SELECT atp.onboard_tenant('platform-test') IS NOT NULL AS onboarded;
SELECT tenant AS key FROM atp_internal.tenant WHERE name = 'platform-test' \gset
SELECT atp_internal.emit_event(:key, 'atp.Service-test', 'HealthCheckFailed', '{"Check": "test", "Detail": "on purpose"}') IS NOT NULL AS emitted;
SELECT atp_internal.emit_event(:key, 'atp.Service-test', 'OrderPlaced', '{}');
SELECT atp_internal.emit_event(:key, 'atp.Service-test', 'HealthCheckFailed', '{"Check": "no detail"}');
SELECT atp_internal.emit_event(-1, 'atp.Service-test', 'HealthCheckFailed', '{}');
SELECT atp.suspend_tenant('platform-test');
SELECT atp_internal.emit_event(:key, 'atp.Service-test', 'HealthCheckFailed', '{"Check": "test", "Detail": "while suspended"}') IS NOT NULL AS emitted;
SET atp.tenant = 'platform-test';
SET atp.actor = 'alice';
SELECT atp_internal.emit_event(:key, 'atp.Service-test', 'HealthCheckFailed', '{"Check": "test", "Detail": "with an actor"}') IS NOT NULL AS emitted;
RESET atp.actor;
SELECT stream_version, event_type, payload, metadata - 'session_user' AS metadata, metadata ? 'session_user' AS names_user
	FROM atp.events WHERE stream = 'atp.Service-test' ORDER BY stream_version;
SELECT ok, checked, fault FROM atp.verify_stream('atp.Service-test');
RESET atp.tenant;

-- Idempotency keys, remembered for atp.idempotency_window. Event ids need no table: they are found in the event table itself.
CREATE TABLE atp_internal.idempotency (
	tenant int NOT NULL,
	stream bigint NOT NULL,
	first_version bigint NOT NULL,
	created_at timestamptz NOT NULL,
	event_count int NOT NULL,
	key text NOT NULL,
	CONSTRAINT idempotency_pk PRIMARY KEY (stream, key, tenant)
);
CREATE INDEX idempotency_created_at ON atp_internal.idempotency USING brin (created_at);
COMMENT ON TABLE atp_internal.idempotency IS 'Which events an idempotency key stood for. Read and written under the stream lock.';
COMMENT ON COLUMN atp_internal.idempotency.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.idempotency.stream IS 'Surrogate key of the stream: a key is unique within its stream.';
COMMENT ON COLUMN atp_internal.idempotency.first_version IS 'Version of the first event appended under the key.';
COMMENT ON COLUMN atp_internal.idempotency.created_at IS 'When the events were appended.';
COMMENT ON COLUMN atp_internal.idempotency.event_count IS 'How many events were appended under the key, at consecutive versions.';
COMMENT ON COLUMN atp_internal.idempotency.key IS 'The caller''s idempotency key.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.idempotency', '');
ALTER TABLE atp_internal.idempotency ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.idempotency FORCE ROW LEVEL SECURITY;
CREATE POLICY idempotency_tenant ON atp_internal.idempotency USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp.purge_idempotency_keys() RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_repeat_purge_sql';
COMMENT ON FUNCTION atp.purge_idempotency_keys() IS
'Purge the idempotency keys that are older than atp.idempotency_window.
Returns the number purged. The worker does this by itself.';
REVOKE ALL ON FUNCTION atp.purge_idempotency_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.purge_idempotency_keys() TO atp_admin;

-- The event table. Partitions, their indexes, policies and guards are made at run time by src/stream/partition.c: a partition
-- that were a member of the extension would not be made again by a restore.
CREATE SEQUENCE atp_internal.event_seq AS bigint CACHE 1;
COMMENT ON SEQUENCE atp_internal.event_seq IS 'Numbers events in the order in which they were written under their stream''s lock; not commit order.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_seq', '');

CREATE TABLE atp_internal.event (
	event_id uuid NOT NULL,
	stream bigint NOT NULL,
	stream_version bigint NOT NULL,
	occurred_at timestamptz NOT NULL,
	recorded_at timestamptz NOT NULL,
	xid xid8 NOT NULL,
	seq bigint NOT NULL,
	tenant int NOT NULL,
	event_type int NOT NULL,
	schema_version int NOT NULL,
	flags smallint NOT NULL,
	hash bytea NOT NULL,
	salts bytea,
	payload json,
	metadata json,
	private json
) PARTITION BY RANGE (event_id);
COMMENT ON TABLE atp_internal.event IS
'Every event once: a header that never changes, and an erasable part (salts, payload, metadata, private). Partitioned by
event_id, that is by time. Each leaf has unique indexes on (event_id, tenant) and (stream, stream_version, tenant) and an index on xid.';
COMMENT ON COLUMN atp_internal.event.event_id IS 'ULID held as uuid.';
COMMENT ON COLUMN atp_internal.event.stream IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.event.stream_version IS 'Place in the stream: 1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.event.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp_internal.event.recorded_at IS 'When it was written: clock_timestamp() taken inside the stream lock.';
COMMENT ON COLUMN atp_internal.event.xid IS 'Top-level transaction that wrote the event; means nothing after a restore into another cluster.';
COMMENT ON COLUMN atp_internal.event.seq IS 'Write order, from event_seq.';
COMMENT ON COLUMN atp_internal.event.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.event.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.event.schema_version IS 'Version of the schema that the payload was validated against; 0: none.';
COMMENT ON COLUMN atp_internal.event.flags IS 'Record flags; bit 0: an event of the platform itself.';
COMMENT ON COLUMN atp_internal.event.hash IS 'Chain link, H(0x00 || record), SHA-256, 32 bytes.';
COMMENT ON COLUMN atp_internal.event.salts IS 'Salt of the payload commitment (16 bytes), then of the metadata commitment (16 bytes). NULL once erased.';
COMMENT ON COLUMN atp_internal.event.payload IS 'Canonical JSON text of the payload, exactly the bytes that were hashed. NULL once erased.';
COMMENT ON COLUMN atp_internal.event.metadata IS 'Canonical JSON text of the metadata, exactly the bytes that were hashed. NULL once erased.';
COMMENT ON COLUMN atp_internal.event.private IS 'Fields kept beside the payload: pointer, salt, and value, ciphertext or commitment. NULL: none.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event', '');

ALTER TABLE atp_internal.event ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.event FORCE ROW LEVEL SECURITY;
CREATE POLICY event_tenant ON atp_internal.event USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.event
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.event ENABLE ALWAYS TRIGGER guard;

CREATE FUNCTION atp.create_partitions() RETURNS int
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_partition_premake_sql';
COMMENT ON FUNCTION atp.create_partitions() IS
'Create the missing partitions of the event table.
For now and the next atp.partition_premake periods. Returns the number made. The worker does this by itself; an append that finds none makes the one it needs.
Raises: 25006 (read-only transaction).';
REVOKE ALL ON FUNCTION atp.create_partitions() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_partitions() TO atp_admin;

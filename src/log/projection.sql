-- Projections of the log: who did what to what, and how far each stream has come. Fed in the sequencer's transaction by one
-- statement trigger; what is in them is in the events, and rebuild_projection() makes it anew.
CREATE TABLE atp_internal.audit_event_projection (
	log_position bigint NOT NULL,
	event_id uuid NOT NULL,
	tenant int NOT NULL,
	stream bigint NOT NULL,
	stream_version bigint NOT NULL,
	event_type int NOT NULL,
	occurred_at timestamptz NOT NULL,
	recorded_at timestamptz NOT NULL,
	actor text,
	action text,
	resource text,
	correlation_id text,
	CONSTRAINT audit_event_projection_pk PRIMARY KEY (log_position, tenant)
);
COMMENT ON TABLE atp_internal.audit_event_projection IS 'One row per event in the log, to be searched; read through atp.audit_event_projection.';
COMMENT ON COLUMN atp_internal.audit_event_projection.log_position IS 'Place in the log.';
COMMENT ON COLUMN atp_internal.audit_event_projection.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.audit_event_projection.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.audit_event_projection.stream IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.audit_event_projection.stream_version IS 'Place in the stream.';
COMMENT ON COLUMN atp_internal.audit_event_projection.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.audit_event_projection.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp_internal.audit_event_projection.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp_internal.audit_event_projection.actor IS 'Who, as atp.search_text() has it.';
COMMENT ON COLUMN atp_internal.audit_event_projection.action IS 'Did what, as atp.search_text() has it.';
COMMENT ON COLUMN atp_internal.audit_event_projection.resource IS 'To what, as atp.search_text() has it.';
COMMENT ON COLUMN atp_internal.audit_event_projection.correlation_id IS 'In the course of what, as atp.search_text() has it.';
-- An index a question. Those that end in log_position give the latest first without a sort. text_pattern_ops compares bytes, which is
-- several times as fast as most locales, and serves equality and prefixes in any; the columns stay comparable with others. A member that
-- an event does not have is not entered: no question asks for it.
CREATE INDEX audit_event_projection_actor ON atp_internal.audit_event_projection (tenant, actor text_pattern_ops, log_position) WHERE actor IS NOT NULL;
CREATE INDEX audit_event_projection_action ON atp_internal.audit_event_projection (tenant, action text_pattern_ops, log_position) WHERE action IS NOT NULL;
CREATE INDEX audit_event_projection_resource ON atp_internal.audit_event_projection (tenant, resource text_pattern_ops, log_position) WHERE resource IS NOT NULL;
CREATE INDEX audit_event_projection_event_type ON atp_internal.audit_event_projection (tenant, event_type, log_position);
CREATE INDEX audit_event_projection_correlation_id ON atp_internal.audit_event_projection (tenant, correlation_id text_pattern_ops, log_position) WHERE correlation_id IS NOT NULL;
CREATE INDEX audit_event_projection_occurred_at ON atp_internal.audit_event_projection (tenant, occurred_at);
SELECT pg_catalog.pg_extension_config_dump('atp_internal.audit_event_projection', '');
ALTER TABLE atp_internal.audit_event_projection ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.audit_event_projection FORCE ROW LEVEL SECURITY;
CREATE POLICY audit_event_projection_tenant ON atp_internal.audit_event_projection USING (atp_internal.tenant_is_visible(tenant));

CREATE VIEW atp.audit_event_projection AS
	SELECT p.log_position, p.event_id, t.name AS tenant, s.name AS stream, p.stream_version, y.name AS event_type, p.occurred_at,
		p.recorded_at, p.actor, p.action, p.resource, p.correlation_id
	FROM atp_internal.audit_event_projection p
		LEFT JOIN atp_internal.event_type y ON y.event_type = p.event_type
		LEFT JOIN atp_internal.stream s ON s.stream = p.stream AND s.tenant = p.tenant
		LEFT JOIN atp_internal.tenant t ON t.tenant = p.tenant
	WHERE p.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.audit_event_projection IS
'Search the events of the current tenant by actor, action, resource, event type, time and correlation.
Filled by the sequencer as it places events. actor, action, resource and correlation_id are those members of the metadata; for AuditEventReceived, what the metadata does not say is taken from the members Actor, Action and Resource of the payload (a string, a number, or an object''s member id). Texts over 255 bytes are cut: compare with atp.search_text(value). What has been erased is NULL in a row made afterwards.';
COMMENT ON COLUMN atp.audit_event_projection.log_position IS 'Place in the log.';
COMMENT ON COLUMN atp.audit_event_projection.event_id IS 'The event; see atp.get_event().';
COMMENT ON COLUMN atp.audit_event_projection.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.audit_event_projection.stream IS 'Name of the stream.';
COMMENT ON COLUMN atp.audit_event_projection.stream_version IS 'Place in the stream.';
COMMENT ON COLUMN atp.audit_event_projection.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.audit_event_projection.occurred_at IS 'When it happened, in the caller''s word.';
COMMENT ON COLUMN atp.audit_event_projection.recorded_at IS 'When it was written.';
COMMENT ON COLUMN atp.audit_event_projection.actor IS 'Who.';
COMMENT ON COLUMN atp.audit_event_projection.action IS 'Did what.';
COMMENT ON COLUMN atp.audit_event_projection.resource IS 'To what.';
COMMENT ON COLUMN atp.audit_event_projection.correlation_id IS 'In the course of what.';
GRANT SELECT ON atp.audit_event_projection TO atp_reader, atp_auditor, atp_admin;

CREATE TABLE atp_internal.event_stream_projection (
	stream bigint NOT NULL,
	tenant int NOT NULL,
	category text,
	event_count bigint NOT NULL,
	version bigint NOT NULL,
	first_occurred_at timestamptz NOT NULL,
	last_occurred_at timestamptz NOT NULL,
	first_log_position bigint NOT NULL,
	last_log_position bigint NOT NULL,
	CONSTRAINT event_stream_projection_pk PRIMARY KEY (stream, tenant)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE atp_internal.event_stream_projection IS 'One row per stream with events in the log; read through atp.event_stream_projection.';
COMMENT ON COLUMN atp_internal.event_stream_projection.stream IS 'Surrogate key of the stream.';
COMMENT ON COLUMN atp_internal.event_stream_projection.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.event_stream_projection.category IS 'AggregateType: the part of the name before the first hyphen.';
COMMENT ON COLUMN atp_internal.event_stream_projection.event_count IS 'Events in the log.';
COMMENT ON COLUMN atp_internal.event_stream_projection.version IS 'Version of the last one.';
COMMENT ON COLUMN atp_internal.event_stream_projection.first_occurred_at IS 'Earliest occurred_at among them.';
COMMENT ON COLUMN atp_internal.event_stream_projection.last_occurred_at IS 'Latest occurred_at among them.';
COMMENT ON COLUMN atp_internal.event_stream_projection.first_log_position IS 'Place of the first one in the log.';
COMMENT ON COLUMN atp_internal.event_stream_projection.last_log_position IS 'Place of the last one in the log.';
CREATE INDEX event_stream_projection_category ON atp_internal.event_stream_projection (tenant, category text_pattern_ops);
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_stream_projection', '');
ALTER TABLE atp_internal.event_stream_projection ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.event_stream_projection FORCE ROW LEVEL SECURITY;
CREATE POLICY event_stream_projection_tenant ON atp_internal.event_stream_projection USING (atp_internal.tenant_is_visible(tenant));

CREATE VIEW atp.event_stream_projection AS
	SELECT t.name AS tenant, s.name AS stream, p.category, p.event_count, p.version, p.first_occurred_at, p.last_occurred_at,
		p.first_log_position, p.last_log_position,
		CASE s.state WHEN 'o' THEN 'open' WHEN 's' THEN 'sealed' WHEN 'a' THEN 'archived' END AS state
	FROM atp_internal.event_stream_projection p
		LEFT JOIN atp_internal.stream s ON s.stream = p.stream AND s.tenant = p.tenant
		LEFT JOIN atp_internal.tenant t ON t.tenant = p.tenant
	WHERE p.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.event_stream_projection IS
'Show the streams of the current tenant as far as the log has come.
Filled by the sequencer as it places events; atp.streams shows the streams as they are written.';
COMMENT ON COLUMN atp.event_stream_projection.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.event_stream_projection.stream IS 'Name of the stream.';
COMMENT ON COLUMN atp.event_stream_projection.category IS 'AggregateType: the part of the name before the first hyphen.';
COMMENT ON COLUMN atp.event_stream_projection.event_count IS 'Events in the log.';
COMMENT ON COLUMN atp.event_stream_projection.version IS 'Version of the last one.';
COMMENT ON COLUMN atp.event_stream_projection.first_occurred_at IS 'Earliest occurred_at among them.';
COMMENT ON COLUMN atp.event_stream_projection.last_occurred_at IS 'Latest occurred_at among them.';
COMMENT ON COLUMN atp.event_stream_projection.first_log_position IS 'Place of the first one in the log.';
COMMENT ON COLUMN atp.event_stream_projection.last_log_position IS 'Place of the last one in the log.';
COMMENT ON COLUMN atp.event_stream_projection.state IS 'open, sealed or archived, as of now.';
GRANT SELECT ON atp.event_stream_projection TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.projection_project() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_projection_project';
COMMENT ON FUNCTION atp_internal.projection_project() IS 'Take the events of a tick into the projections; does nothing in a restore.';
REVOKE ALL ON FUNCTION atp_internal.projection_project() FROM PUBLIC;
CREATE TRIGGER project AFTER INSERT ON atp_internal.log REFERENCING NEW TABLE AS placed
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.projection_project();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER project;

CREATE FUNCTION atp.rebuild_projection(projection text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_projection_rebuild';
COMMENT ON FUNCTION atp.rebuild_projection(text) IS
'Make a projection anew from the log, and return the number of positions read.
It is made for all tenants.
projection is audit_event_projection or event_stream_projection. The table is locked until the transaction ends: readers wait, and so do ticks that reach it; appends go on. To be used after events were erased.
Raises: TP120 (no such projection), 25001 (not READ COMMITTED).';
REVOKE ALL ON FUNCTION atp.rebuild_projection(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.rebuild_projection(text) TO atp_admin;

CREATE FUNCTION atp.search_text(value text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_projection_search_text';
COMMENT ON FUNCTION atp.search_text(text) IS
'Return a text as it stands in the columns of atp.audit_event_projection.
Up to 255 bytes: itself. A longer one is cut to 236 bytes, at a character, and an ellipsis and 16 hexadecimal digits of its SHA-256 follow, so that different texts stay different.';
GRANT EXECUTE ON FUNCTION atp.search_text(text) TO PUBLIC;

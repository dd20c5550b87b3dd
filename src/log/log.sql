-- The log: one gapless order over all committed events. Insert-only; the sequencer is its only writer.
CREATE TABLE atp_internal.log (
	log_position bigint NOT NULL,
	event_id uuid NOT NULL,
	stream bigint NOT NULL,
	published_at timestamptz NOT NULL,
	tenant int NOT NULL,
	event_type int NOT NULL,
	tick text,
	CONSTRAINT log_pk PRIMARY KEY (log_position, tenant),
	CONSTRAINT log_event_unique UNIQUE (event_id, tenant)
);
COMMENT ON TABLE atp_internal.log IS
'One row per committed event, in log order. Statement triggers on INSERT build read models; those must do nothing unless
atp_internal.sequencer_is_placing(), because a restore fills the table, too.';
COMMENT ON COLUMN atp_internal.log.log_position IS '1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.log.event_id IS 'The event at this position.';
COMMENT ON COLUMN atp_internal.log.stream IS 'Surrogate key of the event''s stream, so that a subscription skips without fetching the event.';
COMMENT ON COLUMN atp_internal.log.published_at IS 'When the sequencer placed the event.';
COMMENT ON COLUMN atp_internal.log.tenant IS 'Surrogate key of the event''s tenant.';
COMMENT ON COLUMN atp_internal.log.event_type IS 'Surrogate key of the event''s type.';
COMMENT ON COLUMN atp_internal.log.tick IS 'On the last event of a tick: the state in which it left the sequencer (src/log/sequencer.c); NULL on the others.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.log', '');
ALTER TABLE atp_internal.log ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.log FORCE ROW LEVEL SECURITY;
CREATE POLICY log_tenant ON atp_internal.log USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.log
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.log ENABLE ALWAYS TRIGGER guard;

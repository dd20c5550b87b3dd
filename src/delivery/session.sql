-- Session state: what the consumers of a subscription remember about an order key between events.
CREATE TABLE atp_internal.session_state (
	tenant int NOT NULL,
	subscription int NOT NULL,
	session text NOT NULL,
	version bigint NOT NULL,
	changed_at timestamptz NOT NULL,
	state jsonb NOT NULL,
	CONSTRAINT session_state_pk PRIMARY KEY (subscription, session, tenant)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE atp_internal.session_state IS 'State that consumers keep for each key.';
COMMENT ON COLUMN atp_internal.session_state.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.session_state.subscription IS 'Surrogate key of the subscription.';
COMMENT ON COLUMN atp_internal.session_state.session IS 'The order key, or whatever the consumers call a session.';
COMMENT ON COLUMN atp_internal.session_state.version IS 'Counts the changes.';
COMMENT ON COLUMN atp_internal.session_state.changed_at IS 'When it was last changed.';
COMMENT ON COLUMN atp_internal.session_state.state IS 'The state.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.session_state', '');
ALTER TABLE atp_internal.session_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.session_state FORCE ROW LEVEL SECURITY;
CREATE POLICY session_state_tenant ON atp_internal.session_state USING (atp_internal.tenant_is_visible(tenant));

-- Rows of a subscription go with it: no foreign key, because unique keys hold the tenant, and a trigger is told once.
CREATE FUNCTION atp_internal.session_state_forget() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM atp_internal.session_state s WHERE s.subscription = old.subscription AND s.tenant = old.tenant;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION atp_internal.session_state_forget() IS 'Remove the session states of a subscription that is removed.';
REVOKE ALL ON FUNCTION atp_internal.session_state_forget() FROM PUBLIC;
CREATE TRIGGER session_state_forget AFTER DELETE ON atp_internal.subscription
	FOR EACH ROW EXECUTE FUNCTION atp_internal.session_state_forget();
ALTER TABLE atp_internal.subscription ENABLE ALWAYS TRIGGER session_state_forget;

CREATE FUNCTION atp.get_session_state(subscription text, session text, tenant text DEFAULT NULL) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT s.state FROM atp_internal.session_state s
		WHERE s.subscription = atp_internal.subscription_key(get_session_state.subscription, get_session_state.tenant)
			AND s.session = get_session_state.session;
END;
COMMENT ON FUNCTION atp.get_session_state(text, text, text) IS
'Return what consumers remember about a session; NULL: nothing.
session is the order key of the events, usually the stream.
Raises: TP202, TP300 (no such subscription).';

CREATE FUNCTION atp.set_session_state(subscription text, session text, state jsonb, tenant text DEFAULT NULL) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	key int := atp_internal.subscription_key(set_session_state.subscription, set_session_state.tenant);
	opened int := atp_internal.open_tenant(set_session_state.tenant);
	reached bigint;
BEGIN
	IF set_session_state.session IS NULL OR set_session_state.session = '' OR octet_length(set_session_state.session) > 1024 THEN
		RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'session has to be 1 to 1024 bytes';
	END IF;
	IF set_session_state.state IS NULL THEN
		DELETE FROM atp_internal.session_state s WHERE s.subscription = key AND s.session = set_session_state.session AND s.tenant = opened;
		RETURN 0;
	END IF;
	INSERT INTO atp_internal.session_state AS s (tenant, subscription, session, version, changed_at, state)
		VALUES (opened, key, set_session_state.session, 1, clock_timestamp(), set_session_state.state)
		ON CONFLICT (subscription, session, tenant) DO UPDATE SET version = s.version + 1, changed_at = clock_timestamp(), state = excluded.state
		RETURNING s.version INTO reached;
	RETURN reached;
END $$;
COMMENT ON FUNCTION atp.set_session_state(text, text, jsonb, text) IS
'Remember something about a session, and return how often it changed.
It is part of the caller''s transaction. NULL forgets it. One partition has one lease, so whoever holds the lease of a key has its state to itself.
Raises: TP202, TP300 (no such subscription), 22023 (session).';
REVOKE ALL ON FUNCTION atp.get_session_state(text, text, text), atp.set_session_state(text, text, jsonb, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_session_state(text, text, text), atp.set_session_state(text, text, jsonb, text) TO atp_reader, atp_admin;

-- Relays: events handed to Debezium's outbox event router through logical decoding. A relay is a handler of a subscription (see handler.sql),
-- so that filters, order and retries are those of the subscription, and each event is written exactly once, in the transaction
-- that acks it. Nothing is kept: in mode table the row is deleted by the transaction that inserts it, in mode message there is none.
CREATE TABLE atp.outbox_event (
	id uuid NOT NULL,
	aggregatetype varchar(255) NOT NULL,
	aggregateid varchar(255) NOT NULL,
	type varchar(255) NOT NULL,
	payload jsonb,
	tenant int NOT NULL,
	CONSTRAINT outbox_event_pk PRIMARY KEY (id, tenant)
);
COMMENT ON TABLE atp.outbox_event IS 'Outbox table of Debezium, with its default columns; always empty outside of the transaction that relays.';
COMMENT ON COLUMN atp.outbox_event.id IS 'The event''s id.';
COMMENT ON COLUMN atp.outbox_event.aggregatetype IS 'Category of the stream; becomes part of the topic.';
COMMENT ON COLUMN atp.outbox_event.aggregateid IS 'What follows the category in the stream''s name; becomes the key of the message.';
COMMENT ON COLUMN atp.outbox_event.type IS 'Event type.';
COMMENT ON COLUMN atp.outbox_event.payload IS 'Payload of the event; NULL once erased.';
COMMENT ON COLUMN atp.outbox_event.tenant IS 'Surrogate key of the tenant.';
SELECT pg_catalog.pg_extension_config_dump('atp.outbox_event', 'WHERE false');
ALTER TABLE atp.outbox_event ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp.outbox_event FORCE ROW LEVEL SECURITY;
CREATE POLICY outbox_event_tenant ON atp.outbox_event USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.relay (
	tenant int NOT NULL,
	relay text NOT NULL,
	mode text NOT NULL CONSTRAINT relay_mode_known CHECK (mode IN ('table', 'message')),
	prefix text NOT NULL CONSTRAINT relay_prefix_sized CHECK (pg_catalog.octet_length(prefix) BETWEEN 1 AND 63),
	CONSTRAINT relay_pk PRIMARY KEY (relay, tenant),
	CONSTRAINT relay_handler FOREIGN KEY (relay, tenant) REFERENCES atp_internal.handler (handler, tenant) ON DELETE CASCADE
);
COMMENT ON TABLE atp_internal.relay IS 'What the handlers that are relays write.';
COMMENT ON COLUMN atp_internal.relay.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.relay.relay IS 'Name of the relay, and of its handler.';
COMMENT ON COLUMN atp_internal.relay.mode IS 'table: a row of atp.outbox_event; message: a logical decoding message.';
COMMENT ON COLUMN atp_internal.relay.prefix IS 'Prefix of the messages.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.relay', '');
ALTER TABLE atp_internal.relay ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.relay FORCE ROW LEVEL SECURITY;
CREATE POLICY relay_tenant ON atp_internal.relay USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.run_relay(event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(event ->> 'tenant');
	stream text := event ->> 'stream';
	category text := split_part(stream, '-', 1);
	relay atp_internal.relay;
	outgoing atp.outbox_event;
BEGIN
	SELECT r.* INTO STRICT relay FROM atp_internal.relay r WHERE r.relay = event ->> 'handler' AND r.tenant = owner_key;
	outgoing := ROW((event ->> 'event_id')::uuid, category, substr(stream, length(category) + 2), event ->> 'event_type',
		nullif(event -> 'payload', 'null'), owner_key);
	IF relay.mode = 'message' THEN
		PERFORM pg_logical_emit_message(true, relay.prefix, (to_jsonb(outgoing) - 'tenant')::text);
	ELSE
		INSERT INTO atp.outbox_event SELECT outgoing.*;
		DELETE FROM atp.outbox_event o WHERE o.id = outgoing.id AND o.tenant = owner_key;
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.run_relay(jsonb) IS
'Write one event as its relay says.
Called as the handler of the relay''s subscription.';
REVOKE ALL ON FUNCTION atp_internal.run_relay(jsonb) FROM PUBLIC;

CREATE FUNCTION atp.create_relay(relay text, subscription text, mode text DEFAULT 'message', prefix text DEFAULT 'outbox', step int DEFAULT 1,
		tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_relay.tenant);
	subscription_key int := atp_internal.subscription_key(create_relay.subscription, create_relay.tenant);
BEGIN
	PERFORM atp_internal.add_handler(owner_key, subscription_key, step, relay, 'atp_internal.run_relay(jsonb)', NULL, 'atp_owner', '30 seconds');
	INSERT INTO atp_internal.relay (tenant, relay, mode, prefix) VALUES (owner_key, relay, mode, prefix);
END $$;
COMMENT ON FUNCTION atp.create_relay(text, text, text, text, int, text) IS
'Create a relay: a handler that hands events to Debezium''s outbox event router.
mode message writes each event as a transactional logical decoding message with the prefix, whose content is a JSON object with the members id, aggregatetype, aggregateid, type and payload; mode table inserts a row of atp.outbox_event with columns of these names, and deletes it in the same transaction (publish inserts only). Each event is written once, in the transaction that acks it. drop_handler(relay) ends it.
Raises: TP202, TP300 (no such subscription), 42710 (name or step taken), 23514 (mode, prefix, step), 23502.';
REVOKE ALL ON FUNCTION atp.create_relay(text, text, text, text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_relay(text, text, text, text, int, text) TO atp_admin;

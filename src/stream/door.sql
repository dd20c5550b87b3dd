-- The door: what applications call to write.
CREATE TYPE atp.receipt AS (
	event_id uuid,
	stream_version bigint,
	hash bytea,
	recorded_at timestamptz,
	deduplicated boolean
);
COMMENT ON TYPE atp.receipt IS 'What an append gives back for an event.';
COMMENT ON COLUMN atp.receipt.event_id IS 'The event''s id, a ULID held as uuid.';
COMMENT ON COLUMN atp.receipt.stream_version IS 'The event''s place in its stream, from 1.';
COMMENT ON COLUMN atp.receipt.hash IS 'The event''s chain link: SHA-256, 32 bytes. Keep it: it proves later what was stored.';
COMMENT ON COLUMN atp.receipt.recorded_at IS 'When the event was written.';
COMMENT ON COLUMN atp.receipt.deduplicated IS 'True when the event was there already; the rest is the original receipt.';

CREATE FUNCTION atp.append_event(
	stream text,
	event_type text,
	payload jsonb DEFAULT '{}',
	expected_version bigint DEFAULT NULL,
	metadata jsonb DEFAULT NULL,
	event_id uuid DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	occurred_at timestamptz DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS atp.receipt
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_door_append_event';
COMMENT ON FUNCTION atp.append_event(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text) IS
'Append one event to a stream and return its receipt.
stream is {AggregateType}-{AggregateId}; event_type is PascalCase in the past tense; payload is a JSON object. expected_version: NULL any, 0 the stream must not exist, -1 it must exist, n it must be at version n. metadata is a JSON object, completed by the settings atp.actor, atp.correlation_id, atp.causation_id, atp.traceparent and atp.tracestate. A member schema_version of the metadata names the version of the schema that the payload is validated against, instead of the active one. event_id NULL: one is made. idempotency_key: the same key (or event_id) with the same content returns the original receipt with deduplicated = true. occurred_at NULL: the time of recording. tenant NULL: the setting atp.tenant.
The stream is locked until the transaction ends.
Raises: TP101, TP104, TP105, TP106, TP201, TP202, TP203, TP204, TP205, TP206, TP207, TP220, TP221 (payload refused by its schema), TP223, 22004, 25006, 40001, 42501.';
REVOKE ALL ON FUNCTION atp.append_event(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.append_event(text, text, jsonb, bigint, jsonb, uuid, text, timestamptz, text) TO atp_writer;

CREATE FUNCTION atp.append_events(
	stream text,
	events jsonb,
	expected_version bigint DEFAULT NULL,
	idempotency_key text DEFAULT NULL,
	tenant text DEFAULT NULL
) RETURNS SETOF atp.receipt
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'atp_door_append_events';
COMMENT ON FUNCTION atp.append_events(text, jsonb, bigint, text, text) IS
'Append an array of events, all or none, and return their receipts.
Receipts come in the order of the array. Each element is an object with event_type, and optionally payload, metadata, event_id (uuid or ULID text), occurred_at, schema_version, and stream where the argument stream is NULL. Events of several streams lock them in order of their names; expected_version then has to be NULL. idempotency_key covers the batch: the same key with the same events returns the original receipts.
Raises: as append_event; 22023 (an element is malformed; DETAIL says which).';
REVOKE ALL ON FUNCTION atp.append_events(text, jsonb, bigint, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.append_events(text, jsonb, bigint, text, text) TO atp_writer;

CREATE FUNCTION atp_internal.events_insert() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_door_view_insert';
COMMENT ON FUNCTION atp_internal.events_insert() IS 'Append the row that INSERT or COPY gives to the view atp.events.';
REVOKE ALL ON FUNCTION atp_internal.events_insert() FROM PUBLIC;
CREATE TRIGGER events_insert INSTEAD OF INSERT ON atp.events
	FOR EACH ROW EXECUTE FUNCTION atp_internal.events_insert();

CREATE FUNCTION atp_internal.events_statement() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_door_view_statement';
COMMENT ON FUNCTION atp_internal.events_statement() IS 'Gather the rows that one COPY gives to the view atp.events.';
REVOKE ALL ON FUNCTION atp_internal.events_statement() FROM PUBLIC;
CREATE TRIGGER events_insert_begin BEFORE INSERT ON atp.events
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.events_statement();
CREATE TRIGGER events_insert_end AFTER INSERT ON atp.events
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.events_statement();

CREATE FUNCTION atp_internal.events_refuse() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'atp_door_view_refuse';
COMMENT ON FUNCTION atp_internal.events_refuse() IS 'Refuse UPDATE and DELETE on the view atp.events.';
REVOKE ALL ON FUNCTION atp_internal.events_refuse() FROM PUBLIC;
CREATE TRIGGER events_refuse INSTEAD OF UPDATE OR DELETE ON atp.events
	FOR EACH ROW EXECUTE FUNCTION atp_internal.events_refuse();
CREATE TRIGGER events_refuse_statement BEFORE UPDATE OR DELETE ON atp.events
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.events_refuse();
GRANT INSERT ON atp.events TO atp_writer;

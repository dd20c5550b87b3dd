-- The catalogue: what an event type means to people and to programs, beside its schema. The platform's own types come from one
-- source, src/record/catalog/*.json: src/tools/catalog puts it behind this part of the install script. Keys of builtin types are fixed
-- numbers below 1000, so that a dump that names them means the same where it is restored; builtin rows themselves are not dumped.
CREATE TABLE atp_internal.event_type_document (
	event_type int CONSTRAINT event_type_document_pk PRIMARY KEY
		CONSTRAINT event_type_document_event_type_known REFERENCES atp_internal.event_type,
	kind text NOT NULL DEFAULT 'domain' CONSTRAINT event_type_document_kind_known CHECK (kind IN ('domain', 'integration', 'system')),
	category text NOT NULL DEFAULT 'application',
	producers text[] NOT NULL DEFAULT '{}',
	consumers text[] NOT NULL DEFAULT '{}',
	emitted text,
	note text,
	rules text[] NOT NULL DEFAULT '{}',
	idempotency_key text,
	retry jsonb,
	dead_letter jsonb,
	monitoring jsonb,
	example jsonb
);
COMMENT ON TABLE atp_internal.event_type_document IS 'What is said about event types. A reference table shared by all tenants.';
COMMENT ON COLUMN atp_internal.event_type_document.event_type IS 'Surrogate key of the event type.';
COMMENT ON COLUMN atp_internal.event_type_document.kind IS 'domain (one aggregate, one context), integration (published language) or system.';
COMMENT ON COLUMN atp_internal.event_type_document.category IS 'Group of types that belong together.';
COMMENT ON COLUMN atp_internal.event_type_document.producers IS 'Functions or systems that append such events.';
COMMENT ON COLUMN atp_internal.event_type_document.consumers IS 'Who acts upon them.';
COMMENT ON COLUMN atp_internal.event_type_document.emitted IS 'Builtin types: when it happens, rendered from the log, or later.';
COMMENT ON COLUMN atp_internal.event_type_document.note IS 'What else there is to know.';
COMMENT ON COLUMN atp_internal.event_type_document.rules IS 'Business rules: what holds whenever such an event is stored.';
COMMENT ON COLUMN atp_internal.event_type_document.idempotency_key IS 'What makes two of them the same to a consumer.';
COMMENT ON COLUMN atp_internal.event_type_document.retry IS 'How consumers shall retry: max_attempts, backoff, first_delay, max_delay, reason.';
COMMENT ON COLUMN atp_internal.event_type_document.dead_letter IS 'When one becomes a dead letter, and what to do with it: reasons, when, handling.';
COMMENT ON COLUMN atp_internal.event_type_document.monitoring IS 'Metrics (name, type, description) and alerts (name, when, severity, action).';
COMMENT ON COLUMN atp_internal.event_type_document.example IS 'A payload that the schema accepts.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.event_type_document', 'WHERE event_type >= 1000');

CREATE FUNCTION atp_internal.seed_catalog(entries jsonb) RETURNS void
	LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.event_type (event_type, name, builtin, description, owner, active_version, latest_version)
		SELECT (e ->> 'key')::int, e ->> 'event_type', true, e ->> 'description', 'atp', 1, 1 FROM jsonb_array_elements(entries) AS e;
	INSERT INTO atp_internal.event_schema (schema, event_type, version, status, document, compatibility, changelog)
		SELECT (e ->> 'key')::int, (e ->> 'key')::int, 1, 'active', e -> 'schema', 'BACKWARD', 'first version'
		FROM jsonb_array_elements(entries) AS e;
	INSERT INTO atp_internal.event_schema_history (event_type, version, change, status, reason)
		SELECT (e ->> 'key')::int, 1, 1, 'active', 'installed' FROM jsonb_array_elements(entries) AS e;
	INSERT INTO atp_internal.event_type_document (event_type, kind, category, producers, consumers, emitted, note, rules, idempotency_key,
			retry, dead_letter, monitoring, example)
		SELECT (e ->> 'key')::int, e ->> 'kind', e ->> 'category', ARRAY(SELECT jsonb_array_elements_text(e -> 'producers')),
			ARRAY(SELECT jsonb_array_elements_text(e -> 'consumers')), e ->> 'emitted', e ->> 'note',
			ARRAY(SELECT jsonb_array_elements_text(e -> 'rules')), e ->> 'idempotency_key', e -> 'retry', e -> 'dead_letter',
			e -> 'monitoring', e -> 'example'
		FROM jsonb_array_elements(entries) AS e;
END;
COMMENT ON FUNCTION atp_internal.seed_catalog(jsonb) IS
'Register one group of the platform''s own event types.
For the install script.';
REVOKE ALL ON FUNCTION atp_internal.seed_catalog(jsonb) FROM PUBLIC;

CREATE VIEW atp.event_type_catalog AS
	SELECT y.name AS event_type, coalesce(d.kind, 'domain') AS kind, coalesce(d.category, 'application') AS category, y.description,
		coalesce(d.producers, '{}') AS producers, coalesce(d.consumers, '{}') AS consumers, s.version AS schema_version,
		s.document AS schema, d.example, coalesce(d.rules, '{}') AS rules, d.idempotency_key, d.retry, d.dead_letter, d.monitoring,
		coalesce(d.emitted, 'by applications') AS emitted, d.note, y.owner, y.builtin
	FROM atp_internal.event_type y
		LEFT JOIN atp_internal.event_type_document d ON d.event_type = y.event_type
		LEFT JOIN atp_internal.event_schema s ON s.event_type = y.event_type AND s.version = y.active_version;
COMMENT ON VIEW atp.event_type_catalog IS
'List every event type with all that is known of it: the platform''s own and those that applications registered.
Types that registered themselves on first use are there too, with little said about them.';
COMMENT ON COLUMN atp.event_type_catalog.event_type IS 'Name of the event type.';
COMMENT ON COLUMN atp.event_type_catalog.kind IS 'domain (one aggregate, one context), integration (published language) or system.';
COMMENT ON COLUMN atp.event_type_catalog.category IS 'Group of types that belong together.';
COMMENT ON COLUMN atp.event_type_catalog.description IS 'What an event of the type says happened.';
COMMENT ON COLUMN atp.event_type_catalog.producers IS 'Functions or systems that append such events.';
COMMENT ON COLUMN atp.event_type_catalog.consumers IS 'Who acts upon them.';
COMMENT ON COLUMN atp.event_type_catalog.schema_version IS 'Version of the schema that appends are validated against; NULL: none.';
COMMENT ON COLUMN atp.event_type_catalog.schema IS 'That schema.';
COMMENT ON COLUMN atp.event_type_catalog.example IS 'A payload that the schema accepts.';
COMMENT ON COLUMN atp.event_type_catalog.rules IS 'Business rules: what holds whenever such an event is stored.';
COMMENT ON COLUMN atp.event_type_catalog.idempotency_key IS 'What makes two of them the same to a consumer.';
COMMENT ON COLUMN atp.event_type_catalog.retry IS 'How consumers shall retry.';
COMMENT ON COLUMN atp.event_type_catalog.dead_letter IS 'When one becomes a dead letter, and what to do with it.';
COMMENT ON COLUMN atp.event_type_catalog.monitoring IS 'Metrics and alerts.';
COMMENT ON COLUMN atp.event_type_catalog.emitted IS 'when it happens, rendered from the log, later (registered for a part of the platform to come), or by applications.';
COMMENT ON COLUMN atp.event_type_catalog.note IS 'What else there is to know.';
COMMENT ON COLUMN atp.event_type_catalog.owner IS 'Who answers for the type.';
COMMENT ON COLUMN atp.event_type_catalog.builtin IS 'True for the platform''s own types.';
GRANT SELECT ON atp.event_type_catalog TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.document_schema() RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN $schema${
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$defs": {"Texts": {"type": "array", "items": {"type": "string", "minLength": 1}}, "Text": {"type": ["string", "null"]}},
		"type": "object",
		"properties": {
			"kind": {"enum": ["domain", "integration", "system"]},
			"category": {"type": "string", "pattern": "^[a-z][a-z0-9_-]{0,62}$"},
			"producers": {"$ref": "#/$defs/Texts"},
			"consumers": {"$ref": "#/$defs/Texts"},
			"rules": {"$ref": "#/$defs/Texts"},
			"note": {"$ref": "#/$defs/Text"},
			"idempotency_key": {"$ref": "#/$defs/Text"},
			"retry": {"type": ["object", "null"]},
			"dead_letter": {"type": ["object", "null"]},
			"monitoring": {
				"type": ["object", "null"],
				"properties": {
					"metrics": {"type": "array", "items": {"type": "object", "required": ["name", "type", "description"]}},
					"alerts": {"type": "array", "items": {"type": "object", "required": ["name", "when", "severity", "action"]}}
				}
			},
			"example": {"type": ["object", "null"]}
		},
		"additionalProperties": false
	}$schema$::jsonb;
COMMENT ON FUNCTION atp_internal.document_schema() IS 'Return the JSON Schema of what atp.document_event_type takes.';
REVOKE ALL ON FUNCTION atp_internal.document_schema() FROM PUBLIC;

CREATE FUNCTION atp.document_event_type(event_type text, documentation jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	type atp_internal.event_type;
	said jsonb := document_event_type.documentation;
	faults text;
BEGIN
	IF said IS NULL THEN
		RAISE EXCEPTION 'documentation must not be null' USING ERRCODE = '22004';
	END IF;
	SELECT y.* INTO type FROM atp_internal.event_type y WHERE y.name = document_event_type.event_type FOR NO KEY UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'event type "%" is not registered', document_event_type.event_type USING ERRCODE = 'TP207',
			HINT = 'Register it with atp.register_event_type.';
	ELSIF type.builtin THEN
		RAISE EXCEPTION 'event type "%" is one of the platform''s own', type.name USING ERRCODE = 'TP224';
	END IF;
	SELECT string_agg(format('%s: %s', coalesce(nullif(e.instance_location, ''), '/'), e.message), E'\n') INTO faults
		FROM (SELECT * FROM atp.schema_errors(atp_internal.document_schema(), said) LIMIT 10) e;
	IF faults IS NULL AND jsonb_typeof(said -> 'example') = 'object' THEN
		SELECT string_agg(format('/example%s: %s', e.instance_location, e.message), E'\n') INTO faults
			FROM (SELECT * FROM atp.validate_payload(type.name, said -> 'example') LIMIT 10) e;
	END IF;
	IF faults IS NOT NULL THEN
		RAISE EXCEPTION 'the documentation of event type "%" is malformed', type.name USING ERRCODE = 'TP270', DETAIL = faults,
			HINT = 'Members are kind, category, producers, consumers, rules, note, idempotency_key, retry, dead_letter, monitoring and example.';
	END IF;
	INSERT INTO atp_internal.event_type_document (event_type) VALUES (type.event_type) ON CONFLICT (event_type) DO NOTHING;
	UPDATE atp_internal.event_type_document d SET
			kind = coalesce(said ->> 'kind', d.kind),
			category = coalesce(said ->> 'category', d.category),
			producers = CASE WHEN said ? 'producers' THEN ARRAY(SELECT jsonb_array_elements_text(said -> 'producers')) ELSE d.producers END,
			consumers = CASE WHEN said ? 'consumers' THEN ARRAY(SELECT jsonb_array_elements_text(said -> 'consumers')) ELSE d.consumers END,
			rules = CASE WHEN said ? 'rules' THEN ARRAY(SELECT jsonb_array_elements_text(said -> 'rules')) ELSE d.rules END,
			note = CASE WHEN said ? 'note' THEN said ->> 'note' ELSE d.note END,
			idempotency_key = CASE WHEN said ? 'idempotency_key' THEN said ->> 'idempotency_key' ELSE d.idempotency_key END,
			retry = CASE WHEN said ? 'retry' THEN nullif(said -> 'retry', 'null') ELSE d.retry END,
			dead_letter = CASE WHEN said ? 'dead_letter' THEN nullif(said -> 'dead_letter', 'null') ELSE d.dead_letter END,
			monitoring = CASE WHEN said ? 'monitoring' THEN nullif(said -> 'monitoring', 'null') ELSE d.monitoring END,
			example = CASE WHEN said ? 'example' THEN nullif(said -> 'example', 'null') ELSE d.example END
		WHERE d.event_type = type.event_type;
END $$;
COMMENT ON FUNCTION atp.document_event_type(text, jsonb) IS
'Say what an event type means: the members given replace what was said before.
documentation is an object with any of kind (domain, integration, system), category, producers, consumers, rules (arrays of text), note, idempotency_key, retry, dead_letter, monitoring {metrics, alerts} and example, a payload that the active schema accepts. All of it shows in atp.event_type_catalog and in the generated documents.
Raises: TP207 (unknown type), TP224 (one of the platform''s own types), TP270 (malformed; DETAIL says where), 22004.';
REVOKE ALL ON FUNCTION atp.document_event_type(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.document_event_type(text, jsonb) TO atp_admin;

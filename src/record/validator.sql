-- The validator of JSON Schema: the registry of documents that schemas may refer to, and the functions.
CREATE TABLE atp_internal.schema_document (
	uri text COLLATE "C" CONSTRAINT schema_document_pk PRIMARY KEY,
	document jsonb NOT NULL CONSTRAINT schema_document_is_schema CHECK (pg_catalog.jsonb_typeof(document) IN ('object', 'boolean')),
	recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
);
COMMENT ON TABLE atp_internal.schema_document IS
'Schema documents that a $ref or a $schema may name. Reference data shared by all tenants: no tenant column, no row security. The validator reads it whoever validates; add_schema_document writes it.';
COMMENT ON COLUMN atp_internal.schema_document.uri IS 'Absolute URI without fragment, by which references name the document.';
COMMENT ON COLUMN atp_internal.schema_document.document IS 'The schema.';
COMMENT ON COLUMN atp_internal.schema_document.recorded_at IS 'When this text of the document was recorded.';
REVOKE ALL ON TABLE atp_internal.schema_document FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('atp_internal.schema_document', '');

CREATE FUNCTION atp_internal.schema_document_changed() RETURNS trigger
	LANGUAGE c
	AS 'MODULE_PATHNAME', 'atp_validator_registry_changed';
REVOKE ALL ON FUNCTION atp_internal.schema_document_changed() FROM PUBLIC;
COMMENT ON FUNCTION atp_internal.schema_document_changed() IS
'Tell every backend that compiled schemas may be stale.
Sent with the commit as a relcache invalidation of the table; compiled schemas that used the registry are then made anew.';

CREATE TRIGGER schema_document_changed
	AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON atp_internal.schema_document
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.schema_document_changed();
ALTER TABLE atp_internal.schema_document ENABLE ALWAYS TRIGGER schema_document_changed;

CREATE FUNCTION atp_internal.check_schema_document(uri text, document jsonb) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_validator_check_document';
REVOKE ALL ON FUNCTION atp_internal.check_schema_document(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION atp_internal.check_schema_document(text, jsonb) IS
'Check a document for the registry and return its URI as the registry keeps it.
A document that names a built-in meta-schema by $schema must be valid against it; others are checked when a schema refers to them.
Raises: TP213 where it is no schema, 22023 where the URI is not absolute or is that of a built-in meta-schema.';

CREATE FUNCTION atp.add_schema_document(uri text, document jsonb) RETURNS void
	LANGUAGE sql VOLATILE STRICT SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	BEGIN ATOMIC
		INSERT INTO atp_internal.schema_document AS known (uri, document)
			VALUES (atp_internal.check_schema_document(add_schema_document.uri, add_schema_document.document), add_schema_document.document)
			ON CONFLICT (uri) DO UPDATE SET document = EXCLUDED.document, recorded_at = EXCLUDED.recorded_at;
	END;
REVOKE ALL ON FUNCTION atp.add_schema_document(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.add_schema_document(text, jsonb) TO atp_admin;
COMMENT ON FUNCTION atp.add_schema_document(text, jsonb) IS
'Register a schema document under a URI, so that $ref and $schema find it there.
uri: absolute, an empty fragment is dropped; document: an object or a boolean. A document of the same URI is replaced, and every backend compiles the schemas that refer to it anew.
Documents are shared by all tenants. Nothing is ever fetched from a network.
Raises: TP213 where it is no schema, 22023 where the URI is not absolute or is that of a built-in meta-schema.';

CREATE FUNCTION atp.schema_is_valid(schema jsonb, instance jsonb) RETURNS boolean
	LANGUAGE c STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_validator_schema_is_valid';
COMMENT ON FUNCTION atp.schema_is_valid(jsonb, jsonb) IS
'Tell whether an instance is valid against a JSON Schema.
schema: draft 2020-12, or the draft that its $schema names (2019-09, draft-07, or a meta-schema in the registry); instance: any jsonb. NULL where either is NULL.
The schema is compiled once per backend. References find their documents in the registry (add_schema_document). format asserts only under the setting atp.schema_format_assertion.
Raises: TP213 where the schema is invalid, TP214 where a pattern takes too many steps, TP215 where a document is not in the registry, 54000 where validation takes too many steps.';

CREATE FUNCTION atp.schema_errors(schema jsonb, instance jsonb,
	OUT instance_location text, OUT keyword_location text, OUT keyword text, OUT message text) RETURNS SETOF record
	LANGUAGE c STABLE STRICT PARALLEL SAFE ROWS 10
	AS 'MODULE_PATHNAME', 'atp_validator_schema_errors';
COMMENT ON FUNCTION atp.schema_errors(jsonb, jsonb) IS
'List why an instance is not valid against a JSON Schema; no row where it is.
The basic output of the standard: instance_location is a JSON pointer into the instance, keyword_location one into the schema along the evaluation (through $ref), keyword the one that failed, message a sentence without the value.
Where no alternative of anyOf or oneOf holds, the errors of each are listed, then that of the keyword.
Raises: TP213 where the schema is invalid, TP214 where a pattern takes too many steps, TP215 where a document is not in the registry, 54000 where validation takes too many steps.';

CREATE FUNCTION atp.get_schema_cache(OUT schemas integer, OUT bytes bigint, OUT compilations bigint) RETURNS record
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'atp_validator_cache_status';
COMMENT ON FUNCTION atp.get_schema_cache() IS
'Get the state of this session''s cache of compiled schemas.
schemas and bytes: what is in it now, at most atp.schema_cache_size; compilations: how many schemas this session has compiled, meta-schemas included.';
REVOKE ALL ON FUNCTION atp.get_schema_cache() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_schema_cache() TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- Policies: what a tenant rules about its events (retention, classification, access), as records of which every version is kept.
-- Each policy is told in a stream of its own, atp.Policy-<id>. A version is in force from its recording until the next one's, or until
-- the policy is deleted. Changes of one policy are serial: each locks its row.
CREATE TABLE atp_internal.policy (
	tenant int NOT NULL,
	policy_id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
	policy_type text NOT NULL CONSTRAINT policy_type_known CHECK (policy_type IN ('retention', 'classification', 'access')),
	version int NOT NULL DEFAULT 1,
	name text NOT NULL,
	deleted_at timestamptz,
	deleted_by text,
	CONSTRAINT policy_pk PRIMARY KEY (policy_id, tenant)
);
CREATE UNIQUE INDEX policy_name_unique ON atp_internal.policy (name, tenant) WHERE deleted_at IS NULL;
COMMENT ON TABLE atp_internal.policy IS 'Policies of tenants, the deleted ones too. Locking the row orders its changes.';
COMMENT ON COLUMN atp_internal.policy.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.policy.policy_id IS 'Random identity, named by the events of the policy.';
COMMENT ON COLUMN atp_internal.policy.policy_type IS 'retention, classification or access.';
COMMENT ON COLUMN atp_internal.policy.version IS 'The latest version.';
COMMENT ON COLUMN atp_internal.policy.name IS 'Name, unique among the tenant''s policies that are not deleted.';
COMMENT ON COLUMN atp_internal.policy.deleted_at IS 'When the policy went out of force; NULL while it is in force.';
COMMENT ON COLUMN atp_internal.policy.deleted_by IS 'Who deleted it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.policy', '');
ALTER TABLE atp_internal.policy ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.policy FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_tenant ON atp_internal.policy USING (atp_internal.tenant_is_visible(tenant));

CREATE TABLE atp_internal.policy_version (
	tenant int NOT NULL,
	policy_id uuid NOT NULL,
	version int NOT NULL,
	rules jsonb NOT NULL,
	description text,
	changed_at timestamptz NOT NULL,
	changed_by text NOT NULL,
	CONSTRAINT policy_version_pk PRIMARY KEY (policy_id, version, tenant),
	CONSTRAINT policy_version_policy FOREIGN KEY (policy_id, tenant) REFERENCES atp_internal.policy
);
COMMENT ON TABLE atp_internal.policy_version IS 'Every version of every policy, as it was; insert-only.';
COMMENT ON COLUMN atp_internal.policy_version.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.policy_version.policy_id IS 'The policy.';
COMMENT ON COLUMN atp_internal.policy_version.version IS '1, 2, 3, ... without gaps.';
COMMENT ON COLUMN atp_internal.policy_version.rules IS 'The rules, valid against the schema of the policy''s type.';
COMMENT ON COLUMN atp_internal.policy_version.description IS 'What the policy is for, in the words of who wrote it.';
COMMENT ON COLUMN atp_internal.policy_version.changed_at IS 'From when the version is in force.';
COMMENT ON COLUMN atp_internal.policy_version.changed_by IS 'Who wrote it.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.policy_version', '');
ALTER TABLE atp_internal.policy_version ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.policy_version FORCE ROW LEVEL SECURITY;
CREATE POLICY policy_version_tenant ON atp_internal.policy_version USING (atp_internal.tenant_is_visible(tenant));
CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON atp_internal.policy_version
	FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();
ALTER TABLE atp_internal.policy_version ENABLE ALWAYS TRIGGER guard;

CREATE VIEW atp.policies AS
	SELECT p.name AS policy, p.policy_id, p.policy_type, p.version, v.rules, v.description, v.changed_at, v.changed_by,
		p.deleted_at, p.deleted_by
	FROM atp_internal.policy p
		JOIN atp_internal.policy_version v ON v.policy_id = p.policy_id AND v.version = p.version AND v.tenant = p.tenant
	WHERE p.tenant = atp_internal.current_tenant();
COMMENT ON VIEW atp.policies IS 'List the policies of the current tenant in their latest version, the deleted ones too.';
COMMENT ON COLUMN atp.policies.policy IS 'Name of the policy.';
COMMENT ON COLUMN atp.policies.policy_id IS 'Its identity, named by its events.';
COMMENT ON COLUMN atp.policies.policy_type IS 'retention, classification or access.';
COMMENT ON COLUMN atp.policies.version IS 'Version, from 1.';
COMMENT ON COLUMN atp.policies.rules IS 'The rules.';
COMMENT ON COLUMN atp.policies.description IS 'What it is for.';
COMMENT ON COLUMN atp.policies.changed_at IS 'From when this version is in force.';
COMMENT ON COLUMN atp.policies.changed_by IS 'Who wrote this version.';
COMMENT ON COLUMN atp.policies.deleted_at IS 'When the policy went out of force; NULL while it is in force.';
COMMENT ON COLUMN atp.policies.deleted_by IS 'Who deleted it.';
GRANT SELECT ON atp.policies TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.policy_schema(policy_type text) RETURNS jsonb
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN $policy${
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$defs": {
			"Patterns": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1, "maxLength": 255}},
			"Classification": {"enum": ["public", "internal", "confidential", "restricted"]},
			"AppliesTo": {
				"type": "object",
				"properties": {
					"EventTypes": {"$ref": "#/$defs/Patterns"},
					"Streams": {"$ref": "#/$defs/Patterns"},
					"Classifications": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Classification"}}
				},
				"additionalProperties": false
			},
			"retention": {
				"type": "object",
				"properties": {
					"RetentionPeriod": {"type": "string", "pattern": "^P([0-9]+Y)?([0-9]+M)?([0-9]+W)?([0-9]+D)?(T([0-9]+H)?([0-9]+M)?([0-9]+S)?)?$"},
					"Action": {"enum": ["tombstone", "redact", "delete"]},
					"AppliesTo": {"$ref": "#/$defs/AppliesTo"}
				},
				"required": ["RetentionPeriod"],
				"additionalProperties": false
			},
			"classification": {
				"type": "object",
				"properties": {
					"Classification": {"$ref": "#/$defs/Classification"},
					"AppliesTo": {"$ref": "#/$defs/AppliesTo"}
				},
				"required": ["Classification"],
				"additionalProperties": false
			},
			"access": {
				"type": "object",
				"properties": {
					"Effect": {"enum": ["allow", "deny"]},
					"Roles": {"$ref": "#/$defs/Patterns"},
					"Permissions": {"type": "array", "minItems": 1, "items": {"enum": ["read", "append", "export", "administer"]}},
					"AppliesTo": {"$ref": "#/$defs/AppliesTo"}
				},
				"required": ["Effect", "Roles", "Permissions"],
				"additionalProperties": false
			}
		}
	}$policy$::jsonb || pg_catalog.jsonb_build_object('$ref', '#/$defs/' || policy_type);
COMMENT ON FUNCTION atp_internal.policy_schema(text) IS
'Return the JSON Schema that the rules of a policy of this type meet.
AppliesTo says which events: names with * for any characters; a member that is left out applies to all.';
REVOKE ALL ON FUNCTION atp_internal.policy_schema(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.check_policy(policy text, policy_type text, rules jsonb) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	faults text;
BEGIN
	IF policy IS NULL OR policy !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP201', MESSAGE = format('invalid policy name "%s"', policy),
			HINT = 'A policy name has 1 to 128 letters, digits, dots, colons, underscores and hyphens, and begins with a letter or digit.';
	END IF;
	IF policy_type IS NULL OR policy_type NOT IN ('retention', 'classification', 'access') THEN
		RAISE EXCEPTION USING ERRCODE = 'TP262', MESSAGE = format('unknown policy type "%s"', policy_type),
			HINT = 'Types are retention, classification and access.';
	END IF;
	IF rules IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'rules must not be null';
	END IF;
	SELECT string_agg(format('%s: %s', coalesce(nullif(e.instance_location, ''), '/'), e.message), E'\n') INTO faults
		FROM (SELECT * FROM atp.schema_errors(atp_internal.policy_schema(policy_type), rules) LIMIT 10) e;
	IF faults IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'TP262', MESSAGE = format('the rules do not fit the policy type %s', policy_type), DETAIL = faults,
			HINT = CASE policy_type WHEN 'retention' THEN 'For example {"RetentionPeriod": "P7Y", "AppliesTo": {"EventTypes": ["Order*"]}}.'
				WHEN 'classification' THEN 'For example {"Classification": "confidential", "AppliesTo": {"Streams": ["patient-*"]}}.'
				ELSE 'For example {"Effect": "deny", "Roles": ["support"], "Permissions": ["read"], "AppliesTo": {"Classifications": ["restricted"]}}.' END;
	END IF;
	IF rules ->> 'RetentionPeriod' IN ('P', 'PT') OR rules ->> 'RetentionPeriod' LIKE '%T' THEN
		RAISE EXCEPTION USING ERRCODE = 'TP262', MESSAGE = 'the retention period is empty', DETAIL = format('It is "%s".', rules ->> 'RetentionPeriod');
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.check_policy(text, text, jsonb) IS
'Refuse a malformed name, an unknown type, or rules that the type does not have.
Raises: TP201, TP262, 22004.';
REVOKE ALL ON FUNCTION atp_internal.check_policy(text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.find_policy(policy text, tenant_key int, lock boolean) RETURNS atp_internal.policy
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	present atp_internal.policy;
BEGIN
	IF lock THEN
		SELECT p.* INTO present FROM atp_internal.policy p
			WHERE p.tenant = tenant_key AND p.deleted_at IS NULL AND (p.name = find_policy.policy OR p.policy_id::text = find_policy.policy)
			FOR UPDATE;
	ELSE
		SELECT p.* INTO present FROM atp_internal.policy p
			WHERE p.tenant = tenant_key AND (p.name = find_policy.policy AND p.deleted_at IS NULL OR p.policy_id::text = find_policy.policy);
	END IF;
	IF present IS NULL AND lock THEN
		RAISE EXCEPTION USING ERRCODE = 'TP261', MESSAGE = format('policy "%s" does not exist', find_policy.policy),
			HINT = 'atp.list_policies() lists those in force.';
	END IF;
	RETURN present;
END $$;
COMMENT ON FUNCTION atp_internal.find_policy(text, int, boolean) IS
'Return the policy of a name or id; locked, it must be in force.
Without the lock, NULL where there is none; a deleted policy is found by its id only.
Raises: TP261 (locked: no such policy in force).';
REVOKE ALL ON FUNCTION atp_internal.find_policy(text, int, boolean) FROM PUBLIC;

CREATE FUNCTION atp.create_policy(policy text, policy_type text, rules jsonb, description text DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(create_policy.tenant);
	id uuid;
BEGIN
	PERFORM atp_internal.check_policy(create_policy.policy, create_policy.policy_type, create_policy.rules);
	INSERT INTO atp_internal.policy AS p (tenant, policy_type, name) VALUES (opened, create_policy.policy_type, create_policy.policy)
		ON CONFLICT (name, tenant) WHERE deleted_at IS NULL DO NOTHING RETURNING p.policy_id INTO id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'TP260', MESSAGE = format('policy "%s" exists', create_policy.policy),
			HINT = 'Change it with atp.update_policy.';
	END IF;
	INSERT INTO atp_internal.policy_version (tenant, policy_id, version, rules, description, changed_at, changed_by)
		VALUES (opened, id, 1, create_policy.rules, create_policy.description, clock_timestamp(), atp_internal.current_actor());
	PERFORM atp_internal.emit_event(opened, 'atp.Policy-' || id, 'PolicyCreated', jsonb_build_object(
		'PolicyId', id, 'TenantId', (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = opened), 'PolicyType', create_policy.policy_type,
		'Rules', create_policy.rules, 'Name', create_policy.policy));
	RETURN id;
END $$;
COMMENT ON FUNCTION atp.create_policy(text, text, jsonb, text, text) IS
'Create a policy and return its id.
policy is its name; policy_type is retention, classification or access; rules are a JSON object that the type''s schema accepts, with AppliesTo {EventTypes, Streams, Classifications} saying to which events they apply: retention {RetentionPeriod, Action}, classification {Classification}, access {Effect, Roles, Permissions}. The policy''s own stream gets PolicyCreated.
Raises: TP201 (malformed name), TP260 (the policy exists), TP262 (unknown type, or rules that it does not have), TP202 (no such tenant), 22004.';
REVOKE ALL ON FUNCTION atp.create_policy(text, text, jsonb, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_policy(text, text, jsonb, text, text) TO atp_admin;

CREATE FUNCTION atp.update_policy(policy text, rules jsonb, expected_version int DEFAULT NULL, description text DEFAULT NULL, tenant text DEFAULT NULL)
	RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(update_policy.tenant);
	present atp_internal.policy := atp_internal.find_policy(update_policy.policy, opened, true);
	before atp_internal.policy_version;
BEGIN
	PERFORM atp_internal.check_policy(present.name, present.policy_type, update_policy.rules);
	IF present.version <> update_policy.expected_version THEN
		RAISE EXCEPTION USING ERRCODE = 'TP263', MESSAGE = format('version conflict on policy "%s"', present.name),
			DETAIL = format('It is at version %s, expected was version %s.', present.version, update_policy.expected_version),
			HINT = 'Read the policy again and decide anew.';
	END IF;
	SELECT v.* INTO before FROM atp_internal.policy_version v
		WHERE v.policy_id = present.policy_id AND v.version = present.version AND v.tenant = opened;
	IF before.rules = update_policy.rules AND coalesce(update_policy.description, before.description) IS NOT DISTINCT FROM before.description THEN
		RETURN present.version;
	END IF;
	UPDATE atp_internal.policy p SET version = p.version + 1 WHERE p.policy_id = present.policy_id AND p.tenant = opened;
	INSERT INTO atp_internal.policy_version (tenant, policy_id, version, rules, description, changed_at, changed_by)
		VALUES (opened, present.policy_id, present.version + 1, update_policy.rules, coalesce(update_policy.description, before.description),
			clock_timestamp(), atp_internal.current_actor());
	PERFORM atp_internal.emit_event(opened, 'atp.Policy-' || present.policy_id, 'PolicyUpdated', jsonb_build_object(
		'PolicyId', present.policy_id, 'Changes', jsonb_build_object('Before', before.rules, 'After', update_policy.rules),
		'UpdatedBy', atp_internal.current_actor(), 'Version', present.version + 1));
	RETURN present.version + 1;
END $$;
COMMENT ON FUNCTION atp.update_policy(text, jsonb, int, text, text) IS
'Replace the rules of a policy and return its version.
policy is a name or an id. expected_version NULL: any. description NULL leaves the one that stands. The version before is kept; rules that change nothing make no version. The policy''s own stream gets PolicyUpdated.
Raises: TP261 (no such policy in force), TP262 (rules that its type does not have), TP263 (expected version), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.update_policy(text, jsonb, int, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.update_policy(text, jsonb, int, text, text) TO atp_admin;

CREATE FUNCTION atp.delete_policy(policy text, tenant text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(delete_policy.tenant);
	present atp_internal.policy := atp_internal.find_policy(delete_policy.policy, opened, true);
	moment timestamptz := clock_timestamp();
BEGIN
	UPDATE atp_internal.policy p SET deleted_at = moment, deleted_by = atp_internal.current_actor()
		WHERE p.policy_id = present.policy_id AND p.tenant = opened;
	PERFORM atp_internal.emit_event(opened, 'atp.Policy-' || present.policy_id, 'PolicyDeleted', jsonb_build_object(
		'PolicyId', present.policy_id, 'DeletedBy', atp_internal.current_actor(), 'DeletedAt', atp_internal.event_time(moment)));
END $$;
COMMENT ON FUNCTION atp.delete_policy(text, text) IS
'Put a policy out of force.
policy is a name or an id. Its versions are kept, and its name is free again. The policy''s own stream gets PolicyDeleted.
Raises: TP261 (no such policy in force), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.delete_policy(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.delete_policy(text, text) TO atp_admin;

CREATE FUNCTION atp.get_policy(policy text, version int DEFAULT NULL, tenant text DEFAULT NULL) RETURNS atp.policies
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(get_policy.tenant);
	answer atp.policies;
BEGIN
	SELECT p.name, p.policy_id, p.policy_type, v.version, v.rules, v.description, v.changed_at, v.changed_by, p.deleted_at, p.deleted_by
		INTO answer
		FROM atp_internal.policy p
			JOIN atp_internal.policy_version v ON v.policy_id = p.policy_id AND v.tenant = p.tenant
				AND v.version = coalesce(get_policy.version, p.version)
		WHERE p.tenant = opened AND (p.name = get_policy.policy AND p.deleted_at IS NULL OR p.policy_id::text = get_policy.policy);
	RETURN answer;
END $$;
COMMENT ON FUNCTION atp.get_policy(text, int, text) IS
'Return a policy in one of its versions; NULL where there is none.
policy is the name of one in force, or the id of any. version NULL means the latest. changed_at and changed_by are the version''s.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.get_policy(text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.get_policy(text, int, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp.list_policies(policy_type text DEFAULT NULL, at timestamptz DEFAULT NULL, tenant text DEFAULT NULL) RETURNS SETOF atp.policies
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10 SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	opened int := atp_internal.open_tenant(list_policies.tenant);
	moment timestamptz := coalesce(list_policies.at, 'infinity');
BEGIN
	RETURN QUERY SELECT p.name, p.policy_id, p.policy_type, v.version, v.rules, v.description, v.changed_at, v.changed_by, p.deleted_at, p.deleted_by
		FROM atp_internal.policy p
			JOIN LATERAL (SELECT w.* FROM atp_internal.policy_version w WHERE w.policy_id = p.policy_id AND w.tenant = p.tenant
				AND w.changed_at <= moment ORDER BY w.version DESC LIMIT 1) v ON true
		WHERE p.tenant = opened AND (p.deleted_at IS NULL OR p.deleted_at > moment)
			AND (list_policies.policy_type IS NULL OR p.policy_type = list_policies.policy_type)
		ORDER BY p.policy_type, p.name;
END $$;
COMMENT ON FUNCTION atp.list_policies(text, timestamptz, text) IS
'List the policies in force, now or at a moment of the past.
policy_type NULL means all types. at NULL means now; otherwise each policy comes in the version that was in force then, also where it has been deleted since.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.list_policies(text, timestamptz, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.list_policies(text, timestamptz, text) TO atp_reader, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.name_matches(name text, patterns jsonb) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN patterns IS NULL OR EXISTS (SELECT FROM pg_catalog.jsonb_array_elements_text(patterns) AS p
		WHERE name LIKE pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(p, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%'));
COMMENT ON FUNCTION atp_internal.name_matches(text, jsonb) IS
'Tell whether a name matches one of the patterns in a JSON array.
A star stands for any characters. NULL patterns match every name.';
REVOKE ALL ON FUNCTION atp_internal.name_matches(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.policy_applies(rules jsonb, event_type text, stream text, classification text) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN atp_internal.name_matches(event_type, rules #> '{AppliesTo,EventTypes}')
		AND atp_internal.name_matches(stream, rules #> '{AppliesTo,Streams}')
		AND (rules #> '{AppliesTo,Classifications}' IS NULL OR COALESCE(rules #> '{AppliesTo,Classifications}' ? classification, false));
COMMENT ON FUNCTION atp_internal.policy_applies(jsonb, text, text, text) IS
'Tell whether the rules of a policy apply to an event.
classification NULL: of no class, which rules that ask for a class do not apply to.';
REVOKE ALL ON FUNCTION atp_internal.policy_applies(jsonb, text, text, text) FROM PUBLIC;

-- The platform's events as readers see them: those that are stored, and those that follow one to one from an append. The latter are
-- rendered here from the log; stored, they would double every write and bring a row that all appends of a tenant share.
CREATE FUNCTION atp_internal.class_rank(classification text) RETURNS int
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN pg_catalog.array_position(ARRAY['public', 'internal', 'confidential', 'restricted'], classification);
COMMENT ON FUNCTION atp_internal.class_rank(text) IS 'Return 1 for public to 4 for restricted; NULL for another word.';
REVOKE ALL ON FUNCTION atp_internal.class_rank(text) FROM PUBLIC;

CREATE VIEW atp_internal.policy_in_force AS
	SELECT v.tenant, v.policy_id, p.policy_type, v.rules, v.changed_at AS from_at,
		LEAST(lead(v.changed_at) OVER (PARTITION BY v.tenant, v.policy_id ORDER BY v.version), p.deleted_at) AS until_at
	FROM atp_internal.policy_version v
		JOIN atp_internal.policy p ON p.policy_id = v.policy_id AND p.tenant = v.tenant;
COMMENT ON VIEW atp_internal.policy_in_force IS 'Versions of policies with the time during which each was in force.';
COMMENT ON COLUMN atp_internal.policy_in_force.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.policy_in_force.policy_id IS 'The policy.';
COMMENT ON COLUMN atp_internal.policy_in_force.policy_type IS 'retention, classification or access.';
COMMENT ON COLUMN atp_internal.policy_in_force.rules IS 'Rules of the version.';
COMMENT ON COLUMN atp_internal.policy_in_force.from_at IS 'When it came into force.';
COMMENT ON COLUMN atp_internal.policy_in_force.until_at IS 'When it went out of force; NULL: it is in force.';

CREATE FUNCTION atp_internal.classify_event(tenant_key int, event_type text, stream text, schema jsonb, schema_version int, recorded_at timestamptz)
	RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL RESTRICTED
BEGIN ATOMIC
	WITH rule (class, name) AS (
		SELECT classify_event.schema ->> 'x-classification',
				pg_catalog.format('schema:%s/%s', classify_event.event_type, classify_event.schema_version)
			WHERE atp_internal.class_rank(classify_event.schema ->> 'x-classification') IS NOT NULL
		UNION ALL
		SELECT p.rules ->> 'Classification', 'policy:' || p.policy_id
			FROM atp_internal.policy_in_force p
			WHERE p.tenant = classify_event.tenant_key AND p.policy_type = 'classification'
				AND p.from_at <= classify_event.recorded_at AND (p.until_at IS NULL OR p.until_at > classify_event.recorded_at)
				AND atp_internal.policy_applies(p.rules, classify_event.event_type, classify_event.stream, NULL)
	), decided (rank) AS (SELECT COALESCE(max(atp_internal.class_rank(r.class)), 2) FROM rule r)
	SELECT pg_catalog.jsonb_build_object('Classification', (ARRAY['public', 'internal', 'confidential', 'restricted'])[d.rank], 'Confidence', 1,
			'ClassificationRules', COALESCE((SELECT jsonb_agg(r.name ORDER BY r.name) FROM rule r WHERE atp_internal.class_rank(r.class) = d.rank),
				'["default"]'::jsonb))
		FROM decided d;
END;
COMMENT ON FUNCTION atp_internal.classify_event(int, text, text, jsonb, int, timestamptz) IS
'Say the class of an event and what decided it.
The most sensitive of the class in its schema (keyword x-classification) and those of the policies in force when it was recorded; internal where none says anything.';
REVOKE ALL ON FUNCTION atp_internal.classify_event(int, text, text, jsonb, int, timestamptz) FROM PUBLIC;

CREATE FUNCTION atp_internal.rendered_event_types() RETURNS text[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN ARRAY['EventStreamCreated', 'EventAddedToStream', 'EventClassified', 'RetentionPolicyApplied'];
COMMENT ON FUNCTION atp_internal.rendered_event_types() IS 'List the event types that are rendered from the log and never stored.';
REVOKE ALL ON FUNCTION atp_internal.rendered_event_types() FROM PUBLIC;

CREATE FUNCTION atp.read_platform_events(after_position bigint DEFAULT 0, max_count int DEFAULT 1000, event_types text[] DEFAULT NULL,
		tenant text DEFAULT NULL)
	RETURNS TABLE (log_position bigint, event_type text, event_id uuid, stream text, occurred_at timestamptz, payload jsonb, stored boolean)
	LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 3000 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	WITH context (tenant_key, tenant) AS (
		SELECT t.tenant, t.name FROM atp_internal.tenant t WHERE t.tenant = atp_internal.open_tenant(read_platform_events.tenant)
	), event AS (
		SELECT l.*, c.tenant_key, c.tenant, y.builtin, atp.ulid_from_uuid(l.event_id) AS ulid, k.document AS schema
		FROM atp.read_log(read_platform_events.after_position, read_platform_events.max_count, read_platform_events.tenant) l
			CROSS JOIN context c
			JOIN atp_internal.event_type y ON y.name = l.event_type
			LEFT JOIN atp_internal.event_schema k ON k.event_type = y.event_type AND k.version = l.schema_version
	)
	SELECT e.log_position, r.event_type, e.event_id, e.stream, e.recorded_at, r.payload, r.stored
	FROM event e
		CROSS JOIN LATERAL (SELECT atp_internal.classify_event(e.tenant_key, e.event_type, e.stream, e.schema, e.schema_version, e.recorded_at) AS class) c
		CROSS JOIN LATERAL (
			SELECT 1 AS part, e.event_type, e.payload::jsonb AS payload, true AS stored WHERE e.builtin
			UNION ALL
			SELECT 2, 'EventStreamCreated', jsonb_build_object('StreamId', e.stream, 'TenantId', e.tenant,
					'SubjectId', substr(e.stream, strpos(e.stream, '-') + 1), 'StreamType', split_part(e.stream, '-', 1)), false
				WHERE e.stream_version = 1
			UNION ALL
			SELECT 3, 'EventAddedToStream', jsonb_build_object('StreamId', e.stream, 'EventId', e.ulid, 'SequenceNumber', e.stream_version,
					'PreviousHash', CASE WHEN e.stream_version = 1 THEN repeat('0', 64) ELSE
						(SELECT encode(p.hash, 'hex') FROM atp_internal.stream s
							JOIN atp_internal.event p ON p.stream = s.stream AND p.tenant = s.tenant AND p.stream_version = e.stream_version - 1
							WHERE s.name = e.stream AND s.tenant = e.tenant_key) END), false
			UNION ALL
			SELECT 4, 'EventClassified', jsonb_build_object('EventId', e.ulid) || c.class, false
			UNION ALL
			(SELECT 5, 'RetentionPolicyApplied', jsonb_build_object('EventId', e.ulid, 'PolicyId', p.policy_id,
					'RetentionPeriod', p.rules ->> 'RetentionPeriod',
					'ExpiresAt', atp_internal.event_time(e.recorded_at + (p.rules ->> 'RetentionPeriod')::interval)), false
				FROM atp_internal.policy_in_force p
				WHERE p.tenant = e.tenant_key AND p.policy_type = 'retention' AND p.from_at <= e.recorded_at
					AND (p.until_at IS NULL OR p.until_at > e.recorded_at)
					AND atp_internal.policy_applies(p.rules, e.event_type, e.stream, c.class ->> 'Classification')
				ORDER BY e.recorded_at + (p.rules ->> 'RetentionPeriod')::interval DESC, p.policy_id LIMIT 1)
		) r
	WHERE read_platform_events.event_types IS NULL OR r.event_type = ANY (read_platform_events.event_types)
	ORDER BY e.log_position, r.part;
END;
COMMENT ON FUNCTION atp.read_platform_events(bigint, int, text[], text) IS
'Read the events of the platform in log order, the stored and the rendered ones.
What follows one to one from an append is not stored a second time but rendered from the log: EventStreamCreated, EventAddedToStream, EventClassified (by the schema''s keyword x-classification and the policies in force when the event was recorded), RetentionPolicyApplied (by the policy that keeps it longest). event_id is that of the event that it is about, or, where stored, its own; with event_type it makes an idempotency key. max_count bounds the events looked at, not the rows; pass the last log_position to go on. event_types NULL: all.
Raises: TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.read_platform_events(bigint, int, text[], text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.read_platform_events(bigint, int, text[], text) TO atp_reader, atp_auditor, atp_admin;

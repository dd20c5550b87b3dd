-- The platform's events as readers see them: stored ones, and those rendered from the log.
\set SHOW_CONTEXT never
SELECT atp.onboard_tenant('render-test') IS NOT NULL AS onboarded;
SET atp.tenant = 'render-test';
SELECT stream_version FROM atp.append_event('early-1', 'RenderVisited', '{}');
SELECT atp.create_policy('keep', 'retention', '{"RetentionPeriod": "P7Y"}') AS keep \gset
SELECT atp.create_policy('long', 'retention', '{"RetentionPeriod": "P10Y", "AppliesTo": {"Classifications": ["restricted"]}}') AS long \gset
SELECT atp.create_policy('patients', 'classification', '{"Classification": "restricted", "AppliesTo": {"Streams": ["patient-*"]}}') AS patients \gset
SELECT atp.register_schema('RenderVisited', '{"type": "object", "x-classification": "confidential"}');
SELECT stream_version FROM atp.append_event('patient-1', 'RenderVisited', '{}');
SELECT stream_version FROM atp.append_event('visit-1-a', 'RenderVisited', '{}');
SELECT atp.update_policy('keep', '{"RetentionPeriod": "P30Y"}');
SELECT atp.delete_policy('patients');
SELECT stream_version FROM atp.append_event('patient-1', 'RenderVisited', '{}');
SELECT atp.tick() >= 0 AS ticked;

-- what is told of the callers' events: by the policies in force when each was recorded
SELECT stream, event_type, replace(replace(replace((payload - 'EventId' - 'ExpiresAt' - 'PreviousHash')::text, :'keep', '(keep)'), :'long', '(long)'), :'patients', '(patients)') AS payload
	FROM atp.read_platform_events(0, NULL) WHERE stream NOT LIKE 'atp.%';
-- links and times are those of the event
SELECT p.payload ->> 'SequenceNumber' AS number, p.payload ->> 'EventId' = atp.ulid_from_uuid(e.event_id) AS id,
		p.payload ->> 'PreviousHash' = encode(e.previous_hash, 'hex') AS link
	FROM atp.read_platform_events(0, NULL, '{EventAddedToStream}') p JOIN atp.events e USING (event_id) WHERE e.stream = 'patient-1' ORDER BY 1;
SELECT (payload ->> 'ExpiresAt')::timestamptz - occurred_at > '6 years' AS years FROM atp.read_platform_events(0, NULL, '{RetentionPolicyApplied}') WHERE stream = 'visit-1-a';
-- stored ones stand among them
SELECT event_type, stored FROM atp.read_platform_events(0, NULL, '{PolicyCreated,PolicyUpdated,PolicyDeleted,TenantOnboarded}');
-- page by page, by the events looked at
SELECT max(log_position) AS first_page FROM atp.read_platform_events(0, 2) \gset
SELECT count(DISTINCT event_id) FROM atp.read_platform_events(0, 2);
SELECT min(log_position) > :first_page AS goes_on FROM atp.read_platform_events(:first_page, 2);
SELECT count(*) FROM atp.read_platform_events(tenant => 'default') WHERE stream = 'patient-1';
-- each is what its schema says
SELECT p.event_type, e.* FROM atp.read_platform_events(0, NULL) p, atp.validate_payload(p.event_type, p.payload) e;
RESET atp.tenant;

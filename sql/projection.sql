-- Projections of the log: filled by ticks, searched by who did what to what.
CREATE FUNCTION pg_temp.place() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM atp.tick();
	RETURN true;
END $$;
SELECT pg_temp.place();
SET atp.actor = 'alice';
SELECT stream_version FROM atp.append_event('doc-1', 'DocumentSigned', '{"n": 1}', metadata => '{"action": "sign", "resource": "contract/7", "correlation_id": "c-1"}');
SELECT stream_version FROM atp.append_event('doc-1', 'DocumentSent', '{"n": 2}', metadata => '{"action": "send", "resource": "contract/7", "correlation_id": "c-1"}');
SELECT stream_version FROM atp.append_event('doc-2', 'DocumentSigned', '{"n": 1}', metadata => '{"actor": "bob", "action": "sign", "resource": "contract/8"}',
	occurred_at => '2026-01-02 03:04:05Z');
RESET atp.actor;
SELECT stream_version FROM atp.append_event('doc-2', 'DocumentFiled', '{"actor": "not looked at"}');
SELECT pg_temp.place();
SELECT stream, stream_version, event_type, actor, action, resource, correlation_id FROM atp.audit_event_projection
	WHERE stream LIKE 'doc-%' ORDER BY log_position;
SELECT stream, stream_version FROM atp.audit_event_projection WHERE actor = 'alice' AND stream LIKE 'doc-%' ORDER BY log_position DESC;
SELECT stream, event_count, version, category, state, first_occurred_at = '2026-01-02 03:04:05Z' AS is_first,
	last_log_position > first_log_position AS has_moved FROM atp.event_stream_projection WHERE stream LIKE 'doc-%' ORDER BY 1;
-- a row is written over, not added, when more of the stream is placed
SELECT stream_version FROM atp.append_event('doc-1', 'DocumentFiled', '{}');
SELECT pg_temp.place();
SELECT event_count, version FROM atp.event_stream_projection WHERE stream = 'doc-1';
-- long texts are cut and stay distinct
SELECT length(atp.search_text(repeat('x', 255))) AS whole, length(atp.search_text(repeat('x', 256))) AS cut, octet_length(atp.search_text(repeat('ü', 200))) AS bytes,
	atp.search_text(repeat('x', 300) || 'a') <> atp.search_text(repeat('x', 300) || 'b') AS distinct;
SELECT atp.search_text(repeat('x', 300));
-- made anew, they are the same
CREATE TEMP TABLE audit_before AS SELECT * FROM atp.audit_event_projection;
CREATE TEMP TABLE stream_before AS SELECT * FROM atp.event_stream_projection;
SELECT atp.rebuild_projection('audit_event_projection') = (SELECT head FROM atp.sequencer_status) AS all_read;
SELECT atp.rebuild_projection('event_stream_projection') = (SELECT head FROM atp.sequencer_status) AS all_read;
SELECT count(*) AS differences FROM (
	(TABLE audit_before EXCEPT TABLE atp.audit_event_projection) UNION ALL (TABLE atp.audit_event_projection EXCEPT TABLE audit_before)) d;
SELECT count(*) AS differences FROM (
	(TABLE stream_before EXCEPT TABLE atp.event_stream_projection) UNION ALL (TABLE atp.event_stream_projection EXCEPT TABLE stream_before)) d;
SELECT atp.rebuild_projection('another');

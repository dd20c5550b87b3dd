-- read_log gives what the tables have, whatever the order of rows on disk: tenants mixed, rows written anew, a row that is gone, many streams.
LOAD 'atp';
ALTER SYSTEM SET atp.guard = off;
SELECT pg_reload_conf() \gset
SELECT pg_sleep(0.2) \gset
SELECT atp.onboard_tenant('other') \gset
DO $$
BEGIN
	FOR i IN 1 .. 400 LOOP
		PERFORM atp.append_event('Read-' || i % 90, 'ThingRead', jsonb_build_object('n', i), tenant => CASE WHEN i % 3 = 0 THEN 'other' ELSE 'default' END);
	END LOOP;
END $$;
CREATE FUNCTION pg_temp.place() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM atp.tick(); END $$;
SELECT pg_temp.place() \gset
SELECT pg_temp.place() \gset
BEGIN;
SELECT plan(6);
CREATE FUNCTION pg_temp.expected(tenant_name text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws('|', l.log_position, l.event_id, s.name, e.stream_version, y.name, e.occurred_at, e.payload, e.metadata, e.hash)
	FROM atp_internal.log l JOIN atp_internal.tenant t ON t.tenant = l.tenant AND t.name = tenant_name
		LEFT JOIN atp_internal.stream s ON s.stream = l.stream AND s.tenant = l.tenant
		LEFT JOIN atp_internal.event e ON e.event_id = l.event_id AND e.tenant = l.tenant
		LEFT JOIN atp_internal.event_type y ON y.event_type = e.event_type
	ORDER BY l.log_position $$;
CREATE FUNCTION pg_temp.got(tenant_name text, after bigint) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws('|', log_position, event_id, stream, stream_version, event_type, occurred_at, payload, metadata, hash)
	FROM atp.read_log(after, NULL, tenant_name) $$;
SELECT cmp_ok((SELECT count(*) FROM atp.read_log(0, NULL, 'other')), '>=', 133::bigint, 'the other tenant has its events');
SELECT results_eq($$SELECT pg_temp.got('default', 0)$$, $$SELECT pg_temp.expected('default')$$, 'one tenant''s events');
SELECT results_eq($$SELECT pg_temp.got('other', 0)$$, $$SELECT pg_temp.expected('other')$$, 'the other''s');
-- rows move, as when they are erased, and one is lost
ALTER TABLE atp_internal.event DISABLE TRIGGER USER;
UPDATE pg_trigger SET tgenabled = 'D' WHERE NOT tgisinternal AND tgrelid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'atp_internal.event'::regclass);
UPDATE pg_class SET relname = relname WHERE relnamespace = 'atp_internal'::regnamespace AND relkind = 'r';
UPDATE atp_internal.event SET payload = NULL, metadata = NULL WHERE get_byte(hash, 0) % 4 = 0;
UPDATE atp_internal.event SET payload = payload WHERE get_byte(hash, 1) % 5 = 0;
DELETE FROM atp_internal.event e USING atp_internal.log l WHERE l.event_id = e.event_id AND l.log_position = (SELECT max(log_position) - 50 FROM atp_internal.log);
SELECT results_eq($$SELECT pg_temp.got('default', 0)$$, $$SELECT pg_temp.expected('default')$$, 'after rows have moved');
SELECT results_eq($$SELECT pg_temp.got('other', 0)$$, $$SELECT pg_temp.expected('other')$$, 'the other''s, too');
SELECT is((SELECT array_agg(stream_version IS NULL) FROM atp.read_log((SELECT max(log_position) - 51 FROM atp_internal.log), 1,
	(SELECT t.name FROM atp_internal.log l JOIN atp_internal.tenant t USING (tenant) WHERE log_position = (SELECT max(log_position) - 50 FROM atp_internal.log)))),
	ARRAY[true], 'one that is lost comes with NULLs');
SELECT * FROM finish();
ROLLBACK;
ALTER SYSTEM RESET atp.guard;
SELECT pg_reload_conf() \gset

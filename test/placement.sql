-- Rows enter the log past the executor: what an INSERT would have done is done all the same, and a log that somebody has changed still works.
LOAD 'atp';
ALTER SYSTEM SET atp.guard = off;
ALTER SYSTEM SET atp.worker_enabled = off;
SELECT pg_reload_conf() \gset
DO $$
BEGIN
	FOR i IN 1 .. 500 LOOP
		PERFORM pg_sleep(0.02);
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'atp worker' AND datname = current_database());
	END LOOP;
END $$;
DO $$
BEGIN
	FOR i IN 1 .. 150 LOOP
		PERFORM atp.append_event('Placed-' || i % 7, 'ThingPlaced', jsonb_build_object('n', i), metadata => jsonb_build_object('actor', 'a' || i % 3));
	END LOOP;
END $$;
-- Placed in one transaction, which is rolled back to the same point each time.
CREATE TABLE public.seen (what text, rows bigint, first bigint, last bigint, is_placing boolean, who name, marked bigint);
GRANT ALL ON public.seen TO PUBLIC;
CREATE FUNCTION public.see_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen SELECT tg_name || ' ' || tg_when || ' ' || tg_level || ' ' || tg_op, count(*), min(log_position), max(log_position),
		atp_internal.sequencer_is_placing(), current_user, count(tick) FROM placed;
	RETURN NULL;
END $$;
CREATE FUNCTION public.see_before() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen (what, rows) SELECT tg_name || ' ' || tg_when || ' ' || tg_level, count(*) FROM atp_internal.log WHERE tick IS NOT NULL;
	RETURN NULL;
END $$;
CREATE FUNCTION public.see_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen (what, first) VALUES (tg_name, new.log_position);
	RETURN new;
END $$;
CREATE FUNCTION public.analyze_log() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	ANALYZE atp_internal.log;
	RETURN NULL;
END $$;
BEGIN;
SELECT plan(24);
SELECT count(*) AS before FROM atp_internal.log \gset
SELECT count(*) AS unplaced FROM atp_internal.event e WHERE NOT EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id) \gset
SELECT cmp_ok(:unplaced, '>=', 150, 'there is something to place');
CREATE TRIGGER a_statement AFTER INSERT ON atp_internal.log REFERENCING NEW TABLE AS placed FOR EACH STATEMENT EXECUTE FUNCTION public.see_statement();
CREATE TRIGGER z_statement AFTER INSERT ON atp_internal.log REFERENCING NEW TABLE AS placed FOR EACH STATEMENT EXECUTE FUNCTION public.see_statement();
CREATE TRIGGER b_before BEFORE INSERT ON atp_internal.log FOR EACH STATEMENT EXECUTE FUNCTION public.see_before();
CREATE TRIGGER off AFTER INSERT ON atp_internal.log FOR EACH STATEMENT EXECUTE FUNCTION public.see_before();
ALTER TABLE atp_internal.log DISABLE TRIGGER off;
CREATE TRIGGER replica AFTER INSERT ON atp_internal.log FOR EACH STATEMENT EXECUTE FUNCTION public.see_before();
ALTER TABLE atp_internal.log ENABLE REPLICA TRIGGER replica;
CREATE FUNCTION pg_temp.print(part text) RETURNS text LANGUAGE sql AS $$
	SELECT CASE part
		WHEN 'log' THEN (SELECT md5(string_agg(concat_ws(' ', log_position, event_id, stream, tenant, event_type, tick IS NULL), ',' ORDER BY log_position)) FROM atp_internal.log)
		WHEN 'audit' THEN (SELECT md5(string_agg(p::text, ',' ORDER BY log_position)) FROM atp_internal.audit_event_projection p)
		ELSE (SELECT md5(string_agg(p::text, ',' ORDER BY stream)) FROM atp_internal.event_stream_projection p) END $$;
SAVEPOINT start;

-- The relation's entry in the cache is made anew while its triggers are called.
CREATE TRIGGER a_analyze AFTER INSERT ON atp_internal.log FOR EACH STATEMENT EXECUTE FUNCTION public.analyze_log();
SELECT is(atp.tick(), :unplaced::bigint, 'a trigger that changes the log''s statistics');
SELECT is((SELECT count(*) FROM public.seen WHERE what LIKE '_\_statement%' AND rows = :unplaced), 2::bigint, 'and the others fire');
ROLLBACK TO start;

-- Past the executor.
SELECT is(atp.tick(), :unplaced::bigint, 'a tick places all');
SELECT is((SELECT string_agg(concat_ws(' ', what, rows, first, last, is_placing, who, marked), ', ' ORDER BY ctid) FROM public.seen),
	format('b_before BEFORE STATEMENT %s, a_statement AFTER STATEMENT INSERT %s %s %s t atp_owner 1, z_statement AFTER STATEMENT INSERT %2$s %3$s %4$s t atp_owner 1',
		(SELECT count(*) FROM atp_internal.log WHERE tick IS NOT NULL) - 1, :unplaced, :before + 1, :before + :unplaced),
	'statement triggers fire once, in order, with all rows; what is disabled does not');
SELECT is((SELECT count(*) FROM atp_internal.audit_event_projection), (SELECT count(*) FROM atp_internal.log), 'every row is projected');
SELECT pg_temp.print('log') AS log, pg_temp.print('audit') AS audit, pg_temp.print('streams') AS streams \gset
SELECT is((SELECT count(*) FROM atp.verify_log() v WHERE v.ok), 1::bigint, 'the log verifies');
SELECT is((SELECT count(*) FROM atp.audit_event_projection WHERE actor = 'a1'), 50::bigint, 'a sequential look finds them');
SET LOCAL enable_seqscan = off;
SELECT is((SELECT count(*) FROM atp.audit_event_projection WHERE actor = 'a1'), 50::bigint, 'so does the index');
SELECT is((SELECT count(*) FROM atp_internal.event e WHERE EXISTS (SELECT FROM atp_internal.log l WHERE l.event_id = e.event_id AND l.tenant = e.tenant)),
	(:before + :unplaced)::bigint, 'the index on event ids has them');
RESET enable_seqscan;
SELECT is((SELECT sum(pg_relation_size(c.oid)) FROM pg_class c WHERE relname IN ('audit_event_projection_action', 'audit_event_projection_resource')
	AND (SELECT count(action) + count(resource) FROM atp_internal.audit_event_projection) = 0), 2 * 8192::numeric, 'members that are absent are not entered');
-- In a session that replays: as an INSERT there.
ROLLBACK TO start;
SET LOCAL session_replication_role = replica;
SELECT is(atp.tick(), :unplaced::bigint, 'a tick in a session that replicates');
SELECT is((SELECT string_agg(what, ', ' ORDER BY ctid) FROM public.seen), 'replica AFTER STATEMENT', 'its triggers fire');
-- A row trigger, a CHECK, a condition: by an INSERT.
ROLLBACK TO start;
CREATE TRIGGER y_row BEFORE INSERT ON atp_internal.log FOR EACH ROW EXECUTE FUNCTION public.see_row();
SELECT is(atp.tick(), :unplaced::bigint, 'a log with a row trigger');
SELECT is((SELECT count(*) FROM public.seen WHERE what = 'y_row'), :unplaced::bigint, 'which fires for each row');
SELECT is((SELECT count(*) FROM public.seen WHERE what LIKE '_\_statement%' AND rows = :unplaced), 2::bigint, 'and so do the others, once');
SELECT is(pg_temp.print('log'), :'log', 'the log is the same');
SELECT is(pg_temp.print('audit'), :'audit', 'the audit projection, too');
SELECT is(pg_temp.print('streams'), :'streams', 'and that of the streams');
ROLLBACK TO start;
ALTER TABLE atp_internal.log ADD CONSTRAINT never CHECK (log_position < 0) NOT VALID;
SELECT throws_ok('SELECT atp.tick()', '23514', NULL, 'a CHECK is checked');
ROLLBACK TO start;
ALTER TABLE atp_internal.log DISABLE TRIGGER project;
SELECT is(atp.tick(), :unplaced::bigint, 'a log whose projections are switched off');
SELECT is((SELECT count(*) FROM atp_internal.audit_event_projection), :before::bigint, 'they are not fed');
-- An index with an expression on the projection.
ROLLBACK TO start;
CREATE INDEX upper_actor ON atp_internal.audit_event_projection (upper(actor)) WHERE action IS NULL AND actor > 'a';
SELECT is(atp.tick(), :unplaced::bigint, 'a projection with an index of somebody''s');
SET LOCAL enable_seqscan = off;
SELECT is((SELECT count(*) FROM atp_internal.audit_event_projection WHERE upper(actor) = 'A1' AND action IS NULL AND actor > 'a'), 50::bigint, 'which has the rows');
SELECT * FROM finish();
ROLLBACK;
DROP FUNCTION public.analyze_log, public.see_statement, public.see_before, public.see_row;
DROP TABLE public.seen;
ALTER SYSTEM RESET atp.guard;
ALTER SYSTEM RESET atp.worker_enabled;
SELECT pg_reload_conf() \gset

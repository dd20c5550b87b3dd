-- The guard: what the event store holds is append-only, and what it is made of stays. Refused whoever asks, here a superuser.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT (atp.append_event('Guarded-1', 'GuardTested', '{"n": 1}')).stream_version;

\echo # rows: TP107
UPDATE atp_internal.event SET payload = '{}';
DELETE FROM atp_internal.event;
TRUNCATE atp_internal.event;
TRUNCATE atp_internal.stream;
UPDATE atp_internal.stream SET version = 0;
SET session_replication_role = replica;
DELETE FROM atp_internal.log;
RESET session_replication_role;
INSERT INTO atp_internal.event SELECT * FROM atp_internal.event;
COPY atp_internal.stream FROM PROGRAM 'true';

\echo # objects: TP108
ALTER TABLE atp_internal.event DISABLE TRIGGER guard;
ALTER TABLE atp_internal.event ENABLE TRIGGER guard;
ALTER TABLE atp_internal.event ALTER COLUMN payload TYPE text;
ALTER TABLE atp_internal.event DROP COLUMN salts;
ALTER TABLE atp_internal.event NO FORCE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.event OWNER TO CURRENT_USER;
ALTER TABLE atp_internal.event RENAME TO forgotten;
ALTER TABLE atp_internal.event SET SCHEMA public;
ALTER TABLE atp_internal.stream SET UNLOGGED;
ALTER VIEW atp.events RENAME TO forgotten;
DROP TRIGGER guard ON atp_internal.event;
DROP POLICY event_tenant ON atp_internal.event;
DROP VIEW atp.events CASCADE;
CREATE RULE forget AS ON INSERT TO atp_internal.log DO INSTEAD NOTHING;
CREATE FUNCTION pg_temp.forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER a_forget BEFORE INSERT ON atp_internal.log FOR EACH ROW EXECUTE FUNCTION pg_temp.forget();
CREATE POLICY everything ON atp_internal.event USING (true);
ALTER POLICY event_tenant ON atp_internal.event USING (true);
CREATE OR REPLACE FUNCTION atp_internal.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION atp.append_event(stream text) RETURNS text LANGUAGE sql RETURN 'swallowed';
CREATE OR REPLACE VIEW atp.tenants AS SELECT 1 AS nothing;
ALTER FUNCTION atp_internal.refuse_change() OWNER TO CURRENT_USER;
ALTER FUNCTION atp_internal.refuse_change() RENAME TO forgotten;
ALTER TYPE atp.receipt ADD ATTRIBUTE more text;
ALTER SEQUENCE atp_internal.event_seq RESTART;
ALTER SCHEMA atp_internal RENAME TO forgotten;
ALTER EXTENSION atp DROP EVENT TRIGGER atp_guard_drop;
CREATE TABLE child () INHERITS (atp_internal.stream);
CREATE TABLE leaf_elsewhere PARTITION OF atp_internal.event FOR VALUES FROM (MINVALUE) TO ('00000000-0000-0000-0000-000000000001');
DROP OWNED BY atp_owner;
REASSIGN OWNED BY atp_owner TO CURRENT_USER;
GRANT USAGE ON SCHEMA atp_internal TO PUBLIC;
GRANT SELECT ON atp_internal.event TO PUBLIC;
CREATE FUNCTION public.guard_mine() RETURNS int LANGUAGE sql SECURITY DEFINER RETURN 1;
ALTER FUNCTION public.guard_mine() OWNER TO atp_owner;
DROP FUNCTION public.guard_mine();

\echo # what no event trigger sees, refused by the hooks
ALTER EVENT TRIGGER atp_guard_drop DISABLE;
UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'guard';
UPDATE pg_class SET relforcerowsecurity = false WHERE relname = 'event';
DELETE FROM pg_rewrite WHERE ev_class = 'atp.events'::regclass;
UPDATE pg_event_trigger SET evtenabled = 'D';
DELETE FROM pg_policy;
GRANT atp_owner TO CURRENT_USER;
ALTER ROLE atp_owner LOGIN;
ALTER ROLE atp_owner SET atp.tenant = 'other';
CREATE ROLE guard_intruder IN ROLE atp_owner;
BEGIN;
LOCK TABLE atp_internal.event;
ROLLBACK;

\echo # the extension, while there are events: TP109
DROP EXTENSION atp;
DROP EXTENSION atp CASCADE;
DROP SCHEMA atp CASCADE;
DROP EXTENSION plpgsql CASCADE;

\echo # what stays possible: tuning, comments, indexes, grants on what is called
BEGIN;
ALTER TABLE atp_internal.stream SET (fillfactor = 70);
ALTER TABLE atp_internal.event ALTER COLUMN stream SET STATISTICS 500;
CREATE INDEX ON atp_internal.stream (last_recorded_at);
COMMENT ON TABLE atp_internal.stream IS 'Heads.';
CREATE ROLE guard_application;
GRANT EXECUTE ON FUNCTION atp.append_event TO guard_application;
GRANT atp_writer TO guard_application;
CREATE TABLE guard_own (a int);
ALTER TABLE guard_own ADD b int;
DROP TABLE guard_own;
ROLLBACK;
SELECT count(*) FROM atp.events WHERE stream = 'Guarded-1';

\echo # where nothing can be written
BEGIN READ ONLY;
SELECT atp.append_event('Guarded-1', 'GuardTested');
ROLLBACK;

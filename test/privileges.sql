-- Who may do what: the roles by verb, no way into the tables, and no way into another tenant.
SELECT atp.onboard_tenant('acme') IS NOT NULL AS made, atp.onboard_tenant('rival') IS NOT NULL AS made \gset
SELECT count(*) AS n FROM (SELECT atp.append_event('Order-1', 'OrderPlaced', '{"secret": "acme"}', tenant => 'acme'),
	atp.append_event('Order-1', 'OrderPlaced', '{"secret": "rival"}', tenant => 'rival')) s \gset
BEGIN;
SELECT plan(39);
-- Row level security binds the owner of the tables too.
SET LOCAL atp.tenant = 'rival';
SET LOCAL ROLE atp_owner;
SELECT is((SELECT count(*) FROM atp_internal.event e JOIN atp_internal.tenant t USING (tenant) WHERE t.name <> 'rival'), 0::bigint, 'the owner sees one tenant');
SELECT isnt((SELECT count(*) FROM atp_internal.event), 0::bigint, 'and that one it sees');
SELECT is((SELECT count(*) FROM atp_internal.stream s JOIN atp_internal.tenant t USING (tenant) WHERE t.name <> 'rival'), 0::bigint, 'in streams too');
SELECT throws_ok($$UPDATE atp_internal.event SET payload = '{}'$$, 'TP107');
RESET ROLE;
SET LOCAL atp.tenant = '';

SET client_min_messages = warning;
CREATE TEMP VIEW member AS SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e';
CREATE TEMP TABLE role_name AS SELECT unnest(ARRAY['atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin']) AS role;

-- The matrix: what the first word of a function's name lets readers and writers do. What is not here is for administrators, and auditors
-- perhaps; anything else is a decision to be made here. r reader, w writer, u auditor, a admin.
CREATE TEMP TABLE matrix (verb text, roles text);
INSERT INTO matrix VALUES
	('append', 'w'), ('ingest', 'w'), ('seal', 'wa'),
	('read', 'rua'), ('get', 'rua'), ('get', 'rwua'), ('list', 'rua'), ('list', 'rwua'), ('search', 'rwua'), ('search', 'rua'),
	('wait', 'rwua'), ('wait', 'ra'), ('validate', 'rwua'), ('explain', 'rua'), ('verify', 'rua'), ('prove', 'rua'),
	('claim', 'ra'), ('ack', 'ra'), ('nack', 'ra'), ('renew', 'ra'), ('begin', 'ra'), ('finish', 'ra'), ('fail', 'ra'), ('defer', 'ra'),
	('acquire', 'rwa'), ('compute', 'rwa'), ('release', 'rwa'), ('release', 'ra'), ('schedule', 'w'), ('cancel', 'w'), ('cast', 'rwua'), ('generate', 'rwua'), ('count', 'rua'),
	('get', 'ra'), ('set', 'ra');

CREATE TEMP TABLE granted AS
	SELECT p.oid::regprocedure::text AS function, split_part(p.proname, '_', 1) AS verb,
		(SELECT coalesce(string_agg(substr('rwua', position, 1), '' ORDER BY position), '') FROM generate_series(1, 4) AS position
			WHERE has_function_privilege((ARRAY['atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin'])[position], p.oid, 'EXECUTE')) AS roles
	FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	WHERE p.pronamespace = 'atp'::regnamespace AND p.prokind <> 'a' AND p.prorettype <> 'trigger'::regtype
		AND NOT EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0);
SELECT is_empty($$SELECT g.function, g.roles FROM granted g WHERE g.roles NOT IN ('', 'a', 'ua')
	AND NOT EXISTS (SELECT FROM matrix m WHERE m.verb = g.verb AND m.roles = g.roles)$$,
	'each function is for the roles that its verb says');
SELECT ok((SELECT count(*) FROM granted) >= 80, 'there are functions to look at');
SELECT is((SELECT roles FROM granted WHERE function LIKE 'atp.append\_event(%'), 'w', 'append_event is for writers alone');
SELECT is_empty($$SELECT function FROM granted WHERE roles LIKE '%w%' AND verb IN ('read', 'verify', 'prove', 'doctor')$$, 'a writer does not read events');
SELECT is_empty($$SELECT function FROM granted WHERE roles ~ '[ru]' AND verb IN ('append', 'ingest', 'seal')$$, 'a reader and an auditor write none');
SELECT is_empty($$SELECT DISTINCT a.grantee::regrole FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid, aclexplode(p.proacl) a
	WHERE a.grantee <> 0 AND a.grantee::regrole::text NOT IN (SELECT role FROM role_name) AND a.grantee <> p.proowner$$, 'no other role has a function');
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid, aclexplode(p.proacl) a
	WHERE a.is_grantable AND a.grantee <> p.proowner$$, 'nobody can pass a privilege on');

-- Tables: nothing but the functions and views.
SELECT is_empty($$SELECT c.oid::regclass, r.role, a.privilege FROM pg_class c, role_name r, unnest(ARRAY['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS a(privilege)
	WHERE c.relnamespace = 'atp_internal'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege(r.role, c.oid, a.privilege)$$,
	'no role changes a relation of atp_internal');
SELECT is_empty($$SELECT c.oid::regclass, r.role FROM pg_class c, role_name r WHERE c.relnamespace = 'atp_internal'::regnamespace AND c.relkind IN ('r', 'p')
	AND has_table_privilege(r.role, c.oid, 'SELECT')$$, 'no role reads a table of atp_internal');
SELECT is_empty($$SELECT c.oid::regclass, r.role FROM pg_class c, role_name r WHERE c.relnamespace = 'atp_internal'::regnamespace AND c.relkind = 'S'
	AND has_sequence_privilege(r.role, c.oid, 'USAGE, SELECT, UPDATE')$$, 'no role draws from a sequence');
SELECT is_empty($$SELECT c.oid::regclass, r.role, a.privilege FROM pg_class c, role_name r, unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS a(privilege)
	WHERE c.relnamespace = 'atp'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND has_table_privilege(r.role, c.oid, a.privilege)$$,
	'no role updates a view of atp');
SELECT is_empty($$SELECT c.oid::regclass FROM pg_class c WHERE c.relnamespace = 'atp'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'outbox_event'$$,
	'schema atp holds no table but the one that connectors read');
SELECT is_empty($$SELECT role FROM role_name WHERE has_schema_privilege(role, 'atp_internal', 'USAGE') OR has_schema_privilege(role, 'atp', 'CREATE')$$,
	'no role has USAGE of atp_internal or CREATE in atp');
SELECT is((SELECT count(*) FROM pg_auth_members WHERE roleid = 'atp_owner'::regrole), 0::bigint, 'atp_owner has no member');
SELECT is((SELECT rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication FROM pg_roles WHERE rolname = 'atp_owner'), false,
	'and is nobody');

-- Functions that run as the owner: all with a pinned path, and executable by no more than their verb says (above).
SELECT is_empty($$SELECT p.oid::regprocedure FROM pg_proc p JOIN member m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid
	WHERE p.prosecdef AND NOT coalesce(p.proconfig @> ARRAY['search_path=pg_catalog, pg_temp'], false)$$, 'SECURITY DEFINER pins the search path');

-- An application that may use one of two tenants.
CREATE ROLE privileges_application IN ROLE atp_reader, atp_writer;
SET LOCAL atp.tenant_allowed = 'acme';
SET LOCAL atp.tenant = 'acme';
SET LOCAL ROLE privileges_application;
SELECT lives_ok($$SELECT atp.append_event('Order-1', 'OrderPaid')$$, 'the application appends to its tenant');
SELECT is((SELECT count(*) FROM atp.read_stream('Order-1') WHERE payload ->> 'secret' = 'acme'), 1::bigint, 'and reads it');
SELECT throws_ok($$SELECT atp.append_event('Order-1', 'OrderPaid', tenant => 'rival')$$, '42501');
SELECT throws_ok($$SELECT * FROM atp.read_stream('Order-1', tenant => 'rival')$$, '42501');
SELECT throws_ok($$SELECT * FROM atp.verify_stream('Order-1', 'rival')$$, '42501');
SELECT throws_ok($$SET LOCAL atp.tenant_allowed = ''$$, '42501');
SELECT throws_ok($$SELECT set_config('atp.tenant_allowed', 'rival', false)$$, '42501');
SELECT throws_ok($$SELECT * FROM (SELECT set_config('atp.tenant', 'rival', true)) s, atp.events$$, '42501');
SET LOCAL atp.tenant = 'acme';
SELECT is((SELECT count(*) FROM atp.events WHERE payload ->> 'secret' = 'rival'), 0::bigint, 'nothing of the other tenant shows');
SELECT throws_ok($$SELECT * FROM atp_internal.event$$, '42501');
SELECT throws_ok($$INSERT INTO atp_internal.event SELECT * FROM atp_internal.event$$, '42501');
SELECT throws_ok($$SELECT atp_internal.tenant_is_visible(1)$$, '42501');
SELECT throws_ok($$SELECT nextval('atp_internal.event_seq')$$, '42501');
SELECT throws_ok($$INSERT INTO atp.events (stream, event_type, tenant) VALUES ('Order-1', 'OrderPaid', 'rival')$$, '42501');
SELECT throws_ok($$SELECT atp.onboard_tenant('third')$$, '42501');
-- What arrives as an argument stays one.
SELECT is((SELECT count(*) FROM atp.read_stream($$Order-1' OR true --$$)), 0::bigint, 'a quote in a name is a character');
SELECT throws_ok($q$SELECT atp.append_event($$Order-1'); DELETE FROM atp_internal.event; --$$, 'OrderPaid')$q$, 'TP201');
SELECT lives_ok($q$SELECT atp.append_event('Order-1', 'OrderPaid', jsonb_build_object('note', $$'); DROP SCHEMA atp CASCADE; --$$))$q$, 'a payload is text');
-- An operator of the caller's is not used by functions of ours.
RESET ROLE;
CREATE SCHEMA privileges_trap AUTHORIZATION privileges_application;
SET LOCAL ROLE privileges_application;
CREATE FUNCTION privileges_trap.equal(a int, b int) RETURNS boolean LANGUAGE sql RETURN true;
CREATE OPERATOR privileges_trap.= (LEFTARG = int, RIGHTARG = int, FUNCTION = privileges_trap.equal);
SET LOCAL search_path = privileges_trap, pg_catalog;
SELECT count(*) AS seen FROM atp.events WHERE payload ->> 'secret' = 'rival' \gset
RESET search_path;
RESET ROLE;
SELECT is(:seen, 0, 'an operator of the caller opens nothing');
RESET atp.tenant_allowed;

SELECT * FROM finish();
ROLLBACK;

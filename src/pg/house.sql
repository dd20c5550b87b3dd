-- The house: the internal schema and the roles. Everything else is made inside these.
CREATE SCHEMA atp_internal;
COMMENT ON SCHEMA atp IS 'Audit-trail platform: the functions and views that applications call.';
COMMENT ON SCHEMA atp_internal IS 'Tables and helpers of atp; no role has USAGE, the functions in schema atp are the way in.';

DO $$
DECLARE
	role_name text;
BEGIN
	FOREACH role_name IN ARRAY ARRAY['atp_owner', 'atp_reader', 'atp_writer', 'atp_auditor', 'atp_admin'] LOOP
		IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
			EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
		END IF;
	END LOOP;
	IF EXISTS (SELECT FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid WHERE r.rolname = 'atp_owner') THEN
		RAISE WARNING 'role atp_owner has members, who can alter the event store'
			USING HINT = 'Revoke the memberships: nobody needs to be atp_owner.';
	END IF;
END $$;

GRANT USAGE ON SCHEMA atp TO PUBLIC;

CREATE TYPE atp.finding AS (check_name text, level text, finding text, remedy text);
COMMENT ON TYPE atp.finding IS 'What a check of atp.doctor() found; see src/tooling/doctor.sql for how a room adds a check.';
COMMENT ON COLUMN atp.finding.check_name IS 'Name of the check.';
COMMENT ON COLUMN atp.finding.level IS 'error, warning, note or ok.';
COMMENT ON COLUMN atp.finding.finding IS 'What is the case.';
COMMENT ON COLUMN atp.finding.remedy IS 'What to do about it; NULL where nothing is to be done.';

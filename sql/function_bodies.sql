-- CREATE EXTENSION turns check_function_bodies off, so a mistake in a body would install silently. Every SQL and plpgsql
-- function of the extension is made again with the check on, as a temporary one; what fails is listed.
SET check_function_bodies = on;
CREATE FUNCTION pg_temp.body_faults() RETURNS TABLE (function text, fault text) LANGUAGE plpgsql AS $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.oid FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'atp'
		JOIN pg_language l ON l.oid = p.prolang
		WHERE l.lanname IN ('sql', 'plpgsql')
		ORDER BY p.oid::regprocedure::text
	LOOP
		BEGIN
			EXECUTE regexp_replace(pg_get_functiondef(f.oid), '^CREATE OR REPLACE (\w+) atp(_internal)?\.', 'CREATE OR REPLACE \1 pg_temp.');
		EXCEPTION WHEN others THEN
			function := f.oid::regprocedure;
			fault := sqlerrm;
			RETURN NEXT;
		END;
	END LOOP;
END $$;
BEGIN;
SELECT * FROM pg_temp.body_faults();
ROLLBACK;

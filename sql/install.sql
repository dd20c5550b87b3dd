-- The extension installs for a superuser, once, into schemas of its own.
CREATE EXTENSION atp;
SELECT extname, extversion = (SELECT default_version FROM pg_available_extensions WHERE name = 'atp') AS is_default_version,
	extnamespace::regnamespace AS schema
FROM pg_extension WHERE extname = 'atp';
CREATE EXTENSION atp;

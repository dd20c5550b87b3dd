-- The catalogue of the platform's own events. The one source is src/record/catalog/*.json; src/tools/catalog turns it into the rows
-- that follow this part in the install script. Keys of builtin types are fixed numbers below 1000, so that a dump that names
-- them means the same in the installation that it is restored into; builtin rows themselves are not dumped.
CREATE FUNCTION atp_internal.seed_catalog(entries jsonb) RETURNS void
	LANGUAGE sql VOLATILE STRICT SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.event_type (event_type, name, builtin, description)
		SELECT (e ->> 'key')::int, e ->> 'event_type', true, e ->> 'description' FROM jsonb_array_elements(entries) AS e;
END;
COMMENT ON FUNCTION atp_internal.seed_catalog(jsonb) IS 'Register one group of the platform''s own event types; for the install script.';
REVOKE ALL ON FUNCTION atp_internal.seed_catalog(jsonb) FROM PUBLIC;

-- Routes: the anti-corruption layer. A route is a handler of a subscription (see handler.sql): it translates each event into another one, of
-- the published language, and appends it in the transaction that acks the first: exactly once. Which events it takes is the
-- subscription's filter; where they go is a template over their content.
CREATE TABLE atp_internal.route (
	tenant int NOT NULL,
	route text NOT NULL,
	version int NOT NULL,
	event_type text,
	stream text,
	mapping jsonb,
	function text,
	run_as text,
	target_subscription text,
	created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT route_pk PRIMARY KEY (route, version, tenant),
	CONSTRAINT route_handler FOREIGN KEY (route, tenant) REFERENCES atp_internal.handler (handler, tenant) ON DELETE CASCADE,
	CONSTRAINT route_has_target CHECK (target_subscription IS NOT NULL AND event_type IS NULL AND stream IS NULL AND mapping IS NULL AND function IS NULL
		OR target_subscription IS NULL AND event_type IS NOT NULL AND stream IS NOT NULL AND (mapping IS NULL) <> (function IS NULL))
);
COMMENT ON TABLE atp_internal.route IS 'Routes, all versions; the highest is the one in force.';
COMMENT ON COLUMN atp_internal.route.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.route.route IS 'Name of the route, and of its handler.';
COMMENT ON COLUMN atp_internal.route.version IS '1, 2, 3, ...';
COMMENT ON COLUMN atp_internal.route.event_type IS 'Type of the event that is appended.';
COMMENT ON COLUMN atp_internal.route.stream IS 'Stream it is appended to, with jsonpaths in braces.';
COMMENT ON COLUMN atp_internal.route.mapping IS 'Payload by member: a text that begins with $ is a jsonpath over the CloudEvents form, anything else is itself.';
COMMENT ON COLUMN atp_internal.route.function IS 'Function that makes the payload, in the place of a mapping.';
COMMENT ON COLUMN atp_internal.route.run_as IS 'Role that the function runs as.';
COMMENT ON COLUMN atp_internal.route.target_subscription IS 'Subscription that the event itself is handed to, in the place of a translation.';
COMMENT ON COLUMN atp_internal.route.created_at IS 'When this version was made.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.route', '');
ALTER TABLE atp_internal.route ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.route FORCE ROW LEVEL SECURITY;
CREATE POLICY route_tenant ON atp_internal.route USING (atp_internal.tenant_is_visible(tenant));

-- How many routes an event has come through. It is noted here and not in the event's metadata, which whoever appends it writes as he likes.
CREATE TABLE atp_internal.routed (
	tenant int NOT NULL,
	subscription int NOT NULL,
	event_id uuid NOT NULL,
	hops int NOT NULL,
	routed_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	CONSTRAINT routed_pk PRIMARY KEY (event_id, subscription, tenant)
);
CREATE INDEX routed_routed_at ON atp_internal.routed USING brin (routed_at);
COMMENT ON TABLE atp_internal.routed IS 'Events that routes made or handed on in the last day, and how many routes they have come through.';
COMMENT ON COLUMN atp_internal.routed.tenant IS 'Surrogate key of the tenant.';
COMMENT ON COLUMN atp_internal.routed.subscription IS 'Surrogate key of the subscription that the event was handed to; 0: the event was made by a route.';
COMMENT ON COLUMN atp_internal.routed.event_id IS 'The event.';
COMMENT ON COLUMN atp_internal.routed.hops IS 'Routes on its way, this one included.';
COMMENT ON COLUMN atp_internal.routed.routed_at IS 'When it was routed.';
SELECT pg_catalog.pg_extension_config_dump('atp_internal.routed', '');
ALTER TABLE atp_internal.routed ENABLE ROW LEVEL SECURITY;
ALTER TABLE atp_internal.routed FORCE ROW LEVEL SECURITY;
CREATE POLICY routed_tenant ON atp_internal.routed USING (atp_internal.tenant_is_visible(tenant));

CREATE FUNCTION atp_internal.note_routed(tenant int, subscription int, event_id uuid, hops int) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	INSERT INTO atp_internal.routed AS r (tenant, subscription, event_id, hops)
		VALUES (note_routed.tenant, note_routed.subscription, note_routed.event_id, note_routed.hops)
		ON CONFLICT ON CONSTRAINT routed_pk DO UPDATE SET hops = excluded.hops, routed_at = excluded.routed_at WHERE r.hops < excluded.hops;
END;
COMMENT ON FUNCTION atp_internal.note_routed(int, int, uuid, int) IS
'Note through how many routes an event has come.
By several ways: the longest counts.';
REVOKE ALL ON FUNCTION atp_internal.note_routed(int, int, uuid, int) FROM PUBLIC;

CREATE FUNCTION atp_internal.purge_routed(max_count int) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	purged bigint;
BEGIN
	DELETE FROM atp_internal.routed r WHERE r.ctid = ANY (ARRAY(
		SELECT o.ctid FROM atp_internal.routed o WHERE o.routed_at < clock_timestamp() - interval '1 day' LIMIT max_count FOR UPDATE SKIP LOCKED));
	GET DIAGNOSTICS purged = ROW_COUNT;
	RETURN purged;
END $$;
COMMENT ON FUNCTION atp_internal.purge_routed(int) IS
'Forget what was routed more than a day ago, up to so many rows.
A loop whose rounds take a day is no burden.';
REVOKE ALL ON FUNCTION atp_internal.purge_routed(int) FROM PUBLIC;

CREATE FUNCTION atp_internal.fill_template(template text, document jsonb) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	filled text := '';
	rest text := template;
	path text;
	value jsonb;
BEGIN
	WHILE rest ~ '\{\$[^{}]*\}' LOOP
		path := substring(rest FROM '\{(\$[^{}]*)\}');
		value := jsonb_path_query_first(document, path::jsonpath);
		IF value IS NULL OR jsonb_typeof(value) NOT IN ('string', 'number', 'boolean') THEN
			RAISE EXCEPTION 'the event has no scalar at %', path USING ERRCODE = 'TP343', DETAIL = format('The template is "%s".', template);
		END IF;
		filled := filled || substring(rest FROM '^(.*?)\{\$[^{}]*\}') || (value #>> '{}');
		rest := substr(rest, strpos(rest, '{' || path || '}') + length(path) + 2);
	END LOOP;
	RETURN filled || rest;
END $$;
COMMENT ON FUNCTION atp_internal.fill_template(text, jsonb) IS
'Fill the jsonpaths in braces of a template with what a document has there.
Raises: TP343 (nothing there, or an object or array).';
REVOKE ALL ON FUNCTION atp_internal.fill_template(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.map_document(mapping jsonb, document jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT coalesce(jsonb_object_agg(m.key, m.value) FILTER (WHERE m.value IS NOT NULL), '{}')
	FROM (SELECT e.key, CASE
			WHEN jsonb_typeof(e.value) = 'string' AND e.value #>> '{}' LIKE '$%'
				THEN jsonb_path_query_first(map_document.document, (e.value #>> '{}')::jsonpath)
			WHEN jsonb_typeof(e.value) = 'object' AND e.value ? '$literal' THEN e.value -> '$literal'
			ELSE e.value END AS value
		FROM jsonb_each(map_document.mapping) e) m;
END;
COMMENT ON FUNCTION atp_internal.map_document(jsonb, jsonb) IS
'Make a document by a mapping over another one.
A member whose jsonpath finds nothing is left out; {"$literal": x} is x.';
REVOKE ALL ON FUNCTION atp_internal.map_document(jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.translate_event(route atp_internal.route, event jsonb, document jsonb) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	outcome record;
BEGIN
	IF route.mapping IS NOT NULL THEN
		RETURN atp_internal.map_document(route.mapping, document);
	END IF;
	SELECT * INTO outcome FROM atp_internal.call_handler(route.function, event, 30000, route.run_as);
	IF outcome.failure IS NOT NULL THEN
		RAISE EXCEPTION 'route "%" could not translate the event: %', route.route, outcome.failure USING ERRCODE = 'TP343';
	END IF;
	RETURN outcome.result;
END $$;
COMMENT ON FUNCTION atp_internal.translate_event(atp_internal.route, jsonb, jsonb) IS
'Make the payload that a route gives an event.
NULL: none, the event goes no further.
Raises: TP343 (the function of the route failed).';
REVOKE ALL ON FUNCTION atp_internal.translate_event(atp_internal.route, jsonb, jsonb) FROM PUBLIC;

CREATE FUNCTION atp.route_event(event_id uuid, subscription text, tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(route_event.tenant);
	key int := atp_internal.subscription_key(route_event.subscription, route_event.tenant);
	tenant_name text := (SELECT t.name FROM atp_internal.tenant t WHERE t.tenant = owner_key);
	place bigint;
BEGIN
	SELECT l.log_position INTO place FROM atp_internal.log l WHERE l.event_id = route_event.event_id AND l.tenant = owner_key;
	IF place IS NULL THEN
		RAISE EXCEPTION 'event % is not in the log', event_id USING ERRCODE = 'TP308', HINT = 'See atp.wait_for_event.';
	END IF;
	-- Where the subscription's own rules match and its cursors have not all passed the event, it comes by itself: once is enough.
	IF (SELECT e.matches FROM atp.explain_routing(event_id, tenant_name) e WHERE e.subscription = route_event.subscription)
			AND place > (SELECT min(c.acked) FROM (SELECT DISTINCT ON (x.partition) x.acked FROM atp_internal.subscription_cursor x
				WHERE x.subscription = key AND x.tenant = owner_key ORDER BY x.partition, x.generation DESC) c) THEN
		RETURN false;
	END IF;
	RETURN cardinality(atp_internal.redeliver(subscription, tenant_name, ARRAY[0::bigint], ARRAY[event_id], ARRAY[clock_timestamp()])) > 0;
END $$;
COMMENT ON FUNCTION atp.route_event(uuid, text, text) IS
'Hand an event to a subscription, whatever its filter says.
It is due at once, with no attempts, beside what the cursor finds. Returns false where it is waiting there already, or comes by itself because the subscription''s own rules match and have not passed it.
Raises: TP202, TP300 (no such subscription), TP308 (not in the log).';
REVOKE ALL ON FUNCTION atp.route_event(uuid, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.route_event(uuid, text, text) TO atp_admin;

CREATE FUNCTION atp_internal.run_route(event jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	tenant_name text := event ->> 'tenant';
	owner_key int := atp_internal.open_tenant(tenant_name);
	source uuid := (event ->> 'event_id')::uuid;
	route atp_internal.route;
	document jsonb;
	payload jsonb;
	metadata jsonb := coalesce(event -> 'metadata', '{}');
	own_subscription int;
	hops int;
	made record;
BEGIN
	SELECT r.* INTO STRICT route FROM atp_internal.route r
		WHERE r.route = event ->> 'handler' AND r.tenant = owner_key ORDER BY r.version DESC LIMIT 1;
	SELECT h.subscription INTO STRICT own_subscription FROM atp_internal.handler h WHERE h.handler = route.route AND h.tenant = owner_key;
	SELECT coalesce(max(r.hops), 0) INTO hops FROM atp_internal.routed r
		WHERE r.event_id = source AND r.subscription IN (0, own_subscription) AND r.tenant = owner_key;
	IF hops >= current_setting('atp.route_max_hops')::int THEN
		RAISE EXCEPTION 'route "%" goes no further with an event that has come through % routes', route.route, hops USING ERRCODE = 'TP344',
			DETAIL = 'Routes whose events come back to them would go on for ever.',
			HINT = 'Have the subscription leave its route''s events out; a longer way may be allowed with atp.route_max_hops.';
	END IF;
	IF route.target_subscription IS NOT NULL THEN
		IF atp.route_event(source, route.target_subscription, tenant_name) THEN
			PERFORM atp_internal.note_routed(owner_key, atp_internal.subscription_key(route.target_subscription, tenant_name), source, hops + 1);
		END IF;
		RETURN;
	END IF;
	document := atp.get_cloudevent(source, tenant_name);
	payload := atp_internal.translate_event(route, event, document);
	IF payload IS NULL THEN
		RETURN;
	END IF;
	SELECT a.event_id INTO made FROM atp.append_event(atp_internal.fill_template(route.stream, document), route.event_type, payload,
		metadata => jsonb_strip_nulls(jsonb_build_object('actor', metadata -> 'actor', 'traceparent', metadata -> 'traceparent',
			'tracestate', metadata -> 'tracestate', 'causation_id', atp.ulid_from_uuid(source),
			'correlation_id', coalesce(metadata -> 'correlation_id', to_jsonb(atp.ulid_from_uuid(source))),
			'route', route.route, 'route_version', route.version)),
		idempotency_key => format('route/%s/%s', route.route, source), tenant => tenant_name) a;
	PERFORM atp_internal.note_routed(owner_key, 0, made.event_id, hops + 1);
END $$;
COMMENT ON FUNCTION atp_internal.run_route(jsonb) IS
'Route one event.
Called as the handler of the route''s subscription, whose other failures are tried again.
Raises: TP344 (it has come through atp.route_max_hops routes already), TP343 (it cannot be translated).';
REVOKE ALL ON FUNCTION atp_internal.run_route(jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_route(stream text, mapping jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	path text;
BEGIN
	IF jsonb_typeof(mapping) <> 'object' THEN
		RAISE EXCEPTION 'mapping is not a JSON object' USING ERRCODE = 'TP342';
	ELSIF regexp_replace(stream, '\{\$[^{}]*\}', '', 'g') ~ '[{}]' THEN
		RAISE EXCEPTION 'the stream of a route has a brace too much' USING ERRCODE = 'TP342', DETAIL = format('It is "%s".', stream),
			HINT = 'Braces enclose a jsonpath, which begins with $: invoice-{$.data.order}.';
	END IF;
	FOR path IN
		SELECT m[1] FROM regexp_matches(stream, '\{(\$[^{}]*)\}', 'g') m
		UNION ALL SELECT e.value #>> '{}' FROM jsonb_each(coalesce(mapping, '{}')) e WHERE jsonb_typeof(e.value) = 'string' AND e.value #>> '{}' LIKE '$%'
	LOOP
		BEGIN
			PERFORM jsonb_path_query_first('{}', path::jsonpath, silent => true);
		EXCEPTION WHEN syntax_error OR data_exception OR undefined_object THEN	-- the last: a variable
			RAISE EXCEPTION 'invalid jsonpath in a route' USING ERRCODE = 'TP342', DETAIL = format('"%s": %s', path, SQLERRM);
		END;
	END LOOP;
END $$;
COMMENT ON FUNCTION atp_internal.require_route(text, jsonb) IS
'Refuse a template or mapping whose jsonpaths do not parse, or name variables.
Raises: TP342.';
REVOKE ALL ON FUNCTION atp_internal.require_route(text, jsonb) FROM PUBLIC;

CREATE FUNCTION atp_internal.name_matches(name text, patterns text[]) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	RETURN name_matches.patterns IS NULL OR EXISTS (SELECT FROM pg_catalog.unnest(name_matches.patterns) p
		WHERE name_matches.name LIKE pg_catalog.replace(pg_catalog.regexp_replace(p, '([\\%_])', '\\\1', 'g'), '*', '%'));
COMMENT ON FUNCTION atp_internal.name_matches(text, text[]) IS
'Say whether a name meets a list of names, where * stands for any characters.
NULL takes any.';
REVOKE ALL ON FUNCTION atp_internal.name_matches(text, text[]) FROM PUBLIC;

CREATE FUNCTION atp_internal.require_way_out(tenant int, subscription int, event_type text, stream text, mapping jsonb, target_subscription text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
	s atp_internal.subscription;
	way text;
BEGIN
	SELECT x.* INTO STRICT s FROM atp_internal.subscription x WHERE x.subscription = require_way_out.subscription AND x.tenant = require_way_out.tenant;
	IF require_way_out.target_subscription IS NOT NULL THEN
		WITH RECURSIVE handed AS (
			SELECT DISTINCT ON (r.route) f.name AS source, r.target_subscription AS target
			FROM atp_internal.route r JOIN atp_internal.handler h ON h.handler = r.route AND h.tenant = r.tenant
				JOIN atp_internal.subscription f ON f.subscription = h.subscription AND f.tenant = h.tenant
			WHERE r.tenant = require_way_out.tenant ORDER BY r.route, r.version DESC),
		reached AS (
			SELECT require_way_out.target_subscription AS name, format('"%s", "%s"', s.name, require_way_out.target_subscription) AS way
			UNION
			SELECT h.target, format('%s, "%s"', r.way, h.target) FROM reached r JOIN handed h ON h.source = r.name
			WHERE h.target IS NOT NULL AND r.name <> s.name AND strpos(r.way, format('"%s"', h.target)) IN (0, 1))
		SELECT r.way INTO way FROM reached r WHERE r.name = s.name LIMIT 1;
	ELSIF require_way_out.mapping IS NOT NULL AND require_way_out.stream !~ '\{\$' AND s.filter IS NULL AND s.correlation IS NULL
			AND atp_internal.name_matches(require_way_out.event_type, s.event_types)
			AND atp_internal.name_matches(split_part(require_way_out.stream, '-', 1), s.categories)
			AND atp_internal.name_matches(require_way_out.stream, s.streams) THEN
		way := format('"%s", "%s"', s.name, s.name);
	END IF;
	IF way IS NOT NULL THEN
		RAISE EXCEPTION 'the route would be fed with its own events' USING ERRCODE = 'TP342',
			DETAIL = format('They would go through the subscriptions %s, without end.', way),
			HINT = 'Have the subscription leave them out.';
	END IF;
END $$;
COMMENT ON FUNCTION atp_internal.require_way_out(int, int, text, text, jsonb, text) IS
'Refuse a route of which it is certain that what it makes comes back to it.
Other routes that do are stopped by atp.route_max_hops.
Raises: TP342.';
REVOKE ALL ON FUNCTION atp_internal.require_way_out(int, int, text, text, jsonb, text) FROM PUBLIC;

CREATE FUNCTION atp.create_route(route text, subscription text, event_type text DEFAULT NULL, stream text DEFAULT NULL, mapping jsonb DEFAULT NULL,
		function regprocedure DEFAULT NULL, target_subscription text DEFAULT NULL, step int DEFAULT 1, tenant text DEFAULT NULL) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
	owner_key int := atp_internal.open_tenant(create_route.tenant);
	subscription_key int := atp_internal.subscription_key(create_route.subscription, create_route.tenant);
	standing int;
BEGIN
	IF target_subscription IS NULL AND (event_type IS NULL OR stream IS NULL OR (mapping IS NULL) = (function IS NULL))
			OR target_subscription IS NOT NULL AND num_nonnulls(event_type, stream, mapping, function) > 0 THEN
		RAISE EXCEPTION 'a route needs a target' USING ERRCODE = 'TP342',
			HINT = 'Give event_type, stream, and either mapping or function; or target_subscription alone.';
	END IF;
	PERFORM atp_internal.require_route(stream, mapping);
	IF event_type IS NOT NULL THEN
		PERFORM atp_internal.check_scheduled(regexp_replace(stream, '\{\$[^{}]*\}', 'x-x', 'g'), event_type, '{}', NULL);
	END IF;
	IF function IS NOT NULL THEN
		PERFORM atp_internal.require_handler_function(function, session_user);
	END IF;
	IF target_subscription IS NOT NULL THEN
		PERFORM atp_internal.subscription_key(target_subscription, create_route.tenant);
	END IF;
	PERFORM atp_internal.require_way_out(owner_key, subscription_key, event_type, stream, mapping, target_subscription);
	SELECT max(r.version) INTO standing FROM atp_internal.route r WHERE r.route = create_route.route AND r.tenant = owner_key;
	IF standing IS NULL THEN
		PERFORM atp_internal.add_handler(owner_key, subscription_key, step, route, 'atp_internal.run_route(jsonb)', NULL, 'atp_owner', '1 minute');
	ELSIF NOT EXISTS (SELECT FROM atp_internal.handler h WHERE h.handler = route AND h.tenant = owner_key AND h.subscription = subscription_key) THEN
		RAISE EXCEPTION 'route "%" belongs to another subscription', route USING ERRCODE = '42710';
	END IF;
	INSERT INTO atp_internal.route (tenant, route, version, event_type, stream, mapping, function, run_as, target_subscription)
		VALUES (owner_key, route, coalesce(standing, 0) + 1, event_type, stream, mapping, function::text,
			CASE WHEN function IS NOT NULL THEN session_user END, target_subscription);
	RETURN coalesce(standing, 0) + 1;
END $$;
COMMENT ON FUNCTION atp.create_route(text, text, text, text, jsonb, regprocedure, text, int, text) IS
'Create a route, or the next version of one; returns the version.
Each event of the subscription becomes an event of event_type in stream, whose name may hold jsonpaths over the CloudEvents form in braces: invoice-{$.data.order}. Its payload comes from mapping, a JSON object in which a text that begins with $ is such a jsonpath (a member that is not there is left out) and anything else is itself ({"$literal": x} is x); or from function, which takes the event as handlers do and returns jsonb, NULL for no event, and runs as the session''s user. causation_id is the source''s id, correlation_id the source''s or else its id; actor and trace are kept; route and route_version are noted. Exactly once, in the transaction that acks. Or, with target_subscription alone, the event itself is handed to that subscription, whatever its filter says. An event that has come through atp.route_max_hops routes goes no further: it becomes a dead letter of the subscription at once (TP344), so that routes that feed one another end. drop_handler(route) ends a route.
Raises: TP201 (event type, stream), TP202, TP300 (no such subscription), TP341 (not such a function), TP342 (no or two targets, a jsonpath, or its events would certainly come back to it), 42710 (name or step taken), 42501, 23514, 23502 (name, step).';
REVOKE ALL ON FUNCTION atp.create_route(text, text, text, text, jsonb, regprocedure, text, int, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.create_route(text, text, text, text, jsonb, regprocedure, text, int, text) TO atp_admin;

CREATE VIEW atp.routes WITH (security_barrier) AS
	SELECT t.name AS tenant, r.route, r.version, s.name AS subscription, r.event_type, r.stream, r.mapping, r.function, r.target_subscription, r.created_at
	FROM atp_internal.route r
		JOIN atp_internal.tenant t ON t.tenant = r.tenant
		JOIN atp_internal.handler h ON h.handler = r.route AND h.tenant = r.tenant
		JOIN atp_internal.subscription s ON s.subscription = h.subscription AND s.tenant = h.tenant;
COMMENT ON VIEW atp.routes IS 'List the routes, all versions.';
COMMENT ON COLUMN atp.routes.tenant IS 'Name of the tenant.';
COMMENT ON COLUMN atp.routes.route IS 'Name.';
COMMENT ON COLUMN atp.routes.version IS 'The highest is in force.';
COMMENT ON COLUMN atp.routes.subscription IS 'Subscription whose events it takes.';
COMMENT ON COLUMN atp.routes.event_type IS 'Type of the event that is appended.';
COMMENT ON COLUMN atp.routes.stream IS 'Stream it is appended to, with jsonpaths in braces.';
COMMENT ON COLUMN atp.routes.mapping IS 'Payload by member.';
COMMENT ON COLUMN atp.routes.function IS 'Function that makes the payload.';
COMMENT ON COLUMN atp.routes.target_subscription IS 'Subscription that the event itself is handed to.';
COMMENT ON COLUMN atp.routes.created_at IS 'When this version was made.';
GRANT SELECT ON atp.routes TO atp_reader, atp_auditor, atp_admin;

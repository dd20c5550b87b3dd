-- Pages for people: reference pages in Markdown, and a folder for EventCatalog.
CREATE FUNCTION atp_internal.markdown_text(words text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.regexp_replace(words, '\s+', ' ', 'g'),
		'|', '\|'), '<', '&lt;'), '{', '&#123;'), '}', '&#125;');
COMMENT ON FUNCTION atp_internal.markdown_text(text) IS 'Write text so that Markdown, tables and MDX take it as text.';
REVOKE ALL ON FUNCTION atp_internal.markdown_text(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.mermaid_text(words text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN '"' || pg_catalog.replace(pg_catalog.replace(pg_catalog.regexp_replace(words, '\s+', ' ', 'g'), '"', '#quot;'), '<', '#lt;') || '"';
COMMENT ON FUNCTION atp_internal.mermaid_text(text) IS 'Write text as a label of a Mermaid diagram.';
REVOKE ALL ON FUNCTION atp_internal.mermaid_text(text) FROM PUBLIC;

CREATE FUNCTION atp_internal.event_flow(entry atp.event_type_catalog) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN E'```mermaid\nflowchart LR\n'
		|| COALESCE((SELECT pg_catalog.string_agg(pg_catalog.format(E'  p%s[%s] --> e\n', p.n, atp_internal.mermaid_text(p.name)), '' ORDER BY p.n)
			FROM pg_catalog.unnest(entry.producers) WITH ORDINALITY AS p (name, n)), '')
		|| pg_catalog.format(E'  e([%s])\n', atp_internal.mermaid_text(entry.event_type))
		|| COALESCE((SELECT pg_catalog.string_agg(pg_catalog.format(E'  e --> c%s[%s]\n', c.n, atp_internal.mermaid_text(c.name)), '' ORDER BY c.n)
			FROM pg_catalog.unnest(entry.consumers) WITH ORDINALITY AS c (name, n)), '')
		|| CASE WHEN entry.retry ? 'max_attempts' THEN
			pg_catalog.format(E'  e -. %s .-> d[("dead letters")]\n', atp_internal.mermaid_text('after attempt ' || (entry.retry ->> 'max_attempts'))) ELSE '' END
		|| E'```\n';
COMMENT ON FUNCTION atp_internal.event_flow(atp.event_type_catalog) IS 'Draw the way of an event from its producers to its consumers, in Mermaid.';
REVOKE ALL ON FUNCTION atp_internal.event_flow(atp.event_type_catalog) FROM PUBLIC;

CREATE FUNCTION atp_internal.event_body(entry atp.event_type_catalog) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
	RETURN atp_internal.markdown_text(COALESCE(entry.description, 'Not described.')) || E'\n\n'
		|| format(E'%s event of category `%s`; %s.%s\n\n', initcap(entry.kind), entry.category,
			CASE entry.emitted WHEN 'when it happens' THEN 'emitted when it happens, in the same transaction' WHEN 'later' THEN 'registered, not yet emitted'
				WHEN 'by applications' THEN 'appended by applications' ELSE entry.emitted END,
			COALESCE(' ' || atp_internal.markdown_text(entry.note), ''))
		|| atp_internal.event_flow(entry)
		|| COALESCE((SELECT E'\n| field | number | type | required | meaning |\n|---|---|---|---|---|\n'
				|| string_agg(format(E'| `%s%s` | %s | %s%s | %s | %s |\n', CASE f.path WHEN '' THEN '' ELSE substr(replace(f.path, '/', '.'), 2) || '.' END, f.name, f.number,
					CASE f.kind WHEN 'array' THEN 'array of ' || CASE WHEN f.item_kind IN ('record', 'map') THEN 'object' ELSE f.item_kind END WHEN 'record' THEN 'object' WHEN 'map' THEN 'object' ELSE f.kind END,
					CASE WHEN f.nullable THEN ' or null' ELSE '' END, CASE WHEN f.required THEN 'yes' ELSE 'no' END,
					atp_internal.markdown_text(COALESCE(f.description, ''))), '' ORDER BY f.path COLLATE "C", f.number)
			FROM atp_internal.list_fields(entry.event_type) f WHERE f.active HAVING count(*) > 0), '')
		|| COALESCE(E'\nRules:\n' || (SELECT string_agg('- ' || atp_internal.markdown_text(r.rule) || E'\n', '' ORDER BY r.n)
			FROM unnest(entry.rules) WITH ORDINALITY AS r (rule, n)), '')
		|| COALESCE(E'\nIdempotency key: ' || atp_internal.markdown_text(entry.idempotency_key) || E'\n', '')
		|| CASE WHEN entry.retry IS NULL THEN '' ELSE E'\nRetry: ' || atp_internal.markdown_text(concat_ws(', ', 'at most ' || (entry.retry ->> 'max_attempts') || ' attempts', entry.retry ->> 'backoff',
			(entry.retry ->> 'first_delay') || ' to ' || (entry.retry ->> 'max_delay')) || COALESCE('. ' || (entry.retry ->> 'reason'), '')) || E'\n' END
		|| CASE WHEN entry.dead_letter IS NULL THEN '' ELSE E'\nDead letter: ' || atp_internal.markdown_text(
			concat_ws(' ', entry.dead_letter ->> 'when', entry.dead_letter ->> 'handling')) || E'\n' END
		|| COALESCE(E'\n| metric | type | meaning |\n|---|---|---|\n' || (SELECT string_agg(format(E'| `%s` | %s | %s |\n', m ->> 'name', m ->> 'type',
			atp_internal.markdown_text(m ->> 'description')), '' ORDER BY n) FROM jsonb_array_elements(entry.monitoring -> 'metrics') WITH ORDINALITY AS x (m, n)), '')
		|| COALESCE(E'\n| alert | when | severity | action |\n|---|---|---|---|\n' || (SELECT string_agg(format(E'| %s | %s | %s | %s |\n', m ->> 'name',
			atp_internal.markdown_text(m ->> 'when'), m ->> 'severity', atp_internal.markdown_text(m ->> 'action')), '' ORDER BY n)
			FROM jsonb_array_elements(entry.monitoring -> 'alerts') WITH ORDINALITY AS x (m, n)), '')
		|| COALESCE(E'\nExample:\n\n```json\n' || jsonb_pretty(entry.example) || E'\n```\n', '');
COMMENT ON FUNCTION atp_internal.event_body(atp.event_type_catalog) IS 'Return the page of an event type, without its heading, in Markdown.';
REVOKE ALL ON FUNCTION atp_internal.event_body(atp.event_type_catalog) FROM PUBLIC;

CREATE FUNCTION atp.generate_reference() RETURNS TABLE (path text, content text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 20 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT 'index.md', E'# Events\n\nEvery event type that is registered, by category.\n\n| event | kind | category | what happened |\n|---|---|---|---|\n'
			|| string_agg(format(E'| [`%s`](%s.md#%s) | %s | %s | %s |\n', c.event_type, c.category, lower(c.event_type), c.kind, c.category,
				atp_internal.markdown_text(coalesce(c.description, ''))), '' ORDER BY c.category COLLATE "C", c.event_type COLLATE "C")
		FROM atp.event_type_catalog c
	UNION ALL
	SELECT c.category || '.md', format(E'# Events: %s\n\n', c.category)
			|| string_agg(format(E'## %s\n\n', c.event_type) || atp_internal.event_body(c), E'\n' ORDER BY c.event_type COLLATE "C")
		FROM atp.event_type_catalog c GROUP BY c.category;
END;
COMMENT ON FUNCTION atp.generate_reference() IS
'Generate reference pages of every event type in Markdown.
Each has a Mermaid flow. index.md lists them; each category has a page of its own. path is relative to the folder to write them to.';
REVOKE ALL ON FUNCTION atp.generate_reference() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_reference() TO atp_reader, atp_writer, atp_auditor, atp_admin;

CREATE FUNCTION atp_internal.front_matter(members jsonb) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	RETURN E'---\n' || (SELECT pg_catalog.string_agg(m.key || ': ' || m.value::text || E'\n', '' ORDER BY m.key COLLATE "C")
		FROM pg_catalog.jsonb_each(pg_catalog.jsonb_strip_nulls(members)) m) || E'---\n\n';
COMMENT ON FUNCTION atp_internal.front_matter(jsonb) IS
'Write the members of an object as YAML front matter.
Their values stay JSON, which is YAML too.';
REVOKE ALL ON FUNCTION atp_internal.front_matter(jsonb) FROM PUBLIC;

CREATE FUNCTION atp.generate_eventcatalog() RETURNS TABLE (path text, content text)
	LANGUAGE sql STABLE PARALLEL SAFE ROWS 100 SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
	SELECT format('events/%s/index.mdx', c.event_type),
			atp_internal.front_matter(jsonb_build_object('id', c.event_type, 'name', c.event_type, 'version', format('%s.0.0', coalesce(c.schema_version, 0)),
				'summary', coalesce(c.description, c.event_type), 'owners', jsonb_build_array(coalesce(regexp_replace(lower(c.owner), '[^a-z0-9]+', '-', 'g'), 'nobody')),
				'badges', jsonb_build_array(jsonb_build_object('content', c.kind, 'backgroundColor', 'blue', 'textColor', 'blue'),
					jsonb_build_object('content', c.category, 'backgroundColor', 'green', 'textColor', 'green')),
				'schemaPath', 'schema.json')) || atp_internal.event_body(c)
		FROM atp.event_type_catalog c
	UNION ALL
	SELECT format('events/%s/schema.json', c.event_type), jsonb_pretty(coalesce(c.schema, '{"type": "object"}')) || E'\n' FROM atp.event_type_catalog c
	UNION ALL
	SELECT format('services/%s/index.mdx', g.category), atp_internal.front_matter(jsonb_build_object('id', g.category, 'name', g.category, 'version', '1.0.0',
			'summary', format('What tells of %s.', g.category), 'owners', '["atp"]'::jsonb, 'sends', g.sends)) || format(E'Appends the events of category `%s`.\n', g.category)
		FROM (SELECT c.category, jsonb_agg(jsonb_build_object('id', c.event_type, 'version', format('%s.0.0', coalesce(c.schema_version, 0)))
			ORDER BY c.event_type COLLATE "C") AS sends FROM atp.event_type_catalog c GROUP BY c.category) g
	UNION ALL
	SELECT format('domains/%s/index.mdx', d.kind), atp_internal.front_matter(jsonb_build_object('id', d.kind, 'name', initcap(d.kind), 'version', '1.0.0',
			'summary', format('%s events.', initcap(d.kind)), 'owners', '["atp"]'::jsonb, 'services', d.services)) || format(E'Services that append %s events.\n', d.kind)
		FROM (SELECT g.kind, jsonb_agg(jsonb_build_object('id', g.category, 'version', '1.0.0') ORDER BY g.category COLLATE "C") AS services
			FROM (SELECT DISTINCT c.kind, c.category FROM atp.event_type_catalog c) g GROUP BY g.kind) d
	UNION ALL
	SELECT format('teams/%s.mdx', o.id), atp_internal.front_matter(jsonb_build_object('id', o.id, 'name', o.id, 'summary', 'Answers for event types.')) || E'Answers for event types.\n'
		FROM (SELECT DISTINCT coalesce(regexp_replace(lower(c.owner), '[^a-z0-9]+', '-', 'g'), 'nobody') AS id FROM atp.event_type_catalog c
			UNION SELECT 'atp') o;
END;
COMMENT ON FUNCTION atp.generate_eventcatalog() IS
'Generate a folder for EventCatalog: events, services, domains and teams.
A service stands for a category, a domain for a kind, a team for an owner. path is relative to the folder to write them to.';
REVOKE ALL ON FUNCTION atp.generate_eventcatalog() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.generate_eventcatalog() TO atp_reader, atp_writer, atp_auditor, atp_admin;

-- JSON Schema in the backend: what a user asks, and what comes back.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS atp;
RESET client_min_messages;
\set SHOW_CONTEXT never
\pset null '(null)'

SELECT atp.schema_is_valid('{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}', i) AS valid, i AS instance
	FROM (VALUES ('{"id": 1}'::jsonb), ('{"id": 1.0}'), ('{"id": 1.5}'), ('{"id": "1"}'), ('{}'), ('[]'), ('null')) v(i);
SELECT atp.schema_is_valid(NULL, '1'), atp.schema_is_valid('true', NULL), atp.schema_is_valid('true', '1'), atp.schema_is_valid('false', '1');

-- Every error, with its two places and a sentence.
SELECT * FROM atp.schema_errors($${
	"$defs": {"name": {"type": "string", "minLength": 2, "pattern": "^\\p{Lu}"}},
	"type": "object",
	"properties": {
		"name": {"$ref": "#/$defs/name"},
		"kind": {"enum": ["a", "b"]},
		"size": {"minimum": 1, "multipleOf": 0.1},
		"tags": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/name"}, "maxItems": 2},
		"a/b~c": {"not": {}},
		"mail": {"anyOf": [{"type": "null"}, {"const": "x"}]}
	},
	"required": ["id", "name"],
	"dependentRequired": {"kind": ["size2"]},
	"propertyNames": {"maxLength": 5},
	"additionalProperties": false
}$$, '{"name": "é", "kind": "c", "size": 0.25, "tags": ["Ab", "Ab", "b"], "a/b~c": 1, "mail": 2, "unknown": 3}')
	ORDER BY instance_location COLLATE "C", keyword_location COLLATE "C";
SELECT * FROM atp.schema_errors('false', '1');
SELECT * FROM atp.schema_errors('true', '1');

-- Numbers are compared by value, at any size.
SELECT atp.schema_is_valid('{"const": 1.0}', '1'), atp.schema_is_valid('{"enum": [1e2]}', '100.00'),
	atp.schema_is_valid('{"multipleOf": 0.0001}', '0.0075'), atp.schema_is_valid('{"multipleOf": 0.01}', '19.99'),
	atp.schema_is_valid('{"maximum": 12345678901234567890}', '12345678901234567890.0000000001'),
	atp.schema_is_valid('{"type": "integer"}', '1e300'), atp.schema_is_valid('{"uniqueItems": true}', '[1, true, {"a": 1}, {"a": 1.0}]');

-- unevaluated*: what nothing else has looked at.
SELECT i AS instance, atp.schema_is_valid($${
	"allOf": [{"properties": {"a": true}}],
	"if": {"properties": {"b": {"const": 1}}, "required": ["b"]}, "then": {"properties": {"c": true}},
	"unevaluatedProperties": false}$$, i) AS valid
	FROM (VALUES ('{"a": 1}'::jsonb), ('{"a": 1, "b": 1, "c": 1}'), ('{"a": 1, "b": 2}'), ('{"c": 1}')) v(i);

-- The drafts differ: $schema decides.
SELECT d AS draft, atp.schema_is_valid(jsonb_build_object('$schema', d, 'items', '[{"type": "string"}]'::jsonb, 'additionalItems', false), '["a", 1]') AS items,
	atp.schema_is_valid(jsonb_build_object('$schema', d, '$ref', '#/definitions/a', 'maximum', 3, 'definitions', '{"a": {"minimum": 1}}'::jsonb), '5') AS beside_ref,
	atp.schema_is_valid(jsonb_build_object('$schema', d, 'prefixItems', '[{"type": "string"}]'::jsonb), '[1]') AS prefix_items
	FROM (VALUES ('http://json-schema.org/draft-07/schema#'), ('https://json-schema.org/draft/2019-09/schema')) v(d);
SELECT i AS instance, atp.schema_is_valid($${"$schema": "https://json-schema.org/draft/2019-09/schema", "$id": "http://example.com/strict", "$recursiveAnchor": true,
	"$ref": "tree", "unevaluatedProperties": false,
	"$defs": {"tree": {"$id": "tree", "$recursiveAnchor": true, "type": "object", "properties": {"data": true, "children": {"items": {"$recursiveRef": "#"}}}}}}$$, i) AS valid
	FROM (VALUES ('{"children": [{"data": 1}]}'::jsonb), ('{"children": [{"daat": 1}]}')) v(i);

-- Formats annotate; a setting makes them assert.
SELECT atp.schema_is_valid('{"format": "date-time"}', '"yesterday"') AS annotation;
SET atp.schema_format_assertion = on;
SELECT * FROM atp.schema_errors('{"format": "date-time"}', '"yesterday"');
SELECT f AS format, atp.schema_is_valid(jsonb_build_object('format', f), to_jsonb(good)) AS good, atp.schema_is_valid(jsonb_build_object('format', f), to_jsonb(bad)) AS bad
	FROM (VALUES ('date-time', '2016-12-31T23:59:60Z', '2016-12-31T23:58:60Z'), ('date', '2024-02-29', '2023-02-29'), ('time', '08:30:06+02:00', '08:30:06'),
		('duration', 'P1Y2M3DT4H5M6S', 'P1Y3D'), ('email', 'a.b@example.com', 'a..b@example.com'), ('idn-email', 'あ@例え.jp', 'あ.jp'),
		('hostname', 'a-b.example', 'a_b.example'), ('idn-hostname', '例え.jp', 'א0٠.il'), ('ipv4', '127.0.0.1', '127.0.0.01'), ('ipv6', '1::192.0.2.1', '1::2::3'),
		('uri', 'urn:a:b?c#d', '/a'), ('uri-reference', '../a?b', 'a b'), ('iri', 'http://é/ü', 'http://é /'), ('iri-reference', 'ü', '\'),
		('uri-template', '/{a}{?b*,c:3}', '/{a'), ('uuid', '2EB8AA08-aa98-11ea-b4aa-73b441d16380', '2eb8aa08aa9811eab4aa73b441d16380'),
		('json-pointer', '/a~1b', '/a~2'), ('relative-json-pointer', '1/a', '-1'), ('regex', '^(?<a>.)\k<a>$', '(?i)a'), ('of our own', 'x', 'y')) v(f, good, bad);
RESET atp.schema_format_assertion;

-- Patterns mean what they mean in ECMA-262.
SELECT p AS pattern, atp.schema_is_valid(jsonb_build_object('pattern', p), to_jsonb(yes)) AS yes, atp.schema_is_valid(jsonb_build_object('pattern', p), to_jsonb(no)) AS no
	FROM (VALUES ('^\d$', '7', '৪'), ('^a$', 'a', E'a\n'), ('^\s$', U&'\FEFF', 'x'), ('^[\S]$', 'x', U&'\2003'), ('^[^]$', E'\n', ''), ('^\cJ$', E'\n', 'J'),
		('^\u{1F432}$', '🐲', '🐉'), ('^(?<c>.)\k<c>$', 'aa', 'ab'), ('^(a)?b\1$', 'b', 'ba'), ('^[[:alpha:]]$', ':]', 'b'), ('^\p{Script=Greek}+$', 'αβ', 'ab'),
		('^.$', 'é', E'\r'), ('^\$\-\_$', '$-_', 'x')) v(p, yes, no);

-- The registry of documents is the only source of what a reference names.
SELECT atp.schema_is_valid('{"$ref": "https://example.com/point"}', '{}');
SELECT atp.add_schema_document('https://example.com/point#', '{"properties": {"x": {"$ref": "coordinate"}}, "required": ["x"]}');
SELECT atp.schema_is_valid('{"$ref": "https://example.com/point"}', '{"x": 1}');
SELECT atp.add_schema_document('https://example.com/coordinate', '{"type": "number"}');
SELECT atp.schema_is_valid('{"$ref": "https://example.com/point"}', '{"x": 1}'), atp.schema_is_valid('{"$ref": "https://example.com/point"}', '{"x": "1"}');
SELECT atp.add_schema_document('https://example.com/coordinate', '{"type": "string"}');
SELECT atp.schema_is_valid('{"$ref": "https://example.com/point"}', '{"x": 1}'), atp.schema_is_valid('{"$ref": "https://example.com/point"}', '{"x": "1"}');
SELECT atp.add_schema_document('https://json-schema.org/draft/2020-12/schema', 'true');
SELECT atp.add_schema_document('point', 'true');
SELECT atp.add_schema_document('https://example.com/a#b', 'true');
SELECT atp.add_schema_document('https://example.com/a', '"text"');
SELECT atp.add_schema_document('https://example.com/a', '{"$schema": "https://json-schema.org/draft/2020-12/schema", "minLength": -1}');

-- A schema that is none says where.
SELECT atp.schema_is_valid('{"properties": {"a": {"minLength": -1}}}', '1');
SELECT atp.schema_is_valid('{"$defs": {"unused": {"type": "text"}}}', '1');
SELECT atp.schema_is_valid('{"items": {"pattern": "a**"}}', '1');
SELECT atp.schema_is_valid('{"$ref": "#/$defs/none"}', '1');
SELECT atp.schema_is_valid('{"$ref": "#none"}', '1');
SELECT atp.schema_is_valid('{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"}', '1');
SELECT atp.schema_is_valid('{"$schema": "http://json-schema.org/draft-04/schema#"}', '1');
SELECT atp.schema_is_valid('"schema"', '1');
SELECT atp.schema_is_valid('{"x-values": {"minimum": "1"}, "$ref": "#/x-values"}', '1');
DELETE FROM atp_internal.schema_document;

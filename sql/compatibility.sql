-- Compatibility of schemas: a table of cases with the verdict of each mode, then what the differences say, then the registry.
\set SHOW_CONTEXT never
\pset null ''
CREATE TEMP TABLE pair (n serial, change text, old jsonb, new jsonb, confluent text);
-- The last column: what Confluent's registry says of BACKWARD (its policy lenient) where its list of compatible changes names the
-- change; "!": it says yes, and there is an instance that old accepts, with declared members only, and new refuses.
INSERT INTO pair (change, old, new, confluent) VALUES
	('nothing', '{"type": "object"}', '{"type": "object"}', 'yes'),
	('annotations', '{"type": "string"}', '{"type": "string", "title": "t", "description": "d", "default": "x", "examples": [1], "$comment": "c"}', 'yes'),
	('true to anything', 'true', '{}', ''),
	('anything to false', '{}', 'false', ''),
	('false to anything', 'false', '{"type": "string"}', ''),
	('integer to number', '{"type": "integer"}', '{"type": "number"}', 'yes'),
	('number to integer', '{"type": "number"}', '{"type": "integer"}', 'no'),
	('whole multiples to integer', '{"type": "number", "multipleOf": 2}', '{"type": "integer"}', ''),
	('type added', '{"type": "string"}', '{"type": ["string", "null"]}', 'yes'),
	('type removed', '{"type": ["string", "null"]}', '{"type": "string"}', 'no'),
	('string to integer', '{"type": "string"}', '{"type": "integer"}', 'no'),
	('type dropped', '{"type": "string"}', '{}', 'yes'),
	('enum value added', '{"enum": ["a", "b"]}', '{"enum": ["a", "b", "c"]}', 'yes'),
	('enum value removed', '{"enum": ["a", "b"]}', '{"enum": ["a"]}', 'no'),
	('enum reordered', '{"enum": [1, 2]}', '{"enum": [2, 1.0]}', 'yes'),
	('const to enum', '{"const": 1}', '{"enum": [1, 2]}', ''),
	('enum to type', '{"enum": ["a", 1]}', '{"type": ["string", "integer"]}', ''),
	('enum to pattern', '{"enum": ["ab", "ac"]}', '{"pattern": "^a"}', ''),
	('type to enum', '{"type": "string"}', '{"enum": ["a"]}', 'no'),
	('boolean to its values', '{"type": "boolean"}', '{"enum": [true, false]}', ''),
	('minimum raised', '{"minimum": 1}', '{"minimum": 2}', 'no'),
	('minimum lowered', '{"minimum": 2}', '{"minimum": 1}', 'yes'),
	('minimum to exclusive', '{"minimum": 1}', '{"exclusiveMinimum": 1}', 'no'),
	('exclusive to minimum', '{"exclusiveMinimum": 1}', '{"minimum": 1}', ''),
	('exclusive of integers', '{"type": "integer", "exclusiveMinimum": 0}', '{"minimum": 1}', ''),
	('maximum beyond doubles', '{"maximum": 12345678901234567890}', '{"maximum": 12345678901234567889.5}', 'no'),
	('multiple of a multiple', '{"multipleOf": 6}', '{"multipleOf": 3}', 'yes'),
	('multiple to another', '{"multipleOf": 3}', '{"multipleOf": 6}', 'no'),
	('length shortened', '{"maxLength": 5}', '{"maxLength": 4}', 'no'),
	('length lengthened', '{"maxLength": 4}', '{"maxLength": 5}', 'yes'),
	('minLength added', '{"type": "string"}', '{"type": "string", "minLength": 1}', 'no'),
	('pattern added', '{"type": "string"}', '{"type": "string", "pattern": "^a"}', 'no'),
	('pattern dropped', '{"type": "string", "pattern": "^a"}', '{"type": "string"}', 'yes'),
	('pattern changed', '{"type": "string", "pattern": "^a"}', '{"type": "string", "pattern": "^(a|b)"}', 'no'),
	('format added', '{"type": "string"}', '{"type": "string", "format": "date"}', '!'),
	('format dropped', '{"type": "string", "format": "date"}', '{"type": "string"}', 'yes'),
	('optional property, open', '{"type": "object", "properties": {"a": {}}}', '{"type": "object", "properties": {"a": {}, "b": {"type": "string"}}}', 'yes'),
	('optional property, closed', '{"properties": {"a": {}}, "additionalProperties": false}', '{"properties": {"a": {}, "b": {"type": "string"}}, "additionalProperties": false}', 'yes'),
	('optional property of any value', '{"properties": {"a": {}}}', '{"properties": {"a": {}, "b": {}}}', 'yes'),
	('required property', '{"properties": {"a": {}}}', '{"properties": {"a": {}, "b": {}}, "required": ["b"]}', 'no'),
	('required property with default', '{"properties": {}, "additionalProperties": false}', '{"properties": {"b": {"default": 1}}, "required": ["b"], "additionalProperties": false}', '!'),
	('no longer required', '{"properties": {"a": {}}, "required": ["a"]}', '{"properties": {"a": {}}}', 'yes'),
	('property removed, open', '{"properties": {"a": {"type": "string"}}}', '{"properties": {}}', 'yes'),
	('property removed, closed', '{"properties": {"a": {}, "b": {}}, "additionalProperties": false}', '{"properties": {"a": {}}, "additionalProperties": false}', 'no'),
	('object closed', '{"type": "object", "properties": {"a": {}}}', '{"type": "object", "properties": {"a": {}}, "additionalProperties": false}', 'yes'),
	('object opened', '{"properties": {"a": {}}, "additionalProperties": false}', '{"properties": {"a": {}}}', 'yes'),
	('map narrowed', '{"additionalProperties": {"type": "number"}}', '{"additionalProperties": {"type": "integer"}}', 'no'),
	('map widened', '{"additionalProperties": {"type": "integer"}}', '{"additionalProperties": {"type": "number"}}', 'yes'),
	('map closed', '{"additionalProperties": {"type": "integer"}}', '{"additionalProperties": false}', '!'),
	('property within a map', '{"additionalProperties": {"type": "integer"}}', '{"properties": {"a": {"type": "number"}}, "additionalProperties": {"type": "integer"}}', 'yes'),
	('property against a map', '{"additionalProperties": {"type": "integer"}}', '{"properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "integer"}}', '!'),
	('property of a pattern', '{"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": false}', '{"properties": {"xa": {"type": "number"}}, "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": false}', 'yes'),
	('pattern property dropped', '{"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": false}', '{"additionalProperties": {"type": "number"}}', ''),
	('pattern property added, closed', '{"properties": {"a": {}}, "additionalProperties": false}', '{"properties": {"a": {}}, "patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": false}', 'yes'),
	('nested property narrowed', '{"properties": {"a": {"properties": {"b": {"type": "number"}}}}}', '{"properties": {"a": {"properties": {"b": {"type": "integer"}}}}}', 'no'),
	('count of properties', '{"minProperties": 2, "maxProperties": 3}', '{"minProperties": 1, "maxProperties": 4}', 'yes'),
	('required implies a count', '{"required": ["a", "b"]}', '{"minProperties": 2}', ''),
	('propertyNames added, closed', '{"properties": {"ab": {}}, "additionalProperties": false}', '{"propertyNames": {"maxLength": 2}}', ''),
	('propertyNames added, open', '{"properties": {"ab": {}}}', '{"properties": {"ab": {}}, "propertyNames": {"maxLength": 2}}', ''),
	('dependency added', '{"properties": {"a": {}, "b": {}}}', '{"properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}', 'no'),
	('dependency on what is required', '{"required": ["b"], "properties": {"a": {}}}', '{"required": ["b"], "properties": {"a": {}}, "dependentRequired": {"a": ["b"]}}', ''),
	('items narrowed', '{"items": {"type": "number"}}', '{"items": {"type": "integer"}}', 'no'),
	('items widened', '{"items": {"type": "integer"}}', '{"items": {"type": "number"}}', 'yes'),
	('place to items', '{"prefixItems": [{"type": "integer"}], "items": {"type": "integer"}}', '{"items": {"type": "integer"}}', ''),
	('place beyond maxItems', '{"maxItems": 1}', '{"maxItems": 1, "prefixItems": [{}, {"type": "string"}]}', ''),
	('maxItems lowered', '{"maxItems": 3}', '{"maxItems": 2}', 'no'),
	('uniqueItems added', '{"type": "array"}', '{"type": "array", "uniqueItems": true}', 'no'),
	('uniqueItems of one', '{"maxItems": 1}', '{"maxItems": 1, "uniqueItems": true}', ''),
	('contains of all items', '{"items": {"type": "integer"}, "minItems": 2}', '{"contains": {"type": "number"}, "minContains": 2}', ''),
	('contains added', '{"type": "array"}', '{"contains": {"type": "number"}}', ''),
	('alternative added', '{"oneOf": [{"type": "string"}]}', '{"oneOf": [{"type": "string"}, {"type": "null"}]}', 'yes'),
	('alternative removed', '{"oneOf": [{"type": "string"}, {"type": "null"}]}', '{"oneOf": [{"type": "string"}]}', 'no'),
	('alternatives overlap', '{"oneOf": [{"type": "integer"}]}', '{"oneOf": [{"type": "integer"}, {"minimum": 5}]}', '!'),
	('alternative by discriminator', '{"type": "object", "oneOf": [{"required": ["k"], "properties": {"k": {"const": "a"}, "v": {"type": "integer"}}}]}', '{"type": "object", "oneOf": [{"required": ["k"], "properties": {"k": {"const": "b"}}}, {"required": ["k"], "properties": {"k": {"const": "a"}, "v": {"type": "number"}}}]}', ''),
	('type list to anyOf', '{"type": ["integer", "null"]}', '{"anyOf": [{"type": "null"}, {"type": "number", "multipleOf": 0.5}]}', ''),
	('allOf merged', '{"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]}', '{"required": ["a"], "properties": {"a": {"type": "number"}}}', ''),
	('allOf branch added', '{"allOf": [{"required": ["a"]}]}', '{"allOf": [{"required": ["a"]}, {"required": ["b"]}]}', 'no'),
	('not of a type', '{"type": ["string", "integer"]}', '{"not": {"type": "null"}}', ''),
	('not widened', '{"not": {"type": "integer"}}', '{"not": {"type": "number"}}', 'no'),
	('not narrowed', '{"not": {"type": "number"}}', '{"not": {"type": "integer"}}', ''),
	('if, the same', '{"if": {"required": ["a"]}, "then": {"required": ["b"]}}', '{"if": {"required": ["a"]}, "then": {"required": ["b"]}}', ''),
	('if, met by all', '{"required": ["a", "b"]}', '{"if": {"required": ["a"]}, "then": {"required": ["b"]}}', ''),
	('if added', '{"required": ["a"]}', '{"if": {"required": ["a"]}, "then": {"required": ["b"]}}', ''),
	('$ref to the same', '{"type": "integer"}', '{"$ref": "#/$defs/i", "$defs": {"i": {"type": "integer"}}}', 'yes'),
	('recursive, widened', '{"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/n"}}}}}', '{"$ref": "#/$defs/m", "$defs": {"m": {"properties": {"v": {"type": "number"}, "next": {"$ref": "#/$defs/m"}}}}}', 'yes'),
	('recursive, narrowed', '{"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"v": {"type": "number"}, "next": {"$ref": "#/$defs/n"}}}}}', '{"$ref": "#/$defs/n", "$defs": {"n": {"properties": {"v": {"type": "integer"}, "next": {"$ref": "#/$defs/n"}}}}}', 'no'),
	('unevaluated, the same', '{"properties": {"a": {}}, "unevaluatedProperties": false}', '{"properties": {"a": {}}, "unevaluatedProperties": false}', ''),
	('unevaluated, a property more', '{"properties": {"a": {}}, "unevaluatedProperties": false}', '{"properties": {"a": {}, "b": {}}, "unevaluatedProperties": false}', ''),
	('$dynamicRef, the same', '{"$dynamicAnchor": "x", "items": {"$dynamicRef": "#x"}}', '{"$dynamicAnchor": "x", "items": {"$dynamicRef": "#x"}}', ''),
	('draft 7 to 2020-12', '{"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}], "additionalItems": false}', '{"prefixItems": [{"type": "number"}], "items": false}', ''),
	('nothing accepted before', '{"type": "integer", "minimum": 2, "exclusiveMaximum": 2}', '{"type": "string"}', '');
SELECT n, change, confluent, b, bs, f, fs, b AND f AS full_, bs AND fs AS full_strict
	FROM (SELECT n, change, confluent, atp.schema_compatibility(old, new) AS b, atp.schema_compatibility(old, new, 'BACKWARD_STRICT') AS bs,
			atp.schema_compatibility(old, new, 'FORWARD') AS f, atp.schema_compatibility(old, new, 'FORWARD_STRICT') AS fs FROM pair) v
	ORDER BY n;

-- FULL is both; a list of differences is empty where the verdict is yes, and nowhere else; NONE has none; words that mean the same.
SELECT n, m FROM pair, unnest(ARRAY['BACKWARD', 'FORWARD', 'FULL', 'BACKWARD_STRICT', 'FORWARD_STRICT', 'FULL_STRICT']) m
	WHERE atp.schema_compatibility(old, new, m) <> NOT EXISTS (SELECT FROM atp.schema_differences(old, new, m))
	OR atp.schema_compatibility(old, new, replace(m, '_STRICT', '_TRANSITIVE_STRICT')) <> atp.schema_compatibility(old, new, m)
	OR (m LIKE 'FULL%' AND atp.schema_compatibility(old, new, m) <> (atp.schema_compatibility(old, new, replace(m, 'FULL', 'BACKWARD')) AND
		atp.schema_compatibility(old, new, replace(m, 'FULL', 'FORWARD'))));
SELECT count(*) FROM pair WHERE NOT atp.schema_compatibility(old, new, 'NONE') OR atp.schema_compatibility(old, new, 'BACKWARD_LENIENT') <> atp.schema_compatibility(old, new);

-- What the differences say.
SELECT n, d.* FROM pair, atp.schema_differences(old, new, 'BACKWARD_STRICT') d ORDER BY n, location COLLATE "C", why COLLATE "C";
SELECT * FROM atp.schema_differences('{"type": "object", "properties": {"a": {"type": "string"}, "b": {"minimum": 1}}, "required": ["a"]}',
	'{"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": {"minimum": 2}, "c": {"type": "integer"}}, "required": ["b"], "additionalProperties": false}', 'FULL_STRICT');
SELECT atp.schema_compatibility('{}', '{}', 'backward');
SELECT atp.schema_compatibility('{}', '{"type": "x"}');
SELECT atp.schema_compatibility('{}', NULL) IS NULL;

-- The registry asks before it takes a version.
SELECT atp.register_schema('SampleTaken', '{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}, "depth": {"type": "number"}}}');
SELECT atp.register_schema('SampleTaken', '{"type": "object", "required": ["id", "site"], "properties": {"id": {"type": "string"}, "depth": {"type": "number", "minimum": 0}}}');
SELECT atp.register_schema('SampleTaken', '{"type": "object", "required": ["id"], "properties": {"id": {"type": "number"}, "depth": {"type": "number"}, "site": {"type": "string"}}}');
SELECT atp.register_schema('SampleTaken', '{"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}}', 'FULL_STRICT');
SELECT atp.register_schema('SampleTaken', '{"type": "object"}', 'NONE', status => 'draft');
SELECT schema_version, status, compatibility FROM atp.list_schemas('SampleTaken');
-- A draft is checked again when it becomes active: meanwhile the active version may be another one.
SELECT atp.register_schema('ProbeSent', '{"properties": {"a": {"type": "integer"}}}');
SELECT atp.register_schema('ProbeSent', '{"properties": {"a": {"type": "integer", "minimum": 1}}}', 'FORWARD', status => 'draft');
SELECT atp.register_schema('ProbeSent', '{"properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"]}', 'NONE');
SELECT atp.set_schema_status('ProbeSent', 2, 'active');
SELECT schema_version, status FROM atp.list_schemas('ProbeSent');
-- The first schema may set the mode of the type. TRANSITIVE: every version counts, the retired ones too, because their events are kept.
SELECT atp.register_schema('GaugeRead', '{"required": ["a"], "properties": {"a": {"enum": [1, 2]}}}', 'BACKWARD_TRANSITIVE');
SELECT atp.register_schema('GaugeRead', '{"required": ["a"], "properties": {"a": {"enum": [2]}}}', 'NONE');
SELECT atp.register_schema('GaugeRead', '{"required": ["a"], "properties": {"a": {"enum": [2, 3]}}}');
SELECT atp.set_schema_status('GaugeRead', 1, 'retired');
SELECT atp.register_schema('GaugeRead', '{"required": ["a"], "properties": {"a": {"enum": [2, 3]}}}');
SELECT atp.register_schema('GaugeRead', '{"required": ["a"], "properties": {"a": {"enum": [2, 3]}}}', 'BACKWARD');
SELECT compatibility FROM atp.event_types WHERE event_type = 'GaugeRead';

-- Fields of event types for typed languages: kinds, references, and numbers that no later version changes.
SELECT atp.register_schema('FieldOrderPlaced', '{"type": "object", "required": ["order-id", "lines"], "properties": {
	"order-id": {"type": "string", "description": "Its number."}, "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}, "note": {"type": ["string", "null"]},
	"free": {"type": "object"}, "any": true, "tree": {"$ref": "#/$defs/tree"}},
	"$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string"}, "count": {"type": "integer"}}, "required": ["sku"]},
		"tree": {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}}}}');
SELECT path, name, number, kind, item_kind, required, nullable, active FROM atp_internal.list_fields('FieldOrderPlaced');
SELECT atp.register_schema('FieldOrderPlaced', '{"type": "object", "required": ["added"], "properties": {
	"added": {"type": "number"}, "order-id": {"type": "string"}, "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}, "a": {"type": "boolean"}}}}}}',
	'NONE');
SELECT path, name, number, kind, active FROM atp_internal.list_fields('FieldOrderPlaced');
\pset format unaligned
\pset tuples_only on
SELECT atp.generate_protobuf('FieldOrderPlaced');
SELECT jsonb_pretty(atp.generate_avro('FieldOrderPlaced'));
SELECT atp.generate_protobuf('HashChainValidationFailed');
SELECT content FROM atp.generate_eventcatalog() WHERE path = 'events/FieldOrderPlaced/index.mdx';
SELECT jsonb_pretty(atp.generate_asyncapi() #> '{components,messages,FieldOrderPlaced}');
SELECT atp.generate_asyncapi() #>> '{components,schemas,FieldOrderPlaced,properties,lines,items,properties,a,type}';
SELECT atp.generate_avro('NothingRegistered') IS NULL, atp.generate_protobuf('NothingRegistered') IS NULL;

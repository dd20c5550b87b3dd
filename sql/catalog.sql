-- The catalogue: the event types of the platform and those that applications describe.
\set SHOW_CONTEXT never
SELECT event_type, kind, category, schema_version, emitted FROM atp.event_type_catalog
	WHERE builtin ORDER BY category COLLATE "C", event_type COLLATE "C";
SELECT event_type, description, producers, consumers, rules, idempotency_key, owner FROM atp.event_type_catalog WHERE event_type = 'PolicyUpdated';
SELECT jsonb_pretty(schema -> 'properties' -> 'UpdatedBy') AS updated_by, jsonb_pretty(example) AS example, jsonb_pretty(retry) AS retry,
	jsonb_pretty(dead_letter) AS dead_letter, jsonb_pretty(monitoring) AS monitoring
	FROM atp.event_type_catalog WHERE event_type = 'PolicyUpdated' \gx

-- what the platform says of its own cannot be changed
SELECT atp.register_schema('PolicyUpdated', '{"type": "object"}');
SELECT atp.document_event_type('PolicyUpdated', '{"note": "mine"}');

-- an application's type
SELECT atp.register_event_type('CatalogOrderPlaced', 'A customer placed an order.');
SELECT atp.register_schema('CatalogOrderPlaced', '{"type": "object", "properties": {"amount": {"type": "number", "description": "In euros."}}, "required": ["amount"]}');
SELECT atp.document_event_type('CatalogOrderPlaced', '{"kind": "integration", "category": "sales", "producers": ["shop"], "consumers": ["billing", "stock"],
	"rules": ["An order has one customer."], "idempotency_key": "OrderId", "retry": {"max_attempts": 5}, "example": {"amount": 12.5}}');
SELECT atp.document_event_type('CatalogOrderPlaced', '{"note": "See the handbook.", "retry": null}');
SELECT * FROM atp.event_type_catalog WHERE event_type = 'CatalogOrderPlaced' \gx
SELECT atp.document_event_type('CatalogOrderPlaced', '{"example": {"amount": "much"}, "kind": "domain"}');
SELECT atp.document_event_type('CatalogOrderPlaced', '{"colour": "red", "kind": "big", "producers": "shop"}');
SELECT atp.document_event_type('NothingRegistered', '{}');
SELECT kind, consumers FROM atp.event_type_catalog WHERE event_type = 'CatalogOrderPlaced';
-- one that nobody described
SELECT stream_version FROM atp.append_event('catalog-1', 'CatalogThingDone', '{}');
SELECT event_type, kind, category, schema_version, emitted, builtin FROM atp.event_type_catalog WHERE event_type LIKE 'Catalog%' ORDER BY 1;

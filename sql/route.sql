-- Routes: events translated into those of the published language, exactly once; and handed to a subscription by name.
CREATE FUNCTION public.route_translation(event jsonb) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT CASE WHEN event #>> '{payload,n}' = '3' THEN NULL WHEN event #>> '{payload,n}' = '4' THEN jsonb_build_object('bad', 1 / 0)
		ELSE jsonb_build_object('double', (event #>> '{payload,n}')::int * 2) END $$;
CREATE PROCEDURE public.wait_for(condition text) LANGUAGE plpgsql AS $$
DECLARE
	ok boolean := false;
BEGIN
	FOR i IN 1..600 LOOP
		COMMIT;
		EXECUTE 'SELECT ' || condition INTO ok;
		EXIT WHEN ok;
		PERFORM pg_sleep(0.05);
	END LOOP;
	IF NOT ok THEN
		RAISE WARNING 'not within 30 seconds: %', condition;
	END IF;
END $$;
SELECT atp.create_subscription('orders', categories => '{routed}', event_types => '{OrderPlaced}', start_at => 'end') >= 0 AS created;
SELECT atp.create_subscription('doubles', categories => '{routed}', event_types => '{OrderPlaced}', start_at => 'end', max_attempts => 1) >= 0 AS created;
SELECT atp.create_subscription('nobodys', categories => '{nothing}', start_at => 'end') >= 0 AS created;
\set VERBOSITY sqlstate
SELECT atp.create_route('r', 'orders');
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice-1');
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice-1', '{"a": "$.("}');
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice-{$.(}', '{}');
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice-1', '[]');
SELECT atp.create_route('r', 'orders', target_subscription => 'unknown');
SELECT atp.create_route('r', 'unknown', 'InvoiceRequested', 'invoice-1', '{}');
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice-1', function => 'pg_catalog.now()');
\set VERBOSITY default
SELECT atp.create_route('to-invoice', 'orders', 'InvoiceRequested', 'invoice-{$.data.order}',
	'{"OrderId": "$.data.order", "Placed": "$.type", "Missing": "$.data.nothing", "Currency": "EUR", "Sign": {"$literal": "$"}, "Lines": "$.data.lines[*] ? (@.n > 1)"}');
SELECT atp.create_route('to-invoice', 'orders', 'InvoiceRequested', 'invoice-{$.data.order}',
	'{"OrderId": "$.data.order", "Currency": "EUR", "Sign": {"$literal": "$"}, "Line": "$.data.lines[*] ? (@.n > 1)", "Missing": "$.data.nothing"}');
SELECT atp.create_route('to-nobody', 'orders', target_subscription => 'nobodys', step => 2);
SELECT atp.create_route('to-double', 'doubles', 'AmountDoubled', 'double-{$.subject}', function => 'public.route_translation(jsonb)');
SELECT max((atp.append_event('routed-' || n, 'OrderPlaced', jsonb_build_object('order', 'o' || n, 'n', n, 'lines', '[{"n": 1}, {"n": 2}]'::jsonb),
	metadata => '{"actor": "me", "correlation_id": "c-7"}')).stream_version) FROM generate_series(1, 4) n;
CALL public.wait_for($$ (SELECT count(*) FROM atp.events WHERE event_type = 'InvoiceRequested') = 4
	AND (SELECT count(*) FROM atp_internal.dead_letter) = 1 AND (SELECT count(*) FROM atp.events WHERE event_type = 'AmountDoubled') = 2 $$);
SELECT stream, stream_version, payload FROM atp.events WHERE event_type IN ('InvoiceRequested', 'AmountDoubled') ORDER BY stream;
SELECT DISTINCT e.metadata - '{causation_id,$stream}'::text[] AS metadata, s.stream = replace(e.stream, 'invoice-o', 'routed-') AS caused_by_its_order
	FROM atp.events e JOIN atp.events s ON s.event_id = atp.ulid_to_uuid(e.metadata ->> 'causation_id') WHERE e.event_type = 'InvoiceRequested';
SELECT last_error FROM atp_internal.dead_letter WHERE last_error LIKE 'TP343%';
-- what was handed to a subscription by name waits there, though its filter takes nothing
CALL public.wait_for($$ (SELECT count(*) FROM atp_internal.retry r JOIN atp_internal.subscription s USING (subscription) WHERE s.name = 'nobodys') = 4 $$);
SELECT min(attempt) AS attempt, count(*) > 0 AS claimed FROM atp.claim_events('nobodys');
SELECT route, version, subscription, event_type, stream, function, target_subscription FROM atp.routes ORDER BY 1, 2;
-- by hand
SELECT atp.route_event(event_id, 'nobodys') AS routed, atp.route_event(event_id, 'nobodys') AS again FROM atp.events WHERE event_type = 'AmountDoubled' AND payload ->> 'double' = '2';
\set VERBOSITY sqlstate
SELECT atp.route_event('00000000-0000-0000-0000-000000000001', 'nobodys');
\set VERBOSITY default
SELECT atp.drop_subscription(s) FROM unnest(ARRAY['orders', 'doubles', 'nobodys']) s;
SELECT count(*) AS routes FROM atp_internal.route;
DROP FUNCTION public.route_translation(jsonb);
DROP PROCEDURE public.wait_for(text);

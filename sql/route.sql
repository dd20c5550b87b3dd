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
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice-1', '{"a": "$price"}');
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice-{$.data.order', '{}');
SELECT atp.create_route('r', 'orders', 'InvoiceRequested', 'invoice', '{}');
SELECT atp.create_route('r', 'orders', 'RequestInvoice', 'invoice-1', '{}');
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
-- A route that certainly feeds itself is refused.
\set SHOW_CONTEXT never
SELECT atp.create_subscription('echoes', categories => '{echo,e_*}', start_at => 'end') >= 0 AS created;
SELECT atp.create_subscription('answers', categories => '{answer}', start_at => 'end') >= 0 AS created;
SELECT atp.create_route('echo', 'echoes', 'Echoed', 'echo-1', '{}');
SELECT atp.create_route('echo', 'echoes', 'Echoed', 'e_cho-1', '{}');
SELECT atp.create_route('self', 'echoes', target_subscription => 'echoes');
SELECT atp.create_route('there', 'echoes', target_subscription => 'nobodys');
SELECT atp.create_route('and-on', 'nobodys', target_subscription => 'answers');
SELECT atp.create_route('and-back', 'answers', target_subscription => 'echoes');
SELECT atp.create_route('there', 'echoes', 'Answered', 'exo-1', '{}');
SELECT atp.drop_handler('and-on');
SELECT atp.create_route('and-back', 'answers', target_subscription => 'echoes');
SELECT atp.drop_handler(h) FROM unnest('{there,and-back}'::text[]) h;
-- One of which that depends on the events ends after eight rounds, for good, and others go on meanwhile.
SELECT atp.alter_subscription('echoes', filter => '$.data.n > 0');
SELECT atp.create_route('echo', 'echoes', 'Echoed', 'echo-{$.data.n}', '{"n": "$.data.n"}');
SELECT count((atp.append_event('echo-' || n, 'Said', jsonb_build_object('n', n))).hash) FROM generate_series(0, 2) n;
CALL public.wait_for($$ (SELECT count(*) FROM atp_internal.dead_letter WHERE last_error LIKE 'TP344%') = 2 $$);
SELECT stream, event_type, count(*) FROM atp.events WHERE stream LIKE 'echo-_' GROUP BY 1, 2 ORDER BY 1, 2 DESC;
SELECT subscription, stream, event_type, reason, attempts, last_error FROM atp.dead_letter WHERE last_error LIKE 'TP344%' ORDER BY stream;
-- So do two that feed each other, one of them by its name; what an event's metadata says of itself is nobody's business.
SELECT atp.drop_handler('echo');
SELECT atp.create_route('answer', 'echoes', target_subscription => 'answers');
SELECT atp.create_route('ask', 'answers', 'Asked', 'echo-{$.data.n}', '{"n": "$.data.n"}');
SELECT count((atp.append_event('echo-9', 'Said', '{"n": 9}',
	metadata => '{"route": "answer", "route_version": 1, "route_hops": 99, "hops": 99, "causation_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}')).hash);
CALL public.wait_for($$ (SELECT count(*) FROM atp_internal.dead_letter WHERE last_error LIKE 'TP344%') = 3 $$);
SELECT stream, event_type, count(*) FROM atp.events WHERE stream = 'echo-9' GROUP BY 1, 2 ORDER BY 1, 2 DESC;
SELECT subscription, stream, reason, attempts, last_error FROM atp.dead_letter WHERE last_error LIKE 'TP344%' AND stream = 'echo-9';
-- A longer way may be allowed, and the dead letter be replayed.
ALTER SYSTEM SET atp.route_max_hops = 9;
SELECT pg_reload_conf();
SELECT pg_sleep(0.5);	-- the process of the route has read it by then
SELECT count(*) FROM atp.replay_dead_letters('{"stream": "echo-9"}');
CALL public.wait_for($$ (SELECT count(*) FROM atp_internal.dead_letter WHERE last_error LIKE 'TP344%') = 4 $$);
SELECT subscription, redelivery_of IS NOT NULL AS replayed, last_error FROM atp.dead_letter WHERE stream = 'echo-9' ORDER BY dead_letter DESC LIMIT 1;
ALTER SYSTEM RESET atp.route_max_hops;
SELECT pg_reload_conf();
SELECT atp.drop_subscription(s) FROM unnest(ARRAY['orders', 'doubles', 'nobodys', 'echoes', 'answers']) s;
SELECT count(*) AS routes FROM atp_internal.route;
DROP FUNCTION public.route_translation(jsonb);
DROP PROCEDURE public.wait_for(text);

-- Event types: names in the past tense, registered on first use or refused.
\set SHOW_CONTEXT never
SELECT atp.register_event_type('InvoicePaid', 'A customer paid an invoice.');
SELECT name, builtin, description FROM atp_internal.event_type WHERE name = 'InvoicePaid';
SELECT atp.register_event_type('InvoicePaid');
SELECT atp.register_event_type('ReceiveAuditEvent');
SELECT atp.register_event_type('AuditEvent');
SELECT atp.register_event_type('invoicePaid');
SELECT atp.register_event_type('Invoice-Paid');
SELECT atp.register_event_type(NULL);
\set VERBOSITY terse
DO $$
DECLARE
	name text;
	verdict text;
BEGIN
	FOREACH name IN ARRAY ARRAY['AuditEventReceived', 'AuditEventReceivedV2', 'OrderPlacedV10', 'OrderSent', 'PasswordReset', 'TripBegun',
		'UserMFAEnabled', 'ContractAgreed', 'ThingHappened', 'Created', 'SIEMEventPublished', 'OrderWithdrawn',
		'PlaceOrder', 'OrderSpeed', 'OrderNeed', 'OrderPlacedV0', 'OrderPlacedV', 'Order Placed', '', 'Ordered!', 'OrderEmbed', 'ÖrderPlaced',
		repeat('A', 126) || 'ed', repeat('A', 127) || 'ed'] LOOP
		BEGIN
			PERFORM atp.register_event_type(name);
			verdict := 'ok';
		EXCEPTION WHEN OTHERS THEN
			verdict := sqlstate;
		END;
		RAISE NOTICE '% %', rpad(left(name, 24), 24), verdict;
	END LOOP;
END $$;
\set VERBOSITY default
SET atp.event_type_policy = registered;
SELECT stream_version FROM atp.append_event('invoice-1', 'InvoicePaid', '{}');
SELECT atp.append_event('invoice-1', 'InvoiceSent', '{}');
RESET atp.event_type_policy;
SELECT stream_version FROM atp.append_event('invoice-1', 'InvoiceSent', '{}');
-- a type registered by a transaction that rolled back is not remembered
BEGIN;
SELECT stream_version FROM atp.append_event('invoice-1', 'InvoiceShredded', '{}');
ROLLBACK;
SET atp.event_type_policy = registered;
SELECT stream_version FROM atp.append_event('invoice-1', 'InvoiceShredded', '{}');
RESET atp.event_type_policy;

-- Waiting for events.
CREATE FUNCTION atp.wait_for_events(subscription text, timeout interval DEFAULT '30 seconds', tenant text DEFAULT NULL) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_wait_for_events';
COMMENT ON FUNCTION atp.wait_for_events(text, interval, text) IS
'Wait until a claim would find events, at most for a time.
Returns false when the time is over. Another consumer may be faster. The transaction''s snapshot stays open meanwhile: call it in a transaction of its own.
Raises: TP202, TP300 (no such subscription), 22023 (timeout).';
REVOKE ALL ON FUNCTION atp.wait_for_events(text, interval, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.wait_for_events(text, interval, text) TO atp_reader, atp_admin;

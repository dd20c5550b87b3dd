-- Calls of the functions of handlers and routes.
CREATE FUNCTION atp_internal.call_handler(function text, event jsonb, timeout_ms int, run_as text, OUT failure text, OUT result jsonb)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_call_handler';
COMMENT ON FUNCTION atp_internal.call_handler(text, jsonb, int, text) IS
'Call a handler''s function in a subtransaction; return its failure or result.
failure is SQLSTATE: message, and what the function did is rolled back; NULL where it succeeded. result is NULL unless the function returns jsonb. A function that catches the cancellation at its timeout and goes on for two seconds ends with its process.';
REVOKE ALL ON FUNCTION atp_internal.call_handler(text, jsonb, int, text) FROM PUBLIC;

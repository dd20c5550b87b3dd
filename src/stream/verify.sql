-- Verification of streams.
CREATE FUNCTION atp.verify_stream(stream text, tenant text DEFAULT NULL,
		OUT ok boolean, OUT checked bigint, OUT first_fault_version bigint, OUT fault text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE COST 10000 AS 'MODULE_PATHNAME', 'atp_verify_stream';
COMMENT ON FUNCTION atp.verify_stream(text, text) IS
'Verify a stream.
Every hash is recomputed from what is stored; links, versions without gaps and the head are compared. checked counts the events up to the first fault. A stream that does not exist is not ok; one whose head says version 0 is ok with 0 checked. What this transaction has appended is included. tenant NULL means that of the setting atp.tenant.
Raises: 22004 (stream is NULL), TP202 (no such tenant).';
REVOKE ALL ON FUNCTION atp.verify_stream(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp.verify_stream(text, text) TO atp_reader, atp_auditor, atp_admin;

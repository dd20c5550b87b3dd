-- What holds the claims of a subscription back.
CREATE FUNCTION atp_internal.claim_obstacle(subscription text, tenant text, OUT obstacle text, OUT retry_after interval)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'atp_admission_obstacle';
COMMENT ON FUNCTION atp_internal.claim_obstacle(text, text) IS
'Say which breaker or limit keeps a claim from giving events now.
NULLs where none does. retry_after is NULL where it is not known: a breaker isolated by hand, events in flight.
Raises: TP202, TP300 (no such subscription).';
REVOKE ALL ON FUNCTION atp_internal.claim_obstacle(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION atp_internal.claim_obstacle(text, text) TO atp_reader, atp_auditor, atp_admin;

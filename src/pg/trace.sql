-- W3C Trace Context: the two headers by which events join a distributed trace.
CREATE FUNCTION atp.traceparent_parse(traceparent text) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_trace_traceparent_parse';
COMMENT ON FUNCTION atp.traceparent_parse(text) IS
'Parse a W3C traceparent header.
Returns {version, trace_id, parent_id, flags}, all lower-case hexadecimal, or NULL where the value is not valid. White space around it is
dropped. A version after 00 may go on after another dash, which is not looked at; version ff is not valid.';

CREATE FUNCTION atp.tracestate_parse(tracestate text) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_trace_tracestate_parse';
COMMENT ON FUNCTION atp.tracestate_parse(text) IS
'Parse a W3C tracestate header.
Returns [[key, value], ...] in the order of the header, or NULL where it is not valid: a member malformed, or more than 32. Empty members
and white space around members are dropped; a key that comes twice is returned twice. Level 2 of the recommendation, which takes all
that level 1 does. Several headers of one request are joined with commas first.';

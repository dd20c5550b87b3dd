-- Canonical JSON: the bytes that are hashed and stored.
CREATE FUNCTION atp.canonical_json(document jsonb) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_canonical_json';
COMMENT ON FUNCTION atp.canonical_json(jsonb) IS
'Write a document as canonical JSON with its numbers exact.
RFC 8785 (keys by UTF-16 code units, its escapes, no white space), but a number is laid out from its exact decimal digits with
trailing zeros stripped, never through a double: 1.10 and 1.1 are equal, and nothing that jsonb holds is lost. These are the bytes that
events are stored and hashed as. The database must be in UTF8.
Raises: 0A000.';

CREATE FUNCTION atp.canonical_json(document jsonb, profile text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_canonical_json';
COMMENT ON FUNCTION atp.canonical_json(jsonb, text) IS
'Write a document as canonical JSON in a named profile.
Profile "exact" is that of canonical_json(document). Profile "rfc8785" is RFC 8785 to the letter: every number becomes the IEEE double
nearest to it, written with the fewest digits that give the same double; what rounds to zero is 0, what rounds to infinity is refused.
Raises: TP208, 22023, 0A000.';

CREATE FUNCTION atp.canonical_json_text(document text, profile text DEFAULT 'exact') RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_canonical_json_text';
COMMENT ON FUNCTION atp.canonical_json_text(text, text) IS
'Write JSON text as canonical JSON, refusing what is doubtful.
Goes through the strict parser that the verifier uses instead of through jsonb, and so refuses a repeated key, a lone surrogate,
\u0000 and nesting over 10,000; the detail names the byte, from 0. Profiles as in canonical_json(document, profile).
Raises: TP208, 22023, 0A000.';

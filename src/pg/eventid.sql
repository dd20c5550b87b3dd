-- Event ids: ULIDs, held as uuid inside and shown as text in documents that leave the database.
CREATE FUNCTION atp.create_event_id() RETURNS uuid
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'atp_eventid_create_event_id';
COMMENT ON FUNCTION atp.create_event_id() IS
'Create an id for an event: a ULID as uuid.
48 bits of milliseconds since 1970, 80 random bits. Every id orders after all that the same session has made: within a millisecond, or
after the clock stepped back, it is the last one plus one.';

CREATE FUNCTION atp.ulid() RETURNS text
	LANGUAGE c VOLATILE PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid';
COMMENT ON FUNCTION atp.ulid() IS
'Create a ULID in its text form.
26 characters of Crockford''s base 32 in upper case, from the same generator as create_event_id().';

CREATE FUNCTION atp.ulid_next(previous text, at timestamptz) RETURNS text
	LANGUAGE c VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_next';
COMMENT ON FUNCTION atp.ulid_next(text, timestamptz) IS
'Give what a monotonic generator makes after a ULID when the clock says a time.
At a later millisecond than that of the previous one: 80 fresh random bits. At the same or an earlier one: the previous one plus one, and
NULL if its 80 bits are used up.
Raises: TP209, 22008 (a time beyond 10889).';

CREATE FUNCTION atp.ulid_is_valid(ulid text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_is_valid';
COMMENT ON FUNCTION atp.ulid_is_valid(text) IS
'Tell whether a text is a ULID.
26 characters of Crockford''s base 32 in either case, without I, L, O and U, the first at most 7; nothing around them.';

CREATE FUNCTION atp.ulid_to_uuid(ulid text) RETURNS uuid
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_to_uuid';
COMMENT ON FUNCTION atp.ulid_to_uuid(text) IS
'Convert a ULID from text to the same 128 bits as uuid.
Both order alike, but for text under a collation other than C.
Raises: TP209.';

CREATE FUNCTION atp.ulid_from_uuid(id uuid) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_from_uuid';
COMMENT ON FUNCTION atp.ulid_from_uuid(uuid) IS
'Convert the 128 bits of a uuid to the text form of a ULID.
Upper case. Every uuid has one, whatever it was made as.';

CREATE FUNCTION atp.ulid_time(ulid text) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'atp_eventid_ulid_time';
COMMENT ON FUNCTION atp.ulid_time(text) IS
'Give the time in a ULID, to the millisecond.
Raises: TP209.';

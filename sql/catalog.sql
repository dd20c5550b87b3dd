-- The catalogue: the event types that the platform emits itself.
SELECT event_type, name FROM atp_internal.event_type WHERE builtin ORDER BY event_type;

-- The tables can be distributed by tenant with Citus: unique keys contain the tenant, partitions lie one level deep, and no foreign key points
-- at the events or the log. Partitions made at run time are looked at too.
BEGIN;
SELECT plan(6);
SET client_min_messages = warning;
SELECT (atp.append_event('Order-1', 'OrderPlaced')).stream_version = 1 AS appended \gset
CREATE TEMP TABLE holds AS SELECT c.oid, c.oid::regclass AS name, c.relispartition FROM pg_class c WHERE c.relnamespace = 'atp_internal'::regnamespace
	AND c.relkind IN ('r', 'p') AND c.relname <> 'tenant'
	AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant' AND NOT a.attisdropped);
SELECT ok((SELECT count(*) FILTER (WHERE relispartition) >= 1 AND count(*) >= 5 FROM holds), 'there are tables and partitions to look at');
SELECT is_empty($$SELECT h.name, i.indexrelid::regclass FROM holds h JOIN pg_index i ON i.indrelid = h.oid WHERE i.indisunique
	AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = h.oid AND a.attname = 'tenant' AND a.attnum = ANY (i.indkey))$$,
	'each unique key of a table that holds a tenant''s rows contains the tenant');
SELECT is_empty($$SELECT c.conrelid::regclass, c.conname FROM holds h JOIN pg_constraint c ON c.conrelid = h.oid WHERE c.contype = 'x'$$, 'no exclusion constraint');
SELECT is_empty($$SELECT i.inhrelid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid AND c.relnamespace = 'atp_internal'::regnamespace
	WHERE EXISTS (SELECT FROM pg_inherits d WHERE d.inhparent = i.inhrelid) OR c.relkind IN ('p', 'I')$$, 'partitions lie one level deep');
SELECT is_empty($$SELECT conrelid::regclass, conname FROM pg_constraint WHERE contype = 'f' AND confrelid IN (SELECT oid FROM holds WHERE name IN
	('atp_internal.event'::regclass, 'atp_internal.log'::regclass, 'atp_internal.stream'::regclass) OR relispartition)$$,
	'no foreign key points at events, streams or the log');
SELECT is_empty($$SELECT c.conrelid::regclass, c.conname FROM pg_constraint c JOIN holds h ON h.oid = c.conrelid JOIN holds r ON r.oid = c.confrelid
	WHERE c.contype = 'f' AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attname = 'tenant' AND a.attnum = ANY (c.conkey))$$,
	'a foreign key between such tables contains the tenant');
SELECT * FROM finish();
ROLLBACK;

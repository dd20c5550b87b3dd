-- Partitions: premade, made on demand, with everything that the parent has.
SELECT atp.create_partitions() >= 0 AS created;
SELECT atp.create_partitions() AS created_again;
SELECT count(*) > 2 AS several FROM pg_inherits WHERE inhparent = 'atp_internal.event'::regclass;
-- every leaf: the three indexes, its policy, forced row level security, the guard, the owner; and none is a member of the extension
SELECT bool_and((SELECT count(*) FROM pg_index i WHERE i.indrelid = c.oid) = 3) AS indexes,
	bool_and((SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) = 1) AS policy,
	bool_and(c.relrowsecurity AND c.relforcerowsecurity) AS forced,
	bool_and(EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgenabled = 'A')) AS guarded,
	bool_and(c.relowner = 'atp_owner'::regrole) AS owned,
	bool_or(EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')) AS member,
	(SELECT count(*) FROM pg_index i WHERE i.indrelid = 'atp_internal.event'::regclass) AS parent_indexes
FROM pg_inherits h JOIN pg_class c ON c.oid = h.inhrelid WHERE h.inhparent = 'atp_internal.event'::regclass;
-- a shorter interval makes shorter leaves beside the longer ones, never overlapping
SET atp.partition_interval = day;
SET atp.partition_premake = 100;
SELECT atp.create_partitions() > 0 AS created;
SELECT atp.create_partitions() AS created_again;
RESET atp.partition_interval;
RESET atp.partition_premake;
SELECT stream_version FROM atp.append_event('partition-1', 'LeafTested', '{}');

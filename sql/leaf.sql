-- Every event that has a place in the log becomes a leaf of its tenant's tree.
SELECT atp.onboard_tenant('leaf-a') IS NOT NULL AS a, atp.onboard_tenant('leaf-b') IS NOT NULL AS b;
SET ROLE atp_writer;
SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 3, 'OrderPlaced', jsonb_build_object('n', i), tenant => 'leaf-a') FROM generate_series(1, 300) i) appended;
SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 3, 'OrderPlaced', jsonb_build_object('n', i), tenant => 'leaf-b') FROM generate_series(1, 3) i) appended;
RESET ROLE;
SELECT atp.tick() >= 0 AS ticked;
SELECT atp.grow_trees() >= 0 AS grown;
SELECT tenant, size, waiting, halted_reason, changed_at IS NOT NULL AS changed FROM atp.list_trees() WHERE tenant LIKE 'leaf-%';
SELECT atp.grow_trees();

-- Only auditors and administrators see how trees stand, only administrators make them grow.
SET ROLE atp_auditor;
SELECT size FROM atp.list_trees() WHERE tenant = 'leaf-b';
SELECT atp.grow_trees();
RESET ROLE;
SET ROLE atp_reader;
SELECT * FROM atp.list_trees();
RESET ROLE;

-- Resuming a tree that is not stopped does nothing; one of no tenant is an error.
SELECT atp.resume_tree('leaf-a');
SELECT atp.resume_tree('nobody');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT atp.grow_trees();
ROLLBACK;
BEGIN READ ONLY;
SELECT atp.grow_trees();
ROLLBACK;

-- What is stored changes by atp's own functions only.
UPDATE atp_internal.tree SET size = 0;
DELETE FROM atp_internal.tree_edge;
UPDATE atp_internal.tree_tile SET tile = 1;
TRUNCATE atp_internal.leaf_state;

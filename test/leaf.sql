-- Trees of tenants: every leaf is recomputed; sizes across tile boundaries; positions and leaves map both ways.
BEGIN;
SELECT plan(11);
SELECT atp.onboard_tenant('a');
SELECT atp.onboard_tenant('b');
COMMIT;

-- The root by the recursive definition, on 32-byte hashes laid end to end.
CREATE FUNCTION pg_temp.root(links bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	split int := 1;
BEGIN
	IF cardinality(links) = 1 THEN
		RETURN links[1];
	END IF;
	WHILE split * 2 < cardinality(links) LOOP
		split := split * 2;
	END LOOP;
	RETURN sha256('\x01'::bytea || pg_temp.root(links[:split]) || pg_temp.root(links[split + 1:]));
END $$;
CREATE FUNCTION pg_temp.expected(name text, size bigint DEFAULT NULL) RETURNS bytea LANGUAGE sql AS $$
	SELECT pg_temp.root(array_agg(x.hash ORDER BY x.log_position)) FROM (
		SELECT e.hash, l.log_position FROM atp_internal.log l JOIN atp_internal.event e USING (event_id)
		WHERE l.tenant = (SELECT tenant FROM atp_internal.tenant t WHERE t.name = expected.name) ORDER BY log_position LIMIT size) x
$$;
CREATE FUNCTION pg_temp.append(tenant text, number int) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 5, 'OrderPlaced', jsonb_build_object('n', i), tenant => append.tenant) FROM generate_series(1, number) i) x
$$;

SELECT is(pg_temp.append('a', 1), 1::bigint, 'one event');
SELECT atp.tick(), atp.grow_trees();
SELECT is(root, pg_temp.expected('a'), 'root of two leaves: the tenant''s onboarding is the first') FROM atp.list_trees() WHERE tenant = 'a';
SELECT pg_temp.append('a', 253);
SELECT pg_temp.append('b', 3);
SELECT atp.tick(), atp.grow_trees();
SELECT is(root, pg_temp.expected('a'), 'root of 255 leaves') FROM atp.list_trees() WHERE tenant = 'a';
SELECT pg_temp.append('a', 1);
SELECT atp.tick(), atp.grow_trees();
SELECT is(root, pg_temp.expected('a'), 'root of a full tile') FROM atp.list_trees() WHERE tenant = 'a';
SELECT is(size, 256::bigint, 'size of a full tile') FROM atp.list_trees() WHERE tenant = 'a';
SELECT is((SELECT count(*) FROM atp_internal.tree_tile WHERE level = 0 AND tenant <> 0), 1::bigint, 'a full tile is stored');
SELECT pg_temp.append('a', 1000);
SELECT atp.tick(), atp.grow_trees();
SELECT is(root, pg_temp.expected('a'), 'root of 1256 leaves') FROM atp.list_trees() WHERE tenant = 'a';
SELECT is(root, pg_temp.expected('b'), 'root of the other tenant') FROM atp.list_trees() WHERE tenant = 'b';
SELECT is((SELECT count(*) FROM atp_internal.tree_tile WHERE level = 1), 0::bigint, 'no tile of level 1 is full');

SELECT throws_ok($$UPDATE atp_internal.tree SET size = 1$$, 'TP107', NULL, 'the state of a tree cannot be changed by hand');
SELECT throws_ok($$DELETE FROM atp_internal.tree_tile$$, 'TP107', NULL, 'tiles cannot be deleted');
SELECT * FROM finish();

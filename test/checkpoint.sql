-- Checkpoints, keys, proofs, bundles in SQL: every proof is checked with the pure functions, every refusal has its SQLSTATE.
SELECT plan(43);
SET bytea_output = hex;
CREATE TEMP TABLE k AS SELECT 'example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea' AS vkey,
	'PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g' AS skey;
GRANT SELECT ON k TO PUBLIC;
SELECT is(atp.get_checkpoint(), NULL, 'no checkpoint yet');
SELECT is(atp.create_checkpoint() IS NULL OR atp.create_checkpoint() > 0, true, 'nothing, or what the installation recorded');
SELECT throws_ok($$SELECT atp.set_origin('two words')$$, 'TP502', NULL, 'a malformed origin');
SELECT lives_ok($$SELECT atp.set_origin('example.org/log')$$, 'an origin');
SELECT count(*) FROM (SELECT atp.append_event('order-' || i % 7, 'OrderPlaced', jsonb_build_object('n', i)) FROM generate_series(1, 600) i) x;
SELECT atp.onboard_tenant('b');
SELECT count(*) FROM (SELECT atp.append_event('order-1', 'OrderPlaced', jsonb_build_object('n', i), tenant => 'b') FROM generate_series(1, 3) i) x;
SELECT atp.tick();
SELECT throws_ok(format('SELECT atp.prove_event(%L)', (SELECT event_id FROM atp.events WHERE stream = 'order-3' LIMIT 1)), 'TP506', NULL, 'no checkpoint covers the event yet');
SELECT ok(atp.create_checkpoint() > 1, 'a checkpoint over two tenants');
CREATE TEMP TABLE first AS SELECT max(size) AS size FROM atp.list_checkpoints();
SELECT is(atp.create_checkpoint(), size, 'nothing new, the same checkpoint') FROM first;
SELECT throws_ok('SELECT atp.export_bundle()', 'TP506', NULL, 'no export without a signature');

-- keys and signatures
SELECT throws_ok($$SELECT atp.add_signing_key('a+b+c')$$, 'TP503', NULL, 'a malformed key');
SELECT throws_ok(format($$SELECT atp.add_signing_key(%L, 'log', %L)$$, vkey, atp.note_sign(E'atp/key/v1\nsomething\n', skey)), 'TP502', NULL, 'a wrong endorsement') FROM k;
SELECT lives_ok(format('SELECT atp.add_signing_key(%L)', vkey), 'a key') FROM k;
SELECT throws_ok(format('SELECT atp.add_signing_key(%L)', vkey), 'TP503', NULL, 'the same key again') FROM k;
SELECT is(size, (SELECT f.size FROM first f), 'a checkpoint waits for the key') FROM k, atp.get_pending_checkpoint(vkey);
SELECT is(body, format(E'example.org/log\n%s\n%s\n', size, (SELECT encode(root, 'base64') FROM atp.list_checkpoints() LIMIT 1)), 'its three lines') FROM k, atp.get_pending_checkpoint(vkey);
SELECT is(atp.submit_checkpoint(atp.note_sign(p.body, skey)), 1, 'a signature is taken') FROM k, atp.get_pending_checkpoint(vkey) p;
SELECT is(atp.submit_checkpoint(atp.get_checkpoint()), 0, 'and is not new a second time');
SELECT ok(atp.note_verify(atp.get_checkpoint(), vkey), 'the signed checkpoint verifies') FROM k;
SELECT throws_ok(format('SELECT atp.submit_checkpoint(%L)', atp.note_sign(E'example.org/log\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n', skey)), 'TP505', NULL, 'another checkpoint') FROM k;
SELECT throws_ok($$SELECT atp.submit_checkpoint('nonsense')$$, 'TP502', NULL, 'no checkpoint');
SELECT throws_ok($$SELECT atp.set_origin('elsewhere')$$, 'TP505', NULL, 'the origin stands once something is signed');

-- a proof, by hand
CREATE TEMP TABLE proof AS SELECT e.hash, atp.prove_event(e.event_id) AS p FROM atp.events e WHERE stream = 'order-3' AND stream_version = 50;
CREATE FUNCTION pg_temp.hashes(list jsonb) RETURNS bytea[] LANGUAGE sql AS $$SELECT coalesce(array_agg(decode(h, 'hex') ORDER BY n), '{}') FROM jsonb_array_elements_text(list) WITH ORDINALITY x (h, n)$$;
SELECT is(decode(p ->> 'leaf_hash', 'hex'), hash, 'the leaf is the event''s chain link') FROM proof;
SELECT ok(atp.merkle_verify_inclusion(hash, (p ->> 'leaf')::bigint, (p ->> 'tree_size')::bigint, pg_temp.hashes(p -> 'tree_proof'), decode(p ->> 'tree_root', 'hex')),
	'the leaf is in the tenant''s tree') FROM proof;
SELECT ok(atp.merkle_verify_inclusion(sha256('\x00'::bytea || 'atp/tenant-head/v1'::bytea || '\x00'::bytea || uuid_send((p ->> 'log_uid')::uuid) || int8send((p ->> 'tree_size')::bigint)
	|| decode(p ->> 'tree_root', 'hex')), (p ->> 'head_leaf')::bigint, (p ->> 'checkpoint_size')::bigint, pg_temp.hashes(p -> 'head_proof'), decode(p ->> 'checkpoint_root', 'hex')),
	'the tree''s head is in the root log') FROM proof;
SELECT is(p ->> 'checkpoint', atp.get_checkpoint(), 'under the signed checkpoint') FROM proof;
SELECT is((atp.checkpoint_parse(regexp_replace(p ->> 'checkpoint', '\n\n.*$', E'\n')) ->> 'root'), encode(decode(p ->> 'checkpoint_root', 'hex'), 'base64'), 'whose root it is') FROM proof;
SELECT throws_ok($$SELECT atp.prove_event('00000000-0000-0000-0000-000000000000')$$, 'TP111', NULL, 'no such event');

-- growth
SELECT atp.append_event('order-1', 'OrderPlaced');
SELECT atp.tick(), atp.create_checkpoint();
SELECT ok(atp.merkle_verify_consistency(a.size, b.size, atp.prove_consistency(a.size, b.size), a.root, b.root), 'the root log has grown')
	FROM (SELECT * FROM atp.list_checkpoints() ORDER BY size DESC OFFSET 1 LIMIT 1) a, (SELECT * FROM atp.list_checkpoints() ORDER BY size DESC LIMIT 1) b;
SELECT ok(bool_and(previous_size IS NULL OR cardinality(consistency) > 0), 'heads come with proofs') FROM atp.list_heads();
SELECT throws_ok('SELECT atp.prove_consistency(0, 1)', 'TP501', NULL, 'nothing follows from the empty tree');
SELECT throws_ok('SELECT atp.prove_consistency(1, 1000000)', 'TP501', NULL, 'no such size');
SELECT is(atp.prove_consistency(600, 600, 'default'), '{}', 'equal sizes need nothing');

-- a bundle, imported again
SELECT is(event_count, (SELECT (p ->> 'tree_size')::bigint FROM proof), 'a bundle imports, every event of it')
	FROM k, atp.import_bundle((SELECT string_agg(b, E'\n') || E'\n' FROM atp.export_bundle() b), vkey, 'example.org/log');
SELECT is((SELECT (i.event_id, i.stream, i.stream_version, i.hash, i.payload, i.recorded_at)::text FROM atp.imported_events i WHERE i.stream = 'order-3' AND i.stream_version = 50),
	(SELECT (e.event_id, e.stream, e.stream_version, e.hash, e.payload, e.recorded_at)::text FROM atp.events e WHERE e.stream = 'order-3' AND e.stream_version = 50), 'events keep their identity');
SELECT throws_ok(format($$SELECT atp.import_bundle((SELECT string_agg(replace(b, 'OrderPlaced', 'OrderPlaces'), E'\n') || E'\n' FROM atp.export_bundle() b), %L, 'example.org/log')$$, vkey),
	'TP507', NULL, 'one that was edited does not') FROM k;
SELECT throws_ok(format($$SELECT atp.import_bundle((SELECT string_agg(b, E'\n') || E'\n' FROM atp.export_bundle() b), %L, 'elsewhere')$$, vkey), 'TP507', NULL, 'nor one of another origin') FROM k;
SELECT throws_ok($$SELECT atp.export_bundle(stream => 'nothing-1')$$, 'TP103', NULL, 'no such stream');
SELECT throws_ok($$SELECT atp.export_bundle(completeness => 'some')$$, '22023', NULL, 'no such completeness');
SELECT is((SELECT string_agg(event_type, ' ' ORDER BY stream_version) FROM atp.events WHERE stream = (SELECT stream FROM atp.events WHERE event_type = 'ExportCompleted' LIMIT 1)),
	'ExportRequested ExportStarted ExportCompleted', 'an export is recorded');

-- keys end
SELECT lives_ok(format('SELECT atp.retire_signing_key(%L)', vkey), 'a key retires') FROM k;
SELECT is(atp.submit_checkpoint(atp.get_checkpoint()), 0, 'what it signed before stands');
SELECT atp.append_event('order-1', 'OrderPlaced');
SELECT atp.tick(), atp.create_checkpoint();
SELECT throws_ok(format('SELECT atp.submit_checkpoint(%L)', atp.note_sign(p.body, skey)), 'TP503', NULL, 'what it signs now is refused') FROM k, atp.get_pending_checkpoint(vkey) p;
SELECT lives_ok(format('SELECT atp.disown_signing_key(%L)', vkey), 'a key is compromised') FROM k;
SELECT is(atp.get_checkpoint(), NULL, 'and nothing that only it signed stands');
SELECT * FROM finish();

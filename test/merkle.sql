-- Merkle trees and notes: what verification refuses, how NULL is taken, and what the catalogs say of the functions.
BEGIN;
SELECT plan(39);

CREATE TEMP TABLE leaf AS SELECT i, int8send(i) AS data, atp.merkle_leaf_hash(int8send(i)) AS hash FROM generate_series(0, 99) AS i;
CREATE TEMP TABLE tree AS
	SELECT n, (SELECT array_agg(data ORDER BY i) FROM leaf WHERE i < n) AS leaves FROM generate_series(1, 100) AS n;
ALTER TABLE tree ADD root bytea;
UPDATE tree SET root = atp.merkle_root(leaves);

-- A definition that shares nothing with the C code: levels paired up, an odd last one carried over as it is.
CREATE FUNCTION pg_temp.root_by_levels(leaves bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	level bytea[] := ARRAY(SELECT sha256('\x00'::bytea || d) FROM unnest(leaves) WITH ORDINALITY AS u(d, o) ORDER BY o);
BEGIN
	WHILE cardinality(level) > 1 LOOP
		level := ARRAY(SELECT CASE WHEN i < cardinality(level) THEN sha256('\x01'::bytea || level[i] || level[i + 1]) ELSE level[i] END
			FROM generate_series(1, cardinality(level), 2) AS i ORDER BY i);
	END LOOP;
	RETURN level[1];
END $$;
SELECT is_empty('SELECT n FROM tree WHERE root <> pg_temp.root_by_levels(leaves)', 'roots agree with pairing level by level');

SELECT is_empty($$SELECT n, i FROM tree, leaf WHERE i < n AND n % 7 < 2 AND
	atp.merkle_verify_inclusion(hash, i, n, atp.merkle_inclusion_proof(leaves, i), root) IS NOT TRUE$$, 'every leaf is proved');
SELECT is_empty($$SELECT n, i FROM tree, leaf WHERE i < n AND n % 7 < 2 AND
	atp.merkle_verify_inclusion(hash, (i + 1) % n, n, atp.merkle_inclusion_proof(leaves, i), root) AND n > 1$$, 'and at no other place');
SELECT is_empty($$SELECT t.n, s.n FROM tree t, tree s WHERE s.n <= t.n AND t.n % 7 < 2 AND
	atp.merkle_verify_consistency(s.n, t.n, atp.merkle_consistency_proof(t.leaves, s.n), s.root, t.root) IS NOT TRUE$$, 'every beginning is proved');
SELECT is_empty($$SELECT t.n, s.n FROM tree t, tree s, tree o WHERE s.n < t.n AND t.n % 20 = 3 AND o.n = s.n + 1 AND
	atp.merkle_verify_consistency(s.n, t.n, atp.merkle_consistency_proof(t.leaves, s.n), o.root, t.root)$$, 'and of no other tree');

-- One good proof, spoilt in every way.
CREATE TEMP TABLE good AS
	SELECT hash, 37::bigint AS i, 77::bigint AS n, atp.merkle_inclusion_proof(leaves, 37) AS proof, root FROM tree, leaf WHERE n = 77 AND i = 37;
CREATE FUNCTION pg_temp.refuses(condition text, reason text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answer boolean;
BEGIN
	EXECUTE 'SELECT ' || condition || ' FROM good' INTO answer;
	RETURN is(answer, false, reason);
END $$;
SELECT ok(atp.merkle_verify_inclusion(hash, i, n, proof, root), 'the good proof verifies') FROM good;
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, proof[2:], root)', 'first hash missing');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, trim_array(proof, 1), root)', 'last hash missing');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, proof || root, root)', 'a hash too many');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, proof[1] || proof, root)', 'a hash twice');
SELECT pg_temp.refuses($$atp.merkle_verify_inclusion(hash, i, n, proof || ''::bytea, root)$$, 'a hash of no bytes more');
SELECT pg_temp.refuses($$atp.merkle_verify_inclusion(hash, i, n, array_replace(proof, proof[2], ''), root)$$, 'a hash of no bytes instead');
SELECT pg_temp.refuses($$atp.merkle_verify_inclusion(hash, i, n, array_replace(proof, proof[2], proof[2] || '\x00'), root)$$, 'a hash of 33 bytes');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, array_replace(proof, proof[2], NULL), root)', 'a NULL hash');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, array_replace(proof, proof[2], set_bit(proof[2], 9, 1 - get_bit(proof[2], 9))), root)', 'a bit flipped');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, ARRAY[proof, proof], root)', 'an array of arrays');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, array_fill(root, ARRAY[100000]), root)', 'a proof longer than any');
SELECT pg_temp.refuses($$atp.merkle_verify_inclusion(hash, i, n, '{}', root)$$, 'the empty proof');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, n, NULL, root)', 'NULL, which is the empty proof');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, n, n, proof, root)', 'index = size');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, -1, n, proof, root)', 'a negative index');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, 0, proof, root)', 'size 0');
SELECT pg_temp.refuses('atp.merkle_verify_inclusion(hash, i, -77, proof, root)', 'a negative size');
SELECT pg_temp.refuses($$atp.merkle_verify_inclusion(substr(hash, 1, 31), i, n, proof, root)$$, 'a short leaf hash');
SELECT pg_temp.refuses($$atp.merkle_verify_inclusion(hash, i, n, proof, '')$$, 'no root');
SELECT pg_temp.refuses($$atp.merkle_verify_inclusion(sha256('\x01'::bytea || proof[1] || hash), i, n, proof[2:], root)$$, 'a node given as a leaf');
SELECT pg_temp.refuses('atp.merkle_verify_consistency(0, n, proof, root, root)', 'consistency with the empty tree');
SELECT pg_temp.refuses($$atp.merkle_verify_consistency(0, 0, '{}', sha256(''), sha256(''))$$, 'nor of two empty trees');
SELECT pg_temp.refuses('atp.merkle_verify_consistency(n, n, proof, root, root)', 'equal sizes with a proof');
SELECT pg_temp.refuses('atp.merkle_verify_consistency(n, n - 1, proof, root, root)', 'a larger tree first');
SELECT ok(atp.merkle_verify_consistency(n, n, NULL, root, root), 'equal sizes and roots need no proof') FROM good;
SELECT is(atp.merkle_verify_inclusion(hash, NULL, n, proof, root), NULL, 'any other NULL gives NULL') FROM good;

-- Notes and keys.
SELECT ok(NOT atp.vkey_is_valid('') AND NOT atp.note_verify('', '') AND atp.checkpoint_parse('') IS NULL, 'nothing is no key, note or checkpoint');
SELECT is(atp.note_verify(atp.note_sign(E'a\n', 'PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g'),
	'example.org/witness+495e5c70+AT1AF8PoQ4lakrcKp00bfrycmCzPLsSWjMDNVfEq9GYM'), false, 'a note signed by another key');
SELECT throws_ok($$SELECT atp.note_sign(E'a\tb\n', 'x')$$, 'TP502', NULL, 'a text with a control character is not signed');
SELECT throws_ok($$SELECT atp.note_sign(E'a\n', 'PRIVATE+KEY+example.org/log+1c66b9eb+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g')$$,
	'TP503', NULL, 'a signing key with another key''s id is refused');
SELECT throws_ok($$SELECT atp.merkle_inclusion_proof('{\x00}', 1)$$, 'TP501', NULL, 'no proof of a leaf that is not there');
SELECT is(atp.checkpoint_parse(E'lóg\n0\nAA==\n'), '{"origin": "lóg", "size": 0, "root": "AA==", "extension": ""}', 'the parts of a checkpoint');

SELECT is_empty($$SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'atp'::regnamespace AND prosrc LIKE 'atp_merkle_%'
	AND (provolatile <> 'i' OR proparallel <> 's' OR obj_description(oid, 'pg_proc') IS NULL OR NOT has_function_privilege('atp_reader', oid, 'EXECUTE'))$$,
	'every function is immutable, parallel safe, described and for all');
SELECT * FROM finish();
ROLLBACK;

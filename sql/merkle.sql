-- Merkle trees, proofs, signed notes, checkpoints, Ed25519. Leaves are data, not hashes.
CREATE TEMP TABLE tree AS
	SELECT array_agg(convert_to('leaf ' || i, 'UTF8') ORDER BY i) AS leaves FROM generate_series(0, 7) AS i;

SELECT atp.merkle_root('{}') = sha256('') AS empty_tree_is_hash_of_nothing;
SELECT atp.merkle_leaf_hash('\x00') = sha256('\x0000') AS leaf_has_prefix_0;
SELECT n, atp.merkle_root(leaves[:n]) FROM tree, generate_series(0, 8) AS n ORDER BY n;
SELECT atp.merkle_root(ARRAY['\x00', '\x10']::bytea[]) =
	sha256('\x01' || atp.merkle_leaf_hash('\x00') || atp.merkle_leaf_hash('\x10')) AS node_has_prefix_1;

-- Proofs, and what verifies them.
SELECT h AS inclusion_of_5_in_7 FROM tree, unnest(atp.merkle_inclusion_proof(leaves[:7], 5)) AS h;
SELECT h AS consistency_of_6_and_8 FROM tree, unnest(atp.merkle_consistency_proof(leaves, 6)) AS h;
SELECT n, count(*) AS proofs, bool_and(atp.merkle_verify_inclusion(atp.merkle_leaf_hash(leaves[i + 1]), i, n,
		atp.merkle_inclusion_proof(leaves[:n], i), atp.merkle_root(leaves[:n]))) AS verify
FROM tree, generate_series(1, 8) AS n, generate_series(0, n - 1) AS i GROUP BY n ORDER BY n;
SELECT n, count(*) AS proofs, bool_and(atp.merkle_verify_consistency(m, n, atp.merkle_consistency_proof(leaves[:n], m),
		atp.merkle_root(leaves[:m]), atp.merkle_root(leaves[:n]))) AS verify
FROM tree, generate_series(1, 8) AS n, generate_series(1, n) AS m GROUP BY n ORDER BY n;
SELECT atp.merkle_verify_inclusion(index => 2, size => 8, leaf_hash => atp.merkle_leaf_hash('leaf 2'), root => atp.merkle_root(leaves),
		proof => atp.merkle_inclusion_proof(leaves => leaves, index => 2)) AS with_named_arguments FROM tree;

-- Making a proof of what is not there is the caller's error.
SELECT atp.merkle_inclusion_proof('{\x00}', 1);
SELECT atp.merkle_inclusion_proof('{\x00}', -1);
SELECT atp.merkle_inclusion_proof('{}', 0);
SELECT atp.merkle_consistency_proof('{\x00}', 0);
SELECT atp.merkle_consistency_proof('{\x00}', 2);
SELECT atp.merkle_root('{\x00, NULL}');

-- Signed notes. The key is that of RFC 8032 section 7.1, test 1.
\set vkey 'example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea'
\set skey 'PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g'
\set poem 'E\'Ognuno sta solo sul cuor della terra\\ntrafitto da un raggio di sole:\\n\\ned è subito sera.\\n\''
SELECT atp.vkey_is_valid(:'vkey') AS vkey, atp.vkey_is_valid(replace(:'vkey', '1c66b9ea', '1C66B9EA')) AS upper_case_id,
	atp.vkey_is_valid(replace(:'vkey', 'log', 'lag')) AS other_name, atp.vkey_is_valid(:'skey') AS secret;
SELECT atp.note_sign(:poem, :'skey') AS note \gset
\echo :note
SELECT atp.note_verify(:'note', :'vkey') AS verified, atp.note_verify(replace(:'note', 'sole', 'luna'), :'vkey') AS another_text,
	atp.note_verify(:'note' || E'— else.example/key AAAAAAA=\n', :'vkey') AS and_by_an_unknown_key,
	atp.note_verify(:'note' || E'— else.example/key AAAA\n', :'vkey') AS malformed_line;
SELECT atp.note_sign('no new line', :'skey');
SELECT atp.note_sign(E'text\n', :'vkey');

-- Checkpoints.
SELECT atp.checkpoint_parse(E'example.com/log\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n');
SELECT atp.checkpoint_parse(E'log\n18446744073709551615\nAA==\none\ntwo\n');
SELECT atp.checkpoint_parse(E'log\n020852163\nAA==\n') IS NULL AS leading_zero,
	atp.checkpoint_parse(E'log\n1\nAA==\n\n') IS NULL AS empty_extension_line,
	atp.checkpoint_parse(E'log\n1\nAA==\n\n— a AAAAAAA=\n') IS NULL AS note_with_its_signatures;

-- RFC 8032 section 7.1, test 2.
SELECT atp.ed25519_verify('\x3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c', '\x72',
	'\x92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00');

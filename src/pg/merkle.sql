-- Merkle trees (RFC 6962, RFC 9162), signed notes and checkpoints (C2SP), Ed25519 (RFC 8032): pure functions.
CREATE FUNCTION atp.merkle_leaf_hash(leaf bytea) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_leaf_hash';
COMMENT ON FUNCTION atp.merkle_leaf_hash(bytea) IS
'Hash the data of a leaf of a Merkle tree.
SHA-256 of one zero byte and the data (RFC 6962 section 2.1). 32 bytes.';

CREATE FUNCTION atp.merkle_root(leaves bytea[]) RETURNS bytea
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_root';
COMMENT ON FUNCTION atp.merkle_root(bytea[]) IS
'Compute the root of the Merkle tree over some leaves.
Leaves are the data of leaves, in order, which are leaf-hashed here; not leaf hashes. The root of an empty array is SHA-256
of nothing (RFC 6962 section 2.1). 32 bytes.
Raises: 22004 where a leaf is NULL.';

CREATE FUNCTION atp.merkle_inclusion_proof(leaves bytea[], index bigint) RETURNS bytea[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_inclusion_proof';
COMMENT ON FUNCTION atp.merkle_inclusion_proof(bytea[], bigint) IS
'Prove that the leaf of an index is in the tree over some leaves.
Leaves are data, as for merkle_root. The first index is 0. Hashes in the order of RFC 6962 section 2.1.1, leaf side first;
empty for a tree of one leaf.
Raises: TP501 where the index is not in the tree, 22004 where a leaf is NULL.';

CREATE FUNCTION atp.merkle_consistency_proof(leaves bytea[], size1 bigint) RETURNS bytea[]
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_consistency_proof';
COMMENT ON FUNCTION atp.merkle_consistency_proof(bytea[], bigint) IS
'Prove that the first size1 leaves are the beginning of the tree over all.
Leaves are data, as for merkle_root. Hashes in the order of RFC 6962 section 2.1.2; empty where size1 is the number of leaves.
Raises: TP501 where size1 is below 1 or above the number of leaves, 22004 where a leaf is NULL.';

CREATE FUNCTION atp.merkle_verify_inclusion(leaf_hash bytea, index bigint, size bigint, proof bytea[], root bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_verify_inclusion';
COMMENT ON FUNCTION atp.merkle_verify_inclusion(bytea, bigint, bigint, bytea[], bytea) IS
'Verify that a leaf is in the tree of a size and root.
RFC 9162 section 2.1.3.2. False for whatever does not prove it: a hash of another size than 32 bytes, a NULL hash in the proof,
one hash too many or too few, index not in 0 to size - 1. A NULL proof is an empty one; any other NULL gives NULL.';

CREATE FUNCTION atp.merkle_verify_consistency(size1 bigint, size2 bigint, proof bytea[], root1 bytea, root2 bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_verify_consistency';
COMMENT ON FUNCTION atp.merkle_verify_consistency(bigint, bigint, bytea[], bytea, bytea) IS
'Verify that the tree of size1 is the beginning of the tree of size2.
RFC 9162 section 2.1.4.2. False for whatever does not prove it: a hash or root of another size than 32 bytes, one hash too many
or too few, size1 below 1 (nothing follows from consistency with the empty tree) or above size2. Equal sizes need equal
roots and an empty proof. A NULL proof is an empty one; any other NULL gives NULL.';

CREATE FUNCTION atp.ed25519_verify(public_key bytea, message bytea, signature bytea) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_ed25519_verify';
COMMENT ON FUNCTION atp.ed25519_verify(bytea, bytea, bytea) IS
'Verify an Ed25519 signature.
RFC 8032 section 5.1.7. False for a key that is not 32 bytes or a signature that is not 64 too.';

CREATE FUNCTION atp.vkey_is_valid(vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_vkey_is_valid';
COMMENT ON FUNCTION atp.vkey_is_valid(text) IS
'Tell whether a text is a verifier key for signed notes.
C2SP signed-note: name+key id+base64, of type Ed25519 (0x01), with the key id that name and key give.';

CREATE FUNCTION atp.note_verify(note text, vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_note_verify';
COMMENT ON FUNCTION atp.note_verify(text, text) IS
'Verify that a signed note is signed by a verifier key.
C2SP signed-note. False where note or key is malformed, no line is by the key, or any line by the key has a wrong signature. Lines
by other keys are skipped but have to be well formed. At most 1 MiB and 100 signatures.';

CREATE FUNCTION atp.note_has_key(note text, vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_note_has_key';
COMMENT ON FUNCTION atp.note_has_key(text, text) IS
'Tell whether a line of a signed note names a verifier key, right or wrong.
The key is of type Ed25519 (0x01) or cosignature/v1 (0x04). False where note or key is malformed.';

CREATE FUNCTION atp.cosignature_verify(note text, vkey text) RETURNS timestamptz
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_cosignature_verify';
COMMENT ON FUNCTION atp.cosignature_verify(text, text) IS
'Verify a witness''s cosignature on a checkpoint; return the time it states.
C2SP tlog-cosignature v1, key type 0x04. NULL where note or key is malformed, no line is by the key, or a line by it has a wrong signature.';

CREATE FUNCTION atp.witness_vkey_is_valid(vkey text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_witness_vkey_is_valid';
COMMENT ON FUNCTION atp.witness_vkey_is_valid(text) IS
'Tell whether a text is the verifier key of a witness.
C2SP signed-note: name+key id+base64, of type cosignature/v1 (0x04), with the key id that name and key give.';

CREATE FUNCTION atp.note_sign(text text, skey text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_note_sign';
COMMENT ON FUNCTION atp.note_sign(text, text) IS
'Sign a text as a note.
C2SP signed-note: the text, a blank line, one signature line. The key is PRIVATE+KEY+name+key id+base64, of type Ed25519. For
development and tests: a key in a statement is seen by the server, its logs and its owner; atp-signer keeps it outside.
Raises: TP502 where the text is not that of a note, TP503 where the key is malformed.';

CREATE FUNCTION atp.checkpoint_parse(text text) RETURNS jsonb
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'atp_merkle_checkpoint_parse';
COMMENT ON FUNCTION atp.checkpoint_parse(text) IS
'Parse the text of a checkpoint into its parts.
C2SP tlog-checkpoint: {origin, size, root, extension}, root in base64 as it stands, extension lines with their new lines ("" where
there are none). The text is that of the note, without blank line and signatures. NULL where it is not a checkpoint. Nothing
is verified: see note_verify. The size can exceed bigint; the root of a SHA-256 tree has 32 bytes, which is not checked.';

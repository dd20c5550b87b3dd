/*
 * Merkle trees, signed notes and Ed25519 in SQL: thin entry points over core/tree, core/note and core/sign. Pure functions,
 * no state.
 *
 * What verifies answers false for whatever it cannot prove, malformed input included, because its input is the other
 * side's; what makes a proof or a signature raises, because its input is the caller's. Notes are UTF-8: in a database of
 * another encoding text is converted on the way in and out.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "core/note.h"
#include "core/tree.h"
#include "pg/errors.h"

typedef struct ByteaArray
{
	Datum	   *values;
	bool	   *nulls;
	int			count;
} ByteaArray;

static void *
grow(void *context, void *memory, size_t size)
{
	return memory == NULL ? MemoryContextAllocHuge(context, size) : repalloc_huge(memory, size);
}

static ByteaArray
read_array(ArrayType *array)
{
	ByteaArray	read;

	deconstruct_array(array, BYTEAOID, -1, false, TYPALIGN_INT, &read.values, &read.nulls, &read.count);
	return read;
}

static bytea *
make_bytea(const void *bytes, size_t size)
{
	bytea	   *made = palloc(VARHDRSZ + size);

	SET_VARSIZE(made, VARHDRSZ + size);
	memcpy(VARDATA(made), bytes, size);
	return made;
}

static void
hash_failed(void)
{
	ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION), errmsg("could not compute SHA-256")));
}

/* The leaf hashes of an array of leaf data, in memory of the current context. */
static AtpLeaves
hash_leaves(ArrayType *array)
{
	ByteaArray	data = read_array(array);
	AtpLeaves	leaves = {NULL, data.count};
	uint8_t    *hashes = MemoryContextAllocHuge(CurrentMemoryContext, (Size) data.count * ATP_HASH_SIZE + 1);

	for (int i = 0; i < data.count; i++)
	{
		bytea	   *leaf;

		CHECK_FOR_INTERRUPTS();
		if (data.nulls[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("a leaf is null"),
							errdetail("Leaf %d of %d.", i, data.count)));
		leaf = DatumGetByteaPP(data.values[i]);
		if (!atp_tree_leaf(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), hashes + (Size) i * ATP_HASH_SIZE))
			hash_failed();
	}
	leaves.hashes = hashes;
	return leaves;
}

static ArrayType *
proof_to_array(const AtpProof *proof)
{
	Datum		hashes[ATP_PROOF_MAX];

	for (int i = 0; i < proof->count; i++)
		hashes[i] = PointerGetDatum(make_bytea(proof->hash[i], ATP_HASH_SIZE));
	return construct_array(hashes, proof->count, BYTEAOID, -1, false, TYPALIGN_INT);
}

/* A proof from outside, where NULL is the empty one; false: not a list of hashes, or longer than any proof. */
static bool
proof_from_argument(FunctionCallInfo fcinfo, int argument, AtpProof *proof)
{
	ArrayType  *array;
	ByteaArray	hashes;

	proof->count = 0;
	if (PG_ARGISNULL(argument))
		return true;
	array = PG_GETARG_ARRAYTYPE_P(argument);
	if (ARR_NDIM(array) > 1 || ArrayGetNItems(ARR_NDIM(array), ARR_DIMS(array)) > ATP_PROOF_MAX)
		return false;
	hashes = read_array(array);
	for (int i = 0; i < hashes.count; i++)
	{
		bytea	   *hash = hashes.nulls[i] ? NULL : DatumGetByteaPP(hashes.values[i]);

		if (hash == NULL || !atp_proof_add(proof, VARDATA_ANY(hash), VARSIZE_ANY_EXHDR(hash)))
			return false;
	}
	return true;
}

/* A hash from outside; NULL: it has not the size of one. */
static const uint8_t *
hash_from_argument(FunctionCallInfo fcinfo, int argument)
{
	bytea	   *hash = PG_GETARG_BYTEA_PP(argument);

	return VARSIZE_ANY_EXHDR(hash) == ATP_HASH_SIZE ? (const uint8_t *) VARDATA_ANY(hash) : NULL;
}

/* A text argument as UTF-8. */
static AtpText
utf8_from_argument(FunctionCallInfo fcinfo, int argument)
{
	text	   *given = PG_GETARG_TEXT_PP(argument);
	char	   *bytes = VARDATA_ANY(given);
	int			size = VARSIZE_ANY_EXHDR(given);
	char	   *utf8 = pg_server_to_any(bytes, size, PG_UTF8);

	return (AtpText) {utf8, utf8 == bytes ? size : strlen(utf8)};
}

static text *
text_from_utf8(const char *utf8, size_t size)
{
	char	   *bytes = pg_any_to_server(utf8, size, PG_UTF8);

	return cstring_to_text_with_len(bytes, bytes == utf8 ? size : strlen(bytes));
}

static void
push_string(JsonbParseState **state, JsonbIteratorToken token, AtpText utf8)
{
	text	   *string = text_from_utf8(utf8.data, utf8.size);
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = VARDATA_ANY(string);
	value.val.string.len = VARSIZE_ANY_EXHDR(string);
	pushJsonbValue(state, token, &value);
}

static void
push_key(JsonbParseState **state, const char *name)
{
	push_string(state, WJB_KEY, (AtpText) {name, strlen(name)});
}

static void
push_size(JsonbParseState **state, uint64 size)
{
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(psprintf(UINT64_FORMAT, size)),
															ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	pushJsonbValue(state, WJB_VALUE, &value);
}

PG_FUNCTION_INFO_V1(atp_merkle_root);
Datum
atp_merkle_root(PG_FUNCTION_ARGS)
{
	AtpLeaves	leaves = hash_leaves(PG_GETARG_ARRAYTYPE_P(0));
	AtpTreeSource source = atp_tree_leaf_source(&leaves);
	uint8_t		root[ATP_HASH_SIZE];

	if (!atp_tree_root(&source, leaves.count, root))
		hash_failed();
	PG_RETURN_BYTEA_P(make_bytea(root, sizeof(root)));
}

PG_FUNCTION_INFO_V1(atp_merkle_leaf_hash);
Datum
atp_merkle_leaf_hash(PG_FUNCTION_ARGS)
{
	bytea	   *leaf = PG_GETARG_BYTEA_PP(0);
	uint8_t		hash[ATP_HASH_SIZE];

	if (!atp_tree_leaf(VARDATA_ANY(leaf), VARSIZE_ANY_EXHDR(leaf), hash))
		hash_failed();
	PG_RETURN_BYTEA_P(make_bytea(hash, sizeof(hash)));
}

PG_FUNCTION_INFO_V1(atp_merkle_inclusion_proof);
Datum
atp_merkle_inclusion_proof(PG_FUNCTION_ARGS)
{
	AtpLeaves	leaves = hash_leaves(PG_GETARG_ARRAYTYPE_P(0));
	int64		index = PG_GETARG_INT64(1);
	AtpTreeSource source = atp_tree_leaf_source(&leaves);
	AtpProof	proof;

	if (index < 0 || (uint64) index >= leaves.count)
		ereport(ERROR, (errcode(ATP_ERR_INVALID_PROOF), errmsg("leaf index is outside the tree"),
						errdetail("Index " INT64_FORMAT ", " UINT64_FORMAT " leaves.", index, leaves.count)));
	if (!atp_proof_inclusion(&source, index, leaves.count, &proof))
		hash_failed();
	PG_RETURN_ARRAYTYPE_P(proof_to_array(&proof));
}

PG_FUNCTION_INFO_V1(atp_merkle_consistency_proof);
Datum
atp_merkle_consistency_proof(PG_FUNCTION_ARGS)
{
	AtpLeaves	leaves = hash_leaves(PG_GETARG_ARRAYTYPE_P(0));
	int64		size1 = PG_GETARG_INT64(1);
	AtpTreeSource source = atp_tree_leaf_source(&leaves);
	AtpProof	proof;

	if (size1 < 1 || (uint64) size1 > leaves.count)
		ereport(ERROR, (errcode(ATP_ERR_INVALID_PROOF), errmsg("size of the smaller tree is outside the tree"),
						errdetail("Size " INT64_FORMAT ", " UINT64_FORMAT " leaves.", size1, leaves.count),
						errhint("Nothing follows from consistency with the empty tree: the smallest size is 1.")));
	if (!atp_proof_consistency(&source, size1, leaves.count, &proof))
		hash_failed();
	PG_RETURN_ARRAYTYPE_P(proof_to_array(&proof));
}

PG_FUNCTION_INFO_V1(atp_merkle_verify_inclusion);
Datum
atp_merkle_verify_inclusion(PG_FUNCTION_ARGS)
{
	const uint8_t *leaf;
	const uint8_t *root;
	int64		index;
	int64		size;
	AtpProof	proof;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	leaf = hash_from_argument(fcinfo, 0);
	index = PG_GETARG_INT64(1);
	size = PG_GETARG_INT64(2);
	root = hash_from_argument(fcinfo, 4);
	PG_RETURN_BOOL(leaf != NULL && root != NULL && index >= 0 && size > 0 && proof_from_argument(fcinfo, 3, &proof) &&
				   atp_proof_verify_inclusion(leaf, index, size, &proof, root));
}

PG_FUNCTION_INFO_V1(atp_merkle_verify_consistency);
Datum
atp_merkle_verify_consistency(PG_FUNCTION_ARGS)
{
	const uint8_t *root1;
	const uint8_t *root2;
	int64		size1;
	int64		size2;
	AtpProof	proof;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3) || PG_ARGISNULL(4))
		PG_RETURN_NULL();
	size1 = PG_GETARG_INT64(0);
	size2 = PG_GETARG_INT64(1);
	root1 = hash_from_argument(fcinfo, 3);
	root2 = hash_from_argument(fcinfo, 4);
	PG_RETURN_BOOL(root1 != NULL && root2 != NULL && size1 > 0 && size2 > 0 && proof_from_argument(fcinfo, 2, &proof) &&
				   atp_proof_verify_consistency(size1, size2, &proof, root1, root2));
}

PG_FUNCTION_INFO_V1(atp_merkle_ed25519_verify);
Datum
atp_merkle_ed25519_verify(PG_FUNCTION_ARGS)
{
	bytea	   *key = PG_GETARG_BYTEA_PP(0);
	bytea	   *message = PG_GETARG_BYTEA_PP(1);
	bytea	   *signature = PG_GETARG_BYTEA_PP(2);

	PG_RETURN_BOOL(atp_sign_verify((const uint8_t *) VARDATA_ANY(key), VARSIZE_ANY_EXHDR(key),
								   VARDATA_ANY(message), VARSIZE_ANY_EXHDR(message),
								   (const uint8_t *) VARDATA_ANY(signature), VARSIZE_ANY_EXHDR(signature)));
}

PG_FUNCTION_INFO_V1(atp_merkle_note_verify);
Datum
atp_merkle_note_verify(PG_FUNCTION_ARGS)
{
	AtpText		given = utf8_from_argument(fcinfo, 0);
	AtpText		key = utf8_from_argument(fcinfo, 1);
	AtpNote		note;
	AtpVkey		vkey;

	PG_RETURN_BOOL(atp_vkey_parse(key.data, key.size, &vkey) && atp_note_parse(given.data, given.size, &note) &&
				   atp_note_verify(&note, &vkey) == ATP_NOTE_VERIFIED);
}

/* A key of either type, whose lines in the note are looked for. */
static bool
parse_any_vkey(AtpText key, AtpVkey *vkey)
{
	return atp_vkey_parse(key.data, key.size, vkey) || atp_vkey_parse_witness(key.data, key.size, vkey);
}

PG_FUNCTION_INFO_V1(atp_merkle_note_has_key);
Datum
atp_merkle_note_has_key(PG_FUNCTION_ARGS)
{
	AtpText		given = utf8_from_argument(fcinfo, 0);
	AtpNote		note;
	AtpVkey		vkey;
	bool		has = false;

	if (!parse_any_vkey(utf8_from_argument(fcinfo, 1), &vkey) || !atp_note_parse(given.data, given.size, &note))
		PG_RETURN_BOOL(false);
	for (int i = 0; i < note.count && !has; i++)
		has = note.signature[i].key_id == vkey.key_id && note.signature[i].name.size == vkey.name.size &&
			memcmp(note.signature[i].name.data, vkey.name.data, vkey.name.size) == 0;
	PG_RETURN_BOOL(has);
}

PG_FUNCTION_INFO_V1(atp_merkle_cosignature_verify);
Datum
atp_merkle_cosignature_verify(PG_FUNCTION_ARGS)
{
	AtpText		given = utf8_from_argument(fcinfo, 0);
	AtpText		key = utf8_from_argument(fcinfo, 1);
	AtpNote		note;
	AtpVkey		vkey;
	uint64_t	seconds;

	if (!atp_vkey_parse_witness(key.data, key.size, &vkey) || !atp_note_parse(given.data, given.size, &note) ||
		atp_note_verify_cosignature(&note, &vkey, &seconds) != ATP_NOTE_VERIFIED || seconds > PG_INT32_MAX * UINT64CONST(1000))
		PG_RETURN_NULL();
	PG_RETURN_TIMESTAMPTZ(((int64) seconds - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY) * USECS_PER_SEC);
}

PG_FUNCTION_INFO_V1(atp_merkle_witness_vkey_is_valid);
Datum
atp_merkle_witness_vkey_is_valid(PG_FUNCTION_ARGS)
{
	AtpText		given = utf8_from_argument(fcinfo, 0);
	AtpVkey		vkey;

	PG_RETURN_BOOL(atp_vkey_parse_witness(given.data, given.size, &vkey));
}

PG_FUNCTION_INFO_V1(atp_merkle_vkey_is_valid);
Datum
atp_merkle_vkey_is_valid(PG_FUNCTION_ARGS)
{
	AtpText		given = utf8_from_argument(fcinfo, 0);
	AtpVkey		vkey;

	PG_RETURN_BOOL(atp_vkey_parse(given.data, given.size, &vkey));
}

/* Nothing between the parsing of the secret and its wiping may raise: memory is taken before. */
PG_FUNCTION_INFO_V1(atp_merkle_note_sign);
Datum
atp_merkle_note_sign(PG_FUNCTION_ARGS)
{
	AtpText		body = utf8_from_argument(fcinfo, 0);
	AtpText		secret = utf8_from_argument(fcinfo, 1);
	AtpBuf		out;
	AtpSkey		skey;
	bool		usable;
	bool		done;

	if (!atp_note_text_is_valid(body.data, body.size))
		ereport(ERROR, (errcode(ATP_ERR_INVALID_NOTE), errmsg("the text cannot be the text of a note"),
						errdetail("It ends in a new line, has no other control character, and is at most %d bytes long.",
								  ATP_NOTE_MAX_SIZE)));
	atp_buf_init(&out, grow, CurrentMemoryContext);
	atp_buf_reserve(&out, ATP_NOTE_SIGNED_SIZE(body.size, secret.size));
	usable = atp_skey_parse(secret.data, secret.size, &skey);
	done = usable && atp_note_sign(&out, body.data, body.size, &skey);
	atp_sign_wipe(&skey, sizeof(skey));
	if (!usable)
		ereport(ERROR, (errcode(ATP_ERR_INVALID_KEY), errmsg("the signing key is malformed"),
						errhint("A signing key is PRIVATE+KEY+<name>+<key id>+<base64>, of type Ed25519.")));
	if (!done)
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION), errmsg("could not sign with Ed25519")));
	PG_RETURN_TEXT_P(text_from_utf8((char *) out.data, out.size));
}

PG_FUNCTION_INFO_V1(atp_merkle_checkpoint_parse);
Datum
atp_merkle_checkpoint_parse(PG_FUNCTION_ARGS)
{
	AtpText		given = utf8_from_argument(fcinfo, 0);
	JsonbParseState *state = NULL;
	AtpCheckpoint checkpoint;

	if (!atp_checkpoint_parse(given.data, given.size, &checkpoint))
		PG_RETURN_NULL();
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, "origin");
	push_string(&state, WJB_VALUE, checkpoint.origin);
	push_key(&state, "size");
	push_size(&state, checkpoint.size);
	push_key(&state, "root");
	push_string(&state, WJB_VALUE, checkpoint.root_base64);
	push_key(&state, "extension");
	push_string(&state, WJB_VALUE, checkpoint.extension);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

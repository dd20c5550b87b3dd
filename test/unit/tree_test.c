/*
 * Unit and property tests of core/tree. The judge is a literal transcription of the recursive definitions of RFC 6962
 * section 2.1, which shares no line with core/tree.
 */
#include "check.h"

#include "core/tree.h"

#define MAX_LEAVES 300
#define ALL_UP_TO 64			/* every index and pair up to this size, samples above */

/* ---- RFC 6962 section 2.1 as it stands, D[n] being leaf[0] .. leaf[n - 1] ---- */

static uint8_t leaf[MAX_LEAVES][ATP_HASH_SIZE];

static void
node(const uint8_t *left, const uint8_t *right, uint8_t *hash)
{
	const AtpSlice slices[3] = {{"\x01", 1}, {left, ATP_HASH_SIZE}, {right, ATP_HASH_SIZE}};

	atp_sha256_slices(slices, 3, hash);
}

static int
k_of(int n)
{
	int			k = 1;

	while (k * 2 < n)
		k *= 2;
	return k;
}

static void
mth(int first, int n, uint8_t *hash)
{
	uint8_t		left[ATP_HASH_SIZE];
	uint8_t		right[ATP_HASH_SIZE];

	if (n == 0)
		atp_sha256("", 0, hash);
	else if (n == 1)
		memcpy(hash, leaf[first], ATP_HASH_SIZE);
	else
	{
		mth(first, k_of(n), left);
		mth(first + k_of(n), n - k_of(n), right);
		node(left, right, hash);
	}
}

static void
path(int m, int first, int n, AtpProof *proof)
{
	int			k = n > 1 ? k_of(n) : 0;

	if (n == 1)
		return;
	path(m < k ? m : m - k, m < k ? first : first + k, m < k ? k : n - k, proof);
	if (m < k)
		mth(first + k, n - k, proof->hash[proof->count++]);
	else
		mth(first, k, proof->hash[proof->count++]);
}

static void
subproof(int m, int first, int n, bool b, AtpProof *proof)
{
	int			k = n > 1 ? k_of(n) : 0;

	if (m == n)
	{
		if (!b)
			mth(first, n, proof->hash[proof->count++]);
	}
	else if (m <= k)
	{
		subproof(m, first, k, b, proof);
		mth(first + k, n - k, proof->hash[proof->count++]);
	}
	else
	{
		subproof(m - k, first + k, n - k, false, proof);
		mth(first, k, proof->hash[proof->count++]);
	}
}

static bool
same_proof(const AtpProof *a, const AtpProof *b)
{
	return a->count == b->count && memcmp(a->hash, b->hash, (size_t) a->count * ATP_HASH_SIZE) == 0;
}

/* ---- trees ---- */

static bool
no_node_missing(void *context, int level, uint64_t index, const uint8_t hash[ATP_HASH_SIZE])
{
	uint8_t		expected[ATP_HASH_SIZE];

	mth((int) (index << level), 1 << level, expected);
	CHECK(same(expected, hash));
	++*(int *) context;
	return true;
}

static bool
no_sink(void *context, int level, uint64_t index, const uint8_t hash[ATP_HASH_SIZE])
{
	(void) context;
	(void) index;
	(void) hash;
	return level < 1;
}

static void
test_ranges(void)
{
	AtpRange	range;
	AtpRange	loaded;
	uint8_t		root[ATP_HASH_SIZE];
	uint8_t		expected[ATP_HASH_SIZE];
	uint8_t		saved[ATP_TREE_LEVELS * ATP_HASH_SIZE];
	size_t		bytes;
	int			nodes = 0;

	atp_range_init(&range);
	for (int n = 0; n <= MAX_LEAVES; n++)
	{
		AtpLeaves	leaves = {leaf[0], MAX_LEAVES};
		AtpTreeSource source = atp_tree_leaf_source(&leaves);

		mth(0, n, expected);
		CHECK(range.size == (uint64_t) n);
		CHECK(atp_range_root(&range, root) && same(root, expected));
		CHECK(atp_tree_root(&source, (uint64_t) n, root) && same(root, expected));
		bytes = atp_range_save(&range, saved);
		CHECK(atp_range_load(&loaded, (uint64_t) n, saved, bytes) && atp_range_root(&loaded, root) && same(root, expected));
		CHECK(!atp_range_load(&loaded, (uint64_t) n, saved, bytes + ATP_HASH_SIZE));
		CHECK(!atp_range_load(&loaded, (uint64_t) n, saved, bytes + 1));
		CHECK(bytes == 0 || !atp_range_load(&loaded, (uint64_t) n, saved, bytes - ATP_HASH_SIZE));
		if (n == MAX_LEAVES)
			break;
		atp_range_load(&range, (uint64_t) n, saved, bytes);	/* go on with the stored form */
		CHECK(atp_range_append(&range, leaf[n], no_node_missing, &nodes));
	}
	CHECK(nodes == 300 + 150 + 75 + 37 + 18 + 9 + 4 + 2 + 1);	/* each complete node once */

	atp_range_load(&range, 3, saved, 2 * ATP_HASH_SIZE);
	atp_range_root(&range, expected);
	CHECK(!atp_range_append(&range, leaf[0], no_sink, NULL));
	CHECK(range.size == 3 && atp_range_root(&range, root) && same(root, expected));	/* a refused append leaves no trace */
	CHECK(atp_range_load(&range, UINT64_MAX, saved, sizeof(saved)));
	CHECK(!atp_range_append(&range, leaf[0], NULL, NULL));
	CHECK(atp_range_save(&range, saved) == sizeof(saved));
}

static void
refuse_inclusion_mutants(int m, int n, const AtpProof *good, const uint8_t *root)
{
	AtpProof	bad;
	uint8_t		hash[ATP_HASH_SIZE];

	for (int i = 0; i < good->count; i++)
	{
		bad = *good;
		bad.hash[i][draw() % ATP_HASH_SIZE] ^= (uint8_t) (1 << draw() % 8);
		CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, &bad, root));
		bad = *good;				/* without hash i */
		bad.count--;
		memmove(bad.hash[i], bad.hash[i + 1], (size_t) (bad.count - i) * ATP_HASH_SIZE);
		CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, &bad, root));
	}
	for (int i = 0; i <= good->count; i++)	/* one more before hash i: a repeated one, then the root */
	{
		bad = *good;
		memmove(bad.hash[i + 1], bad.hash[i], (size_t) (bad.count - i) * ATP_HASH_SIZE);
		bad.count++;
		memcpy(bad.hash[i], good->hash[i < good->count ? i : 0], ATP_HASH_SIZE);
		CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, &bad, root));
		memcpy(bad.hash[i], root, ATP_HASH_SIZE);
		CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, &bad, root));
	}
	CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) (m + 1), (uint64_t) n, good, root));
	CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) (m - 1), (uint64_t) n, good, root));
	CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, 0, good, root));
	CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) m, good, root));
	CHECK(!atp_proof_verify_inclusion(leaf[(m + 1) % MAX_LEAVES], (uint64_t) m, (uint64_t) n, good, root));
	CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, good, leaf[(m + 1) % MAX_LEAVES]));
	bad = *good;					/* a larger tree's root is not this size's, though the hashes lead there */
	memcpy(bad.hash[bad.count++], leaf[0], ATP_HASH_SIZE);
	node(leaf[0], root, hash);
	CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, &bad, hash));
	node(root, leaf[0], hash);
	CHECK(!atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, &bad, hash));
	if (good->count > 0)			/* the node above as if it were a leaf */
	{
		bad = *good;
		node((m & 1) != 0 ? good->hash[0] : leaf[m], (m & 1) != 0 ? leaf[m] : good->hash[0], hash);
		memmove(bad.hash[0], bad.hash[1], (size_t) --bad.count * ATP_HASH_SIZE);
		CHECK(!atp_proof_verify_inclusion(hash, (uint64_t) m, (uint64_t) n, &bad, root));
	}
}

static void
test_inclusion(int m, int n)
{
	AtpLeaves	leaves = {leaf[0], (uint64_t) n};
	AtpTreeSource source = atp_tree_leaf_source(&leaves);
	AtpProof	expected = {0};
	AtpProof	proof;
	uint8_t		root[ATP_HASH_SIZE];

	mth(0, n, root);
	path(m, 0, n, &expected);
	CHECK(atp_proof_inclusion(&source, (uint64_t) m, (uint64_t) n, &proof) && same_proof(&proof, &expected));
	CHECK(atp_proof_verify_inclusion(leaf[m], (uint64_t) m, (uint64_t) n, &proof, root));
	refuse_inclusion_mutants(m, n, &proof, root);
}

static void
refuse_consistency_mutants(int m, int n, const AtpProof *good, const uint8_t *root1, const uint8_t *root2)
{
	AtpProof	bad;
	uint8_t		above1[ATP_HASH_SIZE];
	uint8_t		above2[ATP_HASH_SIZE];

	bad = *good;					/* roots of larger trees are not these sizes', though the hashes lead there */
	memcpy(bad.hash[bad.count++], leaf[0], ATP_HASH_SIZE);
	node(leaf[0], root1, above1);
	node(leaf[0], root2, above2);
	CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, &bad, above1, above2));
	CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, &bad, root1, above2));
	for (int i = 0; i < good->count; i++)
	{
		bad = *good;
		bad.hash[i][draw() % ATP_HASH_SIZE] ^= (uint8_t) (1 << draw() % 8);
		CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, &bad, root1, root2));
		bad = *good;
		bad.count--;
		memmove(bad.hash[i], bad.hash[i + 1], (size_t) (bad.count - i) * ATP_HASH_SIZE);
		CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, &bad, root1, root2));
	}
	for (int i = 0; i <= good->count; i++)
	{
		bad = *good;
		memmove(bad.hash[i + 1], bad.hash[i], (size_t) (bad.count - i) * ATP_HASH_SIZE);
		bad.count++;
		memcpy(bad.hash[i], root1, ATP_HASH_SIZE);
		CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, &bad, root1, root2));
		memcpy(bad.hash[i], root2, ATP_HASH_SIZE);
		CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, &bad, root1, root2));
	}
	CHECK(!atp_proof_verify_consistency(0, (uint64_t) n, good, root1, root2));
	CHECK(!atp_proof_verify_consistency(0, 0, good, root1, root1));
	CHECK(!atp_proof_verify_consistency((uint64_t) n + 1, (uint64_t) n, good, root1, root2));
	if (m != n)
	{
		CHECK(!atp_proof_verify_consistency((uint64_t) n, (uint64_t) m, good, root2, root1));
		CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, good, root2, root2));
		CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, good, root1, root1));
		CHECK(!atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, good, root2, root1));
	}
}

static void
test_consistency(int m, int n)
{
	AtpLeaves	leaves = {leaf[0], (uint64_t) n};
	AtpTreeSource source = atp_tree_leaf_source(&leaves);
	AtpProof	expected = {0};
	AtpProof	proof;
	uint8_t		root1[ATP_HASH_SIZE];
	uint8_t		root2[ATP_HASH_SIZE];

	mth(0, m, root1);
	mth(0, n, root2);
	subproof(m, 0, n, true, &expected);
	CHECK(atp_proof_consistency(&source, (uint64_t) m, (uint64_t) n, &proof) && same_proof(&proof, &expected));
	CHECK(atp_proof_verify_consistency((uint64_t) m, (uint64_t) n, &proof, root1, root2));
	refuse_consistency_mutants(m, n, &proof, root1, root2);
}

static void
test_proofs(void)
{
	AtpLeaves	leaves = {leaf[0], 8};
	AtpTreeSource source = atp_tree_leaf_source(&leaves);
	AtpProof	proof = {0};
	uint8_t		hash[ATP_HASH_SIZE];

	for (int n = 1; n <= MAX_LEAVES; n++)
	{
		for (int m = 0; m < n && n <= ALL_UP_TO; m++)
		{
			test_inclusion(m, n);
			test_consistency(m + 1, n);
		}
		for (int i = 0; i < 6 && n > ALL_UP_TO; i++)
		{
			test_inclusion(i == 0 ? 0 : i == 1 ? n - 1 : (int) (draw() % (uint64_t) n), n);
			test_consistency(i == 0 ? 1 : i == 1 ? n : i == 2 ? n - 1 : 1 + (int) (draw() % (uint64_t) n), n);
		}
	}
	CHECK(!atp_proof_inclusion(&source, 8, 8, &proof));
	CHECK(!atp_proof_inclusion(&source, 0, 0, &proof));
	CHECK(!atp_proof_inclusion(&source, 3, 9, &proof));	/* the source has no ninth leaf */
	CHECK(!atp_proof_consistency(&source, 0, 8, &proof));
	CHECK(!atp_proof_consistency(&source, 9, 8, &proof));
	CHECK(!source.node(source.context, 1, (uint64_t) 1 << 63, hash));	/* an index that overflows is not index 0 */
	CHECK(!source.node(source.context, 63, 2, hash));
	CHECK(!source.node(source.context, 0, UINT64_MAX, hash));
	proof.count = 0;
	CHECK(!atp_proof_add(&proof, hash, 0) && !atp_proof_add(&proof, hash, 31) && !atp_proof_add(&proof, hash, 33));
	for (int i = 0; i < ATP_PROOF_MAX; i++)
		CHECK(atp_proof_add(&proof, hash, ATP_HASH_SIZE));
	CHECK(!atp_proof_add(&proof, hash, ATP_HASH_SIZE));
	CHECK(!atp_proof_verify_inclusion(hash, UINT64_MAX - 1, UINT64_MAX, &proof, hash));
	proof.count = ATP_PROOF_MAX + 1;
	CHECK(!atp_proof_verify_inclusion(hash, 0, UINT64_MAX, &proof, hash));
	CHECK(!atp_proof_verify_consistency(1, UINT64_MAX, &proof, hash, hash));
	proof.count = -1;
	CHECK(!atp_proof_verify_inclusion(hash, 0, 1, &proof, hash));
	CHECK(!atp_proof_verify_consistency(1, 1, &proof, hash, hash));
}

/* A leaf whose data is a node's bytes must not hash to that node. */
static void
test_confusion(void)
{
	uint8_t		data[65];
	uint8_t		hash[ATP_HASH_SIZE];
	uint8_t		above[ATP_HASH_SIZE];

	node(leaf[0], leaf[1], above);
	data[0] = 1;
	memcpy(data + 1, leaf[0], ATP_HASH_SIZE);
	memcpy(data + 33, leaf[1], ATP_HASH_SIZE);
	CHECK(atp_tree_leaf(data + 1, 64, hash) && !same(hash, above));
	CHECK(atp_tree_leaf(data, 65, hash) && !same(hash, above));
	CHECK(atp_tree_node(leaf[0], leaf[1], hash) && same(hash, above));
}

/* Trees of any size whose leaves are all alike: a node is a function of its level, a root of its size. */
static uint8_t alike[65][ATP_HASH_SIZE];

static bool
alike_node(void *context, int level, uint64_t index, uint8_t hash[ATP_HASH_SIZE])
{
	uint64_t	size = *(uint64_t *) context;

	if (index >= (size >> level))
		return false;			/* asked for a node that is not complete */
	memcpy(hash, alike[level], ATP_HASH_SIZE);
	return true;
}

static void
alike_root(uint64_t n, uint8_t *hash)
{
	uint64_t	k = 1;
	int			level = 0;
	uint8_t		right[ATP_HASH_SIZE];

	for (; k < n && k <= UINT64_MAX / 2 && k * 2 <= n; k *= 2)
		level++;
	if (k == n)
		memcpy(hash, alike[level], ATP_HASH_SIZE);
	else
	{
		alike_root(n - k, right);
		node(alike[level], right, hash);
	}
}

static void
test_large(uint64_t m, uint64_t n)
{
	AtpTreeSource source = {alike_node, &n};
	AtpProof	proof;
	uint8_t		root1[ATP_HASH_SIZE];
	uint8_t		root2[ATP_HASH_SIZE];

	alike_root(m, root1);
	alike_root(n, root2);
	CHECK(atp_tree_root(&source, n, root1) && same(root1, root2));
	alike_root(m, root1);
	CHECK(atp_proof_inclusion(&source, m - 1, n, &proof));
	CHECK(atp_proof_verify_inclusion(alike[0], m - 1, n, &proof, root2));
	proof.hash[proof.count - 1][0] ^= 1;
	CHECK(!atp_proof_verify_inclusion(alike[0], m - 1, n, &proof, root2));
	proof.hash[proof.count - 1][0] ^= 1;
	proof.count--;
	CHECK(!atp_proof_verify_inclusion(alike[0], m - 1, n, &proof, root2));
	CHECK(atp_proof_consistency(&source, m, n, &proof));
	CHECK(atp_proof_verify_consistency(m, n, &proof, root1, root2));
	if (proof.count == 0)
		return;
	proof.hash[proof.count - 1][0] ^= 1;
	CHECK(!atp_proof_verify_consistency(m, n, &proof, root1, root2));
	proof.hash[proof.count - 1][0] ^= 1;
	proof.count--;
	CHECK(!atp_proof_verify_consistency(m, n, &proof, root1, root2));
}

static void
test_large_trees(void)
{
	uint64_t	n = UINT64_MAX;
	AtpTreeSource source = {alike_node, &n};
	AtpProof	proof;

	atp_tree_leaf("x", 1, alike[0]);
	for (int level = 0; level < 64; level++)
		node(alike[level], alike[level], alike[level + 1]);
	for (int i = 0; i < 2000; i++)
	{
		uint64_t	size = (draw() >> draw() % 62) + 2;

		test_large(draw() % size + 1, size);
	}
	test_large(1, UINT64_MAX);
	test_large(UINT64_MAX, UINT64_MAX);
	test_large(UINT64_MAX - 1, UINT64_MAX);
	test_large((uint64_t) 1 << 63, UINT64_MAX);
	test_large(((uint64_t) 1 << 63) + 1, ((uint64_t) 1 << 63) + 1);
	CHECK(atp_proof_consistency(&source, ((uint64_t) 1 << 62) + 1, n, &proof) && proof.count == ATP_PROOF_MAX);
}

int
main(void)
{
	static const Test tests[] = {
		{"ranges", test_ranges}, {"proofs", test_proofs}, {"confusion", test_confusion}, {"large trees", test_large_trees}
	};

	for (int i = 0; i < MAX_LEAVES; i++)
		atp_tree_leaf(&i, sizeof(i), leaf[i]);
	return run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

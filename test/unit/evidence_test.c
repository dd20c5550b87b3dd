/*
 * Unit and property tests of core/tree, core/note, core/sign and core/base64. The judge of the trees is a literal
 * transcription of the recursive definitions of RFC 6962 section 2.1, which shares no line with core/tree. A test is one function
 * below, of many checks. Prints what fails and, last, "N passed, N failed".
 */
#include "core/base64.h"
#include "core/note.h"
#include "core/tree.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_LEAVES 300
#define ALL_UP_TO 64			/* every index and pair up to this size, samples above */

static int	checks,
			faults;
static uint64_t seed = 1;

#define CHECK(condition) check(condition, #condition, __LINE__)

static void
check(bool holds, const char *what, int line)
{
	checks++;
	if (!holds && faults++ < 20)
		printf("line %d: %s\n", line, what);
}

static uint64_t
draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	return realloc(memory, size);
}

static bool
same(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, ATP_HASH_SIZE) == 0;
}

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

/* ---- base 64 ---- */

static bool
decodes(const char *text)
{
	uint8_t		bytes[64];
	size_t		size;
	size_t		measured;
	bool		right = atp_base64_decode(text, strlen(text), bytes, sizeof(bytes), &size);

	CHECK(atp_base64_decode(text, strlen(text), NULL, 0, &measured) == right && (!right || measured == size));
	return right;
}

static void
test_base64(void)
{
	static const char *const bad[] = {"A", "AA", "AAA", "A===", "====", "AA=A", "=AAA", "AB==", "AAB=", "AAAA=", "AAAAA===", "AA==AAAA",
	"AA-_", " AAAA", "AAAA\n", "AA\n==", "AAA*", "AAAA====", "\xc3\xa9" "AA"};
	AtpBuf		out;
	uint8_t		bytes[48];
	uint8_t		back[48];
	size_t		size;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!decodes(bad[i]));
	CHECK(decodes("") && decodes("AA==") && decodes("AAA=") && decodes("AAAA") && decodes("+/+/"));
	atp_buf_init(&out, grow, NULL);
	for (size_t n = 0; n <= sizeof(bytes); n++)
	{
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t) draw();
		out.size = 0;
		atp_base64_encode(&out, bytes, n);
		CHECK(out.size == ATP_BASE64_SIZE(n));
		CHECK(atp_base64_decode((char *) out.data, out.size, back, n, &size) && size == n && memcmp(bytes, back, n) == 0);
		CHECK(n == 0 || !atp_base64_decode((char *) out.data, out.size, back, n - 1, &size));
	}
	free(out.data);
}

/*
 * ---- signatures and notes ----
 *
 * The keys are those of RFC 8032 section 7.1, tests 1 and 2; the signatures were made by openssl pkeyutl.
 */

static const char text[] = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned \xc3\xa8 subito sera.\n";
static const char vkey_text[] = "example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
static const char skey_text[] = "PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g";
#define NAME_END 20				/* where the base 64 of log_line begins */
static const char log_line[] = "\xe2\x80\x94 example.org/log HGa56lGqS3084KTNeEBrQ4V7YRk3gwR/tdyy0v0aI3t3XJhGe+c6gbKSJq1854LYiSNBWtSEy3JrG4L/gdFO0QaGRQU=\n";
static const char witness_line[] = "\xe2\x80\x94 example.org/witness SV5ccC5ePPcKCYzOWhTpc/ZP4qgKlFHsCmud7DRV9NmRGxT11E/EkFrRhneNJrCv8A2gPeL9Ebr48w9hJCAD3628sAI=\n";

static void
test_sign(void)
{
	uint8_t		key_seed[ATP_SIGN_KEY_SIZE];
	uint8_t		public_key[ATP_SIGN_KEY_SIZE];
	uint8_t		signature[ATP_SIGNATURE_SIZE];
	uint8_t		other[ATP_SIGN_KEY_SIZE] = {0};
	AtpSkey		rfc;

	CHECK(atp_skey_parse(skey_text, strlen(skey_text), &rfc) && atp_sign(rfc.seed, "", 0, signature) && signature[0] == 0xe5 &&
		  signature[63] == 0x0b);	/* RFC 8032 section 7.1, test 1 */
	CHECK(atp_sign_generate(key_seed) && atp_sign_generate(other) && memcmp(key_seed, other, sizeof(other)) != 0);
	CHECK(atp_sign_public_key(key_seed, public_key) && atp_sign(key_seed, text, sizeof(text), signature));
	CHECK(atp_sign_verify(public_key, 32, text, sizeof(text), signature, 64));
	CHECK(!atp_sign_verify(public_key, 32, text, sizeof(text) - 1, signature, 64));
	CHECK(!atp_sign_verify(public_key, 31, text, sizeof(text), signature, 64));
	CHECK(!atp_sign_verify(public_key, 32, text, sizeof(text), signature, 63));
	CHECK(!atp_sign_verify(other, 32, text, sizeof(text), signature, 64));
	for (int i = 0; i < ATP_SIGNATURE_SIZE; i++)
	{
		signature[i] ^= 0x10;
		CHECK(!atp_sign_verify(public_key, 32, text, sizeof(text), signature, 64));
		signature[i] ^= 0x10;
	}
	CHECK(atp_sign(key_seed, "", 0, signature) && atp_sign_verify(public_key, 32, "", 0, signature, 64));
	atp_sign_wipe(key_seed, sizeof(key_seed));
	memset(other, 0, sizeof(other));
	CHECK(memcmp(key_seed, other, sizeof(other)) == 0);
}

static void
test_keys(void)
{
	size_t		vkey_size = strlen(vkey_text);
	size_t		skey_size = strlen(skey_text);
	char		changed[128];
	AtpVkey		vkey;
	AtpSkey		skey;
	AtpSkey		zeros;
	AtpBuf		out;

	for (size_t i = 0; i <= vkey_size; i++)	/* every part of it but the whole */
		for (size_t j = i; j <= vkey_size; j++)
			CHECK(atp_vkey_parse(vkey_text + i, j - i, &vkey) == (i == 0 && j == vkey_size));
	for (size_t i = 0; i < skey_size; i++)
		for (size_t j = i; j <= skey_size; j += 1 + j % 3)
			CHECK(i == 0 || !atp_skey_parse(skey_text + i, j - i, &skey));
	for (size_t i = 0; i < skey_size; i++)
	{
		for (int bit = 0; bit < 8; bit++)
		{
			memcpy(changed, skey_text, skey_size + 1);
			changed[i] ^= (char) (1 << bit);
			CHECK(!atp_skey_parse(changed, skey_size, &skey));
			if (i >= vkey_size)
				continue;
			memcpy(changed, vkey_text, vkey_size + 1);
			changed[i] ^= (char) (1 << bit);
			CHECK(!atp_vkey_parse(changed, vkey_size, &vkey));
		}
		CHECK(!atp_skey_parse(skey_text, i, &skey));
	}
	memset(&zeros, 0, sizeof(zeros));
	CHECK(memcmp(&skey, &zeros, sizeof(skey)) == 0);	/* a refused secret is wiped */
	atp_buf_init(&out, grow, NULL);
	CHECK(atp_skey_parse(skey_text, skey_size, &skey));
	atp_vkey_write(&out, &skey.vkey);
	CHECK(out.size == vkey_size && memcmp(out.data, vkey_text, vkey_size) == 0);
	out.size = 0;
	atp_skey_write(&out, &skey);
	CHECK(out.size == skey_size && memcmp(out.data, skey_text, skey_size) == 0);
	free(out.data);
}

static bool
is_key_name(const char *name)
{
	AtpSkey		skey;
	uint8_t		key_seed[ATP_SIGN_KEY_SIZE] = {1};
	AtpBuf		out;
	AtpVkey		vkey;
	bool		right = atp_skey_make(name, strlen(name), key_seed, &skey);

	if (right)
	{
		atp_buf_init(&out, grow, NULL);
		atp_vkey_write(&out, &skey.vkey);
		CHECK(atp_vkey_parse((char *) out.data, out.size, &vkey) && vkey.key_id == skey.vkey.key_id);
		free(out.data);
	}
	return right;
}

static void
test_key_names(void)
{
	static const char *const bad[] = {"", "a b", "a+b", "a\tb", "a\nb", "a\x7f\x01", "a\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80",
		"\xe2\x80\x80", "x\xe2\x80\x8ax", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80",
	"\xff", "\xc0\xa0", "\xed\xa0\x80", "\xe2\x80"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!is_key_name(bad[i]));
	CHECK(is_key_name("a") && is_key_name("example.com/log42") && is_key_name("sm\xc3\xb8rrebr\xc3\xb8" "d"));
	CHECK(is_key_name("\xe2\x80\x8b") && is_key_name("\xe3\x80\x81"));	/* zero-width space is no white space in Unicode */
}

static int						/* a verdict, or -1 where the note does not parse */
open_note(const char *note_text)
{
	static AtpNote note;
	AtpVkey		vkey;

	CHECK(atp_vkey_parse(vkey_text, strlen(vkey_text), &vkey));
	return atp_note_parse(note_text, strlen(note_text), &note) ? (int) atp_note_verify(&note, &vkey) : -1;
}

static void
open_check(int expected, const char *body, const char *a, const char *b, const char *c, int line)
{
	char		note[4096];

	snprintf(note, sizeof(note), "%s%s%s%s", body, a, b, c);
	check(open_note(note) == expected, a, line);
}

#define OPEN(expected, a, b, c) open_check(expected, text, a, b, c, __LINE__)

static void
test_notes(void)
{
	char		broken[256];
	char	   *many = malloc(32768);

	OPEN(ATP_NOTE_VERIFIED, "\n", log_line, "");
	OPEN(ATP_NOTE_VERIFIED, "\n", witness_line, log_line);
	OPEN(ATP_NOTE_VERIFIED, "\n", log_line, log_line);
	OPEN(ATP_NOTE_NO_SIGNATURE, "\n", witness_line, witness_line);
	OPEN(-1, "", "", "");
	OPEN(-1, "\n", "", "");
	OPEN(-1, "", log_line, "");
	OPEN(-1, "\n", log_line, "Unexpected line.\n");
	OPEN(-1, "\n", log_line, "no new line");
	OPEN(-1, "\n", log_line, "\xe2\x80\x94 name AAAA\n");	/* three bytes: not even a key id */
	OPEN(-1, "\n", log_line, "\xe2\x80\x94 name AAAAAA==\n");	/* a key id and no signature */
	OPEN(ATP_NOTE_VERIFIED, "\n", log_line, "\xe2\x80\x94 name AAAAAAA=\n");
	OPEN(-1, "\n", log_line, "\xe2\x80\x94 name AAAAAAB=\n");	/* bits left over */
	OPEN(-1, "\n", log_line, "\xe2\x80\x94 name  AAAAAAA=\n");
	OPEN(-1, "\n", log_line, "\xe2\x80\x94 name AAAAAAA= \n");
	OPEN(-1, "\n", log_line, "\xe2\x80\x94  AAAAAAA=\n");
	OPEN(-1, "\n", log_line, "\xe2\x80\x94 name\n");
	OPEN(-1, "\n", log_line, "\xe2\x80\x93 name AAAAAAA=\n");
	OPEN(-1, "\n", log_line, "\r\n");
	OPEN(-1, "\x01\n\n", log_line, "");
	OPEN(-1, "\x7f\xff\n\n", log_line, "");
	OPEN(ATP_NOTE_BAD_SIGNATURE, "\n\n", log_line, "");	/* the last blank line separates: the text is another */
	OPEN(ATP_NOTE_BAD_SIGNATURE, "more\n\n", log_line, "");
	OPEN(-1, "\n", log_line, "\n");
	for (int i = 4; i < 68; i++)	/* each byte of the signature in turn; one bad one spoils the good ones */
	{
		uint8_t		bytes[68];
		size_t		size;
		AtpBuf		out;

		atp_base64_decode(log_line + NAME_END, strlen(log_line) - NAME_END - 1, bytes, sizeof(bytes), &size);
		CHECK(size == sizeof(bytes));
		bytes[i] ^= 1;
		atp_buf_init(&out, grow, NULL);
		atp_base64_encode(&out, bytes, sizeof(bytes));
		snprintf(broken, sizeof(broken), "%.*s%.*s\n", NAME_END, log_line, (int) out.size, (char *) out.data);
		free(out.data);
		OPEN(ATP_NOTE_BAD_SIGNATURE, "\n", broken, "");
		OPEN(ATP_NOTE_BAD_SIGNATURE, "\n", log_line, broken);
		OPEN(ATP_NOTE_BAD_SIGNATURE, "\n", broken, log_line);
	}
	snprintf(broken, sizeof(broken), "%.80sABCD%s", witness_line, witness_line + 80);
	OPEN(ATP_NOTE_VERIFIED, "\n", log_line, broken);	/* another key's: not ours to judge */
	snprintf(broken, sizeof(broken), "%.80sABCD%s", log_line, log_line + 80);
	OPEN(ATP_NOTE_BAD_SIGNATURE, "\n", broken, "");
	snprintf(broken, sizeof(broken), "\xe2\x80\x94 example.org/lag %s", log_line + NAME_END);
	OPEN(ATP_NOTE_NO_SIGNATURE, "\n", broken, "");	/* the key's id under another name is another key */
	for (int count = 99; count <= 101; count++)
	{
		size_t		size = (size_t) snprintf(many, 32768, "%s\n", text);

		for (int i = 0; i < count; i++)
			size += (size_t) snprintf(many + size, 32768 - size, "%s", log_line);
		CHECK(open_note(many) == (count <= ATP_NOTE_MAX_SIGNATURES ? ATP_NOTE_VERIFIED : -1));
	}
	free(many);
}

static void
test_note_sign(void)
{
	AtpSkey		skey;
	AtpBuf		out;
	char		expected[1024];
	char	   *large = malloc(ATP_NOTE_MAX_SIZE + 1);

	atp_buf_init(&out, grow, NULL);
	CHECK(atp_skey_parse(skey_text, strlen(skey_text), &skey));
	CHECK(atp_note_sign(&out, text, strlen(text), &skey));
	snprintf(expected, sizeof(expected), "%s\n%s", text, log_line);
	CHECK(out.size == strlen(expected) && memcmp(out.data, expected, out.size) == 0);
	CHECK(out.size <= ATP_NOTE_SIGNED_SIZE(strlen(text), skey.vkey.name.size));
	CHECK(!atp_note_sign(&out, "abc", 3, &skey) && !atp_note_sign(&out, "", 0, &skey) && !atp_note_sign(&out, "a\r\n", 3, &skey));
	CHECK(!atp_note_sign(&out, "\xc3\n", 2, &skey) && atp_note_sign(&out, "\n", 1, &skey));
	memset(large, '\n', ATP_NOTE_MAX_SIZE + 1);
	CHECK(atp_note_text_is_valid(large, ATP_NOTE_MAX_SIZE) && !atp_note_text_is_valid(large, ATP_NOTE_MAX_SIZE + 1));
	free(large);
	free(out.data);
}

static bool
parses(const char *checkpoint_text)
{
	AtpCheckpoint checkpoint;

	return atp_checkpoint_parse(checkpoint_text, strlen(checkpoint_text), &checkpoint);
}

static void
test_checkpoints(void)
{
	static const char *const bad[] = {"", "\n", "Log\n", "Log\n1\n", "Log\n1\nAA==", "\n1\nAA==\n", "Log\n\nAA==\n", "Log\n1\n\n", "Log\n-1\nAA==\n",
		"Log\n+1\nAA==\n", "Log\n 1\nAA==\n", "Log\n1 \nAA==\n", "Log\n01\nAA==\n", "Log\n00\nAA==\n", "Log\n0x1\nAA==\n", "Log\n1e3\nAA==\n",
		"Log\n18446744073709551616\nAA==\n", "Log\n99999999999999999999\nAA==\n", "Log\n184467440737095516150\nAA==\n",
		"Log\n1\nAA=\n", "Log\n1\nAB==\n", "Log\n1\nA-==\n", "Log\n1\nAA== \n", "Log\r\n1\r\nAA==\r\n", "Log\n1\nAA==\next\n\n",
	"Log\n1\nAA==\n\next\n", "Log\n1\nAA==\next", "L\xff\n1\nAA==\n", "Log\n1\nAA==\n\ttab\n", "Log\n1\nAA==\n\n"};
	AtpCheckpoint checkpoint;
	uint8_t		root[ATP_HASH_SIZE];
	AtpBuf		out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		check(!parses(bad[i]), bad[i], __LINE__);
	CHECK(parses("Log\n0\nAA==\n") && parses("Log\n18446744073709551615\nAA==\n") && parses("a log+with spaces\n1\nAA==\na\nb\n"));
	atp_buf_init(&out, grow, NULL);
	for (int i = 0; i < ATP_HASH_SIZE; i++)
		root[i] = (uint8_t) draw();
	CHECK(atp_checkpoint_write(&out, "example.com/log", 15, UINT64_MAX, root));
	CHECK(atp_checkpoint_parse((char *) out.data, out.size, &checkpoint));
	CHECK(checkpoint.size == UINT64_MAX && checkpoint.root_size == ATP_HASH_SIZE && same(checkpoint.root, root));
	CHECK(checkpoint.origin.size == 15 && checkpoint.extension.size == 0);
	atp_buf_append(&out, "one\ntwo\n", 8);
	CHECK(atp_checkpoint_parse((char *) out.data, out.size, &checkpoint));
	CHECK(checkpoint.extension.size == 8 && memcmp(checkpoint.extension.data, "one\ntwo\n", 8) == 0);
	CHECK(!atp_checkpoint_write(&out, "", 0, 1, root) && !atp_checkpoint_write(&out, "a\nb", 3, 1, root));
	CHECK(!atp_checkpoint_write(&out, "a\tb", 3, 1, root) && !atp_checkpoint_write(&out, "\xff", 1, 1, root));
	free(out.data);
}

int
main(void)
{
	static const struct
	{
		const char *name;
		void		(*run) (void);
	}			tests[] = {
		{"ranges", test_ranges}, {"proofs", test_proofs}, {"confusion", test_confusion}, {"large trees", test_large_trees},
		{"base 64", test_base64}, {"sign", test_sign}, {"keys", test_keys}, {"key names", test_key_names},
		{"notes", test_notes}, {"note sign", test_note_sign}, {"checkpoints", test_checkpoints}
	};
	int			count = sizeof(tests) / sizeof(tests[0]);
	int			failed = 0;

	for (int i = 0; i < MAX_LEAVES; i++)
		atp_tree_leaf(&i, sizeof(i), leaf[i]);
	for (int i = 0; i < count; i++)
	{
		int			before = faults;

		checks = 0;
		tests[i].run();
		failed += faults > before;
		printf("%s %s: %d checks\n", faults > before ? "FAILED" : "passed", tests[i].name, checks);
	}
	printf("%d passed, %d failed\n", count - failed, failed);
	return failed != 0;
}

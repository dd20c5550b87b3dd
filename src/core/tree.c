/* Merkle trees after RFC 6962 and RFC 9162; see tree.h. */
#include "core/tree.h"

#include <string.h>

/* The split of a tree of `size` >= 2 leaves: the largest power of two smaller than it. */
static uint64_t
split_of(uint64_t size)
{
	return (uint64_t) 1 << (63 - __builtin_clzll(size - 1));
}

static bool
is_power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static bool
same_hash(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, ATP_HASH_SIZE) == 0;
}

bool
atp_tree_leaf(const void *data, size_t size, uint8_t hash[ATP_HASH_SIZE])
{
	static const uint8_t prefix = 0x00;

	return atp_sha256_begin() && atp_sha256_update(&prefix, 1) && atp_sha256_update(data, size) && atp_sha256_final(hash);
}

bool
atp_tree_node(const uint8_t left[ATP_HASH_SIZE], const uint8_t right[ATP_HASH_SIZE], uint8_t hash[ATP_HASH_SIZE])
{
	uint8_t		bytes[1 + 2 * ATP_HASH_SIZE];

	bytes[0] = 0x01;
	memcpy(bytes + 1, left, ATP_HASH_SIZE);
	memcpy(bytes + 1 + ATP_HASH_SIZE, right, ATP_HASH_SIZE);
	return atp_sha256(bytes, sizeof(bytes), hash);
}

void
atp_range_init(AtpRange *range)
{
	memset(range, 0, sizeof(*range));
}

bool
atp_range_append(AtpRange *range, const uint8_t leaf[ATP_HASH_SIZE], AtpNodeSink sink, void *context)
{
	uint64_t	index = range->size;
	uint8_t		node[ATP_HASH_SIZE];
	int			level = 0;

	if (range->size == UINT64_MAX)
		return false;
	memcpy(node, leaf, ATP_HASH_SIZE);
	for (;;)
	{
		if (sink != NULL && !sink(context, level, index, node))
			return false;
		if ((index & 1) == 0)
			break;
		if (!atp_tree_node(range->peak[level], node, node))
			return false;
		index >>= 1;
		level++;
	}
	memcpy(range->peak[level], node, ATP_HASH_SIZE);
	range->size++;
	return true;
}

bool
atp_range_root(const AtpRange *range, uint8_t root[ATP_HASH_SIZE])
{
	uint64_t	rest = range->size;

	if (rest == 0)
		return atp_sha256("", 0, root);
	memcpy(root, range->peak[__builtin_ctzll(rest)], ATP_HASH_SIZE);
	for (rest &= rest - 1; rest != 0; rest &= rest - 1)
		if (!atp_tree_node(range->peak[__builtin_ctzll(rest)], root, root))
			return false;
	return true;
}

size_t
atp_range_save(const AtpRange *range, uint8_t *out)
{
	size_t		bytes = 0;

	for (int level = ATP_TREE_LEVELS - 1; level >= 0; level--)
		if (range->size >> level & 1)
		{
			memcpy(out + bytes, range->peak[level], ATP_HASH_SIZE);
			bytes += ATP_HASH_SIZE;
		}
	return bytes;
}

bool
atp_range_load(AtpRange *range, uint64_t size, const uint8_t *peaks, size_t bytes)
{
	atp_range_init(range);
	if (bytes != (size_t) __builtin_popcountll(size) * ATP_HASH_SIZE)
		return false;
	for (int level = ATP_TREE_LEVELS - 1; level >= 0; level--)
		if (size >> level & 1)
		{
			memcpy(range->peak[level], peaks, ATP_HASH_SIZE);
			peaks += ATP_HASH_SIZE;
		}
	range->size = size;
	return true;
}

static bool
leaf_node(void *context, int level, uint64_t index, uint8_t hash[ATP_HASH_SIZE])
{
	const AtpLeaves *leaves = context;
	uint64_t	width = (uint64_t) 1 << level;
	uint64_t	begin = index << level;
	AtpRange	range;

	if (begin >> level != index || begin > leaves->count || leaves->count - begin < width)
		return false;
	atp_range_init(&range);
	for (uint64_t i = begin; i < begin + width; i++)
		if (!atp_range_append(&range, leaves->hashes + i * ATP_HASH_SIZE, NULL, NULL))
			return false;
	return atp_range_root(&range, hash);
}

AtpTreeSource
atp_tree_leaf_source(AtpLeaves *leaves)
{
	return (AtpTreeSource) {leaf_node, leaves};
}

/* The root of the leaves [begin, end), where a power of two not less than end - begin divides begin: never empty. */
static bool
subtree_root(const AtpTreeSource *source, uint64_t begin, uint64_t end, uint8_t hash[ATP_HASH_SIZE])
{
	uint64_t	rest = end - begin;
	uint8_t		left[ATP_HASH_SIZE];

	for (bool first = true; rest != 0; first = false)
	{
		int			level = __builtin_ctzll(rest);

		end -= (uint64_t) 1 << level;
		rest &= rest - 1;
		if (!source->node(source->context, level, end >> level, first ? hash : left))
			return false;
		if (!first && !atp_tree_node(left, hash, hash))
			return false;
	}
	return true;
}

bool
atp_tree_root(const AtpTreeSource *source, uint64_t size, uint8_t root[ATP_HASH_SIZE])
{
	return size == 0 ? atp_sha256("", 0, root) : subtree_root(source, 0, size, root);
}

bool
atp_proof_add(AtpProof *proof, const void *hash, size_t size)
{
	if (size != ATP_HASH_SIZE || proof->count < 0 || proof->count >= ATP_PROOF_MAX)
		return false;
	memcpy(proof->hash[proof->count++], hash, ATP_HASH_SIZE);
	return true;
}

/* A proof is collected from the root down, and is handed out from the leaf up. */
static void
reverse(AtpProof *proof)
{
	for (int i = 0, j = proof->count - 1; i < j; i++, j--)
	{
		uint8_t		hash[ATP_HASH_SIZE];

		memcpy(hash, proof->hash[i], ATP_HASH_SIZE);
		memcpy(proof->hash[i], proof->hash[j], ATP_HASH_SIZE);
		memcpy(proof->hash[j], hash, ATP_HASH_SIZE);
	}
}

/* PATH of RFC 6962 section 2.1.1, as a walk down to the leaf. */
bool
atp_proof_inclusion(const AtpTreeSource *source, uint64_t index, uint64_t size, AtpProof *proof)
{
	uint64_t	begin = 0;
	uint64_t	end = size;

	proof->count = 0;
	if (index >= size)
		return false;
	while (end - begin > 1)
	{
		uint64_t	middle = begin + split_of(end - begin);
		bool		left = index < middle;

		if (!subtree_root(source, left ? middle : begin, left ? end : middle, proof->hash[proof->count++]))
			return false;
		if (left)
			end = middle;
		else
			begin = middle;
	}
	reverse(proof);
	return true;
}

/* SUBPROOF of RFC 6962 section 2.1.2: down to the subtree [begin, end) that ends where the smaller tree does. */
bool
atp_proof_consistency(const AtpTreeSource *source, uint64_t size1, uint64_t size2, AtpProof *proof)
{
	uint64_t	begin = 0;
	uint64_t	end = size2;

	proof->count = 0;
	if (size1 == 0 || size1 > size2)
		return false;
	while (end != size1)
	{
		uint64_t	middle = begin + split_of(end - begin);
		bool		left = size1 <= middle;

		if (!subtree_root(source, left ? middle : begin, left ? end : middle, proof->hash[proof->count++]))
			return false;
		if (left)
			end = middle;
		else
			begin = middle;
	}
	/* the verifier has this subtree only where it is the whole of the smaller tree */
	if (begin != 0 && !subtree_root(source, begin, end, proof->hash[proof->count++]))
		return false;
	reverse(proof);
	return true;
}

/* RFC 9162 section 2.1.3.2. */
bool
atp_proof_verify_inclusion(const uint8_t leaf[ATP_HASH_SIZE], uint64_t index, uint64_t size, const AtpProof *proof,
						   const uint8_t root[ATP_HASH_SIZE])
{
	uint64_t	fn = index;
	uint64_t	sn = size - 1;
	uint8_t		hash[ATP_HASH_SIZE];

	if (index >= size || proof->count < 0 || proof->count > ATP_PROOF_MAX)
		return false;
	memcpy(hash, leaf, ATP_HASH_SIZE);
	for (int i = 0; i < proof->count; i++)
	{
		const uint8_t *p = proof->hash[i];
		bool		right = (fn & 1) != 0 || fn == sn;

		if (sn == 0 || !atp_tree_node(right ? p : hash, right ? hash : p, hash))
			return false;
		while (right && (fn & 1) == 0 && fn != 0)
		{
			fn >>= 1;
			sn >>= 1;
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && same_hash(hash, root);
}

/* RFC 9162 section 2.1.4.2. */
bool
atp_proof_verify_consistency(uint64_t size1, uint64_t size2, const AtpProof *proof, const uint8_t root1[ATP_HASH_SIZE],
							 const uint8_t root2[ATP_HASH_SIZE])
{
	uint64_t	fn = size1 - 1;
	uint64_t	sn = size2 - 1;
	uint8_t		hash1[ATP_HASH_SIZE];
	uint8_t		hash2[ATP_HASH_SIZE];
	int			next = 0;

	if (size1 == 0 || size1 > size2 || proof->count < 0 || proof->count > ATP_PROOF_MAX)
		return false;
	if (size1 == size2)
		return proof->count == 0 && same_hash(root1, root2);
	if (proof->count == 0)
		return false;
	while ((fn & 1) != 0)
	{
		fn >>= 1;
		sn >>= 1;
	}
	memcpy(hash1, is_power_of_two(size1) ? root1 : proof->hash[next++], ATP_HASH_SIZE);
	memcpy(hash2, hash1, ATP_HASH_SIZE);
	for (; next < proof->count; next++)
	{
		const uint8_t *p = proof->hash[next];
		bool		right = (fn & 1) != 0 || fn == sn;

		if (sn == 0)
			return false;
		if (right && !(atp_tree_node(p, hash1, hash1) && atp_tree_node(p, hash2, hash2)))
			return false;
		if (!right && !atp_tree_node(hash2, p, hash2))
			return false;
		while (right && (fn & 1) == 0 && fn != 0)
		{
			fn >>= 1;
			sn >>= 1;
		}
		fn >>= 1;
		sn >>= 1;
	}
	return sn == 0 && same_hash(hash1, root1) && same_hash(hash2, root2);
}

/*
 * The Merkle tree of RFC 6962 and RFC 9162 over leaf hashes: roots, the compact range that grows a tree one leaf at a time,
 * inclusion and consistency proofs, and their verification. SHA-256; a leaf is H(0x00 || data), a node H(0x01 || left ||
 * right), the root of no leaves H("").
 *
 * A node is named by (level, index): the root of the perfect subtree over the leaves [index << level, (index + 1) << level).
 * Such a node never changes once its last leaf is there, so whoever stores nodes (tiles) stores only these. Proofs are made
 * from a source of such nodes, in at most 65 * 64 look-ups whatever the size of the tree; the right edge, which does
 * change, is hashed afresh from them.
 *
 * Sizes are 64 bits, 0 to 2^64 - 1. Nothing allocates. Functions that make something return false where OpenSSL or the
 * source fails and where an argument lies outside the tree; a verification returns true only for what it has proved.
 */
#ifndef ATP_TREE_H
#define ATP_TREE_H

#include "core/hash.h"

#define ATP_TREE_LEVELS 64		/* peaks that a range of 2^64 - 1 leaves has */
#define ATP_PROOF_MAX 65		/* a consistency proof: 64 levels and the subtree that both trees share */

extern bool atp_tree_leaf(const void *data, size_t size, uint8_t hash[ATP_HASH_SIZE]);
extern bool atp_tree_node(const uint8_t left[ATP_HASH_SIZE], const uint8_t right[ATP_HASH_SIZE], uint8_t hash[ATP_HASH_SIZE]);

/*
 * The compact range [0, size): the roots of the perfect subtrees that the tree falls into, one for each bit set in its
 * size. Appending carries like binary addition: less than one node hash a leaf on average.
 */
typedef struct AtpRange
{
	uint64_t	size;
	uint8_t		peak[ATP_TREE_LEVELS][ATP_HASH_SIZE];	/* peak[l] counts only where bit l of size is set */
} AtpRange;

/* Told of every node that an append completes, lowest level first, the leaf itself at level 0; false stops the append. */
typedef bool (*AtpNodeSink) (void *context, int level, uint64_t index, const uint8_t hash[ATP_HASH_SIZE]);

extern void atp_range_init(AtpRange *range);

/* Appends a leaf hash. `sink` may be NULL. After false the range is as it was, whatever the sink was told. */
extern bool atp_range_append(AtpRange *range, const uint8_t leaf[ATP_HASH_SIZE], AtpNodeSink sink, void *context);
extern bool atp_range_root(const AtpRange *range, uint8_t root[ATP_HASH_SIZE]);

/*
 * The stored form: the peaks alone, left to right, that is highest level first. Save returns the bytes written (at most
 * 64 * 32); load refuses a number of bytes that does not fit the size.
 */
extern size_t atp_range_save(const AtpRange *range, uint8_t *out);
extern bool atp_range_load(AtpRange *range, uint64_t size, const uint8_t *peaks, size_t bytes);

/* Where proofs take their nodes from: gives the hash of a node whose leaves are all in the tree, false where it cannot. */
typedef struct AtpTreeSource
{
	bool		(*node) (void *context, int level, uint64_t index, uint8_t hash[ATP_HASH_SIZE]);
	void	   *context;
} AtpTreeSource;

/* A source over leaf hashes in memory; a node costs as many hashes as it has leaves. `leaves` must outlive the source. */
typedef struct AtpLeaves
{
	const uint8_t *hashes;		/* count * ATP_HASH_SIZE bytes */
	uint64_t	count;
} AtpLeaves;

extern AtpTreeSource atp_tree_leaf_source(AtpLeaves *leaves);

/* The root of the first `size` leaves. */
extern bool atp_tree_root(const AtpTreeSource *source, uint64_t size, uint8_t root[ATP_HASH_SIZE]);

/* Hashes of a proof, leaf side first (the order of RFC 6962). */
typedef struct AtpProof
{
	int			count;
	uint8_t		hash[ATP_PROOF_MAX][ATP_HASH_SIZE];
} AtpProof;

/* Appends a hash that came from outside; false: its size is not that of a hash, or no proof is so long. */
extern bool atp_proof_add(AtpProof *proof, const void *hash, size_t size);

/* That leaf `index` is in the tree of `size` leaves: index < size. */
extern bool atp_proof_inclusion(const AtpTreeSource *source, uint64_t index, uint64_t size, AtpProof *proof);
extern bool atp_proof_verify_inclusion(const uint8_t leaf[ATP_HASH_SIZE], uint64_t index, uint64_t size,
									   const AtpProof *proof, const uint8_t root[ATP_HASH_SIZE]);

/*
 * That the tree of size1 leaves is the beginning of the tree of size2: 0 < size1 <= size2. Equal sizes have the empty
 * proof, and equal roots. Anything is consistent with the empty tree, so size1 = 0 proves nothing and is refused.
 */
extern bool atp_proof_consistency(const AtpTreeSource *source, uint64_t size1, uint64_t size2, AtpProof *proof);
extern bool atp_proof_verify_consistency(uint64_t size1, uint64_t size2, const AtpProof *proof,
										 const uint8_t root1[ATP_HASH_SIZE], const uint8_t root2[ATP_HASH_SIZE]);

#endif

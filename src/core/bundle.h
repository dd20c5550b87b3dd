/*
 * The verifier of evidence bundles: lines go in, a verdict comes out. No database, no files, no clock; the same code runs in
 * atp-verify and in atp.import_bundle().
 *
 * It trusts what the caller pinned (keys and origin) and nothing else; everything is derived from there, in this order: pinned
 * key and origin -> signed checkpoint -> root log -> tenant's tree -> leaf = H(record) -> record = what a person is shown -> links
 * and dense versions -> commitments -> consistency with the known head. The first fault ends it. The memory it takes does
 * not depend on the size of the bundle: one line, two compact ranges, and a table of so many streams whose links are followed;
 * a bundle with more streams is gone over again, a class of streams after the other: links_class.
 */
#ifndef ATP_BUNDLE_H
#define ATP_BUNDLE_H

#include "core/bundleline.h"

#define ATP_BUNDLE_KEYS_MAX 32
#ifndef ATP_BUNDLE_STREAMS
#define ATP_BUNDLE_STREAMS 1048576	/* in the table of links: a power of two, three quarters are used; 64 bytes each */
#endif

typedef enum AtpVerdictCode		/* the exit codes of atp-verify */
{
	ATP_BUNDLE_OK = 0,
	ATP_BUNDLE_TAMPERED = 1,
	ATP_BUNDLE_INCOMPLETE = 2,
	ATP_BUNDLE_BAD_INPUT = 3,
	ATP_BUNDLE_UNTRUSTED = 4,
	ATP_BUNDLE_DIVERGED = 5
} AtpVerdictCode;

typedef struct AtpKnownHead		/* what was verified before; zeros: nothing */
{
	uint64_t	root_size;		/* root log */
	uint8_t		root_hash[ATP_HASH_SIZE];
	uint64_t	tree_size;		/* the tenant's tree; 0: this tenant was not seen */
	uint8_t		tree_hash[ATP_HASH_SIZE];
} AtpKnownHead;

typedef struct AtpLinkEntry
{
	uint8_t		stream_uid[16];
	uint64_t	version;		/* of the last event seen; 0: the place is free */
	uint8_t		hash[ATP_HASH_SIZE];
	bool		sealed;
} AtpLinkEntry;

typedef struct AtpTrustedKey
{
	AtpVkey		vkey;
	char		name[256];		/* of vkey, when the key came from the bundle */
	bool		witness;
	bool		cosigner;		/* a witness key of type 0x04 */
	char		state;			/* 'a', 'r', 'c' */
	uint64_t	until_size;
} AtpTrustedKey;

typedef struct AtpBundleVerifier
{
	/* set by the caller after atp_bundle_begin */
	AtpTrustedKey keys[ATP_BUNDLE_KEYS_MAX];
	int			key_count;
	AtpText		origin;
	AtpKnownHead known;			/* set in the callback `on_manifest`, when the tenant is known */
	void		(*on_manifest) (void *context, const AtpBundleManifest *manifest, AtpKnownHead *known);
	void		(*on_event) (void *context, const AtpBundleEvent *event, const uint8_t leaf[ATP_HASH_SIZE]);
	void	   *context;
	bool		links_only;		/* a further pass: follow links_class of links_classes, believe the rest */
	uint32_t	links_class;
	uint32_t	links_classes;

	/* the verdict */
	AtpVerdictCode code;
	const char *what;			/* a constant; NULL: no fault yet */
	uint64_t	fault_line;		/* from 1 */
	bool		has_fault_leaf;
	uint64_t	fault_leaf;

	/* what was checked */
	AtpBundleManifest manifest;
	uint8_t		root_hash[ATP_HASH_SIZE];	/* of the checkpoint */
	uint8_t		tree_hash[ATP_HASH_SIZE];	/* of the tenant's tree */
	uint64_t	lines;
	uint64_t	events;
	uint64_t	omitted;
	uint64_t	bare;			/* leaves of which only the hash is in the bundle */
	uint64_t	seals;			/* sealed streams whose seal was recomputed */
	int			signatures;		/* keys of the log that signed the checkpoint */
	int			cosignatures;
	bool		known_root_checked;
	bool		known_tree_checked;
	bool		links_overflow;	/* there are more streams than the table holds: go over it again in classes */

	/* inside */
	int			stage;
	AtpBuf		strings;
	AtpBuf		kept;			/* texts of the manifest */
	AtpBuf		scratch;
	AtpBuf		links;
	AtpBuf		links_spare;
	uint64_t	links_places;
	uint64_t	links_used;
	AtpLine		line;
	AtpNote		note;
	AtpRange	range;			/* leaves [0, next chunk) */
	AtpBundleChunk chunk;
	int			in_chunk;		/* leaf of the chunk that comes next */
	uint64_t	next_leaf;		/* of the next event, in mode proofs */
	int			proof_place;	/* of the last proof, in their order */
	uint64_t	proof_size;
	bool		has_head;
	bool		has_tree_end;	/* a proof from `until` to the tree's size was given */
	AtpProof	tree_end;
	bool		has_peaks;
	AtpRange	stream_range;	/* of a bundle of one stream: for its seal */
} AtpBundleVerifier;

/* Makes a verifier ready; its buffers grow through `grow` and are the caller's to free (atp_bundle_buffers). */
extern void atp_bundle_begin(AtpBundleVerifier *verifier, AtpGrow grow, void *context);

/* Pins a key. False: malformed, or too many. The text must outlive the verifier. */
extern bool atp_bundle_trust(AtpBundleVerifier *verifier, const char *vkey, size_t size, bool witness);

/* Takes the next line, without its new line. False: there is a fault, look at the verdict. */
extern bool atp_bundle_take(AtpBundleVerifier *verifier, const char *text, size_t size);

/* Says that the bundle ends; `cut`: inside a line. True: it is verified. */
extern bool atp_bundle_finish(AtpBundleVerifier *verifier, bool cut);

#endif

/*
 * The lines of an evidence bundle, written and read. A bundle is text: one JSON object a line, members in a fixed order, no white
 * space, strings with the escapes of canonical JSON and no others, hashes as 64 lower-case hexadecimal digits, times as integers of
 * microseconds since 1970. So each line has one form only: there are no duplicate keys, no NaN and no second way to write a number
 * to argue about, and the reader compares instead of parsing. docs/design/bundle.md shows each line.
 */
#ifndef ATP_BUNDLELINE_H
#define ATP_BUNDLELINE_H

#include "core/bytes.h"
#include "core/note.h"
#include "core/record.h"
#include "core/tree.h"

#define ATP_BUNDLE_LINE_MAX (64 * 1024 * 1024)
#define ATP_BUNDLE_CHUNK 256	/* leaf hashes in a log_range line */
#define ATP_BUNDLE_FORMAT "atp/bundle/v1"

typedef enum AtpCompleteness
{
	ATP_BUNDLE_RECORDS,			/* every leaf of the range has its record: what a filter left out can be seen not to match */
	ATP_BUNDLE_HASHES,			/* every leaf of the range has its hash: nothing can be slipped in or changed */
	ATP_BUNDLE_PROOFS			/* each event has a proof of its own: nothing is said about other events */
} AtpCompleteness;

typedef struct AtpBundleManifest
{
	AtpText		origin;
	AtpText		tenant;			/* its name: not proved */
	uint8_t		log_uid[16];
	AtpCompleteness completeness;
	bool		by_stream;
	uint8_t		stream_uid[16];
	bool		by_type;
	AtpText		event_type;
	bool		by_from;		/* recorded_at >= recorded_from */
	int64_t		recorded_from;
	bool		by_until;		/* recorded_at < recorded_until */
	int64_t		recorded_until;
	uint64_t	tree_size;		/* of the tenant's tree under the checkpoint */
	uint64_t	from;			/* first leaf of the range */
	uint64_t	until;			/* leaf after the last */
	uint64_t	checkpoint_size;	/* of the root log; 0: there is no checkpoint */
} AtpBundleManifest;

typedef struct AtpBundleKey
{
	AtpText		vkey;
	bool		witness;
	char		state;			/* 'a' active, 'r' retired, 'c' compromised */
	uint64_t	until_size;		/* of a retired key */
	AtpText		endorsement;	/* a signed note; empty: none */
} AtpBundleKey;

typedef enum AtpProofKind
{
	ATP_PROOF_HEAD,				/* the tenant's head is a leaf of the root log */
	ATP_PROOF_RANGE,			/* the compact range in front of the first leaf of the range */
	ATP_PROOF_TENANT,			/* the tenant's tree grew from old_size */
	ATP_PROOF_ROOT				/* the root log grew from old_size */
} AtpProofKind;

typedef struct AtpBundleProof
{
	AtpProofKind kind;
	uint64_t	leaf;			/* head: its leaf in the root log */
	uint64_t	size;			/* head: leaves of the tenant's tree; others: old size */
	uint8_t		root[ATP_HASH_SIZE];	/* head: root of the tenant's tree */
	AtpProof	proof;
} AtpBundleProof;

typedef struct AtpBundleChunk
{
	uint64_t	from;
	int			count;
	uint8_t		hash[ATP_BUNDLE_CHUNK][ATP_HASH_SIZE];
} AtpBundleChunk;

typedef struct AtpBundleEvent
{
	bool		omitted;		/* record and commitments only */
	uint64_t	leaf;
	AtpText		stream;			/* name: proved by the stream's first event only */
	AtpRecord	record;			/* with the commitments where omitted */
	uint8_t		salts[2 * ATP_SALT_SIZE];
	AtpText		payload;		/* canonical text */
	AtpText		metadata;
	bool		has_proof;
	AtpProof	proof;
} AtpBundleEvent;

typedef struct AtpBundleEnd
{
	uint64_t	events;
	uint64_t	omitted;
	uint64_t	leaves;
} AtpBundleEnd;

extern void atp_bundle_write_manifest(AtpBuf *out, const AtpBundleManifest *manifest);
extern void atp_bundle_write_key(AtpBuf *out, const AtpBundleKey *key);
extern void atp_bundle_write_checkpoint(AtpBuf *out, const char *note, size_t size);
extern void atp_bundle_write_proof(AtpBuf *out, const AtpBundleProof *proof);
extern void atp_bundle_write_chunk(AtpBuf *out, uint64_t from, const uint8_t *hashes, int count);
extern void atp_bundle_write_event(AtpBuf *out, const AtpBundleEvent *event);
extern void atp_bundle_write_end(AtpBuf *out, const AtpBundleEnd *end);

typedef enum AtpLineType
{
	ATP_LINE_BAD, ATP_LINE_MANIFEST, ATP_LINE_KEY, ATP_LINE_CHECKPOINT, ATP_LINE_PROOF, ATP_LINE_CHUNK, ATP_LINE_EVENT, ATP_LINE_END
} AtpLineType;

typedef struct AtpLine
{
	AtpLineType type;
	AtpBundleManifest manifest;
	AtpBundleKey key;
	AtpText		note;
	AtpBundleProof proof;
	AtpBundleChunk chunk;
	AtpBundleEvent event;
	AtpBundleEnd end;
} AtpLine;

/*
 * Reads a line without its new line. Texts point into `strings`, which is overwritten and must have room for `size` bytes at
 * least; ATP_LINE_BAD: not a line of a bundle.
 */
extern AtpLineType atp_bundle_read(const char *text, size_t size, AtpBuf *strings, AtpLine *line);

/* Lower-case hexadecimal. */
extern void atp_hex_write(AtpBuf *out, const uint8_t *bytes, size_t size);
extern bool atp_hex_read(const char *text, uint8_t *bytes, size_t size);
extern void atp_uuid_write(AtpBuf *out, const uint8_t uuid[16]);

#endif

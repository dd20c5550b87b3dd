/*
 * Signed notes, their keys, and checkpoints: C2SP signed-note and tlog-checkpoint, strictly.
 *
 *	note		text that ends in a new line, a blank line, then lines "<em dash> <key name> base64(key id[4] || signature)"
 *	vkey		<key name>+<key id, 8 lower-case hex digits>+base64(type || public key)
 *	skey		PRIVATE+KEY+<key name>+<key id>+base64(type || seed): not C2SP's, but what its tools keep
 *	key id		the first four bytes of SHA-256(key name || "\n" || type || public key)
 *	checkpoint	origin, decimal size, base64 root, then any number of extension lines; a note's text
 *
 * Two signature types are known: Ed25519, 0x01, and the witness cosignature of C2SP tlog-cosignature, 0x04, which is over
 * "cosignature/v1\ntime <seconds>\n" and the text of a checkpoint, and whose bytes are u64 seconds || signature.
 * Lines by other keys are skipped, as the specification demands, but
 * have to be well formed. Parsed structures point into what was parsed; nothing allocates. The text of a note counts for
 * nothing before atp_note_verify has returned ATP_NOTE_VERIFIED.
 */
#ifndef ATP_NOTE_H
#define ATP_NOTE_H

#include "core/bytes.h"
#include "core/hash.h"
#include "core/sign.h"

#define ATP_NOTE_MAX_SIZE (1024 * 1024)
#define ATP_NOTE_MAX_SIGNATURES 100
#define ATP_NOTE_ED25519 0x01
#define ATP_NOTE_COSIGNATURE 0x04

typedef struct AtpText			/* UTF-8 within what was parsed, not terminated */
{
	const char *data;
	size_t		size;
} AtpText;

typedef struct AtpNoteSignature
{
	AtpText		name;
	uint32_t	key_id;
	AtpText		base64;			/* well formed: key id and signature */
} AtpNoteSignature;

typedef struct AtpNote
{
	AtpText		text;			/* with its last new line, without the blank line: what is signed */
	int			count;			/* 1 to ATP_NOTE_MAX_SIGNATURES */
	AtpNoteSignature signature[ATP_NOTE_MAX_SIGNATURES];
} AtpNote;

typedef struct AtpVkey
{
	AtpText		name;
	uint32_t	key_id;
	uint8_t		public_key[ATP_SIGN_KEY_SIZE];
} AtpVkey;

typedef struct AtpSkey			/* a secret: to be wiped with atp_sign_wipe */
{
	AtpVkey		vkey;			/* the public half */
	uint8_t		seed[ATP_SIGN_KEY_SIZE];
} AtpSkey;

typedef enum AtpNoteVerdict
{
	ATP_NOTE_VERIFIED,			/* signed by the key, and every signature by it is right */
	ATP_NOTE_NO_SIGNATURE,		/* no line names the key */
	ATP_NOTE_BAD_SIGNATURE		/* a line names the key and its signature is wrong */
} AtpNoteVerdict;

extern bool atp_note_parse(const char *bytes, size_t size, AtpNote *note);
extern AtpNoteVerdict atp_note_verify(const AtpNote *note, const AtpVkey *vkey);

/* The same for a witness, whose key has type 0x04: *seconds is when it says it saw the checkpoint (since 1970, UTC). */
extern AtpNoteVerdict atp_note_verify_cosignature(const AtpNote *note, const AtpVkey *witness, uint64_t *seconds);

/* Is this the text of a note: ends in a new line, UTF-8, no control character but new line, not over the limit. */
extern bool atp_note_text_is_valid(const char *text, size_t size);

/*
 * Writes the whole signed note: text, blank line, signature line. False: not the text of a note, or signing failed. The
 * caller looks at out->failed. Growing `out` must not leave by longjmp while a secret waits to be wiped: reserve
 * ATP_NOTE_SIGNED_SIZE first.
 */
extern bool atp_note_sign(AtpBuf *out, const char *text, size_t size, const AtpSkey *skey);

#define ATP_NOTE_SIGNED_SIZE(text_size, name_size) ((text_size) + (name_size) + 128)

extern bool atp_vkey_parse(const char *bytes, size_t size, AtpVkey *vkey);

/* The verifier key of a witness: of type 0x04. */
extern bool atp_vkey_parse_witness(const char *bytes, size_t size, AtpVkey *vkey);
extern bool atp_skey_parse(const char *bytes, size_t size, AtpSkey *skey);

/* Makes the key of this name and seed; false: not a key name. `name` must outlive the key. */
extern bool atp_skey_make(const char *name, size_t size, const uint8_t seed[ATP_SIGN_KEY_SIZE], AtpSkey *skey);
extern void atp_vkey_write(AtpBuf *out, const AtpVkey *vkey);
extern void atp_skey_write(AtpBuf *out, const AtpSkey *skey);

/* The specification leaves the hash open here, and so do other logs: whose tree is SHA-256 checks root_size itself. */
typedef struct AtpCheckpoint
{
	AtpText		origin;
	uint64_t	size;			/* leaves */
	AtpText		root_base64;	/* well formed, not empty */
	size_t		root_size;		/* bytes it stands for */
	uint8_t		root[ATP_HASH_SIZE];	/* filled where root_size is ATP_HASH_SIZE, else zeros */
	AtpText		extension;		/* the further lines, each with its new line; empty where there are none */
} AtpCheckpoint;

extern bool atp_checkpoint_parse(const char *text, size_t size, AtpCheckpoint *checkpoint);

/* Writes the three lines; false: the origin is not one line of a note's text. */
extern bool atp_checkpoint_write(AtpBuf *out, const char *origin, size_t origin_size, uint64_t size,
								 const uint8_t root[ATP_HASH_SIZE]);

#endif

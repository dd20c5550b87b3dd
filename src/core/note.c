/* Signed notes, keys and checkpoints; see note.h. */
#include "core/note.h"

#include "core/base64.h"
#include "core/utf8.h"

#include <inttypes.h>
#include <stdio.h>

#define KEY_ID_SIZE 4
#define KEY_ID_DIGITS 8
#define COSIGNATURE_SIZE (KEY_ID_SIZE + 8 + ATP_SIGNATURE_SIZE)
#define COSIGNED_TEXT_MAX 8192	/* of a checkpoint that a witness signs: three lines and a few extensions */

static const char em_dash[] = "\xe2\x80\x94 ";
static const char skey_prefix[] = "PRIVATE+KEY+";

/* White space of Unicode beyond ASCII, as UTF-8: in valid text a match can only be that character. */
static const char *const unicode_spaces[] = {
	"\xc2\x85", "\xc2\xa0", "\xe1\x9a\x80",
	"\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
	"\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
	"\xe2\x81\x9f", "\xe3\x80\x80"
};

static bool
same_text(AtpText a, AtpText b)
{
	return a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
}

/* Cuts off what stands before the first `mark` into `head` and moves `rest` behind it; false: there is none. */
static bool
cut(AtpText *rest, char mark, AtpText *head)
{
	const char *at = rest->size > 0 ? memchr(rest->data, mark, rest->size) : NULL;

	if (at == NULL)
		return false;
	*head = (AtpText) {rest->data, (size_t) (at - rest->data)};
	rest->data = at + 1;
	rest->size -= head->size + 1;
	return true;
}

/* UTF-8 without control characters but new line. */
static bool
is_clean(const char *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((unsigned char) bytes[i] < ' ' && bytes[i] != '\n')
			return false;
	return atp_utf8_is_valid(bytes, size);
}

static bool
starts_with_space(const char *at, size_t size)
{
	for (size_t i = 0; i < sizeof(unicode_spaces) / sizeof(unicode_spaces[0]); i++)
	{
		size_t		length = strlen(unicode_spaces[i]);

		if (length <= size && memcmp(at, unicode_spaces[i], length) == 0)
			return true;
	}
	return false;
}

static bool
is_key_name(AtpText name)
{
	if (name.size == 0 || name.size > ATP_NOTE_MAX_SIZE || !atp_utf8_is_valid(name.data, name.size))
		return false;
	for (size_t i = 0; i < name.size; i++)
	{
		unsigned char c = (unsigned char) name.data[i];

		if (c <= ' ' || c == '+' || (c >= 0x80 && starts_with_space(name.data + i, name.size - i)))
			return false;
	}
	return true;
}

static uint32_t
get_u32(const uint8_t *at)
{
	return (uint32_t) at[0] << 24 | (uint32_t) at[1] << 16 | (uint32_t) at[2] << 8 | at[3];
}

static bool
key_id_of(AtpText name, uint8_t type, const uint8_t public_key[ATP_SIGN_KEY_SIZE], uint32_t *key_id)
{
	const uint8_t middle[2] = {'\n', type};
	const AtpSlice slices[3] = {{name.data, name.size}, {middle, sizeof(middle)}, {public_key, ATP_SIGN_KEY_SIZE}};
	uint8_t		hash[ATP_HASH_SIZE];

	if (!atp_sha256_slices(slices, 3, hash))
		return false;
	*key_id = get_u32(hash);
	return true;
}

/* One line between the blank line and the end, without its new line. */
static bool
parse_signature(AtpText line, AtpNoteSignature *signature)
{
	size_t		prefix = sizeof(em_dash) - 1;
	uint8_t		head[6];
	size_t		size;

	if (line.size < prefix || memcmp(line.data, em_dash, prefix) != 0)
		return false;
	line.data += prefix;
	line.size -= prefix;
	if (!cut(&line, ' ', &signature->name) || !is_key_name(signature->name))
		return false;
	if (!atp_base64_decode(line.data, line.size, NULL, 0, &size) || size <= KEY_ID_SIZE)
		return false;
	if (!atp_base64_decode(line.data, 8, head, sizeof(head), &size))
		return false;
	signature->key_id = get_u32(head);
	signature->base64 = line;
	return true;
}

bool
atp_note_text_is_valid(const char *text, size_t size)
{
	return size > 0 && size <= ATP_NOTE_MAX_SIZE && text[size - 1] == '\n' && is_clean(text, size);
}

bool
atp_note_parse(const char *bytes, size_t size, AtpNote *note)
{
	size_t		blank = size;
	AtpText		rest;
	AtpText		line;

	note->count = 0;
	if (!atp_note_text_is_valid(bytes, size))
		return false;
	for (size_t i = size - 1; i > 0 && blank == size; i--)	/* the last blank line is the one that counts */
		if (bytes[i] == '\n' && bytes[i - 1] == '\n')
			blank = i;
	if (blank == size)
		return false;
	note->text = (AtpText) {bytes, blank};
	rest = (AtpText) {bytes + blank + 1, size - blank - 1};
	while (cut(&rest, '\n', &line))
	{
		if (note->count == ATP_NOTE_MAX_SIGNATURES || !parse_signature(line, &note->signature[note->count]))
			return false;
		note->count++;
	}
	return note->count > 0;
}

AtpNoteVerdict
atp_note_verify(const AtpNote *note, const AtpVkey *vkey)
{
	AtpNoteVerdict verdict = ATP_NOTE_NO_SIGNATURE;

	for (int i = 0; i < note->count; i++)
	{
		const AtpNoteSignature *signature = &note->signature[i];
		uint8_t		bytes[KEY_ID_SIZE + ATP_SIGNATURE_SIZE];
		size_t		size;

		if (signature->key_id != vkey->key_id || !same_text(signature->name, vkey->name))
			continue;
		if (!atp_base64_decode(signature->base64.data, signature->base64.size, bytes, sizeof(bytes), &size) ||
			!atp_sign_verify(vkey->public_key, ATP_SIGN_KEY_SIZE, note->text.data, note->text.size,
							 bytes + KEY_ID_SIZE, size - KEY_ID_SIZE))
			return ATP_NOTE_BAD_SIGNATURE;
		verdict = ATP_NOTE_VERIFIED;
	}
	return verdict;
}

/* Checks one cosignature: bytes are key id, seconds, signature; the message begins with the seconds in decimal. */
static bool
check_cosignature(const AtpNote *note, const AtpVkey *witness, const uint8_t bytes[COSIGNATURE_SIZE], uint64_t *seconds)
{
	char		head[64];
	int			head_size;
	AtpBuf		message;
	static uint8_t room[COSIGNED_TEXT_MAX + sizeof(head)];

	*seconds = (uint64_t) get_u32(bytes + KEY_ID_SIZE) << 32 | get_u32(bytes + KEY_ID_SIZE + 4);
	head_size = snprintf(head, sizeof(head), "cosignature/v1\ntime %" PRIu64 "\n", *seconds);
	if (note->text.size > COSIGNED_TEXT_MAX)
		return false;
	message = (AtpBuf) {.data = room, .room = sizeof(room)};
	atp_buf_append(&message, head, (size_t) head_size);
	atp_buf_append(&message, note->text.data, note->text.size);
	return atp_sign_verify(witness->public_key, ATP_SIGN_KEY_SIZE, message.data, message.size,
						   bytes + KEY_ID_SIZE + 8, ATP_SIGNATURE_SIZE);
}

AtpNoteVerdict
atp_note_verify_cosignature(const AtpNote *note, const AtpVkey *witness, uint64_t *seconds)
{
	AtpNoteVerdict verdict = ATP_NOTE_NO_SIGNATURE;

	for (int i = 0; i < note->count; i++)
	{
		const AtpNoteSignature *signature = &note->signature[i];
		uint8_t		bytes[COSIGNATURE_SIZE];
		size_t		size;

		if (signature->key_id != witness->key_id || !same_text(signature->name, witness->name))
			continue;
		if (!atp_base64_decode(signature->base64.data, signature->base64.size, bytes, sizeof(bytes), &size) ||
			size != sizeof(bytes) || !check_cosignature(note, witness, bytes, seconds))
			return ATP_NOTE_BAD_SIGNATURE;
		verdict = ATP_NOTE_VERIFIED;
	}
	return verdict;
}

bool
atp_note_sign(AtpBuf *out, const char *text, size_t size, const AtpSkey *skey)
{
	uint8_t		bytes[KEY_ID_SIZE + ATP_SIGNATURE_SIZE];

	if (!atp_note_text_is_valid(text, size))
		return false;
	atp_put_u32(bytes, skey->vkey.key_id);
	if (!atp_sign(skey->seed, text, size, bytes + KEY_ID_SIZE))
		return false;
	atp_buf_append(out, text, size);
	atp_buf_byte(out, '\n');
	atp_buf_append(out, em_dash, sizeof(em_dash) - 1);
	atp_buf_append(out, skey->vkey.name.data, skey->vkey.name.size);
	atp_buf_byte(out, ' ');
	atp_base64_encode(out, bytes, sizeof(bytes));
	atp_buf_byte(out, '\n');
	return true;
}

/* "<key name>+<key id>+base64(type || key)": what vkeys and skeys have in common. */
static bool
parse_key(AtpText rest, uint8_t type, AtpText *name, uint32_t *key_id, uint8_t key[ATP_SIGN_KEY_SIZE])
{
	AtpText		digits;
	uint8_t		bytes[1 + ATP_SIGN_KEY_SIZE];
	size_t		size;
	bool		right;

	if (!cut(&rest, '+', name) || !is_key_name(*name) || !cut(&rest, '+', &digits) || digits.size != KEY_ID_DIGITS)
		return false;
	*key_id = 0;
	for (size_t i = 0; i < KEY_ID_DIGITS; i++)
	{
		char		c = digits.data[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
			return false;
		*key_id = *key_id << 4 | (uint32_t) (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	right = atp_base64_decode(rest.data, rest.size, bytes, sizeof(bytes), &size) && size == sizeof(bytes) &&
		bytes[0] == type;
	if (right)
		memcpy(key, bytes + 1, ATP_SIGN_KEY_SIZE);
	atp_sign_wipe(bytes, sizeof(bytes));
	return right;
}

static bool
parse_vkey(const char *bytes, size_t size, uint8_t type, AtpVkey *vkey)
{
	uint32_t	key_id;

	return parse_key((AtpText) {bytes, size}, type, &vkey->name, &vkey->key_id, vkey->public_key) &&
		key_id_of(vkey->name, type, vkey->public_key, &key_id) && key_id == vkey->key_id;
}

bool
atp_vkey_parse(const char *bytes, size_t size, AtpVkey *vkey)
{
	return parse_vkey(bytes, size, ATP_NOTE_ED25519, vkey);
}

bool
atp_vkey_parse_witness(const char *bytes, size_t size, AtpVkey *vkey)
{
	return parse_vkey(bytes, size, ATP_NOTE_COSIGNATURE, vkey);
}

bool
atp_skey_parse(const char *bytes, size_t size, AtpSkey *skey)
{
	size_t		prefix = sizeof(skey_prefix) - 1;
	AtpText		name;
	uint32_t	key_id;

	if (size >= prefix && memcmp(bytes, skey_prefix, prefix) == 0 &&
		parse_key((AtpText) {bytes + prefix, size - prefix}, ATP_NOTE_ED25519, &name, &key_id, skey->seed) &&
		atp_skey_make(name.data, name.size, skey->seed, skey) && skey->vkey.key_id == key_id)
		return true;
	atp_sign_wipe(skey, sizeof(*skey));
	return false;
}

bool
atp_skey_make(const char *name, size_t size, const uint8_t seed[ATP_SIGN_KEY_SIZE], AtpSkey *skey)
{
	memmove(skey->seed, seed, ATP_SIGN_KEY_SIZE);
	skey->vkey.name = (AtpText) {name, size};
	return is_key_name(skey->vkey.name) && atp_sign_public_key(skey->seed, skey->vkey.public_key) &&
		key_id_of(skey->vkey.name, ATP_NOTE_ED25519, skey->vkey.public_key, &skey->vkey.key_id);
}

static void
write_key(AtpBuf *out, const AtpVkey *vkey, const uint8_t key[ATP_SIGN_KEY_SIZE])
{
	char		digits[KEY_ID_DIGITS + 1];
	uint8_t		bytes[1 + ATP_SIGN_KEY_SIZE];

	snprintf(digits, sizeof(digits), "%08" PRIx32, vkey->key_id);
	bytes[0] = ATP_NOTE_ED25519;
	memcpy(bytes + 1, key, ATP_SIGN_KEY_SIZE);
	atp_buf_append(out, vkey->name.data, vkey->name.size);
	atp_buf_byte(out, '+');
	atp_buf_append(out, digits, KEY_ID_DIGITS);
	atp_buf_byte(out, '+');
	atp_base64_encode(out, bytes, sizeof(bytes));
	atp_sign_wipe(bytes, sizeof(bytes));
}

void
atp_vkey_write(AtpBuf *out, const AtpVkey *vkey)
{
	write_key(out, vkey, vkey->public_key);
}

void
atp_skey_write(AtpBuf *out, const AtpSkey *skey)
{
	atp_buf_append(out, skey_prefix, sizeof(skey_prefix) - 1);
	write_key(out, &skey->vkey, skey->seed);
}

/* Decimal digits, no leading zero but in "0" itself, at most 2^64 - 1. */
static bool
parse_size(AtpText digits, uint64_t *size)
{
	*size = 0;
	if (digits.size == 0 || (digits.data[0] == '0' && digits.size > 1))
		return false;
	for (size_t i = 0; i < digits.size; i++)
	{
		uint64_t	digit = (uint64_t) (unsigned char) digits.data[i] - '0';

		if (digit > 9 || *size > (UINT64_MAX - digit) / 10)
			return false;
		*size = *size * 10 + digit;
	}
	return true;
}

bool
atp_checkpoint_parse(const char *text, size_t size, AtpCheckpoint *checkpoint)
{
	AtpText		rest = {text, size};
	AtpText		line;

	memset(checkpoint, 0, sizeof(*checkpoint));
	if (!atp_note_text_is_valid(text, size))
		return false;
	if (!cut(&rest, '\n', &checkpoint->origin) || checkpoint->origin.size == 0)
		return false;
	if (!cut(&rest, '\n', &line) || !parse_size(line, &checkpoint->size))
		return false;
	if (!cut(&rest, '\n', &checkpoint->root_base64) || checkpoint->root_base64.size == 0)
		return false;
	line = checkpoint->root_base64;
	if (!atp_base64_decode(line.data, line.size, NULL, 0, &checkpoint->root_size))
		return false;
	if (checkpoint->root_size == ATP_HASH_SIZE)
		atp_base64_decode(line.data, line.size, checkpoint->root, ATP_HASH_SIZE, &checkpoint->root_size);
	checkpoint->extension = rest;
	while (cut(&rest, '\n', &line))
		if (line.size == 0)
			return false;
	return true;
}

bool
atp_checkpoint_write(AtpBuf *out, const char *origin, size_t origin_size, uint64_t size, const uint8_t root[ATP_HASH_SIZE])
{
	char		digits[24];
	int			length = snprintf(digits, sizeof(digits), "\n%" PRIu64 "\n", size);

	if (origin_size == 0 || origin_size > ATP_NOTE_MAX_SIZE || memchr(origin, '\n', origin_size) != NULL ||
		!is_clean(origin, origin_size))
		return false;
	atp_buf_append(out, origin, origin_size);
	atp_buf_append(out, digits, (size_t) length);
	atp_base64_encode(out, root, ATP_HASH_SIZE);
	atp_buf_byte(out, '\n');
	return true;
}

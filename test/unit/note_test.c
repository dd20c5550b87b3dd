/* Unit and property tests of core/note, core/sign and core/base64. */
#include "check.h"

#include "core/base64.h"
#include "core/note.h"

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
	static const Test tests[] = {
		{"base 64", test_base64}, {"sign", test_sign}, {"keys", test_keys}, {"key names", test_key_names},
		{"notes", test_notes}, {"note sign", test_note_sign}, {"checkpoints", test_checkpoints}
	};

	return run_tests(tests, sizeof(tests) / sizeof(tests[0]));
}

/*
 * Fuzz target of the parsers of core/note and core/base64: no memory error, no undefined behaviour, and what parses is
 * exactly what its parts spell, so that no two texts mean the same.
 */
#include "fuzz.h"

#include "core/base64.h"
#include "core/note.h"

static void
expect_same(AtpBuf *spelt, const uint8_t *data, size_t size, const char *what)
{
	expect(!spelt->failed && spelt->size == size && (size == 0 || memcmp(spelt->data, data, size) == 0), what);
	spelt->size = 0;
}

static void
try_note(AtpBuf *out, const uint8_t *data, size_t size)
{
	static const char vkey_text[] = "example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea";
	static AtpNote note;
	AtpVkey		vkey;

	if (!atp_note_parse((const char *) data, size, &note))
		return;
	atp_buf_append(out, note.text.data, note.text.size);
	atp_buf_byte(out, '\n');
	for (int i = 0; i < note.count; i++)
	{
		atp_buf_append(out, "\xe2\x80\x94 ", 4);
		atp_buf_append(out, note.signature[i].name.data, note.signature[i].name.size);
		atp_buf_byte(out, ' ');
		atp_buf_append(out, note.signature[i].base64.data, note.signature[i].base64.size);
		atp_buf_byte(out, '\n');
	}
	expect_same(out, data, size, "a note is not what its parts spell");
	expect(atp_note_text_is_valid(note.text.data, note.text.size), "the text of a note is none");
	expect(atp_vkey_parse(vkey_text, sizeof(vkey_text) - 1, &vkey), "the key is none");
	if (note.count < 4)				/* a verification costs more than a thousand parses */
		atp_note_verify(&note, &vkey);
}

static void
try_keys(AtpBuf *out, const uint8_t *data, size_t size)
{
	AtpVkey		vkey;
	AtpSkey		skey;

	if (atp_vkey_parse((const char *) data, size, &vkey))
	{
		atp_vkey_write(out, &vkey);
		expect_same(out, data, size, "a vkey is not what its parts spell");
	}
	if (atp_skey_parse((const char *) data, size, &skey))
	{
		atp_skey_write(out, &skey);
		expect_same(out, data, size, "an skey is not what its parts spell");
	}
}

static void
try_checkpoint(AtpBuf *out, const uint8_t *data, size_t size)
{
	AtpCheckpoint checkpoint;

	if (!atp_checkpoint_parse((const char *) data, size, &checkpoint) || checkpoint.root_size != ATP_HASH_SIZE)
		return;
	expect(atp_checkpoint_write(out, checkpoint.origin.data, checkpoint.origin.size, checkpoint.size, checkpoint.root),
		   "a checkpoint cannot be written");
	atp_buf_append(out, checkpoint.extension.data, checkpoint.extension.size);
	expect_same(out, data, size, "a checkpoint is not what its parts spell");
}

static void
try_base64(AtpBuf *out, const uint8_t *data, size_t size)
{
	uint8_t    *bytes = malloc(size + 1);
	size_t		decoded;

	if (atp_base64_decode((const char *) data, size, bytes, size, &decoded))
	{
		atp_base64_encode(out, bytes, decoded);
		expect_same(out, data, size, "base 64 is not what its bytes spell");
	}
	free(bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static AtpBuf out;
	uint8_t    *exact = malloc(size > 0 ? size : 1);	/* without a byte to spare, for ASan to see */

	if (out.grow == NULL)
		atp_buf_init(&out, grow, NULL);
	if (size > 0)
		memcpy(exact, data, size);
	try_note(&out, exact, size);
	try_keys(&out, exact, size);
	try_checkpoint(&out, exact, size);
	try_base64(&out, exact, size);
	free(exact);
	return 0;
}

static const char *const seeds[] = {
	"example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
	"PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
	"Ognuno sta solo\n\n\xe2\x80\x94 example.org/log HGa56lGqS3084KTNeEBrQ4V7YRk3gwR/tdyy0v0aI3t3XJhGe+c6gbKSJq1854LYiSNBWtSEy3JrG4L/gdFO0QaGRQU=\n",
	"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	"log\n18446744073709551615\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nextension\n\n\xe2\x80\x94 a AAAAAAA=\n\xe2\x80\x94 b AAAAAAA=\n",
};
static const char *const pieces[] = {"\n", "\n\n", "\xe2\x80\x94 ", " ", "+", "=", "==", "0", "AAAA", "\xc2\xa0", "\xff", "\x01", "PRIVATE+KEY+", "a AAAAAAA=\n"};

FUZZ_MAIN(seeds, pieces)

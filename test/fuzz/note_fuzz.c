/*
 * Fuzz target of the parsers of core/note and core/base64: no memory error, no undefined behaviour, and what parses is
 * exactly what its parts spell, so that no two texts mean the same.
 *
 *	clang -fsanitize=fuzzer,address,undefined ...		libFuzzer
 *	-DSTANDALONE: note_fuzz ROUNDS [SEED]		ROUNDS mutations of the texts below, or
 *	              note_fuzz FILE ...			the files that a fuzzer left
 */
#include "core/base64.h"
#include "core/note.h"

#include <stdio.h>
#include <stdlib.h>

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	return realloc(memory, size);
}

static void
expect(bool holds, const char *what)
{
	if (!holds)
	{
		fprintf(stderr, "note_fuzz: %s\n", what);
		abort();
	}
}

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

#ifdef STANDALONE

static const char *const seeds[] = {
	"example.org/log+1c66b9ea+AddamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea",
	"PRIVATE+KEY+example.org/log+1c66b9ea+AZ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
	"Ognuno sta solo\n\n\xe2\x80\x94 example.org/log HGa56lGqS3084KTNeEBrQ4V7YRk3gwR/tdyy0v0aI3t3XJhGe+c6gbKSJq1854LYiSNBWtSEy3JrG4L/gdFO0QaGRQU=\n",
	"example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n",
	"log\n18446744073709551615\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nextension\n\n\xe2\x80\x94 a AAAAAAA=\n\xe2\x80\x94 b AAAAAAA=\n",
};
static const char *const pieces[] = {"\n", "\n\n", "\xe2\x80\x94 ", " ", "+", "=", "==", "0", "AAAA", "\xc2\xa0", "\xff", "\x01", "PRIVATE+KEY+", "a AAAAAAA=\n"};

static uint64_t state;

static size_t
draw(size_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (size_t) (state >> 11) % below;
}

/* Replaces `gone` bytes at a place by others. */
static size_t
splice(uint8_t *data, size_t size, size_t gone, const void *put, size_t put_size)
{
	size_t		at = draw(size - gone + 1);

	memmove(data + at + put_size, data + at + gone, size - at - gone);
	memcpy(data + at, put, put_size);
	return size - gone + put_size;
}

static size_t
mutate(uint8_t *data, size_t size)
{
	const char *piece = pieces[draw(sizeof(pieces) / sizeof(pieces[0]))];
	const char *seed = seeds[draw(sizeof(seeds) / sizeof(seeds[0]))];
	size_t		cut = draw(strlen(seed));

	switch (size > 0 ? draw(5) : 3)
	{
		case 0:
			data[draw(size)] ^= (uint8_t) (1 << draw(8));
			return size;
		case 1:
			data[draw(size)] = (uint8_t) draw(256);
			return size;
		case 2:
			return splice(data, size, draw(size < 9 ? size : 9), "", 0);
		case 3:
			return splice(data, size, 0, piece, strlen(piece));
		default:
			return splice(data, size, draw(size), seed + cut, draw(strlen(seed) - cut) + 1);
	}
}

static int
run_file(const char *name)
{
	static uint8_t data[4 * ATP_NOTE_MAX_SIZE];
	FILE	   *file = fopen(name, "rb");

	if (file == NULL)
	{
		perror(name);
		return 1;
	}
	LLVMFuzzerTestOneInput(data, fread(data, 1, sizeof(data), file));
	fclose(file);
	return 0;
}

int
main(int count, char **argument)
{
	uint64_t	rounds = count > 1 ? strtoull(argument[1], NULL, 10) : 0;

	for (int i = 1; i < count && rounds == 0; i++)
		if (run_file(argument[i]) != 0)
			return 1;
	state = count > 2 && rounds > 0 ? strtoull(argument[2], NULL, 10) | 1 : 1;
	for (uint64_t round = 0; round < rounds; round++)
	{
		uint8_t		data[4096];
		const char *seed = seeds[round % (sizeof(seeds) / sizeof(seeds[0]))];
		size_t		size = strlen(seed);

		memcpy(data, seed, size);
		LLVMFuzzerTestOneInput(data, size);
		for (size_t i = draw(6); i-- > 0;)
			size = mutate(data, size);
		LLVMFuzzerTestOneInput(data, size);
	}
	printf("1 passed, 0 failed\n");
	return 0;
}

#endif

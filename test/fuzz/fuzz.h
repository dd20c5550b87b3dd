/*
 * What a fuzz target is written with. A target defines LLVMFuzzerTestOneInput, texts to begin with and pieces to put into them.
 *
 *	clang -fsanitize=fuzzer,address,undefined ...		libFuzzer
 *	-DSTANDALONE: NAME ROUNDS [SEED]	that many mutations of the texts, always the same ones for a seed
 *	              NAME FILE ...		the files that a fuzzer left
 *	              NAME --write DIRECTORY	the texts as files: where libFuzzer begins
 */
#ifndef ATP_TEST_FUZZ_H
#define ATP_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern int	LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	return realloc(memory, size);
}

static inline void
expect(bool holds, const char *what)
{
	if (!holds)
	{
		fprintf(stderr, "fuzz: %s\n", what);
		abort();
	}
}

#ifdef STANDALONE

typedef struct Fuzz
{
	const char *const *seeds;
	size_t		seed_count;
	const char *const *pieces;
	size_t		piece_count;
	uint64_t	state;
} Fuzz;

#define FUZZ_ROOM 65536			/* a text of up to an eighth, and what six mutations put into it */

static size_t
draw(Fuzz *fuzz, size_t below)
{
	fuzz->state ^= fuzz->state << 13;
	fuzz->state ^= fuzz->state >> 7;
	fuzz->state ^= fuzz->state << 17;
	return (size_t) (fuzz->state >> 11) % below;
}

/* Replaces `gone` bytes at a place by others. */
static size_t
splice(Fuzz *fuzz, uint8_t *data, size_t size, size_t gone, const void *put, size_t put_size)
{
	size_t		at = draw(fuzz, size - gone + 1);

	memmove(data + at + put_size, data + at + gone, size - at - gone);
	memcpy(data + at, put, put_size);
	return size - gone + put_size;
}

static size_t
mutate(Fuzz *fuzz, uint8_t *data, size_t size)
{
	const char *piece = fuzz->pieces[draw(fuzz, fuzz->piece_count)];
	const char *seed = fuzz->seeds[draw(fuzz, fuzz->seed_count)];
	size_t		cut = seed[0] == '\0' ? 0 : draw(fuzz, strlen(seed));

	switch (size > 0 ? draw(fuzz, 5) : 3)
	{
		case 0:
			data[draw(fuzz, size)] ^= (uint8_t) (1 << draw(fuzz, 8));
			return size;
		case 1:
			data[draw(fuzz, size)] = (uint8_t) draw(fuzz, 256);
			return size;
		case 2:
			return splice(fuzz, data, size, draw(fuzz, size < 9 ? size : 9), "", 0);
		case 3:
			return splice(fuzz, data, size, 0, piece, strlen(piece));
		default:
			return splice(fuzz, data, size, draw(fuzz, size), seed + cut, draw(fuzz, strlen(seed) - cut + 1));
	}
}

static void
run_rounds(Fuzz *fuzz, uint64_t rounds)
{
	static uint8_t data[FUZZ_ROOM];

	for (uint64_t round = 0; round < rounds; round++)
	{
		const char *seed = fuzz->seeds[round % fuzz->seed_count];
		size_t		size = strlen(seed);

		expect(size < FUZZ_ROOM / 8, "a seed is too long");
		memcpy(data, seed, size);
		LLVMFuzzerTestOneInput(data, size);
		for (size_t i = draw(fuzz, 6); i-- > 0;)
			size = mutate(fuzz, data, size);
		LLVMFuzzerTestOneInput(data, size);
	}
}

static int
run_file(const char *name)
{
	static uint8_t data[1 << 22];
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

static int
write_seeds(const Fuzz *fuzz, const char *directory)
{
	for (size_t i = 0; i < fuzz->seed_count; i++)
	{
		char		name[4096];
		FILE	   *file;

		snprintf(name, sizeof(name), "%s/%zu", directory, i);
		file = fopen(name, "wb");
		if (file == NULL)
		{
			perror(name);
			return 1;
		}
		fputs(fuzz->seeds[i], file);
		fclose(file);
	}
	return 0;
}

static int
fuzz_main(Fuzz *fuzz, int count, char **argument)
{
	uint64_t	rounds = count > 1 ? strtoull(argument[1], NULL, 10) : 0;

	if (count == 3 && strcmp(argument[1], "--write") == 0)
		return write_seeds(fuzz, argument[2]);
	for (int i = 1; i < count && rounds == 0; i++)
		if (run_file(argument[i]) != 0)
			return 1;
	fuzz->state = count > 2 && rounds > 0 ? strtoull(argument[2], NULL, 10) | 1 : 1;
	run_rounds(fuzz, rounds);
	printf("1 passed, 0 failed\n");
	return 0;
}

#define FUZZ_MAIN(seeds, pieces) \
	int main(int count, char **argument) \
	{ \
		Fuzz fuzz = {seeds, sizeof(seeds) / sizeof((seeds)[0]), pieces, sizeof(pieces) / sizeof((pieces)[0]), 1}; \
		return fuzz_main(&fuzz, count, argument); \
	}

#else
#define FUZZ_MAIN(seeds, pieces) extern const void *const fuzz_texts[2]; const void *const fuzz_texts[2] = {seeds, pieces};
#endif

#endif

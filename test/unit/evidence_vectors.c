/*
 * Answers conformance vectors with core alone, for merkle_conformance.py: what SQL cannot be asked (sizes beyond bigint),
 * and the same questions without a server. A line in is a question, a line out its answer (1 or 0, or a hash in hexadecimal).
 *
 *	inclusion LEAF INDEX SIZE ROOT HASH...		consistency SIZE1 SIZE2 ROOT1 ROOT2 HASH...
 *	note NOTE VKEY		vkey VKEY		checkpoint TEXT		ed25519 KEY MESSAGE SIGNATURE		root LEAF...
 *
 * Byte strings are hexadecimal after an "x"; numbers are decimal, and out of range like strtoull's.
 */
#include "core/note.h"
#include "core/tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_LINE (4 * 1024 * 1024)
#define MAX_WORDS 256

typedef struct Word
{
	uint8_t    *bytes;
	size_t		size;
	uint64_t	number;
} Word;

static Word
read_word(char *text)
{
	Word		word = {(uint8_t *) text, 0, 0};

	if (text[0] != 'x')
		word.number = strtoull(text, NULL, 10);
	else
		for (char *at = text + 1; at[0] != '\0' && at[1] != '\0'; at += 2)
		{
			char		pair[3] = {at[0], at[1], '\0'};

			word.bytes[word.size++] = (uint8_t) strtoul(pair, NULL, 16);
		}
	return word;
}

static bool
read_proof(const Word *words, int count, AtpProof *proof)
{
	proof->count = 0;
	for (int i = 0; i < count; i++)
		if (!atp_proof_add(proof, words[i].bytes, words[i].size))
			return false;
	return true;
}

static void
answer_root(const Word *words, int count)
{
	AtpRange	range;
	uint8_t		hash[ATP_HASH_SIZE];

	atp_range_init(&range);
	for (int i = 0; i < count; i++)
	{
		atp_tree_leaf(words[i].bytes, words[i].size, hash);
		atp_range_append(&range, hash, NULL, NULL);
	}
	atp_range_root(&range, hash);
	for (int i = 0; i < ATP_HASH_SIZE; i++)
		printf("%02x", hash[i]);
	printf("\n");
}

static void
answer_checkpoint(const Word *word)
{
	AtpCheckpoint checkpoint;

	if (!atp_checkpoint_parse((char *) word->bytes, word->size, &checkpoint))
		printf("0\n");
	else
		printf("1 %.*s|%" PRIu64 "|%.*s|%zu\n", (int) checkpoint.origin.size, checkpoint.origin.data, checkpoint.size,
			   (int) checkpoint.root_base64.size, checkpoint.root_base64.data, checkpoint.extension.size);
}

static bool
answer(const char *question, const Word *w, int count)
{
	static AtpNote note;
	AtpVkey		vkey;
	AtpProof	proof;

	if (strcmp(question, "inclusion") == 0)
		return w[0].size == ATP_HASH_SIZE && w[3].size == ATP_HASH_SIZE && read_proof(w + 4, count - 4, &proof) &&
			atp_proof_verify_inclusion(w[0].bytes, w[1].number, w[2].number, &proof, w[3].bytes);
	if (strcmp(question, "consistency") == 0)
		return w[2].size == ATP_HASH_SIZE && w[3].size == ATP_HASH_SIZE && read_proof(w + 4, count - 4, &proof) &&
			atp_proof_verify_consistency(w[0].number, w[1].number, &proof, w[2].bytes, w[3].bytes);
	if (strcmp(question, "vkey") == 0)
		return atp_vkey_parse((char *) w[0].bytes, w[0].size, &vkey);
	if (strcmp(question, "note") == 0)
		return atp_vkey_parse((char *) w[1].bytes, w[1].size, &vkey) &&
			atp_note_parse((char *) w[0].bytes, w[0].size, &note) && atp_note_verify(&note, &vkey) == ATP_NOTE_VERIFIED;
	return atp_sign_verify(w[0].bytes, w[0].size, w[1].bytes, w[1].size, w[2].bytes, w[2].size);
}

int
main(void)
{
	char	   *line = malloc(MAX_LINE);

	while (fgets(line, MAX_LINE, stdin) != NULL)
	{
		Word		words[MAX_WORDS];
		int			count = 0;
		char	   *question = strtok(line, " \n");

		for (char *text; count < MAX_WORDS && (text = strtok(NULL, " \n")) != NULL; count++)
			words[count] = read_word(text);
		if (strcmp(question, "root") == 0)
			answer_root(words, count);
		else if (strcmp(question, "checkpoint") == 0)
			answer_checkpoint(&words[0]);
		else
			printf("%d\n", answer(question, words, count));
	}
	free(line);
	return 0;
}

/*
 * The ground floor behind a line protocol, so that another implementation can be held against it without a server. Fields are
 * separated by spaces; bytes are hexadecimal, "-" for none. One line of answer for each line of input.
 *
 *	canon exact|rfc8785 TEXT							canonical form, or "error REASON"
 *	field POINTER SALT CANONICAL						commitment
 *	part payload|metadata SALT SKELETON [POINTER COMMITMENT]...		commitment
 *	record ALG FLAGS LOG STREAM VERSION EVENT TYPE SCHEMA OCCURRED RECORDED PAYLOAD METADATA PREVIOUS		hash
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/record.h"

#define MAX_FIELDS 64

static void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	return realloc(memory, size);
}

static void
die(const char *what)
{
	fprintf(stderr, "coretool: %s\n", what);
	exit(2);
}

/* Turns hexadecimal into bytes in place; returns how many. */
static size_t
unhex(char *text)
{
	size_t		size = strcmp(text, "-") == 0 ? 0 : strlen(text) / 2;

	for (size_t i = 0; i < size; i++)
	{
		char		pair[3] = {text[2 * i], text[2 * i + 1], '\0'};

		text[i] = (char) strtoul(pair, NULL, 16);
	}
	return size;
}

static void
unhex_exactly(char *text, uint8_t *to, size_t size)
{
	if (unhex(text) != size)
		die("wrong size of a field");
	memcpy(to, text, size);
}

static void
print_hex(const void *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const uint8_t *) bytes)[i]);
	printf("\n");
}

static void
canon(char **words)
{
	AtpCanonProfile profile = strcmp(words[1], "exact") == 0 ? ATP_CANON_EXACT : ATP_CANON_RFC8785;
	AtpJsonLimits limits = {.max_depth = 10000, .allow_zero = true};
	AtpJsonError error;
	AtpJson		json;
	AtpBuf		out;

	atp_json_init(&json, grow, NULL);
	atp_buf_init(&out, grow, NULL);
	if (atp_json_parse(&json, words[2], unhex(words[2]), limits, &error) && atp_json_canonical(&json, profile, &out, &error))
		print_hex(out.data, out.size);
	else
		printf("error %s\n", atp_json_reason(error.code));
	free(json.nodes.data);
	free(json.bytes.data);
	free(json.keys.data);
	free(out.data);
}

static void
field(char **words)
{
	uint8_t		salt[ATP_SALT_SIZE];
	uint8_t		commitment[ATP_HASH_SIZE];
	size_t		pointer = unhex(words[1]);
	size_t		value = unhex(words[3]);

	unhex_exactly(words[2], salt, sizeof(salt));
	if (!atp_field_commitment(words[1], pointer, salt, words[3], value, commitment))
		die("no hash");
	print_hex(commitment, sizeof(commitment));
}

static void
part(char **words, int count)
{
	AtpField	fields[MAX_FIELDS];
	uint8_t		salt[ATP_SALT_SIZE];
	uint8_t		commitment[ATP_HASH_SIZE];
	size_t		skeleton = unhex(words[3]);
	uint32_t	n = 0;

	unhex_exactly(words[2], salt, sizeof(salt));
	for (int i = 4; i + 1 < count; i += 2, n++)
	{
		fields[n].pointer = words[i];
		fields[n].pointer_size = unhex(words[i]);
		unhex_exactly(words[i + 1], fields[n].commitment, ATP_HASH_SIZE);
	}
	if (!atp_part_commitment(strcmp(words[1], "payload") == 0 ? ATP_PART_PAYLOAD : ATP_PART_METADATA, salt, words[3], skeleton,
							 fields, n, commitment))
		die("no hash");
	print_hex(commitment, sizeof(commitment));
}

static void
record(char **words)
{
	AtpRecord	record = {
		.alg = (uint8_t) strtoul(words[1], NULL, 10),
		.flags = (uint8_t) strtoul(words[2], NULL, 10),
		.stream_version = strtoull(words[5], NULL, 10),
		.event_type = words[7],
		.schema_version = (uint32_t) strtoul(words[8], NULL, 10),
		.occurred_at = strtoll(words[9], NULL, 10),
		.recorded_at = strtoll(words[10], NULL, 10)
	};
	uint8_t		hash[ATP_HASH_SIZE];

	unhex_exactly(words[3], record.log_uid, 16);
	unhex_exactly(words[4], record.stream_uid, 16);
	unhex_exactly(words[6], record.event_id, 16);
	record.event_type_size = unhex(words[7]);
	unhex_exactly(words[11], record.payload_commitment, ATP_HASH_SIZE);
	unhex_exactly(words[12], record.metadata_commitment, ATP_HASH_SIZE);
	unhex_exactly(words[13], record.previous_hash, ATP_HASH_SIZE);
	if (!atp_record_hash(&record, hash))
		die("no hash");
	print_hex(hash, sizeof(hash));
}

int
main(void)
{
	char	   *line = NULL;
	size_t		room = 0;
	ssize_t		size;

	while ((size = getline(&line, &room, stdin)) > 0)
	{
		char	   *words[2 * MAX_FIELDS];
		int			count = 0;

		line[size - 1] = '\0';
		for (char *word = strtok(line, " "); word != NULL && count < 2 * MAX_FIELDS; word = strtok(NULL, " "))
			words[count++] = word;
		if (count == 3 && strcmp(words[0], "canon") == 0)
			canon(words);
		else if (count == 4 && strcmp(words[0], "field") == 0)
			field(words);
		else if (count >= 4 && strcmp(words[0], "part") == 0)
			part(words, count);
		else if (count == 14 && strcmp(words[0], "record") == 0)
			record(words);
		else
			die("unknown line");
	}
	free(line);
	return 0;
}

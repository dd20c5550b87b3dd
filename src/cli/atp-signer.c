/*
 * atp-signer: signs checkpoints outside the database.
 *
 * It has a key of its own and a state of its own: the compact range of the root log, and of each tenant's tree the last size and
 * root. For each checkpoint it reads the new leaves of the root log, checks that each tenant's tree grew from what it last saw of
 * it, adds the leaves to its own range, and compares the root it gets with the one it is to sign. A tree that is smaller, or
 * does not continue what was signed, is refused (exit 5), for ever. The state is on disk (written beside, flushed, renamed) before
 * the signature leaves the process: a crash in between signs the same checkpoint again, never another.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/note.h"
#include "core/record.h"
#include "core/tree.h"

#define STATE_FORMAT "atp/signer-state/v1"
#define PAGE "1000"

typedef struct Head				/* of a tenant's tree, as last seen */
{
	uint8_t		log_uid[16];
	uint64_t	size;
	uint8_t		root[ATP_HASH_SIZE];
} Head;

typedef struct State
{
	char	   *origin;			/* NULL: nothing was signed yet */
	AtpRange	range;			/* of the root log */
	Head	   *heads;
	size_t		count;
	size_t		room;
	size_t	   *places;			/* by log_uid: number of the head + 1, 0: free; at least twice as many as heads, a power of two */
	size_t		place_count;
} State;

static const char *state_path;
static const char *anchor_path;
static const char *anchor_command;
static AtpSkey key;
static char *key_text;
static char *vkey_text;
static State state;

static void
die(int status, const char *what, const char *detail)
{
	fprintf(stderr, "atp-signer: %s%s%s\n", what, detail != NULL ? ": " : "", detail != NULL ? detail : "");
	exit(status);
}

static void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	memory = realloc(memory, size);
	if (memory == NULL)
		die(3, "no memory", NULL);
	return memory;
}

static AtpBuf
new_buf(void)
{
	AtpBuf		buf;

	atp_buf_init(&buf, grow, NULL);
	return buf;
}

static bool
hex_read(const char *text, uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
	{
		unsigned int byte;

		if (strspn(text + 2 * i, "0123456789abcdef") < 2 || sscanf(text + 2 * i, "%2x", &byte) != 1)
			return false;
		bytes[i] = (uint8_t) byte;
	}
	return true;
}

static void
hex_print(FILE *out, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++)
		fprintf(out, "%02x", bytes[i]);
}

/* ---- files ---- */

/*
 * Reads a file whole, terminated; NULL: it does not exist. Nobody else may write to it; `secret`: nor have any right on it. It is opened
 * such that a FIFO in its place cannot keep us waiting, and looked at once it is open.
 */
static char *
read_file(const char *path, bool secret)
{
	int			fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	AtpBuf		buf = new_buf();
	char		block[65536];
	struct stat status;
	ssize_t		got;

	if (fd < 0 && errno == ENOENT)
		return NULL;
	if (fd < 0 || fstat(fd, &status) != 0)
		die(3, path, strerror(errno));
	if (!S_ISREG(status.st_mode))
		die(3, path, "not a regular file");
	if (status.st_uid != geteuid() && status.st_uid != 0)
		die(3, path, "it belongs to somebody else");
	if ((status.st_mode & (secret ? 077 : 022)) != 0)
		die(3, path, secret ? "others have rights on it; chmod 600" : "others can write to it; chmod 600");
	while ((got = read(fd, block, sizeof(block))) > 0)
		atp_buf_append(&buf, block, (size_t) got);
	if (got < 0)
		die(3, path, strerror(errno));
	close(fd);
	if (secret)
		atp_sign_wipe(block, sizeof(block));
	atp_buf_byte(&buf, '\0');
	return (char *) buf.data;
}

static void
sync_directory(const char *path)
{
	char	   *directory = strdup(path);
	int			fd;

	if (strrchr(directory, '/') != NULL)
		*strrchr(directory, '/') = '\0';
	else
		strcpy(directory, ".");
	fd = open(directory[0] == '\0' ? "/" : directory, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || fsync(fd) != 0)
		die(3, directory, strerror(errno));
	close(fd);
	free(directory);
}

static void
load_key(const char *path)
{
	AtpBuf		vkey = new_buf();

	key_text = read_file(path, true);
	if (key_text == NULL)
		die(3, path, strerror(ENOENT));
	key_text[strcspn(key_text, "\r\n")] = '\0';
	if (!atp_skey_parse(key_text, strlen(key_text), &key))
		die(3, path, "not a signing key");
	atp_vkey_write(&vkey, &key.vkey);
	atp_buf_byte(&vkey, '\0');
	vkey_text = (char *) vkey.data;
}

/* ---- heads ---- */

/* The place of a head in the table, taken or free. log_uid is random. */
static size_t *
find_place(const uint8_t log_uid[16])
{
	uint64_t	at;

	memcpy(&at, log_uid + 8, sizeof(at));
	for (at *= UINT64_C(0x9e3779b97f4a7c15), at >>= 32;; at++)
	{
		size_t	   *place = &state.places[at & (state.place_count - 1)];

		if (*place == 0 || memcmp(state.heads[*place - 1].log_uid, log_uid, 16) == 0)
			return place;
	}
}

static Head *
find_head(const uint8_t log_uid[16])
{
	size_t		number = state.place_count == 0 ? 0 : *find_place(log_uid);

	return number == 0 ? NULL : &state.heads[number - 1];
}

static void
add_head(const Head *head)
{
	if (state.count == state.room)
	{
		state.room = state.room * 2 + 64;
		state.heads = grow(NULL, state.heads, sizeof(Head) * state.room);
	}
	state.heads[state.count++] = *head;
	if (state.count * 2 > state.place_count)
	{
		state.place_count = state.place_count == 0 ? 128 : state.place_count * 2;
		state.places = grow(NULL, state.places, sizeof(size_t) * state.place_count);
		memset(state.places, 0, sizeof(size_t) * state.place_count);
		for (size_t i = 0; i + 1 < state.count; i++)
			*find_place(state.heads[i].log_uid) = i + 1;
	}
	if (*find_place(head->log_uid) != 0)
		die(3, state_path, "a tenant is there twice");
	*find_place(head->log_uid) = state.count;
}

/* ---- the state: format, origin, "log SIZE PEAKS", "tenant LOG_UID SIZE ROOT" lines, all in hexadecimal ---- */

/* Two with one state would each sign what continues their own: a database could show each another log. Held to the end. */
static void
lock_state(void)
{
	char	   *beside = malloc(strlen(state_path) + 6);
	int			fd;

	sprintf(beside, "%s.lock", state_path);
	fd = open(beside, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		die(3, beside, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		die(3, state_path, errno == EWOULDBLOCK ? "another atp-signer is at work with this state" : strerror(errno));
	free(beside);
}

static void
load_state(void)
{
	char	   *text = read_file(state_path, false);
	char	   *line;
	char	   *rest;

	atp_range_init(&state.range);
	if (text == NULL)
	{
		fprintf(stderr, "atp-signer: %s: no state yet; what is there now is believed, and from then on held to\n", state_path);
		return;
	}
	line = strtok_r(text, "\n", &rest);
	if (line == NULL || strcmp(line, STATE_FORMAT) != 0 || (line = strtok_r(NULL, "\n", &rest)) == NULL)
		die(3, state_path, "not a state of atp-signer");
	state.origin = strdup(line);
	while ((line = strtok_r(NULL, "\n", &rest)) != NULL)
	{
		uint64_t	size;
		int			at = 0;
		char		uid[33];

		if (sscanf(line, "log %" SCNu64 " %n", &size, &at) == 1 && at > 0)
		{
			size_t		bytes = strlen(line + at) / 2;
			uint8_t		peaks[ATP_TREE_LEVELS * ATP_HASH_SIZE];

			if (bytes > sizeof(peaks) || !hex_read(line + at, peaks, bytes) || !atp_range_load(&state.range, size, peaks, bytes))
				die(3, state_path, "the range is malformed");
		}
		else if (sscanf(line, "tenant %32s %" SCNu64 " %n", uid, &size, &at) == 2 && at > 0)
		{
			Head		head = {.size = size};

			if (strlen(uid) != 32 || !hex_read(uid, head.log_uid, 16) || strlen(line + at) != 64 ||
				!hex_read(line + at, head.root, ATP_HASH_SIZE))
				die(3, state_path, "a head is malformed");
			add_head(&head);
		}
		else
			die(3, state_path, "a line is malformed");
	}
	free(text);
}

static void
save_state(void)
{
	char	   *beside = malloc(strlen(state_path) + 5);
	uint8_t		peaks[ATP_TREE_LEVELS * ATP_HASH_SIZE];
	size_t		bytes = atp_range_save(&state.range, peaks);
	FILE	   *out;

	sprintf(beside, "%s.new", state_path);
	out = fopen(beside, "wb");
	if (out == NULL)
		die(3, beside, strerror(errno));
	fprintf(out, "%s\n%s\nlog %" PRIu64 " ", STATE_FORMAT, state.origin, state.range.size);
	hex_print(out, peaks, bytes);
	fputc('\n', out);
	for (size_t i = 0; i < state.count; i++)
	{
		fputs("tenant ", out);
		hex_print(out, state.heads[i].log_uid, 16);
		fprintf(out, " %" PRIu64 " ", state.heads[i].size);
		hex_print(out, state.heads[i].root, ATP_HASH_SIZE);
		fputc('\n', out);
	}
	if (fflush(out) != 0 || fsync(fileno(out)) != 0 || fclose(out) != 0 || rename(beside, state_path) != 0)
		die(3, state_path, strerror(errno));
	sync_directory(state_path);
	free(beside);
}

/* ---- the database ---- */

static PGresult *
ask(PGconn *db, const char *sql, int count, const char *const *values)
{
	PGresult   *result = PQexecParams(db, sql, count, NULL, values, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_TUPLES_OK)
		die(3, "the database refuses", PQerrorMessage(db));
	return result;
}

/* "\x..." of a bytea column. */
static void
take_bytes(const char *text, uint8_t *bytes, size_t size)
{
	if (strncmp(text, "\\x", 2) != 0 || strlen(text) != 2 + 2 * size || !hex_read(text + 2, bytes, size))
		die(5, "refused", "the database gives a malformed hash");
}

static void
take_uid(const char *text, uint8_t uid[16])
{
	char		digits[33];
	size_t		count = 0;

	for (; *text != '\0' && count < 32; text++)
		if (*text != '-')
			digits[count++] = *text;
	digits[count] = '\0';
	if (count != 32 || !hex_read(digits, uid, 16))
		die(5, "refused", "the database gives a malformed uuid");
}

/* "{"\\x…","\\x…"}": an array of bytea. */
static void
take_proof(const char *text, AtpProof *proof)
{
	proof->count = 0;
	for (const char *at = strstr(text, "\\x"); at != NULL; at = strstr(at + 1, "\\x"))
	{
		uint8_t		hash[ATP_HASH_SIZE];

		if (!hex_read(at + 2, hash, ATP_HASH_SIZE) || !atp_proof_add(proof, hash, ATP_HASH_SIZE))
			die(5, "refused", "the database gives a malformed proof");
	}
}

/* Takes one leaf of the root log: the tenant's tree has to go on from what was seen of it. */
static void
take_head(PGresult *result, int row)
{
	Head		now;
	Head	   *before;
	AtpProof	proof;
	uint8_t		leaf[ATP_HASH_SIZE];

	take_uid(PQgetvalue(result, row, 1), now.log_uid);
	now.size = strtoull(PQgetvalue(result, row, 2), NULL, 10);
	take_bytes(PQgetvalue(result, row, 3), now.root, ATP_HASH_SIZE);
	before = find_head(now.log_uid);
	if (before != NULL)
	{
		take_proof(PQgetvalue(result, row, 5), &proof);
		if (!atp_proof_verify_consistency(before->size, now.size, &proof, before->root, now.root))
			die(5, "refused", "a tenant's tree does not continue the one that was signed");
		*before = now;
	}
	else
		add_head(&now);
	if (!atp_head_hash(now.log_uid, now.size, now.root, leaf) || !atp_range_append(&state.range, leaf, NULL, NULL))
		die(3, "SHA-256 failed in OpenSSL", NULL);
}

/* Brings the state up to a size of the root log. */
static void
catch_up(PGconn *db, uint64_t size)
{
	while (state.range.size < size)
	{
		char		after[24];
		char		most[24];
		const char *values[] = {after, most};
		uint64_t	wanted = size - state.range.size < 1000 ? size - state.range.size : 1000;
		PGresult   *result;

		snprintf(after, sizeof(after), "%" PRId64, (int64_t) state.range.size - 1);
		snprintf(most, sizeof(most), "%" PRIu64, wanted);
		result = ask(db, "SELECT leaf, log_uid, size, root, previous_size, consistency FROM atp.list_heads($1, $2)", 2, values);
		if ((uint64_t) PQntuples(result) != wanted)
			die(5, "refused", "leaves of the root log are missing");
		for (int i = 0; i < PQntuples(result); i++)
		{
			if (strtoull(PQgetvalue(result, i, 0), NULL, 10) != state.range.size)
				die(5, "refused", "leaves of the root log are not in order");
			take_head(result, i);
		}
		PQclear(result);
	}
}

/* Appends the note to the anchor file, and hands it to the command. */
static void
anchor(const char *note, size_t size)
{
	if (anchor_path != NULL)
	{
		int			fd = open(anchor_path, O_WRONLY | O_APPEND | O_CREAT, 0644);

		if (fd < 0 || write(fd, note, size) != (ssize_t) size || write(fd, "\n", 1) != 1 || fsync(fd) != 0 || close(fd) != 0)
			die(3, anchor_path, strerror(errno));
	}
	if (anchor_command != NULL)
	{
		FILE	   *pipe = popen(anchor_command, "w");

		if (pipe == NULL || fwrite(note, 1, size, pipe) != size || pclose(pipe) != 0)
			fprintf(stderr, "atp-signer: the anchor command failed; the checkpoint is signed, and is anchored with the next one\n");
	}
}

/* Signs the pending checkpoint, if there is one. */
static bool
sign_pending(PGconn *db)
{
	const char *by_key[] = {vkey_text};
	PGresult   *result = ask(db, "SELECT size, body FROM atp.get_pending_checkpoint($1)", 1, by_key);
	AtpCheckpoint checkpoint;
	AtpBuf		note = new_buf();
	const char *body;
	const char *values[1];
	uint8_t		root[ATP_HASH_SIZE];

	if (PQntuples(result) == 0 || PQgetisnull(result, 0, 0))
	{
		PQclear(result);
		return false;
	}
	body = PQgetvalue(result, 0, 1);
	if (!atp_checkpoint_parse(body, strlen(body), &checkpoint) || checkpoint.root_size != ATP_HASH_SIZE || checkpoint.extension.size > 0)
		die(5, "refused", "what is to be signed is not a checkpoint");
	if (state.origin == NULL)
		state.origin = strndup(checkpoint.origin.data, checkpoint.origin.size);
	if (strlen(state.origin) != checkpoint.origin.size || memcmp(state.origin, checkpoint.origin.data, checkpoint.origin.size) != 0)
		die(5, "refused", "the checkpoint is of another origin than those signed before");
	if (checkpoint.size < state.range.size)
		die(5, "refused", "the root log is smaller than the one that was signed");
	catch_up(db, checkpoint.size);
	if (!atp_range_root(&state.range, root) || memcmp(root, checkpoint.root, ATP_HASH_SIZE) != 0)
		die(5, "refused", "the root log does not continue the one that was signed");
	save_state();
	if (!atp_note_sign(&note, body, strlen(body), &key))
		die(3, "could not sign", NULL);
	anchor((char *) note.data, note.size);
	atp_buf_byte(&note, '\0');
	values[0] = (char *) note.data;
	PQclear(ask(db, "SELECT atp.submit_checkpoint($1)", 1, values));
	printf("signed %" PRIu64 "\n", checkpoint.size);
	fflush(stdout);
	PQclear(result);
	free(note.data);
	return true;
}

/* ---- keys ---- */

static int
generate(const char *path, const char *name)
{
	uint8_t		seed[ATP_SIGN_KEY_SIZE];
	AtpBuf		text = new_buf();
	AtpBuf		vkey = new_buf();
	int			fd;

	if (!atp_sign_generate(seed) || !atp_skey_make(name, strlen(name), seed, &key))
		die(3, "not the name of a key", name);
	atp_skey_write(&text, &key);
	atp_buf_byte(&text, '\n');
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || write(fd, text.data, text.size) != (ssize_t) text.size || fsync(fd) != 0 || close(fd) != 0)
		die(3, path, strerror(errno));
	sync_directory(path);
	atp_vkey_write(&vkey, &key.vkey);
	printf("%.*s\n", (int) vkey.size, (char *) vkey.data);
	atp_sign_wipe(text.data, text.size);
	atp_sign_wipe(seed, sizeof(seed));
	return 0;
}

/* A note by this key that names the next one, for atp.add_signing_key(). */
static int
endorse(const char *next)
{
	AtpVkey		vkey;
	AtpBuf		body = new_buf();
	AtpBuf		note = new_buf();

	if (!atp_vkey_parse(next, strlen(next), &vkey))
		die(3, "not a verifier key", next);
	atp_buf_append(&body, "atp/key/v1\n", 11);
	atp_buf_append(&body, next, strlen(next));
	atp_buf_byte(&body, '\n');
	if (!atp_note_sign(&note, (char *) body.data, body.size, &key))
		die(3, "could not sign", NULL);
	fwrite(note.data, 1, note.size, stdout);
	return 0;
}

static void
usage(int status)
{
	fprintf(status == 0 ? stdout : stderr,
			"Usage: atp-signer generate KEYFILE NAME        make a key; prints the verifier key\n"
			"       atp-signer vkey KEYFILE                 print the verifier key\n"
			"       atp-signer endorse KEYFILE NEXT_VKEY    print a note that hands trust to the next key\n"
			"       atp-signer run KEYFILE STATEFILE [OPTION ...] [CONNINFO]\n\n"
			"run signs the pending checkpoint of a database and ends:\n"
			"  --every SECONDS         goes on, looking every so often\n"
			"  --anchor-file FILE      appends each signed checkpoint to a file\n"
			"  --anchor-command CMD    hands each signed checkpoint to a command, on standard input\n\n"
			"The state is made at the first run, which believes what it finds; a state that is lost starts anew.\n"
			"The key and the state belong to this program alone; keep them where the database's owner cannot write.\n"
			"Exit status: 0 done, 3 trouble, 5 refused: the log does not continue what was signed.\n");
	exit(status);
}

static int
run(int argc, char **argv)
{
	static const struct option options[] = {
		{"every", required_argument, NULL, 'e'}, {"anchor-file", required_argument, NULL, 'f'},
		{"anchor-command", required_argument, NULL, 'c'}, {NULL, 0, NULL, 0}
	};
	int			every = 0;
	int			option;
	char	   *end;
	bool		connected = true;
	PGconn	   *db;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option)
		{
			case 'e':
				every = (int) strtol(optarg, &end, 10);
				if (*end != '\0' || every < 1 || every > 86400)
					die(3, "not a number of seconds", optarg);
				break;
			case 'f':
				anchor_path = optarg;
				break;
			case 'c':
				anchor_command = optarg;
				break;
			default:
				usage(3);
		}
	if (argc - optind < 2 || argc - optind > 3)
		usage(3);
	load_key(argv[optind]);
	state_path = argv[optind + 1];
	lock_state();
	load_state();
	do
	{
		db = PQconnectdb(argc - optind == 3 ? argv[optind + 2] : "");
		if (PQstatus(db) == CONNECTION_OK)
		{
			/* dies where something is wrong: a supervisor sees the exit status */
			while (sign_pending(db))
				;
			connected = true;
		}
		else if (every == 0)
			die(3, "no connection", PQerrorMessage(db));
		else
		{
			if (connected)		/* told once */
				fprintf(stderr, "atp-signer: no connection: %s", PQerrorMessage(db));
			connected = false;
		}
		PQfinish(db);
		if (every > 0)
			sleep((unsigned int) every);
	} while (every > 0);
	atp_sign_wipe(&key, sizeof(key));
	return 0;
}

int
main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	umask(077);
	if (strcmp(verb, "--help") == 0)
		usage(0);
	if (strcmp(verb, "run") == 0)
		return run(argc - 1, argv + 1);
	if (strcmp(verb, "generate") == 0 && argc == 4)
		return generate(argv[2], argv[3]);
	if (strcmp(verb, "vkey") == 0 && argc == 3)
	{
		load_key(argv[2]);
		puts(vkey_text);
		return 0;
	}
	if (strcmp(verb, "endorse") == 0 && argc == 4)
	{
		load_key(argv[2]);
		return endorse(argv[3]);
	}
	usage(3);
	return 3;
}

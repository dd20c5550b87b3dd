/*
 * atp-verify: verifies an evidence bundle, without a database and without trust in its owner.
 *
 * Reads line by line in constant memory; core/bundle says what is right. The known head is read before and saved after a pass that
 * found no fault: written beside, flushed, renamed, so that a crash leaves the old or the new one.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/bundle.h"

#define BLOCK (1024 * 1024)
#define KNOWN_MAX (16 * 1024 * 1024)
#define KNOWN_FORMAT "atp/known-head/v1"

typedef struct KnownFile		/* the file of --known-head, as it was read */
{
	const char *path;			/* NULL: none */
	char	   *text;			/* NULL: there was none */
	size_t		size;
	bool		tenant_was_known;
} KnownFile;

static AtpBundleVerifier verifier;
static KnownFile known_file;
static uint64_t passes;

static void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	return realloc(memory, size);
}

static void
die(const char *what, const char *detail)
{
	fprintf(stderr, "atp-verify: %s%s%s\n", what, detail != NULL ? ": " : "", detail != NULL ? detail : "");
	exit(ATP_BUNDLE_BAD_INPUT);
}

/* Reads a small file whole; NULL: it does not exist. Terminated. */
static char *
read_file(const char *path, size_t most, size_t *size)
{
	FILE	   *file = fopen(path, "rb");
	char	   *text;

	if (file == NULL)
	{
		if (errno == ENOENT)
			return NULL;
		die(path, strerror(errno));
	}
	text = malloc(most + 1);
	if (text == NULL)
		die("no memory", NULL);
	*size = fread(text, 1, most, file);
	if (ferror(file) || !feof(file))
		die(path, "cannot be read whole");
	fclose(file);
	text[*size] = '\0';
	return text;
}

/* ---- the known head: "atp/known-head/v1", origin, "log SIZE ROOT", then "tenant LOG_UID SIZE ROOT" lines ---- */

static void
uuid_text(const uint8_t uuid[16], char text[37])
{
	AtpBuf		buf = {.data = (uint8_t *) text, .room = 37};

	atp_uuid_write(&buf, uuid);
	text[36] = '\0';
}

/* "SIZE ROOT" up to the end of the line. */
static bool
parse_head(const char *at, uint64_t *size, uint8_t root[ATP_HASH_SIZE])
{
	char	   *end;

	errno = 0;
	*size = strtoull(at, &end, 10);
	return errno == 0 && end > at && *end == ' ' && strcspn(end + 1, "\n") == 2 * ATP_HASH_SIZE &&
		atp_hex_read(end + 1, root, ATP_HASH_SIZE);
}

static void
load_known(void *context, const AtpBundleManifest *manifest, AtpKnownHead *known)
{
	char		wanted[64] = "tenant ";
	const char *at = known_file.text;
	size_t		head = sizeof(KNOWN_FORMAT) - 1;

	(void) context;
	if (at == NULL)
		return;
	uuid_text(manifest->log_uid, wanted + 7);
	strcat(wanted, " ");
	if (strncmp(at, KNOWN_FORMAT "\n", head + 1) != 0)
		die(known_file.path, "not a known head");
	at += head + 1;
	if (strncmp(at, manifest->origin.data, manifest->origin.size) != 0 || at[manifest->origin.size] != '\n')
		die(known_file.path, "it is of another origin");
	for (at += manifest->origin.size + 1; at != NULL && *at != '\0'; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
	{
		if (strncmp(at, "log ", 4) == 0 && !parse_head(at + 4, &known->root_size, known->root_hash))
			die(known_file.path, "a line is malformed");
		if (strncmp(at, wanted, 44) == 0)
		{
			if (!parse_head(at + 44, &known->tree_size, known->tree_hash))
				die(known_file.path, "a line is malformed");
			known_file.tenant_was_known = true;
		}
	}
	if (known->root_size == 0)
		die(known_file.path, "it has no head of the root log");
}

static void
write_line(FILE *out, const char *what, uint64_t size, const uint8_t hash[ATP_HASH_SIZE])
{
	fprintf(out, "%s %" PRIu64 " ", what, size);
	for (int i = 0; i < ATP_HASH_SIZE; i++)
		fprintf(out, "%02x", hash[i]);
	fputc('\n', out);
}

static void
save_known(void)
{
	char	   *beside = malloc(strlen(known_file.path) + 5);
	char		tenant[64] = "tenant ";
	FILE	   *out;
	char	   *directory;
	int			fd;

	sprintf(beside, "%s.new", known_file.path);
	out = fopen(beside, "wb");
	if (out == NULL)
		die(beside, strerror(errno));
	uuid_text(verifier.manifest.log_uid, tenant + 7);
	fprintf(out, "%s\n%.*s\n", KNOWN_FORMAT, (int) verifier.origin.size, verifier.origin.data);
	write_line(out, "log", verifier.manifest.checkpoint_size, verifier.root_hash);
	write_line(out, tenant, verifier.manifest.tree_size, verifier.tree_hash);
	for (const char *at = known_file.text; at != NULL && *at != '\0'; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
		if (strncmp(at, "tenant ", 7) == 0 && strncmp(at, tenant, 43) != 0)
			fprintf(out, "%.*s\n", (int) strcspn(at, "\n"), at);
	if (fflush(out) != 0 || fsync(fileno(out)) != 0 || fclose(out) != 0 || rename(beside, known_file.path) != 0)
		die(known_file.path, strerror(errno));
	directory = strdup(known_file.path);
	if (strrchr(directory, '/') != NULL)
		*strrchr(directory, '/') = '\0';
	else
		strcpy(directory, ".");
	fd = open(directory[0] == '\0' ? "/" : directory, O_RDONLY | O_DIRECTORY);
	if (fd >= 0)
	{
		(void) fsync(fd);
		close(fd);
	}
	free(directory);
	free(beside);
}

/* ---- the bundle ---- */

/* Hands the lines of a file to the verifier until its end or a fault. */
static void
run(FILE *in)
{
	size_t		room = BLOCK;
	char	   *block = malloc(room);
	size_t		have = 0;
	bool		more = true;

	passes++;
	while (more && block != NULL)
	{
		size_t		got = fread(block + have, 1, room - have, in);
		char	   *at = block;
		char	   *end;

		if (got == 0)
			break;
		have += got;
		while (more && (end = memchr(at, '\n', have)) != NULL)
		{
			more = atp_bundle_take(&verifier, at, (size_t) (end - at));
			have -= (size_t) (end + 1 - at);
			at = end + 1;
		}
		memmove(block, at, have);
		if (have == room)
		{
			if (room > ATP_BUNDLE_LINE_MAX)
				more = atp_bundle_take(&verifier, block, room);
			else if ((block = realloc(block, room *= 2)) == NULL)
				die("no memory", NULL);
		}
	}
	if (ferror(in))
		die("the bundle cannot be read", strerror(errno));
	free(block);
	if (more)
		(void) atp_bundle_finish(&verifier, have > 0);
}

/* More streams than the table of links holds: the links are followed a class of streams at a time. */
static void
follow_in_classes(FILE *in)
{
	uint32_t	classes = 2;

	if (fseek(in, 0, SEEK_SET) != 0)
	{
		verifier.code = ATP_BUNDLE_INCOMPLETE;
		verifier.what = "there are more streams than fit into memory; give the bundle as a file, not as a pipe";
		return;
	}
	for (uint32_t i = 0; i < classes && verifier.what == NULL; i++)
	{
		AtpBundleVerifier first = verifier;

		verifier.stage = 0;
		verifier.lines = 0;
		verifier.kept.size = 0;
		verifier.proof_place = 0;
		verifier.has_head = verifier.has_peaks = verifier.has_tree_end = false;
		verifier.signatures = verifier.cosignatures = 0;
		memset(&verifier.chunk, 0, sizeof(verifier.chunk));
		verifier.in_chunk = 0;
		atp_range_init(&verifier.range);
		verifier.links_only = true;
		verifier.links_class = i;
		verifier.links_classes = classes;
		verifier.links_used = 0;
		verifier.links_overflow = false;
		memset(verifier.links.data, 0, verifier.links.room);
		rewind(in);
		run(in);
		if (verifier.links_overflow && classes < 65536)
		{
			classes *= 2;
			i = UINT32_MAX;		/* from the start */
		}
		verifier.events = first.events;
		verifier.omitted = first.omitted;
		verifier.bare = first.bare;
		verifier.signatures = first.signatures;
		verifier.cosignatures = first.cosignatures;
	}
}

/* ---- the report ---- */

static const char *const verdicts[] = {"verified", "tampered", "incomplete", "bad input", "untrusted", "diverged from the known head"};

static const char *const not_proved[] = {
	"that applications recorded everything they should have",
	"events after this checkpoint, and the last interval before an outside signature",
	"that the tenant's tree is its newest one under this checkpoint: the log may hold a later one, with more events",
	"the name of the tenant, and of a stream whose first event is not in the bundle: the records bind their random identities",
	"that no copy of erased data exists elsewhere",
	NULL
};

static const char *
completeness_says(void)
{
	switch (verifier.manifest.completeness)
	{
		case ATP_BUNDLE_RECORDS:
			return "every event of the range that matches the filter is shown";
		case ATP_BUNDLE_HASHES:
			return "every leaf of the range is hashed; that those left out do not match the filter is not proved";
		default:
			return verifier.seals > 0 ? "the stream is sealed, and whole" : "each event is proved by itself; nothing is said about others";
	}
}

static void
report_text(void)
{
	printf("%s\n", verdicts[verifier.code]);
	if (verifier.what != NULL)
	{
		printf("  line %" PRIu64, verifier.fault_line);
		if (verifier.has_fault_leaf)
			printf(", leaf %" PRIu64, verifier.fault_leaf);
		printf(": %s\n", verifier.what);
	}
	printf("  checked: %" PRIu64 " events, %" PRIu64 " records of events left out, %" PRIu64 " bare hashes, %" PRIu64 " seals\n",
		   verifier.events, verifier.omitted, verifier.bare, verifier.seals);
	if (verifier.what != NULL)
		return;
	printf("  tenant's tree: %" PRIu64 " leaves, range %" PRIu64 " to %" PRIu64 "; root log: %" PRIu64 " leaves\n",
		   verifier.manifest.tree_size, verifier.manifest.from, verifier.manifest.until, verifier.manifest.checkpoint_size);
	printf("  signatures: %d of the log, %d of witnesses\n", verifier.signatures, verifier.cosignatures);
	printf("  completeness: %s\n", completeness_says());
	printf("  known head: %s\n", known_file.path == NULL ? "none given: a rollback to before would not show"
		   : known_file.text == NULL ? "none yet: this one is kept" : "consistent, and moved on");
	for (int i = 0; not_proved[i] != NULL; i++)
		printf("  not proved: %s\n", not_proved[i]);
}

static void
report_json(void)
{
	struct json_object *report = json_object_new_object();
	struct json_object *list = json_object_new_array();
	char		log_uid[37];

	uuid_text(verifier.manifest.log_uid, log_uid);
	json_object_object_add(report, "verdict", json_object_new_string(verdicts[verifier.code]));
	json_object_object_add(report, "code", json_object_new_int(verifier.code));
	if (verifier.what != NULL)
	{
		json_object_object_add(report, "fault", json_object_new_string(verifier.what));
		json_object_object_add(report, "line", json_object_new_uint64(verifier.fault_line));
		if (verifier.has_fault_leaf)
			json_object_object_add(report, "leaf", json_object_new_uint64(verifier.fault_leaf));
	}
	json_object_object_add(report, "log_uid", json_object_new_string(log_uid));
	json_object_object_add(report, "events", json_object_new_uint64(verifier.events));
	json_object_object_add(report, "omitted", json_object_new_uint64(verifier.omitted));
	json_object_object_add(report, "bare_hashes", json_object_new_uint64(verifier.bare));
	json_object_object_add(report, "seals", json_object_new_uint64(verifier.seals));
	json_object_object_add(report, "tree_size", json_object_new_uint64(verifier.manifest.tree_size));
	json_object_object_add(report, "from", json_object_new_uint64(verifier.manifest.from));
	json_object_object_add(report, "until", json_object_new_uint64(verifier.manifest.until));
	json_object_object_add(report, "checkpoint_size", json_object_new_uint64(verifier.manifest.checkpoint_size));
	json_object_object_add(report, "signatures", json_object_new_int(verifier.signatures));
	json_object_object_add(report, "cosignatures", json_object_new_int(verifier.cosignatures));
	json_object_object_add(report, "completeness", json_object_new_string(completeness_says()));
	json_object_object_add(report, "known_head", json_object_new_boolean(verifier.known_root_checked));
	for (int i = 0; not_proved[i] != NULL; i++)
		json_object_array_add(list, json_object_new_string(not_proved[i]));
	json_object_object_add(report, "not_proved", list);
	puts(json_object_to_json_string_ext(report, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(report);
}

/* ---- the manifest of the database's code: two files of atp.self_manifest(), kept and present ---- */

static int
compare_manifests(const char *kept_path, const char *present_path)
{
	size_t		kept_size;
	size_t		present_size;
	char	   *kept = read_file(kept_path, KNOWN_MAX, &kept_size);
	char	   *present = read_file(present_path, KNOWN_MAX, &present_size);
	const char *a;
	const char *b;
	uint64_t	line = 1;

	if (kept == NULL || present == NULL)
		die("no such file", kept == NULL ? kept_path : present_path);
	if (kept_size == 0)
		die(kept_path, "it is empty");
	if (kept_size == present_size && memcmp(kept, present, kept_size) == 0)
	{
		printf("verified\n  the manifest is the one that was kept\n");
		return ATP_BUNDLE_OK;
	}
	for (a = kept, b = present; *a != '\0' && *a == *b; a++, b++)
		line += *a == '\n';
	printf("tampered\n  line %" PRIu64 " of the manifest differs from the one that was kept\n", line);
	return ATP_BUNDLE_TAMPERED;
}

static void
usage(int status)
{
	fprintf(status == 0 ? stdout : stderr,
			"Usage: atp-verify --trust KEY --origin ORIGIN [OPTION ...] BUNDLE\n"
			"       atp-verify --manifest KEPT PRESENT\n\n"
			"Verifies an evidence bundle (- : standard input) against keys and an origin that you know from elsewhere.\n\n"
			"  --trust KEY        verifier key of the log, name+id+base64, or a file that holds it; may be repeated\n"
			"  --witness KEY      verifier key of a witness that must have cosigned; may be repeated\n"
			"  --origin ORIGIN    origin of the log\n"
			"  --known-head FILE  head verified before: compared, and moved on where all is well\n"
			"  --manifest KEPT    compare a manifest of atp.self_manifest() with the one you kept\n"
			"  --json             report as JSON\n\n"
			"Exit status: 0 verified, 1 tampered, 2 incomplete, 3 bad input, 4 untrusted key or origin, 5 diverged from the known head.\n");
	exit(status);
}

static void
pin(const char *key, bool witness)
{
	size_t		size;
	char	   *text = strchr(key, '+') != NULL ? strdup(key) : read_file(key, 4096, &size);

	if (text == NULL)
		die("no such key file", key);
	text[strcspn(text, "\r\n")] = '\0';
	if (!atp_bundle_trust(&verifier, text, strlen(text), witness))
		die("not a verifier key, or too many of them", text);
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{"trust", required_argument, NULL, 't'}, {"witness", required_argument, NULL, 'w'}, {"origin", required_argument, NULL, 'o'},
		{"known-head", required_argument, NULL, 'k'}, {"manifest", required_argument, NULL, 'm'}, {"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}
	};
	bool		json = false;
	const char *manifest = NULL;
	bool		trusted = false;
	FILE	   *in;
	int			option;

	atp_bundle_begin(&verifier, grow, NULL);
	verifier.on_manifest = load_known;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option)
		{
			case 't':
				pin(optarg, false);
				trusted = true;
				break;
			case 'w':
				pin(optarg, true);
				break;
			case 'o':
				verifier.origin = (AtpText) {optarg, strlen(optarg)};
				break;
			case 'k':
				known_file.path = optarg;
				known_file.text = read_file(optarg, KNOWN_MAX, &known_file.size);
				break;
			case 'm':
				manifest = optarg;
				break;
			case 'j':
				json = true;
				break;
			case 'h':
				usage(0);
				break;
			default:
				usage(ATP_BUNDLE_BAD_INPUT);
		}
	if (optind + 1 != argc)
		usage(ATP_BUNDLE_BAD_INPUT);
	if (manifest != NULL)
		return compare_manifests(manifest, argv[optind]);
	if (!trusted || verifier.origin.size == 0)
		usage(ATP_BUNDLE_BAD_INPUT);
	in = strcmp(argv[optind], "-") == 0 ? stdin : fopen(argv[optind], "rb");
	if (in == NULL)
		die(argv[optind], strerror(errno));
	run(in);
	if (verifier.what == NULL && verifier.links_overflow)
		follow_in_classes(in);
	if (verifier.what == NULL && known_file.path != NULL)
		save_known();
	if (json)
		report_json();
	else
		report_text();
	return (int) verifier.code;
}

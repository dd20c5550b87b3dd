/*
 * Fuzz of the verifier behind a true signature: bundles that verify, changed. Whatever still verifies may show the events of the
 * originals and no other: that is what a verdict of 0 says.
 */
#include "core/bundle.h"

#include "bundles.h"
#include "fuzz.h"

#define BUNDLES (sizeof(bundles) / sizeof(bundles[0]))
#define LEAVES_MAX 64

static uint8_t leaves[LEAVES_MAX][ATP_HASH_SIZE];	/* of the originals */
static size_t leaf_count;

static bool
is_original(const uint8_t leaf[ATP_HASH_SIZE])
{
	for (size_t i = 0; i < leaf_count; i++)
		if (memcmp(leaves[i], leaf, ATP_HASH_SIZE) == 0)
			return true;
	return false;
}

static uint8_t shown[LEAVES_MAX][ATP_HASH_SIZE];
static size_t shown_count;

static void
take_event(void *context, const AtpBundleEvent *event, const uint8_t leaf[ATP_HASH_SIZE])
{
	(void) context;
	(void) event;
	if (shown_count < LEAVES_MAX)
		memcpy(shown[shown_count], leaf, ATP_HASH_SIZE);
	shown_count++;
}

/* Verifies a text as atp-verify reads it; `known` half of the time with a head kept before. */
static bool
verify(const char *text, size_t size, const AtpKnownHead *known)
{
	static AtpBundleVerifier verifier;
	AtpBuf		kept[5] = {verifier.strings, verifier.kept, verifier.scratch, verifier.links, verifier.links_spare};
	const char *end = text + size;
	bool		going = true;
	bool		cut = false;

	atp_bundle_begin(&verifier, grow, NULL);
	for (int i = 0; i < 5; i++)
		free(kept[i].data);
	atp_bundle_trust(&verifier, BUNDLE_KEY, strlen(BUNDLE_KEY), false);
	verifier.origin = (AtpText) {BUNDLE_ORIGIN, strlen(BUNDLE_ORIGIN)};
	verifier.on_event = take_event;
	if (known != NULL)
		verifier.known = *known;
	shown_count = 0;
	while (going && text < end)
	{
		const char *line_end = memchr(text, '\n', (size_t) (end - text));

		cut = line_end == NULL;
		if (cut)
			break;
		going = atp_bundle_take(&verifier, text, (size_t) (line_end - text));
		text = line_end + 1;
	}
	if (going)
		going = atp_bundle_finish(&verifier, cut);
	expect(going == (verifier.what == NULL) && going == (verifier.code == ATP_BUNDLE_OK), "the verdict is none");
	return going;
}

static void
learn(void)
{
	for (size_t i = 0; i < BUNDLES; i++)
	{
		expect(verify(bundles[i], strlen(bundles[i]), NULL), "an original does not verify");
		expect(leaf_count + shown_count <= LEAVES_MAX, "the originals have too many events");
		memcpy(leaves[leaf_count], shown, shown_count * ATP_HASH_SIZE);
		leaf_count += shown_count;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const AtpKnownHead other = {.root_size = 1, .root_hash = {1}};
	char	   *exact = malloc(size > 0 ? size : 1);	/* without a byte to spare, for ASan to see */

	if (leaf_count == 0)
		learn();
	if (size > 0)
		memcpy(exact, data, size);
	if (verify(exact, size, NULL))
	{
		expect(shown_count > 0, "nothing verifies");
		for (size_t i = 0; i < shown_count; i++)
			expect(i < LEAVES_MAX && is_original(shown[i]), "an event verifies that nobody signed");
	}
	if (size % 4 == 0)
		expect(!verify(exact, size, &other), "a bundle verifies against a head that is not of its log");
	free(exact);
	return 0;
}

static const char *const pieces[] = {"\"type\":", "\"hashes\":[", "\"proof\":[", "\\", "\"", "null", "\n", "0", "1", "2", "6", "18446744073709551615", "-1",
	"{\"type\":\"end\",\"events\":0,\"omitted\":0,\"leaves\":0}\n", "\"completeness\":\"hashes\"", "\"completeness\":\"proofs\"", "\"omitted\"", "\"event\"",
	"\"0000000000000000000000000000000000000000000000000000000000000000\"", "\"state\":\"compromised\"", "\"from\":1", "\"until\":4"};

#ifndef STANDALONE
extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
extern size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

/* The line at a place. */
static size_t
line_at(const uint8_t *data, size_t size, size_t at, size_t *begin)
{
	size_t		end = at;

	while (at > 0 && data[at - 1] != '\n')
		at--;
	while (end < size && data[end] != '\n')
		end++;
	*begin = at;
	return end + (end < size) - at;
}

/* Takes lines out and puts lines of an original in, where libFuzzer would change bytes only. */
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	const char *from = bundles[seed / 8 % BUNDLES];
	size_t		begin,
				length,
				donor_begin,
				donor;

	if (seed % 8 < 5 || size == 0)
		return LLVMFuzzerMutate(data, size, max_size);
	length = line_at(data, size, seed / 32 % size, &begin);
	if (seed % 8 == 5)
	{
		memmove(data + begin, data + begin + length, size - begin - length);
		return size - length;
	}
	donor = line_at((const uint8_t *) from, strlen(from), seed / 128 % strlen(from), &donor_begin);
	if (seed % 8 == 6)
		length = 0;
	if (size - length + donor > max_size)
		return size;
	memmove(data + begin + donor, data + begin + length, size - begin - length);
	memcpy(data + begin, from + donor_begin, donor);
	return size - length + donor;
}
#endif

FUZZ_MAIN(bundles, pieces)

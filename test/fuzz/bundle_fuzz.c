/*
 * Fuzz of the bundle's lines, the canonical check and the verifier. What is read must be written again as it was; the one-pass check of a
 * canonical text must agree with parsing and writing it; the verifier must come to a verdict, and never to a good one.
 */
#include "core/bundle.h"
#include "core/canoncheck.h"
#include "core/json.h"

#include "fuzz.h"

#define KEY "audit.example.com+5e394f5e+AVzqu8aD6Ol7L8KuKP/ydN/mfVfLowgk+36vCItUDOK/"

static void
write_line(AtpBuf *out, const AtpLine *line)
{
	switch (line->type)
	{
		case ATP_LINE_MANIFEST:
			atp_bundle_write_manifest(out, &line->manifest);
			break;
		case ATP_LINE_KEY:
			atp_bundle_write_key(out, &line->key);
			break;
		case ATP_LINE_CHECKPOINT:
			atp_bundle_write_checkpoint(out, line->note.data, line->note.size);
			break;
		case ATP_LINE_PROOF:
			atp_bundle_write_proof(out, &line->proof);
			break;
		case ATP_LINE_CHUNK:
			atp_bundle_write_chunk(out, line->chunk.from, line->chunk.hash[0], line->chunk.count);
			break;
		case ATP_LINE_EVENT:
			atp_bundle_write_event(out, &line->event);
			break;
		case ATP_LINE_END:
			atp_bundle_write_end(out, &line->end);
			break;
		default:
			break;
	}
}

static void
try_line(AtpBuf *strings, AtpBuf *out, const char *text, size_t size)
{
	static AtpLine line;

	out->size = 0;
	if (atp_bundle_read(text, size, strings, &line) == ATP_LINE_BAD)
		return;
	write_line(out, &line);
	/* an empty endorsement is written as none: no note is empty */
	if (line.type == ATP_LINE_KEY && line.key.endorsement.size == 0)
		return;
	expect(out->size == size && memcmp(out->data, text, size) == 0, "a line is not what its parts spell");
}

static void
try_canonical(AtpBuf *scratch, AtpBuf *out, const char *text, size_t size)
{
	static AtpJson json;
	AtpJsonLimits limits = {.max_depth = ATP_CANONCHECK_DEPTH};
	AtpJsonError error;
	bool		canonical;

	if (json.nodes.grow == NULL)
		atp_json_init(&json, grow, NULL);
	out->size = 0;
	canonical = atp_json_parse(&json, text, size, limits, &error) && atp_json_canonical(&json, ATP_CANON_EXACT, out, &error) &&
		out->size == size && memcmp(out->data, text, size) == 0;
	expect(canonical == atp_canon_check(text, size, scratch), "the check of a canonical text differs from writing it");
}

static void
try_bundle(const char *text, size_t size)
{
	static AtpBundleVerifier verifier;
	AtpBuf		kept[5] = {verifier.strings, verifier.kept, verifier.scratch, verifier.links, verifier.links_spare};
	bool		going = true;

	atp_bundle_begin(&verifier, grow, NULL);
	for (int i = 0; i < 5; i++)
		free(kept[i].data);
	atp_bundle_trust(&verifier, KEY, strlen(KEY), false);
	verifier.origin = (AtpText) {"audit.example.com/atp", 21};
	for (const char *end = text + size; going && text < end;)
	{
		const char *line_end = memchr(text, '\n', (size_t) (end - text));
		size_t		length = (size_t) ((line_end != NULL ? line_end : end) - text);

		going = atp_bundle_take(&verifier, text, length);
		text += length + 1;
	}
	if (going)
		going = atp_bundle_finish(&verifier, false);
	expect(!going, "a bundle that nobody made verifies");
	expect(verifier.what != NULL && verifier.code != ATP_BUNDLE_OK, "there is no verdict");
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static AtpBuf out;
	static AtpBuf strings;
	char	   *exact = malloc(size > 0 ? size : 1);	/* without a byte to spare, for ASan to see */

	if (out.grow == NULL)
	{
		atp_buf_init(&out, grow, NULL);
		atp_buf_init(&strings, grow, NULL);
	}
	if (size > 0)
		memcpy(exact, data, size);
	try_line(&strings, &out, exact, size);
	try_canonical(&strings, &out, exact, size);
	try_bundle(exact, size);
	free(exact);
	return 0;
}

static const char *const seeds[] = {
	"{\"type\":\"manifest\",\"format\":\"atp/bundle/v1\",\"origin\":\"audit.example.com/atp\",\"tenant\":\"default\",\"log"
	"_uid\":\"8dc5e9df-2004-42ef-88a4-066414ba480b\",\"alg\":1,\"completeness\":\"records\",\"filter\":{\"stream_uid\""
	":\"007534c1-a618-4b17-8dcf-f2d90a3a12a5\",\"event_type\":null,\"recorded_from\":null,\"recorded_until\":null"
	"},\"tree_size\":701,\"from\":0,\"until\":701,\"checkpoint_size\":3}",
	"{\"type\":\"manifest\",\"format\":\"atp/bundle/v1\",\"origin\":\"audit.example.com/atp\",\"tenant\":\"acme\",\"log_ui"
	"d\":\"2d2e3294-1b40-4dd2-8348-1c3f3d9cc494\",\"alg\":1,\"completeness\":\"records\",\"filter\":{\"stream_uid\":nu"
	"ll,\"event_type\":\"OrderShipped\",\"recorded_from\":null,\"recorded_until\":null},\"tree_size\":301,\"from\":17"
	",\"until\":217,\"checkpoint_size\":3}",
	"{\"type\":\"key\",\"vkey\":\"audit.example.com+5e394f5e+AVzqu8aD6Ol7L8KuKP/ydN/mfVfLowgk+36vCItUDOK/\",\"purp"
	"ose\":\"log\",\"state\":\"active\",\"until_size\":null,\"endorsement\":null}",
	"{\"type\":\"checkpoint\",\"note\":\"audit.example.com/atp\\n3\\nB/r0muaKr1Gm5kznStKgYlyQSybsD0fcsPwJv41woQg=\\"
	"n\\n— audit.example.com XjlPXvqptkoZa3umCCOrkM6YxkRk46Cu1Krk7zFaOjJ+LC+P/L2NA3XtpS3snE3JYIgyd1VxHlQJg"
	"brMT6+mbQUXxgk=\\n\"}",
	"{\"type\":\"proof\",\"kind\":\"head\",\"leaf\":1,\"size\":701,\"root\":\"56c4a6f85f9366888e1a3a11c65b810ed0d3a00b5c"
	"59ef0fc82f6f7738a23285\",\"hashes\":[\"d39703a7c9602aa4b0bc7c56a231607acdb748ba6449068f020d8f0f3acdd45c\""
	",\"08db374ead7c811749c30bffab1935edb592bf5b4420fd7573fcd8cb30b25331\"]}",
	"{\"type\":\"event\",\"leaf\":1,\"state\":\"stored\",\"stream\":\"order-2\",\"record\":{\"flags\":0,\"stream_uid\":\"00753"
	"4c1-a618-4b17-8dcf-f2d90a3a12a5\",\"stream_version\":1,\"event_id\":\"01a210b7-378d-9d8f-0b78-7adb28a88052"
	"\",\"event_type\":\"OrderPlaced\",\"schema_version\":0,\"occurred_at\":1795576772493794,\"recorded_at\":1795576"
	"772493794,\"previous_hash\":\"0000000000000000000000000000000000000000000000000000000000000000\"},\"salts"
	"\":\"762b4857038ee4e899f9eec5ec186d6409e94f6146bf1ecc677d776fd064772f\",\"payload\":\"{\\\"n\\\":2,\\\"name\\\":\\\""
	"x\\\\\\\"y\\\\\\\\z\\\",\\\"price\\\":1.1}\",\"metadata\":\"{}\"}",
	"{\"type\":\"omitted\",\"leaf\":0,\"record\":{\"flags\":0,\"stream_uid\":\"a2526495-ed14-4f84-96af-9e72360a265e\",\""
	"stream_version\":1,\"event_id\":\"01a210b7-378d-9d8f-0b78-7adb28a88051\",\"event_type\":\"OrderPlaced\",\"sche"
	"ma_version\":0,\"occurred_at\":1795576772493633,\"recorded_at\":1795576772493633,\"previous_hash\":\"0000000"
	"000000000000000000000000000000000000000000000000000000000\",\"payload_commitment\":\"3bccbb5ce612aa3ac55"
	"05d3add35efdb32f6f2c4e5f2adfa612540b3f91d7b77\",\"metadata_commitment\":\"792aad15464dc8ca5449f8ed49e113"
	"f110ef178d2a81de8e63dfb13854810f79\"}}",
	"{\"type\":\"end\",\"events\":101,\"omitted\":600,\"leaves\":701}",
	"{\"type\":\"log_range\",\"from\":0,\"hashes\":\"4e9b364cad6930894d1159a8b7d55113df4fd2d30a6b6ab2e07fff358d6e7"
	"fb94666f127faae7256ab39f4f5510cdec9a20c463427da7fe1140f686abcd0b086\"}",
	"{\"type\":\"event\",\"leaf\":1,\"state\":\"stored\",\"stream\":\"order-2\",\"record\":{\"flags\":0,\"stream_uid\":\"00753"
	"4c1-a618-4b17-8dcf-f2d90a3a12a5\",\"stream_version\":1,\"event_id\":\"01a210b7-378d-9d8f-0b78-7adb28a88052"
	"\",\"event_type\":\"OrderPlaced\",\"schema_version\":0,\"occurred_at\":1795576772493794,\"recorded_at\":1795576"
	"772493794,\"previous_hash\":\"0000000000000000000000000000000000000000000000000000000000000000\"},\"salts"
	"\":\"762b4857038ee4e899f9eec5ec186d6409e94f6146bf1ecc677d776fd064772f\",\"payload\":\"{\\\"n\\\":2,\\\"name\\\":\\\""
	"x\\\\\\\"y\\\\\\\\z\\\",\\\"price\\\":1.1}\",\"metadata\":\"{}\",\"proof\":[\"00000000000000000000000000000000000000000000"
	"00000000000000000000\"]}",
	"{\"a\":[1,2.5,1e21,-7],\"b\":{\"\":null,\"\\u20ac\":true},\"c\":\"x\\\"\\\\\\n\"}",
	"{\"type\":\"manifest\",\"format\":\"atp/bundle/v1\",\"origin\":\"audit.example.com/atp\",\"tenant\":\"default\",\"log"
	"_uid\":\"8dc5e9df-2004-42ef-88a4-066414ba480b\",\"alg\":1,\"completeness\":\"records\",\"filter\":{\"stream_uid\""
	":\"007534c1-a618-4b17-8dcf-f2d90a3a12a5\",\"event_type\":null,\"recorded_from\":null,\"recorded_until\":null"
	"},\"tree_size\":701,\"from\":0,\"until\":701,\"checkpoint_size\":3}\n{\"type\":\"key\",\"vkey\":\"audit.example.com+"
	"5e394f5e+AVzqu8aD6Ol7L8KuKP/ydN/mfVfLowgk+36vCItUDOK/\",\"purpose\":\"log\",\"state\":\"active\",\"until_size\""
	":null,\"endorsement\":null}\n{\"type\":\"checkpoint\",\"note\":\"audit.example.com/atp\\n3\\nB/r0muaKr1Gm5kznStK"
	"gYlyQSybsD0fcsPwJv41woQg=\\n\\n— audit.example.com XjlPXvqptkoZa3umCCOrkM6YxkRk46Cu1Krk7zFaOjJ+LC+P/L2"
	"NA3XtpS3snE3JYIgyd1VxHlQJgbrMT6+mbQUXxgk=\\n\"}\n{\"type\":\"proof\",\"kind\":\"head\",\"leaf\":1,\"size\":701,\"roo"
	"t\":\"56c4a6f85f9366888e1a3a11c65b810ed0d3a00b5c59ef0fc82f6f7738a23285\",\"hashes\":[\"d39703a7c9602aa4b0b"
	"c7c56a231607acdb748ba6449068f020d8f0f3acdd45c\",\"08db374ead7c811749c30bffab1935edb592bf5b4420fd7573fc"
	"d8cb30b25331\"]}\n{\"type\":\"log_range\",\"from\":0,\"hashes\":\"4e9b364cad6930894d1159a8b7d55113df4fd2d30a6b6"
	"ab2e07fff358d6e7fb94666f127faae7256ab39f4f5510cdec9a20c463427da7fe1140f686abcd0b086\"}\n{\"type\":\"event"
	"\",\"leaf\":1,\"state\":\"stored\",\"stream\":\"order-2\",\"record\":{\"flags\":0,\"stream_uid\":\"007534c1-a618-4b17-"
	"8dcf-f2d90a3a12a5\",\"stream_version\":1,\"event_id\":\"01a210b7-378d-9d8f-0b78-7adb28a88052\",\"event_type\""
	":\"OrderPlaced\",\"schema_version\":0,\"occurred_at\":1795576772493794,\"recorded_at\":1795576772493794,\"pre"
	"vious_hash\":\"0000000000000000000000000000000000000000000000000000000000000000\"},\"salts\":\"762b4857038"
	"ee4e899f9eec5ec186d6409e94f6146bf1ecc677d776fd064772f\",\"payload\":\"{\\\"n\\\":2,\\\"name\\\":\\\"x\\\\\\\"y\\\\\\\\z\\\","
	"\\\"price\\\":1.1}\",\"metadata\":\"{}\"}\n{\"type\":\"end\",\"events\":101,\"omitted\":600,\"leaves\":701}\n",
};
static const char *const pieces[] = {"{\"type\":\"", "\"hashes\":[", "\"", "\\", "\\u001f", "\\ud800", "null", ",", "{", "}", "[", "]", "0", "18446744073709551616", "-1",
	"NaN", "1e400", "\xef\xbb\xbf", "\r\n", "\n", "\xff"};

FUZZ_MAIN(seeds, pieces)

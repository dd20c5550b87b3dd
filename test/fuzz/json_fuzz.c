/*
 * Fuzz target of core/json and core/canon: no memory error, no undefined behaviour, and canonical text is a fixed point. What
 * parses has one canonical form in each profile; that form parses, is valid UTF-8 and is its own canonical form; and what the
 * RFC 8785 profile writes, the exact profile writes too, because it has no more digits than a double needs.
 */
#include "fuzz.h"

#include "core/canon.h"
#include "core/json.h"
#include "core/utf8.h"

static const AtpJsonLimits limits = {.max_depth = 40, .allow_zero = true};

static void
check_again(AtpJson *json, const AtpBuf *text, AtpCanonProfile profile, AtpBuf *again)
{
	AtpJsonError error;

	again->size = 0;
	expect(atp_json_parse(json, (const char *) text->data, text->size, limits, &error), "canonical text does not parse");
	expect(atp_json_canonical(json, profile, again, &error), "canonical text has no canonical form");
	expect(again->size == text->size && memcmp(again->data, text->data, text->size) == 0, "canonical text is not its own canonical form");
}

static void
check_profile(AtpJson *json, AtpJson *other, AtpCanonProfile profile, AtpBuf *text, AtpBuf *again)
{
	AtpJsonError error;

	text->size = 0;
	if (!atp_json_canonical(json, profile, text, &error))
	{
		expect(profile == ATP_CANON_RFC8785 && error.code == ATP_JSON_RANGE, "no canonical form");
		return;
	}
	expect(atp_utf8_is_valid((const char *) text->data, text->size), "canonical text is not UTF-8");
	check_again(other, text, profile, again);
	if (profile == ATP_CANON_RFC8785)
		check_again(other, text, ATP_CANON_EXACT, again);
}

/* Members of every object are linked in the order of their keys, each found by its key. */
static void
check_tree(const AtpJson *json)
{
	size_t		count = json->nodes.size / sizeof(AtpJsonNode);

	for (uint32_t i = 0; i < count; i++)
	{
		const AtpJsonNode *node = atp_json_node(json, i);
		const AtpJsonNode *before = NULL;
		const char *bytes = (const char *) json->bytes.data;
		uint32_t	children = 0;

		if (node->type != ATP_JSON_OBJECT)
			continue;
		for (uint32_t at = node->child; at != 0; at = atp_json_node(json, at)->next)
		{
			const AtpJsonNode *member = atp_json_node(json, at);

			children++;
			expect(before == NULL || atp_canon_compare_keys(bytes + before->key, before->key_size, bytes + member->key, member->key_size) < 0,
				   "members out of order");
			expect(atp_json_member(json, node, bytes + member->key, member->key_size) == member, "a member is not found");
			before = member;
		}
		expect(children == node->size, "an object has other members than it counts");
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static AtpJson json;
	static AtpJson other;
	static AtpBuf text;
	static AtpBuf again;
	AtpJsonError error = {0};
	char	   *exact = malloc(size > 0 ? size : 1);	/* without a byte to spare, for ASan to see */

	if (text.grow == NULL)
	{
		atp_json_init(&json, grow, NULL);
		atp_json_init(&other, grow, NULL);
		atp_buf_init(&text, grow, NULL);
		atp_buf_init(&again, grow, NULL);
	}
	if (size > 0)
		memcpy(exact, data, size);
	if (atp_json_parse(&json, exact, size, limits, &error))
	{
		free(exact);			/* the tree does not refer to it */
		check_tree(&json);
		check_profile(&json, &other, ATP_CANON_EXACT, &text, &again);
		check_profile(&json, &other, ATP_CANON_RFC8785, &text, &again);
		return 0;
	}
	expect(error.offset <= size && error.code != ATP_JSON_OK && atp_json_reason(error.code)[0] != '\0', "an error without a place");
	free(exact);
	return 0;
}

static const char *const seeds[] = {
	"{\"b\":[1,2.50,-0,1e2,1E+400,-1.5e-7,true,false,null],\"a\":{\"\":\"\",\"\\u00e9\":[]},\"ab\":\"x\"}",
	"[\"\\ud83d\\ude02\",\"\xf0\x9f\x98\x82\",\"\xe2\x82\xac\\\"\\\\\\/\\b\\f\\n\\r\\t\\u001f\\u0000\",\"\xef\xbf\xbf\",\"\xed\x9f\xbf\xee\x80\x80\"]",
	"{\"actor\":\"user:1\",\"resource\":{\"type\":\"Order\",\"id\":42,\"lines\":[{\"sku\":\"A\",\"price\":19.99},{\"sku\":\"B\",\"price\":0.10}]}}",
	"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
	"{\"1\":0,\"10\":0,\"2\":0,\"a\":0,\"aa\":0,\"aaaaaaaa\":0,\"aaaaaaaab\":0,\"\\ufb33\":0,\"\xf0\x90\x80\x80\":0,\"z\":0,\"y\":0,\"x\":0,\"w\":0,\"v\":0,"
	"\"u\":0,\"t\":0,\"s\":0,\"r\":0}",
	" 9007199254740993.00000000000000000000000000000000000000000000000000000000001\r\n\t",
	"[5e-324,2.2250738585072014e-308,1.7976931348623157e308,1e23,0.000001,1e-7,123456789012345678901234567890,1e99999999999999999999]",
};
static const char *const pieces[] = {
	"{", "}", "[", "]", ",", ":", "\"", "\\", "\\u", "\\ud800", "\\udc00", "\\u0000", "\\u0061", "e", "E+", "-", ".", "0", "9999999999", "1e", "true",
	"null", "\"a\":", "{\"a\":", " ", "\xef\xbb\xbf", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff", "\x01", "[[[[[[[[", "NaN"
};

FUZZ_MAIN(seeds, pieces)

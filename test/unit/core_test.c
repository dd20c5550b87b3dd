/*
 * Unit tests of the ground floor that need no server: each CHECK is one case. What conformance data or the independent implementation
 * covers (recordvectors.py, conformance_test.py) is not repeated here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/canon.h"
#include "core/json.h"
#include "core/tracecontext.h"
#include "core/ulid.h"
#include "core/utf8.h"

#define CHECK(condition) check((condition), #condition, __LINE__)
#define SIZED(literal) (literal), sizeof(literal) - 1

static int	passed;
static int	failed;
static size_t memory_left = SIZE_MAX;	/* what grow still gives: for the tests of failing allocations */

static void
check(bool condition, const char *text, int line)
{
	if (condition)
		passed++;
	else
	{
		failed++;
		printf("core_test.c:%d: %s\n", line, text);
	}
}

static void *
grow(void *context, void *memory, size_t size)
{
	(void) context;
	if (size > memory_left)
		return NULL;
	memory_left -= size;
	return realloc(memory, size);
}

static bool
holds(const AtpBuf *buf, const char *text)
{
	return !buf->failed && buf->size == strlen(text) && memcmp(buf->data, text, buf->size) == 0;
}

static bool
number_is(AtpCanonProfile profile, const char *text, const char *expected)
{
	AtpBuf		out;
	bool		good;

	atp_buf_init(&out, grow, NULL);
	good = atp_canon_number(&out, profile, text, strlen(text)) ? expected != NULL && holds(&out, expected)
		: expected == NULL && out.size == 0;
	free(out.data);
	return good;
}

static bool
both(const char *text, const char *expected)
{
	return number_is(ATP_CANON_EXACT, text, expected) && number_is(ATP_CANON_RFC8785, text, expected);
}

static void
test_numbers(void)
{
	CHECK(both("0", "0") && both("-0", "0") && both("0.000", "0") && both("-0e99", "0") && both("0e99999999999999999999", "0"));
	CHECK(both("1", "1") && both("-12", "-12") && both("1.10", "1.1") && both("100", "100") && both("1e2", "100"));
	CHECK(both("123456789012345", "123456789012345") && both("-1.5E+1", "-15") && both("10.00", "10"));
	CHECK(both("1e20", "100000000000000000000") && both("1e21", "1e+21") && both("123e19", "1.23e+21"));
	CHECK(both("0.000001", "0.000001") && both("0.0000001", "1e-7") && both("0.00000012", "1.2e-7"));
	CHECK(number_is(ATP_CANON_EXACT, "12345678901234567890.1", "12345678901234567890.1"));
	CHECK(number_is(ATP_CANON_RFC8785, "12345678901234567890.1", "12345678901234567000"));
	CHECK(number_is(ATP_CANON_EXACT, "1234567890123456789012", "1.234567890123456789012e+21"));
	CHECK(number_is(ATP_CANON_EXACT, "1e400", "1e+400") && number_is(ATP_CANON_RFC8785, "1e400", NULL));
	CHECK(number_is(ATP_CANON_EXACT, "-0.1e-400", "-1e-401") && number_is(ATP_CANON_RFC8785, "1e-400", "0"));
	CHECK(both("", NULL) && both("-", NULL) && both("+1", NULL) && both("01", NULL) && both("1.", NULL) && both(".5", NULL));
	CHECK(both("1e", NULL) && both("1e+", NULL) && both("NaN", NULL) && both("Infinity", NULL) && both("1 ", NULL) &&
		  both("0x1", NULL) && both("1.e1", NULL) && both("--1", NULL));
	/* exponents beyond an int64, adjusted on their digits */
	CHECK(number_is(ATP_CANON_EXACT, "123e99999999999999999999", "1.23e+100000000000000000001"));
	CHECK(number_is(ATP_CANON_EXACT, "0.001e1000000000000000000", "1e+999999999999999997"));
	CHECK(number_is(ATP_CANON_EXACT, "12e-1000000000000000000", "1.2e-999999999999999999"));
	CHECK(number_is(ATP_CANON_EXACT, "1e+0000000000000000000000000000002", "100"));
	CHECK(number_is(ATP_CANON_RFC8785, "1e99999999999999999999", NULL));
	CHECK(number_is(ATP_CANON_RFC8785, "1e-99999999999999999999", "0"));
	/* the closest of the shortest, and the powers of two, below which doubles lie denser */
	CHECK(number_is(ATP_CANON_RFC8785, "1e23", "1e+23") && number_is(ATP_CANON_RFC8785, "9.999999999999999161e22", "1e+23"));
	CHECK(number_is(ATP_CANON_RFC8785, "5.9604644775390625e-8", "5.960464477539063e-8"));
	CHECK(number_is(ATP_CANON_RFC8785, "4.9406564584124654e-324", "5e-324"));
	CHECK(number_is(ATP_CANON_RFC8785, "2.4703282292062328e-324", "5e-324"));
	CHECK(number_is(ATP_CANON_RFC8785, "2.4703282292062327e-324", "0"));
	CHECK(number_is(ATP_CANON_RFC8785, "2.2250738585072014e-308", "2.2250738585072014e-308"));
	CHECK(number_is(ATP_CANON_RFC8785, "1.7976931348623157e308", "1.7976931348623157e+308"));
	CHECK(number_is(ATP_CANON_RFC8785, "1.7976931348623159e308", NULL));
	CHECK(number_is(ATP_CANON_RFC8785, "0.1000000000000000055511151231257827021181583404541015625", "0.1"));
	CHECK(number_is(ATP_CANON_RFC8785, "9007199254740993", "9007199254740992"));
	/* a digit far behind decides */
	{
		char		text[1200];

		memset(text, '0', sizeof(text));
		memcpy(text, "9007199254740993.", 17);
		text[sizeof(text) - 1] = '\0';
		CHECK(number_is(ATP_CANON_RFC8785, text, "9007199254740992"));
		text[sizeof(text) - 2] = '1';
		CHECK(number_is(ATP_CANON_RFC8785, text, "9007199254740994"));
	}
}

static void
test_strings(void)
{
	AtpBuf		out;

	atp_buf_init(&out, grow, NULL);
	atp_canon_string(&out, SIZED("\b\t\n\f\r\"\\/\x01\x1f\x7f\xc2\x80\xe2\x80\xa8 plain text behind it"));
	CHECK(holds(&out, "\"\\b\\t\\n\\f\\r\\\"\\\\/\\u0001\\u001f\x7f\xc2\x80\xe2\x80\xa8 plain text behind it\""));
	out.size = 0;
	atp_canon_string(&out, "", 0);
	CHECK(holds(&out, "\"\""));
	/* an escape at each place of strings of each length around the word size, nothing else touched */
	for (size_t size = 1; size < 40; size++)
		for (size_t at = 0; at < size; at++)
		{
			char		text[40];
			char		expected[80];

			memset(text, 'x', size);
			text[at] = '"';
			snprintf(expected, sizeof(expected), ",\"%.*s\\\"%.*s\":", (int) at, text, (int) (size - at - 1), text + at + 1);
			out.size = 0;
			atp_canon_name(&out, ',', text, size);
			if (!holds(&out, expected))
				CHECK(!"escape in a name");
		}
	CHECK(atp_canon_plain_run(SIZED("0123456789\"")) == 10 && atp_canon_plain_run(SIZED("\xff\x7f\x80")) == 3);
	free(out.data);
}

static int
compare(const char *a, const char *b)
{
	return atp_canon_compare_keys(a, strlen(a), b, strlen(b));
}

static void
test_keys(void)
{
	static const char *const ordered[] = {
		"", "\x01", "1", "10", "2", "a", "aa", "aaaaaaaa", "aaaaaaaaa", "aaaaaaaab", "b", "\xc2\x80", "\xe2\x82\xac", "\xed\x9f\xbf",
		"\xf0\x90\x80\x80", "\xf0\x9f\x98\x82", "\xf4\x8f\xbf\xbf", "\xee\x80\x80", "\xef\xac\xb3", "\xef\xbf\xbf", "\xef\xbf\xbf\xf0\x9f\x98\x82"
	};
	enum
	{
		COUNT = sizeof(ordered) / sizeof(*ordered), MANY = 1000
	};
	AtpCanonKey keys[MANY];
	AtpCanonKey spare[MANY];
	char		names[MANY][8];
	bool		good = true;
	unsigned	seed = 7;

	for (int i = 0; i < COUNT; i++)
		for (int j = 0; j < COUNT; j++)
		{
			int			order = compare(ordered[i], ordered[j]);

			good = good && (order < 0) == (i < j) && (order > 0) == (i > j);
		}
	CHECK(good);
	for (uint32_t i = 0; i < COUNT; i++)
		atp_canon_key(&keys[i], ordered[(i * 8 + 5) % COUNT], (uint32_t) strlen(ordered[(i * 8 + 5) % COUNT]), i);
	atp_canon_sort_keys(keys, COUNT, spare);
	good = true;
	for (int i = 0; i < COUNT; i++)
		good = good && keys[i].utf8 == ordered[i];
	CHECK(good);
	for (uint32_t count = 0; count <= MANY; count += count < 40 ? 1 : 96)
	{
		good = true;
		for (uint32_t i = 0; i < count; i++)
		{
			seed = seed * 1103515245u + 12345u;
			snprintf(names[i], sizeof(names[i]), "%u", seed >> 16 & 0xFFF);
			atp_canon_key(&keys[i], names[i], (uint32_t) strlen(names[i]), i);
		}
		atp_canon_sort_keys(keys, count, spare);
		for (uint32_t i = 1; i < count; i++)
			good = good && (compare(keys[i - 1].utf8, keys[i].utf8) < 0 ||
							(strcmp(keys[i - 1].utf8, keys[i].utf8) == 0 && keys[i - 1].index < keys[i].index));
		CHECK(good);
	}
}

static void
test_utf8(void)
{
	char		text[ATP_UTF8_MAX];
	bool		good = true;

	CHECK(atp_utf8_is_valid("", 0) && atp_utf8_is_valid(SIZED("plain ASCII, longer than a word")) && atp_utf8_is_valid("\0", 1));
	CHECK(atp_utf8_scan(SIZED("12345678\x80")) == 8 && atp_utf8_scan(SIZED("1234\xc3\xa9\xff")) == 6);
	CHECK(!atp_utf8_is_valid(SIZED("\xc0\x80")) && !atp_utf8_is_valid(SIZED("\xc1\xbf")) && !atp_utf8_is_valid(SIZED("\xe0\x9f\xbf")));
	CHECK(!atp_utf8_is_valid(SIZED("\xf0\x8f\xbf\xbf")) && !atp_utf8_is_valid(SIZED("\xf4\x90\x80\x80")) && !atp_utf8_is_valid(SIZED("\xf5\x80\x80\x80")));
	CHECK(!atp_utf8_is_valid(SIZED("\xed\xa0\x80")) && !atp_utf8_is_valid(SIZED("\xed\xbf\xbf")) && atp_utf8_is_valid(SIZED("\xed\x9f\xbf\xee\x80\x80")));
	CHECK(!atp_utf8_is_valid(SIZED("\xe2\x82")) && !atp_utf8_is_valid(SIZED("\xf0\x9f\x98")) && !atp_utf8_is_valid(SIZED("\xc3")));
	CHECK(!atp_utf8_is_valid(SIZED("\xe2\x28\xac")) && !atp_utf8_is_valid(SIZED("\xe2\x82\x28")) && !atp_utf8_is_valid(SIZED("\xfe\xff")));
	for (uint32_t c = 0; c <= 0x10FFFF; c++)
	{
		if (c >= 0xD800 && c <= 0xDFFF)
			continue;
		good = good && atp_utf8_is_valid(text, atp_utf8_encode(c, text));
	}
	CHECK(good);
}

/* What the parser and writer make of a text: the canonical form, or "CODE@OFFSET". */
static bool
json_gives(const char *text, size_t size, AtpJsonLimits limits, AtpCanonProfile profile, const char *expected)
{
	AtpJson		json;
	AtpBuf		out;
	AtpJsonError error;
	bool		good;

	atp_json_init(&json, grow, NULL);
	atp_buf_init(&out, grow, NULL);
	if (!atp_json_parse(&json, text, size, limits, &error) || !atp_json_canonical(&json, profile, &out, &error))
	{
		char		line[100];

		snprintf(line, sizeof(line), "%s@%zu", atp_json_reason(error.code), error.offset);
		good = strcmp(line, expected) == 0;
		if (!good)
			printf("got %s, not %s\n", line, expected);
	}
	else if (!(good = holds(&out, expected)))
		printf("got %.*s, not %s\n", (int) out.size, out.data, expected);
	free(json.nodes.data);
	free(json.bytes.data);
	free(json.keys.data);
	free(out.data);
	return good;
}

#define GIVES(literal, expected) CHECK(json_gives(SIZED(literal), (AtpJsonLimits) {.max_depth = 4}, ATP_CANON_EXACT, expected))

static void
test_json(void)
{
	GIVES(" {\"b\" : [ 1 , -2.50e1, true,false ,null], \"a\":{}, \"\":[]}\r\n\t", "{\"\":[],\"a\":{},\"b\":[1,-25,true,false,null]}");
	GIVES("\"\\u00e9\\uD83D\\uDE02\\/\\b\\f\\n\\r\\t\\\"\\\\\\u0041\"", "\"\xc3\xa9\xf0\x9f\x98\x82/\\b\\f\\n\\r\\t\\\"\\\\A\"");
	GIVES("[[[[1]],[]],2]", "[[[[1]],[]],2]");
	GIVES("0", "0");
	GIVES("[[[[[]]]]]", "nesting too deep@4");
	GIVES("[[[[{}]]]]", "nesting too deep@4");
	CHECK(json_gives(SIZED("[]"), (AtpJsonLimits) {0}, ATP_CANON_EXACT, "nesting too deep@0"));
	CHECK(json_gives(SIZED("1"), (AtpJsonLimits) {0}, ATP_CANON_EXACT, "1"));
	GIVES("", "the text ends too early@0");
	GIVES("  ", "the text ends too early@2");
	GIVES("[1,", "the text ends too early@3");
	GIVES("[1", "the text ends too early@2");
	GIVES("{\"a\"", "the text ends too early@4");
	GIVES("{\"a\":", "the text ends too early@5");
	GIVES("\"abc", "the text ends too early@4");
	GIVES("\"abc\\", "the text ends too early@5");
	GIVES("\"\\u12", "the text ends too early@5");
	GIVES("[1,]", "unexpected byte@3");
	GIVES("{\"a\":1,}", "unexpected byte@7");
	GIVES("{a:1}", "unexpected byte@1");
	GIVES("{1:1}", "unexpected byte@1");
	GIVES("{\"a\" 1}", "unexpected byte@5");
	GIVES("[1 2]", "unexpected byte@3");
	GIVES("[1}", "unexpected byte@2");
	GIVES("{\"a\":1]", "unexpected byte@6");
	GIVES("[01]", "unexpected byte@2");
	GIVES("[1.]", "unexpected byte@2");
	GIVES("[-]", "unexpected byte@1");
	GIVES("[+1]", "unexpected byte@1");
	GIVES("[.5]", "unexpected byte@1");
	GIVES("[1e]", "unexpected byte@2");
	GIVES("NaN", "unexpected byte@0");
	GIVES("Infinity", "unexpected byte@0");
	GIVES("-Infinity", "unexpected byte@0");
	GIVES("[tru]", "unexpected byte@1");
	GIVES("'a'", "unexpected byte@0");
	GIVES("/**/1", "unexpected byte@0");
	GIVES("\v1", "unexpected byte@0");
	GIVES("1 2", "something follows the document@2");
	GIVES("{}}", "something follows the document@2");
	GIVES("truex", "something follows the document@4");
	GIVES("1\0", "something follows the document@1");
	GIVES("\xef\xbb\xbf{}", "byte order mark@0");
	GIVES("[\"\xc0\x80\"]", "invalid UTF-8@2");
	GIVES("[\"a\nb\"]", "control character in a string@3");
	GIVES("[\"a\0b\"]", "control character in a string@3");
	GIVES("\"\\x41\"", "invalid escape@1");
	GIVES("\"\\u12g4\"", "invalid escape@5");
	GIVES("\"\\U0041\"", "invalid escape@1");
	GIVES("\"a\\ud800\"", "unpaired surrogate@2");
	GIVES("\"a\\ud800x\"", "unpaired surrogate@2");
	GIVES("\"\\ud800\\u0041\"", "unpaired surrogate@1");
	GIVES("\"\\ud800\\ud800\"", "unpaired surrogate@1");
	GIVES("\"\\udc00\"", "unpaired surrogate@1");
	GIVES("\"a\\u0000\"", "\\u0000 in a string@2");
	CHECK(json_gives(SIZED("{\"b\\u0000\":1,\"b\":\"\\u0000\"}"), (AtpJsonLimits) {.max_depth = 1, .allow_zero = true},
					 ATP_CANON_EXACT, "{\"b\":\"\\u0000\",\"b\\u0000\":1}"));
	GIVES("{\"a\":1,\"b\":{\"a\":1},\"\\u0061\":2}", "duplicate key@19");
	GIVES("[{\"x\":{\"\":1,\"\":1}}]", "duplicate key@12");
	GIVES("{\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0,\"8\":0,\"9\":0,\"a\":0,\"b\":0,\"c\":0,\"d\":0,\"e\":0,\"f\":0,\"g\":0,\"h\":0,\"1\":0}",
		  "duplicate key@103");
	CHECK(json_gives(SIZED("{\"a\":[1e400]}"), (AtpJsonLimits) {.max_depth = 2}, ATP_CANON_RFC8785,
					 "number outside the range of a double@6"));
	CHECK(json_gives("", (size_t) ATP_JSON_MAX_SIZE + 1, (AtpJsonLimits) {0}, ATP_CANON_EXACT, "text too large@1073741823"));
}

/* Depth is bounded by the caller's limit alone: no recursion. And every failing allocation is an error, not a crash. */
static void
test_json_memory(void)
{
	enum
	{
		DEPTH = 1000000
	};
	char	   *text = malloc(2 * DEPTH);
	AtpJson		json;
	AtpBuf		out;
	AtpJsonError error;
	bool		good = true;

	memset(text, '[', DEPTH);
	memset(text + DEPTH, ']', DEPTH);
	atp_json_init(&json, grow, NULL);
	atp_buf_init(&out, grow, NULL);
	CHECK(atp_json_parse(&json, text, 2 * DEPTH, (AtpJsonLimits) {.max_depth = DEPTH}, &error));
	CHECK(atp_json_canonical(&json, ATP_CANON_EXACT, &out, &error) && out.size == 2 * DEPTH && memcmp(out.data, text, out.size) == 0);
	free(json.nodes.data);
	free(json.bytes.data);
	free(json.keys.data);
	free(out.data);
	free(text);
	for (size_t left = 0; left < 8192; left += 64)
	{
		static const char document[] = "{\"b\":[1,2,3,4,5,6,7,8,9,10,11,12],\"a\":\"\\u0041\",\"c\":{\"y\":0,\"x\":1.5}}";

		memory_left = left;
		atp_json_init(&json, grow, NULL);
		atp_buf_init(&out, grow, NULL);
		if (!atp_json_parse(&json, SIZED(document), (AtpJsonLimits) {.max_depth = 9}, &error) ||
			!atp_json_canonical(&json, ATP_CANON_EXACT, &out, &error))
			good = good && error.code == ATP_JSON_MEMORY && left < 8000;
		else
			good = good && holds(&out, "{\"a\":\"A\",\"b\":[1,2,3,4,5,6,7,8,9,10,11,12],\"c\":{\"x\":1.5,\"y\":0}}") && left > 1000;
		free(json.nodes.data);
		free(json.bytes.data);
		free(json.keys.data);
		free(out.data);
	}
	memory_left = SIZE_MAX;
	CHECK(good);
}

static void
test_json_tree(void)
{
	static const char text[] = "{\"list\":[1,\"two\",{}],\"name\":\"\\u0041\"}";
	AtpJson		json;
	AtpJsonError error;
	const AtpJsonNode *node;

	atp_json_init(&json, grow, NULL);
	CHECK(atp_json_parse(&json, SIZED(text), (AtpJsonLimits) {.max_depth = 4}, &error));
	node = atp_json_node(&json, 0);
	CHECK(node->type == ATP_JSON_OBJECT && node->size == 2 && atp_json_member(&json, node, SIZED("nam")) == NULL);
	node = atp_json_member(&json, node, SIZED("name"));
	CHECK(node != NULL && node->type == ATP_JSON_STRING && node->size == 1 && *atp_json_bytes(&json, node) == 'A' && node->offset == 21);
	node = atp_json_member(&json, atp_json_node(&json, 0), SIZED("list"));
	CHECK(node != NULL && node->type == ATP_JSON_ARRAY && node->size == 3 && atp_json_node(&json, node->child)->type == ATP_JSON_NUMBER);
	CHECK(atp_json_member(&json, node, SIZED("list")) == NULL);
	CHECK(atp_json_parse(&json, SIZED("true"), (AtpJsonLimits) {0}, &error) && atp_json_node(&json, 0)->type == ATP_JSON_TRUE);
	free(json.nodes.data);
	free(json.bytes.data);
	free(json.keys.data);
}

static void
test_ulid(void)
{
	uint8_t		id[ATP_ULID_SIZE];
	uint8_t		again[ATP_ULID_SIZE];
	char		text[ATP_ULID_TEXT_SIZE];
	bool		good = true;
	unsigned	seed = 1;

	CHECK(atp_ulid_parse(SIZED("01ARZ3NDEKTSV4RRFFQ69G5FAV"), id) && atp_ulid_time(id) == UINT64_C(1469922850259));
	for (int i = 0; i < 1000; i++)
	{
		for (size_t j = 0; j < sizeof(id); j++)
			id[j] = (uint8_t) ((seed = seed * 1103515245u + 12345u) >> 16);
		atp_ulid_format(id, text);
		good = good && atp_ulid_parse(text, sizeof(text), again) && memcmp(id, again, sizeof(id)) == 0;
	}
	CHECK(good);
	good = true;
	for (int c = 0; c < 256; c++)
		for (size_t at = 0; at < sizeof(text); at++)
		{
			bool		expected = c != 0 && strchr("0123456789ABCDEFGHJKMNPQRSTVWXYZabcdefghjkmnpqrstvwxyz", c) != NULL &&
				(at > 0 || (c >= '0' && c <= '7'));

			memset(text, '7', sizeof(text));
			text[at] = (char) c;
			good = good && atp_ulid_parse(text, sizeof(text), id) == expected;
		}
	CHECK(good);
	CHECK(!atp_ulid_parse(SIZED("01ARZ3NDEKTSV4RRFFQ69G5FAVV"), id) && !atp_ulid_parse("", 0, id));
	atp_ulid_make(ATP_ULID_MAX_TIME, (const uint8_t *) "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", id);
	CHECK(atp_ulid_time(id) == ATP_ULID_MAX_TIME && atp_ulid_increment(id) && !atp_ulid_increment(id) && id[15] == 0xFF && id[0] == 0xFF);
	atp_ulid_make(5, (const uint8_t *) "\0\xff\xff\xff\xff\xff\xff\xff\xff\xff", id);
	CHECK(atp_ulid_increment(id) && id[6] == 1 && id[7] == 0 && id[15] == 0 && atp_ulid_time(id) == 5);
}

static void
test_tracecontext(void)
{
	static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
	AtpTraceMember members[ATP_TRACESTATE_MAX_MEMBERS];
	AtpTraceparent parts;
	char		text[600];
	bool		good = true;

	CHECK(atp_traceparent_is_valid(SIZED(parent)));
	CHECK(!atp_traceparent_is_valid(SIZED(" 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")) &&
		  atp_traceparent_parse(SIZED(" 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), &parts));
	/* any one character missing, or turned into one that belongs nowhere */
	for (size_t at = 0; at < sizeof(parent) - 1; at++)
	{
		memcpy(text, parent, sizeof(parent));
		text[at] = 'G';
		good = good && !atp_traceparent_is_valid(text, sizeof(parent) - 1);
		memmove(text + at, text + at + 1, sizeof(parent) - at - 1);
		good = good && !atp_traceparent_is_valid(text, sizeof(parent) - 2);
	}
	CHECK(good);
	CHECK(!atp_traceparent_is_valid(SIZED("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")));
	CHECK(atp_traceparent_is_valid(SIZED("fe-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x")));
	CHECK(!atp_traceparent_is_valid(SIZED("fe-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x")));
	CHECK(atp_tracestate_parse("", 0, members) == 0 && atp_tracestate_parse(SIZED(" ,\t,"), members) == 0);
	CHECK(atp_tracestate_parse(SIZED("a= x "), members) == 1 && members[0].value_size == 2);
	CHECK(!atp_tracestate_is_valid(SIZED("a=")) && !atp_tracestate_is_valid(SIZED("a= ,b=1")) && !atp_tracestate_is_valid(SIZED("=1")) &&
		  !atp_tracestate_is_valid(SIZED("a=\t1")) && !atp_tracestate_is_valid(SIZED("a=1\x7f")) && !atp_tracestate_is_valid("a=\0", 3) &&
		  !atp_tracestate_is_valid("a\0=1", 4) && !atp_tracestate_is_valid(SIZED("a b=1")) && !atp_tracestate_is_valid(SIZED("_a=1")));
	for (size_t key = 1; key < 260; key += 255)
		for (size_t value = 1; value < 260; value += 255)
			for (size_t more = 0; more < 2; more++)
			{
				memset(text, 'k', key + more);
				text[key + more] = '=';
				memset(text + key + more + 1, 'v', value);
				CHECK(atp_tracestate_is_valid(text, key + more + 1 + value) == (key + more <= 256));
				CHECK(atp_tracestate_is_valid(text + more, key + 1 + value));
				memset(text + key + 1, 'v', value + more);
				text[key] = '=';
				CHECK(atp_tracestate_is_valid(text, key + 1 + value + more) == (value + more <= 256));
			}
	for (size_t i = 0; i < 33; i++)
		memcpy(text + 4 * i, "a=1,", 4);
	CHECK(atp_tracestate_parse(text, 32 * 4, members) == 32 && atp_tracestate_parse(text, 33 * 4, members) == -1);
}

int
main(void)
{
	test_numbers();
	test_strings();
	test_keys();
	test_utf8();
	test_json();
	test_json_memory();
	test_json_tree();
	test_ulid();
	test_tracecontext();
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}

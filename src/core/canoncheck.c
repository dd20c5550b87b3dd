/* Checking a canonical text; see canoncheck.h. */
#include "core/canoncheck.h"

#include "core/canon.h"
#include "core/utf8.h"

typedef struct Level			/* an open array or object */
{
	bool		object;
	const char *key;			/* the last key, as it is written; NULL: none yet */
	size_t		key_size;
} Level;

typedef struct Check
{
	const char *at;
	const char *end;
	AtpBuf	   *scratch;
	int			depth;
	Level		levels[ATP_CANONCHECK_DEPTH];
} Check;

static int
hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* What the escape behind a backslash stands for, and its length; -1: none that the canonical writer uses. */
static int
read_escape(const char *at, const char *end, size_t *length)
{
	int			high;
	int			low;

	*length = 1;
	switch (at < end ? *at : '\0')
	{
		case '"':
		case '\\':
			return *at;
		case 'b':
			return '\b';
		case 'f':
			return '\f';
		case 'n':
			return '\n';
		case 'r':
			return '\r';
		case 't':
			return '\t';
		case 'u':
			break;
		default:
			return -1;
	}
	*length = 5;
	if (end - at < 5 || at[1] != '0' || at[2] != '0')
		return -1;
	high = hex_digit(at[3]);
	low = hex_digit(at[4]);
	if (high < 0 || high > 1 || low < 0 || (high == 0 && (low == 0 || low == 8 || low == 9 || low == 10 || low == 12 || low == 13)))
		return -1;
	return high * 16 + low;
}

/* Skips a string, of which the opening quote is behind us; false: not canonical. The inside is [*begin, *begin + *size). */
static bool
skip_string(Check *check, const char **begin, size_t *size)
{
	const char *at = check->at;

	*begin = at;
	for (;;)
	{
		size_t		length;

		at += atp_canon_plain_run(at, (size_t) (check->end - at));
		if (at == check->end)
			return false;
		if (*at == '"')
			break;
		if (*at != '\\' || read_escape(at + 1, check->end, &length) < 0)
			return false;
		at += 1 + length;
	}
	*size = (size_t) (at - *begin);
	check->at = at + 1;
	return true;
}

const char *
atp_canon_unescape(const char *at, const char *end, AtpBuf *out)
{
	for (;;)
	{
		size_t		run = atp_canon_plain_run(at, (size_t) (end - at));
		size_t		length;
		int			value;

		atp_buf_append(out, at, run);
		at += run;
		if (at == end)
			return NULL;
		if (*at == '"')
			return out->failed ? NULL : at + 1;
		value = *at == '\\' ? read_escape(at + 1, end, &length) : -1;
		if (value < 0)
			return NULL;
		atp_buf_byte(out, (uint8_t) value);
		at += 1 + length;
	}
}

/* Whether key b, as it is written, comes after key a. */
static bool
is_after(Check *check, const char *a, size_t a_size, const char *b, size_t b_size)
{
	size_t		split;

	if (memchr(a, '\\', a_size) == NULL && memchr(b, '\\', b_size) == NULL)
		return atp_canon_compare_keys(a, a_size, b, b_size) < 0;
	check->scratch->size = 0;
	if (atp_canon_unescape(a, a + a_size + 1, check->scratch) == NULL)	/* the quote stands behind it */
		return false;
	split = check->scratch->size;
	if (atp_canon_unescape(b, b + b_size + 1, check->scratch) == NULL)
		return false;
	return atp_canon_compare_keys((char *) check->scratch->data, split, (char *) check->scratch->data + split,
								  check->scratch->size - split) < 0;
}

static bool
check_number(Check *check)
{
	size_t		size = atp_canon_scan_number(check->at, (size_t) (check->end - check->at));
	size_t		sign = size > 0 && *check->at == '-';
	bool		plain;

	if (size == 0)
		return false;
	plain = size - sign <= 15 && (check->at[sign] != '0' || size == 1);
	for (size_t i = sign; plain && i < size; i++)
		plain = check->at[i] >= '0' && check->at[i] <= '9';
	if (!plain)
	{
		check->scratch->size = 0;
		if (!atp_canon_number(check->scratch, ATP_CANON_EXACT, check->at, size) || check->scratch->failed ||
			check->scratch->size != size || memcmp(check->scratch->data, check->at, size) != 0)
			return false;
	}
	check->at += size;
	return true;
}

static bool
take_word(Check *check, const char *word, size_t size)
{
	if ((size_t) (check->end - check->at) < size || memcmp(check->at, word, size) != 0)
		return false;
	check->at += size;
	return true;
}

static bool
take_byte(Check *check, char byte)
{
	if (check->at == check->end || *check->at != byte)
		return false;
	check->at++;
	return true;
}

/* The name of the next member and its colon. */
static bool
check_key(Check *check)
{
	Level	   *level = &check->levels[check->depth - 1];
	const char *key;
	size_t		size;

	if (!take_byte(check, '"') || !skip_string(check, &key, &size) ||
		(level->key != NULL && !is_after(check, level->key, level->key_size, key, size)))
		return false;
	level->key = key;
	level->key_size = size;
	return take_byte(check, ':');
}

/* A value: a scalar whole, of an array or object the bracket only. *opened: a bracket, and there is a value in it. */
static bool
check_value(Check *check, bool *opened)
{
	const char *begin;
	size_t		size;
	char		c = check->at < check->end ? *check->at : '\0';

	*opened = false;
	switch (c)
	{
		case '"':
			check->at++;
			return skip_string(check, &begin, &size);
		case 't':
			return take_word(check, "true", 4);
		case 'f':
			return take_word(check, "false", 5);
		case 'n':
			return take_word(check, "null", 4);
		case '[':
		case '{':
			check->at++;
			if (take_byte(check, c == '{' ? '}' : ']'))
				return true;
			if (check->depth == ATP_CANONCHECK_DEPTH)
				return false;
			check->levels[check->depth++] = (Level) {.object = c == '{'};
			*opened = true;
			return c == '[' || check_key(check);
		default:
			return check_number(check);
	}
}

bool
atp_canon_check(const char *text, size_t size, AtpBuf *scratch)
{
	static Check check;			/* 24 kB: not for the stack */
	bool		opened;

	check.at = text;
	check.end = text + size;
	check.scratch = scratch;
	check.depth = 0;
	if (!atp_utf8_is_valid(text, size))
		return false;
	for (;;)
	{
		if (!check_value(&check, &opened))
			return false;
		if (opened)
			continue;
		while (check.depth > 0 && take_byte(&check, check.levels[check.depth - 1].object ? '}' : ']'))
			check.depth--;
		if (check.depth == 0)
			return check.at == check.end;
		if (!take_byte(&check, ',') || (check.levels[check.depth - 1].object && !check_key(&check)))
			return false;
	}
}

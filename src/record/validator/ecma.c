/*
 * Translation of ECMA-262 regular expressions (with the flag u, as JSON Schema asks) into the syntax of PCRE2.
 *
 * The translation parses the whole pattern: what PCRE2 would read differently is rewritten, what ECMA-262 does not know
 * is refused, so that no extension of PCRE2 (verbs, recursion, possessive quantifiers, inline flags) is reachable. The
 * text is UTF-8 that the server has verified.
 *
 * The strict form is that of `format: regex`. The form for `pattern` forgives what ECMA-262 without the flag u allows
 * and what many published schemas contain: \- or \_ outside of a class, a lone ] or }.
 */
#include "postgres.h"

#include <ctype.h>

#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"

#include "record/validator/ecma.h"

#define MAX_GROUPS 1000
#define ECMA_SPACE "\\t-\\r \\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}\\x{feff}"
#define ECMA_NOT_SPACE                                                                                                 \
	"\\x00-\\x08\\x0e-\\x1f!-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}"        \
	"\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{fefe}\\x{ff00}-\\x{10ffff}"
#define NOTHING "(?!)"

typedef struct Translation
{
	const char *at;
	const char *end;
	bool		strict;
	const char *error;			/* the first one */
	StringInfoData out;
	int			groups;			/* capturing groups in the whole pattern */
	struct
	{
		const char *name;
		int			len;
		int			number;
	}			names[MAX_GROUPS];
	int			n_names;
} Translation;

/* General categories by their long names, as ECMA-262 knows them; PCRE2 knows the short ones. */
static const struct
{
	const char *name;
	const char *category;
} categories[] = {
	{"Cased_Letter", "L&"},
	{"LC", "L&"},
	{"Close_Punctuation", "Pe"},
	{"Connector_Punctuation", "Pc"},
	{"Control", "Cc"},
	{"cntrl", "Cc"},
	{"Currency_Symbol", "Sc"},
	{"Dash_Punctuation", "Pd"},
	{"Decimal_Number", "Nd"},
	{"digit", "Nd"},
	{"Enclosing_Mark", "Me"},
	{"Final_Punctuation", "Pf"},
	{"Format", "Cf"},
	{"Initial_Punctuation", "Pi"},
	{"Letter", "L"},
	{"Letter_Number", "Nl"},
	{"Line_Separator", "Zl"},
	{"Lowercase_Letter", "Ll"},
	{"Mark", "M"},
	{"Combining_Mark", "M"},
	{"Math_Symbol", "Sm"},
	{"Modifier_Letter", "Lm"},
	{"Modifier_Symbol", "Sk"},
	{"Nonspacing_Mark", "Mn"},
	{"Number", "N"},
	{"Open_Punctuation", "Ps"},
	{"Other", "C"},
	{"Other_Letter", "Lo"},
	{"Other_Number", "No"},
	{"Other_Punctuation", "Po"},
	{"Other_Symbol", "So"},
	{"Paragraph_Separator", "Zp"},
	{"Private_Use", "Co"},
	{"Punctuation", "P"},
	{"punct", "P"},
	{"Separator", "Z"},
	{"Space_Separator", "Zs"},
	{"Spacing_Mark", "Mc"},
	{"Surrogate", "Cs"},
	{"Symbol", "S"},
	{"Titlecase_Letter", "Lt"},
	{"Unassigned", "Cn"},
	{"Uppercase_Letter", "Lu"},
};

static void translate_alternatives(Translation *t, int depth);

static bool
fail(Translation *t, const char *error)
{
	if (t->error == NULL)
		t->error = error;
	t->at = t->end;
	return false;
}

/* The next byte, or 0 at the end. */
static inline char
peek(const Translation *t, int ahead)
{
	return t->at + ahead < t->end ? t->at[ahead] : '\0';
}

static inline bool
looking_at(const Translation *t, const char *text)
{
	size_t		len = strlen(text);

	return (size_t) (t->end - t->at) >= len && memcmp(t->at, text, len) == 0;
}

static inline bool
accept(Translation *t, const char *text)
{
	if (!looking_at(t, text))
		return false;
	t->at += strlen(text);
	return true;
}

/* Reads hexadecimal digits, exactly that many. */
static bool
read_hex(Translation *t, int digits, uint32 *value)
{
	*value = 0;
	for (int i = 0; i < digits; i++)
	{
		char		c = peek(t, 0);

		if (!isxdigit((unsigned char) c))
			return false;
		*value = *value * 16 + (uint32) (isdigit((unsigned char) c) ? c - '0' : (c | 0x20) - 'a' + 10);
		t->at++;
	}
	return true;
}

/* Reads what follows \u: four digits, a surrogate pair of them, or braces. */
static bool
read_unicode_escape(Translation *t, uint32 *value)
{
	uint32		low;

	if (accept(t, "{"))
	{
		int			digits = 0;

		*value = 0;
		for (; peek(t, 0) != '}'; digits++)
		{
			uint32		digit;

			if (!read_hex(t, 1, &digit) || (*value = *value * 16 + digit) > 0x10FFFF)
				return fail(t, "a code point is malformed");
		}
		t->at++;
		return digits > 0 ? true : fail(t, "a code point is malformed");
	}
	if (!read_hex(t, 4, value))
		return fail(t, "\\u is not followed by four hexadecimal digits");
	if (*value >= 0xD800 && *value <= 0xDBFF && looking_at(t, "\\u"))
	{
		const char *back = t->at;

		t->at += 2;
		if (read_hex(t, 4, &low) && low >= 0xDC00 && low <= 0xDFFF)
			*value = 0x10000 + ((*value - 0xD800) << 10) + (low - 0xDC00);
		else
			t->at = back;
	}
	return true;
}

/* Reads an escape that stands for one character, in or out of a class; at is behind the backslash. */
static bool
read_character_escape(Translation *t, bool in_class, uint32 *value)
{
	static const char controls[] = "t\tn\nv\vf\fr\r";
	char		c = peek(t, 0);
	const char *control = c ? strchr("tnvfr", c) : NULL;

	if (t->at >= t->end)
		return fail(t, "the pattern ends with a backslash");
	if (control)
	{
		*value = (uint32) strchr(controls, c)[1];
		t->at++;
		return true;
	}
	if (c == 'c' && isalpha((unsigned char) peek(t, 1)))
	{
		*value = (uint32) (peek(t, 1) & 0x1f);
		t->at += 2;
		return true;
	}
	if (c == '0' && !isdigit((unsigned char) peek(t, 1)))
	{
		*value = 0;
		t->at++;
		return true;
	}
	if (c == 'x')
	{
		t->at++;
		return read_hex(t, 2, value) ? true : fail(t, "\\x is not followed by two hexadecimal digits");
	}
	if (c == 'u')
	{
		t->at++;
		return read_unicode_escape(t, value);
	}
	if (isalnum((unsigned char) c))
		return fail(t, "a letter or digit is escaped that has no meaning");
	if (t->strict && strchr("^$\\.*+?()[]{}|/", c) == NULL && !(in_class && c == '-'))
		return fail(t, "a character is escaped that needs no escape");
	*value = (uint32) utf8_to_unicode((const unsigned char *) t->at);
	t->at += pg_utf_mblen((const unsigned char *) t->at);
	return true;
}

/* Appends one character so that PCRE2 takes it as itself, in and out of a class. A lone surrogate is in no text. */
static void
append_character(Translation *t, uint32 value)
{
	if (value < 128 && isalnum((int) value))
		appendStringInfoChar(&t->out, (char) value);
	else
		appendStringInfo(&t->out, "\\x{%x}", value);
}

static bool
is_surrogate(uint32 value)
{
	return value >= 0xD800 && value <= 0xDFFF;
}

/* \p{...} or \P{...}; at is behind the backslash. */
static bool
translate_property(Translation *t)
{
	char		negated = *t->at++;
	const char *name;
	const char *kind = "";
	int			len = 0;

	if (!accept(t, "{"))
		return fail(t, "\\p is not followed by a property in braces");
	if (accept(t, "Script=") || accept(t, "sc="))
		kind = "sc:";
	else if (accept(t, "Script_Extensions=") || accept(t, "scx="))
		kind = "scx:";
	else if (accept(t, "General_Category=") || accept(t, "gc="))
		kind = "gc";
	name = t->at;
	while (isalnum((unsigned char) peek(t, len)) || peek(t, len) == '_')
		len++;
	t->at += len;
	if (len == 0 || !accept(t, "}"))
		return fail(t, "a property name is malformed");
	if (kind[0] != 's')
	{
		if (len == 8 && memcmp(name, "Assigned", 8) == 0)
		{
			appendStringInfo(&t->out, "\\%c{Cn}", negated == 'p' ? 'P' : 'p');
			return true;
		}
		for (int i = 0; i < lengthof(categories); i++)
			if ((int) strlen(categories[i].name) == len && memcmp(categories[i].name, name, (size_t) len) == 0)
			{
				appendStringInfo(&t->out, "\\%c{%s}", negated, categories[i].category);
				return true;
			}
		kind = "";
	}
	appendStringInfo(&t->out, "\\%c{%s%.*s}", negated, kind, len, name);
	return true;
}

/* \d \D \w \W \s \S \p \P, in or out of a class; at is behind the backslash. False if it is none of them. */
static bool
translate_class_escape(Translation *t, bool in_class)
{
	char		c = peek(t, 0);

	switch (c)
	{
		case 'd':
		case 'D':
		case 'w':
		case 'W':
			appendStringInfo(&t->out, "\\%c", c);	/* ASCII only: the pattern is compiled without UCP */
			break;
		case 's':
			appendStringInfoString(&t->out, in_class ? ECMA_SPACE : "[" ECMA_SPACE "]");
			break;
		case 'S':
			appendStringInfoString(&t->out, in_class ? ECMA_NOT_SPACE : "[^" ECMA_SPACE "]");
			break;
		case 'p':
		case 'P':
			(void) translate_property(t);
			return true;
		default:
			return false;
	}
	t->at++;
	return true;
}

/* Reads one member of a class. True: it is the one character *value; false: a set, which has been appended (or an
 * error). */
static bool
read_class_atom(Translation *t, uint32 *value)
{
	if (!accept(t, "\\"))
	{
		*value = (uint32) utf8_to_unicode((const unsigned char *) t->at);
		t->at += pg_utf_mblen((const unsigned char *) t->at);
		return true;
	}
	if (translate_class_escape(t, true))
		return false;
	if (accept(t, "b"))
	{
		*value = '\b';
		return true;
	}
	return read_character_escape(t, true, value);
}

/* A class; at is behind the [. */
static void
translate_class(Translation *t)
{
	bool		negated = accept(t, "^");
	int			start = t->out.len;
	int			body;

	appendStringInfoString(&t->out, negated ? "[^" : "[");
	body = t->out.len;
	while (t->at < t->end && *t->at != ']')
	{
		uint32		from,
					to;
		bool		single = read_class_atom(t, &from);

		if (peek(t, 0) == '-' && t->at + 1 < t->end && peek(t, 1) != ']')
		{
			const char *dash = t->at++;
			int			keep = t->out.len;

			if (single && read_class_atom(t, &to))
			{
				if (from > to)
					(void) fail(t, "a range of a class is out of order");
				if (is_surrogate(from))
					from = 0xE000;
				if (is_surrogate(to))
					to = 0xD7FF;
				if (from <= to)
				{
					append_character(t, from);
					appendStringInfoChar(&t->out, '-');
					append_character(t, to);
				}
				continue;
			}
			if (t->strict)
				(void) fail(t, "a range of a class has a set as its end");
			if (t->error)
				return;
			t->out.len = keep;
			t->at = dash + 1;
			if (single)
				append_character(t, from);
			append_character(t, '-');
			continue;
		}
		if (single && !is_surrogate(from))
			append_character(t, from);
	}
	if (!accept(t, "]"))
	{
		(void) fail(t, "a class is not closed");
		return;
	}
	if (t->out.len > body)
		appendStringInfoChar(&t->out, ']');
	else
	{
		t->out.len = start;
		appendStringInfoString(&t->out, negated ? "[\\x{0}-\\x{10ffff}]" : NOTHING);
	}
}

/* A back reference by number or name; at is behind the backslash. */
static void
translate_back_reference(Translation *t)
{
	int			number = 0;

	if (accept(t, "k<"))
	{
		const char *name = t->at;

		while (t->at < t->end && *t->at != '>')
			t->at++;
		for (int i = 0; i < t->n_names; i++)
			if (t->names[i].len == (int) (t->at - name) && memcmp(t->names[i].name, name, (size_t) (t->at - name)) == 0)
				number = t->names[i].number;
		if (number == 0 || !accept(t, ">"))
			(void) fail(t, "a back reference names no group");
	}
	else if (peek(t, 0) == 'k')
		(void) fail(t, "a back reference is malformed");
	else
	{
		while (isdigit((unsigned char) peek(t, 0)) && number <= t->groups)
			number = number * 10 + (*t->at++ - '0');
		if (number > t->groups)
			(void) fail(t, "a back reference names no group");
	}
	if (t->error == NULL)
		appendStringInfo(&t->out, "\\g{%d}", number);
}

/* An opening parenthesis (at is behind it) up to its end. Returns whether a quantifier may follow. */
static bool
translate_group(Translation *t, int depth)
{
	static const struct
	{
		const char *syntax;
		bool		repeatable;
	}			kinds[] = {{"?:", true}, {"?=", false}, {"?!", false}, {"?<=", false}, {"?<!", false}};
	bool		repeatable = true;

	appendStringInfoChar(&t->out, '(');
	if (peek(t, 0) == '?')
	{
		int			kind = 0;

		while (kind < lengthof(kinds) && !looking_at(t, kinds[kind].syntax))
			kind++;
		if (kind < lengthof(kinds))
		{
			t->at += strlen(kinds[kind].syntax);
			appendStringInfoString(&t->out, kinds[kind].syntax);
			repeatable = kinds[kind].repeatable || (!t->strict && kind <= 2);
		}
		else if (accept(t, "?<"))
		{
			while (t->at < t->end && *t->at != '>')
				t->at++;
			if (!accept(t, ">"))
				return fail(t, "the name of a group is not closed");
		}
		else
			return fail(t, "a group of this kind is not in ECMA-262");
	}
	translate_alternatives(t, depth + 1);
	if (!accept(t, ")"))
		return fail(t, "a group is not closed");
	appendStringInfoChar(&t->out, ')');
	return repeatable;
}

/* A backslash outside of a class; at is behind it. Returns whether a quantifier may follow. */
static bool
translate_escape(Translation *t)
{
	char		c = peek(t, 0);
	uint32		value;

	if (c == 'b' || c == 'B')
	{
		appendStringInfo(&t->out, "\\%c", c);
		t->at++;
		return false;
	}
	if ((c >= '1' && c <= '9') || c == 'k')
		translate_back_reference(t);
	else if (!translate_class_escape(t, false) && read_character_escape(t, false, &value))
	{
		if (is_surrogate(value))
			appendStringInfoString(&t->out, NOTHING);
		else
			append_character(t, value);
	}
	return true;
}

/* Is there a quantifier {n}, {n,} or {n,m}? *len gets its length. */
static bool
braces_quantify(const Translation *t, int *len, bool *in_order)
{
	int			i = 1;
	int64		low = 0;
	int64		high = 0;

	if (!isdigit((unsigned char) peek(t, 1)))
		return false;
	for (; isdigit((unsigned char) peek(t, i)); i++)
		low = Min(low * 10 + (peek(t, i) - '0'), PG_INT32_MAX);
	high = low;
	if (peek(t, i) == ',')
	{
		high = isdigit((unsigned char) peek(t, ++i)) ? 0 : PG_INT32_MAX;
		for (; isdigit((unsigned char) peek(t, i)); i++)
			high = Min(high * 10 + (peek(t, i) - '0'), PG_INT32_MAX);
	}
	*in_order = low <= high;
	*len = i + 1;
	return peek(t, i) == '}';
}

/* A quantifier, if there is one. */
static void
translate_quantifier(Translation *t, bool repeatable)
{
	char		c = peek(t, 0);
	int			len = 1;
	bool		in_order = true;

	if (!(c == '*' || c == '+' || c == '?' || (c == '{' && braces_quantify(t, &len, &in_order))))
		return;
	if (!repeatable)
		(void) fail(t, "a quantifier has nothing to repeat");
	else if (!in_order)
		(void) fail(t, "the numbers of a quantifier are out of order");
	else
	{
		appendBinaryStringInfo(&t->out, t->at, len);
		t->at += len;
		if (accept(t, "?"))
			appendStringInfoChar(&t->out, '?');
	}
}

/* One term without its quantifier. Returns whether a quantifier may follow. */
static bool
translate_term(Translation *t, int depth)
{
	char		c = *t->at;
	int			quantifier_len;
	bool		in_order;

	switch (c)
	{
		case '^':
		case '$':
			t->at++;
			appendStringInfoChar(&t->out, c);
			return false;
		case '(':
			t->at++;
			return translate_group(t, depth);
		case '[':
			t->at++;
			translate_class(t);
			return true;
		case '\\':
			t->at++;
			return translate_escape(t);
		case '.':
			t->at++;
			appendStringInfoString(&t->out, "[^\\n\\r\\x{2028}\\x{2029}]");
			return true;
		case '*':
		case '+':
		case '?':
			return fail(t, "a quantifier has nothing to repeat");
		case '{':
			if (braces_quantify(t, &quantifier_len, &in_order))
				return fail(t, "a quantifier has nothing to repeat");
			/* FALLTHROUGH */
		case '}':
		case ']':
			if (t->strict)
				return fail(t, "a bracket or brace stands alone");
			break;
	}
	append_character(t, (uint32) utf8_to_unicode((const unsigned char *) t->at));
	t->at += pg_utf_mblen((const unsigned char *) t->at);
	return true;
}

/* Alternatives up to the closing parenthesis or the end. */
static void
translate_alternatives(Translation *t, int depth)
{
	if (depth > 200)
		(void) fail(t, "groups are nested too deeply");
	while (t->at < t->end && *t->at != ')')
	{
		if (accept(t, "|"))
			appendStringInfoChar(&t->out, '|');
		else
			translate_quantifier(t, translate_term(t, depth));
	}
}

/* Counts the capturing groups and notes their names: a back reference may come before its group. */
static void
find_groups(Translation *t)
{
	bool		in_class = false;

	for (const char *p = t->at; p < t->end; p++)
	{
		if (*p == '\\')
			p++;
		else if (in_class || *p == '[')
			in_class = *p != ']';
		else if (*p == '(' && (p + 1 >= t->end || p[1] != '?'))
			t->groups++;
		else if (*p == '(' && p + 3 < t->end && p[2] == '<' && p[3] != '=' && p[3] != '!')
		{
			const char *name = p + 3;
			const char *close = memchr(name, '>', (size_t) (t->end - name));

			t->groups++;
			if (close == NULL || close == name || isdigit((unsigned char) *name))
				(void) fail(t, "the name of a group is malformed");
			for (const char *q = name; t->error == NULL && q < close; q++)
				if (!IS_HIGHBIT_SET(*q) && !isalnum((unsigned char) *q) && *q != '_' && *q != '$')
					(void) fail(t, "the name of a group is malformed");
			for (int i = 0; t->error == NULL && i < t->n_names; i++)
				if (t->names[i].len == (int) (close - name) &&
					memcmp(t->names[i].name, name, (size_t) (close - name)) == 0)
					(void) fail(t, "two groups have the same name");
			if (t->n_names == MAX_GROUPS)
				(void) fail(t, "too many groups have names");
			if (t->error)
				return;
			t->names[t->n_names].name = name;
			t->names[t->n_names].len = (int) (close - name);
			t->names[t->n_names++].number = t->groups;
		}
	}
}

/*
 * Translates a pattern; the result is palloc'd. NULL: it is not a pattern of ECMA-262, and *error (a constant) says
 * why.
 */
char *
atp_ecma_translate(const char *pattern, int len, bool strict, const char **error)
{
	Translation *t = palloc0(sizeof(Translation));
	char	   *result = NULL;

	t->at = pattern;
	t->end = pattern + len;
	t->strict = strict;
	initStringInfo(&t->out);
	find_groups(t);
	translate_alternatives(t, 0);
	if (t->error == NULL && t->at < t->end)
		(void) fail(t, "a parenthesis is closed that was not opened");
	*error = t->error;
	if (t->error == NULL)
		result = t->out.data;
	else
		pfree(t->out.data);
	pfree(t);
	return result;
}

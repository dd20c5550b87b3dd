/* The grammar of W3C Trace Context; see tracecontext.h. */
#include "core/tracecontext.h"

#include <string.h>

/* version "-" trace-id "-" parent-id "-" trace-flags */
#define TRACE_ID_AT 3
#define PARENT_ID_AT (TRACE_ID_AT + ATP_TRACE_ID_SIZE + 1)
#define FLAGS_AT (PARENT_ID_AT + ATP_PARENT_ID_SIZE + 1)
#define TRACEPARENT_SIZE (FLAGS_AT + 2)
#define KEY_MAX 256
#define VALUE_MAX 256

static bool
is_space(char c)
{
	return c == ' ' || c == '\t';
}

/* Drops the optional white space at both ends. */
static void
trim(const char **text, size_t *size)
{
	while (*size > 0 && is_space((*text)[0]))
	{
		(*text)++;
		(*size)--;
	}
	while (*size > 0 && is_space((*text)[*size - 1]))
		(*size)--;
}

static bool
is_hex(const char *text, size_t size)
{
	bool		hex = true;			/* no early end: so the loop has no branches */

	for (size_t i = 0; i < size; i++)
		hex &= ((unsigned char) (text[i] - '0') < 10) | ((unsigned char) (text[i] - 'a') < 6);
	return hex;
}

static bool
is_all(const char *text, size_t size, char c)
{
	for (size_t i = 0; i < size; i++)
		if (text[i] != c)
			return false;
	return true;
}

bool
atp_traceparent_parse(const char *text, size_t size, AtpTraceparent *parts)
{
	trim(&text, &size);
	if (size < TRACEPARENT_SIZE)
		return false;
	parts->version = text;
	parts->trace_id = text + TRACE_ID_AT;
	parts->parent_id = text + PARENT_ID_AT;
	parts->flags = text + FLAGS_AT;
	if (parts->trace_id[-1] != '-' || parts->parent_id[-1] != '-' || parts->flags[-1] != '-')
		return false;
	if (!is_hex(parts->version, 2) || !is_hex(parts->trace_id, ATP_TRACE_ID_SIZE) ||
		!is_hex(parts->parent_id, ATP_PARENT_ID_SIZE) || !is_hex(parts->flags, 2))
		return false;
	if (is_all(parts->trace_id, ATP_TRACE_ID_SIZE, '0') || is_all(parts->parent_id, ATP_PARENT_ID_SIZE, '0') ||
		is_all(parts->version, 2, 'f'))
		return false;
	/* version 00 ends here; a later one may go on after another dash */
	return size == TRACEPARENT_SIZE || (!is_all(parts->version, 2, '0') && text[TRACEPARENT_SIZE] == '-');
}

static bool
is_key(const char *key, size_t size)
{
	if (size == 0 || size > KEY_MAX)
		return false;
	for (size_t i = 0; i < size; i++)
	{
		bool		first = (key[i] >= 'a' && key[i] <= 'z') || (key[i] >= '0' && key[i] <= '9');

		if (!first && (i == 0 || key[i] == '\0' || strchr("_-*/@", key[i]) == NULL))
			return false;
	}
	return true;
}

/* The comma cannot occur, and a space not at the end: the list was split at commas and its parts trimmed. */
static bool
is_value(const char *value, size_t size)
{
	if (size == 0 || size > VALUE_MAX)
		return false;
	for (size_t i = 0; i < size; i++)
		if (value[i] < 0x20 || value[i] > 0x7E || value[i] == '=')
			return false;
	return true;
}

static bool
parse_member(const char *text, size_t size, AtpTraceMember *member)
{
	const char *equals = memchr(text, '=', size);

	if (equals == NULL)
		return false;
	member->key = text;
	member->key_size = (size_t) (equals - text);
	member->value = equals + 1;
	member->value_size = size - member->key_size - 1;
	return is_key(member->key, member->key_size) && is_value(member->value, member->value_size);
}

int
atp_tracestate_parse(const char *text, size_t size, AtpTraceMember members[ATP_TRACESTATE_MAX_MEMBERS])
{
	int			count = 0;

	while (size > 0)
	{
		const char *comma = memchr(text, ',', size);
		const char *part = text;
		size_t		part_size = comma != NULL ? (size_t) (comma - text) : size;
		size_t		used = comma != NULL ? part_size + 1 : size;

		trim(&part, &part_size);
		if (part_size > 0)
		{
			if (count == ATP_TRACESTATE_MAX_MEMBERS || !parse_member(part, part_size, &members[count]))
				return -1;
			count++;
		}
		text += used;
		size -= used;
	}
	return count;
}

bool
atp_traceparent_is_valid(const char *text, size_t size)
{
	AtpTraceparent parts;

	return size > 0 && !is_space(text[0]) && !is_space(text[size - 1]) && atp_traceparent_parse(text, size, &parts);
}

bool
atp_tracestate_is_valid(const char *text, size_t size)
{
	AtpTraceMember members[ATP_TRACESTATE_MAX_MEMBERS];

	return atp_tracestate_parse(text, size, members) >= 0;
}

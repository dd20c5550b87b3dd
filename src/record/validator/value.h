/*
 * A JSON value seen inside a jsonb datum: no copy, no text. An AtpJson points into the datum and lives as long as it
 * does.
 *
 * jsonb keeps the members of an object sorted by length of the key, then by its bytes; the cursor delivers them in that
 * order, and atp_json_key_compare is that order, so that a sorted table of names meets an object in one merge.
 */
#ifndef ATP_VALIDATOR_VALUE_H
#define ATP_VALIDATOR_VALUE_H

#include "postgres.h"

#include "utils/jsonb.h"

/* The types as bits, so that `type` is one AND. ATP_JSON_INTEGER is no type of a value: it is a number of integral
 * value. */
typedef enum AtpJsonType
{
	ATP_JSON_NULL = 1,
	ATP_JSON_BOOLEAN = 2,
	ATP_JSON_NUMBER = 4,
	ATP_JSON_STRING = 8,
	ATP_JSON_ARRAY = 16,
	ATP_JSON_OBJECT = 32,
	ATP_JSON_INTEGER = 64
} AtpJsonType;

typedef struct AtpJson
{
	AtpJsonType type;
	int			len;			/* bytes of a string, members of an object, items of an array, truth of a boolean */
	union
	{
		const char *string;		/* not terminated */
		Numeric		number;
		const JsonbContainer *container;
	};
} AtpJson;

typedef struct AtpJsonCursor
{
	const JsonbContainer *container;
	const char *base;
	int			count;
	int			at;				/* index of the member that was delivered last; -1 before the first */
	uint32		key_end;
	uint32		value_end;
} AtpJsonCursor;

/* The value whose entry is je and whose bytes are [start, end) from base. */
static inline void
atp_json_read(const char *base, JEntry je, uint32 start, uint32 end, AtpJson *out)
{
	switch (je & JENTRY_TYPEMASK)
	{
		case JENTRY_ISSTRING:
			out->type = ATP_JSON_STRING;
			out->len = (int) (end - start);
			out->string = base + start;
			break;
		case JENTRY_ISNUMERIC:
			out->type = ATP_JSON_NUMBER;
			out->len = 0;
			out->number = (Numeric) (base + INTALIGN(start));
			break;
		case JENTRY_ISBOOL_TRUE:
		case JENTRY_ISBOOL_FALSE:
			out->type = ATP_JSON_BOOLEAN;
			out->len = JBE_ISBOOL_TRUE(je);
			out->container = NULL;
			break;
		case JENTRY_ISNULL:
			out->type = ATP_JSON_NULL;
			out->len = 0;
			out->container = NULL;
			break;
		default:
			out->container = (const JsonbContainer *) (base + INTALIGN(start));
			out->type = JsonContainerIsObject(out->container) ? ATP_JSON_OBJECT : ATP_JSON_ARRAY;
			out->len = (int) JsonContainerSize(out->container);
			break;
	}
}

/* Opens a cursor over an array or an object. */
static inline void
atp_json_open(AtpJsonCursor *cursor, const AtpJson *json)
{
	bool		object = json->type == ATP_JSON_OBJECT;

	cursor->container = json->container;
	cursor->count = json->len;
	cursor->base = (const char *) &json->container->children[object ? 2 * json->len : json->len];
	cursor->at = -1;
	cursor->key_end = 0;
	cursor->value_end = object && json->len > 0 ? getJsonbOffset(json->container, json->len) : 0;
}

/* Delivers the next item of an array. */
static inline bool
atp_json_next_item(AtpJsonCursor *cursor, AtpJson *item)
{
	JEntry		je;
	uint32		start = cursor->value_end;

	if (++cursor->at >= cursor->count)
		return false;
	je = cursor->container->children[cursor->at];
	JBE_ADVANCE_OFFSET(cursor->value_end, je);
	atp_json_read(cursor->base, je, start, cursor->value_end, item);
	return true;
}

/* Delivers the next member of an object. */
static inline bool
atp_json_next_member(AtpJsonCursor *cursor, const char **key, int *key_len, AtpJson *value)
{
	JEntry		je;
	uint32		start = cursor->key_end;

	if (++cursor->at >= cursor->count)
		return false;
	je = cursor->container->children[cursor->at];
	JBE_ADVANCE_OFFSET(cursor->key_end, je);
	*key = cursor->base + start;
	*key_len = (int) (cursor->key_end - start);

	start = cursor->value_end;
	je = cursor->container->children[cursor->count + cursor->at];
	JBE_ADVANCE_OFFSET(cursor->value_end, je);
	atp_json_read(cursor->base, je, start, cursor->value_end, value);
	return true;
}

/* jsonb's order of keys: by length, then by bytes. */
static inline int
atp_json_key_compare(const char *a, int a_len, const char *b, int b_len)
{
	return a_len != b_len ? (a_len < b_len ? -1 : 1) : memcmp(a, b, (size_t) a_len);
}

/* Is the string (of a value) this C string? */
static inline bool
atp_json_string_is(const AtpJson *json, const char *text)
{
	return json->type == ATP_JSON_STRING && json->len == (int) strlen(text) &&
		memcmp(json->string, text, (size_t) json->len) == 0;
}

extern AtpJson atp_json_root(const Jsonb *document);
extern bool atp_value_member(const AtpJson *object, const char *key, int key_len, AtpJson *value);
extern bool atp_json_item(const AtpJson *array, int index, AtpJson *item);
extern int	atp_json_compare(const AtpJson *a, const AtpJson *b);
extern bool atp_json_items_unique(const AtpJson *array, int *first, int *second);
extern bool atp_numeric_is_integer(Numeric number);
extern int	atp_numeric_compare(Numeric a, Numeric b);
extern bool atp_numeric_is_multiple(Numeric number, Numeric divisor);
extern bool atp_json_count(const AtpJson *json, int *count);
extern char *atp_json_string_copy(const AtpJson *json);

#endif

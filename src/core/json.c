/*
 * The strict JSON parser and the canonical form of its tree; see json.h.
 *
 * While the parser runs, the innermost open array or object is `parent` and its latest child is `last`. Both are known again when
 * one closes, from the node itself, so there is no stack.
 */
#include "core/json.h"

#include "core/utf8.h"

typedef struct Parser
{
	AtpJson    *json;
	const char *text;
	size_t		size;
	size_t		at;
	AtpJsonLimits limits;
	AtpJsonError *error;
	uint32_t	depth;			/* open arrays and objects; 0: parent and last mean nothing */
	uint32_t	parent;
	uint32_t	last;			/* 0: none yet */
} Parser;

static bool
fail(AtpJsonError *error, AtpJsonCode code, size_t offset)
{
	error->code = code;
	error->offset = offset;
	return false;
}

static bool
fail_here(Parser *parser)
{
	return fail(parser->error, parser->at < parser->size ? ATP_JSON_UNEXPECTED : ATP_JSON_UNFINISHED, parser->at);
}

static AtpJsonNode *
node_at(const AtpJson *json, uint32_t index)
{
	return (AtpJsonNode *) (void *) json->nodes.data + index;
}

static void
skip_space(Parser *parser)
{
	while (parser->at < parser->size)
	{
		char		c = parser->text[parser->at];

		if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
			break;
		parser->at++;
	}
}

/* Whether the byte `c` comes next; takes it if so. */
static bool
take(Parser *parser, char c)
{
	if (parser->at == parser->size || parser->text[parser->at] != c)
		return false;
	parser->at++;
	return true;
}

/* The four hexadecimal digits of an escape. */
static bool
take_hex(Parser *parser, uint32_t *unit)
{
	*unit = 0;
	for (int i = 0; i < 4; i++, parser->at++)
	{
		char		c = parser->at < parser->size ? parser->text[parser->at] : '\0';
		char		letter = (char) (c | 0x20);

		if (c >= '0' && c <= '9')
			*unit = *unit * 16 + (uint32_t) (c - '0');
		else if (letter >= 'a' && letter <= 'f')
			*unit = *unit * 16 + (uint32_t) (letter - 'a' + 10);
		else if (parser->at == parser->size)
			return fail(parser->error, ATP_JSON_UNFINISHED, parser->at);
		else
			return fail(parser->error, ATP_JSON_ESCAPE, parser->at);
	}
	return true;
}

/* The rest of \u and the escape of the other half, if it is half a surrogate pair; `start` is where it began. */
static bool
take_code_point(Parser *parser, size_t start)
{
	char		utf8[ATP_UTF8_MAX];
	uint32_t	unit;
	uint32_t	low;

	if (!take_hex(parser, &unit))
		return false;
	if (unit == 0 && !parser->limits.allow_zero)
		return fail(parser->error, ATP_JSON_ZERO, start);
	if (unit >= 0xDC00 && unit <= 0xDFFF)
		return fail(parser->error, ATP_JSON_SURROGATE, start);
	if (unit >= 0xD800 && unit <= 0xDBFF)
	{
		if (!take(parser, '\\') || !take(parser, 'u'))
			return fail(parser->error, ATP_JSON_SURROGATE, start);
		if (!take_hex(parser, &low))
			return false;
		if (low < 0xDC00 || low > 0xDFFF)
			return fail(parser->error, ATP_JSON_SURROGATE, start);
		unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
	}
	atp_buf_append(&parser->json->bytes, utf8, atp_utf8_encode(unit, utf8));
	return true;
}

static bool
take_escape(Parser *parser)
{
	static const char letters[] = "\"\\/bfnrt";
	static const char values[] = "\"\\/\b\f\n\r\t";
	size_t		start = parser->at++;
	const char *found;

	if (parser->at == parser->size)
		return fail_here(parser);
	if (take(parser, 'u'))
		return take_code_point(parser, start);
	found = memchr(letters, parser->text[parser->at], sizeof(letters) - 1);
	if (found == NULL)
		return fail(parser->error, ATP_JSON_ESCAPE, start);
	parser->at++;
	atp_buf_byte(&parser->json->bytes, (uint8_t) values[found - letters]);
	return true;
}

/* A string, unescaped into the bytes of the document. */
static bool
take_string(Parser *parser, uint32_t *value, uint32_t *size)
{
	AtpBuf	   *bytes = &parser->json->bytes;

	*value = (uint32_t) bytes->size;
	if (!take(parser, '"'))
		return fail_here(parser);
	for (;;)
	{
		size_t		run = atp_canon_plain_run(parser->text + parser->at, parser->size - parser->at);

		atp_buf_append(bytes, parser->text + parser->at, run);
		parser->at += run;
		if (take(parser, '"'))
			break;
		if (parser->at == parser->size)
			return fail_here(parser);
		if (parser->text[parser->at] != '\\')
			return fail(parser->error, ATP_JSON_CONTROL, parser->at);
		if (!take_escape(parser))
			return false;
	}
	*size = (uint32_t) bytes->size - *value;
	return true;
}

/* Makes a node and links it as the latest child of the open array or object. */
static bool
add_node(Parser *parser, AtpJsonNode *node, uint32_t *index)
{
	AtpJson    *json = parser->json;

	*index = (uint32_t) (json->nodes.size / sizeof(*node));
	atp_buf_append(&json->nodes, node, sizeof(*node));
	if (json->nodes.failed || json->bytes.failed)
		return fail(parser->error, ATP_JSON_MEMORY, parser->at);
	if (parser->depth > 0)
	{
		node_at(json, parser->parent)->size++;
		if (parser->last != 0)
			node_at(json, parser->last)->next = *index;
		else
			node_at(json, parser->parent)->child = *index;
		parser->last = *index;
	}
	return true;
}

/* Links the members of an object anew, in canonical order of their keys; two equal ones are refused at the later one. */
static bool
sort_members(Parser *parser, AtpJsonNode *object)
{
	AtpJson    *json = parser->json;
	AtpCanonKey *keys;
	size_t		count = object->size;
	size_t		i = 0;

	json->keys.size = 0;
	if (!atp_buf_reserve(&json->keys, 2 * count * sizeof(*keys)))
		return fail(parser->error, ATP_JSON_MEMORY, parser->at);
	keys = (AtpCanonKey *) (void *) json->keys.data;
	for (uint32_t index = object->child; index != 0; index = node_at(json, index)->next)
	{
		const AtpJsonNode *member = node_at(json, index);

		atp_canon_key(&keys[i++], (const char *) json->bytes.data + member->key, member->key_size, index);
	}
	atp_canon_sort_keys(keys, count, keys + count);
	object->child = keys[0].index;
	for (i = 0; i < count; i++)
	{
		AtpJsonNode *member = node_at(json, keys[i].index);

		member->next = i + 1 < count ? keys[i + 1].index : 0;
		if (i > 0 && keys[i - 1].size == keys[i].size && memcmp(keys[i - 1].utf8, keys[i].utf8, keys[i].size) == 0)
			return fail(parser->error, ATP_JSON_DUPLICATE_KEY, member->offset);
	}
	return true;
}

/* Closes the open array or object if its bracket comes next; false with no error set if something else does. */
static bool
take_close(Parser *parser)
{
	AtpJsonNode *node = node_at(parser->json, parser->parent);

	if (!take(parser, node->type == ATP_JSON_OBJECT ? '}' : ']'))
		return false;
	if (node->type == ATP_JSON_OBJECT && node->size > 1 && !sort_members(parser, node))
		return false;
	parser->last = parser->parent;
	parser->parent = node->parent;
	parser->depth--;
	return true;
}

static bool
take_word(Parser *parser, const char *word, size_t size)
{
	if (parser->size - parser->at < size || memcmp(parser->text + parser->at, word, size) != 0)
		return fail(parser->error, ATP_JSON_UNEXPECTED, parser->at);
	parser->at += size;
	return true;
}

static bool
take_number(Parser *parser, AtpJsonNode *node)
{
	const char *start = parser->text + parser->at;
	size_t		size = atp_canon_scan_number(start, parser->size - parser->at);

	if (size == 0)
		return fail_here(parser);
	node->value = (uint32_t) parser->json->bytes.size;
	node->size = (uint32_t) size;
	atp_buf_append(&parser->json->bytes, start, size);
	parser->at += size;
	return true;
}

/* A scalar whole, or the opening of an array or object; with its key before it inside an object. */
static bool
take_value(Parser *parser)
{
	AtpJsonNode node = {.parent = parser->parent, .offset = (uint32_t) parser->at};
	uint32_t	index;
	bool		good = true;

	if (parser->depth > 0 && node_at(parser->json, parser->parent)->type == ATP_JSON_OBJECT)
	{
		if (!take_string(parser, &node.key, &node.key_size))
			return false;
		skip_space(parser);
		if (!take(parser, ':'))
			return fail_here(parser);
		skip_space(parser);
	}
	switch (parser->at < parser->size ? parser->text[parser->at] : '\0')
	{
		case '{':
		case '[':
			node.type = parser->text[parser->at] == '{' ? ATP_JSON_OBJECT : ATP_JSON_ARRAY;
			if (parser->depth == parser->limits.max_depth)
				return fail(parser->error, ATP_JSON_DEPTH, parser->at);
			parser->at++;
			if (!add_node(parser, &node, &index))
				return false;
			parser->depth++;
			parser->parent = index;
			parser->last = 0;
			return true;
		case '"':
			node.type = ATP_JSON_STRING;
			good = take_string(parser, &node.value, &node.size);
			break;
		case 't':
			node.type = ATP_JSON_TRUE;
			good = take_word(parser, "true", 4);
			break;
		case 'f':
			node.type = ATP_JSON_FALSE;
			good = take_word(parser, "false", 5);
			break;
		case 'n':
			good = take_word(parser, "null", 4);
			break;
		default:
			node.type = ATP_JSON_NUMBER;
			good = take_number(parser, &node);
	}
	return good && add_node(parser, &node, &index);
}

static bool
take_document(Parser *parser)
{
	do
	{
		uint32_t	depth = parser->depth;

		skip_space(parser);
		if (!take_value(parser))
			return false;
		skip_space(parser);
		if (parser->depth > depth && !take_close(parser))
		{
			if (parser->error->code != ATP_JSON_OK)
				return false;
			continue;			/* the first child comes next */
		}
		while (parser->depth > 0)
		{
			skip_space(parser);
			if (take(parser, ','))
				break;
			if (!take_close(parser))
				return parser->error->code != ATP_JSON_OK ? false : fail_here(parser);
		}
	} while (parser->depth > 0);
	return true;
}

void
atp_json_init(AtpJson *json, AtpGrow grow, void *context)
{
	atp_buf_init(&json->nodes, grow, context);
	atp_buf_init(&json->bytes, grow, context);
	atp_buf_init(&json->keys, grow, context);
}

bool
atp_json_parse(AtpJson *json, const char *text, size_t size, AtpJsonLimits limits, AtpJsonError *error)
{
	Parser		parser = {.json = json, .text = text, .size = size, .limits = limits, .error = error};
	size_t		valid;

	error->code = ATP_JSON_OK;
	error->offset = 0;
	json->nodes.size = json->bytes.size = 0;
	if (size > ATP_JSON_MAX_SIZE)
		return fail(error, ATP_JSON_SIZE, ATP_JSON_MAX_SIZE);
	if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
		return fail(error, ATP_JSON_BOM, 0);
	if ((valid = atp_utf8_scan(text, size)) != size)
		return fail(error, ATP_JSON_UTF8, valid);
	if (!atp_buf_reserve(&json->bytes, size))	/* unescaped text is never longer */
		return fail(error, ATP_JSON_MEMORY, 0);
	if (!take_document(&parser))
		return false;
	skip_space(&parser);
	if (parser.at < size)
		return fail(error, ATP_JSON_TRAILING, parser.at);
	return true;
}

/* Writes a scalar, or the opening bracket; with its key before it inside an object. */
static bool
write_node(const AtpJson *json, AtpCanonProfile profile, uint32_t index, AtpBuf *out)
{
	static const char *const words[] = {"null", "false", "true"};
	const AtpJsonNode *node = node_at(json, index);

	if (index != 0 && node_at(json, node->parent)->type == ATP_JSON_OBJECT)
	{
		atp_canon_string(out, (const char *) json->bytes.data + node->key, node->key_size);
		atp_buf_byte(out, ':');
	}
	if (node->type == ATP_JSON_NUMBER)
		return atp_canon_number(out, profile, atp_json_bytes(json, node), node->size);
	if (node->type == ATP_JSON_STRING)
		atp_canon_string(out, atp_json_bytes(json, node), node->size);
	else if (node->type < ATP_JSON_NUMBER)
		atp_buf_append(out, words[node->type], strlen(words[node->type]));
	else
		atp_buf_byte(out, node->type == ATP_JSON_OBJECT ? '{' : '[');
	return true;
}

bool
atp_json_canonical(const AtpJson *json, AtpCanonProfile profile, AtpBuf *out, AtpJsonError *error)
{
	uint32_t	index = 0;

	for (;;)
	{
		const AtpJsonNode *node = node_at(json, index);

		if (!write_node(json, profile, index, out))
			return fail(error, ATP_JSON_RANGE, node->offset);
		if (node->type >= ATP_JSON_ARRAY && node->child != 0)
		{
			index = node->child;
			continue;
		}
		if (node->type >= ATP_JSON_ARRAY)
			atp_buf_byte(out, node->type == ATP_JSON_OBJECT ? '}' : ']');
		while (index != 0 && node->next == 0)
		{
			index = node->parent;
			node = node_at(json, index);
			atp_buf_byte(out, node->type == ATP_JSON_OBJECT ? '}' : ']');
		}
		if (index == 0)
			break;
		atp_buf_byte(out, ',');
		index = node->next;
	}
	return out->failed ? fail(error, ATP_JSON_MEMORY, 0) : true;
}

const char *
atp_json_reason(AtpJsonCode code)
{
	static const char *const reasons[] = {
		"no error", "unexpected byte", "the text ends too early", "something follows the document", "byte order mark",
		"invalid UTF-8", "control character in a string", "invalid escape", "unpaired surrogate", "\\u0000 in a string",
		"duplicate key", "nesting too deep", "text too large", "number outside the range of a double", "out of memory"
	};

	return reasons[code];
}

const AtpJsonNode *
atp_json_member(const AtpJson *json, const AtpJsonNode *object, const char *key, size_t key_size)
{
	if (object->type != ATP_JSON_OBJECT)
		return NULL;
	for (uint32_t index = object->child; index != 0; index = node_at(json, index)->next)
	{
		const AtpJsonNode *member = node_at(json, index);

		if (member->key_size == key_size && memcmp((const char *) json->bytes.data + member->key, key, key_size) == 0)
			return member;
	}
	return NULL;
}

/*
 * A strict JSON parser (RFC 8259 text in UTF-8, I-JSON's refusals) to a tree, and the tree's canonical form.
 *
 * Refused, with a code and the byte offset: keys that are equal after unescaping, lone surrogates, invalid UTF-8, control
 * characters in strings, NaN and Infinity, a byte order mark, anything after the document, nesting over the caller's
 * limit, and \u0000 unless the caller allows it (jsonb cannot hold it).
 *
 * The tree is an array of nodes in the order of the text, linked by their indexes, and one stretch of bytes with all keys,
 * unescaped strings and numbers. It does not refer to the text it came from. Neither the parser nor the writer recurses:
 * the depth costs nothing but nodes. Members of an object are linked in canonical order of their keys.
 *
 * Memory: three buffers that grow through the caller's function and are the caller's to free (also after an error); a
 * document can be parsed into again and keeps its room. The worst text ("[0,0,0") takes some forty times its size.
 */
#ifndef ATP_JSON_H
#define ATP_JSON_H

#include "core/canon.h"

#define ATP_JSON_MAX_SIZE 0x3FFFFFFF	/* of a text, in bytes */

typedef enum AtpJsonType
{
	ATP_JSON_NULL,
	ATP_JSON_FALSE,
	ATP_JSON_TRUE,
	ATP_JSON_NUMBER,
	ATP_JSON_STRING,
	ATP_JSON_ARRAY,
	ATP_JSON_OBJECT
} AtpJsonType;

typedef enum AtpJsonCode
{
	ATP_JSON_OK,
	ATP_JSON_UNEXPECTED,		/* a byte that cannot stand here */
	ATP_JSON_UNFINISHED,		/* the text ends inside the document, or is empty */
	ATP_JSON_TRAILING,			/* something follows the document */
	ATP_JSON_BOM,
	ATP_JSON_UTF8,
	ATP_JSON_CONTROL,			/* an unescaped character below U+0020 in a string */
	ATP_JSON_ESCAPE,			/* an escape that JSON does not have */
	ATP_JSON_SURROGATE,			/* half of a surrogate pair */
	ATP_JSON_ZERO,				/* \u0000 */
	ATP_JSON_DUPLICATE_KEY,
	ATP_JSON_DEPTH,
	ATP_JSON_SIZE,				/* a text over ATP_JSON_MAX_SIZE */
	ATP_JSON_RANGE,				/* atp_json_canonical: a number outside the range of a double */
	ATP_JSON_MEMORY				/* grow returned NULL */
} AtpJsonCode;

typedef struct AtpJsonNode
{
	AtpJsonType type;
	uint32_t	size;			/* string, number: bytes; array, object: children */
	uint32_t	value;			/* string, number: where its bytes are in AtpJson.bytes */
	uint32_t	key;			/* member of an object: where its key is */
	uint32_t	key_size;
	uint32_t	parent;			/* index of the array or object it is in */
	uint32_t	child;			/* index of the first child; 0: none */
	uint32_t	next;			/* index of the next child of the same parent; 0: none */
	uint32_t	offset;			/* in the text: where it begins, a member with its key */
} AtpJsonNode;

typedef struct AtpJson
{
	AtpBuf		nodes;			/* AtpJsonNode; the first is the document */
	AtpBuf		bytes;
	AtpBuf		keys;			/* scratch for sorting */
} AtpJson;

typedef struct AtpJsonError
{
	AtpJsonCode code;
	size_t		offset;			/* in the text, from 0: the byte that is wrong, or where the wrong thing begins */
} AtpJsonError;

typedef struct AtpJsonLimits
{
	uint32_t	max_depth;		/* of nesting: 0 takes scalars only, 1 arrays and objects of scalars */
	bool		allow_zero;		/* let \u0000 stand in strings */
} AtpJsonLimits;

/* Makes an empty document whose buffers grow through `grow`. */
extern void atp_json_init(AtpJson *json, AtpGrow grow, void *context);

/* Parses a text. False: `error` says why and where, and the document is not usable. */
extern bool atp_json_parse(AtpJson *json, const char *text, size_t size, AtpJsonLimits limits, AtpJsonError *error);

/* Appends the canonical form. False: a number that the profile cannot write (ATP_JSON_RANGE), or no memory. */
extern bool atp_json_canonical(const AtpJson *json, AtpCanonProfile profile, AtpBuf *out, AtpJsonError *error);

/* What a code means, in a few words, lower case. */
extern const char *atp_json_reason(AtpJsonCode code);

static inline const AtpJsonNode *
atp_json_node(const AtpJson *json, uint32_t index)
{
	return (const AtpJsonNode *) (const void *) json->nodes.data + index;
}

/* The bytes of a string or number, `size` of them; not terminated. */
static inline const char *
atp_json_bytes(const AtpJson *json, const AtpJsonNode *node)
{
	return (const char *) json->bytes.data + node->value;
}

/* The member of an object that has a key; NULL: there is none, or the node is not an object. */
extern const AtpJsonNode *atp_json_member(const AtpJson *json, const AtpJsonNode *object, const char *key, size_t key_size);

#endif

/* The declared operations of an upcaster; see operation.h. */
#include "record/upcaster/operation.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "pg/errors.h"

#define OPERATIONS_MAX 1000
#define PATH_MAX 64				/* tokens */

typedef enum Kind
{
	KIND_RENAME, KIND_MOVE, KIND_DEFAULT, KIND_DROP, KIND_MAP
} Kind;

static const char *const kind_words[] = {"rename", "move", "default", "drop", "map"};

typedef struct Path
{
	int			n;
	Datum		tokens[PATH_MAX];	/* text */
} Path;

typedef struct Operation
{
	Kind		kind;
	Path		path;
	Path		to;				/* rename and move */
	Jsonb	   *value;			/* default; map: what other values become, or NULL */
	Jsonb	   *values;			/* map: pairs */
} Operation;

static void
refuse(int index, const char *why)
{
	ereport(ERROR, errcode(ATP_ERR_INVALID_UPCASTER), errmsg("invalid operation in an upcaster"),
			errdetail("Operation %d: %s.", index + 1, why),
			errhint("For example [{\"op\": \"rename\", \"path\": \"/zip\", \"to\": \"postcode\"}]."));
}

/* Takes a JSON pointer (RFC 6901) apart; it names a member, not the whole document. */
static void
parse_path(const char *text, int len, int index, Path *path)
{
	int			at = 0;

	path->n = 0;
	if (len == 0 || text[0] != '/')
		refuse(index, "a path is a JSON pointer that begins with /");
	while (at < len)
	{
		StringInfoData token;

		initStringInfo(&token);
		for (at++; at < len && text[at] != '/'; at++)
		{
			char		c = text[at];

			if (c == '~')
			{
				if (++at >= len || (text[at] != '0' && text[at] != '1'))
					refuse(index, "in a JSON pointer ~ is written ~0, and / is written ~1");
				c = text[at] == '0' ? '~' : '/';
			}
			appendStringInfoChar(&token, c);
		}
		if (path->n == PATH_MAX)
			refuse(index, "a path has too many steps");
		path->tokens[path->n++] = PointerGetDatum(cstring_to_text_with_len(token.data, token.len));
	}
}

static JsonbValue *
get_member(JsonbContainer *object, const char *name)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = (int) strlen(name);
	return findJsonbValueFromContainer(object, JB_FOBJECT, &key);
}

static JsonbValue *
require_string(JsonbContainer *object, const char *name, int index)
{
	JsonbValue *value = get_member(object, name);

	if (value == NULL || value->type != jbvString)
		refuse(index, psprintf("\"%s\" must be a string", name));
	return value;
}

/* Members that the operation does not know are mistakes. */
static void
require_known(JsonbContainer *object, Kind kind, int index)
{
	static const char *const more[][2] = {{"to", NULL}, {"to", NULL}, {"value", NULL}, {NULL, NULL}, {"values", "otherwise"}};
	JsonbIterator *walk = JsonbIteratorInit(object);
	JsonbValue	key;
	JsonbIteratorToken token;

	while ((token = JsonbIteratorNext(&walk, &key, true)) != WJB_DONE)
	{
		char	   *name;
		bool		known;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		known = strcmp(name, "op") == 0 || strcmp(name, "path") == 0;
		for (int i = 0; i < 2 && !known; i++)
			known = more[kind][i] != NULL && strcmp(name, more[kind][i]) == 0;
		if (!known)
			refuse(index, psprintf("\"%s\" has no member \"%s\"", kind_words[kind], name));
	}
}

static void
parse_values(JsonbContainer *object, int index, Operation *operation)
{
	JsonbValue *values = get_member(object, "values");
	JsonbValue *otherwise = get_member(object, "otherwise");

	if (values == NULL || values->type != jbvBinary || !JsonContainerIsArray(values->val.binary.data))
		refuse(index, "\"values\" must be an array of pairs");
	for (uint32 i = 0; i < JsonContainerSize(values->val.binary.data); i++)
	{
		JsonbValue *pair = getIthJsonbValueFromContainer(values->val.binary.data, i);

		if (pair->type != jbvBinary || !JsonContainerIsArray(pair->val.binary.data) || JsonContainerSize(pair->val.binary.data) != 2)
			refuse(index, "\"values\" must be an array of pairs");
	}
	operation->values = JsonbValueToJsonb(values);
	operation->value = otherwise != NULL ? JsonbValueToJsonb(otherwise) : NULL;
}

static void
parse_operation(JsonbValue *value, int index, Operation *operation)
{
	JsonbContainer *object;
	JsonbValue *word;
	int			kind = 0;

	memset(operation, 0, sizeof(*operation));
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		refuse(index, "it is not an object");
	object = value->val.binary.data;
	word = require_string(object, "op", index);
	while (kind < (int) lengthof(kind_words) && (word->val.string.len != (int) strlen(kind_words[kind]) ||
												 memcmp(word->val.string.val, kind_words[kind], word->val.string.len) != 0))
		kind++;
	if (kind == (int) lengthof(kind_words))
		refuse(index, "\"op\" is rename, move, default, drop or map");
	operation->kind = (Kind) kind;
	require_known(object, operation->kind, index);
	word = require_string(object, "path", index);
	parse_path(word->val.string.val, word->val.string.len, index, &operation->path);
	if (operation->kind == KIND_RENAME)
	{
		word = require_string(object, "to", index);
		operation->to = operation->path;
		operation->to.tokens[operation->to.n - 1] = PointerGetDatum(cstring_to_text_with_len(word->val.string.val, word->val.string.len));
	}
	else if (operation->kind == KIND_MOVE)
	{
		word = require_string(object, "to", index);
		parse_path(word->val.string.val, word->val.string.len, index, &operation->to);
	}
	else if (operation->kind == KIND_DEFAULT)
	{
		word = get_member(object, "value");
		if (word == NULL)
			refuse(index, "\"default\" needs a \"value\"");
		operation->value = JsonbValueToJsonb(word);
	}
	else if (operation->kind == KIND_MAP)
		parse_values(object, index, operation);
}

/* ---- at work ---- */

static Datum
path_array(Path *path, int n)
{
	return PointerGetDatum(construct_array(path->tokens, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/* What the first n tokens of the path lead to; NULL: nothing. */
static Jsonb *
get_at(Jsonb *document, Path *path, int n)
{
	LOCAL_FCINFO(fcinfo, 2);
	Datum		found;

	if (n == 0)
		return document;
	InitFunctionCallInfoData(*fcinfo, NULL, 2, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum) {JsonbPGetDatum(document), false};
	fcinfo->args[1] = (NullableDatum) {path_array(path, n), false};
	found = jsonb_extract_path(fcinfo);
	return fcinfo->isnull ? NULL : DatumGetJsonbP(found);
}

static Jsonb *
remove_at(Jsonb *document, Path *path)
{
	return DatumGetJsonbP(DirectFunctionCall2(jsonb_delete_path, JsonbPGetDatum(document), path_array(path, path->n)));
}

/* Sets the value, and makes the objects on the way that are missing. */
static Jsonb *
set_at(Jsonb *document, Path *path, Jsonb *value)
{
	Datum		empty = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));

	for (int n = 1; n < path->n; n++)
		if (get_at(document, path, n) == NULL)
			document = DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(document), path_array(path, n), empty,
														  BoolGetDatum(true)));
	document = DatumGetJsonbP(DirectFunctionCall4(jsonb_set, JsonbPGetDatum(document), path_array(path, path->n), JsonbPGetDatum(value),
												  BoolGetDatum(true)));
	if (get_at(document, path, path->n) == NULL)
		ereport(ERROR, errcode(ATP_ERR_UPCAST_FAILED), errmsg("a path of an upcaster leads through a value that is no object"));
	return document;
}

static Jsonb *
relocate(Jsonb *document, Operation *operation)
{
	Jsonb	   *value = get_at(document, &operation->path, operation->path.n);

	if (value == NULL)
		return document;
	document = remove_at(document, &operation->path);
	if (get_at(document, &operation->to, operation->to.n) != NULL)
		ereport(ERROR, errcode(ATP_ERR_UPCAST_FAILED), errmsg("a member would be overwritten"),
				errdetail("The payload has both \"%s\" and \"%s\".", TextDatumGetCString(operation->path.tokens[operation->path.n - 1]),
						  TextDatumGetCString(operation->to.tokens[operation->to.n - 1])));
	return set_at(document, &operation->to, value);
}

static Jsonb *
replace_value(Jsonb *document, Operation *operation)
{
	Jsonb	   *value = get_at(document, &operation->path, operation->path.n);
	Jsonb	   *becomes = operation->value;

	if (value == NULL)
		return document;
	for (uint32 i = 0; i < JsonContainerSize(&operation->values->root); i++)
	{
		JsonbContainer *pair = getIthJsonbValueFromContainer(&operation->values->root, i)->val.binary.data;
		Jsonb	   *from = JsonbValueToJsonb(getIthJsonbValueFromContainer(pair, 0));

		if (compareJsonbContainers(&from->root, &value->root) == 0)
		{
			becomes = JsonbValueToJsonb(getIthJsonbValueFromContainer(pair, 1));
			break;
		}
	}
	return becomes != NULL ? set_at(document, &operation->path, becomes) : document;
}

static Jsonb *
apply(Jsonb *document, Operation *operation)
{
	switch (operation->kind)
	{
		case KIND_RENAME:
		case KIND_MOVE:
			return relocate(document, operation);
		case KIND_DEFAULT:
			return get_at(document, &operation->path, operation->path.n) == NULL ?
				set_at(document, &operation->path, operation->value) : document;
		case KIND_DROP:
			return get_at(document, &operation->path, operation->path.n) != NULL ? remove_at(document, &operation->path) : document;
		case KIND_MAP:
			return replace_value(document, operation);
	}
	return document;
}

void
atp_operations_require(Jsonb *operations)
{
	Operation	operation;

	if (!JB_ROOT_IS_ARRAY(operations) || JB_ROOT_IS_SCALAR(operations))
		ereport(ERROR, errcode(ATP_ERR_INVALID_UPCASTER), errmsg("the operations of an upcaster are not an array"));
	if (JB_ROOT_COUNT(operations) > OPERATIONS_MAX)
		ereport(ERROR, errcode(ATP_ERR_INVALID_UPCASTER), errmsg("an upcaster has more than %d operations", OPERATIONS_MAX),
				errhint("Use an SQL function."));
	for (uint32 i = 0; i < JB_ROOT_COUNT(operations); i++)
		parse_operation(getIthJsonbValueFromContainer(&operations->root, i), (int) i, &operation);
}

Jsonb *
atp_operations_apply(Jsonb *operations, Jsonb *payload)
{
	Operation	operation;

	for (uint32 i = 0; i < JB_ROOT_COUNT(operations); i++)
	{
		CHECK_FOR_INTERRUPTS();
		parse_operation(getIthJsonbValueFromContainer(&operations->root, i), (int) i, &operation);
		payload = apply(payload, &operation);
	}
	return payload;
}

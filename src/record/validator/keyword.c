/*
 * The keywords of JSON Schema: from a value in a schema to an operation of a node. What is malformed is refused here
 * with its place, whether or not the meta-schema has looked at it: references can lead to schemas that no meta-schema
 * sees.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/numeric.h"

#include "pg/errors.h"
#include "record/validator/keyword.h"

#define ANY_TYPE                                                                                                       \
	(ATP_JSON_NULL | ATP_JSON_BOOLEAN | ATP_JSON_NUMBER | ATP_JSON_STRING | ATP_JSON_ARRAY | ATP_JSON_OBJECT)

/* Steps down from the keyword at work: NULL token and index -1 for the keyword itself. Lives as long as the
 * compilation. */
static const AtpWhere *
step(AtpBuild *build, const char *token, int len, int index)
{
	AtpWhere   *keyword = palloc(sizeof(AtpWhere));
	AtpWhere   *child;

	*keyword = (AtpWhere) {build->where, build->keyword->name, (int) strlen(build->keyword->name), 0};
	if (token == NULL && index < 0)
		return keyword;
	child = palloc(sizeof(AtpWhere));
	*child = (AtpWhere) {keyword, token, len, index};
	return child;
}

static void
malformed_at(const AtpWhere *where, const char *keyword, const char *must)
{
	ereport(ERROR,
			(errcode(ATP_ERR_INVALID_SCHEMA),
			 errmsg("the schema is not valid: \"%s\" must be %s", keyword, must),
			 errdetail("At \"%s\".", atp_where_text(where))));
}

static void
malformed(AtpBuild *build, const char *must)
{
	malformed_at(step(build, NULL, 0, -1), build->keyword->name, must);
}

static void
expect(AtpBuild *build, const AtpJson *value, int types, const char *must)
{
	if (!(value->type & types))
		malformed(build, must);
}

static AtpOp *
add_op(AtpBuild *build, AtpOpKind kind, int types)
{
	AtpOp	   *op = palloc0(sizeof(AtpOp));

	op->kind = kind;
	op->types = types;
	op->keyword = build->keyword->name;
	build->ops = lappend(build->ops, op);
	return op;
}

/* Memory that outlives the compilation. */
static void *
keep(AtpBuild *build, Size size)
{
	return MemoryContextAllocZero(build->library->context, size);
}

/* The subschemas of an array, which must not be empty. */
static AtpNode **
subschema_list(AtpBuild *build, const AtpJson *value, int *n)
{
	AtpNode   **nodes;
	AtpJsonCursor cursor;
	AtpJson		item;

	expect(build, value, ATP_JSON_ARRAY, "an array of schemas");
	if (value->len == 0 && build->keyword->id != ATP_KEYWORD_ITEMS)
		malformed(build, "an array of at least one schema");
	nodes = keep(build, sizeof(AtpNode *) * (Size) Max(value->len, 1));
	atp_json_open(&cursor, value);
	for (*n = 0; atp_json_next_item(&cursor, &item); (*n)++)
		nodes[*n] = atp_build_subschema(build, &item, step(build, NULL, 0, *n));
	return nodes;
}

static void
compile_type(AtpBuild *build, const AtpJson *value)
{
	static const struct
	{
		const char *name;
		int			mask;
	} types[] = {{"null", ATP_JSON_NULL},	   {"boolean", ATP_JSON_BOOLEAN}, {"number", ATP_JSON_NUMBER},
				 {"string", ATP_JSON_STRING},  {"array", ATP_JSON_ARRAY},	  {"object", ATP_JSON_OBJECT},
				 {"integer", ATP_JSON_INTEGER}};
	AtpJson		item = *value;
	int			mask = 0;

	expect(build, value, ATP_JSON_STRING | ATP_JSON_ARRAY, "a type or an array of types");
	for (int i = 0; value->type == ATP_JSON_STRING ? i < 1 : atp_json_item(value, i, &item); i++)
	{
		int			t = 0;

		while (t < lengthof(types) && !atp_json_string_is(&item, types[t].name))
			t++;
		if (t == lengthof(types))
			malformed(build, "a type or an array of types");
		mask |= types[t].mask;
	}
	add_op(build, ATP_OP_TYPE, ANY_TYPE)->type_mask = mask;
}

static void
compile_const(AtpBuild *build, const AtpJson *value)
{
	add_op(build, ATP_OP_CONST, ANY_TYPE)->value = *value;
}

static int
compare_values(const void *a, const void *b)
{
	return atp_json_compare(a, b);
}

static void
compile_enum(AtpBuild *build, const AtpJson *value)
{
	AtpOp	   *op;

	expect(build, value, ATP_JSON_ARRAY, "an array");
	op = add_op(build, ATP_OP_ENUM, ANY_TYPE);
	op->choice.n = value->len;
	op->choice.values = keep(build, sizeof(AtpJson) * (Size) Max(value->len, 1));
	for (int i = 0; i < value->len; i++)
		(void) atp_json_item(value, i, &op->choice.values[i]);
	qsort(op->choice.values, (size_t) value->len, sizeof(AtpJson), compare_values);
}

static void
compile_number(AtpBuild *build, const AtpJson *value)
{
	static const struct
	{
		AtpKeywordId keyword;
		AtpOpKind	op;
	} ops[] = {{ATP_KEYWORD_MINIMUM, ATP_OP_MINIMUM},
			   {ATP_KEYWORD_EXCLUSIVE_MINIMUM, ATP_OP_EXCLUSIVE_MINIMUM},
			   {ATP_KEYWORD_MAXIMUM, ATP_OP_MAXIMUM},
			   {ATP_KEYWORD_EXCLUSIVE_MAXIMUM, ATP_OP_EXCLUSIVE_MAXIMUM},
			   {ATP_KEYWORD_MULTIPLE_OF, ATP_OP_MULTIPLE_OF}};
	int			i = 0;

	expect(build, value, ATP_JSON_NUMBER, "a number");
	while (ops[i].keyword != build->keyword->id)
		i++;
	if (ops[i].op == ATP_OP_MULTIPLE_OF && atp_numeric_compare(value->number, int64_to_numeric(0)) <= 0)
		malformed(build, "greater than 0");
	add_op(build, ops[i].op, ATP_JSON_NUMBER)->number = value->number;
}

static void
compile_count(AtpBuild *build, const AtpJson *value)
{
	static const struct
	{
		AtpKeywordId keyword;
		AtpOpKind	op;
		int			type;
	} ops[] = {{ATP_KEYWORD_MIN_LENGTH, ATP_OP_MIN_LENGTH, ATP_JSON_STRING},
			   {ATP_KEYWORD_MAX_LENGTH, ATP_OP_MAX_LENGTH, ATP_JSON_STRING},
			   {ATP_KEYWORD_MIN_ITEMS, ATP_OP_MIN_ITEMS, ATP_JSON_ARRAY},
			   {ATP_KEYWORD_MAX_ITEMS, ATP_OP_MAX_ITEMS, ATP_JSON_ARRAY},
			   {ATP_KEYWORD_MIN_PROPERTIES, ATP_OP_MIN_PROPERTIES, ATP_JSON_OBJECT},
			   {ATP_KEYWORD_MAX_PROPERTIES, ATP_OP_MAX_PROPERTIES, ATP_JSON_OBJECT}};
	int			count;
	int			i = 0;

	if (!atp_json_count(value, &count))
		malformed(build, "a non-negative integer");
	while (ops[i].keyword != build->keyword->id)
		i++;
	add_op(build, ops[i].op, ops[i].type)->count = count;
}

static AtpPattern *
compile_regex(AtpBuild *build, const char *source, int len, const AtpWhere *where)
{
	MemoryContext old = MemoryContextSwitchTo(build->library->context);
	const char *reason;
	AtpPattern *pattern = atp_pattern_compile(source, len, &reason);

	MemoryContextSwitchTo(old);
	if (pattern == NULL)
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA),
				 errmsg("the schema is not valid: a pattern is not a regular expression that can be used: %s", reason),
				 errdetail("At \"%s\".", atp_where_text(where))));
	return pattern;
}

static void
compile_pattern(AtpBuild *build, const AtpJson *value)
{
	AtpOp	   *op;

	expect(build, value, ATP_JSON_STRING, "a string");
	op = add_op(build, ATP_OP_PATTERN, ATP_JSON_STRING);
	op->pattern.source = value->string;
	op->pattern.len = value->len;
	op->pattern.pattern = compile_regex(build, value->string, value->len, step(build, NULL, 0, -1));
}

static void
compile_format(AtpBuild *build, const AtpJson *value)
{
	AtpFormatCheck check;
	AtpOp	   *op;

	expect(build, value, ATP_JSON_STRING, "a string");
	check = atp_format_find(value->string, value->len);
	if (check == NULL)
		return;
	op = add_op(build, ATP_OP_FORMAT, ATP_JSON_STRING);
	op->format.check = check;
	op->format.name = value->string;
	op->format.len = value->len;
	op->format.always = (build->resource->dialect.vocabularies & ATP_VOCABULARY_FORMAT_ASSERTION) != 0;
}

static void
compile_unique_items(AtpBuild *build, const AtpJson *value)
{
	expect(build, value, ATP_JSON_BOOLEAN, "a boolean");
	if (value->len == 1)
		(void) add_op(build, ATP_OP_UNIQUE_ITEMS, ATP_JSON_ARRAY);
}

static AtpObjectRule *
object_rule(AtpBuild *build)
{
	if (build->object == NULL)
	{
		build->object = keep(build, sizeof(AtpObjectRule));
		add_op(build, ATP_OP_OBJECT, ATP_JSON_OBJECT)->object = build->object;
	}
	return build->object;
}

/* Makes room for more members that an object rule names. */
static AtpMember *
more_members(AtpBuild *build, AtpObjectRule *rule, int n)
{
	AtpMember  *members = keep(build, sizeof(AtpMember) * (Size) (rule->n_members + n));

	if (rule->n_members > 0)
		memcpy(members, rule->members, sizeof(AtpMember) * (Size) rule->n_members);
	rule->members = members;
	return members;
}

static int
compare_members(const void *a, const void *b)
{
	const AtpMember *ma = a;
	const AtpMember *mb = b;

	return atp_json_key_compare(ma->key, ma->len, mb->key, mb->len);
}

/* Sorts the members and makes one of two that have the same name: it is a property and required. */
static void
merge_members(AtpObjectRule *rule)
{
	int			n = 0;

	qsort(rule->members, (size_t) rule->n_members, sizeof(AtpMember), compare_members);
	for (int i = 0; i < rule->n_members; i++)
	{
		if (n > 0 && compare_members(&rule->members[n - 1], &rule->members[i]) == 0)
		{
			rule->members[n - 1].required |= rule->members[i].required;
			if (rule->members[i].node)
				rule->members[n - 1].node = rule->members[i].node;
		}
		else
			rule->members[n++] = rule->members[i];
	}
	rule->n_members = n;
}

static void
compile_properties(AtpBuild *build, const AtpJson *value)
{
	AtpObjectRule *rule;
	AtpMember  *members;
	AtpJsonCursor cursor;
	AtpJson		schema;
	const char *key;
	int			len;

	expect(build, value, ATP_JSON_OBJECT, "an object of schemas");
	rule = object_rule(build);
	members = more_members(build, rule, value->len);
	atp_json_open(&cursor, value);
	while (atp_json_next_member(&cursor, &key, &len, &schema))
		members[rule->n_members++] =
			(AtpMember){key, len, false, atp_build_subschema(build, &schema, step(build, key, len, 0))};
	merge_members(rule);
}

static void
compile_required(AtpBuild *build, const AtpJson *value)
{
	AtpObjectRule *rule;
	AtpMember  *members;
	AtpJsonCursor cursor;
	AtpJson		name;

	expect(build, value, ATP_JSON_ARRAY, "an array of strings");
	rule = object_rule(build);
	members = more_members(build, rule, value->len);
	atp_json_open(&cursor, value);
	while (atp_json_next_item(&cursor, &name))
	{
		if (name.type != ATP_JSON_STRING)
			malformed(build, "an array of strings");
		members[rule->n_members++] = (AtpMember) {name.string, name.len, true, NULL};
	}
	merge_members(rule);
}

static void
compile_pattern_properties(AtpBuild *build, const AtpJson *value)
{
	AtpObjectRule *rule;
	AtpJsonCursor cursor;
	AtpJson		schema;
	const char *key;
	int			len;

	expect(build, value, ATP_JSON_OBJECT, "an object of schemas");
	rule = object_rule(build);
	rule->patterns = keep(build, sizeof(AtpPatternMember) * (Size) Max(value->len, 1));
	atp_json_open(&cursor, value);
	while (atp_json_next_member(&cursor, &key, &len, &schema))
	{
		const AtpWhere *where = step(build, key, len, 0);

		rule->patterns[rule->n_patterns++] = (AtpPatternMember){key, len, compile_regex(build, key, len, where),
																atp_build_subschema(build, &schema, where)};
	}
}

static void
compile_additional_properties(AtpBuild *build, const AtpJson *value)
{
	object_rule(build)->additional = atp_build_subschema(build, value, step(build, NULL, 0, -1));
}

static AtpArrayRule *
array_rule(AtpBuild *build)
{
	if (build->array == NULL)
	{
		build->array = keep(build, sizeof(AtpArrayRule));
		add_op(build, ATP_OP_ARRAY, ATP_JSON_ARRAY)->array = build->array;
	}
	return build->array;
}

static void
compile_prefix_items(AtpBuild *build, const AtpJson *value)
{
	AtpArrayRule *rule = array_rule(build);

	rule->prefix = subschema_list(build, value, &rule->n_prefix);
	rule->prefix_keyword = build->keyword->name;
}

/* items is the rest behind prefixItems in 2020-12; before, an array of schemas by place or the schema of all items. */
static void
compile_items(AtpBuild *build, const AtpJson *value)
{
	AtpArrayRule *rule;

	if (value->type == ATP_JSON_ARRAY && build->resource->dialect.draft != ATP_DRAFT_2020)
	{
		compile_prefix_items(build, value);
		return;
	}
	expect(build, value, ATP_JSON_OBJECT | ATP_JSON_BOOLEAN, "a schema");
	rule = array_rule(build);
	rule->rest = atp_build_subschema(build, value, step(build, NULL, 0, -1));
	rule->rest_keyword = build->keyword->name;
}

/* additionalItems says something only beside an array of items. */
static void
compile_additional_items(AtpBuild *build, const AtpJson *value)
{
	AtpNode    *node = atp_build_subschema(build, value, step(build, NULL, 0, -1));
	AtpJson		items;

	if (!atp_value_member(&build->schema, "items", 5, &items) || items.type != ATP_JSON_ARRAY)
		return;
	array_rule(build)->rest = node;
	array_rule(build)->rest_keyword = build->keyword->name;
}

/* A count that another keyword holds, if its vocabulary is in use. */
static bool
sibling_count(AtpBuild *build, const char *name, int *count)
{
	AtpJson		value;
	int			len = (int) strlen(name);

	if (!atp_keyword_find(&build->resource->dialect, name, len) || !atp_value_member(&build->schema, name, len, &value))
		return false;
	if (!atp_json_count(&value, count))
		malformed_at(build->where, name, "a non-negative integer");
	return true;
}

static void
compile_contains(AtpBuild *build, const AtpJson *value)
{
	AtpNode    *node = atp_build_subschema(build, value, step(build, NULL, 0, -1));
	AtpOp	   *op = add_op(build, ATP_OP_CONTAINS, ATP_JSON_ARRAY);

	op->contains.node = node;
	op->contains.min = 1;
	op->contains.max = PG_INT32_MAX;
	op->contains.marks = build->resource->dialect.draft == ATP_DRAFT_2020;
	(void) sibling_count(build, "minContains", &op->contains.min);
	(void) sibling_count(build, "maxContains", &op->contains.max);
}

static void
compile_one_subschema(AtpBuild *build, const AtpJson *value)
{
	static const struct
	{
		AtpKeywordId keyword;
		AtpOpKind	op;
		int			types;
	} ops[] = {{ATP_KEYWORD_NOT, ATP_OP_NOT, ANY_TYPE},
			   {ATP_KEYWORD_PROPERTY_NAMES, ATP_OP_PROPERTY_NAMES, ATP_JSON_OBJECT},
			   {ATP_KEYWORD_UNEVALUATED_ITEMS, ATP_OP_UNEVALUATED_ITEMS, ATP_JSON_ARRAY},
			   {ATP_KEYWORD_UNEVALUATED_PROPERTIES, ATP_OP_UNEVALUATED_PROPERTIES, ATP_JSON_OBJECT}};
	AtpNode    *node = atp_build_subschema(build, value, step(build, NULL, 0, -1));
	int			i = 0;

	while (ops[i].keyword != build->keyword->id)
		i++;
	add_op(build, ops[i].op, ops[i].types)->node = node;
}

static void
compile_list(AtpBuild *build, const AtpJson *value)
{
	AtpOpKind	kind = build->keyword->id == ATP_KEYWORD_ALL_OF ? ATP_OP_ALL_OF :
		build->keyword->id == ATP_KEYWORD_ANY_OF ? ATP_OP_ANY_OF : ATP_OP_ONE_OF;
	int			n;
	AtpNode   **nodes = subschema_list(build, value, &n);
	AtpOp	   *op = add_op(build, kind, ANY_TYPE);

	op->list.n = n;
	op->list.nodes = nodes;
}

/* then or else beside an if. */
static AtpNode *
sibling_subschema(AtpBuild *build, const char *name)
{
	int			len = (int) strlen(name);
	AtpJson		value;
	AtpWhere   *where;

	if (!atp_value_member(&build->schema, name, len, &value))
		return NULL;
	where = palloc(sizeof(AtpWhere));
	*where = (AtpWhere) {build->where, name, len, 0};
	return atp_build_subschema(build, &value, where);
}

static void
compile_if(AtpBuild *build, const AtpJson *value)
{
	AtpNode    *condition = atp_build_subschema(build, value, step(build, NULL, 0, -1));
	AtpOp	   *op = add_op(build, ATP_OP_IF, ANY_TYPE);

	op->branch.condition = condition;
	op->branch.then = sibling_subschema(build, "then");
	op->branch.otherwise = sibling_subschema(build, "else");
}

/* dependentSchemas, dependentRequired, and dependencies, which is both. */
static void
compile_dependencies(AtpBuild *build, const AtpJson *value)
{
	bool		names_allowed = build->keyword->id != ATP_KEYWORD_DEPENDENT_SCHEMAS;
	bool		schemas_allowed = build->keyword->id != ATP_KEYWORD_DEPENDENT_REQUIRED;
	AtpDependency *names;
	AtpDependency *schemas;
	int			n_names = 0;
	int			n_schemas = 0;
	AtpJsonCursor cursor;
	AtpJson		item;
	AtpJson		name;
	const char *key;
	int			len;

	expect(build, value, ATP_JSON_OBJECT, "an object");
	names = keep(build, sizeof(AtpDependency) * (Size) Max(value->len, 1));
	schemas = keep(build, sizeof(AtpDependency) * (Size) Max(value->len, 1));
	atp_json_open(&cursor, value);
	while (atp_json_next_member(&cursor, &key, &len, &item))
	{
		if (item.type == ATP_JSON_ARRAY && names_allowed)
		{
			for (int i = 0; atp_json_item(&item, i, &name); i++)
				if (name.type != ATP_JSON_STRING)
					malformed(build, "an object of arrays of strings");
			names[n_names++] = (AtpDependency) {key, len, NULL, item};
		}
		else if (schemas_allowed)
			schemas[n_schemas++] =
				(AtpDependency){key, len, atp_build_subschema(build, &item, step(build, key, len, 0))};
		else
			malformed(build, "an object of arrays of strings");
	}
	if (n_names > 0)
	{
		AtpOp	   *op = add_op(build, ATP_OP_DEPENDENT_REQUIRED, ATP_JSON_OBJECT);

		op->dependency.n = n_names;
		op->dependency.items = names;
	}
	if (n_schemas > 0)
	{
		AtpOp	   *op = add_op(build, ATP_OP_DEPENDENT_SCHEMAS, ATP_JSON_OBJECT);

		op->dependency.n = n_schemas;
		op->dependency.items = schemas;
	}
}

/* $ref, and the references that look at the dynamic scope: these are dynamic only where they first lead to a dynamic
 * anchor. */
static void
compile_reference(AtpBuild *build, const AtpJson *value)
{
	const char *dynamic = NULL;
	const char *reference;
	AtpNode    *node;
	AtpOp	   *op;

	expect(build, value, ATP_JSON_STRING, "a URI reference");
	reference = build->keyword->id == ATP_KEYWORD_RECURSIVE_REF ? "#" : atp_json_string_copy(value);
	node = atp_build_reference(build, reference, step(build, NULL, 0, -1), &dynamic);
	if (build->keyword->id == ATP_KEYWORD_RECURSIVE_REF)
	{
		AtpJson		anchor;

		dynamic = atp_value_member(&build->resource->root, "$recursiveAnchor", 16, &anchor) &&
			anchor.type == ATP_JSON_BOOLEAN && anchor.len == 1 ? ATP_RECURSIVE_ANCHOR : NULL;
	}
	if (dynamic == NULL || build->keyword->id == ATP_KEYWORD_REF)
	{
		add_op(build, ATP_OP_REF, ANY_TYPE)->node = node;
		return;
	}
	op = add_op(build, ATP_OP_DYNAMIC_REF, ANY_TYPE);
	op->dynamic.initial = node;
	op->dynamic.name = atp_build_dynamic_name(build, dynamic);
}

typedef void (*KeywordHandler) (AtpBuild *build, const AtpJson *value);

static const KeywordHandler handlers[] = {
	[ATP_KEYWORD_ADDITIONAL_ITEMS] = compile_additional_items,
	[ATP_KEYWORD_ADDITIONAL_PROPERTIES] = compile_additional_properties,
	[ATP_KEYWORD_ALL_OF] = compile_list,
	[ATP_KEYWORD_ANY_OF] = compile_list,
	[ATP_KEYWORD_CONST] = compile_const,
	[ATP_KEYWORD_CONTAINS] = compile_contains,
	[ATP_KEYWORD_DEPENDENCIES] = compile_dependencies,
	[ATP_KEYWORD_DEPENDENT_REQUIRED] = compile_dependencies,
	[ATP_KEYWORD_DEPENDENT_SCHEMAS] = compile_dependencies,
	[ATP_KEYWORD_DYNAMIC_REF] = compile_reference,
	[ATP_KEYWORD_ENUM] = compile_enum,
	[ATP_KEYWORD_EXCLUSIVE_MAXIMUM] = compile_number,
	[ATP_KEYWORD_EXCLUSIVE_MINIMUM] = compile_number,
	[ATP_KEYWORD_FORMAT] = compile_format,
	[ATP_KEYWORD_IF] = compile_if,
	[ATP_KEYWORD_ITEMS] = compile_items,
	[ATP_KEYWORD_MAXIMUM] = compile_number,
	[ATP_KEYWORD_MAX_ITEMS] = compile_count,
	[ATP_KEYWORD_MAX_LENGTH] = compile_count,
	[ATP_KEYWORD_MAX_PROPERTIES] = compile_count,
	[ATP_KEYWORD_MINIMUM] = compile_number,
	[ATP_KEYWORD_MIN_ITEMS] = compile_count,
	[ATP_KEYWORD_MIN_LENGTH] = compile_count,
	[ATP_KEYWORD_MIN_PROPERTIES] = compile_count,
	[ATP_KEYWORD_MULTIPLE_OF] = compile_number,
	[ATP_KEYWORD_NOT] = compile_one_subschema,
	[ATP_KEYWORD_ONE_OF] = compile_list,
	[ATP_KEYWORD_PATTERN] = compile_pattern,
	[ATP_KEYWORD_PATTERN_PROPERTIES] = compile_pattern_properties,
	[ATP_KEYWORD_PREFIX_ITEMS] = compile_prefix_items,
	[ATP_KEYWORD_PROPERTIES] = compile_properties,
	[ATP_KEYWORD_PROPERTY_NAMES] = compile_one_subschema,
	[ATP_KEYWORD_RECURSIVE_REF] = compile_reference,
	[ATP_KEYWORD_REF] = compile_reference,
	[ATP_KEYWORD_REQUIRED] = compile_required,
	[ATP_KEYWORD_TYPE] = compile_type,
	[ATP_KEYWORD_UNEVALUATED_ITEMS] = compile_one_subschema,
	[ATP_KEYWORD_UNEVALUATED_PROPERTIES] = compile_one_subschema,
	[ATP_KEYWORD_UNIQUE_ITEMS] = compile_unique_items,
	[ATP_KEYWORD_OTHER] = NULL,
};

/* Compiles the keyword at work, whose value this is. Raises TP213. */
void
atp_keyword_compile(AtpBuild *build, const AtpJson *value)
{
	if (handlers[build->keyword->id])
		handlers[build->keyword->id] (build, value);
}

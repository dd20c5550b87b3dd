/*
 * Validation. One evaluator for two questions: without a report it stops at the first failure and keeps no places; with
 * one it goes on and tells each failure.
 *
 * Annotations: the only ones that decide anything are the properties and items that have been evaluated, and only under
 * an unevaluated* keyword. Such a node hands a bitmap (AtpMarks) to all that is applied in place, and they set the
 * members they evaluated; a subschema that may fail without failing its parent sets a bitmap of its own, which is
 * merged when it succeeds. Elsewhere the bitmap is NULL, and nothing is collected.
 *
 * Dynamic scope: a chain of the resources that evaluation has gone through, kept only where the tree has dynamic
 * references.
 *
 * Bounds: recursion by the server's stack check, loops at one instance by INPLACE_MAX, the whole by a budget of nodes
 * that grows with the instance: a schema that branches without end runs out of it.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "pg/errors.h"
#include "record/validator/evaluate.h"
#include "record/validator/where.h"

#define INPLACE_MAX 1000
#define BUDGET_BASE 1000000
#define BUDGET_PER_BYTE 10000

typedef struct AtpMarks
{
	int			n;
	uint64	   *bits;
	uint64		inline_bits;
} AtpMarks;

typedef struct AtpScope
{
	const AtpScopeEntry *entry;
	const struct AtpScope *outer;
} AtpScope;

typedef struct AtpEval
{
	AtpSchemaReport *report;	/* NULL: only yes or no */
	const AtpScope *scope;
	const AtpWhere *instance;	/* kept only with a report, as the two after it */
	const AtpWhere *keyword;
	const char *applicator;
	int64		budget;
	int			inplace;		/* applications at this instance */
	int			n_dynamic;
	bool		assert_formats;
} AtpEval;

static bool evaluate(AtpEval *e, const AtpNode *node, const AtpJson *value, AtpMarks *marks);

/* ---- bitmaps ---- */

static void
marks_open(AtpMarks *marks, const AtpJson *value)
{
	marks->n = value->type & (ATP_JSON_ARRAY | ATP_JSON_OBJECT) ? value->len : 0;
	marks->inline_bits = 0;
	marks->bits = marks->n <= 64 ? &marks->inline_bits : palloc0(sizeof(uint64) * (((Size) marks->n + 63) / 64));
}

static void
marks_close(AtpMarks *marks)
{
	if (marks->bits != &marks->inline_bits)
		pfree(marks->bits);
}

static inline void
marks_set(AtpMarks *marks, int i)
{
	if (marks)
		marks->bits[i / 64] |= UINT64CONST(1) << (i % 64);
}

static inline bool
marks_has(const AtpMarks *marks, int i)
{
	return (marks->bits[i / 64] >> (i % 64)) & 1;
}

static void
marks_set_all(AtpMarks *marks)
{
	for (int i = 0; marks && i < (marks->n + 63) / 64; i++)
		marks->bits[i] = ~UINT64CONST(0);
}

static void
marks_merge(AtpMarks *into, const AtpMarks *from)
{
	for (int i = 0; i < (into->n + 63) / 64; i++)
		into->bits[i] |= from->bits[i];
}

/* ---- the report ---- */

/* Tells a failure. keyword NULL: a false schema, told at the keyword that applied it. Always false. */
static bool pg_attribute_printf(3, 4)
fail(AtpEval *e, const char *keyword, const char *format,...)
{
	AtpSchemaReport *report = e->report;
	AtpSchemaError *error;
	StringInfoData message;

	if (report == NULL || (report->max > 0 && report->n >= report->max))
		return false;
	if (report->n == report->size)
	{
		report->size = Max(16, 2 * report->size);
		report->errors = report->errors ?
			repalloc_huge(report->errors, sizeof(AtpSchemaError) * (Size) report->size) :
			palloc(sizeof(AtpSchemaError) * (Size) report->size);
	}
	error = &report->errors[report->n++];
	initStringInfo(&message);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&message, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}
	error->message = message.data;
	error->keyword = keyword ? keyword : e->applicator ? e->applicator : "false";
	error->instance_location = atp_where_text(e->instance);
	initStringInfo(&message);
	atp_where_append(&message, e->keyword);
	if (keyword)
		appendStringInfo(&message, "/%s", keyword);
	error->keyword_location = message.data;
	return false;
}

static int
report_length(const AtpEval *e)
{
	return e->report ? e->report->n : 0;
}

/* Forgets what was told since: it did not matter. */
static void
report_truncate(AtpEval *e, int n)
{
	if (e->report)
		e->report->n = n;
}

/* ---- steps ---- */

/* The way from a keyword to the schema that is applied: the keyword, and a token or (token NULL) an index where it
 * holds several. */
typedef struct AtpStep
{
	const char *keyword;
	const char *token;
	int			len;
	int			index;			/* -1 without a token: the keyword itself holds the schema */
} AtpStep;

#define KEYWORD_STEP(keyword) (&(AtpStep) {(keyword), NULL, 0, -1})
#define INDEX_STEP(keyword, index) (&(AtpStep) {(keyword), NULL, 0, (index)})
#define TOKEN_STEP(keyword, token, len) (&(AtpStep) {(keyword), (token), (len), 0})

/* Evaluates a node with the step on the way that is told. */
static bool
evaluate_told(AtpEval *e, const AtpStep *step, const AtpNode *node, const AtpJson *value, AtpMarks *marks)
{
	AtpWhere	keyword = {e->keyword, step->keyword, (int) strlen(step->keyword), 0};
	AtpWhere	token = {&keyword, step->token, step->len, step->index};
	const AtpWhere *saved = e->keyword;
	const char *saved_applicator = e->applicator;
	bool		valid;

	e->keyword = step->token || step->index >= 0 ? &token : &keyword;
	e->applicator = step->keyword;
	valid = evaluate(e, node, value, marks);
	e->keyword = saved;
	e->applicator = saved_applicator;
	return valid;
}

/* Applies a schema to the same instance. */
static bool
apply_in_place(AtpEval *e, const AtpStep *step, const AtpNode *node, const AtpJson *value, AtpMarks *marks)
{
	bool		valid;

	if (++e->inplace > INPLACE_MAX)
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA),
				 errmsg("the schema applies itself to the same value without end")));
	valid = e->report ? evaluate_told(e, step, node, value, marks) : evaluate(e, node, value, marks);
	e->inplace--;
	return valid;
}

/* Applies a schema to a member (key, len) or an item (key NULL, index) of the instance: child says which, its parent is
 * set here. */
static bool
apply_to_child(AtpEval *e, const AtpStep *step, AtpWhere child, const AtpNode *node, const AtpJson *value)
{
	int			saved_inplace = e->inplace;
	const AtpWhere *saved_instance = e->instance;
	bool		valid;

	e->inplace = 0;
	if (e->report)
	{
		child.parent = saved_instance;
		e->instance = &child;
		valid = evaluate_told(e, step, node, value, NULL);
		e->instance = saved_instance;
	}
	else
		valid = evaluate(e, node, value, NULL);
	e->inplace = saved_inplace;
	return valid;
}

#define MEMBER(key, len) ((AtpWhere) {NULL, (key), (len), 0})
#define ITEM(index) ((AtpWhere) {NULL, NULL, 0, (index)})

/* Asks whether the instance is valid, whatever the answer means: nothing is told. */
static bool
ask(AtpEval *e, const char *keyword, const AtpNode *node, const AtpJson *value, AtpMarks *marks)
{
	AtpSchemaReport *report = e->report;
	bool		valid;

	e->report = NULL;
	valid = apply_in_place(e, KEYWORD_STEP(keyword), node, value, marks);
	e->report = report;
	return valid;
}

/* ---- assertions ---- */

static const char *
type_names(int mask)
{
	static const char *const names[] = {"null", "boolean", "number", "string", "array", "object", "integer"};
	StringInfoData out;

	initStringInfo(&out);
	for (int i = 0; i < lengthof(names); i++)
		if (mask & (1 << i))
			appendStringInfo(&out, "%s%s", out.len ? " or " : "", names[i]);
	return out.data;
}

static const char *
number_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

/* Is the string's length in characters within [min, max]? Bytes decide where they can. */
static bool
length_within(const AtpJson *string, int min, int max)
{
	int			characters = 0;

	if (string->len <= max && min == 0)
		return true;
	if (string->len < min)
		return false;
	for (int i = 0; i < string->len; i++)
		characters += (string->string[i] & 0xC0) != 0x80;
	return characters >= min && characters <= max;
}

static bool
check_enum(const AtpOp *op, const AtpJson *value)
{
	int			low = 0;
	int			high = op->choice.n;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = atp_json_compare(&op->choice.values[middle], value);

		if (order == 0)
			return true;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

static bool
check_number(AtpEval *e, const AtpOp *op, const AtpJson *value)
{
	static const char *const words[] = {"at least", "greater than", "at most", "less than"};
	int			order;
	bool		valid;

	if (op->kind == ATP_OP_MULTIPLE_OF)
		return atp_numeric_is_multiple(value->number, op->number) ||
			fail(e, op->keyword, "the number must be a multiple of %s", e->report ? number_text(op->number) : "");
	order = atp_numeric_compare(value->number, op->number);
	switch (op->kind)
	{
		case ATP_OP_MINIMUM:
			valid = order >= 0;
			break;
		case ATP_OP_EXCLUSIVE_MINIMUM:
			valid = order > 0;
			break;
		case ATP_OP_MAXIMUM:
			valid = order <= 0;
			break;
		default:
			valid = order < 0;
			break;
	}
	return valid || fail(e, op->keyword, "the number must be %s %s", words[op->kind - ATP_OP_MINIMUM],
						 e->report ? number_text(op->number) : "");
}

static bool
check_count(AtpEval *e, const AtpOp *op, const AtpJson *value)
{
	switch (op->kind)
	{
		case ATP_OP_MIN_LENGTH:
			return length_within(value, op->count, PG_INT32_MAX) ||
				fail(e, op->keyword, "the string must have at least %d characters", op->count);
		case ATP_OP_MAX_LENGTH:
			return length_within(value, 0, op->count) ||
				fail(e, op->keyword, "the string must have at most %d characters", op->count);
		case ATP_OP_MIN_ITEMS:
			return value->len >= op->count || fail(e, op->keyword, "the array must have at least %d items", op->count);
		case ATP_OP_MAX_ITEMS:
			return value->len <= op->count || fail(e, op->keyword, "the array must have at most %d items", op->count);
		case ATP_OP_MIN_PROPERTIES:
			return value->len >= op->count ||
				fail(e, op->keyword, "the object must have at least %d properties", op->count);
		default:
			return value->len <= op->count ||
				fail(e, op->keyword, "the object must have at most %d properties", op->count);
	}
}

static bool
check_dependent_required(AtpEval *e, const AtpOp *op, const AtpJson *value)
{
	bool		valid = true;
	AtpJson		ignored;
	AtpJson		name;

	for (int i = 0; i < op->dependency.n && (valid || e->report); i++)
	{
		AtpDependency *item = &op->dependency.items[i];

		if (!atp_value_member(value, item->key, item->len, &ignored))
			continue;
		for (int j = 0; atp_json_item(&item->names, j, &name); j++)
			if (!atp_value_member(value, name.string, name.len, &ignored))
				valid = fail(e, op->keyword, "property \"%.*s\" is required beside \"%.*s\"", name.len, name.string,
							 item->len, item->key);
	}
	return valid;
}

static bool
check_unique(AtpEval *e, const AtpOp *op, const AtpJson *value)
{
	int			first = 0;
	int			second = 0;

	return atp_json_items_unique(value, &first, &second) ||
		fail(e, op->keyword, "the items must be different, but those at %d and %d are equal", first, second);
}

/* ---- children ---- */

static bool
apply_object(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	const AtpObjectRule *rule = op->object;
	const AtpMember *member = rule->members;
	const AtpMember *end = rule->members + rule->n_members;
	AtpJsonCursor cursor;
	AtpJson		child;
	const char *key;
	int			len;
	bool		valid = true;

	atp_json_open(&cursor, value);
	while ((valid || e->report) && atp_json_next_member(&cursor, &key, &len, &child))
	{
		bool		covered = false;
		int			order = 1;

		while (member < end && (order = atp_json_key_compare(member->key, member->len, key, len)) < 0)
		{
			if (member->required)
				valid = fail(e, "required", "property \"%.*s\" is required", member->len, member->key);
			member++;
		}
		if (member < end && order == 0)
		{
			if (member->node)
			{
				covered = true;
				valid &= apply_to_child(e, TOKEN_STEP("properties", key, len), MEMBER(key, len), member->node, &child);
			}
			member++;
		}
		for (int i = 0; i < rule->n_patterns && (valid || e->report); i++)
			if (atp_pattern_match(rule->patterns[i].pattern, key, len))
			{
				const AtpPatternMember *pattern = &rule->patterns[i];

				covered = true;
				valid &= apply_to_child(e, TOKEN_STEP("patternProperties", pattern->source, pattern->len),
										MEMBER(key, len), pattern->node, &child);
			}
		if (!covered && rule->additional)
		{
			covered = true;
			valid &=
				apply_to_child(e, KEYWORD_STEP("additionalProperties"), MEMBER(key, len), rule->additional, &child);
		}
		if (covered)
			marks_set(marks, cursor.at);
	}
	for (; member < end && (valid || e->report); member++)
		if (member->required)
			valid = fail(e, "required", "property \"%.*s\" is required", member->len, member->key);
	return valid;
}

static bool
apply_array(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	const AtpArrayRule *rule = op->array;
	AtpJsonCursor cursor;
	AtpJson		item;
	bool		valid = true;

	atp_json_open(&cursor, value);
	while ((valid || e->report) && (rule->rest || cursor.at + 1 < rule->n_prefix) && atp_json_next_item(&cursor, &item))
	{
		marks_set(marks, cursor.at);
		if (cursor.at < rule->n_prefix)
			valid &= apply_to_child(e, INDEX_STEP(rule->prefix_keyword, cursor.at), ITEM(cursor.at),
									rule->prefix[cursor.at], &item);
		else
			valid &= apply_to_child(e, KEYWORD_STEP(rule->rest_keyword), ITEM(cursor.at), rule->rest, &item);
	}
	return valid;
}

static bool
apply_property_names(AtpEval *e, const AtpOp *op, const AtpJson *value)
{
	AtpJsonCursor cursor;
	AtpJson		child;
	AtpJson		name = {.type = ATP_JSON_STRING};
	int			saved_inplace = e->inplace;
	bool		valid = true;

	e->inplace = 0;
	atp_json_open(&cursor, value);
	while ((valid || e->report) && atp_json_next_member(&cursor, &name.string, &name.len, &child))
		valid &= apply_in_place(e, KEYWORD_STEP(op->keyword), op->node, &name, NULL);
	e->inplace = saved_inplace;
	return valid;
}

static bool
apply_contains(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	AtpSchemaReport *report = e->report;
	AtpJsonCursor cursor;
	AtpJson		item;
	int			count = 0;
	bool		need_all = (marks && op->contains.marks) || op->contains.max != PG_INT32_MAX;

	e->report = NULL;
	atp_json_open(&cursor, value);
	while ((need_all || count < op->contains.min) && atp_json_next_item(&cursor, &item))
		if (apply_to_child(e, KEYWORD_STEP(op->keyword), ITEM(cursor.at), op->contains.node, &item))
		{
			count++;
			if (op->contains.marks)
				marks_set(marks, cursor.at);
		}
	e->report = report;
	if (count < op->contains.min)
		return op->contains.min == 1
			? fail(e, op->keyword, "no item of the array is of the kind that it must contain")
			: fail(e, "minContains", "the array must contain at least %d items of this kind, but has %d",
				   op->contains.min, count);
	return count <= op->contains.max ||
		fail(e, "maxContains", "the array must contain at most %d items of this kind, but has %d", op->contains.max,
			 count);
}

static bool
apply_unevaluated(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	AtpJsonCursor cursor;
	AtpJson		child;
	const char *key = NULL;
	int			len = 0;
	bool		valid = true;

	atp_json_open(&cursor, value);
	while ((valid || e->report) &&
		   (value->type == ATP_JSON_OBJECT ? atp_json_next_member(&cursor, &key, &len, &child)
										   : atp_json_next_item(&cursor, &child)))
		if (!marks_has(marks, cursor.at))
			valid &= apply_to_child(e, KEYWORD_STEP(op->keyword), key ? MEMBER(key, len) : ITEM(cursor.at), op->node,
									&child);
	marks_set_all(marks);
	return valid;
}

/* ---- in place ---- */

static bool
apply_all_of(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	bool		valid = true;

	for (int i = 0; i < op->list.n && (valid || e->report); i++)
		valid &= apply_in_place(e, INDEX_STEP(op->keyword, i), op->list.nodes[i], value, marks);
	return valid;
}

/* anyOf and oneOf: how many hold is counted as far as it matters. */
static bool
apply_alternatives(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	bool		one = op->kind == ATP_OP_ONE_OF;
	int			told = report_length(e);
	int			matched[2] = {0};
	int			count = 0;

	for (int i = 0; i < op->list.n && (one ? count < 2 : (count == 0 || marks)); i++)
	{
		AtpMarks	own;
		bool		valid;

		if (marks)
			marks_open(&own, value);
		valid = apply_in_place(e, INDEX_STEP(op->keyword, i), op->list.nodes[i], value, marks ? &own : NULL);
		if (valid && count < 2)
			matched[count] = i;
		count += valid;
		if (valid && marks)
			marks_merge(marks, &own);
		if (marks)
			marks_close(&own);
	}
	if (count > 0)
		report_truncate(e, told);
	if (count == 0)
		return fail(e, op->keyword, "the value is valid against none of the %d schemas", op->list.n);
	return !one || count == 1 ||
		fail(e, op->keyword, "the value is valid against more than one of the schemas: those at %d and %d", matched[0],
			 matched[1]);
}

static bool
apply_if(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	AtpMarks	own;
	bool		condition;
	const AtpNode *node;

	if (marks)
		marks_open(&own, value);
	condition = ask(e, op->keyword, op->branch.condition, value, marks ? &own : NULL);
	if (marks && condition)
		marks_merge(marks, &own);
	if (marks)
		marks_close(&own);
	node = condition ? op->branch.then : op->branch.otherwise;
	return node == NULL || apply_in_place(e, KEYWORD_STEP(condition ? "then" : "else"), node, value, marks);
}

static bool
apply_dependent_schemas(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	bool		valid = true;
	AtpJson		ignored;

	for (int i = 0; i < op->dependency.n && (valid || e->report); i++)
	{
		AtpDependency *item = &op->dependency.items[i];

		if (atp_value_member(value, item->key, item->len, &ignored))
			valid &= apply_in_place(e, TOKEN_STEP(op->keyword, item->key, item->len), item->node, value, marks);
	}
	return valid;
}

/* The outermost resource in the dynamic scope that has this anchor decides. */
static const AtpNode *
dynamic_target(const AtpEval *e, const AtpOp *op)
{
	const AtpNode *node = op->dynamic.initial;

	for (const AtpScope *scope = e->scope; scope; scope = scope->outer)
		if (scope->entry->dynamic[op->dynamic.name])
			node = scope->entry->dynamic[op->dynamic.name];
	return node;
}

/* ---- dispatch ---- */

static bool
apply(AtpEval *e, const AtpOp *op, const AtpJson *value, AtpMarks *marks)
{
	switch (op->kind)
	{
		case ATP_OP_TYPE:
			return (op->type_mask & value->type) ||
				((op->type_mask & ATP_JSON_INTEGER) && value->type == ATP_JSON_NUMBER &&
				 atp_numeric_is_integer(value->number)) ||
				fail(e, op->keyword, "the value must be of type %s", e->report ? type_names(op->type_mask) : "");
		case ATP_OP_CONST:
			return atp_json_compare(&op->value, value) == 0 ||
				fail(e, op->keyword, "the value must be the one that the schema states");
		case ATP_OP_ENUM:
			return check_enum(op, value) ||
				fail(e, op->keyword, "the value must be one of the %d that the schema lists", op->choice.n);
		case ATP_OP_MINIMUM:
		case ATP_OP_EXCLUSIVE_MINIMUM:
		case ATP_OP_MAXIMUM:
		case ATP_OP_EXCLUSIVE_MAXIMUM:
		case ATP_OP_MULTIPLE_OF:
			return check_number(e, op, value);
		case ATP_OP_MIN_LENGTH:
		case ATP_OP_MAX_LENGTH:
		case ATP_OP_MIN_ITEMS:
		case ATP_OP_MAX_ITEMS:
		case ATP_OP_MIN_PROPERTIES:
		case ATP_OP_MAX_PROPERTIES:
			return check_count(e, op, value);
		case ATP_OP_DEPENDENT_REQUIRED:
			return check_dependent_required(e, op, value);
		case ATP_OP_PATTERN:
			return atp_pattern_match(op->pattern.pattern, value->string, value->len) ||
				fail(e, op->keyword, "the string must match the pattern %.*s", op->pattern.len, op->pattern.source);
		case ATP_OP_FORMAT:
			return !(op->format.always || e->assert_formats) || op->format.check(value->string, value->len) ||
				fail(e, op->keyword, "the string must be of the format %.*s", op->format.len, op->format.name);
		case ATP_OP_OBJECT:
			return apply_object(e, op, value, marks);
		case ATP_OP_PROPERTY_NAMES:
			return apply_property_names(e, op, value);
		case ATP_OP_ARRAY:
			return apply_array(e, op, value, marks);
		case ATP_OP_CONTAINS:
			return apply_contains(e, op, value, marks);
		case ATP_OP_UNIQUE_ITEMS:
			return check_unique(e, op, value);
		case ATP_OP_REF:
			return apply_in_place(e, KEYWORD_STEP(op->keyword), op->node, value, marks);
		case ATP_OP_DYNAMIC_REF:
			return apply_in_place(e, KEYWORD_STEP(op->keyword), dynamic_target(e, op), value, marks);
		case ATP_OP_ALL_OF:
			return apply_all_of(e, op, value, marks);
		case ATP_OP_ANY_OF:
		case ATP_OP_ONE_OF:
			return apply_alternatives(e, op, value, marks);
		case ATP_OP_NOT:
			return !ask(e, op->keyword, op->node, value, NULL) ||
				fail(e, op->keyword, "the value must not be valid against this schema");
		case ATP_OP_IF:
			return apply_if(e, op, value, marks);
		case ATP_OP_DEPENDENT_SCHEMAS:
			return apply_dependent_schemas(e, op, value, marks);
		case ATP_OP_UNEVALUATED_ITEMS:
		case ATP_OP_UNEVALUATED_PROPERTIES:
			return apply_unevaluated(e, op, value, marks);
	}
	return true;
}

/* Is the value valid against the node? marks: where to set what has been evaluated; NULL: nobody asks. */
static bool
evaluate(AtpEval *e, const AtpNode *node, const AtpJson *value, AtpMarks *marks)
{
	AtpScope	scope = {node->scope, e->scope};
	const AtpScope *saved_scope = e->scope;
	AtpMarks	own;
	AtpMarks   *used = marks;
	bool		valid = true;

	if (node->kind != ATP_NODE_RULES)
		return node->kind == ATP_NODE_TRUE || fail(e, NULL, "the schema allows no value here");
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (--e->budget < 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("validation takes too many steps"),
				 errhint("Write the schema so that it does not try the same value in many ways.")));
	if (e->n_dynamic > 0 && (saved_scope == NULL || saved_scope->entry != node->scope))
		e->scope = &scope;
	if (node->unevaluated)
	{
		marks_open(&own, value);
		used = &own;
	}
	for (int i = 0; i < node->n_ops && (valid || e->report); i++)
		if (node->ops[i].types & value->type)
			valid &= apply(e, &node->ops[i], value, used);
	if (node->unevaluated)
	{
		if (marks)
			marks_merge(marks, &own);
		marks_close(&own);
	}
	e->scope = saved_scope;
	return valid;
}

/*
 * Is the instance valid? With a report, every failure is told in it, in the current memory context. Raises TP213 (a
 * loop), TP214 (patterns), program_limit_exceeded.
 */
bool
atp_evaluate(const AtpTree *tree, const Jsonb *instance, bool assert_formats, AtpSchemaReport *report)
{
	AtpWhere	root = {0};
	AtpEval		e = {.report = report, .instance = &root, .keyword = &root, .n_dynamic = tree->n_dynamic,
	.assert_formats = assert_formats, .budget = BUDGET_BASE + (int64) VARSIZE_ANY(instance) * BUDGET_PER_BYTE};
	AtpJson		value = atp_json_root(instance);

	return evaluate(&e, tree->root, &value, NULL);
}

bool
atp_evaluate_node(const AtpNode *node, const AtpJson *value, bool assert_formats)
{
	AtpEval		e = {.assert_formats = assert_formats, .budget = BUDGET_BASE};

	return evaluate(&e, node, value, NULL);
}

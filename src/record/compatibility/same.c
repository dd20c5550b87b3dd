/*
 * Equality of compiled schemas. They are graphs: a pair that is being compared is taken to be equal when it comes up again, which is
 * right, for a difference would show on the way.
 */
#include "record/compatibility/same.h"

#include "miscadmin.h"
#include "utils/hsearch.h"

typedef struct Pair
{
	const AtpNode *a;
	const AtpNode *b;
} Pair;

static bool same_node(HTAB *met, const AtpNode *a, const AtpNode *b);

static bool
same_child(HTAB *met, const AtpNode *a, const AtpNode *b)
{
	return a == b || (a != NULL && b != NULL && same_node(met, a, b));
}

static bool
same_text(const char *a, int a_len, const char *b, int b_len)
{
	return a_len == b_len && memcmp(a, b, (size_t) a_len) == 0;
}

static bool
same_object(HTAB *met, const AtpObjectRule *a, const AtpObjectRule *b)
{
	if (a->n_members != b->n_members || a->n_patterns != b->n_patterns || !same_child(met, a->additional, b->additional))
		return false;
	for (int i = 0; i < a->n_members; i++)
		if (a->members[i].required != b->members[i].required ||
			!same_text(a->members[i].key, a->members[i].len, b->members[i].key, b->members[i].len) ||
			!same_child(met, a->members[i].node, b->members[i].node))
			return false;
	for (int i = 0; i < a->n_patterns; i++)
		if (!same_text(a->patterns[i].source, a->patterns[i].len, b->patterns[i].source, b->patterns[i].len) ||
			!same_child(met, a->patterns[i].node, b->patterns[i].node))
			return false;
	return true;
}

static bool
same_array(HTAB *met, const AtpArrayRule *a, const AtpArrayRule *b)
{
	if (a->n_prefix != b->n_prefix || !same_child(met, a->rest, b->rest))
		return false;
	for (int i = 0; i < a->n_prefix; i++)
		if (!same_child(met, a->prefix[i], b->prefix[i]))
			return false;
	return true;
}

static bool
same_choice(const AtpOp *a, const AtpOp *b)
{
	if (a->choice.n != b->choice.n)
		return false;
	for (int i = 0; i < a->choice.n; i++)
		if (atp_json_compare(&a->choice.values[i], &b->choice.values[i]) != 0)
			return false;
	return true;
}

static bool
same_list(HTAB *met, const AtpOp *a, const AtpOp *b)
{
	if (a->list.n != b->list.n)
		return false;
	for (int i = 0; i < a->list.n; i++)
		if (!same_child(met, a->list.nodes[i], b->list.nodes[i]))
			return false;
	return true;
}

static bool
same_dependencies(HTAB *met, const AtpOp *a, const AtpOp *b)
{
	if (a->dependency.n != b->dependency.n)
		return false;
	for (int i = 0; i < a->dependency.n; i++)
	{
		const AtpDependency *x = &a->dependency.items[i];
		const AtpDependency *y = &b->dependency.items[i];

		if (!same_text(x->key, x->len, y->key, y->len))
			return false;
		if (a->kind == ATP_OP_DEPENDENT_SCHEMAS ? !same_child(met, x->node, y->node) : atp_json_compare(&x->names, &y->names) != 0)
			return false;
	}
	return true;
}

static bool
same_op(HTAB *met, const AtpOp *a, const AtpOp *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind)
	{
		case ATP_OP_TYPE:
			return a->type_mask == b->type_mask;
		case ATP_OP_CONST:
			return atp_json_compare(&a->value, &b->value) == 0;
		case ATP_OP_ENUM:
			return same_choice(a, b);
		case ATP_OP_MINIMUM:
		case ATP_OP_EXCLUSIVE_MINIMUM:
		case ATP_OP_MAXIMUM:
		case ATP_OP_EXCLUSIVE_MAXIMUM:
		case ATP_OP_MULTIPLE_OF:
			return atp_numeric_compare(a->number, b->number) == 0;
		case ATP_OP_MIN_LENGTH:
		case ATP_OP_MAX_LENGTH:
		case ATP_OP_MIN_ITEMS:
		case ATP_OP_MAX_ITEMS:
		case ATP_OP_MIN_PROPERTIES:
		case ATP_OP_MAX_PROPERTIES:
			return a->count == b->count;
		case ATP_OP_PATTERN:
			return same_text(a->pattern.source, a->pattern.len, b->pattern.source, b->pattern.len);
		case ATP_OP_FORMAT:
			return a->format.always == b->format.always && a->format.check == b->format.check &&
				same_text(a->format.name, a->format.len, b->format.name, b->format.len);
		case ATP_OP_OBJECT:
			return same_object(met, a->object, b->object);
		case ATP_OP_ARRAY:
			return same_array(met, a->array, b->array);
		case ATP_OP_CONTAINS:
			return a->contains.min == b->contains.min && a->contains.max == b->contains.max &&
				a->contains.marks == b->contains.marks && same_child(met, a->contains.node, b->contains.node);
		case ATP_OP_UNIQUE_ITEMS:
			return true;
		case ATP_OP_PROPERTY_NAMES:
		case ATP_OP_REF:
		case ATP_OP_NOT:
		case ATP_OP_UNEVALUATED_ITEMS:
		case ATP_OP_UNEVALUATED_PROPERTIES:
			return same_child(met, a->node, b->node);
		case ATP_OP_DYNAMIC_REF:
			return false;
		case ATP_OP_ALL_OF:
		case ATP_OP_ANY_OF:
		case ATP_OP_ONE_OF:
			return same_list(met, a, b);
		case ATP_OP_IF:
			return same_child(met, a->branch.condition, b->branch.condition) && same_child(met, a->branch.then, b->branch.then) &&
				same_child(met, a->branch.otherwise, b->branch.otherwise);
		case ATP_OP_DEPENDENT_REQUIRED:
		case ATP_OP_DEPENDENT_SCHEMAS:
			return same_dependencies(met, a, b);
	}
	return false;
}

static bool
same_node(HTAB *met, const AtpNode *a, const AtpNode *b)
{
	Pair		pair = {a, b};
	bool		found;

	if (a == b)
		return true;
	if (a->kind != b->kind || a->n_ops != b->n_ops)
		return false;
	if (a->kind != ATP_NODE_RULES)
		return true;
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	(void) hash_search(met, &pair, HASH_ENTER, &found);
	if (found)
		return true;
	for (int i = 0; i < a->n_ops; i++)
		if (!same_op(met, &a->ops[i], &b->ops[i]))
			return false;
	return true;
}

static HTAB *
make_met(void)
{
	HASHCTL		control = {.keysize = sizeof(Pair), .entrysize = sizeof(Pair), .hcxt = CurrentMemoryContext};

	return hash_create("atp schema pairs", 32, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

bool
atp_same_node(const AtpNode *a, const AtpNode *b)
{
	HTAB	   *met;
	bool		same;

	if (a == b)
		return true;
	if (a->kind != b->kind || a->n_ops != b->n_ops)
		return false;
	met = make_met();
	same = same_node(met, a, b);
	hash_destroy(met);
	return same;
}

bool
atp_same_op(const AtpOp *a, const AtpOp *b)
{
	HTAB	   *met;
	bool		same;

	if (a->kind != b->kind)
		return false;
	met = make_met();
	same = same_op(met, a, b);
	hash_destroy(met);
	return same;
}

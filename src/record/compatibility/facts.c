/* What is known of an instance; see facts.h. */
#include "record/compatibility/facts.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "record/validator/evaluate.h"

#define ALL_TYPES (2 * ATP_JSON_INTEGER - 1)	/* the highest of the bits */
#define EMPTY_DEPTH 6			/* how deep the search for a contradiction goes */
#define EMPTY_STEPS 200		/* and how far */

typedef struct Search
{
	int			depth;
	int			steps;
} Search;

static AtpFacts *
allocate(const AtpFacts *from)
{
	AtpFacts   *facts = palloc0(sizeof(AtpFacts));

	facts->mask = ALL_TYPES;
	if (from != NULL)
		*facts = *from;
	/* arrays grow by copies: facts share none */
	facts->nodes = palloc(sizeof(AtpNode *) * (Size) (facts->n_nodes + 1));
	facts->ops = palloc(sizeof(AtpOp *) * (Size) (facts->n_ops + 1));
	if (from != NULL)
	{
		memcpy(facts->nodes, from->nodes, sizeof(AtpNode *) * (Size) from->n_nodes);
		memcpy(facts->ops, from->ops, sizeof(AtpOp *) * (Size) from->n_ops);
	}
	return facts;
}

static void
add_op(AtpFacts *facts, const AtpOp *op)
{
	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i] == op)
			return;
	facts->ops = repalloc(facts->ops, sizeof(AtpOp *) * (Size) (facts->n_ops + 1));
	facts->ops[facts->n_ops++] = op;
}

/* The operations of a node; a loop of $ref and allOf has been refused by the compiler. */
static void
add_ops(AtpFacts *facts, const AtpNode *node)
{
	check_stack_depth();
	if (node->kind == ATP_NODE_FALSE)
		facts->mask = 0;
	if (node->kind != ATP_NODE_RULES)
		return;
	for (int i = 0; i < node->n_ops; i++)
	{
		const AtpOp *op = &node->ops[i];

		if (op->kind == ATP_OP_REF)
			add_ops(facts, op->node);
		else if (op->kind == ATP_OP_ALL_OF)
			for (int j = 0; j < op->list.n; j++)
				add_ops(facts, op->list.nodes[j]);
		else
			add_op(facts, op);
	}
}

static void
add_node(AtpFacts *facts, const AtpNode *node)
{
	for (int i = 0; i < facts->n_nodes; i++)
		if (facts->nodes[i] == node)
			return;
	if (node->kind == ATP_NODE_RULES)
	{
		facts->nodes = repalloc(facts->nodes, sizeof(AtpNode *) * (Size) (facts->n_nodes + 1));
		facts->nodes[facts->n_nodes++] = node;
	}
	add_ops(facts, node);
}

static int
type_of(const AtpJson *value)
{
	return value->type == ATP_JSON_NUMBER && atp_numeric_is_integer(value->number) ? ATP_JSON_INTEGER : (int) value->type;
}

bool
atp_facts_accept(const AtpFacts *facts, const AtpJson *value, bool assert_formats)
{
	if (!(facts->mask & type_of(value)))
		return false;
	for (int i = 0; i < facts->n_nodes; i++)
		if (!atp_evaluate_node(facts->nodes[i], value, assert_formats))
			return false;
	return true;
}

static void
set_values(AtpFacts *facts, const AtpJson *values, int n)
{
	int			mask = 0;

	facts->values = palloc(sizeof(AtpJson) * (Size) Max(n, 1));
	facts->n_values = 0;
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!atp_facts_accept(facts, &values[i], false) && !atp_facts_accept(facts, &values[i], true))
			continue;
		facts->values[facts->n_values++] = values[i];
		mask |= type_of(&values[i]);
	}
	facts->mask = mask;
	facts->finite = true;
}

/* Draws what is cheap to draw from the operations. */
static AtpFacts *
finish(AtpFacts *facts)
{
	static const AtpJson small[] = {{.type = ATP_JSON_NULL}, {.type = ATP_JSON_BOOLEAN, .len = 0}, {.type = ATP_JSON_BOOLEAN, .len = 1}};

	for (int i = 0; i < facts->n_ops; i++)
	{
		const AtpOp *op = facts->ops[i];

		if (op->kind == ATP_OP_TYPE)
			facts->mask &= op->type_mask | (op->type_mask & ATP_JSON_NUMBER ? ATP_JSON_INTEGER : 0);
		else if (op->kind == ATP_OP_MULTIPLE_OF && atp_numeric_is_integer(op->number))
			facts->mask &= ~ATP_JSON_NUMBER;
	}
	if (facts->finite)
	{
		set_values(facts, facts->values, facts->n_values);
		return facts;
	}
	for (int i = 0; i < facts->n_ops && !facts->finite; i++)
	{
		if (facts->ops[i]->kind == ATP_OP_CONST)
			set_values(facts, &facts->ops[i]->value, 1);
		else if (facts->ops[i]->kind == ATP_OP_ENUM)
			set_values(facts, facts->ops[i]->choice.values, facts->ops[i]->choice.n);
	}
	if (!facts->finite && (facts->mask & ~(ATP_JSON_NULL | ATP_JSON_BOOLEAN)) == 0)
		set_values(facts, small, lengthof(small));
	return facts;
}

AtpFacts *
atp_facts_make(const AtpNode *node)
{
	AtpFacts   *facts = allocate(NULL);

	add_node(facts, node);
	return finish(facts);
}

AtpFacts *
atp_facts_with(const AtpFacts *from, const AtpNode *node, const AtpOp *chosen)
{
	AtpFacts   *facts = allocate(from);
	int			n = 0;

	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i] != chosen)
			facts->ops[n++] = facts->ops[i];
	facts->n_ops = n;
	if (node != NULL)
		add_node(facts, node);
	return finish(facts);
}

AtpFacts *
atp_facts_of_types(const AtpFacts *from, int mask)
{
	AtpFacts   *facts = allocate(from);

	facts->mask &= mask;
	return finish(facts);
}

int
atp_facts_types(const AtpOp *op)
{
	return op->types | (op->types & ATP_JSON_NUMBER ? ATP_JSON_INTEGER : 0);
}

/* ---- objects ---- */

static const AtpMember *
find_member(const AtpObjectRule *rule, const char *key, int len)
{
	int			low = 0;
	int			high = rule->n_members;

	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			order = atp_json_key_compare(rule->members[middle].key, rule->members[middle].len, key, len);

		if (order == 0)
			return &rule->members[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static void
add_member(AtpFacts *facts, const AtpObjectRule *rule, const char *key, int len)
{
	const AtpMember *member = find_member(rule, key, len);
	bool		covered = member != NULL && member->node != NULL;

	if (covered)
		add_node(facts, member->node);
	for (int i = 0; i < rule->n_patterns; i++)
		if (atp_pattern_match(rule->patterns[i].pattern, key, len))
		{
			covered = true;
			add_node(facts, rule->patterns[i].node);
		}
	if (!covered && rule->additional != NULL)
		add_node(facts, rule->additional);
}

AtpFacts *
atp_facts_names(const AtpFacts *facts)
{
	AtpFacts   *names = allocate(NULL);

	names->mask = ATP_JSON_STRING;
	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_PROPERTY_NAMES)
			add_node(names, facts->ops[i]->node);
	return finish(names);
}

AtpFacts *
atp_facts_member(const AtpFacts *facts, const char *key, int len)
{
	AtpFacts   *member = allocate(NULL);
	AtpJson		name = {.type = ATP_JSON_STRING, .len = len, .string = key};

	for (int i = 0; i < facts->n_ops; i++)
	{
		if (facts->ops[i]->kind == ATP_OP_OBJECT)
			add_member(member, facts->ops[i]->object, key, len);
		else if (facts->ops[i]->kind == ATP_OP_PROPERTY_NAMES && !atp_evaluate_node(facts->ops[i]->node, &name, false) &&
				 !atp_evaluate_node(facts->ops[i]->node, &name, true))
			member->mask = 0;
	}
	return finish(member);
}

bool
atp_facts_require(const AtpFacts *facts, const char *key, int len)
{
	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_OBJECT)
		{
			const AtpMember *member = find_member(facts->ops[i]->object, key, len);

			if (member != NULL && member->required)
				return true;
		}
	return false;
}

bool
atp_facts_depend(const AtpFacts *facts, const char *key, int len, const AtpJson *name)
{
	AtpJson		known;

	for (int i = 0; i < facts->n_ops; i++)
		for (int j = 0; facts->ops[i]->kind == ATP_OP_DEPENDENT_REQUIRED && j < facts->ops[i]->dependency.n; j++)
		{
			const AtpDependency *item = &facts->ops[i]->dependency.items[j];

			if (item->len != len || memcmp(item->key, key, (size_t) len) != 0)
				continue;
			for (int n = 0; atp_json_item(&item->names, n, &known); n++)
				if (atp_json_compare(&known, name) == 0)
					return true;
		}
	return false;
}

AtpFacts *
atp_facts_beside(const AtpFacts *from, const char *key, int len)
{
	AtpFacts   *facts = allocate(from);

	for (int i = 0; i < from->n_ops; i++)
		for (int j = 0; from->ops[i]->kind == ATP_OP_DEPENDENT_SCHEMAS && j < from->ops[i]->dependency.n; j++)
		{
			const AtpDependency *item = &from->ops[i]->dependency.items[j];

			if (item->len == len && memcmp(item->key, key, (size_t) len) == 0)
				add_node(facts, item->node);
		}
	return finish(facts);
}

bool
atp_facts_has(const AtpFacts *facts, AtpOpKind kind)
{
	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == kind)
			return true;
	return false;
}

/* The search for names that a schema mentions, through all that is applied in place. */
typedef struct Mentions
{
	List	   *names;			/* of AtpJson */
	List	   *nodes;			/* that it went through */
	bool		open;
} Mentions;

static void mention_in_node(Mentions *mentions, const AtpNode *node);

static void
mention(Mentions *mentions, const char *key, int len)
{
	ListCell   *cell;
	AtpJson    *name;

	foreach(cell, mentions->names)
	{
		name = lfirst(cell);
		if (name->len == len && memcmp(name->string, key, (size_t) len) == 0)
			return;
	}
	name = palloc(sizeof(AtpJson));
	*name = (AtpJson) {.type = ATP_JSON_STRING, .len = len, .string = key};
	mentions->names = lappend(mentions->names, name);
}

/* `own`: an operation of the facts themselves, whose patterns are looked at elsewhere. */
static void
mention_in_op(Mentions *mentions, const AtpOp *op, bool own)
{
	AtpJson		name;

	switch (op->kind)
	{
		case ATP_OP_OBJECT:
			for (int i = 0; i < op->object->n_members; i++)
				mention(mentions, op->object->members[i].key, op->object->members[i].len);
			if ((op->object->n_patterns > 0 && !own) ||
				(op->object->additional != NULL && op->object->additional->kind == ATP_NODE_RULES))
				mentions->open = false;
			break;
		case ATP_OP_PROPERTY_NAMES:
		case ATP_OP_UNEVALUATED_PROPERTIES:
			mentions->open &= op->node->kind != ATP_NODE_RULES;
			break;
		case ATP_OP_REF:
		case ATP_OP_NOT:
			mention_in_node(mentions, op->node);
			break;
		case ATP_OP_ALL_OF:
		case ATP_OP_ANY_OF:
		case ATP_OP_ONE_OF:
			for (int i = 0; i < op->list.n; i++)
				mention_in_node(mentions, op->list.nodes[i]);
			break;
		case ATP_OP_IF:
			mention_in_node(mentions, op->branch.condition);
			mention_in_node(mentions, op->branch.then);
			mention_in_node(mentions, op->branch.otherwise);
			break;
		case ATP_OP_DEPENDENT_REQUIRED:
		case ATP_OP_DEPENDENT_SCHEMAS:
			for (int i = 0; i < op->dependency.n; i++)
			{
				mention(mentions, op->dependency.items[i].key, op->dependency.items[i].len);
				mention_in_node(mentions, op->dependency.items[i].node);
				for (int j = 0; op->kind == ATP_OP_DEPENDENT_REQUIRED && atp_json_item(&op->dependency.items[i].names, j, &name); j++)
					mention(mentions, name.string, name.len);
			}
			break;
		default:
			break;
	}
}

static void
mention_in_node(Mentions *mentions, const AtpNode *node)
{
	if (node == NULL || node->kind != ATP_NODE_RULES || list_member_ptr(mentions->nodes, node))
		return;
	check_stack_depth();
	mentions->nodes = lappend(mentions->nodes, unconstify(AtpNode *, node));
	for (int i = 0; i < node->n_ops; i++)
		mention_in_op(mentions, &node->ops[i], false);
}

List *
atp_facts_mentioned(const AtpFacts *facts, bool *open)
{
	Mentions	mentions = {.open = true};

	for (int i = 0; i < facts->n_ops; i++)
		mention_in_op(&mentions, facts->ops[i], true);
	*open = mentions.open;
	return mentions.names;
}

int
atp_facts_closed_size(const AtpFacts *facts)
{
	int			size = PG_INT32_MAX;

	for (int i = 0; i < facts->n_ops; i++)
	{
		const AtpObjectRule *rule = facts->ops[i]->object;
		int			n = 0;

		if (facts->ops[i]->kind != ATP_OP_OBJECT || rule->n_patterns > 0 || rule->additional == NULL ||
			rule->additional->kind != ATP_NODE_FALSE)
			continue;
		for (int j = 0; j < rule->n_members; j++)
			n += rule->members[j].node != NULL && rule->members[j].node->kind != ATP_NODE_FALSE;
		size = Min(size, n);
	}
	return size;
}

/* ---- arrays ---- */

AtpFacts *
atp_facts_item(const AtpFacts *facts, int index)
{
	AtpFacts   *item = allocate(NULL);

	for (int i = 0; i < facts->n_ops; i++)
	{
		const AtpArrayRule *rule = facts->ops[i]->array;

		if (facts->ops[i]->kind != ATP_OP_ARRAY)
			continue;
		if (index != ATP_FACTS_REST && index < rule->n_prefix)
			add_node(item, rule->prefix[index]);
		else if (rule->rest != NULL)
			add_node(item, rule->rest);
	}
	return finish(item);
}

int
atp_facts_places(const AtpFacts *facts)
{
	int			places = 0;

	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_ARRAY)
			places = Max(places, facts->ops[i]->array->n_prefix);
	return places;
}

/* ---- counts and numbers ---- */

int
atp_facts_least(const AtpFacts *facts, AtpOpKind kind)
{
	int			least = 0;

	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == kind)
			least = Max(least, facts->ops[i]->count);
	return least;
}

int
atp_facts_most(const AtpFacts *facts, AtpOpKind kind)
{
	int			most = PG_INT32_MAX;

	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == kind)
			most = Min(most, facts->ops[i]->count);
	return most;
}

static Numeric
whole(Numeric number, PGFunction function)
{
	return DatumGetNumeric(DirectFunctionCall1(function, NumericGetDatum(number)));
}

/* Numbers are bounded on one side or the other; the sign turns one into the other. */
static bool
is_beyond(const AtpFacts *facts, Numeric bound, bool exclusive, int sign)
{
	AtpOpKind	inclusive_kind = sign > 0 ? ATP_OP_MINIMUM : ATP_OP_MAXIMUM;
	AtpOpKind	exclusive_kind = sign > 0 ? ATP_OP_EXCLUSIVE_MINIMUM : ATP_OP_EXCLUSIVE_MAXIMUM;
	bool		integer = (facts->mask & ATP_JSON_NUMBER) == 0;

	/* an integer beyond a bound is as well at the next integer beyond it */
	if (integer && exclusive)
	{
		Datum		one = DirectFunctionCall1(int4_numeric, Int32GetDatum(1));

		bound = sign > 0 ? DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(whole(bound, numeric_floor)), one)) :
			DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(whole(bound, numeric_ceil)), one));
		exclusive = false;
	}
	for (int i = 0; i < facts->n_ops; i++)
	{
		const AtpOp *op = facts->ops[i];
		Numeric		known = op->number;
		bool		known_exclusive = op->kind == exclusive_kind;
		int			order;

		if (op->kind != inclusive_kind && !known_exclusive)
			continue;
		if (integer && known_exclusive)
		{
			Datum		one = DirectFunctionCall1(int4_numeric, Int32GetDatum(1));

			known = sign > 0 ? DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(whole(known, numeric_floor)), one)) :
				DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(whole(known, numeric_ceil)), one));
			known_exclusive = false;
		}
		else if (integer)
			known = whole(known, sign > 0 ? numeric_ceil : numeric_floor);
		order = sign * atp_numeric_compare(known, bound);
		if (order > 0 || (order == 0 && (known_exclusive || !exclusive)))
			return true;
	}
	return false;
}

bool
atp_facts_above(const AtpFacts *facts, Numeric bound, bool exclusive)
{
	return is_beyond(facts, bound, exclusive, 1);
}

bool
atp_facts_below(const AtpFacts *facts, Numeric bound, bool exclusive)
{
	return is_beyond(facts, bound, exclusive, -1);
}

/* ---- contradictions ---- */

static bool is_empty(const AtpFacts *facts, Search *search);

/* A lower bound above an upper one. */
static bool
is_empty_range(const AtpFacts *facts)
{
	for (int i = 0; i < facts->n_ops; i++)
	{
		const AtpOp *op = facts->ops[i];

		if (op->kind == ATP_OP_MAXIMUM && atp_facts_above(facts, op->number, true))
			return true;
		if (op->kind == ATP_OP_EXCLUSIVE_MAXIMUM && atp_facts_above(facts, op->number, false))
			return true;
	}
	return false;
}

static bool
is_empty_object(const AtpFacts *facts, Search *search)
{
	if (atp_facts_least(facts, ATP_OP_MIN_PROPERTIES) > Min(atp_facts_most(facts, ATP_OP_MAX_PROPERTIES), atp_facts_closed_size(facts)))
		return true;
	for (int i = 0; i < facts->n_ops; i++)
		for (int j = 0; facts->ops[i]->kind == ATP_OP_OBJECT && j < facts->ops[i]->object->n_members; j++)
		{
			const AtpMember *member = &facts->ops[i]->object->members[j];

			if (member->required && is_empty(atp_facts_member(facts, member->key, member->len), search))
				return true;
		}
	return false;
}

static bool
is_empty_array(const AtpFacts *facts, Search *search)
{
	int			least = atp_facts_least(facts, ATP_OP_MIN_ITEMS);

	if (least > atp_facts_most(facts, ATP_OP_MAX_ITEMS))
		return true;
	for (int i = 0; i < Min(least, atp_facts_places(facts) + 1); i++)
		if (is_empty(atp_facts_item(facts, i), search))
			return true;
	return false;
}

static bool
is_empty_type(const AtpFacts *facts, int type, Search *search)
{
	switch (type)
	{
		case ATP_JSON_NUMBER:
		case ATP_JSON_INTEGER:
			return is_empty_range(facts);
		case ATP_JSON_STRING:
			return atp_facts_least(facts, ATP_OP_MIN_LENGTH) > atp_facts_most(facts, ATP_OP_MAX_LENGTH);
		case ATP_JSON_OBJECT:
			return is_empty_object(facts, search);
		case ATP_JSON_ARRAY:
			return is_empty_array(facts, search);
		default:
			return false;
	}
}

/* Every alternative of one operation is a contradiction. */
static bool
is_empty_choice(const AtpFacts *facts, Search *search)
{
	for (int i = 0; i < facts->n_ops; i++)
	{
		const AtpOp *op = facts->ops[i];
		int			j = 0;

		if (op->kind != ATP_OP_ANY_OF && op->kind != ATP_OP_ONE_OF)
			continue;
		while (j < op->list.n && is_empty(atp_facts_with(facts, op->list.nodes[j], op), search))
			j++;
		if (j == op->list.n)
			return true;
	}
	return false;
}

static bool
is_empty(const AtpFacts *facts, Search *search)
{
	bool		empty = true;

	CHECK_FOR_INTERRUPTS();
	if (facts->mask == 0)
		return true;
	if (facts->finite || search->depth == 0 || --search->steps < 0)
		return false;
	search->depth--;
	for (int type = 1; empty && type <= ATP_JSON_INTEGER; type <<= 1)
		empty = !(facts->mask & type) ||
			is_empty_type(facts->mask == type ? facts : atp_facts_of_types(facts, type), type, search);
	empty = empty || is_empty_choice(facts, search);
	search->depth++;
	return empty;
}

bool
atp_facts_empty(const AtpFacts *facts)
{
	Search		search = {EMPTY_DEPTH, EMPTY_STEPS};

	return is_empty(facts, &search);
}

/*
 * The proof of containment; see contain.h.
 *
 * To prove: an instance of which the facts A are known is valid against node B. Every operation of B has to be proved; how depends
 * on the kind (directly, below). Where that fails, cases are distinguished: the types that A leaves open, then the alternatives of an
 * anyOf, oneOf or if in A.
 *
 * Schemas refer to themselves, so a pair (A, B) may come up while it is being proved. It may then be taken for granted if a
 * member, an item or a name lies between, because instances are finite: the trail keeps each pair with the depth (in members
 * and items) at which it was begun. A pair that is proved stays in the trail, to be used again at its depth or deeper, until one fails
 * that was begun before it: it may rest on that one.
 */
#include "record/compatibility/contain.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "record/compatibility/facts.h"
#include "record/compatibility/same.h"
#include "record/validator/evaluate.h"
#include "record/validator/where.h"

#define BUDGET 100000			/* pairs and operations; then the rest is undecided */
#define LEVEL_MAX 1000
#define DIFFERENCES_MAX 1000

typedef struct Claim
{
	const AtpNode *to;
	const AtpFacts *facts;		/* none that are a finite set */
	int			depth;
	bool		lenient;
	bool		proved;
} Claim;

typedef struct Proof
{
	AtpContainment *containment;
	bool		lenient;
	bool		quiet;			/* differences are not told: it is only a try */
	int			depth;			/* members, items and names gone down */
	int			level;			/* of recursion */
	int			budget;
	int			n_claims;
	int			claims_size;
	Claim	   *claims;
} Proof;

static bool prove_node(Proof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where);
static bool prove_op(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);

/* ---- telling ---- */

static bool tell(Proof *proof, const AtpWhere *where, const char *kind, const char *format,...) pg_attribute_printf(4, 5);

static bool
tell(Proof *proof, const AtpWhere *where, const char *kind, const char *format,...)
{
	AtpDifference *difference;
	StringInfoData why;

	ListCell   *cell;

	if (proof->quiet || list_length(proof->containment->differences) >= DIFFERENCES_MAX)
		return false;
	initStringInfo(&why);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&why, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&why, needed);
	}
	difference = palloc(sizeof(AtpDifference));
	*difference = (AtpDifference) {atp_where_text(where), kind, why.data};
	foreach(cell, proof->containment->differences)
	{
		const AtpDifference *told = lfirst(cell);

		if (strcmp(told->location, difference->location) == 0 && strcmp(told->why, difference->why) == 0)
			return false;
	}
	proof->containment->differences = lappend(proof->containment->differences, difference);
	return false;
}

static const char *
number_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

static const char *
mask_text(int mask)
{
	static const struct
	{
		int			type;
		const char *name;
	}			names[] = {{ATP_JSON_NULL, "null"}, {ATP_JSON_BOOLEAN, "boolean"}, {ATP_JSON_INTEGER, "integer"},
	{ATP_JSON_NUMBER, "number"}, {ATP_JSON_STRING, "string"}, {ATP_JSON_ARRAY, "array"}, {ATP_JSON_OBJECT, "object"}};
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < (int) lengthof(names); i++)
		if ((mask & names[i].type) && !(names[i].type == ATP_JSON_INTEGER && (mask & ATP_JSON_NUMBER)))
			appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", names[i].name);
	return text.data;
}

static const char *
value_text(const AtpJson *value)
{
	switch (value->type)
	{
		case ATP_JSON_NULL:
			return "null";
		case ATP_JSON_BOOLEAN:
			return value->len ? "true" : "false";
		case ATP_JSON_NUMBER:
			return number_text(value->number);
		case ATP_JSON_STRING:
			return psprintf("\"%.*s\"", Min(value->len, 200), value->string);
		case ATP_JSON_ARRAY:
			return "an array";
		default:
			return "an object";
	}
}

#define FROM (proof->containment->from)
#define TO (proof->containment->to)
#define STEP(parent, token_text) (&(AtpWhere) {(parent), (token_text), (int) strlen(token_text), 0})
#define STEP_KEY(parent, key, key_len) (&(AtpWhere) {(parent), (key), (key_len), 0})
#define STEP_INDEX(parent, at) (&(AtpWhere) {(parent), NULL, 0, (at)})

/* Is it provable, without telling why not? */
static bool
try_node(Proof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	bool		quiet = proof->quiet;
	bool		proved;

	proof->quiet = true;
	proved = prove_node(proof, facts, node, where);
	proof->quiet = quiet;
	return proved;
}

/* One member, item or name down. */
static bool
prove_child(Proof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	bool		proved;

	proof->depth++;
	proved = prove_node(proof, facts, node, where);
	proof->depth--;
	return proved;
}

/* ---- objects ---- */

static bool
is_open(const AtpNode *node)
{
	return node == NULL || node->kind == ATP_NODE_TRUE;
}

/* What an object that is to be valid against a rule of B is known to be. */
typedef struct Object
{
	const AtpFacts *facts;
	const AtpObjectRule *rule;	/* of B */
	const AtpWhere *where;
	List	   *mentioned;		/* names that A mentions */
	bool		as_declared;	/* lenient, and A is open: no other names are in it but those that its patterns match */
} Object;

static bool
is_name(const char *key, int len, const char *other, int other_len)
{
	return len == other_len && memcmp(key, other, (size_t) len) == 0;
}

static bool
is_mentioned(const Object *object, const char *key, int len)
{
	ListCell   *cell;

	foreach(cell, object->mentioned)
	{
		const AtpJson *name = lfirst(cell);

		if (is_name(name->string, name->len, key, len))
			return true;
	}
	return false;
}

static bool
matches_pattern(const AtpFacts *facts, const char *key, int len)
{
	for (int i = 0; i < facts->n_ops; i++)
		for (int j = 0; facts->ops[i]->kind == ATP_OP_OBJECT && j < facts->ops[i]->object->n_patterns; j++)
			if (atp_pattern_match(facts->ops[i]->object->patterns[j].pattern, key, len))
				return true;
	return false;
}

static const AtpNode *
member_node(const AtpObjectRule *rule, const char *key, int len)
{
	for (int i = 0; i < rule->n_members; i++)
		if (is_name(rule->members[i].key, rule->members[i].len, key, len))
			return rule->members[i].node;
	return NULL;
}

/* The member of a name that B has a schema for. */
static bool
prove_own_member(Proof *proof, const Object *object, const AtpFacts *member, const AtpNode *node, const char *key, int len)
{
	const AtpWhere *where = STEP_KEY(STEP(object->where, "properties"), key, len);
	bool		quiet = proof->quiet;
	bool		proved;

	if (member->n_ops > 0 || is_mentioned(object, key, len))
		return prove_child(proof, member, node, where);
	proof->quiet = true;
	proved = prove_child(proof, member, node, where);
	proof->quiet = quiet;
	return proved || tell(proof, where, "property_added", "%s accepts any value of property \"%.*s\", which %s restricts", FROM, len, key, TO);
}

/* A name of the instance against each of the rules of B that apply to it. */
static bool
prove_member(Proof *proof, const Object *object, const char *key, int len)
{
	const AtpObjectRule *rule = object->rule;
	AtpFacts   *member = atp_facts_member(object->facts, key, len);
	const AtpNode *own = member_node(rule, key, len);
	bool		covered = own != NULL;
	bool		proved = true;

	if (member->mask == 0 ||
		(object->as_declared && !is_mentioned(object, key, len) && !matches_pattern(object->facts, key, len)))
		return true;
	if (own != NULL)
		proved = prove_own_member(proof, object, member, own, key, len);
	for (int i = 0; i < rule->n_patterns && (proved || !proof->quiet); i++)
		if (atp_pattern_match(rule->patterns[i].pattern, key, len))
		{
			const AtpPatternMember *pattern = &rule->patterns[i];

			covered = true;
			proved &= prove_child(proof, member, pattern->node,
								  STEP_KEY(STEP(object->where, "patternProperties"), pattern->source, pattern->len));
		}
	if (covered || is_open(rule->additional))
		return proved;
	if (rule->additional->kind == ATP_NODE_FALSE)
		return atp_facts_empty(member) || tell(proof, STEP(object->where, "additionalProperties"), "closed",
											   "%s accepts property \"%.*s\", which %s does not know", FROM, len, key, TO);
	return prove_child(proof, member, rule->additional, STEP(object->where, "additionalProperties")) && proved;
}

/* Names that neither A nor B mentions, against a pattern of B or (target NULL) against what B says of the rest. */
typedef struct Others
{
	const Object *object;
	const AtpPatternMember *target;
	const AtpNode *node;
	const AtpWhere *where;
} Others;

/* Such a name matches a pattern of a rule of A: then it is valid by that pattern's schema, or it is another pattern's matter in B. */
static bool
prove_others_by_patterns(Proof *proof, const Others *others, const AtpObjectRule *known, bool *settled)
{
	const AtpObjectRule *rule = others->object->rule;

	*settled = false;
	for (int i = 0; i < known->n_patterns; i++)
	{
		const AtpPatternMember *pattern = &known->patterns[i];
		bool		elsewhere = false;

		if (others->target != NULL && is_name(pattern->source, pattern->len, others->target->source, others->target->len))
		{
			*settled = true;	/* each name in question matches this one */
			return prove_child(proof, atp_facts_make(pattern->node), others->node, others->where);
		}
		for (int j = 0; j < rule->n_patterns && others->target == NULL && !elsewhere; j++)
			elsewhere = is_name(pattern->source, pattern->len, rule->patterns[j].source, rule->patterns[j].len);
		if (!elsewhere && !prove_child(proof, atp_facts_make(pattern->node), others->node, others->where))
			return false;
	}
	return true;
}

/* Any one rule of A may be enough; what those without patterns say of the rest is taken together. */
static bool
prove_others_by_rules(Proof *proof, const Others *others)
{
	const AtpFacts *facts = others->object->facts;
	AtpFacts   *together = NULL;

	for (int i = 0; i < facts->n_ops; i++)
	{
		const AtpObjectRule *known = facts->ops[i]->object;
		bool		settled;

		if (facts->ops[i]->kind != ATP_OP_OBJECT || (is_open(known->additional) && known->n_patterns == 0))
			continue;
		if (prove_others_by_patterns(proof, others, known, &settled) &&
			(settled || (known->additional != NULL &&
						 prove_child(proof, atp_facts_make(known->additional), others->node, others->where))))
			return true;
		if (known->n_patterns == 0)
			together = together == NULL ? atp_facts_make(known->additional) : atp_facts_with(together, known->additional, NULL);
	}
	return together != NULL && prove_child(proof, together, others->node, others->where);
}

/* No names are there but those declared: so these match a pattern of some rule of A. */
static bool
prove_others_as_declared(Proof *proof, const Others *others)
{
	const AtpFacts *facts = others->object->facts;
	bool		settled;

	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_OBJECT && !prove_others_by_patterns(proof, others, facts->ops[i]->object, &settled))
			return false;
	return true;
}

static bool
prove_others(Proof *proof, const Object *object, const AtpPatternMember *target, const AtpNode *node, const AtpWhere *where)
{
	static const AtpNode anything = {.kind = ATP_NODE_TRUE};
	Others		others = {object, target, node, where};
	bool		quiet = proof->quiet;
	bool		proved;

	if (node->kind == ATP_NODE_TRUE || atp_facts_names(object->facts)->finite)
		return true;
	proof->quiet = true;
	proved = prove_others_by_rules(proof, &others) || (object->as_declared && prove_others_as_declared(proof, &others)) ||
		prove_child(proof, atp_facts_make(&anything), node, where);
	proof->quiet = quiet;
	return proved || tell(proof, where, "closed", target == NULL ? "%s accepts other properties than those that %s allows" :
						  "%s accepts values of properties with such names, which %s does not allow", FROM, TO);
}

static bool
prove_required(Proof *proof, const Object *object)
{
	bool		proved = true;

	for (int i = 0; i < object->rule->n_members && (proved || !proof->quiet); i++)
	{
		const AtpMember *member = &object->rule->members[i];

		if (member->required && !atp_facts_require(object->facts, member->key, member->len))
			proved = tell(proof, STEP(object->where, "required"), "required", "%s requires property \"%.*s\", %s does not", TO, member->len,
						  member->key, FROM);
	}
	return proved;
}

static bool
prove_object(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	const AtpObjectRule *rule = op->object;
	Object		object = {facts, rule, where};
	AtpFacts   *names = atp_facts_names(facts);
	bool		proved = prove_required(proof, &object);
	ListCell   *cell;

	object.mentioned = atp_facts_mentioned(facts, &object.as_declared);
	object.as_declared = object.as_declared && proof->lenient;
	for (int i = 0; i < rule->n_members && (proved || !proof->quiet); i++)
		if (rule->members[i].node != NULL && !is_mentioned(&object, rule->members[i].key, rule->members[i].len))
			proved &= prove_member(proof, &object, rule->members[i].key, rule->members[i].len);
	foreach(cell, object.mentioned)
	{
		const AtpJson *name = lfirst(cell);

		if (proved || !proof->quiet)
			proved &= prove_member(proof, &object, name->string, name->len);
	}
	for (int i = 0; names->finite && i < names->n_values && (proved || !proof->quiet); i++)
		proved &= prove_member(proof, &object, names->values[i].string, names->values[i].len);
	for (int i = 0; i < rule->n_patterns && (proved || !proof->quiet); i++)
		proved &= prove_others(proof, &object, &rule->patterns[i], rule->patterns[i].node,
							   STEP_KEY(STEP(where, "patternProperties"), rule->patterns[i].source, rule->patterns[i].len));
	if (rule->additional != NULL && (proved || !proof->quiet))
		proved &= prove_others(proof, &object, NULL, rule->additional, STEP(where, "additionalProperties"));
	return proved;
}

/* Every name that the object can have is a name that B allows. */
static bool
prove_property_names(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	AtpFacts   *names = atp_facts_names(facts);
	bool		proved;

	proof->depth++;
	proved = try_node(proof, names, op->node, where);
	proof->depth--;
	if (proved)
		return true;
	if (atp_facts_closed_size(facts) == PG_INT32_MAX)
		return tell(proof, STEP(where, op->keyword), "property_names", "%s does not restrict the names of properties as %s does", FROM, TO);
	for (int i = 0; i < facts->n_ops; i++)
		for (int j = 0; facts->ops[i]->kind == ATP_OP_OBJECT && j < facts->ops[i]->object->n_members; j++)
		{
			const AtpMember *member = &facts->ops[i]->object->members[j];
			AtpJson		name = {.type = ATP_JSON_STRING, .len = member->len, .string = member->key};

			if ((!atp_evaluate_node(op->node, &name, true) || !atp_evaluate_node(op->node, &name, false)) &&
				atp_facts_member(facts, member->key, member->len)->mask != 0)
				return tell(proof, STEP(where, op->keyword), "property_names", "%s accepts property \"%.*s\", whose name %s refuses", FROM,
							member->len, member->key, TO);
		}
	return true;
}

static bool
prove_dependent_required(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = true;
	AtpJson		name;

	for (int i = 0; i < op->dependency.n && (proved || !proof->quiet); i++)
	{
		const AtpDependency *item = &op->dependency.items[i];

		if (atp_facts_member(facts, item->key, item->len)->mask == 0)
			continue;
		for (int j = 0; atp_json_item(&item->names, j, &name); j++)
			if (!atp_facts_require(facts, name.string, name.len) && !atp_facts_depend(facts, item->key, item->len, &name))
				proved = tell(proof, STEP(where, op->keyword), "required", "%s requires property \"%.*s\" beside \"%.*s\", %s does not", TO,
							  name.len, name.string, item->len, item->key, FROM);
	}
	return proved;
}

static bool
prove_dependent_schemas(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = true;

	for (int i = 0; i < op->dependency.n && (proved || !proof->quiet); i++)
	{
		const AtpDependency *item = &op->dependency.items[i];

		if (atp_facts_member(facts, item->key, item->len)->mask == 0 ||
			try_node(proof, atp_facts_beside(facts, item->key, item->len), item->node, where))
			continue;
		proved = tell(proof, STEP_KEY(STEP(where, op->keyword), item->key, item->len), "undecided",
					  "not proved: an object with property \"%.*s\" that %s accepts is what %s then demands", item->len, item->key, FROM, TO);
	}
	return proved;
}

/* ---- arrays ---- */

static bool
prove_array(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	const AtpArrayRule *rule = op->array;
	int			most = atp_facts_most(facts, ATP_OP_MAX_ITEMS);
	int			places = Max(rule->n_prefix, atp_facts_places(facts));
	bool		proved = true;

	for (int i = 0; i < Min(places, most) && (proved || !proof->quiet); i++)
	{
		const AtpNode *node = i < rule->n_prefix ? rule->prefix[i] : rule->rest;
		AtpFacts   *item;

		if (node == NULL)
			break;
		item = atp_facts_item(facts, i);
		if (item->mask == 0)
			return proved;		/* nor can there be one behind it */
		proved &= prove_child(proof, item, node, i < rule->n_prefix ? STEP_INDEX(STEP(where, rule->prefix_keyword), i) :
							  STEP(where, rule->rest_keyword));
	}
	if (rule->rest != NULL && most > places && (proved || !proof->quiet))
		proved &= prove_child(proof, atp_facts_item(facts, ATP_FACTS_REST), rule->rest, STEP(where, rule->rest_keyword));
	return proved;
}

/* Every item of the array is known to be one of the node, and there are enough of them; or A says the same of a kind within B's. */
static bool
contains_enough(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	int			places = atp_facts_places(facts);
	bool		all = atp_facts_least(facts, ATP_OP_MIN_ITEMS) >= op->contains.min;

	proof->depth++;
	for (int i = 0; i <= places && all; i++)
		all = try_node(proof, atp_facts_item(facts, i < places ? i : ATP_FACTS_REST), op->contains.node, where);
	for (int i = 0; i < facts->n_ops && !all; i++)
	{
		const AtpOp *known = facts->ops[i];

		all = known->kind == ATP_OP_CONTAINS && known->contains.min >= op->contains.min &&
			try_node(proof, atp_facts_make(known->contains.node), op->contains.node, where);
	}
	proof->depth--;
	return all;
}

static bool
prove_contains(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		few = op->contains.max == PG_INT32_MAX || atp_facts_most(facts, ATP_OP_MAX_ITEMS) <= op->contains.max;

	for (int i = 0; i < facts->n_ops && !few; i++)
	{
		const AtpOp *known = facts->ops[i];

		few = known->kind == ATP_OP_CONTAINS && known->contains.max <= op->contains.max &&
			atp_same_node(known->contains.node, op->contains.node);
	}
	if (op->contains.min > 0 && !contains_enough(proof, facts, op, where))
		return tell(proof, STEP(where, op->keyword), "contains", "%s demands items of a kind that %s is not seen to demand", TO, FROM);
	return few || tell(proof, STEP(where, "maxContains"), "contains", "%s allows fewer items of a kind than %s", TO, FROM);
}

/* ---- scalars ---- */

static bool
prove_number(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = false;

	switch (op->kind)
	{
		case ATP_OP_MINIMUM:
		case ATP_OP_EXCLUSIVE_MINIMUM:
			return atp_facts_above(facts, op->number, op->kind == ATP_OP_EXCLUSIVE_MINIMUM) ||
				tell(proof, STEP(where, op->keyword), "range", "%s accepts smaller numbers than %s, whose %s is %s", FROM, TO, op->keyword,
					 number_text(op->number));
		case ATP_OP_MAXIMUM:
		case ATP_OP_EXCLUSIVE_MAXIMUM:
			return atp_facts_below(facts, op->number, op->kind == ATP_OP_EXCLUSIVE_MAXIMUM) ||
				tell(proof, STEP(where, op->keyword), "range", "%s accepts larger numbers than %s, whose %s is %s", FROM, TO, op->keyword,
					 number_text(op->number));
		default:
			if ((facts->mask & ATP_JSON_NUMBER) == 0)
				proved = atp_numeric_is_multiple(DatumGetNumeric(DirectFunctionCall1(int4_numeric, Int32GetDatum(1))), op->number);
			for (int i = 0; i < facts->n_ops && !proved; i++)
				proved = facts->ops[i]->kind == ATP_OP_MULTIPLE_OF && atp_numeric_is_multiple(facts->ops[i]->number, op->number);
			return proved || tell(proof, STEP(where, op->keyword), "multiple", "%s accepts numbers that are no multiples of %s, as %s demands",
								  FROM, number_text(op->number), TO);
	}
}

static int
required_count(const AtpFacts *facts)
{
	int			most = 0;

	for (int i = 0; i < facts->n_ops; i++)
	{
		int			n = 0;

		for (int j = 0; facts->ops[i]->kind == ATP_OP_OBJECT && j < facts->ops[i]->object->n_members; j++)
			n += facts->ops[i]->object->members[j].required;
		most = Max(most, n);
	}
	return most;
}

static bool
prove_count(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		minimum = op->kind == ATP_OP_MIN_LENGTH || op->kind == ATP_OP_MIN_ITEMS || op->kind == ATP_OP_MIN_PROPERTIES;
	int			known = minimum ? atp_facts_least(facts, op->kind) : atp_facts_most(facts, op->kind);

	if (op->kind == ATP_OP_MIN_PROPERTIES)
		known = Max(known, required_count(facts));
	if (op->kind == ATP_OP_MAX_PROPERTIES)
		known = Min(known, atp_facts_closed_size(facts));
	if (op->kind == ATP_OP_MAX_ITEMS)
	{
		int			places = atp_facts_places(facts);

		if (atp_facts_item(facts, ATP_FACTS_REST)->mask == 0)
			known = Min(known, places);
	}
	for (int i = 0; i < facts->n_ops && op->kind == ATP_OP_MIN_ITEMS; i++)
		if (facts->ops[i]->kind == ATP_OP_CONTAINS)
			known = Max(known, facts->ops[i]->contains.min);
	if (minimum ? known >= op->count : known <= op->count)
		return true;
	return tell(proof, STEP(where, op->keyword), "size", "%s accepts %s than %s, whose %s is %d", FROM, minimum ? "shorter or smaller ones" :
				"longer or larger ones", TO, op->keyword, op->count);
}

/* A format that always asserts implies one that may. */
static bool
implies_format(const AtpOp *known, const AtpOp *op)
{
	return known->kind == ATP_OP_FORMAT && known->format.check == op->format.check && (known->format.always || !op->format.always);
}

static bool
prove_text(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	static const char *const everything[] = {"", "^", "$", ".*", "^.*"};
	bool		proved = false;

	for (int i = 0; i < facts->n_ops && !proved; i++)
		proved = op->kind == ATP_OP_FORMAT ? implies_format(facts->ops[i], op) : atp_same_op(facts->ops[i], op);
	for (int i = 0; i < (int) lengthof(everything) && op->kind == ATP_OP_PATTERN && !proved; i++)
		proved = op->pattern.len == (int) strlen(everything[i]) && memcmp(op->pattern.source, everything[i], (size_t) op->pattern.len) == 0;
	if (proved)
		return true;
	if (op->kind == ATP_OP_FORMAT)
		return tell(proof, STEP(where, op->keyword), "format", "%s demands the format %.*s, %s does not", TO, op->format.len, op->format.name,
					FROM);
	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_PATTERN)
			return tell(proof, STEP(where, op->keyword), "undecided", "not proved: what matches a pattern of %s matches that of %s", FROM, TO);
	return tell(proof, STEP(where, op->keyword), "pattern", "%s demands a pattern, %s none", TO, FROM);
}

/* ---- in place ---- */

static bool
prove_type(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	int			missing = facts->mask & ~(op->type_mask | (op->type_mask & ATP_JSON_NUMBER ? ATP_JSON_INTEGER : 0));

	return missing == 0 || atp_facts_empty(atp_facts_of_types(facts, missing)) ||
		tell(proof, STEP(where, op->keyword), "type", "%s accepts values of type %s, %s does not", FROM, mask_text(missing), TO);
}

static bool
prove_any_of(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	for (int i = 0; i < op->list.n; i++)
		if (try_node(proof, facts, op->list.nodes[i], where))
			return true;
	return tell(proof, STEP(where, op->keyword), "undecided", "not proved: what %s accepts here is covered by one alternative of %s", FROM, TO);
}

static bool
prove_one_of(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	int			one = 0;
	bool		proved = true;

	while (one < op->list.n && !try_node(proof, facts, op->list.nodes[one], where))
		one++;
	if (one == op->list.n)
		return tell(proof, STEP(where, op->keyword), "undecided", "not proved: what %s accepts here is covered by one alternative of %s", FROM,
					TO);
	for (int i = 0; i < op->list.n && proved; i++)
		proved = i == one || atp_facts_empty(atp_facts_with(facts, op->list.nodes[i], NULL));
	return proved || tell(proof, STEP(where, op->keyword), "undecided",
						  "not proved: what %s accepts here fits no second alternative of %s", FROM, TO);
}

static bool
prove_not(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		lenient = proof->lenient;
	bool		proved = atp_facts_empty(atp_facts_with(facts, op->node, NULL));

	proof->lenient = false;		/* the other way round, nothing is allowed */
	for (int i = 0; i < facts->n_ops && !proved; i++)
		proved = facts->ops[i]->kind == ATP_OP_NOT && try_node(proof, atp_facts_make(op->node), facts->ops[i]->node, where);
	proof->lenient = lenient;
	return proved || tell(proof, STEP(where, op->keyword), "undecided", "not proved: nothing that %s accepts is what %s excludes", FROM, TO);
}

static bool
prove_if(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved;

	proved = op->branch.then == NULL || try_node(proof, atp_facts_with(facts, op->branch.condition, NULL), op->branch.then, where);
	if (proved && op->branch.otherwise != NULL)
		proved = try_node(proof, facts, op->branch.otherwise, where) || try_node(proof, facts, op->branch.condition, where);
	return proved || tell(proof, STEP(where, op->keyword), "undecided", "not proved: what %s accepts meets the condition of %s", FROM, TO);
}

/* ---- the proof ---- */

static bool
prove_directly(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	switch (op->kind)
	{
		case ATP_OP_TYPE:
			return prove_type(proof, facts, op, where);
		case ATP_OP_CONST:
		case ATP_OP_ENUM:
			return tell(proof, STEP(where, op->keyword), "value", "%s accepts other values than those that %s lists", FROM, TO);
		case ATP_OP_MINIMUM:
		case ATP_OP_EXCLUSIVE_MINIMUM:
		case ATP_OP_MAXIMUM:
		case ATP_OP_EXCLUSIVE_MAXIMUM:
		case ATP_OP_MULTIPLE_OF:
			return prove_number(proof, facts, op, where);
		case ATP_OP_MIN_LENGTH:
		case ATP_OP_MAX_LENGTH:
		case ATP_OP_MIN_ITEMS:
		case ATP_OP_MAX_ITEMS:
		case ATP_OP_MIN_PROPERTIES:
		case ATP_OP_MAX_PROPERTIES:
			return prove_count(proof, facts, op, where);
		case ATP_OP_PATTERN:
		case ATP_OP_FORMAT:
			return prove_text(proof, facts, op, where);
		case ATP_OP_DEPENDENT_REQUIRED:
			return prove_dependent_required(proof, facts, op, where);
		case ATP_OP_OBJECT:
			return prove_object(proof, facts, op, where);
		case ATP_OP_PROPERTY_NAMES:
			return prove_property_names(proof, facts, op, where);
		case ATP_OP_ARRAY:
			return prove_array(proof, facts, op, where);
		case ATP_OP_CONTAINS:
			return prove_contains(proof, facts, op, where);
		case ATP_OP_UNIQUE_ITEMS:
			return atp_facts_has(facts, ATP_OP_UNIQUE_ITEMS) || atp_facts_most(facts, ATP_OP_MAX_ITEMS) <= 1 ||
				tell(proof, STEP(where, op->keyword), "unique", "%s demands that items differ, %s does not", TO, FROM);
		case ATP_OP_REF:
			return prove_node(proof, facts, op->node, STEP(where, op->keyword));
		case ATP_OP_ANY_OF:
			return prove_any_of(proof, facts, op, where);
		case ATP_OP_ONE_OF:
			return prove_one_of(proof, facts, op, where);
		case ATP_OP_NOT:
			return prove_not(proof, facts, op, where);
		case ATP_OP_IF:
			return prove_if(proof, facts, op, where);
		case ATP_OP_DEPENDENT_SCHEMAS:
			return prove_dependent_schemas(proof, facts, op, where);
		default:
			return tell(proof, STEP(where, op->keyword), "undecided", "not proved: the keyword %s can only be compared where all beside it is equal",
						op->keyword);
	}
}

/* The first operation of A that is a choice between alternatives. */
static const AtpOp *
find_choice(const AtpFacts *facts)
{
	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_ANY_OF || facts->ops[i]->kind == ATP_OP_ONE_OF || facts->ops[i]->kind == ATP_OP_IF)
			return facts->ops[i];
	return NULL;
}

static bool
prove_by_choice(Proof *proof, const AtpFacts *facts, const AtpOp *choice, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = true;

	if (choice->kind == ATP_OP_IF)
	{
		AtpFacts   *then = atp_facts_with(facts, choice->branch.condition, choice);
		AtpFacts   *otherwise = atp_facts_with(facts, choice->branch.otherwise, choice);

		if (choice->branch.then != NULL)
			then = atp_facts_with(then, choice->branch.then, NULL);
		return prove_op(proof, then, op, where) & prove_op(proof, otherwise, op, where);
	}
	for (int i = 0; i < choice->list.n && (proved || !proof->quiet); i++)
		proved &= prove_op(proof, atp_facts_with(facts, choice->list.nodes[i], choice), op, where);
	return proved;
}

static bool
prove_by_types(Proof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = true;

	for (int type = 1; type <= ATP_JSON_INTEGER && (proved || !proof->quiet); type <<= 1)
		if (facts->mask & type)
			proved &= prove_op(proof, atp_facts_of_types(facts, type), op, where);
	return proved;
}

/* The values of a finite set are simply tried, under both settings of format assertion. */
static bool
refused_value(const AtpFacts *facts, const AtpNode *node, const AtpJson **refused)
{
	for (int i = 0; i < facts->n_values; i++)
	{
		const AtpJson *value = &facts->values[i];

		CHECK_FOR_INTERRUPTS();
		for (int formats = 0; formats < 2; formats++)
			if (atp_facts_accept(facts, value, formats == 1) && !atp_evaluate_node(node, value, formats == 1))
			{
				*refused = value;
				return true;
			}
	}
	return false;
}

/* Of types that the operation is about, whether or not the operation stands in a node of its own. */
static bool
prove_op(Proof *proof, const AtpFacts *all, const AtpOp *op, const AtpWhere *where)
{
	int			types = all->mask & atp_facts_types(op);
	const AtpFacts *facts = types == all->mask ? all : atp_facts_of_types(all, types);
	const AtpOp *choice;
	bool		quiet = proof->quiet;
	bool		several = (facts->mask & (facts->mask - 1)) != 0;
	bool		proved;

	if (facts->mask == 0)
		return true;
	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	if (--proof->budget < 0 || proof->level > LEVEL_MAX)
		return tell(proof, where, "undecided", "not proved: the schemas are too intricate");
	if (facts->finite)
	{
		AtpNode		node = {.kind = ATP_NODE_RULES, .n_ops = 1, .ops = unconstify(AtpOp *, op)};
		const AtpJson *refused;

		return !refused_value(facts, &node, &refused) ||
			tell(proof, STEP(where, op->keyword), "value", "%s accepts %s, %s does not", FROM, value_text(refused), TO);
	}
	proof->quiet = true;
	choice = find_choice(facts);
	proof->level++;
	proved = prove_directly(proof, facts, op, where) ||
		(several && op->kind != ATP_OP_TYPE && prove_by_types(proof, facts, op, where)) ||
		(!several && choice != NULL && prove_by_choice(proof, facts, choice, op, where)) ||
		(op->kind == ATP_OP_TYPE && choice != NULL && prove_by_choice(proof, facts, choice, op, where)) || atp_facts_empty(facts);
	proof->level--;
	proof->quiet = quiet;
	if (proved || quiet)
		return proved;
	proof->level++;
	if (op->kind != ATP_OP_TYPE && several)
		proved = prove_by_types(proof, facts, op, where);
	else if (choice != NULL)
		proved = prove_by_choice(proof, facts, choice, op, where);
	else
		proved = prove_directly(proof, facts, op, where);
	proof->level--;
	return proved;
}

typedef enum ClaimUse
{
	CLAIM_NONE,
	CLAIM_HOLDS,				/* may be taken for granted here */
	CLAIM_LOOPS					/* is being proved of the same instance */
} ClaimUse;

static ClaimUse
find_claim(const Proof *proof, const AtpFacts *facts, const AtpNode *node)
{
	for (int i = proof->n_claims - 1; i >= 0; i--)
	{
		const Claim *claim = &proof->claims[i];

		if (claim->to == node && claim->facts->mask == facts->mask && claim->lenient == proof->lenient &&
			(!claim->proved || proof->depth >= claim->depth) &&
			claim->facts->n_ops == facts->n_ops && claim->facts->n_nodes == facts->n_nodes &&
			memcmp(claim->facts->ops, facts->ops, sizeof(AtpOp *) * (Size) facts->n_ops) == 0 &&
			memcmp(claim->facts->nodes, facts->nodes, sizeof(AtpNode *) * (Size) facts->n_nodes) == 0)
			return claim->proved || proof->depth > claim->depth ? CLAIM_HOLDS : CLAIM_LOOPS;
	}
	return CLAIM_NONE;
}

static int
begin_claim(Proof *proof, const AtpFacts *facts, const AtpNode *node)
{
	if (proof->n_claims == proof->claims_size)
	{
		proof->claims_size = Max(64, 2 * proof->claims_size);
		proof->claims = proof->claims ? repalloc_huge(proof->claims, sizeof(Claim) * (Size) proof->claims_size) :
			palloc(sizeof(Claim) * (Size) proof->claims_size);
	}
	proof->claims[proof->n_claims] = (Claim) {node, facts, proof->depth, proof->lenient, false};
	return proof->n_claims++;
}

static bool
prove_ops(Proof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	bool		proved = true;

	for (int i = 0; i < node->n_ops && (proved || !proof->quiet); i++)
	{
		const AtpOp *op = &node->ops[i];

		if (op->kind == ATP_OP_ALL_OF)
		{
			for (int j = 0; j < op->list.n && (proved || !proof->quiet); j++)
				proved &= prove_node(proof, facts, op->list.nodes[j], STEP_INDEX(STEP(where, op->keyword), j));
			continue;
		}
		if (op->kind == ATP_OP_REF)
		{
			proved &= prove_node(proof, facts, op->node, STEP(where, op->keyword));
			continue;
		}
		proved &= prove_op(proof, facts, op, where);
		/* what was told of a type is not told again of what the type brings with it */
		if (op->kind == ATP_OP_TYPE)
			facts = atp_facts_of_types(facts, op->type_mask | (op->type_mask & ATP_JSON_NUMBER ? ATP_JSON_INTEGER : 0));
	}
	return proved;
}

static bool
prove_node(Proof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	const AtpJson *refused;
	int			claim;
	bool		proved;

	if (node->kind == ATP_NODE_TRUE || facts->mask == 0)
		return true;
	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	if (--proof->budget < 0 || proof->level > LEVEL_MAX)
		return tell(proof, where, "undecided", "not proved: the schemas are too intricate");
	if (facts->finite)
		return !refused_value(facts, node, &refused) ||
			tell(proof, where, "value", "%s accepts %s, %s does not", FROM, value_text(refused), TO);
	if (node->kind == ATP_NODE_FALSE)
		return atp_facts_empty(facts) ||
			tell(proof, where, "false", "%s accepts a value where %s accepts none", FROM, TO);
	for (int i = 0; i < facts->n_nodes; i++)
		if (atp_same_node(facts->nodes[i], node))
			return true;
	switch (find_claim(proof, facts, node))
	{
		case CLAIM_HOLDS:
			return true;
		case CLAIM_LOOPS:
			return tell(proof, where, "undecided", "not proved: %s applies a schema to the same value again and again", TO);
		case CLAIM_NONE:
			break;
	}
	if (node->unevaluated)
		return tell(proof, where, "undecided", "not proved: a schema with unevaluatedProperties or unevaluatedItems is compared only as a whole");
	claim = begin_claim(proof, facts, node);
	proof->level++;
	proved = prove_ops(proof, facts, node, where);
	proof->level--;
	if (proved)
		proof->claims[claim].proved = true;
	else
		proof->n_claims = claim;
	return proved;
}

bool
atp_contained(const AtpNode *from, const AtpNode *to, AtpContainment *containment)
{
	Proof		proof = {.containment = containment, .lenient = containment->lenient, .budget = BUDGET};
	AtpWhere	root = {0};

	return prove_node(&proof, atp_facts_make(from), to, &root);
}

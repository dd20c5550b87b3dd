/* The proof of containment: arrays, numbers and strings. */
#include "record/compatibility/contain/proof.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "record/compatibility/same.h"

/* ---- arrays ---- */

bool
atp_prove_array(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
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
		proved &= atp_prove_child(proof, item, node, i < rule->n_prefix ? STEP_INDEX(STEP(where, rule->prefix_keyword), i) :
							  STEP(where, rule->rest_keyword));
	}
	if (rule->rest != NULL && most > places && (proved || !proof->quiet))
		proved &= atp_prove_child(proof, atp_facts_item(facts, ATP_FACTS_REST), rule->rest, STEP(where, rule->rest_keyword));
	return proved;
}

/* Every item of the array is known to be one of the node, and there are enough of them; or A says the same of a kind within B's. */
static bool
contains_enough(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	int			places = atp_facts_places(facts);
	bool		all = atp_facts_least(facts, ATP_OP_MIN_ITEMS) >= op->contains.min;

	proof->depth++;
	for (int i = 0; i <= places && all; i++)
		all = atp_try_node(proof, atp_facts_item(facts, i < places ? i : ATP_FACTS_REST), op->contains.node, where);
	for (int i = 0; i < facts->n_ops && !all; i++)
	{
		const AtpOp *known = facts->ops[i];

		all = known->kind == ATP_OP_CONTAINS && known->contains.min >= op->contains.min &&
			atp_try_node(proof, atp_facts_make(known->contains.node), op->contains.node, where);
	}
	proof->depth--;
	return all;
}

bool
atp_prove_contains(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		few = op->contains.max == PG_INT32_MAX || atp_facts_most(facts, ATP_OP_MAX_ITEMS) <= op->contains.max;

	for (int i = 0; i < facts->n_ops && !few; i++)
	{
		const AtpOp *known = facts->ops[i];

		few = known->kind == ATP_OP_CONTAINS && known->contains.max <= op->contains.max &&
			atp_same_node(known->contains.node, op->contains.node);
	}
	if (op->contains.min > 0 && !contains_enough(proof, facts, op, where))
		return atp_proof_tell(proof, STEP(where, op->keyword), "contains", "%s demands items of a kind that %s is not seen to demand",
				TO, FROM);
	return few || atp_proof_tell(proof, STEP(where, "maxContains"), "contains", "%s allows fewer items of a kind than %s", TO, FROM);
}

/* ---- scalars ---- */

bool
atp_prove_number(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = false;

	switch (op->kind)
	{
		case ATP_OP_MINIMUM:
		case ATP_OP_EXCLUSIVE_MINIMUM:
			return atp_facts_above(facts, op->number, op->kind == ATP_OP_EXCLUSIVE_MINIMUM) ||
				atp_proof_tell(proof, STEP(where, op->keyword), "range", "%s accepts smaller numbers than %s, whose %s is %s", FROM, TO,
						op->keyword,
					 atp_proof_number_text(op->number));
		case ATP_OP_MAXIMUM:
		case ATP_OP_EXCLUSIVE_MAXIMUM:
			return atp_facts_below(facts, op->number, op->kind == ATP_OP_EXCLUSIVE_MAXIMUM) ||
				atp_proof_tell(proof, STEP(where, op->keyword), "range", "%s accepts larger numbers than %s, whose %s is %s", FROM, TO,
						op->keyword,
					 atp_proof_number_text(op->number));
		default:
			if ((facts->mask & ATP_JSON_NUMBER) == 0)
				proved = atp_numeric_is_multiple(DatumGetNumeric(DirectFunctionCall1(int4_numeric, Int32GetDatum(1))), op->number);
			for (int i = 0; i < facts->n_ops && !proved; i++)
				proved = facts->ops[i]->kind == ATP_OP_MULTIPLE_OF && atp_numeric_is_multiple(facts->ops[i]->number, op->number);
			return proved || atp_proof_tell(proof, STEP(where, op->keyword), "multiple",
					"%s accepts numbers that are no multiples of %s, as %s demands",
								  FROM, atp_proof_number_text(op->number), TO);
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

bool
atp_prove_count(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
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
	return atp_proof_tell(proof, STEP(where, op->keyword), "size", "%s accepts %s than %s, whose %s is %d", FROM,
			minimum ? "shorter or smaller ones" :
				"longer or larger ones", TO, op->keyword, op->count);
}

/* A format that always asserts implies one that may. */
static bool
implies_format(const AtpOp *known, const AtpOp *op)
{
	return known->kind == ATP_OP_FORMAT && known->format.check == op->format.check && (known->format.always || !op->format.always);
}

bool
atp_prove_text(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	static const char *const everything[] = {"", "^", "$", ".*", "^.*"};
	bool		proved = false;

	for (int i = 0; i < facts->n_ops && !proved; i++)
		proved = op->kind == ATP_OP_FORMAT ? implies_format(facts->ops[i], op) : atp_same_op(facts->ops[i], op);
	for (int i = 0; i < (int) lengthof(everything) && op->kind == ATP_OP_PATTERN && !proved; i++)
		proved = op->pattern.len == (int) strlen(everything[i]) && memcmp(op->pattern.source, everything[i],
				(size_t) op->pattern.len) == 0;
	if (proved)
		return true;
	if (op->kind == ATP_OP_FORMAT)
		return atp_proof_tell(proof, STEP(where, op->keyword), "format", "%s demands the format %.*s, %s does not", TO, op->format.len,
				op->format.name,
					FROM);
	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_PATTERN)
			return atp_proof_tell(proof, STEP(where, op->keyword), "undecided",
					"not proved: what matches a pattern of %s matches that of %s", FROM, TO);
	return atp_proof_tell(proof, STEP(where, op->keyword), "pattern", "%s demands a pattern, %s none", TO, FROM);
}

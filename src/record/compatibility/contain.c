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
#include "utils/memutils.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "record/compatibility/contain/proof.h"
#include "record/compatibility/same.h"
#include "record/validator/evaluate.h"

#define BUDGET 100000			/* steps, by the size of the facts; then the rest is undecided */
#define MEMORY_MAX ((Size) 64 * 1024 * 1024)
#define LEVEL_MAX 1000

static bool prove_op(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);

/*
 * Has the proof gone on for too long? A step costs by the facts that it has to handle; memory is given back only at the end, so that is
 * bounded too. Once exhausted, it stays so.
 */
static bool
is_exhausted(AtpProof *proof, const AtpFacts *facts)
{
	if (proof->budget >= 0)
	{
		proof->budget -= 1 + facts->n_nodes + facts->n_ops / 4;
		if (MemoryContextMemAllocated(CurrentMemoryContext, true) > MEMORY_MAX)
			proof->budget = -1;
	}
	return proof->budget < 0 || proof->level > LEVEL_MAX;
}

/* Is it provable, without telling why not? */
bool
atp_try_node(AtpProof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	bool		quiet = proof->quiet;
	bool		proved;

	proof->quiet = true;
	proved = atp_prove_node(proof, facts, node, where);
	proof->quiet = quiet;
	return proved;
}

/* One member, item or name down. */
bool
atp_prove_child(AtpProof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	bool		proved;

	proof->depth++;
	proved = atp_prove_node(proof, facts, node, where);
	proof->depth--;
	return proved;
}

/* ---- in place ---- */

static bool
prove_type(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	int			missing = facts->mask & ~(op->type_mask | (op->type_mask & ATP_JSON_NUMBER ? ATP_JSON_INTEGER : 0));

	return missing == 0 || atp_facts_empty(atp_facts_of_types(facts, missing)) ||
		atp_proof_tell(proof, STEP(where, op->keyword), "type", "%s accepts values of type %s, %s does not", FROM,
				atp_proof_mask_text(missing), TO);
}

static bool
prove_any_of(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	for (int i = 0; i < op->list.n; i++)
		if (atp_try_node(proof, facts, op->list.nodes[i], where))
			return true;
	return atp_proof_tell(proof, STEP(where, op->keyword), "undecided",
			"not proved: what %s accepts here is covered by one alternative of %s", FROM, TO);
}

static bool
prove_one_of(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	int			one = 0;
	bool		proved = true;

	while (one < op->list.n && !atp_try_node(proof, facts, op->list.nodes[one], where))
		one++;
	if (one == op->list.n)
		return atp_proof_tell(proof, STEP(where, op->keyword), "undecided",
				"not proved: what %s accepts here is covered by one alternative of %s", FROM,
					TO);
	for (int i = 0; i < op->list.n && proved; i++)
		proved = i == one || atp_facts_empty(atp_facts_with(facts, op->list.nodes[i], NULL));
	return proved || atp_proof_tell(proof, STEP(where, op->keyword), "undecided",
						  "not proved: what %s accepts here fits no second alternative of %s", FROM, TO);
}

static bool
prove_not(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		lenient = proof->lenient;
	bool		proved = atp_facts_empty(atp_facts_with(facts, op->node, NULL));

	proof->lenient = false;		/* the other way round, nothing is allowed */
	for (int i = 0; i < facts->n_ops && !proved; i++)
		proved = facts->ops[i]->kind == ATP_OP_NOT && atp_try_node(proof, atp_facts_make(op->node), facts->ops[i]->node, where);
	proof->lenient = lenient;
	return proved || atp_proof_tell(proof, STEP(where, op->keyword), "undecided",
			"not proved: nothing that %s accepts is what %s excludes", FROM, TO);
}

static bool
prove_if(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved;

	proved = op->branch.then == NULL || atp_try_node(proof, atp_facts_with(facts, op->branch.condition, NULL), op->branch.then, where);
	if (proved && op->branch.otherwise != NULL)
		proved = atp_try_node(proof, facts, op->branch.otherwise, where) || atp_try_node(proof, facts, op->branch.condition, where);
	return proved || atp_proof_tell(proof, STEP(where, op->keyword), "undecided",
			"not proved: what %s accepts meets the condition of %s", FROM, TO);
}

/* ---- the proof ---- */

static bool
prove_directly(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	switch (op->kind)
	{
		case ATP_OP_TYPE:
			return prove_type(proof, facts, op, where);
		case ATP_OP_CONST:
		case ATP_OP_ENUM:
			return atp_proof_tell(proof, STEP(where, op->keyword), "value", "%s accepts other values than those that %s lists", FROM, TO);
		case ATP_OP_MINIMUM:
		case ATP_OP_EXCLUSIVE_MINIMUM:
		case ATP_OP_MAXIMUM:
		case ATP_OP_EXCLUSIVE_MAXIMUM:
		case ATP_OP_MULTIPLE_OF:
			return atp_prove_number(proof, facts, op, where);
		case ATP_OP_MIN_LENGTH:
		case ATP_OP_MAX_LENGTH:
		case ATP_OP_MIN_ITEMS:
		case ATP_OP_MAX_ITEMS:
		case ATP_OP_MIN_PROPERTIES:
		case ATP_OP_MAX_PROPERTIES:
			return atp_prove_count(proof, facts, op, where);
		case ATP_OP_PATTERN:
		case ATP_OP_FORMAT:
			return atp_prove_text(proof, facts, op, where);
		case ATP_OP_DEPENDENT_REQUIRED:
			return atp_prove_dependent_required(proof, facts, op, where);
		case ATP_OP_OBJECT:
			return atp_prove_object(proof, facts, op, where);
		case ATP_OP_PROPERTY_NAMES:
			return atp_prove_property_names(proof, facts, op, where);
		case ATP_OP_ARRAY:
			return atp_prove_array(proof, facts, op, where);
		case ATP_OP_CONTAINS:
			return atp_prove_contains(proof, facts, op, where);
		case ATP_OP_UNIQUE_ITEMS:
			return atp_facts_has(facts, ATP_OP_UNIQUE_ITEMS) || atp_facts_most(facts, ATP_OP_MAX_ITEMS) <= 1 ||
				atp_proof_tell(proof, STEP(where, op->keyword), "unique", "%s demands that items differ, %s does not", TO, FROM);
		case ATP_OP_REF:
			return atp_prove_node(proof, facts, op->node, STEP(where, op->keyword));
		case ATP_OP_ANY_OF:
			return prove_any_of(proof, facts, op, where);
		case ATP_OP_ONE_OF:
			return prove_one_of(proof, facts, op, where);
		case ATP_OP_NOT:
			return prove_not(proof, facts, op, where);
		case ATP_OP_IF:
			return prove_if(proof, facts, op, where);
		case ATP_OP_DEPENDENT_SCHEMAS:
			return atp_prove_dependent_schemas(proof, facts, op, where);
		default:
			return atp_proof_tell(proof, STEP(where, op->keyword), "undecided",
					"not proved: the keyword %s can only be compared where all beside it is equal",
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
prove_by_choice(AtpProof *proof, const AtpFacts *facts, const AtpOp *choice, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = true;

	if (proof->budget < 0)
		return false;
	if (choice->kind == ATP_OP_IF)
	{
		AtpFacts   *then = atp_facts_with(facts, choice->branch.condition, choice);
		AtpFacts   *otherwise = atp_facts_with(facts, choice->branch.otherwise, choice);

		if (choice->branch.then != NULL)
			then = atp_facts_with(then, choice->branch.then, NULL);
		proved = prove_op(proof, then, op, where);
		return prove_op(proof, otherwise, op, where) && proved;
	}
	for (int i = 0; i < choice->list.n && (proved || !proof->quiet) && proof->budget >= 0; i++)
		proved &= prove_op(proof, atp_facts_with(facts, choice->list.nodes[i], choice), op, where);
	return proved && proof->budget >= 0;
}

static bool
prove_by_types(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
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
prove_op(AtpProof *proof, const AtpFacts *all, const AtpOp *op, const AtpWhere *where)
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
	if (is_exhausted(proof, facts))
		return atp_proof_tell(proof, where, "undecided", "not proved: the schemas are too intricate");
	if (facts->finite)
	{
		AtpNode		node = {.kind = ATP_NODE_RULES, .n_ops = 1, .ops = unconstify(AtpOp *, op)};
		const AtpJson *refused;

		return !refused_value(facts, &node, &refused) ||
			atp_proof_tell(proof, STEP(where, op->keyword), "value", "%s accepts %s, %s does not", FROM, atp_proof_value_text(refused),
					TO);
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
find_claim(const AtpProof *proof, const AtpFacts *facts, const AtpNode *node)
{
	for (int i = proof->n_claims - 1; i >= 0; i--)
	{
		const AtpClaim *claim = &proof->claims[i];

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
begin_claim(AtpProof *proof, const AtpFacts *facts, const AtpNode *node)
{
	if (proof->n_claims == proof->claims_size)
	{
		proof->claims_size = Max(64, 2 * proof->claims_size);
		proof->claims = proof->claims ? repalloc_huge(proof->claims, sizeof(AtpClaim) * (Size) proof->claims_size) :
			palloc(sizeof(AtpClaim) * (Size) proof->claims_size);
	}
	proof->claims[proof->n_claims] = (AtpClaim) {node, facts, proof->depth, proof->lenient, false};
	return proof->n_claims++;
}

static bool
prove_ops(AtpProof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	bool		proved = true;

	for (int i = 0; i < node->n_ops && (proved || !proof->quiet); i++)
	{
		const AtpOp *op = &node->ops[i];

		if (op->kind == ATP_OP_ALL_OF)
		{
			for (int j = 0; j < op->list.n && (proved || !proof->quiet); j++)
				proved &= atp_prove_node(proof, facts, op->list.nodes[j], STEP_INDEX(STEP(where, op->keyword), j));
			continue;
		}
		if (op->kind == ATP_OP_REF)
		{
			proved &= atp_prove_node(proof, facts, op->node, STEP(where, op->keyword));
			continue;
		}
		proved &= prove_op(proof, facts, op, where);
		/* what was told of a type is not told again of what the type brings with it */
		if (op->kind == ATP_OP_TYPE)
			facts = atp_facts_of_types(facts, op->type_mask | (op->type_mask & ATP_JSON_NUMBER ? ATP_JSON_INTEGER : 0));
	}
	return proved;
}

bool
atp_prove_node(AtpProof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where)
{
	const AtpJson *refused;
	int			claim;
	bool		proved;

	if (node->kind == ATP_NODE_TRUE || facts->mask == 0)
		return true;
	CHECK_FOR_INTERRUPTS();
	check_stack_depth();
	if (is_exhausted(proof, facts))
		return atp_proof_tell(proof, where, "undecided", "not proved: the schemas are too intricate");
	if (facts->finite)
		return !refused_value(facts, node, &refused) ||
			atp_proof_tell(proof, where, "value", "%s accepts %s, %s does not", FROM, atp_proof_value_text(refused), TO);
	if (node->kind == ATP_NODE_FALSE)
		return atp_facts_empty(facts) ||
			atp_proof_tell(proof, where, "false", "%s accepts a value where %s accepts none", FROM, TO);
	for (int i = 0; i < facts->n_nodes; i++)
		if (atp_same_node(facts->nodes[i], node))
			return true;
	switch (find_claim(proof, facts, node))
	{
		case CLAIM_HOLDS:
			return true;
		case CLAIM_LOOPS:
			return atp_proof_tell(proof, where, "undecided", "not proved: %s applies a schema to the same value again and again", TO);
		case CLAIM_NONE:
			break;
	}
	if (node->unevaluated)
		return atp_proof_tell(proof, where, "undecided",
				"not proved: a schema with unevaluatedProperties or unevaluatedItems is compared only as a whole");
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
	AtpProof		proof = {.containment = containment, .lenient = containment->lenient, .budget = BUDGET};
	AtpWhere	root = {0};

	return atp_prove_node(&proof, atp_facts_make(from), to, &root);
}

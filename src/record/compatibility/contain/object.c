/* The proof of containment: objects. */
#include "record/compatibility/contain/proof.h"

#include "record/validator/evaluate.h"

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
prove_own_member(AtpProof *proof, const Object *object, const AtpFacts *member, const AtpNode *node, const char *key, int len)
{
	const AtpWhere *where = STEP_KEY(STEP(object->where, "properties"), key, len);
	bool		quiet = proof->quiet;
	bool		proved;

	if (member->n_ops > 0 || is_mentioned(object, key, len))
		return atp_prove_child(proof, member, node, where);
	proof->quiet = true;
	proved = atp_prove_child(proof, member, node, where);
	proof->quiet = quiet;
	return proved || atp_proof_tell(proof, where, "property_added", "%s accepts any value of property \"%.*s\", which %s restricts",
			FROM, len, key, TO);
}

/* A name of the instance against each of the rules of B that apply to it. */
static bool
prove_member(AtpProof *proof, const Object *object, const char *key, int len)
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
			proved &= atp_prove_child(proof, member, pattern->node,
								  STEP_KEY(STEP(object->where, "patternProperties"), pattern->source, pattern->len));
		}
	if (covered || is_open(rule->additional))
		return proved;
	if (rule->additional->kind == ATP_NODE_FALSE)
		return atp_facts_empty(member) || atp_proof_tell(proof, STEP(object->where, "additionalProperties"), "closed",
											   "%s accepts property \"%.*s\", which %s does not know", FROM, len, key, TO);
	return atp_prove_child(proof, member, rule->additional, STEP(object->where, "additionalProperties")) && proved;
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
prove_others_by_patterns(AtpProof *proof, const Others *others, const AtpObjectRule *known, bool *settled)
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
			return atp_prove_child(proof, atp_facts_make(pattern->node), others->node, others->where);
		}
		for (int j = 0; j < rule->n_patterns && others->target == NULL && !elsewhere; j++)
			elsewhere = is_name(pattern->source, pattern->len, rule->patterns[j].source, rule->patterns[j].len);
		if (!elsewhere && !atp_prove_child(proof, atp_facts_make(pattern->node), others->node, others->where))
			return false;
	}
	return true;
}

/* Any one rule of A may be enough; what those without patterns say of the rest is taken together. */
static bool
prove_others_by_rules(AtpProof *proof, const Others *others)
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
						 atp_prove_child(proof, atp_facts_make(known->additional), others->node, others->where))))
			return true;
		if (known->n_patterns == 0)
			together = together == NULL ? atp_facts_make(known->additional) : atp_facts_with(together, known->additional, NULL);
	}
	return together != NULL && atp_prove_child(proof, together, others->node, others->where);
}

/* No names are there but those declared: so these match a pattern of some rule of A. */
static bool
prove_others_as_declared(AtpProof *proof, const Others *others)
{
	const AtpFacts *facts = others->object->facts;
	bool		settled;

	for (int i = 0; i < facts->n_ops; i++)
		if (facts->ops[i]->kind == ATP_OP_OBJECT && !prove_others_by_patterns(proof, others, facts->ops[i]->object, &settled))
			return false;
	return true;
}

static bool
prove_others(AtpProof *proof, const Object *object, const AtpPatternMember *target, const AtpNode *node, const AtpWhere *where)
{
	static const AtpNode anything = {.kind = ATP_NODE_TRUE};
	Others		others = {object, target, node, where};
	bool		quiet = proof->quiet;
	bool		proved;

	if (node->kind == ATP_NODE_TRUE || atp_facts_names(object->facts)->finite)
		return true;
	proof->quiet = true;
	proved = prove_others_by_rules(proof, &others) || (object->as_declared && prove_others_as_declared(proof, &others)) ||
		atp_prove_child(proof, atp_facts_make(&anything), node, where);
	proof->quiet = quiet;
	return proved || atp_proof_tell(proof, where, "closed", target == NULL ? "%s accepts other properties than those that %s allows" :
						  "%s accepts values of properties with such names, which %s does not allow", FROM, TO);
}

static bool
prove_required(AtpProof *proof, const Object *object)
{
	bool		proved = true;

	for (int i = 0; i < object->rule->n_members && (proved || !proof->quiet); i++)
	{
		const AtpMember *member = &object->rule->members[i];

		if (member->required && !atp_facts_require(object->facts, member->key, member->len))
			proved = atp_proof_tell(proof, STEP(object->where, "required"), "required", "%s requires property \"%.*s\", %s does not",
					TO, member->len,
						  member->key, FROM);
	}
	return proved;
}

bool
atp_prove_object(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
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
bool
atp_prove_property_names(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	AtpFacts   *names = atp_facts_names(facts);
	bool		proved;

	proof->depth++;
	proved = atp_try_node(proof, names, op->node, where);
	proof->depth--;
	if (proved)
		return true;
	if (atp_facts_closed_size(facts) == PG_INT32_MAX)
		return atp_proof_tell(proof, STEP(where, op->keyword), "property_names",
				"%s does not restrict the names of properties as %s does", FROM, TO);
	for (int i = 0; i < facts->n_ops; i++)
		for (int j = 0; facts->ops[i]->kind == ATP_OP_OBJECT && j < facts->ops[i]->object->n_members; j++)
		{
			const AtpMember *member = &facts->ops[i]->object->members[j];
			AtpJson		name = {.type = ATP_JSON_STRING, .len = member->len, .string = member->key};

			if ((!atp_evaluate_node(op->node, &name, true) || !atp_evaluate_node(op->node, &name, false)) &&
				atp_facts_member(facts, member->key, member->len)->mask != 0)
				return atp_proof_tell(proof, STEP(where, op->keyword), "property_names",
						"%s accepts property \"%.*s\", whose name %s refuses", FROM,
							member->len, member->key, TO);
		}
	return true;
}

bool
atp_prove_dependent_required(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
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
				proved = atp_proof_tell(proof, STEP(where, op->keyword), "required",
						"%s requires property \"%.*s\" beside \"%.*s\", %s does not", TO,
							  name.len, name.string, item->len, item->key, FROM);
	}
	return proved;
}

bool
atp_prove_dependent_schemas(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where)
{
	bool		proved = true;

	for (int i = 0; i < op->dependency.n && (proved || !proof->quiet); i++)
	{
		const AtpDependency *item = &op->dependency.items[i];

		if (atp_facts_member(facts, item->key, item->len)->mask == 0 ||
			atp_try_node(proof, atp_facts_beside(facts, item->key, item->len), item->node, where))
			continue;
		proved = atp_proof_tell(proof, STEP_KEY(STEP(where, op->keyword), item->key, item->len), "undecided",
					  "not proved: an object with property \"%.*s\" that %s accepts is what %s then demands", item->len, item->key,
							FROM, TO);
	}
	return proved;
}

/* What the parts of the proof of containment (contain.c) share: its state, and how differences are told. */
#ifndef ATP_COMPATIBILITY_PROOF_H
#define ATP_COMPATIBILITY_PROOF_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "record/compatibility/facts.h"
#include "record/validator/where.h"

typedef struct AtpDifference
{
	char	   *location;		/* JSON pointer into the schema that should accept, through $ref */
	const char *kind;
	char	   *why;
} AtpDifference;

typedef struct AtpContainment
{
	const char *from;			/* what the sentences call the two: "the old schema" */
	const char *to;
	bool		lenient;		/* instances of `from` have no members but those that it declares */
	List	   *differences;	/* of AtpDifference, in the current memory context */
} AtpContainment;

typedef struct AtpClaim
{
	const AtpNode *to;
	const AtpFacts *facts;		/* none that are a finite set */
	int			depth;
	bool		lenient;
	bool		proved;
} AtpClaim;

typedef struct AtpProof
{
	AtpContainment *containment;
	bool		lenient;
	bool		quiet;			/* differences are not told: it is only a try */
	int			depth;			/* members, items and names gone down */
	int			level;			/* of recursion */
	int			budget;
	int			n_claims;
	int			claims_size;
	AtpClaim   *claims;
} AtpProof;

/* The names of the two schemas, and steps of a place on the stack. */
#define FROM (proof->containment->from)
#define TO (proof->containment->to)
#define STEP(parent, token_text) (&(AtpWhere) {(parent), (token_text), (int) strlen(token_text), 0})
#define STEP_KEY(parent, key, key_len) (&(AtpWhere) {(parent), (key), (key_len), 0})
#define STEP_INDEX(parent, at) (&(AtpWhere) {(parent), NULL, 0, (at)})

/* Tells a difference, unless the proof is a quiet try; always false. */
extern bool atp_proof_tell(AtpProof *proof, const AtpWhere *where, const char *kind, const char *format,...) pg_attribute_printf(4, 5);
extern const char *atp_proof_number_text(Numeric number);
extern const char *atp_proof_mask_text(int mask);
extern const char *atp_proof_value_text(const AtpJson *value);

/*
 * Every instance of the facts is valid against the node. The second is for a member, an item or a name of the instance; the third
 * tells nothing.
 */
extern bool atp_prove_node(AtpProof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where);
extern bool atp_prove_child(AtpProof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where);
extern bool atp_try_node(AtpProof *proof, const AtpFacts *facts, const AtpNode *node, const AtpWhere *where);

/* The same of one operation about objects, arrays, numbers or strings. */
extern bool atp_prove_object(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_property_names(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_dependent_required(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_dependent_schemas(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_array(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_contains(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_number(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_count(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);
extern bool atp_prove_text(AtpProof *proof, const AtpFacts *facts, const AtpOp *op, const AtpWhere *where);

#endif

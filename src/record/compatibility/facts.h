/*
 * What is known of an instance: that it is valid against each of some nodes, and what follows from that. Everything here errs to one
 * side only: what is said to hold does hold of every such instance. (The nodes are of trees without dynamic references.)
 *
 * The facts live in the current memory context, and are not changed once made.
 */
#ifndef ATP_COMPATIBILITY_FACTS_H
#define ATP_COMPATIBILITY_FACTS_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "record/validator/tree.h"

typedef struct AtpFacts
{
	int			mask;			/* the types that it can have: AtpJsonType, where NUMBER means those that are no integers */
	bool		finite;			/* it is one of these values */
	int			n_values;
	AtpJson    *values;
	int			n_nodes;
	const AtpNode **nodes;
	int			n_ops;			/* the operations of the nodes, through $ref and allOf, but for the alternatives that were chosen from */
	const AtpOp **ops;
} AtpFacts;

#define ATP_FACTS_REST (-1)		/* the items behind all that have a place of their own */

extern AtpFacts *atp_facts_make(const AtpNode *node);

/* And the instance is valid against the node too. `chosen` (or NULL) is the operation that the node is an alternative of. */
extern AtpFacts *atp_facts_with(const AtpFacts *facts, const AtpNode *node, const AtpOp *chosen);

/* And it has one of these types. */
extern AtpFacts *atp_facts_of_types(const AtpFacts *facts, int mask);

/* The types, as bits of a mask, that an operation says something about. */
extern int	atp_facts_types(const AtpOp *op);

/* Is the value valid against all the nodes, where formats assert or where they do not? */
extern bool atp_facts_accept(const AtpFacts *facts, const AtpJson *value, bool assert_formats);

/* True: there is no such instance. */
extern bool atp_facts_empty(const AtpFacts *facts);

/* Of an object: what is known of the member of a name, if there is one; an empty mask means there cannot be one. */
extern AtpFacts *atp_facts_member(const AtpFacts *facts, const char *key, int len);
extern bool atp_facts_require(const AtpFacts *facts, const char *key, int len);

/* Must the name be there beside the key? And what is known of an object that has the key. */
extern bool atp_facts_depend(const AtpFacts *facts, const char *key, int len, const AtpJson *name);
extern AtpFacts *atp_facts_beside(const AtpFacts *facts, const char *key, int len);

/*
 * The names (AtpJson strings) that the schema mentions as those of members, in alternatives and conditions too. *open: all other
 * members, but for those that a pattern of the facts' own operations matches, are there only because objects are open.
 */
extern List *atp_facts_mentioned(const AtpFacts *facts, bool *open);

/* Has it an operation of this kind? */
extern bool atp_facts_has(const AtpFacts *facts, AtpOpKind kind);

/* Of an object: what is known of its names. */
extern AtpFacts *atp_facts_names(const AtpFacts *facts);

/* Of an array: what is known of the item at an index, or of the rest; and how many have a place of their own. */
extern AtpFacts *atp_facts_item(const AtpFacts *facts, int index);
extern int	atp_facts_places(const AtpFacts *facts);

/* The largest of the minima, the smallest of the maxima that operations of this kind state; 0 or PG_INT32_MAX where there is none. */
extern int	atp_facts_least(const AtpFacts *facts, AtpOpKind kind);
extern int	atp_facts_most(const AtpFacts *facts, AtpOpKind kind);

/* Of a number: is it at least (or greater than) this, at most (or less than) this? */
extern bool atp_facts_above(const AtpFacts *facts, Numeric bound, bool exclusive);
extern bool atp_facts_below(const AtpFacts *facts, Numeric bound, bool exclusive);

/* How many properties an object has at most, counting those declared, if nothing else can be in it; else PG_INT32_MAX. */
extern int	atp_facts_closed_size(const AtpFacts *facts);

#endif

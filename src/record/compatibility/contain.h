/*
 * The proof that every instance which one schema accepts is accepted by another.
 *
 * It is sound: what it calls proved holds, under either setting of atp.schema_format_assertion. It is not complete: what it cannot
 * prove counts as not contained, and where it has no counter-example in hand the kind of the difference is "undecided".
 */
#ifndef ATP_COMPATIBILITY_CONTAIN_H
#define ATP_COMPATIBILITY_CONTAIN_H

#include "postgres.h"

#include "nodes/pg_list.h"

#include "record/validator/tree.h"

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

/* Is every instance of `from` one of `to`? Lists the differences where not. The trees have no dynamic references. */
extern bool atp_contained(const AtpNode *from, const AtpNode *to, AtpContainment *containment);

#endif

/*
 * The proof that every instance which one schema accepts is accepted by another.
 *
 * It is sound: what it calls proved holds, under either setting of atp.schema_format_assertion. It is not complete: what it cannot
 * prove counts as not contained, and where it has no counter-example in hand the kind of the difference is "undecided".
 */
#ifndef ATP_COMPATIBILITY_CONTAIN_H
#define ATP_COMPATIBILITY_CONTAIN_H

#include "postgres.h"

#include "record/compatibility/contain/proof.h"

/* Is every instance of `from` one of `to`? Lists the differences where not. The trees have no dynamic references. */
extern bool atp_contained(const AtpNode *from, const AtpNode *to, AtpContainment *containment);

#endif

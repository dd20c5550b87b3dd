/* Are two compiled schemas the same, rule by rule? Then they accept the same instances. */
#ifndef ATP_COMPATIBILITY_SAME_H
#define ATP_COMPATIBILITY_SAME_H

#include "postgres.h"

#include "record/validator/tree.h"

/* Of trees without dynamic references. False says nothing about what they accept. */
extern bool atp_same_node(const AtpNode *a, const AtpNode *b);
extern bool atp_same_op(const AtpOp *a, const AtpOp *b);

#endif

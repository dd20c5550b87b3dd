/* Validation: a compiled schema over an instance. */
#ifndef ATP_VALIDATOR_EVALUATE_H
#define ATP_VALIDATOR_EVALUATE_H

#include "record/validator/tree.h"

/* One unit of the standard's basic output. */
typedef struct AtpSchemaError
{
	char	   *instance_location;	/* JSON pointer */
	char	   *keyword_location;	/* JSON pointer along the evaluation, through $ref */
	const char *keyword;
	char	   *message;
} AtpSchemaError;

typedef struct AtpSchemaReport
{
	int			n;
	int			size;
	int			max;			/* further errors are not told; 0: all are */
	AtpSchemaError *errors;
} AtpSchemaReport;

/* The same for one node, of a tree without dynamic references. */
extern bool atp_evaluate_node(const AtpNode *node, const AtpJson *value, bool assert_formats);
extern bool atp_evaluate(const AtpTree *tree, const Jsonb *instance, bool assert_formats, AtpSchemaReport *report);

#endif

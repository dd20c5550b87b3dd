/*
 * The compilation of one schema, as its keywords see it.
 */
#ifndef ATP_VALIDATOR_KEYWORD_H
#define ATP_VALIDATOR_KEYWORD_H

#include "record/validator/document.h"

typedef struct AtpCompiler AtpCompiler;

typedef struct AtpBuild
{
	AtpCompiler *compiler;
	AtpLibrary *library;
	AtpResource *resource;
	AtpJson		schema;
	const AtpWhere *where;
	const AtpKeyword *keyword;	/* at work */
	List	   *ops;			/* of AtpOp */
	AtpObjectRule *object;		/* NULL: no operation yet */
	AtpArrayRule *array;
} AtpBuild;

/* Compiles the keyword at work, whose value this is. Raises TP213. */
extern void atp_keyword_compile(AtpBuild *build, const AtpJson *value);

/* What keywords ask of the compiler. */
extern AtpNode *atp_build_subschema(AtpBuild *build, const AtpJson *schema, const AtpWhere *where);
extern AtpNode *atp_build_reference(AtpBuild *build, const char *reference, const AtpWhere *where,
									const char **dynamic);
extern int	atp_build_dynamic_name(AtpBuild *build, const char *name);

#endif

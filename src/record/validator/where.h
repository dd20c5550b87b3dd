/*
 * A place in a document as a chain of steps to the root, each on the stack or in the memory of whoever stands there: it
 * costs a few stores to keep, and becomes a JSON pointer only when somebody is to be told.
 */
#ifndef ATP_VALIDATOR_WHERE_H
#define ATP_VALIDATOR_WHERE_H

#include "lib/stringinfo.h"

typedef struct AtpWhere
{
	const struct AtpWhere *parent;	/* NULL: this is the root, which has no token */
	const char *token;			/* NULL: the token is the index */
	int			len;
	int			index;
} AtpWhere;

extern void atp_where_append(StringInfo out, const AtpWhere *where);
extern char *atp_where_text(const AtpWhere *where);

#endif

/* Places as JSON pointers (RFC 6901). */
#include "postgres.h"

#include "miscadmin.h"

#include "record/validator/where.h"

/* Appends the pointer. A chain may be as long as a document is deep, so no recursion. */
void
atp_where_append(StringInfo out, const AtpWhere *where)
{
	int			depth = 0;
	const AtpWhere **steps;

	for (const AtpWhere *w = where; w && w->parent; w = w->parent)
		depth++;
	steps = palloc(sizeof(AtpWhere *) * (Size) (depth + 1));
	for (int i = depth; i > 0; i--, where = where->parent)
		steps[i - 1] = where;
	for (int i = 0; i < depth; i++)
	{
		appendStringInfoChar(out, '/');
		if (steps[i]->token == NULL)
			appendStringInfo(out, "%d", steps[i]->index);
		for (int j = 0; steps[i]->token != NULL && j < steps[i]->len; j++)
		{
			char		c = steps[i]->token[j];

			if (c == '~' || c == '/')
				appendStringInfoString(out, c == '~' ? "~0" : "~1");
			else
				appendStringInfoChar(out, c);
		}
	}
	pfree(steps);
}

/* The pointer as a palloc'd string. */
char *
atp_where_text(const AtpWhere *where)
{
	StringInfoData out;

	initStringInfo(&out);
	atp_where_append(&out, where);
	return out.data;
}

/*
 * The schema registry as the append sees it: which schema judges a payload, and the verdict.
 *
 * Caches: the event type (record/eventtype) says which version is active; a table here says which stored schema a version is and
 * in what status; the compiled tree comes from record/validator by the stored schema's key, which stands for one text for ever.
 * The first two are emptied when their table changes, so a backend sees a new version with its next look-up after the commit.
 */
#ifndef ATP_SCHEMA_H
#define ATP_SCHEMA_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "pg/compat.h"
#include "record/eventtype.h"
#include "record/validator.h"

#define ATP_SCHEMA_ANY 0		/* the active version, if there is one */

typedef struct AtpSchemaVerdict
{
	int32		version;		/* that the payload was validated against; 0: none */
	AtpSchemaReport *errors;	/* NULL: the payload is valid, or nobody looked; in the current memory context */
} AtpSchemaVerdict;

/*
 * Judges a payload (detoasted) as an append does, by the active version or the one named. At most 11 errors are told. Raises TP220 and
 * TP223 for a named version that is missing, a draft or retired; TP213 to TP215 and 54000 where the schema cannot be run.
 */
extern AtpSchemaVerdict atp_schema_judge(const AtpEventType *type, const Jsonb *payload, int32 named);

/* Is the version one that readers are served: active, or deprecated and before its sunset? */
extern bool atp_schema_is_served(const AtpEventType *type, int32 version);

/* Raises TP221 with the errors of a verdict. */
pg_noreturn extern void atp_schema_refuse(const AtpEventType *type, const AtpSchemaVerdict *verdict);

extern void atp_schema_init(void);

#endif

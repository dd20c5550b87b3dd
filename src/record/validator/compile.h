/* From a schema to the tree that validation runs over. */
#ifndef ATP_VALIDATOR_COMPILE_H
#define ATP_VALIDATOR_COMPILE_H

#include "record/validator/document.h"

extern AtpTree *atp_compile(const Jsonb *schema, MemoryContext context, List **documents);

#endif

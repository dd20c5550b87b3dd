/* The registry of schema documents, as C code reads it. */
#ifndef ATP_VALIDATOR_REGISTRY_H
#define ATP_VALIDATOR_REGISTRY_H

#include "utils/jsonb.h"

extern Jsonb *atp_registry_fetch(const char *uri);
extern uint64 atp_registry_generation(void);

#endif

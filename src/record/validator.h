/*
 * JSON Schema validation for the rooms above: schemas compiled once per backend, run over jsonb.
 *
 * A validator that a get function returns may be used until the next call of one, or until the backend accepts
 * invalidations (opens a relation, say). Who keeps it longer holds it and releases it; a reset callback of the memory
 * context that keeps the pointer is the place, because it also runs on ERROR. A held validator stays what it was when
 * it was compiled; atp_validator_is_fresh tells whether the documents that it refers to may have changed since.
 */
#ifndef ATP_VALIDATOR_H
#define ATP_VALIDATOR_H

#include "record/validator/evaluate.h"

typedef struct AtpValidator AtpValidator;

/* Fetches the schema of a key, which is the same for ever: an immutable row of a registry. The result is palloc'd. */
typedef Jsonb *(*AtpSchemaFetch) (uint64 key, void *arg);

extern void atp_validator_init(void);
extern AtpValidator *atp_validator_get(const Jsonb *schema);
extern AtpValidator *atp_validator_get_keyed(uint64 key, AtpSchemaFetch fetch, void *arg);
extern bool atp_validator_is_fresh(const AtpValidator *validator);
extern void atp_validator_hold(AtpValidator *validator);
extern void atp_validator_release(AtpValidator *validator);
extern const AtpTree *atp_validator_tree(const AtpValidator *validator);
extern bool atp_validator_run(AtpValidator *validator, const Jsonb *instance);
extern AtpSchemaReport *atp_validator_report(AtpValidator *validator, const Jsonb *instance, int max_errors);

#endif

/*
 * The canonical form of a jsonb, written straight from its stored bytes: the backend's producer for core/canon. The other one is
 * core/json, from text; both write the same bytes for the same document.
 */
#ifndef ATP_CANONICAL_H
#define ATP_CANONICAL_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/palloc.h"

#include "core/canon.h"

/* Grows memory of core in the memory context `context`; raises where there is none. */
extern void *atp_grow_palloc(void *context, void *memory, size_t size);

/* Makes a buffer that grows in a memory context, past 1 GB if it must. Free it with pfree(buf.data), or with the context. */
extern void atp_buf_init_palloc(AtpBuf *buf, MemoryContext context);

/*
 * Appends the canonical form of a (detoasted) document. Raises TP208 where the profile cannot write a number, 0A000 unless the
 * database is in UTF8, 54001 for a document nested deeper than the stack bears. What was appended before an error stays.
 */
extern void atp_canonical_jsonb(Jsonb *in, AtpCanonProfile profile, AtpBuf *out);

/* The same for an array or object inside a document, which must not be the pseudo-array around a scalar. */
extern void atp_canonical_container(const JsonbContainer *container, AtpCanonProfile profile, AtpBuf *out);

/*
 * How deep arrays and objects nest: 0 for a scalar, 1 for one that holds scalars only. Stops looking at `limit` + 1, which it then
 * returns: so "> limit" is the question to ask, and a document made to exhaust the stack is refused, not walked.
 */
extern int	atp_jsonb_depth(Jsonb *in, int limit);

#endif

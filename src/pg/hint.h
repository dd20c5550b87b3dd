/*
 * Where rows were seen last: a table of hints, so that a row that is looked up by name again and again costs a visit to its page, and no
 * descent of an index. With preload all backends share the table; without, each has its own.
 *
 * A hint may be wrong in every way (the row moved, was deleted, is another's; the key is another's of the same bits): whoever uses one
 * compares what it finds with what it wanted, and asks the index otherwise.
 */
#ifndef ATP_HINT_H
#define ATP_HINT_H

#include "postgres.h"

#include "storage/buf.h"
#include "storage/itemptr.h"

/* The key of a row of this database: of its name in a space of names (a tenant). */
extern uint64 atp_hint_key(uint32 space, const char *name);

/* Where the row's index entry points, and the buffer that its page was in (InvalidBuffer: not known); false: there is no hint. */
extern bool atp_hint_get(uint64 key, ItemPointer place, Buffer *buffer);

extern void atp_hint_set(uint64 key, const ItemPointerData *place, Buffer buffer);

extern void atp_hint_init(void);

#endif

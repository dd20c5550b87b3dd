/*
 * The declared operations of an upcaster, over jsonb. Each is an object:
 *
 *	{"op": "rename", "path": "/a/b", "to": "c"}				the member gets another name in the same object
 *	{"op": "move", "path": "/a/b", "to": "/c/d"}			it goes elsewhere; objects on the way are made
 *	{"op": "default", "path": "/a", "value": 1}				it is set where it is missing
 *	{"op": "drop", "path": "/a"}
 *	{"op": "map", "path": "/a", "values": [[1, "one"], ...]}	its value is replaced; one that is not listed becomes "otherwise",
 *															or stays where that is missing
 *
 * Paths are JSON pointers. Where the path leads to nothing, rename, move, drop and map do nothing.
 */
#ifndef ATP_UPCASTER_OPERATION_H
#define ATP_UPCASTER_OPERATION_H

#include "postgres.h"

#include "utils/jsonb.h"

/* Raises TP226 unless the document is a list of operations. */
extern void atp_operations_require(Jsonb *operations);

/* Applies them in order. Raises TP227 where a rename or a move meets a member that is there. */
extern Jsonb *atp_operations_apply(Jsonb *operations, Jsonb *payload);

#endif

/*
 * The documents that one compilation reads: their schema resources, identifiers and anchors, and what a reference
 * points at.
 */
#ifndef ATP_VALIDATOR_DOCUMENT_H
#define ATP_VALIDATOR_DOCUMENT_H

#include "nodes/pg_list.h"
#include "utils/hsearch.h"

#include "record/validator/dialect.h"
#include "record/validator/tree.h"
#include "record/validator/where.h"

/* Marks the root of a resource with $recursiveAnchor; no $dynamicAnchor may have this name. */
#define ATP_RECURSIVE_ANCHOR "$recursive"

/* A schema resource: a schema with an identifier of its own, and what is inside it up to the next such. */
typedef struct AtpResource
{
	const char *uri;			/* absolute as far as known, without fragment; empty: none */
	AtpJson		root;
	AtpDialect	dialect;
	AtpScopeEntry *scope;
	List	   *dynamic_anchors;	/* of AtpAnchor */
} AtpResource;

typedef struct AtpAnchor
{
	const char *name;			/* key: URI, or URI#anchor */
	AtpResource *resource;
	AtpJson		schema;
	const char *dynamic;		/* name of the dynamic anchor; NULL: not one */
} AtpAnchor;

/* A subschema that is an object, by the place of its container. */
typedef struct AtpPlace
{
	const JsonbContainer *container;	/* key */
	AtpResource *resource;
	AtpNode    *node;			/* NULL: not compiled yet */
} AtpPlace;

typedef struct AtpDocument
{
	const Jsonb *text;
	AtpResource *resource;		/* of its root */
	bool		builtin;
	bool		mixed;			/* an embedded resource has another dialect */
} AtpDocument;

typedef struct AtpLibrary
{
	MemoryContext context;		/* of what outlives the compilation: documents, scopes */
	HTAB	   *names;			/* AtpAnchor by name */
	HTAB	   *places;			/* AtpPlace by container */
	List	   *documents;		/* of AtpDocument */
	List	   *resources;		/* of AtpResource */
	bool		uses_registry;
} AtpLibrary;

/* What a reference points at. */
typedef struct AtpTarget
{
	AtpJson		schema;
	AtpResource *resource;
	const char *dynamic;		/* the reference named a dynamic anchor, this one */
} AtpTarget;

extern AtpLibrary *atp_library_create(MemoryContext context);
extern AtpResource *atp_library_add(AtpLibrary *library, const char *uri, const Jsonb *document,
									const AtpDialect *dialect, bool builtin);
extern AtpPlace *atp_library_place(AtpLibrary *library, const AtpJson *schema, AtpResource *resource);
extern AtpTarget atp_library_resolve(AtpLibrary *library, AtpResource *from, const char *reference,
									 const AtpWhere *where);
extern AtpDialect atp_library_dialect(AtpLibrary *library, const char *metaschema);

#endif

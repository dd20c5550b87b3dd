/*
 * Documents, resources and references.
 *
 * A document is scanned when it comes in: wherever its dialect has subschemas (and nowhere else: what an enum or an
 * unknown keyword holds is no schema), $id opens a resource and $anchor names a place. A reference is resolved against
 * the URI of its resource and is looked for among the names known here, then the built-in meta-schemas, then the
 * registry; never on a network. A JSON pointer that leads to where the scan did not come (into an unknown keyword)
 * makes that place a schema of the resource on the way.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "pg/errors.h"
#include "record/validator/document.h"
#include "record/validator/metaschema.h"
#include "record/validator/registry.h"
#include "record/validator/uri.h"

#define METASCHEMA_CHAIN_MAX 8

static uint32
name_hash(const void *key, Size keysize)
{
	const char *name = *(const char *const *) key;

	return hash_bytes((const unsigned char *) name, (int) strlen(name));
}

static int
name_match(const void *a, const void *b, Size keysize)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* An empty library; its tables live in the current memory context. */
AtpLibrary *
atp_library_create(MemoryContext context)
{
	AtpLibrary *library = palloc0(sizeof(AtpLibrary));
	HASHCTL names = {.keysize = sizeof(char *),
					 .entrysize = sizeof(AtpAnchor),
					 .hash = name_hash,
					 .match = name_match,
					 .hcxt = CurrentMemoryContext};
	HASHCTL places = {.keysize = sizeof(JsonbContainer *), .entrysize = sizeof(AtpPlace), .hcxt = CurrentMemoryContext};

	library->context = context;
	library->names =
		hash_create("atp schema names", 64, &names, HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	library->places = hash_create("atp schema places", 256, &places, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	return library;
}

/* Gives a name to a schema. Two different schemas of one name are refused: a reference would be ambiguous. */
static AtpAnchor *
add_name(AtpLibrary *library, const char *name, AtpResource *resource, const AtpJson *schema)
{
	bool		found;
	AtpAnchor  *anchor = hash_search(library->names, &name, HASH_ENTER, &found);

	if (found)
	{
		if (atp_json_compare(&anchor->schema, schema) != 0)
			ereport(ERROR,
					(errcode(ATP_ERR_INVALID_SCHEMA),
					 errmsg("two schemas have the same identifier"),
					 errdetail("Both are \"%s\".", name)));
		return anchor;
	}
	anchor->resource = resource;
	anchor->schema = *schema;
	anchor->dynamic = NULL;
	return anchor;
}

static bool
string_member(const AtpJson *object, const char *key, char **value)
{
	AtpJson		member;

	if (object->type != ATP_JSON_OBJECT || !atp_value_member(object, key, (int) strlen(key), &member) ||
		member.type != ATP_JSON_STRING)
		return false;
	*value = atp_json_string_copy(&member);
	return true;
}

static bool
is_true_member(const AtpJson *object, const char *key)
{
	AtpJson		member;

	return atp_value_member(object, key, (int) strlen(key), &member) && member.type == ATP_JSON_BOOLEAN &&
		member.len == 1;
}

/* Makes a resource; its dialect is that of $schema, or the one given. */
static AtpResource *
add_resource(AtpLibrary *library, const char *uri, const AtpJson *root, const AtpDialect *dialect)
{
	AtpResource *resource = palloc0(sizeof(AtpResource));
	char	   *metaschema;

	resource->uri = uri;
	resource->root = *root;
	resource->dialect = *dialect;
	resource->scope = MemoryContextAllocZero(library->context, sizeof(AtpScopeEntry));
	if (string_member(root, "$schema", &metaschema))
		resource->dialect = atp_library_dialect(library, metaschema);
	library->resources = lappend(library->resources, resource);
	(void) add_name(library, uri, resource, root);
	return resource;
}

/* Notes the anchors of a schema. */
static void
add_anchors(AtpLibrary *library, const AtpJson *schema, AtpResource *resource, const char *fragment_id)
{
	AtpAnchor  *anchor;
	char	   *name;

	if (fragment_id)
		(void) add_name(library, psprintf("%s%s", resource->uri, fragment_id), resource, schema);
	if (resource->dialect.draft == ATP_DRAFT_07)
		return;
	if (string_member(schema, "$anchor", &name))
		(void) add_name(library, psprintf("%s#%s", resource->uri, name), resource, schema);
	if (resource->dialect.draft == ATP_DRAFT_2020 && string_member(schema, "$dynamicAnchor", &name))
		anchor = add_name(library, psprintf("%s#%s", resource->uri, name), resource, schema);
	else if (resource->dialect.draft == ATP_DRAFT_2019 && schema->container == resource->root.container &&
			 is_true_member(schema, "$recursiveAnchor"))
	{
		name = ATP_RECURSIVE_ANCHOR;
		anchor = add_name(library, psprintf("%s#%s", resource->uri, name), resource, schema);
	}
	else
		return;
	anchor->dynamic = name;
	resource->dynamic_anchors = lappend(resource->dynamic_anchors, anchor);
}

static void scan_schema(AtpLibrary *library, const AtpJson *schema, AtpResource *resource);

/* Scans the subschemas in the value of one keyword. */
static void
scan_keyword(AtpLibrary *library, AtpShape shape, const AtpJson *value, AtpResource *resource)
{
	AtpJsonCursor cursor;
	AtpJson		item;
	const char *key;
	int			key_len;

	if (shape == ATP_SHAPE_SCHEMA || (shape == ATP_SHAPE_SCHEMA_OR_LIST && value->type == ATP_JSON_OBJECT))
		scan_schema(library, value, resource);
	else if (value->type == ATP_JSON_ARRAY && (shape == ATP_SHAPE_LIST || shape == ATP_SHAPE_SCHEMA_OR_LIST))
	{
		atp_json_open(&cursor, value);
		while (atp_json_next_item(&cursor, &item))
			scan_schema(library, &item, resource);
	}
	else if (value->type == ATP_JSON_OBJECT && (shape == ATP_SHAPE_MAP || shape == ATP_SHAPE_MAP_OR_NAMES))
	{
		atp_json_open(&cursor, value);
		while (atp_json_next_member(&cursor, &key, &key_len, &item))
			scan_schema(library, &item, resource);
	}
}

/* Scans a schema and what is in it. In draft 7 a $ref silences everything beside it, but not at the root of a resource.
 */
static void
scan_schema(AtpLibrary *library, const AtpJson *schema, AtpResource *resource)
{
	bool		is_root = schema->container == resource->root.container;
	bool		found;
	AtpPlace   *place;
	AtpJsonCursor cursor;
	AtpJson		value;
	const char *key;
	int			key_len;
	char	   *id;
	char	   *fragment_id = NULL;

	if (schema->type != ATP_JSON_OBJECT)
		return;
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	place = hash_search(library->places, &schema->container, HASH_ENTER, &found);
	if (found)
		return;
	place->node = NULL;
	if (!(resource->dialect.draft == ATP_DRAFT_07 && !is_root && string_member(schema, "$ref", &id)) &&
		string_member(schema, "$id", &id))
	{
		if (id[0] == '#')
			fragment_id = resource->dialect.draft == ATP_DRAFT_07 && id[1] != '\0' ? id : NULL;
		else
		{
			const char *fragment;
			char	   *uri = atp_uri_without_fragment(atp_uri_resolve(resource->uri, id), &fragment);

			if (!is_root)
			{
				AtpResource *outer = resource;

				resource = add_resource(library, uri, schema, &outer->dialect);
				if (strcmp(resource->dialect.metaschema, outer->dialect.metaschema) != 0)
					((AtpDocument *) llast(library->documents))->mixed = true;
			}
			if (fragment && *fragment && resource->dialect.draft == ATP_DRAFT_07)
				fragment_id = psprintf("#%s", fragment);
		}
	}
	place->resource = resource;
	add_anchors(library, schema, resource, fragment_id);
	atp_json_open(&cursor, schema);
	while (atp_json_next_member(&cursor, &key, &key_len, &value))
	{
		const AtpKeyword *keyword = atp_keyword_find(&resource->dialect, key, key_len);

		if (keyword && keyword->shape != ATP_SHAPE_VALUE)
			scan_keyword(library, keyword->shape, &value, resource);
	}
}

/*
 * Adds a document under the URI it was found by (empty: none); it lives in library->context already. dialect: where it
 * does not say $schema. Its own $id is a second name of it, and the base of its references.
 */
AtpResource *
atp_library_add(AtpLibrary *library, const char *uri, const Jsonb *document, const AtpDialect *dialect, bool builtin)
{
	AtpJson		root = atp_json_root(document);
	AtpDocument *entry = palloc0(sizeof(AtpDocument));
	AtpResource *resource;
	char	   *id;

	entry->text = document;
	entry->builtin = builtin;
	library->documents = lappend(library->documents, entry);
	if (!string_member(&root, "$id", &id) || id[0] == '#')
		resource = add_resource(library, uri, &root, dialect);
	else
	{
		resource = add_resource(library, atp_uri_without_fragment(atp_uri_resolve(uri, id), NULL), &root, dialect);
		(void) add_name(library, uri, resource, &root);
	}
	entry->resource = resource;
	scan_schema(library, &root, resource);
	return resource;
}

/* The text of a document that is not in the library yet: built in, or of the registry. NULL: there is none. */
static Jsonb *
fetch_document(AtpLibrary *library, const char *uri, bool *builtin)
{
	MemoryContext old = MemoryContextSwitchTo(library->context);
	const char *text = atp_metaschema_text(uri);
	Jsonb	   *document;

	*builtin = text != NULL;
	if (text)
		document = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	else
	{
		library->uses_registry = true;
		document = atp_registry_fetch(uri);
	}
	MemoryContextSwitchTo(old);
	return document;
}

static void
document_not_found(const char *uri)
{
	ereport(ERROR,
			(errcode(ATP_ERR_SCHEMA_DOCUMENT_NOT_FOUND),
			 errmsg("schema document \"%s\" is not in the registry", uri),
			 errdetail("Documents are never fetched from a network."),
			 errhint("Register it with atp.add_schema_document(uri, document).")));
}

/* The vocabularies that a meta-schema declares. One that it requires and that is unknown here makes the schema
 * unusable. */
static int
read_vocabularies(const AtpJson *metaschema, const AtpDialect *parent)
{
	AtpJson		declared;
	AtpJson		required;
	AtpJsonCursor cursor;
	const char *key;
	int			key_len;
	int			result = ATP_VOCABULARY_CORE;

	if (metaschema->type != ATP_JSON_OBJECT || parent->draft == ATP_DRAFT_07 ||
		!atp_value_member(metaschema, "$vocabulary", 11, &declared) || declared.type != ATP_JSON_OBJECT)
		return parent->vocabularies;
	atp_json_open(&cursor, &declared);
	while (atp_json_next_member(&cursor, &key, &key_len, &required))
	{
		int			vocabulary = atp_vocabulary_find(key, key_len);
		bool		is_required = required.type == ATP_JSON_BOOLEAN && required.len == 1;

		if (vocabulary == 0 && is_required)
			ereport(ERROR,
					(errcode(ATP_ERR_INVALID_SCHEMA),
					 errmsg("the meta-schema requires a vocabulary that is not known"),
					 errdetail("It is \"%.*s\".", key_len, key)));
		if (vocabulary == ATP_VOCABULARY_FORMAT && is_required && parent->draft == ATP_DRAFT_2019)
			vocabulary |= ATP_VOCABULARY_FORMAT_ASSERTION;
		result |= vocabulary;
	}
	return result;
}

/* The dialect that a meta-schema stands for: a built-in one, or one in the registry that goes back to a built-in one.
 */
static AtpDialect
find_dialect(AtpLibrary *library, const char *metaschema, int chain)
{
	char	   *uri = atp_uri_without_fragment(metaschema, NULL);
	AtpDialect	dialect;
	AtpDialect	parent;
	AtpAnchor  *known;
	AtpJson		root;
	char	   *next;

	if (atp_dialect_builtin(uri, &dialect))
		return dialect;
	known = hash_search(library->names, &uri, HASH_FIND, NULL);
	if (known)
		root = known->schema;
	else
	{
		bool		builtin;
		Jsonb	   *document = fetch_document(library, uri, &builtin);

		if (document == NULL)
			document_not_found(uri);
		root = atp_json_root(document);
	}
	if (chain == 0)
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA),
				 errmsg("the dialect of a schema cannot be found out"),
				 errdetail("The chain of meta-schemas that begins with \"%s\" reaches no known one.", metaschema)));
	if (!string_member(&root, "$schema", &next))
		next = "https://json-schema.org/draft/2020-12/schema";
	parent = find_dialect(library, next, chain - 1);
	dialect.draft = parent.draft;
	dialect.vocabularies = read_vocabularies(&root, &parent);
	dialect.metaschema = uri;
	return dialect;
}

/* The dialect of a $schema. Raises TP213 or TP215 where it cannot be known. */
AtpDialect
atp_library_dialect(AtpLibrary *library, const char *metaschema)
{
	return find_dialect(library, metaschema, METASCHEMA_CHAIN_MAX);
}

/* The place of a subschema that is an object; one that the scan has not met belongs to the resource given. */
AtpPlace *
atp_library_place(AtpLibrary *library, const AtpJson *schema, AtpResource *resource)
{
	AtpPlace   *place = hash_search(library->places, &schema->container, HASH_FIND, NULL);

	if (place == NULL)
	{
		scan_schema(library, schema, resource);
		place = hash_search(library->places, &schema->container, HASH_FIND, NULL);
	}
	return place;
}

/* Follows one token of a JSON pointer; the token is unescaped in place. */
static bool
step_pointer(const AtpJson *at, char *token, AtpJson *next)
{
	char	   *out = token;
	long		index;
	char	   *end;

	for (char *in = token; *in; in++)
	{
		if (in[0] == '~' && (in[1] == '0' || in[1] == '1'))
			*out++ = *++in == '0' ? '~' : '/';
		else
			*out++ = *in;
	}
	*out = '\0';
	if (at->type == ATP_JSON_OBJECT)
		return atp_value_member(at, token, (int) strlen(token), next);
	if (at->type != ATP_JSON_ARRAY || token[0] < '0' || token[0] > '9' || (token[0] == '0' && token[1]))
		return false;
	errno = 0;
	index = strtol(token, &end, 10);
	return *end == '\0' && errno == 0 && index < at->len && atp_json_item(at, (int) index, next);
}

/* Follows a JSON pointer; the resource changes where the way enters an embedded one. */
static bool
follow_pointer(AtpLibrary *library, char *pointer, AtpTarget *target)
{
	while (pointer)
	{
		char	   *token = pointer + 1;
		AtpPlace   *place;

		pointer = strchr(token, '/');
		if (pointer)
			*pointer = '\0';
		if (!step_pointer(&target->schema, token, &target->schema))
			return false;
		if (target->schema.type == ATP_JSON_OBJECT)
		{
			place = hash_search(library->places, &target->schema.container, HASH_FIND, NULL);
			if (place)
				target->resource = place->resource;
		}
	}
	return true;
}

/* The resource of a URI without fragment, loading its document where it is not here yet. Raises TP215. */
static AtpResource *
find_resource(AtpLibrary *library, const char *uri, const AtpDialect *dialect)
{
	AtpAnchor  *known = hash_search(library->names, &uri, HASH_FIND, NULL);
	Jsonb	   *document;
	bool		builtin;

	if (known)
		return known->resource;
	document = fetch_document(library, uri, &builtin);
	if (document == NULL)
		document_not_found(uri);
	return atp_library_add(library, uri, document, dialect, builtin);
}

/* What a reference in a schema of the resource, at that place, points at. Raises TP213 where the document has no such place, TP215. */
AtpTarget
atp_library_resolve(AtpLibrary *library, AtpResource *from, const char *reference, const AtpWhere *where)
{
	AtpTarget	target = {0};
	const char *fragment;
	char	   *absolute = atp_uri_resolve(from->uri, reference);
	char	   *uri = atp_uri_without_fragment(absolute, &fragment);
	AtpResource *resource = find_resource(library, uri, &from->dialect);
	char	   *decoded = fragment ? atp_uri_percent_decode(fragment) : "";
	bool		found = true;

	target.resource = resource;
	target.schema = resource->root;
	if (decoded[0] == '/')
		found = pg_verifymbstr(decoded, (int) strlen(decoded), true) && follow_pointer(library, decoded, &target);
	else if (decoded[0] != '\0')
	{
		char	   *name = psprintf("%s#%s", resource->uri, decoded);
		AtpAnchor  *anchor = hash_search(library->names, &name, HASH_FIND, NULL);

		found = anchor != NULL;
		if (found)
		{
			target.resource = anchor->resource;
			target.schema = anchor->schema;
			target.dynamic = anchor->dynamic;
		}
	}
	if (!found || (target.schema.type != ATP_JSON_OBJECT && target.schema.type != ATP_JSON_BOOLEAN))
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA),
				 errmsg(found ? "a reference points at what is not a schema" : "a reference points at nothing"),
				 errdetail("It is \"%s\", at \"%s\".", absolute, atp_where_text(where))));
	return target;
}

/*
 * The validator: the cache of compiled schemas, and the SQL functions.
 *
 * Cache protocol. A compiled schema is found by the hash and the bytes of the schema, or by a registry's key. It owns
 * its memory context, a child of cache_context once the compilation has succeeded (before, of the caller's: an ERROR
 * frees it). One that used the registry of documents is stale when the generation of the registry has moved on; it is
 * then unlinked and made anew. Unlinked, it lives on while somebody holds it: a running statement keeps the tree it
 * walks. The least recently used ones go when the memory of all exceeds atp.schema_cache_size.
 *
 * Every document that a compilation reads is validated against the meta-schema of its dialect, by a validator of this
 * same cache. Those are not validated themselves.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/ilist.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/primnodes.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/json.h"
#include "utils/memutils.h"

#include "pg/errors.h"
#include "record/validator.h"
#include "record/validator/compile.h"
#include "record/validator/metaschema.h"
#include "record/validator/netformat.h"
#include "record/validator/registry.h"
#include "record/validator/uri.h"

typedef enum KeyKind
{
	KEY_CONTENT,				/* hash of the schema, compared with its bytes */
	KEY_REGISTRY,				/* given by the caller */
	KEY_METASCHEMA				/* as KEY_CONTENT; not validated itself */
} KeyKind;

typedef struct ValidatorKey
{
	uint64		value;
	uint64		kind;			/* KeyKind, as wide as it is so that the key has no padding */
} ValidatorKey;

struct AtpValidator
{
	ValidatorKey key;
	MemoryContext context;
	Jsonb	   *schema;
	AtpTree    *tree;
	uint64		generation;		/* of the registry */
	Size		bytes;
	int			holders;
	bool		linked;			/* in the cache */
	dlist_node	used;
};

typedef struct CacheEntry
{
	ValidatorKey key;
	AtpValidator *validator;
} CacheEntry;

static bool format_assertion = false;
static int	cache_size_kb = 16 * 1024;

static MemoryContext cache_context = NULL;
static HTAB *cache = NULL;
static dlist_head used_list = DLIST_STATIC_INIT(used_list);		/* most recent first */
static Size cache_bytes = 0;
static int64 compilations = 0;

PG_FUNCTION_INFO_V1(atp_validator_schema_is_valid);
PG_FUNCTION_INFO_V1(atp_validator_schema_errors);
PG_FUNCTION_INFO_V1(atp_validator_check_document);
PG_FUNCTION_INFO_V1(atp_validator_cache_status);

static AtpValidator *get_by_content(const Jsonb *schema, KeyKind kind);

/* Registers the settings. */
void
atp_validator_init(void)
{
	DefineCustomBoolVariable("atp.schema_format_assertion", "Makes the keyword format an assertion.",
							 "Off, as JSON Schema has it by default, format is an annotation, except where the "
							 "vocabulary of the meta-schema "
							 "demands the assertion.",
							 &format_assertion, false, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("atp.schema_cache_size",
							"Memory that a backend keeps for compiled schemas.",
							"The least recently used ones are dropped beyond it; the one in use stays.",
							&cache_size_kb, 16 * 1024, 64, MAX_KILOBYTES, PGC_USERSET, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* ---- cache ---- */

static void
prepare_cache(void)
{
	HASHCTL		control = {.keysize = sizeof(ValidatorKey), .entrysize = sizeof(CacheEntry)};

	if (cache)
		return;
	if (cache_context == NULL)
		cache_context = AllocSetContextCreate(TopMemoryContext, "atp schema cache", ALLOCSET_DEFAULT_SIZES);
	control.hcxt = cache_context;
	cache = hash_create("atp schema cache", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

/* Takes a validator out of the cache, and frees it unless it is held. */
static void
unlink_validator(AtpValidator *validator)
{
	(void) hash_search(cache, &validator->key, HASH_REMOVE, NULL);
	dlist_delete(&validator->used);
	cache_bytes -= validator->bytes;
	validator->linked = false;
	if (validator->holders == 0)
		MemoryContextDelete(validator->context);
}

static void
link_validator(AtpValidator *validator)
{
	bool		found;
	CacheEntry *entry = hash_search(cache, &validator->key, HASH_ENTER, &found);

	Assert(!found);
	entry->validator = validator;
	MemoryContextSetParent(validator->context, cache_context);
	validator->bytes = MemoryContextMemAllocated(validator->context, true);
	validator->linked = true;
	dlist_push_head(&used_list, &validator->used);
	cache_bytes += validator->bytes;
	while (cache_bytes > (Size) cache_size_kb * 1024)
	{
		AtpValidator *oldest = dlist_tail_element(AtpValidator, used, &used_list);

		if (oldest == validator)
			break;
		unlink_validator(oldest);
	}
}

/* May the validator still be used for new work? */
bool
atp_validator_is_fresh(const AtpValidator *validator)
{
	return !validator->tree->uses_registry || validator->generation == atp_registry_generation();
}

/* The cached validator of a key, unless it is stale or of another schema with the same hash. */
static AtpValidator *
find_validator(const ValidatorKey *key, const Jsonb *schema)
{
	CacheEntry *entry;
	AtpValidator *validator;

	prepare_cache();
	entry = hash_search(cache, key, HASH_FIND, NULL);
	if (entry == NULL)
		return NULL;
	validator = entry->validator;
	if (!atp_validator_is_fresh(validator) ||
		(schema &&
		 (VARSIZE(schema) != VARSIZE(validator->schema) || memcmp(schema, validator->schema, VARSIZE(schema)) != 0)))
	{
		unlink_validator(validator);
		return NULL;
	}
	dlist_move_head(&used_list, &validator->used);
	return validator;
}

/* Keeps a validator alive beyond what the get functions promise. */
void
atp_validator_hold(AtpValidator *validator)
{
	validator->holders++;
}

void
atp_validator_release(AtpValidator *validator)
{
	if (--validator->holders == 0 && !validator->linked)
		MemoryContextDelete(validator->context);
}

/* ---- making a validator ---- */

/* The validator of a meta-schema. */
static AtpValidator *
get_metaschema(const char *uri)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, "{\"$ref\": ");
	escape_json(&text, uri);
	appendStringInfoChar(&text, '}');
	return get_by_content(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text.data))), KEY_METASCHEMA);
}

/* Refuses a document that is not valid against its meta-schema. */
static void
check_against_metaschema(const Jsonb *document, const char *uri, const char *metaschema)
{
	AtpValidator *validator = get_metaschema(metaschema);
	AtpSchemaReport report = {.max = 1};

	if (!atp_evaluate(validator->tree, document, false, NULL))
	{
		(void) atp_evaluate(validator->tree, document, false, &report);
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA), errmsg("the schema is not valid against its meta-schema"),
				 errdetail("At \"%s%s%s\": %s.", uri, uri[0] ? "#" : "", report.errors[0].instance_location,
						   report.errors[0].message),
				 errhint("The meta-schema is \"%s\".", metaschema)));
	}
}

static void
check_documents(List *documents)
{
	ListCell   *cell;

	foreach(cell, documents)
	{
		AtpDocument *document = lfirst(cell);

		if (!document->builtin && !document->mixed)
			check_against_metaschema(document->text, document->resource->uri, document->resource->dialect.metaschema);
	}
}

/* Compiles a schema and puts it into the cache. */
static AtpValidator *
make_validator(const ValidatorKey *key, const Jsonb *schema)
{
	MemoryContext context;
	MemoryContext work;
	MemoryContext old;
	AtpValidator *validator;
	List	   *documents;

	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("schemas need a database of encoding UTF8")));
	work = AllocSetContextCreate(CurrentMemoryContext, "atp schema compilation", ALLOCSET_DEFAULT_SIZES);
	context = AllocSetContextCreate(CurrentMemoryContext, "atp schema", ALLOCSET_SMALL_SIZES);
	validator = MemoryContextAllocZero(context, sizeof(AtpValidator));
	validator->key = *key;
	validator->context = context;
	validator->generation = atp_registry_generation();
	validator->schema = MemoryContextAllocHuge(context, VARSIZE(schema));
	memcpy(validator->schema, schema, VARSIZE(schema));
	old = MemoryContextSwitchTo(work);
	validator->tree = atp_compile(validator->schema, context, &documents);
	compilations++;
	if (key->kind != KEY_METASCHEMA)
		check_documents(documents);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(work);
	link_validator(validator);
	return validator;
}

static AtpValidator *
get_by_content(const Jsonb *schema, KeyKind kind)
{
	ValidatorKey key = {hash_bytes_extended((const unsigned char *) schema, (int) VARSIZE(schema), 0), kind};
	AtpValidator *validator = find_validator(&key, schema);

	return validator ? validator : make_validator(&key, schema);
}

/* The validator of a schema (detoasted). Raises TP213, TP215. */
AtpValidator *
atp_validator_get(const Jsonb *schema)
{
	return get_by_content(schema, KEY_CONTENT);
}

/* The validator of a schema by a key, under which it is the same for ever; it is fetched only to be compiled. Raises
 * TP213, TP215. */
AtpValidator *
atp_validator_get_keyed(uint64 key, AtpSchemaFetch fetch, void *arg)
{
	ValidatorKey cache_key = {key, KEY_REGISTRY};
	AtpValidator *validator = find_validator(&cache_key, NULL);

	return validator ? validator : make_validator(&cache_key, fetch(key, arg));
}

const AtpTree *
atp_validator_tree(const AtpValidator *validator)
{
	return validator->tree;
}

/* ---- running it ---- */

/* Is the instance (detoasted) valid? Raises TP213, TP214, program_limit_exceeded. */
bool
atp_validator_run(AtpValidator *validator, const Jsonb *instance)
{
	return atp_evaluate(validator->tree, instance, format_assertion, NULL);
}

/* The errors of an instance, at most max_errors (0: all); NULL: it is valid. In the current memory context. */
AtpSchemaReport *
atp_validator_report(AtpValidator *validator, const Jsonb *instance, int max_errors)
{
	AtpSchemaReport *report;

	if (atp_validator_run(validator, instance))
		return NULL;
	report = palloc0(sizeof(AtpSchemaReport));
	report->max = max_errors;
	(void) atp_evaluate(validator->tree, instance, format_assertion, report);
	return report;
}

/* ---- SQL ---- */

/* What a call site keeps: the validator of its last call, held until the site's memory context ends. */
typedef struct CallSite
{
	MemoryContextCallback callback;
	AtpValidator *validator;
	bool		constant;		/* the schema is a constant of the query: it need not be looked at again */
} CallSite;

static void
leave_call_site(void *arg)
{
	CallSite   *site = arg;

	if (site->validator)
		atp_validator_release(site->validator);
	site->validator = NULL;
}

static CallSite *
make_call_site(FmgrInfo *function)
{
	CallSite   *site = MemoryContextAllocZero(function->fn_mcxt, sizeof(CallSite));
	Node	   *expression = function->fn_expr;

	site->constant = expression && IsA(expression, FuncExpr) && IsA(linitial(((FuncExpr *) expression)->args), Const);
	site->callback.func = leave_call_site;
	site->callback.arg = site;
	MemoryContextRegisterResetCallback(function->fn_mcxt, &site->callback);
	function->fn_extra = site;
	return site;
}

/* The validator of argument 0. */
static AtpValidator *
validator_of_call(FunctionCallInfo fcinfo)
{
	CallSite   *site = fcinfo->flinfo->fn_extra;
	AtpValidator *validator;
	Jsonb	   *schema;

	if (site && site->validator && site->constant && atp_validator_is_fresh(site->validator))
		return site->validator;
	schema = PG_GETARG_JSONB_P(0);
	if (site && site->validator && atp_validator_is_fresh(site->validator) &&
		VARSIZE(schema) == VARSIZE(site->validator->schema) &&
		memcmp(schema, site->validator->schema, VARSIZE(schema)) == 0)
		return site->validator;
	validator = atp_validator_get(schema);
	if (site == NULL)
		site = make_call_site(fcinfo->flinfo);
	atp_validator_hold(validator);
	leave_call_site(site);
	site->validator = validator;
	return validator;
}

/* schema_is_valid(schema jsonb, instance jsonb) */
Datum
atp_validator_schema_is_valid(PG_FUNCTION_ARGS)
{
	AtpValidator *validator = validator_of_call(fcinfo);
	Jsonb	   *instance = PG_GETARG_JSONB_P(1);
	bool		valid = atp_validator_run(validator, instance);

	PG_FREE_IF_COPY(instance, 1);
	PG_RETURN_BOOL(valid);
}

/* schema_errors(schema jsonb, instance jsonb) */
Datum
atp_validator_schema_errors(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Jsonb	   *instance = PG_GETARG_JSONB_P(1);
	AtpSchemaReport *report;

	InitMaterializedSRF(fcinfo, 0);
	report = atp_validator_report(atp_validator_get(PG_GETARG_JSONB_P(0)), instance, 0);
	for (int i = 0; report && i < report->n; i++)
	{
		const AtpSchemaError *error = &report->errors[i];
		Datum values[4] = {CStringGetTextDatum(error->instance_location), CStringGetTextDatum(error->keyword_location),
						   CStringGetTextDatum(error->keyword), CStringGetTextDatum(error->message)};
		bool		nulls[4] = {false};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* check_schema_document(uri text, document jsonb): the URI as the registry keeps it */
Datum
atp_validator_check_document(PG_FUNCTION_ARGS)
{
	char	   *given = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *document = PG_GETARG_JSONB_P(1);
	AtpJson		root = atp_json_root(document);
	const char *fragment;
	char	   *uri = atp_uri_without_fragment(given, &fragment);
	AtpJson		metaschema;
	AtpDialect	dialect;

	if (!atp_format_iri(uri, (int) strlen(uri)) || (fragment && *fragment))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not an absolute URI without fragment", given)));
	if (atp_metaschema_text(uri))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("schema document \"%s\" is built in and cannot be replaced", uri)));
	if (root.type != ATP_JSON_OBJECT && root.type != ATP_JSON_BOOLEAN)
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA),
				 errmsg("a schema document must be an object or a boolean")));
	if (root.type == ATP_JSON_OBJECT && atp_value_member(&root, "$schema", 7, &metaschema) &&
		metaschema.type == ATP_JSON_STRING &&
		atp_dialect_builtin(atp_uri_without_fragment(atp_json_string_copy(&metaschema), NULL), &dialect))
		check_against_metaschema(document, uri, dialect.metaschema);
	PG_RETURN_TEXT_P(cstring_to_text(uri));
}

/* get_schema_cache() */
Datum
atp_validator_cache_status(PG_FUNCTION_ARGS)
{
	TupleDesc	descriptor;
	Datum		values[3];
	bool		nulls[3] = {false};

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	values[0] = Int32GetDatum(cache ? (int32) hash_get_num_entries(cache) : 0);
	values[1] = Int64GetDatum((int64) cache_bytes);
	values[2] = Int64GetDatum(compilations);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls)));
}

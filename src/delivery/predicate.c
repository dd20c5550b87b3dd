/*
 * Predicates; see predicate.h.
 *
 * A jsonpath is run in silent mode first, which raises nothing. Only when that says neither yes nor no it is run again,
 * aloud, in a subtransaction, to tell an error from an unknown: events that answer cost no subtransaction. A variable would raise for
 * every event that it is met with, so a path that has one is refused, like one that does not parse.
 */
#include "delivery/predicate.h"

#include <ctype.h>

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonpath.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg/errors.h"
#include "record/eventtype.h"
#include "record/tenant.h"
#include "stream/cloudevent.h"

typedef enum Dialect
{
	EXACT, PREFIX, SUFFIX, ALL, ANY, NOT
} Dialect;

static const char *const dialects[] = {"exact", "prefix", "suffix", "all", "any", "not"};

typedef struct FilterNode				/* of a CloudEvents filter */
{
	Dialect		dialect;
	List	   *children;		/* of FilterNode: ALL, ANY, NOT (one) */
	char	   *attribute;		/* EXACT, PREFIX, SUFFIX */
	char	   *value;
	size_t		size;
} FilterNode;

/* What answers the attributes of a filter; a greater one answers those of the lesser ones, too. */
typedef enum Needs
{
	NEEDS_ROW,					/* the log row: tenant, specversion */
	NEEDS_LOOK,					/* the log row, unless the event differs from what it says: type, source, subject */
	NEEDS_DOCUMENT
} Needs;

#define DEPTH_MAX 100			/* filters within filters */

typedef struct Compile
{
	Needs		needs;
	int			depth;
} Compile;

struct AtpPredicate
{
	Needs		needs;
	FilterNode	   *root;			/* NULL: a jsonpath */
	JsonPath   *path;
	bool		is_predicate;	/* the path says true or false by itself; otherwise the question is whether it finds anything */
};

static void
refuse(const char *what)
{
	ereport(ERROR, errcode(ATP_ERR_INVALID_FILTER), errmsg("invalid filter"), errdetail("%s", what),
			errhint("A filter is a jsonpath over the CloudEvents form of an event, such as $.data.amount > 100, "
					"or a CloudEvents filter such as {\"prefix\": {\"type\": \"Order\"}}."));
}

static Needs
attribute_needs(const char *attribute)
{
	static const char *const of_row[] = {"tenant", "specversion"};
	static const char *const of_event[] = {"type", "source", "subject"};

	for (int i = 0; i < lengthof(of_row); i++)
		if (strcmp(attribute, of_row[i]) == 0)
			return NEEDS_ROW;
	for (int i = 0; i < lengthof(of_event); i++)
		if (strcmp(attribute, of_event[i]) == 0)
			return NEEDS_LOOK;
	return NEEDS_DOCUMENT;
}

static FilterNode *compile_node(JsonbContainer *container, Compile *compile);

static FilterNode *
compile_comparison(Dialect dialect, JsonbContainer *object, Compile *compile)
{
	FilterNode	   *whole = palloc0(sizeof(FilterNode));
	JsonbIterator *walk = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue	value;

	whole->dialect = ALL;
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_DONE)
	{
		FilterNode	   *one;

		if (token != WJB_KEY)
			continue;
		one = palloc0(sizeof(FilterNode));
		one->dialect = dialect;
		one->attribute = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&walk, &value, true);
		if (value.type != jbvString || value.val.string.len == 0)
			refuse(psprintf("The value of \"%s\" in \"%s\" is not a string that says something.", one->attribute, dialects[dialect]));
		one->value = pnstrdup(value.val.string.val, value.val.string.len);
		one->size = value.val.string.len;
		compile->needs = Max(compile->needs, attribute_needs(one->attribute));
		whole->children = lappend(whole->children, one);
	}
	if (whole->children == NIL)
		refuse(psprintf("\"%s\" names no attribute.", dialects[dialect]));
	return list_length(whole->children) == 1 ? linitial(whole->children) : whole;
}

static FilterNode *
compile_array(Dialect dialect, JsonbContainer *array, Compile *compile)
{
	FilterNode	   *node = palloc0(sizeof(FilterNode));
	uint32		count = JsonContainerSize(array);

	node->dialect = dialect;
	if (count == 0)
		refuse(psprintf("\"%s\" has no filters.", dialects[dialect]));
	for (uint32 i = 0; i < count; i++)
	{
		JsonbValue *element = getIthJsonbValueFromContainer(array, i);

		if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
			refuse(psprintf("An element of \"%s\" is not an object.", dialects[dialect]));
		node->children = lappend(node->children, compile_node(element->val.binary.data, compile));
	}
	return node;
}

/* One member of a filter object. */
static FilterNode *
compile_member(const char *name, const JsonbValue *value, Compile *compile)
{
	bool		is_object = value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data);
	bool		is_array = value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);

	for (int i = 0; i < lengthof(dialects); i++)
	{
		FilterNode	   *node;

		if (strcmp(name, dialects[i]) != 0)
			continue;
		switch ((Dialect) i)
		{
			case EXACT:
			case PREFIX:
			case SUFFIX:
				if (!is_object)
					refuse(psprintf("\"%s\" is not an object of attributes.", name));
				return compile_comparison((Dialect) i, value->val.binary.data, compile);
			case ALL:
			case ANY:
				if (!is_array)
					refuse(psprintf("\"%s\" is not an array of filters.", name));
				return compile_array((Dialect) i, value->val.binary.data, compile);
			case NOT:
				if (!is_object)
					refuse("\"not\" is not a filter object.");
				node = palloc0(sizeof(FilterNode));
				node->dialect = NOT;
				node->children = list_make1(compile_node(value->val.binary.data, compile));
				return node;
		}
	}
	refuse(psprintf("There is no dialect \"%s\".", name));
	return NULL;
}

static FilterNode *
compile_node(JsonbContainer *container, Compile *compile)
{
	FilterNode	   *node = NULL;
	JsonbIterator *walk = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;

	if (++compile->depth > DEPTH_MAX)
		refuse(psprintf("It nests deeper than %d.", DEPTH_MAX));
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		if (node != NULL)
			refuse("A filter object has more than one dialect; write them in \"all\" or \"any\".");
		name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&walk, &value, true);
		node = compile_member(name, &value, compile);
	}
	if (node == NULL)
		refuse("A filter object has no dialect.");
	compile->depth--;
	return node;
}

static bool
path_is_predicate(JsonPath *path)
{
	JsonPathItem item;

	jspInit(&item, path);
	if (jspHasNext(&item))
		return false;
	switch (item.type)
	{
		case jpiAnd:
		case jpiOr:
		case jpiNot:
		case jpiIsUnknown:
		case jpiEqual:
		case jpiNotEqual:
		case jpiLess:
		case jpiGreater:
		case jpiLessOrEqual:
		case jpiGreaterOrEqual:
		case jpiExists:
		case jpiStartsWith:
		case jpiLikeRegex:
			return true;
		default:
			return false;
	}
}

/* Whether a path, or a part of it, names a variable. Its text form quotes every other dollar sign that has something behind it. */
static bool
names_variable(JsonPath *path)
{
	const char *text = DatumGetCString(DirectFunctionCall1(jsonpath_out, PointerGetDatum(path)));
	bool		quoted = false;

	for (const char *at = text; *at != '\0'; at++)
	{
		if (quoted && *at == '\\' && at[1] != '\0')
			at++;
		else if (*at == '"')
			quoted = !quoted;
		if (!quoted && *at == '$' && at[1] == '"')
			return true;
	}
	return false;
}

/* Calls an input function and turns what it raises into TP301. */
static Datum
parse(PGFunction input, const char *source)
{
	MemoryContext memory = CurrentMemoryContext;
	volatile Datum result = (Datum) 0;

	PG_TRY();
	{
		result = DirectFunctionCall1(input, CStringGetDatum(source));
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(memory);
		if (ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_DATA_EXCEPTION &&
			ERRCODE_TO_CATEGORY(geterrcode()) != ERRCODE_SYNTAX_ERROR_OR_ACCESS_RULE_VIOLATION)
			PG_RE_THROW();
		error = CopyErrorData();
		FlushErrorState();
		refuse(psprintf("%s%s%s", error->message, error->detail == NULL ? "" : ": ", error->detail == NULL ? "" : error->detail));
	}
	PG_END_TRY();
	return result;
}

AtpPredicate *
atp_predicate_compile(const char *source)
{
	AtpPredicate *predicate = palloc0(sizeof(AtpPredicate));
	const char *at = source;
	Compile		compile = {.needs = NEEDS_ROW};

	while (isspace((unsigned char) *at))
		at++;
	if (*at == '{' || *at == '[')
	{
		Jsonb	   *document = DatumGetJsonbP(parse(jsonb_in, source));

		predicate->root = JB_ROOT_IS_OBJECT(document) ? compile_node(&document->root, &compile) :
			compile_array(ALL, &document->root, &compile);
		predicate->needs = compile.needs;
		return predicate;
	}
	if (*at == '\0')
		refuse("It is empty.");
	predicate->path = DatumGetJsonPathP(parse(jsonpath_in, source));
	if (names_variable(predicate->path))
		refuse("It names a variable; there are none.");
	predicate->is_predicate = path_is_predicate(predicate->path);
	predicate->needs = NEEDS_DOCUMENT;
	return predicate;
}

bool
atp_predicate_needs_event(const AtpPredicate *predicate)
{
	return predicate->needs > NEEDS_ROW;
}

/* ---- The CloudEvents form ---- */

/* An attribute that the log row answers unless the event differs, or NULL. */
static char *
row_attribute(const AtpLogRow *row, const char *attribute)
{
	AtpEventType type;
	AtpTenant	tenant;

	if (strcmp(attribute, "type") == 0)
		return atp_eventtype_get(row->event_type, &type) ? pstrdup(type.name) : NULL;
	if (strcmp(attribute, "subject") == 0)
		return pstrdup(atp_feed_stream_name(row->stream));
	if (strcmp(attribute, "specversion") == 0)
		return pstrdup("1.0");
	if (!atp_tenant_get(row->tenant, &tenant))
		return NULL;
	return strcmp(attribute, "tenant") == 0 ? pstrdup(tenant.name) : atp_cloudevent_source(tenant.name, atp_feed_stream_name(row->stream));
}

static Jsonb *
document_of(const AtpLogRow *row, const AtpFeedEvent *event)
{
	AtpEventType type;
	AtpTenant	tenant;
	AtpCloudEvent cloudevent = {
		.event_id = &row->event_id, .stream_version = event->stream_version, .schema_version = event->schema_version,
		.occurred_at = event->occurred_at, .recorded_at = event->recorded_at, .payload = event->payload, .metadata = event->metadata,
		.payload_null = event->payload_null, .metadata_null = event->metadata_null
	};

	if (!atp_eventtype_get(row->event_type, &type) || !atp_tenant_get(row->tenant, &tenant))
		elog(ERROR, "event type or tenant of log position " INT64_FORMAT " is unknown", row->log_position);
	cloudevent.event_type = type.name;
	cloudevent.tenant = tenant.name;
	cloudevent.stream = atp_feed_stream_name(row->stream);
	return atp_cloudevent_document(&cloudevent);
}

/* ---- Questions ---- */

/* The text of an attribute, or NULL where the event does not have it. */
static char *
attribute_text(const AtpLogRow *row, Jsonb *document, const char *attribute)
{
	JsonbValue	value;

	if (document == NULL)
		return row_attribute(row, attribute);
	if (getKeyJsonValueFromContainer(&document->root, attribute, strlen(attribute), &value) == NULL)
		return NULL;
	switch (value.type)
	{
		case jbvString:
			return pnstrdup(value.val.string.val, value.val.string.len);
		case jbvNumeric:
			return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value.val.numeric)));
		case jbvBool:
			return pstrdup(value.val.boolean ? "true" : "false");
		default:
			return NULL;
	}
}

static bool
compare(const FilterNode *node, const char *text)
{
	size_t		size;

	if (text == NULL)
		return false;
	size = strlen(text);
	if (size < node->size)
		return false;
	switch (node->dialect)
	{
		case EXACT:
			return size == node->size && memcmp(text, node->value, size) == 0;
		case PREFIX:
			return memcmp(text, node->value, node->size) == 0;
		default:
			return memcmp(text + size - node->size, node->value, node->size) == 0;
	}
}

static bool
ask_node(const FilterNode *node, const AtpLogRow *row, Jsonb *document)
{
	ListCell   *cell;

	switch (node->dialect)
	{
		case ALL:
			foreach(cell, node->children)
				if (!ask_node(lfirst(cell), row, document))
					return false;
			return true;
		case ANY:
			foreach(cell, node->children)
				if (ask_node(lfirst(cell), row, document))
					return true;
			return false;
		case NOT:
			return !ask_node(linitial(node->children), row, document);
		default:
			return compare(node, attribute_text(row, document, node->attribute));
	}
}

/* Runs the path; *null: it said neither yes nor no. */
static bool
run_path(const AtpPredicate *predicate, Jsonb *document, bool silent, bool *null)
{
	LOCAL_FCINFO(call, 4);
	JsonbParseState *state = NULL;
	Datum		result;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	InitFunctionCallInfoData(*call, NULL, 4, InvalidOid, NULL, NULL);
	call->args[0].value = JsonbPGetDatum(document);
	call->args[1].value = PointerGetDatum(predicate->path);
	call->args[2].value = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	call->args[3].value = BoolGetDatum(silent);
	for (int i = 0; i < 4; i++)
		call->args[i].isnull = false;
	result = predicate->is_predicate ? jsonb_path_match(call) : jsonb_path_exists(call);
	*null = call->isnull;
	return !call->isnull && DatumGetBool(result);
}

/* An error that is none of the path's goes on. Otherwise forgets it and returns its message in the memory context. */
static char *
take_error(MemoryContext memory)
{
	ErrorData  *raised;

	if (geterrcode() == ERRCODE_QUERY_CANCELED || geterrcode() == ERRCODE_ADMIN_SHUTDOWN || geterrcode() == ERRCODE_OUT_OF_MEMORY)
		PG_RE_THROW();
	MemoryContextSwitchTo(memory);
	raised = CopyErrorData();
	FlushErrorState();
	return raised->message;
}

/*
 * Runs the path silently. A few things raise all the same: comparisons that need a time zone, recursion, a variable. A path touches
 * nothing but memory, so that such an error leaves nothing to clean up.
 */
static bool
run_silently(const AtpPredicate *predicate, Jsonb *document, bool *null, char **error)
{
	MemoryContext memory = CurrentMemoryContext;
	volatile bool yes = false;

	PG_TRY();
	{
		yes = run_path(predicate, document, true, null);
	}
	PG_CATCH();
	{
		*error = take_error(memory);
	}
	PG_END_TRY();
	return yes;
}

/* Runs a path that gave no answer again, to hear why: NULL where it is merely unknown. */
static char *
hear_error(const AtpPredicate *predicate, Jsonb *document)
{
	MemoryContext memory = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	char	   *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(memory);
	PG_TRY();
	{
		bool		null;

		(void) run_path(predicate, document, false, &null);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		error = take_error(memory);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(memory);
	CurrentResourceOwner = owner;
	return error;
}

AtpPredicateResult
atp_predicate_test(const AtpPredicate *predicate, const AtpLogRow *row, const AtpFeedEvent *event, char **error)
{
	Jsonb	   *document = NULL;
	bool		null = false;
	bool		yes;

	*error = NULL;
	if (predicate->needs == NEEDS_DOCUMENT ||
		(predicate->needs == NEEDS_LOOK && atp_cloudevent_may_differ(event->metadata, event->metadata_null)))
		document = document_of(row, event);
	if (predicate->root != NULL)
		return ask_node(predicate->root, row, document) ? ATP_PREDICATE_YES : ATP_PREDICATE_NO;
	yes = run_silently(predicate, document, &null, error);
	if (*error == NULL && null)
		*error = hear_error(predicate, document);
	if (*error != NULL)
		return ATP_PREDICATE_RAISED;
	return yes ? ATP_PREDICATE_YES : ATP_PREDICATE_NO;
}

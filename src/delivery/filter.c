/* Which events a subscription wants; see filter.h. */
#include "delivery/filter.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "core/ulid.h"
#include "delivery/predicate.h"
#include "pg/errors.h"
#include "record/eventtype.h"

#define MEMORY 4096				/* places for remembered answers, a power of two */
#define PATTERN_MAX 255

typedef struct Remembered		/* the answer for a key; key 0: empty */
{
	int64		key;
	bool		wanted;
} Remembered;

typedef struct Patterns
{
	int			count;			/* 0: the rule is not given */
	char	  **patterns;
	Remembered *answers;
} Patterns;

typedef struct Correlation
{
	char	   *name;
	JsonbValue	value;
} Correlation;

struct AtpFilter
{
	Patterns	event_types;
	Patterns	categories;
	Patterns	streams;
	int			correlation_count;
	Correlation *correlation;
	AtpPredicate *predicate;
	MemoryContext work;			/* reset after each event asked about */
};

static void
refuse(const char *what)
{
	ereport(ERROR, errcode(ATP_ERR_INVALID_FILTER), errmsg("invalid filter"), errdetail("%s", what));
}

/* * stands for any number of characters. */
static bool
matches(const char *pattern, const char *text, size_t size)
{
	const char *end = text + size;
	const char *star = NULL;
	const char *again = NULL;

	while (text < end)
	{
		if (*pattern == '*')
		{
			star = pattern++;
			again = text;
		}
		else if (*pattern == *text)
		{
			pattern++;
			text++;
		}
		else if (star != NULL)
		{
			pattern = star + 1;
			text = ++again;
		}
		else
			return false;
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

static void
compile_patterns(Patterns *patterns, ArrayType *array, const char *what)
{
	Datum	   *elements;
	bool	   *nulls;
	int			count;

	if (array == NULL)
		return;
	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &elements, &nulls, &count);
	if (count == 0)
		refuse(psprintf("The list of %s is empty; leave it NULL for any.", what));
	patterns->patterns = palloc_array(char *, count);
	for (int i = 0; i < count; i++)
	{
		char	   *pattern = nulls[i] ? NULL : TextDatumGetCString(elements[i]);

		if (pattern == NULL || pattern[0] == '\0' || strlen(pattern) > PATTERN_MAX)
			refuse(psprintf("An entry in the list of %s is null, empty or longer than %d bytes.", what, PATTERN_MAX));
		patterns->patterns[i] = pattern;
	}
	patterns->count = count;
	patterns->answers = palloc0_array(Remembered, MEMORY);
}

static void
compile_correlation(AtpFilter *filter, Jsonb *map)
{
	JsonbIterator *walk;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (map == NULL)
		return;
	if (!JB_ROOT_IS_OBJECT(map) || JB_ROOT_COUNT(map) == 0)
		refuse("The correlation is not a JSON object with members.");
	filter->correlation = palloc0_array(Correlation, JB_ROOT_COUNT(map));
	walk = JsonbIteratorInit(&map->root);
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_DONE)
	{
		Correlation *entry = &filter->correlation[filter->correlation_count];

		if (token != WJB_KEY)
			continue;
		entry->name = pnstrdup(value.val.string.val, value.val.string.len);
		(void) JsonbIteratorNext(&walk, &entry->value, true);
		if (!IsAJsonbScalar(&entry->value))
			refuse(psprintf("The correlation \"%s\" is not a scalar.", entry->name));
		filter->correlation_count++;
	}
}

AtpFilter *
atp_filter_compile(const AtpFilterRules *rules)
{
	AtpFilter  *filter = palloc0(sizeof(AtpFilter));

	filter->work = AllocSetContextCreate(CurrentMemoryContext, "atp filter at work", ALLOCSET_DEFAULT_SIZES);
	compile_patterns(&filter->event_types, rules->event_types, "event types");
	compile_patterns(&filter->categories, rules->categories, "categories");
	compile_patterns(&filter->streams, rules->streams, "streams");
	compile_correlation(filter, rules->correlation == NULL ? NULL : DatumGetJsonbPCopy(JsonbPGetDatum(rules->correlation)));
	if (rules->predicate != NULL)
		filter->predicate = atp_predicate_compile(rules->predicate);
	return filter;
}

static bool
any_matches(const Patterns *patterns, const char *text, size_t size)
{
	for (int i = 0; i < patterns->count; i++)
		if (matches(patterns->patterns[i], text, size))
			return true;
	return false;
}

static bool
wants_type(Patterns *patterns, int32 key)
{
	Remembered *place = &patterns->answers[(uint32) key & (MEMORY - 1)];
	AtpEventType type;

	if (place->key == key)
		return place->wanted;
	if (!atp_eventtype_get(key, &type))
		return false;
	place->key = key;
	return place->wanted = any_matches(patterns, type.name, strlen(type.name));
}

/* The name of a stream, or its category. */
static bool
wants_stream(Patterns *patterns, int64 stream, bool category)
{
	Remembered *place = &patterns->answers[atp_feed_spread((uint64) stream) & (MEMORY - 1)];
	const char *name;
	size_t		size;

	if (place->key == stream)
		return place->wanted;
	name = atp_feed_stream_name(stream);
	size = category ? strcspn(name, "-") : strlen(name);
	if (size == 0)
		return false;
	place->key = stream;
	return place->wanted = any_matches(patterns, name, size);
}

static bool
fails(const char **rule, const char *which)
{
	if (rule != NULL)
		*rule = which;
	return false;
}

bool
atp_filter_wants_row(AtpFilter *filter, const AtpLogRow *row, const char **rule)
{
	char	   *error;

	if (filter->event_types.count > 0 && !wants_type(&filter->event_types, row->event_type))
		return fails(rule, "event_types");
	if (filter->categories.count > 0 && !wants_stream(&filter->categories, row->stream, true))
		return fails(rule, "categories");
	if (filter->streams.count > 0 && !wants_stream(&filter->streams, row->stream, false))
		return fails(rule, "streams");
	if (filter->predicate != NULL && !atp_predicate_needs_event(filter->predicate))
	{
		MemoryContext before = MemoryContextSwitchTo(filter->work);
		bool		wanted = atp_predicate_test(filter->predicate, row, NULL, &error) == ATP_PREDICATE_YES;

		MemoryContextSwitchTo(before);
		MemoryContextReset(filter->work);
		if (!wanted)
			return fails(rule, "filter");
	}
	return true;
}

char *
atp_filter_describe(const AtpFilter *filter)
{
	StringInfoData text;

	initStringInfo(&text);
	if (filter->event_types.count > 0)
		appendStringInfoString(&text, ", event_types");
	if (filter->categories.count > 0)
		appendStringInfoString(&text, ", categories");
	if (filter->streams.count > 0)
		appendStringInfoString(&text, ", streams");
	if (filter->correlation_count > 0)
		appendStringInfoString(&text, ", correlation");
	if (filter->predicate != NULL)
		appendStringInfoString(&text, ", filter");
	return text.len == 0 ? pstrdup("none") : text.data + 2;
}

bool
atp_filter_needs_event(const AtpFilter *filter)
{
	return filter->correlation_count > 0 || (filter->predicate != NULL && atp_predicate_needs_event(filter->predicate));
}

static Jsonb *
metadata_of(const AtpFeedEvent *event)
{
	if (event->metadata_null)
		return NULL;
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(event->metadata))));
}

static void
set_text(JsonbValue *value, char *text)
{
	value->type = jbvString;
	value->val.string.val = text;
	value->val.string.len = strlen(text);
}

static void
set_number(JsonbValue *value, int64 number)
{
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(DirectFunctionCall1(int8_numeric, Int64GetDatum(number)));
}

/* The envelope's value of a name; false: the envelope has no such name. */
static bool
envelope_value(const AtpLogRow *row, const AtpFeedEvent *event, const char *name, JsonbValue *value)
{
	AtpEventType type;
	const char *stream;

	if (strcmp(name, "event_type") == 0 && atp_eventtype_get(row->event_type, &type))
		set_text(value, pstrdup(type.name));
	else if (strcmp(name, "stream") == 0)
		set_text(value, pstrdup(atp_feed_stream_name(row->stream)));
	else if (strcmp(name, "category") == 0)
	{
		stream = atp_feed_stream_name(row->stream);
		set_text(value, pnstrdup(stream, strcspn(stream, "-")));
	}
	else if (strcmp(name, "event_id") == 0)
		set_text(value, DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&row->event_id))));
	else if (strcmp(name, "stream_version") == 0)
		set_number(value, event->stream_version);
	else if (strcmp(name, "schema_version") == 0)
		set_number(value, event->schema_version);
	else
		return false;
	return true;
}

static bool
correlates(const Correlation *entry, const AtpLogRow *row, const AtpFeedEvent *event, Jsonb *metadata)
{
	JsonbValue	value;

	if (!envelope_value(row, event, entry->name, &value) &&
		(metadata == NULL || getKeyJsonValueFromContainer(&metadata->root, entry->name, strlen(entry->name), &value) == NULL))
		return false;
	if (!IsAJsonbScalar(&value) || value.type != entry->value.type)
		return false;
	switch (value.type)
	{
		case jbvNull:
			return true;
		case jbvString:
			return value.val.string.len == entry->value.val.string.len &&
				memcmp(value.val.string.val, entry->value.val.string.val, value.val.string.len) == 0;
		case jbvNumeric:
			return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(value.val.numeric),
													NumericGetDatum(entry->value.val.numeric)));
		case jbvBool:
			return value.val.boolean == entry->value.val.boolean;
		default:
			return false;
	}
}

AtpFilterVerdict
atp_filter_wants_event(AtpFilter *filter, const AtpLogRow *row, const AtpFeedEvent *event, const char **rule, char **error)
{
	MemoryContext before = MemoryContextSwitchTo(filter->work);
	AtpFilterVerdict verdict = ATP_FILTER_YES;

	if (filter->correlation_count > 0)
	{
		Jsonb	   *metadata = metadata_of(event);

		for (int i = 0; verdict == ATP_FILTER_YES && i < filter->correlation_count; i++)
			if (!correlates(&filter->correlation[i], row, event, metadata))
				verdict = fails(rule, "correlation") ? ATP_FILTER_YES : ATP_FILTER_NO;
	}
	if (verdict == ATP_FILTER_YES && filter->predicate != NULL && atp_predicate_needs_event(filter->predicate))
	{
		char	   *raised = NULL;

		switch (atp_predicate_test(filter->predicate, row, event, &raised))
		{
			case ATP_PREDICATE_YES:
				break;
			case ATP_PREDICATE_NO:
				(void) fails(rule, "filter");
				verdict = ATP_FILTER_NO;
				break;
			case ATP_PREDICATE_RAISED:
				verdict = ATP_FILTER_RAISED;
				*error = MemoryContextStrdup(before, raised);
				break;
		}
	}
	MemoryContextSwitchTo(before);
	MemoryContextReset(filter->work);
	return verdict;
}

char *
atp_filter_metadata_text(const AtpFeedEvent *event, const char *member)
{
	Jsonb	   *metadata = metadata_of(event);
	JsonbValue	value;

	if (metadata == NULL || getKeyJsonValueFromContainer(&metadata->root, member, strlen(member), &value) == NULL)
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

/*
 * Dialects of JSON Schema: the table of keywords, the built-in meta-schemas and the vocabularies.
 *
 * `definitions` and `dependencies` are kept alive in the drafts after 7, as their meta-schemas recommend.
 */
#include "postgres.h"

#include "record/validator/dialect.h"
#include "record/validator/value.h"

#define ATP_DRAFT_ALL (ATP_DRAFT_07 | ATP_DRAFT_2019 | ATP_DRAFT_2020)

/* In jsonb's order of keys: by length, then by bytes. */
static const AtpKeyword keywords[] = {
	{"if", ATP_KEYWORD_IF, ATP_SHAPE_SCHEMA, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"not", ATP_KEYWORD_NOT, ATP_SHAPE_SCHEMA, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"$ref", ATP_KEYWORD_REF, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_CORE},
	{"else", ATP_KEYWORD_OTHER, ATP_SHAPE_SCHEMA, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"enum", ATP_KEYWORD_ENUM, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"then", ATP_KEYWORD_OTHER, ATP_SHAPE_SCHEMA, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"type", ATP_KEYWORD_TYPE, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"$defs", ATP_KEYWORD_OTHER, ATP_SHAPE_MAP, ATP_DRAFT_2019 | ATP_DRAFT_2020, ATP_VOCABULARY_CORE},
	{"allOf", ATP_KEYWORD_ALL_OF, ATP_SHAPE_LIST, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"anyOf", ATP_KEYWORD_ANY_OF, ATP_SHAPE_LIST, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"const", ATP_KEYWORD_CONST, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"items", ATP_KEYWORD_ITEMS, ATP_SHAPE_SCHEMA_OR_LIST, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"oneOf", ATP_KEYWORD_ONE_OF, ATP_SHAPE_LIST, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"format", ATP_KEYWORD_FORMAT, ATP_SHAPE_VALUE, ATP_DRAFT_ALL,
	 ATP_VOCABULARY_FORMAT | ATP_VOCABULARY_FORMAT_ASSERTION},
	{"maximum", ATP_KEYWORD_MAXIMUM, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"minimum", ATP_KEYWORD_MINIMUM, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"pattern", ATP_KEYWORD_PATTERN, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"contains", ATP_KEYWORD_CONTAINS, ATP_SHAPE_SCHEMA, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"maxItems", ATP_KEYWORD_MAX_ITEMS, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"minItems", ATP_KEYWORD_MIN_ITEMS, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"required", ATP_KEYWORD_REQUIRED, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"maxLength", ATP_KEYWORD_MAX_LENGTH, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"minLength", ATP_KEYWORD_MIN_LENGTH, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"multipleOf", ATP_KEYWORD_MULTIPLE_OF, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"properties", ATP_KEYWORD_PROPERTIES, ATP_SHAPE_MAP, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"$dynamicRef", ATP_KEYWORD_DYNAMIC_REF, ATP_SHAPE_VALUE, ATP_DRAFT_2020, ATP_VOCABULARY_CORE},
	{"definitions", ATP_KEYWORD_OTHER, ATP_SHAPE_MAP, ATP_DRAFT_ALL, ATP_VOCABULARY_CORE},
	{"maxContains", ATP_KEYWORD_OTHER, ATP_SHAPE_VALUE, ATP_DRAFT_2019 | ATP_DRAFT_2020, ATP_VOCABULARY_VALIDATION},
	{"minContains", ATP_KEYWORD_OTHER, ATP_SHAPE_VALUE, ATP_DRAFT_2019 | ATP_DRAFT_2020, ATP_VOCABULARY_VALIDATION},
	{"prefixItems", ATP_KEYWORD_PREFIX_ITEMS, ATP_SHAPE_LIST, ATP_DRAFT_2020, ATP_VOCABULARY_APPLICATOR},
	{"uniqueItems", ATP_KEYWORD_UNIQUE_ITEMS, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"dependencies", ATP_KEYWORD_DEPENDENCIES, ATP_SHAPE_MAP_OR_NAMES, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"$recursiveRef", ATP_KEYWORD_RECURSIVE_REF, ATP_SHAPE_VALUE, ATP_DRAFT_2019, ATP_VOCABULARY_CORE},
	{"contentSchema", ATP_KEYWORD_OTHER, ATP_SHAPE_SCHEMA, ATP_DRAFT_2019 | ATP_DRAFT_2020, ATP_VOCABULARY_CONTENT},
	{"maxProperties", ATP_KEYWORD_MAX_PROPERTIES, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"minProperties", ATP_KEYWORD_MIN_PROPERTIES, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"propertyNames", ATP_KEYWORD_PROPERTY_NAMES, ATP_SHAPE_SCHEMA, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"additionalItems", ATP_KEYWORD_ADDITIONAL_ITEMS, ATP_SHAPE_SCHEMA, ATP_DRAFT_07 | ATP_DRAFT_2019,
	 ATP_VOCABULARY_APPLICATOR},
	{"dependentSchemas", ATP_KEYWORD_DEPENDENT_SCHEMAS, ATP_SHAPE_MAP, ATP_DRAFT_2019 | ATP_DRAFT_2020,
	 ATP_VOCABULARY_APPLICATOR},
	{"exclusiveMaximum", ATP_KEYWORD_EXCLUSIVE_MAXIMUM, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"exclusiveMinimum", ATP_KEYWORD_EXCLUSIVE_MINIMUM, ATP_SHAPE_VALUE, ATP_DRAFT_ALL, ATP_VOCABULARY_VALIDATION},
	{"unevaluatedItems", ATP_KEYWORD_UNEVALUATED_ITEMS, ATP_SHAPE_SCHEMA, ATP_DRAFT_2019 | ATP_DRAFT_2020,
	 ATP_VOCABULARY_UNEVALUATED},
	{"dependentRequired", ATP_KEYWORD_DEPENDENT_REQUIRED, ATP_SHAPE_VALUE, ATP_DRAFT_2019 | ATP_DRAFT_2020,
	 ATP_VOCABULARY_VALIDATION},
	{"patternProperties", ATP_KEYWORD_PATTERN_PROPERTIES, ATP_SHAPE_MAP, ATP_DRAFT_ALL, ATP_VOCABULARY_APPLICATOR},
	{"additionalProperties", ATP_KEYWORD_ADDITIONAL_PROPERTIES, ATP_SHAPE_SCHEMA, ATP_DRAFT_ALL,
	 ATP_VOCABULARY_APPLICATOR},
	{"unevaluatedProperties", ATP_KEYWORD_UNEVALUATED_PROPERTIES, ATP_SHAPE_SCHEMA, ATP_DRAFT_2019 | ATP_DRAFT_2020,
	 ATP_VOCABULARY_UNEVALUATED},
};

static const AtpDialect dialects[] = {
	{ATP_DRAFT_2020, ATP_VOCABULARIES_STANDARD, "https://json-schema.org/draft/2020-12/schema"},
	{ATP_DRAFT_2019, ATP_VOCABULARIES_STANDARD, "https://json-schema.org/draft/2019-09/schema"},
	{ATP_DRAFT_07, ATP_VOCABULARIES_STANDARD, "http://json-schema.org/draft-07/schema"},
};

static const struct
{
	const char *name;
	int			vocabularies;
}			vocabularies[] = {
	{"2020-12/vocab/core", ATP_VOCABULARY_CORE},
	{"2020-12/vocab/applicator", ATP_VOCABULARY_APPLICATOR},
	{"2020-12/vocab/unevaluated", ATP_VOCABULARY_UNEVALUATED},
	{"2020-12/vocab/validation", ATP_VOCABULARY_VALIDATION},
	{"2020-12/vocab/meta-data", ATP_VOCABULARY_METADATA},
	{"2020-12/vocab/format-annotation", ATP_VOCABULARY_FORMAT},
	{"2020-12/vocab/format-assertion", ATP_VOCABULARY_FORMAT_ASSERTION},
	{"2020-12/vocab/content", ATP_VOCABULARY_CONTENT},
	{"2019-09/vocab/core", ATP_VOCABULARY_CORE},
	{"2019-09/vocab/applicator", ATP_VOCABULARY_APPLICATOR | ATP_VOCABULARY_UNEVALUATED},
	{"2019-09/vocab/validation", ATP_VOCABULARY_VALIDATION},
	{"2019-09/vocab/meta-data", ATP_VOCABULARY_METADATA},
	{"2019-09/vocab/format", ATP_VOCABULARY_FORMAT},
	{"2019-09/vocab/content", ATP_VOCABULARY_CONTENT},
};

/* The keyword of this name in the dialect; NULL: it says nothing there. */
const AtpKeyword *
atp_keyword_find(const AtpDialect *dialect, const char *name, int len)
{
	int			low = 0;
	int			high = lengthof(keywords);

	while (low < high)
	{
		int			middle = (low + high) / 2;
		const AtpKeyword *keyword = &keywords[middle];
		int			order = atp_json_key_compare(keyword->name, (int) strlen(keyword->name), name, len);

		if (order == 0)
			return (keyword->drafts & dialect->draft) && (keyword->vocabularies & dialect->vocabularies) ? keyword
																										 : NULL;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* Is it one of the meta-schemas built in? The URI is without fragment. */
bool
atp_dialect_builtin(const char *metaschema, AtpDialect *dialect)
{
	for (int i = 0; i < lengthof(dialects); i++)
		if (strcmp(dialects[i].metaschema, metaschema) == 0)
		{
			*dialect = dialects[i];
			return true;
		}
	return false;
}

/* The vocabulary of a URI as bits; 0: unknown. */
int
atp_vocabulary_find(const char *uri, int len)
{
	static const char prefix[] = "https://json-schema.org/draft/";
	int			prefix_len = (int) sizeof(prefix) - 1;

	if (len < prefix_len || memcmp(uri, prefix, (size_t) prefix_len) != 0)
		return 0;
	for (int i = 0; i < lengthof(vocabularies); i++)
		if ((int) strlen(vocabularies[i].name) == len - prefix_len &&
			memcmp(vocabularies[i].name, uri + prefix_len, (size_t) (len - prefix_len)) == 0)
			return vocabularies[i].vocabularies;
	return 0;
}

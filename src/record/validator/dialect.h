/*
 * Dialects of JSON Schema and their keywords: which keyword exists in which draft and vocabulary, and where it holds
 * subschemas.
 */
#ifndef ATP_VALIDATOR_DIALECT_H
#define ATP_VALIDATOR_DIALECT_H

typedef enum AtpDraft
{
	ATP_DRAFT_07 = 1,
	ATP_DRAFT_2019 = 2,
	ATP_DRAFT_2020 = 4
} AtpDraft;

typedef enum AtpVocabulary
{
	ATP_VOCABULARY_CORE = 1,
	ATP_VOCABULARY_APPLICATOR = 2,
	ATP_VOCABULARY_UNEVALUATED = 4,
	ATP_VOCABULARY_VALIDATION = 8,
	ATP_VOCABULARY_FORMAT = 16,
	ATP_VOCABULARY_FORMAT_ASSERTION = 32,
	ATP_VOCABULARY_CONTENT = 64,
	ATP_VOCABULARY_METADATA = 128
} AtpVocabulary;

#define ATP_VOCABULARIES_STANDARD (ATP_VOCABULARY_CORE | ATP_VOCABULARY_APPLICATOR | ATP_VOCABULARY_UNEVALUATED | \
	ATP_VOCABULARY_VALIDATION | ATP_VOCABULARY_FORMAT | ATP_VOCABULARY_CONTENT | ATP_VOCABULARY_METADATA)

typedef struct AtpDialect
{
	AtpDraft	draft;
	int			vocabularies;
	const char *metaschema;		/* its URI, without fragment */
} AtpDialect;

typedef enum AtpKeywordId
{
	ATP_KEYWORD_ADDITIONAL_ITEMS,
	ATP_KEYWORD_ADDITIONAL_PROPERTIES,
	ATP_KEYWORD_ALL_OF,
	ATP_KEYWORD_ANY_OF,
	ATP_KEYWORD_CONST,
	ATP_KEYWORD_CONTAINS,
	ATP_KEYWORD_DEPENDENCIES,
	ATP_KEYWORD_DEPENDENT_REQUIRED,
	ATP_KEYWORD_DEPENDENT_SCHEMAS,
	ATP_KEYWORD_DYNAMIC_REF,
	ATP_KEYWORD_ENUM,
	ATP_KEYWORD_EXCLUSIVE_MAXIMUM,
	ATP_KEYWORD_EXCLUSIVE_MINIMUM,
	ATP_KEYWORD_FORMAT,
	ATP_KEYWORD_IF,
	ATP_KEYWORD_ITEMS,
	ATP_KEYWORD_MAXIMUM,
	ATP_KEYWORD_MAX_ITEMS,
	ATP_KEYWORD_MAX_LENGTH,
	ATP_KEYWORD_MAX_PROPERTIES,
	ATP_KEYWORD_MINIMUM,
	ATP_KEYWORD_MIN_ITEMS,
	ATP_KEYWORD_MIN_LENGTH,
	ATP_KEYWORD_MIN_PROPERTIES,
	ATP_KEYWORD_MULTIPLE_OF,
	ATP_KEYWORD_NOT,
	ATP_KEYWORD_ONE_OF,
	ATP_KEYWORD_PATTERN,
	ATP_KEYWORD_PATTERN_PROPERTIES,
	ATP_KEYWORD_PREFIX_ITEMS,
	ATP_KEYWORD_PROPERTIES,
	ATP_KEYWORD_PROPERTY_NAMES,
	ATP_KEYWORD_RECURSIVE_REF,
	ATP_KEYWORD_REF,
	ATP_KEYWORD_REQUIRED,
	ATP_KEYWORD_TYPE,
	ATP_KEYWORD_UNEVALUATED_ITEMS,
	ATP_KEYWORD_UNEVALUATED_PROPERTIES,
	ATP_KEYWORD_UNIQUE_ITEMS,
	ATP_KEYWORD_OTHER			/* read by another keyword, or only a place of subschemas */
} AtpKeywordId;

typedef enum AtpShape
{
	ATP_SHAPE_VALUE,			/* no subschema inside */
	ATP_SHAPE_SCHEMA,
	ATP_SHAPE_LIST,				/* an array of schemas */
	ATP_SHAPE_MAP,				/* an object of schemas */
	ATP_SHAPE_SCHEMA_OR_LIST,
	ATP_SHAPE_MAP_OR_NAMES		/* an object of schemas or arrays of names */
} AtpShape;

typedef struct AtpKeyword
{
	const char *name;
	AtpKeywordId id;
	AtpShape	shape;
	int			drafts;
	int			vocabularies;	/* in any of which it is */
} AtpKeyword;

extern const AtpKeyword *atp_keyword_find(const AtpDialect *dialect, const char *name, int len);
extern bool atp_dialect_builtin(const char *metaschema, AtpDialect *dialect);
extern int	atp_vocabulary_find(const char *uri, int len);

#endif

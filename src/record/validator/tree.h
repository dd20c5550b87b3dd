/*
 * What a schema is compiled to: nodes, each a list of operations in the order of their evaluation.
 *
 * One node stands for one subschema (an object in a document); references point at nodes, so the tree is a graph.
 * Everything lives in the memory context of its validator, together with the documents that names and values point
 * into, and never changes after the compilation (but for the counters of patterns).
 */
#ifndef ATP_VALIDATOR_TREE_H
#define ATP_VALIDATOR_TREE_H

#include "record/validator/format.h"
#include "record/validator/pattern.h"
#include "record/validator/value.h"

/* In the order of evaluation: cheap assertions first, what depends on the annotations of others last. */
typedef enum AtpOpKind
{
	ATP_OP_TYPE,
	ATP_OP_CONST,
	ATP_OP_ENUM,
	ATP_OP_MINIMUM,
	ATP_OP_EXCLUSIVE_MINIMUM,
	ATP_OP_MAXIMUM,
	ATP_OP_EXCLUSIVE_MAXIMUM,
	ATP_OP_MULTIPLE_OF,
	ATP_OP_MIN_LENGTH,
	ATP_OP_MAX_LENGTH,
	ATP_OP_MIN_ITEMS,
	ATP_OP_MAX_ITEMS,
	ATP_OP_MIN_PROPERTIES,
	ATP_OP_MAX_PROPERTIES,
	ATP_OP_DEPENDENT_REQUIRED,
	ATP_OP_PATTERN,
	ATP_OP_FORMAT,
	ATP_OP_OBJECT,
	ATP_OP_PROPERTY_NAMES,
	ATP_OP_ARRAY,
	ATP_OP_CONTAINS,
	ATP_OP_UNIQUE_ITEMS,
	ATP_OP_REF,
	ATP_OP_DYNAMIC_REF,
	ATP_OP_ALL_OF,
	ATP_OP_ANY_OF,
	ATP_OP_ONE_OF,
	ATP_OP_NOT,
	ATP_OP_IF,
	ATP_OP_DEPENDENT_SCHEMAS,
	ATP_OP_UNEVALUATED_ITEMS,
	ATP_OP_UNEVALUATED_PROPERTIES
} AtpOpKind;

typedef struct AtpNode AtpNode;

/* One member that an object rule names; sorted as jsonb sorts keys. */
typedef struct AtpMember
{
	const char *key;
	int			len;
	bool		required;
	AtpNode    *node;			/* NULL: only required */
} AtpMember;

typedef struct AtpPatternMember
{
	const char *source;
	int			len;
	AtpPattern *pattern;
	AtpNode    *node;
} AtpPatternMember;

/* properties, patternProperties, additionalProperties and required, in one pass over the members. */
typedef struct AtpObjectRule
{
	int			n_members;
	int			n_patterns;
	AtpMember  *members;
	AtpPatternMember *patterns;
	AtpNode    *additional;		/* NULL: anything */
} AtpObjectRule;

/* The items of an array: by place, then the rest. */
typedef struct AtpArrayRule
{
	int			n_prefix;
	AtpNode   **prefix;
	const char *prefix_keyword;
	AtpNode    *rest;			/* NULL: anything */
	const char *rest_keyword;
} AtpArrayRule;

typedef struct AtpDependency
{
	const char *key;
	int			len;
	AtpNode    *node;			/* dependentSchemas */
	AtpJson		names;			/* dependentRequired: an array of strings */
} AtpDependency;

typedef struct AtpOp
{
	AtpOpKind	kind;
	int			types;			/* of instances that it says something about */
	const char *keyword;
	union
	{
		int			type_mask;
		int			count;
		Numeric		number;
		AtpJson		value;
		AtpNode    *node;
		AtpObjectRule *object;
		AtpArrayRule *array;
		struct
		{
			int			n;
			AtpJson    *values; /* sorted by atp_json_compare */
		}			choice;
		struct
		{
			AtpPattern *pattern;
			const char *source;
			int			len;
		}			pattern;
		struct
		{
			AtpFormatCheck check;
			const char *name;
			int			len;
			bool		always; /* asserted whatever the setting says: the vocabulary demands it */
		}			format;
		struct
		{
			AtpNode    *initial;
			int			name;	/* number of the name of the dynamic anchor */
		}			dynamic;
		struct
		{
			int			n;
			AtpNode   **nodes;
		}			list;
		struct
		{
			AtpNode    *condition;
			AtpNode    *then;	/* NULL: true */
			AtpNode    *otherwise;	/* NULL: true */
		}			branch;
		struct
		{
			AtpNode    *node;
			int			min;
			int			max;
			bool		marks;	/* evaluates the items it matches (2020-12) */
		}			contains;
		struct
		{
			int			n;
			AtpDependency *items;
		}			dependency;
	};
} AtpOp;

typedef enum AtpNodeKind
{
	ATP_NODE_RULES,
	ATP_NODE_TRUE,
	ATP_NODE_FALSE
} AtpNodeKind;

/* What evaluation needs to know of a schema resource: its dynamic anchors, by number of the name; NULL: it has none of
 * this name. */
typedef struct AtpScopeEntry
{
	AtpNode   **dynamic;
} AtpScopeEntry;

struct AtpNode
{
	AtpNodeKind kind;
	int			n_ops;
	bool		unevaluated;	/* has an operation that needs to know what the others evaluated */
	char		visit;			/* of the search for loops */
	AtpOp	   *ops;
	const AtpScopeEntry *scope;
};

typedef struct AtpTree
{
	AtpNode    *root;
	int			n_dynamic;		/* names of dynamic anchors that references use */
	bool		uses_registry;
} AtpTree;

#endif

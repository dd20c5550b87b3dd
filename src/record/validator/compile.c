/*
 * The compiler: subschemas wait in a list, are compiled one after the other, and may put others in it. So nothing here
 * recurses, and a schema that refers to itself is no special case: a place has one node, which exists before it is
 * filled.
 *
 * Only what the root reaches is compiled. Dynamic anchors of a name that some reference uses are reached by that.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "pg/errors.h"
#include "record/validator/compile.h"
#include "record/validator/keyword.h"

typedef struct Pending
{
	AtpNode    *node;
	AtpJson		schema;
	AtpResource *resource;
	const AtpWhere *where;
} Pending;

struct AtpCompiler
{
	AtpLibrary *library;
	List	   *pending;		/* of Pending */
	List	   *nodes;			/* of AtpNode */
	List	   *dynamic_names;	/* of char * */
};

static AtpNode true_node = {.kind = ATP_NODE_TRUE};
static AtpNode false_node = {.kind = ATP_NODE_FALSE};

/* The node of a schema in a resource; a new one is filled later. */
static AtpNode *
node_of(AtpCompiler *compiler, const AtpJson *schema, AtpResource *resource, const AtpWhere *where)
{
	AtpPlace   *place;
	Pending    *pending;

	if (schema->type == ATP_JSON_BOOLEAN)
		return schema->len ? &true_node : &false_node;
	if (schema->type != ATP_JSON_OBJECT)
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA),
				 errmsg("the schema is not valid: a schema must be an object or a boolean"),
				 errdetail("At \"%s\".", atp_where_text(where))));
	place = atp_library_place(compiler->library, schema, resource);
	if (place->node == NULL)
	{
		place->node = MemoryContextAllocZero(compiler->library->context, sizeof(AtpNode));
		place->node->scope = place->resource->scope;
		pending = palloc(sizeof(Pending));
		*pending = (Pending) {place->node, *schema, place->resource, where};
		compiler->pending = lappend(compiler->pending, pending);
		compiler->nodes = lappend(compiler->nodes, place->node);
	}
	return place->node;
}

AtpNode *
atp_build_subschema(AtpBuild *build, const AtpJson *schema, const AtpWhere *where)
{
	return node_of(build->compiler, schema, build->resource, where);
}

/* The node that a reference points at; *dynamic gets the name of the dynamic anchor that it went by. */
AtpNode *
atp_build_reference(AtpBuild *build, const char *reference, const AtpWhere *where, const char **dynamic)
{
	AtpTarget	target = atp_library_resolve(build->library, build->resource, reference, where);

	*dynamic = target.dynamic;
	return node_of(build->compiler, &target.schema, target.resource, where);
}

/* The number of a name of dynamic anchors. */
int
atp_build_dynamic_name(AtpBuild *build, const char *name)
{
	ListCell   *cell;

	foreach(cell, build->compiler->dynamic_names)
		if (strcmp(lfirst(cell), name) == 0)
			return foreach_current_index(cell);
	build->compiler->dynamic_names = lappend(build->compiler->dynamic_names, pstrdup(name));
	return list_length(build->compiler->dynamic_names) - 1;
}

static int
compare_ops(const ListCell *a, const ListCell *b)
{
	const AtpOp *op_a = lfirst(a);
	const AtpOp *op_b = lfirst(b);

	return op_a->kind == op_b->kind ? strcmp(op_a->keyword, op_b->keyword) : (int) op_a->kind - (int) op_b->kind;
}

/* Fills a node. */
static void
compile_node(AtpCompiler *compiler, const Pending *pending)
{
	AtpBuild	build = {.compiler = compiler, .library = compiler->library, .resource = pending->resource,
	.schema = pending->schema, .where = pending->where};
	AtpNode    *node = pending->node;
	AtpJsonCursor cursor;
	AtpJson		value;
	const char *key;
	int			len;
	bool only_ref = build.resource->dialect.draft == ATP_DRAFT_07 && atp_value_member(&build.schema, "$ref", 4, &value);
	ListCell   *cell;

	CHECK_FOR_INTERRUPTS();
	atp_json_open(&cursor, &build.schema);
	while (atp_json_next_member(&cursor, &key, &len, &value))
	{
		build.keyword = atp_keyword_find(&build.resource->dialect, key, len);
		if (build.keyword && (!only_ref || build.keyword->id == ATP_KEYWORD_REF))
			atp_keyword_compile(&build, &value);
	}
	list_sort(build.ops, compare_ops);
	node->ops = MemoryContextAlloc(compiler->library->context, sizeof(AtpOp) * (Size) Max(list_length(build.ops), 1));
	foreach(cell, build.ops)
	{
		AtpOp	   *op = lfirst(cell);

		node->unevaluated |= op->kind == ATP_OP_UNEVALUATED_ITEMS || op->kind == ATP_OP_UNEVALUATED_PROPERTIES;
		node->ops[node->n_ops++] = *op;
	}
	list_free_deep(build.ops);
}

static void
compile_pending(AtpCompiler *compiler)
{
	while (compiler->pending != NIL)
	{
		Pending    *pending = llast(compiler->pending);

		compiler->pending = list_delete_last(compiler->pending);
		compile_node(compiler, pending);
		pfree(pending);
	}
}

/* Compiles the dynamic anchors that references use in every resource, until no new name or resource comes up. */
static void
compile_dynamic_anchors(AtpCompiler *compiler, const AtpWhere *where)
{
	int			names = 0;
	int			resources = 0;
	ListCell   *resource_cell;
	ListCell   *anchor_cell;

	while (names < list_length(compiler->dynamic_names) ||
		   (names > 0 && resources < list_length(compiler->library->resources)))
	{
		names = list_length(compiler->dynamic_names);
		resources = list_length(compiler->library->resources);
		for (int i = 0; i < resources; i++)
		{
			AtpResource *resource = list_nth(compiler->library->resources, i);

			foreach(anchor_cell, resource->dynamic_anchors)
			{
				AtpAnchor  *anchor = lfirst(anchor_cell);

				for (int n = 0; n < names; n++)
					if (strcmp(anchor->dynamic, list_nth(compiler->dynamic_names, n)) == 0)
						(void) node_of(compiler, &anchor->schema, resource, where);
			}
		}
		compile_pending(compiler);
	}
	if (names == 0)
		return;
	foreach(resource_cell, compiler->library->resources)
	{
		AtpResource *resource = lfirst(resource_cell);

		resource->scope->dynamic = MemoryContextAllocZero(compiler->library->context, sizeof(AtpNode *) * (Size) names);
		foreach(anchor_cell, resource->dynamic_anchors)
		{
			AtpAnchor  *anchor = lfirst(anchor_cell);

			for (int n = 0; n < names; n++)
				if (strcmp(anchor->dynamic, list_nth(compiler->dynamic_names, n)) == 0)
					resource->scope->dynamic[n] = node_of(compiler, &anchor->schema, resource, where);
		}
	}
}

/*
 * Refuses a schema that applies itself to the same instance whatever that is ($ref and allOf only): it could never end.
 * What depends on the instance is caught when it happens.
 */
static void
refuse_loop(AtpNode *node)
{
	check_stack_depth();
	if (node->visit == 2 || node->kind != ATP_NODE_RULES)
		return;
	if (node->visit == 1)
		ereport(ERROR,
				(errcode(ATP_ERR_INVALID_SCHEMA),
				 errmsg("the references of the schema form a loop that never ends")));
	node->visit = 1;
	for (int i = 0; i < node->n_ops; i++)
	{
		AtpOp	   *op = &node->ops[i];

		if (op->kind == ATP_OP_REF)
			refuse_loop(op->node);
		for (int j = 0; op->kind == ATP_OP_ALL_OF && j < op->list.n; j++)
			refuse_loop(op->list.nodes[j]);
	}
	node->visit = 2;
}

/*
 * Compiles a schema, which lives in the context already, as does what is made of it. *documents gets the AtpDocuments
 * that were read, the schema first; they live in the current memory context. Raises TP213, TP215.
 */
AtpTree *
atp_compile(const Jsonb *schema, MemoryContext context, List **documents)
{
	AtpCompiler compiler = {0};
	AtpTree    *tree = MemoryContextAllocZero(context, sizeof(AtpTree));
	AtpDialect	dialect;
	AtpResource *resource;
	AtpWhere   *where = palloc0(sizeof(AtpWhere));
	AtpJson		root = atp_json_root(schema);
	ListCell   *cell;

	compiler.library = atp_library_create(context);
	(void) atp_dialect_builtin("https://json-schema.org/draft/2020-12/schema", &dialect);
	resource = atp_library_add(compiler.library, "", schema, &dialect, false);
	tree->root = node_of(&compiler, &root, resource, where);
	compile_pending(&compiler);
	compile_dynamic_anchors(&compiler, where);
	foreach(cell, compiler.nodes)
		refuse_loop(lfirst(cell));
	tree->n_dynamic = list_length(compiler.dynamic_names);
	tree->uses_registry = compiler.library->uses_registry;
	*documents = compiler.library->documents;
	return tree;
}

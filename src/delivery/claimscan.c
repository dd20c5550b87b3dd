/* The scan of claim_events; see claimscan.h. */
#include "postgres.h"

#include "delivery/claimscan.h"

#include "access/htup_details.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_language_d.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "optimizer/pathnode.h"
#include "optimizer/paths.h"
#include "optimizer/restrictinfo.h"
#include "optimizer/tlist.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "delivery/claim.h"
#include "pg/compat.h"

#define ARGUMENTS 7				/* of claim_events */

typedef struct ClaimScan
{
	CustomScanState base;
	FmgrInfo	function;
	Oid			collation;
	List	   *arguments;		/* of ExprState * */
	uint32		columns;		/* wanted */
	List	   *attributes;		/* of int: the column that goes into each column of the scan */
	MemoryContext memory;
	AtpClaim   *claim;			/* NULL: not begun */
} ClaimScan;

extern Datum atp_claim_events(PG_FUNCTION_ARGS);

static Plan *plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *plans);
static Node *create_state(CustomScan *scan);
static void begin_scan(CustomScanState *node, EState *estate, int flags);
static TupleTableSlot *run_scan(CustomScanState *node);
static void end_scan(CustomScanState *node);
static void rescan(CustomScanState *node);

static const CustomPathMethods path_methods = {.CustomName = "atp claim", .PlanCustomPath = plan_scan};
static const CustomScanMethods scan_methods = {.CustomName = "atp claim", .CreateCustomScanState = create_state};
static const CustomExecMethods exec_methods = {.CustomName = "atp claim", .BeginCustomScan = begin_scan, .ExecCustomScan = run_scan,
.EndCustomScan = end_scan, .ReScanCustomScan = rescan};

static set_rel_pathlist_hook_type previous_hook;

/* ---- Planning ---- */

/* Whether a function is claim_events as it was installed: nothing has to be set or switched around its call. */
static bool
is_claim_events(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool		result = false;
	FmgrInfo	info;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prolang == ClanguageId && ((Form_pg_proc) GETSTRUCT(tuple))->pronargs == ARGUMENTS)
	{
		bool		null;
		Datum		source = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &null);

		result = !null && strcmp(TextDatumGetCString(source), "atp_claim_events") == 0;
	}
	ReleaseSysCache(tuple);
	if (!result)
		return false;
	fmgr_info(function, &info);
	return info.fn_addr == atp_claim_events;
}

/* Whether an expression depends on nothing but the statement and its parameters. */
static bool
depends_on_row(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (IsA(node, Var) || IsA(node, SubLink) || IsA(node, SubPlan) || IsA(node, PlaceHolderVar))
		return true;
	if (IsA(node, Param) && ((Param *) node)->paramkind != PARAM_EXTERN)
		return true;
	return expression_tree_walker(node, depends_on_row, context);
}

/* The call of claim_events that a range table entry is, if it can be scanned; NULL otherwise. */
static FuncExpr *
scannable_call(RelOptInfo *rel, RangeTblEntry *entry)
{
	FuncExpr   *call;
	ListCell   *cell;

	if (entry->rtekind != RTE_FUNCTION || entry->funcordinality || list_length(entry->functions) != 1 ||
		!bms_is_empty(rel->lateral_relids))
		return NULL;
	call = (FuncExpr *) linitial_node(RangeTblFunction, entry->functions)->funcexpr;
	if (!IsA(call, FuncExpr) || list_length(call->args) != ARGUMENTS || depends_on_row((Node *) call->args, NULL) ||
		expression_returns_set((Node *) call->args) || !is_claim_events(call->funcid))
		return NULL;
	for (int i = rel->min_attr; i <= 0; i++)	/* the row as a whole, or what a function's row does not have */
		if (!bms_is_empty(rel->attr_needed[i - rel->min_attr]))
			return NULL;
	foreach(cell, rel->baserestrictinfo)
	{
		Bitmapset  *used = NULL;

		pull_varattnos((Node *) lfirst_node(RestrictInfo, cell)->clause, rel->relid, &used);
		if (bms_next_member(used, -1) >= 0 && bms_next_member(used, -1) <= -FirstLowInvalidHeapAttributeNumber)
			return NULL;
	}
	return call;
}

static void
add_scan(PlannerInfo *root, RelOptInfo *rel, Index index, RangeTblEntry *entry)
{
	FuncExpr   *call;
	Path	   *plain;
	CustomPath *path;

	if (previous_hook != NULL)
		previous_hook(root, rel, index, entry);
	if (entry->rtekind != RTE_FUNCTION || rel->pathlist == NIL || (call = scannable_call(rel, entry)) == NULL)
		return;
	plain = linitial(rel->pathlist);
	path = makeNode(CustomPath);
	path->path.pathtype = T_CustomScan;
	path->path.parent = rel;
	path->path.pathtarget = rel->reltarget;
	path->path.rows = plain->rows;
	path->path.startup_cost = plain->startup_cost;
	path->path.total_cost = plain->total_cost;
	path->flags = CUSTOMPATH_SUPPORT_PROJECTION;
	path->custom_private = list_make1(call);
	path->methods = &path_methods;
	rel->pathlist = NIL;
	add_path(rel, &path->path);
}

static Plan *
plan_scan(PlannerInfo *root, RelOptInfo *rel, CustomPath *path, List *targets, List *clauses, List *plans)
{
	CustomScan *scan = makeNode(CustomScan);
	List	   *conditions = extract_actual_clauses(clauses, false);
	List	   *columns = pull_var_clause((Node *) list_make2(rel->reltarget->exprs, conditions),	/* `targets` may not be known yet */
										  PVC_RECURSE_AGGREGATES | PVC_RECURSE_WINDOWFUNCS | PVC_RECURSE_PLACEHOLDERS);
	ListCell   *cell;

	scan->scan.plan.targetlist = targets;
	scan->scan.plan.qual = conditions;
	scan->flags = path->flags;
	scan->custom_exprs = path->custom_private;
	scan->custom_scan_tlist = add_to_flat_tlist(NIL, columns);
	foreach(cell, scan->custom_scan_tlist)
		scan->custom_private = lappend_int(scan->custom_private, castNode(Var, lfirst_node(TargetEntry, cell)->expr)->varattno);
	scan->methods = &scan_methods;
	return &scan->scan.plan;
}

/* ---- Execution ---- */

static Node *
create_state(CustomScan *scan)
{
	ClaimScan  *state = palloc0(sizeof(ClaimScan));

	NodeSetTag(state, T_CustomScanState);
	state->base.methods = &exec_methods;
	return (Node *) state;
}

static void
begin_scan(CustomScanState *node, EState *estate, int flags)
{
	ClaimScan  *state = (ClaimScan *) node;
	CustomScan *scan = castNode(CustomScan, node->ss.ps.plan);
	FuncExpr   *call = linitial_node(FuncExpr, scan->custom_exprs);
	ListCell   *cell;

	if (!atp_compat_may_execute(call->funcid, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(call->funcid));
	InvokeFunctionExecuteHook(call->funcid);
	fmgr_info(call->funcid, &state->function);
	state->collation = call->inputcollid;
	state->arguments = ExecInitExprList(call->args, &node->ss.ps);
	state->attributes = scan->custom_private;
	foreach(cell, state->attributes)
		state->columns |= 1 << (lfirst_int(cell) - 1);
	state->memory = AllocSetContextCreate(estate->es_query_cxt, "atp claim", ALLOCSET_DEFAULT_SIZES);
}

/* In the memory of the scan. */
static void
claim(ClaimScan *state)
{
	LOCAL_FCINFO(fcinfo, ARGUMENTS);
	PgStat_FunctionCallUsage usage;
	ListCell   *cell;
	int			i = 0;

	InitFunctionCallInfoData(*fcinfo, &state->function, ARGUMENTS, state->collation, NULL, NULL);
	foreach(cell, state->arguments)
	{
		fcinfo->args[i].value = ExecEvalExpr(lfirst(cell), state->base.ss.ps.ps_ExprContext, &fcinfo->args[i].isnull);
		i++;
	}
	pgstat_init_function_usage(fcinfo, &usage);
	state->claim = atp_claim_make(fcinfo);
	pgstat_end_function_usage(&usage, true);
}

static TupleTableSlot *
next_row(ScanState *node)
{
	ClaimScan  *state = (ClaimScan *) node;
	TupleTableSlot *slot = node->ss_ScanTupleSlot;
	Datum		values[ATP_CLAIM_COLUMNS];
	bool		nulls[ATP_CLAIM_COLUMNS];
	MemoryContext before;
	ListCell   *cell;
	bool		found;
	int			i = 0;

	ExecClearTuple(slot);
	before = MemoryContextSwitchTo(state->memory);
	if (state->claim == NULL)
		claim(state);
	found = atp_claim_next(state->claim, state->columns, values, nulls);
	MemoryContextSwitchTo(before);
	if (!found)
		return slot;
	foreach(cell, state->attributes)
	{
		slot->tts_values[i] = values[lfirst_int(cell) - 1];
		slot->tts_isnull[i] = nulls[lfirst_int(cell) - 1];
		i++;
	}
	return ExecStoreVirtualTuple(slot);
}

static bool
recheck(ScanState *node, TupleTableSlot *slot)
{
	return true;
}

static TupleTableSlot *
run_scan(CustomScanState *node)
{
	return ExecScan(&node->ss, next_row, recheck);
}

static void
end_scan(CustomScanState *node)
{
	ClaimScan  *state = (ClaimScan *) node;

	if (state->claim != NULL)
		atp_claim_end(state->claim);
	state->claim = NULL;
}

/* Nothing that the arguments depend on can have changed: the same rows once more, and no other claim. */
static void
rescan(CustomScanState *node)
{
	ClaimScan  *state = (ClaimScan *) node;

	if (state->claim != NULL)
		atp_claim_rewind(state->claim);
	ExecScanReScan(&node->ss);
}

void
atp_claimscan_init(void)
{
	RegisterCustomScanMethods(&scan_methods);
	previous_hook = set_rel_pathlist_hook;
	set_rel_pathlist_hook = add_scan;
}

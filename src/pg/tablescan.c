/* Whole tables of ours, below the executor; see tablescan.h. */
#include "pg/tablescan.h"

#include "access/table.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "partitioning/partdesc.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "pg/errors.h"

/* Calls `visit` for the table, or for each of its leaves, one after the other; false ends it. */
static void
visit_tables(AtpRelation which, bool (*visit) (Relation root, Relation table, void *context), void *context)
{
	Relation	root = table_open(atp_relation_oid(which), AccessShareLock);

	if (root->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		(void) visit(root, root, context);
	else
	{
		PartitionDesc leaves = RelationGetPartitionDesc(root, false);
		bool		more = true;

		for (int i = 0; more && i < leaves->nparts; i++)
		{
			Relation	leaf = table_open(leaves->oids[i], AccessShareLock);

			more = visit(root, leaf, context);
			table_close(leaf, NoLock);	/* the lock stays to the end of the transaction, as a SELECT's does */
		}
	}
	table_close(root, NoLock);
}

typedef struct Walk
{
	int			columns;
	AtpTableRow row;
	void	   *context;
	MemoryContext memory;
} Walk;

/* Our leaves are made with the columns of their table, in the same places; a foreign one that is not must not be misread. */
static void
check_columns(Relation root, Relation leaf)
{
	TupleDesc	ours = RelationGetDescr(root);
	TupleDesc	its = RelationGetDescr(leaf);
	bool		same = ours->natts == its->natts;

	for (int i = 0; same && i < ours->natts; i++)
		same = TupleDescAttr(ours, i)->atttypid == TupleDescAttr(its, i)->atttypid &&
			strcmp(NameStr(TupleDescAttr(ours, i)->attname), NameStr(TupleDescAttr(its, i)->attname)) == 0;
	if (!same || leaf->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR, errcode(ERRCODE_DATA_CORRUPTED),
				errmsg("partition \"%s\" is not one that atp made", RelationGetRelationName(leaf)),
				errdetail("Its columns are not those of \"%s\", in their order.", RelationGetRelationName(root)),
				errhint("Find out who attached it; see atp.doctor()."));
}

static bool
scan_table(Relation root, Relation table, void *context)
{
	Walk	   *walk = context;
	TupleTableSlot *slot = table_slot_create(table, NULL);
	TableScanDesc scan;
	bool		more = true;

	check_columns(root, table);
	/* not joined to another's scan in the middle: rows come in the order in which they were written, as far as they lie so */
	scan = table_beginscan_strat(table, GetActiveSnapshot(), 0, NULL, true, false);
	while (more && table_scan_getnextslot(scan, ForwardScanDirection, slot))
	{
		MemoryContext before = MemoryContextSwitchTo(walk->memory);

		CHECK_FOR_INTERRUPTS();
		slot_getsomeattrs(slot, walk->columns);
		more = walk->row(walk->context, slot);
		MemoryContextSwitchTo(before);
		MemoryContextReset(walk->memory);
	}
	table_endscan(scan);
	ExecDropSingleTupleTableSlot(slot);
	return more;
}

void
atp_tablescan(AtpRelation which, int columns, AtpTableRow row, void *context)
{
	Walk		walk = {.columns = columns, .row = row, .context = context};

	walk.memory = AllocSetContextCreate(CurrentMemoryContext, "atp row of a table", ALLOCSET_DEFAULT_SIZES);
	visit_tables(which, scan_table, &walk);
	MemoryContextDelete(walk.memory);
}

static bool
count_blocks(Relation root, Relation table, void *context)
{
	*(BlockNumber *) context += RelationGetNumberOfBlocks(table);
	return true;
}

BlockNumber
atp_tablescan_blocks(AtpRelation which)
{
	BlockNumber blocks = 0;

	visit_tables(which, count_blocks, &blocks);
	return blocks;
}

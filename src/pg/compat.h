/* Every difference between PostgreSQL 15, 16, 17 and 18 that the code meets, one name per difference. */
#ifndef ATP_COMPAT_H
#define ATP_COMPAT_H

#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/tableam.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_proc.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "utils/acl.h"
#include "utils/rel.h"

/* 16 moved the macros of variable-length data out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* 18 says it in front of a declaration. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn _Noreturn
#endif

/* 18: a scan may report its index searches. */
static inline IndexScanDesc
atp_compat_index_beginscan(Relation heap, Relation index, Snapshot snapshot, int key_count)
{
#if PG_VERSION_NUM >= 180000
	return index_beginscan(heap, index, snapshot, NULL, key_count, 0);
#else
	return index_beginscan(heap, index, snapshot, key_count, 0);
#endif
}

/* Whether the current user owns an extension. */
static inline bool
atp_compat_owns_extension(Oid extension)
{
#if PG_VERSION_NUM >= 160000
	return object_ownercheck(ExtensionRelationId, extension, GetUserId());
#else
	return pg_extension_ownercheck(extension, GetUserId());
#endif
}

/* The local transaction id of this backend: changes with every transaction. */
static inline LocalTransactionId
atp_compat_my_lxid(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProc->vxid.lxid;
#else
	return MyProc->lxid;
#endif
}

/* table_tuple_update says which index entries the new version needs: a yes or no up to 15, which kind from 16. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes AtpUpdateIndexes;
#define atp_compat_update_needs_indexes(indexes) ((indexes) != TU_None)
#else
typedef bool AtpUpdateIndexes;
#define atp_compat_update_needs_indexes(indexes) (indexes)
#endif

/*
 * From 17 an access method may keep what it needs for inserting (BRIN: pinned pages) in the IndexInfo until it is told that the
 * insertions are over. What an ERROR has left there is forgotten first: the pins went with their transaction.
 */
static inline void
atp_compat_index_insert_begin(Relation index, IndexInfo *info)
{
#if PG_VERSION_NUM >= 170000
	if (index->rd_indam->aminsertcleanup != NULL)
		info->ii_AmCache = NULL;
#endif
}

static inline void
atp_compat_index_insert_end(Relation index, IndexInfo *info)
{
#if PG_VERSION_NUM >= 170000
	index_insert_cleanup(index, info);
#endif
}

/* Pins a block's buffer if it is still the block's; 16 renamed what says where a relation is stored. */
static inline bool
atp_compat_read_recent_buffer(Relation relation, BlockNumber block, Buffer buffer)
{
#if PG_VERSION_NUM >= 160000
	return ReadRecentBuffer(relation->rd_locator, MAIN_FORKNUM, block, buffer);
#else
	return ReadRecentBuffer(relation->rd_node, MAIN_FORKNUM, block, buffer);
#endif
}

/* May the role execute the function? */
static inline bool
atp_compat_may_execute(Oid function, Oid role)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE) == ACLCHECK_OK;
#else
	return pg_proc_aclcheck(function, role, ACL_EXECUTE) == ACLCHECK_OK;
#endif
}

/* Index entries for a row inserted; with `speculative`, a conflict sets *conflict instead of raising. */
static inline List *
atp_compat_insert_index_tuples(ResultRelInfo *info, TupleTableSlot *slot, EState *state, bool speculative, bool *conflict)
{
#if PG_VERSION_NUM >= 160000
	return ExecInsertIndexTuples(info, slot, state, false, speculative, conflict, NIL, false);
#else
	return ExecInsertIndexTuples(info, slot, state, false, speculative, conflict, NIL);
#endif
}

/* True when no unique index has an equal row; waits for a transaction that may be inserting one. */
static inline bool
atp_compat_check_index_constraints(ResultRelInfo *info, TupleTableSlot *slot, EState *state, ItemPointer conflict)
{
#if PG_VERSION_NUM >= 180000
	ItemPointerData none;

	ItemPointerSetInvalid(&none);
	return ExecCheckIndexConstraints(info, slot, state, conflict, &none, NIL);
#else
	return ExecCheckIndexConstraints(info, slot, state, conflict, NIL);
#endif
}

/* What ExecutorCheckPerms_hook is given: up to 15 the range table, from 16 its permissions beside it. */
#if PG_VERSION_NUM >= 160000
typedef RTEPermissionInfo AtpPermission;
#define ATP_COMPAT_CHECK_PERMS_ARGS List *range_table, List *permissions, bool raise
#define ATP_COMPAT_CHECK_PERMS_PASS range_table, permissions, raise
#define ATP_COMPAT_CHECK_PERMS_LIST permissions
#else
typedef RangeTblEntry AtpPermission;
#define ATP_COMPAT_CHECK_PERMS_ARGS List *range_table, bool raise
#define ATP_COMPAT_CHECK_PERMS_PASS range_table, raise
#define ATP_COMPAT_CHECK_PERMS_LIST range_table
#endif

#endif

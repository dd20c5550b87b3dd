/*
 * Verification of the stored trees. Leaf by leaf, tile by tile: the leaf against the event at its log position, recomputed; every
 * node that an append completes against the tile that holds it; every head and checkpoint against the root at its size.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "core/record.h"
#include "log/leaf.h"
#include "log/predecessor.h"
#include "log/tile.h"
#include "pg/nested.h"
#include "pg/query.h"
#include "pg/scan.h"
#include "record/tenant.h"
#include "stream/chain.h"
#include "stream/verify.h"

PG_FUNCTION_INFO_V1(atp_verifytree_all);

typedef struct Walk				/* along one tree */
{
	int32		tenant;
	AtpTileReader *reader;
	AtpTreeSource source;
	AtpRange	range;
	uint8		(*roots)[ATP_HASH_SIZE];	/* stated for some sizes, ascending */
	int64	   *root_sizes;
	int64		root_count;
	int64		next_root;
	AtpPredecessors *known;
	int64		checked;
	const char *fault;
	int64		fault_position;	/* in the log; 0: it has none */
} Walk;

static bool
fail(Walk *walk, const char *fault, int64 position)
{
	if (walk->fault == NULL)
	{
		walk->fault = fault;
		walk->fault_position = position;
	}
	return false;
}

/* Compares a node that is complete with the one that is stored. */
static bool
compare_node(void *context, int level, uint64_t index, const uint8_t hash[ATP_HASH_SIZE])
{
	Walk	   *walk = context;
	uint8		stored[ATP_HASH_SIZE];
	bool		same = true;

	if (level % 8 == 0 && level > 0)
	{
		SPI_connect();			/* of its own: we may be inside a row of a scan */
		same = walk->source.node(walk->source.context, level, index, stored) && memcmp(stored, hash, ATP_HASH_SIZE) == 0;
		SPI_finish();
	}
	return same || fail(walk, "a node of a tile is not the hash of those below it", 0);
}

/* Compares the root with what heads or checkpoints state for this size. */
static bool
compare_root(Walk *walk)
{
	uint8		root[ATP_HASH_SIZE];

	while (walk->next_root < walk->root_count && walk->root_sizes[walk->next_root] <= (int64) walk->range.size)
	{
		if (walk->root_sizes[walk->next_root] == (int64) walk->range.size &&
			(!atp_range_root(&walk->range, root) || memcmp(root, walk->roots[walk->next_root], ATP_HASH_SIZE) != 0))
			return fail(walk, "the root is not the one that was stated for this size", 0);
		walk->next_root++;
	}
	return true;
}

static bool
append(Walk *walk, const uint8 leaf[ATP_HASH_SIZE])
{
	if (!atp_range_append(&walk->range, leaf, compare_node, walk))
		return fail(walk, "SHA-256 failed in OpenSSL", 0);
	walk->checked++;
	return compare_root(walk);
}

/* Reads the sizes and roots that a query gives, ascending. */
static void
load_roots(Walk *walk, AtpQuery *query, MemoryContext memory)
{
	Datum		argument = Int32GetDatum(walk->tenant);
	bool		null;

	atp_query(query, &argument, NULL, true, 0);
	walk->root_count = (int64) SPI_processed;
	walk->next_root = 0;
	walk->roots = MemoryContextAllocHuge(memory, ATP_HASH_SIZE * (walk->root_count + 1));
	walk->root_sizes = MemoryContextAllocHuge(memory, sizeof(int64) * (walk->root_count + 1));
	for (int64 i = 0; i < walk->root_count; i++)
	{
		bytea	   *root = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 2, &null));

		walk->root_sizes[i] = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
		memset(walk->roots[i], 0, ATP_HASH_SIZE);
		if (VARSIZE_ANY_EXHDR(root) == ATP_HASH_SIZE)
			memcpy(walk->roots[i], VARDATA_ANY(root), ATP_HASH_SIZE);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Compares what is stored of the whole tree with what was walked. */
static void
compare_state(Walk *walk)
{
	static AtpQuery query = {"SELECT peaks, root FROM atp_internal.tree WHERE tenant = $1", 1, {INT4OID}};
	Datum		argument = Int32GetDatum(walk->tenant);
	uint8		peaks[ATP_TREE_LEVELS * ATP_HASH_SIZE];
	uint8		root[ATP_HASH_SIZE];
	size_t		size = atp_range_save(&walk->range, peaks);
	bytea	   *stored[2];
	bool		null;

	if (walk->fault != NULL)
		return;
	atp_query(&query, &argument, NULL, true, 1);
	if (SPI_processed == 0)
		return;
	for (int i = 0; i < 2; i++)
		stored[i] = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, i + 1, &null));
	if (VARSIZE_ANY_EXHDR(stored[0]) != size || memcmp(VARDATA_ANY(stored[0]), peaks, size) != 0)
		fail(walk, "the compact range is not that of the leaves", 0);
	else if (!atp_range_root(&walk->range, root) || VARSIZE_ANY_EXHDR(stored[1]) != ATP_HASH_SIZE ||
			 memcmp(VARDATA_ANY(stored[1]), root, ATP_HASH_SIZE) != 0)
		fail(walk, "the root is not that of the leaves", 0);
	SPI_freetuptable(SPI_tuptable);
}

/* The compact range up to a leaf, from stored nodes. */
static bool
load_range(Walk *walk, uint64 size)
{
	uint8		peaks[ATP_TREE_LEVELS][ATP_HASH_SIZE];
	size_t		count = 0;
	uint64		done = 0;

	for (int level = ATP_TREE_LEVELS - 1; level >= 0; level--)
		if (size >> level & 1)
		{
			if (!walk->source.node(walk->source.context, level, done >> level, peaks[count++]))
				return fail(walk, "a node of the tree is missing", 0);
			done += UINT64CONST(1) << level;
		}
	return atp_range_load(&walk->range, size, peaks[0], count * ATP_HASH_SIZE) || fail(walk, "a node of the tree is missing", 0);
}

/* ---- a tenant's tree ---- */

enum
{
	ROW_POSITION = ATP_CHAIN_PRIVATE + 1
};

static bool
check_leaf(void *context, TupleTableSlot *row)
{
	Walk	   *walk = context;
	int64		position = DatumGetInt64(row->tts_values[ROW_POSITION]);
	AtpChainLink link;
	uint8		leaf[ATP_HASH_SIZE];
	const char *fault;
	bool		found;

	SPI_connect();
	found = walk->source.node(walk->source.context, 0, walk->range.size, leaf);
	SPI_finish();
	if (!found)
		return fail(walk, "a leaf of the tree is missing", position);
	fault = atp_leaf_recompute(walk->known, row, &link);
	if (fault != NULL)
		return fail(walk, fault, position);
	if (memcmp(link.hash, leaf, ATP_HASH_SIZE) != 0)
		return fail(walk, "the event is not the leaf of the tree", position);
	return append(walk, leaf);
}

static bool
check_tile(Walk *walk)
{
	static AtpScan scan = {
		"SELECT " ATP_CHAIN_COLUMNS ", p.log_position FROM pg_catalog.unnest($1) WITH ORDINALITY p (log_position, place)"
		" LEFT JOIN atp_internal.log l ON l.log_position = p.log_position AND l.tenant = $2"
		" LEFT JOIN atp_internal.event e ON e.event_id = l.event_id AND e.tenant = l.tenant ORDER BY p.place", 2, {INT8ARRAYOID, INT4OID}
	};
	uint64		end = Min(walk->range.size + ATP_TILE_WIDTH, atp_tile_size(walk->reader));
	Datum		positions[ATP_TILE_WIDTH];
	int			count = 0;
	Datum		arguments[2];

	for (uint64 leaf = walk->range.size; leaf < end; leaf++)
	{
		int64		position;

		if (!atp_tile_find_position(walk->reader, leaf, &position))
			return fail(walk, "a leaf of the tree has no log position", 0);
		positions[count++] = Int64GetDatum(position);
	}
	arguments[0] = PointerGetDatum(construct_array(positions, count, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
	arguments[1] = Int32GetDatum(walk->tenant);
	atp_scan(&scan, arguments, check_leaf, walk);
	return walk->fault == NULL;
}

/* The first leaf of the tile in which the first log position after `since` lies, or an earlier one. */
static uint64
first_leaf(int32 tenant, int64 since)
{
	static AtpQuery query = {
		"SELECT tile FROM atp_internal.tree_tile WHERE tenant = $1 AND level = 0 AND first_position <= $2"
		" ORDER BY first_position DESC LIMIT 1", 2, {INT4OID, INT8OID}
	};
	Datum		arguments[] = {Int32GetDatum(tenant), Int64GetDatum(since)};
	uint64		leaf = 0;
	bool		null;

	atp_query(&query, arguments, NULL, true, 1);
	if (SPI_processed == 1)
		leaf = (uint64) DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)) * ATP_TILE_WIDTH;
	SPI_freetuptable(SPI_tuptable);
	return leaf;
}

static void
begin_walk(Walk *walk, int32 tenant, AtpPredecessors *known, MemoryContext memory)
{
	memset(walk, 0, sizeof(*walk));
	walk->tenant = tenant;
	walk->known = known;
	walk->reader = atp_tile_read(tenant, memory);
	walk->source = atp_tile_source(walk->reader);
	atp_range_init(&walk->range);
}

static void
walk_tenant(Walk *walk, int64 since, MemoryContext memory)
{
	static AtpQuery roots = {
		"SELECT h.size, h.root FROM atp_internal.tenant_head h WHERE h.tenant = $1 ORDER BY h.size", 1, {INT4OID}
	};

	load_roots(walk, &roots, memory);
	if (!load_range(walk, since == 0 ? 0 : first_leaf(walk->tenant, since)))
		return;
	while (walk->range.size < atp_tile_size(walk->reader))
		if (!check_tile(walk))
			return;
	if (walk->root_count > 0 && walk->root_sizes[walk->root_count - 1] > (int64) walk->range.size)
		fail(walk, "the tree is smaller than a head that was stated", 0);
	compare_state(walk);
}

/* ---- the root log ---- */

static bool
check_head(void *context, TupleTableSlot *row)
{
	Walk	   *walk = context;
	bytea	   *root = DatumGetByteaPP(row->tts_values[3]);
	uint8		hash[ATP_HASH_SIZE];
	uint8		leaf[ATP_HASH_SIZE];
	bool		found;

	if (DatumGetInt64(row->tts_values[0]) != (int64) walk->range.size)
		return fail(walk, "a leaf of the root log is missing", 0);
	if (VARSIZE_ANY_EXHDR(root) != ATP_HASH_SIZE)
		return fail(walk, "a head has a wrong length", 0);
	SPI_connect();
	found = walk->source.node(walk->source.context, 0, walk->range.size, leaf);
	SPI_finish();
	if (!atp_head_hash(DatumGetUUIDP(row->tts_values[1])->data, (uint64) DatumGetInt64(row->tts_values[2]),
					   (uint8 *) VARDATA_ANY(root), hash) || !found || memcmp(hash, leaf, ATP_HASH_SIZE) != 0)
		return fail(walk, "a head is not the leaf of the root log", 0);
	return append(walk, leaf);
}

static void
walk_root(Walk *walk, MemoryContext memory)
{
	static AtpQuery roots = {
		"SELECT c.size, c.root FROM atp_internal.checkpoint c WHERE $1 IS NOT NULL ORDER BY c.size", 1, {INT4OID}
	};
	static AtpScan scan = {
		"SELECT h.leaf, t.log_uid, h.size, h.root FROM atp_internal.tenant_head h"
		" JOIN atp_internal.tenant t ON t.tenant = h.tenant ORDER BY h.leaf"
	};

	load_roots(walk, &roots, memory);
	atp_scan(&scan, NULL, check_head, walk);
	if (walk->fault == NULL && walk->range.size != atp_tile_size(walk->reader))
		fail(walk, "the root log has more leaves than heads", 0);
	if (walk->fault == NULL && walk->next_root < walk->root_count)
		fail(walk, "the root log is smaller than a checkpoint", 0);
	compare_state(walk);
}

/* ---- all ---- */

/* The tenants that have a tree or a head, or events in the part of the log that has become leaves. */
static int32 *
list_tenants(MemoryContext memory, int *count)
{
	static AtpQuery query = {"SELECT tenant FROM atp_internal.tenant ORDER BY tenant"};
	int32	   *tenants;
	bool		null;

	atp_query(&query, NULL, NULL, true, 0);
	*count = (int) SPI_processed;
	tenants = MemoryContextAlloc(memory, sizeof(int32) * (*count + 1));
	for (int i = 0; i < *count; i++)
		tenants[i] = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &null));
	return tenants;
}

/* Events that are in the log before the last leaf and are no leaf: more of them than leaves. */
static const char *
count_leaves(void)
{
	static AtpQuery query = {
		"SELECT (SELECT pg_catalog.count(*) FROM atp_internal.log l WHERE l.log_position <= s.log_position AND NOT EXISTS"
		" (SELECT FROM atp_internal.tree h WHERE h.tenant = l.tenant AND h.halted_position <= l.log_position))"
		" = (SELECT coalesce(pg_catalog.sum(r.size), 0) FROM atp_internal.tree r WHERE r.tenant <> 0) FROM atp_internal.leaf_state s"
	};
	bool		null;

	atp_query(&query, NULL, NULL, true, 1);
	if (SPI_processed == 0 || DatumGetBool(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null)))
		return NULL;
	return "the log and the trees have another number of events";
}

static void
verify(int64 since, Walk *result)
{
	MemoryContext memory = AllocSetContextCreate(CurrentMemoryContext, "atp tree verification", ALLOCSET_DEFAULT_SIZES);
	AtpPredecessors *known = atp_predecessors_make(memory);
	int			count;
	int32	   *tenants;
	int64		checked = 0;
	int			level = atp_nested_begin();

	SPI_connect();
	tenants = list_tenants(memory, &count);
	for (int i = -1; i < count; i++)
	{
		MemoryContext one = AllocSetContextCreate(memory, "atp tree", ALLOCSET_DEFAULT_SIZES);

		CHECK_FOR_INTERRUPTS();
		begin_walk(result, i < 0 ? ATP_ROOT_LOG : tenants[i], known, one);
		MemoryContextSwitchTo(one);
		if (i < 0)
			walk_root(result, one);
		else
			walk_tenant(result, since, one);
		checked += i < 0 ? 0 : result->checked;
		MemoryContextDelete(one);
		if (result->fault != NULL)
			break;
	}
	if (result->fault == NULL)
	{
		result->tenant = ATP_ROOT_LOG;
		result->fault = since == 0 ? count_leaves() : NULL;
	}
	SPI_finish();
	atp_nested_end(level);
	MemoryContextDelete(memory);
	result->checked = checked;
}

/* verify_trees(since) */
Datum
atp_verifytree_all(PG_FUNCTION_ARGS)
{
	TupleDesc	shape;
	Datum		values[5] = {0};
	bool		nulls[5] = {false, false, true, true, true};
	AtpTenant	tenant;
	Walk		walk = {0};

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	atp_verify_begin();
	verify(PG_GETARG_INT64(0), &walk);
	atp_verify_end();
	if (walk.fault == NULL && walk.checked == 0 && PG_GETARG_INT64(0) == 0)
	{
		walk.tenant = ATP_ROOT_LOG;
		walk.fault = "there are no leaves";
	}
	values[0] = BoolGetDatum(walk.fault == NULL);
	values[1] = Int64GetDatum(walk.checked);
	if (walk.fault != NULL)
	{
		nulls[2] = walk.tenant == ATP_ROOT_LOG || !atp_tenant_get(walk.tenant, &tenant);
		if (!nulls[2])
			values[2] = CStringGetTextDatum(tenant.name);
		nulls[3] = walk.fault_position == 0;
		values[3] = Int64GetDatum(walk.fault_position);
		nulls[4] = false;
		values[4] = CStringGetTextDatum(walk.fault);
	}
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

/* Proofs from stored trees; see proof.h. */
#include "log/proof.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "pg/errors.h"
#include "pg/jsonobject.h"
#include "pg/query.h"
#include "record/tenant.h"

PG_FUNCTION_INFO_V1(atp_proof_prove_event);
PG_FUNCTION_INFO_V1(atp_proof_prove_consistency);

static void
copy_hash(int column, uint8 hash[ATP_HASH_SIZE])
{
	bool		null;
	bytea	   *bytes = DatumGetByteaPP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null));

	if (null || VARSIZE_ANY_EXHDR(bytes) != ATP_HASH_SIZE)
		ereport(ERROR, errcode(ATP_ERR_INTEGRITY_FAULT), errmsg("a stored root has a wrong length"));
	memcpy(hash, VARDATA_ANY(bytes), ATP_HASH_SIZE);
}

static int64
column_int(int column)
{
	bool		null;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null));
}

bool
atp_proof_cover(int32 tenant, MemoryContext memory, AtpCover *cover)
{
	static AtpQuery query = {
		"SELECT c.size, c.root, h.leaf, h.size, h.root, atp.get_checkpoint(c.size)"
		" FROM (SELECT coalesce(atp_internal.newest_signed(), (SELECT pg_catalog.max(k.size) FROM atp_internal.checkpoint k)) AS size) n"
		" JOIN atp_internal.checkpoint c ON c.size = n.size"
		" JOIN LATERAL (SELECT t.leaf, t.size, t.root FROM atp_internal.tenant_head t WHERE t.tenant = $1 AND t.leaf < c.size"
		" ORDER BY t.leaf DESC LIMIT 1) h ON true", 1, {INT4OID}
	};
	Datum		argument = Int32GetDatum(tenant);
	bool		null;
	Datum		note;

	atp_query(&query, &argument, NULL, true, 1);
	if (SPI_processed == 0)
		return false;
	cover->checkpoint_size = column_int(1);
	copy_hash(2, cover->root_hash);
	cover->head_leaf = column_int(3);
	cover->tree_size = column_int(4);
	copy_hash(5, cover->tree_hash);
	note = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 6, &null);
	cover->note = null ? NULL : MemoryContextStrdup(memory, TextDatumGetCString(note));
	SPI_freetuptable(SPI_tuptable);
	return true;
}

static void
refuse_proof(void)
{
	ereport(ERROR, errcode(ATP_ERR_PROOF_NOT_AVAILABLE), errmsg("the stored tree has not the nodes of the proof"),
			errhint("The tree is damaged or behind; see atp.list_trees()."));
}

void
atp_proof_make_inclusion(AtpTileReader *reader, uint64 leaf, uint64 size, AtpProof *proof)
{
	AtpTreeSource source = atp_tile_source(reader);

	if (leaf >= size)
		ereport(ERROR, errcode(ATP_ERR_INVALID_PROOF), errmsg("leaf is outside the tree"),
				errdetail("Leaf %llu, %llu leaves.", (unsigned long long) leaf, (unsigned long long) size));
	if (size > atp_tile_size(reader) || !atp_proof_inclusion(&source, leaf, size, proof))
		refuse_proof();
}

void
atp_proof_make_consistency(AtpTileReader *reader, uint64 old_size, uint64 new_size, AtpProof *proof)
{
	AtpTreeSource source = atp_tile_source(reader);

	if (old_size == 0 || old_size > new_size || new_size > atp_tile_size(reader))
		ereport(ERROR, errcode(ATP_ERR_INVALID_PROOF), errmsg("sizes are not those of an older and a newer tree"),
				errdetail("Old size %llu, new size %llu, the tree has %llu leaves.", (unsigned long long) old_size,
						  (unsigned long long) new_size, (unsigned long long) atp_tile_size(reader)));
	if (!atp_proof_consistency(&source, old_size, new_size, proof))
		refuse_proof();
}

/* The log position of an event; false: it has none yet. Raises TP111 where there is no such event. */
static bool
find_position(const pg_uuid_t *event_id, int32 tenant, int64 *position)
{
	static AtpQuery log = {
		"SELECT l.log_position FROM atp_internal.log l WHERE l.event_id = $1 AND l.tenant = $2", 2, {UUIDOID, INT4OID}
	};
	static AtpQuery event = {
		"SELECT FROM atp_internal.event e WHERE e.event_id = $1 AND e.tenant = $2", 2, {UUIDOID, INT4OID}
	};
	Datum		arguments[] = {UUIDPGetDatum(event_id), Int32GetDatum(tenant)};

	atp_query(&log, arguments, NULL, true, 1);
	if (SPI_processed == 1)
	{
		*position = column_int(1);
		return true;
	}
	atp_query(&event, arguments, NULL, true, 1);
	if (SPI_processed == 0)
		ereport(ERROR, errcode(ATP_ERR_EVENT_NOT_FOUND), errmsg("no event has this id"));
	return false;
}

static Jsonb *
make_document(const pg_uuid_t *event_id, const AtpTenant *tenant, uint64 leaf, const uint8 *leaf_hash, const AtpCover *cover,
			  const AtpProof *in_tree, const AtpProof *in_root)
{
	AtpJsonObject object;

	atp_jsonobject_begin(&object);
	atp_jsonobject_text(&object, "format", "atp/proof/v1");
	atp_jsonobject_text(&object, "event_id", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(event_id))));
	atp_jsonobject_text(&object, "log_uid", DatumGetCString(DirectFunctionCall1(uuid_out, PointerGetDatum(tenant->log_uid))));
	atp_jsonobject_int(&object, "leaf", (int64) leaf);
	atp_jsonobject_hex(&object, "leaf_hash", leaf_hash, ATP_HASH_SIZE);
	atp_jsonobject_int(&object, "tree_size", cover->tree_size);
	atp_jsonobject_hex(&object, "tree_root", cover->tree_hash, ATP_HASH_SIZE);
	atp_jsonobject_hashes(&object, "tree_proof", in_tree->hash[0], in_tree->count);
	atp_jsonobject_int(&object, "head_leaf", cover->head_leaf);
	atp_jsonobject_hashes(&object, "head_proof", in_root->hash[0], in_root->count);
	atp_jsonobject_int(&object, "checkpoint_size", cover->checkpoint_size);
	atp_jsonobject_hex(&object, "checkpoint_root", cover->root_hash, ATP_HASH_SIZE);
	atp_jsonobject_text(&object, "checkpoint", cover->note);
	return atp_jsonobject_end(&object);
}

/* prove_event(event_id, tenant) */
Datum
atp_proof_prove_event(PG_FUNCTION_ARGS)
{
	MemoryContext memory = CurrentMemoryContext;
	pg_uuid_t  *event_id;
	AtpTenant	tenant;
	AtpCover	cover;
	AtpTileReader *tree;
	AtpTileReader *root;
	AtpProof	in_tree;
	AtpProof	in_root;
	uint8		leaf_hash[ATP_HASH_SIZE];
	AtpTreeSource source;
	int64		position;
	uint64		leaf;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	event_id = PG_GETARG_UUID_P(0);
	atp_tenant_resolve(PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1)), &tenant);
	SPI_connect();
	if (!find_position(event_id, tenant.tenant, &position) || !atp_proof_cover(tenant.tenant, memory, &cover) ||
		!atp_tile_find_leaf(tree = atp_tile_read(tenant.tenant, CurrentMemoryContext), position, &leaf) ||
		leaf >= (uint64) cover.tree_size)
		ereport(ERROR, errcode(ATP_ERR_PROOF_NOT_AVAILABLE), errmsg("no checkpoint covers the event yet"),
				errhint("Checkpoints come every atp.checkpoint_interval; atp.create_checkpoint() makes one now."));
	source = atp_tile_source(tree);
	if (!source.node(source.context, 0, leaf, leaf_hash))
		refuse_proof();
	atp_proof_make_inclusion(tree, leaf, (uint64) cover.tree_size, &in_tree);
	root = atp_tile_read(ATP_ROOT_LOG, CurrentMemoryContext);
	atp_proof_make_inclusion(root, (uint64) cover.head_leaf, (uint64) cover.checkpoint_size, &in_root);
	SPI_finish();
	PG_RETURN_JSONB_P(make_document(event_id, &tenant, leaf, leaf_hash, &cover, &in_tree, &in_root));
}

/* prove_consistency(old_size, new_size, tenant): without a tenant, of the root log */
Datum
atp_proof_prove_consistency(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant = {.tenant = ATP_ROOT_LOG};
	AtpProof	proof;
	Datum		hashes[ATP_PROOF_MAX];

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		PG_RETURN_NULL();
	if (PG_GETARG_INT64(0) < 1 || PG_GETARG_INT64(1) < 1)
		ereport(ERROR, errcode(ATP_ERR_INVALID_PROOF), errmsg("sizes are not those of an older and a newer tree"),
				errhint("Nothing follows from consistency with the empty tree: the smallest size is 1."));
	if (!PG_ARGISNULL(2))
		atp_tenant_resolve(text_to_cstring(PG_GETARG_TEXT_PP(2)), &tenant);
	SPI_connect();
	atp_proof_make_consistency(atp_tile_read(tenant.tenant, CurrentMemoryContext), (uint64) PG_GETARG_INT64(0),
							   (uint64) PG_GETARG_INT64(1), &proof);
	SPI_finish();
	for (int i = 0; i < proof.count; i++)
	{
		bytea	   *hash = palloc(VARHDRSZ + ATP_HASH_SIZE);

		SET_VARSIZE(hash, VARHDRSZ + ATP_HASH_SIZE);
		memcpy(VARDATA(hash), proof.hash[i], ATP_HASH_SIZE);
		hashes[i] = PointerGetDatum(hash);
	}
	PG_RETURN_ARRAYTYPE_P(construct_array(hashes, proof.count, BYTEAOID, -1, false, TYPALIGN_INT));
}

/*
 * Export of evidence bundles. Lines are made a few hundred at a time, from a cursor over log and events and from the stored tree,
 * and handed out one by one: memory does not grow with the bundle. Everything is seen under one snapshot, that of the statement.
 *
 * What is stored is exported as it is, hashes from the tree and events from their table: whether they agree is for the verifier
 * to say. An event whose row cannot be read as one is left out, which the verifier sees.

 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/cryptohash.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "compliance/exportrecord.h"
#include "core/bundleline.h"
#include "log/predecessor.h"
#include "log/proof.h"
#include "log/tile.h"
#include "pg/canonical.h"
#include "pg/errors.h"
#include "pg/eventid.h"
#include "pg/nested.h"
#include "pg/query.h"
#include "record/eventtype.h"
#include "record/tenant.h"
#include "stream/chain.h"

PG_FUNCTION_INFO_V1(atp_export_bundle);

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define FETCH 256

enum							/* arguments */
{
	ARG_STREAM, ARG_EVENT_TYPE, ARG_FROM, ARG_UNTIL, ARG_COMPLETENESS, ARG_FIRST_LEAF, ARG_LEAVES, ARG_KNOWN_SIZE, ARG_KNOWN_TREE,
	ARG_EXPORT, ARG_TENANT
};

enum							/* places behind the event's own columns */
{
	ROW_POSITION = ATP_CHAIN_PRIVATE + 1, ROW_NAME
};

typedef struct Export			/* lives as long as the call */
{
	AtpTenant	tenant;
	AtpCover	cover;
	AtpBundleManifest manifest;
	int64		stream;			/* key of the stream of the filter */
	int32		event_type;		/* key of the event type of the filter */
	int64		known_size;
	int64		known_tree;
	AtpExportRecord record;
	bool		is_recorded;
	int64		first_position;	/* in the log, of the range */
	int64		last_position;
	pg_cryptohash_ctx *digest;	/* of all lines; NULL: nothing is recorded */
	int64		byte_count;
	AtpTileReader *tree;
	char		portal[64];
	uint64		next_leaf;
	bool		finished;
	AtpBundleEnd end;
	AtpPredecessors *known;
	AtpEventType type;

	/* rows fetched and not yet used */
	HeapTuple	rows[FETCH];
	MemoryContext rows_memory;
	uint64		row_count;
	uint64		row;
	TupleTableSlot *slot;

	/* lines made and not yet handed out: new lines end them */
	AtpBuf		lines;
	size_t		given;
	MemoryContext memory;
	MemoryContext row_memory;
} Export;

/* ---- what is exported ---- */

static uint64
leaf_argument(FunctionCallInfo fcinfo, int argument, uint64 none)
{
	int64		value = PG_ARGISNULL(argument) ? (int64) none : PG_GETARG_INT64(argument);

	if (value < 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("a leaf or a size must not be negative"));
	return (uint64) value;
}

static void
read_filter(FunctionCallInfo fcinfo, Export *export)
{
	static AtpQuery find = {
		"SELECT s.stream, s.stream_uid FROM atp_internal.stream s WHERE s.name = $1 AND s.tenant = $2", 2, {TEXTOID, INT4OID}
	};
	AtpBundleManifest *manifest = &export->manifest;
	bool		null;

	if (!PG_ARGISNULL(ARG_STREAM))
	{
		Datum		arguments[] = {PG_GETARG_DATUM(ARG_STREAM), Int32GetDatum(export->tenant.tenant)};

		atp_query(&find, arguments, NULL, true, 1);
		if (SPI_processed == 0)
			ereport(ERROR, errcode(ATP_ERR_STREAM_NOT_FOUND),
					errmsg("stream \"%s\" does not exist", text_to_cstring(PG_GETARG_TEXT_PP(ARG_STREAM))));
		manifest->by_stream = true;
		export->stream = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
		memcpy(manifest->stream_uid,
			   DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 2, &null))->data, UUID_LEN);
	}
	if (!PG_ARGISNULL(ARG_EVENT_TYPE))
	{
		static AtpQuery type = {"SELECT y.event_type FROM atp_internal.event_type y WHERE y.name = $1", 1, {TEXTOID}};
		Datum		name = PG_GETARG_DATUM(ARG_EVENT_TYPE);
		char	   *kept = MemoryContextStrdup(export->memory, TextDatumGetCString(name));

		atp_query(&type, &name, NULL, true, 1);
		if (SPI_processed == 1)
			export->event_type = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
		manifest->by_type = true;
		manifest->event_type = (AtpText) {kept, strlen(kept)};
	}
	manifest->by_from = !PG_ARGISNULL(ARG_FROM);
	if (manifest->by_from)
		manifest->recorded_from = PG_GETARG_TIMESTAMPTZ(ARG_FROM) + UNIX_SHIFT;
	manifest->by_until = !PG_ARGISNULL(ARG_UNTIL);
	if (manifest->by_until)
		manifest->recorded_until = PG_GETARG_TIMESTAMPTZ(ARG_UNTIL) + UNIX_SHIFT;
}

static void
read_completeness(FunctionCallInfo fcinfo, AtpBundleManifest *manifest)
{
	const char *name = PG_ARGISNULL(ARG_COMPLETENESS) ? "records" : text_to_cstring(PG_GETARG_TEXT_PP(ARG_COMPLETENESS));

	if (strcmp(name, "records") == 0)
		manifest->completeness = ATP_BUNDLE_RECORDS;
	else if (strcmp(name, "hashes") == 0)
		manifest->completeness = ATP_BUNDLE_HASHES;
	else if (strcmp(name, "proofs") == 0)
		manifest->completeness = ATP_BUNDLE_PROOFS;
	else
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown completeness \"%s\"", name),
				errhint("It is records, hashes or proofs."));
}

static void
read_scope(FunctionCallInfo fcinfo, Export *export)
{
	AtpBundleManifest *manifest = &export->manifest;

	read_completeness(fcinfo, manifest);
	read_filter(fcinfo, export);
	manifest->from = leaf_argument(fcinfo, ARG_FIRST_LEAF, 0);
	manifest->until = leaf_argument(fcinfo, ARG_LEAVES, PG_INT64_MAX);	/* a number of leaves, until read_cover */
	export->known_size = (int64) leaf_argument(fcinfo, ARG_KNOWN_SIZE, 0);
	export->known_tree = (int64) leaf_argument(fcinfo, ARG_KNOWN_TREE, 0);
}

/* What there is to export: the tree under the newest signed checkpoint. */
static void
read_cover(Export *export)
{
	static AtpQuery origin = {"SELECT s.origin FROM atp_internal.checkpoint_state s"};
	AtpBundleManifest *manifest = &export->manifest;
	char	   *name;

	if (!atp_proof_cover(export->tenant.tenant, export->memory, &export->cover) || export->cover.note == NULL)
		ereport(ERROR, errcode(ATP_ERR_PROOF_NOT_AVAILABLE), errmsg("no signed checkpoint covers the tenant"),
				errhint("Set up atp-signer, or atp.signing_key_file for development; then atp.create_checkpoint()."));
	atp_query(&origin, NULL, NULL, true, 1);
	name = MemoryContextStrdup(export->memory, SPI_getvalue(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1));
	manifest->origin = (AtpText) {name, strlen(name)};
	manifest->tenant = (AtpText) {export->tenant.name, strlen(export->tenant.name)};
	memcpy(manifest->log_uid, export->tenant.log_uid, UUID_LEN);
	manifest->tree_size = (uint64) export->cover.tree_size;
	manifest->checkpoint_size = (uint64) export->cover.checkpoint_size;
	manifest->from = Min(manifest->from, manifest->tree_size);
	manifest->until = manifest->from + Min(manifest->until, manifest->tree_size - manifest->from);
}

/* ---- the lines in front ---- */

static void
end_line(Export *export)
{
	atp_buf_byte(&export->lines, '\n');
}

static void
write_keys(Export *export)
{
	static AtpQuery query = {
		"SELECT k.vkey, k.purpose, k.state, k.until_size, k.endorsement FROM atp_internal.signing_key k ORDER BY k.added_at, k.vkey"
	};
	SPITupleTable *keys;
	uint64		count;

	atp_query(&query, NULL, NULL, true, 0);
	keys = SPI_tuptable;
	count = SPI_processed;
	for (uint64 i = 0; i < count; i++)
	{
		char	   *vkey = SPI_getvalue(keys->vals[i], keys->tupdesc, 1);
		char	   *endorsement = SPI_getvalue(keys->vals[i], keys->tupdesc, 5);
		AtpBundleKey key = {.vkey = {vkey, strlen(vkey)}};
		bool		null;

		key.witness = strcmp(SPI_getvalue(keys->vals[i], keys->tupdesc, 2), "witness") == 0;
		key.state = SPI_getvalue(keys->vals[i], keys->tupdesc, 3)[0];
		key.until_size = (uint64) DatumGetInt64(SPI_getbinval(keys->vals[i], keys->tupdesc, 4, &null));
		if (endorsement != NULL)
			key.endorsement = (AtpText) {endorsement, strlen(endorsement)};
		atp_bundle_write_key(&export->lines, &key);
		end_line(export);
	}
}

static void
write_growth(Export *export, AtpTileReader *reader, AtpProofKind kind, uint64 old_size, uint64 new_size)
{
	AtpBundleProof proof = {.kind = kind, .size = old_size};

	if (old_size == 0 || old_size > new_size)
		return;					/* of what is larger than what is stored the verifier says that it was rolled back */
	atp_proof_make_consistency(reader, old_size, new_size, &proof.proof);
	atp_bundle_write_proof(&export->lines, &proof);
	end_line(export);
}

/* The compact range in front of the first leaf: its peaks, left to right. */
static void
write_peaks(Export *export)
{
	AtpBundleProof proof = {.kind = ATP_PROOF_RANGE, .size = export->manifest.from};
	AtpTreeSource source = atp_tile_source(export->tree);
	uint64		done = 0;

	for (int level = ATP_TREE_LEVELS - 1; level >= 0; level--)
		if (proof.size >> level & 1)
		{
			if (!source.node(source.context, level, done >> level, proof.proof.hash[proof.proof.count++]))
				ereport(ERROR, errcode(ATP_ERR_PROOF_NOT_AVAILABLE), errmsg("the stored tree has not the nodes of the proof"));
			done += UINT64CONST(1) << level;
		}
	atp_bundle_write_proof(&export->lines, &proof);
	end_line(export);
}

static void
write_front(Export *export)
{
	const AtpBundleManifest *manifest = &export->manifest;
	AtpBundleProof head = {.kind = ATP_PROOF_HEAD, .leaf = export->cover.head_leaf, .size = manifest->tree_size};
	AtpTileReader *root = atp_tile_read(ATP_ROOT_LOG, CurrentMemoryContext);
	uint64		growths[2];
	int			count = 0;

	atp_bundle_write_manifest(&export->lines, manifest);
	end_line(export);
	write_keys(export);
	atp_bundle_write_checkpoint(&export->lines, export->cover.note, strlen(export->cover.note));
	end_line(export);
	memcpy(head.root, export->cover.tree_hash, ATP_HASH_SIZE);
	atp_proof_make_inclusion(root, head.leaf, manifest->checkpoint_size, &head.proof);
	atp_bundle_write_proof(&export->lines, &head);
	end_line(export);
	write_growth(export, root, ATP_PROOF_ROOT, export->known_size, manifest->checkpoint_size);
	if (manifest->completeness != ATP_BUNDLE_PROOFS && manifest->from > 0)
		write_peaks(export);
	if (manifest->completeness != ATP_BUNDLE_PROOFS && manifest->until < manifest->tree_size)
		growths[count++] = manifest->until;
	if (export->known_tree > 0 && (count == 0 || growths[0] != (uint64) export->known_tree))
		growths[count++] = (uint64) export->known_tree;
	if (count == 2 && growths[0] > growths[1])
	{
		uint64		larger = growths[0];

		growths[0] = growths[1];
		growths[1] = larger;
	}
	for (int i = 0; i < count; i++)
		write_growth(export, export->tree, ATP_PROOF_TENANT, growths[i], manifest->tree_size);
}

/* ---- the events ---- */

#define COLUMNS "SELECT " ATP_CHAIN_COLUMNS ", l.log_position, s.name "
#define JOINS " JOIN atp_internal.event e ON e.event_id = l.event_id AND e.tenant = l.tenant" \
	" JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant "

static void
open_cursor(Export *export)
{
	static const char *const by_log = COLUMNS "FROM atp_internal.log l" JOINS
		"WHERE l.tenant = $1 AND l.log_position BETWEEN $2 AND $3 ORDER BY l.log_position";
	static const char *const by_type = COLUMNS "FROM atp_internal.log l" JOINS
		"WHERE l.tenant = $1 AND l.log_position BETWEEN $2 AND $3 AND l.event_type = $4 ORDER BY l.log_position";
	static const char *const by_stream = COLUMNS "FROM atp_internal.event e"
		" JOIN atp_internal.log l ON l.event_id = e.event_id AND l.tenant = e.tenant"
		" JOIN atp_internal.stream s ON s.stream = e.stream AND s.tenant = e.tenant "
		"WHERE e.tenant = $1 AND l.log_position BETWEEN $2 AND $3 AND e.stream = $4 ORDER BY e.stream_version";
	Oid			types[] = {INT4OID, INT8OID, INT8OID, INT8OID};
	const AtpBundleManifest *manifest = &export->manifest;
	bool		proofs = manifest->completeness == ATP_BUNDLE_PROOFS;
	const char *sql = proofs && manifest->by_stream ? by_stream : proofs && manifest->by_type ? by_type : by_log;
	Datum		values[4];
	int			level = atp_nested_begin();
	AtpIdentity before;

	if (!atp_tile_find_position(export->tree, manifest->from, &export->first_position) ||
		!atp_tile_find_position(export->tree, manifest->until - 1, &export->last_position))
		ereport(ERROR, errcode(ATP_ERR_PROOF_NOT_AVAILABLE), errmsg("the stored tree has not the log positions of its leaves"));
	values[0] = Int32GetDatum(export->tenant.tenant);
	values[1] = Int64GetDatum(export->first_position);
	values[2] = Int64GetDatum(export->last_position);
	values[3] = Int64GetDatum(sql == by_stream ? export->stream : export->event_type);
	/* index by index, so that rows come at once and nothing is sorted or hashed in memory */
	atp_owner_begin(&before);
	SPI_cursor_open_with_args(export->portal, sql, sql == by_log ? 3 : 4, types, values, NULL, true, 0);
	atp_owner_end(&before);
	atp_nested_end(level);
}

/* Fetches rows into memory of the export: what SPI gives goes with the call. False: there are no more. */
static bool
fetch_rows(Export *export)
{
	Portal		portal = SPI_cursor_find(export->portal);
	MemoryContext before_rows;
	AtpIdentity before;

	export->row = export->row_count = 0;
	if (portal == NULL)
		return false;
	atp_owner_begin(&before);
	SPI_cursor_fetch(portal, true, FETCH);
	atp_owner_end(&before);
	if (SPI_processed == 0)
	{
		SPI_cursor_close(portal);
		return false;
	}
	if (export->slot == NULL)
	{
		before_rows = MemoryContextSwitchTo(export->memory);
		export->slot = MakeSingleTupleTableSlot(CreateTupleDescCopy(SPI_tuptable->tupdesc), &TTSOpsHeapTuple);
		MemoryContextSwitchTo(before_rows);
	}
	MemoryContextReset(export->rows_memory);
	before_rows = MemoryContextSwitchTo(export->rows_memory);
	for (; export->row_count < SPI_processed; export->row_count++)
		export->rows[export->row_count] = heap_copytuple(SPI_tuptable->vals[export->row_count]);
	MemoryContextSwitchTo(before_rows);
	SPI_freetuptable(SPI_tuptable);
	return true;
}

/* The next row, deformed, in the slot; NULL: there is none. */
static TupleTableSlot *
next_row(Export *export)
{
	if (export->row == export->row_count)
	{
		if (export->slot != NULL)
			ExecClearTuple(export->slot);
		if (!fetch_rows(export))
			return NULL;
	}
	ExecStoreHeapTuple(export->rows[export->row++], export->slot, false);
	slot_getallattrs(export->slot);
	return export->slot;
}

static AtpText
column_text(TupleTableSlot *row, int column)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(row->tts_values[column]);

	return (AtpText) {VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text)};
}

static bool
is_asked_for(const Export *export, const AtpChainLink *link, int64 stream)
{
	const AtpBundleManifest *manifest = &export->manifest;

	return (!manifest->by_stream || stream == export->stream) && (!manifest->by_type || link->event_type == export->event_type) &&
		(!manifest->by_from || link->recorded_at >= manifest->recorded_from) &&
		(!manifest->by_until || link->recorded_at < manifest->recorded_until);
}

/* Writes the line of a row, the event of leaf `leaf`. */
static void
write_event(Export *export, TupleTableSlot *row, uint64 leaf)
{
	MemoryContext before = MemoryContextSwitchTo(export->row_memory);
	int64		stream = DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM]);
	AtpBundleEvent event = {.leaf = leaf};
	AtpPredecessor *predecessor;
	AtpChainLink link;
	bool		asked_for;

	if (atp_chain_read(row, false, &link) == NULL)
	{
		AtpRecord  *record = &event.record;

		asked_for = is_asked_for(export, &link, stream);
		(void) atp_predecessor_find(export->known, stream, export->tenant.tenant, link.version, &predecessor);
		if (export->type.event_type != link.event_type && !atp_eventtype_get(link.event_type, &export->type))
			export->type = (AtpEventType) {.event_type = link.event_type, .name = "?"};
		record->flags = link.flags;
		memcpy(record->stream_uid, predecessor->stream_uid, UUID_LEN);
		record->stream_version = (uint64) link.version;
		memcpy(record->event_id, link.event_id, UUID_LEN);
		record->event_type = export->type.name;
		record->event_type_size = strlen(export->type.name);
		record->schema_version = link.schema_version;
		record->occurred_at = link.occurred_at;
		record->recorded_at = link.recorded_at;
		memcpy(record->previous_hash, predecessor->hash, ATP_HASH_SIZE);
		memcpy(record->payload_commitment, link.payload_commitment, ATP_HASH_SIZE);
		memcpy(record->metadata_commitment, link.metadata_commitment, ATP_HASH_SIZE);
		atp_predecessor_pass(predecessor, link.version, link.hash);
		event.omitted = !asked_for;
		if (asked_for)
		{
			AtpText		salts = column_text(row, ATP_CHAIN_SALTS);

			event.stream = column_text(row, ROW_NAME);
			memcpy(event.salts, salts.data, sizeof(event.salts));
			event.payload = column_text(row, ATP_CHAIN_PAYLOAD);
			event.metadata = column_text(row, ATP_CHAIN_METADATA);
			if (export->manifest.completeness == ATP_BUNDLE_PROOFS)
			{
				event.has_proof = true;
				atp_proof_make_inclusion(export->tree, leaf, export->manifest.tree_size, &event.proof);
			}
			export->end.events++;
		}
		else if (export->manifest.completeness == ATP_BUNDLE_RECORDS)
			export->end.omitted++;
		if (asked_for || export->manifest.completeness == ATP_BUNDLE_RECORDS)
		{
			atp_bundle_write_event(&export->lines, &event);
			end_line(export);
		}
	}
	MemoryContextSwitchTo(before);
	MemoryContextReset(export->row_memory);
}

/* The leaf hashes up to the end of a tile, and what there is of their events. */
static void
write_chunk(Export *export)
{
	uint64		end = Min(export->next_leaf - export->next_leaf % ATP_BUNDLE_CHUNK + ATP_BUNDLE_CHUNK, export->manifest.until);
	AtpTreeSource source = atp_tile_source(export->tree);
	uint8		hashes[ATP_BUNDLE_CHUNK][ATP_HASH_SIZE];
	TupleTableSlot *row = export->slot != NULL && !TTS_EMPTY(export->slot) ? export->slot : NULL;

	for (uint64 leaf = export->next_leaf; leaf < end; leaf++)
		if (!source.node(source.context, 0, leaf, hashes[leaf - export->next_leaf]))
			ereport(ERROR, errcode(ATP_ERR_PROOF_NOT_AVAILABLE),
					errmsg("the stored tree has not its leaf %llu", (unsigned long long) leaf));
	atp_bundle_write_chunk(&export->lines, export->next_leaf, hashes[0], (int) (end - export->next_leaf));
	end_line(export);
	for (; export->next_leaf < end; export->next_leaf++)
	{
		int64		position;

		if (!atp_tile_find_position(export->tree, export->next_leaf, &position))
			elog(ERROR, "leaf without a log position");
		while (row == NULL || DatumGetInt64(row->tts_values[ROW_POSITION]) < position)
			if ((row = next_row(export)) == NULL)
				break;
		if (row != NULL && DatumGetInt64(row->tts_values[ROW_POSITION]) == position)
			write_event(export, row, export->next_leaf);
	}
}

/* Some events, each with a proof of its own; false: there are no more. */
static bool
write_proved(Export *export)
{
	for (int i = 0; i < FETCH; i++)
	{
		TupleTableSlot *row = next_row(export);
		uint64		leaf;

		CHECK_FOR_INTERRUPTS();
		if (row == NULL)
			return false;
		if (atp_tile_find_leaf(export->tree, DatumGetInt64(row->tts_values[ROW_POSITION]), &leaf))
			write_event(export, row, leaf);
	}
	return true;
}

/* Takes the lines just made into the digest of the bundle. */
static void
digest_lines(Export *export)
{
	export->byte_count += (int64) export->lines.size;
	if (export->digest != NULL && pg_cryptohash_update(export->digest, export->lines.data, export->lines.size) != 0)
		elog(ERROR, "SHA-256 failed: %s", pg_cryptohash_error(export->digest));
}

static void
free_digest(Datum argument)
{
	Export	   *export = (Export *) DatumGetPointer(argument);

	pg_cryptohash_free(export->digest);
	export->digest = NULL;
}

/* ---- the function ---- */

/* The lines in front, and the place of the first event. */
static void
prepare(Export *export)
{
	read_cover(export);
	MemoryContextSwitchTo(export->memory);
	export->tree = atp_tile_read(export->tenant.tenant, export->memory);
	export->next_leaf = export->manifest.from;
	write_front(export);
	export->first_position = 1;
	if (export->manifest.until > export->manifest.from)
		open_cursor(export);
}

/* Who exports what. */
static void
begin_record(FunctionCallInfo fcinfo, Export *export)
{
	AtpExportRecord *record = &export->record;
	MemoryContext before = MemoryContextSwitchTo(export->memory);

	record->tenant = export->tenant.tenant;
	record->is_requested = !PG_ARGISNULL(ARG_EXPORT);
	if (record->is_requested)
		record->id = *PG_GETARG_UUID_P(ARG_EXPORT);
	else
		atp_eventid_create(&record->id);
	record->requested_by = pstrdup(GetUserNameFromId(GetSessionUserId(), false));
	record->stream = PG_ARGISNULL(ARG_STREAM) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARG_STREAM));
	record->manifest = &export->manifest;
	record->leaves = -1;
	record->memory = export->memory;
	export->is_recorded = !RecoveryInProgress();
	MemoryContextSwitchTo(before);
}

static Export *
begin_export(FunctionCallInfo fcinfo, MemoryContext memory)
{
	Export	   *export = MemoryContextAllocZero(memory, sizeof(Export));
	static uint64 number = 0;

	export->memory = memory;
	export->rows_memory = AllocSetContextCreate(memory, "atp exported rows", ALLOCSET_DEFAULT_SIZES);
	export->row_memory = AllocSetContextCreate(memory, "atp exported row", ALLOCSET_DEFAULT_SIZES);
	export->known = atp_predecessors_make(memory);
	atp_buf_init_palloc(&export->lines, memory);
	snprintf(export->portal, sizeof(export->portal), "atp export " UINT64_FORMAT, ++number);
	atp_tenant_resolve(PG_ARGISNULL(ARG_TENANT) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(ARG_TENANT)), &export->tenant);
	SPI_connect();
	read_scope(fcinfo, export);
	begin_record(fcinfo, export);
	PG_TRY();
	{
		prepare(export);
	}
	PG_CATCH();
	{
		if (export->is_recorded)
			atp_exportrecord_failure(&export->record);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (export->is_recorded)
	{
		export->record.leaves = (int64) (export->manifest.until - export->manifest.from);
		atp_exportrecord_start(&export->record, export->first_position, export->last_position);
		export->digest = pg_cryptohash_create(PG_SHA256);
		if (export->digest == NULL || pg_cryptohash_init(export->digest) != 0)
			elog(ERROR, "SHA-256 failed: no digest");
		RegisterExprContextCallback(((ReturnSetInfo *) fcinfo->resultinfo)->econtext, free_digest, PointerGetDatum(export));
	}
	digest_lines(export);
	SPI_finish();
	return export;
}

/* Makes the next lines; false: all have been made. */
static bool
make_lines(Export *export)
{
	bool		more;

	export->lines.size = export->given = 0;
	if (export->finished)
		return false;
	if (export->manifest.completeness == ATP_BUNDLE_PROOFS)
		more = write_proved(export);
	else if ((more = export->next_leaf < export->manifest.until))
		write_chunk(export);
	if (!more)
	{
		export->end.leaves = export->manifest.completeness == ATP_BUNDLE_PROOFS ? export->end.events
			: export->manifest.until - export->manifest.from;
		atp_bundle_write_end(&export->lines, &export->end);
		end_line(export);
		export->finished = true;
	}
	digest_lines(export);
	if (export->finished && export->digest != NULL)
	{
		uint8		digest[PG_SHA256_DIGEST_LENGTH];

		if (pg_cryptohash_final(export->digest, digest, sizeof(digest)) != 0)
			elog(ERROR, "SHA-256 failed: %s", pg_cryptohash_error(export->digest));
		atp_exportrecord_end(&export->record, (int64) export->end.events, export->byte_count, digest, sizeof(digest));
	}
	return true;
}

/* The next lines, inside SPI; an error in them is recorded and goes on. */
static bool
make_lines_on_record(Export *export)
{
	volatile bool made = false;

	CHECK_FOR_INTERRUPTS();
	SPI_connect();
	PG_TRY();
	{
		int			level = atp_nested_begin();	/* for look-ups of predecessors */

		made = make_lines(export);
		atp_nested_end(level);
	}
	PG_CATCH();
	{
		if (export->record.is_committed)
			atp_exportrecord_failure(&export->record);
		PG_RE_THROW();
	}
	PG_END_TRY();
	SPI_finish();
	return made;
}

/* export_bundle(...) */
Datum
atp_export_bundle(PG_FUNCTION_ARGS)
{
	FuncCallContext *call;
	Export	   *export;
	const char *begin;
	const char *end;

	if (SRF_IS_FIRSTCALL())
	{
		call = SRF_FIRSTCALL_INIT();
		call->user_fctx = begin_export(fcinfo, call->multi_call_memory_ctx);
	}
	call = SRF_PERCALL_SETUP();
	export = call->user_fctx;
	while (export->given == export->lines.size)
	{
		if (!make_lines_on_record(export))
		{
			if (export->digest != NULL)
			{
				/* the export goes now, before its expression context does */
				UnregisterExprContextCallback(((ReturnSetInfo *) fcinfo->resultinfo)->econtext, free_digest, PointerGetDatum(export));
				free_digest(PointerGetDatum(export));
			}
			SRF_RETURN_DONE(call);
		}
	}
	begin = (const char *) export->lines.data + export->given;
	end = memchr(begin, '\n', export->lines.size - export->given);
	export->given += (size_t) (end + 1 - begin);
	SRF_RETURN_NEXT(call, PointerGetDatum(cstring_to_text_with_len(begin, end - begin)));
}

/* Stored Merkle trees; see tile.h. */
#include "log/tile.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "core/bytes.h"
#include "pg/errors.h"
#include "pg/query.h"

#define TILE_BYTES (ATP_TILE_WIDTH * ATP_HASH_SIZE)
#define POSITION_BYTES 8		/* of the first leaf */
#define STEP_BYTES 9			/* at most, from one leaf to the next */
#define TILES_KEPT 16

typedef struct Tile				/* read from a tile or an edge */
{
	int			level;
	uint64		tile;
	int			count;			/* nodes; 0: the slot is free */
	int			used;			/* of the reader's clock */
	bool		has_positions;
	uint8		hashes[TILE_BYTES];
	int64		positions[ATP_TILE_WIDTH];
} Tile;

struct AtpTileReader
{
	int32		tenant;
	uint64		size;
	int			clock;
	Tile		tiles[TILES_KEPT];
};

static void
hash_failed(void)
{
	ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed in OpenSSL"));
}

static Datum
bytea_datum(const void *bytes, size_t size)
{
	bytea	   *made = palloc(VARHDRSZ + size);

	SET_VARSIZE(made, VARHDRSZ + size);
	memcpy(VARDATA(made), bytes, size);
	return PointerGetDatum(made);
}

/* Column `column` of the first row as bytes; NULL with size 0 where it is null. */
static const uint8 *
column_bytes(int column, size_t *size)
{
	bool		null;
	Datum		datum = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null);
	bytea	   *bytes = null ? NULL : DatumGetByteaPP(datum);

	*size = null ? 0 : VARSIZE_ANY_EXHDR(bytes);
	return null ? NULL : (const uint8 *) VARDATA_ANY(bytes);
}

static int64
column_int(int column)
{
	bool		null;

	return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, column, &null));
}

/*
 * Log positions of the leaves of a tile: the first in eight bytes, big-endian, then the steps to the next, seven bits a byte, lowest
 * first, the eighth set where more follow. Most steps take one byte, where the positions would take eight, or an attempt to compress
 * them that costs more than all the rest of a tile.
 */
static Datum
positions_datum(const int64 *positions, int count)
{
	uint8		bytes[POSITION_BYTES + ATP_TILE_WIDTH * STEP_BYTES];
	uint8	   *at = bytes;

	for (int i = 0; i < count; i++)
	{
		if (i == 0)
		{
			atp_put_i64(at, positions[0]);
			at += POSITION_BYTES;
			continue;
		}
		for (uint64 step = (uint64) positions[i] - (uint64) positions[i - 1];; step >>= 7)
		{
			*at++ = (uint8) ((step & 0x7f) | (step > 0x7f ? 0x80 : 0));
			if (step <= 0x7f)
				break;
		}
	}
	return bytea_datum(bytes, (size_t) (at - bytes));
}

/* Reads the positions of `count` leaves; false unless the bytes are those of just as many. */
static bool
read_positions(const uint8 *bytes, size_t size, int count, int64 *positions)
{
	const uint8 *end = bytes + size;
	uint64		position = 0;

	if (bytes == NULL || size < POSITION_BYTES)
		return false;
	for (int i = 0; i < POSITION_BYTES; i++)
		position = position << 8 | *bytes++;
	for (int i = 0; i < count; i++)
	{
		if (i > 0)
		{
			int			shift = 0;

			do
			{
				if (bytes == end || shift >= STEP_BYTES * 7)
					return false;
				position += (uint64) (*bytes & 0x7f) << shift;
				shift += 7;
			} while ((*bytes++ & 0x80) != 0);
		}
		positions[i] = (int64) position;
	}
	return bytes == end;
}

/* Complete nodes at the height of a tile level. */
static uint64
nodes_at(uint64 size, int level)
{
	return level >= ATP_TILE_LEVELS ? 0 : size >> (8 * level);
}

/* ---- appending ---- */

/* Reads the edges of a tree that says it has tree->range.size leaves. Returns what is wrong, or NULL. */
static const char *
load_edges(AtpTree *tree)
{
	static AtpQuery query = {
		"SELECT hashes, positions FROM atp_internal.tree_edge WHERE tenant = $1 AND level = $2", 2, {INT4OID, INT2OID}
	};

	for (int level = 0; level < ATP_TILE_LEVELS; level++)
	{
		Datum		arguments[] = {Int32GetDatum(tree->tenant), Int16GetDatum(level)};
		size_t		count = nodes_at(tree->range.size, level) % ATP_TILE_WIDTH;
		const uint8 *bytes;
		size_t		size;

		if (count == 0)
			continue;
		atp_query(&query, arguments, NULL, false, 1);
		bytes = SPI_processed == 1 ? column_bytes(1, &size) : NULL;
		if (bytes == NULL || size != count * ATP_HASH_SIZE)
			return "the edge of the tree has another size";
		tree->edge[level] = MemoryContextAlloc(tree->memory, TILE_BYTES);
		memcpy(tree->edge[level], bytes, size);
		if (level == 0 && tree->tenant != ATP_ROOT_LOG)
		{
			bytes = column_bytes(2, &size);
			if (!read_positions(bytes, size, (int) count, tree->positions))
				return "the edge of the tree has other log positions";
		}
		SPI_freetuptable(SPI_tuptable);
	}
	return NULL;
}

/* The peaks have to be what the edges hash to: each peak is the root of a stretch at the end of the edge of its level. */
static const char *
check_peaks(const AtpTree *tree)
{
	for (int level = 0; level < ATP_TILE_LEVELS; level++)
	{
		int			count = nodes_at(tree->range.size, level) % ATP_TILE_WIDTH;
		AtpRange	range;

		atp_range_init(&range);
		for (int i = 0; i < count; i++)
			if (!atp_range_append(&range, tree->edge[level] + i * ATP_HASH_SIZE, NULL, NULL))
				hash_failed();
		for (int bit = 0; bit < 8; bit++)
			if ((count >> bit & 1) && memcmp(range.peak[bit], tree->range.peak[level * 8 + bit], ATP_HASH_SIZE) != 0)
				return "the compact range does not match the edge of the tree";
	}
	return NULL;
}

static const char *
load(AtpTree *tree)
{
	static AtpQuery query = {
		"SELECT size, last_position, peaks, root FROM atp_internal.tree WHERE tenant = $1", 1, {INT4OID}
	};
	Datum		argument = Int32GetDatum(tree->tenant);
	const uint8 *bytes;
	size_t		size;
	uint8		root[ATP_HASH_SIZE];
	const char *fault = NULL;

	atp_query(&query, &argument, NULL, false, 1);
	if (SPI_processed == 0)
		return NULL;
	tree->last_position = column_int(2);
	bytes = column_bytes(3, &size);
	if (!atp_range_load(&tree->range, (uint64) column_int(1), bytes, size))
		fault = "the compact range has another size";
	else if (!atp_range_root(&tree->range, root))
		hash_failed();
	bytes = column_bytes(4, &size);
	if (fault == NULL && (size != ATP_HASH_SIZE || memcmp(bytes, root, ATP_HASH_SIZE) != 0))
		fault = "the root does not match the compact range";
	SPI_freetuptable(SPI_tuptable);
	tree->saved_size = tree->range.size;
	if (fault == NULL)
		fault = load_edges(tree);
	return fault != NULL ? fault : check_peaks(tree);
}

AtpTree *
atp_tile_open(int32 tenant, MemoryContext parent, const char **fault)
{
	MemoryContext memory = AllocSetContextCreate(parent, "atp tree", ALLOCSET_SMALL_SIZES);
	AtpTree    *tree = MemoryContextAllocZero(memory, sizeof(AtpTree));

	tree->tenant = tenant;
	tree->memory = memory;
	atp_range_init(&tree->range);
	*fault = load(tree);
	if (*fault == NULL)
		return tree;
	MemoryContextDelete(memory);
	return NULL;
}

static void
write_tile(const AtpTree *tree, int level, uint64 tile)
{
	static AtpQuery query = {
		"INSERT INTO atp_internal.tree_tile (tenant, level, tile, first_position, hashes, positions) VALUES ($1, $2, $3, $4, $5, $6)",
		6, {INT4OID, INT2OID, INT8OID, INT8OID, BYTEAOID, BYTEAOID}
	};
	bool		with_positions = level == 0 && tree->tenant != ATP_ROOT_LOG;
	Datum		arguments[6] = {Int32GetDatum(tree->tenant), Int16GetDatum(level), Int64GetDatum((int64) tile),
	Int64GetDatum(tree->positions[0])};

	SPI_connect();				/* of its own: the append may be made for a row of a scan */
	arguments[4] = bytea_datum(tree->edge[level], TILE_BYTES);
	arguments[5] = with_positions ? positions_datum(tree->positions, ATP_TILE_WIDTH) : (Datum) 0;
	atp_query(&query, arguments, with_positions ? "      " : "   n n", false, 0);
	SPI_finish();
}

/* Takes a node that an append has completed. */
static bool
take_node(void *context, int level, uint64_t index, const uint8_t hash[ATP_HASH_SIZE])
{
	AtpTree    *tree = context;
	int			tile_level = level / 8;
	int			offset = index % ATP_TILE_WIDTH;

	if (level % 8 != 0)
		return true;
	if (tree->edge[tile_level] == NULL)
		tree->edge[tile_level] = MemoryContextAlloc(tree->memory, TILE_BYTES);
	memcpy(tree->edge[tile_level] + offset * ATP_HASH_SIZE, hash, ATP_HASH_SIZE);
	tree->edge_changed[tile_level] = true;
	if (offset == ATP_TILE_WIDTH - 1)
		write_tile(tree, tile_level, index / ATP_TILE_WIDTH);
	return true;
}

void
atp_tile_append(AtpTree *tree, const uint8 leaf[ATP_HASH_SIZE], int64 log_position)
{
	tree->positions[tree->range.size % ATP_TILE_WIDTH] = log_position;
	if (!atp_range_append(&tree->range, leaf, take_node, tree))
		hash_failed();
	tree->last_position = log_position;
}

static void
write_edges(const AtpTree *tree)
{
	static AtpQuery query = {
		"INSERT INTO atp_internal.tree_edge (tenant, level, hashes, positions) VALUES ($1, $2, $3, $4)"
		" ON CONFLICT (tenant, level) DO UPDATE SET hashes = excluded.hashes, positions = excluded.positions",
		4, {INT4OID, INT2OID, BYTEAOID, BYTEAOID}
	};

	for (int level = 0; level < ATP_TILE_LEVELS; level++)
	{
		int			count = nodes_at(tree->range.size, level) % ATP_TILE_WIDTH;
		bool		with_positions = level == 0 && tree->tenant != ATP_ROOT_LOG;
		Datum		arguments[4];

		if (!tree->edge_changed[level])
			continue;
		arguments[0] = Int32GetDatum(tree->tenant);
		arguments[1] = Int16GetDatum(level);
		arguments[2] = bytea_datum(tree->edge[level], (size_t) count * ATP_HASH_SIZE);
		arguments[3] = with_positions ? positions_datum(tree->positions, count) : (Datum) 0;
		atp_query(&query, arguments, with_positions ? "    " : "   n", false, 0);
	}
}

void
atp_tile_save(AtpTree *tree)
{
	static AtpQuery query = {
		"INSERT INTO atp_internal.tree (tenant, size, last_position, changed_at, root, peaks)"
		" VALUES ($1, $2, $3, pg_catalog.clock_timestamp(), $4, $5)"
		" ON CONFLICT (tenant) DO UPDATE SET size = excluded.size, last_position = excluded.last_position,"
		" changed_at = excluded.changed_at, root = excluded.root, peaks = excluded.peaks",
		5, {INT4OID, INT8OID, INT8OID, BYTEAOID, BYTEAOID}
	};

	if (tree->range.size != tree->saved_size)
	{
		MemoryContext before = MemoryContextSwitchTo(tree->memory);
		uint8		root[ATP_HASH_SIZE];
		uint8		peaks[ATP_TREE_LEVELS * ATP_HASH_SIZE];
		size_t		size = atp_range_save(&tree->range, peaks);
		Datum		arguments[5];

		if (!atp_range_root(&tree->range, root))
			hash_failed();
		arguments[0] = Int32GetDatum(tree->tenant);
		arguments[1] = Int64GetDatum((int64) tree->range.size);
		arguments[2] = Int64GetDatum(tree->last_position);
		arguments[3] = bytea_datum(root, ATP_HASH_SIZE);
		arguments[4] = bytea_datum(peaks, size);
		write_edges(tree);
		atp_query(&query, arguments, NULL, false, 0);
		MemoryContextSwitchTo(before);
	}
	MemoryContextDelete(tree->memory);
}

/* ---- reading ---- */

AtpTileReader *
atp_tile_read(int32 tenant, MemoryContext memory)
{
	static AtpQuery query = {"SELECT size FROM atp_internal.tree WHERE tenant = $1", 1, {INT4OID}};
	AtpTileReader *reader = MemoryContextAlloc(memory, sizeof(AtpTileReader));
	Datum		argument = Int32GetDatum(tenant);

	reader->tenant = tenant;
	reader->clock = 0;
	for (int i = 0; i < TILES_KEPT; i++)
		reader->tiles[i].count = reader->tiles[i].used = 0;
	atp_query(&query, &argument, NULL, true, 1);
	reader->size = SPI_processed == 1 ? (uint64) column_int(1) : 0;
	SPI_freetuptable(SPI_tuptable);
	return reader;
}

uint64
atp_tile_size(const AtpTileReader *reader)
{
	return reader->size;
}

/* Fills a tile from the row that a query gave; its count stays 0 where there is none or it is of another size. */
static void
fill_tile(Tile *tile, int expected)
{
	const uint8 *bytes;
	size_t		size;

	if (SPI_processed == 1)
	{
		bytes = column_bytes(1, &size);
		if (bytes != NULL && size == (size_t) expected * ATP_HASH_SIZE)
		{
			memcpy(tile->hashes, bytes, size);
			tile->count = expected;
		}
		bytes = column_bytes(2, &size);
		tile->has_positions = read_positions(bytes, size, expected, tile->positions);
	}
	SPI_freetuptable(SPI_tuptable);
}

static Tile *
get_tile(AtpTileReader *reader, int level, uint64 number)
{
	static AtpQuery full = {
		"SELECT hashes, positions FROM atp_internal.tree_tile WHERE tenant = $1 AND level = $2 AND tile = $3",
		3, {INT4OID, INT2OID, INT8OID}
	};
	static AtpQuery edge = {
		"SELECT hashes, positions FROM atp_internal.tree_edge WHERE tenant = $1 AND level = $2", 2, {INT4OID, INT2OID}
	};
	uint64		nodes = nodes_at(reader->size, level);
	bool		is_full = (number + 1) * ATP_TILE_WIDTH <= nodes;
	Datum		arguments[] = {Int32GetDatum(reader->tenant), Int16GetDatum(level), Int64GetDatum((int64) number)};
	Tile	   *tile = &reader->tiles[0];

	for (int i = 0; i < TILES_KEPT; i++)
	{
		Tile	   *kept = &reader->tiles[i];

		if (kept->count > 0 && kept->level == level && kept->tile == number)
		{
			kept->used = ++reader->clock;
			return kept;
		}
		if (kept->used < tile->used)
			tile = kept;
	}
	CHECK_FOR_INTERRUPTS();
	tile->level = level;
	tile->tile = number;
	tile->count = 0;
	tile->used = ++reader->clock;
	atp_query(is_full ? &full : &edge, arguments, NULL, true, 1);
	fill_tile(tile, is_full ? ATP_TILE_WIDTH : (int) (nodes % ATP_TILE_WIDTH));
	return tile->count > 0 ? tile : NULL;
}

static bool
read_node(void *context, int level, uint64_t index, uint8_t hash[ATP_HASH_SIZE])
{
	int			tile_level = level / 8;
	uint64		first = index << (level % 8);
	int			width = 1 << (level % 8);
	Tile	   *tile = get_tile(context, tile_level, first / ATP_TILE_WIDTH);
	int			offset = first % ATP_TILE_WIDTH;
	AtpRange	range;

	if (tile == NULL || offset + width > tile->count)
		return false;
	atp_range_init(&range);
	for (int i = 0; i < width; i++)
		if (!atp_range_append(&range, tile->hashes + (offset + i) * ATP_HASH_SIZE, NULL, NULL))
			return false;
	return atp_range_root(&range, hash);
}

AtpTreeSource
atp_tile_source(AtpTileReader *reader)
{
	return (AtpTreeSource) {read_node, reader};
}

bool
atp_tile_find_position(AtpTileReader *reader, uint64 leaf, int64 *log_position)
{
	Tile	   *tile = leaf < reader->size ? get_tile(reader, 0, leaf / ATP_TILE_WIDTH) : NULL;

	if (tile == NULL || !tile->has_positions)
		return false;
	*log_position = tile->positions[leaf % ATP_TILE_WIDTH];
	return true;
}

bool
atp_tile_find_leaf(AtpTileReader *reader, int64 log_position, uint64 *leaf)
{
	static AtpQuery query = {
		"SELECT tile FROM atp_internal.tree_tile WHERE tenant = $1 AND level = 0 AND first_position <= $2"
		" ORDER BY first_position DESC LIMIT 1", 2, {INT4OID, INT8OID}
	};
	Datum		arguments[] = {Int32GetDatum(reader->tenant), Int64GetDatum(log_position)};
	uint64		number = 0;
	bool		found;

	atp_query(&query, arguments, NULL, true, 1);
	found = SPI_processed == 1;
	if (found)
		number = (uint64) column_int(1);
	SPI_freetuptable(SPI_tuptable);
	/* the tile that begins at or before the position, and then the edge, which has no row of its own in the index */
	for (int i = 0; i < 2; i++, number = reader->size / ATP_TILE_WIDTH)
	{
		Tile	   *tile = i == 0 && !found ? NULL : get_tile(reader, 0, number);

		for (int low = 0, high = tile != NULL && tile->has_positions ? tile->count : 0; low < high;)
		{
			int			middle = (low + high) / 2;

			if (tile->positions[middle] == log_position)
			{
				*leaf = number * ATP_TILE_WIDTH + middle;
				return true;
			}
			if (tile->positions[middle] < log_position)
				low = middle + 1;
			else
				high = middle;
		}
	}
	return false;
}

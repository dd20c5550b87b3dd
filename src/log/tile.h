/*
 * Stored Merkle trees: one a tenant over the hashes of its events in log order, and the root log (key ATP_ROOT_LOG) over the
 * heads of the tenants.
 *
 * Nodes lie in tiles, in the layout of C2SP tlog-tiles: tile n of level t holds the nodes (8t, 256n) to (8t, 256n + 255). A full
 * tile is written once and never changes (atp_internal.tree_tile); the unfinished tile at the right of each level lies in
 * atp_internal.tree_edge; atp_internal.tree holds size, root and the compact range. Of level 0 the log positions of the leaves lie
 * beside the hashes: that is the map between log and tree, both ways.
 *
 * Cost of a leaf: one node hash, a 256th of a tile row, and its share of one edge row and one tree row per tree and transaction,
 * whatever the size of the tree. A node is read from one tile.
 *
 * One writer: who appends holds the row lock of atp_internal.leaf_state (tenant trees) or checkpoint_state (root log).
 */
#ifndef ATP_TILE_H
#define ATP_TILE_H

#include "postgres.h"

#include "core/tree.h"

#define ATP_ROOT_LOG 0			/* in the place of a tenant's key */
#define ATP_TILE_WIDTH 256
#define ATP_TILE_LEVELS 8

typedef struct AtpTree			/* a tree open for appending */
{
	int32		tenant;			/* or ATP_ROOT_LOG */
	AtpRange	range;
	uint64		saved_size;		/* what the tables say */
	uint8	   *edge[ATP_TILE_LEVELS];	/* room for a tile each, allocated when first needed */
	bool		edge_changed[ATP_TILE_LEVELS];
	int64		positions[ATP_TILE_WIDTH];	/* of the leaves in edge[0] */
	int64		last_position;	/* log position up to which the tenant's events are in; 0: none */
	MemoryContext memory;
} AtpTree;

/*
 * Reads a tree for appending, in a memory context of its own below `parent`. The edges are checked against the compact
 * range and the root: false, with nothing allocated, where they disagree. The caller is connected to SPI, here and below.
 */
extern AtpTree *atp_tile_open(int32 tenant, MemoryContext parent, const char **fault);
extern void atp_tile_append(AtpTree *tree, const uint8 leaf[ATP_HASH_SIZE], int64 log_position);
extern void atp_tile_save(AtpTree *tree);	/* also frees it */

/* The nodes of a stored tree, for proofs: what the active snapshot shows. Remembers the tiles read last. */
typedef struct AtpTileReader AtpTileReader;

extern AtpTileReader *atp_tile_read(int32 tenant, MemoryContext memory);
extern uint64 atp_tile_size(const AtpTileReader *reader);
extern AtpTreeSource atp_tile_source(AtpTileReader *reader);

/* The leaf of a log position, or the log position of a leaf; false where the tree has none. */
extern bool atp_tile_find_leaf(AtpTileReader *reader, int64 log_position, uint64 *leaf);
extern bool atp_tile_find_position(AtpTileReader *reader, uint64 leaf, int64 *log_position);

#endif

/* Proofs from stored trees: in a time that does not depend on the size of the log, from some ten tiles. */
#ifndef ATP_PROOF_H
#define ATP_PROOF_H

#include "postgres.h"

#include "log/tile.h"

typedef struct AtpCover			/* what stands over a tenant's events: its head in the root log, and the checkpoint over that */
{
	int64		checkpoint_size;
	uint8		root_hash[ATP_HASH_SIZE];
	int64		head_leaf;		/* in the root log */
	int64		tree_size;
	uint8		tree_hash[ATP_HASH_SIZE];
	char	   *note;			/* the signed checkpoint, palloc'd in the caller's context; NULL: nobody has signed it */
} AtpCover;

/*
 * Finds the newest checkpoint that is signed, or where none is, the newest; and the tenant's head under it. False: there is no
 * checkpoint, or the tenant has no head under it. The caller is connected to SPI and has an active snapshot.
 */
extern bool atp_proof_cover(int32 tenant, MemoryContext memory, AtpCover *cover);

/* Makes proofs from a reader's tiles. Raises TP506 where the tree has not the nodes, TP501 where the arguments lie outside. */
extern void atp_proof_make_inclusion(AtpTileReader *reader, uint64 leaf, uint64 size, AtpProof *proof);
extern void atp_proof_make_consistency(AtpTileReader *reader, uint64 old_size, uint64 new_size, AtpProof *proof);

#endif

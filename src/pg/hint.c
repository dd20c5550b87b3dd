/*
 * Hints of where rows are; see hint.h.
 *
 * Direct-mapped, a word a hint: 23 bits of the key, block, offset. Words are read and written whole and without a lock. The buffer stands
 * beside it, and may be another row's: ReadRecentBuffer asks the buffer what it holds.
 */
#include "pg/hint.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/memutils.h"

#define HINTS 65536				/* of 16 bytes */
#define OFFSET_BITS 9
#define PLACE_BITS (32 + OFFSET_BITS)

typedef struct Hint
{
	pg_atomic_uint64 place;		/* 0: none */
	pg_atomic_uint32 buffer;
} Hint;

static Hint *hints;
static shmem_request_hook_type previous_request;
static shmem_startup_hook_type previous_startup;

static void
clear(void)
{
	for (int i = 0; i < HINTS; i++)
	{
		pg_atomic_init_u64(&hints[i].place, 0);
		pg_atomic_init_u32(&hints[i].buffer, (uint32) InvalidBuffer);
	}
}

static Hint *
hint_of(uint64 key)
{
	if (hints == NULL)
	{
		hints = MemoryContextAlloc(TopMemoryContext, HINTS * sizeof(Hint));
		clear();
	}
	return &hints[key % HINTS];
}

uint64
atp_hint_key(uint32 space, const char *name)
{
	return hash_bytes_extended((const unsigned char *) name, (int) strlen(name), (uint64) MyDatabaseId << 32 | space);
}

bool
atp_hint_get(uint64 key, ItemPointer place, Buffer *buffer)
{
	Hint	   *hint = hint_of(key);
	uint64		word = pg_atomic_read_u64(&hint->place);

	if (word == 0 || word >> PLACE_BITS != key >> PLACE_BITS)
		return false;
	ItemPointerSet(place, (BlockNumber) (word >> OFFSET_BITS), (OffsetNumber) (word & ((1 << OFFSET_BITS) - 1)));
	*buffer = (Buffer) pg_atomic_read_u32(&hint->buffer);
	return true;
}

void
atp_hint_set(uint64 key, const ItemPointerData *place, Buffer buffer)
{
	Hint	   *hint = hint_of(key);
	uint64		offset = ItemPointerGetOffsetNumber(place);
	uint64		word = key >> PLACE_BITS << PLACE_BITS | (uint64) ItemPointerGetBlockNumber(place) << OFFSET_BITS | offset;

	if (offset >> OFFSET_BITS != 0)
		return;					/* blocks of 32 kB have more rows than a hint can name */
	if (pg_atomic_read_u32(&hint->buffer) != (uint32) buffer)
		pg_atomic_write_u32(&hint->buffer, (uint32) buffer);
	if (pg_atomic_read_u64(&hint->place) != word)
		pg_atomic_write_u64(&hint->place, word);
}

static void
request(void)
{
	if (previous_request != NULL)
		previous_request();
	RequestAddinShmemSpace(HINTS * sizeof(Hint));
}

/* After a crash it runs again: buffers and pages are others then. */
static void
start_up(void)
{
	bool		found;

	if (previous_startup != NULL)
		previous_startup();
	hints = ShmemInitStruct("atp hints", HINTS * sizeof(Hint), &found);
	if (!found)
		clear();
}

void
atp_hint_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request = shmem_request_hook;
	shmem_request_hook = request;
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = start_up;
}

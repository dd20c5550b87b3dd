/* The event before; see predecessor.h. */
#include "log/predecessor.h"

#include "catalog/pg_type_d.h"
#include "common/hashfn.h"

#include "pg/scan.h"

#define WAYS 8
#define SETS 16384

/* A look-up reads the tags of one set, a line of the cache, and the place that it finds. */
struct AtpPredecessors
{
	uint32		tags[SETS][WAYS];	/* of the places: never 0 where one is taken */
	AtpPredecessor places[SETS][WAYS];
	uint32		turn;			/* which place of a full set goes next */
};

typedef struct Answer
{
	bool		found;
	bool		has_hash;
	AtpPredecessor *place;
} Answer;

static bool
take_row(void *context, TupleTableSlot *row)
{
	Answer	   *answer = context;

	answer->found = true;
	memcpy(answer->place->stream_uid, DatumGetUUIDP(row->tts_values[0])->data, UUID_LEN);
	if (!row->tts_isnull[1])
	{
		struct varlena *hash = PG_DETOAST_DATUM_PACKED(row->tts_values[1]);

		answer->has_hash = VARSIZE_ANY_EXHDR(hash) == ATP_HASH_SIZE;
		if (answer->has_hash)
			memcpy(answer->place->hash, VARDATA_ANY(hash), ATP_HASH_SIZE);
	}
	return false;
}

AtpPredecessors *
atp_predecessors_make(MemoryContext memory)
{
	return MemoryContextAllocExtended(memory, sizeof(AtpPredecessors), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

void
atp_predecessors_clear(AtpPredecessors *table)
{
	memset(table->tags, 0, sizeof(table->tags));
	memset(table->places, 0, sizeof(table->places));
}

static uint32
hash_of(int64 stream, int32 tenant)
{
	return murmurhash32((uint32) stream * 31 + tenant);
}

void
atp_predecessor_expect(const AtpPredecessors *table, int64 stream, int32 tenant, bool far_away)
{
	uint32		hash = hash_of(stream, tenant);
	uint32		set = hash % SETS;

	if (far_away)
	{
		__builtin_prefetch(table->tags[set]);
		return;
	}
	for (int i = 0; i < WAYS; i++)
		if (table->tags[set][i] == (hash | 1))
		{
			__builtin_prefetch(&table->places[set][i]);
			__builtin_prefetch((const char *) (&table->places[set][i] + 1) - 1);
		}
}

/* The place of a stream among the few that it may have: its own, a free one, or one that it takes from another. */
static AtpPredecessor *
find_place(AtpPredecessors *table, int64 stream, int32 tenant)
{
	uint32		hash = hash_of(stream, tenant);
	uint32	   *tags = table->tags[hash % SETS];
	AtpPredecessor *set = table->places[hash % SETS];
	int			taken = -1;

	for (int i = 0; i < WAYS; i++)
	{
		if (tags[i] == (hash | 1) && set[i].stream == stream && set[i].tenant == tenant)
			return &set[i];
		if (tags[i] == 0)
			taken = i;
	}
	if (taken < 0)
		taken = (int) (table->turn++ % WAYS);
	tags[taken] = hash | 1;
	return &set[taken];
}

const char *
atp_predecessor_find(AtpPredecessors *table, int64 stream, int32 tenant, int64 version, AtpPredecessor **found)
{
	static AtpScan first = {
		"SELECT s.stream_uid, NULL::bytea FROM atp_internal.stream s WHERE s.stream = $1 AND s.tenant = $2", 2, {INT8OID, INT4OID}
	};
	static AtpScan later = {
		"SELECT s.stream_uid, p.hash FROM atp_internal.stream s LEFT JOIN atp_internal.event p ON p.stream = s.stream"
		" AND p.tenant = s.tenant AND p.stream_version = $3 AND p.event_id BETWEEN s.min_event_id AND s.max_event_id"
		" WHERE s.stream = $1 AND s.tenant = $2", 3, {INT8OID, INT4OID, INT8OID}
	};
	AtpPredecessor *place = find_place(table, stream, tenant);
	Answer		answer = {.place = place};
	Datum		arguments[] = {Int64GetDatum(stream), Int32GetDatum(tenant), Int64GetDatum(version - 1)};

	*found = place;
	if (place->stream == stream && place->tenant == tenant && place->version == version - 1 && version > 1)
		return NULL;
	place->stream = stream;
	place->tenant = tenant;
	place->version = 0;
	memset(place->hash, 0, ATP_HASH_SIZE);
	atp_scan(version == 1 ? &first : &later, arguments, take_row, &answer);
	if (!answer.found)
	{
		place->stream = 0;
		return "event belongs to no stream";
	}
	return version == 1 || answer.has_hash ? NULL : "the event before is missing";
}

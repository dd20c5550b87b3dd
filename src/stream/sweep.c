/*
 * Verification of all streams; see sweep.h.
 *
 * One pass over the event table in the order in which it lies on disk: a hash table holds where each stream stands. A row that
 * comes before its predecessor (two backends appended to the stream, each on a page of its own) waits, its commitments
 * already computed.
 *
 * What the log says comes first: for each stream how many of its events have a place, and a digest of their ids and types in
 * that order. The pass builds the same digest from the events in the order of their versions. It is a polynomial over a prime
 * field at a secret random point, so that different sequences agree by a chance of n / 2^59, which nobody can better who does not
 * know the point. That costs a tenth of looking up each event by id. It does not tell where they differ: whoever asks walks the log.
 *
 * Memory is bounded twice. The table holds so many streams and no more: beyond that, further passes, each over a range of
 * keys. The rows that wait have a budget: a stream that would exceed it is put off, and walked by index after the pass.
 *
 * A fault does not end the work on its stream: in disk order an earlier version may be read later. The walk goes on from
 * the stored hash, so that one changed event is one fault.
 */
#include "stream/sweep.h"

#include "common/hashfn.h"
#include "port/pg_bswap.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "pg/scan.h"
#include "pg/tablescan.h"
#include "stream/chain.h"

#define PRIME ((UINT64CONST(1) << 61) - 1)

typedef struct Waiting			/* a row that came before its predecessor */
{
	struct Waiting *next;		/* of a higher version, or an equal one */
	const char *fault;			/* found when it was read */
	AtpChainLink link;
} Waiting;

typedef struct StreamKey
{
	int64		stream;
	int32		tenant;
	int32		zero;
} StreamKey;

typedef struct Stream			/* in the hash table of a pass */
{
	StreamKey	key;
	char		status;			/* of the hash table */
	bool		put_off;
	bool		faulty;
	int64		checked;		/* its rows so far */
	uint8		stream_uid[UUID_LEN];
	AtpChainWalk walk;
	uint64		digest;			/* of the events walked, up to `placed` */
	int64		placed;			/* events that the log has */
	uint64		placed_digest;
	Waiting    *first;
	Waiting    *last;
} Stream;

static inline uint32
hash_key(StreamKey key)
{
	return murmurhash32((uint32) key.stream ^ (uint32) (key.stream >> 32) * 31 ^ (uint32) key.tenant * 0x9e3779b1);
}

#define SH_PREFIX streams
#define SH_ELEMENT_TYPE Stream
#define SH_KEY_TYPE StreamKey
#define SH_KEY key
#define SH_HASH_KEY(table, key) hash_key(key)
#define SH_EQUAL(table, a, b) ((a).stream == (b).stream && (a).tenant == (b).tenant)
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct Pass
{
	const AtpSweepWork *work;
	AtpVerdict *verdict;
	int64		low,
				high;			/* keys of the streams of this pass */
	int64		most;			/* streams to look at */
	int64		seen;
	uint64		point;			/* of the digests */
	streams_hash *table;
	MemoryContext memory;		/* of everything that ends with the pass */
	MemoryContext waiting_memory;
	int64		waiting_count;
	int64		waiting_max;
} Pass;

/* The class by other bits than the hash table's, or each class would use a part of its table only. */
static inline bool
is_ours(const Pass *pass, int64 stream)
{
	return stream >= pass->low && stream <= pass->high &&
		(uint32) ((uint64) stream * UINT64CONST(0x9e3779b97f4a7c15) >> 33) % pass->work->classes == pass->work->class;
}

/* ---- digests ---- */

/* a * b + c, of numbers below the prime, by halves of 31 bits: 2^61 is 1, 2^62 is 2. */
static inline uint64
multiply_add(uint64 a, uint64 b, uint64 c)
{
	const uint64 low = (UINT64CONST(1) << 31) - 1;
	uint64		middle = (a >> 31) * (b & low) + (a & low) * (b >> 31);
	uint64		sum = 2 * (a >> 31) * (b >> 31) + (middle >> 30) + ((middle & (low >> 1)) << 31) + (a & low) * (b & low) + c;

	sum = (sum & PRIME) + (sum >> 61);
	return sum >= PRIME ? sum - PRIME : sum;
}

static inline uint64
read_u64(const uint8 *bytes)
{
	uint64		number;

	memcpy(&number, bytes, sizeof(number));
	return pg_ntoh64(number);
}

/* Three words below the prime that say the id and the type. */
static inline uint64
digest_event(uint64 digest, uint64 point, const uint8 *event_id, int32 event_type)
{
	uint64		high = read_u64(event_id);
	uint64		low = read_u64(event_id + 8);

	digest = multiply_add(digest, point, high >> 8);
	digest = multiply_add(digest, point, (high & 0xff) << 48 | low >> 16);
	return multiply_add(digest, point, (low & 0xffff) << 32 | (uint32) event_type);
}

static uint64
draw_point(void)
{
	uint64		point;

	do
		if (!pg_strong_random(&point, sizeof(point)))
			ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values"));
	while ((point &= PRIME) < UINT64CONST(1) << 32 || point == PRIME);
	return point;
}

/* ---- what the log says ---- */

static void
take_placed(void *context, int32 tenant, int64 stream, const uint8 *event_id, int32 event_type)
{
	Pass	   *pass = context;
	Stream	   *entry;

	if (!is_ours(pass, stream))
		return;
	entry = streams_lookup(pass->table, (StreamKey) {stream, tenant, 0});
	if (entry == NULL)
	{
		pass->verdict->log_differs = true;
		return;
	}
	entry->placed++;
	entry->placed_digest = digest_event(entry->placed_digest, pass->point, event_id, event_type);
}

static void
read_log(Pass *pass)
{
	const AtpSweepLog *log = pass->work->log;
	streams_iterator place;
	Stream	   *stream;

	if (log->read(log->context, false, take_placed, pass))
		return;
	streams_start_iterate(pass->table, &place);
	while ((stream = streams_iterate(pass->table, &place)) != NULL)
		stream->placed = stream->placed_digest = 0;
	if (!log->read(log->context, true, take_placed, pass))
		pass->verdict->log_differs = true;
}

/* The event that has just been walked, against the log. */
static void
compare_placed(Pass *pass, Stream *stream, const AtpChainLink *link)
{
	const AtpSweepLog *log = pass->work->log;

	if (link->version <= stream->placed)
	{
		stream->digest = digest_event(stream->digest, pass->point, link->event_id, link->event_type);
		if (link->version == stream->placed && stream->digest != stream->placed_digest)
			pass->verdict->log_differs = true;
	}
	else if (link->version == stream->placed + 1 && log->is_due(log->context, link->xid, link->seq))
		pass->verdict->log_differs = true;
}

/* ---- the events ---- */

static void
report(AtpVerdict *verdict, const AtpFault *fault)
{
	AtpFault   *first = &verdict->first;
	bool		earlier;

	if (first->what == NULL || fault->tenant != first->tenant)
		earlier = first->what == NULL || fault->tenant < first->tenant;
	else if (fault->stream != first->stream)
		earlier = fault->stream < first->stream;
	else
		earlier = fault->version < first->version;
	if (earlier)
		*first = *fault;
}

static void
report_stream(Pass *pass, Stream *stream, int64 version, const char *what)
{
	AtpFault	fault = {.tenant = stream->key.tenant, .stream = stream->key.stream, .version = version, .what = what};

	if (!stream->faulty)
		pass->verdict->faulty++;
	stream->faulty = true;
	report(pass->verdict, &fault);
}

static void
advance(Pass *pass, Stream *stream, const AtpChainLink *link, const char *fault)
{
	fault = atp_chain_walk(&stream->walk, stream->stream_uid, link, fault);
	if (fault != NULL)
		report_stream(pass, stream, link->version, fault);
	compare_placed(pass, stream, link);
}

static Waiting *
take_first(Pass *pass, Stream *stream)
{
	Waiting    *taken = stream->first;

	stream->first = taken->next;
	if (stream->first == NULL)
		stream->last = NULL;
	pass->waiting_count--;
	return taken;
}

static void
put_off(Pass *pass, Stream *stream)
{
	while (stream->first != NULL)
		pfree(take_first(pass, stream));
	stream->put_off = true;
	pass->verdict->log_unread = true;	/* the walk by index does not compare */
	pass->verdict->checked -= stream->checked;	/* they will be read again */
}

/* Rows mostly arrive in order, so that the end is looked at first. */
static void
let_wait(Pass *pass, Stream *stream, const AtpChainLink *link, const char *fault)
{
	Waiting    *waiting;
	Waiting   **place = &stream->first;

	if (pass->waiting_count >= pass->waiting_max)
	{
		put_off(pass, stream);
		return;
	}
	waiting = MemoryContextAlloc(pass->waiting_memory, sizeof(Waiting));
	waiting->fault = fault;
	waiting->link = *link;
	if (stream->last != NULL && stream->last->link.version <= link->version)
		place = &stream->last->next;
	else
		while (*place != NULL && (*place)->link.version <= link->version)
			place = &(*place)->next;
	waiting->next = *place;
	*place = waiting;
	if (waiting->next == NULL)
		stream->last = waiting;
	pass->waiting_count++;
}

static void
release_waiting(Pass *pass, Stream *stream)
{
	while (stream->first != NULL && stream->first->link.version <= stream->walk.version + 1)
	{
		Waiting    *waiting = take_first(pass, stream);

		if (waiting->link.version <= stream->walk.version)
			report_stream(pass, stream, waiting->link.version, ATP_CHAIN_TWICE);
		else
			advance(pass, stream, &waiting->link, waiting->fault);
		pfree(waiting);
	}
}

static bool
take_event(void *context, TupleTableSlot *row)
{
	Pass	   *pass = context;
	StreamKey	key = {DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM]), DatumGetInt32(row->tts_values[ATP_CHAIN_TENANT]), 0};
	Stream	   *stream;
	AtpChainLink link;
	const char *fault;

	if (!is_ours(pass, key.stream))
		return true;
	stream = streams_lookup(pass->table, key);
	if (stream != NULL && stream->put_off)
		return true;
	pass->verdict->checked++;
	if (stream == NULL)
	{
		AtpFault	lost = {.tenant = key.tenant, .stream = key.stream, .what = "event belongs to no stream"};

		lost.version = DatumGetInt64(row->tts_values[ATP_CHAIN_STREAM_VERSION]);
		pass->verdict->faulty++;
		report(pass->verdict, &lost);
		return true;
	}
	stream->checked++;
	slot_getallattrs(row);
	fault = atp_chain_read(row, pass->work->deep, &link);
	if (link.version > stream->walk.version + 1)
		let_wait(pass, stream, &link, fault);
	else if (link.version <= stream->walk.version)
		report_stream(pass, stream, link.version, ATP_CHAIN_TWICE);
	else
	{
		advance(pass, stream, &link, fault);
		release_waiting(pass, stream);
	}
	return true;
}

/* ---- the streams ---- */

static bool
load_row(void *context, TupleTableSlot *row)
{
	Pass	   *pass = context;
	StreamKey	key = {DatumGetInt64(row->tts_values[0]), DatumGetInt32(row->tts_values[1]), 0};
	bool		found;
	Stream	   *stream;
	char		status;

	pass->seen++;
	pass->high = key.stream;
	if (!is_ours(pass, key.stream))
		return true;
	stream = streams_insert(pass->table, key, &found);
	status = stream->status;
	memset(stream, 0, sizeof(*stream));
	stream->key = key;
	stream->status = status;
	memcpy(stream->stream_uid, DatumGetUUIDP(row->tts_values[2])->data, UUID_LEN);
	return true;
}

static bool
end_row(void *context, TupleTableSlot *row)
{
	Pass	   *pass = context;
	AtpChainHead head;
	Stream	   *stream;
	const char *what;
	int64		version;

	stream = streams_lookup(pass->table, (StreamKey) {DatumGetInt64(row->tts_values[0]), DatumGetInt32(row->tts_values[1]), 0});
	if (stream == NULL)
		return true;
	atp_chain_read_head(row, &head);
	if (stream->put_off)
	{
		AtpFault	fault;

		pass->verdict->checked += atp_verify_walk(&head, pass->work->deep, &fault);
		if (fault.what != NULL)
			report_stream(pass, stream, fault.version, fault.what);
		return true;
	}
	if (stream->walk.version < stream->placed)
		pass->verdict->log_differs = true;
	if (stream->first != NULL)
	{
		report_stream(pass, stream, stream->walk.version + 1, ATP_CHAIN_MISSING);
		return true;
	}
	what = atp_chain_compare_head(&stream->walk, &head, &version);
	if (what == NULL && pass->work->deep && !stream->faulty)
	{
		AtpFault	fault;

		atp_verify_index(&head, &fault);	/* whether readers, who go by index, find what is there */
		what = fault.what;
		version = fault.version;
	}
	if (what != NULL)
		report_stream(pass, stream, version, what);
	return true;
}

/* How many streams fit into a pass: the hash table doubles, and is a power of two of which 0.9 is used. */
static int64
streams_per_pass(int64 memory)
{
	int64		size = 1024;

	while (size * 2 * (int64) sizeof(Stream) <= memory / 4 * 3)
		size *= 2;
	return size / 10 * 8;
}

/* Loads the streams of the class among those with keys from `low`, as many as fit; `high` becomes the last key looked at. */
static void
load_streams(Pass *pass)
{
	static AtpScan load = {
		"SELECT s.stream, s.tenant, s.stream_uid FROM atp_internal.stream s WHERE s.stream >= $1 "
		"ORDER BY s.stream FETCH FIRST $2 ROWS WITH TIES", 2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	int64		most = streams_per_pass(pass->work->memory) * pass->work->classes;
	Datum		arguments[] = {Int64GetDatum(pass->low), Int64GetDatum(most)};

	pass->table = streams_create(pass->memory, 1024, NULL);
	atp_scan(&load, arguments, load_row, pass);
	if (pass->seen < most)
		pass->high = PG_INT64_MAX;
}

/* Verifies streams of the class with keys from `low`; returns the last key that was among them. */
static int64
run_pass(const AtpSweepWork *work, int64 low, AtpVerdict *verdict)
{
	static AtpScan heads = {
		"SELECT " ATP_CHAIN_HEAD_COLUMNS " FROM atp_internal.stream s WHERE s.stream BETWEEN $1 AND $2",
		2, {INT8OID, INT8OID}, .plan_each_time = true
	};
	Pass		pass = {.work = work, .verdict = verdict, .low = low, .high = PG_INT64_MAX, .point = draw_point()};
	Datum		range[2];

	pass.memory = AllocSetContextCreate(CurrentMemoryContext, "atp verification", ALLOCSET_DEFAULT_SIZES);
	pass.waiting_memory = SlabContextCreate(pass.memory, "atp events that wait", SLAB_LARGE_BLOCK_SIZE, sizeof(Waiting));
	pass.waiting_max = work->memory / 4 / (int64) sizeof(Waiting);
	load_streams(&pass);
	range[0] = Int64GetDatum(low);
	range[1] = Int64GetDatum(pass.high);
	read_log(&pass);
	atp_tablescan(ATP_REL_EVENT, ATP_CHAIN_TENANT + 1, take_event, &pass);
	atp_scan(&heads, range, end_row, &pass);
	MemoryContextDelete(pass.memory);
	return pass.high;
}

void
atp_sweep(const AtpSweepWork *work, AtpVerdict *verdict)
{
	int64		low = PG_INT64_MIN;
	int64		high;

	memset(verdict, 0, sizeof(*verdict));
	while ((high = run_pass(work, low, verdict)) < PG_INT64_MAX)
		low = high + 1;
}

void
atp_sweep_merge(AtpVerdict *sum, const AtpVerdict *one)
{
	sum->checked += one->checked;
	sum->faulty += one->faulty;
	sum->log_differs |= one->log_differs;
	sum->log_unread |= one->log_unread;
	if (one->first.what != NULL)
		report(sum, &one->first);
}

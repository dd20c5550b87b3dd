/*
 * The chain as it is stored; see chain.h.
 *
 * Names of event types and identities of logs come from the caches of record/; in front of them stands a small direct-mapped
 * table, because a scan asks for the same few for every row.
 */
#include "stream/chain.h"

#include "fmgr.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"
#include "utils/xid8.h"

#include "core/canoncheck.h"
#include "pg/canonical.h"
#include "pg/relation.h"
#include "record/envelope.h"
#include "record/eventtype.h"
#include "record/tenant.h"
#include "stream/stream.h"

#define UNIX_SHIFT ((int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)
#define RECENT_TYPES 64

static const char *
read_type(int32 key, const AtpEventType **type)
{
	static AtpEventType recent[RECENT_TYPES];
	static uint64 recent_of[RECENT_TYPES];	/* generation of the relations under which it was read */
	int			place = (uint32) key % RECENT_TYPES;

	if (recent[place].event_type != key || recent_of[place] != atp_relation_generation())
	{
		recent_of[place] = 0;
		if (!atp_eventtype_get(key, &recent[place]))
			return "event type is not registered";
		recent_of[place] = atp_relation_generation();
	}
	*type = &recent[place];
	return NULL;
}

static void
hash_failed(void)
{
	ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed in OpenSSL"));
}

/* Says whether the text is what the canonical writer makes of it. */
static bool
is_canonical(const char *text, size_t size)
{
	AtpBuf		scratch;

	atp_buf_init_palloc(&scratch, CurrentMemoryContext);
	return atp_canon_check(text, size, &scratch);
}

/* The digest of a name that is given as a canonical JSON string. */
static void
digest_name(const char *string, size_t size, uint8 digest[ATP_CHAIN_NAME_SIZE])
{
	uint8		hash[ATP_HASH_SIZE];

	if (!atp_sha256(string, size, hash))
		hash_failed();
	memcpy(digest, hash, ATP_CHAIN_NAME_SIZE);
}

/* Finds the stream's name in the metadata of its first event. */
static const char *
read_name(const char *metadata, size_t size, AtpChainLink *link)
{
	size_t		begin = strlen(ATP_ENVELOPE_STREAM_MEMBER);
	size_t		end = begin + 1;

	if (size < begin + 2 || memcmp(metadata, ATP_ENVELOPE_STREAM_MEMBER, begin) != 0 || metadata[begin] != '"')
		return "first event does not name its stream";
	while (end < size && metadata[end] != '"')
		end += metadata[end] == '\\' ? 2 : 1;
	if (end >= size)
		return "first event does not name its stream";
	digest_name(metadata + begin, end + 1 - begin, link->name);
	return NULL;
}

static const char *
read_parts(TupleTableSlot *row, bool deep, AtpChainLink *link)
{
	struct varlena *salts = PG_DETOAST_DATUM_PACKED(row->tts_values[ATP_CHAIN_SALTS]);
	struct varlena *payload = PG_DETOAST_DATUM_PACKED(row->tts_values[ATP_CHAIN_PAYLOAD]);
	struct varlena *metadata = PG_DETOAST_DATUM_PACKED(row->tts_values[ATP_CHAIN_METADATA]);
	const uint8 *salt = (const uint8 *) VARDATA_ANY(salts);

	if (VARSIZE_ANY_EXHDR(salts) != 2 * ATP_SALT_SIZE)
		return "salts have a wrong length";
	if (!atp_part_commitment(ATP_PART_PAYLOAD, salt, VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload), NULL, 0,
							 link->payload_commitment) ||
		!atp_part_commitment(ATP_PART_METADATA, salt + ATP_SALT_SIZE, VARDATA_ANY(metadata), VARSIZE_ANY_EXHDR(metadata),
							 NULL, 0, link->metadata_commitment))
		hash_failed();
	if (deep && !is_canonical(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload)))
		return "payload is not canonical JSON";
	if (deep && !is_canonical(VARDATA_ANY(metadata), VARSIZE_ANY_EXHDR(metadata)))
		return "metadata is not canonical JSON";
	return link->version == 1 ? read_name(VARDATA_ANY(metadata), VARSIZE_ANY_EXHDR(metadata), link) : NULL;
}

const char *
atp_chain_read(TupleTableSlot *row, bool deep, AtpChainLink *link)
{
	const Datum *values = row->tts_values;
	const bool *nulls = row->tts_isnull;
	struct varlena *hash = PG_DETOAST_DATUM_PACKED(values[ATP_CHAIN_HASH]);

	link->version = DatumGetInt64(values[ATP_CHAIN_STREAM_VERSION]);
	link->seq = DatumGetInt64(values[ATP_CHAIN_SEQ]);
	link->xid = U64FromFullTransactionId(DatumGetFullTransactionId(values[ATP_CHAIN_XID]));
	link->tenant = DatumGetInt32(values[ATP_CHAIN_TENANT]);
	link->event_type = DatumGetInt32(values[ATP_CHAIN_EVENT_TYPE]);
	link->flags = (uint8) DatumGetInt16(values[ATP_CHAIN_FLAGS]);
	memcpy(link->event_id, DatumGetUUIDP(values[ATP_CHAIN_EVENT_ID])->data, UUID_LEN);
	link->schema_version = (uint32) DatumGetInt32(values[ATP_CHAIN_SCHEMA_VERSION]);
	link->occurred_at = DatumGetTimestampTz(values[ATP_CHAIN_OCCURRED_AT]) + UNIX_SHIFT;
	link->recorded_at = DatumGetTimestampTz(values[ATP_CHAIN_RECORDED_AT]) + UNIX_SHIFT;
	if (VARSIZE_ANY_EXHDR(hash) != ATP_HASH_SIZE)
		return "hash has a wrong length";
	memcpy(link->hash, VARDATA_ANY(hash), ATP_HASH_SIZE);
	if (DatumGetInt16(values[ATP_CHAIN_FLAGS]) & ~ATP_RECORD_FLAGS)
		return "unknown record flags";
	if (nulls[ATP_CHAIN_SALTS] || nulls[ATP_CHAIN_PAYLOAD] || nulls[ATP_CHAIN_METADATA])
		return "payload, metadata or salts are missing";
	if (!nulls[ATP_CHAIN_PRIVATE])
		return "unknown private fields";
	return read_parts(row, deep, link);
}

/* Compares the stored hash with that of the record. */
static const char *
check_hash(const AtpChainLink *link, const uint8 stream_uid[UUID_LEN], const uint8 previous_hash[ATP_HASH_SIZE])
{
	static AtpTenant tenant;
	static uint64 tenant_of = 0;
	const AtpEventType *type;
	const char *fault = read_type(link->event_type, &type);
	AtpRecord	record;
	uint8		hash[ATP_HASH_SIZE];

	if (fault != NULL)
		return fault;
	if (tenant.tenant != link->tenant || tenant_of != atp_relation_generation())
	{
		tenant_of = 0;
		if (!atp_tenant_get(link->tenant, &tenant))
			return "tenant does not exist";
		tenant_of = atp_relation_generation();
	}
	if (tenant.alg != ATP_ALG_SHA256)
		return "unknown hash algorithm";
	record.alg = (uint8) tenant.alg;
	record.flags = link->flags;
	memcpy(record.log_uid, tenant.log_uid, sizeof(record.log_uid));
	memcpy(record.stream_uid, stream_uid, sizeof(record.stream_uid));
	record.stream_version = (uint64) link->version;
	memcpy(record.event_id, link->event_id, sizeof(record.event_id));
	record.event_type = type->name;
	record.event_type_size = strlen(type->name);
	record.schema_version = link->schema_version;
	record.occurred_at = link->occurred_at;
	record.recorded_at = link->recorded_at;
	memcpy(record.payload_commitment, link->payload_commitment, ATP_HASH_SIZE);
	memcpy(record.metadata_commitment, link->metadata_commitment, ATP_HASH_SIZE);
	memcpy(record.previous_hash, previous_hash, ATP_HASH_SIZE);
	if (!atp_record_hash(&record, hash))
		hash_failed();
	return memcmp(hash, link->hash, ATP_HASH_SIZE) == 0 ? NULL : "hash does not match";
}

static void
read_head_name(Datum name, AtpChainHead *head)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(name);
	AtpBuf		string;

	atp_buf_init_palloc(&string, CurrentMemoryContext);
	atp_canon_string(&string, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text));
	digest_name((const char *) string.data, string.size, head->name);
	pfree(string.data);
}

void
atp_chain_read_head(TupleTableSlot *row, AtpChainHead *head)
{
	Datum	   *values = row->tts_values;
	struct varlena *hash = PG_DETOAST_DATUM_PACKED(values[4]);
	const AtpHead *pending;

	head->stream = DatumGetInt64(values[0]);
	head->tenant = DatumGetInt32(values[1]);
	memcpy(head->stream_uid, DatumGetUUIDP(values[2])->data, UUID_LEN);
	head->version = DatumGetInt64(values[3]);
	memset(head->hash, 0, ATP_HASH_SIZE);
	if (VARSIZE_ANY_EXHDR(hash) == ATP_HASH_SIZE)
		memcpy(head->hash, VARDATA_ANY(hash), ATP_HASH_SIZE);
	memcpy(head->min_event_id, DatumGetUUIDP(values[5])->data, UUID_LEN);
	memcpy(head->max_event_id, DatumGetUUIDP(values[6])->data, UUID_LEN);
	read_head_name(values[7], head);
	head->state = DatumGetChar(values[8]);
	pending = atp_stream_pending(head->stream);
	if (pending != NULL)
	{
		head->version = pending->version;
		head->state = pending->state;
		memcpy(head->hash, pending->hash, ATP_HASH_SIZE);
		memcpy(head->min_event_id, pending->min_event_id.data, UUID_LEN);
		memcpy(head->max_event_id, pending->max_event_id.data, UUID_LEN);
	}
}

/* A seal is the platform's: an application may have a type of this name. */
static bool
is_seal(const AtpChainLink *link)
{
	const AtpEventType *type;

	return (link->flags & ATP_RECORD_PLATFORM) != 0 && read_type(link->event_type, &type) == NULL &&
		strcmp(type->name, "EventStreamSealed") == 0;
}

const char *
atp_chain_walk(AtpChainWalk *walk, const uint8 stream_uid[UUID_LEN], const AtpChainLink *link, const char *fault)
{
	if (fault == NULL)
		fault = check_hash(link, stream_uid, walk->hash);
	if (fault == NULL && link->seq <= walk->seq)
		fault = "sequence number does not rise";
	if (fault == NULL && walk->sealed)
		fault = "event comes after the seal of its stream";
	if (walk->version == 0 || memcmp(link->event_id, walk->min_event_id, UUID_LEN) < 0)
		memcpy(walk->min_event_id, link->event_id, UUID_LEN);
	if (walk->version == 0 || memcmp(link->event_id, walk->max_event_id, UUID_LEN) > 0)
		memcpy(walk->max_event_id, link->event_id, UUID_LEN);
	if (link->version == 1)
		memcpy(walk->name, link->name, ATP_CHAIN_NAME_SIZE);
	walk->sealed = is_seal(link);
	walk->version = link->version;
	walk->seq = link->seq;
	memcpy(walk->hash, link->hash, ATP_HASH_SIZE);
	return fault;
}

const char *
atp_chain_compare_head(const AtpChainWalk *walk, const AtpChainHead *head, int64 *version)
{
	*version = head->version;
	if (walk->version < head->version)
	{
		*version = walk->version + 1;
		return ATP_CHAIN_MISSING;
	}
	if (walk->version > head->version)
	{
		*version = head->version + 1;
		return "event is beyond the head of its stream";
	}
	if (memcmp(walk->hash, head->hash, ATP_HASH_SIZE) != 0)
		return "head of the stream has another hash";
	if (head->version > 0 && (memcmp(walk->min_event_id, head->min_event_id, UUID_LEN) != 0 ||
							  memcmp(walk->max_event_id, head->max_event_id, UUID_LEN) != 0))
		return "head of the stream has other event ids";
	if (head->version > 0 && memcmp(walk->name, head->name, ATP_CHAIN_NAME_SIZE) != 0)
	{
		*version = 1;
		return "stream has another name than its first event says";
	}
	if (head->state != 'a' && walk->sealed != (head->state == 's'))
		return walk->sealed ? "stream is sealed, and its head says it is not" : "head of the stream says sealed, and no seal is there";
	return NULL;
}

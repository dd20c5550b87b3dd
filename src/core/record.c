/* The bytes that are hashed; see record.h. */
#include "core/record.h"

#include "core/bytes.h"

/* Everything of a record but the event type has a fixed size. */
#define HEAD_SIZE (1 + 13 + 1 + 1 + 16 + 16 + 8 + 16 + 4)
#define TAIL_SIZE (4 + 8 + 8 + 3 * ATP_HASH_SIZE)

static uint8_t *
put_bytes(uint8_t *at, const void *bytes, size_t size)
{
	memcpy(at, bytes, size);
	return at + size;
}

static bool
update_lp(const void *data, size_t size)
{
	uint8_t		length[4];

	atp_put_u32(length, (uint32_t) size);
	return atp_sha256_update(length, sizeof(length)) && atp_sha256_update(data, size);
}

bool
atp_field_commitment(const char *pointer, size_t pointer_size, const uint8_t salt[ATP_SALT_SIZE],
					 const char *canonical, size_t canonical_size, uint8_t commitment[ATP_HASH_SIZE])
{
	static const char tag[] = "atp/field/v1";

	return atp_sha256_begin() && atp_sha256_update(tag, sizeof(tag)) && update_lp(pointer, pointer_size) &&
		atp_sha256_update(salt, ATP_SALT_SIZE) && update_lp(canonical, canonical_size) &&
		atp_sha256_final(commitment);
}

bool
atp_part_commitment(AtpPart part, const uint8_t salt[ATP_SALT_SIZE], const char *skeleton, size_t skeleton_size,
					const AtpField *fields, uint32_t count, uint8_t commitment[ATP_HASH_SIZE])
{
	static const char payload_tag[] = "atp/payload/v1";
	static const char metadata_tag[] = "atp/meta/v1";
	uint8_t		head[sizeof(payload_tag) + ATP_SALT_SIZE + 4];
	uint8_t		number[4];
	uint8_t    *at = head;

	at = part == ATP_PART_PAYLOAD ? put_bytes(at, payload_tag, sizeof(payload_tag))
		: put_bytes(at, metadata_tag, sizeof(metadata_tag));
	at = put_bytes(at, salt, ATP_SALT_SIZE);
	at = atp_put_u32(at, (uint32_t) skeleton_size);
	atp_put_u32(number, count);
	if (!atp_sha256_begin() || !atp_sha256_update(head, (size_t) (at - head)) ||
		!atp_sha256_update(skeleton, skeleton_size) || !atp_sha256_update(number, sizeof(number)))
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (!update_lp(fields[i].pointer, fields[i].pointer_size) ||
			!atp_sha256_update(fields[i].commitment, ATP_HASH_SIZE))
			return false;
	return atp_sha256_final(commitment);
}

bool
atp_record_hash(const AtpRecord *record, uint8_t hash[ATP_HASH_SIZE])
{
	static const char tag[] = "atp/event/v1";
	uint8_t		head[HEAD_SIZE];
	uint8_t		tail[TAIL_SIZE];
	uint8_t    *at = head;

	*at++ = 0x00;				/* RFC 6962: a leaf */
	at = put_bytes(at, tag, sizeof(tag));
	*at++ = record->alg;
	*at++ = record->flags;
	at = put_bytes(at, record->log_uid, 16);
	at = put_bytes(at, record->stream_uid, 16);
	at = atp_put_u64(at, record->stream_version);
	at = put_bytes(at, record->event_id, 16);
	atp_put_u32(at, (uint32_t) record->event_type_size);

	at = atp_put_u32(tail, record->schema_version);
	at = atp_put_i64(at, record->occurred_at);
	at = atp_put_i64(at, record->recorded_at);
	at = put_bytes(at, record->payload_commitment, ATP_HASH_SIZE);
	at = put_bytes(at, record->metadata_commitment, ATP_HASH_SIZE);
	put_bytes(at, record->previous_hash, ATP_HASH_SIZE);

	return atp_sha256_begin() && atp_sha256_update(head, sizeof(head)) &&
		atp_sha256_update(record->event_type, record->event_type_size) &&
		atp_sha256_update(tail, sizeof(tail)) && atp_sha256_final(hash);
}

bool
atp_head_hash(const uint8_t log_uid[16], uint64_t size, const uint8_t root[ATP_HASH_SIZE], uint8_t hash[ATP_HASH_SIZE])
{
	static const char tag[] = "atp/tenant-head/v1";
	uint8_t		bytes[1 + sizeof(tag) + 16 + 8 + ATP_HASH_SIZE];
	uint8_t    *at = bytes;

	*at++ = 0x00;				/* RFC 6962: a leaf */
	at = put_bytes(at, tag, sizeof(tag));
	at = put_bytes(at, log_uid, 16);
	at = atp_put_u64(at, size);
	at = put_bytes(at, root, ATP_HASH_SIZE);
	return atp_sha256(bytes, (size_t) (at - bytes), hash);
}

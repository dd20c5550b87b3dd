/*
 * The bytes that are hashed: commitments, the event record, the chain link. The layout is fixed for ever:
 *
 *	u8/u32/u64 big-endian, i64 two's complement big-endian, lp(x) = u32 length || x, uuid = 16 bytes, time = i64
 *	microseconds since 1970-01-01Z, H = SHA-256. Tags are ASCII with one trailing zero byte.
 *
 *	record   = "atp/event/v1\0" u8 alg(1) u8 flags uuid log_uid uuid stream_uid u64 stream_version
 *	           uuid event_id lp(event_type) u32 schema_version i64 occurred_at i64 recorded_at
 *	           [32] payload_commitment [32] metadata_commitment [32] previous_hash	(zeros for version 1)
 *	hash     = H(0x00 || record)			the chain link and the Merkle leaf
 *	field_i  = H("atp/field/v1\0" || lp(JSON pointer) || salt_i[16] || lp(canonical(value)))
 *	payload_commitment  = H("atp/payload/v1\0" || salt[16] || lp(canonical(skeleton)) || u32 n || n x (lp(pointer_i) || field_i))
 *	metadata_commitment = the same with "atp/meta/v1\0"
 *
 *	head     = H(0x00 || "atp/tenant-head/v1\0" || log_uid || u64 size || root)	leaf of the root log
 *
 * Every function returns false only where OpenSSL fails.
 */
#ifndef ATP_RECORD_H
#define ATP_RECORD_H

#include "core/hash.h"

#define ATP_SALT_SIZE 16
#define ATP_ALG_SHA256 1
#define ATP_RECORD_PLATFORM 0x01	/* flags bit 0: a platform event */
#define ATP_RECORD_VIOLATION 0x02	/* flags bit 1: the payload violates the schema version that the record names */
#define ATP_RECORD_FLAGS (ATP_RECORD_PLATFORM | ATP_RECORD_VIOLATION)	/* those that are known */

typedef struct AtpRecord
{
	uint8_t		alg;			/* ATP_ALG_SHA256 */
	uint8_t		flags;
	uint8_t		log_uid[16];
	uint8_t		stream_uid[16];
	uint64_t	stream_version;	/* 1 for the first event */
	uint8_t		event_id[16];
	const char *event_type;		/* UTF-8, not terminated */
	size_t		event_type_size;
	uint32_t	schema_version;	/* 0: no schema */
	int64_t		occurred_at;	/* microseconds since 1970-01-01Z */
	int64_t		recorded_at;
	uint8_t		payload_commitment[ATP_HASH_SIZE];
	uint8_t		metadata_commitment[ATP_HASH_SIZE];
	uint8_t		previous_hash[ATP_HASH_SIZE];
} AtpRecord;

typedef struct AtpField			/* an erasable field's place in a commitment */
{
	const char *pointer;		/* JSON pointer (RFC 6901) */
	size_t		pointer_size;
	uint8_t		commitment[ATP_HASH_SIZE];
} AtpField;

typedef enum AtpPart
{
	ATP_PART_PAYLOAD,
	ATP_PART_METADATA
} AtpPart;

extern bool atp_field_commitment(const char *pointer, size_t pointer_size, const uint8_t salt[ATP_SALT_SIZE],
								 const char *canonical, size_t canonical_size, uint8_t commitment[ATP_HASH_SIZE]);

/* `fields` are sorted by the bytes of their pointers, none a prefix path of another; NULL with count 0. */
extern bool atp_part_commitment(AtpPart part, const uint8_t salt[ATP_SALT_SIZE], const char *skeleton, size_t skeleton_size,
								const AtpField *fields, uint32_t count, uint8_t commitment[ATP_HASH_SIZE]);

/* The chain link of a record, which is its Merkle leaf too: H(0x00 || record). */
extern bool atp_record_hash(const AtpRecord *record, uint8_t hash[ATP_HASH_SIZE]);

/* The leaf of the root log that says: the log `log_uid` has a tree of `size` leaves and this root. */
extern bool atp_head_hash(const uint8_t log_uid[16], uint64_t size, const uint8_t root[ATP_HASH_SIZE], uint8_t hash[ATP_HASH_SIZE]);

#endif

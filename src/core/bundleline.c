/* The lines of a bundle; see bundleline.h. The writer and the reader of a line stand beside each other and use the same words. */
#include "core/bundleline.h"

#include "core/canon.h"
#include "core/canoncheck.h"
#include "core/utf8.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- words ---- */

#define W_MANIFEST "{\"type\":\"manifest\",\"format\":\"" ATP_BUNDLE_FORMAT "\",\"origin\":"
#define W_TENANT ",\"tenant\":"
#define W_LOG_UID ",\"log_uid\":\""
#define W_COMPLETENESS "\",\"alg\":1,\"completeness\":\""
#define W_BY_STREAM "\",\"filter\":{\"stream_uid\":"
#define W_BY_TYPE ",\"event_type\":"
#define W_BY_FROM ",\"recorded_from\":"
#define W_BY_UNTIL ",\"recorded_until\":"
#define W_TREE_SIZE "},\"tree_size\":"
#define W_FROM ",\"from\":"
#define W_UNTIL ",\"until\":"
#define W_CHECKPOINT_SIZE ",\"checkpoint_size\":"
#define W_KEY "{\"type\":\"key\",\"vkey\":"
#define W_PURPOSE ",\"purpose\":\""
#define W_STATE "\",\"state\":\""
#define W_UNTIL_SIZE "\",\"until_size\":"
#define W_ENDORSEMENT ",\"endorsement\":"
#define W_CHECKPOINT "{\"type\":\"checkpoint\",\"note\":"
#define W_PROOF "{\"type\":\"proof\",\"kind\":\""
#define W_LEAF "\",\"leaf\":"
#define W_SIZE ",\"size\":"
#define W_ROOT ",\"root\":\""
#define W_OLD_SIZE "\",\"old_size\":"
#define W_PROOF_HASHES ",\"hashes\":["
#define W_CHUNK "{\"type\":\"log_range\",\"from\":"
#define W_CHUNK_HASHES ",\"hashes\":\""
#define W_EVENT "{\"type\":\"event\",\"leaf\":"
#define W_OMITTED "{\"type\":\"omitted\",\"leaf\":"
#define W_STREAM ",\"state\":\"stored\",\"stream\":"
#define W_RECORD ",\"record\":{\"flags\":"
#define W_STREAM_UID ",\"stream_uid\":\""
#define W_VERSION "\",\"stream_version\":"
#define W_EVENT_ID ",\"event_id\":\""
#define W_EVENT_TYPE "\",\"event_type\":"
#define W_SCHEMA ",\"schema_version\":"
#define W_OCCURRED ",\"occurred_at\":"
#define W_RECORDED ",\"recorded_at\":"
#define W_PREVIOUS ",\"previous_hash\":\""
#define W_PAYLOAD_COMMITMENT "\",\"payload_commitment\":\""
#define W_METADATA_COMMITMENT "\",\"metadata_commitment\":\""
#define W_SALTS "\"},\"salts\":\""
#define W_PAYLOAD "\",\"payload\":"
#define W_METADATA ",\"metadata\":"
#define W_EVENT_PROOF ",\"proof\":["
#define W_END "{\"type\":\"end\",\"events\":"
#define W_END_OMITTED ",\"omitted\":"
#define W_END_LEAVES ",\"leaves\":"

static const char *const completeness_names[] = {"records", "hashes", "proofs"};
static const char *const kind_names[] = {"head", "range", "tenant", "root"};

/* ---- writing ---- */

#define word(out, text) atp_buf_append(out, text, sizeof(text) - 1)

static void
write_text(AtpBuf *out, AtpText text)
{
	atp_canon_string(out, text.data, text.size);
}

static void
write_name(AtpBuf *out, const char *name)
{
	atp_buf_append(out, name, strlen(name));
}

static void
write_u64(AtpBuf *out, uint64_t value)
{
	char		digits[20];
	size_t		at = sizeof(digits);

	do
		digits[--at] = (char) ('0' + value % 10);
	while ((value /= 10) != 0);
	atp_buf_append(out, digits + at, sizeof(digits) - at);
}

static void
write_i64(AtpBuf *out, int64_t value)
{
	if (value < 0)
		atp_buf_byte(out, '-');
	write_u64(out, value < 0 ? ~(uint64_t) value + 1 : (uint64_t) value);
}

void
atp_hex_write(AtpBuf *out, const uint8_t *bytes, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	if (!atp_buf_reserve(out, size * 2))
		return;
	for (size_t i = 0; i < size; i++)
	{
		out->data[out->size++] = (uint8_t) digits[bytes[i] >> 4];
		out->data[out->size++] = (uint8_t) digits[bytes[i] & 15];
	}
}

void
atp_uuid_write(AtpBuf *out, const uint8_t uuid[16])
{
	static const int group[] = {4, 2, 2, 2, 6};

	for (int i = 0; i < 5; i++)
	{
		if (i > 0)
			atp_buf_byte(out, '-');
		atp_hex_write(out, uuid, (size_t) group[i]);
		uuid += group[i];
	}
}

static void
write_hashes(AtpBuf *out, const AtpProof *proof)
{
	for (int i = 0; i < proof->count; i++)
	{
		if (i > 0)
			atp_buf_byte(out, ',');
		atp_buf_byte(out, '"');
		atp_hex_write(out, proof->hash[i], ATP_HASH_SIZE);
		atp_buf_byte(out, '"');
	}
	atp_buf_byte(out, ']');
}

void
atp_bundle_write_manifest(AtpBuf *out, const AtpBundleManifest *manifest)
{
	word(out, W_MANIFEST);
	write_text(out, manifest->origin);
	word(out, W_TENANT);
	write_text(out, manifest->tenant);
	word(out, W_LOG_UID);
	atp_uuid_write(out, manifest->log_uid);
	word(out, W_COMPLETENESS);
	write_name(out, completeness_names[manifest->completeness]);
	word(out, W_BY_STREAM);
	if (manifest->by_stream)
	{
		atp_buf_byte(out, '"');
		atp_uuid_write(out, manifest->stream_uid);
		atp_buf_byte(out, '"');
	}
	else
		word(out, "null");
	word(out, W_BY_TYPE);
	if (manifest->by_type)
		write_text(out, manifest->event_type);
	else
		word(out, "null");
	word(out, W_BY_FROM);
	if (manifest->by_from)
		write_i64(out, manifest->recorded_from);
	else
		word(out, "null");
	word(out, W_BY_UNTIL);
	if (manifest->by_until)
		write_i64(out, manifest->recorded_until);
	else
		word(out, "null");
	word(out, W_TREE_SIZE);
	write_u64(out, manifest->tree_size);
	word(out, W_FROM);
	write_u64(out, manifest->from);
	word(out, W_UNTIL);
	write_u64(out, manifest->until);
	word(out, W_CHECKPOINT_SIZE);
	write_u64(out, manifest->checkpoint_size);
	atp_buf_byte(out, '}');
}

void
atp_bundle_write_key(AtpBuf *out, const AtpBundleKey *key)
{
	word(out, W_KEY);
	write_text(out, key->vkey);
	word(out, W_PURPOSE);
	write_name(out, key->witness ? "witness" : "log");
	word(out, W_STATE);
	write_name(out, key->state == 'a' ? "active" : key->state == 'r' ? "retired" : "compromised");
	word(out, W_UNTIL_SIZE);
	if (key->state == 'r')
		write_u64(out, key->until_size);
	else
		word(out, "null");
	word(out, W_ENDORSEMENT);
	if (key->endorsement.size > 0)
		write_text(out, key->endorsement);
	else
		word(out, "null");
	atp_buf_byte(out, '}');
}

void
atp_bundle_write_checkpoint(AtpBuf *out, const char *note, size_t size)
{
	word(out, W_CHECKPOINT);
	write_text(out, (AtpText) {note, size});
	atp_buf_byte(out, '}');
}

void
atp_bundle_write_proof(AtpBuf *out, const AtpBundleProof *proof)
{
	word(out, W_PROOF);
	write_name(out, kind_names[proof->kind]);
	if (proof->kind == ATP_PROOF_HEAD)
	{
		word(out, W_LEAF);
		write_u64(out, proof->leaf);
		word(out, W_SIZE);
		write_u64(out, proof->size);
		word(out, W_ROOT);
		atp_hex_write(out, proof->root, ATP_HASH_SIZE);
		atp_buf_byte(out, '"');
	}
	else
	{
		word(out, W_OLD_SIZE);
		write_u64(out, proof->size);
	}
	word(out, W_PROOF_HASHES);
	write_hashes(out, &proof->proof);
	atp_buf_byte(out, '}');
}

void
atp_bundle_write_chunk(AtpBuf *out, uint64_t from, const uint8_t *hashes, int count)
{
	word(out, W_CHUNK);
	write_u64(out, from);
	word(out, W_CHUNK_HASHES);
	atp_hex_write(out, hashes, (size_t) count * ATP_HASH_SIZE);
	word(out, "\"}");
}

void
atp_bundle_write_event(AtpBuf *out, const AtpBundleEvent *event)
{
	const AtpRecord *record = &event->record;

	if (event->omitted)
		word(out, W_OMITTED);
	else
		word(out, W_EVENT);
	write_u64(out, event->leaf);
	if (!event->omitted)
	{
		word(out, W_STREAM);
		write_text(out, event->stream);
	}
	word(out, W_RECORD);
	write_u64(out, record->flags);
	word(out, W_STREAM_UID);
	atp_uuid_write(out, record->stream_uid);
	word(out, W_VERSION);
	write_u64(out, record->stream_version);
	word(out, W_EVENT_ID);
	atp_uuid_write(out, record->event_id);
	word(out, W_EVENT_TYPE);
	write_text(out, (AtpText) {record->event_type, record->event_type_size});
	word(out, W_SCHEMA);
	write_u64(out, record->schema_version);
	word(out, W_OCCURRED);
	write_i64(out, record->occurred_at);
	word(out, W_RECORDED);
	write_i64(out, record->recorded_at);
	word(out, W_PREVIOUS);
	atp_hex_write(out, record->previous_hash, ATP_HASH_SIZE);
	if (event->omitted)
	{
		word(out, W_PAYLOAD_COMMITMENT);
		atp_hex_write(out, record->payload_commitment, ATP_HASH_SIZE);
		word(out, W_METADATA_COMMITMENT);
		atp_hex_write(out, record->metadata_commitment, ATP_HASH_SIZE);
		word(out, "\"}}");
		return;
	}
	word(out, W_SALTS);
	atp_hex_write(out, event->salts, sizeof(event->salts));
	word(out, W_PAYLOAD);
	write_text(out, event->payload);
	word(out, W_METADATA);
	write_text(out, event->metadata);
	if (event->has_proof)
	{
		word(out, W_EVENT_PROOF);
		write_hashes(out, &event->proof);
	}
	atp_buf_byte(out, '}');
}

void
atp_bundle_write_end(AtpBuf *out, const AtpBundleEnd *end)
{
	word(out, W_END);
	write_u64(out, end->events);
	word(out, W_END_OMITTED);
	write_u64(out, end->omitted);
	word(out, W_END_LEAVES);
	write_u64(out, end->leaves);
	atp_buf_byte(out, '}');
}

/* ---- reading: each function takes what it names and returns false where something else stands there ---- */

typedef struct Reader
{
	const char *at;
	const char *end;
	AtpBuf	   *strings;
} Reader;

static bool
take_size(Reader *reader, const char *text, size_t size)
{
	if ((size_t) (reader->end - reader->at) < size || memcmp(reader->at, text, size) != 0)
		return false;
	reader->at += size;
	return true;
}

#define take(reader, text) take_size(reader, text, sizeof(text) - 1)

/* A string: its value goes to the end of `strings`, which does not move because it has room for the whole line. */
static bool
take_text(Reader *reader, AtpText *text)
{
	size_t		begin = reader->strings->size;
	const char *behind;

	if (!take(reader, "\""))
		return false;
	behind = atp_canon_unescape(reader->at, reader->end, reader->strings);
	if (behind == NULL)
		return false;
	reader->at = behind;
	text->data = (const char *) reader->strings->data + begin;
	text->size = reader->strings->size - begin;
	return atp_utf8_is_valid(text->data, text->size);
}

static bool
take_u64(Reader *reader, uint64_t *value)
{
	const char *begin = reader->at;

	*value = 0;
	for (; reader->at < reader->end && *reader->at >= '0' && *reader->at <= '9'; reader->at++)
	{
		uint64_t	digit = (uint64_t) (*reader->at - '0');

		if (*value > (UINT64_MAX - digit) / 10)
			return false;
		*value = *value * 10 + digit;
	}
	return reader->at > begin && (*begin != '0' || reader->at == begin + 1);
}

static bool
take_i64(Reader *reader, int64_t *value)
{
	bool		negative = take(reader, "-");
	uint64_t	magnitude;

	if (!take_u64(reader, &magnitude) || magnitude > (uint64_t) INT64_MAX || (negative && magnitude == 0))
		return false;
	*value = negative ? -(int64_t) magnitude : (int64_t) magnitude;
	return true;
}

bool
atp_hex_read(const char *text, uint8_t *bytes, size_t size)
{
	static const uint8_t values[256] = {	/* one more than the digit stands for; 0: no digit */
		['0'] = 1, ['1'] = 2, ['2'] = 3, ['3'] = 4, ['4'] = 5, ['5'] = 6, ['6'] = 7, ['7'] = 8, ['8'] = 9, ['9'] = 10,
		['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16
	};
	bool		right = true;

	for (size_t i = 0; i < size; i++)
	{
		unsigned int high = values[(uint8_t) text[2 * i]];
		unsigned int low = values[(uint8_t) text[2 * i + 1]];

		right &= high != 0 && low != 0;
		bytes[i] = (uint8_t) ((high - 1) << 4 | ((low - 1) & 15));
	}
	return right;
}

static bool
take_hex(Reader *reader, uint8_t *bytes, size_t size)
{
	if ((size_t) (reader->end - reader->at) < 2 * size || !atp_hex_read(reader->at, bytes, size))
		return false;
	reader->at += 2 * size;
	return true;
}

static bool
take_uuid(Reader *reader, uint8_t uuid[16])
{
	return take_hex(reader, uuid, 4) && take(reader, "-") && take_hex(reader, uuid + 4, 2) && take(reader, "-") &&
		take_hex(reader, uuid + 6, 2) && take(reader, "-") && take_hex(reader, uuid + 8, 2) && take(reader, "-") &&
		take_hex(reader, uuid + 10, 6);
}

static bool
take_hashes(Reader *reader, AtpProof *proof)
{
	proof->count = 0;
	if (take(reader, "]"))
		return true;
	for (;;)
	{
		if (proof->count == ATP_PROOF_MAX || !take(reader, "\"") || !take_hex(reader, proof->hash[proof->count], ATP_HASH_SIZE) ||
			!take(reader, "\""))
			return false;
		proof->count++;
		if (take(reader, "]"))
			return true;
		if (!take(reader, ","))
			return false;
	}
}

/* One of some names: its number; -1: none. */
static int
take_name(Reader *reader, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (take_size(reader, names[i], strlen(names[i])))
			return i;
	return -1;
}

static bool
read_filter(Reader *reader, AtpBundleManifest *manifest)
{
	manifest->by_stream = !take(reader, "null");
	if (manifest->by_stream && !(take(reader, "\"") && take_uuid(reader, manifest->stream_uid) && take(reader, "\"")))
		return false;
	if (!take(reader, W_BY_TYPE))
		return false;
	manifest->by_type = !take(reader, "null");
	if ((manifest->by_type && !take_text(reader, &manifest->event_type)) || !take(reader, W_BY_FROM))
		return false;
	manifest->by_from = !take(reader, "null");
	if ((manifest->by_from && !take_i64(reader, &manifest->recorded_from)) || !take(reader, W_BY_UNTIL))
		return false;
	manifest->by_until = !take(reader, "null");
	return !manifest->by_until || take_i64(reader, &manifest->recorded_until);
}

static bool
read_manifest(Reader *reader, AtpBundleManifest *manifest)
{
	int			name;

	if (!take(reader, W_MANIFEST) || !take_text(reader, &manifest->origin) || !take(reader, W_TENANT) ||
		!take_text(reader, &manifest->tenant) || !take(reader, W_LOG_UID) || !take_uuid(reader, manifest->log_uid) ||
		!take(reader, W_COMPLETENESS) || (name = take_name(reader, completeness_names, 3)) < 0)
		return false;
	manifest->completeness = (AtpCompleteness) name;
	return take(reader, W_BY_STREAM) && read_filter(reader, manifest) &&
		take(reader, W_TREE_SIZE) && take_u64(reader, &manifest->tree_size) &&
		take(reader, W_FROM) && take_u64(reader, &manifest->from) &&
		take(reader, W_UNTIL) && take_u64(reader, &manifest->until) &&
		take(reader, W_CHECKPOINT_SIZE) && take_u64(reader, &manifest->checkpoint_size) && take(reader, "}");
}

static bool
read_key(Reader *reader, AtpBundleKey *key)
{
	static const char *const purposes[] = {"log", "witness"};
	static const char *const states[] = {"active", "retired", "compromised"};
	int			name;

	if (!take(reader, W_KEY) || !take_text(reader, &key->vkey) || !take(reader, W_PURPOSE) ||
		(name = take_name(reader, purposes, 2)) < 0 || !take(reader, W_STATE))
		return false;
	key->witness = name == 1;
	if ((name = take_name(reader, states, 3)) < 0 || !take(reader, W_UNTIL_SIZE))
		return false;
	key->state = states[name][0];
	if (key->state == 'r' ? !take_u64(reader, &key->until_size) : !take(reader, "null"))
		return false;
	key->endorsement.size = 0;
	return take(reader, W_ENDORSEMENT) && (take(reader, "null") || take_text(reader, &key->endorsement)) && take(reader, "}");
}

static bool
read_proof(Reader *reader, AtpBundleProof *proof)
{
	int			kind;

	if (!take(reader, W_PROOF) || (kind = take_name(reader, kind_names, 4)) < 0)
		return false;
	proof->kind = (AtpProofKind) kind;
	if (kind == ATP_PROOF_HEAD
		? !(take(reader, W_LEAF) && take_u64(reader, &proof->leaf) && take(reader, W_SIZE) && take_u64(reader, &proof->size) &&
			take(reader, W_ROOT) && take_hex(reader, proof->root, ATP_HASH_SIZE) && take(reader, "\""))
		: !(take(reader, W_OLD_SIZE) && take_u64(reader, &proof->size)))
		return false;
	return take(reader, W_PROOF_HASHES) && take_hashes(reader, &proof->proof) && take(reader, "}");
}

static bool
read_chunk(Reader *reader, AtpBundleChunk *chunk)
{
	if (!take(reader, W_CHUNK) || !take_u64(reader, &chunk->from) || !take(reader, W_CHUNK_HASHES))
		return false;
	for (chunk->count = 0; chunk->count < ATP_BUNDLE_CHUNK && !take(reader, "\""); chunk->count++)
		if (!take_hex(reader, chunk->hash[chunk->count], ATP_HASH_SIZE))
			return false;
	if (chunk->count == ATP_BUNDLE_CHUNK && !take(reader, "\""))
		return false;
	return chunk->count > 0 && take(reader, "}");
}

static bool
read_record(Reader *reader, AtpRecord *record)
{
	uint64_t	flags;
	uint64_t	schema_version;
	AtpText		type;

	if (!take(reader, W_RECORD) || !take_u64(reader, &flags) || flags > UINT8_MAX ||
		!take(reader, W_STREAM_UID) || !take_uuid(reader, record->stream_uid) ||
		!take(reader, W_VERSION) || !take_u64(reader, &record->stream_version) ||
		!take(reader, W_EVENT_ID) || !take_uuid(reader, record->event_id) ||
		!take(reader, W_EVENT_TYPE) || !take_text(reader, &type) ||
		!take(reader, W_SCHEMA) || !take_u64(reader, &schema_version) || schema_version > UINT32_MAX ||
		!take(reader, W_OCCURRED) || !take_i64(reader, &record->occurred_at) ||
		!take(reader, W_RECORDED) || !take_i64(reader, &record->recorded_at) ||
		!take(reader, W_PREVIOUS) || !take_hex(reader, record->previous_hash, ATP_HASH_SIZE))
		return false;
	record->alg = ATP_ALG_SHA256;
	record->flags = (uint8_t) flags;
	record->schema_version = (uint32_t) schema_version;
	record->event_type = type.data;
	record->event_type_size = type.size;
	return true;
}

static bool
read_event(Reader *reader, AtpBundleEvent *event)
{
	event->omitted = take(reader, W_OMITTED);
	if ((!event->omitted && !take(reader, W_EVENT)) || !take_u64(reader, &event->leaf))
		return false;
	if (!event->omitted && !(take(reader, W_STREAM) && take_text(reader, &event->stream)))
		return false;
	if (!read_record(reader, &event->record))
		return false;
	event->has_proof = false;
	if (event->omitted)
		return take(reader, W_PAYLOAD_COMMITMENT) && take_hex(reader, event->record.payload_commitment, ATP_HASH_SIZE) &&
			take(reader, W_METADATA_COMMITMENT) && take_hex(reader, event->record.metadata_commitment, ATP_HASH_SIZE) &&
			take(reader, "\"}}");
	if (!take(reader, W_SALTS) || !take_hex(reader, event->salts, sizeof(event->salts)) ||
		!take(reader, W_PAYLOAD) || !take_text(reader, &event->payload) ||
		!take(reader, W_METADATA) || !take_text(reader, &event->metadata))
		return false;
	event->has_proof = take(reader, W_EVENT_PROOF);
	return (!event->has_proof || take_hashes(reader, &event->proof)) && take(reader, "}");
}

static bool
read_end(Reader *reader, AtpBundleEnd *end)
{
	return take(reader, W_END) && take_u64(reader, &end->events) && take(reader, W_END_OMITTED) && take_u64(reader, &end->omitted) &&
		take(reader, W_END_LEAVES) && take_u64(reader, &end->leaves) && take(reader, "}");
}

AtpLineType
atp_bundle_read(const char *text, size_t size, AtpBuf *strings, AtpLine *line)
{
	static const char begin[] = "{\"type\":\"";
	Reader		reader = {text, text + size, strings};
	bool		done;

	line->type = ATP_LINE_BAD;
	strings->size = 0;
	if (size < sizeof(begin) + 1 || memcmp(text, begin, sizeof(begin) - 1) != 0 || !atp_buf_reserve(strings, size))
		return ATP_LINE_BAD;
	switch (text[sizeof(begin) - 1])
	{
		case 'm':
			line->type = ATP_LINE_MANIFEST;
			done = read_manifest(&reader, &line->manifest);
			break;
		case 'k':
			line->type = ATP_LINE_KEY;
			done = read_key(&reader, &line->key);
			break;
		case 'c':
			line->type = ATP_LINE_CHECKPOINT;
			done = take(&reader, W_CHECKPOINT) && take_text(&reader, &line->note) && take(&reader, "}");
			break;
		case 'p':
			line->type = ATP_LINE_PROOF;
			done = read_proof(&reader, &line->proof);
			break;
		case 'l':
			line->type = ATP_LINE_CHUNK;
			done = read_chunk(&reader, &line->chunk);
			break;
		case 'o':
			line->type = ATP_LINE_EVENT;
			done = read_event(&reader, &line->event);
			break;
		case 'e':
			line->type = text[sizeof(begin)] == 'v' ? ATP_LINE_EVENT : ATP_LINE_END;
			done = line->type == ATP_LINE_EVENT ? read_event(&reader, &line->event) : read_end(&reader, &line->end);
			break;
		default:
			done = false;
	}
	if (!done || reader.at != reader.end)
		line->type = ATP_LINE_BAD;
	return line->type;
}

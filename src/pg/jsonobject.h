/*
 * JSON objects made in C: begin, members in any order, end. For payloads of the platform's own events and for results that
 * are documents. Text is in the server's encoding; memory is the current context's.
 */
#ifndef ATP_JSONOBJECT_H
#define ATP_JSONOBJECT_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

typedef struct AtpJsonObject
{
	JsonbParseState *state;
} AtpJsonObject;

extern void atp_jsonobject_begin(AtpJsonObject *object);
extern void atp_jsonobject_text(AtpJsonObject *object, const char *key, const char *value);	/* NULL: a JSON null */
extern void atp_jsonobject_int(AtpJsonObject *object, const char *key, int64 value);
extern void atp_jsonobject_bool(AtpJsonObject *object, const char *key, bool value);

/* Bytes as lower-case hexadecimal digits. */
extern void atp_jsonobject_hex(AtpJsonObject *object, const char *key, const uint8 *bytes, size_t size);

/* An array of hashes, each in hexadecimal. */
extern void atp_jsonobject_hashes(AtpJsonObject *object, const char *key, const uint8 *hashes, int count);

/* RFC 3339 in UTC with microseconds. */
extern void atp_jsonobject_time(AtpJsonObject *object, const char *key, TimestampTz value);

/* An object within: members go into it until atp_jsonobject_close. */
extern void atp_jsonobject_open(AtpJsonObject *object, const char *key);
extern void atp_jsonobject_close(AtpJsonObject *object);
extern Jsonb *atp_jsonobject_end(AtpJsonObject *object);

/* The text that atp_jsonobject_time writes. */
extern char *atp_jsonobject_time_text(TimestampTz value);

/* Lower-case hexadecimal digits, terminated, in the current memory context. */
extern char *atp_jsonobject_hex_text(const uint8 *bytes, size_t size);

#endif

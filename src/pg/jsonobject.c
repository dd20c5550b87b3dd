/* JSON objects made in C; see jsonobject.h. */
#include "pg/jsonobject.h"

#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/numeric.h"

void
atp_jsonobject_begin(AtpJsonObject *object)
{
	object->state = NULL;
	pushJsonbValue(&object->state, WJB_BEGIN_OBJECT, NULL);
}

static void
push_text(AtpJsonObject *object, JsonbIteratorToken token, const char *text)
{
	JsonbValue	value;

	value.type = jbvString;
	value.val.string.val = pstrdup(text);
	value.val.string.len = strlen(text);
	pushJsonbValue(&object->state, token, &value);
}

void
atp_jsonobject_text(AtpJsonObject *object, const char *key, const char *text)
{
	JsonbValue	null = {.type = jbvNull};

	push_text(object, WJB_KEY, key);
	if (text == NULL)
		pushJsonbValue(&object->state, WJB_VALUE, &null);
	else
		push_text(object, WJB_VALUE, text);
}

void
atp_jsonobject_int(AtpJsonObject *object, const char *key, int64 number)
{
	JsonbValue	value = {.type = jbvNumeric};

	push_text(object, WJB_KEY, key);
	value.val.numeric = int64_to_numeric(number);
	pushJsonbValue(&object->state, WJB_VALUE, &value);
}

void
atp_jsonobject_bool(AtpJsonObject *object, const char *key, bool truth)
{
	JsonbValue	value = {.type = jbvBool};

	push_text(object, WJB_KEY, key);
	value.val.boolean = truth;
	pushJsonbValue(&object->state, WJB_VALUE, &value);
}

char *
atp_jsonobject_hex_text(const uint8 *bytes, size_t size)
{
	char	   *text = palloc(size * 2 + 1);

	hex_encode((const char *) bytes, size, text);
	text[size * 2] = '\0';
	return text;
}

void
atp_jsonobject_hex(AtpJsonObject *object, const char *key, const uint8 *bytes, size_t size)
{
	atp_jsonobject_text(object, key, atp_jsonobject_hex_text(bytes, size));
}

void
atp_jsonobject_hashes(AtpJsonObject *object, const char *key, const uint8 *hashes, int count)
{
	push_text(object, WJB_KEY, key);
	pushJsonbValue(&object->state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
		push_text(object, WJB_ELEM, atp_jsonobject_hex_text(hashes + i * 32, 32));
	pushJsonbValue(&object->state, WJB_END_ARRAY, NULL);
}

char *
atp_jsonobject_time_text(TimestampTz at)
{
	struct pg_tm parts;
	fsec_t		microseconds;

	if (TIMESTAMP_NOT_FINITE(at) || timestamp2tm(at, NULL, &parts, &microseconds, NULL, NULL) != 0)
		return pstrdup(TIMESTAMP_IS_NOBEGIN(at) ? "-infinity" : "infinity");
	return psprintf("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", parts.tm_year, parts.tm_mon, parts.tm_mday, parts.tm_hour,
					parts.tm_min, parts.tm_sec, microseconds);
}

void
atp_jsonobject_time(AtpJsonObject *object, const char *key, TimestampTz at)
{
	atp_jsonobject_text(object, key, atp_jsonobject_time_text(at));
}

void
atp_jsonobject_open(AtpJsonObject *object, const char *key)
{
	push_text(object, WJB_KEY, key);
	pushJsonbValue(&object->state, WJB_BEGIN_OBJECT, NULL);
}

void
atp_jsonobject_close(AtpJsonObject *object)
{
	pushJsonbValue(&object->state, WJB_END_OBJECT, NULL);
}

Jsonb *
atp_jsonobject_end(AtpJsonObject *object)
{
	return JsonbValueToJsonb(pushJsonbValue(&object->state, WJB_END_OBJECT, NULL));
}

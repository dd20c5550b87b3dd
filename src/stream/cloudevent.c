/*
 * The CloudEvents form of an event; see cloudevent.h.
 *
 * Members of the metadata become extension attributes: their names lose what CloudEvents does not allow (correlation_id:
 * correlationid), and values that no attribute can have stay out. Of names that become equal, jsonb's last one counts. What the
 * store derives comes after them, and what append_cloudevent has kept, in the metadata member "cloudevent", in the place of that.
 */
#include "stream/cloudevent.h"

#include <ctype.h>

#include "datatype/timestamp.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"

#include "core/tracecontext.h"
#include "core/ulid.h"
#include "pg/jsonobject.h"

PG_FUNCTION_INFO_V1(atp_cloudevent_document_sql);

#define KEPT "cloudevent"		/* the metadata member */

/* Attributes that the store derives, which no extension can be. */
static const char *const derived[] = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "data",
	"tenant", "streamversion", "schemaversion", "recordedtime", KEPT
};

/* Extensions that are strings. */
static const char *const texts[] = {"correlationid", "causationid", "actor", "action", "resource", "traceparent", "tracestate"};

static bool
is_among(const char *name, const char *const *names, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static Jsonb *
read_json(Datum json)
{
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(json))));
}

/* C0 and C1 controls, in UTF-8. */
static bool
has_control(const char *text, int size)
{
	for (int i = 0; i < size; i++)
	{
		unsigned char byte = (unsigned char) text[i];

		if (byte < 0x20 || byte == 0x7f || (byte == 0xc2 && i + 1 < size && (unsigned char) text[i + 1] < 0xa0))
			return true;
	}
	return false;
}

static bool
is_int32(Numeric number)
{
	Datum		whole = DirectFunctionCall2(numeric_trunc, NumericGetDatum(number), Int32GetDatum(0));
	double		value;

	if (numeric_is_nan(number) || !DatumGetBool(DirectFunctionCall2(numeric_eq, whole, NumericGetDatum(number))))
		return false;
	value = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(number)));
	return value >= PG_INT32_MIN && value <= PG_INT32_MAX;
}

static bool
may_stand(const char *name, const JsonbValue *value)
{
	AtpTraceparent parts;
	AtpTraceMember members[ATP_TRACESTATE_MAX_MEMBERS];

	if (value->type != jbvString && is_among(name, texts, lengthof(texts)))
		return false;
	switch (value->type)
	{
		case jbvBool:
			return true;
		case jbvNumeric:
			return is_int32(value->val.numeric);
		case jbvString:
			if (has_control(value->val.string.val, value->val.string.len))
				return false;
			if (strcmp(name, "traceparent") == 0)
				return atp_traceparent_parse(value->val.string.val, value->val.string.len, &parts);
			return strcmp(name, "tracestate") != 0 || atp_tracestate_parse(value->val.string.val, value->val.string.len, members) >= 0;
		default:
			return false;
	}
}

/* The name of the attribute that a member becomes, perhaps empty. */
static char *
attribute_name(const char *member, int size)
{
	char	   *name = palloc(size + 1);
	int			length = 0;

	for (int i = 0; i < size; i++)
		if (!IS_HIGHBIT_SET(member[i]) && isalnum((unsigned char) member[i]))
			name[length++] = pg_tolower((unsigned char) member[i]);
	name[length] = '\0';
	return name;
}

static void
add_extensions(AtpJsonObject *document, Jsonb *metadata)
{
	JsonbIterator *walk = JsonbIteratorInit(&metadata->root);
	JsonbIteratorToken token;
	JsonbValue	key;
	JsonbValue	value;

	while ((token = JsonbIteratorNext(&walk, &key, true)) != WJB_DONE)
	{
		char	   *name;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&walk, &value, true);
		if (key.val.string.len == 7 && memcmp(key.val.string.val, "$stream", 7) == 0)
			continue;			/* the store's own */
		name = attribute_name(key.val.string.val, key.val.string.len);
		if (name[0] == '\0' || is_among(name, derived, lengthof(derived)) || !may_stand(name, &value))
			continue;
		key.val.string.val = name;
		key.val.string.len = strlen(name);
		pushJsonbValue(&document->state, WJB_KEY, &key);
		pushJsonbValue(&document->state, WJB_VALUE, &value);
	}
}

/* Finds a member of an object, which may be NULL; false: it has none. */
static bool
find_member(JsonbContainer *object, const char *name, JsonbValue *value)
{
	return object != NULL && getKeyJsonValueFromContainer(object, name, strlen(name), value) != NULL;
}

/* Adds an attribute: what was kept, unless that is null or no text, or else what is derived, unless that is NULL. */
static void
add(AtpJsonObject *document, JsonbContainer *kept, const char *name, const char *text)
{
	JsonbValue	value;

	if (!find_member(kept, name, &value))
	{
		if (text != NULL)
			atp_jsonobject_text(document, name, text);
	}
	else if (value.type == jbvString)
		atp_jsonobject_text(document, name, pnstrdup(value.val.string.val, value.val.string.len));
}

static void
add_value(AtpJsonObject *document, const char *name, JsonbValue *value)
{
	JsonbValue	key = {.type = jbvString};

	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	pushJsonbValue(&document->state, WJB_KEY, &key);
	pushJsonbValue(&document->state, WJB_VALUE, value);
}

static void
add_data(AtpJsonObject *document, JsonbContainer *kept, Jsonb *payload)
{
	JsonbValue	place;
	JsonbValue	value;
	char	   *name;

	if (!find_member(kept, "data", &place) || place.type != jbvString)
	{
		JsonbToJsonbValue(payload, &value);
		add_value(document, "data", &value);
		return;
	}
	name = pnstrdup(place.val.string.val, place.val.string.len);	/* data, data_base64: a member of the payload; none */
	if (JB_ROOT_IS_OBJECT(payload) && (strcmp(name, "data") == 0 || strcmp(name, "data_base64") == 0) &&
		find_member(&payload->root, name, &value))
		add_value(document, name, &value);
}

/* RFC 3339 knows the years 1 to 9999. */
static bool
has_rfc3339(TimestampTz at)
{
	const TimestampTz first = ((int64) date2j(1, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;
	const TimestampTz after = ((int64) date2j(10000, 1, 1) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY;

	return at >= first && at < after;
}

char *
atp_cloudevent_source(const char *tenant, const char *stream)
{
	return psprintf("/tenants/%s/%.*s", tenant, (int) strcspn(stream, "-"), stream);
}

Jsonb *
atp_cloudevent_document(const AtpCloudEvent *event)
{
	AtpJsonObject document;
	JsonbContainer *kept = NULL;
	JsonbValue	member;
	char		id[ATP_ULID_TEXT_SIZE + 1] = {0};

	atp_jsonobject_begin(&document);
	if (!event->metadata_null)
	{
		Jsonb	   *metadata = read_json(event->metadata);

		add_extensions(&document, metadata);
		if (find_member(&metadata->root, KEPT, &member) && member.type == jbvBinary && JsonContainerIsObject(member.val.binary.data))
			kept = member.val.binary.data;
	}
	atp_ulid_format(event->event_id->data, id);
	atp_jsonobject_text(&document, "specversion", "1.0");
	add(&document, kept, "id", id);
	add(&document, kept, "source", atp_cloudevent_source(event->tenant, event->stream));
	add(&document, kept, "type", event->event_type);
	add(&document, kept, "subject", event->stream);
	add(&document, kept, "time", has_rfc3339(event->occurred_at) ? atp_jsonobject_time_text(event->occurred_at) : NULL);
	add(&document, kept, "datacontenttype", "application/json");
	add(&document, kept, "dataschema", event->schema_version == 0 ? NULL :
		psprintf("urn:atp:schema:%s:%d", event->event_type, event->schema_version));
	atp_jsonobject_text(&document, "tenant", event->tenant);
	if (event->stream_version <= PG_INT32_MAX)
		atp_jsonobject_int(&document, "streamversion", event->stream_version);
	else
		atp_jsonobject_text(&document, "streamversion", psprintf(INT64_FORMAT, event->stream_version));
	if (event->schema_version > 0)
		atp_jsonobject_int(&document, "schemaversion", event->schema_version);
	atp_jsonobject_time(&document, "recordedtime", event->recorded_at);
	if (!event->payload_null)
		add_data(&document, kept, read_json(event->payload));
	return atp_jsonobject_end(&document);
}

bool
atp_cloudevent_may_differ(Datum metadata, bool metadata_null)
{
	static const char mark[] = "\"" KEPT "\"";
	text	   *json;
	bool		found;

	if (metadata_null)
		return false;
	json = DatumGetTextPP(metadata);
	found = memmem(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json), mark, sizeof(mark) - 1) != NULL;
	if ((Pointer) json != DatumGetPointer(metadata))
		pfree(json);
	return found;
}

/* cloudevent_document(event_id, tenant, stream, stream_version, event_type, schema_version, occurred_at, recorded_at, payload, metadata) */
Datum
atp_cloudevent_document_sql(PG_FUNCTION_ARGS)
{
	AtpCloudEvent event = {
		.event_id = PG_GETARG_UUID_P(0), .tenant = text_to_cstring(PG_GETARG_TEXT_PP(1)), .stream = text_to_cstring(PG_GETARG_TEXT_PP(2)),
		.stream_version = PG_GETARG_INT64(3), .event_type = text_to_cstring(PG_GETARG_TEXT_PP(4)), .schema_version = PG_GETARG_INT32(5),
		.occurred_at = PG_GETARG_TIMESTAMPTZ(6), .recorded_at = PG_GETARG_TIMESTAMPTZ(7),
		.payload = PG_GETARG_DATUM(8), .metadata = PG_GETARG_DATUM(9), .payload_null = PG_ARGISNULL(8), .metadata_null = PG_ARGISNULL(9)
	};

	PG_RETURN_JSONB_P(atp_cloudevent_document(&event));
}

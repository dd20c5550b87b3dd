/* Items of ingestion; see item.h. */
#include "stream/ingest/item.h"

#include <ctype.h>
#include <limits.h>

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"

#include "core/hash.h"
#include "core/json.h"
#include "core/ulid.h"
#include "pg/canonical.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "record/envelope.h"
#include "stream/append.h"

#define TEXT_MAX 1024			/* bytes of actor and action */
#define RESOURCE_MAX 2048
#define SOUND_DEPTH 48			/* an original nested deeper is kept as text */
#define SOUND_SIZE (512 * 1024) /* an original larger than this is kept as its beginning and its digest */
#define BEGINNING_SIZE (64 * 1024)

void
atp_ingest_item_fault(AtpIngestItem *item, int sqlstate, const char *location, const char *keyword, const char *message)
{
	AtpIngestFault *fault;

	if (list_length(item->faults) >= ATP_INGEST_FAULTS_MAX)
		return;
	fault = palloc(sizeof(AtpIngestFault));
	fault->code_size = sqlstate == 0 ? 6 : 5;
	memcpy(fault->code, sqlstate == 0 ? "SCHEMA" : unpack_sql_state(sqlstate), fault->code_size);
	fault->location = pstrdup(location);
	fault->keyword = pstrdup(keyword);
	fault->message = pstrdup(message);
	item->faults = lappend(item->faults, fault);
}

static void
refuse(AtpIngestItem *item, const char *location, const char *message)
{
	atp_ingest_item_fault(item, ATP_ERR_INVALID_ITEM, location, "", message);
}

/* Digits [from, from + count) as a number; -1 where one is none. */
static int
digits(const char *text, int count)
{
	int			value = 0;

	for (int i = 0; i < count; i++)
	{
		if (!isdigit((unsigned char) text[i]))
			return -1;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/* An RFC 3339 date-time, whose offset is not left out. False: it is none, or no timestamptz. */
static bool
parse_time(const char *text, TimestampTz *result)
{
	struct pg_tm parts = {0};
	fsec_t		fraction = 0;
	int			zone = 0;
	const char *at = text + 19;

	if (strlen(text) < 20 || text[4] != '-' || text[7] != '-' || strchr("Tt ", text[10]) == NULL || text[13] != ':' || text[16] != ':')
		return false;
	parts.tm_year = digits(text, 4);
	parts.tm_mon = digits(text + 5, 2);
	parts.tm_mday = digits(text + 8, 2);
	parts.tm_hour = digits(text + 11, 2);
	parts.tm_min = digits(text + 14, 2);
	parts.tm_sec = digits(text + 17, 2);
	if (parts.tm_year < 1 || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 ||
		parts.tm_mday > day_tab[isleap(parts.tm_year)][parts.tm_mon - 1] || parts.tm_hour < 0 || parts.tm_hour > 23 ||
		parts.tm_min < 0 || parts.tm_min > 59 || parts.tm_sec < 0 || parts.tm_sec > 60)
		return false;
	if (*at == '.')
	{
		int			scale = 100000;

		if (!isdigit((unsigned char) *++at))
			return false;
		for (; isdigit((unsigned char) *at); at++, scale /= 10)
			fraction += (*at - '0') * scale;	/* beyond microseconds it is cut */
	}
	if (*at == '+' || *at == '-')
	{
		int			hours = strlen(at) == 6 && at[3] == ':' ? digits(at + 1, 2) : -1;
		int			minutes = hours >= 0 ? digits(at + 4, 2) : -1;

		if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
			return false;
		zone = (hours * 60 + minutes) * 60 * (*at == '+' ? -1 : 1);
	}
	else if ((*at != 'Z' && *at != 'z') || at[1] != '\0')
		return false;
	return tm2timestamp(&parts, fraction, &zone, result) == 0;
}

static bool
parse_uuid(const char *text, pg_uuid_t *id)
{
	static const int groups[] = {8, 4, 4, 4, 12};
	const char *at = text;
	int			byte = 0;

	if (strlen(text) != 36)
		return false;
	for (int group = 0; group < (int) lengthof(groups); group++)
	{
		if (group > 0 && *at++ != '-')
			return false;
		for (int i = 0; i < groups[group]; i += 2, at += 2)
		{
			if (!isxdigit((unsigned char) at[0]) || !isxdigit((unsigned char) at[1]))
				return false;
			id->data[byte++] = (unsigned char) strtol((char[]) {at[0], at[1], '\0'}, NULL, 16);
		}
	}
	return true;
}

static const char *
text_of(const JsonbValue *value)
{
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* A member that has to be a string; NULL, and a fault, where it is none. */
static const char *
read_text(AtpIngestItem *item, const JsonbValue *value, const char *location)
{
	if (value->type == jbvString)
		return text_of(value);
	refuse(item, location, "is not a string");
	return NULL;
}

static Jsonb *
read_object(AtpIngestItem *item, const JsonbValue *value, const char *location)
{
	if (value->type == jbvBinary && JsonContainerIsObject(value->val.binary.data))
		return JsonbValueToJsonb(unconstify(JsonbValue *, value));
	if (value->type == jbvString)
	{
		AtpJson		json;
		AtpJsonError error;
		AtpJsonLimits limits = {.max_depth = 1000};

		atp_json_init(&json, atp_grow_palloc, CurrentMemoryContext);
		if (!atp_json_parse(&json, value->val.string.val, value->val.string.len, limits, &error))
		{
			refuse(item, location, psprintf("is not JSON: %s at byte %zu", atp_json_reason(error.code), error.offset));
			return NULL;
		}
	}
	refuse(item, location, "is not an object");
	return NULL;
}

typedef enum Member
{
	MEMBER_ACTOR, MEMBER_ACTION, MEMBER_RESOURCE, MEMBER_PAYLOAD, MEMBER_METADATA, MEMBER_PAYLOAD_TYPE, MEMBER_KEY, MEMBER_EVENT_ID,
	MEMBER_OCCURRED_AT, MEMBER_COUNT
} Member;

/* Names of members, and how the payload of AuditEventReceived writes them: both are taken. */
static const char *const names[MEMBER_COUNT][2] = {
	{"actor", "Actor"}, {"action", "Action"}, {"resource", "Resource"}, {"payload", "Payload"}, {"metadata", "Metadata"},
	{"payload_type", "PayloadType"}, {"idempotency_key", "IdempotencyKey"}, {"event_id", "EventId"}, {"occurred_at", "Timestamp"}
};

static Member
member_of(const char *name)
{
	Member		member = 0;

	while (member < MEMBER_COUNT && strcmp(name, names[member][0]) != 0 && strcmp(name, names[member][1]) != 0)
		member++;
	return member;
}

static void
read_member(AtpIngestItem *item, Member member, const char *location, const JsonbValue *value)
{
	const char *text;

	if (value->type == jbvNull && member >= MEMBER_METADATA)
		return;					/* the optional ones may be null */
	if (member == MEMBER_PAYLOAD || member == MEMBER_METADATA)
	{
		*(member == MEMBER_PAYLOAD ? &item->payload : &item->metadata) = read_object(item, value, location);
		return;
	}
	text = read_text(item, value, location);
	if (text == NULL)
		return;
	switch (member)
	{
		case MEMBER_ACTOR:
			item->actor = text;
			break;
		case MEMBER_ACTION:
			item->action = text;
			break;
		case MEMBER_RESOURCE:
			item->resource = text;
			break;
		case MEMBER_PAYLOAD_TYPE:
			item->payload_type = text;
			break;
		case MEMBER_KEY:
			item->key = text;
			break;
		case MEMBER_EVENT_ID:
			item->has_event_id = atp_ulid_parse(text, strlen(text), item->event_id.data) || parse_uuid(text, &item->event_id);
			if (!item->has_event_id)
				refuse(item, location, "is neither a ULID nor a uuid");
			break;
		default:
			item->has_occurred_at = parse_time(text, &item->occurred_at);
			if (!item->has_occurred_at)
				refuse(item, location, "is not an RFC 3339 date-time with its offset");
			break;
	}
}

void
atp_ingest_item_read(const JsonbValue *element, AtpIngestItem *item)
{
	JsonbIterator *walk;
	JsonbIteratorToken token;
	JsonbValue	value;
	Member		member = MEMBER_COUNT;
	char		name[32] = "";
	char		location[40] = "";
	bool		seen[MEMBER_COUNT] = {0};

	memset(item, 0, sizeof(*item));
	item->element = *element;
	item->has_element = true;
	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
	{
		refuse(item, "", "is not an object");
		return;
	}
	walk = JsonbIteratorInit(element->val.binary.data);
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			int			size = pg_mbcliplen(value.val.string.val, value.val.string.len, sizeof(name) - 1);

			pg_snprintf(name, sizeof(name), "%.*s", size, value.val.string.val);
			member = member_of(name);
			pg_snprintf(location, sizeof(location), strpbrk(name, "/~") == NULL ? "/%s" : "", name);
		}
		else if (token != WJB_VALUE)
			continue;
		else if (member == MEMBER_COUNT)
			refuse(item, location,
				   "is none of actor, action, resource, payload, occurred_at, event_id, idempotency_key, payload_type and metadata");
		else if (seen[member])
			refuse(item, location, "is given twice, under two names");
		else
		{
			seen[member] = true;
			pg_snprintf(location, sizeof(location), "/%s", names[member][0]);
			read_member(item, member, location, &value);
		}
	}
	atp_ingest_item_check(item);
}

/* One fault a member is enough: what read_member has refused is not missing besides. */
static bool
has_fault_at(const AtpIngestItem *item, const char *location)
{
	ListCell   *cell;

	foreach(cell, item->faults)
		if (strcmp(((AtpIngestFault *) lfirst(cell))->location, location) == 0)
			return true;
	return false;
}

static void
check_text(AtpIngestItem *item, const char *text, const char *location, int max)
{
	if (text == NULL)
	{
		if (!has_fault_at(item, location))
			refuse(item, location, "is missing");
	}
	else if (text[0] == '\0')
		refuse(item, location, "is empty");
	else if ((int) strlen(text) > max)
		refuse(item, location, psprintf("is longer than %d bytes", max));
}

/*
 * The stream of a resource: the resource itself where it is a name that callers may use, otherwise Resource- and the resource with the
 * bytes that a name cannot have written as %XX, or, where that is too long, with its SHA-256.
 */
static const char *
stream_of(const char *resource)
{
	static const char prefix[] = "Resource-";
	char	   *name;
	char	   *end;

	if (atp_envelope_stream_name_is_valid(resource) && strncmp(resource, ATP_PLATFORM_PREFIX, strlen(ATP_PLATFORM_PREFIX)) != 0)
		return resource;
	name = palloc(sizeof(prefix) + strlen(resource) * 3);
	end = name + sprintf(name, prefix);
	for (const char *at = resource; *at != '\0'; at++)
	{
		if ((unsigned char) *at <= 0x20 || *at == 0x7f || *at == '%')
			end += sprintf(end, "%%%02X", (unsigned char) *at);
		else
			*end++ = *at;
	}
	*end = '\0';
	if (end - name > ATP_STREAM_NAME_MAX)
	{
		uint8		digest[ATP_HASH_SIZE];

		if (!atp_sha256(resource, strlen(resource), digest))
			elog(ERROR, "SHA-256 failed in OpenSSL");
		end = name + strlen(prefix);
		for (int i = 0; i < ATP_HASH_SIZE; i++)
			end += sprintf(end, "%02x", digest[i]);
	}
	return name;
}

void
atp_ingest_item_check(AtpIngestItem *item)
{
	check_text(item, item->actor, "/actor", TEXT_MAX);
	check_text(item, item->action, "/action", TEXT_MAX);
	check_text(item, item->resource, "/resource", RESOURCE_MAX);
	if (item->payload == NULL && !has_fault_at(item, "/payload"))
		item->payload = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
	if (item->has_occurred_at && TIMESTAMP_NOT_FINITE(item->occurred_at))
		refuse(item, "/occurred_at", "is not finite");
	if (item->key != NULL && (item->key[0] == '\0' || strlen(item->key) > ATP_STREAM_NAME_MAX))
		refuse(item, "/idempotency_key", psprintf("has %zu bytes; 1 to %d are allowed", strlen(item->key), ATP_STREAM_NAME_MAX));
	if (item->has_event_id && !atp_envelope_id_is_in_window(&item->event_id, GetCurrentTimestamp()))
		atp_ingest_item_fault(item, ATP_ERR_EVENT_ID_OUTSIDE_WINDOW, "/event_id", "",
							  "carries a time outside the window around the server's clock");
	if (item->faults == NIL)
		item->stream = stream_of(item->resource);
}

static void
push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
}

static void
push_text(JsonbParseState **state, const char *key, const char *text, int size)
{
	JsonbValue	value = {.type = jbvString};

	push_key(state, key);
	value.val.string.val = unconstify(char *, text);
	value.val.string.len = size;
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_document(JsonbParseState **state, const char *key, const Jsonb *document)
{
	JsonbValue	value = {.type = jbvBinary};

	push_key(state, key);
	if (JB_ROOT_IS_SCALAR(document) && JsonbExtractScalar(unconstify(JsonbContainer *, &document->root), &value))
	{
		pushJsonbValue(state, WJB_VALUE, &value);
		return;
	}
	value.val.binary.data = unconstify(JsonbContainer *, &document->root);
	value.val.binary.len = VARSIZE(document) - VARHDRSZ;
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_ids(JsonbParseState **state, const AtpTenant *tenant, const pg_uuid_t *event_id, char text[ATP_ULID_TEXT_SIZE])
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	atp_ulid_format(event_id->data, text);
	push_text(state, "EventId", text, ATP_ULID_TEXT_SIZE);
	push_text(state, "TenantId", tenant->name, strlen(tenant->name));
}

/* RFC 3339 in UTC with microseconds; the size of the text. */
static int
format_time(TimestampTz at, char text[64])
{
	struct pg_tm parts;
	fsec_t		fraction;

	if (timestamp2tm(at, NULL, &parts, &fraction, NULL, NULL) != 0)
		elog(ERROR, "timestamp out of range");
	return pg_snprintf(text, 64, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", parts.tm_year, parts.tm_mon, parts.tm_mday, parts.tm_hour,
					   parts.tm_min, parts.tm_sec, (int) fraction);
}

Jsonb *
atp_ingest_item_received(const AtpIngestItem *item, const AtpTenant *tenant, const pg_uuid_t *event_id, TimestampTz at)
{
	JsonbParseState *state = NULL;
	char		id[ATP_ULID_TEXT_SIZE];
	char		time[64];

	push_ids(&state, tenant, event_id, id);
	push_text(&state, "Timestamp", time, format_time(at, time));
	push_text(&state, "Actor", item->actor, strlen(item->actor));
	push_text(&state, "Action", item->action, strlen(item->action));
	push_text(&state, "Resource", item->resource, strlen(item->resource));
	push_document(&state, "Payload", item->payload);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
push_faults(JsonbParseState **state, const AtpIngestItem *item)
{
	ListCell   *cell;

	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	foreach(cell, item->faults)
	{
		const AtpIngestFault *fault = lfirst(cell);

		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_text(state, "Code", fault->code, fault->code_size);
		push_text(state, "Location", fault->location, strlen(fault->location));
		push_text(state, "Keyword", fault->keyword, strlen(fault->keyword));
		push_text(state, "Message", fault->message, strlen(fault->message));
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
}

Jsonb *
atp_ingest_item_errors(const AtpIngestItem *item)
{
	JsonbParseState *state = NULL;

	if (item->faults == NIL)
		return NULL;
	push_faults(&state, item);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/* The item as a document, made of its members where it was handed in as arguments. */
static Jsonb *
original_of(const AtpIngestItem *item)
{
	JsonbParseState *state = NULL;
	char		time[64];

	if (item->has_element)
		return JsonbValueToJsonb(unconstify(JsonbValue *, &item->element));
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (item->actor != NULL)
		push_text(&state, "actor", item->actor, strlen(item->actor));
	if (item->action != NULL)
		push_text(&state, "action", item->action, strlen(item->action));
	if (item->resource != NULL)
		push_text(&state, "resource", item->resource, strlen(item->resource));
	if (item->payload != NULL)
		push_document(&state, "payload", item->payload);
	if (item->metadata != NULL)
		push_document(&state, "metadata", item->metadata);
	if (item->payload_type != NULL)
		push_text(&state, "payload_type", item->payload_type, strlen(item->payload_type));
	if (item->key != NULL)
		push_text(&state, "idempotency_key", item->key, strlen(item->key));
	if (item->has_event_id)
	{
		char	   *id = palloc(ATP_ULID_TEXT_SIZE);

		atp_ulid_format(item->event_id.data, id);
		push_text(&state, "event_id", id, ATP_ULID_TEXT_SIZE);
	}
	if (item->has_occurred_at && !TIMESTAMP_NOT_FINITE(item->occurred_at))
	{
		int			size = format_time(item->occurred_at, time);

		push_text(&state, "occurred_at", pnstrdup(time, size), size);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* What the limits of payloads let pass: an item nested too deeply as text, one too large as its beginning, size and digest. */
static void
push_original(JsonbParseState **state, const AtpIngestItem *item)
{
	Jsonb	   *original = original_of(item);
	char	   *text;
	size_t		size;

	if (VARSIZE(original) <= SOUND_SIZE && atp_jsonb_depth(original, SOUND_DEPTH) <= SOUND_DEPTH)
	{
		push_document(state, "OriginalPayload", original);
		return;
	}
	text = JsonbToCString(NULL, &original->root, VARSIZE(original));
	size = strlen(text);
	if (size <= SOUND_SIZE)
		push_text(state, "OriginalPayload", text, size);
	else
	{
		uint8		digest[ATP_HASH_SIZE];
		char	   *hex = palloc(2 * ATP_HASH_SIZE + 1);
		char	   *number = psprintf("%zu", size);

		if (!atp_sha256(text, size, digest))
			elog(ERROR, "SHA-256 failed in OpenSSL");
		for (int i = 0; i < ATP_HASH_SIZE; i++)
			sprintf(hex + 2 * i, "%02x", digest[i]);
		push_key(state, "OriginalPayload");
		pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
		push_text(state, "Beginning", text, pg_mbcliplen(text, size, BEGINNING_SIZE));
		push_text(state, "Bytes", number, strlen(number));
		push_text(state, "Sha256", hex, 2 * ATP_HASH_SIZE);
		pushJsonbValue(state, WJB_END_OBJECT, NULL);
	}
}

Jsonb *
atp_ingest_item_failed(const AtpIngestItem *item, const AtpTenant *tenant, const pg_uuid_t *event_id)
{
	JsonbParseState *state = NULL;
	char		id[ATP_ULID_TEXT_SIZE];

	push_ids(&state, tenant, event_id, id);
	push_key(&state, "ValidationErrors");
	push_faults(&state, item);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	push_original(&state, item);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

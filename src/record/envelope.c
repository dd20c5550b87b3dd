/*
 * The envelope; see envelope.h.
 *
 * Session defaults are kept as one jsonb, built anew when one of the settings changes, so that an append pays one
 * concatenation, and nothing when no default is set.
 */
#include "record/envelope.h"

#include <ctype.h>
#include <limits.h>

#include "catalog/pg_collation_d.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "core/tracecontext.h"
#include "pg/canonical.h"
#include "pg/errors.h"
#include "pg/eventid.h"

#define KEY_MAX 128
#define MEMBER_TEXT_MAX 1024	/* bytes of actor, action, resource and the ids */

static int	setting_payload_max_size = 1024 * 1024;
static int	setting_payload_max_depth = 64;
static int	setting_metadata_max_size = 16 * 1024;
static int	setting_window_past = 7 * 24 * 60 * 60;
static int	setting_window_future = 5 * 60;

static char *setting_actor;
static char *setting_correlation_id;
static char *setting_causation_id;
static char *setting_traceparent;
static char *setting_tracestate;

static const struct
{
	const char *key;
	char	  **setting;
}			defaults[] = {
	{"actor", &setting_actor},
	{"causation_id", &setting_causation_id},
	{"correlation_id", &setting_correlation_id},
	{"traceparent", &setting_traceparent},
	{"tracestate", &setting_tracestate},
};

/* Members whose value has to be a string. */
static const char *const text_members[] = {
	"action", "actor", "causation_id", "correlation_id", "resource", "traceparent", "tracestate"
};

static Jsonb *session_defaults;	/* NULL: none set */
static bool session_defaults_stale = true;

bool
atp_envelope_stream_name_is_valid(const char *name)
{
	size_t		size = strlen(name);
	const char *hyphen = strchr(name, '-');
	bool		ok = size <= ATP_STREAM_NAME_MAX && hyphen != NULL && hyphen > name && hyphen[1] != '\0' &&
		!IS_HIGHBIT_SET(name[0]) && isalpha((unsigned char) name[0]);

	for (const char *at = name; ok && at < hyphen; at++)
		ok = !IS_HIGHBIT_SET(*at) && (isalnum((unsigned char) *at) || *at == '_' || *at == '.' || *at == ':');
	for (const char *at = hyphen; ok && *at != '\0'; at++)
		ok = (unsigned char) *at > 0x20 && *at != 0x7f;
	return ok;
}

void
atp_envelope_require_stream_name(const char *name)
{
	if (!atp_envelope_stream_name_is_valid(name))
		ereport(ERROR, errcode(ATP_ERR_INVALID_NAME), errmsg("invalid stream name \"%s\"", name),
				errdetail("A stream name is {AggregateType}-{AggregateId}, at most %d bytes: a letter, then "
						  "letters, digits, _ . : up to the first hyphen, then an id without white space.",
						  ATP_STREAM_NAME_MAX),
				errhint("For example order-42 or Tenant-0193c2."));
}

void
atp_envelope_require_key(const char *key)
{
	size_t		size = strlen(key);

	if (size == 0 || size > ATP_STREAM_NAME_MAX)
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("invalid idempotency key"),
				errdetail("It has %zu bytes; 1 to %d are allowed.", size, ATP_STREAM_NAME_MAX));
}

/* Canonical text as a varlena: the header's room is written first, so that nothing is copied. */
static struct varlena *
canonical_varlena(Jsonb *document)
{
	AtpBuf		out;
	static const char header[VARHDRSZ] = {0};

	atp_buf_init_palloc(&out, CurrentMemoryContext);
	atp_buf_append(&out, header, VARHDRSZ);
	atp_canonical_jsonb(document, ATP_CANON_EXACT, &out);
	SET_VARSIZE(out.data, out.size);
	return (struct varlena *) out.data;
}

struct varlena *
atp_envelope_payload(Jsonb *payload, bool limited)
{
	struct varlena *text;
	int			depth;

	if (!JB_ROOT_IS_OBJECT(payload))
		ereport(ERROR, errcode(ATP_ERR_INVALID_PAYLOAD), errmsg("payload is not a JSON object"),
				errhint("Wrap the value in an object: {\"value\": ...}."));
	if (!limited)
		return canonical_varlena(payload);
	depth = atp_jsonb_depth(payload, setting_payload_max_depth);
	if (depth > setting_payload_max_depth)
		ereport(ERROR, errcode(ATP_ERR_INVALID_PAYLOAD), errmsg("payload nests too deeply"),
				errdetail("The limit atp.payload_max_depth is %d.", setting_payload_max_depth));
	/* jsonb is never much larger than its text; this keeps a hostile document from being rendered at all */
	if (VARSIZE_ANY(payload) / 8 > (Size) setting_payload_max_size)
		ereport(ERROR, errcode(ATP_ERR_PAYLOAD_TOO_LARGE), errmsg("payload is larger than %d bytes", setting_payload_max_size),
				errhint("Store the document elsewhere and append its digest, or raise atp.payload_max_size."));
	text = canonical_varlena(payload);
	if (VARSIZE(text) - VARHDRSZ > setting_payload_max_size)
		ereport(ERROR, errcode(ATP_ERR_PAYLOAD_TOO_LARGE), errmsg("payload is larger than %d bytes", setting_payload_max_size),
				errdetail("In canonical form it has %zu bytes.", (size_t) (VARSIZE(text) - VARHDRSZ)),
				errhint("Store the document elsewhere and append its digest, or raise atp.payload_max_size."));
	return text;
}

static bool
is_text_member(const char *key, int size)
{
	for (int i = 0; i < (int) lengthof(text_members); i++)
		if ((int) strlen(text_members[i]) == size && memcmp(text_members[i], key, size) == 0)
			return true;
	return false;
}

static bool
key_is_valid(const char *key, int size)
{
	if (size < 1 || size > KEY_MAX || IS_HIGHBIT_SET(key[0]) || !(isalpha((unsigned char) key[0]) || key[0] == '_'))
		return false;
	for (int i = 1; i < size; i++)
		if (IS_HIGHBIT_SET(key[i]) || !(isalnum((unsigned char) key[i]) || strchr("_.:-", key[i]) != NULL))
			return false;
	return true;
}

static void
check_member(const char *key, int key_size, const JsonbValue *value)
{
	if (!key_is_valid(key, key_size))
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("invalid metadata key"),
				errdetail("The key is \"%.*s\".", Min(key_size, KEY_MAX), key),
				errhint("A key has 1 to %d letters, digits and _ . : - and begins with a letter or an underscore.", KEY_MAX));
	if (!is_text_member(key, key_size))
		return;
	if (value->type != jbvString || value->val.string.len > MEMBER_TEXT_MAX)
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("metadata member \"%.*s\" is not a string of at most %d bytes",
																 key_size, key, MEMBER_TEXT_MAX));
	if (key_size == 11 && memcmp(key, "traceparent", 11) == 0 &&
		!atp_traceparent_is_valid(value->val.string.val, value->val.string.len))
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("metadata member \"traceparent\" is not a W3C traceparent"),
				errhint("For example 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01."));
	if (key_size == 10 && memcmp(key, "tracestate", 10) == 0 &&
		!atp_tracestate_is_valid(value->val.string.val, value->val.string.len))
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("metadata member \"tracestate\" is not a W3C tracestate"));
}

static void
check_members(Jsonb *metadata)
{
	JsonbIterator *walk = JsonbIteratorInit(&metadata->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue	key = {0};

	(void) JsonbIteratorNext(&walk, &value, false);
	while ((token = JsonbIteratorNext(&walk, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			key = value;
		else if (token == WJB_VALUE)
			check_member(key.val.string.val, key.val.string.len, &value);
	}
}

int32
atp_envelope_version_of(Numeric number)
{
	Datum		value = NumericGetDatum(number);
	Datum		most = DirectFunctionCall1(int4_numeric, Int32GetDatum(PG_INT32_MAX));

	if (!DatumGetBool(DirectFunctionCall2(numeric_eq, value, DirectFunctionCall2(numeric_trunc, value, Int32GetDatum(0)))) ||
		!DatumGetBool(DirectFunctionCall2(numeric_le, value, most)) || numeric_is_nan(number) ||
		!DatumGetBool(DirectFunctionCall2(numeric_gt, value, DirectFunctionCall1(int4_numeric, Int32GetDatum(0)))))
		return 0;
	return DatumGetInt32(DirectFunctionCall1(numeric_int4, value));
}

/* The session's defaults as jsonb in long-lived memory; NULL where none is set. */
static Jsonb *
get_session_defaults(void)
{
	JsonbParseState *state = NULL;
	JsonbValue *object;
	bool		any = false;

	if (!session_defaults_stale)
		return session_defaults;
	if (session_defaults != NULL)
		pfree(session_defaults);
	session_defaults = NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < (int) lengthof(defaults); i++)
	{
		JsonbValue	member;
		char	   *value = *defaults[i].setting;

		if (value == NULL || value[0] == '\0')
			continue;
		any = true;
		member.type = jbvString;
		member.val.string.val = unconstify(char *, defaults[i].key);
		member.val.string.len = strlen(defaults[i].key);
		pushJsonbValue(&state, WJB_KEY, &member);
		member.val.string.val = value;
		member.val.string.len = strlen(value);
		pushJsonbValue(&state, WJB_VALUE, &member);
	}
	object = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	if (any)
	{
		Jsonb	   *built = JsonbValueToJsonb(object);

		session_defaults = MemoryContextAlloc(TopMemoryContext, VARSIZE(built));
		memcpy(session_defaults, built, VARSIZE(built));
	}
	session_defaults_stale = false;
	return session_defaults;
}

struct varlena *
atp_envelope_metadata(Jsonb *metadata)
{
	Jsonb	   *standing = get_session_defaults();
	struct varlena *text;

	if (metadata != NULL)
	{
		if (!JB_ROOT_IS_OBJECT(metadata))
			ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("metadata is not a JSON object"));
		if (VARSIZE_ANY(metadata) / 8 > (Size) setting_metadata_max_size ||
			atp_jsonb_depth(metadata, setting_payload_max_depth) > setting_payload_max_depth)
			ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("metadata is too large or nests too deeply"),
					errdetail("The limits are atp.metadata_max_size = %d bytes and atp.payload_max_depth = %d.",
							  setting_metadata_max_size, setting_payload_max_depth));
		check_members(metadata);
	}
	if (standing != NULL && metadata != NULL)
		metadata = DatumGetJsonbP(DirectFunctionCall2(jsonb_concat, JsonbPGetDatum(standing), JsonbPGetDatum(metadata)));
	else if (metadata == NULL)
		metadata = standing;
	if (metadata == NULL)
		return (struct varlena *) cstring_to_text("{}");
	text = canonical_varlena(metadata);
	if (VARSIZE(text) - VARHDRSZ > setting_metadata_max_size)
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("metadata is larger than %d bytes", setting_metadata_max_size),
				errdetail("In canonical form it has %zu bytes; the limit is atp.metadata_max_size.",
						  (size_t) (VARSIZE(text) - VARHDRSZ)));
	return text;
}

int32
atp_envelope_schema_version(Jsonb *metadata)
{
	JsonbValue	key = {.type = jbvString, .val.string = {14, "schema_version"}};
	JsonbValue *value = findJsonbValueFromContainer(&metadata->root, JB_FOBJECT, &key);
	int32		version = 0;

	if (value == NULL)
		return 0;
	if (value->type == jbvNumeric)
		version = atp_envelope_version_of(value->val.numeric);
	if (version < 1)
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("metadata member \"schema_version\" is not a version"),
				errhint("It names the version of the event type's schema that the payload is validated against: 1, 2, 3, ..."));
	return version;
}

/* How many milliseconds an id's time lies after another. */
static int64
milliseconds_after(const pg_uuid_t *event_id, TimestampTz now)
{
	return atp_eventid_time(event_id) - (now + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY) / 1000;
}

bool
atp_envelope_id_is_in_window(const pg_uuid_t *event_id, TimestampTz now)
{
	int64		after = milliseconds_after(event_id, now);

	return after >= -(int64) setting_window_past * 1000 && after <= (int64) setting_window_future * 1000;
}

struct varlena *
atp_envelope_name_stream(const struct varlena *metadata, const char *stream)
{
	static const char header[VARHDRSZ] = {0};
	const char *members = VARDATA_ANY(metadata) + 1;	/* behind the brace */
	AtpBuf		out;

	atp_buf_init_palloc(&out, CurrentMemoryContext);
	atp_buf_append(&out, header, VARHDRSZ);
	atp_buf_append(&out, ATP_ENVELOPE_STREAM_MEMBER, strlen(ATP_ENVELOPE_STREAM_MEMBER));
	atp_canon_string(&out, stream, strlen(stream));
	if (*members != '}')
		atp_buf_append(&out, ",", 1);
	atp_buf_append(&out, members, VARSIZE_ANY_EXHDR(metadata) - 1);
	SET_VARSIZE(out.data, out.size);
	return (struct varlena *) out.data;
}

void
atp_envelope_require_id_in_window(const pg_uuid_t *event_id, TimestampTz now)
{
	int64		after = milliseconds_after(event_id, now);

	if (!atp_envelope_id_is_in_window(event_id, now))
		ereport(ERROR, errcode(ATP_ERR_EVENT_ID_OUTSIDE_WINDOW), errmsg("event id is outside the window around the server's clock"),
				errdetail("Its time lies %lld s %s now; %d s before and %d s after are allowed.",
						  (long long) (after < 0 ? -after : after) / 1000, after < 0 ? "before" : "after",
						  setting_window_past, setting_window_future),
				errhint("An event id is a ULID made when the event is appended, as atp.create_event_id does; "
						"occurred_at carries the time it happened."));
}

static void
assign_default(const char *value, void *extra)
{
	session_defaults_stale = true;
}

static bool
check_text(char **value, void **extra, GucSource source)
{
	return strlen(*value) <= MEMBER_TEXT_MAX;
}

static bool
check_traceparent(char **value, void **extra, GucSource source)
{
	return **value == '\0' || atp_traceparent_is_valid(*value, strlen(*value));
}

static bool
check_tracestate(char **value, void **extra, GucSource source)
{
	return **value == '\0' || atp_tracestate_is_valid(*value, strlen(*value));
}

void
atp_envelope_init(void)
{
	DefineCustomIntVariable("atp.payload_max_size", "Largest payload accepted, in canonical form.", NULL,
							&setting_payload_max_size, 1024 * 1024, 1024, 128 * 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
	DefineCustomIntVariable("atp.payload_max_depth", "Deepest nesting of arrays and objects accepted.", NULL,
							&setting_payload_max_depth, 64, 1, 1000, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("atp.metadata_max_size", "Largest metadata accepted, in canonical form.", NULL,
							&setting_metadata_max_size, 16 * 1024, 256, 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
	DefineCustomIntVariable("atp.event_id_window_past", "How far a caller's event id may lie before the clock.", NULL,
							&setting_window_past, 7 * 24 * 60 * 60, 1, INT_MAX, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("atp.event_id_window_future", "How far a caller's event id may lie after the clock.", NULL,
							&setting_window_future, 5 * 60, 1, 24 * 60 * 60, PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("atp.actor", "Actor put into the metadata of events that do not name one.", NULL,
							   &setting_actor, "", PGC_USERSET, 0, check_text, assign_default, NULL);
	DefineCustomStringVariable("atp.correlation_id", "Correlation id put into the metadata of events that do not name one.", NULL,
							   &setting_correlation_id, "", PGC_USERSET, 0, check_text, assign_default, NULL);
	DefineCustomStringVariable("atp.causation_id", "Causation id put into the metadata of events that do not name one.", NULL,
							   &setting_causation_id, "", PGC_USERSET, 0, check_text, assign_default, NULL);
	DefineCustomStringVariable("atp.traceparent", "W3C traceparent put into the metadata of events that do not name one.", NULL,
							   &setting_traceparent, "", PGC_USERSET, 0, check_traceparent, assign_default, NULL);
	DefineCustomStringVariable("atp.tracestate", "W3C tracestate put into the metadata of events that do not name one.", NULL,
							   &setting_tracestate, "", PGC_USERSET, 0, check_tracestate, assign_default, NULL);
}

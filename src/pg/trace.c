/* W3C Trace Context for SQL; the grammar is in core/tracecontext. */
#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"

#include "core/tracecontext.h"
#include "pg/compat.h"

static JsonbValue
string_value(const char *text, size_t size)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = (int) size;
	return value;
}

static void
push_member(JsonbParseState **state, const char *key, const char *text, size_t size)
{
	JsonbValue	name = string_value(key, strlen(key));
	JsonbValue	value = string_value(text, size);

	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_VALUE, &value);
}

PG_FUNCTION_INFO_V1(atp_trace_traceparent_parse);
PG_FUNCTION_INFO_V1(atp_trace_tracestate_parse);

Datum
atp_trace_traceparent_parse(PG_FUNCTION_ARGS)
{
	text	   *header = PG_GETARG_TEXT_PP(0);
	JsonbParseState *state = NULL;
	AtpTraceparent parts;

	if (!atp_traceparent_parse(VARDATA_ANY(header), VARSIZE_ANY_EXHDR(header), &parts))
		PG_RETURN_NULL();
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_member(&state, "version", parts.version, 2);
	push_member(&state, "trace_id", parts.trace_id, ATP_TRACE_ID_SIZE);
	push_member(&state, "parent_id", parts.parent_id, ATP_PARENT_ID_SIZE);
	push_member(&state, "flags", parts.flags, 2);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
}

Datum
atp_trace_tracestate_parse(PG_FUNCTION_ARGS)
{
	text	   *header = PG_GETARG_TEXT_PP(0);
	JsonbParseState *state = NULL;
	AtpTraceMember members[ATP_TRACESTATE_MAX_MEMBERS];
	int			count = atp_tracestate_parse(VARDATA_ANY(header), VARSIZE_ANY_EXHDR(header), members);

	if (count < 0)
		PG_RETURN_NULL();
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < count; i++)
	{
		JsonbValue	key = string_value(members[i].key, members[i].key_size);
		JsonbValue	value = string_value(members[i].value, members[i].value_size);

		pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
		pushJsonbValue(&state, WJB_ELEM, &key);
		pushJsonbValue(&state, WJB_ELEM, &value);
		pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	}
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

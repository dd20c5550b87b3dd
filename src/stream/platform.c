/* Events of the platform itself; see platform.h. */
#include "stream/platform.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "pg/errors.h"
#include "record/eventtype.h"
#include "record/tenant.h"

PG_FUNCTION_INFO_V1(atp_platform_emit_event);

static void
push_member(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = pstrdup(key);
	value.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &value);
	value.val.string.val = pstrdup(text);
	value.val.string.len = strlen(text);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* session_user: who was connected, whatever the session says of its actor. */
Jsonb *
atp_platform_metadata(const char *ingest_batch, const char *causation_id)
{
	JsonbParseState *state = NULL;
	char	   *name = GetUserNameFromId(GetSessionUserId(), true);

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (name != NULL)
		push_member(&state, "session_user", name);
	if (ingest_batch != NULL)
		push_member(&state, "ingest_batch", ingest_batch);
	if (causation_id != NULL)
		push_member(&state, "causation_id", causation_id);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Says what was found out about a tenant, or done with its log: no part of the tenant's own story. */
static bool
is_about_tenant(const char *event_type)
{
	static const char *const kinds[] = {"Export", "HashChain", "HealthCheck", "Signature", "Service"};

	for (int i = 0; i < lengthof(kinds); i++)
		if (strncmp(event_type, kinds[i], strlen(kinds[i])) == 0)
			return true;
	return false;
}

/*
 * The last event of a deleted tenant's log is its deletion. What has to be recorded of it afterwards stands in the log of the tenant
 * default; the payload names the tenant.
 */
static void
require_log(AtpTenant *tenant, const char *event_type)
{
	if (!tenant->deleted || strcmp(event_type, "TenantDeleted") == 0)
		return;
	if (is_about_tenant(event_type))
		atp_tenant_get_default(tenant);
	else
		atp_tenant_require_active(tenant);
}

AtpReceipt
atp_platform_emit(int32 key, const char *stream, const char *event_type, Jsonb *payload)
{
	AtpTenant	tenant;
	AtpEventType type;
	AtpEvent	event = {0};
	AtpReceipt	receipt;

	if (!atp_tenant_get(key, &tenant))
		ereport(ERROR, errcode(ATP_ERR_TENANT_NOT_FOUND), errmsg("tenant with key %d does not exist", key));
	require_log(&tenant, event_type);
	atp_eventtype_resolve(event_type, &type);
	if (!type.builtin)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("event type \"%s\" is not one of the platform's", event_type));
	event.event_type = event_type;
	event.payload = payload;
	event.metadata = atp_platform_metadata(NULL, NULL);
	event.platform = true;
	event.unlimited = true;
	atp_append(&tenant, stream, &event, 1, ATP_EXPECT_ANY, NULL, &receipt);
	return receipt;
}

/* emit_event(tenant, stream, event_type, payload) */
Datum
atp_platform_emit_event(PG_FUNCTION_ARGS)
{
	AtpReceipt	receipt = atp_platform_emit(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)),
											text_to_cstring(PG_GETARG_TEXT_PP(2)), PG_GETARG_JSONB_P(3));
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

	*id = receipt.event_id;
	PG_RETURN_UUID_P(id);
}

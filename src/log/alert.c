/* Alarms; see alert.h. */
#include "log/alert.h"

#include "commands/async.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "pg/jsonobject.h"
#include "record/tenant.h"
#include "stream/platform.h"

#define CHANNEL "atp_alert"

static Jsonb *
make_payload(const char *tenant, const char *check, const char *detail, const char *key, int64 value)
{
	AtpJsonObject object;

	atp_jsonobject_begin(&object);
	atp_jsonobject_text(&object, "Check", check);
	atp_jsonobject_text(&object, "Detail", detail);
	if (key != NULL)
		atp_jsonobject_int(&object, key, value);
	if (tenant != NULL)
		atp_jsonobject_text(&object, "TenantId", tenant);
	return atp_jsonobject_end(&object);
}

PG_FUNCTION_INFO_V1(atp_alert_raise_sql);

void
atp_alert_raise(int32 key_of_tenant, const char *check, const char *detail, const char *key, int64 value)
{
	AtpTenant	tenant;
	bool		known = key_of_tenant != 0 && atp_tenant_get(key_of_tenant, &tenant);
	Jsonb	   *payload = make_payload(known ? tenant.name : NULL, check, detail, key, value);

	Async_Notify(CHANNEL, DatumGetCString(DirectFunctionCall1(jsonb_out, JsonbPGetDatum(payload))));
	if (!known)
		atp_tenant_get_default(&tenant);
	atp_platform_emit(tenant.tenant, psprintf(ATP_PLATFORM_PREFIX "Health-%s", check), "HealthCheckFailed", payload);
}

/* raise_alert(tenant, check_name, detail) */
Datum
atp_alert_raise_sql(PG_FUNCTION_ARGS)
{
	atp_alert_raise(PG_GETARG_INT32(0), text_to_cstring(PG_GETARG_TEXT_PP(1)), text_to_cstring(PG_GETARG_TEXT_PP(2)), NULL, 0);
	PG_RETURN_VOID();
}

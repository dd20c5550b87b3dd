/* PRIVATE STUB, never committed */
#include "postgres.h"
#include "fmgr.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "pg/worker.h"
PG_FUNCTION_INFO_V1(atp_tenant_changed);
Datum atp_tenant_changed(PG_FUNCTION_ARGS){ PG_RETURN_POINTER(NULL); }
PG_FUNCTION_INFO_V1(atp_eventtype_changed);
Datum atp_eventtype_changed(PG_FUNCTION_ARGS){ PG_RETURN_POINTER(NULL); }
PG_FUNCTION_INFO_V1(atp_tenant_current);
Datum atp_tenant_current(PG_FUNCTION_ARGS){ PG_RETURN_INT32(1); }
PG_FUNCTION_INFO_V1(atp_tenant_open);
Datum atp_tenant_open(PG_FUNCTION_ARGS){ PG_RETURN_INT32(1); }
PG_FUNCTION_INFO_V1(atp_tenant_is_visible);
Datum atp_tenant_is_visible(PG_FUNCTION_ARGS){ PG_RETURN_BOOL(true); }
#define S(n) PG_FUNCTION_INFO_V1(n); Datum n(PG_FUNCTION_ARGS){ PG_RETURN_DATUM(PG_GETARG_DATUM(1)); }
S(atp_stream_pending_version)
S(atp_stream_pending_hash)
S(atp_stream_pending_recorded_at)
S(atp_stream_pending_max_event_id)
S(atp_stream_pending_min_event_id)
static bool used, hooked;
static void cb(XactEvent e, void *a){
	if(e==XACT_EVENT_PRE_COMMIT||e==XACT_EVENT_PRE_PREPARE){ if(used) atp_worker_require(); }
	else if(e==XACT_EVENT_COMMIT){ if(used) atp_worker_wake(); used=false; }
	else if(e==XACT_EVENT_ABORT||e==XACT_EVENT_PREPARE) used=false;
}
PG_FUNCTION_INFO_V1(atp_stub_touch);
Datum atp_stub_touch(PG_FUNCTION_ARGS){ if(!hooked){RegisterXactCallback(cb,NULL);hooked=true;} used=true; PG_RETURN_INT32(1); }

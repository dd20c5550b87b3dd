/*
 * The roof: module load. _PG_init lists the initialisers of the rooms, ground floor first; each registers its own settings and
 * hooks. This is the only file that may know every room.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/guc.h"

#include "compliance/exportrecord.h"
#include "delivery/call.h"
#include "delivery/claimscan.h"
#include "delivery/handler.h"
#include "delivery/route.h"
#include "log/checkpoint.h"
#include "log/leaf.h"
#include "delivery/schedule.h"
#include "delivery/status.h"
#include "log/projection.h"
#include "log/sequencer.h"
#include "pg/aside.h"
#include "pg/hint.h"
#include "pg/worker.h"
#include "record/envelope.h"
#include "record/eventtype.h"
#include "record/schema.h"
#include "record/tenant.h"
#include "record/validator.h"
#include "stream/append.h"
#include "stream/door/rows.h"
#include "stream/guard.h"
#include "stream/ingest/view.h"
#include "stream/partition.h"
#include "stream/repeat.h"
#include "stream/stream.h"
#include "tooling/doctor.h"
#include "tooling/housekeeping.h"
#include "tooling/nightly.h"
#include "tooling/servicestart.h"

PG_MODULE_MAGIC;

void		_PG_init(void);

/* Without a worker, readers place the events: a commit is never refused for it. */
static void
require_worker(void)
{
	(void) atp_worker_require();
}

void
_PG_init(void)
{
	atp_worker_init();
	atp_hint_init();
	atp_tenant_init();
	atp_eventtype_init();
	atp_envelope_init();
	atp_validator_init();
	atp_guard_init();
	atp_schema_init();
	atp_partition_init();
	atp_stream_init();
	atp_repeat_init();
	atp_append_init();
	atp_door_rows_init();
	atp_ingest_view_init();
	atp_sequencer_init();
	atp_projection_init();
	atp_status_init();
	atp_claimscan_init();
	atp_leaf_init();
	atp_checkpoint_init();
	atp_nightly_init();
	atp_worker_add_job("sequencer", 0, atp_sequencer_work);
	atp_call_init();
	atp_handler_init();
	atp_route_init();
	atp_worker_add_job("handlers", 0, atp_handler_work);
	atp_worker_add_job("service start", ATP_SERVICESTART_PERIOD, atp_servicestart_work);
	atp_worker_add_job("trees", ATP_ASIDE_PERIOD, atp_aside_work);
	atp_aside_init("atp trees");
	atp_aside_add_job("leaf", 500, atp_leaf_look, atp_leaf_work);
	atp_aside_add_job("checkpoint", 1000, atp_checkpoint_look, atp_checkpoint_work);
	atp_worker_add_job("schedule", ATP_SCHEDULE_PERIOD, atp_schedule_work);
	atp_worker_add_job("exports", ATP_EXPORTRECORD_PERIOD, atp_exportrecord_work);
	atp_worker_add_job("nightly", 30000, atp_nightly_work);
	atp_worker_add_job("housekeeping", ATP_HOUSEKEEPING_PERIOD, atp_housekeeping_work);
	atp_append_hooks.pre_commit = require_worker;
	atp_append_hooks.committed = atp_worker_wake;
	atp_doctor_init();
	MarkGUCPrefixReserved("atp");
}

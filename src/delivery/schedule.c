/* Scheduled events; see schedule.h and schedule.sql. */
#include "delivery/schedule.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"

#include "pg/query.h"
#include "record/envelope.h"
#include "record/eventtype.h"

PG_FUNCTION_INFO_V1(atp_schedule_check);

#define SLICE 200				/* events appended in one transaction: their streams stay locked to its end */

static int64
ask(AtpQuery *query, Datum *arguments)
{
	int64		answer;
	bool		null;

	(void) atp_query(query, arguments, NULL, false, 1);
	answer = DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null));
	return null ? 0 : answer;
}

AtpWork
atp_schedule_work(void)
{
	/* 0: nothing is scheduled, 1: something for later, 2: something is due */
	static AtpQuery look = {
		"SELECT CASE WHEN min(try_at) IS NULL THEN 0 WHEN min(try_at) > pg_catalog.clock_timestamp() THEN 1 ELSE 2 END::bigint"
		" FROM atp_internal.scheduled_event", 0, {0}
	};
	static AtpQuery append = {"SELECT atp.append_due_events($1)", 1, {INT4OID}};
	Datum		slice = Int32GetDatum(SLICE);
	AtpWork		result;
	int64		found;

	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	found = ask(&look, NULL);
	if (found == 2)
		result = ask(&append, &slice) >= SLICE ? ATP_WORK_MORE : ATP_WORK_LATER;
	else
		result = found == 1 ? ATP_WORK_LATER : ATP_WORK_NONE;
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return result;
}

/* check_scheduled(stream, event_type, payload, metadata) */
Datum
atp_schedule_check(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("stream, event type and payload must not be null"));
	atp_envelope_require_stream_name(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	atp_eventtype_require_valid(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	(void) atp_envelope_payload(PG_GETARG_JSONB_P(2), true);
	if (!PG_ARGISNULL(3))
		(void) atp_envelope_metadata(PG_GETARG_JSONB_P(3));
	(void) GetCurrentTransactionId();	/* whoever relies on the worker has one when it asks for it */
	(void) atp_worker_require();
	PG_RETURN_VOID();
}

/* Start-ups on record; see servicestart.sql. */
#include "postgres.h"

#include "tooling/servicestart.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "executor/spi.h"
#include "utils/snapmgr.h"

#include "pg/query.h"

AtpWork
atp_servicestart_work(void)
{
	static AtpQuery query = {"SELECT atp_internal.record_service_start()"};

	if (RecoveryInProgress())
		return ATP_WORK_NONE;
	if (!atp_worker_begin())
		return ATP_WORK_GONE;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	atp_query(&query, NULL, NULL, false, 1);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	return ATP_WORK_NONE;
}

/* Statements over many rows; see scan.h. The row function is a DestReceiver of the executor. */
#include "pg/scan.h"

#include "miscadmin.h"
#include "nodes/params.h"
#include "tcop/dest.h"
#include "utils/memutils.h"

#include "pg/query.h"

typedef struct Receiver
{
	DestReceiver base;
	AtpScanRow	row;
	void	   *context;
	MemoryContext memory;
} Receiver;

static bool
receive_row(TupleTableSlot *slot, DestReceiver *self)
{
	Receiver   *receiver = (Receiver *) self;
	MemoryContext before = MemoryContextSwitchTo(receiver->memory);
	bool		more;

	CHECK_FOR_INTERRUPTS();
	slot_getallattrs(slot);
	more = receiver->row(receiver->context, slot);
	MemoryContextSwitchTo(before);
	MemoryContextReset(receiver->memory);
	return more;
}

static void
receive_nothing(DestReceiver *self, int operation, TupleDesc shape)
{
}

static void
forget(DestReceiver *self)
{
}

static SPIPlanPtr
get_plan(AtpScan *scan)
{
	SPIPlanPtr	plan = scan->plan;

	if (plan != NULL)
		return plan;
	plan = SPI_prepare_cursor(scan->sql, scan->argument_count, scan->argument_types,
							  scan->plan_each_time ? CURSOR_OPT_CUSTOM_PLAN : 0);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", scan->sql, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan of \"%s\"", scan->sql);
	return scan->plan = plan;
}

void
atp_scan(AtpScan *scan, Datum *arguments, AtpScanRow row, void *context)
{
	Receiver	receiver = {.base = {.receiveSlot = receive_row, .rStartup = receive_nothing, .rShutdown = forget,
	.rDestroy = forget, .mydest = DestTuplestore}, .row = row, .context = context};
	SPIExecuteOptions options = {.read_only = true, .dest = &receiver.base};
	AtpIdentity before;
	int			result;

	receiver.memory = AllocSetContextCreate(CurrentMemoryContext, "atp row of a scan", ALLOCSET_DEFAULT_SIZES);
	SPI_connect();				/* of its own: a scan inside a row of another must not share its working memory */
	options.params = makeParamList(scan->argument_count);
	for (int i = 0; i < scan->argument_count; i++)
	{
		options.params->params[i].value = arguments[i];
		options.params->params[i].isnull = false;	/* makeParamList leaves the entries as it found the memory */
		options.params->params[i].pflags = PARAM_FLAG_CONST;
		options.params->params[i].ptype = scan->argument_types[i];
	}
	atp_owner_begin(&before);
	result = SPI_execute_plan_extended(get_plan(scan), &options);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", scan->sql, SPI_result_code_string(result));
	atp_owner_end(&before);
	SPI_finish();
	MemoryContextDelete(receiver.memory);
}

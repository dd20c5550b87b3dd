/*
 * Rows given to the view atp.events; see rows.h.
 *
 * A row of COPY is admitted when it comes, as any other is, so that an error is of its line; its event is written to the table with
 * others (AtpGather), for nobody asks COPY what it has stored. That the row is COPY's own, and not of a statement which a function
 * that computes a default runs, is told by the innermost error context: COPY's, for this view.
 *
 * The trigger BEFORE STATEMENT opens a frame, the one AFTER STATEMENT writes what the frame holds and closes it. Statements can nest,
 * so frames are a stack; one that an error leaves behind is dropped with its (sub)transaction, whose memory it lives in.
 */
#include "stream/door/rows.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/copyfrom_internal.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "pg/errors.h"
#include "record/tenant.h"
#include "stream/append.h"

PG_FUNCTION_INFO_V1(atp_door_view_insert);
PG_FUNCTION_INFO_V1(atp_door_view_statement);
PG_FUNCTION_INFO_V1(atp_door_view_refuse);

/* The columns of the view atp.events that the trigger deals with. */
typedef enum ViewColumn
{
	VIEW_STREAM, VIEW_EVENT_TYPE, VIEW_PAYLOAD, VIEW_METADATA, VIEW_EVENT_ID, VIEW_STREAM_VERSION, VIEW_OCCURRED_AT, VIEW_TENANT,
	VIEW_IDEMPOTENCY_KEY, VIEW_SCHEMA_VERSION, VIEW_RECORDED_AT, VIEW_HASH, VIEW_PREVIOUS_HASH, VIEW_COLUMNS
} ViewColumn;

static const char *const view_names[VIEW_COLUMNS] = {
	"stream", "event_type", "payload", "metadata", "event_id", "stream_version", "occurred_at", "tenant",
	"idempotency_key", "schema_version", "recorded_at", "hash", "previous_hash"
};

typedef struct Column			/* as the trigger meets it */
{
	int			number;
	Datum		value;
	bool		null;
} Column;

/* Where a column stands: where it stood last time, or else it is searched for. */
static int
number_of(TupleDesc shape, ViewColumn which)
{
	static int	known[VIEW_COLUMNS];
	int			number = known[which];

	if (number > 0 && number <= shape->natts && strcmp(NameStr(TupleDescAttr(shape, number - 1)->attname), view_names[which]) == 0)
		return number;
	number = SPI_fnumber(shape, view_names[which]);
	if (number <= 0)
		elog(ERROR, "view atp.events has no column %s", view_names[which]);
	return known[which] = number;
}

/* Takes a row of the view apart. */
static void
read_columns(TriggerData *trigger, Column columns[VIEW_COLUMNS])
{
	TupleDesc	shape = RelationGetDescr(trigger->tg_relation);
	Datum		values[MaxTupleAttributeNumber];
	bool		nulls[MaxTupleAttributeNumber];

	heap_deform_tuple(trigger->tg_trigtuple, shape, values, nulls);
	for (int i = 0; i < VIEW_COLUMNS; i++)
	{
		columns[i].number = number_of(shape, (ViewColumn) i);
		columns[i].value = values[columns[i].number - 1];
		columns[i].null = nulls[columns[i].number - 1];
	}
}

static char *
text_of(const Column *column)
{
	return column->null ? NULL : TextDatumGetCString(column->value);
}

static void
refuse_computed(const Column *column, const char *name)
{
	if (!column->null)
		ereport(ERROR, errcode(ERRCODE_GENERATED_ALWAYS), errmsg("cannot insert into column \"%s\" of view atp.events", name),
				errdetail("The store computes it."), errhint("Leave the column out."));
}

static void
require_given(const Column *column, const char *what)
{
	if (column->null)
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be null", what));
}

static void
check_columns(const Column columns[VIEW_COLUMNS])
{
	for (int i = VIEW_RECORDED_AT; i < VIEW_COLUMNS; i++)
		refuse_computed(&columns[i], view_names[i]);
	require_given(&columns[VIEW_STREAM], "stream");
	require_given(&columns[VIEW_EVENT_TYPE], "event type");
	if (!columns[VIEW_STREAM_VERSION].null && DatumGetInt64(columns[VIEW_STREAM_VERSION].value) < 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("stream_version must be at least 1"));
	if (!columns[VIEW_SCHEMA_VERSION].null && DatumGetInt32(columns[VIEW_SCHEMA_VERSION].value) < 1)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("schema_version must be at least 1"));
}

static void
read_event(const Column columns[VIEW_COLUMNS], AtpEvent *event)
{
	memset(event, 0, sizeof(*event));
	event->event_type = text_of(&columns[VIEW_EVENT_TYPE]);
	event->payload = columns[VIEW_PAYLOAD].null ? DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")))
		: DatumGetJsonbP(columns[VIEW_PAYLOAD].value);
	event->metadata = columns[VIEW_METADATA].null ? NULL : DatumGetJsonbP(columns[VIEW_METADATA].value);
	event->event_id = columns[VIEW_EVENT_ID].null ? NULL : DatumGetUUIDP(columns[VIEW_EVENT_ID].value);
	event->has_occurred_at = !columns[VIEW_OCCURRED_AT].null;
	event->occurred_at = event->has_occurred_at ? DatumGetTimestampTz(columns[VIEW_OCCURRED_AT].value) : 0;
	event->schema_version = columns[VIEW_SCHEMA_VERSION].null ? 0 : DatumGetInt32(columns[VIEW_SCHEMA_VERSION].value);
}

/* The row with what was stored, for RETURNING. */
static HeapTuple
answer(TriggerData *trigger, const Column columns[VIEW_COLUMNS], const AtpTenant *tenant, const AtpReceipt *receipt)
{
	bytea	   *hash = palloc(VARHDRSZ + ATP_HASH_SIZE);
	int			numbers[7];
	Datum		values[7];
	bool		nulls[7] = {0};

	SET_VARSIZE(hash, VARHDRSZ + ATP_HASH_SIZE);
	memcpy(VARDATA(hash), receipt->hash, ATP_HASH_SIZE);
	numbers[0] = columns[VIEW_EVENT_ID].number;
	values[0] = UUIDPGetDatum(&receipt->event_id);
	numbers[1] = columns[VIEW_STREAM_VERSION].number;
	values[1] = Int64GetDatum(receipt->stream_version);
	numbers[2] = columns[VIEW_RECORDED_AT].number;
	values[2] = TimestampTzGetDatum(receipt->recorded_at);
	numbers[3] = columns[VIEW_HASH].number;
	values[3] = PointerGetDatum(hash);
	numbers[4] = columns[VIEW_TENANT].number;
	values[4] = CStringGetTextDatum(tenant->name);
	numbers[5] = columns[VIEW_OCCURRED_AT].number;
	values[5] = columns[VIEW_OCCURRED_AT].null ? values[2] : columns[VIEW_OCCURRED_AT].value;
	numbers[6] = columns[VIEW_SCHEMA_VERSION].number;
	values[6] = Int32GetDatum(receipt->schema_version);
	return heap_modify_tuple_by_cols(trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation), 7, numbers, values, nulls);
}

/* ==== Statements ==== */

typedef struct Frame
{
	struct Frame *outer;
	SubTransactionId transaction;
	AtpGather  *gather;			/* NULL: nothing to gather yet */
	MemoryContext memory;
} Frame;

static Frame *frames;

static void
open_frame(void)
{
	MemoryContext memory = AllocSetContextCreate(CurTransactionContext, "atp rows to append", ALLOCSET_SMALL_SIZES);
	Frame	   *frame = MemoryContextAllocZero(memory, sizeof(Frame));

	frame->memory = memory;
	frame->transaction = GetCurrentSubTransactionId();
	frame->outer = frames;
	frames = frame;
}

static void
close_frame(void)
{
	Frame	   *done = frames;

	if (done == NULL)
		elog(ERROR, "rows for atp.events outside of a statement");
	if (done->gather != NULL)
		atp_gather_store(done->gather);
	frames = done->outer;
	MemoryContextDelete(done->memory);
}

/* Whether COPY itself, and nothing that it has called, is inserting into the view. */
static bool
is_copied(const TriggerData *trigger)
{
	const ErrorContextCallback *context = error_context_stack;

	return context != NULL && context->callback == CopyFromErrorCallback &&
		((const CopyFromStateData *) context->arg)->rel == trigger->tg_relation;
}

static AtpGather *
gather_of(Frame *frame)
{
	if (frame->gather == NULL)
	{
		MemoryContext before = MemoryContextSwitchTo(frame->memory);

		frame->gather = atp_gather_begin();
		MemoryContextSwitchTo(before);
	}
	return frame->gather;
}

/* Trigger INSTEAD OF INSERT on atp.events: a row becomes an event; RETURNING sees what was stored. */
Datum
atp_door_view_insert(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	AtpTenant	tenant;
	AtpEvent	event;
	AtpReceipt	receipt;
	Column		columns[VIEW_COLUMNS];
	int64		expected;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_INSTEAD(trigger->tg_event) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called INSTEAD OF INSERT"));
	read_columns(trigger, columns);
	check_columns(columns);
	atp_tenant_resolve(text_of(&columns[VIEW_TENANT]), &tenant);
	read_event(columns, &event);
	expected = columns[VIEW_STREAM_VERSION].null ? ATP_EXPECT_ANY : DatumGetInt64(columns[VIEW_STREAM_VERSION].value) - 1;
	if (frames != NULL && is_copied(trigger))
	{
		if (event.event_id == NULL && columns[VIEW_IDEMPOTENCY_KEY].null)
		{
			atp_gather_event(gather_of(frames), &tenant, text_of(&columns[VIEW_STREAM]), &event, expected);
			return PointerGetDatum(heap_copytuple(trigger->tg_trigtuple));	/* the executor keeps the row if it gets it back */
		}
		if (frames->gather != NULL)
			atp_gather_store(frames->gather);	/* it may repeat one of these */
	}
	atp_append(&tenant, text_of(&columns[VIEW_STREAM]), &event, 1, expected, text_of(&columns[VIEW_IDEMPOTENCY_KEY]), &receipt);
	return PointerGetDatum(answer(trigger, columns, &tenant, &receipt));
}

/* Trigger BEFORE and AFTER STATEMENT, INSERT on atp.events. */
Datum
atp_door_view_statement(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called by INSERT, for each statement"));
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
		open_frame();
	else
		close_frame();
	return PointerGetDatum(NULL);
}

/* Trigger INSTEAD OF, and BEFORE STATEMENT, UPDATE OR DELETE on atp.events. */
Datum
atp_door_view_refuse(PG_FUNCTION_ARGS)
{
	TriggerEvent event;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	event = ((TriggerData *) fcinfo->context)->tg_event;
	ereport(ERROR, errcode(ATP_ERR_EVENT_IMMUTABLE),
			errmsg("cannot %s view atp.events", TRIGGER_FIRED_BY_UPDATE(event) ? "update" : "delete from"),
			errdetail("Stored events are append-only."), errhint("Append an event that corrects the earlier one."));
	PG_RETURN_NULL();
}

static void
end_of_transaction(XactEvent event, void *argument)
{
	if (event != XACT_EVENT_PRE_COMMIT && event != XACT_EVENT_PRE_PREPARE)
		frames = NULL;
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	while (event == SUBXACT_EVENT_ABORT_SUB && frames != NULL && frames->transaction >= mine)
	{
		if (frames->gather != NULL)
			atp_gather_forget(frames->gather);
		frames = frames->outer;
	}
}

void
atp_door_rows_init(void)
{
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}

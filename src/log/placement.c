/*
 * Rows enter the log; see placement.h.
 *
 * What an INSERT would do, without it: statement triggers before, the rows, statement triggers after, in the order of their names. A
 * log that somebody has given a row trigger, a CHECK or a rule goes by an INSERT.
 */
#include "log/placement.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_trigger_d.h"
#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/reltrigger.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "pg/bulk.h"
#include "pg/compat.h"
#include "pg/query.h"
#include "pg/relation.h"

/* Columns of atp_internal.log, in the order of their definition. */
enum
{
	POSITION, EVENT_ID, STREAM, PUBLISHED_AT, TENANT, EVENT_TYPE, TICK, COLUMNS
};

PGFunction	atp_placement_reader = NULL;

static int	running = 0;		/* nesting */
static const AtpPlacement *current = NULL;

bool
atp_placement_is_running(void)
{
	return running > 0;
}

void
atp_placement_begin(void)
{
	running++;
}

void
atp_placement_end(void)
{
	running--;
}

const AtpPlacement *
atp_placement_current(void)
{
	return current;
}

static void
fill_row(const AtpPlacement *placement, int i, Datum now, Datum *values, bool *nulls)
{
	const AtpEventRow *row = &placement->rows[i];
	bool		last = i == placement->count - 1;

	memset(nulls, 0, sizeof(bool) * COLUMNS);
	values[POSITION] = Int64GetDatum(placement->first_position + i);
	values[EVENT_ID] = UUIDPGetDatum(&row->event_id);
	values[STREAM] = Int64GetDatum(row->stream);
	values[PUBLISHED_AT] = now;
	values[TENANT] = Int32GetDatum(row->tenant);
	values[EVENT_TYPE] = Int32GetDatum(row->event_type);
	nulls[TICK] = !last;
	values[TICK] = last ? CStringGetTextDatum(placement->tick) : (Datum) 0;
}

static Tuplestorestate *
store_rows(const AtpPlacement *placement, TupleDesc shape, Datum now)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, Max(work_mem, 16384));

	for (int i = 0; i < placement->count; i++)
	{
		Datum		values[COLUMNS];
		bool		nulls[COLUMNS];

		fill_row(placement, i, now, values, nulls);
		tuplestore_putvalues(store, shape, values, nulls);
	}
	return store;
}

/* ==== By an INSERT ==== */

/* The statement reads the rows from a tuple store under the name placed_event. */
static void
insert_by_statement(const AtpPlacement *placement, TupleDesc shape, Datum now)
{
	static AtpQuery insert = {"INSERT INTO atp_internal.log (log_position, event_id, stream, published_at, tenant, event_type, tick) "
	"SELECT log_position, event_id, stream, published_at, tenant, event_type, tick FROM placed_event"};
	Tuplestorestate *store = store_rows(placement, shape, now);
	EphemeralNamedRelationData relation = {{"placed_event", InvalidOid, shape, ENR_NAMED_TUPLESTORE, placement->count}, store};

	SPI_connect();
	if (SPI_register_relation(&relation) != SPI_OK_REL_REGISTER)
		elog(ERROR, "could not register the rows of a tick");
	(void) atp_query(&insert, NULL, NULL, false, 0);
	SPI_finish();
	tuplestore_end(store);
}

/* ==== Past the executor ==== */

static bool
can_go_past(Relation log)
{
	const TriggerDesc *triggers = log->trigdesc;
	const TupleConstr *constraints = RelationGetDescr(log)->constr;

	if (log->rd_rules != NULL || (constraints != NULL && (constraints->num_check > 0 || constraints->has_generated_stored)))
		return false;
	if (triggers == NULL)
		return true;
	if (triggers->trig_insert_before_row || triggers->trig_insert_after_row)
		return false;
	for (int i = 0; i < triggers->numtriggers; i++)
		if (TRIGGER_FOR_INSERT(triggers->triggers[i].tgtype) && triggers->triggers[i].tgqual != NULL)
			return false;
	return true;
}

static bool
fires(const Trigger *trigger, int16 timing)
{
	if (!TRIGGER_TYPE_MATCHES(trigger->tgtype, TRIGGER_TYPE_STATEMENT, timing, TRIGGER_TYPE_INSERT))
		return false;
	switch (trigger->tgenabled)
	{
		case TRIGGER_DISABLED:
			return false;
		case TRIGGER_FIRES_ON_ORIGIN:
			return SessionReplicationRole != SESSION_REPLICATION_ROLE_REPLICA;
		case TRIGGER_FIRES_ON_REPLICA:
			return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
		default:
			return true;
	}
}

static void
call_trigger(FmgrInfo *function, TriggerData *data)
{
	LOCAL_FCINFO(fcinfo, 0);
	PgStat_FunctionCallUsage usage;
	Datum		result;

	InitFunctionCallInfoData(*fcinfo, function, 0, InvalidOid, (fmNodePtr) data, NULL);
	pgstat_init_function_usage(fcinfo, &usage);
	result = FunctionCallInvoke(fcinfo);
	pgstat_end_function_usage(&usage, true);
	if (fcinfo->isnull || DatumGetPointer(result) != NULL)
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("statement trigger \"%s\" returned a value", data->tg_trigger->tgname));
}

/* Calls the triggers that fire before or after the statement. A transition table is made once, for the first that wants one. */
static void
call_triggers(Relation log, const TriggerDesc *triggers, int16 timing, const AtpPlacement *placement, Datum now)
{
	Tuplestorestate *store = NULL;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		TriggerData data = {.type = T_TriggerData, .tg_relation = log, .tg_trigger = &triggers->triggers[i]};
		FmgrInfo	function;

		if (!fires(data.tg_trigger, timing))
			continue;
		data.tg_event = TRIGGER_EVENT_INSERT | (timing == TRIGGER_TYPE_BEFORE ? TRIGGER_EVENT_BEFORE : TRIGGER_EVENT_AFTER);
		fmgr_info(data.tg_trigger->tgfoid, &function);
		if (function.fn_addr == atp_placement_reader)
			current = placement;
		else if (data.tg_trigger->tgnewtable != NULL)
		{
			if (store == NULL)
				store = store_rows(placement, RelationGetDescr(log), now);
			data.tg_newtable = store;
		}
		call_trigger(&function, &data);
		current = NULL;
	}
	if (store != NULL)
		tuplestore_end(store);
}

static void
insert_rows(Relation log, const AtpPlacement *placement, Datum now)
{
	AtpBulk    *bulk = atp_bulk_begin(log);

	for (int i = 0; i < placement->count; i++)
	{
		Datum	   *values;
		bool	   *nulls;

		if (atp_bulk_is_full(bulk))
			atp_bulk_write(bulk);
		atp_bulk_add(bulk, &values, &nulls);
		fill_row(placement, i, now, values, nulls);
	}
	atp_bulk_end(bulk);
}

static void
insert_past_executor(Relation log, const AtpPlacement *placement, Datum now)
{
	TriggerDesc *triggers = CopyTriggerDesc(log->trigdesc); /* what the relation has may be freed under us */
	AtpIdentity before;

	atp_owner_begin(&before);
	call_triggers(log, triggers, TRIGGER_TYPE_BEFORE, placement, now);
	insert_rows(log, placement, now);
	CommandCounterIncrement();
	PushActiveSnapshot(GetTransactionSnapshot());
	call_triggers(log, triggers, TRIGGER_TYPE_AFTER, placement, now);
	PopActiveSnapshot();
	atp_owner_end(&before);
}

void
atp_placement_insert(const AtpPlacement *placement)
{
	Relation	log = table_open(atp_relation_oid(ATP_REL_LOG), RowExclusiveLock);
	Datum		now = TimestampTzGetDatum(GetCurrentTimestamp());

	running++;
	PG_TRY();
	{
		if (can_go_past(log))
			insert_past_executor(log, placement, now);
		else
			insert_by_statement(placement, RelationGetDescr(log), now);
	}
	PG_FINALLY();
	{
		running--;
		current = NULL;
	}
	PG_END_TRY();
	table_close(log, NoLock);
}

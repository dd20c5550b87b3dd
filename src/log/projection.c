/*
 * Projections of the log: tables fed by one statement trigger of atp_internal.log, in the transaction of the tick.
 *
 * The trigger takes the rows of the tick from the sequencer's memory, or from its transition table where they came by a statement,
 * fetches each event once for both projections, and writes to each table as a whole; see projection/audit.h and
 * projection/streams.h.
 *
 * Writers: whoever holds ATP_LOCK_TICK, by way of the trigger; and rebuild_projection(), which locks the table against it. So a row is
 * never changed under us. A restore fills log and projections alike: the trigger does nothing unless the sequencer is placing.
 *
 * An event that is gone is passed over; that is for verify_log to tell.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "executor/tuptable.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "log/placement.h"
#include "log/projection.h"
#include "log/projection/audit.h"
#include "log/projection/streams.h"
#include "log/projection/text.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"
#include "pg/scan.h"
#include "stream/partition.h"

PG_FUNCTION_INFO_V1(atp_projection_project);
PG_FUNCTION_INFO_V1(atp_projection_rebuild);
PG_FUNCTION_INFO_V1(atp_projection_search_text);

typedef struct Projector
{
	MemoryContext memory;
	Snapshot	snapshot;		/* sees the events */
	AtpAudit   *audit;			/* NULL: not fed */
	AtpStreams *streams;		/* NULL: not fed */

	/* the leaf that the last event was in */
	Relation	leaf;
	Relation	leaf_index;
	IndexScanDesc scan;
	TupleTableSlot *event;
} Projector;

/* `afresh`: the caller has the tables to itself, and makes the indexes of the audit projection at the end. */
static void
begin(Projector *projector, bool audit, bool streams, bool afresh)
{
	MemoryContext before;

	memset(projector, 0, sizeof(*projector));
	projector->memory = AllocSetContextCreate(CurrentMemoryContext, "atp projections", ALLOCSET_DEFAULT_SIZES);
	projector->snapshot = RegisterSnapshot(GetActiveSnapshot());
	LockRelationOid(atp_relation_oid(ATP_REL_EVENT), AccessShareLock);	/* before any of its leaves */
	before = MemoryContextSwitchTo(projector->memory);
	if (audit)
		projector->audit = atp_audit_begin(afresh);
	if (streams)
		projector->streams = atp_streams_begin(projector->snapshot);
	MemoryContextSwitchTo(before);
}

static void
close_leaf(Projector *projector)
{
	if (projector->leaf == NULL)
		return;
	index_endscan(projector->scan);
	ExecDropSingleTupleTableSlot(projector->event);
	index_close(projector->leaf_index, NoLock);
	table_close(projector->leaf, NoLock);
	projector->leaf = NULL;
}

static void
open_leaf(Projector *projector, Relation leaf)
{
	MemoryContext before = MemoryContextSwitchTo(projector->memory);

	close_leaf(projector);
	projector->leaf = leaf;
	projector->leaf_index = index_open(atp_relation_find_index(leaf, ATP_EVENT_ID, true), AccessShareLock);
	projector->scan = atp_compat_index_beginscan(leaf, projector->leaf_index, projector->snapshot, 2);
	projector->event = table_slot_create(leaf, NULL);
	MemoryContextSwitchTo(before);
}

/* Fetches an event into projector->event through its leaf's index; false: it is gone. */
static bool
fetch_by_id(Projector *projector, const pg_uuid_t *event_id, int32 tenant)
{
	Relation	leaf = atp_partition_open_existing(event_id);
	ScanKeyData keys[2];

	if (leaf == NULL)
		return false;
	if (projector->leaf != NULL && RelationGetRelid(projector->leaf) == RelationGetRelid(leaf))
		table_close(leaf, NoLock);
	else
		open_leaf(projector, leaf);
	ScanKeyInit(&keys[0], 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(event_id));
	ScanKeyInit(&keys[1], 2, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(tenant));
	index_rescan(projector->scan, keys, 2, NULL, 0);
	if (!index_getnext_slot(projector->scan, ForwardScanDirection, projector->event))
		return false;
	slot_getallattrs(projector->event);
	return true;
}

/* The same from where the sequencer has just seen it; false: it is not there any more. */
static bool
fetch_by_place(Projector *projector, const AtpEventRow *row)
{
	ItemPointerData place = row->place;
	TupleTableSlot *event;

	if (projector->leaf == NULL || RelationGetRelid(projector->leaf) != row->leaf)
	{
		Relation	leaf = try_relation_open(row->leaf, AccessShareLock);

		if (leaf == NULL)
			return false;
		open_leaf(projector, leaf);
	}
	event = projector->event;
	if (!table_tuple_fetch_row_version(projector->leaf, &place, projector->snapshot, event))
		return false;
	slot_getallattrs(event);
	return memcmp(DatumGetUUIDP(event->tts_values[ATP_EVENT_ID - 1]), &row->event_id, UUID_LEN) == 0 &&
		DatumGetInt32(event->tts_values[ATP_EVENT_TENANT - 1]) == row->tenant;
}

/* Takes the event in projector->event. */
static void
project(Projector *projector, int64 log_position)
{
	if (projector->audit != NULL)
		atp_audit_add(projector->audit, log_position, projector->event);
	if (projector->streams != NULL)
		atp_streams_add(projector->streams, log_position, projector->event);
}

static void
finish(Projector *projector)
{
	close_leaf(projector);
	if (projector->audit != NULL)
		atp_audit_end(projector->audit);
	if (projector->streams != NULL)
		atp_streams_end(projector->streams);
	UnregisterSnapshot(projector->snapshot);
	MemoryContextDelete(projector->memory);
}

/* Columns of the log that are used here, in the order of log.sql. */
#define LOG_POSITION 0
#define LOG_EVENT_ID 1
#define LOG_TENANT 4

static void
project_placement(Projector *projector, const AtpPlacement *placement)
{
	for (int i = 0; i < placement->count; i++)
	{
		const AtpEventRow *row = &placement->rows[i];

		CHECK_FOR_INTERRUPTS();
		if (fetch_by_place(projector, row) || fetch_by_id(projector, &row->event_id, row->tenant))
			project(projector, placement->first_position + i);
	}
}

static void
project_table(Projector *projector, Relation log, Tuplestorestate *placed)
{
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(log), &TTSOpsMinimalTuple);

	tuplestore_rescan(placed);
	while (tuplestore_gettupleslot(placed, true, false, slot))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(slot);
		if (fetch_by_id(projector, DatumGetUUIDP(slot->tts_values[LOG_EVENT_ID]), DatumGetInt32(slot->tts_values[LOG_TENANT])))
			project(projector, DatumGetInt64(slot->tts_values[LOG_POSITION]));
	}
	ExecDropSingleTupleTableSlot(slot);
}

/* Trigger AFTER INSERT, for each statement, on atp_internal.log. */
Datum
atp_projection_project(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;
	const AtpPlacement *placement = atp_placement_current();
	Projector	projector;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event) || !TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) ||
		(trigger->tg_newtable == NULL && placement == NULL))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				errmsg("must be called AFTER INSERT for each statement, with a transition table"));
	if (!atp_placement_is_running())
		PG_RETURN_POINTER(NULL);
	begin(&projector, true, true, false);
	if (placement != NULL)
		project_placement(&projector, placement);
	else
		project_table(&projector, trigger->tg_relation, trigger->tg_newtable);
	finish(&projector);
	PG_RETURN_POINTER(NULL);
}

typedef struct Rebuild
{
	Projector	projector;
	int64		count;
} Rebuild;

static bool
rebuild_row(void *context, TupleTableSlot *row)
{
	Rebuild    *rebuild = context;

	if (fetch_by_id(&rebuild->projector, DatumGetUUIDP(row->tts_values[1]), DatumGetInt32(row->tts_values[2])))
		project(&rebuild->projector, DatumGetInt64(row->tts_values[0]));
	rebuild->count++;
	return true;
}

void
atp_projection_init(void)
{
	atp_placement_reader = atp_projection_project;
}

/* rebuild_projection(projection) */
Datum
atp_projection_rebuild(PG_FUNCTION_ARGS)
{
	static AtpScan scan = {"SELECT l.log_position, l.event_id, l.tenant FROM atp_internal.log l ORDER BY l.log_position"};
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	bool		audit = strcmp(name, "audit_event_projection") == 0;
	bool		streams = strcmp(name, "event_stream_projection") == 0;
	Rebuild		rebuild = {.count = 0};

	if (!audit && !streams)
		ereport(ERROR, errcode(ATP_ERR_PROJECTION_NOT_FOUND), errmsg("projection \"%s\" does not exist", name),
				errhint("There are audit_event_projection and event_stream_projection."));
	if (IsolationUsesXactSnapshot())
		ereport(ERROR, errcode(ERRCODE_ACTIVE_SQL_TRANSACTION), errmsg("rebuild_projection() must run in READ COMMITTED"),
				errdetail("It has to see what was placed before it got its lock."));
	/* waits for a tick that has written to the table; one that has not yet waits for us, and adds its rows to ours */
	SPI_connect();
	atp_query_text(audit ? "TRUNCATE atp_internal.audit_event_projection" : "TRUNCATE atp_internal.event_stream_projection");
	SPI_finish();
	PushActiveSnapshot(GetLatestSnapshot());
	begin(&rebuild.projector, audit, streams, true);
	atp_scan(&scan, NULL, rebuild_row, &rebuild);
	finish(&rebuild.projector);
	PopActiveSnapshot();
	if (audit)
	{
		CommandCounterIncrement();
		SPI_connect();
		atp_query_text("REINDEX TABLE atp_internal.audit_event_projection");
		SPI_finish();
	}
	PG_RETURN_INT64(rebuild.count);
}

/* search_text(value) */
Datum
atp_projection_search_text(PG_FUNCTION_ARGS)
{
	text	   *value = PG_GETARG_TEXT_PP(0);

	PG_RETURN_DATUM(atp_search_text(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
}

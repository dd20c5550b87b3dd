/* What the guard knows; see state.h. */
#include "stream/guard/state.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "pg/query.h"

static bool setting_guard = true;
static bool setting_allow_drop = false;

/* The internal schema, invalid where the extension is not installed. A look-up in the system cache, negative ones too. */
static Oid
internal_schema(void)
{
	return get_namespace_oid("atp_internal", true);
}

bool
atp_guard_stands(void)
{
	if (!setting_guard || !IsUnderPostmaster || !OidIsValid(MyDatabaseId) || IsBinaryUpgrade || !IsTransactionState() ||
		!OidIsValid(internal_schema()))
		return false;
	if (creating_extension && CurrentExtensionObject == get_extension_oid("atp", true))
		return false;
	return !OidIsValid(get_role_oid("atp_owner", true)) || !atp_owner_is_active();
}

bool
atp_guard_allows_drop(void)
{
	return setting_allow_drop;
}

bool
atp_guard_is_schema(Oid schema)
{
	return OidIsValid(schema) && (schema == internal_schema() || schema == get_namespace_oid("atp", true));
}

bool
atp_guard_is_schema_name(const char *name)
{
	return name != NULL && (strcmp(name, "atp") == 0 || strcmp(name, "atp_internal") == 0);
}

bool
atp_guard_has_trigger(Oid relation)
{
	return OidIsValid(get_trigger_oid(relation, ATP_GUARD_TRIGGER, true));
}

bool
atp_guard_seals(Oid relation)
{
	Oid			schema = get_rel_namespace(relation);

	if (!atp_guard_is_schema(schema))
		return false;
	if (schema != internal_schema())
		return true;
	switch (get_rel_relkind(relation))
	{
		case RELKIND_INDEX:
		case RELKIND_PARTITIONED_INDEX:
			relation = IndexGetRelation(relation, true);
			/* FALLTHROUGH */
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			return OidIsValid(getExtensionOfObject(RelationRelationId, relation)) || atp_guard_has_trigger(relation);
		case RELKIND_SEQUENCE:
			return OidIsValid(getExtensionOfObject(RelationRelationId, relation));
		default:
			return true;
	}
}

static bool
is_partition(Oid relation)
{
	HeapTuple	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
	bool		result = HeapTupleIsValid(tuple) && ((Form_pg_class) GETSTRUCT(tuple))->relispartition;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return result;
}

static List *
leaves(void)
{
	Oid			event = get_relname_relid("event", internal_schema());

	return OidIsValid(event) ? find_inheritance_children(event, NoLock) : NIL;
}

bool
atp_guard_is_empty(Oid relation)
{
	Relation	table = try_table_open(relation, AccessShareLock);
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
	bool		empty;

	if (table == NULL)
		return true;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(table, snapshot, 0, NULL);
	slot = table_slot_create(table, NULL);
	empty = !table_scan_getnextslot(scan, ForwardScanDirection, slot);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	table_close(table, NoLock);
	return empty;
}

bool
atp_guard_is_loading(void)
{
	ListCell   *cell;

	foreach(cell, leaves())
		if (atp_guard_has_trigger(lfirst_oid(cell)))
			return false;
	return true;
}

bool
atp_guard_takes_rows(Oid relation)
{
	if (is_partition(relation) || get_rel_relkind(relation) == RELKIND_PARTITIONED_TABLE)
		return false;
	return atp_guard_is_loading() || atp_guard_is_empty(relation);
}

bool
atp_guard_holds_events(Oid relation)
{
	const char *name = get_rel_name(relation);

	if (name == NULL || get_rel_namespace(relation) != internal_schema() || get_rel_relkind(relation) != RELKIND_RELATION)
		return false;
	if (strcmp(name, "stream") != 0 && strcmp(name, "log") != 0 && !is_partition(relation))
		return false;
	return !atp_guard_is_empty(relation);
}

bool
atp_guard_events_exist(void)
{
	ListCell   *cell;

	if (atp_guard_holds_events(get_relname_relid("stream", internal_schema())) ||
		atp_guard_holds_events(get_relname_relid("log", internal_schema())))
		return true;
	foreach(cell, leaves())
	{
		CHECK_FOR_INTERRUPTS();
		if (atp_guard_holds_events(lfirst_oid(cell)))
			return true;
	}
	return false;
}

void
atp_guard_state_init(void)
{
	DefineCustomBoolVariable("atp.guard", "Refuse changes of the event store that do not come by its functions.",
							 "Off stands down the event triggers and the hooks, not the triggers of the tables; needed only to repair a "
							 "damaged store. With atp in shared_preload_libraries it takes effect at server start, otherwise on reload.",
							 &setting_guard, true, process_shared_preload_libraries_in_progress ? PGC_POSTMASTER : PGC_SIGHUP,
							 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("atp.allow_drop", "Let DROP EXTENSION atp remove a store that holds events.", NULL,
							 &setting_allow_drop, false, PGC_SUSET, 0, NULL, NULL, NULL);
}

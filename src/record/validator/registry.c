/*
 * The registry of schema documents: atp_internal.schema_document.
 *
 * A document is read with the newest catalog snapshot, not with the statement's: a compiled schema outlives the
 * statement, so what it was made of must be the committed state (and our own changes), whatever the isolation level.
 * The scan passes by privileges and row security: the table is reference data that every schema may name, and
 * atp_internal is closed to everybody.
 *
 * A statement trigger on the table sends a relcache invalidation with the commit (and with our own next command); every
 * backend's callback then moves the generation on. Compiled schemas remember the generation they were made in.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "record/validator/registry.h"

#define REGISTRY_ATTR_URI		1
#define REGISTRY_ATTR_DOCUMENT	2

static uint64 generation = 1;
static Oid	registry_oid = InvalidOid;
static bool callback_registered = false;

PG_FUNCTION_INFO_V1(atp_validator_registry_changed);

static void
registry_invalidated(Datum arg, Oid relid)
{
	if (relid == InvalidOid || relid == registry_oid)
		generation++;
}

/* Moves on whenever the registry may have changed. */
uint64
atp_registry_generation(void)
{
	return generation;
}

/* The document of a URI (without fragment), palloc'd; NULL: there is none. */
Jsonb *
atp_registry_fetch(const char *uri)
{
	Oid			schema = get_namespace_oid("atp_internal", false);
	Relation	registry;
	SysScanDesc scan;
	ScanKeyData key;
	HeapTuple	tuple;
	Jsonb	   *document = NULL;

	if (!callback_registered)
	{
		CacheRegisterRelcacheCallback(registry_invalidated, (Datum) 0);
		callback_registered = true;
	}
	registry_oid = get_relname_relid("schema_document", schema);
	if (!OidIsValid(registry_oid))
		elog(ERROR, "atp_internal.schema_document is missing");
	registry = table_open(registry_oid, AccessShareLock);
	ScanKeyInit(&key, REGISTRY_ATTR_URI, BTEqualStrategyNumber, F_TEXTEQ, CStringGetTextDatum(uri));
	scan = systable_beginscan(registry, get_relname_relid("schema_document_pk", schema), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		datum = heap_getattr(tuple, REGISTRY_ATTR_DOCUMENT, RelationGetDescr(registry), &isnull);

		document = DatumGetJsonbPCopy(datum);
	}
	systable_endscan(scan);
	table_close(registry, AccessShareLock);
	return document;
}

/* Trigger after each statement that changes the registry. */
Datum
atp_validator_registry_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "atp_validator_registry_changed is a trigger function");
	CacheInvalidateRelcacheByRelid(RelationGetRelid(((TriggerData *) fcinfo->context)->tg_relation));
	return PointerGetDatum(NULL);
}

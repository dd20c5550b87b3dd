/*
 * Tenants; see tenant.h.
 *
 * Cache: two hash tables, by name and by key, filled by look-ups with a fresh snapshot, so that a tenant suspended by a
 * transaction that has committed is seen suspended by every append that starts later, in REPEATABLE READ too. A statement
 * trigger on the table sends a relation cache invalidation, upon which both are emptied at the next use.
 *
 * Visibility is the rule of every row level security policy: the tenant of the setting, those that a function with a tenant
 * argument opened in this transaction, and everything inside our own functions (pg/query: atp_owner by SECURITY DEFINER or by
 * C; a SET ROLE to atp_owner does not count).
 */
#include "record/tenant.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_collation_d.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/bitmapset.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/uuid.h"
#include "utils/varlena.h"

#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"

PG_FUNCTION_INFO_V1(atp_tenant_changed);
PG_FUNCTION_INFO_V1(atp_tenant_current);
PG_FUNCTION_INFO_V1(atp_tenant_open);
PG_FUNCTION_INFO_V1(atp_tenant_is_visible);

typedef struct ByName
{
	char		name[ATP_TENANT_NAME_MAX + 1];
	AtpTenant	tenant;
} ByName;

typedef struct ByKey
{
	int32		key;
	AtpTenant	tenant;
} ByKey;

enum
{
	COLUMN_TENANT = 1, COLUMN_NAME, COLUMN_LOG_UID, COLUMN_ALG, COLUMN_STATUS
};

static char *setting_tenant;
static char *setting_allowed;
static HTAB *by_name;
static HTAB *by_key;
static bool stale = true;
static Bitmapset *opened;		/* in memory of the transaction that opened_in names */
static LocalTransactionId opened_in = InvalidLocalTransactionId;
static int32 current_key;		/* tenant of the setting, valid while !current_stale */
static bool current_stale = true;

static bool
name_is_valid(const char *name)
{
	size_t		size = strlen(name);

	if (size == 0 || size > ATP_TENANT_NAME_MAX || !isalnum((unsigned char) name[0]) || IS_HIGHBIT_SET(name[0]))
		return false;
	for (size_t i = 0; i < size; i++)
		if (IS_HIGHBIT_SET(name[i]) || (!isalnum((unsigned char) name[i]) && strchr("._:-", name[i]) == NULL))
			return false;
	return true;
}

static void
require_valid_name(const char *name)
{
	if (!name_is_valid(name))
		ereport(ERROR, errcode(ATP_ERR_INVALID_NAME), errmsg("invalid tenant name \"%s\"", name),
				errhint("A tenant name has 1 to %d letters, digits, dots, colons, underscores and hyphens, "
						"and begins with a letter or digit.",
						ATP_TENANT_NAME_MAX));
}

static void
tenant_relation_changed(Oid relation)
{
	stale = current_stale = true;
}

static void
prepare_cache(void)
{
	static bool registered = false;
	HASHCTL		control = {0};

	if (!registered)
	{
		atp_relation_on_change(tenant_relation_changed);
		registered = true;
	}
	if (!stale)
		return;
	if (by_name != NULL)
		hash_destroy(by_name);
	if (by_key != NULL)
		hash_destroy(by_key);
	by_name = by_key = NULL;
	control.hcxt = CacheMemoryContext;
	control.keysize = ATP_TENANT_NAME_MAX + 1;
	control.entrysize = sizeof(ByName);
	by_name = hash_create("atp tenants by name", 16, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	control.keysize = sizeof(int32);
	control.entrysize = sizeof(ByKey);
	by_key = hash_create("atp tenants by key", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stale = false;
}

/* Reads one row through an index, by name or by key, with a fresh snapshot; false: none. */
static bool
read_row(AtpRelation index, AttrNumber column, RegProcedure equal, Datum value, AtpTenant *tenant)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_TENANT), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyEntryInitialize(&key, 0, column, BTEqualStrategyNumber, InvalidOid,
						   column == COLUMN_NAME ? DEFAULT_COLLATION_OID : InvalidOid, equal, value);
	scan = systable_beginscan(relation, atp_relation_oid(index), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		TupleDesc	shape = RelationGetDescr(relation);
		bool		null;
		char	   *string;

		memset(tenant, 0, sizeof(*tenant));
		tenant->tenant = DatumGetInt32(heap_getattr(tuple, COLUMN_TENANT, shape, &null));
		string = TextDatumGetCString(heap_getattr(tuple, COLUMN_NAME, shape, &null));
		strlcpy(tenant->name, string, sizeof(tenant->name));
		memcpy(tenant->log_uid, DatumGetUUIDP(heap_getattr(tuple, COLUMN_LOG_UID, shape, &null))->data, 16);
		tenant->alg = DatumGetInt16(heap_getattr(tuple, COLUMN_ALG, shape, &null));
		string = TextDatumGetCString(heap_getattr(tuple, COLUMN_STATUS, shape, &null));
		tenant->active = strcmp(string, "active") == 0;
		tenant->deleted = strcmp(string, "deleted") == 0;
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

static void
remember(const AtpTenant *tenant)
{
	bool		found;

	if (stale)
		return;					/* invalidated while it was read: the next look-up reads again */
	((ByName *) hash_search(by_name, tenant->name, HASH_ENTER, &found))->tenant = *tenant;
	((ByKey *) hash_search(by_key, &tenant->tenant, HASH_ENTER, &found))->tenant = *tenant;
}

static bool
name_is_allowed(const char *name)
{
	List	   *list = NIL;
	ListCell   *cell;
	char	   *copy;
	bool		allowed = false;

	if (setting_allowed == NULL || setting_allowed[0] == '\0')
		return true;
	copy = pstrdup(setting_allowed);
	if (!SplitGUCList(copy, ',', &list))
		return false;
	foreach(cell, list)
		allowed = allowed || strcmp((char *) lfirst(cell), name) == 0;
	list_free(list);
	pfree(copy);
	return allowed;
}

void
atp_tenant_resolve(const char *name, AtpTenant *tenant)
{
	ByName	   *entry;

	(void) atp_relation_oid(ATP_REL_TENANT);	/* accepts pending changes of the extension itself */
	if (name == NULL)
		name = setting_tenant != NULL && setting_tenant[0] != '\0' ? setting_tenant : "default";
	if (strlen(name) > ATP_TENANT_NAME_MAX)
		require_valid_name(name);
	if (!name_is_allowed(name))
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for tenant \"%s\"", name),
				errdetail("The setting atp.tenant_allowed of this role does not list it."));
	prepare_cache();
	entry = hash_search(by_name, name, HASH_FIND, NULL);
	if (entry != NULL)
	{
		*tenant = entry->tenant;
		return;
	}
	if (!read_row(ATP_REL_TENANT_NAME_UNIQUE, COLUMN_NAME, F_TEXTEQ, CStringGetTextDatum(name), tenant))
	{
		require_valid_name(name);
		ereport(ERROR, errcode(ATP_ERR_TENANT_NOT_FOUND), errmsg("tenant \"%s\" does not exist", name),
				errhint("Make it with atp.onboard_tenant."));
	}
	remember(tenant);
}

bool
atp_tenant_get(int32 key, AtpTenant *tenant)
{
	ByKey	   *entry;

	prepare_cache();
	entry = hash_search(by_key, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		*tenant = entry->tenant;
		return true;
	}
	if (!read_row(ATP_REL_TENANT_PK, COLUMN_TENANT, F_INT4EQ, Int32GetDatum(key), tenant))
		return false;
	remember(tenant);
	return true;
}

void
atp_tenant_get_default(AtpTenant *tenant)
{
	ByName	   *entry;

	prepare_cache();
	entry = hash_search(by_name, "default", HASH_FIND, NULL);
	if (entry != NULL)
		*tenant = entry->tenant;
	else if (read_row(ATP_REL_TENANT_NAME_UNIQUE, COLUMN_NAME, F_TEXTEQ, CStringGetTextDatum("default"), tenant))
		remember(tenant);
	else
		ereport(ERROR, errcode(ATP_ERR_TENANT_NOT_FOUND), errmsg("tenant \"%s\" does not exist", "default"));
}

void
atp_tenant_require_active(const AtpTenant *tenant)
{
	if (!tenant->active)
		ereport(ERROR, errcode(ATP_ERR_TENANT_SUSPENDED), errmsg("tenant \"%s\" takes no events", tenant->name),
				errdetail("It is suspended or deleted."), errhint("See atp.tenants; atp.reactivate_tenant ends a suspension."));
}

void
atp_tenant_open_key(int32 key)
{
	MemoryContext before;

	if (opened_in != atp_compat_my_lxid())
	{
		opened = NULL;			/* its memory went with its transaction */
		opened_in = atp_compat_my_lxid();
	}
	if (bms_is_member(key, opened))
		return;
	before = MemoryContextSwitchTo(TopTransactionContext);
	opened = bms_add_member(opened, key);
	MemoryContextSwitchTo(before);
}

static int32
current_tenant(void)
{
	AtpTenant	tenant;

	if (current_stale)
	{
		current_stale = false;	/* before the look-up: an invalidation during it counts */
		PG_TRY();
		{
			atp_tenant_resolve(NULL, &tenant);
		}
		PG_CATCH();
		{
			current_stale = true;
			PG_RE_THROW();
		}
		PG_END_TRY();
		current_key = tenant.tenant;
	}
	return current_key;
}

static void
assign_tenant(const char *value, void *extra)
{
	current_stale = true;
}

static bool
check_tenant(char **value, void **extra, GucSource source)
{
	if (**value == '\0' || name_is_valid(*value))
		return true;
	GUC_check_errdetail("A tenant name has 1 to %d letters, digits, dots, colons, underscores and hyphens.", ATP_TENANT_NAME_MAX);
	return false;
}

void
atp_tenant_init(void)
{
	DefineCustomStringVariable("atp.tenant", "Tenant of functions and views that are not told one.",
							   "Empty: the tenant default. Behind a transaction pooler use SET LOCAL only.",
							   &setting_tenant, "", PGC_USERSET, 0, check_tenant, assign_tenant, NULL);
	DefineCustomStringVariable("atp.tenant_allowed", "Tenants that the session may use, separated by commas.",
							   "Empty: any. Set it for a role with ALTER ROLE ... SET; only a superuser can.",
							   &setting_allowed, "", PGC_SUSET, 0, NULL, assign_tenant, NULL);
}

/* Trigger: the table changed. */
Datum
atp_tenant_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

Datum
atp_tenant_current(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(current_tenant());
}

Datum
atp_tenant_open(PG_FUNCTION_ARGS)
{
	AtpTenant	tenant;

	atp_tenant_resolve(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0)), &tenant);
	atp_tenant_open_key(tenant.tenant);
	PG_RETURN_INT32(tenant.tenant);
}

Datum
atp_tenant_is_visible(PG_FUNCTION_ARGS)
{
	int32		key;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(false);
	key = PG_GETARG_INT32(0);
	if (opened_in == atp_compat_my_lxid() && bms_is_member(key, opened))
		PG_RETURN_BOOL(true);
	if (atp_owner_is_active())
		PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(key == current_tenant());
}

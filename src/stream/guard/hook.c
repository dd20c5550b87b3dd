/*
 * The hooks; see hook.h.
 *
 *   ProcessUtility      judges statements by their parse trees, those for which no event trigger fires too
 *   object access       sees each object that goes, however the command reached it (CASCADE, DROP OWNED), with its lock held
 *   ExecutorCheckPerms  sees INSERT, UPDATE, DELETE and COPY FROM on the store's tables and on the catalogs that describe them
 *
 * An append passes none of them: it goes through the table access method. A plain query pays a look at the permission bits of its
 * tables.
 */
#include "stream/guard/hook.h"

#include "catalog/objectaccess.h"
#include "catalog/pg_attrdef.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_auth_members.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_event_trigger.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_index.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_init_privs.h"
#include "catalog/pg_language.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_partitioned_table.h"
#include "catalog/pg_policy.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_rewrite.h"
#include "catalog/pg_shdepend.h"
#include "catalog/pg_trigger.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"

#include "pg/compat.h"
#include "pg/errors.h"
#include "stream/guard/state.h"
#include "stream/guard/statement.h"

static ProcessUtility_hook_type next_utility;
static object_access_hook_type next_access;
static ExecutorCheckPerms_hook_type next_check;

static void
process_utility(PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context, ParamListInfo parameters,
				QueryEnvironment *environment, DestReceiver *receiver, QueryCompletion *completion)
{
	if (!IsA(statement->utilityStmt, TransactionStmt) && atp_guard_stands())
		atp_guard_judge_statement(statement->utilityStmt);
	if (next_utility != NULL)
		next_utility(statement, text, read_only_tree, context, parameters, environment, receiver, completion);
	else
		standard_ProcessUtility(statement, text, read_only_tree, context, parameters, environment, receiver, completion);
}

/* A relation is about to go: the command holds it locked, so that what it holds cannot change any more. */
static void
check_drop(Oid relation, int column)
{
	if (!atp_guard_is_schema(get_rel_namespace(relation)) || !atp_guard_stands())
		return;
	if (column != 0 && atp_guard_seals(relation))
		atp_guard_refuse_object("DROP COLUMN", get_rel_name(relation));
	if (!atp_guard_allows_drop() && atp_guard_holds_events(relation))
		atp_guard_refuse_drop();
}

static void
check_truncate(Oid relation)
{
	if (!atp_guard_is_schema(get_rel_namespace(relation)) || !atp_guard_stands() || !atp_guard_seals(relation))
		return;
	if (!atp_guard_has_trigger(relation))
		atp_guard_refuse_object("TRUNCATE", get_rel_name(relation));
	ereport(ERROR, errcode(ATP_ERR_EVENT_IMMUTABLE), errmsg("TRUNCATE of table \"%s\" is refused", get_rel_name(relation)),
			errdetail("What the event store holds is append-only."));
}

static void
object_access(ObjectAccessType access, Oid catalog, Oid object, int sub_object, void *argument)
{
	if (next_access != NULL)
		next_access(access, catalog, object, sub_object, argument);
	if (access == OAT_DROP && catalog == RelationRelationId)
		check_drop(object, sub_object);
	else if (access == OAT_TRUNCATE && catalog == RelationRelationId)
		check_truncate(object);
}

/* Catalogs whose rows say how the store is guarded. Commands change them below the executor; a query does not need to. */
static bool
is_guarding_catalog(Oid relation)
{
	switch (relation)
	{
		case AttrDefaultRelationId:
		case AttributeRelationId:
		case AuthIdRelationId:
		case AuthMemRelationId:
		case ConstraintRelationId:
		case DbRoleSettingRelationId:
		case DependRelationId:
		case EventTriggerRelationId:
		case ExtensionRelationId:
		case IndexRelationId:
		case InheritsRelationId:
		case InitPrivsRelationId:
		case LanguageRelationId:
		case NamespaceRelationId:
		case PartitionedRelationId:
		case PolicyRelationId:
		case ProcedureRelationId:
		case RelationRelationId:
		case RewriteRelationId:
		case SharedDependRelationId:
		case TriggerRelationId:
		case TypeRelationId:
			return true;
		default:
			return false;
	}
}

static void
check_write(Oid relation, AclMode mode)
{
	Oid			schema = get_rel_namespace(relation);

	if (schema == PG_CATALOG_NAMESPACE)
	{
		if (is_guarding_catalog(relation) && !creating_extension && atp_guard_stands())
			ereport(ERROR, errcode(ATP_ERR_OBJECT_GUARDED), errmsg("a direct change of catalog \"%s\" is refused", get_rel_name(relation)),
					errdetail("Its rows say how the event store of this database is guarded."),
					errhint("Use DDL commands. To repair a damaged store set atp.guard = off in the configuration file."));
		return;
	}
	if (!atp_guard_is_schema(schema) || !atp_guard_has_trigger(relation) || !atp_guard_stands())
		return;
	if ((mode & ~ACL_INSERT) == 0 && atp_guard_takes_rows(relation))
		return;
	ereport(ERROR, errcode(ATP_ERR_EVENT_IMMUTABLE),
			errmsg("%s table \"%s\" is refused", mode & ACL_UPDATE ? "UPDATE of" : mode & ACL_DELETE ? "DELETE from" : "INSERT into",
				   get_rel_name(relation)),
			errdetail("What the event store holds is append-only, and comes by its functions."),
			errhint("Append an event with atp.append_event."));
}

static bool
check_permissions(ATP_COMPAT_CHECK_PERMS_ARGS)
{
	ListCell   *cell;

	foreach(cell, ATP_COMPAT_CHECK_PERMS_LIST)
	{
		AtpPermission *entry = lfirst(cell);
		AclMode		mode = entry->requiredPerms & (ACL_INSERT | ACL_UPDATE | ACL_DELETE);

		/* A foreign key's check locks the row that is referred to. */
		if (bms_is_empty(entry->updatedCols) && InNoForceRLSOperation())
			mode &= ~ACL_UPDATE;
		if (mode != 0 && OidIsValid(entry->relid))
			check_write(entry->relid, mode);
	}
	return next_check == NULL || next_check(ATP_COMPAT_CHECK_PERMS_PASS);
}

void
atp_guard_hook_init(void)
{
	next_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
	next_access = object_access_hook;
	object_access_hook = object_access;
	next_check = ExecutorCheckPerms_hook;
	ExecutorCheckPerms_hook = check_permissions;
}

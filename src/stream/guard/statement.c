/*
 * Which utility statements the guard refuses; see statement.h.
 *
 * Everything that touches a sealed relation or a function, type, schema or policy of the store is refused, with these exceptions:
 *   - what only protects: ENABLE ALWAYS TRIGGER, ENABLE and FORCE ROW LEVEL SECURITY, and a leaf's first policy, ours by its text;
 *   - what only tunes: storage parameters, statistics, tablespace, clustering, replica identity, new indexes, comments;
 *   - attaching an empty table of schema atp_internal as a leaf, while no leaf is sealed;
 *   - GRANT and REVOKE on the functions and views of schema atp, which is how an administrator lets people in.
 * The first and third are what a restore does to leaves; the fourth is what a dump of such grants does.
 *
 * Names are looked up without locks, as the statement itself will do a moment later. A rename in between gains nothing: renaming
 * ours is refused.
 */
#include "stream/guard/statement.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "commands/policy.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "parser/parse_func.h"
#include "parser/parse_type.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "pg/errors.h"
#include "stream/guard/state.h"

#define OWNER "atp_owner"

void
atp_guard_refuse_object(const char *command, const char *object)
{
	ereport(ERROR, errcode(ATP_ERR_OBJECT_GUARDED), errmsg("%s is refused: %s belongs to the event store", command, object),
			errhint("ALTER EXTENSION atp UPDATE changes the store. To repair a damaged one set atp.guard = off in postgresql.conf."));
}

void
atp_guard_refuse_drop(void)
{
	ereport(ERROR, errcode(ATP_ERR_EVENTS_EXIST), errmsg("extension \"atp\" holds events and is not dropped"),
			errhint("SET atp.allow_drop = on drops it with every event."));
}

static void
refuse(Node *statement, const char *object)
{
	atp_guard_refuse_object(CreateCommandName(statement), object);
}

static Oid
relation_of(const RangeVar *name)
{
	return name == NULL ? InvalidOid : RangeVarGetRelid(name, NoLock, true);
}

static void
judge_relation(Node *statement, const RangeVar *name)
{
	Oid			relation = relation_of(name);

	if (OidIsValid(relation) && atp_guard_seals(relation))
		refuse(statement, psprintf("%s.%s", get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation)));
}

static void
judge_schema_name(Node *statement, const char *name)
{
	if (atp_guard_is_schema_name(name))
		refuse(statement, psprintf("schema %s", name));
}

static void
judge_function(Node *statement, ObjectType type, ObjectWithArgs *function)
{
	Oid			oid = LookupFuncWithArgs(type, function, true);

	if (OidIsValid(oid) && atp_guard_is_schema(get_func_namespace(oid)))
		refuse(statement, format_procedure_qualified(oid));
}

static Oid
type_schema(Oid type)
{
	HeapTuple	tuple = SearchSysCache1(TYPEOID, ObjectIdGetDatum(type));
	Oid			schema = HeapTupleIsValid(tuple) ? ((Form_pg_type) GETSTRUCT(tuple))->typnamespace : InvalidOid;

	if (HeapTupleIsValid(tuple))
		ReleaseSysCache(tuple);
	return schema;
}

static void
judge_type(Node *statement, TypeName *name)
{
	Oid			type = LookupTypeNameOid(NULL, name, true);

	if (OidIsValid(type) && atp_guard_is_schema(type_schema(type)))
		refuse(statement, format_type_be_qualified(type));
}

/* The relation of a name such as (schema, table, trigger). */
static RangeVar *
relation_part(List *names)
{
	return list_length(names) < 2 ? NULL : makeRangeVarFromNameList(list_truncate(list_copy(names), list_length(names) - 1));
}

static bool
is_event_trigger(const char *name)
{
	return strncmp(name, "atp_guard_", strlen("atp_guard_")) == 0;
}

/* Any object that a statement names in the general way. */
static void
judge_object(Node *statement, ObjectType type, RangeVar *relation, Node *object)
{
	if (relation != NULL)
	{
		judge_relation(statement, relation);
		return;
	}
	switch (type)
	{
		case OBJECT_TABLE:
		case OBJECT_INDEX:
		case OBJECT_SEQUENCE:
		case OBJECT_VIEW:
		case OBJECT_MATVIEW:
		case OBJECT_FOREIGN_TABLE:
			judge_relation(statement, makeRangeVarFromNameList((List *) object));
			return;
		case OBJECT_COLUMN:
		case OBJECT_TRIGGER:
		case OBJECT_POLICY:
		case OBJECT_RULE:
		case OBJECT_TABCONSTRAINT:
			judge_relation(statement, relation_part((List *) object));
			return;
		case OBJECT_FUNCTION:
		case OBJECT_PROCEDURE:
		case OBJECT_ROUTINE:
		case OBJECT_AGGREGATE:
			judge_function(statement, type, (ObjectWithArgs *) object);
			return;
		case OBJECT_TYPE:
		case OBJECT_DOMAIN:
			judge_type(statement, IsA(object, List) ? makeTypeNameFromNameList((List *) object) : castNode(TypeName, object));
			return;
		case OBJECT_SCHEMA:
			judge_schema_name(statement, strVal(object));
			return;
		case OBJECT_EXTENSION:
			if (strcmp(strVal(object), "atp") == 0)
				refuse(statement, "extension atp");
			return;
		case OBJECT_EVENT_TRIGGER:
			if (is_event_trigger(strVal(object)))
				refuse(statement, psprintf("event trigger %s", strVal(object)));
			return;
		case OBJECT_ROLE:
			if (strcmp(strVal(object), OWNER) == 0)
				refuse(statement, "role " OWNER);
			return;
		default:
			return;
	}
}

static void
judge_roles(Node *statement, List *roles)
{
	ListCell   *cell;

	foreach(cell, roles)
		if (get_rolespec_oid(lfirst_node(RoleSpec, cell), true) == get_role_oid(OWNER, true))
			refuse(statement, "role " OWNER);
}

static void
judge_drop(DropStmt *drop)
{
	ListCell   *cell;

	foreach(cell, drop->objects)
	{
		bool		whole = (drop->removeType == OBJECT_EXTENSION && strcmp(strVal(lfirst(cell)), "atp") == 0) ||
			(drop->removeType == OBJECT_SCHEMA && atp_guard_is_schema_name(strVal(lfirst(cell))));

		/* The answer may change until the tables are locked; the object access hook asks again then. */
		if (!whole)
			judge_object((Node *) drop, drop->removeType, NULL, lfirst(cell));
		else if (!atp_guard_allows_drop() && atp_guard_events_exist())
			atp_guard_refuse_drop();
	}
}

/* What attaching asks for is an empty table of the internal schema while no leaf is sealed: a restore attaches before it loads. */
static bool
may_attach(const PartitionCmd *attach)
{
	Oid			leaf = relation_of(attach->name);

	return OidIsValid(leaf) && get_rel_namespace(leaf) == get_namespace_oid("atp_internal", true) && !atp_guard_seals(leaf) &&
		get_rel_relkind(leaf) == RELKIND_RELATION && atp_guard_is_empty(leaf) && atp_guard_is_loading();
}

static bool
may_alter(const AlterTableStmt *alter, const AlterTableCmd *command)
{
	bool		table = alter->objtype == OBJECT_TABLE;

	switch (command->subtype)
	{
		case AT_EnableAlwaysTrig:
		case AT_EnableRowSecurity:
		case AT_ForceRowSecurity:
		case AT_SetStatistics:
		case AT_SetOptions:
		case AT_ResetOptions:
		case AT_SetCompression:
		case AT_ClusterOn:
		case AT_DropCluster:
		case AT_ReplicaIdentity:
			return table;
		case AT_SetTableSpace:
		case AT_SetRelOptions:
		case AT_ResetRelOptions:
			return table || alter->objtype == OBJECT_INDEX;
		case AT_AttachPartition:
			return table && may_attach((PartitionCmd *) command->def);
		default:
			return false;
	}
}

static void
judge_alter_table(AlterTableStmt *alter)
{
	ListCell   *cell;

	foreach(cell, alter->cmds)
		if (!may_alter(alter, lfirst_node(AlterTableCmd, cell)))
			judge_relation((Node *) alter, alter->relation);

	/* a table of ours as parent or leaf of somebody else's */
	foreach(cell, alter->cmds)
	{
		AlterTableCmd *command = lfirst_node(AlterTableCmd, cell);

		if (command->subtype == AT_AttachPartition && !may_attach((PartitionCmd *) command->def))
			judge_relation((Node *) alter, ((PartitionCmd *) command->def)->name);
		else if (command->subtype == AT_AddInherit)
			judge_relation((Node *) alter, (RangeVar *) command->def);
	}
}

/* A leaf's first policy, if it says what ours say: FOR ALL TO PUBLIC USING (atp_internal.tenant_is_visible(tenant)). */
static bool
is_our_policy(const CreatePolicyStmt *policy)
{
	FuncCall   *call = policy->qual != NULL && IsA(policy->qual, FuncCall) ? (FuncCall *) policy->qual : NULL;
	Relation	table;
	bool		first;

	if (call == NULL || policy->with_check != NULL || !policy->permissive || strcmp(policy->cmd_name, "all") != 0 ||
		list_length(call->funcname) != 2 || strcmp(strVal(linitial(call->funcname)), "atp_internal") != 0 ||
		strcmp(strVal(lsecond(call->funcname)), "tenant_is_visible") != 0 || list_length(call->args) != 1 ||
		!IsA(linitial(call->args), ColumnRef) || list_length(((ColumnRef *) linitial(call->args))->fields) != 1 ||
		list_length(policy->roles) != 1 || linitial_node(RoleSpec, policy->roles)->roletype != ROLESPEC_PUBLIC)
		return false;
	if (strcmp(strVal(linitial(((ColumnRef *) linitial(call->args))->fields)), "tenant") != 0)
		return false;
	table = table_openrv(policy->table, AccessShareLock);
	first = !relation_has_policies(table);
	table_close(table, NoLock);
	return first;
}

/*
 * Whether a grant or revoke opens nothing: a revoke; anything on a function (without USAGE of schema atp_internal nobody can name one
 * there); SELECT to our own roles, and all to the owner. A dump restores privileges in that way, because the install script has
 * changed the owner.
 */
static bool
opens_nothing(const GrantStmt *grant)
{
	bool		reads = false;
	ListCell   *cell;

	if (!grant->is_grant || grant->objtype == OBJECT_FUNCTION)
		return true;
	if (list_length(grant->privileges) == 1)
	{
		const char *name = linitial_node(AccessPriv, grant->privileges)->priv_name;

		reads = name != NULL && strcmp(name, "select") == 0;
	}
	foreach(cell, grant->grantees)
	{
		RoleSpec   *role = lfirst_node(RoleSpec, cell);
		const char *name = role->roletype == ROLESPEC_CSTRING ? role->rolename : "";

		if (strcmp(name, OWNER) != 0 && !(reads && strncmp(name, "atp_", 4) == 0))
			return false;
	}
	return true;
}

static void
judge_grant(GrantStmt *grant)
{
	ListCell   *cell;

	if (opens_nothing(grant))
		return;
	foreach(cell, grant->objects)
	{
		if (grant->targtype == ACL_TARGET_ALL_IN_SCHEMA || grant->objtype == OBJECT_SCHEMA)
		{
			if (strcmp(strVal(lfirst(cell)), "atp_internal") == 0)
				refuse((Node *) grant, "schema atp_internal");
		}
		else if (grant->objtype == OBJECT_TABLE || grant->objtype == OBJECT_SEQUENCE)
		{
			Oid			relation = relation_of(lfirst_node(RangeVar, cell));

			if (OidIsValid(relation) && get_rel_namespace(relation) != get_namespace_oid("atp", true))
				judge_relation((Node *) grant, lfirst_node(RangeVar, cell));
		}
	}
}

static void
judge_default_privileges(AlterDefaultPrivilegesStmt *alter)
{
	ListCell   *cell;
	ListCell   *name;
	bool		roles = false;

	foreach(cell, alter->options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "schemas") == 0)
			foreach(name, (List *) option->arg)
				judge_schema_name((Node *) alter, strVal(lfirst(name)));
		else
		{
			roles = true;
			judge_roles((Node *) alter, (List *) option->arg);
		}
	}
	if (!roles && GetUserId() == get_role_oid(OWNER, true))
		refuse((Node *) alter, "role " OWNER);
}

/* Statements on roles: nobody becomes the owner, and the owner does not become somebody. */
static void
judge_role(Node *statement, List *options)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst_node(DefElem, cell);

		if (strcmp(option->defname, "canlogin") == 0 || strcmp(option->defname, "superuser") == 0 ||
			strcmp(option->defname, "bypassrls") == 0 || strcmp(option->defname, "createrole") == 0)
		{
			if (boolVal(option->arg))
				refuse(statement, "role " OWNER);
		}
		else if (strcmp(option->defname, "rolemembers") == 0 && option->arg != NULL)
			refuse(statement, "role " OWNER);
	}
}

static void
judge_role_statement(Node *statement)
{
	ListCell   *cell;

	switch (nodeTag(statement))
	{
		case T_GrantRoleStmt:
			foreach(cell, ((GrantRoleStmt *) statement)->granted_roles)
			{
				const char *name = lfirst_node(AccessPriv, cell)->priv_name;

				if (((GrantRoleStmt *) statement)->is_grant && name != NULL && strcmp(name, OWNER) == 0)
					refuse(statement, "role " OWNER);
			}
			return;
		case T_CreateRoleStmt:
			foreach(cell, ((CreateRoleStmt *) statement)->options)
				if (strcmp(lfirst_node(DefElem, cell)->defname, "addroleto") == 0)
					judge_roles(statement, (List *) lfirst_node(DefElem, cell)->arg);
			return;
		case T_AlterRoleStmt:
			if (get_rolespec_oid(((AlterRoleStmt *) statement)->role, true) == get_role_oid(OWNER, true))
				judge_role(statement, ((AlterRoleStmt *) statement)->options);
			return;
		case T_AlterRoleSetStmt:
			if (((AlterRoleSetStmt *) statement)->role != NULL)
				judge_roles(statement, list_make1(((AlterRoleSetStmt *) statement)->role));
			return;
		default:
			return;
	}
}

/* Statements that make something: nothing new in schema atp, no view or function in either. */
static void
judge_creation(Node *statement)
{
	char	   *name;
	ListCell   *cell;

	switch (nodeTag(statement))
	{
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
			foreach(cell, ((CreateStmt *) statement)->inhRelations)
				judge_relation(statement, lfirst_node(RangeVar, cell));
			return;
		case T_ViewStmt:
			judge_schema_name(statement, ((ViewStmt *) statement)->view->schemaname);
			judge_relation(statement, ((ViewStmt *) statement)->view);
			return;
		case T_CreateFunctionStmt:
			if (atp_guard_is_schema(QualifiedNameGetCreationNamespace(((CreateFunctionStmt *) statement)->funcname, &name)))
				refuse(statement, psprintf("the schema of function %s", name));
			return;
		case T_CreateTrigStmt:
			judge_relation(statement, ((CreateTrigStmt *) statement)->relation);
			return;
		case T_RuleStmt:
			judge_relation(statement, ((RuleStmt *) statement)->relation);
			return;
		case T_CreatePolicyStmt:
			if (!is_our_policy((CreatePolicyStmt *) statement))
				judge_relation(statement, ((CreatePolicyStmt *) statement)->table);
			return;
		default:
			return;
	}
}

static void
judge_alteration(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_RenameStmt:
			judge_object(statement, ((RenameStmt *) statement)->renameType, ((RenameStmt *) statement)->relation,
						 ((RenameStmt *) statement)->renameType == OBJECT_SCHEMA || ((RenameStmt *) statement)->renameType == OBJECT_ROLE ?
						 (Node *) makeString(((RenameStmt *) statement)->subname) : ((RenameStmt *) statement)->object);
			return;
		case T_AlterOwnerStmt:
			judge_object(statement, ((AlterOwnerStmt *) statement)->objectType, ((AlterOwnerStmt *) statement)->relation,
						 ((AlterOwnerStmt *) statement)->object);
			return;
		case T_AlterObjectSchemaStmt:
			judge_schema_name(statement, ((AlterObjectSchemaStmt *) statement)->newschema);
			judge_object(statement, ((AlterObjectSchemaStmt *) statement)->objectType, ((AlterObjectSchemaStmt *) statement)->relation,
						 ((AlterObjectSchemaStmt *) statement)->object);
			return;
		case T_AlterObjectDependsStmt:
			judge_object(statement, ((AlterObjectDependsStmt *) statement)->objectType, ((AlterObjectDependsStmt *) statement)->relation,
						 ((AlterObjectDependsStmt *) statement)->object);
			return;
		case T_AlterExtensionContentsStmt:
			if (strcmp(((AlterExtensionContentsStmt *) statement)->extname, "atp") == 0)
				refuse(statement, "extension atp");
			judge_object(statement, ((AlterExtensionContentsStmt *) statement)->objtype, NULL,
						 ((AlterExtensionContentsStmt *) statement)->object);
			return;
		case T_AlterFunctionStmt:
			judge_function(statement, ((AlterFunctionStmt *) statement)->objtype, ((AlterFunctionStmt *) statement)->func);
			return;
		case T_AlterSeqStmt:
			judge_relation(statement, ((AlterSeqStmt *) statement)->sequence);
			return;
		case T_AlterPolicyStmt:
			judge_relation(statement, ((AlterPolicyStmt *) statement)->table);
			return;
		case T_AlterDomainStmt:
			judge_type(statement, makeTypeNameFromNameList(((AlterDomainStmt *) statement)->typeName));
			return;
		case T_AlterTypeStmt:
			judge_type(statement, makeTypeNameFromNameList(((AlterTypeStmt *) statement)->typeName));
			return;
		case T_AlterEventTrigStmt:
			judge_object(statement, OBJECT_EVENT_TRIGGER, NULL, (Node *) makeString(((AlterEventTrigStmt *) statement)->trigname));
			return;
		default:
			return;
	}
}

static void
judge_lock(LockStmt *lock)
{
	ListCell   *cell;

	if (lock->mode == AccessShareLock)
		return;					/* what pg_dump does */
	foreach(cell, lock->relations)
		judge_relation((Node *) lock, lfirst_node(RangeVar, cell));
}

void
atp_guard_judge_statement(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_DropStmt:
			judge_drop((DropStmt *) statement);
			break;
		case T_DropOwnedStmt:
			judge_roles(statement, ((DropOwnedStmt *) statement)->roles);
			break;
		case T_ReassignOwnedStmt:
			judge_roles(statement, ((ReassignOwnedStmt *) statement)->roles);
			break;
		case T_AlterTableStmt:
			judge_alter_table((AlterTableStmt *) statement);
			break;
		case T_GrantStmt:
			judge_grant((GrantStmt *) statement);
			break;
		case T_AlterDefaultPrivilegesStmt:
			judge_default_privileges((AlterDefaultPrivilegesStmt *) statement);
			break;
		case T_LockStmt:
			judge_lock((LockStmt *) statement);
			break;
		case T_GrantRoleStmt:
		case T_CreateRoleStmt:
		case T_AlterRoleStmt:
		case T_AlterRoleSetStmt:
			judge_role_statement(statement);
			break;
		case T_CreateStmt:
		case T_CreateForeignTableStmt:
		case T_ViewStmt:
		case T_CreateFunctionStmt:
		case T_CreateTrigStmt:
		case T_RuleStmt:
		case T_CreatePolicyStmt:
			judge_creation(statement);
			break;
		default:
			judge_alteration(statement);
			break;
	}
}

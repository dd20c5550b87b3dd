/*
 * Upcasters and downcasters: the payload of an event in the form of another version of its schema.
 *
 * A step goes from one version to the next or to the one before; steps are composed. What is stored never changes: a form is made when
 * somebody reads it. A step is a list of declared operations, or an SQL function jsonb -> jsonb, which runs with the rights of who
 * reads, also where a function of atp's own reads for him, and then as a security-restricted operation.
 *
 * The table is read past privileges, with the newest catalog snapshot, and kept per backend until it changes. What is kept is not
 * used across the call of a step's function: that may run anything.
 */
#include "record/upcaster.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/uuid.h"

#include "pg/canonical.h"
#include "pg/compat.h"
#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"
#include "record/eventtype.h"
#include "record/schema.h"
#include "record/upcaster/operation.h"

PG_FUNCTION_INFO_V1(atp_upcaster_changed);
PG_FUNCTION_INFO_V1(atp_upcaster_check_operations);
PG_FUNCTION_INFO_V1(atp_upcaster_check_function);
PG_FUNCTION_INFO_V1(atp_upcaster_accepted_version);
PG_FUNCTION_INFO_V1(atp_upcaster_cast_payload);
PG_FUNCTION_INFO_V1(atp_upcaster_cast_stored);

/* Columns of atp_internal.upcaster, in their order. */
enum
{
	COLUMN_EVENT_TYPE = 1, COLUMN_FROM_VERSION, COLUMN_TO_VERSION, COLUMN_OPERATIONS, COLUMN_FUNCTION
};

typedef struct StepKey
{
	int32		event_type;
	int32		from_version;
	int32		to_version;
} StepKey;

typedef struct Step
{
	StepKey		key;
	bool		exists;
	Jsonb	   *operations;		/* NULL: a function */
	char	   *function;		/* its signature */
} Step;

typedef struct Target			/* of a cast, for messages */
{
	const AtpEventType *type;
	const pg_uuid_t *event_id;	/* NULL: the payload is no event's */
} Target;

static MemoryContext steps_context;
static HTAB *steps;
static bool stale = true;

static void
upcaster_relation_changed(Oid relation)
{
	stale = true;
}

static void
prepare_cache(void)
{
	static bool registered = false;
	HASHCTL		control = {.keysize = sizeof(StepKey), .entrysize = sizeof(Step)};

	if (!registered)
	{
		atp_relation_on_change(upcaster_relation_changed);
		registered = true;
	}
	if (!stale)
		return;
	if (steps_context == NULL)
		steps_context = AllocSetContextCreate(CacheMemoryContext, "atp upcasters", ALLOCSET_DEFAULT_SIZES);
	steps = NULL;
	MemoryContextReset(steps_context);
	control.hcxt = steps_context;
	steps = hash_create("atp upcasters", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stale = false;
}

static void
read_step(const StepKey *key, Step *step)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_UPCASTER), AccessShareLock);
	TupleDesc	shape = RelationGetDescr(relation);
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		null;

	memset(step, 0, sizeof(*step));
	step->key = *key;
	ScanKeyInit(&keys[0], COLUMN_EVENT_TYPE, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key->event_type));
	ScanKeyInit(&keys[1], COLUMN_FROM_VERSION, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key->from_version));
	ScanKeyInit(&keys[2], COLUMN_TO_VERSION, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key->to_version));
	scan = systable_beginscan(relation, atp_relation_oid(ATP_REL_UPCASTER_PK), true, NULL, 3, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Datum		operations = heap_getattr(tuple, COLUMN_OPERATIONS, shape, &null);
		MemoryContext before = MemoryContextSwitchTo(steps_context);

		step->exists = true;
		if (!null)
			step->operations = DatumGetJsonbPCopy(operations);
		else
			step->function = TextDatumGetCString(heap_getattr(tuple, COLUMN_FUNCTION, shape, &null));
		MemoryContextSwitchTo(before);
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
}

/* The pointers in the step are good until the next look-up, or a call of foreign code. */
static Step
find_step(int32 event_type, int32 from_version, int32 to_version)
{
	StepKey		key = {event_type, from_version, to_version};
	Step		step;
	Step	   *entry;

	prepare_cache();
	entry = hash_search(steps, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return *entry;
	read_step(&key, &step);
	if (!stale)
		*(Step *) hash_search(steps, &key, HASH_ENTER, NULL) = step;
	return step;
}

static bool
chain_exists(int32 event_type, int32 from_version, int32 to_version)
{
	int			by = to_version > from_version ? 1 : -1;

	for (int32 at = from_version; at != to_version; at += by)
	{
		CHECK_FOR_INTERRUPTS();
		if (!find_step(event_type, at, at + by).exists)
			return false;
	}
	return true;
}

/* ---- a step ---- */

/* NULL where the function is one; what is wrong with it otherwise. */
static const char *
fault_of_function(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	const char *fault = NULL;
	Form_pg_proc form;

	if (!HeapTupleIsValid(tuple))
		return "It does not exist";
	form = (Form_pg_proc) GETSTRUCT(tuple);
	if (form->prokind != PROKIND_FUNCTION || form->proretset)
		fault = "It is not a plain function";
	else if (form->pronargs != 1 || form->proargtypes.values[0] != JSONBOID || form->prorettype != JSONBOID)
		fault = "It does not take a jsonb and return a jsonb";
	ReleaseSysCache(tuple);
	return fault;
}

static Oid
find_function(const char *signature)
{
	Datum		name = CStringGetTextDatum(signature);
	LOCAL_FCINFO(fcinfo, 1);
	Datum		found;

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum) {name, false};
	found = to_regprocedure(fcinfo);
	return fcinfo->isnull ? InvalidOid : DatumGetObjectId(found);
}

/* The function runs as who reads. In a function of atp's own the current user is its owner: then as the one outside of it. */
static Jsonb *
call_function(const char *signature, Jsonb *payload)
{
	Oid			function = find_function(signature);
	const char *fault = OidIsValid(function) ? fault_of_function(function) : "It does not exist";
	Oid			user;
	int			context;
	Oid			reader;
	FmgrInfo	info;
	LOCAL_FCINFO(fcinfo, 1);
	Datum		result;

	if (fault != NULL)
		ereport(ERROR, errcode(ERRCODE_UNDEFINED_FUNCTION), errmsg("function %s cannot be called", signature), errdetail("%s.", fault));
	GetUserIdAndSecContext(&user, &context);
	reader = user == atp_owner_oid() ? GetOuterUserId() : user;
	if (!atp_compat_may_execute(function, reader))
		ereport(ERROR, errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied for function %s", signature));
	fmgr_info(function, &info);
	InitFunctionCallInfoData(*fcinfo, &info, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0] = (NullableDatum) {JsonbPGetDatum(payload), false};
	SetUserIdAndSecContext(reader, context | SECURITY_RESTRICTED_OPERATION);
	result = FunctionCallInvoke(fcinfo);
	SetUserIdAndSecContext(user, context);
	if (fcinfo->isnull)
		ereport(ERROR, errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("function %s returned null", signature));
	payload = DatumGetJsonbP(result);
	if (!JB_ROOT_IS_OBJECT(payload))
		ereport(ERROR, errcode(ATP_ERR_INVALID_PAYLOAD), errmsg("function %s returned no object", signature));
	return payload;
}

/* Errors that are not the step's own. */
static bool
passes_through(int code)
{
	int			class = ERRCODE_TO_CATEGORY(code);

	return class == ERRCODE_OPERATOR_INTERVENTION || class == ERRCODE_INSUFFICIENT_RESOURCES || class == ERRCODE_TRANSACTION_ROLLBACK ||
		code == ERRCODE_INTERNAL_ERROR;
}

static void
fail_step(const Target *target, int32 from_version, int32 to_version, const ErrorData *cause)
{
	char	   *event = target->event_id == NULL ? "" :
		psprintf("Event %s. ", DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(target->event_id))));

	ereport(ERROR, errcode(ATP_ERR_UPCAST_FAILED),
			errmsg("%s of event type \"%s\" from version %d to %d failed", to_version > from_version ? "upcaster" : "downcaster",
				   target->type->name, from_version, to_version),
			errdetail("%sIt raised %s: %s.%s%s", event, unpack_sql_state(cause->sqlerrcode), cause->message,
					  cause->detail != NULL ? " " : "", cause->detail != NULL ? cause->detail : ""),
			errhint("Correct it with atp.register_upcaster or atp.register_downcaster; read without accept_versions for the stored form."));
}

/*
 * One step. An error of its own is told again with the event's name; the transaction (or the caller's savepoint) is aborted by it as by
 * any error, so no state needs to be taken back here.
 */
static Jsonb *
take_step(const Target *target, int32 from_version, int32 to_version, Jsonb *payload)
{
	Step		step = find_step(target->type->event_type, from_version, to_version);
	MemoryContext memory = CurrentMemoryContext;
	char	   *function;

	if (!step.exists)
		ereport(ERROR, errcode(ATP_ERR_VERSION_NOT_ACCEPTED),
				errmsg("event type \"%s\" has no %s from version %d to %d", target->type->name,
					   to_version > from_version ? "upcaster" : "downcaster", from_version, to_version),
				errhint("Register it with atp.register_upcaster or atp.register_downcaster."));
	function = step.function != NULL ? pstrdup(step.function) : NULL;
	PG_TRY();
	{
		payload = function != NULL ? call_function(function, payload) : atp_operations_apply(step.operations, payload);
	}
	PG_CATCH();
	{
		ErrorData  *cause;

		MemoryContextSwitchTo(memory);
		cause = CopyErrorData();
		if (passes_through(cause->sqlerrcode))
			PG_RE_THROW();
		FlushErrorState();
		fail_step(target, from_version, to_version, cause);
	}
	PG_END_TRY();
	return payload;
}

static Jsonb *
cast_payload(const Target *target, int32 from_version, int32 to_version, Jsonb *payload)
{
	int			by = to_version > from_version ? 1 : -1;

	if (!JB_ROOT_IS_OBJECT(payload))
		ereport(ERROR, errcode(ATP_ERR_INVALID_PAYLOAD), errmsg("payload is not a JSON object"));
	for (int32 at = from_version; at != to_version; at += by)
		payload = take_step(target, at, at + by, payload);
	return payload;
}

/* ---- which version ---- */

static void
refuse_accept(const char *why)
{
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("malformed accept_versions"), errdetail("%s.", why),
			errhint("For example {\"OrderPlaced\": 2, \"OrderShipped\": [1, 2], \"OrderPaid\": \"active\"}, or \"active\" for all types."));
}

typedef struct Wish				/* what a reader accepts of one event type */
{
	const AtpEventType *type;
	int32		stored;
	int32		best;			/* the highest version so far that can be had; -1: none */
	int			listed;
} Wish;

static void
consider(Wish *wish, int32 version)
{
	wish->listed++;
	if (version == wish->stored)
		wish->best = PG_INT32_MAX;	/* what is stored needs no cast */
	else if (version > wish->best && atp_schema_is_served(wish->type, version) &&
			 chain_exists(wish->type->event_type, wish->stored, version))
		wish->best = version;
}

static void
consider_value(Wish *wish, const JsonbValue *value)
{
	if (value->type == jbvNumeric && !atp_numeric_is_integer(value->val.numeric))
		refuse_accept("A version is a whole number");
	if (value->type == jbvNumeric)
		consider(wish, DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric))));
	else if (value->type == jbvString && value->val.string.len == 6 && memcmp(value->val.string.val, "active", 6) == 0)
		consider(wish, wish->type->active_version != 0 ? wish->type->active_version : wish->stored);
	else
		refuse_accept("A version is a number or \"active\"");
}

/* The version to give the reader of a stored event: the stored one if he accepts it, else the highest that he accepts and can have. */
static int32
accepted_version(const AtpEventType *type, int32 stored, Jsonb *accept, const pg_uuid_t *event_id)
{
	Wish		wish = {type, stored, -1, 0};
	JsonbValue *value;

	if (JB_ROOT_IS_SCALAR(accept))
		value = getIthJsonbValueFromContainer(&accept->root, 0);
	else if (JB_ROOT_IS_OBJECT(accept))
	{
		JsonbValue	key = {.type = jbvString};

		key.val.string.val = unconstify(char *, (const char *) type->name);
		key.val.string.len = (int) strlen(type->name);
		value = findJsonbValueFromContainer(&accept->root, JB_FOBJECT, &key);
		if (value == NULL)
			return stored;
	}
	else
		value = NULL;
	if (value == NULL || (JB_ROOT_IS_SCALAR(accept) && value->type != jbvString))
		refuse_accept("It is neither an object by event type nor \"active\"");
	if (value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data))
		for (uint32 i = 0; i < JsonContainerSize(value->val.binary.data); i++)
			consider_value(&wish, getIthJsonbValueFromContainer(value->val.binary.data, i));
	else
		consider_value(&wish, value);
	if (wish.best == PG_INT32_MAX)
		return stored;
	if (wish.best < 0)
		ereport(ERROR, errcode(ATP_ERR_VERSION_NOT_ACCEPTED),
				errmsg("event of type \"%s\" and version %d cannot be had in an accepted version", type->name, stored),
				errdetail("Event %s. None of the %d accepted versions is served and reached by upcasters or downcasters.",
						  event_id == NULL ? "unknown" : DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(event_id))),
						  wish.listed),
				errhint("atp.upcasters lists the steps, atp.schemas the status and sunset of versions."));
	return wish.best;
}

/* ---- for readers in C ---- */

static Datum
cast_text(const AtpEventType *type, int32 stored, int32 wanted, const pg_uuid_t *event_id, Datum payload)
{
	static const char header[VARHDRSZ] = {0};
	Target		target = {type, event_id};
	Jsonb	   *form = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(payload))));
	AtpBuf		out;

	form = cast_payload(&target, stored, wanted, form);
	atp_buf_init_palloc(&out, CurrentMemoryContext);
	atp_buf_append(&out, header, VARHDRSZ);
	atp_canonical_jsonb(form, ATP_CANON_EXACT, &out);
	SET_VARSIZE(out.data, out.size);
	return PointerGetDatum(out.data);
}

static void
get_type(int32 key, AtpEventType *type)
{
	if (!atp_eventtype_get(key, type))
		elog(ERROR, "event type %d is not registered", key);
}

int32
atp_upcaster_choose(int32 event_type, int32 stored, Jsonb *accept, const pg_uuid_t *event_id)
{
	AtpEventType type;

	get_type(event_type, &type);
	return accepted_version(&type, stored, accept, event_id);
}

Datum
atp_upcaster_cast(int32 event_type, int32 stored, int32 wanted, const pg_uuid_t *event_id, Datum payload)
{
	AtpEventType type;

	get_type(event_type, &type);
	return cast_text(&type, stored, wanted, event_id, payload);
}

/* ---- SQL ---- */

/* Trigger: the table changed. */
Datum
atp_upcaster_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

/* check_upcaster_operations(operations jsonb) */
Datum
atp_upcaster_check_operations(PG_FUNCTION_ARGS)
{
	atp_operations_require(PG_GETARG_JSONB_P(0));
	PG_RETURN_VOID();
}

/* check_upcaster_function(function regprocedure): its signature, as the table keeps it */
Datum
atp_upcaster_check_function(PG_FUNCTION_ARGS)
{
	Oid			function = PG_GETARG_OID(0);
	const char *fault = fault_of_function(function);

	if (fault != NULL)
		ereport(ERROR, errcode(ATP_ERR_INVALID_UPCASTER), errmsg("function %s cannot be an upcaster", format_procedure(function)),
				errdetail("%s.", fault), errhint("An upcaster is a function of one jsonb that returns jsonb."));
	PG_RETURN_TEXT_P(cstring_to_text(format_procedure_qualified(function)));
}

static void
require_type(FunctionCallInfo fcinfo, AtpEventType *type)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (!atp_eventtype_find(name, type))
		ereport(ERROR, errcode(ATP_ERR_EVENT_TYPE_NOT_REGISTERED), errmsg("event type \"%s\" is not registered", name));
}

/* accepted_version(event_type text, schema_version int, accept_versions jsonb, event_id uuid) */
Datum
atp_upcaster_accepted_version(PG_FUNCTION_ARGS)
{
	AtpEventType type;

	require_type(fcinfo, &type);
	PG_RETURN_INT32(accepted_version(&type, PG_GETARG_INT32(1), PG_GETARG_JSONB_P(2), PG_GETARG_UUID_P(3)));
}

/* cast_payload(event_type text, payload jsonb, from_version int, to_version int) */
Datum
atp_upcaster_cast_payload(PG_FUNCTION_ARGS)
{
	AtpEventType type;
	Target		target = {&type, NULL};
	int32		from_version = PG_GETARG_INT32(2);
	int32		to_version = PG_GETARG_INT32(3);

	require_type(fcinfo, &type);
	if (from_version < 0 || to_version < 0 || from_version > type.latest_version || to_version > type.latest_version)
		ereport(ERROR, errcode(ATP_ERR_SCHEMA_NOT_FOUND), errmsg("event type \"%s\" has no such schema version", type.name),
				errdetail("Its latest version is %d.", type.latest_version));
	PG_RETURN_JSONB_P(cast_payload(&target, from_version, to_version, PG_GETARG_JSONB_P(1)));
}

/* cast_stored(event_type text, schema_version int, accept_versions jsonb, event_id uuid, payload json): the canonical text of the form */
Datum
atp_upcaster_cast_stored(PG_FUNCTION_ARGS)
{
	AtpEventType type;
	int32		stored = PG_GETARG_INT32(1);
	int32		wanted;

	require_type(fcinfo, &type);
	wanted = accepted_version(&type, stored, PG_GETARG_JSONB_P(2), PG_GETARG_UUID_P(3));
	if (wanted == stored)
		PG_RETURN_DATUM(PG_GETARG_DATUM(4));
	PG_RETURN_DATUM(cast_text(&type, stored, wanted, PG_GETARG_UUID_P(3), PG_GETARG_DATUM(4)));
}

/*
 * Calls of handlers; see call.h.
 *
 * The timer is our own, so that a handler's statement_timeout has nothing to do with it. It fires again every GRACE_MS: first it
 * cancels, then it ends the process. A call may be made within another one (the function of a route): the time of the outer one goes on
 * and bounds that of the inner one.
 *
 * The limit of memory is the kernel's, on private memory that can be written (RLIMIT_DATA): beyond it malloc fails, which PostgreSQL
 * raises as an error, as it does on a machine that does not overcommit. It is in force during the call alone: what the runner does for
 * itself never meets it.
 *
 * Triggers and constraints that the function deferred are run at the end of the call, as its role: at COMMIT they would be run as
 * the runner's, a superuser, and one that raises would take the whole batch with it for ever.
 */
#include "delivery/call.h"

#include <sys/resource.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "pg/query.h"

PG_FUNCTION_INFO_V1(atp_call_handler);

#define GRACE_MS 2000
#define ERROR_TEXT_MAX 2000
#define LEAST_MEMORY 64			/* MB, without which no process does anything */

static int	setting_max_memory = 512;	/* MB; 0: no limit */

typedef struct Call
{
	TimestampTz deadline;		/* 0: none */
	int			timeout_ms;
	char		event_id[2 * UUID_LEN + 5]; /* empty: the event has none */
	int			fired;			/* of the outer call, while an inner one runs */
	bool		limited;
	struct rlimit memory_before;	/* where it is limited */
} Call;

static Call current;			/* the innermost one */
static volatile sig_atomic_t fired; /* how often the timer did, in it */
static volatile sig_atomic_t overrun;	/* the process ends, for that */
static bool exhausted;			/* a call wanted more memory than there is */

/* ---- Time ---- */

static void
call_timed_out(void)
{
	fired++;
	if (fired == 1)
		QueryCancelPending = true;
	else
		overrun = ProcDiePending = true;	/* it has caught the cancellation */
	InterruptPending = true;
	SetLatch(MyLatch);
}

static TimeoutId
call_timeout(void)
{
	static TimeoutId id;
	static bool registered = false;

	if (!registered)
	{
		id = RegisterTimeout(USER_TIMEOUT, call_timed_out);
		registered = true;
	}
	return id;
}

static void
note_event(Jsonb *event)
{
	JsonbValue	id;

	current.event_id[0] = '\0';
	if (JB_ROOT_IS_OBJECT(event) && getKeyJsonValueFromContainer(&event->root, "event_id", strlen("event_id"), &id) != NULL &&
		id.type == jbvString && id.val.string.len < (int) sizeof(current.event_id))
	{
		memcpy(current.event_id, id.val.string.val, id.val.string.len);
		current.event_id[id.val.string.len] = '\0';
	}
}

/* ---- Memory ---- */

static void
begin_limit(Call *call)
{
	struct rlimit limit;
	rlim_t		most = (rlim_t) Max(setting_max_memory, LEAST_MEMORY) * 1024 * 1024;

	call->limited = false;
	if (setting_max_memory == 0 || getrlimit(RLIMIT_DATA, &limit) != 0 || limit.rlim_cur <= most)
		return;					/* none, or a narrower one is in force */
	call->memory_before = limit;
	limit.rlim_cur = most;
	call->limited = setrlimit(RLIMIT_DATA, &limit) == 0;
}

static void
end_limit(Call *call)
{
	if (call->limited)
		(void) setrlimit(RLIMIT_DATA, &call->memory_before);
	call->limited = false;
}

/* ---- A call ---- */

static void
begin_call(Call *outer, Jsonb *event, int timeout_ms)
{
	current.fired = fired;
	*outer = current;
	fired = 0;
	note_event(event);
	current.timeout_ms = timeout_ms;
	current.deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout_ms);
	if (outer->deadline != 0)
		current.deadline = Min(current.deadline, outer->deadline);
	begin_limit(&current);
	enable_timeout_every(call_timeout(), current.deadline, GRACE_MS);
}

static void
end_call(const Call *outer)
{
	end_limit(&current);
	disable_timeout(call_timeout(), false);
	if (fired > 0)
		QueryCancelPending = false; /* it fired, perhaps when the function had just returned */
	if (overrun)
		return;					/* the process is about to end: what it ended for stays to be seen */
	current = *outer;
	fired = current.fired;
	if (current.deadline != 0)
		enable_timeout_every(call_timeout(), current.deadline, GRACE_MS);
}

bool
atp_call_has_overrun(const char **event_id, const char **reason)
{
	static char text[100];

	if (!overrun)
		return false;
	snprintf(text, sizeof(text), "57014: it went on after its timeout of %d ms, and was ended with its process", current.timeout_ms);
	*event_id = current.event_id;
	*reason = text;
	return true;
}

bool
atp_call_has_exhausted(void)
{
	return exhausted;
}

void
atp_call_end_limit(void)
{
	end_limit(&current);
}

/* What the log says of the end of the process, beside "due to administrator command". */
static void
explain_overrun(void *function)
{
	if (overrun)
		errcontext("handler function %s, which went on after its timeout of %d ms", (const char *) function, current.timeout_ms);
}

/* Calls the function with the event. Raises what it raises. Its result, where it is jsonb, in `context`. */
static Jsonb *
call_function(const char *function, Jsonb *event, MemoryContext context)
{
	Oid			oid = DatumGetObjectId(DirectFunctionCall1(regprocedurein, CStringGetDatum(function)));
	Oid			type = JSONBOID;
	Datum		argument = JsonbPGetDatum(event);
	char	   *schema = get_namespace_name(get_func_namespace(oid));
	char	   *sql = psprintf("SELECT %s($1)", quote_qualified_identifier(schema, get_func_name(oid)));

	Jsonb	   *result = NULL;
	bool		null = true;

	SPI_connect();
	if (SPI_execute_with_args(sql, 1, &type, &argument, NULL, false, 0) < 0)
		elog(ERROR, "could not call %s", function);
	if (SPI_processed == 1 && SPI_gettypeid(SPI_tuptable->tupdesc, 1) == JSONBOID)
	{
		Datum		value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &null);
		MemoryContext before = MemoryContextSwitchTo(context);

		result = null ? NULL : DatumGetJsonbPCopy(value);
		MemoryContextSwitchTo(before);
	}
	SPI_finish();
	return result;
}

static void
set_constraints(const char *sql)
{
	SPI_connect();
	if (SPI_execute(sql, false, 0) < 0)
		elog(ERROR, "could not set constraints");
	SPI_finish();
}

/* Runs what the call has deferred. The restriction refuses what these triggers would defer in their turn. */
static void
run_deferred(void)
{
	AtpIdentity now;

	GetUserIdAndSecContext(&now.user, &now.context);
	SetUserIdAndSecContext(now.user, now.context | SECURITY_RESTRICTED_OPERATION);
	set_constraints("SET CONSTRAINTS ALL IMMEDIATE");
	SPI_connect();
	if (SPI_execute("SELECT FROM pg_catalog.pg_cursors WHERE is_holdable", true, 1) != SPI_OK_SELECT || SPI_processed > 0)
		ereport(ERROR, errcode(ERRCODE_INVALID_CURSOR_STATE), errmsg("a handler leaves a cursor WITH HOLD open"),
				errdetail("Its query would be run at COMMIT, with the rights of the runner."));
	SPI_finish();
}

/* Takes the error that has just been caught as text, and forgets it. */
static char *
error_text(MemoryContext context, int timeout_ms)
{
	ErrorData  *error;
	char	   *text;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	FlushErrorState();
	if (error->sqlerrcode == ERRCODE_OUT_OF_MEMORY)
		exhausted = true;
	if (fired > 0 && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		text = psprintf("57014: the timeout of %d ms is over", timeout_ms);
	else
		text = psprintf("%s: %.*s", unpack_sql_state(error->sqlerrcode), ERROR_TEXT_MAX, error->message);
	FreeErrorData(error);
	return text;
}

/* call_handler(function, event, timeout_ms, run_as) */
Datum
atp_call_handler(PG_FUNCTION_ARGS)
{
	char	   *function = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Jsonb	   *event = PG_GETARG_JSONB_P(1);
	int			timeout_ms = PG_GETARG_INT32(2);
	char	   *role = text_to_cstring(PG_GETARG_TEXT_PP(3));
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorContextCallback explain = {.previous = error_context_stack, .callback = explain_overrun, .arg = function};
	Call		outer;
	AtpIdentity before;
	char	   *volatile failure = NULL;
	Jsonb	   *volatile result = NULL;
	TupleDesc	shape;
	Datum		values[2] = {0};
	bool		nulls[2];

	if (get_call_result_type(fcinfo, NULL, &shape) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	GetUserIdAndSecContext(&before.user, &before.context);
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	error_context_stack = &explain;
	begin_call(&outer, event, timeout_ms);
	PG_TRY();
	{
		int			level = NewGUCNestLevel();

		SetUserIdAndSecContext(get_role_oid(role, false), before.context | SECURITY_LOCAL_USERID_CHANGE);
		set_constraints("SET CONSTRAINTS ALL DEFERRED");	/* an earlier call left them immediate */
		result = call_function(function, event, context);
		run_deferred();
		end_call(&outer);
		AtEOXact_GUC(false, level);
		SetUserIdAndSecContext(before.user, before.context);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		failure = error_text(context, timeout_ms);
		end_call(&outer);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	error_context_stack = explain.previous;
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	nulls[0] = failure == NULL;
	nulls[1] = failure != NULL || result == NULL;
	if (failure != NULL)
		values[0] = CStringGetTextDatum(failure);
	if (result != NULL)
		values[1] = JsonbPGetDatum(result);
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(shape), values, nulls)));
}

void
atp_call_init(void)
{
	DefineCustomIntVariable("atp.handler_max_memory", "Private memory of a process while it calls an in-database handler; 0: no limit.",
							"A handler that needs more fails with SQLSTATE 53200. Less than 64 MB count as 64 MB.",
							&setting_max_memory, 512, 0, 1024 * 1024,
							PGC_SIGHUP, GUC_UNIT_MB, NULL, NULL, NULL);
}

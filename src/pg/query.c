/* SPI in one place; see query.h. */
#include "pg/query.h"

#include "catalog/namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/inval.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#define OUR_SEARCH_PATH "pg_catalog, pg_temp"

static Oid	owner_oid = InvalidOid;

static void
forget_owner(Datum argument, int cache, uint32 hash)
{
	owner_oid = InvalidOid;
}

Oid
atp_owner_oid(void)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(AUTHOID, forget_owner, (Datum) 0);
		registered = true;
	}
	if (!OidIsValid(owner_oid))
		owner_oid = get_role_oid("atp_owner", false);
	return owner_oid;
}

void
atp_owner_begin(AtpIdentity *before)
{
	GetUserIdAndSecContext(&before->user, &before->context);
	SetUserIdAndSecContext(atp_owner_oid(), before->context | SECURITY_LOCAL_USERID_CHANGE);
	before->settings = 0;
	if (strcmp(namespace_search_path, OUR_SEARCH_PATH) == 0)
		return;
	before->settings = NewGUCNestLevel();
	(void) set_config_option("search_path", OUR_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
}

void
atp_owner_end(const AtpIdentity *before)
{
	if (before->settings != 0)
		AtEOXact_GUC(true, before->settings);
	SetUserIdAndSecContext(before->user, before->context);
}

bool
atp_owner_is_active(void)
{
	Oid			user;
	int			context;

	GetUserIdAndSecContext(&user, &context);
	return (context & SECURITY_LOCAL_USERID_CHANGE) != 0 && user == atp_owner_oid();
}

static SPIPlanPtr
get_plan(AtpQuery *query)
{
	SPIPlanPtr	plan = query->plan;

	if (plan != NULL)
		return plan;
	plan = SPI_prepare(query->sql, query->argument_count, query->argument_types);
	if (plan == NULL)
		elog(ERROR, "could not prepare \"%s\": %s", query->sql, SPI_result_code_string(SPI_result));
	if (SPI_keepplan(plan) != 0)
		elog(ERROR, "could not keep the plan of \"%s\"", query->sql);
	return query->plan = plan;
}

int
atp_query_latest(AtpQuery *query, Datum *arguments, const char *nulls)
{
	AtpIdentity before;
	int			result;

	atp_owner_begin(&before);
	result = SPI_execute_snapshot(get_plan(query), arguments, nulls, GetLatestSnapshot(), InvalidSnapshot, false, true, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", query->sql, SPI_result_code_string(result));
	atp_owner_end(&before);
	return result;
}

int
atp_query(AtpQuery *query, Datum *arguments, const char *nulls, bool read_only, long max_rows)
{
	AtpIdentity before;
	int			result;

	atp_owner_begin(&before);
	result = SPI_execute_plan(get_plan(query), arguments, nulls, read_only, max_rows);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", query->sql, SPI_result_code_string(result));
	atp_owner_end(&before);
	return result;
}

void
atp_query_text(const char *sql)
{
	AtpIdentity before;
	int			result;

	atp_owner_begin(&before);
	result = SPI_execute(sql, false, 0);
	if (result < 0)
		elog(ERROR, "could not run \"%s\": %s", sql, SPI_result_code_string(result));
	atp_owner_end(&before);
}

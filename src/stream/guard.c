/* The guard; see guard.h. */
#include "stream/guard.h"

#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "pg/errors.h"
#include "pg/query.h"

PG_FUNCTION_INFO_V1(atp_guard_refuse);

void
atp_guard_table(Oid relation)
{
	const char *name = quote_qualified_identifier(get_namespace_name(get_rel_namespace(relation)), get_rel_name(relation));

	SPI_connect();
	atp_query_text(psprintf("CREATE TRIGGER guard BEFORE UPDATE OR DELETE OR TRUNCATE ON %s"
							" FOR EACH STATEMENT EXECUTE FUNCTION atp_internal.refuse_change();"
							"ALTER TABLE %s ENABLE ALWAYS TRIGGER guard", name, name));
	SPI_finish();
}

/* refuse_change() */
Datum
atp_guard_refuse(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	ereport(ERROR, errcode(ATP_ERR_EVENT_IMMUTABLE),
			errmsg("%s of table \"%s\" is refused",
				   TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? "UPDATE"
				   : TRIGGER_FIRED_BY_DELETE(trigger->tg_event) ? "DELETE" : "TRUNCATE",
				   RelationGetRelationName(trigger->tg_relation)),
			errdetail("What the event store holds is append-only."),
			errhint("Append an event that corrects the earlier one."));
	return PointerGetDatum(NULL);
}

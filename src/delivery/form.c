/* Forms of events; see form.h. */
#include "delivery/form.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "pg/errors.h"
#include "record/upcaster.h"

/* The text of the error that was just caught, if a step of a cast raised it; any other error goes on. */
static char *
step_error(MemoryContext context)
{
	ErrorData  *error;
	char	   *text;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode != ATP_ERR_UPCAST_FAILED)
		PG_RE_THROW();
	FlushErrorState();
	text = psprintf("TP227: %s%s%s", error->message, error->detail == NULL ? "" : ". ", error->detail == NULL ? "" : error->detail);
	FreeErrorData(error);
	return text;
}

/* A step may be a function of a user's, which may have done anything before it failed: hence the subtransaction. */
static bool
cast(const AtpLogRow *row, const AtpFeedEvent *event, AtpForm *form, char **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = true;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		form->payload = atp_upcaster_cast(row->event_type, event->schema_version, form->schema_version, &row->event_id, event->payload);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		*error = step_error(context);
		RollbackAndReleaseCurrentSubTransaction();
		done = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return done;
}

bool
atp_form_make(Jsonb *accept, const AtpLogRow *row, const AtpFeedEvent *event, AtpForm *form, char **error)
{
	form->cast = false;
	if (accept == NULL)
		return true;
	form->schema_version = atp_upcaster_choose(row->event_type, event->schema_version, accept, &row->event_id);
	if (form->schema_version == event->schema_version)
		return true;
	form->cast = true;
	form->payload = (Datum) 0;
	return event->payload_null || cast(row, event, form, error);
}

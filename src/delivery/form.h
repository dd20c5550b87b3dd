/* The form in which an event is handed to its consumer: as it is stored, or in a version that he accepts. */
#ifndef ATP_FORM_H
#define ATP_FORM_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "delivery/feed.h"

typedef struct AtpForm
{
	bool		cast;			/* false: as it is stored */
	int32		schema_version;
	Datum		payload;		/* json; NULL pointer where it was erased */
} AtpForm;

/*
 * Brings an event into a version that is accepted, in the current memory context. False: a step of the way there failed on it, as *error
 * says; nothing has changed. Raises TP228 where no accepted version can be had: that is between the consumer and the
 * schemas, whatever the event holds.
 */
extern bool atp_form_make(Jsonb *accept, const AtpLogRow *row, const AtpFeedEvent *event, AtpForm *form, char **error);

#endif

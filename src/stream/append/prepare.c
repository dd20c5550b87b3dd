/* Events in stored form; see prepare.h. */
#include "stream/append/prepare.h"

#include "pg/errors.h"
#include "pg/eventid.h"
#include "record/envelope.h"

static void
hash_failed(void)
{
	ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("SHA-256 failed in OpenSSL"));
}

/* Validates the payload against the version that the caller names, or the active one. */
static void
judge_payload(const AtpEvent *event, AtpPrepared *prepared)
{
	int32		named = event->metadata != NULL ? atp_envelope_schema_version(event->metadata) : 0;

	if (event->schema_version != 0 && named != 0 && event->schema_version != named)
		ereport(ERROR, errcode(ATP_ERR_INVALID_METADATA), errmsg("two schema versions are named: %d and, in the metadata, %d",
																 event->schema_version, named));
	prepared->verdict = atp_schema_judge(&prepared->type, event->payload, event->schema_version != 0 ? event->schema_version : named);
	prepared->flags = (prepared->type.builtin ? ATP_RECORD_PLATFORM : 0) |
		(prepared->verdict.errors != NULL ? ATP_RECORD_VIOLATION : 0);
}

/* A repetition of an event that was admitted before is no matter of today's schema: so this comes after the look-up, where there is one. */
void
atp_prepare_refuse_violations(const AtpPrepared *prepared, int count)
{
	for (int i = 0; i < count; i++)
		if (prepared[i].verdict.errors != NULL && prepared[i].type.validation == ATP_VALIDATION_ENFORCE)
			atp_schema_refuse(&prepared[i].type, &prepared[i].verdict);
}

static void
commit_metadata(AtpPrepared *prepared)
{
	if (!atp_part_commitment(ATP_PART_METADATA, prepared->salts + ATP_SALT_SIZE, VARDATA(prepared->metadata),
							 VARSIZE(prepared->metadata) - VARHDRSZ, NULL, 0, prepared->metadata_commitment))
		hash_failed();
}

void
atp_prepare_event(const AtpEvent *event, AtpPrepared *prepared)
{
	atp_eventtype_resolve(event->event_type, &prepared->type);
	if (prepared->type.builtin && !event->platform)
		ereport(ERROR, errcode(ATP_ERR_PLATFORM_EVENT_TYPE), errmsg("event type \"%s\" belongs to the platform", prepared->type.name),
				errdetail("Its events are appended by atp when the thing happens."),
				errhint("Append an event type of your own; atp.ingest_event records an AuditEventReceived."));
	prepared->payload = atp_envelope_payload(event->payload, !event->unlimited);
	prepared->metadata = atp_envelope_metadata(event->metadata);
	judge_payload(event, prepared);
	prepared->has_occurred_at = event->has_occurred_at;
	prepared->occurred_at = event->occurred_at;
	if (event->has_occurred_at && TIMESTAMP_NOT_FINITE(event->occurred_at))
		ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE), errmsg("occurred_at must be finite"));
	prepared->given_id = event->event_id != NULL;
	if (prepared->given_id)
		prepared->event_id = *event->event_id;
	else
		atp_eventid_create(&prepared->event_id);
	atp_random_bytes(prepared->salts, sizeof(prepared->salts));
	if (!atp_part_commitment(ATP_PART_PAYLOAD, prepared->salts, VARDATA(prepared->payload),
							 VARSIZE(prepared->payload) - VARHDRSZ, NULL, 0, prepared->payload_commitment))
		hash_failed();
	prepared->unnamed = NULL;
	commit_metadata(prepared);
}

void
atp_prepare_name_stream(AtpPrepared *prepared, const AtpHead *head)
{
	if (head->version == 0 && prepared->unnamed == NULL)
	{
		prepared->unnamed = prepared->metadata;
		prepared->metadata = atp_envelope_name_stream(prepared->unnamed, head->key.name);
		commit_metadata(prepared);
	}
	else if (head->version > 0 && prepared->unnamed != NULL)
	{
		pfree(prepared->metadata);
		prepared->metadata = prepared->unnamed;
		prepared->unnamed = NULL;
		commit_metadata(prepared);
	}
}

void
atp_prepare_free(AtpPrepared *prepared)
{
	pfree(prepared->payload);
	pfree(prepared->metadata);
	if (prepared->unnamed != NULL)
		pfree(prepared->unnamed);
}

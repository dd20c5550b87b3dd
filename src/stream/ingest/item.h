/*
 * One item handed to ingestion: who did what to which resource. Taken apart and checked without ever raising: what is wrong with an
 * item becomes a list of faults, and an item with faults goes into quarantine instead of a stream.
 */
#ifndef ATP_INGEST_ITEM_H
#define ATP_INGEST_ITEM_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "record/tenant.h"
#include "stream/repeat.h"

#define ATP_INGEST_FAULTS_MAX 100	/* told of one item */

typedef struct AtpIngestFault
{
	char		code[6];		/* SQLSTATE, or SCHEMA without its terminating zero: see code_size */
	int			code_size;
	const char *location;		/* JSON pointer into the item */
	const char *keyword;		/* of the schema; empty: none concerned */
	const char *message;
} AtpIngestFault;

typedef struct AtpIngestItem
{
	const char *actor;			/* members as given; NULL: not given */
	const char *action;
	const char *resource;
	Jsonb	   *payload;
	Jsonb	   *metadata;
	const char *payload_type;
	const char *key;
	bool		has_event_id;
	pg_uuid_t	event_id;
	bool		has_occurred_at;
	TimestampTz occurred_at;

	bool		has_element;	/* it was handed in as an element of an array, and not as arguments */
	JsonbValue	element;

	const char *stream;			/* where it goes */
	List	   *faults;			/* of AtpIngestFault; NIL: it is sound so far */
	AtpReceipt	receipt;		/* of the event that it became, AuditEventReceived or AuditEventValidationFailed */
} AtpIngestItem;

/* Takes an element of an array apart and checks it. The element's bytes must outlive the item. */
extern void atp_ingest_item_read(const JsonbValue *element, AtpIngestItem *item);

/* Checks an item whose members are filled in, and says to which stream it goes. */
extern void atp_ingest_item_check(AtpIngestItem *item);

/* Adds a fault; texts are copied. `sqlstate` 0 stands for SCHEMA. Beyond ATP_INGEST_FAULTS_MAX it is dropped. */
extern void atp_ingest_item_fault(AtpIngestItem *item, int sqlstate, const char *location, const char *keyword, const char *message);

/* The payload of AuditEventReceived. */
extern Jsonb *atp_ingest_item_received(const AtpIngestItem *item, const AtpTenant *tenant, const pg_uuid_t *event_id, TimestampTz at);

/* The payload of AuditEventValidationFailed. */
extern Jsonb *atp_ingest_item_failed(const AtpIngestItem *item, const AtpTenant *tenant, const pg_uuid_t *event_id);

/* ValidationErrors alone; NULL for an item without faults. */
extern Jsonb *atp_ingest_item_errors(const AtpIngestItem *item);

#endif

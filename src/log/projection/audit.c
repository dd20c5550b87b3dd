/*
 * Rows of the audit projection; see audit.h.
 *
 * Nothing that an event holds may fail a tick: texts that go into an index are cut (atp_search_text), documents that are erased, or
 * no longer JSON, count as empty; that is for verify_log to tell.
 */
#include "log/projection/audit.h"

#include "access/table.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "core/json.h"
#include "log/projection/text.h"
#include "pg/bulk.h"
#include "pg/canonical.h"
#include "pg/compat.h"
#include "pg/relation.h"
#include "record/eventtype.h"
#include "stream/partition.h"

#define DEEPEST 10000

enum							/* columns of atp_internal.audit_event_projection */
{
	POSITION, EVENT_ID, TENANT, STREAM, STREAM_VERSION, EVENT_TYPE, OCCURRED_AT, RECORDED_AT, ACTOR, ACTION, RESOURCE, CORRELATION_ID,
	COLUMNS
};

struct AtpAudit
{
	Relation	relation;
	AtpBulk    *bulk;
	MemoryContext texts;		/* of the rows that are not written yet */
	AtpJson		json;
};

typedef struct Row				/* one that is being filled in */
{
	Datum	   *values;
	bool	   *nulls;
} Row;

/* The text of a member: a string's or a number's own, an object's by its member id; NULL (0) otherwise. */
static Datum
member_text(const AtpJson *json, const AtpJsonNode *object, const char *key)
{
	const AtpJsonNode *node = atp_json_member(json, object, key, strlen(key));

	if (node != NULL && node->type == ATP_JSON_OBJECT)
		node = atp_json_member(json, node, "id", 2);
	if (node == NULL || (node->type != ATP_JSON_STRING && node->type != ATP_JSON_NUMBER))
		return (Datum) 0;
	return atp_search_text(atp_json_bytes(json, node), node->size);
}

/* Parses a stored document; NULL: it is none. */
static const AtpJsonNode *
parse(AtpJson *json, Datum document)
{
	struct varlena *text = PG_DETOAST_DATUM_PACKED(document);
	AtpJsonLimits limits = {.max_depth = DEEPEST};
	AtpJsonError error;

	if (VARSIZE_ANY_EXHDR(text) <= 2 || !atp_json_parse(json, VARDATA_ANY(text), VARSIZE_ANY_EXHDR(text), limits, &error))
		return NULL;
	return atp_json_node(json, 0);
}

/* Events that the platform received from outside say in the payload who did what. */
static bool
is_received(int32 event_type)
{
	static int32 answered = 0;
	static uint64 generation = 0;
	static bool answer;
	AtpEventType type;

	if (event_type != answered || generation != atp_relation_generation())
	{
		answer = atp_eventtype_get(event_type, &type) && strcmp(type.name, "AuditEventReceived") == 0;
		answered = event_type;
		generation = atp_relation_generation();
	}
	return answer;
}

AtpAudit *
atp_audit_begin(bool afresh)
{
	AtpAudit   *audit = palloc0_object(AtpAudit);
	AtpBuf		buffer;

	audit->relation = table_open(atp_relation_oid(ATP_REL_AUDIT_EVENT_PROJECTION), RowExclusiveLock);
	audit->bulk = atp_bulk_begin(audit->relation);
	if (afresh)
		atp_bulk_leave_indexes(audit->bulk);
	audit->texts = AllocSetContextCreate(CurrentMemoryContext, "atp projected texts", ALLOCSET_DEFAULT_SIZES);
	atp_buf_init_palloc(&buffer, CurrentMemoryContext);
	atp_json_init(&audit->json, buffer.grow, buffer.context);
	return audit;
}

static void
set_text(const Row *row, int column, Datum text)
{
	if (text != (Datum) 0 && row->nulls[column])
	{
		row->values[column] = text;
		row->nulls[column] = false;
	}
}

/* Who, what, to what and why, from the documents. */
static void
set_texts(AtpAudit *audit, const Row *row, TupleTableSlot *event)
{
	AtpJson    *json = &audit->json;
	const Datum *values = event->tts_values;
	const AtpJsonNode *object;

	if (!event->tts_isnull[ATP_EVENT_METADATA - 1] && (object = parse(json, values[ATP_EVENT_METADATA - 1])) != NULL)
	{
		set_text(row, ACTOR, member_text(json, object, "actor"));
		set_text(row, ACTION, member_text(json, object, "action"));
		set_text(row, RESOURCE, member_text(json, object, "resource"));
		set_text(row, CORRELATION_ID, member_text(json, object, "correlation_id"));
	}
	if (!event->tts_isnull[ATP_EVENT_PAYLOAD - 1] && is_received(DatumGetInt32(values[ATP_EVENT_EVENT_TYPE - 1])) &&
		(object = parse(json, values[ATP_EVENT_PAYLOAD - 1])) != NULL)
	{
		set_text(row, ACTOR, member_text(json, object, "Actor"));
		set_text(row, ACTION, member_text(json, object, "Action"));
		set_text(row, RESOURCE, member_text(json, object, "Resource"));
	}
}

void
atp_audit_add(AtpAudit *audit, int64 log_position, TupleTableSlot *event)
{
	const Datum *values = event->tts_values;
	MemoryContext before;
	pg_uuid_t  *event_id;
	Row			row;

	if (atp_bulk_is_full(audit->bulk))
	{
		atp_bulk_write(audit->bulk);
		MemoryContextReset(audit->texts);
	}
	before = MemoryContextSwitchTo(audit->texts);
	event_id = palloc(sizeof(pg_uuid_t));
	*event_id = *DatumGetUUIDP(values[ATP_EVENT_ID - 1]);
	atp_bulk_add(audit->bulk, &row.values, &row.nulls);
	for (int i = 0; i < COLUMNS; i++)
		row.nulls[i] = i >= ACTOR;
	row.values[POSITION] = Int64GetDatum(log_position);
	row.values[EVENT_ID] = UUIDPGetDatum(event_id);
	row.values[TENANT] = values[ATP_EVENT_TENANT - 1];
	row.values[STREAM] = values[ATP_EVENT_STREAM - 1];
	row.values[STREAM_VERSION] = values[ATP_EVENT_STREAM_VERSION - 1];
	row.values[EVENT_TYPE] = values[ATP_EVENT_EVENT_TYPE - 1];
	row.values[OCCURRED_AT] = values[ATP_EVENT_OCCURRED_AT - 1];
	row.values[RECORDED_AT] = values[ATP_EVENT_RECORDED_AT - 1];
	set_texts(audit, &row, event);
	MemoryContextSwitchTo(before);
}

void
atp_audit_end(AtpAudit *audit)
{
	atp_bulk_end(audit->bulk);
	table_close(audit->relation, NoLock);
}

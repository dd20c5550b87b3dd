/* The schema registry as the append sees it; see schema.h. What registers and lists is SQL (schema.sql). */
#include "record/schema.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "pg/errors.h"
#include "pg/relation.h"

PG_FUNCTION_INFO_V1(atp_schema_changed);
PG_FUNCTION_INFO_V1(atp_schema_check);
PG_FUNCTION_INFO_V1(atp_schema_payload_errors);

#define ERRORS_TOLD 10
#define DETAIL_SIZE 4000		/* bytes after which no further error is told */

/* Columns of atp_internal.event_schema, in their order. */
enum
{
	COLUMN_SCHEMA = 1, COLUMN_EVENT_TYPE, COLUMN_VERSION, COLUMN_STATUS, COLUMN_SUNSET_AT, COLUMN_DOCUMENT
};

typedef struct VersionKey
{
	int32		event_type;
	int32		version;
} VersionKey;

typedef enum Status
{
	STATUS_DRAFT, STATUS_ACTIVE, STATUS_DEPRECATED, STATUS_RETIRED
} Status;

static const char *const status_words[] = {"draft", "active", "deprecated", "retired"};

typedef struct Version
{
	VersionKey	key;
	int32		schema;			/* surrogate key; 0: there is no such version */
	Status		status;
	TimestampTz sunset_at;		/* DT_NOEND: none */
} Version;

static int	setting_max_size = 4 * 1024 * 1024;
static HTAB *versions;
static bool stale = true;

static void
schema_relation_changed(Oid relation)
{
	stale = true;
}

static void
prepare_cache(void)
{
	static bool registered = false;
	HASHCTL		control = {.keysize = sizeof(VersionKey), .entrysize = sizeof(Version), .hcxt = CacheMemoryContext};

	if (!registered)
	{
		atp_relation_on_change(schema_relation_changed);
		registered = true;
	}
	if (!stale)
		return;
	if (versions != NULL)
		hash_destroy(versions);
	versions = NULL;
	versions = hash_create("atp schema versions", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stale = false;
}

static Status
status_of(const char *word)
{
	for (int i = 0; i < (int) lengthof(status_words); i++)
		if (strcmp(word, status_words[i]) == 0)
			return (Status) i;
	elog(ERROR, "unknown schema status \"%s\"", word);
}

/*
 * Reads the row of a version past privileges, with the newest catalog snapshot: what is cached outlives the statement. `document`
 * (NULL: not wanted) gets a copy of the schema.
 */
static void
read_version(const VersionKey *key, Version *version, Jsonb **document)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_EVENT_SCHEMA), AccessShareLock);
	TupleDesc	shape = RelationGetDescr(relation);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		null;

	memset(version, 0, sizeof(*version));
	version->key = *key;
	ScanKeyInit(&keys[0], COLUMN_EVENT_TYPE, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key->event_type));
	ScanKeyInit(&keys[1], COLUMN_VERSION, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key->version));
	scan = systable_beginscan(relation, atp_relation_oid(ATP_REL_EVENT_SCHEMA_VERSION_UNIQUE), true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Datum		sunset_at = heap_getattr(tuple, COLUMN_SUNSET_AT, shape, &null);

		version->sunset_at = null ? DT_NOEND : DatumGetTimestampTz(sunset_at);
		version->schema = DatumGetInt32(heap_getattr(tuple, COLUMN_SCHEMA, shape, &null));
		version->status = status_of(TextDatumGetCString(heap_getattr(tuple, COLUMN_STATUS, shape, &null)));
		if (document != NULL)
			*document = DatumGetJsonbPCopy(heap_getattr(tuple, COLUMN_DOCUMENT, shape, &null));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
}

static Version
find_version(int32 event_type, int32 number)
{
	VersionKey	key = {event_type, number};
	Version		version;
	Version    *entry;

	prepare_cache();
	entry = hash_search(versions, &key, HASH_FIND, NULL);
	if (entry != NULL)
		return *entry;
	read_version(&key, &version, NULL);
	if (!stale)
		*(Version *) hash_search(versions, &key, HASH_ENTER, NULL) = version;
	return version;
}

static Jsonb *
fetch_document(uint64 key, void *argument)
{
	const Version *version = argument;
	Version		found;
	Jsonb	   *document = NULL;

	read_version(&version->key, &found, &document);
	if (document == NULL || found.schema != version->schema)
		ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				errmsg("could not read the schema: its registration changed at the same time"),
				errhint("The transaction might succeed if retried."));
	return document;
}

/* The table's OID makes the key unique beyond a DROP EXTENSION and another CREATE EXTENSION in the life of the backend. */
static AtpValidator *
validator_of(Version *version)
{
	uint64		key = ((uint64) atp_relation_oid(ATP_REL_EVENT_SCHEMA) << 32) | (uint32) version->schema;

	return atp_validator_get_keyed(key, fetch_document, version);
}

static void
refuse_missing(const AtpEventType *type, int32 version)
{
	ereport(ERROR, errcode(ATP_ERR_SCHEMA_NOT_FOUND), errmsg("event type \"%s\" has no schema version %d", type->name, version),
			type->latest_version > 0 ? errdetail("Its latest version is %d.", type->latest_version)
			: errdetail("It has no schema."),
			errhint("Register it with atp.register_schema, or leave the version out."));
}

/* A version that a caller names has to be one that is in use. */
static void
require_usable(const AtpEventType *type, const Version *version)
{
	if (version->schema == 0)
		refuse_missing(type, version->key.version);
	if (version->status == STATUS_DRAFT || version->status == STATUS_RETIRED)
		ereport(ERROR, errcode(ATP_ERR_SCHEMA_STATUS_CONFLICT),
				errmsg("schema version %d of event type \"%s\" is %s", version->key.version, type->name,
					   version->status == STATUS_DRAFT ? "a draft" : "retired"),
				errdetail("The active version is %d.", type->active_version),
				version->status == STATUS_DRAFT ? errhint("Activate it with atp.set_schema_status.")
				: errhint("Write events of the active version."));
	if (version->status != STATUS_ACTIVE && version->sunset_at < GetCurrentTimestamp())
		ereport(ERROR, errcode(ATP_ERR_SCHEMA_STATUS_CONFLICT),
				errmsg("schema version %d of event type \"%s\" is deprecated and past its sunset", version->key.version, type->name),
				errdetail("The active version is %d.", type->active_version),
				errhint("Write events of the active version."));
}

AtpSchemaVerdict
atp_schema_judge(const AtpEventType *type, const Jsonb *payload, int32 named)
{
	AtpSchemaVerdict verdict = {0};
	Version		version;

	if (named == ATP_SCHEMA_ANY && (type->active_version == 0 || type->validation == ATP_VALIDATION_OFF))
		return verdict;
	if (named < 0)
		refuse_missing(type, named);
	version = find_version(type->event_type, named != ATP_SCHEMA_ANY ? named : type->active_version);
	if (named != ATP_SCHEMA_ANY)
		require_usable(type, &version);
	else if (version.schema == 0)
		elog(ERROR, "schema version %d of event type \"%s\" has vanished", type->active_version, type->name);
	if (type->validation == ATP_VALIDATION_OFF)
		return verdict;
	verdict.version = version.key.version;
	verdict.errors = atp_validator_report(validator_of(&version), payload, ERRORS_TOLD + 1);
	return verdict;
}

bool
atp_schema_is_served(const AtpEventType *type, int32 number)
{
	Version		version = find_version(type->event_type, number);

	return version.schema != 0 && (version.status == STATUS_ACTIVE ||
								   (version.status == STATUS_DEPRECATED && version.sunset_at >= GetCurrentTimestamp()));
}

static char *
errors_text(const AtpSchemaReport *errors)
{
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < errors->n; i++)
	{
		const AtpSchemaError *error = &errors->errors[i];

		if (i > 0)
			appendStringInfoChar(&text, '\n');
		if (i == ERRORS_TOLD || text.len > DETAIL_SIZE)
		{
			appendStringInfoString(&text, "Further errors are not listed.");
			break;
		}
		appendStringInfo(&text, "At \"%.*s\": %.*s (%s).", pg_mbcliplen(error->instance_location, strlen(error->instance_location), 500),
						 error->instance_location, pg_mbcliplen(error->message, strlen(error->message), 500), error->message,
						 error->keyword);
	}
	return text.data;
}

void
atp_schema_refuse(const AtpEventType *type, const AtpSchemaVerdict *verdict)
{
	ereport(ERROR, errcode(ATP_ERR_PAYLOAD_REFUSED),
			errmsg("payload is not valid against schema version %d of event type \"%s\"", verdict->version, type->name),
			errdetail("%s", errors_text(verdict->errors)),
			errhint("Correct the payload; atp.validate_payload lists all errors."));
}

void
atp_schema_init(void)
{
	DefineCustomIntVariable("atp.schema_max_size", "Largest schema that can be registered.", NULL,
							&setting_max_size, 4 * 1024 * 1024, 1024, 128 * 1024 * 1024, PGC_SUSET, GUC_UNIT_BYTE,
							NULL, NULL, NULL);
}

/* Trigger: the table changed. */
Datum
atp_schema_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

/* check_schema(schema jsonb) */
Datum
atp_schema_check(PG_FUNCTION_ARGS)
{
	Jsonb	   *schema = PG_GETARG_JSONB_P(0);

	if (VARSIZE_ANY(schema) > (Size) setting_max_size)
		ereport(ERROR, errcode(ATP_ERR_SCHEMA_TOO_LARGE), errmsg("schema is larger than %d bytes", setting_max_size),
				errdetail("It has %zu bytes.", (size_t) VARSIZE_ANY(schema)),
				errhint("Put what it repeats into $defs or documents of atp.add_schema_document, or raise atp.schema_max_size."));
	(void) atp_validator_get(schema);
	PG_RETURN_VOID();
}

/* validate_payload(event_type text, payload jsonb, schema_version int) */
Datum
atp_schema_payload_errors(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	AtpEventType type;
	Version		version;
	AtpSchemaReport *report;
	char	   *name;

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		return (Datum) 0;
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	if (!atp_eventtype_find(name, &type))
		ereport(ERROR, errcode(ATP_ERR_EVENT_TYPE_NOT_REGISTERED), errmsg("event type \"%s\" is not registered", name),
				errhint("Register it with atp.register_event_type."));
	if (PG_ARGISNULL(2) && type.active_version == 0)
		return (Datum) 0;
	version = find_version(type.event_type, PG_ARGISNULL(2) ? type.active_version : PG_GETARG_INT32(2));
	if (version.schema == 0)
		refuse_missing(&type, version.key.version);
	report = atp_validator_report(validator_of(&version), PG_GETARG_JSONB_P(1), 0);
	for (int i = 0; report != NULL && i < report->n; i++)
	{
		const AtpSchemaError *error = &report->errors[i];
		Datum		values[4] = {CStringGetTextDatum(error->instance_location), CStringGetTextDatum(error->keyword_location),
			CStringGetTextDatum(error->keyword), CStringGetTextDatum(error->message)};
		bool		nulls[4] = {false};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

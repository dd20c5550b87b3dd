/*
 * Event types; see eventtype.h.
 *
 * Cache: as record/tenant's. A type that registers itself does so in the caller's transaction: until that ends, another
 * transaction's first use of the same name waits, as two INSERTs of one key do. Once committed the name is never locked again.
 */
#include "record/eventtype.h"

#include <ctype.h>

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "pg/errors.h"
#include "pg/query.h"
#include "pg/relation.h"

PG_FUNCTION_INFO_V1(atp_eventtype_changed);
PG_FUNCTION_INFO_V1(atp_eventtype_require_name);

typedef struct ByName
{
	char		name[ATP_EVENT_TYPE_NAME_MAX + 1];
	AtpEventType type;
} ByName;

typedef struct ByKey
{
	int32		key;
	AtpEventType type;
} ByKey;

enum
{
	COLUMN_EVENT_TYPE = 1, COLUMN_NAME, COLUMN_BUILTIN, COLUMN_DESCRIPTION, COLUMN_CREATED_AT, COLUMN_OWNER, COLUMN_VALIDATION,
	COLUMN_COMPATIBILITY, COLUMN_ACTIVE_VERSION, COLUMN_LATEST_VERSION
};

typedef enum Policy
{
	POLICY_OPEN, POLICY_REGISTERED
} Policy;

static const struct config_enum_entry policies[] = {
	{"open", POLICY_OPEN, false},
	{"registered", POLICY_REGISTERED, false},
	{NULL, 0, false}
};

/* Participles that do not end in -ed, with the verbs that people name events with; sorted. */
static const char *const irregular[] = {
	"Become", "Begun", "Bent", "Bid", "Bought", "Bound", "Broadcast", "Broken", "Brought", "Built", "Burnt", "Cast", "Caught",
	"Chosen", "Cut", "Dealt", "Done", "Drawn", "Driven", "Fallen", "Felt", "Forbidden", "Forgiven", "Forgotten", "Fought",
	"Found", "Frozen", "Given", "Gone", "Got", "Grown", "Heard", "Held", "Hidden", "Hit", "Hurt", "Input", "Kept", "Known",
	"Laid", "Learnt", "Left", "Lent", "Let", "Lit", "Lost", "Made", "Meant", "Met", "Offset", "Output", "Overdrawn",
	"Overridden", "Overwritten", "Paid", "Preset", "Proven", "Put", "Quit", "Read", "Rebuilt", "Rerun", "Resent", "Reset",
	"Resold", "Rewritten", "Run", "Said", "Seen", "Sent", "Set", "Shaken", "Shot", "Shown", "Shut", "Sold", "Spent", "Split",
	"Spoken", "Spread", "Spun", "Stolen", "Stood", "Struck", "Stuck", "Swept", "Sworn", "Taken", "Taught", "Thought", "Thrown",
	"Told", "Torn", "Unbound", "Understood", "Undone", "Unfrozen", "Unset", "Upheld", "Upset", "Withdrawn", "Withheld",
	"Woken", "Won", "Worn", "Wound", "Written"
};

/* Words that end in -ed and are no participles; those in -eed are refused but for the few that are. */
static const char *const not_participles[] = {"Bed", "Embed", "Hundred", "Imbed", "Red", "Shed", "Sled", "Wed"};
static const char *const participles_in_eed[] = {"Agreed", "Decreed", "Disagreed", "Freed", "Guaranteed", "Refereed"};

static int	setting_policy = POLICY_OPEN;
static HTAB *by_name;
static HTAB *by_key;
static bool stale = true;

static bool
is_listed(const char *word, size_t size, const char *const *list, int count)
{
	for (int i = 0; i < count; i++)
		if (strlen(list[i]) == size && memcmp(list[i], word, size) == 0)
			return true;
	return false;
}

static bool
is_past_tense(const char *word, size_t size)
{
	if (is_listed(word, size, irregular, lengthof(irregular)))
		return true;
	if (size < 3 || memcmp(word + size - 2, "ed", 2) != 0)
		return false;
	if (word[size - 3] == 'e')
		return is_listed(word, size, participles_in_eed, lengthof(participles_in_eed));
	return !is_listed(word, size, not_participles, lengthof(not_participles));
}

/* Size of the name without its version suffix (V and digits). */
static size_t
size_without_version(const char *name)
{
	size_t		size = strlen(name);
	size_t		at = size;

	while (at > 0 && isdigit((unsigned char) name[at - 1]))
		at--;
	return at < size && at > 1 && name[at - 1] == 'V' && name[at] != '0' ? at - 1 : size;
}

static bool
is_pascal_case(const char *name)
{
	if (name[0] < 'A' || name[0] > 'Z')
		return false;
	for (const char *at = name; *at != '\0'; at++)
		if (IS_HIGHBIT_SET(*at) || !isalnum((unsigned char) *at))
			return false;
	return true;
}

void
atp_eventtype_require_valid(const char *name)
{
	size_t		size = size_without_version(name);
	size_t		word = size;

	if (strlen(name) > ATP_EVENT_TYPE_NAME_MAX || !is_pascal_case(name))
		ereport(ERROR, errcode(ATP_ERR_INVALID_NAME), errmsg("invalid event type name \"%s\"", name),
				errdetail("An event type is written in PascalCase: letters and digits, an upper-case letter first, at most %d.",
						  ATP_EVENT_TYPE_NAME_MAX),
				errhint("Name what happened as {Aggregate}{Action}, for example OrderPlaced or OrderPlacedV2."));
	while (word > 0 && !(name[word - 1] >= 'A' && name[word - 1] <= 'Z'))
		word--;
	if (word > 0)
		word--;
	if (!is_past_tense(name + word, size - word))
		ereport(ERROR, errcode(ATP_ERR_INVALID_NAME), errmsg("event type name \"%s\" is not in the past tense", name),
				errdetail("Its last word is \"%.*s\".", (int) (size - word), name + word),
				errhint("An event says what has happened: AuditEventReceived, not ReceiveAuditEvent or AuditEvent. "
						"Put the participle last, before a version suffix."));
}

static void
type_relation_changed(Oid relation)
{
	stale = true;
}

static void
prepare_cache(void)
{
	static bool registered = false;
	HASHCTL		control = {0};

	if (!registered)
	{
		atp_relation_on_change(type_relation_changed);
		registered = true;
	}
	if (!stale)
		return;
	if (by_name != NULL)
		hash_destroy(by_name);
	if (by_key != NULL)
		hash_destroy(by_key);
	by_name = by_key = NULL;
	control.hcxt = CacheMemoryContext;
	control.keysize = ATP_EVENT_TYPE_NAME_MAX + 1;
	control.entrysize = sizeof(ByName);
	by_name = hash_create("atp event types by name", 64, &control, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	control.keysize = sizeof(int32);
	control.entrysize = sizeof(ByKey);
	by_key = hash_create("atp event types by key", 64, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	stale = false;
}

static AtpValidation
validation_of(const char *word)
{
	return strcmp(word, "off") == 0 ? ATP_VALIDATION_OFF : strcmp(word, "record") == 0 ? ATP_VALIDATION_RECORD : ATP_VALIDATION_ENFORCE;
}

static bool
read_row(AtpRelation index, AttrNumber column, RegProcedure equal, Datum value, AtpEventType *type)
{
	Relation	relation = table_open(atp_relation_oid(ATP_REL_EVENT_TYPE), AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;
	bool		found;

	ScanKeyEntryInitialize(&key, 0, column, BTEqualStrategyNumber, InvalidOid,
						   column == COLUMN_NAME ? DEFAULT_COLLATION_OID : InvalidOid, equal, value);
	scan = systable_beginscan(relation, atp_relation_oid(index), true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple);
	if (found)
	{
		TupleDesc	shape = RelationGetDescr(relation);
		bool		null;
		char	   *string = TextDatumGetCString(heap_getattr(tuple, COLUMN_NAME, shape, &null));

		memset(type, 0, sizeof(*type));
		type->event_type = DatumGetInt32(heap_getattr(tuple, COLUMN_EVENT_TYPE, shape, &null));
		type->builtin = DatumGetBool(heap_getattr(tuple, COLUMN_BUILTIN, shape, &null));
		strlcpy(type->name, string, sizeof(type->name));
		type->validation = validation_of(TextDatumGetCString(heap_getattr(tuple, COLUMN_VALIDATION, shape, &null)));
		type->active_version = DatumGetInt32(heap_getattr(tuple, COLUMN_ACTIVE_VERSION, shape, &null));
		type->latest_version = DatumGetInt32(heap_getattr(tuple, COLUMN_LATEST_VERSION, shape, &null));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	return found;
}

static void
remember(const AtpEventType *type)
{
	bool		found;

	if (stale)
		return;
	((ByName *) hash_search(by_name, type->name, HASH_ENTER, &found))->type = *type;
	((ByKey *) hash_search(by_key, &type->event_type, HASH_ENTER, &found))->type = *type;
}

/* Adds the name; another transaction may have been first, then its row is used. */
static void
register_type(const char *name)
{
	static AtpQuery insert = {
		"INSERT INTO atp_internal.event_type (name) VALUES ($1) ON CONFLICT (name) DO NOTHING",
		1, {TEXTOID}
	};
	Datum		argument = CStringGetTextDatum(name);

	SPI_connect();
	atp_query(&insert, &argument, NULL, false, 0);
	SPI_finish();
}

bool
atp_eventtype_find(const char *name, AtpEventType *type)
{
	ByName	   *entry;

	prepare_cache();
	if (strlen(name) > ATP_EVENT_TYPE_NAME_MAX)
		return false;
	entry = hash_search(by_name, name, HASH_FIND, NULL);
	if (entry != NULL)
		*type = entry->type;
	else if (read_row(ATP_REL_EVENT_TYPE_NAME_UNIQUE, COLUMN_NAME, F_TEXTEQ, CStringGetTextDatum(name), type))
		remember(type);
	else
		return false;
	return true;
}

void
atp_eventtype_resolve(const char *name, AtpEventType *type)
{
	if (!atp_eventtype_find(name, type))
	{
		atp_eventtype_require_valid(name);
		if (setting_policy == POLICY_REGISTERED)
			ereport(ERROR, errcode(ATP_ERR_EVENT_TYPE_NOT_REGISTERED), errmsg("event type \"%s\" is not registered", name),
					errdetail("The setting atp.event_type_policy is registered."),
					errhint("Register it with atp.register_event_type."));
		register_type(name);
		if (!read_row(ATP_REL_EVENT_TYPE_NAME_UNIQUE, COLUMN_NAME, F_TEXTEQ, CStringGetTextDatum(name), type))
			elog(ERROR, "event type \"%s\" has vanished", name);
		prepare_cache();
		remember(type);
	}
}

bool
atp_eventtype_get(int32 key, AtpEventType *type)
{
	ByKey	   *entry;

	prepare_cache();
	entry = hash_search(by_key, &key, HASH_FIND, NULL);
	if (entry != NULL)
	{
		*type = entry->type;
		return true;
	}
	if (!read_row(ATP_REL_EVENT_TYPE_PK, COLUMN_EVENT_TYPE, F_INT4EQ, Int32GetDatum(key), type))
		return false;
	remember(type);
	return true;
}

void
atp_eventtype_init(void)
{
	DefineCustomEnumVariable("atp.event_type_policy", "What happens to an event of an unknown type.",
							 "open: the type registers itself; registered: the event is refused.",
							 &setting_policy, POLICY_OPEN, policies, PGC_SUSET, 0, NULL, NULL, NULL);
}

/* Trigger: the table changed. */
Datum
atp_eventtype_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called as a trigger"));
	CacheInvalidateRelcache(((TriggerData *) fcinfo->context)->tg_relation);
	return PointerGetDatum(NULL);
}

/* require_event_type_name(event_type): raises TP201 */
Datum
atp_eventtype_require_name(PG_FUNCTION_ARGS)
{
	atp_eventtype_require_valid(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

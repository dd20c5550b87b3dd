/*
 * Rows given to the view atp.ingest; see view.h.
 *
 * The trigger BEFORE STATEMENT opens a frame, the one INSTEAD OF each row adds the row to it as an item, the one AFTER STATEMENT ingests
 * what the frame holds and closes it. Statements can nest (a function in the target list of an INSERT may insert too), so
 * frames are a stack; one that an error leaves behind is dropped with its (sub)transaction, whose memory it lives in.
 */
#include "stream/ingest/view.h"

#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "core/json.h"
#include "pg/canonical.h"
#include "pg/compat.h"
#include "pg/query.h"

PG_FUNCTION_INFO_V1(atp_ingest_rows);

#define NUMBER_MAX 1000			/* characters of a number that are handed on as a number */

/* Columns of the view, in its order; the first TEXT_COLUMNS and metadata are members of the item. */
enum
{
	COLUMN_ACTOR, COLUMN_ACTION, COLUMN_RESOURCE, COLUMN_PAYLOAD, COLUMN_OCCURRED_AT, COLUMN_EVENT_ID, COLUMN_IDEMPOTENCY_KEY,
	COLUMN_PAYLOAD_TYPE, COLUMN_METADATA, COLUMN_SOURCE, COLUMN_TENANT, COLUMN_COUNT
};

static const char *const names[COLUMN_COUNT] = {
	"actor", "action", "resource", "payload", "occurred_at", "event_id", "idempotency_key", "payload_type", "metadata", "source", "tenant"
};

typedef struct Frame
{
	struct Frame *outer;
	SubTransactionId transaction;
	MemoryContext memory;		/* of the frame itself */
	MemoryContext rows;			/* of the rows gathered, reset with each batch */
	JsonbParseState *state;
	int			count;
	char	   *source;			/* of the rows gathered */
	char	   *tenant;			/* NULL: the setting's */
	bool		indistinct;		/* a row says neither when nor by which id or key: equal rows may be two acts */
} Frame;

static Frame *frames;
static int	setting_batch_size = 10000;

static void
open_frame(void)
{
	MemoryContext memory = AllocSetContextCreate(CurTransactionContext, "atp rows to ingest", ALLOCSET_DEFAULT_SIZES);
	Frame	   *frame = MemoryContextAllocZero(memory, sizeof(Frame));

	frame->memory = memory;
	frame->rows = AllocSetContextCreate(memory, "atp batch to ingest", ALLOCSET_DEFAULT_SIZES);
	frame->transaction = GetCurrentSubTransactionId();
	frame->outer = frames;
	frames = frame;
}

/* Ingests what the innermost frame holds. */
static void
flush(Frame *frame)
{
	static AtpQuery ingest = {
		"SELECT pg_catalog.count(*) FROM atp.ingest_batch($1, $2, CASE WHEN $4 THEN pg_catalog.gen_random_uuid() END, $3)",
		4, {JSONBOID, TEXTOID, TEXTOID, BOOLOID}
	};
	Datum		arguments[4];
	char		nulls[4] = {' ', ' ', ' ', ' '};
	MemoryContext before;

	if (frame->count == 0)
		return;
	before = MemoryContextSwitchTo(frame->rows);
	arguments[0] = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&frame->state, WJB_END_ARRAY, NULL)));
	arguments[1] = CStringGetTextDatum(frame->source);
	arguments[2] = frame->tenant != NULL ? CStringGetTextDatum(frame->tenant) : (Datum) 0;
	nulls[2] = frame->tenant != NULL ? ' ' : 'n';
	arguments[3] = BoolGetDatum(frame->indistinct);
	frame->count = 0;
	frame->indistinct = false;
	MemoryContextSwitchTo(before);
	SPI_connect();
	atp_query(&ingest, arguments, nulls, false, 0);
	SPI_finish();
	frame->state = NULL;
	frame->source = frame->tenant = NULL;
	MemoryContextReset(frame->rows);
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text, int size)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = size;
	pushJsonbValue(state, token, &value);
}

/* Whether jsonb takes the text: JSON by the strict parser, and no number that the type numeric could refuse. */
static bool
is_document(const char *text, int size)
{
	AtpJson		json;
	AtpJsonError error;
	AtpJsonLimits limits = {.max_depth = 1000};
	bool		fits;
	size_t		count;

	atp_json_init(&json, atp_grow_palloc, CurrentMemoryContext);
	fits = atp_json_parse(&json, text, size, limits, &error);
	count = fits ? json.nodes.size / sizeof(AtpJsonNode) : 0;
	for (size_t i = 0; i < count && fits; i++)
	{
		const AtpJsonNode *node = atp_json_node(&json, (uint32_t) i);

		if (node->type == ATP_JSON_NUMBER)
		{
			const char *digits = atp_json_bytes(&json, node);
			const char *exponent = memchr(digits, 'e', node->size);

			if (exponent == NULL)
				exponent = memchr(digits, 'E', node->size);
			fits = node->size <= NUMBER_MAX && (exponent == NULL || digits + node->size - exponent <= 5);
		}
	}
	return fits;
}

/* The document that a text is; NULL where it is none. What is needed on the way stays in the current memory context, a row's. */
static Jsonb *
document_of(const char *text)
{
	if (text == NULL || !is_document(text, strlen(text)))
		return NULL;
	return DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/* A copy of the document, which lives as long as what it is pushed to. */
static void
push_document(JsonbParseState **state, const Jsonb *document)
{
	Jsonb	   *copy = memcpy(palloc(VARSIZE(document)), document, VARSIZE(document));
	JsonbValue	value = {.type = jbvBinary};

	if (JB_ROOT_IS_SCALAR(copy))
		(void) JsonbExtractScalar(&copy->root, &value);
	else
	{
		value.val.binary.data = &copy->root;
		value.val.binary.len = VARSIZE(copy) - VARHDRSZ;
	}
	pushJsonbValue(state, WJB_VALUE, &value);
}

static bool
is_same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static void
add_row(Frame *frame, HeapTuple row, TupleDesc shape)
{
	char	   *texts[COLUMN_COUNT];
	Jsonb	   *documents[COLUMN_COUNT] = {0};
	MemoryContext before;

	for (int i = 0; i < COLUMN_COUNT; i++)
	{
		bool		null;
		Datum		value = heap_getattr(row, i + 1, shape, &null);

		texts[i] = null ? NULL : TextDatumGetCString(value);
	}
	documents[COLUMN_PAYLOAD] = document_of(texts[COLUMN_PAYLOAD]);
	documents[COLUMN_METADATA] = document_of(texts[COLUMN_METADATA]);
	if (texts[COLUMN_SOURCE] == NULL)
		texts[COLUMN_SOURCE] = "copy";
	if (frame->count >= setting_batch_size ||
		(frame->count > 0 && !(is_same(frame->source, texts[COLUMN_SOURCE]) && is_same(frame->tenant, texts[COLUMN_TENANT]))))
		flush(frame);

	before = MemoryContextSwitchTo(frame->rows);
	if (frame->count == 0)
	{
		frame->source = pstrdup(texts[COLUMN_SOURCE]);
		frame->tenant = texts[COLUMN_TENANT] == NULL ? NULL : pstrdup(texts[COLUMN_TENANT]);
		pushJsonbValue(&frame->state, WJB_BEGIN_ARRAY, NULL);
	}
	pushJsonbValue(&frame->state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < COLUMN_SOURCE; i++)
	{
		if (texts[i] == NULL)
			continue;
		push_text(&frame->state, WJB_KEY, names[i], strlen(names[i]));
		if (documents[i] != NULL)
			push_document(&frame->state, documents[i]);
		else					/* the check of the item refuses a document that is none */
			push_text(&frame->state, WJB_VALUE, pstrdup(texts[i]), strlen(texts[i]));
	}
	pushJsonbValue(&frame->state, WJB_END_OBJECT, NULL);
	frame->count++;
	if (texts[COLUMN_OCCURRED_AT] == NULL && texts[COLUMN_EVENT_ID] == NULL && texts[COLUMN_IDEMPOTENCY_KEY] == NULL)
		frame->indistinct = true;
	MemoryContextSwitchTo(before);
}

/* Trigger on the view atp.ingest: BEFORE and AFTER STATEMENT, and INSTEAD OF each row. */
Datum
atp_ingest_rows(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		ereport(ERROR, errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED), errmsg("must be called by INSERT"));
	if (TRIGGER_FIRED_BEFORE(trigger->tg_event))
	{
		open_frame();
		return PointerGetDatum(NULL);
	}
	if (frames == NULL)
		elog(ERROR, "rows for atp.ingest outside of a statement");
	if (TRIGGER_FIRED_INSTEAD(trigger->tg_event))
	{
		add_row(frames, trigger->tg_trigtuple, RelationGetDescr(trigger->tg_relation));
		return PointerGetDatum(heap_copytuple(trigger->tg_trigtuple));	/* the executor keeps the row if it gets it back */
	}
	flush(frames);
	{
		Frame	   *done = frames;

		frames = done->outer;
		MemoryContextDelete(done->memory);
	}
	return PointerGetDatum(NULL);
}

static void
end_of_transaction(XactEvent event, void *argument)
{
	frames = NULL;
}

static void
end_of_subtransaction(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (frames != NULL && frames->transaction >= mine)
			frames = frames->outer;
}

void
atp_ingest_view_init(void)
{
	DefineCustomIntVariable("atp.ingest_batch_size", "Rows of COPY into atp.ingest that make a batch.",
							"The same file with another size makes other batches, which are not recognised as a repetition.",
							&setting_batch_size, 10000, 1, 1000000, PGC_USERSET, 0, NULL, NULL, NULL);
	RegisterXactCallback(end_of_transaction, NULL);
	RegisterSubXactCallback(end_of_subtransaction, NULL);
}

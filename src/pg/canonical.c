/*
 * The canonical form of a jsonb; see canonical.h.
 *
 * The walker reads JEntry arrays directly instead of through JsonbIterator, which copies every node and allocates for
 * every level: in an append this is the largest piece of work besides the insert itself. It relies on the stored format
 * that utils/jsonb.h lays down: the JEntrys of all children (of an object: all keys, then all values), then their bytes
 * in the same order, numbers and containers aligned to 4 bytes.
 *
 * jsonb orders the keys of an object by length and bytes, so every object is sorted again. Numbers of ordinary size are
 * written from numeric's stored base-10000 digits, all others through numeric_out.
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "core/json.h"
#include "pg/canonical.h"
#include "pg/compat.h"
#include "pg/errors.h"

/* Nesting that canonical_json_text takes: more than the stack lets a jsonb have, by default. */
#define TEXT_MAX_DEPTH 10000

/*
 * numeric's short form on disk (utils/adt/numeric.c; unchanged since 9.1 and kept by pg_upgrade): a 16-bit header, then
 * int16 digits in base 10000, the first worth 10000^weight, zeros at the end left off.
 */
#define NUMERIC_FORM_MASK 0xC000
#define NUMERIC_FORM_SHORT 0x8000
#define NUMERIC_SHORT_NEGATIVE 0x2000
#define NUMERIC_SHORT_WEIGHT_SIGN 0x0040	/* worth -64: two's complement of 7 bits with the next */
#define NUMERIC_SHORT_WEIGHT 0x003F

typedef struct Walker
{
	AtpBuf	   *out;
	AtpCanonProfile profile;
} Walker;

static void write_value(Walker *walker, JEntry entry, const char *base, uint32 start, uint32 end);

void *
atp_grow_palloc(void *context, void *memory, size_t size)
{
	return memory == NULL ? MemoryContextAllocHuge((MemoryContext) context, size) : repalloc_huge(memory, size);
}

void
atp_buf_init_palloc(AtpBuf *buf, MemoryContext context)
{
	atp_buf_init(buf, atp_grow_palloc, context);
}

static void
check_encoding(void)
{
	if (GetDatabaseEncoding() != PG_UTF8)
		ereport(ERROR, errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				errmsg("canonical JSON needs a database in UTF8"),
				errdetail("The encoding of this database is %s.", GetDatabaseEncodingName()));
}

/*
 * Writes a number that has up to four base-10000 digits and none but zeros left off, straight from them; false: it is another. That is
 * most numbers of most documents, at a fraction of the cost of numeric_out.
 */
static bool
write_short_number(Walker *walker, Numeric number)
{
	const uint16 *data = (const uint16 *) VARDATA_ANY(number);
	int			count = VARSIZE_ANY_EXHDR(number) / sizeof(uint16) - 1;
	int			weight = (data[0] & NUMERIC_SHORT_WEIGHT) - (data[0] & NUMERIC_SHORT_WEIGHT_SIGN);
	uint64		whole = 0;
	char		text[MAXINT8LEN + 24];
	int			length = 0;

	if ((data[0] & NUMERIC_FORM_MASK) != NUMERIC_FORM_SHORT || count > 4 || weight > 3 || weight < -1)
		return false;
	for (int i = 0; i <= weight; i++)
		whole = whole * 10000 + (i < count ? data[1 + i] : 0);
	if ((data[0] & NUMERIC_SHORT_NEGATIVE) != 0)
		text[length++] = '-';
	length += pg_ulltoa_n(whole, text + length);
	if (count > weight + 1)
	{
		text[length++] = '.';
		for (int i = weight + 1; i < count; i++, length += 4)
			pg_ultostr_zeropad(text + length, data[1 + i], 4);
	}
	return atp_canon_number(walker->out, walker->profile, text, length);
}

static void
write_number(Walker *walker, Numeric number)
{
	char	   *text;

	if (write_short_number(walker, number))
		return;
	text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
	if (!atp_canon_number(walker->out, walker->profile, text, strlen(text)))
		ereport(ERROR, errcode(ATP_ERR_INVALID_JSON),
				errmsg("number is outside the range of an IEEE double"),
				errdetail("RFC 8785 writes numbers as IEEE doubles."),
				errhint("Use the exact profile, or keep the number as a string."));
	pfree(text);
}

/* Where the bytes of a node that starts at `start` end. */
static inline uint32
node_end(JEntry entry, uint32 start)
{
	JBE_ADVANCE_OFFSET(start, entry);
	return start;
}

static void
write_array(Walker *walker, const JsonbContainer *array)
{
	AtpBuf	   *out = walker->out;
	uint32		count = JsonContainerSize(array);
	const char *base = (const char *) (array->children + count);
	uint32		at = 0;

	atp_buf_byte(out, '[');
	for (uint32 i = 0; i < count; i++)
	{
		uint32		start = at;

		at = node_end(array->children[i], start);
		if (i > 0)
			atp_buf_byte(out, ',');
		write_value(walker, array->children[i], base, start, at);
	}
	atp_buf_byte(out, ']');
}

static void
write_object(Walker *walker, const JsonbContainer *object)
{
	AtpBuf	   *out = walker->out;
	uint32		count = JsonContainerSize(object);
	const JEntry *values = object->children + count;
	const char *base = (const char *) (values + count);
	AtpCanonKey few_keys[ATP_CANON_SORT_IN_PLACE];
	uint32		few_starts[ATP_CANON_SORT_IN_PLACE];
	AtpCanonKey *keys = few_keys;
	uint32	   *starts = few_starts;
	AtpCanonKey *spare = NULL;
	uint32		at = 0;

	if (count > ATP_CANON_SORT_IN_PLACE)
	{
		keys = palloc_extended((2 * sizeof(*keys) + sizeof(*starts)) * (Size) count, MCXT_ALLOC_HUGE);
		spare = keys + count;
		starts = (uint32 *) (spare + count);
	}
	for (uint32 i = 0; i < count; i++)
	{
		uint32		end = node_end(object->children[i], at);

		atp_canon_key(&keys[i], base + at, end - at, i);
		at = end;
	}
	for (uint32 i = 0; i < count; i++)
	{
		starts[i] = at;
		at = node_end(values[i], at);
	}
	atp_canon_sort_keys(keys, count, spare);

	if (count == 0)
		atp_buf_byte(out, '{');
	for (uint32 i = 0; i < count; i++)
	{
		uint32		member = keys[i].index;

		atp_canon_name(out, i == 0 ? '{' : ',', keys[i].utf8, keys[i].size);
		write_value(walker, values[member], base, starts[member], node_end(values[member], starts[member]));
	}
	atp_buf_byte(out, '}');
	if (keys != few_keys)
		pfree(keys);
}

static void
write_container(Walker *walker, const JsonbContainer *container)
{
	check_stack_depth();
	CHECK_FOR_INTERRUPTS();
	if (JsonContainerIsObject(container))
		write_object(walker, container);
	else
		write_array(walker, container);
}

/* A child whose bytes, with the padding before them, are base[start .. end). */
static void
write_value(Walker *walker, JEntry entry, const char *base, uint32 start, uint32 end)
{
	switch (entry & JENTRY_TYPEMASK)
	{
		case JENTRY_ISSTRING:
			atp_canon_string(walker->out, base + start, end - start);
			break;
		case JENTRY_ISNUMERIC:
			write_number(walker, (Numeric) (base + INTALIGN(start)));
			break;
		case JENTRY_ISBOOL_FALSE:
			atp_buf_append(walker->out, "false", 5);
			break;
		case JENTRY_ISBOOL_TRUE:
			atp_buf_append(walker->out, "true", 4);
			break;
		case JENTRY_ISNULL:
			atp_buf_append(walker->out, "null", 4);
			break;
		case JENTRY_ISCONTAINER:
			write_container(walker, (const JsonbContainer *) (base + INTALIGN(start)));
			break;
		default:
			elog(ERROR, "invalid jsonb entry %08x", entry);
	}
}

void
atp_canonical_container(const JsonbContainer *container, AtpCanonProfile profile, AtpBuf *out)
{
	Walker		walker = {out, profile};

	check_encoding();
	if (JsonContainerIsScalar(container))
		write_value(&walker, container->children[0], (const char *) (container->children + 1), 0,
					node_end(container->children[0], 0));
	else
		write_container(&walker, container);
}

void
atp_canonical_jsonb(Jsonb *in, AtpCanonProfile profile, AtpBuf *out)
{
	atp_canonical_container(&in->root, profile, out);
}

static int
container_depth(const JsonbContainer *container, int limit)
{
	uint32		count = JsonContainerSize(container) * (JsonContainerIsObject(container) ? 2 : 1);
	const char *base = (const char *) (container->children + count);
	uint32		start = 0;
	int			deepest = 0;

	check_stack_depth();
	for (uint32 i = 0; i < count && deepest < limit; i++)
	{
		if (JBE_ISCONTAINER(container->children[i]))
		{
			int			depth = container_depth((const JsonbContainer *) (base + INTALIGN(start)), limit - 1);

			deepest = Max(deepest, depth);	/* Max evaluates its arguments twice */
		}
		start = node_end(container->children[i], start);
	}
	return deepest + 1;
}

int
atp_jsonb_depth(Jsonb *in, int limit)
{
	return JsonContainerIsScalar(&in->root) ? 0 : container_depth(&in->root, limit);
}

static AtpCanonProfile
profile_of(text *name)
{
	const char *data = VARDATA_ANY(name);
	int			size = VARSIZE_ANY_EXHDR(name);

	if (size == 5 && memcmp(data, "exact", 5) == 0)
		return ATP_CANON_EXACT;
	if (size == 7 && memcmp(data, "rfc8785", 7) == 0)
		return ATP_CANON_RFC8785;
	ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			errmsg("unknown profile of canonical JSON"),
			errhint("Profiles are \"exact\" and \"rfc8785\"."));
}

/* The result is written in place behind its own header. */
static void
begin_text(AtpBuf *out)
{
	atp_buf_init_palloc(out, CurrentMemoryContext);
	atp_buf_append(out, "\0\0\0\0", VARHDRSZ);
}

static text *
end_text(AtpBuf *out)
{
	if (!AllocSizeIsValid(out->size))
		ereport(ERROR, errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				errmsg("canonical JSON is too large for a value of type text"));
	SET_VARSIZE(out->data, out->size);
	return (text *) out->data;
}

PG_FUNCTION_INFO_V1(atp_canonical_json);
PG_FUNCTION_INFO_V1(atp_canonical_json_text);

Datum
atp_canonical_json(PG_FUNCTION_ARGS)
{
	Jsonb	   *document = PG_GETARG_JSONB_P(0);
	AtpCanonProfile profile = PG_NARGS() > 1 ? profile_of(PG_GETARG_TEXT_PP(1)) : ATP_CANON_EXACT;
	AtpBuf		out;

	begin_text(&out);
	atp_canonical_jsonb(document, profile, &out);
	PG_RETURN_TEXT_P(end_text(&out));
}

Datum
atp_canonical_json_text(PG_FUNCTION_ARGS)
{
	text	   *document = PG_GETARG_TEXT_PP(0);
	AtpCanonProfile profile = profile_of(PG_GETARG_TEXT_PP(1));
	AtpJsonLimits limits = {.max_depth = TEXT_MAX_DEPTH};
	AtpJsonError error;
	AtpJson		json;
	AtpBuf		out;

	check_encoding();
	begin_text(&out);
	atp_json_init(&json, atp_grow_palloc, CurrentMemoryContext);
	if (!atp_json_parse(&json, VARDATA_ANY(document), VARSIZE_ANY_EXHDR(document), limits, &error) ||
		!atp_json_canonical(&json, profile, &out, &error))
		ereport(ERROR, errcode(ATP_ERR_INVALID_JSON),
				errmsg("invalid JSON: %s", atp_json_reason(error.code)),
				errdetail("At byte %zu of the text.", error.offset));
	PG_RETURN_TEXT_P(end_text(&out));
}

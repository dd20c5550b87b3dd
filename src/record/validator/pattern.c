/*
 * Patterns: compiled once, matched within limits.
 *
 * A pattern and its memory belong to the context that is current at its compilation; a reset callback frees what PCRE2
 * holds outside (the code of the just-in-time compiler). That compiler runs at a pattern's 16th use: a validator that
 * is used once does not pay it.
 *
 * A hostile pattern ends in an error of atp, never in a hang: PCRE2 limits the steps from one starting place, and a
 * text of more than WINDOW bytes is tried WINDOW starting places at a time, with a look at interrupts and at the clock
 * between them. (The limit of PCRE2 alone would bound nothing: it starts anew at each place.)
 */
#include "postgres.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "portability/instr_time.h"
#include "utils/memutils.h"

#include "pg/errors.h"
#include "record/validator/ecma.h"
#include "record/validator/pattern.h"

#define PATTERN_MAX_BYTES	(64 * 1024)
#define JIT_AFTER_USES		16
#define JIT_STACK_MAX		(1024 * 1024)
#define HEAP_LIMIT_KB		(20 * 1024)
#define WINDOW				256
#define STEPS_PER_START		100000
#define SECONDS_PER_MATCH	1.0

struct AtpPattern
{
	pcre2_code *code;
	uint32		uses;
};

/* Once per backend: the memory for a match, and its limits. */
static pcre2_match_data *match_data = NULL;
static pcre2_match_context *match_context = NULL;

static void *
pattern_malloc(PCRE2_SIZE size, void *context)
{
	return MemoryContextAllocExtended((MemoryContext) context, size, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_HUGE);
}

static void
pattern_free(void *block, void *context)
{
	if (block)
		pfree(block);
}

static void
pattern_reset(void *arg)
{
	AtpPattern *pattern = arg;

	pcre2_code_free(pattern->code);
	pattern->code = NULL;
}

static void
pattern_out_of_memory(void)
{
	ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory"), errdetail("PCRE2 could not allocate.")));
}

static void
prepare_matching(void)
{
	pcre2_general_context *general;
	pcre2_jit_stack *stack;

	if (match_data)
		return;
	general = pcre2_general_context_create(pattern_malloc, pattern_free, TopMemoryContext);
	if (general)
		match_context = pcre2_match_context_create(general);
	if (match_context == NULL)
		pattern_out_of_memory();
	pcre2_set_heap_limit(match_context, HEAP_LIMIT_KB);
	stack = pcre2_jit_stack_create(32 * 1024, JIT_STACK_MAX, NULL);
	if (stack)
		pcre2_jit_stack_assign(match_context, NULL, stack);
	match_data = pcre2_match_data_create(1, general);
	if (match_data == NULL)
		pattern_out_of_memory();
}

/* Compiles a translated pattern into context memory. NULL: *error is a palloc'd reason. */
static pcre2_code *
compile_translated(const char *translated, const char **error)
{
	pcre2_general_context *general = pcre2_general_context_create(pattern_malloc, pattern_free, CurrentMemoryContext);
	pcre2_compile_context *context = general ? pcre2_compile_context_create(general) : NULL;
	pcre2_code *code;
	int			code_error;
	PCRE2_SIZE	offset;

	if (context == NULL)
		pattern_out_of_memory();
	code = pcre2_compile((PCRE2_SPTR) translated, strlen(translated),
						 PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF |
						 PCRE2_NEVER_BACKSLASH_C | PCRE2_USE_OFFSET_LIMIT,
						 &code_error, &offset, context);
	pcre2_compile_context_free(context);
	pcre2_general_context_free(general);
	if (code == NULL)
	{
		char	   *message = palloc(256);

		pcre2_get_error_message(code_error, (PCRE2_UCHAR *) message, 256);
		*error = message;
	}
	return code;
}

/* A pattern of compiled code, freed with the current memory context. */
static AtpPattern *
make_pattern(pcre2_code *code)
{
	AtpPattern *result = palloc0(sizeof(AtpPattern));
	MemoryContextCallback *callback = palloc0(sizeof(MemoryContextCallback));

	result->code = code;
	callback->func = pattern_reset;
	callback->arg = result;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, callback);
	return result;
}

/* Compiles a pattern into the current memory context. NULL: *error says why. */
AtpPattern *
atp_pattern_compile(const char *pattern, int len, const char **error)
{
	pcre2_code *code;
	char	   *translated;

	if (len > PATTERN_MAX_BYTES)
	{
		*error = "it is longer than 64 kB";
		return NULL;
	}
	translated = atp_ecma_translate(pattern, len, false, error);
	if (translated == NULL)
		return NULL;
	code = compile_translated(translated, error);
	pfree(translated);
	return code ? make_pattern(code) : NULL;
}

/* Compiles a pattern of our own, which is in PCRE2's syntax, into the current memory context. */
AtpPattern *
atp_pattern_compile_pcre(const char *pattern)
{
	const char *error;
	pcre2_code *code = compile_translated(pattern, &error);

	if (code == NULL)
		elog(ERROR, "built-in pattern does not compile: %s", error);
	return make_pattern(code);
}

/* Is the text a regular expression of ECMA-262 (format regex)? */
bool
atp_pattern_is_valid(const char *pattern, int len)
{
	const char *error;
	char	   *translated;
	pcre2_code *code;

	if (len > PATTERN_MAX_BYTES)
		return false;
	translated = atp_ecma_translate(pattern, len, true, &error);
	if (translated == NULL)
		return false;
	code = compile_translated(translated, &error);
	pfree(translated);
	if (code == NULL)
		return false;
	pcre2_code_free(code);
	return true;
}

/* Starts a match at places from start to limit. */
static int
match_from(AtpPattern *pattern, const char *text, int len, int start, PCRE2_SIZE limit)
{
	int			result;

	pcre2_set_offset_limit(match_context, limit);
	result = pcre2_match(pattern->code, (PCRE2_SPTR) text, (PCRE2_SIZE) len, (PCRE2_SIZE) start, PCRE2_NO_UTF_CHECK,
						 match_data, match_context);
	if (result == PCRE2_ERROR_JIT_STACKLIMIT)
		result = pcre2_match(pattern->code, (PCRE2_SPTR) text, (PCRE2_SIZE) len, (PCRE2_SIZE) start,
							 PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match_data, match_context);
	return result;
}

/* Matches a long text window by window. */
static int
match_long(AtpPattern *pattern, const char *text, int len)
{
	instr_time	begun,
				now;

	INSTR_TIME_SET_CURRENT(begun);
	for (int start = 0; start <= len;)
	{
		int			limit = Min(start + WINDOW, len);
		int			result;

		while (limit < len && IS_HIGHBIT_SET(text[limit]) && !(text[limit] & 0x40))
			limit++;
		result = match_from(pattern, text, len, start, (PCRE2_SIZE) limit);
		if (result != PCRE2_ERROR_NOMATCH || limit == len)
			return result;
		start = limit + pg_utf_mblen((const unsigned char *) text + limit);
		CHECK_FOR_INTERRUPTS();
		INSTR_TIME_SET_CURRENT(now);
		INSTR_TIME_SUBTRACT(now, begun);
		if (INSTR_TIME_GET_DOUBLE(now) > SECONDS_PER_MATCH)
			return PCRE2_ERROR_MATCHLIMIT;
	}
	return PCRE2_ERROR_NOMATCH;
}

/* Does the pattern match anywhere in the text (UTF-8)? Raises TP214 when a limit is reached. */
bool
atp_pattern_match(AtpPattern *pattern, const char *text, int len)
{
	int			result;

	prepare_matching();
	if (++pattern->uses == JIT_AFTER_USES)
		(void) pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE); /* where it is refused, the interpreter goes on */
	pcre2_set_match_limit(match_context, STEPS_PER_START + 4 * (uint32) len);
	result = len <= WINDOW ? match_from(pattern, text, len, 0, PCRE2_UNSET) : match_long(pattern, text, len);
	if (result >= 0)
		return true;
	switch (result)
	{
		case PCRE2_ERROR_NOMATCH:
			return false;
		case PCRE2_ERROR_MATCHLIMIT:
		case PCRE2_ERROR_DEPTHLIMIT:
		case PCRE2_ERROR_HEAPLIMIT:
		case PCRE2_ERROR_JIT_STACKLIMIT:
			ereport(ERROR,
					(errcode(ATP_ERR_PATTERN_LIMIT),
					 errmsg("a pattern of the schema takes too many steps on a value of %d bytes", len),
					 errhint("Write the pattern so that it does not try the same text in many ways.")));
			break;
		case PCRE2_ERROR_NOMEMORY:
			pattern_out_of_memory();
			break;
		default:
			elog(ERROR, "pcre2_match failed: %d", result);
	}
	return false;
}

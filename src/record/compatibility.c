/*
 * Compatibility of schemas by mode. BACKWARD: every instance that old accepts, new accepts. FORWARD is the same the other way
 * round, FULL both. A pair of schemas has no history: _TRANSITIVE says how many pairs the registry asks about.
 */
#include "record/compatibility.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "pg/errors.h"
#include "record/compatibility/contain.h"
#include "record/validator.h"

PG_FUNCTION_INFO_V1(atp_compatibility_schema_compatibility);
PG_FUNCTION_INFO_V1(atp_compatibility_schema_differences);

typedef struct ModeParts
{
	bool		backward;
	bool		forward;
	bool		lenient;
} ModeParts;

static bool
ends_in(const char *word, size_t *size, const char *suffix)
{
	size_t		len = strlen(suffix);

	if (*size <= len || memcmp(word + *size - len, suffix, len) != 0)
		return false;
	*size -= len;
	return true;
}

static ModeParts
parse_mode(const char *word)
{
	size_t		size = strlen(word);
	ModeParts		mode = {.lenient = !ends_in(word, &size, "_STRICT")};

	if (mode.lenient)
		(void) ends_in(word, &size, "_LENIENT");
	if (strcmp(word, "NONE") == 0)
		return mode;
	(void) ends_in(word, &size, "_TRANSITIVE");
	mode.backward = (size == 8 && memcmp(word, "BACKWARD", 8) == 0) || (size == 4 && memcmp(word, "FULL", 4) == 0);
	mode.forward = (size == 7 && memcmp(word, "FORWARD", 7) == 0) || (size == 4 && memcmp(word, "FULL", 4) == 0);
	if (!mode.backward && !mode.forward)
		ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("unknown compatibility mode \"%s\"", word),
				errhint("NONE, BACKWARD, FORWARD or FULL, with _TRANSITIVE, then _STRICT, where wanted."));
	return mode;
}

static List *
compare(const AtpTree *from, const AtpTree *to, const char *from_name, const char *to_name, bool lenient)
{
	AtpContainment containment = {.from = from_name, .to = to_name, .lenient = lenient};

	if (!atp_contained(from->root, to->root, &containment) && containment.differences == NIL)
		elog(ERROR, "a difference between schemas has no name");
	return containment.differences;
}

typedef struct Held				/* a validator that stays until the memory context ends, by an error too */
{
	MemoryContextCallback callback;
	AtpValidator *validator;
} Held;

static void
release(void *argument)
{
	atp_validator_release(((Held *) argument)->validator);
}

static const AtpTree *
hold(const Jsonb *schema)
{
	Held	   *held = palloc0(sizeof(Held));

	held->validator = atp_validator_get(schema);
	atp_validator_hold(held->validator);
	held->callback.func = release;
	held->callback.arg = held;
	MemoryContextRegisterResetCallback(CurrentMemoryContext, &held->callback);
	return atp_validator_tree(held->validator);
}

/* Copies differences into the current memory context. */
static List *
copy_differences(const List *differences)
{
	List	   *copies = NIL;
	ListCell   *cell;

	foreach(cell, differences)
	{
		const AtpDifference *difference = lfirst(cell);
		AtpDifference *copy = palloc(sizeof(AtpDifference));

		*copy = (AtpDifference) {pstrdup(difference->location), difference->kind, pstrdup(difference->why)};
		copies = lappend(copies, copy);
	}
	return copies;
}

List *
atp_compatibility_differences(const Jsonb *old, const Jsonb *new, const char *mode_word)
{
	static const AtpDifference dynamic = {"", "undecided",
		"not proved: schemas with $dynamicRef or $recursiveRef are compatible only where they are equal"};
	ModeParts		mode = parse_mode(mode_word);
	MemoryContext work = AllocSetContextCreate(CurrentMemoryContext, "atp schema compatibility", ALLOCSET_DEFAULT_SIZES);
	MemoryContext before = MemoryContextSwitchTo(work);
	const AtpTree *old_tree = hold(old);
	const AtpTree *new_tree = hold(new);
	List	   *differences = NIL;

	if ((mode.backward || mode.forward) && (old_tree->n_dynamic > 0 || new_tree->n_dynamic > 0))
	{
		if (VARSIZE(old) != VARSIZE(new) || memcmp(old, new, VARSIZE(old)) != 0)
			differences = list_make1(unconstify(AtpDifference *, &dynamic));
	}
	else
	{
		if (mode.backward)
			differences = compare(old_tree, new_tree, "the old schema", "the new schema", mode.lenient);
		if (mode.forward)
			differences = list_concat(differences, compare(new_tree, old_tree, "the new schema", "the old schema", mode.lenient));
	}
	MemoryContextSwitchTo(before);
	differences = copy_differences(differences);
	MemoryContextDelete(work);
	return differences;
}

/* schema_compatibility(old jsonb, new jsonb, mode text) */
Datum
atp_compatibility_schema_compatibility(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(atp_compatibility_differences(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1),
												 text_to_cstring(PG_GETARG_TEXT_PP(2))) == NIL);
}

/* schema_differences(old jsonb, new jsonb, mode text) */
Datum
atp_compatibility_schema_differences(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, atp_compatibility_differences(PG_GETARG_JSONB_P(0), PG_GETARG_JSONB_P(1), text_to_cstring(PG_GETARG_TEXT_PP(2))))
	{
		const AtpDifference *difference = lfirst(cell);
		Datum		values[3] = {CStringGetTextDatum(difference->location), CStringGetTextDatum(difference->kind),
			CStringGetTextDatum(difference->why)};
		bool		nulls[3] = {false};

		CHECK_FOR_INTERRUPTS();
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}

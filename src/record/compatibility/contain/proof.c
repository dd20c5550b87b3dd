/* The proof of containment: how differences are told. */
#include "record/compatibility/contain/proof.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#define DIFFERENCES_MAX 1000

bool
atp_proof_tell(AtpProof *proof, const AtpWhere *where, const char *kind, const char *format,...)
{
	AtpDifference *difference;
	StringInfoData why;

	ListCell   *cell;

	if (proof->quiet || list_length(proof->containment->differences) >= DIFFERENCES_MAX)
		return false;
	initStringInfo(&why);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&why, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&why, needed);
	}
	difference = palloc(sizeof(AtpDifference));
	*difference = (AtpDifference) {atp_where_text(where), kind, why.data};
	foreach(cell, proof->containment->differences)
	{
		const AtpDifference *told = lfirst(cell);

		if (strcmp(told->location, difference->location) == 0 && strcmp(told->why, difference->why) == 0)
			return false;
	}
	proof->containment->differences = lappend(proof->containment->differences, difference);
	return false;
}

const char *
atp_proof_number_text(Numeric number)
{
	return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(number)));
}

const char *
atp_proof_mask_text(int mask)
{
	static const struct
	{
		int			type;
		const char *name;
	}			names[] = {{ATP_JSON_NULL, "null"}, {ATP_JSON_BOOLEAN, "boolean"}, {ATP_JSON_INTEGER, "integer"},
	{ATP_JSON_NUMBER, "number"}, {ATP_JSON_STRING, "string"}, {ATP_JSON_ARRAY, "array"}, {ATP_JSON_OBJECT, "object"}};
	StringInfoData text;

	initStringInfo(&text);
	for (int i = 0; i < (int) lengthof(names); i++)
		if ((mask & names[i].type) && !(names[i].type == ATP_JSON_INTEGER && (mask & ATP_JSON_NUMBER)))
			appendStringInfo(&text, "%s%s", text.len > 0 ? ", " : "", names[i].name);
	return text.data;
}

const char *
atp_proof_value_text(const AtpJson *value)
{
	switch (value->type)
	{
		case ATP_JSON_NULL:
			return "null";
		case ATP_JSON_BOOLEAN:
			return value->len ? "true" : "false";
		case ATP_JSON_NUMBER:
			return atp_proof_number_text(value->number);
		case ATP_JSON_STRING:
			return psprintf("\"%.*s\"", Min(value->len, 200), value->string);
		case ATP_JSON_ARRAY:
			return "an array";
		default:
			return "an object";
	}
}

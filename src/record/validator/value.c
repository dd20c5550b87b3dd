/*
 * JSON values inside jsonb: access, order by value, and the numeric questions that the keywords ask.
 *
 * The order of atp_json_compare is total and any: it exists for equality (1 equals 1.0, members have no order) and to
 * sort. Numbers stay numeric throughout; no double is ever made of one.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "record/validator/value.h"

/* Arrays up to this length are searched for equal items pair by pair; longer ones are sorted. */
#define UNIQUE_PAIRWISE_MAX 8

/* The value of a whole document. */
AtpJson
atp_json_root(const Jsonb *document)
{
	AtpJson		root;

	root.container = &document->root;
	root.len = (int) JsonContainerSize(root.container);
	root.type = JsonContainerIsObject(root.container) ? ATP_JSON_OBJECT : ATP_JSON_ARRAY;
	if (JsonContainerIsScalar(root.container))
		(void) atp_json_item(&root, 0, &root);
	return root;
}

/* Finds a member by binary search. */
bool
atp_value_member(const AtpJson *object, const char *key, int key_len, AtpJson *value)
{
	const JsonbContainer *container = object->container;
	int			count = object->len;
	const char *base = (const char *) &container->children[2 * count];
	int			low = 0;
	int			high = count;

	while (low < high)
	{
		int			middle = low + (high - low) / 2;
		int			order = atp_json_key_compare(base + getJsonbOffset(container, middle),
												 (int) getJsonbLength(container, middle), key, key_len);

		if (order == 0)
		{
			uint32		start = getJsonbOffset(container, count + middle);

			atp_json_read(base, container->children[count + middle], start,
						  start + getJsonbLength(container, count + middle), value);
			return true;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

/* The item at an index. */
bool
atp_json_item(const AtpJson *array, int index, AtpJson *item)
{
	const JsonbContainer *container = array->container;
	const char *base = (const char *) &container->children[array->len];
	uint32		start;

	if (index < 0 || index >= array->len)
		return false;
	start = getJsonbOffset(container, index);
	atp_json_read(base, container->children[index], start, start + getJsonbLength(container, index), item);
	return true;
}

/* Compares two containers of the same type and size. */
static int
compare_containers(const AtpJson *a, const AtpJson *b)
{
	AtpJsonCursor ca,
				cb;
	AtpJson		va,
				vb;
	int			order = 0;

	check_stack_depth();
	atp_json_open(&ca, a);
	atp_json_open(&cb, b);
	if (a->type == ATP_JSON_ARRAY)
	{
		while (order == 0 && atp_json_next_item(&ca, &va) && atp_json_next_item(&cb, &vb))
			order = atp_json_compare(&va, &vb);
		return order;
	}
	while (order == 0)
	{
		const char *ka,
				   *kb;
		int			la,
					lb;

		if (!atp_json_next_member(&ca, &ka, &la, &va) || !atp_json_next_member(&cb, &kb, &lb, &vb))
			break;
		order = atp_json_key_compare(ka, la, kb, lb);
		if (order == 0)
			order = atp_json_compare(&va, &vb);
	}
	return order;
}

/* A total order of JSON values in which equal values, and only they, are equal. */
int
atp_json_compare(const AtpJson *a, const AtpJson *b)
{
	CHECK_FOR_INTERRUPTS();
	if (a->type != b->type)
		return a->type < b->type ? -1 : 1;
	switch (a->type)
	{
		case ATP_JSON_NUMBER:
			return atp_numeric_compare(a->number, b->number);
		case ATP_JSON_STRING:
			return atp_json_key_compare(a->string, a->len, b->string, b->len);
		case ATP_JSON_ARRAY:
		case ATP_JSON_OBJECT:
			if (a->len != b->len)
				return a->len < b->len ? -1 : 1;
			return compare_containers(a, b);
		default:
			return a->len - b->len;
	}
}

typedef struct IndexedItem
{
	AtpJson		value;
	int			index;
} IndexedItem;

static int
compare_indexed(const void *a, const void *b)
{
	return atp_json_compare(&((const IndexedItem *) a)->value, &((const IndexedItem *) b)->value);
}

/* Is each item of the array different from the others? If not, two equal ones are named. */
bool
atp_json_items_unique(const AtpJson *array, int *first, int *second)
{
	AtpJsonCursor cursor;
	IndexedItem small[UNIQUE_PAIRWISE_MAX];
	IndexedItem *items = array->len <= UNIQUE_PAIRWISE_MAX
		? small
		: palloc_extended(sizeof(IndexedItem) * (Size) array->len, MCXT_ALLOC_HUGE);
	bool		unique = true;
	int			n = 0;

	atp_json_open(&cursor, array);
	while (n < array->len && atp_json_next_item(&cursor, &items[n].value))
	{
		items[n].index = n;
		for (int i = 0; array->len <= UNIQUE_PAIRWISE_MAX && unique && i < n; i++)
			if (atp_json_compare(&items[i].value, &items[n].value) == 0)
			{
				*first = i;
				*second = n;
				unique = false;
			}
		n++;
	}
	if (items == small)
		return unique;

	qsort(items, (size_t) n, sizeof(IndexedItem), compare_indexed);
	for (int i = 1; unique && i < n; i++)
		if (atp_json_compare(&items[i - 1].value, &items[i].value) == 0)
		{
			*first = Min(items[i - 1].index, items[i].index);
			*second = Max(items[i - 1].index, items[i].index);
			unique = false;
		}
	pfree(items);
	return unique;
}

/* Is the value integral, as 1.0 is? */
bool
atp_numeric_is_integer(Numeric number)
{
	if (DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(number))) == 0)
		return true;
	return DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(number))) == 0;
}

int
atp_numeric_compare(Numeric a, Numeric b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Is the number a multiple of the divisor, which is greater than zero? Exact: numeric remainder. */
bool
atp_numeric_is_multiple(Numeric number, Numeric divisor)
{
	Datum		remainder = DirectFunctionCall2(numeric_mod, NumericGetDatum(number), NumericGetDatum(divisor));
	Datum		sign = DirectFunctionCall1(numeric_sign, remainder);
	bool		multiple = DatumGetInt32(DirectFunctionCall1(numeric_int4, sign)) == 0;

	pfree(DatumGetPointer(remainder));
	pfree(DatumGetPointer(sign));
	return multiple;
}

/*
 * Reads a non-negative integral number as a count. What is larger than any jsonb container or string comes out as
 * PG_INT32_MAX, which no count of theirs reaches.
 */
bool
atp_json_count(const AtpJson *json, int *count)
{
	Numeric		zero = int64_to_numeric(0);
	Numeric		largest = int64_to_numeric(PG_INT32_MAX);

	if (json->type != ATP_JSON_NUMBER || !atp_numeric_is_integer(json->number) ||
		atp_numeric_compare(json->number, zero) < 0)
		return false;
	*count = atp_numeric_compare(json->number, largest) >= 0 ? PG_INT32_MAX :
		DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(json->number)));
	return true;
}

/* A string value as a C string. */
char *
atp_json_string_copy(const AtpJson *json)
{
	return pnstrdup(json->string, (Size) json->len);
}

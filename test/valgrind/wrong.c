/* Branches on memory that nobody wrote: what test/valgrind/run must see. Not part of atp. */
#include "postgres.h"

#include <stdlib.h>

#include "fmgr.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(atp_wrong);

Datum
atp_wrong(PG_FUNCTION_ARGS)
{
	volatile int *never_written = malloc(sizeof(int));
	int32		result = PG_GETARG_INT32(0);

	if (*never_written == 42)
		result++;
	free((void *) never_written);
	PG_RETURN_INT32(result);
}

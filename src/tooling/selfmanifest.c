/*
 * The manifest's hash of a fresh installation, compiled in: src/build.mk takes it from docs/reference/manifest.md, which `make docs`
 * writes from a live cluster. Nobody who is confined to SQL can change it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(atp_selfmanifest_baseline);

#ifndef ATP_MANIFEST_HASH
#define ATP_MANIFEST_HASH ""
#endif

/* manifest_baseline() */
Datum
atp_selfmanifest_baseline(PG_FUNCTION_ARGS)
{
	if (sizeof(ATP_MANIFEST_HASH) == 1)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(ATP_MANIFEST_HASH));
}
